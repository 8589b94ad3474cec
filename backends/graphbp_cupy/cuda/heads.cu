// Where the error meets the output units (graphbp.heads): an item is one elementwise output, or the outputs that one softmax
// couples.  All functions act on one sample of one item; a, z, a_dot hold rows of `ld` samples, `head` holds output positions.

struct Item {
    const int* row;       // rows of the item's units
    const int* position;  // their places among the K outputs
    int size;
    bool canonical;       // delta = y - t
    bool coupled;         // softmax
};

__device__ __forceinline__ Item item_of(const Network& net, int i) {
    const int first = net.item_ptr[i];
    const int flags = net.item_flags[i];
    return {net.item_row + first, net.item_position + first, net.item_ptr[i + 1] - first, (flags & 1) != 0, (flags & 2) != 0};
}

__device__ __forceinline__ real largest(const Item& item, const real* a, long long ld, long long s) {
    real top = a[item.row[0] * ld + s];
    for (int k = 1; k < item.size; ++k) {
        const real value = a[item.row[k] * ld + s];
        if (value > top || value != value) top = value;
    }
    return top;
}

// z = exp(a - max) / sum, the units of a softmax together
__device__ __forceinline__ void softmax_forward(const Item& item, const real* a, real* z, long long ld, long long s) {
    const real top = largest(item, a, ld, s);
    real sum = 0;
    for (int k = 0; k < item.size; ++k) {
        const real e = exp(a[item.row[k] * ld + s] - top);
        z[item.row[k] * ld + s] = e;
        sum += e;
    }
    for (int k = 0; k < item.size; ++k) z[item.row[k] * ld + s] /= sum;
}

// E_n of the item; t points at the sample's K targets
__device__ __forceinline__ real item_error(const Network& net, const Item& item, const real* a, const real* z, const real* t,
                                           long long ld, long long s) {
    const int error = int(net.error);
    real sum = 0;
    if (item.canonical && item.coupled) {  // ln sum exp(a) * sum t - sum t a
        const real top = largest(item, a, ld, s);
        real mass = 0, dot = 0;
        for (int k = 0; k < item.size; ++k) {
            const real ak = a[item.row[k] * ld + s], tk = t[item.position[k]];
            sum += exp(ak - top);
            mass += tk;
            dot += tk * ak;
        }
        return (top + log(sum)) * mass - dot;
    }
    for (int k = 0; k < item.size; ++k) {
        const long long at = item.row[k] * ld + s;
        const real tk = t[item.position[k]];
        sum += item.canonical ? error_at_a(error, a[at], tk) : error_value(error, z[at], tk);
    }
    return sum;
}

// head[k] = (dy/da)^T v at the item's positions; v may be head itself.  dy/da is symmetric, so this is the pushforward too.
__device__ __forceinline__ void item_pullback(const Network& net, const Item& item, const real* a, const real* z, const real* v,
                                              real* head, long long ld, long long s) {
    if (!item.coupled) {
        for (int k = 0; k < item.size; ++k) {
            const long long to = item.position[k] * ld + s;
            head[to] = activation_df(net.kind[item.row[k]], a[item.row[k] * ld + s]) * v[to];
        }
        return;
    }
    real dot = 0;
    for (int k = 0; k < item.size; ++k) dot += z[item.row[k] * ld + s] * v[item.position[k] * ld + s];
    for (int k = 0; k < item.size; ++k) {
        const long long to = item.position[k] * ld + s;
        head[to] = z[item.row[k] * ld + s] * (v[to] - dot);
    }
}

// head[k] = weight * dE_n/da_k
__device__ __forceinline__ void item_delta(const Network& net, const Item& item, const real* a, const real* z, const real* t,
                                           real weight, real* head, long long ld, long long s) {
    const int error = int(net.error);
    for (int k = 0; k < item.size; ++k) {
        const real y = z[item.row[k] * ld + s], tk = t[item.position[k]];
        head[item.position[k] * ld + s] = weight * (item.canonical ? y - tk : error_dy(error, y, tk));
    }
    if (!item.canonical) item_pullback(net, item, a, z, head, head, ld, s);
}

