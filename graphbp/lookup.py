"""Which weight stands where: nodes, edges and biases by name, positions in θ by the edge that they belong to.

Everything here is a reading of a `GraphSpec` (the graph) beside its `Layout` (the places of its weights in θ).
"""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.columns import Columns
from graphbp.exceptions import DataError, UnknownNameError, WeightError, shown, unknown_name
from graphbp.parameters import Layout
from graphbp.spec import GraphSpec, describe_edge

__all__ = [
    "columns_now",
    "edge_at",
    "entries",
    "node_at",
    "parameter_labels",
    "parameter_name",
    "parameter_units",
    "positions",
    "shaped",
]

Array = npt.NDArray[Any]
Node = Hashable


def node_at(spec: GraphSpec, name: Node) -> int:
    """The number of a node.  Raises `UnknownNameError`."""
    try:
        return spec.index[name]
    except (KeyError, TypeError):
        raise unknown_name("node", name, [str(n) for n in spec.names]) from None


def edge_at(spec: GraphSpec, source: Node, destination: Node) -> int:
    """The number of an edge.  Raises `UnknownNameError` with what does lead to `destination`."""
    i, j = node_at(spec, source), node_at(spec, destination)
    lo, hi = np.searchsorted(spec.edge_dst, [j, j + 1])
    found = np.flatnonzero(spec.edge_src[lo:hi] == i)
    if not len(found):
        sources = [spec.names[k] for k in spec.edge_src[lo:hi].tolist()]
        listed = ", ".join(map(repr, sources[:20])) + (", ..." if len(sources) > 20 else "")
        leads = f"what leads to {destination!r} comes from {listed}" if sources else f"nothing leads to {destination!r}"
        raise UnknownNameError(f"there is no {describe_edge(source, destination)}; {leads}")
    return int(lo + found[0])


def entries(spec: GraphSpec, layout: Layout, source: Node, destination: Node | None) -> tuple[int, int, str]:
    """(first entry, number of entries, name) of an edge, or, given one node, of its bias."""
    if destination is None:
        i = node_at(spec, source)
        bias = spec.bias[i]
        if bias is None:
            raise WeightError(f"node {source!r} has no bias; give the graph's node bias=0.0 to have one")
        return int(layout.bias_start[i]), len(bias), f"the bias of node {source!r}"
    e = edge_at(spec, source, destination)
    return int(layout.edge_start[e]), int(layout.edge_count[e]), f"the weight of {spec.edge_name(e)}"


def shaped(spec: GraphSpec, e: int, values: Array) -> Any:
    """The values of an edge's entries in the form in which its weight came: a float, an array, a sparse matrix."""
    came = spec.edge_array.get(e)
    if came is None:
        return float(values[0])
    if hasattr(came, "nnz"):
        new = came.copy()
        new.data = values
        return new
    return values.reshape(came.shape)


def columns_now(spec: GraphSpec, layout: Layout, theta: Array) -> Columns:
    """The graph with the weights and biases of θ, every other attribute as it came."""
    now = layout.fill(theta)
    nodes: list[dict[str, Any]] = []
    first = now[np.maximum(layout.bias_start, 0)].tolist() if len(now) else []
    for i, extra in enumerate(spec.node_extra):
        bias = spec.bias[i]
        if bias is None:
            nodes.append(extra)
            continue
        scalar = i in spec.bias_scalar
        values: Any = first[i]
        if len(bias) > 1 or not scalar:
            start = int(layout.bias_start[i])
            array = now[start : start + len(bias)]
            values = values if scalar and (array == array[0]).all() else array.copy()
        nodes.append({**extra, "bias": values})
    single = np.ones(len(spec.edge_src), bool)
    single[list(spec.edge_array)] = False
    weight = np.zeros(len(single))
    weight[single] = now[layout.edge_start[single]]
    arrays = {}
    for e in spec.edge_array:
        start = int(layout.edge_start[e])
        arrays[e] = shaped(spec, e, now[start : start + int(layout.edge_count[e])].copy())
    return Columns(spec.names, nodes, spec.edge_src, spec.edge_dst, weight, arrays, spec.edge_extra, spec.graph_extra)


# -- positions in θ ------------------------------------------------------------------------------------------------------------------


