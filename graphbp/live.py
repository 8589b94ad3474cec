"""The live part of a schedule: the inputs, and the units that lead to an output.

What leads to no output has no say in y or E: its derivatives are 0 because no path is there, not because a product comes out as 0.
(A dead unit may overflow, and 0 · ∞ is NaN.)  So backends are given a schedule that leaves dead units out, with their edges and
biases; θ keeps its length, and a parameter that fills no slot of the live part has the derivative 0.

    x ─┬─► h ───► y          live: x h y
       └─► d ───► e          dead: d e, and the three weights and biases that lead into them

Where nothing is dead, the live part is the schedule itself.  O(edges).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.combinations import COMBINATIONS
from graphbp.parameters import ParameterMap

if TYPE_CHECKING:
    from graphbp.schedule import DenseBlock, Schedule

__all__ = ["live_part", "live_rows", "whole_trace"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def live_rows(s: Schedule) -> Flags:
    """(n_rows,) whether a row is an input, or leads to an output (or is one)."""
    live = np.zeros(s.n_rows, bool)
    live[s.output_rows] = True
    if (s.feeds | live)[s.n_inputs :].all():  # every path ends at an output
        return np.ones(s.n_rows, bool)
    for level in reversed(s.levels):
        edges = live[s.out_dst[s.out_ptr[level.start] : s.out_ptr[level.stop]]]
        feeding = level.start + np.flatnonzero(np.diff(s.out_ptr[level.start : level.stop + 1]))
        if len(feeding):
            live[feeding] |= np.logical_or.reduceat(edges, s.out_ptr[feeding] - s.out_ptr[level.start])
        for block in level.dense:
            if live[block.start : block.stop].any():
                live[block.src] = True
        combined = s.combinations.of_rows(level.start, level.stop)
        combined = combined[live[s.combinations.rows[combined]]]
        live[s.combinations.first[combined]] = live[s.combinations.second[combined]] = True
    live[: s.n_inputs] = True
    return live


def live_part(s: Schedule) -> Schedule:
    """The schedule without its dead rows; itself where it has none."""
    from graphbp.schedule import build_levels

    live = live_rows(s)
    if live.all():
        return s
    rows = np.flatnonzero(live)
    place = np.cumsum(live) - 1
    dst, src, slot, blocks, block_slots = _edges(s, live)
    in_ptr, out_ptr = (_pointers(place[ends], len(rows)) for ends in (dst, src))
    by_source = np.argsort(src, kind="stable")
    dense = []
    at = len(slot)
    for block, slots in zip(blocks, block_slots, strict=True):
        dense.append(_placed(block, place, slots, at))
        at += len(slots)
    biased = rows[s.bias_slot[rows] >= 0]
    bias_slot = np.full(len(rows), -1, np.int64)
    bias_slot[place[biased]] = at + np.arange(len(biased))
    taken = np.concatenate([slot, *block_slots, s.bias_slot[biased]]).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(live)])
    row_level, row_activation = s.row_level[rows], s.row_activation[rows]
    levels = build_levels(row_level, row_activation, in_ptr, dense)
    made = replace(
        s,
        n_rows=len(rows),
        node_row=before[s.node_row],
        units=before[s.node_row + s.units] - before[s.node_row],
        row_level=row_level,
        levels=levels,
        in_ptr=in_ptr,
        in_src=place[src].astype(np.int32),
        out_ptr=out_ptr,
        out_dst=place[dst[by_source]].astype(np.int32),
        out_slot=by_source.astype(np.int64),
        bias_slot=bias_slot,
        combinations=s.combinations.among(live, place, [*(level.start for level in levels), len(rows)]),
        row_activation=row_activation,
        output_rows=place[s.output_rows],
        parameters=ParameterMap(s.n_parameters, s.parameters.slot_parameter[taken], s.parameters.slot_value[taken]),
        part_of=(s, rows),
    )
    for value in (*vars(made).values(), *vars(made.parameters).values(), rows):
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return made


def _edges(s: Schedule, live: Flags) -> tuple[Indices, Indices, Indices, list[DenseBlock], list[Indices]]:
    """The live edges, in the old rows and slots: (dst, src, slot) of the sparse ones, sorted; the blocks, and the slots that each keeps.

    What is left of a block joins the sparse edges where it would not have become a block (see `MIN_DENSE_ENTRIES`).
    """
    from graphbp.schedule import MIN_DENSE_ENTRIES

    ends = np.repeat(np.arange(s.n_rows), np.diff(s.in_ptr))
    kept = np.flatnonzero(live[ends])
    dst, src, slot = [ends[kept]], [s.in_src[kept].astype(np.int64)], [kept]
    blocks, block_slots = [], []
    for block in s.dense_blocks:
        units = np.flatnonzero(live[block.start : block.stop])
        n = len(block.src)
        slots = (block.slot + units[:, None] * n + np.arange(n)).ravel()
        if len(units) >= 2 and len(slots) >= MIN_DENSE_ENTRIES:
            blocks.append(replace(block, start=block.start + int(units[0])))
            block_slots.append(slots)
        else:
            dst.append(np.repeat(block.start + units, n))
            src.append(np.tile(block.src.astype(np.int64), len(units)))
            slot.append(slots)
    all_dst, all_src, all_slot = np.concatenate(dst), np.concatenate(src), np.concatenate(slot)
    order = np.lexsort((all_src, all_dst))
    return all_dst[order], all_src[order], all_slot[order], blocks, block_slots


def _pointers(rows: Indices, n_rows: int) -> Indices:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))]).astype(np.int64)


def _placed(block: DenseBlock, place: Indices, slots: Indices, slot: int) -> DenseBlock:
    """A block whose first row is live, in the new rows, with its slots from `slot` on."""
    src = place[block.src].astype(np.int32)
    src.flags.writeable = False
    start = int(place[block.start])
    run = int(src[-1]) - int(src[0]) + 1 == len(src)
    return replace(
        block, start=start, stop=start + len(slots) // len(src), src=src, src_start=int(src[0]) if run else -1, slot=slot
    )


def whole_trace(s: Schedule, theta: Array, a: Array, z: Array, delta: Array) -> tuple[Array, Array, Array]:
    """a, z and δ of all rows from those of the live part: a dead unit's a and z by their definition, its δ 0."""
    if s.live.part_of is None:
        return a, z, delta
    rows = s.live.part_of[1]
    all_a, all_z, all_delta = (np.zeros((s.n_rows, a.shape[1]), a.dtype) for _ in range(3))
    all_a[rows], all_z[rows], all_delta[rows] = a, z, delta
    w = s.parameters.expand(theta)
    with np.errstate(all="ignore"):  # it may overflow: nothing hangs on it
        for j in np.setdiff1d(np.arange(s.n_rows), rows).tolist():  # upwards: a row's sources stand before it
            all_a[j] = w[s.bias_slot[j]] if s.bias_slot[j] >= 0 else 0
            for source, slots in _incoming(s, j):
                all_a[j] += (w[slots, None] * all_z[source]).sum(axis=0)
            for c in s.combinations.of_rows(j, j + 1).tolist():
                u, v = all_z[s.combinations.first[c]], all_z[s.combinations.second[c]]
                all_a[j] += COMBINATIONS[s.combinations.kind[c]].g(u, v)
            all_z[j] = s.activations[s.row_activation[j]].f(all_a[j])
    return all_a, all_z, all_delta


def _incoming(s: Schedule, j: int) -> Iterator[tuple[Any, slice]]:
    """(sources, slots) of the edges that lead into row j."""
    edges = slice(int(s.in_ptr[j]), int(s.in_ptr[j + 1]))
    yield s.in_src[edges], edges
    for block in s.levels[int(s.row_level[j]) - 1].dense:
        if block.start <= j < block.stop:
            first = block.slot + (j - block.start) * len(block.src)
            yield block.source, slice(first, first + len(block.src))
