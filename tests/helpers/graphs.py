"""When two graphs are the same: in type, value and order, all the way down."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse


def same(a: Any, b: Any) -> bool:
    """Equal in type and value; NaN equals NaN, and dictionaries agree in their order too."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if sparse.issparse(a):
        return a.format == b.format and a.shape == b.shape and a.dtype == b.dtype and (abs(a - b)).nnz == 0 and a.nnz == b.nnz
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(x, y) for x, y in zip(a, b, strict=True)) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b or (a != a and b != b))


def assert_same_graph(g: nx.DiGraph, h: nx.DiGraph) -> None:
    """Nodes, predecessors and attributes, in their order."""
    assert same(list(g), list(h))
    assert same(dict(g.graph), dict(h.graph))
    for node in g:
        assert same(g.nodes[node], h.nodes[node]), node
        assert list(g.pred[node]) == list(h.pred[node])
    for u, v in g.edges:
        assert same(g.edges[u, v], h.edges[u, v]), (u, v)
