"""What a valid network is: a `networkx.DiGraph` read once into flat, checked arrays.

`read_graph` walks the graph a single time, in graph order (nodes as inserted, each node's incoming edges in predecessor order:
`graphbp.columns`), checks what it says, and returns a `GraphSpec`.  Everything after it works on integers.  The user's graph is never
changed; attributes that graphbp does not know are carried along for `to_networkx`.

Node attributes: `units`, `activation`, `aggregation`, `bias`, `role` ("input", "output", "hidden"), and for the bias `trainable`, `tie`; on inputs
and outputs what X and Y mean outside: `shift`, `scale`, `columns`, `classes` (`graphbp.scaling`, `graphbp.classes`).
Edge attributes: `weight` (required), `trainable`, `tie`.  A name that is nearly one of these is refused (`graphbp.attributes`); every
other one is the user's.  A unit without an activation has the identity's: it is linear.

Roles default to: sources are inputs, sinks are outputs; as soon as one node names the role "input" (or "output"), only nodes that name
it have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation, get_activation
from graphbp.aggregation import aggregation_number, check_aggregations, check_sizes
from graphbp.attribute_values import MAX_UNITS, read_bias, read_role, read_tie, read_trainable, read_units, read_weight
from graphbp.attributes import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, NODES_ALONE, is_near, is_of_nodes, slip_of
from graphbp.columns import Columns, columns_of
from graphbp.exceptions import GraphError, UnknownNameError, WeightError, shown
from graphbp.memory import check_memory
from graphbp.scaling import check_meaning
from graphbp.spec import GraphSpec, describe_edge
from graphbp.structure import assign_roles, check_inputs, check_softmax

__all__ = ["check_columns", "read_graph"]

Node = Hashable

_MANY_UNITS = 1_000_000  # from here on the memory they take is checked first
_BYTES_A_UNIT = 100  # of the schedule's and the graph's arrays together


def read_graph(graph: Any) -> GraphSpec:
    """Check `graph`, a DiGraph or its `Columns`, and flatten it.

    Raises
    ------
    GraphError : not a DiGraph, a self-loop, no input, no output, an unknown role, an input with incoming edges, ...
        (cycles are found by the schedule, which orders the units).
    WeightError : a missing, misshapen, complex, NaN or infinite weight or bias, a tie between different shapes or values.
    UnknownNameError : an unknown activation.
    """
    return check_columns(graph if isinstance(graph, Columns) else columns_of(graph))


def check_columns(columns: Columns) -> GraphSpec:
    """Check what a graph, or a file, says.  Raises what `read_graph` does."""
    names, index = columns.names, columns.index
    n = len(names)
    if not n:
        raise GraphError("the graph is empty: it has no input and no output")
    units = _all_units(columns)
    kinds: dict[str, int] = {}
    activations: list[Activation] = []
    activation = np.empty(n, np.int64)
    bias: list[npt.NDArray[np.float64] | None] = [None] * n
    flat = np.zeros(n)
    bias_scalar = set()
    bias_frozen = np.zeros(n, bool)
    bias_tie: dict[int, str] = {}
    declared: list[str | None] = [None] * n
    aggregation = np.zeros(n, np.int8)
    node_extra = []
    reader = _Attributes(NODE_ATTRIBUTES, "bias", _describe_node)
    for i, (name, data) in enumerate(zip(names, columns.nodes, strict=True)):
        kind = data.get("activation", "identity")
        if not isinstance(kind, str) or kind not in kinds:
            kinds[kind] = _add_activation(activations, name, kind)
        activation[i] = kinds[kind]
        if data.get("bias") is not None:
            b = data["bias"]
            if type(b) is float and units[i] == 1 and math.isfinite(b):  # nearly all of them
                flat[i] = b
                bias[i] = flat[i : i + 1]
                bias_scalar.add(i)
            else:
                bias[i], scalar = read_bias(name, b, int(units[i]))
                if scalar:
                    bias_scalar.add(i)
            bias_frozen[i] = not read_trainable(f"node {name!r}", data)
            if data.get("tie") is not None:
                bias_tie[i] = read_tie(f"node {name!r}", data["tie"])
        declared[i] = read_role(name, data.get("role"))
        if "aggregation" in data:
            aggregation[i] = aggregation_number(f"of node {name!r}", data["aggregation"])
        node_extra.append(reader.read(data, name) if data else {})
    check_sizes(columns, aggregation, units)
    edges = _check_edges(columns, units, aggregation)
    role = assign_roles(names, declared, columns.src, columns.dst, n)
    check_aggregations(columns, aggregation, role)
    check_inputs(columns, role, bias, activation, activations)
    spec = GraphSpec(
        names,
        index,
        units,
        role,
        activation,
        tuple(activations),
        tuple(bias),
        columns.src,
        columns.dst,
        edges.weight,
        edges.array,
        edges.frozen,
        edges.tie,
        bias_frozen,
        bias_tie,
        tuple(node_extra),
        edges.extra,
        dict(columns.graph),
        frozenset(bias_scalar),
        aggregation,
    )
    check_softmax(spec)
    check_meaning(spec)
    return spec


class _Attributes:
    """Reads the attributes of nodes, or of edges, one by one; a key that is no slip of ours is looked at once."""

    def __init__(self, known: Mapping[str, Any], besides: str, describe: Callable[..., str]) -> None:
        self._known, self._besides, self._describe = known, besides, describe
        self._others: set[Any] = set()

    def read(self, data: Mapping[str, Any], *names: Node) -> dict[str, Any]:
        """All but `besides`, ours as Python's own strings, numbers and truth values; slips of ours are refused."""
        plain = {}
        for key, value in data.items():
            if key in self._known:
                if key != self._besides:
                    plain[key] = value.item() if isinstance(value, np.generic) else value
                continue
            if key not in self._others:
                self._look(key, value, names)
            plain[key] = value
        return plain

    def _look(self, key: Any, value: Any, names: tuple[Node, ...]) -> None:
        if self._known is EDGE_ATTRIBUTES and is_of_nodes(key, value):
            raise GraphError(
                f"{self._describe(*names)} has {key}={shown(value)}, which belongs on a node and would be ignored: set it on node {names[1]!r}, "
                "or give what is your own another name"
            )
        meant = slip_of(key, value, self._known)
        if meant is not None:
            raise GraphError(
                f"{self._describe(*names)} has the attribute {key!r}; it would be ignored, and is nearly {meant!r}: correct it, or give "
                f"what is your own another name (graphbp's are {', '.join(self._known)})"
            )
        if not is_near(key, self._known) and key not in NODES_ALONE:
            self._others.add(key)


