"""The shell from nothing: a raw table in a folder, the installed command, Python beside it, and the same numbers.

What is piped, what is refused, and exit codes are tried through the installed command; the rest through `main`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphbp as gb
from graphbp.cli import main

GRAPHBP = Path(sys.executable).with_name("graphbp")
datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder; everything is computed by the definition unless a test says otherwise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHBP_BACKEND", "numpy")
    return tmp_path


def shell(*arguments: str, given: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([GRAPHBP, *arguments], input=given, capture_output=True, check=False)
    assert done.returncode == code, (done.stdout + done.stderr).decode()
    assert b"Traceback" not in done.stderr
    return done


def raw(name: str) -> tuple[Any, Any]:
    """A data set of scikit-learn as people have it, in NAME.csv: columns in an order of their own, classes as words; (frame, target)."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    bunch = getattr(datasets, f"load_{name}")()
    frame = pd.DataFrame(bunch.data, columns=[str(each) for each in bunch.feature_names])
    target = bunch.target if name == "diabetes" else np.array(bunch.target_names)[bunch.target]
    frame.assign(target=target)[["target", *reversed(frame.columns)]].to_csv(f"{name}.csv", index=False)
    return frame, target


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    """The one JSON document on stdout, which has no constant that JSON lacks."""
    out = capsys.readouterr().out
    assert out.count("\n") == 1

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(out, parse_constant=refuse)


def numbers(path: str) -> np.ndarray:
    with Path(path).open(encoding="utf-8") as file:
        return np.array([[float(cell) for cell in row] for row in list(csv.reader(file))[1:]])


# -- from a table to an answer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "outputs"),
    [
        ("iris", "cross_entropy", 3),
        ("wine", "cross_entropy", 3),
        ("breast_cancer", "binary_cross_entropy", 1),
        ("diabetes", "sum_of_squares", 1),
    ],
)
def test_new_train_forward_check_give_what_python_gives(name, error, outputs, capsys):
    frame, target = raw(name)
    data = [f"{name}.csv", "--target", "target"]
    assert main(["new", "net.json", "--data", *data]) == 0
    fresh = gb.load("net.json")
    assert (fresh.error_function.name, fresh.schedule.n_outputs) == (error, outputs)
    assert set(map(str, fresh.columns)) == set(frame.columns)
    assert main(["train", "net.json", *data, "--standardize", "--optimizer", "lbfgs", "--epochs", "40", "-o", "out.json"]) == 0
    assert main(["forward", "out.json", f"{name}.csv", "-o", "Y.csv", "--ignore-extra"]) == 0
    capsys.readouterr()
    assert main(["gradient", "out.json", *data, "--json"]) == 0
    shown = document(capsys)
    assert main(["check", "out.json", *data, "--rows", "20", "--json"]) == 0
    assert document(capsys)["ok"] is True

    trained = gb.load("out.json")
    np.testing.assert_array_equal(numbers("Y.csv"), trained.forward(frame))
    value, gradient = trained.error_and_gradient(frame, target)
    assert shown["error"] == value
    np.testing.assert_array_equal(shown["values"], gradient)
    gb.train(fresh, frame, target, standardize=True, optimizer="lbfgs", epochs=40, progress=False)
    np.testing.assert_allclose(fresh.forward(frame), trained.forward(frame), rtol=1e-6, atol=1e-9)
    if error == "sum_of_squares":
        assert np.sqrt(np.mean((trained.forward(frame)[:, 0] - target) ** 2)) < 54
    else:
        assert np.mean(np.asarray(trained.predict(frame)) == target) > 0.95


