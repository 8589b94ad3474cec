"""Nodes that multiply and choose, over drawn DAGs: every quantity against the complex step of the graph, differences, and mpmath."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

import graphbp as gb
from graphbp.numerical import difference_hessian
from graphbp.testing import relative_difference, tolerance
from graphbp.testing.oracles import evaluate, oracle_gradient, oracle_jacobian, oracle_weight_jacobian
from helpers.aggregating import drawn_dag, exact_derivatives, exact_error, gap_of_ties
from helpers.thorough import drawn

LIMIT = tolerance("numpy", "float64", "oracle").value
SEEDS = st.integers(0, 2**32 - 1)


def problem(seed: int, units: int = 1, n: int = 3) -> tuple[Any, ...]:
    """(rng, graph, net, X, T), no choice near a tie and nothing large."""
    rng = np.random.default_rng(seed)
    g = drawn_dag(rng, units)
    net = gb.Network(g, backend="numpy")
    X = rng.uniform(0.3, 1.5, (n, net.schedule.n_inputs)) * rng.choice([-1.0, 1.0], (n, net.schedule.n_inputs))
    T = rng.normal(size=(n, net.schedule.n_outputs))
    assume(gap_of_ties(net, X, T) > 1e-3)
    assume(max(np.abs(values).max() for values in net.trace(X, T).a.values()) < 12)
    return rng, g, net, X, T


def agree(found: Any, expected: Any, terms: float) -> None:
    """To 1e-12 of the largest value, or of the size of the terms where these cancel."""
    assert found.shape == expected.shape
    scale = max(float(np.abs(expected).max(initial=0)), terms, 1e-3)
    assert np.abs(found - expected).max(initial=0) <= LIMIT * scale


@drawn(300)
@given(seed=SEEDS)
def test_first_derivatives_are_the_complex_step_of_the_graph(seed: int) -> None:
    _, _, net, X, T = problem(seed, 1 + seed % 3)
    by_weight = oracle_weight_jacobian(net, X)
    terms = float(np.abs(net.per_sample_gradient(X, T)).sum(axis=0).max(initial=0) + np.abs(by_weight).max(initial=0))
    agree(net.forward(X), evaluate(net, net.weights, X), 0.0)
    agree(net.gradient(X, T), oracle_gradient(net, X, T), terms)
    agree(net.per_sample_gradient(X, T).sum(axis=0), oracle_gradient(net, X, T), terms)
    agree(net.jacobian(X), oracle_jacobian(net, X), 0.0)
    agree(net.weight_jacobian(X), by_weight, 0.0)


@drawn(200)
@given(seed=SEEDS)
def test_the_sweeps_take_complex_weights(seed: int) -> None:
    _, _, net, X, T = problem(seed)
    gradient = net.gradient(X, T)
    scale = max(1.0, float(np.abs(net.per_sample_gradient(X, T)).sum(axis=0).max(initial=0)))
    assert np.abs(net.numerical_gradient(X, T, method="complex_step") - gradient).max(initial=0) <= LIMIT * scale


@drawn(200)
@given(seed=SEEDS)
def test_second_derivatives_are_the_complex_step_of_the_first(seed: int) -> None:
    rng, _, net, X, T = problem(seed, 1 + seed % 2)
    H, v = net.hessian(X, T), rng.normal(size=(net.n_parameters, 2))
    scale = sum(float(np.abs(net.hessian(X[n : n + 1], T[n : n + 1])).max(initial=0)) for n in range(len(X)))
    agree(H, difference_hessian(net, X, T, method="complex_step").value, scale)
    agree(net.hessian_diagonal(X, T), np.diag(H), scale)
    agree(net.hessian_operator(X, T) @ v, H @ v, scale * float(np.abs(v).sum(initial=0)))


@drawn(100)
@given(seed=SEEDS)
def test_the_outer_product_is_that_of_the_weight_jacobian(seed: int) -> None:
    """Of linear outputs, with E = ½ |y − t|²."""
    _, g, _, X, T = problem(seed, 1 + seed % 2)
    for name in g:
        g.nodes[name]["activation"] = (
            "identity" if g.nodes[name]["role"] == "output" else g.nodes[name].get("activation", "identity")
        )
    net = gb.Network(g, backend="numpy")
    J, outer = net.weight_jacobian(X).reshape(-1, net.n_parameters), net.outer_product_hessian(X, T)
    scale = max(1.0, float(np.abs(outer).max(initial=0)))
    assert np.abs(outer - J.T @ J).max(initial=0) <= 10 * LIMIT * scale
    assert np.abs(net.outer_product_operator(X, T) @ np.eye(net.n_parameters) - outer).max(initial=0) <= 10 * LIMIT * scale


@drawn(20)
@given(seed=SEEDS)
def test_gradient_and_hessian_are_those_of_mpmath(seed: int) -> None:
    _, g, net, X, T = problem(seed, n=1)
    assume(0 < net.n_parameters <= 16)
    gradient, hessian = exact_derivatives(lambda theta: exact_error(net, g, theta, X, T), net.weights)
    assert relative_difference(net.gradient(X, T), gradient) < LIMIT
    assert relative_difference(net.hessian(X, T), hessian) < LIMIT
