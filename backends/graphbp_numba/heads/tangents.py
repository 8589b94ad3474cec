"""Heads along a direction: ẏ = ∂y/∂a ȧ, and s Σ_c R_kc ȧ_c of both Hessians."""

from __future__ import annotations

from typing import Any

from graphbp_numba.heads.kernels import arrays, leave_out, others, project, softmax_less, weight_rows, winner
from graphbp_numba.instructions.calls import call, call_binary, call_unary, item_size, reals
from graphbp_numba.instructions.rows import multiply_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, kernel
from graphbp_numba.plan.tables import (
    CODE_SQUARES,
    FORM_CANONICAL,
    FORM_LOGS,
    HEAD_CODE,
    HEAD_COUPLED,
    HEAD_CURVE,
    HEAD_D2F,
    HEAD_D2Y,
    HEAD_DF,
    HEAD_DY,
    HEAD_FIRST,
    HEAD_FORM,
    HEAD_LAST,
    HEAD_PAIR_HESSIAN,
    HEAD_PAIR_OUTER,
    PLAN_N_HEADS,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
)

__all__ = ["WEIGHT_ROW", "head_bends", "head_curvature", "push_outputs"]

WEIGHT_ROW = 4
"""Of scratch memory: where a product's sample weights stand, behind what the heads work in."""


@kernel
def push_outputs(tag: Any, table: Any, z: int, keep: int, a_dot: int, out: int, scratch: int) -> None:
    """ẏ = ∂y/∂a ȧ, one row an output."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    _, heads, positions, out_row, out_keep = arrays(table.ctypes.data)
    y = carray(reals(tag, z), (table[PLAN_N_ROWS], lanes))
    tangent = carray(reals(tag, a_dot), (table[PLAN_N_ROWS], lanes))
    y_dot = carray(reals(tag, out), (table[PLAN_N_OUTPUTS], lanes))
    for h in range(table[PLAN_N_HEADS]):
        first, last = heads[h, HEAD_FIRST], heads[h, HEAD_LAST]
        if not heads[h, HEAD_COUPLED]:
            for q in range(first, last):
                k = positions[q]
                call_unary(heads[h, HEAD_DF], keep + out_keep[k] * row, scratch, lanes)
                multiply_rows(tag, out + k * row, scratch, a_dot + out_row[k] * row, 1)
            continue
        for lane in range(lanes):
            project(y, out_row, positions, first, last, lane, tangent, out_row, y_dot, 1)


@kernel
def head_bends(tag: Any, table: Any, z: int, keep: int, v: int, a_dot: int, out: int, scratch: int) -> None:
    """out_k = Σ_c v_c ∂²y_c/∂a_k∂a ȧ, one row an output: how (∂y/∂a)ᵀ v changes along ȧ."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    _, heads, positions, out_row, out_keep = arrays(table.ctypes.data)
    y = carray(reals(tag, z), (table[PLAN_N_ROWS], lanes))
    tangent = carray(reals(tag, a_dot), (table[PLAN_N_ROWS], lanes))
    given, made = carray(reals(tag, v), (table[PLAN_N_OUTPUTS], lanes)), carray(reals(tag, out), (table[PLAN_N_OUTPUTS], lanes))
    for h in range(table[PLAN_N_HEADS]):
        first, last = heads[h, HEAD_FIRST], heads[h, HEAD_LAST]
        if not heads[h, HEAD_COUPLED]:
            for q in range(first, last):
                k = positions[q]
                call_unary(heads[h, HEAD_D2F], keep + out_keep[k] * row, scratch, lanes)
                multiply_rows(tag, scratch, scratch, v + k * row, 1)
                multiply_rows(tag, out + k * row, scratch, a_dot + out_row[k] * row, 1)
            continue
        for lane in range(lanes):  # u (d − ȳ d) − y Σ u d, d = ȧ less the winner's, u = (∂y/∂a)ᵀ v
            best = positions[winner(y, out_row, positions, first, last, lane)]
            base, level = tangent[out_row[best], lane], given[best, lane]
            mean, v_mean, mixed = tag[0], tag[0], tag[0]
            for q in range(first, last):
                k = positions[q]
                mean += y[out_row[k], lane] * (tangent[out_row[k], lane] - base)
                v_mean += y[out_row[k], lane] * (given[k, lane] - level)
            for q in range(first, last):
                k = positions[q]
                mixed += y[out_row[k], lane] * (given[k, lane] - level - v_mean) * (tangent[out_row[k], lane] - base)
            for q in range(first, last):
                k = positions[q]
                rate = tangent[out_row[k], lane] - base - mean
                made[k, lane] = y[out_row[k], lane] * ((given[k, lane] - level - v_mean) * rate - mixed)


