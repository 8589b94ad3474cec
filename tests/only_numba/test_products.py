"""Products in first order: a term for all leaves where no lane is near the ends of the range, prefix by suffix elsewhere; right in both."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

import graphbp as gb
from graphbp.testing.tolerances import relative_difference, tolerance
from graphbp_numba import backend

LIMIT = {dtype: tolerance("numba", dtype, "first").value for dtype in ("float64", "float32")}
Long = np.longdouble
FINE = {"float64": [-0.7, 1.3, 2.0, -3.1], "float32": [-0.7, 1.3, 2.0, -3.1]}
ENDS = {"float64": [0.0, -0.0, 1e-310, 3e-160, -1e-90, 1e120, -4e153], "float32": [0.0, -0.0, 1e-40, 3e-20, -1e-12, 1e10, -4e18]}


def multiplying(weights: Any, dtype: str = "float64", name: str = "numba") -> Any:
    """y = Π w_l x_l."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("y", role="output", aggregation="product")
    for i, w in enumerate(weights):
        g.add_node(f"x{i}", role="input")
        g.add_edge(f"x{i}", "y", weight=float(w))
    return gb.Network(g, backend=name, dtype=dtype)


def pulled(net: Any, X: Any, V: Any) -> tuple[Any, Any]:
    """What `vjp` gives, by x and by the weights."""
    return net.vjp(X, V), net.weight_vjp(X, V)


def exact(weights: Any, X: Any, V: Any) -> tuple[Any, Any, Any]:
    """The same in long double, and the samples of which no product of neighbours leaves the range of X's dtype."""
    w, x, v = (np.asarray(values, Long) for values in (weights, X, V))
    s = w * x
    n = s.shape[1]
    q = np.stack([v[:, 0] * np.prod(np.delete(s, i, 1), axis=1) for i in range(n)], axis=1)
    limits = np.finfo(X.dtype)
    tame = np.ones(len(X), bool)
    for i in range(n):
        for j in range(i + 1, n + 1):
            for factor in (Long(1), v[:, 0]):
                size = np.abs(factor * np.prod(s[:, i:j], axis=1))
                tame &= (size == 0) | ((size > limits.tiny) & (size < limits.max / 64))
    return q * w, q * x, tame


