"""What a file format can hold, compared with what a network has before anything is written.

Every format holds nodes with their units, activation, bias and role, and edges with their weight.  What else one holds its exporter
says, in an attribute `holds`; what a graph has beyond that (a frozen or tied weight, a scale, anybody's own attribute, the network's
error function and dtype) is refused by name, unless the caller names it in `drop`.

>>> import networkx as nx
>>> g = nx.DiGraph([("x", "y", {"weight": 2.0, "trainable": False})])
>>> without_losses(g, "wann", Holds(), {}, drop="trainable").edges["x", "y"]
{'weight': 2.0}
>>> without_losses(g, "wann", Holds(), {}, drop=())  # doctest: +ELLIPSIS
Traceback (most recent call last):
graphbp.exceptions.NotSupportedError: a file of format 'wann' cannot hold this: edge 'x' -> 'y' has trainable=False; change ...
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx

from graphbp.exceptions import DataError, NotSupportedError
from graphbp.spec import describe_edge

__all__ = ["Holds", "dropped_names", "without_losses"]


@dataclass(frozen=True)
class Holds:
    """The attributes that a format holds of nodes, edges and the graph, besides those that every format does; and of the network
    ("error", "dtype", "metadata").  "sparsity" of an edge: which entries of its weight are there.

    What differs from node to node, or from edge to edge, is a function: `nodes(graph, node)`, `edges(graph, (u, v))`.
    """

    nodes: Collection[str] | Callable[[nx.DiGraph[Any], Any], Collection[str]] = ()
    edges: Collection[str] | Callable[[nx.DiGraph[Any], tuple[Any, Any]], Collection[str]] = ()
    graph: Collection[str] = ()
    network: Collection[str] = ()


_EVERY_NODE = frozenset(("units", "activation", "bias", "role"))
_EVERY_EDGE = frozenset(("weight",))
_SHOWN = 5  # attributes in a message


def without_losses(
    graph: nx.DiGraph[Any], format: str, holds: Holds, network: Mapping[str, Any], drop: Collection[str] | str
) -> nx.DiGraph[Any]:
    """The graph without what `drop` names.

    Parameters
    ----------
    graph : as it is to be written; it is not changed.
    format, holds : the format's name and what it can hold.
    network : what the network has besides its graph, and a file read without options would not give back.
    drop : names of attributes that may be lost, with commas or as a list; "all" for any.

    Raises
    ------
    NotSupportedError : there is something else that the format cannot hold; names the first such node, edge or attribute.
    """
    names = dropped_names(drop)
    found = list(_losses(graph, holds, network))
    for loss in found:
        if loss.key == "aggregation":  # without it the nodes would be sums: another function
            raise NotSupportedError(
                f"a file of format {format!r} cannot hold this: {loss.where} has aggregation={loss.value!r}; save as .json, which holds it"
            )
    kept = [loss for loss in found if "all" not in names and str(loss.key) not in names]
    if kept:
        first = list({str(loss.key): loss for loss in reversed(kept)}.values())[::-1]  # one of each attribute
        shown = "; ".join(f"{loss.where} has {loss.key}={reprlib.repr(loss.value)}" for loss in first[:_SHOWN])
        others = f" (and {len(kept) - len(first[:_SHOWN]):,} more such)" if len(kept) > len(first[:_SHOWN]) else ""
        raise NotSupportedError(
            f"a file of format {format!r} cannot hold this: {shown}{others}; change the graph, or "
            f'drop="{",".join(str(loss.key) for loss in first)}" writes the file without'
        )
    return _without(graph, found) if found else graph


@dataclass(frozen=True)
class _Loss:
    """An attribute, of the node, edge, graph or network `where`, that a format cannot hold; `data` is the dictionary that it is in."""

    where: str
    key: Any
    value: Any
    data: Mapping[Any, Any]


def dropped_names(drop: Any) -> frozenset[str]:
    """The names in `drop`."""
    parts = drop.split(",") if isinstance(drop, str) else drop
    try:
        names = [part.strip() for part in parts]
    except (TypeError, AttributeError):
        raise DataError(f'drop={drop!r}; it takes names of attributes, drop="trainable,tie" or a list of them, or "all"') from None
    return frozenset(names)


def _losses(graph: nx.DiGraph[Any], holds: Holds, network: Mapping[str, Any]) -> Iterator[_Loss]:
    """Everything that the format cannot hold."""
    for where, data, held in (("the network", network, holds.network), ("the graph", graph.graph, holds.graph)):
        yield from (_Loss(where, key, value, data) for key, value in data.items() if key not in held)
    for node, data in graph.nodes(data=True):
        held = _held(holds.nodes, graph, node)
        if data.get("bias") is None:
            held = {*held, "trainable", "tie"}  # of nothing
        yield from (_Loss(f"node {node!r}", *each, data) for each in _beyond(data, _EVERY_NODE, held))
    for u, v, data in graph.edges(data=True):
        held = _held(holds.edges, graph, (u, v))
        yield from (_Loss(describe_edge(u, v), *each, data) for each in _beyond(data, _EVERY_EDGE, held))
        weight = data.get("weight")
        if hasattr(weight, "tocsr") and "sparsity" not in held and weight.nnz < math.prod(weight.shape):
            yield _Loss(describe_edge(u, v), "sparsity", f"{weight.nnz} of {math.prod(weight.shape)} entries", data)


def _held(what: Any, graph: nx.DiGraph[Any], item: Any) -> Collection[str]:
    held: Collection[str] = what(graph, item) if callable(what) else what
    return held


def _beyond(data: Mapping[Any, Any], every: Collection[str], held: Collection[str]) -> Iterator[tuple[Any, Any]]:
    for key, value in data.items():
        if key not in every and key not in held and not _says_nothing(key, value):
            yield key, value


def _says_nothing(key: Any, value: Any) -> bool:
    return (
        (key == "trainable" and value is not None and bool(value))
        or (key == "tie" and value is None)
        or (key == "aggregation" and (value is None or value == "sum"))
    )


def _without(graph: nx.DiGraph[Any], losses: Collection[_Loss]) -> nx.DiGraph[Any]:
    """The graph without these."""
    gone: dict[int, set[Any]] = {}
    for loss in losses:
        gone.setdefault(id(loss.data), set()).add(loss.key)

    def rest(data: Mapping[Any, Any]) -> dict[Any, Any]:
        lost = gone.get(id(data), set())
        kept = {key: value for key, value in data.items() if key not in lost}
        if "sparsity" in lost:
            kept["weight"] = kept["weight"].toarray()
        return kept

    other: nx.DiGraph[Any] = nx.DiGraph()
    other.graph.update(rest(graph.graph))
    other.add_nodes_from((node, rest(data)) for node, data in graph.nodes(data=True))
    # by predecessors: the order of the parameters is theirs
    other.add_edges_from((u, v, rest(data)) for u, v, data in graph.in_edges(data=True))
    return other
