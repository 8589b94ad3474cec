"""Compiled entries for everything but the gradient: Jacobians, single samples' gradients, tangents, traces, products with Hessians.

What they are given together comes as plain tuples, which a call tells apart at once, and is named here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphbp_numba.first_order.samples import Samples, aligned, load_tile, tile_weights
from graphbp_numba.first_order.weights import EdgeWeights
from graphbp_numba.heads.sweeps import head_deltas
from graphbp_numba.heads.tangents import WEIGHT_ROW, head_curvature, push_outputs
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.instructions.gathers import EdgeSums, finish_sums, gather_sums, row_sums
from graphbp_numba.instructions.rows import copy_rows, fill_rows, multiply_add_rows, multiply_rows
from graphbp_numba.instructions.tangent_gathers import Both, gather_both_sums
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.tables import (
    PLAN_N_INPUTS,
    PLAN_N_OUT_EDGES,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_OUT_DST,
    PLAN_OUT_PTR,
    PLAN_RUNS,
    PLAN_SUMS,
    RUN_FIELDS,
    RUN_ORDER,
    RUN_PAIR_FIRST,
    RUN_PAIR_STOP,
    RUN_START,
    RUN_STOP,
)
from graphbp_numba.states.pairs import bend_pairs, spread_pairs
from graphbp_numba.states.sections import inject, places, put_row, slopes, tangent_state
from graphbp_numba.states.tiles import begin_tile, reverse_tile, tile_deltas

__all__ = ["Slots", "State", "jacobian", "products", "reverse_products", "sample_gradients", "state", "tangent", "unit_deltas"]

Array = npt.NDArray[Any]


class State(NamedTuple):
    """a, z, h', δ and h''β, (n_rows + 1, samples) each, in lines of whole vectors; arrays of no lines stand for what is not wanted."""

    a: Array
    z: Array
    slope: Array
    delta: Array
    bend: Array


class Slots(NamedTuple):
    """The slots ptr[p]..ptr[p + 1] of each parameter, and the rows that a slot leads to and comes from."""

    ptr: Array
    dst: Array
    src: Array


@kernel
def unit_deltas(tag: Any, table: Any, at: Any, k: int) -> None:
    """The heads' δ started from V = e_k."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    t, weights = carray(reals(tag, at.target), (table[PLAN_N_OUTPUTS], lanes)), carray(reals(tag, at.scratch + row), lanes)
    fill_rows(tag, at.target, table[PLAN_N_OUTPUTS])
    for lane in range(lanes):
        t[k, lane] = 1
        weights[lane] = 1
    head_deltas(table, at.z, at.keep, at.target, at.head, at.scratch, lanes, True)


@kernel
def _bends(tag: Any, table: Any, at: Any) -> None:
    """h''β of every hidden and output row."""
    slopes(tag, table, at.a, at.bend, 2)
    multiply_rows(tag, at.bend, at.bend, at.beta, table[PLAN_N_ROWS])


@compiled
def state(tag: Any, table: Any, weights: Any, samples: Any, out: Any, buffer: Any, first: int, stop: int) -> None:
    """The wanted arrays of `State`, of every row."""
    weights, samples, out = EdgeWeights(*weights), Samples(*samples), State(*out)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    at = places(tag, table, aligned(buffer))
    for number in range(first, stop):
        n0 = number * lanes
        begin_tile(tag, table, weights, samples.X, at, n0)
        if out.delta.shape[0]:
            tile_deltas(tag, table, samples, at, n0)
            reverse_tile(tag, table, weights, at, table[PLAN_N_RUNS])
        if out.bend.shape[0]:
            _bends(tag, table, at)
            fill_rows(tag, at.bend, table[PLAN_N_INPUTS])
        for rows, lines in ((at.a, out.a), (at.z, out.z), (at.slope, out.slope), (at.delta, out.delta), (at.bend, out.bend)):
            for j in range(table[PLAN_N_ROWS] if lines.shape[0] else 0):
                put_row(tag, rows + j * row, lines, j, n0, samples.X.shape[0])


@kernel
def _expand(tag: Any, table: Any, at: Any, slots: Any, out: Any, n0: int, k: int, spread: Any) -> None:
    """out[n, k, p] = Σ over the slots of p of δ_dst z_src, sample by sample from lane-major copies of δ and z."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    rows, ptr, dst, src = table[PLAN_N_ROWS] + 1, slots.ptr, slots.dst, slots.src
    z, delta = carray(reals(tag, at.z), (rows, lanes)), carray(reals(tag, at.delta), (rows, lanes))
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
    tag: Any, table: Any, weights: Any, samples: Any, slots: Any, out: Any, buffer: Any, each_output: bool, first: int, stop: int
) -> None:
    """out (N, 1, W): each sample's gradient; or with `each_output` (N, K, W): ∂y_k/∂θ."""
    weights, samples, slots = EdgeWeights(*weights), Samples(*samples), Slots(*slots)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    at = places(tag, table, aligned(buffer))
    spread = np.empty((2, table[PLAN_N_ROWS] + 1), out.dtype)
    for number in range(first, stop):
        n0 = number * lanes
        begin_tile(tag, table, weights, samples.X, at, n0)
        if not each_output:
            tile_deltas(tag, table, samples, at, n0)
            reverse_tile(tag, table, weights, at, table[PLAN_N_RUNS])
            _expand(tag, table, at, slots, out, n0, 0, spread)
        else:
            for k in range(table[PLAN_N_OUTPUTS]):
                unit_deltas(tag, table, at, k)
                reverse_tile(tag, table, weights, at, table[PLAN_N_RUNS])
                _expand(tag, table, at, slots, out, n0, k, spread)


