"""Damaged and hostile files: each is refused by name, before anything large is allocated, and no code runs."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import graphbp as gb
from graphbp.files import read_graph_file, write_graph
from graphbp.files.native import FREE_UNITS
from graphbp.training.checkpoint import read_checkpoint


def network():
    g = gb.layered([3, 4, 2])
    g["x"]["h1"]["weight"] = sparse.csr_array(np.arange(12.0).reshape(4, 3))
    g.add_node("u", bias=0.5, activation="tanh")
    g.add_edge("h1", "u", weight=np.ones((1, 4)))
    g.add_node("v", role="output")
    g.add_edge("u", "v", weight=2.0)
    g.nodes["y"]["role"] = "output"
    return g


@pytest.fixture
def inline(tmp_path):
    """A valid document, weights inline and without its digest, and a function that writes a changed one and reads it."""
    path = tmp_path / "m.json"
    write_graph(network(), path, weights="inline")
    document = json.loads(path.read_text())
    del document["sha256"]
    return document, lambda document: (path.write_text(json.dumps(document)), read_graph_file(path))[1]


def array_at(document, value):
    """The stored array that a {"$array": key} value refers to."""
    return document["weights"]["arrays"][value["$array"]]


def attributes_of(document, name):
    return next(data for node, data in document["nodes"] if node == name)


def sparse_of(document):
    return next(data["weight"]["$sparse"] for _, data in document["edges"]["attributes"] if "$sparse" in data["weight"])


def set_weight(document, value):
    array_at(document, document["edges"]["weight"])["data"][-1] = value


def set_array(document, value, **what):
    array_at(document, value).update(what)


def add_edge(document, source, target):
    ends = [[name for name, _ in document["nodes"]].index(name) for name in (source, target)]
    for column, end in zip(("source", "target", "weight"), [*ends, 1.0], strict=True):
        array = array_at(document, document["edges"][column])
        array["data"].append(end)
        array["shape"][0] += 1


HUGE = 10**9

DAMAGE = {
    "another format": (lambda d: d.update(format="keras"), "is not a graphbp model"),
    "no format": (lambda d: d.pop("format"), "is not a graphbp model"),
    "a newer version": (lambda d: d.update(version=3), "is of version 3; this graphbp reads"),
    "a version that is text": (lambda d: d.update(version="1"), "is of version '1'"),
    "a version that is true": (lambda d: d.update(version=True), "is of version True"),
    "no nodes": (lambda d: d.pop("nodes"), "has no 'nodes'"),
    "nodes of another shape": (lambda d: d.update(nodes={"x": 1}), "list of pairs"),
    "a node twice": (lambda d: d["nodes"].append(["x", {}]), "two nodes are called 'x'"),
    "equal names": (lambda d: d["nodes"].extend([[1, {}], [True, {}]]), "two nodes are called True"),
    "a null name": (lambda d: d["nodes"].append([None, {}]), "called null"),
    "a name that is a list": (lambda d: d["nodes"].append([["x"], {}]), "is not a name"),
    "a name that hides a list": (lambda d: d["nodes"].append([{"$tuple": [["x"]]}, {}]), "is not a name"),
    "attributes that are a list": (lambda d: d["nodes"].append(["z", []]), "attributes must be an object"),
    "an unknown tag": (lambda d: attributes_of(d, "x").update(a={"$import": "os"}), "does not know"),
    "a damaged tag": (lambda d: attributes_of(d, "x").update(a={"$tuple": 3}), "expected list"),
    "a scalar beyond its dtype": (lambda d: attributes_of(d, "x").update(a={"$scalar": ["float16", 1e10]}), "overflow"),
    "an object scalar": (lambda d: attributes_of(d, "x").update(a={"$scalar": ["object", 1]}), "dtype of a number"),
    "a missing array": (lambda d: attributes_of(d, "x").update(a={"$array": "a99"}), "'a99', which it does not have"),
    "an array key that is a list": (lambda d: attributes_of(d, "x").update(a={"$array": [1]}), "which it does not have"),
    "10^9 units": (lambda d: attributes_of(d, "x").update(units=HUGE), "claims 1,000,000,000 units by node 'x'"),
    "many nodes of many units": (
        lambda d: d["nodes"].extend([f"n{i}", {"units": 100_000}] for i in range(11)),
        "units by node 'n9'",
    ),
    "units that are text": (lambda d: attributes_of(d, "x").update(units="3"), "units"),
    "negative units": (lambda d: attributes_of(d, "x").update(units=-HUGE), "units"),
    "a huge array": (lambda d: set_array(d, d["edges"]["weight"], shape=[HUGE]), "1,000,000,000 numbers, and its data is"),
    "a shape that overflows": (lambda d: set_array(d, d["edges"]["weight"], shape=[2**40, 2**40]), "numbers, and its data is"),
    "a negative shape": (lambda d: set_array(d, d["edges"]["weight"], shape=[-1]), "is not a shape"),
    "an object array": (lambda d: set_array(d, d["edges"]["weight"], dtype="|O"), "not a dtype of numbers"),
    "a text array": (lambda d: set_array(d, d["edges"]["weight"], dtype="<U1000000000"), "not a dtype of numbers"),
    "an array without data": (lambda d: array_at(d, d["edges"]["weight"]).pop("data"), "its data is None"),
    "text among numbers": (lambda d: set_weight(d, "1.0"), "'1.0', which is not a number"),
    "null among numbers": (lambda d: set_weight(d, None), "None, which is not a number"),
    "a NaN weight": (lambda d: set_weight(d, float("nan")), "edge 'u' -> 'v': weight is nan"),
    "an infinite weight": (lambda d: set_weight(d, float("inf")), "edge 'u' -> 'v': weight is inf"),
    "a NaN bias": (lambda d: attributes_of(d, "u").update(bias=float("nan")), "node 'u': bias is nan"),
    "a bias of the wrong length": (lambda d: attributes_of(d, "h1").update(bias=[1.0, 2.0]), "node 'h1': bias has shape"),
    "a weight of the wrong shape": (
        lambda d: attributes_of(d, "y").update(units=3, bias=0.0),
        "edge 'h1' -> 'y': weight has shape",
    ),
    "a cycle": (lambda d: add_edge(d, "v", "u"), "has a cycle: 'u' -> 'v' -> 'u'|has a cycle: 'v' -> 'u' -> 'v'"),
    "an unknown role": (lambda d: attributes_of(d, "u").update(role="king"), "role='king'"),
    "an edge twice": (lambda d: add_edge(d, "u", "v"), "1 edges are given twice"),
    "an edge to itself": (lambda d: add_edge(d, "u", "u"), "node 'u' has an edge to itself"),
    "an edge to one too many": (
        lambda d: array_at(d, d["edges"]["target"])["data"].__setitem__(0, len(d["nodes"])),
        "node numbers from 0 to",
    ),
    "attributes of an edge before": (lambda d: d["edges"]["attributes"].append([-1, {}]), "edge number -1"),
    "weights of float32": (lambda d: set_array(d, d["edges"]["weight"], dtype="<f4"), "must be float64, not float32"),
    "no edges": (lambda d: d["edges"].pop("source"), "source, target, weight"),
    "an edge to nowhere": (lambda d: array_at(d, d["edges"]["target"])["data"].__setitem__(0, 99), "node numbers from 0 to"),
    "an edge from before": (lambda d: array_at(d, d["edges"]["source"])["data"].__setitem__(0, -1), "node numbers from 0 to"),
    "float ends": (lambda d: d["edges"].update(source=d["edges"]["weight"]), "node numbers"),
    "more weights than edges": (lambda d: d["edges"].update(weight={"$array": sparse_of(d)["data"]}), "one entry for each edge"),
    "attributes of no edge": (lambda d: d["edges"]["attributes"].append([99, {}]), "edge number 99"),
    "attributes of edge true": (lambda d: d["edges"]["attributes"].append([True, {}]), "edge number True"),
    "a sparse index too large": (lambda d: set_array(d, {"$array": sparse_of(d)["indices"]}, data=[9] * 11), "column 9"),
    "a sparse matrix too wide": (lambda d: sparse_of(d).update(shape=[4, HUGE]), "weight has shape"),
    "a sparse matrix too high": (lambda d: sparse_of(d).update(shape=[HUGE, 3]), "indptr"),
    "row pointers that fall": (lambda d: set_array(d, {"$array": sparse_of(d)["indptr"]}, data=[0, 9, 3, 3, 11]), "must rise"),
    "another storage": (lambda d: d["weights"].update(storage="pickle"), "stored as 'pickle'"),
    "weights that are a list": (lambda d: d.update(weights=[]), "must be an object"),
    "no manifest": (lambda d: d["weights"].pop("arrays"), "must be an object"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_document_is_refused_by_name(inline, damage):
    document, read = inline
    read(copy.deepcopy(document))
    change, message = DAMAGE[damage]
    change(document)
    tracemalloc.start()
    try:
        with pytest.raises(gb.FileFormatError, match=message) as caught:
            read(document)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert "m.json" in str(caught.value)


def test_an_unknown_activation_names_file_and_node(inline):
    document, read = inline
    attributes_of(document, "u").update(activation="tahn")
    with pytest.raises(gb.UnknownNameError, match=r"m.json: node 'u': unknown activation 'tahn'; did you mean 'tanh'"):
        read(document)


def test_a_million_units_are_free_and_more_need_bytes(inline):
    document, read = inline
    document["nodes"].append(["big", {"units": FREE_UNITS - 100}])
    read(document)
    document["nodes"].append(["more", {"units": 200}])
    with pytest.raises(gb.FileFormatError, match="need a byte each"):
        read(document)
    document["metadata"]["filler"] = "x" * (FREE_UNITS + 1000)
    read(document)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_document(tmp_path, part):
    path = tmp_path / "m.json"
    write_graph(network(), path)
    text = path.read_bytes()
    path.write_bytes(text[: int(part * (len(text) - 3))])
    with pytest.raises(gb.FileFormatError, match="truncated or damaged"):
        read_graph_file(path)


@pytest.mark.parametrize(
    "text", [b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe", b"[]", b"3", b"1" * 5000, b'{"format": "graphbp"}']
)
def test_json_that_is_no_document(tmp_path, text):
    (tmp_path / "m.json").write_bytes(text)
    with pytest.raises(gb.FileFormatError):
        read_graph_file(tmp_path / "m.json")
    with pytest.raises(gb.FileFormatError):
        gb.load(tmp_path / "m.json")


@pytest.mark.parametrize("depth", [5000, 200_000])
def test_values_nested_too_deeply(inline, tmp_path, depth):
    text = json.dumps({**inline[0], "metadata": {"deep": 0}}).replace('"deep": 0', '"deep": ' + "[" * depth + "]" * depth)
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(gb.FileFormatError, match="nested too deeply"):
        read_graph_file(tmp_path / "m.json")


def test_a_digit_that_was_changed_is_seen(tmp_path):
    """Of a weight, a bias, the structure or the metadata; the layout may change, and who takes the digest out is believed."""
    path = tmp_path / "m.json"
    write_graph(network(), path, weights="inline", metadata={"mean": 0.25})
    text = path.read_text()
    document = json.loads(text)
    for old, new in ((", 2.0]", ", 2.5]"), ('"bias": 0.5', '"bias": 0.6'), ('"tanh"', '"relu"'), ("0.25", "0.26")):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(gb.FileFormatError, match=r'm.json does not hold what was written.*take the entry "sha256" .* out'):
            read_graph_file(path)
        changed = json.loads(text.replace(old, new, 1))
        del changed["sha256"]
        path.write_text(json.dumps(changed))
        read_graph_file(path)
    for layout in ({"indent": 2}, {"sort_keys": True}, {"separators": (",", ":")}):
        path.write_text(json.dumps(document, **layout))
        read_graph_file(path)
    for odd in (None, "", 3, document["sha256"].upper()):
        path.write_text(json.dumps({**document, "sha256": odd}))
        with pytest.raises(gb.FileFormatError, match="digest"):
            read_graph_file(path)


@pytest.mark.parametrize("at", ['"nodes"', '"format"', '"bias"', '"storage"', '"a0"'])
def test_a_key_that_stands_twice(inline, tmp_path, at):
    """The last of two would count, and a reader of the text sees the first."""
    inline[1](inline[0])
    path = tmp_path / "m.json"
    text = path.read_text()
    assert at in text
    path.write_text(text.replace(at, f"{at}: 0, {at}", 1))
    with pytest.raises(gb.FileFormatError, match=f"m.json has the key '{at[1:-1]}' twice in one object"):
        read_graph_file(path)


def arrays_of(document, **arrays):
    """Inline arrays in the manifest."""
    for key, array in arrays.items():
        document["weights"]["arrays"][key] = {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.ravel().tolist()}


def sparse_value(form, shape, data="e", indices="e8", indptr="z"):
    return {"$sparse": {"format": form, "kind": "array", "shape": shape, "data": data, "indices": indices, "indptr": indptr}}


def text_value(n, longest):
    return {"$text": {"shape": [n], "data": ["a"] * (n - 1) + ["b" * longest]}}


GREEDY = {
    "texts of very different lengths": lambda: text_value(50_000, 50_000),
    "many text arrays": lambda: [text_value(1000, 1000) for _ in range(200)],
    "an empty csc of many columns": lambda: sparse_value("csc", [0, 10**10]),
    "many csc of many columns": lambda: [sparse_value("csc", [0, 10**6]) for _ in range(50)],
    "a dia of many diagonals": lambda: sparse_value("dia", [1, 20_000], "d", "i", "p"),
    "one array many times": lambda: [{"$array": "d"}] * 2000,
}


@pytest.mark.parametrize("greed", GREEDY)
def test_nothing_is_allocated_beyond_what_the_files_bytes_can_hold(inline, greed):
    document, read = inline
    arrays_of(document, e=np.zeros(0), e8=np.zeros(0, np.int64), z=np.zeros(1, np.int64))
    arrays_of(document, d=np.ones(20_000), i=np.arange(20_000), p=np.array([0, 20_000]))
    document["metadata"]["greedy"] = GREEDY[greed]()
    tracemalloc.start()
    try:
        with pytest.raises(gb.FileFormatError, match=r"bytes, and a file of this size may ask for"):
            read(document)
        assert tracemalloc.get_traced_memory()[1] < 120e6
    finally:
        tracemalloc.stop()


def test_layers_that_share_one_array(inline):
    """A file of two megabytes whose layers would take gigabytes."""
    document, read = inline
    arrays_of(document, w=np.ones((300, 300)))
    n = len(document["nodes"])
    document["nodes"] += [[f"n{k}", {"units": 300}] for k in range(400)]
    for key, values in (("source", range(n, n + 399)), ("target", range(n + 1, n + 400)), ("weight", [0.0] * 399)):
        array = array_at(document, document["edges"][key])
        first = len(array["data"])
        array["data"] += list(values)
        array["shape"] = [len(array["data"])]
    document["edges"]["attributes"] += [[first + k, {"weight": {"$array": "w"}}] for k in range(399)]
    with pytest.raises(gb.FileFormatError, match=r"edge number \d+: the array 'w', used again, would bring"):
        read(document)


@pytest.mark.parametrize("value", [np.array(["a"] * 60_000 + ["b" * 5000]), sparse.csc_array((1, 10**7))])
def test_what_would_be_taken_for_greed_is_not_written(tmp_path, value):
    g = network()
    g.graph["mine"] = value
    with pytest.raises(gb.NotSupportedError, match="store texts of very different lengths as a list"):
        write_graph(g, tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "dok", "lil"])
def test_ordinary_values_are_no_greed(tmp_path, form):
    g = network()
    dense = sparse.random_array((300, 500), density=0.05, rng=np.random.default_rng(0))
    g.graph["m"] = (sparse.diags_array([1.0] * 500) if form == "dia" else dense).asformat(form)
    g.graph["t"] = np.array([f"name {k}" for k in range(5000)] + ["longer" * 10])
    write_graph(g, tmp_path / "m.json")
    back = read_graph_file(tmp_path / "m.json")[0].graph
    assert back["m"].format == form
    assert (back["m"] != g.graph["m"]).nnz == 0
    assert np.array_equal(back["t"], g.graph["t"])


def npz(arrays, compress=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(array=None, header=None, body=b""):
    buffer = io.BytesIO()
    if array is not None:
        np.lib.format.write_array(buffer, array, allow_pickle=True)
    else:
        np.lib.format.write_array_header_1_0(buffer, header)
        buffer.write(body)
    return buffer.getvalue()


class Bomb:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.fixture(params=["npz", "safetensors"])
def beside(request, tmp_path):
    """A valid model with its weights in a file beside it: the JSON's path, the document, the weights' path."""
    if request.param == "safetensors":
        pytest.importorskip("safetensors", reason="the extra graphbp[safetensors] is not installed")
    path = tmp_path / "m.json"
    write_graph(network(), path, weights=request.param)
    document = json.loads(path.read_text())
    del document["sha256"]
    return path, document, path.with_name(document["weights"]["file"])


def test_a_weights_file_that_is_gone_short_or_changed(beside):
    path, _, weights = beside
    content = weights.read_bytes()
    for damaged, message in (
        (content[:-1], "truncated, or belongs to another save"),
        (content + b"\0", "truncated, or belongs to another save"),
        (content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "wrong checksum"),
    ):
        weights.write_bytes(damaged)
        with pytest.raises(gb.FileFormatError, match=message):
            read_graph_file(path)
    weights.unlink()
    with pytest.raises(gb.FileFormatError, match="keep both in one folder"):
        read_graph_file(path)


@pytest.mark.parametrize(
    "name",
    [
        "../m.npz",
        "/etc/passwd",
        "sub/m.npz",
        "..\\m.npz",
        "C:\\m.npz",
        "C:m.npz",
        "m.npz\0",
        "",
        ".npz",
        "..",
        "m.pkl",
        None,
        3,
        ["m.npz"],
    ],
)
def test_a_weights_file_elsewhere_is_not_even_looked_at(beside, name, tmp_path):
    path, document, weights = beside
    (tmp_path.parent / "m.npz").write_bytes(weights.read_bytes())
    document["weights"]["file"] = name
    path.write_text(json.dumps(document))
    with pytest.raises(gb.FileFormatError, match="in the same folder"):
        read_graph_file(path)


def with_weights(path, document, content, **manifest):
    """Point the document at a weights file with this content and a right checksum."""
    file = path.with_name("evil." + document["weights"]["storage"])
    file.write_bytes(content)
    document["weights"].update(file=file.name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    document["weights"]["arrays"].update(manifest)
    document.pop("sha256", None)
    path.write_text(json.dumps(document))


GOOD = npy(np.zeros(3))
EVIL_NPZ = {
    "no zip": (b"PK\x03\x04 nothing", "is damaged"),
    "a zip bomb": (npz({"a0": npy(np.zeros(10**7))}, zipfile.ZIP_DEFLATED), "is compressed"),
    "an array of objects": (npz({"a0": npy(np.array([Bomb("/nowhere/x")], object))}), "stores plain numbers"),
    "a pickle": (npz({"a0": pickle.dumps(Bomb("/nowhere/x"))}), "is damaged"),
    "a huge claim": (
        npz({"a0": npy(header={"descr": "<f8", "fortran_order": False, "shape": (10**12,)}, body=b"12345678")}),
        "claims 8,000,000,000,000 bytes and has 8",
    ),
    "more bytes than it claims": (
        npz({"a0": npy(header={"descr": "<f8", "fortran_order": False, "shape": (3,)}, body=bytes(32))}),
        "claims 24 bytes and has 32",
    ),
    "compressed": (npz({"a0": GOOD}, zipfile.ZIP_DEFLATED), "is compressed"),
    "in Fortran order": (
        npz({"a0": npy(header={"descr": "<f8", "fortran_order": True, "shape": (3,)}, body=bytes(24))}),
        "stores plain numbers in C order",
    ),
    "a negative claim": (npz({"a0": npy(header={"descr": "<f8", "fortran_order": False, "shape": (-1,)})}), "damaged"),
    "another array": (npz({"zz": GOOD}), "'zz' that the JSON does not list"),
    "a path": (npz({"../../a0": GOOD}), "that the JSON does not list"),
    "too few arrays": (npz({}), "lacks the array 'a0'"),
    "another dtype": (npz({"a0": npy(np.zeros(3, np.float32))}), "says|lacks"),
}


@pytest.mark.parametrize("evil", EVIL_NPZ)
def test_a_hostile_npz_with_a_right_checksum(tmp_path, evil):
    path = tmp_path / "m.json"
    write_graph(network(), path, weights="npz")
    document = json.loads(path.read_text())
    content, message = EVIL_NPZ[evil]
    with_weights(path, document, content, a0={"dtype": "<f8", "shape": [3]})
    tracemalloc.start()
    try:
        with pytest.raises(gb.FileFormatError, match=message):
            read_graph_file(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def overlapping(content, times):
    """An archive whose central directory names the same member's bytes many times."""
    at = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[at:end]
    entries = b"".join(entry.replace(b"a0.npy", f"a{k}.npy".encode()) for k in range(times))
    tail = bytearray(content[end:])
    tail[8:10] = tail[10:12] = times.to_bytes(2, "little")
    tail[12:16] = len(entries).to_bytes(4, "little")
    return content[:at] + entries + bytes(tail)


