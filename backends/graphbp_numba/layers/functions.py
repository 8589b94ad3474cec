"""The matrix product as a C function, compiled once a dtype and width: every kernel of this room calls the same."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphbp_numba.instructions import matrix_products
from graphbp_numba.instructions.calls import call
from graphbp_numba.machine.jit import compiled_c, integers, kernel
from graphbp_numba.plan.tables import BLOCK_MULTIPLY

__all__ = ["multiply", "product_address"]


@kernel
def multiply(
    block: Any,
    left: int,
    row_step: int,
    left_step: int,
    right: int,
    right_step: int,
    count: int,
    rows: int,
    out: int,
    out_step: int,
    tile_step: int,
    tiles: int,
    start: int,
    more: int,
) -> None:
    """`matrix_products.multiply` for tiles of the width that the block's table is for."""
    sizes = (left, row_step, left_step, right, right_step, count, rows, out, out_step, tile_step, tiles, start, more)
    call(block[BLOCK_MULTIPLY], sizes)


@cache
def _multiply(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def multiply(
        left: int,
        row_step: int,
        left_step: int,
        right: int,
        right_step: int,
        count: int,
        rows: int,
        out: int,
        out_step: int,
        tile_step: int,
        tiles: int,
        start: int,
        more: int,
    ) -> None:
        matrix_products.multiply(
            tag, left, row_step, left_step, right, right_step, count, rows, out, out_step, tile_step, tiles, start, more
        )

    return compiled_c(integers(13))(multiply)


def product_address(dtype: str, vectors: int) -> int:
    """What a block's BLOCK_MULTIPLY is for tiles of so many vectors a row."""
    return int(_multiply(dtype, vectors).address)
