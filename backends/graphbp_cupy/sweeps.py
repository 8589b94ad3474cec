"""The sweeps of Algorithm 1, level by level on the device.

Arrays are (rows, n), samples innermost; with a batch of B directions (B, rows, n).  Sparse edges and biases are the kernels' work
(cuda/levels.cu); a dense block is a matrix product, put in place before the kernel of its level adds the rest:

    forward   a[rows]  = W z[src]       then the level's kernel      tangent   ȧ[rows] = W ż[src] + Ẇ z[src]
    reverse   the level's kernel, then  β[src] += Wᵀ δ[rows]         its R-form adds Ẇᵀ δ[rows]
"""

from __future__ import annotations

from typing import Any

from graphbp.extend import DenseBlock, Schedule
from graphbp_cupy.module import THREADS, Kernels
from graphbp_cupy.program import Program

__all__ = ["SECTION", "Sweeps"]

Array = Any
"""A cupy.ndarray."""

SECTION = 4096
"""Samples that one warp sums for one slot; the sections are then added in order."""


class Sweeps:
    """One network's sweeps; holds no state of a call."""

    def __init__(self, cp: Any, schedule: Schedule, program: Program, kernels: Kernels) -> None:
        self.cp = cp
        self.schedule = schedule
        self.program = program
        self.kernels = kernels
        self.network = program.network
        self.dtype = kernels.dtype
        self.no_injection = cp.full(65535, -1, dtype=cp.int32)
        self.unused = cp.zeros(1, dtype=self.dtype)  # stands for a pointer that a kernel does not follow

    def empty(self, *shape: int) -> Array:
        """A new array of the compiled dtype."""
        return self.cp.empty(shape, dtype=self.dtype)

    def zeros(self, *shape: int) -> Array:
        """A new array of zeros of the compiled dtype."""
        return self.cp.zeros(shape, dtype=self.dtype)

    # -- parameters ------------------------------------------------------------------------------------------------------

    def expand(self, theta: Array) -> Array:
        """C θ + w₀ (S,)."""
        w = self.empty(self.program.sizes["n_slots"])
        self.kernels.over_items("expand_parameters", len(w), 1, 1, self.network, self._some(theta), 1, 0, 0, w)
        return w

    def order(self, w: Array) -> Array:
        """(2, E): the weights in the two orders in which the sweeps of a tile read them."""
        edges = self.program.sizes["n_edges"]
        weight = self.empty(2, max(1, edges))
        self.kernels.over_items("order_weights", edges, 1, 1, self.network, w, weight)
        return weight

    def expand_directions(self, v: Array, lo: int, hi: int) -> Array:
        """C v for columns lo..hi of v (W, B): (hi − lo, S)."""
        w = self.empty(hi - lo, self.program.sizes["n_slots"])
        args = (self.network, self._some(v), v.shape[1], lo, 1, w)
        self.kernels.over_items("expand_parameters", w.shape[1], 1, hi - lo, *args)
        return w

    def reduce(self, g: Array) -> Array:
        """Cᵀ g along the last axis: (R, S) to (R, W)."""
        out = self.empty(g.shape[0], self.program.sizes["n_parameters"])
        self.kernels.over_items("reduce_slots", out.shape[1], g.shape[0], 1, self.network, g, g.shape[0], out)
        return out

    def _some(self, array: Array) -> Array:
        return array if array.size else self.unused  # a network whose parameters are all frozen

    # -- sweeps ----------------------------------------------------------------------------------------------------------

    def forward(self, w: Array, x: Array) -> tuple[Array, Array]:
        """(a, z) of every row for inputs x (n, D)."""
        s, n = self.schedule, x.shape[0]
        a, z = self.empty(s.n_rows, n), self.empty(s.n_rows, n)
        self.kernels.over_samples("load_inputs", n, s.n_inputs, 1, self.network, x, n, a, z)
        for level in s.levels:
            for block in level.dense:
                self._put(block, a[None], self.cp.matmul(self._weight(w, block), self._source(block, z))[None])
            args = (self.network, w, level.start, level.stop, n, a, z)
            self.kernels.over_samples("forward_level", n, level.stop - level.start, 1, *args)
        if s.softmax_groups:
            self._over_heads("head_softmax", n, 1, self.network, a, n, z)
        return a, z

    def reverse(self, w: Array, a: Array, z: Array, head: Array, *, inputs: bool) -> tuple[Array, Array]:
        """(β, δ), each (B, rows, n), from the outputs' own terms `head` (B, K, n); rows of the inputs only where asked for."""
        s, (batch, _, n) = self.schedule, head.shape
        beta, delta = self._beta(batch, n), self.empty(batch, s.n_rows, n)
        for start, stop, dense in self._downwards(inputs):
            args = (self.network, w, a, z, head, start, stop, n, beta, delta)
            self.kernels.over_samples("reverse_level", n, stop - start, batch, *args)
            for block in dense:
                self._add_to_sources(block, beta, self.cp.matmul(self._weight(w, block).T, delta[:, block.start : block.stop]))
        return beta, delta

    def tangent(
        self, w: Array, a: Array, z: Array, batch: int, *, x_dot: Array = None, w_dot: Array = None, inject: Array = None
    ) -> tuple[Array, Array]:
        """(ȧ, ż), each (B, rows, n), for x_dot (B, D, n), w_dot (B, S), and ȧ + 1 in row inject[b]; None stands for no such term."""
        s, n = self.schedule, a.shape[1]
        a_dot, z_dot = self.empty(batch, s.n_rows, n), self.empty(batch, s.n_rows, n)
        for dot in (a_dot, z_dot):
            dot[:, : s.n_inputs] = 0 if x_dot is None else x_dot
        inject = self.no_injection if inject is None else inject
        directed, direction = (0, self.unused) if w_dot is None else (1, w_dot)
        for level in s.levels:
            for block in level.dense:
                product = self.cp.matmul(self._weight(w, block), self._source(block, z_dot))
                if w_dot is not None:
                    product += self.cp.matmul(self._weight(w_dot, block), self._source(block, z))
                self._put(block, a_dot, product)
            args = (self.network, w, direction, directed, inject, a, z, level.start, level.stop, n, a_dot, z_dot)
            self.kernels.over_samples("tangent_level", n, level.stop - level.start, batch, *args)
        return a_dot, z_dot

    def reverse_tangent(
        self,
        w: Array,
        w_dot: Array,
        values: tuple[Array, Array, Array, Array],
        tangents: tuple[Array, Array],
        head: Array,
        *,
        inputs: bool = False,
    ) -> Array:
        """δ̇ (B, rows, n): the R-operator's reverse sweep, from `head` = R ȧ (B, K, n); rows of the inputs only where asked for.

        `values` are a, z, β and δ (rows, n), `tangents` ȧ and ż (B, rows, n), w_dot (B, S) or None.
        """
        (a, z, beta, delta), (a_dot, z_dot) = values, tangents
        s, (batch, _, n) = self.schedule, head.shape
        beta_dot, delta_dot = self._beta(batch, n), self.empty(batch, s.n_rows, n)
        directed, direction = (0, self.unused) if w_dot is None else (1, w_dot)
        for start, stop, dense in self._downwards(inputs):
            swept = (a, z, beta, delta, a_dot, z_dot, head, start, stop, n, beta_dot, delta_dot)
            args = (self.network, w, direction, directed, *swept)
            self.kernels.over_samples("reverse_tangent_level", n, stop - start, batch, *args)
            for block in dense:
                rows = slice(block.start, block.stop)
                product = self.cp.matmul(self._weight(w, block).T, delta_dot[:, rows])
                if w_dot is not None:
                    product += self.cp.matmul(self._weight(w_dot, block).transpose(0, 2, 1), delta[rows])
                self._add_to_sources(block, beta_dot, product)
        return delta_dot

    # -- sums over samples -----------------------------------------------------------------------------------------------

    def add_slot_sums(self, g: Array, z: Array, delta: Array, delta0: Array = None, z_dot: Array = None) -> None:
        """g (B, S) += Σ_n δ_j z_i for δ (B, rows, n), and + δ0_j ż_i where those are given."""
        s, (batch, _, n) = self.schedule, delta.shape
        product = delta0 is not None
        single = self.program.sizes["n_sparse"] + self.program.sizes["n_biases"]
        sections = -(-n // SECTION)
        partial = self.empty(sections, batch, single)
        first, second = (delta0, z_dot) if product else (self.unused, self.unused)
        args = (self.network, z, delta, int(product), first, second, SECTION, n, partial)
        self.kernels.over_warps("slot_sums", single, sections, batch, *args)
        self.kernels.over_items("add_sections", single, 1, batch, self.network, partial, sections, g)
        for block in s.dense_blocks:
            rows = slice(block.start, block.stop)
            total = self.cp.matmul(delta[:, rows], self._source(block, z).T)
            if product:
                total += self.cp.matmul(delta0[rows], self._source(block, z_dot).transpose(0, 2, 1))
            g[:, block.slot : block.slot + block.size] += total.reshape(batch, block.size)

    def add_values(self, total: Array, values: Array) -> None:
        """total (1,), float64, += Σ values."""
        self.kernels.launch("add_values", (1,), (256,), values, values.shape[0], total)

    # -- heads -----------------------------------------------------------------------------------------------------------

    def head_error(self, a: Array, z: Array, t: Array, weight: Array) -> Array:
        """s_n E_n (n,)."""
        n = a.shape[1]
        each = self.empty(n)
        self.kernels.over_teams("head_error", n, 1, 1, self.network, a, z, t, weight, n, each)
        return each

    def head_delta(self, a: Array, z: Array, t: Array, weight: Array) -> Array:
        """s_n ∂E_n/∂a at the outputs: (1, K, n)."""
        n = a.shape[1]
        head = self.empty(1, self.schedule.n_outputs, n)
        self._over_heads("head_delta", n, 1, self.network, a, z, t, weight, n, head)
        return head

    def head_pullback(self, a: Array, z: Array, v: Array) -> Array:
        """(∂y/∂a)ᵀ v for v (B, K, n), in its place."""
        self._over_heads("head_pullback", a.shape[1], v.shape[0], self.network, a, z, a.shape[1], v)
        return v

    def head_pushforward(self, a: Array, z: Array, a_dot: Array) -> Array:
        """ẏ = ∂y/∂a ȧ: (B, K, n)."""
        batch, _, n = a_dot.shape
        y_dot = self.empty(batch, self.schedule.n_outputs, n)
        self._over_heads("head_pushforward", n, batch, self.network, a, z, a_dot, n, y_dot)
        return y_dot

    def head_curvature(self, a: Array, z: Array, t: Array, weight: Array, a_dot: Array, exact: bool) -> Array:
        """s_n R ȧ, or s_n Λ ȧ where not exact: (B, K, n)."""
        batch, _, n = a_dot.shape
        head = self.empty(batch, self.schedule.n_outputs, n)
        self._over_heads("head_curvature", n, batch, self.network, a, z, t, weight, a_dot, int(exact), n, head)
        return head

    def units(self, rows_of_batch: Array, rows: int, n: int) -> Array:
        """(B, rows, n): 1 in row rows_of_batch[b], else 0."""
        out = self.empty(len(rows_of_batch), rows, n)
        self.kernels.over_samples("unit_rows", n, rows, len(rows_of_batch), rows_of_batch, rows, n, out)
        return out

    # -- parts -----------------------------------------------------------------------------------------------------------

    def _over_heads(self, name: str, n: int, batch: int, *args: Any) -> None:
        across = min(32, n)  # a block's teams take THREADS // across elementwise items at once, or one group
        singles = -(-self.program.sizes["n_single"] * across // THREADS)
        groups = self.program.sizes["n_items"] - self.program.sizes["n_single"]
        self.kernels.over_teams(name, n, max(1, singles, groups), batch, *args)

    def _downwards(self, inputs: bool) -> list[tuple[int, int, tuple[DenseBlock, ...]]]:
        """(first row, last row, dense blocks to pull δ through) of the levels from the top; the inputs last, where asked for."""
        d = self.schedule.n_inputs
        levels = [
            (level.start, level.stop, tuple(block for block in level.dense if inputs or block.src[-1] >= d))
            for level in reversed(self.schedule.levels)
        ]
        return [*levels, (0, d, ())] if inputs else levels

    def _beta(self, batch: int, n: int) -> Array:
        return (self.zeros if self.schedule.dense_blocks else self.empty)(batch, self.schedule.n_rows, n)

    def _weight(self, w: Array, block: DenseBlock) -> Array:
        """The (m, k) matrix of a block, or (B, m, k) of a batch of directions: views."""
        part = w[..., block.slot : block.slot + block.size]
        return part.reshape(*part.shape[:-1], *block.shape)

    def _source(self, block: DenseBlock, z: Array) -> Array:
        """The rows that feed a block: (..., k, n)."""
        if block.src_start >= 0:
            return z[..., block.src_start : block.src_start + len(block.src), :]
        return self.cp.take(z, self.program.dense_source[block.slot], axis=-2)

    def _put(self, block: DenseBlock, a: Array, product: Array) -> None:
        if self.program.first_block[block.slot]:
            a[:, block.start : block.stop] = product
        else:
            a[:, block.start : block.stop] += product

    def _add_to_sources(self, block: DenseBlock, beta: Array, product: Array) -> None:
        if block.src_start >= 0:
            beta[:, block.src_start : block.src_start + len(block.src)] += product
            return
        batch, rows, n = product.shape
        index = self.program.dense_source[block.slot]
        self.kernels.over_samples("scatter_rows", n, rows, batch, product, index, rows, n, beta.shape[1], beta)
