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

from graphbp.extend import ColumnTile, HessianPlan, OutputCurvature, SampleTile, Schedule, run_tasks
from graphbp_numba.functions import VECTOR_BYTES
from graphbp_numba.jit import carray, compiled, kernel, source_digest, watch
from graphbp_numba.kernels import aligned, tile_weights
from graphbp_numba.plan import (
    IN_PTR,
    IN_SRC,
    LEAF,
    N_INPUTS,
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
from graphbp_numba.quantities import begin_tile, reverse_tile, tile_deltas
from graphbp_numba.rows import fill_rows, gather, item_size, multiply_add_rows, multiply_rows, pointer, reals
from graphbp_numba.singles import add_singles
from graphbp_numba.states import (
    A_DOT,
    BEND,
    BETA,
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
    slopes,
)

if TYPE_CHECKING:
    from graphbp_numba.executable import NumbaExecutable

__all__ = ["NumbaSecondOrderSweeps", "columns"]

Array = npt.NDArray[Any]


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
                if exact:
                    for j in range(start, n_rows):
                        for lane in range(count):
                            phi_out[j - start, c - start, n0 + lane] = phi_rows[j, lane]

    return watch(compiled(columns))


columns = _make_columns(source_digest())


class NumbaSecondOrderSweeps:
    """What fills the tiles of the core's Hessians (see `graphbp.second_order.tiles`).

    The protocol's `w` is the value of every slot; this backend's kernels take θ, which is therefore given here.
    """

    def __init__(self, executable: NumbaExecutable, theta: Array) -> None:
        self.executable, self.theta = executable, theta
        self.schedule: Schedule = executable.schedule
        self.dtype = executable.dtype
        self.weights = executable.all_weights(theta)

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
        return SampleTile(z, slope, delta, bend, tuple(curvature), exact, {"X": X, "T": T, "s": s})

    def add_singles(self, plan: HessianPlan, tile: SampleTile, column: ColumnTile, half: Array) -> None:
        """Pairs with a single unit, in registers."""
        add_singles(plan, tile, column, half)

    def column_tile(self, w: Array, tile: SampleTile, start: int, stop: int) -> ColumnTile:
        """Perturb the rows start..stop."""
        run, schedule = self.executable, self.schedule
        shape = (schedule.n_rows - start, stop - start, tile.n_samples)
        B, phi = np.empty(shape, self.dtype), np.empty(shape if tile.exact else (0, 0, 0), self.dtype)
        X, T, s = tile.cache["X"], tile.cache["T"], tile.cache["s"]
        s = run.none if s is None else np.ascontiguousarray(s)
        run_of = np.searchsorted(run.plan.runs[:, START], np.arange(schedule.n_rows), side="right") - 1
        vectors = run.state_vectors(len(X))
        tiles = run.n_tiles(len(X), vectors)
        groups = min(stop - start, max(1, 16 // tiles))  # few samples: the columns too are shared out
        width = stop - start

        def task(number: int) -> None:
            part, group = divmod(number, groups)
            with run.state_buffer(vectors) as buffer:
                columns(
                    run.tags[vectors],
                    run.plan.table,
                    *self.weights,
                    X,
                    T,
                    s,
                    run_of,
                    B,
                    phi,
                    buffer,
                    tile.exact,
                    start,
                    start + width * group // groups,
                    start + width * (group + 1) // groups,
                    part,
                    part + 1,
                )

        run_tasks(task, tiles * groups, blas=False)
        return ColumnTile(start, stop, B, phi if tile.exact else None)
