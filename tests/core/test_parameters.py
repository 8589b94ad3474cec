"""The order of θ, frozen and tied parameters, and parameter_index."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import graphbp as gb
from graphbp.parameters import ParameterMap


def drawing() -> nx.DiGraph:
    """Node order x, y, h, so that θ follows the graph and not the schedule."""
    g = nx.DiGraph()
    g.add_node("x", units=2)
    g.add_node("y", bias=9.0)
    g.add_node("h", units=3, bias=[6.0, 7.0, 8.0])
    g.add_edge("h", "y", weight=[[1.0, 2.0, 3.0]])
    g.add_edge("x", "y", weight=[[4.0, 5.0]])
    g.add_edge("x", "h", weight=np.arange(10.0, 16.0).reshape(3, 2))
    return g


def test_documented_order() -> None:
    """Destinations in graph order; for each its incoming edges in predecessor order, row by row, then its bias."""
    net = gb.Network(drawing(), backend="numpy")
    assert net.weights.tolist() == [1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 6, 7, 8]
    assert net.parameter_index("h", "y") == slice(0, 3)
    assert net.parameter_index("y") == slice(5, 6)
    assert net.parameter_index("x", "h") == slice(6, 12)
    assert net.parameter_index("h") == slice(12, 15)
    names = [net.parameter_name(k) for k in (0, 5, 11, 14)]
    assert names == ["edge 'h' -> 'y' at (0, 0)", "bias of node 'y'", "edge 'x' -> 'h' at (2, 1)", "bias of node 'h' unit 2"]


def test_sparse_entries_in_csr_order() -> None:
    g = nx.DiGraph()
    g.add_node("x", units=3)
    g.add_node("y", units=2)
    # duplicates are summed, and the order of the stored entries is CSR's own
    g.add_edge("x", "y", weight=sparse.coo_matrix(([4.0, 1.0, 2.0, 3.0], ([1, 0, 0, 1], [2, 2, 0, 2])), shape=(2, 3)))
    net = gb.Network(g, backend="numpy")
    assert net.weights.tolist() == [2.0, 1.0, 7.0]
    assert net.parameter_name(2) == "edge 'x' -> 'y' at (1, 2)"
    assert net.forward([[1.0, 10.0, 100.0]]).tolist() == [[102.0, 700.0]]


def test_frozen_are_left_out_and_keep_their_values() -> None:
    g = drawing()
    g.edges["x", "h"]["trainable"] = False
    g.nodes["y"]["trainable"] = False
    net = gb.Network(g, backend="numpy")
    assert net.weights.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    net.weights = np.zeros(8)
    assert net.weight("x", "h").tolist() == np.arange(10.0, 16.0).reshape(3, 2).tolist()
    assert net.bias("y") == 9.0
    assert net.forward([[1.0, 1.0]]).tolist() == [[9.0]]
    with pytest.raises(gb.WeightError, match="frozen"):
        net.parameter_index("y")


def test_tied_stand_once_where_the_first_stands() -> None:
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x1", "a", 2.0), ("x2", "a", 3.0), ("x1", "b", 2.0), ("a", "y", 2.0), ("b", "y", 5.0)])
    for u, v in (("x1", "a"), ("x1", "b"), ("a", "y")):
        g.edges[u, v]["tie"] = "w"
    g.add_node("a", bias=1.0, tie="b")
    g.add_node("b", bias=1.0, tie="b")
    net = gb.Network(g, backend="numpy")
    assert net.weights.tolist() == [2.0, 3.0, 1.0, 5.0]
    assert {net.parameter_index(*e).start for e in (("x1", "a"), ("x1", "b"), ("a", "y"))} == {0}
    assert net.parameter_index("a") == net.parameter_index("b")
    X, T = np.array([[0.3, -0.7]]), np.array([[0.1]])
    h, theta = 1e-6, net.weights.copy()
    expected = []
    for k in range(4):
        step = np.eye(4)[k] * h
        values = []
        for sign in (1, -1):
            net.weights = theta + sign * step
            values.append(net.error(X, T))
        expected.append((values[0] - values[1]) / (2 * h))
    net.weights = theta
    np.testing.assert_allclose(net.gradient(X, T), expected, rtol=1e-6)


def test_a_bias_may_lead_edges_that_come_later() -> None:
    """One parameter for the bias of a, a unit edge and a 1 × 1 layer edge into b: it stands where the bias does."""
    g = nx.DiGraph()
    g.add_node("x")
    g.add_node("a", bias=2.0, tie="w")
    g.add_node("b")
    g.add_edge("x", "a", weight=5.0)
    g.add_edge("a", "b", weight=3.0)
    g.add_edge("x", "b", weight=[[2.0]], tie="w")
    g.add_edge("a", "c", weight=2.0, tie="w")
    net = gb.Network(g, backend="numpy")
    assert net.weights.tolist() == [5.0, 2.0, 3.0]
    assert net.parameter_index("a") == net.parameter_index("x", "b") == net.parameter_index("a", "c") == slice(1, 2)
    assert [net.parameter_name(k) for k in range(3)] == ["edge 'x' -> 'a'", "bias of node 'a'", "edge 'a' -> 'b'"]


def test_each_parameter_has_its_own_name() -> None:
    """A bias is followed by the next node's edges: where one ends and the other begins."""
    net = gb.Network(drawing(), backend="numpy")
    names = [net.parameter_name(k) for k in range(net.n_parameters)]
    assert len(set(names)) == net.n_parameters
    assert names[:7] == [
        *(f"edge 'h' -> 'y' at (0, {c})" for c in range(3)), *(f"edge 'x' -> 'y' at (0, {c})" for c in range(2)),
        "bias of node 'y'", "edge 'x' -> 'h' at (0, 0)",
    ]  # fmt: skip


