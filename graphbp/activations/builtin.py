"""The built-in activations: a row for each, with f, f' and f''."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphbp.activations.formulas import (
    LEAK,
    SELU_SA,
    SELU_SCALE,
    cube,
    d2sigmoid,
    darctan,
    exp_neg,
    expm1_neg,
    finite,
    gauss,
    normal_cdf,
    normal_pdf,
    not_elementwise,
    select,
    silu_d,
    silu_d2,
    softmax,
    times,
    zero,
)
from graphbp.activations.table import TABLE, Activation, Function
from graphbp.tails import (
    COSINE,
    EXP,
    EXPM1,
    GAUSSIAN,
    SIGMOID,
    SINE,
    SOFTPLUS,
    SOFTSIGN,
    SQUARE,
    TANH,
    dsigmoid,
    dtanh,
    elu_tails,
    sigmoid,
    softplus,
)

__all__ = ["SOFTMAX"]


def _row(name: str, formula: str, f: Function, df: Function, d2f: Function, **more: Any) -> Activation:
    return Activation(name, f, df, d2f, formula, builtin=True, **{"range": (-math.inf, math.inf), **more})


SOFTMAX = _row("softmax", "exp(a_k) / Σ_c exp(a_c)", softmax, not_elementwise, not_elementwise, elementwise=False, range=(0, 1))
_ROWS = [
    _row("identity", "a", lambda a: a + 0, lambda a: 1 + zero(a), zero),
    _row("tanh", "tanh(a)", np.tanh, dtanh, lambda a: -2 * np.tanh(a) * dtanh(a), range=(-1, 1), tails=TANH),
    _row("sigmoid", "1 / (1 + exp(-a))", sigmoid, dsigmoid, d2sigmoid, range=(0, 1), tails=SIGMOID),
    _row(
        "relu",
        "max(a, 0)",
        lambda a: select(a, lambda v: 0, lambda v: v),
        lambda a: select(a, lambda v: 0, lambda v: 1),
        zero,
        analytic=False,
        kinks=(0.0,),
        range=(0, math.inf),
    ),
    _row(
        "leaky_relu",
        "a if a > 0 else 0.01 a",
        lambda a: np.where(a > 0, a, a.dtype.type(LEAK) * a),
        lambda a: select(a, lambda v: LEAK, lambda v: 1),
        zero,
        analytic=False,
        kinks=(0.0,),
    ),
    _row(
        "elu",
        "a if a > 0 else exp(a) - 1",
        lambda a: np.where(a > 0, a, expm1_neg(a)),
        lambda a: np.where(a > 0, 1, exp_neg(a)) + zero(a),
        lambda a: np.where(a > 0, 0, exp_neg(a)) + zero(a),
        analytic=False,
        kinks=(0.0,),
        range=(-1, math.inf),
        tails=elu_tails(1.0, 1.0),
    ),
    _row(
        "selu",
        "1.0507 (a if a > 0 else 1.6733 (exp(a) - 1))",
        lambda a: np.where(a > 0, SELU_SCALE * a, SELU_SA * expm1_neg(a)),
        lambda a: np.where(a > 0, SELU_SCALE, SELU_SA * exp_neg(a)) + zero(a),
        lambda a: np.where(a > 0, 0, SELU_SA * exp_neg(a)) + zero(a),
        analytic=False,
        kinks=(0.0,),
        range=(-SELU_SA, math.inf),
        tails=elu_tails(SELU_SCALE, SELU_SA),
    ),
    _row(
        "gelu",
        "a Φ(a), Φ the standard normal distribution function",
        lambda a: times(a, normal_cdf(a)),
        lambda a: normal_cdf(a) + times(a, normal_pdf(a)),
        lambda a: times(2 - a * a, normal_pdf(a)),
        range=(-0.17, math.inf),
    ),
    _row("silu", "a / (1 + exp(-a))", lambda a: times(a, sigmoid(a)), silu_d, silu_d2, range=(-0.2785, math.inf)),
    _row("softplus", "log(1 + exp(a))", softplus, sigmoid, dsigmoid, range=(0, math.inf), tails=SOFTPLUS),
    _row(
        "softsign",
        "a / (1 + |a|)",
        lambda a: np.where(np.isinf(a), np.sign(a), finite(a) / (1 + np.abs(finite(a)))),
        lambda a: (1 / (1 + np.abs(a))) ** 2,
        lambda a: -2 * np.sign(a) * (1 / (1 + np.abs(a))) ** 3,
        analytic=False,
        kinks=(0.0,),
        range=(-1, 1),
        tails=SOFTSIGN,
    ),
    _row("exp", "exp(a)", np.exp, np.exp, np.exp, range=(0, math.inf), tails=EXP),
    _row("expm1", "exp(a) - 1", np.expm1, np.exp, np.exp, range=(-1, math.inf), tails=EXPM1),
    _row("log", "log(a), a > 0", np.log, lambda a: 1 / a, lambda a: -((1 / a) ** 2), lower=0.0),
    _row("sin", "sin(a)", np.sin, np.cos, lambda a: -np.sin(a), range=(-1, 1), tails=SINE),
    _row("cos", "cos(a)", np.cos, lambda a: -np.sin(a), lambda a: -np.cos(a), range=(-1, 1), tails=COSINE),
    _row(
        "arctan",
        "arctan(a)",
        np.arctan,
        darctan,
        lambda a: -2 * times(a, darctan(a)) * darctan(a),
        range=(-math.pi / 2, math.pi / 2),
    ),
    _row(
        "gaussian",
        "exp(-a²)",
        gauss,
        lambda a: times(-2 * a, gauss(a)),
        lambda a: times(4 * a * a - 2, gauss(a)),
        range=(0, 1),
        tails=GAUSSIAN,
    ),
    _row("reciprocal", "1 / a", lambda a: 1 / a, lambda a: -((1 / a) ** 2), lambda a: 2 * cube(1 / a), kinks=(0.0,)),
    _row("square", "a²", lambda a: a * a, lambda a: 2 * a, lambda a: 2 + zero(a), range=(0, math.inf), tails=SQUARE),
    _row(
        "sqrt",
        "√a, a > 0",
        np.sqrt,
        lambda a: 0.5 / np.sqrt(a),
        lambda a: -0.25 * (1 / np.sqrt(a)) ** 3,
        lower=0.0,
        range=(0, math.inf),
    ),
    _row(
        "rsqrt",
        "1 / √a, a > 0",
        lambda a: 1 / np.sqrt(a),
        lambda a: -0.5 * cube(1 / np.sqrt(a)),
        lambda a: 0.75 * cube(1 / np.sqrt(a)) / a,
        lower=0.0,
        range=(0, math.inf),
    ),
    _row("abs", "|a|", np.abs, np.sign, zero, analytic=False, kinks=(0.0,), range=(0, math.inf)),
    _row(
        "step",
        "1 if a > 0 else 0",
        lambda a: select(a, lambda v: 0, lambda v: 1),
        zero,
        zero,
        analytic=False,
        kinks=(0.0,),
        range=(0, 1),
    ),
    SOFTMAX,
]

TABLE.update((row.name, row) for row in _ROWS)
