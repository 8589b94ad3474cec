"""What each optimizer can be told: one frozen dataclass an optimizer, which is also the only list of names.

The objective of all five is the mean error with an optional penalty,

    F(θ) = Σ_n s_n E_n / Σ_n s_n + ½ l2 |θ|²,

so a learning rate means the same for any N and any batch size.  `l2` acts on every free parameter, biases too, unless
`penalize_biases=False` leaves those in peace (a parameter that a bias shares with a weight counts as a weight).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from graphbp.exceptions import ConfigError, DataError, UnknownNameError, one_of, shown, unknown_name
from graphbp.foreign import as_count, as_flag, as_number

__all__ = ["LBFGS", "OPTIMIZERS", "SGD", "Adam", "LevenbergMarquardt", "Newton", "Options", "read_options", "whole_number"]


def whole_number(name: str, value: Any, at_least: int) -> int:
    """`value` as an int.  Raises `ConfigError` for anything but a whole number of `at_least` or more."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        return as_count(name, number, at_least)
    except DataError as problem:
        raise ConfigError(f"{name}={shown(value)}; it must be a whole number, {at_least} or more") from problem


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all optimizers share.  `default_epochs` serves where `epochs` is not given."""

    default_epochs: ClassVar[int] = 100

    def _real(self, name: str, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
        value = getattr(self, name)
        try:
            number = as_number(name, value)
        except DataError:
            number = math.nan
        if not (low < number if open_low else low <= number) or not number < high:
            above = f"above {low:g}" if open_low else f"{low:g} or more"
            below = f" and below {high:g}" if high < math.inf else ""
            raise ConfigError(f"{name}={shown(value)}; it must be a number {above}{below}")
        object.__setattr__(self, name, number)

    def _flag(self, name: str) -> None:
        object.__setattr__(self, name, as_flag(name, getattr(self, name), ConfigError))

    def _whole(self, name: str, at_least: int) -> None:
        object.__setattr__(self, name, whole_number(name, getattr(self, name), at_least))


@dataclass(frozen=True, kw_only=True)
class MiniBatch(Options):
    """Options of the mini-batch optimizers.

    learning_rate : η.
    batch_size : samples a step; None takes all of them at once.
    l2 : the penalty ½ l2 |θ|² in F, so its gradient goes through the optimizer with the rest.
    weight_decay : decoupled: each step also takes η · weight_decay · θ away from θ, outside the optimizer's moments.
    clip_norm : scale a step's gradient down to this Euclidean norm where it is longer; None never.
    penalize_biases : `l2` and `weight_decay` act on biases too.
    """

    learning_rate: float = 0.01
    batch_size: int | None = 64
    l2: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    penalize_biases: bool = True

    def __post_init__(self) -> None:
        self._real("learning_rate", 0, open_low=True)
        if self.batch_size is not None:
            self._whole("batch_size", 1)
        self._real("l2", 0)
        self._real("weight_decay", 0)
        if self.clip_norm is not None:
            self._real("clip_norm", 0, open_low=True)
        self._flag("penalize_biases")


@dataclass(frozen=True, kw_only=True)
class SGD(MiniBatch):
    """v ← μ v + g, θ ← θ − η v; with `nesterov`, θ ← θ − η (g + μ v).  μ is `momentum`."""

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._real("momentum", 0, 1)
        self._flag("nesterov")


@dataclass(frozen=True, kw_only=True)
class Adam(MiniBatch):
    """m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², θ ← θ − η m̂ / (√v̂ + ε), m̂ and v̂ corrected for their start at 0."""

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._real("beta1", 0, 1)
        self._real("beta2", 0, 1)
        self._real("epsilon", 0, open_low=True)


@dataclass(frozen=True, kw_only=True)
class LBFGS(Options):
    """L-BFGS on the whole training set, with exact Newton steps where W ≤ 500; an epoch is an iteration.

    Both tolerances are relative, so units of X, T and θ change nothing.  Where a Hessian is affordable a Newton step has the last word.

    l2, penalize_biases : the penalty ½ l2 |θ|², of all parameters or of the weights alone.
    memory : pairs of steps and gradient changes kept.
    restart_every : iterations after which the memory is dropped; None never.
    tolerance : stop where F is expected to fall by less than this share of it (of its terms' sizes, where they may be negative).
    gradient_tolerance : stop where no |∂F/∂θ_i| exceeds this share of √(2 F d_i), d_i the outer-product Hessian's diagonal.
    """

    default_epochs: ClassVar[int] = 500
    l2: float = 0.0
    memory: int = 20
    restart_every: int | None = None
    tolerance: float = 1e-10
    gradient_tolerance: float = 1e-9
    penalize_biases: bool = True

    def __post_init__(self) -> None:
        self._real("l2", 0)
        self._flag("penalize_biases")
        self._whole("memory", 1)
        if self.restart_every is not None:
            self._whole("restart_every", 1)
        self._real("tolerance", 0)
        self._real("gradient_tolerance", 0)


@dataclass(frozen=True, kw_only=True)
class LevenbergMarquardt(Options):
    """Least squares, for error="sum_of_squares"; an epoch is an accepted step.

    tolerance : stop within about this many standard errors of the minimum (the relative offset of Bates & Watts).
    initial_radius : the first step is at most this many times |D θ|, D the columns' norms.
    method : "qr" (accurate to cond(J)), "cholesky" (of JᵀJ, faster for many parameters), or "auto": QR while W ≤ 500.
    """

    default_epochs: ClassVar[int] = 1000
    tolerance: float = 1e-10
    initial_radius: float = 1.0
    method: str = "auto"

    def __post_init__(self) -> None:
        self._real("tolerance", 0)
        self._real("initial_radius", 0, open_low=True)
        one_of("method of levenberg_marquardt", self.method, ["auto", "qr", "cholesky"])


@dataclass(frozen=True, kw_only=True)
class Newton(Options):
    """Damped Newton steps on the Hessian of F, whatever the error function; an epoch is a step.

    l2, penalize_biases : the penalty ½ l2 |θ|², of all parameters or of the weights alone.
    hessian : "exact", or "outer_product" (Fisher scoring: never negative, and the same for a canonical head on one layer).
    solver : "dense" (eigenvalues of the W × W matrix), "krylov" (products with it, no W × W), or "auto": dense while W ≤ 500.
    tolerance : stop within about this many standard errors of the minimum.
    """

    default_epochs: ClassVar[int] = 500
    l2: float = 0.0
    hessian: str = "exact"
    solver: str = "auto"
    tolerance: float = 1e-10
    penalize_biases: bool = True

    def __post_init__(self) -> None:
        self._real("l2", 0)
        self._flag("penalize_biases")
        one_of("hessian of newton", self.hessian, ["exact", "outer_product"])
        one_of("solver of newton", self.solver, ["auto", "dense", "krylov"])
        self._real("tolerance", 0)


OPTIMIZERS: Mapping[str, type[Options]] = {
    "adam": Adam,
    "lbfgs": LBFGS,
    "levenberg_marquardt": LevenbergMarquardt,
    "newton": Newton,
    "sgd": SGD,
}


def read_options(optimizer: str, given: Mapping[str, Any], common: set[str]) -> Options:
    """The checked options of an optimizer.  Raises `UnknownNameError` (near matches offered) and `ConfigError`."""
    if not isinstance(optimizer, str) or optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", optimizer, OPTIMIZERS)
    row = OPTIMIZERS[optimizer]
    known = {f.name for f in fields(row)}
    for name in given:
        if name not in known:
            raise _unknown_option(optimizer, name, known | common)
    return row(**given)


def _unknown_option(optimizer: str, name: str, known: set[str]) -> UnknownNameError:
    owners = [other for other, row in OPTIMIZERS.items() if name in {f.name for f in fields(row)}]
    hint = f"({name!r} is an option of {', '.join(owners)}.)" if owners else ""
    return unknown_name(f"{optimizer} option", name, known, hint)
