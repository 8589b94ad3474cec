"""The runs of a plan, forward and in reverse: the two C functions that every first-order sweep on tiles calls."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.first_order.trees import combine_trees, note_rows, prepare_trees, pull_trees, spread_trees, start_trees
from graphbp_numba.instructions.calls import call, call_binary, call_unary, item_size, pointer, reals
from graphbp_numba.instructions.gathers import EdgeSums, finish_sums, gather, gather_bundle, gather_sums, row_sums
from graphbp_numba.instructions.rows import BUNDLE, add_rows, copy_rows, fill_rows, multiply_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled_c, integers, kernel
from graphbp_numba.plan.plan import MAX_RUN_ROWS
from graphbp_numba.plan.tables import (
    KIND_ELEMENTWISE,
    PLAN_BUNDLE_PTR,
    PLAN_BUNDLE_ROWS,
    PLAN_BUNDLE_SRC,
    PLAN_COMBINE_TREES,
    PLAN_FINISH_TREES,
    PLAN_FORWARD_RUNS,
    PLAN_IN_PTR,
    PLAN_IN_SRC,
    PLAN_N_BUNDLES,
    PLAN_N_EDGES,
    PLAN_N_INPUTS,
    PLAN_N_LEAVES,
    PLAN_N_OUT_EDGES,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_N_TREES,
    PLAN_OUT_DST,
    PLAN_OUT_POS,
    PLAN_OUT_PTR,
    PLAN_PULL_TREES,
    PLAN_REVERSE_RUNS,
    PLAN_RUNS,
    PLAN_SIZE,
    PLAN_SPREAD_TREES,
    PLAN_SUMS,
    RUN_BUNDLE_FIRST,
    RUN_BUNDLE_STOP,
    RUN_BUNDLED,
    RUN_F,
    RUN_F_KEEP,
    RUN_FIELDS,
    RUN_FROM_Z,
    RUN_HAS_OUTPUT,
    RUN_KEEP,
    RUN_KEEP_SLOPE,
    RUN_KIND,
    RUN_LEAF,
    RUN_ORDER,
    RUN_PULLS,
    RUN_SLOPE,
    RUN_START,
    RUN_STOP,
)

__all__ = ["SPARE_ROWS", "buffer_rows", "forward_runs", "prepare_runs", "reverse_runs", "times_slopes"]

SPARE_ROWS = 4


def buffer_rows(n_rows: int, n_keep: int, n_outputs: int, target_rows: int) -> int:
    """Rows of a tile's buffer, without the vectors set aside for sums."""
    return n_rows + n_keep + MAX_RUN_ROWS + n_outputs + target_rows + SPARE_ROWS


