"""Saturated outputs: E, δ, R and Λ are those of the core's formulas of a, not of a rounded y."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

HEADS = [
    ("binary_cross_entropy", "softmax"),
    ("poisson", "softmax"),
    ("cross_entropy", "sigmoid"),
    ("sum_of_squares", "softsign"),
    ("binary_cross_entropy", "wann.gaussian"),
    ("binary_cross_entropy", "neat.sigmoid"),
    pytest.param("poisson", "sigmoid", marks=pytest.mark.thorough),
    pytest.param("cross_entropy", "softplus", marks=pytest.mark.thorough),
    pytest.param("cross_entropy", "exp", marks=pytest.mark.thorough),
    pytest.param("poisson", "square", marks=pytest.mark.thorough),
    pytest.param("sum_of_squares", "gaussian", marks=pytest.mark.thorough),
    pytest.param("sum_of_squares", "elu", marks=pytest.mark.thorough),
    pytest.param("sum_of_squares", "selu", marks=pytest.mark.thorough),
    pytest.param("sum_of_squares", "expm1", marks=pytest.mark.thorough),
    pytest.param("sum_of_squares", "cos", marks=pytest.mark.thorough),
    pytest.param("sum_of_squares", "sin", marks=pytest.mark.thorough),
    pytest.param("binary_cross_entropy", "neat.gauss", marks=pytest.mark.thorough),
    pytest.param("binary_cross_entropy", "neat.hat", marks=pytest.mark.thorough),
    pytest.param("poisson", "neat.softplus", marks=pytest.mark.thorough),
    pytest.param("sum_of_squares", "neat.tanh", marks=pytest.mark.thorough),
    pytest.param("poisson", "neat.exp", marks=pytest.mark.thorough),
]
X = np.array([[30.0, 3.0, -2.0], [3.0, 30.0, -9.0], [0.5, -0.5, 0.25], [40.0, -38.0, 0.5], [-15.0, 15.0, 8.0]])
T = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])


def straight(activation, k=3):
    """y_k = h(x_k)."""
    g = nx.DiGraph()
    for i in range(k):
        g.add_node(f"x{i}", role="input")
        g.add_node(f"y{i}", activation=activation, bias=0.0, role="output")
        g.add_edge(f"x{i}", f"y{i}", weight=1.0)
    return g


@pytest.mark.parametrize(("dtype", "rel"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize(("error", "activation"), HEADS)
def test_saturated_heads(error: str, activation: str, dtype: str, rel: float) -> None:
    scale = 1 / 64 if activation == "neat.hat" else 1 / 16 if activation == "neat.gauss" else 1.0
    net, truth = (
        gb.Network(straight(activation), error=error, backend=name, dtype=d) for name, d in (("numba", dtype), ("numpy", "float64"))
    )
    v, atol = np.array([0.5, 1, -0.25, 2, 1, -1]), 100 * float(np.finfo(dtype).tiny)
    for x, t in zip(scale * X, T, strict=True):
        assert net.error([x], [t]) == pytest.approx(truth.error([x], [t]), rel=rel, abs=atol)
        np.testing.assert_allclose(net.gradient([x], [t]), truth.gradient([x], [t]), rtol=rel, atol=atol)
        np.testing.assert_allclose(net.per_sample_gradient([x], [t]), truth.per_sample_gradient([x], [t]), rtol=rel, atol=atol)
        for operator in ("hessian_operator", "outer_product_operator"):
            found, exact = (getattr(m, operator)([x], [t]) @ v.astype(m.dtype) for m in (net, truth))
            np.testing.assert_allclose(found, exact, rtol=10 * rel, atol=atol)
