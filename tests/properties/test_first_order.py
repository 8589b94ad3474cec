"""First order over random DAGs and the zoo, against oracles that share nothing with the engine.

* `graphbp.testing.oracles` evaluates the networkx graph node by node, and differentiates by the complex step.
* HIPS autograd differentiates the same evaluation, twice for the Hessian.

Agreement is asked for to 1e-12 relative (`TOLERANCES`, "oracle"), on every backend.
"""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import graphbp as gb
from graphbp.registry import backend_names
from graphbp.testing import relative_difference, tolerance, zoo
from graphbp.testing.case import targets
from graphbp.testing.oracles import evaluate, oracle_gradient, oracle_jacobian, oracle_weight_jacobian
from helpers.thorough import drawn

LIMIT = tolerance("numpy", "float64", "oracle").value
SMALL = [case for case in zoo() if case.definition.n_parameters <= 150]
KINDS = ["identity", "tanh", "sigmoid", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "softsign", "sin", "cos", "arctan",
         "gaussian", "abs", "selu", "expm1"]  # fmt: skip
HEADS = {
    "sum_of_squares": ["identity", "tanh", "softmax"],
    "binary_cross_entropy": ["sigmoid", "softmax"],
    "cross_entropy": ["softmax", "sigmoid"],
    "poisson": ["exp", "softplus"],
}


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_the_definition_on_the_zoo(case):
    net = case.network()
    assert relative_difference(net.forward(case.X), evaluate(net, net.weights, case.X)) < LIMIT
    assert relative_difference(net.gradient(*case.batch), oracle_gradient(net, *case.batch)) < LIMIT
    assert relative_difference(net.jacobian(case.X), oracle_jacobian(net, case.X)) < LIMIT
    assert relative_difference(net.weight_jacobian(case.X), oracle_weight_jacobian(net, case.X)) < LIMIT


