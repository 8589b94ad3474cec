"""The assembly between units with sources of their own: sums of tiles (`graphbp_numba.instructions.sample_sums.tile_sums`).

A matrix product would need the bracket of `graphbp_numba.hessians.assembly` written out for every pair (j, l).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphbp_numba.first_order.samples import aligned
from graphbp_numba.hessians.column_sweeps import meet
from graphbp_numba.hessians.entries import curvature, first_from, leads, samples_of
from graphbp_numba.hessians.operands import Columns, Factors, Reach, Stack, Units
from graphbp_numba.instructions.calls import item_size, reals
from graphbp_numba.instructions.rows import fill_rows
from graphbp_numba.instructions.sample_sums import SLOTS, tile_sums
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel, part_of
from graphbp_numba.states.sections import line_address

__all__ = ["CHUNK", "MAX_SOURCES", "RING", "add_singles"]

Array = npt.NDArray[Any]

CHUNK = 1032
"""Samples that single units take at a time (float64; twice as many in float32, the same bytes).  Rows in the second-level cache serve the
tiles of sums as well as rows in the first, and to set up a tile costs, so that fewer samples are slower (measured)."""

RING = 4
"""Rows B_lj kept while the weights of one tile are taken: they belong to at most three units."""

MAX_SOURCES = 9
"""Sources of one tile of sums."""


@kernel
def _tile(tag: Any, sources: int, bent: bool, rows: int, others: int, vectors: int, out: int) -> None:
    """`tile_sums` of 1, 3, 5, 7 or 9 sources."""
    if bent:
        if sources == 1:
            tile_sums(tag, (0,), (0, 0), rows, others, vectors, out)
        elif sources == 3:
            tile_sums(tag, (0, 0, 0), (0, 0), rows, others, vectors, out)
        elif sources == 5:
            tile_sums(tag, (0, 0, 0, 0, 0), (0, 0), rows, others, vectors, out)
        elif sources == 7:
            tile_sums(tag, (0, 0, 0, 0, 0, 0, 0), (0, 0), rows, others, vectors, out)
        else:
            tile_sums(tag, (0, 0, 0, 0, 0, 0, 0, 0, 0), (0, 0), rows, others, vectors, out)
    elif sources == 1:
        tile_sums(tag, (0,), (0,), rows, others, vectors, out)
    elif sources == 3:
        tile_sums(tag, (0, 0, 0), (0,), rows, others, vectors, out)
    elif sources == 5:
        tile_sums(tag, (0, 0, 0, 0, 0), (0,), rows, others, vectors, out)
    elif sources == 7:
        tile_sums(tag, (0, 0, 0, 0, 0, 0, 0), (0,), rows, others, vectors, out)
    else:
        tile_sums(tag, (0, 0, 0, 0, 0, 0, 0, 0, 0), (0,), rows, others, vectors, out)


class _Room(NamedTuple):
    """Where single units are summed: a ring of rows B_lj, a row of zeros, the sums, and the addresses of the rows of one tile of sums.

    slots : which weights of the stack take part.
    """

    ring: int
    nothing: int
    sums: int
    rows: Array
    others: Array
    slots: Array


@part_of
def _later_weights(meets: Any, stack: Any, j: int, slots: Any) -> int:
    """The stack's weights of units at or after j that meet it, in `slots`.  How many."""
    count = 0
    for slot in range(stack.start[first_from(stack.unit, j)], stack.start[len(stack.unit)]):
        if meet(meets, j, stack.row[slot]):
            slots[count] = slot
            count += 1
    return count


