r"""The compiled sweeps behind the Hessians that the core assembles: Φ and B of the closed form, a column at a time in a tile's cache.

    forward   G_kl = 1 at k = l, else Σ_r w_kr Φ_rl,   Φ_kl = h'_k G_kl
    reverse   B_jl = h''_j β_j G_jl + h'_j Σ_s w_sj B_sl + Σ_c R_jc G_cl

A column's two sweeps run on rows of one tile of samples, in the caches; of B only the rows from the column's own on are then copied to
the arrays of `graphbp.extend.ColumnTile`, and of Φ those that a path leads to.  h', h''β and R are taken from the sample tile, R as a
list of its entries that may not be zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp_numba.first_order.samples import aligned
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.instructions.gathers import gather
from graphbp_numba.instructions.rows import copy_rows, fill_rows, multiply_add_rows, multiply_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.tables import (
    PLAN_IN_PTR,
    PLAN_IN_SRC,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_OUT_DST,
    PLAN_OUT_PTR,
    PLAN_RUNS,
    RUN_FIELDS,
    RUN_LEAF,
    RUN_ORDER,
    RUN_START,
    RUN_STOP,
    STATE_A_DOT,
    STATE_BEND,
    STATE_BETA,
    STATE_DELTA,
    STATE_HEADS,
    STATE_R_DELTA,
    STATE_SCRATCH,
    STATE_SLOPES,
    STATE_Z_DOT,
)
from graphbp_numba.states.sections import inject, line_address, place, put_row, reverse_state, take_rows

__all__ = ["columns", "descendants", "meet", "output_rows", "own_curvature"]


@kernel
def meet(meets: Any, j: int, l: int) -> bool:  # noqa: E741  # the book's name of the second unit
    """Whether B_lj may be other than 0; always where `meets` is unknown, an array of no rows."""
    return len(meets) == 0 or meets[j, l]


@kernel
def _sweep_forward(tag: Any, table: Any, w: int, meets: Any, g: int, phi: int, slope: int, row_l: int, run_l: int) -> None:
    """G and Φ of one column, given zeros up to the end of its run, and in all rows that lead to no output: they stay."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    own, own_slope = carray(reals(tag, g + row_l * row), lanes), carray(reals(tag, slope + row_l * row), lanes)
    own_phi = carray(reals(tag, phi + row_l * row), lanes)
    for lane in range(lanes):
        own[lane] = 1
        own_phi[lane] = own_slope[lane]
    for r in range(run_l + 1, table[PLAN_N_RUNS]):
        start, end = runs[r, RUN_START], runs[r, RUN_STOP]
        for j in range(start, end):
            if meet(meets, j, j):
                gather(tag, phi, table[PLAN_IN_SRC], w, ptr[j], ptr[j + 1], tag[0], g + j * row)
        multiply_rows(tag, phi + start * row, slope + start * row, g + start * row, end - start)


@kernel
def _sweep_reverse(
    tag: Any,
    table: Any,
    w: int,
    meets: Any,
    g: int,
    b: int,
    slope: int,
    bend: int,
    scratch: int,
    row_l: int,
    run_l: int,
    exact: bool,
) -> None:
    """B of one column, rows from its own on; b holds the heads' terms, 0 elsewhere."""
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    for r in range(table[PLAN_N_RUNS] - 1, run_l - 1, -1):
        if runs[r, RUN_LEAF]:
            continue
        start, end, order = max(runs[r, RUN_START], row_l), runs[r, RUN_STOP], runs[r, RUN_ORDER] - runs[r, RUN_START]
        at = start * row
        for j in range(start, end):
            if meet(meets, j, j):
                e = order + j
                gather(tag, b, table[PLAN_OUT_DST], w, ptr[e], ptr[e + 1], tag[0], scratch)
                multiply_add_rows(tag, b + j * row, slope + j * row, scratch, b + j * row, 1)
        if exact:
            multiply_add_rows(tag, b + at, bend + at, g + at, b + at, end - start)


@kernel
def _inject(tag: Any, table: Any, R: Any, heads: Any, n0: int, g: int, b: int, start: int) -> None:
    """b = 0 from row `start` on, but for Σ_c R_jc G_c at the outputs: `heads` has the rows (j, c) of each line of R."""
    row = len(tag) * VECTOR_BYTES
    fill_rows(tag, b + start * row, table[PLAN_N_ROWS] - start)
    for e in range(len(heads)):
        at = b + heads[e, 0] * row
        multiply_add_rows(tag, at, line_address(R, e, n0), g + heads[e, 1] * row, at, 1)


