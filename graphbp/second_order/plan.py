"""How the parameters of a network fall into groups that share their sources: what makes a Hessian a few matrix products.

A *group* is a run of units j of one level with one list of sources i (the bias is a source like any other, a unit clamped at
z = 1), and the position in θ of every weight w_ji.  Then for two groups p and q

    H_(ji),(lk) = Σ_n B_jl z_i z_k + ...          j ∈ units(p), i ∈ sources(p), l ∈ units(q), k ∈ sources(q)

is one matrix product of pairs of units × pairs of sources.  Dense blocks of the schedule are groups; sparse units whose sources
overlap enough form one too, with holes; every other sparse unit is a group of its own and called *single*.  Every unit with a free
parameter is in exactly one group, and groups are in row order, so that "j does not precede l" is "p does not precede q".

    x1 ─┬─► h1 ─┬─► y          group 0: units h1 h2, sources x1 x2 1, index [[w11 w12 b1], [w21 w22 b2]]
    x2 ─┴─► h2 ─┘              group 1: unit y,      sources h1 h2 1

`parts` says where a group's θ positions are regular, so that results are written through strided views and not by index.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from graphbp.jacobian import outputs_of_rows
from graphbp.levels import DenseBlock, Level
from graphbp.schedule import Schedule

__all__ = ["MAX_COLUMNS", "Group", "HessianPlan", "Part", "UnitList"]

Indices = npt.NDArray[np.int64]

FILL = 0.4
"""Sparse units of one level become a group with holes when at least this share of units × sources is there."""

MIN_UNITS = 4
"""Fewer sparse units than this are not worth products of their own: they are single units."""

MAX_COLUMNS = 16
"""Columns of a tile, at most: small networks too have several tiles, so that every core has one."""


@dataclass(frozen=True)
class Part:
    """Sources start..stop of a group whose parameters stand at base + stride · j + i, j counted from the group's first unit."""

    start: int
    stop: int
    base: int
    stride: int


@dataclass(frozen=True)
class Group:
    """Units start..stop (rows), each fed by all of `sources` (rows; n_rows is the bias), with w_ji at θ[index[j, i]], −1 a hole."""

    start: int
    stop: int
    sources: Indices
    index: Indices

    @property
    def n_units(self) -> int:
        """Units."""
        return self.stop - self.start

    @property
    def n_sources(self) -> int:
        """Sources, the bias counted."""
        return len(self.sources)

    @cached_property
    def parts(self) -> tuple[Part, ...] | None:
        """The regular parts that cover all sources, or None where the positions are irregular or have holes."""
        if (self.index < 0).any():
            return None
        steps = np.diff(self.index, axis=1)
        cuts = np.flatnonzero((steps != 1).any(axis=0)) + 1
        bounds = [0, *cuts.tolist(), self.n_sources]
        parts = []
        for lo, hi in pairwise(bounds):
            stride = int(self.index[1, lo] - self.index[0, lo]) if self.n_units > 1 else 0
            if stride < 0 or (np.diff(self.index[:, lo]) != stride).any():
                return None
            parts.append(Part(lo, hi, int(self.index[0, lo]), stride))
        return tuple(parts) if len(parts) * 4 <= self.n_sources + 8 else None


@dataclass(frozen=True)
class UnitList:
    """Units one by one: unit u is row row[u], with sources source[start[u] : start[u + 1]] at θ[index[...]] (−1: a hole)."""

    row: Indices
    start: Indices
    source: Indices
    index: Indices


