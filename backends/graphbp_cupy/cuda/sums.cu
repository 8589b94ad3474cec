// Parameters to slots and back, and sums over samples, each in one fixed order: no atomics, so the bits repeat.

// w[b][slot] = theta[parameter][column + b], or what a frozen slot holds (0 in a direction); theta is (W, stride)
extern "C" __global__ void
expand_parameters(const Network* network, const real* theta, long long stride, long long column, int direction, real* w) {
    const Network& net = *network;
    const long long slot = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (slot >= net.n_slots) return;
    const long long p = net.slot_parameter[slot];
    w[blockIdx.z * net.n_slots + slot] =
        p >= 0 ? theta[p * stride + column + blockIdx.z] : direction ? real(0) : net.slot_value[slot];
}

// weight[e] = w of the edge that the forward sweep of a tile reads e-th, weight[n_edges + e] the reverse sweep's e-th
extern "C" __global__ void
order_weights(const Network* network, const real* w, real* weight) {
    const Network& net = *network;
    const long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= net.n_edges) return;
    weight[e] = w[net.all_slot[e]];
    weight[net.n_edges + e] = w[net.rev_slot[e]];
}

// out[r][p] = sum of g[r][slot] over the slots that parameter p fills
extern "C" __global__ void
reduce_slots(const Network* network, const real* g, long long rows, real* out) {
    const Network& net = *network;
    const long long p = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= net.n_parameters) return;
    for (long long r = blockIdx.y; r < rows; r += gridDim.y) {
        real sum = 0;
        for (long long q = net.owned_ptr[p]; q < net.owned_ptr[p + 1]; ++q) sum += g[r * net.n_slots + net.owned_slot[q]];
        out[r * net.n_parameters + p] = sum;
    }
}

__device__ __forceinline__ real warp_sum(real value) {
    for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_down_sync(0xffffffffu, value, offset);
    return value;
}

// partial[section][b][q] = sum over the section's samples of delta[b][dst] z[src] (+ delta0[dst] z_dot[b][src] if `product`).
// A warp takes one slot: q counts the sparse edges, then the biases (whose z is 1 and z_dot 0).
extern "C" __global__ void
slot_sums(const Network* network, const real* z, const real* delta, int product, const real* delta0, const real* z_dot,
          long long section, long long n, real* partial) {
    const Network& net = *network;
    const int lane = threadIdx.x & 31;
    const long long single = net.n_sparse + net.n_biases, own = blockIdx.z * (net.n_rows * n);
    const long long begin = blockIdx.y * section, end = begin + section < n ? begin + section : n;
    delta += own;
    if (product) z_dot += own;
    for (long long q = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5); q < single; q += gridDim.x * (blockDim.x >> 5)) {
        const long long slot = q < net.n_sparse ? q : net.n_slots - single + q;
        const long long to = net.slot_dst[slot] * n, from = net.slot_src[slot] * n;
        real sum = 0;
        if (from < 0) {
            for (long long s = begin + lane; s < end; s += 32) sum += delta[to + s];
        } else if (product) {
            for (long long s = begin + lane; s < end; s += 32) sum += delta[to + s] * z[from + s] + delta0[to + s] * z_dot[from + s];
        } else {
            for (long long s = begin + lane; s < end; s += 32) sum += delta[to + s] * z[from + s];
        }
        sum = warp_sum(sum);
        if (lane == 0) partial[(blockIdx.y * gridDim.z + blockIdx.z) * single + q] = sum;
    }
}

// g[b][slot] += the sections of slot_sums in order
extern "C" __global__ void
add_sections(const Network* network, const real* partial, long long sections, real* g) {
    const Network& net = *network;
    const long long single = net.n_sparse + net.n_biases;
    const long long q = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (q >= single) return;
    const long long slot = q < net.n_sparse ? q : net.n_slots - single + q;
    real sum = 0;
    for (long long c = 0; c < sections; ++c) sum += partial[(c * gridDim.z + blockIdx.z) * single + q];
    g[blockIdx.z * net.n_slots + slot] += sum;
}

// out[q] = sum_r partial[r][q], rows in order
extern "C" __global__ void
add_rows(const real* partial, long long rows, long long columns, real* out) {
    const long long q = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (q >= columns) return;
    real sum = 0;
    for (long long r = 0; r < rows; ++r) sum += partial[r * columns + q];
    out[q] = sum;
}

// total[0] += sum of values, in double: one block of 256 threads, then a tree
extern "C" __global__ void
add_values(const real* values, long long n, double* total) {
    __shared__ double part[256];
    const int thread = threadIdx.x;
    double sum = 0;
    for (long long s = thread; s < n; s += 256) sum += values[s];
    part[thread] = sum;
    __syncthreads();
    for (int half = 128; half > 0; half >>= 1) {
        if (thread < half) part[thread] += part[thread + half];
        __syncthreads();
    }
    if (thread == 0) total[0] += part[0];
}

// to[b][index[r]][c] += from[b][r][c], with distinct indices; `to` has `rows_to` rows
extern "C" __global__ void
scatter_rows(const real* from, const long long* index, long long rows, long long columns, long long rows_to, real* to) {
    const long long c = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= columns) return;
    for (long long r = blockIdx.y * blockDim.y + threadIdx.y; r < rows; r += gridDim.y * blockDim.y)
        to[(blockIdx.z * rows_to + index[r]) * columns + c] += from[(blockIdx.z * rows + r) * columns + c];
}

