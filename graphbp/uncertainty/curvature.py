"""H in four forms behind one face: whole, in blocks of the weights that lead into one unit, its diagonal, or as a product BᵀB.

A whole Hessian is one block of all parameters.  The product serves where N·K is far below W: W × W is never formed.  `Precision` is
A = β H + α I with what a Gaussian needs of it.  No jitter is ever added: an A that is not positive definite is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NumericalError, unknown_name
from graphbp.memory import check_memory
from graphbp.second_order.inverse import LowRankInverse, eigenpairs
from graphbp.uncertainty.outputs import Outputs

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["HESSIANS", "Blocks", "Curvature", "Diagonal", "Precision", "find_curvature", "unit_of_parameter"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

HESSIANS = ("outer_product", "exact", "low_rank", "blocks", "diagonal")


@dataclass(frozen=True)
class Block:
    """H restricted to the parameters `index`."""

    index: Indices
    matrix: Array

    @cached_property
    def eigenvalues(self) -> Array:
        """Ascending."""
        return np.asarray(np.linalg.eigvalsh(self.matrix))


@dataclass(frozen=True)
class Blocks:
    """H as blocks that share no parameter and cover all of them."""

    blocks: Sequence[Block]

    @property
    def eigenvalues(self) -> Array:
        """(W,), by block."""
        return np.concatenate([block.eigenvalues for block in self.blocks])

    def precision(self, alpha: float, beta: float) -> Precision:
        """A = βH + αI, factored.  Raises `NumericalError` where it is not positive definite."""
        return BlockPrecision([(block.index, _factor(block, alpha, beta)) for block in self.blocks])


@dataclass(frozen=True)
class Diagonal:
    """The diagonal of H, (W,)."""

    eigenvalues: Array

    def precision(self, alpha: float, beta: float) -> Precision:
        """A = βH + αI."""
        return DiagonalPrecision(beta * self.eigenvalues + alpha)


@dataclass(frozen=True)
class LowRank:
    """H = Vᵀ diag(values) V, the rows of V (r, W) orthonormal, r ≤ N·K; its other W − r eigenvalues are 0."""

    values: Array
    vectors: Array

    @property
    def eigenvalues(self) -> Array:
        """(W,)."""
        return np.concatenate([self.values, np.zeros(self.vectors.shape[1] - len(self.values))])

    def precision(self, alpha: float, beta: float) -> Precision:
        """A = βH + αI."""
        return LowRankPrecision(self.vectors, beta * self.values, alpha)


Curvature = Blocks | Diagonal | LowRank


def _factor(block: Block, alpha: float, beta: float) -> Array:
    """L of A = L Lᵀ."""
    a = beta * block.matrix
    a.flat[:: len(a) + 1] += alpha
    try:
        return np.asarray(np.linalg.cholesky(a))
    except np.linalg.LinAlgError:
        lowest = beta * block.eigenvalues[0]
        below = int(np.count_nonzero(beta * block.eigenvalues + alpha <= 0))
        raise NumericalError(
            f"the posterior precision is not positive definite: {below} eigenvalue(s) of the Hessian are below −prior_precision = "
            f"{-alpha:.4g} (the lowest, {lowest:.4g}), so the weights are no minimum of E + prior. Train further, or use "
            "hessian='outer_product', which has no negative eigenvalues"
        ) from None


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
    """Of blocks: (their parameters, L)."""

    def __init__(self, factors: Sequence[tuple[Indices, Array]]) -> None:
        self._factors = factors
        self._size = sum(len(index) for index, _ in factors)
        self.log_determinant = 2 * float(sum(np.log(half.diagonal()).sum() for _, half in factors))

    def spread(self, jacobian: Array) -> Array:
        """Σ_b (L⁻¹ J_bᵀ)ᵀ (L⁻¹ J_bᵀ)."""
        n, k, _ = jacobian.shape
        total = np.zeros((n, k, k))
        for index, half in self._factors:
            part = jacobian if len(index) == self._size else jacobian[:, :, index]
            u = _solve(half, part.reshape(n * k, -1).T).T.reshape(n, k, -1)
            total += u @ u.transpose(0, 2, 1)
        return total

    def colour(self, white: Array) -> Array:
        """L⁻ᵀ ε."""
        out = np.empty_like(white)
        for index, half in self._factors:
            out[:, index] = _solve(half, white[:, index].T, transposed=True).T
        return out

    def _roots(self) -> Iterator[tuple[Indices, Array]]:
        """L⁻¹ of each block: A⁻¹ = L⁻ᵀ L⁻¹."""
        for index, half in self._factors:
            yield index, _solve(half, np.eye(len(half)))

    def covariance(self) -> Array:
        """Zero between blocks."""
        _check_square(self._size)
        out = np.zeros((self._size, self._size))
        for index, root in self._roots():
            out[np.ix_(index, index)] = root.T @ root
        return out

    def variances(self) -> Array:
        """Block by block."""
        out = np.empty(self._size)
        for index, root in self._roots():
            out[index] = np.einsum("ij,ij->j", root, root)
        return out


class DiagonalPrecision(Precision):
    """Of a diagonal (W,)."""

    def __init__(self, diagonal: Array) -> None:
        if not (diagonal > 0).all():
            raise NumericalError("the posterior precision has entries of 0 or below on its diagonal; give a larger prior_precision")
        self._diagonal = diagonal
        self.log_determinant = float(np.log(diagonal).sum())

    def spread(self, jacobian: Array) -> Array:
        """J diag(1/A) Jᵀ."""
        return np.asarray((jacobian / self._diagonal) @ jacobian.transpose(0, 2, 1))

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
    """Of αI + Vᵀ diag(d) V."""

    def __init__(self, vectors: Array, d: Array, alpha: float) -> None:
        self._inverse = LowRankInverse(d, vectors, alpha)
        self.log_determinant = float(np.log(d + alpha).sum()) + (vectors.shape[1] - len(d)) * float(np.log(alpha))

    def spread(self, jacobian: Array) -> Array:
        """J A⁻¹ Jᵀ."""
        return self._inverse.quadratic(jacobian)

    def colour(self, white: Array) -> Array:
        """(ε − Vᵀ diag(1 − √(1 − share)) V ε) / √α."""
        vectors = self._inverse.vectors
        inside = (white @ vectors.T) * (1 - np.sqrt(1 - self._inverse.share))
        return np.asarray((white - inside @ vectors) / np.sqrt(self._inverse.alpha))

    def covariance(self) -> Array:
        """Whole."""
        _check_square(self._inverse.vectors.shape[1])
        return self._inverse.dense()

    def variances(self) -> Array:
        """Without W × W numbers."""
        return self._inverse.diagonal()


def _check_square(w: int) -> None:
    check_memory(8 * w * w, f"the posterior covariance of shape {(w, w)}", "posterior.variances or posterior.sample(n)")


def _solve(half: Array, b: Array, *, transposed: bool = False) -> Array:
    from scipy import linalg

    solve: Any = linalg.solve_triangular
    return np.asarray(solve(half, b, lower=True, trans=int(transposed), check_finite=False))


# -- finding it --------------------------------------------------------------------------------------------------------------


def find_curvature(kind: str, net: Network, outputs: Outputs, x: Any, t: Any, s: Any) -> Curvature:
    """H of the kind asked for, at the network's weights; x, t, s are checked arrays of the backend."""
    if kind not in HESSIANS:
        raise unknown_name("hessian", kind, HESSIANS)
    w = net.n_parameters
    to_numpy = net._backend.to_numpy
    if kind in ("outer_product", "exact"):
        net._check_square(f"laplace(hessian={kind!r})", "hessian='low_rank' (few samples), hessian='blocks' or hessian='diagonal'")
        matrix = net._run.hessian if kind == "exact" else net._run.outer_product_hessian
        h = np.array(to_numpy(matrix(net._theta, x, t, s)), np.float64)
        return Blocks([Block(np.arange(w), _finite(h))])
    if kind == "blocks":
        return _unit_blocks(net, x, t, s)
    targets = np.asarray(to_numpy(t), np.float64)
    weight = None if s is None else np.asarray(to_numpy(s), np.float64)
    a = outputs.values(x)
    if kind == "low_rank":
        return _low_rank(net, outputs, x, a, targets, weight)
    diagonal = np.zeros(w)
    for part, j in outputs.chunks(x):
        diagonal += np.einsum("nkw,nkw->w", j, outputs.curved(a[part], targets[part], None if weight is None else weight[part], j))
    return Diagonal(_finite(diagonal))


