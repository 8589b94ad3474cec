"""The path for large dense blocks: matrix products on chunks of samples, level by level.

    first     for each block:                              Wᵀ as tiles, where a product will want it
    then      for each chunk of samples:                   levels upwards, heads, levels downwards
    at last   for each strip of a block's sources:         ∂E/∂W = δ zᵀ over all samples of the batch

These are tasks of one list, taken in turn by whatever threads there are; one that needs the results of an earlier group waits for them.
A batch has at most 1,024 samples, so memory does not grow with N.  How samples and blocks are cut depends on the network and N alone, so
that the bits are the same for any number of threads.  Weights are read where they stand in θ, and gradients written where they belong,
wherever a block's parameters are regular there.  Products with a Hessian go the same way (`graphbp_numba.layers.products`).

The products are this backend's own (`graphbp_numba.instructions.matrix_products`), not BLAS: they are 10 % faster on the machine where both were measured,
take z, δ and θ as they stand, and leave BLAS's threads alone.

Sparse edges between the blocks are gathered edge by edge; a network that is mostly sparse takes the tiles' own path instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphbp.extend import Schedule, n_threads
from graphbp_numba.first_order.samples import Samples
from graphbp_numba.instructions.matrix_products import REGISTER_ROWS
from graphbp_numba.layers import sweeps
from graphbp_numba.layers.blocks import BATCH, Array, Cut, Net, Rows, Weights, batches, lay_out
from graphbp_numba.layers.gradient import Gradient
from graphbp_numba.layers.work import LayerWork
from graphbp_numba.plan.tables import MODE_FORWARD, MODE_GRADIENT, MODE_VALUE, MODE_VJP
from graphbp_numba.work.tasks import Group, run_groups

__all__ = ["LayerPath", "prefers_layers"]

MIN_BLOCK = 64 * 64
"""A block from this size on is worth a matrix product."""


def prefers_layers(schedule: Schedule) -> bool:
    """Whether at least half of the edges stand in blocks that are large enough for products, and levels are few beside them.

    Not where rows are combined, which chunks of samples do not carry.
    """
    if len(schedule.combinations):
        return False
    large = sum(block.size for block in schedule.dense_blocks if block.size >= MIN_BLOCK)
    return 2 * large >= schedule.n_edges and large >= MIN_BLOCK * schedule.depth / 2


class LayerPath:
    """Forward, error, gradient and vjp of a schedule with large dense blocks."""

    def __init__(self, work: LayerWork) -> None:
        self.work = work

    def describe(self, n_samples: int) -> str:
        """Products and chunks, for people."""
        large = sum(block.size for block in self.work.schedule.dense_blocks)
        where = "read in place" if self.work.regular else "gathered first"
        layout, _ = self.work.tables(n_samples)
        samples = layout.lanes * max((stop - first for first, stop in layout.chunks(min(n_samples, BATCH))), default=1)
        return (
            f"layers: {100 * large / self.work.schedule.n_edges:.0f} % of the edges stand in dense blocks, so levels are matrix products "
            f"(this backend's own, {REGISTER_ROWS} units × {layout.lanes} samples in registers), on chunks of {samples} samples, "
            f"weights {where}; {n_threads()} thread{'s' * (n_threads() > 1)}"
        )

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        layout, net = self.work.tables(len(X))
        Y = np.empty((len(X), self.work.schedule.n_outputs), self.work.dtype)
        weights = self.work.weights(theta, self.work.none)
        for batch in batches(len(X)):
            x, y = X[batch], Y[batch]
            cuts = layout.chunks(len(x))
            with self.work.rows(layout, len(x), False) as rows:
                run_groups([Group(len(cuts), partial(_forward_chunk, self.work, layout.tag, net, weights, rows, x, y, cuts))])
        return Y

    def sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x)."""
        self.work.prepare_sweep(mode)
        layout, net = self.work.tables(len(X))
        by_x = np.empty(X.shape, self.work.dtype) if mode == MODE_VJP else self.work.no_rows
        s = self.work.none[:0] if sample_weight is None else sample_weight
        total = 0.0
        with self.work.packed(layout, mode != MODE_VALUE) as packed:
            weights = self.work.weights(theta, packed)
            gradient = None if mode == MODE_VALUE else Gradient(self.work, layout, net, weights)
            panels = [] if mode == MODE_VALUE else layout.panels[: layout.n_below if mode == MODE_GRADIENT else None]
            laid_out = Group(len(panels), partial(lay_out, layout, weights, panels))
            for batch in batches(len(X)):
                cuts = layout.chunks(len(X[batch]))
                values = [0.0] * len(cuts)
                with self.work.rows(layout, len(X[batch]), mode != MODE_VALUE) as rows:
                    chunks = _Chunks(
                        self.work,
                        layout.tag,
                        net,
                        weights,
                        rows,
                        Samples(X[batch], T[batch], s[batch]),
                        by_x[batch],
                        mode,
                        laid_out,
                        cuts,
                        values,
                    )
                    groups = [Group(len(cuts), chunks)] if batch.start else [laid_out, Group(len(cuts), chunks)]
                    if gradient is not None:
                        groups.append(gradient.sums(len(X[batch]), rows, groups[-1]))
                    run_groups(groups)
                total += sum(values)
        return total, self.work.none[:0] if gradient is None else gradient.finish(), by_x


def _forward_chunk(
    work: LayerWork, tag: Any, net: Net, weights: Weights, rows: Rows, x: Array, y: Array, cuts: list[Cut], number: int
) -> None:
    samples = Samples(x, work.no_rows, work.none[:0])
    sweeps.chunk_up(tag, net, weights, rows, samples, y, work.spare(), MODE_FORWARD, *cuts[number])


@dataclass(frozen=True)
class _Chunks:
    """The chunks of one batch: each is swept up, and down once the tiles of Wᵀ are there."""

    work: LayerWork
    tag: Any
    net: Net
    weights: Weights
    rows: Rows
    samples: Samples
    by_x: Array
    mode: int
    laid_out: Group
    cuts: list[Cut]
    values: list[float]

    def __call__(self, number: int) -> None:
        memory, cut = self.work.spare(), self.cuts[number]
        up = self.samples, self.work.no_rows, memory, self.mode
        self.values[number] = sweeps.chunk_up(self.tag, self.net, self.weights, self.rows, *up, *cut)
        if self.mode != MODE_VALUE:
            self.laid_out.wait()
            sweeps.chunk_down(self.tag, self.net, self.weights, self.rows, self.by_x, memory, self.mode, *cut)
