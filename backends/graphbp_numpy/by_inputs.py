r"""Second derivatives by the inputs in the NumPy backend, and the R-operator along x and θ together.

∂²y_k/∂x_i∂x_l = Σ_p h''_p β^k_p G_pi G_pl + of rows that combine two others + the output's own part, G_pi = ∂a_p/∂x_i
                                                                                              (`graphbp.second_order.by_inputs`)

R-operator along (U, v):   ȧ, ż by a forward sweep of tangents, ẋ = U, then backwards
Rβ_i = Σ_k (v_ki δ_k + w_ki Rδ_k),    Rδ_j = h''_j ȧ_j β_j + h'_j Rβ_j + (at the outputs) the head's own change along ȧ,
∂/∂x = Rδ of the inputs,    ∂/∂w_ji = Σ_n (Rδ_j z_i + δ_j ż_i)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from graphbp.extend import CombinationRun, HeadGroup, ParameterMap, Schedule, add_heads
from graphbp_numpy.second_order import reverse_tangent
from graphbp_numpy.sweeps import Program

__all__ = ["ByInputs"]

Array = npt.NDArray[Any]
_R = TypeVar("_R")
Started = tuple[Array, Callable[[Array], Array]]
"""δ at the outputs, and how it changes along ȧ there: both (rows, n), 0 elsewhere."""


@dataclass(frozen=True)
class _Tangents:
    """Of a chunk: a, y and G (K, D, n) of the outputs, and from V (K, n) the pairs (p, D, n) of which ∂²/∂x_i∂x_l is Σ_p left_pi right_pl."""

    a: Array
    y: Array
    G: Array
    factors: Callable[[Array], list[tuple[Array, Array]]]


class ByInputs:
    """These methods of `NumpyExecutable`; see `graphbp.protocols` for shapes and meanings."""

    schedule: Schedule
    program: Program
    heads: tuple[HeadGroup, ...]
    map: ParameterMap

    def each(self, n_samples: int, work: Callable[[slice], _R], rows: int = 0) -> list[_R]:
        """work(part) for all chunks; the executable has it."""
        raise NotImplementedError

    def total(self, n_samples: int, work: Callable[[slice], _R], none: _R) -> _R:
        """The sum of `work` over chunks of samples; the executable has it."""
        raise NotImplementedError

    def backpropagate(self, w: Array, a: Array, z: Array, t: Array, s: Array | None) -> tuple[Array, Array]:
        """(δ, β) of every row; the executable has it."""
        raise NotImplementedError

    def output_delta(self, a: Array, z: Array, t: Array, s: Array | None) -> Array:
        """(rows, N), zero but for ∂E/∂a at the outputs; the executable has it."""
        raise NotImplementedError

    def curvature(self, a: Array, z: Array, t: Array, s: Array | None, exact: bool) -> Iterator[tuple[Array, Array]]:
        """For each head its rows and R; the executable has it."""
        raise NotImplementedError

    # -- Hessians ----------------------------------------------------------------------------------------------------------------

    def input_hessian(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D, D), or given V (N, D, D)."""
        d = self.schedule.n_inputs

        def of(left: Array, right: Array) -> Array:
            return np.asarray((left.transpose(2, 1, 0) @ right.transpose(2, 0, 1)).transpose(1, 2, 0))

        found = self._by_inputs(theta, X, V, (d, d), of)
        return np.asarray((found + found.swapaxes(-1, -2)) / 2)

    def input_hessian_diagonal(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D), or given V (N, D)."""
        return self._by_inputs(theta, X, V, (self.schedule.n_inputs,), partial(np.einsum, "pin,pin->in"))

    def laplacian(self, theta: Array, X: Array, lengths: Array) -> Array:
        """(N, K)."""
        return self._by_inputs(theta, X, None, (), partial(np.einsum, "pin,pin->n"), lengths)

    def _by_inputs(
        self,
        theta: Array,
        X: Array,
        V: Array | None,
        shape: tuple[int, ...],
        of: Callable[[Array, Array], Array],
        lengths: Array | None = None,
    ) -> Array:
        """(N, K, *shape) or (N, *shape): `of` takes factors to their sum (*shape, n)."""
        s, w = self.schedule, self.map.expand(theta)
        single = V is not None
        out = np.empty((len(X), *(() if single else (s.n_outputs,)), *shape), np.result_type(theta, X))

        def work(part: slice) -> None:
            v = None if V is None else V[part].T
            tangents = self._tangents(w, X[part].T, lengths)
            each = np.repeat(np.eye(s.n_outputs, dtype=out.dtype)[:, :, None], len(X[part]), axis=2) if v is None else v[None]
            found = np.stack([sum(of(*factors) for factors in tangents.factors(start)) for start in each])
            found = found[0] if single else found
            add_heads(self.heads, tangents.a, tangents.y, tangents.G, v, found)
            out[part] = np.moveaxis(found, -1, 0)

        self.each(len(X), work, s.n_rows * (2 * s.n_inputs + 1))
        return out

    def _tangents(self, w: Array, x: Array, lengths: Array | None) -> _Tangents:
        s, program = self.schedule, self.program
        a, z = program.forward(w, x)
        slope = program.derivative(a)
        sides = [rows for run in self._bending for rows in (run.first, run.second)]
        G = np.empty((s.n_rows, s.n_inputs, x.shape[1]), a.dtype)
        zeta = [np.empty((len(rows), *G.shape[1:]), a.dtype) for rows in sides]
        for i in range(s.n_inputs):
            u = np.zeros_like(x)
            u[i] = 1 if lengths is None else lengths[i]
            G[:, i], z_dot = program.tangent(w, z, slope, u, None)
            for rows, moved in zip(sides, zeta, strict=True):
                moved[:, i] = z_dot[rows]

        def factors(start: Array) -> list[tuple[Array, Array]]:
            delta = self._pulled(a, z, start)[0]
            bend = program.derivative(a, 2) * program.reverse(w, z, slope, delta)
            found = [(G * bend[:, None], G)]
            for run, u, v in zip(self._bending, zeta[::2], zeta[1::2], strict=True):
                to_u, to_v = run.bent(delta[run.rows][:, None], u, v)
                found += [(to_u, u), (to_v, v)]
            return found

        return _Tangents(a[s.output_rows], z[s.output_rows], G[s.output_rows], factors)

    @property
    def _bending(self) -> list[CombinationRun]:
        """Rows that combine two others by a g of some second derivative."""
        return [run for level in self.program.combined for run in level if run.bends]

    # -- products ----------------------------------------------------------------------------------------------------------------

    def second_order_product(self, theta: Array, X: Array, V: Array, U: Array | None, v: Array | None) -> tuple[Array, Array]:
        """((N, D), (W,)): ∂/∂(x, θ) of Σ ⟨V, ∂y/∂x U + ∂y/∂θ v⟩."""
        return self._along(theta, X, U, v, lambda a, z, part: self._pulled(a, z, V[part].T))

    def error_product(
        self, theta: Array, X: Array, T: Array, sample_weight: Array | None, U: Array | None, v: Array | None
    ) -> tuple[Array, Array]:
        """((N, D), (W,)): ∂²E/∂(x, θ)² times (U, v)."""

        def start(a: Array, z: Array, part: slice) -> Started:
            t, s = T[part].T, None if sample_weight is None else sample_weight[part].T
            curvature = list(self.curvature(a, z, t, s, exact=True))

            def change(a_dot: Array) -> Array:
                out = np.zeros_like(a_dot)
                for rows, value in curvature:
                    out[rows] = value * a_dot[rows] if value.ndim == 2 else np.einsum("jcn,cn->jn", value, a_dot[rows])
                return out

            return self.output_delta(a, z, t, s), change

        return self._along(theta, X, U, v, start)

    def _pulled(self, a: Array, z: Array, v: Array) -> Started:
        """δ = (∂y/∂a)ᵀ v at the outputs, and its change along ȧ."""
        ends = [(self.schedule.output_rows[head.positions], head, v[head.positions]) for head in self.heads]
        delta = np.zeros_like(a)
        for rows, head, of in ends:
            delta[rows] = head.pullback(a[rows], z[rows], of)

        def change(a_dot: Array) -> Array:
            out = np.zeros_like(a_dot)
            for rows, head, of in ends:
                out[rows] = head.pulled_product(a[rows], z[rows], of, a_dot[rows])
            return out

        return delta, change

    def _along(
        self, theta: Array, X: Array, U: Array | None, v: Array | None, start: Callable[[Array, Array, slice], Started]
    ) -> tuple[Array, Array]:
        program, s = self.program, self.schedule
        w = self.map.expand(theta)
        w_dot = np.zeros_like(w) if v is None else self.map.expand_tangent(v)
        biases = s.bias_slot[s.bias_slot >= 0]
        by_x = np.empty((len(X), s.n_inputs), np.result_type(theta, X))

        def work(part: slice) -> Array:
            a, z = program.forward(w, X[part].T)
            slope = program.derivative(a)
            delta, change = start(a, z, part)
            beta = program.reverse(w, z, slope, delta)
            a_dot, z_dot = program.tangent(w, z, slope, None if U is None else U[part].T, w_dot)
            r_delta = beta * program.derivative(a, 2) * a_dot + change(a_dot)
            reverse_tangent(program, (w, w_dot), (z, z_dot), slope, r_delta, delta)
            by_x[part] = r_delta[: s.n_inputs].T
            through_z = program.slot_gradient(delta, z_dot)
            through_z[biases] = 0  # the unit that biases come from does not move
            return program.slot_gradient(r_delta, z) + through_z

        return by_x, self.map.reduce(self.total(len(X), work, np.zeros(self.map.n_slots, by_x.dtype)))
