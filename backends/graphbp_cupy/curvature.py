"""Second order: Hessians, their products with vectors, and the diagonal.

Products use the R-operator, for a batch of directions at once.  Whole Hessians and the diagonal need no sweep per weight: an
injection ε_j in every unit's a_j gives G_·j = ∂a/∂ε_j and B_·j = ∂²E/∂ε∂ε_j in one tangent and one R-reverse sweep a unit, and

    ∂²E/∂w_ji∂w_lk = z_i z_k B_jl + z_i δ_l σ'_k G_kj + z_k δ_j σ'_i G_il         (the last is the second, transposed).

So with   Q_j[lk] = ½ B_lj z_k + δ_l σ'_k G_kj   for every slot (l, k),   H = A + Aᵀ   where   A[(ji), :] = Σ_n z_i Q_j :   a matrix
product for every set of units with the same sources, and H is symmetric to the last bit.  The outer-product Hessian is the same
with B replaced by GᵀΛG and without the second term.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from graphbp.extend import Schedule
from graphbp_cupy.memory import Cut, guarded
from graphbp_cupy.module import Kernels
from graphbp_cupy.paths import Path
from graphbp_cupy.program import Program
from graphbp_cupy.sweeps import Array, Sweeps

__all__ = ["Curvature", "Point"]

_TIED_AT_ONCE = 64


@dataclass(frozen=True)
class Point:
    """Where the second derivatives are taken: one chunk of samples, its forward and reverse sweep done."""

    w: Array
    t: Array
    weight: Array
    a: Array
    z: Array
    beta: Array
    delta: Array


class Curvature:
    """The second-order methods of the executable."""

    cp: Any
    schedule: Schedule
    program: Program
    kernels: Kernels
    sweeps: Sweeps

    def cut(self, n_samples: int, quantity: str = "gradient", columns: int = 0) -> Cut:
        """Chunks and batches; the executable has it."""
        raise NotImplementedError

    def _again(self, name: str, body: Any, path: Path, *inputs: Any, columns: int = 0) -> tuple[Array, ...]:
        raise NotImplementedError

    def _weights(self, sample_weight: Array | None, n: int) -> Array:
        raise NotImplementedError

    # -- products --------------------------------------------------------------------------------------------------------

    @guarded
    def hessian_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """H v (W, B) for v (W, B), by the R-operator."""
        given = theta, X, T, sample_weight, v
        return self._again(
            "hessian_product", partial(self._product, True), Path("level"), *given, columns=v.size // max(1, len(v))
        )[0]

    @guarded
    def outer_product_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """Jᵀ Λ J v (W, B) for v (W, B)."""
        given = theta, X, T, sample_weight, v
        return self._again("outer_product", partial(self._product, False), Path("level"), *given, columns=v.size // max(1, len(v)))[
            0
        ]

    def _product(self, exact: bool, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> tuple[Array, ...]:
        columns = v if v.ndim == 2 else v[:, None]
        weight, w = self._weights(sample_weight, len(X)), self.sweeps.expand(theta)
        g = self.sweeps.zeros(columns.shape[1], self.program.sizes["n_slots"])
        cut = self.cut(len(X), "product", columns.shape[1])

        def chunk(part: slice) -> None:
            at = self.point(w, X[part], T[part], weight[part])

            def batch(lo: int, hi: int) -> None:
                w_dot = self.sweeps.expand_directions(columns, lo, hi)
                a_dot, z_dot = self.sweeps.tangent(w, at.a, at.z, hi - lo, w_dot=w_dot)
                delta_dot = self._reverse(at, (a_dot, z_dot), exact, w_dot)
                if exact:
                    self.sweeps.add_slot_sums(g[lo:hi], at.z, delta_dot, at.delta, z_dot)
                else:
                    self.sweeps.add_slot_sums(g[lo:hi], at.z, delta_dot)

            cut.over_batches(batch)

        cut.over_parts(chunk)
        return (self.cp.ascontiguousarray(self.sweeps.reduce(g).T).reshape(v.shape),)

    # -- whole Hessians --------------------------------------------------------------------------------------------------

    @guarded
    def hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W), exact."""
        return self._whole(theta, X, T, sample_weight, exact=True)

    @guarded
    def outer_product_hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W): Σ_n s_n ∇a_n Λ_n ∇a_nᵀ."""
        return self._whole(theta, X, T, sample_weight, exact=False)

    def _whole(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, exact: bool) -> Array:
        s, p, slots = self.schedule, self.program, self.program.sizes["n_slots"]
        weight, w = self._weights(sample_weight, len(X)), self.sweeps.expand(theta)
        half = self.sweeps.zeros(slots, slots)
        cut = self.cut(len(X), "hessian", s.n_units)

        def chunk(part: slice) -> None:
            at = self.point(w, X[part], T[part], weight[part])

            def batch(lo: int, hi: int) -> None:
                delta_dot, z_dot = self._injected(at, lo, hi, exact)
                self._add_half(half, at, lo + s.n_inputs, hi + s.n_inputs, delta_dot, z_dot, exact)

            cut.over_batches(batch)

        cut.over_parts(chunk)
        out = self.sweeps.empty(s.n_parameters, s.n_parameters)
        self.kernels.over_items("fold_hessian", s.n_parameters, s.n_parameters, 1, p.network, half, out)
        return out

    def _add_half(self, half: Array, at: Point, lo: int, hi: int, delta_dot: Array, z_dot: Array, exact: bool) -> None:
        """half[(ji), :] += Σ_n z_i Q_j for the units j = lo..hi."""
        p, (batch, _, n), slots = self.program, delta_dot.shape, half.shape[0]
        q = self.sweeps.empty(batch, slots, n)
        args = (p.network, at.z, at.delta, delta_dot, z_dot, int(exact), n, q)
        self.kernels.over_samples("hessian_rows", n, slots, batch, *args)
        sources = self.cp.concatenate([at.z, self.cp.ones((1, n), dtype=at.z.dtype)])  # the last row is the biases' z
        for first, last in p.runs:
            first, last = max(first, lo), min(last, hi)
            begin, end = int(p.unit_ptr[first]), int(p.unit_ptr[last]) if first < last else 0
            if first >= last or begin == end:
                continue
            fan_in = int(p.unit_ptr[first + 1]) - begin
            z = self.cp.take(sources, p.unit_source[begin : begin + fan_in], axis=0)
            block = self.cp.matmul(z, q[first - lo : last - lo].transpose(0, 2, 1)).reshape(end - begin, slots)
            index = p.tables["unit_slot"][begin:end]
            self.kernels.over_samples("scatter_rows", slots, end - begin, 1, block, index, end - begin, slots, slots, half)

    # -- the diagonal ----------------------------------------------------------------------------------------------------

    @guarded
    def hessian_diagonal(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W,): Σ_n z_i² B_jj; tied parameters, whose slots also meet each other, by products with unit vectors."""
        s, p = self.schedule, self.program
        weight, w = self._weights(sample_weight, len(X)), self.sweeps.expand(theta)
        by_slot = self.sweeps.zeros(1, p.sizes["n_slots"])
        widest = int((p.unit_ptr[1:] - p.unit_ptr[:-1]).max())
        cut = self.cut(len(X), "diagonal", s.n_units)

        def chunk(part: slice) -> None:
            at = self.point(w, X[part], T[part], weight[part])

            def batch(lo: int, hi: int) -> None:
                delta_dot, _ = self._injected(at, lo, hi, True)
                args = (p.network, at.z, delta_dot, p.units[lo:hi], at.a.shape[1], by_slot)
                self.kernels.over_warps("diagonal_sums", widest, 1, hi - lo, *args)

            cut.over_batches(batch)

        if widest:
            cut.over_parts(chunk)
        diagonal = self.sweeps.reduce(by_slot)[0]
        for start in range(0, len(p.tied), _TIED_AT_ONCE):
            tied = self.cp.asarray(p.tied[start : start + _TIED_AT_ONCE])
            column = self.cp.arange(len(tied))
            v = self.sweeps.zeros(s.n_parameters, len(tied))
            v[tied, column] = 1
            diagonal[tied] = self._product(True, theta, X, T, sample_weight, v)[0][tied, column]
        return diagonal

    # -- shared ----------------------------------------------------------------------------------------------------------

    def point(self, w: Array, x: Array, t: Array, weight: Array) -> Point:
        """A chunk of samples, swept up and down."""
        a, z = self.sweeps.forward(w, x)
        beta, delta = self.sweeps.reverse(w, a, z, self.sweeps.head_delta(a, z, t, weight), inputs=False)
        return Point(w, t, weight, a, z, beta[0], delta[0])

    def _reverse(self, at: Point, tangents: tuple[Array, Array], exact: bool, w_dot: Array = None) -> Array:
        """δ̇ (B, rows, n) of the exact Hessian, or Jᵀ Λ ȧ of the outer product, for (ȧ, ż)."""
        head = self.sweeps.head_curvature(at.a, at.z, at.t, at.weight, tangents[0], exact)
        if exact:
            return self.sweeps.reverse_tangent(at.w, w_dot, (at.a, at.z, at.beta, at.delta), tangents, head)
        return self.sweeps.reverse(at.w, at.a, at.z, head, inputs=False)[1]

    def _injected(self, at: Point, lo: int, hi: int, exact: bool) -> tuple[Array, Array]:
        """(B_·j, σ' G_·j), each (hi − lo, rows, n), for the units j number lo..hi."""
        a_dot, z_dot = self.sweeps.tangent(at.w, at.a, at.z, hi - lo, inject=self.program.units[lo:hi])
        return self._reverse(at, (a_dot, z_dot), exact), z_dot
