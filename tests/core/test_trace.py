"""a, z and δ of every node."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb


def test_hand_worked() -> None:
    """h = tanh(2 x), y = 3 h: δ_y = y − t, δ_h = h'(a) 3 δ_y, and ∂E/∂x = 2 δ_h at the input."""
    g = nx.DiGraph([("x", "h", {"weight": 2.0}), ("h", "y", {"weight": 3.0})])
    g.nodes["h"]["activation"] = "tanh"
    trace = gb.Network(g, backend="numpy").trace([[0.3], [-1.0]], [[0.5], [0.0]])
    x, t = np.array([0.3, -1.0]), np.array([0.5, 0.0])
    h = np.tanh(2 * x)
    delta = 3 * h - t
    np.testing.assert_allclose(trace.a["h"], 2 * x, rtol=1e-14)
    np.testing.assert_allclose(trace.z["h"], h, rtol=1e-14)
    np.testing.assert_allclose(trace.delta["y"], delta, rtol=1e-14)
    np.testing.assert_allclose(trace.delta["h"], (1 - h**2) * 3 * delta, rtol=1e-13)
    np.testing.assert_allclose(trace.delta["x"], 2 * (1 - h**2) * 3 * delta, rtol=1e-13)
    assert list(trace.a) == ["x", "h", "y"]
    assert [line.split()[0] for line in str(trace).splitlines()] == ["node", "x", "h", "y"]


def test_the_table_is_in_the_order_of_the_sweep() -> None:
    """Not in the graph's, where y stands first."""
    g = nx.DiGraph()
    g.add_nodes_from(["y", "h", "x"])
    g.add_weighted_edges_from([("x", "h", 2.0), ("h", "y", 3.0)])
    trace = gb.Network(g, backend="numpy").trace([[1.0]], [[0.0]])
    assert [line.split() for line in str(trace).splitlines()[1:]] == [
        ["x", "1", "1", "36"], ["h", "2", "2", "18"], ["y", "6", "6", "6"]
    ]  # fmt: skip
    assert list(trace.z) == ["y", "h", "x"]


def test_layers_are_samples_by_units() -> None:
    g = nx.DiGraph([("x", "h", {"weight": np.ones((3, 1))})])
    g.nodes["h"]["units"] = 3
    trace = gb.Network(g, backend="numpy").trace([[1.0], [2.0]], np.zeros((2, 3)))
    assert trace.z["h"].tolist() == [[1.0] * 3, [2.0] * 3]
    assert [line.split()[0] for line in str(trace).splitlines()] == ["node", "x", "h[0]", "h[1]", "h[2]"]
    assert "nothing" not in trace.a
    assert len(trace.a) == 2
    with pytest.raises(gb.UnknownNameError, match=r"\['h'\]"):
        trace.a[["h"]]  # type: ignore[index]
