r"""The Hessian's assembly, compiled: what the perturbed units of one column tile contribute, added to the half L of H = L + Lᵀ.

    H_(ji),(lk) = Σ_n z_i (B_lj z_k + δ_l Φ_kj)        for a unit j of the tile and a unit l at or after it

The three products are those of `graphbp.second_order.assembly`.  Between groups of several units pairs of units are multiplied by pairs
of sources, by this backend's own matrix products (`graphbp_numba.instructions.matrix_products`): blocks of `UNIT_PAIRS` rows B_lj, and z_i z_k by sample,
whose sums go to L once.  Units with sources of their own take `graphbp_numba.instructions.sample_sums.tile_sums`: there a matrix product would need the
bracket written out for every pair (j, l).

B comes from a column's sweeps, or is formed here row by row as GᵀΛG, from the rows G_c and (ΛG)_c of a few outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphbp_numba.first_order.samples import aligned
from graphbp_numba.hessians.column_sweeps import meet
from graphbp_numba.hessians.operands import Columns, Factors, Reach, Several, Stack, Target, Units
from graphbp_numba.instructions.calls import item_size, reals
from graphbp_numba.instructions.matrix_products import TILE_VECTORS, Matrix, add_transposed, multiply, transpose
from graphbp_numba.instructions.rows import copy_rows, fill_rows, multiply_rows
from graphbp_numba.instructions.sample_sums import SLOTS, sum_products, tile_sums
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel, part_of
from graphbp_numba.states.sections import line_address

__all__ = ["MIRROR", "add_group", "add_singles", "mirror", "scratch_bytes"]

Array = npt.NDArray[Any]

CHUNK = 1032
"""Samples that single units take at a time (float64; twice as many in float32, the same bytes).  Rows in the second-level cache serve the
tiles of sums as well as rows in the first, and to set up a tile costs, so that fewer samples are slower (measured)."""

UNIT_PAIRS, SOURCE_TILES = 256, 16
"""A block of sums: so many pairs of units by so many tiles of pairs of sources.  What a product reads of the latter at a time is half a
second-level cache."""

RING = 4
"""Rows B_lj kept while the weights of one tile are taken: they belong to at most three units."""

MAX_SOURCES = 9
"""Sources of one tile of sums."""

MIRROR = 64
"""Rows and columns of L taken at a time where it is added to its transpose; whole vectors."""


def scratch_bytes(n: int, slots: int, itemsize: int) -> int:
    """Of the buffer that the entries here work in, for rows of n samples (padded) and so many weights of single units."""
    row = TILE_VECTORS * VECTOR_BYTES
    pairs = (UNIT_PAIRS + row // itemsize) * n * itemsize + SOURCE_TILES * row * (n + UNIT_PAIRS)
    singles = (RING + 1) * CHUNK * 8 + ((slots + SLOTS) * MAX_SOURCES + VECTOR_BYTES) * itemsize
    return max(pairs, singles) + 4 * VECTOR_BYTES


@kernel
def _row(values: Any, first: int, second: int, n0: int) -> Any:
    """The address of values[first, second, n0]."""
    return values.ctypes.data + ((first * values.shape[1] + second) * values.shape[2] + n0) * values.itemsize


@kernel
def _curvature(tag: Any, given: Any, j: int, l: int, n0: int, vectors: int, out: int) -> None:  # noqa: E741
    """out = B_lj of some samples, of the columns `given`."""
    g, weighted = given.g, given.weighted
    if g.shape[0]:
        sum_products(tag, out, _row(g, j, 0, n0), _row(weighted, l, 0, n0), g.shape[2] * g.itemsize, g.shape[1], vectors)
    else:
        copy_rows(tag, out, _row(given.B, l - given.start, j - given.start, n0), vectors)


@kernel
def _first_from(rows: Any, j: int) -> int:
    """How many of the sorted rows lie before j."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < j:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _leads(paths: Any, j: int, k: int, n_rows: int) -> bool:
    """Whether Φ_kj is wanted; not for the unit that biases come from, the last of all.  Unknown paths: it may be."""
    if len(paths):
        return k < n_rows and paths[k, j]
    return j <= k < n_rows


