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

from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from graphbp_numba.instructions.operation import operation
from graphbp_numba.instructions.rows import BUNDLE
from graphbp_numba.instructions.shapes import Shape, const, edge_operands, flush_sums, loop, reduce_group
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.lanes import INT32, INT64, declared

__all__ = ["EdgeSums", "edge_sums", "finish_sums", "gather", "gather_bundle", "gather_sums", "row_sums"]


class EdgeSums(NamedTuple):
    """Addresses: of the sums of all edges, which have room for a whole last group, and of a group's products that wait for theirs."""

    sums: int
    aside: int


@operation
def gather(builder: Any, shape: Shape, base: Any, index: Any, weight: Any, first: Any, stop: Any, init: Any, out: Any) -> None:
    """out = init + Σ_{first ≤ e < stop} weight[e] · base[index[e]], one row."""
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


@operation
def gather_bundle(
    builder: Any, shape: Shape, base: Any, index: Any, weight: Any, first: Any, stop: Any, init: Any, rows: Any
) -> None:
    """base[rows_k] = init[rows_k] + Σ_e weight[e, k] · base[index[e]] for the `BUNDLE` rows k: each source is loaded once for all."""
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


@operation
def gather_sums(
    builder: Any, shape: Shape, base: Any, index: Any, weight: Any, first: Any, stop: Any, row: Any, out: Any, edges: Any
) -> None:
    """out = Σ_e weight[e] · base[index[e]], and edges.sums[e] += Σ_lanes base[index[e]] · row, groups of edges at a time.

    The products wait in `aside` until a group is full (`e` counts on over the rows of a sweep); `finish_sums` adds the last one.
    """
    sums, aside = cgutils.unpack_tuple(builder, edges)  # type: ignore[no-untyped-call]
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


@operation
def edge_sums(builder: Any, shape: Shape, deltas: Any, dst: Any, rows: Any, src: Any, first: Any, stop: Any, sums: Any) -> None:
    """sums_e = Σ_lanes deltas[dst_e] · rows[src_e] for first ≤ e < stop; `sums` has room for a whole last group."""

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


@operation
def finish_sums(builder: Any, shape: Shape, n_edges: Any, edges: Any) -> None:
    """Add the last, partial group of `gather_sums`; sums has room for whole groups."""
    sums, aside = cgutils.unpack_tuple(builder, edges)  # type: ignore[no-untyped-call]
    rest = builder.and_(n_edges, const(shape.width - 1))
    with builder.if_then(builder.icmp_signed("!=", rest, const(0))):
        flush_sums(shape, builder, aside, builder.add(sums, builder.mul(builder.sub(n_edges, rest), const(shape.item))))


@operation
def row_sums(builder: Any, shape: Shape, rows: Any, count: Any, sums: Any) -> None:
    """sums[j] += Σ_lanes rows[j], for `count` consecutive rows (the gradient of their biases)."""

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
