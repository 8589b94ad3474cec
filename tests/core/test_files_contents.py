"""What a format cannot hold is refused by name, for every exporter, or left out where the caller says so."""

from __future__ import annotations

import functools
import types

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import graphbp as gb
from graphbp.extend import Holds
from graphbp.files import formats, save_graph

LAYERS = {"nnet"}


class Plain:
    """An exporter of somebody else's, which says nothing of what its format holds."""

    suffixes = (".plain",)
    description = "plain"

    def __init__(self):
        self.graphs = []

    def write(self, graph, path):
        self.graphs.append(graph)


class Keeping(Plain):
    """One that holds ties and a colour."""

    holds = Holds(nodes={"tie", "colour"}, edges={"tie"}, network={"error"})


@pytest.fixture
def theirs(monkeypatch):
    """Two exporters of third parties beside those that are installed."""
    from graphbp.files import dispatch

    found = {"plain": Plain(), "keeping": Keeping()}
    entries = {n: types.SimpleNamespace(value=n, load=lambda n=n: found[n]) for n in found}
    installed = dispatch.plugin_entries
    monkeypatch.setattr(
        dispatch, "plugin_entries", lambda group: {**installed(group), **(entries if group == "graphbp.exporters" else {})}
    )
    return found


def chain(format):
    """A graph that the format holds, and the names of an inner node and of an edge into it."""
    if format in LAYERS:
        g = gb.layered([2, 3, 1], activation="relu")
        return g, "h1", ("x", "h1")
    g = nx.DiGraph()
    g.add_node("h", activation="relu", bias=0.5)
    g.add_node("y", bias=-0.5)
    g.add_weighted_edges_from([("a", "h", 1.0), ("b", "h", -2.0), ("h", "y", 0.5)])
    return g, "h", ("a", "h")


LOSSES = {
    "frozen weight": ("trainable", lambda g, node, edge: g.edges[edge].update(trainable=False)),
    "frozen bias": ("trainable", lambda g, node, edge: g.nodes[node].update(trainable=np.bool_(False))),
    "tied weight": ("tie", lambda g, node, edge: g.edges[edge].update(tie="w")),
    "tied bias": ("tie", lambda g, node, edge: g.nodes[node].update(tie="b")),
    "somebody's mark on a node": ("colour", lambda g, node, edge: g.nodes[node].update(colour="red")),
    "somebody's mark on an edge": ("age", lambda g, node, edge: g.edges[edge].update(age=3)),
    "somebody's mark on the graph": ("made_by", lambda g, node, edge: g.graph.update(made_by="us")),
    "a mark that is no text": ("3", lambda g, node, edge: g.nodes[node].update({3: "x"})),
}
FORMATS = ["wann", "neat", "nnet", "plain", "keeping"]
OPTIONS = {"wann": {"inputs": 2, "outputs": 1}}


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("what", LOSSES)
def test_what_a_format_cannot_hold_is_refused_by_name_or_dropped(tmp_path, format, what):
    key, change = LOSSES[what]
    g, node, edge = chain(format)
    change(g, node, edge)
    net = gb.Network(g, backend="numpy")
    path = tmp_path / "m.file"
    if format == "keeping" and key in ("tie", "colour"):
        net.save(path, format=format)
        return
    for write in (lambda **o: net.save(path, format=format, **o), lambda **o: save_graph(g, path, format=format, **o)):
        with pytest.raises(gb.NotSupportedError, match=rf"format '{format}' cannot hold this: .* has {key}=.*drop=\"{key}\""):
            write()
        with pytest.raises(gb.NotSupportedError, match=key):
            write(drop="weight")
        assert list(tmp_path.iterdir()) == []
    before = {n: dict(d) for n, d in g.nodes(data=True)}
    for drop in (key, f"x,{key}", [key], "all"):
        net.save(path, format=format, drop=drop)
        save_graph(g, path, format=format, drop=drop)
    assert {n: dict(d) for n, d in g.nodes(data=True)} == before
    if format in ("wann", "neat", "nnet"):
        back = gb.load(path, format=format, backend="numpy", **OPTIONS.get(format, {}))
        X = np.random.default_rng(0).normal(size=(4, 2))
        assert np.allclose(back.forward(X), net.forward(X), rtol=1e-14)


@functools.cache
def fourth_power():
    """An error function for outputs of any value, which .nnet's are."""
    return gb.register_error_function(
        "test.fourth", lambda y, t: (y - t) ** 4, lambda y, t: 4 * (y - t) ** 3, lambda y, t: 12 * (y - t) ** 2
    )


