"""From tiles of B and Φ to the Hessian: matrix products over samples, using both symmetries.

    H_(ji),(lk) = Σ_n B_jl z_i z_k  +  Σ_n z_i δ_l Φ_kj  +  Σ_n z_k δ_j Φ_il          (at most one of the last two is non-zero)

Each unordered pair of weights is computed once, into the half L of H = L + Lᵀ; so H is symmetric to the last bit whatever order the
sums ran in.  Which weights of a pair stand as row and which as column of L does not matter.  Three kinds of product do all of it:

* within a group:           pairs of units (j ≥ l) × pairs of sources (i ≥ k), a quarter of the entries;
* a group and a later one:  all pairs of units × all pairs of sources, and for the path term the pairs (l, i) × (k, j), over just those
                            (k, j) that a path joins: for two neighbouring layers only k = j, so that this term costs almost nothing;
* single units as the later ones: for each earlier unit j, the rows B_jl z_k of all later single units' weights l ← k, and the rows
                            Φ_kj δ_l of those that a path joins, times Z_j.  Units j and l that lead to no common output are left out.

Memory: W² for L, and products and their factors of at most `WORK` numbers each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.second_order.plan import MAX_COLUMNS, Group, HessianPlan
from graphbp.second_order.tiles import ColumnTile, SampleTile
from graphbp.threads import run_tasks

__all__ = ["HessianAccumulator", "selection", "symmetrise"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

WORK = 1 << 22
"""Numbers in one temporary array: 32 MB in float64."""

STACK = 1 << 16
"""Numbers in the rows formed at once for single units: these should stay in a core's cache."""

SMALL = 1200
"""OpenBLAS multiplies without packing, in half the time, where the product of few rows has at most so many numbers."""


@dataclass(frozen=True)
class _Unit:
    """A perturbed unit j and the products of Z_j with later single units' weights l ← k, summed over samples.

    slots : those weights, in the plan's stack, that can have B_jl ≠ 0.
    joined : positions in `slots` of those that a path leads to: k = j, or a path from j to k.
    curved, paths : Σ_n z_i B_jl z_k (sources of j, slots), and Σ_n z_i Φ_kj δ_l (sources of j, joined).
    """

    group: Group
    j: int
    slots: Indices
    joined: Indices
    curved: Array
    paths: Array


