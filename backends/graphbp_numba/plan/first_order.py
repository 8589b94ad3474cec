"""What first order sweeps: every row, or where rows are combined, all but those inside a tree, whose terms it takes at once.

A tree combines *leaves* s_l = w_l z_l, the sources' own rows with their weights; neither scaled nor inner rows have a place in a tile,
in the sums, or in any order.  What a source takes back from a tree in the reverse sweep it gathers like an edge:

    product   ∂E/∂z_i += w_l δ_j Π_{m ≠ l} s_m = T_j / z_i,   ∂E/∂w_l += Σ_n T_j / w_l,   T_j = δ_j Π s_m     in place of δ_j, no weights
    choice    ∂E/∂z_i += w_l δ_j,                              ∂E/∂w_l += Σ_n δ_j z_i      where l is the one that j's row of numbers names

T serves lanes in which nothing is near 0 or the ends of the range (`graphbp_numba.instructions.products`); what the others get is
added in a *helper row* of the source, if there are such.

    rows of a tile     the plan's, without those inside trees | Π s_m or numbers, one a tree | a helper row each row | which of these are used |
                       sums that wait, of trees and of choices | δ of unsafe lanes | products before each leaf of one tree | a, h' that are kept
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Schedule
from graphbp_numba.plan.bundles import Bundles, lead_bundles
from graphbp_numba.plan.combining import Combined
from graphbp_numba.plan.edges_out import GROUP, Edges, EdgesOut, edges_out, pointers, whole_groups
from graphbp_numba.plan.tables import (
    CHOICE_CHOSEN,
    CHOICE_FIELDS,
    CHOICE_NUMBER,
    CHOICE_ROW,
    COMBINE_PRODUCT,
    PLAN_BIAS_PARAM,
    PLAN_BUNDLE_PTR,
    PLAN_BUNDLE_ROWS,
    PLAN_CHOICE_PTR,
    PLAN_CHOICE_SUMS,
    PLAN_CHOICES,
    PLAN_GRAD_POS,
    PLAN_GRAD_PTR,
    PLAN_IN_PARAM,
    PLAN_IN_PTR,
    PLAN_IN_SRC,
    PLAN_LEAF_SUMS,
    PLAN_LEAVES,
    PLAN_N_BUNDLES,
    PLAN_N_CHOICES,
    PLAN_N_EDGES,
    PLAN_N_KEEP,
    PLAN_N_LEAVES,
    PLAN_N_OUT_EDGES,
    PLAN_N_ROWS,
    PLAN_N_RUNS,
    PLAN_N_TREES,
    PLAN_OUT_DST,
    PLAN_OUT_KEEP,
    PLAN_OUT_PARAM,
    PLAN_OUT_POS,
    PLAN_OUT_PTR,
    PLAN_OUT_ROW,
    PLAN_PRODUCT_PTR,
    PLAN_PRODUCTS,
    PLAN_RUNS,
    PLAN_SUMS,
    PLAN_SUMS_SIZE,
    PLAN_TREE_SUMS,
    PLAN_TREES,
    RUN_KEEP,
    RUN_KEEP_SLOPE,
    RUN_ORDER,
    RUN_PULLS,
    RUN_START,
    RUN_STOP,
    RUN_TREE_FIRST,
    RUN_TREE_STOP,
    TREE_FIRST,
    TREE_KIND,
    TREE_ROW,
    TREE_STOP,
    TREE_TERM,
)

__all__ = ["Trees", "Visited", "fill_orders", "reverse_order", "without_inner_rows"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Trees:
    """The trees of a first-order sweep.

    lines : a line each (`TREE_...`).        leaves : the source of each leaf, tree by tree.        n_leaves : with room for whole groups.
    product_ptr, products : for each row visited in reverse, the rows of T that it takes from.
    choice_ptr, choices : the same of choices (`CHOICE_...`).
    """

    lines: Indices
    leaves: Rows
    n_leaves: int
    product_ptr: Indices
    products: Rows
    choice_ptr: Indices
    choices: Rows

    def rows(self, n_rows: int) -> int:
        """Rows of a tile for trees, between those of units and those that keep a or h'."""
        product = self.lines[self.lines[:, TREE_KIND] == COMBINE_PRODUCT]
        widest = int((product[:, TREE_STOP] - product[:, TREE_FIRST]).max(initial=0))
        return len(self.lines) + n_rows + flag_rows(n_rows, len(self.lines)) + 2 * GROUP + 1 + widest


