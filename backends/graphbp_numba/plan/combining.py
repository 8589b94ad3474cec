"""Combinations of two rows in the plan: who gives what to whom in the reverse sweep, and trees of them that first order takes at once.

A row j with a_j = b_j + Σ w z + g(z_u, z_v) gives g_u δ_j to u and g_v δ_j to v.  Where it goes:

    u is linear, has no bias, is no output, and feeds nothing but this once      to its own row: it is δ_u, and u is *given* its δ
    else                                                                        to a *helper row* behind all rows, to which u has
                                                                                one more edge out, of weight 1 for good

Products and choices of many terms are trees of such pairs over *scaled rows* s_i = w_ji z_i, all of whose inner rows are given their
δ.  The sweeps that keep every row take them pair by pair.  First order takes a tree at once: its *leaves* are the sources with
their weights, and z of the inner rows is never formed; they are *fused*.

    tables     pairs, trees : one line each (`TREE_...`), ascending by row       leaves : a column for each, rows `LEAF_...`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Schedule
from graphbp_numba.plan.tables import (
    LEAF_EDGE,
    LEAF_FIELDS,
    LEAF_ROW,
    LEAF_TO,
    TREE_FIELDS,
    TREE_FIRST,
    TREE_KIND,
    TREE_ROW,
    TREE_STOP,
)

__all__ = ["Combined", "combined_rows", "no_combinations"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Combined:
    """What the plan holds of a schedule's combinations.

    given, fused : (n_rows,) see above; those that are fused are given as well.
    helped : the row that each helper row is an edge out of, in the order of the helper rows.
    pairs, pair_leaves : every combination, with two leaves.           of_row : (n_rows,) the number of a row's pair, −1 without.
    trees, leaves : the same for first order, trees at once.           scratch_rows : leaves of the largest.
    """

    given: Flags
    fused: Flags
    helped: npt.NDArray[np.int32]
    pairs: Indices
    pair_leaves: Indices
    of_row: Indices
    trees: Indices
    leaves: Indices

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def helper_rows(self) -> int:
        """Rows behind the schedule's: those that helped rows pull from, and room for the leaves of one tree."""
        widest = int((self.trees[:, TREE_STOP] - self.trees[:, TREE_FIRST]).max(initial=0))
        return len(self.helped) + widest

    @property
    def swept_rows(self) -> int:
        """The same in first order, with a row for each leaf behind."""
        return self.helper_rows + int(self.leaves.shape[1])

    def swept_targets(self, n_rows: int, dst: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The edges out as first order takes them: from a scaled row's leaf, not from the row, and the leaves told so.

        Leaves of one tree stand side by side: they are written together, and rows far apart are slow to come by.
        """
        scaled = np.flatnonzero(self.leaves[LEAF_EDGE] >= 0)
        row = np.arange(n_rows + len(self.helped), dtype=np.int32)
        row[self.leaves[LEAF_TO, scaled]] = n_rows + self.helper_rows + scaled
        self.leaves[LEAF_TO, scaled] = row[self.leaves[LEAF_TO, scaled]]
        return row[dst]

    def leaf_slots(self, slot: Indices, one: int) -> Indices:
        """The slot of each leaf of the trees, given those of the edges in, and that of a weight of 1."""
        edge = self.leaves[LEAF_EDGE]
        return np.where(edge < 0, one, np.append(slot, one)[edge])


def no_combinations(s: Schedule) -> Combined:
    """Of a schedule of weighted sums."""
    flags = np.zeros(s.n_rows, bool)
    lines, leaves = np.empty((0, TREE_FIELDS), np.int64), np.empty((LEAF_FIELDS, 0), np.int64)
    return Combined(flags, flags, np.empty(0, np.int32), lines, leaves, np.empty(0, np.int64), lines, leaves)


def combined_rows(s: Schedule, in_ptr: Indices, in_src: npt.NDArray[np.int32]) -> Combined:
    """The combinations of a schedule whose edges (dense blocks expanded) are in_ptr, in_src."""
    c = s.combinations
    if not len(c):
        return no_combinations(s)
    given = _given(s, in_src)
    sides = np.stack([c.first, c.second], axis=1)
    helped = sides[~given[sides]]
    to = sides.copy()
    to[~given[sides]] = s.n_rows + np.arange(len(helped))
    of_row = np.full(s.n_rows, -1, np.int64)
    of_row[c.rows] = np.arange(len(c))
    lines, leaves = _binary(c.rows, c.kind, sides, to)
    trees, tree_leaves, fused = _trees(s, given, in_ptr, in_src, to, of_row)
    return Combined(given, fused, helped.astype(np.int32), lines, leaves, of_row, trees, tree_leaves)


def _given(s: Schedule, in_src: npt.NDArray[np.int32]) -> Flags:
    """Linear rows without bias, no outputs, that feed one side of one combination and nothing else."""
    linear = np.array([h.builtin and h.name == "identity" for h in s.activations])
    once = np.bincount(np.concatenate([s.combinations.first, s.combinations.second]), minlength=s.n_rows) == 1
    given = once & (np.bincount(in_src, minlength=s.n_rows) == 0) & (s.bias_slot < 0)
    given[: s.n_inputs] = False
    given[s.output_rows] = False
    rows = np.flatnonzero(given)
    given[rows] = linear[s.row_activation[rows]]
    return np.asarray(given)


def _binary(rows: Indices, kind: Indices, sides: Indices, to: Indices) -> tuple[Indices, Indices]:
    lines = np.empty((len(rows), TREE_FIELDS), np.int64)
    first = 2 * np.arange(len(rows))
    lines[:, TREE_ROW], lines[:, TREE_KIND], lines[:, TREE_FIRST], lines[:, TREE_STOP] = rows, kind, first, first + 2
    leaves = np.full((LEAF_FIELDS, 2 * len(rows)), -1, np.int64)
    leaves[LEAF_ROW], leaves[LEAF_TO] = sides.ravel(), to.ravel()
    return lines, leaves


def _trees(
    s: Schedule, given: Flags, in_ptr: Indices, in_src: npt.NDArray[np.int32], to: Indices, of_row: Indices
) -> tuple[Indices, Indices, Flags]:
    """Lines, leaves, and which rows are inside: pairs of the same kind and scaled rows that are given their δ, with nothing else in a."""
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
    lines, leaves = list[tuple[int, int, int, int]](), list[tuple[int, int, int]]()
    for top in np.flatnonzero(~fused[c.rows]).tolist():
        first = len(leaves)
        waiting = [(top, 1), (top, 0)]
        while waiting:
            pair, side = waiting.pop()
            row = int(sides[pair, side])
            if joined[pair, side]:
                waiting += [(int(of_row[row]), 1), (int(of_row[row]), 0)]
            elif scaled[row]:
                edge = int(in_ptr[row])
                leaves.append((int(in_src[edge]), row, edge))
            else:
                leaves.append((row, int(to[pair, side]), -1))
        lines.append((int(c.rows[top]), int(c.kind[top]), first, len(leaves)))
    return np.array(lines, np.int64).reshape(-1, TREE_FIELDS), np.ascontiguousarray(np.array(leaves, np.int64).T), fused
