"""The viewer's page: its numbers are net.trace's and the engine's, it holds whatever names, and it says what it leaves out."""

from __future__ import annotations

import base64
import html
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.cli import main
from graphbp.testing import Case, zoo
from graphbp.view import limits
from graphbp.view.page import document_json

CASES = {case.name: case for case in zoo()}
SHOWN = [
    "mixed-heads-gaps", "one-error-gaps", "layers-sparse", "tied", "frozen", "dead-ends", "aggregations", "tied-factors", "ties",
    "cross_entropy-softmax-layer",
]  # fmt: skip


@cache
def shown(name: str) -> tuple[Case, gb.Network, Any]:
    """A case of the zoo, its network, and the data of its page, but for moved weights, which cost the most."""
    case = CASES[name]
    net = case.network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphbp.view.differences.DIFFERENCE_COST", 0)
        return case, net, data_of(net.view(*case.batch).html)


def decoded(value: Any) -> Any:
    """The page's data, read as its script reads them."""
    if isinstance(value, list):
        return [decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = next((key for key in ("f64", "i32") if key in value), None)
    if kind is None:
        return {key: decoded(each) for key, each in value.items()}
    return np.frombuffer(base64.b64decode(value[kind]), {"f64": "<f8", "i32": "<i4"}[kind]).reshape(value["shape"])


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return decoded(json.loads(found[1]))


def small(**attributes: Any) -> gb.Network:
    """x1, x2 -> h -> y, and x1 -> y."""
    g = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    g.add_node("h", activation="tanh", bias=0.1)
    g.add_node("y", bias=0.0, **attributes)
    g.add_weighted_edges_from([("x1", "h", 0.4), ("x2", "h", -0.6), ("h", "y", 1.2), ("x1", "y", 0.3)])
    return gb.Network(g, backend="numpy")


X, T = np.array([[1.0, 0.5], [-0.3, 0.8]]), np.array([[0.25], [1.0]])


@pytest.fixture(scope="module")
def page() -> str:
    return small().view(X, T).html


def gradient_of(d: Any, n_parameters: int) -> Any:
    """(N, W): δ_j c_ji z_i of every weight in the page, as its script forms it."""
    found = np.zeros((d["n_samples"], n_parameters))
    place: dict[int, int] = {}
    for e, (i, j) in enumerate(zip(d["src"].tolist(), d["dst"].tolist(), strict=True)):
        z, delta = (d[key][:, d["nodes"][k]["first"] :][:, : d["nodes"][k]["units"]] for key, k in (("z", i), ("delta", j)))
        if (c := d["passed"].get(str(j))) is not None:
            delta = delta * c[:, place.get(j, 0)]
            place[j] = place.get(j, 0) + 1
        add_entries(found, d["parameter"][d["start"][e] :], of_edge(d["shapes"].get(str(e)), delta, z))
    for node in d["nodes"]:
        if node["bias"] >= 0:
            add_entries(found, d["parameter"][node["bias"] :], d["delta"][:, node["first"] :][:, : node["units"]])
    return found


def of_edge(shape: Any, delta: Any, z: Any) -> Any:
    if shape is None or "each" in shape:
        return (delta * z).sum(axis=1, keepdims=True)
    if "dense" in shape:
        return np.einsum("nj,ni->nji", delta, z).reshape(len(z), -1)
    return delta[:, shape["rows"]] * z[:, shape["cols"]]


def add_entries(found: Any, parameter: Any, by_entry: Any) -> None:
    for q in range(by_entry.shape[1]):
        if parameter[q] >= 0:
            found[:, parameter[q]] += by_entry[:, q]


# -- numbers ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHOWN)
def test_the_numbers_are_the_traces_to_the_bit(name: str) -> None:
    case, net, d = shown(name)
    trace = net.trace(*case.batch)
    for what in ("a", "z", "delta"):
        for k, node in enumerate(net.model.spec.names):
            first, units = d["nodes"][k]["first"], d["nodes"][k]["units"]
            np.testing.assert_array_equal(
                d[what][:, first : first + units], np.asarray(getattr(trace, what)[node]).reshape(len(case.X), units)
            )


@pytest.mark.parametrize("name", SHOWN)
def test_errors_and_gradients_add_up(name: str) -> None:
    """Σ e is E, and δ_j c_ji z_i summed over the uses of each parameter is the gradient of each sample."""
    case, net, d = shown(name)
    np.testing.assert_allclose(d["error"].sum(), net.error(*case.batch), rtol=1e-13)
    np.testing.assert_allclose(gradient_of(d, net.n_parameters), net.per_sample_gradient(*case.batch), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", SHOWN)
def test_delta_is_slope_times_beta_and_the_errors_own_term(name: str) -> None:
    d = shown(name)[2]
    own = np.zeros_like(d["delta"])
    own[:, d["output_units"]] = d["own"]
    inner = np.array([u for n in d["nodes"] if n["role"] != "input" for u in range(n["first"], n["first"] + n["units"])])
    slope = np.where(np.isnan(d["slope"]), 0, d["slope"])[:, inner]
    np.testing.assert_allclose(slope * d["beta"][:, inner] + own[:, inner], d["delta"][:, inner], rtol=1e-11, atol=1e-13)


def test_g_and_b_make_the_exact_hessian() -> None:
    """∂²E/∂w_ji∂w_lk = z_i z_k B_jl + z_i δ_l σ'_k G_kj + z_k δ_j σ'_i G_il (docs/mathematics), here on five units."""
    g = gb.layered([2, 3, 2], activation="tanh", seed=0)
    g = gb.Network(g, backend="numpy")
    x, t = np.array([[0.3, -0.8]]), np.array([[0.1, 0.4]])
    d = data_of(g.view(x, t).html)
    c, H = d["curvature"], np.zeros((g.n_parameters,) * 2)
    row = {int(u): k for k, u in enumerate(c["units"])}
    z, delta, slope = (np.append(d[key][0], one) for key, one in (("z", 1.0), ("delta", 0.0), ("slope", 0.0)))
    bias = len(z) - 1
    G = lambda k, j: c["G"][0, row[k], row[j]] if k in row else 0.0  # noqa: E731
    weights = weights_of(d, bias)
    for p, (j, i) in weights.items():
        for q, (m, k) in weights.items():
            H[p, q] = (
                z[i] * z[k] * c["B"][0, row[j], row[m]]
                + z[i] * delta[m] * slope[k] * G(k, j)
                + z[k] * delta[j] * slope[i] * G(i, m)
            )
    np.testing.assert_allclose(H, g.hessian(x, t), rtol=1e-12, atol=1e-14)


def weights_of(d: Any, bias: int) -> dict[int, tuple[int, int]]:
    """Parameter → (unit it leads into, unit it comes from), the bias unit standing last."""
    found = {}
    for e, (i, j) in enumerate(zip(d["src"], d["dst"], strict=True)):
        rows, cols = d["shapes"][str(e)]["dense"]
        for k in range(rows * cols):
            found[int(d["parameter"][d["start"][e] + k])] = d["nodes"][j]["first"] + k // cols, d["nodes"][i]["first"] + k % cols
    for node in d["nodes"]:
        for u in range(node["units"] if node["bias"] >= 0 else 0):
            found[int(d["parameter"][node["bias"] + u])] = node["first"] + u, bias
    return found


@pytest.mark.parametrize("name", ["mixed-heads-gaps", "tied-factors"])
def test_the_diagonal_alone_is_that_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, net, d = shown(name)
    whole = d["curvature"]
    n, m, _ = whole["B"].shape
    monkeypatch.setattr("graphbp.view.curvature.CURVATURE_NUMBERS", n * m * m - 1)
    monkeypatch.setattr("graphbp.view.differences.DIFFERENCE_COST", 0)
    view = net.view(*case.batch)
    part = data_of(view.html)["curvature"]
    np.testing.assert_allclose(part["B"], np.einsum("nii->ni", whole["B"]), rtol=1e-9, atol=1e-12)
    at = [whole["to"].tolist().index(u) for u in part["to"]]
    np.testing.assert_allclose(part["G"], whole["G"][:, at], rtol=1e-12, atol=1e-14)
    assert "the diagonal" in view.notes[0]


def test_moved_weights_give_the_gradient() -> None:
    case, net, _ = shown("mixed-heads-gaps")
    d = data_of(net.view(*case.batch).html)["differences"]
    k = d["steps"].tolist().index(1e-4)
    central = (d["plus"] - d["minus"])[:, :, k] / 2e-4
    np.testing.assert_allclose(central, net.per_sample_gradient(*case.batch), rtol=1e-6, atol=1e-6)


def test_scaled_inputs_and_outputs_are_raw_where_the_trace_is() -> None:
    g = nx.DiGraph([("x", "y", {"weight": 2.0})])
    g.nodes["x"].update(shift=10.0, scale=5.0)
    g.nodes["y"].update(shift=100.0, scale=20.0)
    d = data_of(gb.Network(g, backend="numpy").view([[15.0]], [[150.0]]).html)
    assert (d["a"].tolist(), d["z"].tolist()) == ([[15.0, 2.0]], [[1.0, 140.0]])
    assert (d["y"].tolist(), d["t"].tolist(), d["own"].tolist()) == ([[2.0]], [[2.5]], [[-0.5]])
    assert d["nodes"][0]["scale"] == [5.0]


def test_a_missing_target_weighs_nothing() -> None:
    g = nx.DiGraph([("x", "y", {"weight": 2.0}), ("x", "v", {"weight": 1.0})])
    net = gb.Network(g, missing="skip", backend="numpy")
    d = data_of(net.view([[1.0], [1.0]], [[np.nan, 0.0], [1.0, 0.5]]).html)
    assert d["weight"].tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert d["error"].tolist() == [[0.0, 0.5], [0.5, 0.125]]


def test_float32_numbers_are_those_of_its_sweep() -> None:
    net = small().to(dtype="float32")
    d = data_of(net.view(X, T).html)
    np.testing.assert_array_equal(d["z"][:, 2], net.trace(X, T).z["h"].astype(np.float64))


def test_what_is_not_finite_stays_what_it_is() -> None:
    assert np.isnan(decoded(json.loads(document_json({"v": np.array([np.nan, np.inf])})))["v"][0])


# -- names and the page -----------------------------------------------------------------------------------------------------------------


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--",
    "]]>&amp;",
    "\u202egnp.exe",
    "a\nb",
    "\ud800",
    "@@data@@",
    "__proto__",
    "'\"`${1}",
]


def test_no_name_and_no_title_breaks_out() -> None:
    g = nx.DiGraph()
    g.add_weighted_edges_from([(name, "y", 1.0) for name in HOSTILE])
    page = gb.Network(g, backend="numpy").view(np.ones((1, len(HOSTILE))), [[0.0]], title="@@data@@</title><script>alert(2)").html
    assert page.count("<script") == 7
    assert page.count("</script>") == 7
    assert "alert(1)</script" not in page
    assert "<script>alert(2)" not in page
    labels = {node["label"] for node in data_of(page)["nodes"]}
    assert {HOSTILE[0], HOSTILE[1], "\\u202egnp.exe", "a\\nb", "\\ud800"} <= labels
    page.encode()


def test_names_that_look_alike_are_told_apart() -> None:
    g = nx.DiGraph([(1, "y", {"weight": 1.0}), ("1", "y", {"weight": 1.0})])
    d = gb.Network(g, backend="numpy").view([[1.0, 2.0]], [[0.0]]).document
    assert [node["label"] for node in d["nodes"]] == ["1", "y", "'1'"]


def test_the_page_loads_nothing(page: str) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r"<(link|img|iframe|script)[^>]*(src|href)=", page)
    assert not re.search("@@[a-z]+@@", page)


