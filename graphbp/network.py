"""`Network`: the face.  A DiGraph goes in; forward values, gradients, Jacobians and Hessians come out.

    DiGraph ──read_graph──► GraphSpec ──compile_model──► Model
                                                           ▲
                            X, T ──checked──► x, t, s ─── θ

A network is a compiled `Model` and the flat parameter vector θ.  This file says how it comes to be, what it is, and how weights are read
and set; y, E and the derivatives at θ are `graphbp.derivatives`.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp import data, foreign, lookup
from graphbp.columns import Columns, to_digraph
from graphbp.config import dtype_of, option, option_and_source
from graphbp.derivatives import Derivatives
from graphbp.error_functions import ErrorFunction, get_error_function
from graphbp.exceptions import BackendNotAvailableError, DataError, UnknownNameError, WeightError, one_of
from graphbp.graph import read_graph
from graphbp.mixture import BY_OUTPUT, AnyError, Mixture, with_heads
from graphbp.model import compile_model
from graphbp.protocols import Backend
from graphbp.registry import usable_backend
from graphbp.schedule import Schedule
from graphbp.schedule import describe as describe_schedule
from graphbp.spec import HIDDEN
from graphbp.tables import like_frame

if TYPE_CHECKING:
    from graphbp.second_order.inverse import DenseInverse, LowRankInverse, SequentialInverse
    from graphbp.verification import Report
    from graphbp.view import View

__all__ = ["Network", "engine_of", "require_network"]

Array = npt.NDArray[Any]
Node = Hashable
MISSING = ("refuse", "skip")


def require_network(value: Any) -> None:
    """Refuse what is no `Network`, where a function takes one."""
    if not isinstance(value, Network):
        raise DataError(
            f"the network is a {type(value).__name__}; it must be a gb.Network: gb.Network(graph) makes one of a DiGraph, "
            "gb.load(path) reads one"
        )


def engine_of(net: Network) -> Network:
    """The same network, sharing θ, without its scaling: what the backend computes, for code that has scaled X and T already."""
    if net.model.engine is net.model:
        return net
    other = copy.copy(net)
    other.model, other.theta = net.model.engine, net.theta
    return other


def _chosen_backend(argument: Any) -> Backend:
    """The backend of the argument or the settings; a name that does not serve says which setting it came from."""
    name, source = option_and_source("backend", argument)
    try:
        return usable_backend(name)
    except (UnknownNameError, BackendNotAvailableError) as problem:
        if source == "argument":
            raise
        raise type(problem)(f"{problem} (the name comes from {source})") from problem


class Network(Derivatives):
    r"""y = f(x; θ) and E(θ) = Σ_n E_n of a feed-forward DAG, with all their derivatives.

    Parameters
    ----------
    graph : networkx.DiGraph. Node attributes `units`, `activation`, `bias`, `role`; edge attribute `weight`; on biases (nodes) and
        edges `trainable=False` and `tie="name"`; on input and output nodes `shift` and `scale` (`graphbp.scaling`), on inputs
        `columns`, on outputs `classes`.  The graph is read once and never changed.  A hidden unit without an activation is linear
        (`describe` says which are); a name that is nearly one of these is refused, every other attribute is the user's.
    error : name of the error function: "sum_of_squares" (the default), "binary_cross_entropy", "cross_entropy", "poisson" or a registered
        one.  An output whose activation takes values that the error is not defined for is refused.  A mapping gives outputs errors of
        their own: {"price": "sum_of_squares", "kind": "cross_entropy"}; for the unit nodes of one softmax, any of them stands for all.
    error_weights : output → w_k ≥ 0, where other than 1: E = Σ_nk s_n w_k e_k.  Both stand on the output nodes then, as `error` and
        `error_weight`, where they may also be written.
    missing : "refuse" NaN in T, or "skip": such an entry adds nothing to E and its derivatives (`graphbp.batches`); a softmax lacks its
        target as a whole.
    backend : "numpy", "numba", "cupy", another installed one, or "auto"; default `gb.config`.
    dtype : "float64" or "float32"; default `gb.config`.

    Arrays come in as lists, NumPy arrays, tensors, whatever has `__array__` or DLPack and lies in host memory (a tensor that records a
    computation is detached), and go out as NumPy arrays: a torch tensor in gives a NumPy array.  Only arrays of the backend's own
    device are given back as such (CuPy in, CuPy out).  X and T may be tables, whose columns are matched by name (`graphbp.tables`), and
    T labels of classes.

    A network is `model`, compiled once (`graphbp.model.Model`, whose methods take θ), and `theta`, θ in the backend's memory (`weights` is
    how to read and set it).

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
        error: str | AnyError | Mapping[Any, str | ErrorFunction] | None = None,
        error_weights: Mapping[Any, float] | None = None,
        missing: str = "refuse",
        backend: str | None = None,
        dtype: str | npt.DTypeLike | None = None,
    ) -> None:
        told = error is None or isinstance(error, ErrorFunction | Mixture | Mapping)
        given: Any = error if told else get_error_function(error)  # type: ignore[arg-type]  # which refuses what is no name
        function = None if isinstance(given, Mixture) else given  # the nodes say theirs
        one_of("missing", missing, MISSING)
        kind = dtype_of(option("dtype", dtype))
        chosen = _chosen_backend(backend)
        spec = with_heads(read_graph(graph), function, error_weights)
        self.model = compile_model(spec, None if isinstance(function, Mapping) else function, chosen, kind, missing)
        if isinstance(given, Mixture) and self.model.error != given:
            raise DataError(f"error is that of another network's outputs ({given.name}); give a mapping from output node to error")
        self.theta = self.model.theta(self.model.layout.theta)

    # -- what it is ------------------------------------------------------------------------------------------------------

    @property
    def schedule(self) -> Schedule:
        """All units in the order of the sweeps, `print(net.schedule)` shows it; `net.schedule.live` is what the backend compiled."""
        return self.model.schedule

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self.model.backend.name

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 or float32."""
        return self.model.dtype

    @property
    def error_function(self) -> AnyError:
        """The row of the error table; a `Mixture`, which has one for `each` output, where they differ."""
        return self.model.error

    @property
    def missing(self) -> str:
        """Targets that are NaN: "refuse", or "skip", which counts them for nothing; it can be set."""
        return self.model.meaning.missing

    @missing.setter
    def missing(self, value: str) -> None:
        one_of("missing", value, MISSING)
        self.model = self.model.skipping(value)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Input nodes in the order of X's columns; a layer node stands for `units` columns."""
        return self.model.schedule.input_names

    @property
    def outputs(self) -> tuple[Node, ...]:
        """Output nodes in the order of Y's columns; a layer node stands for `units` columns."""
        return self.model.schedule.output_names

    @property
    def columns(self) -> list[Any]:
        """What each column of X is called in a table: the input node's name, "node_k" in a layer, or what it was trained on."""
        return [names[0] for names in self.model.meaning.input_columns]

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """The names of the classes in the order of Y's columns ([negative, positive] for one output), or None."""
        return self.model.meaning.classes

    @property
    def n_parameters(self) -> int:
        """W."""
        return self.model.schedule.n_parameters

    def describe(self, n_samples: int = 1024) -> str:
        """The schedule, and which path the backend takes for `n_samples` samples."""
        n_samples = foreign.as_count("n_samples", n_samples, 0)
        program = describe_schedule(self.model.schedule, n_samples, self.dtype.itemsize)
        if said := str(self.model.meaning):
            program += f"\n  {said}"
        return f"{program}{self._linear_units()}\n  backend {self.backend}, {self.dtype}: {self.model.run.describe(n_samples)}"

    def _linear_units(self) -> str:
        """A line on hidden nodes that were given no activation, or nothing."""
        spec = self.model.spec
        hidden = zip(spec.role.tolist(), spec.node_extra, spec.names, strict=True)
        linear = [name for role, extra, name in hidden if role == HIDDEN and "activation" not in extra]
        if not linear:
            return ""
        shown = ", ".join(map(repr, linear[:3])) + (", ..." if len(linear) > 3 else "")
        return f"\n  {len(linear):,} hidden node{'s' * (len(linear) > 1)} without an activation, so linear: {shown}"

    def __repr__(self) -> str:
        s = self.model.schedule
        return (
            f"<graphbp.Network: {s.n_inputs} inputs -> {s.n_units - s.inner.n_rows} units, {self.model.spec.n_edges} edges -> "
            f"{s.n_outputs} outputs; "
            f"{s.n_parameters} parameters, error={self._error_name!r}, backend={self.backend!r}, dtype={self.dtype.name!r}"
            + "".join(f"; {said}" for said in [str(self.model.meaning)] if said)
            + ">"
        )

    @property
    def _error_name(self) -> str:
        return BY_OUTPUT if isinstance(self.error_function, Mixture) else self.error_function.name

    # -- parameters ------------------------------------------------------------------------------------------------------

    @property
    def weights(self) -> Array:
        """θ (W,): the free parameters, frozen ones left out, tied ones once (order: `graphbp.parameters`).

        On a CPU backend this is the live vector: writing into it changes the network.  Assigning replaces it by a copy, so a
        vector taken earlier keeps its values.  On a device backend it is a read-only copy in host memory.
        """
        host = self.model.backend.to_numpy(self.theta)
        if host is not self.theta:
            host.flags.writeable = False
        return host

    @weights.setter
    def weights(self, values: Any) -> None:
        if self.model.backend.owns(values):
            shape = (self.n_parameters,)
            self.theta = data.as_directions(
                values, shape, "weights", "one value a free parameter", self.model.backend, self.dtype
            ).copy()
        else:
            self.theta = self.model.theta(data.as_vector(values, self.n_parameters, self.dtype))

    def parameter_index(self, source: Node, destination: Node | None = None) -> slice:
        """Where in `weights` the edge source → destination stands, or, given one node, its bias.

        The slice of an edge between layers is (units_dst, units_src) row by row; of a sparse weight, its stored entries in CSR
        order.  Edges that share a tie have the same slice.

        Raises
        ------
        UnknownNameError : no such node or edge.
        WeightError : the weight is frozen, or the node has no bias.
        """
        start, count, what = lookup.entries(self.model.spec, self.model.layout, source, destination)
        first = self.model.layout.entry_parameter[start] if count else 0
        if first < 0:
            raise WeightError(f"{what} is frozen (trainable=False), so it is not among the free parameters")
        return slice(int(first), int(first) + count)

    def parameter_name(self, index: Any) -> str:
        """The edge or bias that position `index` of `weights` belongs to, for messages (of tied ones, the first).

        >>> import networkx as nx, graphbp as gb
        >>> gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0})]), backend="numpy").parameter_name(0)
        "edge 'x' -> 'y'"
        """
        return lookup.parameter_name(self.model.spec, self.model.layout, index)

    def weight(self, source: Node, destination: Node) -> Any:
        """The current w of an edge, frozen or free: a float, an array (units_dst, units_src), or a CSR matrix, as it came."""
        spec, layout = self.model.spec, self.model.layout
        start, count, _ = lookup.entries(spec, layout, source, destination)
        values = layout.fill(self.weights, slice(start, start + count))
        return lookup.shaped(spec, lookup.edge_at(spec, source, destination), values)

    def bias(self, node: Node) -> Any:
        """The current bias of a node: a float, or an array (units,)."""
        spec, layout = self.model.spec, self.model.layout
        start, count, _ = lookup.entries(spec, layout, node, None)
        values = layout.fill(self.weights, slice(start, start + count))
        return float(values[0]) if count == 1 and spec.index[node] in spec.bias_scalar else values

    def to_networkx(self) -> nx.DiGraph[Any]:
        """A new DiGraph with the current weights and biases, every other attribute of graph, nodes and edges as it came."""
        return to_digraph(self.model.columns(self.weights))

    def to(self, backend: str | None = None, dtype: str | npt.DTypeLike | None = None) -> Network:
        """The same network with its current weights on another backend or in another dtype; the schedule is shared."""
        kind = self.dtype if dtype is None else dtype_of(option("dtype", dtype))
        chosen = self.model.backend if backend is None else _chosen_backend(backend)
        other = copy.copy(self)
        other.model = self.model.to(chosen, kind)
        other.theta = other.model.theta(self.model.backend.to_numpy(self.theta))
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "theta": np.array(self.weights)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.theta = self.model.theta(state["theta"])

    def save(self, path: str | PathLike[str], **options: Any) -> None:
        """Write the network (see `graphbp.files`): JSON with the weights inline or beside it, or what an exporter plugin writes."""
        from graphbp.files import save

        save(self, path, **options)

    # -- what is made of forward values and derivatives -------------------------------------------------------------------

    def predict(self, X: Any, *, as_frame: bool = False) -> Any:
        """The class of each sample (N,), by name where the network has `classes`, else by number; of a regression, Y (N, K).

        Of heads with errors of their own, output node → either; a softmax of several unit nodes is called like the first of them.
        The largest output under cross-entropy; y > ½ under binary cross-entropy, (N, K) of 0 and 1 where it has several outputs.
        With `as_frame`, a table X (pandas, polars, PyArrow, a structured array, a dict) gives one of its kind: "class" for classes, else
        a column for each output, called like the target that it was trained on; in pandas with X's index.
        """
        values = self.model.meaning.predicted(self.model.backend.to_numpy(self.forward(X)))
        if not as_frame:
            return values
        return like_frame(X, values, [str(names[0]) for names in self.model.meaning.output_columns])

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

    def numerical_gradient(self, X: Any, T: Any, sample_weight: Any = None, *, method: str = "central", step: Any = None) -> Array:
        """∂E/∂θ (W,) by differencing E: "forward", "central" or "complex_step"; O(W²) (section 8.1.4, and `graphbp.numerical`).

        `step` is ε, one number or one a parameter, to draw the error against it; without it each weight has a step of its own.
        """
        from graphbp.numerical import numerical_gradient

        return np.asarray(numerical_gradient(self, X, T, sample_weight, method=method, step=step))

    def check(self, X: Any, T: Any, sample_weight: Any = None, **options: Any) -> Report:
        """Compare every derivative with numerical differentiation and with each other; the report names the worst edge."""
        from graphbp.verification import check

        return check(self, X, T, sample_weight, **options)

    def view(self, X: Any, T: Any, sample_weight: Any = None, *, title: str | None = None) -> View:
        """A page that steps through the forward and the reverse sweep of the samples (Algorithm 8.1), with the numbers in the formulas.

        In a notebook it shows itself; `.save("view.html")` writes one HTML file that loads nothing (`graphbp.view`).  It holds the first
        200 samples at most; whatever else is too large for a page is left out by name, in `.notes`.
        Raises `DataError`: X, T or title; `NotSupportedError`: a graph beyond 20,000 nodes or 200,000 edges.
        """
        from graphbp.view import view

        return view(self, X, T, sample_weight, title=title)

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
        from graphbp.uncertainty.inverse import outer_product_inverse

        alpha = foreign.as_number("alpha", alpha, above=0)
        one_of("method", method, ["auto", "sequential", "cholesky", "low_rank"])
        m = self.model
        x, t, s = (None if part is None else m.backend.to_numpy(part) for part in m.batch(X, T, sample_weight))
        return outer_product_inverse(engine_of(self), x, t, alpha, s, method=method)
