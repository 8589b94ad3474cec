r"""Second-order quantities of the NumPy backend: Hessians through the tiles of the core, products by the R-operator.

R-operator (Pearlmutter 1994), along v:   ȧ, ż by a forward sweep of tangents, then backwards
Rβ_i = Σ_k (v_ki δ_k + w_ki Rδ_k),    Rβ_u += g_u Rδ_j + (g_uu ż_u + g_uv ż_v) δ_j where j combines u and v,
Rδ_j = h''_j ȧ_j β_j + h'_j Rβ_j + Σ_c R_jc ȧ_c,
(H v)_ji = Σ_n (Rδ_j z_i + δ_j ż_i)
outer product:   Jᵀ Λ J v: tangents to the outputs, Λ, and a reverse sweep from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from graphbp.extend import HeadGroup, HessianPlan, ParameterMap, Schedule, assemble_diagonal, assemble_hessian, assemble_unit_blocks
from graphbp_numpy.second_order_sweeps import NumpySecondOrderSweeps
from graphbp_numpy.sweeps import Program

__all__ = ["SecondOrder", "reverse_tangent"]

Array = npt.NDArray[Any]
_R = TypeVar("_R")


class SecondOrder:
    """The second-order methods of `NumpyExecutable`; see `graphbp.protocols` for shapes and meanings."""

    schedule: Schedule
    dtype: np.dtype[Any]
    program: Program
    heads: tuple[HeadGroup, ...]
    map: ParameterMap

    def total(self, n_samples: int, work: Callable[[slice], _R], none: _R) -> _R:
        """The sum of `work` over chunks of samples; the executable has it."""
        raise NotImplementedError

    def backpropagate(self, w: Array, a: Array, z: Array, t: Array, s: Array | None) -> tuple[Array, Array]:
        """(δ, β) of every row; the executable has it."""
        raise NotImplementedError

    @cached_property
    def plan(self) -> HessianPlan:
        """The groups of parameters."""
        return HessianPlan.of(self.schedule)

    @cached_property
    def _sweeps(self) -> NumpySecondOrderSweeps:
        return NumpySecondOrderSweeps(self.plan, self.heads, self.program, self.dtype)

    def hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W), exact."""
        return assemble_hessian(self._sweeps.at(self.map.expand(theta)), self.plan, X, T, sample_weight, exact=True)

    def outer_product_hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W): Σ_n s_n ∇a_n Λ_n ∇a_nᵀ."""
        return assemble_hessian(self._sweeps.at(self.map.expand(theta)), self.plan, X, T, sample_weight, exact=False)

    def hessian_diagonal(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W,): Σ_n z_i² B_jj; for tied parameters, whose diagonal has cross terms, by products with unit vectors."""
        product = partial(self.hessian_product, theta, X, T, sample_weight)
        return assemble_diagonal(self._sweeps.at(self.map.expand(theta)), self.plan, X, T, sample_weight, product)

    def unit_blocks(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, exact: bool) -> list[Array]:
        """For each group of the plan, Σ_n B_jj z zᵀ: (units, sources, sources), untied parameters' blocks of the Hessian."""
        return assemble_unit_blocks(self._sweeps.at(self.map.expand(theta)), self.plan, X, T, sample_weight, exact)

    def hessian_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """H v (W, B): one forward and one reverse sweep, then two more for each column of v."""
        program = self.program
        w, directions = self.map.expand(theta), self.map.expand_tangent(v)
        biases = self.schedule.bias_slot[self.schedule.bias_slot >= 0]

        def work(part: slice) -> Array:
            total = np.zeros((v.shape[1], self.map.n_slots), theta.dtype)
            s = None if sample_weight is None else sample_weight[part].T
            a, z = program.forward(w, X[part].T)
            t, slope = T[part].T, program.derivative(a)
            delta, beta = self.backpropagate(w, a, z, t, s)
            bend = beta * program.derivative(a, 2)
            curvature = list(self.curvature(a, z, t, s, exact=True))
            for b in range(v.shape[1]):
                w_dot = np.ascontiguousarray(directions[:, b])
                a_dot, z_dot = program.tangent(w, z, slope, None, w_dot)
                r_delta = bend * a_dot
                for at, value in curvature:
                    r_delta[at] += _times(value, a_dot[at])
                reverse_tangent(program, (w, w_dot), (z, z_dot), slope, r_delta, delta)
                total[b] += program.slot_gradient(r_delta, z)
                through_z = program.slot_gradient(delta, z_dot)
                through_z[biases] = 0  # the unit that biases come from does not move
                total[b] += through_z
            return total

        total = self.total(len(X), work, np.zeros((v.shape[1], self.map.n_slots), theta.dtype))
        return np.ascontiguousarray(self.map.reduce(total).T)

    def outer_product_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """Σ_n s_n Jᵀ Λ J v (W, B), J = ∂a/∂θ at the outputs."""
        program = self.program
        w, directions = self.map.expand(theta), self.map.expand_tangent(v)

        def work(part: slice) -> Array:
            total = np.zeros((v.shape[1], self.map.n_slots), theta.dtype)
            s = None if sample_weight is None else sample_weight[part].T
            a, z = program.forward(w, X[part].T)
            t, slope = T[part].T, program.derivative(a)
            curvature = list(self.curvature(a, z, t, s, exact=False))
            for b in range(v.shape[1]):
                a_dot, _ = program.tangent(w, z, slope, None, np.ascontiguousarray(directions[:, b]))
                delta = np.zeros_like(a)
                for at, value in curvature:
                    delta[at] = _times(value, a_dot[at])
                program.reverse(w, z, slope, delta)
                total[b] += program.slot_gradient(delta, z)
            return total

        total = self.total(len(X), work, np.zeros((v.shape[1], self.map.n_slots), theta.dtype))
        return np.ascontiguousarray(self.map.reduce(total).T)

    def curvature(self, a: Array, z: Array, t: Array, s: Array | None, exact: bool) -> Iterator[tuple[Array, Array]]:
        """For each head its rows and R (or Λ), the sample weight in it."""
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            value = (head.output_hessian if exact else head.gauss_newton)(a[rows], z[rows], t[head.positions])
            yield rows, head.weigh(value, s)


