"""Second derivatives by the inputs: what depends on what, memory and tasks around `graphbp_numba.states.input_sweeps`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import add_heads, check_memory, inputs_of_rows, n_threads, outputs_of_rows, run_tasks
from graphbp_numba.instructions.squares import TALL
from graphbp_numba.plan.tables import (
    COMBINE_PRODUCT,
    KIND_ELEMENTWISE,
    PAIR_FIRST,
    PAIR_KIND,
    PAIR_ROW,
    PAIR_SECOND,
    RUN_KIND,
    RUN_LEAF,
    RUN_START,
    RUN_STOP,
)
from graphbp_numba.states.input_sweeps import (
    Ends,
    Where,
    diagonals,
    hessians,
    laplacians,
    panel_bytes,
    products_along,
    squares_bytes,
)
from graphbp_numba.states.whole import WholeStates
from graphbp_numba.work.choice import MAX_PARTITIONS

__all__ = ["ByInputs"]

Array = npt.NDArray[Any]

LISTED = 1 << 24
"""Rows listed output by output, at most; else every output sums over all of them."""
PANEL_BYTES = 1 << 22
"""Of a panel of two vectors of samples, at most; a larger one has one vector."""
KAPPA_BYTES = 1 << 22
"""Of κ of the outputs that are summed in one pass over the inputs."""
TASKS = 64


class ByInputs:
    """The second derivatives by the inputs of one network."""

    def __init__(self, states: WholeStates) -> None:
        self.states, self.work = states, states.work
        self.schedule = self.work.schedule

    # -- what depends on what ------------------------------------------------------------------------------------------------------

    @cached_property
    def _bent(self) -> Array:
        """Rows that feed others and are no identity."""
        runs = self.work.plan.runs
        kept = (runs[:, RUN_KIND] == KIND_ELEMENTWISE) & (runs[:, RUN_LEAF] == 0)
        each = [np.arange(start, stop) for start, stop in runs[kept][:, [RUN_START, RUN_STOP]]]
        return np.concatenate([np.empty(0, np.int64), *each]).astype(np.int64)

    @cached_property
    def _pairs(self) -> Array:
        """(·, 3): products of two rows, and these."""
        pairs = self.work.plan.combined.pairs
        return np.ascontiguousarray(pairs[pairs[:, PAIR_KIND] == COMBINE_PRODUCT][:, [PAIR_ROW, PAIR_FIRST, PAIR_SECOND]])

    @cached_property
    def _each_output(self) -> Where:
        """For e_1, ..., e_K."""
        s, curved = self.schedule, np.concatenate([self._bent, self._pairs[:, 0]])
        leads = np.unpackbits(outputs_of_rows(s)[curved], axis=1, count=s.n_outputs)
        if leads.size > LISTED:
            return self._where(np.ones((s.n_outputs, len(curved)), bool), sweep_all=True)
        return self._where(leads.T, sweep_all=False)

    @cached_property
    def _together(self) -> Where:
        """For a V, which may be any."""
        return self._where(np.ones((1, len(self._bent) + len(self._pairs)), bool), sweep_all=True)

    def _where(self, leads: Array, sweep_all: bool) -> Where:
        """`leads` (·, bent rows and products): what each sum is over."""
        s, plan, bent = self.schedule, self.work.plan, self._bent
        output, rows = np.nonzero(leads)
        ends, each = np.searchsorted(output, np.arange(len(leads) + 1)), np.count_nonzero(leads[:, : len(bent)], axis=1)
        bits = inputs_of_rows(s)
        from_inputs = np.concatenate([[0], np.cumsum(plan.in_src < s.n_inputs)])
        reaches = np.unpackbits(bits[s.output_rows], axis=1, count=s.n_inputs).astype(bool)
        for group in s.softmax_groups:
            reaches[group] = reaches[group].any(axis=0)
        columns = np.flatnonzero(reaches.any(axis=0))
        reached = reaches[:, columns] if not sweep_all else np.ones((len(leads), len(columns)), bool)
        groups = -(-len(columns) // TALL)
        used = np.zeros((len(leads), groups * TALL), np.uint8)
        used[:, : len(columns)] = reached
        place = np.full(s.n_rows, -1)
        place[bent] = np.arange(len(bent))
        return Where(
            bent=bent,
            place=place,
            pairs=self._pairs,
            middle=plan.in_ptr[:-1] + from_inputs[plan.in_ptr[1:]] - from_inputs[plan.in_ptr[:-1]],
            bits=bits,
            columns=columns,
            rows=rows.astype(np.int32),
            first=ends[:-1].astype(np.int64),
            paired=ends[:-1] + each,
            stop=ends[1:].astype(np.int64),
            last_run=np.full(len(leads), len(plan.runs)) if sweep_all else plan.output_stop,
            used=np.ascontiguousarray(used.reshape(len(leads), groups, TALL).max(axis=2)),
        )

    # -- Hessians --------------------------------------------------------------------------------------------------------------------

    def hessian(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D, D), or given V (N, D, D)."""
        s, work = self.schedule, self.work
        where = self._each_output if V is None else self._together
        size = panel_bytes(where, s.n_rows, 1)
        vectors = min(work.choice.state_vectors(len(X)), 2 if 2 * size <= PANEL_BYTES else 1)
        size = panel_bytes(where, s.n_rows, vectors)
        check_memory(
            size * n_threads(), f"∂a/∂x of {len(where.bent):,} units by {len(where.columns):,} inputs", "input_hvp(X, V, U)"
        )
        out = np.zeros((len(X), len(where.first), s.n_inputs, s.n_inputs), work.dtype)
        ends = self._ends(len(X))
        given = tuple(work.all_weights(theta)), X, self._or_none(V), tuple(where), tuple(ends), out

        def run(span: tuple[int, int], buffer: Array, panel: Array) -> None:
            hessians(work.tags[vectors], work.plan.table, *given, (buffer, panel), span)

        self._on_tiles(len(X), vectors, size, run)
        return self._whole(ends, V, out)

    def diagonal(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D), or given V (N, D)."""
        s, work = self.schedule, self.work
        where = self._each_output if V is None else self._together
        n_outputs, vectors = len(where.first), work.choice.column_vectors(len(X))
        step = min(n_outputs, max(1, KAPPA_BYTES // squares_bytes(where, 1, s.n_rows, vectors)))
        out, ends = np.zeros((len(X), n_outputs, s.n_inputs), work.dtype), self._ends(len(X))
        given = tuple(work.all_weights(theta)), X, self._or_none(V), tuple(where), tuple(ends), out

        def run(span: tuple[int, int], buffer: Array, memory: Array) -> None:
            for k in range(0, n_outputs, step):
                outputs = k, min(k + step, n_outputs)
                diagonals(work.tags[vectors], work.plan.table, *given, (buffer, memory), (*span, *outputs))

        self._on_tiles(len(X), vectors, squares_bytes(where, step, s.n_rows, vectors), run)
        return self._whole(ends, V, out)

    def laplacian(self, theta: Array, X: Array, lengths: Array) -> Array:
        """(N, K)."""
        s, work, where = self.schedule, self.work, self._each_output
        vectors = work.choice.column_vectors(len(X))
        out, ends = np.zeros((len(X), s.n_outputs), work.dtype), self._ends(len(X))
        given = tuple(work.all_weights(theta)), X, lengths, tuple(where), tuple(ends), out

        def run(span: tuple[int, int], buffer: Array, memory: Array) -> None:
            laplacians(work.tags[vectors], work.plan.table, *given, (buffer, memory), span)

        self._on_tiles(len(X), vectors, squares_bytes(where, 0, s.n_rows, vectors), run)
        return self._whole(ends, None, out)

    def _on_tiles(self, n_samples: int, vectors: int, size: int, run: Callable[[tuple[int, int], Array, Array], None]) -> None:
        """run(tiles, a state's buffer, so many bytes beside it)."""
        work = self.work
        tiles = work.choice.tiles(n_samples, vectors)
        parts = min(tiles, TASKS)
        self._prepare(vectors)

        def task(part: int) -> None:
            span = tiles * part // parts, tiles * (part + 1) // parts
            with self.states.buffer(vectors) as buffer, work.scratch("by inputs", size) as memory:
                run(span, buffer, memory)

        run_tasks(task, parts, blas=False)

    def _whole(self, ends: Ends, V: Array | None, out: Array) -> Array:
        """The result with the outputs' own part."""
        found = out if V is None else out[:, 0]
        if len(ends.a):
            g = np.ascontiguousarray(ends.tangents.transpose(1, 2, 0))
            add_heads(self.work.plan.head_groups, ends.a.T, ends.y.T, g, None if V is None else V.T, np.moveaxis(found, 0, -1))
        return found

    def _ends(self, n_samples: int) -> Ends:
        """Room for what the outputs' own part is made of, where they have any."""
        s, dtype = self.schedule, self.work.dtype
        straight = all(head.activation.builtin and head.activation.name == "identity" for head in self.work.plan.head_groups)
        n = 0 if straight else n_samples
        a, y = (np.empty((n, s.n_outputs), dtype) for _ in range(2))
        return Ends(a, y, np.zeros((n, s.n_outputs, s.n_inputs), dtype))

    # -- products ----------------------------------------------------------------------------------------------------------------------

    def along(
        self, theta: Array, X: Array, T: Array, sample_weight: Array | None, U: Array | None, v: Array | None, pulled: bool
    ) -> tuple[Array, Array]:
        """∂/∂x (N, D) and ∂/∂θ (W,) of E's derivative along (U, v); `pulled`: of that of ⟨V, y⟩, T being V."""
        work, plan = self.work, self.work.plan
        vectors = work.choice.state_vectors(len(X))
        places = plan.in_param, plan.out_param, plan.bias_param
        still = np.zeros_like(theta) if v is None else v
        along = tuple(work.direction(still, param) for param in places)
        tiles = work.choice.tiles(len(X), vectors)
        parts = min(tiles, work.choice.room_for_sums(1), MAX_PARTITIONS)
        sums, by_x = np.zeros((parts, plan.out.size), work.dtype), np.empty((len(X), self.schedule.n_inputs), work.dtype)
        s = work.none if sample_weight is None else sample_weight
        given = tuple(work.all_weights(theta)), along, (X, T, s), work.no_rows if U is None else U, by_x
        self._prepare(vectors)

        def task(part: int) -> None:
            span = tiles * part // parts, tiles * (part + 1) // parts, int(pulled)
            with self.states.buffer(vectors) as buffer:
                products_along(work.tags[vectors], plan.table, *given, sums[part], buffer, span)

        run_tasks(task, parts, blas=False)
        return by_x, work.collect(sums, plan.out)

    # -- shared ------------------------------------------------------------------------------------------------------------------------

    def _or_none(self, V: Array | None) -> Array:
        return self.work.no_rows if V is None else V

    def _prepare(self, vectors: int) -> None:
        self.work.prepare_slopes("df", "d2f")
        self.states.prepare(vectors)
