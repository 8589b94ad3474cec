r"""The sweeps behind the Hessians that the core assembles: Φ and B of the closed form, a column at a time in a tile's cache.

    forward   G_kl = 1 at k = l, else Σ_r w_kr Φ_rl,   Φ_kl = h'_k G_kl
    reverse   B_jl = h''_j β_j G_jl + h'_j Σ_s w_sj B_sl + Σ_c R_jc G_cl

A column's two sweeps run on rows of one tile of samples and are then copied to the arrays of `graphbp.extend.ColumnTile`.  The
tile's own state (z, h', δ, h''β) is swept anew for every column tile: one sweep among many, and nothing but X and T is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import ColumnTile, HessianPlan, OutputCurvature, OutputRows, SampleTile, Schedule, run_tasks, weigh_rows
from graphbp_numba.assembly import add_group, add_singles, mirror
from graphbp_numba.functions import VECTOR_BYTES
from graphbp_numba.jit import carray, compiled, kernel, source_digest, watch
from graphbp_numba.kernels import aligned, tile_weights
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
    OUT_ROW,
    RUN_FIELDS,
    RUNS,
    START,
    STOP,
)
from graphbp_numba.products import gemm_address, padded_samples
from graphbp_numba.quantities import begin_tile, reverse_tile, tile_deltas
from graphbp_numba.rows import copy_rows, fill_rows, gather, item_size, multiply_add_rows, multiply_rows, pointer, reals
from graphbp_numba.states import (
    A_DOT,
    BEND,
    BETA,
    DELTA,
    HEAD,
    KEPT,
    OTHER,
    R_DELTA,
    SCRATCH,
    SLOPE_ROWS,
    TARGET,
    Z_DOT,
    A,
    Z,
    head_curvature,
    inject,
    place,
    reverse_state,
    slopes,
)

if TYPE_CHECKING:
    from graphbp_numba.executable import NumbaExecutable

__all__ = ["NumbaSecondOrderSweeps", "columns", "output_rows", "own_curvature"]

Array = npt.NDArray[Any]

REACH_BYTES = 1 << 24
"""For so many units at a time that this holds their descendants, one byte a row."""

_NO_PATHS = np.zeros((0, 0), np.bool_)


@kernel
def _sweep_forward(tag: Any, table: Any, w: int, g: int, phi: int, slope: int, row_l: int, run_l: int) -> None:
    """G and Φ of one column, given zeros up to the end of its run."""
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
            gather(tag, phi, table[IN_SRC], w, ptr[j], ptr[j + 1], tag[0], g + j * row)
        multiply_rows(tag, phi + start * row, slope + start * row, g + start * row, end - start)


@kernel
def _sweep_reverse(
    tag: Any, table: Any, w: int, g: int, b: int, slope: int, bend: int, scratch: int, from_row: int, from_run: int, exact: bool
) -> None:
    """B of one column, rows from `from_row` on; b holds the heads' terms, 0 elsewhere."""
    row = len(tag) * VECTOR_BYTES
    runs = carray(pointer(table[RUNS]), (table[N_RUNS], RUN_FIELDS), np.int64)
    ptr = carray(pointer(table[OUT_PTR]), table[N_ROWS] + 1, np.int64)
    for r in range(table[N_RUNS] - 1, from_run - 1, -1):
        if runs[r, LEAF]:
            continue
        start, end, order = max(runs[r, START], from_row), runs[r, STOP], runs[r, ORDER] - runs[r, START]
        at = start * row
        for j in range(start, end):
            e = order + j
            gather(tag, b, table[OUT_DST], w, ptr[e], ptr[e + 1], tag[0], scratch)
            multiply_add_rows(tag, b + j * row, slope + j * row, scratch, b + j * row, 1)
        if exact:
            multiply_add_rows(tag, b + at, bend + at, g + at, b + at, end - start)


