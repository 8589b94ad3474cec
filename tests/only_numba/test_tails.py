"""Gradients through saturated units, on every path of a sweep: h' is that of a, not what a rounded z leaves of it."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

import graphbp as gb
from graphbp_numba.machine.formulas import FORMULAS

KEEPING = [name for name, row in FORMULAS.items() if row.far is not None]
FAR = np.array([-300.0, -40.0, -20.0, -9.0, -5.0, -2.8, -1.0, 0.25, 1.0, 2.0, 2.8, 3.5])


def chain(activation, hidden=1):
    """x -> h -> y, h repeated."""
    g = nx.DiGraph()
    g.add_node("x", role="input")
    for j in range(hidden):
        g.add_edge("x", f"h{j}", weight=1.0)
        g.nodes[f"h{j}"].update(activation=activation, bias=0.0)
        g.add_edge(f"h{j}", "y", weight=1.0)
    g.nodes["y"]["role"] = "output"
    return g


def slopes(net, a):
    """h'(a), by the sweep of a gradient, sample by sample of one batch."""
    return net.vjp(a[:, None], np.ones((len(a), 1)))[:, 0]


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 12, 300])
@pytest.mark.parametrize("activation", KEEPING)
def test_units(activation, n, dtype):
    a = np.resize(FAR if dtype == "float64" else FAR[1:], n).astype(dtype)
    net = gb.Network(chain(activation), backend="numba", dtype=dtype)
    exact = gb.activations()[activation].df(a.astype(float))
    np.testing.assert_allclose(slopes(net, a), exact, rtol=4e-15 if dtype == "float64" else 2e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [3, 100])
def test_layers(n, dtype):
    """With W = 1 and a sum behind it, ∂y/∂x_i = h'(x_i)."""
    g = nx.DiGraph()
    g.add_node("x", units=70)
    g.add_node("h", units=70, activation="tanh", bias=np.zeros(70))
    g.add_node("y", units=1)
    g.add_edge("x", "h", weight=np.eye(70))
    g.add_edge("h", "y", weight=np.ones((1, 70)))
    net = gb.Network(g, backend="numba", dtype=dtype)
    X = np.resize(FAR[1:], (n, 70)).astype(dtype)
    exact = gb.activations()["tanh"].df(X.astype(float))
    np.testing.assert_allclose(net.vjp(X, np.ones((n, 1))), exact, rtol=4e-15 if dtype == "float64" else 2e-6)
