// Where the error meets the output units (graphbp.heads): an item is one elementwise output, or the outputs that one softmax
// couples, a *group*.  Items 0..n_single are elementwise and one thread's work each; a group is shared by a team.
// All functions act on one sample; a, z, a_dot hold rows of `ld` samples, `head` holds output positions.

// The threads of a block with the same threadIdx.x: they have the same sample, and share its rows.  Every thread of the block must
// reach team_sum and team_largest, which add in the order of the parts.  A team that is not live repeats a sample and stores nothing.
struct Team {
    real* memory;  // [part][lane], of the block
    int lanes, lane, part, parts;
    bool live;
};

__device__ __forceinline__ Team team_of(real* memory, bool live) {
    return {memory, int(blockDim.x), int(threadIdx.x), int(threadIdx.y), int(blockDim.y), live};
}

__device__ __forceinline__ real team_sum(const Team& team, real value) {
    team.memory[team.part * team.lanes + team.lane] = value;
    __syncthreads();
    real sum = 0;
    for (int part = 0; part < team.parts; ++part) sum += team.memory[part * team.lanes + team.lane];
    __syncthreads();
    return sum;
}

__device__ __forceinline__ real team_largest(const Team& team, real value) {
    team.memory[team.part * team.lanes + team.lane] = value;
    __syncthreads();
    real top = team.memory[team.lane];
    for (int part = 1; part < team.parts; ++part) top = larger(team.memory[part * team.lanes + team.lane], top);
    __syncthreads();
    return top;
}

// ---- one elementwise output -------------------------------------------------------------------------------------------------

__device__ __forceinline__ bool is_canonical(const Network& net, int i) { return (net.item_flags[i] & 1) != 0; }  // delta = y - t

__device__ __forceinline__ real single_error(const Network& net, int i, const real* a, const real* z, const real* t, long long ld,
                                             long long s) {
    const long long at = net.item_row[i] * ld + s;
    const real target = t[net.item_position[i]];
    const int kind = net.kind[net.item_row[i]];
    if (has_pair(int(net.error), kind) != real(0)) return pair_value(int(net.error), kind, a[at], target);
    return is_canonical(net, i) ? error_at_a(int(net.error), a[at], target) : error_value(int(net.error), z[at], target);
}

// head = dy/da v; v may be head itself
__device__ __forceinline__ void single_pullback(const Network& net, int i, const real* a, const real* v, real* head, long long ld,
                                                long long s) {
    const int row = net.item_row[i];
    const long long to = net.item_position[i] * ld + s;
    head[to] = activation_df(net.kind[row], a[row * ld + s]) * v[to];
}

// head = weight * dE_n/da
__device__ __forceinline__ void single_delta(const Network& net, int i, const real* a, const real* z, const real* t, real weight,
                                             real* head, long long ld, long long s) {
    const int row = net.item_row[i];
    const real y = z[row * ld + s], target = t[net.item_position[i]];
    const int error = int(net.error), kind = net.kind[row];
    real value = y - target;
    if (has_pair(error, kind) != real(0))
        value = pair_delta(error, kind, a[row * ld + s], target);
    else if (!is_canonical(net, i))
        value = error_dy(error, y, target) * activation_df(kind, a[row * ld + s]);
    head[net.item_position[i] * ld + s] = weight * value;
}

// head = weight * m a_dot with m the second derivative of E_n by a (exact), or its positive part
__device__ __forceinline__ void single_curvature(const Network& net, int i, const real* a, const real* z, const real* t, real weight,
                                                 bool exact, const real* a_dot, real* head, long long ld, long long s) {
    const int error = int(net.error), kind = net.kind[net.item_row[i]];
    const long long at = net.item_row[i] * ld + s;
    const real slope = activation_df(kind, a[at]), target = t[net.item_position[i]];
    real m = slope;
    if (has_pair(error, kind) != real(0)) {
        m = exact ? pair_hessian(error, kind, a[at], target) : pair_outer(error, kind, a[at], target);
    } else if (!is_canonical(net, i)) {
        m = error_d2y(error, z[at], target) * slope * slope;
        if (exact) m += error_dy(error, z[at], target) * activation_d2f(kind, a[at]);
    }
    head[net.item_position[i] * ld + s] = weight * m * a_dot[at];
}

