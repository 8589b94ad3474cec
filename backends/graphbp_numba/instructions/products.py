"""Products, lane by lane, of the *leaves* s_l = w_l z_l of a tree.

    add_product       out += P = Π s_l; P, or NaN where a lane is not safe, is kept             forward
    keep_product      T = δ P, and Σ T, of which share_total gives sums_l += Σ T / w_l           reverse, the tree
    pull_products     out += Σ_j T_j / z                                                         reverse, a source
    spread_product    w_l q_l to helper rows, sums_l += Σ_lanes q_l z_l, q_l = δ Π_{m ≠ l} s_m   the tree, lanes that are not safe

A lane is *safe* where every product of the first leaves is between 2⁻⁵⁰⁰ and 2⁵⁰⁰ in size (float32: 2⁻⁶⁰, 2⁶⁰) and T between 2⁻¹⁰⁰⁰ and
2⁹⁰⁰ (2⁻¹²⁰, 2¹⁰⁰), or δ = 0.  Then no s_l and no product of any is 0, infinite or denormal: T has a rounding a factor, T / z_i is
w_l q_l and T / w_l is q_l z_l to as many and one more, and a sum of T divided by z is as good as that of the quotients.  Where two
leaves are 0 all q are, and so is T.  Elsewhere T is 0, and other factors are those before a leaf times those after it: none is divided
by.  Each lane is by itself: what a sample gets does not depend on its neighbours.
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

__all__ = [
    "ROW_ANY",
    "ROW_ZERO",
    "Leaves",
    "add_product",
    "keep_product",
    "pull_products",
    "row_kind",
    "share_total",
    "spread_product",
]

ROW_FINITE, ROW_ZERO, ROW_ANY = range(3)
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
def row_kind(context: Any, tag: Any, row: Any) -> Any:
    """What is known of a row at once: `ROW_ZERO` where every lane is 0, `ROW_FINITE` where all are surely finite, else `ROW_ANY`."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        number = ir.IntType(8 * shape.item)
        lanes, joined = ir.VectorType(number, shape.width), None
        for value in row_at(shape, builder, arguments[1]):
            bits = builder.bitcast(value, lanes)
            joined = bits if joined is None else builder.or_(joined, bits)
        reduce = declared(builder, f"llvm.vector.reduce.or.v{shape.width}i{8 * shape.item}", number, lanes)
        bits = builder.shl(builder.call(reduce, [joined]), number(1))  # without the sign
        top = {8: 0x7FF << 53, 4: 0xFF << 24}[shape.item]
        wild = builder.icmp_unsigned("==", builder.and_(bits, number(top)), number(top))
        kind = builder.select(wild, const(ROW_ANY), const(ROW_FINITE))
        return builder.select(builder.icmp_unsigned("==", bits, number(0)), const(ROW_ZERO), kind)

    i = types.intp
    return types.intp(tag, i), generate


def _keep(shape: Shape, builder: Any, product: list[Any], fine: list[Any], kept: Any) -> None:
    """P where it is safe, elsewhere NaN."""
    not_a_number = _constant(shape, float("nan"))
    for p, safe, place in zip(product, fine, vectors_at(shape, builder, kept), strict=True):
        shape.store(builder, builder.select(safe, p, not_a_number), place)


def _keep_none(shape: Shape, builder: Any, at: Leaves, first: Any, stop: Any, kept: Any) -> None:
    """0 in place of NaN where a leaf is 0 and the product before it too: then every q is 0."""
    n = shape.count

    def step(leaf: Any, carried: list[Any]) -> list[Any]:
        s = leaf_values(shape, builder, at[:3], leaf)[2]
        twice = [
            builder.or_(
                before,
                builder.and_(
                    builder.fcmp_ordered("==", p, shape.zero),
                    builder.fcmp_ordered("==", value, shape.zero),
                ),
            )
            for before, p, value in zip(carried[n:], carried[:n], s, strict=True)
        ]
        return [builder.fmul(p, value) for p, value in zip(carried[:n], s, strict=True)] + twice

    none = ir.Constant(ir.VectorType(ir.IntType(1), shape.width), [0] * shape.width)
    _, carried = loop(builder, first, stop, 1, [_constant(shape, 1.0)] * n + [none] * n, step)
    for p, twice, place in zip(carried[:n], carried[n:], vectors_at(shape, builder, kept), strict=True):
        nothing = builder.and_(twice, builder.fcmp_ordered("==", p, shape.zero))
        shape.store(builder, builder.select(nothing, shape.zero, shape.load(builder, place)), place)


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
            fine, found = [], None
            for v, p in enumerate(product):
                ordered = builder.fcmp_ordered("ord", p, p)
                within = _between(shape, builder, carried[n + v], carried[2 * n + v], SAFE_PRODUCT[shape.item])
                fine.append(builder.and_(within, ordered))
                here = _any(shape, builder, builder.not_(fine[-1]))
                found = here if found is None else builder.or_(found, here)
            _keep(shape, builder, product, fine, kept)
            with builder.if_then(builder.icmp_signed("!=", found, const(0)), likely=False):
                _keep_none(shape, builder, at, first, stop, kept)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, leaves, i, i, i, i), generate


