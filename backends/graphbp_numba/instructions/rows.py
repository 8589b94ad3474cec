"""The inner loops of a sweep, as vector instructions: gather along a row's edges, and sum over lanes.

A tile is an array of *rows*, one a unit, each of `lanes` consecutive samples (1, 2 or 4 vectors), aligned to a vector:

    gather        out = init + Σ_e w_e · tile[index_e]                                 (forward: a_j; reverse: Σ_k w_kj δ_k)
    gather_sums   the same, and for every edge   sums_e += Σ_lanes tile[index_e] z     (the weight gradient Σ_n δ_k z_i)

The accumulators stay in registers over a row's edges.  A sum over lanes costs as much as the edge itself, so products are first
set aside, one vector an edge, and each full group of 8 (float64) or 16 (float32) edges, across rows, is reduced together: a
transposition by additions, whose result is one vector of sums.

Every function takes a *tag* first, a tuple of `vectors` zeros of the compiled dtype: its type is the specialisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import instruction
from graphbp_numba.machine.lanes import INT32, INT64, declared

__all__ = [
    "BUNDLE",
    "Shape",
    "add_rows",
    "call",
    "call_binary",
    "call_real",
    "call_unary",
    "const",
    "copy_rows",
    "edge_operands",
    "edge_sums",
    "fill_rows",
    "finish_sums",
    "flush_sums",
    "gather",
    "gather_bundle",
    "gather_sums",
    "item_size",
    "join_bits",
    "loop",
    "multiply_add_rows",
    "multiply_rows",
    "pointer",
    "reals",
    "reduce_group",
    "row_sums",
]

_CONTRACT = ("contract",)


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
        return builder.fadd(builder.fmul(a, b, flags=_CONTRACT), c, flags=_CONTRACT)


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


@instruction
def gather(context: Any, tag: Any, base: Any, index: Any, weight: Any, first: Any, stop: Any, init: Any, out: Any) -> Any:
    """out = init + Σ_{first ≤ e < stop} weight[e] · base[index[e]], one row."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, base, index, weight, first, stop, init, out = arguments
        ways = {1: 4, 2: 2, 4: 1}[shape.count]  # independent sums, so that additions do not wait for each other

        def step(i: Any, sums: list[Any]) -> list[Any]:
            made = []
            for way in range(len(sums) // shape.count):
                w, place = edge_operands(shape, builder, base, index, weight, builder.add(i, const(way)))
                for v in range(shape.count):
                    z = shape.load(builder, builder.add(place, const(VECTOR_BYTES * v)))
                    made.append(shape.multiply_add(builder, w, z, sums[way * shape.count + v]))
            return made

        start = [shape.splat(builder, init)] * shape.count + [shape.zero] * (shape.count * (ways - 1))
        e, sums = loop(builder, first, stop, ways, start, step)
        while len(sums) > shape.count:
            half = len(sums) // 2
            sums = [builder.fadd(a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
        if ways > 1:
            _, sums = loop(builder, e, stop, 1, sums, step)
        for v, value in enumerate(sums):
            shape.store(builder, value, builder.add(out, const(VECTOR_BYTES * v)))
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, tag.dtype, i), generate


BUNDLE = 4
"""Rows that `gather_bundle` computes at once: with four vectors a row, 16 accumulators and 4 values stay in registers."""


@instruction
def gather_bundle(context: Any, tag: Any, base: Any, index: Any, weight: Any, first: Any, stop: Any, init: Any, rows: Any) -> Any:
    """base[rows_k] = init[rows_k] + Σ_e weight[e, k] · base[index[e]] for the `BUNDLE` rows k: each source is loaded once for all."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, base, index, weight, first, stop, init, rows = arguments
        numbers = [
            builder.zext(builder.load(shape.pointer(builder, builder.add(rows, const(4 * k)), INT32)), INT64) for k in range(BUNDLE)
        ]

        def real(array: Any, number: Any) -> Any:
            place = builder.add(array, builder.mul(number, const(shape.item)))
            return shape.splat(builder, builder.load(shape.pointer(builder, place, shape.real)))

        def step(e: Any, sums: list[Any]) -> list[Any]:
            number = builder.load(shape.pointer(builder, builder.add(index, builder.mul(e, const(4))), INT32))
            place = builder.add(base, builder.mul(builder.zext(number, INT64), const(shape.row_bytes)))
            z = [shape.load(builder, builder.add(place, const(VECTOR_BYTES * v))) for v in range(shape.count)]
            made = []
            for k in range(BUNDLE):
                w = real(weight, builder.add(builder.mul(e, const(BUNDLE)), const(k)))
                made += [shape.multiply_add(builder, w, z[v], sums[k * shape.count + v]) for v in range(shape.count)]
            return made

        start = [value for number in numbers for value in [real(init, number)] * shape.count]
        _, sums = loop(builder, first, stop, 1, start, step)
        for k, number in enumerate(numbers):
            place = builder.add(base, builder.mul(number, const(shape.row_bytes)))
            for v in range(shape.count):
                shape.store(builder, sums[k * shape.count + v], builder.add(place, const(VECTOR_BYTES * v)))
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i), generate


def reduce_group(shape: Shape, builder: Any, vectors: list[Any]) -> Any:
    """One vector whose lane e is the sum over the lanes of vectors[e]; as many vectors as lanes.

    Each round halves the number of vectors: the halves of two vectors' blocks are added side by side.  Lanes are followed by
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
            for source in (0, width):
                low += [source + at + k for k in range(half)]
                high += [source + at + half + k for k in range(half)]
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


@instruction
def gather_sums(
    context: Any, tag: Any, base: Any, index: Any, weight: Any, first: Any, stop: Any, row: Any, out: Any, sums: Any, aside: Any
) -> Any:
    """out = Σ_e weight[e] · base[index[e]], and sums[e] += Σ_lanes base[index[e]] · row, groups of edges at a time.

    The products wait in `aside` until a group is full (`e` counts on over the rows of a sweep); `finish_sums` adds the last one.
    """

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, base, index, weight, first, stop, row, out, sums, aside = arguments
        z = [shape.load(builder, builder.add(row, const(VECTOR_BYTES * v))) for v in range(shape.count)]
        last = shape.width - 1

        def step(e: Any, acc: list[Any]) -> list[Any]:
            w, place = edge_operands(shape, builder, base, index, weight, e)
            made, product = [], None
            for v in range(shape.count):
                d = shape.load(builder, builder.add(place, const(VECTOR_BYTES * v)))
                made.append(shape.multiply_add(builder, w, d, acc[v]))
                product = builder.fmul(d, z[v]) if product is None else shape.multiply_add(builder, d, z[v], product)
            slot = builder.and_(e, const(last))
            shape.store(builder, product, builder.add(aside, builder.mul(slot, const(VECTOR_BYTES))))
            with builder.if_then(builder.icmp_signed("==", slot, const(last)), likely=False):
                flush_sums(shape, builder, aside, builder.add(sums, builder.mul(builder.sub(e, const(last)), const(shape.item))))
            return made

        _, acc = loop(builder, first, stop, 1, [shape.zero] * shape.count, step)
        for v, value in enumerate(acc):
            shape.store(builder, value, builder.add(out, const(VECTOR_BYTES * v)))
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i, i, i), generate


@instruction
def edge_sums(context: Any, tag: Any, deltas: Any, dst: Any, rows: Any, src: Any, first: Any, stop: Any, sums: Any) -> Any:
    """sums_e = Σ_lanes deltas[dst_e] · rows[src_e] for first ≤ e < stop; `sums` has room for a whole last group."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, deltas, dst, rows, src, first, stop, sums = arguments

        def row_of(base: Any, index: Any, e: Any) -> Any:
            number = builder.load(shape.pointer(builder, builder.add(index, builder.mul(e, const(4))), INT32))
            return builder.add(base, builder.mul(builder.zext(number, INT64), const(shape.row_bytes)))

        def product(e: Any) -> Any:
            d, z, total = row_of(deltas, dst, e), row_of(rows, src, e), None
            for v in range(shape.count):
                at = const(VECTOR_BYTES * v)
                x, y = shape.load(builder, builder.add(d, at)), shape.load(builder, builder.add(z, at))
                total = builder.fmul(x, y) if total is None else shape.multiply_add(builder, x, y, total)
            return total

        def write(e: Any, places: list[Any]) -> None:
            total = reduce_group(shape, builder, [product(place) for place in places])
            shape.store(builder, total, builder.add(sums, builder.mul(e, const(shape.item))), shape.item)

        def group(e: Any, _: list[Any]) -> list[Any]:
            write(e, [builder.add(e, const(k)) for k in range(shape.width)])
            return []

        e, _ = loop(builder, first, stop, shape.width, [], group)
        with builder.if_then(builder.icmp_signed("<", e, stop)):
            last = builder.sub(stop, const(1))
            places = [builder.add(e, const(k)) for k in range(shape.width)]
            write(e, [builder.select(builder.icmp_signed("<", place, last), place, last) for place in places])
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i), generate


@instruction
def finish_sums(context: Any, tag: Any, n_edges: Any, sums: Any, aside: Any) -> Any:
    """Add the last, partial group of `gather_sums`; sums has room for whole groups."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, n_edges, sums, aside = arguments
        rest = builder.and_(n_edges, const(shape.width - 1))
        with builder.if_then(builder.icmp_signed("!=", rest, const(0))):
            flush_sums(shape, builder, aside, builder.add(sums, builder.mul(builder.sub(n_edges, rest), const(shape.item))))
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i), generate


