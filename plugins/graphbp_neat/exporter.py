"""Writes neat-python's JSON."""

from __future__ import annotations

import json
import os
from typing import Any

import networkx as nx

from graphbp.extend import AGGREGATIONS, INPUT, OUTPUT, Holds, NotSupportedError, read_graph, write_atomically
from graphbp_neat.activations import ACTIVATIONS
from graphbp_neat.importer import VERSION

__all__ = ["holds", "write"]

holds = Holds(nodes=("aggregation",))


def write(graph: nx.DiGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph of single units.

    Units are numbered as neat-python does, inputs −1, −2, ..., outputs 0, 1, ..., hidden ones after them; names that fit this already
    (an imported network's) stay.

    Raises
    ------
    NotSupportedError : a layer node, an activation that neat-python has not.
    """
    spec = read_graph(graph)
    theirs = {name: key for key, name in ACTIVATIONS.items()}
    keys, aggregations = _keys(spec), tuple(AGGREGATIONS)  # neat-python's names are ours
    nodes: list[dict[str, Any]] = []
    for i, name in enumerate(spec.names):
        if spec.units[i] != 1:
            raise NotSupportedError(f"node {name!r} has {spec.units[i]} units; neat-python's nodes are single units")
        kind = spec.activations[spec.activation[i]].name
        if kind not in theirs:
            raise NotSupportedError(f"node {name!r} has activation {kind!r}; neat-python has {', '.join(theirs)}")
        b = spec.bias[i]
        is_input = spec.role[i] == INPUT
        nodes.append(
            {
                "id": keys[i],
                "type": "input" if is_input else "output" if spec.role[i] == OUTPUT else "hidden",
                "activation": {"name": theirs[kind], "custom": False},
                "aggregation": {"name": "none" if is_input else aggregations[spec.aggregation[i]], "custom": False},
                "bias": 0.0 if b is None else float(b[0]),
                "response": 1.0,
            }
        )
    connections = []
    for e, (i, j) in enumerate(zip(spec.edge_src.tolist(), spec.edge_dst.tolist(), strict=True)):
        w = float(spec.edge_array[e].sum()) if e in spec.edge_array else float(spec.edge_weight[e])
        connections.append({"from": keys[i], "to": keys[j], "weight": w, "enabled": True})
    inputs, outputs = ([keys[i] for i in range(spec.n_nodes) if spec.role[i] == role] for role in (INPUT, OUTPUT))
    document = {
        "format_version": VERSION,
        "network_type": "feedforward",
        "metadata": {"note": "written by graphbp"},
        "topology": {
            "num_inputs": len(inputs),
            "num_outputs": len(outputs),
            "input_keys": inputs,
            "output_keys": outputs,
        },
        "nodes": nodes,
        "connections": connections,
    }
    write_atomically(path, json.dumps(document, indent=2).encode())


def _keys(spec: Any) -> list[int]:
    """neat-python's key of each node."""
    if all(type(name) is int and (name < 0) == (role == INPUT) for name, role in zip(spec.names, spec.role, strict=True)):
        return list(spec.names)
    keys = [0] * spec.n_nodes
    order = sorted(range(spec.n_nodes), key=lambda i: spec.role[i] != OUTPUT)
    n_inputs = n_units = 0
    for i in order:
        if spec.role[i] == INPUT:
            n_inputs += 1
            keys[i] = -n_inputs
        else:
            keys[i] = n_units
            n_units += 1
    return keys
