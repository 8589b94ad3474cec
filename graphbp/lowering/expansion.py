r"""From nodes that aggregate to rows that combine: what `lower` orders where some node is more than a weighted sum.

A node j that multiplies n terms becomes n *scaled rows* and a balanced tree of combinations of two, in the order of its edges; the
last of them is the node itself, with its bias and activation:

    x1 ─w1─► s1 ─┐                                  s_i = w_i x_i       inner rows, identity, one edge: the user's own weight
    x2 ─w2─► s2 ─┴─► p ─┐                           p = g(s1, s2)       inner row
    x3 ─w3─► s3 ────────┴─► j                       a_j = b_j + g(p, s3)

An edge whose weight is frozen at 1 needs no scaled row.  A mean is an inner sum and an edge of frozen weight 1/n; a median is a sorting
network of min and max, of which only what the middle needs is kept; whatever has one term is that term.  Weights stay the user's own
entries, so that θ is ordered by the user's graph; what is added are frozen entries, and, where one number is the weight of every unit
of a layer, more slots of one parameter.

Inner rows belong to the node that they are made for: messages name it, and nothing else of the face knows them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import get_activation
from graphbp.aggregation import NAMES
from graphbp.attribute_values import MAX_UNITS
from graphbp.combinations import COMBINATIONS
from graphbp.exceptions import GraphError, printable
from graphbp.memory import check_memory
from graphbp.parameters import Layout
from graphbp.spec import HIDDEN, GraphSpec

__all__ = ["Expansion", "Inner", "expand"]

Indices = npt.NDArray[np.int64]
MANY_ROWS, BYTES_A_ROW = 1_000_000, 300
"""From so many inner rows on the memory that they take is checked first."""
KIND = {row.name: k for k, row in enumerate(COMBINATIONS)}


@dataclass(frozen=True)
class Inner:
    """A node that the user's `node` needs, and what it is there."""

    node: int
    what: str


@dataclass(frozen=True)
class Expansion:
    """A graph with inner nodes behind the user's.

    Attributes
    ----------
    spec, layout : the larger graph; entries of the user's layout come first and are the same.
    node, kind, first, second : (C,) nodes that have a combination, which, and of which nodes.
    inner : the inner nodes, numbered from the user's `n_nodes` on.
    """

    spec: GraphSpec
    layout: Layout
    node: Indices
    kind: Indices
    first: Indices
    second: Indices
    inner: tuple[Inner, ...]

    @property
    def edges(self) -> tuple[Indices, Indices]:
        """(sources, destinations) of what has to stand before what: edges, and combinations, which are two edges without weights."""
        return (
            np.concatenate([self.spec.edge_src, self.first, self.second]),
            np.concatenate([self.spec.edge_dst, self.node, self.node]),
        )


def expand(spec: GraphSpec, layout: Layout) -> Expansion:
    """Lower every node that aggregates otherwise than by a sum.  O(edges), medians O(edges log² edges)."""
    _check_size(spec)
    made = _Expanding(spec, layout)
    first = np.searchsorted(spec.edge_dst, np.arange(spec.n_nodes + 1))
    for j in np.flatnonzero(spec.aggregation).tolist():
        made.node(j, range(int(first[j]), int(first[j + 1])))
    return made.finished()


def _check_size(spec: GraphSpec) -> None:
    """Before anything is made: one number a layer can ask for as many rows as the layer has units."""
    fan_in = np.bincount(spec.edge_dst, minlength=spec.n_nodes).astype(float)
    terms = np.where(spec.aggregation == NAMES.index("median"), fan_in * np.log2(fan_in + 1) ** 2, fan_in)
    each = np.where(spec.aggregation > 0, 2 * terms * spec.units, 0.0)
    if not each.sum() > MANY_ROWS:
        return
    largest = int(each.argmax())
    what = f"node {spec.names[largest]!r} ({NAMES[spec.aggregation[largest]]} of {int(fan_in[largest]):,} terms, {int(spec.units[largest]):,} units)"
    if each.sum() > MAX_UNITS:
        raise GraphError(f"the network takes {int(each.sum()):,} rows, {what} most of them; at most {MAX_UNITS:,} are possible")
    check_memory(int(each.sum()) * BYTES_A_ROW, f"the rows of {what}", "fewer units or terms")