@pytest.mark.usefixtures("theirs")
@pytest.mark.parametrize("format", FORMATS)
def test_what_the_network_has_besides_its_graph(tmp_path, format):
    g, _, _ = chain(format)
    path = tmp_path / "m.file"
    net = gb.Network(g, backend="numpy", error=fourth_power(), dtype="float32")
    keys = ("dtype",) if format == "keeping" else ("error", "dtype")
    with pytest.raises(gb.NotSupportedError, match=".*".join(f"the network has {key}=" for key in keys)):
        net.save(path, format=format)
    net.save(path, format=format, drop=",".join(keys))
    other = gb.Network(g, backend="numpy")
    with pytest.raises(gb.NotSupportedError, match="the network has metadata="):
        other.save(path, format=format, metadata={"mean": 3})
    other.save(path, format=format, metadata={"mean": 3}, drop=["metadata"])
    other.save(path, format=format, metadata={})


def test_dropping_says_what_it_takes(tmp_path):
    net = gb.Network(chain("wann")[0], backend="numpy")
    for drop in (3, None, [3]):
        with pytest.raises(gb.DataError, match="names of attributes"):
            net.save(tmp_path / "m.out", drop=drop)
    with pytest.raises(gb.DataError, match="no option 'drop'"):  # it holds everything
        net.save(tmp_path / "m.json", drop="all")
    assert {f.name: "drop" in (f.write_options or ()) for f in formats()} == {
        "graphbp": False,
        "neat": True,
        "nnet": True,
        "wann": True,
    }


def test_an_exporter_that_fails_in_its_own_way_is_said_in_ours(tmp_path, theirs):
    theirs["plain"].write = lambda graph, path: [][1]
    with pytest.raises(gb.NotSupportedError, match="format 'plain' cannot write this graph: IndexError"):
        save_graph(chain("plain")[0], tmp_path / "m.plain", format="plain")
    theirs["plain"].holds = {"nodes"}
    with pytest.raises(gb.RegistryError, match=r"no graphbp.extend.Holds"):
        save_graph(chain("plain")[0], tmp_path / "m.plain", format="plain")


def test_a_sparse_layer_has_no_place_in_a_full_matrix(tmp_path):
    g = gb.layered([2, 3, 1], activation="relu")
    pattern = sparse.csr_array(np.array([[1.0, 0], [0, 2], [3, 0]]))
    g.edges["x", "h1"]["weight"] = pattern
    with pytest.raises(gb.NotSupportedError, match="edge 'x' -> 'h1' has sparsity='3 of 6 entries'"):
        save_graph(g, tmp_path / "m.nnet")
    save_graph(g, tmp_path / "m.nnet", drop="sparsity")
    assert np.array_equal(gb.load(tmp_path / "m.nnet", backend="numpy").weight("x", "h1"), pattern.toarray())
    assert g.edges["x", "h1"]["weight"] is pattern


def test_a_bias_of_zero_stays_one(tmp_path):
    g, _, _ = chain("wann")
    g.nodes["h"]["bias"] = 0.0
    del g.nodes["y"]["bias"]
    net = gb.Network(g, backend="numpy")
    net.save(tmp_path / "m.out")
    back = gb.load(tmp_path / "m.out", inputs=2, outputs=1, backend="numpy")
    assert back.n_parameters == net.n_parameters == 4


def test_what_would_not_read_again_is_not_written(tmp_path):
    """A unit that feeds nothing stands where the outputs do; a unit that nothing feeds, where the inputs do."""
    for u, v in (("h", "dead"), (None, "constant")):
        g, _, _ = chain("wann")
        g.nodes["y"]["role"] = "output"
        g.add_node("a", role="input")
        g.add_node("b", role="input")
        g.add_node(v, role="hidden")
        g.add_edge(*((u, v) if u else (v, "y")), weight=1.0)
        with pytest.raises(gb.NotSupportedError, match="could not be read again"):
            save_graph(g, tmp_path / "m.out")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["wann", "neat"]), st.booleans())
def test_a_graph_is_refused_or_comes_back_as_it_was(tmp_path_factory, seed, format, free):
    """Same function, as many parameters, the same of them free."""
    rng = np.random.default_rng(seed)
    g = gb.random_dag(2, int(rng.integers(1, 8)), 2, activation="relu", output_activation="abs", fan_in=2, seed=seed)
    for _, data in g.nodes(data=True):
        if "bias" in data:
            data["bias"] = float(rng.choice([0.0, -0.0, 0.5]))
    for _, _, data in g.edges(data=True):
        data["weight"] = float(rng.normal())
        if not free and rng.random() < 0.1:
            data.update([("tie", "w"), ("weight", 0.5)] if rng.random() < 0.5 else [("trainable", False)])
    net = gb.Network(g, backend="numpy")
    path = tmp_path_factory.mktemp("comes_back") / "m.file"
    try:
        net.save(path, format=format)
    except gb.NotSupportedError:
        return
    options = {"inputs": 2, "outputs": 2} if format == "wann" else {}
    back = gb.load(path, format=format, backend="numpy", **options)
    X = rng.normal(size=(5, 2))
    assert np.allclose(back.forward(X), net.forward(X), rtol=1e-12)
    assert back.n_parameters == net.n_parameters
