"""`fold_scaling`: a network with scaled inputs and outputs as one without, which computes the same of raw numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.aggregation import NAMES
from graphbp.exceptions import NotSupportedError
from graphbp.graph import read_graph
from graphbp.scaling import ATTRIBUTES, constants
from graphbp.spec import INPUT, GraphSpec

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["fold_scaling"]

Array = npt.NDArray[Any]


def fold_scaling(graph: nx.DiGraph) -> nx.DiGraph:
    """The same function of raw x, as a graph without `shift` and `scale`: the constants stand in weights and biases.

        w ← w / scale_x,  b ← b − Σ_i w_i shift_i / scale_i,  and at an output  w ← scale_y w,  b ← shift_y + scale_y b

    A graph without them is returned as it is.

    Raises
    ------
    NotSupportedError : an output that is scaled behind an activation, a weight that is tied (its uses would need different values),
        or a sum that leaves the range of numbers; each by name.
    """
    spec = read_graph(graph)
    scaled = [i for i, extra in enumerate(spec.node_extra) if any(extra.get(key) is not None for key in ATTRIBUTES)]
    if not scaled:
        return graph
    out = deepcopy(graph)  # networkx's own copy has the edges in another order
    for i in (i for i in scaled if spec.role[i] == INPUT):
        _fold_input(out, spec, i)
    for i in (i for i in scaled if spec.role[i] != INPUT):
        _fold_output(out, spec, i)
    for i in scaled:
        for key in ATTRIBUTES:
            out.nodes[spec.names[i]].pop(key, None)
    return out


def _fold_input(out: nx.DiGraph, spec: GraphSpec, i: int) -> None:
    shift, scale = constants(spec, i)
    name = spec.names[i]
    for _, to, data in out.out_edges(name, data=True):
        _refuse_aggregation(name, to, spec)
        _refuse_tie(f"the weight of edge {name!r} -> {to!r}", data)
        units, weight = int(spec.units[spec.index[to]]), _divided(data["weight"], scale)
        data["weight"] = weight
        if (moved := _applied(weight, shift, units)).any():
            node = out.nodes[to]
            _refuse_tie(f"the bias of node {to!r}", node if node.get("bias") is not None else {})
            bias = node.get("bias")
            node["bias"] = _like(bias, np.broadcast_to(0.0 if bias is None else bias, (units,)) - moved, units)


def _fold_output(out: nx.DiGraph, spec: GraphSpec, i: int) -> None:
    shift, scale = constants(spec, i)
    name = spec.names[i]
    kind = spec.activations[spec.activation[i]].name
    if kind != "identity":
        raise NotSupportedError(
            f"output {name!r} is scaled behind its activation {kind!r}, which no weight can express; add an identity unit as the output"
        )
    _refuse_aggregation(name, name, spec)
    units, node = int(spec.units[i]), out.nodes[name]
    if (scale != 1).any():
        for u, _, data in out.in_edges(name, data=True):
            _refuse_tie(f"the weight of edge {u!r} -> {name!r}", data)
            data["weight"] = _multiplied(data["weight"], scale)
    bias = node.get("bias")
    if bias is not None:
        _refuse_tie(f"the bias of node {name!r}", node)
    if bias is not None or shift.any():
        node["bias"] = _like(bias, shift + scale * np.broadcast_to(0.0 if bias is None else bias, (units,)), units)


def _refuse_aggregation(scaled: Hashable, node: Hashable, spec: GraphSpec) -> None:
    if spec.aggregation[spec.index[node]]:
        raise NotSupportedError(
            f"{scaled!r} has shift= and scale=, which no weight or bias of {node!r} can take in: its aggregation is "
            f"{NAMES[spec.aggregation[spec.index[node]]]!r}; save as .json, which keeps them"
        )


def _refuse_tie(what: str, attributes: Mapping[str, Any]) -> None:
    if attributes.get("tie") is not None:
        raise NotSupportedError(
            f"{what} is tied ({attributes['tie']!r}), so that shift= and scale= cannot be folded into it; save as .json, which keeps them"
        )


def _like(bias: Any, values: Array, units: int) -> Any:
    if not np.isfinite(values).all():
        raise NotSupportedError("a bias that shift= and scale= are folded into leaves the range of numbers; save as .json")
    return float(values[0]) if units == 1 and np.ndim(0.0 if bias is None else bias) == 0 else np.array(values)


def _divided(weight: Any, scale: Array) -> Any:
    """w_ji / scale_i, of the kind it came in."""
    if hasattr(weight, "tocsr"):
        csr = weight.tocsr().copy()
        csr.data = csr.data / scale[csr.indices]
        return csr
    return weight / float(scale[0]) if np.ndim(weight) == 0 else np.asarray(weight, np.float64) / scale


def _multiplied(weight: Any, scale: Array) -> Any:
    """scale_j w_ji, of the kind it came in."""
    if hasattr(weight, "tocsr"):
        csr = weight.tocsr().copy()
        csr.data = csr.data * np.repeat(scale, np.diff(csr.indptr))
        return csr
    return weight * float(scale[0]) if np.ndim(weight) == 0 else np.asarray(weight, np.float64) * scale[:, None]


def _applied(weight: Any, values: Array, units: int) -> Array:
    """Σ_i w_ji values_i, (units,)."""
    if hasattr(weight, "tocsr"):
        return np.asarray(weight @ values)
    return np.asarray(np.asarray(weight, np.float64).reshape(units, -1) @ values)
