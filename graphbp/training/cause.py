"""Which unit, and which sample, made E infinite or NaN in the middle of a run: "log of -761 is nan at unit 'num', row 4"."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from graphbp.training.problem import Part

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["cause"]

CHUNK = 256
"""Samples looked at together."""


def cause(net: Network, theta: Any, part: Part) -> str:
    """The first sample of `part` whose numbers are not finite at θ, and the first unit in topological order; "" where none is seen."""
    if "trace" in net._run.composed:
        return ""
    with np.errstate(all="ignore"):
        for start in range(0, len(part), CHUNK):
            some = part.take(slice(start, start + CHUNK))
            if found := _unit(net, theta, some) or _sample(net, theta, some):
                return found
    return ""


def _unit(net: Network, theta: Any, part: Part) -> str:
    trace = net._run.trace(theta, part.x, part.t, part.s)
    a, z = (np.asarray(net._backend.to_numpy(array)) for array in (trace.a, trace.z))
    bad = ~np.isfinite(z)
    if part.s is not None:
        bad &= np.asarray(net._backend.to_numpy(part.s)) > 0
    if not bad.any():
        return ""
    n = int(np.argmax(bad.any(axis=0)))
    row = int(np.argmax(bad[:, n]))
    schedule = net.schedule
    where = f"unit {schedule.describe_row(row)}, row {part.row(n)}"
    if not math.isfinite(a[row, n]):
        return f"the pre-activation is {a[row, n]} at {where}"
    return f"{schedule.activations[schedule.row_activation[row]].name} of {a[row, n]:.6g} is {z[row, n]} at {where}"


def _sample(net: Network, theta: Any, part: Part) -> str:
    """The sample whose error or gradient is not finite though its outputs are."""
    value, g = net._run.error_and_gradient(theta, part.x, part.t, part.s)
    if math.isfinite(value) and np.isfinite(net._backend.to_numpy(g)).all():
        return ""
    for n in range(len(part)):
        one = part.take(slice(n, n + 1))
        value, g = net._run.error_and_gradient(theta, one.x, one.t, one.s)
        if not math.isfinite(value):
            return f"{net.error_function.name} is {value} for the outputs of row {part.row(n)}"
        if not np.isfinite(net._backend.to_numpy(g)).all():
            return f"the gradient of row {part.row(n)} is not finite"
    return ""