@part_of
def _sum_over_samples(
    tag: Any, reach: Any, tile: Any, given: Any, stack: Any, count: int, j: int, n0: int, width: int, room: Any
) -> None:
    """The sums += z_i (B_lj z_k + δ_l Φ_kj) over the samples of a chunk from n0 on, for so many slots and the i of `room.others`."""
    z, item = tile.z, item_size(tag)
    lanes, chunk, slots = VECTOR_BYTES // item, CHUNK * 8 // item, room.slots
    vectors = (min(n0 + chunk, z.shape[1]) - n0) // lanes
    exact, few, rows = given.phi.shape[0] > 0, given.g.shape[0] > 0, room.rows
    l, made = -1, -1  # noqa: E741  # the book's name of the second unit
    for s in range(0, count, SLOTS):
        bent = False
        for k in range(SLOTS):
            slot = slots[min(s + k, count - 1)]
            source = stack.source[slot]
            if stack.row[slot] != l:
                l, made = stack.row[slot], made + 1  # noqa: E741
                if few:
                    curvature(tag, given, j, l, n0, vectors, room.ring + made % RING * chunk * item)
            if few:
                rows[k] = room.ring + made % RING * chunk * item
            else:
                rows[k] = samples_of(given.B, l - given.start, j - given.start, n0)
            rows[SLOTS + k] = line_address(z, source, n0)
            if exact:
                reached = leads(reach.paths, j, source, z.shape[0] - 1)
                bent = bent or reached
                rows[2 * SLOTS + k] = line_address(tile.delta, l, n0)
                rows[3 * SLOTS + k] = samples_of(given.phi, source - given.start, j - given.start, n0) if reached else room.nothing
        _tile(tag, width, bent, rows.ctypes.data, room.others.ctypes.data, vectors, room.sums + s * width * item)


@part_of
def _add_singles_sums(tag: Any, stack: Any, count: int, j: int, units: Any, at: int, stop: int, room: Any, half: Any) -> None:
    """half += the sums of unit j's weights at..stop and of so many slots, runs of places together; of two weights of one unit, half."""
    item, slots, width = item_size(tag), room.slots, (stop - at) | 1
    s = 0
    while s < count:
        place, own, run = stack.place[slots[s]], stack.row[slots[s]] == j, 1
        while s + run < count and stack.place[slots[s + run]] == place + run and (stack.row[slots[s + run]] == j) == own:
            run += 1
        share = half.dtype.type(0.5 if own else 1.0)
        for i in range(at, stop):
            if units.place[i] >= 0:
                into = carray(reals(tag, line_address(half, units.place[i], 0) + place * item), run)
                found = carray(reals(tag, room.sums + (s * width + i - at) * item), (run - 1) * width + 1)
                for k in range(run):
                    into[k] += share * found[k * width]
        s += run


@compiled
def add_singles(
    tag: Any, reach: Any, tile: Any, given: Any, units: Any, stack: Any, first: int, last: int, half: Any, buffer: Any
) -> None:
    """half[ji, lk] += Σ_n z_i (B_lj z_k + δ_l Φ_kj), for the units first..last of the list and all single units at or after each.

    Units j and l that lead to no common output (`meets`) are left out.  A pair of two weights of one unit stands in both halves,
    and counts half.
    """
    reach, tile, given, units, stack = Reach(*reach), Factors(*tile), Columns(*given), Units(*units), Stack(*stack)
    n, item = tile.z.shape[1], item_size(tag)
    lanes = VECTOR_BYTES // item
    chunk = CHUNK * 8 // item
    ring = aligned(buffer)
    nothing = ring + RING * chunk * item
    rows, others, slots = (
        np.empty(4 * SLOTS, np.int64),
        np.empty(MAX_SOURCES, np.int64),
        np.empty(stack.start[len(stack.unit)], np.int64),
    )
    room = _Room(ring, nothing, nothing + chunk * item, rows, others, slots)
    fill_rows(tag, nothing, chunk // lanes)
    for u in range(first, last):
        j, i0, i1 = units.row[u], units.start[u], units.start[u + 1]
        count = _later_weights(reach.meets, stack, j, slots)
        parts = (i1 - i0 + MAX_SOURCES - 1) // MAX_SOURCES if count else 0
        for part in range(parts):
            at, stop = i0 + (i1 - i0) * part // parts, i0 + (i1 - i0) * (part + 1) // parts
            width = (stop - at) | 1
            sums = carray(reals(tag, room.sums), (count + SLOTS) * width + lanes)
            for s in range(len(sums)):
                sums[s] = 0
            for n0 in range(0, n, chunk):
                for i in range(width):
                    room.others[i] = line_address(tile.z, units.source[min(at + i, stop - 1)], n0)
                _sum_over_samples(tag, reach, tile, given, stack, count, j, n0, width, room)
            _add_singles_sums(tag, stack, count, j, units, at, stop, room, half)
