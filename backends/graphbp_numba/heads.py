"""Where the error meets the output units of a tile: y, E and δ (`graphbp.heads` has the formulas).

z holds y of every row, `keep` the outputs' a; a row of `heads` is an output's.  Sums over a softmax's units begin with a 0 of their own:
memory that nobody wrote may hold a NaN, and 0 · NaN is one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphbp_numba.jit import carray, kernel
from graphbp_numba.plan import (
    CANONICAL,
    COUNTS,
    COUPLED,
    ERROR_CODE,
    ERROR_DY,
    ERROR_VALUE,
    FIRST,
    HEAD_DF,
    HEAD_FIELDS,
    HEAD_KIND,
    HEAD_POS,
    HEADS,
    LAST,
    LOGISTIC,
    N_HEADS,
    N_OUTPUTS,
    OUT_KEEP,
    OUT_ROW,
    PAIR_DELTA,
    PAIR_VALUE,
    SQUARES,
)
from graphbp_numba.rows import call_binary, call_unary, pointer

__all__ = ["head_deltas", "head_values", "others", "project", "softmax_less", "softmax_rows", "winner"]


@kernel
def softmax_rows(table: Any, z: Any, keep: Any) -> None:
    """y = softmax(a) over each softmax head's rows."""
    heads = carray(pointer(table[HEADS]), (table[N_HEADS], HEAD_FIELDS), np.int64)
    positions = carray(pointer(table[HEAD_POS]), table[N_OUTPUTS], np.int64)
    out_row = carray(pointer(table[OUT_ROW]), table[N_OUTPUTS], np.int64)
    out_keep = carray(pointer(table[OUT_KEEP]), table[N_OUTPUTS], np.int64)
    for h in range(table[N_HEADS]):
        if heads[h, COUPLED]:
            first, last = heads[h, FIRST], heads[h, LAST]
            for lane in range(z.shape[1]):
                top = keep[out_keep[positions[winner(keep, out_keep, positions, first, last, lane)]], lane]
                total = z.dtype.type(0)
                for q in range(first, last):
                    e = math.exp(keep[out_keep[positions[q]], lane] - top)
                    z[out_row[positions[q]], lane] = e
                    total += z[out_row[positions[q]], lane]
                for q in range(first, last):
                    z[out_row[positions[q]], lane] /= total


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
    if code == SQUARES:
        return 0.5 * (a - t) * (a - t)
    if code == LOGISTIC:
        return math.log1p(math.exp(-abs(a))) + ((1 - t) if a > 0 else t) * abs(a)
    return math.exp(a) - t * a


@kernel
def delta_at_a(code: int, a: Any, y: Any, t: Any) -> Any:
    """One unit's y − t at a canonical head: see `graphbp.error_functions`."""
    if code == LOGISTIC:
        e = math.exp(-abs(a))
        return (1 - t) - e / (1 + e) if a > 0 else e / (1 + e) - t
    if code == COUNTS and abs(a) < 0.5:
        return math.expm1(a) - (t - 1)
    return y - t


