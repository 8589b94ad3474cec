"""What an error needs to know of an output activation h where h is so near a limit that y, rounded, no longer tells it.

An error composed of y − t, ln y and ln(1 − y) is known to the last digits wherever an activation offers these three, with the derivatives
of the logarithms by a: its `Tails`.  ln σ(a) is −ln(1 + exp(−a)), with the slope σ(−a), whatever became of y and 1 − y.
`graphbp.error_functions` makes an error's E, δ, R and Λ of them.

Every function takes real or complex arrays, and is written with ufuncs and `np.where` only, so that other backends can compile it.

>>> import numpy as np
>>> log, dlog, _ = SIGMOID.log
>>> float(log(np.array(-800.0))), float(dlog(np.array(-800.0)))
(-800.0, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "COSINE", "EXP", "EXPM1", "GAUSSIAN", "SIGMOID", "SINE", "SOFTPLUS", "SOFTSIGN", "SQUARE", "TANH", "Derivatives", "Tails", "elu_tails",
]  # fmt: skip

Array = npt.NDArray[Any]
Function = Callable[[Array], Any]
Derivatives = tuple[Function, Function, Function]
"""A function of a, and its first two derivatives."""


@dataclass(frozen=True)
class Tails:
    """An elementwise activation y = h(a) in the forms that do not cancel where y is next to 0, 1 or another limit.

    less : y − t, of a and t.
    df, d2f : h' and h''.
    log : ln y and its first two derivatives by a; for y ≥ 0.
    log1m : the same of ln(1 − y); for 0 ≤ y ≤ 1.
    """

    less: Callable[[Array, Array], Any]
    df: Function
    d2f: Function
    log: Derivatives | None = None
    log1m: Derivatives | None = None

    def scaled(self, slope: float, limit: float = math.inf) -> Tails:
        """Those of h(slope · a), with a held within ±limit: where it is held, every derivative is 0.

        >>> float(SIGMOID.scaled(5, limit=12).less(np.array(100.0), np.array(1.0)))  # σ(60) − 1
        -8.75651076269652e-27
        """
        less = self.less

        def held(a: Array) -> Any:
            return slope * np.minimum(np.maximum(a, -limit), limit)

        def inside(a: Array) -> Any:
            return (a > -limit) & (a <= limit)

        def chain(function: Function, order: int) -> Function:
            factor = slope**order
            if limit == math.inf:
                return lambda a: factor * function(slope * a)
            return (lambda a: inside(a) * (factor * function(held(a)))) if order else (lambda a: function(held(a)))

        def each(functions: Derivatives | None) -> Derivatives | None:
            return functions and (chain(functions[0], 0), chain(functions[1], 1), chain(functions[2], 2))

        moved = (lambda a, t: less(slope * a, t)) if limit == math.inf else (lambda a, t: less(held(a), t))
        return Tails(moved, chain(self.df, 1), chain(self.d2f, 2), each(self.log), each(self.log1m))


# -- formulas -----------------------------------------------------------------------------------------------------------------------


def magnitude(a: Array) -> Any:
    """|a|, continued analytically from either side."""
    return np.where(np.real(a) > 0, a, -a)


def sigmoid_tail(a: Array) -> Any:
    """σ(−|a|): what y is away from its nearer limit, 0 or 1."""
    e = np.exp(-magnitude(a))
    return e / (1 + e)


def dsigmoid(a: Array) -> Any:
    e = np.exp(-magnitude(a))
    return e / ((1 + e) * (1 + e))


def sigmoid_less(a: Array, t: Array) -> Any:
    """σ(a) − t."""
    return np.where(np.real(a) > 0, (1 - t) - sigmoid_tail(a), sigmoid_tail(a) - t)


def tanh_tail(a: Array) -> Any:
    """1 − tanh|a|."""
    e = np.exp(-2 * magnitude(a))
    return 2 * e / (1 + e)


def dtanh(a: Array) -> Any:
    e = np.exp(-2 * magnitude(a))
    return 4 * e / ((1 + e) * (1 + e))


def tanh_less(a: Array, t: Array) -> Any:
    """tanh(a) − t."""
    far = np.where(np.real(a) > 0, (1 - t) - tanh_tail(a), tanh_tail(a) - (1 + t))
    return np.where(np.abs(np.real(a)) > 0.5, far, np.tanh(a) - t)


def exp_less(a: Array, t: Array) -> Any:
    """exp(a) − t."""
    return np.where(np.abs(np.real(a)) < 0.5, np.expm1(np.where(np.abs(np.real(a)) < 0.5, a, 0)) - (t - 1), np.exp(a) - t)


def log1p(z: Array) -> Any:
    """ln(1 + z).  Of a complex z, NumPy's forms 1 + z, and a small real part is gone; here ln(1 + x + iy) = ln(1 + x) + ln(1 + iy/(1 + x))."""
    if np.iscomplexobj(z):
        x = np.real(z)
        return np.log1p(x) + np.log1p((z - x) / (1 + x))
    return np.log1p(z)


