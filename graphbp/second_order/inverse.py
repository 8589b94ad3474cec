r"""The inverse of the outer-product Hessian with a prior: (αI + Σ_n s_n J_nᵀ Λ_n J_n)⁻¹.

With b the rows √Λ ∂a/∂θ of all samples and outputs, H = αI + Σ b bᵀ, three ways lead to H⁻¹:

==============  ===========================================================================  ==================================
"sequential"    H⁻¹ ← H⁻¹ − H⁻¹b bᵀH⁻¹ / (1 + bᵀH⁻¹b), row by row (Bishop & Bishop, 8.1.6)    streaming; W² a row
"cholesky"      H = L Lᵀ, from the outer-product Hessian                                       W³/3, the default
"low_rank"      (I − Vᵀ diag(d/(d + α)) V)/α, BᵀB = Vᵀ diag(d) V, B the (N·K, W) stack of rows    few rows, N·K < W; never W × W
==============  ===========================================================================  ==================================

The rows need only ∂y/∂θ.  With f² the curvature of the error at y, b = f ∂y_k/∂θ: f² = e''(y, t) in general, and e''(y, y), its value
where t = y, for a canonical pair, whose Λ does not depend on t (1 for sum of squares, 1/y(1−y), 1/y_k for softmax and for Poisson).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError, NumericalError
from graphbp.heads import output_heads
from graphbp.memory import check_memory

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["DenseInverse", "LowRankInverse", "SequentialInverse", "eigenpairs", "outer_product_inverse", "outer_product_rows"]

Array = npt.NDArray[Any]
Method = Literal["auto", "sequential", "cholesky", "low_rank"]

_ROWS = 64
"""Rows that `SequentialInverse.update` folds in with one matrix product each way (a rank-64 Woodbury step)."""


def outer_product_rows(net: Network, X: Any, T: Any, sample_weight: Any = None) -> Array:
    """(N·K, W): rows b with Σ b bᵀ the outer-product Hessian, sample by sample; a factor of it."""
    y = np.asarray(net.forward(X), np.float64)
    t = net._batch(X, T, sample_weight)[1]
    t = np.asarray(net._backend.to_numpy(t), np.float64)
    factor = np.empty_like(y)
    for head in output_heads(net.schedule, net.error_function):
        at = head.positions
        with np.errstate(divide="ignore", invalid="ignore"):
            factor[:, at] = head.error.d2y(y[:, at], y[:, at] if head.canonical else t[:, at])
    factor[~np.isfinite(factor)] = 0.0  # a saturated output: ∂y/∂θ is 0 there
    if (factor < 0).any():
        n, k = (int(i) for i in np.argwhere(factor < 0)[0])
        raise NumericalError(
            f"the error {net.error_function.name!r} curves downwards at sample {n}, output {k}, so the outer-product Hessian has no "
            "real factor; use the exact Hessian"
        )
    if sample_weight is not None:
        factor *= np.asarray(sample_weight, np.float64)[:, None]
    jacobian = np.asarray(net._backend.to_numpy(net.weight_jacobian(X)))
    rows = jacobian * np.sqrt(factor)[:, :, None].astype(jacobian.dtype)
    return np.ascontiguousarray(rows.reshape(-1, rows.shape[2]))


class SequentialInverse:
    """H⁻¹ of H = αI + Σ b bᵀ, kept up to date while rows b arrive; starts as I/α."""

    def __init__(self, size: int, alpha: float, dtype: npt.DTypeLike = np.float64) -> None:
        _check_alpha(alpha)
        check_memory(
            size * size * np.dtype(dtype).itemsize, f"the inverse of a Hessian of {size:,} parameters", 'method="low_rank"'
        )
        self.matrix: Array = np.eye(size, dtype=dtype)
        self.matrix /= alpha

    def update(self, rows: Array) -> None:
        """Add the rows b (n, W): the Woodbury identity, for up to 64 of them at a time."""
        for start in range(0, len(rows), _ROWS):
            b = rows[start : start + _ROWS]
            hb = self.matrix @ b.T
            small = np.eye(len(b), dtype=hb.dtype) + b @ hb
            half = np.linalg.solve(np.linalg.cholesky(small), hb.T)  # H⁻¹b small⁻¹ bᵀH⁻¹ = halfᵀ half
            self.matrix -= half.T @ half

    def solve(self, v: Array) -> Array:
        """H⁻¹ v."""
        return np.asarray(self.matrix @ v)

    def quadratic(self, rows: Array) -> Array:
        """(n, m) = rows H⁻¹ rowsᵀ."""
        return np.asarray(rows @ self.matrix @ rows.T)

    def diagonal(self) -> Array:
        """diag H⁻¹."""
        return np.array(self.matrix.diagonal())

    def dense(self) -> Array:
        """H⁻¹ (W, W)."""
        return self.matrix


class DenseInverse:
    """H⁻¹ of a dense positive definite H, through its Cholesky factor."""

    def __init__(self, hessian: Array) -> None:
        from scipy.linalg import LinAlgError, cho_factor

        try:
            self.factor = cho_factor(hessian, lower=True)
        except LinAlgError as problem:
            raise NumericalError(f"the Hessian plus αI is not positive definite: {problem}; take a larger alpha") from problem

    def solve(self, v: Array) -> Array:
        """H⁻¹ v."""
        from scipy.linalg import cho_solve

        return np.asarray(cho_solve(self.factor, v))

    def quadratic(self, rows: Array) -> Array:
        """(n, m) = rows H⁻¹ rowsᵀ."""
        half = self._half(rows)
        return np.asarray(half.T @ half)

    def _half(self, rows: Array) -> Array:
        from scipy.linalg import solve_triangular

        return np.asarray(solve_triangular(self.factor[0], rows.T, lower=True))

    def diagonal(self) -> Array:
        """diag H⁻¹."""
        half = self._half(np.eye(len(self.factor[0]), dtype=self.factor[0].dtype))
        return np.asarray((half * half).sum(axis=0))

    def dense(self) -> Array:
        """H⁻¹ (W, W)."""
        half = self._half(np.eye(len(self.factor[0]), dtype=self.factor[0].dtype))
        return np.asarray(half.T @ half)


def eigenpairs(rows: Array) -> tuple[Array, Array]:
    """(d (r,), V (r, W)) with BᵀB = Vᵀ diag(d) V and VVᵀ = I, for a stack B of fewer rows than parameters: r ≤ rows.

    BBᵀ has the same eigenvalues; those below rounding would only be noise in its eigenvectors, as they are in BᵀB's.
    """
    values, left = np.linalg.eigh(rows @ rows.T)
    sound = values > np.finfo(values.dtype).eps * len(rows) * max(float(values[-1]), 0.0)
    return values[sound], (left[:, sound] / np.sqrt(values[sound])).T @ rows


class LowRankInverse:
    """H⁻¹ = (I − Vᵀ diag(d/(d + α)) V)/α of H = αI + Vᵀ diag(d) V with few, orthonormal rows V, without W × W storage."""

    def __init__(self, d: Array, vectors: Array, alpha: float) -> None:
        _check_alpha(alpha)
        self.vectors, self.alpha, self.share = vectors, alpha, d / (d + alpha)

    def solve(self, v: Array) -> Array:
        """H⁻¹ v."""
        return np.asarray((v - self.vectors.T @ (self.share * (self.vectors @ v).T).T) / self.alpha)

    def quadratic(self, rows: Array) -> Array:
        """(..., m, m) = rows H⁻¹ rowsᵀ of rows (..., m, W)."""
        across = rows @ self.vectors.T
        return np.asarray((rows @ np.swapaxes(rows, -1, -2) - (across * self.share) @ np.swapaxes(across, -1, -2)) / self.alpha)

    def diagonal(self) -> Array:
        """diag H⁻¹."""
        return np.asarray((1 - np.einsum("rw,r->w", self.vectors**2, self.share)) / self.alpha)

    def dense(self) -> Array:
        """H⁻¹ (W, W); refused where it would not fit."""
        size = self.vectors.shape[1]
        check_memory(size * size * self.vectors.itemsize, f"the inverse of a Hessian of {size:,} parameters", "its diagonal")
        out = -(self.vectors.T * self.share) @ self.vectors
        out.flat[:: size + 1] += 1
        out /= self.alpha
        return np.asarray(out)


def outer_product_inverse(
    net: Network, X: Any, T: Any, alpha: float, sample_weight: Any = None, *, method: Method = "auto"
) -> SequentialInverse | DenseInverse | LowRankInverse:
    """(αI + Σ_n s_n J_nᵀ Λ_n J_n)⁻¹, as an object with `solve`, `quadratic`, `diagonal` and `dense`.

    Parameters
    ----------
    alpha : precision of the prior, > 0.
    method : "sequential", "cholesky", "low_rank"; "auto" takes "low_rank" where N·K < W and "cholesky" elsewhere.

    Raises
    ------
    DataError : alpha is not positive, or the method is unknown.
    MemoryLimitError : W × W, or the N·K × W rows, would not fit.
    """
    _check_alpha(alpha)
    n, w = len(X), net.n_parameters
    count = n * net.schedule.n_outputs
    if method == "auto":
        method = "low_rank" if count < w else "cholesky"
    if method == "low_rank":
        check_memory(count * w * net.dtype.itemsize, f"the {count:,} × {w:,} rows of the outer product", 'method="cholesky"')
        return LowRankInverse(*eigenpairs(outer_product_rows(net, X, T, sample_weight)), alpha)
    if method == "cholesky":
        hessian = np.asarray(net._backend.to_numpy(net.outer_product_hessian(X, T, sample_weight)))
        hessian[np.diag_indices_from(hessian)] += net.dtype.type(alpha)
        return DenseInverse(hessian)
    if method != "sequential":
        raise DataError(f'method={method!r}; use "auto", "sequential", "cholesky" or "low_rank"')
    inverse = SequentialInverse(w, alpha, net.dtype)
    step = max(1, _ROWS // net.schedule.n_outputs)
    for start in range(0, n, step):
        part = slice(start, start + step)
        weight = None if sample_weight is None else sample_weight[part]
        inverse.update(outer_product_rows(net, X[part], T[part], weight))
    return inverse


def _check_alpha(alpha: float) -> None:
    if not (np.isfinite(alpha) and alpha > 0):
        raise DataError(f"alpha={alpha!r}; the prior's precision must be a positive number")