@compiled
def columns(
    tag: Any,
    table: Any,
    w_in: Any,
    w_out: Any,
    slopes: Any,
    bends: Any,
    R: Any,
    heads: Any,
    n_samples: int,
    run_of: Any,
    paths: Any,
    meets: Any,
    B: Any,
    phi_out: Any,
    buffer: Any,
    start: int,
    first_column: int,
    stop_column: int,
    first: int,
    stop: int,
) -> None:
    """B[j − start, l − start, n] for j ≥ l that meet l, for columns l, and the tiles first..stop; Φ likewise, where paths[j, l].

    Both may be unknown, arrays of no rows: then B and Φ are there for all j ≥ l.

    For the outer product, arrays of no lines stand in place of h''β and Φ.
    """
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    base = aligned(buffer)
    n_rows, width, exact = table[PLAN_N_ROWS], B.shape[1], phi_out.shape[0] > 0
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    slope, bend, scratch = (
        place(table, row, base, STATE_SLOPES),
        place(table, row, base, STATE_BEND),
        place(table, row, base, STATE_SCRATCH),
    )
    g, phi, b = place(table, row, base, STATE_A_DOT), place(table, row, base, STATE_Z_DOT), place(table, row, base, STATE_R_DELTA)
    for number in range(first, stop):
        n0 = number * lanes
        take_rows(tag, slopes, start, n0, slope + start * row, n_rows - start)
        if exact:
            take_rows(tag, bends, start, n0, bend + start * row, n_rows - start)
        fill_rows(tag, g, n_rows)
        fill_rows(tag, phi, n_rows)
        for c in range(first_column, stop_column):
            r = run_of[c]
            if not meet(meets, c, c):  # it leads to no output
                continue
            fill_rows(tag, g + start * row, runs[r, RUN_STOP] - start)
            fill_rows(tag, phi + start * row, runs[r, RUN_STOP] - start)
            _sweep_forward(tag, table, w_in.ctypes.data, meets, g, phi, slope, c, r)
            _inject(tag, table, R, heads, n0, g, b, c)
            _sweep_reverse(tag, table, w_out.ctypes.data, meets, g, b, slope, bend, scratch, c, r, exact)
            for j in range(c, n_rows):
                line = (j - start) * width + c - start
                if meet(meets, j, c):
                    put_row(tag, b + j * row, B, line, n0, n_samples)
                if exact and (len(paths) == 0 or paths[j, c]):
                    put_row(tag, phi + j * row, phi_out, line, n0, n_samples)


