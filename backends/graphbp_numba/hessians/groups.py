"""The assembly between groups of several units: pairs of units by pairs of sources, as matrix products.

Blocks of `UNIT_PAIRS` rows B_lj, and z_i z_k by sample, are multiplied by `graphbp_numba.instructions.matrix_products`; their sums go to L once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphbp_numba.first_order.samples import aligned
from graphbp_numba.hessians.column_sweeps import meet
from graphbp_numba.hessians.entries import curvature, leads, samples_of
from graphbp_numba.hessians.operands import Columns, Factors, Reach, Several, Target
from graphbp_numba.instructions.calls import item_size, reals
from graphbp_numba.instructions.matrix_products import Matrix, multiply, transpose
from graphbp_numba.instructions.rows import copy_rows, fill_rows, multiply_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel, part_of
from graphbp_numba.states.sections import line_address

__all__ = ["SOURCE_TILES", "UNIT_PAIRS", "add_group"]

Array = npt.NDArray[Any]

UNIT_PAIRS, SOURCE_TILES = 256, 16
"""A block of sums: so many pairs of units by so many tiles of pairs of sources.  What a product reads of the latter at a time is half a
second-level cache."""


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
            if leads(reach.paths, j, q.sources[k], tile.z.shape[0] - 1):
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
                source = samples_of(given.phi, q.sources[joined.first[u]] - start, a + joined.second[u] - start, 0)
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
                    curvature(one, given, j, l, 0, vectors, place)
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
