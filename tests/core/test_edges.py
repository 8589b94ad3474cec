"""Merging parallel edges and pruning: the same function with fewer edges, and what cannot be merged or pruned."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

import graphbp as gb

X = np.array([[1.0, 0.5], [0.2, -0.1], [3.0, 2.0]])


def parallel(*attributes: dict[str, Any]) -> Any:
    g = nx.MultiDiGraph()
    g.add_edges_from(("x", "y", each) for each in attributes)
    return g


def layers() -> Any:
    """x (2) -> h (3) -> y, with weights that are exactly 0 and small ones."""
    g = nx.DiGraph()
    g.add_node("x", units=2)
    g.add_node("h", units=3, activation="tanh", bias=[0.1, 0.2, 0.3])
    g.add_node("y", bias=0.5)
    g.add_edge("x", "h", weight=np.array([[0.0, 2.0], [0.05, -1.0], [0.0, 0.0]]), colour="red")
    g.add_edge("h", "y", weight=np.array([[1.0, -0.5, 0.01]]))
    return g


def net(graph: Any) -> gb.Network:
    return gb.Network(graph, backend="numpy")


# -- parallel edges -----------------------------------------------------------------------------------------------------


def test_parallel_edges_add_up() -> None:
    g = parallel({"weight": 2.0, "colour": "red", "key": 1}, {"weight": 3, "colour": "red", "key": 2})
    g.add_node("y", bias=1.0)
    g.graph["title"] = "mine"
    merged = gb.merge_parallel_edges(g)
    assert type(merged) is nx.DiGraph
    assert merged.edges["x", "y"] == {"weight": 5.0, "colour": "red"}
    assert (merged.nodes["y"], merged.graph) == ({"bias": 1.0}, {"title": "mine"})
    assert net(merged).forward([[2.0]]).tolist() == [[11.0]]


def test_parallel_matrices_add_up() -> None:
    dense, stored = np.array([[1.0, 2.0]]), sparse.csr_array([[0.0, 4.0]])
    for second, total in ((dense, [[2.0, 4.0]]), (stored, [[1.0, 6.0]])):
        g = parallel({"weight": dense}, {"weight": second})
        g.nodes["x"]["units"] = 2
        assert net(gb.merge_parallel_edges(g)).forward(np.eye(2)).T.tolist() == total


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({}, "one of 2 parallel edges has no weight"),
        ({"weight": "2"}, "must hold numbers"),
        ({"weight": True}, "must be a number"),
        ({"weight": np.ma.masked}, "masked"),
        ({"weight": [1.0, 2.0]}, r"shapes \(\) and \(2,\)"),
        ({"weight": 1.0, "trainable": False}, "some are frozen and some are not"),
        ({"weight": 1.0, "tie": "a"}, "tie='a'"),
    ],
)
def test_what_does_not_add_up_is_refused(second: dict[str, Any], message: str) -> None:
    with pytest.raises(gb.GraphError, match=rf"edge 'x' -> 'y'.*{message}"):
        gb.merge_parallel_edges(parallel({"weight": 1.0}, second))


def test_the_message_on_a_multigraph_names_what_is_right() -> None:
    with pytest.raises(gb.GraphError, match=r"gb\.merge_parallel_edges\(g\) .*would keep the last"):
        net(parallel({"weight": 2.0}, {"weight": 3.0}))
    for other in (nx.MultiGraph(), 3, None):
        with pytest.raises(gb.GraphError, match=r"merge_parallel_edges takes a networkx\.MultiDiGraph"):
            gb.merge_parallel_edges(other)


# -- pruning ------------------------------------------------------------------------------------------------------------


def test_zeros_become_absent_edges() -> None:
    whole = net(layers())
    pruned = net(gb.prune(whole))
    np.testing.assert_allclose(pruned.forward(X), whole.forward(X), rtol=1e-14)
    assert pruned.n_parameters == whole.n_parameters - 3
    assert pruned.weight("x", "h").toarray().tolist() == [[0.0, 2.0], [0.05, -1.0], [0.0, 0.0]]
    assert isinstance(pruned.weight("h", "y"), np.ndarray)
    assert pruned.to_networkx().edges["x", "h"]["colour"] == "red"


def test_small_weights_go() -> None:
    graph = layers()
    small = gb.prune(graph, threshold=0.05)
    assert small.edges["x", "h"]["weight"].nnz == 2
    assert small.edges["h", "y"]["weight"].toarray().tolist() == [[1.0, -0.5, 0.0]]
    assert isinstance(graph.edges["x", "h"]["weight"], np.ndarray)  # the user's graph stays
    again = gb.prune(small, threshold=1.0)
    assert again.edges["x", "h"]["weight"].toarray().tolist() == [[0.0, 2.0], [0.0, 0.0], [0.0, 0.0]]
    assert not again.has_edge("h", "y")


def test_a_mask_says_which_weights_stay() -> None:
    mask = np.array([[True, False], [True, True], [False, False]])
    pruned = gb.prune(layers(), {("x", "h"): mask})
    kept = pruned.edges["x", "h"]["weight"]
    assert (kept.nnz, kept.toarray().tolist()) == (3, [[0.0, 0.0], [0.05, -1.0], [0.0, 0.0]])
    assert pruned.edges["h", "y"]["weight"].shape == (1, 3)
    on_stored = gb.prune(pruned, {("x", "h"): sparse.csr_array(~mask), ("h", "y"): True})
    assert not on_stored.has_edge("x", "h")


def test_pruned_units_keep_their_roles() -> None:
    g = nx.DiGraph()
    g.add_node("h", activation="tanh", bias=0.3)
    g.add_weighted_edges_from([("x1", "h", 0.0), ("x2", "y", 1.0), ("h", "y", 2.0), ("h", "end", 0.0)])
    whole, pruned = net(g), net(gb.prune(g))
    assert (pruned.inputs, pruned.outputs) == (whole.inputs, whole.outputs)
    assert pruned.forward(X).tolist() == whole.forward(X).tolist()
    assert pruned.n_parameters == whole.n_parameters - 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({("x", "h"): np.ones((2, 3))},), r"shape \(2, 3\); it must be \(3, 2\)"),
        (({("x", "h"): np.full((3, 2), 0.5)},), "0.5; it must hold True"),
        (({("x", "y"): True},), r"mask names \('x', 'y'\), which is no edge"),
        ((np.ones(3),), "give a mapping from edge to mask"),
    ],
)
def test_a_mask_that_fits_nothing_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(gb.DataError, match=message):
        gb.prune(layers(), *arguments)


def test_one_of_mask_and_threshold() -> None:
    with pytest.raises(gb.DataError, match="give one"):
        gb.prune(layers(), {("h", "y"): True}, threshold=0.1)
    with pytest.raises(gb.DataError, match=r"threshold=-1"):
        gb.prune(layers(), threshold=-1)
