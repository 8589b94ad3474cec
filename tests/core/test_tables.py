"""Tables as they come: pandas, polars, PyArrow, structured arrays; columns by name, values of every kind, labels."""

from __future__ import annotations

import datetime
import decimal
import pickle
import subprocess
import sys

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
nw = pytest.importorskip("narwhals")

COLUMNS = {"a": [1.0, 2.0, 3.0], "b": [10, 20, 30], "c": [True, False, True]}
X = np.array([[1.0, 10, 1], [2, 20, 0], [3, 30, 1]])
T = np.array([0.5, 1.5, 2.5])


def units(error="sum_of_squares", outputs=("y",), activation="identity"):
    """a, b, c -> h -> outputs, of unit nodes."""
    rng = np.random.default_rng(0)
    g = nx.DiGraph()
    g.add_nodes_from("abc")
    g.add_node("h", activation="tanh", bias=0.1)
    for name in outputs:
        g.add_node(name, activation=activation, bias=0.0)
        g.add_edge("h", name, weight=rng.normal())
    for name in "abc":
        g.add_edge(name, "h", weight=0.1 * rng.normal())
    return gb.Network(g, error=error, backend="numpy")


def structured(columns):
    records = np.zeros(3, [(name, np.asarray(values).dtype) for name, values in columns.items()])
    for name, values in columns.items():
        records[name] = values
    return records


KINDS = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
    "record batch": lambda columns: pa.RecordBatch.from_pydict(columns),
    "structured": structured,
    "dict": lambda columns: columns,
    "narwhals": lambda columns: nw.from_native(pl.DataFrame(columns)),
    "pyarrow in pandas": lambda columns: pd.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
    "nullable pandas": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "objects": lambda columns: pd.DataFrame(columns).astype(object),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["abc", "cab", "bca"])
def test_columns_are_matched_by_name_in_any_order(kind, order):
    net = units()
    frame = KINDS[kind]({name: COLUMNS[name] for name in order})
    assert np.array_equal(net.forward(frame), net.forward(X))
    assert np.array_equal(net.gradient(frame, T), net.gradient(X, T))
    assert np.array_equal(net.jacobian(frame), net.jacobian(X))


@pytest.mark.parametrize("call", ["train", "laplace", "check", "trace", "hessian", "numerical_gradient", "fit_scaling", "predict"])
def test_wherever_x_or_t_is_taken(call):
    frame, t = pd.DataFrame(COLUMNS)[["c", "a", "b"]], pd.DataFrame({"y": T})
    run = {
        "train": lambda net, x, t: gb.train(net, x, t, epochs=2, progress=False, validation=(x, t)) and net.weights,
        "laplace": lambda net, x, t: gb.laplace(net, x, t).predict(x).variance,
        "check": lambda net, x, t: str(net.check(x, t)),
        "trace": lambda net, x, t: net.trace(x, t).delta["h"],
        "hessian": lambda net, x, t: net.hessian(x, t),
        "numerical_gradient": lambda net, x, t: net.numerical_gradient(x, t),
        "fit_scaling": lambda net, x, t: (net.fit_scaling(x, t), net.forward(x))[1],
        "predict": lambda net, x, t: net.predict(x),
    }[call]
    assert np.array_equal(run(units(), frame, t), run(units(), X, T))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_column_and_a_surplus_one_are_refused_by_name(kind):
    net = units()
    with pytest.raises(gb.DataError, match="X has no column 'b', an input of the network"):
        net.forward(KINDS[kind]({"a": COLUMNS["a"], "c": COLUMNS["c"]}))
    with pytest.raises(gb.DataError, match=r"X has a column that no input reads: 'id'; select those that are: X\[net.columns\]"):
        net.forward(KINDS[kind]({"id": [7, 8, 9], **COLUMNS}))


