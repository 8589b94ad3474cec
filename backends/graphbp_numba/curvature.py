r"""The sweeps behind the Hessians that the core assembles: Φ and B of the closed form, a column at a time in a tile's cache.

    forward   G_kl = 1 at k = l, else Σ_r w_kr Φ_rl,   Φ_kl = h'_k G_kl
    reverse   B_jl = h''_j β_j G_jl + h'_j Σ_s w_sj B_sl + Σ_c R_jc G_cl

A column's two sweeps run on rows of one tile of samples, in the caches; of B only the rows from the column's own on are then copied to
the arrays of `graphbp.extend.ColumnTile`, and of Φ those that a path leads to.  h', h''β and R are taken from the sample tile, R as a
list of its entries that may not be zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import ColumnTile, HessianPlan, OutputCurvature, OutputRows, SampleTile, Schedule, run_tasks, weigh_rows
from graphbp_numba.assembly import MIRROR, add_group, add_singles, mirror, scratch_bytes
from graphbp_numba.functions import VECTOR_BYTES
from graphbp_numba.jit import carray, compiled, kernel, source_digest, watch
from graphbp_numba.kernels import aligned
from graphbp_numba.plan import (
    IN_PTR,
    IN_SRC,
    LEAF,
    N_INPUTS,
    N_OUTPUTS,
    N_ROWS,
    N_RUNS,
    ORDER,
    OUT_DST,
    OUT_PTR,
    RUN_FIELDS,
    RUNS,
    START,
    STOP,
)
from graphbp_numba.products import aligned_array
from graphbp_numba.rows import copy_rows, fill_rows, gather, item_size, multiply_add_rows, multiply_rows, pointer, reals
from graphbp_numba.states import (
    A_DOT,
    BEND,
    BETA,
    DELTA,
    HEAD,
    R_DELTA,
    SCRATCH,
    SLOPE_ROWS,
    Z_DOT,
    inject,
    place,
    put_row,
    reverse_state,
    take_rows,
)
from graphbp_numba.tile_products import TILE_VECTORS

if TYPE_CHECKING:
    from graphbp_numba.executable import NumbaExecutable

__all__ = ["NumbaSecondOrderSweeps", "columns", "output_rows", "own_curvature"]

Array = npt.NDArray[Any]

REACH_BYTES = 1 << 24
"""For so many units at a time that this holds their descendants, one byte a row."""


@kernel
def _sweep_forward(tag: Any, table: Any, w: int, meets: Any, g: int, phi: int, slope: int, row_l: int, run_l: int) -> None:
    """G and Φ of one column, given zeros up to the end of its run, and in all rows that lead to no output: they stay."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[RUNS]), (table[N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[IN_PTR]), table[N_ROWS] + 1, np.int64)
    own, own_slope = carray(reals(tag, g + row_l * row), lanes), carray(reals(tag, slope + row_l * row), lanes)
    own_phi = carray(reals(tag, phi + row_l * row), lanes)
    for lane in range(lanes):
        own[lane] = 1
        own_phi[lane] = own_slope[lane]
    for r in range(run_l + 1, table[N_RUNS]):
        start, end = runs[r, START], runs[r, STOP]
        for j in range(start, end):
            if len(meets) == 0 or meets[j, j]:
                gather(tag, phi, table[IN_SRC], w, ptr[j], ptr[j + 1], tag[0], g + j * row)
        multiply_rows(tag, phi + start * row, slope + start * row, g + start * row, end - start)


@kernel
def _sweep_reverse(
    tag: Any,
    table: Any,
    w: int,
    meets: Any,
    g: int,
    b: int,
    slope: int,
    bend: int,
    scratch: int,
    row_l: int,
    run_l: int,
    exact: bool,
) -> None:
    """B of one column, rows from its own on; b holds the heads' terms, 0 elsewhere."""
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[RUNS]), (table[N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[OUT_PTR]), table[N_ROWS] + 1, np.int64)
    for r in range(table[N_RUNS] - 1, run_l - 1, -1):
        if runs[r, LEAF]:
            continue
        start, end, order = max(runs[r, START], row_l), runs[r, STOP], runs[r, ORDER] - runs[r, START]
        at = start * row
        for j in range(start, end):
            if len(meets) == 0 or meets[j, j]:
                e = order + j
                gather(tag, b, table[OUT_DST], w, ptr[e], ptr[e + 1], tag[0], scratch)
                multiply_add_rows(tag, b + j * row, slope + j * row, scratch, b + j * row, 1)
        if exact:
            multiply_add_rows(tag, b + at, bend + at, g + at, b + at, end - start)


