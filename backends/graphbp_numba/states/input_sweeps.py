r"""Compiled entries for second derivatives by the inputs (`graphbp.second_order.by_inputs` has the formulas).

    hessians    ∂²y_k/∂x_i∂x_l = Σ_p κ_p G_pi G_pl + Σ_c δ_c (ζ_ui ζ_vl + ζ_vi ζ_ul)
                κ = h'' β and δ of one reverse sweep an output, G = ȧ and ζ = ż of one sweep of tangents an input
    diagonals   the same for l = i
    laplacians  their sum over i, from S_p = Σ_i G_pi² forward: Σ_i ∂²a_j/∂x_i² = Σ_p w_jp (h' Σ_i ∂²a_p/∂x_i² + h'' S_p)
    along       the R-operator along x and θ together

p runs over the *bent* rows: those that feed others and are no identity; c over the products z_u z_v of two rows, the only combinations
that bend; the outputs' own part is the core's.  A tile of samples keeps G of all inputs in one panel, rows [p][i], and behind them ζ of
all u, then of all v.  What an input does not reach is not swept, and what does not lead to an output is left out of its sums.  An edge
from an input is no edge to gather along: it is what its row's sum starts from, in that input's sweep alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphbp_numba.first_order.samples import Samples, aligned, load_tile, tile_weights
from graphbp_numba.first_order.weights import EdgeWeights
from graphbp_numba.heads.sweeps import head_deltas
from graphbp_numba.heads.tangents import WEIGHT_ROW, head_bends, head_curvature, push_outputs
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.instructions.gathers import gather
from graphbp_numba.instructions.rows import add_rows, copy_rows, fill_rows, multiply_add_rows, multiply_rows
from graphbp_numba.instructions.sample_sums import sum_products
from graphbp_numba.instructions.squares import TALL, WIDE, add_squares
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.tables import (
    PLAN_IN_PTR,
    PLAN_IN_SRC,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_PAIRS,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_OUT_DST,
    PLAN_OUT_PTR,
    PLAN_OUT_ROW,
    PLAN_PAIR_OF_ROW,
)
from graphbp_numba.states.pairs import tangent_pairs
from graphbp_numba.states.quantities import reverse_products, unit_deltas
from graphbp_numba.states.sections import inject, places, slopes, tangent_state
from graphbp_numba.states.tiles import begin_tile, reverse_tile, tile_deltas

__all__ = ["Ends", "Where", "diagonals", "hessians", "laplacians", "panel_bytes", "products_along", "squares_bytes"]

SUMMED_BYTES = 1 << 18
"""Of the panel's rows that are gone through for all pairs of inputs at a time: they stay in the second-level cache."""


class Where(NamedTuple):
    """What depends on what.

    bent : rows p.                        place : (n_rows,) a row's position among them, or −1.
    pairs : (·, 3) the row c of each product, and u and v.
    middle : of each row's edges in, the first that comes from no input.
    bits : (n_rows, ·) the inputs that reach each row.        columns : the inputs that reach an output.
    rows : positions in `bent`, and behind it in `pairs`, that lead to output k: rows[first[k] : paired[k]], rows[paired[k] : stop[k]].
    last_run : where the reverse sweep of output k begins.    used : (K, ·) whether any of `TALL` columns reaches output k.
    """

    bent: Any
    place: Any
    pairs: Any
    middle: Any
    bits: Any
    columns: Any
    rows: Any
    first: Any
    paired: Any
    stop: Any
    last_run: Any
    used: Any


class Ends(NamedTuple):
    """a and y of the outputs (N, K), and their tangents (N, K, D); of no samples where nothing asks for them."""

    a: Any
    y: Any
    tangents: Any


