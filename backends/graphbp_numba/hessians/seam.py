"""What the Numba backend gives the core for its Hessians: sample tiles, columns of B and Φ, the rows of few outputs, and the assembly.

The sweeps are those of `graphbp_numba.hessians.column_sweeps`, the products those of `groups` and `singles`; here they are cut into tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import ColumnTile, HessianPlan, OutputCurvature, OutputRows, SampleTile, Schedule, run_tasks, weigh_rows
from graphbp_numba.hessians.assembly import MIRROR, mirror, scratch_bytes
from graphbp_numba.hessians.column_sweeps import columns, descendants, output_rows, own_curvature
from graphbp_numba.hessians.groups import add_group
from graphbp_numba.hessians.operands import Columns, Factors, Net, Reach, Several, Slopes, Stack, Units
from graphbp_numba.hessians.singles import add_singles
from graphbp_numba.instructions.matrix_products import TILE_VECTORS
from graphbp_numba.instructions.sample_sums import aligned_array
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.plan.tables import RUN_START
from graphbp_numba.states.whole import WholeStates

__all__ = ["NumbaSecondOrderSweeps"]

Array = npt.NDArray[Any]

REACH_BYTES = 1 << 24
"""For so many units at a time that this holds their descendants, one byte a row."""


@dataclass(frozen=True)
class _Product:
    """A call of the assembly: for which column tile, what is called with what, tags of how many vectors, and about how much it costs."""

    columns: tuple[int, int]
    entry: Any
    arguments: tuple[Any, ...]
    vectors: int
    cost: int


class NumbaSecondOrderSweeps:
    """What fills the tiles of the core's Hessians at one θ, and adds them up (see `graphbp.second_order.tiles`)."""

    def __init__(self, states: WholeStates, plan: HessianPlan, theta: Array) -> None:
        self.states, self.work, self.plan = states, states.work, plan
        self.schedule: Schedule = self.work.schedule
        self.dtype = self.work.dtype
        self.weights = self.work.all_weights(theta)
        self.run_of = np.searchsorted(self.work.plan.runs[:, RUN_START], np.arange(self.schedule.n_rows), side="right") - 1

    @cached_property
    def meets(self) -> Array:
        """(n_rows, n_rows): B_jl may be other than 0; no rows where that would take more memory than the Hessian."""
        return self.plan.meets if self.schedule.n_rows <= self.plan.n_parameters else np.zeros((0, 0), np.bool_)

    @cached_property
    def paths(self) -> Array:
        """(n_rows, n_rows): paths[k, j], z_k depends on a_j and an output on z_k, so that Φ_kj is wanted; no rows as above."""
        if not len(self.meets):
            return self.meets
        reach = self.plan.reach
        return (reach | np.eye(len(reach), dtype=bool)) & self.meets.diagonal()[:, None]

    @cached_property
    def net(self) -> Net:
        """What the kernels are told of the network."""
        return Net(self.work.plan.table, self.weights.w_in, self.weights.w_out, self.run_of)

    @cached_property
    def reach(self) -> Reach:
        """Which rows have to do with which."""
        live = np.ascontiguousarray(self.meets.diagonal()) if len(self.meets) else np.ones(self.schedule.n_rows, np.bool_)
        return Reach(live, self.meets, self.paths)

    # -- sweeps --------------------------------------------------------------------------------------------------------------

    def sample_tile(self, x: Array, t: Array, s: Array | None, exact: bool) -> SampleTile:
        """z, h', and for the exact Hessian δ and h''β, of some samples."""
        n_rows, n = self.schedule.n_rows, x.shape[1]
        X, T = np.ascontiguousarray(x.T), np.ascontiguousarray(t.T)
        wanted = {"a", "z", "slope", "delta", "bend"} if exact else {"a", "z", "slope"}
        a, z, slope, delta, bend = self.states.state(self.weights, X, T, s, wanted)
        z[n_rows, :n] = 1
        curvature = []
        own = t[self.schedule.n_outputs :]  # weights of every output, where there are such, beside the targets
        for head in self.work.plan.head_groups:
            rows = self.schedule.output_rows[head.positions]
            value = (head.output_hessian if exact else head.gauss_newton)(a[rows, :n], z[rows, :n], t[head.positions])
            curvature.append(OutputCurvature(rows, head.weigh(value, own if len(own) else s)))
        heads, R = self._head_lines(curvature, z.shape[1])
        padded = {"z": z, "delta": delta, "slopes": Slopes(z, slope, delta, bend, R, heads, n)}
        of_delta, of_bend = (values[:n_rows, :n] if exact else None for values in (delta, bend))
        return SampleTile(z[:, :n], slope[:n_rows, :n], of_delta, of_bend, tuple(curvature), exact, padded)

    def _head_lines(self, curvature: list[OutputCurvature], padded: int) -> tuple[Array, Array]:
        """Every entry of R that may not be zero as a line of its own: its rows (entries, 2), and values with room for a line behind."""
        pairs, values = [np.empty((0, 2), np.int64)], [np.empty((0, 0))]
        for head in curvature:
            k, n = len(head.rows), head.value.shape[-1]
            one, two = (np.repeat(head.rows, k), np.tile(head.rows, k)) if head.coupled else (head.rows, head.rows)
            pairs.append(np.stack([one, two], axis=1))
            values.append(head.value.reshape(-1, n))
        heads = np.concatenate(pairs)
        R = aligned_array((len(heads) + 1, padded), self.dtype)
        R[:, :] = 0
        at = 0
        for value in values:
            R[at : at + len(value), : value.shape[1]] = value
            at += len(value)
        return heads, R

    def column_tile(self, tile: SampleTile, start: int, stop: int) -> ColumnTile:
        """Perturb the rows start..stop."""
        made = self._columns(tile, start, stop, np.empty(self._column_bytes(tile, start, stop), np.uint8))
        B, phi = made.B, made.phi
        if len(self.meets):
            B[~self.meets[start:, start:stop]] = 0
            phi[~self.paths[start : start + len(phi), start:stop]] = 0
        return ColumnTile(start, stop, B[:, :, : tile.n_samples], phi[:, :, : tile.n_samples] if tile.exact else None)

    def _column_bytes(self, tile: SampleTile, start: int, stop: int) -> int:
        """Of B and Φ."""
        values = (self.schedule.n_rows - start) * (stop - start) * int(tile.cache["z"].shape[1])
        return (2 if tile.exact else 1) * values * self.dtype.itemsize + VECTOR_BYTES

    def _columns(self, tile: SampleTile, start: int, stop: int, memory: Array) -> Columns:
        """B and Φ of a column tile, zeros past the last sample; they live in `memory`."""
        work, net, reach, slopes = self.work, self.net, self.reach, tile.cache["slopes"]
        width = stop - start
        lines = (self.schedule.n_rows - start) * width
        both = aligned_array((2 * lines if tile.exact else lines, tile.cache["z"].shape[1]), self.dtype, memory)
        B, phi = (part.reshape(-1, width, both.shape[1]) for part in (both[:lines], both[lines:]))
        none = np.empty((0, 0, both.shape[1]), self.dtype)
        made = Columns(start, B, phi, none, none)
        given = tuple(net), tuple(reach), tuple(slopes), tuple(made)
        vectors = work.choice.column_vectors(tile.n_samples)
        self.states.prepare_pairs(vectors)
        tiles = work.choice.tiles(tile.n_samples, vectors)
        groups = min(width, max(1, 16 // tiles))  # few samples: the columns too are shared out

        def task(number: int) -> None:
            part, group = divmod(number, groups)
            first, last = start + width * group // groups, start + width * (group + 1) // groups
            with self.states.buffer(vectors) as buffer:
                columns(work.tags[vectors], *given, buffer, first, last, part, part + 1)

        run_tasks(task, tiles * groups, blas=False)
        return made

    def output_rows(self, tile: SampleTile) -> OutputRows:
        """G of the outputs, zeros past the last sample, and ΛG."""
        choice, plan = self.work.choice, self.work.plan
        n = tile.n_samples
        g = aligned_array((self.schedule.n_rows, self.schedule.n_outputs, tile.cache["z"].shape[1]), self.dtype)
        g[: self.schedule.n_inputs] = 0
        given = self.weights.w_out, tile.cache["slopes"], plan.output_stop, g
        self.states.on_tiles(n, output_rows, *given, vectors=choice.column_vectors(n))
        g[:, :, n:] = 0
        weighted = aligned_array(g.shape, self.dtype)
        weighted[:, :, n:] = 0
        weigh_rows(self.schedule, g[:, :, :n], tile, weighted[:, :, :n])
        return OutputRows(g, weighted)

    def own_curvature(self, tiles: list[SampleTile], wanted: Array) -> list[Array]:
        """B_jj of the rows that are `wanted`, zeros elsewhere: (n_rows, n) each."""
        return [self._own_curvature(tile, wanted) for tile in tiles]

    def _own_curvature(self, tile: SampleTile, wanted: Array) -> Array:
        work, n_rows, net, slopes = self.work, self.schedule.n_rows, self.net, tile.cache["slopes"]
        own = aligned_array((n_rows, tile.cache["z"].shape[1]), self.dtype)
        own[:] = 0
        vectors = work.choice.column_vectors(tile.n_samples)
        self.states.prepare_pairs(vectors)
        tiles = work.choice.tiles(tile.n_samples, vectors)
        step = max(1, REACH_BYTES // n_rows)
        parts = min(tiles, 64)
        for start in range(self.schedule.n_inputs, n_rows, step):
            stop = min(start + step, n_rows)
            reached = np.empty((stop - start, n_rows), np.bool_)
            groups = min(stop - start, max(1, 16 // parts))

            def task(number: int, start: int = start, reached: Array = reached, groups: int = groups) -> None:
                part, group = divmod(number, groups)
                first, last = len(reached) * group // groups, len(reached) * (group + 1) // groups
                with self.states.buffer(vectors) as buffer:
                    given = wanted, reached[first:last], own, buffer, start + first
                    span = tiles * part // parts, tiles * (part + 1) // parts
                    own_curvature(work.tags[vectors], tuple(net), tuple(slopes), *given, *span)

            descendants(work.plan.table, start, reached)
            run_tasks(task, parts * groups, blas=False)
        return own[:, : tile.n_samples]

    # -- assembly ------------------------------------------------------------------------------------------------------------

    def add_columns(
        self, plan: HessianPlan, tile: SampleTile, rows: OutputRows | None, columns: list[tuple[int, int]], half: Array
    ) -> None:
        """half += everything that the perturbed units of all column tiles contribute together with units at or after them.

        A task is a column tile, whose B and Φ it sweeps; where B comes from the outputs' rows, one product of it.  Largest first.
        """
        parts = [self._products(plan, start, stop) for start, stop in columns]
        if rows is not None:
            parts = [[product] for products in parts for product in products]
        parts.sort(key=lambda products: -sum(product.cost for product in products))
        reach, factors = tuple(self.reach), tuple(Factors(tile.cache["z"], tile.cache["delta"]))
        size = scratch_bytes(tile.cache["z"].shape[1], len(plan.stack_row), self.dtype.itemsize)
        none = np.empty((0, 0, tile.cache["z"].shape[1]), self.dtype)

        def task(number: int) -> None:
            start, stop = parts[number][0].columns
            bytes_of_columns = 0 if rows is not None else self._column_bytes(tile, start, stop)
            with (
                self.work.scratch("columns", bytes_of_columns) as memory,
                self.work.scratch("assembly", size) as buffer,
            ):
                made = (
                    self._columns(tile, start, stop, memory) if rows is None else Columns(start, none, none, rows.g, rows.weighted)
                )
                given = reach, factors, tuple(made)
                for product in parts[number]:
                    product.entry((self.dtype.type(0),) * product.vectors, *given, *product.arguments, half, buffer)

        if plan.tied:  # entries of L may then be shared
            for number in range(len(parts)):
                task(number)
        else:
            run_tasks(task, len(parts), blas=False)

    def _products(self, plan: HessianPlan, start: int, stop: int) -> list[_Product]:
        """Those of the perturbed units start..stop."""
        found = []
        for p in plan.groups:
            a, b = max(p.start, start), min(p.stop, stop)
            for q in plan.groups_of_several if a < b else ():
                if q.start < p.start or (len(self.meets) and not self.meets[a:b, q.start : q.stop].any()):
                    continue
                pairs = p.n_sources * q.n_sources * (b - a)
                cost = pairs * (2 * p.stop - a - b + 1) // 4 if p is q else pairs * q.n_units
                arguments = (*(tuple(Several(group.start, group.sources, group.index)) for group in (p, q)), a, b)
                found.append(_Product((start, stop), add_group, arguments, TILE_VECTORS, cost))
        if len(plan.single_rows) and plan.single_rows[-1] >= start:
            units = plan.units
            first, last = (int(u) for u in np.searchsorted(units.row, [start, stop]))
            later = len(plan.stack_row) - int(plan.stack_start[np.searchsorted(plan.single_rows, start)])
            listed = Units(units.row, units.start, units.source, units.index)
            stack = Stack(plan.single_rows, plan.stack_start, plan.stack_row, plan.stack_source, plan.stack_index)
            cost = int(units.start[last] - units.start[first]) * later
            found.append(_Product((start, stop), add_singles, (tuple(listed), tuple(stack), first, last), 1, cost))
        return found

    def finish(self, half: Array) -> Array:
        """L + Lᵀ, in place."""
        tag, n = (self.dtype.type(0),), len(half)
        run_tasks(lambda k: mirror(tag, half, k * MIRROR, min((k + 1) * MIRROR, n)), -(-n // MIRROR), blas=False)
        return half