def _make_columns(digest: str) -> Any:
    def columns(
        tag: Any,
        table: Any,
        w_in: Any,
        w_out: Any,
        bias: Any,
        X: Any,
        T: Any,
        sample_weight: Any,
        run_of: Any,
        B: Any,
        phi_out: Any,
        buffer: Any,
        exact: bool,
        start: int,
        first_column: int,
        stop_column: int,
        first: int,
        stop: int,
    ) -> None:
        """B[j − start, l − start, n], and Φ likewise where `exact`, for columns l, and the tiles first..stop."""
        len(digest)
        lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
        row = len(tag) * VECTOR_BYTES
        base = aligned(buffer)
        n_rows = table[N_ROWS]
        runs = carray(pointer(table[RUNS]), (table[N_RUNS], RUN_FIELDS), np.int64)
        z, slope, keep = place(table, row, base, Z), place(table, row, base, SLOPE_ROWS), place(table, row, base, KEPT)
        g, phi, b = place(table, row, base, A_DOT), place(table, row, base, Z_DOT), place(table, row, base, R_DELTA)
        scratch, head, bend = place(table, row, base, SCRATCH), place(table, row, base, HEAD), place(table, row, base, BEND)
        other, targets = place(table, row, base, OTHER), place(table, row, base, TARGET)
        weights = carray(reals(tag, scratch + 4 * row), lanes)
        b_rows, phi_rows = carray(reals(tag, b), (n_rows, lanes)), carray(reals(tag, phi), (n_rows, lanes))
        last = (X.shape[0] - 1) // lanes
        for number in range(first, stop):
            n0 = number * lanes
            count = min(lanes, X.shape[0] - n0)
            begin_tile(tag, table, w_in, bias, X, base, n0)
            tile_deltas(tag, table, T, sample_weight, base, n0, X.shape[0], False)
            if exact:
                reverse_tile(tag, table, w_out, base, table[N_RUNS])
                slopes(tag, table, place(table, row, base, A), bend, 2)
                fill_rows(tag, bend, table[N_INPUTS])
                multiply_rows(tag, bend, bend, place(table, row, base, BETA), n_rows)
            tile_weights(weights, sample_weight, n0, X.shape[0])
            fill_rows(tag, g, n_rows)
            fill_rows(tag, phi, n_rows)
            for c in range(first_column, stop_column):
                r = run_of[c]
                end = runs[r, STOP]
                fill_rows(tag, g + start * row, end - start)
                fill_rows(tag, phi + start * row, end - start)
                _sweep_forward(tag, table, w_in.ctypes.data, g, phi, slope, c, r)
                head_curvature(tag, table, z, keep, targets, weights, g, head, other, scratch, exact)
                inject(tag, table, b, head)
                _sweep_reverse(tag, table, w_out.ctypes.data, g, b, slope, bend, scratch, start, run_of[start], exact)
                for j in range(start, n_rows):
                    for lane in range(count):
                        B[j - start, c - start, n0 + lane] = b_rows[j, lane]
                    if number == last:
                        B[j - start, c - start, X.shape[0] :] = 0
                if exact:
                    for j in range(start, n_rows):
                        for lane in range(count):
                            phi_out[j - start, c - start, n0 + lane] = phi_rows[j, lane]
                        if number == last:
                            phi_out[j - start, c - start, X.shape[0] :] = 0

    return watch(compiled(columns))


def _make_output_rows(digest: str) -> Any:
    def output_rows(
        tag: Any, table: Any, w_in: Any, w_out: Any, bias: Any, X: Any, last_run: Any, g: Any, buffer: Any, first: int, stop: int
    ) -> None:
        """g[j, c, n] = ∂a_c/∂a_j for the outputs c: one reverse sweep each, from its run down; zeros past the last sample."""
        len(digest)
        lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
        row = len(tag) * VECTOR_BYTES
        base = aligned(buffer)
        n = X.shape[0]
        delta, slope = place(table, row, base, DELTA), place(table, row, base, SLOPE_ROWS)
        head, beta = place(table, row, base, HEAD), place(table, row, base, BETA)
        heads = carray(reals(tag, head), (table[N_OUTPUTS], lanes))
        rows = carray(reals(tag, delta), (table[N_ROWS], lanes))
        for number in range(first, stop):
            n0 = number * lanes
            begin_tile(tag, table, w_in, bias, X, base, n0)
            for c in range(table[N_OUTPUTS]):
                heads[:] = 0
                heads[c] = 1
                inject(tag, table, delta, head)
                reverse_state(tag, table, w_out.ctypes.data, slope, delta, beta, last_run[c])
                for j in range(table[N_INPUTS], table[N_ROWS]):
                    for lane in range(min(lanes, n - n0)):
                        g[j, c, n0 + lane] = rows[j, lane]
                    if n0 + lanes >= n:
                        g[j, c, n:] = 0

    return watch(compiled(output_rows))


