"""From a raw CSV to answers, in the shell and in Python beside it: the same numbers."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sysconfig
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import graphbp as gb
from graphbp.cli import main

pd = pytest.importorskip("pandas")
datasets = pytest.importorskip("sklearn.datasets")

CLASSES = {"iris": (4, 3), "wine": (13, 3), "breast_cancer": (30, 2)}


def table(name):
    """(data with the target's names, the target's column) as scikit-learn ships it, unscaled."""
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(as_frame=True, **options)
    frame = bunch.data.copy()
    frame["kind"] = bunch.target if name == "diabetes" else np.asarray(bunch.target_names)[bunch.target]
    return frame


def installed(*arguments):
    """The installed command."""
    program = shutil.which("graphbp", path=sysconfig.get_path("scripts")) or shutil.which("graphbp")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done


def graphbp(*arguments, code=0):
    """The same in this process, which has imported everything."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        found = main(arguments)
    assert found == code, err.getvalue()
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHBP_BACKEND", "numpy")


def classifier(name):
    d, k = CLASSES[name]
    head = {"output_activation": "softmax"} if k > 2 else {"output_activation": "sigmoid"}
    error = "cross_entropy" if k > 2 else "binary_cross_entropy"
    return gb.Network(gb.layered([d, 6, k if k > 2 else 1], **head), error=error)


@pytest.mark.filterwarnings("ignore:no column:graphbp.DataWarning")
@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", CLASSES)
def test_a_classifier_of_raw_columns_answers_raw_columns_everywhere(name):
    frame = table(name)
    frame.to_csv("d.csv", index=False)
    classifier(name).save("net.json")
    train = ["train", "net.json", "d.csv", "--target", "kind", "--standardize", "--optimizer", "lbfgs", "--epochs", "60"]
    done = installed(*train, "--set", "l2=0.001", "-o", "m.json")
    assert "taken by position" in done.stderr
    net = gb.load("m.json")
    assert net.classes == tuple(sorted(set(frame["kind"])))
    accuracy = np.mean(net.predict(frame) == frame["kind"].to_numpy())
    assert accuracy > 0.97
    assert f"accuracy {accuracy:.4f}" in done.stdout
    mixed = frame[frame.columns[::-1]]
    mixed.to_csv("mixed.csv", index=False)
    for file, x in (("d.csv", frame), ("mixed.csv", mixed)):
        graphbp("forward", "m.json", file, "-o", "Y.npy")
        assert np.array_equal(np.load("Y.npy"), net.forward(x))
    assert graphbp("check", "m.json", "d.csv", "--rows", "5").stdout.rstrip().endswith("all derivatives agree")
    graphbp("jacobian", "m.json", "mixed.csv", "-o", "J.npy")
    step = frame.drop(columns="kind")
    step = step.assign(**{step.columns[0]: step.iloc[:, 0] + 1e-5})
    by_first = (net.forward(step) - net.forward(frame)) / 1e-5
    assert np.abs(np.load("J.npy")[:, :, 0] - by_first).max() < 1e-4

    same = classifier(name)
    gb.train(
        same, frame.drop(columns="kind"), frame["kind"], standardize=True, optimizer="lbfgs", epochs=60, l2=1e-3, progress=False
    )
    assert np.array_equal(same.weights, net.weights)
    assert np.array_equal(same.forward(frame), net.forward(frame))


@pytest.mark.filterwarnings("ignore:no column:graphbp.DataWarning")
def test_a_regression_of_raw_targets_reaches_least_squares():
    frame = table("diabetes")
    frame.to_csv("d.csv", index=False)
    gb.Network(gb.layered([10, 8, 1])).save("net.json")
    done = graphbp("train", "net.json", "d.csv", "--target", "kind", "--standardize", "--epochs", "200", "-o", "m.json")
    net, t = gb.load("m.json"), frame["kind"].to_numpy()
    design = np.column_stack([frame.drop(columns="kind"), np.ones(len(frame))])
    residuals = t - design @ np.linalg.lstsq(design, t)[0]
    mean_error = 0.5 * np.mean((net.forward(frame)[:, 0] - t) ** 2)
    assert mean_error < 0.5 * np.mean(residuals**2)
    assert f"root mean square error {np.sqrt(2 * mean_error):.6g}" in done.stdout
    linear = gb.Network(gb.layered([10, 1]))
    gb.train(linear, frame.drop(columns="kind"), t, standardize=True, optimizer="levenberg_marquardt", progress=False)
    np.testing.assert_allclose(t - linear.forward(frame.drop(columns="kind"))[:, 0], residuals, atol=1e-6)
    noise = gb.laplace(linear, frame.drop(columns="kind"), t).noise
    assert abs(noise / np.sqrt(np.mean(residuals**2)) - 1) < 0.05


