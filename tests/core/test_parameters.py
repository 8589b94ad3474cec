"""The order of θ, frozen and tied parameters, and parameter_index."""

from __future__ import annotations

import networkx as nx

import graphbp as gb


def test_one_edge() -> None:
    g = nx.DiGraph([("x", "y", {"weight": 2.0})])
    assert gb.Network(g, backend="numpy").forward([[3.0]]).tolist() == [[6.0]]
