"""The lines of `Plan.heads`: which outputs one formula serves, and the addresses that it calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import HeadGroup, Schedule
from graphbp_numba.machine.functions import activation_functions, error_function_addresses, pair_addresses
from graphbp_numba.plan.tables import (
    CODE_CLASSES,
    CODE_COUNTS,
    CODE_LOGISTIC,
    CODE_NONE,
    CODE_SQUARES,
    FORM_CANONICAL,
    FORM_CHAIN,
    FORM_LOGS,
    HEAD_CODE,
    HEAD_COUPLED,
    HEAD_D2Y,
    HEAD_DF,
    HEAD_FIELDS,
    HEAD_FIRST,
    HEAD_FORM,
    HEAD_LAST,
    HEAD_PAIR_DELTA,
    HEAD_PAIR_VALUE,
    HEAD_VALUE,
    PLAN_EACH,
    PLAN_HEAD_POS,
    PLAN_HEADS,
    PLAN_N_HEADS,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_SIZE,
    PLAN_TARGET_ROWS,
)

__all__ = ["VALUE_AT_A", "head_lines", "head_table", "paired"]

VALUE_AT_A = {
    "sum_of_squares": CODE_SQUARES,
    "binary_cross_entropy": CODE_LOGISTIC,
    "cross_entropy": CODE_CLASSES,
    "poisson": CODE_COUNTS,
}
"""Errors of the core's table whose value and δ at a canonical head are computed from a by the kernel itself."""


def head_lines(heads: tuple[HeadGroup, ...], dtype: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The heads' lines, and the positions of their outputs one after the other."""
    table = np.zeros((len(heads), HEAD_FIELDS), np.int64)
    positions: list[int] = []
    for line, head in zip(table, heads, strict=True):
        line[HEAD_FORM] = FORM_CANONICAL if head.canonical else FORM_CHAIN if head.logs is None else FORM_LOGS
        line[HEAD_COUPLED] = head.coupled
        line[HEAD_DF] = activation_functions(head.activation, dtype).address("df")
        if paired(head):
            line[[HEAD_PAIR_VALUE, HEAD_PAIR_DELTA]] = pair_addresses(head, dtype, "value", "delta")
        line[HEAD_CODE] = VALUE_AT_A.get(head.error.name, CODE_NONE) if head.error.builtin else CODE_NONE
        line[HEAD_VALUE : HEAD_D2Y + 1] = _error_addresses(head, int(line[HEAD_CODE]), dtype)
        line[HEAD_FIRST] = len(positions)
        positions.extend(head.positions.tolist())
        line[HEAD_LAST] = len(positions)
    return table, np.array(positions, np.int64)


def paired(head: HeadGroup) -> bool:
    """Whether the kernels call the functions of a head's pair; those of canonical ones of the core's table they hold themselves."""
    return head.pair is not None and not (head.canonical and head.error.name in VALUE_AT_A)


def head_table(s: Schedule, groups: tuple[HeadGroup, ...], dtype: str) -> tuple[npt.NDArray[np.int64], tuple[Any, ...]]:
    """A table with nothing but the heads, and what must live as long as it."""
    heads, head_pos = head_lines(groups, dtype)
    each = np.arange(s.n_outputs)
    table = np.zeros(PLAN_SIZE, np.int64)
    table[[PLAN_N_ROWS, PLAN_N_INPUTS, PLAN_N_OUTPUTS, PLAN_N_HEADS, PLAN_TARGET_ROWS]] = (
        s.n_rows,
        s.n_inputs,
        s.n_outputs,
        len(heads),
        s.n_outputs,
    )
    table[PLAN_HEADS], table[PLAN_HEAD_POS] = heads.ctypes.data, head_pos.ctypes.data
    table[PLAN_EACH] = each.ctypes.data
    return table, (heads, head_pos, each)


def _error_addresses(head: HeadGroup, code: int, dtype: str) -> tuple[int, int, int]:
    """e, e' and e'' as C functions, where the head needs them."""
    if code != CODE_NONE and (head.canonical or paired(head) or head.logs):
        return 0, 0, 0
    return error_function_addresses(head.error, dtype)
