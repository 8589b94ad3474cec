// Whole sweeps in one launch, for networks of which a tile fits in shared memory.
// Dynamic shared memory: a team's numbers (one a thread), then the tile.

// to_error: y[s] = weight_s E_s with targets t (n, K);  otherwise y (n, K)
extern "C" __global__ void
fused_forward(const Network* network, const real* w, const real* weight, const real* x, const real* t, const real* of_sample,
              int to_error, long long n, real* y) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const Tile tile = tile_at(net, shared + blockDim.x * blockDim.y, shared);
    for (long long first = (long long)blockIdx.x * blockDim.x; first < n; first += (long long)gridDim.x * blockDim.x)
        tile_outputs(net, tile, w, weight, x, t, of_sample, to_error != 0, first, n, y);
}

// from_error: each[s] = weight_s E_s, and the sweep starts from dE/da with targets t (n, K).
// otherwise:  the sweep starts from t standing for V (n, K), and by_x (n, D) is the error signal of the inputs.
// partial[block][slot] = sum of delta_j z_i over this block's tiles; every slot belongs to one thread, so the order is fixed.
extern "C" __global__ void
fused_gradient(const Network* network, const real* w, const real* weight, const real* x, const real* t, const real* of_sample,
               int from_error, long long n, real* each, real* partial, real* by_x) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const int B = blockDim.x, number = threadIdx.y * B + threadIdx.x, threads = B * blockDim.y;
    const Tile tile = tile_at(net, shared + threads, shared);
    real* gradient = partial + blockIdx.x * net.n_slots;
    for (long long q = number; q < net.n_slots; q += threads) gradient[q] = 0;

    for (long long first = (long long)blockIdx.x * B; first < n; first += (long long)gridDim.x * B) {
        const int live = n - first < B ? int(n - first) : B;
        tile_upwards(net, tile, w, weight, x, t, of_sample, from_error != 0, first, live, each);
        tile_reverse(net, tile, weight + net.n_edges, !from_error);
        for (long long q = number; q < net.n_slots; q += threads) {
            const int to = net.slot_dst[q], from = net.slot_src[q];
            real sum = 0;
            for (int k = 0; k < B; ++k) {
                const int lane = (k + number) & (B - 1);  // B is a power of two; neighbours start at different banks
                if (lane < live) sum += tile.a[to * B + lane] * (from < 0 ? real(1) : tile.z[from * B + lane]);
            }
            gradient[q] += sum;
        }
        if (!from_error) tile_inputs(net, tile, first, live, by_x);
        __syncthreads();
    }
}
