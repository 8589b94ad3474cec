"""The Hessians against tools that share no code with us: HIPS autograd, mpmath, and second differences of E on a large network."""

import autograd.numpy as anp
import mpmath
import networkx as nx
import numpy as np
import pytest
from autograd import grad, hessian, jacobian

import graphbp as gb
from graphbp.testing import relative_difference, tolerance

ACTIVATIONS = {
    "identity": lambda a: a,
    "tanh": anp.tanh,
    "sigmoid": lambda a: 1 / (1 + anp.exp(-a)),
    "softplus": lambda a: anp.log(1 + anp.exp(a)),
    "sin": anp.sin,
    "gaussian": lambda a: anp.exp(-a * a),
    "exp": anp.exp,
}
ERRORS = {
    "sum_of_squares": lambda y, t: 0.5 * anp.sum((y - t) ** 2),
    "binary_cross_entropy": lambda y, t: -anp.sum(t * anp.log(y) + (1 - t) * anp.log(1 - y)),
    "cross_entropy": lambda y, t: -anp.sum(t * anp.log(y)),
    "poisson": lambda y, t: anp.sum(y - t * anp.log(y)),
}
HEADS = [  # error, output activation: the canonical pairs, and others
    ("sum_of_squares", "identity"),
    ("sum_of_squares", "sigmoid"),
    ("sum_of_squares", "softmax"),
    ("binary_cross_entropy", "sigmoid"),
    ("cross_entropy", "softmax"),
    ("cross_entropy", "sigmoid"),
    ("poisson", "exp"),
    ("poisson", "softplus"),
]


def irregular(output: str, seed: int) -> nx.DiGraph:
    """Skips, several depths, an input wired straight to an output, every smooth activation in turn."""
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    g.add_nodes_from(["x0", "x1", "x2"], role="input")
    hidden = [f"h{i}" for i in range(6)]
    names = list(ACTIVATIONS)
    for i, h in enumerate(hidden):
        g.add_node(h, activation=names[(i + seed) % (len(names) - 1)], bias=float(rng.normal(0, 0.3)))
        for u in rng.choice(["x0", "x1", "x2", *hidden[:i]], size=min(3, 3 + i), replace=False):
            g.add_edge(str(u), h, weight=float(rng.normal(0, 0.6)))
    for k in range(2):
        g.add_node(f"y{k}", activation=output, bias=float(rng.normal(0, 0.3)), role="output")
        for u in ["x0", *rng.choice(hidden, size=3, replace=False)]:
            g.add_edge(str(u), f"y{k}", weight=float(rng.normal(0, 0.6)))
    return g


def forward_by_name(net: gb.Network, graph: nx.DiGraph, theta, X):
    """Y (N, K), unit by unit, from the graph alone; each weight is found through `parameter_index`."""
    z = {name: X[:, i] for i, name in enumerate(net.inputs)}
    a = {}
    for j in nx.topological_sort(graph):
        if j in z:
            continue
        a[j] = sum(theta[net.parameter_index(i, j)][0] * z[i] for i in graph.predecessors(j)) + theta[net.parameter_index(j)][0]
        if graph.nodes[j]["activation"] != "softmax":
            z[j] = ACTIVATIONS[graph.nodes[j]["activation"]](a[j])
    if "softmax" in nx.get_node_attributes(graph, "activation").values():
        e = [anp.exp(a[k]) for k in net.outputs]
        return anp.stack([part / sum(e) for part in e], axis=1)
    return anp.stack([z[k] for k in net.outputs], axis=1)


