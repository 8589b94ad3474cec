"""z = h(a), h' and h'' for every built-in activation, as vector arithmetic: at most 2 ulp from the exact h.

Each row of `FORMULAS` holds `f`, `df` and `d2f` of the pre-activation.  The reverse sweep of a gradient has z, and keeps no copy of a
where `dz` makes h' of it.  Where z comes near a limit of h, h' is small beside what rounding took from z: there, where `far` is true,
the forward sweep keeps h' itself, from `both`, which has (h, h') for the price of one exponential.

For float32 those that `is_native` names run in float32 itself, which takes half the vectors; the others run in float64 and are rounded
once at the end (`graphbp_numba.machine.functions`), which leaves half an ulp.

How each stays accurate
-----------------------
exp     x = k ln 2 + r with a fused multiply–add, so the leading part of r is exact; then 1 + (r + r² p(r)), and 2^k in two factors, so
        that subnormal results are rounded once.
log     x = 2^k m, √½ ≤ m < √2, s = f/(2 + f), log m = f − (f²/2 − s (f²/2 + s² p(s²))) with f = m − 1 exact.
sin     x − k π/2 with π/2 in three parts, kept as an unevaluated sum of two floats; |x| ≥ 2²⁰ goes, lane by lane, to the C library.
gelu    a Φ(a) through Φ(−u) = exp(−u²/2) G(u)/(u + 0.8), where G is nearly constant; u² is kept to twice the precision.
Coefficients are Chebyshev fits (mpmath.chebyfit) on the reduced ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from graphbp_numba.machine.lanes import Lanes, Mask, declared, fma, polynomial, where

__all__ = ["FORMULAS", "Formula", "is_native", "vector_exp"]

Vector = Callable[[Lanes], Lanes]
Pair = Callable[[Lanes], tuple[Lanes, Lanes]]

NEAR = 0.9375
"""How near its limit z may come, as a fraction of it, before h' is kept: of z's half an ulp, h' from z makes eight."""

_LOG2E = 1.4426950408889634
_TINY = 2.2250738585072014e-308

_EM1 = (
    0.5, 0.16666666666666666, 0.04166666666666668, 0.008333333333333333, 0.0013888888888879004, 0.00019841269841263252,
    2.480158733663095e-05, 2.7557319247344507e-06, 2.755726307730941e-07, 2.5052070959803662e-08, 2.091821231913398e-09,
    1.6086677666787362e-10,
)  # fmt: skip
_LOG = (
    0.6666666666666666, 0.4000000000000088, 0.28571428570803614, 0.22222222391713917, 0.18181795640132906, 0.15386239702814658,
    0.13268773138656886, 0.13086626147840102,
)  # fmt: skip
_LOG1P = (
    0.6666666666666666, 0.4, 0.2857142857142882, 0.22222222222172788, 0.18181818186880555, 0.15384615076709174, 0.13333345323305978,
    0.1176439410267377, 0.10531837812039883, 0.09457163207211484, 0.09231944273368248, 0.052834122281372714, 0.14938828485979846,
)  # fmt: skip
_ATAN = (
    -0.3333333333333333, 0.19999999999999554, -0.14285714285648404, 0.11111111107234799, -0.09090908969557403, 0.07692305354678655,
    -0.06666636435777692, 0.05882074956371294, -0.05261265735709454, 0.04752086773576656, -0.04308119655330471, 0.03872640214042632,
    -0.033750132001619734, 0.027567942297344678, -0.020238706986393514, 0.012756172907694298, -0.006575683344151699,
    0.002622977891906089, -0.0007518472526973822, 0.0001368724853148122, -1.1832505417555692e-05,
)  # fmt: skip
_SIN = (
    -0.16666666666666666, 0.008333333333333331, -0.00019841269841265017, 2.755731921930192e-06, -2.5052106219521895e-08,
    1.6058529572267877e-10, -7.586576588171073e-13,
)  # fmt: skip
_COS = (
    0.041666666666666664, -0.0013888888888888887, 2.4801587301584618e-05, -2.7557319221382114e-07, 2.087675578389404e-09,
    -1.1470459749675607e-11, 4.745804889760674e-14,
)  # fmt: skip
_MILLS = (
    0.46639339355589854, -0.04597355027203069, -0.060343724416332636, 0.05097352993757264, -0.007676097388735162,
    -0.006645115237057587, 0.0011226812404197424, 0.0013640470346934028, 4.414102766927866e-05, -0.00028351434954498303,
    -0.00010130136878134902, 3.1033503467846914e-05, 3.863187282405934e-05, 9.464004789337488e-06, -5.908700082883065e-06,
    -5.818167953011124e-06, -1.544434393152055e-06, 8.758693640552183e-07, 1.052053323478464e-06, 3.5426920899938066e-07,
    -1.5373544508680438e-07, -1.9360420510691884e-07, -4.522844790569776e-08, 2.4785905516109586e-08, 1.572671991651795e-08,
    2.4304263878312533e-09,
)  # fmt: skip  # G as a polynomial in t = (u − 2.5)/(u + 2.5), u in [0, 39]


