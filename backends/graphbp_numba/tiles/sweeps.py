"""A tile of samples through all levels, forward and in reverse (`graphbp_numba.first_order.runs` has the two interpreters of a plan).

    for each tile:   load X → rows;  forward over the runs;  heads: E, δ at the outputs;  reverse over the runs;  store

A tile is `lanes` samples wide and holds one row per unit.  No level needs a barrier inside a tile, and memory is
(units × lanes) a thread, whatever N is.  In the reverse sweep δ overwrites z, row by row, as soon as no later row needs that z:
by then the row's own outgoing edges have been gathered, for Σ_k w_ki δ_k and for the gradients δ_k z_i at once.

The last tile is filled up with copies of the last sample, whose weight is 0.

Layout of a tile's buffer, in rows: z and δ | (helper rows of combinations,) a or h' of the rows that keep it | β of one run | heads' δ | targets | scratch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp_numba.first_order.runs import SPARE_ROWS, forward_runs, reverse_runs
from graphbp_numba.first_order.samples import Samples, aligned, load_targets, load_tile
from graphbp_numba.first_order.weights import EdgeWeights, add_positions, gather_weights
from graphbp_numba.heads.sweeps import head_deltas, head_values, softmax_rows
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.plan import MAX_RUN_ROWS
from graphbp_numba.plan.tables import (
    MODE_VALUE,
    MODE_VJP,
    PLAN_BIAS_PARAM,
    PLAN_BUFFER_ROWS,
    PLAN_GRAD_POS,
    PLAN_GRAD_PTR,
    PLAN_IN_PARAM,
    PLAN_N_BUNDLES,
    PLAN_N_EDGES,
    PLAN_N_KEEP,
    PLAN_N_LEAVES,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_N_SWEPT,
    PLAN_N_SWEPT_EDGES,
    PLAN_OUT_PARAM,
    PLAN_OUT_ROW,
    PLAN_SUMS_SIZE,
    PLAN_TARGET_ROWS,
)

__all__ = ["forward", "forward_few", "sweep", "sweep_few"]


@kernel
def forward_tiles(tag: Any, table: Any, w: int, bias: int, X: Any, Y: Any, z: int, first: int, stop: int, bundles: bool) -> None:
    """Y of the tiles first..stop, in a buffer at z."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    keep = z + table[PLAN_N_ROWS] * len(tag) * VECTOR_BYTES
    tile = carray(reals(tag, z), (table[PLAN_N_ROWS], lanes))
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    for number in range(first, stop):
        n0 = number * lanes
        load_tile(tile, X, n0)
        forward_runs(tag, table, w, bias, z, keep, 0, table[PLAN_N_SWEPT], bundles, False)
        softmax_rows(table, z, keep, lanes)
        for n in range(n0, min(n0 + lanes, X.shape[0])):
            for k in range(table[PLAN_N_OUTPUTS]):
                Y[n, k] = tile[out_row[k], n - n0]


@kernel
def sweep_tiles(
    tag: Any, table: Any, weights: Any, samples: Any, by_x: Any, sums: int, z: int, mode: int, first: int, stop: int
) -> float:
    """E of the tiles first..stop; sums += their gradient by edge and row; mode VJP: T holds V, and by_x is filled."""
    X, w_in, w_out, bias = samples.X, weights.w_in.ctypes.data, weights.w_out.ctypes.data, weights.bias.ctypes.data
    bundles = len(weights.w_in) > table[PLAN_N_EDGES] + table[PLAN_N_LEAVES]
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    n_rows, n_outputs = table[PLAN_N_ROWS], table[PLAN_N_OUTPUTS]
    keep = z + n_rows * row
    beta = keep + table[PLAN_N_KEEP] * row
    heads = beta + MAX_RUN_ROWS * row
    targets = heads + n_outputs * row
    spare = targets + table[PLAN_TARGET_ROWS] * row
    aside = spare + SPARE_ROWS * row
    tile = carray(reals(tag, z), (n_rows, lanes))
    energy = 0.0
    for number in range(first, stop):
        n0 = number * lanes
        load_tile(tile, X, n0)
        load_targets(tag, table, targets, spare + row, samples.T, samples.weight, n0, X.shape[0])
        forward_runs(tag, table, w_in, bias, z, keep, 0, table[PLAN_N_SWEPT], bundles, mode != MODE_VALUE)
        softmax_rows(table, z, keep, lanes)
        if mode != MODE_VJP:
            energy += head_values(table, z, keep, targets, spare, lanes)
        if mode == MODE_VALUE:
            continue
        head_deltas(table, z, keep, targets, heads, spare, lanes, mode == MODE_VJP)
        reverse_runs(tag, table, w_out, z, keep, beta, heads, sums, aside)
        if mode == MODE_VJP:
            for n in range(n0, min(n0 + lanes, X.shape[0])):
                for i in range(X.shape[1]):
                    by_x[n, i] = tile[i, n - n0]
    return energy


