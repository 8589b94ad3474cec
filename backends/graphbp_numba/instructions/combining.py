"""Combinations of rows, lane by lane: g(s_1, ..., s_n) of the *leaves* s_l = w_l z_l of a tree, and choices between two rows.

    add_product, add_choice          out += g                                              forward
    spread_product, spread_choice    q_l = ∂g/∂s_l δ for every leaf:                       reverse
                                     w_l q_l to the row that it is gathered from,  sums_l += Σ_lanes q_l z_l
    add_chosen                       out += x where u is chosen, else y                    of two rows u and v
    spread_chosen                    δ to the one that is chosen, 0 to the other

A product's other factors are those before a leaf times those after it, so that no factor is divided by: zeros are like other values.
A choice compares keys, s, −s (`smallest`) or |s| (`absolute`); the first of equal ones is taken, as NumPy's argmax has it, and NaN
before any number.

Leaves are visited from the last down, over all trees of a sweep, and their sums are taken as edges' are (`graphbp_numba.instructions.
gathers`): products wait until the leaf whose number ends a group.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from graphbp_numba.instructions.shapes import Shape, const, flush_sums, loop
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import instruction
from graphbp_numba.machine.lanes import INT32, INT64

__all__ = ["Leaves", "add_choice", "add_chosen", "add_product", "spread_choice", "spread_chosen", "spread_product"]


class Leaves(NamedTuple):
    """Addresses: of the rows that are counted from `tile`; of w_l and, for each leaf, of the number of the row of z_l, and of the row that
    w_l q_l is added to, −1 − this row where it comes first; of the sums, of the products that wait for theirs, and of a row for each leaf
    of one tree.
    """

    tile: int
    w: int
    source: int
    target: int
    sums: int
    aside: int
    scratch: int


class _Given:
    """The leaves while an operation is written."""

    def __init__(self, shape: Shape, builder: Any, leaves: Any) -> None:
        self.shape, self.builder = shape, builder
        self.at = Leaves(*cgutils.unpack_tuple(builder, leaves))  # type: ignore[no-untyped-call]

    def number(self, array: Any, leaf: Any) -> Any:
        """array[leaf]."""
        b = self.builder
        return b.sext(b.load(self.shape.pointer(b, b.add(array, b.mul(leaf, const(4))), INT32)), INT64)

    def row(self, number: Any) -> list[Any]:
        """The addresses of the vectors of a row."""
        b = self.builder
        return _vectors(self.shape, b, b.add(self.at.tile, b.mul(number, const(self.shape.row_bytes))))

    def weight(self, leaf: Any) -> Any:
        """w in all lanes."""
        b, shape = self.builder, self.shape
        return shape.splat(b, b.load(shape.pointer(b, b.add(self.at.w, b.mul(leaf, const(shape.item))), shape.real)))

    def values(self, leaf: Any) -> tuple[Any, list[Any], list[Any]]:
        """w, z and s = w z of a leaf."""
        b, w = self.builder, self.weight(leaf)
        z = [self.shape.load(b, place) for place in self.row(self.number(self.at.source, leaf))]
        return w, z, [b.fmul(w, value) for value in z]

    def give(self, leaf: Any, w: Any, z: list[Any], q: list[Any]) -> None:
        """w q to the leaf's target, and Σ_lanes q z to its sum."""
        b, shape = self.builder, self.shape
        number, product = self.number(self.at.target, leaf), None
        adds = b.icmp_signed(">=", number, const(0))
        for value, factor, place in zip(q, z, self.row(b.select(adds, number, b.not_(number))), strict=True):
            before = b.select(adds, shape.load(b, place), shape.zero)
            shape.store(b, shape.multiply_add(b, w, value, before), place)
            product = b.fmul(value, factor) if product is None else shape.multiply_add(b, value, factor, product)
        slot = b.and_(leaf, const(shape.width - 1))
        shape.store(b, product, b.add(self.at.aside, b.mul(slot, const(VECTOR_BYTES))))
        with b.if_then(b.icmp_signed("==", slot, const(0)), likely=False):
            flush_sums(shape, b, self.at.aside, b.add(self.at.sums, b.mul(leaf, const(shape.item))))


def _vectors(shape: Shape, builder: Any, address: Any) -> list[Any]:
    return [builder.add(address, const(VECTOR_BYTES * v)) for v in range(shape.count)]


def _load(shape: Shape, builder: Any, address: Any) -> list[Any]:
    return [shape.load(builder, place) for place in _vectors(shape, builder, address)]


def _add(shape: Shape, builder: Any, values: list[Any], out: Any) -> None:
    for value, place in zip(values, _vectors(shape, builder, out), strict=True):
        shape.store(builder, builder.fadd(shape.load(builder, place), value), place)


