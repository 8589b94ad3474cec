"""--error OUTPUT=NAME, --error-weight and --missing."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import graphbp as gb
from graphbp.cli import main
from helpers.heads import ERRORS, four_heads, targets

NAMES = ("cat", "dog", "emu")


@pytest.fixture
def run(capsys):
    """The exit code, stdout and stderr of a command."""

    def call(*arguments):
        code = main([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def folder(tmp_path):
    """net.json without heads' errors, and data.csv with empty cells."""
    rng = np.random.default_rng(0)
    graph = four_heads(rng)
    gb.Network(graph, error=ERRORS, backend="numpy").save(tmp_path / "told.json")
    X, T = rng.normal(size=(30, 3)), targets(rng, 30)
    lines = [",".join(["x1", "x2", "x3", *T])]
    for n in range(30):
        cells = [repr(float(v)) for v in X[n]]
        for name, column in T.items():
            gone = np.isnan(column[n])
            cells.append("" if gone else NAMES[int(column[n])] if name == "kind" else f"{column[n]:g}")
        lines.append(",".join(cells))
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


ERROR = [part for name, error in ERRORS.items() for part in ("--error", f"{name}={error}")]


def test_train_with_heads_gaps_and_weights(folder, run):
    code, out, err = run(
        *("train", folder / "told.json", folder / "data.csv", *ERROR, "--missing", "skip", "--error-weight", "price=0.2"),
        *("--optimizer", "lbfgs", "--epochs", 5, "--set", "l2=0.1", "--backend", "numpy", "--json", "-o", folder / "out.json"),
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["network"]["heads"]["price"] == {"error": "sum_of_squares", "weight": 0.2}
    assert told["network"]["missing"] == "skip"
    assert set(told["trained_on"]["heads"]) == set(ERRORS)
    assert len(told["history"]["error of kind"]) == 5
    net = gb.load(folder / "out.json", backend="numpy")
    assert net.missing == "skip"
    assert net.to_networkx().nodes["kind"]["classes"] == list(NAMES)
    code, out, err = run("check", folder / "out.json", folder / "data.csv", "--backend", "numpy")
    assert code == 0, out + err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--error", "poisson", "--error", "kind=cross_entropy"], "one error for all outputs, or OUTPUT=NAME for each"),
        (["--error", "prize=poisson"], "names no output"),
        (["--error-weight", "price"], "not of the form OUTPUT=VALUE"),
        (["--error-weight", "price=much"], "a weight is a number"),
        (["--error-weight", "price=1", "--error-weight", "price=2"], "'price' is given twice"),
        (["--missing", "drop"], "'drop'"),
    ],
)
def test_options_that_cannot_be_are_named(folder, run, options, said):
    code, out, err = run("info", folder / "told.json", *options)
    assert code != 0
    assert said in out + err


@pytest.mark.parametrize("command", [("gradient",), ("train", "-o", "out.json", "--epochs", "1", "--standardize")])
def test_missing_targets_are_refused_without_the_option(command, folder, run):
    lines = (folder / "data.csv").read_text().splitlines()
    code, _, err = run(command[0], folder / "told.json", folder / "data.csv", *command[1:], "--backend", "numpy")
    assert code == 2
    assert "or leave such targets out: --missing skip" in err
    told = re.search(r"column '(\w+)' is missing in line (\d+) \(an empty cell\)", err)
    assert not lines[int(told[2]) - 1].split(",")[lines[0].split(",").index(told[1])]


def test_a_frame_names_the_missing_target_by_column_and_index(folder):
    pandas = pytest.importorskip("pandas")
    net, frame = gb.load(folder / "told.json"), pandas.read_csv(folder / "data.csv").set_index("x1", drop=False)
    X, T = frame[["x1", "x2", "x3"]], frame.drop(columns=["x1", "x2", "x3"])
    with pytest.raises(gb.DataError, match=r"T: column '\w+' is missing in row \d+ \(index [-.\d]+\); .*missing=\"skip\""):
        net.error(X, T)


