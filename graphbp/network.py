"""`Network`: the face.  A DiGraph goes in; forward values, gradients, Jacobians and Hessians come out.

    DiGraph ──read_graph──► GraphSpec ──lower──► Schedule ──Backend.compile──► Executable
                                                    │                              ▲
                                  θ, X, T ──────────┴────── checked arrays ────────┘

A network owns its flat parameter vector θ and nothing else that changes.  Each method checks what came, calls one method of the
executable, and hands the result back: as the backend's own array where the caller gave one (CuPy in, CuPy out), else as a NumPy array.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp import data
from graphbp.columns import Columns, to_digraph
from graphbp.compose import Composed
from graphbp.config import dtype_of, option, option_and_source
from graphbp.diagnosis import is_finite, warn_not_finite, warn_of_derivative
from graphbp.error_functions import ErrorFunction, get_error_function
from graphbp.exceptions import (
    BackendNotAvailableError,
    DataError,
    NotSupportedError,
    UnknownNameError,
    WeightError,
    one_of,
    shown,
    unknown_name,
)
from graphbp.graph import HIDDEN, GraphSpec, describe_edge, read_graph
from graphbp.heads import output_heads
from graphbp.links import refuse_unfit_outputs
from graphbp.live import whole_trace
from graphbp.meaning import Meaning, meaning_of
from graphbp.memory import check_memory
from graphbp.parameters import Layout
from graphbp.progress import status
from graphbp.protocols import Backend, Executable
from graphbp.registry import usable_backend
from graphbp.scaling import unscaled
from graphbp.schedule import Schedule, lower
from graphbp.schedule import describe as describe_schedule
from graphbp.tables import like_frame, refuse_other_order
from graphbp.trace import Trace, rescaled

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from graphbp.check import Report
    from graphbp.jacobian import JacobianPlan
    from graphbp.second_order.blocks import UnitBlocks
    from graphbp.second_order.estimates import Estimate
    from graphbp.second_order.inverse import DenseInverse, LowRankInverse, SequentialInverse

__all__ = ["Network", "require_network"]

Array = npt.NDArray[Any]
Node = Hashable


def require_network(value: Any) -> None:
    """Refuse what is no `Network`, where a function takes one."""
    if not isinstance(value, Network):
        raise DataError(
            f"the network is a {type(value).__name__}; it must be a gb.Network: gb.Network(graph) makes one of a DiGraph, "
            "gb.load(path) reads one"
        )


def _chosen_backend(argument: Any) -> Backend:
    """The backend of the argument or the settings; a name that does not serve says which setting it came from."""
    name, source = option_and_source("backend", argument)
    try:
        return usable_backend(name)
    except (UnknownNameError, BackendNotAvailableError) as problem:
        if source == "argument":
            raise
        raise type(problem)(f"{problem} (the name comes from {source})") from problem


class Network:
    r"""y = f(x; θ) and E(θ) = Σ_n E_n of a feed-forward DAG, with all their derivatives.

    Parameters
    ----------
    graph : networkx.DiGraph. Node attributes `units`, `activation`, `bias`, `role`; edge attribute `weight`; on biases (nodes) and
        edges `trainable=False` and `tie="name"`; on input and output nodes `shift` and `scale` (`graphbp.scaling`), on inputs
        `columns`, on outputs `classes`.  The graph is read once and never changed.  A hidden unit without an activation is linear
        (`describe` says which are); a name that is nearly one of these is refused, every other attribute is the user's.
    error : name of the error function: "sum_of_squares", "binary_cross_entropy", "cross_entropy", "poisson" or a registered one.  An
        output whose activation takes values that the error is not defined for is refused.
    backend : "numpy", "numba", "cupy", another installed one, or "auto"; default `gb.config`.
    dtype : "float64" or "float32"; default `gb.config`.

    Arrays come in as lists, NumPy arrays, tensors, whatever has `__array__` or DLPack and lies in host memory (a tensor that records a
    computation is detached), and go out as NumPy arrays: a torch tensor in gives a NumPy array.  Only arrays of the backend's own
    device are given back as such (CuPy in, CuPy out).  X and T may be tables, whose columns are matched by name (`graphbp.tables`), and
    T labels of classes.

    Shapes: X (N, D), Y and T (N, K), θ (W,).  Errors: `GraphError`, `WeightError`, `DataError`, `UnknownNameError`,
    `BackendNotAvailableError`, all under `GraphbpError`.

    Examples
    --------
    The single-layer model of Bishop & Bishop, section 8.1.1: ∂E_n/∂w_ji = (y_j − t_j) x_i.

    >>> import networkx as nx, numpy as np, graphbp as gb
    >>> g = nx.DiGraph()
    >>> g.add_weighted_edges_from([("x1", "y", 2.0), ("x2", "y", -1.0)])
    >>> net = gb.Network(g, error="sum_of_squares", backend="numpy")
    >>> X, T = np.array([[1.0, 3.0]]), np.array([[0.5]])
    >>> net.forward(X), net.error(X, T)
    (array([[-1.]]), 1.125)
    >>> net.gradient(X, T)  # (y - t) x = -1.5 * [1, 3]
    array([-1.5, -4.5])
    """

    def __init__(
        self,
        graph: nx.DiGraph[Any] | Columns,  # columns come from a file
        *,
        error: str | ErrorFunction = "sum_of_squares",
        backend: str | None = None,
        dtype: str | npt.DTypeLike | None = None,
    ) -> None:
        self._error = error if isinstance(error, ErrorFunction) else get_error_function(error)
        self._dtype = dtype_of(option("dtype", dtype))
        self._backend = _chosen_backend(backend)
        self._spec: GraphSpec = read_graph(graph)
        self._schedule: Schedule
        self._layout: Layout
        self._schedule, self._layout = lower(self._spec)
        self._check_range()
        refuse_unfit_outputs(self._schedule, self._error)
        self._set_meaning(self._spec)
        self._told: tuple[Any, ...] = ()  # names of columns that were taken by position, which has been said
        self._compile()
        self._set_theta(self._layout.theta)

    def _check_range(self) -> None:
        """A weight, free or frozen, that is finite in float64 and beyond float32 is refused rather than made infinite."""
        largest = float(np.abs(self._layout.entry_value).max(initial=0))
        if largest > float(np.finfo(self._dtype).max):
            raise WeightError(f"a weight or bias of magnitude {largest:g} is beyond {self._dtype}; use dtype='float64'")

    def _compile(self) -> None:
        backend, error, dtype = self._backend, self._error, self._dtype

        def compiled(schedule: Schedule) -> Executable:
            return backend.compile(schedule, error, dtype)

        live = self._schedule.live
        self._run = Composed(compiled(live), live, backend.name, compiled, output_heads(live, error))

    def _set_meaning(self, spec: GraphSpec) -> None:
        """What the attributes of input and output nodes say about X and Y, as they stand in `spec`."""
        self._meaning: Meaning = meaning_of(spec, self.inputs, self.outputs, self._error)
        self._spec = spec

    def _engine(self) -> Network:
        """The same network, sharing θ, without its scaling: what the backend computes, for code that has scaled X and T already."""
        if not self._meaning.scaling:
            return self
        other = object.__new__(Network)
        other.__dict__.update(self.__dict__)
        other._set_meaning(unscaled(self._spec))
        return other

    def _set_theta(self, values: Array) -> None:
        self._theta = self._backend.asarray(np.array(values, self._dtype), self._dtype)

    # -- what it is ------------------------------------------------------------------------------------------------------

    @property
    def schedule(self) -> Schedule:
        """All units in the order of the sweeps, `print(net.schedule)` shows it; `net.schedule.live` is what the backend compiled."""
        return self._schedule

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._backend.name

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 or float32."""
        return self._dtype

    @property
    def error_function(self) -> ErrorFunction:
        """The row of the error table."""
        return self._error

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Input nodes in the order of X's columns; a layer node stands for `units` columns."""
        return self._schedule.input_names

    @property
    def outputs(self) -> tuple[Node, ...]:
        """Output nodes in the order of Y's columns; a layer node stands for `units` columns."""
        return self._schedule.output_names

    @property
    def columns(self) -> list[Any]:
        """What each column of X is called in a table: the input node's name, "node_k" in a layer, or what it was trained on."""
        return [names[0] for names in self._meaning.input_columns]

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """The names of the classes in the order of Y's columns ([negative, positive] for one output), or None."""
        return self._meaning.classes

    @property
    def n_parameters(self) -> int:
        """W."""
        return self._schedule.n_parameters

    def describe(self, n_samples: int = 1024) -> str:
        """The schedule, and which path the backend takes for `n_samples` samples."""
        n_samples = data.as_count("n_samples", n_samples, 0)
        program = describe_schedule(self._schedule, n_samples, self._dtype.itemsize)
        if said := str(self._meaning):
            program += f"\n  {said}"
        return f"{program}{self._linear_units()}\n  backend {self.backend}, {self._dtype}: {self._run.describe(n_samples)}"

    def _linear_units(self) -> str:
        """A line on hidden nodes that were given no activation, or nothing."""
        spec = self._spec
        hidden = zip(spec.role.tolist(), spec.node_extra, spec.names, strict=True)
        linear = [name for role, extra, name in hidden if role == HIDDEN and "activation" not in extra]
        if not linear:
            return ""
        shown = ", ".join(map(repr, linear[:3])) + (", ..." if len(linear) > 3 else "")
        return f"\n  {len(linear):,} hidden node{'s' * (len(linear) > 1)} without an activation, so linear: {shown}"

    def __repr__(self) -> str:
        s = self._schedule
        return (
            f"<graphbp.Network: {s.n_inputs} inputs -> {s.n_units} units, {s.n_edges} edges -> {s.n_outputs} outputs; "
            f"{s.n_parameters} parameters, error={self._error.name!r}, backend={self.backend!r}, dtype={self._dtype.name!r}"
            + "".join(f"; {said}" for said in [str(self._meaning)] if said)
            + ">"
        )

    # -- parameters ------------------------------------------------------------------------------------------------------

    @property
    def weights(self) -> Array:
        """θ (W,): the free parameters, frozen ones left out, tied ones once (order: `graphbp.parameters`).

        On a CPU backend this is the live vector: writing into it changes the network.  Assigning replaces it by a copy, so a
        vector taken earlier keeps its values.  On a device backend it is a read-only copy in host memory.
        """
        host = self._backend.to_numpy(self._theta)
        if host is not self._theta:
            host.flags.writeable = False
        return host

    @weights.setter
    def weights(self, values: Any) -> None:
        if self._backend.owns(values):
            shape = (self.n_parameters,)
            self._theta = data.as_directions(
                values, shape, "weights", "one value a free parameter", self._backend, self._dtype
            ).copy()
        else:
            self._set_theta(data.as_vector(values, self.n_parameters, self._dtype))

    def parameter_index(self, source: Node, destination: Node | None = None) -> slice:
        """Where in `weights` the edge source → destination stands, or, given one node, its bias.

        The slice of an edge between layers is (units_dst, units_src) row by row; of a sparse weight, its stored entries in CSR
        order.  Edges that share a tie have the same slice.

        Raises
        ------
        UnknownNameError : no such node or edge.
        WeightError : the weight is frozen, or the node has no bias.
        """
        start, count, what = self._entries(source, destination)
        first = self._layout.entry_parameter[start] if count else 0
        if first < 0:
            raise WeightError(f"{what} is frozen (trainable=False), so it is not among the free parameters")
        return slice(int(first), int(first) + count)

    def parameter_name(self, index: Any) -> str:
        """The edge or bias that position `index` of `weights` belongs to, for messages (of tied ones, the first).

        >>> import networkx as nx, graphbp as gb
        >>> gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0})]), backend="numpy").parameter_name(0)
        "edge 'x' -> 'y'"
        """
        layout, spec = self._layout, self._spec
        if isinstance(index, bool) or not isinstance(index, numbers.Integral):
            raise DataError(f"index={shown(index)}; it must be a whole number, a position in net.weights")
        index = int(index)
        entry = int(np.argmax(layout.entry_parameter == index)) if 0 <= index < self.n_parameters else -1
        if entry < 0:
            raise unknown_name("parameter", index, [], f"There are {self.n_parameters} free parameters, numbered from 0.")
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
        if hasattr(array, "nnz"):
            at = (int(np.searchsorted(array.indptr, offset, side="right")) - 1, int(array.indices[offset]))
        else:
            at = (offset // array.shape[1], offset % array.shape[1])
        return f"{spec.edge_name(e)} at {at}"

    def weight(self, source: Node, destination: Node) -> Any:
        """The current w of an edge, frozen or free: a float, an array (units_dst, units_src), or a CSR matrix, as it came."""
        start, count, _ = self._entries(source, destination)
        return self._shaped(self._edge(source, destination), self._values(start, count))

    def bias(self, node: Node) -> Any:
        """The current bias of a node: a float, or an array (units,)."""
        start, count, _ = self._entries(node, None)
        values = self._values(start, count)
        return float(values[0]) if count == 1 and self._spec.index[node] in self._spec.bias_scalar else values

    def _node(self, name: Node) -> int:
        try:
            return self._spec.index[name]
        except (KeyError, TypeError):
            raise unknown_name("node", name, [str(n) for n in self._spec.names]) from None

    def _edge(self, source: Node, destination: Node) -> int:
        i, j = self._node(source), self._node(destination)
        lo, hi = np.searchsorted(self._spec.edge_dst, [j, j + 1])
        found = np.flatnonzero(self._spec.edge_src[lo:hi] == i)
        if not len(found):
            sources = [self._spec.names[k] for k in self._spec.edge_src[lo:hi].tolist()]
            listed = ", ".join(map(repr, sources[:20])) + (", ..." if len(sources) > 20 else "")
            leads = f"what leads to {destination!r} comes from {listed}" if sources else f"nothing leads to {destination!r}"
            raise UnknownNameError(f"there is no {describe_edge(source, destination)}; {leads}")
        return int(lo + found[0])

    def _entries(self, source: Node, destination: Node | None) -> tuple[int, int, str]:
        """(first entry, number of entries, name) of an edge or a bias."""
        if destination is None:
            i = self._node(source)
            bias = self._spec.bias[i]
            if bias is None:
                raise WeightError(f"node {source!r} has no bias; give the graph's node bias=0.0 to have one")
            return int(self._layout.bias_start[i]), len(bias), f"the bias of node {source!r}"
        e = self._edge(source, destination)
        return int(self._layout.edge_start[e]), int(self._layout.edge_count[e]), f"the weight of {self._spec.edge_name(e)}"

    def _values(self, start: int, count: int) -> Array:
        return self._layout.fill(self.weights, slice(start, start + count))

    def _shaped(self, e: int, values: Array) -> Any:
        came = self._spec.edge_array.get(e)
        if came is None:
            return float(values[0])
        if hasattr(came, "nnz"):
            new = came.copy()
            new.data = values
            return new
        return values.reshape(came.shape)

    def to_networkx(self) -> nx.DiGraph[Any]:
        """A new DiGraph with the current weights and biases, every other attribute of graph, nodes and edges as it came."""
        return to_digraph(self._columns())

    def _columns(self) -> Columns:
        """The current weights and biases with every other attribute."""
        spec, layout = self._spec, self._layout
        now = layout.fill(self.weights)
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
            arrays[e] = self._shaped(e, now[start : start + int(layout.edge_count[e])].copy())
        return Columns(spec.names, nodes, spec.edge_src, spec.edge_dst, weight, arrays, spec.edge_extra, spec.graph_extra)

    def to(self, backend: str | None = None, dtype: str | npt.DTypeLike | None = None) -> Network:
        """The same network with its current weights on another backend or in another dtype; the schedule is shared."""
        other = object.__new__(Network)
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k != "_run"})
        other._dtype = self._dtype if dtype is None else dtype_of(option("dtype", dtype))
        other._backend = self._backend if backend is None else _chosen_backend(backend)
        other._compile()
        other._set_theta(self.weights)
        return other

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k not in ("_run", "_backend", "_theta")}
        return {**state, "backend": self.backend, "weights": np.array(self.weights)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._backend = usable_backend(state.pop("backend"))
        theta = state.pop("weights")
        self.__dict__.update(state)
        self._compile()
        self._set_theta(theta)

    def save(self, path: str | PathLike[str], **options: Any) -> None:
        """Write the network (see `graphbp.files`): JSON with the weights inline or beside it, or what an exporter plugin writes."""
        from graphbp.files import save

        save(self, path, **options)

    # -- first order -----------------------------------------------------------------------------------------------------

    def _inputs(self, X: Any, backend: Backend | None = None) -> Any:
        """X as the engine sees it: checked, scaled, in the memory of the backend (or of another one)."""
        return data.as_inputs(self._read(X), self._schedule, backend or self._backend, self._dtype, self._meaning.scaling.inputs)

    def _read(self, X: Any) -> Any:
        """X as an array where it is a table; columns are matched by name."""
        if type(X) is np.ndarray and X.dtype.kind in "fiub":
            return X
        array, by_position, left_out = self._meaning.read_inputs(X, self._told)
        self._told = (*self._told, *(names for names in (by_position, left_out) if names and names not in self._told))
        return array

    def _batch(self, X: Any, T: Any, sample_weight: Any, backend: Backend | None = None) -> tuple[Any, Any, Any]:
        backend = backend or self._backend
        if type(X) is not np.ndarray:
            refuse_other_order(X, {"T": T, "sample_weight": sample_weight})
        x = self._inputs(X, backend)
        t = self._meaning.read_targets(T)
        t = data.as_targets(t, len(x), self._schedule, self._error, backend, self._dtype, self._meaning.scaling.outputs)
        return x, t, data.as_sample_weight(sample_weight, len(x), backend, self._dtype)

    def _back(self, result: Any, *given: Any) -> Any:
        """The result as the backend's array where the caller gave one, else as a NumPy array."""
        if any(self._backend.owns(array) for array in given):
            return result
        return self._backend.to_numpy(result)

    def forward(self, X: Any) -> Any:
        """Y (N, K) = f(X): a_j = Σ_i w_ji z_i + b_j, z_j = h_j(a_j) in topological order (Bishop & Bishop, eqs. 8.5-8.6).

        Where Y is infinite or NaN a `NumericalWarning` names the unit and the first sample that made it so.
        """
        Y = self._back(self._meaning.y(self._run.forward(self._theta, self._inputs(X)), self._backend), X)
        if not is_finite(Y):
            warn_not_finite(self, "y", X)
        return Y

    def predict(self, X: Any, *, as_frame: bool = False) -> Any:
        """The class of each sample (N,), by name where the network has `classes`, else by number; of a regression, Y (N, K).

        The largest output under cross-entropy; y > ½ under binary cross-entropy, (N, K) of 0 and 1 where it has several outputs.
        With `as_frame`, a table X (pandas, polars, PyArrow, a structured array, a dict) gives one of its kind: "class" for classes, else
        a column for each output, called like the target that it was trained on; in pandas with X's index.
        """
        values = self._meaning.predicted(self._backend.to_numpy(self.forward(X)))
        if not as_frame:
            return values
        return like_frame(X, values, [str(names[0]) for names in self._meaning.output_columns])

    def fit_scaling(self, X: Any, T: Any = None, sample_weight: Any = None) -> None:
        """Take `shift` (mean) and `scale` (standard deviation) of every input from X; with T, of the outputs too, and `classes`.

        From then on the network takes and gives raw numbers and computes with (x − shift)/scale; they stand on its input and output
        nodes.  Outputs are scaled under an error of residuals where they are identities that feed nothing: others have a scale of
        their own.  The weights stay, so the network computes something else than before: train it afterwards.

        Raises
        ------
        DataError : X or T; NotSupportedError : an output to be scaled that feeds other units.
        """
        from graphbp.fit import fit_scaling

        fit_scaling(self, X, T, sample_weight)

    def error(self, X: Any, T: Any, sample_weight: Any = None) -> float:
        """E = Σ_n s_n E_n, a float; s_n = 1 unless `sample_weight` (N,) is given.

        Of a network with scaled outputs, E is that of the scaled residuals (y − t) / scale and has no unit.
        """
        value: float = self._run.error(self._theta, *self._batch(X, T, sample_weight))
        if not math.isfinite(value):
            warn_not_finite(self, "E", X, T, sample_weight)
        return value

    def gradient(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """∂E/∂θ (W,) by backpropagation: ∂E_n/∂w_ji = δ_j z_i (eqs. 8.10-8.14)."""
        return self.error_and_gradient(X, T, sample_weight)[1]

    def error_and_gradient(self, X: Any, T: Any, sample_weight: Any = None) -> tuple[float, Any]:
        """(E, ∂E/∂θ) in one forward and one reverse sweep."""
        value, gradient = self._run.error_and_gradient(self._theta, *self._batch(X, T, sample_weight))
        gradient = self._back(gradient, X, T)
        if not (math.isfinite(value) and is_finite(gradient)):
            warn_not_finite(self, "∂E/∂θ" if math.isfinite(value) else "E", X, T, sample_weight)
        return value, gradient

    def per_sample_gradient(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """(N, W): row n is s_n ∂E_n/∂θ.  Raises `MemoryLimitError` where N × W would not fit."""
        batch = self._batch(X, T, sample_weight)
        self._check_size("per_sample_gradient", (len(batch[0]), self.n_parameters), "gradient(), or batches of fewer samples")
        gradients = self._run.per_sample_gradient(self._theta, *batch)
        return self._back(self._finite(gradients, "∂E_n/∂θ", *batch), X, T)

    def trace(self, X: Any, T: Any, sample_weight: Any = None) -> Trace:
        """a, z and δ of every node, for every sample: `trace.a["h"]`, `trace.z["h"]`, `trace.delta["h"]`."""
        batch = self._batch(X, T, sample_weight)
        self._check_size("trace", (3, self._schedule.n_rows, len(batch[0])), "fewer samples")
        arrays = self._run.trace(self._theta, *batch)
        a, z, delta = (self._backend.to_numpy(part) for part in (arrays.a, arrays.z, arrays.delta))
        a, z, delta = whole_trace(self._schedule, self.weights, a, z, delta)
        if self._meaning.scaling:
            x = self._backend.to_numpy(X) if self._backend.owns(X) else data.host_array(self._read(X), "X")
            a, z, delta = rescaled(self._meaning.scaling, self._schedule, x, a, z, delta)
        return Trace(self._spec, self._schedule, a, z, delta)

    def numerical_gradient(self, X: Any, T: Any, sample_weight: Any = None, *, method: str = "central", step: Any = None) -> Array:
        """∂E/∂θ (W,) by differencing E: "forward", "central" or "complex_step"; O(W²) (section 8.1.4, and `graphbp.numerical`).

        `step` is ε, one number or one a parameter, to draw the error against it; without it each weight has a step of its own.
        """
        from graphbp.numerical import numerical_gradient

        return np.asarray(numerical_gradient(self, X, T, sample_weight, method=method, step=step))

    def check(self, X: Any, T: Any, sample_weight: Any = None, **options: Any) -> Report:
        """Compare every derivative with numerical differentiation and with each other; the report names the worst edge."""
        from graphbp.check import check

        return check(self, X, T, sample_weight, **options)

    # -- Jacobians -------------------------------------------------------------------------------------------------------

    def jacobian(self, X: Any, *, sparse: bool = False) -> Any:
        """(N, K, D): J_ki = ∂y_k/∂x_i (section 8.1.5), by K reverse or D forward sweeps, whichever is fewer.

        Where inputs do not reach every output, outputs (or inputs) with nothing in common share a sweep (`graphbp.jacobian`).
        With `sparse`, the result is a SciPy CSR array (N K, D) without the structural zeros: row n K + k is ∂y_k/∂x of sample n.
        """
        x = self._inputs(X)
        s = self._schedule
        if data.as_flag("sparse", sparse):
            host, theta = self._backend.to_numpy(x), self._theta
            entries = int(self._jacobian_plan.pattern.sum())
            peak = self._jacobian_plan.peak(len(x), self._dtype.itemsize, sparse=True)
            check_memory(peak, f"sparse jacobian of {len(x)} × {entries} entries", "vjp() and jvp(), or batches of fewer samples")
            if host is not x:
                raise NotSupportedError(f"backend {self.backend!r} gives no sparse Jacobian; use sparse=False, or a CPU backend")
            found = self._meaning.sparse_jacobian(self._jacobian_plan.sparse(self._run, theta, host))
            self._finite(found.data, "∂y/∂x", x)
            return found
        self._check_size("jacobian", (len(x), s.n_outputs, s.n_inputs), "sparse=True, vjp() and jvp(), or batches of fewer samples")
        if min(s.n_outputs, s.n_inputs) == 1 or self._backend.owns(x):
            scaled = self._run.jacobian(self._theta, x)
        else:
            peak = self._jacobian_plan.peak(len(x), self._dtype.itemsize, sparse=False)
            check_memory(peak, "the jacobian's result and its sweeps", "sparse=True, vjp() and jvp(), or batches of fewer samples")
            scaled = self._jacobian_plan.dense(self._run, self._theta, x)
        return self._back(self._finite(self._meaning.jacobian(scaled, self._backend), "∂y/∂x", x), X)

    @cached_property
    def _jacobian_plan(self) -> JacobianPlan:
        from graphbp.jacobian import plan_jacobian

        return plan_jacobian(self._schedule)

    def weight_jacobian(self, X: Any) -> Any:
        """(N, K, W): ∂y_k/∂θ.  Raises `MemoryLimitError` where it would not fit."""
        x = self._inputs(X)
        shape = (len(x), self._schedule.n_outputs, self.n_parameters)
        self._check_size("weight_jacobian", shape, "weight_vjp() and weight_jvp(), or batches of fewer samples")
        found = self._meaning.by_output(self._run.weight_jacobian(self._theta, x), self._backend)
        return self._back(self._finite(found, "∂y/∂θ", x), X)

    def vjp(self, X: Any, V: Any) -> Any:
        """(N, D): Σ_k V_nk ∂y_k/∂x_i, one reverse sweep; V is (N, K)."""
        x = self._inputs(X)
        by_scaled = self._run.vjp(self._theta, x, self._output_directions(V, len(x)))[0]
        return self._back(self._finite(self._meaning.by_input(by_scaled, self._backend), "V ∂y/∂x", x), X, V)

    def jvp(self, X: Any, U: Any) -> Any:
        """(N, K): Σ_i ∂y_k/∂x_i U_ni, one forward sweep of tangents; U is (N, D)."""
        x = self._inputs(X)
        shape = (len(x), self._schedule.n_inputs)
        u = data.as_directions(U, shape, "U", "a direction for every row of X", self._backend, self._dtype)
        moved = self._run.jvp(self._theta, x, self._meaning.by_input(u, self._backend), None)
        return self._back(self._finite(self._meaning.by_output(moved, self._backend), "∂y/∂x U", x), X, U)

    def weight_vjp(self, X: Any, V: Any) -> Any:
        """(W,): Σ_n Σ_k V_nk ∂y_nk/∂θ."""
        x = self._inputs(X)
        by_weights = self._run.vjp(self._theta, x, self._output_directions(V, len(x)))[1]
        return self._back(self._finite(by_weights, "V ∂y/∂θ", x), X, V)

    def weight_jvp(self, X: Any, v: Any) -> Any:
        """(N, K): ∂y_k/∂θ v for a direction v (W,)."""
        x = self._inputs(X)
        moved = self._run.jvp(self._theta, x, None, self._parameter_direction(v))
        return self._back(self._finite(self._meaning.by_output(moved, self._backend), "∂y/∂θ v", x), X, v)

    def _output_directions(self, V: Any, n: int) -> Any:
        shape = (n, self._schedule.n_outputs)
        v = data.as_directions(V, shape, "V", "a direction in the outputs for every row of X", self._backend, self._dtype)
        return self._meaning.by_output(v, self._backend)

    def _parameter_direction(self, v: Any) -> Any:
        return data.as_directions(v, (self.n_parameters,), "v", "a direction in the free parameters", self._backend, self._dtype)

    # -- second order ----------------------------------------------------------------------------------------------------

    def hessian(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """(W, W): the exact ∂²E/∂θ∂θ by the closed form in G and B (Bishop 1992; docs/mathematics).

        Raises `MemoryLimitError` where W × W would not fit: `hessian_operator`, `hessian_diagonal` and `hessian_blocks` serve then.
        """
        batch = self._batch(X, T, sample_weight)
        self._check_square("hessian", "hessian_operator(X, T), hessian_diagonal(X, T) or hessian_blocks(X, T)")
        with self._waiting("exact Hessian"):
            found = self._run.hessian(self._theta, *batch)
        return self._back(self._finite(found, "∂²E/∂θ∂θ", *batch, order=2), X, T)

    def outer_product_hessian(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """(W, W): Σ_n s_n ∇a_n Λ_n ∇a_nᵀ, the outer-product (Gauss-Newton) approximation (section 8.1.6, eq. 8.42)."""
        batch = self._batch(X, T, sample_weight)
        self._check_square("outer_product_hessian", "outer_product_operator(X, T)")
        with self._waiting("outer-product Hessian"):
            found = self._run.outer_product_hessian(self._theta, *batch)
        return self._back(self._finite(found, "Σ ∇a Λ ∇aᵀ", *batch, order=2), X, T)

    def _waiting(self, what: str) -> AbstractContextManager[Any]:
        """A line for whoever waits for second derivatives; a small network's take microseconds, which no timer is started for."""
        w = self.n_parameters
        return status(f"computing the {what} of {w:,} parameters") if w >= 200 else nullcontext()

    def _finite(self, result: Any, what: str, x: Any, t: Any = None, s: Any = None, order: int = 1) -> Any:
        """The result; where it is not finite a `NumericalWarning` names the unit and the row of the (checked) batch."""
        if not is_finite(result):
            warn_of_derivative(self, what, self._theta, x, t, s, order=order)
        return result

    def outer_product_inverse(
        self,
        X: Any,
        T: Any,
        alpha: float,
        sample_weight: Any = None,
        *,
        method: Literal["auto", "sequential", "cholesky", "low_rank"] = "auto",
    ) -> SequentialInverse | DenseInverse | LowRankInverse:
        """(αI + Σ_n s_n ∇a_n Λ_n ∇a_nᵀ)⁻¹, as an object with `solve(v)`, `quadratic(rows)`, `diagonal()` and `dense()`; α > 0.

        "sequential" takes sample by sample (section 8.1.6), and its `update(rows)` goes on with later ones; "cholesky" factors the whole;
        "low_rank" never forms W × W, and is what "auto" takes where N K < W.
        """
        from graphbp.second_order.inverse import outer_product_inverse

        alpha = data.as_number("alpha", alpha, above=0)
        one_of("method", method, ["auto", "sequential", "cholesky", "low_rank"])
        batch = self._batch(X, T, sample_weight)  # checked as a whole; `outer_product_inverse` may take it in parts
        x, t, s = (None if part is None else self._backend.to_numpy(part) for part in batch)
        return outer_product_inverse(self._engine(), x, t, alpha, s, method=method)

    def hessian_diagonal(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """(W,): the exact diagonal, ∂²E/∂w_ji² = Σ_n z_i² B_jj, without W × W storage."""
        batch = self._batch(X, T, sample_weight)
        with self._waiting("Hessian's diagonal"):
            found = self._run.hessian_diagonal(self._theta, *batch)
        return self._back(self._finite(found, "diag ∂²E/∂θ∂θ", *batch, order=2), X, T)

    def hessian_blocks(
        self, X: Any, T: Any, sample_weight: Any = None, *, kind: Literal["exact", "outer_product"] = "exact"
    ) -> dict[Node, UnitBlocks]:
        """Node → the parts of H that each of its units' own weights and bias span, Σ_n B_jj z zᵀ, without W × W storage.

        `blocks[node].index` (units, p) are positions in θ, −1 padding units with fewer than p parameters; `blocks[node].block` is
        (units, p, p).  `kind="outer_product"` takes the outer-product Hessian's.
        """
        from graphbp.second_order.blocks import blocks_by_node
        from graphbp.second_order.plan import HessianPlan

        if not isinstance(kind, str) or kind not in ("exact", "outer_product"):
            raise DataError(f'kind={shown(kind)}; use "exact" or "outer_product"')
        exact = kind == "exact"
        batch = self._batch(X, T, sample_weight)
        product = self._run.hessian_product if exact else self._run.outer_product_product

        def multiply(v: Array) -> Array:
            return self._backend.to_numpy(product(self._theta, *batch, self._backend.asarray(v, self._dtype)))

        entries = sum(group.n_units * group.n_sources**2 for group in HessianPlan.of(self._schedule).groups)
        check_memory(3 * entries * self._dtype.itemsize, "the unit blocks of the Hessian", "hessian_diagonal(X, T)")
        with self._waiting("Hessian's unit blocks"):
            groups = self._run.unit_blocks(self._theta, *batch, exact)
            blocks = blocks_by_node(HessianPlan.of(self._schedule.live), groups, multiply, self._dtype)
        for unit in blocks.values():
            if not is_finite(unit.block):
                self._finite(unit.block, "a unit block of ∂²E/∂θ∂θ", *batch, order=2)
                break
        return blocks

    def hessian_estimate(self, X: Any, T: Any, sample_weight: Any = None, *, n_probes: int = 64, seed: int = 0) -> Estimate:
        """Hutchinson's estimate of H's diagonal and trace with standard errors, from `n_probes` products; seeded.

        For networks where even the exact `hessian_diagonal`, O(units · edges) a sample, is too much.
        """
        from graphbp.second_order.estimates import hutchinson

        operator = self.hessian_operator(X, T, sample_weight)
        with self._waiting("estimate of the Hessian's diagonal"):
            return hutchinson(operator, n_probes, seed)

    def hessian_operator(self, X: Any, T: Any, sample_weight: Any = None) -> LinearOperator:
        """v ↦ H v, exact, by the R-operator: O(W) a sample and product, no W × W storage."""
        return self._operator(self._run.hessian_product, X, T, sample_weight)

    def outer_product_operator(self, X: Any, T: Any, sample_weight: Any = None) -> LinearOperator:
        """v ↦ Σ_n s_n Jᵀ Λ J v: O(W) a sample and product, no W × W storage."""
        return self._operator(self._run.outer_product_product, X, T, sample_weight)

    def _operator(self, product: Any, X: Any, T: Any, sample_weight: Any) -> LinearOperator:
        from graphbp.second_order.operators import symmetric_operator

        batch = self._batch(X, T, sample_weight)
        theta = self._theta.copy()

        def multiply(v: Array) -> Array:
            found = self._backend.to_numpy(product(theta, *batch, self._backend.asarray(v, self._dtype)))
            if not is_finite(found):
                warn_of_derivative(self, "∂²E/∂θ∂θ v", theta, *batch, order=2)
            return found

        return symmetric_operator(multiply, self.n_parameters, self._dtype)

    # -- memory ----------------------------------------------------------------------------------------------------------

    def _check_size(self, what: str, shape: tuple[int, ...], instead: str) -> None:
        count = 1
        for n in shape:
            count *= n
        check_memory(count * self._dtype.itemsize, f"{what} of shape {shape}", instead)

    def _check_square(self, what: str, instead: str) -> None:
        self._check_size(what, (self.n_parameters, self.n_parameters), instead)
