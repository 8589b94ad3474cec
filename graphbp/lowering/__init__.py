"""Lowering: a checked graph becomes a `Schedule`, once.

    GraphSpec ──lowering.order──► level and row of each unit ──lowering.slots──► slot of each weight ──lower──► Schedule, Layout

Nodes that are more than a weighted sum are first expanded into rows that combine two others (`lowering.expansion`).

Nothing recurses: a chain of 100,000 units lowers like any other graph.  Cost: O(nodes + edges) plus two sorts of the edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphbp.combinations import NO_COMBINATIONS, Combinations, combinations_by_level
from graphbp.levels import Level, build_levels
from graphbp.lowering.expansion import Expansion, expand
from graphbp.lowering.order import levels_of, row_order, shared_sources
from graphbp.lowering.slots import biases, dense_blocks, runs, sparse_edges
from graphbp.parameters import Layout, ParameterMap, lay_out
from graphbp.schedule import NO_INNER, InnerRows, Schedule
from graphbp.spec import INPUT, OUTPUT, GraphSpec

__all__ = ["lower"]

Indices = npt.NDArray[np.int64]


def lower(spec: GraphSpec) -> tuple[Schedule, Layout]:
    """Order a checked graph and lay out its parameters.  Raises `GraphError` for a cycle, which it prints as a path."""
    layout = own = lay_out(spec)
    level, expansion, n_nodes = levels_of(spec), None, spec.n_nodes
    if spec.aggregation.any():
        expansion = expand(spec, layout)
        spec, layout = expansion.spec, expansion.layout
        level = levels_of(spec, expansion.edges)
    group = shared_sources(spec, level)
    order = row_order(spec, level, group)
    node_row = np.empty(spec.n_nodes, np.int64)
    node_row[order] = np.concatenate([[0], np.cumsum(spec.units[order])[:-1]])
    n_rows = int(spec.units.sum())
    row_level = np.repeat(level[order], spec.units[order]).astype(np.int32)
    row_activation = np.repeat(spec.activation[order], spec.units[order]).astype(np.int32)

    edges = sparse_edges(spec, layout, node_row, group)
    blocks, block_entries = dense_blocks(spec, layout, node_row, group, len(edges.src))
    bias_slot, bias_entries = biases(spec, layout, node_row, order, n_rows, len(edges.src) + sum(len(e) for e in block_entries))
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
        names=spec.names[:n_nodes],
        node_row=node_row[:n_nodes],
        units=spec.units[:n_nodes],
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
    rows, first, second = (runs(node_row[of], counts) for of in (expansion.node, expansion.first, expansion.second))
    starts = np.array([*(level.start for level in levels), levels[-1].stop])
    return combinations_by_level(rows, np.repeat(expansion.kind, counts), first, second, starts)


def _inner(expansion: Expansion, node_row: Indices) -> InnerRows:
    n = expansion.spec.n_nodes - len(expansion.inner)
    owners = np.array([inner.node for inner in expansion.inner], np.int64)
    return InnerRows(node_row[n:], expansion.spec.units[n:], owners, tuple(inner.what for inner in expansion.inner))


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
