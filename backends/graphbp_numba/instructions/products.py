"""Products, lane by lane, of the *leaves* s_l = w_l z_l of a tree.

    add_product       out += P = Π s_l; P, or NaN where a lane is not safe, is kept             forward
    keep_product      T = δ P in place of P,  sums_l += Σ_lanes T / w_l                          reverse, the tree
    pull_products     out += Σ_j T_j / z                                                         reverse, a source
    spread_product    w_l q_l to helper rows, sums_l += Σ_lanes q_l z_l, q_l = δ Π_{m ≠ l} s_m   the tree, lanes that are not safe

A lane is *safe* where every product of the first leaves is between 2⁻⁵⁰⁰ and 2⁵⁰⁰ in size (float32: 2⁻⁶⁰, 2⁶⁰) and T between 2⁻¹⁰⁰⁰ and
2⁹⁰⁰ (2⁻¹²⁰, 2¹⁰⁰), or δ = 0.  Then no s_l and no product of any is 0, infinite or denormal: T has a rounding a factor, T / z_i is
w_l q_l and T / w_l is q_l z_l to as many and one more, and a sum of T divided by z is as good as that of the quotients.  Elsewhere other
factors are those before a leaf times those after it, so that none is divided by, zeros are like other values, and T is 0.  Each lane is
by itself: what a sample gets does not depend on its neighbours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from graphbp_numba.instructions.shapes import Shape, add_to_row, const, flush_sums, leaf_values, loop, row_at, vectors_at
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import instruction
from graphbp_numba.machine.lanes import INT32, INT64, declared

__all__ = ["Leaves", "add_product", "keep_product", "pull_products", "spread_product"]

SAFE_PRODUCT = {8: (2.0**-500, 2.0**500), 4: (2.0**-60, 2.0**60)}
SAFE_TERM = {8: (2.0**-1000, 2.0**900), 4: (2.0**-120, 2.0**100)}


class Leaves(NamedTuple):
    """Addresses: of the rows that are counted from `tile`; of w_l and, for each leaf, of the number i of the row of z_l; of the helper row
    and the flag that it is used, for each i; of the sums, of the products that wait for theirs, and of a row for each leaf of one tree.
    """

    tile: int
    w: int
    source: int
    helpers: int
    flags: int
    sums: int
    aside: int
    scratch: int


def _constant(shape: Shape, value: float) -> Any:
    return ir.Constant(shape.vector, [value] * shape.width)


def _size(shape: Shape, builder: Any, value: Any) -> Any:
    """|value|."""
    return builder.call(declared(builder, f"llvm.fabs.v{shape.width}f{8 * shape.item}", shape.vector, shape.vector), [value])


def _between(shape: Shape, builder: Any, low: Any, high: Any, bounds: tuple[float, float]) -> Any:
    """low and high, numbers both, within the bounds."""
    above = builder.fcmp_ordered(">=", low, _constant(shape, bounds[0]))
    return builder.and_(above, builder.fcmp_ordered("<=", high, _constant(shape, bounds[1])))


def _quotient(shape: Shape, builder: Any, total: Any, by: Any) -> Any:
    """total / by, 0 where the total is 0, whatever it is divided by."""
    return builder.select(builder.fcmp_ordered("==", total, shape.zero), shape.zero, builder.fdiv(total, by))


def _any(shape: Shape, builder: Any, lanes: Any) -> Any:
    """1 where one of the lanes is true, else 0."""
    return builder.zext(
        builder.icmp_unsigned("!=", builder.bitcast(lanes, ir.IntType(shape.width)), ir.IntType(shape.width)(0)), INT64
    )


@instruction
def add_product(context: Any, tag: Any, leaves: Any, first: Any, stop: Any, out: Any, kept: Any) -> Any:
    """out += P = Π_l w_l z_l, one row, and P, NaN where it is not safe, to the row `kept`, where that is not 0."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, leaves, first, stop, out, kept = arguments
        at = Leaves(*cgutils.unpack_tuple(builder, leaves))  # type: ignore[no-untyped-call]
        n = shape.count

        def step(leaf: Any, carried: list[Any]) -> list[Any]:
            s = leaf_values(shape, builder, at[:3], leaf)[2]
            made = [builder.fmul(p, value) for p, value in zip(carried[:n], s, strict=True)]
            low, high = [], []
            for p, least, most in zip(made, carried[n : 2 * n], carried[2 * n :], strict=True):
                size = _size(shape, builder, p)
                low.append(builder.select(builder.fcmp_ordered("<", size, least), size, least))
                high.append(builder.select(builder.fcmp_ordered(">", size, most), size, most))
            return made + low + high

        start = leaf_values(shape, builder, at[:3], first)[2]
        sizes = [_size(shape, builder, s) for s in start]
        _, carried = loop(builder, builder.add(first, const(1)), stop, 1, start + sizes * 2, step)
        product = carried[:n]
        add_to_row(shape, builder, product, out)
        with builder.if_then(builder.icmp_signed("!=", kept, const(0))):
            not_a_number = _constant(shape, float("nan"))
            for v, place in enumerate(vectors_at(shape, builder, kept)):
                low, high = carried[n + v], carried[2 * n + v]
                fine = builder.and_(
                    _between(shape, builder, low, high, SAFE_PRODUCT[shape.item]),
                    builder.fcmp_ordered("ord", product[v], product[v]),
                )
                shape.store(builder, builder.select(fine, product[v], not_a_number), place)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, leaves, i, i, i, i), generate