def _low_rank(net: Network, outputs: Outputs, x: Any, a: Array, t: Array, s: Array | None) -> LowRank:
    w, rows = net.n_parameters, a.size
    what = f"the {rows:,} rows of the outer product with {w:,} parameters"
    check_memory(3 * 8 * rows * w, what, "hessian='outer_product' or hessian='diagonal'")
    stack = np.empty((rows, w))
    k = a.shape[1]
    for part, j in outputs.chunks(x):
        piece = outputs.roots(a[part], t[part], None if s is None else s[part], j)
        stack[part.start * k : part.stop * k] = piece.reshape(-1, w)
    return LowRank(*eigenpairs(_finite(stack)))


def _unit_blocks(net: Network, x: Any, t: Any, s: Any) -> Blocks:
    """The outer product's parts of single units; a tied parameter stands with the first unit that has it."""
    unit = unit_of_parameter(net)
    counts = np.bincount(unit).astype(object)  # Python's integers: no overflow
    check_memory(8 * int((counts**2).sum()), f"the {np.count_nonzero(counts)} unit blocks of the Hessian", "hessian='diagonal'")
    first = dict(zip(net._spec.names, np.cumsum([0, *net._spec.units]).tolist(), strict=False))
    found = []
    for node, parts in net.hessian_blocks(x, t, s, kind="outer_product").items():
        for j, (index, block) in enumerate(zip(parts.index, np.asarray(parts.block, np.float64), strict=True)):
            own = np.flatnonzero((index >= 0) & (unit[index] == first[node] + j))
            if len(own):
                found.append(Block(index[own], _finite(block[np.ix_(own, own)])))
    return Blocks(found)