def test_laplace_of_what_the_shell_trained(capsys):
    raw("iris")
    assert main(["new", "net.json", "--data", "iris.csv", "--target", "target", "--hidden", "3"]) == 0
    settings = ["--optimizer", "lbfgs", "--set", "l2=0.01", "--standardize"]
    assert main(["train", "net.json", "iris.csv", "--target", "target", *settings, "-o", "out.json"]) == 0
    frame, target = raw("iris")
    net = gb.load("out.json")
    posterior = gb.laplace(net, frame, target, prior_precision=0.01 * len(frame))
    assert posterior.distance_from_mode < np.sqrt(net.n_parameters)
    mean, variance = posterior.predict(frame)
    assert mean.shape == variance.shape == (150, 3)
    np.testing.assert_array_equal(mean.argmax(axis=1), net.forward(frame).argmax(axis=1))


def test_default_training_of_raw_diabetes_reaches_least_squares(capsys):
    assert main(["new", "net.json", "--data", "sklearn:diabetes"]) == 0
    capsys.readouterr()
    assert main(["train", "net.json", "sklearn:diabetes", "--standardize", "-o", "out.json", "--json"]) == 0
    X, t = datasets.load_diabetes(return_X_y=True)
    A = np.column_stack([X, np.ones(len(X))])
    linear = np.sqrt(np.mean((A @ np.linalg.lstsq(A, t, rcond=None)[0] - t) ** 2))
    assert document(capsys)["trained_on"]["root_mean_square_error"][0] < linear


def test_epochs_that_are_too_few_are_said(capsys):
    raw("iris")
    assert main(["new", "net.json", "--data", "iris.csv", "--target", "target"]) == 0
    command = ["train", "net.json", "iris.csv", "--target", "target", "--standardize", "-o", "out.json"]
    for more, told in (([], True), (["--epochs", "20"], False), (["--optimizer", "lbfgs", "--set", "l2=1"], False)):
        capsys.readouterr()
        assert main([*command, *more]) == 0
        assert ("still falling" in capsys.readouterr().err) is told


@pytest.mark.parametrize(("suffix", "module"), [("parquet", "pyarrow"), ("xlsx", "openpyxl"), ("csv.gz", "gzip")])
def test_a_table_is_the_same_in_every_file(suffix, module):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip(module, reason=f"{module} is not installed")
    raw("iris")
    frame = pd.read_csv("iris.csv")
    write = {"parquet": frame.to_parquet, "xlsx": frame.to_excel, "csv.gz": frame.to_csv}[suffix]
    write(f"iris.{suffix}", index=False)
    answers = []
    for file in ("iris.csv", f"iris.{suffix}"):
        assert main(["new", "net.json", "--data", file, "--target", "target", "--force"]) == 0
        assert main(["train", "net.json", file, "--target", "target", "--epochs", "2", "-o", "out.json"]) == 0
        answers.append(gb.load("out.json").weights)
    np.testing.assert_array_equal(*answers)


def test_polars_reads_where_pandas_is_missing(monkeypatch):
    pytest.importorskip("polars", reason="polars is not installed")
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    raw("wine")
    frame = pd.read_csv("wine.csv")
    frame.to_parquet("wine.parquet", index=False)
    frame.to_excel("wine.xlsx", index=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    from graphbp.cli.data import read_table
    from graphbp.tables import labels_of, stacked

    expected, kinds = read_table("wine.csv", None, ["target"])
    for file in ("wine.parquet", "wine.xlsx"):
        inputs, target = read_table(file, None, ["target"])
        assert inputs.names == expected.names
        np.testing.assert_array_equal(stacked(inputs), stacked(expected))
        assert labels_of(target, 0).values.tolist() == labels_of(kinds, 0).values.tolist()


@pytest.mark.parametrize("suffix", ["parquet", "xlsx"])
def test_without_a_library_the_message_says_what_to_install(suffix, monkeypatch, capsys):
    Path(f"t.{suffix}").write_bytes(b"")
    for library in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, library, None)
    assert main(["new", "net.json", "--data", f"t.{suffix}", "--target", "y"]) == 2
    assert "pip install pandas" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["t.parquet", "t.xlsx", "t.csv.gz", "t.zip"])
