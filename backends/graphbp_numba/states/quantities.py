"""Compiled entries for everything but the gradient: Jacobians, single samples' gradients, tangents, traces, products with Hessians."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp_numba.first_order.samples import aligned, load_tile, tile_weights
from graphbp_numba.heads.sweeps import head_deltas
from graphbp_numba.heads.tangents import head_curvature, push_outputs
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.instructions.gathers import finish_sums, gather_sums, row_sums
from graphbp_numba.instructions.rows import fill_rows, multiply_add_rows, multiply_rows
from graphbp_numba.instructions.tangent_gathers import gather_both_sums
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.tables import (
    PLAN_N_EDGES,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_OUT_DST,
    PLAN_OUT_PTR,
    PLAN_RUNS,
    PLAN_SUMS,
    RUN_FIELDS,
    RUN_ORDER,
    RUN_START,
    RUN_STOP,
    STATE_A,
    STATE_A_DOT,
    STATE_ASIDE,
    STATE_BEND,
    STATE_BETA,
    STATE_DELTA,
    STATE_HEADS,
    STATE_KEPT,
    STATE_OTHER,
    STATE_R_DELTA,
    STATE_SCRATCH,
    STATE_SLOPES,
    STATE_TARGETS,
    STATE_Z,
    STATE_Z_DOT,
)
from graphbp_numba.states.sections import inject, place, put_row, slopes, tangent_state
from graphbp_numba.states.tiles import begin_tile, reverse_tile, tile_deltas

__all__ = ["jacobian", "products", "sample_gradients", "state", "tangent", "unit_deltas"]


@kernel
def unit_deltas(tag: Any, table: Any, base: int, k: int) -> None:
    """The heads' δ started from V = e_k."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    z, keep, targets = place(table, row, base, STATE_Z), place(table, row, base, STATE_KEPT), place(table, row, base, STATE_TARGETS)
    head, scratch = place(table, row, base, STATE_HEADS), place(table, row, base, STATE_SCRATCH)
    t, weights = carray(reals(tag, targets), (table[PLAN_N_OUTPUTS], lanes)), carray(reals(tag, scratch + row), lanes)
    fill_rows(tag, targets, table[PLAN_N_OUTPUTS])
    for lane in range(lanes):
        t[k, lane] = 1
        weights[lane] = 1
    head_deltas(table, z, keep, targets, head, scratch, lanes, True)


@compiled
def state(
    tag: Any,
    table: Any,
    w_in: Any,
    w_out: Any,
    bias: Any,
    X: Any,
    T: Any,
    sample_weight: Any,
    a: Any,
    z: Any,
    slope: Any,
    delta: Any,
    bend: Any,
    buffer: Any,
    first: int,
    stop: int,
) -> None:
    """a, z, h', δ and h'' β of every row, in lines of whole vectors; arrays of no lines are left out."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    base = aligned(buffer)
    n_rows = table[PLAN_N_ROWS]
    for number in range(first, stop):
        n0 = number * lanes
        begin_tile(tag, table, w_in, bias, X, base, n0)
        if delta.shape[0]:
            tile_deltas(tag, table, T, sample_weight, base, n0, X.shape[0], False)
            reverse_tile(tag, table, w_out, base, table[PLAN_N_RUNS])
        if bend.shape[0]:
            second, beta = place(table, row, base, STATE_BEND), place(table, row, base, STATE_BETA)
            slopes(tag, table, place(table, row, base, STATE_A), second, 2)
            fill_rows(tag, second, table[PLAN_N_INPUTS])
            multiply_rows(tag, second, second, beta, n_rows)
        for section, out in ((STATE_A, a), (STATE_Z, z), (STATE_SLOPES, slope), (STATE_DELTA, delta), (STATE_BEND, bend)):
            for j in range(n_rows if out.shape[0] else 0):
                put_row(tag, place(table, row, base, section) + j * row, out, j, n0, X.shape[0])


@kernel
def _expand(tag: Any, table: Any, base: int, ptr: Any, dst: Any, src: Any, out: Any, n0: int, k: int, spread: Any) -> None:
    """out[n, k, p] = Σ over the slots of p of δ_dst z_src, sample by sample from lane-major copies of δ and z."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    rows = table[PLAN_N_ROWS] + 1
    z = carray(reals(tag, place(table, row, base, STATE_Z)), (rows, lanes))
    delta = carray(reals(tag, place(table, row, base, STATE_DELTA)), (rows, lanes))
    single = True  # every parameter has one slot
    for p in range(len(ptr)):
        single = single and ptr[p] == p
    for lane in range(min(lanes, out.shape[0] - n0)):
        for j in range(rows):
            spread[0, j] = z[j, lane]
            spread[1, j] = delta[j, lane]
        line, zs, ds = out[n0 + lane, k], spread[0], spread[1]
        if single:
            for p in range(len(dst)):
                line[p] = ds[dst[p]] * zs[src[p]]
        else:
            for p in range(len(ptr) - 1):
                total = 0 * zs[0]
                for q in range(ptr[p], ptr[p + 1]):
                    total += ds[dst[q]] * zs[src[q]]
                line[p] = total