@instruction
def keep_product(context: Any, tag: Any, product: Any, delta: Any, term: Any, unsafe: Any, total: Any) -> Any:
    """term = T = δ P, 0 for lanes that are not safe, and total += Σ_lanes T; are there such lanes?  Then δ of these, else 0, to `unsafe`.

    `delta` and `term` may be one row.
    """

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, product, delta, term, unsafe, total = arguments
        given, folded, found, fine = row_at(shape, builder, delta), None, None, []
        terms = [builder.fmul(d, p) for d, p in zip(given, row_at(shape, builder, product), strict=True)]
        for d, p, value in zip(given, row_at(shape, builder, product), terms, strict=True):
            size = _size(shape, builder, value)
            none = builder.or_(*(builder.fcmp_ordered("==", factor, shape.zero) for factor in (d, p)))
            exact = builder.and_(none, builder.fcmp_ordered("ord", value, value))
            fine.append(builder.or_(_between(shape, builder, size, size, SAFE_TERM[shape.item]), exact))
            here = _any(shape, builder, builder.not_(fine[-1]))
            found = here if found is None else builder.or_(found, here)
        for safe, value, place in zip(fine, terms, vectors_at(shape, builder, term), strict=True):
            value = builder.select(safe, value, shape.zero)
            shape.store(builder, value, place)
            folded = value if folded is None else builder.fadd(folded, value)
        with builder.if_then(builder.icmp_signed("!=", found, const(0)), likely=False):
            for safe, d, place in zip(fine, given, vectors_at(shape, builder, unsafe), strict=True):
                shape.store(builder, builder.select(safe, shape.zero, d), place)
        name = f"llvm.vector.reduce.fadd.v{shape.width}f{8 * shape.item}"
        add_up = declared(builder, name, shape.real, shape.real, shape.vector)
        sum_of_lanes = builder.call(add_up, [ir.Constant(shape.real, -0.0), folded], fastmath=("reassoc",))
        place = shape.pointer(builder, total, shape.real)
        builder.store(builder.fadd(builder.load(place), sum_of_lanes), place)
        return found

    i = types.intp
    return types.intp(tag, i, i, i, i, i), generate


@instruction
def share_total(context: Any, tag: Any, total: Any, w: Any, sums: Any, first: Any, stop: Any) -> Any:
    """sums_l += total / w_l for the leaves first ≤ l < stop, nothing where the total, at an address, is 0, and the total becomes 0."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, total, w, sums, first, stop = arguments
        place = shape.pointer(builder, total, shape.real)
        value = builder.load(place)
        builder.store(ir.Constant(shape.real, 0.0), place)

        def at(array: Any, leaf: Any) -> Any:
            return shape.pointer(builder, builder.add(array, builder.mul(leaf, const(shape.item))), shape.real)

        def step(leaf: Any, _: list[Any]) -> list[Any]:
            own = at(sums, leaf)
            builder.store(builder.fadd(builder.load(own), builder.fdiv(value, builder.load(at(w, leaf)))), own)
            return []

        with builder.if_then(builder.fcmp_unordered("!=", value, ir.Constant(shape.real, 0.0))):
            loop(builder, first, stop, 1, [], step)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i), generate


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

        def give(source: Any, shares: list[Any]) -> None:
            flag = shape.pointer(builder, builder.add(at.flags, source), ir.IntType(8))
            used = builder.icmp_signed("!=", builder.load(flag), ir.IntType(8)(0))
            builder.store(ir.IntType(8)(1), flag)
            row = builder.add(at.helpers, builder.mul(source, const(shape.row_bytes)))
            for value, place in zip(shares, vectors_at(shape, builder, row), strict=True):
                there = builder.select(used, shape.load(builder, place), shape.zero)
                shape.store(builder, builder.fadd(there, value), place)

        def after(k: Any, product: list[Any]) -> list[Any]:
            leaf = builder.sub(builder.sub(stop, const(1)), k)
            w, z, s, source = leaf_values(shape, builder, at[:3], leaf)
            q = [builder.fmul(p, shape.load(builder, place)) for p, place in zip(product, scratch(leaf), strict=True)]
            shares, some = [builder.fmul(w, value) for value in q], const(0)
            for share in shares:
                some = builder.or_(some, _any(shape, builder, builder.fcmp_unordered("!=", share, shape.zero)))
            with builder.if_then(builder.icmp_signed("!=", some, const(0))):  # most are 0 where one leaf is
                give(source, shares)
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
