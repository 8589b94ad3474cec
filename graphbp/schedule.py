"""The schedule: a network lowered, once, to integer arrays that order the forward and the reverse sweep.

Units are *rows*.  Row numbers are topological: the D inputs first (row i is column i of X), then level by level, where a unit's
level is one more than the highest level among its sources.  So

    forward:  for each level, for each row j:   a_j = Σ_i w_ji z_i + b_j,   z_j = h_j(a_j)
              (+ g(z_u, z_v) in a_j, where the row combines two others: `graphbp.combinations`)
    reverse:  for each level backwards, row j:  δ_j = h'_j(a_j) Σ_k w_kj δ_k  (+ the error's own term at an output)

Within a level, rows that share one set of sources stand together and form a *dense block*, however the user built them (a layer
node, or units wired one by one); all other edges are *sparse*, kept by destination (CSR) and by source (CSC).

    x1 ─┬─► h1 ─┬─► y          level 0: x1 x2   level 1: h1 h2   level 2: y
    x2 ─┴─► h2 ─┘              {h1, h2} share the sources {x1, x2}: one dense block, if it is large enough to be worth one

Every single weight and bias has a *slot*: first the sparse edges in CSR order, then the dense blocks row by row, then the biases
in row order.  `Schedule.parameters` maps θ to slots (see `graphbp.parameters`).

`graphbp.lowering` makes it of a checked graph.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation
from graphbp.combinations import COMBINATIONS, NO_COMBINATIONS, CombinationRun, Combinations, runs_by_level
from graphbp.exceptions import printable
from graphbp.live import live_part
from graphbp.parameters import ParameterMap

__all__ = ["MIN_DENSE_ENTRIES", "DenseBlock", "Level", "Schedule", "Segment", "build_levels", "describe"]

Indices = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]

MIN_DENSE_ENTRIES = 32
"""Units that share their sources become a dense block from this many edges on (and two units); smaller ones stay sparse."""


@dataclass(frozen=True)
class DenseBlock:
    """Rows start..stop, all fed by the rows `src`: a[start:stop] += w[slot : slot + m·n].reshape(m, n) @ z[src].

    `src` is ascending; where it is a contiguous run, `src_start` is its first row, else −1.
    """

    start: int
    stop: int
    src: Rows
    src_start: int
    slot: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, sources)."""
        return self.stop - self.start, len(self.src)

    @property
    def size(self) -> int:
        """Edges in the block."""
        return (self.stop - self.start) * len(self.src)

    @property
    def source(self) -> slice | Rows:
        """What indexes the source rows: a slice where they are contiguous (a view, no copy), else the array."""
        return slice(self.src_start, self.src_start + len(self.src)) if self.src_start >= 0 else self.src


@dataclass(frozen=True)
class Segment:
    """Rows start..stop of one level share the activation number `activation`."""

    start: int
    stop: int
    activation: int


@dataclass(frozen=True)
class Level:
    """Rows start..stop: their dense blocks, their activation segments, and how many sparse edges lead in."""

    start: int
    stop: int
    dense: tuple[DenseBlock, ...]
    segments: tuple[Segment, ...]
    n_sparse: int


@dataclass(frozen=True)
class InnerRows:
    """Runs of rows made for a user's node that aggregates: run k is rows first[k]..first[k] + units[k], for units of node[k], as what[k]."""

    first: Indices
    units: Indices
    node: Indices
    what: tuple[str, ...]

    @cached_property
    def n_rows(self) -> int:
        """Inner rows."""
        return int(self.units.sum())


NO_INNER = InnerRows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), ())


