"""E, δ, R and Λ at one output, from the formulas of h and e in arithmetic of so many digits that no 1 − y is ever 0."""

from __future__ import annotations

import mpmath
import numpy as np

from helpers.exact import EXACT

DIGITS = 340  # σ(−700) is 1e-304
STEP = mpmath.mpf(10) ** -60
A = (1e-8, 0.5, 5.0, 15.0, 36.0, 40.0, 90.0, 700.0)
POINTS = [sign * float(np.float32(a)) for sign in (1, -1) for a in A]
"""Which both precisions have."""


def _held(a, limit):
    return min(max(a, -mpmath.mpf(limit)), mpmath.mpf(limit))


H = {
    **EXACT,
    "neat.sigmoid": lambda a: EXACT["sigmoid"](5 * _held(a, 12)),
    "neat.tanh": lambda a: mpmath.tanh(_held(a, 24) * 5 / 2),
    "neat.sin": lambda a: mpmath.sin(5 * _held(a, 12)),
    "neat.gauss": lambda a: mpmath.exp(-5 * _held(a, 3.4) ** 2),
    "neat.softplus": lambda a: mpmath.log1p(mpmath.exp(5 * _held(a, 12))) / 5,
    "neat.exp": lambda a: mpmath.exp(_held(a, 60)),
    "neat.hat": lambda a: max(0, 1 - abs(a)),
    "wann.sin_pi": lambda a: mpmath.sin(mpmath.pi * a),
    "wann.cos_pi": lambda a: mpmath.cos(mpmath.pi * a),
    "wann.gaussian": lambda a: mpmath.exp(-a * a / 2),
}


def _times_log(t, y):
    return t * mpmath.log(y) if t else mpmath.mpf(0)


E = {
    "sum_of_squares": lambda y, t: (y - t) ** 2 / 2,
    "binary_cross_entropy": lambda y, t: -_times_log(t, y) - _times_log(1 - t, 1 - y),
    "cross_entropy": lambda y, t: -_times_log(t, y),
    "poisson": lambda y, t: y - _times_log(t, y),
}
"""e of y and t."""

_BEND = {  # e'' h'² of y, h' and t
    "sum_of_squares": lambda y, d, t: d * d,
    "binary_cross_entropy": lambda y, d, t: (t * (d / y) ** 2 if t else 0) + ((1 - t) * (d / (1 - y)) ** 2 if t != 1 else 0),
    "cross_entropy": lambda y, d, t: t * (d / y) ** 2 if t else mpmath.mpf(0),
    "poisson": lambda y, d, t: t * (d / y) ** 2 if t else mpmath.mpf(0),
}


def at(error, activation, a, t):
    """(E, δ, R, Λ) at a, and of each how much an ulp of a moves it, in ulp; None where y is exactly at a pole of e."""
    with mpmath.workdps(DIGITS):
        a, t, h = mpmath.mpf(a), mpmath.mpf(t), H[activation]

        def diff(f, n):
            return mpmath.diff(f, a, n, h=STEP)

        try:
            chain = [diff(lambda v: E[error](h(v), t), n) if n else E[error](h(a), t) for n in range(4)]
            bend = diff(lambda v: _BEND[error](h(v), mpmath.diff(h, v, h=STEP), t), 1)
            exact = [*chain[:3], _BEND[error](h(a), diff(h, 1), t)]
        except (ZeroDivisionError, ValueError, OverflowError):
            return None
        moved = [abs(a * rate / value) if value else 0 for rate, value in zip([*chain[1:], bend], exact, strict=True)]
        return [+value for value in exact], [float(m) for m in moved]