// out[b][r][s] = 1 where r is row[b], else 0
extern "C" __global__ void
unit_rows(const int* row, long long rows, long long n, real* out) {
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    for (long long r = blockIdx.y * blockDim.y + threadIdx.y; r < rows; r += gridDim.y * blockDim.y)
        out[(blockIdx.z * rows + r) * n + s] = r == row[blockIdx.z] ? real(1) : real(0);
}

// out[s][first + b][p] = sum of delta[b][dst] z[src] over the slots of parameter p: gradients of single samples, out (n, outputs, W).
// A block (32, 8) takes 32 samples and 32 parameters.  Threads read samples side by side and write parameters side by side; between
// them the products stand in shared memory, in rows of 33 so that a column lies in different banks.
extern "C" __global__ void
sample_gradient(const Network* network, const real* z, const real* delta, long long n, long long outputs, long long first, real* out) {
    __shared__ real tile[1056];
    const Network& net = *network;
    const long long s0 = (long long)blockIdx.x * 32, s = s0 + threadIdx.x;
    delta += blockIdx.z * (net.n_rows * n);
    for (long long p0 = (long long)blockIdx.y * 32; p0 < net.n_parameters; p0 += (long long)gridDim.y * 32) {
        for (int k = threadIdx.y; k < 32 && s < n && p0 + k < net.n_parameters; k += blockDim.y) {
            real sum = 0;
            for (long long q = net.owned_ptr[p0 + k]; q < net.owned_ptr[p0 + k + 1]; ++q) {
                const long long slot = net.owned_slot[q];
                const int from = net.slot_src[slot];
                sum += delta[net.slot_dst[slot] * n + s] * (from < 0 ? real(1) : z[from * n + s]);
            }
            tile[k * 33 + threadIdx.x] = sum;
        }
        __syncthreads();
        const long long p = p0 + threadIdx.x;
        for (int k = threadIdx.y; k < 32 && s0 + k < n && p < net.n_parameters; k += blockDim.y)
            out[((s0 + k) * outputs + first + blockIdx.z) * net.n_parameters + p] = tile[threadIdx.x * 33 + k];
        __syncthreads();
    }
}

// Half of the Hessian's rows before the sum over samples: with delta_dot = B_.j and z_dot = sigma' G_.j of one unit j (batch b),
//     rows[b][slot][s] = 1/2 delta_dot[b][dst] z[src] + delta[dst] z_dot[b][src]        (second term only if exact)
// so that sum_s z_i rows, plus its transpose, is the block of unit j (MATHS: z_i z_k B_jl + z_i delta_l sigma'_k G_kj + transpose).
extern "C" __global__ void
hessian_rows(const Network* network, const real* z, const real* delta, const real* delta_dot, const real* z_dot, int exact,
             long long n, real* rows) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    const long long own = blockIdx.z * (net.n_rows * n);
    for (long long slot = blockIdx.y * blockDim.y + threadIdx.y; slot < net.n_slots; slot += gridDim.y * blockDim.y) {
        const long long to = net.slot_dst[slot] * n + s;
        const int from = net.slot_src[slot];
        real value = real(0.5) * delta_dot[own + to];
        if (from >= 0) {
            value *= z[from * n + s];
            if (exact) value += delta[to] * z_dot[own + from * n + s];
        }
        rows[(blockIdx.z * net.n_slots + slot) * n + s] = value;
    }
}

// out[p][q] = A[p][q] + A[q][p], where A[p][q] is the sum of half over the slots of p and of q: symmetric to the last bit
extern "C" __global__ void
fold_hessian(const Network* network, const real* half, real* out) {
    const Network& net = *network;
    const long long q = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (q >= net.n_parameters) return;
    for (long long p = blockIdx.y; p < net.n_parameters; p += gridDim.y) {
        real upper = 0, lower = 0;
        for (long long i = net.owned_ptr[p]; i < net.owned_ptr[p + 1]; ++i)
            for (long long k = net.owned_ptr[q]; k < net.owned_ptr[q + 1]; ++k)
                upper += half[net.owned_slot[i] * net.n_slots + net.owned_slot[k]];
        for (long long k = net.owned_ptr[q]; k < net.owned_ptr[q + 1]; ++k)
            for (long long i = net.owned_ptr[p]; i < net.owned_ptr[p + 1]; ++i)
                lower += half[net.owned_slot[k] * net.n_slots + net.owned_slot[i]];
        out[p * net.n_parameters + q] = upper + lower;
    }
}

// out[slot] += sum_s z_i^2 B_jj for the slots i -> j of the units j = unit[b]; slots_of their edges and biases
extern "C" __global__ void
diagonal_sums(const Network* network, const real* z, const real* delta_dot, const int* unit, long long n, real* out) {
    const Network& net = *network;
    const int lane = threadIdx.x & 31, j = unit[blockIdx.z];
    delta_dot += (blockIdx.z * net.n_rows + j) * n;
    for (long long q = net.unit_ptr[j] + blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5); q < net.unit_ptr[j + 1];
         q += gridDim.x * (blockDim.x >> 5)) {
        const long long slot = net.unit_slot[q];
        const long long from = net.slot_src[slot];
        real sum = 0;
        for (long long s = lane; s < n; s += 32) {
            const real zi = from < 0 ? real(1) : z[from * n + s];
            sum += zi * zi * delta_dot[s];
        }
        sum = warp_sum(sum);
        if (lane == 0) out[slot] += sum;
    }
}
