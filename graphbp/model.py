"""`Model`: a compiled network without its parameters, the floor that the face stands on.

    GraphSpec ──lower──► Schedule, Layout ──Backend.compile──► run      compiled once, shared by whoever holds a Model
                                                                ▲
           X, T ──read──► ──check, scale──► x, t, s ────── θ ───┘       θ is an argument

A `Model` never changes.  A `Network` is a model and a θ; training, curvature, populations and guests that keep θ elsewhere take the
model.  What it computes is in the caller's units where it says y or x; `run` itself sees scaled numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import batches, data, foreign
from graphbp.columns import Columns
from graphbp.compose import Composed
from graphbp.error_functions import ErrorFunction
from graphbp.exceptions import NotSupportedError, WeightError
from graphbp.heads import head_groups
from graphbp.links import refuse_unfit_outputs
from graphbp.lookup import columns_now, parameter_labels
from graphbp.lowering import lower
from graphbp.meaning import Meaning, meaning_of
from graphbp.memory import check_memory
from graphbp.mixture import AnyError, Heads, Mixture, heads_of
from graphbp.parameters import Layout
from graphbp.protocols import Backend, Executable
from graphbp.registry import usable_backend
from graphbp.scaling import unscaled
from graphbp.schedule import Schedule
from graphbp.spec import GraphSpec
from graphbp.tables import refuse_other_order
from graphbp.trace import Trace, rescaled, whole_trace

if TYPE_CHECKING:
    from graphbp.jacobian import JacobianPlan
    from graphbp.second_order.blocks import UnitBlocks

__all__ = ["Model", "compile_model", "weighs_by_output"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Model:
    """y = f(x; θ) and E, compiled for one backend and dtype; every method takes θ.

    Attributes
    ----------
    spec, schedule, layout : the graph as it was read, the order of its sweeps, and where its weights stand in θ.
    heads, backend, dtype : what it was compiled for; heads are the errors and weights of the outputs.
    meaning : what the columns of X and Y are: names, scaling, classes.
    run : the executable, with what it leaves out composed.  Sees scaled x and t, checked, in the backend's memory.
    """

    spec: GraphSpec
    schedule: Schedule
    layout: Layout
    heads: Heads
    backend: Backend
    dtype: np.dtype[Any]
    meaning: Meaning
    run: Composed
    _told: set[tuple[Hashable, ...]] = field(default_factory=set, repr=False)  # columns of which something has been said, once

    @property
    def error(self) -> AnyError:
        """The error function, or a `Mixture` where outputs have different ones."""
        return self.heads.error

    # -- another model of the same graph -----------------------------------------------------------------------------------------

    def to(self, backend: Backend, dtype: np.dtype[Any]) -> Model:
        """The same network compiled for another backend or dtype."""
        _check_range(self.layout, dtype)
        return replace(self, backend=backend, dtype=dtype, run=_compiled(self.schedule, self.heads, backend, dtype))

    def saying(self, spec: GraphSpec) -> Model:
        """The same compiled network, whose input and output nodes say what they say in `spec`."""
        s = self.schedule
        return replace(self, spec=spec, meaning=meaning_of(spec, s.input_names, s.output_names, self.heads, self.meaning.missing))

    def skipping(self, missing: str) -> Model:
        """The same, which refuses missing targets or skips them."""
        return self if missing == self.meaning.missing else replace(self, meaning=replace(self.meaning, missing=missing))

    @cached_property
    def engine(self) -> Model:
        """The same without scaling and weights of errors: what the backend computes, for code that has t and s of a batch already."""
        bare = replace(self, heads=replace(self.heads, weight=None)) if self.heads.weight is not None else self
        return bare.saying(unscaled(self.spec)) if self.meaning.scaling else bare

    def __getstate__(self) -> dict[str, Any]:
        kept = {k: v for k, v in self.__dict__.items() if k not in ("run", "engine", "jacobian_plan", "many")}
        return {**kept, "backend": self.backend.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        backend = usable_backend(state.pop("backend"))
        run = _compiled(state["schedule"], state["heads"], backend, state["dtype"])
        self.__dict__.update(state, backend=backend, run=run)

    def columns(self, theta: Array) -> Columns:
        """The graph with the weights of θ (in host memory), every other attribute as it came."""
        return columns_now(self.spec, self.layout, theta)

    def parameter_labels(self, arrow: str = " -> ") -> list[str]:
        """(W,) a short label for each parameter, for tables (`graphbp.lookup`)."""
        return parameter_labels(self.spec, self.layout, arrow)

    # -- in and out --------------------------------------------------------------------------------------------------------------

    @property
    def n_parameters(self) -> int:
        """W."""
        return self.schedule.n_parameters

    def theta(self, values: Any) -> Any:
        """θ (W,) in the backend's memory, a copy."""
        return self.backend.asarray(np.array(values, self.dtype), self.dtype)

    def read(self, X: Any) -> Any:
        """X as an array where it is a table; columns are matched by name."""
        if type(X) is np.ndarray and X.dtype.kind in "fiub":
            return X
        array, *notes = self.meaning.read_inputs(X, tuple(self._told))
        self._told.update(names for names in notes if names)
        return array

    def inputs(self, X: Any, backend: Backend | None = None) -> Any:
        """X as the engine sees it: checked, scaled, in the memory of the backend (or of another one)."""
        return data.as_inputs(self.read(X), self.schedule, backend or self.backend, self.dtype, self.meaning.scaling.inputs)

    def batch(self, X: Any, T: Any, sample_weight: Any = None, backend: Backend | None = None) -> tuple[Any, Any, Any]:
        """(x, t, s) likewise; s is None where there are no weights, (N,), or (N, K) where outputs differ (`graphbp.batches`)."""
        backend = backend or self.backend
        if type(X) is not np.ndarray:
            refuse_other_order(X, {"T": T, "sample_weight": sample_weight})
        x = self.inputs(X, backend)
        if self.weighs_outputs(sample_weight):
            return x, *self._entries(T, sample_weight, len(x), backend)
        t = self.meaning.read_targets(T)
        t = data.as_targets(t, len(x), self.schedule, self.heads.error, backend, self.dtype, self.meaning.scaling.outputs)
        return x, t, data.as_sample_weight(sample_weight, len(x), backend, self.dtype)

    @cached_property
    def many(self) -> bool:
        """Outputs differ in error or weight, or may lack targets."""
        return not self.heads.plain or self.meaning.missing == "skip"

    def weighs_outputs(self, sample_weight: Any) -> bool:
        """Whether a batch with these weights is one of many heads."""
        return self.many or weighs_by_output(sample_weight)

    def targets(self, T: Any, sample_weight: Any, n: int) -> tuple[Array, Array | None, npt.NDArray[np.bool_]]:
        """(T in float64 and raw units, NaN where missing; the caller's weights (N, K) or None; which entries count), in host memory."""
        T, sample_weight = (self.backend.to_numpy(part) if self.backend.owns(part) else part for part in (T, sample_weight))
        t = batches.targets_of(self.meaning.read_targets(T, gaps=weighs_by_output(sample_weight)), n, self.heads)
        weight = batches.entry_weights(sample_weight, n, self.heads)
        there = batches.present_in(t, weight, self.heads, self.meaning.missing == "skip")
        masked = weight is not None and np.asarray(sample_weight).dtype.kind == "b"
        batches.warn_of_empty(np.isnan(t) | ~there if masked else np.isnan(t), self.heads, self._told)
        return t, weight, there

    def _entries(self, T: Any, sample_weight: Any, n: int, backend: Backend) -> tuple[Any, Any]:
        """(t, s) of many heads."""
        t, weight, there = self.targets(T, sample_weight, n)
        t = batches.entries_of(t, there, self.heads, self.meaning.scaling.outputs, self.dtype)
        s = batches.weights_of(there, weight, self.heads)
        return backend.asarray(t, self.dtype), None if s is None else backend.asarray(s, self.dtype)

    def input_directions(self, U: Any, n: int) -> Any:
        """Tangents of x (n, D) as the engine sees them."""
        U = self.meaning.read_directions(U, "U")
        u = data.as_directions(U, (n, self.schedule.n_inputs), "U", "a direction for every row of X", self.backend, self.dtype)
        return self.meaning.by_input(u, self.backend)

    def output_directions(self, V: Any, n: int) -> Any:
        """Cotangents of y (n, K) likewise."""
        shape, V = (n, self.schedule.n_outputs), self.meaning.read_directions(V, "V")
        v = data.as_directions(V, shape, "V", "a direction in the outputs for every row of X", self.backend, self.dtype)
        return self.meaning.by_output(v, self.backend)

    def parameter_direction(self, v: Any) -> Any:
        """A direction in θ (W,)."""
        return data.as_directions(v, (self.n_parameters,), "v", "a direction in the free parameters", self.backend, self.dtype)

    def handed_back(self, result: Any, *given: Any) -> Any:
        """The result as the backend's array where the caller gave one, else as a NumPy array."""
        return result if any(self.backend.owns(array) for array in given) else self.backend.to_numpy(result)

    # -- what takes more than `run`: quantities in the caller's units ----------------------------------------------------------------

    def forward(self, theta: Any, x: Any) -> Any:
        """y (N, K) of x from `inputs`."""
        return self.meaning.y(self.run.forward(theta, x), self.backend)

    def jacobian(self, theta: Any, x: Any) -> Any:
        """∂y/∂x (N, K, D)."""
        s = self.schedule
        self.check_size("jacobian", (len(x), s.n_outputs, s.n_inputs), "sparse=True, vjp() and jvp(), or batches of fewer samples")
        if min(s.n_outputs, s.n_inputs) == 1 or self.backend.owns(x):
            return self.meaning.jacobian(self.run.jacobian(theta, x), self.backend)
        peak = self.jacobian_plan.peak(len(x), self.dtype.itemsize, sparse=False)
        check_memory(peak, "the jacobian's result and its sweeps", "sparse=True, vjp() and jvp(), or batches of fewer samples")
        return self.meaning.jacobian(self.jacobian_plan.dense(self.run, theta, x), self.backend)

    def sparse_jacobian(self, theta: Any, x: Any) -> Any:
        """∂y/∂x as a CSR array (N K, D), on a CPU backend."""
        host = self.backend.to_numpy(x)
        entries = int(self.jacobian_plan.pattern.sum())
        peak = self.jacobian_plan.peak(len(x), self.dtype.itemsize, sparse=True)
        check_memory(peak, f"sparse jacobian of {len(x)} × {entries} entries", "vjp() and jvp(), or batches of fewer samples")
        if host is not x:
            raise NotSupportedError(f"backend {self.backend.name!r} gives no sparse Jacobian; use sparse=False, or a CPU backend")
        return self.meaning.sparse_jacobian(self.jacobian_plan.sparse(self.run, theta, host))

    @cached_property
    def jacobian_plan(self) -> JacobianPlan:
        """Which outputs, or inputs, share a sweep."""
        from graphbp.jacobian import plan_jacobian

        return plan_jacobian(self.schedule)

    def weight_jacobian(self, theta: Any, x: Any) -> Any:
        """∂y/∂θ (N, K, W)."""
        shape = (len(x), self.schedule.n_outputs, self.n_parameters)
        self.check_size("weight_jacobian", shape, "weight_vjp() and weight_jvp(), or batches of fewer samples")
        return self.meaning.by_output(self.run.weight_jacobian(theta, x), self.backend)

    def vjp(self, theta: Any, x: Any, v: Any) -> tuple[Any, Any]:
        """Σ_k v_nk ∂y_nk/∂x (N, D) and Σ_nk v_nk ∂y_nk/∂θ (W,), v from `output_directions`."""
        by_x, by_theta = self.run.vjp(theta, x, v)
        return self.meaning.by_input(by_x, self.backend), by_theta

    def jvp(self, theta: Any, x: Any, u: Any, v: Any) -> Any:
        """∂y/∂x u + ∂y/∂θ v (N, K), u from `input_directions` and v from `parameter_direction`, either of them None."""
        return self.meaning.by_output(self.run.jvp(theta, x, u, v), self.backend)

    def per_sample_gradient(self, theta: Any, x: Any, t: Any, s: Any) -> Any:
        """s_n ∂E_n/∂θ (N, W)."""
        self.check_size("per_sample_gradient", (len(x), self.n_parameters), "gradient(), or batches of fewer samples")
        return self.run.per_sample_gradient(theta, x, t, s)

    def hessian(self, theta: Any, x: Any, t: Any, s: Any) -> Any:
        """∂²E/∂θ∂θ (W, W)."""
        self._check_square("hessian", "hessian_operator(X, T), hessian_diagonal(X, T) or hessian_blocks(X, T)")
        return self.run.hessian(theta, x, t, s)

    def outer_product_hessian(self, theta: Any, x: Any, t: Any, s: Any) -> Any:
        """Σ_n s_n ∇a_n Λ_n ∇a_nᵀ (W, W)."""
        self._check_square("outer_product_hessian", "outer_product_operator(X, T)")
        return self.run.outer_product_hessian(theta, x, t, s)

    # -- second derivatives by the inputs ----------------------------------------------------------------------------------------------

    def input_hessian(self, theta: Any, x: Any, v: Any) -> Any:
        """∂²y/∂x∂x (N, K, D, D), or with v from `output_directions` (N, D, D) of Σ_k v_nk y_nk."""
        d, s = self.schedule.n_inputs, self.schedule
        shape = (len(x), d, d) if v is not None else (len(x), s.n_outputs, d, d)
        self.check_size(
            "input_hessian", shape, "input_hvp(X, V, U), input_hessian_diagonal(X), laplacian(X), or V for a sum of outputs"
        )
        found = self.meaning.by_input(self.run.input_hessian(theta, x, v), self.backend, -2)
        return self._of_outputs(self.meaning.by_input(found, self.backend), v)

    def input_hessian_diagonal(self, theta: Any, x: Any, v: Any) -> Any:
        """∂²y/∂x_i² (N, K, D), or (N, D) of Σ_k v_nk y_nk."""
        s = self.schedule
        shape = (len(x), s.n_inputs) if v is not None else (len(x), s.n_outputs, s.n_inputs)
        self.check_size("input_hessian_diagonal", shape, "laplacian(X), or batches of fewer samples")
        found = self.meaning.by_input(self.run.input_hessian_diagonal(theta, x, v), self.backend)
        return self._of_outputs(self.meaning.by_input(found, self.backend), v)

    def laplacian(self, theta: Any, x: Any) -> Any:
        """Σ_i ∂²y/∂x_i² (N, K)."""
        ones = self.backend.asarray(np.ones(self.schedule.n_inputs, self.dtype), self.dtype)
        lengths = self.meaning.by_input(ones, self.backend)
        return self._of_outputs(self.run.laplacian(theta, x, lengths), None)

    def _of_outputs(self, found: Any, v: Any) -> Any:
        return self.meaning.by_output(found, self.backend) if v is None else found

    def second_order_product(self, theta: Any, x: Any, v: Any, u: Any, w: Any) -> tuple[Any, Any]:
        """∂/∂x (N, D) and ∂/∂θ (W,) of Σ_n ⟨v_n, ∂y_n/∂x u_n + ∂y_n/∂θ w⟩; v, u and w from their readers, u or w None."""
        by_x, by_theta = self.run.second_order_product(theta, x, v, u, w)
        return self.meaning.by_input(by_x, self.backend), by_theta

    def error_product(self, theta: Any, batch: tuple[Any, Any, Any], u: Any, w: Any) -> tuple[Any, Any]:
        """∂²E/∂(x, θ)∂(x, θ) times (u, w): (N, D) and (W,)."""
        by_x, by_theta = self.run.error_product(theta, *batch, u, w)
        return self.meaning.by_input(by_x, self.backend), by_theta

    def hessian_blocks(self, theta: Any, batch: tuple[Any, Any, Any], exact: bool) -> dict[Hashable, UnitBlocks]:
        """The parts of either Hessian that a unit's own weights and bias span, by node."""
        from graphbp.second_order.blocks import blocks_by_node
        from graphbp.second_order.plan import HessianPlan

        multiply = self.product(theta, batch, exact)
        entries = sum(group.n_units * group.n_sources**2 for group in HessianPlan.of(self.schedule).groups)
        check_memory(3 * entries * self.dtype.itemsize, "the unit blocks of the Hessian", "hessian_diagonal(X, T)")
        groups = self.run.unit_blocks(theta, *batch, exact)
        return blocks_by_node(HessianPlan.of(self.schedule.live), groups, multiply, self.dtype)

    def product(self, theta: Any, batch: tuple[Any, Any, Any], exact: bool) -> Callable[[Array], Array]:
        """v ↦ H v, or the outer-product Hessian times v, from and to host memory."""
        product = self.run.hessian_product if exact else self.run.outer_product_product
        return lambda v: self.backend.to_numpy(product(theta, *batch, self.backend.asarray(v, self.dtype)))

    def trace(self, theta: Any, X: Any, T: Any, sample_weight: Any = None) -> Trace:
        """a, z and δ of every node and sample; X, T as the caller has them."""
        batch = self.batch(X, T, sample_weight)
        self.check_size("trace", (3, self.schedule.n_rows, len(batch[0])), "fewer samples")
        arrays = self.run.trace(theta, *batch)
        a, z, delta = (self.backend.to_numpy(part) for part in (arrays.a, arrays.z, arrays.delta))
        a, z, delta = whole_trace(self.schedule, self.backend.to_numpy(theta), a, z, delta)
        if self.meaning.scaling:
            x = self.backend.to_numpy(X) if self.backend.owns(X) else foreign.host_array(self.read(X), "X")
            a, z, delta = rescaled(self.meaning.scaling, self.schedule, x, a, z, delta)
        return Trace(self.spec, self.schedule, a, z, delta)

    # -- memory ------------------------------------------------------------------------------------------------------------------

    def check_size(self, what: str, shape: tuple[int, ...], instead: str) -> None:
        """Refuse a result of this shape that would not fit; say what to call instead."""
        count = 1
        for n in shape:
            count *= n
        check_memory(count * self.dtype.itemsize, f"{what} of shape {shape}", instead)

    def _check_square(self, what: str, instead: str) -> None:
        self.check_size(what, (self.n_parameters, self.n_parameters), instead)


