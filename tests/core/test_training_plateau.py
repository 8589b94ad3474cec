"""Which parameters flat units hide: those that lead nowhere else, whatever their place in θ."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.training.plateau import flat_units, unseen
from graphbp.training.problem import Problem, pose


def problem(order: list[str], activation: str = "tanh") -> Problem:
    """`flat` saturates (or is dead) at every sample, `live` at none; the weight from x is one parameter for both."""
    g = nx.DiGraph()
    g.add_node("x")
    for node in order:
        g.add_node(node, activation=activation, bias=0.0 if node == "live" else 1e3 if activation == "tanh" else -1e3)
        g.add_edge("x", node, weight=0.5, tie="shared")
    g.add_node("y")
    for node in order:
        g.add_edge(node, "y", weight=1.0)
    net = gb.Network(g, backend="numpy")
    X = np.array([[-1.0], [0.5], [1.0]])
    return pose(net, X, X, None, None, 0, None, 0)


@pytest.mark.parametrize("order", [["flat", "live"], ["live", "flat"]])
def test_a_parameter_that_also_leads_to_a_live_unit_is_seen(order):
    case = problem(order)
    assert flat_units(case, case.net.weights) == ["'flat'"]
    hidden = unseen(case, case.net.weights)
    assert np.flatnonzero(hidden).tolist() == [case.net.parameter_index("flat").start]
    assert case.net.parameter_index("x", "live").start == 0


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_saturated_and_dead_units_are_flat(activation):
    case = problem(["flat", "live"], activation)
    assert flat_units(case, case.net.weights) == ["'flat'"]


@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt"])
@pytest.mark.parametrize("order", [["flat", "live", "dead"], ["dead", "flat", "live"]])
def test_a_unit_that_leads_to_no_output_changes_nothing(order, optimizer):
    """Pruning leaves such units; the rest is trained as without them."""

    def fitted(order: list[str]) -> gb.Network:
        g = nx.DiGraph()
        g.add_node("x", role="input")
        for node in order:
            g.add_node(node, activation="tanh", bias=1e3 if node == "flat" else 0.1)
            g.add_edge("x", node, weight=0.5)
        g.add_node("y", bias=0.0, role="output")
        for node in order:
            if node != "dead":
                g.add_edge(node, "y", weight=1.0)
        net = gb.Network(g, backend="numpy")
        X = np.linspace(-2, 2, 9)[:, None]
        gb.train(net, X, np.sin(X), optimizer=optimizer, progress=False)
        return net

    whole, alone = fitted(order), fitted([node for node in order if node != "dead"])
    for node in ("flat", "live"):
        assert whole.weight(node, "y") == pytest.approx(alone.weight(node, "y"), rel=1e-9)
    assert (whole.weight("x", "dead"), whole.bias("dead")) == pytest.approx((0.5, 0.1), rel=1e-9)


@pytest.mark.parametrize("error", ["cross_entropy", "binary_cross_entropy"])
def test_separable_classes_are_seen_beside_such_a_unit(error):
    g = gb.layered([2, 4, 2], units="units", error=error, seed=0)
    g.remove_edges_from([edge for edge in g.edges if edge[0] == "h1.1"])
    X = np.array([[-1.0, -1.0], [-2.0, -1.0], [1.0, 1.0], [2.0, 1.0]])
    T = np.repeat(np.eye(2), 2, axis=0)
    history = gb.train(gb.Network(g, error=error, backend="numpy"), X, T, optimizer="lbfgs", epochs=300, progress=False)
    assert "the classes are separable" in history.reason
