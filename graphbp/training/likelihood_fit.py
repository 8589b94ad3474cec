r"""The report of a Newton run: parameters with the standard errors that the Hessian gives them.

    cov(θ) = σ² H⁻¹,      H = ∂²E/∂θ∂θ of E = Σ_n s_n E_n,      σ² = 1, or 2 E / (N K − rank H) for a sum of squares

E of a classifier or of counts is minus a log likelihood, so H is the observed information (the expected one with the outer product), and
σ² = 1.  Where E does not change along some directions (one softmax output too many, columns that depend on each other), the parameters that
move along them have no value of their own: their standard errors are infinite, those of the others stand (Rothenberg 1971).

Where the Hessian is its outer product BᵀB, as with a canonical head on one layer, the singular values of B are used, which keep the digits that
BᵀB loses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.second_order.roots import RowStack
from graphbp.training.newton import NewtonModel, newton_model
from graphbp.training.newton_descent import is_dense, noise_variance
from graphbp.training.objective import Objective, Point
from graphbp.training.options import Newton
from graphbp.training.parameter_fit import ParameterFit, and_more
from graphbp.training.problem import Problem
from graphbp.training.separable import in_words, separable

__all__ = ["LikelihoodFit"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

SAME = 1e5 * float(np.finfo(np.float64).eps)
"""Of D_i D_j: H_ij and (BᵀB)_ij are one number, but for rounding (in float64)."""
MOVES = 1e-6
"""A parameter moves along the flat directions where this share of its unit vector lies in them."""


@dataclass
class LikelihoodFit(ParameterFit):
    """The history of a Newton run, and what it found; `print(fit)` is a table.

    Attributes
    ----------
    names : (W,) the edge or bias of each parameter; a tied one is named after the first edge that has it.
    parameters : (W,) θ; of a network with scaling, the weights and biases of the same function of raw x and y.
    standard_errors : (W,) √ of the diagonal of `covariance`; infinite for parameters that the data do not determine.
    covariance : (W, W) σ² H⁻¹, with the penalty in H where there is one; NaN in the rows of undetermined parameters.
    total_error : E = Σ_n s_n E_n, without the penalty: minus the log likelihood, but for what does not depend on θ.
    dispersion : σ²: 1, or the variance of a sum of squares' noise (of the scaled targets where they are scaled).
    rank : how many directions of θ the data determine.
    iterations : accepted steps.
    note : which standard errors are missing, and why, or "".
    unit : "" where `parameters` are `net.weights`; else what they are.

    A sample weight counts how often a sample was seen; under a sum of squares it is 1/variance of its noise, up to a factor.
    """

    total_error: float = math.nan
    dispersion: float = math.nan
    rank: int = 0
    _endless = False
    _basis = ""

    def _describe(self, problem: Problem, options: Newton) -> None:
        objective = Objective(problem, options.l2, exact=options.hessian == "exact")
        point, total = objective(self.parameters), problem.training.total
        self.total_error = point.error * total
        matrix = "Hessian" if objective.exact else "outer-product Hessian"
        self._basis = f"standard errors by the inverse {matrix} of E{' with its penalty' if options.l2 else ''}"
        slope = self._in_raw_units(problem.net)
        model = self._model(problem, objective, point, options)
        if model is None:
            return
        null = model.flat()
        self.rank = len(model.s) - null.shape[1]
        self.dispersion = noise_variance(problem, point.error, self.rank)
        if math.isnan(self.dispersion):
            self.note = f"no standard errors: {self.rank} parameters leave no degrees of freedom"
            return
        sound = model.s > model.floor
        half = model.v[:, sound] / np.sqrt(model.s[sound]) * math.sqrt(self.dispersion / total)
        into = np.diag(1 / model.scale) if slope is None else np.asarray(slope @ np.diag(1 / model.scale))
        self._take_half(into @ half)
        self._mark_undetermined(into @ null, np.linalg.norm(into, axis=1))

    def _model(self, problem: Problem, objective: Objective, point: Point, options: Newton) -> NewtonModel | None:
        """The curvature here with its flat directions, or None, with a note that says why it is of no use."""
        if not is_dense(options, objective):
            self.note = "no standard errors: they need the W × W Hessian, which solver='dense' takes whatever W is"
            return None
        model = newton_model(objective, point, 0.0)
        if model is None:
            self.note = "no standard errors: ∂²E/∂θ∂θ is not finite, or 0, or too small for its digits"
            return None
        if model.is_saddle:
            along = in_words(self.names, model.v[:, 0] / model.scale, model.scale)
            self.note = f"no standard errors: E curves downwards along {along}, so this is no minimum"
            return None
        model = _by_rows(problem, objective, point, model) or model
        if not options.l2 and (
            found := separable(problem, objective.backend_theta, point.theta, model.suspects(point.gradient, 4))
        ):
            self._endless = True
            return _flattened(model, found.direction)
        return model

    def _mark_undetermined(self, null: Matrix, unit: Vector) -> None:
        """Infinite standard errors where the flat directions move a parameter."""
        undetermined = np.linalg.norm(null, axis=1) > MOVES * unit
        if not undetermined.any():
            return
        self.standard_errors[undetermined] = math.inf
        self.covariance[undetermined], self.covariance[:, undetermined] = math.nan, math.nan
        names, count = and_more([self.names[i] for i in np.flatnonzero(undetermined)]), null.shape[1] - self._endless
        flat = f"in {count} directions" if count > 1 else ""
        if count == 1 and not self._endless:
            flat = f"along {in_words(self.names, null[:, 0], 1 / unit)}"
        why = [f"is flat {flat or 'in a direction'}"] if count else []
        why += ["falls for ever along a direction"] if self._endless else []
        self.note = f"the data do not determine {names}: E {' and '.join(why)}"

    def _numbers(self) -> dict[str, Any]:
        return {"total_error": self.total_error, "dispersion": self.dispersion, "rank": self.rank}

    def _summary(self) -> str:
        noise = "" if self.dispersion == 1 or math.isnan(self.dispersion) else f", variance of the noise {self.dispersion:.8g}"
        return f"E {self.total_error:.10g}{noise}; {self._basis}"


def _by_rows(problem: Problem, objective: Objective, point: Point, model: NewtonModel) -> NewtonModel | None:
    """The same by the singular values of B, where H = BᵀB + l2; None where it is not."""
    from graphbp.uncertainty.outputs import CurvesDownError, Outputs

    part, net = problem.weighed.training, problem.net
    if net.dtype != np.float64:
        return None
    stack = RowStack(len(model.s))
    try:
        for rows in Outputs(net).rows(part.x, part.t, part.s):
            stack.add(rows / model.scale / math.sqrt(part.total))
    except CurvesDownError:
        return None
    if objective.l2:
        stack.add(np.diag(math.sqrt(objective.l2) / model.scale))
    rows = np.where(model.unseen, 0.0, stack.rows)
    if not np.isfinite(rows).all() or np.abs(rows.T @ rows - (model.v * model.s) @ model.v.T).max() > SAME:
        return None
    _, s, vt = np.linalg.svd(np.linalg.qr(rows, mode="r") if len(rows) > len(model.s) else rows)
    squares = np.zeros(len(model.s))
    squares[: len(s)] = s * s
    return replace(model, s=squares[::-1], v=vt[::-1].T)


def _flattened(model: NewtonModel, direction: Vector) -> NewtonModel:
    """The model with this direction flat: where E falls for ever, what curvature is left along it means nothing."""
    u = model.scale * direction
    u = u / np.linalg.norm(u)
    a = (model.v * model.s) @ model.v.T
    across = np.eye(len(u)) - np.outer(u, u)
    s, v = np.linalg.eigh(across @ a @ across)
    return replace(model, s=s, v=v)
