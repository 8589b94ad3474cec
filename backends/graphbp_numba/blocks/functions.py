"""The products and gradients of a level's pieces as C functions, compiled once a dtype and width of a tile's rows; sweeps call them by address."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from graphbp_numba.instructions.block_products import SUM_COLUMNS, SUM_ROWS, block_product, block_sums
from graphbp_numba.instructions.calls import item_size, pointer
from graphbp_numba.instructions.gathers import row_sums
from graphbp_numba.instructions.matrix_products import TILE_VECTORS
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled_c, integers
from graphbp_numba.plan.tables import (
    JOB_FIELDS,
    JOB_FIRST,
    JOB_LAST,
    NET_PRODUCTS,
    NET_SUMS,
    RECT_COUNT,
    RECT_FIELDS,
    RECT_FIRST,
    RECT_FROM_INPUTS,
    RECT_ROWS,
    RECT_SOURCES,
    RECT_START,
    RECT_STRIDE,
)

__all__ = ["DOWN", "DOWN_TO_INPUTS", "UP", "WIDTHS", "prepare"]

UP, DOWN, DOWN_TO_INPUTS = range(3)
"""Which way products go; those down leave the inputs alone, or not."""

WIDTHS = (1, 2, 4) if TILE_VECTORS > 1 else (1,)
"""Vectors a row of a tile, at most as many as leave room in the registers for six rows' sums."""


EIGHT_ROWS = TILE_VECTORS > 1
"""Whether the registers hold the sums of eight rows of up to two vectors; else of six of one."""


class Numbered(NamedTuple):
    """Rows of a tile, by their numbers: both addresses."""

    rows: int
    numbers: int


class Lines(NamedTuple):
    """The table of pieces: its address, a line's bytes, and where in a line the first row and the sources' address stand."""

    at: int
    size: int
    start: int
    sources: int


class Sums(NamedTuple):
    """Where a block's gradient goes: the address, bytes from row to row, and how many rows and columns there are, of two and eight."""

    at: int
    step: int
    rows: int
    width: int


def prepare(net: Any, dtype: str, vectors: int, reverse: bool) -> None:
    """Have the C functions compiled that sweeps over rows of so many vectors call, and their addresses put into the table."""
    for place, make in ((NET_PRODUCTS, _products), (NET_SUMS, _sums))[: 2 if reverse else 1]:
        at = place + vectors // 2
        if not net[at]:
            net[at] = make(dtype, vectors).address


@cache
def _products(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def products(at: int, first: int, stop: int, weights: int, rows: int, numbers: int, way: int) -> None:
        """rows += W rows for the pieces first..stop, from their sources to their units; or rows += Wᵀ rows.  numbers: 0, 1, 2, ..."""
        item = item_size(tag)
        for p in range(first, stop):
            piece = carray(pointer(at + p * (8 * RECT_FIELDS)), RECT_FIELDS, np.int64)
            if way == DOWN and piece[RECT_FROM_INPUTS]:
                continue
            w, stride = weights + piece[RECT_FIRST] * item, piece[RECT_STRIDE] * item
            units, sources = numbers + piece[RECT_START] * 4, piece[RECT_SOURCES]
            m, k = piece[RECT_ROWS], piece[RECT_COUNT]
            if way != UP:
                m, k, units, sources, row_step, column_step = k, m, sources, units, item, stride
            else:
                row_step, column_step = stride, item
            j, given = 0, Numbered(rows, sources)
            while j < m:
                here, onto = w + j * row_step, Numbered(rows, units + 4 * j)
                rest = m - j
                if rest >= 8 and EIGHT_ROWS and len(tag) < 4:
                    block_product(tag, 8, here, row_step, column_step, onto, given, k)
                    j += 8
                elif rest >= 6:
                    block_product(tag, 6, here, row_step, column_step, onto, given, k)
                    j += 6
                elif rest >= 4:
                    block_product(tag, 4, here, row_step, column_step, onto, given, k)
                    j += 4
                elif rest >= 2:
                    block_product(tag, 2, here, row_step, column_step, onto, given, k)
                    j += 2
                else:
                    block_product(tag, 1, here, row_step, column_step, onto, given, k)
                    j += 1

    return compiled_c(integers(7))(products)


@cache
def _sums(dtype: str, vectors: int) -> Any:
    tag = (getattr(np, dtype)(0),) * vectors

    def sums(
        jobs_at: int, first: int, stop: int, at: int, rows: int, deltas: int, gradient: int, start: int, end: int, biases: int
    ) -> None:
        """gradient += δ zᵀ of the pieces of the jobs first..stop, and biases += δ of the rows start..end, over lanes."""
        item = item_size(tag)
        row_sums(tag, deltas + start * (len(tag) * VECTOR_BYTES), end - start, biases + start * item)
        jobs = carray(pointer(jobs_at), (stop, JOB_FIELDS), np.int64)
        for number in range(first, stop):
            one, last = jobs[number, JOB_FIRST], jobs[number, JOB_LAST]
            piece = carray(pointer(at + one * (8 * RECT_FIELDS)), RECT_FIELDS, np.int64)
            m, k, step = piece[RECT_ROWS], piece[RECT_COUNT], piece[RECT_STRIDE] * item
            table = Lines(at, 8 * RECT_FIELDS, 8 * RECT_START, 8 * RECT_SOURCES)
            place = gradient + piece[RECT_FIRST] * item
            for j in range(0, m, SUM_ROWS):
                for i in range(0, k, SUM_COLUMNS):
                    into = Sums(place + j * step + i * item, step, m - j, min(SUM_COLUMNS, k - i))
                    block_sums(tag, deltas, rows, table, one, last, j, i, into)

    return compiled_c(integers(10))(sums)
