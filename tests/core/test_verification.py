"""`net.check`: sound networks pass, a planted fault is named with its edge, kinks and sizes are told."""

from __future__ import annotations

from contextlib import contextmanager

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp import registry
from graphbp.testing import find_cases
from graphbp.testing.faults import FAULTS, Fault, FaultyBackend

SOUND = [
    "xor",
    "single-unit",
    "mixed",
    "tied",
    "frozen",
    "all-frozen",
    "lonely",
    "two-heads",
    "kinked",
    "registered",
    "poisson-exp",
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", SOUND)
def test_sound_networks_pass(name, dtype):
    case = find_cases([name])[0]
    report = case.network(dtype=dtype).check(*case.batch)
    assert report, str(report)
    assert "all derivatives agree" in str(report)
    assert {row.quantity for row in report.rows} >= {"gradient", "jacobian", "weight_jacobian", "hessian", "outer_product_operator"}


@pytest.mark.parametrize("method", ["forward", "central", "complex_step"])
def test_methods(method):
    case = find_cases(["xor"])[0]
    report = case.network().check(*case.batch, method=method)
    assert report.ok
    assert report.rows[0].against == method


@contextmanager
def faulty(name, fault):
    backend = FaultyBackend(name, fault)
    registry.register_backend(backend)
    try:
        yield backend.name
    finally:
        registry.unregister_backend(backend.name)


def scale_parameter(index):
    """A backend whose gradient is 1.001 times too large in one parameter."""

    def call(c):
        found = c.result()
        if c.method == "error_and_gradient":
            found[1][index] *= 1.001
        return found

    return Fault("", (), call=call)


def test_the_faulty_edge_is_named():
    case = find_cases(["erdos-renyi"])[0]
    index = int(np.argsort(np.abs(case.definition.gradient(*case.batch)))[-5])
    name = case.definition.parameter_name(index)
    with faulty("one edge", scale_parameter(index)) as backend:
        report = case.network(backend).check(*case.batch, second_order=False)
    assert not report
    assert not report.ok
    row = report.wrong[0]
    assert (row.quantity, row.worst) == ("gradient", name)
    assert abs(row.found / row.expected - 1.001) < 1e-4
    assert name in str(report)
    assert "are wrong" in str(report)


def test_the_faulty_edge_of_a_large_network_is_named():
    """Differenced along directions, the largest weights one by one."""
    case = find_cases(["large"])[0]
    index = int(np.argmax(np.abs(case.definition.gradient(*case.batch))))
    with faulty("one edge", scale_parameter(index)) as backend:
        report = case.network(backend).check(*case.batch, second_order=False)
    assert not report
    assert case.definition.parameter_name(index) in [row.worst for row in report.wrong]
    assert any("random directions" in note for note in report.notes)


def test_a_wrong_second_derivative_is_seen_in_second_order_alone():
    fault = FAULTS["wrong σ″"]
    case = find_cases(["xor"])[0]
    with faulty("wrong σ″", fault) as backend:
        report = case.network(backend).check(*case.batch)
    by_inputs = {"input_hessian", "second_order_product x", "second_order_product θ", "mixed_vjp"}
    assert {row.quantity for row in report.wrong} == {"hessian"} | by_inputs


def test_a_kink_is_told():
    g = nx.DiGraph()
    g.add_node("h", activation="relu", bias=-1.0)
    g.add_weighted_edges_from([("x", "h", 1.0), ("h", "y", 2.0), ("x", "y", 0.5)])
    net = gb.Network(g, backend="numpy")
    report = net.check([[1.0], [0.3], [2.0]], [[0.0], [1.0], [1.0]])
    assert report
    assert any("1 of 3 samples left out" in note and "node 'h' in sample 0, a = 0" in note for note in report.notes)
    assert any("'relu' (1 unit, such as node 'h') has no second derivative at a = 0" in note for note in report.notes)
    report = net.check([[1.0]], [[0.0]])
    assert report.rows[0].status == "void"
    assert "choose other samples" in str(report)


class OnlyRequired:
    """A backend with the three required methods."""

    name = "required only"

    def __init__(self):
        inner = registry.get_backend("numpy")
        self.availability, self.owns, self.asarray, self.to_numpy = inner.availability, inner.owns, inner.asarray, inner.to_numpy

    def compile(self, schedule, error, dtype):
        run = registry.get_backend("numpy").compile(schedule, error, dtype)
        return type("Few", (), {name: getattr(run, name) for name in ("forward", "error_and_gradient", "vjp")})()


def test_what_a_backend_lacks_is_a_row_and_not_wrong():
    registry.register_backend(OnlyRequired())
    try:
        case = find_cases(["xor"])[0]
        report = case.network("required only").check(*case.batch)
    finally:
        registry.unregister_backend("required only")
    assert report
    assert [row.status for row in report.rows if row.quantity.startswith("hessian")] == ["refused", "refused"]
    assert "offers no hessian_product" in str(report)


def test_bad_arguments():
    case = find_cases(["xor"])[0]
    with pytest.raises(gb.DataError, match="tolerance=-1"):
        case.network().check(*case.batch, tolerance=-1)
    with pytest.raises(gb.UnknownNameError, match="method of differentiation 'cental'"):
        case.network().check(*case.batch, method="cental")


def test_an_exact_fit_is_no_false_alarm():
    """Where E is round-off, the gradient is too: it is judged by what a rounding of y is worth."""
    net = gb.Network(gb.random_dag(3, 20, 2, seed=1), backend="numpy")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1, 3))
    T = net.forward(X) + 1e-13 * rng.normal(size=(1, 2))
    report = net.check(X, T)
    assert report.ok, report
    assert max(abs(net.gradient(X, T))) < 1e-11


