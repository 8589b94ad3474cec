r"""The outer-product Hessian from stacked rows, block by block: H = Σ_c A_c Ã_cᵀ with A_c = G_cj z_i and Ã_c = (ΛG)_cj z_i, (W, n) each.

Work: K W²/2 a sample, all of it in matrix products of one good size.  The products of `assembly` take fewer multiplications, but
for single units each has a handful of rows, at a fraction of BLAS's speed; `pays` compares.
"""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.second_order.plan import HessianPlan
from graphbp.second_order.rows import OutputRows
from graphbp.second_order.tiles import SampleTile
from graphbp.threads import run_tasks

__all__ = ["add_stacked", "pays"]

Array = npt.NDArray[Any]

SINGLE_COST = 6
"""Time of a multiplication in the products of single units, in those of a large matrix product (measured with OpenBLAS)."""

STACK_BYTES = 1 << 24
"""Of A, and of Ã."""

BLOCK = 256
"""Parameters of one block of H."""


def pays(plan: HessianPlan) -> bool:
    """Stacked rows take less time than the products of groups.  Tied parameters, whose rows are sums, are left to those."""
    if plan.tied:
        return False
    sizes = [(len(g.index), g.n_sources) for g in plan.groups]
    free = sum(m * f for m, f in sizes)
    several = [(m, f) for m, f in sizes if m > 1]
    in_groups = sum(m * f for m, f in several)
    squares = sum((m * f) ** 2 for m, f in several)
    regular = in_groups**2 / 2 - squares / 4  # within a group a quarter of the entries, between two groups one of two triangles
    return plan.schedule.n_outputs * plan.n_parameters**2 / 2 < regular + SINGLE_COST * (free**2 - in_groups**2) / 2


def add_stacked(plan: HessianPlan, tile: SampleTile, rows: OutputRows, half: Array) -> None:
    """half += the whole of L, H = L + Lᵀ, of one sample tile."""
    units = plan.units
    unit = np.repeat(units.row, np.diff(units.start))
    order = np.argsort(units.index, kind="stable")[np.count_nonzero(units.index < 0) :]
    unit, source = unit[order], units.source[order]
    k, n = rows.g.shape[1:]
    step = max(1, STACK_BYTES // (len(order) * k * half.itemsize))
    bounds = range(0, len(order), BLOCK)
    pairs = list(combinations_with_replacement(bounds, 2))
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        stacks = [np.empty((len(order), k, part.stop - start), half.dtype) for _ in range(2)]

        def fill(number: int, part: slice = part, stacks: list[Array] = stacks) -> None:
            some = slice(bounds[number], bounds[number] + BLOCK)
            z = tile.z[source[some], None, part]
            cuts = np.flatnonzero(np.diff(unit[some], prepend=-1, append=-1))
            for lo, hi in pairwise(cuts.tolist()):  # the weights of one unit
                here = slice(some.start + lo, some.start + hi)
                for out, values in zip(stacks, (rows.g, rows.weighted), strict=True):
                    np.multiply(values[unit[here.start], :, part], z[lo:hi], out=out[here])

        def multiply(number: int, stacks: list[Array] = stacks) -> None:
            one, two = (slice(start, start + BLOCK) for start in pairs[number])
            product = stacks[0][one].reshape(-1, stacks[0][0].size) @ stacks[1][two].reshape(-1, stacks[1][0].size).T
            if one == two:
                product *= 0.5
            half[one, two] += product

        run_tasks(fill, len(bounds))
        run_tasks(multiply, len(pairs))
