"""graphbp itself, through its public face only."""

from __future__ import annotations

from typing import Any

import networkx as nx

import graphbp as gb
from benchmarks.networks import Array
from benchmarks.outcome import MissingError, Run

BACKENDS = ("numba", "numpy")


def network(graph: nx.DiGraph, backend: str, dtype: str = "float64", error: str = "sum_of_squares") -> Any:
    """A network on the named backend, or `MissingError`."""
    known = gb.backends()
    if backend not in known or not known[backend].available:
        raise MissingError(f"the {backend} backend is not available", f'pip install "graphbp[{backend}]"')
    return gb.Network(graph, error=error, backend=backend, dtype=dtype)


def call(graph: nx.DiGraph, backend: str, dtype: str, method: str, *arguments: Array, error: str = "sum_of_squares") -> Run:
    """Time `net.method(*arguments)`."""
    net = network(graph, backend, dtype, error)
    function = getattr(net, method)
    return Run(lambda: function(*arguments))
