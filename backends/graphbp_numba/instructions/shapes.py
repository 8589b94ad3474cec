"""Rows of vectors while an operation is written: their type, loops over them, sums across lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.lanes import INT32, INT64

__all__ = [
    "Shape",
    "add_to_row",
    "const",
    "edge_operands",
    "flush_sums",
    "leaf_values",
    "loop",
    "reduce_group",
    "row_at",
    "vectors_at",
]

CONTRACT = ("contract",)


def const(value: int) -> Any:
    """A constant i64."""
    return ir.Constant(INT64, value)


class Shape:
    """The vector that a tag stands for, and how many make a row."""

    def __init__(self, context: Any, tag: Any) -> None:
        self.real = context.get_value_type(tag.dtype)
        self.item = 8 if isinstance(self.real, ir.DoubleType) else 4
        self.width = VECTOR_BYTES // self.item
        self.vector = ir.VectorType(self.real, self.width)
        self.count = tag.count
        self.row_bytes = VECTOR_BYTES * tag.count
        self.zero = ir.Constant(self.vector, [0.0] * self.width)

    def pointer(self, builder: Any, address: Any, kind: Any) -> Any:
        """An address as a pointer to `kind`."""
        return builder.inttoptr(address, kind.as_pointer())

    def load(self, builder: Any, address: Any, align: int = VECTOR_BYTES) -> Any:
        """The vector at an address."""
        value = builder.load(self.pointer(builder, address, self.vector))
        value.align = align
        return value

    def store(self, builder: Any, value: Any, address: Any, align: int = VECTOR_BYTES) -> None:
        """Store a vector at an address."""
        builder.store(value, self.pointer(builder, address, self.vector)).align = align

    def splat(self, builder: Any, scalar: Any) -> Any:
        """A scalar in all lanes."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
        return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, self.width), [0] * self.width))

    def multiply_add(self, builder: Any, a: Any, b: Any, c: Any) -> Any:
        """a b + c, fused where the machine can."""
        return builder.fadd(builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)


def loop(
    builder: Any, start: Any, stop: Any, step: int, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]
) -> tuple[Any, list[Any]]:
    """`for i in range(start, stop − step + 1, step)` with carried values; returns the i it stopped at and the values."""
    before = builder.basic_block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(INT64)
    i.add_incoming(start, before)
    values = [builder.phi(value.type) for value in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    following = builder.add(i, const(step))
    builder.cbranch(builder.icmp_signed("<=", following, stop), inside, after)
    builder.position_at_end(inside)
    made = body(i, values)
    i.add_incoming(following, builder.basic_block)
    for phi, value in zip(values, made, strict=True):
        phi.add_incoming(value, builder.basic_block)
    builder.branch(head)
    builder.position_at_end(after)
    return i, values


def edge_operands(shape: Shape, builder: Any, base: Any, index: Any, weight: Any, e: Any) -> tuple[Any, Any]:
    """(w_e in all lanes, address of tile[index_e])."""
    w = builder.load(shape.pointer(builder, builder.add(weight, builder.mul(e, const(shape.item))), shape.real))
    row = builder.load(shape.pointer(builder, builder.add(index, builder.mul(e, const(4))), INT32))
    place = builder.add(base, builder.mul(builder.zext(row, INT64), const(shape.row_bytes)))
    return shape.splat(builder, w), place


def vectors_at(shape: Shape, builder: Any, address: Any) -> list[Any]:
    """The addresses of a row's vectors."""
    return [builder.add(address, const(VECTOR_BYTES * v)) for v in range(shape.count)]


def row_at(shape: Shape, builder: Any, address: Any) -> list[Any]:
    """A row's vectors."""
    return [shape.load(builder, place) for place in vectors_at(shape, builder, address)]


def add_to_row(shape: Shape, builder: Any, values: list[Any], address: Any) -> None:
    """The row += values."""
    for value, place in zip(values, vectors_at(shape, builder, address), strict=True):
        shape.store(builder, builder.fadd(shape.load(builder, place), value), place)


def leaf_values(shape: Shape, builder: Any, at: Any, leaf: Any) -> tuple[Any, list[Any], list[Any], Any]:
    """(w, z, w z, the number of z's row) of a leaf, given the addresses of the tile, of w and of the numbers."""
    tile, weights, numbers = at
    number = builder.load(shape.pointer(builder, builder.add(numbers, builder.mul(leaf, const(4))), INT32))
    number = builder.zext(number, INT64)
    w = builder.load(shape.pointer(builder, builder.add(weights, builder.mul(leaf, const(shape.item))), shape.real))
    w = shape.splat(builder, w)
    z = row_at(shape, builder, builder.add(tile, builder.mul(number, const(shape.row_bytes))))
    return w, z, [builder.fmul(w, value) for value in z], number


def reduce_group(shape: Shape, builder: Any, vectors: list[Any]) -> Any:
    """One vector whose lane e is the sum over the lanes of vectors[e]; as many vectors as lanes.

    Each round halves the number of vectors: the halves of two vectors' blocks are added side by side.  What stays in its place comes by a
    blend, what changes places by a shuffle, of which machines do fewer at once.  Lanes are followed by
    number: a vector that starts at the place whose bits, reversed, are e ends in lane e.
    """
    width = shape.width
    bits = width.bit_length() - 1
    level = [vectors[int(format(k, f"0{bits}b")[::-1], 2)] for k in range(width)]
    block = width
    while len(level) > 1:
        half = block // 2
        low, high = [], []
        for group in range(width // block):
            at = group * block
            low += [at + k for k in range(half)] + [width + at + half + k for k in range(half)]
            high += [at + half + k for k in range(half)] + [width + at + k for k in range(half)]
        masks = [ir.Constant(ir.VectorType(INT32, width), mask) for mask in (low, high)]
        level = [
            builder.fadd(builder.shuffle_vector(a, b, masks[0]), builder.shuffle_vector(a, b, masks[1]))
            for a, b in zip(level[::2], level[1::2], strict=True)
        ]
        block = half
    return level[0]


def flush_sums(shape: Shape, builder: Any, aside: Any, sums: Any) -> None:
    """sums[: width] += the lane sums of the vectors set aside."""
    vectors = [shape.load(builder, builder.add(aside, const(VECTOR_BYTES * k))) for k in range(shape.width)]
    total = builder.fadd(shape.load(builder, sums, shape.item), reduce_group(shape, builder, vectors))
    shape.store(builder, total, sums, shape.item)