@kernel
def head_curvature(
    tag: Any, table: Any, z: int, keep: int, targets: int, a_dot: int, out: int, other: int, scratch: int, exact: bool
) -> None:
    """out_k = s Σ_c R_kc ȧ_c, or with Λ in place of R where not `exact`: one row an output (`graphbp.heads` has the formulas).

    The samples' weights s are row `WEIGHT_ROW` of scratch.
    """
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    _, heads, positions, out_row, out_keep = arrays(table.ctypes.data)
    y = carray(reals(tag, z), (table[PLAN_N_ROWS], lanes))
    tangent = carray(reals(tag, a_dot), (table[PLAN_N_ROWS], lanes))
    made = carray(reals(tag, out), (table[PLAN_N_OUTPUTS], lanes))
    first_order = carray(reals(tag, other), (table[PLAN_N_OUTPUTS], lanes))
    target = carray(reals(tag, targets), (table[PLAN_N_OUTPUTS], lanes))
    spare = carray(reals(tag, scratch), (4, lanes))
    weight, own = weight_rows(tag, table, targets, scratch + WEIGHT_ROW * row, lanes)
    for h in range(table[PLAN_N_HEADS]):
        first, last = heads[h, HEAD_FIRST], heads[h, HEAD_LAST]
        if heads[h, HEAD_FORM] == FORM_LOGS:
            call(heads[h, HEAD_CURVE], (table.ctypes.data, h, z, keep, targets, a_dot, out, lanes, exact))
            for q in range(first, last):
                for lane in range(lanes):
                    made[positions[q], lane] *= weight[own * positions[q], lane]
            leave_out(weight, own, positions, first, last, made)
            continue
        canonical, coupled = heads[h, HEAD_FORM] == FORM_CANONICAL, heads[h, HEAD_COUPLED] != 0
        for q in range(first, last):
            k = positions[q]
            here = z + out_row[k] * row
            pair = heads[h, HEAD_PAIR_HESSIAN] if exact else heads[h, HEAD_PAIR_OUTER]
            if pair != 0:
                call_binary(pair, keep + out_keep[k] * row, targets + k * row, scratch, lanes)
            elif not canonical:
                call_binary(heads[h, HEAD_DY], here, targets + k * row, other + k * row, lanes)
                call_binary(heads[h, HEAD_D2Y], here, targets + k * row, out + k * row, lanes)
            if coupled:
                continue
            if pair == 0:
                call_unary(heads[h, HEAD_DF], keep + out_keep[k] * row, scratch, lanes)
            if canonical or pair != 0:
                for lane in range(lanes):
                    made[k, lane] = weight[own * k, lane] * spare[0, lane] * tangent[out_row[k], lane]
                continue
            if exact:
                call_unary(heads[h, HEAD_D2F], keep + out_keep[k] * row, scratch + row, lanes)
            for lane in range(lanes):
                curvature = made[k, lane] * spare[0, lane] * spare[0, lane]
                if exact:
                    curvature += first_order[k, lane] * spare[1, lane]
                made[k, lane] = weight[own * k, lane] * curvature * tangent[out_row[k], lane]
        if not coupled:
            leave_out(weight, own, positions, first, last, made)
            continue
        for lane in range(lanes):
            if canonical:
                project(y, out_row, positions, first, last, lane, tangent, out_row, made, weight[own * positions[first], lane])
                continue
            if heads[h, HEAD_CODE] == CODE_SQUARES:
                rest = others(y, out_row, positions, first, last, lane)
                for q in range(first, last):
                    k = positions[q]
                    first_order[k, lane] = softmax_less(y[out_row[k], lane], target[k, lane], rest)
            # ȧ and e' less the winner's, which changes nothing and cancels nothing
            best = positions[winner(y, out_row, positions, first, last, lane)]
            base, slope = tangent[out_row[best], lane], first_order[best, lane]
            mean, slope_mean, gn_mean, mixed = tag[0], tag[0], tag[0], tag[0]
            for q in range(first, last):
                k = positions[q]
                mean += y[out_row[k], lane] * (tangent[out_row[k], lane] - base)
                slope_mean += y[out_row[k], lane] * (first_order[k, lane] - slope)
            bent = made[best, lane] * y[out_row[best], lane] * -mean  # e'' ∂y/∂a ȧ of the winner
            for q in range(first, last):
                k = positions[q]
                p, rate = y[out_row[k], lane], tangent[out_row[k], lane] - base
                gn_mean += (made[k, lane] * p * (rate - mean) - bent) * p
                mixed += p * (first_order[k, lane] - slope - slope_mean) * rate
            for q in range(first, last):
                k = positions[q]
                p, rate = y[out_row[k], lane], tangent[out_row[k], lane] - base
                value = p * ((made[k, lane] * p * (rate - mean) - bent) - gn_mean)
                if exact:
                    value += p * (first_order[k, lane] - slope - slope_mean) * (rate - mean) - p * mixed
                made[k, lane] = weight[own * k, lane] * value
        leave_out(weight, own, positions, first, last, made)