@instruction
def keep_product(context: Any, tag: Any, leaves: Any, first: Any, stop: Any, kept: Any, delta: Any, unsafe: Any) -> Any:
    """kept = T = δ P and sums_l += Σ_lanes T / w_l, 0 for lanes that are not safe; δ of these, else 0, to the row `unsafe`: are there any?"""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, leaves, first, stop, kept, delta, unsafe = arguments
        at = Leaves(*cgutils.unpack_tuple(builder, leaves))  # type: ignore[no-untyped-call]
        total, found = None, None
        places = (vectors_at(shape, builder, address) for address in (kept, delta, unsafe))
        for own, given, aside in zip(*places, strict=True):
            d = shape.load(builder, given)
            term = builder.fmul(d, shape.load(builder, own))
            size, none = _size(shape, builder, term), builder.fcmp_ordered("==", d, shape.zero)
            exact = builder.and_(none, builder.fcmp_ordered("ord", term, term))
            fine = builder.or_(_between(shape, builder, size, size, SAFE_TERM[shape.item]), exact)
            term = builder.select(fine, term, shape.zero)
            shape.store(builder, term, own)
            shape.store(builder, builder.select(fine, shape.zero, d), aside)
            total = term if total is None else builder.fadd(total, term)
            here = _any(shape, builder, builder.not_(fine))
            found = here if found is None else builder.or_(found, here)
        name = f"llvm.vector.reduce.fadd.v{shape.width}f{8 * shape.item}"
        add_up = declared(builder, name, shape.real, shape.real, shape.vector)
        total = shape.splat(builder, builder.call(add_up, [ir.Constant(shape.real, -0.0), total], fastmath=("reassoc",)))
        numbers = ir.Constant(ir.VectorType(INT64, shape.width), list(range(shape.width)))
        undefined = ir.Constant(ir.VectorType(INT64, shape.width), ir.Undefined)
        zeros = ir.Constant(ir.VectorType(INT32, shape.width), [0] * shape.width)

        def share(leaf: Any, _: list[Any]) -> list[Any]:
            offset = builder.mul(leaf, const(shape.item))
            place = builder.add(at.sums, offset)
            w = shape.load(builder, builder.add(at.w, offset), shape.item)
            left = builder.insert_element(undefined, builder.sub(stop, leaf), INT32(0))
            own = builder.icmp_signed("<", numbers, builder.shuffle_vector(left, undefined, zeros))
            more = builder.select(own, _quotient(shape, builder, total, w), shape.zero)
            shape.store(builder, builder.fadd(shape.load(builder, place, shape.item), more), place, shape.item)
            return []

        loop(builder, first, builder.add(stop, const(shape.width - 1)), shape.width, [], share)
        return found

    i = types.intp
    return types.intp(tag, leaves, i, i, i, i, i), generate


