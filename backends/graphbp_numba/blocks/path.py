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
from graphbp_numba.blocks.pieces import Pieces, find_pieces
from graphbp_numba.blocks.work import BlockWork
from graphbp_numba.first_order.weights import collect
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.plan.tables import MODE_FORWARD, MODE_VALUE, MODE_VJP
from graphbp_numba.work.choice import MAX_PARTITIONS, SUMS_BYTES
from graphbp_numba.work.tasks import in_parts
from graphbp_numba.work.workspace import COLLECT

__all__ = ["FEW_BLOCK_EDGES", "BlockPath", "worthwhile_pieces"]

Array = npt.NDArray[Any]

NEAR_BYTES = 16 << 20
"""Of a tile's memory at most, where its rows are four vectors wide: wider rows need fewer sums across lanes, and more room."""
TASK_COST = 1 << 20
"""Edges × samples of a partition, at least: some 60 µs or more, against some 20 to have another thread take it."""
PARTITION_SAMPLES = 128
"""Of a partition, at least, where gradients are summed: its sums are cleared, and added up with the others'.  Two threads may always share."""
MIN_UNITS = 4
"""Units of a block on average, at least: fewer share too little of what is loaded for them."""
MIN_SHARE = 0.75
"""Of the edges that stand beside a neighbour's with the same sources, at least, before anybody looks closer."""
FEW_BLOCK_EDGES = 1 << 10
"""With no more edges, samples of one vector are swept edge by edge in fewer microseconds than it takes to hand blocks over."""
MANY_EDGES = 1 << 17
"""A network of large dense blocks with more edges than this takes matrix products on chunks of samples."""


def worthwhile_pieces(schedule: Schedule, layered: bool) -> Pieces | None:
    """The schedule's pieces, where most edges stand in some of several units; None where they don't, or where another path is faster.

    Not where rows are combined, which blocks do not carry.    layered : it has a path of matrix products.
    """
    s = schedule
    if len(s.combinations) or not s.n_edges or (layered and s.n_edges > MANY_EDGES):
        return None
    fan_in = np.diff(s.in_ptr)
    alike = (fan_in[1:] == fan_in[:-1]) & (fan_in[1:] > 0)
    alike[alike] = s.in_src[s.in_ptr[1:-1][alike]] == s.in_src[s.in_ptr[:-2][alike]]
    beside = fan_in[np.append(alike, False) | np.append(False, alike)].sum() + s.n_edges - s.n_sparse
    if beside < MIN_SHARE * s.n_edges:
        return None
    pieces = find_pieces(s)
    return pieces if np.average(1 / pieces.rows, weights=pieces.rows * pieces.count) * MIN_UNITS <= 1 else None


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
        """Vectors a row of a tile: so few that the samples make two tiles, where these are worth two threads, and that a tile is near.

        Tied weights have few sums across lanes, and gain nothing by wide rows.
        """
        p, work = self.work.pieces, self.work
        room = 2 * VECTOR_BYTES * work.rows if 2 * len(p.jobs) < len(p) else NEAR_BYTES
        near = [v for v in WIDTHS if v <= 2 or v * VECTOR_BYTES * work.rows <= room]
        if self.worth(n_samples) > 1:
            return max((v for v in near if 2 * v * self.width <= n_samples), default=1)
        return min((v for v in near if v * self.width >= n_samples), default=near[-1])

    def worth(self, n_samples: int) -> int:
        """Tasks that so many samples are worth."""
        return 1 + self.work.cost * n_samples // TASK_COST

    def tiles(self, n_samples: int, vectors: int) -> int:
        """Tiles that hold so many samples."""
        return -(-n_samples // (vectors * self.width))

    def partitions(self, n_samples: int, tiles: int) -> int:
        """Into how many parts the samples are cut."""
        room = max(2, SUMS_BYTES // (self.work.sums_size * self.work.dtype.itemsize))
        large = max(2, tiles * self.vectors(n_samples) * self.width // PARTITION_SAMPLES)
        return max(1, min(self.worth(n_samples), MAX_PARTITIONS, large, room, tiles))

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        work = self.work
        vectors = self.vectors(len(X))
        work.prepare(MODE_FORWARD, vectors)
        Y = np.empty((len(X), work.schedule.n_outputs), work.dtype)
        weights = work.weights(theta)

        def part(first: int, stop: int) -> None:
            memory = work.borrow_tile(vectors)
            sweeps.forward(work.net, weights, X, Y, memory, (vectors, first, stop))
            work.keep(memory)

        tiles = self.tiles(len(X), vectors)
        in_parts(tiles, min(tiles, self.worth(len(X))), part)
        return Y

    def sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x)."""
        work, n = self.work, len(X)
        vectors = self.vectors(n)
        work.prepare(mode, vectors)
        tiles = self.tiles(n, vectors)
        parts, reverse = self.partitions(n, tiles), mode != MODE_VALUE
        by_x = np.empty(X.shape, work.dtype) if mode == MODE_VJP else work.no_rows
        gradient = np.empty(work.n_weights if reverse else 0, work.dtype)
        sums = work.borrow((parts, work.sums_size if reverse else 0), work.dtype)
        samples = X, T, work.none if sample_weight is None else sample_weight
        values, given = [0.0] * parts, (work.net, work.weights(theta), samples, by_x)
        whole = gradient if parts == 1 else work.none

        def task(part: int) -> None:
            memory = work.borrow_tile(vectors)
            cut = vectors, mode, tiles * part // parts, tiles * (part + 1) // parts
            values[part] = sweeps.sweep(*given, sums[part], whole, memory, cut)
            work.keep(memory)

        if parts == 1:
            task(0)
        else:
            run_tasks(task, parts, blas=False)
            if reverse:
                self._collect(sums, gradient)
        work.keep(sums)
        return _pairwise_sum(values), work.by_parameter(gradient) if reverse else gradient, by_x

    def _collect(self, sums: Array, gradient: Array) -> None:
        """The gradient from the partitions' sums, which are added up pairwise."""
        size = sums.shape[1]
        in_parts(size, size * len(sums) // COLLECT, lambda first, stop: collect(sums, first, stop))
        sweeps.finish(self.work.net, sums[0], gradient)


def _pairwise_sum(values: list[float]) -> float:
    while len(values) > 1:
        values = [sum(values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]
