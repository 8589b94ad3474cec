"""Columns against the slow definition: a graph rebuilt edge by edge, and files that are read without a DiGraph."""

from __future__ import annotations

import json
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

import graphbp as gb
from graphbp.columns import columns_of, to_digraph
from graphbp.files import read_graph_file
from graphbp.testing import Case, cases
from helpers.graphs import assert_same_graph

ZOO = cases()
SAVED = [case for case in ZOO if case.name != "odd-names"]  # a file does not carry a frozenset as a name


def edge_by_edge(net: gb.Network, came: nx.DiGraph) -> nx.DiGraph:
    """What `to_networkx` must give, by the public face alone: every weight and bias asked for by name."""
    g: nx.DiGraph[Any] = nx.DiGraph(**came.graph)
    for node, data in came.nodes(data=True):
        rest = {key: value for key, value in data.items() if key != "bias"}
        g.add_nodes_from([(node, {**rest, "bias": net.bias(node)} if data.get("bias") is not None else rest)])
    for node in came:
        for source, data in came.pred[node].items():
            rest = {key: value for key, value in data.items() if key != "weight"}
            g.add_edges_from([(source, node, {"weight": net.weight(source, node), **rest})])
    return g


def plain_biases(g: nx.DiGraph) -> nx.DiGraph:
    """A layer whose one bias is still one number has it as a number; the face always gives an array."""
    for _, data in g.nodes(data=True):
        if isinstance(data.get("bias"), np.ndarray):
            data["bias"] = np.ravel(data["bias"]).tolist()
            data["bias"] = data["bias"][0] if len(set(data["bias"])) == 1 else data["bias"]
    return g


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", ZOO, ids=str)
def test_to_networkx(case: Case, dtype: str) -> None:
    net = case.network(dtype=dtype)
    net.weights = net.weights + np.arange(net.n_parameters, dtype=dtype) / 8
    assert_same_graph(plain_biases(net.to_networkx()), plain_biases(edge_by_edge(net, case.graph)))


@pytest.mark.parametrize("case", ZOO, ids=str)
def test_a_graph_comes_back_from_its_columns(case: Case) -> None:
    g = to_digraph(columns_of(case.graph))
    assert list(g) == list(case.graph)
    for node in g:
        assert list(g.pred[node]) == list(case.graph.pred[node])
        assert g.nodes[node] == case.graph.nodes[node]
    for u, v, data in g.edges(data=True):
        assert data.keys() == case.graph.edges[u, v].keys()
        assert all(value is case.graph.edges[u, v][key] or value == case.graph.edges[u, v][key] for key, value in data.items())


@pytest.mark.parametrize("case", SAVED, ids=str)
def test_a_file_is_the_network(case: Case, tmp_path: Any) -> None:
    """Loaded without a DiGraph, and loaded as one: the same parameters, the same bits."""
    net = case.network()
    net.save(tmp_path / "m.json")
    back = gb.load(tmp_path / "m.json", backend="numpy")
    graph = read_graph_file(tmp_path / "m.json")[0]
    assert_same_graph(back.to_networkx(), net.to_networkx())
    assert_same_graph(graph, net.to_networkx())
    assert np.array_equal(back.weights, net.weights)
    assert back.schedule.n_edges == net.schedule.n_edges
    for other in (back, gb.Network(graph, error=case.error or None, backend="numpy")):
        assert np.array_equal(other.gradient(*case.batch), net.gradient(*case.batch))


def test_edges_in_any_order_are_read_as_networkx_would(tmp_path: Any) -> None:
    """A file of someone else's: edges not sorted by target, with attributes that follow them."""
    g = gb.random_dag(3, 12, 2, seed=4)
    for k, (_, _, data) in enumerate(g.edges(data=True)):
        if k % 2:
            data["mark"] = k
    h = next(node for node in g if g.in_degree(node) and g.out_degree(node))
    g.add_node("wide", units=2)
    g.add_edge(h, "wide", weight=np.array([[1.0], [2.0]]), trainable=False)
    gb.Network(g, backend="numpy").save(tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    order = np.random.default_rng(0).permutation(g.number_of_edges())
    arrays = document["weights"]["arrays"]
    for key in ("source", "target", "weight"):
        entry = arrays[document["edges"][key]["$array"]]
        entry["data"] = [entry["data"][k] for k in order]
    new = {int(old): k for k, old in enumerate(order)}
    del document["sha256"]  # as who edits a file takes it out
    document["edges"]["attributes"] = [[new[e], attributes] for e, attributes in document["edges"]["attributes"]]
    (tmp_path / "m.json").write_text(json.dumps(document), encoding="utf-8")
    found = read_graph_file(tmp_path / "m.json")[0]
    expected = nx.DiGraph()
    expected.add_nodes_from(g.nodes(data=True))
    sorted_edges = [(u, v) for v in g for u in g.pred[v]]
    expected.add_edges_from((*sorted_edges[k], g.edges[sorted_edges[k]]) for k in order)
    assert_same_graph(found, expected)
    assert np.array_equal(gb.load(tmp_path / "m.json", backend="numpy").weights, gb.Network(expected, backend="numpy").weights)


def test_a_sparse_weight_without_entries_comes_back() -> None:
    g = nx.DiGraph([("x", "y", {"weight": sparse.csr_array((2, 3))})])
    g.nodes["x"]["units"], g.nodes["y"]["units"] = 3, 2
    net = gb.Network(g, backend="numpy")
    assert net.weight("x", "y").nnz == 0
    assert net.to_networkx().edges["x", "y"]["weight"].shape == (2, 3)


def test_a_network_whose_weights_are_no_numbers_is_not_saved(tmp_path: Any) -> None:
    net = gb.Network(gb.layered([2, 3, 1]), backend="numpy")
    net.weights[4] = np.nan
    with pytest.raises(gb.WeightError, match=r"edge 'x' -> 'h1': weight is nan at \(2, 0\)"):
        net.save(tmp_path / "m.json")
    assert not list(tmp_path.iterdir())


def test_an_unknown_option_of_saving_is_named(tmp_path: Any) -> None:
    with pytest.raises(gb.DataError, match="no option 'compress'; it takes weights, metadata"):
        gb.Network(gb.layered([2, 1]), backend="numpy").save(tmp_path / "m.json", compress=True)


def test_an_int_beyond_float64_is_read_apart_from_the_floats_beside_it():
    g = nx.DiGraph([("a", "b", {"weight": 0.5}), ("b", "c", {"weight": 2**1001}), ("c", "d", {"weight": 2**1030})])
    with pytest.raises(gb.WeightError, match="edge 'c' -> 'd'"):
        gb.Network(g, backend="numpy")
    g.edges["c", "d"]["weight"] = 3
    assert gb.Network(g, backend="numpy").weights.tolist() == [0.5, 2.0**1001, 3]