@kernel
def _at(values: Any, line: int, n0: int) -> Any:
    """The address of values[line, n0]."""
    return values.ctypes.data + (line * values.shape[1] + n0) * values.itemsize


@kernel
def _inject(tag: Any, table: Any, R: Any, heads: Any, n0: int, g: int, b: int, start: int) -> None:
    """b = 0 from row `start` on, but for Σ_c R_jc G_c at the outputs: `heads` has the rows (j, c) of each line of R."""
    row = len(tag) * VECTOR_BYTES
    fill_rows(tag, b + start * row, table[N_ROWS] - start)
    for e in range(len(heads)):
        at = b + heads[e, 0] * row
        multiply_add_rows(tag, at, _at(R, e, n0), g + heads[e, 1] * row, at, 1)


def _make_columns(digest: str) -> Any:
    def columns(
        tag: Any,
        table: Any,
        w_in: Any,
        w_out: Any,
        slopes: Any,
        bends: Any,
        R: Any,
        heads: Any,
        n_samples: int,
        run_of: Any,
        paths: Any,
        meets: Any,
        B: Any,
        phi_out: Any,
        buffer: Any,
        start: int,
        first_column: int,
        stop_column: int,
        first: int,
        stop: int,
    ) -> None:
        """B[j − start, l − start, n] for j ≥ l that meet l, for columns l, and the tiles first..stop; Φ likewise, where paths[j, l].

        Both may be unknown, arrays of no rows: then B and Φ are there for all j ≥ l.

        For the outer product, arrays of no lines stand in place of h''β and Φ.
        """
        len(digest)
        lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
        row = len(tag) * VECTOR_BYTES
        base = aligned(buffer)
        n_rows, width, exact = table[N_ROWS], B.shape[1], phi_out.shape[0] > 0
        runs = carray(pointer(table[RUNS]), (table[N_RUNS], RUN_FIELDS), np.int64)
        slope, bend, scratch = (
            place(table, row, base, SLOPE_ROWS),
            place(table, row, base, BEND),
            place(table, row, base, SCRATCH),
        )
        g, phi, b = place(table, row, base, A_DOT), place(table, row, base, Z_DOT), place(table, row, base, R_DELTA)
        for number in range(first, stop):
            n0 = number * lanes
            take_rows(tag, slopes, start, n0, slope + start * row, n_rows - start)
            if exact:
                take_rows(tag, bends, start, n0, bend + start * row, n_rows - start)
            fill_rows(tag, g, n_rows)
            fill_rows(tag, phi, n_rows)
            for c in range(first_column, stop_column):
                r = run_of[c]
                if len(meets) and not meets[c, c]:  # it leads to no output
                    continue
                fill_rows(tag, g + start * row, runs[r, STOP] - start)
                fill_rows(tag, phi + start * row, runs[r, STOP] - start)
                _sweep_forward(tag, table, w_in.ctypes.data, meets, g, phi, slope, c, r)
                _inject(tag, table, R, heads, n0, g, b, c)
                _sweep_reverse(tag, table, w_out.ctypes.data, meets, g, b, slope, bend, scratch, c, r, exact)
                for j in range(c, n_rows):
                    line = (j - start) * width + c - start
                    if len(meets) == 0 or meets[j, c]:
                        put_row(tag, b + j * row, B, line, n0, n_samples)
                    if exact and (len(paths) == 0 or paths[j, c]):
                        put_row(tag, phi + j * row, phi_out, line, n0, n_samples)

    return watch(compiled(columns))


