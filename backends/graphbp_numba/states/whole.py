"""Everything that keeps every row's state while a tile is swept: Jacobians, single samples' gradients, tangents, traces, products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import TraceArrays, run_tasks
from graphbp_numba.first_order.samples import Samples
from graphbp_numba.first_order.weights import EdgeWeights
from graphbp_numba.heads.formulas import prepare_heads
from graphbp_numba.instructions.sample_sums import aligned_array, padded_samples
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.plan.tables import HEAD_MAKE_DELTA, PLAN_STATE_ROWS, PLAN_TARGET_ROWS
from graphbp_numba.states import quantities
from graphbp_numba.states.pairs import prepare_pairs
from graphbp_numba.states.quantities import State
from graphbp_numba.states.sections import state_rows
from graphbp_numba.states.tiles import prepare_state
from graphbp_numba.work.choice import MAX_PARTITIONS
from graphbp_numba.work.workspace import Workspace

__all__ = ["WholeStates"]

Array = npt.NDArray[Any]


class WholeStates:
    """The quantities of one network whose tiles keep a, z, h', δ of every row."""

    def __init__(self, workspace: Workspace) -> None:
        self.work = workspace

    def sample_gradients(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(N, W): δ_j z_i, not summed."""
        return self._sample_gradients(theta, X, T, sample_weight, each_output=False)[:, 0]

    def weight_jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, W) = ∂y_k/∂θ: one reverse sweep an output."""
        no_targets = np.empty((len(X), self.work.schedule.n_outputs), self.work.dtype)
        return self._sample_gradients(theta, X, no_targets, None, each_output=True)

    def _sample_gradients(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, each_output: bool) -> Array:
        work, schedule = self.work, self.work.schedule
        dst, src = work.plan.edge_rows
        out = np.empty((len(X), schedule.n_outputs if each_output else 1, schedule.n_parameters), work.dtype)
        s = work.none if sample_weight is None else sample_weight
        given = work.all_weights(theta), Samples(X, T, s), quantities.Slots(work.plan.out.grad_ptr, dst, src), out
        self.on_tiles(len(X), quantities.sample_gradients, *given, after=(each_output,))
        return out

    def jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, D) = ∂y_k/∂x_i: K reverse sweeps or D forward sweeps, whichever is fewer."""
        work = self.work
        out = np.empty((len(X), work.schedule.n_outputs, work.schedule.n_inputs), work.dtype)
        self.on_tiles(len(X), quantities.jacobian, work.all_weights(theta), X, out, work.plan.output_stop)
        return out

    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """(N, K): ∂y/∂x U + ∂y/∂θ v, one forward sweep of tangents."""
        work, plan = self.work, self.work.plan
        out = np.empty((len(X), work.schedule.n_outputs), work.dtype)
        places = plan.in_param, plan.bias_param
        w, bias = (work.weights_at(theta, param) for param in places)
        v_in, v_bias = (work.none if v is None else work.direction(v, param) for param in places)
        both = EdgeWeights(w, work.none, bias), EdgeWeights(v_in, work.none, v_bias)
        self.on_tiles(len(X), quantities.tangent, *both, X, work.no_rows if U is None else U, out)
        return out

    def trace(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> TraceArrays:
        """a, z, δ of every row and sample."""
        n_rows, n = self.work.schedule.n_rows, len(X)
        state = self.state(self.work.all_weights(theta), X, T, sample_weight, {"a", "z", "delta"})
        return TraceArrays(*(values[:n_rows, :n] for values in (state.a, state.z, state.delta)))

    def state(self, weights: EdgeWeights, X: Array, T: Array, sample_weight: Array | None, wanted: set[str]) -> State:
        """The fields that are `wanted`, each (n_rows + 1, padded N), the others (0, padded N); zeros past the last sample.

        The last row is left to the caller, and there is room for one more behind it (see `states.take_rows`).
        """
        work = self.work
        s = work.none if sample_weight is None else np.ascontiguousarray(sample_weight)
        if "bend" in wanted:
            work.prepare_slopes("d2f")
        n_rows, padded = work.schedule.n_rows, padded_samples(len(X), work.dtype.itemsize)
        lines = (n_rows + 2 if field in wanted else 0 for field in State._fields)
        state = State(*(aligned_array((count, padded), work.dtype)[: n_rows + 1] for count in lines))
        self.on_tiles(len(X), quantities.state, weights, Samples(X, T, s), state)
        for array in state:
            array[:, len(X) :] = 0
        return state

    def products(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array, exact: bool) -> Array:
        """H v, or the outer-product Hessian times v, for v (W, B)."""
        work, plan, n_directions = self.work, self.work.plan, v.shape[1]
        work.prepare_slopes("df", "d2f")
        weights = work.all_weights(theta)
        along = EdgeWeights(
            *(
                np.stack([work.direction(np.ascontiguousarray(v[:, b]), param) for b in range(n_directions)])
                if n_directions
                else np.empty((0, len(param)), work.dtype)
                for param in (plan.in_param, plan.out_param, plan.bias_param)
            )
        )
        s = work.none if sample_weight is None else sample_weight
        vectors = work.choice.state_vectors(len(X))
        self.prepare(vectors)
        tiles = work.choice.tiles(len(X), vectors)
        parts = min(tiles, work.choice.room_for_sums(n_directions), MAX_PARTITIONS)
        sums = np.zeros((parts, n_directions, plan.out.size), work.dtype)
        samples = Samples(X, T, s)

        def task(part: int) -> None:
            first, stop = tiles * part // parts, tiles * (part + 1) // parts
            with self.buffer(vectors) as buffer:
                given = tuple(weights), tuple(along), tuple(samples), sums[part], buffer
                quantities.products(work.tags[vectors], plan.table, *given, exact, first, stop)

        run_tasks(task, parts, blas=False)
        out = np.empty((work.schedule.n_parameters, n_directions), work.dtype)
        for b in range(n_directions):
            out[:, b] = work.collect(sums[:, b], plan.out)
        return out

    def on_tiles(self, n_samples: int, entry: Any, *arguments: Any, after: tuple[Any, ...] = (), vectors: int = 0) -> None:
        """Run an entry that keeps every row's state over all tiles."""
        work = self.work
        work.prepare_slopes("df")
        if not vectors:
            vectors = work.choice.state_vectors(n_samples)
            self.prepare(vectors)
        self.prepare_pairs(vectors)
        tiles = work.choice.tiles(n_samples, vectors)
        parts = min(tiles, 64)
        arguments = tuple(tuple(given) if isinstance(given, tuple) else given for given in arguments)

        def task(part: int) -> None:
            with self.buffer(vectors) as buffer:
                first, stop = tiles * part // parts, tiles * (part + 1) // parts
                entry(work.tags[vectors], work.plan.table, *arguments, buffer, *after, first, stop)

        run_tasks(task, parts, blas=False)

    def prepare(self, vectors: int) -> None:
        """Have the C functions compiled that a tile's state is swept by."""
        work = self.work
        prepare_heads(work.plan.heads, work.dtype.name, HEAD_MAKE_DELTA)
        prepare_state(work.plan.table, work.tags[vectors])

    def prepare_pairs(self, vectors: int) -> None:
        """The same of what sweeps call for combinations of rows, where there are some."""
        prepare_pairs(self.work.plan.table, self.work.tags[vectors])

    @contextmanager
    def buffer(self, vectors: int) -> Iterator[Array]:
        """A tile with every section of a state, used before or new."""
        work = self.work
        buffer = work.pool.take(("state", vectors))
        if buffer is None:
            rows, target_rows = (int(work.plan.table[place]) for place in (PLAN_STATE_ROWS, PLAN_TARGET_ROWS))
            rows = state_rows(rows, work.plan.n_keep, work.schedule.n_outputs, target_rows)
            buffer = np.zeros(VECTOR_BYTES * (vectors * rows + 2 * work.choice.width + 1), np.uint8)
        yield buffer
        work.pool.give(("state", vectors), buffer, buffer.nbytes)
