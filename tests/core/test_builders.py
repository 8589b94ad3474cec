"""Builders: what they promise about shape, reach, seeds and refusals."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import graphbp as gb

MODELS = ["erdos_renyi", "small_world", "scale_free"]


def weights_of(graph):
    return [(u, v, np.asarray(w).tolist()) for u, v, w in graph.edges(data="weight")]


@pytest.mark.parametrize("skips", [False, True])
def test_layer_nodes_and_unit_nodes_are_one_function(skips):
    sizes = [3, 5, 4, 2]
    as_layers = gb.layered(sizes, skips=skips, seed=3)
    as_units = gb.layered(sizes, skips=skips, seed=3, units="units")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(7, 3))
    a, b = (gb.Network(g, backend="numpy") for g in (as_layers, as_units))
    assert np.allclose(a.forward(X), b.forward(X), rtol=1e-13, atol=1e-13)
    pairs = [(0, 1), (1, 2), (2, 3)] if not skips else [(i, j) for j in range(4) for i in range(j)]
    assert as_units.number_of_edges() == sum(sizes[i] * sizes[j] for i, j in pairs)
    assert a.n_parameters == b.n_parameters == as_units.number_of_edges() + 5 + 4 + 2


def test_layered_without_bias_and_with_its_activations():
    g = gb.layered([2, 3, 4, 1], activation="relu", output_activation="sigmoid", bias=False)
    assert [g.nodes[n].get("activation") for n in g] == [None, "relu", "relu", "sigmoid"]
    assert not any("bias" in data for _, data in g.nodes(data=True))


@pytest.mark.parametrize(
    ("init", "expected"), [("glorot", np.sqrt(2 / 500)), ("he", np.sqrt(2 / 300)), ("lecun", np.sqrt(1 / 300)), (0.3, 0.3)]
)
def test_initial_weights_have_the_standard_deviation_of_the_docstring(init, expected):
    w = gb.layered([300, 200], init=init)["x"]["y"]["weight"]
    assert abs(w.std() / expected - 1) < 0.02  # 60,000 draws: the relative error of s is 0.3 %
    assert abs(w.mean()) < 5 * expected / np.sqrt(w.size)


def test_skip_layers_count_all_their_sources():
    g = gb.layered([100, 100, 200], skips=True, init="lecun")
    assert abs(g["x"]["y"]["weight"].std() * np.sqrt(200) - 1) < 0.03
    assert abs(g["x"]["h1"]["weight"].std() * np.sqrt(100) - 1) < 0.03


@pytest.mark.parametrize("build", [lambda s: gb.layered([4, 5, 2], seed=s), lambda s: gb.random_dag(3, 30, 2, seed=s)])
def test_the_seed_decides(build):
    assert weights_of(build(1)) == weights_of(build(1))
    assert weights_of(build(1)) != weights_of(build(2))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.integers(1, 6),
    st.integers(0, 30),
    st.integers(1, 4),
    st.integers(1, 40),
    st.one_of(st.none(), st.integers(1, 12)),
    st.integers(0, 99),
)
def test_random_dags_reach_from_input_to_output(model, D, H, K, fan_in, window, seed):
    g = gb.random_dag(D, H, K, model=model, fan_in=fan_in, window=window, rewire=0.3, seed=seed)
    assert g.number_of_nodes() == D + H + K
    assert nx.is_directed_acyclic_graph(g)
    names = list(g)
    inputs, outputs = names[:D], names[D + H :]
    assert [n for n in g if g.in_degree(n) == 0] == inputs
    assert [n for n in g if g.out_degree(n) == 0] == outputs
    net = gb.Network(g, backend="numpy")
    assert list(net.inputs) == inputs
    assert list(net.outputs) == outputs
    place = {name: min(i, D + H) for i, name in enumerate(names)}
    if window is not None:
        assert all(place[v] - place[u] <= window for u, v in g.edges if u not in inputs)
    assert all(g.in_degree(n) >= min(fan_in, place[n], window or fan_in) for n in names[D:])


def test_density_sets_the_number_of_edges():
    g = gb.random_dag(20, 300, 5, density=0.1, seed=0)
    possible = sum(range(20, 320)) + 5 * 320
    assert abs(g.number_of_edges() / (0.1 * possible) - 1) < 0.05
    assert gb.random_dag(3, 10, 1, density=1.0).number_of_edges() == sum(range(3, 13)) + 13


def test_small_world_without_rewiring_is_the_lattice():
    g = gb.random_dag(4, 20, 1, model="small_world", fan_in=3, rewire=0.0)
    assert sorted(g.pred["h10"]) == ["h7", "h8", "h9"]
    far = gb.random_dag(4, 400, 1, model="small_world", fan_in=5, rewire=0.2, seed=1)
    place = {name: i for i, name in enumerate(far)}
    moved = np.mean([place[v] - place[u] > 5 for u, v in far.edges if v.startswith("h")])
    assert abs(moved - 0.2) < 0.03


@pytest.mark.parametrize("window", [None, 800])
def test_scale_free_has_hubs_and_the_others_have_none(window):
    most = {m: max(d for _, d in gb.random_dag(10, 3000, 1, model=m, fan_in=4, window=window, seed=0).out_degree) for m in MODELS}
    assert most["scale_free"] > 2.5 * most["erdos_renyi"]
    assert most["scale_free"] > 5 * most["small_world"]


def test_activations_are_drawn_from_the_list():
    g = gb.random_dag(2, 200, 1, activation=["tanh", "sin"], output_activation="identity")
    assert {g.nodes[f"h{i}"]["activation"] for i in range(1, 201)} == {"tanh", "sin"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gb.layered([5]), "at least an input and an output"),
        (lambda: gb.layered([5, 0, 1]), r"sizes\[1\]=0"),
        (lambda: gb.layered([5, 2.5]), r"sizes\[1\]=2.5"),
        (lambda: gb.layered(5), "layered"),
        (lambda: gb.layered([5, 1], units="neurons"), "'layers'"),
        (lambda: gb.layered([5, 1], activation="tahn", output_activation="tanhh"), "did you mean 'tanh'"),
        (lambda: gb.layered([5, 1], init="glorrot"), "did you mean 'glorot'"),
        (lambda: gb.layered([5, 1], init=-1.0), "standard deviation"),
        (lambda: gb.random_dag(0, 3, 1), "n_inputs=0"),
        (lambda: gb.random_dag(1, -3, 1), "n_hidden=-3"),
        (lambda: gb.random_dag(1, 3, True), "n_outputs=True"),
        (lambda: gb.random_dag(1, 3, 1, model="erdos"), "did you mean 'erdos_renyi'"),
        (lambda: gb.random_dag(1, 3, 1, fan_in=0), "fan_in=0"),
        (lambda: gb.random_dag(1, 3, 1, fan_in=2, density=0.1), "density="),
        (lambda: gb.random_dag(1, 3, 1, density=1.5), "at most 1"),
        (lambda: gb.random_dag(1, 3, 1, window=0), "window=0"),
        (lambda: gb.random_dag(1, 3, 1, rewire=2), "rewire=.*at most 1"),
        (lambda: gb.random_dag(1, 3, 1, activation=[]), "at least one activation"),
        (lambda: gb.from_edges([0, 1], [1], [1.0, 2.0]), "src has 2 entries and dst has 1"),
        (lambda: gb.from_edges([0, 1], [1, 2], [1.0, 2.0, 3.0]), "shape"),
        (lambda: gb.from_edges([0, 2], [1, 2], [1.0, 2.0]), "node 2 to itself"),
        (lambda: gb.from_edges([0, 1, 0], [2, 2, 2], 1.0), "0 -> 2 is given twice, at 0 and 2"),
        (lambda: gb.from_edges([0], [1], [1j]), "real"),
        (lambda: gb.from_edges([0.0], [1.0], [1.0]), "floats"),
        (lambda: gb.from_edges([0], [3], [1.0], n_nodes=3), "from 0 to 2"),
        (lambda: gb.from_edges([-1], [1], [1.0], n_nodes=3), r"src\[0\] is -1"),
        (lambda: gb.from_edges([0], [1], 1.0, names=["a", "a"]), "repeated"),
        (lambda: gb.from_edges(["a"], ["b"], 1.0, n_nodes=2), "labels already"),
        (lambda: gb.from_edges([0], [1], 1.0, bias=[1.0, 2.0]), "an input has no bias"),
        (lambda: gb.from_edges([0], [1], 1.0, bias={7: 1.0}), "bias names 7"),
        (lambda: gb.from_edges([0], [1], 1.0, activation=["tanh"]), "1 entries"),
        (lambda: gb.from_edges([0], [1], 1.0, inputs=[0], outputs=[0]), "named in inputs= and in outputs="),
        (lambda: gb.from_edges([[0]], [[1]], 1.0), "src holds .0., which cannot be a node"),
        (lambda: gb.from_adjacency(np.ones((2, 3))), "square"),
        (lambda: gb.from_adjacency(np.eye(2)), "node 0 to itself"),
        (lambda: gb.from_adjacency(np.array([[0, 1j], [0, 0]])), "real"),
        (lambda: gb.from_edges([0, 1], [2, 2], [1.0, np.nan]), r"weight\[1\] is nan"),
        (lambda: gb.from_adjacency(np.array([[0, np.inf], [0, 0]])), "inf"),
        (lambda: gb.layered([5, 1], seed="one"), "seed='one'"),
        (lambda: gb.random_dag(1, 3, 1, seed=-1), "seed=-1"),
        (lambda: gb.layered([10**9, 10**9]), r"1,000,000,000,000,000,000 weights would take 8,000,00\d TB"),
        (lambda: gb.layered([10**6, 10**6], units="units"), r"1,000,000,000,000 weights would take 30\d TB"),
        (lambda: gb.random_dag(1, 10**12, 1), "8,000,000,000,008 weights would take"),
        (lambda: gb.random_dag(1, 10**8, 1, model="erdos_renyi", density=0.5), "would take"),
    ],
)
def test_refusals_say_what_is_wrong(call, message):
    with pytest.raises(gb.GraphbpError, match=message):
        call()


def test_from_edges_keeps_numbers_labels_and_names():
    src, dst, w = [0, 1, 5], [5, 5, 9], [1.0, 2.0, 3.0]
    assert list(gb.from_edges(src, dst, w)) == [0, 1, 5, 9]
    assert list(gb.from_edges(src, dst, w, n_nodes=10)) == list(range(10))
    assert list(gb.from_edges(["b", "a"], ["h", "h"], w[:2])) == ["b", "h", "a"]
    named = gb.from_edges([0, 1], [2, 2], 0.5, names=["x1", "x2", ("y", 1)])
    assert weights_of(named) == [("x1", ("y", 1), 0.5), ("x2", ("y", 1), 0.5)]
    assert all(type(n) is int for n in gb.from_edges(np.array(src), np.array(dst, np.uint8), w))


def test_from_edges_attributes():
    g = gb.from_edges(
        [0, 1], [1, 2], [1.0, -1.0], activation="relu", output_activation="sigmoid", bias=[0.0, 0.5, 0.25], outputs=[1, 2]
    )
    assert g.nodes(data=True)[1] == {"activation": "relu", "bias": 0.5, "role": "output"}
    assert g.nodes(data=True)[2] == {"activation": "sigmoid", "bias": 0.25, "role": "output"}
    assert g.nodes(data=True)[0] == {}
    mapped = gb.from_edges([0], [1], 1.0, activation={1: "sin"}, bias={1: 2})
    assert mapped.nodes[1] == {"activation": "sin", "bias": 2.0}


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.coo_matrix, sparse.csc_matrix])
def test_adjacency_forward_is_the_matrix_product(make):
    A = np.triu(np.random.default_rng(0).normal(size=(6, 6)), 1) * np.triu(np.ones((6, 6)), 1)
    A[1, 4] = 0
    g = gb.from_adjacency(make(A), activation="identity", bias=0.0)
    assert g.number_of_edges() == np.count_nonzero(A)
    net = gb.Network(g, backend="numpy")
    # z = x + Aᵀ z with x at node 0 only, so z = (I − Aᵀ)⁻¹ e₀ x
    z = np.linalg.solve(np.eye(6) - A.T, np.eye(6)[0])
    assert net.forward([[1.0]])[0, 0] == pytest.approx(z[5], rel=1e-13)


def test_a_stored_zero_is_an_edge_and_a_dense_zero_is_none():
    stored = sparse.csr_array((np.array([0.0, 2.0]), np.array([1, 2]), np.array([0, 1, 2, 2])), shape=(3, 3))
    assert gb.from_adjacency(stored).number_of_edges() == 2
    assert gb.from_adjacency(stored.toarray()).number_of_edges() == 1
    assert gb.from_adjacency(stored.toarray()).number_of_nodes() == 3


def test_a_cycle_is_found_when_it_becomes_a_network():
    with pytest.raises(gb.GraphError, match="cycle"):
        gb.Network(gb.from_edges([0, 1, 2, 2], [1, 2, 1, 3], 1.0), backend="numpy")


@pytest.mark.parametrize(
    "g", [gb.layered([3, 4, 2], units="units"), gb.random_dag(3, 6, 2, fan_in=2, seed=1)], ids=["layered", "random_dag"]
)
def test_pruning_makes_no_inputs_or_outputs(g):
    net = gb.Network(g, backend="numpy")
    hidden = [name for name in g if name not in (*net.inputs, *net.outputs)]
    g.remove_edges_from([*g.out_edges(hidden[0]), *g.in_edges(hidden[-1])])
    pruned = gb.Network(g, backend="numpy")
    assert (pruned.inputs, pruned.outputs) == (net.inputs, net.outputs)
    assert pruned.check(np.ones((2, 3)), np.zeros((2, 2)))


def test_random_dags_aggregate_as_they_are_told():
    """Hidden units only; with sums alone, the same graph to the last bit."""
    g = gb.random_dag(3, 40, 2, aggregation=["sum", "product", "max"], seed=4)
    ways = {g.nodes[name].get("aggregation") for name in g if name[0] == "h"}
    assert ways == {"sum", "product", "max"}
    assert not any("aggregation" in g.nodes[name] for name in g if name[0] != "h")
    plain = gb.random_dag(3, 40, 2, seed=4)
    assert dict(plain.edges) == dict(gb.random_dag(3, 40, 2, aggregation="sum", seed=4).edges) == dict(g.edges)
    with pytest.raises(gb.UnknownNameError, match=r"aggregation .of gb.random_dag. 'prod'; did you mean 'product'"):
        gb.random_dag(3, 4, 1, aggregation="prod")
    with pytest.raises(gb.GraphError, match="at least one aggregation"):
        gb.random_dag(3, 4, 1, aggregation=[])
