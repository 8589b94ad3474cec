"""Writes a .out table, to the last digit of every weight."""

from __future__ import annotations

import os

import networkx as nx
import numpy as np

from graphbp.extend import INPUT, OUTPUT, DataError, NotSupportedError, read_graph, write_atomically
from graphbp_wann.activations import ACTIVATIONS
from graphbp_wann.importer import check_counts

__all__ = ["write"]


def write(graph: nx.DiGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph of single units: bias, inputs, hidden units in topological order, outputs.

    Raises
    ------
    NotSupportedError : a layer node, an activation without a number, an output that feeds another unit, a weight of exactly 0
        (which would read as no connection), a hidden unit that feeds nothing or that nothing feeds, where it would read as an
        output or an input.
    """
    spec = read_graph(graph)
    number = {name: k for k, name in ACTIVATIONS.items()}
    order = {name: k for k, name in enumerate(nx.topological_sort(graph))}
    third = np.select([spec.role == INPUT, spec.role == OUTPUT], [0, 2], 1)
    place = np.lexsort((np.array([order[name] for name in spec.names]), third))
    for role in (INPUT, OUTPUT):  # these keep the order of X's and Y's columns
        place[spec.role[place] == role] = np.flatnonzero(spec.role == role)
    row = np.empty(spec.n_nodes, np.int64)
    row[place] = np.arange(1, spec.n_nodes + 1)
    table = np.zeros((spec.n_nodes + 1, spec.n_nodes + 2))
    table[0, -1] = 1
    for i, name in enumerate(spec.names):
        kind = spec.activations[spec.activation[i]].name
        if spec.units[i] != 1:
            raise NotSupportedError(f"node {name!r} has {spec.units[i]} units; a .out file holds single units")
        if kind not in number:
            raise NotSupportedError(f"node {name!r} has activation {kind!r}; a .out file knows {', '.join(number)}")
        table[row[i], -1] = number[kind]
        b = spec.bias[i]
        table[0, row[i]] = 0.0 if b is None else b[0] or -0.0  # +0 reads as no bias
    for e, (i, j, w) in enumerate(zip(spec.edge_src, spec.edge_dst, spec.edge_weight, strict=True)):
        if spec.role[i] == OUTPUT:
            raise NotSupportedError(f"{spec.edge_name(e)}: a .out file has no output that feeds another unit")
        value = float(spec.edge_array[e].sum()) if e in spec.edge_array else float(w)
        if value == 0:
            raise NotSupportedError(f"{spec.edge_name(e)} has weight 0, which a .out file reads as no connection; remove the edge")
        table[row[i], row[j]] = value
    counts = (int((spec.role == role).sum()) for role in (INPUT, OUTPUT))
    try:
        check_counts("read again", table[:, :-1], *counts)
    except DataError as problem:
        raise NotSupportedError(
            f"a .out file tells inputs and outputs by what feeds what, and this one could not be read again: {problem}"
        ) from problem
    text = "\n".join(",".join(repr(value) for value in line) for line in table.tolist()) + "\n"
    write_atomically(path, text.encode())
