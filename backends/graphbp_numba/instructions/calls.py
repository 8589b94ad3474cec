"""Addresses, calls of C functions by address, and arrays that stand at an address."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from graphbp_numba.instructions.shapes import Shape, const
from graphbp_numba.machine.jit import instruction

__all__ = ["call", "call_binary", "call_real", "call_unary", "item_size", "pointer", "reals"]


def _integers(given: Any) -> Any:
    return types.UniTuple(types.intp, len(given))  # type: ignore[no-untyped-call]


def _call(builder: Any, result: Any, address: Any, arguments: list[Any]) -> Any:
    """Call the C function at an address."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.inttoptr(address, kind.as_pointer()), arguments)


@instruction
def call(context: Any, address: Any, integers: Any) -> Any:
    """Call the C function of so many integers at `address`."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        _call(builder, ir.VoidType(), arguments[0], cgutils.unpack_tuple(builder, arguments[1]))  # type: ignore[no-untyped-call]
        return ctx.get_dummy_value()

    return types.none(types.intp, _integers(integers)), generate


@instruction
def call_real(context: Any, address: Any, integers: Any, real: Any) -> Any:
    """Call the C function of so many integers and a float64 at `address`: a float64."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        given = cgutils.unpack_tuple(builder, arguments[1])  # type: ignore[no-untyped-call]
        return _call(builder, ir.DoubleType(), arguments[0], [*given, arguments[2]])

    return types.float64(types.intp, _integers(integers), types.float64), generate


@instruction
def call_unary(context: Any, address: Any, source: Any, target: Any, count: Any) -> Any:
    """Call the C function at `address`, an activation's: target[:count] = h(source[:count])."""
    return _calling(4)


@instruction
def call_binary(context: Any, address: Any, y: Any, t: Any, target: Any, count: Any) -> Any:
    """Call the C function at `address`, an error's: target[:count] = e(y[:count], t[:count])."""
    return _calling(5)


def _calling(integers: int) -> Any:
    """What an instruction is that takes so many integers, the first of them the address of a function of the others."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        _call(builder, ir.VoidType(), arguments[0], arguments[1:])
        return ctx.get_dummy_value()

    return types.none(*[types.intp] * integers), generate


@instruction
def pointer(context: Any, address: Any) -> Any:
    """An address as the pointer that `numba.carray` takes."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), generate


@instruction
def item_size(context: Any, tag: Any) -> Any:
    """Bytes of one number of the tag's dtype, a constant."""
    return types.intp(tag), lambda ctx, builder, _, arguments: const(Shape(ctx, tag).item)


@instruction
def reals(context: Any, tag: Any, address: Any) -> Any:
    """An address as a pointer to numbers of the tag's dtype, for `numba.carray`."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[1], ctx.get_value_type(tag.dtype).as_pointer())

    made: Any = types.CPointer(tag.dtype)  # type: ignore[no-untyped-call]
    return made(tag, types.intp), generate