@dataclass(frozen=True)
class Visited:
    """Some rows of a schedule in the order of the sweeps, as a table of the plan describes them.

    in_param, out_param, bias_param : θ's number for each edge in, edge out and row; −1 − k stands for frozen[k], frozen[0] = 0.  After the
        edges, in_param has those of the trees' leaves and, source by source, of the bundles, and out_param of leaves and choices.
    """

    n_rows: int
    n_keep: int
    runs: Indices
    in_ptr: Indices
    in_src: Rows
    out: EdgesOut
    out_pos: Indices
    output_rows: Indices
    out_keep: Indices
    bundles: Bundles
    in_param: Rows
    out_param: Rows
    bias_param: Rows
    trees: Trees | None = None

    def fill(self, table: Indices) -> None:
        """Write sizes and addresses."""
        out, bundles = self.out, self.bundles
        sizes = {
            PLAN_N_ROWS: self.n_rows,
            PLAN_N_RUNS: len(self.runs),
            PLAN_N_EDGES: len(self.in_src),
            PLAN_N_KEEP: self.n_keep,
            PLAN_N_OUT_EDGES: len(out.dst),
            PLAN_SUMS: out.bias_place,
            PLAN_SUMS_SIZE: out.size,
            PLAN_N_BUNDLES: len(bundles.rows),
        }
        arrays: dict[int, Array] = {
            PLAN_IN_PTR: self.in_ptr,
            PLAN_IN_SRC: self.in_src,
            PLAN_OUT_PTR: out.ptr,
            PLAN_OUT_DST: out.dst,
            PLAN_RUNS: self.runs,
            PLAN_OUT_POS: self.out_pos,
            PLAN_OUT_ROW: self.output_rows,
            PLAN_OUT_KEEP: self.out_keep,
            PLAN_IN_PARAM: self.in_param,
            PLAN_OUT_PARAM: self.out_param,
            PLAN_BIAS_PARAM: self.bias_param,
            PLAN_GRAD_PTR: out.grad_ptr,
            PLAN_GRAD_POS: out.grad_pos,
        }
        arrays |= dict(zip(range(PLAN_BUNDLE_PTR, PLAN_BUNDLE_ROWS + 1), (bundles.ptr, bundles.src, bundles.rows), strict=True))
        if (trees := self.trees) is not None:
            sizes |= {PLAN_N_TREES: len(trees.lines), PLAN_N_LEAVES: trees.n_leaves, PLAN_N_CHOICES: trees.choices.shape[1]}
            sizes |= dict(zip((PLAN_LEAF_SUMS, PLAN_CHOICE_SUMS, PLAN_TREE_SUMS), out.more_places, strict=True))
            arrays |= {
                PLAN_TREES: trees.lines,
                PLAN_LEAVES: trees.leaves,
                PLAN_PRODUCT_PTR: trees.product_ptr,
                PLAN_PRODUCTS: trees.products,
                PLAN_CHOICE_PTR: trees.choice_ptr,
                PLAN_CHOICES: trees.choices,
            }
        for place, size in sizes.items():
            table[place] = size
        for place, array in arrays.items():
            table[place] = array.ctypes.data


