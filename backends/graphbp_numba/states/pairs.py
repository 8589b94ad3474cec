"""Combinations of two rows where every row is kept, as C functions that all kernels share; compiled for networks that have some.

    combine_pairs    a_j += g(z_u, z_v)                       spread_pairs    g_u δ_j to u, g_v δ_j to v
    tangent_pairs    ȧ_j += g_u ż_u + g_v ż_v                 bend_pairs      what g_uu, g_uv, g_vv add to these

What a row is given overwrites its place: no other row gives anything to it (see `graphbp_numba.plan.combining`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.instructions.calls import call, pointer
from graphbp_numba.instructions.choices import add_chosen, spread_chosen
from graphbp_numba.instructions.rows import multiply_add_rows, multiply_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled_c, integers, kernel
from graphbp_numba.plan.tables import (
    COMBINE_MAXABS,
    COMBINE_MIN,
    COMBINE_PRODUCT,
    PAIR_FIELDS,
    PAIR_FIRST,
    PAIR_KIND,
    PAIR_ROW,
    PAIR_SECOND,
    PAIR_TO_FIRST,
    PAIR_TO_SECOND,
    PLAN_BEND_PAIRS,
    PLAN_COMBINE_PAIRS,
    PLAN_N_PAIRS,
    PLAN_PAIRS,
    PLAN_SIZE,
    PLAN_SPREAD_PAIRS,
    PLAN_TANGENT_PAIRS,
)

__all__ = ["bend_pairs", "combine_pairs", "prepare_pairs", "spread_pairs", "tangent_pairs"]


@kernel
def combine_pairs(tag: Any, table: Any, z: int, a: int, first: int, stop: int) -> None:
    """a_j += g(z_u, z_v) of the pairs first..stop."""
    if first < stop:
        call(table[PLAN_COMBINE_PAIRS + len(tag) // 2], (table.ctypes.data, z, z, a, first, stop))


@kernel
def spread_pairs(tag: Any, table: Any, z: int, delta: int, first: int, stop: int) -> None:
    """g_u δ_j and g_v δ_j of the pairs first..stop, in rows of δ."""
    if first < stop:
        call(table[PLAN_SPREAD_PAIRS + len(tag) // 2], (table.ctypes.data, z, z, delta, first, stop))


@kernel
def tangent_pairs(tag: Any, table: Any, z: int, z_dot: int, a_dot: int, first: int, stop: int) -> None:
    """ȧ_j += g_u ż_u + g_v ż_v of the pairs first..stop."""
    if first < stop:
        call(table[PLAN_TANGENT_PAIRS + len(tag) // 2], (table.ctypes.data, z, z_dot, a_dot, first, stop))


@kernel
def bend_pairs(tag: Any, table: Any, z_dot: int, delta: int, out: int, first: int, stop: int) -> None:
    """(g_uu ż_u + g_uv ż_v) δ_j and (g_uv ż_u + g_vv ż_v) δ_j of the pairs first..stop, added to what `spread_pairs` gave."""
    if first < stop:
        call(table[PLAN_BEND_PAIRS + len(tag) // 2], (table.ctypes.data, z_dot, delta, out, first, stop))


def prepare_pairs(table: Any, tag: Any) -> None:
    """Have these compiled for this tag, where the network has combinations, and their addresses in the table."""
    for place, name in enumerate(_LOOPS) if table[PLAN_N_PAIRS] else ():
        at = PLAN_COMBINE_PAIRS + 3 * place + len(tag) // 2
        if not table[at]:
            table[at] = _over_pairs(name, tag[0].dtype.name, len(tag)).address


@kernel
def _combine(tag: Any, pair: Any, z: int, _: int, a: int) -> None:
    row = len(tag) * VECTOR_BYTES
    u, v, out, kind = z + pair[PAIR_FIRST] * row, z + pair[PAIR_SECOND] * row, a + pair[PAIR_ROW] * row, pair[PAIR_KIND]
    if kind == COMBINE_PRODUCT:
        multiply_add_rows(tag, out, u, v, out, 1)
    else:
        add_chosen(tag, u, v, u, v, out, kind == COMBINE_MIN, kind == COMBINE_MAXABS)


@kernel
def _spread(tag: Any, pair: Any, z: int, _: int, delta: int) -> None:
    row = len(tag) * VECTOR_BYTES
    u, v, own, kind = z + pair[PAIR_FIRST] * row, z + pair[PAIR_SECOND] * row, delta + pair[PAIR_ROW] * row, pair[PAIR_KIND]
    to_u, to_v = delta + pair[PAIR_TO_FIRST] * row, delta + pair[PAIR_TO_SECOND] * row
    if kind == COMBINE_PRODUCT:
        multiply_rows(tag, to_u, own, v, 1)
        multiply_rows(tag, to_v, own, u, 1)
    else:
        spread_chosen(tag, u, v, own, to_u, to_v, kind == COMBINE_MIN, kind == COMBINE_MAXABS)


@kernel
def _tangent(tag: Any, pair: Any, z: int, z_dot: int, a_dot: int) -> None:
    row = len(tag) * VECTOR_BYTES
    u, v, out, kind = pair[PAIR_FIRST] * row, pair[PAIR_SECOND] * row, a_dot + pair[PAIR_ROW] * row, pair[PAIR_KIND]
    if kind == COMBINE_PRODUCT:
        multiply_add_rows(tag, out, z + v, z_dot + u, out, 1)
        multiply_add_rows(tag, out, z + u, z_dot + v, out, 1)
    else:
        add_chosen(tag, z + u, z + v, z_dot + u, z_dot + v, out, kind == COMBINE_MIN, kind == COMBINE_MAXABS)


@kernel
def _bend(tag: Any, pair: Any, z_dot: int, delta: int, out: int) -> None:
    row = len(tag) * VECTOR_BYTES
    if pair[PAIR_KIND] == COMBINE_PRODUCT:  # of the others all second derivatives are 0
        to_u, to_v, own = out + pair[PAIR_TO_FIRST] * row, out + pair[PAIR_TO_SECOND] * row, delta + pair[PAIR_ROW] * row
        multiply_add_rows(tag, to_u, z_dot + pair[PAIR_SECOND] * row, own, to_u, 1)
        multiply_add_rows(tag, to_v, z_dot + pair[PAIR_FIRST] * row, own, to_v, 1)


_LOOPS = {"combine": _combine, "spread": _spread, "tangent": _tangent, "bend": _bend}
"""In the order of their places in the table."""


@cache
def _over_pairs(name: str, dtype: str, vectors: int) -> Any:
    tag, of_pair = (getattr(np, dtype)(0),) * vectors, _LOOPS[name]

    def pairs(at: int, one: int, two: int, three: int, first: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        lines = carray(pointer(table[PLAN_PAIRS]), (stop, PAIR_FIELDS), np.int64)
        for p in range(first, stop):
            of_pair(tag, lines[p], one, two, three)

    pairs.__qualname__ = f"{name}_pairs"
    return compiled_c(integers(6))(pairs)
