r"""Newton steps: what the exact Hessian says about the minimum near θ, free of units.

    A = D⁻¹ H D⁻¹ = V diag(s) Vᵀ,  D = √|diag H|;      p = −D⁻¹ V (|s| + λ)⁻¹ Vᵀ D⁻¹ g

Directions with |s| below W · eps · max|s| are flat as far as rounding shows, and left alone.  |s| in place of s makes p go down from
saddles too.  ½ gᵀ|H|⁻¹g, the *decrement*, is how far the model's minimum lies below F: it is the one measure of distance from the
minimum that neither units nor ill-conditioned data distort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphbp.training.objective import Objective, Point, Vector

__all__ = ["NewtonModel", "newton_model"]

Matrix = npt.NDArray[np.float64]

DAMPINGS = (0.0, *(10.0**k for k in range(-6, 7)))
REPRESENTABLE = 1e-290
"""Second derivatives below this have lost digits to underflow."""


@dataclass(frozen=True)
class NewtonModel:
    """The eigenvalues s, their directions as columns of V, D, and which of them are not flat."""

    s: Vector
    v: Matrix
    scale: Vector
    sound: npt.NDArray[np.bool_]

    def _coordinates(self, gradient: Vector) -> Vector:
        return np.asarray(self.v.T @ (gradient / self.scale))

    def decrement(self, gradient: Vector) -> float:
        """½ gᵀ|H|⁻¹g over the directions that are not flat."""
        q = self._coordinates(gradient)[self.sound]
        return 0.5 * float(np.sum(q * q / np.abs(self.s[self.sound])))

    def step(self, gradient: Vector, damping: float = 0.0) -> Vector:
        """p (W,)."""
        q = np.where(self.sound, self._coordinates(gradient), 0.0)
        return np.asarray(-(self.v @ (q / (np.where(self.sound, np.abs(self.s), 1.0) + damping))) / self.scale)

    @property
    def is_saddle(self) -> bool:
        """F curves downwards in some direction."""
        return bool(self.s[0] < -1e-6 * max(self.s[-1], 0.0)) and bool(self.sound[0])

    def flat(self) -> Matrix:
        """(W, k): an orthonormal basis, in units of D⁻¹, of the directions in which F is flat."""
        return self.v[:, ~self.sound]


def newton_model(objective: Objective, point: Point) -> NewtonModel | None:
    """The model at a point; None where H is not finite, or too small for its digits."""
    h = objective.hessian(point)
    size = np.abs(h.diagonal())
    if not np.isfinite(h).all() or bool(((size > 0) & (size < REPRESENTABLE)).any()) or not h.any():
        return None
    scale = np.where(size > 0, np.sqrt(size), 1.0)
    a = h / scale / scale[:, None]
    s, v = np.linalg.eigh(a)
    sound = np.abs(s) > len(s) * objective.eps * np.abs(s).max()
    return NewtonModel(s, v, scale, sound)
