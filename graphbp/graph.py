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
import numbers
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation, get_activation
from graphbp.aggregation import aggregation_number, check_aggregations, elementwise_weight
from graphbp.attributes import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, is_near, slip_of
from graphbp.columns import Columns, columns_of
from graphbp.data import foreign_array, refuse_masked, summed_csr
from graphbp.exceptions import GraphError, UnknownNameError, WeightError
from graphbp.memory import check_memory
from graphbp.scaling import check_meaning

__all__ = ["HIDDEN", "INPUT", "MAX_UNITS", "OUTPUT", "GraphSpec", "check_columns", "cycle_message", "describe_edge", "read_graph"]

HIDDEN, INPUT, OUTPUT = 0, 1, 2
_ROLES = {"hidden": HIDDEN, "input": INPUT, "output": OUTPUT}
MAX_UNITS = 2**31 - 1  # row numbers are int32 in the schedule

_MANY_UNITS = 1_000_000  # from here on the memory they take is checked first
_BYTES_A_UNIT = 100  # of the schedule's and the graph's arrays together

Node = Hashable


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

    def edge_entries(self) -> npt.NDArray[np.int64]:
        """(E,) how many weights each edge carries (a sparse one: its stored entries)."""
        counts = np.ones(len(self.edge_src), np.int64)
        for e, array in self.edge_array.items():
            counts[e] = array.nnz if hasattr(array, "nnz") else array.size
        return counts


def describe_edge(u: Node, v: Node) -> str:
    """The edge u -> v, for messages."""
    return f"edge {u!r} -> {v!r}"


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
                bias[i], scalar = _bias(name, b, int(units[i]))
                if scalar:
                    bias_scalar.add(i)
            bias_frozen[i] = not _trainable(f"node {name!r}", data)
            if data.get("tie") is not None:
                bias_tie[i] = _tie(f"node {name!r}", data["tie"])
        declared[i] = _role(name, data.get("role"))
        if "aggregation" in data:
            aggregation[i] = aggregation_number(name, data["aggregation"])
        node_extra.append(reader.read(data, name) if data else {})
    role = _assign_roles(names, declared, columns.src, columns.dst, n)
    check_aggregations(columns, aggregation, units, role == INPUT)
    edges = _check_edges(columns, units, aggregation)
    _check_inputs(columns, role, bias, activation, activations)
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
    _check_softmax(spec)
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
        meant = slip_of(key, value, self._known)
        if meant is not None:
            raise GraphError(
                f"{self._describe(*names)} has the attribute {key!r}; it would be ignored, and is nearly {meant!r}: correct it, or give "
                f"what is your own another name (graphbp's are {', '.join(self._known)})"
            )
        if not is_near(key, self._known):
            self._others.add(key)


def _describe_node(name: Node) -> str:
    return f"node {name!r}"


def _all_units(columns: Columns) -> npt.NDArray[np.int64]:
    """(n,) units of each node.  They are counted before anything of their size is allocated: a file may claim 10⁹ of them."""
    units = np.ones(len(columns.names), np.int64)
    for i, data in enumerate(columns.nodes):
        if "units" in data:
            units[i] = _units(columns.names[i], data["units"])
    total = int(units.sum())
    if total > MAX_UNITS:
        raise GraphError(f"the network has {total:,} units; at most {MAX_UNITS:,} are possible")
    if total > _MANY_UNITS:
        largest = columns.names[int(units.argmax())]
        what = f"a schedule of {total:,} units (node {largest!r} has {int(units.max()):,})"
        check_memory(total * _BYTES_A_UNIT, what, "gb.Network with fewer units")
    return units


