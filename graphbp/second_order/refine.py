r"""Iterative refinement of x = H⁻¹v, H = αI + β BᵀB, with residuals in twice the precision.

Where v lies in the span of B's rows, x is a difference of much larger numbers: an x that is right to ε ‖v‖ has errors of ε ‖v‖/α along the
directions that B does not see.  The residual v − Hx of 32 digits shows them (Wilkinson 1963), and each step takes ε of what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["refined"]

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]
"""A number of twice the digits: the sum of both."""

PRODUCTS = 1 << 26
"""n · W · m up to which the residual is computed: about a second."""
STEPS = 4
_SPLIT = 2.0**27 + 1


def refined(solve: Callable[[Array], Array], rows: Array, v: Array, alpha: float, beta: float = 1.0) -> Array:
    """H⁻¹v (W, m) for v (W, m); `solve` finds it as far as float64 goes."""
    x, before = solve(v), np.full(v.shape[1], np.inf)
    if not x.size or rows.shape[0] * v.size > PRODUCTS:
        return x
    unit = np.abs(rows).max(axis=0, initial=0.0) * np.sqrt(beta) + np.sqrt(alpha)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(STEPS):
            residual = _residual(rows, x, v, alpha, beta)
            if not np.isfinite(residual).all():  # beyond what can be split
                break
            change = solve(residual)
            size = np.abs(change * unit[:, None]).max(axis=0)
            better = size < 0.5 * before
            if not better.any():
                break
            x, before = np.where(better, x + change, x), np.where(better, size, 0.0)
    return x


def _residual(rows: Array, x: Array, v: Array, alpha: float, beta: float) -> Array:
    inner = _times(_product(rows, (x, np.zeros_like(x))), beta)
    outer = _product(rows.T, inner)
    prior = _two_product(np.full_like(x, alpha), x)
    total = _two_sum(v, -prior[0])
    total = total[0], total[1] - prior[1]
    top, rest = _two_sum(total[0], -outer[0])
    return np.asarray(top + (rest + total[1] - outer[1]))


def _product(a: Array, x: Pair) -> Pair:
    """A x, column of A by column."""
    top = np.zeros((a.shape[0], x[0].shape[1]))
    rest = np.zeros_like(top)
    for j in range(a.shape[1]):
        column = a[:, j, None]
        p, low = _two_product(column, x[0][j])
        top, lost = _two_sum(top, p)
        rest += lost + (low + column * x[1][j])
    return _two_sum(top, rest)


def _times(x: Pair, factor: float) -> Pair:
    if factor == 1:
        return x
    top, rest = _two_product(x[0], np.full_like(x[0], factor))
    return _two_sum(top, rest + factor * x[1])


def _two_sum(a: Array, b: Array) -> Pair:
    """A + b and what rounding it loses (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _two_product(a: Array, b: Array) -> Pair:
    """A b and what rounding it loses (Dekker)."""
    p = a * b
    (ah, al), (bh, bl) = _halves(a), _halves(b)
    return p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)


def _halves(a: Array) -> Pair:
    shifted = _SPLIT * a
    high = shifted - (shifted - a)
    return high, a - high