@compiled
def sample_gradients(
    tag: Any,
    table: Any,
    w_in: Any,
    w_out: Any,
    bias: Any,
    X: Any,
    T: Any,
    sample_weight: Any,
    ptr: Any,
    dst: Any,
    src: Any,
    out: Any,
    buffer: Any,
    each_output: bool,
    first: int,
    stop: int,
) -> None:
    """out (N, 1, W): each sample's gradient; or with `each_output` (N, K, W): ∂y_k/∂θ."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    base = aligned(buffer)
    spread = np.empty((2, table[PLAN_N_ROWS] + 1), out.dtype)
    for number in range(first, stop):
        n0 = number * lanes
        begin_tile(tag, table, w_in, bias, X, base, n0)
        if not each_output:
            tile_deltas(tag, table, T, sample_weight, base, n0, X.shape[0], False)
            reverse_tile(tag, table, w_out, base, table[PLAN_N_RUNS])
            _expand(tag, table, base, ptr, dst, src, out, n0, 0, spread)
        else:
            for k in range(table[PLAN_N_OUTPUTS]):
                unit_deltas(tag, table, base, k)
                reverse_tile(tag, table, w_out, base, table[PLAN_N_RUNS])
                _expand(tag, table, base, ptr, dst, src, out, n0, k, spread)


@compiled
def jacobian(
    tag: Any, table: Any, w_in: Any, w_out: Any, bias: Any, X: Any, J: Any, last_run: Any, buffer: Any, first: int, stop: int
) -> None:
    """J (N, K, D): one reverse sweep an output, from its run down, or one forward sweep an input, whichever are fewer."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    base = aligned(buffer)
    inputs, outputs = table[PLAN_N_INPUTS], table[PLAN_N_OUTPUTS]
    delta = carray(reals(tag, place(table, row, base, STATE_DELTA)), (table[PLAN_N_ROWS], lanes))
    z, slope, keep = place(table, row, base, STATE_Z), place(table, row, base, STATE_SLOPES), place(table, row, base, STATE_KEPT)
    a_dot, z_dot = place(table, row, base, STATE_A_DOT), place(table, row, base, STATE_Z_DOT)
    scratch = place(table, row, base, STATE_SCRATCH)
    x_dot = carray(reals(tag, z_dot), (inputs, lanes))
    y_dot = carray(reals(tag, place(table, row, base, STATE_HEADS)), (outputs, lanes))
    for number in range(first, stop):
        n0 = number * lanes
        count = min(lanes, X.shape[0] - n0)
        begin_tile(tag, table, w_in, bias, X, base, n0)
        if outputs <= inputs:
            for k in range(outputs):
                unit_deltas(tag, table, base, k)
                reverse_tile(tag, table, w_out, base, last_run[k])
                for lane in range(count):
                    for i in range(inputs):
                        J[n0 + lane, k, i] = delta[i, lane]
            continue
        fill_rows(tag, z_dot, inputs)
        for i in range(inputs):
            for lane in range(lanes):
                x_dot[i, lane] = 1
            tangent_state(tag, table, w_in.ctypes.data, 0, 0, z, slope, a_dot, z_dot, False)
            push_outputs(tag, table, z, keep, a_dot, place(table, row, base, STATE_HEADS), scratch)
            for lane in range(count):
                for k in range(outputs):
                    J[n0 + lane, k, i] = y_dot[k, lane]
            fill_rows(tag, z_dot + i * row, 1)


