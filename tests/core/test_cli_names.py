"""What nodes are called, and where the words go: terminals, pipes of any encoding, headers."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.cli import main

EVIL = "\x1b[2J\x1b]0;title\x07évil\u202e"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(*inputs: Any, output: Any = "y") -> None:
    """A linear network of these inputs in net.json, and three rows in data.csv."""
    g = nx.DiGraph()
    for k, name in enumerate(inputs):
        g.add_edge(name, output, weight=float(k + 1))
    gb.Network(g, backend="numpy").save("net.json")
    Path("data.csv").write_text("\n".join(",".join(["1"] * (len(inputs) + 1)) for _ in range(3)) + "\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "net.json"],
        ["forward", "net.json", "data.csv"],
        ["gradient", "net.json", "data.csv", "--target", "-1"],
        ["jacobian", "net.json", "data.csv"],
        ["check", "net.json", "data.csv", "--target", "-1"],
        ["forward", "net.json", "wide.csv"],
        ["gradient", "net.json", "data.csv", "--target", EVIL],
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_no_control_sequence_reaches_the_terminal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    saved(EVIL, "x", output=f"y{EVIL}")
    Path("wide.csv").write_text(f"{EVIL},b,c,d\n1,2,3,4\n")
    main([*arguments, "--backend", "numpy"])
    captured = capsys.readouterr()
    for text in captured:
        assert all(c.isprintable() or c == "\n" for c in text), text
    assert "\\x1b" in captured.out + captured.err or arguments[-1] == "wide.csv"


def test_a_file_keeps_the_names_as_they_are() -> None:
    saved(EVIL, "x", output="y")
    assert main(["gradient", "net.json", "data.csv", "--target", "-1", "-o", "g.csv", "--backend", "numpy"]) == 0
    assert EVIL in Path("g.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_any_encoding_serves(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("x", output="δ→\ud800")
    streams = {}
    for name in ("stdout", "stderr"):
        streams[name] = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        monkeypatch.setattr(sys, name, streams[name])
    assert main(["info", "net.json", "--backend", "numpy"]) == 0
    assert main(["info", "none δ.json", "--backend", "numpy"]) == 2
    monkeypatch.undo()
    shown = "δ→" if encoding == "utf-8" else r"\u03b4\u2192"
    for stream in streams.values():
        stream.flush()
        assert stream.errors == "strict"  # as it was
    assert rf"{shown}\ud800" in streams["stdout"].buffer.getvalue().decode(encoding)


def test_a_pipe_of_another_encoding() -> None:
    saved("x", output="δ")
    program = "import sys; from graphbp.cli import main; sys.exit(main(['info', 'net.json', '--backend', 'numpy']))"
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, check=False)
    assert (done.returncode, rb"\u03b4" in done.stdout) == (0, True), done.stderr


def test_nodes_1_and_text_1_are_told_apart_by_position_alone(capsys: pytest.CaptureFixture[str]) -> None:
    saved(1, "1")
    Path("data.csv").write_text("1,2\n3,5\n")
    assert main(["forward", "net.json", "data.csv", "--header", "--backend", "numpy"]) == 2
    assert "two inputs of the network, whose names are alike as text" in capsys.readouterr().err
    assert main(["forward", "net.json", "data.csv", "--header", "--by-position", "--backend", "numpy", "-o", "y.npy"]) == 0
    assert np.load("y.npy").tolist() == [[13.0]]


def test_a_header_with_the_same_name_twice_is_refused_where_it_matters(capsys: pytest.CaptureFixture[str]) -> None:
    saved("a", "b")
    Path("data.csv").write_text("a,a,b\n3,4,5\n")
    assert main(["forward", "net.json", "data.csv", "--backend", "numpy"]) == 2
    assert "data.csv has two columns called 'a'" in capsys.readouterr().err
    assert main(["gradient", "net.json", "data.csv", "--target", "a", "--backend", "numpy"]) == 2
    assert "2 columns of data.csv are called 'a'" in capsys.readouterr().err
