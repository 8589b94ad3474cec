"""Combinations of rows, lane by lane: products and choices of the *leaves* of a pair or tree (see `graphbp_numba.plan.combining`).

    add_product, add_choice          out += g(s_1, ..., s_n),  s_l = w_l z_l                forward
    spread_product, spread_choice    to_l = ∂g/∂s_l δ of every leaf                         reverse; s as before, from z and w
    add_chosen                       out += the tangent of the leaf that is chosen          tangent, of pairs

A product's other factors are those before a leaf times those after it, so that no factor is divided by: zeros are like other values.
A choice compares keys, s, −s or |s|; the first of equal ones is taken, as NumPy's argmax has it, and NaN before any number.

For leaf l, rows[l] is the row that z is taken from, w[l] its weight, and targets[l] the row that takes its share of δ.  A choice is told
how it compares by `smallest` (min) and `absolute` (maxabs).  Other conventions are those of `graphbp_numba.instructions.gathers`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from graphbp_numba.instructions.shapes import Shape, const, loop
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import instruction
from graphbp_numba.machine.lanes import INT64

__all__ = ["add_choice", "add_chosen", "add_product", "spread_choice", "spread_product"]


class _Leaves:
    """Where the leaves of one pair or tree are read from."""

    def __init__(self, shape: Shape, builder: Any, z: Any, w: Any, rows: Any) -> None:
        self.shape, self.builder, self.z, self.w, self.rows = shape, builder, z, w, rows

    def row(self, base: Any, array: Any, leaf: Any) -> list[Any]:
        """The addresses of the vectors of the row array[leaf]."""
        b = self.builder
        number = b.load(self.shape.pointer(b, b.add(array, b.mul(leaf, const(8))), INT64))
        return _row(self.shape, b, b.add(base, b.mul(number, const(self.shape.row_bytes))))

    def values(self, leaf: Any) -> list[Any]:
        """s = w z of a leaf."""
        b, shape = self.builder, self.shape
        w = shape.splat(b, b.load(shape.pointer(b, b.add(self.w, b.mul(leaf, const(shape.item))), shape.real)))
        return [b.fmul(w, shape.load(b, place)) for place in self.row(self.z, self.rows, leaf)]


def _ones(shape: Shape) -> list[Any]:
    return [ir.Constant(shape.vector, [1.0] * shape.width)] * shape.count


def _row(shape: Shape, builder: Any, address: Any) -> list[Any]:
    return [builder.add(address, const(VECTOR_BYTES * v)) for v in range(shape.count)]


def _add(shape: Shape, builder: Any, values: list[Any], out: Any) -> None:
    for value, place in zip(values, _row(shape, builder, out), strict=True):
        shape.store(builder, builder.fadd(shape.load(builder, place), value), place)


@instruction
def add_product(context: Any, tag: Any, z: Any, w: Any, rows: Any, first: Any, stop: Any, out: Any) -> Any:
    """out += Π_l w_l z_l, one row."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, z, w, rows, first, stop, out = arguments
        given = _Leaves(shape, builder, z, w, rows)

        def step(leaf: Any, product: list[Any]) -> list[Any]:
            return [builder.fmul(p, s) for p, s in zip(product, given.values(leaf), strict=True)]

        _, product = loop(builder, builder.add(first, const(1)), stop, 1, given.values(first), step)
        _add(shape, builder, product, out)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i), generate