# -- single units ------------------------------------------------------------------------------------------------------------


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
    for slot in range(stack.start[_first_from(stack.unit, j)], stack.start[len(stack.unit)]):
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
                    _curvature(tag, given, j, l, n0, vectors, room.ring + made % RING * chunk * item)
            if few:
                rows[k] = room.ring + made % RING * chunk * item
            else:
                rows[k] = _row(given.B, l - given.start, j - given.start, n0)
            rows[SLOTS + k] = line_address(z, source, n0)
            if exact:
                reached = _leads(reach.paths, j, source, z.shape[0] - 1)
                bent = bent or reached
                rows[2 * SLOTS + k] = line_address(tile.delta, l, n0)
                rows[3 * SLOTS + k] = _row(given.phi, source - given.start, j - given.start, n0) if reached else room.nothing
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


# -- groups of several units -------------------------------------------------------------------------------------------------


class _Pairs(NamedTuple):
    """Pairs of numbers."""

    first: Array
    second: Array


@kernel
def _list_pairs(pairs: Any, rows: int, columns: int, lowest: int, triangle: bool) -> int:
    """Pairs (r, c), c innermost: all of them; or, `triangle`, those with lowest + c ≤ r.  How many."""
    count = 0
    for r in range(rows):
        for c in range(min(columns, r - lowest + 1) if triangle else columns):
            pairs.first[count], pairs.second[count] = r, c
            count += 1
    return count


@kernel
def _count_runs(index: Any) -> Any:
    """How many positions from each on follow one another: index[u, i], index[u, i] + 1, ...; 0 at holes (−1)."""
    runs = np.empty(index.shape, np.int64)
    for u in range(len(index)):
        for i in range(index.shape[1] - 1, -1, -1):
            follows = i + 1 < index.shape[1] and index[u, i + 1] == index[u, i] + 1
            runs[u, i] = 0 if index[u, i] < 0 else runs[u, i + 1] + 1 if follows else 1
    return runs


@kernel
def _add_row(tag: Any, row: int, index: Any, runs: Any, first: int, stop: int, share: Any, values: int) -> None:
    """row[index[i]] += share · values[i − first] for i = first..stop, holes left out; runs of positions as vectors."""
    item, i = item_size(tag), first
    while i < stop:
        place, count = index[i], max(1, min(runs[i], stop - i))
        if place >= 0:
            into = carray(reals(tag, row + place * item), count)
            found = carray(reals(tag, values + (i - first) * item), count)
            for k in range(count):
                into[k] += share * found[k]
        i += count


class _Products(NamedTuple):
    """Where groups are multiplied: rows by sample of pairs of units, tiles of pairs of sources, rows not yet transposed, and the sums.

    zeros : that the sums start from.            units, sources, rows : the pairs of each, and the rows that two sources stand in.
    """

    left: int
    right: int
    spare: int
    sums: int
    zeros: Array
    units: _Pairs
    sources: _Pairs
    rows: _Pairs


@part_of
def _room_for_products(tag: Any, buffer: Any, z: Any, most: int) -> Any:
    """Room for as many pairs."""
    row, n, item = len(tag) * VECTOR_BYTES, z.shape[1], item_size(tag)
    left = aligned(buffer)
    right = left + UNIT_PAIRS * n * item
    spare = right + SOURCE_TILES * row * n
    units = _Pairs(np.empty(most, np.int64), np.empty(most, np.int64))
    sources = _Pairs(np.empty(most, np.int64), np.empty(most, np.int64))
    rows = _Pairs(np.empty(most, np.int64), np.empty(most, np.int64))
    return _Products(left, right, spare, spare + row * n, np.zeros(UNIT_PAIRS, z.dtype), units, sources, rows)


