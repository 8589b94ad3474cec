r"""Newton's model where W × W is too much: the Hessian on the Krylov space of the gradient, by Lanczos.

    A = D⁻¹ H D⁻¹,   Q = orth(ĝ, A ĝ, A² ĝ, ...),  ĝ = D⁻¹ g,      Qᵀ A Q = T tridiagonal = Y diag(s) Yᵀ,      V = Q Y

D is `Objective.units`, so the model is free of units, and each step costs one product with H.  Q is kept orthogonal, since raw columns
spread the eigenvalues over ten orders of magnitude.  What the model does not see is bounded by the residual ρ of its Newton step: the
decrement lacks at most ½ ρ² / min |s|, in so far as the smallest eigenvalue has been met.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from graphbp.training.newton import REPRESENTABLE, NewtonModel
from graphbp.training.objective import Objective, Point, Vector
from graphbp.training.tangent import norm

__all__ = ["krylov_model"]

LEAST_STEPS = 20
ENTRIES = 1 << 24
"""Numbers of Q that are held."""
EVERY = 10
"""Steps between two looks at what the model lacks; two in a row must agree."""

Matrix = npt.NDArray[np.float64]


def krylov_model(
    objective: Objective,
    point: Point,
    hidden: float,
    steps: int,
    enough: float,
    *,
    share: float = 0.1,
    along: Vector | None = None,
) -> NewtonModel | None:
    """The model at a point, by at most `steps` products with H (20 at the least); None where g or a product is of no use.

    `enough` is how much of the decrement may be missing; that `share` of it may always be.  A model that lacks more is not `whole`.
    With `along` the space is that of this direction, in units of D⁻¹, in place of ĝ: it shows where F curves downwards.
    """
    units, unseen = objective.units(point), objective.unseen(point)
    used, scale = (units > 0) & ~unseen, np.where(units > 0, units, 1.0)
    if along is not None:
        used, scale = ~unseen, np.where(units > 0, units, np.maximum(objective.sources(point)[0], REPRESENTABLE))
    g = np.where(used, point.gradient / scale if along is None else along, 0.0)
    length, w = norm(g), len(g)
    if not 0 < length < math.inf:
        return None
    most = min(w, max(8, min(max(steps, LEAST_STEPS), ENTRIES // w)))
    basis, diagonal, off = np.empty((most, w)), np.zeros(most), np.zeros(most)
    basis[0], model, agreed = g / length, None, 0
    for k in range(1, most + 1):
        q = np.where(used, objective.hessian_product(point, basis[k - 1] / scale) / scale, 0.0)
        diagonal[k - 1] = float(q @ basis[k - 1])
        for _ in range(2):  # orthogonal to all before it, not to the last two only
            q = q - basis[:k].T @ (basis[:k] @ q)
        off[k - 1] = norm(q)
        if not math.isfinite(diagonal[k - 1] + off[k - 1]):
            return None
        ended = bool(off[k - 1] <= w * objective.eps * float(np.abs(diagonal[:k]).max()))
        if ended or k == most or k % EVERY == 0:
            s, y = _eigen(diagonal[:k], off[: k - 1])
            if not s.any():
                return None
            floor = w * objective.eps * float(np.abs(s).max())
            model = NewtonModel(s, basis[:k].T @ y, scale, floor, hidden, unseen, cost=float(k))
            allowed = max(enough, share * model.decrement(point.gradient)) if along is None else -1.0
            agreed = agreed + 1 if _missing(s, y, off[k - 1], length, floor) <= allowed else 0
            if ended or agreed == 2:
                return model
        if k < most:
            basis[k] = q / off[k - 1]
    return None if model is None else replace(model, whole=False)


def _eigen(diagonal: Vector, off: Vector) -> tuple[Vector, Matrix]:
    s, y = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    return np.asarray(s), np.asarray(y)


def _missing(s: Vector, y: Matrix, beyond: float, length: float, floor: float) -> float:
    """½ ρ² / min |s|, ρ the residual of T's step: what the decrement may lack."""
    sound = np.abs(s) > floor
    if not sound.any():
        return math.inf
    residual = beyond * float(y[-1, sound] @ (y[0, sound] * length / s[sound]))
    return 0.5 * residual * residual / float(np.abs(s[sound]).min())
