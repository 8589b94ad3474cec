"""Levenberg-Marquardt: Gauss-Newton steps held inside a trust region that grows and shrinks with their success.

    p = argmin |r + J p|² subject to |D p| ≤ Δ;    gain ρ = (|r|² − |r(θ + p)|²) / (|r|² − |r + J p|²)

D holds the largest norm each column of J has had, so the method does not depend on the units of the parameters.  A step that lands
where r or J is not finite is a step without gain.

It ends where r is orthogonal to the tangent plane, measured in standard errors (the relative offset of Bates & Watts 1981):

    (|Qᵀr| / √W) / (|r| / √(N K − W)) ≤ tolerance

means that the parameters are within about `tolerance` standard errors of the minimum.  Where rounding hides the fall of |r|² before
that, Gauss-Newton steps go on for as long as the offset still falls.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from graphbp.exceptions import NotSupportedError
from graphbp.training.loop import Run, diverged
from graphbp.training.options import LevenbergMarquardt
from graphbp.training.tangent import Residuals, Tangent, Vector, tangent

__all__ = ["levenberg_marquardt", "relative_offset", "require_least_squares"]

UNRESOLVED = 1e-13
"""A fall of |r|² relatively below this is rounding."""


def require_least_squares(net: Any) -> None:
    """Refuse another error function; warn about float32."""
    if net.error_function.name != "sum_of_squares":
        raise NotSupportedError(
            f"levenberg_marquardt minimises a sum of squares; this network has error={net.error_function.name!r}. "
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
    residuals = Residuals(run.problem)
    theta = np.array(run.net._backend.to_numpy(run.now.theta), np.float64)
    r = residuals(theta)
    model = tangent(options.method, residuals, theta, r) if np.isfinite(r).all() else None
    if model is None:
        raise diverged(run, run.now.epoch + 1, "y or ∂y/∂θ is not finite at the starting weights", "Start from other weights")
    scale, radius = _state(run, model, theta, options)
    while not run.done:
        if _converged(run, residuals, model, r, options):
            return
        moved = _improve(run, residuals, model, theta, r, scale, radius, options.method)
        if moved is None:
            run.end("converged: rounding hides any further fall of the residuals")
            run.save()
            return
        theta, r, model, radius = moved
        if radius == 0:
            run.end("stalled: no step, however short, lowers the residuals")
            run.save()
            return
        dtype = run.net.dtype
        scale = np.maximum(scale, model.norms).astype(dtype)
        radius = float(np.asarray(radius, dtype))
        error = 0.5 * float(r @ r) / run.problem.training.total
        state = {"scale": scale, "radius": np.array([radius], dtype)}
        if run.end_epoch(run.net._backend.asarray(theta.astype(dtype), dtype), error, state):
            return
        scale = np.asarray(scale, np.float64)


def _state(run: Run, model: Tangent, theta: Vector, options: LevenbergMarquardt) -> tuple[Vector, float]:
    """D and Δ, of the snapshot or to begin with."""
    if run.now.state:
        held = {name: np.asarray(run.net._backend.to_numpy(a), np.float64) for name, a in run.now.state.items()}
        return held["scale"], float(held["radius"][0])
    scale = np.where(model.norms > 0, model.norms, 1.0)
    return scale, options.initial_radius * (float(np.linalg.norm(scale * theta)) or 1.0)


def relative_offset(model: Tangent, r: Vector, count: int) -> float:
    """(|Qᵀr| / √W) / (|r| / √(count − W)); without degrees of freedom, |Qᵀr| / |r|."""
    w, length = len(model.norms), float(np.linalg.norm(r))
    if length == 0:
        return 0.0
    return model.explained() / length * math.sqrt(max(count - w, 1) / w)


def _converged(run: Run, residuals: Residuals, model: Tangent, r: Vector, options: LevenbergMarquardt) -> bool:
    if float(np.linalg.norm(r)) <= residuals.rounding():
        run.end("converged: the residuals vanish within rounding")
    elif relative_offset(model, r, residuals.count) <= options.tolerance:
        run.end("converged: the residuals are orthogonal to the tangent plane")
    if run.finished:
        run.save()
    return run.finished


def _improve(
    run: Run, residuals: Residuals, model: Tangent, theta: Vector, r: Vector, scale: Vector, radius: float, method: str
) -> tuple[Vector, Vector, Tangent, float] | None:
    """The next θ, r, tangent and Δ; None where rounding hides any gain; Δ = 0 where steps shrink to nothing."""
    least = np.finfo(np.float64).eps * float(np.linalg.norm(scale * theta))
    damping = 0.0
    while True:
        step = model.step(scale, radius, damping)
        damping = step.damping
        new_theta = (theta + step.p).astype(run.net.dtype).astype(np.float64)
        new_r = residuals(new_theta)
        finite = bool(np.isfinite(new_r).all())
        if step.predicted <= UNRESOLVED * float(r @ r):
            return _polish(residuals, model, new_theta, r, new_r, radius, method) if finite else None
        gain = float((r - new_r) @ (r + new_r)) / step.predicted if finite else -math.inf
        new_model = tangent(method, residuals, new_theta, new_r) if gain > 1e-4 else None
        if new_model is None:
            gain = min(gain, 0.0)
        radius = _new_radius(radius, step.length, step.damping, gain)
        if new_model is not None:
            return new_theta, new_r, new_model, radius
        if radius <= least:
            return theta, r, model, 0.0


def _new_radius(radius: float, length: float, damping: float, gain: float) -> float:
    """Shrink after a poor step, grow after a good one."""
    if gain < 0.25:
        return (0.5 if gain > 0 else 0.25) * min(radius, length)
    if gain > 0.75 or damping == 0:
        return max(radius, 2 * length)
    return radius


def _polish(
    residuals: Residuals, model: Tangent, new_theta: Vector, r: Vector, new_r: Vector, radius: float, method: str
) -> tuple[Vector, Vector, Tangent, float] | None:
    """Take a step whose gain is rounding if the offset falls by a tenth or more."""
    new_model = tangent(method, residuals, new_theta, new_r)
    if new_model is None or relative_offset(new_model, new_r, residuals.count) > 0.9 * relative_offset(model, r, residuals.count):
        return None
    return new_theta, new_r, new_model, radius
