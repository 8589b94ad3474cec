"""Initial weights: the standard deviation that the fan-in and the fan-out of an edge set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphbp.exceptions import DataError, shown, unknown_name
from graphbp.foreign import as_number

__all__ = ["Init", "deviation"]

Init = str | float
_INIT: dict[str, Callable[[Any, Any], Any]] = {
    "glorot": lambda fan_in, fan_out: np.sqrt(2.0 / (fan_in + fan_out)),
    "he": lambda fan_in, fan_out: np.sqrt(2.0 / fan_in),
    "lecun": lambda fan_in, fan_out: np.sqrt(1.0 / fan_in),
}


def deviation(init: Init, fan_in: Any, fan_out: Any) -> Any:
    """The standard deviation of an initial weight."""
    if isinstance(init, str):
        if init not in _INIT:
            raise unknown_name("init", init, _INIT, "A number is the standard deviation itself.")
        return _INIT[init](fan_in, fan_out)
    try:
        return as_number("init", init, least=0) + 0.0 * (fan_in + fan_out)
    except DataError as problem:
        raise DataError(f"init={shown(init)}; it must be one of {', '.join(_INIT)}, or a standard deviation ≥ 0") from problem
