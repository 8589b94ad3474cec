"""Targets of many heads: arrays, dicts, frames, labels; what is missing, and what is refused by name."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.exceptions import DataError, DataWarning
from helpers.heads import ERRORS, four_heads, targets


@pytest.fixture(scope="module")
def net():
    return gb.Network(four_heads(np.random.default_rng(0)), error=ERRORS, missing="skip", backend="numpy")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    return rng.normal(size=(9, 3)), targets(rng, 9)


def as_array(T):
    kind = np.full((len(T["kind"]), 3), np.nan)
    there = ~np.isnan(T["kind"])
    kind[there] = np.eye(3)[T["kind"][there].astype(int)]
    return np.column_stack([T["price"], kind, T["count"], T["flag"]])


def named(T, names=("cat", "dog", "emu")):
    labels = [None if np.isnan(k) else names[int(k)] for k in T["kind"]]
    flags = [None if np.isnan(k) else bool(k) for k in T["flag"]]
    return {**T, "kind": labels, "flag": flags}


def with_classes(net):
    graph = net.to_networkx()
    graph.nodes["kind"]["classes"] = ["cat", "dog", "emu"]
    return gb.Network(graph, missing="skip", backend="numpy")


def test_an_array_a_dict_and_a_frame_are_one(net, data):
    X, T = data
    whole = as_array(T)
    expected = net.error(X, whole)
    assert net.error(X, T) == expected
    assert net.error(X, {**T, "kind": whole[:, 1:4]}) == expected
    spread = {"price": T["price"], **{f"kind_{k}": whole[:, 1 + k] for k in range(3)}, "count": T["count"], "flag": T["flag"]}
    assert net.error(X, spread) == expected
    assert net.error(X, whole.tolist()) == expected
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = pandas.DataFrame(T)
    assert net.error(X, frame[["flag", "kind", "count", "price"]]) == expected
    assert net.error(X, frame.convert_dtypes()) == expected
    assert net.error(X, polars.DataFrame(T)) == expected


def test_labels_are_classes_of_their_head(net, data):
    X, T = data
    told = with_classes(net)
    assert told.error(X, named(T)) == net.error(X, T)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(named(T))
    assert told.error(X, frame) == net.error(X, T)
    assert told.error(X, frame.astype({"kind": "category"})) == net.error(X, T)
    with pytest.raises(DataError, match=r"T: column 'kind' row \d is 'ant', which is not one"):
        told.error(X, named(T, ("cat", "ant", "emu")))
    with pytest.raises(DataError, match="output 'kind' has no classes"):
        net.error(X, named(T))


def test_labels_of_a_single_softmax_may_be_missing():
    g = nx.DiGraph()
    g.add_node("x", units=2, role="input")
    g.add_node("y", units=3, role="output", activation="softmax", classes=["a", "b", "c"])
    g.add_edge("x", "y", weight=np.eye(3)[:, :2])
    net = gb.Network(g, error="cross_entropy", missing="skip", backend="numpy")
    X = np.eye(4)[:, :2]
    expected = net.error(X[[0, 2, 3]], [0, 2, 1])
    assert net.error(X, [0.0, np.nan, 2.0, 1.0]) == pytest.approx(expected, rel=1e-15)
    assert net.error(X, ["a", None, "c", "b"]) == pytest.approx(expected, rel=1e-15)
    assert net.error(X, {"y": ["a", None, "c", "b"]}) == pytest.approx(expected, rel=1e-15)


def test_unit_nodes_of_a_softmax_read_labels_too():
    g = nx.DiGraph()
    for k, label in zip("abc", ("one", "two", "three"), strict=True):
        g.add_edge("x", k, weight=float(ord(k) - 97))
        g.nodes[k].update(activation="softmax", classes=label)
    net = gb.Network(g, error="cross_entropy", missing="skip", backend="numpy")
    X = [[0.1], [0.2], [0.3]]
    assert net.error(X, ["one", None, "three"]) == pytest.approx(net.error([[0.1], [0.3]], [0, 2]))
    assert list(net.predict(X)) == ["three"] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda T: {k: v for k, v in T.items() if k != "count"}, "no column for output count"),
        (lambda T: {**T, "prize": T["price"]}, "a column that no output reads: 'prize'"),
        (lambda T: {**T, "flag": T["flag"] + 2}, r"\('flag'\) is .*binary_cross_entropy.* from 0 to 1"),
        (lambda T: {**T, "count": T["count"] - 9}, r"\('count'\) is .*poisson.* 0 or more"),
        (lambda T: {**T, "kind": T["kind"] + 1}, "label 3; there are 3 classes"),
        (lambda T: {**T, "price": T["price"] * np.inf}, "'price' is -?inf"),
        (lambda T: as_array(T)[:, :5], r"T has shape \(9, 5\).*must be \(9, 6\)"),
        (lambda T: {**T, "kind": np.where(np.eye(9, 3), np.nan, as_array(T)[:, 1:4])}, "lacks some of the classes of 'kind'"),
    ],
)
def test_what_no_head_can_take_is_named(net, data, change, said):
    X, T = data
    with pytest.raises(DataError, match=said), np.errstate(invalid="ignore"):
        net.error(X, change({k: np.array(v) for k, v in T.items()}))


def test_missing_targets_are_refused_unless_asked_for(net, data):
    X, T = data
    strict = gb.Network(net.to_networkx(), backend="numpy")
    with pytest.raises(DataError, match=r"T: column 'price' is missing in row 5; .*missing=\"skip\""):
        strict.error(X, T)
    with pytest.raises(DataError, match=r"row \d, column \d \(.*\) is nan; .*missing=\"skip\""):
        strict.error(X, net.model.meaning.read_targets(T))
    strict.missing = "skip"
    assert strict.error(X, T) == net.error(X, T)


@pytest.mark.parametrize(
    ("s", "said"),
    [
        (np.ones((9, 5)), r"sample_weight has shape \(9, 5\).*\(9,\) or \(9, 6\)"),
        (np.ones((8, 6)), r"sample_weight has shape \(8, 6\)"),
        (-np.ones((9, 6)), "row 0, column 0 .*weights are finite and 0 or more"),
        (np.arange(54.0).reshape(9, 6), "different weights for the classes of 'kind'"),
        (np.ones(8), r"sample_weight has shape \(8,\)"),
    ],
)
def test_weights_of_another_shape_are_named(net, data, s, said):
    with pytest.raises(DataError, match=said):
        net.error(*data, s)


def test_an_output_without_a_target_is_said_once(data):
    X, T = data
    fresh = gb.Network(four_heads(np.random.default_rng(0)), error=ERRORS, missing="skip", backend="numpy")
    gone = {**T, "count": np.full(9, np.nan)}
    with pytest.warns(DataWarning, match="no target for 'count'"):
        fresh.error(X, gone)
    fresh.error(X, gone)  # warnings are errors here


def test_predictions_go_head_by_head(net, data):
    X, _T = data
    told = with_classes(net)
    found = told.predict(X)
    y = told.forward(X)
    assert np.array_equal(found["price"], y[:, 0])
    assert np.array_equal(found["flag"], y[:, 5] > 0.5)
    assert list(found["kind"]) == [("cat", "dog", "emu")[k] for k in y[:, 1:4].argmax(axis=1)]
    pandas = pytest.importorskip("pandas")
    frame = told.predict(pandas.DataFrame(X, columns=list(told.columns)), as_frame=True)
    assert list(frame) == ["price", "kind", "count", "flag"]
