r"""The inverse of the outer-product Hessian with a prior: (αI + Σ_n s_n J_nᵀ Λ_n J_n)⁻¹.

With B the rows √Λ ∂a/∂θ of all samples and outputs, H = αI + BᵀB, two ways lead to H⁻¹, neither of which forms BᵀB (see `graphbp.second_order.roots`):

==============  ==============================================================================  =====================================
"cholesky"      H = L Lᵀ, Lᵀ the triangle of the stacked rows [B; √α I]                            2 N K W², the default
"sequential"    the same, and later rows can join: H ← H + b bᵀ (Bishop & Bishop, 8.1.6)             streaming; some W² a row
"low_rank"      H = α + TTᵀ in the directions of B's rows and α across: Bᵀ = Q [T; 0]                few rows, N·K < W; never W × W
==============  ==============================================================================  =====================================

Everything is float64, whatever the dtype of the network.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError
from graphbp.foreign import host_array
from graphbp.memory import check_memory
from graphbp.second_order.refine import refined
from graphbp.second_order.roots import Root, RowStack, Span, raw_rows
from graphbp.threads import blas_on_one_thread

__all__ = ["CHUNK_BYTES", "DenseInverse", "LowRankInverse", "SequentialInverse", "check_dense", "check_low_rank", "precision"]

Array = npt.NDArray[Any]
CHUNK_BYTES = 1 << 25
"""Bytes of ∂a/∂θ held at once (one sample's rows at the least)."""


class DenseInverse:
    """H⁻¹ of H = αI + BᵀB, through its triangle."""

    def __init__(self, rows: RowStack, alpha: float) -> None:
        self._rows, self._alpha = rows, precision(alpha)
        self._root: Root | None = None

    @property
    def root(self) -> Root:
        """U with UᵀU = H."""
        if self._root is None:
            self._root = Root.of(self._rows.rows, self._alpha)
        return self._root

    def solve(self, v: Array) -> Array:
        """H⁻¹ v, v of shape (W,) or (W, m); refined by residuals in twice the precision up to n · W · m = 2²⁶ for n rows (`refine`)."""
        v = host_array(v, "v")
        columns, root = _rows(v.T, self._rows.size, "v").T, self.root
        x = refined(lambda u: root.other_half(root.half(u.T)).T, self._rows.rows, columns, self._alpha)
        return np.asarray(x.reshape(v.shape))

    @blas_on_one_thread
    def quadratic(self, rows: Array) -> Array:
        """(n, n) = rows H⁻¹ rowsᵀ of rows (n, W)."""
        half = self.root.half(_rows(rows, self._rows.size, "rows"))
        return np.asarray(half.T @ half)

    def diagonal(self) -> Array:
        """diag H⁻¹, (W,)."""
        half = self._half_of_identity()
        return np.asarray(np.einsum("ij,ij->j", half, half))

    @blas_on_one_thread
    def dense(self) -> Array:
        """H⁻¹ (W, W)."""
        half = self._half_of_identity()
        return np.asarray(half.T @ half)

    def _half_of_identity(self) -> Array:
        size = self._rows.size
        check_memory(3 * 8 * size**2, f"the inverse of a Hessian of {size:,} parameters", "inverse.solve(v)")
        return self.root.half(np.eye(size))


class SequentialInverse(DenseInverse):
    """H⁻¹ of H = αI + Σ b bᵀ while rows b arrive; starts as I/α.  The first question after an update costs W³."""

    def __init__(self, size: int, alpha: float) -> None:
        check_dense(size, 1, size, f"the inverse of a Hessian of {size:,} parameters", 'method="low_rank"')
        super().__init__(RowStack(size), alpha)

    def update(self, rows: Array) -> None:
        """Add the rows b (n, W)."""
        self._rows.add(np.array(_rows(rows, self._rows.size, "rows")))
        self._root = None


class LowRankInverse:
    """H⁻¹ of H = αI + β BᵀB from the span of B's few rows, without W × W storage."""

    def __init__(self, span: Span, alpha: float, beta: float = 1.0) -> None:
        self._span, self._alpha, self._beta = span, precision(alpha), float(beta)
        self._core = Root.of(np.sqrt(beta) * span.rows, alpha)
        self.log_determinant = self._core.log_determinant + (span.size - span.rank) * float(np.log(alpha))

    def half(self, v: Array) -> Array:
        """(W, m) of rows v (m, W): halfᵀ half = v H⁻¹ vᵀ."""
        u, r = self._span.rotate(v), self._span.rank
        u[:r] = self._core.half(u[:r].T)
        u[r:] /= np.sqrt(self._alpha)
        return u

    def other_half(self, u: Array) -> Array:
        """The rows (m, W) of u (W, m): H⁻¹ v for u = half(v), and covariance H⁻¹ for standard normal u."""
        r = self._span.rank
        return self._span.rotate_back(np.vstack([self._core.other_half(u[:r]).T, u[r:] / np.sqrt(self._alpha)]))

    def solve(self, v: Array) -> Array:
        """H⁻¹ v, v of shape (W,) or (W, m); refined by residuals in twice the precision up to n · W · m = 2²⁶ for n rows (`refine`)."""
        v = host_array(v, "v")
        columns = _rows(v.T, self._span.size, "v").T
        x = refined(lambda u: self.other_half(self.half(u.T)).T, self._span.given, columns, self._alpha, self._beta)
        return np.asarray(x.reshape(v.shape))

    @blas_on_one_thread
    def quadratic(self, rows: Array) -> Array:
        """(..., m, m) = rows H⁻¹ rowsᵀ of rows (..., m, W)."""
        rows = np.atleast_2d(host_array(rows, "rows"))
        half = self.half(_rows(rows.reshape(prod(rows.shape[:-1]), rows.shape[-1]), self._span.size, "rows")).T.reshape(rows.shape)
        return np.asarray(half @ np.swapaxes(half, -1, -2))

    def diagonal(self) -> Array:
        """diag H⁻¹, (W,): along the span, and (1 − ‖Qᵀe_j‖²)/α across it."""
        q = self._span.directions()
        along = self._core.half(q)
        share = np.einsum("wr,wr->w", q, q)
        across = np.maximum(1 - share, 0.0)
        near = np.flatnonzero(share > 0.5)  # fewer than 2 r of them: all shares add up to r
        for part in np.array_split(near, -(-len(near) // 64) or 1):
            units = np.zeros((len(part), len(share)))
            units[np.arange(len(part)), part] = 1.0
            rest = self._span.rotate(units)[self._span.rank :]
            across[part] = np.einsum("wj,wj->j", rest, rest)
        return np.asarray(np.einsum("rw,rw->w", along, along) + across / self._alpha)

    @blas_on_one_thread
    def dense(self) -> Array:
        """H⁻¹ (W, W); refused where it would not fit."""
        size = self._span.size
        check_memory(4 * 8 * size * size, f"the inverse of a Hessian of {size:,} parameters", "its diagonal")
        half = self.half(np.eye(size))
        return np.asarray(half.T @ half)


def check_dense(count: int, k: int, w: int, what: str, instead: str) -> None:
    """Rows as they are kept, sorted, over √α I, and its triangle, beside a chunk of ∂a/∂θ: refused where they would not fit."""
    kept = w * min(count, raw_rows(w))
    check_memory(8 * (4 * kept + 6 * w * w) + 4 * _chunk_bytes(count, k, w), what, instead)


def check_low_rank(count: int, k: int, w: int, instead: str) -> None:
    """The rows, the reflectors, a chunk of ∂a/∂θ, and r × r numbers of the core: refused where they would not fit."""
    r = min(count, w)
    what = f"the {count:,} × {w:,} rows of the outer product and their factors"
    check_memory(8 * (4 * count * w + 2 * count * r + 4 * r * r) + 4 * _chunk_bytes(count, k, w), what, instead)


def _chunk_bytes(count: int, k: int, w: int) -> int:
    return min(8 * count * w, max(CHUNK_BYTES, 8 * k * w))


def _rows(rows: Any, size: int, name: str) -> Array:
    """(n, W) in float64."""
    rows = np.asarray(host_array(rows, name), np.float64)
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != size:
        raise DataError(
            f"{name} has {rows.shape[-1] if rows.ndim else 0} numbers for each of {size} parameters, in shape {rows.shape}"
        )
    if not np.isfinite(rows).all():
        raise DataError(f"{name} must be finite")
    return np.asarray(rows)


def precision(alpha: Any) -> float:
    """alpha as a float: positive, finite, and so that 1/α is finite too."""
    try:
        number = np.nan if isinstance(alpha, str | bytes) else float(alpha)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not (0 < number < np.inf and 1 / number < np.inf):
        raise DataError(f"alpha={alpha!r}; the prior's precision must be a positive number, with 1/alpha within float64")
    return number
