"""Σ_p κ_p G_pi G_pl with the sums in registers, for a block of 4 × `WIDE` pairs (i, l) of rows, lane by lane.

G is an array of rows [p][i]: `step` bytes from one p to the next, its i side by side.  κ_p G_pi is formed on the way: 4 products for
4 · WIDE fused multiply–adds.
"""

from __future__ import annotations

from typing import Any

from graphbp_numba.instructions.matrix_products import REGISTER_ROWS
from graphbp_numba.instructions.operation import operation
from graphbp_numba.instructions.shapes import Shape, const, loop
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.lanes import INT32, INT64

__all__ = ["TALL", "WIDE", "add_squares"]

TALL = 4
WIDE = 4 if REGISTER_ROWS == 8 else 2
"""With 32 registers 16 sums, 4 products and what they are made of; with 16 half of the sums."""


@operation
def add_squares(
    builder: Any, shape: Shape, sums: Any, line: Any, kappa: Any, g: Any, q: Any, step: Any, index: Any, count: Any
) -> None:
    """sums[i, l] += Σ_p κ_p g_pi q_pl over p = index[0 .. count]: i < TALL, l < WIDE; `line` bytes from one i of the sums to the next."""

    def row(base: Any, number: int, offset: Any) -> Any:
        return builder.add(builder.add(base, const(number * shape.row_bytes)), offset)

    def lanes(v: Any, _: list[Any]) -> list[Any]:
        offset = builder.mul(v, const(VECTOR_BYTES))
        places = [row(builder.add(sums, builder.mul(line, const(i))), k, offset) for i in range(TALL) for k in range(WIDE)]

        def term(e: Any, totals: list[Any]) -> list[Any]:
            address = builder.add(index, builder.mul(e, const(4)))
            p = builder.zext(builder.load(shape.pointer(builder, address, INT32)), INT64)
            at = builder.mul(p, step)
            here, there = builder.add(g, at), builder.add(q, at)
            factor = shape.load(builder, row(builder.add(kappa, builder.mul(p, const(shape.row_bytes))), 0, offset))
            left = [builder.fmul(factor, shape.load(builder, row(here, i, offset))) for i in range(TALL)]
            right = [shape.load(builder, row(there, k, offset)) for k in range(WIDE)]
            return [shape.multiply_add(builder, left[n // WIDE], right[n % WIDE], total) for n, total in enumerate(totals)]

        _, totals = loop(builder, const(0), count, 1, [shape.load(builder, place) for place in places], term)
        for place, total in zip(places, totals, strict=True):
            shape.store(builder, total, place)
        return []

    loop(builder, const(0), const(shape.count), 1, [], lanes)
