"""The compiled parts of a sweep by layers: Wᵀ laid out for the products, a chunk's levels up and down, and the gradient's strips.

The pieces of a level, a block's two products, h' of a segment and the sparse edges, serve `graphbp_numba.layers.tangents` too.

A chunk is some tiles of samples.  Its rows are kept, tile by tile, as the sweeps over tiles keep theirs; the difference is that a level's
dense blocks are matrix products (`graphbp_numba.instructions.matrix_products`) and that z and δ of the whole batch stay, for the products δ zᵀ:

    Z, D (tiles, rows, lanes)      z and δ                    A (tiles, kept rows, lanes)      a where h' or an error needs it, h' where z is near a limit
    S                              for each block the z of its sources, by sample: tiles of sources
    H (tiles, K, lanes)            the heads' δ               C (tiles, rows, lanes)           h''(a) β, for products with a Hessian

What a network is stands in three tables of int64, `levels`, `blocks` and `segments`, a line each, with the columns named here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp_numba.first_order.samples import aligned, load_targets, load_tile
from graphbp_numba.heads.sweeps import head_deltas, head_values, softmax_rows
from graphbp_numba.instructions.calls import call, call_binary, call_unary, item_size, pointer
from graphbp_numba.instructions.gathers import EdgeSums, finish_sums, gather, gather_sums, row_sums
from graphbp_numba.instructions.matrix_products import Matrix, transpose
from graphbp_numba.instructions.rows import add_rows, copy_rows, fill_rows, multiply_rows
from graphbp_numba.layers.functions import multiply
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.tables import (
    BLOCK_DOWN,
    BLOCK_FIRST,
    BLOCK_FROM_INPUTS,
    BLOCK_IN_PLACE,
    BLOCK_N_SOURCES,
    BLOCK_PANEL,
    BLOCK_SOLE_FROM,
    BLOCK_SOURCE,
    BLOCK_SOURCES,
    BLOCK_START,
    BLOCK_STOP,
    BLOCK_STRIDE,
    LEVEL_FIRST_BLOCK,
    LEVEL_FIRST_OUTPUT,
    LEVEL_FIRST_SEGMENT,
    LEVEL_LAST_BLOCK,
    LEVEL_LAST_OUTPUT,
    LEVEL_LAST_SEGMENT,
    LEVEL_PLAIN,
    LEVEL_SPARSE_OUT,
    LEVEL_START,
    LEVEL_STOP,
    MODE_FORWARD,
    MODE_GRADIENT,
    MODE_VALUE,
    MODE_VJP,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_OUT_ROW,
    PLAN_TARGET_ROWS,
    SEGMENT_BEND,
    SEGMENT_F,
    SEGMENT_F_KEEP,
    SEGMENT_FROM_Z,
    SEGMENT_KEEP,
    SEGMENT_KEEP_SLOPE,
    SEGMENT_SLOPE,
    SEGMENT_START,
    SEGMENT_STOP,
    SPARSE_IN_PTR,
    SPARSE_IN_SRC,
    SPARSE_OUT_DST,
    SPARSE_OUT_PTR,
)

__all__ = [
    "SLOPE_ROWS",
    "add_heads",
    "add_sparse",
    "bias_sums",
    "block_by_sample",
    "block_down",
    "block_up",
    "chunk_down",
    "chunk_up",
    "clear_rows",
    "gradient_strip",
    "lay_out_tiles",
    "levels_down",
    "source_rows",
    "sparse_sums",
    "tile_row",
    "times_slope",
]


SLOPE_ROWS = 16
"""Rows whose h' waits in the first-level cache for its β."""


@kernel
def _lanes(tag: Any) -> Any:
    return len(tag) * VECTOR_BYTES // item_size(tag)


# -- weights ----------------------------------------------------------------------------------------------------------------------