// ---- a group: the outputs of one softmax, shared by a team -------------------------------------------------------------------

struct Group {
    const int* row;       // rows of the group's units
    const int* position;  // their places among the K outputs
    int size;
    bool canonical;  // delta = y - t
};

__device__ __forceinline__ Group group_of(const Network& net, int i) {
    const int first = net.item_ptr[i];
    return {net.item_row + first, net.item_position + first, net.item_ptr[i + 1] - first, is_canonical(net, i)};
}

__device__ __forceinline__ real group_largest(const Group& group, const Team& team, const real* a, long long ld, long long s) {
    real top = a[group.row[0] * ld + s];
    for (int k = team.part; k < group.size; k += team.parts) top = larger(a[group.row[k] * ld + s], top);
    return team_largest(team, top);
}

// The largest y of a group and its place; at most one is above 1/2, and its 1 - y is the sum of the others.
__device__ __forceinline__ int group_winner(const Group& group, const real* z, long long ld, long long s) {
    int best = 0;
    for (int k = 1; k < group.size; ++k)
        if (z[group.row[k] * ld + s] > z[group.row[best] * ld + s]) best = k;
    return best;
}

__device__ __forceinline__ real group_others(const Group& group, const Team& team, const real* z, long long ld, long long s) {
    real sum = 0;
    for (int k = team.part; k < group.size; k += team.parts) {
        const real y = z[group.row[k] * ld + s];
        if (!(y > real(0.5))) sum += y;
    }
    return team_sum(team, sum);
}

__device__ __forceinline__ real softmax_less(real y, real t, real others) {
    return y > real(0.5) ? (real(1) - t) - others : y - t;
}

// de/dy at a group's unit
__device__ __forceinline__ real group_dy(const Network& net, real y, real t, real others) {
    return error_is_squares(int(net.error)) ? softmax_less(y, t, others) : error_dy(int(net.error), y, t);
}

// A softmax under alpha y - t ln y - beta (1 - t) ln(1 - y), not its canonical error (graphbp.softmax has the formulas): the winner w, its
// 1 - y, and the softmax s of all but w, in which y / (1 - y_w) does not become 0/0.
__device__ __forceinline__ bool group_logs(const Network& net, const Group& group) {
    return !group.canonical && logs_alpha(int(net.error)) >= real(0);
}

struct Logs {
    int best, next;      // places of the largest and the next a
    real rest, total;    // 1 - y_w, and the sum of exp(a - a_next) but for w
    real top, a_next;
    bool both;
};

__device__ __forceinline__ Logs logs_of(const Network& net, const Group& group, const real* a, const real* z, long long ld, long long s) {
    Logs logs = {0, -1, 0, 0, a[group.row[0] * ld + s], -real(1) / real(0), logs_beta(int(net.error)) > real(0)};
    for (int k = 1; k < group.size; ++k)
        if (a[group.row[k] * ld + s] > logs.top) logs.best = k, logs.top = a[group.row[k] * ld + s];
    for (int k = 0; k < group.size; ++k) {
        if (k == logs.best) continue;
        logs.rest += z[group.row[k] * ld + s];
        if (logs.next < 0 || a[group.row[k] * ld + s] > logs.a_next) logs.next = k, logs.a_next = a[group.row[k] * ld + s];
    }
    for (int k = 0; k < group.size; ++k)
        if (k != logs.best) logs.total += exp(a[group.row[k] * ld + s] - logs.a_next);
    return logs;
}

__device__ __forceinline__ real logs_share(const Logs& logs, int k, real a) {
    return k == logs.best ? real(0) : exp(a - logs.a_next) / logs.total;
}

// this thread's share of E_n
__device__ __forceinline__ real logs_error(const Network& net, const Group& group, const Team& team, const real* a, const real* z,
                                           const real* t, long long ld, long long s) {
    const Logs logs = logs_of(net, group, a, z, ld, s);
    real rest = 0, own = 0;
    for (int k = 0; k < group.size; ++k)
        if (k != logs.best) rest += exp(a[group.row[k] * ld + s] - logs.top);
    const real more = log1p(rest), alpha = logs_alpha(int(net.error));
    for (int k = team.part; k < group.size; k += team.parts) {
        const real y = z[group.row[k] * ld + s], tk = t[group.position[k]];
        own += alpha * y + tk * ((logs.top - a[group.row[k] * ld + s]) + more);
        if (logs.both && tk != real(1))
            own -= (real(1) - tk) * (y > real(0.5) ? ((logs.a_next - logs.top) - more) + log(logs.total) : log1p(-y));
    }
    return own;
}