@kernel
def _multiply_pairs(tag: Any, x: Any, y: Any, first: int, stop: int, room: Any) -> None:
    """The products x_r · y_s of the pairs of rows (r, s) first..stop, by sample: tiles of as many pairs as a row has lanes, zeros after the last."""
    row, item, n, spare = len(tag) * VECTOR_BYTES, item_size(tag), y.shape[1], room.spare
    rows = room.rows
    lanes, vectors, one = row // item, n * item // VECTOR_BYTES, (tag[0],)
    for pair in range(first, stop, lanes):
        for c in range(lanes):
            if pair + c < stop:
                factors = line_address(x, rows.first[pair + c], 0), line_address(y, rows.second[pair + c], 0)
                multiply_rows(one, spare + c * n * item, factors[0], factors[1], vectors)
            else:
                fill_rows(one, spare + c * n * item, vectors)
        transpose(tag, spare, n * item, lanes, n, room.right + (pair - first) // lanes * n * row, row)


@kernel
def _sum_pairs(tag: Any, room: Any, n: int, units: int, sources: int) -> None:
    """The sums over samples of so many rows by so many pairs of sources."""
    row, item = len(tag) * VECTOR_BYTES, item_size(tag)
    tiles = (sources + row // item - 1) // (row // item)
    out = Matrix(room.sums, SOURCE_TILES * row, row)
    multiply(tag, Matrix(room.left, n * item, row), room.right, n * row, out, n, units, tiles, room.zeros.ctypes.data, 0)


@part_of
def _add_bracket(tag: Any, target: Any, room: Any, u: int, last: int, s0: int, s1: int, same: bool, lowest: int, sums: int) -> None:
    """half += the sums of the pairs of units u..last, of one l and several j, with the pairs of sources s0..s1.

    same: both of one group, where l counts the units from its start, and j those from `lowest` on.
    """
    half, item, l = target.half, item_size(tag), room.units.first[u]  # noqa: E741  # the book's name of the second unit
    at = s0
    while at < s1:  # the pairs (k, i) of one k, a run of i: for all j, which stand side by side in L
        k, i = room.sources.first[at], room.sources.second[at]
        stop = min(i + s1 - at, k + 1 if same else target.to_j.shape[1])
        for v in range(u, last):
            j, values = room.units.second[v], sums + (v - u) * SOURCE_TILES * len(tag) * VECTOR_BYTES + (at - s0) * item
            share = half.dtype.type(0.5 if same and l == lowest + j else 1.0)
            if target.to_l[l, k] >= 0:
                row_at = line_address(half, target.to_l[l, k], 0)
                _add_row(tag, row_at, target.to_j[j], target.j_runs[j], i, stop, share, values)
            if same and target.to_j[j, k] >= 0:  # i and k exchanged, but for i = k
                row_at = line_address(half, target.to_j[j, k], 0)
                _add_row(tag, row_at, target.to_l[l], target.l_runs[l], i, min(stop, k), share, values)
        at += stop - i


@part_of
def _add_paths(tag: Any, reach: Any, tile: Any, given: Any, p: Any, q: Any, a: int, b: int, target: Any, room: Any) -> None:
    """half += Σ_n z_i δ_l Φ_kj: pairs (k, j) that a path joins, by pairs (l, i)."""
    half, n, item, start = target.half, tile.z.shape[1], item_size(tag), given.start
    lanes, one = len(tag) * VECTOR_BYTES // item, (tag[0],)
    joined, others, rows = room.units, room.sources, room.rows
    n_joined = 0
    for k in range(len(q.sources)):
        for j in range(a, b):
            if _leads(reach.paths, j, q.sources[k], tile.z.shape[0] - 1):
                joined.first[n_joined], joined.second[n_joined] = k, j - a
                n_joined += 1
    n_others = _list_pairs(others, len(q.place), len(p.sources), 0, False) if n_joined else 0
    for pair in range(n_others):
        rows.first[pair], rows.second[pair] = q.start + others.first[pair], p.sources[others.second[pair]]
    for s0 in range(0, n_others, SOURCE_TILES * lanes):
        s1 = min(s0 + SOURCE_TILES * lanes, n_others)
        _multiply_pairs(tag, tile.delta, tile.z, s0, s1, room)
        for u0 in range(0, n_joined, UNIT_PAIRS):
            u1 = min(u0 + UNIT_PAIRS, n_joined)
            for u in range(u0, u1):
                source = _row(given.phi, q.sources[joined.first[u]] - start, a + joined.second[u] - start, 0)
                copy_rows(one, room.left + (u - u0) * n * item, source, n * item // VECTOR_BYTES)
            _sum_pairs(tag, room, n, u1 - u0, s1 - s0)
            at = 0
            while at < s1 - s0:  # the pairs (l, i) of one l, a run of i
                l, i = others.first[s0 + at], others.second[s0 + at]  # noqa: E741  # the book's name of the second unit
                stop = min(i + s1 - s0 - at, len(p.sources))
                for u in range(u0, u1):
                    k, j = joined.first[u], joined.second[u]
                    values = room.sums + (u - u0) * SOURCE_TILES * len(tag) * VECTOR_BYTES + at * item
                    if q.place[l, k] >= 0:
                        row_at = line_address(half, q.place[l, k], 0)
                        _add_row(tag, row_at, target.to_j[j], target.j_runs[j], i, stop, half.dtype.type(1), values)
                at += stop - i


@compiled
def add_group(tag: Any, reach: Any, tile: Any, given: Any, p: Any, q: Any, a: int, b: int, half: Any, buffer: Any) -> None:
    """half += the pairs of a unit j = a..b of group p and a unit l of q, p itself or a later group."""
    reach, tile, given, p, q = Reach(*reach), Factors(*tile), Columns(*given), Several(*p), Several(*q)
    same = p.start == q.start
    n, item = tile.z.shape[1], item_size(tag)
    lanes, vectors, one = len(tag) * VECTOR_BYTES // item, n * item // VECTOR_BYTES, (tag[0],)
    to_j = p.place[a - p.start : b - p.start]
    target = Target(half, to_j, _count_runs(to_j), q.place, _count_runs(q.place if same else q.place[:0]))
    # within a group j ≥ l, i ≥ k; l counts the group's units from its start, j those of the tile from a
    room = _room_for_products(tag, buffer, tile.z, max(len(q.place), len(q.sources)) * max(b - a, len(p.sources)))
    units, sources, rows = room.units, room.sources, room.rows
    unit_pairs = _list_pairs(units, len(q.place), b - a, a - p.start, same)
    source_pairs = _list_pairs(sources, len(q.sources), len(p.sources), 0, same)
    for pair in range(source_pairs):
        rows.first[pair], rows.second[pair] = q.sources[sources.first[pair]], p.sources[sources.second[pair]]
    for s0 in range(0, source_pairs, SOURCE_TILES * lanes):
        s1 = min(s0 + SOURCE_TILES * lanes, source_pairs)
        _multiply_pairs(tag, tile.z, tile.z, s0, s1, room)
        for u0 in range(0, unit_pairs, UNIT_PAIRS):
            u1 = min(u0 + UNIT_PAIRS, unit_pairs)
            for u in range(u0, u1):
                j, l, place = a + units.second[u], q.start + units.first[u], room.left + (u - u0) * n * item  # noqa: E741
                if meet(reach.meets, j, l):
                    _curvature(one, given, j, l, 0, vectors, place)
                else:
                    fill_rows(one, place, vectors)
            _sum_pairs(tag, room, n, u1 - u0, s1 - s0)
            u = u0
            while u < u1:
                last = u
                while last < u1 and units.first[last] == units.first[u]:
                    last += 1
                sums = room.sums + (u - u0) * SOURCE_TILES * len(tag) * VECTOR_BYTES
                _add_bracket(tag, target, room, u, last, s0, s1, same, a - p.start, sums)
                u = last
    if not same and given.phi.shape[0]:
        _add_paths(tag, reach, tile, given, p, q, a, b, target, room)


# -- H = L + Lᵀ --------------------------------------------------------------------------------------------------------------


@compiled
def mirror(tag: Any, half: Any, first: int, stop: int) -> None:
    """L ← L + Lᵀ for the rows first..stop and the columns from there on, and their mirror images; `first` is a multiple of lanes."""
    n, item, step = len(half), item_size(tag), half.strides[0]
    lanes = VECTOR_BYTES // item
    whole = n // lanes * lanes
    for k0 in range(first, whole, MIRROR):
        for i in range(first, min(stop, whole), lanes):
            for k in range(max(i, k0), min(k0 + MIRROR, whole), lanes):
                add_transposed(tag, half.ctypes.data + i * step + k * item, half.ctypes.data + k * step + i * item, step)
    for i in range(first, stop):  # the last columns
        for k in range(max(i, whole), n):
            total = half[i, k] + half[k, i]
            half[i, k] = total
            half[k, i] = total