@compiled
def output_rows(
    tag: Any, table: Any, w_out: Any, slopes: Any, n_samples: int, last_run: Any, g: Any, buffer: Any, first: int, stop: int
) -> None:
    """g[j, c, n] = ∂a_c/∂a_j for the outputs c: one reverse sweep each, from its run down."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    base = aligned(buffer)
    delta, slope = place(table, row, base, STATE_DELTA), place(table, row, base, STATE_SLOPES)
    head, beta = place(table, row, base, STATE_HEADS), place(table, row, base, STATE_BETA)
    heads = carray(reals(tag, head), (table[PLAN_N_OUTPUTS], lanes))
    for number in range(first, stop):
        n0 = number * lanes
        take_rows(tag, slopes, 0, n0, slope, table[PLAN_N_ROWS])
        for c in range(table[PLAN_N_OUTPUTS]):
            fill_rows(tag, head, table[PLAN_N_OUTPUTS])
            for lane in range(lanes):
                heads[c, lane] = 1
            inject(tag, table, delta, head)
            reverse_state(tag, table, w_out.ctypes.data, slope, delta, beta, last_run[c])
            for j in range(table[PLAN_N_INPUTS], table[PLAN_N_ROWS]):
                put_row(tag, delta + j * row, g, j * table[PLAN_N_OUTPUTS] + c, n0, n_samples)


@compiled
def own_curvature(
    tag: Any,
    table: Any,
    w_in: Any,
    w_out: Any,
    slopes: Any,
    bends: Any,
    R: Any,
    heads: Any,
    n_samples: int,
    run_of: Any,
    wanted: Any,
    reached: Any,
    own: Any,
    buffer: Any,
    exact: bool,
    first_column: int,
    first: int,
    stop: int,
) -> None:
    """own[l, n] = B_ll for the units l = first_column + c, c = 0..len(reached), that are wanted: sweeps of l's descendants alone."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    base = aligned(buffer)
    n_rows = table[PLAN_N_ROWS]
    w, v = w_in.ctypes.data, w_out.ctypes.data
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    in_ptr = carray(pointer(table[PLAN_IN_PTR]), n_rows + 1, np.int64)
    out_ptr = carray(pointer(table[PLAN_OUT_PTR]), n_rows + 1, np.int64)
    slope, bend, scratch = (
        place(table, row, base, STATE_SLOPES),
        place(table, row, base, STATE_BEND),
        place(table, row, base, STATE_SCRATCH),
    )
    g, phi, b = place(table, row, base, STATE_A_DOT), place(table, row, base, STATE_Z_DOT), place(table, row, base, STATE_R_DELTA)
    g_rows = carray(reals(tag, g), (n_rows, lanes))
    for number in range(first, stop):
        n0 = number * lanes
        take_rows(tag, slopes, first_column, n0, slope + first_column * row, n_rows - first_column)
        if exact:
            take_rows(tag, bends, first_column, n0, bend + first_column * row, n_rows - first_column)
        fill_rows(tag, phi, n_rows)
        fill_rows(tag, g, n_rows)
        for c in range(len(reached)):
            l = first_column + c  # noqa: E741  # the book's name of the second unit
            if not wanted[l]:
                continue
            below = reached[c]
            for lane in range(lanes):
                g_rows[l, lane] = 1
            copy_rows(tag, phi + l * row, slope + l * row, 1)
            for k in range(runs[run_of[l], RUN_STOP], n_rows):
                if below[k]:
                    gather(tag, phi, table[PLAN_IN_SRC], w, in_ptr[k], in_ptr[k + 1], tag[0], g + k * row)
                    multiply_rows(tag, phi + k * row, slope + k * row, g + k * row, 1)
            for k in range(l, n_rows):
                if below[k] or k == l:
                    fill_rows(tag, b + k * row, 1)
            for e in range(len(heads)):
                one, two = heads[e]
                if (below[one] or one == l) and (below[two] or two == l):
                    multiply_add_rows(tag, b + one * row, line_address(R, e, n0), g + two * row, b + one * row, 1)
            for r in range(table[PLAN_N_RUNS] - 1, run_of[l] - 1, -1):
                if runs[r, RUN_LEAF]:
                    continue
                for j in range(max(runs[r, RUN_START], l), runs[r, RUN_STOP]):
                    if below[j] or j == l:
                        e = runs[r, RUN_ORDER] - runs[r, RUN_START] + j
                        gather(tag, b, table[PLAN_OUT_DST], v, out_ptr[e], out_ptr[e + 1], tag[0], scratch)
                        multiply_add_rows(tag, b + j * row, slope + j * row, scratch, b + j * row, 1)
                        if exact:
                            multiply_add_rows(tag, b + j * row, bend + j * row, g + j * row, b + j * row, 1)
            put_row(tag, b + l * row, own, l, n0, n_samples)
            for k in range(l, n_rows):  # zeros for the next unit
                if below[k] or k == l:
                    fill_rows(tag, phi + k * row, 1)
                    fill_rows(tag, g + k * row, 1)


@compiled
def descendants(table: Any, first_column: int, reached: Any) -> None:
    """reached[c, k] = 1 where a path leads from row first_column + c to row k, else 0."""
    n_rows = table[PLAN_N_ROWS]
    ptr = carray(pointer(table[PLAN_IN_PTR]), n_rows + 1, np.int64)
    src = carray(pointer(table[PLAN_IN_SRC]), ptr[n_rows], np.int32)
    for c in range(len(reached)):
        below = reached[c]
        for k in range(n_rows):
            below[k] = 0
        below[first_column + c] = 1
        for k in range(first_column + c + 1, n_rows):
            for e in range(ptr[k], ptr[k + 1]):
                if below[src[e]]:
                    below[k] = 1
                    break
        below[first_column + c] = 0