@instruction
def pull_products(context: Any, tag: Any, base: Any, index: Any, first: Any, stop: Any, row: Any, out: Any) -> Any:
    """out += (Σ_{first ≤ e < stop} base[index[e]]) / row, nothing where the sum is 0."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, base, index, first, stop, row, out = arguments

        def step(e: Any, sums: list[Any]) -> list[Any]:
            number = builder.load(shape.pointer(builder, builder.add(index, builder.mul(e, const(4))), INT32))
            place = builder.add(base, builder.mul(builder.zext(number, INT64), const(shape.row_bytes)))
            return [builder.fadd(total, term) for total, term in zip(sums, row_at(shape, builder, place), strict=True)]

        _, sums = loop(builder, first, stop, 1, [shape.zero] * shape.count, step)
        quotients = [_quotient(shape, builder, *pair) for pair in zip(sums, row_at(shape, builder, row), strict=True)]
        add_to_row(shape, builder, quotients, out)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i), generate


@instruction
def spread_product(context: Any, tag: Any, leaves: Any, first: Any, stop: Any, delta: Any) -> Any:
    """w_l q_l of every leaf to its source's helper row, q_l = δ Π_{m ≠ l} w_m z_m, and Σ_lanes q_l z_l to its sum."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, leaves, first, stop, delta = arguments
        at = Leaves(*cgutils.unpack_tuple(builder, leaves))  # type: ignore[no-untyped-call]
        last = const(shape.width - 1)

        def scratch(leaf: Any) -> list[Any]:
            place = builder.mul(builder.sub(leaf, first), const(shape.row_bytes))
            return vectors_at(shape, builder, builder.add(at.scratch, place))

        def before(leaf: Any, product: list[Any]) -> list[Any]:
            for value, place in zip(product, scratch(leaf), strict=True):
                shape.store(builder, value, place)
            s = leaf_values(shape, builder, at[:3], leaf)[2]
            return [builder.fmul(p, value) for p, value in zip(product, s, strict=True)]

        def give(source: Any, w: Any, q: list[Any]) -> None:
            flag = shape.pointer(builder, builder.add(at.flags, source), ir.IntType(8))
            used = builder.icmp_signed("!=", builder.load(flag), ir.IntType(8)(0))
            builder.store(ir.IntType(8)(1), flag)
            row = builder.add(at.helpers, builder.mul(source, const(shape.row_bytes)))
            for value, place in zip(q, vectors_at(shape, builder, row), strict=True):
                there = builder.select(used, shape.load(builder, place), shape.zero)
                shape.store(builder, shape.multiply_add(builder, w, value, there), place)

        def after(k: Any, product: list[Any]) -> list[Any]:
            leaf = builder.sub(builder.sub(stop, const(1)), k)
            w, z, s, source = leaf_values(shape, builder, at[:3], leaf)
            q = [builder.fmul(p, shape.load(builder, place)) for p, place in zip(product, scratch(leaf), strict=True)]
            give(source, w, q)
            total = builder.fmul(q[0], z[0])
            for value, factor in zip(q[1:], z[1:], strict=True):
                total = shape.multiply_add(builder, value, factor, total)
            slot = builder.and_(builder.sub(leaf, first), last)
            shape.store(builder, total, builder.add(at.aside, builder.mul(slot, const(VECTOR_BYTES))))
            with builder.if_then(builder.icmp_signed("==", slot, const(0)), likely=False):
                flush_sums(shape, builder, at.aside, builder.add(at.sums, builder.mul(leaf, const(shape.item))))
            return [builder.fmul(p, value) for p, value in zip(product, s, strict=True)]

        for k in range(shape.width):  # the last group may have fewer leaves
            shape.store(builder, shape.zero, builder.add(at.aside, const(k * VECTOR_BYTES)))
        loop(builder, first, stop, 1, [_constant(shape, 1.0)] * shape.count, before)
        loop(builder, const(0), builder.sub(stop, first), 1, row_at(shape, builder, delta), after)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, leaves, i, i, i), generate
