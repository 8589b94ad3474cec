"""What `graphbp new` makes of a table, and that the next command needs to be told nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphbp as gb
from graphbp.cli import main

pd = pytest.importorskip("pandas")
FRAME = pd.DataFrame(
    {"a": [1.0, 2, 3, 4, 5, 6], "b": [2.0, 1, 4, 3, 6, 5], "kind": ["x", "y", "z"] * 2, "size": [3.5, 1, 2, 4, 9, 1]}
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHBP_BACKEND", "numpy")
    FRAME.drop(columns="size").to_csv("kind.csv", index=False)
    FRAME.drop(columns="kind").to_csv("size.csv", index=False)
    FRAME.drop(columns="size").to_csv("indexed.csv")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_an_index_never_becomes_an_input(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("indexed.csv").read_text()
    Path("indexed.csv").write_text(name + text)
    assert "to_csv(index=False)" in refused(capsys, "new", "net.json", "--data", "indexed.csv", "--target", "kind")
    assert main(["new", "net.json", "--data", "indexed.csv", "--target", "kind", "--ignore-extra"]) == 0
    assert "not read: column 0" in capsys.readouterr().err
    assert gb.load("net.json").columns == ["a", "b"]
    assert main(["train", "net.json", "indexed.csv", "--epochs", "1", "-o", "t.json", "--ignore-extra"]) == 0


@pytest.mark.parametrize("dag", [(), ("--hidden-dag", "4"), ("--units",)])
@pytest.mark.parametrize(("table", "targets"), [("kind.csv", ["kind"]), ("size.csv", ["size"]), ("size.csv", ["b", "size"])])
def test_the_target_need_not_be_said_again(table: str, targets: list[str], dag: tuple[str, ...]) -> None:
    said = [word for target in targets for word in ("--target", target)]
    assert main(["new", "net.json", "--data", table, *said, *dag]) == 0
    for extra in ((), tuple(said)):
        assert main(["train", "net.json", table, *extra, "--standardize", "--epochs", "2", "-o", f"t{len(extra)}.json"]) == 0
    assert np.array_equal(gb.load("t0.json").weights, gb.load(f"t{len(said)}.json").weights)
    assert main(["check", "net.json", table, "--rows", "2"]) == 0


def test_targets_in_another_order_are_the_same_targets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "net.json", "--data", "size.csv", "--target", "b", "--target", "size"]) == 0
    FRAME[["size", "b", "a"]].to_csv("other.csv", index=False)

    def gradient(*arguments: str) -> Any:
        capsys.readouterr()
        assert main(["gradient", "net.json", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["values"]

    assert gradient("size.csv") == gradient("other.csv") == gradient("size.csv", "--target", "size", "--target", "b")
    net = gb.load("net.json")
    assert net.gradient(FRAME[["a"]], FRAME[["size", "b"]]).tolist() == gradient("size.csv")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("binary_cross_entropy", "tells two classes apart, and kind of kind.csv has 3; --error cross_entropy"),
        ("sum_of_squares", "takes numbers, and kind of kind.csv holds labels; --error cross_entropy"),
        ("poisson", "takes numbers, and kind of kind.csv holds labels"),
    ],
)
def test_an_error_that_does_not_take_the_target_is_refused(error: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refused(capsys, "new", "net.json", "--data", "kind.csv", "--target", "kind", "--error", error)
    assert not Path("net.json").exists()


def test_one_class_is_nothing_to_tell_apart(capsys: pytest.CaptureFixture[str]) -> None:
    FRAME[["a", "b"]].assign(kind="x").to_csv("one.csv", index=False)
    assert "kind of one.csv is 'x' in every row" in refused(capsys, "new", "net.json", "--data", "one.csv", "--target", "kind")


def test_whole_numbers_with_a_point_are_classes_too() -> None:
    FRAME[["a", "b"]].assign(kind=[0.0, 1.0, 2.0] * 2).to_csv("float.csv", index=False)
    assert main(["new", "net.json", "--data", "float.csv", "--target", "kind", "--error", "cross_entropy"]) == 0
    assert main(["train", "net.json", "float.csv", "--epochs", "1", "-o", "t.json"]) == 0
    assert gb.load("t.json").classes == (0, 1, 2)


def test_both_from_stdin_is_refused_before_either_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert "both -, and there is one stdin" in refused(capsys, "forward", "-", "-")


def test_a_date_is_called_a_date(capsys: pytest.CaptureFixture[str]) -> None:
    FRAME[["a", "size"]].assign(day="2020-01-31").to_csv("day.csv", index=False)
    message = refused(capsys, "new", "net.json", "--data", "day.csv", "--target", "size")
    assert "column 'day' holds dates or times (2020-01-31 in line 2); make numbers of them" in message


def test_the_flag_of_the_shell_and_the_one_of_python_are_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["new", "net.json", "--data", "kind.csv", "--target", "kind"]) == 0
    FRAME.to_csv("wide.csv", index=False)
    message = refused(capsys, "forward", "net.json", "wide.csv")
    assert "no input reads: 'size'; --ignore-extra leaves it out, --target NAME says that it is the target" in message
    assert main(["forward", "net.json", "wide.csv", "--ignore-extra", "-o", "a.npy"]) == 0
    monkeypatch.setenv("GRAPHBP_IGNORE_EXTRA", "on")
    assert main(["forward", "net.json", "wide.csv", "-o", "b.npy"]) == 0
    with pytest.warns(gb.DataWarning, match="left out, since no input reads them: 'size'"):
        answers = gb.load("net.json").forward(FRAME)
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))
    assert np.array_equal(np.load("a.npy"), answers)
