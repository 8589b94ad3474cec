"""y, E and their derivatives, of all orders, at the weights of a network.

    X, T ──checked──► x, t, s ──model's method with θ──► result ──► handed back

Each method checks what came, calls one method of the `Model` with θ, and hands the result back: as the backend's own array where the
caller gave one (CuPy in, CuPy out), else as a NumPy array.  Where a result is not finite a warning names the unit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from graphbp import foreign
from graphbp.diagnosis import is_finite, warn_not_finite, warn_of_derivative
from graphbp.exceptions import DataError, shown
from graphbp.model import Model
from graphbp.progress import status
from graphbp.trace import Trace

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

    from graphbp.second_order.blocks import UnitBlocks
    from graphbp.second_order.estimates import Estimate

__all__ = ["Derivatives"]

Array = npt.NDArray[Any]
Node = Hashable


class Derivatives:
    """What a compiled `model` computes at its weights `theta`: the half of a `Network` that only reads them."""

    model: Model
    theta: Any
    """θ (W,) in the backend's memory"""

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

    def error(self, X: Any, T: Any, sample_weight: Any = None) -> float:
        """E = Σ_n s_n E_n, a float; s_n = 1 unless `sample_weight` (N,) is given; (N, K), or a mask, weighs every output: Σ_nk s_nk e_nk.

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

    # -- Jacobians -------------------------------------------------------------------------------------------------------

    def jacobian(self, X: Any, *, sparse: bool = False) -> Any:
        """(N, K, D): J_ki = ∂y_k/∂x_i (section 8.1.5), by K reverse or D forward sweeps, whichever is fewer.

        Where inputs do not reach every output, outputs (or inputs) with nothing in common share a sweep (`graphbp.jacobian`).
        With `sparse`, the result is a SciPy CSR array (N K, D) without the structural zeros: row n K + k is ∂y_k/∂x of sample n.
        """
        m, x = self.model, self.model.inputs(X)
        if foreign.as_flag("sparse", sparse):
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

        return symmetric_operator(multiply, self.model.schedule.n_parameters, self.model.dtype)

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

    # -- what is said beside the numbers ---------------------------------------------------------------------------------

    def _finite(self, result: Any, what: str, x: Any, t: Any = None, s: Any = None, order: int = 1) -> Any:
        """The result; where it is not finite a `NumericalWarning` names the unit and the row of the (checked) batch."""
        if not is_finite(result):
            warn_of_derivative(self.model, what, self.theta, x, t, s, order=order)
        return result

    def _waiting(self, what: str) -> AbstractContextManager[Any]:
        """A line for whoever waits for second derivatives; a small network's take microseconds, which no timer is started for."""
        w = self.model.schedule.n_parameters
        return status(f"computing the {what} of {w:,} parameters") if w >= 200 else nullcontext()
