// Rows that combine two others, a_j += g(z_u, z_v), besides their weighted sum.  To the sweeps these are two edges whose weights g_u and g_v
// differ from sample to sample: combination[j] is the kind of row j's g (-1: none), combination_first/second[j] are u and v, and
// fed_row[fed_ptr[i]..fed_ptr[i + 1]] are the rows that combine row i, as their second source where fed_second says so.
// Rows of z and delta are `stride` numbers apart; `at` is the sample.

enum { PRODUCT, MAXIMUM, MINIMUM, MAXIMUM_OF_ABS };  // the order of the core's COMBINATIONS

// The choice of the first: on ties, and of NaN before any number
__device__ __forceinline__ bool takes_first(int kind, real u, real v) {
    if (u != u) return true;
    return kind == MAXIMUM ? u >= v : kind == MINIMUM ? u <= v : fabs(u) >= fabs(v);
}

// g_u, or g_v for the second
__device__ __forceinline__ real combination_slope(int kind, bool second, real u, real v) {
    if (kind == PRODUCT) return second ? u : v;
    return takes_first(kind, u, v) == second ? real(0) : real(1);
}

__device__ __forceinline__ bool combines(const Network& net, long long j) { return net.n_combinations && net.combination[j] >= 0; }

__device__ __forceinline__ bool is_combined(const Network& net, long long i) {
    return net.n_combinations && net.fed_ptr[i + 1] > net.fed_ptr[i];
}

// g(z_u, z_v) of row j
__device__ __forceinline__ real combined(const Network& net, long long j, const real* z, long long stride, long long at) {
    const int kind = net.combination[j];
    const real u = z[net.combination_first[j] * stride + at], v = z[net.combination_second[j] * stride + at];
    return kind == PRODUCT ? u * v : takes_first(kind, u, v) ? u : v;
}

// g_u z_dot_u + g_v z_dot_v of row j
__device__ __forceinline__ real combined_tangent(const Network& net, long long j, const real* z, const real* z_dot, long long stride,
                                                 long long at) {
    const int kind = net.combination[j];
    const long long first = net.combination_first[j] * stride + at, second = net.combination_second[j] * stride + at;
    return combination_slope(kind, false, z[first], z[second]) * z_dot[first] +
           combination_slope(kind, true, z[first], z[second]) * z_dot[second];
}

// What the rows that combine row i add to beta_i: sum of g_i delta_j
__device__ __forceinline__ real combined_beta(const Network& net, long long i, const real* z, const real* delta, long long stride,
                                              long long at) {
    real sum = 0;
    for (int e = net.fed_ptr[i]; e < net.fed_ptr[i + 1]; ++e) {
        const long long j = net.fed_row[e];
        const real u = z[net.combination_first[j] * stride + at], v = z[net.combination_second[j] * stride + at];
        sum += combination_slope(net.combination[j], net.fed_second[e], u, v) * delta[j * stride + at];
    }
    return sum;
}

// What they add to the R-operator's: sum of g_i delta_dot_j + g_uv z_dot_other delta_j; only a product has a second derivative
__device__ __forceinline__ real combined_beta_dot(const Network& net, long long i, const real* z, const real* z_dot, const real* delta,
                                                  const real* delta_dot, long long stride, long long at) {
    real sum = combined_beta(net, i, z, delta_dot, stride, at);
    for (int e = net.fed_ptr[i]; e < net.fed_ptr[i + 1]; ++e) {
        const long long j = net.fed_row[e];
        if (net.combination[j] != PRODUCT) continue;
        const long long other = net.fed_second[e] ? net.combination_first[j] : net.combination_second[j];
        sum += z_dot[other * stride + at] * delta[j * stride + at];
    }
    return sum;
}
