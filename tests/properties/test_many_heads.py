"""Drawn mixtures of errors, weights and gaps, against automatic differentiation of E written out."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphbp as gb
from graphbp.testing.oracles import evaluate
from helpers.thorough import drawn

SOFTMAX = "softmax"
ACTIVATIONS = {
    "identity": lambda a: a,
    "tanh": anp.tanh,
    "sigmoid": lambda a: 1 / (1 + anp.exp(-a)),
    "exp": anp.exp,
    "softplus": lambda a: anp.log(1 + anp.exp(a)),
    SOFTMAX: lambda a: anp.exp(a) / anp.sum(anp.exp(a), axis=1, keepdims=True),
}
ERRORS = {
    "sum_of_squares": lambda y, t: (y - t) ** 2 / 2,
    "binary_cross_entropy": lambda y, t: -t * anp.log(y) - (1 - t) * anp.log(1 - y),
    "cross_entropy": lambda y, t: -t * anp.log(y),
    "poisson": lambda y, t: y - t * anp.log(y),
}
HEADS = [
    ("identity", "sum_of_squares"),
    ("tanh", "sum_of_squares"),
    ("sigmoid", "binary_cross_entropy"),
    ("sigmoid", "sum_of_squares"),
    ("sigmoid", "cross_entropy"),
    ("exp", "poisson"),
    ("softplus", "poisson"),
    (SOFTMAX, "cross_entropy"),
    (SOFTMAX, "sum_of_squares"),
    (SOFTMAX, "binary_cross_entropy"),
    (SOFTMAX, "poisson"),
]


def drawing(rng, heads):
    """Two inputs, up to three hidden units, and an output node for each head; outputs that are no softmax may feed later ones."""
    g = nx.DiGraph()
    g.add_nodes_from(["x0", "x1"], role="input")
    units = ["x0", "x1"]
    for j in range(rng.integers(4)):
        g.add_node(f"h{j}", activation="tanh", bias=rng.normal())
        g.add_weighted_edges_from((u, f"h{j}", rng.normal()) for u in units if u == "x0" or rng.random() < 0.7)
        units.append(f"h{j}")
    for j, (activation, error) in enumerate(heads):
        n = int(rng.integers(2, 4)) if activation == SOFTMAX else 1
        g.add_node(f"y{j}", units=n, activation=activation, role="output", bias=0.3 * rng.normal(size=n))
        g.nodes[f"y{j}"].update(error=error, error_weight=float(rng.choice([1.0, rng.uniform(0.1, 2)])))
        for u in units:
            if u == "x1" or rng.random() < 0.7:
                g.add_edge(u, f"y{j}", weight=0.5 * rng.normal(size=(n, 1)))
        if activation != SOFTMAX and rng.random() < 0.3:
            units.append(f"y{j}")
    for node in list(g):
        if not g.nodes[node].get("role") and not g.out_degree(node):
            g.add_edge(node, "y0", weight=np.full((g.nodes["y0"]["units"], 1), 0.4))
    return g


def batch(rng, net, n):
    """X, T with NaN, s (N, K): weights, and 0 where there is no target."""
    k = net.schedule.n_outputs
    T, s = np.empty((n, k)), np.empty((n, k))
    for entry in net.model.heads.entries:
        p = entry.positions
        T[:, p] = rng.dirichlet(np.ones(len(p)), n) if entry.grouped else rng.uniform(0.1, 0.9, (n, 1))
        gone = rng.random(n) < 0.3
        s[:, p] = np.where(gone, 0, rng.uniform(0.2, 2, n))[:, None]
        T[np.ix_(gone, p)] = np.nan
    return rng.normal(size=(n, 2)), T, s


@pytest.mark.filterwarnings("ignore:Output seems independent of input:UserWarning", "ignore:T holds no target")
@drawn(100)
@given(st.lists(st.sampled_from(HEADS), min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_derivatives_are_those_of_automatic_differentiation(heads, seed, n):
    rng = np.random.default_rng(seed)
    net = gb.Network(drawing(rng, heads), missing="skip", backend="numpy")
    X, T, s = batch(rng, net, n)
    theta, t = np.array(net.weights), np.where(s == 0, 0.5, np.nan_to_num(T))
    weight = np.ones(t.shape[1]) if net.model.heads.weight is None else net.model.heads.weight
    each = [entry.error.name for entry in net.model.heads.entries for _ in entry.positions]

    def error(w):
        y = evaluate(net, w, X, lambda name, a: ACTIVATIONS[name](a), anp)
        return sum(anp.sum(s[:, k] * weight[k] * ERRORS[each[k]](y[:, k], t[:, k])) for k in range(t.shape[1]))

    H, g = autograd.hessian(error)(theta), autograd.grad(error)(theta)
    room = 1e-9 * max(1.0, np.abs(H).max(), np.abs(g).max())
    assert abs(net.error(X, T, s) - error(theta)) <= room
    assert np.allclose(net.gradient(X, T, s), g, rtol=1e-9, atol=room)
    assert np.allclose(net.hessian(X, T, s), H, rtol=1e-9, atol=room)
    assert np.allclose(net.hessian_diagonal(X, T, s), H.diagonal(), rtol=1e-9, atol=room)
    v = rng.normal(size=len(theta))
    assert np.allclose(net.hessian_operator(X, T, s) @ v, H @ v, rtol=1e-8, atol=10 * room)
