"""Saturated units, dead parts, samples of weight 0 and outputs at a pole: what the other backends are held to."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from instruments import fake_cupy, probe

import graphbp as gb

BACKENDS = (probe.SIMULATED, probe.WIDE, probe.LEVEL)


def quantities(net: gb.Network, X: np.ndarray, T: np.ndarray, s: np.ndarray) -> dict[str, np.ndarray]:
    batch = (X, T, s)
    with np.errstate(all="ignore"):
        return {
            "error": np.asarray(net.error(*batch)),
            "gradient": net.gradient(*batch),
            "per_sample_gradient": net.per_sample_gradient(*batch),
            "hessian": net.hessian(*batch),
            "outer_product_hessian": net.outer_product_hessian(*batch),
            "hessian_diagonal": net.hessian_diagonal(*batch),
            "hessian_operator": net.hessian_operator(*batch) @ np.arange(1.0, net.n_parameters + 1),  # not constant: P · 1 is 0
        }


def compare(g: nx.DiGraph, error: str, backend: str, X: list, T: list, s: list | None = None, dtype: str = "float64") -> None:
    X, T = np.array(X, dtype), np.array(T, dtype)
    weight = np.ones(len(X), dtype) if s is None else np.array(s, dtype)
    rtol = 1e-12 if dtype == "float64" else 2e-5
    truth = quantities(gb.Network(g, error=error, backend="numpy"), X.astype(float), T.astype(float), weight.astype(float))
    found = quantities(gb.Network(g, error=error, backend=backend, dtype=dtype), X, T, weight)
    for name, value in truth.items():
        assert np.isfinite(value).all(), name
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=0 if dtype == "float64" else 1e-37, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "elu", "selu", "expm1", "softsign", "softplus"])
def test_a_hidden_unit_in_its_tail(activation: str, backend: str, dtype: str) -> None:
    g = nx.DiGraph([("x", "h", {"weight": 1.0}), ("h", "y", {"weight": 1.5})])
    g.nodes["h"].update(activation=activation)
    compare(g, "sum_of_squares", backend, [[8.0], [-8.0], [20.0]], [[0.0], [0.5], [0.0]], dtype=dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sigmoid_far_on_the_side_of_its_target(backend: str, dtype: str) -> None:
    g = nx.DiGraph([("x", "y", {"weight": 1.0})])
    g.nodes["y"].update(activation="sigmoid")
    compare(g, "binary_cross_entropy", backend, [[40.0], [-40.0], [5.0]], [[1.0], [0.0], [0.25]], dtype=dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("error", ["cross_entropy", "sum_of_squares"])
def test_a_softmax_far_ahead(error: str, backend: str) -> None:
    g = nx.DiGraph([("x", "y", {"weight": np.array([[1.0], [0.0], [-0.5]])})])
    g.nodes["y"].update(activation="softmax", units=3)
    compare(g, error, backend, [[36.0]], [[1.0, 0.0, 0.0]])


def with_a_dead_part() -> nx.DiGraph:
    """x ─► h ─► y, and x ─► d (exp, then √) leading nowhere."""
    g = nx.DiGraph()
    g.add_nodes_from([("x", {}), ("h", {"activation": "tanh"}), ("y", {"role": "output"})])
    g.add_nodes_from([("d", {"activation": "exp", "role": "hidden"}), ("r", {"activation": "sqrt", "role": "hidden"})])
    for edge, w in ((("x", "h"), 0.5), (("h", "y"), -1.0), (("x", "d"), 1e4), (("h", "d"), 1.0), (("x", "r"), 0.0)):
        g.add_edge(*edge, weight=w)
    return g


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_dead_part_that_overflows(backend: str) -> None:
    compare(with_a_dead_part(), "sum_of_squares", backend, [[1.0], [2.0]], [[0.5], [0.0]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sample_of_weight_0_that_overflows(backend: str) -> None:
    g = nx.DiGraph([("x", "h", {"weight": 1.0}), ("h", "y", {"weight": 0.5})])
    g.nodes["h"].update(activation="exp")
    compare(g, "sum_of_squares", backend, [[1e4], [1.0]], [[0.0], [1.0]], [0.0, 2.0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_output_at_a_pole_has_its_slope_and_leaves_the_others_theirs(backend: str) -> None:
    g = nx.DiGraph()
    g.add_nodes_from([("x", {}), ("v", {}), ("y", {"role": "output"}), ("h", {"role": "output", "activation": "sqrt"})])
    g.add_weighted_edges_from([("v", "y", 2.0), ("y", "h", 1.0), ("x", "h", -1.0)])
    net = gb.Network(g, backend=backend)
    X = np.array([[8.0, 4.0], [1.0, 1.0]])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(net.jacobian(X), [[[0, 2], [-np.inf, np.inf]], [[0, 2], [-0.5, 1]]])
        np.testing.assert_array_equal(net.weight_jacobian(X)[:, 0], [[4, 0, 0], [1, 0, 0]])


def test_a_unit_at_a_pole_that_nothing_moves_has_the_derivative_zero() -> None:
    """y = √x + 2 u + 0.5 at x = 0, the way from x frozen; arrays of the host and of the device alike."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", role="input")
    g.add_node("u", role="input")
    g.add_node("h", activation="sqrt")
    g.add_node("y", role="output", bias=0.5)
    g.add_edge("x", "h", weight=1.0, trainable=False)
    g.add_edge("h", "y", weight=1.0, trainable=False)
    g.add_edge("u", "y", weight=2.0)
    net = gb.Network(g, backend=probe.SIMULATED)
    X, U, T = np.array([[0.0, 3.0]]), np.array([[0.0, 1.0]]), np.array([[0.0]])
    assert net.jvp(X, U) == 2
    assert net.jvp(fake_cupy.asarray(X), fake_cupy.asarray(U)).get() == 2
    assert net.weight_jvp(X, [1.0, 1.0]) == 4
    np.testing.assert_allclose(net.hessian_operator(X, T) @ [1.0, 1.0], [12, 4])
    np.testing.assert_allclose(net.outer_product_operator(X, T) @ [1.0, 1.0], [12, 4])
