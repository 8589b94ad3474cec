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

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation
from graphbp.combinations import COMBINATIONS, NO_COMBINATIONS, CombinationRun, Combinations, runs_by_level
from graphbp.exceptions import printable
from graphbp.levels import MIN_DENSE_ENTRIES, DenseBlock, Level, build_levels
from graphbp.parameters import ParameterMap

__all__ = ["InnerRows", "Schedule", "describe"]

Indices = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


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
        """What backends compile: without the units that lead to no output; itself where there are none.  O(edges)."""
        return _live_part(self)

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


# -- the live part -----------------------------------------------------------------------------------------------------------
#
# What leads to no output has no say in y or E: its derivatives are 0 because no path is there, not because a product comes out as 0.
# (A dead unit may overflow, and 0 · ∞ is NaN.)  So backends are given a schedule that leaves dead units out, with their edges and
# biases; θ keeps its length, and a parameter that fills no slot of the live part has the derivative 0.
#
#     x ─┬─► h ───► y          live: x h y
#        └─► d ───► e          dead: d e, and the three weights and biases that lead into them


def _live_rows(s: Schedule) -> Flags:
    """(n_rows,) whether a row is an input, or leads to an output (or is one)."""
    live = np.zeros(s.n_rows, bool)
    live[s.output_rows] = True
    if (s.feeds | live)[s.n_inputs :].all():  # every path ends at an output
        return np.ones(s.n_rows, bool)
    for level in reversed(s.levels):
        edges = live[s.out_dst[s.out_ptr[level.start] : s.out_ptr[level.stop]]]
        feeding = level.start + np.flatnonzero(np.diff(s.out_ptr[level.start : level.stop + 1]))
        if len(feeding):
            live[feeding] |= np.logical_or.reduceat(edges, s.out_ptr[feeding] - s.out_ptr[level.start])
        for block in level.dense:
            if live[block.start : block.stop].any():
                live[block.src] = True
        combined = s.combinations.of_rows(level.start, level.stop)
        combined = combined[live[s.combinations.rows[combined]]]
        live[s.combinations.first[combined]] = live[s.combinations.second[combined]] = True
    live[: s.n_inputs] = True
    return live


def _live_part(s: Schedule) -> Schedule:
    """The schedule without its dead rows; itself where it has none."""
    live = _live_rows(s)
    if live.all():
        return s
    rows = np.flatnonzero(live)
    place = np.cumsum(live) - 1
    dst, src, slot, blocks, block_slots = _edges(s, live)
    in_ptr, out_ptr = (_pointers(place[ends], len(rows)) for ends in (dst, src))
    by_source = np.argsort(src, kind="stable")
    dense = []
    at = len(slot)
    for block, slots in zip(blocks, block_slots, strict=True):
        dense.append(_placed(block, place, slots, at))
        at += len(slots)
    biased = rows[s.bias_slot[rows] >= 0]
    bias_slot = np.full(len(rows), -1, np.int64)
    bias_slot[place[biased]] = at + np.arange(len(biased))
    taken = np.concatenate([slot, *block_slots, s.bias_slot[biased]]).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(live)])
    row_level, row_activation = s.row_level[rows], s.row_activation[rows]
    levels = build_levels(row_level, row_activation, in_ptr, dense)
    made = replace(
        s,
        n_rows=len(rows),
        node_row=before[s.node_row],
        units=before[s.node_row + s.units] - before[s.node_row],
        row_level=row_level,
        levels=levels,
        in_ptr=in_ptr,
        in_src=place[src].astype(np.int32),
        out_ptr=out_ptr,
        out_dst=place[dst[by_source]].astype(np.int32),
        out_slot=by_source.astype(np.int64),
        bias_slot=bias_slot,
        combinations=s.combinations.among(live, place, [*(level.start for level in levels), len(rows)]),
        row_activation=row_activation,
        output_rows=place[s.output_rows],
        parameters=ParameterMap(s.n_parameters, s.parameters.slot_parameter[taken], s.parameters.slot_value[taken]),
        part_of=(s, rows),
    )
    for value in (*vars(made).values(), *vars(made.parameters).values(), rows):
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return made


def _edges(s: Schedule, live: Flags) -> tuple[Indices, Indices, Indices, list[DenseBlock], list[Indices]]:
    """The live edges, in the old rows and slots: (dst, src, slot) of the sparse ones, sorted; the blocks, and the slots that each keeps.

    What is left of a block joins the sparse edges where it would not have become a block (see `MIN_DENSE_ENTRIES`).
    """
    ends = np.repeat(np.arange(s.n_rows), np.diff(s.in_ptr))
    kept = np.flatnonzero(live[ends])
    dst, src, slot = [ends[kept]], [s.in_src[kept].astype(np.int64)], [kept]
    blocks, block_slots = [], []
    for block in s.dense_blocks:
        units = np.flatnonzero(live[block.start : block.stop])
        n = len(block.src)
        slots = (block.slot + units[:, None] * n + np.arange(n)).ravel()
        if len(units) >= 2 and len(slots) >= MIN_DENSE_ENTRIES:
            blocks.append(replace(block, start=block.start + int(units[0])))
            block_slots.append(slots)
        else:
            dst.append(np.repeat(block.start + units, n))
            src.append(np.tile(block.src.astype(np.int64), len(units)))
            slot.append(slots)
    all_dst, all_src, all_slot = np.concatenate(dst), np.concatenate(src), np.concatenate(slot)
    order = np.lexsort((all_src, all_dst))
    return all_dst[order], all_src[order], all_slot[order], blocks, block_slots


def _pointers(rows: Indices, n_rows: int) -> Indices:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))]).astype(np.int64)


def _placed(block: DenseBlock, place: Indices, slots: Indices, slot: int) -> DenseBlock:
    """A block whose first row is live, in the new rows, with its slots from `slot` on."""
    src = place[block.src].astype(np.int32)
    src.flags.writeable = False
    start = int(place[block.start])
    run = int(src[-1]) - int(src[0]) + 1 == len(src)
    return replace(
        block, start=start, stop=start + len(slots) // len(src), src=src, src_start=int(src[0]) if run else -1, slot=slot
    )
