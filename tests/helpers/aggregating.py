"""Drawn DAGs whose nodes aggregate in every way, units and layers, and their derivatives in mpmath."""

from __future__ import annotations

from typing import Any

import mpmath
import networkx as nx
import numpy as np

from graphbp.aggregation import AGGREGATIONS

from .exact import EXACT

KINDS = tuple(AGGREGATIONS)
ACTIVATIONS = ("identity", "tanh", "sigmoid", "sin", "softplus", "gaussian", "square")


def drawn_dag(rng: np.random.Generator, units: int = 1, kinds: tuple[str, ...] = KINDS) -> nx.DiGraph[Any]:
    """1 to 3 inputs, up to 7 hidden nodes, 1 to 3 outputs, all of `units` units; frozen, tied and missing weights and biases."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    d, m, k = int(rng.integers(1, 4)), int(rng.integers(1, 8)), int(rng.integers(1, 4))
    names = [*(f"x{i}" for i in range(d)), *(f"h{j}" for j in range(m)), *(f"y{j}" for j in range(k))]
    for j, name in enumerate(names):
        g.add_node(name, role={"x": "input", "h": "hidden", "y": "output"}[name[0]], units=units)
        if name[0] == "x":
            continue
        kind = kinds[int(rng.integers(len(kinds)))]
        g.nodes[name].update(aggregation=kind, activation=ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))])
        if rng.random() < 0.7:
            bias = rng.normal(scale=0.5, size=units)
            g.nodes[name].update(bias=bias if units > 1 else float(bias[0]), trainable=bool(rng.random() < 0.9))
        sources = [s for s in names[:j] if rng.random() < 0.7] or names[:1]
        for source in sources:
            g.add_edge(source, name, **_weight(rng, kind, units))
    free = [e for e in g.edges if np.ndim(g.edges[e]["weight"]) == 0 and g.edges[e]["trainable"]]
    if len(free) > 2 and rng.random() < 0.5:
        one, other = (free[i] for i in rng.choice(len(free), 2, replace=False))
        g.edges[one]["tie"] = g.edges[other]["tie"] = "shared"
        g.edges[other]["weight"] = g.edges[one]["weight"]
    return g


def _weight(rng: np.random.Generator, kind: str, units: int) -> dict[str, Any]:
    """± 0.5 to 1.5, now and then frozen, at 1 or elsewhere."""
    shape: tuple[int, ...] = () if units == 1 else (units, units) if kind == "sum" else (units,) if rng.random() < 0.5 else ()
    value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
    if len(shape) == 2:
        value = value / units
    trainable = bool(rng.random() < 0.8)
    if not trainable and kind != "sum" and rng.random() < 0.5:
        value = np.ones(shape)
    return {"weight": value if shape else float(value), "trainable": trainable}


def gap_of_ties(net: Any, X: Any, T: Any) -> float:
    """How near a choice of any sample is to a tie."""
    from graphbp.combinations import COMBINATIONS

    s = net.schedule.live
    z = net.model.run.trace(net.weights, X, T, None).z
    c = s.combinations
    gaps = [COMBINATIONS[c.kind[i]].gap(z[c.first[i]], z[c.second[i]]).min() for i in c.choices.tolist()]
    return float(min(gaps, default=np.inf))


# -- in mpmath -----------------------------------------------------------------------------------------------------------------------


def exact_error(net: Any, graph: nx.DiGraph[Any], theta: Any, X: Any, T: Any) -> Any:
    """½ Σ (y − t)² of unit nodes in mpmath, at any θ of mpmath numbers."""
    total = mpmath.mpf(0)
    for x, t in zip(X.tolist(), T.tolist(), strict=True):
        z = dict(zip(net.inputs, map(mpmath.mpf, x), strict=True))
        for node in nx.topological_sort(graph):
            if node not in z:
                z[node] = _node(net, graph, theta, z, node)
        total += sum((z[node] - mpmath.mpf(target)) ** 2 for node, target in zip(net.outputs, t, strict=True)) / 2
    return total


def _value(net: Any, data: dict[str, Any], key: str, theta: Any, *place: Any) -> Any:
    return theta[net.parameter_index(*place)][0] if data.get("trainable", True) else mpmath.mpf(data[key])


def _node(net: Any, graph: nx.DiGraph[Any], theta: Any, z: dict[Any, Any], node: Any) -> Any:
    data = graph.nodes[node]
    terms = [_value(net, graph.edges[s, node], "weight", theta, s, node) * z[s] for s in graph.pred[node]]
    a = _aggregate(data["aggregation"], terms)
    if data.get("bias") is not None:
        a += _value(net, data, "bias", theta, node)
    return EXACT[data["activation"]](a)


def _aggregate(kind: str, terms: list[Any]) -> Any:
    n, ranked = len(terms), sorted(terms)
    return {
        "sum": lambda: mpmath.fsum(terms),
        "product": lambda: mpmath.fprod(terms),
        "mean": lambda: mpmath.fsum(terms) / n,
        "max": lambda: ranked[-1],
        "min": lambda: ranked[0],
        "median": lambda: (ranked[(n - 1) // 2] + ranked[n // 2]) / 2,
        "maxabs": lambda: max(terms, key=abs),
    }[kind]()


def exact_derivatives(f: Any, theta: Any, digits: int = 60) -> tuple[Any, Any]:
    """Gradient and Hessian of f at θ by differences of ε = 10⁻²⁰ in `digits` digits: right to 1e-18 or so."""
    with mpmath.workdps(digits):
        eps, at = mpmath.mpf(10) ** -20, [mpmath.mpf(float(v)) for v in theta]

        def moved(**by: int) -> Any:
            return f([v + eps * by.get(f"_{i}", 0) for i, v in enumerate(at)])

        w, here = len(at), moved()
        up, down = [moved(**{f"_{i}": 1}) for i in range(w)], [moved(**{f"_{i}": -1}) for i in range(w)]
        gradient = np.array([float((up[i] - down[i]) / (2 * eps)) for i in range(w)])
        hessian = np.empty((w, w))
        for i in range(w):
            hessian[i, i] = float((up[i] - 2 * here + down[i]) / eps**2)
            for j in range(i):
                both, neither = moved(**{f"_{i}": 1, f"_{j}": 1}), moved(**{f"_{i}": -1, f"_{j}": -1})
                mixed = (both + neither - up[i] - down[i] - up[j] - down[j] + 2 * here) / (2 * eps**2)
                hessian[i, j] = hessian[j, i] = float(mixed)
    return gradient, hessian
