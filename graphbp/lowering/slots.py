"""Which slot each weight and bias has: first the sparse edges by destination row, then the dense blocks row by row, then the biases.

Each function gives, beside what the schedule keeps, the entries of the layout (`graphbp.parameters`) that fill the slots, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.levels import MIN_DENSE_ENTRIES, DenseBlock
from graphbp.parameters import Layout
from graphbp.spec import GraphSpec

__all__ = ["SparseEdges", "biases", "dense_blocks", "is_dense", "runs", "sparse_edges"]

Indices = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]


@dataclass(frozen=True)
class SparseEdges:
    """Rows at both ends of each sparse edge, and the entry of the layout that is its weight; edge e has slot e."""

    dst: Indices
    src: Rows
    entry: Indices


def is_dense(array: Any) -> bool:
    """Every entry is stored; of a CSR matrix `data` has those (`nnz` counts them anew each time it is looked at)."""
    return isinstance(array, np.ndarray) or array.data.size == array.shape[0] * array.shape[1]


def sparse_edges(spec: GraphSpec, layout: Layout, node_row: Indices, group: Indices) -> SparseEdges:
    """Every edge entry that is in no dense block, sorted by destination row, then source row."""
    in_group = group[spec.edge_dst] >= 0
    scalar = np.isfinite(spec.edge_weight) & ~in_group
    dst = [node_row[spec.edge_dst[scalar]]]
    src = [node_row[spec.edge_src[scalar]]]
    entry = [layout.edge_start[scalar]]
    for e, array in spec.edge_array.items():
        if in_group[e] or _is_layer_block(spec, e, array):
            continue
        if not isinstance(array, np.ndarray):
            rows = np.repeat(np.arange(array.shape[0]), np.diff(array.indptr))
            columns = array.indices.astype(np.int64)
        else:
            rows, columns = (part.ravel() for part in np.indices(array.shape))
        dst.append(node_row[spec.edge_dst[e]] + rows)
        src.append(node_row[spec.edge_src[e]] + columns)
        entry.append(layout.edge_start[e] + np.arange(len(rows)))
    all_dst, all_src, all_entry = np.concatenate(dst), np.concatenate(src), np.concatenate(entry)
    order = np.lexsort((all_src, all_dst))
    return SparseEdges(all_dst[order], all_src[order].astype(np.int32), all_entry[order])


def _is_layer_block(spec: GraphSpec, e: int, array: Any) -> bool:
    """An array between nodes that is a dense block of its own: full, two or more rows, and not small."""
    return is_dense(array) and array.shape[0] >= 2 and array.size >= MIN_DENSE_ENTRIES


def dense_blocks(
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
            parts.append(runs(layout.edge_start[edges], counts))
            if not len(src):
                src = runs(node_row[spec.edge_src[edges]], counts).astype(np.int32)
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


def runs(starts: Indices, counts: Indices) -> Indices:
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


def biases(spec: GraphSpec, layout: Layout, node_row: Indices, order: Indices, n_rows: int, slot: int) -> tuple[Indices, Indices]:
    """bias_slot of each row, and the entries of those slots, in row order."""
    nodes = order[layout.bias_start[order] >= 0]
    counts = spec.units[nodes]
    rows, entries = runs(node_row[nodes], counts), runs(layout.bias_start[nodes], counts)
    bias_slot = np.full(n_rows, -1, np.int64)
    bias_slot[rows] = slot + np.arange(len(rows))
    return bias_slot, np.asarray(entries, np.int64)