def test_an_edge_without_entries_has_an_empty_slice() -> None:
    g = nx.DiGraph([("x", "y", {"weight": sparse.csr_array((2, 3))})])
    g.nodes["x"]["units"], g.nodes["y"]["units"] = 3, 2
    net = gb.Network(g, backend="numpy")
    index = net.parameter_index("x", "y")
    assert index.stop - index.start == 0
    assert net.forward(np.ones((1, 3))).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("kind", ["dense", "sparse", "bias"])
def test_tied_layers(kind: str) -> None:
    g = nx.DiGraph()
    w = np.array([[1.0, 0.0], [2.0, 3.0]])
    for name in ("x", "a", "b"):
        g.add_node(name, units=2)
    if kind == "bias":
        for name in ("a", "b"):
            g.add_node(name, bias=[0.5, 0.6], tie="shared")
    for u, v in (("x", "a"), ("a", "b")):
        g.add_edge(u, v, weight=sparse.csr_array(w) if kind == "sparse" else w, **({} if kind == "bias" else {"tie": "shared"}))
    net = gb.Network(g, backend="numpy")
    assert net.n_parameters == {"dense": 4, "sparse": 3, "bias": 10}[kind]
    if kind == "bias":
        assert net.parameter_index("a") == net.parameter_index("b")
    else:
        assert net.parameter_index("x", "a") == net.parameter_index("a", "b") == slice(0, net.n_parameters)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, 5), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_expand_and_reduce_are_adjoint(owners: list[int], seed: int) -> None:
    """⟨g, C v⟩ = ⟨Cᵀ g, v⟩, and w = C θ + w₀, against the matrix C."""
    used = sorted({k for k in owners if k >= 0})
    owner = np.array([used.index(k) if k >= 0 else -1 for k in owners])
    rng = np.random.default_rng(seed)
    fixed = np.where(owner < 0, rng.normal(size=len(owner)), 0.0)
    pm = ParameterMap(len(used), owner, fixed)
    C = (owner[:, None] == np.arange(len(used))).astype(float)
    v, g = rng.normal(size=len(used)), rng.normal(size=(3, len(owner)))
    np.testing.assert_allclose(pm.expand(v), C @ v + fixed, rtol=1e-14)
    np.testing.assert_allclose(pm.expand_tangent(v), C @ v, rtol=1e-14)
    np.testing.assert_allclose(pm.expand_tangent(np.stack([v, v], 1)), C @ np.stack([v, v], 1), rtol=1e-14)
    np.testing.assert_allclose(pm.reduce(g), g @ C, rtol=1e-12, atol=1e-14)
    assert pm.tied == (len(used) < int((owner >= 0).sum()))


@pytest.mark.parametrize("owners", [[1, 1, 3], [0, 2, 2, -1], [3, 3], [-1], [], [0, 2, 3]])
def test_a_parameter_that_fills_no_slot_has_the_derivative_0(owners: list[int]) -> None:
    """Also where there are as many slots as parameters, one of them filled twice."""
    owner = np.array(owners, int)
    pm = ParameterMap(4, owner, np.zeros(len(owner)))
    C = (owner[:, None] == np.arange(4)).astype(float).reshape(-1, 4)
    g = np.arange(1.0, 2 * len(owner) + 1).reshape(2, -1)
    np.testing.assert_array_equal(pm.reduce(g), g @ C)
    np.testing.assert_array_equal(pm.expand(np.arange(4.0)), C @ np.arange(4.0))
    assert pm.tied == (len(set(owners) - {-1}) < sum(k >= 0 for k in owners))


@pytest.mark.parametrize("frozen", [False, True], ids=["free", "one frozen"])
def test_a_tied_sparse_weight_without_entries(frozen: bool) -> None:
    """It shares nothing, so nothing can disagree; here it also stands last."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for name in ("x", "h", "y"):
        g.add_node(name, units=2)
    g.add_edge("x", "h", weight=np.eye(2))
    g.add_edge("h", "y", weight=sparse.csr_array((2, 2)), tie="none", trainable=not frozen)
    g.add_edge("x", "y", weight=sparse.csr_array((2, 2)), tie="none")
    net = gb.Network(g, backend="numpy")
    assert net.n_parameters == 4
    assert net.forward([[1.0, 2.0]]).tolist() == [[0.0, 0.0]]
    assert net.parameter_name(3) == "edge 'x' -> 'h' at (1, 1)"
