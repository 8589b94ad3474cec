"""`Network`: the face.  A DiGraph goes in; forward values, gradients, Jacobians and Hessians come out.

    DiGraph ──read_graph──► GraphSpec ──compile_model──► Model
                                                           ▲
                            X, T ──checked──► x, t, s ─── θ

A network is a compiled `Model` and the flat parameter vector θ.  Each method checks what came, calls one method of the model with θ, and
hands the result back: as the backend's own array where the caller gave one (CuPy in, CuPy out), else as a NumPy array.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp import data, lookup
from graphbp.columns import Columns, to_digraph
from graphbp.config import dtype_of, option, option_and_source
from graphbp.diagnosis import is_finite, warn_not_finite, warn_of_derivative
from graphbp.error_functions import ErrorFunction, get_error_function
from graphbp.exceptions import BackendNotAvailableError, DataError, UnknownNameError, WeightError, one_of, shown
from graphbp.graph import read_graph
from graphbp.model import compile_model
from graphbp.progress import status
from graphbp.protocols import Backend
from graphbp.registry import usable_backend
from graphbp.schedule import Schedule
from graphbp.schedule import describe as describe_schedule
from graphbp.spec import HIDDEN
from graphbp.tables import like_frame
from graphbp.trace import Trace

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from graphbp.check import Report
    from graphbp.second_order.blocks import UnitBlocks
    from graphbp.second_order.estimates import Estimate
    from graphbp.second_order.inverse import DenseInverse, LowRankInverse, SequentialInverse

__all__ = ["Network", "engine_of", "require_network"]

Array = npt.NDArray[Any]
Node = Hashable


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
        error: str | ErrorFunction = "sum_of_squares",
        backend: str | None = None,
        dtype: str | npt.DTypeLike | None = None,
    ) -> None:
        function = error if isinstance(error, ErrorFunction) else get_error_function(error)
        kind = dtype_of(option("dtype", dtype))
        chosen = _chosen_backend(backend)
        self.model = compile_model(read_graph(graph), function, chosen, kind)
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
    def error_function(self) -> ErrorFunction:
        """The row of the error table."""
        return self.model.error

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
        n_samples = data.as_count("n_samples", n_samples, 0)
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
            f"<graphbp.Network: {s.n_inputs} inputs -> {s.n_units} units, {s.n_edges} edges -> {s.n_outputs} outputs; "
            f"{s.n_parameters} parameters, error={self.error_function.name!r}, backend={self.backend!r}, dtype={self.dtype.name!r}"
            + "".join(f"; {said}" for said in [str(self.model.meaning)] if said)
            + ">"
        )

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

    # -- first order -----------------------------------------------------------------------------------------------------

    def forward(self, X: Any) -> Any:
        """Y (N, K) = f(X): a_j = Σ_i w_ji z_i + b_j, z_j = h_j(a_j) in topological order (Bishop & Bishop, eqs. 8.5-8.6).

        Where Y is infinite or NaN a `NumericalWarning` names the unit and the first sample that made it so.
        """
        m = self.model
        Y = m.handed_back(m.forward(self.theta, m.inputs(X)), X)
        if not is_finite(Y):
            warn_not_finite(m, "y", self.theta, X)
        return Y

    def predict(self, X: Any, *, as_frame: bool = False) -> Any:
        """The class of each sample (N,), by name where the network has `classes`, else by number; of a regression, Y (N, K).

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

    def error(self, X: Any, T: Any, sample_weight: Any = None) -> float:
        """E = Σ_n s_n E_n, a float; s_n = 1 unless `sample_weight` (N,) is given.

        Of a network with scaled outputs, E is that of the scaled residuals (y − t) / scale and has no unit.
        """
        value: float = self.model.run.error(self.theta, *self.model.batch(X, T, sample_weight))
        if not math.isfinite(value):
            warn_not_finite(self.model, "E", self.theta, X, T, sample_weight)
        return value

    def gradient(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """∂E/∂θ (W,) by backpropagation: ∂E_n/∂w_ji = δ_j z_i (eqs. 8.10-8.14)."""
        return self.error_and_gradient(X, T, sample_weight)[1]

    def error_and_gradient(self, X: Any, T: Any, sample_weight: Any = None) -> tuple[float, Any]:
        """(E, ∂E/∂θ) in one forward and one reverse sweep."""
        value, gradient = self.model.run.error_and_gradient(self.theta, *self.model.batch(X, T, sample_weight))
        gradient = self.model.handed_back(gradient, X, T)
        if not (math.isfinite(value) and is_finite(gradient)):
            warn_not_finite(self.model, "∂E/∂θ" if math.isfinite(value) else "E", self.theta, X, T, sample_weight)
        return value, gradient

    def per_sample_gradient(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """(N, W): row n is s_n ∂E_n/∂θ.  Raises `MemoryLimitError` where N × W would not fit."""
        m, batch = self.model, self.model.batch(X, T, sample_weight)
        return m.handed_back(self._finite(m.per_sample_gradient(self.theta, *batch), "∂E_n/∂θ", *batch), X, T)

    def trace(self, X: Any, T: Any, sample_weight: Any = None) -> Trace:
        """a, z and δ of every node, for every sample: `trace.a["h"]`, `trace.z["h"]`, `trace.delta["h"]`."""
        return self.model.trace(self.theta, X, T, sample_weight)

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
        m, x = self.model, self.model.inputs(X)
        if data.as_flag("sparse", sparse):
            found = m.sparse_jacobian(self.theta, x)
            self._finite(found.data, "∂y/∂x", x)
            return found
        return m.handed_back(self._finite(m.jacobian(self.theta, x), "∂y/∂x", x), X)

    def weight_jacobian(self, X: Any) -> Any:
        """(N, K, W): ∂y_k/∂θ.  Raises `MemoryLimitError` where it would not fit."""
        m, x = self.model, self.model.inputs(X)
        return m.handed_back(self._finite(m.weight_jacobian(self.theta, x), "∂y/∂θ", x), X)

    def vjp(self, X: Any, V: Any) -> Any:
        """(N, D): Σ_k V_nk ∂y_k/∂x_i, one reverse sweep; V is (N, K)."""
        m, x = self.model, self.model.inputs(X)
        by_x, _ = m.vjp(self.theta, x, m.output_directions(V, len(x)))
        return m.handed_back(self._finite(by_x, "V ∂y/∂x", x), X, V)

    def jvp(self, X: Any, U: Any) -> Any:
        """(N, K): Σ_i ∂y_k/∂x_i U_ni, one forward sweep of tangents; U is (N, D)."""
        m, x = self.model, self.model.inputs(X)
        moved = m.jvp(self.theta, x, m.input_directions(U, len(x)), None)
        return m.handed_back(self._finite(moved, "∂y/∂x U", x), X, U)

    def weight_vjp(self, X: Any, V: Any) -> Any:
        """(W,): Σ_n Σ_k V_nk ∂y_nk/∂θ."""
        m, x = self.model, self.model.inputs(X)
        _, by_weights = m.vjp(self.theta, x, m.output_directions(V, len(x)))
        return m.handed_back(self._finite(by_weights, "V ∂y/∂θ", x), X, V)

    def weight_jvp(self, X: Any, v: Any) -> Any:
        """(N, K): ∂y_k/∂θ v for a direction v (W,)."""
        m, x = self.model, self.model.inputs(X)
        moved = m.jvp(self.theta, x, None, m.parameter_direction(v))
        return m.handed_back(self._finite(moved, "∂y/∂θ v", x), X, v)

    def _finite(self, result: Any, what: str, x: Any, t: Any = None, s: Any = None, order: int = 1) -> Any:
        """The result; where it is not finite a `NumericalWarning` names the unit and the row of the (checked) batch."""
        if not is_finite(result):
            warn_of_derivative(self.model, what, self.theta, x, t, s, order=order)
        return result

    # -- second order ----------------------------------------------------------------------------------------------------

    def hessian(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """(W, W): the exact ∂²E/∂θ∂θ by the closed form in G and B (Bishop 1992; docs/mathematics).

        Raises `MemoryLimitError` where W × W would not fit: `hessian_operator`, `hessian_diagonal` and `hessian_blocks` serve then.
        """
        m, batch = self.model, self.model.batch(X, T, sample_weight)
        with self._waiting("exact Hessian"):
            found = m.hessian(self.theta, *batch)
        return m.handed_back(self._finite(found, "∂²E/∂θ∂θ", *batch, order=2), X, T)

    def outer_product_hessian(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """(W, W): Σ_n s_n ∇a_n Λ_n ∇a_nᵀ, the outer-product (Gauss-Newton) approximation (section 8.1.6, eq. 8.42)."""
        m, batch = self.model, self.model.batch(X, T, sample_weight)
        with self._waiting("outer-product Hessian"):
            found = m.outer_product_hessian(self.theta, *batch)
        return m.handed_back(self._finite(found, "Σ ∇a Λ ∇aᵀ", *batch, order=2), X, T)

    def _waiting(self, what: str) -> AbstractContextManager[Any]:
        """A line for whoever waits for second derivatives; a small network's take microseconds, which no timer is started for."""
        w = self.n_parameters
        return status(f"computing the {what} of {w:,} parameters") if w >= 200 else nullcontext()

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

        alpha = data.as_number("alpha", alpha, above=0)
        one_of("method", method, ["auto", "sequential", "cholesky", "low_rank"])
        m = self.model
        x, t, s = (None if part is None else m.backend.to_numpy(part) for part in m.batch(X, T, sample_weight))
        return outer_product_inverse(engine_of(self), x, t, alpha, s, method=method)

    def hessian_diagonal(self, X: Any, T: Any, sample_weight: Any = None) -> Any:
        """(W,): the exact diagonal, ∂²E/∂w_ji² = Σ_n z_i² B_jj, without W × W storage."""
        m, batch = self.model, self.model.batch(X, T, sample_weight)
        with self._waiting("Hessian's diagonal"):
            found = m.run.hessian_diagonal(self.theta, *batch)
        return m.handed_back(self._finite(found, "diag ∂²E/∂θ∂θ", *batch, order=2), X, T)

    def hessian_blocks(
        self, X: Any, T: Any, sample_weight: Any = None, *, kind: Literal["exact", "outer_product"] = "exact"
    ) -> dict[Node, UnitBlocks]:
        """Node → the parts of H that each of its units' own weights and bias span, Σ_n B_jj z zᵀ, without W × W storage.

        `blocks[node].index` (units, p) are positions in θ, −1 padding units with fewer than p parameters; `blocks[node].block` is
        (units, p, p).  `kind="outer_product"` takes the outer-product Hessian's.
        """
        if not isinstance(kind, str) or kind not in ("exact", "outer_product"):
            raise DataError(f'kind={shown(kind)}; use "exact" or "outer_product"')
        batch = self.model.batch(X, T, sample_weight)
        with self._waiting("Hessian's unit blocks"):
            blocks = self.model.hessian_blocks(self.theta, batch, kind == "exact")
        for unit in blocks.values():
            if not is_finite(unit.block):
                self._finite(unit.block, "a unit block of ∂²E/∂θ∂θ", *batch, order=2)
                break
        return blocks

    # -- second derivatives by the inputs ----------------------------------------------------------------------------------

    def input_hessian(self, X: Any, V: Any = None) -> Any:
        """(N, K, D, D): ∂²y_k/∂x_i∂x_l, exact; given V (N, K), (N, D, D) of Σ_k V_nk y_k.

        One sweep of tangents an input and one reverse sweep an output (`graphbp.second_order.by_inputs`).  Raises `MemoryLimitError`
        where it would not fit: `input_hvp`, `input_hessian_diagonal` and `laplacian` serve then.
        """
        m, x = self.model, self.model.inputs(X)
        found = m.input_hessian(self.theta, x, None if V is None else m.output_directions(V, len(x)))
        return m.handed_back(self._finite(found, "∂²y/∂x∂x", x, order=2), X, V)

    def input_hessian_diagonal(self, X: Any, V: Any = None) -> Any:
        """(N, K, D): ∂²y_k/∂x_i², without D × D storage; given V (N, K), (N, D) of Σ_k V_nk y_k."""
        m, x = self.model, self.model.inputs(X)
        found = m.input_hessian_diagonal(self.theta, x, None if V is None else m.output_directions(V, len(x)))
        return m.handed_back(self._finite(found, "∂²y/∂x²", x, order=2), X, V)

    def laplacian(self, X: Any) -> Any:
        """(N, K): Σ_i ∂²y_k/∂x_i², without N × K × D storage beyond the outputs' tangents."""
        m, x = self.model, self.model.inputs(X)
        return m.handed_back(self._finite(m.laplacian(self.theta, x), "Σ ∂²y/∂x²", x, order=2), X)

    def input_hvp(self, X: Any, V: Any, U: Any) -> Any:
        """(N, D): Σ_k V_nk ∂²y_k/∂x∂x U_n, by the R-operator: two sweeps up and two down; V is (N, K), U (N, D)."""
        return self.second_order_product(X, V, U, None)[0]

    def second_order_product(self, X: Any, V: Any, U: Any, v: Any) -> tuple[Any, Any]:
        """((N, D), (W,)): ∂/∂x and ∂/∂θ of Σ_n ⟨V_n, ∂y_n/∂x U_n + ∂y_n/∂θ v⟩; U (N, D) or v (W,) may be None, for 0.

        The derivative of a Jacobian's products: what differentiating `jvp`, `vjp`, `weight_jvp` and `weight_vjp` once more takes.
        """
        m, x = self.model, self.model.inputs(X)
        along = None if U is None else m.input_directions(U, len(x))
        weights = None if v is None else m.parameter_direction(v)
        by_x, by_weights = m.second_order_product(self.theta, x, m.output_directions(V, len(x)), along, weights)
        self._finite(by_x, "∂/∂x of V ∂y (U, v)", x, order=2)
        self._finite(by_weights, "∂/∂θ of V ∂y (U, v)", x, order=2)
        return m.handed_back(by_x, X, V, U, v), m.handed_back(by_weights, X, V, U, v)

    def mixed_jvp(self, X: Any, T: Any, v: Any, sample_weight: Any = None) -> Any:
        """(N, D): ∂²E/∂x∂θ v, how each sample's pull ∂E/∂x_n changes as the weights move along v (W,)."""
        m, batch = self.model, self.model.batch(X, T, sample_weight)
        by_x, _ = m.error_product(self.theta, batch, None, m.parameter_direction(v))
        return m.handed_back(self._finite(by_x, "∂²E/∂x∂θ v", *batch, order=2), X, T, v)

    def mixed_vjp(self, X: Any, T: Any, U: Any, sample_weight: Any = None) -> Any:
        """(W,): Uᵀ ∂²E/∂x∂θ, how the gradient changes as the samples move along U (N, D): which sample pulls where."""
        m, batch = self.model, self.model.batch(X, T, sample_weight)
        _, by_weights = m.error_product(self.theta, batch, m.input_directions(U, len(batch[0])), None)
        return m.handed_back(self._finite(by_weights, "U ∂²E/∂x∂θ", *batch, order=2), X, T, U)

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
        return self._operator(True, X, T, sample_weight)

    def outer_product_operator(self, X: Any, T: Any, sample_weight: Any = None) -> LinearOperator:
        """v ↦ Σ_n s_n Jᵀ Λ J v: O(W) a sample and product, no W × W storage."""
        return self._operator(False, X, T, sample_weight)

    def _operator(self, exact: bool, X: Any, T: Any, sample_weight: Any) -> LinearOperator:
        from graphbp.second_order.operators import symmetric_operator

        batch, theta = self.model.batch(X, T, sample_weight), self.theta.copy()
        product = self.model.product(theta, batch, exact)

        def multiply(v: Array) -> Array:
            found = product(v)
            if not is_finite(found):
                warn_of_derivative(self.model, "∂²E/∂θ∂θ v", theta, *batch, order=2)
            return found

        return symmetric_operator(multiply, self.n_parameters, self.dtype)