def steep():
    """y = sin(300 x) at x near 10, where the truncation of a central difference is 5e-5 of the derivative."""
    g = nx.DiGraph()
    g.add_node("y", activation="sin", bias=0.0)
    g.add_edge("x", "y", weight=300.0)
    x = np.linspace(9.0, 10.0, 20)[:, None]
    return g, x, np.zeros((20, 1))


def test_a_steep_network_is_no_false_alarm():
    g, X, T = steep()
    report = gb.Network(g, backend="numpy").check(X, T, method="central")
    assert report, str(report)
    assert any("extrapolated" in row.against for row in report.rows)


def test_a_fault_in_a_steep_network_is_seen():
    g, X, T = steep()
    with faulty("steep", scale_parameter(0)) as backend:
        report = gb.Network(g, backend=backend).check(X, T, method="central")
    assert report.wrong[0].worst == "edge 'x' -> 'y'"


def saturated(scale, dtype="float64", error="cross_entropy"):
    """Samples for which a softmax is as sure as e^-scale, and the classes it finds."""
    graph = gb.layered([3, 4, 3], output_activation="softmax", seed=1)
    X = np.random.default_rng(0).normal(size=(200, 3))
    a = np.sort(gb.Network(gb.layered([3, 4, 3], seed=1), backend="numpy").forward(X), axis=1)
    margin = a[:, -1] - a[:, -2]
    X, scale = X[np.argsort(margin)[-12:]], scale / np.sort(margin)[-12]
    graph.edges["h1", "y"]["weight"] = graph.edges["h1", "y"]["weight"] * scale
    net = gb.Network(graph, error=error, backend="numpy", dtype=dtype)
    labels = net.forward(X).argmax(axis=1)
    return graph, X, labels if error == "cross_entropy" else np.eye(3)[labels]


