"""The formulas of the built-in activations in NumPy, in forms that neither overflow nor cancel; `builtin` makes the rows of them.

Where the activation is analytic they take complex `a`: branches go by its real part, and |a| is written as a or −a.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.tails import dsigmoid, sigmoid

__all__ = [
    "LEAK",
    "SELU_SA",
    "SELU_SCALE",
    "cube",
    "d2sigmoid",
    "darctan",
    "exp_neg",
    "expm1_neg",
    "finite",
    "gauss",
    "normal_cdf",
    "normal_pdf",
    "not_elementwise",
    "select",
    "silu_d",
    "silu_d2",
    "softmax",
    "times",
    "zero",
]

Array = npt.NDArray[Any]


def fold(a: Array) -> tuple[Array, Array]:
    """(s, right) with s = a where Re a ≥ 0, else −a: the analytic stand-in for |a|."""
    right = np.real(a) >= 0
    return np.where(right, a, -a), right


def d2sigmoid(a: Array) -> Array:
    """σ''(a)."""
    s, right = fold(a)
    e = np.exp(-s)
    d2 = e * np.expm1(-s) / (1 + e) ** 3
    return np.asarray(np.where(right, d2, -d2))


def exp_of_square(scale: float, a: Array) -> Array:
    """exp(−scale a²), 0 < scale ≤ 1: a = high + low, so that the rounding of a², which the exponential would magnify, is kept."""
    wide = np.result_type(a, np.float64)
    near = np.where(np.abs(np.real(a)) < 64, a, 64).astype(wide)  # exp(−64²/2) is 0
    high = np.round(np.real(near) * 2.0**20) / 2.0**20
    low = near - high
    value = np.exp(-scale * high * high) * np.exp(-scale * low * (near + high))
    return np.where(np.isnan(a), a, value).astype(np.result_type(a), copy=False)


def gauss(a: Array) -> Array:
    """exp(−a²)."""
    return exp_of_square(1.0, a)


def darctan(a: Array) -> Array:
    """1 / (1 + a²), where a² would overflow too."""
    far = np.abs(np.real(a)) > 1
    t = np.where(far, 1 / np.where(far, a, 1), a)
    w = 1 / (1 + t * t)
    return np.where(far, t * t * w, w)


def cube(a: Array) -> Array:
    """a³."""
    return a * a * a


SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


def normal_cdf(a: Array) -> Array:
    """Φ(a): for a < 0 by exp(−a²/2) and erfcx, of which neither magnifies a rounding."""
    from scipy.special import erfc, erfcx  # imported on use: SciPy costs more than all of graphbp

    wide = np.asarray(a, np.result_type(a, np.float64))
    left = np.real(wide) < 0
    tail = 0.5 * exp_of_square(0.5, wide) * erfcx(-np.where(left, wide, 0) * SQRT_HALF)
    return np.asarray(np.where(left, tail, 0.5 * erfc(-np.where(left, 0, wide) * SQRT_HALF))).astype(np.result_type(a), copy=False)


def normal_pdf(a: Array) -> Array:
    """φ(a), the standard normal density."""
    return np.asarray(INV_SQRT_2PI * exp_of_square(0.5, a))


def select(a: Array, negative: Callable[[Array], Any], positive: Callable[[Array], Any]) -> Array:
    """positive(a) where a > 0, negative(a) elsewhere; a NaN stays a NaN."""
    chosen = np.where(a > 0, positive(a), negative(a)).astype(np.result_type(a), copy=False)
    return np.asarray(chosen + 0 * finite(a))


def finite(a: Array) -> Array:
    """a with ±inf replaced by 0, so that 0 * finite(a) is 0, or NaN where a is NaN."""
    return np.where(np.isinf(a), 0, a)


def expm1_neg(a: Array) -> Array:
    """exp(a) − 1 for a < 0, else 0."""
    return np.asarray(np.expm1(np.minimum(a, 0)))


def exp_neg(a: Array) -> Array:
    """exp(a) for a < 0, else 1."""
    return np.asarray(np.exp(np.minimum(a, 0)))


LEAK = 0.01
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SA = SELU_SCALE * SELU_ALPHA


def zero(a: Array) -> Array:
    """0, or NaN where a is NaN."""
    return 0 * finite(a)


def softmax(a: Array) -> Array:
    """exp(a_k) / Σ_c exp(a_c) over axis 0."""
    # the top itself, so that its e is 1 and the imaginary part of a complex step is that of the others' sum
    top = np.take_along_axis(a, np.argmax(np.real(a), axis=0)[None], 0)
    e = np.exp(a - top)
    return np.asarray(e / e.sum(axis=0, keepdims=True))


def not_elementwise(a: Array) -> Array:
    """What softmax has for f' and f''."""
    raise TypeError("softmax couples its units: its derivative is the matrix diag(y) - y yᵀ, not a function of one unit's a")


def silu_d(a: Array) -> Array:
    """σ + a σ'."""
    return np.asarray(sigmoid(a) + times(a, dsigmoid(a)))


def silu_d2(a: Array) -> Array:
    """2 σ' + a σ''."""
    return np.asarray(2 * dsigmoid(a) + times(a, d2sigmoid(a)))


def times(a: Array, factor: Array) -> Array:
    """a * factor where factor decays faster than a grows: 0 · ∞ is 0."""
    return np.where(factor == 0, 0, np.where(factor == 0, 0, a) * factor)
