"""What the paths of one network share: its plan, the C functions that the kernels call, weights in the kernels' orders, and memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import AnyError, Schedule
from graphbp_numba.first_order.runs import prepare_runs
from graphbp_numba.first_order.weights import EdgeWeights, collect, fill_weights, gather_gradient
from graphbp_numba.heads.formulas import prepare_heads, prepare_pair
from graphbp_numba.machine.functions import VECTOR_BYTES, activation_functions
from graphbp_numba.plan.edges_out import EdgesOut
from graphbp_numba.plan.plan import make_plan
from graphbp_numba.plan.tables import (
    HEAD_ADD_VALUE,
    HEAD_D2F,
    HEAD_DF,
    HEAD_MAKE_DELTA,
    HEAD_MAKE_Y,
    MODE_GRADIENT,
    MODE_VALUE,
    MODE_VJP,
    PLAN_BUFFER_ROWS,
    PLAN_FORWARD_RUNS,
    PLAN_REVERSE_RUNS,
    RUN_D2F,
    RUN_DF,
    RUN_START,
)
from graphbp_numba.work.choice import Choice
from graphbp_numba.work.pools import KEPT_BYTES, Pool
from graphbp_numba.work.tasks import in_parts

__all__ = ["Workspace"]

Array = npt.NDArray[Any]

FILL = 1 << 15
"""Weights gathered by one task."""
COLLECT = 1 << 17
"""Gradient sums added up by one task."""
SCRATCH_BYTES = 64 << 20
"""Of a task's memory that the next one takes, at most."""


