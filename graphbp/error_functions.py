"""The table of error functions: E_n = Σ_k e(y_k, t_k), with ∂e/∂y and ∂²e/∂y² beside it.

Every error here is a sum over output units of a function of that unit's y and t (cross-entropy too: −t ln y), so a row holds
three elementwise functions.  A row also names its *canonical* activation, the one for which the output error signal is simply

    δ_k = y_k − t_k          (Bishop & Bishop, section 8.1.3)

and then gives E as a function of a, which is stable where ln y is not (y rounded to 0 or 1).

That difference, 1 − y and y (1 − y) cannot be formed from a y that was rounded to 1.  So E, ∂E/∂a and ∂²E/∂a² are had as functions of a,
which lose nothing however far a unit is saturated: `pair_of` makes them of what the activation offers (`graphbp.tails`), unless the
row's `pairs` have them ready.  Every backend follows them.  How errors and output activations meet is the business of `graphbp.heads`.

>>> import numpy as np
>>> row = get_error_function("sum_of_squares")
>>> float(row.value(np.array(3.0), np.array(1.0))), float(row.dy(np.array(3.0), np.array(1.0)))
(2.0, 2.0)
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation
from graphbp.exceptions import RegistryError, shown
from graphbp.row_table import RowTable, contradiction, plain_values
from graphbp.tails import (
    Tails,
    dsigmoid,
    exp_less,
    log1p,
    log_softplus,
    log_softplus_bend,
    magnitude,
    sigmoid,
    sigmoid_less,
    softplus,
    softplus_rate,
)

__all__ = ["ErrorFunction", "Pair", "Pairwise", "error_table", "get_error_function", "pair_of", "register_error_function"]

Array = npt.NDArray[Any]
Pairwise = Callable[[Array, Array], Array]
Targets = Literal["real", "probability", "distribution", "nonnegative"]


@dataclass(frozen=True)
class Pair:
    """An error at units of one elementwise activation h, as functions of a and t that do not cancel where h saturates.

    value, delta, hessian : e(h(a), t) and its first two derivatives by a.
    outer : the positive part of the second, e''(y) h'(a)²; the same function at a canonical pair.
    """

    value: Pairwise
    delta: Pairwise
    hessian: Pairwise
    outer: Pairwise


@dataclass(frozen=True)
class ErrorFunction:
    """One row: e(y, t), ∂e/∂y, ∂²e/∂y², elementwise, and the canonical activation.

    Attributes
    ----------
    value, dy, d2y : functions of y and t, arrays of one shape.
    canonical : the activation h with ∂e/∂a = y − t, or None.
    value_at_a : for the canonical activation, e as a function of a and t without forming y (for softmax: summed over axis 0).
    domain : the interval, ends included, of the y that e is made for; an output whose activation leaves it is refused (`graphbp.links`).
    pairs : by the name of a built-in activation, what holds at units of it, in a shorter form than `pair_of` would make.
    in_logs : (α, β) where e = α y − t ln y − β (1 − t) ln(1 − y).
    targets : what T may hold: any real, probabilities in [0, 1], a distribution over each softmax group, or numbers ≥ 0.
    classes : T may also be integer class labels.
    """

    name: str
    value: Pairwise
    dy: Pairwise
    d2y: Pairwise
    canonical: str | None = None
    value_at_a: Pairwise | None = None
    pairs: Mapping[str, Pair] = field(default_factory=dict, hash=False, compare=False)
    in_logs: tuple[int, int] | None = None
    formula: str = ""
    targets: Targets = "real"
    classes: bool = False
    builtin: bool = False
    domain: tuple[float, float] = (-math.inf, math.inf)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: functions of a table stay in the table."""
        return get_error_function, (self.name,)


def _xlogy(t: Array, y: Array) -> Array:
    """t ln y, and 0 where t = 0 whatever y is."""
    return np.where(t == 0, 0, t * np.log(np.where(t == 0, 1, y)))


def _log1m(t: Array, y: Array) -> Any:
    """ln(1 − y), and 0 where t = 1 whatever y is."""
    return log1p(-np.where(t == 1, 0, y))


def _ratio(t: Array, y: Array) -> Array:
    """t / y, and 0 where t = 0 whatever y is."""
    return np.where(t == 0, 0, t / np.where(t == 0, 1, y))


def _ratio2(t: Array, y: Array) -> Array:
    safe = np.where(t == 0, 1, y)
    return np.where(t == 0, 0, t / (safe * safe))


def _entropy_at_a(a: Array, t: Array) -> Any:
    """−t ln σ(a) − (1 − t) ln σ(−a), two terms of one sign."""
    return log1p(np.exp(-magnitude(a))) + np.where(np.real(a) > 0, 1 - t, t) * magnitude(a)


def _exp(a: Array, t: Array) -> Any:
    return np.exp(a) + 0 * t


