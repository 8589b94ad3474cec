"""Combinations of two rows in the plan: who gives what to whom in a reverse sweep, and trees of them that first order takes at once.

A row j with a_j = b_j + Σ w z + g(z_u, z_v) gives g_u δ_j to u and g_v δ_j to v.  Where it goes:

    u is linear, has no bias, is no output, and feeds nothing but this once      to its own row: it is δ_u, and u is *given* its δ
    else                                                                        to a *helper row* behind all rows, to which u has
                                                                                one more edge out, of weight 1 for good

Products and choices of many terms are trees of such pairs over *scaled rows* s_i = w_ji z_i, all of whose inner rows are given their
δ.  The sweeps that keep every row take them pair by pair, with a helper row for each side of a pair that is not given.  First order takes
a tree at once: its *leaves* are the sources with their weights, the inner rows are *fused*, and nothing is computed for them.  All leaves
of one source add what they give it in one helper row, already times w, and have sums of their own for the gradient, so that the edges to
scaled rows are none of first order's.

    tables     pairs : a line each (`PAIR_...`)      trees : a line each (`TREE_...`)      leaves : a column each, rows `LEAF_...`
               all ascending by row
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphbp.extend import Schedule
from graphbp_numba.plan.edges_out import Edges
from graphbp_numba.plan.tables import (
    LEAF_FIELDS,
    LEAF_ROW,
    LEAF_TO,
    PAIR_FIELDS,
    TREE_FIELDS,
    TREE_FIRST,
    TREE_STOP,
)

__all__ = ["Combined", "combined_rows"]

Indices = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

WAITING_ROWS = 16
"""Room for the products of a group of leaves, in the narrowest rows."""


@dataclass(frozen=True)
class Combined:
    """What the plan holds of a schedule's combinations.

    given, fused : (n_rows,) see above; those that are fused are given as well.
    pairs : every combination.        of_row : (n_rows,) the number of a row's pair, −1 without.
    trees, leaves : the same for first order, trees at once.        leaf_edge : the edge in that has a leaf's weight, −1 for a weight of 1.
    helped, pulling : the rows that have an edge to each helper row, of pairs and of leaves.
    """

    given: Flags
    fused: Flags
    pairs: Indices
    of_row: Indices
    trees: Indices
    leaves: Rows
    leaf_edge: Indices
    helped: Rows
    pulling: Rows

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def helper_rows(self) -> int:
        """Rows behind the schedule's in first order: those that sources pull from, products that wait, and the leaves of one tree."""
        widest = int((self.trees[:, TREE_STOP] - self.trees[:, TREE_FIRST]).max(initial=0))
        return len(self.pulling) + WAITING_ROWS + widest if len(self) else 0

    def leaf_slots(self, slot: Indices, one: int) -> Indices:
        """The slot of each leaf, given those of the edges in, and that of a weight of 1."""
        slots: Indices = np.append(slot, one)[self.leaf_edge] if len(self) else slot[:0]
        return slots

    def swept_edges(self, edges: Edges) -> Edges:
        """Those that do not lead to fused rows."""
        kept = ~self.fused[edges.dst]
        return Edges(edges.dst[kept], edges.src[kept], edges.slot[kept])


def combined_rows(s: Schedule, in_ptr: Indices, in_src: Rows) -> Combined:
    """The combinations of a schedule whose edges (dense blocks expanded) are in_ptr, in_src."""
    c, no_rows = s.combinations, np.empty(0, np.int32)
    if not len(c):
        flags, lines, leaves = np.zeros(s.n_rows, bool), np.empty((0, PAIR_FIELDS), np.int64), np.empty((LEAF_FIELDS, 0), np.int32)
        none = np.empty(0, np.int64)
        return Combined(flags, flags, lines, none, lines[:, :TREE_FIELDS], leaves, none, no_rows, no_rows)
    given = _given(s, in_src)
    sides = np.stack([c.first, c.second], axis=1)
    helped = sides[~given[sides]]
    to = sides.copy()
    to[~given[sides]] = s.n_rows + np.arange(len(helped))
    of_row = np.full(s.n_rows, -1, np.int64)
    of_row[c.rows] = np.arange(len(c))
    trees, source, edge, fused = _trees(s, given, in_ptr, in_src, of_row)
    leaves, pulling = _leaves(source, given, s.n_rows)
    pairs = np.column_stack([c.rows, c.kind, sides, to]).astype(np.int64)
    return Combined(given, fused, np.ascontiguousarray(pairs), of_row, trees, leaves, edge, helped.astype(np.int32), pulling)


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
    lines, leaves = list[tuple[int, int, int, int]](), list[tuple[int, int]]()
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
        lines.append((int(c.rows[top]), int(c.kind[top]), first, len(leaves)))
    source, edge = np.array(leaves, np.int64).T
    return np.array(lines, np.int64), source, edge, fused


def _leaves(source: Indices, given: Flags, n_rows: int) -> tuple[Rows, Rows]:
    """The table of leaves, and the rows that helper rows belong to.  Leaves are visited from the last down."""
    row, helped = source.copy(), ~given[source]
    pulling, place = np.unique(source[helped], return_inverse=True)
    row[helped] = n_rows + place.ravel()
    last = np.empty(n_rows + len(pulling), np.int64)
    last[row] = np.arange(len(row))
    leaves = np.empty((LEAF_FIELDS, len(source)), np.int32)
    leaves[LEAF_ROW] = source
    leaves[LEAF_TO] = np.where(last[row] == np.arange(len(row)), -1 - row, row)
    return leaves, pulling.astype(np.int32)