def test_an_index_or_another_table_is_refused():
    frame = table("iris")
    frame.to_csv("index.csv")
    classifier("iris").save("net.json")
    said = graphbp("train", "net.json", "index.csv", "--target", "kind", "-o", "m.json", code=2).stderr
    assert "the index that to_csv wrote" in said
    assert "30 columns" in graphbp("forward", "net.json", "sklearn:breast_cancer", code=2).stderr
    assert not Path("m.json").exists()


def test_raw_columns_get_one_line_before_the_first_epoch():
    table("wine").to_csv("d.csv", index=False)
    classifier("wine").save("net.json")
    said = graphbp("train", "net.json", "d.csv", "--target", "kind", "--epochs", "1", "-o", "m.json").stderr
    assert "columns of X differ by 3 orders of magnitude ('proline' reaches" in said
    assert "standardize" in said


def test_one_class_only_is_not_renumbered():
    frame = table("iris")
    frame.to_csv("d.csv", index=False)
    frame[frame["kind"] == "virginica"].to_csv("one.csv", index=False)
    classifier("iris").save("net.json")
    graphbp("train", "net.json", "d.csv", "--target", "kind", "--standardize", "--epochs", "5", "-o", "m.json")
    assert "virginica = 2" in graphbp("train", "m.json", "one.csv", "--epochs", "1", "-o", "again.json").stderr
    net, X = gb.load("m.json"), frame[frame["kind"] == "virginica"]
    assert net.error(X, X["kind"]) == net.error(X, [2] * len(X))


def test_a_file_of_the_first_versions_means_what_it_meant():
    """Means, deviations and classes in the metadata."""
    frame = table("iris")
    X = frame.drop(columns="kind").to_numpy()
    plain = classifier("iris")
    told = {"mean": X.mean(axis=0).tolist(), "deviation": X.std(axis=0).tolist()}
    plain.save("old.json", metadata={"standardize": told, "classes": ["setosa", "versicolor", "virginica"], "about": "mine"})
    net = gb.load("old.json")
    assert np.array_equal(net.forward(X), plain.forward((X - X.mean(axis=0)) / X.std(axis=0)))
    assert net.classes == ("setosa", "versicolor", "virginica")
    graphbp("convert", "old.json", "new.json")
    assert json.loads(Path("new.json").read_text())["metadata"].keys() == {"error", "dtype", "about"}
    assert np.array_equal(gb.load("new.json").forward(X), net.forward(X))


@pytest.mark.parametrize("format", ["wann", "neat", "nnet"])
def test_exports_answer_raw_columns(format):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)) * [100, 1e-3, 5] + [1000, 0, -7]
    T = 300 + 20 * rng.normal(size=50)
    g = gb.layered([3, 4, 1], activation="relu", **({} if format == "nnet" else {"units": "units"}))
    net = gb.Network(g)
    net.fit_scaling(X, T)
    suffix = {"wann": "out", "neat": "json", "nnet": "nnet"}[format]
    net.save(f"m.{suffix}", format=format)
    again = gb.load(f"m.{suffix}", format=format, **({"inputs": 3, "outputs": 1} if format == "wann" else {}))
    np.testing.assert_allclose(again.forward(X), net.forward(X), rtol=1e-9)
    assert "scale" in net.to_networkx().nodes[net.inputs[0]]
    if format == "nnet":  # its own normalisation holds the constants, and every weight is as it was
        trained = gb.load("m.nnet", normalise=False)
        assert np.array_equal(trained.weights, net.weights)
        assert np.array_equal(gb.load("m.nnet").to_networkx().nodes["x_normalised"]["range"], net.to_networkx().nodes["x"]["scale"])
