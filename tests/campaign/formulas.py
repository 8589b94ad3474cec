"""Activations and errors once more, in float64, written from their definitions and from nothing of graphbp's.

An activation is a function a ↦ (f, f', f'', s₁, s₂): values, first and second derivatives, and the sums of magnitudes that the usual
closed forms of f' and f'' add up (s = |f'| where nothing cancels).  Tails keep their relative accuracy: 1 − σ(a) is e/(1 + e), never a
difference from a rounded 1.  At a kink f' is the value that graphbp documents, the one from the left (abs and softsign: 0).

An error is a function (y, t) ↦ (e, e', e'', magnitude of e, of e', of e'') for outputs whose y is a rounded number;
`CANONICAL` has those that are a function of the logit a, (a, t) ↦ the same.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erfc, xlogy

__all__ = ["ACTIVATIONS", "CANONICAL", "CLAMPED", "DOMAIN", "ERRORS", "PIECEWISE", "activate"]


def _tail(s):
    """e^(−|s|) / (1 + e^(−|s|)) and its complement: the smaller and the larger of σ(s), 1 − σ(s)."""
    e = np.exp(-np.abs(s))
    return e / (1 + e), 1 / (1 + e)


def _sigmoid(a):
    small, large = _tail(a)
    f1 = small * large
    return np.where(a >= 0, large, small), f1, -f1 * np.tanh(a / 2)


def _tanh(a):
    e = np.exp(-2 * np.abs(a))
    f1 = 4 * e / (1 + e) ** 2
    return np.tanh(a), f1, -2 * np.tanh(a) * f1


def _pieces(a, right, left):
    """(f, f', f'') of the right piece where a > 0, of the left one elsewhere."""
    return tuple(np.where(a > 0, r, s) + 0 * a for r, s in zip(right, left, strict=True))


def _elu(a, scale=1.0, alpha=1.0):
    low = np.minimum(a, 0)
    return _pieces(
        a, (scale * a, scale, 0), (scale * alpha * np.expm1(low), scale * alpha * np.exp(low), scale * alpha * np.exp(low))
    )


def _gelu(a):
    cdf, pdf = 0.5 * erfc(-a / math.sqrt(2)), np.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    return a * cdf, cdf + a * pdf, (2 - a * a) * pdf, cdf + np.abs(a) * pdf, (2 + a * a) * pdf


def _silu(a):
    s, s1, _ = _sigmoid(a)
    t = a * np.tanh(a / 2)
    return a * s, s + a * s1, s1 * (2 - t), s + np.abs(a) * s1, s1 * (2 + t)


def _softplus(a):
    s, s1, _ = _sigmoid(a)
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))), s, s1


def _softsign(a):
    r = 1 / (1 + np.abs(a))
    return a * r, r * r, -2 * np.sign(a) * r**3


def _bell(a, c):
    """exp(−c a²)"""
    g = np.exp(-c * a * a)
    return g, -2 * c * a * g, (4 * c * c * a * a - 2 * c) * g, 2 * c * np.abs(a) * g, (4 * c * c * a * a + 2 * c) * g


def _wave(a, c, phase):
    """sin(c a + phase), the phase being 0 or a quarter turn"""
    sine, cosine = (np.sin(c * a), np.cos(c * a)) if phase == 0 else (np.cos(c * a), -np.sin(c * a))
    return sine, c * cosine, -c * c * sine


def _arctan(a):
    r = 1 / (1 + a * a)
    return np.arctan(a), r, -2 * a * r * r


def _clamp(inner, limit, scale=1.0):
    """inner(scale · a) with a held within ±limit; beyond it f' = f'' = 0, at +limit they are those from the left"""

    def clamped(a):
        held = np.clip(a, -limit, limit)
        inside = (a > -limit) & (a <= limit)
        f, f1, f2, *sums = inner(scale * held)
        s1, s2 = sums or (np.abs(f1), np.abs(f2))
        return f, inside * f1 * scale, inside * f2 * scale**2, inside * s1 * scale, inside * s2 * scale**2

    return clamped


def _neat_sigmoid(a):
    f, f1, f2 = _sigmoid(a)
    return f, f1, f2, f1, f1  # e − 1 is formed there: σ'' is right to the rounding of σ'


def _neat_log(a):
    inside = a > 1e-7
    r = inside / np.maximum(a, 1e-7)
    return np.log(np.maximum(a, 1e-7)), r, -r * r


def _hat(a):
    inside = (a > -1) & (a <= 1)
    return np.maximum(1 - np.abs(a), 0), inside * np.where(a > 0, -1.0, 1.0), 0 * a


def _inv(a):
    r = np.where(a == 0, 0, 1 / np.where(a == 0, 1, a))
    return r, -r * r, 2 * r**3


_S = 1.0507009873554804934193349852946
_A = 1.6732632423543772848170429916717

