"""Numerical differentiation against closed forms and backpropagation, its steps, its refusals."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.numerical import (
    METHODS,
    difference_along,
    difference_gradient,
    difference_hessian,
    difference_jacobian,
    difference_weight_jacobian,
    differences,
    lengths,
    numerical_gradient,
)
from graphbp.testing import find_cases, relative_difference, tolerance

SMOOTH = find_cases(["xor", "tied", "two-heads", "mixed"])
LIMIT = {"forward": 2e-6, "central": 1e-8, "complex_step": 1e-13}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_gradient_hessian_and_jacobians(case, method):
    net = case.network()
    limit = LIMIT[method]
    assert relative_difference(net.numerical_gradient(*case.batch, method=method), net.gradient(*case.batch)) < limit
    assert relative_difference(difference_jacobian(net, case.X, method=method).value, net.jacobian(case.X)) < limit
    assert relative_difference(difference_weight_jacobian(net, case.X, method=method).value, net.weight_jacobian(case.X)) < limit
    assert relative_difference(difference_hessian(net, *case.batch, method=method).value, net.hessian(*case.batch)) < 10 * limit


def test_the_order_of_each_method():
    """exp at 1: forward errs by about √u, central by u^(2/3), the complex step by u."""
    error = {m: abs(differences(lambda w: np.exp(w[0]), np.ones(1), m)[0] - np.e) / np.e for m in METHODS}
    assert 1e-10 < error["forward"] < 1e-7
    assert error["central"] < 1e-9
    assert error["complex_step"] < 1e-15
    assert error["complex_step"] < error["central"] < error["forward"]


def test_steps_follow_each_weight():
    """Weights of 1e-8 and 1e8 in one network; a step of one size would lose one of them."""
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x1", "y", 1e-8), ("x2", "y", 1e8)])
    net = gb.Network(g, backend="numpy")
    X, T = np.array([[3.0, 2e-8]]), np.array([[0.5]])
    assert np.allclose(net.numerical_gradient(X, T), net.gradient(X, T), rtol=1e-6)


def test_float32_networks_are_differenced_in_float64():
    case = find_cases(["erdos-renyi"])[0]
    net = case.network(dtype="float32")
    found = net.numerical_gradient(*case.batch)
    assert found.dtype == np.float64
    assert relative_difference(found, case.definition.gradient(*case.batch)) < 1e-6  # float32 differences would be off by 1e-2


def test_complex_step_refuses_what_is_not_analytic_by_name():
    case = find_cases(["kinked"])[0]
    with pytest.raises(gb.NotSupportedError, match=r"complex_step needs analytic activations, and 'relu' \(node 'h0'\), 'abs'"):
        case.network().numerical_gradient(*case.batch, method="complex_step")


def test_unknown_method():
    case = SMOOTH[0]
    with pytest.raises(gb.UnknownNameError, match="did you mean 'central'"):
        case.network().numerical_gradient(*case.batch, method="centrall")


def test_no_parameters():
    case = find_cases(["all-frozen"])[0]
    assert numerical_gradient(case.network(), *case.batch).shape == (0,)
    assert difference_weight_jacobian(case.network(), case.X).value.shape == (4 + 3, 1, 0)


def test_differences_along_directions():
    """In units of each weight's length: two evaluations a direction."""
    case = find_cases(["large"])[0]
    net = case.network()
    v = case.v / np.linalg.norm(case.v, axis=0)
    ell = lengths(net, case.X)[0]
    expected = (net.gradient(*case.batch) * ell) @ v
    limit = tolerance("numpy", "float64", "central").value * np.linalg.norm(net.gradient(*case.batch) * ell)
    assert np.abs(difference_along(net, *case.batch, v).value - expected).max() <= limit


def test_a_step_means_the_same_in_every_unit_of_measure():
    """A column of 1e9 and one of 1e-9 beside each other: each weight's step moves its unit by as much."""
    rng = np.random.default_rng(0)
    g = nx.DiGraph()
    g.add_node("h", activation="tanh", bias=0.1)
    g.add_weighted_edges_from([("x1", "h", 0.4e-9), ("x2", "h", -0.6e9), ("h", "y", 1.2)])
    net = gb.Network(g, backend="numpy")
    X, T = rng.normal(size=(20, 2)) * [1e9, 1e-9], rng.normal(size=(20, 1))
    for method in METHODS:
        assert np.allclose(net.numerical_gradient(X, T, method=method), net.gradient(X, T), rtol=LIMIT[method]), method