def test_what_is_no_such_file_is_refused(file, capsys):
    if file.endswith(("parquet", "xlsx")):
        pytest.importorskip("pandas", reason="pandas is not installed")
    Path(file).write_bytes(b"nothing of the kind")
    assert main(["new", "net.json", "--data", file, "--target", "y"]) == 2
    assert f"Error: {file}" in capsys.readouterr().err


def test_a_hole_in_a_sheet_is_named_by_its_row(capsys):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    pd.DataFrame({"a": [1, 2, None], "y": [1.5, 2.5, 3.5]}).to_excel("t.xlsx", index=False)
    assert main(["new", "net.json", "--data", "t.xlsx", "--target", "y"]) == 2
    assert "t.xlsx: column 'a' is missing in row 4" in capsys.readouterr().err


@pytest.mark.parametrize("cell", ["", "NA", "nan", "null"])
def test_a_missing_cell_is_named_through_the_shell(cell, capsys):
    Path("t.csv").write_text(f"a,b,y\n1,2,3\n4,{cell},6\n", encoding="utf-8")
    assert main(["new", "n.json", "--data", "t.csv", "--target", "y"]) == 2
    assert "t.csv: column 'b' is missing in line 3" in capsys.readouterr().err
    assert not Path("n.json").exists()


# -- new -------------------------------------------------------------------------------------------------------------------


def made(text: str, *options: str) -> gb.Network:
    Path("t.csv").write_text(text, encoding="utf-8")
    assert main(["new", "net.json", "--data", "t.csv", *options, "--force"]) == 0
    return gb.load("net.json")


@pytest.mark.parametrize("form", [(), ("--units",), ("--hidden-dag", "5"), ("--hidden", "4,3"), ("--hidden", "0"), ("--skips",)])
@pytest.mark.parametrize(
    ("kinds", "error", "activation", "outputs"),
    [
        (["a", "b", "a", "b"], "binary_cross_entropy", "sigmoid", 1),
        (["a", "b", "c", "b"], "cross_entropy", "softmax", 3),
        ([0.5, 1.5, 2.25, 3], "sum_of_squares", "identity", 1),
    ],
    ids=["two classes", "classes", "quantity"],
)
def test_the_head_fits_the_target(kinds, error, activation, outputs, form, capsys):
    lines = "".join(f"{n / 3},{n * n},{kind}\n" for n, kind in enumerate(kinds))
    net = made(f"u,v,kind\n{lines}", "--target", "kind", *form)
    assert net.error_function.name == error
    assert list(map(str, net.columns)) == ["u", "v"]
    assert net.schedule.n_outputs == outputs
    graph = net.to_networkx()
    assert {graph.nodes[node].get("activation", "identity") for node in net.outputs} == {activation}
    assert net.classes == (None if error == "sum_of_squares" else tuple(dict.fromkeys(kinds)))
    assert main(["train", "net.json", "t.csv", "--target", "kind", "--standardize", "--epochs", "2", "-o", "out.json"]) == 0
    assert main(["check", "out.json", "t.csv", "--target", "kind"]) == 0


def test_several_targets():
    net = made("u,v,p,q\n1,2,3.5,4.5\n2,1,3.25,4.75\n5,5,1,2\n", "--target", "p", "--target", "q")
    assert net.schedule.n_outputs == 2
    assert main(["train", "net.json", "t.csv", "--target", "q", "--target", "p", "--epochs", "1", "-o", "o.json"]) in (0, 2)
    assert main(["train", "net.json", "t.csv", "--target", "p", "--target", "q", "--epochs", "1", "-o", "o.json"]) == 0


def test_without_a_header_columns_have_numbers():
    net = made("1,2,a\n2,1,b\n3,3,a\n", "--target", "-1")
    assert list(map(str, net.columns)) == ["x1", "x2"]
    assert main(["train", "net.json", "t.csv", "--target", "-1", "--epochs", "1", "-o", "out.json"]) == 0


