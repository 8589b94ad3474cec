"""The matrix product as a C function, compiled once a dtype and width: every kernel of this room calls the same."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.instructions import matrix_products
from graphbp_numba.instructions.calls import call
from graphbp_numba.instructions.matrix_products import Matrix
from graphbp_numba.machine.jit import compiled_c, integers, kernel
from graphbp_numba.plan.tables import BLOCK_MULTIPLY

__all__ = ["multiply", "product_address"]


@kernel
def multiply(
    block: Any, left: Any, right: int, right_step: int, out: Any, count: int, rows: int, tiles: int, start: int, more: int
) -> None:
    """`matrix_products.multiply` for tiles of the width that the block's table is for."""
    at, step = (left.at, left.row_step, left.tile_step), (out.at, out.row_step, out.tile_step)
    call(block[BLOCK_MULTIPLY], (*at, right, right_step, *step, count, rows, tiles, start, more))


@cache
def _multiply(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def multiply(
        left: int,
        left_row: int,
        left_tile: int,
        right: int,
        right_step: int,
        out: int,
        out_row: int,
        out_tile: int,
        count: int,
        rows: int,
        tiles: int,
        start: int,
        more: int,
    ) -> None:
        a, made = Matrix(left, left_row, left_tile), Matrix(out, out_row, out_tile)
        matrix_products.multiply(tag, a, right, right_step, made, count, rows, tiles, start, more)

    return compiled_c(integers(13))(multiply)


def product_address(dtype: str, vectors: int) -> int:
    """What a block's BLOCK_MULTIPLY is for tiles of so many vectors a row."""
    return int(_multiply(dtype, vectors).address)
