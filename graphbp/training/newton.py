r"""Newton steps: what the exact Hessian says about the minimum near θ, free of units.

    A = D⁻¹ H D⁻¹ = V diag(s) Vᵀ,  D = √|diag H|;      p = −D⁻¹ V (|s| + λ)⁻¹ Vᵀ D⁻¹ g,  λ ≥ 0 so that |D p| is within reach

Directions with |s| below W · eps · max|s| are flat as far as rounding shows, and left alone unless g goes down along them.  |s| in place
of s makes p go down from saddles too.  (D is more than that where the rows of A would not be of one size.)  ½ gᵀ|H|⁻¹g, the *decrement*,
is how far the model's minimum lies below F: it is the one measure of distance from the minimum that neither units nor ill-conditioned data
distort.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphbp.training.objective import Objective, Point, Vector
from graphbp.training.tangent import norm, secular

__all__ = ["NewtonModel", "lower", "newton_model"]

Matrix = npt.NDArray[np.float64]

REACH = 4.0
"""A step goes this many times |D θ| at most (anywhere from θ = 0): the model says little of weights of another size."""
SHARES = tuple(10.0**-k for k in range(13))
BALANCINGS = 20
"""Rounds that bring the rows of D⁻¹HD⁻¹ to one size (Ruiz 2001); a positive semidefinite H needs none."""
REPRESENTABLE = 1e-290
"""Second derivatives below this have lost digits to underflow."""


@dataclass(frozen=True)
class NewtonModel:
    """The eigenvalues s, their directions as columns of V, D, the least |s| that is no rounding, what rounding hides of F, the
    parameters that no derivative sees, and whether the directions are all that the gradient needs (`krylov` may have to stop before).
    """

    s: Vector
    v: Matrix
    scale: Vector
    floor: float
    hidden: float
    unseen: npt.NDArray[np.bool_]
    whole: bool = True
    cost: float = 0.0
    """What it took, in iterations of L-BFGS, where that is to be earned."""

    def _used(self, gradient: Vector) -> tuple[Vector, Vector, Matrix]:
        """(Vᵀ D⁻¹ g, |s|, V) of the directions that count: those that are not flat, or along which g promises a fall all the same."""
        q, size = self.v.T @ np.where(self.unseen, 0.0, gradient / self.scale), np.maximum(np.abs(self.s), self.floor)
        used = (size > self.floor) | (0.5 * q * q / size > self.hidden / len(q))
        return q[used], size[used], self.v[:, used]

    def decrement(self, gradient: Vector) -> float:
        """½ gᵀ|H|⁻¹g."""
        q, size, _ = self._used(gradient)
        return 0.5 * float(np.sum(q * q / size))

    def step(self, gradient: Vector, reach: float = math.inf) -> tuple[Vector, float, float]:
        """(p, |D p|, the fall that the model with |H| promises); p as long as `reach` (to a tenth) where it would be longer."""
        q, size, v = self._used(gradient)
        damping = secular(size, q, reach) if norm(q / size) > reach else 0.0
        taken = q / (size + damping)
        promised = 0.5 * float(np.sum(taken * taken * (size + 2 * damping)))
        return np.asarray(-(v @ taken) / self.scale), norm(taken), promised

    @property
    def is_saddle(self) -> bool:
        """F curves downwards in some direction."""
        return bool(self.s[0] < -1e-6 * max(self.s[-1], 0.0)) and bool(-self.s[0] > self.floor)

    def flat(self) -> Matrix:
        """(W, k): an orthonormal basis, in units of D⁻¹, of the directions in which F is flat."""
        return self.v[:, np.abs(self.s) <= self.floor]

    def suspects(self, gradient: Vector, count: int) -> list[Vector]:
        """The Newton step and some flat directions, in θ: where F may fall for ever."""
        return [self.step(gradient)[0], *(self.flat() / self.scale[:, None]).T[:count]]


def newton_model(objective: Objective, point: Point, hidden: float) -> NewtonModel | None:
    """The model at a point; None where H is not finite, or too small for its digits."""
    h, unseen = objective.hessian(point), objective.unseen(point)
    h[unseen], h[:, unseen] = 0.0, 0.0
    size = np.abs(h.diagonal())
    if not np.isfinite(h).all() or bool(((size > 0) & (size < REPRESENTABLE)).any()) or not h.any():
        return None
    scale = _scale(h, lambda: objective.sources(point))
    s, v = np.linalg.eigh(h / scale / scale[:, None])
    return NewtonModel(s, v, scale, len(s) * objective.eps * float(np.abs(s).max()), hidden, unseen)


def _scale(h: Matrix, sources: Callable[[], tuple[Vector, npt.NDArray[np.int64]]]) -> Vector:
    """D: √|h_ii|, or where an indefinite H couples a parameter more strongly than that, so much that no |H_ij| is far above D_i D_j.

    A parameter without curvature of its own may couple by rounding alone.  So parameters are then taken in units of what they multiply,
    and all that lead into one unit get the same share of D; `sources` gives both.
    """
    size = np.abs(h)
    diagonal = np.sqrt(size.diagonal())
    scale = np.where(diagonal > 0, diagonal, 1.0)
    if not _strong(size, scale, diagonal == 0).any():
        return scale
    unit, leads_to = sources()
    unit = np.where(unit > 0, unit, 1.0)
    free = size / unit / unit[:, None]
    diagonal = np.sqrt(free.diagonal())
    idle = diagonal == 0
    at_once = (free[:, ~idle] / diagonal[~idle]).max(axis=1, initial=0.0)
    scale = np.where(idle, np.where(at_once > 0, at_once, 1.0), diagonal)
    for _ in range(BALANCINGS):
        strong = _strong(free, scale, idle)
        if not strong.any():
            break
        scale[strong] *= np.sqrt((free / scale / scale[:, None]).max(axis=1)[strong])
    shared = np.zeros(int(leads_to.max()) + 1)
    np.maximum.at(shared, leads_to, np.where(idle & ~free.any(axis=1), 0.0, scale))
    return np.asarray(unit * np.where(shared > 0, shared, 1.0)[leads_to])


def _strong(size: Matrix, scale: Vector, idle: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The rows to balance: those with an entry far above 1, and those of parameters without curvature of their own."""
    top = (size / scale / scale[:, None]).max(axis=1)
    return np.asarray((top > 2) | (idle & (top > 0) & (abs(top - 1) > 0.1)))


