"""`NumbaExecutable`: what the core calls.  It picks a path and hands over; the work is done in the rooms below.

first order      blocks (`BlockPath`), layers (`LayerPath`), or few, levels, tiles, as `graphbp_numba.work.choice` says
whole states     Jacobians, single samples' gradients, tangents, traces, products with Hessians
second order     `NumbaSecondOrderSweeps` fills the tiles of the core's assembly
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial, wraps
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from graphbp.extend import (
    WEIGHTED_METHODS,
    AnyError,
    HessianPlan,
    Schedule,
    TraceArrays,
    assemble_diagonal,
    assemble_hessian,
    assemble_unit_blocks,
)
from graphbp_numba.blocks.path import FEW_BLOCK_EDGES, BlockPath, worthwhile_pieces
from graphbp_numba.blocks.work import BlockWork
from graphbp_numba.hessians.seam import NumbaSecondOrderSweeps
from graphbp_numba.layers.path import LayerPath, prefers_layers
from graphbp_numba.layers.products import layer_products
from graphbp_numba.layers.work import LayerWork
from graphbp_numba.levels.path import LevelPath
from graphbp_numba.plan.tables import MODE_GRADIENT, MODE_VALUE, MODE_VJP
from graphbp_numba.states.by_inputs import ByInputs
from graphbp_numba.states.whole import WholeStates
from graphbp_numba.tiles.path import FewPath, TilePath
from graphbp_numba.work.workspace import Workspace

__all__ = ["NumbaExecutable"]

Array = npt.NDArray[Any]


class Path(Protocol):
    """One way to run first order."""

    def describe(self, n_samples: int) -> str:
        """Which way this is and how it cuts so many samples, for people."""

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""

    def sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, ∂E/∂θ, ∂E/∂x); what the mode (`MODE_...`) does not want is of no size.  Of `MODE_VJP`, T is V."""


