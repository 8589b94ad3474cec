"""Which unit, and which sample, made a number that is infinite or NaN.

    first_cause(model, theta, X) -> "log of a negative pre-activation -761 at unit 'num', row 4"

The sweep is taken once more with everything kept, in the network's own dtype, some samples at a time, and the first row in topological
order whose value is not finite while all that leads into it is, is the cause; of the samples, the first that has one.  A finite forward
sweep can still have an infinite error, an infinite slope (√a at 0), an infinite δ or an infinite curvature: these are looked for next, as
far as what was computed depends on them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import data
from graphbp.exceptions import NumericalWarning, callers_level
from graphbp.heads import head_groups
from graphbp.registry import get_backend

if TYPE_CHECKING:
    from graphbp.model import Model

__all__ = ["cause_at", "first_cause", "is_finite", "warn_not_finite", "warn_of_derivative"]

Array = npt.NDArray[Any]
CHUNK = 256
"""Samples looked at together."""


def is_finite(result: Any) -> bool:
    """Whether a result in host memory holds finite numbers only; one on a device counts as such, since looking would wait for it."""
    return not isinstance(result, np.ndarray) or data.finite(result)


def warn_not_finite(model: Model, what: str, theta: Any, X: Any, T: Any = None, sample_weight: Any = None) -> None:
    """Warn that a result is not finite, and name the unit and the sample that made it so."""
    _warn(what, first_cause(model, theta, X, T, sample_weight))


def warn_of_derivative(model: Model, what: str, theta: Any, x: Any, t: Any = None, s: Any = None, *, order: int = 1) -> None:
    """The same of a derivative at θ, of samples that are checked and scaled: of y, or with t of E; `order` 2 of a Hessian."""
    _warn(what, cause_at(model, theta, x, t, s, order=order))


def _warn(what: str, cause: str) -> None:
    message = f"{what} is not finite{': ' + cause if cause else ''}; net.trace(X, T) shows every a and z"
    warnings.warn(message, NumericalWarning, stacklevel=callers_level())


def first_cause(model: Model, theta: Any, X: Any, T: Any = None, sample_weight: Any = None) -> str:
    """The unit and the sample that first become infinite or NaN at θ, in one line; "" where none does.

    X, T and `sample_weight` are as for `net.error`, or as it checked them.
    """
    X, T, sample_weight = (model.backend.to_numpy(part) if model.backend.owns(part) else part for part in (X, T, sample_weight))
    host = get_backend("numpy")
    x, t, s = (model.inputs(X, host), None, None) if T is None else model.batch(X, T, sample_weight, host)
    return cause_at(model, theta, x, t, s, order=0 if T is None else 1)


def cause_at(
    model: Model, theta: Any, x: Any, t: Any = None, s: Any = None, numbers: Callable[[int], int] = int, order: int = 1
) -> str:
    """The same at any θ, of samples that are checked and scaled; `numbers` says which row of the caller's X a sample is.

    `order` is that of the derivative which is not finite.
    """
    on_host = model if model.backend.name == "numpy" else model.to(get_backend("numpy"), model.dtype)
    theta, x, t, s = (None if part is None else np.asarray(model.backend.to_numpy(part)) for part in (theta, x, t, s))
    counted = np.arange(len(x)) if s is None else np.flatnonzero(s.reshape(len(x), -1).any(axis=1))
    with np.errstate(all="ignore"):
        for start in range(0, len(counted), CHUNK):
            rows = counted[start : start + CHUNK]
            cause = _cause(on_host, theta, x[rows], None if t is None else t[rows], [numbers(int(n)) for n in rows], order)
            if cause:
                return cause
    return ""


def _cause(model: Model, theta: Array, x: Array, t: Array | None, numbers: Sequence[int], order: int) -> str:
    s = model.schedule.live
    found = model.run.trace(theta, x, np.zeros((len(x), s.n_outputs), x.dtype) if t is None else t, None)
    a, z, delta = np.asarray(found.a), np.asarray(found.z), np.asarray(found.delta)
    bad = ~np.isfinite(z)
    if bad.any():
        n = int(np.argmax(bad.any(axis=0)))
        row = int(np.argmax(bad[:, n]))  # rows are in topological order
        return f"{_describe(model, row, float(a[row, n]), float(z[row, n]))}, row {numbers[n]}"
    return (
        (_infinite_error(model, a, z, t, numbers) if t is not None else "")
        or (_steep(model, a, numbers, "slope") if order >= 1 else "")
        or (_infinite_delta(model, delta, numbers) if t is not None else "")
        or (_steep(model, a, numbers, "curvature") if order >= 2 else "")
    )


def _infinite_error(model: Model, a: Array, z: Array, t: Array, numbers: Sequence[int]) -> str:
    """A sample whose E is not finite though its outputs are."""
    s = model.schedule.live
    for head in head_groups(s, model.error):
        p = head.positions
        rows = s.output_rows[p]
        value = head.value(a[rows], z[rows], t[:, p].T)
        if not np.isfinite(value).all():
            n = int(np.argmax(~np.isfinite(value)))
            where = ", ".join(
                f"{s.describe_row(int(row))} = {z[row, n]:.6g} for t = {t[n, k]:.6g}"
                for row, k in zip(rows[:3], p[:3], strict=True)
            )
            return f"the error {model.error.name!r} is {value[n]} at output {where}, row {numbers[n]}"
    return ""


def _infinite_delta(model: Model, delta: Array, numbers: Sequence[int]) -> str:
    """A unit whose δ is not finite though all slopes are: the first that the reverse sweep comes to."""
    bad = ~np.isfinite(delta)
    if not bad.any():
        return ""
    n = int(np.argmax(bad.any(axis=0)))
    row = int(np.flatnonzero(bad[:, n])[-1])
    return f"δ is {delta[row, n]} at unit {model.schedule.live.describe_row(row)}, row {numbers[n]}"


def _describe(model: Model, row: int, a: float, z: float) -> str:
    """What happened in a unit whose z is not finite though its sources are."""
    s = model.schedule.live
    unit = f"unit {s.describe_row(row)}"
    activation = s.activations[s.row_activation[row]]
    if not math.isfinite(a):
        return f"the pre-activation of {unit} overflows {model.dtype} (a = {a})"
    if not activation.lower < a < activation.upper:
        kind = "a negative pre-activation" if a < 0 == activation.lower else "the pre-activation"
        return f"{activation.name} of {kind} {a:.6g} at {unit}"
    return f"{activation.name} of the pre-activation {a:.6g} is {z} in {model.dtype} at {unit}"


def _steep(model: Model, a: Array, numbers: Sequence[int], what: str) -> str:
    """A unit whose slope h'(a), or curvature h''(a), is not finite."""
    s = model.schedule.live
    for level in s.levels:
        for segment in level.segments:
            h = s.activations[segment.activation]
            if not h.elementwise:
                continue
            here = a[segment.start : segment.stop]
            bad = ~np.isfinite((h.df if what == "slope" else h.d2f)(here))
            if bad.any():
                row, n = (int(k) for k in np.argwhere(bad)[0])
                where = s.describe_row(segment.start + row)
                return f"the {what} of {h.name} at the pre-activation {here[row, n]:.6g} is not finite at unit {where}, row {numbers[n]}"
    return ""
