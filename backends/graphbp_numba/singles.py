r"""Pairs of weights of which the later belongs to a unit with sources of its own: sums of products in registers, not in memory.

    H_(ji),(lk) = Σ_n z_i (B_lj z_k + δ_l Φ_kj)        for a unit j and a later single unit l

BLAS would need the factor in brackets written out for every pair (j, l).  Here three k and three i are taken at a time: the three
factors are formed as the samples go by, and nine sums stay in registers.  (Samples are summed in vectors, so the order of the
summands is the compiler's; it is fixed for a number of samples and a machine.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from graphbp.extend import ColumnTile, HessianPlan, SampleTile
from graphbp_numba.jit import compiled, source_digest, watch

__all__ = ["add_singles"]

Array = npt.NDArray[Any]

_vectorised = njit(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz"})


@_vectorised
def _plain(b: Any, z0: Any, z1: Any, z2: Any, y0: Any, y1: Any, y2: Any) -> Any:
    """Σ_n b z_k y_i for three k and three i."""
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = b.dtype.type(0)
    for n in range(len(b)):
        r0, r1, r2 = b[n] * z0[n], b[n] * z1[n], b[n] * z2[n]
        s00 += r0 * y0[n]
        s01 += r0 * y1[n]
        s02 += r0 * y2[n]
        s10 += r1 * y0[n]
        s11 += r1 * y1[n]
        s12 += r1 * y2[n]
        s20 += r2 * y0[n]
        s21 += r2 * y1[n]
        s22 += r2 * y2[n]
    return s00, s01, s02, s10, s11, s12, s20, s21, s22


@_vectorised
def _bent(b: Any, d: Any, z0: Any, z1: Any, z2: Any, p0: Any, p1: Any, p2: Any, y0: Any, y1: Any, y2: Any) -> Any:
    """Σ_n (b z_k + d p_k) y_i for three k and three i."""
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = b.dtype.type(0)
    for n in range(len(b)):
        r0, r1, r2 = b[n] * z0[n] + d[n] * p0[n], b[n] * z1[n] + d[n] * p1[n], b[n] * z2[n] + d[n] * p2[n]
        s00 += r0 * y0[n]
        s01 += r0 * y1[n]
        s02 += r0 * y2[n]
        s10 += r1 * y0[n]
        s11 += r1 * y1[n]
        s12 += r1 * y2[n]
        s20 += r2 * y0[n]
        s21 += r2 * y1[n]
        s22 += r2 * y2[n]
    return s00, s01, s02, s10, s11, s12, s20, s21, s22


@_vectorised
def _path(phi: Any, zero: Any, k: int, j: int, c0: int, n_rows: int, exact: bool) -> Any:
    """Φ_kj, or zeros where no path can lead from j to k."""
    if exact and j <= k < n_rows:
        return phi[k - c0, j - c0]
    return zero


def _make_sums(digest: str) -> Any:
    def sums(
        exact: bool,
        c0: int,
        z: Any,
        delta: Any,
        B: Any,
        phi: Any,
        unit_row: Any,
        unit_start: Any,
        unit_source: Any,
        unit_index: Any,
        first: int,
        last: int,
        single_row: Any,
        stack_start: Any,
        stack_source: Any,
        stack_index: Any,
        half: Any,
    ) -> None:
        """half[ji, lk] += ..., for the units first..last of the list and all single units at or after each."""
        len(digest)
        n_rows = len(z) - 1
        zero = np.zeros_like(z[0])
        for u in range(first, last):
            j, i0, i1 = unit_row[u], unit_start[u], unit_start[u + 1]
            for v in range(np.searchsorted(single_row, j), len(single_row)):
                l, k0, k1 = single_row[v], stack_start[v], stack_start[v + 1]  # noqa: E741  # the book's name of the second unit
                share = half.dtype.type(0.5 if l == j else 1.0)
                b = B[l - c0, j - c0]
                for ka in range(k0, k1, 3):
                    kb, kc = min(ka + 1, k1 - 1), min(ka + 2, k1 - 1)
                    s0, s1, s2 = stack_source[ka], stack_source[kb], stack_source[kc]
                    bends = exact and (j <= s0 < n_rows or j <= s1 < n_rows or j <= s2 < n_rows)
                    for ia in range(i0, i1, 3):
                        ib, ic = min(ia + 1, i1 - 1), min(ia + 2, i1 - 1)
                        y0, y1, y2 = z[unit_source[ia]], z[unit_source[ib]], z[unit_source[ic]]
                        if bends:
                            found = _bent(
                                b,
                                delta[l],
                                z[s0],
                                z[s1],
                                z[s2],
                                _path(phi, zero, s0, j, c0, n_rows, exact),
                                _path(phi, zero, s1, j, c0, n_rows, exact),
                                _path(phi, zero, s2, j, c0, n_rows, exact),
                                y0,
                                y1,
                                y2,
                            )
                        else:
                            found = _plain(b, z[s0], z[s1], z[s2], y0, y1, y2)
                        for k in range(min(3, k1 - ka)):
                            for i in range(min(3, i1 - ia)):
                                if unit_index[ia + i] >= 0:
                                    half[unit_index[ia + i], stack_index[ka + k]] += share * found[3 * k + i]

    return watch(compiled(sums))


_sums = _make_sums(source_digest())


def add_singles(plan: HessianPlan, tile: SampleTile, column: ColumnTile, half: Array) -> None:
    """The core's `AddSingles`, compiled."""
    units = plan.units
    first, last = np.searchsorted(units.row, [column.start, column.stop])
    exact = column.phi is not None
    nothing = column.B[:0]
    _sums(
        exact,
        column.start,
        tile.z,
        tile.delta if tile.delta is not None else tile.z[:0],
        column.B,
        column.phi if column.phi is not None else nothing,
        units.row,
        units.start,
        units.source,
        units.index,
        int(first),
        int(last),
        plan.single_rows,
        plan.stack_start,
        plan.stack_source,
        plan.stack_index,
        half,
    )