def test_whole_numbers_are_a_quantity_until_told(capsys):
    text = "u,v,k\n1,2,0\n2,1,1\n3,5,2\n"
    assert made(text, "--target", "k").error_function.name == "sum_of_squares"
    assert "--error cross_entropy takes them as classes" in capsys.readouterr().err
    net = made(text, "--target", "k", "--error", "cross_entropy")
    assert net.classes == (0, 1, 2)
    assert (
        made(
            text.replace("2\n2", "0\n2").replace(",2\n", ",1\n"), "--target", "k", "--error", "binary_cross_entropy"
        ).schedule.n_outputs
        == 1
    )


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("u,name,y\n1,anna,3\n2,otto,4\n", ["--target", "y"], "column 'name' holds text ('anna' in line 2)"),
        ("u,day,y\n1,2024-01-01,3\n", ["--target", "y"], "column 'day'"),
        ("u,v,y\n1,2,3\n", [], "--target says which column"),
        ("u,v,y\n1,2,3\n", ["--target", "z"], "z"),
        ("y\n3\n4\n", ["--target", "y"], "no column left"),
        ("u,y\n1,0.5\n2,1.5\n", ["--target", "y", "--error", "cross_entropy"], "takes classes"),
        ("u,y\n1,a\n2,a\n", ["--target", "y"], "class"),
        ("u,y\n1,a\n2,b\n", ["--target", "y", "--error", "poison"], "did you mean 'poisson'"),
        ("u,y\n1,a\n2,b\n", ["--target", "y", "--activation", "tahn"], "did you mean 'tanh'"),
        ("u,y\n1,a\n2,b\n", ["--target", "y", "--hidden", "x"], "numbers of units"),
        ("u,y\n1,a\n2,b\n", ["--target", "y", "--hidden", "3", "--hidden-dag", "4"], "give one"),
        ("u,y\n1,a\n2,b\n", ["--target", "y", "--layers", "2,1"], "by one of"),
        ("u,y\n1,a\n2,b\n", ["--target", "y", "--hidden-dag", "4", "--skips"], "--skips"),
    ],
)
def test_what_new_cannot_use_is_refused(text, options, says, capsys):
    Path("t.csv").write_text(text, encoding="utf-8")
    assert main(["new", "net.json", "--data", "t.csv", *options]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.out == ""
    assert not Path("net.json").exists()


def test_booleans_as_inputs_and_targets():
    net = made("u,on,ok\n1,True,False\n2,False,True\n3,True,True\n", "--target", "ok")
    assert net.error_function.name == "binary_cross_entropy"
    assert main(["train", "net.json", "t.csv", "--target", "ok", "--epochs", "1", "-o", "out.json"]) == 0


def test_a_file_that_is_there_stays_unless_forced(capsys):
    Path("net.json").write_text("mine", encoding="utf-8")
    assert main(["new", "net.json", "--layers", "2,3,1"]) == 2
    assert Path("net.json").read_text(encoding="utf-8") == "mine"
    assert main(["new", "net.json", "--layers", "2,3,1", "--force"]) == 0
    assert gb.load("net.json").schedule.n_inputs == 2


def test_layers_and_random_are_the_builders_own():
    assert main(["new", "a.json", "--layers", "4,5,3", "--error", "cross_entropy", "--seed", "7"]) == 0
    built = gb.Network(gb.layered([4, 5, 3], error="cross_entropy", seed=7), error="cross_entropy")
    np.testing.assert_array_equal(gb.load("a.json").weights, built.weights)
    assert main(["new", "b.json", "--random", "3,20,2", "--seed", "7"]) == 0
    np.testing.assert_array_equal(gb.load("b.json").weights, gb.Network(gb.random_dag(3, 20, 2, seed=7)).weights)


# -- optimizers, dtypes, backends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.filterwarnings("ignore:levenberg_marquardt in float32", "ignore:newton in float32")
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs", "levenberg_marquardt", "newton"])
def test_every_optimizer_in_both_precisions(optimizer, dtype, capsys):
    assert main(["new", "net.json", "--data", "sklearn:diabetes", "--hidden", "3"]) == 0
    before = gb.load("net.json")
    arguments = ["--optimizer", optimizer, "--dtype", dtype, "--epochs", "5", "--standardize", "--rows", "60"]
    capsys.readouterr()
    assert main(["train", "net.json", "sklearn:diabetes", *arguments, "-o", "out.json", "--json"]) == 0
    told = document(capsys)
    assert told["network"]["dtype"] == dtype
    assert told["history"]["optimizer"] == optimizer
    assert 1 <= len(told["history"]["error"]) <= 5
    assert gb.load("out.json").dtype == np.dtype(dtype)
    assert not np.array_equal(gb.load("out.json").weights, before.weights)


@pytest.mark.parametrize(("optimizer", "dtype"), [("lbfgs", "float32"), ("adam", "float64"), ("levenberg_marquardt", "float64")])
def test_numba_trains_through_the_shell(optimizer, dtype):
    pytest.importorskip("numba", reason="Numba is not installed")
    assert main(["new", "net.json", "--data", "sklearn:diabetes", "--hidden", "3"]) == 0
    arguments = ["--optimizer", optimizer, "--dtype", dtype, "--epochs", "3", "--standardize", "--backend", "numba"]
    assert main(["train", "net.json", "sklearn:diabetes", *arguments, "-o", "out.json"]) == 0
    assert np.isfinite(gb.load("out.json").weights).all()


# -- stdin and stdout --------------------------------------------------------------------------------------------------------


def test_a_pipeline_from_nothing_to_an_answer():
    raw("iris")
    table = Path("iris.csv").read_bytes()
    net = shell("new", "-", "--data", "-", "--target", "target", given=table).stdout
    trained = shell("train", "-", "iris.csv", "--target", "target", "--standardize", "-o", "-", given=net).stdout
    Path("iris.json").write_bytes(trained)
    asked = shell("forward", "iris.json", "-", "--ignore-extra", "-o", "-", given=table).stdout.decode()
    Path("Y.csv").write_text(asked, encoding="utf-8")
    loaded = gb.load("iris.json")
    np.testing.assert_array_equal(numbers("Y.csv"), loaded.forward(raw("iris")[0]))
    assert asked.splitlines()[0] == ",".join(map(str, loaded.classes))
    assert json.loads(shell("check", "-", "iris.csv", "--rows", "9", "--json", given=trained).stdout)["ok"]


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (["info", "-"], b"stdin\n<graphbp.Network"),
        (["backends", "-"], b""),
        (["convert", "-", "-"], b"{"),
        (["draw", "-", "-o", "-"], b"<?xml"),
        (["jacobian", "-", "x.csv", "-o", "-"], b"sample,output,"),
        (["parity", "-", "--backend", "numpy", "--quantity", "gradient", "--dtype", "float64"], b"largest"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_network_on_stdin(arguments, begins, monkeypatch, capfdbinary):
    gb.Network(gb.layered([2, 3, 1])).save("net.json")
    Path("x.csv").write_text("1,2\n3,4\n", encoding="utf-8")
    before = sorted(Path().iterdir())
    given(monkeypatch, Path("net.json").read_bytes())
    assert main(arguments) == 0
    assert capfdbinary.readouterr().out.startswith(begins)
    assert sorted(Path().iterdir()) == before


def given(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))


def test_what_is_written_to_stdout_is_utf_8(monkeypatch, capfdbinary):
    gb.Network(gb.layered([1, 1])).save("net.json")
    Path("d.csv").write_text("x,größe\n1,2\n2,4\n", encoding="utf-8")
    assert main(["new", "-", "--data", "d.csv", "--target", "größe"]) == 0
    assert json.loads(capfdbinary.readouterr().out.decode())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["forward", "-", "-"], "NETWORK and DATA are both -"),
        (["gradient", "net.json", "-", "--targets", "-"], "DATA and --targets are both -"),
        (["train", "net.json", "d.csv", "-o", "o.json", "--history", "-"], "--history"),
        (["train", "net.json", "d.csv", "-o", "o.json", "--plot", "-"], "--plot"),
        (["train", "net.json", "d.csv", "-o", "o.json", "--checkpoint", "-"], "--checkpoint"),
        (["forward", "net.json", "d.csv", "-o", "-", "--json"], "both write to stdout"),
        (["forward", "net.json", "d.csv", "--json", "-o", "-"], "both write to stdout"),
        (["train", "net.json", "d.csv", "-o", "-", "--json"], "both write to stdout"),
        (["draw", "net.json", "-o", "-", "--json"], "both write to stdout"),
        (["convert", "net.json", "-", "--json"], "both write to stdout"),
        (["new", "-", "--layers", "2,1", "--json"], "both write to stdout"),
        (["convert", "net.json", "-", "--to-option", "weights=npz"], "- takes one file"),
        (["info", "-"], "stdin"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_one_stdin_and_one_stdout_cannot_do_is_refused(arguments, says, monkeypatch, capsys):
    gb.Network(gb.layered([2, 3, 1])).save("net.json")
    Path("d.csv").write_text("1,2,3\n3,4,5\n", encoding="utf-8")
    text = Path("net.json").read_bytes() if arguments[1:2] == ["-"] and arguments[0] == "forward" else b"1,2\n3,4\n"
    given(monkeypatch, text)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert "graphbp-" not in captured.err  # nor the folder of a draft
    assert captured.out == ""


# -- --json ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("arguments", "axes", "quantity"),
    [
        (["forward"], ["samples", "outputs"], lambda net, X, T: net.forward(X)),
        (["gradient"], ["parameters"], lambda net, X, T: net.gradient(X, T)),
        (["gradient", "--per-sample"], ["samples", "parameters"], lambda net, X, T: net.per_sample_gradient(X, T)),
        (["jacobian"], ["samples", "outputs", "inputs"], lambda net, X, T: net.jacobian(X)),
        (["jacobian", "--weights"], ["samples", "outputs", "parameters"], lambda net, X, T: net.weight_jacobian(X)),
        (["hessian"], ["parameters", "parameters"], lambda net, X, T: net.hessian(X, T)),
        (["hessian", "--kind", "diagonal"], ["parameters"], lambda net, X, T: net.hessian_diagonal(X, T)),
        (["input-hessian"], ["samples", "outputs", "inputs", "inputs"], lambda net, X, T: net.input_hessian(X)),
        (["input-hessian", "--kind", "laplacian"], ["samples", "outputs"], lambda net, X, T: net.laplacian(X)),
    ],
    ids=["forward", "gradient", "per sample", "jacobian", "weights", "hessian", "diagonal", "by inputs", "laplacian"],
)
def test_json_has_every_bit_and_every_name(arguments, axes, quantity, dtype, capsys):
    gb.Network(gb.layered([2, 3, 1], units="units")).save("net.json")
    X, T = np.random.default_rng(0).normal(size=(5, 2)), np.arange(5.0) / 3
    np.savez("d.npz", X=X, T=T)
    assert main([arguments[0], "net.json", "d.npz", *arguments[1:], "--dtype", dtype, "--json"]) == 0
    told = document(capsys)
    expected = quantity(gb.load("net.json", dtype=dtype), X, T)
    assert (told["axes"], told["dtype"], told["shape"]) == (axes, dtype, list(expected.shape))
    np.testing.assert_array_equal(np.array(told["values"], dtype), expected)
    for size, axis in zip(expected.shape, axes, strict=True):
        assert axis == "samples" or len(told[axis]) == size


