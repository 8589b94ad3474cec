"""The edges by source, in the order in which a reverse sweep meets them, and where the gradient's sums stand.

sums     edges out, to whole groups | a place for each row's bias, likewise | first order: for each leaf of a tree | for each of a choice
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Schedule

__all__ = ["GROUP", "Edges", "EdgesOut", "edges_out", "pointers", "whole_groups"]

GROUP = 16
"""Sums that are taken together at most."""

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Edges:
    """All edges in one order: for each the rows and the slot."""

    dst: npt.NDArray[np.int32]
    src: npt.NDArray[np.int32]
    slot: Indices

    def to_helpers(self, s: Schedule, sources: npt.NDArray[np.int32]) -> Edges:
        """The same and edges of weight 1 to rows behind the schedule's, one for each source; their slot is the one behind all slots."""
        if not len(sources):
            return self
        helpers = np.arange(s.n_rows, s.n_rows + len(sources), dtype=np.int32)
        beyond = np.full(len(sources), s.parameters.n_slots)
        return Edges(np.concatenate([self.dst, helpers]), np.concatenate([self.src, sources]), np.concatenate([self.slot, beyond]))


@dataclass(frozen=True)
class EdgesOut:
    """Edges by source, and positions among the gradient's sums.

    ptr, dst, slot : the edges of each row visited.
    bias_place, more_places, size : where the sums of rows, and of what else has some, begin, and how many there are.
    grad_ptr, grad_pos : the positions that add up to each parameter.
    """

    ptr: Indices
    dst: npt.NDArray[np.int32]
    slot: Indices
    bias_place: int
    more_places: tuple[int, ...]
    size: int
    grad_ptr: Indices
    grad_pos: Indices


def edges_out(
    s: Schedule, edges: Edges, order: Array, bias_slot: Array, more: tuple[Indices, ...] = (), as_scheduled: bool = False
) -> EdgesOut:
    """The edges by source, of the rows in the order of a sweep.

    bias_slot : of each row, −1 without a bias.      more : slots whose sums stand behind the rows', each array's in a place of its own.
    as_scheduled : these are the schedule's own edges, which it has by source already.
    """
    fan_out = np.bincount(edges.src, minlength=len(order))
    ptr = pointers(fan_out[order])
    if as_scheduled:
        start, dst, slot = s.out_ptr[:-1], s.out_dst, s.out_slot
    else:
        by_source = np.argsort(edges.src, kind="stable")
        start = pointers(fan_out)[:-1]
        dst, slot = edges.dst[by_source], edges.slot[by_source]
    take = np.repeat(start[order] - ptr[:-1], fan_out[order]) + np.arange(len(dst))
    slot = slot[take]
    bias_place = whole_groups(len(dst))
    places = pointers([bias_place + whole_groups(len(order)), *(whole_groups(len(slots)) for slots in more)])[1:]
    position = np.empty(s.parameters.n_slots + 1, np.int64)
    position[slot] = np.arange(len(slot))
    for place, slots in zip(places.tolist(), more, strict=False):
        position[slots] = place + np.arange(len(slots))
    rows = np.flatnonzero(bias_slot >= 0)
    position[bias_slot[rows]] = bias_place + rows
    starts, n_free = s.parameters.starts, len(s.parameters.order)
    grad_ptr = np.arange(n_free + 1) if starts is None else np.append(starts, n_free)
    return EdgesOut(
        ptr,
        np.ascontiguousarray(dst[take], np.int32),
        slot,
        bias_place,
        tuple(places[:-1].tolist()),
        int(places[-1]),
        grad_ptr.astype(np.int64),
        position[s.parameters.order],
    )


def pointers(counts: Any) -> Indices:
    """Where each of so many begins, and the end."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def whole_groups(count: int) -> int:
    """So many sums, to whole groups."""
    return -(-count // GROUP) * GROUP