def _make_output_rows(digest: str) -> Any:
    def output_rows(
        tag: Any, table: Any, w_out: Any, slopes: Any, n_samples: int, last_run: Any, g: Any, buffer: Any, first: int, stop: int
    ) -> None:
        """g[j, c, n] = ∂a_c/∂a_j for the outputs c: one reverse sweep each, from its run down."""
        len(digest)
        lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
        row = len(tag) * VECTOR_BYTES
        base = aligned(buffer)
        delta, slope = place(table, row, base, DELTA), place(table, row, base, SLOPE_ROWS)
        head, beta = place(table, row, base, HEAD), place(table, row, base, BETA)
        heads = carray(reals(tag, head), (table[N_OUTPUTS], lanes))
        for number in range(first, stop):
            n0 = number * lanes
            take_rows(tag, slopes, 0, n0, slope, table[N_ROWS])
            for c in range(table[N_OUTPUTS]):
                heads[:] = 0
                heads[c] = 1
                inject(tag, table, delta, head)
                reverse_state(tag, table, w_out.ctypes.data, slope, delta, beta, last_run[c])
                for j in range(table[N_INPUTS], table[N_ROWS]):
                    put_row(tag, delta + j * row, g, j * table[N_OUTPUTS] + c, n0, n_samples)

    return watch(compiled(output_rows))


def _make_own_curvature(digest: str) -> Any:
    def own_curvature(
        tag: Any,
        table: Any,
        w_in: Any,
        w_out: Any,
        slopes: Any,
        bends: Any,
        R: Any,
        heads: Any,
        n_samples: int,
        run_of: Any,
        wanted: Any,
        reached: Any,
        own: Any,
        buffer: Any,
        exact: bool,
        first_column: int,
        first: int,
        stop: int,
    ) -> None:
        """own[l, n] = B_ll for the units l = first_column + c, c = 0..len(reached), that are wanted: sweeps of l's descendants alone."""
        len(digest)
        lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
        row = len(tag) * VECTOR_BYTES
        base = aligned(buffer)
        n_rows = table[N_ROWS]
        w, v = w_in.ctypes.data, w_out.ctypes.data
        runs = carray(pointer(table[RUNS]), (table[N_RUNS], RUN_FIELDS), np.int64)
        in_ptr = carray(pointer(table[IN_PTR]), n_rows + 1, np.int64)
        out_ptr = carray(pointer(table[OUT_PTR]), n_rows + 1, np.int64)
        slope, bend, scratch = (
            place(table, row, base, SLOPE_ROWS),
            place(table, row, base, BEND),
            place(table, row, base, SCRATCH),
        )
        g, phi, b = place(table, row, base, A_DOT), place(table, row, base, Z_DOT), place(table, row, base, R_DELTA)
        g_rows = carray(reals(tag, g), (n_rows, lanes))
        for number in range(first, stop):
            n0 = number * lanes
            take_rows(tag, slopes, first_column, n0, slope + first_column * row, n_rows - first_column)
            if exact:
                take_rows(tag, bends, first_column, n0, bend + first_column * row, n_rows - first_column)
            fill_rows(tag, phi, n_rows)
            fill_rows(tag, g, n_rows)
            for c in range(len(reached)):
                l = first_column + c  # noqa: E741  # the book's name of the second unit
                if not wanted[l]:
                    continue
                below = reached[c]
                g_rows[l] = 1
                copy_rows(tag, phi + l * row, slope + l * row, 1)
                for k in range(runs[run_of[l], STOP], n_rows):
                    if below[k]:
                        gather(tag, phi, table[IN_SRC], w, in_ptr[k], in_ptr[k + 1], tag[0], g + k * row)
                        multiply_rows(tag, phi + k * row, slope + k * row, g + k * row, 1)
                for k in range(l, n_rows):
                    if below[k] or k == l:
                        fill_rows(tag, b + k * row, 1)
                for e in range(len(heads)):
                    one, two = heads[e]
                    if (below[one] or one == l) and (below[two] or two == l):
                        multiply_add_rows(tag, b + one * row, _at(R, e, n0), g + two * row, b + one * row, 1)
                for r in range(table[N_RUNS] - 1, run_of[l] - 1, -1):
                    if runs[r, LEAF]:
                        continue
                    for j in range(max(runs[r, START], l), runs[r, STOP]):
                        if below[j] or j == l:
                            e = runs[r, ORDER] - runs[r, START] + j
                            gather(tag, b, table[OUT_DST], v, out_ptr[e], out_ptr[e + 1], tag[0], scratch)
                            multiply_add_rows(tag, b + j * row, slope + j * row, scratch, b + j * row, 1)
                            if exact:
                                multiply_add_rows(tag, b + j * row, bend + j * row, g + j * row, b + j * row, 1)
                put_row(tag, b + l * row, own, l, n0, n_samples)
                for k in range(l, n_rows):  # zeros for the next unit
                    if below[k] or k == l:
                        fill_rows(tag, phi + k * row, 1)
                        fill_rows(tag, g + k * row, 1)

    return watch(compiled(own_curvature))


