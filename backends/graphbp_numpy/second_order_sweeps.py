r"""G, Φ and B of the closed form, level by level, in plain NumPy: the definition of the second-order sweeps.

For the perturbed rows l of a column tile, arrays are (rows, columns, N):

    forward   G_kl = 1 at k = l, else Σ_r w_kr Φ_rl,   Φ_kl = h'_k G_kl                            levels upwards
    reverse   B_jl = h''_j β_j G_jl + h'_j Σ_s w_sj B_sl + Σ_c R_jc G_cl                            levels downwards

The diagonal needs no reverse sweep, since B = Gᵀ (diag(h'' β) + R) G.  The outer-product Hessian needs GᵀΛG in place of B: the same
sweeps without h'' β, or, for few outputs, K reverse sweeps for the rows G_c of the outputs, whichever is less work.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import (
    ColumnTile,
    CombinationRun,
    DenseBlock,
    HeadGroup,
    HessianPlan,
    Level,
    OutputCurvature,
    OutputRows,
    SampleTile,
    curvature_by_columns,
    output_rows,
)
from graphbp_numpy.sweeps import Program, csr

__all__ = ["NumpySecondOrderSweeps"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

KEPT_BYTES = 1 << 23
"""Of an array of a column tile that is kept for the next one."""


class NumpySecondOrderSweeps:
    """The sweeps behind every Hessian of this backend (see `graphbp.second_order.tiles`), at weights `w` by slot."""

    w: Array

    def __init__(self, plan: HessianPlan, heads: tuple[HeadGroup, ...], program: Program, dtype: np.dtype[Any]) -> None:
        self.plan, self.schedule = plan, plan.schedule
        self.heads = heads
        self.program = program
        self.dtype = dtype
        self._kept = threading.local()

    def at(self, w: Array) -> NumpySecondOrderSweeps:
        """The same at these weights; what threads keep is shared."""
        bound = copy.copy(self)
        bound.w = w
        return bound

    def sample_tile(self, x: Array, t: Array, s: Array | None, exact: bool) -> SampleTile:
        """Forward, and for the exact Hessian reverse."""
        program, n_rows = self.program, self.schedule.n_rows
        a, z = program.forward(self.w, x)
        slope = program.derivative(a)
        ones = np.ones((1, z.shape[1]), z.dtype)
        delta = bend = None
        if exact:
            delta = np.zeros_like(a)
            for head in self.heads:
                rows = self.schedule.output_rows[head.positions]
                delta[rows] = head.weigh(head.delta(a[rows], z[rows], t[head.positions]), s)
            bend = program.reverse(self.w, z, slope, delta)
            bend *= program.derivative(a, 2)
        curvature = []
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            of = head.output_hessian if exact else head.gauss_newton
            curvature.append(OutputCurvature(rows, head.weigh(of(a[rows], z[rows], t[head.positions]), s)))
        extended = np.concatenate([z, ones])
        return SampleTile(extended, slope[:n_rows], delta, bend, tuple(curvature), exact)

    def column_tile(self, tile: SampleTile, start: int, stop: int) -> ColumnTile:
        """Perturb the rows start..stop."""
        shape = (self.schedule.n_rows - start, stop - start, tile.n_samples)
        b, phi = self._room("b", shape), self._room("phi", shape)
        diagonal = self._diagonal(tile)
        alone, own = self._alone(start, stop)
        b[: alone - start] = 0
        b[own - start, own - start] = diagonal[own]
        for rows, g, _ in self._forward(tile, start, stop, phi):
            np.multiply(diagonal[rows, None], g, out=b[rows.start - start : rows.stop - start])
        self._reverse(tile, start, b, phi)
        return ColumnTile(start, stop, b, phi if tile.exact else None)

    def output_rows(self, tile: SampleTile) -> OutputRows:
        """K reverse sweeps."""
        return output_rows(self.schedule, self.w, tile)

    def own_curvature(self, tiles: list[SampleTile], wanted: Array) -> list[Array]:
        """B_jj, by a forward sweep only."""
        return curvature_by_columns(self.plan, tiles, self._column_curvature)

    def _column_curvature(self, tile: SampleTile, start: int, stop: int) -> Array:
        """(stop − start, n): B_ll = Σ_k (h''_k β_k + R_kk) G_kl² + Σ_jc G_jl R_jc G_cl, the last over coupled outputs; no reverse sweep."""
        phi = self._room("phi", (self.schedule.n_rows - start, stop - start, tile.n_samples))
        diagonal = self._diagonal(tile)
        _, own = self._alone(start, stop)
        out = np.zeros(phi.shape[1:], self.dtype)
        out[own - start] = diagonal[own]
        coupled = [head for head in tile.curvature if head.coupled]
        reached = [np.zeros((len(head.rows), *out.shape), self.dtype) for head in coupled]  # their G
        for head, at in zip(coupled, reached, strict=True):
            here = np.flatnonzero(np.isin(head.rows, own))
            at[here, head.rows[here] - start] = 1
            out[head.rows[here] - start] = 0
        for rows, g, combined in self._forward(tile, start, stop, phi):
            for head, at in zip(coupled, reached, strict=True):
                here = np.flatnonzero((head.rows >= rows.start) & (head.rows < rows.stop))
                at[here] = g[head.rows[here] - rows.start]
                g[head.rows[here] - rows.start] = 0
            g *= g
            g *= diagonal[rows, None]
            out += g.sum(axis=0)
            if tile.delta is None:
                continue
            for run in combined:
                u, v = run.sources(phi, start)
                to_u, to_v = run.bent(tile.delta[run.rows, None], u, v)
                out += (to_u * u + to_v * v).sum(axis=0)
        for head, at in zip(coupled, reached, strict=True):
            out += (np.einsum("jcn,cln->jln", head.value, at) * at).sum(axis=0)
        return out

    def _room(self, name: str, shape: tuple[int, ...]) -> Array:
        """An array to fill; small ones are this thread's own and used again: the system's fresh pages cost more than the sweep in them."""
        size = int(np.prod(shape))
        if size * self.dtype.itemsize > KEPT_BYTES:
            return np.empty(shape, self.dtype)
        kept = self._kept.__dict__.get(name)
        if kept is None or len(kept) < size:
            kept = self._kept.__dict__[name] = np.empty(size, self.dtype)
        out: Array = kept[:size].reshape(shape)
        return out

    def _alone(self, start: int, stop: int) -> tuple[int, Indices]:
        """The end of the level that row `start` is in, whose rows nothing perturbed leads into, and which of these are perturbed."""
        end = next(level.stop for level in self.schedule.levels if level.stop > start)
        return end, np.arange(start, min(stop, end))

    def _forward(
        self, tile: SampleTile, start: int, stop: int, phi: Array
    ) -> Iterator[tuple[slice, Array, tuple[CombinationRun, ...]]]:
        """Fill Φ, rows from `start` on; yields the rows of each level after the first, their G, to be used up, and their combinations."""
        s = self.schedule
        alone, own = self._alone(start, stop)
        phi[: alone - start] = 0
        phi[own - start, own - start] = tile.slope[own]
        incoming, _ = self._matrices(start)
        for level, matrix, combined in zip(s.levels, incoming, self.program.combined, strict=True):
            if level.start < alone:
                continue
            rows = slice(level.start, level.stop)
            g = self._sources(level, start, matrix, phi)
            for run in combined:
                g_u, g_v = run.slopes(tile.z)
                u, v = run.sources(phi, start)
                g[run.rows - level.start] += g_u[:, None] * u + g_v[:, None] * v
            own = np.arange(level.start, min(level.stop, stop))
            g[own - level.start, own - start] = 1
            np.multiply(tile.slope[rows, None], g, out=phi[rows.start - start : rows.stop - start])
            yield rows, g, combined

    def _sources(self, level: Level, start: int, matrix: Any, phi: Array) -> Array:
        """Σ_r w_kr Φ_rl for the rows k of a level."""
        c, n = phi.shape[1:]
        g = None if matrix is None else _times(matrix, phi)
        for block in level.dense:
            columns, source = _later(block, start)
            if columns is None:
                continue
            weight = self.program.weight(self.w, block)[:, columns]
            if g is None and block.start == level.start and block.stop == level.stop:
                g = self._room("g", (len(weight), c, n))
                np.matmul(weight, phi[source].reshape(-1, c * n), out=g.reshape(len(weight), c * n))
                continue
            if g is None:
                g = self._room("g", (level.stop - level.start, c, n))
                g[...] = 0
            g[block.start - level.start : block.stop - level.start] += _times(weight, phi[source])
        if g is None:
            g = self._room("g", (level.stop - level.start, c, n))
            g[...] = 0
        return g

    def _diagonal(self, tile: SampleTile) -> Array:
        """(n_rows, n): h''_j β_j + R_jj, and 1 at coupled outputs; kept with the sample tile."""
        found: Array | None = tile.cache.get("diagonal")
        if found is None:
            found = np.zeros((self.schedule.n_rows, tile.n_samples), self.dtype) if tile.bend is None else tile.bend.copy()
            for head in tile.curvature:
                if head.coupled:
                    found[head.rows] = 1
                else:
                    found[head.rows] += head.value
            tile.cache["diagonal"] = found
        return found

    def _reverse(self, tile: SampleTile, start: int, b: Array, phi: Array) -> None:
        """Complete B: += h'_j (Σ_s w_sj B_sl + Σ_p (g_j B_pl + δ_p (g_ju Φ_ul + g_jv Φ_vl))), p the combinations of row j."""
        s = self.schedule
        for head in tile.curvature:  # coupled outputs feed nothing and bend nothing: B = R G there
            if head.coupled:
                rows = head.rows[head.rows >= start]
                r = head.value[head.rows >= start][:, head.rows >= start]
                b[rows - start] = np.einsum("jcn,cln->jln", r, b[rows - start])
        _, outgoing = self._matrices(start)
        pushed = s.dense_blocks or len(s.combinations)
        total = self._room("total", b.shape) if pushed else None  # Σ_s w_sj B_sl over dense blocks and combinations
        filled = np.zeros(s.n_rows - start, bool)
        for level, matrix, combined in zip(reversed(s.levels), reversed(outgoing), reversed(self.program.combined), strict=True):
            if level.stop <= start:
                break
            first = max(level.start, start)
            run = slice(first - start, level.stop - start)
            parts = [] if matrix is None else [_times(matrix, b)]
            if total is not None and filled[run].any():
                total[run][~filled[run]] = 0
                parts.append(total[run])
            for part in parts:
                part *= tile.slope[first : level.stop, None]
                b[run] += part
            for block in level.dense if level.start > start else ():
                columns, source = _later(block, start)
                if columns is None or total is None:
                    continue
                weight = self.program.weight(self.w, block)[:, columns].T
                units = b[block.start - start : block.stop - start].reshape(len(weight.T), -1)
                if isinstance(source, slice) and not filled[source].any():
                    np.matmul(weight, units, out=total[source].reshape(len(weight), -1))
                else:
                    added = (weight @ units).reshape(len(weight), *b.shape[1:])
                    total[source] = np.where(filled[source][:, None, None], total[source] + added, added)
                filled[source] = True
            for combination in combined if level.start > start else ():
                source, added = self._given(combination, tile, start, b, phi)
                assert total is not None  # for mypy
                total[source] = np.where(filled[source][:, None, None], total[source] + added, added)
                filled[source] = True

    def _given(self, run: CombinationRun, tile: SampleTile, start: int, b: Array, phi: Array) -> tuple[Indices, Array]:
        """Sources of combinations, counted from `start`, and what these add to their Σ_s w_sj B_sl."""
        own = b[run.rows - start]
        given = [slope[:, None] * own for slope in run.slopes(tile.z)]
        if tile.delta is not None and run.bends:
            bent = run.bent(tile.delta[run.rows, None], *run.sources(phi, start))
            given = [part + more for part, more in zip(given, bent, strict=True)]
        later = run.fed >= start
        return run.fed[later] - start, run.gathered(given[0], given[1])[later]

    def _matrices(self, start: int) -> tuple[list[Any], list[Any]]:
        """For each level the sparse edges that lead into its rows ≥ start from rows ≥ start, and those that leave them; or None.

        Kept by each thread for the next sample tile of the same columns.
        """
        kept: tuple[int, Array, tuple[list[Any], list[Any]]] | None = self._kept.__dict__.get("matrices")
        if kept is not None and kept[0] == start and np.array_equal(kept[1], self.w):
            return kept[2]
        s, w = self.schedule, self.w
        by_source = w[s.out_slot]
        incoming, outgoing = [], []
        for level in s.levels:
            first, into = max(level.start, start), level.n_sparse and level.start > start
            incoming.append(_edges(w, s.in_ptr, s.in_src, first, level.stop, start) if into else None)
            leave = level.stop > first and s.out_ptr[level.stop] > s.out_ptr[first]
            outgoing.append(_edges(by_source, s.out_ptr, s.out_dst, first, level.stop, start) if leave else None)
        self._kept.__dict__["matrices"] = start, w.copy(), (incoming, outgoing)
        return incoming, outgoing