@dataclass(frozen=True)
class HessianPlan:
    """The groups of a schedule, and the single units' slots as one stack.

    Attributes
    ----------
    groups : all groups, in row order.
    single : (groups,) which of them have one unit.
    stack_group : (singles,) number of each single unit's group.
    stack_row, stack_source, stack_index : (slots,) for every weight of the single units, unit after unit in row order: the unit's
        row j, the source row i (n_rows for a bias), and the position in θ.
    stack_start : (singles + 1,) where each single's slots begin.
    """

    schedule: Schedule
    groups: tuple[Group, ...]
    single: npt.NDArray[np.bool_]
    stack_group: Indices
    stack_start: Indices
    stack_row: Indices
    stack_source: Indices
    stack_index: Indices

    @classmethod
    def of(cls, schedule: Schedule) -> HessianPlan:
        """Group the parameters of a schedule; O(parameters)."""
        groups = [group for level in schedule.levels for group in _level_groups(schedule, level)]
        single = np.array([g.n_units == 1 for g in groups], bool)
        numbers = np.flatnonzero(single)
        members = [groups[k] for k in numbers]
        sizes = [g.n_sources for g in members]
        return cls(
            schedule,
            tuple(groups),
            single,
            numbers,
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.repeat([g.start for g in members], sizes).astype(np.int64),
            _joined([g.sources for g in members]),
            _joined([g.index[0] for g in members]),
        )

    @property
    def n_parameters(self) -> int:
        """W."""
        return self.schedule.n_parameters

    @property
    def tied(self) -> bool:
        """Some parameter fills more than one slot."""
        return self.schedule.parameters.tied

    @cached_property
    def units(self) -> UnitList:
        """Every unit with a free parameter, those of dense groups too, as flat arrays."""
        sizes = [g.n_sources for g in self.groups for _ in range(g.n_units)]
        return UnitList(
            _joined([np.arange(g.start, g.stop) for g in self.groups]),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            _joined([np.tile(g.sources, g.n_units) for g in self.groups]),
            _joined([g.index.ravel() for g in self.groups]),
        )

    @cached_property
    def groups_of_several(self) -> tuple[Group, ...]:
        """Those of more than one unit."""
        return tuple(group for group in self.groups if group.n_units > 1)

    @cached_property
    def single_rows(self) -> Indices:
        """(singles,) the row of each single unit, ascending."""
        return np.array([self.groups[k].start for k in self.stack_group], np.int64)

    @cached_property
    def tied_positions(self) -> Indices:
        """Positions in θ whose parameter fills more than one slot."""
        parameters = self.schedule.parameters
        return np.flatnonzero(np.bincount(parameters.slot_parameter[parameters.order], minlength=self.n_parameters) > 1)

    @cached_property
    def reach(self) -> npt.NDArray[np.bool_]:
        """(n_rows, n_rows): reach[k, j], a path of at least one edge leads from row j to row k.  Levels upwards, O(edges · n_rows)."""
        s = self.schedule
        reach = np.zeros((s.n_rows, s.n_rows), bool)
        for level in s.levels:
            for block in level.dense:
                reach[block.start : block.stop] |= reach[block.src].any(axis=0)
                reach[block.start : block.stop, block.src] = True
            for j in range(level.start, level.stop) if level.n_sparse else ():
                src = s.in_src[s.in_ptr[j] : s.in_ptr[j + 1]]
                reach[j] |= reach[src].any(axis=0)
                reach[j, src] = True
            combined = s.combinations.of_rows(level.start, level.stop)
            for source in (s.combinations.first[combined], s.combinations.second[combined]):
                reach[s.combinations.rows[combined]] |= reach[source]
                reach[s.combinations.rows[combined], source] = True
        return reach

    @cached_property
    def leads(self) -> npt.NDArray[np.bool_]:
        """(K, n_rows): leads[c, j], output c's pre-activation depends on row j, or is that of row j."""
        bits = np.unpackbits(outputs_of_rows(self.schedule, coupled=False), axis=1, count=self.schedule.n_outputs)
        return np.ascontiguousarray(bits.T.astype(bool))

    @cached_property
    def curved_by(self) -> npt.NDArray[np.bool_]:
        """(K, n_rows): `leads`, each output that a softmax couples counted for all of them; columns with none in common have B_jl = 0."""
        leads = self.leads.copy()
        for group in self.schedule.softmax_groups:
            leads[group] = leads[group].any(axis=0)
        return leads

    @cached_property
    def meets(self) -> npt.NDArray[np.bool_]:
        """(n_rows, n_rows): B_jl can differ from 0, since rows j and l lead to one output, or to two that a softmax couples."""
        common = self.curved_by.astype(np.float32)
        meets: npt.NDArray[np.bool_] = common.T @ common > 0
        return meets

    def columns(self, n_samples: int, itemsize: int, budget: int, least: int = 1) -> list[tuple[int, int]]:
        """Column tiles (start, stop) that cover every group, each with (n_rows − start)(stop − start) n values within `budget` bytes.

        A tile is part of one group of several units, or a run of whole single groups; `least` columns, where there are so many, may
        take more.
        """
        tiles: list[tuple[int, int]] = []
        run: tuple[int, int] | None = None
        for group, single in zip(self.groups, self.single, strict=True):
            if single and run is not None and group.stop - run[0] <= self._width(run[0], n_samples, itemsize, budget, least):
                run = (run[0], group.stop)
                continue
            if run is not None:
                tiles.append(run)
                run = None
            if single:
                run = (group.start, group.stop)
                continue
            count = -(-group.n_units // self._width(group.start, n_samples, itemsize, budget, least))
            cuts = [group.start + group.n_units * k // count for k in range(count + 1)]
            tiles.extend(pairwise(cuts))
        return tiles if run is None else [*tiles, run]

    def _width(self, start: int, n_samples: int, itemsize: int, budget: int, least: int) -> int:
        return min(MAX_COLUMNS, max(least, budget // ((self.schedule.n_rows - start) * n_samples * itemsize)))


def _joined(parts: list[Indices]) -> Indices:
    return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)


def _level_groups(s: Schedule, level: Level) -> list[Group]:
    """The groups of one level, in row order."""
    blocks: dict[tuple[int, int], list[DenseBlock]] = {}
    for block in level.dense:
        blocks.setdefault((block.start, block.stop), []).append(block)
    found: list[Group] = []
    row = level.start
    for bounds in [*sorted(blocks), (level.stop, level.stop)]:
        for start, stop in ((row, bounds[0]), bounds):  # the sparse units before a block, and its own
            if start < stop:
                found.extend(_run_groups(s, start, stop, blocks.get((start, stop), [])))
        row = bounds[1]
    return found


def _run_groups(s: Schedule, start: int, stop: int, blocks: list[DenseBlock]) -> list[Group]:
    """One group for the rows start..stop where their sources overlap enough, else one a unit."""
    edges = slice(int(s.in_ptr[start]), int(s.in_ptr[stop]))
    dst = np.repeat(np.arange(stop - start), np.diff(s.in_ptr[start : stop + 1]))
    units, sources, slots = [dst], [s.in_src[edges].astype(np.int64)], [np.arange(edges.start, edges.stop)]
    for block in blocks:
        m, f = block.shape
        units.append(np.repeat(np.arange(m), f))
        sources.append(np.tile(block.src.astype(np.int64), m))
        slots.append(block.slot + np.arange(block.size))
    biased = np.flatnonzero(s.bias_slot[start:stop] >= 0)
    units.append(biased)
    sources.append(np.full(len(biased), s.n_rows))
    slots.append(s.bias_slot[start + biased])
    unit, source = np.concatenate(units), np.concatenate(sources)
    position = s.parameters.slot_parameter[np.concatenate(slots)]
    free = position >= 0
    unit, source, position = unit[free], source[free], position[free]
    if not len(unit):
        return []
    distinct = np.unique(source)
    if stop - start >= (2 if blocks else MIN_UNITS) and len(unit) >= FILL * (stop - start) * len(distinct):
        index = np.full((stop - start, len(distinct)), -1, np.int64)
        index[unit, np.searchsorted(distinct, source)] = position
        return [_ordered(start, stop, distinct, index)]
    order = np.lexsort((position, unit))
    cuts = np.searchsorted(unit[order], np.arange(stop - start + 1))
    groups = []
    for j in range(stop - start):
        mine = order[cuts[j] : cuts[j + 1]]
        if len(mine):
            groups.append(Group(start + j, start + j + 1, source[mine], position[mine][None]))
    return groups


def _ordered(start: int, stop: int, sources: Indices, index: Indices) -> Group:
    """A group with its sources in the order of the first unit's positions in θ, holes last, so that they form regular parts."""
    first = np.where(index[0] < 0, np.iinfo(np.int64).max, index[0])
    order = np.argsort(first, kind="stable")
    return Group(start, stop, sources[order], np.ascontiguousarray(index[:, order]))
