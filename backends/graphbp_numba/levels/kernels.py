"""Parts of a level, of its gradient sums, and of its heads: what a task of `LevelPath` runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp_numba.first_order.runs import forward_runs, times_slopes
from graphbp_numba.first_order.samples import aligned, load_targets, load_tile
from graphbp_numba.heads.sweeps import head_deltas, head_values, softmax_rows
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.instructions.gathers import edge_sums, gather, row_sums
from graphbp_numba.instructions.rows import add_rows, copy_rows, fill_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled
from graphbp_numba.plan.plan import MAX_RUN_ROWS
from graphbp_numba.plan.tables import (
    KIND_ELEMENTWISE,
    MODE_VALUE,
    MODE_VJP,
    PLAN_N_INPUTS,
    PLAN_N_KEEP,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_OUT_DST,
    PLAN_OUT_POS,
    PLAN_OUT_PTR,
    PLAN_OUT_ROW,
    PLAN_RUNS,
    PLAN_SUMS,
    PLAN_TARGET_ROWS,
    RUN_FIELDS,
    RUN_HAS_OUTPUT,
    RUN_KIND,
    RUN_LEAF,
    RUN_ORDER,
    RUN_START,
    RUN_STOP,
)

__all__ = ["bias_part", "forward_part", "heads", "load", "outputs", "reverse_inputs", "reverse_part", "sums_part"]


@compiled
def load(tag: Any, table: Any, X: Any, buffer: Any) -> None:
    """The input rows."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    load_tile(carray(reals(tag, aligned(buffer)), (table[PLAN_N_INPUTS], lanes)), X, 0)


@compiled
def forward_part(tag: Any, table: Any, w: Any, bias: Any, buffer: Any, first: int, stop: int) -> None:
    """a and z of the runs first..stop."""
    z = aligned(buffer)
    keep = z + table[PLAN_N_ROWS] * len(tag) * VECTOR_BYTES
    forward_runs(tag, table, w.ctypes.data, bias.ctypes.data, z, keep, first, stop, False, True)


@compiled
def outputs(tag: Any, table: Any, buffer: Any, Y: Any) -> None:
    """y, softmax applied."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    z = aligned(buffer)
    tile = carray(reals(tag, z), (table[PLAN_N_ROWS], lanes))
    softmax_rows(table, z, z + table[PLAN_N_ROWS] * len(tag) * VECTOR_BYTES, lanes)
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    for n in range(Y.shape[0]):
        for k in range(table[PLAN_N_OUTPUTS]):
            Y[n, k] = tile[out_row[k], n]


@compiled
def heads(tag: Any, table: Any, T: Any, sample_weight: Any, buffer: Any, mode: int) -> float:
    """E, and δ of the outputs in the buffer's rows for the heads."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    z = aligned(buffer)
    keep = z + table[PLAN_N_ROWS] * row
    head = keep + (table[PLAN_N_KEEP] + MAX_RUN_ROWS) * row
    targets = head + table[PLAN_N_OUTPUTS] * row
    scratch = targets + table[PLAN_TARGET_ROWS] * row
    load_targets(tag, table, targets, scratch + row, T, sample_weight, 0, T.shape[0])
    softmax_rows(table, z, keep, lanes)
    energy = 0.0
    if mode != MODE_VJP:
        energy = head_values(table, z, keep, targets, scratch, lanes)
    if mode != MODE_VALUE:
        head_deltas(table, z, keep, targets, head, scratch, lanes, mode == MODE_VJP)
    return energy


@compiled
def reverse_part(tag: Any, table: Any, w: Any, buffer: Any, deltas: Any, first: int, stop: int) -> None:
    """δ = h'(a) Σ w δ (+ the head's term) of the runs stop − 1, ..., first."""
    row = len(tag) * VECTOR_BYTES
    z, delta = aligned(buffer), aligned(deltas)
    keep = z + table[PLAN_N_ROWS] * row
    heads = keep + (table[PLAN_N_KEEP] + MAX_RUN_ROWS) * row
    products = np.empty((MAX_RUN_ROWS + 1) * row, np.uint8)
    product = aligned(products)
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    out_pos = carray(pointer(table[PLAN_OUT_POS]), table[PLAN_N_ROWS], np.int64)
    for r in range(stop - 1, first - 1, -1):
        start, end, order = runs[r, RUN_START], runs[r, RUN_STOP], runs[r, RUN_ORDER]
        here, count = delta + start * row, end - start
        if runs[r, RUN_LEAF]:
            fill_rows(tag, here, count)
        else:
            for j in range(count):
                e = order + j
                gather(tag, delta, table[PLAN_OUT_DST], w.ctypes.data, ptr[e], ptr[e + 1], tag[0], here + j * row)
            if runs[r, RUN_KIND] == KIND_ELEMENTWISE:
                times_slopes(tag, runs[r], z + start * row, keep, here, product)
                copy_rows(tag, here, product, count)
        if runs[r, RUN_HAS_OUTPUT]:
            for j in range(start, end):
                add_rows(tag, delta + j * row, delta + j * row, heads + out_pos[j] * row, 1)


@compiled
def reverse_inputs(tag: Any, table: Any, w: Any, deltas: Any, first: int, stop: int) -> None:
    """∂E/∂x of the inputs first..stop."""
    row = len(tag) * VECTOR_BYTES
    delta = aligned(deltas)
    ptr = carray(pointer(table[PLAN_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    units = table[PLAN_N_ROWS] - table[PLAN_N_INPUTS]
    for i in range(first, stop):
        gather(tag, delta, table[PLAN_OUT_DST], w.ctypes.data, ptr[units + i], ptr[units + i + 1], tag[0], delta + i * row)


@compiled
def sums_part(tag: Any, table: Any, source: Any, buffer: Any, deltas: Any, sums: Any, first: int, stop: int) -> None:
    """sums_e = Σ_lanes δ_j z_i of the edges first..stop; `first` is a whole number of groups."""
    edge_sums(tag, aligned(deltas), table[PLAN_OUT_DST], aligned(buffer), source.ctypes.data, first, stop, sums.ctypes.data)


@compiled
def bias_part(tag: Any, table: Any, deltas: Any, sums: Any, first: int, stop: int) -> None:
    """The sums Σ_lanes δ_j of the rows first..stop."""
    at = table[PLAN_SUMS] + first
    for j in range(stop - first):
        sums[at + j] = 0
    row = len(tag) * VECTOR_BYTES
    row_sums(tag, aligned(deltas) + first * row, stop - first, sums.ctypes.data + at * item_size(tag))
