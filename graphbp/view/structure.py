"""The graph as the page has it: nodes by level, edges, and the values of their weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.aggregation import AGGREGATIONS, NAMES
from graphbp.exceptions import NotSupportedError, printable
from graphbp.lookup import positions
from graphbp.scaling import constants
from graphbp.spec import ROLES
from graphbp.view.limits import MOST_EDGES, MOST_NODES, WEIGHTS

if TYPE_CHECKING:
    from graphbp.model import Model
    from graphbp.network import Network
    from graphbp.spec import GraphSpec

__all__ = ["Structure", "structure_of"]

Array = npt.NDArray[Any]
ROLE_NAMES = {number: name for name, number in ROLES.items()}


@dataclass(frozen=True)
class Structure:
    """What stays when the sample changes.

    Attributes
    ----------
    nodes : a dict each: label, first unit and number of units, role, level, activation and formula, aggregation, place of its bias.
    first : (n_nodes,) the first unit of each node; units are numbered node by node, in the order of the graph.
    src, dst, start : (E,) node numbers, and where each edge's weights stand among `value`, −1 where they are left out of the page.
    shapes : edge → where its weights stand between two layers: {"rows", "cols"}, or {"each": True} for one weight of all units.
    value, parameter : (P,) every weight and bias in the page, and its position in θ, −1 where it is frozen.
    ties : parameter → how many weights it fills, where more than one.
    """

    nodes: list[dict[str, Any]]
    first: Array
    src: Array
    dst: Array
    start: Array
    shapes: dict[int, dict[str, Any]]
    value: Array
    parameter: Array
    ties: dict[int, int]
    notes: list[str] = field(default_factory=list)


def structure_of(net: Network) -> Structure:
    """Raises `NotSupportedError` where the graph is too large for a page."""
    spec, layout = net.model.spec, net.model.layout
    _check_size(spec)
    first = np.concatenate([[0], np.cumsum(spec.units)[:-1]]).astype(np.int64)
    kept = _kept_edges(spec, layout.edge_count)
    taken: list[Array] = []
    start, at = np.full(len(spec.edge_src), -1, np.int64), 0
    for e in np.flatnonzero(kept).tolist():
        start[e] = at
        taken.append(np.arange(layout.edge_start[e], layout.edge_start[e] + layout.edge_count[e]))
        at += int(layout.edge_count[e])
    biases = np.full(spec.n_nodes, -1, np.int64)
    for i, bias in enumerate(spec.bias):
        if bias is not None:
            biases[i] = at
            taken.append(np.arange(layout.bias_start[i], layout.bias_start[i] + len(bias)))
            at += len(bias)
    entries = np.concatenate(taken) if taken else np.empty(0, np.int64)
    parameter = layout.entry_parameter[entries]
    owners = Counter(layout.entry_parameter[layout.entry_parameter >= 0].tolist())
    return Structure(
        _nodes(net.model, first, biases),
        first,
        spec.edge_src,
        spec.edge_dst,
        start,
        _shapes(spec, kept),
        layout.fill(net.weights)[entries],
        parameter,
        {p: n for p, n in owners.items() if n > 1},
        _left_out(spec, layout.edge_count, kept),
    )


def _check_size(spec: GraphSpec) -> None:
    if spec.n_nodes > MOST_NODES or len(spec.edge_src) > MOST_EDGES:
        raise NotSupportedError(
            f"the graph has {spec.n_nodes:,} nodes and {len(spec.edge_src):,} edges; a page takes {MOST_NODES:,} and {MOST_EDGES:,}: "
            "view a part of it (net.to_networkx().subgraph(...)), or draw it (graphbp draw)"
        )


def _kept_edges(spec: GraphSpec, count: Array) -> npt.NDArray[np.bool_]:
    """Edges whose weights stand in the page: smallest first, as many as fit."""
    order = np.argsort(count, kind="stable")
    kept = np.zeros(len(count), bool)
    kept[order] = np.cumsum(count[order]) <= WEIGHTS
    return kept


def _left_out(spec: GraphSpec, count: Array, kept: npt.NDArray[np.bool_]) -> list[str]:
    gone = np.flatnonzero(~kept)
    if not len(gone):
        return []
    e = int(gone[count[gone].argmax()])
    names = f"{printable(spec.names[spec.edge_src[e]])} → {printable(spec.names[spec.edge_dst[e]])}"
    return [f"the weights of {len(gone):,} edges are left out: {names} alone has {int(count[e]):,} (a page takes {WEIGHTS:,})"]


def _labels(spec: GraphSpec) -> list[str]:
    """Names for people; those that look alike (1 and "1") as their repr."""
    text = [printable(name) for name in spec.names]
    times = Counter(text)
    return [label if times[label] == 1 else printable(repr(name)) for label, name in zip(text, spec.names, strict=True)]


def _levels(spec: GraphSpec) -> list[int]:
    """The longest path from a source, in edges."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(spec.n_nodes))
    graph.add_edges_from(zip(spec.edge_src.tolist(), spec.edge_dst.tolist(), strict=True))
    level = [0] * spec.n_nodes
    for number, members in enumerate(nx.topological_generations(graph)):
        for i in members:
            level[i] = number
    return level


def _nodes(model: Model, first: Array, biases: Array) -> list[dict[str, Any]]:
    spec, found = model.spec, []
    scaled = {spec.index[name] for name in (*model.meaning.inputs, *model.meaning.outputs)} if model.meaning.scaling else set()
    for i, (label, level) in enumerate(zip(_labels(spec), _levels(spec), strict=True)):
        row, how = spec.activations[spec.activation[i]], NAMES[spec.aggregation[i]]
        node: dict[str, Any] = {
            "label": label,
            "first": int(first[i]),
            "units": int(spec.units[i]),
            "role": ROLE_NAMES[int(spec.role[i])],
            "level": level,
            "activation": row.name,
            "formula": row.formula,
            "elementwise": row.elementwise,
            "aggregation": how,
            "aggregation_formula": AGGREGATIONS[how],
            "bias": int(biases[i]),
        }
        if i in scaled:
            shift, scale = constants(spec, i)
            if (shift != 0).any() or (scale != 1).any():
                node["shift"], node["scale"] = shift.tolist(), scale.tolist()
        found.append(node)
    return found


def _shapes(spec: GraphSpec, kept: npt.NDArray[np.bool_]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for e, j in enumerate(spec.edge_dst.tolist()):
        array = spec.edge_array.get(e)
        if array is None:
            if spec.units[j] > 1:
                found[e] = {"each": True}
        elif kept[e]:
            rows, cols = positions(array)
            if isinstance(array, np.ndarray) and array.ndim == 2:
                found[e] = {"dense": [*array.shape]}
            else:
                found[e] = {"rows": rows, "cols": cols}
    return found
