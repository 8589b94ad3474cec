"""Combinations of rows in the sweeps, as C functions that all kernels share; compiled for networks that have some.

    combine            a_j += g(z_u, z_v)                                  combine_reverse    g_u δ_j to u, g_v δ_j to v
    combine_tangent    ȧ_j += g_u ż_u + g_v ż_v                            combine_bend       what g_uu, g_uv, g_vv add to these

The first two take the trees of first order or the pairs of the sweeps that keep every row, the others pairs alone.  What a row is given
overwrites its place: no other row gives anything to it (see `graphbp_numba.plan.combining`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.instructions.calls import call, pointer
from graphbp_numba.instructions.combining import add_choice, add_chosen, add_product, spread_choice, spread_product
from graphbp_numba.instructions.rows import multiply_add_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled_c, integers, kernel
from graphbp_numba.plan.tables import (
    KIND_MAXABS,
    KIND_MIN,
    KIND_PRODUCT,
    LEAF_ROW,
    LEAF_TO,
    PLAN_COMBINE,
    PLAN_COMBINE_BEND,
    PLAN_COMBINE_REVERSE,
    PLAN_COMBINE_TANGENT,
    PLAN_HELPER_STOP,
    PLAN_LEAVES,
    PLAN_N_LEAVES,
    PLAN_N_PAIRS,
    PLAN_ONES,
    PLAN_PAIR_LEAVES,
    PLAN_PAIRS,
    PLAN_SIZE,
    PLAN_TREES,
    RUN_TREE_FIRST,
    RUN_TREE_STOP,
    TREE_FIELDS,
    TREE_FIRST,
    TREE_KIND,
    TREE_ROW,
    TREE_STOP,
)

__all__ = [
    "combine_pairs",
    "combine_pairs_bend",
    "combine_pairs_reverse",
    "combine_pairs_tangent",
    "combine_trees",
    "combine_trees_reverse",
    "prepare_combining",
]


@kernel
def combine_trees(tag: Any, table: Any, run: Any, w: int, z: int) -> None:
    """a_j += g of the trees of a run, a and z in the same rows; w of their leaves."""
    if run[RUN_TREE_FIRST] < run[RUN_TREE_STOP]:
        trees, leaves, n = table[PLAN_TREES], table[PLAN_LEAVES], table[PLAN_N_LEAVES]
        given = table.ctypes.data, trees, leaves, n, w, z, z, run[RUN_TREE_FIRST], run[RUN_TREE_STOP]
        call(table[PLAN_COMBINE + len(tag) // 2], given)


@kernel
def combine_trees_reverse(tag: Any, table: Any, run: Any, w: int, z: int) -> None:
    """The leaves' shares of δ_j of the trees of a run, δ and z in the same rows; w of their leaves."""
    if run[RUN_TREE_FIRST] < run[RUN_TREE_STOP]:
        trees, leaves, n = table[PLAN_TREES], table[PLAN_LEAVES], table[PLAN_N_LEAVES]
        given = table.ctypes.data, trees, leaves, n, w, z, z, run[RUN_TREE_FIRST], run[RUN_TREE_STOP]
        call(table[PLAN_COMBINE_REVERSE + len(tag) // 2], given)


@kernel
def combine_pairs(tag: Any, table: Any, a: int, z: int, first: int, stop: int) -> None:
    """a_j += g(z_u, z_v) of the pairs first..stop."""
    if first < stop:
        pairs, leaves, n = table[PLAN_PAIRS], table[PLAN_PAIR_LEAVES], 2 * table[PLAN_N_PAIRS]
        given = table.ctypes.data, pairs, leaves, n, table[PLAN_ONES], z, a, first, stop
        call(table[PLAN_COMBINE + len(tag) // 2], given)


@kernel
def combine_pairs_reverse(tag: Any, table: Any, z: int, delta: int, first: int, stop: int) -> None:
    """g_u δ_j and g_v δ_j of the pairs first..stop, in rows of δ."""
    if first < stop:
        pairs, leaves, n = table[PLAN_PAIRS], table[PLAN_PAIR_LEAVES], 2 * table[PLAN_N_PAIRS]
        call(
            table[PLAN_COMBINE_REVERSE + len(tag) // 2],
            (table.ctypes.data, pairs, leaves, n, table[PLAN_ONES], z, delta, first, stop),
        )


@kernel
def combine_pairs_tangent(tag: Any, table: Any, z: int, z_dot: int, a_dot: int, first: int, stop: int) -> None:
    """ȧ_j += g_u ż_u + g_v ż_v of the pairs first..stop."""
    if first < stop:
        call(table[PLAN_COMBINE_TANGENT + len(tag) // 2], (table.ctypes.data, z, z_dot, a_dot, first, stop))


@kernel
def combine_pairs_bend(tag: Any, table: Any, z_dot: int, delta: int, out: int, first: int, stop: int) -> None:
    """(g_uu ż_u + g_uv ż_v) δ_j and (g_uv ż_u + g_vv ż_v) δ_j of the pairs first..stop, added to what `combine_pairs_reverse` gave."""
    if first < stop:
        call(table[PLAN_COMBINE_BEND + len(tag) // 2], (table.ctypes.data, z_dot, delta, out, first, stop))


def prepare_combining(table: Any, tag: Any, *places: int) -> None:
    """Have what these call compiled for this tag, where the network has combinations, and its address in the table."""
    if not table[PLAN_N_PAIRS]:
        return
    for place in places:
        at = place + len(tag) // 2
        if not table[at]:
            table[at] = _MAKERS[place](tag[0].dtype.name, len(tag)).address


@cache
def _combine(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def combine(at: int, lines: int, leaves: int, n: int, w: int, z: int, a: int, first: int, stop: int) -> None:
        trees = carray(pointer(lines), (stop, TREE_FIELDS), np.int64)
        rows = leaves + 8 * n * LEAF_ROW
        for t in range(first, stop):
            kind, begin, end = trees[t, TREE_KIND], trees[t, TREE_FIRST], trees[t, TREE_STOP]
            out = a + trees[t, TREE_ROW] * len(tag) * VECTOR_BYTES
            if kind == KIND_PRODUCT:
                add_product(tag, z, w, rows, begin, end, out)
            else:
                add_choice(tag, z, w, rows, begin, end, out, kind == KIND_MIN, kind == KIND_MAXABS)

    return compiled_c(integers(9))(combine)


@cache
def _combine_reverse(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def combine_reverse(at: int, lines: int, leaves: int, n: int, w: int, z: int, delta: int, first: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        row = len(tag) * VECTOR_BYTES
        trees = carray(pointer(lines), (stop, TREE_FIELDS), np.int64)
        rows, targets = leaves + 8 * n * LEAF_ROW, leaves + 8 * n * LEAF_TO
        for t in range(first, stop):
            kind, begin, end = trees[t, TREE_KIND], trees[t, TREE_FIRST], trees[t, TREE_STOP]
            own = delta + trees[t, TREE_ROW] * row
            if kind == KIND_PRODUCT:
                scratch = delta + (table[PLAN_HELPER_STOP] - (end - begin)) * row
                spread_product(tag, z, w, rows, targets, begin, end, own, delta, scratch)
            else:
                smallest, absolute = kind == KIND_MIN, kind == KIND_MAXABS
                spread_choice(tag, z, w, rows, targets, begin, end, own, delta, smallest, absolute)

    return compiled_c(integers(9))(combine_reverse)


@cache
def _combine_tangent(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def combine_tangent(at: int, z: int, z_dot: int, a_dot: int, first: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        row = len(tag) * VECTOR_BYTES
        pairs = carray(pointer(table[PLAN_PAIRS]), (stop, TREE_FIELDS), np.int64)
        rows = carray(pointer(table[PLAN_PAIR_LEAVES] + 16 * table[PLAN_N_PAIRS] * LEAF_ROW), 2 * stop, np.int64)
        for p in range(first, stop):
            u, v, out, kind = rows[2 * p] * row, rows[2 * p + 1] * row, a_dot + pairs[p, TREE_ROW] * row, pairs[p, TREE_KIND]
            if kind == KIND_PRODUCT:
                multiply_add_rows(tag, out, z + v, z_dot + u, out, 1)
                multiply_add_rows(tag, out, z + u, z_dot + v, out, 1)
            else:
                add_chosen(tag, z + u, z + v, z_dot + u, z_dot + v, out, kind == KIND_MIN, kind == KIND_MAXABS)

    return compiled_c(integers(6))(combine_tangent)


@cache
def _combine_bend(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def combine_bend(at: int, z_dot: int, delta: int, out: int, first: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        row = len(tag) * VECTOR_BYTES
        pairs = carray(pointer(table[PLAN_PAIRS]), (stop, TREE_FIELDS), np.int64)
        leaves, line = table[PLAN_PAIR_LEAVES], 16 * table[PLAN_N_PAIRS]
        rows = carray(pointer(leaves + line * LEAF_ROW), 2 * stop, np.int64)
        targets = carray(pointer(leaves + line * LEAF_TO), 2 * stop, np.int64)
        for p in range(first, stop):
            if pairs[p, TREE_KIND] == KIND_PRODUCT:  # of the others all second derivatives are 0
                own = delta + pairs[p, TREE_ROW] * row
                for side in range(2):
                    to = out + targets[2 * p + side] * row
                    multiply_add_rows(tag, to, z_dot + rows[2 * p + 1 - side] * row, own, to, 1)

    return compiled_c(integers(6))(combine_bend)


_MAKERS = {
    PLAN_COMBINE: _combine,
    PLAN_COMBINE_REVERSE: _combine_reverse,
    PLAN_COMBINE_TANGENT: _combine_tangent,
    PLAN_COMBINE_BEND: _combine_bend,
}