class Workspace:
    """A schedule and an error in one dtype, ready for the kernels.

    tags : for 1, 2 and 4 vectors a row, what tells a kernel the dtype and the width.
    none, no_rows : arrays of no size, where a kernel is given nothing.
    """

    def __init__(self, schedule: Schedule, error: AnyError, dtype: np.dtype[Any]) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.plan = make_plan(schedule, error, dtype)  # refuses what cannot be compiled
        self.choice = Choice(self.plan)
        self.plan.first_table[PLAN_BUFFER_ROWS] = self.choice.rows
        prepare_heads(self.plan.heads, dtype.name, HEAD_MAKE_Y)
        self.tags = {vectors: (dtype.type(0),) * vectors for vectors in (1, 2, 4)}
        self.pool: Pool[Array] = Pool(KEPT_BYTES)
        self.none, self.no_rows = np.empty(0, dtype), np.empty((0, 0), dtype)
        self._ready: set[tuple[int, int]] = set()
        self._slopes: set[str] = set()

    def weighing_outputs(self) -> Workspace:
        """The same for targets (N, 2K), the weights of every output beside them; plan and machine code are shared."""
        other = copy.copy(self)
        other.plan = self.plan.with_target_rows(2 * self.schedule.n_outputs)
        other.choice = Choice(other.plan)
        other.plan.first_table[PLAN_BUFFER_ROWS] = other.choice.rows
        other.pool, other._ready = Pool(KEPT_BYTES), set()
        return other

    # -- machine code ------------------------------------------------------------------------------------------------------

    def prepare_forward(self, vectors: int) -> None:
        """Have the C function of a forward sweep compiled."""
        prepare_runs(self.plan.first_table, self.tags[vectors], PLAN_FORWARD_RUNS)

    def prepare_sweep(self, mode: int, vectors: int) -> None:
        """Have the C functions compiled that a sweep calls."""
        if (mode, vectors) in self._ready:
            return
        wanted = {
            MODE_VALUE: (HEAD_ADD_VALUE,),
            MODE_GRADIENT: (HEAD_ADD_VALUE, HEAD_MAKE_DELTA),
            MODE_VJP: (HEAD_MAKE_DELTA,),
        }[mode]
        prepare_heads(self.plan.heads, self.dtype.name, *wanted)
        runs = (PLAN_FORWARD_RUNS,) if mode == MODE_VALUE else (PLAN_FORWARD_RUNS, PLAN_REVERSE_RUNS)
        prepare_runs(self.plan.first_table, self.tags[vectors], *runs)
        self._ready.add((mode, vectors))

    def prepare_slopes(self, *kinds: str) -> None:
        """Have "df" or "d2f" of every activation compiled, and its address in the runs; `NotSupportedError` as in `make_plan`."""
        plan, s, dtype = self.plan, self.schedule, self.dtype.name
        for kind in kinds:
            if kind in self._slopes:
                continue
            column, head_column = (RUN_DF, HEAD_DF) if kind == "df" else (RUN_D2F, HEAD_D2F)
            for number in np.unique(s.row_activation[s.n_inputs :]).tolist():
                here = s.row_activation[plan.runs[:, RUN_START]] == number
                plan.runs[here, column] = activation_functions(s.activations[number], dtype).address(kind)
            for line, head in zip(plan.heads, plan.head_groups, strict=True):
                line[head_column] = activation_functions(head.activation, dtype).address(kind)
                prepare_pair(line, head, dtype)
            self._slopes.add(kind)

    # -- weights -----------------------------------------------------------------------------------------------------------

    def weights_at(self, theta: Array, param: Array) -> Array:
        """θ at the places of a plan's edges or biases."""
        return self._filled(theta, self.plan.frozen, param, np.empty(len(param), self.dtype))

    def all_weights(self, theta: Array) -> EdgeWeights:
        """θ in the orders of the sweeps."""
        plan = self.plan
        return EdgeWeights(*(self.weights_at(theta, param) for param in (plan.in_param, plan.out_param, plan.bias_param)))

    def direction(self, v: Array, param: Array) -> Array:
        """v at the places of a plan's edges or biases: 0 where a weight is frozen."""
        return self._filled(v, np.zeros_like(self.plan.frozen), param, np.empty(len(param), self.dtype))

    def borrowed_weights(self, theta: Array, param: Array) -> Array:
        """θ at the places of a plan's edges, in memory for `keep`."""
        return self._filled(theta, self.plan.frozen, param, self.borrow(len(param)))

    def _filled(self, theta: Array, frozen: Array, param: Array, out: Array) -> Array:
        in_parts(len(param), len(param) // FILL, lambda first, stop: fill_weights(theta, frozen, param, out, first, stop))
        return out

    def collect(self, sums: Array, edges: EdgesOut) -> Array:
        """The gradient from the partitions' sums of a plan's edges out."""
        n, size = self.schedule.n_parameters, edges.size
        if len(sums) > 1:
            in_parts(size, size * len(sums) // COLLECT, lambda first, stop: collect(sums, first, stop))
        gradient = np.empty(n, self.dtype)
        in_parts(n, n // FILL, lambda a, b: gather_gradient(sums[0], edges.grad_ptr, edges.grad_pos, gradient, a, b))
        return gradient

    # -- memory ------------------------------------------------------------------------------------------------------------

    @contextmanager
    def tile_buffer(self, vectors: int) -> Iterator[Array]:
        """A tile's rows, used before or new."""
        buffer = self.pool.take(vectors)
        if buffer is None:
            buffer = np.zeros(VECTOR_BYTES * (vectors * self.choice.rows + self.choice.width + 1), np.uint8)
        yield buffer
        self.pool.give(vectors, buffer, buffer.nbytes)

    @contextmanager
    def scratch(self, purpose: str, size: int) -> Iterator[Array]:
        """So many bytes of any value, used before for the same purpose or new."""
        memory = self.pool.take(purpose)
        if memory is None or len(memory) < size:
            memory = np.empty(size, np.uint8)
        yield memory
        if size <= SCRATCH_BYTES:
            self.pool.give(purpose, memory, memory.nbytes)

    def borrow(self, *shape: int) -> Array:
        """Numbers of any value, in memory that was used before or is new."""
        array = self.pool.take(shape)
        return np.empty(shape, self.dtype) if array is None else array

    def keep(self, *arrays: Array) -> None:
        """Have what was borrowed ready for the next call."""
        for array in arrays:
            self.pool.give(array.shape, array, array.nbytes)