def _edges(values: Array, pointers: Any, indices: Any, first: int, last: int, start: int) -> Any:
    """The edges of rows first..last as a CSR matrix, its columns counted from `start`; edges to earlier rows are left out."""
    lo, hi = int(pointers[first]), int(pointers[last])
    pointer, column, value = pointers[first : last + 1] - lo, indices[lo:hi] - start, values[lo:hi]
    kept = column >= 0
    if not kept.all():
        pointer = np.concatenate([[0], np.cumsum(kept)])[pointer]
        column, value = column[kept], value[kept]
    return csr(value, column, pointer, (last - first, len(pointers) - 1 - start))


def _later(block: DenseBlock, start: int) -> tuple[slice | None, Any]:
    """Which of a block's sources are rows ≥ start (they are ascending), and what indexes them, counted from `start`."""
    first = int(np.searchsorted(block.src, start))
    if first == len(block.src):
        return None, None
    if block.src_start >= 0:
        return slice(first, None), slice(int(block.src[first]) - start, int(block.src[-1]) + 1 - start)
    return slice(first, None), block.src[first:] - start


def _times(weight: Any, values: Array) -> Array:
    """weight (m, f), dense or sparse, times values (f, columns, N), as one matrix product."""
    f, c, n = values.shape
    return np.asarray(weight @ values.reshape(f, c * n)).reshape(weight.shape[0], c, n)
