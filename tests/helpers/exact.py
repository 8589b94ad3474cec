"""Every built-in elementwise activation's f in mpmath, at any size of a."""

from __future__ import annotations

import mpmath

SCALE = mpmath.mpf(1.0507009873554804934193349852946)  # rounded to float64: the constants that selu has
SCALE_ALPHA = mpmath.mpf(1.0507009873554804934193349852946 * 1.6732632423543772848170429916717)

EXACT = {
    "identity": lambda a: a,
    "tanh": mpmath.tanh,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "relu": lambda a: max(a, mpmath.mpf(0)),
    "leaky_relu": lambda a: a if a > 0 else a / 100,
    "elu": lambda a: a if a > 0 else mpmath.expm1(a),
    "selu": lambda a: SCALE * a if a > 0 else SCALE_ALPHA * mpmath.expm1(a),
    "gelu": lambda a: a * mpmath.erfc(-a / mpmath.sqrt(2)) / 2 if abs(a) < 1000 else max(a, mpmath.mpf("-1e-400")),
    "silu": lambda a: a / (1 + mpmath.exp(-a)),
    "softplus": lambda a: mpmath.log1p(mpmath.exp(a)) if a < 60 else a + mpmath.exp(-a),
    "softsign": lambda a: a / (1 + abs(a)),
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "arctan": mpmath.atan,
    "gaussian": lambda a: mpmath.exp(-a * a),
    "reciprocal": lambda a: 1 / a,
    "square": lambda a: a * a,
    "sqrt": mpmath.sqrt,
    "rsqrt": lambda a: 1 / mpmath.sqrt(a),
    "abs": abs,
    "step": lambda a: mpmath.mpf(a > 0),
}
"""Branches are split at 0, so that the derivative of each side is exact."""
