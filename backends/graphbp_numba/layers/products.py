"""Products of Hessians with vectors where the network is large dense blocks: the R-operator by matrix products.

    for each batch of samples:
        for each direction v:       Vᵀ as tiles                           (for the exact Hessian)
                                    for each chunk of samples:            ȧ, ż upwards, heads, Rδ downwards
                                    for each strip of a block's sources:  (H v)_W = Rδ zᵀ + δ żᵀ over all samples of the batch

These are tasks of one list, as `graphbp_numba.layers.path` has them for a gradient, and the strips are a gradient's.  What depends on no
direction, z and for the exact Hessian δ and h'' β, is swept once, just before the first direction takes the same chunk.  Directions
come one after the other, in the memory of one, so that memory for many of them is that of v and of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from graphbp_numba.first_order.samples import Samples
from graphbp_numba.layers import sweeps, tangents
from graphbp_numba.layers.blocks import Array, Dots, Layout, Net, Rows, Weights, batches, lay_out
from graphbp_numba.layers.gradient import Gradient
from graphbp_numba.layers.work import LayerWork
from graphbp_numba.plan.tables import MODE_PRODUCT
from graphbp_numba.work.tasks import Group, in_parts, run_groups

__all__ = ["layer_products"]

PIECE_BYTES = 1 << 18
"""Of v and of the result, transposed at a time: well within a usual second-level cache."""


def layer_products(work: LayerWork, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array, exact: bool) -> Array:
    """H v for v (W, B): (W, B); with the outer-product Hessian where not `exact`."""
    work.prepare_sweep(MODE_PRODUCT)
    work.prepare_pairs()
    layout, net = work.tables(len(X))
    if exact:
        work.prepare_bends()
    s = work.none[:0] if sample_weight is None else sample_weight
    with work.packed(layout, True) as packed, work.packed(layout, exact) as v_packed:
        weights = work.weights(theta, packed)
        directions = [work.weights(direction, v_packed, tangent=True) for direction in _as_rows(v)]
        sums = [Gradient(work, layout, net, weights) for _ in directions]
        panels = layout.panels[: layout.n_below]
        laid_out = Group(len(panels), partial(lay_out, layout, weights, panels))
        for part in batches(len(X)) if directions else ():
            x, t, sw = X[part], T[part], s[part]
            with work.rows(layout, len(x), True, curved=exact) as rows, work.dots(layout, len(x), exact) as dots:
                batch = _Batch(work, layout, net, weights, rows, dots, Samples(x, t, sw), laid_out, exact)
                groups = [] if part.start else [laid_out]
                for direction, gradient in zip(directions, sums, strict=True):
                    groups += batch.along(direction, gradient)
                run_groups(groups)
    return _as_columns([gradient.finish() for gradient in sums], v)


def _as_rows(v: Array) -> Array:
    """vᵀ, its entries side by side; copied piece by piece, so that every line of the cache is read once."""
    if v.shape[1] == 1:
        return np.ascontiguousarray(v.T)
    rows = np.empty(v.shape[::-1], v.dtype)

    def copy(first: int, stop: int) -> None:
        rows[:, first:stop] = v[first:stop].T

    in_parts(len(v), v.nbytes // PIECE_BYTES, copy)
    return rows


def _as_columns(rows: list[Array], v: Array) -> Array:
    """The rows as columns, in v's shape."""
    if len(rows) == 1:
        return rows[0][:, None]
    columns = np.empty(v.shape, v.dtype)

    def copy(first: int, stop: int) -> None:
        for b, row in enumerate(rows):
            columns[first:stop, b] = row[first:stop]

    in_parts(len(v), v.nbytes // PIECE_BYTES, copy)
    return columns


@dataclass
class _Batch:
    """The samples swept at a time, and the tasks of the direction before, whose memory the next one takes."""

    work: LayerWork
    layout: Layout
    net: Net
    weights: Weights
    rows: Rows
    dots: Dots
    samples: Samples
    laid_out: Group
    exact: bool
    chunks_before: Group | None = None
    sums_before: Group | None = None

    def along(self, direction: Weights, gradient: Gradient) -> list[Group]:
        """The tasks of one direction."""
        panels = self.layout.panels[: self.layout.n_below] if self.exact else []
        cuts = self.layout.chunks(len(self.samples.X))
        v_laid_out = Group(len(panels), partial(self._lay_out, direction, panels, self.chunks_before))
        chunks = Group(len(cuts), partial(self._chunk, direction, cuts, v_laid_out, self.sums_before))
        if self.exact:
            sums = gradient.sums(
                len(self.samples.X),
                self.rows._replace(D=self.dots.R),
                chunks,
                also=self.rows._replace(Z=self.dots.Z, S=self.dots.S),
            )
        else:
            sums = gradient.sums(len(self.samples.X), self.rows, chunks)
        self.chunks_before, self.sums_before = chunks, sums
        return [v_laid_out, chunks, sums]

    def _lay_out(self, direction: Weights, panels: list[tuple[int, int, int]], before: Group | None, number: int) -> None:
        if before is not None:
            before.wait()
        lay_out(self.layout, direction, panels, number)

    def _chunk(self, direction: Weights, cuts: list[tuple[int, int]], v_laid_out: Group, before: Group | None, number: int) -> None:
        tag, memory, cut = self.layout.tag, self.work.spare(), cuts[number]
        if before is None:
            up = self.samples, self.work.no_rows, memory, MODE_PRODUCT
            sweeps.chunk_up(tag, self.net, self.weights, self.rows, *up, *cut)
        else:
            before.wait()
        self.laid_out.wait()
        if before is None and self.exact:
            sweeps.chunk_down(tag, self.net, self.weights, self.rows, self.work.no_rows, memory, MODE_PRODUCT, *cut)
        v_laid_out.wait()
        tangents.tangent_chunk(tag, self.net, self.weights, direction, self.rows, self.dots, self.samples, memory, *cut)