@compiled
def jacobian(tag: Any, table: Any, weights: Any, X: Any, J: Any, last_run: Any, buffer: Any, first: int, stop: int) -> None:
    """J (N, K, D): one reverse sweep an output, from its run down, or one forward sweep an input, whichever are fewer."""
    weights = EdgeWeights(*weights)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    at = places(tag, table, aligned(buffer))
    inputs, outputs = table[PLAN_N_INPUTS], table[PLAN_N_OUTPUTS]
    delta = carray(reals(tag, at.delta), (table[PLAN_N_ROWS], lanes))
    x_dot, y_dot = carray(reals(tag, at.z_dot), (inputs, lanes)), carray(reals(tag, at.head), (outputs, lanes))
    for number in range(first, stop):
        n0 = number * lanes
        count = min(lanes, X.shape[0] - n0)
        begin_tile(tag, table, weights, X, at, n0)
        if outputs <= inputs:
            for k in range(outputs):
                unit_deltas(tag, table, at, k)
                reverse_tile(tag, table, weights, at, last_run[k])
                for lane in range(count):
                    for i in range(inputs):
                        J[n0 + lane, k, i] = delta[i, lane]
            continue
        fill_rows(tag, at.z_dot, inputs)
        for i in range(inputs):
            for lane in range(lanes):
                x_dot[i, lane] = 1
            tangent_state(tag, table, at, weights.w_in.ctypes.data, 0, 0, False)
            push_outputs(tag, table, at.z, at.keep, at.a_dot, at.head, at.scratch)
            for lane in range(count):
                for k in range(outputs):
                    J[n0 + lane, k, i] = y_dot[k, lane]
            fill_rows(tag, at.z_dot + i * row, 1)


@compiled
def tangent(tag: Any, table: Any, weights: Any, along: Any, X: Any, U: Any, Y_dot: Any, buffer: Any, first: int, stop: int) -> None:
    """Y_dot (N, K) = ∂y/∂x U + ∂y/∂θ v; U of no rows, or v (`along`) of no biases, stands for zeros."""
    weights, along = EdgeWeights(*weights), EdgeWeights(*along)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    at = places(tag, table, aligned(buffer))
    w, v, v_bias = weights.w_in.ctypes.data, along.w_in.ctypes.data, along.bias.ctypes.data
    y_dot = carray(reals(tag, at.head), (table[PLAN_N_OUTPUTS], lanes))
    for number in range(first, stop):
        n0 = number * lanes
        begin_tile(tag, table, weights, X, at, n0)
        if U.shape[0]:
            load_tile(carray(reals(tag, at.z_dot), (table[PLAN_N_INPUTS], lanes)), U, n0)
        else:
            fill_rows(tag, at.z_dot, table[PLAN_N_INPUTS])
        tangent_state(tag, table, at, w, v, v_bias, len(along.bias) > 0)
        push_outputs(tag, table, at.z, at.keep, at.a_dot, at.head, at.scratch)
        for lane in range(min(lanes, X.shape[0] - n0)):
            for k in range(table[PLAN_N_OUTPUTS]):
                Y_dot[n0 + lane, k] = y_dot[k, lane]


