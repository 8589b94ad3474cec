"""The schedule: a network lowered, once, to integer arrays that order the forward and the reverse sweep.

Units are *rows*.  Row numbers are topological: the D inputs first (row i is column i of X), then level by level, where a unit's
level is one more than the highest level among its sources.  So

    forward:  for each level, for each row j:   a_j = Σ_i w_ji z_i + b_j,   z_j = h_j(a_j)
    reverse:  for each level backwards, row j:  δ_j = h'_j(a_j) Σ_k w_kj δ_k  (+ the error's own term at an output)

Within a level, rows that share one set of sources stand together and form a *dense block*, however the user built them (a layer
node, or units wired one by one); all other edges are *sparse*, kept by destination (CSR) and by source (CSC).

    x1 ─┬─► h1 ─┬─► y          level 0: x1 x2   level 1: h1 h2   level 2: y
    x2 ─┴─► h2 ─┘              {h1, h2} share the sources {x1, x2}: one dense block, if it is large enough to be worth one

Every single weight and bias has a *slot*: first the sparse edges in CSR order, then the dense blocks row by row, then the biases
in row order.  `Schedule.parameters` maps θ to slots (see `graphbp.parameters`).

Nothing recurses: a chain of 100,000 units lowers like any other graph.  Cost: O(nodes + edges) plus two sorts of the edges.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation
from graphbp.combinations import NO_COMBINATIONS, Combinations, combinations_by_level
from graphbp.exceptions import GraphError, printable
from graphbp.expansion import Expansion, expand
from graphbp.graph import INPUT, OUTPUT, GraphSpec, cycle_message
from graphbp.live import live_part
from graphbp.parameters import Layout, ParameterMap, lay_out

__all__ = ["MIN_DENSE_ENTRIES", "DenseBlock", "Level", "Schedule", "Segment", "build_levels", "lower"]

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

    @property
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
    inner : the rows that are no unit of the user's, but made for one (`graphbp.expansion`).
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
        whole, row = self._in_whole(row)
        starts, owners, _ = whole._runs
        run = int(np.searchsorted(starts, row, side="right")) - 1
        return int(owners[run]), row - int(starts[run])

    def inner_of_row(self, row: int) -> str | None:
        """What a row is to its node where it is no unit of it: "its factor from 'x1'"; None for the units."""
        whole, row = self._in_whole(row)
        starts, _, number = whole._runs
        k = int(number[int(np.searchsorted(starts, row, side="right")) - 1])
        return None if k < 0 else whole.inner.what[k]

    @cached_property
    def own_rows(self) -> Indices:
        """The rows that are inputs or units of the user's nodes, ascending; the others are inner ones."""
        if not len(self.whole.inner.first):
            return np.arange(self.n_rows)
        return np.array([row for row in range(self.n_rows) if self.inner_of_row(row) is None], np.int64)

    @property
    def whole(self) -> Schedule:
        """The schedule that this one is the live part of, or itself."""
        return self if self.part_of is None else self.part_of[0].whole

    def _in_whole(self, row: int) -> tuple[Schedule, int]:
        return (self, row) if self.part_of is None else self.part_of[0]._in_whole(int(self.part_of[1][row]))

    @cached_property
    def _runs(self) -> tuple[Indices, Indices, Indices]:
        """(first row, node, number among the inner ones or −1) of every run of rows, ascending."""
        n = len(self.names)
        starts = np.concatenate([self.node_row, self.inner.first])
        order = np.argsort(starts, kind="stable")
        owners = np.concatenate([np.arange(n), self.inner.node])
        number = np.concatenate([np.full(n, -1), np.arange(len(self.inner.first))])
        return starts[order], owners[order], number[order]

    def flops(self, quantity: str = "gradient", n_samples: int = 1) -> int:
        """Floating-point operations of the edges: 2 an edge and sample forward, 6 for a gradient (activations not counted)."""
        return {"forward": 2, "gradient": 6}[quantity] * self.n_edges * n_samples

    def bytes(self, n_samples: int = 1, itemsize: int = 8) -> int:
        """Bytes of z and δ for all units and samples at once, plus weights and their gradient."""
        return itemsize * (2 * self.n_rows * n_samples + 2 * self.parameters.n_slots)

    def __str__(self) -> str:
        return describe(self)

    def __repr__(self) -> str:
        return (
            f"<Schedule: {self.n_inputs} inputs, {self.n_units} units in {self.depth} levels, {self.n_outputs} outputs, "
            f"{self.n_edges} edges, {self.n_parameters} parameters>"
        )