@instruction
def row_sums(context: Any, tag: Any, rows: Any, count: Any, sums: Any) -> Any:
    """sums[j] += Σ_lanes rows[j], for `count` consecutive rows (the gradient of their biases)."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, rows, count, sums = arguments

        def folded(j: Any) -> Any:
            place = builder.add(rows, builder.mul(j, const(shape.row_bytes)))
            parts = [shape.load(builder, builder.add(place, const(VECTOR_BYTES * v))) for v in range(shape.count)]
            total = parts[0]
            for part in parts[1:]:
                total = builder.fadd(total, part)
            return total

        def group(j: Any, _: list[Any]) -> list[Any]:
            place = builder.add(sums, builder.mul(j, const(shape.item)))
            vectors = [folded(builder.add(j, const(k))) for k in range(shape.width)]
            total = builder.fadd(shape.load(builder, place, shape.item), reduce_group(shape, builder, vectors))
            shape.store(builder, total, place, shape.item)
            return []

        name = f"llvm.vector.reduce.fadd.v{shape.width}f{8 * shape.item}"
        add_up = declared(builder, name, shape.real, shape.real, shape.vector)

        def single(j: Any, _: list[Any]) -> list[Any]:
            pointer = shape.pointer(builder, builder.add(sums, builder.mul(j, const(shape.item))), shape.real)
            total = builder.call(add_up, [ir.Constant(shape.real, -0.0), folded(j)], fastmath=("reassoc",))
            builder.store(builder.fadd(builder.load(pointer), total), pointer)
            return []

        j, _ = loop(builder, const(0), count, shape.width, [], group)
        loop(builder, j, count, 1, [], single)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i), generate


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

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [INT64] * 3)
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(i, i, i, i), generate


@instruction
def call_binary(context: Any, address: Any, y: Any, t: Any, target: Any, count: Any) -> Any:
    """Call the C function at `address`, an error's: target[:count] = e(y[:count], t[:count])."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [INT64] * 4)
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(i, i, i, i, i), generate


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