def softplus(a: Array) -> Any:
    return np.where(np.real(a) > 0, a, 0) + log1p(np.exp(-magnitude(a)))


def log_softplus(a: Array) -> Any:
    """ln softplus(a), which is a − exp(a)/2 + … where softplus(a) is next to 0."""
    small = np.real(a) < -40
    return np.where(small, a, np.log(softplus(np.where(small, 0, a))))


def softplus_rate(a: Array) -> Any:
    """h'/h, h = softplus: 1 for a → −∞."""
    small = np.real(a) < -40
    safe = np.where(small, 0, a)
    e = np.exp(-magnitude(safe))
    return np.where(small, 1, np.where(np.real(safe) > 0, 1, e) / (1 + e) / softplus(safe))


def log1p_less(u: Array) -> Any:
    """ln(1 + u) − u for 0 ≤ u ≤ 1: −s u + 2 s³ (1/3 + s²/5 + ...), s = u/(2 + u)."""
    s = u / (2 + u)
    q = s * s
    series = 1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q * (1 / 15 + q * (1 / 17)))))))
    more = 1 / 19 + q * (1 / 21 + q * (1 / 23 + q * (1 / 25 + q * (1 / 27 + q * (1 / 29 + q * (1 / 31 + q / 33))))))
    q8 = (q * q * q * q) * (q * q * q * q)
    return 2 * s * q * (series + q8 * more) - s * u


def log_softplus_bend(a: Array) -> Any:
    """(ln h)'' = (h h'' − h'²) / h², h = softplus; with u = exp(a) it is u (h − u) / ((1 + u) h)² ≈ −u/2 for a → −∞."""
    left, small = np.real(a) < 0, np.real(a) < -40
    u = np.exp(np.where(left, a, 0))
    h = np.where(small, 1, softplus(np.where(small, 0, a)))
    below = (u / h) * (log1p_less(u) / h) / ((1 + u) * (1 + u))
    e = np.exp(-np.where(left, 0, a))
    above = (e * h - 1) / ((1 + e) * (1 + e) * h * h)
    return np.where(small, -0.5 * np.exp(np.where(small, a, 0)), np.where(left, below, above))


def sigmoid(a: Array) -> Any:
    e = np.exp(-magnitude(a))
    return np.where(np.real(a) > 0, 1, e) / (1 + e)


# exp(−a²).  a = high + low, so that the rounding of a², which the exponential would magnify, is kept: 12 bits have an exact square.


def _near(a: Array) -> Any:
    """a where exp(−a²) is not 0."""
    return np.where(np.abs(np.real(a)) < 64, a, 64)


def _gauss(a: Array) -> Any:
    high = np.rint(64 * np.real(_near(a))) / 64
    return np.exp(-high * high) * np.exp(-(_near(a) - high) * (_near(a) + high))


def _gauss_less(a: Array, t: Array) -> Any:
    small = np.abs(np.real(a)) < 0.5
    return np.where(small, (1 - t) + np.expm1(-np.where(small, a * a, 0)), _gauss(a) - t)


def _tiny(a: Array) -> Any:
    """Where 1 − exp(−a²) is a² to the last digit but one, and a² may underflow."""
    return np.abs(np.real(a)) < 2.0**-12


def _gauss_rest(a: Array) -> Any:
    """1 − exp(−a²), and 1 where that is tiny."""
    return np.where(_tiny(a), 1, -np.expm1(-_near(a) * _near(a)))


def _log_gauss_rest(a: Array) -> Any:
    far = np.abs(np.real(a)) > 1
    near = np.log(np.where(far, 1, _gauss_rest(a)))
    small = 2 * np.log(np.where(_tiny(a), magnitude(a), 1)) - 0.5 * np.where(_tiny(a), a * a, 0)
    return np.where(_tiny(a), small, np.where(far, log1p(-np.where(far, _gauss(a), 0)), near))


def _dlog_gauss_rest(a: Array) -> Any:
    """2 a y / (1 − y)."""
    return np.where(_tiny(a), 2 / np.where(_tiny(a), a, 1) - a, 2 * _near(a) * _gauss(a) / _gauss_rest(a))


def _d2log_gauss_rest(a: Array) -> Any:
    """2 y / (1 − y) · (1 − 2 a² / (1 − y)), whose second factor is at most −1."""
    r, s = _gauss_rest(a), _near(a)
    inverse = 1 / np.where(_tiny(a), a, 1)
    return np.where(_tiny(a), -2 * inverse * inverse - 1, 2 * _gauss(a) / r * (1 - 2 * s * s / r))


