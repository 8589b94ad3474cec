"""Beside a slope of ∞, what does not depend on a thing has the derivative 0, and every finite derivative comes out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

BACKENDS = ["numpy", "numba"]
DTYPES = ["float64", "float32"]
LIMIT = {"float64": 1e-12, "float32": 1e-5}


@pytest.fixture(autouse=True)
def _poles_are_told_of() -> Any:
    """Where a derivative is ∞ by right, `NumericalWarning` says so."""
    with warnings.catch_warnings(action="ignore", category=gb.NumericalWarning):
        yield


def beside(activations: tuple[str, ...], *, frozen: bool = True, out: float = 1.0) -> nx.DiGraph[Any]:
    """y = out h(x) + 2 u + 0.5, h a chain of units whose edges are frozen or not."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", role="input")
    g.add_node("u", role="input")
    g.add_node("y", role="output", bias=0.5)
    last = "x"
    for k, name in enumerate(activations):
        g.add_node(f"h{k}", activation=name)
        g.add_edge(last, f"h{k}", weight=1.0, trainable=not frozen)
        last = f"h{k}"
    g.add_edge(last, "y", weight=out, trainable=not frozen)
    g.add_edge("u", "y", weight=2.0)
    return g


def same(found: Any, expected: Any, dtype: str) -> None:
    np.testing.assert_allclose(found, expected, rtol=LIMIT[dtype], atol=LIMIT[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activations", [("sqrt",), ("log", "exp"), ("log", "tanh"), ("sqrt", "square"), ("tanh", "sqrt")])
def test_a_unit_at_a_pole_that_nothing_moves(
    activations: tuple[str, ...], backend: str, dtype: str, usable: Callable[[str], str]
) -> None:
    """Directions in u, its weight and the bias: h(0) is a constant on the way, 0 or −1."""
    net = gb.Network(beside(activations), backend=usable(backend), dtype=dtype)
    X, T = [[0.0, 3.0], [2.0, 1.0]], [0.0, 1.0]
    r = net.forward(X)[:, 0] - T
    J = np.array([[3.0, 1.0], [1.0, 1.0]])
    same(net.jvp(X, [[0.0, 1.0], [0.0, 1.0]]), [[2], [2]], dtype)
    same(net.weight_jvp(X, [1.0, 1.0]), [[4], [2]], dtype)
    same(net.gradient(X, T), J.T @ r, dtype)
    for of in (net.hessian(X, T), net.outer_product_hessian(X, T)):
        same(of, J.T @ J, dtype)
    same(net.hessian_diagonal(X, T), np.diag(J.T @ J), dtype)
    for operator in (net.hessian_operator(X, T), net.outer_product_operator(X, T)):
        same(operator @ [1.0, 1.0], (J.T @ J).sum(axis=1), dtype)
    same(net.hessian_blocks(X, T)["y"].block[0], J.T @ J, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_at_a_source_of_zero_is_without_effect(backend: str, dtype: str, usable: Callable[[str], str]) -> None:
    """√(w x) at x = 0 is 0 for every w, and v √(w x) for every v; ∂y/∂x is ∞."""
    net = gb.Network(beside(("sqrt",), frozen=False), backend=usable(backend), dtype=dtype)
    X, T = [[0.0, 3.0]], [0.0]
    J = np.zeros(4)
    J[net.parameter_index("u", "y")], J[net.parameter_index("y")] = 3, 1
    same(net.gradient(X, T), 6.5 * J, dtype)
    same(net.per_sample_gradient(X, T), [6.5 * J], dtype)
    same(net.weight_jacobian(X), [[J]], dtype)
    same(net.weight_jvp(X, np.ones(4)), [[4]], dtype)
    for of in (net.hessian(X, T), net.outer_product_hessian(X, T)):
        same(of, np.outer(J, J), dtype)
    same(net.hessian_operator(X, T) @ np.ones(4), 4 * J, dtype)
    assert net.jacobian(X)[0, 0, 0] == np.inf
    assert net.jvp(X, [[1.0, 1.0]])[0, 0] == np.inf


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_edge_of_weight_zero_carries_nothing(backend: str, usable: Callable[[str], str]) -> None:
    """y = 0 · √x + 2 u + 0.5, for every x."""
    net = gb.Network(beside(("sqrt",), out=0.0), backend=usable(backend))
    X = [[0.0, 3.0]]
    same(net.jvp(X, [[1.0, 1.0]]), [[2]], "float64")
    same(net.vjp(X, [[1.0]]), [[0, 2]], "float64")
    same(net.jacobian(X), [[[0, 2]]], "float64")


def two(dtype: str, backend: str) -> gb.Network:
    """y = √(w x), e = v u, each with its own weight."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", role="input")
    g.add_node("u", role="input")
    g.add_node("s", activation="sqrt")
    g.add_node("y", role="output")
    g.add_node("e", role="output")
    for source, target, weight in (("x", "s", 1.0), ("s", "y", 3.0), ("u", "e", 2.0)):
        g.add_edge(source, target, weight=weight)
    g.nodes["s"]["bias"] = -1.0
    return gb.Network(g, dtype=dtype, backend=backend)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_another_output_at_a_pole(backend: str, dtype: str, usable: Callable[[str], str]) -> None:
    """a_s = 1 · 1 − 1 = 0: the Hessian of ½(v u − t)² is u², and nothing joins v to the weights of y."""
    net = two(dtype, usable(backend))
    X, T = [[1.0, 3.0]], [[0.0, 0.0]]
    v = np.zeros(net.n_parameters)
    at = net.parameter_index("u", "e")
    v[at] = 1
    for operator in (net.hessian_operator(X, T), net.outer_product_operator(X, T)):
        same(operator @ v, 9 * v, dtype)
    for of in (net.hessian(X, T), net.outer_product_hessian(X, T)):
        same(of[at], 9 * v[None], dtype)
    same(net.weight_jvp(X, v), [[0, 3]], dtype)
    same(net.jvp(X, [[0.0, 1.0]]), [[0, 2]], dtype)
    same(net.vjp(X, [[0.0, 1.0]]), [[0, 2]], dtype)
    same(net.weight_vjp(X, [[0.0, 1.0]]), 3 * v, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_unit_that_moves_by_a_number_that_is_zero_has_no_derivative(backend: str, usable: Callable[[str], str]) -> None:
    """√(x²) is |x|: at 0 it stands still to first order, and has no slope."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("q", activation="square")
    g.add_node("y", activation="sqrt", role="output")
    g.add_edge("x", "q", weight=1.0)
    g.add_edge("q", "y", weight=1.0)
    net = gb.Network(g, backend=usable(backend))
    assert np.isnan(net.jvp([[0.0]], [[1.0]])).all()
    assert np.isnan(net.jacobian([[0.0]])).all()
    assert net.jvp([[0.0]], [[0.0]]) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [1, 3, 17, 130])
def test_an_infinite_slope_in_the_last_sample_makes_the_sum_infinite(
    n: int, backend: str, dtype: str, usable: Callable[[str], str]
) -> None:
    """∂E/∂b = δ = ∞ (y − t > 0 at √0 from a bias of −1) in the last sample alone: +∞, whatever fills the rest of a vector."""
    net = two(dtype, usable(backend))
    X = np.column_stack([np.linspace(3, 2, n), np.ones(n)])
    X[-1, 0] = 1
    T = np.full((n, 2), -1.0)
    gradient = net.gradient(X, T)
    expected = np.zeros(4)
    expected[net.parameter_index("x", "s")] = expected[net.parameter_index("s")] = np.inf
    expected[net.parameter_index("s", "y")] = ((3 * np.sqrt(X[:, 0] - 1) + 1) * np.sqrt(X[:, 0] - 1)).sum()
    expected[net.parameter_index("u", "e")] = 3 * n
    same(gradient, expected, dtype)
    same(net.weight_vjp(X, T + 2)[net.parameter_index("s")], [np.inf], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("many", [3, 70])
def test_layers_with_a_unit_at_a_pole(many: int, backend: str, dtype: str, usable: Callable[[str], str]) -> None:
    """h = √(W x) frozen, y = V tanh(U u) + h: at x = 0 all that is free is as without h."""
    rng = np.random.default_rng(many)
    g: nx.DiGraph[Any] = nx.DiGraph()
    for name, activation in (("u", None), ("k", "tanh"), ("y", None)):
        g.add_node(name, units=many, **({} if activation is None else {"activation": activation}))
    g.add_edge("u", "k", weight=rng.normal(size=(many, many)) / many**0.5)
    g.add_edge("k", "y", weight=rng.normal(size=(many, many)) / many**0.5)
    alone = gb.Network(g, backend=usable(backend), dtype=dtype)
    full = nx.DiGraph(g)
    full.add_node("x", units=many)
    full.add_node("h", units=many, activation="sqrt")
    full.add_edge("x", "h", weight=rng.uniform(1, 2, (many, many)), trainable=False)
    full.add_edge("h", "y", weight=np.eye(many), trainable=False)
    net = gb.Network(full, backend=usable(backend), dtype=dtype)
    n = 20
    U, T, D = (rng.normal(size=(n, many)) for _ in range(3))
    X = np.concatenate([U, np.zeros((n, many))], axis=1)
    v = rng.normal(size=net.n_parameters)
    limit: Any = {"rtol": 1e-4, "atol": 1e-3} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-11}
    np.testing.assert_allclose(net.jvp(X, np.concatenate([D, 0 * D], axis=1)), alone.jvp(U, D), **limit)
    np.testing.assert_allclose(net.weight_jvp(X, v), alone.weight_jvp(U, v), **limit)
    for name in ("hessian_operator", "outer_product_operator"):
        np.testing.assert_allclose(getattr(net, name)(X, T) @ v, getattr(alone, name)(U, T) @ v, **limit)
    if many < 10:
        for name in ("hessian", "outer_product_hessian", "hessian_diagonal"):
            np.testing.assert_allclose(getattr(net, name)(X, T), getattr(alone, name)(U, T), **limit)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("last", ["relu", "step"])
@pytest.mark.parametrize("behind", [False, True], ids=["output", "hidden"])
def test_a_unit_on_a_flat_part_stands_still(behind: bool, last: str, backend: str, usable: Callable[[str], str]) -> None:
    """y = h(√x + u − 2) with u = 1: around x = 0 nothing changes y, though √ has an infinite slope there."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for name in "xu":
        g.add_node(name, role="input")
    g.add_node("r", activation="sqrt")
    g.add_node("h", activation=last, bias=-2.0)
    g.add_weighted_edges_from([("x", "r", 1.0), ("r", "h", 1.0), ("u", "h", 1.0)])
    if behind:
        g.add_node("y", bias=0.5)
        g.add_edge("h", "y", weight=3.0)
    net = gb.Network(g, backend=usable(backend))
    X, T, w = [[0.0, 1.0]], [1.0], np.ones(net.n_parameters)
    r = net.forward(X)[0, 0] - 1
    same(net.jacobian(X), [[[0, 0]]], "float64")
    same(net.vjp(X, [[1.0]]), [[0, 0]], "float64")
    same(net.jvp(X, [[1.0, 1.0]]), [[0]], "float64")
    at = net.parameter_index("y") if behind else slice(0, 0)
    expected = np.zeros(net.n_parameters)
    expected[at] = r
    same(net.gradient(X, T), expected, "float64")
    trace = net.trace(X, T)
    assert [trace.delta[name][0] for name in "xurh"] == [0, 0, 0, 0]
    H = np.zeros((net.n_parameters,) * 2)
    H[at, at] = 1
    for of in (net.hessian(X, T), net.outer_product_hessian(X, T)):
        same(of, H, "float64")
    same(net.hessian_operator(X, T) @ w, H @ w, "float64")


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_the_kink_itself_nothing_is_said(backend: str, usable: Callable[[str], str]) -> None:
    """relu(√x) at 0 is √x, not a constant."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", role="input")
    g.add_node("r", activation="sqrt")
    g.add_node("y", activation="relu")
    g.add_weighted_edges_from([("x", "r", 1.0), ("r", "y", 1.0)])
    assert np.isnan(gb.Network(g, backend=usable(backend)).jacobian([[0.0]])).all()
