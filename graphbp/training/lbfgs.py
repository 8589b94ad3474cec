"""L-BFGS by SciPy's L-BFGS-B, in segments of a fixed number of iterations.

SciPy keeps its memory of steps to itself, so a run could not be resumed in the middle of one call.  Every `restart_every` iterations
the call is ended and a new one starts from the weights alone; checkpoints are written there only, and so a resumed run passes
through the same segments, to the same bits, as one that was never stopped (and as one without checkpoints).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.training.loop import Run, diverged
from graphbp.training.options import LBFGS

__all__ = ["lbfgs"]

Vector = npt.NDArray[np.float64]


def lbfgs(run: Run, options: LBFGS) -> None:
    """Run segments until the run is done or converged."""
    while not run.done:
        if _segment(run, options):
            return


def _segment(run: Run, options: LBFGS) -> bool:
    """Up to `restart_every` iterations; True where the run must stop."""
    from scipy import optimize

    objective = _Objective(run, options.l2)
    first = run.now.epoch
    stop = min(options.restart_every * (first // options.restart_every + 1), run.settings.epochs)
    must_stop = False

    def after_iteration(intermediate_result: Any) -> None:
        nonlocal must_stop
        theta = objective.to_backend(intermediate_result.x)
        error = float(intermediate_result.fun) - objective.penalty(np.asarray(intermediate_result.x))
        must_stop = run.end_epoch(theta, error, {}, save=(run.now.epoch + 1) % options.restart_every == 0)
        if must_stop or run.now.epoch >= stop:
            raise StopIteration

    start = np.asarray(run.net._backend.to_numpy(run.now.theta), np.float64)
    if not math.isfinite(objective(start)[0]):
        raise diverged(run, first + 1, "E is not finite at the starting weights", "Start from smaller weights, or scale X")
    limits = {"maxcor": options.memory, "ftol": options.tolerance, "gtol": options.gradient_tolerance}
    limits |= {"maxiter": options.restart_every + 1, "maxfun": 100 * options.restart_every}
    minimize: Any = optimize.minimize
    result = minimize(objective, start, jac=True, method="L-BFGS-B", callback=after_iteration, options=limits)
    if must_stop or run.now.epoch >= stop:
        return must_stop
    converged = bool(result.success)
    if not converged and run.now.epoch > first:
        return False  # the line search failed with an old memory: try again from here with a fresh one
    if not converged:
        why = f"no further progress: {result.message}"
    elif float(np.abs(result.jac).max()) <= options.gradient_tolerance:
        why = "converged: the gradient vanishes within gradient_tolerance"
    else:
        why = "converged: F falls by less than tolerance in an iteration"
    run.end(why)
    run.save()
    return True


class _Objective:
    """θ ↦ (F, ∇F) in float64, with a wall where F is not finite, so that the line search turns back."""

    def __init__(self, run: Run, l2: float) -> None:
        self._run, self._l2 = run, l2
        self._last: tuple[float, Vector] | None = None

    def to_backend(self, theta: npt.ArrayLike) -> Any:
        return self._run.net._backend.asarray(np.array(theta, self._run.net.dtype), self._run.net.dtype)

    def penalty(self, theta: Vector) -> float:
        return 0.5 * self._l2 * float(theta @ theta)

    def __call__(self, theta: Vector) -> tuple[float, Vector]:
        problem = self._run.problem
        error, gradient = problem.mean_error_and_gradient(self.to_backend(theta), problem.training)
        value = error + self.penalty(theta)
        g = np.asarray(self._run.net._backend.to_numpy(gradient), np.float64) + self._l2 * theta
        if self._last is not None and not (math.isfinite(value) and np.isfinite(g).all()):
            return self._last[0] + 1e6 * (1 + abs(self._last[0])), -self._last[1]
        self._last = value, g
        return value, g
