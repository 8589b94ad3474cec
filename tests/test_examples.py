"""Every program in examples/, run as a user would, and what it must say."""

from __future__ import annotations

import io
import os
import re
import runpy
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
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


# -- visible_network.py ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def visible() -> SimpleNamespace:
    """Its functions."""
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / "visible_network.py")))


TABLE = """cell repair default
cell growth is_a
cell empty default
empty emptier default
repair BRCA1 gene
repair TP53 gene
growth MYC gene
"""


def test_visible_network_finds_the_planted_terms(tmp_path):
    out = output("visible_network.py", "--folder", tmp_path / "out", folder=tmp_path)
    assert re.search(r"the planted terms are numbers 1, 2, 3 of \d+", out)
    assert number(r"root: E (\S+) held out", out) < 0.1
    assert 90 < number(r"([\d.]+)% of the responses", out) <= 100
    rows = [line.split(",") for line in (tmp_path / "out" / "terms.csv").read_text(encoding="utf-8").splitlines()[1:]]
    moved = [float(row[3]) for row in rows]
    assert moved[2] > 3 * moved[3]  # the planted ones are far ahead of the next
    net = gb.load(tmp_path / "out" / "model.json", backend="numpy")
    header = (tmp_path / "out" / "history.csv").read_text(encoding="utf-8").splitlines()[0]
    assert len(net.outputs) == len(rows) == header.count("error of y(")
    assert (tmp_path / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_visible_network_on_files_of_ones_own(tmp_path):
    (tmp_path / "terms.tsv").write_text(TABLE, encoding="utf-8")
    rng = np.random.default_rng(0)
    X = (rng.random((80, 4)) < 0.4).astype(int)
    rows = [",".join(map(str, [*x, x[1] + 0.1 * noise])) for x, noise in zip(X.tolist(), rng.normal(size=80), strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["BRCA1,MYC,TP53,UNKNOWN,response", *rows]), encoding="utf-8")
    given = ("--ontology", "terms.tsv", "--data", "data.csv", "--epochs", 20, "--folder", "out")
    out = output("visible_network.py", *given, folder=tmp_path)
    assert "3 terms, 4 genes" in out
    assert re.search(r"^growth +1 ", out, re.M)
    first = (tmp_path / "out" / "terms.csv").read_text(encoding="utf-8").splitlines()[1]
    assert first.startswith("growth,1,")  # MYC's term


def test_terms_that_no_known_gene_reaches_are_left_out(visible, tmp_path):
    (tmp_path / "terms.tsv").write_text(TABLE, encoding="utf-8")
    whole = visible.read_ontology([tmp_path / "terms.tsv"])
    assert set(whole) == {"cell", "repair", "growth", "empty", "emptier"}
    assert set(visible.below(whole, None, None)) == {"cell", "repair", "growth"}
    part = visible.below(whole, None, {"TP53"})
    assert dict(part.nodes("genes")) == {"cell": [], "repair": ["TP53"]}
    assert set(visible.below(whole, "repair", None)) == {"repair"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a b\n", "a row is `parent child kind`"),
        ("a b x\nb a x\na g gene\n", "has a cycle"),
        ("a b x\nc b x\nb g gene\n", "--root says which of 2 terms"),
        ("a b x\n", "no gene"),
    ],
)
def test_an_ontology_that_is_none_is_refused_by_name(visible, tmp_path, rows, said):
    (tmp_path / "terms.tsv").write_text(rows, encoding="utf-8")
    with pytest.raises(SystemExit, match=said):
        visible.below(visible.read_ontology([tmp_path / "terms.tsv"]), None, None)


OBO = """format-version: 1.2
ontology: test

[Term]
id: GO:0000001
name: cell

[Term]
id: GO:0000002
name: repair
is_a: GO:0000001 ! cell

[Term]
id: GO:0000003
name: excision
relationship: part_of GO:0000002 ! repair
relationship: regulates GO:0000001 ! cell

[Term]
id: GO:0000004
name: gone
is_obsolete: true

[Typedef]
id: part_of
name: part of

[Typedef]
id: regulates
name: regulates
"""


def test_an_obo_file_and_a_table_of_its_genes(visible, tmp_path):
    if not any(map(find_spec, ("obonet", "goatools"))):
        pytest.skip("neither obonet nor goatools is installed")
    (tmp_path / "go.obo").write_text(OBO, encoding="utf-8")
    (tmp_path / "genes.tsv").write_text("GO:0000003 TP53 gene\n", encoding="utf-8")
    ontology = visible.below(visible.read_ontology([tmp_path / "go.obo", tmp_path / "genes.tsv"]), None, None)
    assert set(ontology.edges) == {("GO:0000002", "GO:0000001"), ("GO:0000003", "GO:0000002")}
    assert visible.name_of(ontology, "GO:0000003") == "excision"
    assert ontology.graph["root"] == "GO:0000001"


def test_what_arrives_from_genes_is_x_times_the_jacobian(visible, tmp_path):
    (tmp_path / "terms.tsv").write_text("cell a gene\ncell b gene\ncell c gene\n", encoding="utf-8")
    ontology = visible.below(visible.read_ontology([tmp_path / "terms.tsv"]), None, None)
    net = gb.Network(visible.visible_network(ontology, ["a", "b", "c"], 3, 0), backend="numpy")
    X = np.random.default_rng(1).normal(size=(40, 3))
    expected = (net.jacobian(X)[:, 0] * X).sum(axis=1).std()
    assert visible.arriving(net, ontology, X)["genes", "cell"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.thorough
def test_visible_network_on_the_published_ontology(tmp_path):
    published = Path(os.environ.get("GRAPHBP_DATA", "")) / "drugcell" / "ontology.tsv"
    if not published.is_file():
        pytest.skip("set GRAPHBP_DATA to the folder that holds drugcell/")
    given = ("--ontology", published, "--samples", 80, "--epochs", 1, "--folder", "out")
    assert "2,086 terms, 3,008 genes" in output("visible_network.py", *given, folder=tmp_path)


def test_sklearn_doors(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHBP_BACKEND", "numpy")
    out = output("sklearn_doors.py", folder=tmp_path)
    assert number(r"R² on new patients (\S+)", out) > 0.3
    assert 85 <= number(r"(\d+) % of them within two", out) <= 100
    assert number(r"difference of probabilities: (\S+)", out) < 1e-12
