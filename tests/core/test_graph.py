"""What a valid graph is: roles, attributes, and units that nothing reaches or that reach nothing."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

import graphbp as gb


def chain() -> nx.DiGraph:
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", "h", 2.0), ("h", "y", 3.0)])
    return g


def test_sources_are_inputs_and_sinks_outputs() -> None:
    net = gb.Network(chain(), backend="numpy")
    assert (net.inputs, net.outputs) == (("x",), ("y",))


def test_a_named_role_leaves_the_default_aside() -> None:
    g = chain()
    g.nodes["h"]["role"] = "output"
    net = gb.Network(g, backend="numpy")
    assert net.outputs == ("h",)
    assert net.forward([[1.0]]).tolist() == [[2.0]]
    # y reaches no output: legal, with a zero gradient
    assert net.gradient([[1.0]], [[0.0]])[net.parameter_index("h", "y")].tolist() == [0.0]


def test_a_unit_that_nothing_reaches_is_a_constant() -> None:
    g = chain()
    g.add_node("one", role="hidden", bias=1.0)
    g.add_edge("one", "y", weight=10.0)
    net = gb.Network(g, backend="numpy")
    assert net.inputs == ("x",)
    assert net.forward([[1.0]]).tolist() == [[16.0]]


def test_an_output_that_feeds_another_gets_both_terms() -> None:
    g = chain()
    g.nodes["h"]["role"] = g.nodes["y"]["role"] = "output"
    net = gb.Network(g, backend="numpy")
    # E = (2 - 0)²/2 + (6 - 0)²/2 at x = 1: dE/dw_hx = 2 + 6·3
    assert net.gradient([[1.0]], [[0.0, 0.0]]).tolist() == [20.0, 12.0]


def test_names_may_be_anything_hashable() -> None:
    names = [np.int64(3), (1, 2), frozenset("ab"), "", 2.5]
    g = nx.DiGraph()
    g.add_weighted_edges_from([(u, names[-1], 1.0) for u in names[:-1]])
    net = gb.Network(g, backend="numpy")
    assert net.inputs == tuple(names[:-1])
    assert net.parameter_index(3, 2.5) == slice(0, 1)
    assert net.forward([[1.0, 2.0, 3.0, 4.0]]).tolist() == [[10.0]]


def test_attributes_are_those_that_the_graph_had() -> None:
    """Nodes', edges' and the graph's dictionaries are copied: what the user does later is not the network's."""
    g = chain()
    g.graph["title"] = "one"
    g.nodes["h"]["colour"] = "red"
    g.edges["x", "h"]["age"] = 3
    net = gb.Network(g, backend="numpy")
    g.graph["title"], g.nodes["h"]["colour"], g.edges["x", "h"]["age"] = "two", "blue", 4
    g.nodes["y"]["new"] = 1
    out = net.to_networkx()
    assert (out.graph["title"], out.nodes["h"]["colour"], out.edges["x", "h"]["age"]) == ("one", "red", 3)
    assert "new" not in out.nodes["y"]


def test_stored_duplicates_add_up_and_the_users_matrix_stays() -> None:
    w = sparse.csr_matrix((np.array([1.0, 2.0, 4.0]), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3))
    g = nx.DiGraph([("x", "y", {"weight": w})])
    g.nodes["x"]["units"] = 3
    net = gb.Network(g, backend="numpy")
    assert net.weights.tolist() == [2.0, 5.0]
    assert net.forward([[1.0, 1.0, 10.0]]).tolist() == [[52.0]]
    assert (w.data.tolist(), w.indices.tolist()) == ([1.0, 2.0, 4.0], [2, 0, 2])


def test_units_with_sparse_weights_are_no_dense_block() -> None:
    """Both are fed by the same layer, each by three of its forty units."""
    g = nx.DiGraph()
    g.add_node("x", units=40)
    W = np.zeros((2, 40))
    W[0, [1, 5, 9]], W[1, [5, 20, 39]] = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    for j, name in enumerate("ab"):
        g.add_edge("x", name, weight=sparse.csr_array(W[[j]]))
    net = gb.Network(g, backend="numpy")
    assert net.schedule.dense_blocks == ()
    X = np.arange(80.0).reshape(2, 40)
    assert net.forward(X).tolist() == (X @ W.T).tolist()


def test_units_of_one_softmax_stand_in_one_level() -> None:
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", "h", 0.5), ("h", "late", 2.0), ("x", "early", 1.0), ("x", "h2", 1.0), ("h2", "y", 1.0)])
    for name, kind in (("late", "softmax"), ("early", "softmax"), ("y", "sigmoid")):
        g.nodes[name]["activation"] = kind
    net = gb.Network(g, error="cross_entropy", backend="numpy")
    level = dict(zip(net.schedule.names, net.schedule.row_level[net.schedule.node_row].tolist(), strict=True))
    assert level == {"x": 0, "h": 1, "late": 2, "early": 2, "h2": 1, "y": 2}
    y = dict(zip(net.outputs, net.forward([[1.0]])[0], strict=True))
    np.testing.assert_allclose([y["late"], y["early"]], [0.5, 0.5], rtol=1e-15)


def test_numpys_strings_and_numbers_are_pythons() -> None:
    """As names, activations, roles, ties, units and switches: nothing later has to know of them, and nothing else changes."""
    x, y, one = np.str_("x"), np.str_("y"), np.int64(1)
    g = nx.DiGraph()
    g.add_node(x, units=np.int32(1), role=np.str_("input"))
    g.add_node(one, activation=np.str_("tanh"), bias=np.float64(0.1), trainable=np.False_)
    g.add_node(y, mine=np.str_("kept"))
    g.add_edge(x, one, weight=np.float64(2.0), tie=np.str_("a"))
    g.add_edge(one, y, weight=2.0, tie="a", trainable=np.True_)
    net = gb.Network(g, backend="numpy")
    back = net.to_networkx()
    assert [type(name) for name in back] == [str, int, str]
    assert {type(v) for v in back.nodes["x"].values()} == {int, str}
    assert back.nodes[1] == {"activation": "tanh", "bias": 0.1, "trainable": False}
    assert [type(v) for v in back.nodes[1].values()] == [str, bool, float]
    assert type(back.nodes["y"]["mine"]) is np.str_
    assert type(back.edges["x", 1]["tie"]) is str
    assert net.parameter_index(np.str_("x"), np.int64(1)) == net.parameter_index("x", 1) == net.parameter_index(1, "y")


def test_duplicates_add_up_whatever_the_matrix_believes_of_itself() -> None:
    """SciPy remembers that a CSR matrix is canonical, also after its arrays were changed."""
    matrix = sparse.csr_array([[1.0, 2.0, 0.0]])
    assert matrix.has_canonical_format
    matrix.indices[:] = [1, 1]
    g = nx.DiGraph([("x", "y", {"weight": matrix})])
    g.nodes["x"]["units"] = 3
    net = gb.Network(g, backend="numpy")
    assert (net.n_parameters, net.forward(np.eye(3)).T.tolist()) == (1, [[0.0, 3.0, 0.0]])
    assert gb.from_adjacency(_twice_stored()).edges[0, 1]["weight"] == 5.0


def _twice_stored() -> sparse.csr_array:
    return sparse.csr_array(([2.0, 3.0], [1, 1], [0, 2, 2]), shape=(2, 2))


def test_a_damaged_matrix_is_refused_before_compiled_code_reads_it() -> None:
    outside = sparse.coo_array(([1.0], ([0], [0])), shape=(2, 2))
    outside.coords[1][0] = 7
    backwards = sparse.csc_array(np.ones((2, 2)))
    backwards.indptr[1] = 9
    for matrix in (outside, backwards):
        with pytest.raises(gb.GraphbpError, match="the matrix is a damaged sparse matrix"):
            gb.from_adjacency(matrix)


def test_units_without_an_activation_are_said_to_be_linear() -> None:
    g = nx.DiGraph(
        [("x", "h", {"weight": 1.0}), ("h", "y", {"weight": 1.0}), ("x", "k", {"weight": 1.0}), ("k", "y", {"weight": 1.0})]
    )
    assert "2 hidden nodes without an activation, so linear: 'h', 'k'" in gb.Network(g, backend="numpy").describe()
    for name in ("h", "k"):
        g.nodes[name]["activation"] = "identity"  # said so
    assert "linear" not in gb.Network(g, backend="numpy").describe()


@pytest.mark.parametrize(("key", "value"), [("activation", "tanh"), ("aggregation", "max")])
def test_what_belongs_on_a_node_is_no_attribute_of_an_edge(key, value):
    g = nx.DiGraph()
    g.add_edge("x", "h", weight=1.0, **{key: "somebody's own"})
    gb.Network(g, backend="numpy")
    g.add_edge("h", "y", weight=1.0, **{key: value})
    with pytest.raises(gb.GraphError, match=f"edge 'h' -> 'y' has {key}={value!r}, which belongs on a node.*on node 'y'"):
        gb.Network(g, backend="numpy")


@pytest.mark.parametrize("slip", ["weigth", "Weight", "weights"])
def test_a_missing_weight_names_what_was_nearly_called_so(slip):
    g = nx.DiGraph()
    g.add_edge("x", "y", **{slip: 1.0})
    with pytest.raises(gb.GraphError, match=f"edge 'x' -> 'y' has the attribute '{slip}'.*nearly 'weight'"):
        gb.Network(g, backend="numpy")
    g.add_edge("x", "y", **{slip: "kg", "weight": 1.0})
    assert gb.Network(g, backend="numpy").weight("x", "y") == 1.0
