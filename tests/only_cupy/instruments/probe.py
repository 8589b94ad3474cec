"""Tiny networks and every quantity of them, on the simulated backend beside the definition.

The seeded bugs and the sanitizers run this; `wrong_quantities` says what differs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import networkx as nx
import numpy as np

import graphbp as gb
from graphbp.extend import register_backend, unregister_backend
from graphbp_cupy import CupyBackend

from . import fake_cupy

__all__ = ["LEVEL", "PATHS", "QUANTITIES", "SIMULATED", "WIDE", "register", "tiny_networks", "unregister", "wrong_quantities"]

SIMULATED, WIDE, LEVEL = "cupy (simulated)", "cupy (simulated, wide path)", "cupy (simulated, level path)"
"""The simulated backend as it chooses its paths, and on one path alone."""
PATHS = {SIMULATED: "", WIDE: "wide", LEVEL: "level"}

TOLERANCE = {"float64": 1e-11, "float32": 1e-4}


def register() -> None:
    """Make them known to graphbp, once."""
    for name, path in PATHS.items():
        if name not in gb.backends():
            register_backend(CupyBackend(name, fake_cupy, path=path))


def unregister() -> None:
    """Forget them."""
    for name in PATHS:
        unregister_backend(name)


def tiny_networks() -> Iterator[tuple[str, nx.DiGraph, str]]:
    """(name, graph, error): skips, a dense block whose sources are apart, an output that feeds another, softmax, frozen and tied."""
    g = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    g.add_node("h", activation="tanh", bias=0.1)
    g.add_node("u", activation="sin", bias=-0.2)
    g.add_node("y", bias=0.0, role="output", activation="softplus")
    g.add_node("v", role="output")
    g.add_weighted_edges_from(
        [
            ("x1", "h", 0.4),
            ("x2", "h", -0.6),
            ("h", "u", 0.9),
            ("x1", "u", 0.7),
            ("h", "y", 1.2),
            ("x1", "y", 0.3),
            ("y", "v", -0.8),
            ("u", "v", 0.5),
        ]
    )
    g.edges["x1", "h"]["trainable"] = False
    for edge in (("h", "u"), ("x1", "u")):
        g.edges[edge]["tie"] = "shared"
        g.edges[edge]["weight"] = 0.9
    yield "units", g, "sum_of_squares"

    rng = np.random.default_rng(5)
    g = nx.DiGraph()
    g.add_node("x", units=5)
    g.add_node("a", units=4, activation="tanh", bias=rng.standard_normal(4) / 3)
    g.add_node("b", units=3, activation="sigmoid", bias=rng.standard_normal(3) / 3)
    g.add_node("c", units=8, activation="gelu", bias=rng.standard_normal(8) / 3)
    g.add_node("y", units=5, activation="softmax", bias=rng.standard_normal(5) / 3)
    for source, target in (("x", "a"), ("x", "b"), ("a", "c"), ("x", "c"), ("b", "y"), ("c", "y")):
        shape = (g.nodes[target]["units"], g.nodes[source]["units"])
        g.add_edge(source, target, weight=rng.standard_normal(shape) / 2)
    yield "layers", g, "cross_entropy"

    g = nx.DiGraph()
    g.add_nodes_from([f"x{i}" for i in range(9)])
    for j in range(6):  # a dense block of single units, whose sources are not neighbours
        g.add_node(f"h{j}", activation="tanh", bias=0.1 * j)
        g.add_weighted_edges_from((f"x{i}", f"h{j}", float(rng.standard_normal()) / 3) for i in (0, 2, 3, 5, 7, 8))
    g.add_node("y", activation="sigmoid", bias=0.1)
    g.add_weighted_edges_from(
        [*((f"h{j}", "y", float(rng.standard_normal())) for j in range(6)), *((f"x{i}", "y", 0.2) for i in (1, 4, 6))]
    )
    yield "apart", g, "sum_of_squares"


def data_of(net: gb.Network, n: int, seed: int = 0) -> dict[str, Any]:
    """X, T, sample weights and directions for n samples."""
    s, rng = net.schedule, np.random.default_rng(seed)
    targets = rng.random((n, s.n_outputs)) + 0.1
    return {
        "X": rng.standard_normal((n, s.n_inputs)),
        "T": targets / targets.sum(axis=1, keepdims=True),
        "s": rng.random(n) + 0.5,
        "V": rng.standard_normal((n, s.n_outputs)),
        "U": rng.standard_normal((n, s.n_inputs)),
        "v": rng.standard_normal((s.n_parameters, 3)),
    }


QUANTITIES: dict[str, Callable[[gb.Network, dict[str, Any]], Any]] = {
    "forward": lambda net, d: net.forward(d["X"]),
    "error": lambda net, d: net.error(d["X"], d["T"], sample_weight=d["s"]),
    "gradient": lambda net, d: net.gradient(d["X"], d["T"], sample_weight=d["s"]),
    "per_sample_gradient": lambda net, d: net.per_sample_gradient(d["X"], d["T"]),
    "vjp": lambda net, d: net.vjp(d["X"], d["V"]),
    "jvp": lambda net, d: net.jvp(d["X"], d["U"]),
    "jacobian": lambda net, d: net.jacobian(d["X"]),
    "weight_jacobian": lambda net, d: net.weight_jacobian(d["X"]),
    "trace": lambda net, d: np.concatenate([np.ravel(part) for part in _trace(net, d)]),
    "hessian": lambda net, d: net.hessian(d["X"], d["T"], sample_weight=d["s"]),
    "outer_product_hessian": lambda net, d: net.outer_product_hessian(d["X"], d["T"]),
    "hessian_diagonal": lambda net, d: net.hessian_diagonal(d["X"], d["T"], sample_weight=d["s"]),
    "hessian_operator": lambda net, d: net.hessian_operator(d["X"], d["T"]) @ d["v"],
    "outer_product_operator": lambda net, d: net.outer_product_operator(d["X"], d["T"], sample_weight=d["s"]) @ d["v"],
}
"""Each quantity by name, through the face."""

TRUTH = QUANTITIES | {
    "hessian_operator": lambda net, d: net.hessian(d["X"], d["T"]) @ d["v"],
    "outer_product_operator": lambda net, d: net.outer_product_hessian(d["X"], d["T"], sample_weight=d["s"]) @ d["v"],
}
"""What the definition computes for each: the products from its whole matrices, which is another way than the one tested."""


def _trace(net: gb.Network, d: dict[str, Any]) -> list[Any]:
    trace = net.trace(d["X"], d["T"])
    return [part(name) if callable(part) else part[name] for name in net.schedule.names for part in (trace.a, trace.z, trace.delta)]


def wrong_quantities(
    dtype: str = "float64",
    n: int = 11,
    backends: tuple[str, ...] = (SIMULATED, WIDE, LEVEL),
    networks: Collection[str] = ("units", "layers", "apart"),
    quantities: Collection[str] = tuple(QUANTITIES),
) -> list[str]:
    """ "network / backend / quantity" for all that differs from the NumPy backend."""
    wrong = []
    for name, graph, error in tiny_networks():
        if name not in networks:
            continue
        truth = gb.Network(graph, error=error, backend="numpy", dtype="float64")
        data = data_of(truth, n)
        for backend in backends:
            net = gb.Network(graph, error=error, backend=backend, dtype=dtype)
            for quantity in quantities:
                with warnings.catch_warnings(action="ignore", category=gb.NumericalWarning):  # NaN is listed below
                    exact, got = np.asarray(TRUTH[quantity](truth, data)), np.asarray(QUANTITIES[quantity](net, data))
                scale = 1 + np.abs(exact).max()
                if not np.abs(exact - got).max() <= TOLERANCE[dtype] * scale:  # NaN is wrong too
                    wrong.append(f"{name} / {backend} / {quantity}")
    return wrong
