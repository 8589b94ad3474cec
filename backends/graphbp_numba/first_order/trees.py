"""Combinations of rows in first order, whole trees at once, as C functions that all kernels share; compiled for networks that have some.

z and δ stand in the same rows.  A leaf's share of δ goes to the row that its source gathers from, or, where the source feeds nothing
else, to the source's own (see `graphbp_numba.plan.combining`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.instructions.calls import call, item_size, pointer
from graphbp_numba.instructions.combining import Leaves, add_choice, add_product, spread_choice, spread_product
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled_c, integers, kernel
from graphbp_numba.plan.tables import (
    COMBINE_MAXABS,
    COMBINE_MIN,
    COMBINE_PRODUCT,
    LEAF_ROW,
    LEAF_TO,
    PLAN_COMBINE_TREES,
    PLAN_LEAF_SUMS,
    PLAN_LEAVES,
    PLAN_N_LEAVES,
    PLAN_N_PAIRS,
    PLAN_SIZE,
    PLAN_SPREAD_TREES,
    PLAN_TREE_ROWS,
    PLAN_TREES,
    RUN_TREE_FIRST,
    RUN_TREE_STOP,
    TREE_FIELDS,
    TREE_FIRST,
    TREE_KIND,
    TREE_ROW,
    TREE_STOP,
)

__all__ = ["combine_trees", "prepare_trees", "spread_trees"]


@kernel
def combine_trees(tag: Any, table: Any, run: Any, w: int, z: int) -> None:
    """a_j += g of the trees of a run; w of their leaves."""
    if run[RUN_TREE_FIRST] < run[RUN_TREE_STOP]:
        call(table[PLAN_COMBINE_TREES + len(tag) // 2], (table.ctypes.data, w, z, run[RUN_TREE_FIRST], run[RUN_TREE_STOP]))


@kernel
def spread_trees(tag: Any, table: Any, run: Any, w: int, z: int, sums: int) -> None:
    """What the leaves get of δ_j of the trees of a run, and their sums Σ q_l z_l."""
    if run[RUN_TREE_FIRST] < run[RUN_TREE_STOP]:
        given = table.ctypes.data, w, z, sums, run[RUN_TREE_FIRST], run[RUN_TREE_STOP]
        call(table[PLAN_SPREAD_TREES + len(tag) // 2], given)


def prepare_trees(table: Any, tag: Any, place: int) -> None:
    """Have one of these compiled for this tag, where the network has combinations, and its address in the table."""
    at = place + len(tag) // 2
    if table[PLAN_N_PAIRS] and not table[at]:
        make = _combine if place == PLAN_COMBINE_TREES else _spread
        table[at] = make(tag[0].dtype.name, len(tag)).address


@kernel
def _leaves(tag: Any, table: Any, w: int, z: int, sums: int) -> Any:
    at, column = table[PLAN_LEAVES], 4 * table[PLAN_N_LEAVES]
    aside = z + table[PLAN_TREE_ROWS] * len(tag) * VECTOR_BYTES
    waiting = VECTOR_BYTES // item_size(tag) * VECTOR_BYTES
    own = sums + table[PLAN_LEAF_SUMS] * item_size(tag)
    return Leaves(z, w, at + LEAF_ROW * column, at + LEAF_TO * column, own, aside, aside + waiting)


@cache
def _combine(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def combine_trees(at: int, w: int, z: int, first: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        trees = carray(pointer(table[PLAN_TREES]), (stop, TREE_FIELDS), np.int64)
        leaves = _leaves(tag, table, w, z, 0)
        for t in range(first, stop):
            kind, begin, end = trees[t, TREE_KIND], trees[t, TREE_FIRST], trees[t, TREE_STOP]
            out = z + trees[t, TREE_ROW] * len(tag) * VECTOR_BYTES
            if kind == COMBINE_PRODUCT:
                add_product(tag, leaves, begin, end, out)
            else:
                add_choice(tag, leaves, begin, end, out, kind == COMBINE_MIN, kind == COMBINE_MAXABS)

    return compiled_c(integers(5))(combine_trees)


@cache
def _spread(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def spread_trees(at: int, w: int, z: int, sums: int, first: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        trees = carray(pointer(table[PLAN_TREES]), (stop, TREE_FIELDS), np.int64)
        leaves = _leaves(tag, table, w, z, sums)
        for t in range(stop - 1, first - 1, -1):
            kind, begin, end = trees[t, TREE_KIND], trees[t, TREE_FIRST], trees[t, TREE_STOP]
            delta = z + trees[t, TREE_ROW] * len(tag) * VECTOR_BYTES
            if kind == COMBINE_PRODUCT:
                spread_product(tag, leaves, begin, end, delta)
            else:
                spread_choice(tag, leaves, begin, end, delta, kind == COMBINE_MIN, kind == COMBINE_MAXABS)

    return compiled_c(integers(6))(spread_trees)
