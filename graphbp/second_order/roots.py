r"""Square roots of A = αI + BᵀB and of its inverse, found from the rows b of B without ever forming BᵀB.

BᵀB squares what is large and small in B, and 1/α (I − …) subtracts two numbers of which only a few digits differ.  A triangle U with
UᵀU = A by orthogonal transformations of the rows does neither:

    `RowStack`   rows as they arrive, folded into a triangle when there are many: RᵀR = BᵀB
    `Root`       U of [B; √α I]:  vᵀA⁻¹v = ‖U⁻ᵀv‖², A⁻¹v = U⁻¹U⁻ᵀv, ln|A| = 2 Σ ln|u_ii|, and U⁻¹ε has the covariance A⁻¹
    `Span`       Bᵀ = Q [T; 0] by reflectors, for few rows: in the directions Q, A is αI + TTᵀ; across them it is α

Householder's transformations leave in every column an error of rounding of that column alone, and, where the rows are sorted by size
and the columns pivoted, in every row one of that row alone (Powell & Reid 1969; Cox & Higham 1998).  So neither the units of the inputs
nor a √α far below them lose digits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NumericalError
from graphbp.threads import single_threaded_blas

__all__ = ["RAW", "Root", "RowStack", "Span", "raw_rows", "singular_values"]

Array = npt.NDArray[Any]

RAW = 1 << 18
"""Entries of B that are kept as they came, where 2 W rows are fewer."""
_SPREAD = 1e-6
"""Singular values below this share of the largest lose digits in the usual algorithm, and are found by Jacobi's."""


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _with_lapack(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function` inside the gate."""

    @wraps(function)
    def inside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        import scipy.linalg  # noqa: F401  # before the gate: it brings a BLAS of its own

        with single_threaded_blas():
            return function(*args, **kwargs)

    return inside


class RowStack:
    """Rows (·, W) with the BᵀB of all that were added: those themselves, or a triangle where they were many."""

    def __init__(self, size: int, raw: int = RAW) -> None:
        self.size = size
        self._limit = raw_rows(size, raw)
        self._held: list[Array] = []

    def add(self, rows: Array) -> None:
        """Rows (n, W), of any size; kept without a copy."""
        for start in range(0, len(rows), self._limit):
            self._held.append(rows[start : start + self._limit])
            if sum(map(len, self._held)) > self._limit:
                self._held = [_triangle(self.rows)]

    @property
    def rows(self) -> Array:
        """(n, W)."""
        if len(self._held) != 1:
            self._held = [np.concatenate([np.empty((0, self.size)), *self._held])]
        return self._held[0]


def raw_rows(size: int, raw: int = RAW) -> int:
    """How many rows of W parameters are kept as they came."""
    return max(2 * size, raw // max(1, size))


class Root:
    """U, an order of the parameters and a scale D of each with (D A D)[order, order] = UᵀU."""

    def __init__(self, upper: Array, order: Array | None = None, scale: Array | None = None) -> None:
        self.upper = upper
        self._order = np.arange(len(upper)) if order is None else order
        self._scale = np.ones(len(upper)) if scale is None else scale
        self.log_determinant = 2 * float(np.log(np.abs(upper.diagonal())).sum() - np.log(self._scale).sum())

    @classmethod
    @_with_lapack
    def of(cls, rows: Array, alpha: float) -> Root:
        """That of αI + BᵀB.

        Raises
        ------
        NumericalError : rows that are not finite, or so large beside √α that float64 cannot hold both.
        """
        from scipy import linalg

        n, w = rows.shape
        stack = np.zeros((w, n + w))  # transposed: LAPACK then works in place
        stack[:, :n] = rows.T
        stack[np.arange(w), n + np.arange(w)] = np.sqrt(alpha)
        largest = np.abs(stack).max(axis=1, initial=0.0)
        if not np.isfinite(largest).all():
            raise NumericalError(
                "the rows of the outer product are not finite; look at net.trace(X, T) for the unit that overflows"
            )
        scale = np.ldexp(1.0, -np.frexp(largest)[1])  # powers of two: no rounding
        stack *= scale[:, None]
        stack = np.take(stack, _by_size(stack, axis=0), axis=1)
        upper, order = linalg.qr(stack.T, mode="r", pivoting=True, overwrite_a=True, check_finite=False)
        upper = np.asarray(upper[:w])
        if not upper.diagonal().all():
            raise NumericalError(f"alpha={alpha:.4g} is too small beside the rows of the outer product; take a larger alpha")
        return cls(upper, order, scale)

    @_with_lapack
    def half(self, v: Array) -> Array:
        """U⁻ᵀ v (W, m) of rows v (m, W): halfᵀ half = v A⁻¹ vᵀ."""
        return _solve(self.upper, (v * self._scale).T[self._order], transposed=True)

    @_with_lapack
    def other_half(self, u: Array) -> Array:
        """The rows U⁻¹ u (m, W) of u (W, m): A⁻¹ v for u = half(v), and covariance A⁻¹ for standard normal u."""
        out = np.empty(u.shape)
        out[self._order] = _solve(self.upper, u)
        return out.T * self._scale


class Span:
    """The directions that the few rows of B span, and those across: Bᵀ = Q [T; 0], (W, n), with Q a product of reflectors."""

    @_with_lapack
    def __init__(self, rows: Array) -> None:
        from scipy import linalg

        if not np.isfinite(rows).all():
            raise NumericalError(
                "the rows of the outer product are not finite; look at net.trace(X, T) for the unit that overflows"
            )
        self.given = rows
        self._order = _by_size(rows, axis=0)
        (reflectors, self._tau), triangle, _ = linalg.qr(
            np.take(rows, self._order, axis=1).T, mode="raw", pivoting=True, overwrite_a=True, check_finite=False
        )
        self.size, self.rank = rows.shape[1], min(rows.shape)
        self._reflectors = reflectors[:, : self.rank]
        self.rows = np.ascontiguousarray(triangle[: self.rank].T)
        """(n, r): B in the directions Q, its rows in another order."""

    @_with_lapack
    def rotate(self, v: Array) -> Array:
        """Qᵀ v (W, m) of rows v (m, W): the first `rank` are along the span."""
        return self._apply(np.take(v, self._order, axis=1).T, b"T")

    @_with_lapack
    def rotate_back(self, u: Array) -> Array:
        """The rows Q u (m, W) of u (W, m)."""
        out = np.empty((u.shape[1], u.shape[0]))
        out[:, self._order] = self._apply(np.asfortranarray(u), b"N").T
        return out

    def _apply(self, u: Array, way: bytes) -> Array:
        from scipy.linalg import lapack

        if not self.rank or not u.size:
            return u
        out, _, _ = lapack.dormqr(b"L", way, self._reflectors, self._tau, u, 64 * u.shape[1] + 65 * 64, overwrite_c=1)
        return np.asarray(out)

    @_with_lapack
    def directions(self) -> Array:
        """(W, r): the first columns of Q."""
        from scipy.linalg import lapack

        out = np.empty((self.size, self.rank))
        if self.rank:
            out[self._order] = lapack.dorgqr(self._reflectors, self._tau, 64 * self.rank)[0]
        return out


@_with_lapack
def singular_values(rows: Array) -> Array:
    """The min(n, W) singular values of rows (n, W), descending, small ones beside large ones too."""
    from scipy import linalg
    from scipy.linalg import lapack

    if not rows.size:
        return np.zeros(min(rows.shape))
    stack = np.take(rows.T, _by_size(rows.T, axis=0), axis=1)
    triangle = linalg.qr(stack.T, mode="r", pivoting=True, overwrite_a=True, check_finite=False)[0][: min(rows.shape)]
    values = np.asarray(np.linalg.svd(triangle, compute_uv=False))
    if values[-1] >= _SPREAD * values[0]:
        return values
    found, _, _, scale, _, info = lapack.dgejsv(triangle.T, joba=2, jobu=3, jobv=3)
    if info:
        raise NumericalError("the eigenvalues of the outer product were not found; give prior_precision and noise numbers")
    return np.asarray(found * (scale[0] / scale[1]))


@_with_lapack
def _triangle(rows: Array) -> Array:
    """R (W, W) with RᵀR = BᵀB."""
    from scipy import linalg

    largest = np.abs(rows).max(axis=0)
    scale = np.ldexp(1.0, -np.frexp(largest)[1])
    order = np.argsort(-(np.abs(rows) * scale).max(axis=1), kind="stable")
    upper = linalg.qr(np.take(rows.T, order, axis=1).T, mode="r", overwrite_a=True, check_finite=False)[0]
    return np.ascontiguousarray(upper[: rows.shape[1]])


def _by_size(a: Array, axis: int) -> Array:
    """The order of the columns of a (axis 0) or its rows by their largest entry, largest first."""
    return np.argsort(-np.abs(a).max(axis=axis, initial=0.0), kind="stable")


def _solve(upper: Array, b: Array, *, transposed: bool = False) -> Array:
    from scipy import linalg

    solve: Any = linalg.solve_triangular
    return np.asarray(solve(upper, b, trans=int(transposed), check_finite=False)) if b.size else np.empty(b.shape)