def test_what_is_not_finite_stands_as_a_word(capsys):
    from graphbp.cli.documents import tell_json

    tell_json(a=np.array([1.5, np.nan, np.inf]), b=-np.inf, c=np.float32(0.1), d=(True, None), e={1: np.int64(3)}, f="δ\x1b")
    told = document(capsys)
    assert told == {
        "a": [1.5, "nan", "inf"],
        "b": "-inf",
        "c": float(np.float32(0.1)),
        "d": [True, None],
        "e": {"1": 3},
        "f": "δ\x1b",
    }


def test_json_beside_a_file_names_the_file(capsys):
    gb.Network(gb.layered([2, 1])).save("net.json")
    Path("d.csv").write_text("1,2\n3,4\n", encoding="utf-8")
    assert main(["forward", "net.json", "d.csv", "--json", "-o", "Y.npy"]) == 0
    told = document(capsys)
    assert told["output"] == "Y.npy"
    assert "values" not in told
    assert np.load("Y.npy").shape == tuple(told["shape"])


def test_json_of_every_other_command(capsys, monkeypatch):
    assert main(["new", "net.json", "--data", "sklearn:iris", "--json"]) == 0
    assert document(capsys)["network"]["classes"] == ["setosa", "versicolor", "virginica"]
    options = ["--validation-split", "0.2", "--epochs", "3", "--standardize"]
    assert main(["train", "net.json", "sklearn:iris", *options, "-o", "out.json", "--json"]) == 0
    told = document(capsys)
    assert (told["trained_on"]["samples"], told["held_out"]["samples"], told["interrupted"]) == (120, 30, False)
    assert told["history"]["epoch"] == [1, 2, 3]
    assert len(told["network"]["scaling"]["inputs"]["shift"]) == 4
    assert main(["info", "out.json", "--json"]) == 0
    told = document(capsys)
    net = gb.load("out.json")
    assert (told["parameters"], told["columns"]) == (net.n_parameters, list(map(str, net.columns)))
    assert main(["convert", "out.json", "other.json", "--json"]) == 0
    assert document(capsys)["output"] == "other.json"
    assert main(["draw", "out.json", "-o", "out.svg", "--json"]) == 0
    assert document(capsys)["output"] == "out.svg"
    assert main(["backends", "out.json", "--json"]) == 0
    told = document(capsys)
    assert told["backends"]["numpy"]["available"] is True
    assert told["takes"]["numpy"]["takes"] is True
    assert told["settings"]["backend"] == {"value": "numpy", "source": "GRAPHBP_BACKEND"}
    assert main(["parity", "out.json", "--backend", "numpy", "--quantity", "gradient", "--dtype", "float32", "--json"]) == 0
    assert document(capsys)["cells"][0]["quantity"] == "gradient"


