"""The plan: a schedule as the flat arrays that the kernels interpret.

    edges in      by destination row: what a_j sums over                      in_ptr, in_src
    edges out     by source row, in the order the reverse sweep meets them    out_ptr, out_dst
    bundles       four rows of one level with the same sources                bundle_ptr, bundle_src, bundle_rows
    runs          up to 4 rows of one level and one activation                one line of `runs` each
    heads         groups of outputs that one error formula serves             one line of `heads` each
    pairs, trees  combinations of two rows, and of more                       `graphbp_numba.plan.combining`

Small dense blocks are expanded to edges; the plan does not know how the user built the network.  Every position carries the number
of the parameter that fills it, so that weights are gathered from θ, and the gradient's sums back into θ, without a detour.

The kernels get one int64 array, `Plan.table`: sizes, and addresses of the arrays, at the places that `graphbp_numba.plan.tables` names.  All arrays always have
the same dtypes, so that a new topology needs no new machine code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import AnyError, HeadGroup, NotSupportedError, Schedule, head_groups
from graphbp_numba.machine.functions import activation_functions
from graphbp_numba.plan.bundles import Bundles, find_bundles, lead_bundles
from graphbp_numba.plan.combining import Combined, combined_rows
from graphbp_numba.plan.edges_out import Edges, edges_out, pointers
from graphbp_numba.plan.first_order import Visited, fill_orders, reverse_order, without_inner_rows
from graphbp_numba.plan.heads import head_lines
from graphbp_numba.plan.tables import (
    KIND_ELEMENTWISE,
    KIND_LINEAR,
    KIND_SOFTMAX,
    PAIR_ROW,
    PLAN_EACH,
    PLAN_FROZEN,
    PLAN_HEAD_POS,
    PLAN_HEADS,
    PLAN_HELPER_STOP,
    PLAN_N_BUNDLES,
    PLAN_N_HEADS,
    PLAN_N_INPUTS,
    PLAN_N_OUTPUTS,
    PLAN_N_PAIRS,
    PLAN_PAIR_OF_ROW,
    PLAN_PAIRS,
    PLAN_SIZE,
    PLAN_STATE_ROWS,
    PLAN_TARGET_ROWS,
    RUN_BUNDLED,
    RUN_F,
    RUN_F_KEEP,
    RUN_FIELDS,
    RUN_FROM_Z,
    RUN_HAS_OUTPUT,
    RUN_KEEP,
    RUN_KEEP_SLOPE,
    RUN_KIND,
    RUN_LEAF,
    RUN_PAIR_FIRST,
    RUN_PAIR_STOP,
    RUN_SLOPE,
    RUN_START,
    RUN_STOP,
)

__all__ = ["MAX_RUN_ROWS", "ROW_COST", "Array", "Plan", "make_plan"]

MAX_RUN_ROWS = 4
"""Rows in a run at most: their β waits in the first-level cache until h' is known."""

ROW_COST = 8
"""A row's activation, load and store, in edges."""

Array = npt.NDArray[Any]


