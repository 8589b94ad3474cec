"""A softmax under binary cross-entropy or Poisson: the formulas of `graphbp.softmax`, a tile at a time, as C functions.

They are compiled where some network has such a head, as those of `graphbp_numba.heads.formulas`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import types

from graphbp_numba.heads.kernels import arrays, leave_out, project, weight_rows, winner
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.machine.jit import carray, compiled_c, integers, kernel
from graphbp_numba.plan.tables import (
    CODE_COUNTS,
    CODE_LOGISTIC,
    HEAD_CODE,
    HEAD_FIRST,
    HEAD_LAST,
    PLAN_EACH,
    PLAN_N_KEEP,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
)

__all__ = ["logs_curve", "logs_delta", "logs_value"]


@kernel
def _shared(z: Any, out_row: Any, keep: Any, out_keep: Any, positions: Any, first: int, last: int, lane: int) -> Any:
    """(w, 1 − p_w, the largest a of the others, Σ of their exp(a − that)): s_q = exp(a_q − largest) / Σ."""
    best = winner(keep, out_keep, positions, first, last, lane)
    rest, total, following = z.dtype.type(0), z.dtype.type(0), z.dtype.type(-math.inf)
    for q in range(first, last):
        if q != best:
            rest += z[out_row[positions[q]], lane]
            following = max(following, keep[out_keep[positions[q]], lane])
    for q in range(first, last):
        if q != best:
            total += math.exp(keep[out_keep[positions[q]], lane] - following)
    return best, rest, following, total


@cache
def logs_value(dtype: str) -> Any:
    """total + the weighted errors, as a C function."""
    zero = getattr(np, dtype)(0)

    def value(at: int, h: int, z_at: int, keep_at: int, t_at: int, scratch_at: int, lanes: int, total: float) -> float:
        tag = (zero,)
        table, heads, positions, out_row, out_keep = arrays(at)
        z, t = carray(reals(tag, z_at), (table[PLAN_N_ROWS], lanes)), carray(reals(tag, t_at), (table[PLAN_N_OUTPUTS], lanes))
        keep = carray(reals(tag, keep_at), (table[PLAN_N_KEEP], lanes))
        weights, own = weight_rows(tag, table, t_at, scratch_at + lanes * item_size(tag), lanes)
        shared = own * positions[heads[h, HEAD_FIRST]]
        first, last = heads[h, HEAD_FIRST], heads[h, HEAD_LAST]
        both, alpha = heads[h, HEAD_CODE] == CODE_LOGISTIC, 1.0 if heads[h, HEAD_CODE] == CODE_COUNTS else 0.0
        for lane in range(lanes):
            if weights[shared, lane] == 0:
                continue
            best, _, following, others = _shared(z, out_row, keep, out_keep, positions, first, last, lane)
            top, rest, value = keep[out_keep[positions[best]], lane], 0.0, 0.0
            for q in range(first, last):
                if q != best:
                    rest += math.exp(keep[out_keep[positions[q]], lane] - top)
            more = math.log1p(rest)
            for q in range(first, last):
                k = positions[q]
                p = z[out_row[k], lane]
                value += alpha * p + t[k, lane] * ((top - keep[out_keep[k], lane]) + more)
                if both and t[k, lane] != 1:
                    log_rest = ((following - top) - more) + math.log(others) if p > 0.5 else math.log1p(-p)
                    value -= (1 - t[k, lane]) * log_rest
            total += weights[shared, lane] * value
        return total

    return compiled_c(types.float64(*[types.intp] * 7, types.float64))(value)


@cache
def logs_delta(dtype: str) -> Any:
    """δ, or (∂y/∂a)ᵀ v, as a C function."""
    zero = getattr(np, dtype)(0)

    def delta(at: int, h: int, z_at: int, keep_at: int, t_at: int, out_at: int, scratch_at: int, lanes: int, pull: int) -> None:
        tag = (zero,)
        table, heads, positions, out_row, out_keep = arrays(at)
        z, t = carray(reals(tag, z_at), (table[PLAN_N_ROWS], lanes)), carray(reals(tag, t_at), (table[PLAN_N_OUTPUTS], lanes))
        keep, out = (
            carray(reals(tag, keep_at), (table[PLAN_N_KEEP], lanes)),
            carray(reals(tag, out_at), (table[PLAN_N_OUTPUTS], lanes)),
        )
        each = carray(pointer(table[PLAN_EACH]), table[PLAN_N_OUTPUTS], np.int64)
        weights, own = weight_rows(tag, table, t_at, scratch_at + lanes * item_size(tag), lanes)
        first, last, both = heads[h, HEAD_FIRST], heads[h, HEAD_LAST], heads[h, HEAD_CODE] == CODE_LOGISTIC
        for lane in range(lanes):
            weight = weights[own * positions[first], lane]
            if pull:
                project(z, out_row, positions, first, last, lane, t, each, out, weight)
                continue
            best, rest, following, others = _shared(z, out_row, keep, out_keep, positions, first, last, lane)
            total = zero
            for q in range(first, last):
                if q != best:
                    k = positions[q]
                    p = z[out_row[k], lane]
                    out[k, lane] = ((1 - t[k, lane]) * (p / (1 - p)) if both else zero) - t[k, lane]
                    total += out[k, lane]
            k = positions[best]
            p, t_w = z[out_row[k], lane], t[k, lane]
            lost = (1 - t_w) * p if both else zero
            out[k, lane] = weight * (lost - t_w * rest - p * total)
            for q in range(first, last):
                if q != best:
                    k = positions[q]
                    s = math.exp(keep[out_keep[k], lane] - following) / others
                    out[k, lane] = weight * (out[k, lane] - z[out_row[k], lane] * (total - t_w) - lost * s)
        leave_out(weights, own, positions, first, last, out)

    return compiled_c(integers(9))(delta)


@cache
def logs_curve(dtype: str) -> Any:
    """R ȧ, or Λ ȧ where not `exact`, as a C function."""
    zero = getattr(np, dtype)(0)

    def curve(at: int, h: int, z_at: int, keep_at: int, t_at: int, a_dot: int, out_at: int, lanes: int, exact: int) -> None:
        tag = (zero,)
        table, heads, positions, out_row, out_keep = arrays(at)
        z, t = carray(reals(tag, z_at), (table[PLAN_N_ROWS], lanes)), carray(reals(tag, t_at), (table[PLAN_N_OUTPUTS], lanes))
        keep, out = (
            carray(reals(tag, keep_at), (table[PLAN_N_KEEP], lanes)),
            carray(reals(tag, out_at), (table[PLAN_N_OUTPUTS], lanes)),
        )
        v = carray(reals(tag, a_dot), (table[PLAN_N_ROWS], lanes))
        first, last, both = heads[h, HEAD_FIRST], heads[h, HEAD_LAST], heads[h, HEAD_CODE] == CODE_LOGISTIC
        for lane in range(lanes):
            best, rest, following, others = _shared(z, out_row, keep, out_keep, positions, first, last, lane)
            w = positions[best]
            base, p_w, t_w = v[out_row[w], lane], z[out_row[w], lane], t[w, lane]
            n_w = 1 - t_w if both else zero
            # means of ȧ over y and over s, less ȧ of the winner and of the largest of the others
            mean, s_mean, s_base = zero, zero, zero
            for q in range(first, last):
                if q != best and keep[out_keep[positions[q]], lane] == following:
                    s_base = v[out_row[positions[q]], lane]
            for q in range(first, last):
                if q != best:
                    k = positions[q]
                    mean += z[out_row[k], lane] * (v[out_row[k], lane] - base)
                    s_mean += math.exp(keep[out_keep[k], lane] - following) / others * (v[out_row[k], lane] - s_base)
            common, bent, along, pushed = n_w + t_w, zero, zero, zero
            for q in range(first, last):
                if q != best:
                    k = positions[q]
                    p, d = z[out_row[k], lane], v[out_row[k], lane] - base
                    n = 1 - t[k, lane] if both else zero
                    odds = p / (1 - p)
                    pushed += (t[k, lane] + n * odds * odds) * (d - mean)
                    beta = n / ((1 - p) * (1 - p))
                    common += t[k, lane] - beta * p * (2 - p)
                    bent += beta * p
                    along += beta * p * d
            from_others = s_mean + (s_base - base)
            for q in range(first, last):
                k = positions[q]
                p, d = z[out_row[k], lane], v[out_row[k], lane] - base
                s = zero if q == best else math.exp(keep[out_keep[k], lane] - following) / others
                n = zero if q == best or not both else 1 - t[k, lane]
                odds = zero if q == best else p / (1 - p)
                if exact:
                    beta = zero if q == best else n / ((1 - p) * (1 - p))
                    out[k, lane] = p * ((common + beta) * (d - mean) + (bent * d - along))
                    out[k, lane] -= n_w * s * ((v[out_row[k], lane] - s_base) - s_mean)
                elif q == best:
                    out[k, lane] = -t_w * mean * rest - p * pushed - n_w * p_w * p_w * from_others
                else:
                    own = (t[k, lane] + n * odds * odds) * (d - mean)
                    out[k, lane] = own - p * (pushed - t_w * mean) + n_w * p_w * p_w * s * from_others

    return compiled_c(integers(9))(curve)
