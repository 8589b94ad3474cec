r"""The compiled sweeps behind the Hessians that the core assembles: Φ and B of the closed form, a column at a time in a tile's cache.

    forward   G_kl = 1 at k = l, else Σ_r w_kr Φ_rl,   Φ_kl = h'_k G_kl
    reverse   B_jl = h''_j β_j G_jl + h'_j Σ_s w_sj B_sl + Σ_c R_jc G_cl

A column's two sweeps run on rows of one tile of samples, in the caches; of B only the rows from the column's own on are then copied to
the arrays of `graphbp.extend.ColumnTile`, and of Φ those that a path leads to.  h', h''β and R are taken from the sample tile, R as a
list of its entries that may not be zero.

The sweeps go over the rows of a mask: for columns of B those that an output follows from, for one unit's B_jj its descendants.  G, Φ
and B stand where a tile that keeps every row has ȧ, ż and Rδ.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp_numba.first_order.samples import aligned
from graphbp_numba.hessians.operands import Columns, Net, Reach, Slopes
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.instructions.gathers import gather
from graphbp_numba.instructions.rows import copy_rows, fill_rows, multiply_add_rows, multiply_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.tables import (
    PAIR_FIELDS,
    PAIR_FIRST,
    PAIR_SECOND,
    PLAN_HELPER_STOP,
    PLAN_IN_PTR,
    PLAN_IN_SRC,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_PAIRS,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_OUT_DST,
    PLAN_OUT_PTR,
    PLAN_PAIR_OF_ROW,
    PLAN_PAIRS,
    PLAN_RUNS,
    RUN_FIELDS,
    RUN_LEAF,
    RUN_ORDER,
    RUN_PAIR_FIRST,
    RUN_PAIR_STOP,
    RUN_START,
    RUN_STOP,
)
from graphbp_numba.states.pairs import bend_pairs, spread_pairs, tangent_pairs
from graphbp_numba.states.sections import inject, line_address, places, put_row, reverse_state, take_rows

__all__ = ["columns", "descendants", "meet", "output_rows", "own_curvature"]


@kernel
def meet(meets: Any, j: int, l: int) -> bool:  # noqa: E741  # the book's name of the second unit
    """Whether B_lj may be other than 0; always where `meets` is unknown, an array of no rows."""
    return len(meets) == 0 or meets[j, l]


@kernel
def _begin(tag: Any, net: Any, tile: Any, at: Any, start: int, n0: int) -> None:
    """h' and h''β of some samples, of the rows from `start` on, and G = Φ = 0; z and δ where rows are combined."""
    row, n_rows = len(tag) * VECTOR_BYTES, net.table[PLAN_N_ROWS]
    take_rows(tag, tile.slope, start, n0, at.slope + start * row, n_rows - start)
    if tile.bend.shape[0]:
        take_rows(tag, tile.bend, start, n0, at.bend + start * row, n_rows - start)
    if net.table[PLAN_N_PAIRS]:
        take_rows(tag, tile.z, 0, n0, at.z, n_rows)
        if tile.delta.shape[0]:
            take_rows(tag, tile.delta, start, n0, at.delta + start * row, n_rows - start)
    fill_rows(tag, at.a_dot, n_rows)
    fill_rows(tag, at.z_dot, n_rows)


@kernel
def _pair_of(table: Any, row: int) -> int:
    """The number of a row's combination of two others, −1 where it has none."""
    return carray(pointer(table[PLAN_PAIR_OF_ROW]), row + 1, np.int64)[row] if table[PLAN_N_PAIRS] else -1


@kernel
def _sweep_forward(tag: Any, net: Any, at: Any, mask: Any, l: int) -> None:  # noqa: E741
    """G and Φ of column l in the rows of `mask` after its run, given zeros in all other rows."""
    table, w = net.table, net.w_in.ctypes.data
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    g, phi, slope = at.a_dot, at.z_dot, at.slope
    own = carray(reals(tag, g + l * row), lanes)
    for lane in range(lanes):
        own[lane] = 1
    copy_rows(tag, phi + l * row, slope + l * row, 1)
    for k in range(runs[net.run_of[l], RUN_STOP], table[PLAN_N_ROWS]):
        if mask[k]:
            gather(tag, phi, table[PLAN_IN_SRC], w, ptr[k], ptr[k + 1], tag[0], g + k * row)
            pair = _pair_of(table, k)
            if pair >= 0:
                tangent_pairs(tag, table, at.z, phi, g, pair, pair + 1)
            multiply_rows(tag, phi + k * row, slope + k * row, g + k * row, 1)


