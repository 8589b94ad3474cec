"""Products with a Hessian as a SciPy LinearOperator: H v without H."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.foreign import host_array

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

__all__ = ["MATMAT_COLUMNS", "symmetric_operator"]

Array = npt.NDArray[Any]

MATMAT_COLUMNS = 64
"""Columns multiplied in one call: bounds what a product with a wide matrix takes."""


def symmetric_operator(multiply: Callable[[Array], Array], size: int, dtype: np.dtype[Any]) -> LinearOperator:
    """The symmetric (size, size) operator v ↦ multiply(v), for `scipy.sparse.linalg` (`cg`, `eigsh`) and `scipy.optimize`.

    Parameters
    ----------
    multiply : (W, B) → (W, B), both of `dtype`; called with at most `MATMAT_COLUMNS` columns at a time.

    Examples
    --------
    >>> A = symmetric_operator(lambda v: 2 * v, 3, np.dtype("float64"))
    >>> A @ np.array([1.0, 2.0, 3.0])
    array([2., 4., 6.])
    >>> A.T is A
    True
    """
    from scipy.sparse.linalg import LinearOperator

    class SymmetricOperator(LinearOperator):
        """H = Hᵀ, given by its products."""

        def __init__(self) -> None:
            super().__init__(dtype, (size, size))  # type: ignore[call-arg]  # the stubs have only __new__

        def _matvec(self, v: Array) -> Array:
            return self._matmat(v.reshape(size, 1))[:, 0]

        def _matmat(self, V: Array) -> Array:
            values = np.ascontiguousarray(host_array(V, "v"), dtype)  # a complex v would lose its imaginary part
            if values.shape[1] <= MATMAT_COLUMNS:
                return multiply(values)
            parts = range(0, values.shape[1], MATMAT_COLUMNS)
            return np.concatenate([multiply(np.ascontiguousarray(values[:, k : k + MATMAT_COLUMNS])) for k in parts], axis=1)

        def _adjoint(self) -> LinearOperator:
            return self

        def _transpose(self) -> LinearOperator:
            return self

    return SymmetricOperator()
