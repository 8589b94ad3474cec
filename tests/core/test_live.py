"""What leads to no output, and what has weight 0, counts for nothing, whatever it overflows to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse

import graphbp as gb
from graphbp.protocols import WEIGHTED_METHODS
from graphbp.second_order.plan import HessianPlan

Array = npt.NDArray[Any]
BACKENDS = ["numpy", "numba"]
METHODS = [  # of E, and what they are given beside X, T and the weights of the samples
    "error",
    "gradient",
    "per_sample_gradient",
    "hessian",
    "outer_product_hessian",
    "hessian_diagonal",
]


def live_graph(rng: np.random.Generator, *, layers: bool) -> nx.DiGraph[Any]:
    """x → h → y with a skip, in units or layers, and an early exit."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    many = 8 if layers else 1

    def weight(units: int, sources: int) -> Any:
        return rng.normal(size=(units, sources)) / 2 if layers else float(rng.normal())

    g.add_node("x", units=many)
    g.add_node("h", units=many, activation="tanh", bias=0.2, role="output")
    g.add_node("y", units=many, activation="sigmoid", bias=-0.1, role="output")
    for u, v in (("x", "h"), ("h", "y"), ("x", "y")):
        g.add_edge(u, v, weight=weight(many, many))
    return g


def with_dead(g: nx.DiGraph[Any]) -> nx.DiGraph[Any]:
    """The same, and x → t → d, y → e, units that overflow and lead nowhere, the first edge tied to a live one."""
    many = g.nodes["x"].get("units", 1)
    full = nx.DiGraph(g)
    big = 1e4 * np.ones((many, many)) if many > 1 else 1e4
    full.add_node("t", units=many, activation="tanh", bias=1.0)
    full.add_node("d", units=many, activation="exp", bias=1.0)
    full.add_node("e", units=many, activation="exp")
    full.edges["x", "h"]["tie"] = "both"
    full.add_edge("x", "t", weight=full.edges["x", "h"]["weight"], tie="both")
    full.add_edge("t", "d", weight=big)
    full.add_edge("y", "e", weight=big)
    return full


def both(backend: str, layers: bool, dtype: str = "float64") -> tuple[gb.Network, gb.Network, Array]:
    """The network without its dead part, with it, and where the parameters of the first stand in the second."""
    g = live_graph(np.random.default_rng(3), layers=layers)
    alone, full = (gb.Network(graph, backend=backend, dtype=dtype) for graph in (g, with_dead(g)))
    place = np.zeros(alone.n_parameters, int)
    for edge in [("x", "h"), ("h", "y"), ("x", "y"), ("h",), ("y",)]:
        place[alone.parameter_index(*edge)] = np.arange(full.n_parameters)[full.parameter_index(*edge)]
    return alone, full, place