@pytest.fixture
def table(tmp_path):
    """Rows of three kinds of target, with gaps."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40))
    lines = ["a,b,kind,price,sold"]
    for n in range(40):
        kind = "" if n % 5 == 1 else NAMES[n % 3]
        lines.append(f"{a[n]},{b[n]},{kind},{'' if n % 4 == 2 else 1e6 * a[n]},{'yes' if b[n] > 0 else 'no'}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


TARGETS = ("--target", "kind", "--target", "price", "--target", "sold")


@pytest.mark.parametrize("way", [(), ("--units",), ("--hidden-dag", 6), ("--hidden", 0), ("--skips", "--hidden", "3,2")])
def test_new_gives_each_column_a_head_that_fits(table, run, way):
    code, _, err = run("new", table / "net.json", "--data", table / "table.csv", *TARGETS, "--missing", "skip", *way)
    assert code == 0, err
    net = gb.load(table / "net.json", backend="numpy")
    assert {entry.node: entry.error.name for entry in net.model.heads.entries} == {
        "kind": "cross_entropy",
        "price": "sum_of_squares",
        "sold": "binary_cross_entropy",
    }
    assert net.to_networkx().nodes["sold"]["classes"] == ["no", "yes"]
    code, out, err = run(
        *("train", table / "net.json", table / "table.csv", "--standardize", "--set", "l2=0.01"),
        *("--optimizer", "lbfgs", "--epochs", 20, "--backend", "numpy", "--json", "-o", table / "out.json"),
    )
    assert code == 0, err
    assert json.loads(out)["trained_on"]["heads"]["price"] < 1


@pytest.mark.parametrize("way", [(), ("--units",), ("--hidden-dag", 6)])
@pytest.mark.parametrize("target", ["price", "sold", "kind"])
def test_new_gives_one_column_with_gaps_one_head(table, run, way, target):
    left = [other for other in ("kind", "price", "sold") if other != target]
    lines = [line.split(",") for line in (table / "table.csv").read_text().splitlines()]
    keep = [i for i, name in enumerate(lines[0]) if name not in left]
    (table / "one.csv").write_text("\n".join(",".join(line[i] for i in keep) for line in lines) + "\n")
    code, _, err = run("new", table / "net.json", "--data", table / "one.csv", "--target", target, "--missing", "skip", *way)
    assert code == 0, err
    assert gb.load(table / "net.json", backend="numpy").outputs[0] in (target, f"{target}[0]")


def test_new_keeps_the_edges_of_a_random_dag(table, run):
    code, *_ = run("new", table / "net.json", "--data", table / "table.csv", *TARGETS, "--missing", "skip", "--hidden-dag", 9)
    graph = gb.random_dag(2, 9, 5, seed=0)
    outputs = [node for node, role in graph.nodes(data="role") if role == "output"]
    assert code == 0
    assert gb.load(table / "net.json", backend="numpy").n_parameters == gb.Network(graph, backend="numpy").n_parameters
    assert len(outputs) == 5


def test_new_calls_no_two_nodes_alike(table, run):
    (table / "x.csv").write_text("a,x,h1\n1,u,2\n2,v,3\n3,w,1\n")
    code, _, err = run("new", table / "net.json", "--data", table / "x.csv", "--target", "x", "--target", "h1")
    assert code == 0, err
    assert set(gb.load(table / "net.json", backend="numpy").to_networkx()) == {"x_", "h1_", "x", "h1"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "'kind' is missing in line 3; --missing skip"),
        (("--missing", "skip", "--error", "prise=poisson"), "unknown target 'prise'; did you mean 'price'"),
        (("--missing", "skip", "--error", "kind=poisson"), "poisson takes numbers, and kind"),
        (("--missing", "skip", "--error", "kind=binary_cross_entropy"), "tells two classes apart, and kind"),
        (("--missing", "skip", "--error", "price=cross_entropy"), "price of .* holds numbers that are not whole"),
    ],
)
def test_new_names_the_column_that_a_head_cannot_serve(table, run, options, said):
    code, _, err = run("new", table / "net.json", "--data", table / "table.csv", *TARGETS, *options)
    assert code == 2
    assert re.search(said, err)
    assert not (table / "net.json").exists()
