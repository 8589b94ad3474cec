"""The sweep over a tile of samples, a level's pieces at a time (`graphbp_numba.blocks.pieces`); nothing in here depends on a row's width.

    for each tile:   X → rows;  upwards: a = b + Σ pieces W z, z = h(a);  heads: E, δ at the outputs;
                     downwards: δ = h'(a) β (+ the heads'), the level's sums δ zᵀ and δ, β += Wᵀ δ of its pieces

z and δ stand in rows of their own, so that a level's sums are taken as soon as its δ is known, while both are near.  A tile's memory, in
rows: z | a or h' of the rows that keep it | β and δ | heads' δ | targets | scratch, weights of the lanes | h' of some rows.

What a network is stands in one table (`NET_...`): sizes, addresses of other tables, and of the C functions that do the arithmetic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphbp_numba.blocks.functions import DOWN, DOWN_TO_INPUTS, UP
from graphbp_numba.first_order.samples import aligned, load_tile, tile_weights
from graphbp_numba.heads.sweeps import head_deltas, head_values, softmax_rows
from graphbp_numba.instructions.calls import call, call_binary, call_unary, item_size, pointer, reals
from graphbp_numba.instructions.matrix_products import transpose
from graphbp_numba.instructions.rows import add_rows, copy_rows, fill_rows, multiply_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel, part_of
from graphbp_numba.plan.tables import (
    MODE_VALUE,
    MODE_VJP,
    NET_HEADS,
    NET_JOBS,
    NET_N_STEPS,
    NET_N_WEIGHTS,
    NET_NUMBERS,
    NET_OUTPUTS,
    NET_PIECES,
    NET_PLACES,
    NET_PRODUCTS,
    NET_SEGMENTS,
    NET_STEPS,
    NET_SUMS,
    PLAN_N_INPUTS,
    PLAN_N_KEEP,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_OUT_ROW,
    PLAN_SIZE,
    PLAN_TARGET_ROWS,
    SEGMENT_F,
    SEGMENT_F_KEEP,
    SEGMENT_FIELDS,
    SEGMENT_FROM_Z,
    SEGMENT_KEEP,
    SEGMENT_KEEP_SLOPE,
    SEGMENT_SLOPE,
    SEGMENT_START,
    SEGMENT_STOP,
    STEP_FIELDS,
    STEP_FIRST_JOB,
    STEP_FIRST_OUTPUT,
    STEP_FIRST_PIECE,
    STEP_FIRST_SEGMENT,
    STEP_LAST_JOB,
    STEP_LAST_OUTPUT,
    STEP_LAST_PIECE,
    STEP_LAST_SEGMENT,
    STEP_START,
    STEP_STOP,
)

__all__ = ["BETA_ROWS", "PADDING", "Blocks", "finish", "forward", "sweep", "tile_rows"]

Array = npt.NDArray[Any]

BETA_ROWS = 16
"""Rows whose h' waits in the first-level cache for its β."""
PADDING = 16
"""Numbers behind the sums of weights and of biases, which a last group of sums reads and leaves as they are."""


class Blocks(NamedTuple):
    """The network's table, and the weights that its pieces and biases are read from: θ itself, or all values by slot."""

    net: Array
    weights: Array


class Places(NamedTuple):
    """A tile's memory: addresses of its parts, and a row's bytes."""

    z: int
    keep: int
    delta: int
    heads: int
    targets: int
    scratch: int
    slopes: int
    row: int


def tile_rows(n_rows: int, n_keep: int, n_outputs: int, target_rows: int) -> int:
    """Rows of a tile's memory; one spare behind δ, which the sums of an odd number of rows read."""
    return n_rows + n_keep + n_rows + 1 + n_outputs + target_rows + 2 + BETA_ROWS


@part_of
def _places(table: Any, z: int, row: int) -> Any:
    keep = z + table[PLAN_N_ROWS] * row
    delta = keep + table[PLAN_N_KEEP] * row
    heads = delta + (table[PLAN_N_ROWS] + 1) * row
    targets = heads + table[PLAN_N_OUTPUTS] * row
    scratch = targets + table[PLAN_TARGET_ROWS] * row
    return Places(z, keep, delta, heads, targets, scratch, scratch + 2 * row, row)


@part_of
def _steps(net: Any) -> Any:
    """(levels, segments), the tables."""
    steps = carray(pointer(net[NET_STEPS]), (net[NET_N_STEPS], STEP_FIELDS), np.int64)
    count = steps[len(steps) - 1, STEP_LAST_SEGMENT] if len(steps) else 0
    return steps, carray(pointer(net[NET_SEGMENTS]), (count, SEGMENT_FIELDS), np.int64)


