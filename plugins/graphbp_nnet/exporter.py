"""Writes a .nnet file, to the last digit of every weight."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.extend import INPUT, OUTPUT, Holds, NotSupportedError, fold_scaling, read_graph, write_atomically

__all__ = ["holds", "scaling", "write"]

Array = npt.NDArray[Any]
scaling = True
"""`shift` and `scale` of the input and output layers are the file's own normalisation."""


def _held_of_node(graph: nx.DiGraph, name: Any) -> tuple[str, ...]:
    if is_normalisation(graph, name):
        return "mean", "range", "trainable"
    if not graph.pred[name]:
        return "minimum", "maximum", "shift", "scale"
    return () if graph.succ[name] else ("shift", "scale")


def _held_of_edge(graph: nx.DiGraph, edge: tuple[Any, Any]) -> tuple[str, ...]:
    return ("trainable", "sparsity") if is_normalisation(graph, edge[1]) else ()


holds = Holds(_held_of_node, _held_of_edge)


def write(graph: nx.DiGraph, path: str | os.PathLike[str]) -> None:
    """Write a chain of layer nodes: input ─► relu ─► ... ─► relu ─► identity, normalisation layers of an imported file around it.

    `shift` and `scale` of the input and output node become the file's means and ranges.  Input limits come from the input node's
    `minimum` and `maximum`; without them, they are the largest numbers there are.  A layer without biases has biases of 0 there.

    Raises
    ------
    NotSupportedError : a graph that is not such a chain: a second input or output node, a skip edge, another activation; limits
        that are not one number an input.
    """
    graph = _without_mixed_scaling(graph)
    spec = read_graph(graph)
    chain = _chain(graph, spec)
    first, mean, spread = 1, np.zeros(spec.units[spec.index[chain[0]]] + 1), np.ones(spec.units[spec.index[chain[0]]] + 1)
    if is_normalisation(graph, chain[1]):
        mean[:-1], spread[:-1] = graph.nodes[chain[1]]["mean"], graph.nodes[chain[1]]["range"]
        first = 2
    for node, part in ((chain[0], slice(-1)), (chain[-1], slice(-1, None))):
        data = graph.nodes[node]
        mean[part] = np.ravel(data.get("shift", mean[part]))[: len(mean[part])]
        spread[part] = np.ravel(data.get("scale", spread[part]))[: len(spread[part])]
    last = len(chain) - 1
    if first < last and is_normalisation(graph, chain[-1]):
        mean[-1:], spread[-1:] = graph.nodes[chain[-1]]["mean"], graph.nodes[chain[-1]]["range"]
        last -= 1
    for k in range(first, last + 1):
        kind, wanted = graph.nodes[chain[k]].get("activation", "identity"), "relu" if k < last else "identity"
        if kind != wanted:
            raise NotSupportedError(f"node {chain[k]!r} has activation {kind!r}; in a .nnet file it is {wanted!r}")
    sizes = [
        int(spec.units[spec.index[chain[first - 1]]]),
        *(int(spec.units[spec.index[name]]) for name in chain[first : last + 1]),
    ]
    x, greatest = graph.nodes[chain[0]], np.finfo(float).max
    lines = [
        "// written by graphbp",
        _line([len(sizes) - 1, sizes[0], sizes[-1], max(sizes)]),
        _line(sizes),
        _line([0]),
        _line(_limits(chain[0], "minimum", x.get("minimum", -greatest), sizes[0])),
        _line(_limits(chain[0], "maximum", x.get("maximum", greatest), sizes[0])),
        _line(mean.tolist()),
        _line(spread.tolist()),
    ]
    for below, name in zip(chain[first - 1 : last], chain[first : last + 1], strict=True):
        b = spec.bias[spec.index[name]]
        lines += [_line(row) for row in _matrix(graph.edges[below, name]["weight"]).tolist()]
        lines += [_line([value]) for value in (np.zeros(spec.units[spec.index[name]]) if b is None else b).tolist()]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _without_mixed_scaling(graph: nx.DiGraph) -> nx.DiGraph:
    """The graph, its scaling folded into the weights where the file's own normalisation (one for all outputs) cannot hold it."""
    mixed = any(is_normalisation(graph, name) for name in graph)
    for name, data in graph.nodes(data=True):
        if not graph.succ[name]:  # the output
            mixed |= any(np.ptp(np.ravel(data.get(key, 0.0))) > 0 for key in ("shift", "scale"))
    return fold_scaling(graph) if mixed else graph


def _line(values: Iterable[float]) -> str:
    return "".join(f"{value!r}," for value in values)


def _matrix(weight: Any) -> Array:
    dense = weight.toarray() if hasattr(weight, "toarray") else weight
    return np.atleast_2d(np.asarray(dense, np.float64))


def _chain(graph: nx.DiGraph, spec: Any) -> list[Any]:
    """The nodes from the input to the output, one after the other."""
    ends = [[name for name, role in zip(spec.names, spec.role, strict=True) if role == r] for r in (INPUT, OUTPUT)]
    for what, found in zip(("input", "output"), ends, strict=True):
        if len(found) != 1:
            raise NotSupportedError(
                f"the graph has {len(found)} {what} nodes; a .nnet file holds one layer of {what}s, a node with units="
            )
    chain = [ends[0][0]]
    while len(following := list(graph.successors(chain[-1]))) == 1:
        chain.append(following[0])
    odd = next((name for name in graph if graph.in_degree(name) > 1 or graph.out_degree(name) > 1), None)
    if odd is not None or len(chain) != len(graph) or chain[-1] != ends[1][0]:
        where = f"node {odd!r} has several edges in or out" if odd is not None else "some nodes are not between input and output"
        raise NotSupportedError(f"{where}; a .nnet file holds a chain of fully connected layers")
    return chain


def _limits(name: Any, what: str, value: Any, count: int) -> list[float]:
    """A number for each input."""
    try:
        limits: list[float] = np.broadcast_to(np.asarray(value, np.float64), count).tolist()
    except (TypeError, ValueError, OverflowError) as problem:
        raise NotSupportedError(f"node {name!r}: {what} is {value!r}; a .nnet file takes a number, or {count} of them") from problem
    if not np.isfinite(limits).all():
        raise NotSupportedError(f"node {name!r}: {what} is {value!r}; a .nnet file takes finite numbers")
    return limits


def is_normalisation(graph: nx.DiGraph, name: Any) -> bool:
    """Whether a node, first or last of the chain, is the frozen layer that its `mean` and `range` describe, to the last digit."""
    data, below = graph.nodes[name], list(graph.pred[name])
    if len(below) != 1 or not {"mean", "range", "bias"} <= data.keys():
        return False
    edge = graph.edges[below[0], name]
    if data.get("trainable") is not False or edge.get("trainable") is not False or data.get("activation", "identity") != "identity":
        return False
    try:
        mean, spread = (np.asarray(data[key], np.float64) for key in ("mean", "range"))
        units = data.get("units", 1)
        if graph.succ[name]:
            scale, shift = np.broadcast_to(1 / spread, units), np.broadcast_to(-mean / spread, units)
        else:
            scale, shift = np.full(units, spread.item()), np.full(units, mean.item())
        bias = np.broadcast_to(np.asarray(data["bias"], np.float64), units)
        return np.array_equal(_matrix(edge["weight"]), np.diag(scale)) and np.array_equal(bias, shift)
    except (TypeError, ValueError):
        return False
