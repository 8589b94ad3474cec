"""A chunk's sweeps along a direction v in the weights, for products with a Hessian by matrix products.

With W and V a block's weights and its part of v, what `graphbp_numba.layers.sweeps` keeps of a chunk, and `dots` for the direction,

    dots   ZD, AD (tiles, rows, lanes)      ż and ȧ                  RD      Rδ, the derivative of δ along v
           SD                               as S, of ż               (RD and SD have rows for the exact Hessian alone)

    up     ȧ = V z + W ż + v_b,   ż = h' ȧ                                             W ż = 0 where only inputs are sources
    heads  exact: s R ȧ;   outer product: s Λ ȧ                                         in H
    down   exact: Rβ = Wᵀ Rδ + Vᵀ δ,   Rδ = h' Rβ + h'' β ȧ + the heads';              outer product: δ from H as in any reverse sweep

The products' sums over samples, Rδ zᵀ + δ żᵀ or δ zᵀ, are those of a gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp_numba.first_order.samples import aligned, load_targets
from graphbp_numba.heads.tangents import WEIGHT_ROW, head_curvature
from graphbp_numba.instructions.calls import item_size, pointer
from graphbp_numba.instructions.rows import copy_rows, fill_rows, multiply_add_rows
from graphbp_numba.instructions.tangent_gathers import Both, gather_both
from graphbp_numba.layers.sweeps import (
    add_heads,
    add_sparse,
    block_by_sample,
    block_down,
    block_up,
    clear_rows,
    levels_down,
    source_rows,
    tile_row,
    times_slope,
)
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.tables import (
    BLOCK_FROM_INPUTS,
    LEVEL_FIRST_BLOCK,
    LEVEL_FIRST_SEGMENT,
    LEVEL_LAST_BLOCK,
    LEVEL_LAST_SEGMENT,
    LEVEL_PLAIN,
    LEVEL_SPARSE_OUT,
    LEVEL_START,
    LEVEL_STOP,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_TARGET_ROWS,
    SEGMENT_BEND,
    SEGMENT_SLOPE,
    SEGMENT_START,
    SEGMENT_STOP,
    SPARSE_IN_PTR,
    SPARSE_IN_SRC,
)

__all__ = ["tangent_chunk", "tangent_spare_rows"]


def tangent_spare_rows(n_outputs: int, target_rows: int) -> int:
    """Rows of spare memory that the heads take: targets, e', four more and the samples' weights."""
    return n_outputs + target_rows + WEIGHT_ROW + 1


@kernel
def tangents_up(
    tag: Any, net: Any, weights: Any, along: Any, rows: Any, dots: Any, spare: int, by_sample: bool, t0: int, t1: int
) -> None:
    """ȧ and ż of tiles t0..t1; by_sample: SD too."""
    table, levels, blocks, segments, edges = net.table, net.levels, net.blocks, net.segments, net.edges
    Z, A = rows.Z, rows.A
    ZD, AD, SD = dots.Z, dots.A, dots.S
    row = len(tag) * VECTOR_BYTES
    ptr = carray(pointer(edges[SPARSE_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    for t in range(t0, t1):
        fill_rows(tag, tile_row(tag, ZD, t, 0), table[PLAN_N_INPUTS])
    for depth in range(len(levels)):
        level = levels[depth]
        if not level[LEVEL_PLAIN]:
            for t in range(t0, t1):
                z, z_dot, a_dot = tile_row(tag, Z, t, 0), tile_row(tag, ZD, t, 0), tile_row(tag, AD, t, 0)
                both = Both(z_dot, z - z_dot, weights.slots.ctypes.data, along.slots.ctypes.data)
                for j in range(level[LEVEL_START], level[LEVEL_STOP]):
                    gather_both(tag, both, edges[SPARSE_IN_SRC], ptr[j], ptr[j + 1], along.bias[j], a_dot + j * row)
        for number in range(level[LEVEL_FIRST_BLOCK], level[LEVEL_LAST_BLOCK]):
            block = blocks[number]
            source, step = source_rows(tag, block, Z, spare, t0, t1)
            block_up(tag, block, along, source, step, AD, level[LEVEL_PLAIN] == 0, t0, t1)
            if not block[BLOCK_FROM_INPUTS]:
                source, step = source_rows(tag, block, ZD, spare, t0, t1)
                if by_sample:
                    block_by_sample(tag, block, source, step, SD, t0, t1)
                block_up(tag, block, weights, source, step, AD, True, t0, t1)
        for number in range(level[LEVEL_FIRST_SEGMENT], level[LEVEL_LAST_SEGMENT]):
            segment = segments[number]
            if segment[SEGMENT_SLOPE] != 0:
                times_slope(tag, segment, Z, A, AD, ZD, spare, t0, t1)
            else:
                start, count = segment[SEGMENT_START], segment[SEGMENT_STOP] - segment[SEGMENT_START]
                for t in range(t0, t1):
                    copy_rows(tag, tile_row(tag, ZD, t, start), tile_row(tag, AD, t, start), count)


@kernel
def heads_along(tag: Any, table: Any, rows: Any, AD: Any, samples: Any, spare: int, exact: bool, t0: int, t1: int) -> None:
    """H of tiles t0..t1: s R ȧ, or s Λ ȧ where not `exact`."""
    Z, A, H = rows.Z, rows.A, rows.H
    row = len(tag) * VECTOR_BYTES
    n_outputs, lanes = table[PLAN_N_OUTPUTS], row // item_size(tag)
    other = spare + table[PLAN_TARGET_ROWS] * row
    scratch = other + n_outputs * row
    weights = scratch + WEIGHT_ROW * row
    for t in range(t0, t1):
        load_targets(tag, table, spare, weights, samples.T, samples.weight, t * lanes, samples.T.shape[0])
        z, keep, a_dot = tile_row(tag, Z, t, 0), tile_row(tag, A, t, 0), tile_row(tag, AD, t, 0)
        head_curvature(tag, table, z, keep, spare, a_dot, tile_row(tag, H, t, 0), other, scratch, exact)


@kernel
def curved_down(tag: Any, net: Any, weights: Any, along: Any, rows: Any, dots: Any, spare: int, t0: int, t1: int) -> None:
    """Rδ of tiles t0..t1, from the heads', δ and C = h'' β."""
    levels, blocks, segments = net.levels, net.blocks, net.segments
    outputs, clear = net.outputs, net.clear
    w_out, packed, zeros = weights.by_source, weights.packed, weights.zeros
    v_out, v_packed = along.by_source, along.packed
    Z, A, D, H, C = rows.Z, rows.A, rows.D, rows.H, rows.C
    AD, RD = dots.A, dots.R
    clear_rows(tag, clear, RD, t0, t1)
    for depth in range(len(levels) - 1, -1, -1):
        level = levels[depth]
        if level[LEVEL_SPARSE_OUT]:
            start, stop = level[LEVEL_START], level[LEVEL_STOP]
            add_sparse(tag, net, w_out, RD, RD, spare, start, stop, t0, t1)
            add_sparse(tag, net, v_out, D, RD, spare, start, stop, t0, t1)
        for number in range(level[LEVEL_FIRST_SEGMENT], level[LEVEL_LAST_SEGMENT]):
            segment = segments[number]
            if segment[SEGMENT_SLOPE] != 0:
                times_slope(tag, segment, Z, A, RD, RD, spare, t0, t1)
            if segment[SEGMENT_BEND] != 0:
                start, count = segment[SEGMENT_START], segment[SEGMENT_STOP] - segment[SEGMENT_START]
                for t in range(t0, t1):
                    r = tile_row(tag, RD, t, start)
                    multiply_add_rows(tag, r, tile_row(tag, C, t, start), tile_row(tag, AD, t, start), r, count)
        add_heads(tag, level, outputs, H, RD, t0, t1)
        for number in range(level[LEVEL_FIRST_BLOCK], level[LEVEL_LAST_BLOCK]):
            block = blocks[number]
            if not block[BLOCK_FROM_INPUTS]:
                block_down(tag, block, packed, zeros, RD, RD, False, spare, t0, t1)
                block_down(tag, block, v_packed, zeros, D, RD, True, spare, t0, t1)


@compiled
def tangent_chunk(
    tag: Any, net: Any, weights: Any, along: Any, rows: Any, dots: Any, samples: Any, spare: Any, t0: int, t1: int
) -> None:
    """ż and Rδ of the tiles t0..t1, for the direction `along`; where `dots` has no rows for Rδ: δ in D, of the outer product."""
    memory, exact = aligned(spare), dots.R.shape[1] > 0
    tangents_up(tag, net, weights, along, rows, dots, memory, exact, t0, t1)
    heads_along(tag, net.table, rows, dots.A, samples, memory, exact, t0, t1)
    if exact:
        curved_down(tag, net, weights, along, rows, dots, memory, t0, t1)
    else:
        levels_down(tag, net, weights, rows, memory, False, t0, t1)
