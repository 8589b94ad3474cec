"""Independent oracles: networks evaluated from the networkx graph itself, and differentiated without backpropagation.

Nothing here uses the schedule, the sweeps, or f' of the tables.  `evaluate` walks the graph node by node, so it also checks the
lowering; with complex θ or X its derivatives are exact to round-off (the complex step: ∂f/∂w = Im f(w + iε) / ε, with ε = 1e-100).

Activations that are not analytic have stand-ins that choose their branch by the real part, as differentiation does off the kink.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.activations import get_activation
from graphbp.mixture import by_output
from graphbp.network import Network

__all__ = ["evaluate", "oracle_error", "oracle_gradient", "oracle_jacobian", "oracle_weight_jacobian"]

Array = npt.NDArray[Any]
STEP = 1e-100

_LAMBDA, _ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _by_sign(right: Callable[[Array], Array], left: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda a: np.where(np.real(a) > 0, right(np.where(np.real(a) > 0, a, 1)), left(np.where(np.real(a) > 0, -1, a)))


_BRANCHED: dict[str, Callable[[Array], Array]] = {
    "relu": _by_sign(lambda a: a, lambda a: 0 * a),
    "leaky_relu": _by_sign(lambda a: a, lambda a: a / 100),
    "elu": _by_sign(lambda a: a, np.expm1),
    "selu": _by_sign(lambda a: _LAMBDA * a, lambda a: _LAMBDA * _ALPHA * np.expm1(a)),
    "softsign": _by_sign(lambda a: a / (1 + a), lambda a: a / (1 - a)),
    "abs": _by_sign(lambda a: a, lambda a: -a),
    "step": _by_sign(lambda a: 1 + 0 * a, lambda a: 0 * a),
}


def activate(name: str, a: Array) -> Array:
    """z = h(a) for (N, units), complex a included.  Softmax runs over the units of a layer; unit nodes are grouped by `evaluate`."""
    if name == "softmax":
        return np.asarray(get_activation(name).f(a.T)).T
    return np.asarray(_BRANCHED[name](a) if name in _BRANCHED else get_activation(name).f(a))


def evaluate(net: Network, theta: Array, X: Array, h: Callable[[str, Any], Any] = activate, xp: Any = np) -> Any:
    """Y (N, K) from the graph: a_j = Σ_i w_ji z_i + b_j (or the node's other aggregation), z_j = h_j(a_j), node by node in topological order.

    `h` and `xp` replace the activations and NumPy (by those of an automatic differentiation library, say).
    """
    graph = net.to_networkx()
    columns: dict[Any, Any] = {}
    at = 0
    for name in net.inputs:
        n = graph.nodes[name].get("units", 1)
        columns[name], at = X[:, at : at + n], at + n
    softmax_units: dict[Any, Any] = {}
    for node in nx.topological_sort(graph):
        if node in columns:
            continue
        data = graph.nodes[node]
        if data.get("aggregation", "sum") == "sum":
            a = xp.zeros((len(X), data.get("units", 1)))
            for source in graph.pred[node]:
                a = a + columns[source] @ _edge(net, graph, theta, source, node, xp).T
        else:
            terms = [columns[source] * _factor(net, graph, theta, source, node) for source in graph.pred[node]]
            a = xp.zeros((len(X), data.get("units", 1))) + _AGGREGATED[data["aggregation"]](np.stack(terms))
        if data.get("bias") is not None:
            free = data.get("trainable", True)
            a = a + (theta[net.parameter_index(node)] if free else xp.asarray(data["bias"]))
        kind = data.get("activation", "identity")
        if kind == "softmax" and data.get("units", 1) == 1:
            softmax_units[node] = a
        else:
            columns[node] = h(kind, a)
    if softmax_units:
        together = h("softmax", xp.concatenate([softmax_units[node] for node in net.outputs if node in softmax_units], axis=1))
        for k, node in enumerate([node for node in net.outputs if node in softmax_units]):
            columns[node] = together[:, k : k + 1]
    return xp.concatenate([columns[node] for node in net.outputs], axis=1)


def _factor(net: Network, graph: Any, theta: Any, source: Any, node: Any) -> Any:
    """The weight of an edge into a node that aggregates unit by unit: a number, or one a unit."""
    edge = graph.edges[source, node]
    if not edge.get("trainable", True):
        return np.asarray(edge["weight"])
    w = theta[net.parameter_index(source, node)]
    return w if np.ndim(edge["weight"]) else w[0]


def _picked(terms: Array, key: Array) -> Array:
    """Of terms (n, N, units), at every sample and unit that of the largest key, the first of equal ones."""
    return np.asarray(np.take_along_axis(terms, key.argmax(axis=0)[None], axis=0)[0])


def _median(terms: Array) -> Array:
    order = np.argsort(terms.real, axis=0, kind="stable")
    ranked, n = np.take_along_axis(terms, order, axis=0), len(terms)
    return np.asarray((ranked[(n - 1) // 2] + ranked[n // 2]) / 2)


_AGGREGATED: dict[str, Callable[[Array], Array]] = {
    "product": lambda terms: np.multiply.reduce(terms, axis=0),
    "mean": lambda terms: terms.sum(axis=0) / len(terms),
    "max": lambda terms: _picked(terms, terms.real),
    "min": lambda terms: _picked(terms, -terms.real),
    "median": _median,
    "maxabs": lambda terms: _picked(terms, np.abs(terms.real)),
}


def _edge(net: Network, graph: Any, theta: Any, source: Any, node: Any, xp: Any) -> Any:
    """The weight of an edge as (units_dst, units_src), θ in its place where it is free."""
    came = graph.edges[source, node]["weight"]
    free = graph.edges[source, node].get("trainable", True)
    if hasattr(came, "nnz"):
        if not free:
            return came.toarray()
        dense = xp.zeros(came.shape, theta.dtype)
        dense[np.repeat(np.arange(came.shape[0]), np.diff(came.indptr)), came.indices] = theta[net.parameter_index(source, node)]
        return dense
    shape = np.shape(came) or (1, 1)
    return theta[net.parameter_index(source, node)].reshape(shape) if free else np.reshape(came, shape)


def oracle_error(net: Network, theta: Array, X: Array, T: Array, s: Array | None = None) -> Any:
    """E = Σ_nk s_n w_k e_k(y_k, t_k), from y; s may be (N, K)."""
    each, weight = by_output(net.error_function, "value", evaluate(net, theta, X), T), net.model.heads.weight
    each = each if weight is None else each * weight
    if s is not None and s.ndim == 2:
        return np.where(s == 0, 0, each * s).sum()
    return each.sum() if s is None else (each.sum(axis=1) * s).sum()


def _complex_step(f: Callable[[Array], Any], at: Array) -> Array:
    """∂f/∂w for a vector w, along the last axis."""
    columns = []
    for i in range(len(at)):
        moved = at.astype(complex)
        moved[i] += 1j * STEP
        columns.append(np.imag(f(moved)) / STEP)
    return np.stack(columns, axis=-1) if columns else np.zeros((*np.shape(f(at)), 0))


def oracle_gradient(net: Network, X: Array, T: Array, s: Array | None = None) -> Array:
    """∂E/∂θ (W,)."""
    return _complex_step(lambda theta: oracle_error(net, theta, X, T, s), np.array(net.weights))


def oracle_weight_jacobian(net: Network, X: Array) -> Array:
    """∂y_k/∂θ (N, K, W)."""
    return _complex_step(lambda theta: evaluate(net, theta, X), np.array(net.weights))


def oracle_jacobian(net: Network, X: Array) -> Array:
    """∂y_k/∂x_i (N, K, D)."""
    theta = np.array(net.weights)
    return _complex_step(lambda step: evaluate(net, theta, X + step), np.zeros(X.shape[1]))
