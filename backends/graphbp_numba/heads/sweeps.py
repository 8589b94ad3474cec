"""Where the error meets the output units of a tile: y, E and δ (`graphbp.heads` has the formulas)."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp_numba.instructions.calls import call, call_real, pointer
from graphbp_numba.machine.jit import carray, kernel
from graphbp_numba.plan.tables import (
    HEAD_ADD_VALUE,
    HEAD_COUPLED,
    HEAD_FIELDS,
    HEAD_MAKE_DELTA,
    HEAD_MAKE_Y,
    PLAN_HEADS,
    PLAN_N_HEADS,
)

__all__ = ["head_deltas", "head_values", "softmax_rows"]


@kernel
def softmax_rows(table: Any, z: int, keep: int, lanes: int) -> None:
    """y = softmax(a) over each softmax head's rows."""
    heads = carray(pointer(table[PLAN_HEADS]), (table[PLAN_N_HEADS], HEAD_FIELDS), np.int64)
    for h in range(table[PLAN_N_HEADS]):
        if heads[h, HEAD_COUPLED]:
            call(heads[h, HEAD_MAKE_Y], (table.ctypes.data, h, z, keep, lanes))


@kernel
def head_values(table: Any, z: int, keep: int, t: int, scratch: int, lanes: int) -> float:
    """Σ over heads and lanes of the weighted errors of one tile; the weights are the second row of scratch."""
    heads = carray(pointer(table[PLAN_HEADS]), (table[PLAN_N_HEADS], HEAD_FIELDS), np.int64)
    total = 0.0
    for h in range(table[PLAN_N_HEADS]):
        total = call_real(heads[h, HEAD_ADD_VALUE], (table.ctypes.data, h, z, keep, t, scratch, lanes), total)
    return total


@kernel
def head_deltas(table: Any, z: int, keep: int, t: int, out: int, scratch: int, lanes: int, pull: bool) -> None:
    """out_k = s ∂E/∂a_k; with `pull`, t holds V and out = (∂y/∂a)ᵀ V."""
    heads = carray(pointer(table[PLAN_HEADS]), (table[PLAN_N_HEADS], HEAD_FIELDS), np.int64)
    for h in range(table[PLAN_N_HEADS]):
        call(heads[h, HEAD_MAKE_DELTA], (table.ctypes.data, h, z, keep, t, out, scratch, lanes, pull))
