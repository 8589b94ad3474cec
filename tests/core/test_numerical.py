"""Numerical differentiation against closed forms and backpropagation, its steps, its refusals."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.numerical import (
    METHODS,
    differences,
    directional_derivative,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    numerical_weight_jacobian,
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
    assert relative_difference(numerical_jacobian(net, case.X, method=method), net.jacobian(case.X)) < limit
    assert relative_difference(numerical_weight_jacobian(net, case.X, method=method), net.weight_jacobian(case.X)) < limit
    assert relative_difference(numerical_hessian(net, *case.batch, method=method), net.hessian(*case.batch)) < 10 * limit


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
    assert numerical_weight_jacobian(case.network(), case.X).shape == (4 + 3, 1, 0)


def test_directional_derivative():
    case = find_cases(["large"])[0]
    net = case.network()
    theta, v = np.array(net.weights), case.v[:, 0] / np.linalg.norm(case.v[:, 0])
    gradient = net.gradient(*case.batch)

    def moved(step):
        net.weights = theta + step * v
        return net.error(*case.batch)

    assert abs(directional_derivative(moved) - v @ gradient) <= tolerance("numpy", "float64", "central").value * np.linalg.norm(
        gradient
    )


@pytest.mark.parametrize("backend", ["numba"])
def test_the_networks_own_backend_is_differenced(backend, usable):
    case = SMOOTH[1]
    net = case.network(usable(backend))
    assert relative_difference(net.numerical_gradient(*case.batch), net.gradient(*case.batch)) < 1e-7