// head[k] = weight * sum_c M_kc a_dot_c with M = R, the Hessian of E_n by a (exact), or its positive part Lambda
__device__ __forceinline__ void item_curvature(const Network& net, const Item& item, const real* a, const real* z, const real* t,
                                               real weight, bool exact, const real* a_dot, real* head, long long ld, long long s) {
    const int error = int(net.error);
    if (!item.coupled) {
        for (int k = 0; k < item.size; ++k) {
            const long long at = item.row[k] * ld + s;
            const int kind = net.kind[item.row[k]];
            const real slope = activation_df(kind, a[at]), tk = t[item.position[k]];
            real m = slope;
            if (!item.canonical) {
                m = error_d2y(error, z[at], tk) * slope * slope;
                if (exact) m += error_dy(error, z[at], tk) * activation_d2f(kind, a[at]);
            }
            head[item.position[k] * ld + s] = weight * m * a_dot[at];
        }
        return;
    }
    real mean = 0;  // sum_c y_c a_dot_c, so that dy/da a_dot = y (a_dot - mean)
    for (int k = 0; k < item.size; ++k) mean += z[item.row[k] * ld + s] * a_dot[item.row[k] * ld + s];
    if (item.canonical) {
        for (int k = 0; k < item.size; ++k) {
            const long long at = item.row[k] * ld + s;
            head[item.position[k] * ld + s] = weight * z[at] * (a_dot[at] - mean);
        }
        return;
    }
    real curved = 0, pull = 0;  // sum_c y_c e''_c (P a_dot)_c  and  sum_c e'_c y_c
    for (int k = 0; k < item.size; ++k) {
        const long long at = item.row[k] * ld + s;
        const real y = z[at], tk = t[item.position[k]];
        curved += y * error_d2y(error, y, tk) * y * (a_dot[at] - mean);
        pull += error_dy(error, y, tk) * y;
    }
    real moved = 0;  // sum_c u_c a_dot_c with u = y (e' - sum e' y)
    if (exact)
        for (int k = 0; k < item.size; ++k) {
            const long long at = item.row[k] * ld + s;
            moved += z[at] * (error_dy(error, z[at], t[item.position[k]]) - pull) * a_dot[at];
        }
    for (int k = 0; k < item.size; ++k) {
        const long long at = item.row[k] * ld + s;
        const real y = z[at], tk = t[item.position[k]];
        real value = y * (error_d2y(error, y, tk) * y * (a_dot[at] - mean) - curved);
        if (exact) value += y * (error_dy(error, y, tk) - pull) * (a_dot[at] - mean) - y * moved;
        head[item.position[k] * ld + s] = weight * value;
    }
}

// ---- kernels: one thread per sample and item; batched ones take batch b from blockIdx.z ------------------------------------

// y = softmax(a) for every coupled item
extern "C" __global__ void
head_softmax(const Network* network, const real* a, long long n, real* z) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < net.n_items; i += gridDim.y * blockDim.y) {
        const Item item = item_of(net, i);
        if (item.coupled) softmax_forward(item, a, z, n, s);
    }
}

// each[s] = weight_s E_s, items in order
extern "C" __global__ void
head_error(const Network* network, const real* a, const real* z, const real* t, const real* weight, long long n, real* each) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    real sum = 0;
    for (int i = 0; i < net.n_items; ++i) sum += item_error(net, item_of(net, i), a, z, t + s * net.n_outputs, n, s);
    each[s] = weight[s] * sum;
}

// head (K, n) = weight dE/da
extern "C" __global__ void
head_delta(const Network* network, const real* a, const real* z, const real* t, const real* weight, long long n, real* head) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < net.n_items; i += gridDim.y * blockDim.y)
        item_delta(net, item_of(net, i), a, z, t + s * net.n_outputs, weight[s], head, n, s);
}

// head (B, K, n) = (dy/da)^T v, in place: v stands in `head`
extern "C" __global__ void
head_pullback(const Network* network, const real* a, const real* z, long long n, real* head) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    real* own = head + blockIdx.z * (net.n_outputs * n);
    for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < net.n_items; i += gridDim.y * blockDim.y)
        item_pullback(net, item_of(net, i), a, z, own, own, n, s);
}

// y_dot (B, K, n) = dy/da a_dot
extern "C" __global__ void
head_pushforward(const Network* network, const real* a, const real* z, const real* a_dot, long long n, real* y_dot) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    const real* tangent = a_dot + blockIdx.z * (net.n_rows * n);
    real* own = y_dot + blockIdx.z * (net.n_outputs * n);
    for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < net.n_items; i += gridDim.y * blockDim.y) {
        const Item item = item_of(net, i);
        for (int k = 0; k < item.size; ++k) own[item.position[k] * n + s] = tangent[item.row[k] * n + s];
        item_pullback(net, item, a, z, own, own, n, s);
    }
}

// head (B, K, n) = weight R a_dot (exact) or weight Lambda a_dot
extern "C" __global__ void
head_curvature(const Network* network, const real* a, const real* z, const real* t, const real* weight, const real* a_dot,
               int exact, long long n, real* head) {
    const Network& net = *network;
    const long long s = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= n) return;
    const real* tangent = a_dot + blockIdx.z * (net.n_rows * n);
    real* own = head + blockIdx.z * (net.n_outputs * n);
    for (int i = blockIdx.y * blockDim.y + threadIdx.y; i < net.n_items; i += gridDim.y * blockDim.y)
        item_curvature(net, item_of(net, i), a, z, t + s * net.n_outputs, weight[s], exact != 0, tangent, own, n, s);
}