def _finite(h: Array) -> Array:
    if not np.isfinite(h).all():
        raise NumericalError("the Hessian at these weights is not finite; look at net.trace(X, T) for the unit that overflows")
    return h


def unit_of_parameter(net: Network) -> Indices:
    """(W,) the number of the unit each parameter leads into; a tied one counts with the first unit that has it."""
    spec, layout = net._spec, net._layout
    first = np.concatenate([[0], np.cumsum(spec.units)])
    entry_unit = np.empty(len(layout.entry_parameter), np.int64)
    entry_unit[layout.edge_start] = first[spec.edge_dst]
    for e, array in spec.edge_array.items():
        rows = array.tocoo().row if hasattr(array, "nnz") else np.repeat(np.arange(array.shape[0]), array.shape[1])
        start = int(layout.edge_start[e])
        entry_unit[start : start + len(rows)] = first[spec.edge_dst[e]] + rows
    for i, bias in enumerate(spec.bias):
        if bias is not None:
            start = int(layout.bias_start[i])
            entry_unit[start : start + len(bias)] = first[i] + np.arange(len(bias))
    free = np.flatnonzero(layout.entry_parameter >= 0)[::-1]  # backwards, so that the first entry is written last
    unit = np.empty(net.n_parameters, np.int64)
    unit[layout.entry_parameter[free]] = entry_unit[free]
    return unit
