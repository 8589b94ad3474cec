"""Errors, weights and gaps of each output on every path of the Numba backend, against the definition."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from helpers.heads import ERRORS, four_heads, targets

pytest.importorskip("numba")

from graphbp_numba import executable
from graphbp_numba.levels.path import LevelPath
from graphbp_numba.plan.tables import MODE_GRADIENT


def pair(graph, dtype="float64", **options):
    """The network on both backends."""
    return [gb.Network(graph, backend=name, dtype=dtype, missing="skip", **options) for name in ("numba", "numpy")]


def agree(fast, plain, X, T, s=None, rtol=1e-11):
    """E, gradients, products and traces; the gradient's largest entry is what others are compared with."""
    v = np.random.default_rng(0).normal(size=fast.n_parameters).astype(fast.dtype)
    assert fast.error(X, T, s) == pytest.approx(plain.error(X, T, s), rel=rtol)
    for quantity in (
        lambda net: net.gradient(X, T, s),
        lambda net: net.per_sample_gradient(X, T, s),
        lambda net: net.hessian_operator(X, T, s) @ v,
        lambda net: net.outer_product_operator(X, T, s) @ v,
        lambda net: net.trace(X, T, s).delta[net.outputs[0]],
    ):
        a, b = quantity(fast), quantity(plain)
        assert np.allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("n", [1, 5, 30, 300])
def test_tiles_and_single_calls(n):
    rng = np.random.default_rng(n)
    fast, plain = pair(four_heads(rng), error=ERRORS, error_weights={"price": 0.2, "kind": 3.0})
    X, T = rng.normal(size=(n, 3)), targets(rng, n)
    agree(fast, plain, X, T)
    agree(fast, plain, X, T, rng.uniform(0.1, 2, n))
    for name in ("hessian", "outer_product_hessian", "hessian_diagonal"):
        a, b = (getattr(net, name)(X, T) for net in (fast, plain))
        assert np.allclose(a, b, rtol=1e-11, atol=1e-11 * np.abs(b).max())


def layers(rng):
    """Blocks of 70 × 64, on which products are made, with a head of every kind."""
    g = nx.DiGraph()
    g.add_node("x", units=64, role="input")
    g.add_node("h", units=70, activation="tanh", bias=np.zeros(70))
    g.add_edge("x", "h", weight=rng.normal(size=(70, 64)) / 8)
    for name, n, activation in (("price", 1, "identity"), ("kind", 3, "softmax"), ("count", 1, "exp"), ("flag", 1, "sigmoid")):
        g.add_node(name, units=n, activation=activation, role="output", bias=np.zeros(n))
        g.add_edge("h", name, weight=rng.normal(size=(n, 70)) / 8)
    return g


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("path", ["blocks", "layers"])
def test_layers_by_either_path(path, n, monkeypatch):
    rng = np.random.default_rng(1)
    if path == "layers":
        monkeypatch.setattr(executable, "worthwhile_pieces", lambda schedule, layered: None)
    fast, plain = pair(layers(rng), error=ERRORS, error_weights={"flag": 0.3})
    assert f"{path}:" in fast.describe(n)
    agree(fast, plain, rng.normal(size=(n, 64)), targets(rng, n))


def test_levels_agree_with_tiles():
    rng = np.random.default_rng(2)
    fast, plain = pair(four_heads(rng), error=ERRORS, error_weights={"price": 0.2})
    X, T = rng.normal(size=(7, 3)), targets(rng, 7)
    x, t, s = fast.model.batch(X, T)
    run = fast.model.run.executable.weighing_outputs
    value, gradient, _ = LevelPath(run.work).sweep(fast.theta, x, np.concatenate([t, s], axis=1), None, MODE_GRADIENT)
    assert value == pytest.approx(plain.error(X, T), rel=1e-12)
    assert np.allclose(gradient, plain.gradient(X, T), rtol=1e-11, atol=1e-11)


def test_an_overflown_entry_without_target_counts_for_nothing():
    g = nx.DiGraph([("x", "y", {"weight": 1.0}), ("x", "z", {"weight": 1.0})])
    g.nodes["y"]["activation"] = "exp"
    fast, plain = pair(g, error={"y": "poisson", "z": "sum_of_squares"})
    X, T = [[0.5], [1.0], [1e4]], [[1.0, 0.0], [1.0, 3.0], [np.nan, 1.0]]
    agree(fast, plain, X, T)
    assert np.isfinite(fast.hessian(X, T)).all()


def test_mixtures_compile_nothing_of_their_own():
    from graphbp_numba.machine.jit import compile_events

    rng = np.random.default_rng(3)
    X, T = rng.normal(size=(30, 3)), targets(rng, 30)
    gb.Network(four_heads(rng), error=ERRORS, missing="skip", backend="numba").gradient(X, T)
    before = compile_events()
    other = {"price": "sum_of_squares", "kind": "cross_entropy", "count": "poisson", "flag": "binary_cross_entropy"}
    graph = four_heads(rng)
    graph.add_edge("a", "second", weight=1.0)
    graph.nodes["second"].update(role="output", activation="sigmoid")
    T["second"] = T["flag"]
    weights = {"kind": 2.0, "second": 0.1}
    net = gb.Network(
        graph, error={**other, "second": "binary_cross_entropy"}, error_weights=weights, missing="skip", backend="numba"
    )
    net.gradient(X, T)
    assert compile_events() == before
