"""neat-python's activations, with their slopes and clamps, exactly as it computes them.

A clamp makes a kink: f is constant beyond it and f' jumps to 0 there (at the kink itself, as everywhere in graphbp, f' is the value
from the left).  Inside, f' and f'' are the formulas'.  Each function is made of NumPy ufuncs only, so that a compiling backend can
take it as it stands; where an exponential appears, its argument is bounded by the clamp.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphbp.extend import Tails, get_activation, register_activation

__all__ = ["ACTIVATIONS", "register"]

Array = Any  # in and out: an array of pre-activations; the formulas need no more of it

ACTIVATIONS = {
    "abs": "abs",
    "clamped": "neat.clamped",
    "cube": "neat.cube",
    "elu": "elu",
    "exp": "neat.exp",
    "gauss": "neat.gauss",
    "hat": "neat.hat",
    "identity": "identity",
    "inv": "neat.inv",
    "lelu": "neat.lelu",
    "log": "neat.log",
    "relu": "relu",
    "selu": "selu",
    "sigmoid": "neat.sigmoid",
    "sin": "neat.sin",
    "softplus": "neat.softplus",
    "square": "square",
    "tanh": "neat.tanh",
}
"""neat-python's name → graphbp's."""


# 1 / (1 + e^(−s)), s = 5a within ±60


def _sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-np.minimum(np.maximum(5 * a, -60), 60)))


def _dsigmoid(a: Array) -> Array:
    inside = (a > -12) & (a <= 12)
    e = np.exp(-np.abs(np.minimum(np.maximum(5 * a, -60), 60)))
    return inside * (5 * e / np.square(1 + e))


def _d2sigmoid(a: Array) -> Array:
    inside = (a > -12) & (a <= 12)
    e = np.exp(-np.abs(np.minimum(np.maximum(5 * a, -60), 60)))
    return inside * np.sign(a) * (25 * e * (e - 1) / ((1 + e) * (1 + e) * (1 + e)))


# tanh(s), s = 2.5a within ±60


def _tanh(a: Array) -> Array:
    return np.tanh(np.minimum(np.maximum(2.5 * a, -60), 60))


def _dtanh(a: Array) -> Array:
    inside = (a > -24) & (a <= 24)
    e = np.exp(-2 * np.abs(np.minimum(np.maximum(2.5 * a, -60), 60)))
    return inside * (10 * e / np.square(1 + e))


def _d2tanh(a: Array) -> Array:
    inside = (a > -24) & (a <= 24)
    s = np.minimum(np.maximum(2.5 * a, -60), 60)
    e = np.exp(-2 * np.abs(s))
    return inside * (-50 * np.tanh(s) * e / np.square(1 + e))


# sin(s), s = 5a within ±60


def _sin(a: Array) -> Array:
    return np.sin(np.minimum(np.maximum(5 * a, -60), 60))


def _dsin(a: Array) -> Array:
    inside = (a > -12) & (a <= 12)
    return inside * (5 * np.cos(np.minimum(np.maximum(5 * a, -60), 60)))


def _d2sin(a: Array) -> Array:
    inside = (a > -12) & (a <= 12)
    return inside * (-25 * np.sin(np.minimum(np.maximum(5 * a, -60), 60)))


# exp(−5 s²), s = a within ±3.4


def _gauss(a: Array) -> Array:
    return np.exp(-5 * np.square(np.minimum(np.maximum(a, -3.4), 3.4)))


def _dgauss(a: Array) -> Array:
    inside = (a > -3.4) & (a <= 3.4)
    s = np.minimum(np.maximum(a, -3.4), 3.4)
    return inside * (-10 * s * np.exp(-5 * np.square(s)))


def _d2gauss(a: Array) -> Array:
    inside = (a > -3.4) & (a <= 3.4)
    s = np.minimum(np.maximum(a, -3.4), 3.4)
    return inside * ((100 * np.square(s) - 10) * np.exp(-5 * np.square(s)))


# 0.2 ln(1 + e^s), s = 5a within ±60


def _softplus(a: Array) -> Array:
    s = np.minimum(np.maximum(5 * a, -60), 60)
    return 0.2 * (np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))))


def _dsoftplus(a: Array) -> Array:
    inside = (a > -12) & (a <= 12)
    return inside * (1 / (1 + np.exp(-np.minimum(np.maximum(5 * a, -60), 60))))


# min(max(a, −1), 1)


def _clamped(a: Array) -> Array:
    return np.minimum(np.maximum(a, -1), 1)


def _dclamped(a: Array) -> Array:
    return ((a > -1) & (a <= 1)) * (0 * np.sign(a) + 1)


def _zero(a: Array) -> Array:
    return 0 * np.sign(a)


# a if a > 0 else 0.005 a


def _lelu(a: Array) -> Array:
    return np.maximum(a, 0) + 0.005 * np.minimum(a, 0)


def _dlelu(a: Array) -> Array:
    return (a > 0) * (0 * np.sign(a) + 0.995) + 0.005


# 1/a, and 0 at a = 0: adding 1 to a zero denominator, and taking the result away, needs no branch


def _inv(a: Array) -> Array:
    return (a != 0) / (a + (a == 0))


def _dinv(a: Array) -> Array:
    return -((a != 0) / (a + (a == 0))) / (a + (a == 0))


def _d2inv(a: Array) -> Array:
    return 2 * ((a != 0) / (a + (a == 0))) / (a + (a == 0)) / (a + (a == 0))


# ln(max(a, 1e-7))


def _log(a: Array) -> Array:
    return np.log(np.maximum(a, 1e-7))


def _dlog(a: Array) -> Array:
    return (a > 1e-7) / np.maximum(a, 1e-7)


def _d2log(a: Array) -> Array:
    return -((a > 1e-7) / np.maximum(a, 1e-7)) / np.maximum(a, 1e-7)


# exp(s), s = a within ±60


def _exp(a: Array) -> Array:
    return np.exp(np.minimum(np.maximum(a, -60), 60))


def _dexp(a: Array) -> Array:
    return ((a > -60) & (a <= 60)) * np.exp(np.minimum(np.maximum(a, -60), 60))


# max(0, 1 − |a|)


def _hat(a: Array) -> Array:
    return np.maximum(1 - np.abs(a), 0)


def _dhat(a: Array) -> Array:
    return ((a > -1) & (a <= 1)) * ((a == 0) - np.sign(a))


def _cube(a: Array) -> Array:
    return a * a * a


def _dcube(a: Array) -> Array:
    return 3 * a * a


def _d2cube(a: Array) -> Array:
    return 6 * a


# where y, rounded, no longer tells 1 − y or its logarithm


def _tails(name: str, slope: float, limit: float) -> Tails:
    """Of h(slope · a), a within ±limit, for a built-in h."""
    tails = get_activation(name).tails
    assert tails is not None
    return tails.scaled(slope, limit)


def _softplus_tails() -> Tails:
    """Of 0.2 softplus(5a)."""
    five = _tails("softplus", 5, 12)
    assert five.log is not None
    less, (log, dlog, d2log) = five.less, five.log
    shift = math.log(0.2)
    return Tails(lambda a, t: 0.2 * less(a, 0 * t) - t, _dsoftplus, _dsigmoid, (lambda a: log(a) + shift, dlog, d2log))


def _rest(a: Array) -> Array:
    return np.minimum(np.abs(a), 1)


_HAT = Tails(
    lambda a, t: np.where(np.abs(a) > 0.5, _hat(a) - t, (1 - t) - np.abs(a)),
    _dhat,
    _zero,
    log=(
        lambda a: np.log1p(-_rest(a)),
        lambda a: _dhat(a) / (1 - _rest(a)),
        lambda a: -np.square(_dhat(a) / (1 - _rest(a))),
    ),
    log1m=(lambda a: np.log(_rest(a)), lambda a: -_dhat(a) / _rest(a), lambda a: -np.square(_dhat(a) / _rest(a))),
)


def register() -> None:
    """Add neat-python's activations to the table; named by the entry point in `graphbp.activations`."""
    add = register_activation
    twelve: dict[str, Any] = {"kinks": (-12.0, 12.0)}
    sigmoid, tanh, sin = _tails("sigmoid", 5, 12), _tails("tanh", 2.5, 24), _tails("sin", 5, 12)
    gauss, exp = _tails("gaussian", math.sqrt(5), 3.4), _tails("exp", 1, 60)
    add("neat.sigmoid", _sigmoid, _dsigmoid, _d2sigmoid, formula="1 / (1 + exp(−5a)), |5a| ≤ 60", tails=sigmoid, **twelve)
    add("neat.tanh", _tanh, _dtanh, _d2tanh, formula="tanh(2.5a), |2.5a| ≤ 60", kinks=(-24.0, 24.0), tails=tanh)
    add("neat.sin", _sin, _dsin, _d2sin, formula="sin(5a), |5a| ≤ 60", tails=sin, **twelve)
    add("neat.gauss", _gauss, _dgauss, _d2gauss, formula="exp(−5a²), |a| ≤ 3.4", kinks=(-3.4, 3.4), tails=gauss)
    softplus = _softplus_tails()
    add("neat.softplus", _softplus, _dsoftplus, _dsigmoid, formula="0.2 ln(1 + exp(5a)), |5a| ≤ 60", tails=softplus, **twelve)
    add("neat.clamped", _clamped, _dclamped, _zero, formula="min(max(a, −1), 1)", kinks=(-1.0, 1.0))
    add("neat.lelu", _lelu, _dlelu, _zero, formula="a if a > 0 else 0.005 a", kinks=(0.0,))
    add("neat.inv", _inv, _dinv, _d2inv, formula="1 / a, 0 at a = 0", kinks=(0.0,))
    add("neat.log", _log, _dlog, _d2log, formula="ln(max(a, 1e-7))", kinks=(1e-7,))
    add("neat.exp", _exp, _dexp, _dexp, formula="exp(a), |a| ≤ 60", kinks=(-60.0, 60.0), tails=exp)
    add("neat.hat", _hat, _dhat, _zero, formula="max(0, 1 − |a|)", kinks=(-1.0, 0.0, 1.0), tails=_HAT)
    add("neat.cube", _cube, _dcube, _d2cube, formula="a³", analytic=True)
