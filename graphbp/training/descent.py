"""Mini-batch descent: the update rules of SGD and Adam, and the loop over batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphbp.exceptions import ConfigError, shown
from graphbp.training.loop import Run, diverged
from graphbp.training.options import SGD, Adam, MiniBatch
from graphbp.training.part import Part

__all__ = ["descend", "starting_state"]

Array = Any


class _Momentum:
    """v ← μ v + g;  step η v, or η (g + μ v) with Nesterov's look-ahead (Bishop & Bishop, eqs. 7.31, 7.34)."""

    names = ("velocity",)

    def __init__(self, options: SGD) -> None:
        self._o = options

    def step(self, g: Array, state: dict[str, Array], count: int) -> Array:
        o, v = self._o, state["velocity"]
        v *= o.momentum
        v += g
        return o.learning_rate * (g + o.momentum * v) if o.nesterov else o.learning_rate * v


class _Moments:
    """Adam: η m̂ / (√v̂ + ε) (Bishop & Bishop, eqs. 7.42-7.46)."""

    names = ("first_moment", "second_moment")

    def __init__(self, options: Adam) -> None:
        self._o = options

    def step(self, g: Array, state: dict[str, Array], count: int) -> Array:
        o, m, v = self._o, state["first_moment"], state["second_moment"]
        m *= o.beta1
        m += (1 - o.beta1) * g
        v *= o.beta2
        v += (1 - o.beta2) * (g * g)
        m_hat = o.learning_rate / (1 - o.beta1**count)
        return m_hat * m / ((v / (1 - o.beta2**count)) ** 0.5 + o.epsilon)


def descend(run: Run, options: MiniBatch) -> None:
    """Run epochs of mini-batch steps until the run is done."""
    part = run.problem.training
    rule = _Moments(options) if isinstance(options, Adam) else _Momentum(options)  # type: ignore[arg-type]  # the two subclasses
    size = len(part) if options.batch_size is None else min(options.batch_size, len(part))
    steps = math.ceil(len(part) / size)
    theta = run.now.theta.copy()
    held = run.now.state
    state = {name: _to_backend(run, held[name]) if held else theta * 0 for name in rule.names}
    count = int(held["count"]) if "count" in held else run.now.epoch * steps  # an earlier version's checkpoint has none
    pulled = _to_backend(run, run.problem.penalised(options.penalize_biases))
    while not run.done:
        epoch = run.now.epoch + 1
        total = 0.0
        order = None if steps == 1 else np.random.default_rng([run.settings.seed, epoch]).permutation(len(part))
        for k in range(steps):
            batch = part if order is None else part.take(order[k * size : (k + 1) * size])
            value, g = _batch_gradient(run, part, batch, theta, options, epoch, k, steps)
            total += value
            if options.l2:
                g += options.l2 * (pulled * theta)
            if options.weight_decay:
                theta *= 1 - options.learning_rate * options.weight_decay * pulled
            count += 1
            theta -= rule.step(_clipped(g, options.clip_norm), state, count)
        kept = {name: array.copy() for name, array in state.items()}
        if run.end_epoch(theta, total / part.total, {**kept, "count": np.array(count)}):
            return


def starting_state(options: Any, w: int, given: Mapping[str, Any]) -> dict[str, Array]:
    """What an earlier run of the same optimizer remembered (`history.state`), checked.  Raises `ConfigError`."""
    if not isinstance(options, MiniBatch):
        raise ConfigError("state= is what sgd and adam go on from; the other optimizers begin afresh at the network's weights")
    names = (*(_Moments if isinstance(options, Adam) else _Momentum).names, "count")
    found = {name: np.asarray(array) for name, array in given.items()} if isinstance(given, Mapping) else {}
    wanted = {name: () if name == "count" else (w,) for name in names}
    if {name: array.shape for name, array in found.items()} != wanted:
        came = ", ".join(f"{name} {array.shape}" for name, array in found.items()) or shown(given)
        raise ConfigError(
            f"state holds {came}; give history.state of a run with the same optimizer on this network: "
            + ", ".join(f"{name} {shape}" for name, shape in wanted.items())
        )
    return found


def _to_backend(run: Run, array: Array) -> Array:
    return run.net.model.backend.asarray(array, run.net.dtype).copy()


def _batch_gradient(
    run: Run, part: Part, batch: Part, theta: Array, options: MiniBatch, epoch: int, k: int, steps: int
) -> tuple[float, Array]:
    """(Σ_n s_n E_n, ∇) of a batch, ∇ scaled so that its expectation over batches is the gradient of the mean error."""
    value, g = run.net.model.run.error_and_gradient(theta, batch.x, batch.t, batch.s)
    if not math.isfinite(value):
        raise diverged(run, epoch, f"E became {value} in batch {k + 1} of {steps}", _advice(options), at=(theta, batch))
    return value, g * (len(part) / (len(batch) * part.total))


def _clipped(g: Array, most: float | None) -> Array:
    """g, made `most` long where it is longer."""
    if most is not None:
        norm = math.sqrt((g * g).sum().item())  # no product of BLAS, whose bits depend on its threads
        if norm > most:
            g *= most / norm
    return g


def _advice(options: MiniBatch) -> str:
    clip = "" if options.clip_norm is not None else ", clip long gradients with clip_norm=1.0"
    return f"Lower learning_rate (now {options.learning_rate:g}; try {options.learning_rate / 10:g}){clip}, or scale the columns of X and T"
