"""Whole rows: copied, cleared, added, multiplied; and the bits of several joined, to see whether any of them is not 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from graphbp_numba.instructions.shapes import Shape, const, loop
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import instruction

__all__ = ["BUNDLE", "add_rows", "copy_rows", "fill_rows", "join_bits", "multiply_add_rows", "multiply_rows"]


BUNDLE = 4
"""Rows that `gather_bundle` computes at once: with four vectors a row, 16 accumulators and 4 values stay in registers."""


def _on_rows(formula: Callable[..., Any], n_sources: int) -> Callable[[Any, Any, Any], Any]:
    """What `intrinsic` needs for: target[k] = formula(source_1[k], ..., source_n[k]) over `count` rows of vectors."""

    def definition(ctx: Any, builder: Any, tag: Any, target: Any, count: Any, sources: list[Any]) -> Any:
        shape = Shape(ctx, tag)

        def step(i: Any, _: list[Any]) -> list[Any]:
            offset = builder.mul(i, const(VECTOR_BYTES))
            values = [shape.load(builder, builder.add(source, offset)) for source in sources]
            shape.store(builder, formula(shape, builder, *values), builder.add(target, offset))
            return []

        loop(builder, const(0), builder.mul(count, const(shape.count)), 1, [], step)
        return ctx.get_dummy_value()

    return definition  # type: ignore[return-value]


@instruction
def multiply_rows(context: Any, tag: Any, target: Any, x: Any, y: Any, count: Any) -> Any:
    """target = x · y, `count` rows."""
    body: Any = _on_rows(lambda s, b, u, v: b.fmul(u, v), 2)
    i = types.intp
    return types.none(tag, i, i, i, i), lambda ctx, b, _, a: body(ctx, b, tag, a[1], a[4], [a[2], a[3]])


@instruction
def add_rows(context: Any, tag: Any, target: Any, x: Any, y: Any, count: Any) -> Any:
    """target = x + y, `count` rows."""
    body: Any = _on_rows(lambda s, b, u, v: b.fadd(u, v), 2)
    i = types.intp
    return types.none(tag, i, i, i, i), lambda ctx, b, _, a: body(ctx, b, tag, a[1], a[4], [a[2], a[3]])


@instruction
def join_bits(context: Any, tag: Any, target: Any, x: Any, count: Any) -> Any:
    """target |= the bits of each of `count` rows x: a lane of the one row `target` stays 0 where all of them are 0."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, target, x, count = arguments
        bits = ir.VectorType(ir.IntType(8 * shape.item), shape.width)

        def step(i: Any, values: list[Any]) -> list[Any]:
            place = builder.add(x, builder.mul(i, const(shape.row_bytes)))
            found = [shape.load(builder, builder.add(place, const(VECTOR_BYTES * v))) for v in range(shape.count)]
            return [builder.or_(value, builder.bitcast(new, bits)) for value, new in zip(values, found, strict=True)]

        places = [builder.add(target, const(VECTOR_BYTES * v)) for v in range(shape.count)]
        before = [builder.bitcast(shape.load(builder, place), bits) for place in places]
        _, values = loop(builder, const(0), count, 1, before, step)
        for value, place in zip(values, places, strict=True):
            shape.store(builder, builder.bitcast(value, shape.vector), place)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i), generate


@instruction
def multiply_add_rows(context: Any, tag: Any, target: Any, x: Any, y: Any, z: Any, count: Any) -> Any:
    """target = x · y + z, `count` rows."""
    body: Any = _on_rows(lambda s, b, u, v, w: s.multiply_add(b, u, v, w), 3)
    i = types.intp
    return types.none(tag, i, i, i, i, i), lambda ctx, b, _, a: body(ctx, b, tag, a[1], a[5], [a[2], a[3], a[4]])


@instruction
def copy_rows(context: Any, tag: Any, target: Any, x: Any, count: Any) -> Any:
    """target = x, `count` rows."""
    body: Any = _on_rows(lambda s, b, u: u, 1)
    i = types.intp
    return types.none(tag, i, i, i), lambda ctx, b, _, a: body(ctx, b, tag, a[1], a[3], [a[2]])


@instruction
def fill_rows(context: Any, tag: Any, target: Any, count: Any) -> Any:
    """target = 0, `count` rows."""
    body: Any = _on_rows(lambda s, b: s.zero, 0)
    i = types.intp
    return types.none(tag, i, i), lambda ctx, b, _, a: body(ctx, b, tag, a[1], a[2], [])
