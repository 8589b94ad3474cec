"""What comes from outside: paths that are none, files that never end, other encodings, NumPy's names, plugins that fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.files import load_graph, read_graph_file, save_graph, write_graph
from graphbp.files.reading import read_file
from graphbp.training.checkpoint import read_checkpoint


def small():
    return gb.layered([2, 3, 1], activation="relu")


# -- paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [None, 3, "", "a\0b.json", "a\0b.nnet", b"", ["m.json"], "x" * 300 + ".json", "m\ud800.json"])
def test_what_is_no_path_is_said_in_our_words(tmp_path, path):
    net = gb.Network(small(), backend="numpy")
    before = list(Path.cwd().iterdir())
    for call in (gb.load, load_graph, read_graph_file, read_checkpoint, lambda p: write_graph(small(), p), net.save):
        with pytest.raises(gb.GraphbpError):
            call(path)
    assert list(Path.cwd().iterdir()) == before


@pytest.mark.parametrize("suffix", [".json", ".nnet", ".out", ".npz", ""])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
def test_only_regular_files_are_read(tmp_path, suffix):
    pipe, link, folder, socket = (tmp_path / f"{name}{suffix}" for name in ("pipe", "link", "folder", "gone"))
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    folder.mkdir()
    for path, message in ((pipe, "a pipe"), (link, "a device"), (folder, "it is a folder"), (socket, "No such file")):
        for call in (gb.load, read_graph_file, read_checkpoint, read_file, lambda p: gb.load(p, format="neat")):
            with pytest.raises(gb.DataError, match=f"{path.name} is not a file that can be read: .*{message}"):
                call(path)


def test_a_pipe_beside_a_model_is_in_nobodys_way(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("pipes with names are POSIX's")
    for name in ("other.json", "m.0123456789abcdef.npz"):
        os.mkfifo(tmp_path / name)
    for seed in range(2):  # the second removes the first's weights, once no other model names them
        write_graph(gb.layered([2, 3, 1], seed=seed), tmp_path / "m.json", weights="npz")
    document = json.loads((tmp_path / "m.json").read_text())
    del document["sha256"]
    document["weights"]["file"] = "m.0123456789abcdef.npz"
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(gb.FileFormatError, match="a pipe"):
        read_graph_file(tmp_path / "m.json")


def test_what_is_loaded_by_no_path(tmp_path):
    with pytest.raises(gb.DataError, match=r"type DiGraph; gb.Network\(graph\) takes a graph"):
        gb.load(small())
    with (tmp_path / "a").open("w") as file, pytest.raises(gb.DataError, match=r"by its path, .* type TextIOWrapper"):
        gb.load(file)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # neat-python's own, from Python 3.12 on
def test_a_genome_is_told_the_way(tmp_path):
    neat = pytest.importorskip("neat", reason="neat-python is not installed")
    genome = neat.DefaultGenome(1)
    way = r"neat.nn.FeedForwardNetwork.create\(genome, config\).*export_network_json\(network, .*gb.load\('winner.json'\)"
    with pytest.raises(gb.DataError, match=way):
        gb.load(genome)
    with pytest.raises(gb.GraphError, match=way):
        gb.Network(genome)
    network = neat.nn.FeedForwardNetwork([-1], [0], [])
    with pytest.raises(gb.DataError, match=r"neat.export.export_network_json\(network"):
        gb.load(network)

    from neat.export import export_network_json  # the way leads there

    export_network_json(network, str(tmp_path / "winner.json"))
    assert gb.load(tmp_path / "winner.json", backend="numpy").inputs == (-1,)


# -- text ----------------------------------------------------------------------------------------------------------------

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("name", "options"), [("m.nnet", {}), ("m.out", {"inputs": 2, "outputs": 1}), ("neat.json", {}), ("m.json", {})]
)
def test_a_byte_order_mark_is_taken_off(tmp_path, encoding, name, options):
    g = small()
    if name != "m.nnet":
        g = gb.random_dag(2, 4, 1, activation="relu", fan_in=2, seed=1)
    net = gb.Network(g, backend="numpy")
    path = tmp_path / name
    net.save(path, format={"neat.json": "neat", "m.json": "graphbp"}.get(name))
    text = path.read_text(encoding="utf-8")
    path.write_bytes(text.encode(encoding))
    assert np.array_equal(gb.load(path, backend="numpy", **options).weights, net.weights)
    path.write_bytes(text.encode() + b"\xff")
    with pytest.raises(gb.FileFormatError, match=r"is not whole text, .*byte .* is not utf-8"):
        gb.load(path, **options)


# -- names and values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["inline", "npz"])
def test_numpys_names_and_values_are_saved(tmp_path, weights):
    g = nx.DiGraph()
    for name in np.array(["x", "h", "y"]):  # np.str_
        g.add_node(name, **{np.str_("mark"): np.str_("é")})
    g.add_edge(np.str_("x"), np.str_("h"), weight=np.float32(0.5), tie=np.str_("t"), tags=[np.str_("a"), (np.str_("b"),)])
    g.add_edge(np.str_("h"), np.str_("y"), weight=np.int64(2), trainable=np.bool_(False))
    g.add_edge(np.int64(1), np.str_("y"), weight=1.0)
    g.add_edge("1", "y", weight=2.0)
    g.add_edge((np.str_("p"), np.int16(3)), "y", weight=3.0)
    g.nodes["h"].update(activation=np.str_("tanh"), role=np.str_("hidden"), units=np.int64(1), bias=np.float64(0.1))
    net = gb.Network(g, backend="numpy")
    net.save(tmp_path / "m.json", weights=weights)
    back = gb.load(tmp_path / "m.json", backend="numpy")
    assert back.inputs == ("x", 1, "1", ("p", 3))
    assert type(back.inputs[0]) is str
    assert back.to_networkx().nodes["h"]["mark"] == "é"
    X = np.arange(8.0).reshape(2, 4)
    assert np.array_equal(back.forward(X), net.forward(X))


def test_a_number_that_no_reader_takes_is_not_written(tmp_path):
    g = small()
    g.graph["big"] = 10**4200
    write_graph(g, tmp_path / "m.json")
    assert read_graph_file(tmp_path / "m.json")[0].graph["big"] == 10**4200
    for big in (10**5000, -(10**5000)):
        g.graph["big"] = big
        with pytest.raises(gb.NotSupportedError, match="attribute 'big' is a whole number of 16,610 bits"):
            write_graph(g, tmp_path / "n.json")


def test_a_weight_beyond_float32_is_refused_rather_than_made_infinite(tmp_path):
    g = small()
    g.nodes["y"]["bias"] = -1e39
    for trainable in (True, False):
        g.nodes["y"]["trainable"] = trainable
        with pytest.raises(gb.WeightError, match=r"magnitude 1e\+39 is beyond float32"):
            gb.Network(g, backend="numpy", dtype="float32")
    gb.Network(g, backend="numpy").save(tmp_path / "m.json")
    with pytest.raises(gb.FileFormatError, match=r"m.json: a weight or bias of magnitude"):
        gb.load(tmp_path / "m.json", backend="numpy", dtype="float32")


# -- which format --------------------------------------------------------------------------------------------------------


def test_what_came_from_another_json_says_that_it_goes_to_our_own(tmp_path):
    g = gb.random_dag(2, 4, 1, activation="relu", fan_in=2, seed=1)
    gb.Network(g, backend="numpy").save(tmp_path / "winner.json", format="neat")
    net = gb.load(tmp_path / "winner.json", backend="numpy")
    with pytest.warns(UserWarning, match=r"own.json has been written in graphbp's own format; .* of format 'neat'") as caught:
        net.save(tmp_path / "own.json")
    assert caught[0].filename == __file__
    net.save(tmp_path / "own.json", format="graphbp")
    net.save(tmp_path / "winner.json", format="neat")
    gb.load(tmp_path / "own.json", backend="numpy").save(tmp_path / "own.json")
    net.save(tmp_path / "winner.out")
    gb.load(tmp_path / "winner.out", inputs=2, outputs=1, backend="numpy").save(tmp_path / "own.json")  # no doubt which


# -- plugins -------------------------------------------------------------------------------------------------------------


class Importer:
    suffixes = (".toy",)
    description = "toy"

    def __init__(self, read=None, sniff=None, **more):
        self.read, self.sniff = read or (lambda path: small()), sniff or (lambda path: True)
        vars(self).update(more)


@pytest.fixture
def install(monkeypatch):
    """Offers importers, or exceptions that importing them raises, besides those that are installed."""
    from graphbp.files import dispatch

    installed = dispatch.plugin_entries

    def offer(**plugins):
        def load(what):
            if isinstance(what, BaseException):
                raise what
            return what

        entries = {n: types.SimpleNamespace(value=f"{n}:it", load=lambda w=w: load(w)) for n, w in plugins.items()}
        monkeypatch.setattr(
            dispatch, "plugin_entries", lambda group: {**installed(group), **(entries if group == "graphbp.importers" else {})}
        )

    return offer


@pytest.mark.parametrize("problem", [SystemExit(3), SystemExit(), ImportError("gone"), ValueError(), RecursionError("deep")])
def test_a_plugin_that_fails_or_exits_takes_nothing_else_along(tmp_path, install, problem):
    install(bad=problem, toy=Importer())
    (tmp_path / "m.toy").write_text("")
    assert list(gb.files.load_graph(tmp_path / "m.toy")) == ["x", "h1", "y"]
    save_graph(small(), tmp_path / "m.nnet")
    gb.load(tmp_path / "m.nnet", backend="numpy")
    assert "bad" not in {f.name for f in gb.files.formats()}
    (tmp_path / "m.bad").write_text("")
    for call in (lambda: gb.load(tmp_path / "m.bad"), lambda: gb.load(tmp_path / "m.bad", format="bad")):
        with pytest.raises(gb.GraphbpError, match=rf"format 'bad' \(bad:it\) could not be imported: {type(problem).__name__}"):
            call()


def test_a_ctrl_c_while_a_plugin_is_imported_is_the_users(tmp_path, install):
    install(bad=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        gb.files.formats()


def test_a_plugin_whose_attributes_are_none_of_an_importers(tmp_path, install):
    install(bad=Importer(suffixes=(3,)), worse=Importer(suffixes=None), sniffing=Importer(sniff=lambda path: 1 / 0), toy=Importer())
    (tmp_path / "m.toy").write_text("")
    assert list(gb.files.load_graph(tmp_path / "m.toy")) == ["x", "h1", "y"]


@pytest.mark.parametrize(
    "problem", [ValueError("odd"), KeyError("a"), IndexError(), RecursionError(), MemoryError(), OSError(5, "I/O")]
)
def test_whatever_an_importer_raises_names_the_file(tmp_path, install, problem):
    def read(path):
        raise problem

    install(toy=Importer(read))
    (tmp_path / "m.toy").write_text("")
    for call in (gb.load, load_graph):
        with pytest.raises(gb.GraphbpError, match=r"m\.toy"):
            call(tmp_path / "m.toy")


def test_a_graph_that_is_none_is_the_files_fault(tmp_path, install):
    install(toy=Importer(lambda path: [1, 2]))
    (tmp_path / "m.toy").write_text("")
    with pytest.raises(gb.FileFormatError, match=r"m\.toy: a network is built from a networkx.DiGraph, not list"):
        gb.load(tmp_path / "m.toy", backend="numpy")


def test_two_packages_of_one_name_block_only_themselves(tmp_path):
    """Two distributions on the path, each with an importer called toy."""
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / f"{name}-1.dist-info").mkdir(parents=True)
        (folder / f"{name}-1.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (folder / f"{name}-1.dist-info" / "entry_points.txt").write_text(f"[graphbp.importers]\ntoy = {name}\n")
    save_graph(small(), tmp_path / "m.nnet")
    write_graph(small(), tmp_path / "m.json")
    (tmp_path / "m.toy").write_text("")
    code = (
        "import graphbp as gb\n"
        f"gb.load({str(tmp_path / 'm.nnet')!r}, backend='numpy'); gb.load({str(tmp_path / 'm.json')!r}, backend='numpy')\n"
        f"try: gb.load({str(tmp_path / 'm.toy')!r}, format='toy')\n"
        "except gb.RegistryError as problem: print(problem)"
    )
    path = os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert "packages offer" in done.stdout
    assert "uninstall" in done.stdout
