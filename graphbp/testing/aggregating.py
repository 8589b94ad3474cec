"""The part of the zoo whose nodes multiply and choose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import networkx as nx
import numpy as np

from graphbp.aggregation import AGGREGATIONS
from graphbp.testing.case import Case, weights

__all__ = ["aggregating_cases"]

OTHERS = tuple(kind for kind in AGGREGATIONS if kind != "sum")


def every_kind(rng: np.random.Generator, hidden: int = 14, outputs: int = 2, fan_in: int = 4) -> nx.DiGraph[Any]:
    """A random DAG of units that aggregate in every way, sums among them."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x0", "x1", "x2"], role="input")
    kinds, activations = tuple(AGGREGATIONS), ("tanh", "identity", "sin", "softplus")
    for j in range(hidden + outputs):
        name = f"h{j}" if j < hidden else f"y{j - hidden}"
        before = [node for node in g if node[0] != "y"]
        g.add_node(name, aggregation=kinds[j % len(kinds)], activation=activations[j % 4], bias=weights(rng, scale=0.5))
        for i in rng.choice(len(before), min(fan_in, len(before)), replace=False):
            g.add_edge(before[i], name, weight=weights(rng))
    for k in range(outputs):
        g.nodes[f"y{k}"]["role"] = "output"
    return g