# -- building blocks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Real:
    """What exp needs to know about a precision.

    exponent : of the largest numbers; 2^(1 − exponent) is the smallest normal one.
    magic : 1.5 · 2^mantissa: adding it rounds to an integer, whose bits then stand in the low mantissa.
    ln2, ln2_lo : their sum is ln 2.        low, high : where exp has long been 0 or infinite.
    vanishing : where `_reduce` gives k = −exponent, of which `_power_of_two` makes 0.
    em1 : expm1(r) = r + r² Σ_i em1_i r^i for |r| ≤ ½ ln 2, to a rounding error.
    faint : quotients below this are too near to the subnormal numbers for a residual.
    """

    mantissa: int
    exponent: int
    magic: float
    magic_bits: int
    one_bits: int
    ln2: float
    ln2_lo: float
    low: float
    high: float
    vanishing: float
    em1: tuple[float, ...]
    faint: float


_DOUBLE = _Real(
    52,
    1023,
    6755399441055744.0,
    0x4338000000000000,
    0x3FF0000000000000,
    0.6931471805599453,
    2.3190468138462996e-17,
    -746.0,
    710.0,
    -709.2,
    _EM1,
    1e-290,
)
_SINGLE = _Real(
    23,
    127,
    12582912.0,
    0x4B400000,
    0x3F800000,
    0.693147182464599609375,
    -1.904654299957768e-09,
    -105.0,
    89.0,
    -88.14,
    _EM1[:7],
    1e-30,
)
_LN2, _LN2_LO, _MAGIC, _MAGIC_BITS = _DOUBLE.ln2, _DOUBLE.ln2_lo, _DOUBLE.magic, _DOUBLE.magic_bits


def _real(x: Lanes) -> _Real:
    return _DOUBLE if x.is_double else _SINGLE


def _reduce(x: Lanes, x_lo: Lanes | None = None) -> tuple[Lanes, Lanes]:
    """(k, expm1(r)) with x + x_lo = k ln 2 + r, |r| ≤ ½ ln 2; k as integers."""
    real = _real(x)
    shifted = fma(x, _LOG2E, real.magic)
    k = shifted - real.magic
    high = fma(k, -real.ln2, x)
    r = fma(k, -real.ln2_lo, high) if x_lo is None else high - fma(k, real.ln2_lo, -x_lo)
    return shifted.bits() - real.magic_bits, fma(r * r, polynomial(r, real.em1), r)


def _power_of_two(k: Lanes) -> Lanes:
    """2^k where that is a normal number, and 0 for the k just below."""
    real = _real(k)
    return ((k << real.mantissa) + real.one_bits).as_float()


def _scale(x: Lanes, k: Lanes) -> Lanes:
    """x 2^k, rounded once even where the result is subnormal."""
    half = k >> 1
    return x * _power_of_two(half) * _power_of_two(k - half)


def vector_exp(x: Lanes) -> Lanes:
    """exp(x)."""
    k, q = _reduce(x.clamp(_real(x).low, _real(x).high))
    return _scale(q + 1, k)


def _exp_of_sum(high: Lanes, low: Lanes) -> Lanes:
    """exp(high + low), |low| an ulp or so of high, high ≤ 0."""
    k, q = _reduce(high.clamp(-746.0, 710.0), low)
    return _scale(q + 1, k)


def _expm1_and_exp(x: Lanes) -> tuple[Lanes, Lanes]:
    """(exp(x) − 1, exp(x)); the first keeps the sign of x, zeros too."""
    real = _real(x)
    k, q = _reduce(x.clamp(real.low, real.high))
    most, least = real.exponent - 1, 24 - real.exponent
    s = _power_of_two(where(k > most, most, where(k < least, least, k)))  # beyond, one of the two terms is all there is
    exp = _scale(q + 1, k)
    return where(x > 40.0, exp, fma(s, q, s - 1)).copysign(x), exp