@instruction
def add_product(context: Any, tag: Any, leaves: Any, first: Any, stop: Any, out: Any) -> Any:
    """out += Π_l w_l z_l, one row."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, leaves, first, stop, out = arguments
        given = _Given(shape, builder, leaves)

        def step(leaf: Any, product: list[Any]) -> list[Any]:
            return [builder.fmul(p, s) for p, s in zip(product, given.values(leaf)[2], strict=True)]

        _, product = loop(builder, builder.add(first, const(1)), stop, 1, given.values(first)[2], step)
        _add(shape, builder, product, out)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, leaves, i, i, i), generate


@instruction
def spread_product(context: Any, tag: Any, leaves: Any, first: Any, stop: Any, delta: Any) -> Any:
    """w_l q_l of every leaf, q_l = δ Π_{m ≠ l} w_m z_m, and Σ q_l z_l, from the last leaf down."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, leaves, first, stop, delta = arguments
        given = _Given(shape, builder, leaves)

        def aside(leaf: Any) -> list[Any]:
            place = builder.mul(builder.sub(leaf, first), const(shape.row_bytes))
            return _vectors(shape, builder, builder.add(given.at.scratch, place))

        def before(leaf: Any, product: list[Any]) -> list[Any]:
            for value, place in zip(product, aside(leaf), strict=True):
                shape.store(builder, value, place)
            return [builder.fmul(p, s) for p, s in zip(product, given.values(leaf)[2], strict=True)]

        def after(k: Any, product: list[Any]) -> list[Any]:
            leaf = builder.sub(builder.sub(stop, const(1)), k)
            w, z, s = given.values(leaf)
            q = [builder.fmul(p, shape.load(builder, place)) for p, place in zip(product, aside(leaf), strict=True)]
            given.give(leaf, w, z, q)
            return [builder.fmul(p, value) for p, value in zip(product, s, strict=True)]

        ones = [ir.Constant(shape.vector, [1.0] * shape.width)] * shape.count
        loop(builder, first, stop, 1, ones, before)
        loop(builder, const(0), builder.sub(stop, first), 1, _load(shape, builder, delta), after)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, leaves, i, i, i), generate


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
def add_choice(context: Any, tag: Any, leaves: Any, first: Any, stop: Any, out: Any, smallest: Any, absolute: Any) -> Any:
    """out += the w_l z_l that is chosen, one row."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, leaves, first, stop, out, *how = arguments
        given, keys = _Given(shape, builder, leaves), _Keys(shape, builder, *how)

        def step(leaf: Any, best: list[Any]) -> list[Any]:
            pairs = zip(best, given.values(leaf)[2], strict=True)
            return [builder.select(keys.stays(old, new), old, new) for old, new in pairs]

        _, best = loop(builder, builder.add(first, const(1)), stop, 1, given.values(first)[2], step)
        _add(shape, builder, best, out)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, leaves, i, i, i, i, i), generate


@instruction
def spread_choice(context: Any, tag: Any, leaves: Any, first: Any, stop: Any, delta: Any, smallest: Any, absolute: Any) -> Any:
    """w_l q_l of every leaf, q_l = δ where it is chosen, else 0, and Σ q_l z_l, from the last leaf down."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, leaves, first, stop, delta, *how = arguments
        given, keys = _Given(shape, builder, leaves), _Keys(shape, builder, *how)

        def step(leaf: Any, best: list[Any]) -> list[Any]:
            number, values, numbers = keys.of_leaf(leaf), [], []
            for old, chosen, new in zip(best[: shape.count], best[shape.count :], given.values(leaf)[2], strict=True):
                stays = keys.stays(old, new)
                values.append(builder.select(stays, old, new))
                numbers.append(builder.select(stays, chosen, number))
            return values + numbers

        start = given.values(first)[2] + [keys.of_leaf(first)] * shape.count
        _, best = loop(builder, builder.add(first, const(1)), stop, 1, start, step)
        own = _load(shape, builder, delta)

        def share(k: Any, _: list[Any]) -> list[Any]:
            leaf = builder.sub(builder.sub(stop, const(1)), k)
            w, z, _ = given.values(leaf)
            number = keys.of_leaf(leaf)
            taken = [builder.icmp_signed("==", chosen, number) for chosen in best[shape.count :]]
            given.give(leaf, w, z, [builder.select(here, d, shape.zero) for here, d in zip(taken, own, strict=True)])
            return []

        loop(builder, const(0), builder.sub(stop, first), 1, [], share)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, leaves, i, i, i, i, i), generate


@instruction
def add_chosen(context: Any, tag: Any, u: Any, v: Any, x: Any, y: Any, out: Any, smallest: Any, absolute: Any) -> Any:
    """out += x where u is chosen, else y, one row."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        keys = _Keys(shape, builder, *arguments[6:])
        rows = [_load(shape, builder, address) for address in arguments[1:5]]
        chosen = [builder.select(keys.stays(u, v), x, y) for u, v, x, y in zip(*rows, strict=True)]
        _add(shape, builder, chosen, arguments[5])
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i), generate


@instruction
def spread_chosen(context: Any, tag: Any, u: Any, v: Any, delta: Any, to_u: Any, to_v: Any, smallest: Any, absolute: Any) -> Any:
    """to_u = δ where u is chosen, to_v where v is, 0 elsewhere."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        keys = _Keys(shape, builder, *arguments[6:])
        rows = [_load(shape, builder, address) for address in arguments[1:4]]
        targets = [_vectors(shape, builder, address) for address in arguments[4:6]]
        for u, v, d, one, two in zip(*rows, *targets, strict=True):
            stays = keys.stays(u, v)
            shape.store(builder, builder.select(stays, d, shape.zero), one)
            shape.store(builder, builder.select(stays, shape.zero, d), two)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i), generate