def test_warm_compiles_what_is_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("graphbp.warm.SAMPLES", (1,))
    assert main(["warm", "--backend", "numpy", "--dtype", "float64", "--json"]) == 0
    told = document(capsys)
    assert (told["backend"], told["dtypes"]) == ("numpy", ["float64"])
    assert main(["warm", "--backend", "nump"]) == 2
    assert "did you mean 'numpy'" in capsys.readouterr().err


def test_a_failed_check_prints_its_report_as_json(capsys, monkeypatch):
    gb.Network(gb.layered([2, 1])).save("net.json")
    Path("d.csv").write_text("1,2,3\n3,4,5\n", encoding="utf-8")
    plant(monkeypatch)
    assert main(["check", "net.json", "d.csv", "--json"]) == 1
    told = document(capsys)
    assert told["ok"] is False
    assert "wrong" in {row["status"] for row in told["rows"]}


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    true = gb.Network.error_and_gradient

    def wrong(self, *args, **kwargs):
        error, gradient = true(self, *args, **kwargs)
        return error, gradient + 1e-3

    monkeypatch.setattr(gb.Network, "error_and_gradient", wrong)


# -- exit codes, through the installed command -------------------------------------------------------------------------------


@pytest.fixture
def iris(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "net.json", "--data", "sklearn:iris"]) == 0
    capsys.readouterr()


