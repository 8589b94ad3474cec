"""H in four forms behind one face: whole, in blocks of the weights that lead into one unit, its diagonal, or the span of few rows.

The outer product is never formed: it is BᵀB with a row of B for each sample and output, and a block of it is that of some columns of B
(see `graphbp.second_order.roots`).  Only "exact" is a matrix.  `Precision` is A = β H + α I with what a Gaussian needs of it.  No jitter
is ever added: an A that is not positive definite is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NumericalError, unknown_name
from graphbp.lookup import parameter_units
from graphbp.memory import check_memory
from graphbp.second_order.inverse import LowRankInverse, check_dense, check_low_rank
from graphbp.second_order.roots import RAW, Root, RowStack, Span, singular_values
from graphbp.threads import blas_on_one_thread
from graphbp.uncertainty.outputs import CurvesDownError, Outputs

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["HESSIANS", "Curvature", "Precision", "find_curvature", "unit_of_parameter"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

HESSIANS = ("outer_product", "exact", "low_rank", "blocks", "diagonal")


@dataclass(frozen=True)
class MatrixBlock:
    """H restricted to the parameters `index`, as a matrix."""

    index: Indices
    matrix: Array

    @cached_property
    def eigenvalues(self) -> Array:
        """Ascending."""
        return _eigenvalues(self.matrix)

    @blas_on_one_thread
    def root(self, alpha: float, beta: float) -> Root:
        """Of βH + αI."""
        a = beta * self.matrix
        a.flat[:: len(a) + 1] += alpha
        try:
            return Root(np.linalg.cholesky(a).T)
        except np.linalg.LinAlgError:
            lowest = beta * self.eigenvalues[0]
            below = int(np.count_nonzero(beta * self.eigenvalues + alpha <= 0))
            raise NumericalError(
                f"the posterior precision is not positive definite: {below} eigenvalue(s) of the Hessian are below −prior_precision = "
                f"{-alpha:.4g} (the lowest, {lowest:.4g}), so the weights are no minimum of E + prior. Train further, or use "
                "hessian='outer_product', which has no negative eigenvalues"
            ) from None


@dataclass(frozen=True)
class RowBlock:
    """H = BᵀB restricted to the parameters `index`, as rows of B."""

    index: Indices
    rows: Array

    @cached_property
    def eigenvalues(self) -> Array:
        """(W,), ascending."""
        values = singular_values(self.rows) ** 2
        return np.concatenate([np.zeros(len(self.index) - len(values)), values[::-1]])

    def root(self, alpha: float, beta: float) -> Root:
        """Of βH + αI."""
        return Root.of(np.sqrt(beta) * self.rows, alpha)


@blas_on_one_thread
def _eigenvalues(matrix: Array) -> Array:
    return np.asarray(np.linalg.eigvalsh(matrix))


@dataclass(frozen=True)
class Curvature:
    """H: its eigenvalues (W,), found when they are asked for, and A = βH + αI, factored, of (α, β).

    `precision` raises `NumericalError` where A is not positive definite.
    """

    find_eigenvalues: Callable[[], Array]
    precision: Callable[[float, float], Precision]

    @property
    def eigenvalues(self) -> Array:
        """(W,), in no order."""
        return self.find_eigenvalues()

    @classmethod
    def of_blocks(cls, blocks: Sequence[MatrixBlock | RowBlock]) -> Curvature:
        """Blocks that share no parameter and cover all of them."""
        return cls(
            lambda: np.concatenate([block.eigenvalues for block in blocks]),
            lambda alpha, beta: BlockPrecision([(block.index, block.root(alpha, beta)) for block in blocks]),
        )

    @classmethod
    def of_span(cls, span: Span) -> Curvature:
        """BᵀB by the span of B's rows; its other W − r eigenvalues are 0."""
        return cls(
            lambda: np.concatenate([singular_values(span.rows) ** 2, np.zeros(span.size - span.rank)]),
            lambda alpha, beta: LowRankPrecision(span, alpha, beta),
        )


