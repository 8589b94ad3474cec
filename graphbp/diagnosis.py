"""Which unit, and which sample, made a number that is infinite or NaN.

    first_cause(net, X) -> "log of a negative pre-activation -761 at unit 'num', row 4"

The sweep is taken once more with everything kept, in the network's own dtype, some samples at a time, and the first row in topological
order whose value is not finite while all that leads into it is, is the cause; of the samples, the first that has one.  A finite forward
sweep can still have an infinite error, an infinite slope (√a at 0) or an infinite δ: these are looked for next.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import data
from graphbp.exceptions import NumericalWarning
from graphbp.heads import output_heads
from graphbp.registry import get_backend

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["cause_at", "first_cause", "is_finite", "warn_not_finite"]

Array = npt.NDArray[Any]
CHUNK = 256
"""Samples looked at together."""


def is_finite(result: Any) -> bool:
    """Whether a result in host memory holds finite numbers only; one on a device counts as such, since looking would wait for it."""
    return not isinstance(result, np.ndarray) or data.finite(result)


def warn_not_finite(net: Network, what: str, X: Any, T: Any = None, sample_weight: Any = None) -> None:
    """Warn that a result is not finite, and name the unit and the sample that made it so."""
    cause = first_cause(net, X, T, sample_weight)
    message = f"{what} is not finite{': ' + cause if cause else ''}; net.trace(X, T) shows every a and z"
    warnings.warn(message, NumericalWarning, stacklevel=3)


def first_cause(net: Network, X: Any, T: Any = None, sample_weight: Any = None) -> str:
    """The unit and the sample that first become infinite or NaN, in one line; "" where none does.

    X, T and `sample_weight` are as for `net.error`, or as it checked them.
    """
    X, T, sample_weight = (
        net.model.backend.to_numpy(part) if net.model.backend.owns(part) else part for part in (X, T, sample_weight)
    )
    host = get_backend("numpy")
    batch = (net.model.inputs(X, host), None, None) if T is None else net.model.batch(X, T, sample_weight, host)
    return cause_at(net, net.theta, *batch)


def cause_at(net: Network, theta: Any, x: Any, t: Any = None, s: Any = None, numbers: Callable[[int], int] = int) -> str:
    """The same at any θ, of samples that are checked and scaled; `numbers` says which row of the caller's X a sample is."""
    run = net if net.backend == "numpy" else net.to("numpy")
    theta, x, t, s = (None if part is None else np.asarray(net.model.backend.to_numpy(part)) for part in (theta, x, t, s))
    counted = np.arange(len(x)) if s is None else np.flatnonzero(s)
    with np.errstate(all="ignore"):
        for start in range(0, len(counted), CHUNK):
            rows = counted[start : start + CHUNK]
            cause = _cause(run, theta, x[rows], None if t is None else t[rows], [numbers(int(n)) for n in rows])
            if cause:
                return cause
    return ""


def _cause(net: Network, theta: Array, x: Array, t: Array | None, numbers: Sequence[int]) -> str:
    s = net.schedule.live
    found = net.model.run.trace(theta, x, np.zeros((len(x), s.n_outputs), x.dtype) if t is None else t, None)
    a, z, delta = np.asarray(found.a), np.asarray(found.z), np.asarray(found.delta)
    bad = ~np.isfinite(z)
    if bad.any():
        n = int(np.argmax(bad.any(axis=0)))
        row = int(np.argmax(bad[:, n]))  # rows are in topological order
        return f"{_describe(net, row, float(a[row, n]), float(z[row, n]))}, row {numbers[n]}"
    return (
        ""
        if t is None
        else _infinite_error(net, a, z, t, numbers) or _steep(net, a, numbers) or _infinite_delta(net, delta, numbers)
    )


def _infinite_error(net: Network, a: Array, z: Array, t: Array, numbers: Sequence[int]) -> str:
    """A sample whose E is not finite though its outputs are."""
    s = net.schedule.live
    for head in output_heads(s, net.error_function):
        p = head.positions
        rows = s.output_rows[p]
        value = head.value(a[rows], z[rows], t[:, p].T)
        if not np.isfinite(value).all():
            n = int(np.argmax(~np.isfinite(value)))
            where = ", ".join(
                f"{s.describe_row(int(row))} = {z[row, n]:.6g} for t = {t[n, k]:.6g}"
                for row, k in zip(rows[:3], p[:3], strict=True)
            )
            return f"the error {net.error_function.name!r} is {value[n]} at output {where}, row {numbers[n]}"
    return ""


def _infinite_delta(net: Network, delta: Array, numbers: Sequence[int]) -> str:
    """A unit whose δ is not finite though all slopes are: the first that the reverse sweep comes to."""
    bad = ~np.isfinite(delta)
    if not bad.any():
        return ""
    n = int(np.argmax(bad.any(axis=0)))
    row = int(np.flatnonzero(bad[:, n])[-1])
    return f"δ is {delta[row, n]} at unit {net.schedule.live.describe_row(row)}, row {numbers[n]}"


def _describe(net: Network, row: int, a: float, z: float) -> str:
    """What happened in a unit whose z is not finite though its sources are."""
    s = net.schedule.live
    unit = f"unit {s.describe_row(row)}"
    activation = s.activations[s.row_activation[row]]
    if not math.isfinite(a):
        return f"the pre-activation of {unit} overflows {net.dtype} (a = {a})"
    if not activation.lower < a < activation.upper:
        kind = "a negative pre-activation" if a < 0 == activation.lower else "the pre-activation"
        return f"{activation.name} of {kind} {a:.6g} at {unit}"
    return f"{activation.name} of the pre-activation {a:.6g} is {z} in {net.dtype} at {unit}"


def _steep(net: Network, a: Array, numbers: Sequence[int]) -> str:
    """A unit whose slope h'(a) is not finite."""
    s = net.schedule.live
    for level in s.levels:
        for segment in level.segments:
            h = s.activations[segment.activation]
            if not h.elementwise:
                continue
            here = a[segment.start : segment.stop]
            bad = ~np.isfinite(h.df(here))
            if bad.any():
                row, n = (int(k) for k in np.argwhere(bad)[0])
                where = s.describe_row(segment.start + row)
                return f"the slope of {h.name} at the pre-activation {here[row, n]:.6g} is not finite at unit {where}, row {numbers[n]}"
    return ""
