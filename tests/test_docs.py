"""What the pages show: commands that run, code that compiles, names that exist.  Their doctests run with `--doctest-glob='*.md'`."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphbp as gb
from benchmarks.__main__ import parser
from graphbp.cli import main
from graphbp.cli.program import program
from graphbp.training.options import OPTIMIZERS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    (page, language, code)
    for page in PAGES
    for language, code in re.findall(r"^```([^\n]*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
]
GROUPS = {"backends", "activations", "error_functions", "importers", "exporters", "plugins"}


def of(*languages: str) -> list[Any]:
    """The blocks in these languages, each under its page and first line."""
    return [
        pytest.param(code, id=f"{page.stem}: {code.splitlines()[0][:50]}")
        for page, language, code in BLOCKS
        if language in languages
    ]


def test_every_block_says_its_language() -> None:
    known = {"python", "sh", "toml"}
    odd = [f"{page.name}: {language!r}" for page, language, _ in BLOCKS if language not in known and not language.startswith("{")]
    assert odd == []


@pytest.mark.parametrize("code", [param for param in of("python") if ">>>" not in param.values[0]])
def test_code_without_a_prompt_compiles(code: str) -> None:
    compile(code, "page", "exec")


@pytest.mark.parametrize("code", of("toml"))
def test_entry_points_are_of_groups_that_graphbp_reads(code: str) -> None:
    groups = tomllib.loads(code)["project"]["entry-points"]
    assert {group.removeprefix("graphbp.") for group in groups} <= GROUPS


def _spans(text: str) -> list[str]:
    """Everything set as code, in blocks and between backticks."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.S | re.M)
    return blocks + re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def _resolves(dotted: str) -> bool:
    """Whether `a.b.c` is a module, or an attribute of one, or of what that is."""
    parts = dotted.split(".")
    for k in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:k]))
        except ImportError:
            continue
        for name in parts[k:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_exist(page: Path) -> None:
    """`gb.…`, `net.…`, `graphbp.…` and `graphbp_….…` wherever they are set as code."""
    groups = {f"graphbp.{group}" for group in GROUPS}  # of entry points
    theirs = ("graphbp_plain",)  # the backend that a page writes
    wrong = []
    for span in _spans(page.read_text(encoding="utf-8")):
        for name in re.findall(r"(?<![\w./\"])(?:gb|net|graphbp(?:_\w+)?)(?:\.[A-Za-z_]\w*)+", span):
            head, _, rest = name.partition(".")
            found = {"gb": f"graphbp.{rest}", "net": f"graphbp.Network.{rest.partition('.')[0]}"}.get(head, name)
            files = re.search(r"\.(json|py|svg|npz|toml|md)$", name) is not None
            if not files and found not in groups and head not in theirs and not _resolves(found):
                wrong.append(name)
    assert wrong == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages' commands are given: a table with a header, iris.csv, and nothing else."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    pytest.importorskip("matplotlib", reason="Matplotlib is not installed")
    monkeypatch.chdir(tmp_path)
    iris = datasets.load_iris()
    names = iris.target_names[iris.target]
    lines = [",".join([*map(str, x), name]) for x, name in zip(iris.data, names, strict=True)]
    Path("iris.csv").write_text("\n".join(["length,width,petal length,petal width,species", *lines]), encoding="utf-8")
    return tmp_path


def commands(first: str, page: str = "") -> list[str]:
    """The lines of all shell blocks that begin with this word."""
    blocks = [code for where, language, code in BLOCKS if language == "sh" and where.name.startswith(page)]
    return [
        line.split("  #")[0].strip() for code in blocks for line in code.replace("\\\n", " ").splitlines() if line.startswith(first)
    ]


shell_words = re.compile(r"[|<>&;$*`]")


@pytest.mark.parametrize("page", ["README.md", "use-the-shell.md"])
def test_the_commands_of_a_page_run_in_its_order(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = commands("graphbp ", page)
    assert {line.split()[1] for line in lines} >= {"new", "train", "check", "draw"}
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GRAPHBP_BACKEND", "numpy")
    for line in lines:
        if shell_words.search(line):
            done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
        else:  # the same in this process, which has imported everything
            assert main(shlex.split(line, comments=True)[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
    net = gb.load("iris.json")
    assert net.error_function.name == "cross_entropy"
    assert list(net.classes or ()) == ["setosa", "versicolor", "virginica"]
    assert np.isfinite(net.weights).all()


def test_commands_on_pages_exist() -> None:
    for line in commands("graphbp "):
        assert line.split()[1] in program.commands, line


def test_other_commands_exist() -> None:
    for line in commands("python -m benchmarks"):
        parser().parse_args(shlex.split(line)[3:])
    for line in commands("python benchmarks/"):
        script, *options = shlex.split(line)[1:]
        assert (ROOT / script).is_file()
        if options:
            done = subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, check=True)
            assert all(option in done.stdout for option in options if option.startswith("--"))


def test_the_table_of_optimizers_has_every_option() -> None:
    text = (ROOT / "docs" / "how-to" / "train.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith('| `"')]
    named = {row[1].strip(' `"'): set(re.findall(r"`(\w+)`", row[4])) for row in rows}
    assert named == {name: {field.name for field in fields(options)} for name, options in OPTIMIZERS.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_named_in_the_text_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`graphbp ([a-z]+)", text)
    assert set(named) <= set(program.commands)
