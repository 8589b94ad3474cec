"""`register_activation`: a row of one's own, which is refused where its functions contradict one another."""

from __future__ import annotations

import math
import numbers
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations.table import LABELS, TABLE, Activation, Function, activation_table
from graphbp.exceptions import RegistryError, shown
from graphbp.row_table import contradiction
from graphbp.tails import Derivatives, Tails

__all__ = ["register_activation", "sampled_range"]

Array = npt.NDArray[Any]


def register_activation(
    name: str,
    f: Function,
    df: Function,
    d2f: Function,
    *,
    formula: str = "",
    analytic: bool = False,
    kinks: tuple[float, ...] = (),
    lower: float = -math.inf,
    upper: float = math.inf,
    range: tuple[float, float] | None = None,
    tails: Tails | None = None,
) -> Activation:
    """Add z = f(a), with f' and f'', to the table; every backend can then run it.

    Parameters
    ----------
    name : the value users give a node's `activation` attribute; registering the same functions again is allowed, replacing a
        built-in or somebody else's row is not.
    f, df, d2f : NumPy functions of an array of pre-activations, elementwise, written with ufuncs and `np.where` (the Numba
        backend compiles these same functions).  `df` and `d2f` are compared with differences of `f` and `df` here, so a wrong
        sign is refused at once.
    analytic : set it where f accepts complex input and continues analytically: `complex_step` then applies.
    kinks, lower, upper : where f is not smooth, and the open interval on which it is defined.
    range : the least and the greatest value that f can take, ±inf where there is none: an output is refused under an error that cannot
        judge them (an output under "binary_cross_entropy" must lie from 0 to 1).  Not given, f is sampled for it.
    tails : y − t, ln y and ln(1 − y) in forms that do not cancel where f is next to 0, 1 or another limit (`gb.extend.Tails`): then the
        errors at outputs of this activation are right however saturated.

    Raises
    ------
    RegistryError : a name that is taken, a function that is not callable or not elementwise, values that are not real numbers, a
        derivative that is not one, a range that f leaves.
    """
    name = activation_table.new_name(name, (f, df, d2f), formula)
    lower, upper = (_bound(name, label, value) for label, value in (("lower", lower), ("upper", upper)))
    if not lower < upper:
        raise RegistryError(f"activation {name!r}: lower={lower} and upper={upper} leave no interval to be defined on")
    kinks = tuple(_bound(name, "kinks", kink) for kink in _listed(name, "kinks", kinks))
    if range is not None:
        range = tuple(_bound(name, "range", end) for end in _listed(name, "range", range))  # type: ignore[assignment]  # two of them, or refused
        if len(range) != 2 or not range[0] <= range[1]:
            raise RegistryError(f"activation {name!r}: range={range}; give the least and the greatest value of f")
    if not isinstance(analytic, (bool, np.bool_)):
        raise RegistryError(f"activation {name!r}: analytic={shown(analytic)}; it must be True or False")
    row = Activation(name, f, df, d2f, formula or name, bool(analytic), kinks, lower, upper, range=range, tails=tails)
    if tails is not None and not isinstance(tails, Tails):
        raise RegistryError(f"activation {name!r}: tails={shown(tails)}; it must be a graphbp.extend.Tails")
    _check_values(row)
    _check_derivatives(row)
    if tails is not None:
        _check_tails(row, tails)
    TABLE[name] = row
    return row


def _bound(name: str, label: str, value: Any) -> float:
    try:
        if type(value) is not bool and isinstance(value, numbers.Real) and not math.isnan(value):
            return float(value)
    except OverflowError:  # an int beyond float64
        pass
    raise RegistryError(f"activation {name!r}: {label}={shown(value)}; it must be a number (or ±inf)")


def _listed(name: str, label: str, values: Any) -> list[Any]:
    try:
        return list(values) if not isinstance(values, (str, bytes)) else [values]  # which is no number
    except TypeError as problem:
        raise RegistryError(f"activation {name!r}: {label}={shown(values)}; give a tuple of numbers") from problem


def _samples(row: Activation) -> Array:
    """Pre-activations near and far, inside the open interval on which f is defined."""
    far = np.logspace(-8, 6, 57)
    grid = np.concatenate([-far[::-1], [0.0], far, np.linspace(-50, 50, 2001)])
    if math.isfinite(row.lower):
        grid = np.concatenate([grid, row.lower + far])
    if math.isfinite(row.upper):
        grid = np.concatenate([grid, row.upper - far])
    return np.unique(grid[(grid > row.lower) & (grid < row.upper)])


