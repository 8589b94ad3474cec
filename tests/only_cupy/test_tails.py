"""Saturated heads in CUDA: E, δ and curvature are those of the core's formulas of a."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from instruments import probe

import graphbp as gb

HEADS = [
    ("binary_cross_entropy", "sigmoid"),
    ("sum_of_squares", "sigmoid"),
    ("sum_of_squares", "tanh"),
    ("poisson", "softplus"),
    ("cross_entropy", "softmax"),
    ("sum_of_squares", "softmax"),
    ("binary_cross_entropy", "softmax"),
    ("poisson", "softmax"),
    ("binary_cross_entropy", "gaussian"),
    ("cross_entropy", "sigmoid"),
    ("poisson", "sigmoid"),
    ("sum_of_squares", "elu"),
    ("sum_of_squares", "softsign"),
]


def straight(activation, k=3):
    """y_k = h(x_k)."""
    g = nx.DiGraph()
    for i in range(k):
        g.add_node(f"x{i}", role="input")
    for i in range(k):
        g.add_node(f"y{i}", activation=activation, bias=0.0, role="output")
        g.add_edge(f"x{i}", f"y{i}", weight=1.0)
    return g


@pytest.mark.parametrize(("dtype", "rel"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize(("error", "activation"), HEADS)
def test_heads(error: str, activation: str, dtype: str, rel: float) -> None:
    g = straight(activation)
    net, truth = (gb.Network(g, error=error, backend=name, dtype=d) for name, d in ((probe.SIMULATED, dtype), ("numpy", "float64")))
    for X in ([[20.0, -16.0, -18.0]], [[5.0, -7.0, -6.0]]):
        T = [[1.0, 0.0, 0.0]]
        assert net.error(X, T) == pytest.approx(truth.error(X, T), rel=rel)
        np.testing.assert_allclose(net.gradient(X, T), truth.gradient(X, T), rtol=rel, atol=float(np.finfo(dtype).tiny))
        v = np.array([0.5, 1, -0.25, 2, 1, -1])
        found, exact = (m.hessian_operator(X, T) @ v.astype(m.dtype) for m in (net, truth))
        np.testing.assert_allclose(found, exact, rtol=10 * rel, atol=float(np.finfo(dtype).tiny))
