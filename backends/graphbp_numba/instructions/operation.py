"""`operation`: an instruction on rows that writes to memory and returns nothing, given as what it writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from numba import types

from graphbp_numba.instructions.shapes import Shape
from graphbp_numba.machine.jit import instruction

__all__ = ["operation"]


def operation(write: Callable[..., None]) -> Any:
    """The instruction (tag, *arguments), written by write(builder, shape, *arguments).

    Arguments are whole numbers (addresses, counts), numbers of the tag's dtype, or tuples, which come as they are.
    """

    @wraps(write)
    def definition(context: Any, tag: Any, *given: Any) -> Any:
        def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
            write(builder, Shape(ctx, tag), *arguments[1:])
            return ctx.get_dummy_value()

        return types.none(tag, *(_kind(each, tag) for each in given)), generate

    return instruction(definition)


def _kind(given: Any, tag: Any) -> Any:
    if isinstance(given, types.BaseTuple):
        return given
    return tag.dtype if isinstance(given, types.Float) else types.intp
