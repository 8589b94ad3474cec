"""Matrix products of tiles, with the sums in registers:   out[j] = start[j] + Σ_i left[j, i] · right[i]   (or out[j] += ...)

`right` and `out` are *tiled*: a matrix is cut into tiles of `lanes` columns, each stored on its own, row by row,

    tile 0: row 0 ▢▢▢▢ row 1 ▢▢▢▢ ...      tile 1: row 0 ▢▢▢▢ row 1 ▢▢▢▢ ...      (rows of whole vectors, one or two)

which is how the sweeps keep the rows of their units.  `left` is tiled too, or lies in memory row by row, as W does in θ: what counts is
that `lanes` neighbours in a row stand together.  So z, δ and W are operands as they stand; only Wᵀ, and z by sample, are laid out first:

    forward     a = W z              left = W              right = z                one tile of samples at a time
    reverse     β = Wᵀ δ             left = Wᵀ             right = δ
    gradient    ∂E/∂W = δ zᵀ         left = δ              right = z by sample      one tile of sources at a time

`REGISTER_ROWS` rows of one tile of `out` are summed at a time: for each i a row of `right` is loaded once, and each left[j, i], broadcast
from memory, takes part in one fused multiply–add a vector.  `DEPTH` tiles of `left` are gone through before the next rows: these, and
the rows of `right`, then come from the caches.

On an AMD EPYC (Zen 4, 3.7 GHz) one core reaches 113–116 of its 119 GFLOP/s in float32 for 512 × 784 @ 784 × 64 and the like, where
OpenBLAS 0.3.31 reaches 90–104.  No result depends on an address's alignment; the order of the sums follows from the sizes alone.
"""

from __future__ import annotations

import platform
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils

from graphbp_numba.instructions.calls import item_size, reals
from graphbp_numba.instructions.operation import operation
from graphbp_numba.instructions.shapes import Shape, const, loop
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, kernel, literal_instruction

__all__ = ["DEPTH", "REGISTER_ROWS", "TILE_VECTORS", "Matrix", "add_transposed", "multiply", "transpose"]


def _block() -> tuple[int, int]:
    """(rows, vectors a row) of the sums that this machine's registers hold, with room for a row of `right` and one broadcast."""
    settings: Any = numba.config
    features = settings.CPU_FEATURES
    if features is None:
        features = llvm.get_host_cpu_features().flatten() if settings.ENABLE_AVX else ""
    if "+avx512f" in features:
        return 8, 2  # 16 of 32 registers of 64 bytes: as fast as 24 or 28 of them, and 8 divides most layers
    if "+avx2" in features:
        return 6, 1  # 12 of 16 registers of 32 bytes
    if platform.machine().lower() in ("arm64", "aarch64"):
        return 6, 1  # 24 of 32 registers of 16 bytes
    return 2, 1  # 8 of 16 registers of 16 bytes


REGISTER_ROWS, TILE_VECTORS = _block()
DEPTH = 16
"""Tiles of `left` gone through at a time: with REGISTER_ROWS = 8, 16 KiB of it, half a first-level cache."""


class Matrix(NamedTuple):
    """A matrix in memory: its address, the bytes from row to row, and those from a tile of columns to the next."""

    at: int
    row_step: int
    tile_step: int