@dataclass(frozen=True)
class Schedule:
    """The immutable program that every backend compiles.  All index arrays are read-only.

    Attributes
    ----------
    n_rows, n_inputs : rows (units, the inputs included), and D; rows 0..D−1 are the inputs.
    names, node_row, units : node names in graph order, the first row of each, and its number of units.
    row_level : (n_rows,) level of each row; inputs are level 0.
    levels : the levels from 1 up, in order; levels[0].start == n_inputs.
    in_ptr, in_src : sparse edges by destination: edges in_ptr[j]..in_ptr[j+1] lead into row j, from rows in_src[e]; edge e has
        slot e.
    out_ptr, out_dst, out_slot : the same edges by source: edges out_ptr[i]..out_ptr[i+1] leave row i, to rows out_dst[e],
        with weight w[out_slot[e]].
    bias_slot : (n_rows,) slot of the row's bias, −1 where it has none.
    row_activation, activations : the activation of each row as a position in `activations`.
    input_names, output_names : nodes in the order of X's and Y's columns.
    output_rows : (K,) the row of each output.
    softmax_groups : positions among the outputs that each softmax normalises together (a layer node, or all unit nodes).
    parameters : θ ↔ slots.
    combinations : the rows whose pre-activation has a term g(z_u, z_v) besides (`graphbp.combinations`); none in most networks.
    inner : the rows that are no unit of the user's, but made for one (`graphbp.lowering.expansion`).
    part_of : of a live part the schedule that it is part of, and its rows there; None for a whole schedule.
    """

    n_rows: int
    n_inputs: int
    names: tuple[Hashable, ...]
    node_row: Indices
    units: Indices
    row_level: Rows
    levels: tuple[Level, ...]
    in_ptr: Indices
    in_src: Rows
    out_ptr: Indices
    out_dst: Rows
    out_slot: Indices
    bias_slot: Indices
    row_activation: Rows
    activations: tuple[Activation, ...]
    input_names: tuple[Hashable, ...]
    output_names: tuple[Hashable, ...]
    output_rows: Indices
    softmax_groups: tuple[Indices, ...]
    parameters: ParameterMap
    combinations: Combinations = NO_COMBINATIONS
    inner: InnerRows = NO_INNER
    part_of: tuple[Schedule, Indices] | None = None

    @property
    def n_outputs(self) -> int:
        """K."""
        return len(self.output_rows)

    @property
    def n_units(self) -> int:
        """M, the hidden and output units."""
        return self.n_rows - self.n_inputs

    @property
    def n_parameters(self) -> int:
        """W."""
        return self.parameters.n_parameters

    @property
    def n_sparse(self) -> int:
        """Sparse edges."""
        return len(self.in_src)

    @cached_property
    def dense_blocks(self) -> tuple[DenseBlock, ...]:
        """The dense blocks of all levels, in slot order."""
        return tuple(block for level in self.levels for block in level.dense)

    @cached_property
    def n_edges(self) -> int:
        """Weights on edges, sparse and dense, frozen ones too."""
        return self.n_sparse + sum(block.size for block in self.dense_blocks)

    @property
    def depth(self) -> int:
        """Levels above the inputs: the longest path from an input, in edges."""
        return len(self.levels)

    @cached_property
    def feeds(self) -> npt.NDArray[np.bool_]:
        """(n_rows,) whether a row leads into another."""
        feeds = np.diff(self.out_ptr) > 0
        for block in self.dense_blocks:
            feeds[block.src] = True
        feeds[self.combinations.first] = feeds[self.combinations.second] = True
        feeds.flags.writeable = False
        return feeds

    @cached_property
    def live(self) -> Schedule:
        """What backends compile: without the units that lead to no output (see `graphbp.live`); itself where there are none."""
        return live_part(self)

    @property
    def output_groups(self) -> tuple[Indices, ...]:
        """Positions among the outputs: each softmax group, and every other output alone."""
        alone = np.setdiff1d(np.arange(self.n_outputs), [k for group in self.softmax_groups for k in group.tolist()])
        return (*self.softmax_groups, *(np.array([k]) for k in alone.tolist()))

    def of_outputs(self, group: Indices) -> Schedule:
        """What leads to one of `output_groups`, which alone are its outputs; θ keeps its length."""
        softmax = any(group[0] in other for other in self.softmax_groups)
        return replace(self, output_rows=self.output_rows[group], softmax_groups=(np.arange(len(group)),) if softmax else ()).live

    def rows_of(self, node: int) -> slice:
        """The rows of the node with this number in graph order."""
        return slice(int(self.node_row[node]), int(self.node_row[node] + self.units[node]))

    def describe_row(self, row: int) -> str:
        """The node (and the unit inside it) that a row belongs to, for messages."""
        node, unit = self.node_of_row(row)
        name = printable(repr(self.names[node]))
        inner = self.inner_of_row(row)
        name = name if self.whole.units[node] == 1 else f"{name} unit {unit}"
        return name if inner is None else f"{name} ({inner})"

    def node_of_row(self, row: int) -> tuple[int, int]:
        """(node, unit inside it) that a row belongs to."""
        node, unit, _ = self.owners
        return int(node[row]), int(unit[row])

    def inner_of_row(self, row: int) -> str | None:
        """What a row is to its node where it is no unit of it: "its factor from 'x1'"; None for the units."""
        inner = int(self.owners[2][row])
        return None if inner < 0 else self.whole.inner.what[inner]

    @cached_property
    def combined(self) -> tuple[tuple[CombinationRun, ...], ...]:
        """The combinations of each level, by kind."""
        return runs_by_level(self.combinations, len(self.levels))

    @cached_property
    def own_rows(self) -> Indices:
        """The rows that are inputs or units of the user's nodes, ascending; the others are inner ones."""
        return np.flatnonzero(self.owners[2] < 0)

    @property
    def whole(self) -> Schedule:
        """The schedule that this one is the live part of, or itself."""
        return self if self.part_of is None else self.part_of[0].whole

    @cached_property
    def owners(self) -> tuple[Indices, Indices, Indices]:
        """Of every row the node, the unit inside it, and its number among the inner runs, −1 where it is in none."""
        if self.part_of is not None:
            whole, rows = self.part_of
            node, unit, inner = whole.owners
            return node[rows], unit[rows], inner[rows]
        n, runs = len(self.names), self.inner
        starts, units = np.concatenate([self.node_row, runs.first]), np.concatenate([self.units, runs.units])
        order = np.argsort(starts, kind="stable")
        owner = np.concatenate([np.arange(n), runs.node])[order]
        number = np.concatenate([np.full(n, -1), np.arange(len(runs.first))])[order]
        unit = np.arange(self.n_rows) - np.repeat(starts[order], units[order])
        return np.repeat(owner, units[order]), unit, np.repeat(number, units[order])

    def flops(self, quantity: str = "gradient", n_samples: int = 1) -> int:
        """Floating-point operations of edges and combinations: 2 an edge and sample forward, 6 for a gradient (activations not counted)."""
        return {"forward": 2, "gradient": 6}[quantity] * (self.n_edges + len(self.combinations)) * n_samples

    def bytes(self, n_samples: int = 1, itemsize: int = 8) -> int:
        """Bytes of z and δ for all units and samples at once, plus weights and their gradient."""
        return itemsize * (2 * self.n_rows * n_samples + 2 * self.parameters.n_slots)

    def __str__(self) -> str:
        return describe(self)

    def __repr__(self) -> str:
        return (
            f"<Schedule: {self.n_inputs} inputs, {self.n_units - self.inner.n_rows} units in {self.depth} levels, "
            f"{self.n_outputs} outputs, {self.n_edges} edges, {self.n_parameters} parameters>"
        )


