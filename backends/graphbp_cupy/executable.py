"""Every quantity of the contract on the device: which path a call takes, in chunks of samples.

*Fused* path: where the tile of some samples fits in shared memory and the network is not mostly large dense blocks, the forward
values, the error's gradient and the vector-Jacobian product are one launch each (cuda/fused.cu), and memory does not grow with N.
*Level* path: everything else, level by level (`graphbp_cupy.sweeps`), with cuBLAS for dense blocks.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from graphbp.extend import ErrorFunction, Schedule, TraceArrays
from graphbp_cupy.curvature import Curvature
from graphbp_cupy.formulas import select
from graphbp_cupy.memory import Plan, budget, guarded, plan
from graphbp_cupy.module import THREADS, Kernels
from graphbp_cupy.program import Program
from graphbp_cupy.sweeps import Array, Sweeps

__all__ = ["CupyExecutable"]

MAX_LANES, MIN_LANES = 32, 8
"""Samples of a tile: at most a warp's worth; with fewer than 8 the level path makes better use of the machine."""

MAX_FLAT_DENSE = 1 << 15
"""More edges than this in dense blocks go to cuBLAS on the level path."""

MAX_BLOCKS = 512
"""Blocks of the fused gradient, each with a gradient of its own to be added up in order."""


class CupyExecutable(Curvature):
    """A schedule and an error on one device; see `graphbp.protocols` for shapes and meanings."""

    def __init__(self, cp: Any, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any], *, fused: bool = True) -> None:
        self.cp = cp
        self.schedule = schedule
        self.dtype = np.dtype(dtype)
        self.device = cp.cuda.Device()
        self.fused = fused
        self.lanes = self._tile_lanes() if fused else 0
        rows = select(schedule.activations, error)
        self.kernels = Kernels(cp, self.dtype, rows)
        self.program = Program(cp, schedule, error, self.dtype, rows, flat=self.lanes > 0)
        self.sweeps = Sweeps(cp, schedule, self.program, self.kernels)
        cp.cuda.get_current_stream().synchronize()  # calls may come on any stream: the tables are there before the first one

    # -- which path ------------------------------------------------------------------------------------------------------

    @cached_property
    def shared_bytes(self) -> int:
        """Shared memory that a block may have."""
        return int(self.device.attributes["MaxSharedMemoryPerBlockOptin"])

    @property
    def budget(self) -> int:
        """Bytes for working arrays."""
        return budget(self._device_memory)

    @cached_property
    def _device_memory(self) -> int:
        return int(self.cp.cuda.runtime.getDeviceProperties(self.device.id)["totalGlobalMem"])

    def _tile_bytes(self, lanes: int) -> int:
        return (2 * self.schedule.n_rows + self.schedule.n_outputs) * lanes * self.dtype.itemsize

    def _tile_lanes(self) -> int:
        """Samples of a fused tile, a power of two; 0 for the level path."""
        if sum(block.size for block in self.schedule.dense_blocks) > MAX_FLAT_DENSE:
            return 0
        lanes = MAX_LANES
        while lanes >= MIN_LANES and self._tile_bytes(lanes) > self.shared_bytes:
            lanes //= 2
        return lanes if lanes >= MIN_LANES else 0

    def describe(self, n_samples: int) -> str:
        """The path for `n_samples` samples, and why."""
        dense = sum(block.size for block in self.schedule.dense_blocks)
        if self.lanes:
            tile = f"a tile of {self.lanes} samples in {self._tile_bytes(self.lanes):,} bytes of shared memory"
            first = f"fused: a block runs all levels on {tile}"
        elif dense > MAX_FLAT_DENSE:
            first = f"level by level, with cuBLAS for the {dense:,} edges in dense blocks"
        elif not self.fused:
            first = "level by level, as this backend was told to"
        else:
            room = f"do not fit in {self.shared_bytes:,} bytes of shared memory"
            first = f"level by level: {MIN_LANES} samples of all {self.schedule.n_rows:,} rows {room}"
        return f"{first}\nother quantities level by level: {self.plan(n_samples)}"

    def plan(self, n_samples: int, columns: int = 0, per_column: int = 0) -> Plan:
        """Chunks of samples (a, z, β, δ of every row) and batches of directions (the same again for each)."""
        s = self.schedule
        per_direction = 4 * s.n_rows + s.n_outputs + per_column
        return plan(self.budget, n_samples, self.dtype.itemsize, 4 * s.n_rows + s.n_outputs + 2, columns, per_direction)

    # -- first order -----------------------------------------------------------------------------------------------------

    @guarded
    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        n, w = len(X), self.sweeps.expand(theta)
        Y = self.sweeps.empty(n, self.schedule.n_outputs)
        if self.lanes:
            self._fused("fused_forward", -(-n // self.lanes), self.program.network, w, X, n, Y)
            return Y
        for part in self.plan(n).parts():
            _, z = self.sweeps.forward(w, X[part])
            Y[part] = self.cp.take(z, self.program.output_rows, axis=0).T
        return Y

    @guarded
    def error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> float:
        """E = Σ_n s_n E_n."""
        w, weight, total = self.sweeps.expand(theta), self._weights(sample_weight, len(X)), self._total()
        for part in self.plan(len(X)).parts():
            a, z = self.sweeps.forward(w, X[part])
            self.sweeps.add_values(total, self.sweeps.head_error(a, z, T[part], weight[part]))
        return float(total.item())

    @guarded
    def error_and_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[float, Array]:
        """(E, ∂E/∂θ (W,)); reading E is the one moment that waits for the device."""
        w, weight, total = self.sweeps.expand(theta), self._weights(sample_weight, len(X)), self._total()
        if self.lanes:
            each, by_x = self.sweeps.empty(len(X)), self.sweeps.unused
            g = self._fused_gradient(w, X, T, weight, 1, each, by_x)
            self.sweeps.add_values(total, each)
        else:
            g = self.sweeps.zeros(1, self.program.sizes["n_slots"])
            for part in self.plan(len(X)).parts():
                self._add_chunk(w, X[part], T[part], weight[part], total, g)
        gradient = self.sweeps.reduce(g)[0]
        return float(total.item()), gradient

    @guarded
    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,))."""
        w, by_x = self.sweeps.expand(theta), self.sweeps.empty(len(X), self.schedule.n_inputs)
        if self.lanes:
            g = self._fused_gradient(w, X, V, self.sweeps.unused, 0, self.sweeps.unused, by_x)
            return by_x, self.sweeps.reduce(g)[0]
        g = self.sweeps.zeros(1, self.program.sizes["n_slots"])
        for part in self.plan(len(X)).parts():
            self._pull_chunk(w, X[part], V[part], by_x[part], g)
        return by_x, self.sweeps.reduce(g)[0]

    # Each chunk in a function of its own: its arrays are gone before the next one's are made, as the plan counts them.

    def _add_chunk(self, w: Array, x: Array, t: Array, weight: Array, total: Array, g: Array) -> None:
        a, z = self.sweeps.forward(w, x)
        self.sweeps.add_values(total, self.sweeps.head_error(a, z, t, weight))
        _, delta = self.sweeps.reverse(w, a, self.sweeps.head_delta(a, z, t, weight), inputs=False)
        self.sweeps.add_slot_sums(g, z, delta)

    def _pull_chunk(self, w: Array, x: Array, v: Array, by_x: Array, g: Array) -> None:
        a, z = self.sweeps.forward(w, x)
        _, delta = self.sweeps.reverse(w, a, self.sweeps.head_pullback(a, z, v.T.copy()[None]), inputs=True)
        by_x[...] = delta[0, : self.schedule.n_inputs].T
        self.sweeps.add_slot_sums(g, z, delta)

    def _fused(self, name: str, blocks: int, *args: Any) -> None:
        block = (self.lanes, THREADS // self.lanes)
        self.kernels.launch(name, (blocks,), block, *args, shared=self._tile_bytes(self.lanes))

    def _fused_gradient(self, w: Array, X: Array, t: Array, weight: Array, from_error: int, each: Array, by_x: Array) -> Array:
        """g (1, S): a partial gradient from every block, added in order."""
        n, slots = len(X), self.program.sizes["n_slots"]
        affordable = max(1, self.budget // (max(1, slots) * self.dtype.itemsize))
        blocks = min(-(-n // self.lanes), MAX_BLOCKS, affordable)
        partial, g = self.sweeps.empty(blocks, slots), self.sweeps.empty(1, slots)
        self._fused("fused_gradient", blocks, self.program.network, w, X, t, weight, from_error, n, each, partial, by_x)
        self.kernels.over_items("add_rows", slots, 1, 1, partial, blocks, slots, g)
        return g

    def _weights(self, sample_weight: Array | None, n: int) -> Array:
        return self.cp.ones(n, dtype=self.dtype) if sample_weight is None else sample_weight

    def _total(self) -> Array:
        return self.cp.zeros(1, dtype=self.cp.float64)

    # -- single samples --------------------------------------------------------------------------------------------------

    @guarded
    def per_sample_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(N, W): δ_j z_i of every sample."""
        w, weight = self.sweeps.expand(theta), self._weights(sample_weight, len(X))
        out = self.sweeps.empty(len(X), self.program.sizes["n_parameters"])
        for part in self.plan(len(X)).parts():
            a, z = self.sweeps.forward(w, X[part])
            _, delta = self.sweeps.reverse(w, a, self.sweeps.head_delta(a, z, T[part], weight[part]), inputs=False)
            self._sample_gradient(z, delta, out[part])
        return out

    @guarded
    def trace(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> TraceArrays:
        """a, z and δ of every row, all samples at once."""
        w, weight = self.sweeps.expand(theta), self._weights(sample_weight, len(X))
        a, z = self.sweeps.forward(w, X)
        _, delta = self.sweeps.reverse(w, a, self.sweeps.head_delta(a, z, T, weight), inputs=True)
        return TraceArrays(a, z, delta[0])

    def _sample_gradient(self, z: Array, delta: Array, out: Array) -> None:
        """out (n, B, W) from δ (B, rows, n)."""
        batch, _, n = delta.shape
        args = (self.program.network, z, delta, n, out)
        self.kernels.over_items("sample_gradient", self.program.sizes["n_parameters"], n, batch, *args)

    # -- Jacobians and directions ----------------------------------------------------------------------------------------

    @guarded
    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """(N, K): ∂y/∂x U + ∂y/∂θ v, one forward sweep of tangents."""
        w = self.sweeps.expand(theta)
        w_dot = None if v is None else self.sweeps.expand_directions(v.reshape(-1, 1), 0, 1)
        out = self.sweeps.empty(len(X), self.schedule.n_outputs)
        for part in self.plan(len(X), 1).parts():
            a, z = self.sweeps.forward(w, X[part])
            a_dot, _ = self.sweeps.tangent(w, a, z, 1, x_dot=None if U is None else U[part].T[None], w_dot=w_dot)
            out[part] = self.sweeps.head_pushforward(a, z, a_dot)[0].T
        return out

    @guarded
    def jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, D) = ∂y_k/∂x_i: K reverse sweeps or D forward ones, whichever is fewer, many at once."""
        s, w = self.schedule, self.sweeps.expand(theta)
        out = self.sweeps.empty(len(X), s.n_outputs, s.n_inputs)
        plan = self.plan(len(X), min(s.n_outputs, s.n_inputs))
        for part in plan.parts():
            a, z = self.sweeps.forward(w, X[part])
            for lo, hi in plan.batches():
                if s.n_outputs <= s.n_inputs:
                    delta = self._output_rows_reverse(w, a, z, lo, hi, inputs=True)
                    out[part, lo:hi] = delta[:, : s.n_inputs].transpose(2, 0, 1)
                else:
                    x_dot = self.sweeps.units(self._range(lo, hi), s.n_inputs, a.shape[1])
                    a_dot, _ = self.sweeps.tangent(w, a, z, hi - lo, x_dot=x_dot)
                    out[part, :, lo:hi] = self.sweeps.head_pushforward(a, z, a_dot).transpose(2, 1, 0)
        return out

    @guarded
    def weight_jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, W) = ∂y_k/∂θ: one reverse sweep an output, many at once."""
        s, w = self.schedule, self.sweeps.expand(theta)
        out = self.sweeps.empty(len(X), s.n_outputs, s.n_parameters)
        plan = self.plan(len(X), s.n_outputs, s.n_parameters)
        for part in plan.parts():
            a, z = self.sweeps.forward(w, X[part])
            for lo, hi in plan.batches():
                delta = self._output_rows_reverse(w, a, z, lo, hi, inputs=False)
                block = self.sweeps.empty(a.shape[1], hi - lo, s.n_parameters)
                self._sample_gradient(z, delta, block)
                out[part, lo:hi] = block
        return out

    def _output_rows_reverse(self, w: Array, a: Array, z: Array, lo: int, hi: int, *, inputs: bool) -> Array:
        """δ (hi − lo, rows, n) started from outputs lo..hi, one each."""
        v = self.sweeps.units(self._range(lo, hi), self.schedule.n_outputs, a.shape[1])
        return self.sweeps.reverse(w, a, self.sweeps.head_pullback(a, z, v), inputs=inputs)[1]

    def _range(self, lo: int, hi: int) -> Array:
        return self.cp.arange(lo, hi, dtype=self.cp.int32)
