r"""The Hessian's assembly, compiled: what the perturbed units of one column tile contribute, added to the half L of H = L + Lᵀ.

    H_(ji),(lk) = Σ_n z_i (B_lj z_k + δ_l Φ_kj)        for a unit j of the tile and a unit l at or after it

The three products are those of `graphbp.second_order.assembly`.  Between groups of several units BLAS multiplies pairs of units by
pairs of sources; its factors are formed for `CHUNK` samples and a block of pairs at a time, and so never leave the second-level
cache, and each block of sums goes to L once.  Units with sources of their own take `graphbp_numba.products.tile_sums`: there BLAS
would need the bracket written out for every pair (j, l).

B comes from a column's sweeps, or is formed here row by row as GᵀΛG, from the rows G_c and (ΛG)_c of a few outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp_numba.functions import VECTOR_BYTES
from graphbp_numba.jit import carray, compiled, kernel, source_digest, watch
from graphbp_numba.kernels import aligned
from graphbp_numba.products import SLOTS, gemm, sum_products, tile_sums
from graphbp_numba.rows import copy_rows, item_size, multiply_rows, reals

__all__ = ["CHUNK", "add_group", "add_singles", "mirror", "scratch_bytes"]

Array = npt.NDArray[Any]

CHUNK = 256
"""Samples whose rows are multiplied at a time (float64; twice as many in float32, the same bytes)."""

LONG_CHUNK = 1032
"""The same for single units: their tiles of sums read few rows at a time, and the sum over lanes at the end of each chunk costs."""

UNIT_PAIRS, SOURCE_PAIRS = 256, 512
"""A block of sums: so many pairs of units by so many pairs of sources."""

RING = 4
"""Rows B_lj kept while the weights of one tile are taken: they belong to at most three units."""

MAX_SOURCES = 9
"""Sources of one tile of sums."""


def scratch_bytes(itemsize: int) -> int:
    """Of the buffer that the entries here work in."""
    rows = UNIT_PAIRS + SOURCE_PAIRS  # of groups; single units take (RING + 1) · LONG_CHUNK, which is less
    return rows * CHUNK * 8 + UNIT_PAIRS * SOURCE_PAIRS * itemsize + 3 * VECTOR_BYTES


@kernel
def _row(values: Any, first: int, second: int, n0: int) -> Any:
    """The address of values[first, second, n0]."""
    return values.ctypes.data + ((first * values.shape[1] + second) * values.shape[2] + n0) * values.itemsize


@kernel
def _line(values: Any, row: int, n0: int) -> Any:
    """The address of values[row, n0]."""
    return values.ctypes.data + (row * values.shape[1] + n0) * values.itemsize


@kernel
def _curvature(tag: Any, B: Any, g: Any, weighted: Any, c0: int, j: int, l: int, n0: int, vectors: int, out: int) -> None:  # noqa: E741
    """out = B_lj of some samples."""
    if g.shape[0]:
        sum_products(tag, out, _row(g, j, 0, n0), _row(weighted, l, 0, n0), g.shape[2] * g.itemsize, g.shape[1], vectors)
    else:
        copy_rows(tag, out, _row(B, l - c0, j - c0, n0), vectors)


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


@kernel
def _add_row(row: Any, index: Any, first: int, stop: int, share: Any, values: Any, at: int) -> None:
    """row[index[i]] += share · values[at + i − first] for i = first..stop, holes (−1) left out; runs of positions as vectors."""
    i = first
    while i < stop:
        place, count = index[i], 1
        while i + count < stop and index[i + count] == place + count:
            count += 1
        if place >= 0:
            into, found = row[place : place + count], values[at + i - first : at + i - first + count]
            for k in range(count):
                into[k] += share * found[k]
        i += count


def _make_add_singles(digest: str) -> Any:
    def add_singles(
        tag: Any,
        c0: int,
        z: Any,
        delta: Any,
        B: Any,
        phi: Any,
        g: Any,
        weighted: Any,
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

        A pair of two weights of one unit stands in both halves, and counts half.
        """
        len(digest)
        n_rows, n = z.shape[0] - 1, z.shape[1]
        lanes = VECTOR_BYTES // item_size(tag)
        chunk = LONG_CHUNK * 8 // item_size(tag)
        base = aligned(buffer)
        out = base + RING * chunk * item_size(tag)
        nothing = out + 2 * SLOTS * MAX_SOURCES * item_size(tag) // VECTOR_BYTES * VECTOR_BYTES
        sums = carray(reals(tag, out), SLOTS * MAX_SOURCES)
        zeros = carray(reals(tag, nothing), chunk)
        zeros[:] = 0
        rows, others = np.empty(4 * SLOTS, np.int64), np.empty(MAX_SOURCES * (z.shape[0] // MAX_SOURCES + 1), np.int64)
        exact, few, end = phi.shape[0] > 0, g.shape[0] > 0, stack_start[len(single_row)]
        for n0 in range(0, n, chunk):
            vectors = (min(n0 + chunk, n) - n0) // lanes
            for u in range(first, last):
                j, i0, i1 = unit_row[u], unit_start[u], unit_start[u + 1]
                parts = (i1 - i0 + MAX_SOURCES - 1) // MAX_SOURCES
                for part in range(parts):
                    at, stop = i0 + (i1 - i0) * part // parts, i0 + (i1 - i0) * (part + 1) // parts
                    for i in range(MAX_SOURCES):
                        others[part * MAX_SOURCES + i] = _line(z, unit_source[min(at + i, stop - 1)], n0)
                number = np.searchsorted(single_row, j)
                made = number - 1
                for s in range(stack_start[number], end, SLOTS):
                    bent = False
                    for k in range(SLOTS):
                        slot = min(s + k, end - 1)
                        l, source = stack_row[slot], stack_source[slot]  # noqa: E741  # the book's name of the second unit
                        if few:
                            while single_row[number] != l:
                                number += 1
                            rows[k] = base + number % RING * chunk * item_size(tag)
                            if number > made:
                                made = number
                                _curvature(tag, B, g, weighted, c0, j, l, n0, vectors, rows[k])
                        else:
                            rows[k] = _row(B, l - c0, j - c0, n0)
                        rows[SLOTS + k] = _line(z, source, n0)
                        if exact:
                            reached = j <= source < n_rows
                            bent = bent or reached
                            rows[2 * SLOTS + k] = _line(delta, l, n0)
                            rows[3 * SLOTS + k] = _row(phi, source - c0, j - c0, n0) if reached else nothing
                    for part in range(parts):
                        at, stop = i0 + (i1 - i0) * part // parts, i0 + (i1 - i0) * (part + 1) // parts
                        width = (stop - at) | 1
                        _tile(tag, width, bent, rows.ctypes.data, others[part * MAX_SOURCES :].ctypes.data, vectors, out)
                        weights = min(SLOTS, end - s)
                        for i in range(at, stop):
                            if unit_index[i] >= 0:
                                row = half[unit_index[i]]
                                for k in range(weights):
                                    share = half.dtype.type(0.5 if stack_row[s + k] == j else 1.0)
                                    row[stack_index[s + k]] += share * sums[k * width + i - at]

    return watch(compiled(add_singles))


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


def _make_add_group(digest: str) -> Any:
    def add_group(
        tag: Any,
        gemm_at: int,
        c0: int,
        z: Any,
        delta: Any,
        B: Any,
        phi: Any,
        g: Any,
        weighted: Any,
        reach: Any,
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
        len(digest)
        same = p_start == q_start
        n, item = z.shape[1], item_size(tag)
        chunk = CHUNK * 8 // item
        base = aligned(buffer)
        unit_rows, source_rows = base, base + UNIT_PAIRS * chunk * item
        sums_at = source_rows + SOURCE_PAIRS * chunk * item
        block = carray(reals(tag, sums_at), UNIT_PAIRS * SOURCE_PAIRS)
        units, sources = len(q_index), len(q_sources)
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
        for u0 in range(0, unit_pairs, UNIT_PAIRS):
            u1 = min(u0 + UNIT_PAIRS, unit_pairs)
            for s0 in range(0, source_pairs, SOURCE_PAIRS):
                s1 = min(s0 + SOURCE_PAIRS, source_pairs)
                width = s1 - s0
                block[: (u1 - u0) * width] = 0
                for n0 in range(0, n, chunk):
                    count = min(n0 + chunk, n) - n0
                    vectors = count * item // VECTOR_BYTES
                    for u in range(u0, u1):
                        place = unit_rows + (u - u0) * chunk * item
                        _curvature(tag, B, g, weighted, c0, a + j_of[u], q_start + l_of[u], n0, vectors, place)
                    for s in range(s0, s1):
                        place = source_rows + (s - s0) * chunk * item
                        multiply_rows(tag, place, _line(z, q_sources[k_of[s]], n0), _line(z, p_sources[i_of[s]], n0), vectors)
                    gemm(tag, gemm_at, u1 - u0, width, count, unit_rows, chunk, source_rows, chunk, sums_at, width)
                for u in range(u0, u1):
                    values = block[(u - u0) * width : (u - u0 + 1) * width]
                    to_l, to_j = q_index[l_of[u]], p_index[a + j_of[u] - p_start]
                    share = half.dtype.type(0.5 if same and q_start + l_of[u] == a + j_of[u] else 1.0)
                    k, at = k_of[s0], 0
                    while at < width:  # the pairs (k, i) of one k, a run of i
                        i = i_of[s0 + at]
                        count = min(width - at, (k + 1 if same else len(p_sources)) - i)
                        if to_l[k] >= 0:
                            _add_row(half[to_l[k]], to_j, i, i + count, share, values, at)
                        if same and to_j[k] >= 0:  # i and k exchanged, but for i = k
                            _add_row(half[to_j[k]], to_l, i, min(i + count, k), share, values, at)
                        k, at = k + 1, at + count
        if same or not phi.shape[0]:
            return
        # the path term: pairs (k, j) that a path joins, by pairs (l, i)
        joined = 0
        for k in range(sources):
            for j in range(a, b):
                row = q_sources[k]
                if row == j or (j < row < z.shape[0] - 1 and reach[row, j]):
                    k_of[joined], j_of[joined] = k, j - a
                    joined += 1
        others = _list_pairs(l_of, i_of, units, len(p_sources), 0, False)
        for u0 in range(0, joined, UNIT_PAIRS):
            u1 = min(u0 + UNIT_PAIRS, joined)
            for s0 in range(0, others, SOURCE_PAIRS):
                s1 = min(s0 + SOURCE_PAIRS, others)
                width = s1 - s0
                block[: (u1 - u0) * width] = 0
                for n0 in range(0, n, chunk):
                    count = min(n0 + chunk, n) - n0
                    vectors = count * item // VECTOR_BYTES
                    for u in range(u0, u1):
                        place = unit_rows + (u - u0) * chunk * item
                        copy_rows(tag, place, _row(phi, q_sources[k_of[u]] - c0, a + j_of[u] - c0, n0), vectors)
                    for s in range(s0, s1):
                        place = source_rows + (s - s0) * chunk * item
                        multiply_rows(tag, place, _line(delta, q_start + l_of[s], n0), _line(z, p_sources[i_of[s]], n0), vectors)
                    gemm(tag, gemm_at, u1 - u0, width, count, unit_rows, chunk, source_rows, chunk, sums_at, width)
                for u in range(u0, u1):
                    values, to_j, k = block[(u - u0) * width : (u - u0 + 1) * width], p_index[a + j_of[u] - p_start], k_of[u]
                    s = 0
                    while s < width:  # the pairs (l, i) of one l, a run of i
                        l, i = l_of[s0 + s], i_of[s0 + s]  # noqa: E741  # the book's name of the second unit
                        count = min(width - s, len(p_sources) - i)
                        if q_index[l, k] >= 0:
                            _add_row(half[q_index[l, k]], to_j, i, i + count, half.dtype.type(1), values, s)
                        s += count

    return watch(compiled(add_group))


# -- H = L + Lᵀ --------------------------------------------------------------------------------------------------------------


def _make_mirror(digest: str) -> Any:
    def mirror(half: Any, first: int, stop: int, block: int) -> None:
        """L ← L + Lᵀ for the rows first..stop and the columns from there on, and their mirror images."""
        len(digest)
        n = len(half)
        for k0 in range(first, n, block):
            for i in range(first, stop):
                for k in range(max(i, k0), min(k0 + block, n)):
                    total = half[i, k] + half[k, i]
                    half[i, k] = total
                    half[k, i] = total

    return watch(compiled(mirror))


add_singles = _make_add_singles(source_digest())
add_group = _make_add_group(source_digest())
mirror = _make_mirror(source_digest())
