"""Sweeps that keep everything: a, z, h'(a) and δ of every row of a tile, for Jacobians, single samples and second order.

The gradient's own sweep (`graphbp_numba.first_order.runs`) overwrites z by δ and never forms h'(a) where z will do; here each has rows of its
own, and h' and h'' are those of a.  Where these rows stand in a tile's buffer is said once, by `places`.

    forward_state   a, z                              reverse_state   δ from δ at the heads, Σ w δ in β
    slopes          h'(a) or h''(a)                   tangent_state   ȧ, ż along a direction in the inputs or the weights
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphbp_numba.instructions.calls import call_unary, item_size, pointer, reals
from graphbp_numba.instructions.gathers import gather
from graphbp_numba.instructions.rows import copy_rows, fill_rows, multiply_add_rows, multiply_rows
from graphbp_numba.instructions.tangent_gathers import Both, gather_both
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, kernel
from graphbp_numba.plan.tables import (
    KIND_ELEMENTWISE,
    PLAN_HELPER_STOP,
    PLAN_IN_PTR,
    PLAN_IN_SRC,
    PLAN_N_INPUTS,
    PLAN_N_KEEP,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_OUT_DST,
    PLAN_OUT_KEEP,
    PLAN_OUT_PTR,
    PLAN_OUT_ROW,
    PLAN_RUNS,
    PLAN_STATE_ROWS,
    PLAN_TARGET_ROWS,
    RUN_D2F,
    RUN_DF,
    RUN_F,
    RUN_FIELDS,
    RUN_KIND,
    RUN_LEAF,
    RUN_ORDER,
    RUN_PAIR_FIRST,
    RUN_PAIR_STOP,
    RUN_START,
    RUN_STOP,
)
from graphbp_numba.states.pairs import combine_pairs, spread_pairs, tangent_pairs

__all__ = [
    "Places",
    "forward_state",
    "inject",
    "keep_outputs",
    "line_address",
    "places",
    "put_row",
    "reverse_state",
    "slopes",
    "state_rows",
    "take_rows",
    "tangent_state",
]

SCRATCH_ROWS = 8


def state_rows(rows: int, n_keep: int, n_outputs: int, target_rows: int) -> int:
    """Rows of a buffer with every section, of so many rows for units."""
    return 9 * rows + n_keep + 2 * n_outputs + target_rows + SCRATCH_ROWS


class Places(NamedTuple):
    """Addresses of a tile's sections: first those with a row for each unit, then kept a, outputs, scratch.

    Behind the units' rows stands that of the bias unit (z, ż), or stand the helper rows of combinations (δ, Rδ).

    aside : where products wait for their sum over lanes.
    """

    a: int
    z: int
    slope: int
    delta: int
    beta: int
    bend: int
    a_dot: int
    z_dot: int
    r_delta: int
    keep: int
    head: int
    target: int
    other: int
    scratch: int
    aside: int


@kernel
def places(tag: Any, table: Any, base: int) -> Any:
    """The `Places` of a buffer that begins at `base`."""
    row = len(tag) * VECTOR_BYTES
    units, outputs = table[PLAN_STATE_ROWS] * row, table[PLAN_N_OUTPUTS] * row
    keep = base + 9 * units
    head = keep + table[PLAN_N_KEEP] * row
    other = head + outputs + table[PLAN_TARGET_ROWS] * row
    scratch = other + outputs
    return Places(
        a=base,
        z=base + units,
        slope=base + 2 * units,
        delta=base + 3 * units,
        beta=base + 4 * units,
        bend=base + 5 * units,
        a_dot=base + 6 * units,
        z_dot=base + 7 * units,
        r_delta=base + 8 * units,
        keep=keep,
        head=head,
        target=head + outputs,
        other=other,
        scratch=scratch,
        aside=scratch + SCRATCH_ROWS * row,
    )


@kernel
def line_address(values: Any, line: int, n0: int) -> Any:
    """The address of values[line, n0]."""
    return values.ctypes.data + (line * values.shape[1] + n0) * values.itemsize


@kernel
def take_rows(tag: Any, source: Any, first: int, n0: int, target: int, count: int) -> None:
    """A tile's rows from `count` rows of an array (rows, samples).  The last tile may read past the end of a row: one more must follow."""
    for j in range(count):
        copy_rows(tag, target + j * len(tag) * VECTOR_BYTES, line_address(source, first + j, n0), 1)


@kernel
def put_row(tag: Any, source: int, target: Any, line: int, n0: int, n_samples: int) -> None:
    """target[line, n0:] = a tile's row, as much of it as there is room for, and zeros after the last tile; lines of whole vectors."""
    item = item_size(tag)
    n = target.shape[target.ndim - 1]
    at, vectors = target.ctypes.data + (line * n + n0) * item, (n - n0) * item // VECTOR_BYTES
    if vectors < len(tag):
        copy_rows((tag[0],), at, source, vectors)
        return
    copy_rows(tag, at, source, 1)
    if n0 + len(tag) * VECTOR_BYTES // item >= n_samples:
        fill_rows((tag[0],), at + len(tag) * VECTOR_BYTES, vectors - len(tag))


