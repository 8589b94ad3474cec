"""Levenberg-Marquardt: Gauss-Newton steps held inside a trust region that grows and shrinks with their success.

    p = argmin |r + J p|² subject to |D p| ≤ Δ;    gain ρ = (|r|² − |r(θ + p)|²) / (|r|² − |r + J p|²)

D holds the largest norm each column of J has had, so the method does not depend on the units of the parameters.  A step that lands
where r or J is not finite is a step without gain.

It ends where r is orthogonal to the tangent plane, measured in standard errors (the relative offset of Bates & Watts 1981):

    (|Qᵀr| / √W) / (|r| / √(N K − W)) ≤ tolerance

means that the parameters are within about `tolerance` standard errors of the minimum.  Where rounding hides the fall of |r|² before
that, Gauss-Newton steps go on for as long as the offset still falls.  The tangent plane says nothing of units that every sample
saturates, nor of saddle points, so a place is asked for both (`places`) before it is called converged.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from graphbp.exceptions import NotSupportedError
from graphbp.threads import single_threaded_blas
from graphbp.training.loop import Run, diverged
from graphbp.training.newton import lower, newton_model
from graphbp.training.objective import Objective
from graphbp.training.options import LevenbergMarquardt
from graphbp.training.places import no_minimum
from graphbp.training.tangent import Residuals, Tangent, Vector, norm, safe, tangent

__all__ = ["levenberg_marquardt", "relative_offset", "require_least_squares"]

UNRESOLVED = 450.0
"""A fall of |r|² relatively below this many roundings is rounding."""
HIDDEN_OFFSET = 1e-6
"""Standard errors that a run may stop short of the minimum, where rounding lets no step be seen, and still be called converged."""


def require_least_squares(net: Any) -> None:
    """Refuse another error function; warn about float32."""
    if net.error_function.name != "sum_of_squares":
        other = [entry for entry in net.model.heads.entries if entry.error.name != "sum_of_squares"]
        where = f"output {other[0].name} has" if len(other) < len(net.model.heads.entries) else "this network has"
        raise NotSupportedError(
            f"levenberg_marquardt minimises a sum of squares; {where} error={other[0].error.name!r}. "
            "Build it with error='sum_of_squares', or use optimizer='lbfgs'"
        )
    if net.dtype != np.float64:
        warnings.warn(
            "levenberg_marquardt in float32: parameters and standard errors will have some three digits, fewer where J is "
            "ill-conditioned; net.to(dtype='float64') has all of them",
            UserWarning,
            stacklevel=3,
        )


def levenberg_marquardt(run: Run, options: LevenbergMarquardt) -> None:
    """Run accepted steps until the run is done or converged."""
    if not run.done:
        _steps(run, options)
    if not run.history.reason and run.settings.epochs:
        run.history.reason = f"all {run.settings.epochs} epochs done, not converged"


def _steps(run: Run, options: LevenbergMarquardt) -> None:
    with single_threaded_blas():
        search = _Search(run, options)
    while not run.done:
        with single_threaded_blas():
            moved = search.next()
        if not moved:
            run.save()
            return
        if run.end_epoch(*search.epoch()):
            return


class _Search:
    """Where a run stands: θ, r, the tangent there, D and Δ."""

    def __init__(self, run: Run, options: LevenbergMarquardt) -> None:
        self._run, self._o = run, options
        self._residuals = Residuals(run.problem)
        self._theta = np.array(run.net.model.backend.to_numpy(run.now.theta), np.float64)
        self._r = self._residuals(self._theta)
        self._unresolved = UNRESOLVED * float(np.finfo(run.net.dtype).eps)
        if not math.isfinite(self._error()):
            what = "y or E is not finite at the starting weights"
            at = run.now.theta, run.problem.training
            raise diverged(run, run.now.epoch + 1, what, "Start from other weights, or scale X and T", at=at)
        model = tangent(options.method, self._residuals, self._theta, self._r)
        if model is None:
            raise diverged(run, run.now.epoch + 1, "∂y/∂θ is not finite at the starting weights", "Start from other weights")
        self._model, self._scale = model, model.norms
        here = norm(self._scale * self._theta) or norm(self._r)
        self._radius = options.initial_radius * (here or 1.0)
        if run.now.state:
            self._scale, self._radius = run.now.state["scale"], float(run.now.state["radius"][0])

    def _error(self) -> float:
        """The mean error: ½ |r|² / Σ_n s_n, r in the units that it was divided by."""
        unit = self._residuals.unit
        return 0.5 * float(self._r @ self._r) * unit / self._run.problem.training.total * unit

    def epoch(self) -> tuple[Any, float, dict[str, Any]]:
        """What `Run.end_epoch` takes: θ, the mean error and the state."""
        dtype = self._run.net.dtype
        state = {"scale": self._scale, "radius": np.array([self._radius])}
        return self._run.net.model.backend.asarray(self._theta.astype(dtype), dtype), self._error(), state

    def next(self) -> bool:
        """Take a step; False where the run has ended, and why is said."""
        if self._vanishes():
            self._run.end("converged: the residuals vanish within rounding")
        elif relative_offset(self._model, self._r, self._residuals.count) <= self._o.tolerance:
            self._stop("converged: the residuals are orthogonal to the tangent plane")
        else:
            self._improve()
        return not self._run.finished

    def _vanishes(self) -> bool:
        length = float(np.linalg.norm(self._r))
        return length == 0 or length <= self._residuals.rounding(self._theta, self._r)

    def _stop(self, reason: str) -> None:
        """Go on by an exact Newton step, which also leaves saddle points, where one lowers E; else end the run and say what this place is."""
        objective = Objective(self._run.problem, 0.0)
        here = objective(self._theta)
        newton = newton_model(objective, here, objective.resolution(here)) if objective.has_hessian else None
        found = lower(objective, newton, here, polish=False) if newton is not None else None
        if found is not None and self._landed(found[0].theta):
            return
        place = no_minimum(self._run, objective, self._theta, newton)
        self._run.end(f"stopped {place}" if place else reason)

    def _landed(self, theta: Vector) -> bool:
        """Take a step that another model found, if it lowers |r|, and measure Δ afresh."""
        r = self._residuals(theta)
        gain = float((self._r - r) @ (self._r + r))
        model = tangent(self._o.method, self._residuals, theta, r) if gain > 0 else None
        if model is None:
            return False
        self._move(theta, r, model)
        self._radius = self._o.initial_radius * (norm(safe(self._scale) * theta) or norm(r))
        return True

    def _improve(self) -> None:
        """Find the next θ, r, tangent and Δ, or end the run where rounding hides any gain or steps shrink to nothing."""
        theta, r, scale = self._theta, self._r, safe(self._scale)
        least = np.finfo(np.float64).eps * norm(scale * theta)
        hidden, shrunk, damping = self._unresolved * float(r @ r), False, 0.0
        while True:
            step = self._model.step(scale, self._radius, damping)
            damping = step.damping
            if step.predicted <= hidden and damping and not shrunk:
                self._radius *= 10  # it is the radius that makes the gain small, not rounding
                continue
            new_theta = (theta + step.p).astype(self._run.net.dtype).astype(np.float64)
            new_r = self._residuals(new_theta)
            finite = bool(np.isfinite(new_r).all())
            if step.predicted <= hidden:
                if not (finite and self._polished(new_theta, new_r)):
                    self._unresolvable(shrunk)
                return
            gain = float((r - new_r) @ (r + new_r)) / step.predicted if finite else -math.inf
            new_model = tangent(self._o.method, self._residuals, new_theta, new_r) if gain > 1e-4 else None
            gain = min(gain, 0.0) if new_model is None else gain
            self._radius = _new_radius(self._radius, step.length, damping, gain)
            if new_model is not None:
                self._move(new_theta, new_r, new_model)
                return
            shrunk = True
            if self._radius <= least:
                self._unresolvable(shrunk)
                return

    def _move(self, theta: Vector, r: Vector, model: Tangent) -> None:
        self._theta, self._r, self._model = theta, r, model
        self._scale = np.maximum(self._scale, model.norms)

    def _polished(self, theta: Vector, r: Vector) -> bool:
        """Take a step whose gain is rounding if the offset falls by a tenth or more."""
        model, count = tangent(self._o.method, self._residuals, theta, r), self._residuals.count
        if model is None or relative_offset(model, r, count) > 0.9 * relative_offset(self._model, self._r, count):
            return False
        self._move(theta, r, model)
        return True

    def _unresolvable(self, shrunk: bool) -> None:
        """No step's gain can be seen.  After a Gauss-Newton step this is the minimum; after shorter and shorter ones it need not be."""
        offset = relative_offset(self._model, self._r, self._residuals.count)
        if not shrunk or offset <= HIDDEN_OFFSET:
            self._stop("converged: rounding hides any further fall of the residuals")
        else:
            self._stop(
                "stalled: no step, however short, lowers the residuals by more than rounding hides, though a step of about "
                f"{offset:.1g} standard errors is left"
            )


def relative_offset(model: Tangent, r: Vector, count: int) -> float:
    """(|Qᵀr| / √W) / (|r| / √(count − W)); without degrees of freedom, |Qᵀr| / |r|."""
    w, length = len(model.norms), float(np.linalg.norm(r))
    if length == 0:
        return 0.0
    return model.explained() / length * math.sqrt(max(count - w, 1) / w)


def _new_radius(radius: float, length: float, damping: float, gain: float) -> float:
    """Shrink after a poor step, grow after a good one."""
    if gain < 0.25:
        return (0.5 if gain > 0 else 0.25) * min(radius, length)
    if gain > 0.75 or damping == 0:
        return max(radius, 2 * length)
    return radius
