"""A NumPy function as a CUDA expression: called once with a symbol in place of an array, it writes itself down.

>>> import numpy as np
>>> to_cuda(lambda a: np.exp(-a * a), "a")
'exp(((-a) * a))'

Every ufunc that the symbol meets becomes its CUDA form, comparisons become conditions, `np.where` a choice.  What has none, or asks
the symbol for a number (an `if`, an index), raises `NotSupportedError`: nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from graphbp.extend import NotSupportedError

__all__ = ["to_cuda"]

LONGEST = 1 << 15
"""Characters of an expression; a function that repeats its parts too often should be given by hand."""

_SAME_NAME = (
    "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt", "cbrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "floor",
    "ceil", "trunc", "rint",
)  # fmt: skip
_ARITHMETIC = {
    "add": "({} + {})", "subtract": "({} - {})", "multiply": "({} * {})", "divide": "({} / {})",
    "negative": "(-{})", "positive": "{}", "square": "square_of({})", "reciprocal": "(real(1) / {})",
    "maximum": "larger({}, {})", "minimum": "smaller({}, {})", "power": "pow({}, {})", "arctan2": "atan2({}, {})",
    "absolute": "fabs({})", "fabs": "fabs({})", "sign": "sign_of({})", "arctan": "atan({})", "arcsin": "asin({})",
    "arccos": "acos({})", "arcsinh": "asinh({})", "arccosh": "acosh({})", "arctanh": "atanh({})", "conjugate": "{}",
    "hypot": "hypot({}, {})", "copysign": "copysign({}, {})", "heaviside": "heaviside_of({}, {})",
    **{name: f"{name}({{}})" for name in _SAME_NAME},
    "erf": "erf({})", "erfc": "erfc({})", "expit": "sigmoid({})", "ndtr": "normal_cdf({})",
}  # fmt: skip
_CONDITIONS = {
    "less": "({} < {})", "less_equal": "({} <= {})", "greater": "({} > {})", "greater_equal": "({} >= {})",
    "equal": "({} == {})", "not_equal": "({} != {})", "isnan": "isnan({})", "isinf": "isinf({})", "isfinite": "isfinite({})",
}  # fmt: skip
_LOGIC = {
    "logical_and": "({} && {})", "bitwise_and": "({} && {})", "logical_or": "({} || {})", "bitwise_or": "({} || {})",
    "logical_not": "(!{})", "invert": "(!{})",
}  # fmt: skip


class _Symbol(NDArrayOperatorsMixin):
    """An expression: its CUDA text, and whether it is a condition."""

    shape: ClassVar[tuple[int, ...]] = ()
    ndim = 0
    dtype = np.dtype(np.float64)

    def __init__(self, text: str, condition: bool = False) -> None:
        if len(text) > LONGEST:
            raise NotSupportedError(f"its CUDA form would be longer than {LONGEST} characters")
        self.text = text
        self.condition = condition

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> _Symbol:
        name = ufunc.__name__
        if method != "__call__" or kwargs:
            raise NotSupportedError(f"numpy.{name}.{method} with {sorted(kwargs)} has no CUDA form here")
        if name == "power" and isinstance(inputs[1], int) and 0 < inputs[1] <= 8:
            return _Symbol("(" + " * ".join([_number(inputs[0])] * inputs[1]) + ")")
        if name in _ARITHMETIC:
            return _Symbol(_ARITHMETIC[name].format(*map(_number, inputs)))
        if name in _CONDITIONS:
            return _Symbol(_CONDITIONS[name].format(*map(_number, inputs)), condition=True)
        if name in _LOGIC:
            return _Symbol(_LOGIC[name].format(*map(_condition, inputs)), condition=True)
        raise NotSupportedError(f"numpy.{name} has no CUDA form here")

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if name == "iscomplexobj":  # what is for complex steps alone has no say here
            return False
        if name == "where" and len(args) == 3:
            return _Symbol(f"({_condition(args[0])} ? {_number(args[1])} : {_number(args[2])})")
        if name == "clip" and len(args) == 3 and not kwargs:
            return _Symbol(f"smaller(larger({_number(args[0])}, {_number(args[1])}), {_number(args[2])})")
        if name in ("real", "real_if_close", "asarray", "copy"):
            return self
        if name in ("zeros_like", "ones_like"):
            return _Symbol(f"real({int(name == 'ones_like')})")
        raise NotSupportedError(f"numpy.{name} has no CUDA form here")

    @property
    def real(self) -> _Symbol:
        return self

    def astype(self, *_: Any, **__: Any) -> _Symbol:
        """The same: a kernel computes in one type."""
        return _Symbol(_number(self))

    def copy(self) -> _Symbol:
        return self

    def _asks(self, *_: Any) -> Any:
        raise NotSupportedError(
            "it asks for the value of its argument (an if, a loop or an index); write it with ufuncs and np.where"
        )

    __bool__ = __float__ = __int__ = __iter__ = __len__ = __getitem__ = __setitem__ = __array__ = _asks


def _number(value: Any) -> str:
    if isinstance(value, _Symbol):
        return f"real({value.text})" if value.condition else value.text
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if not isinstance(value, int | float | np.number | np.bool_):
        raise NotSupportedError(f"it combines its argument with a {type(value).__name__}")
    number = float(value)
    if math.isnan(number):
        return "(real(0) / real(0))"
    if math.isinf(number):
        return f"(real({'-' if number < 0 else ''}1) / real(0))"
    return f"real({number.hex()})" if number != int(number) or abs(number) > 1e6 else f"real({int(number)})"


def _condition(value: Any) -> str:
    if isinstance(value, _Symbol):
        return value.text if value.condition else f"({value.text} != real(0))"
    return "true" if value else "false"


def to_cuda(function: Callable[..., Any], *names: str) -> str:
    """The CUDA expression of an elementwise NumPy function of arguments with these names.

    Raises
    ------
    NotSupportedError : it uses what has no CUDA form here; the message says what.
    """
    try:
        result = function(*(_Symbol(name) for name in names))
    except NotSupportedError:
        raise
    except Exception as problem:
        raise NotSupportedError(f"it fails on a symbol in place of an array: {problem}") from problem
    return _number(result)
