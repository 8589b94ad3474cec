"""The viewer in a real browser: clicked through to the end, and what stands on the page compared with `net.trace`.

Needs Playwright (`pip install '.[browser]'`) and a Chromium: `GRAPHBP_CHROMIUM`, one on the PATH, or Playwright's own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[browser]'")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = os.environ.get("GRAPHBP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as problem:
            pytest.skip(f"no Chromium starts here: {str(problem).splitlines()[0]}")
        yield opened
        opened.close()


def network() -> gb.Network:
    """Layers, a gate, a choice, two heads, scaled inputs and outputs."""
    rng = np.random.default_rng(0)
    g = nx.DiGraph()
    g.add_node("genes", units=3, role="input", shift=[0.5, 0.0, 1.0], scale=[2.0, 1.0, 1.0])
    g.add_node("age", role="input", shift=40.0, scale=10.0)
    g.add_node("hidden", units=4, activation="tanh", bias=np.full(4, 0.1))
    g.add_node("gate", units=4, activation="sigmoid", bias=0.2)
    g.add_node("gated", units=4, aggregation="product")
    g.add_node("best", aggregation="max", activation="softplus", bias=0.1)
    g.add_node("price", bias=0.0, role="output", error="sum_of_squares", shift=100.0, scale=25.0, error_weight=0.5)
    g.add_node("kind", units=3, role="output", activation="softmax", bias=np.zeros(3), error="cross_entropy")
    g.add_node("two")
    for u, v, shape in [
        ("gated", "two", (1, 4)),
        ("genes", "hidden", (4, 3)),
        ("genes", "gate", (4, 3)),
        ("age", "hidden", (4, 1)),
        ("gated", "kind", (3, 4)),
        ("gated", "price", (1, 4)),
    ]:
        g.add_edge(u, v, weight=rng.normal(size=shape))
    g.add_weighted_edges_from(
        [("hidden", "gated", 1.0), ("gate", "gated", 0.7), ("age", "best", 0.8), ("two", "best", -0.5), ("best", "price", 1.1)]
    )
    return gb.Network(g, missing="skip", backend="numpy")


def batch() -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=(4, 3)), rng.normal(40, 10, 4)])
    T = np.column_stack([rng.normal(100, 25, 4), np.eye(3)[rng.integers(3, size=4)]])
    T[2, 0] = np.nan
    return X, T


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("view") / "view.html"
    network().view(*batch(), title="A </title> of layers").save(path)
    return path


def opened(browser: Any, file: Path, width: int = 1280, scheme: str = "light") -> tuple[Any, list[str]]:
    """The page, and what goes wrong on it: errors of the script, and anything that it asks the network for."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready=true]")
    return page, wrong


def results(page: Any, where: str = "#formula") -> list[tuple[str, int | None, float]]:
    """(name, unit, value) of every result in the panel."""
    found = page.eval_on_selector_all(
        f"{where} .result", "all => all.map(x => [x.dataset.name, x.dataset.unit ?? null, x.dataset.value])"
    )
    return [(name, None if unit is None else int(unit), float(value.replace("Infinity", "inf"))) for name, unit, value in found]


def flat(net: gb.Network, by_node: Any) -> Any:
    """(N, U) in the page's order of units."""
    return np.concatenate([np.asarray(by_node[name]).reshape(4, -1) for name in net.model.spec.names], axis=1)


def test_clicked_through_to_the_end_every_number_is_the_traces(browser: Any, file: Path) -> None:
    net, (X, T) = network(), batch()
    trace, sample = net.trace(X, T), 1
    table = {name: flat(net, getattr(trace, name))[sample] for name in ("a", "z", "delta")}
    page, wrong = opened(browser, file)
    page.click("#sample-next")
    seen: dict[str, set[int]] = {"a": set(), "z": set(), "delta": set()}
    while True:
        units = page.eval_on_selector_all("#formula select option", "all => all.map(x => x.value)")
        for unit in units or [None]:
            if unit is not None:
                page.select_option("#formula select", unit)
            for name, which, value in results(page):
                if name in seen and which is not None:
                    assert value == table[name][which], (name, which)
                    seen[name].add(which)
                if name == "E":
                    np.testing.assert_allclose(value, net.error(X[1:2], T[1:2]), rtol=1e-13)
        if page.text_content("#where") == f"step {page.evaluate('STEPS.length')} of {page.evaluate('STEPS.length')}":
            break
        page.click("#next")
    n = len(table["a"])
    inputs = set(range(4))
    assert (seen["z"], seen["delta"], seen["a"]) == (set(range(n)), set(range(n)), set(range(n)) - inputs)
    assert wrong == []