@pytest.mark.parametrize("error", ["cross_entropy", "sum_of_squares"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [30, 80, 300])
def test_a_saturated_softmax_is_no_false_alarm(scale, dtype, error):
    graph, X, T = saturated(scale, dtype, error)
    report = gb.Network(graph, error=error, backend="numpy", dtype=dtype).check(X, T)
    assert report, str(report)


def test_a_saturated_sigmoid_is_no_false_alarm():
    g = nx.DiGraph([("x", "y", {"weight": -1.0})])
    g.nodes["y"]["activation"] = "sigmoid"
    net = gb.Network(g, error="binary_cross_entropy", backend="numpy")
    report = net.check([[-400.0]], [[1.0]])
    assert report.ok, report


def test_a_fault_beside_a_saturated_softmax_is_seen():
    """Its gradient is exact where the class is wrong, so nothing is excused there."""
    graph, X, labels = saturated(300)
    with faulty("saturated", scale_parameter(0)) as backend:
        report = gb.Network(graph, error="cross_entropy", backend=backend).check(X, (labels + 1) % 3)
    assert report.wrong[0].quantity == "gradient"


def regression(columns, activation="identity"):
    """One unit on `columns` inputs."""
    g = nx.DiGraph()
    g.add_node("y", bias=0.0, activation=activation)
    g.add_weighted_edges_from([(f"x{i}", "y", 0.0) for i in range(columns)])
    return g


@pytest.mark.parametrize("method", ["forward", "central", "complex_step"])
def test_the_optimum_of_unscaled_data_is_no_false_alarm(method):
    """The gradient is 0 where its terms are 1e7: what is left is judged by the terms."""
    datasets = pytest.importorskip("sklearn.datasets")
    X, t = datasets.load_diabetes(return_X_y=True, scaled=False)
    net = gb.Network(regression(X.shape[1]), backend="numpy")
    net.weights = np.linalg.lstsq(np.c_[X, np.ones(len(X))], t, rcond=None)[0]
    report = net.check(X, t, method=method)
    assert report, str(report)
    assert not [row for row in report.rows if row.status == "void"]


@pytest.mark.parametrize("method", ["forward", "central"])
@pytest.mark.parametrize("activation", ["relu", "elu", "softplus", "tanh"])
def test_hidden_units_on_raw_columns_are_no_false_alarm(activation, method):
    """A usual step moves their pre-activations by hundreds, across kinks and curvature."""
    datasets = pytest.importorskip("sklearn.datasets")
    X, t = datasets.load_wine(return_X_y=True)
    graph = gb.layered([X.shape[1], 4, 1], activation=activation, seed=1)
    graph.edges["x", "h1"]["weight"] = graph.edges["x", "h1"]["weight"] / X.std(axis=0)
    report = gb.Network(graph, backend="numpy").check(X, t, method=method)
    assert report, str(report)
    assert not [row for row in report.rows if row.status == "void"]


@pytest.mark.parametrize("method", ["forward", "central", "complex_step"])
def test_a_fault_in_a_small_column_beside_a_large_one_is_seen(method):
    """∂E/∂w is 1e12 times as large for the one as for the other; both are judged in their own units."""
    rng = np.random.default_rng(0)
    g = regression(2, "tanh")
    g.edges["x0", "y"]["weight"], g.edges["x1", "y"]["weight"] = 4e-7, -6e5
    X, T = rng.normal(size=(30, 2)) * [1e6, 1e-6], rng.normal(size=(30, 1))
    with faulty("small column", scale_parameter(1)) as backend:
        if method == "forward":  # errs by 1e-7 only, but is held to 2e-3
            report = gb.Network(g, backend=backend).check(X, T, method=method, tolerance=1e-5)
        else:
            report = gb.Network(g, backend=backend).check(X, T, method=method)
    assert report.wrong[0].worst == "edge 'x1' -> 'y'"
    assert gb.Network(g, backend="numpy").check(X, T, method=method)


def test_nearly_saturated_units_are_checked_in_float32():
    """A parameter that is hardly felt has a unit beyond float32."""
    g = nx.DiGraph([("x", "h", {"weight": -1.0}), ("h", "y", {"weight": 1e-3})])
    g.nodes["h"].update(activation="softplus", bias=0.0)
    net = gb.Network(g, backend="numpy", dtype="float32")
    assert net.check([[97.0], [98.0]], [1.0, 2.0]).ok


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_derivative_that_cancels_to_nothing_is_no_alarm(dtype):
    """A weight that all units of a softmax share moves none of them: ∂E/∂w = 0, of which rounding leaves 5e-17."""
    g = nx.DiGraph([("x", "y0", {"weight": 1.0, "tie": "t"}), ("x", "y1", {"weight": 1.0, "tie": "t"})])
    for node in ("y0", "y1"):
        g.nodes[node].update(activation="softmax")
    net = gb.Network(g, error="cross_entropy", backend="numpy", dtype=dtype)
    report = net.check([[1.0]], [[0.2663740078030134, 0.7336259921969865]])
    assert report.ok, report
