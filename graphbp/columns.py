"""A graph as columns: what a DiGraph says node by node and edge by edge, in arrays where it can be; nothing is checked yet.

    DiGraph ──columns_of──► Columns ◄──files.native── model.json
                 ▲            │  └──graph.check_columns──► GraphSpec
                 └─to_digraph─┘

A DiGraph of a million edges is a million small dictionaries, seconds to build and hundreds of megabytes; a file of graphbp's own and a
network that is saved go through columns instead.  Edges are sorted by destination, then in predecessor order: the order of θ.

>>> import networkx as nx
>>> g = nx.DiGraph([("x", "y", {"weight": 2.0, "seen": 1}), ("x", "h", {"weight": 3.0}), ("h", "y", {"weight": None})])
>>> columns = columns_of(g)
>>> columns.names, columns.src.tolist(), columns.dst.tolist()
(('x', 'y', 'h'), [0, 2, 0], [1, 1, 2])
>>> columns.weight.tolist(), columns.odd, columns.extra
([2.0, 0.0, 3.0], {1: None}, {0: {'seen': 1}})
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.exceptions import GraphError
from graphbp.plugins import advice

__all__ = ["Columns", "columns_of", "to_digraph"]

Node = Hashable
_NUMBERS = (float, int, np.floating, np.integer)


@dataclass(frozen=True)
class Columns:
    """Nodes by number `i`, edges by number `e`, sorted by destination.

    Attributes
    ----------
    names, nodes : each node's name and attributes; the attributes are the graph's own dictionaries, not to be changed.
    src, dst : (E,) node numbers.
    weight : (E,) float64, 0 where the weight is no plain number.
    odd : edge number → such a weight: an array, a sparse matrix, a `Fraction`, a mistake, or None where there is none.
    extra : edge number → its attributes besides the weight, where it has any.
    graph : the graph's attributes.
    """

    names: tuple[Node, ...]
    nodes: Sequence[Mapping[str, Any]]
    src: npt.NDArray[np.int64]
    dst: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    odd: Mapping[int, Any]
    extra: Mapping[int, dict[str, Any]]
    graph: Mapping[str, Any]

    @cached_property
    def index(self) -> dict[Node, int]:
        """Node numbers by name."""
        return {name: i for i, name in enumerate(self.names)}


def _check_kind(graph: Any) -> None:
    if not isinstance(graph, nx.Graph):
        raise GraphError(
            f"a network is built from a networkx.DiGraph, not {type(graph).__name__}; gb.load(path) reads files and "
            f"gb.from_edges(src, dst, weight) takes arrays{advice(graph)}"
        )
    if not graph.is_directed():
        raise GraphError(
            "the graph is undirected; a network needs to know which way signals flow: add its edges to a networkx.DiGraph in that "
            "direction (networkx.DiGraph(g) and g.to_directed() would have each of them both ways, a cycle)"
        )
    if graph.is_multigraph():
        raise GraphError(
            "the graph is a MultiDiGraph; parallel edges i -> j add up, so merge them into one with the sum of their weights: "
            "gb.merge_parallel_edges(g) (networkx.DiGraph(g) would keep the last of them and drop the others)"
        )


def columns_of(graph: Any) -> Columns:
    """The columns of a DiGraph; raises `GraphError` for anything else.

    networkx's traversal is the larger part of the cost: nothing else is done inside it.
    """
    _check_kind(graph)
    names = tuple(map(_plain_name, graph.nodes))
    index = {name: i for i, name in enumerate(names)}
    sources: list[Node] = []
    data: list[dict[str, Any]] = []
    for u, _, attributes in graph.in_edges(data=True):  # node by node, in predecessor order
        sources.append(u)
        data.append(attributes)
    n, m = len(names), len(sources)
    src = np.fromiter(map(index.__getitem__, sources), np.int64, m)
    dst = np.repeat(np.arange(n), np.fromiter((d for _, d in graph.in_degree()), np.int64, n))
    weight, odd = _plain_numbers([attributes.get("weight") for attributes in data])
    extra = {
        e: {k: x for k, x in attributes.items() if k != "weight"}
        for e, attributes in enumerate(data)
        if len(attributes) > 1 or (attributes and "weight" not in attributes)
    }
    return Columns(names, [attributes for _, attributes in graph.nodes(data=True)], src, dst, weight, odd, extra, graph.graph)


def _plain_name(name: Node) -> Node:
    """A NumPy string or number as Python's own, which is equal to it and has its hash; NaN, which is not equal to itself, is refused."""
    if isinstance(name, np.generic):
        own: Any = name.item()
        name = own if own == name and hash(own) == hash(name) else name
    if isinstance(name, float) and name != name:
        raise GraphError("a node is called nan, which is not equal to itself, so that nothing can name it; give it another name")
    return name


def _plain_numbers(values: list[Any]) -> tuple[npt.NDArray[np.float64], dict[int, Any]]:
    """Values as float64, and by position those that are no plain numbers (0 in the array)."""
    plain = {kind for kind in set(map(type, values)) if issubclass(kind, _NUMBERS) and kind is not bool}
    odd = {e: w for e, w in enumerate(values) if type(w) not in plain}
    for e in odd:
        values[e] = 0.0
    try:
        return np.array(values, np.float64), odd
    except OverflowError:  # an int beyond float64: those above 2**1000 are read one by one, which names the edge
        large = {e: w for e, w in enumerate(values) if isinstance(w, int) and abs(w) >> 1000}
        for e in large:
            values[e] = 0.0
        return np.array(values, np.float64), odd | large


def to_digraph(columns: Columns) -> nx.DiGraph[Any]:
    """The graph with these columns: new dictionaries, the weight first in each edge's."""
    graph: nx.DiGraph[Any] = nx.DiGraph()
    graph.graph.update(columns.graph)
    graph.add_nodes_from(zip(columns.names, columns.nodes, strict=True))  # not as keywords: an attribute may have any hashable name
    graph.add_edges_from(_edges(columns))
    return graph


def _edges(columns: Columns) -> Iterator[tuple[Node, Node, dict[str, Any]]]:
    names, odd, extra = columns.names, columns.odd, columns.extra
    for e, (i, j, w) in enumerate(zip(columns.src.tolist(), columns.dst.tolist(), columns.weight.tolist(), strict=True)):
        attributes: dict[str, Any] = {"weight": odd.get(e, w)}
        if e in extra:
            attributes.update(extra[e])
        yield names[i], names[j], attributes