@kernel
def forward_runs(
    tag: Any, table: Any, w: int, bias: int, z: int, keep: int, first: int, stop: int, bundles: bool, reverse: bool
) -> None:
    """a = Σ w z + b and z = h(a), for the runs first..stop.

    With `bundles` these are whole levels, and w has the bundles' weights; a is kept for outputs, and where `reverse` asks for it;
    then h'(a) too, where z is near a limit.
    """
    call(table[PLAN_FORWARD_RUNS + len(tag) // 2], (table.ctypes.data, w, bias, z, keep, first, stop, bundles, reverse))


@kernel
def reverse_runs(tag: Any, table: Any, w: int, z: int, keep: int, beta: int, heads: int, sums: int, aside: int) -> None:
    """δ = h'(a) Σ w δ (+ the head's term), in place of z, from the last run down to the inputs, whose δ is ∂E/∂x.

    And the sums δ_k z_i, δ_j over lanes.
    """
    call(table[PLAN_REVERSE_RUNS + len(tag) // 2], (table.ctypes.data, w, z, keep, beta, heads, sums, aside))


def prepare_runs(table: Any, tag: Any, *places: int) -> None:
    """Have `forward_runs` or `reverse_runs` compiled for this tag, a C function that all kernels share, and its address in the table."""
    for place in places:
        at = place + len(tag) // 2
        if not table[at]:
            make = _forward_runs if place == PLAN_FORWARD_RUNS else _reverse_runs
            table[at] = make(tag[0].dtype.name, len(tag)).address
        for each in (
            (PLAN_COMBINE_TREES,) if place == PLAN_FORWARD_RUNS else (PLAN_SPREAD_TREES, PLAN_PULL_TREES, PLAN_FINISH_TREES)
        ):
            prepare_trees(table, tag, each)


@cache
def _forward_runs(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def forward_runs(at: int, w: int, bias: int, z: int, keep: int, first: int, stop: int, bundles: int, reverse: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
        row = len(tag) * VECTOR_BYTES
        runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
        ptr = carray(pointer(table[PLAN_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
        src = table[PLAN_IN_SRC]
        biases = carray(reals(tag, bias), table[PLAN_N_ROWS])
        shared = carray(pointer(table[PLAN_BUNDLE_PTR]), table[PLAN_N_BUNDLES] + 1, np.int64)
        w_leaves = w + table[PLAN_N_EDGES] * item_size(tag)
        w_shared = w_leaves + table[PLAN_N_LEAVES] * item_size(tag)
        if table[PLAN_N_TREES]:
            note_rows(tag, table, z, 0, table[PLAN_N_INPUTS])
        for r in range(first, stop):
            start, end = runs[r, RUN_START], runs[r, RUN_STOP]
            if bundles:
                for b in range(runs[r, RUN_BUNDLE_FIRST], runs[r, RUN_BUNDLE_STOP]):
                    rows = table[PLAN_BUNDLE_ROWS] + b * (4 * BUNDLE)
                    gather_bundle(tag, z, table[PLAN_BUNDLE_SRC], w_shared, shared[b], shared[b + 1], bias, rows)
            if not (bundles and runs[r, RUN_BUNDLED]):
                for j in range(start, end):
                    gather(tag, z, src, w, ptr[j], ptr[j + 1], biases[j], z + j * row)
            combine_trees(tag, table, runs[r], w_leaves, z, reverse)
            if runs[r, RUN_KEEP] >= 0 and (reverse or runs[r, RUN_HAS_OUTPUT]):
                copy_rows(tag, keep + runs[r, RUN_KEEP] * row, z + start * row, end - start)
            here = z + start * row
            if reverse and runs[r, RUN_KEEP_SLOPE] >= 0:
                call_binary(runs[r, RUN_F_KEEP], here, here, keep + runs[r, RUN_KEEP_SLOPE] * row, (end - start) * lanes)
            elif runs[r, RUN_F] != 0:
                call_unary(runs[r, RUN_F], here, here, (end - start) * lanes)
            if runs[r, RUN_PULLS]:
                note_rows(tag, table, z, start, end)

    return compiled_c(integers(9))(forward_runs)


@kernel
def times_slopes(tag: Any, run: Any, z: int, keep: int, beta: int, out: int) -> None:
    """out = h' β of a run's rows, not in place of β: h' of their z, of what was kept, or of both."""
    row, rows = len(tag) * VECTOR_BYTES, run[RUN_STOP] - run[RUN_START]
    count = rows * (row // item_size(tag))
    if run[RUN_KEEP_SLOPE] >= 0:
        call(run[RUN_SLOPE], (z, keep + run[RUN_KEEP_SLOPE] * row, beta, out, count))
    else:
        call_unary(run[RUN_SLOPE], z if run[RUN_FROM_Z] else keep + run[RUN_KEEP] * row, out, count)
        multiply_rows(tag, out, out, beta, rows)


@cache
def _reverse_runs(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def reverse_runs(at: int, w: int, z: int, keep: int, beta: int, heads: int, sums: int, aside: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        row = len(tag) * VECTOR_BYTES
        runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
        ptr = carray(pointer(table[PLAN_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
        out_pos = carray(pointer(table[PLAN_OUT_POS]), table[PLAN_N_ROWS], np.int64)
        dst, edges = table[PLAN_OUT_DST], EdgeSums(sums, aside)
        w_leaves = w + table[PLAN_N_OUT_EDGES] * item_size(tag)
        if table[PLAN_N_TREES]:
            start_trees(tag, table, z)
        for r in range(table[PLAN_N_RUNS] - 1, -1, -1):
            start, end = runs[r, RUN_START], runs[r, RUN_STOP]
            here, count = z + start * row, end - start
            if runs[r, RUN_LEAF]:
                fill_rows(tag, here, count)
            else:
                order = runs[r, RUN_ORDER]
                linear, pulls = runs[r, RUN_KIND] != KIND_ELEMENTWISE, runs[r, RUN_PULLS] != 0
                out = here if linear and not pulls else beta
                for j in range(count):
                    gather_sums(tag, z, dst, w, ptr[order + j], ptr[order + j + 1], here + j * row, out + j * row, edges)
                if pulls:
                    pull_trees(tag, table, w_leaves, z, sums, beta, (order, start, count))
                if not linear:
                    times_slopes(tag, runs[r], here, keep, beta, here)
                elif pulls:
                    copy_rows(tag, here, beta, count)
            if runs[r, RUN_HAS_OUTPUT]:
                for j in range(start, end):
                    add_rows(tag, z + j * row, z + j * row, heads + out_pos[j] * row, 1)
            row_sums(tag, here, count, sums + (table[PLAN_SUMS] + start) * item_size(tag))
            spread_trees(tag, table, runs[r], w_leaves, z, sums)
        units = table[PLAN_N_ROWS] - table[PLAN_N_INPUTS]
        for i in range(table[PLAN_N_INPUTS]):
            here = z + i * row
            out = beta if table[PLAN_N_TREES] else here
            gather_sums(tag, z, table[PLAN_OUT_DST], w, ptr[units + i], ptr[units + i + 1], here, out, edges)
            if table[PLAN_N_TREES]:
                pull_trees(tag, table, w_leaves, z, sums, beta, (units + i, i, 1))
                copy_rows(tag, here, beta, 1)
        finish_sums(tag, table[PLAN_N_OUT_EDGES], edges)
        if table[PLAN_N_TREES]:
            pull_trees(tag, table, w_leaves, z, sums, beta, (table[PLAN_N_ROWS], 0, 0))

    return compiled_c(integers(8))(reverse_runs)