// head = weight * dE_n/da
__device__ __forceinline__ void logs_delta(const Network& net, const Group& group, const Team& team, const real* a, const real* z,
                                           const real* t, real weight, real* head, long long ld, long long s) {
    const Logs logs = logs_of(net, group, a, z, ld, s);
    real total = 0;
    for (int k = 0; k < group.size; ++k) {
        if (k == logs.best) continue;
        const real y = z[group.row[k] * ld + s], tk = t[group.position[k]];
        total += (logs.both ? (real(1) - tk) * (y / (real(1) - y)) : real(0)) - tk;
    }
    const real t_w = t[group.position[logs.best]];
    const real lost = logs.both ? (real(1) - t_w) * z[group.row[logs.best] * ld + s] : real(0);
    if (!team.live) return;
    for (int k = team.part; k < group.size; k += team.parts) {
        const real y = z[group.row[k] * ld + s], tk = t[group.position[k]];
        real value = lost - t_w * logs.rest - y * total;
        if (k != logs.best) {
            const real own = (logs.both ? (real(1) - tk) * (y / (real(1) - y)) : real(0)) - tk;
            value = own - y * (total - t_w) - lost * logs_share(logs, k, a[group.row[k] * ld + s]);
        }
        head[group.position[k] * ld + s] = weight * value;
    }
}

// head = weight * R a_dot (exact), or weight * Lambda a_dot
__device__ __forceinline__ void logs_curvature(const Network& net, const Group& group, const Team& team, const real* a, const real* z,
                                               const real* t, real weight, bool exact, const real* a_dot, real* head, long long ld,
                                               long long s) {
    const Logs logs = logs_of(net, group, a, z, ld, s);
    const real base = a_dot[group.row[logs.best] * ld + s], y_w = z[group.row[logs.best] * ld + s], t_w = t[group.position[logs.best]];
    const real n_w = logs.both ? real(1) - t_w : real(0), s_base = logs.next < 0 ? base : a_dot[group.row[logs.next] * ld + s];
    real mean = 0, s_mean = 0;  // of a_dot over y and over s, less the winner's and the next one's
    for (int k = 0; k < group.size; ++k) {
        const long long at = group.row[k] * ld + s;
        if (k == logs.best) continue;
        mean += z[at] * (a_dot[at] - base);
        s_mean += logs_share(logs, k, a[at]) * (a_dot[at] - s_base);
    }
    real common = n_w + t_w, bent = 0, along = 0, pushed = 0;
    for (int k = 0; k < group.size; ++k) {
        if (k == logs.best) continue;
        const long long at = group.row[k] * ld + s;
        const real y = z[at], d = a_dot[at] - base, tk = t[group.position[k]], n = logs.both ? real(1) - tk : real(0);
        const real odds = y / (real(1) - y), beta = n / ((real(1) - y) * (real(1) - y));
        pushed += (tk + n * odds * odds) * (d - mean);
        common += tk - beta * y * (real(2) - y);
        bent += beta * y;
        along += beta * y * d;
    }
    const real from_others = s_mean + (s_base - base);
    if (!team.live) return;
    for (int k = team.part; k < group.size; k += team.parts) {
        const long long at = group.row[k] * ld + s;
        const bool wins = k == logs.best;
        const real y = z[at], d = a_dot[at] - base, tk = t[group.position[k]], share = logs_share(logs, k, a[at]);
        const real n = logs.both && !wins ? real(1) - tk : real(0), odds = wins ? real(0) : y / (real(1) - y);
        real value = -t_w * mean * logs.rest - y * pushed - n_w * y_w * y_w * from_others;
        if (exact) {
            const real beta = wins ? real(0) : n / ((real(1) - y) * (real(1) - y));
            value = y * ((common + beta) * (d - mean) + (bent * d - along)) - n_w * share * ((a_dot[at] - s_base) - s_mean);
        } else if (!wins) {
            value = (tk + n * odds * odds) * (d - mean) - y * (pushed - t_w * mean) + n_w * y_w * y_w * share * from_others;
        }
        head[group.position[k] * ld + s] = weight * value;
    }
}

