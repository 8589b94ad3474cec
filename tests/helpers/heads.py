"""Networks of many heads, and their error written out by hand: an evaluator that shares no code with graphbp."""

from __future__ import annotations

import networkx as nx
import numpy as np

ERRORS = {"price": "sum_of_squares", "kind": "cross_entropy", "count": "poisson", "flag": "binary_cross_entropy"}


def four_heads(rng, feeds=True):
    """Three inputs, four hidden units, and a price (which feeds the flag), a kind of three classes, a count and a flag."""
    g = nx.DiGraph()
    g.add_nodes_from(["x1", "x2", "x3"], role="input")
    for h in "abcd":
        g.add_node(h, activation="tanh", bias=rng.normal())
        g.add_weighted_edges_from((x, h, rng.normal()) for x in ("x1", "x2", "x3"))
    g.add_node("price", role="output", bias=0.1)
    g.add_node("kind", role="output", units=3, activation="softmax", bias=0.3 * rng.normal(size=3))
    g.add_node("count", role="output", activation="exp", bias=0.2)
    g.add_node("flag", role="output", activation="sigmoid", bias=-0.1)
    for h in "abcd":
        g.add_weighted_edges_from((h, y, 0.6 * rng.normal()) for y in ("price", "count", "flag"))
        g.add_edge(h, "kind", weight=rng.normal(size=(3, 1)))
    if feeds:
        g.add_edge("price", "flag", weight=0.7)
    return g


def targets(rng, n, gaps=0.3):
    """{output: targets}, NaN where there are none; never all of an output's."""
    T = {
        "price": rng.normal(size=n),
        "kind": rng.integers(3, size=n).astype(float),
        "count": rng.poisson(2, size=n).astype(float),
        "flag": rng.integers(2, size=n).astype(float),
    }
    for column in T.values():
        column[(rng.random(n) < gaps) & (np.arange(n) > 0)] = np.nan
    return T


def activate(kind, a):
    """z of a (units, N), complex too."""
    if kind == "softmax":
        e = np.exp(a - a.real.max(axis=0))
        return e / e.sum(axis=0)
    return {"identity": lambda: a, "tanh": lambda: np.tanh(a), "sigmoid": lambda: 1 / (1 + np.exp(-a)), "exp": lambda: np.exp(a)}[
        kind
    ]()


def losses(error, y, t):
    """e (units, N)."""
    if error == "sum_of_squares":
        return 0.5 * (y - t) ** 2
    if error == "cross_entropy":
        return -t * np.log(y)
    if error == "poisson":
        return y - t * np.log(y)
    return -t * np.log(y) - (1 - t) * np.log(1 - y)


def energy(net, theta, X, T, S, errors, weights):
    """Σ_n Σ_heads weight · s · e over the targets that are there, written out; T and S by output, T (units, N) or (N,) of numbers."""
    graph, z = net.to_networkx(), {}
    for j, x in enumerate(net.inputs):
        z[x] = X[:, j][None].astype(theta.dtype)
    total = 0.0
    for node in nx.topological_sort(graph):
        if node in z:
            continue
        units, bias = graph.nodes[node].get("units", 1), theta[net.parameter_index(node)]
        a = np.broadcast_to(bias[:, None], (units, len(X))).astype(theta.dtype)
        for source in graph.predecessors(node):
            w = theta[net.parameter_index(source, node)].reshape(units, -1)
            a = a + w @ z[source]
        z[node] = activate(graph.nodes[node].get("activation", "identity"), a)
    for node, error in errors.items():
        t = T[node]
        t = np.eye(3)[:, np.nan_to_num(t).astype(int)] + 0 * t if error == "cross_entropy" else t[None]
        there = ~np.isnan(t).any(axis=0)
        each = losses(error, z[node][:, there], t[:, there]).sum(axis=0)
        total = total + weights.get(node, 1.0) * (S[node][there] * each).sum()
    return total


def gradient(f, theta):
    """By the complex step."""
    out = np.empty(len(theta))
    for i in range(len(theta)):
        moved = theta.astype(complex)
        moved[i] += 1e-100j
        out[i] = f(moved).imag / 1e-100
    return out


def hessian_along(f, theta, v, step=1e-3):
    """H v by central differences of it, extrapolated: right to some 1e-10."""
    once, half = ((gradient(f, theta + e * v) - gradient(f, theta - e * v)) / (2 * e) for e in (step, step / 2))
    return (4 * half - once) / 3