def test_the_near_match_is_offered():
    with pytest.raises(gb.DataError, match=r"no column 'b'.*2 are missing: b, c"):
        units().forward(pd.DataFrame({"a": [1.0]}))
    g = nx.DiGraph([("sepal_length", "y", {"weight": 1.0}), ("petal", "y", {"weight": 1.0})])
    with pytest.raises(gb.DataError, match="there is 'sepal_lenght'"):
        gb.Network(g, backend="numpy").forward(pd.DataFrame({"petal": [1.0], "sepal_lenght": [2.0]}))


def test_the_output_is_known_in_a_table_and_no_input():
    frame = pd.DataFrame({**COLUMNS, "y": T})
    assert np.array_equal(units().forward(frame), units().forward(X))


def test_a_name_that_is_there_twice_is_refused():
    frame = pd.DataFrame(X, columns=["a", "b", "b"])
    with pytest.raises(gb.DataError, match="two columns called 'b'"):
        units().forward(frame)


def test_names_that_are_no_inputs_are_taken_by_position_and_said_once():
    net = units()
    frame = pd.DataFrame(X, columns=["p", "q", "r"])
    with pytest.warns(gb.DataWarning, match="'p' is a, 'q' is b, 'r' is c") as told:
        found = [net.forward(frame) for _ in range(2)]
    assert np.array_equal(found, [net.forward(X)] * 2)
    assert len(told) == 1
    assert told[0].filename == __file__
    with pytest.warns(gb.DataWarning, match="'r' is a"):  # other names are said again
        net.forward(frame[["r", "p", "q"]])
    with pytest.raises(gb.DataError, match=r"4 columns .*the network has 3 inputs, in this order: a, b, c"):
        net.forward(frame.assign(s=1.0))


def test_two_inputs_that_are_alike_as_text_do_not_share_a_column():
    net = gb.Network(nx.DiGraph([(1, "y", {"weight": 1.0}), ("1", "y", {"weight": 100.0})]), backend="numpy")
    with pytest.raises(gb.DataError, match="column '1' would be two inputs"):
        net.forward(pd.DataFrame({"1": [2.0], "z": [3.0]}))
    assert net.forward(np.array([[1.0, 2.0]])).item() == 201


def test_numbered_columns_are_no_names():
    assert np.array_equal(units().forward(pd.DataFrame(X)), units().forward(X))
    g = nx.DiGraph([(1, "y", {"weight": 1.0}), (0, "y", {"weight": 100.0})])
    assert gb.Network(g, backend="numpy").forward(pd.DataFrame([[1.0, 2.0]])).item() == 201  # the first column is the first input


