"""Whole rows: copied, cleared, added, multiplied; and the bits of several joined, to see whether any of them is not 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from graphbp_numba.instructions.operation import operation
from graphbp_numba.instructions.shapes import Shape, const, loop
from graphbp_numba.machine.functions import VECTOR_BYTES

__all__ = ["BUNDLE", "add_rows", "copy_rows", "fill_rows", "join_bits", "multiply_add_rows", "multiply_rows"]


BUNDLE = 4
"""Rows that `gather_bundle` computes at once: with four vectors a row, 16 accumulators and 4 values stay in registers."""


def _on_rows(builder: Any, shape: Shape, target: Any, count: Any, sources: list[Any], formula: Callable[..., Any]) -> None:
    """target[k] = formula(source_1[k], ..., source_n[k]) over `count` rows of vectors."""

    def step(i: Any, _: list[Any]) -> list[Any]:
        offset = builder.mul(i, const(VECTOR_BYTES))
        values = [shape.load(builder, builder.add(source, offset)) for source in sources]
        shape.store(builder, formula(*values), builder.add(target, offset))
        return []

    loop(builder, const(0), builder.mul(count, const(shape.count)), 1, [], step)


@operation
def multiply_rows(builder: Any, shape: Shape, target: Any, x: Any, y: Any, count: Any) -> None:
    """target = x · y, `count` rows."""
    _on_rows(builder, shape, target, count, [x, y], builder.fmul)


@operation
def add_rows(builder: Any, shape: Shape, target: Any, x: Any, y: Any, count: Any) -> None:
    """target = x + y, `count` rows."""
    _on_rows(builder, shape, target, count, [x, y], builder.fadd)


@operation
def join_bits(builder: Any, shape: Shape, target: Any, x: Any, count: Any) -> None:
    """target |= the bits of each of `count` rows x: a lane of the one row `target` stays 0 where all of them are 0."""
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


@operation
def multiply_add_rows(builder: Any, shape: Shape, target: Any, x: Any, y: Any, z: Any, count: Any) -> None:
    """target = x · y + z, `count` rows."""
    _on_rows(builder, shape, target, count, [x, y, z], lambda u, v, w: shape.multiply_add(builder, u, v, w))


@operation
def copy_rows(builder: Any, shape: Shape, target: Any, x: Any, count: Any) -> None:
    """target = x, `count` rows."""
    _on_rows(builder, shape, target, count, [x], lambda u: u)


@operation
def fill_rows(builder: Any, shape: Shape, target: Any, count: Any) -> None:
    """target = 0, `count` rows."""
    _on_rows(builder, shape, target, count, [], lambda: shape.zero)
