"""Every program in examples/, run as a user would, and what it must say."""

from __future__ import annotations

import io
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import graphbp as gb

EXAMPLES = Path(__file__).parents[1] / "examples"


def output(name: str, *arguments: object, folder: Path) -> str:
    """What it prints as on a fresh clone: no data but what it brings or an installed package has.

    In this process, which has imported everything and takes warnings for errors.
    """
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setenv("GRAPHBP_DATA", str(folder))
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(EXAMPLES / name), *map(str, arguments)])
        patch.syspath_prepend(EXAMPLES)
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return out.getvalue()


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in\n{text}"
    return float(found[1])


def test_every_example_has_a_test():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in source] == []


def test_single_layer(tmp_path):
    out = output("single_layer.py", folder=tmp_path)
    assert number(r"largest difference from the formula: (\S+)", out) < 1e-9
    assert number(r"\|gradient\| = ([^,]+),", out) < 1e-9
    assert number(r"from least squares: (\S+)", out) < 1e-10
    rows = [line.split() for line in out.splitlines() if re.match(r"^ +(age|bmi|bias) ", line)]
    assert len(rows) == 3
    for row in rows:  # the formula, backpropagation, and the central difference
        assert float(row[1]) == pytest.approx(float(row[2]), rel=1e-6) == pytest.approx(float(row[3]), rel=1e-6)


def test_xor_skip(tmp_path):
    out = output("xor_skip.py", folder=tmp_path)
    assert re.search(r"without skip: .*: not solved", out)
    assert re.search(r"with skip: .*: solved", out)


@pytest.mark.thorough  # the README's first command
def test_sparse_digits(tmp_path):
    out = output("sparse_digits.py", "--folder", tmp_path / "out", folder=tmp_path)
    summary = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8")
    assert summary.strip() in out
    assert number(r"accuracy +([\d.]+)%", summary) >= 95
    assert "derivatives   verified" in summary
    assert gb.load(tmp_path / "out" / "model.json").schedule.depth > 20  # no stack of layers
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_wann_sensitivities(tmp_path):
    out = output("wann_sensitivities.py", folder=tmp_path)
    balanced = [float(found) for found in re.findall(r"ends within (\S+) of upright", out)]
    same = [float(found) for found in re.findall(r"formula on \d+ states: (\S+)", out)]
    assert len(balanced) == len(same) >= 4
    assert max(balanced) < 0.01
    assert max(same) < 1e-12
    assert number(r"forward differences (\S+)", out) < 1e-5


def test_laplace_band(tmp_path):
    output("laplace_band.py", folder=tmp_path)


def test_nist_levenberg_marquardt(tmp_path):
    out = output("nist_levenberg_marquardt.py", folder=tmp_path)
    digits = re.findall(r"start [12]: +(\S+) digits of the parameters, +(\S+) of the standard deviations", out)
    assert len(digits) == 8
    assert min(float(each) for pair in digits for each in pair) > 9.5
