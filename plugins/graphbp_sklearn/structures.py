"""The DiGraph of an estimator: a generator by name, sized from the data, or the caller's own.

    "layered"          layers, each fed by all before it (skips=True): graphbp's builder
    "random_dag"       units in a line: graphbp's builder
    "erdos_renyi"      networkx's gnp_random_graph(n, p), watts_strogatz_graph(n, k, p), barabasi_albert_graph(n, m): their nodes are the
    "watts_strogatz"   hidden units, an edge leads from the lower number to the higher.  With `wide` (the default) every input feeds
    "barabasi_albert"  each of them, and each feeds every output; without, only those that have no source, or feed nobody (Xie et al.
                       2019, "Exploring randomly wired neural networks"), which for a small world may be a single unit

A graph none of whose edges has a weight is a *structure*, and is dressed: weights are drawn (Glorot), hidden units get the activation,
and whatever is fed a bias of 0.  One with weights is a network, and starts from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import networkx as nx
import numpy as np

from graphbp.extend import (
    INPUT,
    OUTPUT,
    ConfigError,
    GraphError,
    GraphSpec,
    as_count,
    as_flag,
    get_activation,
    layered,
    random_dag,
    read_graph,
    unknown_name,
)

__all__ = ["GENERATORS", "dressed", "fitting", "from_name", "said_of_columns"]

HIDDEN_UNITS = 32
ACTIVATION = "tanh"


# -- by name ---------------------------------------------------------------------------------------------------------------------


def from_name(
    name: str, n_inputs: int, n_outputs: int, hidden: Any, activation: str, options: Mapping[str, Any], seed: int
) -> nx.DiGraph[Any]:
    """A generator's graph for D inputs and K outputs.  Raises `UnknownNameError`, `ConfigError` for an option that it does not take."""
    if name not in GENERATORS:
        raise unknown_name("graph", name, GENERATORS, "A networkx.DiGraph is taken as it is.")
    sizes = _sizes(hidden)
    try:
        return GENERATORS[name](n_inputs, n_outputs, sizes, activation, dict(options), seed)
    except TypeError as problem:  # an option that the generator does not have
        raise ConfigError(f"graph_options={dict(options)!r} do not fit graph={name!r}: {problem}") from problem


def _sizes(hidden: Any) -> list[int]:
    listed = list(hidden) if isinstance(hidden, (list, tuple, np.ndarray)) else [hidden]
    return [as_count("hidden", n, 1, "; hidden=(32, 16) makes two layers", ConfigError) for n in listed]


def _one_number(name: str, sizes: list[int]) -> int:
    if len(sizes) != 1:
        raise ConfigError(f"hidden={tuple(sizes)}; graph={name!r} has no layers: give the number of its hidden units")
    return sizes[0]


def _layered(D: int, K: int, sizes: list[int], activation: str, options: dict[str, Any], seed: int) -> nx.DiGraph[Any]:
    return layered([D, *sizes, K], activation=activation, seed=seed, **{"skips": True, **options})


def _random_dag(D: int, K: int, sizes: list[int], activation: str, options: dict[str, Any], seed: int) -> nx.DiGraph[Any]:
    return random_dag(D, _one_number("random_dag", sizes), K, activation=activation, seed=seed, **options)


def _erdos_renyi(n: int, seed: int, p: float = 0.2) -> nx.Graph[Any]:
    return nx.gnp_random_graph(n, p, seed=seed)


def _watts_strogatz(n: int, seed: int, k: int = 4, p: float = 0.25) -> nx.Graph[Any]:
    return nx.watts_strogatz_graph(n, min(k, n), p, seed=seed)


def _barabasi_albert(n: int, seed: int, m: int = 2) -> nx.Graph[Any]:
    return nx.barabasi_albert_graph(n, m, seed=seed) if n > m else nx.complete_graph(n)


def _wired(name: str, draw: Callable[..., nx.Graph[Any]]) -> Callable[..., nx.DiGraph[Any]]:
    """A generator of networkx, oriented and given inputs and outputs."""

    def build(D: int, K: int, sizes: list[int], activation: str, options: dict[str, Any], seed: int) -> nx.DiGraph[Any]:
        n, wide = _one_number(name, sizes), as_flag("wide", options.pop("wide", True), ConfigError)
        try:
            drawn = draw(n, seed, **options)
        except nx.NetworkXError as problem:
            raise ConfigError(f"graph={name!r} with graph_options={options!r}: {problem}") from problem
        return dressed(_oriented(drawn, D, K, wide), activation, seed)

    return build


def _oriented(drawn: nx.Graph[Any], D: int, K: int, wide: bool) -> nx.DiGraph[Any]:
    inputs, outputs = ([f"{letter}{i + 1}" for i in range(n)] for letter, n in (("x", D), ("y", K)))
    names = {node: f"h{i + 1}" for i, node in enumerate(sorted(drawn))}
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(inputs, role="input")
    g.add_nodes_from(names.values())
    g.add_nodes_from(outputs, role="output")
    g.add_edges_from((names[min(u, v)], names[max(u, v)]) for u, v in drawn.edges)
    first = [h for h in names.values() if wide or not g.pred[h]]
    last = [h for h in names.values() if wide or not g.succ[h]]
    g.add_edges_from((x, h) for h in first for x in inputs)
    g.add_edges_from((h, y) for y in outputs for h in last)
    return g