def parameter_name(spec: GraphSpec, layout: Layout, index: Any) -> str:
    """The edge or bias that position `index` of θ belongs to, in a sentence (of tied ones, the first)."""
    if isinstance(index, bool) or not isinstance(index, numbers.Integral):
        raise DataError(f"index={shown(index)}; it must be a whole number, a position in net.weights")
    index, w = int(index), len(layout.theta)
    entry = int(np.argmax(layout.entry_parameter == index)) if 0 <= index < w else -1
    if entry < 0:
        raise unknown_name("parameter", index, [], f"There are {w} free parameters, numbered from 0.")
    biased = np.flatnonzero((layout.bias_start >= 0) & (layout.bias_start <= entry))
    if len(biased):
        i = int(biased[np.argmax(layout.bias_start[biased])])
        unit = entry - int(layout.bias_start[i])
        if unit < int(spec.units[i]):
            return f"bias of node {spec.names[i]!r}" + (f" unit {unit}" if spec.units[i] > 1 else "")
    e = int(np.searchsorted(layout.edge_start, entry, side="right")) - 1
    array, offset = spec.edge_array.get(e), entry - int(layout.edge_start[e])
    if array is None or layout.edge_count[e] == 1:
        return spec.edge_name(e)
    if array.ndim == 1:
        return f"{spec.edge_name(e)} unit {offset}"
    if hasattr(array, "nnz"):
        at = (int(np.searchsorted(array.indptr, offset, side="right")) - 1, int(array.indices[offset]))
    else:
        at = (offset // array.shape[1], offset % array.shape[1])
    return f"{spec.edge_name(e)} at {at}"


def parameter_labels(spec: GraphSpec, layout: Layout, arrow: str = " -> ") -> list[str]:
    """(W,) a short label each, for tables and headers: "x -> h", "bias of h", with [row,column] or [unit] inside a layer.

    What is tied has the label of its first use.
    """
    labels = [""] * len(layout.theta)
    owners = layout.entry_parameter.tolist()
    for start, names in _labelled(spec, layout, arrow):
        for owner, name in zip(owners[start : start + len(names)], names, strict=True):
            if owner >= 0 and not labels[owner]:
                labels[owner] = name
    return labels


def _labelled(spec: GraphSpec, layout: Layout, arrow: str) -> Iterator[tuple[int, list[str]]]:
    """(first entry, the entries' labels) of every edge, then of every bias."""
    for e, (i, j) in enumerate(zip(spec.edge_src.tolist(), spec.edge_dst.tolist(), strict=True)):
        label, array = f"{spec.names[i]}{arrow}{spec.names[j]}", spec.edge_array.get(e)
        yield int(layout.edge_start[e]), _inside(label, array)
    for i, bias in enumerate(spec.bias):
        if bias is not None:
            name = f"bias of {spec.names[i]}"
            yield int(layout.bias_start[i]), [name] if len(bias) == 1 else [f"{name}[{k}]" for k in range(len(bias))]


def _inside(label: str, array: Any) -> list[str]:
    if array is None:
        return [label]
    if array.ndim == 1:
        return [f"{label}[{j}]" for j in range(len(array))]
    return [f"{label}[{j},{i}]" for j, i in zip(*(where.tolist() for where in positions(array)), strict=True)]


def positions(array: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(unit of the destination, unit of the source) of each stored weight of an edge, in the order of its entries; None is a scalar."""
    if array is None:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    if array.ndim == 1:  # unit by unit
        return np.arange(len(array)), np.arange(len(array))
    if hasattr(array, "nnz"):
        return np.repeat(np.arange(array.shape[0]), np.diff(array.indptr)), array.indices.astype(np.int64)
    to, source = np.indices(array.shape)
    return to.ravel(), source.ravel()


def parameter_units(spec: GraphSpec, layout: Layout) -> npt.NDArray[np.int64]:
    """(P,) for every entry the unit that it leads into, numbered node by node in the order of the graph."""
    first = np.concatenate([[0], np.cumsum(spec.units)])
    unit = np.empty(len(layout.entry_parameter), np.int64)
    unit[layout.edge_start] = first[spec.edge_dst]
    for e, array in spec.edge_array.items():
        start, rows = int(layout.edge_start[e]), positions(array)[0]
        unit[start : start + len(rows)] = first[spec.edge_dst[e]] + rows
    for i, bias in enumerate(spec.bias):
        if bias is not None:
            start = int(layout.bias_start[i])
            unit[start : start + len(bias)] = first[i] + np.arange(len(bias))
    return unit
