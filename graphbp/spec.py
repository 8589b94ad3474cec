"""`GraphSpec`: a checked graph as flat arrays, which everything after the reading works on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation

__all__ = ["HIDDEN", "INPUT", "OUTPUT", "ROLES", "GraphSpec", "describe_edge"]

Node = Hashable

HIDDEN, INPUT, OUTPUT = 0, 1, 2
ROLES = {"hidden": HIDDEN, "input": INPUT, "output": OUTPUT}


@dataclass(frozen=True)
class GraphSpec:
    """A checked graph as flat arrays; `i` numbers nodes in graph order, `e` edges sorted by destination, then predecessor order.

    Attributes
    ----------
    names, index : node names by number, and back.
    units, role, activation : per node; `activation` holds positions in `activations`.
    bias : per node, None or a float64 array of length units.
    edge_src, edge_dst : (E,) node numbers.
    edge_weight : (E,) float64; NaN where the edge carries an array, which then stands in `edge_array`.
    edge_array : edge number → dense (units_dst, units_src) float64 array or CSR matrix with sorted indices; into a layer that aggregates
        unit by unit a vector (units,), where its weight is no number for all of them.
    edge_frozen, bias_frozen, edge_tie, bias_tie : trainable=False and tie= of edges and biases.
    node_extra, edge_extra, graph_extra : every attribute as it came, except the weights and biases themselves (only where there
        is anything besides them).
    """

    names: tuple[Node, ...]
    index: Mapping[Node, int]
    units: npt.NDArray[np.int64]
    role: npt.NDArray[np.int8]
    activation: npt.NDArray[np.int64]
    activations: tuple[Activation, ...]
    bias: tuple[npt.NDArray[np.float64] | None, ...]
    edge_src: npt.NDArray[np.int64]
    edge_dst: npt.NDArray[np.int64]
    edge_weight: npt.NDArray[np.float64]
    edge_array: Mapping[int, Any]
    edge_frozen: npt.NDArray[np.bool_]
    edge_tie: Mapping[int, str]
    bias_frozen: npt.NDArray[np.bool_]
    bias_tie: Mapping[int, str]
    node_extra: tuple[dict[str, Any], ...]
    edge_extra: Mapping[int, dict[str, Any]]
    graph_extra: dict[str, Any]
    bias_scalar: frozenset[int]
    """nodes whose bias came as a scalar"""
    aggregation: npt.NDArray[np.int8]
    """per node, a position in `graphbp.aggregation.AGGREGATIONS`; 0 is the sum"""

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.names)

    @cached_property
    def softmax_nodes(self) -> list[int]:
        """The nodes whose activation couples units."""
        coupled = [k for k, row in enumerate(self.activations) if not row.elementwise]
        return np.flatnonzero(np.isin(self.activation, coupled)).tolist() if coupled else []

    def edge_name(self, e: int) -> str:
        """The edge by its nodes' names, for messages."""
        return describe_edge(self.names[self.edge_src[e]], self.names[self.edge_dst[e]])

    @property
    def n_edges(self) -> int:
        """Weights on edges, frozen ones too."""
        return int(self.edge_entries().sum())

    def edge_entries(self) -> npt.NDArray[np.int64]:
        """(E,) how many weights each edge carries (a sparse one: its stored entries)."""
        counts = np.ones(len(self.edge_src), np.int64)
        for e, array in self.edge_array.items():
            counts[e] = array.size if isinstance(array, np.ndarray) else array.data.size
        return counts


def describe_edge(u: Node, v: Node) -> str:
    """The edge u -> v, for messages."""
    return f"edge {u!r} -> {v!r}"
