r"""Where a run has stopped: places that look like a minimum to an optimizer and are none.

*A plateau*: hidden units that are flat at every sample's a (`plateau`).  E may be lower elsewhere.

*A saddle point*: the gradient vanishes and the exact Hessian has a negative eigenvalue (looked at where it is affordable).
"""

from __future__ import annotations

from graphbp.training.loop import Run
from graphbp.training.newton import NewtonModel
from graphbp.training.objective import Objective, Vector
from graphbp.training.plateau import flat_units
from graphbp.training.separable import in_words

__all__ = ["no_minimum"]


def no_minimum(run: Run, objective: Objective, theta: Vector, model: NewtonModel | None) -> str:
    """Why θ, where no step leads on, is no minimum: "on a plateau: ...", "at a saddle point: ..."; "" where nothing speaks against it."""
    if flat := flat_units(run.problem, objective.backend_theta(theta)):
        named = ", ".join(flat[:4]) + (f" and {len(flat) - 4} more" if len(flat) > 4 else "")
        return (
            f"on a plateau: every sample saturates {named}, so no derivative sees their weights; "
            "scale the columns of X (standardize=True), or start from smaller weights"
        )
    if model is not None and model.is_saddle:
        along = in_words(run.net.model.parameter_labels(), model.v[:, 0] / model.scale)
        return f"at a saddle point: the gradient vanishes, but E curves downwards along {along}; start from other weights"
    return ""
