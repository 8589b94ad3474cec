"""Forward values of a network with *waists*: levels from which alone everything after them follows.

    for each group of levels:                              all samples of a task, in order
        for each tile of samples that are left:
            for each stage of the group:                   its rows alone stand in the tile's buffer, near the core
            pack the waist's rows, one lane for all samples that are zero there

Every layer of a stack is a waist.  Rows before a waist are not needed again, so a stage's rows overwrite those of the one before, and a
network of any depth needs a few levels' memory.  Where the activations of a waist are 0 for all a < 0 (relu and its like), a
sample can be zero in all of it; all such samples then have the same outputs, and one lane goes on for them all.  Which lane computes a
sample, and beside which others, changes nothing in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Schedule
from graphbp_numba.first_order.runs import forward_runs
from graphbp_numba.first_order.samples import aligned, load_tile
from graphbp_numba.heads.sweeps import softmax_rows
from graphbp_numba.instructions.calls import item_size, pointer, reals
from graphbp_numba.instructions.rows import copy_rows, fill_rows, join_bits
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.plan import Plan
from graphbp_numba.plan.tables import (
    CUT_PACK,
    CUT_ROW_START,
    CUT_ROW_STOP,
    CUT_RUN_STOP,
    PLAN_N_BUNDLES,
    PLAN_N_INPUTS,
    PLAN_N_KEEP,
    PLAN_N_OUTPUTS,
    PLAN_N_ROWS,
    PLAN_OUT_ROW,
    RUN_START,
)

__all__ = ["Stages", "find_stages", "forward_stages"]


STAGE_BYTES = 1 << 20
"""Rows of a stage, at most where two levels fit: a usual second-level cache."""
WORTH_BYTES = 1 << 24
"""Where no samples can be taken together, stages pay from this size of all rows on: half of a usual third-level cache."""


@dataclass(frozen=True)
class Stages:
    """Where the network is cut.

    cuts : for each stage the run it ends before, the rows of the waist that it ends with, and whether lanes are packed there; the last
        stage ends with the last run.
    rows : the largest number of rows in a stage, the waist before it included.       packed : of a waist at which lanes are packed.
    """

    cuts: npt.NDArray[np.int64]
    rows: int
    packed: int

    @property
    def packs(self) -> int:
        """At how many waists samples that are zero are taken together."""
        return int(self.cuts[:, CUT_PACK].sum())


def find_stages(plan: Plan, row_bytes: int) -> Stages | None:
    """The stages of a plan whose tiles have rows of this size; None where cutting it gains nothing."""
    s = plan.schedule
    if len(plan.combined):  # what a helper row is for stands outside its stage
        return None
    waists = _waists(plan)
    if len(waists) < 2:
        return None
    fits = max(1, STAGE_BYTES // row_bytes)
    dying = _dying(s)
    cuts: list[tuple[int, int, int, int]] = []
    from_row, held, packs_at = 0, 0, 1
    for number, (run_stop, start, stop) in enumerate(waists):
        after = waists[number + 1][2] if number + 1 < len(waists) else s.n_rows
        pack = number + 1 >= packs_at and bool(dying[start:stop].all())
        if pack:
            packs_at = 2 * (number + 1)
        if pack or after - from_row > fits:
            cuts.append((run_stop, start, stop, int(pack)))
            held = max(held, stop - from_row)
            from_row = start
    held = max(held, s.n_rows - from_row)
    if not cuts or (s.n_rows * row_bytes < WORTH_BYTES and not any(cut[CUT_PACK] for cut in cuts)):
        return None
    packed = max((cut[CUT_ROW_STOP] - cut[CUT_ROW_START] for cut in cuts if cut[CUT_PACK]), default=0)
    cuts.append((len(plan.runs), s.n_rows, s.n_rows, 0))
    return Stages(np.array(cuts, np.int64), held, packed)


def _waists(plan: Plan) -> list[tuple[int, int, int]]:
    """(first run after it, first row, end) of every level, but the last, that all later rows and outputs follow from alone."""
    s = plan.schedule
    bounds = plan.runs[plan.level_runs[:-1], RUN_START] if len(plan.runs) else np.empty(0, np.int64)
    if len(bounds) < 2:
        return []
    first_source = np.full(s.n_rows, s.n_rows, np.int64)
    fed = np.flatnonzero(np.diff(plan.in_ptr))
    first_source[fed] = np.minimum.reduceat(plan.in_src, plan.in_ptr[fed]) if len(fed) else 0
    later = np.minimum.accumulate(first_source[::-1])[::-1]  # over this row and all after it
    first_output = int(s.output_rows.min()) if s.n_outputs else s.n_rows
    starts, stops = bounds[:-1], bounds[1:]
    good = (later[stops] >= starts) & (first_output >= stops)
    runs = plan.level_runs[1:-1]
    return [(int(runs[k]), int(starts[k]), int(stops[k])) for k in np.flatnonzero(good)]


def _dying(s: Schedule) -> npt.NDArray[np.bool_]:
    """Rows whose activation is 0 for negative a."""
    probe = np.array([-3.0, -1.0, -0.25])
    with np.errstate(all="ignore"):  # sqrt and log have no value there, which is not 0
        zero = [bool(h.elementwise and not np.any(h.f(probe))) for h in s.activations]
    made = np.array([*zero, False])[s.row_activation]
    made[: s.n_inputs] = False
    return np.asarray(made)


@kernel
def _copy_lanes(tile: Any, first: int, stop: int, lanes: Any, packed: Any, at: int) -> None:
    """packed[j, at + i] = tile[first + j, lanes[i]]."""
    count = len(lanes)
    if count and lanes[count - 1] - lanes[0] == count - 1:
        base = lanes[0]
        for j in range(stop - first):
            for k in range(count):
                packed[j, at + k] = tile[first + j, base + k]
        return
    for j in range(stop - first):
        for i in range(count):
            packed[j, at + i] = tile[first + j, lanes[i]]


@compiled
def forward_stages(tag: Any, table: Any, cuts: Any, held: int, weights: Any, X: Any, Y: Any, memory: Any, packed: Any) -> None:
    """Y of some samples; `held` is the most rows of a stage, and `packed` (2, rows, samples rounded up to tiles) holds two waists."""
    w, bias, n = weights.w_in.ctypes.data, weights.bias.ctypes.data, X.shape[0]
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    row = len(tag) * VECTOR_BYTES
    here = aligned(memory)
    there = here + held * row
    keep = there + held * row
    seen = keep + table[PLAN_N_KEEP] * row
    bits = carray(reals(tag, seen), (1, lanes))
    out_row = carray(pointer(table[PLAN_OUT_ROW]), table[PLAN_N_OUTPUTS], np.int64)
    bundles = table[PLAN_N_BUNDLES] > 0
    lane_of = np.arange(n)
    left = n
    chosen = np.empty(lanes, np.int64)
    first_cut, first_run, low, high = 0, 0, 0, table[PLAN_N_INPUTS]
    source, target = packed[0], packed[1]
    while True:
        last_cut = first_cut
        while last_cut < len(cuts) - 1 and cuts[last_cut, CUT_PACK] == 0:
            last_cut += 1
        done = last_cut == len(cuts) - 1
        after, zero = 0, -1
        place = np.empty(left, np.int64)
        for start in range(0, left, lanes):
            base, other, begin = here, there, low
            if first_cut == 0:
                load_tile(carray(reals(tag, base), (high, lanes)), X, start)
            else:
                tile = carray(reals(tag, base), (high - low, lanes))
                for j in range(high - low):
                    for lane in range(lanes):
                        tile[j, lane] = source[j, start + lane]
            run = first_run
            for c in range(first_cut, last_cut + 1):
                z = base - begin * row
                forward_runs(tag, table, w, bias, z, keep, run, cuts[c, CUT_RUN_STOP], bundles, False)
                run = cuts[c, CUT_RUN_STOP]
                if c < last_cut:
                    begin = cuts[c, CUT_ROW_START]
                    copy_rows(tag, other, z + begin * row, cuts[c, CUT_ROW_STOP] - begin)
                    base, other = other, base
            z = base - begin * row
            tile = carray(reals(tag, z), (table[PLAN_N_ROWS], lanes))
            count = min(lanes, left - start)
            if done:
                softmax_rows(table, z, keep, lanes)
                for lane in range(count):
                    place[start + lane] = start + lane
                    for k in range(table[PLAN_N_OUTPUTS]):
                        target[k, start + lane] = tile[out_row[k], lane]
                continue
            a, b = cuts[last_cut, CUT_ROW_START], cuts[last_cut, CUT_ROW_STOP]
            fill_rows(tag, seen, 1)
            join_bits(tag, seen, z + a * row, b - a)
            number = 0
            for lane in range(count):
                if bits[0, lane] == 0 and zero >= 0:
                    place[start + lane] = zero
                    continue
                if bits[0, lane] == 0:
                    zero = after + number
                place[start + lane] = after + number
                chosen[number] = lane
                number += 1
            _copy_lanes(tile, a, b, chosen[:number], target, after)
            after += number
        for i in range(n):
            lane_of[i] = place[lane_of[i]]
        if done:
            break
        low, high = cuts[last_cut, CUT_ROW_START], cuts[last_cut, CUT_ROW_STOP]
        first_run, first_cut, left = cuts[last_cut, CUT_RUN_STOP], last_cut + 1, after
        for lane in range(left, (left + lanes - 1) // lanes * lanes):
            for j in range(high - low):
                target[j, lane] = target[j, left - 1]
        source, target = target, source
    for i in range(n):
        for k in range(table[PLAN_N_OUTPUTS]):
            Y[i, k] = target[k, lane_of[i]]