def test_the_licences_go_with_the_page_and_the_package(page: str) -> None:
    for holder in ("The Cytoscape Consortium", "Chris Pettitt", "OpenJS Foundation"):
        assert holder in page
    assert len(page) < 700_000


def test_a_notebook_shows_it_in_a_frame_of_its_own(page: str) -> None:
    frame = small().view(X, T)._repr_html_()
    assert frame.startswith('<iframe title="graphbp: ')
    assert 'sandbox="allow-scripts"' in frame
    inner = re.search(r'srcdoc="([^"]*)"', frame)
    assert inner is not None
    assert html.unescape(inner[1]) == page


def test_it_is_short_in_a_prompt() -> None:
    assert repr(small().view(X, T)) == "<graphbp.view.View: 4 nodes, 4 edges, 2 samples; .save('view.html')>"


# -- what does not fit, and bad input -------------------------------------------------------------------------------------------------


def test_of_many_samples_the_first_are_taken_and_it_is_said() -> None:
    n = limits.SAMPLES + 50
    view = small().view(np.ones((n, 2)), np.zeros(n), sample_weight=np.linspace(1, 2, n))
    assert data_of(view.html)["n_samples"] == limits.SAMPLES
    assert view.notes[0] == f"the page holds the first {limits.SAMPLES} of {n} samples"