@literal_instruction
def _block_product(
    context: Any, tag: Any, rows: Any, left: Any, right: Any, count: Any, out: Any, out_step: Any, start: Any, more: Any
) -> Any:
    """out[j] = (out[j] if more else start[j]) + Σ_{i < count} left[j, i] · right[i], for j < rows, one tile of `right`; see `multiply`."""

    def generate(ctx: Any, builder: Any, _: Any, arguments: Any) -> Any:
        shape = Shape(ctx, tag)
        left, right, count, out, out_step, start, more = arguments[2:]
        left, row_step, left_step = cgutils.unpack_tuple(builder, left)  # type: ignore[no-untyped-call]
        lanes = shape.count * shape.width
        places = [builder.add(out, builder.mul(out_step, const(j))) for j in range(rows.literal_value)]

        steps = [builder.mul(row_step, const(j)) for j in range(rows.literal_value)]

        def scalar(address: Any, offset: Any) -> Any:
            return shape.splat(builder, builder.load(shape.pointer(builder, builder.add(address, offset), shape.real)))

        def vector(address: Any, v: int) -> Any:
            return shape.load(builder, builder.add(address, const(VECTOR_BYTES * v)), shape.item)

        def step(_: Any, carried: list[Any]) -> list[Any]:
            a, b, *sums = carried
            z = [vector(b, v) for v in range(shape.count)]
            w = [scalar(a, step) for step in steps]
            made = [shape.multiply_add(builder, w[k // shape.count], z[k % shape.count], total) for k, total in enumerate(sums)]
            return [builder.add(a, const(shape.item)), builder.add(b, const(shape.row_bytes)), *made]

        def tile(done: Any, carried: list[Any]) -> list[Any]:
            rest = builder.sub(count, done)
            here = builder.select(builder.icmp_signed("<", rest, const(lanes)), rest, const(lanes))
            _, (_, b, *sums) = loop(builder, const(0), here, 1, carried, step)
            return [builder.add(carried[0], left_step), b, *sums]

        is_more = builder.icmp_signed("!=", more, const(0))
        sums = []
        for j, place in enumerate(places):
            first = scalar(start, const(shape.item * j))
            sums += [builder.select(is_more, vector(place, v), first) for v in range(shape.count)]
        _, (_, _, *sums) = loop(builder, const(0), builder.add(count, const(lanes - 1)), lanes, [left, right, *sums], tile)
        for k, total in enumerate(sums):
            offset = const(VECTOR_BYTES * (k % shape.count))
            shape.store(builder, total, builder.add(places[k // shape.count], offset), shape.item)
        return ctx.get_dummy_value()

    i = types.intp
    return types.none(tag, rows, left, i, i, i, i, i, i), generate


@kernel
def multiply(
    tag: Any, left: Any, right: int, right_step: int, out: Any, count: int, rows: int, tiles: int, start: int, more: int
) -> None:
    """The product for `rows` rows and `tiles` tiles of `right` and of the matrix `out`; right_step: bytes between tiles of `right`.

    start: the address of `rows` numbers, whose values do not matter where `more` is not 0.
    """
    row, item = len(tag) * VECTOR_BYTES, item_size(tag)
    depth = DEPTH * (row // item)
    for i in range(0, count, depth):
        n = min(depth, count - i)
        a, b = left.at + i * item // row * left.tile_step, right + i * row
        again = 1 if more or i > 0 else 0
        j = 0
        while j < rows:
            here, bias = Matrix(a + j * left.row_step, left.row_step, left.tile_step), start + j * item
            rest = rows - j
            for t in range(tiles):
                z, place = b + t * right_step, out.at + j * out.row_step + t * out.tile_step
                if rest >= REGISTER_ROWS:
                    _block_product(tag, REGISTER_ROWS, here, z, n, place, out.row_step, bias, again)
                elif rest >= 4:
                    _block_product(tag, 4, here, z, n, place, out.row_step, bias, again)
                elif rest >= 2:
                    _block_product(tag, 2, here, z, n, place, out.row_step, bias, again)
                else:
                    _block_product(tag, 1, here, z, n, place, out.row_step, bias, again)
            j += REGISTER_ROWS if rest >= REGISTER_ROWS else (4 if rest >= 4 else (2 if rest >= 2 else 1))


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of a square of rows: the off-diagonal quarters of all blocks of 2 · half rows and columns change places."""
    n = half = len(rows)
    while half > 1:
        half //= 2
        low = [c if not c & half else n + c - half for c in range(n)]
        high = [c + half if not c & half else n + c for c in range(n)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), n), mask) for mask in (low, high)]
        made = list(rows)
        for r in range(n):
            if not r & half:
                made[r] = builder.shuffle_vector(rows[r], rows[r + half], masks[0])
                made[r + half] = builder.shuffle_vector(rows[r], rows[r + half], masks[1])
        rows = made
    return rows


@operation
def _transpose_block(builder: Any, shape: Shape, source: Any, source_step: Any, target: Any, target_step: Any) -> None:
    """target[c, r] = source[r, c], as many rows and columns as a vector has lanes."""
    places = [builder.add(source, builder.mul(source_step, const(r))) for r in range(shape.width)]
    columns = _transposed(builder, [shape.load(builder, place, shape.item) for place in places])
    for c, value in enumerate(columns):
        shape.store(builder, value, builder.add(target, builder.mul(target_step, const(c))), shape.item)


@operation
def add_transposed(builder: Any, shape: Shape, one: Any, two: Any, step: Any) -> None:
    """A ← A + Bᵀ and B ← (A + Bᵀ)ᵀ, squares of as many rows and columns as a vector has lanes; they may be the same one."""
    places = [[builder.add(base, builder.mul(step, const(r))) for r in range(shape.width)] for base in (one, two)]
    a, b = ([shape.load(builder, place, shape.item) for place in line] for line in places)
    total = [builder.fadd(x, y) for x, y in zip(a, _transposed(builder, b), strict=True)]
    for line, values in zip(places, (total, _transposed(builder, total)), strict=True):
        for place, value in zip(line, values, strict=True):
            shape.store(builder, value, place, shape.item)


@kernel
def transpose(tag: Any, source: int, source_step: int, rows: int, columns: int, target: int, target_step: int) -> None:
    """target[c, r] = source[r, c]; the steps are bytes from row to row of either."""
    item = item_size(tag)
    n = VECTOR_BYTES // item
    whole_rows, whole_columns = rows // n * n, columns // n * n
    for r in range(0, whole_rows, n):
        for c in range(0, whole_columns, n):
            _transpose_block(
                tag, source + r * source_step + c * item, source_step, target + c * target_step + r * item, target_step
            )
    for r in range(rows):
        line = carray(reals(tag, source + r * source_step), columns)
        for c in range(whole_columns if r < whole_rows else 0, columns):
            carray(reals(tag, target + c * target_step), rows)[r] = line[c]
