"""Where a numerical comparison means nothing: near the kinks of activations, and where a softmax is saturated.

For `net.check`.  A kink within a step of the central difference makes the difference a mean of two slopes.  A saturated softmax has
∂y/∂a = diag(y) − y yᵀ with entries as small as 1 − max y, found as differences of numbers near 1: what is left of them is round-off,
relatively u / (1 − max y).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NotSupportedError
from graphbp.heads import output_heads
from graphbp.numerical import UNIT

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["near_kinks", "no_second_derivative", "saturation"]

Array = npt.NDArray[Any]

KINK_MARGIN = 4 * UNIT ** (1 / 3)
"""How near a kink some a may be, relative to 1 + |a|: a few steps of the central difference."""


def near_kinks(net: Network, x: Array) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """(samples for which some a stands within a step of a kink (N,), a note on the nearest of each kind)."""
    near, notes = np.zeros(len(x), bool), []
    if not any(row.kinks for row in net.schedule.activations):
        return near, []
    s = net.schedule.live
    wide = net.to("numpy", "float64")
    t = np.zeros((len(x), s.n_outputs))
    try:
        a = np.asarray(wide._run.trace(wide._theta, np.asarray(x, np.float64), t, None).a)
    except NotSupportedError:
        return near, []
    for k, row in enumerate(s.activations):
        rows = np.flatnonzero(s.row_activation == k)
        rows = rows[rows >= s.n_inputs]
        for kink in row.kinks if len(rows) else ():
            distance = np.abs(a[rows] - kink)
            hit = distance <= KINK_MARGIN * (1 + np.abs(kink))
            if hit.any():
                near |= hit.any(axis=0)
                i, n = np.argwhere(hit)[np.argmin(distance[hit])]
                notes.append(
                    f"{hit.any(axis=0).sum()} of {len(x)} samples left out: the comparison is void near a kink of {row.name!r}; nearest "
                    f"is node {s.describe_row(int(rows[i]))} in sample {n}, a = {a[rows[i], n]:.3g}, {distance[i, n]:.1e} from {kink:g}"
                )
    return near, notes


def no_second_derivative(net: Network) -> list[str]:
    """A note for each activation in use whose second derivative does not exist at a kink."""
    s, notes = net.schedule.live, []
    for k, row in enumerate(s.activations):
        rows = np.flatnonzero(s.row_activation == k)
        rows = rows[rows >= s.n_inputs]
        if row.kinks and not row.analytic and len(rows):
            notes.append(
                f"{row.name!r} ({len(rows)} unit{'s' * (len(rows) > 1)}, such as node {s.describe_row(int(rows[0]))}) has no second "
                f"derivative at a = {', '.join(f'{kink:g}' for kink in row.kinks)}: the Hessian holds almost everywhere"
            )
    return notes


def saturation(net: Network, x: Array, t: Array) -> tuple[float, float]:
    """(u / largest entry of ∂y/∂a, u / the largest of it and δ): the relative round-off that saturated softmaxes leave; 0 without one.

    1 − max y is taken as the sum of the others, which has no cancellation; δ = y − t counts for a canonical softmax, whose gradient is
    exact where a class is wrong.
    """
    heads = output_heads(net.schedule, net.error_function)
    if not len(x) or not all(head.coupled for head in heads):
        return 0.0, 0.0
    y = np.asarray(net.forward(x), np.float64)
    by_y = by_error = 0.0
    for head in heads:
        sorted_y = np.sort(y[:, head.positions], axis=1)
        room = float(sorted_y[:, :-1].sum(axis=1).max())
        wrong = float(np.abs(y[:, head.positions] - t[:, head.positions]).max()) if head.canonical else 0.0
        by_y, by_error = max(by_y, room), max(by_error, room, wrong)
    unit = float(np.finfo(net.dtype).eps)
    return unit / max(by_y, 1e-300), unit / max(by_error, 1e-300)
