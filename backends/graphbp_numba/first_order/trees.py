"""Combinations of rows in first order, whole trees at once, as C functions that all kernels share; compiled for networks that have some.

    combine     a_j += Π or choice of w_l z_l; Π, or what was chosen, goes to the tree's row
    spread      T_j = δ_j Π in the tree's row, and what the leaves' weights get; lanes that are not safe are given to each source now
    pull        what a source takes back of T and choices, added to its β

z and δ stand in the same rows (`graphbp_numba.plan.first_order` has the rows behind them).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.instructions.calls import call, item_size, pointer, reals
from graphbp_numba.instructions.choices import Choices, add_choice, pull_choices
from graphbp_numba.instructions.gathers import EdgeSums, finish_sums
from graphbp_numba.instructions.products import (
    ROW_ANY,
    ROW_ZERO,
    Leaves,
    add_product,
    keep_product,
    pull_products,
    row_kind,
    share_total,
    spread_product,
)
from graphbp_numba.instructions.rows import add_rows, fill_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled_c, integers, kernel
from graphbp_numba.plan.edges_out import GROUP
from graphbp_numba.plan.tables import (
    CHOICE_CHOSEN,
    CHOICE_NUMBER,
    CHOICE_ROW,
    COMBINE_MAXABS,
    COMBINE_MIN,
    COMBINE_PRODUCT,
    PLAN_CHOICE_PTR,
    PLAN_CHOICE_SUMS,
    PLAN_CHOICES,
    PLAN_COMBINE_TREES,
    PLAN_FINISH_TREES,
    PLAN_LEAF_SUMS,
    PLAN_LEAVES,
    PLAN_N_CHOICES,
    PLAN_N_LEAVES,
    PLAN_N_OUT_EDGES,
    PLAN_N_ROWS,
    PLAN_N_TREES,
    PLAN_PRODUCT_PTR,
    PLAN_PRODUCTS,
    PLAN_PULL_TREES,
    PLAN_SIZE,
    PLAN_SPREAD_TREES,
    PLAN_TREE_SUMS,
    PLAN_TREES,
    RUN_TREE_FIRST,
    RUN_TREE_STOP,
    TREE_FIELDS,
    TREE_FIRST,
    TREE_KIND,
    TREE_ROW,
    TREE_STOP,
    TREE_TERM,
)

__all__ = ["combine_trees", "finish_trees", "note_rows", "prepare_trees", "pull_trees", "spread_trees", "start_trees"]


@kernel
def combine_trees(tag: Any, table: Any, run: Any, w: int, z: int, reverse: int) -> None:
    """a_j += g of the trees of a run; w of their leaves."""
    if run[RUN_TREE_FIRST] < run[RUN_TREE_STOP]:
        given = table.ctypes.data, w, z, run[RUN_TREE_FIRST], run[RUN_TREE_STOP], reverse
        call(table[PLAN_COMBINE_TREES + len(tag) // 2], given)


@kernel
def spread_trees(tag: Any, table: Any, run: Any, w: int, z: int, sums: int) -> None:
    """T_j of the products of a run, in place of δ_j where nothing else is to gather that."""
    if run[RUN_TREE_FIRST] < run[RUN_TREE_STOP]:
        given = table.ctypes.data, w, z, sums, run[RUN_TREE_FIRST], run[RUN_TREE_STOP]
        call(table[PLAN_SPREAD_TREES + len(tag) // 2], given)


@kernel
def pull_trees(tag: Any, table: Any, w: int, z: int, sums: int, beta: int, rows: Any) -> None:
    """β += what trees give to rows (first in the reverse order, first row, how many); after the last of all, with none, the last sums."""
    call(table[PLAN_PULL_TREES + len(tag) // 2], (table.ctypes.data, w, z, sums, beta, rows[0], rows[1], rows[2]))


@kernel
def finish_trees(tag: Any, table: Any, w: int, sums: int) -> None:
    """After all tiles: the sums of the products' leaves from those of T."""
    if table[PLAN_N_TREES]:
        call(table[PLAN_FINISH_TREES + len(tag) // 2], (table.ctypes.data, w, sums))


@kernel
def note_rows(tag: Any, table: Any, z: int, start: int, stop: int) -> None:
    """What kind each of these rows is, whose z is known now."""
    kinds = carray(pointer(_flags(tag, table, z) + table[PLAN_N_ROWS]), stop, np.int8)
    for i in range(start, stop):
        kinds[i] = row_kind(tag, z + i * len(tag) * VECTOR_BYTES)


@kernel
def start_trees(tag: Any, table: Any, z: int) -> None:
    """No helper row of this tile is used yet."""
    carray(pointer(_flags(tag, table, z)), table[PLAN_N_ROWS], np.int8)[:] = 0


def prepare_trees(table: Any, tag: Any, place: int) -> None:
    """Have one of these compiled for this tag, where the network has combinations, and its address in the table."""
    at = place + len(tag) // 2
    if table[PLAN_N_TREES] and not table[at]:
        make = {PLAN_COMBINE_TREES: _combine, PLAN_SPREAD_TREES: _spread, PLAN_PULL_TREES: _pull, PLAN_FINISH_TREES: _finish}[place]
        table[at] = make(tag[0].dtype.name, len(tag)).address


@kernel
def _helpers(tag: Any, table: Any, z: int) -> int:
    at: int = z + (table[PLAN_N_ROWS] + table[PLAN_N_TREES]) * len(tag) * VECTOR_BYTES
    return at


@kernel
def _flags(tag: Any, table: Any, z: int) -> int:
    at: int = _helpers(tag, table, z) + table[PLAN_N_ROWS] * len(tag) * VECTOR_BYTES
    return at


@kernel
def _waiting(tag: Any, table: Any, z: int) -> int:
    """Where products of leaves wait for their sums; behind them those of choices, unsafe δ, and products before each leaf."""
    at: int = _flags(tag, table, z) + (2 * table[PLAN_N_ROWS] + table[PLAN_N_TREES] + 63) // 64 * len(tag) * VECTOR_BYTES
    return at


@kernel
def _vanishes(kinds: Any, sources: Any, w: Any, first: int, stop: int) -> bool:
    """Whether two leaves' rows are 0 and all others finite: then so is the product, and whatever a leaf gets, in every lane."""
    zeros = 0
    for leaf in range(first, stop):
        kind = kinds[sources[leaf]]
        if kind == ROW_ANY or w[leaf] - w[leaf] != 0:
            return False
        zeros += kind == ROW_ZERO
    return zeros > 1


@kernel
def _leaves(tag: Any, table: Any, w: int, z: int, sums: int) -> Any:
    aside = _waiting(tag, table, z)
    scratch = aside + (2 * GROUP + 1) * len(tag) * VECTOR_BYTES
    own = sums + table[PLAN_LEAF_SUMS] * item_size(tag)
    return Leaves(z, w, table[PLAN_LEAVES], _helpers(tag, table, z), _flags(tag, table, z), own, aside, scratch)


@cache
def _combine(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def combine_trees(at: int, w: int, z: int, first: int, stop: int, reverse: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        trees = carray(pointer(table[PLAN_TREES]), (stop, TREE_FIELDS), np.int64)
        row, leaves = len(tag) * VECTOR_BYTES, _leaves(tag, table, w, z, 0)
        n_rows = table[PLAN_N_ROWS]
        kinds = carray(pointer(leaves.flags + n_rows), n_rows, np.int8)
        none = carray(pointer(leaves.flags + 2 * n_rows), stop, np.int8)
        sources = carray(pointer(table[PLAN_LEAVES]), trees[stop - 1, TREE_STOP], np.int32)
        weights = carray(reals(tag, w), trees[stop - 1, TREE_STOP])
        for t in range(first, stop):
            kind, begin, end = trees[t, TREE_KIND], trees[t, TREE_FIRST], trees[t, TREE_STOP]
            out = z + trees[t, TREE_ROW] * row
            kept = z + (table[PLAN_N_ROWS] + t) * row if reverse else 0
            if kind == COMBINE_PRODUCT:
                none[t] = _vanishes(kinds, sources, weights, begin, end)
                if not none[t]:
                    add_product(tag, leaves, begin, end, out, kept)
            else:
                add_choice(tag, (z, w, table[PLAN_LEAVES]), begin, end, out, kept, kind == COMBINE_MIN, kind == COMBINE_MAXABS)

    return compiled_c(integers(6))(combine_trees)


@cache
def _spread(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def spread_trees(at: int, w: int, z: int, sums: int, first: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        trees = carray(pointer(table[PLAN_TREES]), (stop, TREE_FIELDS), np.int64)
        row, leaves = len(tag) * VECTOR_BYTES, _leaves(tag, table, w, z, sums)
        none = carray(pointer(leaves.flags + 2 * table[PLAN_N_ROWS]), stop, np.int8)
        unsafe, totals = leaves.scratch - row, sums + table[PLAN_TREE_SUMS] * item_size(tag)
        for t in range(first, stop):
            if trees[t, TREE_KIND] != COMBINE_PRODUCT:
                continue
            begin, end = trees[t, TREE_FIRST], trees[t, TREE_STOP]
            product, delta, term = z + (table[PLAN_N_ROWS] + t) * row, z + trees[t, TREE_ROW] * row, z + trees[t, TREE_TERM] * row
            if none[t]:
                product = unsafe
                fill_rows(tag, product, 1)
            if keep_product(tag, product, delta, term, unsafe, totals + t * item_size(tag)):
                spread_product(tag, leaves, begin, end, unsafe)

    return compiled_c(integers(6))(spread_trees)


@cache
def _pull(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def pull_trees(at: int, w: int, z: int, sums: int, beta: int, order: int, start: int, count: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        row, item, n_rows = len(tag) * VECTOR_BYTES, item_size(tag), table[PLAN_N_ROWS]
        products = carray(pointer(table[PLAN_PRODUCT_PTR]), n_rows + 1, np.int64)
        chosen = carray(pointer(table[PLAN_CHOICE_PTR]), n_rows + 1, np.int64)
        used = carray(pointer(_flags(tag, table, z)), n_rows, np.int8)
        aside = _waiting(tag, table, z) + GROUP * row
        edges = EdgeSums(sums + table[PLAN_CHOICE_SUMS] * item, aside)
        line = table[PLAN_N_CHOICES] * 4
        given = table[PLAN_CHOICES]
        choices = Choices(
            z,
            w + table[PLAN_N_LEAVES] * item,
            given + CHOICE_ROW * line,
            given + CHOICE_CHOSEN * line,
            given + CHOICE_NUMBER * line,
        )
        for j in range(count):
            k, own, out = order + j, z + (start + j) * row, beta + j * row
            if products[k] < products[k + 1]:
                pull_products(tag, z, table[PLAN_PRODUCTS], products[k], products[k + 1], own, out)
            if chosen[k] < chosen[k + 1]:
                pull_choices(tag, choices, chosen[k], chosen[k + 1], own, out, edges)
            if used[start + j]:
                add_rows(tag, out, out, _helpers(tag, table, z) + (start + j) * row, 1)
        if not count:
            finish_sums(tag, table[PLAN_N_CHOICES], edges)

    return compiled_c(integers(8))(pull_trees)


@cache
def _finish(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def finish_trees(at: int, w: int, sums: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        trees, item = carray(pointer(table[PLAN_TREES]), (table[PLAN_N_TREES], TREE_FIELDS), np.int64), item_size(tag)
        totals, leaves = sums + table[PLAN_TREE_SUMS] * item, sums + table[PLAN_LEAF_SUMS] * item
        w_leaves = w + table[PLAN_N_OUT_EDGES] * item
        for t in range(table[PLAN_N_TREES]):
            share_total(tag, totals + t * item, w_leaves, leaves, trees[t, TREE_FIRST], trees[t, TREE_STOP])

    return compiled_c(integers(3))(finish_trees)
