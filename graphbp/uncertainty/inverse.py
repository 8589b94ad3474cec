"""The inverse of a network's outer-product Hessian with a prior: the rows of its outputs, put into one of three forms.

The forms themselves, which know nothing of networks, are `graphbp.second_order.inverse`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError
from graphbp.second_order.inverse import DenseInverse, LowRankInverse, SequentialInverse, check_dense, check_low_rank, precision
from graphbp.second_order.roots import RowStack, Span
from graphbp.uncertainty.outputs import Outputs

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["outer_product_inverse", "outer_product_rows"]

Array = npt.NDArray[Any]
Method = Literal["auto", "sequential", "cholesky", "low_rank"]


def outer_product_rows(net: Network, X: Any, T: Any, sample_weight: Any = None) -> Array:
    """(n·K, W): rows b with Σ b bᵀ the outer-product Hessian, for the n samples whose weight is not 0, in order; in float64."""
    return np.concatenate([np.empty((0, net.n_parameters)), *_chunks(net, X, T, sample_weight)])


def _chunks(net: Network, X: Any, T: Any, sample_weight: Any) -> Iterator[Array]:
    """The same, some samples at a time; samples of weight 0 are left out."""
    net = net.to(dtype="float64") if net.dtype != np.float64 else net
    x, t, s = net.model.batch(X, T, sample_weight)
    yield from Outputs(net).rows(x, t, s)


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
    NumericalError : the error curves downwards at some output, so that BᵀB has no real factor B.
    MemoryLimitError : W × W, or the N·K × W rows, would not fit.
    """
    alpha = precision(alpha)
    count, w = len(X) * net.schedule.n_outputs, net.n_parameters
    if method == "auto":
        method = "low_rank" if count < w else "cholesky"
    if method == "low_rank":
        check_low_rank(count, net.schedule.n_outputs, w, 'method="cholesky"')
        return LowRankInverse(Span(outer_product_rows(net, X, T, sample_weight)), alpha)
    if method not in ("cholesky", "sequential"):
        raise DataError(f'method={method!r}; use "auto", "sequential", "cholesky" or "low_rank"')
    check_dense(count, net.schedule.n_outputs, w, f"the inverse of a Hessian of {w:,} parameters", 'method="low_rank"')
    if method == "sequential":
        inverse = SequentialInverse(w, alpha)
        for rows in _chunks(net, X, T, sample_weight):
            inverse.update(rows)
        return inverse
    stack = RowStack(w)
    for rows in _chunks(net, X, T, sample_weight):
        stack.add(rows)
    return DenseInverse(stack, alpha)