@kernel
def _add_heads(tag: Any, tile: Any, at: Any, mask: Any, n0: int) -> None:
    """B += Σ_c R_jc G_c at the outputs of `mask`."""
    row, g, b = len(tag) * VECTOR_BYTES, at.a_dot, at.r_delta
    for e in range(len(tile.heads)):
        j, c = tile.heads[e]
        if mask[j] and mask[c]:
            multiply_add_rows(tag, b + j * row, line_address(tile.R, e, n0), g + c * row, b + j * row, 1)


@kernel
def _sweep_reverse(tag: Any, net: Any, at: Any, mask: Any, l: int, exact: bool) -> None:  # noqa: E741
    """B of column l in the rows of `mask` from l on; it holds the heads' terms, 0 elsewhere."""
    table, w = net.table, net.w_out.ctypes.data
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    g, b, slope, bend = at.a_dot, at.r_delta, at.slope, at.bend
    for r in range(table[PLAN_N_RUNS] - 1, net.run_of[l] - 1, -1):
        if runs[r, RUN_LEAF] and runs[r, RUN_PAIR_FIRST] == runs[r, RUN_PAIR_STOP]:
            continue
        order = runs[r, RUN_ORDER] - runs[r, RUN_START]
        for j in range(max(runs[r, RUN_START], l), runs[r, RUN_STOP]):
            if not mask[j]:
                continue
            if not runs[r, RUN_LEAF]:
                e, here = order + j, b + j * row
                gather(tag, b, table[PLAN_OUT_DST], w, ptr[e], ptr[e + 1], tag[0], at.scratch)
                multiply_add_rows(tag, here, slope + j * row, at.scratch, here, 1)
                if exact:
                    multiply_add_rows(tag, here, bend + j * row, g + j * row, here, 1)
            pair = _pair_of(table, j)
            if pair >= 0:
                spread_pairs(tag, table, at.z, b, pair, pair + 1)
                if exact:
                    bend_pairs(tag, table, at.z_dot, at.delta, b, pair, pair + 1)


@compiled
def columns(
    tag: Any, net: Any, reach: Any, tile: Any, out: Any, buffer: Any, first_column: int, stop_column: int, first: int, stop: int
) -> None:
    """B and Φ of `out` for columns l, rows j ≥ l that meet l (Φ: where paths[j, l]), and the tiles first..stop."""
    net, reach, tile, out = Net(*net), Reach(*reach), Slopes(*tile), Columns(*out)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    table, start, width, exact = net.table, out.start, out.B.shape[1], tile.bend.shape[0] > 0
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    at = places(tag, table, aligned(buffer))
    g, phi, b = at.a_dot, at.z_dot, at.r_delta
    for number in range(first, stop):
        n0 = number * lanes
        _begin(tag, net, tile, at, start, n0)
        for c in range(first_column, stop_column):
            if not reach.live[c]:
                continue
            cleared = runs[net.run_of[c], RUN_STOP] - start  # what the forward sweep does not write
            fill_rows(tag, g + start * row, cleared)
            fill_rows(tag, phi + start * row, cleared)
            _sweep_forward(tag, net, at, reach.live, c)
            fill_rows(tag, b + c * row, table[PLAN_HELPER_STOP] - c)
            _add_heads(tag, tile, at, reach.live, n0)
            _sweep_reverse(tag, net, at, reach.live, c, exact)
            for j in range(c, table[PLAN_N_ROWS]):
                line = (j - start) * width + c - start
                if meet(reach.meets, j, c):
                    put_row(tag, b + j * row, out.B, line, n0, tile.n)
                if exact and (len(reach.paths) == 0 or reach.paths[j, c]):
                    put_row(tag, phi + j * row, out.phi, line, n0, tile.n)


