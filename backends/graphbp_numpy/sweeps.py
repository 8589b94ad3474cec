r"""Error backpropagation (Bishop & Bishop, Algorithm 8.1 and section 8.1) over a schedule, in plain NumPy.

Arrays are (rows, N): a row of `z` is one unit's activation for all samples of the chunk.  `w` holds the value of every slot.

    forward    a_j = Σ_i w_ji z_i + b_j,  z_j = h_j(a_j)            levels upwards
    reverse    β_i = Σ_k w_ki δ_k,        δ_i = h'_i(a_i) β_i       levels downwards, plus ∂E/∂a at the outputs
    tangent    ȧ_j = Σ_i w_ji ż_i + ẇ_ji z_i + ḃ_j,  ż_j = h'_j(a_j) ȧ_j

A row that combines two others (`Schedule.combinations`) has the term g(z_u, z_v) in a_j too.

These loops accept complex arrays too, which is what the complex step runs on.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cached_property, lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from graphbp.extend import DenseBlock, Level, Schedule

__all__ = ["Program", "csr"]

Array = npt.NDArray[Any]


class Program:
    """A schedule made ready for NumPy: the sparse edges of each level as SciPy matrices, filled with `w` when a sweep starts."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.n_rows = schedule.n_rows
        self.dst_of_edge = np.repeat(np.arange(schedule.n_rows), np.diff(schedule.in_ptr))
        self.combined = schedule.combined

    @cached_property
    def softmax_rows(self) -> list[npt.NDArray[np.int64]]:
        """Rows of each softmax group."""
        return [self.schedule.output_rows[group] for group in self.schedule.softmax_groups]

    def incoming(self, w: Array) -> Iterator[Any]:
        """For each level, the CSR matrix (rows of the level × all rows) of the sparse edges that lead in; None where there are none."""
        s = self.schedule
        for level in s.levels:
            yield _csr(w, s.in_ptr, s.in_src, level.start, level.stop) if level.n_sparse else None

    def outgoing(self, w: Array) -> Iterator[tuple[slice, Any]]:
        """Rows of each level, from the last down to the inputs, and the matrix (rows × all rows) of the sparse edges that leave."""
        s = self.schedule
        by_source = w[s.out_slot]
        starts = [0, *(level.start for level in s.levels)]
        stops = [s.n_inputs, *(level.stop for level in s.levels)]
        for start, stop in zip(reversed(starts), reversed(stops), strict=True):
            has = s.out_ptr[stop] > s.out_ptr[start]
            yield slice(start, stop), _csr(by_source, s.out_ptr, s.out_dst, start, stop) if has else None

    def weight(self, w: Array, block: DenseBlock) -> Array:
        """The (m, n) matrix of a dense block, a view of `w`."""
        return w[block.slot : block.slot + block.size].reshape(block.shape)

    def bias(self, w: Array, level: Level) -> Array:
        """(rows of the level, 1): b_j, 0 where a row has no bias."""
        slot = self.schedule.bias_slot[level.start : level.stop, None]
        if not len(w):  # no edge and no bias anywhere: nothing to index
            return np.zeros(slot.shape, w.dtype)
        return np.where(slot >= 0, w[slot], 0)

    def forward(self, w: Array, x: Array) -> tuple[Array, Array]:
        """(a, z) of every row for inputs x (D, N); for an input row a = z = x."""
        s = self.schedule
        a = np.empty((s.n_rows, x.shape[1]), np.result_type(w, x))
        z = np.empty_like(a)  # rows are read only after they are written: every source stands before its destination
        a[: s.n_inputs] = z[: s.n_inputs] = x
        for level, matrix, combined in zip(s.levels, self.incoming(w), self.combined, strict=True):
            rows = slice(level.start, level.stop)
            a[rows] = self.bias(w, level)
            if matrix is not None:
                a[rows] += matrix @ z
            for block in level.dense:
                a[block.start : block.stop] += self.weight(w, block) @ z[block.source]
            for run in combined:
                a[run.rows] += run.value(z)
            for segment in level.segments:
                units, h = slice(segment.start, segment.stop), s.activations[segment.activation]
                if h.elementwise:
                    z[units] = h.evaluate(a[units])
        for group in self.softmax_rows:
            z[group] = s.activations[s.row_activation[group[0]]].f(a[group])
        return a, z

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """The rows that feed nothing: outputs, whose derivative the heads hold."""
        return np.flatnonzero(~self.schedule.feeds)

    def derivative(self, a: Array, order: int = 1) -> Array:
        """h'(a) (or h''(a)) of every row; 1 (0) for inputs.  0 for rows that feed nothing: it would meet the sum over no edge, and it may
        be infinite.
        """
        s = self.schedule
        out = np.full_like(a, 1 if order == 1 else 0)
        for level in s.levels:
            for segment in level.segments:
                h = s.activations[segment.activation]
                if h.elementwise:
                    run = slice(segment.start, segment.stop)
                    out[run] = h.evaluate(a[run], order)
        out[self.ends] = 0
        return out

    def reverse(self, w: Array, z: Array, slope: Array, delta: Array) -> Array:
        """Complete δ, given z, h' as `slope`, and `delta` holding ∂E/∂a at the outputs and 0 elsewhere; returns β.

        An output unit that also feeds others gets both terms.  β_i = Σ_k w_ki δ_k; for input rows δ_i = β_i = ∂E/∂x_i.
        """
        s = self.schedule
        beta = np.zeros_like(delta)
        levels = [*zip(reversed(s.levels), reversed(self.combined), strict=True), (None, ())]
        for (rows, matrix), (level, combined) in zip(self.outgoing(w), levels, strict=True):
            if matrix is not None:
                beta[rows] += matrix @ delta
            delta[rows] += slope[rows] * beta[rows]
            for block in level.dense if level is not None else ():
                beta[block.source] += self.weight(w, block).T @ delta[block.start : block.stop]
            for run in combined:
                run.reverse(z, delta, beta)
        return beta

    def tangent(self, w: Array, z: Array, slope: Array, x_dot: Array | None, w_dot: Array | None) -> tuple[Array, Array]:
        """(ȧ, ż) of every row for the directions x_dot (D, N) and w_dot (S,), None meaning 0; ż = h' ȧ, 0 where nothing is fed."""
        s = self.schedule
        a_dot = np.zeros_like(z)
        z_dot = np.zeros_like(z)
        if x_dot is not None:
            a_dot[: s.n_inputs] = z_dot[: s.n_inputs] = x_dot
        directions = self.incoming(w_dot) if w_dot is not None else repeat(None)
        for level, matrix, direction, combined in zip(s.levels, self.incoming(w), directions, self.combined, strict=False):
            rows = slice(level.start, level.stop)
            if matrix is not None:
                a_dot[rows] += matrix @ z_dot
            if direction is not None:
                a_dot[rows] += direction @ z
            for block in level.dense:
                a_dot[block.start : block.stop] += self.weight(w, block) @ z_dot[block.source]
                if w_dot is not None:
                    a_dot[block.start : block.stop] += self.weight(w_dot, block) @ z[block.source]
            for run in combined:
                a_dot[run.rows] += run.tangent(z, z_dot)
            if w_dot is not None:
                a_dot[rows] += self.bias(w_dot, level)
            z_dot[rows] = slope[rows] * a_dot[rows]
        return a_dot, z_dot

    def slot_gradient(self, delta: Array, z: Array) -> Array:
        """Σ_n δ_j z_i for every slot: (S,)."""
        s = self.schedule
        g = np.empty(s.parameters.n_slots, delta.dtype)
        step = max(1, _GATHERED_BYTES // (delta.itemsize * max(1, delta.shape[1])))
        for lo in range(0, s.n_sparse, step):
            run = slice(lo, min(lo + step, s.n_sparse))
            g[run] = np.einsum("en,en->e", delta[self.dst_of_edge[run]], z[s.in_src[run]])
        for block in s.dense_blocks:
            g[block.slot : block.slot + block.size] = (delta[block.start : block.stop] @ z[block.source].T).ravel()
        biased = np.flatnonzero(s.bias_slot >= 0)
        g[s.bias_slot[biased]] = delta[biased].sum(axis=1)
        return g

    def sample_slot_gradient(self, delta: Array, z: Array) -> Array:
        """δ_j z_i for every sample and slot: (N, S)."""
        s = self.schedule
        g = np.empty((delta.shape[1], s.parameters.n_slots), delta.dtype)
        g[:, : s.n_sparse] = (delta[self.dst_of_edge] * z[s.in_src]).T
        for block in s.dense_blocks:
            product = delta[block.start : block.stop, None] * z[block.source][None]
            g[:, block.slot : block.slot + block.size] = product.reshape(block.size, -1).T
        biased = np.flatnonzero(s.bias_slot >= 0)
        g[:, s.bias_slot[biased]] = delta[biased].T
        return g


def _csr(values: Array, pointers: npt.NDArray[np.int64], indices: npt.NDArray[np.int32], start: int, stop: int) -> Any:
    """Rows start..stop of the CSR arrays as a SciPy matrix with as many columns as there are rows in the network."""
    lo, hi = pointers[start], pointers[stop]
    return csr(values[lo:hi], indices[lo:hi], pointers[start : stop + 1] - lo, (stop - start, len(pointers) - 1))


def csr(values: Array, columns: npt.NDArray[np.int32], pointers: npt.NDArray[np.int64], shape: tuple[int, int]) -> Any:
    """The SciPy matrix of arrays known to be good: its constructor's checks and conversions take longer than a small level's product."""
    matrix = copy(_empty(shape, values.dtype.str))
    matrix.data, matrix.indices, matrix.indptr = values, columns, pointers.astype(columns.dtype)
    return matrix


@lru_cache(maxsize=1024)
def _empty(shape: Any, dtype: str) -> Any:
    return sparse.csr_matrix(shape, dtype=dtype)


_GATHERED_BYTES = 1 << 20
"""Of each of the (edges, N) copies of δ and of z that gradients are formed from, at a time: fresh pages cost more than the products."""
