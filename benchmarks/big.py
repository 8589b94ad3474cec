"""Networks of ten million edges, as layer nodes with SciPy sparse weights: what a networkx graph of single units would need 10 GB for.

windowed   every unit has 10 sources among the 5,000 units before it
random     every unit has 10 sources anywhere before it
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from scipy import sparse

from benchmarks.networks import Array

FAN_IN = 10
WINDOW = 5_000


def windowed_layers(edges: int) -> nx.DiGraph:
    """Layers of 2,500 units; sources are drawn from the part of the window that lies before the unit's own layer."""
    return _layers(edges, 2_500, WINDOW)


def random_layers(edges: int) -> nx.DiGraph:
    """Layers of 1/40 of all units; sources are drawn from all layers before."""
    return _layers(edges, max(edges // FAN_IN // 40, FAN_IN), None)


def _layers(edges: int, width: int, window: int | None, seed: int = 0) -> nx.DiGraph:
    """Layer 0 is the input; the last unit layer feeds a dense output of 10."""
    rng = np.random.default_rng(seed)
    count = edges // FAN_IN // width
    g = nx.DiGraph()
    g.add_node(0, units=width)
    for layer in range(1, count + 1):
        start = layer * width
        unit = np.arange(start, start + width)
        low = np.zeros(width, np.int64) if window is None else np.maximum(0, unit - window)
        source = rng.integers(low[:, None], start, size=(width, FAN_IN))
        weight = rng.normal(size=(width, FAN_IN)) / np.sqrt(FAN_IN)
        g.add_node(layer, units=width, activation="softsign", bias=np.zeros(width))
        for before in np.unique(source // width).tolist():
            g.add_edge(before, layer, weight=_matrix(source - before * width, weight, source // width == before, width))
    g.add_node("y", units=10, bias=np.zeros(10))
    g.add_edge(count, "y", weight=rng.normal(size=(10, width)) / np.sqrt(width))
    g.nodes["y"]["role"] = "output"
    for layer in range(1, count + 1):
        g.nodes[layer]["role"] = "hidden"
    return g


def _matrix(source: Array, weight: Array, chosen: Array, width: int) -> sparse.csr_array:
    row = np.broadcast_to(np.arange(width)[:, None], source.shape)[chosen]
    matrix = sparse.csr_array((weight[chosen], (row, source[chosen])), shape=(width, width))
    matrix.sum_duplicates()
    return matrix
