"""Combinations of two rows in the plan: who gives what to whom in a reverse sweep, and trees of them that first order takes at once.

A row j with a_j = b_j + Σ w z + g(z_u, z_v) gives g_u δ_j to u and g_v δ_j to v.  Where it goes:

    u is linear, has no bias, is no output, and feeds nothing but this once      to its own row: it is δ_u, and u is *given* its δ
    else                                                                        to a *helper row* behind all rows, to which u has
                                                                                one more edge out, of weight 1 for good

Products and choices of many terms are trees of such pairs over *scaled rows* s_i = w_ji z_i, all of whose inner rows are given their
δ.  The sweeps that keep every row take them pair by pair, with a helper row for each side of a pair that is not given.  First order takes
a tree at once: its *leaves* are the sources with their weights, the inner rows are *fused*, and nothing is computed for them
(`graphbp_numba.plan.first_order`).

    tables     pairs : a line each (`PAIR_...`)      trees : a line each (`TREE_...`)      both ascending by row
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphbp.extend import Schedule
from graphbp_numba.plan.tables import PAIR_FIELDS, TREE_FIELDS

__all__ = ["Combined", "combined_rows"]

Indices = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Combined:
    """What the plan holds of a schedule's combinations.

    given, fused : (n_rows,) see above; those that are fused are given as well.
    pairs : every combination.        of_row : (n_rows,) the number of a row's pair, −1 without.
    trees : the same for first order, trees at once.        leaf_source, leaf_edge : of each leaf the row, and the edge in that has its
        weight, −1 for a weight of 1.
    helped : the rows that have an edge to each helper row.
    """

    given: Flags
    fused: Flags
    pairs: Indices
    of_row: Indices
    trees: Indices
    leaf_source: Indices
    leaf_edge: Indices
    helped: Rows

    def __len__(self) -> int:
        return len(self.pairs)


def combined_rows(s: Schedule, in_ptr: Indices, in_src: Rows) -> Combined:
    """The combinations of a schedule whose edges (dense blocks expanded) are in_ptr, in_src."""
    c = s.combinations
    if not len(c):
        flags, lines, none = np.zeros(s.n_rows, bool), np.empty((0, PAIR_FIELDS), np.int64), np.empty(0, np.int64)
        return Combined(flags, flags, lines, none, lines[:, :TREE_FIELDS], none, none, np.empty(0, np.int32))
    given = _given(s, in_src)
    sides = np.stack([c.first, c.second], axis=1)
    helped = sides[~given[sides]]
    to = sides.copy()
    to[~given[sides]] = s.n_rows + np.arange(len(helped))
    of_row = np.full(s.n_rows, -1, np.int64)
    of_row[c.rows] = np.arange(len(c))
    trees, source, edge, fused = _trees(s, given, in_ptr, in_src, of_row)
    pairs = np.column_stack([c.rows, c.kind, sides, to]).astype(np.int64)
    return Combined(given, fused, np.ascontiguousarray(pairs), of_row, trees, source, edge, helped.astype(np.int32))


def _given(s: Schedule, in_src: Rows) -> Flags:
    """Linear rows without bias, no outputs, that feed one side of one combination and nothing else."""
    linear = np.array([h.builtin and h.name == "identity" for h in s.activations])
    once = np.bincount(np.concatenate([s.combinations.first, s.combinations.second]), minlength=s.n_rows) == 1
    given = once & (np.bincount(in_src, minlength=s.n_rows) == 0) & (s.bias_slot < 0)
    given[: s.n_inputs] = False
    given[s.output_rows] = False
    rows = np.flatnonzero(given)
    given[rows] = linear[s.row_activation[rows]]
    return np.asarray(given)


def _trees(s: Schedule, given: Flags, in_ptr: Indices, in_src: Rows, of_row: Indices) -> tuple[Indices, Indices, Indices, Flags]:
    """Lines, their leaves' sources and edges, and which rows are inside.

    Inside are rows that are given their δ and have nothing else in a: combinations of the tree's own kind, and scaled rows.
    """
    c = s.combinations
    fan_in = np.diff(in_ptr)
    inner = given & (of_row >= 0) & (fan_in == 0)
    scaled = given & (of_row < 0) & (fan_in == 1)
    kind = np.full(s.n_rows, -1, np.int64)
    kind[c.rows] = c.kind
    sides = np.stack([c.first, c.second], axis=1)
    joined = inner[sides] & (kind[sides] == c.kind[:, None])
    fused = scaled.copy()
    fused[sides[joined]] = True
    lines, leaves = list[tuple[int, int, int, int, int]](), list[tuple[int, int]]()
    for top in np.flatnonzero(~fused[c.rows]).tolist():
        first = len(leaves)
        waiting = [(top, 1), (top, 0)]
        while waiting:
            pair, side = waiting.pop()
            row = int(sides[pair, side])
            if joined[pair, side]:
                waiting += [(int(of_row[row]), 1), (int(of_row[row]), 0)]
            else:
                leaves.append((int(in_src[in_ptr[row]]), int(in_ptr[row])) if scaled[row] else (row, -1))
        lines.append((int(c.rows[top]), int(c.kind[top]), first, len(leaves), -1))
    source, edge = np.array(leaves, np.int64).T
    return np.array(lines, np.int64), source, edge, fused
