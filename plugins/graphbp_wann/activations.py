"""The eleven activations of weight-agnostic networks, by number; four of them are not in graphbp's table and are added to it.

Each function is made of NumPy ufuncs only, so that a compiling backend can take it as it stands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Tails, get_activation, register_activation

__all__ = ["ACTIVATIONS", "register"]

Array = npt.NDArray[Any]

ACTIVATIONS = {
    1: "identity",
    2: "step",
    3: "wann.sin_pi",
    4: "wann.gaussian",
    5: "tanh",
    6: "sigmoid",  # written as (tanh(a/2) + 1)/2 there, which is the same function
    7: "wann.negate",
    8: "abs",
    9: "relu",
    10: "wann.cos_pi",
    11: "square",
}


def _sin_pi(a: Array) -> Array:
    return np.sin(np.pi * a)


def _dsin_pi(a: Array) -> Array:
    return np.pi * np.cos(np.pi * a)


def _d2sin_pi(a: Array) -> Array:
    return -(np.pi * np.pi) * np.sin(np.pi * a)


def _cos_pi(a: Array) -> Array:
    return np.cos(np.pi * a)


def _dcos_pi(a: Array) -> Array:
    return -np.pi * np.sin(np.pi * a)


def _d2cos_pi(a: Array) -> Array:
    return -(np.pi * np.pi) * np.cos(np.pi * a)


# exp(−a²/2) is 0 in float64 from |a| = 39 on; the bound keeps a² from overflowing, and ∞ · 0 from turning up in f' and f''.


def _gaussian(a: Array) -> Array:
    return np.exp(-0.5 * np.square(np.where(np.abs(np.real(a)) > 64, 64, a)))


def _dgaussian(a: Array) -> Array:
    return -np.where(np.abs(np.real(a)) > 64, 64, a) * np.exp(-0.5 * np.square(np.where(np.abs(np.real(a)) > 64, 64, a)))


def _d2gaussian(a: Array) -> Array:
    return (np.square(np.where(np.abs(np.real(a)) > 64, 64, a)) - 1) * np.exp(
        -0.5 * np.square(np.where(np.abs(np.real(a)) > 64, 64, a))
    )


def _negate(a: Array) -> Array:
    return -a


def _dnegate(a: Array) -> Array:
    return 0 * np.sign(a) - 1  # −1 at ±∞ too


def _d2negate(a: Array) -> Array:
    return 0 * np.sign(a)


def _tails(name: str, slope: float) -> Tails:
    """Of h(slope · a) for a built-in h: where y, rounded, no longer tells 1 − y or a logarithm."""
    tails = get_activation(name).tails
    assert tails is not None
    return tails.scaled(slope)


def register() -> None:
    """Add the four to the table; named by the entry point in `graphbp.activations`."""
    more: dict[str, Any] = {"analytic": True}
    register_activation("wann.sin_pi", _sin_pi, _dsin_pi, _d2sin_pi, formula="sin(πa)", tails=_tails("sin", math.pi), **more)
    register_activation("wann.cos_pi", _cos_pi, _dcos_pi, _d2cos_pi, formula="cos(πa)", tails=_tails("cos", math.pi), **more)
    bell = _tails("gaussian", math.sqrt(0.5))
    register_activation("wann.gaussian", _gaussian, _dgaussian, _d2gaussian, formula="exp(−a²/2)", tails=bell, **more)
    register_activation("wann.negate", _negate, _dnegate, _d2negate, formula="−a", **more)