@kernel
def _load_inputs(tag: Any, at: Any, X: Any, n0: int) -> None:
    """The inputs' rows of a tile."""
    lanes = at.row // item_size(tag)
    if n0 + lanes <= X.shape[0] and X.strides[1] == item_size(tag):
        transpose(tag, X.ctypes.data + n0 * X.strides[0], X.strides[0], lanes, X.shape[1], at.z, at.row)
    else:
        load_tile(carray(reals(tag, at.z), (X.shape[1], lanes)), X, n0)


@part_of
def _load_targets(tag: Any, table: Any, at: Any, T: Any, sample_weight: Any, n0: int) -> None:
    """A tile's targets, and the weights of its lanes, which stand with the targets where each output has its own."""
    lanes, k = at.row // item_size(tag), table[PLAN_N_OUTPUTS]
    load_tile(carray(reals(tag, at.targets), (table[PLAN_TARGET_ROWS], lanes)), T, n0)
    shared = carray(reals(tag, at.scratch + at.row), lanes)
    tile_weights(shared, sample_weight, n0, T.shape[0])
    if table[PLAN_TARGET_ROWS] > k:
        own = carray(reals(tag, at.targets + k * at.row), (k, lanes))
        for row in range(k):
            for lane in range(lanes):
                own[row, lane] *= shared[lane]


