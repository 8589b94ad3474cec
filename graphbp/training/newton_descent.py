r"""Newton's method on any error: steps of the exact Hessian, or of the outer product, until rounding hides what is left.

    p = −D⁻¹ V (|s| + λ)⁻¹ Vᵀ D⁻¹ g,      D⁻¹ H D⁻¹ = V diag(s) Vᵀ,      λ ≥ 0 so that |D p| is within reach   (`newton`)

D, the root of the Hessian's diagonal, follows the units of the columns, and |s| in place of s leads down from saddle points.  Where F
does not fall as promised the reach is shrunk.  Each step begins with the whole reach again, so θ is all that a run remembers.  Where
W × W is too much, V spans the Krylov space of g (`krylov`): Newton-CG with all directions kept orthogonal.

How far the minimum is, is measured in standard errors, as Levenberg-Marquardt does it:

    √(2 Σ_n s_n ½ gᵀ|H|⁻¹g / W) / σ ≤ tolerance,      σ² = 2 E / (N K − W) for a sum of squares, 1 for minus a log likelihood

(N K without the targets that are missing)

and one more step is taken from there, which squares the distance.  A saddle point is never called a minimum: the exact Hessian is asked,
or where it is not had whole, the Krylov space of a random direction.  A minimum at infinity is looked for along the steps (`separable`).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from graphbp.exceptions import NotSupportedError
from graphbp.heads import head_groups
from graphbp.memory import check_memory
from graphbp.training.krylov import krylov_model
from graphbp.training.loop import Run, diverged
from graphbp.training.newton import NewtonModel, lower, newton_model
from graphbp.training.objective import Objective, Point
from graphbp.training.options import Newton
from graphbp.training.places import Ending
from graphbp.training.points import doubled, first_point, follow
from graphbp.training.problem import Problem

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["is_dense", "newton", "noise_variance", "require_curvature"]

PRODUCTS = 1000
"""Products with H that one step may take."""
PRODUCTS_AROUND = 100
"""Products that look for a direction in which F curves downwards."""
FORCING = 0.1
"""How much of the decrement a Krylov model may lack at the most; less as the minimum comes near."""
ENDLESS_AFTER = 8
"""Steps after which a minimum at infinity is looked for; a finite one is mostly reached before."""
HIDDEN = 1e-6
"""Standard errors that a run may stop short of the minimum, where rounding lets no step be seen, and still be called converged."""


def require_curvature(net: Network) -> None:
    """Refuse an error function without curvature; warn about float32."""
    y, t = (part.ravel() for part in np.meshgrid(np.linspace(0.13, 0.87, 6), np.linspace(0.21, 0.83, 4)))
    for head in head_groups(net.schedule, net.error_function):
        if not np.any(head.error.d2y(y, t)):
            raise NotSupportedError(
                f"newton needs the second derivative of the error, and ∂²e/∂y² of error={head.error.name!r} is 0 everywhere; use "
                "optimizer='adam' or 'lbfgs', or an error that bends, such as a softened |y − t|: √(1 + (y − t)²)"
            )
    if net.dtype != np.float64:
        warnings.warn(
            "newton in float32: parameters and standard errors will have some three digits, fewer where the Hessian is "
            "ill-conditioned; net.to(dtype='float64') has all of them",
            UserWarning,
            stacklevel=3,
        )


def noise_variance(problem: Problem, error: float, rank: int) -> float:
    """σ²: 2 E / (targets − rank) of a sum of squares with the given mean error, NaN without degrees of freedom; 1 of a log likelihood."""
    if not _is_least_squares(problem.net):
        return 1.0
    freedom = problem.training.n_targets - rank
    return 2 * error * problem.training.total / freedom if freedom > 0 else math.nan


def _is_least_squares(net: Network) -> bool:
    """E is a sum of squares at every output, so that its size says how large the noise is."""
    return all(head.error.name == "sum_of_squares" for head in head_groups(net.schedule, net.error_function))


def is_dense(options: Newton, objective: Objective) -> bool:
    """Steps, and the report, take the W × W Hessian."""
    return options.solver == "dense" or (options.solver == "auto" and objective.has_hessian)


def newton(run: Run, options: Newton) -> None:
    """Take steps until the run is done or converged.  Raises `MemoryLimitError` where a W × W that was asked for would not fit."""
    if options.solver == "dense":
        w = run.net.n_parameters
        check_memory(4 * 8 * w * w, f"newton with solver='dense' and {w} parameters", "solver='krylov'")
    follow(run, lambda: _Search(run, options))


class _Search:
    """The point where a run stands."""

    def __init__(self, run: Run, options: Newton) -> None:
        self._run, self._o = run, options
        self.objective = Objective(run.problem, options.l2, biases=options.penalize_biases, exact=options.hessian == "exact")
        self._dense = is_dense(options, self.objective)
        self._ending = Ending(run, self.objective)
        self._point = first_point(run, self.objective)
        self._distance, self._last = math.inf, False
        if run.now.state:
            self._distance, self._last = float(run.now.state["distance"][0]), bool(run.now.state["last"][0])

    def state(self) -> dict[str, Any]:
        """How far the minimum was before the last step, and whether that step was to be the last."""
        return {"distance": np.array([self._distance]), "last": np.array([self._last])}

    def budget_used(self) -> str:
        """What to say where the epochs have run out."""
        return self._ending.budget_used(self._point.theta)

    def next(self) -> Point | None:
        """The next point; None where the run has ended, and why is said."""
        point, hidden = self._point, self.objective.resolution(self._point)
        model = self._model(hidden)
        if model is None:
            return self._without_model()
        self._distance = self._standard_errors(model.decrement(point.gradient))
        if self._may_be_endless() and (why := self._ending.beyond(point, model.suspects(point.gradient, 0))):
            return self._end(why)
        near = self._distance <= self._o.tolerance and model.whole and not model.is_saddle
        found = None if near and self._last else lower(self.objective, model, point, polish=not model.is_saddle)
        if found is None:
            return self._settle(model, hidden)
        self._last = near
        return self._move(found[0])

    def _move(self, point: Point) -> Point:
        self._point = point
        return point

    def _end(self, reason: str) -> Point | None:
        """End the run: there is no next point."""
        self._run.end(reason)
        return None

    def _model(self, hidden: float) -> NewtonModel | None:
        if self._dense and (model := newton_model(self.objective, self._point, hidden)) is not None:
            return model  # else H leaves float64's range, where a product with it, in units of D, may not
        enough, share = self._decrement_at(self._o.tolerance), min(FORCING, self._distance)
        return krylov_model(self.objective, self._point, hidden, PRODUCTS, enough, share=share)

    def _standard_errors(self, decrement: float) -> float:
        """How far a minimum is that lies so far below F."""
        return math.sqrt(decrement / self._decrement_at(1.0)) if decrement else 0.0

    def _decrement_at(self, distance: float) -> float:
        """The decrement at so many standard errors from the minimum."""
        problem, w = self._run.problem, len(self._point.theta)
        variance = noise_variance(problem, self._point.error, w)
        variance = 2 * self._point.error if math.isnan(variance) else variance
        return max(0.5 * distance**2 * w * variance / problem.training.total, 5e-324)

    def _may_be_endless(self) -> bool:
        """One layer has one basin, so it can be told on the way there; with hidden units a lower E may lie elsewhere."""
        k, live = self._run.now.epoch, self._run.net.schedule.live
        one_layer = live.n_rows == live.n_inputs + live.n_outputs
        return 0 <= self._point.error <= self.objective.eps or (one_layer and k >= ENDLESS_AFTER and doubled(k))

    def _without_model(self) -> Point | None:
        """H says nothing: the gradient is 0, or H is not finite, or 0."""
        seen = ~self.objective.unseen(self._point)
        if not self._point.gradient[seen].any():
            exact = self._second_look(self.objective.resolution(self._point))
            return self._off_the_saddle(exact) or self._end(
                self._ending.place(self._point, exact) or "converged: the gradient is zero"
            )
        what = "∂²E/∂θ∂θ is not finite, or 0, and gives no Newton step"
        if not self._run.now.epoch:
            at = self._run.now.theta, self._run.problem.training
            raise diverged(self._run, 1, f"{what} from the starting weights", "Start from others, or use optimizer='lbfgs'", at=at)
        return self._end(self._ending.beyond(self._point, []) or self._ending.place(self._point, None) or f"stalled: {what} here")

    def _settle(self, model: NewtonModel, hidden: float) -> Point | None:
        """No step of the model leads on: leave a saddle point that the model does not see, or end the run and say what this place is."""
        exact = self._second_look(hidden)
        if (point := self._off_the_saddle(exact)) is not None:
            return point
        if not model.whole:
            return self._end(
                f"stopped: {PRODUCTS} products with the Hessian did not suffice to tell how far the minimum is; solver='dense' does"
            )
        if self._distance <= self._o.tolerance:
            why = "converged: the Newton step is within tolerance"
        elif self._distance <= HIDDEN or model.decrement(self._point.gradient) <= hidden:
            why = "converged: rounding hides any further fall of F"
        else:
            why = (
                "stalled: no step, however short, lowers F by more than rounding hides, though one of about "
                f"{self._distance:.1g} standard errors is left"
            )
        return self._end(self._ending.verdict(self._point, model if exact is None else replace(exact, hidden=hidden), why))

    def _off_the_saddle(self, exact: NewtonModel | None) -> Point | None:
        found = lower(self.objective, exact, self._point, polish=False) if exact is not None and exact.is_saddle else None
        if found is None:
            return None
        self._last = False
        return self._move(found[0])

    def _second_look(self, hidden: float) -> NewtonModel | None:
        """What may show a saddle point that the steps' own model does not: the exact H, or its products with other directions."""
        if self._dense and self.objective.exact:
            return None
        exact = Objective(self._run.problem, self._o.l2, biases=self._o.penalize_biases)
        if exact.has_hessian:
            return newton_model(exact, self._point, hidden)
        along = np.random.default_rng(0).standard_normal(len(self._point.theta))
        return krylov_model(exact, self._point, hidden, PRODUCTS_AROUND, 0.0, along=along)