@lru_cache(maxsize=256)
def sampled_range(row: Activation) -> tuple[float, float]:
    """The least and the greatest finite value that f takes among sampled pre-activations: inside its range, and near its ends."""
    with np.errstate(all="ignore"):
        z = row.evaluate(_samples(row))
    z = z[np.isfinite(z)]
    return (float(z.min()), float(z.max())) if len(z) else (-math.inf, math.inf)


def _check_values(row: Activation) -> None:
    """Refuse functions that give something else than real numbers of the shape they are given, and an f that leaves its range."""
    grid = _samples(row)
    inside = grid[len(grid) // 2 :][:6]
    with np.errstate(all="ignore"):
        for a in (grid, grid.astype(np.float32), grid[:0], inside.reshape(2, 3), inside[:1]):
            for order in (0, 1, 2):
                try:
                    row.evaluate(a, order)
                except RegistryError:
                    raise
                except Exception as problem:
                    raise RegistryError(
                        f"activation {row.name!r}: {LABELS[order]} failed on an array of {a.dtype}, shape {a.shape}: {problem}"
                    ) from problem
    if row.range is not None:
        low, high = sampled_range(row)
        slack = 1e-9 * max(1.0, abs(low), abs(high))
        if low < row.range[0] - slack or high > row.range[1] + slack:
            raise RegistryError(f"activation {row.name!r}: f takes values from {low:.4g} to {high:.4g}, outside range={row.range}")


def _check_derivatives(row: Activation) -> None:
    """Refuse df or d2f that central differences of f and df contradict, at points away from kinks and inside the domain."""
    lower, upper = max(row.lower, -3.0), min(row.upper, 3.0)
    if not lower < upper:
        lower, upper = (row.lower, row.lower + 4.0) if math.isfinite(row.lower) else (row.upper - 4.0, row.upper)
    a = np.linspace(lower, upper, 43)[1:-1]
    for kink in row.kinks:
        a = a[np.abs(a - kink) > 0.01]
    h = 1e-6
    for label, low, high in (("df", row.f, row.df), ("d2f", row.df, row.d2f)):
        try:
            exact = np.asarray(high(a))
            difference = (np.asarray(low(a + h)) - np.asarray(low(a - h))) / (2 * h)
        except Exception as problem:
            raise RegistryError(f"activation {row.name!r}: {label} failed on an array of floats: {problem}") from problem
        if exact.shape != a.shape or difference.shape != a.shape:
            raise RegistryError(f"activation {row.name!r}: {label} must return an array of the shape it is given")
        if (worst := contradiction(exact, difference)) is not None:
            raise RegistryError(
                f"activation {row.name!r}: {label}({a[worst]:.4g}) is {exact[worst]:.6g}, but differencing gives "
                f"{difference[worst]:.6g}; correct {label}, or name the point in kinks= if the function is not smooth there"
            )


def _check_tails(row: Activation, tails: Tails) -> None:
    """Refuse tails that f, f' and f'' contradict where y is not near 0 or 1, away from kinks."""
    a = _samples(row)
    a = a[np.abs(a) < 5]
    for kink in row.kinks:
        a = a[np.abs(a - kink) > 0.01]
    with np.errstate(all="ignore"):
        y, df, d2f = (row.evaluate(a, order) for order in (0, 1, 2))
        t = np.full_like(a, 0.3)
        found = [("less", tails.less(a, t), y - t), ("df", tails.df(a), df), ("d2f", tails.d2f(a), d2f)]
        found += _logarithm("log", tails.log, a, y, df, d2f)
        found += _logarithm("log1m", tails.log1m, a, 1 - y, -df, -d2f)
    for label, value, exact in found:
        with np.errstate(all="ignore"):
            off = np.abs(value - exact) > 1e-6 * (1 + np.abs(exact))
        if (off & (y > 0.001) & (y < 0.999)).any() if label.startswith("log") else off.any():
            at = int(np.argmax(off))
            raise RegistryError(
                f"activation {row.name!r}: tails.{label} at a = {a[at]:.4g} is {value[at]:.6g}, but f, df and d2f give {exact[at]:.6g}"
            )


def _logarithm(label: str, found: Derivatives | None, a: Array, y: Array, dy: Array, d2y: Array) -> list[tuple[str, Array, Array]]:
    """What `found` gives for ln y and its derivatives, and what y and its derivatives do."""
    exact = (np.log(y), dy / y, d2y / y - (dy / y) ** 2)
    return [(f"{label}[{n}]", each(a), exact[n]) for n, each in enumerate(found)] if found else []