@part_of
def _multiply(blocks: Any, step: Any, rows: int, vectors: int, way: int) -> None:
    """The products of a level's pieces, among the rows at an address: those of z upwards, those of δ downwards."""
    net = blocks.net
    pieces = net[NET_PIECES], step[STEP_FIRST_PIECE], step[STEP_LAST_PIECE]
    call(net[NET_PRODUCTS + vectors // 2], (*pieces, blocks.weights.ctypes.data, rows, net[NET_NUMBERS], way))


@kernel
def _up(tag: Any, blocks: Any, table: Any, at: Any, vectors: int, reverse: bool) -> None:
    """a and z of all levels; reverse: h' too, where it is kept."""
    net, lanes = blocks.net, at.row // item_size(tag)
    steps, segments = _steps(net)
    rows, places = (
        carray(reals(tag, at.z), (table[PLAN_N_ROWS], lanes)),
        carray(pointer(net[NET_PLACES]), table[PLAN_N_ROWS], np.int64),
    )
    for depth in range(len(steps)):
        step = steps[depth]
        for j in range(step[STEP_START], step[STEP_STOP]):
            rows[j, :] = blocks.weights[places[j]] if places[j] >= 0 else 0
        _multiply(blocks, step, at.z, vectors, UP)
        for number in range(step[STEP_FIRST_SEGMENT], step[STEP_LAST_SEGMENT]):
            segment = segments[number]
            count = segment[SEGMENT_STOP] - segment[SEGMENT_START]
            z = at.z + segment[SEGMENT_START] * at.row
            if segment[SEGMENT_KEEP] >= 0:
                copy_rows(tag, at.keep + segment[SEGMENT_KEEP] * at.row, z, count * vectors)
            if reverse and segment[SEGMENT_KEEP_SLOPE] >= 0:
                call_binary(segment[SEGMENT_F_KEEP], z, z, at.keep + segment[SEGMENT_KEEP_SLOPE] * at.row, count * lanes)
            elif segment[SEGMENT_F] != 0:
                call_unary(segment[SEGMENT_F], z, z, count * lanes)


@part_of
def _times_slope(tag: Any, segment: Any, at: Any, vectors: int) -> None:
    """δ = h'(a) β at a segment's rows, in place of β."""
    lanes, count = at.row // item_size(tag), segment[SEGMENT_STOP] - segment[SEGMENT_START]
    for j in range(0, count, BETA_ROWS):
        some, more = min(BETA_ROWS, count - j), j * at.row
        z, beta = at.z + segment[SEGMENT_START] * at.row + more, at.delta + segment[SEGMENT_START] * at.row + more
        if segment[SEGMENT_KEEP_SLOPE] >= 0:
            kept = at.keep + segment[SEGMENT_KEEP_SLOPE] * at.row + more
            call(segment[SEGMENT_SLOPE], (z, kept, beta, at.slopes, some * lanes))
            copy_rows(tag, beta, at.slopes, some * vectors)
        else:
            values = z if segment[SEGMENT_FROM_Z] else at.keep + segment[SEGMENT_KEEP] * at.row + more
            call_unary(segment[SEGMENT_SLOPE], values, at.slopes, some * lanes)
            multiply_rows(tag, beta, beta, at.slopes, some * vectors)


@kernel
def _down(tag: Any, blocks: Any, table: Any, at: Any, vectors: int, sums: int, to_inputs: bool) -> None:
    """δ of all levels, and sums += their gradient; to_inputs: ∂E/∂x in the inputs' rows of δ."""
    net, item = blocks.net, item_size(tag)
    steps, segments = _steps(net)
    outputs = carray(pointer(net[NET_OUTPUTS]), (table[PLAN_N_OUTPUTS], 2), np.int64)
    first = 0 if to_inputs else table[PLAN_N_INPUTS]
    fill_rows(tag, at.delta + first * at.row, (table[PLAN_N_ROWS] - first) * vectors)
    biases = sums + (net[NET_N_WEIGHTS] + PADDING) * item
    for depth in range(len(steps) - 1, -1, -1):
        step = steps[depth]
        for number in range(step[STEP_FIRST_SEGMENT], step[STEP_LAST_SEGMENT]):
            if segments[number, SEGMENT_SLOPE] != 0:
                _times_slope(tag, segments[number], at, vectors)
        for k in range(step[STEP_FIRST_OUTPUT], step[STEP_LAST_OUTPUT]):
            delta = at.delta + outputs[k, 0] * at.row
            add_rows(tag, delta, delta, at.heads + outputs[k, 1] * at.row, vectors)
        jobs = net[NET_JOBS], step[STEP_FIRST_JOB], step[STEP_LAST_JOB], net[NET_PIECES]
        call(net[NET_SUMS + vectors // 2], (*jobs, at.z, at.delta, sums, step[STEP_START], step[STEP_STOP], biases))
        _multiply(blocks, step, at.delta, vectors, DOWN_TO_INPUTS if to_inputs else DOWN)


@kernel
def _finish(net: Any, table: Any, sums: Any, gradient: Any) -> None:
    """The gradient from the sums of weights and of biases, by row."""
    places, n = carray(pointer(net[NET_PLACES]), table[PLAN_N_ROWS], np.int64), net[NET_N_WEIGHTS]
    for i in range(n):
        gradient[i] = sums[i]
    for j in range(len(places)):
        if places[j] >= 0:
            gradient[places[j]] += sums[n + PADDING + j]


@compiled
def forward(net: Any, weights: Any, X: Any, Y: Any, memory: Any, cut: Any) -> None:
    """Y of some tiles.    cut : vectors a row, the first tile and the end.  By itself, so that whoever asks for no more waits for no more."""
    vectors, first, stop = cut
    blocks, tag = Blocks(net, weights), (weights.dtype.type(0),)
    table = carray(pointer(net[NET_HEADS]), PLAN_SIZE, np.int64)
    at = _places(table, aligned(memory), vectors * VECTOR_BYTES)
    lanes = at.row // item_size(tag)
    rows = carray(reals(tag, at.z), (table[PLAN_N_ROWS], lanes))
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    for number in range(first, stop):
        n0 = number * lanes
        _load_inputs(tag, at, X, n0)
        _up(tag, blocks, table, at, vectors, False)
        softmax_rows(table, at.z, at.keep, lanes)
        for n in range(n0, min(n0 + lanes, Y.shape[0])):
            for k in range(table[PLAN_N_OUTPUTS]):
                Y[n, k] = rows[out_row[k], n - n0]


@compiled
def sweep(net: Any, weights: Any, samples: Any, by_x: Any, sums: Any, gradient: Any, memory: Any, cut: Any) -> float:
    """E of some tiles, their sums, and the gradient where that has room: where these are all tiles there are.

    samples : X, T, weights.     cut : vectors a row, mode, the first tile and the end.  Plain tuples are unpacked faster than named ones.
    mode VJP: T holds V, and by_x is filled.
    """
    vectors, mode, first, stop = cut
    X, T, sample_weight = samples
    blocks, tag = Blocks(net, weights), (weights.dtype.type(0),)
    table = carray(pointer(net[NET_HEADS]), PLAN_SIZE, np.int64)
    at = _places(table, aligned(memory), vectors * VECTOR_BYTES)
    lanes, energy = at.row // item_size(tag), 0.0
    sums[:] = 0
    for number in range(first, stop):
        n0 = number * lanes
        _load_inputs(tag, at, X, n0)
        _load_targets(tag, table, at, T, sample_weight, n0)
        _up(tag, blocks, table, at, vectors, mode != MODE_VALUE)
        softmax_rows(table, at.z, at.keep, lanes)
        if mode != MODE_VJP:
            energy += head_values(table, at.z, at.keep, at.targets, at.scratch, lanes)
        if mode == MODE_VALUE:
            continue
        head_deltas(table, at.z, at.keep, at.targets, at.heads, at.scratch, lanes, mode == MODE_VJP)
        _down(tag, blocks, table, at, vectors, sums.ctypes.data, mode == MODE_VJP)
        if mode == MODE_VJP:
            count, step = min(lanes, X.shape[0] - n0), by_x.strides[0]
            transpose(tag, at.delta, at.row, X.shape[1], count, by_x.ctypes.data + n0 * step, step)
    if len(gradient):
        _finish(net, table, sums, gradient)
    return energy


@compiled
def finish(net: Any, sums: Any, gradient: Any) -> None:
    """The gradient from the sums of all partitions."""
    _finish(net, carray(pointer(net[NET_HEADS]), PLAN_SIZE, np.int64), sums, gradient)
