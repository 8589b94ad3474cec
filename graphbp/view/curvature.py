"""G_kj = ∂a_k/∂ε_j and B_jl = ∂²E_n/∂ε_j∂ε_l of every hidden and output unit, of each sample, by the engine itself.

ε_j, added to a_j, is a bias.  So B is the exact Hessian of the network in which every unit has a bias and nothing else is free, and G
the Jacobian by these of the network whose outputs are the a_k:

    u ──w──► (a, j) ──1──► (z, j) ──w──► ...        (a, j): j's aggregation and bias, identity;   (z, j): its activation
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy import sparse

from graphbp.exceptions import DataWarning
from graphbp.network import Network
from graphbp.spec import INPUT
from graphbp.view.limits import CURVATURE_COST, CURVATURE_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Hashable

    from graphbp.view.sweeps import Samples

__all__ = ["Curvature", "curvature_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Curvature:
    """units (M,): numbers of the hidden and output units; B (N, M, M), or (N, M) where only B_jj fits; G (N, k, M) of the units `to` (k,)."""

    units: Array
    to: Array
    B: Array
    G: Array


def curvature_of(net: Network, samples: Samples) -> tuple[Curvature | None, list[str]]:
    """G and B, or as much of them as fits a page, and what was left out."""
    spec, n = net.model.spec, len(samples.X)
    first = np.concatenate([[0], np.cumsum(spec.units)])
    inner = [i for i in range(spec.n_nodes) if spec.role[i] != INPUT]
    units = np.concatenate([np.arange(first[i], first[i + 1]) for i in inner])
    outputs = np.concatenate([np.arange(first[i], first[i + 1]) for i in (spec.index[name] for name in net.outputs)])
    m = len(units)
    if n * m * spec.n_edges > CURVATURE_COST or n * m * len(outputs) > CURVATURE_NUMBERS:
        return None, [f"G and B are left out: {m:,} units, {spec.n_edges:,} weights and {n} samples are too many"]
    full = n * m * m <= CURVATURE_NUMBERS
    by_node = [name for name in spec.names if spec.role[spec.index[name]] != INPUT]
    B = _b(net, samples, by_node, full)
    to = units if full else outputs
    G = _g(net, samples, by_node, by_node if full else list(net.outputs))
    notes = (
        []
        if full
        else [f"of B the diagonal and of G the outputs' rows are shown: all of {m:,} × {m:,} are too many for {n} samples"]
    )
    return Curvature(units, to, B, G), notes


def _numbered(net: Network, by_node: list[Hashable], name: Any = lambda node: node) -> Array:
    """Positions in θ of the biases, node by node."""
    return np.concatenate([np.arange(net.n_parameters)[net.parameter_index(name(node))] for node in by_node])


def _biased(attributes: dict[Any, Any]) -> dict[Any, Any]:
    """The node's attributes with a bias of its own, 0 where there was none."""
    units = attributes.get("units", 1)
    kept = {k: v for k, v in attributes.items() if k not in ("tie", "trainable")}
    return {**kept, "bias": np.broadcast_to(np.asarray(attributes.get("bias", 0.0), np.float64), units).copy()}


def _frozen(attributes: dict[Any, Any]) -> dict[Any, Any]:
    return {"weight": attributes["weight"], "trainable": False}


def _b(net: Network, samples: Samples, by_node: list[Hashable], full: bool) -> Array:
    came = net.to_networkx()
    graph: nx.DiGraph[Any] = nx.DiGraph()
    inner = set(by_node)
    graph.add_nodes_from((name, _biased(data) if name in inner else data) for name, data in came.nodes(data=True))
    graph.add_edges_from((u, v, _frozen(data)) for u, v, data in came.edges(data=True))
    error = net.error_function if net.model.heads.plain else None
    moved = Network(graph, error=error, missing=net.missing, backend="numpy", dtype="float64")
    at, found = _numbered(moved, by_node), []
    compute = moved.hessian if full else moved.hessian_diagonal
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # that a sample alone lacks a target
        for k in range(len(samples.X)):
            weight = None if samples.weight is None else samples.weight[k : k + 1]
            row = compute(samples.X[k : k + 1], samples.T[k : k + 1], weight)
            found.append(row[np.ix_(at, at)] if full else row[at])
    return np.stack(found)


def _g(net: Network, samples: Samples, by_node: list[Hashable], to: list[Hashable]) -> Array:
    came = net.to_networkx()
    graph: nx.DiGraph[Any] = nx.DiGraph()
    inner = set(by_node)
    names = {name: ("z", k) if name in inner else ("x", k) for k, name in enumerate(came)}
    summed = {name: ("a", k) for k, name in enumerate(came)}
    wanted = set(to)
    for name, data in came.nodes(data=True):
        if name not in inner:
            graph.add_node(names[name], **{k: v for k, v in data.items() if k in ("units", "shift", "scale")}, role="input")
            continue
        units = data.get("units", 1)
        own = {k: v for k, v in _biased(data).items() if k in ("units", "aggregation", "bias")}
        graph.add_node(summed[name], **own, **({"role": "output"} if name in wanted else {}))
        if came.out_degree(name):
            graph.add_node(names[name], units=units, activation=data.get("activation", "identity"))
            one: Any = 1.0 if units == 1 else sparse.csr_array(np.eye(units))
            graph.add_edge(summed[name], names[name], weight=one, trainable=False)
    for u, v, data in came.edges(data=True):
        graph.add_edge(names[u], summed[v], **_frozen(data))
    return _to_order(
        Network(graph, backend="numpy", dtype="float64"), samples.X, [summed[n] for n in by_node], [summed[n] for n in to]
    )


def _to_order(moved: Network, X: Array, by_node: list[Any], to: list[Any]) -> Array:
    """∂a_k/∂ε_j with k and j in the order asked for."""
    columns = np.cumsum([0] + [int(moved.model.spec.units[moved.model.spec.index[name]]) for name in moved.outputs])
    place = {name: np.arange(columns[k], columns[k + 1]) for k, name in enumerate(moved.outputs)}
    jacobian = moved.weight_jacobian(X)
    return np.asarray(jacobian[:, np.concatenate([place[name] for name in to])][:, :, _numbered(moved, by_node)])