def _times(curvature: Array, a_dot: Array) -> Array:
    """R ȧ, for a diagonal (k, N) or full (k, k, N) R."""
    if curvature.ndim == 2:
        return np.asarray(curvature * a_dot)
    return np.asarray(np.einsum("jcn,cn->jn", curvature, a_dot))


def reverse_tangent(
    program: Program, weights: tuple[Array, Array], values: tuple[Array, Array], slope: Array, r_delta: Array, delta: Array
) -> None:
    """Complete Rδ, which holds h'' ȧ β + R ȧ, given (w, v), (z, ż): Rβ_i = Σ_k (v_ki δ_k + w_ki Rδ_k), Rδ_j += h'_j Rβ_j."""
    (w, w_dot), (z, z_dot) = weights, values
    r_beta = np.zeros_like(r_delta)
    levels = [*zip(reversed(program.schedule.levels), reversed(program.combined), strict=True), (None, ())]
    for (rows, matrix), (_, direction), (level, combined) in zip(program.outgoing(w), program.outgoing(w_dot), levels, strict=True):
        if matrix is not None:
            r_beta[rows] += matrix @ r_delta
            r_beta[rows] += direction @ delta
        r_delta[rows] += slope[rows] * r_beta[rows]
        for block in level.dense if level is not None else ():
            units = slice(block.start, block.stop)
            r_beta[block.source] += program.weight(w, block).T @ r_delta[units]
            r_beta[block.source] += program.weight(w_dot, block).T @ delta[units]
        for run in combined:
            run.reverse(z, r_delta, r_beta)
            if run.bends:
                r_beta[run.fed] += run.gathered(*run.bent(delta[run.rows], z_dot[run.first], z_dot[run.second]))
