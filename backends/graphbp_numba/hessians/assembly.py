r"""The Hessian's assembly, compiled: what the perturbed units of one column tile contribute, added to the half L of H = L + Lᵀ.

    H_(ji),(lk) = Σ_n z_i (B_lj z_k + δ_l Φ_kj)        for a unit j of the tile and a unit l at or after it

The three products are those of `graphbp.second_order.assembly`.  Between groups of several units pairs of units are multiplied by pairs
of sources, by this backend's own matrix products (`graphbp_numba.instructions.matrix_products`): blocks of `UNIT_PAIRS` rows B_lj, and z_i z_k by sample,
whose sums go to L once.  Units with sources of their own take `graphbp_numba.instructions.sample_sums.tile_sums`: there a matrix product would need the
bracket written out for every pair (j, l).

B comes from a column's sweeps, or is formed here row by row as GᵀΛG, from the rows G_c and (ΛG)_c of a few outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp_numba.first_order.samples import aligned
from graphbp_numba.hessians.column_sweeps import meet
from graphbp_numba.instructions.calls import item_size, reals
from graphbp_numba.instructions.matrix_products import TILE_VECTORS, add_transposed, multiply, transpose
from graphbp_numba.instructions.rows import copy_rows, fill_rows, multiply_rows
from graphbp_numba.instructions.sample_sums import SLOTS, sum_products, tile_sums
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
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
def _curvature(tag: Any, B: Any, g: Any, weighted: Any, c0: int, j: int, l: int, n0: int, vectors: int, out: int) -> None:  # noqa: E741
    """out = B_lj of some samples."""
    if g.shape[0]:
        sum_products(tag, out, _row(g, j, 0, n0), _row(weighted, l, 0, n0), g.shape[2] * g.itemsize, g.shape[1], vectors)
    else:
        copy_rows(tag, out, _row(B, l - c0, j - c0, n0), vectors)


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


@compiled
def add_singles(
    tag: Any,
    c0: int,
    z: Any,
    delta: Any,
    B: Any,
    phi: Any,
    g: Any,
    weighted: Any,
    paths: Any,
    meets: Any,
    unit_row: Any,
    unit_start: Any,
    unit_source: Any,
    unit_index: Any,
    first: int,
    last: int,
    single_row: Any,
    stack_start: Any,
    stack_row: Any,
    stack_source: Any,
    stack_index: Any,
    half: Any,
    buffer: Any,
) -> None:
    """half[ji, lk] += Σ_n z_i (B_lj z_k + δ_l Φ_kj), for the units first..last of the list and all single units at or after each.

    Units j and l that lead to no common output (`meets`) are left out.  A pair of two weights of one unit stands in both halves,
    and counts half.
    """
    n, item = z.shape[1], item_size(tag)
    lanes = VECTOR_BYTES // item
    chunk = CHUNK * 8 // item
    ring = aligned(buffer)
    nothing = ring + RING * chunk * item
    sums_at = nothing + chunk * item
    fill_rows(tag, nothing, chunk // lanes)
    rows, others = np.empty(4 * SLOTS, np.int64), np.empty(MAX_SOURCES, np.int64)
    exact, few, end = phi.shape[0] > 0, g.shape[0] > 0, stack_start[len(single_row)]
    slots = np.empty(end, np.int64)
    for u in range(first, last):
        j, i0, i1 = unit_row[u], unit_start[u], unit_start[u + 1]
        count = 0
        for slot in range(stack_start[_first_from(single_row, j)], end):
            if meet(meets, j, stack_row[slot]):
                slots[count] = slot
                count += 1
        parts = (i1 - i0 + MAX_SOURCES - 1) // MAX_SOURCES if count else 0
        for part in range(parts):
            at, stop = i0 + (i1 - i0) * part // parts, i0 + (i1 - i0) * (part + 1) // parts
            width = (stop - at) | 1
            sums = carray(reals(tag, sums_at), (count + SLOTS) * width + lanes)
            for s in range(len(sums)):
                sums[s] = 0
            for n0 in range(0, n, chunk):
                vectors = (min(n0 + chunk, n) - n0) // lanes
                for i in range(width):
                    others[i] = line_address(z, unit_source[min(at + i, stop - 1)], n0)
                l, made = -1, -1  # noqa: E741  # the book's name of the second unit
                for s in range(0, count, SLOTS):
                    bent = False
                    for k in range(SLOTS):
                        slot = slots[min(s + k, count - 1)]
                        source = stack_source[slot]
                        if stack_row[slot] != l:
                            l, made = stack_row[slot], made + 1  # noqa: E741
                            if few:
                                _curvature(tag, B, g, weighted, c0, j, l, n0, vectors, ring + made % RING * chunk * item)
                        rows[k] = ring + made % RING * chunk * item if few else _row(B, l - c0, j - c0, n0)
                        rows[SLOTS + k] = line_address(z, source, n0)
                        if exact:
                            reached = _leads(paths, j, source, z.shape[0] - 1)
                            bent = bent or reached
                            rows[2 * SLOTS + k] = line_address(delta, l, n0)
                            rows[3 * SLOTS + k] = _row(phi, source - c0, j - c0, n0) if reached else nothing
                    _tile(tag, width, bent, rows.ctypes.data, others.ctypes.data, vectors, sums_at + s * width * item)
            s = 0
            while s < count:
                place, own, run = stack_index[slots[s]], stack_row[slots[s]] == j, 1
                while s + run < count and stack_index[slots[s + run]] == place + run and (stack_row[slots[s + run]] == j) == own:
                    run += 1
                share = half.dtype.type(0.5 if own else 1.0)
                for i in range(at, stop):
                    if unit_index[i] >= 0:
                        into = carray(reals(tag, line_address(half, unit_index[i], 0) + place * item), run)
                        found = carray(reals(tag, sums_at + (s * width + i - at) * item), (run - 1) * width + 1)
                        for k in range(run):
                            into[k] += share * found[k * width]
                s += run


# -- groups of several units -------------------------------------------------------------------------------------------------


@kernel
def _list_pairs(first: Any, second: Any, rows: int, columns: int, lowest: int, triangle: bool) -> int:
    """Pairs (r, c), c innermost: all of them; or, `triangle`, those with lowest + c ≤ r.  How many."""
    count = 0
    for r in range(rows):
        for c in range(min(columns, r - lowest + 1) if triangle else columns):
            first[count], second[count] = r, c
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


@kernel
def _multiply_pairs(tag: Any, x: Any, x_row: Any, y: Any, y_row: Any, first: int, stop: int, spare: int, out: int) -> None:
    """The products x_row · y_row of the pairs first..stop, by sample: tiles of as many pairs as a row has lanes, zeros after the last."""
    row, item, n = len(tag) * VECTOR_BYTES, item_size(tag), y.shape[1]
    lanes, vectors, one = row // item, n * item // VECTOR_BYTES, (tag[0],)
    for pair in range(first, stop, lanes):
        for c in range(lanes):
            if pair + c < stop:
                multiply_rows(
                    one, spare + c * n * item, line_address(x, x_row[pair + c], 0), line_address(y, y_row[pair + c], 0), vectors
                )
            else:
                fill_rows(one, spare + c * n * item, vectors)
        transpose(tag, spare, n * item, lanes, n, out + (pair - first) // lanes * n * row, row)


@compiled
def add_group(
    tag: Any,
    c0: int,
    z: Any,
    delta: Any,
    B: Any,
    phi: Any,
    g: Any,
    weighted: Any,
    paths: Any,
    meets: Any,
    p_start: int,
    p_sources: Any,
    p_index: Any,
    a: int,
    b: int,
    q_start: int,
    q_sources: Any,
    q_index: Any,
    half: Any,
    buffer: Any,
) -> None:
    """half += the pairs of a unit j = a..b of group p and a unit l of q, p itself or a later group."""
    same = p_start == q_start
    n, row, item = z.shape[1], len(tag) * VECTOR_BYTES, item_size(tag)
    lanes, vectors, one = row // item, n * item // VECTOR_BYTES, (tag[0],)
    left = aligned(buffer)
    right = left + UNIT_PAIRS * n * item
    spare = right + SOURCE_TILES * row * n
    sums_at = spare + lanes * n * item
    zeros, width = np.zeros(UNIT_PAIRS, z.dtype), SOURCE_TILES * row
    units, sources = len(q_index), len(q_sources)
    to_j, j_runs = p_index[a - p_start : b - p_start], _count_runs(p_index[a - p_start : b - p_start])
    l_runs = _count_runs(q_index if same else q_index[:0])
    # within a group j ≥ l, i ≥ k; `l` counts the group's units from its start, `j` those of the tile from a
    most = max(units, sources) * max(b - a, len(p_sources))
    l_of, j_of, k_of, i_of = (
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.int64),
    )
    unit_pairs = _list_pairs(l_of, j_of, units, b - a, a - p_start, same)
    source_pairs = _list_pairs(k_of, i_of, sources, len(p_sources), 0, same)
    k_row, i_row = np.empty(most, np.int64), np.empty(most, np.int64)
    for pair in range(source_pairs):
        k_row[pair], i_row[pair] = q_sources[k_of[pair]], p_sources[i_of[pair]]
    for s0 in range(0, source_pairs, SOURCE_TILES * lanes):
        s1 = min(s0 + SOURCE_TILES * lanes, source_pairs)
        _multiply_pairs(tag, z, k_row, z, i_row, s0, s1, spare, right)
        tiles = (s1 - s0 + lanes - 1) // lanes
        for u0 in range(0, unit_pairs, UNIT_PAIRS):
            u1 = min(u0 + UNIT_PAIRS, unit_pairs)
            for u in range(u0, u1):
                place = left + (u - u0) * n * item
                if meet(meets, a + j_of[u], q_start + l_of[u]):
                    _curvature(one, B, g, weighted, c0, a + j_of[u], q_start + l_of[u], 0, vectors, place)
                else:
                    fill_rows(one, place, vectors)
            multiply(tag, left, n * item, row, right, n * row, n, u1 - u0, sums_at, width, row, tiles, zeros.ctypes.data, 0)
            u = u0
            while u < u1:
                l, last = l_of[u], u  # noqa: E741  # the book's name of the second unit
                while last < u1 and l_of[last] == l:
                    last += 1
                at = 0
                while at < s1 - s0:  # the pairs (k, i) of one k, a run of i: for all j, which stand side by side in L
                    k, i = k_of[s0 + at], i_of[s0 + at]
                    stop = min(i + s1 - s0 - at, k + 1 if same else len(p_sources))
                    for v in range(u, last):
                        j, values = j_of[v], sums_at + (v - u0) * width + at * item
                        share = half.dtype.type(0.5 if same and q_start + l == a + j else 1.0)
                        if q_index[l, k] >= 0:
                            row_at = line_address(half, q_index[l, k], 0)
                            _add_row(tag, row_at, to_j[j], j_runs[j], i, stop, share, values)
                        if same and to_j[j, k] >= 0:  # i and k exchanged, but for i = k
                            row_at = line_address(half, to_j[j, k], 0)
                            _add_row(tag, row_at, q_index[l], l_runs[l], i, min(stop, k), share, values)
                    at += stop - i
                u = last
    if same or not phi.shape[0]:
        return
    # the path term: pairs (k, j) that a path joins, by pairs (l, i)
    joined = 0
    for k in range(sources):
        for j in range(a, b):
            if _leads(paths, j, q_sources[k], z.shape[0] - 1):
                k_of[joined], j_of[joined] = k, j - a
                joined += 1
    others = _list_pairs(l_of, i_of, units, len(p_sources), 0, False)
    for pair in range(others):
        k_row[pair], i_row[pair] = q_start + l_of[pair], p_sources[i_of[pair]]
    for s0 in range(0, others if joined else 0, SOURCE_TILES * lanes):
        s1 = min(s0 + SOURCE_TILES * lanes, others)
        _multiply_pairs(tag, delta, k_row, z, i_row, s0, s1, spare, right)
        tiles = (s1 - s0 + lanes - 1) // lanes
        for u0 in range(0, joined, UNIT_PAIRS):
            u1 = min(u0 + UNIT_PAIRS, joined)
            for u in range(u0, u1):
                copy_rows(one, left + (u - u0) * n * item, _row(phi, q_sources[k_of[u]] - c0, a + j_of[u] - c0, 0), vectors)
            multiply(tag, left, n * item, row, right, n * row, n, u1 - u0, sums_at, width, row, tiles, zeros.ctypes.data, 0)
            at = 0
            while at < s1 - s0:  # the pairs (l, i) of one l, a run of i
                l, i = l_of[s0 + at], i_of[s0 + at]  # noqa: E741  # the book's name of the second unit
                stop = min(i + s1 - s0 - at, len(p_sources))
                for u in range(u0, u1):
                    j, k, values = j_of[u], k_of[u], sums_at + (u - u0) * width + at * item
                    if q_index[l, k] >= 0:
                        row_at = line_address(half, q_index[l, k], 0)
                        _add_row(tag, row_at, to_j[j], j_runs[j], i, stop, half.dtype.type(1), values)
                at += stop - i


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
