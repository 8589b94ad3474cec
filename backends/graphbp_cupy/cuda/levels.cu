// Level-parallel sweeps: one launch a level, one thread per row and sample; rows first..last of all n samples.
// Arrays are (rows, n), samples innermost, or (batch, rows, n) with the batch in blockIdx.z.  A row that a dense block feeds finds
// the block's matrix product in place already (dense_in: in a or a_dot; dense_out: in beta) and adds its sparse edges to it.

// a = z = x for the input rows: x is (n, D)
extern "C" __global__ void
load_inputs(const Network* network, const real* x, long long n, real* a, real* z) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    for (long long i = blockIdx.y * blockDim.y + threadIdx.y; i < net.n_inputs; i += gridDim.y * blockDim.y)
        a[i * n + s] = z[i * n + s] = x[s * net.n_inputs + i];
}

// a_j = sum_i w_ji z_i + b_j,  z_j = h_j(a_j)
extern "C" __global__ void
forward_level(const Network* network, const real* w, long long first, long long last, long long n, real* a, real* z) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    for (long long j = first + blockIdx.y * blockDim.y + threadIdx.y; j < last; j += gridDim.y * blockDim.y) {
        real sum = net.dense_in[j] ? a[j * n + s] : real(0);
        if (net.bias_slot[j] >= 0) sum += w[net.bias_slot[j]];
        for (long long e = net.in_ptr[j]; e < net.in_ptr[j + 1]; ++e) sum += w[e] * z[net.in_src[e] * n + s];
        if (combines(net, j)) sum += combined(net, j, z, n, s);
        a[j * n + s] = sum;
        z[j * n + s] = activation_f(net.kind[j], sum);
    }
}

// A row that feeds nothing has beta = 0, and a slope that may be infinite: its delta is the head's alone
__device__ __forceinline__ bool feeds(const Network& net, long long i) {
    return net.dense_out[i] || net.out_ptr[i + 1] > net.out_ptr[i] || is_combined(net, i);
}

// beta_i = sum_k w_ki delta_k, gathered by source;  delta_i = h'_i(a_i) beta_i + the head's own term at an output
extern "C" __global__ void
reverse_level(const Network* network, const real* w, const real* a, const real* z, const real* head, long long first, long long last,
              long long n, real* beta, real* delta) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    const long long own = blockIdx.z * (net.n_rows * n);
    head += blockIdx.z * (net.n_outputs * n);
    beta += own;
    delta += own;
    for (long long i = first + blockIdx.y * blockDim.y + threadIdx.y; i < last; i += gridDim.y * blockDim.y) {
        real sum = net.dense_out[i] ? beta[i * n + s] : real(0);
        for (long long e = net.out_ptr[i]; e < net.out_ptr[i + 1]; ++e) sum += w[net.out_slot[e]] * delta[net.out_dst[e] * n + s];
        if (is_combined(net, i)) sum += combined_beta(net, i, z, delta, n, s);
        beta[i * n + s] = sum;
        if (i >= net.n_inputs && feeds(net, i)) sum *= activation_df(net.kind[i], a[i * n + s]);
        if (net.row_position[i] >= 0) sum += head[net.row_position[i] * n + s];
        delta[i * n + s] = sum;
    }
}

// a_dot_j = sum_i w_ji z_dot_i + w_dot_ji z_i + b_dot_j (+ 1 in the row that inject[b] names),  z_dot_j = h'_j(a_j) a_dot_j
extern "C" __global__ void
tangent_level(const Network* network, const real* w, const real* w_dot, int directed, const int* inject, const real* a,
              const real* z, long long first, long long last, long long n, real* a_dot, real* z_dot) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    const long long own = blockIdx.z * (net.n_rows * n);
    a_dot += own;
    z_dot += own;
    if (directed) w_dot += blockIdx.z * net.n_slots;
    for (long long j = first + blockIdx.y * blockDim.y + threadIdx.y; j < last; j += gridDim.y * blockDim.y) {
        real sum = net.dense_in[j] ? a_dot[j * n + s] : real(0);
        if (directed && net.bias_slot[j] >= 0) sum += w_dot[net.bias_slot[j]];
        for (long long e = net.in_ptr[j]; e < net.in_ptr[j + 1]; ++e) {
            const long long from = net.in_src[e] * n + s;
            sum += w[e] * z_dot[from];
            if (directed) sum += w_dot[e] * z[from];
        }
        if (combines(net, j)) sum += combined_tangent(net, j, z, z_dot, n, s);
        if (inject[blockIdx.z] == j) sum += real(1);
        a_dot[j * n + s] = sum;
        z_dot[j * n + s] = activation_df(net.kind[j], a[j * n + s]) * sum;
    }
}

// The R-operator's reverse sweep: beta_dot_i = sum_k w_ki delta_dot_k + w_dot_ki delta_k,
//                                delta_dot_i = h'_i beta_dot_i + h''_i a_dot_i beta_i + the head's own term
extern "C" __global__ void
reverse_tangent_level(const Network* network, const real* w, const real* w_dot, int directed, const real* a, const real* z,
                      const real* beta, const real* delta, const real* a_dot, const real* z_dot, const real* head, long long first,
                      long long last, long long n, real* beta_dot, real* delta_dot) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    const long long own = blockIdx.z * (net.n_rows * n);
    head += blockIdx.z * (net.n_outputs * n);
    a_dot += own;
    z_dot += own;
    beta_dot += own;
    delta_dot += own;
    if (directed) w_dot += blockIdx.z * net.n_slots;
    for (long long i = first + blockIdx.y * blockDim.y + threadIdx.y; i < last; i += gridDim.y * blockDim.y) {
        real sum = net.dense_out[i] ? beta_dot[i * n + s] : real(0);
        for (long long e = net.out_ptr[i]; e < net.out_ptr[i + 1]; ++e) {
            const long long to = net.out_dst[e] * n + s, slot = net.out_slot[e];
            sum += w[slot] * delta_dot[to];
            if (directed) sum += w_dot[slot] * delta[to];
        }
        if (is_combined(net, i)) sum += combined_beta_dot(net, i, z, z_dot, delta, delta_dot, n, s);
        beta_dot[i * n + s] = sum;
        if (i >= net.n_inputs && feeds(net, i)) {
            const real ai = a[i * n + s];
            sum = activation_df(net.kind[i], ai) * sum + activation_d2f(net.kind[i], ai) * a_dot[i * n + s] * beta[i * n + s];
        }
        if (net.row_position[i] >= 0) sum += head[net.row_position[i] * n + s];
        delta_dot[i * n + s] = sum;
    }
}
