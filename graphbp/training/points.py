"""Runs that go from point to point: what L-BFGS and Newton share around their steps.

A search has the point where the run stands; `next` moves to the next one, or ends the run and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from graphbp.threads import single_threaded_blas
from graphbp.training.loop import Run, diverged
from graphbp.training.objective import Objective, Point

__all__ = ["Search", "doubled", "first_point", "follow"]

SMALLEST = 1e-290
"""F below this has lost digits to underflow."""


class Search(Protocol):
    """Where a run stands, and how it goes on."""

    objective: Objective

    def next(self) -> Point | None:
        """The next point; None where the run has ended, and why is said."""

    def state(self) -> dict[str, Any]:
        """All that the next step depends on besides θ, as arrays that are never written to again."""

    def budget_used(self) -> str:
        """What to say where the epochs have run out."""


def follow(run: Run, begin: Callable[[], Search]) -> None:
    """Take the steps of a search until the run is done, or the search has ended it; an epoch is a step."""
    if run.settings.epochs == 0:
        return
    with single_threaded_blas():
        search = begin()
    while not run.done:
        with single_threaded_blas():
            point = search.next()
        if point is None:
            run.save()
            return
        if run.end_epoch(search.objective.backend_theta(point.theta), point.error, search.state()):
            break
    if not run.history.reason:
        run.history.reason = search.budget_used()


def first_point(run: Run, objective: Objective) -> Point:
    """The point where a run stands; a start where E or its gradient leaves float64 is refused."""
    point = objective(np.asarray(run.net.model.backend.to_numpy(run.now.theta), np.float64))
    first, training = run.now.epoch + 1, run.problem.training
    if not point.finite:
        what = "E or its gradient is not finite at the starting weights"
        raise diverged(run, first, what, "Start from smaller weights, or scale X and T", at=(run.now.theta, training))
    if abs(point.value) < SMALLEST and point.gradient.any() and not run.now.epoch:
        largest = float(np.abs(run.net.model.backend.to_numpy(training.t)).max())
        what = f"E = {point.value:.3g} is so small that its digits underflow (the largest target is {largest:.3g})"
        raise diverged(run, first, what, "Give T in larger units")
    return point


def doubled(epoch: int) -> bool:
    """0, 1, 2, 4, 8, ..."""
    return epoch & (epoch - 1) == 0
