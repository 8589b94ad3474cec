"""Driving the tiles: the loops over samples and columns behind every second-order quantity that is assembled by the core.

A backend's executable calls these with its `SecondOrderSweeps`; all arguments have been checked, `w` is the value of every slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from graphbp.second_order.assembly import HessianAccumulator
from graphbp.second_order.plan import MAX_COLUMNS, HessianPlan
from graphbp.second_order.rows import OutputRows, output_rows, worth_it
from graphbp.second_order.stacked import add_stacked, pays
from graphbp.second_order.tiles import ColumnCurvature, OwnAssembly, SampleTile, SecondOrderSweeps
from graphbp.threads import run_tasks, single_threaded_blas

__all__ = ["assemble_diagonal", "assemble_hessian", "assemble_unit_blocks", "sample_tiles"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Columns = list[tuple[int, int]]
_A = TypeVar("_A")
_B = TypeVar("_B")

TILE_BYTES = 1 << 26
"""Bytes of one array of a column tile."""

OWN_TILE_BYTES = 1 << 24
"""The same where a backend assembles: its threads keep their tiles, and third-level caches hold some."""

MAX_SAMPLES = 1024
"""Samples of a tile, at most: enough for matrix products to run at full speed."""

MIN_COLUMNS = 8
"""A tile takes fewer samples rather than fewer columns than this."""

FINE_SAMPLES, FINE_TILES = 512, 2
"""Samples of a tile where most weights are single units', at most, and how many such tiles go into L at once."""

CACHED_BYTES, LEVEL_BYTES = 1 << 21, 170_000
"""Of an array of a column tile that is read once and dropped: as much as caches hold, and more where each of many levels must have
enough work to outweigh the calls that it takes (measured)."""


DROPPED_TILES = 8
"""Sample tiles of the diagonal that are swept side by side."""