def _describe_node(name: Node) -> str:
    return f"node {name!r}"


def _all_units(columns: Columns) -> npt.NDArray[np.int64]:
    """(n,) units of each node.  They are counted before anything of their size is allocated: a file may claim 10⁹ of them."""
    units = np.ones(len(columns.names), np.int64)
    for i, data in enumerate(columns.nodes):
        if "units" in data:
            units[i] = read_units(columns.names[i], data["units"])
    total = int(units.sum())
    if total > MAX_UNITS:
        raise GraphError(f"the network has {total:,} units; at most {MAX_UNITS:,} are possible")
    if total > _MANY_UNITS:
        largest = columns.names[int(units.argmax())]
        what = f"a schedule of {total:,} units (node {largest!r} has {int(units.max()):,})"
        check_memory(total * _BYTES_A_UNIT, what, "gb.Network with fewer units")
    return units


def _add_activation(activations: list[Activation], name: Node, kind: Any) -> int:
    try:
        activations.append(get_activation(kind))
    except UnknownNameError as problem:
        raise UnknownNameError(f"node {name!r}: {problem}") from problem
    return len(activations) - 1


@dataclass
class _Edges:
    weight: npt.NDArray[np.float64]
    array: dict[int, Any]
    frozen: npt.NDArray[np.bool_]
    tie: dict[int, str]
    extra: dict[int, dict[str, Any]]


def _check_edges(columns: Columns, units: npt.NDArray[np.int64], aggregation: npt.NDArray[np.int8]) -> _Edges:
    """Weights, `trainable` and `tie` of all edges; arrays, sparse matrices and mistakes one by one."""
    names, src, dst = columns.names, columns.src, columns.dst
    weight = columns.weight.copy()
    loops = np.flatnonzero(src == dst)
    if len(loops):
        raise GraphError(f"node {names[src[loops[0]]]!r} has an edge to itself; a feed-forward network has no self-loop: remove it")
    array: dict[int, Any] = {}
    by_unit = (aggregation[dst] > 0) & (units[dst] > 1)
    reader = _Attributes(EDGE_ATTRIBUTES, "weight", describe_edge)
    for e, value in columns.odd.items():
        shape = (int(units[dst[e]]), int(units[src[e]]))
        if value is None:  # one that is nearly called weight is what was meant
            reader.read(columns.extra.get(e) or {}, names[src[e]], names[dst[e]])
        read = read_weight(names[src[e]], names[dst[e]], value, shape[:1] if by_unit[e] else shape)
        if isinstance(read, float):
            weight[e] = read
        else:
            weight[e], array[e] = np.nan, read
    layers = np.flatnonzero(((units[src] > 1) | (units[dst] > 1)) & ~by_unit)
    for e in layers.tolist():
        if e not in array:
            u, v = names[src[e]], names[dst[e]]
            shape = (int(units[dst[e]]), int(units[src[e]]))
            raise WeightError(
                f"{describe_edge(u, v)}: weight is a scalar; between these nodes it must have shape {shape}, (units of {v!r}, units of {u!r})"
            )
    bad = np.flatnonzero(~np.isfinite(weight))
    bad = bad[[int(b) not in array for b in bad]] if len(bad) else bad
    if len(bad):
        u, v = names[src[bad[0]]], names[dst[bad[0]]]
        raise WeightError(f"{describe_edge(u, v)}: weight is {weight[bad[0]]}; weights must be finite")
    frozen = np.zeros(len(src), bool)
    tie: dict[int, str] = {}
    extra: dict[int, dict[str, Any]] = {}
    for e, attributes in columns.extra.items():
        extra[e] = reader.read(attributes, names[src[e]], names[dst[e]])
        if "trainable" in attributes or "tie" in attributes:
            where = describe_edge(names[src[e]], names[dst[e]])
            frozen[e] = not read_trainable(where, attributes)
            if attributes.get("tie") is not None:
                tie[e] = read_tie(where, attributes["tie"])
    return _Edges(weight, array, frozen, tie, extra)
