"""Which parameters flat units hide: those that lead nowhere else, whatever their place in θ."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.training.plateau import flat_units, unseen
from graphbp.training.problem import Problem, pose


def problem(order: list[str]) -> Problem:
    """`flat` saturates at every sample, `live` at none; the weight from x is one parameter for both."""
    g = nx.DiGraph()
    g.add_node("x")
    for node in order:
        g.add_node(node, activation="tanh", bias=1e3 if node == "flat" else 0.0)
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