def drawn(dtype: str, n: int, seed: int, share: float) -> tuple[Any, Any, Any]:
    """Weights, X with so many factors near the ends of the range, V."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, 5)) < share, rng.choice(ENDS[dtype], (n, 5)), rng.choice(FINE[dtype], (n, 5))).astype(dtype)
    V = rng.choice([1.0, -0.25, 0.0, 3e-7], (n, 1)).astype(dtype)
    return np.array([0.5, -1.5, 0.25, 2.0, 1.0]), X, V


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_factors_near_the_ends_of_the_range_give_exact_derivatives(dtype: str, share: float) -> None:
    w, X, V = drawn(dtype, 400, 3, share)
    by_x, each, tame = exact(w, X, V)
    assert tame.sum() > 40
    found = pulled(multiplying(w, dtype), X[tame], V[tame])
    denormal = 8 * np.finfo(dtype).smallest_subnormal  # what is as small has no more digits
    np.testing.assert_allclose(found[0], by_x[tame].astype(dtype), rtol=LIMIT[dtype], atol=denormal)
    size = np.abs(each[tame]).sum(axis=0)
    assert (np.abs(found[1] - each[tame].sum(axis=0)) <= LIMIT[dtype] * size).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_sample_does_not_see_its_neighbours(dtype: str) -> None:
    w, X, V = drawn(dtype, 64, 5, 0.4)
    plain, net = np.full_like(X, 0.75), multiplying(w, dtype)
    for n in range(0, 64, 7):
        beside = plain.copy()
        beside[n] = X[n]
        np.testing.assert_array_equal(net.vjp(X, V)[n], net.vjp(beside, V)[n])


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
@pytest.mark.parametrize("where", ["weights", "inputs", "both"])
def test_terms_that_are_0_in_every_lane_agree_with_numpy(zeros: int, where: str) -> None:
    rng = np.random.default_rng(zeros)
    w, X, V = rng.normal(size=4), rng.uniform(0.3, 1.7, (17, 4)), rng.normal(size=(17, 1))
    w[1 : 1 + zeros] *= where == "inputs"
    X[:, 1 : 1 + zeros] *= where == "weights"
    expected, found = (pulled(multiplying(w, name=name), X, V) for name in ("numpy", "numba"))
    for one, other in zip(expected, found, strict=True):
        assert relative_difference(other, one) < LIMIT["float64"]


def test_zeros_beside_an_infinite_factor_are_no_number() -> None:
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", role="input")
    g.add_node("y", role="output", aggregation="product")
    for node, activation, weight in (("zero", "relu", -1.0), ("none", "relu", -2.0), ("large", "exp", 1e3)):
        g.add_node(node, activation=activation)
        g.add_edge("x", node, weight=weight)
        g.add_edge(node, "y", weight=1.0)
    net = gb.Network(g, backend="numba")
    run = backend.compile(net.schedule.live, net.error_function, np.dtype("float64"))
    X = np.array([[0.25], [2.0], [0.5]])
    assert np.isnan(run.forward(net.weights, X)).ravel().tolist() == [False, True, False]
    by_x, gradient = run.vjp(net.weights, X, np.ones((3, 1)))
    assert np.isnan(by_x).ravel().tolist() == [False, True, False]
    assert np.isnan(gradient).any()


@pytest.mark.parametrize("n", [1, 17, 70])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_thousand_sources(n: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    w = rng.choice([-1.0, 1.0], 1000) * np.exp(rng.normal(size=1000) / 100)
    X, V = np.exp(rng.normal(size=(n, 1000)) / 100).astype(dtype), rng.normal(size=(n, 1)).astype(dtype)
    by_x, each = exact_once(w.astype(dtype), X, V)
    found = pulled(multiplying(w, dtype), X, V)
    assert relative_difference(found[0], by_x.astype(dtype)) < 30 * LIMIT[dtype]
    assert relative_difference(found[1], each.sum(axis=0).astype(dtype)) < 30 * LIMIT[dtype]


def exact_once(w: Any, X: Any, V: Any) -> tuple[Any, Any]:
    """By x and by w in long double, where no factor is 0."""
    s = np.asarray(w, Long) * np.asarray(X, Long)
    q = np.asarray(V, Long) * np.prod(s, axis=1, keepdims=True) / s
    return q * np.asarray(w, Long), q * np.asarray(X, Long)


def test_a_product_whose_delta_is_small_keeps_its_digits() -> None:
    """T = δ Π would be denormal; what the leaves get is not."""
    w, X = np.array([1.0, 1.0, 1.0]), np.tile([1e-60, 2e-60, 3e60], (9, 1))
    V = np.full((9, 1), 1e-258)
    by_x, _, _ = exact(w, X, V)
    np.testing.assert_allclose(multiplying(w).vjp(X, V), by_x.astype(float), rtol=LIMIT["float64"])


def test_frozen_and_tied_weights_of_a_product_share_its_sum() -> None:
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["a", "b", "c"], role="input")
    g.add_node("y", role="output", aggregation="product", activation="tanh", bias=0.3)
    g.add_edge("a", "y", weight=0.7, tie="t")
    g.add_edge("b", "y", weight=0.7, tie="t")
    g.add_edge("c", "y", weight=-1.2, trainable=False)
    X, T = np.random.default_rng(0).normal(size=(20, 3)), np.zeros((20, 1))
    one, other = (gb.Network(g, backend=name).gradient(X, T) for name in ("numpy", "numba"))
    assert relative_difference(other, one) < LIMIT["float64"]