@compiled
def forward(tag: Any, table: Any, w: Any, bias: Any, X: Any, Y: Any, buffer: Any, first: int, stop: int) -> None:
    """Y of the tiles first..stop."""
    forward_tiles(tag, table, w.ctypes.data, bias.ctypes.data, X, Y, aligned(buffer), first, stop, table[PLAN_N_BUNDLES] > 0)


@compiled
def sweep(
    tag: Any, table: Any, weights: Any, samples: Any, by_x: Any, sums: Any, buffer: Any, mode: int, first: int, stop: int
) -> float:
    """`sweep_tiles` on arrays."""
    return sweep_tiles(tag, table, weights, samples, by_x, sums.ctypes.data, aligned(buffer), mode, first, stop)


@compiled
def forward_few(table: Any, theta: Any, frozen: Any, X: Any, Y: Any) -> None:
    """Y of one narrow tile, in a single call: weights, buffer and all."""
    tag = (frozen[0],)
    n_edges, n_rows = table[PLAN_N_EDGES] + table[PLAN_N_LEAVES], table[PLAN_N_ROWS]
    rows = table[PLAN_BUFFER_ROWS] * (VECTOR_BYTES // item_size(tag))
    memory = np.empty(n_edges + n_rows + rows + VECTOR_BYTES, frozen.dtype)
    w, bias, buffer = memory[:n_edges], memory[n_edges : n_edges + n_rows], memory[n_edges + n_rows :]
    gather_weights(tag, table, theta, table[PLAN_IN_PARAM], n_edges, w)
    gather_weights(tag, table, theta, table[PLAN_BIAS_PARAM], n_rows, bias)
    forward_tiles(tag, table, w.ctypes.data, bias.ctypes.data, X, Y, aligned(buffer), 0, 1, False)


@compiled
def sweep_few(
    table: Any, theta: Any, frozen: Any, X: Any, T: Any, sample_weight: Any, by_x: Any, gradient: Any, mode: int
) -> float:
    """E, and the gradient, of one narrow tile, in a single call."""
    tag = (frozen[0],)
    n_edges, n_rows, n_sums = table[PLAN_N_EDGES] + table[PLAN_N_LEAVES], table[PLAN_N_ROWS], table[PLAN_SUMS_SIZE]
    rows = (table[PLAN_BUFFER_ROWS] + VECTOR_BYTES // item_size(tag)) * (VECTOR_BYTES // item_size(tag))
    n_out = table[PLAN_N_SWEPT_EDGES] + table[PLAN_N_LEAVES]
    memory = np.empty(n_edges + n_out + n_rows + n_sums + rows + VECTOR_BYTES, frozen.dtype)
    w, v = memory[:n_edges], memory[n_edges : n_edges + n_out]
    rest = memory[n_edges + n_out :]
    bias, sums, buffer = rest[:n_rows], rest[n_rows : n_rows + n_sums], rest[n_rows + n_sums :]
    gather_weights(tag, table, theta, table[PLAN_IN_PARAM], n_edges, w)
    gather_weights(tag, table, theta, table[PLAN_BIAS_PARAM], n_rows, bias)
    if mode != MODE_VALUE:
        gather_weights(tag, table, theta, table[PLAN_OUT_PARAM], n_out, v)
        sums[:] = 0
    weights, samples = EdgeWeights(w, v, bias), Samples(X, T, sample_weight)
    energy = sweep_tiles(tag, table, weights, samples, by_x, sums.ctypes.data, aligned(buffer), mode, 0, 1)
    if mode != MODE_VALUE:
        ptr = carray(pointer(table[PLAN_GRAD_PTR]), len(gradient) + 1, np.int64)
        pos = carray(pointer(table[PLAN_GRAD_POS]), ptr[len(gradient)], np.int64)
        add_positions(sums, ptr, pos, gradient, 0, len(gradient))
    return energy
