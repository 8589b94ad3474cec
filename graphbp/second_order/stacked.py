r"""The outer-product Hessian from stacked rows, block by block: H = Σ_c A_c Ã_cᵀ with A_c = G_cj z_i and Ã_c = (ΛG)_cj z_i, (W, n) each.

Where Λ is diagonal and nowhere negative, A_c takes √Λ_cc and is its own Ã_c.  A weight has no row in the stack of an output that
it does not lead to.  Weights that lead to the same outputs stand together, so that a block of H sums over the outputs common to all
of it, and those that lead to none are left out.

Work: K W²/2 a sample where every weight leads to every output, all of it in matrix products of one good size.  The products of
`assembly` take fewer multiplications, but for single units each has a handful of rows, at a fraction of BLAS's speed; `pays` compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.second_order.assembly import selection
from graphbp.second_order.plan import HessianPlan
from graphbp.second_order.tiles import OutputCurvature, OutputRows, SampleTile
from graphbp.threads import blas_on_one_thread, run_tasks

__all__ = ["add_stacked", "pays"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

SINGLE_COST = 3
"""Time of a multiplication in the products of single units, in those of a large matrix product (measured with OpenBLAS)."""

STACK_BYTES = 1 << 26
"""Of the stacks of all outputs."""

BLOCK = 256
"""Parameters of one block of H, at most."""

LEAST = 64
"""Fewer parameters than this that lead to the same outputs share a block with others."""


@blas_on_one_thread
def pays(plan: HessianPlan) -> bool:
    """Stacked rows take less time than the products of groups.  Tied parameters, whose rows are sums, are left to those."""
    if plan.tied:
        return False
    rows = plan.units.row
    free = np.diff(plan.units.start).astype(np.float64)
    in_groups = np.where(np.isin(rows, plan.single_rows), 0, free)
    patterns, pattern = np.unique(plan.curved_by[:, rows], axis=1, return_inverse=True)
    meet = patterns.T.astype(np.float64) @ patterns > 0
    one, two = (np.bincount(pattern.ravel(), sizes, patterns.shape[1]) for sizes in (free, in_groups))
    singles = (one @ meet @ one - two @ meet @ two) / 2
    squares = sum((group.n_units * group.n_sources) ** 2 for group in plan.groups_of_several)
    regular = in_groups.sum() ** 2 / 2 - squares / 4  # within a group a quarter of the entries, between two one of two triangles
    stacked = ((plan.leads[:, rows] @ free) ** 2).sum() / 2
    return bool(stacked < regular + SINGLE_COST * singles)


def add_stacked(plan: HessianPlan, tile: SampleTile, rows: OutputRows, half: Array) -> None:
    """half += the whole of L, H = L + Lᵀ, of one sample tile."""
    blocks = _blocks(plan)
    count = max((block.stop for block in blocks), default=0)
    terms = list(_terms(plan, tile, rows))
    n = tile.n_samples
    step = max(1, STACK_BYTES // (max(1, count * sum(len(term.factors) for term in terms)) * half.itemsize))
    stacks = [[np.empty((count, min(step, n)), half.dtype) for _ in term.factors] for term in terms]
    live = [[[bool(leads[b.row].any()) for b in blocks] for leads in term.leads] for term in terms]
    pairs = [(p, q) for p in range(len(blocks)) for q in range(p, len(blocks))]
    common = [[k for k in range(len(terms)) if live[k][0][p] and live[k][-1][q]] for p, q in pairs]
    work = [len(blocks[p].row) * len(blocks[q].row) * len(ks) for (p, q), ks in zip(pairs, common, strict=True)]
    largest_first = [k for k in np.argsort(work, kind="stable")[::-1].tolist() if work[k]]
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        width = part.stop - part.start

        def fill(number: int, part: slice = part, width: int = width) -> None:
            block = blocks[number]
            z = tile.z[block.source, part]
            for term, stack, alive in zip(terms, stacks, live, strict=True):
                for factor, out, used in zip(term.factors, stack, alive, strict=True):
                    if used[number]:
                        np.multiply(factor[block.row, part], z, out=out[block.start : block.stop, :width])

        def multiply(number: int, width: int = width) -> None:
            p, q = (blocks[k] for k in pairs[largest_first[number]])
            total = None
            for k in common[largest_first[number]]:
                product = stacks[k][0][p.start : p.stop, :width] @ stacks[k][-1][q.start : q.stop, :width].T
                total = product if total is None else np.add(total, product, out=total)
            assert total is not None  # for mypy: work asks
            if p is q:
                total *= 0.5
            half[selection(p.index, q.index)] += total

        run_tasks(fill, len(blocks))
        run_tasks(multiply, len(largest_first))


@dataclass(frozen=True)
class _Block:
    """Weights start..stop of the stacks: each one's unit and source (rows), and its position in θ."""

    start: int
    stop: int
    row: Indices
    source: Indices
    index: Indices


def _blocks(plan: HessianPlan) -> list[_Block]:
    """Every free weight that leads to an output, in order of the outputs that it leads to, then of θ."""
    units = plan.units
    row = np.repeat(units.row, np.diff(units.start))
    leads = plan.leads[:, row]
    order = np.lexsort((units.index, *leads))
    order = order[(units.index[order] >= 0) & leads[:, order].any(axis=0)]
    changes = np.flatnonzero((np.diff(leads[:, order].astype(np.int8), axis=1) != 0).any(axis=0)) + 1
    cuts = [0]
    for change in [*changes.tolist(), len(order)]:
        if change - cuts[-1] >= LEAST or (change == len(order) > cuts[-1]):
            begin, pieces = cuts[-1], -(-(change - cuts[-1]) // BLOCK)
            cuts += [begin + (change - begin) * (k + 1) // pieces for k in range(pieces)]
    return [_Block(lo, hi, row[order[lo:hi]], units.source[order[lo:hi]], units.index[order[lo:hi]]) for lo, hi in pairwise(cuts)]


@dataclass(frozen=True)
class _Term:
    """A_c Ã_cᵀ of one output: what multiplies z in each, (n_rows, n), and from which rows these can differ from 0; one where A = Ã."""

    factors: tuple[Array, ...]
    leads: tuple[npt.NDArray[np.bool_], ...]


def _terms(plan: HessianPlan, tile: SampleTile, rows: OutputRows) -> Iterator[_Term]:
    place = np.full(plan.schedule.n_rows, -1)
    place[plan.schedule.output_rows] = np.arange(plan.schedule.n_outputs)
    for head in tile.curvature:
        at = place[head.rows]
        together = plan.leads[at].any(axis=0)
        positive = _positive(head)
        for k, c in enumerate(at):
            g, leads = rows.g[:, c], plan.leads[c]
            if positive:
                yield _Term((g * np.sqrt(head.value[k]),), (leads,))
            else:
                yield _Term((g, rows.weighted[:, c]), (leads, together if head.coupled else leads))


def _positive(head: OutputCurvature) -> bool:
    """Λ is diagonal and has a square root."""
    return not head.coupled and bool((head.value >= 0).all())
