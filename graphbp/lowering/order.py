"""In which order the rows stand: the level of each node, the units that share their sources, and the nodes in row order.

Level by level, the D inputs first; inside a level, units that share one set of sources stand together, so that they form a dense block.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import GraphError
from graphbp.levels import MIN_DENSE_ENTRIES
from graphbp.lowering.slots import is_dense
from graphbp.spec import INPUT, GraphSpec
from graphbp.structure import cycle_message

__all__ = ["levels_of", "row_order", "shared_sources"]

Indices = npt.NDArray[np.int64]


def levels_of(spec: GraphSpec, edges: tuple[Indices, Indices] | None = None) -> Indices:
    """Level of each node: 0 for inputs, else 1 + the highest level among its sources (Kahn's algorithm, O(nodes + edges)).

    `edges` are (sources, destinations), where they are more than those with weights.
    """
    n = spec.n_nodes
    src, dst = edges or (spec.edge_src, spec.edge_dst)
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


def shared_sources(spec: GraphSpec, level: Indices) -> Indices:
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
        if not is_dense(array):
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


def row_order(spec: GraphSpec, level: Indices, group: Indices) -> Indices:
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
