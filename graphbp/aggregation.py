r"""How a node combines what comes in: its attribute `aggregation`, and what of it is refused.

    z_j = h_j(b_j + agg_i(w_ji z_i))

"sum" is the default.  Of the others a layer node is elementwise: its sources have as many units as it has itself, and the weight of an
edge is a number for all units, or a vector with one a unit.  `graphbp.lowering.expansion` makes of them what backends compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.columns import Columns
from graphbp.exceptions import GraphError, unknown_name
from graphbp.spec import INPUT, describe_edge

__all__ = ["AGGREGATIONS", "NAMES", "aggregation_number", "check_aggregations"]

AGGREGATIONS: Mapping[str, str] = {
    "sum": "Σ_i s_i",
    "product": "Π_i s_i",
    "mean": "Σ_i s_i / n",
    "max": "max_i s_i, the first of equal ones",
    "min": "min_i s_i, the first of equal ones",
    "median": "the middle of the sorted s_i, the mean of the middle two",
    "maxabs": "the s_i of largest |s_i|, the first of equal ones",
}
"""name → formula, with s_i = w_ji z_i for the n sources in the order in which their edges came."""

NAMES = tuple(AGGREGATIONS)


def aggregation_number(where: str, value: Any) -> int:
    """The position of an aggregation in the table; 0 is the sum.  Raises `UnknownNameError`, which says `where`."""
    if value is None:
        return 0
    if not isinstance(value, str) or value not in AGGREGATIONS:
        raise unknown_name(f"aggregation ({where})", value, NAMES)
    return NAMES.index(value)


def check_aggregations(
    columns: Columns, aggregation: npt.NDArray[np.int8], units: npt.NDArray[np.int64], role: npt.NDArray[np.int8]
) -> None:
    """Refuse an aggregation of nothing, on an input, or of layers of different sizes.  Raises `GraphError`."""
    if not aggregation.any():
        return
    fan_in = np.bincount(columns.dst, minlength=len(units))
    for i in np.flatnonzero(aggregation).tolist():
        if role[i] == INPUT:
            raise GraphError(
                f"node {columns.names[i]!r} is an input (nothing leads into it) and has aggregation {NAMES[aggregation[i]]!r}; an "
                "input's value is a column of X: put the aggregation on a unit that the inputs feed"
            )
        if not fan_in[i]:
            raise GraphError(f"node {columns.names[i]!r} has aggregation {NAMES[aggregation[i]]!r}, and no edge leads into it")
    src, dst = columns.src, columns.dst
    odd = np.flatnonzero((aggregation[dst] > 0) & (units[src] != units[dst]))
    if len(odd):
        i, j = int(src[odd[0]]), int(dst[odd[0]])
        raise GraphError(
            f"{describe_edge(columns.names[i], columns.names[j])}: {columns.names[i]!r} has {int(units[i])} unit{'s' * int(units[i] > 1)} and "
            f"{columns.names[j]!r} {int(units[j])}; the {NAMES[aggregation[j]]} of layers is taken unit by unit, so they must have equally "
            "many (a layer with aggregation 'sum' between them brings one to the size of the other)"
        )
