r"""The tangent model of least squares: r(θ + p) ≈ r + J p, and its minimum within a trust region.

    minimise |r + J p|²  subject to  |D p| ≤ Δ,      r_nk = √s_n (y_nk − t_nk),      J = ∂r/∂θ

The minimum is p = −(JᵀJ + λ D²)⁻¹ Jᵀr with the λ ≥ 0 that makes |D p| = Δ, or λ = 0 where the Gauss-Newton step is short enough
(Levenberg 1944, Marquardt 1963, Moré 1978).  J is visited in chunks of samples and never held as a whole:

* `QRTangent` keeps the triangle of [J r], found chunk by chunk, and the singular values of R D⁻¹.  Its error grows with cond(J D⁻¹).
* `NormalTangent` keeps JᵀJ, and factors JᵀJ + λ D² by Cholesky: much faster for many parameters, its error grows with the square.

Who calls these stands inside `single_threaded_blas` (JᵀJ is computed by panels of columns, side by side), so that no bit depends on
BLAS's threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NumericalError
from graphbp.memory import check_memory
from graphbp.threads import run_tasks
from graphbp.training.plateau import unseen
from graphbp.training.problem import Problem

__all__ = ["NormalTangent", "QRTangent", "Residuals", "Step", "Tangent", "norm", "safe", "secular", "tangent"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

QR_PARAMETERS = 500
"""Up to this W, "auto" takes QR: the singular value decomposition of a W × W triangle takes some 0.3 s there."""
CHUNK_BYTES = 1 << 26
"""Bytes of J held at once (one sample's rows at the least)."""
PANEL = 256
"""Columns of JᵀJ that one task computes."""


class Residuals:
    """r(θ) (N·K,) and chunks of J(θ), in float64 on the host, whatever the backend and dtype.

    Both are divided by `unit`, a power of two near the largest |√s t|: no bit changes, and squares stay in float64's range.  Samples of
    weight 0 are left out, since they may overflow.
    """

    def __init__(self, problem: Problem) -> None:
        self._net, self._problem = problem.net, problem.weighed
        to_numpy, part = self._net.model.backend.to_numpy, self._problem.training
        self._x, self._t = part.x, np.asarray(to_numpy(part.t), np.float64)
        weights = part.weights
        self._root = None if weights is None else np.sqrt(weights if weights.ndim == 2 else weights[:, None])
        largest = np.abs(self._t if self._root is None else self._root * self._t).max(initial=0.0)
        self.unit = float(_power_of_two(largest))
        self.count = len(part) * self._t.shape[1] if weights is None or weights.ndim == 1 else int(np.count_nonzero(weights))
        """Residuals that carry weight."""
        self._chunk = max(1, CHUNK_BYTES // (8 * self._t.shape[1] * max(1, self._net.n_parameters)))

    def _theta(self, theta: Vector) -> Any:
        dtype = self._net.dtype
        return self._net.model.backend.asarray(theta.astype(dtype), dtype)

    def __call__(self, theta: Vector) -> Vector:
        """r(θ); not finite where the network is not."""
        y = self._net.model.backend.to_numpy(self._net.model.run.forward(self._theta(theta), self._x))
        r = np.asarray(y, np.float64) - self._t
        return self._weighed(r, slice(None)).ravel() / self.unit

    def _weighed(self, values: Matrix, some: slice) -> Matrix:
        """√s times numbers of these samples and outputs; what has no weight of its own is 0, whatever it overflows to."""
        if self._root is None:
            return values
        root = self._root[some].reshape(*self._root[some].shape, *(1,) * (values.ndim - 2))
        return np.asarray(root * values if self._root.shape[1] == 1 else np.where(root == 0, 0.0, root * values))

    def jacobian_chunks(self, theta: Vector) -> Iterator[tuple[slice, Matrix]]:
        """(rows of r, J of these rows), in order; columns of 0 for the parameters of units that every sample saturates."""
        at, k = self._theta(theta), self._t.shape[1]
        seen = ~unseen(self._problem, at)
        for start in range(0, len(self._t), self._chunk):
            stop = min(start + self._chunk, len(self._t))
            j = np.asarray(
                self._net.model.backend.to_numpy(self._net.model.run.weight_jacobian(at, self._x[start:stop])), np.float64
            )
            j = self._weighed(j, slice(start, stop))
            yield slice(start * k, stop * k), np.where(seen, j.reshape((stop - start) * k, -1) / self.unit, 0.0)

    def rounding(self, theta: Vector, r: Vector) -> float:
        """|r| below which nothing is left but rounding: of y and t, and of θ (its last bits moved)."""
        root = 1.0 if self._root is None else self._root
        eps = float(np.finfo(self._net.dtype).eps)
        signs = np.where(np.arange(len(theta)) % 2, 1.0, -1.0)
        moved = [float(np.linalg.norm(self(theta * (1 + 2 * eps * k * signs)) - r)) for k in (1, -1)]
        return max(eps * float(np.linalg.norm(root * self._t / self.unit)), *(m for m in moved if math.isfinite(m)), 0.0)


class Step:
    """A step p, the λ it was damped with, its length |D p|, and the fall of |r|² that the model predicts."""

    def __init__(self, p: Vector, damping: float, length: float, predicted: float) -> None:
        self.p, self.damping, self.length, self.predicted = p, damping, length, predicted


class Tangent:
    """What both forms share: the columns' norms, and what the columns are divided by."""

    norms: Vector
    """|J_i|, (W,)."""
    _column: Vector
    """Powers of two, near each column's largest component, that columns are divided by: their squares neither over- nor underflow."""

    def explained(self) -> float:
        """|Q ᵀ r|: how much of r lies in the tangent plane; 0 at a minimum."""
        raise NotImplementedError

    def step(self, scale: Vector, radius: float, guess: float = 0.0) -> Step:
        """The minimum of the model within |D p| ≤ Δ (to a tenth of Δ); `guess` is a λ to begin the search at."""
        raise NotImplementedError

    def half(self) -> Matrix | None:
        """L with L Lᵀ = (JᵀJ)⁻¹, or None where the columns of J are dependent to working precision."""
        raise NotImplementedError

    def weakest(self) -> Vector:
        """The direction in θ (each component in units of 1/|J_i|) that changes r the least."""
        raise NotImplementedError


def _power_of_two(size: npt.ArrayLike) -> Any:
    """The power of two below each size; 1 for 0 and for what is not finite."""
    size = np.asarray(size, np.float64)
    usable = np.isfinite(size) & (size > 0)
    exponent = np.frexp(np.where(usable, size, 1.0))[1] - 1
    return np.where(usable, np.ldexp(1.0, np.maximum(exponent, -1000)), 1.0)


def safe(norms: Vector) -> Vector:
    """Norms to divide by: 1 for a column of zeros."""
    return np.where(norms > 0, norms, 1.0)


def norm(v: Vector) -> float:
    """|v|, also where v² leaves float64's range."""
    top = float(np.abs(v).max(initial=0.0))
    return top * float(np.linalg.norm(v / top)) if 0 < top < math.inf else top


class QRTangent(Tangent):
    """[J r] = Q [R c; 0 ρ], chunk by chunk; then R D⁻¹ = U S Vᵀ."""

    def __init__(self, residuals: Residuals, theta: Vector, r: Vector) -> None:
        w = len(theta)
        triangle, largest = np.empty((0, w + 1)), np.zeros(w)
        self._column = np.ones(w)
        for rows, j in residuals.jacobian_chunks(theta):
            _require_finite(j)
            largest = np.maximum(largest, np.abs(j).max(axis=0, initial=0.0))
            column = _power_of_two(largest)
            triangle[:, :w] *= self._column / column
            self._column = column
            stacked = np.vstack([triangle, np.column_stack([j / column, r[rows]])])
            triangle = np.asarray(np.linalg.qr(stacked, mode="r")) if len(stacked) > w else stacked
        self._r, self._c = triangle[:w, :w], triangle[:w, w]  # a row below is [0 ρ]
        self._norms = np.linalg.norm(self._r, axis=0)
        self.norms = self._norms * self._column
        self._decompose(safe(self._norms))
        self._explained = float(np.linalg.norm(self._uc[self._sound]))

    def _decompose(self, scale: Vector) -> None:
        self._scale = scale
        u, self._s, self._vt = np.linalg.svd(self._r / scale, full_matrices=False)
        self._uc = u.T @ self._c
        floor = np.finfo(np.float64).eps * max(self._r.shape) * self._s[0]
        self._sound = self._s > floor

    def explained(self) -> float:
        """|c|, its sound part."""
        return self._explained

    def step(self, scale: Vector, radius: float, guess: float = 0.0) -> Step:
        """By the singular values: every λ costs O(W)."""
        if not np.array_equal(scale / self._column, self._scale):
            self._decompose(scale / self._column)
        s, c = self._s[self._sound], self._uc[self._sound]
        q = c / s
        damping = secular(s * s, s * c, radius) if norm(q) > radius else 0.0
        if damping:
            q = s * c / (s * s + damping)
        length = norm(q)
        p = -(self._vt[self._sound].T @ q) / self._scale / self._column
        return Step(p, damping, length, float(np.sum((s * q) ** 2)) + 2 * damping * length**2)

    def half(self) -> Matrix | None:
        """From the factor, columns scaled to length 1."""
        self._decompose(safe(self._norms))
        if len(self._s) < len(self.norms) or not self._sound.all():
            return None
        return np.asarray(self._vt.T / self._s / self._scale[:, None] / self._column[:, None])

    def weakest(self) -> Vector:
        """The last right singular vector, or the first eigenvector."""
        _, _, vt = np.linalg.svd(self._r / safe(self._norms), full_matrices=True)
        return np.asarray(vt[-1])


def secular(squares: Vector, slope: Vector, radius: float) -> float:
    """λ > 0 with |slope / (squares + λ)| = Δ to a tenth, by Newton's iteration on 1/|p| kept inside a bracket."""
    low, high = 0.0, norm(slope) / radius
    damping = 1e-3 * high
    for _ in range(100):
        q = slope / (squares + damping)
        length = norm(q)
        if abs(length - radius) <= 0.1 * radius:
            break
        low, high = (damping, high) if length > radius else (low, damping)
        newton = damping + (length - radius) / radius / float(np.sum((q / length) ** 2 / (squares + damping)))
        damping = newton if low < newton < high else max(math.sqrt(low * high), 1e-3 * high)
    return damping


class NormalTangent(Tangent):
    """A = D⁻¹ JᵀJ D⁻¹, and A + λI = L Lᵀ for each λ that is tried."""

    def __init__(self, residuals: Residuals, theta: Vector, r: Vector) -> None:
        w = len(theta)
        self._a, self._slope, largest = np.zeros((w, w)), np.zeros(w), np.zeros(w)
        self._column = np.ones(w)
        for rows, j in residuals.jacobian_chunks(theta):
            _require_finite(j)
            seen, largest = largest, np.maximum(largest, np.abs(j).max(axis=0, initial=0.0))
            column = _power_of_two(largest)
            ratio, self._column = np.where(seen > 0, self._column / column, 0.0), column
            self._a *= ratio * ratio[:, None]
            self._slope *= ratio
            self._add(j / column)
            self._slope += (j / column).T @ r[rows]
        self._a = np.triu(self._a) + np.triu(self._a, 1).T
        self._norms = np.sqrt(self._a.diagonal())
        self.norms = self._norms * self._column

    def _add(self, j: Matrix) -> None:
        """The upper triangle of A += jᵀj."""

        def panel(k: int) -> None:
            columns = slice(k * PANEL, (k + 1) * PANEL)
            self._a[: columns.stop, columns] += j[:, : columns.stop].T @ j[:, columns]

        run_tasks(panel, -(-len(self._a) // PANEL))

    def explained(self) -> float:
        """|Jᵀr| with columns of unit length: no more than √W times |Qᵀr|, and 0 with it."""
        return float(np.linalg.norm(self._slope / safe(self._norms)))

    def step(self, scale: Vector, radius: float, guess: float = 0.0) -> Step:
        """By Cholesky factors of A + λI, one for every λ tried; `guess` saves some."""
        scale = scale / self._column
        a, g = self._a / scale / scale[:, None], self._slope / scale
        least = 1e-14 * float(np.trace(a))  # Cholesky needs this much to see a singular A as positive
        low, high = -1.0, max(norm(g) / radius, guess, least)  # low < 0: λ = 0 has not been tried
        damping = guess
        for _ in range(60):
            half = _cholesky(a, max(damping, least))
            if half is None:
                low, damping = damping, max(10 * damping, 10 * least)
                continue
            q = _solve(half, _solve(half, g), transposed=True)
            length = norm(q)
            if (damping <= least and length <= radius) or abs(length - radius) <= 0.1 * radius:
                break
            low, high = (max(low, damping), high) if length > radius else (low, min(high, damping))
            newton = damping + 1 / norm(_solve(half, q / length)) ** 2 * (length - radius) / radius
            inside = 0.0 if low < 0 else max(math.sqrt(low * high), 1e-3 * high)
            damping = max(newton, 0.0) if low < newton < high else inside
        else:
            raise NumericalError("levenberg_marquardt: no damping makes JᵀJ + λD² positive definite; use method='qr'")
        return Step(-q / scale / self._column, damping, length, float(q @ (a @ q)) + 2 * damping * length**2)

    def half(self) -> Matrix | None:
        """From the factor, columns scaled to length 1."""
        scale = safe(self._norms)
        half = _cholesky(self._a / scale / scale[:, None], 0.0)
        if half is None or half.diagonal().min() ** 2 < np.finfo(np.float64).eps * len(half):
            return None
        return np.asarray(_solve(half, np.diag(1 / scale)).T / self._column[:, None])

    def weakest(self) -> Vector:
        """The last right singular vector, or the first eigenvector."""
        scale = safe(self._norms)
        return np.asarray(np.linalg.eigh(self._a / scale / scale[:, None])[1][:, 0])


def _cholesky(a: Matrix, damping: float) -> Matrix | None:
    """L of A + λI, or None where that is not positive definite."""
    damped = a.copy()
    damped.flat[:: len(a) + 1] += damping
    try:
        return np.asarray(np.linalg.cholesky(damped), np.float64)
    except np.linalg.LinAlgError:
        return None


def _solve(half: Matrix, b: npt.NDArray[Any], *, transposed: bool = False) -> npt.NDArray[Any]:
    from scipy import linalg

    solve: Any = linalg.solve_triangular
    return np.asarray(solve(half, b, lower=True, trans=int(transposed), check_finite=False))


def _require_finite(array: npt.NDArray[Any]) -> None:
    if not np.isfinite(array).all():
        raise FloatingPointError


def tangent(method: str, residuals: Residuals, theta: Vector, r: Vector) -> Tangent | None:
    """The tangent model at θ, or None where J is not finite.  Raises `MemoryLimitError` where W × W would not fit."""
    w = len(theta)
    check_memory(4 * 8 * (w + 1) ** 2, f"levenberg_marquardt with {w} parameters", 'optimizer="lbfgs"')
    kind = QRTangent if method == "qr" or (method == "auto" and w <= QR_PARAMETERS) else NormalTangent
    try:
        return kind(residuals, theta, r)
    except FloatingPointError:
        return None
