"""The formulas of heads as C functions, compiled once a dtype and only where some network has such a head (`prepare_heads`)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import types

from graphbp.extend import HeadGroup
from graphbp_numba.heads.kernels import (
    arrays,
    delta_at_a,
    leave_out,
    others,
    project,
    softmax_less,
    value_at_a,
    weight_rows,
    winner,
)
from graphbp_numba.heads.softmax_logs import logs_curve, logs_delta, logs_value
from graphbp_numba.instructions.calls import call_binary, call_unary, item_size, pointer, reals
from graphbp_numba.machine.functions import pair_addresses
from graphbp_numba.machine.jit import carray, compiled_c, integers
from graphbp_numba.plan.heads import paired
from graphbp_numba.plan.tables import (
    CODE_SQUARES,
    FORM_CANONICAL,
    FORM_LOGS,
    HEAD_ADD_VALUE,
    HEAD_CODE,
    HEAD_COUPLED,
    HEAD_CURVE,
    HEAD_DF,
    HEAD_DY,
    HEAD_FIRST,
    HEAD_FORM,
    HEAD_LAST,
    HEAD_MAKE_Y,
    HEAD_PAIR_DELTA,
    HEAD_PAIR_HESSIAN,
    HEAD_PAIR_OUTER,
    HEAD_PAIR_VALUE,
    HEAD_VALUE,
    PLAN_EACH,
    PLAN_N_KEEP,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
)

__all__ = ["prepare_heads", "prepare_pair"]

_VALUE = types.float64(*[types.intp] * 7, types.float64)


@cache
def _softmax(dtype: str) -> Any:
    zero = getattr(np, dtype)(0)

    def softmax(at: int, h: int, z_at: int, keep_at: int, lanes: int) -> None:
        tag = (zero,)
        table, heads, positions, out_row, out_keep = arrays(at)
        z = carray(reals(tag, z_at), (table[PLAN_N_ROWS], lanes))
        keep = carray(reals(tag, keep_at), (table[PLAN_N_KEEP], lanes))
        first, last = heads[h, HEAD_FIRST], heads[h, HEAD_LAST]
        for lane in range(lanes):
            top = keep[out_keep[positions[winner(keep, out_keep, positions, first, last, lane)]], lane]
            total = z.dtype.type(0)
            for q in range(first, last):
                e = math.exp(keep[out_keep[positions[q]], lane] - top)
                z[out_row[positions[q]], lane] = e
                total += z[out_row[positions[q]], lane]
            for q in range(first, last):
                z[out_row[positions[q]], lane] /= total

    return compiled_c(integers(5))(softmax)


@cache
def _value(dtype: str) -> Any:
    zero = getattr(np, dtype)(0)

    def value(at: int, h: int, z_at: int, keep_at: int, t_at: int, scratch_at: int, lanes: int, total: float) -> float:
        """total + the weighted errors of outputs that each have their own."""
        tag = (zero,)
        table, heads, positions, out_row, out_keep = arrays(at)
        row, code = lanes * item_size(tag), heads[h, HEAD_CODE]
        keep, t = carray(reals(tag, keep_at), (table[PLAN_N_KEEP], lanes)), carray(reals(tag, t_at), (table[PLAN_N_OUTPUTS], lanes))
        scratch = carray(reals(tag, scratch_at), (2, lanes))
        weights, own = weight_rows(tag, table, t_at, scratch_at + row, lanes)
        at_a = heads[h, HEAD_FORM] == FORM_CANONICAL and code >= 0
        for q in range(heads[h, HEAD_FIRST], heads[h, HEAD_LAST]):
            k = positions[q]
            if heads[h, HEAD_PAIR_VALUE]:
                call_binary(heads[h, HEAD_PAIR_VALUE], keep_at + out_keep[k] * row, t_at + k * row, scratch_at, lanes)
            elif not at_a:
                call_binary(heads[h, HEAD_VALUE], z_at + out_row[k] * row, t_at + k * row, scratch_at, lanes)
            for lane in range(lanes):
                if weights[own * k, lane] == 0:
                    continue
                error = value_at_a(code, keep[out_keep[k], lane], t[k, lane]) if at_a else scratch[0, lane]
                total += weights[own * k, lane] * error
        return total

    return compiled_c(_VALUE)(value)


@cache
def _softmax_value(dtype: str) -> Any:
    zero = getattr(np, dtype)(0)

    def softmax_value(at: int, h: int, z_at: int, keep_at: int, t_at: int, scratch_at: int, lanes: int, total: float) -> float:
        """total + the weighted cross-entropies, or squares, of one softmax."""
        tag = (zero,)
        table, heads, positions, out_row, out_keep = arrays(at)
        z, t = carray(reals(tag, z_at), (table[PLAN_N_ROWS], lanes)), carray(reals(tag, t_at), (table[PLAN_N_OUTPUTS], lanes))
        keep = carray(reals(tag, keep_at), (table[PLAN_N_KEEP], lanes))
        first, last = heads[h, HEAD_FIRST], heads[h, HEAD_LAST]
        weights, own = weight_rows(tag, table, t_at, scratch_at + lanes * item_size(tag), lanes)
        shared = own * positions[first]
        at_a = heads[h, HEAD_FORM] == FORM_CANONICAL and heads[h, HEAD_CODE] >= 0
        for lane in range(lanes):
            if weights[shared, lane] == 0:
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
            total += weights[shared, lane] * value
        return total

    return compiled_c(_VALUE)(softmax_value)


@cache
def _delta(dtype: str) -> Any:
    zero = getattr(np, dtype)(0)

    def delta(at: int, h: int, z_at: int, keep_at: int, t_at: int, out_at: int, scratch_at: int, lanes: int, pull: int) -> None:
        """δ of outputs that each have their own error."""
        tag = (zero,)
        table, heads, positions, out_row, out_keep = arrays(at)
        row, code = lanes * item_size(tag), heads[h, HEAD_CODE]
        z, t = carray(reals(tag, z_at), (table[PLAN_N_ROWS], lanes)), carray(reals(tag, t_at), (table[PLAN_N_OUTPUTS], lanes))
        keep, out = (
            carray(reals(tag, keep_at), (table[PLAN_N_KEEP], lanes)),
            carray(reals(tag, out_at), (table[PLAN_N_OUTPUTS], lanes)),
        )
        scratch = carray(reals(tag, scratch_at), (2, lanes))
        weights, own = weight_rows(tag, table, t_at, scratch_at + row, lanes)
        for q in range(heads[h, HEAD_FIRST], heads[h, HEAD_LAST]):
            k = positions[q]
            if heads[h, HEAD_FORM] == FORM_CANONICAL and not pull:
                for lane in range(lanes):
                    less = delta_at_a(code, keep[out_keep[k], lane], z[out_row[k], lane], t[k, lane])
                    out[k, lane] = weights[own * k, lane] * less
                continue
            if not pull and heads[h, HEAD_PAIR_DELTA]:
                call_binary(heads[h, HEAD_PAIR_DELTA], keep_at + out_keep[k] * row, t_at + k * row, out_at + k * row, lanes)
                for lane in range(lanes):
                    out[k, lane] *= weights[own * k, lane]
                continue
            if pull:
                for lane in range(lanes):
                    out[k, lane] = t[k, lane]
            else:
                call_binary(heads[h, HEAD_DY], z_at + out_row[k] * row, t_at + k * row, out_at + k * row, lanes)
            call_unary(heads[h, HEAD_DF], keep_at + out_keep[k] * row, scratch_at, lanes)
            for lane in range(lanes):
                out[k, lane] *= weights[own * k, lane] * scratch[0, lane]
        leave_out(weights, own, positions, heads[h, HEAD_FIRST], heads[h, HEAD_LAST], out)

    return compiled_c(integers(9))(delta)


@cache
def _softmax_delta(dtype: str) -> Any:
    zero = getattr(np, dtype)(0)

    def softmax_delta(
        at: int, h: int, z_at: int, keep_at: int, t_at: int, out_at: int, scratch_at: int, lanes: int, pull: int
    ) -> None:
        """δ of one softmax."""
        tag = (zero,)
        table, heads, positions, out_row, _ = arrays(at)
        row, code = lanes * item_size(tag), heads[h, HEAD_CODE]
        z, t = carray(reals(tag, z_at), (table[PLAN_N_ROWS], lanes)), carray(reals(tag, t_at), (table[PLAN_N_OUTPUTS], lanes))
        out = carray(reals(tag, out_at), (table[PLAN_N_OUTPUTS], lanes))
        weights, own = weight_rows(tag, table, t_at, scratch_at + row, lanes)
        first, last, canonical = heads[h, HEAD_FIRST], heads[h, HEAD_LAST], heads[h, HEAD_FORM] == FORM_CANONICAL and not pull
        shared = own * positions[first]
        if canonical or (code == CODE_SQUARES and not pull):
            for lane in range(lanes):
                rest = others(z, out_row, positions, first, last, lane)
                for q in range(first, last):
                    k = positions[q]
                    less = softmax_less(z[out_row[k], lane], t[k, lane], rest)
                    out[k, lane] = weights[shared, lane] * less if canonical else less
        else:
            for q in range(first, last):
                k = positions[q]
                if pull:
                    for lane in range(lanes):
                        out[k, lane] = t[k, lane]
                else:
                    call_binary(heads[h, HEAD_DY], z_at + out_row[k] * row, t_at + k * row, out_at + k * row, lanes)
        if not canonical:
            each = carray(pointer(table[PLAN_EACH]), table[PLAN_N_OUTPUTS], np.int64)
            for lane in range(lanes):
                project(z, out_row, positions, first, last, lane, out, each, out, weights[shared, lane])
        leave_out(weights, own, positions, first, last, out)

    return compiled_c(integers(9))(softmax_delta)


def prepare_heads(lines: Any, dtype: str, *columns: int) -> None:
    """Have the formulas in these columns compiled, and their addresses put into the heads' lines."""
    for line in lines:
        coupled = bool(line[HEAD_COUPLED])
        summed = coupled and (line[HEAD_CODE] == CODE_SQUARES or (line[HEAD_FORM] == FORM_CANONICAL and line[HEAD_CODE] >= 0))
        for column in columns:
            if column == HEAD_MAKE_Y:
                line[column] = _softmax(dtype).address if coupled else 0
            elif line[HEAD_FORM] == FORM_LOGS:
                line[column] = (logs_value if column == HEAD_ADD_VALUE else logs_delta)(dtype).address
            elif column == HEAD_ADD_VALUE:
                line[column] = (_softmax_value if summed else _value)(dtype).address
            else:
                line[column] = (_softmax_delta if coupled else _delta)(dtype).address


def prepare_pair(line: Any, head: HeadGroup, dtype: str) -> None:
    """Have the second derivatives of a head's pair, or of a softmax's logarithms, compiled, and their addresses in its line."""
    if line[HEAD_FORM] == FORM_LOGS:
        line[HEAD_CURVE] = logs_curve(dtype).address
    if paired(head):
        line[[HEAD_PAIR_HESSIAN, HEAD_PAIR_OUTER]] = pair_addresses(head, dtype, "hessian", "outer")
