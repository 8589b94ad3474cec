"""graphbp: backpropagation, Jacobians and exact Hessians of any feed-forward DAG, on interchangeable backends.

>>> import networkx as nx, graphbp as gb
>>> g = nx.DiGraph()
>>> g.add_nodes_from(["x1", "x2"])
>>> g.add_node("h", activation="tanh", bias=0.1)
>>> g.add_node("y", bias=0.0)
>>> g.add_weighted_edges_from([("x1", "h", 0.4), ("x2", "h", -0.6), ("h", "y", 1.2), ("x1", "y", 0.3)])
>>> net = gb.Network(g, error="sum_of_squares", backend="numpy")
>>> net.gradient([[1.0, 0.5]], [[0.25]]).shape
(6,)

This module is the complete public list; `graphbp.extend` is the one for authors of backends and plugins, `graphbp.testing` holds the
conformance kit.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphbp.activations import register_activation
from graphbp.catalogue import activations, backends, error_functions
from graphbp.compose import ComposedWarning
from graphbp.config import config
from graphbp.error_functions import register_error_function
from graphbp.exceptions import (
    BackendError,
    BackendNotAvailableError,
    ConfigError,
    DataError,
    DataWarning,
    FileFormatError,
    GraphbpError,
    GraphError,
    MemoryLimitError,
    NotSupportedError,
    NumericalError,
    NumericalWarning,
    RegistryError,
    UnknownNameError,
    WeightError,
)
from graphbp.network import Network
from graphbp.schedule import Schedule

if TYPE_CHECKING:
    from graphbp.builders import from_adjacency, from_edges, layered, random_dag
    from graphbp.doors import from_sklearn
    from graphbp.edges import merge_parallel_edges, prune
    from graphbp.files import load
    from graphbp.training import train
    from graphbp.uncertainty import laplace

__version__ = "0.1.0"

_LAZY = {
    "from_adjacency": "graphbp.builders",
    "from_edges": "graphbp.builders",
    "from_sklearn": "graphbp.doors",
    "laplace": "graphbp.uncertainty",
    "layered": "graphbp.builders",
    "load": "graphbp.files",
    "merge_parallel_edges": "graphbp.edges",
    "prune": "graphbp.edges",
    "random_dag": "graphbp.builders",
    "train": "graphbp.training",
}
"""Names whose modules are imported on first use."""

__all__ = [
    "BackendError",
    "BackendNotAvailableError",
    "ComposedWarning",
    "ConfigError",
    "DataError",
    "DataWarning",
    "FileFormatError",
    "GraphError",
    "GraphbpError",
    "MemoryLimitError",
    "Network",
    "NotSupportedError",
    "NumericalError",
    "NumericalWarning",
    "RegistryError",
    "Schedule",
    "UnknownNameError",
    "WeightError",
    "activations",
    "backends",
    "config",
    "error_functions",
    "from_adjacency",
    "from_edges",
    "from_sklearn",
    "laplace",
    "layered",
    "load",
    "merge_parallel_edges",
    "prune",
    "random_dag",
    "register_activation",
    "register_error_function",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'graphbp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
