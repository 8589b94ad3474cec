// Whole sweeps in one launch, for networks whose units x tile fit in shared memory.
//
// A block owns a tile of blockDim.x samples (threadIdx.x) and runs every level on it; threadIdx.y shares the rows of a level, and
// only __syncthreads stands between levels.  Dense blocks are ordinary edges here (in_ptr/src/slot of *all* edges: all_*, rev_*).
// A lane beyond the last sample repeats that sample, so it computes sound values; nothing of it is stored or summed.

struct Tile {
    real* z;  // [row][lane]
    real* a;  // [row][lane], overwritten by delta on the way back
    int lanes, lane, part, parts;
};

__device__ __forceinline__ void tile_forward(const Network& net, const Tile& tile, const real* w, const real* x, long long s) {
    const int B = tile.lanes;
    for (int i = tile.part; i < net.n_inputs; i += tile.parts)
        tile.z[i * B + tile.lane] = tile.a[i * B + tile.lane] = x[s * net.n_inputs + i];
    __syncthreads();
    for (int level = 0; level < net.n_levels; ++level) {
        for (int j = net.level_ptr[level] + tile.part; j < net.level_ptr[level + 1]; j += tile.parts) {
            real sum = net.bias_slot[j] >= 0 ? w[net.bias_slot[j]] : real(0);
            for (long long e = net.all_ptr[j]; e < net.all_ptr[j + 1]; ++e)
                sum += w[net.all_slot[e]] * tile.z[net.all_src[e] * B + tile.lane];
            tile.a[j * B + tile.lane] = sum;
            tile.z[j * B + tile.lane] = activation_f(net.kind[j], sum);
        }
        __syncthreads();
    }
    for (int i = tile.part; i < net.n_items; i += tile.parts) {
        const Item item = item_of(net, i);
        if (item.coupled) softmax_forward(item, tile.a, tile.z, B, tile.lane);
    }
    __syncthreads();
}

__device__ __forceinline__ void tile_reverse(const Network& net, const Tile& tile, const real* w, const real* head, bool inputs) {
    const int B = tile.lanes;
    for (int level = net.n_levels - 1; level >= (inputs ? -1 : 0); --level) {
        const int first = level < 0 ? 0 : net.level_ptr[level];
        for (int i = first + tile.part; i < net.level_ptr[level + 1]; i += tile.parts) {
            real sum = 0;
            for (long long e = net.rev_ptr[i]; e < net.rev_ptr[i + 1]; ++e)
                sum += w[net.rev_slot[e]] * tile.a[net.rev_dst[e] * B + tile.lane];
            if (i >= net.n_inputs) sum *= activation_df(net.kind[i], tile.a[i * B + tile.lane]);
            if (net.row_position[i] >= 0) sum += head[net.row_position[i] * B + tile.lane];
            tile.a[i * B + tile.lane] = sum;  // delta_i takes the place of a_i, which nobody else reads
        }
        __syncthreads();
    }
}

// y (n, K)
extern "C" __global__ void
fused_forward(const Network* network, const real* w, const real* x, long long n, real* y) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const int B = blockDim.x;
    const Tile tile = {shared, shared + net.n_rows * B, B, int(threadIdx.x), int(threadIdx.y), int(blockDim.y)};
    for (long long first = (long long)blockIdx.x * B; first < n; first += (long long)gridDim.x * B) {
        const bool live = first + tile.lane < n;
        const long long s = live ? first + tile.lane : n - 1;
        tile_forward(net, tile, w, x, s);
        if (live)
            for (int k = tile.part; k < net.n_outputs; k += tile.parts)
                y[s * net.n_outputs + k] = tile.z[net.output_row[k] * B + tile.lane];
        __syncthreads();
    }
}

// from_error: each[s] = weight_s E_s, and the sweep starts from dE/da with targets t (n, K).
// otherwise:  the sweep starts from t standing for V (n, K), and by_x (n, D) is the error signal of the inputs.
// partial[block][slot] = sum of delta_j z_i over this block's tiles; every slot belongs to one thread, so the order is fixed.
extern "C" __global__ void
fused_gradient(const Network* network, const real* w, const real* x, const real* t, const real* weight, int from_error, long long n,
               real* each, real* partial, real* by_x) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const int B = blockDim.x, number = threadIdx.y * B + threadIdx.x, threads = B * blockDim.y;
    const Tile tile = {shared, shared + net.n_rows * B, B, int(threadIdx.x), int(threadIdx.y), int(blockDim.y)};
    real* head = tile.a + net.n_rows * B;  // [output position][lane]
    real* gradient = partial + blockIdx.x * net.n_slots;
    for (long long q = number; q < net.n_slots; q += threads) gradient[q] = 0;

    for (long long first = (long long)blockIdx.x * B; first < n; first += (long long)gridDim.x * B) {
        const int live = n - first < B ? int(n - first) : B;
        const long long s = tile.lane < live ? first + tile.lane : n - 1;
        tile_forward(net, tile, w, x, s);
        const real* target = t + s * net.n_outputs;
        if (from_error) {
            if (tile.part == 0 && tile.lane < live) {
                real sum = 0;
                for (int i = 0; i < net.n_items; ++i) sum += item_error(net, item_of(net, i), tile.a, tile.z, target, B, tile.lane);
                each[s] = weight[s] * sum;
            }
            for (int i = tile.part; i < net.n_items; i += tile.parts)
                item_delta(net, item_of(net, i), tile.a, tile.z, target, weight[s], head, B, tile.lane);
        } else {
            for (int i = tile.part; i < net.n_items; i += tile.parts) {
                const Item item = item_of(net, i);
                for (int k = 0; k < item.size; ++k) head[item.position[k] * B + tile.lane] = target[item.position[k]];
                item_pullback(net, item, tile.a, tile.z, head, head, B, tile.lane);
            }
        }
        __syncthreads();
        tile_reverse(net, tile, w, head, !from_error);
        for (long long q = number; q < net.n_slots; q += threads) {
            const int to = net.slot_dst[q], from = net.slot_src[q];
            real sum = 0;
            for (int k = 0; k < B; ++k) {
                const int lane = (k + number) & (B - 1);  // B is a power of two; neighbours start at different banks
                if (lane < live) sum += tile.a[to * B + lane] * (from < 0 ? real(1) : tile.z[from * B + lane]);
            }
            gradient[q] += sum;
        }
        if (!from_error && tile.lane < live)
            for (int i = tile.part; i < net.n_inputs; i += tile.parts) by_x[s * net.n_inputs + i] = tile.a[i * B + tile.lane];
        __syncthreads();
    }
}