@st.composite
def networks(draw, kinds=tuple(KINDS), heads=HEADS):
    """A DAG of 1 to 3 inputs, up to 7 hidden units and 1 to 3 outputs, any edges, frozen and tied ones, biases or none."""
    error = draw(st.sampled_from(sorted(heads)))
    out = draw(st.sampled_from(heads[error]))
    d, m, k = draw(st.integers(1, 3)), draw(st.integers(0, 7)), draw(st.integers(2 if out == "softmax" else 1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.floats(0.2, 1.0))
    g = nx.DiGraph()
    names = [*(f"x{i}" for i in range(d)), *(f"h{j}" for j in range(m)), *(f"y{j}" for j in range(k))]
    for j, name in enumerate(names):
        role = {"x": "input", "h": "hidden", "y": "output"}[name[0]]
        g.add_node(name, role=role)
        if role == "input":
            continue
        g.nodes[name]["activation"] = out if role == "output" else kinds[int(rng.integers(len(kinds)))]
        if rng.random() < 0.7:
            g.nodes[name].update(bias=float(rng.normal(scale=0.5)), trainable=bool(rng.random() < 0.9))
        sources = [s for s in names[:j] if out != "softmax" or s[0] != "y"]
        for source in sources:
            if rng.random() < density:
                g.add_edge(source, name, weight=float(rng.normal(scale=0.8)), trainable=bool(rng.random() < 0.9))
    free = [edge for edge in g.edges if g.edges[edge]["trainable"]]
    if len(free) > 2 and draw(st.booleans()):
        a, b = (free[i] for i in rng.choice(len(free), 2, replace=False))
        g.edges[a]["tie"] = g.edges[b]["tie"] = "shared"
        g.edges[b]["weight"] = g.edges[a]["weight"]
    return g, error, rng


def problem(drawn, n=3):
    """(net, X, T, s), with every a well inside the smooth part of its activation."""
    g, error, rng = drawn
    net = gb.Network(g, error=error, backend="numpy")
    X = rng.normal(size=(n, net.schedule.n_inputs))
    T = targets(rng, net, n)
    s = rng.uniform(0.5, 2, n) if rng.random() < 0.5 else None
    with np.errstate(all="ignore"):  # a saturated output, whose ln y is refused below
        a = net.trace(X, T).a
    for node in g:
        if g.nodes[node].get("activation") in ("relu", "leaky_relu", "elu", "abs", "selu", "softsign"):
            assume(np.abs(a[node]).min() > 1e-6)
        assume(np.abs(a[node]).max() < 12)  # a saturated sigmoid loses 1 - y, and the oracle takes ln y
    return net, X, T, s


def agree(found, expected, scale=0.0):
    """To `LIMIT`, relative to the largest value or to `scale`, the size of the terms where a sum cancels."""
    assert found.shape == expected.shape
    largest = max(float(np.abs(expected).max(initial=0)), scale, 1e-3)
    assert np.abs(found - expected).max(initial=0) <= LIMIT * largest


@pytest.mark.parametrize("error", HEADS)
@drawn(500)
@given(data=st.data())
def test_every_first_derivative_is_the_complex_step_of_the_graph(error, data):
    net, X, T, s = problem(data.draw(networks(heads={error: HEADS[error]})))
    gradient, jacobian, by_weight = oracle_gradient(net, X, T, s), oracle_jacobian(net, X), oracle_weight_jacobian(net, X)
    terms = float(np.abs(net.per_sample_gradient(X, T, s)).sum(axis=0).max(initial=0)) + float(np.abs(by_weight).max(initial=0))
    for name in backend_names():
        if not gb.backends()[name].available:
            continue  # the conformance tests say that it is missing
        other = net.to(name)
        agree(other.gradient(X, T, s), gradient, terms)
        agree(other.per_sample_gradient(X, T, s).sum(axis=0), gradient, terms)
        agree(other.jacobian(X), jacobian)
        agree(other.weight_jacobian(X), by_weight)


AUTOGRAD = {
    "identity": lambda a: a,
    "tanh": anp.tanh,
    "sigmoid": lambda a: 1 / (1 + anp.exp(-a)),
    "sin": anp.sin,
    "arctan": anp.arctan,
    "gaussian": lambda a: anp.exp(-a * a),
    "softplus": lambda a: anp.log1p(anp.exp(a)),
    "exp": anp.exp,
}
AUTOGRAD_HEADS = {
    "sum_of_squares": ["identity", "tanh"],
    "binary_cross_entropy": ["sigmoid"],
    "cross_entropy": ["sigmoid"],
    "poisson": ["exp", "softplus"],
}
AUTOGRAD_ERRORS = {
    "sum_of_squares": lambda y, t: (y - t) ** 2 / 2,
    "binary_cross_entropy": lambda y, t: -t * anp.log(y) - (1 - t) * anp.log(1 - y),
    "cross_entropy": lambda y, t: -t * anp.log(y),
    "poisson": lambda y, t: y - t * anp.log(y),
}


@pytest.mark.filterwarnings("ignore:Output seems independent of input:UserWarning")  # autograd's, of a network without a path
@drawn(125)
@given(networks(tuple(k for k in AUTOGRAD if k not in ("exp", "softplus")), AUTOGRAD_HEADS))
def test_gradient_hessian_and_outer_product_are_those_of_automatic_differentiation(case):
    net, X, T, s = problem(case, n=2)
    assume(0 < net.n_parameters <= 40)
    theta = np.array(net.weights)
    weight = np.ones(len(X)) if s is None else s

    def outputs(w):
        return evaluate(net, w, X, lambda name, a: AUTOGRAD[name](a), anp)

    def error(w):
        return anp.sum(AUTOGRAD_ERRORS[net.error_function.name](outputs(w), T) * weight[:, None])

    hessian = autograd.hessian(error)(theta)
    scale = float(np.abs(net.outer_product_hessian(X, T, s)).max())
    agree(net.gradient(X, T, s), autograd.grad(error)(theta), scale)
    agree(net.hessian(X, T, s), hessian, 10 * scale)
    agree(net.hessian_diagonal(X, T, s), hessian.diagonal(), 10 * scale)
    if net.error_function.name == "sum_of_squares" and net.schedule.activations[net.schedule.row_activation[-1]].name == "identity":
        J = autograd.jacobian(outputs)(theta)
        agree(net.outer_product_hessian(X, T, s), np.einsum("nka,n,nkb->ab", J, weight, J), scale)


@drawn(50)
@given(networks())
def test_to_networkx_round_trips(case):
    """The same θ, outputs and gradients from the graph that comes back."""
    net, X, T, s = problem(case)
    again = gb.Network(net.to_networkx(), error=net.error_function, backend="numpy")
    assert np.array_equal(again.weights, net.weights)
    assert np.array_equal(again.gradient(X, T, s), net.gradient(X, T, s))
