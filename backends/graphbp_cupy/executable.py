"""Every quantity of the contract on the device: which path a call takes, in chunks of samples.

The forward values, the error, its gradient and the vector-Jacobian product are one launch each where `graphbp_cupy.paths` says so,
and memory does not grow with N.  Everything else goes level by level (`graphbp_cupy.sweeps`), with cuBLAS for dense blocks.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from graphbp.extend import LINEAR, ErrorFunction, Schedule, TraceArrays
from graphbp_cupy.by_inputs import ByInputs
from graphbp_cupy.curvature import Curvature
from graphbp_cupy.formulas import select
from graphbp_cupy.graphs import Recorder
from graphbp_cupy.memory import Cut, budget, cut, footprint, guarded
from graphbp_cupy.module import Kernels
from graphbp_cupy.paths import MAX_FLAT_DENSE, Path, Shape, choose
from graphbp_cupy.program import Program
from graphbp_cupy.sweeps import Array, Sweeps

__all__ = ["CupyExecutable"]


class CupyExecutable(Curvature, ByInputs):
    """A schedule and an error on one device; see `graphbp.protocols` for shapes and meanings."""

    def __init__(
        self, cp: Any, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any], *, path: str = "", graphs: bool = True
    ) -> None:
        self.cp = cp
        self.schedule = schedule
        self.dtype = np.dtype(dtype)
        self.device = cp.cuda.Device()
        self._only = path
        self.recorder = Recorder(cp, "" if graphs else "switched off by GRAPHBP_CUDA_GRAPHS=0, or by the backend's `graphs`")
        rows = select(schedule.activations, error)
        self.kernels = Kernels(cp, self.dtype, rows)
        flat = path != "level" and self.shape.dense_edges <= MAX_FLAT_DENSE
        self.program = Program(cp, schedule, error, self.dtype, rows, flat=flat)
        self.sweeps = Sweeps(cp, schedule, self.program, self.kernels)
        cp.cuda.get_current_stream().synchronize()  # calls may come on any stream: the tables are there before the first one

    @cached_property
    def of_outputs(self) -> CupyExecutable:
        """The same network under E = Σ V y, T being V."""
        return CupyExecutable(self.cp, self.schedule, LINEAR, self.dtype, path=self._only, graphs=False)

    # -- which path ------------------------------------------------------------------------------------------------------

    @cached_property
    def shape(self) -> Shape:
        """What the choice of a path depends on."""
        s, attributes = self.schedule, self.device.attributes
        dense = sum(block.size for block in s.dense_blocks)
        return Shape(
            n_rows=s.n_rows,
            n_outputs=s.n_outputs,
            n_edges=s.n_sparse + dense,
            depth=s.depth,
            dense_edges=dense,
            itemsize=self.dtype.itemsize,
            shared_bytes=int(attributes["MaxSharedMemoryPerBlockOptin"]),
            multiprocessors=int(attributes["MultiProcessorCount"]),
        )

    @property
    def budget(self) -> int:
        """Bytes for working arrays."""
        return budget(self._device_memory)

    @cached_property
    def _device_memory(self) -> int:
        return int(self.cp.cuda.runtime.getDeviceProperties(self.device.id)["totalGlobalMem"])

    def path(self, n_samples: int) -> Path:
        """The way of a forward sweep, a gradient or a vjp of so many samples."""
        return choose(self.shape, n_samples, self.budget, self._only)

    def describe(self, n_samples: int) -> str:
        """The path for `n_samples` samples, and why; and whether the same call again is replayed."""
        path = self.path(n_samples)
        size, refusal = self._kept_by(path, n_samples)
        refusal = self.recorder.reason(size, self.budget, refusal)
        again = f"no CUDA graph: {refusal}" if refusal else "called again with the same shapes: one launch of a CUDA graph"
        return f"{path.why}\n{again}\nother quantities level by level: {self.cut(n_samples)}"

    def cut(self, n_samples: int, quantity: str = "gradient", columns: int = 0) -> Cut:
        """Chunks of samples, and batches of directions, of a quantity on the level path."""
        need = footprint(quantity, self.schedule, self.program.sizes["n_slots"])
        return cut(self.budget, n_samples, self.dtype.itemsize, need, columns)

    # -- first order -----------------------------------------------------------------------------------------------------

    @guarded
    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        return self._again("forward", self._forward, self.path(len(X)), theta, X)[0]

    def _forward(self, theta: Array, X: Array) -> tuple[Array, ...]:
        n, w, path = len(X), self.sweeps.expand(theta), self.path(len(X))
        Y = self.sweeps.empty(n, self.schedule.n_outputs)
        if path.kind != "level":
            self._outputs(path, w, X, self.sweeps.unused, self.sweeps.unused, 0, Y)
            return (Y,)

        def chunk(part: slice) -> None:
            _, z = self.sweeps.forward(w, X[part])
            Y[part] = self.cp.take(z, self.program.output_rows, axis=0).T

        self.cut(n, "forward").over_parts(chunk)
        return (Y,)

    @guarded
    def error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> float:
        """E = Σ_n s_n E_n."""
        return float(self._again("error", self._error, self.path(len(X)), theta, X, T, sample_weight)[0].item())

    def _error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[Array, ...]:
        n, w, path = len(X), self.sweeps.expand(theta), self.path(len(X))
        weight, total = self._weights(sample_weight, n), self._total()
        if path.kind != "level":
            each = self.sweeps.empty(n)
            self._outputs(path, w, X, T, weight, 1, each)
            self.sweeps.add_values(total, each)
            return (total,)

        def chunk(part: slice) -> None:
            a, z = self.sweeps.forward(w, X[part])
            self.sweeps.add_values(total, self.sweeps.head_error(a, z, T[part], weight[part]))

        self.cut(n, "forward").over_parts(chunk)
        return (total,)

    @guarded
    def error_and_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[float, Array]:
        """(E, ∂E/∂θ (W,)); reading E is the one moment that waits for the device."""
        total, gradient = self._again("gradient", self._gradient, self.path(len(X)), theta, X, T, sample_weight)
        return float(total.item()), gradient

    def _gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[Array, ...]:
        n, w, path = len(X), self.sweeps.expand(theta), self.path(len(X))
        weight, total = self._weights(sample_weight, n), self._total()
        if path.kind != "level":
            each, by_x = self.sweeps.empty(n), self.sweeps.unused
            g = self._sums(path, w, X, T, weight, 1, each, by_x)
            self.sweeps.add_values(total, each)
        else:
            g = self.sweeps.zeros(1, self.program.sizes["n_slots"])
            self.cut(n).over_parts(lambda part: self._add_chunk(w, X[part], T[part], weight[part], total, g))
        return total, self.sweeps.reduce(g)[0]

    @guarded
    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,))."""
        by_x, gradient = self._again("vjp", self._vjp, self.path(len(X)), theta, X, V)
        return by_x, gradient

    def _vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, ...]:
        n, w, path = len(X), self.sweeps.expand(theta), self.path(len(X))
        by_x = self.sweeps.empty(n, self.schedule.n_inputs)
        if path.kind != "level":
            g = self._sums(path, w, X, V, self.sweeps.unused, 0, self.sweeps.unused, by_x)
            return by_x, self.sweeps.reduce(g)[0]
        g = self.sweeps.zeros(1, self.program.sizes["n_slots"])
        self.cut(n).over_parts(lambda part: self._pull_chunk(w, X[part], V[part], by_x[part], g))
        return by_x, self.sweeps.reduce(g)[0]

    # A call with the shapes of an earlier one: recorded and replayed (graphbp_cupy.graphs), with the bits that it has otherwise.

    def _again(self, name: str, body: Any, path: Path, *inputs: Any, columns: int = 0) -> tuple[Array, ...]:
        size, refusal = self._kept_by(path, len(inputs[1]), name, columns)
        return self.recorder(name, body, inputs, size, self.budget, refusal)

    def _kept_by(self, path: Path, n: int, name: str = "gradient", columns: int = 0) -> tuple[int, str]:
        """(bytes of working arrays, why the call cannot be recorded or "")."""
        if path.kind == "level":
            cublas = "its dense blocks are cuBLAS's, which CuPy does not let a stream record" if self.schedule.dense_blocks else ""
            return self.cut(n, "product" if "product" in name else name, columns).bytes, cublas
        scratch = self.shape.tile_numbers(path.lanes) if path.kind == "wide" else 0
        return path.blocks * (scratch + self.shape.n_edges + self.shape.n_rows) * self.dtype.itemsize, ""

    def _add_chunk(self, w: Array, x: Array, t: Array, weight: Array, total: Array, g: Array) -> None:
        a, z = self.sweeps.forward(w, x)
        self.sweeps.add_values(total, self.sweeps.head_error(a, z, t, weight))
        _, delta = self.sweeps.reverse(w, a, z, self.sweeps.head_delta(a, z, t, weight), inputs=False)
        self.sweeps.add_slot_sums(g, z, delta)

    def _pull_chunk(self, w: Array, x: Array, v: Array, by_x: Array, g: Array) -> None:
        a, z = self.sweeps.forward(w, x)
        _, delta = self.sweeps.reverse(w, a, z, self.sweeps.head_pullback(a, z, v.T.copy()[None]), inputs=True)
        by_x[...] = delta[0, : self.schedule.n_inputs].T
        self.sweeps.add_slot_sums(g, z, delta)

    # One launch for all samples: a tile in shared memory, or in global memory of the block's own.

    def _tiles(self, name: str, path: Path, *args: Any) -> None:
        fused = path.kind == "fused"
        shared = self.shape.shared_of(path.lanes) if fused else path.threads * self.dtype.itemsize
        self.kernels.launch(f"{path.kind}_{name}", (path.blocks,), (path.lanes, path.threads // path.lanes), *args, shared=shared)

    def _scratch(self, path: Path) -> tuple[Array, ...]:
        """The tiles of a wide launch; a fused one has none to be given."""
        return () if path.kind == "fused" else (self.sweeps.empty(path.blocks, self.shape.tile_numbers(path.lanes)),)

    def _outputs(self, path: Path, w: Array, X: Array, T: Array, weight: Array, to_error: int, y: Array) -> None:
        args = (self.program.network, w, self.sweeps.order(w), X, T, weight, to_error, len(X), *self._scratch(path), y)
        self._tiles("forward", path, *args)

    def _sums(self, path: Path, w: Array, X: Array, t: Array, weight: Array, from_error: int, each: Array, by_x: Array) -> Array:
        """g (1, S): partial sums of every block, added in order."""
        n, slots, fused = len(X), self.program.sizes["n_slots"], path.kind == "fused"
        columns = slots if fused else self.shape.n_edges + self.shape.n_rows
        partial, g = self.sweeps.empty(path.blocks, columns), self.sweeps.empty(1, slots)
        args = (self.program.network, w, self.sweeps.order(w), X, t, weight, from_error, n)
        self._tiles("gradient", path, *args, *self._scratch(path), each, partial, by_x)
        if fused:
            self.kernels.over_items("add_rows", slots, 1, 1, partial, path.blocks, slots, g)
        else:
            self.kernels.over_items("add_wide_sums", columns, 1, 1, self.program.network, partial, path.blocks, g)
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

        def chunk(part: slice) -> None:
            a, z = self.sweeps.forward(w, X[part])
            _, delta = self.sweeps.reverse(w, a, z, self.sweeps.head_delta(a, z, T[part], weight[part]), inputs=False)
            self._sample_gradient(z, delta, out[part], 1, 0)

        self.cut(len(X)).over_parts(chunk)
        return out

    @guarded
    def trace(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> TraceArrays:
        """a, z and δ of every row, all samples at once."""
        w, weight = self.sweeps.expand(theta), self._weights(sample_weight, len(X))
        a, z = self.sweeps.forward(w, X)
        _, delta = self.sweeps.reverse(w, a, z, self.sweeps.head_delta(a, z, T, weight), inputs=True)
        return TraceArrays(a, z, delta[0])

    def _sample_gradient(self, z: Array, delta: Array, out: Array, outputs: int, first: int) -> None:
        """out (n, outputs, W) at outputs first, first + 1, … from δ (B, rows, n)."""
        batch, _, n = delta.shape
        grid = (-(-n // 32), min(65535, -(-self.schedule.n_parameters // 32)), batch)
        self.kernels.launch("sample_gradient", grid, (32, 8), self.program.network, z, delta, n, outputs, first, out)

    # -- Jacobians and directions ----------------------------------------------------------------------------------------

    @guarded
    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """(N, K): ∂y/∂x U + ∂y/∂θ v, one forward sweep of tangents."""
        return self._again("jvp", self._jvp, Path("level"), theta, X, U, v, columns=1)[0]

    def _jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> tuple[Array, ...]:
        w = self.sweeps.expand(theta)
        w_dot = None if v is None else self.sweeps.expand_directions(v.reshape(-1, 1), 0, 1)
        out = self.sweeps.empty(len(X), self.schedule.n_outputs)

        def chunk(part: slice) -> None:
            a, z = self.sweeps.forward(w, X[part])
            a_dot, _ = self.sweeps.tangent(w, a, z, 1, x_dot=None if U is None else U[part].T[None], w_dot=w_dot)
            out[part] = self.sweeps.head_pushforward(a, z, a_dot)[0].T

        self.cut(len(X), "jvp", 1).over_parts(chunk)
        return (out,)

    @guarded
    def jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, D) = ∂y_k/∂x_i: K reverse sweeps or D forward ones, whichever is fewer, many at once."""
        s, w = self.schedule, self.sweeps.expand(theta)
        out = self.sweeps.empty(len(X), s.n_outputs, s.n_inputs)
        cut = self.cut(len(X), "jacobian", min(s.n_outputs, s.n_inputs))

        def chunk(part: slice) -> None:
            a, z = self.sweeps.forward(w, X[part])

            def batch(lo: int, hi: int) -> None:
                if s.n_outputs <= s.n_inputs:
                    delta = self._output_rows_reverse(w, a, z, lo, hi, inputs=True)
                    out[part, lo:hi] = delta[:, : s.n_inputs].transpose(2, 0, 1)
                else:
                    x_dot = self.sweeps.units(self._range(lo, hi), s.n_inputs, a.shape[1])
                    a_dot, _ = self.sweeps.tangent(w, a, z, hi - lo, x_dot=x_dot)
                    out[part, :, lo:hi] = self.sweeps.head_pushforward(a, z, a_dot).transpose(2, 1, 0)

            cut.over_batches(batch)

        cut.over_parts(chunk)
        return out

    @guarded
    def weight_jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, W) = ∂y_k/∂θ: one reverse sweep an output, many at once."""
        s, w = self.schedule, self.sweeps.expand(theta)
        out = self.sweeps.empty(len(X), s.n_outputs, s.n_parameters)
        cut = self.cut(len(X), "weight_jacobian", s.n_outputs)

        def chunk(part: slice) -> None:
            a, z = self.sweeps.forward(w, X[part])

            def batch(lo: int, hi: int) -> None:
                delta = self._output_rows_reverse(w, a, z, lo, hi, inputs=False)
                self._sample_gradient(z, delta, out[part], s.n_outputs, lo)

            cut.over_batches(batch)

        cut.over_parts(chunk)
        return out

    def _output_rows_reverse(self, w: Array, a: Array, z: Array, lo: int, hi: int, *, inputs: bool) -> Array:
        """δ (hi − lo, rows, n) started from outputs lo..hi, one each."""
        v = self.sweeps.units(self._range(lo, hi), self.schedule.n_outputs, a.shape[1])
        return self.sweeps.reverse(w, a, z, self.sweeps.head_pullback(a, z, v), inputs=inputs)[1]

    def _range(self, lo: int, hi: int) -> Array:
        return self.cp.arange(lo, hi, dtype=self.cp.int32)