def panel_bytes(where: Where, n_rows: int, vectors: int) -> int:
    """κ, G and ζ, the sums of all pairs of columns, and a number for each row."""
    wide, n_bent, n_pairs = -(-len(where.columns) // TALL) * TALL, len(where.bent), len(where.pairs)
    return VECTOR_BYTES * (vectors * (n_bent + n_pairs + (n_bent + 2 * n_pairs + wide) * wide) + 2) + 8 * n_rows


def squares_bytes(where: Where, n_outputs: int, n_rows: int, vectors: int) -> int:
    """κ of so many outputs, one row of squares, and a number for each row."""
    return VECTOR_BYTES * (vectors * (len(where.bent) + len(where.pairs)) * (n_outputs + 1) + 2) + 8 * n_rows


class Kept(NamedTuple):
    """What becomes of G and ζ while a tangent is swept: copied, squared, or the squares added, to rows `step` bytes from each other."""

    how: int
    to: int
    step: int


COPIED, SQUARED, ADDED = range(3)


@kernel
def _keep(tag: Any, kept: Any, q: int, g: int) -> None:
    """G of one row, at g."""
    to = kept.to + q * kept.step
    if kept.how == ADDED:
        multiply_add_rows(tag, to, g, g, to, 1)
    elif kept.how == SQUARED:
        multiply_rows(tag, to, g, g, 1)
    else:
        copy_rows(tag, to, g, 1)


@kernel
def _keep_pairs(tag: Any, where: Any, kept: Any, z_dot: int) -> None:
    """Of all products: ζ_u and ζ_v, or 2 ζ_u ζ_v."""
    row = len(tag) * VECTOR_BYTES
    n_bent, n_pairs = len(where.bent), len(where.pairs)
    for c in range(n_pairs):
        u, v, to = z_dot + where.pairs[c, 1] * row, z_dot + where.pairs[c, 2] * row, kept.to + (n_bent + c) * kept.step
        if kept.how == COPIED:
            copy_rows(tag, to, u, 1)
            copy_rows(tag, to + n_pairs * kept.step, v, 1)
            continue
        if kept.how == SQUARED:
            fill_rows(tag, to, 1)
        multiply_add_rows(tag, to, u, v, to, 1)
        multiply_add_rows(tag, to, u, v, to, 1)


@kernel
def _move(tag: Any, table: Any, weights: Any, i: int, length: Any, direct: Any, z_dot: int) -> None:
    """ẋ_i = length: ż of the input, and where its edges lead `direct`, what their rows' sums start from."""
    n_rows, units = table[PLAN_N_ROWS], table[PLAN_N_ROWS] - table[PLAN_N_INPUTS]
    out_ptr = carray(pointer(table[PLAN_OUT_PTR]), n_rows + 1, np.int64)
    dst = carray(pointer(table[PLAN_OUT_DST]), len(weights.w_out), np.int32)
    for e in range(out_ptr[units + i], out_ptr[units + i + 1]):
        if dst[e] < n_rows:  # no helper row
            direct[dst[e]] = weights.w_out[e] * length
    values = carray(reals(tag, z_dot + i * len(tag) * VECTOR_BYTES), len(tag) * (VECTOR_BYTES // item_size(tag)))
    for lane in range(len(values)):
        values[lane] = length


@kernel
def _tangent(
    tag: Any, table: Any, weights: Any, where: Any, at: Any, direct: Any, i: int, length: Any, kept: Any, shown: bool
) -> None:
    """ż of the rows that input i reaches, along ẋ_i = length, 0 in all others, and ȧ where it is `shown`.

    `direct` and the inputs' ż are 0 before and after.
    """
    row = len(tag) * VECTOR_BYTES
    ptr = carray(pointer(table[PLAN_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    combined = carray(pointer(table[PLAN_PAIR_OF_ROW]), table[PLAN_N_ROWS], np.int64)
    z_dot, w, has_pairs = at.z_dot, weights.w_in.ctypes.data, table[PLAN_N_PAIRS] > 0
    _move(tag, table, weights, i, length, direct, z_dot)
    for j in range(table[PLAN_N_INPUTS], table[PLAN_N_ROWS]):
        here, q, reached = z_dot + j * row, where.place[j], where.bits[j, i >> 3] >> (7 - (i & 7)) & 1
        if reached:
            gather(tag, z_dot, table[PLAN_IN_SRC], w, where.middle[j], ptr[j + 1], direct[j], here)
            if has_pairs and combined[j] >= 0:
                tangent_pairs(tag, table, at.z, z_dot, z_dot, combined[j], combined[j] + 1)
        else:
            fill_rows(tag, here, 1)
        if shown:
            copy_rows(tag, at.a_dot + j * row, here, 1)
        if q >= 0:
            _keep(tag, kept, q, here)
        if reached:
            multiply_rows(tag, here, at.slope + j * row, here, 1)
    _keep_pairs(tag, where, kept, z_dot)
    _move(tag, table, weights, i, tag[0], direct, z_dot)


@kernel
def _begin(tag: Any, table: Any, weights: Any, X: Any, at: Any, n0: int) -> None:
    """A tile's rows, h'', and inputs that stand still."""
    begin_tile(tag, table, weights, X, at, n0)
    slopes(tag, table, at.a, at.bend, 2)
    fill_rows(tag, at.z_dot, table[PLAN_N_INPUTS])


@kernel
def _put_ends(tag: Any, table: Any, ends: Any, at: Any, n0: int) -> None:
    """a and y of the outputs, where they are asked for."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    a, z = carray(reals(tag, at.a), (table[PLAN_N_ROWS], lanes)), carray(reals(tag, at.z), (table[PLAN_N_ROWS], lanes))
    for lane in range(min(lanes, ends.a.shape[0] - n0)):
        for k in range(table[PLAN_N_OUTPUTS]):
            ends.a[n0 + lane, k], ends.y[n0 + lane, k] = a[out_row[k], lane], z[out_row[k], lane]


@kernel
def _put_tangents(tag: Any, table: Any, ends: Any, at: Any, n0: int, i: int) -> None:
    """G_ki of the outputs, where they are asked for."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    a_dot = carray(reals(tag, at.a_dot), (table[PLAN_N_ROWS], lanes))
    for lane in range(min(lanes, ends.tangents.shape[0] - n0)):
        for k in range(table[PLAN_N_OUTPUTS]):
            ends.tangents[n0 + lane, k, i] = a_dot[out_row[k], lane]


@kernel
def _pull_tile(tag: Any, table: Any, V: Any, at: Any, n0: int) -> None:
    """The heads' δ of a tile from V, 0 past the last sample: what is summed over the lanes counts each sample once."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    v = carray(reals(tag, at.target), (table[PLAN_N_OUTPUTS], lanes))
    load_tile(v, V, n0)
    for lane in range(min(lanes, V.shape[0] - n0), lanes):
        for k in range(table[PLAN_N_OUTPUTS]):
            v[k, lane] = 0
    tile_weights(carray(reals(tag, at.scratch + row), lanes), V[0, :0], n0, V.shape[0])
    head_deltas(table, at.z, at.keep, at.target, at.head, at.scratch, lanes, True)


@kernel
def _bends(tag: Any, table: Any, weights: Any, V: Any, where: Any, at: Any, n0: int, k: int, kappa: int) -> None:
    """κ = h'' β, or δ of products, of what leads to output k; β from e_k, or from V where there is one."""
    row = len(tag) * VECTOR_BYTES
    if V.shape[0]:
        _pull_tile(tag, table, V, at, n0)
    else:
        unit_deltas(tag, table, at, k)
    reverse_tile(tag, table, weights, at, where.last_run[k])
    for e in range(where.first[k], where.paired[k]):
        q = where.rows[e]
        here = where.bent[q] * row
        multiply_rows(tag, kappa + q * row, at.bend + here, at.beta + here, 1)
    for e in range(where.paired[k], where.stop[k]):
        q = where.rows[e]
        copy_rows(tag, kappa + q * row, at.delta + where.pairs[q - len(where.bent), 0] * row, 1)


@kernel
def _sum_pairs(tag: Any, where: Any, k: int, wide: int, kappa: int, panel: int, sums: int) -> None:
    """sums[i, l] = Σ_p κ_p G_pi G_pl, and of products, for i ≤ l (and in the blocks on the diagonal), over what leads to output k."""
    row = len(tag) * VECTOR_BYTES
    block = max(16, SUMMED_BYTES // (wide * row))
    fill_rows(tag, sums, wide * wide)
    start = where.first[k]
    while start < where.stop[k]:
        sides, stop, apart = 1, where.paired[k], 0
        if start >= stop:  # ζ_u ζ_v and ζ_v ζ_u
            sides, stop, apart = 2, where.stop[k], len(where.pairs) * wide * row
        count = min(block, stop - start)
        index = where.rows.ctypes.data + 4 * start
        for i in range(0, wide, TALL):
            if not where.used[k, i // TALL]:
                continue
            for l in range(i, wide, WIDE):  # noqa: E741  # the book's name of the second unit
                if where.used[k, l // TALL]:
                    at = sums + (i * wide + l) * row
                    for side in range(sides):
                        g, q = panel + i * row + side * apart, panel + l * row + (1 - side) * apart
                        add_squares(tag, at, wide * row, kappa, g, q, wide * row, index, count)
        start += count


@kernel
def _put_pairs(tag: Any, where: Any, sums: int, wide: int, out: Any, n0: int, k: int) -> None:
    """out[n, k, i, l] and out[n, k, l, i]."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    found = carray(reals(tag, sums), (wide, wide, lanes))
    for lane in range(min(lanes, out.shape[0] - n0)):
        target = out[n0 + lane, k]
        for c in range(len(where.columns)):
            for d in range(c, len(where.columns)):
                value = found[c, d, lane]
                target[where.columns[c], where.columns[d]] = value
                target[where.columns[d], where.columns[c]] = value


@compiled
def hessians(tag: Any, table: Any, weights: Any, X: Any, V: Any, where: Any, ends: Any, out: Any, memory: Any, span: Any) -> None:
    """out (N, K, D, D), the rows' part; given V (N, K), one Hessian a sample.  `memory`: a state's buffer, and `panel_bytes`."""
    weights, where, ends = EdgeWeights(*weights), Where(*where), Ends(*ends)
    row = len(tag) * VECTOR_BYTES
    at, kappa = places(tag, table, aligned(memory[0])), aligned(memory[1])
    n_bent, n_pairs, wide = len(where.bent), len(where.pairs), -(-len(where.columns) // TALL) * TALL
    panel = kappa + (n_bent + n_pairs) * row
    sums = panel + (n_bent + 2 * n_pairs) * wide * row
    direct, shown = carray(reals(tag, sums + wide * wide * row), table[PLAN_N_ROWS]), ends.tangents.shape[0] > 0
    one, direct[:] = tag[0] + 1, 0
    fill_rows(tag, panel, (n_bent + 2 * n_pairs) * wide)
    for number in range(span[0], span[1]):
        n0 = number * len(tag) * (VECTOR_BYTES // item_size(tag))
        _begin(tag, table, weights, X, at, n0)
        _put_ends(tag, table, ends, at, n0)
        for c in range(len(where.columns)):
            kept = Kept(COPIED, panel + c * row, wide * row)
            _tangent(tag, table, weights, where, at, direct, where.columns[c], one, kept, shown)
            _put_tangents(tag, table, ends, at, n0, where.columns[c])
        for k in range(out.shape[1]):
            _bends(tag, table, weights, V, where, at, n0, k, kappa)
            _sum_pairs(tag, where, k, wide, kappa, panel, sums)
            _put_pairs(tag, where, sums, wide, out, n0, k)


@kernel
def _put_sum(tag: Any, where: Any, k: int, kappa: int, square: int, scratch: int, line: Any, n0: int) -> None:
    """line[n] = Σ_p κ_p (square)_p over what leads to output k."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    fill_rows(tag, scratch, 1)
    e, stop = where.first[k], where.stop[k]
    while e < stop:  # runs of neighbours at a time
        q, count = where.rows[e], 1
        while e + count < stop and where.rows[e + count] == q + count:
            count += 1
        sum_products(tag, scratch + row, kappa + q * row, square + q * row, row, count, len(tag))
        add_rows(tag, scratch, scratch, scratch + row, 1)
        e += count
    found = carray(reals(tag, scratch), lanes)
    for lane in range(min(lanes, len(line) - n0)):
        line[n0 + lane] = found[lane]


@compiled
def diagonals(tag: Any, table: Any, weights: Any, X: Any, V: Any, where: Any, ends: Any, out: Any, memory: Any, span: Any) -> None:
    """out (N, K, D), the rows' part; outputs span[2] .. span[3] on the tiles span[0] .. span[1]; given V, one output a sample."""
    weights, where, ends = EdgeWeights(*weights), Where(*where), Ends(*ends)
    row = len(tag) * VECTOR_BYTES
    at, kappa = places(tag, table, aligned(memory[0])), aligned(memory[1])
    size = (len(where.bent) + len(where.pairs)) * row
    square = kappa + size * (span[3] - span[2])
    kept, direct = Kept(SQUARED, square, row), carray(reals(tag, square + size), table[PLAN_N_ROWS])
    shown, one, direct[:] = ends.tangents.shape[0] > 0, tag[0] + 1, 0
    for number in range(span[0], span[1]):
        n0 = number * len(tag) * (VECTOR_BYTES // item_size(tag))
        _begin(tag, table, weights, X, at, n0)
        _put_ends(tag, table, ends, at, n0)
        for k in range(span[2], span[3]):
            _bends(tag, table, weights, V, where, at, n0, k, kappa + (k - span[2]) * size)
        for i in where.columns:
            _tangent(tag, table, weights, where, at, direct, i, one, kept, shown)
            _put_tangents(tag, table, ends, at, n0, i)
            for k in range(span[2], span[3]):
                _put_sum(tag, where, k, kappa + (k - span[2]) * size, square, at.scratch, out[:, k, i], n0)


@kernel
def _bend_forward(tag: Any, table: Any, where: Any, at: Any, w: int, square: int) -> None:
    """Σ_i ∂²a_j/∂x_i² in ȧ, that of z in ż: Σ w ż + (g_u ż_u + g_v ż_v + 2 Σ_i ζ_ui ζ_vi), and h' ȧ + h'' Σ_i G_ji²."""
    row, n_bent, c = len(tag) * VECTOR_BYTES, len(where.bent), 0
    ptr = carray(pointer(table[PLAN_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    combined = carray(pointer(table[PLAN_PAIR_OF_ROW]), table[PLAN_N_ROWS], np.int64)
    has_pairs = table[PLAN_N_PAIRS] > 0
    for j in range(table[PLAN_N_INPUTS], table[PLAN_N_ROWS]):
        a_dot, z_dot, q = at.a_dot + j * row, at.z_dot + j * row, where.place[j]
        gather(tag, at.z_dot, table[PLAN_IN_SRC], w, where.middle[j], ptr[j + 1], tag[0], a_dot)
        if has_pairs and combined[j] >= 0:
            tangent_pairs(tag, table, at.z, at.z_dot, at.a_dot, combined[j], combined[j] + 1)
        if c < len(where.pairs) and where.pairs[c, 0] == j:
            add_rows(tag, a_dot, a_dot, square + (n_bent + c) * row, 1)
            c += 1
        multiply_rows(tag, z_dot, at.slope + j * row, a_dot, 1)
        if q >= 0:
            multiply_add_rows(tag, z_dot, at.bend + j * row, square + q * row, z_dot, 1)


@compiled
def laplacians(
    tag: Any, table: Any, weights: Any, X: Any, lengths: Any, where: Any, ends: Any, out: Any, memory: Any, span: Any
) -> None:
    """out (N, K), the rows' part of Σ_i ℓ_i² ∂²y_k/∂x_i²: squares of G summed over the inputs, then one sweep forward for all outputs."""
    weights, where, ends = EdgeWeights(*weights), Where(*where), Ends(*ends)
    row, lanes, outputs = len(tag) * VECTOR_BYTES, len(tag) * (VECTOR_BYTES // item_size(tag)), table[PLAN_N_OUTPUTS]
    at, square = places(tag, table, aligned(memory[0])), aligned(memory[1])
    n_kept, shown = len(where.bent) + len(where.pairs), ends.tangents.shape[0] > 0
    kept, direct = Kept(ADDED, square, row), carray(reals(tag, square + n_kept * row), table[PLAN_N_ROWS])
    found, direct[:] = carray(reals(tag, at.head), (outputs, lanes)), 0
    for number in range(span[0], span[1]):
        n0 = number * lanes
        _begin(tag, table, weights, X, at, n0)
        _put_ends(tag, table, ends, at, n0)
        fill_rows(tag, square, n_kept)
        for i in where.columns:
            _tangent(tag, table, weights, where, at, direct, i, lengths[i], kept, shown)
            _put_tangents(tag, table, ends, at, n0, i)
        _bend_forward(tag, table, where, at, weights.w_in.ctypes.data, square)
        push_outputs(tag, table, at.z, at.keep, at.a_dot, at.head, at.scratch)
        for lane in range(min(lanes, out.shape[0] - n0)):
            for k in range(outputs):
                out[n0 + lane, k] = found[k, lane]


@kernel
def _change_heads(tag: Any, table: Any, samples: Any, at: Any, n0: int, pulled: bool) -> None:
    """Rδ = 0, but for what the heads' δ change by along ȧ, and h'' ȧ β."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    if pulled:
        head_bends(tag, table, at.z, at.keep, at.target, at.a_dot, at.head, at.scratch)
    else:
        tile_weights(carray(reals(tag, at.scratch + WEIGHT_ROW * row), lanes), samples.weight, n0, samples.X.shape[0])
        head_curvature(tag, table, at.z, at.keep, at.target, at.a_dot, at.head, at.other, at.scratch, True)
    inject(tag, table, at.r_delta, at.head)
    multiply_rows(tag, at.bend, at.bend, at.beta, table[PLAN_N_ROWS])
    first, units = table[PLAN_N_INPUTS] * row, table[PLAN_N_ROWS] - table[PLAN_N_INPUTS]
    multiply_add_rows(tag, at.r_delta + first, at.bend + first, at.a_dot + first, at.r_delta + first, units)


@compiled
def products_along(
    tag: Any, table: Any, weights: Any, along: Any, samples: Any, U: Any, by_x: Any, sums: Any, buffer: Any, span: Any
) -> None:
    """by_x (N, D) = ∂/∂x, and sums += ∂/∂w by edge and row, of E along (U, v); with span[2] of ⟨V, y⟩, T being V.

    U of no samples stands for inputs that stand still.
    """
    weights, along, samples = EdgeWeights(*weights), EdgeWeights(*along), Samples(*samples)
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    at, inputs = places(tag, table, aligned(buffer)), table[PLAN_N_INPUTS]
    w_in, v_in, v_bias = weights.w_in.ctypes.data, along.w_in.ctypes.data, along.bias.ctypes.data
    found = carray(reals(tag, at.r_delta), (inputs, lanes))
    for number in range(span[0], span[1]):
        n0 = number * lanes
        _begin(tag, table, weights, samples.X, at, n0)
        if span[2]:
            _pull_tile(tag, table, samples.T, at, n0)
        else:
            tile_deltas(tag, table, samples, at, n0)
        reverse_tile(tag, table, weights, at, table[PLAN_N_RUNS])
        fill_rows(tag, at.z_dot, inputs)
        fill_rows(tag, at.z_dot + table[PLAN_N_ROWS] * row, 1)
        if U.shape[0]:
            load_tile(carray(reals(tag, at.z_dot), (inputs, lanes)), U, n0)
        tangent_state(tag, table, at, w_in, v_in, v_bias, True)
        _change_heads(tag, table, samples, at, n0, span[2] > 0)
        reverse_products(tag, table, at, weights.w_out.ctypes.data, along.w_out.ctypes.data, sums.ctypes.data, True)
        for lane in range(min(lanes, samples.X.shape[0] - n0)):
            for i in range(inputs):
                by_x[n0 + lane, i] = found[i, lane]