@dataclass
class Plan:
    """The arrays of a schedule in one dtype; see the module's docstring.

    every : all rows as the table has them; what follows it is taken from there.
    combined : its combinations of rows; in sweeps that keep every row their helper rows stand behind the schedule's.
    first, first_table : the rows that first order visits, and their table: the same two where no rows are combined.
    """

    schedule: Schedule
    dtype: np.dtype[Any]
    every: Visited
    frozen: Array
    heads: npt.NDArray[np.int64]
    table: npt.NDArray[np.int64]
    alive: tuple[Any, ...]
    head_groups: tuple[HeadGroup, ...]
    combined: Combined
    first: Visited
    first_table: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        every = self.every
        self.in_ptr, self.in_src, self.out, self.runs, self.n_keep = every.in_ptr, every.in_src, every.out, every.runs, every.n_keep
        self.in_param, self.out_param, self.bias_param = every.in_param, every.out_param, every.bias_param

    def with_target_rows(self, count: int) -> Plan:
        """The same with tables of its own, and so many rows of targets."""
        table = self.table.copy()
        first_table = table if self.first_table is self.table else self.first_table.copy()
        table[PLAN_TARGET_ROWS] = first_table[PLAN_TARGET_ROWS] = count
        return replace(self, table=table, first_table=first_table)

    @property
    def n_edges(self) -> int:
        """Edges, those of expanded dense blocks too."""
        return len(self.in_src)

    @property
    def n_slopes(self) -> int:
        """Rows of the kept area for h', which are touched where z is near a limit, and then once in a sweep."""
        kept = self.runs[:, RUN_KEEP_SLOPE] >= 0
        return int((self.runs[kept, RUN_STOP] - self.runs[kept, RUN_START]).sum())

    @property
    def n_bundles(self) -> int:
        """Bundles of rows with the same sources."""
        return int(self.table[PLAN_N_BUNDLES])

    @cached_property
    def edge_rows(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """(dst, src): for each of `out.grad_pos`, the rows whose δ and z multiply; a bias has the row n_rows, where z = 1."""
        n_rows, out = self.schedule.n_rows, self.out
        dst = np.zeros(out.size, np.int32)
        src = np.full(out.size, n_rows, np.int32)
        dst[: len(out.dst)], src[: len(out.dst)] = out.dst, self.out_source
        dst[out.bias_place : out.bias_place + n_rows] = np.arange(n_rows)
        return dst[out.grad_pos], src[out.grad_pos]

    @cached_property
    def out_source(self) -> npt.NDArray[np.int32]:
        """The source row of each edge out."""
        s = self.schedule
        return np.repeat(reverse_order(self.runs, s.n_rows, s.n_inputs).astype(np.int32), np.diff(self.out.ptr))

    @cached_property
    def output_stop(self) -> npt.NDArray[np.int64]:
        """For each output, the first run that a reverse sweep from it (with its softmax group) need not visit."""
        run = np.searchsorted(self.runs[:, RUN_START], self.schedule.output_rows, side="right").astype(np.int64)
        for group in self.schedule.softmax_groups:
            run[group] = run[group].max()
        return run

    @cached_property
    def run_costs(self) -> npt.NDArray[np.int64]:
        """Edges in, and the rows' own cost, of each run."""
        start, stop = self.runs[:, RUN_START], self.runs[:, RUN_STOP]
        return self.in_ptr[stop] - self.in_ptr[start] + ROW_COST * (stop - start)

    @cached_property
    def level_costs(self) -> npt.NDArray[np.int64]:
        """The same of each level."""
        return np.diff(np.concatenate([[0], np.cumsum(self.run_costs)])[self.level_runs])

    @cached_property
    def level_runs(self) -> npt.NDArray[np.int64]:
        """The first run of each level, and the end."""
        level = self.schedule.row_level[self.runs[:, RUN_START]] if len(self.runs) else np.empty(0, np.int32)
        return np.concatenate([[0], np.flatnonzero(np.diff(level)) + 1, [len(self.runs)]]).astype(np.int64)


def make_plan(schedule: Schedule, error: AnyError, dtype: np.dtype[Any]) -> Plan:
    """Flatten a schedule.  Raises `NotSupportedError` for an activation or error that cannot be compiled."""
    s = schedule
    if max(s.n_rows, s.parameters.n_slots) >= 2**31 - 1:
        raise NotSupportedError(f"the Numba backend numbers weights in 32 bits; {s.parameters.n_slots:,} weights are too many")
    edges = _edges_by_destination(s)
    in_ptr = pointers(np.bincount(edges.dst, minlength=s.n_rows))
    combined = combined_rows(s, in_ptr, edges.src)
    fan_out = np.bincount(edges.src, minlength=s.n_rows) + np.bincount(combined.helped, minlength=s.n_rows)
    bundles = find_bundles(in_ptr, edges.src, s.row_level)
    param, frozen = _slot_parameters(s, dtype)
    every = _every_row(s, edges, combined, bundles, _runs(s, fan_out, bundles, combined, dtype.name), param)
    first = without_inner_rows(s, every, edges, combined, param) if len(combined) else every
    groups = head_groups(s, error)
    heads, head_pos = head_lines(groups, dtype.name)
    each = np.arange(s.n_outputs)
    lines = (combined.pairs, combined.of_row)
    table = np.zeros(PLAN_SIZE, np.int64)
    table[[PLAN_N_INPUTS, PLAN_N_OUTPUTS, PLAN_N_HEADS, PLAN_TARGET_ROWS]] = s.n_inputs, s.n_outputs, len(heads), s.n_outputs
    table[[PLAN_HEADS, PLAN_HEAD_POS, PLAN_EACH, PLAN_FROZEN]] = [a.ctypes.data for a in (heads, head_pos, each, frozen)]
    helper_stop = s.n_rows + len(combined.helped)
    table[[PLAN_STATE_ROWS, PLAN_HELPER_STOP, PLAN_N_PAIRS]] = max(s.n_rows + 1, helper_stop), helper_stop, len(combined)
    table[[PLAN_PAIRS, PLAN_PAIR_OF_ROW]] = [array.ctypes.data for array in lines]
    every.fill(table)
    first_table = table
    if first is not every:
        first_table = table.copy()
        first.fill(first_table)
    return Plan(
        schedule=s,
        dtype=dtype,
        every=every,
        frozen=frozen,
        heads=heads,
        table=table,
        alive=(head_pos, each, lines, [activation_functions(activation, dtype.name) for activation in s.activations]),
        head_groups=groups,
        combined=combined,
        first=first,
        first_table=first_table,
    )


def _every_row(
    s: Schedule,
    edges: Edges,
    combined: Combined,
    bundles: Bundles,
    made: tuple[npt.NDArray[np.int64], int],
    param: npt.NDArray[np.int32],
) -> Visited:
    """All rows, given (runs, rows kept) and the slots' parameters."""
    runs, n_keep = made
    lead_bundles(s.row_level, runs, bundles)
    order = reverse_order(runs, s.n_rows, s.n_inputs)
    as_scheduled = not (s.dense_blocks or len(combined))
    out = edges_out(s, edges.to_helpers(s, combined.helped), order, s.bias_slot, as_scheduled=as_scheduled)
    out_pos = np.full(s.n_rows, -1, np.int64)
    out_pos[s.output_rows] = np.arange(s.n_outputs)
    return Visited(
        n_rows=s.n_rows,
        n_keep=n_keep,
        runs=runs,
        in_ptr=pointers(np.bincount(edges.dst, minlength=s.n_rows)),
        in_src=edges.src,
        out=out,
        out_pos=out_pos,
        output_rows=np.ascontiguousarray(s.output_rows, np.int64),
        out_keep=_keep_rows(s, runs),
        bundles=bundles,
        in_param=np.concatenate([param[edges.slot], param[edges.slot[bundles.edges]]]),
        out_param=param[out.slot],
        bias_param=np.where(s.bias_slot >= 0, param[s.bias_slot] if len(param) else 0, -1).astype(np.int32),
    )


def _edges_by_destination(s: Schedule) -> Edges:
    """Sparse edges and expanded dense blocks, sorted by destination, then source."""
    dst = np.repeat(np.arange(s.n_rows, dtype=np.int32), np.diff(s.in_ptr))
    slot = np.arange(s.n_sparse, dtype=np.int64)
    if not s.dense_blocks:
        return Edges(dst, np.ascontiguousarray(s.in_src, np.int32), slot)
    more_dst = [np.repeat(np.arange(b.start, b.stop, dtype=np.int32), len(b.src)) for b in s.dense_blocks]
    more_src = [np.tile(b.src, b.stop - b.start) for b in s.dense_blocks]
    more_slot = [np.arange(b.slot, b.slot + b.size) for b in s.dense_blocks]
    all_dst, all_src = np.concatenate([dst, *more_dst]), np.concatenate([s.in_src, *more_src]).astype(np.int32)
    order = np.lexsort((all_src, all_dst))
    return Edges(all_dst[order], all_src[order], np.concatenate([slot, *more_slot])[order])


def _runs(s: Schedule, fan_out: Array, bundles: Bundles, combined: Combined, dtype: str) -> tuple[npt.NDArray[np.int64], int]:
    """Cut every segment into runs that end where `leaf`, `has_output`, `bundled` or `fused` changes.

    Those that keep their a get a place for it.
    """
    is_output = np.zeros(s.n_rows, bool)
    is_output[s.output_rows] = True
    functions = [activation_functions(activation, dtype) for activation in s.activations]
    used = np.unique(s.row_activation[s.n_inputs :]).tolist() if s.n_units else []
    if not s.n_units:
        return np.zeros((0, RUN_FIELDS), np.int64), 0
    bundled = np.zeros(s.n_rows, bool)
    bundled[bundles.rows.ravel()] = True
    leaf = (fan_out == 0) & ~combined.given
    kind = 8 * combined.fused + 4 * bundled + 2 * leaf + is_output
    rows = np.arange(s.n_inputs, s.n_rows)
    cut = np.empty(len(rows), bool)
    cut[0] = True
    cut[1:] = (
        (np.diff(s.row_level[s.n_inputs :]) != 0)
        | (np.diff(s.row_activation[s.n_inputs :]) != 0)
        | (np.diff(kind[s.n_inputs :]) != 0)
    )
    first = np.maximum.accumulate(np.where(cut, rows, 0))
    cut |= (rows - first) % MAX_RUN_ROWS == 0
    start = rows[cut]
    runs = np.zeros((len(start), RUN_FIELDS), np.int64)
    runs[:, RUN_START], runs[:, RUN_STOP] = start, np.append(start[1:], s.n_rows)
    activation = s.row_activation[start]
    runs[:, RUN_LEAF], runs[:, RUN_HAS_OUTPUT] = leaf[start], is_output[start]
    runs[:, [RUN_PAIR_FIRST, RUN_PAIR_STOP]] = np.searchsorted(combined.pairs[:, PAIR_ROW], runs[:, [RUN_START, RUN_STOP]])
    for number in used:
        here = activation == number
        row, table = s.activations[number], functions[number]
        if not row.elementwise:
            runs[here, RUN_KIND] = KIND_SOFTMAX
            continue
        if row.builtin and row.name == "identity":
            runs[here, RUN_KIND] = KIND_LINEAR
        else:
            runs[here, RUN_F] = table.address("f")
            if table.keeps_slope:
                runs[here, RUN_F_KEEP], runs[here, RUN_SLOPE] = table.keeping()
            else:
                runs[here, RUN_SLOPE] = table.address("dz" if table.from_z else "df")
        runs[here, RUN_FROM_Z] = table.from_z
    keeps_a = (runs[:, RUN_HAS_OUTPUT] == 1) | ((runs[:, RUN_FROM_Z] == 0) & (runs[:, RUN_KIND] == KIND_ELEMENTWISE))
    runs[:, RUN_KEEP], n_a = _places(keeps_a, runs, 0)
    runs[:, RUN_KEEP_SLOPE], n_keep = _places((runs[:, RUN_F_KEEP] != 0) & (runs[:, RUN_LEAF] == 0), runs, n_a)
    runs[:, RUN_BUNDLED] = bundled[start]
    fill_orders(runs)
    return runs, n_keep


def _places(keeps: Array, runs: Array, first: int) -> tuple[npt.NDArray[np.int64], int]:
    """Rows of the kept area from `first` on, for the runs that `keeps` names (−1 for others), and where they end."""
    ends = first + np.cumsum(np.where(keeps, runs[:, RUN_STOP] - runs[:, RUN_START], 0))
    return np.where(keeps, ends - (runs[:, RUN_STOP] - runs[:, RUN_START]), -1), int(ends[-1])


def _slot_parameters(s: Schedule, dtype: np.dtype[Any]) -> tuple[npt.NDArray[np.int32], Array]:
    """For each slot its parameter, or −1 − k for the k-th entry of `frozen`, whose first is 0.

    Where rows are combined, one slot more, of value 1 for good.
    """
    param = s.parameters.slot_parameter.astype(np.int32)
    fixed = s.parameters.frozen
    frozen = np.zeros(1 + len(fixed), dtype)
    frozen[1:] = s.parameters.slot_value[fixed]
    param[fixed] = -2 - np.arange(len(fixed), dtype=np.int32)
    if len(s.combinations):
        param, frozen = np.append(param, np.int32(-1 - len(frozen))), np.append(frozen, dtype.type(1))
    return param, frozen


def _keep_rows(s: Schedule, runs: Array) -> npt.NDArray[np.int64]:
    """Where each output's a is kept."""
    if not len(runs):
        return np.zeros(s.n_outputs, np.int64)
    run = np.searchsorted(runs[:, RUN_START], s.output_rows, side="right") - 1
    return np.ascontiguousarray(runs[run, RUN_KEEP] + s.output_rows - runs[run, RUN_START], np.int64)