@kernel
def forward_state(tag: Any, table: Any, w: int, bias: int, a: int, z: int) -> None:
    """a and z of every row; inputs have a = z = x already in z."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    biases = carray(reals(tag, bias), table[PLAN_N_ROWS])
    copy_rows(tag, a, z, table[PLAN_N_INPUTS])
    for r in range(table[PLAN_N_RUNS]):
        start, end = runs[r, RUN_START], runs[r, RUN_STOP]
        for j in range(start, end):
            gather(tag, z, table[PLAN_IN_SRC], w, ptr[j], ptr[j + 1], biases[j], a + j * row)
        combine_pairs(tag, table, z, a, runs[r, RUN_PAIR_FIRST], runs[r, RUN_PAIR_STOP])
        if runs[r, RUN_F] != 0:
            call_unary(runs[r, RUN_F], a + start * row, z + start * row, (end - start) * lanes)
        else:
            copy_rows(tag, z + start * row, a + start * row, end - start)
    ones = carray(reals(tag, z + table[PLAN_N_ROWS] * row), lanes)
    for lane in range(lanes):
        ones[lane] = 1


@kernel
def keep_outputs(tag: Any, table: Any, a: int, keep: int) -> None:
    """The outputs' a where the heads look for them."""
    row = len(tag) * VECTOR_BYTES
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    out_keep = carray(pointer(table[PLAN_OUT_KEEP]), table[PLAN_N_OUTPUTS], np.int64)
    for k in range(table[PLAN_N_OUTPUTS]):
        copy_rows(tag, keep + out_keep[k] * row, a + out_row[k] * row, 1)


@kernel
def slopes(tag: Any, table: Any, a: int, out: int, order: int) -> None:
    """h'(a) (order 1) or h''(a) of every hidden and output row; 1 or 0 at linear ones, 0 where nothing is fed: it may be infinite."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    for r in range(table[PLAN_N_RUNS]):
        start, end = runs[r, RUN_START], runs[r, RUN_STOP]
        if runs[r, RUN_LEAF]:
            fill_rows(tag, out + start * row, end - start)
        elif runs[r, RUN_KIND] == KIND_ELEMENTWISE:
            call_unary(runs[r, RUN_DF if order == 1 else RUN_D2F], a + start * row, out + start * row, (end - start) * lanes)
        else:
            values = carray(reals(tag, out + start * row), (end - start) * lanes)
            for i in range((end - start) * lanes):
                values[i] = 1 if order == 1 else 0


@kernel
def reverse_state(tag: Any, table: Any, w: int, at: Any, stop: int) -> None:
    """β = Σ w δ and δ += h' β for the runs before `stop` and the inputs; δ holds the heads' terms, 0 elsewhere."""
    slope, delta, beta = at.slope, at.delta, at.beta
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_OUT_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    units = table[PLAN_N_ROWS] - table[PLAN_N_INPUTS]
    for r in range(stop - 1, -1, -1):
        start, end, order = runs[r, RUN_START], runs[r, RUN_STOP], runs[r, RUN_ORDER]
        if runs[r, RUN_LEAF]:  # δ is the heads' alone, also where h' is no number
            fill_rows(tag, beta + start * row, end - start)
            spread_pairs(tag, table, at.z, delta, runs[r, RUN_PAIR_FIRST], runs[r, RUN_PAIR_STOP])
            continue
        for j in range(start, end):
            e = order + j - start
            gather(tag, delta, table[PLAN_OUT_DST], w, ptr[e], ptr[e + 1], tag[0], beta + j * row)
        here = start * row
        multiply_add_rows(tag, delta + here, slope + here, beta + here, delta + here, end - start)
        spread_pairs(tag, table, at.z, delta, runs[r, RUN_PAIR_FIRST], runs[r, RUN_PAIR_STOP])
    for i in range(table[PLAN_N_INPUTS]):
        gather(tag, delta, table[PLAN_OUT_DST], w, ptr[units + i], ptr[units + i + 1], tag[0], beta + i * row)
    copy_rows(tag, delta, beta, table[PLAN_N_INPUTS])


@kernel
def tangent_state(tag: Any, table: Any, at: Any, w: int, v: int, v_bias: int, along: bool) -> None:
    """ȧ_j = Σ_i w_ji ż_i (+ v_ji z_i + v_j, where `along` weights v), ż = h' ȧ; the inputs' ż is there already."""
    z, a_dot, z_dot = at.z, at.a_dot, at.z_dot
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[PLAN_RUNS]), (table[PLAN_N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[PLAN_IN_PTR]), table[PLAN_N_ROWS] + 1, np.int64)
    for r in range(table[PLAN_N_RUNS]):
        start, end = runs[r, RUN_START], runs[r, RUN_STOP]
        for j in range(start, end):
            out = a_dot + j * row
            if along:
                direction = carray(reals(tag, v_bias), table[PLAN_N_ROWS])
                both = Both(z_dot, z - z_dot, w, v)
                gather_both(tag, both, table[PLAN_IN_SRC], ptr[j], ptr[j + 1], direction[j], out)
            else:
                gather(tag, z_dot, table[PLAN_IN_SRC], w, ptr[j], ptr[j + 1], tag[0], out)
        here = start * row
        tangent_pairs(tag, table, z, z_dot, a_dot, runs[r, RUN_PAIR_FIRST], runs[r, RUN_PAIR_STOP])
        multiply_rows(tag, z_dot + here, at.slope + here, a_dot + here, end - start)


@kernel
def inject(tag: Any, table: Any, rows: int, heads: int) -> None:
    """rows = 0, but for the heads' values at the output rows."""
    row = len(tag) * VECTOR_BYTES
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    fill_rows(tag, rows, table[PLAN_HELPER_STOP])
    for k in range(table[PLAN_N_OUTPUTS]):
        copy_rows(tag, rows + out_row[k] * row, heads + k * row, 1)