def _units(name: Node, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 1:
        raise GraphError(f"node {name!r}: units={value!r}; units must be a whole number of at least 1")
    if int(value) > MAX_UNITS:
        raise GraphError(f"node {name!r}: units={value:,} is more than the {MAX_UNITS:,} that are possible")
    return int(value)


def _add_activation(activations: list[Activation], name: Node, kind: Any) -> int:
    try:
        activations.append(get_activation(kind))
    except UnknownNameError as problem:
        raise UnknownNameError(f"node {name!r}: {problem}") from problem
    return len(activations) - 1


def _role(name: Node, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value in _ROLES):
        return value
    raise GraphError(f"node {name!r}: role={value!r}; a role is 'input', 'output' or 'hidden' (or leave it out)")


def _trainable(where: str, data: Mapping[str, Any]) -> bool:
    value = data.get("trainable", True)
    if not isinstance(value, (bool, np.bool_)):
        raise GraphError(f"{where}: trainable={value!r}; it must be True or False")
    return bool(value)


def _tie(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise GraphError(f"{where}: tie={value!r}; a tie is the name, a string, that the shared weights have in common")
    return str(value)


def _numeric(where: str, value: Any) -> npt.NDArray[np.float64]:
    if isinstance(value, numbers.Number) and not isinstance(
        value, (bool, complex, np.number)
    ):  # an int of any size, a Fraction, a Decimal
        value = _float(where, value)
    refuse_masked(value, where, WeightError)
    array = foreign_array(value, where, WeightError)
    if array.dtype.kind == "c":
        raise WeightError(f"{where} is complex; weights are real")
    if array.dtype.kind not in "fiu":
        shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
        raise WeightError(f"{where} is {shown} ({type(value).__name__}); it must be a number or an array of numbers")
    array = np.array(array, np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        at = "" if array.ndim == 0 else f" at {tuple(int(k) for k in np.argwhere(bad)[0])}"
        raise WeightError(f"{where} is {array[bad].flat[0]}{at}; weights must be finite")
    return array


def _float(where: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as problem:
        raise WeightError(f"{where} ({type(value).__name__}) cannot be held as a float64: {problem}") from problem


def _bias(name: Node, value: Any, units: int) -> tuple[npt.NDArray[np.float64], bool]:
    where = f"node {name!r}: bias"
    array = _numeric(where, value)
    if array.ndim == 0:
        return np.full(units, float(array)), True
    if array.shape != (units,):
        raise WeightError(f"{where} has shape {array.shape}; the node has units={units}, so give a scalar or shape ({units},)")
    return array, False


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
        read = _odd_weight(names[src[e]], names[dst[e]], value, shape, bool(by_unit[e]))
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
            frozen[e] = not _trainable(where, attributes)
            if attributes.get("tie") is not None:
                tie[e] = _tie(where, attributes["tie"])
    return _Edges(weight, array, frozen, tie, extra)


def _odd_weight(u: Node, v: Node, value: Any, shape: tuple[int, int], by_unit: bool) -> Any:
    """A weight that is not a plain number: as a float, a dense array or a CSR matrix (`by_unit`: a vector); or a mistake."""
    where = f"{describe_edge(u, v)}: weight"
    if value is None:
        raise WeightError(f"{where} is missing; give every edge one: g.add_edge({u!r}, {v!r}, weight=0.1)")
    if by_unit:
        dense = value.toarray() if hasattr(value, "tocsr") else value
        return elementwise_weight(where, _numeric(where, dense), shape[0])
    if hasattr(value, "tocsr"):
        value = summed_csr(value, where, WeightError)
        value.data = _numeric(f"{where} (stored entries)", value.data)
    else:
        value = _numeric(where, value)
        if value.ndim == 0 and shape == (1, 1):
            return float(value)
    if value.shape != shape:
        raise WeightError(f"{where} has shape {value.shape}; it must be {shape}, (units of {v!r}, units of {u!r})")
    return value


def _assign_roles(
    names: tuple[Node, ...], declared: list[str | None], src: npt.NDArray[np.int64], dst: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.int8]:
    free = np.array([d is None for d in declared])
    role = np.array([HIDDEN if d is None else _ROLES[d] for d in declared], np.int8)
    source, sink = np.ones(n, bool), np.ones(n, bool)
    source[dst] = False
    sink[src] = False
    if not (role == INPUT).any():
        role[free & source] = INPUT
    if not (role == OUTPUT).any():
        role[free & sink & (role != INPUT)] = OUTPUT
    if not ((role == INPUT).any() and (role == OUTPUT).any()):
        waiting = _in_cycles(src, dst, n)
        if any(waiting):  # the reason why there is no source or no sink
            raise GraphError(cycle_message(names, src, dst, waiting))
    if not (role == INPUT).any():
        raise GraphError(
            "the network has no input: no node is a source, and none has role='input'; g.nodes[name]['role'] = 'input' names one"
        )
    if not (role == OUTPUT).any():
        raise GraphError("the network has no output: no node besides the inputs is a sink, and none has role='output'")
    return role


def _in_cycles(src: npt.NDArray[np.int64], dst: npt.NDArray[np.int64], n: int) -> list[int]:
    """For each node the number of its sources that are in a cycle, or fed by one; all 0 in a DAG."""
    successors: list[list[int]] = [[] for _ in range(n)]
    for i, j in zip(src.tolist(), dst.tolist(), strict=True):
        successors[i].append(j)
    waiting: list[int] = np.bincount(dst, minlength=n).tolist()
    ready = [i for i in range(n) if not waiting[i]]
    while ready:
        for j in successors[ready.pop()]:
            waiting[j] -= 1
            if not waiting[j]:
                ready.append(j)
    return waiting


def cycle_message(names: tuple[Node, ...], src: npt.NDArray[np.int64], dst: npt.NDArray[np.int64], waiting: list[int]) -> str:
    """A cycle as a path: walk backwards among the nodes that were never ready (`waiting` > 0) until one repeats.

    `dst` is sorted.
    """
    first = np.searchsorted(dst, np.arange(len(names)))
    i = next(k for k, w in enumerate(waiting) if w)
    seen: dict[int, int] = {}
    path: list[int] = []
    while i not in seen:
        seen[i] = len(path)
        path.append(i)
        e = int(first[i])
        while not waiting[int(src[e])]:
            e += 1
        i = int(src[e])
    cycle = [*path[seen[i] :], i][::-1]
    shown = [repr(names[k]) for k in cycle]
    if len(shown) > 12:
        shown = [*shown[:6], f"... {len(shown) - 11} more ...", *shown[-5:]]
    return f"the graph has a cycle: {' -> '.join(shown)}; a feed-forward network has none: remove one of these edges"


def _check_inputs(
    columns: Columns,
    role: npt.NDArray[np.int8],
    bias: list[npt.NDArray[np.float64] | None],
    activation: npt.NDArray[np.int64],
    activations: list[Activation],
) -> None:
    names = columns.names
    into = np.flatnonzero(role[columns.dst] == INPUT)
    if len(into):
        u, v = names[columns.src[into[0]]], names[columns.dst[into[0]]]
        raise GraphError(
            f"{describe_edge(u, v)} leads into an input; an input's value is a column of X: remove the edge or the role"
        )
    for i in np.flatnonzero(role == INPUT):
        if bias[i] is not None:
            raise GraphError(
                f"node {names[i]!r} is an input (nothing leads into it) and has a bias; an input's value is a column of X: remove the "
                "bias, or give the node role='hidden' to make it a constant unit"
            )
        if activations[activation[i]].name != "identity":
            raise GraphError(
                f"node {names[i]!r} is an input and has activation {activations[activation[i]].name!r}; put the activation on a "
                "unit that the input feeds"
            )


def _check_softmax(spec: GraphSpec) -> None:
    """Softmax is for outputs that feed nothing: its units are normalised together, after every level, so it takes at least two."""
    feeds = np.zeros(spec.n_nodes, bool)
    feeds[spec.edge_src] = True
    for i in spec.softmax_nodes:
        if spec.role[i] != OUTPUT:
            raise GraphError(
                f"node {spec.names[i]!r} has activation 'softmax' and is not an output; softmax is an output activation"
            )
        if feeds[i]:
            e = int(np.flatnonzero(spec.edge_src == i)[0])
            raise GraphError(
                f"node {spec.names[i]!r} has activation 'softmax' and feeds {spec.names[spec.edge_dst[e]]!r}; softmax is an output "
                "activation: feed the next unit from the softmax's sources"
            )
    alone = [i for i in spec.softmax_nodes if spec.units[i] == 1]
    if len(alone) == 1:
        raise GraphError(
            f"node {spec.names[alone[0]]!r} is a softmax of one unit: softmax divides by the sum over its units, so its output would "
            "always be 1; use activation='sigmoid' for one probability, or give every class a unit (a layer node's units are one softmax, "
            "all unit nodes together are another)"
        )