def _by_output(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which hands weights of every output (N, K) to the sibling that reads them beside the targets."""

    @wraps(method)
    def call(self: NumbaExecutable, theta: Array, X: Array, T: Array, sample_weight: Array | None, *more: Any) -> Any:
        if sample_weight is None or sample_weight.ndim == 1:
            return method(self, theta, X, T, sample_weight, *more)
        return method(self.weighing_outputs, theta, X, np.concatenate([T, sample_weight], axis=1), None, *more)

    return call


def _weighing(cls: type[NumbaExecutable]) -> type[NumbaExecutable]:
    """The class, whose methods of (θ, X, T, sample weight, ...) take weights of every output too."""
    for name in WEIGHTED_METHODS:
        setattr(cls, name, _by_output(getattr(cls, name)))
    return cls


@_weighing
class NumbaExecutable:
    """A schedule and an error, ready to run; see `graphbp.protocols` for shapes and meanings."""

    def __init__(self, schedule: Schedule, error: AnyError, dtype: np.dtype[Any], sibling: NumbaExecutable | None = None) -> None:
        """With a `sibling`, its plan and machine code are shared, and T is (N, 2K), targets and the weights of every output."""
        self.schedule, self.dtype, self._error, self._sibling = schedule, dtype, error, sibling
        if sibling is None:
            self.layers = LayerPath(LayerWork(schedule, error, dtype)) if prefers_layers(schedule) else None
            pieces = worthwhile_pieces(schedule, self.layers is not None)
            self.blocks = None if pieces is None else BlockPath(BlockWork(schedule, pieces, error, dtype))
        else:
            self.layers = None if sibling.layers is None else LayerPath(sibling.layers.work.weighing_outputs())
            self.blocks = None if sibling.blocks is None else BlockPath(sibling.blocks.work.weighing_outputs())
        self._up_to = -1  # samples that one call takes, where blocks or layers don't take these
        if self.layers is None and (self.blocks is None or schedule.n_edges <= FEW_BLOCK_EDGES):
            # what cannot be compiled is refused here, not at the first call
            self._few, self._up_to = FewPath(self.work), self.work.choice.few

    @cached_property
    def work(self) -> Workspace:
        """The plan of the tiles' kernels; a network of layers has one only when a quantity is asked for that layers don't compute."""
        if self._sibling is not None:
            return self._sibling.work.weighing_outputs()
        return Workspace(self.schedule, self._error, self.dtype)

    @cached_property
    def weighing_outputs(self) -> NumbaExecutable:
        """What runs batches whose outputs have weights of their own: T (N, 2K), targets and weights."""
        return NumbaExecutable(self.schedule, self._error, self.dtype, self)

    @cached_property
    def levels(self) -> LevelPath:
        """The path for samples of one tile on a network with large levels."""
        return LevelPath(self.work)

    @cached_property
    def tiles(self) -> TilePath:
        """The path for any number of samples."""
        return TilePath(self.work)

    @cached_property
    def states(self) -> WholeStates:
        """What keeps every row's state."""
        return WholeStates(self.work)

    @cached_property
    def by_inputs(self) -> ByInputs:
        """Second derivatives by the inputs."""
        return ByInputs(self.states)

    def _path(self, n_samples: int) -> Path:
        if n_samples <= self._up_to:
            return self._few
        if self.blocks is not None:
            return self.blocks
        if self.layers is not None:
            return self.layers
        return self.levels if self.work.choice.takes_levels(n_samples) else self.tiles

    def describe(self, n_samples: int) -> str:
        """Which path these samples take, and why."""
        return self._path(n_samples).describe(n_samples)

    # -- first order -------------------------------------------------------------------------------------------------------

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        return self._path(len(X)).forward(theta, X)

    def error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> float:
        """E = Σ_n s_n E_n."""
        return self._path(len(X)).sweep(theta, X, T, sample_weight, MODE_VALUE)[0]

    def error_and_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[float, Array]:
        """(E, ∂E/∂θ)."""
        value, gradient, _ = self._path(len(X)).sweep(theta, X, T, sample_weight, MODE_GRADIENT)
        return value, gradient

    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,))."""
        _, gradient, by_x = self._path(len(X)).sweep(theta, X, V, None, MODE_VJP)
        return by_x, gradient

    # -- whole states --------------------------------------------------------------------------------------------------------

    def per_sample_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(N, W): δ_j z_i, not summed."""
        return self.states.sample_gradients(theta, X, T, sample_weight)

    def weight_jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, W) = ∂y_k/∂θ."""
        return self.states.weight_jacobian(theta, X)

    def jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, D) = ∂y_k/∂x_i."""
        return self.states.jacobian(theta, X)

    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """(N, K): ∂y/∂x U + ∂y/∂θ v."""
        return self.states.jvp(theta, X, U, v)

    def trace(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> TraceArrays:
        """a, z, δ of every row and sample."""
        return self.states.trace(theta, X, T, sample_weight)

    def hessian_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """H v for v (W, B): (W, B), by the R-operator."""
        return self._products(theta, X, T, sample_weight, v, exact=True)

    def outer_product_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """The outer-product Hessian times v (W, B): (W, B)."""
        return self._products(theta, X, T, sample_weight, v, exact=False)

    def _products(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array, exact: bool) -> Array:
        if self.layers is not None:
            return layer_products(self.layers.work, theta, X, T, sample_weight, v, exact)
        return self.states.products(theta, X, T, sample_weight, v, exact)

    # -- second derivatives by the inputs ------------------------------------------------------------------------------------

    def input_hessian(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D, D), or given V (N, D, D)."""
        return self.by_inputs.hessian(theta, X, V)

    def input_hessian_diagonal(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D), or given V (N, D)."""
        return self.by_inputs.diagonal(theta, X, V)

    def laplacian(self, theta: Array, X: Array, lengths: Array) -> Array:
        """(N, K): Σ_i ℓ_i² ∂²y_k/∂x_i²."""
        return self.by_inputs.laplacian(theta, X, lengths)

    def second_order_product(self, theta: Array, X: Array, V: Array, U: Array | None, v: Array | None) -> tuple[Array, Array]:
        """((N, D), (W,)): ∂/∂(x, θ) of Σ ⟨V, ∂y/∂x U + ∂y/∂θ v⟩."""
        return self.by_inputs.along(theta, X, V, None, U, v, pulled=True)

    def error_product(
        self, theta: Array, X: Array, T: Array, sample_weight: Array | None, U: Array | None, v: Array | None
    ) -> tuple[Array, Array]:
        """((N, D), (W,)): ∂²E/∂(x, θ)² times (U, v)."""
        return self.by_inputs.along(theta, X, T, sample_weight, U, v, pulled=False)

    # -- second order ----------------------------------------------------------------------------------------------------------

    def hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W), exact; the sweeps and the products are this backend's, the order of tiles is the core's."""
        return assemble_hessian(self._second_order(theta), self.hessian_plan, X, T, sample_weight, exact=True)

    def outer_product_hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W): Σ_n s_n ∇a_n Λ_n ∇a_nᵀ."""
        return assemble_hessian(self._second_order(theta), self.hessian_plan, X, T, sample_weight, exact=False)

    def hessian_diagonal(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W,): Σ_n z_i² B_jj."""
        product = partial(self.hessian_product, theta, X, T, sample_weight)
        return assemble_diagonal(self._second_order(theta), self.hessian_plan, X, T, sample_weight, product)

    def unit_blocks(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, exact: bool) -> list[Array]:
        """For each group of the plan, Σ_n B_jj z zᵀ: (units, sources, sources), untied parameters' blocks of the Hessian."""
        return assemble_unit_blocks(self._second_order(theta), self.hessian_plan, X, T, sample_weight, exact)

    @cached_property
    def hessian_plan(self) -> HessianPlan:
        """The groups of parameters."""
        return HessianPlan.of(self.schedule)

    def _second_order(self, theta: Array) -> NumbaSecondOrderSweeps:
        self.work.prepare_slopes("df", "d2f")
        return NumbaSecondOrderSweeps(self.states, self.hessian_plan, theta)