def _softsign_less(a: Array, t: Array) -> Any:
    far, r = np.abs(a) > 1, 1 / (1 + np.abs(a))
    return np.where(far, np.where(a > 0, (1 - t) - r, r - (1 + t)), np.where(far, 0, a) * r - t)


def _sine_less(a: Array, t: Array) -> Any:
    """1 − sin a = 2 sin²(a/2 − π/4), 1 + sin a = 2 sin²(a/2 + π/4)."""
    down, up = np.sin(0.5 * a - 0.25 * np.pi), np.sin(0.5 * a + 0.25 * np.pi)
    far = np.where(np.real(np.sin(a)) > 0, (1 - t) - 2 * down * down, 2 * up * up - (1 + t))
    return np.where(np.abs(np.real(np.sin(a))) > 0.5, far, np.sin(a) - t)


def _cosine_less(a: Array, t: Array) -> Any:
    """1 − cos a = 2 sin²(a/2), 1 + cos a = 2 cos²(a/2)."""
    down, up = np.sin(0.5 * a), np.cos(0.5 * a)
    far = np.where(np.real(np.cos(a)) > 0, (1 - t) - 2 * down * down, 2 * up * up - (1 + t))
    return np.where(np.abs(np.real(np.cos(a))) > 0.5, far, np.cos(a) - t)


def _expm1_less(a: Array, t: Array) -> Any:
    return np.where(np.real(a) < -0.5, np.exp(a) - (1 + t), np.expm1(a) - t)


def _left(a: Array) -> Any:
    """min(a, 0), a NaN kept."""
    return np.where(a > 0, 0, a)


def elu_tails(scale: float, alpha: float) -> Tails:
    """scale · a for a > 0, alpha (exp(a) − 1) elsewhere."""

    def below(a: Array, t: Array) -> Any:
        e = alpha * np.exp(_left(a))
        return np.where(a < -0.5, e - (alpha + t), alpha * np.expm1(_left(a)) - t)

    return Tails(
        less=lambda a, t: np.where(a > 0, scale * a - t, below(a, t)),
        df=lambda a: np.where(a > 0, scale, alpha * np.exp(_left(a))),
        d2f=lambda a: np.where(a > 0, 0, alpha * np.exp(_left(a))),
    )


# -- the table ----------------------------------------------------------------------------------------------------------------------

SIGMOID = Tails(
    sigmoid_less,
    dsigmoid,
    lambda a: -dsigmoid(a) * np.tanh(0.5 * a),  # 1 − 2 σ = −tanh(a/2)
    log=(lambda a: -softplus(-a), lambda a: sigmoid(-a), lambda a: -dsigmoid(a)),
    log1m=(lambda a: -softplus(a), lambda a: -sigmoid(a), lambda a: -dsigmoid(a)),
)
TANH = Tails(tanh_less, dtanh, lambda a: -2 * np.tanh(a) * dtanh(a))
SOFTPLUS = Tails(lambda a, t: softplus(a) - t, sigmoid, dsigmoid, log=(log_softplus, softplus_rate, log_softplus_bend))
EXP = Tails(exp_less, np.exp, np.exp, log=(lambda a: a + 0, lambda a: 1 + 0 * a, lambda a: 0 * a))
EXPM1 = Tails(_expm1_less, np.exp, np.exp)
GAUSSIAN = Tails(
    _gauss_less,
    lambda a: -2 * _near(a) * _gauss(a),
    lambda a: (4 * _near(a) * _near(a) - 2) * _gauss(a),
    log=(lambda a: -a * a, lambda a: -2 * a, lambda a: -2 + 0 * a),
    log1m=(_log_gauss_rest, _dlog_gauss_rest, _d2log_gauss_rest),
)
SOFTSIGN = Tails(
    _softsign_less,
    lambda a: 1 / ((1 + np.abs(a)) * (1 + np.abs(a))),
    lambda a: -2 * np.sign(a) / ((1 + np.abs(a)) * (1 + np.abs(a)) * (1 + np.abs(a))),
)
SQUARE = Tails(
    lambda a, t: a * a - t,
    lambda a: 2 * a,
    lambda a: 2 + 0 * a,
    log=(lambda a: 2 * np.log(magnitude(a)), lambda a: 2 / a, lambda a: -2 * (1 / a) * (1 / a)),
)
SINE = Tails(_sine_less, np.cos, lambda a: -np.sin(a))
COSINE = Tails(_cosine_less, lambda a: -np.sin(a), lambda a: -np.cos(a))
