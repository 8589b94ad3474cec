"""Where a numerical comparison means nothing: near the kinks of activations.

For `net.check`.  A kink within a step of the central difference makes the difference a mean of two slopes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NotSupportedError
from graphbp.numerical import UNIT

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["near_kinks", "no_second_derivative"]

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
        a = np.asarray(wide.model.run.trace(wide.theta, np.asarray(x, np.float64), t, None).a)
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
