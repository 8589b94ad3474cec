r"""Hutchinson's estimates: diagonal and trace of a matrix from its products with random signs.

    diag H ≈ mean of v ∘ H v,      tr H ≈ mean of vᵀ H v,      v_a = ±1 with equal probability

Both are unbiased; the variance of one probe is Σ_{b≠a} H_ab² for the a-th diagonal entry and 2 Σ_{a≠b} H_ab² for the trace, so
the estimates are good where H is nearly diagonal, and the standard errors given with them say when they are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.foreign import as_count, generator
from graphbp.second_order.operators import MATMAT_COLUMNS

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

__all__ = ["Estimate", "hutchinson"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """diag H and tr H with their standard errors, from `n_probes` products."""

    diagonal: Array
    diagonal_error: Array
    trace: float
    trace_error: float
    n_probes: int

    def __repr__(self) -> str:
        return f"<Estimate: tr H = {self.trace:.6g} ± {self.trace_error:.2g}, diag H of {self.diagonal.size} entries; {self.n_probes} probes>"


def hutchinson(operator: LinearOperator, n_probes: int = 64, seed: int = 0) -> Estimate:
    """(diag H, tr H) ± their standard errors, from `n_probes` products with ±1 vectors (Hutchinson 1990; Bekas et al. 2007).

    The same seed gives the same estimate.  Memory: O(W) beyond what one product of up to 64 columns takes.

    Raises
    ------
    DataError : fewer than two probes, which leave no standard error, or a seed that is none.

    Examples
    --------
    A diagonal matrix is found exactly, whatever the signs:

    >>> from scipy.sparse.linalg import aslinearoperator
    >>> e = hutchinson(aslinearoperator(np.diag([1.0, 2.0, 3.0])), n_probes=4)
    >>> e.diagonal, e.trace, e.trace_error
    (array([1., 2., 3.]), 6.0, 0.0)
    """
    n_probes = as_count("n_probes", n_probes, 2, ", for an estimate with a standard error")
    size, random = operator.shape[0], generator(seed)
    mean, spread = np.zeros(size), np.zeros(size)
    traces: list[float] = []
    for start in range(0, n_probes, MATMAT_COLUMNS):
        count = min(MATMAT_COLUMNS, n_probes - start)
        v = np.where(random.random((count, size)) < 0.5, -1.0, 1.0).T
        product = v * np.asarray(operator.matmat(v.astype(operator.dtype)), np.float64)
        traces.extend(product.sum(axis=0).tolist())
        for column in product.T:  # Welford's update: no cancellation in the variance
            start += 1
            step = column - mean
            mean += step / start
            spread += step * (column - mean)
    each = np.array(traces)
    error = np.sqrt(spread / (n_probes - 1) / n_probes)
    return Estimate(mean, error, float(each.mean()), float(each.std(ddof=1) / np.sqrt(n_probes)), n_probes)
