"""First order on tiles of samples: a tile goes through all levels before the next one, forward in stages where that pays."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import n_threads, run_tasks
from graphbp_numba.first_order.samples import Samples
from graphbp_numba.first_order.weights import EdgeWeights
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.plan.tables import MODE_VALUE, MODE_VJP
from graphbp_numba.tiles import sweeps as kernels
from graphbp_numba.tiles.stages import Stages, find_stages, forward_stages
from graphbp_numba.work.choice import FEW_EDGES, MAX_PARTITIONS
from graphbp_numba.work.workspace import Workspace

__all__ = ["FewPath", "TilePath"]

Array = npt.NDArray[Any]

STAGE_VECTORS = 4
TASK_SAMPLES = 1024
PACKED_BYTES = 64 << 20
"""Samples of a task that runs in stages, and the bytes of a packed waist, at most."""


class FewPath:
    """Samples of one vector on a network of few edges: one call on the caller's thread."""

    def __init__(self, workspace: Workspace) -> None:
        self.work, self._table, self._frozen = workspace, workspace.plan.first_table, workspace.plan.frozen
        self._n_outputs, self._ready = workspace.schedule.n_outputs, False

    def describe(self, n_samples: int) -> str:
        """For people."""
        width = self.work.choice.width
        return f"one call: up to {width} samples and {FEW_EDGES:,} edges are swept on the caller's thread"

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        Y = np.empty((len(X), self._n_outputs), self.work.dtype)
        if not self._ready:
            self.work.prepare_forward(1)
            self._ready = True
        kernels.forward_few(self._table, theta, self._frozen, X, Y)
        return Y

    def sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x)."""
        work = self.work
        work.prepare_sweep(mode, 1)
        by_x = np.empty(X.shape, work.dtype) if mode == MODE_VJP else work.no_rows
        gradient = np.empty(0 if mode == MODE_VALUE else len(theta), work.dtype)
        s = work.none if sample_weight is None else sample_weight
        return kernels.sweep_few(self._table, theta, self._frozen, X, T, s, by_x, gradient, mode), gradient, by_x


class TilePath:
    """Any number of samples, in tiles, on all threads."""

    def __init__(self, workspace: Workspace) -> None:
        self.work = workspace

    def describe(self, n_samples: int) -> str:
        """Tiles and stages, for people."""
        choice, plan = self.work.choice, self.work.plan
        threads = f"{n_threads()} thread" + ("s" if n_threads() > 1 else "")
        vectors = choice.vectors(n_samples)
        tiles = choice.tiles(n_samples, vectors)
        size = vectors * VECTOR_BYTES * choice.rows
        said = (
            f"tiles: {tiles} of {vectors * choice.width} samples, {size / 2**20:.2g} MiB of rows each, all levels in one pass; "
            f"gradient sums in {choice.partitions(n_samples, tiles)} partitions; {threads}"
        )
        if plan.n_bundles:
            said += f"; {plan.n_bundles} bundles of four units with the same sources"
        if len(plan.combined):
            said += (
                f"; {len(plan.combined)} combinations of rows in {len(plan.combined.trees)} trees "
                "(levels in parts, layers and stages do not carry them)"
            )
        if (stages := self.stages) is not None:
            together = f", samples that are zero taken together at {stages.packs} of them" if stages.packs else ""
            said += f"; forward in {len(stages.cuts)} stages of at most {stages.rows} rows{together}"
        return said

    @cached_property
    def stages(self) -> Stages | None:
        """Where `forward` may forget rows, and take samples together."""
        return find_stages(self.work.plan, STAGE_VECTORS * VECTOR_BYTES)

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        work, plan, choice = self.work, self.work.plan, self.work.choice
        Y = np.empty((len(X), work.schedule.n_outputs), work.dtype)
        if len(X) > choice.width and self.stages is not None:
            return self._forward_in_stages(theta, X, Y, self.stages)
        w, bias = work.weights_at(theta, plan.first.in_param), work.weights_at(theta, plan.first.bias_param)
        vectors = choice.vectors(len(X))
        work.prepare_forward(vectors)
        tiles = choice.tiles(len(X), vectors)
        parts = min(tiles, 64, choice.tasks(len(X)))

        def task(part: int) -> None:
            first, stop = tiles * part // parts, tiles * (part + 1) // parts
            with work.tile_buffer(vectors) as buffer:
                kernels.forward(work.tags[vectors], plan.first_table, w, bias, X, Y, buffer, first, stop)

        run_tasks(task, parts, blas=False)
        return Y

    def _forward_in_stages(self, theta: Array, X: Array, Y: Array, stages: Stages) -> Array:
        work, plan, width = self.work, self.work.plan, self.work.choice.width
        vectors = STAGE_VECTORS if len(X) > 2 * width else 2
        work.prepare_forward(vectors)
        weights = EdgeWeights(work.weights_at(theta, plan.first.in_param), work.none, work.weights_at(theta, plan.first.bias_param))
        lanes = vectors * width
        rows = max(stages.packed, Y.shape[1])
        tiles = work.choice.tiles(len(X), vectors)
        most = max(1, min(TASK_SAMPLES, PACKED_BYTES // (rows * work.dtype.itemsize)) // lanes)
        size = min(most, -(-tiles // min(MAX_PARTITIONS, work.choice.tasks(len(X))))) * lanes
        bytes_of_tile = VECTOR_BYTES * (vectors * (2 * stages.rows + plan.first.n_keep + 1) + 1)

        def task(part: int) -> None:
            n0, n1 = part * size, min((part + 1) * size, len(X))
            memory = np.empty(bytes_of_tile, np.uint8)
            # a row more than whole tiles: rows that lie a power of two apart would share a few sets of the cache
            packed = np.empty((2, rows, -(-(n1 - n0) // lanes) * lanes + width), work.dtype)
            given = stages.cuts, stages.rows, weights, X[n0:n1], Y[n0:n1], memory, packed
            forward_stages(work.tags[vectors], plan.first_table, *given)

        run_tasks(task, -(-len(X) // size), blas=False)
        return Y

    def sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x) of one pass over the tiles, cut into partitions that are summed pairwise."""
        work, plan, choice = self.work, self.work.plan, self.work.choice
        vectors = choice.vectors(len(X))
        work.prepare_sweep(mode, vectors)
        w = work.borrowed_weights(theta, plan.first.in_param)
        w_out = sums = work.none
        bias = work.weights_at(theta, plan.first.bias_param)
        s = work.none if sample_weight is None else sample_weight
        by_x = np.empty(X.shape, work.dtype) if mode == MODE_VJP else work.no_rows
        tiles = choice.tiles(len(X), vectors)
        parts = choice.partitions(len(X), tiles)
        if mode != MODE_VALUE:
            w_out = work.borrowed_weights(theta, plan.first.out_param)
            sums = work.borrow(parts, plan.first.out.size)
        values = [0.0] * parts
        weights, samples = EdgeWeights(w, w_out, bias), Samples(X, T, s)

        def task(part: int) -> None:
            first, stop = tiles * part // parts, tiles * (part + 1) // parts
            own = sums[part] if len(sums) else work.none
            own[:] = 0
            with work.tile_buffer(vectors) as buffer:
                given = weights, samples, by_x, own, buffer
                values[part] = kernels.sweep(work.tags[vectors], plan.first_table, *given, mode, first, stop)

        run_tasks(task, parts, blas=False)
        gradient = work.none if mode == MODE_VALUE else work.collect(sums, plan.first.out)
        work.keep(w, w_out, sums)
        return _pairwise_sum(values), gradient, by_x


def _pairwise_sum(values: list[float]) -> float:
    while len(values) > 1:
        values = [sum(values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]
