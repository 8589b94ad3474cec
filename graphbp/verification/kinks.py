"""Where a numerical comparison means nothing: near the kinks of activations, and the ties of what nodes choose from.

For `net.check`.  A kink within a step of the central difference makes the difference a mean of two slopes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.combinations import COMBINATIONS
from graphbp.exceptions import NotSupportedError
from graphbp.numerical import UNIT

if TYPE_CHECKING:
    from graphbp.network import Network
    from graphbp.schedule import Schedule

__all__ = ["near_kinks", "no_second_derivative"]

Array = npt.NDArray[Any]

KINK_MARGIN = 4 * UNIT ** (1 / 3)
"""How near a kink some a may be, relative to 1 + |a|: a few steps of the central difference."""


def near_kinks(net: Network, x: Array) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """(samples for which some a stands within a step of a kink, or a choice of a tie (N,), a note on the nearest of each kind)."""
    near, notes = np.zeros(len(x), bool), []
    s = net.schedule.live
    if not any(row.kinks for row in net.schedule.activations) and not len(s.combinations.choices):
        return near, []
    wide = net.to("numpy", "float64")
    t = np.zeros((len(x), s.n_outputs))
    try:
        trace = wide.model.run.trace(wide.theta, np.asarray(x, np.float64), t, None)
    except NotSupportedError:
        return near, []
    a = np.asarray(trace.a)
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
    for hit, note in _near_ties(s, np.asarray(trace.z)):
        near |= hit
        notes.append(note)
    return near, notes


def _near_ties(s: Schedule, z: Array) -> Iterator[tuple[npt.NDArray[np.bool_], str]]:
    """(samples near a tie (N,), a note on the nearest) of each kind of choice."""
    c = s.combinations
    for kind in np.unique(c.kind[c.choices]).tolist():
        row, which = COMBINATIONS[kind], c.choices[c.kind[c.choices] == kind]
        assert row.gap is not None  # for mypy
        u, v = z[c.first[which]], z[c.second[which]]
        distance = np.asarray(row.gap(u, v))
        hit = distance <= KINK_MARGIN * (1 + np.abs(u))
        if hit.any():
            i, n = np.argwhere(hit)[np.argmin(distance[hit])]
            yield (
                hit.any(axis=0),
                f"{hit.any(axis=0).sum()} of {z.shape[1]} samples left out: the comparison is void near a tie of {row.name!r}; nearest "
                f"is node {s.describe_row(int(c.rows[which[i]]))} in sample {n}, which chooses between {u[i, n]:.6g} and {v[i, n]:.6g}",
            )


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
    c = s.combinations
    for kind in np.unique(c.kind[c.choices]).tolist():
        row_of_one = int(c.rows[c.choices[c.kind[c.choices] == kind][0]])
        notes.append(
            f"{COMBINATIONS[kind].name!r} (such as node {s.describe_row(row_of_one)}) has no derivative where what it chooses from is "
            "equal: there it is that of the first source"
        )
    return notes
