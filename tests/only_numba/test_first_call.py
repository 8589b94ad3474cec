"""C functions are compiled by need, so every quantity must ask for all that it calls: each is the first call on a new network here."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from tests.campaign.paths import PATHS, forced

HEADS = [
    ("sum_of_squares", "tanh"),
    ("sum_of_squares", "gelu"),
    ("sum_of_squares", "softmax"),
    ("poisson", "softplus"),
    ("binary_cross_entropy", "gaussian"),
    ("cross_entropy", "softmax"),
]
QUANTITIES = {
    "forward": lambda net, X, T, v: net.forward(X),
    "error": lambda net, X, T, v: net.error(X, T),
    "gradient": lambda net, X, T, v: net.gradient(X, T),
    "per_sample_gradient": lambda net, X, T, v: net.per_sample_gradient(X, T),
    "trace": lambda net, X, T, v: net.trace(X, T).delta["h"],
    "jacobian": lambda net, X, T, v: net.jacobian(X),
    "weight_jacobian": lambda net, X, T, v: net.weight_jacobian(X),
    "vjp": lambda net, X, T, v: net.vjp(X, T),
    "jvp": lambda net, X, T, v: net.jvp(X, X),
    "weight_vjp": lambda net, X, T, v: net.weight_vjp(X, T),
    "weight_jvp": lambda net, X, T, v: net.weight_jvp(X, v),
    "hessian": lambda net, X, T, v: net.hessian(X, T),
    "outer_product_hessian": lambda net, X, T, v: net.outer_product_hessian(X, T),
    "hessian_diagonal": lambda net, X, T, v: net.hessian_diagonal(X, T),
    "hessian_operator": lambda net, X, T, v: net.hessian_operator(X, T) @ v,
    "outer_product_operator": lambda net, X, T, v: net.outer_product_operator(X, T) @ v,
    "hessian_blocks": lambda net, X, T, v: net.hessian_blocks(X, T)["h"].block,
    "input_hessian": lambda net, X, T, v: net.input_hessian(X),
    "input_hessian of V": lambda net, X, T, v: net.input_hessian(X, T),
    "input_hessian_diagonal": lambda net, X, T, v: net.input_hessian_diagonal(X),
    "laplacian": lambda net, X, T, v: net.laplacian(X),
    "input_hvp": lambda net, X, T, v: net.input_hvp(X, T, X),
    "mixed_jvp": lambda net, X, T, v: net.mixed_jvp(X, T, v),
    "mixed_vjp": lambda net, X, T, v: net.mixed_vjp(X, T, X),
    "outer_product_blocks": lambda net, X, T, v: net.hessian_blocks(X, T, kind="outer_product")["h"].block,
}


def network(output: str) -> nx.DiGraph:
    rng = np.random.default_rng(2)
    g = nx.DiGraph()
    g.add_node("x", units=2, role="input")
    g.add_node("h", units=3, activation="sin", bias=rng.normal(size=3))
    g.add_node("y", units=2, activation=output, bias=rng.normal(size=2))
    g.add_edge("x", "h", weight=rng.normal(size=(3, 2)))
    g.add_edge("h", "y", weight=rng.normal(size=(2, 3)))
    return g


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("error", "output"), HEADS)
def test_each_quantity_first_on_a_new_network(error, output, path):
    rng = np.random.default_rng(3)
    X, T = rng.normal(size=(5, 2)), rng.dirichlet([1, 1], 5)
    with forced("numba", path):
        for name, quantity in QUANTITIES.items():
            net = gb.Network(network(output), error=error, backend="numba")
            v = np.linspace(-1, 1, net.n_parameters)
            expected = quantity(net.to("numpy"), X, T, v)
            np.testing.assert_allclose(quantity(net, X, T, v), expected, rtol=1e-10, atol=1e-12, err_msg=name)