def targets(error: str, n: int, rng) -> np.ndarray:
    t = rng.uniform(0.1, 0.9, size=(n, 2))
    return t / t.sum(axis=1, keepdims=True) if error == "cross_entropy" else t


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("error", "output"), HEADS)
def test_derivatives_agree_with_autograd(error, output, seed):
    graph = irregular(output, seed)
    if error == "cross_entropy" and output == "sigmoid":
        graph = irregular("sigmoid", seed)
    net = gb.Network(graph, error=error, backend="numpy")
    rng = np.random.default_rng(seed)
    X, T = rng.normal(size=(4, 3)), targets(error, 4, rng)

    def energy(theta):
        return ERRORS[error](forward_by_name(net, graph, theta, X), T)

    limit = tolerance("numpy", "float64", "oracle").value
    assert relative_difference(net.gradient(X, T), grad(energy)(net.weights)) < limit
    assert relative_difference(net.hessian(X, T), hessian(energy)(net.weights)) < limit
    by_x = jacobian(lambda x: forward_by_name(net, graph, net.weights, x[None])[0])
    assert relative_difference(net.jacobian(X), np.stack([by_x(x) for x in X])) < limit
    by_w = jacobian(lambda theta: forward_by_name(net, graph, theta, X))(net.weights)
    assert relative_difference(net.weight_jacobian(X), by_w) < limit


@pytest.mark.parametrize("output", ["identity", "sigmoid", "exp"])
def test_outer_product_agrees_with_autograd(output):
    """Σ_n Jᵀ diag(∂²e/∂y²) J split at y, which for sum of squares and any h is Σ_n Jᵀ J."""
    graph = irregular(output, 5)
    net = gb.Network(graph, backend="numpy")
    X = np.random.default_rng(5).normal(size=(6, 3))
    J = jacobian(lambda theta: forward_by_name(net, graph, theta, X))(net.weights)
    expected = np.einsum("nkv,nkw->vw", J, J)
    found = net.outer_product_hessian(X, np.zeros((6, 2)))
    assert relative_difference(found, expected) < tolerance("numpy", "float64", "oracle").value


def test_hessian_agrees_with_mpmath():
    """E of one sample in 60 digits, differenced twice there."""
    graph = nx.DiGraph()
    graph.add_node("h", activation="tanh", bias=0.2)
    graph.add_node("y", activation="sigmoid", bias=-0.1)
    graph.add_weighted_edges_from([("x", "h", 0.7), ("h", "y", -1.3), ("x", "y", 0.4)])
    net = gb.Network(graph, error="binary_cross_entropy", backend="numpy")
    x, t = 0.9, 0.3
    at = {name: net.parameter_index(*name).start for name in [("x", "h"), ("h",), ("h", "y"), ("x", "y"), ("y",)]}

    def energy(*theta):
        h = mpmath.tanh(theta[at["x", "h"]] * x + theta[at["h",]])
        a = theta[at["h", "y"]] * h + theta[at["x", "y"]] * x + theta[at["y",]]
        return mpmath.log(1 + mpmath.exp(a)) - t * a

    with mpmath.workdps(60):
        theta = [mpmath.mpf(float(w)) for w in net.weights]
        expected = [
            [float(mpmath.diff(energy, theta, tuple(int(p == i) + int(p == j) for p in range(5)))) for j in range(5)]
            for i in range(5)
        ]
    assert relative_difference(net.hessian([[x]], [[t]]), expected) < tolerance("numpy", "float64", "oracle").value


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_curvature_along_directions_of_a_large_network(backend):
    """vᵀ H v against (∇E(θ + εv) − ∇E(θ − εv))·v / 2ε, where no Hessian would fit."""
    net = gb.Network(gb.random_dag(30, 3000, 5, fan_in=8, seed=1), backend=backend)
    rng = np.random.default_rng(1)
    X, T = rng.normal(size=(20, 30)), rng.normal(size=(20, 5))
    product = net.hessian_operator(X, T)
    theta = net.weights.copy()
    for _ in range(3):
        v = rng.normal(size=len(theta))
        v /= np.linalg.norm(v)
        step = 1e-4
        net.weights = theta + step * v
        plus = net.gradient(X, T) @ v
        net.weights = theta - step * v
        minus = net.gradient(X, T) @ v
        net.weights = theta
        assert v @ (product @ v) == pytest.approx((plus - minus) / (2 * step), rel=tolerance(backend, "float64", "central").value)