columns = _make_columns(source_digest())
output_rows = _make_output_rows(source_digest())
own_curvature = _make_own_curvature(source_digest())


def _make_descendants(digest: str) -> Any:
    def descendants(table: Any, first_column: int, reached: Any) -> None:
        """reached[c, k] = 1 where a path leads from row first_column + c to row k, else 0."""
        len(digest)
        n_rows = table[N_ROWS]
        ptr = carray(pointer(table[IN_PTR]), n_rows + 1, np.int64)
        src = carray(pointer(table[IN_SRC]), ptr[n_rows], np.int32)
        for c in range(len(reached)):
            below = reached[c]
            below[:] = 0
            below[first_column + c] = 1
            for k in range(first_column + c + 1, n_rows):
                for e in range(ptr[k], ptr[k + 1]):
                    if below[src[e]]:
                        below[k] = 1
                        break
            below[first_column + c] = 0

    return watch(compiled(descendants))


descendants = _make_descendants(source_digest())


@dataclass(frozen=True)
class _Product:
    """A call of the assembly: for which column tile, what is called with what, tags of how many vectors, and about how much it costs."""

    columns: tuple[int, int]
    entry: Any
    arguments: tuple[Any, ...]
    vectors: int
    cost: int


class NumbaSecondOrderSweeps:
    """What fills the tiles of the core's Hessians, and adds them up (see `graphbp.second_order.tiles`).

    The protocol's `w` is the value of every slot; this backend's kernels take θ, which is therefore given here.
    """

    def __init__(self, executable: NumbaExecutable, theta: Array) -> None:
        self.executable, self.theta = executable, theta
        self.schedule: Schedule = executable.schedule
        self.dtype = executable.dtype
        self.weights = executable.all_weights(theta)
        self.run_of = np.searchsorted(executable.plan.runs[:, START], np.arange(self.schedule.n_rows), side="right") - 1

    @cached_property
    def meets(self) -> Array:
        """(n_rows, n_rows): B_jl may be other than 0; no rows where that would take more memory than the Hessian."""
        plan = self.executable.hessian_plan
        return plan.meets if self.schedule.n_rows <= plan.n_parameters else np.zeros((0, 0), np.bool_)

    @cached_property
    def paths(self) -> Array:
        """(n_rows, n_rows): paths[k, j], z_k depends on a_j and an output on z_k, so that Φ_kj is wanted; no rows as above."""
        if not len(self.meets):
            return self.meets
        reach = self.executable.hessian_plan.reach
        return (reach | np.eye(len(reach), dtype=bool)) & self.meets.diagonal()[:, None]

    # -- sweeps --------------------------------------------------------------------------------------------------------------

    def sample_tile(self, w: Array, x: Array, t: Array, s: Array | None, exact: bool) -> SampleTile:
        """z, h', and for the exact Hessian δ and h''β, of some samples."""
        run, n_rows, n = self.executable, self.schedule.n_rows, x.shape[1]
        X, T = np.ascontiguousarray(x.T), np.ascontiguousarray(t.T)
        a, z, slope, delta, bend = run.state(self.weights, X, T, s, True, True, True, exact, exact)
        z[n_rows, :n] = 1
        curvature = []
        for head in run.plan.output_heads:
            rows = self.schedule.output_rows[head.positions]
            value = (head.output_hessian if exact else head.gauss_newton)(a[rows, :n], z[rows, :n], t[head.positions])
            curvature.append(OutputCurvature(rows, value if s is None else value * s))
        heads, R = self._head_lines(curvature, z.shape[1])
        padded = {"z": z, "slope": slope, "delta": delta, "bend": bend, "heads": heads, "R": R}
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

    def column_tile(self, w: Array, tile: SampleTile, start: int, stop: int) -> ColumnTile:
        """Perturb the rows start..stop."""
        B, phi = self._columns(tile, start, stop, np.empty(self._column_bytes(tile, start, stop), np.uint8))
        if len(self.meets):
            B[~self.meets[start:, start:stop]] = 0
            phi[~self.paths[start : start + len(phi), start:stop]] = 0
        return ColumnTile(start, stop, B[:, :, : tile.n_samples], phi[:, :, : tile.n_samples] if tile.exact else None)

    def _column_bytes(self, tile: SampleTile, start: int, stop: int) -> int:
        """Of B and Φ."""
        values = (self.schedule.n_rows - start) * (stop - start) * int(tile.cache["z"].shape[1])
        return (2 if tile.exact else 1) * values * self.dtype.itemsize + VECTOR_BYTES

    def _columns(self, tile: SampleTile, start: int, stop: int, memory: Array) -> tuple[Array, Array]:
        """B and Φ of a column tile, zeros past the last sample; they live in `memory`."""
        run = self.executable
        width = stop - start
        lines = (self.schedule.n_rows - start) * width
        both = aligned_array((2 * lines if tile.exact else lines, tile.cache["z"].shape[1]), self.dtype, memory)
        B, phi = (part.reshape(-1, width, both.shape[1]) for part in (both[:lines], both[lines:]))
        vectors = run.column_vectors(tile.n_samples)
        tiles = run.n_tiles(tile.n_samples, vectors)
        groups = min(width, max(1, 16 // tiles))  # few samples: the columns too are shared out

        def task(number: int) -> None:
            part, group = divmod(number, groups)
            first, last = start + width * group // groups, start + width * (group + 1) // groups
            with run.state_buffer(vectors) as buffer:
                tag, table = run.tags[vectors], run.plan.table
                given = (*self._state(tile), self.run_of, self.paths, self.meets, B, phi, buffer)
                columns(tag, table, *self.weights[:2], *given, start, first, last, part, part + 1)

        run_tasks(task, tiles * groups, blas=False)
        return B, phi

    def _state(self, tile: SampleTile) -> tuple[Any, ...]:
        """What the sweeps of a sample tile start from: h', h''β, R, its rows, and n."""
        return (*(tile.cache[name] for name in ("slope", "bend", "R", "heads")), tile.n_samples)

    def output_rows(self, w: Array, tile: SampleTile) -> OutputRows:
        """G of the outputs, zeros past the last sample, and ΛG."""
        run, plan = self.executable, self.executable.plan
        n = tile.n_samples
        g = aligned_array((self.schedule.n_rows, self.schedule.n_outputs, tile.cache["z"].shape[1]), self.dtype)
        g[: self.schedule.n_inputs] = 0
        run.on_tiles(n, output_rows, self.weights[1], tile.cache["slope"], n, plan.output_stop, g, vectors=run.column_vectors(n))
        g[:, :, n:] = 0
        weighted = aligned_array(g.shape, self.dtype)
        weighted[:, :, n:] = 0
        weigh_rows(self.schedule, g[:, :, :n], tile, weighted[:, :, :n])
        return OutputRows(g, weighted)

    def own_curvature(self, w: Array, tile: SampleTile, wanted: Array) -> Array:
        """B_jj of the rows that are `wanted`, zeros elsewhere: (n_rows, n)."""
        run, n_rows = self.executable, self.schedule.n_rows
        own = aligned_array((n_rows, tile.cache["z"].shape[1]), self.dtype)
        own[:] = 0
        vectors = run.column_vectors(tile.n_samples)
        tiles = run.n_tiles(tile.n_samples, vectors)
        step = max(1, REACH_BYTES // n_rows)
        parts = min(tiles, 64)
        for start in range(self.schedule.n_inputs, n_rows, step):
            stop = min(start + step, n_rows)
            reached = np.empty((stop - start, n_rows), np.uint8)
            groups = min(stop - start, max(1, 16 // parts))

            def task(number: int, start: int = start, reached: Array = reached, groups: int = groups) -> None:
                part, group = divmod(number, groups)
                first, last = len(reached) * group // groups, len(reached) * (group + 1) // groups
                with run.state_buffer(vectors) as buffer:
                    tag, table = run.tags[vectors], run.plan.table
                    given = (*self._state(tile), self.run_of, wanted, reached[first:last], own, buffer, tile.exact, start + first)
                    own_curvature(tag, table, *self.weights[:2], *given, tiles * part // parts, tiles * (part + 1) // parts)

            descendants(run.plan.table, start, reached)
            run_tasks(task, parts * groups, blas=False)
        return own[:, : tile.n_samples]

    # -- assembly ------------------------------------------------------------------------------------------------------------

    def add_columns(
        self, plan: HessianPlan, w: Array, tile: SampleTile, rows: OutputRows | None, columns: list[tuple[int, int]], half: Array
    ) -> None:
        """half += everything that the perturbed units of all column tiles contribute together with units at or after them.

        A task is a column tile, whose B and Φ it sweeps; where B comes from the outputs' rows, one product of it.  Largest first.
        """
        parts = [self._products(plan, start, stop) for start, stop in columns]
        if rows is not None:
            parts = [[product] for products in parts for product in products]
        parts.sort(key=lambda products: -sum(product.cost for product in products))
        n_padded = tile.cache["z"].shape[1]
        size = scratch_bytes(n_padded, len(plan.stack_row), self.dtype.itemsize)
        none = np.empty((0, 0, n_padded), self.dtype)
        z, delta = tile.cache["z"], tile.cache["delta"]
        g, weighted = (none, none) if rows is None else (rows.g, rows.weighted)

        def task(number: int) -> None:
            start, stop = parts[number][0].columns
            bytes_of_columns = 0 if rows is not None else self._column_bytes(tile, start, stop)
            with (
                self.executable.scratch("columns", bytes_of_columns) as memory,
                self.executable.scratch("assembly", size) as buffer,
            ):
                B, phi = (none, none) if rows is not None else self._columns(tile, start, stop, memory)
                for product in parts[number]:
                    given = (start, z, delta, B, phi, g, weighted, self.paths, self.meets)
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
                arguments = (p.start, p.sources, p.index, a, b, q.start, q.sources, q.index)
                found.append(_Product((start, stop), add_group, arguments, TILE_VECTORS, cost))
        if len(plan.single_rows) and plan.single_rows[-1] >= start:
            units = plan.units
            first, last = (int(u) for u in np.searchsorted(units.row, [start, stop]))
            later = len(plan.stack_row) - int(plan.stack_start[np.searchsorted(plan.single_rows, start)])
            listed = (units.row, units.start, units.source, units.index, first, last)
            stack = (plan.single_rows, plan.stack_start, plan.stack_row, plan.stack_source, plan.stack_index)
            cost = int(units.start[last] - units.start[first]) * later
            found.append(_Product((start, stop), add_singles, (*listed, *stack), 1, cost))
        return found

    def finish(self, half: Array) -> Array:
        """L + Lᵀ, in place."""
        tag, n = (self.dtype.type(0),), len(half)
        run_tasks(lambda k: mirror(tag, half, k * MIRROR, min((k + 1) * MIRROR, n)), -(-n // MIRROR), blas=False)
        return half
