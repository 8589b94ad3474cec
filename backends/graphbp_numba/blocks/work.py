"""What the path over blocks shares among its calls: the tables that its kernels read, how samples are cut, and memory."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import AnyError, Schedule, Segment, head_groups
from graphbp_numba.blocks.functions import prepare
from graphbp_numba.blocks.pieces import Pieces
from graphbp_numba.blocks.sweeps import PADDING, tile_rows
from graphbp_numba.heads.formulas import prepare_heads
from graphbp_numba.machine.functions import VECTOR_BYTES, activation_functions
from graphbp_numba.plan.heads import head_table
from graphbp_numba.plan.plan import ROW_COST
from graphbp_numba.plan.tables import (
    HEAD_ADD_VALUE,
    HEAD_MAKE_DELTA,
    HEAD_MAKE_Y,
    MODE_FORWARD,
    MODE_GRADIENT,
    MODE_VALUE,
    NET_HEADS,
    NET_N_WEIGHTS,
    NET_SIZE,
    PLAN_N_KEEP,
    PLAN_OUT_KEEP,
    PLAN_OUT_ROW,
    PLAN_TARGET_ROWS,
    RECT_FIELDS,
    SEGMENT_FIELDS,
    STEP_FIELDS,
)
from graphbp_numba.work.pools import KEPT_BYTES, Pool

__all__ = ["BlockWork"]

Array = npt.NDArray[Any]


class BlockWork:
    """The tables of a schedule's pieces in one dtype.

    n_weights : numbers in θ or among the slots, which a partition's sums begin with.      places : of each row's bias among them, or −1.
    """

    def __init__(self, schedule: Schedule, pieces: Pieces, error: AnyError, dtype: np.dtype[Any]) -> None:
        self.schedule, self.pieces, self.dtype = schedule, pieces, dtype
        s = schedule
        self.n_weights = s.n_parameters if pieces.direct else s.parameters.n_slots
        place = s.parameters.slot_parameter if pieces.direct else np.arange(s.parameters.n_slots)
        self.places = np.where(s.bias_slot >= 0, place[s.bias_slot] if len(place) else -1, -1).astype(np.int64)
        self.n_keep, self._out_keep = 0, np.zeros(s.n_outputs, np.int64)
        self.none, self.no_rows = np.empty(0, dtype), np.empty((0, 0), dtype)
        self._table, self._heads = head_table(s, head_groups(s, error), dtype.name)
        segments = np.array([self._segment(part) for level in s.levels for part in level.segments], np.int64)
        self._table[PLAN_N_KEEP] = self.n_keep
        self._out_row = np.ascontiguousarray(s.output_rows, np.int64)
        self._table[[PLAN_OUT_ROW, PLAN_OUT_KEEP]] = self._out_row.ctypes.data, self._out_keep.ctypes.data
        prepare_heads(self._heads[0], dtype.name, HEAD_MAKE_Y)
        outputs = np.stack([s.output_rows, np.arange(s.n_outputs)], axis=1)[np.argsort(s.output_rows, kind="stable")]
        steps, numbers = self._steps(outputs[:, 0]), np.arange(s.n_rows, dtype=np.int32)
        parts = self._lines(), pieces.jobs, segments.reshape(-1, SEGMENT_FIELDS), outputs.astype(np.int64)
        self._alive = steps, *(np.ascontiguousarray(part, np.int64) for part in parts), numbers
        self.net = np.zeros(NET_SIZE, np.int64)
        self.net[: NET_N_WEIGHTS + 1] = (
            *(self._table.ctypes.data, steps.ctypes.data, len(steps)),
            *(part.ctypes.data for part in self._alive[1:5]),
            *(numbers.ctypes.data, self.places.ctypes.data, self.n_weights),
        )
        self.rows = tile_rows(s.n_rows, self.n_keep, s.n_outputs, s.n_outputs)
        self.cost = s.n_edges + ROW_COST * s.n_rows
        self.pool: Pool[Array] = Pool(KEPT_BYTES)
        self._ready: set[tuple[int, int]] = set()

    def weighing_outputs(self) -> BlockWork:
        """The same for targets (N, 2K), the weights of every output beside them."""
        other, k = copy.copy(self), self.schedule.n_outputs
        other._table, other.net = self._table.copy(), self.net.copy()
        other._table[PLAN_TARGET_ROWS] = 2 * k
        other.net[NET_HEADS] = other._table.ctypes.data
        other.rows, other.pool, other._ready = self.rows + k, Pool(KEPT_BYTES), set()
        return other

    # -- tables -----------------------------------------------------------------------------------------------------------

    def _lines(self) -> Array:
        p = self.pieces
        lines = np.zeros((len(p), RECT_FIELDS), np.int64)
        at = p.sources.ctypes.data + p.sources.itemsize * p.at
        lines[:] = np.stack([p.start, p.rows, at, p.count, p.first, p.stride, p.from_inputs], axis=1)
        return lines

    def _steps(self, outputs: Array) -> Array:
        """A line a level: its rows, and its share of the pieces, jobs, segments and outputs."""
        levels, p = self.schedule.levels, self.pieces
        bounds = np.array([[level.start, level.stop] for level in levels], np.int64).reshape(-1, 2)
        number = self.schedule.row_level[bounds[:, 0]]  # of a live part, whose levels may have gaps between them
        segments = np.concatenate([[0], np.cumsum([len(level.segments) for level in levels])]).astype(np.int64)
        steps = np.zeros((len(levels), STEP_FIELDS), np.int64)
        steps[:] = np.stack(
            [
                *bounds.T,
                *(np.searchsorted(p.level, number, side=side) for side in ("left", "right")),
                *(np.searchsorted(p.level[p.jobs[:, 0]], number, side=side) for side in ("left", "right")),
                *(segments[:-1], segments[1:]),
                *np.searchsorted(outputs, bounds).T,
            ],
            axis=1,
        )
        return steps

    def _segment(self, segment: Segment) -> tuple[int, ...]:
        """A line of the table of segments; rows whose a the heads or h' need get a place for it, rows whose h' z may lose one for that."""
        s = self.schedule
        functions = activation_functions(s.activations[segment.activation], self.dtype.name)
        linear = not functions.activation.elementwise or (functions.activation.builtin and functions.activation.name == "identity")
        f = 0 if linear else functions.address("f")
        slope = f_keep = 0
        if not linear and s.feeds[segment.start : segment.stop].any():
            if functions.keeps_slope:
                f_keep, slope = functions.keeping()
            else:
                slope = functions.address("dz" if functions.from_z else "df")
        here = np.flatnonzero((s.output_rows >= segment.start) & (s.output_rows < segment.stop))
        keep = self._place(segment) if len(here) or (slope and not functions.from_z) else -1
        self._out_keep[here] = keep + s.output_rows[here] - segment.start
        keep_slope = self._place(segment) if f_keep else -1
        return segment.start, segment.stop, f, slope, int(functions.from_z), keep, 0, f_keep, keep_slope

    def _place(self, segment: Segment) -> int:
        """The first of as many kept rows as a segment has."""
        first = self.n_keep
        self.n_keep += segment.stop - segment.start
        return first

    def prepare(self, mode: int, vectors: int) -> None:
        """Have the C functions compiled that a sweep calls."""
        if (mode, vectors) in self._ready:
            return
        reverse = mode not in (MODE_VALUE, MODE_FORWARD)
        columns = ((HEAD_ADD_VALUE,) if mode in (MODE_VALUE, MODE_GRADIENT) else ()) + ((HEAD_MAKE_DELTA,) if reverse else ())
        prepare_heads(self._heads[0], self.dtype.name, *columns)
        prepare(self.net, self.dtype.name, vectors, reverse)
        self._ready.add((mode, vectors))

    # -- weights and memory ---------------------------------------------------------------------------------------------------

    def weights(self, theta: Array) -> Array:
        """What the pieces are read from: θ, or all weights by slot."""
        return theta if self.pieces.direct else self.schedule.parameters.expand(theta)

    def by_parameter(self, gradient: Array) -> Array:
        """A gradient in the order of the weights that the pieces are read from as one by θ."""
        return gradient if self.pieces.direct else np.ascontiguousarray(self.schedule.parameters.reduce(gradient))

    @property
    def sums_size(self) -> int:
        """Numbers in one partition's sums."""
        return self.n_weights + self.schedule.n_rows + 2 * PADDING

    def borrow(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of any values, used before or new."""
        array = self.pool.take(shape)
        return np.zeros(shape, dtype) if array is None else array

    def borrow_tile(self, vectors: int) -> Array:
        """A tile's memory."""
        return self.borrow((VECTOR_BYTES * (vectors * self.rows + 1),), np.uint8)

    def keep(self, array: Array) -> None:
        """Have what was borrowed ready for the next call."""
        self.pool.give(array.shape, array, array.nbytes)