def test_the_error_follows_the_step():
    """Forward differences err by ε f″/2, central ones by ε² f‴/6."""
    net = gb.Network(nx.DiGraph([("x", "y", {"weight": 0.3})]), backend="numpy")
    X, T = [[2.0]], [[1.0]]
    gradient = net.gradient(X, T)
    for step in (1e-1, 1e-3):
        assert np.allclose(net.numerical_gradient(X, T, method="forward", step=step) - gradient, step * 4 / 2, rtol=1e-9)
    assert np.allclose(net.numerical_gradient(X, T, step=[0.5]), gradient, rtol=1e-14)
    for bad in (0.0, -1.0, np.nan, np.inf, [1.0, 2.0], "a"):
        with pytest.raises(gb.DataError, match="step"):
            net.numerical_gradient(X, T, step=bad)


@pytest.mark.parametrize("backend", ["numba"])
def test_the_networks_own_backend_is_differenced(backend, usable):
    case = SMOOTH[1]
    net = case.network(usable(backend))
    assert relative_difference(net.numerical_gradient(*case.batch), net.gradient(*case.batch)) < 1e-7


@pytest.mark.parametrize("method", ["forward", "central"])
def test_a_step_that_rounding_takes_away_gives_0(method):
    net = gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0})]), backend="numpy")
    assert net.numerical_gradient([[3.0]], [[1.0]], method=method, step=1e-300).tolist() == [0.0]
    assert net.numerical_gradient([[3.0]], [[1.0]], method=method, step=1e-5) == pytest.approx(15, rel=1e-4)


def test_lengths_of_a_layer_are_those_of_its_units():
    """ℓ = (1 + min |a|) / max |z| and (1 + min |a|) / |w|, also where a layer's sources begin right behind the inputs."""
    rng = np.random.default_rng(3)
    W1, W2 = rng.normal(size=(2, 16)), rng.normal(size=(16, 4))
    layers, units = nx.DiGraph(), nx.DiGraph()
    layers.add_nodes_from([("x", {"units": 2}), ("h", {"units": 16, "activation": "tanh"}), ("y", {"units": 4})])
    layers.add_edge("x", "h", weight=W1.T)
    layers.add_edge("h", "y", weight=W2.T)
    units.add_nodes_from([*((f"x{i}", {}) for i in range(2)), *((f"h{j}", {"activation": "tanh"}) for j in range(16))])
    units.add_weighted_edges_from((f"x{i}", f"h{j}", W1[i, j]) for i in range(2) for j in range(16))
    units.add_weighted_edges_from((f"h{j}", f"y{k}", W2[j, k]) for j in range(16) for k in range(4))
    X = rng.normal(size=(5, 2)) * [1.0, 100.0]
    whole, single = gb.Network(layers, backend="numpy"), gb.Network(units, backend="numpy")
    assert len(whole.schedule.live.dense_blocks) == 2
    for of_layer, of_unit in zip(lengths(whole, X), lengths(single, X), strict=True):
        np.testing.assert_allclose(np.sort(of_layer.ravel()), np.sort(of_unit.ravel()), rtol=1e-12)
    a = X @ W1
    room = 1 + np.abs(a).min(axis=0)
    np.testing.assert_allclose(lengths(whole, X)[1][0], (room / np.abs(W1)).min(axis=1), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_bound_on_a_difference_covers_its_error(method):
    case = SMOOTH[0]
    net = case.network()
    X, T = np.random.default_rng(0).normal(size=(4, net.schedule.n_inputs)), np.ones((4, net.schedule.n_outputs))
    value, bound = difference_gradient(net, X, T, method=method).resolved()
    exact = net.gradient(X, T)
    assert (np.abs(value - exact) <= bound + 1e-14 * np.abs(exact).max()).all()
    assert (bound < 1e-4 * (1 + np.abs(exact))).all()
