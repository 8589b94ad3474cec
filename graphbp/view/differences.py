"""Numerical differentiation beside a weight: E_n(θ_p + ε) and E_n(θ_p − ε) for some ε, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.heads import head_groups
from graphbp.view.limits import DIFFERENCE_COST, DIFFERENCE_NUMBERS, LEVEL_COST
from graphbp.view.sweeps import engine_arrays, entry_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphbp.network import Network
    from graphbp.view.sweeps import Samples

__all__ = ["STEPS", "Differences", "differences_of"]

Array = npt.NDArray[Any]
STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
"""ε from where the curve of E is seen to bend to where the rounding of E shows."""


@dataclass(frozen=True)
class Differences:
    """steps (S,); plus, minus (N, W, S): E_n with one parameter moved by ±ε."""

    steps: Array
    plus: Array
    minus: Array


def differences_of(net: Network, samples: Samples) -> tuple[Differences | None, list[str]]:
    """The errors at moved weights, or what was left out and why."""
    n, w, schedule = len(samples.X), net.n_parameters, net.schedule
    sweep = LEVEL_COST * schedule.depth + schedule.n_rows
    for steps in (STEPS, STEPS[1::2], STEPS[3:4]):
        moves = 2 * w * len(steps)
        if moves * n <= DIFFERENCE_NUMBERS and moves * sweep <= DIFFERENCE_COST:
            few = f"weights are moved by {len(steps)} of {len(STEPS)} ε: there are {w:,} of them, and {n} samples"
            return _moved(net, samples, np.array(steps)), [] if steps == STEPS else [few]
    return None, [f"numerical differentiation is left out: {w:,} weights and {n} samples take too many sweeps (net.check does it)"]


def _moved(net: Network, samples: Samples, steps: Array) -> Differences:
    error = _error_of(net, samples)
    theta = np.array(net.weights, np.float64)
    plus, minus = (np.empty((len(samples.X), len(theta), len(steps))) for _ in range(2))
    for p in range(len(theta)):
        for k, step in enumerate(steps.tolist()):
            for out, sign in ((plus, 1), (minus, -1)):
                moved = theta.copy()
                moved[p] += sign * step
                out[:, p, k] = error(moved)
    return Differences(steps, plus, minus)


def _error_of(net: Network, samples: Samples) -> Callable[[Array], Array]:
    """θ ↦ E_n (N,), by the definition in float64."""
    double = net.to(backend="numpy", dtype="float64")
    x, t, s = engine_arrays(double, samples)
    schedule = double.model.schedule.live
    heads = head_groups(schedule, double.model.error)

    def error(theta: Array) -> Array:
        traced = double.model.run.trace(theta, x, t, s)
        a, y = traced.a[schedule.output_rows], traced.z[schedule.output_rows]
        with np.errstate(all="ignore"):
            return np.asarray(entry_errors(heads, a, y, t.T, None if s is None else s.T).sum(axis=0))

    return error