ACTIVATIONS = {
    "identity": lambda a: (a, 0 * a + 1, 0 * a),
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "relu": lambda a: _pieces(a, (a, 1, 0), (0, 0, 0)),
    "leaky_relu": lambda a: _pieces(a, (a, 1, 0), (0.01 * a, 0.01, 0)),
    "elu": _elu,
    "selu": lambda a: _elu(a, _S, _A),
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _softplus,
    "softsign": _softsign,
    "exp": lambda a: (np.exp(a),) * 3,
    "expm1": lambda a: (np.expm1(a), np.exp(a), np.exp(a)),
    "log": lambda a: (np.log(a), 1 / a, -1 / a**2),
    "sin": lambda a: _wave(a, 1, 0),
    "cos": lambda a: _wave(a, 1, 1),
    "arctan": _arctan,
    "gaussian": lambda a: _bell(a, 1.0),
    "reciprocal": lambda a: (1 / a, -1 / a**2, 2 / a**3),
    "square": lambda a: (a * a, 2 * a, 0 * a + 2),
    "sqrt": lambda a: (np.sqrt(a), 0.5 / np.sqrt(a), -0.25 * a**-1.5),
    "rsqrt": lambda a: (a**-0.5, -0.5 * a**-1.5, 0.75 * a**-2.5),
    "abs": lambda a: (np.abs(a), np.sign(a), 0 * a),
    "step": lambda a: _pieces(a, (1, 0, 0), (0, 0, 0)),
    "neat.sigmoid": _clamp(_neat_sigmoid, 12.0, 5.0),
    "neat.tanh": _clamp(_tanh, 24.0, 2.5),
    "neat.sin": _clamp(lambda a: _wave(a, 1, 0), 12.0, 5.0),
    "neat.gauss": _clamp(lambda a: _bell(a, 5.0), 3.4),
    "neat.softplus": _clamp(lambda a: tuple(0.2 * part for part in _softplus(a)), 12.0, 5.0),
    "neat.clamped": _clamp(lambda a: (a, 0 * a + 1, 0 * a), 1.0),
    "neat.lelu": lambda a: _pieces(a, (a, 1, 0), (0.005 * a, 0.005, 0)),
    "neat.inv": _inv,
    "neat.log": _neat_log,
    "neat.exp": _clamp(lambda a: (np.exp(a),) * 3, 60.0),
    "neat.hat": _hat,
    "neat.cube": lambda a: (a**3, 3 * a * a, 6 * a),
    "wann.sin_pi": lambda a: _wave(a, math.pi, 0),
    "wann.cos_pi": lambda a: _wave(a, math.pi, 1),
    "wann.gaussian": lambda a: _bell(np.clip(a, -64, 64), 0.5),
    "wann.negate": lambda a: (-a, 0 * a - 1, 0 * a),
}
"""Every elementwise activation, the plugins' too."""

PIECEWISE = {"identity", "relu", "leaky_relu", "abs", "step", "neat.clamped", "neat.lelu", "neat.hat", "wann.negate"}
"""Linear but for their kinks: an uncertain a does no harm unless a kink lies within it."""

CLAMPED = {name for name in ACTIVATIONS if name.startswith("neat.")} | {"wann.gaussian"}

DOMAIN = {"log", "sqrt", "rsqrt", "reciprocal", "neat.log", "neat.inv"}
"""Not defined, or steep without bound, where a is not well above 0."""


def activate(name, a):
    """(f, f', f'', s₁, s₂) at a; infinite and NaN where the function is."""
    with np.errstate(all="ignore"):
        f, f1, f2, *sums = ACTIVATIONS[name](a)
    return (f, f1, f2, *(sums or (np.abs(f1), np.abs(f2))))


def _sum_of_squares(y, t):
    r = y - t
    return r * r / 2, r, 0 * r + 1, r * r / 2, np.abs(r), 0 * r + 1


def _ratio(t, y):
    return np.where(t == 0, 0, t / np.where(t == 0, 1, y))


def _cross_entropy(y, t):
    e, r = -xlogy(t, y), _ratio(t, y)
    return e, -r, _ratio(r, y), np.abs(e), r, _ratio(r, y)


def _binary_cross_entropy(y, t):
    e, e1, e2, m, m1, m2 = _cross_entropy(y, t)
    no = -np.where(t == 1, 0, (1 - t) * np.log1p(-np.where(t == 1, 0, y)))
    r = _ratio(1 - t, 1 - y)
    return e + no, e1 + r, e2 + _ratio(r, 1 - y), m + np.abs(no), m1 + np.abs(r), m2 + np.abs(_ratio(r, 1 - y))


def _poisson(y, t):
    e, e1, e2, m, m1, m2 = _cross_entropy(y, t)
    return y + e, 1 + e1, e2, np.abs(y) + m, 1 + m1, m2


ERRORS = {
    "sum_of_squares": _sum_of_squares,
    "binary_cross_entropy": _binary_cross_entropy,
    "cross_entropy": _cross_entropy,
    "poisson": _poisson,
}


def _logistic(a, t):
    """−t ln σ(a) − (1 − t) ln σ(−a) and its derivatives by a, none of which forms 1 − σ"""
    y, d2, _ = _sigmoid(a)
    no = np.where(a >= 0, _tail(a)[0], _tail(a)[1])
    e = t * _softplus(-a)[0] + (1 - t) * _softplus(a)[0]
    return e, (1 - t) * y - t * no, d2, e, (1 - t) * y + t * no, d2


def _log_linear(a, t):
    y = np.exp(a)
    return y - t * a, y - t, y, y + np.abs(t * a), y + t, y


CANONICAL = {
    ("sum_of_squares", "identity"): _sum_of_squares,
    ("binary_cross_entropy", "sigmoid"): _logistic,
    ("poisson", "exp"): _log_linear,
}
"""(error, output activation) → e as a function of a.  Softmax with cross-entropy is in `reference`, since it couples units."""