@compiled
def tangent(
    tag: Any,
    table: Any,
    w_in: Any,
    bias: Any,
    v_in: Any,
    v_bias: Any,
    X: Any,
    U: Any,
    Y_dot: Any,
    buffer: Any,
    first: int,
    stop: int,
) -> None:
    """Y_dot (N, K) = ∂y/∂x U + ∂y/∂θ v; U of no rows, or v_in of no entries, stands for zeros."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    base = aligned(buffer)
    z, slope, keep = place(table, row, base, STATE_Z), place(table, row, base, STATE_SLOPES), place(table, row, base, STATE_KEPT)
    a_dot, z_dot = place(table, row, base, STATE_A_DOT), place(table, row, base, STATE_Z_DOT)
    scratch, head = place(table, row, base, STATE_SCRATCH), place(table, row, base, STATE_HEADS)
    y_dot = carray(reals(tag, head), (table[PLAN_N_OUTPUTS], lanes))
    for number in range(first, stop):
        n0 = number * lanes
        begin_tile(tag, table, w_in, bias, X, base, n0)
        if U.shape[0]:
            load_tile(carray(reals(tag, z_dot), (table[PLAN_N_INPUTS], lanes)), U, n0)
        else:
            fill_rows(tag, z_dot, table[PLAN_N_INPUTS])
        tangent_state(
            tag,
            table,
            w_in.ctypes.data,
            v_in.ctypes.data,
            v_bias.ctypes.data,
            z,
            slope,
            a_dot,
            z_dot,
            len(v_bias) > 0,
        )
        push_outputs(tag, table, z, keep, a_dot, head, scratch)
        for lane in range(min(lanes, X.shape[0] - n0)):
            for k in range(table[PLAN_N_OUTPUTS]):
                Y_dot[n0 + lane, k] = y_dot[k, lane]


@kernel
def _reverse_products(tag: Any, table: Any, w: int, v: int, base: int, sums: int, exact: bool) -> None:
    """Rδ_i = h'_i Σ_k (w_ki Rδ_k + v_ki δ_k) + what it holds, and sums of Rδ_k z_i + δ_k ż_i; not `exact`: without δ's terms."""
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    dst, units = table[PLAN_OUT_DST], table[PLAN_N_ROWS] - table[PLAN_N_INPUTS]
    z, z_dot, slope = place(table, row, base, STATE_Z), place(table, row, base, STATE_Z_DOT), place(table, row, base, STATE_SLOPES)
    delta, r_delta = place(table, row, base, STATE_DELTA), place(table, row, base, STATE_R_DELTA)
    scratch, aside = place(table, row, base, STATE_SCRATCH), place(table, row, base, STATE_ASIDE)
    for r in range(table[PLAN_N_RUNS] - 1, -2, -1):
        start, end, order = 0, table[PLAN_N_INPUTS], units
        if r >= 0:
            start, end, order = runs[r, RUN_START], runs[r, RUN_STOP], runs[r, RUN_ORDER]
        for j in range(start, end):
            e, at = order + j - start, j * row
            if exact:
                first, second, apart = z + at, z_dot + at, delta - r_delta
                gather_both_sums(tag, r_delta, apart, dst, w, v, ptr[e], ptr[e + 1], first, second, scratch, sums, aside)
            else:
                gather_sums(tag, r_delta, dst, w, ptr[e], ptr[e + 1], z + at, scratch, sums, aside)
            if r >= 0:
                multiply_add_rows(tag, r_delta + at, slope + at, scratch, r_delta + at, 1)
        if r >= 0:
            row_sums(tag, r_delta + start * row, end - start, sums + (table[PLAN_SUMS] + start) * item_size(tag))
    finish_sums(tag, table[PLAN_N_EDGES], sums, aside)


@compiled
def products(
    tag: Any,
    table: Any,
    w_in: Any,
    w_out: Any,
    bias: Any,
    v_in: Any,
    v_out: Any,
    v_bias: Any,
    X: Any,
    T: Any,
    sample_weight: Any,
    sums: Any,
    buffer: Any,
    exact: bool,
    first: int,
    stop: int,
) -> None:
    """sums[b] += the Hessian (or the outer-product one) times v[b], by edge and row, for the tiles first..stop."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    base = aligned(buffer)
    n_rows = table[PLAN_N_ROWS]
    z, slope, keep = place(table, row, base, STATE_Z), place(table, row, base, STATE_SLOPES), place(table, row, base, STATE_KEPT)
    a_dot, z_dot = place(table, row, base, STATE_A_DOT), place(table, row, base, STATE_Z_DOT)
    scratch, head, bend = (
        place(table, row, base, STATE_SCRATCH),
        place(table, row, base, STATE_HEADS),
        place(table, row, base, STATE_BEND),
    )
    r_delta, other = place(table, row, base, STATE_R_DELTA), place(table, row, base, STATE_OTHER)
    targets = place(table, row, base, STATE_TARGETS)
    weights = carray(reals(tag, scratch + 4 * row), lanes)
    for number in range(first, stop):
        n0 = number * lanes
        begin_tile(tag, table, w_in, bias, X, base, n0)
        tile_deltas(tag, table, T, sample_weight, base, n0, X.shape[0], False)
        if exact:
            reverse_tile(tag, table, w_out, base, table[PLAN_N_RUNS])
            slopes(tag, table, place(table, row, base, STATE_A), bend, 2)
            multiply_rows(tag, bend, bend, place(table, row, base, STATE_BETA), n_rows)
        tile_weights(weights, sample_weight, n0, X.shape[0])
        for b in range(sums.shape[0]):
            fill_rows(tag, z_dot, table[PLAN_N_INPUTS])
            fill_rows(tag, z_dot + n_rows * row, 1)
            tangent_state(
                tag,
                table,
                w_in.ctypes.data,
                v_in[b].ctypes.data,
                v_bias[b].ctypes.data,
                z,
                slope,
                a_dot,
                z_dot,
                True,
            )
            head_curvature(tag, table, z, keep, targets, weights, a_dot, head, other, scratch, exact)
            inject(tag, table, r_delta, head)
            if exact:
                fill_rows(tag, a_dot, table[PLAN_N_INPUTS])
                fill_rows(tag, bend, table[PLAN_N_INPUTS])
                multiply_add_rows(tag, r_delta, bend, a_dot, r_delta, n_rows)
            _reverse_products(tag, table, w_out.ctypes.data, v_out[b].ctypes.data, base, sums[b].ctypes.data, exact)
