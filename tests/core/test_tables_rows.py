"""Rows, targets and surplus columns: what stands in another order is found by its name, or refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import graphbp as gb

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

X = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [5.0, 1.0, 2.0, 7.0]}, index=pd.Index(["p", "q", "r", "s"], name="plant"))
T = pd.DataFrame({"weight": [10.0, 20.0, 25.0, 31.0], "waist": [0.3, 0.1, 0.5, 0.2]}, index=X.index)
LABELS = pd.Series(["no", "yes", "maybe", "no"], index=X.index)


def network(outputs=2, error="sum_of_squares"):
    g = gb.layered([2, 3, outputs], error=error, seed=1)
    g.nodes["x"]["columns"] = ["a", "b"]
    return gb.Network(g, error=error, backend="numpy")


def trained(T, error="sum_of_squares", outputs=2):
    net = network(outputs, error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gb.DataWarning)  # T is taken by position
        gb.train(net, X, T, standardize=True, epochs=3, progress=False)
    return net


@pytest.mark.parametrize("kind", [lambda t: t, pl.from_pandas, pa.Table.from_pandas, lambda t: t.to_records(index=False)])
def test_targets_are_found_by_the_names_that_were_trained_on(kind, tmp_path):
    net = trained(T)
    other = kind(T.reset_index(drop=True)[["waist", "weight"]])
    net.save(tmp_path / "net.json")
    for each in (net, gb.load(tmp_path / "net.json")):
        assert each.error(X.to_numpy(), other) == each.error(X.to_numpy(), T.to_numpy())
    with pytest.raises(gb.DataError, match=r"T has no column 'waist', an output of the network"):
        net.error(X, T[["weight"]].assign(other=1.0))


def test_targets_matched_by_the_outputs_names_are_kept_in_the_outputs_order():
    g = gb.layered([2, 2], seed=1, units="units")
    net = gb.Network(g, backend="numpy")
    y1, y2 = net.outputs
    gb.train(net, X.to_numpy(), pd.DataFrame({y2: T.waist.to_numpy(), y1: T.weight.to_numpy()}), epochs=1, progress=False)
    assert net.error(X.to_numpy(), {y2: T.waist, y1: T.weight}) == net.error(X.to_numpy(), T.to_numpy())


@pytest.mark.parametrize("call", ["error", "train", "fit_scaling", "laplace", "sample_weight"])
def test_rows_in_another_order_are_refused(call):
    net, shuffled = trained(T), T.loc[["q", "p", "s", "r"]]
    with pytest.raises(gb.DataError, match=r"the rows of X in another order: row 0 is 'p' in X and 'q' in .*loc.X.index"):
        {
            "error": lambda: net.error(X, shuffled),
            "train": lambda: gb.train(net, X, shuffled, epochs=1, progress=False),
            "fit_scaling": lambda: net.fit_scaling(X, shuffled),
            "laplace": lambda: gb.laplace(net, X, shuffled),
            "sample_weight": lambda: net.error(X, T, pd.Series([1.0, 2, 3, 4], index=shuffled.index)),
        }[call]()


def test_another_index_or_the_same_one_is_no_order():
    net = trained(T)
    expected = net.error(X, T)
    assert net.error(X, T.reset_index(drop=True)) == net.error(X.reset_index(drop=True), T) == expected
    twice = X.set_axis([0, 0, 1, 1], axis=0)
    assert net.error(twice, T.set_axis([0, 1, 0, 1], axis=0)) == expected


def test_a_flag_leaves_surplus_columns_out_and_says_so_once():
    net = trained(T)
    wide = X.assign(z=1.0)[["z", "b", "a"]]
    with pytest.raises(gb.DataError, match=r"no input reads: 'z'.*ignore_extra=True"):
        net.forward(wide)
    with gb.config(ignore_extra=True):
        with pytest.warns(gb.DataWarning, match=r"X: left out, since no input reads them: 'z'"):
            answers = net.forward(wide)
        assert np.array_equal(net.predict(wide), answers)  # said once: warnings are errors
        with pytest.warns(gb.DataWarning, match=r"T: left out"):
            assert net.error(X, T.assign(note=2.0)) == net.error(X, T)
    assert np.array_equal(answers, net.forward(X))


@pytest.mark.parametrize("value", ["maybe", 2, None, 0.5])
def test_the_flag_is_true_or_false(value):
    with pytest.raises(gb.ConfigError, match=r"ignore_extra=.* must be True or False"):
        gb.config(ignore_extra=value)


def test_booleans_are_none_of_several_named_classes():
    net = trained(LABELS, "cross_entropy", 3)
    for labels in ([True, False, True, False], pd.Series([True, False, True, False]), pa.array([True, False, True, False])):
        with pytest.raises(gb.DataError, match=r"row 0 is True, which is not one of the network's classes: 'maybe', 'no', 'yes'"):
            net.error(X, labels)


@pytest.mark.parametrize(
    "labels", [pa.array([True] * 4), pd.Series([True] * 4, dtype=object), pd.Series([True] * 4, dtype="boolean")]
)
def test_booleans_of_every_kind_are_two_classes_where_one_is_missing(labels):
    assert trained(labels, "binary_cross_entropy", 1).classes == (False, True)


@pytest.mark.parametrize("kind", [np.float64, np.float32, "Float64", "double[pyarrow]"])
def test_whole_numbers_that_became_floats_are_labels(kind):
    numbers = pd.Series([0, 1, 2, 0])
    assert np.array_equal(trained(numbers.astype(kind), "cross_entropy", 3).weights, trained(numbers, "cross_entropy", 3).weights)
    with pytest.raises(gb.DataError, match=r"integer class labels"):
        network(3, "cross_entropy").error(X, [0.5, 1.0, 2.0, 0.0])


def test_an_enum_of_polars_keeps_its_order():
    kinds = pl.Series(LABELS.tolist(), dtype=pl.Enum(["yes", "no", "maybe"]))
    assert trained(kinds, "cross_entropy", 3).classes == ("yes", "no", "maybe")


@pytest.mark.parametrize("kind", [pa.Table.from_pandas, pa.RecordBatch.from_pandas, lambda t: t.to_records(index=False), dict])
def test_other_tables_come_back_as_such(kind):
    regression, classifier = trained(T), trained(LABELS, "cross_entropy", 3)
    came = kind(X.reset_index(drop=True))
    back = regression.predict(came, as_frame=True)
    assert type(back) is (np.ndarray if isinstance(came, np.ndarray) else type(came))
    assert np.array_equal(np.asarray(back["waist"]), regression.forward(X)[:, 1])
    assert np.asarray(classifier.predict(came, as_frame=True)["class"]).tolist() == classifier.predict(X).tolist()


def test_a_frame_is_called_like_the_targets_and_keeps_its_index():
    back = trained(T).predict(X, as_frame=True)
    assert list(back.columns) == ["weight", "waist"]
    assert back.index.equals(X.index)


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [("5.1", r"\.astype\(float\)"), ("5,1", "decimal=','"), ("red", "get_dummies"), ("2020-01-31", "days since a first date")],
)
def test_text_has_the_remedy_that_fits(cell, remedy):
    with pytest.raises(gb.DataError, match=rf"column 'b' holds .*{cell}.* in row 2 \(index 'r'\).*{remedy}"):
        network().forward(X.astype(object).assign(b=[1.0, 2.0, cell, 3.0]))