def layers(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """A gate (W x) · σ(V x), and layers that aggregate in every way, with vectors, numbers and 1 for weights."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", units=3)
    for name, kind in (("value", "identity"), ("gate", "sigmoid"), ("third", "tanh")):
        g.add_node(name, units=6, activation=kind, bias=weights(rng, 6, 0.3))
        g.add_edge("x", name, weight=weights(rng, (6, 3)))
    g.add_node("glu", units=6, aggregation="product")
    g.add_edge("value", "glu", weight=1.0, trainable=False)
    g.add_edge("gate", "glu", weight=1.0, trainable=False)
    for kind in OTHERS:
        g.add_node(kind, units=6, aggregation=kind, activation="tanh", bias=0.125)
        g.add_edge("glu", kind, weight=weights(rng, 6))
        g.add_edge("third", kind, weight=weights(rng))
        g.add_edge("gate", kind, weight=weights(rng, 6), trainable=False)
        g.add_edge(kind, "y", weight=weights(rng, (2, 6)))
    g.nodes["y"].update(units=2, bias=weights(rng, 2, 0.3))
    return g


def ties(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """p and q are the same number, r its negative: every choice among them is a tie, which the first source wins."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for name, w in (("p", 0.75), ("q", 0.75), ("r", -0.75)):
        g.add_edge("x", name, weight=w)
    for kind, sources in (("max", "pq"), ("min", "qp"), ("maxabs", "rpq"), ("median", "qprx")):
        g.add_node(kind, aggregation=kind, activation="tanh")
        for source in sources:
            g.add_edge(source, kind, weight=1.0)
        g.add_edge(kind, "y", weight=weights(rng))
    return g


def zero_factors(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Products with one, two and no factor that is exactly 0."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    for name, w in (("a", 0.0), ("b", 0.0), ("c", 0.5), ("d", -0.75)):
        g.add_edge("x1" if name in "ac" else "x2", name, weight=w)
    for k, factors in enumerate(["acd", "abcd", "cd", "ab", "bcd"]):
        g.add_node(f"p{k}", aggregation="product", bias=0.25, activation="sin")
        for factor in factors:
            g.add_edge(factor, f"p{k}", weight=weights(rng))
        g.add_edge(f"p{k}", "y", weight=weights(rng))
    return g


def one_source(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Of one term every aggregation is that term; of two all but the product and the mean are the same number."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for kind in OTHERS:
        g.add_node(kind, aggregation=kind, activation="tanh", bias=0.25)
        g.add_edge("x", kind, weight=weights(rng))
        g.add_node(f"{kind} of two", aggregation=kind, activation="sigmoid")
        g.add_edge("x", f"{kind} of two", weight=weights(rng))
        g.add_edge(kind, f"{kind} of two", weight=weights(rng), trainable=False)
        g.add_edge(f"{kind} of two", "y", weight=weights(rng))
    return g


def tied_factors(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """One weight as two factors of a product, as a bias, and in a sum; a number for all units of a layer tied to another's."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    g.add_node("p", aggregation="product", activation="tanh", bias=0.75, tie="w")
    g.add_node("m", aggregation="max", activation="sin", bias=0.25)
    for source in ("x1", "x2"):
        g.add_edge(source, "p", weight=0.75, tie="w")
        g.add_edge(source, "m", weight=0.75 if source == "x1" else -0.5, tie="w" if source == "x1" else None)
    g.add_node("u", units=3, activation="tanh", bias=weights(rng, 3))
    g.add_edge("p", "u", weight=weights(rng, (3, 1)))
    g.add_edge("m", "u", weight=weights(rng, (3, 1)))
    for name in ("v", "w"):
        g.add_node(name, units=3, aggregation="product", bias=0.25)
        g.add_edge("u", name, weight=0.5, tie="of a layer")
    g.add_edge("v", "w", weight=weights(rng, 3))
    g.add_edge("w", "y", weight=weights(rng, (1, 3)))
    g.add_edge("x1", "y", weight=0.75, tie="w")
    return g


def outputs(rng: np.random.Generator, *, softmax: bool = False) -> nx.DiGraph[Any]:
    """Outputs that multiply and choose; two of them feed others, or all are one softmax."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"], role="input")
    g.add_node("h", activation="tanh", bias=0.25)
    kinds = ("product", "max", "mean", "maxabs")
    g.add_edge("x1", "h", weight=weights(rng))
    for k, kind in enumerate(kinds):
        g.add_node(f"y{k}", role="output", aggregation=kind, bias=0.1 * k, activation="softmax" if softmax else "identity")
        for source in ["x1", "x2", "h", *([] if softmax else ["y0", "y1"][:k])]:
            g.add_edge(source, f"y{k}", weight=weights(rng))
    return g


def saturated_factors(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Products of units whose h' is about 2e-5, and of large numbers with small ones."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    for name, (kind, bias) in {"t": ("tanh", 6.0), "s": ("sigmoid", -11.0), "e": ("exp", 8.0)}.items():
        g.add_node(name, activation=kind, bias=bias)
        for source in ("x1", "x2"):
            g.add_edge(source, name, weight=weights(rng, scale=0.5))
    g.add_node("p", aggregation="product", activation="tanh", bias=0.25)
    for name in "tse":
        g.add_edge(name, "p", weight=weights(rng))
    g.add_edge("p", "y", weight=1.25)
    return g


def dead_factors(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Products that lead to no output, and inner rows in the middle of what does."""
    g = every_kind(rng, 6, 1)
    g.add_node("dead", aggregation="product", activation="exp")
    for source in ("h1", "h4", "x0"):
        g.add_edge(source, "dead", weight=weights(rng))
    g.add_node("deader", aggregation="max")
    g.add_edge("dead", "deader", weight=weights(rng))
    g.add_edge("y0", "deader", weight=weights(rng))
    return g


def wide(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """33 factors near ±1 in one node, 33 numbers to choose from in others."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    for i in range(33):
        g.add_node(f"h{i}", activation="cos", bias=weights(rng, scale=0.3))
        g.add_edge(f"x{1 + i % 2}", f"h{i}", weight=weights(rng, scale=0.3))
        for kind in OTHERS:
            g.add_edge(f"h{i}", kind, weight=weights(rng) if kind != "product" else 1.25)
    for kind in OTHERS:
        g.nodes[kind].update(aggregation=kind, activation="tanh")
        g.add_edge(kind, "y", weight=weights(rng))
    return g


def aggregating_cases() -> Iterator[Case]:
    """Every case."""
    yield Case("aggregations", every_kind, n_samples=37, weighted=True)
    yield Case("aggregations-one-sample", every_kind, n_samples=1)
    yield Case("aggregations-layers", layers, n_samples=21)
    yield Case("ties", ties)
    yield Case("zero-factors", zero_factors, weighted=True)
    yield Case("one-source", one_source)
    yield Case("tied-factors", tied_factors, weighted=True)
    yield Case("combining-outputs", outputs)
    yield Case("combining-softmax", lambda rng: outputs(rng, softmax=True), "cross_entropy", weighted=True)
    yield Case("saturated-factors", saturated_factors, n_samples=17)
    yield Case("dead-factors", dead_factors)
    yield Case("wide-aggregations", wide, n_samples=5)