@kernel
def head_values(tag: Any, table: Any, z: Any, keep: Any, t: Any, heads: Any, scratch: Any, weights: Any) -> float:
    """Σ over heads and lanes of the weighted errors of one tile."""
    table_heads = carray(pointer(table[HEADS]), (table[N_HEADS], HEAD_FIELDS), np.int64)
    positions = carray(pointer(table[HEAD_POS]), table[N_OUTPUTS], np.int64)
    out_row = carray(pointer(table[OUT_ROW]), table[N_OUTPUTS], np.int64)
    out_keep = carray(pointer(table[OUT_KEEP]), table[N_OUTPUTS], np.int64)
    lanes, code = z.shape[1], table[ERROR_CODE]
    total = 0.0
    for h in range(table[N_HEADS]):
        first, last, coupled = table_heads[h, FIRST], table_heads[h, LAST], table_heads[h, COUPLED] != 0
        at_a = table_heads[h, HEAD_KIND] == CANONICAL and code >= 0
        if coupled and (at_a or code == SQUARES):
            for lane in range(lanes):
                if weights[lane] == 0:
                    continue
                value = 0.0
                if at_a:
                    best = winner(keep, out_keep, positions, first, last, lane)
                    top, rest = keep[out_keep[positions[best]], lane], 0.0
                    for q in range(first, last):
                        if q != best:
                            rest += math.exp(keep[out_keep[positions[q]], lane] - top)
                    more = math.log1p(rest)
                    for q in range(first, last):
                        value += t[positions[q], lane] * ((top - keep[out_keep[positions[q]], lane]) + more)
                else:
                    rest = others(z, out_row, positions, first, last, lane)
                    for q in range(first, last):
                        less = softmax_less(z[out_row[positions[q]], lane], t[positions[q], lane], rest)
                        value += 0.5 * less * less
                total += weights[lane] * value
            continue
        for q in range(first, last):
            k = positions[q]
            if table_heads[h, PAIR_VALUE]:
                call_binary(table_heads[h, PAIR_VALUE], address(keep, out_keep[k]), address(t, k), address(scratch, 0), lanes)
            elif not at_a:
                call_binary(table[ERROR_VALUE], address(z, out_row[k]), address(t, k), address(scratch, 0), lanes)
            for lane in range(lanes):
                if weights[lane] == 0:
                    continue
                value = value_at_a(code, keep[out_keep[k], lane], t[k, lane]) if at_a else scratch[0, lane]
                total += weights[lane] * value
    return total


@kernel
def head_deltas(tag: Any, table: Any, z: Any, keep: Any, t: Any, heads: Any, scratch: Any, weights: Any, pull: bool) -> None:
    """heads[k] = s ∂E/∂a_k; with `pull`, t holds V and heads = (∂y/∂a)ᵀ V."""
    table_heads = carray(pointer(table[HEADS]), (table[N_HEADS], HEAD_FIELDS), np.int64)
    positions = carray(pointer(table[HEAD_POS]), table[N_OUTPUTS], np.int64)
    out_row = carray(pointer(table[OUT_ROW]), table[N_OUTPUTS], np.int64)
    out_keep = carray(pointer(table[OUT_KEEP]), table[N_OUTPUTS], np.int64)
    lanes, code = z.shape[1], table[ERROR_CODE]
    for h in range(table[N_HEADS]):
        first, last, coupled = table_heads[h, FIRST], table_heads[h, LAST], table_heads[h, COUPLED] != 0
        canonical = table_heads[h, HEAD_KIND] == CANONICAL and not pull
        if coupled and not pull and (canonical or code == SQUARES):
            for lane in range(lanes):
                rest = others(z, out_row, positions, first, last, lane)
                for q in range(first, last):
                    k = positions[q]
                    less = softmax_less(z[out_row[k], lane], t[k, lane], rest)
                    heads[k, lane] = weights[lane] * less if canonical else less
        for q in range(first, last):
            k = positions[q]
            if coupled and (canonical or (code == SQUARES and not pull)):
                continue
            if canonical:
                for lane in range(lanes):
                    less = delta_at_a(code, keep[out_keep[k], lane], z[out_row[k], lane], t[k, lane])
                    heads[k, lane] = weights[lane] * less
                continue
            if not pull and table_heads[h, PAIR_DELTA]:
                call_binary(table_heads[h, PAIR_DELTA], address(keep, out_keep[k]), address(t, k), address(heads, k), lanes)
                for lane in range(lanes):
                    heads[k, lane] *= weights[lane]
                continue
            if pull:
                heads[k] = t[k]
            else:
                call_binary(table[ERROR_DY], address(z, out_row[k]), address(t, k), address(heads, k), lanes)
            if not coupled:
                call_unary(table_heads[h, HEAD_DF], address(keep, out_keep[k]), address(scratch, 0), lanes)
                for lane in range(lanes):
                    heads[k, lane] *= weights[lane] * scratch[0, lane]
        if coupled and not canonical:
            here = np.arange(table[N_OUTPUTS])
            for lane in range(lanes):
                project(z, out_row, positions, first, last, lane, heads, here, heads, weights[lane])


@kernel
def address(rows: Any, index: int) -> Any:
    """Where a row begins."""
    return rows.ctypes.data + index * rows.shape[1] * rows.itemsize
