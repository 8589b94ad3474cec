"""The path over blocks: tiles of samples, in which a thread goes through all levels, a block of weights at a time.

    first     weights by slot, where θ does not hold them in blocks
    then      for each partition of the samples, tile by tile:    `graphbp_numba.blocks.sweeps`
    at last   the partitions' sums, pairwise; biases; slots to θ

No level needs a barrier and no block a hand-off: a sweep is one compiled call a partition, and few samples are one partition, on the
caller's thread.  Weights are read where they stand in θ, and the gradient's sums stand as θ does.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Schedule, n_threads, run_tasks
from graphbp_numba.blocks import sweeps
from graphbp_numba.blocks.functions import WIDTHS
from graphbp_numba.blocks.work import BlockWork
from graphbp_numba.first_order.samples import Samples
from graphbp_numba.first_order.weights import collect
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.plan.tables import MODE_FORWARD, MODE_VALUE, MODE_VJP
from graphbp_numba.work.tasks import in_parts

__all__ = ["BlockPath"]

Array = npt.NDArray[Any]

NEAR_BYTES = 8 << 20
"""Of a tile's rows at most, where these are four vectors wide."""
TASK_COST = 1 << 19
"""Edges × samples of a partition, at least: some 30 µs, against some 20 to have another thread take it."""
PARTITION_TILES = 4
"""Tiles of a partition, at least, where gradients are summed: its sums are cleared, and added up with the others'."""
MAX_PARTITIONS = 16
COLLECT = 1 << 17
"""Gradient sums added up by one task."""


class BlockPath:
    """Forward, error, gradient and vjp of a schedule whose weights stand in blocks."""

    def __init__(self, work: BlockWork) -> None:
        self.work = work

    def describe(self, n_samples: int) -> str:
        """Pieces, tiles and partitions, for people."""
        work, p = self.work, self.work.pieces
        vectors = self.vectors(n_samples)
        tiles = self.tiles(n_samples, vectors)
        parts = self.partitions(n_samples, tiles)
        tied = f" ({len(p.jobs)} sums for the tied ones)" if len(p.jobs) < len(p) else ""
        return (
            f"blocks: the edges stand in {len(p):,} blocks{tied}, of {np.average(p.rows, weights=p.rows * p.count):.0f} units on "
            f"average, which are products with rows of {vectors * self.width} samples; {tiles} tiles of "
            f"{vectors * VECTOR_BYTES * work.rows / 2**20:.2g} MiB, all levels in one pass; {parts} partition{'s' * (parts > 1)}, "
            f"weights {'read in place' if p.direct else 'gathered first'}; {n_threads()} thread{'s' * (n_threads() > 1)}"
        )

    @cached_property
    def width(self) -> int:
        """Samples in a vector."""
        return VECTOR_BYTES // self.work.dtype.itemsize

    def vectors(self, n_samples: int) -> int:
        """Vectors a row of a tile: so few that the samples make two tiles, where these are worth two threads, and that a tile is near."""
        worth = 2 if self.work.cost * n_samples >= 2 * TASK_COST else 1
        near = [v for v in WIDTHS if v <= 2 or v * VECTOR_BYTES * self.work.rows <= NEAR_BYTES]
        return max((v for v in near if worth * v * self.width <= n_samples), default=1) if worth == 2 else min(
            (v for v in near if v * self.width >= n_samples), default=near[-1]
        )

    def tiles(self, n_samples: int, vectors: int) -> int:
        """Tiles that hold so many samples."""
        return -(-n_samples // (vectors * self.width))

    def partitions(self, n_samples: int, tiles: int) -> int:
        """Into how many parts the samples are cut."""
        worth = 1 + self.work.cost * n_samples // TASK_COST
        return max(1, min(worth, MAX_PARTITIONS, max(2, tiles // PARTITION_TILES), tiles))

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        Y = np.empty((len(X), self.work.schedule.n_outputs), self.work.dtype)
        self._sweep(theta, Samples(X, self.work.no_rows, self.work.none), Y, MODE_FORWARD)
        return Y

    def sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x)."""
        by_x = np.empty(X.shape, self.work.dtype) if mode == MODE_VJP else self.work.no_rows
        value, gradient = self._sweep(theta, Samples(X, T, self.work.none if sample_weight is None else sample_weight), by_x, mode)
        return value, gradient, by_x

    def _sweep(self, theta: Array, samples: Samples, made: Array, mode: int) -> tuple[float, Array]:
        work, n = self.work, len(samples.X)
        vectors = self.vectors(n)
        work.prepare(mode, vectors)
        tiles = self.tiles(n, vectors)
        parts = self.partitions(n, tiles)
        size = 0 if mode in (MODE_VALUE, MODE_FORWARD) else work.sums_size
        values, blocks = [0.0] * parts, work.blocks(theta)
        with work.borrowed((parts, size), work.dtype) as sums:

            def task(part: int) -> None:
                cut = tiles * part // parts, tiles * (part + 1) // parts
                with work.tile(vectors) as memory:
                    values[part] = sweeps.sweep(blocks, samples, made, sums[part], memory, vectors, mode, *cut)

            run_tasks(task, parts, blas=False)
            return _pairwise_sum(values), self._gradient(sums) if size else work.none

    def _gradient(self, sums: Array) -> Array:
        """The gradient by θ from the partitions' sums."""
        work, size = self.work, sums.shape[1]
        if len(sums) > 1:
            in_parts(size, size * len(sums) // COLLECT, lambda first, stop: collect(sums, first, stop))
        gradient = np.empty(work.n_weights, work.dtype)
        sweeps.finish(sums[0], work.places, work.n_weights, gradient)
        return gradient if work.pieces.direct else np.ascontiguousarray(work.schedule.parameters.reduce(gradient))


def _pairwise_sum(values: list[float]) -> float:
    while len(values) > 1:
        values = [sum(values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]