@kernel
def reverse_products(tag: Any, table: Any, at: Any, w: int, v: int, sums: int, exact: bool) -> None:
    """Rδ_i = h'_i Σ_k (w_ki Rδ_k + v_ki δ_k) + what it holds, and sums of Rδ_k z_i + δ_k ż_i; not `exact`: without δ's terms.

    Of the inputs Rδ = Rβ.
    """
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    dst, units = table[PLAN_OUT_DST], table[PLAN_N_ROWS] - table[PLAN_N_INPUTS]
    z, z_dot, r_delta, scratch = at.z, at.z_dot, at.r_delta, at.scratch
    both, edges = Both(r_delta, at.delta - r_delta, w, v), EdgeSums(sums, at.aside)
    for r in range(table[PLAN_N_RUNS] - 1, -2, -1):
        start, end, order = 0, table[PLAN_N_INPUTS], units
        if r >= 0:
            start, end, order = runs[r, RUN_START], runs[r, RUN_STOP], runs[r, RUN_ORDER]
        for j in range(start, end):
            e, here = order + j - start, j * row
            if exact:
                gather_both_sums(tag, both, dst, ptr[e], ptr[e + 1], z + here, z_dot + here, scratch, edges)
            else:
                gather_sums(tag, r_delta, dst, w, ptr[e], ptr[e + 1], z + here, scratch, edges)
            if r >= 0:
                multiply_add_rows(tag, r_delta + here, at.slope + here, scratch, r_delta + here, 1)
            else:
                copy_rows(tag, r_delta + here, scratch, 1)
        if r >= 0:
            spread_pairs(tag, table, z, r_delta, runs[r, RUN_PAIR_FIRST], runs[r, RUN_PAIR_STOP])
            if exact:
                bend_pairs(tag, table, z_dot, at.delta, r_delta, runs[r, RUN_PAIR_FIRST], runs[r, RUN_PAIR_STOP])
            row_sums(tag, r_delta + start * row, end - start, sums + (table[PLAN_SUMS] + start) * item_size(tag))
    finish_sums(tag, table[PLAN_N_OUT_EDGES], edges)


@compiled
def products(
    tag: Any, table: Any, weights: Any, along: Any, samples: Any, sums: Any, buffer: Any, exact: bool, first: int, stop: int
) -> None:
    """sums[b] += the Hessian (or the outer-product one) times v[b], by edge and row, for the tiles first..stop."""
    weights, along, samples = EdgeWeights(*weights), EdgeWeights(*along), Samples(*samples)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    n_rows, n_inputs = table[PLAN_N_ROWS], table[PLAN_N_INPUTS]
    at = places(tag, table, aligned(buffer))
    w_in, w_out = weights.w_in.ctypes.data, weights.w_out.ctypes.data
    lane_weights = carray(reals(tag, at.scratch + WEIGHT_ROW * row), lanes)
    for number in range(first, stop):
        n0 = number * lanes
        begin_tile(tag, table, weights, samples.X, at, n0)
        tile_deltas(tag, table, samples, at, n0)
        if exact:
            reverse_tile(tag, table, weights, at, table[PLAN_N_RUNS])
            _bends(tag, table, at)
        tile_weights(lane_weights, samples.weight, n0, samples.X.shape[0])
        for b in range(sums.shape[0]):
            fill_rows(tag, at.z_dot, n_inputs)
            fill_rows(tag, at.z_dot + n_rows * row, 1)
            tangent_state(tag, table, at, w_in, along.w_in[b].ctypes.data, along.bias[b].ctypes.data, True)
            head_curvature(tag, table, at.z, at.keep, at.target, at.a_dot, at.head, at.other, at.scratch, exact)
            inject(tag, table, at.r_delta, at.head)
            if exact:
                fill_rows(tag, at.a_dot, n_inputs)
                fill_rows(tag, at.bend, n_inputs)
                multiply_add_rows(tag, at.r_delta, at.bend, at.a_dot, at.r_delta, n_rows)
            reverse_products(tag, table, at, w_out, along.w_out[b].ctypes.data, sums[b].ctypes.data, exact)
