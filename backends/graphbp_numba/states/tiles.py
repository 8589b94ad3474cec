"""A tile whose every row is kept: begun from X, its heads' δ, swept in reverse."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.first_order.samples import load_targets, load_tile
from graphbp_numba.heads.sweeps import head_deltas, softmax_rows
from graphbp_numba.instructions.calls import call, item_size, pointer, reals
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled_c, integers, kernel
from graphbp_numba.plan.tables import (
    PLAN_N_ROWS,
    PLAN_SIZE,
    PLAN_STATE_DOWN,
    PLAN_STATE_UP,
)
from graphbp_numba.states.pairs import prepare_pairs
from graphbp_numba.states.sections import forward_state, inject, keep_outputs, places, reverse_state, slopes

__all__ = ["begin_tile", "prepare_state", "reverse_tile", "tile_deltas"]


@kernel
def begin_tile(tag: Any, table: Any, weights: Any, X: Any, at: Any, n0: int) -> None:
    """Load a tile, a and z of its rows, softmax included, and h'(a)."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    load_tile(carray(reals(tag, at.z), (table[PLAN_N_ROWS], lanes)), X, n0)
    call(table[PLAN_STATE_UP + len(tag) // 2], (table.ctypes.data, weights.w_in.ctypes.data, weights.bias.ctypes.data, at.a))


@cache
def _state_up(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def state_up(at: int, w: int, bias: int, base: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        here = places(tag, table, base)
        forward_state(tag, table, w, bias, here.a, here.z)
        keep_outputs(tag, table, here.a, here.keep)
        softmax_rows(table, here.z, here.keep, len(tag) * (VECTOR_BYTES // item_size(tag)))
        slopes(tag, table, here.a, here.slope, 1)

    return compiled_c(integers(4))(state_up)


@cache
def _state_down(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def state_down(at: int, w: int, base: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        here = places(tag, table, base)
        inject(tag, table, here.delta, here.head)
        reverse_state(tag, table, w, here, stop)

    return compiled_c(integers(4))(state_down)


def prepare_state(table: Any, tag: Any) -> None:
    """Have what `begin_tile` and `reverse_tile` call compiled for this tag, and the addresses in the table."""
    for at, make in ((PLAN_STATE_UP, _state_up), (PLAN_STATE_DOWN, _state_down)):
        table[at + len(tag) // 2] = make(tag[0].dtype.name, len(tag)).address
    prepare_pairs(table, tag)


@kernel
def tile_deltas(tag: Any, table: Any, samples: Any, at: Any, n0: int) -> None:
    """The heads' δ of a tile, from its targets."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    load_targets(tag, table, at.target, at.scratch + row, samples.T, samples.weight, n0, samples.X.shape[0])
    head_deltas(table, at.z, at.keep, at.target, at.head, at.scratch, lanes, False)


@kernel
def reverse_tile(tag: Any, table: Any, weights: Any, at: Any, stop: int) -> None:
    """δ and β of every row from the heads' δ, runs from `stop` on being zero but for those."""
    call(table[PLAN_STATE_DOWN + len(tag) // 2], (table.ctypes.data, weights.w_out.ctypes.data, at.a, stop))
