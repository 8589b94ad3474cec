"""Activations and errors in CUDA: f, f', f'' of `a` and e, ∂e/∂y, ∂²e/∂y² of `y` and `t`, beside each other.

The core's tables say which rows there are; this one says how CUDA writes the built-in ones, and `select` refuses by name what it
lacks.  The functions that the kernels call (`activation_f(kind, a)`, `error_dy(error, y, t)`, ...) are generated from it as one
`switch` each, and the numbers of the cases are positions in a `Selection`.  Constants come from the core's own functions.

A row registered by a user or a plugin has NumPy functions: `graphbp_cupy.tracing` writes them in CUDA, and where it cannot,
`register_cuda_activation` takes the CUDA form by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from graphbp.extend import LINEAR, Activation, ErrorFunction, NotSupportedError, get_activation, get_error_function, pair_of
from graphbp_cupy.tracing import to_cuda

__all__ = [
    "ACTIVATIONS",
    "BUILT_IN",
    "ERRORS",
    "Selection",
    "register_cuda_activation",
    "register_cuda_error_function",
    "select",
]


def _slope(name: str, a: float) -> str:
    """f'(a) of the core's row as a CUDA literal: where f is linear, that is its constant."""
    return f"real({float(get_activation(name).df(np.array(a))).hex()})"


_LEAK = _slope("leaky_relu", -1.0)
_SELU, _SELU_ALPHA = _slope("selu", 1.0), _slope("selu", 0.0)

ACTIVATIONS: dict[str, tuple[str, str, str]] = {
    "identity": ("a", "keep_nan(a, real(1))", "keep_nan(a, real(0))"),
    "tanh": ("tanh(a)", "dtanh(a)", "real(-2) * tanh(a) * dtanh(a)"),
    "sigmoid": ("sigmoid(a)", "dsigmoid(a)", "d2sigmoid(a)"),
    "relu": ("a > real(0) ? a : keep_nan(a, real(0))", "a > real(0) ? real(1) : keep_nan(a, real(0))", "keep_nan(a, real(0))"),
    "leaky_relu": (f"a > real(0) ? a : {_LEAK} * a", f"a > real(0) ? real(1) : keep_nan(a, {_LEAK})", "keep_nan(a, real(0))"),
    "elu": ("a > real(0) ? a : expm1(a)", "a > real(0) ? real(1) : exp(a)", "a > real(0) ? real(0) : exp(a)"),
    "selu": (
        f"a > real(0) ? {_SELU} * a : {_SELU_ALPHA} * expm1(a)",
        f"a > real(0) ? {_SELU} : {_SELU_ALPHA} * exp(a)",
        f"a > real(0) ? real(0) : {_SELU_ALPHA} * exp(a)",
    ),
    "gelu": (
        "times(a, normal_cdf(a))",
        "normal_cdf(a) + times(a, normal_pdf(a))",
        "times(real(2) - a * a, normal_pdf(a))",
    ),
    "silu": (
        "times(a, sigmoid(a))",
        "sigmoid(a) * (real(1) + times(a, sigmoid(-a)))",
        "real(2) * dsigmoid(a) + times(a, d2sigmoid(a))",
    ),
    "softplus": ("softplus(a)", "sigmoid(a)", "dsigmoid(a)"),
    "softsign": (
        "isinf(a) ? sign_of(a) : a / (real(1) + fabs(a))",
        "square_of(real(1) / (real(1) + fabs(a)))",
        "real(-2) * sign_of(a) * cube_of(real(1) / (real(1) + fabs(a)))",
    ),
    "exp": ("exp(a)", "exp(a)", "exp(a)"),
    "expm1": ("expm1(a)", "exp(a)", "exp(a)"),
    "log": ("log(a)", "real(1) / a", "-square_of(real(1) / a)"),
    "sin": ("sin(a)", "cos(a)", "-sin(a)"),
    "cos": ("cos(a)", "-sin(a)", "-cos(a)"),
    "arctan": (
        "atan(a)",
        "darctan(a)",
        "real(-2) * times(a, darctan(a)) * darctan(a)",
    ),
    "gaussian": (
        "exp_of_square(real(1), a)",
        "times(real(-2) * a, exp_of_square(real(1), a))",
        "times(real(4) * a * a - real(2), exp_of_square(real(1), a))",
    ),
    "reciprocal": ("real(1) / a", "-square_of(real(1) / a)", "real(2) * cube_of(real(1) / a)"),
    "square": ("a * a", "real(2) * a", "keep_nan(a, real(2))"),
    "sqrt": ("sqrt(a)", "real(0.5) / sqrt(a)", "real(-0.25) * cube_of(real(1) / sqrt(a))"),
    "rsqrt": ("real(1) / sqrt(a)", "real(-0.5) * cube_of(real(1) / sqrt(a))", "real(0.75) * cube_of(real(1) / sqrt(a)) / a"),
    "abs": ("fabs(a)", "sign_of(a)", "keep_nan(a, real(0))"),
    "step": ("a > real(0) ? real(1) : keep_nan(a, real(0))", "keep_nan(a, real(0))", "keep_nan(a, real(0))"),
    "softmax": ("a", "real(1)", "real(0)"),  # cuda/heads.cu replaces z, and holds its derivatives
}
"""name: (f, f', f'') as expressions of `real a`, from the helpers of cuda/formulas.cu."""

ERRORS: dict[str, tuple[str, str, str, str]] = {
    "sum_of_squares": (
        "real(0.5) * (y - t) * (y - t)",
        "y - t",
        "keep_nan(y - t, real(1))",
        "real(0.5) * (a - t) * (a - t)",
    ),
    "binary_cross_entropy": (
        "-xlogy(t, y) - (t == real(1) ? real(0) : (real(1) - t) * log1p(-y))",
        "ratio(real(1) - t, real(1) - y) - ratio(t, y)",
        "ratio2(t, y) + ratio2(real(1) - t, real(1) - y)",
        "log1p(exp(-fabs(a))) + (a > real(0) ? real(1) - t : t) * fabs(a)",
    ),
    "cross_entropy": ("-xlogy(t, y)", "-ratio(t, y)", "ratio2(t, y)", ""),
    "poisson": ("y - xlogy(t, y)", "real(1) - ratio(t, y)", "ratio2(t, y)", "exp(a) - t * a"),
}
"""name: (e, ∂e/∂y, ∂²e/∂y²) of `real y, t`, and e as a function of `a` and `t` for an elementwise canonical activation ("" : none)."""


def register_cuda_activation(name: str, f: str, df: str, d2f: str) -> None:
    """z = f(a), f' and f'' of a registered activation as CUDA expressions of `a` (of type `real`), such as "a * exp(-a)".

    Raises `NotSupportedError` for a name that the core's table lacks (register its NumPy functions first) or that is built in.

    >>> register_cuda_activation("tanh", "tanh(a)", "1 - tanh(a) * tanh(a)", "0")
    Traceback (most recent call last):
    graphbp.exceptions.NotSupportedError: activation 'tanh' is built in and has its CUDA form; give your own another name
    """
    if get_activation(name).builtin:
        raise NotSupportedError(f"activation {name!r} is built in and has its CUDA form; give your own another name")
    ACTIVATIONS[name] = (_expression(f, "a"), _expression(df, "a"), _expression(d2f, "a"))


def register_cuda_error_function(name: str, value: str, dy: str, d2y: str) -> None:
    """e(y, t), ∂e/∂y and ∂²e/∂y² of a registered error function as CUDA expressions of `y` and `t` (of type `real`)."""
    if get_error_function(name).builtin:
        raise NotSupportedError(f"error function {name!r} is built in and has its CUDA form; give your own another name")
    ERRORS[name] = (_expression(value, "y and t"), _expression(dy, "y and t"), _expression(d2y, "y and t"), "")


def _expression(text: str, of: str) -> str:
    if not isinstance(text, str) or not text.strip() or re.search(r'[;{}#"\\]|//', text):
        raise NotSupportedError(
            f"{text!r} is not a CUDA expression of {of}; write one, without ; or braces, such as 'real(2) * exp(-a)'"
        )
    return text


@dataclass(frozen=True)
class Selection:
    """The activations and errors of one module; their numbers in the generated code are their positions."""

    activations: tuple[str, ...] = tuple(ACTIVATIONS)
    errors: tuple[str, ...] = tuple(ERRORS)

    def source(self) -> str:
        """The rows as CUDA functions, one `switch` each."""
        nan = "real(0) / real(0)"
        parts = []
        for i, label in enumerate(("f", "df", "d2f")):
            cases = {name: ACTIVATIONS[name][i] for name in self.activations}
            parts.append(_switch(f"activation_{label}", "int kind, real a", "kind", cases, nan))
        for i, (label, argument) in enumerate((("value", "y"), ("dy", "y"), ("d2y", "y"), ("at_a", "a"))):
            cases = {name: ERRORS[name][i] for name in self.errors}
            parts.append(_switch(f"error_{label}", f"int error, real {argument}, real t", "error", cases, nan))
        return "\n".join([*parts, *self._pairs()])

    def _pairs(self) -> list[str]:
        """`has_pair(error, kind)`, and E, δ, R and Λ of a and t for those that have one: the core's own functions, written in CUDA."""
        places = [
            (e, name, k) for e, name in enumerate(self.errors) for k, unit in enumerate(self.activations) if _has_pair(name, unit)
        ]
        squares = self.errors.index("sum_of_squares") if "sum_of_squares" in self.errors else -1
        logs = {name: row.in_logs for name in self.errors if (row := _error(name)).in_logs is not None}
        numbers = {f"{self.errors.index(name)}": logs[name] for name in logs}
        parts = [
            f"__device__ __forceinline__ bool error_is_squares(int error) {{ return error == {squares}; }}\n",
            _numbered("has_pair", "int error, int kind", {f"{e * 4096 + k}": "real(1)" for e, _, k in places}, "real(0)"),
        ]
        for n, label in enumerate(("logs_alpha", "logs_beta")):
            cases = {number: f"real({values[n]})" for number, values in numbers.items() if values is not None}
            parts.append(_numbered(label, "int error", cases, "real(-1)", "error"))
        for label in ("value", "delta", "hessian", "outer"):
            cases = {f"{e * 4096 + k}": _pair(name, self.activations[k], label) for e, name, k in places}
            parts.append(_numbered(f"pair_{label}", "int error, int kind, real a, real t", cases, "real(0) / real(0)"))
        return parts


def _error(name: str) -> ErrorFunction:
    """A row of the table of errors, or that of the outputs themselves."""
    return LINEAR if name == LINEAR.name else get_error_function(name)


def _has_pair(error: str, activation: str) -> bool:
    return pair_of(_error(error), get_activation(activation)) is not None


@cache
def _pair(error: str, activation: str, label: str) -> str:
    try:
        return to_cuda(getattr(pair_of(_error(error), get_activation(activation)), label), "a", "t")
    except NotSupportedError as problem:
        raise NotSupportedError(
            f"backend 'cupy' cannot write the error {error!r} at {activation!r} in CUDA: {problem}. Register the activation without tails, "
            "or use another backend"
        ) from problem


def _numbered(name: str, parameters: str, cases: Mapping[str, str], otherwise: str, on: str = "error * 4096 + kind") -> str:
    body = "\n".join(f"        case {number}: return {cuda};" for number, cuda in cases.items())
    return (
        f"__device__ __forceinline__ real {name}({parameters}) {{\n    switch ({on}) {{\n{body}\n"
        f"        default: return {otherwise};\n    }}\n}}\n"
    )


BUILT_IN = Selection()
"""Every built-in row: the module that networks share unless they have registered rows."""


def select(activations: Iterable[Activation], error: ErrorFunction) -> Selection:
    """The built-in rows, and those of these that are not.  Raises `NotSupportedError` for a row that has no CUDA form, by name."""
    for row in activations:
        if row.name not in ACTIVATIONS:
            how = f"graphbp_cupy.register_cuda_activation({row.name!r}, f='...', df='...', d2f='...')"
            ACTIVATIONS[row.name] = _traced("activation", row.name, (row.f, row.df, row.d2f), ("a",), how)
    if error.name not in ERRORS:
        how = f"graphbp_cupy.register_cuda_error_function({error.name!r}, value='...', dy='...', d2y='...')"
        ERRORS[error.name] = (*_traced("error function", error.name, (error.value, error.dy, error.d2y), ("y", "t"), how), "")
    added = sorted({row.name for row in activations} - set(BUILT_IN.activations))
    more = () if error.name in BUILT_IN.errors else (error.name,)
    return Selection((*BUILT_IN.activations, *added), (*BUILT_IN.errors, *more))


def _traced(
    kind: str, name: str, functions: tuple[Callable[..., Any], ...], arguments: tuple[str, ...], how: str
) -> tuple[str, str, str]:
    try:
        f, df, d2f = (to_cuda(function, *arguments) for function in functions)
    except NotSupportedError as problem:
        raise NotSupportedError(
            f"backend 'cupy' cannot write the {kind} {name!r} in CUDA: {problem}. Give it by hand with {how}, or use another backend"
        ) from problem
    return f, df, d2f


def _switch(name: str, parameters: str, on: str, cases: Mapping[str, str], otherwise: str) -> str:
    lines = [f"        case {i}: return {cuda};  // {label}" for i, (label, cuda) in enumerate(cases.items()) if cuda]
    body = "\n".join(lines)
    return (
        f"__device__ __forceinline__ real {name}({parameters}) {{\n    switch ({on}) {{\n{body}\n"
        f"        default: return {otherwise};\n    }}\n}}\n"
    )