class _Expanding:
    """Collects inner nodes, edges, entries and combinations."""

    def __init__(self, spec: GraphSpec, layout: Layout) -> None:
        self.spec, self.layout = spec, layout
        self.inner: list[Inner] = []
        self.units: list[int] = []
        self.combined: list[tuple[int, int, int, int]] = []
        self.edges: list[tuple[int, int, int]] = []
        """(source, destination, first entry), its entries one a unit"""
        self.parameter = [layout.entry_parameter]
        self.value = [layout.entry_value]
        self.n_entries = len(layout.entry_value)

    # -- one node ----------------------------------------------------------------------------------------------------------------

    def node(self, j: int, edges: range) -> None:
        name = NAMES[self.spec.aggregation[j]]
        if len(edges) == 1:
            self.edge(int(self.spec.edge_src[edges[0]]), j, self.entries(edges[0]))
        elif name == "mean":
            total = self.add(j, "its sum")
            for e in edges:
                self.edge(int(self.spec.edge_src[e]), total, self.entries(e))
            self.edge(total, j, self.constant(1 / len(edges), self.size(j)))
        elif name == "median":
            self.median(j, [self.scaled(j, e) for e in edges])
        else:
            self.tree(j, name, [self.scaled(j, e) for e in edges])

    def scaled(self, j: int, e: int) -> int:
        """The row w_ji z_i of an edge, which is the source itself where the weight is 1 for good."""
        spec, source = self.spec, int(self.spec.edge_src[e])
        if spec.edge_frozen[e] and np.all(spec.edge_array.get(e, spec.edge_weight[e]) == 1):
            return source
        row = self.add(j, f"its factor from {printable(repr(spec.names[source]))}")
        self.edge(source, row, self.entries(e))
        return row

    def tree(self, j: int, name: str, terms: list[int]) -> None:
        """Pairs of neighbours, until two are left, which are the node's own."""
        while len(terms) > 2:
            paired = [
                self.combine(self.add(j, f"its inner {name}"), name, u, v) for u, v in zip(terms[::2], terms[1::2], strict=False)
            ]
            terms = paired + terms[2 * len(paired) :]
        self.combine(j, name, *terms)

    def median(self, j: int, terms: list[int]) -> None:
        """The middle of a sorting network, or half of each of the middle two.

        A tie goes to u as the smaller and to v as the larger, so that each source is one of the sorted values.
        """
        n = len(terms)
        steps, wires = _sorting(n)
        middle = sorted({(n - 1) // 2, n // 2})
        rows = dict(enumerate(terms))
        wanted = _wanted(steps, [wires[k] for k in middle])
        for name, u, v, out in steps:
            if out in wanted:
                rows[out] = self.combine(self.add(j, f"a step of its median ({name})"), name, rows[u], rows[v])
        for k in middle:
            self.edge(rows[wires[k]], j, self.constant(1 / len(middle), self.size(j)))

    def combine(self, row: int, name: str, u: int, v: int) -> int:
        self.combined.append((row, KIND[name], u, v))
        return row

    # -- nodes, entries, edges -----------------------------------------------------------------------------------------------------

    def size(self, j: int) -> int:
        return int(self.spec.units[j])

    def add(self, j: int, what: str) -> int:
        self.inner.append(Inner(j, what))
        self.units.append(self.size(j))
        return self.spec.n_nodes + len(self.inner) - 1

    def edge(self, source: int, destination: int, entry: int) -> None:
        self.edges.append((source, destination, entry))

    def entries(self, e: int) -> int:
        """The first of the entries of an edge, one a unit; a number for all units of a layer fills as many slots."""
        start, count = int(self.layout.edge_start[e]), self.size(int(self.spec.edge_dst[e]))
        if int(self.layout.edge_count[e]) == count:
            return start
        return self.more(self.layout.entry_parameter[start], self.layout.entry_value[start], count)

    def constant(self, value: float, count: int) -> int:
        return self.more(-1, value, count)

    def more(self, parameter: int, value: float, count: int) -> int:
        self.parameter.append(np.full(count, parameter, np.int64))
        self.value.append(np.full(count, value))
        self.n_entries += count
        return self.n_entries - count

    # -- all of it ---------------------------------------------------------------------------------------------------------------

    def finished(self) -> Expansion:
        spec, layout = self.spec, self.layout
        kept = np.flatnonzero(spec.aggregation[spec.edge_dst] == 0)
        added = np.array(self.edges, np.int64).reshape(-1, 3)
        units = np.concatenate([spec.units, np.array(self.units, np.int64)])
        src, dst = np.concatenate([spec.edge_src[kept], added[:, 0]]), np.concatenate([spec.edge_dst[kept], added[:, 1]])
        order = np.argsort(dst, kind="stable")
        value = np.concatenate(self.value)
        weight = np.concatenate([spec.edge_weight[kept], np.where(units[added[:, 1]] == 1, value[added[:, 2]], np.nan)])[order]
        start = np.concatenate([layout.edge_start[kept], added[:, 2]])[order]
        count = np.concatenate([layout.edge_count[kept], units[added[:, 1]]])[order]
        of = np.concatenate([kept, np.full(len(added), -1)])[order]
        array = {k: spec.edge_array[e] for k, e in enumerate(of.tolist()) if e in spec.edge_array}
        for k in np.flatnonzero((of < 0) & np.isnan(weight)).tolist():
            array[k] = _diagonal(value[start[k] : start[k] + count[k]])
        node, kind, first, second = np.array(self.combined, np.int64).reshape(-1, 4).T
        return Expansion(
            self._larger(units, src[order], dst[order], weight, array),
            Layout(
                start,
                count,
                np.concatenate([layout.bias_start, np.full(len(self.inner), -1)]),
                np.concatenate(self.parameter),
                value,
                layout.theta,
            ),
            node,
            kind,
            first,
            second,
            tuple(self.inner),
        )

    def _larger(self, units: Indices, src: Indices, dst: Indices, weight: Any, array: dict[int, Any]) -> GraphSpec:
        spec, more = self.spec, len(self.inner)
        identity = get_activation("identity")
        activations = spec.activations if identity in spec.activations else (*spec.activations, identity)
        names: tuple[Hashable, ...] = (*spec.names, *self.inner)
        return replace(
            spec,
            names=names,
            units=units,
            role=np.concatenate([spec.role, np.full(more, HIDDEN, spec.role.dtype)]),
            activation=np.concatenate([spec.activation, np.full(more, activations.index(identity))]),
            activations=activations,
            bias=(*spec.bias, *[None] * more),
            edge_src=src,
            edge_dst=dst,
            edge_weight=weight,
            edge_array=array,
            aggregation=np.zeros(len(names), np.int8),
        )


def _diagonal(values: npt.NDArray[np.float64]) -> Any:
    """A CSR matrix that stores its diagonal, zeros too."""
    from scipy import sparse

    n = len(values)
    return sparse.csr_array((values, np.arange(n), np.arange(n + 1)), shape=(n, n))


def _sorting(n: int) -> tuple[list[tuple[str, int, int, int]], list[int]]:
    """A sorting network (Batcher's merge exchange; Knuth, volume 3, 5.2.2 M): steps (min or max, u, v, number of the result), and the
    numbers of the sorted values; 0..n−1 are what comes in.
    """
    wires, steps = list(range(n)), list[tuple[str, int, int, int]]()
    for i, j in _exchanges(n):
        u, v, out = wires[i], wires[j], n + len(steps)
        steps += [("min", u, v, out), ("max", v, u, out + 1)]
        wires[i], wires[j] = out, out + 1
    return steps, wires


def _exchanges(n: int) -> list[tuple[int, int]]:
    found = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            found += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return found


def _wanted(steps: list[tuple[str, int, int, int]], ends: list[int]) -> set[int]:
    """The results that the ends are made of."""
    wanted = set(ends)
    for _, u, v, out in reversed(steps):
        if out in wanted:
            wanted |= {u, v}
    return wanted