def _make_own_curvature(digest: str) -> Any:
    def own_curvature(
        tag: Any,
        table: Any,
        w_in: Any,
        w_out: Any,
        bias: Any,
        X: Any,
        T: Any,
        sample_weight: Any,
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
        out_row = carray(pointer(table[OUT_ROW]), table[N_OUTPUTS], np.int64)
        z, slope, keep = place(table, row, base, Z), place(table, row, base, SLOPE_ROWS), place(table, row, base, KEPT)
        g, phi, b = place(table, row, base, A_DOT), place(table, row, base, Z_DOT), place(table, row, base, R_DELTA)
        scratch, head, bend = place(table, row, base, SCRATCH), place(table, row, base, HEAD), place(table, row, base, BEND)
        other, targets = place(table, row, base, OTHER), place(table, row, base, TARGET)
        weights = carray(reals(tag, scratch + 4 * row), lanes)
        g_rows = carray(reals(tag, g), (n_rows, lanes))
        found = carray(reals(tag, b), (n_rows, lanes))
        for number in range(first, stop):
            n0 = number * lanes
            begin_tile(tag, table, w_in, bias, X, base, n0)
            tile_deltas(tag, table, T, sample_weight, base, n0, X.shape[0], False)
            if exact:
                reverse_tile(tag, table, w_out, base, table[N_RUNS])
                slopes(tag, table, place(table, row, base, A), bend, 2)
                multiply_rows(tag, bend, bend, place(table, row, base, BETA), n_rows)
            tile_weights(weights, sample_weight, n0, X.shape[0])
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
                head_curvature(tag, table, z, keep, targets, weights, g, head, other, scratch, exact)
                for k in range(l, n_rows):
                    if below[k] or k == l:
                        fill_rows(tag, b + k * row, 1)
                for k in range(table[N_OUTPUTS]):
                    if below[out_row[k]] or out_row[k] == l:
                        copy_rows(tag, b + out_row[k] * row, head + k * row, 1)
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
                for lane in range(min(lanes, X.shape[0] - n0)):
                    own[l, n0 + lane] = found[l, lane]
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


class NumbaSecondOrderSweeps:
    """What fills the tiles of the core's Hessians, and adds them up (see `graphbp.second_order.tiles`).

    The protocol's `w` is the value of every slot; this backend's kernels take θ, which is therefore given here.
    """

    def __init__(self, executable: NumbaExecutable, theta: Array) -> None:
        self.executable, self.theta = executable, theta
        self.schedule: Schedule = executable.schedule
        self.dtype = executable.dtype
        self.weights = executable.all_weights(theta)
        self.gemm_at = gemm_address(self.dtype.name)  # SciPy's BLAS is loaded before the tasks begin, so its threads are held too
        self.run_of = np.searchsorted(executable.plan.runs[:, START], np.arange(self.schedule.n_rows), side="right") - 1

    # -- sweeps --------------------------------------------------------------------------------------------------------------

    def sample_tile(self, w: Array, x: Array, t: Array, s: Array | None, exact: bool) -> SampleTile:
        """z, h', and for the exact Hessian δ and h''β, of some samples."""
        run, n_rows, n = self.executable, self.schedule.n_rows, x.shape[1]
        X, T = np.ascontiguousarray(x.T), np.ascontiguousarray(t.T)
        a, slope = np.empty((n_rows, n), self.dtype), np.empty((n_rows, n), self.dtype)
        z = np.ones((n_rows + 1, n), self.dtype)
        delta, bend = (np.empty((n_rows, n), self.dtype), np.empty((n_rows, n), self.dtype)) if exact else (None, None)
        run.state(self.weights, X, T, s, a, z[:n_rows], slope, delta, bend)
        curvature = []
        for head in run.plan.output_heads:
            rows = self.schedule.output_rows[head.positions]
            value = (head.output_hessian if exact else head.gauss_newton)(a[rows], z[rows], t[head.positions])
            curvature.append(OutputCurvature(rows, value if s is None else value * s))
        s = run.none if s is None else np.ascontiguousarray(s)
        padded = {"z": self._padded(z), "delta": self._padded(z[:0] if delta is None else delta)}
        return SampleTile(z, slope, delta, bend, tuple(curvature), exact, {"X": X, "T": T, "s": s, **padded})

    def column_tile(self, w: Array, tile: SampleTile, start: int, stop: int) -> ColumnTile:
        """Perturb the rows start..stop."""
        B, phi = self._columns(tile, start, stop)
        return ColumnTile(start, stop, B[:, :, : tile.n_samples], phi[:, :, : tile.n_samples] if tile.exact else None)

    def _columns(self, tile: SampleTile, start: int, stop: int) -> tuple[Array, Array]:
        """B and Φ of a column tile, zeros past the last sample."""
        run = self.executable
        width = stop - start
        shape = (self.schedule.n_rows - start, width, tile.cache["z"].shape[1])
        B, phi = (aligned_array(shape if wanted else (0, *shape[1:]), self.dtype) for wanted in (True, tile.exact))
        X, T, s = tile.cache["X"], tile.cache["T"], tile.cache["s"]
        vectors = run.state_vectors(len(X))
        tiles = run.n_tiles(len(X), vectors)
        groups = min(width, max(1, 16 // tiles))  # few samples: the columns too are shared out

        def task(number: int) -> None:
            part, group = divmod(number, groups)
            first, last = start + width * group // groups, start + width * (group + 1) // groups
            with run.state_buffer(vectors) as buffer:
                tag, table = run.tags[vectors], run.plan.table
                given = (X, T, s, self.run_of, B, phi, buffer, tile.exact)
                columns(tag, table, *self.weights, *given, start, first, last, part, part + 1)

        run_tasks(task, tiles * groups, blas=False)
        return B, phi

    def output_rows(self, w: Array, tile: SampleTile) -> OutputRows:
        """G of the outputs, zeros past the last sample, and ΛG."""
        run, plan = self.executable, self.executable.plan
        X = tile.cache["X"]
        g = aligned_array((self.schedule.n_rows, self.schedule.n_outputs, tile.cache["z"].shape[1]), self.dtype)
        g[: self.schedule.n_inputs] = 0
        run.on_tiles(len(X), output_rows, *self.weights, X, plan.output_stop, g)
        weighted = aligned_array(g.shape, self.dtype)
        n = tile.n_samples
        weighted[:, :, n:] = 0
        weigh_rows(self.schedule, g[:, :, :n], tile, weighted[:, :, :n])
        return OutputRows(g, weighted)

    def own_curvature(self, w: Array, tile: SampleTile, wanted: Array) -> Array:
        """B_jj of the rows that are `wanted`, zeros elsewhere: (n_rows, n)."""
        run, n_rows = self.executable, self.schedule.n_rows
        own = np.zeros((n_rows, tile.n_samples), self.dtype)
        X, T, s = tile.cache["X"], tile.cache["T"], tile.cache["s"]
        vectors = run.state_vectors(len(X))
        tiles = run.n_tiles(len(X), vectors)
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
                    given = (X, T, s, self.run_of, wanted, reached[first:last], own, buffer, tile.exact, start + first)
                    own_curvature(tag, table, *self.weights, *given, tiles * part // parts, tiles * (part + 1) // parts)

            descendants(run.plan.table, start, reached)
            run_tasks(task, parts * groups, blas=False)
        return own

    # -- assembly ------------------------------------------------------------------------------------------------------------

    def add_columns(
        self, plan: HessianPlan, w: Array, tile: SampleTile, rows: OutputRows | None, start: int, stop: int, half: Array
    ) -> None:
        """half += everything that the perturbed units start..stop contribute together with units at or after them."""
        n_padded = tile.cache["z"].shape[1]
        none = np.empty((0, 0, n_padded), self.dtype)
        B, phi = (none, none) if rows is not None else self._columns(tile, start, stop)
        g, weighted = (none, none) if rows is None else (rows.g, rows.weighted)
        tag = (self.dtype.type(0),)
        z, delta = tile.cache["z"], tile.cache["delta"]
        with self.executable.assembly_buffer() as buffer:
            for group in plan.groups:
                a, b = max(group.start, start), min(group.stop, stop)
                if a >= b:
                    continue
                for other in plan.groups_of_several:
                    if other.start >= group.start:
                        reach = plan.reach if tile.exact and other is not group else _NO_PATHS
                        p, q = (group.start, group.sources, group.index), (other.start, other.sources, other.index)
                        add_group(tag, self.gemm_at, start, z, delta, B, phi, g, weighted, reach, *p, a, b, *q, half, buffer)
            if len(plan.single_rows) and plan.single_rows[-1] >= start:
                units = plan.units
                first, last = (int(u) for u in np.searchsorted(units.row, [start, stop]))
                listed = (units.row, units.start, units.source, units.index, first, last)
                stack = (plan.single_rows, plan.stack_start, plan.stack_row, plan.stack_source, plan.stack_index)
                add_singles(tag, start, z, delta, B, phi, g, weighted, *listed, *stack, half, buffer)

    def finish(self, half: Array) -> Array:
        """L + Lᵀ, in place."""
        block = 64
        run_tasks(lambda k: mirror(half, k * block, min((k + 1) * block, len(half)), block), -(-len(half) // block), blas=False)
        return half

    def _padded(self, values: Array) -> Array:
        """A copy with whole vectors of samples: zeros past the last one."""
        rows, n = values.shape
        out = aligned_array((rows, padded_samples(n, values.itemsize)), self.dtype)
        out[:, :n] = values
        out[:, n:] = 0
        return out


def aligned_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array, not filled, that begins where a vector may stand."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + VECTOR_BYTES, np.uint8)
    first = -memory.ctypes.data % VECTOR_BYTES
    return memory[first : first + size].view(dtype).reshape(shape)