def test_members_that_overlap(tmp_path):
    path = tmp_path / "m.json"
    write_graph(network(), path, weights="npz")
    content = overlapping(npz({"a0": npy(np.zeros(10_000))}), 9)
    assert len(zipfile.ZipFile(io.BytesIO(content)).infolist()) == 9
    arrays = {f"a{k}": {"dtype": "<f8", "shape": [10_000]} for k in range(9)}
    with_weights(path, json.loads(path.read_text()), content, **arrays)
    with pytest.raises(gb.FileFormatError, match="overlap"):
        read_graph_file(path)


def test_an_array_that_the_json_does_not_list(beside):
    path, document, weights = beside
    arrays = {"a0": np.zeros(3), "surplus": np.zeros(2)}
    if weights.suffix == ".npz":
        content = npz({key: npy(array) for key, array in arrays.items()})
    else:
        import safetensors.numpy

        content = safetensors.numpy.save(arrays)
    with_weights(path, document, content)
    with pytest.raises(gb.FileFormatError, match="an array 'surplus' that the JSON does not list"):
        read_graph_file(path)


@pytest.mark.parametrize("damage", ["compressed", "overlapping"])
def test_a_checkpoint_takes_no_more_than_its_bytes(tmp_path, damage):
    path = tmp_path / "c.npz"
    if damage == "compressed":
        np.savez_compressed(path, header=np.zeros(10**7, np.uint8))
    else:
        path.write_bytes(overlapping(npz({"header": npy(np.zeros(10**5))}), 9))
    tracemalloc.start()
    try:
        with pytest.raises(gb.FileFormatError, match=r"c.npz is not a whole training checkpoint .*(compressed|overlap)"):
            read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_a_member_twice(tmp_path):
    path = tmp_path / "m.json"
    write_graph(network(), path, weights="npz")
    document = json.loads(path.read_text())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a0.npy", GOOD)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a0.npy", GOOD)
    with_weights(path, document, buffer.getvalue())
    with pytest.raises(gb.FileFormatError, match="'a0'"):
        read_graph_file(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, (2**62).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{}"])
def test_a_hostile_safetensors_with_a_right_checksum(tmp_path, content):
    pytest.importorskip("safetensors", reason="the extra graphbp[safetensors] is not installed")
    path = tmp_path / "m.json"
    write_graph(network(), path, weights="safetensors")
    with_weights(path, json.loads(path.read_text()), content)
    with pytest.raises(gb.FileFormatError, match=r"is damaged|lacks the array"):
        read_graph_file(path)


def test_a_manifest_that_contradicts_the_weights_file(beside):
    path, document, _ = beside
    key = document["edges"]["weight"]["$array"]
    document["weights"]["arrays"][key]["shape"] = [1, 4]
    path.write_text(json.dumps(document))
    with pytest.raises(gb.FileFormatError, match="says float64 of shape"):
        read_graph_file(path)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_change_of_a_few_bytes_loads_or_is_refused(tmp_path_factory, data):
    """Nothing but graphbp's own errors may come out of a damaged file."""
    path = tmp_path_factory.mktemp("fuzz") / "m.json"
    write_graph(network(), path, weights="inline")
    document = json.loads(path.read_bytes())
    del document["sha256"]
    content = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.sampled_from(list(b'0123456789-.eE"[]{},:$ntf \x00\xff')))
        else:
            del content[at : at + data.draw(st.integers(1, 40))]
    path.write_bytes(content)
    with contextlib.suppress(gb.GraphbpError):
        read_graph_file(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_change_of_an_npz_with_its_checksum_put_right(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "m.json"
    write_graph(network(), path, weights="npz")
    document = json.loads(path.read_text())
    content = bytearray(path.with_name(document["weights"]["file"]).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with_weights(path, document, bytes(content))
    with contextlib.suppress(gb.GraphbpError):
        read_graph_file(path)