@compiled
def output_rows(tag: Any, table: Any, w_out: Any, tile: Any, last_run: Any, g: Any, buffer: Any, first: int, stop: int) -> None:
    """g[j, c, n] = ∂a_c/∂a_j for the outputs c: one reverse sweep each, from its run down."""
    tile = Slopes(*tile)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    at = places(tag, table, aligned(buffer))
    heads = carray(reals(tag, at.head), (table[PLAN_N_OUTPUTS], lanes))
    for number in range(first, stop):
        n0 = number * lanes
        take_rows(tag, tile.slope, 0, n0, at.slope, table[PLAN_N_ROWS])
        if table[PLAN_N_PAIRS]:
            take_rows(tag, tile.z, 0, n0, at.z, table[PLAN_N_ROWS])
        for c in range(table[PLAN_N_OUTPUTS]):
            fill_rows(tag, at.head, table[PLAN_N_OUTPUTS])
            for lane in range(lanes):
                heads[c, lane] = 1
            inject(tag, table, at.delta, at.head)
            reverse_state(tag, table, w_out.ctypes.data, at, last_run[c])
            for j in range(table[PLAN_N_INPUTS], table[PLAN_N_ROWS]):
                put_row(tag, at.delta + j * row, g, j * table[PLAN_N_OUTPUTS] + c, n0, tile.n)


@kernel
def _clear(tag: Any, rows: int, mask: Any, first: int) -> None:
    """0 in the rows of `mask` from the first on."""
    for k in range(first, len(mask)):
        if mask[k]:
            fill_rows(tag, rows + k * len(tag) * VECTOR_BYTES, 1)


@compiled
def own_curvature(
    tag: Any, net: Any, tile: Any, wanted: Any, reached: Any, own: Any, buffer: Any, first_column: int, first: int, stop: int
) -> None:
    """own[l, n] = B_ll for the units l = first_column + c, c = 0..len(reached), that are wanted: sweeps of l's descendants alone."""
    net, tile = Net(*net), Slopes(*tile)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    at = places(tag, net.table, aligned(buffer))
    for number in range(first, stop):
        n0 = number * lanes
        _begin(tag, net, tile, at, first_column, n0)
        for c in range(len(reached)):
            l, mask = first_column + c, reached[c]  # noqa: E741  # the book's name of the second unit
            if not wanted[l]:
                continue
            _sweep_forward(tag, net, at, mask, l)
            _clear(tag, at.r_delta, mask, l)
            _add_heads(tag, tile, at, mask, n0)
            _sweep_reverse(tag, net, at, mask, l, tile.bend.shape[0] > 0)
            put_row(tag, at.r_delta + l * len(tag) * VECTOR_BYTES, own, l, n0, tile.n)
            _clear(tag, at.a_dot, mask, l)  # for the next unit
            _clear(tag, at.z_dot, mask, l)


@compiled
def descendants(table: Any, first_column: int, reached: Any) -> None:
    """reached[c, k] = whether k is the row first_column + c, or a path leads there from it."""
    n_rows = table[PLAN_N_ROWS]
    ptr = carray(pointer(table[PLAN_IN_PTR]), n_rows + 1, np.int64)
    src = carray(pointer(table[PLAN_IN_SRC]), ptr[n_rows], np.int32)
    pairs = carray(pointer(table[PLAN_PAIRS]), (table[PLAN_N_PAIRS], PAIR_FIELDS), np.int64)
    for c in range(len(reached)):
        below = reached[c]
        for k in range(n_rows):
            below[k] = k == first_column + c
        for k in range(first_column + c + 1, n_rows):
            for e in range(ptr[k], ptr[k + 1]):
                if below[src[e]]:
                    below[k] = True
                    break
            pair = _pair_of(table, k)
            if pair >= 0 and (below[pairs[pair, PAIR_FIRST]] or below[pairs[pair, PAIR_SECOND]]):
                below[k] = True
