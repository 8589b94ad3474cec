"""Every quantity of the face on tiles of samples; which path a call takes is decided by `graphbp_numba.paths`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import (
    ErrorFunction,
    HessianPlan,
    Schedule,
    TraceArrays,
    assemble_diagonal,
    assemble_hessian,
    assemble_unit_blocks,
    n_threads,
    run_tasks,
)
from graphbp_numba import kernels, quantities
from graphbp_numba.curvature import NumbaSecondOrderSweeps
from graphbp_numba.functions import VECTOR_BYTES
from graphbp_numba.heads import prepare_heads
from graphbp_numba.layer_products import layer_products
from graphbp_numba.layers import LayerPath, prefers_layers
from graphbp_numba.levels import LevelPath, in_parts
from graphbp_numba.plan import ROW_COST, Plan, make_plan
from graphbp_numba.pools import KEPT_BYTES, Pool
from graphbp_numba.products import aligned_array, padded_samples
from graphbp_numba.stages import Stages, find_stages, forward_stages
from graphbp_numba.states import state_rows
from graphbp_numba.tables import (
    HEAD_ADD_VALUE,
    HEAD_MAKE_DELTA,
    HEAD_MAKE_Y,
    MODE_GRADIENT,
    MODE_VALUE,
    MODE_VJP,
    PLAN_BUFFER_ROWS,
    PLAN_FORWARD_RUNS,
    PLAN_REVERSE_RUNS,
)

__all__ = ["NumbaExecutable"]

Array = npt.NDArray[Any]

TILE_BYTES = 3 << 20
"""A tile's rows should stay near the second-level cache: narrower tiles for larger networks."""
SUMS_BYTES = 256 << 20
"""Memory for the partitions' gradient sums at most (but never fewer than two partitions)."""
MAX_PARTITIONS = 16
FEW_EDGES = 1 << 16
"""Up to so many edges, samples that fit one narrow tile are swept in a single call on the caller's thread."""
FILL = 1 << 15
"""Weights gathered by one task."""
COLLECT = 1 << 17
"""Gradient sums added up by one task."""
GRAIN = 1 << 19
"""Edges × samples of a task, at least: about 50 µs, against some 20 µs to have another thread take it."""
STAGE_VECTORS = 4
TASK_SAMPLES = 1024
PACKED_BYTES = 64 << 20
"""Samples of a task that runs in stages, and the bytes of a packed waist, at most."""
SCRATCH_BYTES = 64 << 20
"""Of a task's memory that the next one takes, at most."""
COLUMN_ROWS = 400
"""So many rows of four vectors, of h', h''β, G, Φ and B, are half a second-level cache."""