GENERATORS: dict[str, Callable[[int, int, list[int], str, dict[str, Any], int], nx.DiGraph[Any]]] = {
    "layered": _layered,
    "random_dag": _random_dag,
    "erdos_renyi": _wired("erdos_renyi", _erdos_renyi),
    "watts_strogatz": _wired("watts_strogatz", _watts_strogatz),
    "barabasi_albert": _wired("barabasi_albert", _barabasi_albert),
}
"""Name → (D, K, hidden units, activation, options, seed) ↦ graph."""


# -- the caller's own --------------------------------------------------------------------------------------------------------------


def is_structure(graph: nx.DiGraph[Any]) -> bool:
    """No edge has a weight."""
    return graph.number_of_edges() > 0 and not any("weight" in attributes for _, _, attributes in graph.edges(data=True))


def dressed(graph: nx.DiGraph[Any], activation: str, seed: int) -> nx.DiGraph[Any]:
    """A copy of a structure with all that it lacks to be a network (see the module)."""
    get_activation(activation)
    g, rng = graph.copy(), np.random.default_rng(seed)
    units = {node: _units(node, attributes) for node, attributes in g.nodes(data=True)}
    fan_in = {node: sum(units[u] for u in g.pred[node]) for node in g}
    fan_out = {node: sum(units[v] for v in g.succ[node]) for node in g}
    for u, v, attributes in g.edges(data=True):
        deviation = np.sqrt(2.0 / (fan_in[v] + fan_out[u]))
        if units[u] == units[v] == 1:
            attributes["weight"] = float(rng.standard_normal() * deviation)
        else:
            attributes["weight"] = rng.standard_normal((units[v], units[u])) * deviation
    for node, attributes in g.nodes(data=True):
        if g.pred[node]:
            attributes.setdefault("bias", 0.0 if units[node] == 1 else np.zeros(units[node]))
            if g.succ[node] and attributes.get("role") != "output":
                attributes.setdefault("activation", activation)
    return g


def _units(node: Any, attributes: Mapping[str, Any]) -> int:
    return as_count(f"node {node!r}: units", attributes.get("units", 1), 1, error=GraphError)


# -- both --------------------------------------------------------------------------------------------------------------------------


def fitting(graph: nx.DiGraph[Any], n_inputs: int, kinds: Mapping[int, str]) -> tuple[nx.DiGraph[Any], str]:
    """(a copy of the graph whose outputs have the activation of `kinds`, by their number K; this activation).

    Raises `GraphError` where the graph does not fit the data.
    """
    spec = read_graph(graph)
    n, K = (int(spec.units[spec.role == role].sum()) for role in (INPUT, OUTPUT))
    if n != n_inputs:
        raise GraphError(f"the graph has {n} inputs ({_named(spec, INPUT)}), and X has {n_inputs} features")
    if K not in kinds:
        raise GraphError(f"the graph has {K} outputs ({_named(spec, OUTPUT)}), and y takes {' or '.join(map(str, kinds))}")
    g, wanted, feeding = graph.copy(), kinds[K], set(spec.edge_src.tolist())
    for i in np.flatnonzero(spec.role == OUTPUT).tolist():
        name, now = spec.names[i], spec.activations[spec.activation[i]].name
        if wanted in ("identity", now):  # a regression takes any
            continue
        if now != "identity":
            raise GraphError(f"output {name!r} is a {now!r}; for these targets it is a {wanted!r}, or left without an activation")
        if i in feeding:
            raise GraphError(
                f"output {name!r} feeds other units, so it cannot become a {wanted!r}: make a new unit, fed by it alone, the output"
            )
        g.nodes[name]["activation"] = wanted
    return g, wanted


def _named(spec: GraphSpec, role: int) -> str:
    names = [repr(name) for name, own in zip(spec.names, spec.role.tolist(), strict=True) if own == role]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def said_of_columns(graph: nx.DiGraph[Any], features: list[str] | None, classes: list[Any] | None) -> None:
    """Write the features' names on the input nodes and the classes' on the outputs, in place, where nothing is said of them yet."""
    spec = read_graph(graph)
    for role, key, values in ((INPUT, "columns", features), (OUTPUT, "classes", classes)):
        if values is None:
            continue
        nodes = np.flatnonzero(spec.role == role).tolist()
        whole, at = len(nodes) == 1, 0
        for i in nodes:
            n = len(values) if whole and key == "classes" else int(spec.units[i])
            part = values[at : at + n]
            graph.nodes[spec.names[i]].setdefault(key, part[0] if len(part) == 1 else part)
            at += n