def flag_rows(n_rows: int, n_trees: int) -> int:
    """Rows that have two bytes for each row and one for each tree: whether its helper row is used, its kind, whether all of it is 0."""
    return -(-(2 * n_rows + n_trees) // 64)


def reverse_order(runs: Array, n_rows: int, n_inputs: int) -> Indices:
    """Rows as the reverse sweep visits them: runs from the last, rows inside a run upwards, then the inputs."""
    order = np.empty(n_rows, np.int64)
    if len(runs):
        size = runs[:, RUN_STOP] - runs[:, RUN_START]
        rows = np.arange(n_inputs, n_rows)
        order[np.repeat(runs[:, RUN_ORDER], size) + rows - np.repeat(runs[:, RUN_START], size)] = rows
    order[n_rows - n_inputs :] = np.arange(n_inputs)
    return order


def fill_orders(runs: Indices) -> None:
    """Where in the reverse order a run's rows begin: the runs after it come first."""
    size = runs[:, RUN_STOP] - runs[:, RUN_START]
    runs[:, RUN_ORDER] = np.cumsum(size[::-1])[::-1] - size


def without_inner_rows(s: Schedule, every: Visited, edges: Edges, combined: Combined, param: Rows) -> Visited:
    """What first order visits of a schedule that combines rows; `edges` are its own, by destination, and `param` the slots' parameters."""
    kept = np.flatnonzero(~combined.fused)
    place = np.cumsum(~combined.fused) - 1
    n_rows = len(kept)
    here = ~combined.fused[edges.dst]
    swept = Edges(place[edges.dst[here]].astype(np.int32), place[edges.src[here]].astype(np.int32), edges.slot[here])
    lines = combined.trees.copy()
    lines[:, TREE_ROW] = place[lines[:, TREE_ROW]]
    lines[:, TREE_TERM] = _term_rows(lines[:, TREE_ROW], np.bincount(swept.dst, minlength=n_rows), n_rows)
    runs = every.runs[~combined.fused[every.runs[:, RUN_START]]]
    runs[:, RUN_START], runs[:, RUN_STOP] = place[runs[:, RUN_START]], place[runs[:, RUN_STOP] - 1] + 1
    bounds = runs[:, [RUN_START, RUN_STOP]]
    runs[:, [RUN_TREE_FIRST, RUN_TREE_STOP]] = np.searchsorted(lines[:, TREE_ROW], bounds)
    fill_orders(runs)
    b = every.bundles
    bundles = replace(b, rows=place[b.rows].astype(np.int32), src=place[b.src].astype(np.int32))
    lead_bundles(s.row_level[kept], runs, bundles)
    order = reverse_order(runs, n_rows, s.n_inputs)
    source, n_leaves = place[combined.leaf_source], whole_groups(len(combined.leaf_source)) + GROUP
    trees, chosen = _trees(lines, source, n_leaves, order)
    fed = np.bincount(source, minlength=n_rows) > 0
    runs[:, RUN_PULLS] = np.logical_or.reduceat(fed, runs[:, RUN_START]) if len(runs) else 0
    beyond = trees.rows(n_rows)
    for column in (RUN_KEEP, RUN_KEEP_SLOPE):
        runs[:, column] += np.where(runs[:, column] >= 0, beyond, 0)
    slot = np.append(edges.slot, s.parameters.n_slots)[combined.leaf_edge]
    nothing = np.full(n_leaves - len(slot), s.parameters.n_slots)
    of_product = np.repeat(lines[:, TREE_KIND] == COMBINE_PRODUCT, lines[:, TREE_STOP] - lines[:, TREE_FIRST])
    more = (
        np.concatenate([np.where(of_product, slot, s.parameters.n_slots), nothing]),
        slot[chosen],
        np.full(len(lines), s.parameters.n_slots),
    )
    out = edges_out(s, swept, order, s.bias_slot[kept], more)
    of_leaves = np.append(param[slot], np.full(len(nothing), -1, np.int32))
    of_bundles = every.in_param[len(every.in_src) :]
    return replace(
        every,
        n_rows=n_rows,
        n_keep=every.n_keep + beyond,
        runs=runs,
        in_ptr=pointers(np.bincount(swept.dst, minlength=n_rows)),
        in_src=swept.src,
        out=out,
        out_pos=every.out_pos[kept],
        output_rows=place[every.output_rows],
        out_keep=every.out_keep + beyond,
        bundles=bundles,
        in_param=np.concatenate([param[swept.slot], of_leaves, of_bundles]),
        out_param=np.concatenate([param[out.slot], of_leaves, param[slot[chosen]]]),
        bias_param=every.bias_param[kept],
        trees=trees,
    )


def _term_rows(row: Indices, fan_in: Indices, n_rows: int) -> Indices:
    """Where T of each tree stands: in place of δ, which only edges in would gather, or in the tree's own row, in place of Π."""
    return np.where(fan_in[row] > 0, n_rows + np.arange(len(row)), row)


def _trees(lines: Indices, source: Indices, n_leaves: int, order: Indices) -> tuple[Trees, Indices]:
    """The tables of trees, and the leaves of choices in the order in which a reverse sweep meets their sources."""
    n_rows = len(order)
    visit = np.empty(n_rows, np.int64)
    visit[order] = np.arange(n_rows)
    tree = np.repeat(np.arange(len(lines)), lines[:, TREE_STOP] - lines[:, TREE_FIRST])
    product = lines[tree, TREE_KIND] == COMBINE_PRODUCT

    def by_visit(leaves: Indices) -> tuple[Indices, Indices]:
        when = visit[source[leaves]]
        return pointers(np.bincount(when, minlength=n_rows)), leaves[np.argsort(when, kind="stable")]

    product_ptr, multiplied = by_visit(np.flatnonzero(product))
    choice_ptr, chosen = by_visit(np.flatnonzero(~product))
    choices = np.empty((CHOICE_FIELDS, len(chosen)), np.int32)
    choices[CHOICE_ROW], choices[CHOICE_CHOSEN] = lines[tree[chosen], TREE_ROW], n_rows + tree[chosen]
    choices[CHOICE_NUMBER] = chosen - lines[tree[chosen], TREE_FIRST]
    products = lines[tree[multiplied], TREE_TERM].astype(np.int32)
    return Trees(lines, source.astype(np.int32), n_leaves, product_ptr, products, choice_ptr, choices), chosen