def compile_model(
    spec: GraphSpec, error: ErrorFunction | None, backend: Backend, dtype: np.dtype[Any], missing: str = "refuse"
) -> Model:
    """Lower and compile a graph that was read; `error` is that of outputs which say none.

    Raises
    ------
    GraphError : a cycle, an output that the error is not defined for; WeightError : ties that do not match, a weight beyond the dtype.
    """
    schedule, layout = lower(spec)
    _check_range(layout, dtype)
    heads = heads_of(spec, schedule, error)
    refuse_unfit_outputs(schedule, heads.error)
    meaning = meaning_of(spec, schedule.input_names, schedule.output_names, heads, missing)
    return Model(spec, schedule, layout, heads, backend, dtype, meaning, _compiled(schedule, heads, backend, dtype))


def _compiled(schedule: Schedule, heads: Heads, backend: Backend, dtype: np.dtype[Any]) -> Composed:
    error, many = heads.error, getattr(backend, "many_heads", False)
    if not (heads.plain or many):
        raise NotSupportedError(
            f"backend {backend.name!r} takes one error for all outputs, each of weight 1, and the network has {heads}; use backend='numba' "
            "or 'numpy'"
        )

    def part(of: Schedule, outputs: npt.NDArray[np.int64], under: AnyError = error) -> Executable:
        return backend.compile(of, under.of(outputs) if isinstance(under, Mixture) else under, dtype)

    live = schedule.live
    if len(live.combinations) and not getattr(backend, "combinations", False):
        raise NotSupportedError(
            f"backend {backend.name!r} computes weighted sums only, and node {live.names[live.node_of_row(int(live.combinations.rows[0]))[0]]!r} "
            "multiplies or chooses; use backend='numba' or 'numpy', which know every aggregation"
        )
    return Composed(backend.compile(live, error, dtype), live, backend.name, part, head_groups(live, error), many)


def weighs_by_output(sample_weight: Any) -> bool:
    """Weights of every output, (N, K)."""
    if isinstance(sample_weight, list | tuple):
        return bool(sample_weight) and np.ndim(sample_weight[0]) == 1
    return getattr(sample_weight, "ndim", 1) == 2


def _check_range(layout: Layout, dtype: np.dtype[Any]) -> None:
    """A weight, free or frozen, that is finite in float64 and beyond float32 is refused rather than made infinite."""
    largest = float(np.abs(layout.entry_value).max(initial=0))
    if largest > float(np.finfo(dtype).max):
        raise WeightError(f"a weight or bias of magnitude {largest:g} is beyond {dtype}; use dtype='float64'")
