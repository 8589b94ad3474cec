"""A schedule's weights as *pieces*: rectangles of units × sources whose weights stand in θ row by row.

    [ w_j,i  w_j,i+1 ... ]     rows: consecutive units of one level with the same sources, whatever these are
    [ w_j+1,i ...        ]     in θ a row's weights stand one after the other, and from row to row `stride` further

A dense block of the schedule is a piece; so are the sparse edges of neighbouring rows that have the same sources (a layer node fed by a
few columns of a wide one).  Where θ does not hold a block like that (frozen weights, ties that cut across), all weights are read by slot,
where they always do.  A piece's sources are all inputs or none is, so that a gradient leaves the inputs' δ alone.

Pieces of one level that have the same weights (tied) stand together: a *job* is a run of those, whose gradient is one sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Schedule
from graphbp_numba.instructions.block_products import SUM_COLUMNS

__all__ = ["TIED_PIECES", "Pieces", "find_pieces"]

TIED_PIECES = 16
"""Tied pieces whose δ and z are gone through for one sum: these, of 16 units and sources, stay in the first-level cache."""

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """In the order of the levels, one entry a piece; see the module's docstring.

    level, start, rows, count : the level, the first row, how many, and how many sources.
    sources, at : rows, each piece's from sources[at] on; filled up to whole groups with the last one.
    first, stride : w_ji stands at first + j · stride + i; in θ where `direct`, else among the slots.
    """

    direct: bool
    level: Indices
    start: Indices
    rows: Indices
    count: Indices
    sources: npt.NDArray[np.int32]
    at: Indices
    first: Indices
    stride: Indices
    from_inputs: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def cost(self) -> int:
        """Edges, and those that a piece, its rows and its sources cost beside them."""
        return int((self.rows * self.count + 8 * (self.rows + self.count) + 32).sum())

    @cached_property
    def jobs(self) -> Indices:
        """(jobs, 2): the pieces first..stop of one level that have the same weights, `TIED_PIECES` at most."""
        if not len(self):
            return np.zeros((0, 2), np.int64)
        same = [np.diff(column) == 0 for column in (self.level, self.first, self.rows, self.count, self.stride)]
        begins = np.concatenate([[0], np.flatnonzero(~np.all(same, axis=0)) + 1])
        place = np.arange(len(self)) - np.repeat(begins, np.diff(np.append(begins, len(self))))
        cuts = np.flatnonzero(place % TIED_PIECES == 0)
        return np.stack([cuts, np.append(cuts[1:], len(self))], axis=1)


@dataclass(frozen=True)
class _Lines:
    """Rows of weights before they are joined: of each the row it leads into, its block (−1: sparse edges), and its edges ptr[k]..ptr[k + 1]."""

    row: Indices
    owner: Indices
    ptr: Indices
    src: npt.NDArray[np.int32]
    slot: Indices


def find_pieces(s: Schedule) -> Pieces:
    """The pieces of a schedule in θ, or by slot where θ holds some weight not at all or the blocks in much smaller pieces."""
    lines = _lines(s)
    by_slot = _join(s, lines, lines.slot, False)
    if len(s.parameters.frozen):
        return by_slot
    by_theta = _join(s, lines, s.parameters.slot_parameter[lines.slot], True)
    return by_theta if by_theta.cost <= 2 * by_slot.cost else by_slot


def _lines(s: Schedule) -> _Lines:
    rows = np.flatnonzero(np.diff(s.in_ptr))
    blocks = s.dense_blocks
    m, n = (np.array([block.shape[axis] for block in blocks], np.int64) for axis in (0, 1))
    start = np.array([block.start for block in blocks], np.int64)
    owner = np.repeat(np.arange(len(blocks)), m)
    dense_row = np.repeat(start - (np.cumsum(m) - m), m) + np.arange(m.sum())
    counts = np.concatenate([np.diff(s.in_ptr)[rows], n[owner]])
    src = [np.tile(block.src, block.stop - block.start) for block in blocks]
    slot = [np.arange(block.slot, block.slot + block.size) for block in blocks]
    return _Lines(
        np.concatenate([rows, dense_row]),
        np.concatenate([np.full(len(rows), -1), owner]),
        np.concatenate([[0], np.cumsum(counts)]),
        np.concatenate([s.in_src, *src]).astype(np.int32),
        np.concatenate([np.arange(s.n_sparse), *slot]),
    )


def _join(s: Schedule, lines: _Lines, place: Indices, direct: bool) -> Pieces:
    """Lines joined to pieces: neighbouring rows with the same sources, whose weights stand the same way from each to the next."""
    if not len(lines.row):
        return _pieces(s, lines, place, direct, *(np.empty(0, np.int64),) * 4)
    count = np.diff(lines.ptr)
    line = np.repeat(np.arange(len(count)), count)
    inside = np.arange(len(line)) - lines.ptr[line]
    above = np.maximum(np.arange(len(line)) - np.append(0, count)[line], 0)  # the same edge of the line before, if these are alike
    neighbours = (np.diff(lines.row) == 1) & (np.diff(lines.owner) == 0) & (np.diff(count) == 0)
    joined = np.append(False, neighbours & (np.diff(s.row_level[lines.row]) == 0))
    joined &= np.logical_and.reduceat(lines.src == lines.src[above], lines.ptr[:-1])
    stride = place - place[above]
    joined &= ~np.append(False, joined[:-1]) | np.logical_and.reduceat(stride == stride[above], lines.ptr[:-1])
    head = np.flatnonzero(~joined)
    rows = np.diff(np.append(head, len(count)))
    # cut the columns where the weights do not go on one by one, or a second row's stand elsewhere, or inputs end
    on = np.append(False, np.diff(place) == 1) & np.append(False, np.diff(lines.src < s.n_inputs) == 0) & (inside > 0)
    group = np.cumsum(~joined) - 1
    second = np.minimum(np.arange(len(line)) + count[line], len(line) - 1)
    has_second = rows[group[line]] > 1
    step = np.where(has_second, stride[second], count[line])
    on &= ~has_second | np.append(False, np.diff(step) == 0)
    edges = np.flatnonzero(~on & (~joined)[line])
    ends = np.append(edges[1:], -1)
    last_of_line = lines.ptr[line[edges] + 1]
    ends = np.where((ends < 0) | (ends > last_of_line), last_of_line, ends)
    return _pieces(s, lines, place, direct, edges, ends - edges, rows[group[line[edges]]], step[edges], line[edges])


def _pieces(
    s: Schedule,
    lines: _Lines,
    place: Indices,
    direct: bool,
    edges: Indices,
    count: Indices,
    rows: Indices,
    stride: Indices,
    *of: Indices,
) -> Pieces:
    """Pieces that begin at these edges, put into the order of levels, tied ones together, with their sources."""
    start = lines.row[of[0]] if of else edges
    level, first = s.row_level[start].astype(np.int64), place[edges]
    appears = np.unique(first, return_index=True, return_inverse=True) if len(first) else (first, first, first)
    order = np.lexsort((start, np.asarray(appears[1])[appears[2]], level))
    edges, count, rows, stride, start, level, first = (part[order] for part in (edges, count, rows, stride, start, level, first))
    room = -(-count // SUM_COLUMNS) * SUM_COLUMNS
    at = np.cumsum(room) - room
    inside = np.arange(room.sum()) - np.repeat(at, room)
    sources = lines.src[np.repeat(edges, room) + np.minimum(inside, np.repeat(count - 1, room))]
    from_inputs = sources[at] < s.n_inputs
    return Pieces(direct, level, start, rows, count, np.ascontiguousarray(sources), at, first, stride, from_inputs)
