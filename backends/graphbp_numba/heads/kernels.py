"""What the formulas of heads are made of: a softmax's winner, its projection, errors and δ formed from a."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.machine.jit import carray, kernel
from graphbp_numba.plan.tables import (
    CODE_COUNTS,
    CODE_LOGISTIC,
    CODE_SQUARES,
    HEAD_FIELDS,
    PLAN_HEAD_POS,
    PLAN_HEADS,
    PLAN_N_HEADS,
    PLAN_N_OUTPUTS,
    PLAN_OUT_KEEP,
    PLAN_OUT_ROW,
    PLAN_SIZE,
    PLAN_TARGET_ROWS,
)

__all__ = ["arrays", "delta_at_a", "leave_out", "others", "project", "softmax_less", "value_at_a", "weight_rows", "winner"]


@kernel
def winner(rows: Any, row: Any, positions: Any, first: int, last: int, lane: int) -> int:
    """Which of a softmax's units, first ≤ q < last, is the largest; a NaN is."""
    best = first
    top = rows[row[positions[first]], lane]
    for q in range(first + 1, last):
        value = rows[row[positions[q]], lane]
        if value > top or value != value:
            best, top = q, value
    return best


@kernel
def others(z: Any, out_row: Any, positions: Any, first: int, last: int, lane: int) -> Any:
    """The sum of a softmax's y but for one above ½: 1 − y of that."""
    total = z.dtype.type(0)
    for q in range(first, last):
        y = z[out_row[positions[q]], lane]
        if not y > 0.5:
            total += y
    return total


@kernel
def softmax_less(y: Any, t: Any, rest: Any) -> Any:
    """y − t, with `others` as rest."""
    return (1 - t) - rest if y > 0.5 else y - t


@kernel
def project(
    z: Any, out_row: Any, positions: Any, first: int, last: int, lane: int, v: Any, v_row: Any, out: Any, scale: Any
) -> None:
    """out_k = scale · (∂y/∂a v)_k = scale · y_k (d_k − Σ_c y_c d_c) at one softmax, d = v − v of the largest y; v may be out."""
    best = winner(z, out_row, positions, first, last, lane)
    base = v[v_row[positions[best]], lane]
    dot = z.dtype.type(0)
    for q in range(first, last):
        k = positions[q]
        dot += z[out_row[k], lane] * (v[v_row[k], lane] - base)
    for q in range(first, last):
        k = positions[q]
        out[k, lane] = scale * z[out_row[k], lane] * ((v[v_row[k], lane] - base) - dot)


@kernel
def value_at_a(code: int, a: Any, t: Any) -> Any:
    """One unit's error at a canonical head, from a: see `graphbp.error_functions`."""
    if code == CODE_SQUARES:
        return 0.5 * (a - t) * (a - t)
    if code == CODE_LOGISTIC:
        return math.log1p(math.exp(-abs(a))) + ((1 - t) if a > 0 else t) * abs(a)
    return math.exp(a) - t * a


@kernel
def delta_at_a(code: int, a: Any, y: Any, t: Any) -> Any:
    """One unit's y − t at a canonical head: see `graphbp.error_functions`."""
    if code == CODE_LOGISTIC:
        e = math.exp(-abs(a))
        return (1 - t) - e / (1 + e) if a > 0 else e / (1 + e) - t
    if code == CODE_COUNTS and abs(a) < 0.5:
        return math.expm1(a) - (t - 1)
    return y - t


@kernel
def arrays(at: int) -> Any:
    """(table, heads, positions, out_row, out_keep) of the table at an address."""
    table = carray(pointer(at), PLAN_SIZE, np.int64)
    heads = carray(pointer(table[PLAN_HEADS]), (table[PLAN_N_HEADS], HEAD_FIELDS), np.int64)
    positions = carray(pointer(table[PLAN_HEAD_POS]), table[PLAN_N_OUTPUTS], np.int64)
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    out_keep = carray(pointer(table[PLAN_OUT_KEEP]), table[PLAN_N_OUTPUTS], np.int64)
    return table, heads, positions, out_row, out_keep


@kernel
def weight_rows(tag: Any, table: Any, t_at: int, shared_at: int, lanes: int) -> Any:
    """(rows of weights, own): output k has the row own · k, its own behind the targets or the one of the samples, own = 0, that all share."""
    k = table[PLAN_N_OUTPUTS]
    own = 1 if table[PLAN_TARGET_ROWS] > k else 0
    at = t_at + k * lanes * item_size(tag) if own else shared_at
    return carray(reals(tag, at), (k, lanes)), own


@kernel
def leave_out(weights: Any, own: int, positions: Any, first: int, last: int, out: Any) -> None:
    """0 where an output's own weight is 0, whatever stood there."""
    for q in range(first, last if own else first):
        k = positions[q]
        for lane in range(out.shape[1]):
            if weights[k, lane] == 0:
                out[k, lane] = 0