def sample_tiles(plan: HessianPlan, n_samples: int, itemsize: int, dropped: bool = False, fine: bool = False) -> Iterator[slice]:
    """Slices of samples of nearly one size, which depends only on the network and N; smaller where column tiles are `dropped`."""
    row_bytes = itemsize * max(1, plan.schedule.n_rows)
    most = TILE_BYTES // (row_bytes * MIN_COLUMNS)
    if fine:
        most = min(most, FINE_SAMPLES)
    if dropped:
        most = min(most, (CACHED_BYTES + LEVEL_BYTES * len(plan.schedule.levels)) // (row_bytes * MAX_COLUMNS))
    count = -(-n_samples // max(32, min(MAX_SAMPLES, most)))
    for k in range(count):
        yield slice(n_samples * k // count, n_samples * (k + 1) // count)


def _tiles(
    sweeps: SecondOrderSweeps, plan: HessianPlan, w: Array, X: Array, T: Array, s: Array | None, exact: bool, **size: bool
) -> Iterator[SampleTile]:
    for part in sample_tiles(plan, len(X), X.itemsize, **({} if isinstance(sweeps, OwnAssembly) else size)):
        with single_threaded_blas(), np.errstate(all="ignore"):
            tile = sweeps.sample_tile(w, X[part].T, T[part].T, None if s is None else s[part], exact)
        yield tile


def assemble_hessian(
    sweeps: SecondOrderSweeps, plan: HessianPlan, w: Array, X: Array, T: Array, s: Array | None, exact: bool
) -> Array:
    """The exact Hessian, or (`exact` false) the outer-product one: (W, W), symmetric to the last bit.

    Column tiles run side by side on threads: they write different entries of L (unless parameters are tied).
    """
    own = sweeps if isinstance(sweeps, OwnAssembly) else None
    total = HessianAccumulator(plan, sweeps.dtype)
    by_rows = not exact and worth_it(plan.schedule)
    stacked = own is None and by_rows and pays(plan)
    fine = own is None and not stacked and 2 * len(plan.stack_row) > plan.n_parameters
    tiles = _tiles(sweeps, plan, w, X, T, s, exact, fine=fine)
    while some := list(islice(tiles, FINE_TILES if fine else 1)):
        room = (TILE_BYTES,) if own is None else (OWN_TILE_BYTES, MIN_COLUMNS)
        columns = plan.columns(max(tile.n_samples for tile in some), X.itemsize, *room)
        rows: list[OutputRows | None] = [None] * len(some)
        if by_rows:
            with single_threaded_blas(), np.errstate(all="ignore"):
                rows = [output_rows(plan.schedule, w, tile) if own is None else own.output_rows(w, tile) for tile in some]
        if stacked:
            with np.errstate(all="ignore"):  # ∞ is a result like others
                for tile, row in zip(some, rows, strict=True):
                    assert row is not None  # for mypy: by_rows
                    add_stacked(plan, tile, row, total.half)
            continue
        if own is not None:
            for tile, row in zip(some, rows, strict=True):
                own.add_columns(plan, w, tile, row, columns, total.half)
            continue

        def task(
            number: int, some: list[SampleTile] = some, columns: Columns = columns, rows: list[OutputRows | None] = rows
        ) -> None:
            start, stop = columns[number]
            pairs = zip(some, rows, strict=True)
            parts = (
                (tile, sweeps.column_tile(w, tile, start, stop) if row is None else row.column_tile(start, stop))
                for tile, row in pairs
            )
            total.add(start, stop, parts)

        if plan.tied:
            with single_threaded_blas(), np.errstate(all="ignore"):
                for number in range(len(columns)):
                    task(number)
        else:
            run_tasks(task, len(columns))
    return total.finish() if own is None else own.finish(total.half)


def _own_curvature(sweeps: SecondOrderSweeps, plan: HessianPlan, w: Array, tiles: list[SampleTile]) -> list[Array]:
    """B_jj of every unit with a free parameter, (n_rows, n), on each tile."""
    n_rows = plan.schedule.n_rows
    if isinstance(sweeps, OwnAssembly):
        wanted = np.zeros(n_rows, bool)
        for group in plan.groups:
            wanted[group.start : group.stop] = True
        return [sweeps.own_curvature(w, tile, wanted) for tile in tiles]
    found = [np.zeros((n_rows, tile.n_samples), tile.z.dtype) for tile in tiles]
    columns = plan.columns(max(tile.n_samples for tile in tiles), tiles[0].z.itemsize, TILE_BYTES)

    def task(number: int) -> None:
        (start, stop), which = columns[number // len(tiles)], number % len(tiles)  # the longest columns first
        if isinstance(sweeps, ColumnCurvature):
            found[which][start:stop] = sweeps.column_curvature(w, tiles[which], start, stop)
        else:
            index = np.arange(stop - start)
            found[which][start:stop] = sweeps.column_tile(w, tiles[which], start, stop).B[index, index]

    run_tasks(task, len(columns) * len(tiles))
    return found


def assemble_diagonal(
    sweeps: SecondOrderSweeps, plan: HessianPlan, w: Array, X: Array, T: Array, s: Array | None, exact: bool
) -> tuple[Array, Indices]:
    """(diagonal (W,), tied): Σ_n z_i² B_jj, and the positions whose parameter fills several slots.

    The diagonal of a tied parameter also has the cross terms between its slots; those positions hold NaN.
    """
    out = np.zeros(plan.n_parameters, sweeps.dtype)
    own = isinstance(sweeps, OwnAssembly)
    parts = sample_tiles(plan, len(X), X.itemsize, dropped=not own)
    while some := list(islice(parts, 1 if own else DROPPED_TILES)):

        def sweep(part: slice) -> SampleTile:
            return sweeps.sample_tile(w, X[part].T, T[part].T, None if s is None else s[part], exact)

        tiles = _each(sweep, some)
        curvature = _own_curvature(sweeps, plan, w, tiles)
        for total in _each(partial(_diagonal_of, plan), list(zip(tiles, curvature, strict=True))):
            out += total
    out[plan.tied_positions] = np.nan
    return out, plan.tied_positions


def _diagonal_of(plan: HessianPlan, pair: tuple[SampleTile, Array]) -> Array:
    """Σ_n z_i² B_jj of one tile, (W,)."""
    tile, own = pair
    out = np.zeros(plan.n_parameters, own.dtype)
    squares = tile.z * tile.z
    for group in plan.groups_of_several:
        value = own[group.start : group.stop] @ squares[group.sources].T
        free = group.index >= 0
        out[group.index[free]] += value[free]
    for lo in range(0, len(plan.stack_row), _RUN):
        run = slice(lo, lo + _RUN)
        out[plan.stack_index[run]] += np.einsum("sn,sn->s", own[plan.stack_row[run]], squares[plan.stack_source[run]])
    return out


def _each(call: Callable[[_A], _B], arguments: list[_A]) -> list[_B]:
    """[call(argument), ...], side by side on threads."""
    found: dict[int, _B] = {}

    def task(number: int) -> None:
        found[number] = call(arguments[number])

    run_tasks(task, len(arguments))
    return [found[number] for number in range(len(arguments))]


def assemble_unit_blocks(
    sweeps: SecondOrderSweeps, plan: HessianPlan, w: Array, X: Array, T: Array, s: Array | None, exact: bool
) -> list[Array]:
    """For each group of the plan (units, sources, sources): Σ_n B_jj z zᵀ, symmetric to the last bit; ties are not followed."""
    out = [np.zeros((g.n_units, g.n_sources, g.n_sources), sweeps.dtype) for g in plan.groups]
    for tile in _tiles(sweeps, plan, w, X, T, s, exact, dropped=True):
        (own,) = _own_curvature(sweeps, plan, w, [tile])
        with single_threaded_blas(), np.errstate(all="ignore"):
            for group, block in zip(plan.groups, out, strict=True):
                z = tile.z[group.sources]
                for j in range(group.n_units):
                    half = (z * (own[group.start + j] * 0.5)) @ z.T
                    block[j] += half + half.T
    return out


_RUN = 1 << 12
"""Weights of single units taken at once."""
