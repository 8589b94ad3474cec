r"""GᵀΛG through the rows of the outputs: K reverse sweeps in place of one sweep a unit, where the outputs are few.

    G_cj = ∂a_c/∂a_j for the outputs c:   G_cc = 1,   G_cj += h'_j Σ_s w_sj G_cs          (GᵀΛG)_lj = Σ_cd G_cl Λ_cd G_dj

Work a sample: K (edges + M²/2), against edges · M and more for the columns' sweeps; `worth_it` compares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.schedule import Schedule
from graphbp.second_order.tiles import OutputRows, SampleTile

__all__ = ["output_rows", "weigh_rows", "worth_it"]

Array = npt.NDArray[Any]

MAX_OUTPUTS = 16
"""Rows are kept for all units at once, so only for this many outputs."""


def worth_it(schedule: Schedule) -> bool:
    """Rows take less work than columns."""
    k, m, edges = schedule.n_outputs, schedule.n_units, schedule.n_edges
    return k <= MAX_OUTPUTS and k * (edges + m * m // 2) < m * (edges + 3 * m)


def output_rows(schedule: Schedule, w: Array, tile: SampleTile) -> OutputRows:
    """K reverse sweeps at once; `w` (S,) by slot."""
    from scipy import sparse

    s, n = schedule, tile.n_samples
    k = s.n_outputs
    g = np.zeros((s.n_rows, k, n), tile.z.dtype)
    total = np.zeros_like(g)
    g[s.output_rows, np.arange(k)] = 1
    by_source = w[s.out_slot]
    for level, combined in zip(reversed(s.levels), reversed(s.combined), strict=True):
        rows = slice(level.start, level.stop)
        lo, hi = int(s.out_ptr[level.start]), int(s.out_ptr[level.stop])
        if hi > lo:
            pointers = s.out_ptr[level.start : level.stop + 1] - lo
            shape = (level.stop - level.start, s.n_rows)
            matrix = sparse.csr_matrix((by_source[lo:hi], s.out_dst[lo:hi], pointers), shape=shape)
            total[rows] += (matrix @ g.reshape(s.n_rows, k * n)).reshape(-1, k, n)
        g[rows] += tile.slope[rows, None] * total[rows]
        for block in level.dense:
            weight = w[block.slot : block.slot + block.size].reshape(block.shape)
            units = g[block.start : block.stop].reshape(block.stop - block.start, k * n)
            total[block.source] += (weight.T @ units).reshape(-1, k, n)
        for run in combined:
            g_u, g_v = run.slopes(tile.z)
            total[run.fed] += run.gathered(g_u[:, None] * g[run.rows], g_v[:, None] * g[run.rows])
    weighted = np.empty_like(g)
    weigh_rows(schedule, g, tile, weighted)
    return OutputRows(g, weighted)


def weigh_rows(schedule: Schedule, g: Array, tile: SampleTile, out: Array) -> None:
    """out = ΛG, with G and ΛG (n_rows, K, n)."""
    place = np.full(schedule.n_rows, -1)
    place[schedule.output_rows] = np.arange(schedule.n_outputs)
    for head in tile.curvature:
        at = place[head.rows]
        if head.coupled:
            out[:, at] = np.einsum("cdn,rdn->rcn", head.value, g[:, at])
        else:
            for c, value in zip(at, head.value, strict=True):
                np.multiply(value, g[:, c], out=out[:, c])
