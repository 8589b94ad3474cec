"""The path for few samples on a huge network: one tile, whose levels are cut into parts for the threads.

    for each stage upwards:     a, z of its rows, a part of them a task
    heads:                      E and δ at the outputs
    for each stage downwards:   δ of its rows
    for all edges, in parts:    ∂E/∂w_ji = Σ_lanes δ_j z_i

A stage is one level that is worth several tasks, or a run of levels that are not, which one thread takes.  z and δ have rows of their
own here, so that the gradient's sums need not wait for the sweep and are cut anywhere.  Every row is computed by the instructions that
the tiles use, whoever computes it, so that the bits do not depend on the cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import n_threads, run_tasks
from graphbp_numba.levels.kernels import bias_part, forward_part, heads, load, outputs, reverse_inputs, reverse_part, sums_part
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.plan.tables import MODE_VALUE, MODE_VJP
from graphbp_numba.work.choice import PART_EDGES
from graphbp_numba.work.tasks import in_parts
from graphbp_numba.work.workspace import Workspace

__all__ = ["LevelPath"]

Array = npt.NDArray[Any]

MAX_PARTS = 64


@dataclass(frozen=True)
class _Stage:
    """Runs of one level with the places to cut it, or of several levels that one task takes in turn."""

    cuts: tuple[int, ...]

    @property
    def parts(self) -> int:
        """How many tasks."""
        return len(self.cuts) - 1

    def run(self, work: Callable[[int, int], None]) -> None:
        """work(first run, last run + 1) for every part."""
        run_tasks(lambda part: work(self.cuts[part], self.cuts[part + 1]), self.parts, blas=False)


class LevelPath:
    """Forward, error, gradient and vjp of samples that fit one tile, on all threads."""

    def __init__(self, workspace: Workspace) -> None:
        self.work, self.plan = workspace, workspace.plan

    def describe(self, n_samples: int) -> str:
        """Stages, for people."""
        stages = self._stages(n_samples)
        cut = [stage for stage in stages if stage.parts > 1]
        return (
            f"levels: one tile of {self._lanes(n_samples)} samples; {len(cut)} of {len(stages)} stages are levels cut into up to "
            f"{max((stage.parts for stage in cut), default=1)} parts for {n_threads()} threads"
        )

    def _lanes(self, n_samples: int) -> int:
        return self.work.choice.width * self.work.choice.vectors(n_samples)

    def _stages(self, n_samples: int) -> list[_Stage]:
        before = np.concatenate([[0], np.cumsum(self.plan.run_costs)])
        stages: list[_Stage] = []
        waiting: list[int] = []
        for first, stop in zip(self.plan.level_runs[:-1].tolist(), self.plan.level_runs[1:].tolist(), strict=True):
            cost = int(before[stop] - before[first])
            parts = min(MAX_PARTS, stop - first, cost * n_samples // PART_EDGES)
            if parts < 2:
                waiting = [waiting[0] if waiting else first, stop]
                continue
            if waiting:
                stages.append(_Stage((waiting[0], waiting[1])))
                waiting = []
            aims = before[first] + cost * np.arange(1, parts) // parts
            inner = np.searchsorted(before, aims).clip(first, stop)
            stages.append(_Stage(tuple(np.unique([first, *inner.tolist(), stop]).tolist())))
        if waiting:
            stages.append(_Stage((waiting[0], waiting[1])))
        return stages

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        work = self.work
        Y = np.empty((len(X), work.schedule.n_outputs), work.dtype)
        vectors = work.choice.vectors(len(X))
        with work.tile_buffer(vectors) as buffer:
            self._forward(theta, X, buffer, self._stages(len(X)))
            outputs(work.tags[vectors], self.plan.table, buffer, Y)
        return Y

    def _forward(self, theta: Array, X: Array, buffer: Array, stages: list[_Stage]) -> None:
        work, plan = self.work, self.plan
        vectors = work.choice.vectors(len(X))
        tag = work.tags[vectors]
        w, bias = work.weights_at(theta, plan.in_param), work.weights_at(theta, plan.bias_param)
        work.prepare_forward(vectors)
        load(tag, plan.table, X, buffer)
        for stage in stages:
            stage.run(partial(forward_part, tag, plan.table, w, bias, buffer))

    def sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x)."""
        work = self.work
        vectors = work.choice.vectors(len(X))
        work.prepare_sweep(mode, vectors)
        stages = self._stages(len(X))
        s = work.none if sample_weight is None else sample_weight
        with work.tile_buffer(vectors) as buffer:
            self._forward(theta, X, buffer, stages)
            value = heads(work.tags[vectors], self.plan.table, T, s, buffer, mode)
            if mode == MODE_VALUE:
                return value, work.none, work.no_rows
            gradient, by_x = self._reverse(theta, buffer, stages, len(X), mode == MODE_VJP)
        return value, gradient, by_x

    def _reverse(self, theta: Array, buffer: Array, stages: list[_Stage], n_samples: int, inputs: bool) -> tuple[Array, Array]:
        """(gradient, ∂E/∂x where `inputs` are wanted)."""
        work, plan, table = self.work, self.plan, self.plan.table
        vectors, by_x = work.choice.vectors(n_samples), work.no_rows
        tag, w = work.tags[vectors], work.weights_at(theta, plan.out_param)
        n_rows, n_inputs = plan.schedule.n_rows, plan.schedule.n_inputs
        deltas = np.empty(VECTOR_BYTES * (vectors * n_rows + 1), np.uint8)
        for stage in reversed(stages):
            stage.run(partial(reverse_part, tag, table, w, buffer, deltas))
        if inputs:
            parts = self._parts(n_inputs, n_inputs, n_samples)
            in_parts(n_inputs, parts, lambda a, b: reverse_inputs(tag, table, w, deltas, a, b))
            start = (-deltas.ctypes.data) % VECTOR_BYTES
            rows = deltas[start : start + n_inputs * vectors * VECTOR_BYTES].view(work.dtype).reshape(n_inputs, -1)
            by_x = np.ascontiguousarray(rows[:, :n_samples].T)
        sums = np.empty((1, plan.out.size), work.dtype)
        parts = self._parts(plan.n_edges, plan.n_edges, n_samples)
        in_parts(plan.n_edges, parts, lambda a, b: sums_part(tag, table, plan.out_source, buffer, deltas, sums[0], a, b), 16)
        in_parts(n_rows, parts, lambda a, b: bias_part(tag, table, deltas, sums[0], a, b), 16)
        return work.collect(sums, plan.out), by_x

    def _parts(self, n: int, edges: int, n_samples: int) -> int:
        return max(1, min(MAX_PARTS, n, edges * n_samples // PART_EDGES))
