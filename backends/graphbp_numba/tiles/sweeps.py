"""The sweeps: one forward and one reverse interpreter of a plan, for a tile of samples at a time.

    for each tile:   load X → rows;  forward over the runs;  heads: E, δ at the outputs;  reverse over the runs;  store

A tile is `lanes` samples wide and holds one row per unit.  No level needs a barrier inside a tile, and memory is
(units × lanes) a thread, whatever N is.  In the reverse sweep δ overwrites z, row by row, as soon as no later row needs that z:
by then the row's own outgoing edges have been gathered, for Σ_k w_ki δ_k and for the gradients δ_k z_i at once.

The last tile is filled up with copies of the last sample, whose weight is 0.

Layout of a tile's buffer, in rows: z and δ | a or h' of the rows that keep it | β of one run | heads' δ | targets | scratch.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.instructions.rows import (
    BUNDLE,
    add_rows,
    call,
    call_binary,
    call_unary,
    copy_rows,
    fill_rows,
    finish_sums,
    gather,
    gather_bundle,
    gather_sums,
    item_size,
    multiply_rows,
    pointer,
    reals,
    row_sums,
)
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, compiled_c, integers, kernel
from graphbp_numba.plan.plan import MAX_RUN_ROWS
from graphbp_numba.plan.tables import (
    KIND_ELEMENTWISE,
    MODE_VALUE,
    MODE_VJP,
    PLAN_BIAS_PARAM,
    PLAN_BUFFER_ROWS,
    PLAN_BUNDLE_PTR,
    PLAN_BUNDLE_ROWS,
    PLAN_BUNDLE_SRC,
    PLAN_FORWARD_RUNS,
    PLAN_FROZEN,
    PLAN_GRAD_POS,
    PLAN_GRAD_PTR,
    PLAN_IN_PARAM,
    PLAN_IN_PTR,
    PLAN_IN_SRC,
    PLAN_N_BUNDLES,
    PLAN_N_EDGES,
    PLAN_N_INPUTS,
    PLAN_N_KEEP,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_OUT_DST,
    PLAN_OUT_PARAM,
    PLAN_OUT_POS,
    PLAN_OUT_PTR,
    PLAN_OUT_ROW,
    PLAN_REVERSE_RUNS,
    PLAN_RUNS,
    PLAN_SIZE,
    PLAN_SUMS,
    PLAN_SUMS_SIZE,
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
    RUN_SLOPE,
    RUN_START,
    RUN_STOP,
)
from graphbp_numba.tiles.heads import head_deltas, head_values, softmax_rows

__all__ = [
    "buffer_rows",
    "collect",
    "fill_weights",
    "forward",
    "forward_few",
    "gather_gradient",
    "prepare_runs",
    "sweep",
    "sweep_few",
]

SPARE_ROWS = 4


def buffer_rows(n_rows: int, n_keep: int, n_outputs: int) -> int:
    """Rows of a tile's buffer, without the vectors set aside for sums."""
    return n_rows + n_keep + MAX_RUN_ROWS + 2 * n_outputs + SPARE_ROWS


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
        w_shared = w + table[PLAN_N_EDGES] * item_size(tag)
        for r in range(first, stop):
            start, end = runs[r, RUN_START], runs[r, RUN_STOP]
            if bundles:
                for b in range(runs[r, RUN_BUNDLE_FIRST], runs[r, RUN_BUNDLE_STOP]):
                    rows = table[PLAN_BUNDLE_ROWS] + b * (4 * BUNDLE)
                    gather_bundle(tag, z, table[PLAN_BUNDLE_SRC], w_shared, shared[b], shared[b + 1], bias, rows)
            if not (bundles and runs[r, RUN_BUNDLED]):
                for j in range(start, end):
                    gather(tag, z, src, w, ptr[j], ptr[j + 1], biases[j], z + j * row)
            if runs[r, RUN_KEEP] >= 0 and (reverse or runs[r, RUN_HAS_OUTPUT]):
                copy_rows(tag, keep + runs[r, RUN_KEEP] * row, z + start * row, end - start)
            here = z + start * row
            if reverse and runs[r, RUN_KEEP_SLOPE] >= 0:
                call_binary(runs[r, RUN_F_KEEP], here, here, keep + runs[r, RUN_KEEP_SLOPE] * row, (end - start) * lanes)
            elif runs[r, RUN_F] != 0:
                call_unary(runs[r, RUN_F], here, here, (end - start) * lanes)

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
        dst = table[PLAN_OUT_DST]
        for r in range(table[PLAN_N_RUNS] - 1, -1, -1):
            start, end = runs[r, RUN_START], runs[r, RUN_STOP]
            here, count = z + start * row, end - start
            if runs[r, RUN_LEAF]:
                fill_rows(tag, here, count)
            else:
                order = runs[r, RUN_ORDER]
                linear = runs[r, RUN_KIND] != KIND_ELEMENTWISE
                for j in range(count):
                    out = here if linear else beta
                    gather_sums(tag, z, dst, w, ptr[order + j], ptr[order + j + 1], here + j * row, out + j * row, sums, aside)
                if not linear:
                    times_slopes(tag, runs[r], here, keep, beta, here)
            if runs[r, RUN_HAS_OUTPUT]:
                for j in range(start, end):
                    add_rows(tag, z + j * row, z + j * row, heads + out_pos[j] * row, 1)
            row_sums(tag, here, count, sums + (table[PLAN_SUMS] + start) * item_size(tag))
        units = table[PLAN_N_ROWS] - table[PLAN_N_INPUTS]
        for i in range(table[PLAN_N_INPUTS]):
            here = z + i * row
            gather_sums(tag, z, table[PLAN_OUT_DST], w, ptr[units + i], ptr[units + i + 1], here, here, sums, aside)
        finish_sums(tag, table[PLAN_N_EDGES], sums, aside)

    return compiled_c(integers(8))(reverse_runs)