class Precision:
    """What a Gaussian with precision A gives: ln|A|, J A⁻¹ Jᵀ, samples, A⁻¹."""

    log_determinant: float

    def spread(self, jacobian: Array) -> Array:
        """J A⁻¹ Jᵀ of each sample: (n, K, W) → (n, K, K)."""
        raise NotImplementedError

    def colour(self, white: Array) -> Array:
        """(n, W) standard normal draws → draws with covariance A⁻¹."""
        raise NotImplementedError

    def covariance(self) -> Array:
        """A⁻¹ (W, W).  Raises `MemoryLimitError` where it would not fit."""
        raise NotImplementedError

    def variances(self) -> Array:
        """The diagonal of A⁻¹, (W,)."""
        raise NotImplementedError


class BlockPrecision(Precision):
    """Of blocks: (their parameters, the root of each)."""

    def __init__(self, roots: Sequence[tuple[Indices, Root]]) -> None:
        self._roots = roots
        self._size = sum(len(index) for index, _ in roots)
        self.log_determinant = float(sum(root.log_determinant for _, root in roots))

    @blas_on_one_thread
    def spread(self, jacobian: Array) -> Array:
        """Σ_b (U⁻ᵀ J_bᵀ)ᵀ (U⁻ᵀ J_bᵀ)."""
        n, k, _ = jacobian.shape
        total = np.zeros((n, k, k))
        for index, root in self._roots:
            u = root.half(jacobian[:, :, index].reshape(n * k, -1)).T.reshape(n, k, -1)
            total += u @ u.transpose(0, 2, 1)
        return total

    def colour(self, white: Array) -> Array:
        """U⁻¹ ε."""
        out = np.empty_like(white)
        for index, root in self._roots:
            out[:, index] = root.other_half(white[:, index].T)
        return out

    def _halves(self) -> Iterator[tuple[Indices, Array]]:
        """U⁻ᵀ of each block: A⁻¹ = (U⁻ᵀ)ᵀ U⁻ᵀ."""
        for index, root in self._roots:
            yield index, root.half(np.eye(len(index)))

    @blas_on_one_thread
    def covariance(self) -> Array:
        """Zero between blocks."""
        _check_square(self._size)
        out = np.zeros((self._size, self._size))
        for index, half in self._halves():
            out[np.ix_(index, index)] = half.T @ half
        return out

    def variances(self) -> Array:
        """Block by block."""
        out = np.empty(self._size)
        for index, half in self._halves():
            out[index] = np.einsum("ij,ij->j", half, half)
        return out


class DiagonalPrecision(Precision):
    """Of a diagonal (W,)."""

    def __init__(self, diagonal: Array) -> None:
        if not (diagonal > 0).all():
            raise NumericalError("the posterior precision has entries of 0 or below on its diagonal; give a larger prior_precision")
        self._diagonal = diagonal
        self.log_determinant = float(np.log(diagonal).sum())

    @blas_on_one_thread
    def spread(self, jacobian: Array) -> Array:
        """J diag(1/A) Jᵀ."""
        half = jacobian / np.sqrt(self._diagonal)
        return np.asarray(half @ half.transpose(0, 2, 1))

    def colour(self, white: Array) -> Array:
        """ε / √A."""
        return np.asarray(white / np.sqrt(self._diagonal))

    def covariance(self) -> Array:
        """A diagonal matrix, whole."""
        _check_square(len(self._diagonal))
        return np.diag(1 / self._diagonal)

    def variances(self) -> Array:
        """1 / A."""
        return np.asarray(1 / self._diagonal)


class LowRankPrecision(Precision):
    """Of αI + β BᵀB by the span of B's rows."""

    def __init__(self, span: Span, alpha: float, beta: float) -> None:
        self._size = span.size
        self._inverse = LowRankInverse(span, alpha, beta)
        self.log_determinant = self._inverse.log_determinant

    def spread(self, jacobian: Array) -> Array:
        """J A⁻¹ Jᵀ."""
        return self._inverse.quadratic(jacobian)

    def colour(self, white: Array) -> Array:
        """Along the span by the root of its core, across it ε / √α."""
        return self._inverse.other_half(white.T)

    def covariance(self) -> Array:
        """Whole."""
        _check_square(self._size)
        return self._inverse.dense()

    def variances(self) -> Array:
        """Without W × W numbers."""
        return self._inverse.diagonal()


