r"""Sums over samples, the inner loops of a Hessian's assembly for units with sources of their own: a small tile of sums in registers.

    tile_sums    s[k, i] = Σ_n (b_k z_k + d_k p_k) y_i        3 weights l ← k by up to 9 weights j ← i; the bracket is never stored
    sum_products r = Σ_c x_c y_c                                one row, from a few pairs of rows

Rows are runs of whole vectors of samples, aligned, and zero past the last sample.  A tile of 3 × 9 has 27 independent sums: on a
machine with 32 vector registers all of them stay there, and 30 multiplications feed 27 additions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from graphbp_numba.instructions.operation import operation
from graphbp_numba.instructions.shapes import Shape, const, loop, reduce_group
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import instruction
from graphbp_numba.machine.lanes import INT64

__all__ = ["SLOTS", "aligned_array", "padded_samples", "sum_products", "tile_sums"]

Array = npt.NDArray[Any]

SLOTS = 3
"""Weights l ← k of one tile."""


def padded_samples(n: int, itemsize: int) -> int:
    """Whole vectors for n samples, an odd number of them: rows a power of two apart would share few lines of the cache."""
    vectors = -(-n * itemsize // VECTOR_BYTES)
    return (vectors | 1) * (VECTOR_BYTES // itemsize)


def aligned_array(shape: tuple[int, ...], dtype: np.dtype[Any], memory: Array | None = None) -> Array:
    """An array, not filled, that begins where a vector may stand: in `memory`, which has room for a vector more than it, or in new bytes."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + VECTOR_BYTES, np.uint8) if memory is None else memory
    first = -memory.ctypes.data % VECTOR_BYTES
    return memory[first : first + size].view(dtype).reshape(shape)


@instruction
def tile_sums(context: Any, tag: Any, sources: Any, bent: Any, rows: Any, others: Any, vectors: Any, out: Any) -> Any:
    """out[k · I + i] += Σ_n (b_k z_k (+ d_k p_k)) y_i for 3 k and I = len(sources) i; len(bent) is 2 with the second product, else 1.

    `rows` and `others` are where the addresses of the rows stand: b_k, z_k, d_k and p_k, and y_i; `out` has room for whole vectors,
    and what is there past the last sum stays.
    """

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, _, _, rows, others, vectors, out = arguments

        def address(table: Any, number: int) -> Any:
            return builder.load(builder.inttoptr(builder.add(table, const(8 * number)), INT64.as_pointer()))

        terms = [[address(rows, pair * SLOTS + k) for k in range(SLOTS)] for pair in range(2 * bent.count)]
        y = [address(others, i) for i in range(sources.count)]

        def step(v: Any, sums: list[Any]) -> list[Any]:
            offset = builder.mul(v, const(VECTOR_BYTES))

            def row(base: Any) -> Any:
                return shape.load(builder, builder.add(base, offset))

            factors = []
            for k in range(SLOTS):
                factor = builder.fmul(row(terms[0][k]), row(terms[1][k]))
                if bent.count > 1:
                    factor = shape.multiply_add(builder, row(terms[2][k]), row(terms[3][k]), factor)
                factors.append(factor)
            made = list(sums)
            for i in range(sources.count):
                value = row(y[i])
                for k in range(SLOTS):
                    at = k * sources.count + i
                    made[at] = shape.multiply_add(builder, factors[k], value, sums[at])
            return made

        count = SLOTS * sources.count
        _, sums = loop(builder, const(0), vectors, 1, [shape.zero] * count, step)
        sums = sums + [shape.zero] * (-count % shape.width)
        for group in range(0, len(sums), shape.width):
            place = builder.add(out, const(group * shape.item))
            total = builder.fadd(
                shape.load(builder, place, shape.item), reduce_group(shape, builder, sums[group : group + shape.width])
            )
            shape.store(builder, total, place, shape.item)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, sources, bent, i, i, i, i), generate


@operation
def sum_products(builder: Any, shape: Shape, target: Any, x: Any, y: Any, apart: Any, count: Any, vectors: Any) -> None:
    """target = Σ_c x_c · y_c over `count` pairs of rows, `apart` bytes from one c to the next."""

    def run(width: int) -> Callable[[Any, list[Any]], list[Any]]:
        """`width` vectors side by side: the next sum need not wait for the last."""

        def step(v: Any, _: list[Any]) -> list[Any]:
            offset = builder.mul(v, const(VECTOR_BYTES))

            def term(c: Any, sums: list[Any]) -> list[Any]:
                at = builder.add(offset, builder.mul(c, apart))
                places = [builder.add(at, const(VECTOR_BYTES * k)) for k in range(width)]
                factors = [[shape.load(builder, builder.add(base, place)) for place in places] for base in (x, y)]
                return [shape.multiply_add(builder, *terms) for terms in zip(*factors, sums, strict=True)]

            _, sums = loop(builder, const(0), count, 1, [shape.zero] * width, term)
            for k, value in enumerate(sums):
                shape.store(builder, value, builder.add(target, builder.add(offset, const(VECTOR_BYTES * k))))
            return []

        return step

    v, _ = loop(builder, const(0), vectors, 4, [], run(4))
    loop(builder, v, vectors, 1, [], run(1))