@instruction
def spread_product(
    context: Any, tag: Any, z: Any, w: Any, rows: Any, targets: Any, first: Any, stop: Any, delta: Any, to: Any, scratch: Any
) -> Any:
    """to_l = δ Π_{m ≠ l} w_m z_m for every leaf; `scratch` has a row for each, `to` is where rows are counted from."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, z, w, rows, targets, first, stop, delta, to, scratch = arguments
        given = _Leaves(shape, builder, z, w, rows)

        def aside(leaf: Any) -> list[Any]:
            return _row(shape, builder, builder.add(scratch, builder.mul(builder.sub(leaf, first), const(shape.row_bytes))))

        def before(leaf: Any, product: list[Any]) -> list[Any]:
            for value, place in zip(product, aside(leaf), strict=True):
                shape.store(builder, value, place)
            return [builder.fmul(p, s) for p, s in zip(product, given.values(leaf), strict=True)]

        def after(k: Any, product: list[Any]) -> list[Any]:
            leaf = builder.sub(builder.sub(stop, const(1)), k)
            s = given.values(leaf)
            for value, place, into in zip(product, aside(leaf), given.row(to, targets, leaf), strict=True):
                shape.store(builder, builder.fmul(value, shape.load(builder, place)), into)
            return [builder.fmul(p, value) for p, value in zip(product, s, strict=True)]

        loop(builder, first, stop, 1, _ones(shape), before)
        own = [shape.load(builder, place) for place in _row(shape, builder, delta)]
        loop(builder, const(0), builder.sub(stop, first), 1, own, after)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i, i, i), generate


class _Keys:
    """The bits of values to those of what is compared: as they are (max), with the sign turned (min), or without it (maxabs)."""

    def __init__(self, shape: Shape, builder: Any, smallest: Any, absolute: Any) -> None:
        self.shape, self.builder = shape, builder
        self.integer = ir.IntType(8 * shape.item)
        self.bits = ir.VectorType(self.integer, shape.width)
        sign = 1 << (8 * shape.item - 1)
        self.kept = self._either(absolute, sign - 1, 2 * sign - 1)
        self.turned = self._either(smallest, sign, 0)

    def _either(self, case: Any, yes: int, no: int) -> Any:
        b = self.builder
        return self.all_lanes(b.select(b.icmp_signed("!=", case, const(0)), self.integer(yes), self.integer(no)))

    def all_lanes(self, value: Any) -> Any:
        """An integer of the lanes' width in all lanes."""
        undefined, number = ir.Constant(self.bits, ir.Undefined), ir.IntType(32)
        first = self.builder.insert_element(undefined, value, number(0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(number, self.shape.width), [0] * self.shape.width)
        )

    def of(self, value: Any) -> Any:
        """The key of a vector."""
        b = self.builder
        return b.bitcast(b.xor(b.and_(b.bitcast(value, self.bits), self.kept), self.turned), self.shape.vector)

    def stays(self, best: Any, other: Any) -> Any:
        """Where the one that stands first is taken, given both keys."""
        b = self.builder
        return b.or_(b.fcmp_ordered(">=", best, other), b.fcmp_unordered("uno", best, best))


@instruction
def add_choice(
    context: Any, tag: Any, z: Any, w: Any, rows: Any, first: Any, stop: Any, out: Any, smallest: Any, absolute: Any
) -> Any:
    """out += the w_l z_l that is chosen, one row."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, z, w, rows, first, stop, out, smallest, absolute = arguments
        given, keys = _Leaves(shape, builder, z, w, rows), _Keys(shape, builder, smallest, absolute)

        def step(leaf: Any, best: list[Any]) -> list[Any]:
            pairs = zip(best, given.values(leaf), strict=True)
            return [builder.select(keys.stays(keys.of(old), keys.of(new)), old, new) for old, new in pairs]

        _, best = loop(builder, builder.add(first, const(1)), stop, 1, given.values(first), step)
        _add(shape, builder, best, out)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i, i), generate


@instruction
def spread_choice(
    context: Any,
    tag: Any,
    z: Any,
    w: Any,
    rows: Any,
    targets: Any,
    first: Any,
    stop: Any,
    delta: Any,
    to: Any,
    smallest: Any,
    absolute: Any,
) -> Any:
    """to_l = δ where leaf l is chosen, else 0, for every leaf."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, z, w, rows, targets, first, stop, delta, to, smallest, absolute = arguments
        given, keys = _Leaves(shape, builder, z, w, rows), _Keys(shape, builder, smallest, absolute)

        def numbered(leaf: Any) -> Any:
            return keys.all_lanes(leaf if shape.item == 8 else builder.trunc(leaf, keys.integer))

        def step(leaf: Any, best: list[Any]) -> list[Any]:
            old, number, values, numbers = best[: shape.count], numbered(leaf), [], []
            for one, chosen, new in zip(old, best[shape.count :], given.values(leaf), strict=True):
                stays = keys.stays(keys.of(one), keys.of(new))
                values.append(builder.select(stays, one, new))
                numbers.append(builder.select(stays, chosen, number))
            return values + numbers

        start = given.values(first) + [numbered(first)] * shape.count
        _, best = loop(builder, builder.add(first, const(1)), stop, 1, start, step)
        own = [shape.load(builder, place) for place in _row(shape, builder, delta)]

        def give(leaf: Any, _: list[Any]) -> list[Any]:
            number = numbered(leaf)
            for value, chosen, into in zip(own, best[shape.count :], given.row(to, targets, leaf), strict=True):
                shape.store(builder, builder.select(builder.icmp_signed("==", chosen, number), value, shape.zero), into)
            return []

        loop(builder, first, stop, 1, [], give)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i, i, i, i), generate


@instruction
def add_chosen(context: Any, tag: Any, u: Any, v: Any, u_dot: Any, v_dot: Any, out: Any, smallest: Any, absolute: Any) -> Any:
    """out += u̇ where u is chosen, else v̇, one row."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        keys = _Keys(shape, builder, *arguments[6:])
        one, other, one_dot, other_dot = (
            [shape.load(builder, place) for place in _row(shape, builder, address)] for address in arguments[1:5]
        )
        chosen = [
            builder.select(keys.stays(keys.of(a), keys.of(b)), a_dot, b_dot)
            for a, b, a_dot, b_dot in zip(one, other, one_dot, other_dot, strict=True)
        ]
        _add(shape, builder, chosen, arguments[5])
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i), generate
