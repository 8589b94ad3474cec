r"""What a place is called where no step leads on: a minimum, or one of those that look like it to an optimizer.

*A plateau*: hidden units that are flat at every sample's a (`plateau`).  E may be lower elsewhere.

*A saddle point*: the gradient vanishes and the exact Hessian has a negative eigenvalue (looked at where it is affordable).

*On the way to infinity*: E falls for ever along a direction (`separable`).
"""

from __future__ import annotations

from collections.abc import Sequence

from graphbp.training.loop import Run
from graphbp.training.newton import NewtonModel
from graphbp.training.objective import Objective, Point, Vector
from graphbp.training.plateau import flat_units
from graphbp.training.separable import in_words, separable

__all__ = ["Ending", "no_minimum"]

FLAT_TRIED = 4


class Ending:
    """The words with which a run ends."""

    def __init__(self, run: Run, objective: Objective) -> None:
        self._run, self._objective = run, objective

    def endless(self, theta: Vector, directions: Sequence[Vector]) -> str:
        """Along which of θ and `directions` E falls for ever; "" where it is not seen to, and with a penalty."""
        if self._objective.l2:
            return ""
        found = separable(self._run.problem, self._objective.backend_theta, theta, directions)
        return "" if found is None else found.words

    def beyond(self, point: Point, directions: Sequence[Vector]) -> str:
        """The reason of a run that stops since E falls for ever; "" where it is not seen to."""
        found = self.endless(point.theta, directions)
        return f"stopped at F = {point.value:.6g}: {found}" if found else ""

    def place(self, point: Point, model: NewtonModel | None) -> str:
        """The reason of a run that stops on a plateau or at a saddle point; "" elsewhere."""
        found = no_minimum(self._run, self._objective, point.theta, model)
        return f"stopped {found}" if found else ""

    def verdict(self, point: Point, model: NewtonModel, reason: str) -> str:
        """`reason`, unless the model says that this is no minimum."""
        flat = model.flat()
        more = f"; F is flat in {flat.shape[1]} of {len(flat)} directions" if flat.shape[1] else ""
        return self.beyond(point, model.suspects(point.gradient, FLAT_TRIED)) or self.place(point, model) or f"{reason}{more}"

    def budget_used(self, theta: Vector) -> str:
        """What to say where the epochs have run out."""
        found = self.endless(theta, [])
        return f"all {self._run.settings.epochs} epochs done" + (f"; {found}" if found else ", not converged")


def no_minimum(run: Run, objective: Objective, theta: Vector, model: NewtonModel | None) -> str:
    """Why θ, where no step leads on, is no minimum: "on a plateau: ...", "at a saddle point: ..."; "" where nothing speaks against it."""
    if flat := flat_units(run.problem, objective.backend_theta(theta)):
        named = ", ".join(flat[:4]) + (f" and {len(flat) - 4} more" if len(flat) > 4 else "")
        return (
            f"on a plateau: every sample saturates {named}, so no derivative sees their weights; "
            "scale the columns of X (standardize=True), or start from smaller weights"
        )
    if model is not None and model.is_saddle:
        along = in_words(run.net.model.parameter_labels(), model.v[:, 0] / model.scale, model.scale)
        return f"at a saddle point: the gradient vanishes, but E curves downwards along {along}; start from other weights"
    return ""