def batch(net: gb.Network, n: int = 5) -> tuple[Array, Array]:
    rng = np.random.default_rng(n)
    return rng.uniform(0.5, 1.5, (n, net.schedule.n_inputs)), rng.normal(size=(n, net.schedule.n_outputs))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layers", [False, True], ids=["units", "layers"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_dead_units_that_overflow_change_nothing(backend: str, layers: bool, dtype: str, usable: Callable[[str], str]) -> None:
    """Every quantity is that of the network without them, and 0 for their parameters."""
    alone, full, place = both(usable(backend), layers, dtype)
    X, T = batch(full, 40)
    rng = np.random.default_rng(1)
    V, U, v = rng.normal(size=T.shape), rng.normal(size=X.shape), rng.normal(size=full.n_parameters)
    limit = {"rtol": 1e-12, "atol": 1e-13} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-4}

    def same(found: Any, expected: Any, *parameter_axes: int) -> None:
        wide = np.zeros([full.n_parameters if a in parameter_axes else m for a, m in enumerate(np.shape(expected))])
        wide[tuple(np.ix_(*(place if a in parameter_axes else np.arange(m) for a, m in enumerate(np.shape(expected)))))] = expected
        np.testing.assert_allclose(found, wide, **limit)

    with np.errstate(all="raise"):
        same(full.forward(X), alone.forward(X))
        assert np.isclose(full.error(X, T), alone.error(X, T), **limit)
        same(full.gradient(X, T), alone.gradient(X, T), 0)
        same(full.gradient(X[:1], T[:1]), alone.gradient(X[:1], T[:1]), 0)
        same(full.per_sample_gradient(X, T), alone.per_sample_gradient(X, T), 1)
        same(full.weight_jacobian(X), alone.weight_jacobian(X), 2)
        same(full.jacobian(X), alone.jacobian(X))
        same(full.vjp(X, V), alone.vjp(X, V))
        same(full.jvp(X, U), alone.jvp(X, U))
        same(full.weight_vjp(X, V), alone.weight_vjp(X, V), 0)
        same(full.weight_jvp(X, v), alone.weight_jvp(X, v[place]))
        for name in ("hessian", "outer_product_hessian"):
            same(getattr(full, name)(X, T), getattr(alone, name)(X, T), 0, 1)
        same(full.hessian_diagonal(X, T), alone.hessian_diagonal(X, T), 0)
        for name in ("hessian_operator", "outer_product_operator"):
            same(getattr(full, name)(X, T) @ v, getattr(alone, name)(X, T) @ v[place], 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_blocks_and_trace_have_the_dead_units_too(backend: str, usable: Callable[[str], str]) -> None:
    alone, full, _ = both(usable(backend), layers=False)
    X, T = batch(full)
    for kind in ("exact", "outer_product"):
        blocks = full.hessian_blocks(X, T, kind=kind)  # type: ignore[arg-type]  # mypy wants the literals
        assert list(blocks) == list(full.hessian_blocks(X, T))
        assert set(blocks) == {"h", "y", "t", "d", "e"}
        H = full.hessian(X, T) if kind == "exact" else full.outer_product_hessian(X, T)
        for name, unit in blocks.items():
            np.testing.assert_allclose(unit.block[0], H[np.ix_(unit.index[0], unit.index[0])], atol=1e-13, err_msg=str(name))
    trace = full.trace(X, T)
    assert np.isinf(trace.z["d"]).all()
    assert (trace.delta["d"] == 0).all()
    assert (trace.delta["t"] == 0).all()
    np.testing.assert_array_equal(trace.z["t"], np.tanh(trace.a["t"]))
    for node in ("x", "h", "y"):
        for part, other in zip((trace.a, trace.z, trace.delta), _parts(alone, X, T), strict=True):
            np.testing.assert_allclose(part[node], other[node], rtol=1e-13)
    assert "inf" in str(trace)


def _parts(net: gb.Network, X: Array, T: Array) -> tuple[Any, Any, Any]:
    trace = net.trace(X, T)
    return trace.a, trace.z, trace.delta


def test_some_units_of_a_layer_are_dead() -> None:
    """Units 1 and 2 of h lead nowhere: the live part has the two others, under their names, and a smaller dense block."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", units=16)
    g.add_node("h", units=4, activation="exp", bias=[0.1, 0.2, 0.3, 0.4])
    g.add_node("y")
    W = np.arange(64.0).reshape(4, 16) / 64
    g.add_edge("x", "h", weight=W)
    g.add_edge("h", "y", weight=sparse.csr_array([[1.0, 0, 0, 2.0]]))
    net = gb.Network(g, backend="numpy")
    s, live = net.schedule, net.schedule.live
    assert (s.n_rows, live.n_rows) == (21, 19)
    assert [b.shape for b in live.dense_blocks] == [(2, 16)]
    assert [live.describe_row(r) for r in (0, 16, 17, 18)] == ["'x' unit 0", "'h' unit 0", "'h' unit 3", "'y'"]
    assert live.live is live
    assert live.n_parameters == s.n_parameters
    X = np.linspace(0, 1, 32).reshape(2, 16)
    a = X @ W.T + g.nodes["h"]["bias"]
    np.testing.assert_allclose(net.forward(X)[:, 0], np.exp(a[:, 0]) + 2 * np.exp(a[:, 3]), rtol=1e-13)
    delta = np.exp(a) * [1, 0, 0, 2]
    np.testing.assert_allclose(net.weight_vjp(X, np.ones((2, 1)))[:64], (delta.T @ X).ravel(), rtol=1e-13)
    block = net.hessian_blocks(X, np.zeros((2, 1)))["h"]
    assert block.index.shape == (4, 17)
    assert not block.block[[1, 2]].any()
    assert block.block[[0, 3]].any(axis=(1, 2)).all()


def test_the_live_part_of_a_network_without_dead_units_is_the_schedule() -> None:
    s = gb.Network(live_graph(np.random.default_rng(0), layers=True), backend="numpy").schedule
    assert s.live is s


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_last_layer_leads_to_no_output(backend: str, usable: Callable[[str], str]) -> None:
    """The bottleneck of 4-2-4 is the output: its Hessian is that of 4-2."""
    g = gb.layered([4, 2, 4])
    _, middle, last = list(g)
    g.nodes[middle]["role"], g.nodes[last]["role"] = "output", "hidden"
    full = gb.Network(g, backend=usable(backend))
    first = gb.Network(g.subgraph([node for node in g if node != last]).copy(), backend=backend)
    X, T = batch(full)
    w = first.n_parameters
    for name in ("hessian", "outer_product_hessian"):
        H = getattr(full, name)(X, T)
        np.testing.assert_allclose(H[:w, :w], getattr(first, name)(X, T), rtol=1e-12, atol=1e-14)
        assert not H[w:].any()


# -- samples of weight 0 ------------------------------------------------------------------------------------------------------


def exploding(backend: str) -> gb.Network:
    """y = exp(x + b): the error of x = 1e4 is infinite."""
    g = nx.DiGraph([("x", "y", {"weight": 1.0})])
    g.nodes["y"].update(activation="exp", bias=0.0)
    return gb.Network(g, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_sample_of_weight_0_counts_for_nothing(backend: str, method: str, usable: Callable[[str], str]) -> None:
    net = exploding(usable(backend))
    X, T, s = np.array([[1e4], [0.5], [-0.2]]), np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 2.0, 0.5])
    found, expected = getattr(net, method)(X, T, s), getattr(net, method)(X[1:], T[1:], s[1:])
    if method == "per_sample_gradient":
        assert not found[0].any()
        found = found[1:]
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    nothing = getattr(net, method)(X, T, np.zeros(3))
    assert np.shape(nothing) == np.shape(getattr(net, method)(X[1:2], T[1:2])) or method == "per_sample_gradient"
    assert not np.any(nothing)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_nor_does_it_in_products_blocks_and_traces(backend: str, usable: Callable[[str], str]) -> None:
    net = exploding(usable(backend))
    X, T, s = np.array([[1e4], [0.5]]), np.array([[0.0], [1.0]]), np.array([0.0, 2.0])
    for operator in (net.hessian_operator, net.outer_product_operator):
        np.testing.assert_allclose(operator(X, T, s) @ np.eye(2), operator(X[1:], T[1:], s[1:]) @ np.eye(2), rtol=1e-13)
        assert not (operator(X, T, 0 * s) @ np.eye(2)).any()
    for kind in ("exact", "outer_product"):
        one, other = (net.hessian_blocks(X[k:], T[k:], s[k:], kind=kind)["y"].block for k in (0, 1))  # type: ignore[arg-type]
        np.testing.assert_allclose(one, other, rtol=1e-13)
        assert not net.hessian_blocks(X, T, 0 * s, kind=kind)["y"].block.any()  # type: ignore[arg-type]
    trace = net.trace(X, T, s)
    assert trace.delta["y"][0] == 0
    assert np.isinf(trace.z["y"][0])
    assert trace.delta["y"][1] == pytest.approx(2 * (np.exp(0.5) - 1) * np.exp(0.5))


def test_the_methods_with_weights_are_those_that_say_sample_weight() -> None:
    assert set(WEIGHTED_METHODS) == {
        *("error", "error_and_gradient", "per_sample_gradient", "trace", "unit_blocks", "error_product"),
        *("hessian", "outer_product_hessian", "hessian_diagonal", "hessian_product", "outer_product_product"),
    }


# -- slopes that are infinite -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*the slope of sqrt:graphbp.NumericalWarning")  # it is infinite, and said
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_an_output_of_infinite_slope_that_feeds_nothing() -> None:
    """y = √b at b = 0, t = 1: ∂E/∂b = (y − t)/(2√b) = −∞, not NaN.  (Where copies of a sample fill up vectors it may be NaN.)"""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x")
    g.add_node("y", activation="sqrt", bias=0.0, role="output")
    net = gb.Network(g, backend="numpy")
    assert net.gradient([[1.0]], [[1.0]]).tolist() == [-np.inf]


def test_a_plan_of_the_live_part_has_no_dead_group() -> None:
    _, full, _ = both("numpy", layers=True)
    live = full.schedule.live
    assert sum(group.n_units for group in HessianPlan.of(live).groups) == live.n_units == 16