def test_names_of_a_layer_are_kept_by_training_and_in_files(tmp_path):
    net = gb.Network(gb.layered([3, 2, 1]), backend="numpy")
    frame = pd.DataFrame(X, columns=["p", "q", "r"])
    with pytest.warns(gb.DataWarning, match="by position"):
        gb.train(net, frame, pd.Series(T, name="target"), optimizer="lbfgs", epochs=2, progress=False)
    net.save(tmp_path / "m.json")
    for again in (net, gb.load(tmp_path / "m.json", backend="numpy"), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(again.forward(frame[["r", "p", "q"]]), net.forward(X))
        assert np.array_equal(again.forward(frame.assign(target=T)), net.forward(X))
        assert np.array_equal(again.forward(frame.assign(other=0)[again.columns]), net.forward(X))
        with pytest.raises(gb.DataError, match="no column 'q'"):
            again.forward(frame.drop(columns="q"))


def test_units_of_a_layer_have_names():
    net = gb.Network(gb.layered([3, 1]), backend="numpy")
    frame = pd.DataFrame(X[:, ::-1], columns=["x_2", "x_1", "x_0"])
    assert np.array_equal(net.forward(frame), net.forward(X))
    assert np.array_equal(net.forward(frame.rename(columns=lambda name: name.replace("_", "[") + "]")), net.forward(X))


def test_several_targets_by_name():
    net = units(outputs=("u", "v"))
    t = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    frame = pl.DataFrame({"v": t[:, 1], "u": t[:, 0]})
    assert net.error(X, frame) == net.error(X, t)


NUMBERS = {
    "dummies": lambda: pd.get_dummies(pd.Series([0, 1, 2]), prefix="d"),
    "Int64": lambda: pd.DataFrame(np.eye(3, dtype=int)).astype("Int64"),
    "Float64": lambda: pd.DataFrame(np.eye(3)).astype("Float64"),
    "boolean": lambda: pd.DataFrame(np.eye(3, dtype=bool)).astype("boolean"),
    "categorical numbers": lambda: pd.DataFrame(np.eye(3)).astype("category"),
    "decimals": lambda: pd.DataFrame([[decimal.Decimal(int(v)) for v in row] for row in np.eye(3)]),
    "sparse": lambda: pd.DataFrame(np.eye(3)).astype(pd.SparseDtype("float", 0.0)),
    "mixed": lambda: pd.DataFrame({"p": [1, 0, 0], "q": [False, True, False], "r": [0.0, 0.0, 1.0]}),
    "values": lambda: pd.DataFrame({"p": [1, 0, 0], "q": [False, True, False], "r": [0.0, 0.0, 1.0]}).to_numpy(),
    "polars": lambda: pl.DataFrame({"p": [1, 0, 0], "q": [False, True, False], "r": [0.0, 0.0, 1.0]}),
    "arrow dictionary": lambda: pa.table(
        {"p": pa.array([1, 0, 0]).dictionary_encode(), "q": [False, True, False], "r": [0.0, 0, 1]}
    ),
    "float16": lambda: pd.DataFrame(np.eye(3, dtype=np.float16)),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.filterwarnings("ignore:no column:graphbp.DataWarning")
def test_numbers_are_taken_in_every_form(name):
    assert np.array_equal(units().forward(NUMBERS[name]()), units().forward(np.eye(3)))


BAD = {
    "text": (["x", "y", "z"], r"column 'b' holds text \('x' in row 0 \(index 'r0'\)\).*get_dummies"),
    "one word": ([1.0, "y", 2.0], r"column 'b' holds text \('y' in row 1 \(index 'r1'\)\)"),
    "nan": ([1.0, 2.0, np.nan], r"column 'b' is missing in row 2 \(index 'r2'\); drop such rows \(X.dropna\(\)\)"),
    "none": ([1.0, None, 2.0], r"column 'b' is missing in row 1"),
    "NA": (pd.array([1, None, 2], "Int64"), r"column 'b' is missing in row 1"),
    "boolean NA": (pd.array([True, None, False], "boolean"), r"column 'b' is missing in row 1"),
    "category NA": (pd.Categorical([1, None, 2]), r"column 'b' is missing in row 1"),
    "category": (pd.Categorical(["u", "v", "u"]), r"column 'b' holds text \('u' in row 0"),
    "infinite": ([1.0, np.inf, 2.0], r"column 'b' is inf in row 1"),
    "dates": (pd.date_range("2020-01-01", periods=3), r"column 'b' holds dates or times .*days since"),
    "timedelta": (pd.to_timedelta([1, 2, 3], "D"), r"column 'b' holds dates or times"),
    "date objects": ([datetime.date(2020, 1, 1)] * 3, r"column 'b' holds dates or times"),
    "complex": ([1j, 2j, 3j], r"column 'b' holds a complex"),
    "lists": ([[1], [2], [3]], r"column 'b' holds a list in row 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_number_is_refused_by_column_and_row(name):
    values, says = BAD[name]
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": values, "c": [1, 2, 3]})
    frame.index = ["r0", "r1", "r2"]
    with pytest.raises(gb.DataError, match=says):
        units().forward(frame)


@pytest.mark.parametrize("frame", [
    pl.DataFrame({"a": [1.0, 2.0], "b": [1, None], "c": [0, 1]}),
    pa.table({"a": [1.0, 2.0], "b": [1, None], "c": [0, 1]}),
    pl.DataFrame({"a": [1.0, 2.0], "b": [1.0, float("nan")], "c": [0, 1]}),
    np.ma.array([(1.0, 1, 0), (2.0, 2, 1)], mask=[(0, 0, 0), (0, 1, 0)], dtype=[("a", float), ("b", int), ("c", int)]),
], ids=["polars", "pyarrow", "polars nan", "masked records"])  # fmt: skip
def test_missing_values_of_other_tables(frame):
    with pytest.raises(gb.DataError, match="column 'b' is missing in row 1"):
        units().forward(frame)


def test_lazy_frames_and_text_elsewhere():
    with pytest.raises(gb.DataError, match=r"X.collect\(\)"):
        units().forward(pl.DataFrame(COLUMNS).lazy())
    with pytest.raises(gb.DataError, match=r"column 1 holds text \('x' in row 0"):
        units().forward([[1.0, "x", 2.0]])
    with pytest.raises(gb.DataError, match=r"column 'b' holds text .'u' in row 1"):
        units().forward({**COLUMNS, "b": [1.0, "u", 2.0]})
    with pytest.raises(gb.DataError, match=r"column 'b' has shape \(2,\)"):
        units().forward({**COLUMNS, "b": [1.0, 2.0]})
    with pytest.raises(gb.DataError, match="column 1 is missing in row 0"):
        units().forward([[1.0, None, 2.0]])
    with pytest.raises(gb.DataError, match="masked"):
        units().forward(np.ma.masked_less(X, 1.5))


def test_a_row_that_is_a_series_is_told_the_way():
    with pytest.raises(gb.DataError, match=r"X is a Series.*X.to_frame\(\).T"):
        units().forward(pd.DataFrame(COLUMNS).iloc[0])
    assert units().forward(pd.DataFrame(COLUMNS).iloc[0].to_frame().T).shape == (1, 1)


def test_whole_numbers_beyond_64_bits():
    frame = pd.DataFrame({"a": [10**30, 1], "b": [1, 2], "c": [1, 2]})
    assert np.array_equal(units().forward(frame), units().forward(frame.to_numpy(float)))
    with pytest.raises(gb.DataError, match="column 'a' holds a number too large"):
        units().forward(frame.assign(a=[10**400, 1]))


# -- labels --------------------------------------------------------------------------------------------------------------------

WORDS = np.array(["b", "c", "a"])


def softmax(layer=True):
    if layer:
        return gb.Network(gb.layered([3, 3], output_activation="softmax"), error="cross_entropy", backend="numpy")
    return units("cross_entropy", ("u", "v", "w"), "softmax")


LABELS = {
    "array": lambda: WORDS,
    "objects": lambda: WORDS.astype(object),
    "list": WORDS.tolist,
    "column": lambda: WORDS[:, None],
    "series": lambda: pd.Series(WORDS),
    "frame": lambda: pd.DataFrame({"kind": WORDS}),
    "categorical": lambda: pd.Series(WORDS, dtype="category"),
    "string": lambda: pd.Series(WORDS, dtype="string"),
    "polars": lambda: pl.Series("kind", WORDS.tolist()),
    "polars categorical": lambda: pl.Series("kind", WORDS.tolist(), dtype=pl.Categorical),
    "arrow": lambda: pa.array(WORDS.tolist()),
}


@pytest.mark.parametrize("layer", [True, False])
@pytest.mark.parametrize("kind", LABELS)
def test_labels_map_to_classes_that_training_keeps(kind, layer, tmp_path):
    net, T = softmax(layer), LABELS[kind]()
    with pytest.raises(gb.DataError, match=r"the network has no classes: gb.train"):
        net.error(X, T)
    assert net.classes is None
    gb.train(net, X, T, optimizer="lbfgs", epochs=3, progress=False)
    assert net.classes == ("a", "b", "c")
    assert net.error(X, T) == net.error(X, [1, 2, 0])
    assert net.error(X[:1], LABELS[kind]()[:1]) == net.error(X[:1], [1])  # one class only: not renumbered
    net.save(tmp_path / "m.json")
    again = gb.load(tmp_path / "m.json", backend="numpy")
    assert again.classes == net.classes
    assert again.predict(X).tolist() == np.array(net.classes)[net.forward(X).argmax(axis=1)].tolist()


@pytest.mark.parametrize(("categories", "classes"), [
    (["c", "b", "a"], ("c", "b", "a")),
    (["z", "c", "b", "a"], ("c", "b", "a")),
])  # fmt: skip
def test_categories_keep_their_order_and_those_not_in_use_are_left_out(categories, classes):
    net = softmax()
    net.fit_scaling(X, pd.Series(pd.Categorical(WORDS, categories=categories)))
    assert net.classes == classes


def test_one_hot_columns_name_their_classes():
    net, dummies = softmax(), pd.get_dummies(pd.Series(WORDS))
    gb.train(net, X, dummies, epochs=1, progress=False)
    assert net.classes == ("a", "b", "c")
    assert net.error(X, dummies[["c", "a", "b"]]) == net.error(X, WORDS) == net.error(X, [1, 2, 0])


def test_an_unknown_label_names_row_label_and_classes():
    net = softmax()
    net.fit_scaling(X, WORDS)
    with pytest.raises(gb.DataError, match=r"row 1 \(index 'q'\) is 'z', which is not one of the network's classes: 'a', 'b', 'c'"):
        net.error(X[:2], pd.Series(["a", "z"], index=["p", "q"]))


@pytest.mark.parametrize(("index", "says"), [
    (pd.RangeIndex(2), "row 1 is"),
    (pd.RangeIndex(7, 9), r"row 1 \(index 8\) is"),
    (pd.RangeIndex(1, 3), r"row 1 \(index 2\) is"),
    (pd.RangeIndex(0, 4, 2), r"row 1 \(index 2\) is"),
    (pd.RangeIndex(0, -2, -1), r"row 1 \(index -1\) is"),
])  # fmt: skip
def test_a_row_is_named_by_its_index_where_that_is_not_its_position(index, says):
    net = softmax()
    net.fit_scaling(X, WORDS)
    with pytest.raises(gb.DataError, match=f"{says} 'z'"):
        net.error(X[:2], pd.Series(["a", "z"], index=index))


@pytest.mark.filterwarnings("ignore::graphbp.DataWarning")
@pytest.mark.parametrize(("labels", "says"), [
    (["a", "b", "a"], "T holds 2 classes .'a', 'b'. and the network tells 3 apart"),
    (["a", None, "b"], "missing in row 1"),
    (["a", 3, "b"], "several types"),
])  # fmt: skip
def test_labels_that_cannot_be_classes_leave_the_network_as_it_was(labels, says):
    net = softmax()
    before = net.weights.copy()
    with pytest.raises(gb.DataError, match=says):
        gb.train(net, pd.DataFrame(X, columns=["p", "q", "r"]), labels, progress=False)
    assert net.classes is None
    assert not net.model.meaning.scaling
    assert np.array_equal(before, net.weights)
    with pytest.raises(gb.DataError, match=r"holds text \('a' in row 0\).*cross_entropy takes labels"):
        units().error(X, ["a", "b", "c"])


def test_whole_numbers_are_positions_unless_the_classes_are_numbers():
    net = softmax()
    gb.train(net, X, [2, 0, 1], epochs=1, progress=False)
    assert net.classes is None
    assert net.predict(X).dtype.kind == "i"
    g = net.to_networkx()
    g.nodes[net.outputs[0]]["classes"] = [8, 3, 5]
    digits = gb.Network(g, error="cross_entropy", backend="numpy")
    assert digits.error(X, [5, 8, 3]) == net.error(X, [2, 0, 1])
    assert set(digits.predict(X)) <= {8, 3, 5}
    with pytest.raises(gb.DataError, match="row 0 is 0, which is not one of the network's classes: 8, 3, 5"):
        digits.error(X, [0, 1, 2])


def test_booleans_are_zero_and_one_without_classes():
    net = gb.Network(gb.layered([3, 2], output_activation="softmax"), error="cross_entropy", backend="numpy")
    assert net.error(X, [True, False, True]) == net.error(X, pd.Series([True, False, True])) == net.error(X, [1, 0, 1])


@pytest.mark.parametrize(("labels", "classes"), [
    (["no", "yes", "yes"], ("no", "yes")),
    ([False, True, True], (False, True)),
    (pd.Series([False, True, True], dtype="boolean"), (False, True)),
    (np.array([False, True, True]), (False, True)),
])  # fmt: skip
def test_one_probability_has_two_classes(labels, classes):
    net = units("binary_cross_entropy", activation="sigmoid")
    gb.train(net, X, labels, optimizer="lbfgs", epochs=50, l2=1e-3, progress=False)
    assert net.classes == classes
    assert net.error(X, labels) == net.error(X, [0.0, 1.0, 1.0])
    assert net.predict(X).tolist() == [classes[int(y > 0.5)] for y in net.forward(X)[:, 0]]


@pytest.mark.parametrize("missing", ["refuse", "skip"])
def test_true_is_no_class_that_has_another_name(missing):
    labels = np.array(["benign", "malignant", "benign"])
    g = gb.layered([X.shape[1], 1], error="binary_cross_entropy", seed=0)
    net = gb.Network(g, error="binary_cross_entropy", missing=missing, backend="numpy")
    gb.train(net, X, pd.Series(labels, name="y"), epochs=1, progress=False)
    for T in (
        labels == "benign",
        (labels == "benign").tolist(),
        pd.Series(labels == "benign", name="y"),
        {"y": labels == "benign"},
    ):
        with pytest.raises(gb.DataError, match=r"row 0 is True, which is not one of the network's classes: 'benign', 'malignant'"):
            net.error(X, T)
    assert net.error(X, [0, 1, 0]) == net.error(X, pd.Series(labels, name="y"))  # whole numbers are positions


def test_predict_of_a_regression_and_in_frames():
    net = units()
    assert np.array_equal(net.predict(X), net.forward(X))
    frame = pd.DataFrame(COLUMNS, index=["p", "q", "r"])
    back = net.predict(frame, as_frame=True)
    assert list(back.columns) == ["y"]
    assert list(back.index) == ["p", "q", "r"]
    assert net.predict(pl.DataFrame(COLUMNS), as_frame=True)["y"].to_list() == net.forward(X)[:, 0].tolist()
    with pytest.raises(gb.DataError, match="X is a ndarray"):
        net.predict(X, as_frame=True)
    labelled = softmax(layer=False)
    labelled.fit_scaling(frame, WORDS)
    assert labelled.predict(frame, as_frame=True)["class"].tolist() == labelled.predict(X).tolist()


def test_masked_and_ragged_labels_are_refused():
    net = softmax()
    for T in (np.ma.array(WORDS.astype(object), mask=[0, 1, 0]), np.ma.array([0, 1, 2], mask=[0, 1, 0]), [[0], [1, 2], [0]]):
        with pytest.raises(gb.DataError, match=r"missing in row 1|masked|could not be read"):
            net.error(X, T)
        with pytest.raises(gb.DataError, match=r"missing in row 1|masked|could not be read"):
            gb.train(net, X, T, progress=False)


@pytest.mark.parametrize(("classes", "says"), [
    (["a", "b"], "one for each of its 3 units"),
    (["a", "b", "a"], "two outputs have the class 'a'"),
    ([["a"], ["b"], ["c"]], "text, a number or a boolean"),
])  # fmt: skip
def test_wrong_classes_are_refused_by_node(classes, says):
    g = gb.layered([3, 3], output_activation="softmax")
    g.nodes["y"]["classes"] = classes
    with pytest.raises(gb.GraphError, match=says):
        gb.Network(g, error="cross_entropy", backend="numpy")


def test_no_table_library_is_imported():
    code = "import sys, graphbp as gb; gb.train; assert not {'pandas', 'polars', 'pyarrow', 'narwhals'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
