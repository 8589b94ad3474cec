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
    STATE_A,
    STATE_BETA,
    STATE_DELTA,
    STATE_HEADS,
    STATE_KEPT,
    STATE_SCRATCH,
    STATE_SLOPES,
    STATE_TARGETS,
    STATE_Z,
)
from graphbp_numba.states.sections import forward_state, inject, keep_outputs, place, reverse_state, slopes

__all__ = ["begin_tile", "prepare_state", "reverse_tile", "tile_deltas"]


@kernel
def begin_tile(tag: Any, table: Any, w: Any, bias: Any, X: Any, base: int, n0: int) -> None:
    """Load a tile, a and z of its rows, softmax included, and h'(a)."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    z = place(table, len(tag) * VECTOR_BYTES, base, STATE_Z)
    load_tile(carray(reals(tag, z), (table[PLAN_N_ROWS], lanes)), X, n0)
    call(table[PLAN_STATE_UP + len(tag) // 2], (table.ctypes.data, w.ctypes.data, bias.ctypes.data, base))


@cache
def _state_up(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def state_up(at: int, w: int, bias: int, base: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        row = len(tag) * VECTOR_BYTES
        a, z, keep = place(table, row, base, STATE_A), place(table, row, base, STATE_Z), place(table, row, base, STATE_KEPT)
        forward_state(tag, table, w, bias, a, z)
        keep_outputs(tag, table, a, keep)
        softmax_rows(table, z, keep, row // item_size(tag))
        slopes(tag, table, a, place(table, row, base, STATE_SLOPES), 1)

    return compiled_c(integers(4))(state_up)


@cache
def _state_down(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def state_down(at: int, w: int, base: int, stop: int) -> None:
        table = carray(pointer(at), PLAN_SIZE, np.int64)
        row = len(tag) * VECTOR_BYTES
        delta, slope = place(table, row, base, STATE_DELTA), place(table, row, base, STATE_SLOPES)
        inject(tag, table, delta, place(table, row, base, STATE_HEADS))
        reverse_state(tag, table, w, slope, delta, place(table, row, base, STATE_BETA), stop)

    return compiled_c(integers(4))(state_down)


def prepare_state(table: Any, tag: Any) -> None:
    """Have what `begin_tile` and `reverse_tile` call compiled for this tag, and the addresses in the table."""
    for at, make in ((PLAN_STATE_UP, _state_up), (PLAN_STATE_DOWN, _state_down)):
        table[at + len(tag) // 2] = make(tag[0].dtype.name, len(tag)).address


@kernel
def tile_deltas(tag: Any, table: Any, T: Any, sample_weight: Any, base: int, n0: int, n_samples: int, pull: bool) -> None:
    """The heads' δ of a tile, from its targets, or from V in their place."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    z, keep, targets = place(table, row, base, STATE_Z), place(table, row, base, STATE_KEPT), place(table, row, base, STATE_TARGETS)
    head, scratch = place(table, row, base, STATE_HEADS), place(table, row, base, STATE_SCRATCH)
    load_targets(tag, table, targets, scratch + row, T, sample_weight, n0, n_samples)
    head_deltas(table, z, keep, targets, head, scratch, lanes, pull)


@kernel
def reverse_tile(tag: Any, table: Any, w: Any, base: int, stop: int) -> None:
    """δ and β of every row from the heads' δ, runs from `stop` on being zero but for those."""
    call(table[PLAN_STATE_DOWN + len(tag) // 2], (table.ctypes.data, w.ctypes.data, base, stop))
