"""Products of small blocks of weights with rows of a tile, and the sums of their gradients, each with its sums in registers.

    block_product    out[o_r] += Σ_c w[r, c] · rows[i_c]         r < R rows of the tile, c any number of them, both by their numbers
    block_sums       sums[j, i] += Σ_pieces Σ_lanes δ_j z_i      for two j and eight i, over all pieces that have these weights

The first serves both ways: forward the rows are a block's units and the columns its sources, in reverse the other way round, with W as it
stands (the steps between its numbers change places).  Each row of the operand is loaded once for R rows of the result; a weight, broadcast
from memory, takes part in one fused multiply–add a vector.  The second keeps sixteen sums, over the lanes of all samples and over every
piece, and adds them up across lanes once.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from graphbp_numba.instructions.shapes import Shape, const, loop, reduce_group
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import instruction, literal_instruction
from graphbp_numba.machine.lanes import INT32, INT64

__all__ = ["SUM_COLUMNS", "SUM_ROWS", "block_product", "block_sums"]

SUM_ROWS, SUM_COLUMNS = 2, 8
"""Rows and columns of a block whose gradient is summed at once: as many as lanes of a float32 vector."""


def _row_at(shape: Shape, builder: Any, base: Any, numbers: Any, k: Any) -> Any:
    """The address of the row whose number stands at numbers[k]."""
    number = builder.load(shape.pointer(builder, builder.add(numbers, builder.mul(k, const(4))), INT32))
    return builder.add(base, builder.mul(builder.zext(number, INT64), const(shape.row_bytes)))


@literal_instruction
def block_product(context: Any, tag: Any, rows: Any, w: Any, w_row: Any, w_column: Any, into: Any, source: Any, count: Any) -> Any:
    """into.base[into.numbers[r]] += Σ_{c < count} w[r, c] · source.base[source.numbers[c]], for r < rows; w's steps are in bytes."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        w, w_row, w_column, into, source, count = arguments[2:]
        out, out_numbers = cgutils.unpack_tuple(builder, into)  # type: ignore[no-untyped-call]
        base, numbers = cgutils.unpack_tuple(builder, source)  # type: ignore[no-untyped-call]
        places = [_row_at(shape, builder, out, out_numbers, const(r)) for r in range(rows.literal_value)]
        steps = [builder.mul(w_row, const(r)) for r in range(rows.literal_value)]
        vectors = [const(VECTOR_BYTES * v) for v in range(shape.count)]

        def step(c: Any, carried: list[Any]) -> list[Any]:
            at, *sums = carried
            place = _row_at(shape, builder, base, numbers, c)
            z = [shape.load(builder, builder.add(place, v)) for v in vectors]
            made = []
            for r, offset in enumerate(steps):
                weight = shape.splat(builder, builder.load(shape.pointer(builder, builder.add(at, offset), shape.real)))
                made += [shape.multiply_add(builder, weight, z[v], sums[r * shape.count + v]) for v in range(shape.count)]
            return [builder.add(at, w_column), *made]

        before = [shape.load(builder, builder.add(place, v)) for place in places for v in vectors]
        _, (_, *sums) = loop(builder, const(0), count, 1, [w, *before], step)
        for k, total in enumerate(sums):
            shape.store(builder, total, builder.add(places[k // shape.count], vectors[k % shape.count]))
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, rows, i, i, i, into, source, i), generate


@instruction
def block_sums(
    context: Any, tag: Any, deltas: Any, rows: Any, pieces: Any, first: Any, stop: Any, j: Any, i: Any, sums: Any
) -> Any:
    """sums.at[j', i'] += Σ over the pieces first..stop and the lanes of δ_{j + j'} z_{i + i'}, j' < 2, i' < width ≤ 8; sums.step: bytes a row.

    pieces : the address of a table, the bytes of a line, and in it the places of a piece's first row and of the address of its sources.
    A piece of an odd number of rows has its last one taken with any other: `sums` says how many rows and columns count.  Columns past
    its `width` are left as they are; a piece's list of sources goes on to a multiple of eight.
    """

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, deltas, rows, pieces, first, stop, j, i, sums = arguments
        at, step_bytes, count, width = cgutils.unpack_tuple(builder, sums)  # type: ignore[no-untyped-call]
        lines, size, start_at, sources_at = cgutils.unpack_tuple(builder, pieces)  # type: ignore[no-untyped-call]
        item = shape.item

        def piece(p: Any, totals: list[Any]) -> list[Any]:
            line = builder.add(lines, builder.mul(p, size))
            start, sources = (
                builder.load(shape.pointer(builder, builder.add(line, place), INT64)) for place in (start_at, sources_at)
            )
            row = builder.add(deltas, builder.mul(builder.add(start, j), const(shape.row_bytes)))
            numbers = builder.add(sources, builder.mul(i, const(4)))
            z_at = [_row_at(shape, builder, rows, numbers, const(c)) for c in range(SUM_COLUMNS)]
            for v in range(shape.count):
                offset = const(VECTOR_BYTES * v)
                d = [shape.load(builder, builder.add(row, const(shape.row_bytes * r + VECTOR_BYTES * v))) for r in range(SUM_ROWS)]
                z = [shape.load(builder, builder.add(place, offset)) for place in z_at]
                totals = [
                    shape.multiply_add(builder, d[k // SUM_COLUMNS], z[k % SUM_COLUMNS], total) for k, total in enumerate(totals)
                ]
            return totals

        _, totals = loop(builder, first, stop, 1, [shape.zero] * (SUM_ROWS * SUM_COLUMNS), piece)
        half = ir.VectorType(shape.real, SUM_COLUMNS)
        made = [reduce_group(shape, builder, totals[k : k + shape.width]) for k in range(0, len(totals), shape.width)]
        if len(made) == 1:
            lanes = [
                ir.Constant(ir.VectorType(INT32, SUM_COLUMNS), [SUM_COLUMNS * r + c for c in range(SUM_COLUMNS)])
                for r in range(SUM_ROWS)
            ]
            made = [builder.shuffle_vector(made[0], made[0], mask) for mask in lanes]
        number = ir.Constant(ir.VectorType(INT64, SUM_COLUMNS), list(range(SUM_COLUMNS)))
        limit = builder.insert_element(ir.Constant(number.type, ir.Undefined), width, ir.Constant(INT32, 0))
        limit = builder.shuffle_vector(limit, limit, ir.Constant(ir.VectorType(INT32, SUM_COLUMNS), [0] * SUM_COLUMNS))
        inside = builder.icmp_signed("<", number, limit)
        nothing = ir.Constant(half, [0.0] * SUM_COLUMNS)

        def add(r: int) -> None:
            place = builder.add(at, builder.mul(step_bytes, const(r)))
            target = builder.inttoptr(place, half.as_pointer())
            before = builder.load(target)
            before.align = item
            builder.store(builder.fadd(before, builder.select(inside, made[r], nothing)), target).align = item

        add(0)
        with builder.if_then(builder.icmp_signed(">", count, const(1))):
            add(1)
        return ctx.get_dummy_value()

    n = types.intp
    return types.none(tag, n, n, pieces, n, n, n, n, sums), generate
