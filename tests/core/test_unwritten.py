"""Results do not depend on what memory held before: `tests/poisoned.py` runs these under an allocator that fills it with NaN."""

from __future__ import annotations

import os

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

BACKENDS = [name for name, row in gb.backends().items() if row.available and name in ("numpy", "numba")]


def late_softmax():
    """Output 0 is an exp unit; the softmax group stands after it."""
    g = nx.DiGraph()
    g.add_node("x", role="input")
    g.add_node("p", activation="exp", bias=0.0, role="output")
    g.add_edge("x", "p", weight=1.0)
    for unit, w in (("q0", 0.5), ("q1", -0.5)):
        g.add_node(unit, activation="softmax", bias=0.0, role="output")
        g.add_edge("x", unit, weight=w)
    return g


@pytest.mark.skipif("GRAPHBP_POISONED" not in os.environ, reason="the allocator is tests/poisoned.py's")
def test_memory_is_poisoned():
    assert np.isnan(np.empty(1 << 16)).all()
    assert np.isnan(np.empty(256)).all()  # blocks below 1 KiB NumPy keeps for itself: they hold what they held


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_softmax_after_another_output(backend, dtype):
    net, truth = gb.Network(late_softmax(), backend=backend, dtype=dtype), gb.Network(late_softmax(), backend="numpy")
    X, T, V = np.array([[0.5], [-0.25]]), np.array([[1.0, 1, 0], [0.5, 0, 1]]), np.array([[1.0, -2, 3], [0.5, 1, 2]])
    with pytest.warns(gb.NumericalWarning, match="exp of the pre-activation 10000 is inf"):
        net.gradient(np.array([[1e4], [1e4]]), T)  # leaves infinities and NaN behind
    rel = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(net.gradient(X, T), truth.gradient(X, T), rtol=rel)
    np.testing.assert_allclose(net.vjp(X, V), truth.vjp(X, V), rtol=rel)
    np.testing.assert_allclose(net.jvp(X, X), truth.jvp(X, X), rtol=rel)
    np.testing.assert_allclose(net.hessian(X, T), truth.hessian(X, T), rtol=rel, atol=1e-6 * (dtype == "float32"))
