// Scalar helpers that the generated tables of activations and errors are written in (graphbp_cupy/formulas.py).
// `real` is float or double: -DREAL=...  Every helper lets a NaN through, as the core's NumPy formulas do.
typedef REAL real;

// sqrt(1/2) less its nearest float or double
#define SQRT_HALF_REST (sizeof(real) == 8 ? -4.8336466567264567e-17 : 1.2101617485882747e-8)

__device__ __forceinline__ real keep_nan(real a, real value) { return a != a ? a : value; }

// a * factor where factor decays faster than a grows: 0 * inf is 0
__device__ __forceinline__ real times(real a, real factor) { return factor == real(0) ? real(0) : a * factor; }

__device__ __forceinline__ real sign_of(real a) { return a > real(0) ? real(1) : a < real(0) ? real(-1) : keep_nan(a, real(0)); }

__device__ __forceinline__ real sigmoid(real a) {
    const real e = exp(-fabs(a));
    return (a >= real(0) ? real(1) : e) / (real(1) + e);
}

__device__ __forceinline__ real dsigmoid(real a) {
    const real e = exp(-fabs(a));
    return e / ((real(1) + e) * (real(1) + e));
}

__device__ __forceinline__ real d2sigmoid(real a) {
    const real s = fabs(a), e = exp(-s), q = real(1) + e;
    const real d2 = e * expm1(-s) / (q * q * q);
    return a >= real(0) ? d2 : -d2;
}

// 4 e / (1 + e)^2 with e = exp(-2 |a|): 1 - tanh(a)^2 would cancel for large |a|
__device__ __forceinline__ real dtanh(real a) {
    const real e = exp(real(-2) * fabs(a));
    return real(4) * e / ((real(1) + e) * (real(1) + e));
}

__device__ __forceinline__ real softplus(real a) { return (a >= real(0) ? a : real(0)) + log1p(exp(-fabs(a))); }

// exp(-c a^2), c a power of two, with what c a^2 loses by rounding: the exponential would magnify it
__device__ __forceinline__ real exp_of_square(real c, real a) {
    const real high = c * a * a;
    return high < real(1000) ? exp(-high) * (real(1) - fma(c * a, a, -high)) : exp(-high);
}

// erfc of the rounded argument x, and its slope there times what x lost by rounding
__device__ __forceinline__ real normal_cdf(real a) {
    const real x = -a * real(0.70710678118654752440);
    const real lost = fma(-a, real(0.70710678118654752440), -x) - a * real(SQRT_HALF_REST);
    const real slope = real(-1.12837916709551257390) * exp(-x * x);
    return real(0.5) * (erfc(x) + (slope == real(0) ? real(0) : slope * lost));
}

__device__ __forceinline__ real normal_pdf(real a) { return real(0.39894228040143267794) * exp_of_square(real(0.5), a); }

// 1 / (1 + a^2), where a^2 would overflow too
__device__ __forceinline__ real darctan(real a) {
    const bool far = fabs(a) > real(1);
    const real t = far ? real(1) / a : a, w = real(1) / (real(1) + t * t);
    return far ? t * t * w : w;
}

// t ln y, t / y and t / y^2, each 0 where t = 0 whatever y is
__device__ __forceinline__ real xlogy(real t, real y) { return t == real(0) ? real(0) : t * log(y); }
__device__ __forceinline__ real ratio(real t, real y) { return t == real(0) ? real(0) : t / y; }
__device__ __forceinline__ real ratio2(real t, real y) { return t == real(0) ? real(0) : t / (y * y); }

// What NumPy functions of registered rows are written in (graphbp_cupy/tracing.py); a NaN on either side gives NaN
__device__ __forceinline__ real square_of(real a) { return a * a; }
__device__ __forceinline__ real cube_of(real a) { return a * a * a; }
__device__ __forceinline__ real larger(real a, real b) { return a > b || a != a ? a : b; }
__device__ __forceinline__ real smaller(real a, real b) { return a < b || a != a ? a : b; }
__device__ __forceinline__ real heaviside_of(real a, real at_zero) {
    return a > real(0) ? real(1) : a < real(0) ? real(0) : keep_nan(a, at_zero);
}