def lower(objective: Objective, model: NewtonModel, start: Point, *, polish: bool) -> tuple[Point, bool] | None:
    """A point that Newton leads to from `start`, and whether the step did what was promised; None where none is lower.

    The first of ever shorter steps that lowers F by more than rounding hides; with `polish`, one that F cannot tell from
    `start` but the gradient can; on a saddle point, one along the direction that curves downwards most.
    """
    decrement, hidden, shrunk = model.decrement(start.gradient), model.hidden, False
    reach = REACH * norm(model.scale * start.theta) or math.inf
    while decrement > hidden:
        p, length, promised = model.step(start.gradient, reach)
        if promised <= hidden and shrunk:
            return None
        if promised <= hidden:
            reach *= 10  # it is the reach that makes the promise small, not rounding
            continue
        new = objective(start.theta + p)
        fallen = start.value - new.value if new.finite else -math.inf
        if fallen >= 1e-4 * promised and fallen > hidden:
            return new, fallen >= 0.25 * promised
        reach, shrunk = 0.25 * length, True
    if polish and decrement > 0:
        new = objective(start.theta + model.step(start.gradient)[0])
        if new.finite and new.value - start.value <= hidden and model.decrement(new.gradient) <= 0.25 * decrement:
            return new, True
    return _down_the_saddle(objective, model, start) if model.is_saddle else None


def _down_the_saddle(objective: Objective, model: NewtonModel, start: Point) -> tuple[Point, bool] | None:
    """Along ±v of the most negative eigenvalue, so far that the curvature promises a share of F."""
    v = model.v[:, 0] / model.scale
    v = -v if float(start.gradient @ v) > 0 else v
    for share in SHARES:
        length = math.sqrt(2 * share * objective.magnitude(start) / -float(model.s[0]))
        for way in (v, -v):
            new = objective(start.theta + length * way)
            if new.finite and start.value - new.value > max(model.hidden, 0.1 * share * objective.magnitude(start)):
                return new, False
    return None
