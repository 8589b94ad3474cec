// The sweeps of one tile: blockDim.x samples, one a lane, of all rows, on which a block runs every level with only __syncthreads
// between.  threadIdx.y shares the rows of a level.  z, a and head are [row][lane], in shared memory (fused.cu) or in a piece of
// global memory that the block has for itself (wide.cu): a warp's accesses are neighbours either way.
//
// Every edge is an ordinary one here, those of dense blocks too.  `weight` holds the weights twice: in the order in which the
// forward sweep reads them (all_*: by destination), then in that of the reverse sweep (rev_*: by source).
// A lane beyond the last sample repeats that sample, so it computes sound values; nothing of it is stored or summed.

struct Tile {
    real* z;     // [row][lane]
    real* a;     // [row][lane], overwritten by delta on the way back
    real* head;  // [output position][lane]
    Team team;
};

__device__ __forceinline__ Tile tile_at(const Network& net, real* memory, real* team_memory) {
    const long long rows = net.n_rows * blockDim.x;
    return {memory, memory + rows, memory + 2 * rows, team_of(team_memory, true)};
}

__device__ __forceinline__ void tile_forward(const Network& net, const Tile& tile, const real* w, const real* weight, const real* x,
                                             long long s) {
    const int B = tile.team.lanes, lane = tile.team.lane, parts = tile.team.parts;
    for (int i = tile.team.part; i < net.n_inputs; i += parts) tile.z[i * B + lane] = tile.a[i * B + lane] = x[s * net.n_inputs + i];
    __syncthreads();
    for (int level = 0; level < net.n_levels; ++level) {
        for (int j = net.level_ptr[level] + tile.team.part; j < net.level_ptr[level + 1]; j += parts) {
            const int begin = net.all_ptr[j], end = net.all_ptr[j + 1];
            real sum = net.bias_slot[j] >= 0 ? w[net.bias_slot[j]] : real(0);
#pragma unroll 8
            for (int e = begin; e < end; ++e) sum += weight[e] * tile.z[net.all_src[e] * B + lane];
            if (combines(net, j)) sum += combined(net, j, tile.z, B, lane);
            tile.a[j * B + lane] = sum;
            tile.z[j * B + lane] = activation_f(net.kind[j], sum);
        }
        __syncthreads();
    }
    for (int i = int(net.n_single); i < net.n_items; ++i) group_softmax(group_of(net, i), tile.team, tile.a, tile.z, B, lane);
    __syncthreads();
}

// What the reverse sweep starts from: weight dE/da with targets t, or (dy/da)^T V with t standing for V.
__device__ __forceinline__ void tile_head(const Network& net, const Tile& tile, const real* t, real weight, bool from_error) {
    const int B = tile.team.lanes, lane = tile.team.lane;
    if (!from_error)  // a thread reads what it wrote: groups and single items are shared out alike, below and here
        for (int i = int(net.n_single); i < net.n_items; ++i) {
            const Group group = group_of(net, i);
            for (int k = tile.team.part; k < group.size; k += tile.team.parts) tile.head[group.position[k] * B + lane] = t[group.position[k]];
        }
    for (int i = tile.team.part; i < net.n_single; i += tile.team.parts) {
        if (from_error) {
            single_delta(net, i, tile.a, tile.z, t, weight, tile.head, B, lane);
        } else {
            tile.head[net.item_position[i] * B + lane] = t[net.item_position[i]];
            single_pullback(net, i, tile.a, tile.head, tile.head, B, lane);
        }
    }
    for (int i = int(net.n_single); i < net.n_items; ++i) {
        const Group group = group_of(net, i);
        if (from_error)
            group_delta(net, group, tile.team, tile.a, tile.z, t, weight, tile.head, B, lane);
        else
            group_pullback(group, tile.team, tile.z, tile.head, tile.head, B, lane);
    }
    __syncthreads();
}

// delta_i from beta_i of the edges, in the place of a_i, which nobody else reads; the head's alone where nothing is fed: h' may be infinite there
__device__ __forceinline__ real tile_delta(const Network& net, const Tile& tile, int i, real beta) {
    const int B = tile.team.lanes, lane = tile.team.lane;
    if (is_combined(net, i)) beta += combined_beta(net, i, tile.z, tile.a, B, lane);
    if (i >= net.n_inputs && (net.rev_ptr[i + 1] > net.rev_ptr[i] || is_combined(net, i))) beta *= activation_df(net.kind[i], tile.a[i * B + lane]);
    if (net.row_position[i] >= 0) beta += tile.head[net.row_position[i] * B + lane];
    return tile.a[i * B + lane] = beta;
}

__device__ __forceinline__ void tile_reverse(const Network& net, const Tile& tile, const real* weight, bool inputs) {
    const int B = tile.team.lanes, lane = tile.team.lane;
    for (int level = int(net.n_levels) - 1; level >= (inputs ? -1 : 0); --level) {
        const int first = level < 0 ? 0 : net.level_ptr[level];
        for (int i = first + tile.team.part; i < net.level_ptr[level + 1]; i += tile.team.parts) {
            const int begin = net.rev_ptr[i], end = net.rev_ptr[i + 1];
            real beta = 0;
#pragma unroll 8
            for (int e = begin; e < end; ++e) beta += weight[e] * tile.a[net.rev_dst[e] * B + lane];
            tile_delta(net, tile, i, beta);
        }
        __syncthreads();
    }
}

// One tile to its outputs: y (n, K), or y (n) = weight_s E_s
__device__ __forceinline__ void tile_outputs(const Network& net, const Tile& tile, const real* w, const real* weight, const real* x,
                                             const real* t, const real* of_sample, bool to_error, long long first, long long n,
                                             real* y) {
    const int B = tile.team.lanes, lane = tile.team.lane;
    const bool live = first + lane < n;
    const long long s = live ? first + lane : n - 1;
    tile_forward(net, tile, w, weight, x, s);
    if (to_error) {
        const real sum = team_error(net, tile.team, tile.a, tile.z, t + s * net.n_outputs, B, lane);
        if (live && tile.team.part == 0) y[s] = of_sample[s] * sum;
    } else if (live) {
        for (int k = tile.team.part; k < net.n_outputs; k += tile.team.parts) y[s * net.n_outputs + k] = tile.z[net.output_row[k] * B + lane];
    }
    __syncthreads();
}

// One tile up to its head, and each[s] = weight_s E_s from an error
__device__ __forceinline__ void tile_upwards(const Network& net, const Tile& tile, const real* w, const real* weight, const real* x,
                                             const real* t, const real* of_sample, bool from_error, long long first, int live,
                                             real* each) {
    const int B = tile.team.lanes, lane = tile.team.lane;
    const long long s = first + (lane < live ? lane : live - 1);
    const real* target = t + s * net.n_outputs;
    tile_forward(net, tile, w, weight, x, s);
    if (from_error) {
        const real sum = team_error(net, tile.team, tile.a, tile.z, target, B, lane);
        if (tile.team.part == 0 && lane < live) each[s] = of_sample[s] * sum;
    }
    tile_head(net, tile, target, from_error ? of_sample[s] : real(1), from_error);
}

// by_x (n, D) = the error signal of the inputs
__device__ __forceinline__ void tile_inputs(const Network& net, const Tile& tile, long long first, int live, real* by_x) {
    const int B = tile.team.lanes, lane = tile.team.lane;
    if (lane < live)
        for (int i = tile.team.part; i < net.n_inputs; i += tile.team.parts) by_x[(first + lane) * net.n_inputs + i] = tile.a[i * B + lane];
}