def test_exit_codes_of_usage_and_of_files(iris):
    shell("info", "net.json")
    shell("info", "absent.json", code=2)
    assert main(["--help"]) == main(["--version"]) == 0
    assert main(["forward", "net.json", "absent.csv"]) == 2
    assert main(["forward", "net.json", "sklearn:iris", "-o", "nowhere/Y.npy"]) == 2
    assert main(["forward", "net.json", "sklearn:iris", "--rows", "0"]) == 2
    assert main(["forwards"]) == main([]) == 2


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(iris):
    Path("locked").mkdir(mode=0o500)
    for arguments in (["train", "net.json", "sklearn:iris", "-o"], ["convert", "net.json"], ["draw", "net.json", "-o"]):
        shell(*arguments, "locked/x.json" if arguments[0] != "draw" else "locked/x.svg", code=2)


@pytest.mark.parametrize("arguments", [["info", "net.json"], ["new", "other.json", "--layers", "2,1", "--json"], ["--help"]])
def test_a_full_disk_under_stdout_is_an_error(arguments, iris):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([GRAPHBP, *arguments], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: ")
    assert b"Exception ignored" not in done.stderr


def test_an_unexpected_error_is_3():
    code = "import sys, graphbp.cli.networks as n; n.load_network = lambda *a, **k: 1 / 0; from graphbp.cli import main; sys.exit(main(['info', 'x']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 3
    assert b"Unexpected ZeroDivisionError" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close otherwise there")
@pytest.mark.sampled(4)  # a line at a time, one document, a file's bytes, an error
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("check net.json sklearn:iris --rows 5", 0),
        ("forward net.json sklearn:iris --json", 0),
        ("forward net.json sklearn:iris", 0),
        ("forward net.json sklearn:iris -o -", 0),
        ("--help", 0),
        ("info absent.json", 2),
    ],
)
def test_whoever_stops_reading_changes_no_exit_code(arguments, code, iris):
    """A reader that is gone before the first line, as the worst of `| head`."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([GRAPHBP, *arguments.split()], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == code, done.stderr.decode()
    assert b"Broken" not in done.stderr


def test_a_failed_check_fails_though_nobody_reads(iris, monkeypatch):
    code = (
        "import sys, graphbp as gb; from graphbp.cli import main; true = gb.Network.error_and_gradient\n"
        "gb.Network.error_and_gradient = lambda *a, **k: (lambda e, g: (e, g + 1))(*true(*a, **k))\n"
        "sys.exit(main(['check', 'net.json', 'sklearn:iris', '--rows', '5']))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 1, done.stderr.decode()


def test_training_writes_everything_though_nobody_reads(iris):
    read, write = os.pipe()
    os.close(read)
    arguments = ["train", "net.json", "sklearn:iris", "--epochs", "2", "-o", "out.json", "--history", "h.csv"]
    assert subprocess.run([GRAPHBP, *arguments], stdout=write, stderr=subprocess.DEVNULL, check=False).returncode == 0
    os.close(write)
    assert Path("out.json").exists()
    assert Path("h.csv").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_ctrl_c_in_training_keeps_the_work(iris):
    arguments = [
        "train",
        "net.json",
        "sklearn:iris",
        "--epochs",
        "10000000",
        "-o",
        "out.json",
        "--checkpoint",
        "c.npz",
        "--history",
        "h.csv",
    ]
    program = subprocess.Popen([GRAPHBP, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(Path("c.npz"), program)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert program.returncode == 130, err.decode()
    assert b"Traceback" not in err
    assert b"interrupted" in out
    assert b"trained network -> out.json" in err
    assert not np.array_equal(gb.load("out.json").weights, gb.load("net.json").weights)
    assert len(Path("h.csv").read_text(encoding="utf-8").splitlines()) > 1


def wait_for(path: Path, program: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not path.exists() and program.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert path.exists()
    time.sleep(0.2)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_ctrl_c_elsewhere_is_130(iris):
    program = subprocess.Popen([GRAPHBP, "info", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(3)  # it waits for its stdin by then
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (130, b"")
    assert err.strip() == b"Interrupted"


def test_gzip_is_read_as_text_is(capsys):
    Path("t.csv.gz").write_bytes(gzip.compress(b"a,y\n1,x\n,y\n"))
    assert main(["new", "n.json", "--data", "t.csv.gz", "--target", "y"]) == 2
    assert "column 'a' is missing in line 3" in capsys.readouterr().err