// z = exp(a - max) / sum
__device__ __forceinline__ void group_softmax(const Group& group, const Team& team, const real* a, real* z, long long ld, long long s) {
    const real top = group_largest(group, team, a, ld, s);
    real sum = 0;
    for (int k = team.part; k < group.size; k += team.parts) sum += exp(a[group.row[k] * ld + s] - top);
    sum = team_sum(team, sum);
    if (team.live)
        for (int k = team.part; k < group.size; k += team.parts) z[group.row[k] * ld + s] = exp(a[group.row[k] * ld + s] - top) / sum;
}

// this thread's share of E_n; t points at the sample's K targets
__device__ __forceinline__ real group_error(const Network& net, const Group& group, const Team& team, const real* a, const real* z,
                                            const real* t, long long ld, long long s) {
    if (group.canonical) {  // sum t (ln sum exp(a) - a): terms of one sign, with ln sum exp(a) = top + ln(1 + the others')
        const real top = group_largest(group, team, a, ld, s);
        int best = 0;
        while (best + 1 < group.size && a[group.row[best] * ld + s] < top) ++best;
        real rest = 0, own = 0;
        for (int k = team.part; k < group.size; k += team.parts)
            if (k != best) rest += exp(a[group.row[k] * ld + s] - top);
        const real more = log1p(team_sum(team, rest));
        for (int k = team.part; k < group.size; k += team.parts)
            own += t[group.position[k]] * ((top - a[group.row[k] * ld + s]) + more);
        return own;
    }
    if (group_logs(net, group)) return logs_error(net, group, team, a, z, t, ld, s);
    if (error_is_squares(int(net.error))) {
        const real others = group_others(group, team, z, ld, s);
        real own = 0;
        for (int k = team.part; k < group.size; k += team.parts)
            own += real(0.5) * square_of(softmax_less(z[group.row[k] * ld + s], t[group.position[k]], others));
        return own;
    }
    real own = 0;
    for (int k = team.part; k < group.size; k += team.parts)
        own += error_value(int(net.error), z[group.row[k] * ld + s], t[group.position[k]]);
    return own;
}

// head = (dy/da)^T v; v may be head itself.  dy/da is symmetric, so this is the pushforward too.  Moving all of v by a constant changes
// nothing: it is taken from the winner's.
__device__ __forceinline__ void group_pullback(const Group& group, const Team& team, const real* z, const real* v, real* head,
                                               long long ld, long long s) {
    const int best = group_winner(group, z, ld, s);
    const bool own = team.live && best % team.parts == team.part;  // v may have been written by this thread alone
    const real base = team_sum(team, own ? v[group.position[best] * ld + s] : real(0));
    real dot = 0;
    if (team.live)
        for (int k = team.part; k < group.size; k += team.parts) dot += z[group.row[k] * ld + s] * (v[group.position[k] * ld + s] - base);
    dot = team_sum(team, dot);
    if (team.live)
        for (int k = team.part; k < group.size; k += team.parts) {
            const long long to = group.position[k] * ld + s;
            head[to] = z[group.row[k] * ld + s] * ((v[to] - base) - dot);
        }
}

// head = weight * dE_n/da
__device__ __forceinline__ void group_delta(const Network& net, const Group& group, const Team& team, const real* a, const real* z,
                                            const real* t, real weight, real* head, long long ld, long long s) {
    if (group_logs(net, group)) return logs_delta(net, group, team, a, z, t, weight, head, ld, s);
    const real others = group_others(group, team, z, ld, s);
    real base = 0, dot = 0;  // the winner's e', and sum_c y_c (e'_c - base), so that (dy/da)^T e' = y ((e' - base) - dot)
    if (!group.canonical) {
        const int best = group_winner(group, z, ld, s);
        base = group_dy(net, z[group.row[best] * ld + s], t[group.position[best]], others);
        for (int k = team.part; k < group.size; k += team.parts) {
            const real y = z[group.row[k] * ld + s];
            dot += y * (group_dy(net, y, t[group.position[k]], others) - base);
        }
        dot = team_sum(team, dot);
    }
    if (team.live)
        for (int k = team.part; k < group.size; k += team.parts) {
            const real y = z[group.row[k] * ld + s], tk = t[group.position[k]];
            const real value = group.canonical ? softmax_less(y, tk, others) : y * ((group_dy(net, y, tk, others) - base) - dot);
            head[group.position[k] * ld + s] = weight * value;
        }
}