@kernel
def load_tile(rows: Any, values: Any, n0: int) -> None:
    """rows[i, l] = values[n0 + l, i]; past the end, the last sample again.  Sixteen columns at a time: a line of the cache is read once."""
    last = values.shape[0] - 1
    for start in range(0, values.shape[1], 16):
        stop = min(start + 16, values.shape[1])
        for lane in range(rows.shape[1]):
            n = min(n0 + lane, last)
            for i in range(start, stop):
                rows[i, lane] = values[n, i]


@kernel
def tile_weights(weights: Any, sample_weight: Any, n0: int, n_samples: int) -> None:
    """The weight of each lane's sample; 0 past the end."""
    for lane in range(len(weights)):
        n = n0 + lane
        weights[lane] = 0 if n >= n_samples else (sample_weight[n] if len(sample_weight) else 1)


@kernel
def aligned(buffer: Any) -> Any:
    """The first address in a byte buffer that a vector may stand at."""
    return (buffer.ctypes.data + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES


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
        forward_runs(tag, table, w, bias, z, keep, 0, table[PLAN_N_RUNS], bundles, False)
        softmax_rows(table, z, keep, lanes)
        for n in range(n0, min(n0 + lanes, X.shape[0])):
            for k in range(table[PLAN_N_OUTPUTS]):
                Y[n, k] = tile[out_row[k], n - n0]


@kernel
def sweep_tiles(
    tag: Any,
    table: Any,
    w_in: int,
    w_out: int,
    bias: int,
    X: Any,
    T: Any,
    sample_weight: Any,
    by_x: Any,
    sums: int,
    z: int,
    mode: int,
    first: int,
    stop: int,
    bundles: bool,
) -> float:
    """E of the tiles first..stop; sums += their gradient by edge and row; mode VJP: T holds V, and by_x is filled."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    n_rows, n_outputs = table[PLAN_N_ROWS], table[PLAN_N_OUTPUTS]
    keep = z + n_rows * row
    beta = keep + table[PLAN_N_KEEP] * row
    heads = beta + MAX_RUN_ROWS * row
    targets = heads + n_outputs * row
    spare = targets + n_outputs * row
    aside = spare + SPARE_ROWS * row
    tile = carray(reals(tag, z), (n_rows, lanes))
    t = carray(reals(tag, targets), (n_outputs, lanes))
    weights = carray(reals(tag, spare + row), lanes)
    energy = 0.0
    for number in range(first, stop):
        n0 = number * lanes
        load_tile(tile, X, n0)
        load_tile(t, T, n0)
        tile_weights(weights, sample_weight, n0, X.shape[0])
        forward_runs(tag, table, w_in, bias, z, keep, 0, table[PLAN_N_RUNS], bundles, mode != MODE_VALUE)
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


@kernel
def gather_weights(tag: Any, table: Any, theta: Any, param: int, count: int, out: Any) -> None:
    """out[:count] = θ[param], or the frozen value where param < 0."""
    params = carray(pointer(param), count, np.int32)
    frozen = carray(reals(tag, table[PLAN_FROZEN]), 1)
    for e in range(count):
        p = params[e]
        out[e] = theta[p] if p >= 0 else frozen[-1 - p]


@compiled
def forward(tag: Any, table: Any, w: Any, bias: Any, X: Any, Y: Any, buffer: Any, first: int, stop: int) -> None:
    """Y of the tiles first..stop."""
    forward_tiles(tag, table, w.ctypes.data, bias.ctypes.data, X, Y, aligned(buffer), first, stop, table[PLAN_N_BUNDLES] > 0)


@compiled
def sweep(
    tag: Any,
    table: Any,
    w_in: Any,
    w_out: Any,
    bias: Any,
    X: Any,
    T: Any,
    sample_weight: Any,
    by_x: Any,
    sums: Any,
    buffer: Any,
    mode: int,
    first: int,
    stop: int,
) -> float:
    """`sweep_tiles` on arrays."""
    w, v, b = w_in.ctypes.data, w_out.ctypes.data, bias.ctypes.data
    z = aligned(buffer)
    shared = table[PLAN_N_BUNDLES] > 0
    return sweep_tiles(tag, table, w, v, b, X, T, sample_weight, by_x, sums.ctypes.data, z, mode, first, stop, shared)


@compiled
def forward_few(table: Any, theta: Any, frozen: Any, X: Any, Y: Any) -> None:
    """Y of one narrow tile, in a single call: weights, buffer and all."""
    tag = (frozen[0],)
    n_edges, n_rows = table[PLAN_N_EDGES], table[PLAN_N_ROWS]
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
    n_edges, n_rows, n_sums = table[PLAN_N_EDGES], table[PLAN_N_ROWS], table[PLAN_SUMS_SIZE]
    rows = (table[PLAN_BUFFER_ROWS] + VECTOR_BYTES // item_size(tag)) * (VECTOR_BYTES // item_size(tag))
    memory = np.empty(2 * n_edges + n_rows + n_sums + rows + VECTOR_BYTES, frozen.dtype)
    w, v = memory[:n_edges], memory[n_edges : 2 * n_edges]
    rest = memory[2 * n_edges :]
    bias, sums, buffer = rest[:n_rows], rest[n_rows : n_rows + n_sums], rest[n_rows + n_sums :]
    gather_weights(tag, table, theta, table[PLAN_IN_PARAM], n_edges, w)
    gather_weights(tag, table, theta, table[PLAN_BIAS_PARAM], n_rows, bias)
    if mode != MODE_VALUE:
        gather_weights(tag, table, theta, table[PLAN_OUT_PARAM], n_edges, v)
        sums[:] = 0
    b, z = bias.ctypes.data, aligned(buffer)
    energy = sweep_tiles(
        tag, table, w.ctypes.data, v.ctypes.data, b, X, T, sample_weight, by_x, sums.ctypes.data, z, mode, 0, 1, False
    )
    if mode != MODE_VALUE:
        ptr = carray(pointer(table[PLAN_GRAD_PTR]), len(gradient) + 1, np.int64)
        pos = carray(pointer(table[PLAN_GRAD_POS]), ptr[len(gradient)], np.int64)
        add_positions(sums, ptr, pos, gradient, 0, len(gradient))
    return energy


@kernel
def add_positions(sums: Any, ptr: Any, pos: Any, gradient: Any, first: int, stop: int) -> None:
    """gradient_p = the sum over the positions of parameter p, in order; 0 where it has none."""
    for p in range(first, stop):
        if ptr[p] == ptr[p + 1]:
            gradient[p] = 0
            continue
        total = sums[pos[ptr[p]]]
        for q in range(ptr[p] + 1, ptr[p + 1]):
            total += sums[pos[q]]
        gradient[p] = total


@compiled
def fill_weights(theta: Any, frozen: Any, param: Any, out: Any, first: int, stop: int) -> None:
    """out = θ[param], or the frozen value where param < 0, from first to stop."""
    for e in range(first, stop):
        p = param[e]
        out[e] = theta[p] if p >= 0 else frozen[-1 - p]


@compiled
def collect(sums: Any, first: int, stop: int) -> None:
    """sums[0] = the sum over the partitions, pairwise, at the positions first..stop."""
    width = sums.shape[0]
    while width > 1:
        half = (width + 1) // 2
        for k in range(width // 2):
            into, other = sums[k], sums[half + k]
            for i in range(first, stop):
                into[i] += other[i]
        width = half


@compiled
def gather_gradient(sums: Any, ptr: Any, pos: Any, gradient: Any, first: int, stop: int) -> None:
    """gradient_p = the sum over the positions of parameter p, in order, for p from first to stop."""
    add_positions(sums, ptr, pos, gradient, first, stop)
