"""Saving and loading: everything comes back as it was, and a kill at any moment leaves a model that loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from decimal import Decimal
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import graphbp as gb
from graphbp.files import formats, load_graph, read_graph_file, save_graph, write_graph
from graphbp.files.store import INLINE_LIMIT, STORAGES
from helpers.graphs import assert_same_graph, same

PARTS = {"inline": 1, "npz": 2, "safetensors": 2}


@pytest.fixture(params=STORAGES)
def storage(request):
    if request.param == "safetensors":
        pytest.importorskip("safetensors", reason="the extra graphbp[safetensors] is not installed")
    return request.param


def rich_graph():
    """Every kind of node, weight and attribute that a file carries."""
    rng = np.random.default_rng(0)
    g = nx.DiGraph(name="all of it", made_by=("us", 3), limits={"low": -1.5, 2: [None, True]}, big=2**70)
    g.add_node("x", units=4, role="input", scale=np.arange(4, dtype=np.float32), labels=np.array([["a", "bç"]]))
    g.add_node(("h", 1), units=3, activation="tanh", bias=rng.normal(size=3), tie="b", colour="red")
    g.add_node(("h", (2, 0.5)), units=3, activation="relu", bias=0.1 + 0.2, trainable=False)
    g.add_node(7, activation="sigmoid", bias=-1e-300, note={"$odd": np.int64(3)}, ratio=np.float32(0.1), nothing=None)
    g.add_node(True, role="output", bias=1.0, extremes=[float("inf"), float("nan"), -0.0])
    g.add_node("7", role="output")
    g.add_edge("x", ("h", 1), weight=np.asfortranarray(rng.normal(size=(3, 4))))
    pattern = sparse.csr_array((np.array([0.5, 0.0, -2.0]), np.array([1, 3, 0]), np.array([0, 2, 2, 3])), shape=(3, 4))
    g.add_edge("x", ("h", (2, 0.5)), weight=pattern, tag=b"".decode(), trainable=False)
    g.add_edge(("h", 1), ("h", (2, 0.5)), weight=sparse.coo_matrix(np.diag([1.0, 2.0, 3.0])))
    g.add_edge(("h", 1), 7, weight=np.array([[0.1, 0.2, 0.3]], np.float32))
    g.add_edge(("h", (2, 0.5)), "7", weight=rng.normal(size=(6, 3))[::2][:1], mask=np.array([[True, False]]))
    g.add_edge(7, True, weight=0.1, tie="w", age=3)
    g.add_edge(7, "7", weight=0.1, tie="w")
    return g


def test_everything_comes_back(tmp_path, storage):
    g = rich_graph()
    before = rich_graph()
    meta = {"error": "sum_of_squares", "mean": np.arange(3.0), "runs": [1, (2, 3)]}
    write_graph(g, tmp_path / "m.json", weights=storage, metadata=meta)
    h, back = read_graph_file(tmp_path / "m.json")
    assert_same_graph(g, h)
    assert_same_graph(before, g)
    assert same(meta, back)
    assert len(list(tmp_path.iterdir())) == PARTS[storage]
    X = np.random.default_rng(1).normal(size=(5, 4))
    a, b = gb.Network(g, backend="numpy"), gb.Network(h, backend="numpy")
    assert np.array_equal(a.weights, b.weights)
    assert np.array_equal(a.forward(X), b.forward(X))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.tuples(inner, inner),
    max_leaves=3,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(names, min_size=2, max_size=6, unique=True), values, st.integers(0, 9), st.sampled_from(["inline", "npz"]))
def test_any_name_and_any_attribute_come_back(tmp_path_factory, nodes, value, seed, weights):
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    g.add_nodes_from(nodes, mine=value)
    pairs = [(u, v) for j, v in enumerate(nodes) for u in nodes[:j]]
    for k in rng.permutation(len(pairs)):  # in an order that is not the nodes'
        g.add_edge(*pairs[k], weight=float(rng.normal()))
    path = tmp_path_factory.mktemp("names") / "m.json"
    write_graph(g, path, weights=weights)
    assert_same_graph(g, read_graph_file(path)[0])


def test_the_parameter_vector_keeps_its_order(tmp_path):
    g = nx.DiGraph()
    g.add_nodes_from(["a", "b", "c"])
    for source in "cab":  # predecessor order differs from node order
        g.add_edge(source, "y", weight=float(ord(source)))
    net = gb.Network(g, backend="numpy")
    net.save(tmp_path / "m.json")
    assert gb.load(tmp_path / "m.json", backend="numpy").weights.tolist() == net.weights.tolist() == [99.0, 97.0, 98.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_comes_back_with_its_error_and_dtype(tmp_path, storage, dtype):
    g = gb.layered([3, 4, 2], output_activation="softmax", skips=True)
    net = gb.Network(g, error="cross_entropy", backend="numpy", dtype=dtype)
    net.weights = np.random.default_rng(0).normal(size=net.n_parameters)
    net.save(tmp_path / "m.json", weights=storage, metadata={"epoch": 3})
    back = gb.load(tmp_path / "m.json", backend="numpy")
    X, T = np.random.default_rng(1).normal(size=(6, 3)), np.arange(6) % 2
    assert back.error_function.name == "cross_entropy"
    assert back.dtype == dtype
    assert np.array_equal(back.gradient(X, T), net.gradient(X, T))
    assert read_graph_file(tmp_path / "m.json")[1]["epoch"] == 3
    with pytest.raises(gb.UnknownNameError, match=r"^unknown error function 'poison'"):  # the caller's mistake, not the file's
        gb.load(tmp_path / "m.json", backend="numpy", error="poison")
    other = gb.load(tmp_path / "m.json", backend="numpy", dtype="float64", error="sum_of_squares")
    assert (other.dtype.name, other.error_function.name) == ("float64", "sum_of_squares")


@pytest.mark.parametrize(
    "array", [np.arange(12.0).reshape(3, 4).T, np.arange(24.0)[::2], np.broadcast_to(1.5, (2, 3)), np.arange(6.0)[::-1]]
)
def test_arrays_that_are_not_contiguous_are_stored_as_they_read(tmp_path, storage, array):
    g = gb.layered([2, 1])
    g.graph["a"] = array
    write_graph(g, tmp_path / "m.json", weights=storage)
    back = read_graph_file(tmp_path / "m.json")[0].graph["a"]
    assert np.array_equal(back, array)
    back[...] = 0  # and belongs to the reader


def test_unusual_arrays(tmp_path, storage):
    g = gb.layered([2, 1])
    arrays = [
        np.float64(2.5) * np.ones(()),
        np.zeros((0, 3)),
        np.arange(3, dtype=">f8"),
        np.array([1, 2], np.uint64),
        np.array([2**63 - 1]),
    ]
    arrays.append(np.array([1.5], np.float16))
    g.graph["all"] = arrays
    write_graph(g, tmp_path / "m.json", weights=storage)
    back = read_graph_file(tmp_path / "m.json")[0].graph["all"]
    assert [
        np.array_equal(a, b) and a.shape == b.shape and a.dtype.newbyteorder("=") == b.dtype
        for a, b in zip(arrays, back, strict=True)
    ] == [True] * 6


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="longdouble is float64 on this machine")
def test_an_extended_float_is_refused_by_name(tmp_path):
    g = gb.layered([2, 1])
    g.nodes["y"]["z"] = np.zeros(2, np.longdouble)
    with pytest.raises(gb.NotSupportedError, match=r"node 'y': attribute 'z' is an array of dtype float.*floats of up to 64 bits"):
        write_graph(g, tmp_path / "m.json")


@pytest.mark.parametrize("weight", [Fraction(1, 4), Decimal("0.25"), np.array(0.25), np.float32(0.25)])
def test_every_number_is_written_as_one(tmp_path, weight):
    write_graph(nx.DiGraph([("x", "y", {"weight": weight})]), tmp_path / "m.json", weights="inline")
    back = read_graph_file(tmp_path / "m.json")[0].edges["x", "y"]["weight"]
    assert (type(back), back) == (float, 0.25)


def test_more_nodes_than_a_byte_counts(tmp_path, storage):
    net = gb.Network(gb.random_dag(5, 300, 2, seed=0), backend="numpy")
    net.save(tmp_path / "m.json", weights=storage)
    assert_same_graph(gb.load(tmp_path / "m.json", backend="numpy").to_networkx(), net.to_networkx())


def test_a_cycle_is_not_written_in_any_format(tmp_path):
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", "a", 1.0), ("a", "b", 1.0), ("b", "a", 1.0), ("b", "y", 1.0)])
    for name in ("m.json", "m.nnet", "m.out"):
        with pytest.raises(gb.GraphError, match=r"cycle: '[ab]' -> '[ab]' -> '[ab]'"):
            save_graph(g, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_small_networks_stay_in_one_file(tmp_path):
    write_graph(gb.layered([2, 3, 1]), tmp_path / "small.json")
    assert len(list(tmp_path.iterdir())) == 1
    n = int(INLINE_LIMIT**0.5) + 1
    write_graph(gb.layered([n, n]), tmp_path / "large.json")
    assert len(list(tmp_path.glob("large.*.npz"))) == 1


class Opaque:
    def __repr__(self):
        return "<opaque>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.nodes["h"].update(mine=Opaque()), "node 'h': attribute 'mine' is of type Opaque"),
        (lambda g: g.edges["x", "h"].update(deep=[{"a": {1, 2}}]), "edge 'x' -> 'h': attribute 'deep' is of type set"),
        (lambda g: g.graph.update(when=b"now"), "the graph: attribute 'when' is of type bytes"),
        (lambda g: g.nodes["h"].update(z=np.array([1j])), "dtype complex128"),
        (lambda g: g.nodes["h"].update(z=np.array([None])), "dtype object"),
        (lambda g: g.nodes["h"].update(f=len), "builtin_function_or_method"),
        (lambda g: nx.relabel_nodes(g, {"h": frozenset([1])}, copy=False), "type frozenset"),
        (lambda g: nx.relabel_nodes(g, {"h": Opaque()}, copy=False), "type Opaque"),
        (lambda g: nx.relabel_nodes(g, {"h": float("nan")}, copy=False), "called nan"),
        (lambda g: g.nodes["h"].update(loop=endless()), "contains itself"),
    ],
)
def test_what_a_file_cannot_carry_is_refused_by_name(tmp_path, change, message):
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", "h", 1.0), ("h", "y", 1.0)])
    change(g)
    with pytest.raises(gb.NotSupportedError, match=message):
        write_graph(g, tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []


def endless():
    loop: list = []
    loop.append(loop)
    return loop


def test_what_is_no_network_is_not_written(tmp_path):
    for edges, error in (
        ([("x", "h", float("nan"))], gb.WeightError),
        ([("x", "a", 1.0), ("a", "b", 1.0), ("b", "a", 1.0), ("b", "y", 1.0)], gb.GraphError),
    ):
        g = nx.DiGraph()
        g.add_weighted_edges_from(edges)
        with pytest.raises(error):
            write_graph(g, tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []


def test_saving_again_leaves_no_old_weights(tmp_path, storage):
    path = tmp_path / "m.json"
    for seed in range(3):
        write_graph(gb.layered([2, 3, 1], seed=seed), path, weights=storage)
        assert len(list(tmp_path.iterdir())) == PARTS[storage]
        assert np.array_equal(read_graph_file(path)[0]["x"]["h1"]["weight"], gb.layered([2, 3, 1], seed=seed)["x"]["h1"]["weight"])
    write_graph(gb.layered([2, 3, 1]), path, weights="inline")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_copy_of_the_model_keeps_its_weights(tmp_path):
    path, copy = tmp_path / "m.json", tmp_path / "best.json"
    write_graph(gb.layered([2, 3, 1], seed=0), path, weights="npz")
    copy.write_bytes(path.read_bytes())
    write_graph(gb.layered([2, 3, 1], seed=1), path, weights="npz")
    assert np.array_equal(read_graph_file(copy)[0]["x"]["h1"]["weight"], gb.layered([2, 3, 1], seed=0)["x"]["h1"]["weight"])


def test_equal_models_give_equal_bytes(tmp_path, storage):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_graph(rich_graph(), tmp_path / name / "m.json", weights=storage)
    assert [f.read_bytes() for f in sorted((tmp_path / "a").iterdir())] == [
        f.read_bytes() for f in sorted((tmp_path / "b").iterdir())
    ]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "m.json").symlink_to(tmp_path / "real" / "m.json")
    write_graph(gb.layered([2, 1]), tmp_path / "m.json", weights="npz")
    assert (tmp_path / "m.json").is_symlink()
    assert len(list((tmp_path / "real").iterdir())) == 2
    read_graph_file(tmp_path / "m.json")


KILLED = """
    import os, sys
    import graphbp as gb
    from graphbp.files import write_graph
    os.fsync = lambda handle: None  # the system survives, so that nothing hangs on it here
    old, new = (gb.layered([2, 3, 1], seed=seed) for seed in (0, 1))
    left = 0
    def die(frame, event, arg):
        global left
        code = frame.f_code
        touches = "pathlib" in code.co_filename and code.co_name in ("open", "write_bytes", "replace", "rename", "unlink")
        if not (touches or code.co_filename.endswith("atomic.py") or code.co_name in ("write_graph", "_remove_unused")):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os._exit(9)  # as a kill does: nothing is flushed, nothing is tidied up
        return die
    for at in range(1, 10_000):
        folder = os.path.join(sys.argv[1], str(at))
        os.mkdir(folder)
        path = os.path.join(folder, "m.json")
        write_graph(old, path, weights="npz")
        child = os.fork()
        if not child:
            left = at
            sys.settrace(die)
            write_graph(new, path, weights="npz")
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test kills copies of a process made by fork")
def test_a_kill_at_any_line_leaves_the_old_or_the_new_model(tmp_path):
    """The writer dies before the n-th line of Python that touches files, for every n until it finishes."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)], check=True)
    wanted = [gb.layered([2, 3, 1], seed=seed)["x"]["h1"]["weight"] for seed in (0, 1)]
    deaths = sorted((int(folder.name), folder) for folder in tmp_path.iterdir())
    found = [read_graph_file(folder / "m.json")[0]["x"]["h1"]["weight"] for _, folder in deaths]
    new = [[np.array_equal(f, w) for w in wanted].index(True) for f in found]
    assert len(new) > 50
    assert new == sorted(new)  # old up to one moment, new from there on
    assert 0 < sum(new) < len(new)
    assert len(list(deaths[-1][1].iterdir())) == 2


def test_a_full_disk_leaves_the_old_model(tmp_path, monkeypatch):
    path = tmp_path / "m.json"
    write_graph(gb.layered([2, 1], seed=0), path)
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(gb.DataError, match="No space left"):
        write_graph(gb.layered([2, 1], seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_formats_lists_what_there_is():
    found = {f.name: f for f in formats()}
    assert next(iter(found)) == "graphbp"
    assert found["graphbp"].write_options == ("weights", "metadata")
    assert found["wann"].read_options == ("inputs", "outputs")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: load_graph(p / "none.json"), gb.DataError, "not a file"),
        (lambda p: load_graph(p / "m.json", format="kereas"), gb.UnknownNameError, "Known: .*graphbp"),
        (lambda p: load_graph(p / "m.txt"), gb.FileFormatError, r"no format has the suffix '.txt'.*graphbp \(.json\)"),
        (lambda p: load_graph(p / "strange.json"), gb.FileFormatError, "looks like none of the formats"),
        (lambda p: load_graph(p / "m.json", inputs=3), gb.DataError, "format 'graphbp' has no option 'inputs'; it takes none"),
        (lambda p: gb.load(p / "m.json", inputs=3), gb.DataError, "no option 'inputs'"),
        (lambda p: gb.load(p / "m.out", input=3), gb.DataError, "no option 'input'; it takes inputs, outputs"),
        (lambda p: save_graph(gb.layered([2, 1]), p / "m.npz"), gb.FileFormatError, "weights='npz'"),
        (lambda p: save_graph(gb.layered([2, 1]), p / "m"), gb.FileFormatError, "no format has the suffix ''"),
        (lambda p: save_graph(gb.layered([2, 1]), p / "m.json", weight="npz"), gb.DataError, "weights, metadata"),
        (lambda p: save_graph(gb.layered([2, 1]), p / "m.json", weights="pickle"), gb.UnknownNameError, "Known: inline, npz"),
        (lambda p: save_graph(gb.layered([2, 1]), p / "none" / "m.json"), gb.DataError, "does not exist"),
        (lambda p: gb.Network(gb.layered([2, 1])).save(p / "m.json", metadata={"error": 1}), gb.DataError, "'error'"),
    ],
)
def test_what_cannot_be_loaded_or_saved_says_what_can(tmp_path, call, error, message):
    write_graph(gb.layered([2, 1]), tmp_path / "m.json")
    for name in ("m.txt", "m.out", "strange.json"):
        (tmp_path / name).write_text("{}")
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(error, match=message):
        call(tmp_path)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


class Fake:
    """An importer for .json files that begin with its name."""

    suffixes = (".json",)
    description = "fake"

    def __init__(self, name):
        self.name = name

    def sniff(self, path):
        return self.name in json.loads(path.read_text())

    def read(self, path, *, depth=1):
        return nx.DiGraph([("x", self.name)], depth=depth)


class Entry:
    def __init__(self, value, target):
        self.value, self.target = value, target

    def load(self):
        if isinstance(self.target, Exception):
            raise self.target
        return self.target


@pytest.fixture
def plugins(monkeypatch):
    entries = {
        "first": Entry("first", Fake("first")),
        "second": Entry("second", Fake("second")),
        "broken": Entry("broken:thing", ImportError("no module named thing")),
        "wrong": Entry("wrong:thing", object()),
    }
    monkeypatch.setattr("graphbp.files.dispatch.plugin_entries", lambda group: entries if group == "graphbp.importers" else {})


@pytest.mark.usefixtures("plugins")
def test_formats_that_share_a_suffix_are_told_apart_by_what_is_in_the_file(tmp_path):
    path = tmp_path / "m.json"
    path.write_text('["second"]')
    assert list(load_graph(path)) == ["x", "second"]
    assert list(load_graph(path, "first", depth=2)) == ["x", "first"]
    path.write_text('["first", "second"]')
    with pytest.raises(gb.FileFormatError, match=r"may be any of several formats: first \(.json\); second"):
        load_graph(path)
    with pytest.raises(
        gb.RegistryError, match=r"'broken' \(broken:thing\) could not be imported: ImportError: no module named thing"
    ):
        load_graph(path, "broken")
    with pytest.raises(gb.RegistryError, match="is no Importer"):
        load_graph(path, "wrong")


def test_own_files_load_without_importing_a_plugin(tmp_path):
    write_graph(gb.layered([2, 1]), tmp_path / "m.json")
    code = f"import sys, graphbp as gb; gb.load({str(tmp_path / 'm.json')!r}, backend='numpy'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "graphbp.files.native" in modules
    assert not {"graphbp_neat", "graphbp_wann", "graphbp_nnet", "safetensors"} & set(modules)
