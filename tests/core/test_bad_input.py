"""Every kind of bad input has its own message: what came, what was expected, what to do, and which node or edge.

Each case is a mistake made through the public face, the exception, and the words its message must hold.  `_raised` also refuses
whatever is not a `GraphbpError`: nothing may surface as a bare NumPy error, KeyError or RecursionError.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

import graphbp as gb


def drawing(**changes: Any) -> nx.DiGraph:
    """x1, x2 -> h -> y, x1 -> y; `h=`, `y=`, `x1=` add attributes to nodes, `weight=` replaces that of x1 -> h."""
    g = nx.DiGraph()
    g.add_node("x1", **changes.get("x1", {}))
    g.add_node("x2")
    g.add_node("h", **{"activation": "tanh", "bias": 0.1, **changes.get("h", {})})
    g.add_node("y", **{"bias": 0.0, **changes.get("y", {})})
    g.add_weighted_edges_from([("x1", "h", 0.4), ("x2", "h", -0.6), ("h", "y", 1.2), ("x1", "y", 0.3)])
    g.edges["x1", "h"].update(changes.get("edge", {}))
    return g


def weighted(value: Any) -> nx.DiGraph:
    return drawing(edge={"weight": value})


def layers(weight: Any = None, **node: Any) -> nx.DiGraph:
    """A layer "x" of 3 units that feeds a layer "y" of 2."""
    g = nx.DiGraph()
    g.add_node("x", units=3)
    g.add_node("y", **{"units": 2, **node})
    g.add_edge("x", "y", weight=np.ones((2, 3)) if weight is None else weight)
    return g


def edges(*pairs: tuple[Any, Any], kind: Any = nx.DiGraph, **roles: str) -> Any:
    g = kind()
    g.add_weighted_edges_from([(u, v, 1.0) for u, v in pairs])
    for name, role in roles.items():
        g.nodes[name]["role"] = role
    return g


def _raised(mistake: Callable[[], Any], kind: type[Exception], *words: str) -> None:
    with pytest.raises(gb.GraphbpError) as caught:
        mistake()
    message = str(caught.value)
    assert isinstance(caught.value, kind), f"{type(caught.value).__name__}: {message}"
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"


def _tied(one: dict[str, Any], other: dict[str, Any], names: tuple[str, str] = ("x1", "x2")) -> nx.DiGraph:
    g = drawing()
    g.edges[names[0], "h"].update(tie="shared", **one)
    g.edges[names[1], "h"].update(tie="shared", **other)
    return g


def _damaged_sparse() -> Any:
    matrix = sparse.csr_matrix(np.ones((2, 3)))
    matrix.indices[-1] = 7
    return matrix


def _softmax_of_one() -> nx.DiGraph:
    """A layer of three is a softmax of its own, so the unit y is alone in the other."""
    g = drawing(y={"activation": "softmax"})
    g.add_node("classes", units=3, activation="softmax")
    g.add_edge("h", "classes", weight=np.ones((3, 1)))
    return g


def _softmax_that_feeds() -> nx.DiGraph:
    g = drawing(h={"activation": "softmax", "role": "output"})
    g.nodes["y"]["role"] = "output"
    return g


def _tied_arrays(second: Any, first: Any = ((1.0, 2.0),), kind: Any = np.array) -> nx.DiGraph:
    """A layer of two units that feeds two units through weights with one tie."""
    g = nx.DiGraph()
    g.add_node("x", units=2)
    for node, w in (("h", first), ("y", second)):
        g.add_edge("x", node, weight=kind(w), tie="shared")
    return g


def _tied_layers() -> nx.DiGraph:
    g = layers()
    g.add_node("z", units=3)
    g.add_edge("y", "z", weight=np.ones((3, 2)), tie="shared")
    g.edges["x", "y"]["tie"] = "shared"
    return g


class ReluGraph(nx.DiGraph):
    """A user's subclass is a DiGraph."""


