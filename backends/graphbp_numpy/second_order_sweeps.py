r"""G, Φ and B of the closed form, level by level, in plain NumPy: the definition of the second-order sweeps.

For the perturbed rows l of a column tile, arrays are (rows, columns, N):

    forward   G_kl = 1 at k = l, else Σ_r w_kr Φ_rl,   Φ_kl = h'_k G_kl                            levels upwards
    reverse   B_jl = h''_j β_j G_jl + h'_j Σ_s w_sj B_sl + Σ_c R_jc G_cl                            levels downwards

The outer-product Hessian needs GᵀΛG in place of B: the same reverse sweep without its first term, or, for few outputs, K reverse
sweeps for the rows G_c of the outputs, whichever is less work.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from graphbp.extend import ColumnTile, DenseBlock, Head, OutputCurvature, SampleTile, Schedule
from graphbp_numpy.sweeps import Program

__all__ = ["NumpySecondOrderSweeps"]

Array = npt.NDArray[Any]

KEPT_BYTES = 1 << 23
"""Of an array of a column tile that is kept for the next one."""


class NumpySecondOrderSweeps:
    """The sweeps behind every Hessian of this backend (see `graphbp.second_order.tiles`)."""

    def __init__(self, schedule: Schedule, heads: tuple[Head, ...], program: Program, dtype: np.dtype[Any]) -> None:
        self.schedule = schedule
        self.heads = heads
        self.program = program
        self.dtype = dtype
        self._kept = threading.local()

    def sample_tile(self, w: Array, x: Array, t: Array, s: Array | None, exact: bool) -> SampleTile:
        """Forward, and for the exact Hessian reverse."""
        program, n_rows = self.program, self.schedule.n_rows
        a, z = program.forward(w, x)
        slope = program.derivative(a)
        ones = np.ones((1, z.shape[1]), z.dtype)
        delta = bend = None
        if exact:
            delta = np.zeros_like(a)
            for head in self.heads:
                rows = self.schedule.output_rows[head.positions]
                value = head.delta(a[rows], z[rows], t[head.positions])
                delta[rows] = value if s is None else value * s
            bend = program.reverse(w, slope, delta)
            bend *= program.derivative(a, 2)
        curvature = []
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            of = head.output_hessian if exact else head.gauss_newton
            value = of(a[rows], z[rows], t[head.positions])
            curvature.append(OutputCurvature(rows, value if s is None else value * s))
        extended = np.concatenate([z, ones])
        return SampleTile(extended, slope[:n_rows], delta, bend, tuple(curvature), exact)

    def column_tile(self, w: Array, tile: SampleTile, start: int, stop: int) -> ColumnTile:
        """Perturb the rows start..stop."""
        g, phi = self._forward(w, tile, start, stop)
        self._reverse(w, tile, start, g)
        return ColumnTile(start, stop, g, phi if tile.exact else None)

    def _zeros(self, name: str, shape: tuple[int, ...]) -> Array:
        """Zeros; small arrays are this thread's own and used again, since the system's fresh pages cost more than the sweep in them."""
        size = int(np.prod(shape))
        if size * self.dtype.itemsize > KEPT_BYTES:
            return np.zeros(shape, self.dtype)
        kept = self._kept.__dict__.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept.__dict__[name] = np.empty(size, self.dtype)
        out: Array = kept[:size].reshape(shape)
        out[...] = 0
        return out

    def _forward(self, w: Array, tile: SampleTile, start: int, stop: int) -> tuple[Array, Array]:
        """(G, Φ), rows from `start` on."""
        s = self.schedule
        shape = (s.n_rows - start, stop - start, tile.n_samples)
        g, phi = self._zeros("g", shape), self._zeros("phi", shape)
        for level in s.levels:
            if level.stop <= start:
                continue
            first = max(level.start, start)
            run = slice(first - start, level.stop - start)
            if level.start > start:
                for block in level.dense:
                    columns, source = _later(block, start)
                    if columns is not None:
                        weight = self.program.weight(w, block)[:, columns]
                        g[block.start - start : block.stop - start] += _times(weight, phi[source])
                if level.n_sparse:
                    matrix = _edges(w, s.in_ptr, s.in_src, level.start, level.stop, start)
                    g[run] += (matrix @ phi.reshape(len(phi), -1)).reshape(g[run].shape)
            own = np.arange(first, min(level.stop, stop)) - start
            g[own, own] = 1
            np.multiply(tile.slope[first : level.stop, None], g[run], out=phi[run])
        return g, phi

    def _reverse(self, w: Array, tile: SampleTile, start: int, g: Array) -> None:
        """Overwrite G by B."""
        s = self.schedule
        for head in tile.curvature:  # coupled outputs feed nothing and bend nothing: B = R G there
            if head.coupled:
                rows = head.rows[head.rows >= start]
                r = head.value[head.rows >= start][:, head.rows >= start]
                g[rows - start] = np.einsum("jcn,cln->jln", r, g[rows - start])
        diagonal = np.zeros((s.n_rows, tile.n_samples), g.dtype)
        for head in tile.curvature:
            diagonal[head.rows] = 1 if head.coupled else head.value
        if tile.bend is not None:
            for head in tile.curvature:
                if not head.coupled:
                    diagonal[head.rows] += tile.bend[head.rows]
            hidden = np.ones(s.n_rows, bool)
            hidden[s.output_rows] = False
            diagonal[hidden] = tile.bend[hidden]
        total = self._zeros("total", g.shape)
        by_source = w[s.out_slot]
        for level in reversed(s.levels):
            first = max(level.start, start)
            if level.stop <= start:
                break
            run = slice(first - start, level.stop - start)
            if s.out_ptr[level.stop] > s.out_ptr[first]:
                matrix = _edges(by_source, s.out_ptr, s.out_dst, first, level.stop, start)
                total[run] += (matrix @ g.reshape(len(g), -1)).reshape(g[run].shape)
            g[run] *= diagonal[first : level.stop, None]
            total[run] *= tile.slope[first : level.stop, None]
            g[run] += total[run]
            if level.start <= start:
                break
            for block in level.dense:
                columns, source = _later(block, start)
                if columns is not None:
                    weight = self.program.weight(w, block)[:, columns]
                    total[source] += _times(weight.T, g[block.start - start : block.stop - start])


def _edges(values: Array, pointers: Any, indices: Any, first: int, last: int, start: int) -> Any:
    """The edges of rows first..last as a CSR matrix, its columns counted from `start`; edges to earlier rows are left out."""
    lo, hi = int(pointers[first]), int(pointers[last])
    pointer, column, value = pointers[first : last + 1] - lo, indices[lo:hi] - start, values[lo:hi]
    kept = column >= 0
    if not kept.all():
        pointer = np.concatenate([[0], np.cumsum(kept)])[pointer]
        column, value = column[kept], value[kept]
    return sparse.csr_matrix((value, column, pointer), shape=(last - first, len(pointers) - 1 - start))


def _later(block: DenseBlock, start: int) -> tuple[slice | None, Any]:
    """Which of a block's sources are rows ≥ start (they are ascending), and what indexes them, counted from `start`."""
    first = int(np.searchsorted(block.src, start))
    if first == len(block.src):
        return None, None
    if block.src_start >= 0:
        return slice(first, None), slice(int(block.src[first]) - start, int(block.src[-1]) + 1 - start)
    return slice(first, None), block.src[first:] - start


def _times(weight: Array, values: Array) -> Array:
    """weight (m, f) times values (f, columns, N), as one matrix product."""
    f, c, n = values.shape
    return (weight @ values.reshape(f, c * n)).reshape(len(weight), c, n)
