r"""Sums over samples, the inner loops of a Hessian's assembly: a small tile of sums in registers, and BLAS where its factors are regular.

    tile_sums    s[k, i] = Σ_n (b_k z_k + d_k p_k) y_i        3 weights l ← k by up to 9 weights j ← i; the bracket is never stored
    gemm         C += A Bᵀ                                     BLAS, from compiled code: no call back into Python, sums in place
    sum_products r = Σ_c x_c y_c                                one row, from a few pairs of rows

Rows are runs of whole vectors of samples, aligned, and zero past the last sample.  A tile of 3 × 9 has 27 independent sums: on a
machine with 32 vector registers all of them stay there, and 30 multiplications feed 27 additions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import get_cython_function_address

from graphbp_numba.functions import VECTOR_BYTES
from graphbp_numba.jit import instruction
from graphbp_numba.lanes import INT32, INT64
from graphbp_numba.rows import Shape, const, loop, reduce_group

__all__ = ["SLOTS", "gemm", "gemm_address", "padded_samples", "sum_products", "tile_sums"]

SLOTS = 3
"""Weights l ← k of one tile."""


@cache
def gemm_address(dtype: str) -> int:
    """Where SciPy's BLAS has the matrix product of a dtype."""
    return int(get_cython_function_address("scipy.linalg.cython_blas", {"float64": "dgemm", "float32": "sgemm"}[dtype]))


def padded_samples(n: int, itemsize: int) -> int:
    """Whole vectors for n samples, an odd number of them: rows a power of two apart would share few lines of the cache."""
    vectors = -(-n * itemsize // VECTOR_BYTES)
    return (vectors | 1) * (VECTOR_BYTES // itemsize)


@instruction
def gemm(context: Any, tag: Any, address: Any, m: Any, n: Any, k: Any, a: Any, lda: Any, b: Any, ldb: Any, c: Any, ldc: Any) -> Any:
    """C (m, n) += A (m, k) Bᵀ (n, k), all row by row, `ld` numbers apart; `address` is Fortran's xGEMM."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        real = ctx.get_value_type(tag.dtype)
        _, address, m, n, k, a, lda, b, ldb, c, ldc = arguments

        def by_reference(value: Any, kind: Any) -> Any:
            place = builder.alloca(kind)
            builder.store(value, place)
            return builder.ptrtoint(place, INT64)

        def whole(value: Any) -> Any:
            return by_reference(builder.trunc(value, INT32), INT32)

        def letter(value: str) -> Any:
            return by_reference(ir.Constant(ir.IntType(8), ord(value)), ir.IntType(8))

        one = by_reference(ir.Constant(real, 1.0), real)
        # column by column, as Fortran has it, this is Cᵀ += B Aᵀ
        given = [letter("T"), letter("N"), whole(n), whole(m), whole(k), one, b, whole(ldb), a, whole(lda), one, c, whole(ldc)]
        kind = ir.FunctionType(ir.VoidType(), [INT64] * len(given))
        builder.call(builder.inttoptr(address, kind.as_pointer()), given)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i, i, i, i, i), generate


@instruction
def tile_sums(context: Any, tag: Any, sources: Any, bent: Any, rows: Any, others: Any, vectors: Any, out: Any) -> Any:
    """out[k · I + i] = Σ_n (b_k z_k (+ d_k p_k)) y_i for 3 k and I = len(sources) i; len(bent) is 2 with the second product, else 1.

    `rows` and `others` are where the addresses of the rows stand: b_k, z_k, d_k and p_k, and y_i; `out` has room for whole vectors.
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
            total = reduce_group(shape, builder, sums[group : group + shape.width])
            shape.store(builder, total, builder.add(out, const(group * shape.item)))
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, sources, bent, i, i, i, i), generate


@instruction
def sum_products(context: Any, tag: Any, target: Any, x: Any, y: Any, apart: Any, count: Any, vectors: Any) -> Any:
    """target = Σ_c x_c · y_c over `count` pairs of rows, `apart` bytes from one c to the next."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        _, target, x, y, apart, count, vectors = arguments

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
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, i, i, i, i, i, i), generate