long_cycle = edges(("x", 0), *((i, i + 1) for i in range(50)), (50, 0), (3, "y"))
GRAPHS: dict[str, tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = {
    "cycle": (lambda: edges(("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "y")), gb.GraphError, ("cycle", "->", "remove")),
    "cycle, no source": (lambda: edges(("a", "b"), ("b", "a")), gb.GraphError, ("cycle: ", "'a' -> 'b' -> 'a'")),
    "cycle, no sink": (lambda: edges(("x", "a"), ("a", "b"), ("b", "a")), gb.GraphError, ("cycle: ", "'a' -> 'b'")),
    "cycle, long": (lambda: long_cycle, gb.GraphError, ("cycle", "more ...")),
    "self-loop": (lambda: edges(("x", "y"), ("y", "y")), gb.GraphError, ("'y'", "edge to itself", "remove")),
    "empty": (nx.DiGraph, gb.GraphError, ("empty",)),
    "no output": (lambda: edges(("x", "y"), y="hidden"), gb.GraphError, ("no output", "role='output'")),
    "no input": (lambda: edges(("x", "y"), x="hidden"), gb.GraphError, ("no input", "role='input'")),
    "one node": (lambda: nx.DiGraph([("x", "x", {"weight": 1.0})]).subgraph(["x"]), gb.GraphError, ("'x'", "itself")),
    "isolated node": (lambda: nx.empty_graph(1, nx.DiGraph), gb.GraphError, ("no output",)),
    "into an input": (lambda: edges(("x", "a"), ("a", "y"), a="input"), gb.GraphError, ("edge 'x' -> 'a'", "leads into an input")),
    "input with bias": (lambda: drawing(x1={"bias": 1.0}), gb.GraphError, ("'x1'", "has a bias", "role='hidden'")),
    "input with activation": (lambda: drawing(x1={"activation": "tanh"}), gb.GraphError, ("'x1'", "'tanh'")),
    "role typo": (lambda: drawing(y={"role": "outptu"}), gb.GraphError, ("'y'", "role='outptu'", "'output'")),
    "role of no string": (lambda: drawing(y={"role": ["output"]}), gb.GraphError, ("'y'", "role=['output']")),
    "units=0": (lambda: drawing(h={"units": 0}), gb.GraphError, ("'h'", "units=0", "at least 1")),
    "units=True": (lambda: drawing(h={"units": True}), gb.GraphError, ("'h'", "units=True")),
    "units=1.5": (lambda: drawing(h={"units": 1.5}), gb.GraphError, ("'h'", "units=1.5")),
    "units=None": (lambda: drawing(h={"units": None}), gb.GraphError, ("'h'", "units=None")),
    "units beyond int32": (lambda: drawing(x1={"units": 2**40}), gb.GraphError, ("'x1'", "1,099,511,627,776")),
    "units in all": (lambda: drawing(x1={"units": 2**31 - 1}, h={"units": 9}), gb.GraphError, ("2,147,483,658 units",)),
    "activation": (lambda: drawing(h={"activation": "tahn"}), gb.UnknownNameError, ("'h'", "'tahn'", "did you mean 'tanh'")),
    "activation, capital": (lambda: drawing(h={"activation": "ReLU"}), gb.UnknownNameError, ("did you mean 'relu'",)),
    "activation of no string": (lambda: drawing(h={"activation": ["tanh"]}), gb.UnknownNameError, ("'h'", "['tanh']")),
    "activation None": (lambda: drawing(h={"activation": None}), gb.UnknownNameError, ("'h'", "None")),
    "softmax hidden": (lambda: drawing(h={"activation": "softmax"}), gb.GraphError, ("'h'", "not an output")),
    "softmax feeding": (_softmax_that_feeds, gb.GraphError, ("'h'", "feeds 'y'")),
    "softmax of one unit": (_softmax_of_one, gb.GraphError, ("'y'", "always be 1", "'sigmoid'")),
    "weight missing": (lambda: nx.DiGraph([("x", "y")]), gb.WeightError, ("edge 'x' -> 'y'", "missing", "weight=0.1")),
    "weight None": (lambda: weighted(None), gb.WeightError, ("edge 'x1' -> 'h'", "missing")),
    "weight NaN": (lambda: weighted(float("nan")), gb.WeightError, ("edge 'x1' -> 'h'", "nan", "finite")),
    "weight inf": (lambda: weighted(np.float32("inf")), gb.WeightError, ("edge 'x1' -> 'h'", "inf", "finite")),
    "weight complex": (lambda: weighted(1j), gb.WeightError, ("edge 'x1' -> 'h'", "complex", "real")),
    "weight of text": (lambda: weighted("0.4"), gb.WeightError, ("edge 'x1' -> 'h'", "'0.4'", "number")),
    "weight bool": (lambda: weighted(True), gb.WeightError, ("edge 'x1' -> 'h'", "True")),
    "weight 10^400": (lambda: weighted(10**400), gb.WeightError, ("edge 'x1' -> 'h'", "float64")),
    "weight -10^400": (lambda: weighted(-(10**400)), gb.WeightError, ("edge 'x1' -> 'h'", "float64")),
    "weight ragged": (lambda: weighted([[1.0], [1.0, 2.0]]), gb.WeightError, ("edge 'x1' -> 'h'", "list", "array")),
    "weight an array between units": (lambda: weighted([1.0, 2.0]), gb.WeightError, ("(2,)", "(1, 1)")),
    "weight transposed": (lambda: layers(np.ones((3, 2))), gb.WeightError, ("edge 'x' -> 'y'", "(3, 2)", "(2, 3)", "units of 'y'")),
    "weight scalar between layers": (lambda: layers(0.5), gb.WeightError, ("edge 'x' -> 'y'", "(2, 3)")),
    "weight scalar from a layer": (
        lambda: layers(0.5, units=1), gb.WeightError, ("edge 'x' -> 'y'", "scalar", "(1, 3)", "units of 'x'")
    ),
    "tie entries": (lambda: _tied_arrays([[1.0, 3.0]]), gb.WeightError, ("'shared'", "'x' -> 'h'", "'x' -> 'y'", "values differ")),
    "tie patterns": (
lambda: _tied_arrays([[0.0, 1.0]], [[1.0, 0.0]], kind=sparse.csr_array),
        gb.WeightError, ("'shared'", "shapes differ"),
    ),
    "weight NaN in array": (lambda: layers([[1, 2, 3], [4, np.nan, 6]]), gb.WeightError, ("edge 'x' -> 'y'", "nan at (1, 1)")),
    "weight NaN in sparse": (lambda: layers(sparse.csr_matrix([[1, 0, 3], [0, np.nan, 6]])), gb.WeightError, ("'x' -> 'y'", "nan")),
    "weight complex sparse": (lambda: layers(sparse.csr_array(np.ones((2, 3)) * 1j)), gb.WeightError, ("'x' -> 'y'", "complex")),
    "weight sparse, wrong shape": (lambda: layers(sparse.eye(3)), gb.WeightError, ("'x' -> 'y'", "(3, 3)", "(2, 3)")),
    "weight sparse, damaged": (lambda: layers(_damaged_sparse()), gb.WeightError, ("'x' -> 'y'", "damaged", "indices")),
    "bias NaN": (lambda: drawing(h={"bias": float("nan")}), gb.WeightError, ("'h'", "bias", "nan")),
    "bias text": (lambda: drawing(h={"bias": "no"}), gb.WeightError, ("'h'", "bias", "'no'")),
    "bias complex": (lambda: drawing(h={"bias": 1j}), gb.WeightError, ("'h'", "bias", "complex")),
    "bias length": (lambda: layers(bias=[1.0, 2.0, 3.0]), gb.WeightError, ("'y'", "bias", "(3,)", "units=2")),
    "bias 10^400": (lambda: drawing(h={"bias": 10**400}), gb.WeightError, ("'h'", "bias", "float64")),
    "trainable": (lambda: drawing(h={"trainable": "no"}), gb.GraphError, ("'h'", "trainable='no'", "True or False")),
    "trainable edge": (lambda: drawing(edge={"trainable": 0}), gb.GraphError, ("edge 'x1' -> 'h'", "trainable=0")),
    "tie of no string": (lambda: drawing(edge={"tie": 3}), gb.GraphError, ("edge 'x1' -> 'h'", "tie=3")),
    "tie values": (lambda: _tied({}, {}), gb.WeightError, ("'shared'", "'x1' -> 'h'", "'x2' -> 'h'", "values differ")),
    "tie frozen": (lambda: _tied({"weight": 1.0}, {"weight": 1.0, "trainable": False}), gb.WeightError, ("'shared'", "frozen")),
    "tie shapes": (_tied_layers, gb.WeightError, ("'shared'", "'x' -> 'y'", "'y' -> 'z'", "shapes differ")),
    "MultiDiGraph": (lambda: edges(("x", "y"), kind=nx.MultiDiGraph), gb.GraphError, ("MultiDiGraph", "merge")),
    "MultiGraph": (lambda: edges(("x", "y"), kind=nx.MultiGraph), gb.GraphError, ("undirected",)),
    "Graph": (lambda: edges(("x", "y"), kind=nx.Graph), gb.GraphError, ("undirected", "DiGraph")),
    "no graph": (lambda: np.eye(3), gb.GraphError, ("ndarray", "networkx.DiGraph")),
    "dict": (lambda: {"x": ["y"]}, gb.GraphError, ("dict", "networkx.DiGraph")),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_graph(name: str) -> None:
    build, kind, words = GRAPHS[name]
    graph = build()
    _raised(lambda: gb.Network(graph, backend="numpy"), kind, *words)


def test_cycle_is_printed_along_its_edges() -> None:
    g = edges(("x", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "y"))
    with pytest.raises(gb.GraphError) as caught:
        gb.Network(g, backend="numpy")
    path = str(caught.value).split("cycle: ")[1].split(";")[0].split(" -> ")
    assert path[0] == path[-1]
    assert len(path) == 4
    for u, v in pairwise(path):
        assert g.has_edge(u.strip("'"), v.strip("'"))


def test_cycle_of_100_000_units() -> None:
    g = edges(*((i, i + 1) for i in range(100_000)), (100_000, 1))
    g.add_edge(50, "y", weight=1.0)
    _raised(lambda: gb.Network(g, backend="numpy"), gb.GraphError, "cycle", "more ...")


def test_a_billion_claimed_units_are_refused_before_they_are_allocated() -> None:
    with gb.config(memory=10**9):
        _raised(lambda: gb.Network(drawing(x1={"units": 10**9}), backend="numpy"), gb.MemoryLimitError, "1,000,000,000", "'x1'")


def test_subclasses_and_views_are_graphs() -> None:
    g = ReluGraph(drawing())
    assert gb.Network(g, backend="numpy").n_parameters == 6
    assert gb.Network(nx.freeze(drawing()), backend="numpy").n_parameters == 6
    assert gb.Network(drawing().subgraph(["x1", "y"]), backend="numpy").n_parameters == 2


def net(**options: Any) -> gb.Network:
    return gb.Network(drawing(), backend="numpy", **options)


def counts() -> gb.Network:
    return gb.Network(drawing(y={"activation": "exp"}), error="poisson", backend="numpy")


def classes(k: int = 3) -> gb.Network:
    g = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    for c in range(k):
        g.add_node(f"y{c}", activation="softmax")
        g.add_weighted_edges_from([("x1", f"y{c}", 0.1 * c), ("x2", f"y{c}", 0.2)])
    return gb.Network(g, error="cross_entropy", backend="numpy")


def one_class() -> gb.Network:
    return gb.Network(drawing(y={"activation": "sigmoid"}), error="cross_entropy", backend="numpy")


def two_softmaxes() -> gb.Network:
    g = drawing(y={"units": 2, "activation": "softmax"})
    g.add_node("z", units=2, activation="softmax")
    for u, v in (("h", "y"), ("x1", "y"), ("h", "z")):
        g.add_edge(u, v, weight=np.ones((2, 1)))
    return gb.Network(g, error="cross_entropy", backend="numpy")


X, T = np.array([[1.0, 0.5], [0.2, -0.1], [3.0, 2.0]]), np.array([[0.25], [0.5], [1.0]])


class Unreadable:
    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the tensor is on another device")


def _with(values: Any, row: int, column: int, value: float) -> Any:
    changed = np.array(values)
    changed[row, column] = value
    return changed


def _assign(values: Any) -> None:
    net().weights = values


FROZEN = drawing(edge={"trainable": False})
CALLS: dict[str, tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = {
    "X columns": (lambda: net().forward(np.ones((4, 3))), gb.DataError, ("3 columns", "2 inputs", "'x1', 'x2'")),
    "X vector": (lambda: net().forward([1.0, 2.0]), gb.DataError, ("(2,)", "reshape(1, -1)", "'x1', 'x2'")),
    "X scalar": (lambda: net().forward(1.0), gb.DataError, ("()", "(N, 2)")),
    "X cube": (lambda: net().forward(np.ones((2, 2, 2))), gb.DataError, ("(2, 2, 2)", "(N, 2)")),
    "X empty": (lambda: net().forward(np.ones((0, 2))), gb.DataError, ("(0, 2)", "empty batch")),
    "X NaN": (lambda: net().forward(_with(X, 1, 0, np.nan)), gb.DataError, ("X row 1", "'x1'", "nan", "drop or impute")),
    "X inf": (lambda: net().forward(_with(X, 2, 1, -np.inf)), gb.DataError, ("X row 2", "'x2'", "-inf")),
    "X beyond float32": (
        lambda: net(dtype="float32").forward(_with(X, 2, 1, 1e300)), gb.DataError, ("X row 2", "1e+300", "too large for float32")
    ),
    "X complex": (lambda: net().forward(X * 1j), gb.DataError, ("complex", "real")),
    "X text": (lambda: net().forward([["a", "b"]]), gb.DataError, ("X", "numbers")),
    "X None": (lambda: net().forward(None), gb.DataError, ("X", "object")),
    "X ragged": (lambda: net().forward([[1.0, 2.0], [1.0]]), gb.DataError, ("X (list)", "array")),
    "X dates": (lambda: net().forward(np.zeros((1, 2), "M8[s]")), gb.DataError, ("datetime64",)),
    "X sparse": (lambda: net().forward(sparse.csr_array(X)), gb.DataError, ("sparse", "X.toarray()")),
    "X masked": (lambda: net().forward(np.ma.masked_less(X, 0)), gb.DataError, ("masked", "(1, 1)")),
    "X unreadable": (lambda: net().forward(Unreadable()), gb.DataError, ("Unreadable", "another device")),
    "T shape": (lambda: net().error(X, np.ones((3, 2))), gb.DataError, ("(3, 2)", "3 rows", "'y'", "(3, 1)")),
    "T rows": (lambda: net().gradient(X, T[:2]), gb.DataError, ("(2, 1)", "3 rows", "(3, 1)")),
    "T NaN": (lambda: net().gradient(X, _with(T, 2, 0, np.nan)), gb.DataError, ("T row 2", "'y'", "nan")),
    "T None": (lambda: net().gradient(X, None), gb.DataError, ("T",)),
    "T complex": (lambda: net().gradient(X, T * 1j), gb.DataError, ("T is complex",)),
    "label too large": (lambda: classes().error(X, [0, 3, 1]), gb.DataError, ("T row 1", "label 3", "0 to 2")),
    "label negative": (lambda: classes().error(X, [0, 1, -1]), gb.DataError, ("T row 2", "label -1", "0 to 2")),
    "labels as floats": (lambda: classes().error(X, [0.0, 1.0, 2.0]), gb.DataError, ("(3,)", "integer class labels")),
    "labels for squares": (lambda: net().error(X, [[1, 2]]), gb.DataError, ("(1, 2)", "(3, 1)")),
    "label of one output": (lambda: one_class().error(X, [0, 1, 0]), gb.DataError, ("T row 1", "label 1", "0 to 0")),
    "labels for two softmaxes": (lambda: two_softmaxes().error(X, [0, 1, 0]), gb.DataError, ("2 softmax groups", "one-hot per group")),
    "distribution, nearly": (
        lambda: classes().error(X[:1], [[0.5, 0.301, 0.2]]), gb.DataError, ("T row 0", "sums to 1.001", "1")
    ),
    "distribution": (lambda: classes().error(X[:1], [[0.5, 0.2, 0.2]]), gb.DataError, ("T row 0", "sums to 0.9", "1")),
    "probability": (lambda: classes().error(X[:1], [[1.5, -0.5, 0]]), gb.DataError, ("T row 0", "from 0 to 1")),
    "count": (lambda: counts().error(X[:1], [[-1.0]]), gb.DataError, ("T row 0", "-1", "0 or more")),
    "sample_weight shape": (lambda: net().error(X, T, [1.0, 2.0]), gb.DataError, ("sample_weight", "(2,)", "3 rows", "(3,)")),
    "sample_weight columns": (lambda: net().gradient(X, T, np.ones((3, 2))), gb.DataError, ("sample_weight", "(3, 2)", "(3, 1)")),
    "sample_weight negative": (lambda: net().error(X, T, [1.0, -2.0, 1.0]), gb.DataError, ("sample_weight row 1", "-2.0")),
    "sample_weight NaN": (lambda: net().hessian(X, T, [1, 1, np.nan]), gb.DataError, ("sample_weight row 2", "nan")),
    "V shape": (lambda: net().vjp(X, np.ones((3, 2))), gb.DataError, ("V", "(3, 2)", "(3, 1)")),
    "V NaN": (lambda: net().vjp(X, _with(T, 0, 0, np.nan)), gb.DataError, ("V row 0", "nan")),
    "U shape": (lambda: net().jvp(X, np.ones((3, 1))), gb.DataError, ("U", "(3, 1)", "(3, 2)")),
    "v shape": (lambda: net().weight_jvp(X, np.ones(5)), gb.DataError, ("v", "(5,)", "(6,)")),
    "v of weight_vjp": (lambda: net().weight_vjp(X, np.ones(3)), gb.DataError, ("V", "(3,)", "(3, 1)")),
    "weights length": (lambda: _assign(np.ones(5)), gb.DataError, ("weights", "(5,)", "6 free parameters")),
    "weights matrix": (lambda: _assign(np.ones((6, 1))), gb.DataError, ("weights", "(6, 1)")),
    "weights NaN": (lambda: _assign([0, 1, 2, np.nan, 4, 5]), gb.DataError, ("weights[3]", "finite")),
    "weights text": (lambda: _assign("none"), gb.DataError, ("weights", "numbers")),
    "kind of blocks": (lambda: net().hessian_blocks(X, T, kind="full"), gb.DataError, ("kind='full'", "outer_product")),
    "unknown edge": (lambda: net().parameter_index("x2", "y"), gb.UnknownNameError, ("no edge 'x2' -> 'y'", "comes from 'h', 'x1'")),
    "unknown edge into an input": (
        lambda: net().parameter_index("h", "x1"), gb.UnknownNameError, ("no edge 'h' -> 'x1'", "nothing leads to 'x1'")
    ),
    "a graph for a network, train": (lambda: gb.train(drawing(), X, T), gb.DataError, ("DiGraph", "gb.Network(graph)")),
    "a graph for a network, laplace": (lambda: gb.laplace(drawing(), X, T), gb.DataError, ("DiGraph", "gb.Network(graph)")),
    "a validation set of one": (
        lambda: gb.train(net(), X, T, validation=(X,)), gb.DataError, ("tuple of 1", "(X, T) or (X, T, sample_weight)")
    ),
    "memory in words": (lambda: gb.config(memory="8GB"), gb.ConfigError, ("memory='8GB'", "whole number of bytes")),
    "unknown node": (lambda: net().parameter_index("x9", "h"), gb.UnknownNameError, ("unknown node 'x9'", "x1, x2")),
    "unhashable node": (lambda: net().parameter_index(["h"]), gb.UnknownNameError, ("['h']",)),
    "no bias": (lambda: net().parameter_index("x1"), gb.WeightError, ("'x1'", "no bias", "bias=0.0")),
    "frozen": (
        lambda: gb.Network(FROZEN, backend="numpy").parameter_index("x1", "h"), gb.WeightError, ("'x1' -> 'h'", "frozen")
    ),
    "parameter_name": (lambda: net().parameter_name(6), gb.UnknownNameError, ("6", "6 free parameters", "numbered from 0")),
    "trace node": (lambda: net().trace(X, T).a["hh"], gb.UnknownNameError, ("'hh'", "did you mean 'h'")),
    "another library's error": (lambda: net(error="MSE"), gb.UnknownNameError, ("'MSE'", "did you mean 'sum_of_squares'")),
    "error name": (lambda: net(error="crossentropy"), gb.UnknownNameError, ("'crossentropy'", "did you mean", "'cross_entropy'")),
    "error of no string": (lambda: net(error=3), gb.UnknownNameError, ("error function 3",)),
    "dtype": (lambda: net(dtype="float16"), gb.DataError, ("float16", "float64 or float32")),
    "dtype int": (lambda: net(dtype=int), gb.DataError, ("int64", "float64 or float32")),
    "dtype complex": (lambda: net(dtype="complex128"), gb.DataError, ("complex128",)),
    "dtype word": (lambda: net(dtype="double precision"), gb.DataError, ("'double precision'", "not a dtype")),
    "backend": (lambda: gb.Network(drawing(), backend="nunba"), gb.UnknownNameError, ("'nunba'", "did you mean", "'numba'")),
    "backend of no string": (lambda: gb.Network(drawing(), backend=3), gb.ConfigError, ("backend=3",)),
    "to backend": (lambda: net().to(backend="numby"), gb.UnknownNameError, ("'numby'",)),
    "to dtype": (lambda: net().to(dtype="int8"), gb.DataError, ("int8",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_call(name: str) -> None:
    mistake, kind, words = CALLS[name]
    _raised(mistake, kind, *words)


def test_a_refused_assignment_leaves_the_weights() -> None:
    one = net()
    before = one.weights.copy()
    for bad in ([1.0], [np.inf] * 6):
        with pytest.raises(gb.DataError):
            one.weights = bad
    assert one.weights.tolist() == before.tolist()


@pytest.mark.parametrize(
    ("quantity", "instead"),
    [
        ("hessian", "hessian_operator"),
        ("outer_product_hessian", "outer_product_operator"),
        ("per_sample_gradient", "gradient()"),
    ],
)
def test_results_larger_than_memory_allows(quantity: str, instead: str) -> None:
    with gb.config(memory=100):
        _raised(lambda: getattr(net(), quantity)(X, T), gb.MemoryLimitError, quantity, instead, "100 bytes", "gb.config(memory=")


@pytest.mark.parametrize(("quantity", "instead"), [("jacobian", "vjp()"), ("weight_jacobian", "weight_vjp()")])
def test_jacobians_larger_than_memory_allows(quantity: str, instead: str) -> None:
    with gb.config(memory=10):
        _raised(lambda: getattr(net(), quantity)(X), gb.MemoryLimitError, quantity, instead, "10 bytes")


def test_sparse_jacobian_larger_than_memory_allows() -> None:
    with gb.config(memory=10):
        _raised(lambda: net().jacobian(X, sparse=True), gb.MemoryLimitError, "sparse jacobian", "10 bytes")


def test_setting_that_names_no_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHBP_BACKEND", "nunba")
    _raised(lambda: gb.Network(drawing()), gb.UnknownNameError, "'nunba'", "GRAPHBP_BACKEND")


# -- arrays that are not what they seem -----------------------------------------------------------------------------------

MASKED = np.ma.masked_array([1.0, 2.0], [False, True])
MASKED_ARRAYS: dict[str, Callable[[], Any]] = {
    "weight": lambda: layers(np.ma.masked_less(np.arange(6.0).reshape(2, 3), 1)),
    "scalar weight": lambda: weighted(np.ma.masked),
    "list of rows": lambda: layers([np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]), [1.0, 2.0, 3.0]]),
    "bias": lambda: layers(bias=MASKED),
    "scalar bias": lambda: drawing(h={"bias": np.ma.masked}),
}


@pytest.mark.parametrize("name", MASKED_ARRAYS)
def test_a_masked_weight_is_not_used_as_if_unmasked(name: str) -> None:
    graph = MASKED_ARRAYS[name]()
    _raised(lambda: gb.Network(graph, backend="numpy"), gb.WeightError, "masked")


WHERE_ARRAYS_COME_IN: dict[str, Callable[[Any], Any]] = {
    "X": lambda v: net().forward(v(X)),
    "T": lambda v: net().gradient(X, v(T)),
    "sample_weight": lambda v: net().error(X, T, v(np.ones(3))),
    "V": lambda v: net().vjp(X, v(T)),
    "V of weight_vjp": lambda v: net().weight_vjp(X, v(T)),
    "U": lambda v: net().jvp(X, v(X)),
    "v": lambda v: net().weight_jvp(X, v(np.ones(6))),
    "weights": lambda v: _assign(v(np.ones(6))),
    "operator": lambda v: net().hessian_operator(X, T) @ v(np.ones(6)),
    "operator of a matrix": lambda v: net().outer_product_operator(X, T) @ v(np.ones((6, 2))),
    "from_edges": lambda v: gb.from_edges([0, 1], [2, 2], v(np.ones(2))),
    "from_edges, bias": lambda v: gb.from_edges([0, 1], [2, 2], 1.0, bias=v(np.array([0.0, 0.0, 1.0]))),
    "from_adjacency": lambda v: gb.from_adjacency(v(np.array([[0.0, 1.0], [0.0, 0.0]]))),
}
DISGUISES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "masked": (lambda a: np.ma.masked_array(a, a == a.max()), "masked"),
    "complex": (lambda a: 1j * a, "complex"),
    "text": (lambda a: a.astype(str), "numbers"),
    "objects": (lambda a: a.astype(object), "objects"),
}


OPERATORS = {"operator", "operator of a matrix"}  # SciPy makes plain arrays of what comes before they see it
TABLES = {"X", "T"}  # a frame whose columns have several types becomes an array of objects: numbers among them are numbers


def _is_refused(where: str, disguise: str) -> bool:
    return not ((where in OPERATORS and disguise == "masked") or (where in TABLES and disguise == "objects"))


@pytest.mark.parametrize(("where", "disguise"), [(w, d) for w in WHERE_ARRAYS_COME_IN for d in DISGUISES if _is_refused(w, d)])
def test_only_real_numbers_come_in(where: str, disguise: str) -> None:
    disguised, word = DISGUISES[disguise]
    _raised(lambda: WHERE_ARRAYS_COME_IN[where](disguised), gb.GraphbpError, word)


@pytest.mark.parametrize("where", sorted(TABLES))
def test_an_object_that_is_no_number_is_named(where: str) -> None:
    _raised(lambda: WHERE_ARRAYS_COME_IN[where](lambda a: np.where(a == a.max(), "oops", a.astype(object))), gb.DataError, "oops")


class Parameter:
    """Stands for torch's: it records a computation, and refuses to become an array until it is detached."""

    def __init__(self, values: Any, requires_grad: bool = True) -> None:
        self._values, self.requires_grad = values, requires_grad

    def detach(self) -> Parameter:
        return Parameter(self._values, False)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return np.asarray(self._values, dtype)


@pytest.mark.parametrize("where", sorted(WHERE_ARRAYS_COME_IN.keys() - OPERATORS))
def test_what_records_a_computation_is_detached(where: str) -> None:
    WHERE_ARRAYS_COME_IN[where](Parameter)


def test_a_list_of_parameters_is_detached_part_by_part() -> None:
    net = gb.Network(layers(np.ones((2, 3))), backend="numpy")
    rows = [Parameter(np.array([1.0, 2.0, 3.0])), Parameter(np.array([4.0, 5.0, 6.0]))]
    assert np.array_equal(net.forward(rows), net.forward([[1.0, 2, 3], [4, 5, 6]]))


def test_parameters_inside_lists_of_lists_are_detached() -> None:
    net = gb.Network(layers(np.ones((2, 3))), backend="numpy")
    rows = [[Parameter(np.array(value)) for value in row] for row in ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])]
    assert np.array_equal(net.forward(rows), net.forward([[1.0, 2, 3], [4, 5, 6]]))


@pytest.mark.parametrize("units", [1, 2])
def test_a_tensor_of_booleans_counts_as_an_array_of_them(units: int) -> None:
    error = "cross_entropy" if units > 1 else "binary_cross_entropy"
    net = gb.Network(gb.layered([3, units], error=error, seed=0), error=error, backend="numpy")
    X, labels = np.eye(3), np.array([True, False, True])
    assert net.error(X, Parameter(labels)) == net.error(X, labels) == net.error(X, labels.astype(int))
    gb.train(net, X, Parameter(labels), epochs=1, progress=False)
    assert net.classes == (False, True)


@pytest.mark.parametrize("where", ["array", "record"])
def test_bytes_are_told_how_they_become_labels(where: str) -> None:
    net = gb.Network(gb.layered([3, 2], error="cross_entropy", seed=0), error="cross_entropy", backend="numpy")
    labels = np.array([b"a", b"b", b"a"])
    came = labels if where == "array" else labels.astype([("kind", "S1")])
    _raised(lambda: gb.train(net, np.eye(3), came, epochs=1), gb.DataError, ".astype(str)")
    gb.train(net, np.eye(3), labels.astype(str), epochs=1, progress=False)
    assert net.classes == ("a", "b")


def test_constants_of_the_scaling_may_be_parameters() -> None:
    graph = layers(np.ones((2, 3)))
    graph.nodes["x"].update(shift=Parameter(np.zeros(3)), scale=Parameter(np.full(3, 2.0)))
    assert "scaled: 3 inputs" in repr(gb.Network(graph, backend="numpy"))


def test_a_parameter_may_be_a_weight() -> None:
    graph = layers(Parameter(np.ones((2, 3))))
    assert gb.Network(graph, backend="numpy").n_parameters == 6


# -- names ----------------------------------------------------------------------------------------------------------------


def test_nan_is_no_name() -> None:
    _raised(lambda: gb.Network(edges((float("nan"), "y")), backend="numpy"), gb.GraphError, "called nan")
    _raised(lambda: gb.Network(edges((np.float64("nan"), "y")), backend="numpy"), gb.GraphError, "called nan")


def test_names_print_no_control_sequences() -> None:
    evil = "\x1b[2Jx"
    g = nx.DiGraph([(evil, "y", {"weight": 1.0})])
    network = gb.Network(g, backend="numpy")
    trace = network.trace([[1.0]], [[0.0]])
    for text in (str(trace), repr(trace.a), network.describe(), str(network.schedule)):
        assert "\x1b" not in text
    with pytest.raises(gb.UnknownNameError) as caught:
        network.bias("z")
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[2Jx" in str(caught.value)
    _raised(lambda: network.forward([[1.0, 2.0]]), gb.DataError, "\\x1b[2Jx")


# -- attributes that nearly are ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "value", "meant"),
    [
        ("activaton", "relu", "activation"),
        ("Activation", "relu", "activation"),
        ("activations", "relu", "activation"),
        ("acitvaton", "relu", "activation"),
        ("activation_function", "relu", "activation"),
        ("bais", 0.5, "bias"),
        ("BIAS", 0.5, "bias"),
        ("biases", [0.5], "bias"),
        ("unit", 3, "units"),
        ("untis", 3, "units"),
        ("roel", "output", "role"),
        ("trainble", False, "trainable"),
        ("Tie", "a", "tie"),
    ],
)
def test_a_slip_of_a_nodes_attribute_is_named(typed: str, value: Any, meant: str) -> None:
    graph = drawing(h={typed: value})
    _raised(lambda: gb.Network(graph, backend="numpy"), gb.GraphError, "node 'h'", repr(typed), repr(meant))


@pytest.mark.parametrize(
    ("typed", "value"), [("Weight", 2.0), ("wieght", 2.0), ("weights", 2.0), ("trainabel", False), ("ties", "a")]
)
def test_a_slip_of_an_edges_attribute_is_named(typed: str, value: Any) -> None:
    graph = drawing(edge={typed: value})
    _raised(lambda: gb.Network(graph, backend="numpy"), gb.GraphError, "edge 'x1' -> 'h'", repr(typed))


OTHERS = """
pos label color x y z width height shape layer subset size style penwidth title type time kind rank level class group name id
capacity flow cost length distance key dir arrowsize arrowhead fillcolor fontcolor fontname fontsize fixedsize community
partite bipartite value data state status start end timestamp tooltip URL href target source margin orientation peripheries
sides distortion headport constraint decorate minlen xlabel alpha visible hidden selected image comment root stylesheet
betweenness degree closeness pagerank clustering core demand enabled innovation fitness viz mod bits bins base basis rule
rope tile tier tip title trait train training trained activity active action eight freight unity limits description roll rate
ratio trial weight bias units_of _bias
""".split()  # noqa: SIM905  # a list of a hundred would fill the page


@pytest.mark.parametrize("value", [0.5, "kg", False, (1.0, 2.0)])
def test_other_peoples_attributes_are_kept(value: Any) -> None:
    nodes = {key: value for key in OTHERS if key not in ("bias", "unity")}
    on_edges = {key: value for key in OTHERS if key != "weight"}
    network = gb.Network(drawing(h=nodes, edge=on_edges), backend="numpy").to_networkx()
    assert nodes.items() <= network.nodes["h"].items()
    assert on_edges.items() <= network.edges["x1", "h"].items()


# -- hostile arguments, everywhere ------------------------------------------------------------------------------------------

HOSTILE: list[Any] = [
    None, "a", "", -1, 0, 2, np.nan, np.inf, [], [1, "b"], {}, object(), 1j, 10**400, 10**5000, -(10**5000), True, np.array([1j]),
    np.array(["x"]), np.array([None]), np.ma.masked, b"\x00", 1e308, (1, 2), len, np.array(3.0), "\ud800", "a\0b", np.zeros((2, 2, 2)),
    np.datetime64("2020"),
]  # fmt: skip

BATCH: dict[str, Any] = {"X": X, "T": T, "sample_weight": None}


def _open_block(**options: Any) -> None:
    with gb.config(**options):  # set for this block alone
        pass


def _public() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """What a user may call, with arguments that work; each is replaced by hostile ones in turn."""
    network = net()
    calls: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        name: (getattr(network, name), BATCH)
        for name in ("error", "gradient", "per_sample_gradient", "trace", "hessian", "outer_product_hessian", "hessian_diagonal")
    }
    bound = {
        "forward": {"X": X}, "jacobian": {"X": X, "sparse": False}, "weight_jacobian": {"X": X}, "vjp": {"X": X, "V": T},
        "jvp": {"X": X, "U": X}, "weight_vjp": {"X": X, "V": T}, "weight_jvp": {"X": X, "v": np.ones(6)},
        "hessian_blocks": {**BATCH, "kind": "exact"}, "hessian_estimate": {**BATCH, "n_probes": 2, "seed": 0},
        "numerical_gradient": {**BATCH, "method": "central"}, "outer_product_inverse": {**BATCH, "alpha": 1.0, "method": "auto"},
        "parameter_index": {"source": "x1", "destination": "h"}, "parameter_name": {"index": 0}, "bias": {"node": "h"},
        "weight": {"source": "x1", "destination": "h"}, "describe": {"n_samples": 3}, "to": {"backend": "numpy", "dtype": "float64"},
    }  # fmt: skip
    calls |= {name: (getattr(network, name), arguments) for name, arguments in bound.items()}
    outputs = {"output_activation": "identity", "error": None}
    drawn = {"bias": True, "seed": 0, "init": "he", **outputs}
    graphs = {"bias": None, "activation": "tanh", "names": None, "inputs": None, "outputs": None, **outputs}
    calls |= {
        "weights": (_assign, {"values": np.ones(6)}),
        "Network": (gb.Network, {"graph": drawing(), "error": "sum_of_squares", "backend": "numpy", "dtype": "float64"}),
        "layered": (gb.layered, {"sizes": [2, 1], "activation": "tanh", "skips": False, "units": "layers", **drawn}),
        "random_dag": (
            gb.random_dag,
            {"n_inputs": 2, "n_hidden": 3, "n_outputs": 1, "model": "small_world", "fan_in": 2, "window": 3, "rewire": 0.1}
            | {"activation": "tanh", **drawn},
        ),
        "random_dag, density": (gb.random_dag, {"n_inputs": 2, "n_hidden": 3, "n_outputs": 1, "density": 0.5}),
        "from_edges": (gb.from_edges, {"src": [0], "dst": [1], "weight": [1.0], "n_nodes": None, **graphs}),
        "from_edges, labels": (gb.from_edges, {"src": ["a"], "dst": ["b"], "weight": [1.0], "bias": {"b": 1.0}}),
        "from_adjacency": (gb.from_adjacency, {"matrix": [[0, 1], [0, 0]], **graphs}),
        "prune": (gb.prune, {"graph": network, "mask": None, "threshold": None}),
        "prune, mask": (lambda mask: gb.prune(drawing(), {("x1", "h"): mask}), {"mask": True}),
        "merge_parallel_edges": (gb.merge_parallel_edges, {"graph": nx.MultiDiGraph()}),
        "config": (_open_block, {"backend": "numpy", "dtype": "float64", "threads": 1, "memory": 0}),
        "config.get": (gb.config.get, {"name": "backend"}),
        "register_activation": (
            gb.register_activation,
            {"name": "sqr", "f": np.sin, "df": np.cos, "d2f": np.cos, "formula": "", "analytic": False, "kinks": (), "lower": -9.0}
            | {"upper": 9.0, "range": None},
        ),
        "register_error_function": (
            gb.register_error_function,
            {"name": "err", "value": np.minimum, "dy": np.minimum, "d2y": np.minimum, "formula": "", "targets": "real", "domain": (0, 1)},
        ),
        "train": (
            lambda **given: gb.train(net(), progress=False, **{"epochs": 1, **given}),
            BATCH | {"optimizer": "sgd", "seed": 0, "validation": None, "validation_split": 0.0, "patience": None, "metrics": None}
            | {"min_improvement": 0.0, "restore_best": None, "learning_rate": 0.1, "batch_size": 2, "l2": 0.0, "weight_decay": 0.0}
            | {"clip_norm": None, "momentum": 0.9, "nesterov": False},
        ),
        "train, adam": (
            lambda **given: gb.train(net(), X, T, optimizer="adam", epochs=1, progress=False, **given),
            {"beta1": 0.9, "beta2": 0.9, "epsilon": 1e-8},
        ),
        "laplace": (gb.laplace, {"net": network, **BATCH, "prior_precision": 1.0, "hessian": "outer_product", "noise": 1.0}),
        "trace of a node": (network.trace(X, T).a.__getitem__, {"node": "h"}),
        "trace.sample": (network.trace(X, T).sample, {"n": 0}),
    }  # fmt: skip
    posterior = gb.laplace(network, X, T, noise=1.0)
    calls["Posterior.sample"] = (posterior.sample, {"n": 2, "seed": 0})
    calls["Posterior.predict"] = (posterior.predict, {"X": X, "method": "probit", "n_samples": 2, "seed": 0})
    return calls


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", _public())
def test_whatever_comes_in_only_our_errors_come_out(name: str) -> None:
    function, arguments = _public()[name]
    for argument in arguments:
        for hostile in HOSTILE:
            with contextlib.suppress(gb.GraphbpError):
                function(**{**arguments, argument: hostile})