def _cross_entropy_at_a(a: Array, t: Array) -> Array:
    """Σ_k t_k (ln Σ_c exp(a_c) − a_k), its terms of one sign: ln Σ = a_w + ln(1 + the others'), a_w the largest."""
    first = np.argmax(np.real(a), axis=0)[None]
    top = np.take_along_axis(a, first, axis=0)
    e = np.exp(a - top)
    np.put_along_axis(e, first, 0, axis=0)
    return np.asarray((t * ((top - a) + log1p(e.sum(axis=0)))).sum(axis=0))


_LOGISTIC = Pair(_entropy_at_a, sigmoid_less, lambda a, t: dsigmoid(a) + 0 * t, lambda a, t: dsigmoid(a) + 0 * t)
_COUNTS = {
    "exp": Pair(lambda a, t: np.exp(a) - t * a, exp_less, _exp, _exp),
    "softplus": Pair(
        value=lambda a, t: softplus(a) - t * log_softplus(a),
        delta=lambda a, t: sigmoid(a) - t * softplus_rate(a),
        hessian=lambda a, t: dsigmoid(a) - t * log_softplus_bend(a),
        outer=lambda a, t: t * softplus_rate(a) ** 2,
    ),
}


def _weigh(t: Array, x: Array) -> Any:
    """t x, and 0 where t = 0 whatever x is."""
    return t * np.where(t == 0, 0, x)


def _squares(h: Tails) -> Pair:
    less, df, d2f = h.less, h.df, h.d2f
    return Pair(
        value=lambda a, t: 0.5 * less(a, t) ** 2,
        delta=lambda a, t: less(a, t) * df(a),
        hessian=lambda a, t: df(a) * df(a) + less(a, t) * d2f(a),
        outer=lambda a, t: df(a) * df(a) + 0 * t,
    )


def _cross_entropy(h: Tails) -> Pair | None:
    if h.log is None:
        return None
    log, dlog, d2log = h.log
    return Pair(
        value=lambda a, t: -_weigh(t, log(a)),
        delta=lambda a, t: -_weigh(t, dlog(a)),
        hessian=lambda a, t: -_weigh(t, d2log(a)),
        outer=lambda a, t: _weigh(t, dlog(a) * dlog(a)),
    )


def _binary_cross_entropy(h: Tails) -> Pair | None:
    if h.log is None or h.log1m is None:
        return None
    log, dlog, d2log = h.log
    log1m, dlog1m, d2log1m = h.log1m
    return Pair(
        value=lambda a, t: -_weigh(t, log(a)) - _weigh(1 - t, log1m(a)),
        delta=lambda a, t: -_weigh(t, dlog(a)) - _weigh(1 - t, dlog1m(a)),
        hessian=lambda a, t: -_weigh(t, d2log(a)) - _weigh(1 - t, d2log1m(a)),
        outer=lambda a, t: _weigh(t, dlog(a) * dlog(a)) + _weigh(1 - t, dlog1m(a) * dlog1m(a)),
    )


def _poisson(h: Tails) -> Pair | None:
    """h' = h (ln h)', so that δ = (ln h)' (y − t), where h' − t (ln h)' would cancel."""
    if h.log is None:
        return None
    less, df, d2f, (log, dlog, d2log) = h.less, h.df, h.d2f, h.log
    return Pair(
        value=lambda a, t: less(a, 0 * t) - _weigh(t, log(a)),
        delta=lambda a, t: np.where(t == 0, df(a), dlog(a) * less(a, t)),
        hessian=lambda a, t: np.where(t == 0, d2f(a), d2log(a) * less(a, t) + dlog(a) * df(a)),
        outer=lambda a, t: _weigh(t, dlog(a) * dlog(a)),
    )


_OF_TAILS = {
    "sum_of_squares": _squares,
    "binary_cross_entropy": _binary_cross_entropy,
    "cross_entropy": _cross_entropy,
    "poisson": _poisson,
}


@cache
def pair_of(error: ErrorFunction, activation: Activation) -> Pair | None:
    """The error at units of this activation as functions of a; None where only the chain rule through y is had."""
    if not error.builtin:
        return None
    if activation.name in error.pairs or activation.name == error.canonical:  # split at a, where those of tails are split at y
        return error.pairs.get(activation.name) if activation.builtin else None
    return None if activation.tails is None else _OF_TAILS[error.name](activation.tails)