@kernel
def weight_address(tag: Any, block: Any, theta: Any, slots: Any) -> Any:
    """Where the block's W begins: in θ, or among the slots' values where θ does not hold it row by row."""
    return (theta.ctypes.data if block[BLOCK_IN_PLACE] else slots.ctypes.data) + block[BLOCK_FIRST] * item_size(tag)


@compiled
def lay_out_tiles(tag: Any, block: Any, theta: Any, slots: Any, packed: Any, first: int, stop: int) -> None:
    """The tiles first..stop of a block's Wᵀ."""
    lanes, row, item = _lanes(tag), len(tag) * VECTOR_BYTES, item_size(tag)
    m, k, step = block[BLOCK_STOP] - block[BLOCK_START], block[BLOCK_N_SOURCES], block[BLOCK_STRIDE] * item
    source = weight_address(tag, block, theta, slots)
    target = packed.ctypes.data + block[BLOCK_DOWN] * item
    for g in range(first, stop):
        transpose(tag, source + g * lanes * step, step, min(lanes, m - g * lanes), k, target + g * k * row, row)


# -- up -----------------------------------------------------------------------------------------------------------------------------


@kernel
def load_inputs(tag: Any, X: Any, tile: Any, t: int) -> None:
    """The inputs' rows of tile t; past the last sample, that sample again."""
    lanes = _lanes(tag)
    if (t + 1) * lanes <= X.shape[0]:
        source = X.ctypes.data + t * lanes * X.strides[0]
        transpose(tag, source, X.strides[0], lanes, X.shape[1], tile.ctypes.data, len(tag) * VECTOR_BYTES)
    else:
        load_tile(tile[: X.shape[1]], X, t * lanes)


@kernel
def tile_row(tag: Any, R: Any, t: int, j: int) -> Any:
    """The address of row j of tile t."""
    return R.ctypes.data + t * R.strides[0] + j * len(tag) * VECTOR_BYTES


@kernel
def source_rows(tag: Any, block: Any, R: Any, spare: int, t0: int, t1: int) -> Any:
    """(address, bytes between tiles) of the block's source rows of tiles t0..t1, gathered into `spare` where they do not stand together."""
    if block[BLOCK_SOURCE] >= 0:
        return tile_row(tag, R, t0, block[BLOCK_SOURCE]), R.strides[0]
    row = len(tag) * VECTOR_BYTES
    src = carray(pointer(block[BLOCK_SOURCES]), block[BLOCK_N_SOURCES], np.int32)
    for t in range(t0, t1):
        for i in range(len(src)):
            copy_rows(tag, spare + ((t - t0) * len(src) + i) * row, tile_row(tag, R, t, src[i]), 1)
    return spare, len(src) * row


