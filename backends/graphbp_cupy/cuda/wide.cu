// Whole sweeps in one launch, for networks of which no tile fits in shared memory: a block keeps its tile in global memory, at
// scratch[block], and goes through its share of the tiles.  Dynamic shared memory: a team's numbers, one a thread.
//
// What bounds these kernels is the gathering of rows, so the reverse sweep gathers delta_j once an edge, for both of its uses:
//     beta_i += w_ji delta_j     and     dE/dw_ji = sum over the lanes of z_i delta_j
// The sums over lanes go through shuffles, four edges at a time: docs/gpu.md has the arithmetic.

// paths.py asks for blocks of up to 768 threads, or three of 256 at once (512 and two in float64): registers for so many, and no fewer.
#define WIDE_BLOCK __launch_bounds__(sizeof(real) == 4 ? 768 : 512, 1)

// The sums over the tile's lanes of four values: lanes 0, B/4, 2B/4 and 3B/4 have those of value 0, 1, 2 and 3.  B is 8, 16 or 32.
__device__ __forceinline__ real four_sums(const real* value, int B, int lane, unsigned mask) {
    const bool upper = lane & (B >> 1), odd = lane & (B >> 2);
    real even_sum = upper ? value[2] : value[0], odd_sum = upper ? value[3] : value[1];
    even_sum += __shfl_xor_sync(mask, upper ? value[0] : value[2], B >> 1);
    odd_sum += __shfl_xor_sync(mask, upper ? value[1] : value[3], B >> 1);
    real sum = odd ? odd_sum : even_sum;
    sum += __shfl_xor_sync(mask, odd ? even_sum : odd_sum, B >> 2);
    for (int offset = B >> 3; offset > 0; offset >>= 1) sum += __shfl_xor_sync(mask, sum, offset);
    return sum;
}

// delta of the rows that edges e, e + 1, e + 2 and e + 3 lead into; 0 beyond the end
__device__ __forceinline__ void four_deltas(const Network& net, const Tile& tile, int e, int end, real* delta) {
#pragma unroll
    for (int k = 0; k < 4; ++k) delta[k] = e + k < end ? tile.a[net.rev_dst[e + k] * tile.team.lanes + tile.team.lane] : real(0);
}

// delta of every row, and sums[edge in the order of rev_*] += dE/dw, sums[n_edges + row] += dE/db.
// The same thread adds to an entry in every tile, so the order is fixed.
__device__ __forceinline__ void wide_reverse(const Network& net, const Tile& tile, const real* weight, int live, real* sums) {
    const int B = tile.team.lanes, lane = tile.team.lane, quarter = B >> 2;
    const int first_of_tile = (tile.team.part * B) & 31 & ~(B - 1);
    const unsigned mask = (B == 32 ? 0xffffffffu : ((1u << B) - 1)) << first_of_tile;
    const bool alive = lane < live;
    for (int level = int(net.n_levels) - 1; level >= -1; --level) {
        const int first = level < 0 ? 0 : net.level_ptr[level];
        for (int i = first + tile.team.part; i < net.level_ptr[level + 1]; i += tile.team.parts) {
            const int begin = net.rev_ptr[i], end = net.rev_ptr[i + 1];
            const real zi = tile.z[i * B + lane];
            real beta = 0, next[4];
            four_deltas(net, tile, begin, end, next);
            for (int e = begin; e < end; e += 4) {
                real delta[4];
#pragma unroll
                for (int k = 0; k < 4; ++k) delta[k] = next[k];
                four_deltas(net, tile, e + 4, end, next);  // on their way while these are summed
#pragma unroll
                for (int k = 0; k < 4; ++k) {
                    if (e + k < end) beta += weight[e + k] * delta[k];
                    delta[k] = alive ? zi * delta[k] : real(0);
                }
                const real sum = four_sums(delta, B, lane, mask);
                const int own = e + lane / quarter;
                if (lane % quarter == 0 && own < end) sums[own] += sum;
            }
            real delta = tile_delta(net, tile, i, beta);
            if (net.bias_slot[i] < 0) continue;  // the same for all lanes of a row
            if (!alive) delta = 0;
            for (int offset = B >> 1; offset > 0; offset >>= 1) delta += __shfl_xor_sync(mask, delta, offset);
            if (lane == 0) sums[net.n_edges + i] += delta;
        }
        __syncthreads();
    }
}

// as fused_forward; scratch is (blocks, (2 rows + K) * lanes)
extern "C" __global__ WIDE_BLOCK void
wide_forward(const Network* network, const real* w, const real* weight, const real* x, const real* t, const real* of_sample,
             int to_error, long long n, real* scratch, real* y) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const Tile tile = tile_at(net, scratch + blockIdx.x * (2 * net.n_rows + net.n_outputs) * blockDim.x, shared);
    for (long long first = (long long)blockIdx.x * blockDim.x; first < n; first += (long long)gridDim.x * blockDim.x)
        tile_outputs(net, tile, w, weight, x, t, of_sample, to_error != 0, first, n, y);
}

// as fused_gradient, but partial is (blocks, n_edges + n_rows): edges in the order of rev_*, then the rows' biases
extern "C" __global__ WIDE_BLOCK void
wide_gradient(const Network* network, const real* w, const real* weight, const real* x, const real* t, const real* of_sample,
              int from_error, long long n, real* scratch, real* each, real* partial, real* by_x) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const int B = blockDim.x;
    const Tile tile = tile_at(net, scratch + blockIdx.x * (2 * net.n_rows + net.n_outputs) * B, shared);
    real* sums = partial + blockIdx.x * (net.n_edges + net.n_rows);
    for (long long q = threadIdx.y * B + threadIdx.x; q < net.n_edges + net.n_rows; q += B * blockDim.y) sums[q] = 0;
    __syncthreads();

    for (long long first = (long long)blockIdx.x * B; first < n; first += (long long)gridDim.x * B) {
        const int live = n - first < B ? int(n - first) : B;
        tile_upwards(net, tile, w, weight, x, t, of_sample, from_error != 0, first, live, each);
        wide_reverse(net, tile, weight + net.n_edges, live, sums);
        if (!from_error) tile_inputs(net, tile, first, live, by_x);
        __syncthreads();
    }
}

// g[slot] = the blocks' sums in order
extern "C" __global__ void
add_wide_sums(const Network* network, const real* partial, long long blocks, real* g) {
    const Network& net = *network;
    const long long q = (long long)blockIdx.x * blockDim.x + threadIdx.x, columns = net.n_edges + net.n_rows;
    if (q >= columns) return;
    const long long slot = q < net.n_edges ? net.rev_slot[q] : net.bias_slot[q - net.n_edges];
    if (slot < 0) return;
    real sum = 0;
    for (long long r = 0; r < blocks; ++r) sum += partial[r * columns + q];
    g[slot] = sum;
}