def _check_square(w: int) -> None:
    check_memory(3 * 8 * w * w, f"the posterior covariance of shape {(w, w)}", "posterior.variances or posterior.sample(n)")


# -- finding it --------------------------------------------------------------------------------------------------------------


def find_curvature(kind: str, net: Network, outputs: Outputs, x: Any, t: Any, s: Any) -> Curvature:
    """H of the kind asked for, at the network's weights; x, t, s are checked arrays of the backend."""
    if kind not in HESSIANS:
        raise unknown_name("hessian", kind, HESSIANS)
    w, k = net.n_parameters, net.schedule.n_outputs
    if kind == "diagonal":
        return _diagonal(outputs, x, t, s, w)
    if kind == "low_rank":
        check_low_rank(len(x) * k, k, w, "hessian='outer_product' or hessian='diagonal'")
        return Curvature.of_span(Span(_finite(np.concatenate([np.empty((0, w)), *outputs.rows(x, t, s)]))))
    if kind == "blocks":
        return _unit_blocks(net, outputs, x, t, s)
    what = f"laplace(hessian={kind!r}) of {w:,} parameters"
    instead = "gb.laplace with hessian='low_rank' (few samples), hessian='blocks' or hessian='diagonal'"
    if kind == "exact":
        check_memory(4 * 8 * w * w, what, instead)  # H, A, its triangle, and LAPACK's copy
    else:
        check_dense(len(x) * k, k, w, what, instead)
    if kind == "outer_product":
        try:
            return Curvature.of_blocks([_stacked(outputs.rows(x, t, s), [np.arange(w)])[0]])
        except CurvesDownError:  # no factor, but a matrix that α may outweigh
            pass
    matrix = net.model.run.hessian if kind == "exact" else net.model.run.outer_product_hessian
    found = np.array(net.model.backend.to_numpy(matrix(net.theta, x, t, s)), np.float64)
    return Curvature.of_blocks([MatrixBlock(np.arange(w), _finite(found))])


@blas_on_one_thread
def _diagonal(outputs: Outputs, x: Any, t: Any, s: Any, w: int) -> Curvature:
    diagonal = np.zeros(w)
    for factor, b in outputs.factors(x, t, s):
        diagonal += np.einsum("nk,nkw,nkw->w", factor, b, b)
    _finite(diagonal)
    return Curvature(lambda: diagonal, lambda alpha, beta: DiagonalPrecision(beta * diagonal + alpha))


def _stacked(chunks: Iterator[Array], indices: list[Indices]) -> list[RowBlock]:
    """BᵀB of each set of columns."""
    stacks = [RowStack(len(index), RAW // len(indices)) for index in indices]
    for rows in chunks:
        _finite(rows)
        for index, stack in zip(indices, stacks, strict=True):
            stack.add(rows[:, index])
    return [RowBlock(index, stack.rows) for index, stack in zip(indices, stacks, strict=True)]


def _unit_blocks(net: Network, outputs: Outputs, x: Any, t: Any, s: Any) -> Curvature:
    """The outer product's parts of single units; a tied parameter stands with the first unit that has it."""
    unit = unit_of_parameter(net)
    found, counts = np.unique(unit, return_counts=True)
    each, rows = counts.astype(object), len(x) * net.schedule.n_outputs  # Python's integers: no overflow
    needed = 8 * int((6 * each**2 + 2 * np.minimum(rows, 2 * each) * each).sum())
    check_memory(needed, f"the {len(found)} unit blocks of the Hessian", "hessian='diagonal'")
    return Curvature.of_blocks(_stacked(outputs.rows(x, t, s), [np.flatnonzero(unit == each) for each in found]))


def _finite(h: Array) -> Array:
    if not np.isfinite(h).all():
        raise NumericalError("the Hessian at these weights is not finite; look at net.trace(X, T) for the unit that overflows")
    return h


def unit_of_parameter(net: Network) -> Indices:
    """(W,) the number of the unit each parameter leads into; a tied one counts with the first unit that has it."""
    layout = net.model.layout
    free = np.flatnonzero(layout.entry_parameter >= 0)[::-1]  # backwards, so that the first entry is written last
    unit = np.empty(net.n_parameters, np.int64)
    unit[layout.entry_parameter[free]] = parameter_units(net.model.spec, layout)[free]
    return unit