@kernel
def block_by_sample(tag: Any, block: Any, source: int, step: int, S: Any, t0: int, t1: int) -> None:
    """The source rows of tiles t0..t1 in S, by sample."""
    lanes, row = _lanes(tag), len(tag) * VECTOR_BYTES
    k, samples = block[BLOCK_N_SOURCES], S.shape[0] * lanes
    for t in range(t0, t1):
        for i in range(0, k, lanes):
            place = S.ctypes.data + ((block[BLOCK_PANEL] + i // lanes) * samples + t * lanes) * row
            transpose(tag, source + (t - t0) * step + i * row, row, min(lanes, k - i), lanes, place, row)


@kernel
def block_up(tag: Any, block: Any, weights: Any, source: int, step: int, R: Any, more: bool, t0: int, t1: int) -> None:
    """R = W z + bias (more: R += W z) at the block's rows of tiles t0..t1, with the source rows z where `source_rows` has them."""
    row, item = len(tag) * VECTOR_BYTES, item_size(tag)
    m, k, start = (
        block[BLOCK_STOP] - block[BLOCK_START],
        block[BLOCK_N_SOURCES],
        weights.bias.ctypes.data + block[BLOCK_START] * item,
    )
    w = Matrix(weight_address(tag, block, weights.theta, weights.slots), block[BLOCK_STRIDE] * item, row)
    out = Matrix(tile_row(tag, R, t0, block[BLOCK_START]), row, R.strides[0])
    multiply(block, w, source, step, out, k, m, t1 - t0, start, 1 if more else 0)


@kernel
def levels_up(tag: Any, net: Any, weights: Any, rows: Any, spare: int, by_sample: bool, t0: int, t1: int) -> None:
    """a and z of tiles t0..t1, and h''(a) in C where it has rows; by_sample: S and the kept h' too."""
    table, levels, blocks, segments, edges = net.table, net.levels, net.blocks, net.segments, net.edges
    slots, bias = weights.slots, weights.bias
    Z, A, S, C = rows.Z, rows.A, rows.S, rows.C
    lanes, row = _lanes(tag), len(tag) * VECTOR_BYTES
    ptr = carray(pointer(edges[SPARSE_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    for depth in range(len(levels)):
        level = levels[depth]
        if not level[LEVEL_PLAIN]:
            for t in range(t0, t1):
                z = tile_row(tag, Z, t, 0)
                for j in range(level[LEVEL_START], level[LEVEL_STOP]):
                    gather(tag, z, edges[SPARSE_IN_SRC], slots.ctypes.data, ptr[j], ptr[j + 1], bias[j], z + j * row)
        for number in range(level[LEVEL_FIRST_BLOCK], level[LEVEL_LAST_BLOCK]):
            block = blocks[number]
            source, step = source_rows(tag, block, Z, spare, t0, t1)
            if by_sample:
                block_by_sample(tag, block, source, step, S, t0, t1)
            block_up(tag, block, weights, source, step, Z, level[LEVEL_PLAIN] == 0, t0, t1)
        for number in range(level[LEVEL_FIRST_SEGMENT], level[LEVEL_LAST_SEGMENT]):
            segment = segments[number]
            start, count = segment[SEGMENT_START], segment[SEGMENT_STOP] - segment[SEGMENT_START]
            for t in range(t0, t1):
                z = tile_row(tag, Z, t, start)
                if segment[SEGMENT_KEEP] >= 0:
                    copy_rows(tag, tile_row(tag, A, t, segment[SEGMENT_KEEP]), z, count)
                if C.shape[1] > 0 and segment[SEGMENT_BEND] != 0:
                    call_unary(segment[SEGMENT_BEND], z, tile_row(tag, C, t, start), count * lanes)
                if by_sample and segment[SEGMENT_KEEP_SLOPE] >= 0:
                    call_binary(segment[SEGMENT_F_KEEP], z, z, tile_row(tag, A, t, segment[SEGMENT_KEEP_SLOPE]), count * lanes)
                elif segment[SEGMENT_F] != 0:
                    call_unary(segment[SEGMENT_F], z, z, count * lanes)


@compiled
def chunk_up(tag: Any, net: Any, weights: Any, rows: Any, samples: Any, Y: Any, spare: Any, mode: int, t0: int, t1: int) -> float:
    """E of the tiles t0..t1, their z, S and the heads' δ; mode VJP: T holds V; PRODUCT: no E; FORWARD: Y alone.

    One function for all modes, since the levels are compiled into it.
    """
    table, lanes, n_samples = net.table, _lanes(tag), samples.X.shape[0]
    Z, A, H = rows.Z, rows.A, rows.H
    memory = aligned(spare)
    for t in range(t0, t1):
        load_inputs(tag, samples.X, Z[t], t)
    levels_up(tag, net, weights, rows, memory, mode not in (MODE_VALUE, MODE_FORWARD), t0, t1)
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    scratch = memory + table[PLAN_TARGET_ROWS] * len(tag) * VECTOR_BYTES
    weights_at = scratch + len(tag) * VECTOR_BYTES
    energy = 0.0
    for t in range(t0, t1):
        z, keep = tile_row(tag, Z, t, 0), tile_row(tag, A, t, 0)
        softmax_rows(table, z, keep, lanes)
        if mode == MODE_FORWARD:
            for n in range(t * lanes, min((t + 1) * lanes, n_samples)):
                for k in range(table[PLAN_N_OUTPUTS]):
                    Y[n, k] = Z[t, out_row[k], n - t * lanes]
            continue
        load_targets(tag, table, memory, weights_at, samples.T, samples.weight, t * lanes, n_samples)
        if mode in (MODE_VALUE, MODE_GRADIENT):
            energy += head_values(table, z, keep, memory, scratch, lanes)
        if mode != MODE_VALUE:
            head_deltas(table, z, keep, memory, tile_row(tag, H, t, 0), scratch, lanes, mode == MODE_VJP)
    return energy


# -- down ---------------------------------------------------------------------------------------------------------------------------


@kernel
def clear_rows(tag: Any, clear: Any, R: Any, t0: int, t1: int) -> None:
    """R = 0 in tiles t0..t1 at the rows that no block's product simply writes."""
    for t in range(t0, t1):
        for run in range(len(clear)):
            fill_rows(tag, tile_row(tag, R, t, clear[run, 0]), clear[run, 1] - clear[run, 0])


@kernel
def add_sparse(tag: Any, net: Any, w_out: Any, Q: Any, R: Any, spare: int, start: int, stop: int, t0: int, t1: int) -> None:
    """R_i += Σ_k w_ki Q_k along the sparse edges out of the rows start..stop."""
    edges = net.edges
    ptr = carray(pointer(edges[SPARSE_OUT_PTR]), net.table[PLAN_N_ROWS] + 1, np.int64)
    for t in range(t0, t1):
        q = tile_row(tag, Q, t, 0)
        for i in range(start, stop):
            if ptr[i + 1] > ptr[i]:
                gather(tag, q, edges[SPARSE_OUT_DST], w_out.ctypes.data, ptr[i], ptr[i + 1], 0 * w_out[0], spare)
                r = tile_row(tag, R, t, i)
                add_rows(tag, r, r, spare, 1)


@kernel
def times_slope(tag: Any, segment: Any, Z: Any, A: Any, Q: Any, R: Any, spare: int, t0: int, t1: int) -> None:
    """R = h'(a) Q at a segment's rows that have an h'."""
    lanes, row = _lanes(tag), len(tag) * VECTOR_BYTES
    start, count = segment[SEGMENT_START], segment[SEGMENT_STOP] - segment[SEGMENT_START]
    for t in range(t0, t1):
        q, r = tile_row(tag, Q, t, start), tile_row(tag, R, t, start)
        z = tile_row(tag, Z, t, start)
        for j in range(0, count, SLOPE_ROWS):
            some, at = min(SLOPE_ROWS, count - j), j * row
            if segment[SEGMENT_KEEP_SLOPE] >= 0:
                call(
                    segment[SEGMENT_SLOPE],
                    (z + at, tile_row(tag, A, t, segment[SEGMENT_KEEP_SLOPE] + j), q + at, spare, some * lanes),
                )
                copy_rows(tag, r + at, spare, some)
            else:
                values = z if segment[SEGMENT_FROM_Z] else tile_row(tag, A, t, segment[SEGMENT_KEEP])
                call_unary(segment[SEGMENT_SLOPE], values + at, spare, some * lanes)
                multiply_rows(tag, r + at, q + at, spare, some)


@kernel
def add_heads(tag: Any, level: Any, outputs: Any, H: Any, R: Any, t0: int, t1: int) -> None:
    """R += what the heads give to a level's outputs."""
    for output in range(level[LEVEL_FIRST_OUTPUT], level[LEVEL_LAST_OUTPUT]):
        for t in range(t0, t1):
            r = tile_row(tag, R, t, outputs[output, 0])
            add_rows(tag, r, r, tile_row(tag, H, t, outputs[output, 1]), 1)


@kernel
def block_down(tag: Any, block: Any, packed: Any, zeros: Any, Q: Any, R: Any, more: bool, spare: int, t0: int, t1: int) -> None:
    """R += Wᵀ Q, from the block's rows to its sources, in tiles t0..t1; not `more`: R = Wᵀ Q where nothing else writes there."""
    row, item = len(tag) * VECTOR_BYTES, item_size(tag)
    m, k = block[BLOCK_STOP] - block[BLOCK_START], block[BLOCK_N_SOURCES]
    regular = block[BLOCK_SOURCE] >= 0
    target, step = (tile_row(tag, R, t0, block[BLOCK_SOURCE]), R.strides[0]) if regular else (spare, k * row)
    down, above = packed.ctypes.data + block[BLOCK_DOWN] * item, tile_row(tag, Q, t0, block[BLOCK_START])
    again = 1 if regular and (more or not block[BLOCK_SOLE_FROM]) else 0
    out = Matrix(target, row, step)
    multiply(block, Matrix(down, row, k * row), above, Q.strides[0], out, m, k, t1 - t0, zeros.ctypes.data, again)
    if not regular:
        src = carray(pointer(block[BLOCK_SOURCES]), k, np.int32)
        for t in range(t0, t1):
            for i in range(k):
                r = tile_row(tag, R, t, src[i])
                add_rows(tag, r, r, spare + ((t - t0) * k + i) * row, 1)


@kernel
def levels_down(tag: Any, net: Any, weights: Any, rows: Any, spare: int, to_inputs: bool, t0: int, t1: int) -> None:
    """δ of tiles t0..t1, from the heads', and C times β where it has rows; to_inputs: the inputs' δ too."""
    levels, blocks, segments = net.levels, net.blocks, net.segments
    outputs, clear = net.outputs, net.clear
    w_out, packed, zeros = weights.by_source, weights.packed, weights.zeros
    Z, A, D, H, C = rows.Z, rows.A, rows.D, rows.H, rows.C
    clear_rows(tag, clear, D, t0, t1)
    for depth in range(len(levels) - 1, -1, -1):
        level = levels[depth]
        if level[LEVEL_SPARSE_OUT]:
            add_sparse(tag, net, w_out, D, D, spare, level[LEVEL_START], level[LEVEL_STOP], t0, t1)
        for number in range(level[LEVEL_FIRST_SEGMENT], level[LEVEL_LAST_SEGMENT]):
            segment = segments[number]
            if C.shape[1] > 0 and segment[SEGMENT_BEND] != 0:
                for t in range(t0, t1):
                    c, count = tile_row(tag, C, t, segment[SEGMENT_START]), segment[SEGMENT_STOP] - segment[SEGMENT_START]
                    multiply_rows(tag, c, c, tile_row(tag, D, t, segment[SEGMENT_START]), count)
            if segment[SEGMENT_SLOPE] != 0:
                times_slope(tag, segment, Z, A, D, D, spare, t0, t1)
        add_heads(tag, level, outputs, H, D, t0, t1)
        for number in range(level[LEVEL_FIRST_BLOCK], level[LEVEL_LAST_BLOCK]):
            if to_inputs or not blocks[number, BLOCK_FROM_INPUTS]:
                block_down(tag, blocks[number], packed, zeros, D, D, False, spare, t0, t1)
    if to_inputs:
        add_sparse(tag, net, w_out, D, D, spare, 0, net.table[PLAN_N_INPUTS], t0, t1)


@compiled
def chunk_down(tag: Any, net: Any, weights: Any, rows: Any, by_x: Any, spare: Any, mode: int, t0: int, t1: int) -> None:
    """δ of the tiles t0..t1; mode VJP: by_x too."""
    D, lanes, row = rows.D, _lanes(tag), len(tag) * VECTOR_BYTES
    levels_down(tag, net, weights, rows, aligned(spare), mode == MODE_VJP, t0, t1)
    if mode == MODE_VJP:
        for t in range(t0, t1):
            n0, step = t * lanes, by_x.strides[0]
            n = min(lanes, by_x.shape[0] - n0)
            transpose(tag, D.ctypes.data + t * D.strides[0], row, by_x.shape[1], n, by_x.ctypes.data + n0 * step, step)


# -- gradient -----------------------------------------------------------------------------------------------------------------------


@compiled
def gradient_strip(
    tag: Any, block: Any, zeros: Any, D: Any, S: Any, count: int, onto: Any, panel: int, last: int, more: bool
) -> None:
    """out[first + j · stride + i] = Σ_n δ_j z_i (more: +=), for the block's rows j and its sources i in the tiles panel..last."""
    out, first, stride = onto.out, onto.first, onto.stride
    lanes, row, item = _lanes(tag), len(tag) * VECTOR_BYTES, item_size(tag)
    m, k, samples = block[BLOCK_STOP] - block[BLOCK_START], block[BLOCK_N_SOURCES], D.shape[0] * lanes
    delta = Matrix(D.ctypes.data + block[BLOCK_START] * row, row, D.strides[0])
    z = S.ctypes.data + (block[BLOCK_PANEL] + panel) * samples * row
    target = out.ctypes.data + (first + panel * lanes) * item
    whole = min(last, k // lanes) - panel
    again, zero = 1 if more else 0, zeros.ctypes.data
    if whole > 0:
        multiply(block, delta, z, samples * row, Matrix(target, stride * item, row), count, m, whole, zero, again)
    if panel + whole < last:  # the last tile is not full
        i, width = (panel + whole) * lanes, k - (panel + whole) * lanes
        beside = np.empty((m, lanes), out.dtype)
        for j in range(m if more else 0):
            for c in range(width):
                beside[j, c] = out[first + j * stride + i + c]
        out_tile = Matrix(beside.ctypes.data, row, row)
        multiply(block, delta, z + whole * samples * row, samples * row, out_tile, count, m, 1, zero, again)
        for j in range(m):
            for c in range(width):
                out[first + j * stride + i + c] = beside[j, c]


@compiled
def bias_sums(tag: Any, D: Any, sums: Any, start: int) -> None:
    """sums[j] += Σ_n δ_j, for the rows from `start`."""
    for t in range(D.shape[0]):
        row_sums(tag, D[t, start:].ctypes.data, D.shape[1] - start, sums[start:].ctypes.data)


@compiled
def sparse_sums(tag: Any, net: Any, weights: Any, rows: Any, slot: Any, sums: Any, start: int, stop: int) -> None:
    """sums[slot_e] += Σ_n δ_k z_i along the sparse edges out of the rows start..stop."""
    table, edges, w_out = net.table, net.edges, weights.by_source
    Z, D = rows.Z, rows.D
    row, item = len(tag) * VECTOR_BYTES, item_size(tag)
    ptr = carray(pointer(edges[SPARSE_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    e0 = ptr[start]
    n_edges = ptr[stop] - e0
    groups = VECTOR_BYTES // item
    found = np.zeros(n_edges + groups + (groups + len(tag) + 1) * groups, sums.dtype)
    aside = (found.ctypes.data + (n_edges + groups) * item + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES
    waiting, unused = EdgeSums(found.ctypes.data, aside), aside + groups * VECTOR_BYTES
    dst, w = edges[SPARSE_OUT_DST] + 4 * e0, w_out[e0:].ctypes.data
    for t in range(D.shape[0]):
        z, d = Z.ctypes.data + t * Z.strides[0], D.ctypes.data + t * D.strides[0]
        for i in range(start, stop):
            gather_sums(tag, d, dst, w, ptr[i] - e0, ptr[i + 1] - e0, z + i * row, unused, waiting)
        finish_sums(tag, n_edges, waiting)
    for e in range(n_edges):
        sums[slot[e0 + e]] += found[e]