_ROWS = [
    ErrorFunction(
        "sum_of_squares",
        value=lambda y, t: 0.5 * (y - t) ** 2,
        dy=lambda y, t: y - t,
        d2y=lambda y, t: 1 + 0 * (y - t),
        canonical="identity",
        value_at_a=lambda a, t: 0.5 * (a - t) ** 2,
        formula="½ Σ_k (y_k − t_k)²",
        builtin=True,
    ),
    ErrorFunction(
        "binary_cross_entropy",
        value=lambda y, t: -_xlogy(t, y) - (1 - t) * _log1m(t, y),
        dy=lambda y, t: _ratio(1 - t, 1 - y) - _ratio(t, y),
        d2y=lambda y, t: _ratio2(t, y) + _ratio2(1 - t, 1 - y),
        canonical="sigmoid",
        value_at_a=_LOGISTIC.value,
        pairs={"sigmoid": _LOGISTIC},
        in_logs=(0, 1),
        formula="−Σ_k [t_k ln y_k + (1 − t_k) ln(1 − y_k)]",
        targets="probability",
        builtin=True,
        domain=(0, 1),
    ),
    ErrorFunction(
        "cross_entropy",
        value=lambda y, t: -_xlogy(t, y),
        dy=lambda y, t: -_ratio(t, y),
        d2y=lambda y, t: _ratio2(t, y),
        canonical="softmax",
        value_at_a=_cross_entropy_at_a,
        in_logs=(0, 0),
        formula="−Σ_k t_k ln y_k",
        targets="distribution",
        classes=True,
        builtin=True,
        domain=(0, math.inf),
    ),
    ErrorFunction(
        "poisson",
        value=lambda y, t: y - _xlogy(t, y),
        dy=lambda y, t: 1 - _ratio(t, y),
        d2y=lambda y, t: _ratio2(t, y),
        canonical="exp",
        value_at_a=_COUNTS["exp"].value,
        pairs=_COUNTS,
        in_logs=(1, 0),
        formula="Σ_k y_k − t_k ln y_k   (ln t_k! left out)",
        targets="nonnegative",
        builtin=True,
        domain=(0, math.inf),
    ),
]

error_table: RowTable[ErrorFunction] = RowTable("error function", ("value", "dy", "d2y"), "(y, t)")
error_table.rows.update({row.name: row for row in _ROWS})


def get_error_function(name: str) -> ErrorFunction:
    """The row called `name`.  Raises `UnknownNameError`, near matches offered."""
    return error_table.get(name)


def register_error_function(
    name: str,
    value: Pairwise,
    dy: Pairwise,
    d2y: Pairwise,
    *,
    formula: str = "",
    targets: Targets = "real",
    domain: tuple[float, float] = (-math.inf, math.inf),
) -> ErrorFunction:
    """Add E_n = Σ_k value(y_k, t_k), with its first and second derivative by y, to the table; every backend can then run it.

    The derivatives are compared with differences here.  Its pairing with any activation whose values lie in `domain` goes through the
    chain rule; another one is refused for an output.

    Raises
    ------
    RegistryError : a name that is taken, values that are not real numbers, or a derivative that differencing contradicts.
    """
    name = error_table.new_name(name, (value, dy, d2y), formula)
    if not isinstance(targets, str) or targets not in get_args(Targets):
        raise RegistryError(f"error function {name!r}: targets={shown(targets)}; it must be one of {', '.join(get_args(Targets))}")
    row = ErrorFunction(name, value, dy, d2y, formula=formula or name, targets=targets, domain=_domain(name, domain))
    y, t = (part.ravel() for part in np.meshgrid(np.linspace(0.13, 0.87, 6), np.linspace(0.21, 0.83, 4)))
    for dtype in (np.float64, np.float32):
        for shape in ((24,), (2, 12), (0, 3)):
            some = [part.astype(dtype)[: math.prod(shape)].reshape(shape) for part in (y, t)]
            for label, function in (("value", value), ("dy", dy), ("d2y", d2y)):
                _values(name, label, function, *some)
    h = 1e-6
    for label, low, high in (("dy", value, dy), ("d2y", dy, d2y)):
        exact, difference = np.asarray(high(y, t)), (np.asarray(low(y + h, t)) - np.asarray(low(y - h, t))) / (2 * h)
        if (worst := contradiction(exact, difference)) is not None:
            raise RegistryError(
                f"error function {name!r}: {label}(y={y[worst]:.3g}, t={t[worst]:.3g}) is {exact[worst]:.6g}, but differencing "
                f"gives {difference[worst]:.6g}"
            )
    error_table.rows[name] = row
    return row


def _values(name: str, label: str, function: Pairwise, y: Array, t: Array) -> Array:
    what = f"error function {name!r}: {label}"
    try:
        found = function(y, t)
    except Exception as problem:
        raise RegistryError(f"{what} failed on arrays of {y.dtype}, shape {y.shape}: {problem}") from problem
    return plain_values(found, y, what)


def _domain(name: str, domain: Any) -> tuple[float, float]:
    try:
        low, high = domain
        fits = all(isinstance(end, numbers.Real) and not isinstance(end, bool) for end in (low, high)) and low < high
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise RegistryError(
            f"error function {name!r}: domain={shown(domain)}; give the least and the greatest y that it is made for"
        )
    return float(low), float(high)