// head = weight * sum_c M_kc a_dot_c with M = R, the Hessian of E_n by a (exact), or its positive part Lambda.  a_dot and e' are taken
// from the winner's, which changes nothing.
__device__ __forceinline__ void group_curvature(const Network& net, const Group& group, const Team& team, const real* a,
                                                const real* z, const real* t, real weight, bool exact, const real* a_dot, real* head,
                                                long long ld, long long s) {
    if (group_logs(net, group)) return logs_curvature(net, group, team, a, z, t, weight, exact, a_dot, head, ld, s);
    const int error = int(net.error), best = group_winner(group, z, ld, s);
    const real others = group_others(group, team, z, ld, s), still = a_dot[group.row[best] * ld + s];
    real mean = 0;  // sum_c y_c a_dot_c, so that dy/da a_dot = y (a_dot - mean)
    for (int k = team.part; k < group.size; k += team.parts) mean += z[group.row[k] * ld + s] * (a_dot[group.row[k] * ld + s] - still);
    mean = team_sum(team, mean);
    real curved = 0, pull = 0, moved = 0, base = 0, bent = 0;
    if (!group.canonical) {
        const real top = z[group.row[best] * ld + s];
        base = group_dy(net, top, t[group.position[best]], others);
        bent = error_d2y(error, top, t[group.position[best]]) * top * -mean;  // e'' dy/da a_dot of the winner
        for (int k = team.part; k < group.size; k += team.parts) {  // sum_c y_c e''_c (P a_dot)_c  and  sum_c e'_c y_c
            const long long at = group.row[k] * ld + s;
            const real y = z[at], tk = t[group.position[k]];
            curved += y * (error_d2y(error, y, tk) * y * ((a_dot[at] - still) - mean) - bent);
            pull += (group_dy(net, y, tk, others) - base) * y;
        }
        curved = team_sum(team, curved);
        pull = team_sum(team, pull);
        for (int k = team.part; k < group.size; k += team.parts) {  // sum_c u_c a_dot_c with u = y (e' - sum e' y)
            const long long at = group.row[k] * ld + s;
            moved += z[at] * ((group_dy(net, z[at], t[group.position[k]], others) - base) - pull) * (a_dot[at] - still);
        }
        moved = team_sum(team, moved);
    }
    if (!team.live) return;
    for (int k = team.part; k < group.size; k += team.parts) {
        const long long at = group.row[k] * ld + s;
        const real y = z[at], tk = t[group.position[k]], rate = (a_dot[at] - still) - mean;
        real value = y * rate;
        if (!group.canonical) {
            const real slope = (group_dy(net, y, tk, others) - base) - pull;
            value = y * ((error_d2y(error, y, tk) * value - bent) - curved);
            if (exact) value += y * slope * rate - y * moved;
        }
        head[group.position[k] * ld + s] = weight * value;
    }
}

// E_n of all items: the same in every thread of the team
__device__ __forceinline__ real team_error(const Network& net, const Team& team, const real* a, const real* z, const real* t,
                                           long long ld, long long s) {
    real own = 0;
    for (int i = team.part; i < net.n_single; i += team.parts) own += single_error(net, i, a, z, t, ld, s);
    for (int i = int(net.n_single); i < net.n_items; ++i) own += group_error(net, group_of(net, i), team, a, z, t, ld, s);
    return team_sum(team, own);
}

// ---- kernels: a team for every sample, its elementwise items and groups shared by the blocks of a column (blockIdx.y) ---------
// Batched ones take batch b from blockIdx.z.  Shared memory: one number a thread.

// y = softmax(a) for every group
extern "C" __global__ void
head_softmax(const Network* network, const real* a, long long n, real* z) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const long long own = (long long)blockIdx.x * blockDim.x + threadIdx.x, s = own < n ? own : n - 1;
    const Team team = team_of(shared, own < n);
    for (int i = int(net.n_single) + blockIdx.y; i < net.n_items; i += gridDim.y) group_softmax(group_of(net, i), team, a, z, n, s);
}