def describe(schedule: Schedule, n_samples: int = 1024, itemsize: int = 8, rows: int = 12) -> str:
    """The schedule as text for people: totals, cost for `n_samples`, and a line a level (the middle ones of a deep network left out)."""
    s = schedule
    dense = sum(block.size for block in s.dense_blocks)
    lines = [
        repr(s)[1:-1],
        f"  sparse edges {s.n_sparse:,}; dense blocks {len(s.dense_blocks):,} with {dense:,} edges",
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


def lower(spec: GraphSpec) -> tuple[Schedule, Layout]:
    """Order a checked graph and lay out its parameters.  Raises `GraphError` for a cycle, which it prints as a path."""
    layout = own = lay_out(spec)
    level = _levels(spec)
    n, expansion = spec.n_nodes, None
    if spec.aggregation.any():
        expansion = expand(spec, layout)
        spec, layout = expansion.spec, expansion.layout
        level = _levels(spec, expansion)
    group = _shared_sources(spec, level)
    order = _row_order(spec, level, group)
    node_row = np.empty(spec.n_nodes, np.int64)
    node_row[order] = np.concatenate([[0], np.cumsum(spec.units[order])[:-1]])
    n_rows = int(spec.units.sum())
    row_level = np.repeat(level[order], spec.units[order]).astype(np.int32)
    row_activation = np.repeat(spec.activation[order], spec.units[order]).astype(np.int32)

    edges = _sparse_edges(spec, layout, node_row, group)
    blocks, block_entries = _dense_blocks(spec, layout, node_row, group, len(edges.src))
    bias_slot, bias_entries = _biases(spec, layout, node_row, order, n_rows, len(edges.src) + sum(len(e) for e in block_entries))
    slot_entry = np.concatenate([edges.entry, *block_entries, bias_entries])
    slot_parameter = layout.entry_parameter[slot_entry]
    slot_value = np.where(slot_parameter < 0, layout.entry_value[slot_entry], 0.0)

    in_ptr = np.concatenate([[0], np.cumsum(np.bincount(edges.dst, minlength=n_rows))]).astype(np.int64)
    by_source = np.argsort(edges.src, kind="stable")
    out_ptr = np.concatenate([[0], np.cumsum(np.bincount(edges.src, minlength=n_rows))]).astype(np.int64)
    output_nodes = np.flatnonzero(spec.role == OUTPUT)
    input_nodes = np.flatnonzero(spec.role == INPUT)
    levels = build_levels(row_level, row_activation, in_ptr, blocks)
    schedule = Schedule(
        n_rows=n_rows,
        n_inputs=int(spec.units[input_nodes].sum()),
        names=spec.names[:n],
        node_row=node_row[:n],
        units=spec.units[:n],
        row_level=row_level,
        levels=levels,
        in_ptr=in_ptr,
        in_src=edges.src,
        out_ptr=out_ptr,
        out_dst=edges.dst[by_source].astype(np.int32),
        out_slot=by_source.astype(np.int64),
        bias_slot=bias_slot,
        row_activation=row_activation,
        activations=spec.activations,
        input_names=tuple(spec.names[i] for i in input_nodes),
        output_names=tuple(spec.names[i] for i in output_nodes),
        output_rows=np.concatenate([np.arange(node_row[i], node_row[i] + spec.units[i]) for i in output_nodes]),
        softmax_groups=_softmax_groups(spec, output_nodes),
        parameters=ParameterMap(len(layout.theta), slot_parameter, slot_value),
        combinations=NO_COMBINATIONS if expansion is None else _combinations(expansion, node_row, levels),
        inner=NO_INNER if expansion is None else _inner(expansion, node_row),
    )
    for value in (*vars(schedule).values(), *vars(schedule.parameters).values(), *schedule.softmax_groups):
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return schedule, own


def _combinations(expansion: Expansion, node_row: Indices, levels: tuple[Level, ...]) -> Combinations:
    """Of nodes, unit by unit, as of rows."""
    counts = expansion.spec.units[expansion.node]
    rows, first, second = (_runs(node_row[of], counts) for of in (expansion.node, expansion.first, expansion.second))
    starts = np.array([*(level.start for level in levels), levels[-1].stop])
    return combinations_by_level(rows, np.repeat(expansion.kind, counts), first, second, starts)


def _inner(expansion: Expansion, node_row: Indices) -> InnerRows:
    n = expansion.spec.n_nodes - len(expansion.inner)
    owners = np.array([inner.node for inner in expansion.inner], np.int64)
    return InnerRows(node_row[n:], expansion.spec.units[n:], owners, tuple(inner.what for inner in expansion.inner))


def _levels(spec: GraphSpec, expansion: Expansion | None = None) -> Indices:
    """Level of each node: 0 for inputs, else 1 + the highest level among its sources (Kahn's algorithm, O(nodes + edges))."""
    n = spec.n_nodes
    src, dst = spec.edge_src, spec.edge_dst
    if expansion is not None:  # a combination is two edges without weights
        src, dst = (np.concatenate(e) for e in ([src, expansion.first, expansion.second], [dst, expansion.node, expansion.node]))
    by_source = np.argsort(src, kind="stable")
    successors = dst[by_source].tolist()
    ptr = np.concatenate([[0], np.cumsum(np.bincount(src, minlength=n))]).tolist()
    waiting = np.bincount(dst, minlength=n).tolist()
    level = np.where(spec.role == INPUT, 0, 1).tolist()
    ready = [i for i in range(n) if waiting[i] == 0]
    done = 0
    while ready:
        i = ready.pop()
        done += 1
        above = level[i] + 1
        for j in successors[ptr[i] : ptr[i + 1]]:
            if level[j] < above:
                level[j] = above
            waiting[j] -= 1
            if not waiting[j]:
                ready.append(j)
    if done < n:
        raise GraphError(cycle_message(spec.names, spec.edge_src, spec.edge_dst, waiting))
    result = np.array(level, np.int64)
    together = [i for i in spec.softmax_nodes if spec.units[i] == 1]
    if together:  # one group, normalised together: they feed nothing, so they may wait for the last of them
        result[together] = result[together].max()
    return result


def _softmax_groups(spec: GraphSpec, output_nodes: Indices) -> tuple[Indices, ...]:
    members = set(spec.softmax_nodes)
    groups: list[Indices] = []
    single: list[int] = []
    position = 0
    for i in output_nodes.tolist():
        n = int(spec.units[i])
        if i in members:
            if n == 1:
                single.append(position)
            else:
                groups.append(np.arange(position, position + n))
        position += n
    if single:
        groups.append(np.array(single, np.int64))
    return tuple(groups)


def _shared_sources(spec: GraphSpec, level: Indices) -> Indices:
    """Group number of each unit node that shares its exact set of sources with enough others to form a dense block; −1 otherwise.

    Each node's set of sources is summed into two random 64-bit keys, so that sets are compared by sorting numbers; the members of
    a candidate group are then compared source by source.
    """
    n = spec.n_nodes
    group = np.full(n, -1, np.int64)
    fan_in = np.bincount(spec.edge_dst, minlength=n)
    rows_in = np.bincount(spec.edge_dst, weights=spec.units[spec.edge_src], minlength=n) if len(spec.edge_dst) else np.zeros(n)
    candidate = (spec.units == 1) & (fan_in > 0)
    for e, array in spec.edge_array.items():
        if not _is_dense(array):
            candidate[spec.edge_dst[e]] = False
    if candidate.sum() < 2:
        return group
    random = np.random.default_rng(0).integers(0, 2**63, size=(2, n), dtype=np.uint64)
    has = np.flatnonzero(fan_in > 0)
    starts = np.searchsorted(spec.edge_dst, has)
    keys = np.zeros((2, n), np.uint64)
    keys[:, has] = np.add.reduceat(random[:, spec.edge_src], starts, axis=1)
    members = np.flatnonzero(candidate)
    order = members[np.lexsort((members, level[members], keys[1, members], keys[0, members]))]
    same = (keys[:, order[1:]] == keys[:, order[:-1]]).all(axis=0)
    same &= (fan_in[order[1:]] == fan_in[order[:-1]]) & (level[order[1:]] == level[order[:-1]])
    bounds = np.concatenate([[0], np.flatnonzero(~same) + 1, [len(order)]])
    number = 0
    for k in np.flatnonzero(np.diff(bounds) >= 2):
        nodes = order[bounds[k] : bounds[k + 1]]
        if len(nodes) * rows_in[nodes[0]] < MIN_DENSE_ENTRIES:
            continue
        sets = [np.sort(_incoming(spec, i)) for i in nodes]
        nodes = nodes[[np.array_equal(s, sets[0]) for s in sets]]
        if len(nodes) >= 2:
            group[nodes] = number
            number += 1
    return group


def _incoming(spec: GraphSpec, i: int) -> Indices:
    lo, hi = np.searchsorted(spec.edge_dst, [i, i + 1])
    return spec.edge_src[lo:hi]


def _row_order(spec: GraphSpec, level: Indices, group: Indices) -> Indices:
    """Nodes in row order: by level; inside one, groups by their first member, then single units by activation."""
    n = spec.n_nodes
    first = np.arange(n)
    grouped = np.flatnonzero(group >= 0)
    if len(grouped):
        leader = np.full(int(group.max()) + 1, n)
        np.minimum.at(leader, group[grouped], grouped)
        first[grouped] = leader[group[grouped]]
    single = (group < 0) & (spec.units == 1) & (level > 0)
    place = np.where(single, n, first)
    kind = np.where(level > 0, spec.activation, 0)
    return np.lexsort((np.arange(n), kind, place, level))


@dataclass(frozen=True)
class _SparseEdges:
    dst: Indices
    src: Rows
    entry: Indices


def _is_dense(array: Any) -> bool:
    """Every entry is stored; a SciPy sparse matrix's `size` is its number of stored entries, not rows × columns."""
    return not hasattr(array, "nnz") or array.nnz == array.shape[0] * array.shape[1]


def _sparse_edges(spec: GraphSpec, layout: Layout, node_row: Indices, group: Indices) -> _SparseEdges:
    """Every edge entry that is in no dense block, sorted by destination row, then source row."""
    in_group = group[spec.edge_dst] >= 0
    scalar = np.isfinite(spec.edge_weight) & ~in_group
    dst = [node_row[spec.edge_dst[scalar]]]
    src = [node_row[spec.edge_src[scalar]]]
    entry = [layout.edge_start[scalar]]
    for e, array in spec.edge_array.items():
        if in_group[e] or _is_layer_block(spec, e, array):
            continue
        if hasattr(array, "nnz"):
            rows = np.repeat(np.arange(array.shape[0]), np.diff(array.indptr))
            columns = array.indices.astype(np.int64)
        else:
            rows, columns = (part.ravel() for part in np.indices(array.shape))
        dst.append(node_row[spec.edge_dst[e]] + rows)
        src.append(node_row[spec.edge_src[e]] + columns)
        entry.append(layout.edge_start[e] + np.arange(len(rows)))
    all_dst, all_src, all_entry = np.concatenate(dst), np.concatenate(src), np.concatenate(entry)
    order = np.lexsort((all_src, all_dst))
    return _SparseEdges(all_dst[order], all_src[order].astype(np.int32), all_entry[order])


def _is_layer_block(spec: GraphSpec, e: int, array: Any) -> bool:
    """An array between nodes that is a dense block of its own: full, two or more rows, and not small."""
    return _is_dense(array) and array.shape[0] >= 2 and array.size >= MIN_DENSE_ENTRIES


def _dense_blocks(
    spec: GraphSpec, layout: Layout, node_row: Indices, group: Indices, slot: int
) -> tuple[list[DenseBlock], list[Indices]]:
    """The dense blocks in row order, and for each the entries that fill its slots, row by row."""
    found: list[tuple[int, int, Rows, Indices]] = []
    for e, array in spec.edge_array.items():
        if group[spec.edge_dst[e]] < 0 and _is_layer_block(spec, e, array):
            first = int(node_row[spec.edge_src[e]])
            src = np.arange(first, first + array.shape[1], dtype=np.int32)
            start = int(node_row[spec.edge_dst[e]])
            found.append((start, start + array.shape[0], src, layout.edge_start[e] + np.arange(array.size)))
    for nodes in _group_members(group):
        nodes = nodes[np.argsort(node_row[nodes])]
        src = np.empty(0, np.int32)
        parts = []
        for i in nodes:
            lo, hi = np.searchsorted(spec.edge_dst, [i, i + 1])
            edges = np.arange(lo, hi)[np.argsort(node_row[spec.edge_src[lo:hi]])]
            counts = layout.edge_count[edges]
            parts.append(_runs(layout.edge_start[edges], counts))
            if not len(src):
                src = _runs(node_row[spec.edge_src[edges]], counts).astype(np.int32)
        found.append((int(node_row[nodes[0]]), int(node_row[nodes[0]]) + len(nodes), src, np.concatenate(parts)))
    found.sort(key=lambda block: (block[0], int(block[2][0])))
    blocks: list[DenseBlock] = []
    all_entries: list[Indices] = []
    for start, stop, src, entries in found:
        contiguous = int(src[-1]) - int(src[0]) + 1 == len(src)
        src.flags.writeable = False
        blocks.append(DenseBlock(start, stop, src, int(src[0]) if contiguous else -1, slot))
        all_entries.append(entries)
        slot += len(entries)
    return blocks, all_entries


def _runs(starts: Indices, counts: Indices) -> Indices:
    """starts[0], starts[0]+1, ... (counts[0] of them), starts[1], ..."""
    if (counts == 1).all():
        return starts
    return np.concatenate([np.arange(s, s + c) for s, c in zip(starts, counts, strict=True)])


def _group_members(group: Indices) -> list[Indices]:
    grouped = np.flatnonzero(group >= 0)
    if not len(grouped):
        return []
    order = grouped[np.argsort(group[grouped], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _biases(spec: GraphSpec, layout: Layout, node_row: Indices, order: Indices, n_rows: int, slot: int) -> tuple[Indices, Indices]:
    """bias_slot of each row, and the entries of those slots, in row order."""
    nodes = order[layout.bias_start[order] >= 0]
    counts = spec.units[nodes]
    rows, entries = _runs(node_row[nodes], counts), _runs(layout.bias_start[nodes], counts)
    bias_slot = np.full(n_rows, -1, np.int64)
    bias_slot[rows] = slot + np.arange(len(rows))
    return bias_slot, np.asarray(entries, np.int64)


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
