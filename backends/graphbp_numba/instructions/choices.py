"""Choices, lane by lane: the greatest, least, or greatest in size of the *leaves* s_l = w_l z_l of a tree, or of two rows.

    add_choice       out += the s_l that is chosen, and the row of numbers l                forward
    pull_choices     out += Σ_e w_e δ_e where e is what its tree chose, else 0,             reverse
                     sums_e += Σ_lanes δ_e z there
    add_chosen       out += x where u is chosen, else y                                     of two rows u and v
    spread_chosen    δ to the one that is chosen, 0 to the other

Keys are compared, s, −s (`smallest`) or |s| (`absolute`); the first of equal ones is taken, as NumPy's argmax has it, and NaN before any
number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from graphbp_numba.instructions.shapes import Shape, add_to_row, const, flush_sums, leaf_values, loop, row_at, vectors_at
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import instruction
from graphbp_numba.machine.lanes import INT32, INT64

__all__ = ["Choices", "add_choice", "add_chosen", "pull_choices", "spread_chosen"]


class Choices(NamedTuple):
    """Addresses: of the rows that are counted from `tile`; for each leaf e, of w_e, of the numbers of the row of δ and of the row that says
    what was chosen, and of its own number in its tree.
    """

    tile: int
    w: int
    delta: int
    chosen: int
    number: int


class _Keys:
    """What is compared in place of values: these themselves (max), with the sign turned (min), or without it (maxabs)."""

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
        zeros = ir.Constant(ir.VectorType(number, self.shape.width), [0] * self.shape.width)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def of_leaf(self, leaf: Any) -> Any:
        """A leaf's number in all lanes."""
        return self.all_lanes(leaf if self.shape.item == 8 else self.builder.trunc(leaf, self.integer))

    def stays(self, best: Any, other: Any) -> Any:
        """Where `best`, which stands first, is taken."""
        b = self.builder
        one, two = (
            b.bitcast(b.xor(b.and_(b.bitcast(value, self.bits), self.kept), self.turned), self.shape.vector)
            for value in (best, other)
        )
        return b.or_(b.fcmp_ordered(">=", one, two), b.fcmp_unordered("uno", one, one))


@instruction
def add_choice(
    context: Any, tag: Any, leaves: Any, first: Any, stop: Any, out: Any, kept: Any, smallest: Any, absolute: Any
) -> Any:
    """out += the w_l z_l that is chosen, one row, and its number l − first to the row `kept`, where that is not 0.

    leaves : addresses of the tile, of w_l, and of the number of the row of z_l.
    """

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, leaves, first, stop, out, kept, *how = arguments
        keys, at = _Keys(shape, builder, *how), cgutils.unpack_tuple(builder, leaves)  # type: ignore[no-untyped-call]

        def step(leaf: Any, best: list[Any]) -> list[Any]:
            number, values, numbers = keys.of_leaf(builder.sub(leaf, first)), [], []
            new_values = leaf_values(shape, builder, at, leaf)[2]
            for old, chosen, new in zip(best[: shape.count], best[shape.count :], new_values, strict=True):
                stays = keys.stays(old, new)
                values.append(builder.select(stays, old, new))
                numbers.append(builder.select(stays, chosen, number))
            return values + numbers

        start = leaf_values(shape, builder, at, first)[2] + [ir.Constant(keys.bits, [0] * shape.width)] * shape.count
        _, best = loop(builder, builder.add(first, const(1)), stop, 1, start, step)
        add_to_row(shape, builder, best[: shape.count], out)
        with builder.if_then(builder.icmp_signed("!=", kept, const(0))):
            for number, place in zip(best[shape.count :], vectors_at(shape, builder, kept), strict=True):
                shape.store(builder, builder.bitcast(number, shape.vector), place)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, leaves, i, i, i, i, i, i), generate


@instruction
def pull_choices(context: Any, tag: Any, choices: Any, first: Any, stop: Any, row: Any, out: Any, edges: Any) -> Any:
    """out += Σ_e w_e q_e, q_e = δ_e where e is chosen, else 0, and edges.sums[e] += Σ_lanes q_e row, as `gather_sums` does for edges."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, choices, first, stop, row, out, edges = arguments
        at = Choices(*cgutils.unpack_tuple(builder, choices))  # type: ignore[no-untyped-call]
        sums, aside = cgutils.unpack_tuple(builder, edges)  # type: ignore[no-untyped-call]
        z, last = row_at(shape, builder, row), const(shape.width - 1)
        integer = ir.IntType(8 * shape.item)
        keys = _Keys(shape, builder, const(0), const(0))

        def entry(array: Any, e: Any) -> Any:
            return builder.sext(builder.load(shape.pointer(builder, builder.add(array, builder.mul(e, const(4))), INT32)), INT64)

        def row_of(array: Any, e: Any) -> list[Any]:
            return row_at(shape, builder, builder.add(at.tile, builder.mul(entry(array, e), const(shape.row_bytes))))

        def step(e: Any, acc: list[Any]) -> list[Any]:
            w = builder.load(shape.pointer(builder, builder.add(at.w, builder.mul(e, const(shape.item))), shape.real))
            w, number = shape.splat(builder, w), keys.of_leaf(entry(at.number, e))
            made, product = [], None
            for d, chosen, value, total in zip(row_of(at.delta, e), row_of(at.chosen, e), z, acc, strict=True):
                here = builder.icmp_signed("==", builder.bitcast(chosen, ir.VectorType(integer, shape.width)), number)
                q = builder.select(here, d, shape.zero)
                made.append(shape.multiply_add(builder, w, q, total))
                product = builder.fmul(q, value) if product is None else shape.multiply_add(builder, q, value, product)
            slot = builder.and_(e, last)
            shape.store(builder, product, builder.add(aside, builder.mul(slot, const(VECTOR_BYTES))))
            with builder.if_then(builder.icmp_signed("==", slot, last), likely=False):
                flush_sums(shape, builder, aside, builder.add(sums, builder.mul(builder.sub(e, last), const(shape.item))))
            return made

        _, acc = loop(builder, first, stop, 1, row_at(shape, builder, out), step)
        for value, place in zip(acc, vectors_at(shape, builder, out), strict=True):
            shape.store(builder, value, place)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, choices, i, i, i, i, edges), generate


@instruction
def add_chosen(context: Any, tag: Any, u: Any, v: Any, x: Any, y: Any, out: Any, smallest: Any, absolute: Any) -> Any:
    """out += x where u is chosen, else y, one row."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        keys = _Keys(shape, builder, *arguments[6:])
        rows = [row_at(shape, builder, address) for address in arguments[1:5]]
        chosen = [builder.select(keys.stays(u, v), x, y) for u, v, x, y in zip(*rows, strict=True)]
        add_to_row(shape, builder, chosen, arguments[5])
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i), generate


@instruction
def spread_chosen(context: Any, tag: Any, u: Any, v: Any, delta: Any, to_u: Any, to_v: Any, smallest: Any, absolute: Any) -> Any:
    """to_u = δ where u is chosen, to_v where v is, 0 elsewhere."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        keys = _Keys(shape, builder, *arguments[6:])
        rows = [row_at(shape, builder, address) for address in arguments[1:4]]
        targets = [vectors_at(shape, builder, address) for address in arguments[4:6]]
        for u, v, d, one, two in zip(*rows, *targets, strict=True):
            stays = keys.stays(u, v)
            shape.store(builder, builder.select(stays, d, shape.zero), one)
            shape.store(builder, builder.select(stays, shape.zero, d), two)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i), generate
