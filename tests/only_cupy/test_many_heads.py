"""Errors, weights and gaps of each output are refused by name: the kernels have one error, and one weight a sample."""

from __future__ import annotations

import networkx as nx
import pytest
from instruments import probe

import graphbp as gb
from graphbp.exceptions import NotSupportedError


def two_outputs() -> nx.DiGraph:
    g = nx.DiGraph([("x", "y", {"weight": 1.0}), ("x", "z", {"weight": 0.5})])
    g.nodes["z"]["activation"] = "exp"
    return g


@pytest.mark.parametrize("options", [{"error": {"y": "sum_of_squares", "z": "poisson"}}, {"error_weights": {"y": 0.5}}])
def test_heads_of_their_own_are_refused_when_compiled(options: dict) -> None:
    with pytest.raises(NotSupportedError, match=r"takes one error for all outputs.*y: sum_of_squares"):
        gb.Network(two_outputs(), backend=probe.SIMULATED, **options)


def test_gaps_and_weights_of_outputs_are_refused_when_they_come() -> None:
    net = gb.Network(two_outputs(), backend=probe.SIMULATED)
    with pytest.raises(NotSupportedError, match="weighs samples, not the outputs of a sample"):
        net.error([[1.0]], [[1.0, 2.0]], [[1.0, 0.5]])
    net.missing = "skip"
    assert net.error([[1.0]], [[1.0, 2.0]]) > 0  # nothing is missing
    with pytest.raises(NotSupportedError, match="weighs samples, not the outputs of a sample"):
        net.gradient([[1.0], [2.0]], [[1.0, 2.0], [float("nan"), 1.0]])