def _expm1(x: Lanes) -> Lanes:
    return _expm1_and_exp(x)[0]


def _log(x: Lanes) -> Lanes:
    """The natural logarithm."""
    tiny = x < _TINY
    scaled = where(tiny, x * 18014398509481984.0, x)
    exponent = (scaled.bits() - 0x3FE6A09E667F3BCD) >> 52
    f = (scaled.bits() - (exponent << 52)).as_float() - 1
    k = (exponent + _MAGIC_BITS).as_float() - _MAGIC
    k = where(tiny, k - 54, k)
    s = f / (f + 2)
    half = 0.5 * f * f
    correction = fma(k, _LN2_LO, s * fma(s * s, polynomial(s * s, _LOG), half))
    value = fma(k, _LN2, f - (half - correction))
    value = where(x.equals(math.inf), math.inf, value)
    value = where(x.equals(0.0), -math.inf, value)
    return where((x < 0) | x.is_nan(), math.nan, value)


def _log1p_unit(e: Lanes) -> Lanes:
    """log(1 + e) for 0 ≤ e ≤ 1."""
    s = e / (e + 2)
    half = 0.5 * e * e
    return e - (half - s * fma(s * s, polynomial(s * s, _LOG1P), half))


_PIO2 = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33)


def _reduce_angle(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """(quadrant, r, r_lo) with x = quadrant π/2 + r + r_lo, for |x| < 2²⁰."""
    shifted = fma(x, 0.6366197723675814, _MAGIC)
    k = shifted - _MAGIC
    first = fma(k, -_PIO2[0], x)  # exact
    product = k * _PIO2[1]
    product_lo = fma(k, _PIO2[1], -product)
    r = first - product
    virtual = r - first  # the two-sum of first and −product, exact whichever is larger
    r_lo = (first - (r - virtual)) - (product + virtual)
    return shifted.bits() - _MAGIC_BITS, r, fma(k, -_PIO2[2], r_lo - product_lo)


def _sine(x: Lanes, quarter_turns: int) -> Lanes:
    """sin(x + quarter_turns π/2)."""
    far = x.abs() >= 1048576.0
    quadrant, r, r_lo = _reduce_angle(where(far, 0.0, x))
    z = r * r
    sine = r + fma(r * z, polynomial(z, _SIN), fma(-0.5 * z, r_lo, r_lo))
    half = 0.5 * z
    top = 1 - half
    cosine = top + fma(z * z, polynomial(z, _COS), ((1 - top) - half) - r * r_lo)
    turn = quadrant + quarter_turns
    value = where((turn & 1).compare("==", 0), sine, cosine)
    value = where((turn & 2).compare("==", 0), value, -value)
    if quarter_turns == 0:
        value = where(x.equals(0.0), x, value)
    return _libm_where(x, far, value, ("sin", "cos")[quarter_turns])


def _libm_where(x: Lanes, mask: object, value: Lanes, name: str) -> Lanes:
    """The C library's sin or cos in the lanes of the mask (rare: reached only where some lane is there)."""
    b = x.b
    before = b.basic_block
    double = ir.DoubleType()
    function = declared(b, f"llvm.{name}.f64", double, double)
    with b.if_then(mask.any(), likely=False):  # type: ignore[attr-defined]
        slow = value.v
        for lane in range(x.count):
            index = ir.Constant(ir.IntType(32), lane)
            each = b.call(function, [b.extract_element(x.v, index)])
            keep = b.extract_element(slow, index)
            slow = b.insert_element(slow, b.select(b.extract_element(mask.v, index), each, keep), index)  # type: ignore[attr-defined]
        inside = b.basic_block
    phi = b.phi(x.v.type)
    phi.add_incoming(value.v, before)
    phi.add_incoming(slow, inside)
    return Lanes(b, phi)


def _zero_like(a: Lanes) -> Lanes:
    """0, or NaN where a is NaN."""
    return where(a.is_nan(), a, 0.0)


def _times(a: Lanes, factor: Lanes) -> Lanes:
    """a · factor, where factor decays faster than a grows: ∞ · 0 is 0."""
    return where(factor.equals(0.0), 0.0, a * factor)


# -- activations ------------------------------------------------------------------------------------------------------------------


def _tanh_and_slope(a: Lanes) -> tuple[Lanes, Lanes]:
    # tanh |a| = −m / (2 + m), m = expm1(−2|a|) = (s − 1) + s q; what m and 2 + m lose by rounding is carried along
    real = _real(a)
    x = -2 * a.abs()
    k, q = _reduce(where(x < real.vanishing, real.vanishing, x))
    s = _power_of_two(k)
    head, tail = s - 1, s * q
    m = head + tail
    m_lo = tail - (m - head)
    d = m + 2
    d_lo = (m - (d - 2)) + m_lo
    inverse = 1 / d
    z = m * inverse
    z = fma((fma(z, -d, m) + m_lo) - z * d_lo, inverse, z).copysign(a)
    return z, fma(s, q, s) * (inverse + inverse) * (inverse + inverse)


def _sigmoid_and_slope(a: Lanes) -> tuple[Lanes, Lanes]:
    e = vector_exp(-a.abs())
    d = e + 1
    d_lo = e - (d - 1)
    top = where(a < 0, e, where(a.is_nan(), a, 1.0))
    inverse = 1 / d
    q = top * inverse
    z = where(q < _real(a).faint, q, fma(fma(q, -d, top) - q * d_lo, inverse, q))
    return z, (e * inverse) * inverse


def _sigmoid(a: Lanes) -> Lanes:
    return _sigmoid_and_slope(a)[0]


def _dsigmoid(a: Lanes) -> Lanes:
    e = vector_exp(-a.abs())
    return e / ((e + 1) * (e + 1))


def _d2sigmoid(a: Lanes) -> Lanes:
    e = vector_exp(-a.abs())
    d = e + 1
    return (e * _expm1(-a.abs()) / (d * d * d)).copysign(-a)


def _dtanh(a: Lanes) -> Lanes:
    e = vector_exp(-2 * a.abs())
    return 4 * e / ((e + 1) * (e + 1))


def _silu(a: Lanes) -> Lanes:
    # for a < 0, a e^a / (1 + e^a), multiplied before the power of two is, so that a subnormal result is rounded once
    bounded = where(a < -760.0, -760.0, a)
    k, q = _reduce(-where(a > 760.0, 760.0, bounded.abs()))
    e = _scale(q + 1, k)
    d = e + 1
    d_lo = e - (d - 1)
    top = fma(bounded, q, bounded)
    top_lo = fma(bounded, q, bounded - top)
    z = top / d
    left = _scale(fma(fma(z, -d, top) + (top_lo - z * d_lo), 1 / d, z), k)
    return where(a < 0, left, a / d)


def _dsilu(a: Lanes) -> Lanes:
    return _sigmoid(a) + _times(a, _dsigmoid(a))


def _softplus(a: Lanes) -> Lanes:
    tail = _log1p_unit(vector_exp(-a.abs()))
    return where(a > 0, a, _zero_like(a)) + tail


def _square_exactly(a: Lanes, factor: float) -> tuple[Lanes, Lanes]:
    """factor a² as an unevaluated sum; factor is a power of two."""
    high = a * (factor * a)
    return high, where(high < 1e3, fma(a, factor * a, -high), 0.0)


def _gaussian(a: Lanes) -> Lanes:
    high, low = _square_exactly(a, 1.0)
    return _exp_of_sum(-high, -low)


def _gelu(a: Lanes) -> Lanes:
    u = where(a.abs() > 39.0, 39.0, a.abs())
    t = (u - 2.5) / (u + 2.5)
    slope = polynomial(t, _MILLS[1:])
    g = fma(t, slope, _MILLS[0])
    g_lo = fma(t, slope, _MILLS[0] - g)
    high, low = _square_exactly(u, 0.5)
    k, q = _reduce(-high, -low)
    d = u + 0.8
    d_lo = (u - (d - (d - u))) + (0.8 - (d - u))  # two-sum: exact
    top = g * u
    top_lo = fma(g, u, -top) + g_lo * u
    w = top / d
    w_lo = (fma(w, -d, top) - w * d_lo + top_lo) / d
    tail = _scale(w + fma(w, q, w_lo), k)  # u Φ(−u)
    return where(a < 0, -tail, where(a.is_nan(), a, where(a > 39.0, a, a - tail)))


def _normal_cdf(a: Lanes) -> Lanes:
    u = where(a.abs() > 39.0, 39.0, a.abs())
    t = (u - 2.5) / (u + 2.5)
    high, low = _square_exactly(u, 0.5)
    tail = _exp_of_sum(-high, -low) * polynomial(t, _MILLS) / (u + 0.8)
    return where(a < 0, tail, where(a.is_nan(), a, 1 - tail))


def _normal_pdf(a: Lanes) -> Lanes:
    high, low = _square_exactly(a, 0.5)
    return 0.3989422804014327 * _exp_of_sum(-high, -low)


def _softsign_and_slope(a: Lanes) -> tuple[Lanes, Lanes]:
    # 1 + |a| rounds to |a| + 1 ulp at most; for |a| = ∞ the quotient would be NaN
    d = a.abs() + 1
    inverse = 1 / d
    z = a * inverse
    z = fma(fma(z, -d, a), inverse, z)  # a / d, but for rare last bits
    return where(a.abs().equals(math.inf), 1.0, z).copysign(a), inverse * inverse


def _elu_and_slope(a: Lanes) -> tuple[Lanes, Lanes]:
    m, e = _expm1_and_exp(_negative(a))
    return where(a > 0, a, m.copysign(a)), where(a > 0, 1.0, e)


def _selu_and_slope(a: Lanes) -> tuple[Lanes, Lanes]:
    m, e = _expm1_and_exp(_negative(a))
    return where(a > 0, _SCALE * a, (_SCALE_ALPHA * m).copysign(a)), where(a > 0, _SCALE, _SCALE_ALPHA * e)


def _sign(a: Lanes) -> Lanes:
    return where(a.equals(0.0) | a.is_nan(), a + 0.0, a.constant(1.0).copysign(a))


def _arctan(a: Lanes) -> Lanes:
    size = a.abs()
    inverse = size > 1.0
    t = where(inverse, 1 / size, size)
    z = t * t
    tail = t * z * polynomial(z, _ATAN)
    value = where(inverse, 1.5707963267948966 - (t + (tail - 6.123233995736766e-17)), t + tail)
    return value.copysign(a)


_SCALE, _ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
_SCALE_ALPHA = _SCALE * _ALPHA
_LEAK = 0.01


def _negative(a: Lanes) -> Lanes:
    """min(a, 0), a NaN kept."""
    return where(a > 0, 0.0, a)


def _cube(a: Lanes) -> Lanes:
    return a * a * a


def _d2softsign(a: Lanes) -> Lanes:
    return -2 * _sign(a) * _cube(1 / (a.abs() + 1))


def _darctan(a: Lanes) -> Lanes:
    # 1 / (1 + a²), where a² would overflow too
    size = a.abs()
    t = where(size > 1.0, 1 / size, size)
    w = 1 / fma(t, t, 1.0)
    return where(size > 1.0, t * t * w, w)


def _positive_else(one: float, other: Vector) -> Vector:
    return lambda a: where(a > 0, one, other(_negative(a)))


@dataclass(frozen=True)
class Formula:
    """f, df, d2f of a; dz: h' as a function of z, where that is cheap.

    far : where `dz` loses more than a factor of 1 / (1 − NEAR) in precision, and what `both` says must be kept.
    both : (h, h') of a, for the price of h.
    """

    f: Vector
    df: Vector
    d2f: Vector
    dz: Vector | None = None
    far: Callable[[Lanes], Mask] | None = None
    both: Pair | None = None


def _paired(both: Pair, dz: Vector, far: Callable[[Lanes], Mask], df: Vector, d2f: Vector) -> Formula:
    """A row whose f is the first of `both`, to the last bit."""
    return Formula(lambda a: both(a)[0], df, d2f, dz, far, both)


FORMULAS: dict[str, Formula] = {
    "identity": Formula(lambda a: a, lambda a: _zero_like(a) + 1, _zero_like, lambda z: _zero_like(z) + 1),
    "tanh": _paired(
        _tanh_and_slope,
        lambda z: (1 - z) * (1 + z),
        lambda z: z.abs() > NEAR,
        _dtanh,
        lambda a: -2 * _tanh_and_slope(a)[0] * _dtanh(a),
    ),
    "sigmoid": _paired(_sigmoid_and_slope, lambda z: z * (1 - z), lambda z: z > NEAR, _dsigmoid, _d2sigmoid),
    "relu": Formula(
        lambda a: where(a > 0, a, _zero_like(a)),
        lambda a: where(a > 0, 1.0, _zero_like(a)),
        _zero_like,
        lambda z: where(z > 0, 1.0, _zero_like(z)),
    ),
    "leaky_relu": Formula(
        lambda a: where(a > 0, a, _LEAK * a),
        lambda a: where(a > 0, 1.0, _zero_like(a) + _LEAK),
        _zero_like,
        lambda z: where(z > 0, 1.0, _zero_like(z) + _LEAK),
    ),
    "elu": _paired(
        _elu_and_slope,
        lambda z: where(z > 0, 1.0, z + 1),
        lambda z: z < -NEAR,
        _positive_else(1.0, vector_exp),
        _positive_else(0.0, vector_exp),
    ),
    "selu": _paired(
        _selu_and_slope,
        lambda z: where(z > 0, _SCALE, z + _SCALE_ALPHA),
        lambda z: z < -NEAR * _SCALE_ALPHA,
        _positive_else(_SCALE, lambda a: _SCALE_ALPHA * vector_exp(a)),
        _positive_else(0.0, lambda a: _SCALE_ALPHA * vector_exp(a)),
    ),
    "gelu": Formula(
        _gelu,
        lambda a: _normal_cdf(a) + _times(a, _normal_pdf(a)),
        lambda a: _times(2 - a * a, _normal_pdf(a)),
    ),
    "silu": Formula(_silu, _dsilu, lambda a: 2 * _dsigmoid(a) + _times(a, _d2sigmoid(a))),
    "softplus": Formula(_softplus, _sigmoid, _dsigmoid),
    "softsign": _paired(
        _softsign_and_slope,
        lambda z: (1 - z.abs()) * (1 - z.abs()),
        lambda z: z.abs() > NEAR,
        lambda a: _softsign_and_slope(a)[1],
        _d2softsign,
    ),
    "exp": Formula(vector_exp, vector_exp, vector_exp, lambda z: z),
    "expm1": _paired(_expm1_and_exp, lambda z: z + 1, lambda z: z < -NEAR, vector_exp, vector_exp),
    "log": Formula(_log, lambda a: 1 / a, lambda a: -((1 / a) * (1 / a))),
    "sin": Formula(lambda a: _sine(a, 0), lambda a: _sine(a, 1), lambda a: -_sine(a, 0)),
    "cos": Formula(lambda a: _sine(a, 1), lambda a: -_sine(a, 0), lambda a: -_sine(a, 1)),
    "arctan": Formula(_arctan, _darctan, lambda a: -2 * _times(a, _darctan(a)) * _darctan(a)),
    "gaussian": Formula(
        _gaussian,
        lambda a: _times(-2 * a, _gaussian(a)),
        lambda a: _times(fma(4 * a, a, -2.0), _gaussian(a)),
    ),
    "reciprocal": Formula(
        lambda a: 1 / a, lambda a: -((1 / a) * (1 / a)), lambda a: 2 * (1 / a) * (1 / a) * (1 / a), lambda z: -(z * z)
    ),
    "square": Formula(lambda a: a * a, lambda a: 2 * a, lambda a: _zero_like(a) + 2),
    "sqrt": Formula(lambda a: a.sqrt(), lambda a: 0.5 / a.sqrt(), lambda a: -0.25 * _cube(1 / a.sqrt()), lambda z: 0.5 / z),
    "rsqrt": Formula(
        lambda a: 1 / a.sqrt(),
        lambda a: -0.5 * _cube(1 / a.sqrt()),
        lambda a: 0.75 * _cube(1 / a.sqrt()) / a,
        lambda z: -0.5 * _cube(z),
    ),
    "abs": Formula(lambda a: a.abs(), _sign, _zero_like),
    "step": Formula(lambda a: where(a > 0, 1.0, _zero_like(a)), _zero_like, _zero_like),
}

_EXACT = frozenset({"identity", "relu", "leaky_relu", "abs", "step", "square", "reciprocal", "sqrt"})
_NATIVE = frozenset({"tanh", "sigmoid", "softsign", "elu", "selu", "expm1"})


def is_native(name: str, kind: str) -> bool:
    """Whether a formula runs in float32 itself: exact or one rounding, a few roundings of z, or made for both precisions."""
    return kind == "dz" or name in _EXACT or name == "exp" or (name in _NATIVE and kind in ("f", "both"))