class HessianAccumulator:
    """H (W, W), summed tile by tile: `add` each run of columns with the sample tiles, then `finish`."""

    def __init__(self, plan: HessianPlan, dtype: np.dtype[Any]) -> None:
        self.plan = plan
        self.half = np.zeros((plan.n_parameters, plan.n_parameters), dtype)

    def add(self, start: int, stop: int, parts: Iterable[tuple[SampleTile, ColumnTile]]) -> None:
        """What the perturbed units start..stop contribute together with units at or after them, on some sample tiles."""
        groups = [(g, max(g.start, start), min(g.stop, stop)) for g in self.plan.groups if g.start < stop and start < g.stop]
        units: list[_Unit] | None = None
        for tile, column in parts:
            for group, a, b in groups:
                if group.n_units > 1:
                    self._within(group, a, b, tile, column)
                for later in self.plan.groups_of_several:
                    if later.start >= group.stop:
                        self._between(group, a, b, later, tile, column)
            if units is None:
                units = [unit for group, a, b in groups for j in range(a, b) for unit in self._units(group, j, tile.exact)]
            for unit in units:
                self._singles(unit, tile, column)
        for unit in units or ():
            self._write_singles(unit)

    def finish(self) -> Array:
        """H = L + Lᵀ; the accumulator is used up."""
        return symmetrise(self.half)

    # -- the three products ----------------------------------------------------------------------------------------------

    def _within(self, p: Group, a: int, b: int, tile: SampleTile, column: ColumnTile) -> None:
        """Units l = a..b of p with units j ≥ l of p.  Units of one level: no path joins them, so B is all there is."""
        n, f, c0 = tile.n_samples, p.n_sources, column.start
        z = tile.z[p.sources]
        for i0, i1 in _triangle_chunks(f, max(1, WORK // n)):
            first, second, where = _triangle(i0, i1)
            zz = z[first] * z[second]
            j0 = a
            while j0 < p.stop:
                j1, jj, ll = _unit_pairs(j0, p.stop, a, b, max(1, WORK // max(n, len(first))))
                product = column.B[jj - c0, ll - c0] @ zz.T
                product[jj == ll] *= 0.5
                expanded = product[:, where.ravel()].reshape(-1, i1 - i0, i1)
                at = 0
                for j in range(j0, j1):
                    count = min(j + 1, b) - a
                    values = expanded[at : at + count]
                    units = (j - p.start, j - p.start + 1, a - p.start, a - p.start + count)
                    self._write(p, units[:2], (i0, i1), p, units[2:], (0, i1), values.transpose(1, 0, 2)[None])
                    if i0:
                        self._write(p, units[:2], (0, i0), p, units[2:], (i0, i1), values[:, :, :i0].transpose(2, 0, 1)[None])
                    at += count
                j0 = j1

    def _between(self, p: Group, a: int, b: int, q: Group, tile: SampleTile, column: ColumnTile) -> None:
        """Units j = a..b of p with all units l of a later group q: products [l, j] × [k, i]."""
        n, c0 = tile.n_samples, column.start
        zp = tile.z[p.sources]
        curvature = column.B[q.start - c0 : q.stop - c0, a - c0 : b - c0]
        width = max(1, WORK // (p.n_sources * max(n, b - a)))
        for k0 in range(0, q.n_sources, width):
            k1 = min(k0 + width, q.n_sources)
            zz = (tile.z[q.sources[k0:k1]][:, None] * zp[None]).reshape(-1, n)
            height = max(1, WORK // max((b - a) * len(zz), p.n_sources * n))
            for l0 in range(0, q.n_units, height):
                l1 = min(l0 + height, q.n_units)
                product = curvature[l0:l1].reshape(-1, n) @ zz.T
                values = product.reshape(l1 - l0, b - a, k1 - k0, p.n_sources)
                if column.phi is not None:
                    self._paths(values, zp, q.start + l0, q.sources[k0:k1], a, b, tile, column)
                units = (a - p.start, b - p.start)
                self._write(q, (l0, l1), (k0, k1), p, units, (0, p.n_sources), values.transpose(0, 2, 1, 3))

    def _paths(
        self, values: Array, zp: Array, l0: int, sources: Indices, a: int, b: int, tile: SampleTile, column: ColumnTile
    ) -> None:
        """Add Σ_n z_i δ_l Φ_kj to values[l, j, k, i], for those sources k that a path from some j = a..b leads to."""
        assert column.phi is not None  # for mypy: `_between` asks
        assert tile.delta is not None
        n, c0 = tile.n_samples, column.start
        itself = np.flatnonzero((sources >= a) & (sources < b))
        beyond = np.flatnonzero((sources >= b) & (sources < tile.z.shape[0] - 1))
        beyond = beyond[self.plan.reach[sources[beyond], a:b].any(axis=1)]
        if not len(itself) and not len(beyond):
            return
        count = values.shape[0]
        dz = (tile.delta[l0 : l0 + count, None] * zp[None]).reshape(-1, n)
        if len(itself):  # k = j
            j = sources[itself]
            product = (dz @ tile.slope[j].T).reshape(count, len(zp), len(j))
            values[:, j - a, itself] += product.transpose(0, 2, 1)
        if len(beyond):
            phi = column.phi[sources[beyond] - c0, a - c0 : b - c0].reshape(-1, n)
            joined = (dz @ phi.T).reshape(count, len(zp), len(beyond), b - a)
            values[:, :, beyond] += joined.transpose(0, 3, 2, 1)

    def _units(self, p: Group, j: int, exact: bool) -> Iterator[_Unit]:
        """Unit j of p with the single units at or after it, as many of them at a time as `WORK` allows."""
        plan = self.plan
        slots = np.arange(plan.stack_start[np.searchsorted(plan.single_rows, j)], plan.stack_start[-1])
        if not len(slots):
            return
        slots = slots[plan.curved_by[np.ix_(plan.curved_by[:, j], plan.stack_row[slots])].any(axis=0)]
        width = max(1, WORK // (MAX_COLUMNS * p.n_sources))
        for some in (slots[lo : lo + width] for lo in range(0, len(slots), width)):
            source = plan.stack_source[some]
            joined = np.flatnonzero((source >= j) & (source < plan.schedule.n_rows)) if exact else some[:0]
            if plan.schedule.n_rows <= plan.n_parameters:  # else what is found out here could take more memory than H
                joined = joined[(source[joined] == j) | plan.reach[source[joined], j]]
            rooms = (np.zeros((p.n_sources, len(which)), self.half.dtype) for which in (some, joined))
            yield _Unit(p, j, some, joined, *rooms)

    def _singles(self, unit: _Unit, tile: SampleTile, column: ColumnTile) -> None:
        """Add one sample tile's products of Z_j with B_jl z_k and with Φ_kj δ_l."""
        plan, c0, width = self.plan, column.start, column.stop - column.start
        z = tile.z[unit.group.sources]
        row, source = plan.stack_row[unit.slots], plan.stack_source[unit.slots]
        place = unit.j - c0
        _add_products(z, column.B, (row - c0) * width + place, tile.z, source, unit.curved)
        if len(unit.joined):
            assert column.phi is not None  # for mypy: `exact`
            assert tile.delta is not None
            row, source = row[unit.joined], source[unit.joined]
            _add_products(z, column.phi, (source - c0) * width + place, tile.delta, row, unit.paths)

    def _write_singles(self, unit: _Unit) -> None:
        values = unit.curved
        values[:, unit.joined] += unit.paths
        if unit.group.n_units == 1:  # the pair of j with itself stands in both halves
            values[:, : np.searchsorted(self.plan.stack_row[unit.slots], unit.j, side="right")] *= 0.5
        self._write_indexed(unit.group.index[unit.j - unit.group.start], self.plan.stack_index[unit.slots], values)

    # -- into L ----------------------------------------------------------------------------------------------------------

    def _write(
        self,
        p: Group,
        units_p: tuple[int, int],
        sources_p: tuple[int, int],
        q: Group,
        units_q: tuple[int, int],
        sources_q: tuple[int, int],
        values: Array,
    ) -> None:
        """L[p's weights, q's weights] += values[j, i, l, k], for ranges of units and sources of either."""
        if self.plan.tied or p.parts is None or q.parts is None:
            rows = p.index[slice(*units_p), slice(*sources_p)].ravel()
            columns = q.index[slice(*units_q), slice(*sources_q)].ravel()
            self._write_indexed(rows, columns, values.reshape(len(rows), len(columns)))
            return
        item = self.half.itemsize
        pitch = self.half.strides[0]
        for one in p.parts:
            i0, i1 = max(one.start, sources_p[0]), min(one.stop, sources_p[1])
            for two in q.parts:
                k0, k1 = max(two.start, sources_q[0]), min(two.stop, sources_q[1])
                if i0 >= i1 or k0 >= k1:
                    continue
                row = one.base + one.stride * units_p[0] + i0 - one.start
                column = two.base + two.stride * units_q[0] + k0 - two.start
                view: Array = np.ndarray(
                    (units_p[1] - units_p[0], i1 - i0, units_q[1] - units_q[0], k1 - k0),
                    self.half.dtype,
                    buffer=self.half.data,
                    offset=row * pitch + column * item,
                    strides=(one.stride * pitch, pitch, two.stride * item, item),
                )
                view += values[:, i0 - sources_p[0] : i1 - sources_p[0], :, k0 - sources_q[0] : k1 - sources_q[0]]

    def _write_indexed(self, rows: Indices, columns: Indices, values: Array) -> None:
        """L[rows, columns] += values, holes (−1) left out and tied positions summed."""
        if self.plan.tied:
            rows, values = _summed(rows, values, 0)
            columns, values = _summed(columns, values, 1)
        elif (rows < 0).any() or (columns < 0).any():
            kept, wanted = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
            rows, columns, values = rows[kept], columns[wanted], values[np.ix_(kept, wanted)]
        self.half[selection(rows, columns)] += values


def _add_products(z: Array, first: Array, one: Indices, second: Array, two: Indices, out: Array) -> None:
    """out[i, s] += Σ_n z_i first[one[s]] second[two[s]], rows of `first` counted as if it had two axes, the samples last."""
    n = z.shape[1]
    first = first.reshape(-1, n)
    step = max(1, min(len(one), STACK // n, max(SMALL // len(z), 32)))
    rows, others = np.empty((2, step, n), out.dtype)
    for lo in range(0, len(one), step):
        hi = min(lo + step, len(one))
        some, factor = rows[: hi - lo], others[: hi - lo]
        np.take(first, one[lo:hi], axis=0, out=some, mode="clip")  # clip: other modes buffer `out`
        np.take(second, two[lo:hi], axis=0, out=factor, mode="clip")
        some *= factor
        out[:, lo:hi] += z @ some.T


def selection(rows: Indices, columns: Indices) -> Any:
    """An index for [rows, columns]: slices where they are runs."""
    r, c = _run(rows), _run(columns)
    if r is not None and c is not None:
        return r, c
    if r is not None:
        return r, columns
    return np.ix_(rows, columns)


def _run(index: Indices) -> slice | None:
    if len(index) and index[-1] - index[0] == len(index) - 1 and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return None


def _summed(index: Indices, values: Array, axis: int) -> tuple[Indices, Array]:
    """Positions without repeats or holes, and the values with those of one position added up, in order."""
    order = np.argsort(index, kind="stable")
    order = order[np.searchsorted(index[order], 0) :]
    if not len(order):
        return index[:0], values[:0] if axis == 0 else values[:, :0]
    taken = np.take(values, order, axis=axis)
    distinct, starts = np.unique(index[order], return_index=True)
    return distinct, taken if len(distinct) == len(order) else np.add.reduceat(taken, starts, axis=axis)


def _triangle_chunks(f: int, limit: int) -> list[tuple[int, int]]:
    """Ranges of i whose pairs (i, k ≤ i) number at most `limit` (or one i at a time)."""
    chunks = []
    i0 = 0
    while i0 < f:
        i1 = i0 + 1
        while i1 < f and (i1 + 1) * (i1 + 2) // 2 - i0 * (i0 + 1) // 2 <= limit:
            i1 += 1
        chunks.append((i0, i1))
        i0 = i1
    return chunks


def _triangle(i0: int, i1: int) -> tuple[Indices, Indices, Indices]:
    """The pairs (i, k ≤ i), i = i0..i1, as two lists; and where the pair {i, k} stands in them for every i = i0..i1, k < i1."""
    counts = np.arange(i0 + 1, i1 + 1)
    first = np.repeat(np.arange(i0, i1), counts)
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]])
    second = np.arange(len(first)) - np.repeat(begin, counts)
    i, k = np.indices((i1 - i0, i1))
    i += i0
    where = begin[np.maximum(i, k) - i0] + np.minimum(i, k)
    return first, second, where


def _unit_pairs(j0: int, stop: int, a: int, b: int, limit: int) -> tuple[int, Indices, Indices]:
    """(j1, jj, ll): the pairs of units (j, l), l = a..b, l ≤ j, for j = j0..j1, at most `limit` of them (or one j)."""
    counts = np.minimum(np.arange(j0, stop) + 1, b) - a
    j1 = j0 + max(1, int(np.searchsorted(np.cumsum(counts), limit, side="right")))
    counts = counts[: j1 - j0]
    jj = np.repeat(np.arange(j0, j1), counts)
    ll = a + np.arange(len(jj)) - np.repeat(np.cumsum(counts) - counts, counts)
    return j1, jj, ll


def symmetrise(half: Array, block: int = 256) -> Array:
    """L ← L + Lᵀ in place, block by block."""
    n = len(half)

    def task(number: int) -> None:
        i = number * block
        rows = slice(i, i + block)
        diagonal = half[rows, rows]
        half[rows, rows] = diagonal + diagonal.T
        for k in range(i + block, n, block):
            columns = slice(k, k + block)
            total = half[rows, columns] + half[columns, rows].T
            half[rows, columns] = total
            half[columns, rows] = total.T

    run_tasks(task, -(-n // block))
    return half
