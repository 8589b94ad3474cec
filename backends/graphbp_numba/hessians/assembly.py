r"""The Hessian's assembly, compiled: what the perturbed units of one column tile contribute, added to the half L of H = L + Lᵀ.

    H_(ji),(lk) = Σ_n z_i (B_lj z_k + δ_l Φ_kj)        for a unit j of the tile and a unit l at or after it

The three products are those of `graphbp.second_order.assembly`; `graphbp_numba.hessians.groups` has them between groups of several units,
`graphbp_numba.hessians.singles` between units with sources of their own.  Here is what is around them: the buffer they work in, and L + Lᵀ.

B comes from a column's sweeps, or is formed here row by row as GᵀΛG, from the rows G_c and (ΛG)_c of a few outputs.
"""

from __future__ import annotations

from typing import Any

from graphbp_numba.hessians.groups import SOURCE_TILES, UNIT_PAIRS
from graphbp_numba.hessians.singles import CHUNK, MAX_SOURCES, RING
from graphbp_numba.instructions.calls import item_size
from graphbp_numba.instructions.matrix_products import TILE_VECTORS, add_transposed
from graphbp_numba.instructions.sample_sums import SLOTS
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import compiled

__all__ = ["MIRROR", "mirror", "scratch_bytes"]


MIRROR = 64
"""Rows and columns of L taken at a time where it is added to its transpose; whole vectors."""


def scratch_bytes(n: int, slots: int, itemsize: int) -> int:
    """Of the buffer that the entries here work in, for rows of n samples (padded) and so many weights of single units."""
    row = TILE_VECTORS * VECTOR_BYTES
    pairs = (UNIT_PAIRS + row // itemsize) * n * itemsize + SOURCE_TILES * row * (n + UNIT_PAIRS)
    singles = (RING + 1) * CHUNK * 8 + ((slots + SLOTS) * MAX_SOURCES + VECTOR_BYTES) * itemsize
    return max(pairs, singles) + 4 * VECTOR_BYTES


@compiled
def mirror(tag: Any, half: Any, first: int, stop: int) -> None:
    """L ← L + Lᵀ for the rows first..stop and the columns from there on, and their mirror images; `first` is a multiple of lanes."""
    n, item, step = len(half), item_size(tag), half.strides[0]
    lanes = VECTOR_BYTES // item
    whole = n // lanes * lanes
    for k0 in range(first, whole, MIRROR):
        for i in range(first, min(stop, whole), lanes):
            for k in range(max(i, k0), min(k0 + MIRROR, whole), lanes):
                add_transposed(tag, half.ctypes.data + i * step + k * item, half.ctypes.data + k * step + i * item, step)
    for i in range(first, stop):  # the last columns
        for k in range(max(i, whole), n):
            total = half[i, k] + half[k, i]
            half[i, k] = total
            half[k, i] = total
