r"""Second derivatives by the inputs, by the R-operator: directions in x are batches as those in θ are.

    ∂²y_k/∂x∂x e_i = Rδ of the inputs, along ẋ = e_i, started from V = e_k

V is the target of the error E = Σ V y (`graphbp.extend.LINEAR`), for which the same kernels are compiled once more: `of_outputs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphbp.extend import Schedule
from graphbp_cupy.curvature import Point
from graphbp_cupy.memory import Cut, guarded
from graphbp_cupy.program import Program
from graphbp_cupy.sweeps import Array, Sweeps

__all__ = ["ByInputs"]


class ByInputs:
    """These methods of the executable; see `graphbp.protocols` for shapes and meanings."""

    cp: Any
    schedule: Schedule
    program: Program
    sweeps: Sweeps
    of_outputs: Any

    def cut(self, n_samples: int, quantity: str = "gradient", columns: int = 0) -> Cut:
        """Chunks and batches; the executable has it."""
        raise NotImplementedError

    def point(self, w: Array, x: Array, t: Array, weight: Array) -> Point:
        """A chunk of samples, swept up and down; the executable has it."""
        raise NotImplementedError

    def _weights(self, sample_weight: Array | None, n: int) -> Array:
        raise NotImplementedError

    # -- products ----------------------------------------------------------------------------------------------------------------

    @guarded
    def second_order_product(self, theta: Array, X: Array, V: Array, U: Array | None, v: Array | None) -> tuple[Array, Array]:
        """((N, D), (W,)): ∂/∂(x, θ) of Σ ⟨V, ∂y/∂x U + ∂y/∂θ v⟩."""
        found: tuple[Array, Array] = self.of_outputs.error_product(theta, X, V, None, U, v)
        return found

    @guarded
    def error_product(
        self, theta: Array, X: Array, T: Array, sample_weight: Array | None, U: Array | None, v: Array | None
    ) -> tuple[Array, Array]:
        """((N, D), (W,)): ∂²E/∂(x, θ)² times (U, v)."""
        w, weight = self.sweeps.expand(theta), self._weights(sample_weight, len(X))
        w_dot = None if v is None else self.sweeps.expand_directions(v.reshape(-1, 1), 0, 1)
        by_x, g = self.sweeps.empty(*X.shape), self.sweeps.zeros(1, self.program.sizes["n_slots"])

        def chunk(part: slice) -> None:
            at = self.point(w, X[part], T[part], weight[part])
            x_dot = None if U is None else U[part].T[None]
            a_dot, z_dot = self.sweeps.tangent(w, at.a, at.z, 1, x_dot=x_dot, w_dot=w_dot)
            delta_dot = self.down(at, (a_dot, z_dot), w_dot)
            by_x[part] = delta_dot[0, : self.schedule.n_inputs].T
            self.sweeps.add_slot_sums(g, at.z, delta_dot, at.delta, z_dot)

        self.cut(len(X), "product", 1).over_parts(chunk)
        return by_x, self.sweeps.reduce(g)[0]

    def down(self, at: Point, tangents: tuple[Array, Array], w_dot: Array = None) -> Array:
        """δ̇ (B, rows, n), the inputs' too, for (ȧ, ż)."""
        head = self.sweeps.head_curvature(at.a, at.z, at.t, at.weight, tangents[0], True)
        return self.sweeps.reverse_tangent(at.w, w_dot, (at.a, at.z, at.beta, at.delta), tangents, head, inputs=True)

    # -- Hessians ----------------------------------------------------------------------------------------------------------------

    @guarded
    def input_hessian(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D, D), or given V (N, D, D)."""
        d = self.schedule.n_inputs
        out = self.sweeps.empty(len(X), self._outputs_of(V), d, d)

        def put(part: slice, k: int, lo: int, hi: int, lines: Array) -> None:
            out[part, k, lo:hi] = lines.transpose(2, 0, 1)

        self._along_inputs(theta, X, V, put)
        out = (out + out.transpose(0, 1, 3, 2)) / 2
        return out if V is None else out[:, 0]

    @guarded
    def input_hessian_diagonal(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D), or given V (N, D)."""
        out = self._diagonal(theta, X, V)
        return out if V is None else out[:, 0]

    @guarded
    def laplacian(self, theta: Array, X: Array, lengths: Array) -> Array:
        """(N, K): Σ_i ℓ_i² ∂²y_k/∂x_i²."""
        squares = (lengths * lengths).reshape(-1, 1)
        return self.cp.matmul(self._diagonal(theta, X, None), squares).reshape(len(X), self.schedule.n_outputs)

    def _diagonal(self, theta: Array, X: Array, V: Array | None) -> Array:
        out = self.sweeps.empty(len(X), self._outputs_of(V), self.schedule.n_inputs)

        def put(part: slice, k: int, lo: int, hi: int, lines: Array) -> None:
            for b in range(hi - lo):
                out[part, k, lo + b] = lines[b, lo + b]

        self._along_inputs(theta, X, V, put)
        return out

    def _outputs_of(self, V: Array | None) -> int:
        return 1 if V is not None else self.schedule.n_outputs

    def _along_inputs(self, theta: Array, X: Array, V: Array | None, put: Callable[[slice, int, int, int, Array], None]) -> None:
        """`put` for each chunk, output and batch of inputs lo..hi: the lines ∂²y/∂x∂x e_i (hi − lo, D, n) of their Hessians."""
        d, w, run = self.schedule.n_inputs, self.sweeps.expand(theta), self.of_outputs
        cut = self.cut(len(X), "diagonal", d)
        ones = self._weights(None, len(X))

        def chunk(part: slice) -> None:
            for k in range(self._outputs_of(V)):
                at = run.point(w, X[part], self._unit(X[part], k) if V is None else V[part], ones[part])

                def batch(lo: int, hi: int, at: Point = at, k: int = k) -> None:
                    which = self.cp.arange(lo, hi, dtype=self.cp.int32)
                    moved = run.sweeps.tangent(w, at.a, at.z, hi - lo, x_dot=run.sweeps.units(which, d, at.a.shape[1]))
                    put(part, k, lo, hi, run.down(at, moved)[:, :d])

                cut.over_batches(batch)

        cut.over_parts(chunk)

    def _unit(self, x: Array, k: int) -> Array:
        """e_k for every sample."""
        v = self.sweeps.zeros(len(x), self.schedule.n_outputs)
        v[:, k] = 1
        return v
