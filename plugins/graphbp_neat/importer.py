"""Reads neat-python's JSON."""

from __future__ import annotations

import math
import os
import reprlib
from pathlib import Path
from typing import Any

import networkx as nx

from graphbp.extend import AGGREGATIONS, FileFormatError, NotSupportedError, parse_json, read_file, read_start
from graphbp_neat.activations import ACTIVATIONS

__all__ = ["VERSION", "advice", "description", "read", "sniff", "suffixes"]

VERSION = "1.0"

suffixes = (".json",)
description = "neat-python's exported network (JSON)"


def sniff(path: Path) -> bool:
    """Whether the fields that neat-python writes first are there."""
    head = read_start(path, 4096)
    return '"network_type"' in head and '"format_version"' in head


def advice(thing: Any) -> str | None:
    """How an object of neat-python's becomes a file that `read` reads."""
    kinds = type(thing).__mro__
    if not any(kind.__module__.split(".")[0] == "neat" for kind in kinds):
        return None
    export = "neat.export.export_network_json(network, 'winner.json') writes it, and gb.load('winner.json') reads that"
    if hasattr(thing, "node_evals"):
        return f"a network of neat-python comes as a file: {export}"
    if hasattr(thing, "nodes") and hasattr(thing, "connections"):
        return f"of a genome of neat-python, network = neat.nn.FeedForwardNetwork.create(genome, config) is the network: {export}"
    return f"of neat-python, gb.load reads exported networks: {export}"


def read(path: str | os.PathLike[str]) -> nx.DiGraph[int]:
    """The graph of a feed-forward network, its units named by neat-python's keys.

    Raises
    ------
    FileFormatError : not such a file, or a damaged one: a missing field, a number that is none, an unknown node.
    NotSupportedError : a recurrent, CTRNN or spiking network, an aggregation or an activation of the user's own.
    """
    document = parse_json(read_file(path), path)
    try:
        return _graph(document)
    except (FileFormatError, NotSupportedError) as problem:
        raise type(problem)(f"{path}: {problem}") from problem
    except (KeyError, TypeError, AttributeError) as problem:
        raise FileFormatError(f"{path} lacks something that neat-python writes: {problem!r}") from problem


def _graph(document: dict[str, Any]) -> nx.DiGraph[int]:
    if document["format_version"] != VERSION:
        raise FileFormatError(f"format_version is {document['format_version']!r}; this reader knows {VERSION!r}")
    if document["network_type"] != "feedforward":
        raise NotSupportedError(f"the network is of type {document['network_type']!r}; only 'feedforward' has no feedback")
    topology = document["topology"]
    inputs, outputs = (_keys(topology, name) for name in ("input", "output"))
    nodes = {}
    for entry in document["nodes"]:
        key = _key(entry["id"])
        if key in nodes:
            raise FileFormatError(f"node {key} is there twice")
        nodes[key] = entry
    hidden = [key for key in nodes if key not in inputs and key not in outputs]

    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(inputs, role="input")
    response = {}
    for key in [*hidden, *outputs]:
        role = "output" if key in outputs else "hidden"
        if key not in nodes:  # neat-python leaves out an output that nothing leads to; its value is then 0
            graph.add_node(key, role=role)
            continue
        entry = nodes[key]
        if entry["type"] != role:
            raise FileFormatError(f"node {key} is of type {entry['type']!r}, and by input_keys and output_keys it is {role!r}")
        graph.add_node(key, role=role, activation=_activation(key, entry), bias=_number(entry["bias"], f"the bias of node {key}"))
        if (aggregation := _aggregation(key, entry)) != "sum":
            graph.nodes[key]["aggregation"] = aggregation
        response[key] = _number(entry["response"], f"the response of node {key}")
    for key in inputs:
        if key in nodes and nodes[key]["type"] != "input":
            raise FileFormatError(f"node {key} is of type {nodes[key]['type']!r}, and by input_keys it is 'input'")
    for connection in document["connections"]:
        i, j = _key(connection["from"]), _key(connection["to"])
        name = f"connection {i} -> {j}"
        if type(connection["enabled"]) is not bool:
            raise FileFormatError(f"{name}: enabled is {connection['enabled']!r}, neither true nor false")
        if not connection["enabled"]:
            continue
        if i not in graph or j not in response:
            raise FileFormatError(f"{name} {'leads into an input' if j in inputs else 'joins a node that is not listed'}")
        if graph.has_edge(i, j):
            raise FileFormatError(f"{name} is there twice")
        weight = _number(connection["weight"], f"the weight of {name}")
        factor = 1.0 if graph.nodes[j].get("aggregation") == "product" and graph.pred[j] else response[j]
        graph.add_edge(i, j, weight=_product(factor, weight, name))
    for key, factor in response.items():
        _with_response(graph, key, factor)
    return graph


def _with_response(graph: nx.DiGraph[int], key: int, response: float) -> None:
    """What the response does besides: r · max(s) = min(r s) for r < 0; of nothing the product is 1, and all others 0."""
    data = graph.nodes[key]
    kind = data.get("aggregation", "sum")
    if not graph.pred[key]:
        if data.pop("aggregation", None) == "product":
            data["bias"] = _sum(data["bias"], response, key)
    elif response < 0 and kind in _MIRRORED:
        data["aggregation"] = _MIRRORED[kind]


_MIRRORED = {"max": "min", "min": "max"}


def _sum(bias: float, response: float, key: int) -> float:
    total = bias + response
    if not math.isfinite(total):
        raise FileFormatError(f"node {key}: the bias {bias!r} and the response {response!r}, its product of nothing, overflow")
    return total


def _keys(topology: dict[str, Any], kind: str) -> list[int]:
    keys = [_key(key) for key in topology[f"{kind}_keys"]]
    if len(set(keys)) != len(keys) or topology[f"num_{kind}s"] != len(keys):
        raise FileFormatError(f"num_{kind}s is {topology[f'num_{kind}s']!r} and {kind}_keys is {keys}")
    return keys


def _key(value: Any) -> int:
    if type(value) is not int:
        raise FileFormatError(f"a node is called {value!r}; neat-python's nodes are whole numbers")
    return value


def _number(value: Any, what: str) -> float:
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:  # a whole number beyond float64
        number = math.inf
    if not math.isfinite(number):
        raise FileFormatError(f"{what} is {reprlib.repr(value)}, not a finite number")
    return number


def _product(response: float, weight: float, name: str) -> float:
    """The weight that the graph's edge has."""
    product = response * weight
    if not math.isfinite(product):
        raise FileFormatError(f"{name}: the response {response!r} times the weight {weight!r} is not a finite number")
    return product


def _activation(key: int, entry: dict[str, Any]) -> str:
    """graphbp's name of a node's activation."""
    activation = entry["activation"]
    if activation["custom"] or activation["name"] not in ACTIVATIONS:
        raise NotSupportedError(
            f"node {key} has the activation {activation['name']!r}, which is not one of neat-python's own ({', '.join(ACTIVATIONS)})"
        )
    return ACTIVATIONS[activation["name"]]


def _aggregation(key: int, entry: dict[str, Any]) -> str:
    """The node's aggregation, which has the same name here."""
    aggregation = entry["aggregation"]
    if aggregation["custom"] or aggregation["name"] not in AGGREGATIONS:
        raise NotSupportedError(
            f"node {key} has the aggregation {aggregation['name']!r}, which is not one of neat-python's own ({', '.join(AGGREGATIONS)})"
        )
    return str(aggregation["name"])
