"""Graphs with other edges: parallel ones merged, pruned ones gone.  What comes back is a new `networkx.DiGraph`; nothing else changes.

    merge_parallel_edges(g)            a MultiDiGraph's edges i → j as one, whose weight is their sum
    prune(net, threshold=0.1)          without the weights |w| ≤ 0.1
    prune(net, {("x", "h"): mask})     without the weights whose mask is False

An edge between units is there or not; of an edge between layers the weights that stay become a SciPy CSR matrix, whose stored entries
are the parameters: what was pruned is an absent edge, not a 0 that training could move.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.aggregation import NAMES
from graphbp.columns import columns_of, to_digraph
from graphbp.exceptions import DataError, GraphError, WeightError
from graphbp.foreign import as_number, host_array, summed_csr
from graphbp.graph import read_graph
from graphbp.lookup import positions
from graphbp.network import Network
from graphbp.spec import INPUT, OUTPUT, GraphSpec, describe_edge

__all__ = ["merge_parallel_edges", "prune"]

Edge = tuple[Hashable, Hashable]
Keep = npt.NDArray[np.bool_]


def merge_parallel_edges(graph: nx.MultiDiGraph[Any]) -> nx.DiGraph[Any]:
    """The DiGraph with one edge i → j of weight Σ_m w_m in place of the parallel ones: the same function of x.

    `networkx.DiGraph(graph)` would keep the last of them.  Attributes on which parallel edges agree stay, others go.

    Raises
    ------
    GraphError : not a MultiDiGraph (a DiGraph is returned as a copy), or parallel edges that a `trainable` or `tie` keeps from being one
        parameter, or that lead into a node which does not sum.
    WeightError : a parallel edge without a weight, or with one that is no number or array, or shapes that differ.

    Examples
    --------
    >>> g = nx.MultiDiGraph([("x", "y", {"weight": 2.0}), ("x", "y", {"weight": 3.0})])
    >>> merge_parallel_edges(g).edges["x", "y"]
    {'weight': 5.0}
    """
    if not isinstance(graph, nx.Graph) or not graph.is_directed():
        raise GraphError(f"merge_parallel_edges takes a networkx.MultiDiGraph, not {type(graph).__name__}")
    merged: nx.DiGraph[Any] = nx.DiGraph()
    merged.graph.update(graph.graph)
    merged.add_nodes_from(graph.nodes(data=True))
    parallel: dict[Edge, list[dict[str, Any]]] = {}
    for u, v, attributes in graph.edges(data=True):
        parallel.setdefault((u, v), []).append(attributes)
    for (u, v), each in parallel.items():
        if len(each) > 1 and graph.nodes[v].get("aggregation") not in (None, "sum"):
            raise GraphError(
                f"{describe_edge(u, v)}: node {v!r} has aggregation {graph.nodes[v]['aggregation']!r}, and its {len(each)} parallel edges are "
                "terms of their own; lead them through a node each"
            )
    merged.add_edges_from((u, v, _one_edge(describe_edge(u, v), each)) for (u, v), each in parallel.items())
    return merged


def _one_edge(where: str, each: list[dict[str, Any]]) -> dict[str, Any]:
    if len(each) == 1:
        return dict(each[0])
    ties = [a["tie"] for a in each if a.get("tie") is not None]
    if ties:
        raise GraphError(f"{where}: one of {len(each)} parallel edges has tie={ties[0]!r}; a sum of weights shares none of them")
    if len({bool(a.get("trainable", True)) for a in each}) > 1:
        raise GraphError(f"{where}: of {len(each)} parallel edges some are frozen and some are not; their sum would be neither")
    total = None
    for attributes in each:
        if attributes.get("weight") is None:
            raise WeightError(f"{where}: one of {len(each)} parallel edges has no weight")
        w = _addend(f"{where}: weight", attributes["weight"])
        if total is not None and np.shape(w) != np.shape(total):
            raise WeightError(
                f"{where}: parallel edges have weights of shapes {np.shape(total)} and {np.shape(w)}; they do not add up"
            )
        total = w if total is None else total + w
    shared = {k: v for k, v in each[0].items() if k != "weight" and all(k in a and _same(a[k], v) for a in each[1:])}
    return {"weight": total, **shared}


def _addend(where: str, value: Any) -> Any:
    """A weight that can be added: a float, an array, or a CSR matrix."""
    if hasattr(value, "tocsr"):
        return summed_csr(value, where, WeightError)
    array = host_array(value, where, WeightError)
    if array.dtype.kind == "b":
        raise WeightError(f"{where} is {value!r} ({type(value).__name__}); it must be a number or an array of numbers")
    return float(array) if array.ndim == 0 else np.array(array, np.float64)


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one is other or np.all(one == other))
    except Exception:  # foreign objects that cannot be compared
        return False


def prune(
    graph: Network | nx.DiGraph[Any],
    mask: Mapping[Edge, Any] | None = None,
    *,
    threshold: float | None = None,
) -> nx.DiGraph[Any]:
    """The graph without the weights |w| ≤ threshold, or without those whose mask is False.

    Parameters
    ----------
    graph : a `gb.Network`, with its current weights, or a DiGraph.
    mask : edge (u, v) → True to keep it; for an edge between layers an array (units of v, units of u).  Edges that it does not name stay.
    threshold : 0 (the default where no mask is given) takes out the weights that are exactly 0.

    Edges into a node that aggregates otherwise than by a sum stay, since without one of them it would be another function; a mask that
    names one is refused.  Of an edge between layers what stays becomes a CSR matrix, and where nothing stays the edge goes.  Inputs and outputs are given their
    `role`, so that a unit whose last edge went becomes neither.  Biases stay.

    Raises
    ------
    DataError : both or a wrong threshold, a mask that is no mapping, names no edge, or has the wrong shape or kind.
    GraphError, WeightError : of the graph, as in `gb.Network`.

    Examples
    --------
    >>> import networkx as nx, numpy as np, graphbp as gb
    >>> g = nx.DiGraph([("x", "y", {"weight": np.array([[0.0, 2.0], [0.05, -1.0]])})])
    >>> for name in g: g.nodes[name]["units"] = 2
    >>> gb.Network(g, backend="numpy").n_parameters, gb.Network(gb.prune(g), backend="numpy").n_parameters
    (4, 3)
    >>> gb.prune(g, threshold=0.1).edges["x", "y"]["weight"].nnz
    2
    """
    whole = graph.to_networkx() if isinstance(graph, Network) else to_digraph(columns_of(graph))
    spec = read_graph(whole)
    keeps = _by_threshold(spec, threshold) if mask is None else _by_mask(spec, mask, threshold)
    for i, name in enumerate(spec.names):
        if spec.role[i] in (INPUT, OUTPUT):
            whole.nodes[name]["role"] = "input" if spec.role[i] == INPUT else "output"
    for e, keep in keeps.items():
        u, v = spec.names[spec.edge_src[e]], spec.names[spec.edge_dst[e]]
        if not keep.any():
            whole.remove_edge(u, v)
        elif not keep.all():
            whole.edges[u, v]["weight"] = _kept(spec.edge_array[e], keep)
    return whole


def _by_threshold(spec: GraphSpec, threshold: float | None) -> dict[int, Keep]:
    """Edge number → which of its entries stay."""
    least = 0.0 if threshold is None else as_number("threshold", threshold, least=0)
    summed = spec.aggregation[spec.edge_dst] == 0
    small = np.flatnonzero((np.abs(spec.edge_weight) <= least) & summed)  # NaN: an array
    keeps: dict[int, Keep] = {int(e): np.zeros(1, bool) for e in small}
    arrays = {e: array for e, array in spec.edge_array.items() if summed[e]}
    return keeps | {e: np.abs(array.data if hasattr(array, "nnz") else array) > least for e, array in arrays.items()}


def _by_mask(spec: GraphSpec, mask: Mapping[Edge, Any], threshold: float | None) -> dict[int, Keep]:
    if threshold is not None:
        raise DataError("mask= and threshold= both say which weights go; give one")
    if not isinstance(mask, Mapping):
        raise DataError(
            f"mask is a {type(mask).__name__}; give a mapping from edge to mask: {{('x', 'h'): array of True and False}}"
        )
    number = {(spec.names[i], spec.names[j]): e for e, (i, j) in enumerate(zip(spec.edge_src, spec.edge_dst, strict=True))}
    keeps = {}
    for edge, value in mask.items():
        if edge not in number:
            raise DataError(f"mask names {edge!r}, which is no edge of the graph; its keys are pairs (u, v)")
        e = number[edge]
        if kind := spec.aggregation[spec.edge_dst[e]]:
            raise DataError(
                f"mask names {edge!r}, and node {edge[1]!r} has aggregation {NAMES[kind]!r}: without an edge it is another function of the rest"
            )
        keeps[e] = _entries(spec, e, value)
    return keeps


def _entries(spec: GraphSpec, e: int, value: Any) -> Keep:
    """The mask of an edge, for each entry that the edge has."""
    what = f"the mask of {spec.edge_name(e)}"
    array = spec.edge_array.get(e)
    keep = host_array(value.toarray() if hasattr(value, "tocsr") else value, what)
    if not np.isin(keep, (0, 1)).all():
        raise DataError(f"{what} holds {keep[~np.isin(keep, (0, 1))].flat[0]}; it must hold True (the weight stays) and False")
    shape = () if array is None else array.shape
    if keep.shape not in (shape, ()) and not (array is None and keep.shape == (1, 1)):
        raise DataError(f"{what} has shape {keep.shape}; it must be {shape}, as the weight")
    if array is None:
        return keep.astype(bool).reshape(1)
    keep = np.broadcast_to(keep.astype(bool), shape)
    return keep[positions(array)] if hasattr(array, "nnz") else keep


def _kept(array: Any, keep: Keep) -> Any:
    """The entries that stay, stored, as a CSR matrix."""
    from scipy import sparse

    if hasattr(array, "nnz"):
        rows, columns = (where[keep] for where in positions(array))
        values = array.data[keep]
    else:
        rows, columns = np.nonzero(keep)
        values = array[keep]
    return sparse.csr_array((values, (rows, columns)), shape=array.shape)