def test_large_weights_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphbp.view.structure.WEIGHTS", 10)
    view = gb.Network(gb.layered([2, 3, 4], seed=0), backend="numpy").view(np.ones((1, 2)), np.ones((1, 4)))
    d = data_of(view.html)
    assert d["start"].tolist() == [0, -1]
    assert any("the weights of 1 edges are left out" in note for note in view.notes)


def test_a_graph_beyond_a_page_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphbp.view.structure.MOST_NODES", 3)
    with pytest.raises(gb.NotSupportedError, match="the graph has 4 nodes and 4 edges; a page takes 3"):
        small().view(X, T)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((X[:, :1], T), {}, "x1, x2|2 columns|X has"),
        ((X, T[:1]), {}, "T has"),
        ((X, T), {"title": 3}, "title=3; it must be text"),
        ((X, T), {"sample_weight": [1.0]}, "sample_weight"),
    ],
)
def test_bad_input_is_named(arguments: Any, options: Any, said: str) -> None:
    with pytest.raises(gb.DataError, match=said):
        small().view(*arguments, **options)


def test_a_page_is_an_html_file(tmp_path: Path) -> None:
    view = small().view(X, T)
    for path in (tmp_path / "view.png", 3):
        with pytest.raises(gb.DataError, match=r"the page is written as \.html"):
            view.save(path)  # type: ignore[arg-type]
    view.save(tmp_path / "view.html")
    assert (tmp_path / "view.html").read_text(encoding="utf-8") == view.html


def test_the_face_does_not_import_the_viewer() -> None:
    code = "import sys, graphbp; print('graphbp.view' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


# -- the shell --------------------------------------------------------------------------------------------------------------------------


def test_the_shell_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    small().save("net.json")
    Path("x.csv").write_text("x1,x2,t\n1,0.5,0.25\n-0.3,0.8,1\n", encoding="utf-8")
    assert main(["view", "net.json", "--data", "x.csv", "--target", "t", "--backend", "numpy", "-o", "view.html"]) == 0
    d = data_of(Path("view.html").read_text(encoding="utf-8"))
    assert d["title"] == "net.json, x.csv"
    np.testing.assert_array_equal(d["delta"][:, 3], small().trace(X, T).delta["y"])
    assert "view.html (0." in capsys.readouterr().err


def test_the_shell_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small().save("net.json")
    Path("x.csv").write_text("x1,x2\n1,0.5\n", encoding="utf-8")
    assert main(["view", "net.json", "--data", "x.csv", "--backend", "numpy", "-o", "view.html"]) == 2
    assert "--target" in capsys.readouterr().err
    assert not Path("view.html").exists()
