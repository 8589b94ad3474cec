"""Driving the tiles: the loops over samples and columns behind every second-order quantity that is assembled by the core.

A backend's executable calls these with its `SecondOrderSweeps`, which have the weights; all arguments have been checked.
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
from graphbp.second_order.rows import worth_it
from graphbp.second_order.stacked import add_stacked, pays
from graphbp.second_order.tiles import OutputRows, OwnAssembly, OwnCurvature, SampleTile, SecondOrderSweeps
from graphbp.threads import run_tasks, single_threaded_blas

__all__ = ["assemble_diagonal", "assemble_hessian", "assemble_unit_blocks", "curvature_by_columns", "sample_tiles"]

Array = npt.NDArray[Any]
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

TIED_COLUMNS = 16
"""Tied parameters whose products are taken together."""


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


def _swept(
    sweeps: SecondOrderSweeps, parts: Iterator[slice], X: Array, T: Array, s: Array | None, exact: bool
) -> Iterator[SampleTile]:
    for part in parts:
        with single_threaded_blas(), np.errstate(all="ignore"):
            tile = sweeps.sample_tile(X[part].T, T[part].T, None if s is None else s[part].T, exact)
        yield tile


def assemble_hessian(sweeps: SecondOrderSweeps, plan: HessianPlan, X: Array, T: Array, s: Array | None, exact: bool) -> Array:
    """The exact Hessian, or (`exact` false) the outer-product one: (W, W), symmetric to the last bit."""
    by_rows = not exact and worth_it(plan.schedule)
    if isinstance(sweeps, OwnAssembly):
        return _by_backend(sweeps, plan, X, T, s, exact, by_rows)
    return _by_core(sweeps, plan, X, T, s, exact, by_rows)


def _output_rows(sweeps: SecondOrderSweeps, tile: SampleTile) -> OutputRows:
    with single_threaded_blas(), np.errstate(all="ignore"):
        return sweeps.output_rows(tile)


def _by_backend(sweeps: OwnAssembly, plan: HessianPlan, X: Array, T: Array, s: Array | None, exact: bool, by_rows: bool) -> Array:
    """The backend sweeps and adds up."""
    half = np.zeros((plan.n_parameters, plan.n_parameters), sweeps.dtype)
    for tile in _swept(sweeps, sample_tiles(plan, len(X), X.itemsize), X, T, s, exact):
        columns = plan.columns(tile.n_samples, X.itemsize, OWN_TILE_BYTES, MIN_COLUMNS)
        sweeps.add_columns(plan, tile, _output_rows(sweeps, tile) if by_rows else None, columns, half)
    return sweeps.finish(half)


def _by_core(
    sweeps: SecondOrderSweeps, plan: HessianPlan, X: Array, T: Array, s: Array | None, exact: bool, by_rows: bool
) -> Array:
    """The backend sweeps, the core adds up.  Column tiles run side by side: they write different entries of L (unless parameters are tied)."""
    total = HessianAccumulator(plan, sweeps.dtype)
    stacked = by_rows and pays(plan)
    fine = not stacked and 2 * len(plan.stack_row) > plan.n_parameters
    tiles = _swept(sweeps, sample_tiles(plan, len(X), X.itemsize, fine=fine), X, T, s, exact)
    while some := list(islice(tiles, FINE_TILES if fine else 1)):
        rows = [_output_rows(sweeps, tile) for tile in some] if by_rows else []
        if stacked:
            with np.errstate(all="ignore"):  # ∞ is a result like others
                for tile, row in zip(some, rows, strict=True):
                    add_stacked(plan, tile, row, total.half)
            continue
        columns = plan.columns(max(tile.n_samples for tile in some), X.itemsize, TILE_BYTES)

        def task(number: int, some: list[SampleTile] = some, columns: Columns = columns, rows: list[OutputRows] = rows) -> None:
            start, stop = columns[number]
            of_rows = (row.column_tile(start, stop) for row in rows)
            swept = (sweeps.column_tile(tile, start, stop) for tile in some)
            total.add(start, stop, zip(some, of_rows if rows else swept, strict=True))

        if plan.tied:
            with single_threaded_blas(), np.errstate(all="ignore"):
                for number in range(len(columns)):
                    task(number)
        else:
            run_tasks(task, len(columns))
    return total.finish()


def _own_curvature(sweeps: SecondOrderSweeps, plan: HessianPlan, tiles: list[SampleTile]) -> list[Array]:
    """B_jj of every unit with a free parameter, (n_rows, n), on each tile."""
    if isinstance(sweeps, OwnCurvature):
        wanted = np.zeros(plan.schedule.n_rows, bool)
        for group in plan.groups:
            wanted[group.start : group.stop] = True
        return sweeps.own_curvature(tiles, wanted)

    def diagonal(tile: SampleTile, start: int, stop: int) -> Array:
        index = np.arange(stop - start)
        return sweeps.column_tile(tile, start, stop).B[index, index]

    return curvature_by_columns(plan, tiles, diagonal)


def curvature_by_columns(
    plan: HessianPlan, tiles: list[SampleTile], diagonal: Callable[[SampleTile, int, int], Array]
) -> list[Array]:
    """B_jj of every unit with a free parameter, (n_rows, n), on each tile: `diagonal` of a tile and of the rows start..stop, on threads."""
    found = [np.zeros((plan.schedule.n_rows, tile.n_samples), tile.z.dtype) for tile in tiles]
    columns = plan.columns(max(tile.n_samples for tile in tiles), tiles[0].z.itemsize, TILE_BYTES)

    def task(number: int) -> None:
        (start, stop), which = columns[number // len(tiles)], number % len(tiles)  # the longest columns first
        found[which][start:stop] = diagonal(tiles[which], start, stop)

    run_tasks(task, len(columns) * len(tiles))
    return found


def assemble_diagonal(
    sweeps: SecondOrderSweeps, plan: HessianPlan, X: Array, T: Array, s: Array | None, product: Callable[[Array], Array]
) -> Array:
    """The exact Hessian's diagonal (W,): Σ_n z_i² B_jj.

    A tied parameter's has the cross terms between its slots too; it comes from `product`, v ↦ H v for the columns of v (W, B).
    """
    out = np.zeros(plan.n_parameters, sweeps.dtype)
    own = isinstance(sweeps, OwnAssembly)
    parts = sample_tiles(plan, len(X), X.itemsize, dropped=not own)
    while some := list(islice(parts, 1 if own else DROPPED_TILES)):

        def sweep(part: slice) -> SampleTile:
            return sweeps.sample_tile(X[part].T, T[part].T, None if s is None else s[part].T, True)

        tiles = _each(sweep, some)
        curvature = _own_curvature(sweeps, plan, tiles)
        for total in _each(partial(_diagonal_of, plan), list(zip(tiles, curvature, strict=True))):
            out += total
    for start in range(0, len(plan.tied_positions), TIED_COLUMNS):
        tied = plan.tied_positions[start : start + TIED_COLUMNS]
        unit = np.zeros((plan.n_parameters, len(tied)), sweeps.dtype)
        unit[tied, np.arange(len(tied))] = 1
        out[tied] = product(unit)[tied, np.arange(len(tied))]
    return out


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
    sweeps: SecondOrderSweeps, plan: HessianPlan, X: Array, T: Array, s: Array | None, exact: bool
) -> list[Array]:
    """For each group of the plan (units, sources, sources): Σ_n B_jj z zᵀ, symmetric to the last bit; ties are not followed."""
    out = [np.zeros((g.n_units, g.n_sources, g.n_sources), sweeps.dtype) for g in plan.groups]
    parts = sample_tiles(plan, len(X), X.itemsize, dropped=not isinstance(sweeps, OwnAssembly))
    for tile in _swept(sweeps, parts, X, T, s, exact):
        (own,) = _own_curvature(sweeps, plan, [tile])
        with single_threaded_blas(), np.errstate(all="ignore"):
            for group, block in zip(plan.groups, out, strict=True):
                z = tile.z[group.sources]
                for j in range(group.n_units):
                    half = (z * (own[group.start + j] * 0.5)) @ z.T
                    block[j] += half + half.T
    return out


_RUN = 1 << 12
