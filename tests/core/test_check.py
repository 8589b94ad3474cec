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
        del registry._added[backend.name]


def scale_parameter(index):
    """A backend whose gradient is 1.001 times too large in one parameter."""

    def call(schedule, memory, method, run, args):
        found = run(*args)
        if method == "error_and_gradient":
            found[1][index] *= 1.001
        return found

    return Fault("", (), call=call)


def test_the_faulty_edge_is_named():
    case = find_cases(["erdos-renyi"])[0]
    index = int(np.argsort(np.abs(case.definition.gradient(*case.batch)))[-5])
    name = case.definition.parameter_name(index)
    with faulty("one edge", scale_parameter(index)) as backend:
        report = case.network(backend).check(*case.batch)
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


def test_a_wrong_second_derivative_is_seen_in_the_hessian_alone():
    fault = FAULTS["wrong σ″"]
    case = find_cases(["xor"])[0]
    with faulty("wrong σ″", fault) as backend:
        report = case.network(backend).check(*case.batch)
    assert {row.quantity for row in report.wrong} == {"hessian"}


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
        del registry._added["required only"]
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
