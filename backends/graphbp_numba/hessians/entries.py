"""What the entries of the assembly share: rows of a tile, B_lj read or formed, and which units lead to which."""

from __future__ import annotations

from typing import Any

from graphbp_numba.instructions.rows import copy_rows
from graphbp_numba.instructions.sample_sums import sum_products
from graphbp_numba.machine.jit import kernel

__all__ = ["curvature", "first_from", "leads", "samples_of"]


@kernel
def samples_of(values: Any, first: int, second: int, n0: int) -> Any:
    """The address of values[first, second, n0]."""
    return values.ctypes.data + ((first * values.shape[1] + second) * values.shape[2] + n0) * values.itemsize


@kernel
def curvature(tag: Any, given: Any, j: int, l: int, n0: int, vectors: int, out: int) -> None:  # noqa: E741
    """out = B_lj of some samples, of the columns `given`."""
    g, weighted = given.g, given.weighted
    if g.shape[0]:
        sum_products(
            tag, out, samples_of(g, j, 0, n0), samples_of(weighted, l, 0, n0), g.shape[2] * g.itemsize, g.shape[1], vectors
        )
    else:
        copy_rows(tag, out, samples_of(given.B, l - given.start, j - given.start, n0), vectors)


@kernel
def first_from(rows: Any, j: int) -> int:
    """How many of the sorted rows lie before j."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < j:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def leads(paths: Any, j: int, k: int, n_rows: int) -> bool:
    """Whether Φ_kj is wanted; not for the unit that biases come from, the last of all.  Unknown paths: it may be."""
    if len(paths):
        return k < n_rows and paths[k, j]
    return j <= k < n_rows
