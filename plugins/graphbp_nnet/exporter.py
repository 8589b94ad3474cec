"""Writes a .nnet file, to the last digit of every weight."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.extend import INPUT, OUTPUT, NotSupportedError, fold_scaling, read_graph, write_atomically

__all__ = ["scaling", "write"]

Array = npt.NDArray[Any]
scaling = True
"""`shift` and `scale` of the input and output layers are the file's own normalisation."""


def write(graph: nx.DiGraph, path: str | os.PathLike[str]) -> None:
    """Write a chain of layer nodes: input ─► relu ─► ... ─► relu ─► identity, normalisation layers of an imported file around it.

    `shift` and `scale` of the input and output node become the file's means and ranges.  Input limits come from the input node's
    `minimum` and `maximum`; without them, they are the largest numbers there are.

    Raises
    ------
    NotSupportedError : a graph that is not such a chain: a second input or output node, a skip edge, another activation.
    """
    graph = _without_mixed_scaling(graph)
    spec = read_graph(graph)
    chain = _chain(graph, spec)
    first, mean, spread = 1, np.zeros(spec.units[spec.index[chain[0]]] + 1), np.ones(spec.units[spec.index[chain[0]]] + 1)
    if _is_normalisation(graph, chain[1]):
        mean[:-1], spread[:-1] = graph.nodes[chain[1]]["mean"], graph.nodes[chain[1]]["range"]
        first = 2
    for node, part in ((chain[0], slice(-1)), (chain[-1], slice(-1, None))):
        data = graph.nodes[node]
        mean[part] = np.ravel(data.get("shift", mean[part]))[: len(mean[part])]
        spread[part] = np.ravel(data.get("scale", spread[part]))[: len(spread[part])]
    last = len(chain) - 1
    if first < last and _is_normalisation(graph, chain[-1]):
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
        _line(np.broadcast_to(x.get("minimum", -greatest), sizes[0]).tolist()),
        _line(np.broadcast_to(x.get("maximum", greatest), sizes[0]).tolist()),
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
    mixed = any(_is_normalisation(graph, name) for name in graph)
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


def _is_normalisation(graph: nx.DiGraph, name: Any) -> bool:
    data = graph.nodes[name]
    return data.get("trainable") is False and "mean" in data and "range" in data