// each[s] = weight_s E_s
extern "C" __global__ void
head_error(const Network* network, const real* a, const real* z, const real* t, const real* weight, long long n, real* each) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const long long own = (long long)blockIdx.x * blockDim.x + threadIdx.x, s = own < n ? own : n - 1;
    const Team team = team_of(shared, own < n);
    const real sum = team_error(net, team, a, z, t + s * net.n_outputs, n, s);
    if (team.live && team.part == 0) each[s] = weight[s] * sum;
}

// head (K, n) = weight dE/da
extern "C" __global__ void
head_delta(const Network* network, const real* a, const real* z, const real* t, const real* weight, long long n, real* head) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const long long own = (long long)blockIdx.x * blockDim.x + threadIdx.x, s = own < n ? own : n - 1;
    const Team team = team_of(shared, own < n);
    const real* target = t + s * net.n_outputs;
    if (team.live)
        for (int i = blockIdx.y * team.parts + team.part; i < net.n_single; i += gridDim.y * team.parts)
            single_delta(net, i, a, z, target, weight[s], head, n, s);
    for (int i = int(net.n_single) + blockIdx.y; i < net.n_items; i += gridDim.y)
        group_delta(net, group_of(net, i), team, a, z, target, weight[s], head, n, s);
}

// head (B, K, n) = (dy/da)^T v, in place: v stands in `head`
extern "C" __global__ void
head_pullback(const Network* network, const real* a, const real* z, long long n, real* head) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const long long own = (long long)blockIdx.x * blockDim.x + threadIdx.x, s = own < n ? own : n - 1;
    const Team team = team_of(shared, own < n);
    head += blockIdx.z * (net.n_outputs * n);
    if (team.live)
        for (int i = blockIdx.y * team.parts + team.part; i < net.n_single; i += gridDim.y * team.parts)
            single_pullback(net, i, a, head, head, n, s);
    for (int i = int(net.n_single) + blockIdx.y; i < net.n_items; i += gridDim.y)
        group_pullback(group_of(net, i), team, z, head, head, n, s);
}

// y_dot (B, K, n) = dy/da a_dot
extern "C" __global__ void
head_pushforward(const Network* network, const real* a, const real* z, const real* a_dot, long long n, real* y_dot) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const long long own = (long long)blockIdx.x * blockDim.x + threadIdx.x, s = own < n ? own : n - 1;
    const Team team = team_of(shared, own < n);
    a_dot += blockIdx.z * (net.n_rows * n);
    y_dot += blockIdx.z * (net.n_outputs * n);
    if (team.live)
        for (int i = blockIdx.y * team.parts + team.part; i < net.n_single; i += gridDim.y * team.parts) {
            y_dot[net.item_position[i] * n + s] = a_dot[net.item_row[i] * n + s];
            single_pullback(net, i, a, y_dot, y_dot, n, s);
        }
    for (int i = int(net.n_single) + blockIdx.y; i < net.n_items; i += gridDim.y) {
        const Group group = group_of(net, i);
        if (team.live)
            for (int k = team.part; k < group.size; k += team.parts) y_dot[group.position[k] * n + s] = a_dot[group.row[k] * n + s];
        group_pullback(group, team, z, y_dot, y_dot, n, s);
    }
}

// head (B, K, n) = weight R a_dot (exact) or weight Lambda a_dot
extern "C" __global__ void
head_curvature(const Network* network, const real* a, const real* z, const real* t, const real* weight, const real* a_dot,
               int exact, long long n, real* head) {
    extern __shared__ real shared[];
    const Network& net = *network;
    const long long own = (long long)blockIdx.x * blockDim.x + threadIdx.x, s = own < n ? own : n - 1;
    const Team team = team_of(shared, own < n);
    const real* target = t + s * net.n_outputs;
    a_dot += blockIdx.z * (net.n_rows * n);
    head += blockIdx.z * (net.n_outputs * n);
    if (team.live)
        for (int i = blockIdx.y * team.parts + team.part; i < net.n_single; i += gridDim.y * team.parts)
            single_curvature(net, i, a, z, target, weight[s], exact != 0, a_dot, head, n, s);
    for (int i = int(net.n_single) + blockIdx.y; i < net.n_items; i += gridDim.y)
        group_curvature(net, group_of(net, i), team, a, z, target, weight[s], exact != 0, a_dot, head, n, s);
}