class NumbaExecutable:
    """A schedule and an error, ready to run; see `graphbp.protocols` for shapes and meanings."""

    def __init__(self, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any]) -> None:
        self.schedule, self.dtype = schedule, dtype
        self._error = error
        self.layers = LayerPath(schedule, error, dtype) if prefers_layers(schedule) else None
        self.width = VECTOR_BYTES // dtype.itemsize
        self.tags = {vectors: (dtype.type(0),) * vectors for vectors in (1, 2, 4)}
        self._few = -1
        self._ready: set[tuple[int, int]] = set()
        if self.layers is None:  # what cannot be compiled is refused here, not at the first call
            self._table, self._frozen, self._n_outputs = self.plan.table, self.plan.frozen, schedule.n_outputs
            self._table[PLAN_BUFFER_ROWS] = self.rows
            self._few = self.width if self.plan.n_edges <= FEW_EDGES else -1
        self.pool: Pool[Array] = Pool(KEPT_BYTES)
        self.none = np.empty(0, dtype)
        self._no_rows = np.empty((0, 0), dtype)

    @cached_property
    def plan(self) -> Plan:
        """The flat arrays of the tiles' kernels."""
        plan = make_plan(self.schedule, self._error, self.dtype)
        prepare_heads(plan.heads, plan.table, self.dtype.name, HEAD_MAKE_Y)
        return plan

    def _prepare_sweep(self, mode: int, vectors: int) -> None:
        """Have the C functions compiled that a sweep calls."""
        if (mode, vectors) in self._ready:
            return
        wanted = {
            MODE_VALUE: (HEAD_ADD_VALUE,),
            MODE_GRADIENT: (HEAD_ADD_VALUE, HEAD_MAKE_DELTA),
            MODE_VJP: (HEAD_MAKE_DELTA,),
        }[mode]
        prepare_heads(self.plan.heads, self.plan.table, self.dtype.name, *wanted)
        runs = (PLAN_FORWARD_RUNS,) if mode == MODE_VALUE else (PLAN_FORWARD_RUNS, PLAN_REVERSE_RUNS)
        kernels.prepare_runs(self.plan.table, self.tags[vectors], *runs)
        self._ready.add((mode, vectors))

    def _prepare_deltas(self) -> None:
        prepare_heads(self.plan.heads, self.plan.table, self.dtype.name, HEAD_MAKE_DELTA)

    @cached_property
    def rows(self) -> int:
        """Rows of a tile's buffer."""
        return kernels.buffer_rows(self.schedule.n_rows, self.plan.n_keep, self.schedule.n_outputs)

    # -- choices ----------------------------------------------------------------------------------------------------------

    def state_vectors(self, n_samples: int) -> int:
        """The same where all rows' state is kept: several times the memory."""
        return 1 if n_samples <= self.width else 2

    def column_vectors(self, n_samples: int) -> int:
        """The same where a tile's state is swept again for every unit."""
        small = self.schedule.n_rows <= COLUMN_ROWS and n_samples > 2 * self.width
        return 4 if small else self.state_vectors(n_samples)

    def vectors(self, n_samples: int) -> int:
        """Vectors a row of a tile: few for few samples, and for so many rows that a wide tile would leave the cache."""
        if n_samples <= self.width:
            return 1
        if n_samples <= 2 * self.width or self._near_rows * VECTOR_BYTES * 4 > TILE_BYTES:
            return 2
        return 4

    @cached_property
    def _near_rows(self) -> int:
        """Rows of a tile's buffer that are read again and again."""
        return self.rows - self.plan.n_slopes

    def partitions(self, n_samples: int, n_tiles: int) -> int:
        """Into how many parts the samples are cut, each with its own gradient sums: a matter of N and the network alone."""
        room = max(2, SUMS_BYTES // (self.plan.sums_size * self.dtype.itemsize))
        return min(n_tiles, room, MAX_PARTITIONS, self.worth(n_samples))

    def worth(self, n_samples: int) -> int:
        """Tasks that so many samples are worth."""
        return 1 + (self.plan.n_edges + ROW_COST * self.schedule.n_rows) * n_samples // GRAIN

    @cached_property
    def levels(self) -> LevelPath:
        """The path for samples of one tile on a network with large levels."""
        return LevelPath(self)

    def _takes_levels(self, n_samples: int) -> bool:
        return 0 < n_samples <= self.vectors(n_samples) * self.width and self.levels.worth_it(n_samples)

    def describe(self, n_samples: int) -> str:
        """Which path these samples take, and why."""
        threads = f"{n_threads()} thread" + ("s" if n_threads() > 1 else "")
        if self.layers is not None:
            return "layers: " + self.layers.describe(n_samples) + f"; {threads}"
        if n_samples <= self._few:
            return f"one call: up to {self.width} samples and {FEW_EDGES:,} edges are swept on the caller's thread"
        if self._takes_levels(n_samples):
            return self.levels.describe(n_samples)
        vectors = self.vectors(n_samples)
        tiles = self.n_tiles(n_samples, vectors)
        size = vectors * VECTOR_BYTES * self.rows
        return (
            f"tiles: {tiles} of {vectors * self.width} samples, {size / 2**20:.2g} MiB of rows each, all levels in one pass; "
            f"gradient sums in {self.partitions(n_samples, tiles)} partitions; {threads}{self._describe_stages()}"
        )

    def _describe_stages(self) -> str:
        stages = self.stages
        shared = f"; {self.plan.n_bundles} bundles of four units with the same sources" if self.plan.n_bundles else ""
        if stages is None:
            return shared
        together = f", samples that are zero taken together at {stages.packs} of them" if stages.packs else ""
        return f"{shared}; forward in {len(stages.cuts)} stages of at most {stages.rows} rows{together}"

    # -- first order -------------------------------------------------------------------------------------------------------

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        if self.layers is not None:
            return self.layers.forward(theta, X)
        Y = np.empty((len(X), self._n_outputs), self.dtype)
        if len(X) <= self._few:
            kernels.prepare_runs(self._table, self.tags[1], PLAN_FORWARD_RUNS)
            kernels.forward_few(self._table, theta, self._frozen, X, Y)
            return Y
        if self._takes_levels(len(X)):
            return self.levels.forward(theta, X)
        if len(X) > self.width and self.stages is not None:
            return self._forward_in_stages(theta, X, Y, self.stages)
        w, bias = self.weights_at(theta, self.plan.in_param), self.weights_at(theta, self.plan.bias_param)
        vectors = self.vectors(len(X))
        kernels.prepare_runs(self._table, self.tags[vectors], PLAN_FORWARD_RUNS)
        tiles = self.n_tiles(len(X), vectors)
        parts = min(tiles, 64, self.worth(len(X)))

        def task(part: int) -> None:
            buffer = self.take(vectors)
            kernels.forward(
                self.tags[vectors], self.plan.table, w, bias, X, Y, buffer, tiles * part // parts, tiles * (part + 1) // parts
            )
            self.give_back(vectors, buffer)

        run_tasks(task, parts, blas=False)
        return Y

    @cached_property
    def stages(self) -> Stages | None:
        """Where `forward` may forget rows, and take samples together."""
        return find_stages(self.plan, STAGE_VECTORS * VECTOR_BYTES)

    def _forward_in_stages(self, theta: Array, X: Array, Y: Array, stages: Stages) -> Array:
        vectors, plan = STAGE_VECTORS if len(X) > 2 * self.width else 2, self.plan
        kernels.prepare_runs(plan.table, self.tags[vectors], PLAN_FORWARD_RUNS)
        w, bias = self.weights_at(theta, plan.in_param), self.weights_at(theta, plan.bias_param)
        lanes = vectors * self.width
        rows = max(stages.packed, Y.shape[1])
        tiles = self.n_tiles(len(X), vectors)
        most = max(1, min(TASK_SAMPLES, PACKED_BYTES // (rows * self.dtype.itemsize)) // lanes)
        size = min(most, -(-tiles // min(MAX_PARTITIONS, self.worth(len(X))))) * lanes
        parts = -(-len(X) // size)
        bytes_of_tile = VECTOR_BYTES * (vectors * (2 * stages.rows + plan.n_keep + 1) + 1)

        def task(part: int) -> None:
            n0, n1 = part * size, min((part + 1) * size, len(X))
            memory = np.empty(bytes_of_tile, np.uint8)
            # a row more than whole tiles: rows that lie a power of two apart would share a few sets of the cache
            packed = np.empty((2, rows, -(-(n1 - n0) // lanes) * lanes + self.width), self.dtype)
            forward_stages(
                self.tags[vectors], plan.table, stages.cuts, w, bias, X, Y, memory, stages.rows, packed[0], packed[1], n0, n1
            )

        run_tasks(task, parts, blas=False)
        return Y

    def error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> float:
        """E = Σ_n s_n E_n."""
        return self._sweep(theta, X, T, sample_weight, MODE_VALUE)[0]

    def error_and_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[float, Array]:
        """(E, ∂E/∂θ)."""
        value, gradient, _ = self._sweep(theta, X, T, sample_weight, MODE_GRADIENT)
        return value, gradient

    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,))."""
        _, gradient, by_x = self._sweep(theta, X, V, None, MODE_VJP)
        return by_x, gradient

    def _sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x) of one pass over the tiles, cut into partitions that are summed pairwise."""
        if self.layers is not None:
            value, slope, back = self.layers.sweep(theta, X, T, sample_weight, mode)
            return value, self.none if slope is None else slope, self._no_rows if back is None else back
        plan = self.plan
        self._prepare_sweep(mode, self.vectors(len(X)))
        if len(X) <= self._few:
            back = np.empty(X.shape, self.dtype) if mode == MODE_VJP else self._no_rows
            slope = np.empty(0 if mode == MODE_VALUE else len(theta), self.dtype)
            s = self.none if sample_weight is None else sample_weight
            return kernels.sweep_few(self._table, theta, self._frozen, X, T, s, back, slope, mode), slope, back
        if self._takes_levels(len(X)):
            return self.levels.sweep(theta, X, T, sample_weight, mode)
        w = self._fill(theta, plan.frozen, plan.in_param, self._borrow(len(plan.in_param)))
        w_out = sums = self.none
        bias = self.weights_at(theta, plan.bias_param)
        s = self.none if sample_weight is None else sample_weight
        by_x = np.empty(X.shape, self.dtype) if mode == MODE_VJP else self._no_rows
        vectors = self.vectors(len(X))
        tiles = self.n_tiles(len(X), vectors)
        parts = self.partitions(len(X), tiles)
        if mode != MODE_VALUE:
            w_out = self._fill(theta, plan.frozen, plan.out_param, self._borrow(len(plan.out_param)))
            sums = self._borrow(parts, plan.sums_size)
        values = [0.0] * parts

        def task(part: int) -> None:
            buffer = self.take(vectors)
            own = sums[part] if len(sums) else self.none
            own[:] = 0
            values[part] = kernels.sweep(
                self.tags[vectors],
                plan.table,
                w,
                w_out,
                bias,
                X,
                T,
                s,
                by_x,
                own,
                buffer,
                mode,
                tiles * part // parts,
                tiles * (part + 1) // parts,
            )
            self.give_back(vectors, buffer)

        run_tasks(task, parts, blas=False)
        gradient = self.none if mode == MODE_VALUE else self.collect(sums)
        for array in (w, w_out, sums):
            self._keep(array)
        return _pairwise_sum(values), gradient, by_x

    # -- everything else -----------------------------------------------------------------------------------------------------

    def per_sample_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(N, W): δ_j z_i, not summed."""
        return self._sample_gradients(theta, X, T, sample_weight, each_output=False)[:, 0]

    def weight_jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, W) = ∂y_k/∂θ: one reverse sweep an output."""
        return self._sample_gradients(theta, X, np.empty((len(X), self.schedule.n_outputs), self.dtype), None, each_output=True)

    def _sample_gradients(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, each_output: bool) -> Array:
        dst, src = self.plan.edge_rows
        out = np.empty((len(X), self.schedule.n_outputs if each_output else 1, self.schedule.n_parameters), self.dtype)
        w = self.all_weights(theta)
        s = self.none if sample_weight is None else sample_weight
        self.on_tiles(len(X), quantities.sample_gradients, *w, X, T, s, self.plan.grad_ptr, dst, src, out, after=(each_output,))
        return out

    def jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, D) = ∂y_k/∂x_i: K reverse sweeps or D forward sweeps, whichever is fewer."""
        out = np.empty((len(X), self.schedule.n_outputs, self.schedule.n_inputs), self.dtype)
        self.on_tiles(len(X), quantities.jacobian, *self.all_weights(theta), X, out, self.plan.output_stop)
        return out

    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """(N, K): ∂y/∂x U + ∂y/∂θ v, one forward sweep of tangents."""
        plan = self.plan
        out = np.empty((len(X), self.schedule.n_outputs), self.dtype)
        w, bias = self.weights_at(theta, plan.in_param), self.weights_at(theta, plan.bias_param)
        v_in, v_bias = (self.none,) * 2 if v is None else (self._direction(v, plan.in_param), self._direction(v, plan.bias_param))
        u = self._no_rows if U is None else U
        self.on_tiles(len(X), quantities.tangent, w, bias, v_in, v_bias, X, u, out)
        return out

    def trace(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> TraceArrays:
        """a, z, δ of every row and sample."""
        n_rows, n = self.schedule.n_rows, len(X)
        a, z, _, delta, _ = self.state(self.all_weights(theta), X, T, sample_weight, True, True, False, True, False)
        return TraceArrays(*(values[:n_rows, :n] for values in (a, z, delta)))

    def state(self, w: tuple[Array, ...], X: Array, T: Array, sample_weight: Array | None, *wanted: bool) -> list[Array]:
        """Those wanted of a, z, h', δ and h''β, each (n_rows + 1, padded N), the others (0, padded N); zeros past the last sample.

        The last row is left to the caller, and there is room for one more behind it (see `states.take_rows`).
        """
        s = self.none if sample_weight is None else np.ascontiguousarray(sample_weight)
        if wanted[4]:
            self.plan.prepare("d2f")
        n_rows, padded = self.schedule.n_rows, padded_samples(len(X), self.dtype.itemsize)
        arrays = [aligned_array((n_rows + 2 if want else 0, padded), self.dtype)[: n_rows + 1] for want in wanted]
        self.on_tiles(len(X), quantities.state, *w, X, T, s, *arrays)
        for array in arrays:
            array[:, len(X) :] = 0
        return arrays

    def hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W), exact; the sweeps are this backend's, the assembly is the core's."""
        sweeps = self._second_order(theta)
        return assemble_hessian(sweeps, self.hessian_plan, theta, X, T, sample_weight, exact=True)

    def outer_product_hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W): Σ_n s_n ∇a_n Λ_n ∇a_nᵀ."""
        sweeps = self._second_order(theta)
        w = self.schedule.parameters.expand(theta)  # the core sweeps the rows of few outputs itself
        return assemble_hessian(sweeps, self.hessian_plan, w, X, T, sample_weight, exact=False)

    def hessian_diagonal(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W,): Σ_n z_i² B_jj; for tied parameters, whose diagonal has cross terms, by products with unit vectors."""
        sweeps = self._second_order(theta)
        diagonal, tied = assemble_diagonal(sweeps, self.hessian_plan, theta, X, T, sample_weight, exact=True)
        for some in np.array_split(tied, -(-len(tied) // 16)) if len(tied) else ():
            unit = np.zeros((len(theta), len(some)), self.dtype)
            unit[some, np.arange(len(some))] = 1
            diagonal[some] = self.hessian_product(theta, X, T, sample_weight, unit)[some, np.arange(len(some))]
        return diagonal

    def unit_blocks(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, exact: bool) -> list[Array]:
        """For each group of the plan, Σ_n B_jj z zᵀ: (units, sources, sources), untied parameters' blocks of the Hessian."""
        return assemble_unit_blocks(self._second_order(theta), self.hessian_plan, theta, X, T, sample_weight, exact)

    @cached_property
    def hessian_plan(self) -> HessianPlan:
        """The groups of parameters."""
        return HessianPlan.of(self.schedule)

    def _second_order(self, theta: Array) -> NumbaSecondOrderSweeps:
        self.plan.prepare("df", "d2f")
        return NumbaSecondOrderSweeps(self, theta)

    def hessian_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """H v for v (W, B): (W, B), by the R-operator."""
        return self._products(theta, X, T, sample_weight, v, exact=True)

    def outer_product_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """The outer-product Hessian times v (W, B): (W, B)."""
        return self._products(theta, X, T, sample_weight, v, exact=False)

    def _products(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array, exact: bool) -> Array:
        if self.layers is not None:
            return layer_products(self.layers, theta, X, T, sample_weight, v, exact)
        plan, n_directions = self.plan, v.shape[1]
        plan.prepare("df", "d2f")
        self._prepare_deltas()
        w = self.all_weights(theta)
        directions = [
            np.stack([self._direction(np.ascontiguousarray(v[:, b]), param) for b in range(n_directions)])
            if n_directions
            else np.empty((0, len(param)), self.dtype)
            for param in (plan.in_param, plan.out_param, plan.bias_param)
        ]
        s = self.none if sample_weight is None else sample_weight
        vectors = self.state_vectors(len(X))
        quantities.prepare_state(plan.table, self.tags[vectors])
        tiles = self.n_tiles(len(X), vectors)
        room = max(2, SUMS_BYTES // (plan.sums_size * self.dtype.itemsize * max(1, n_directions)))
        parts = min(tiles, room, MAX_PARTITIONS)
        sums = np.zeros((parts, n_directions, plan.sums_size), self.dtype)

        def task(part: int) -> None:
            with self.state_buffer(vectors) as buffer:
                quantities.products(
                    self.tags[vectors],
                    plan.table,
                    *w,
                    *directions,
                    X,
                    T,
                    s,
                    sums[part],
                    buffer,
                    exact,
                    tiles * part // parts,
                    tiles * (part + 1) // parts,
                )

        run_tasks(task, parts, blas=False)
        out = np.empty((self.schedule.n_parameters, n_directions), self.dtype)
        for b in range(n_directions):
            out[:, b] = self.collect(sums[:, b])
        return out

    def on_tiles(self, n_samples: int, entry: Any, *arguments: Any, after: tuple[Any, ...] = (), vectors: int = 0) -> None:
        """Run an entry that keeps every row's state over all tiles."""
        self.plan.prepare("df")
        if not vectors:
            vectors = self.state_vectors(n_samples)
            self._prepare_deltas()
            quantities.prepare_state(self.plan.table, self.tags[vectors])
        tiles = self.n_tiles(n_samples, vectors)
        parts = min(tiles, 64)

        def task(part: int) -> None:
            with self.state_buffer(vectors) as buffer:
                first, stop = tiles * part // parts, tiles * (part + 1) // parts
                entry(self.tags[vectors], self.plan.table, *arguments, buffer, *after, first, stop)

        run_tasks(task, parts, blas=False)

    def all_weights(self, theta: Array) -> tuple[Array, Array, Array]:
        """The weights of edges in and out, and the biases by row."""
        plan = self.plan
        return (
            self.weights_at(theta, plan.in_param),
            self.weights_at(theta, plan.out_param),
            self.weights_at(theta, plan.bias_param),
        )

    def _direction(self, v: Array, param: Array) -> Array:
        """C v at the places of a plan's edges or biases: 0 where a weight is frozen."""
        return self._fill(v, np.zeros_like(self.plan.frozen), param)

    @contextmanager
    def state_buffer(self, vectors: int) -> Iterator[Array]:
        """A buffer for every section of a tile, used before or new."""
        buffer = self.pool.take(("state", vectors))
        if buffer is None:
            rows = state_rows(self.schedule.n_rows, self.plan.n_keep, self.schedule.n_outputs)
            buffer = np.zeros(VECTOR_BYTES * (vectors * rows + 2 * self.width + 1), np.uint8)
        yield buffer
        self.pool.give(("state", vectors), buffer, buffer.nbytes)

    @contextmanager
    def scratch(self, purpose: str, size: int) -> Iterator[Array]:
        """So many bytes of any value, used before for the same purpose or new."""
        memory = self.pool.take(purpose)
        if memory is None or len(memory) < size:
            memory = np.empty(size, np.uint8)
        yield memory
        if size <= SCRATCH_BYTES:
            self.pool.give(purpose, memory, memory.nbytes)

    # -- shared ------------------------------------------------------------------------------------------------------------

    def n_tiles(self, n_samples: int, vectors: int) -> int:
        """Tiles that hold so many samples."""
        return -(-n_samples // (vectors * self.width))

    def take(self, vectors: int) -> Array:
        """A tile's buffer, used before or new."""
        buffer = self.pool.take(vectors)
        return np.zeros(VECTOR_BYTES * (vectors * self.rows + self.width + 1), np.uint8) if buffer is None else buffer

    def give_back(self, vectors: int, buffer: Array) -> None:
        """Keep a tile's buffer for the next one."""
        self.pool.give(vectors, buffer, buffer.nbytes)

    def _borrow(self, *shape: int) -> Array:
        """Numbers of any value, in memory that was used before or is new."""
        array = self.pool.take(shape)
        return np.empty(shape, self.dtype) if array is None else array

    def _keep(self, array: Array) -> None:
        """Have an array ready for the next call."""
        self.pool.give(array.shape, array, array.nbytes)

    def weights_at(self, theta: Array, param: Array) -> Array:
        """θ at the places of a plan's edges or biases."""
        return self._fill(theta, self.plan.frozen, param)

    def _fill(self, theta: Array, frozen: Array, param: Array, out: Array | None = None) -> Array:
        out = np.empty(len(param), self.dtype) if out is None else out
        in_parts(len(param), len(param) // FILL, lambda first, stop: kernels.fill_weights(theta, frozen, param, out, first, stop))
        return out

    def collect(self, sums: Array) -> Array:
        """The gradient from the partitions' sums."""
        n, size = self.schedule.n_parameters, self.plan.sums_size
        if len(sums) > 1:
            in_parts(size, size * len(sums) // COLLECT, lambda first, stop: kernels.collect(sums, first, stop))
        gradient = np.empty(n, self.dtype)
        plan = self.plan
        in_parts(n, n // FILL, lambda a, b: kernels.gather_gradient(sums[0], plan.grad_ptr, plan.grad_pos, gradient, a, b))
        return gradient


def _pairwise_sum(values: list[float]) -> float:
    while len(values) > 1:
        values = [sum(values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]