def describe(schedule: Schedule, n_samples: int = 1024, itemsize: int = 8, rows: int = 12) -> str:
    """The schedule as text for people: totals, cost for `n_samples`, and a line a level (the middle ones of a deep network left out)."""
    s = schedule
    dense = sum(block.size for block in s.dense_blocks)
    lines = [
        repr(s)[1:-1],
        f"  sparse edges {s.n_sparse:,}; dense blocks {len(s.dense_blocks):,} with {dense:,} edges",
        *_combining(s),
        f"  for N = {n_samples:,}: forward {s.flops('forward', n_samples):.3g} flop, gradient {s.flops('gradient', n_samples):.3g} flop, "
        f"z and δ {s.bytes(n_samples, itemsize):.3g} bytes if all samples are held at once",
        "  level      rows    sparse edges  dense blocks                activations",
    ]
    head = rows // 2
    for depth, level in enumerate(s.levels, 1):
        if s.depth > rows and depth == head + 1:
            lines.append(f"  ... {s.depth - rows} more levels ...")
        if s.depth > rows and head < depth <= s.depth - (rows - head):
            continue
        blocks = ", ".join(f"{b.shape[0]}×{b.shape[1]}" for b in level.dense[:3]) + (", ..." if len(level.dense) > 3 else "")
        kinds = ", ".join(dict.fromkeys(s.activations[g.activation].name for g in level.segments))
        lines.append(f"  {depth:5d} {level.stop - level.start:9,d} {level.n_sparse:15,d}  {blocks or '-':26s}  {kinds}")
    return "\n".join(lines)


def _combining(s: Schedule) -> list[str]:
    """How many rows multiply or choose, where some do, and how many are no unit of the graph's."""
    c = s.combinations
    if not s.whole.inner.n_rows and not len(c):
        return []
    counts = np.bincount(c.kind, minlength=len(COMBINATIONS))
    kinds = ", ".join(f"{row.name} {n:,}" for row, n in zip(COMBINATIONS, counts.tolist(), strict=True) if n)
    return [f"  combinations of two rows {len(c):,} ({kinds or 'none'}); {s.whole.inner.n_rows:,} inner rows beside the units"]


def build_levels(row_level: Rows, row_activation: Rows, in_ptr: Indices, blocks: list[DenseBlock]) -> tuple[Level, ...]:
    """Cut the rows above the inputs into levels, and each level into runs of one activation."""
    n = len(row_level)
    change = np.flatnonzero((np.diff(row_level) != 0) | (np.diff(row_activation) != 0)) + 1
    first = int(np.searchsorted(row_level, 0, side="right"))
    bounds = [first, *change[change > first].tolist(), n] if first < n else []
    per_level: dict[int, list[Segment]] = {}
    for lo, hi in pairwise(bounds):
        per_level.setdefault(int(row_level[lo]), []).append(Segment(lo, hi, int(row_activation[lo])))
    dense: dict[int, list[DenseBlock]] = {}
    for block in blocks:
        dense.setdefault(int(row_level[block.start]), []).append(block)
    levels = []
    for number, segments in per_level.items():
        start, stop = segments[0].start, segments[-1].stop
        levels.append(Level(start, stop, tuple(dense.get(number, ())), tuple(segments), int(in_ptr[stop] - in_ptr[start])))
    return tuple(levels)
