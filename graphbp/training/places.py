r"""Where a run has stopped: places that look like a minimum to an optimizer and are none.

*A plateau*: a hidden unit whose activation is flat at every sample's a (a saturated sigmoid, a dead relu).  No derivative of E says
anything about its weights, though E may be lower elsewhere.  Flat is |a h'(a)| ≤ eps |z|: doubling a would change no bit of z.

*A saddle point*: the gradient vanishes and the exact Hessian has a negative eigenvalue (looked at where it is affordable).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphbp.training.least_squares_fit import parameter_names
from graphbp.training.loop import Run
from graphbp.training.newton import NewtonModel
from graphbp.training.objective import Objective, Vector
from graphbp.training.separable import in_words

__all__ = ["no_minimum"]

Array = npt.NDArray[np.float64]


def no_minimum(run: Run, objective: Objective, theta: Vector, model: NewtonModel | None) -> str:
    """Why θ, where no step leads on, is no minimum: "on a plateau: ...", "at a saddle point: ..."; "" where nothing speaks against it."""
    if flat := _flat_units(run, objective, theta):
        named = ", ".join(flat[:4]) + (f" and {len(flat) - 4} more" if len(flat) > 4 else "")
        return (
            f"on a plateau: every sample saturates {named}, so no derivative sees their weights; "
            "scale the columns of X (standardize=True), or start from smaller weights"
        )
    if model is not None and model.is_saddle:
        along = in_words(parameter_names(run.net), model.v[:, 0] / model.scale)
        return f"at a saddle point: the gradient vanishes, but E curves downwards along {along}; start from other weights"
    return ""


def _flat_units(run: Run, objective: Objective, theta: Vector) -> list[str]:
    """The hidden units that are flat at every sample, by name."""
    net, part = run.net, run.problem.training
    schedule = net.schedule
    if "trace" in net._run.composed:
        return []
    hidden = np.ones(schedule.n_rows, bool)
    hidden[: schedule.n_inputs] = False
    hidden[schedule.output_rows] = False
    felt, size, used = np.zeros(len(hidden)), np.zeros(len(hidden)), np.zeros(len(hidden), bool)
    step = max(1, (1 << 22) // max(1, schedule.n_rows))
    for start in range(0, len(part), step):
        some = part.take(slice(start, start + step))
        trace = net._run.trace(objective.backend_theta(theta), some.x, some.t, some.s)
        a, z = (np.asarray(net._backend.to_numpy(x), np.float64) for x in (trace.a, trace.z))
        felt = np.maximum(felt, _slopes(run, a, hidden).max(axis=1))
        size, used = np.maximum(size, np.abs(z).max(axis=1)), used | (a != 0).any(axis=1)
    flat = hidden & used & (felt <= objective.eps * size)
    return [schedule.describe_row(row) for row in np.flatnonzero(flat).tolist()]


def _slopes(run: Run, a: Array, hidden: npt.NDArray[np.bool_]) -> Array:
    """|a h'(a)|, row by row of the hidden units; where that is not a number, infinite."""
    schedule, out = run.net.schedule, np.zeros_like(a)
    for kind, activation in enumerate(schedule.activations):
        rows = hidden & (schedule.row_activation == kind)
        if rows.any() and activation.elementwise:
            out[rows] = np.abs(a[rows] * np.asarray(activation.df(a[rows])))
        elif rows.any():
            out[rows] = np.inf
    return np.where(np.isnan(out), np.inf, out)