def test_a_clicked_unit_shows_its_numbers(browser: Any, file: Path) -> None:
    net, (X, T) = network(), batch()
    page, wrong = opened(browser, file)
    box = page.locator("#graph").bounding_box()
    at = page.evaluate("cy.getElementById('n5').renderedPosition()")  # "best"
    page.mouse.click(box["x"] + at["x"], box["y"] + at["y"])
    assert page.text_content("#chosen h3") == "best"
    found = {name: value for name, _, value in results(page, "#chosen")}
    trace = net.trace(X, T)
    assert (found["a"], found["z"], found["delta"]) == tuple(part["best"][0] for part in (trace.a, trace.z, trace.delta))
    np.testing.assert_allclose(found["slope"] * found["beta"], found["delta"], rtol=1e-14)
    diagonal = net.hessian_diagonal(X[:1], T[:1])[net.parameter_index("best")]
    np.testing.assert_allclose(found["B_jj"], diagonal[0], rtol=1e-12)
    assert wrong == []


def test_a_clicked_weight_shows_how_e_moves(browser: Any, file: Path) -> None:
    net, (X, T) = network(), batch()
    page, wrong = opened(browser, file)
    page.evaluate("chooseEdge([...D.src.keys()].find(e => D.nodes[D.src[e]].label === 'best'))")
    page.select_option("#epsilon", "3")
    found = {name: value for name, _, value in results(page, "#chosen")}
    exact = net.per_sample_gradient(X, T)[0, net.parameter_index("best", "price")][0]
    np.testing.assert_allclose([found["slope"], found["exact"]], exact, rtol=1e-13)
    np.testing.assert_allclose(found["central"], exact, rtol=1e-7)
    at = net.weights[net.parameter_index("best", "price")].copy()
    net.weights[net.parameter_index("best", "price")] = at + 1e-4
    np.testing.assert_allclose(found["plus"], net.error(X[:1], T[:1]), rtol=1e-14)
    assert wrong == []


def test_keys_step_play_and_stop(browser: Any, file: Path) -> None:
    page, wrong = opened(browser, file)
    where = lambda: int((page.text_content("#where") or "").split()[1])  # noqa: E731
    last = page.evaluate("STEPS.length")
    for key, step in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("End", last), ("ArrowRight", last), ("Home", 1)):
        page.keyboard.press(key)
        assert where() == step
    page.select_option("#speed", "400")
    page.click("h1")
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-pressed") == "true"
    for _ in range(200):  # the page allows no eval, which wait_for_function needs
        if page.evaluate("state.step") >= 2:
            break
        page.wait_for_timeout(50)
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-pressed") == "false"
    assert "Forward" in (page.text_content("#live") or "")
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen_and_every_control_has_a_name(browser: Any, file: Path, width: int, scheme: str) -> None:
    page, wrong = opened(browser, file, width, scheme)
    page.keyboard.press("End")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    nameless = "all => all.filter(x => !(x.ariaLabel || x.textContent.trim() || x.labels?.length)).map(x => x.outerHTML)"
    assert page.eval_on_selector_all("button, input, select", nameless) == []
    if folder := os.environ.get("GRAPHBP_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"view-{width}-{scheme}.png", full_page=True)
    assert wrong == []


def test_levels_are_ranks(browser: Any, file: Path) -> None:
    """All nodes of a level stand in one column, or one row, later levels after earlier ones."""
    page, _ = opened(browser, file)
    placed = page.evaluate("cy.nodes().map(n => [n.data('level'), n.position().x, n.position().y])")
    along = 1 if len({round(x) for _, x, _ in placed}) == len({level for level, _, _ in placed}) else 2
    ranks = {level: {round(row[along]) for row in placed if row[0] == level} for level, _, _ in placed}
    assert all(len(places) == 1 for places in ranks.values())
    assert [next(iter(ranks[level])) for level in sorted(ranks)] == sorted(next(iter(p)) for p in ranks.values())


def test_a_large_network_is_searched_and_its_neighbourhoods_drawn(browser: Any, tmp_path: Path) -> None:
    gb.Network(bands(), backend="numpy").view(np.ones((2, 80)), np.zeros((2, 80))).save(tmp_path / "large.html")
    page, wrong = opened(browser, tmp_path / "large.html")
    assert page.evaluate("cy.nodes().length") == 5
    page.fill("#search", "3.17")
    page.click("#found .list button")
    assert page.text_content("#chosen h3") == "3.17"
    assert page.evaluate("cy.nodes().length") == 7
    page.click("#whole")
    assert page.evaluate("cy.nodes().length") == 5
    assert wrong == []


def bands() -> Any:
    """Five levels of 80 units, each fed by three of the level before: "3.17" is unit 17 of the third."""
    g = nx.DiGraph()
    for level in range(1, 5):
        for j in range(80):
            g.add_node(f"{level}.{j}", activation="tanh" if level < 4 else "identity")
            g.add_weighted_edges_from((f"{level - 1}.{(j + i) % 80}", f"{level}.{j}", 0.1 * (i + 1)) for i in range(3))
    return g
