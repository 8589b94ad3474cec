"""What the layers' path shares among its calls: the tables that its kernels read, weights as they want them, and memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from graphbp.extend import AnyError, Schedule, Segment, head_groups
from graphbp_numba.heads.formulas import prepare_heads, prepare_pair
from graphbp_numba.instructions.matrix_products import TILE_VECTORS
from graphbp_numba.layers.blocks import (
    CHUNK_BYTES,
    PANEL,
    STRIP,
    Array,
    Dots,
    Layout,
    Net,
    Part,
    Rows,
    Weights,
    cut_tiles,
    place_of,
)
from graphbp_numba.layers.functions import product_address
from graphbp_numba.layers.sweeps import SLOPE_ROWS
from graphbp_numba.layers.tangents import tangent_spare_rows
from graphbp_numba.machine.functions import VECTOR_BYTES, activation_functions
from graphbp_numba.plan.heads import head_table
from graphbp_numba.plan.tables import (
    BLOCK_FIELDS,
    BLOCK_MULTIPLY,
    HEAD_ADD_VALUE,
    HEAD_D2F,
    HEAD_MAKE_DELTA,
    HEAD_MAKE_Y,
    LEVEL_FIELDS,
    MODE_GRADIENT,
    MODE_VALUE,
    PLAN_N_KEEP,
    PLAN_OUT_KEEP,
    PLAN_OUT_ROW,
    PLAN_TARGET_ROWS,
    SEGMENT_BEND,
    SEGMENT_FIELDS,
    SEGMENT_SLOPE,
)
from graphbp_numba.work.pools import KEPT_BYTES, Pool

__all__ = ["LayerWork"]


class LayerWork:
    """The tables of a schedule with large dense blocks in one dtype.

    places : where each block's parameters stand; regular: all of them can be read from θ in place.
    """

    def __init__(self, schedule: Schedule, error: AnyError, dtype: np.dtype[Any]) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.places = [place_of(schedule, block) for block in schedule.dense_blocks]
        self.regular = all(place.stride for place in self.places)
        self.none, self.zeros = np.zeros(1, dtype), np.zeros(schedule.n_rows, dtype)
        self.no_rows = np.empty((0, 0), dtype)
        self._n_keep = 0
        segments, levels = self._segments_and_levels()
        self._segments, self._heads = segments, head_groups(schedule, error)
        table, self._alive = head_table(schedule, self._heads, dtype.name)
        prepare_heads(self._alive[0], dtype.name, HEAD_MAKE_Y)
        self._table = table
        self._out_row = np.ascontiguousarray(schedule.output_rows, np.int64)
        table[PLAN_N_KEEP] = self._n_keep
        table[[PLAN_OUT_ROW, PLAN_OUT_KEEP]] = self._out_row.ctypes.data, self._out_keep.ctypes.data
        outputs = np.stack([self._out_row, np.arange(schedule.n_outputs)], axis=1)[np.argsort(self._out_row, kind="stable")]
        self._edges = [np.ascontiguousarray(a) for a in (schedule.in_ptr, schedule.in_src, schedule.out_ptr, schedule.out_dst)]
        edges = np.array([array.ctypes.data for array in self._edges], np.int64)
        self._layouts = {vectors: self._layout(vectors) for vectors in {1, TILE_VECTORS}}
        clear = self._rows_to_clear()
        self._nets = {v: Net(table, levels, layout.blocks, segments, outputs, clear, edges) for v, layout in self._layouts.items()}
        biased = np.flatnonzero(schedule.bias_slot >= 0)
        self.biased, self.bias_slots = biased, schedule.bias_slot[biased]
        self.sparse_parts = self._cut_sparse()
        irregular = max((len(p.block.src) for p in self.places if p.block.src_start < 0), default=0)
        self._spare_rows = max(
            irregular * CHUNK_BYTES // VECTOR_BYTES, tangent_spare_rows(schedule.n_outputs, schedule.n_outputs), SLOPE_ROWS
        )
        self.pool: Pool[Any] = Pool(KEPT_BYTES)

    def weighing_outputs(self) -> LayerWork:
        """The same for targets (N, 2K), the weights of every output beside them."""
        other, k = copy.copy(self), self.schedule.n_outputs
        other._table = self._table.copy()
        other._table[PLAN_TARGET_ROWS] = 2 * k
        other._nets = {vectors: net._replace(table=other._table) for vectors, net in self._nets.items()}
        other._spare_rows, other.pool = max(self._spare_rows, tangent_spare_rows(k, 2 * k)), Pool(KEPT_BYTES)
        return other

    # -- tables -----------------------------------------------------------------------------------------------------------

    def _segments_and_levels(self) -> tuple[Array, Array]:
        s = self.schedule
        segments = np.zeros((sum(len(level.segments) for level in s.levels), SEGMENT_FIELDS), np.int64)
        levels = np.zeros((s.depth, LEVEL_FIELDS), np.int64)
        self._out_keep = np.zeros(s.n_outputs, np.int64)
        outputs = np.sort(s.output_rows)
        block = segment = 0
        for line, level in zip(levels, s.levels, strict=True):
            covered = sum(b.stop - b.start for b in level.dense) == level.stop - level.start
            sole = all(place.sole_into for place in self.places[block : block + len(level.dense)])
            line[:] = (
                *(level.start, level.stop, block, block + len(level.dense), segment, segment + len(level.segments)),
                *np.searchsorted(outputs, [level.start, level.stop]),
                *(covered and sole and not level.n_sparse, s.out_ptr[level.stop] > s.out_ptr[level.start]),
            )
            for part in level.segments:
                segments[segment] = self._segment(part)
                segment += 1
            block += len(level.dense)
        return segments, levels

    def _segment(self, segment: Segment) -> tuple[int, ...]:
        """A line of the table of segments; rows whose a the heads or h' need get a place for it, rows whose h' z may lose one for that."""
        s = self.schedule
        functions = activation_functions(s.activations[segment.activation], self.dtype.name)
        linear = not functions.activation.elementwise or (functions.activation.builtin and functions.activation.name == "identity")
        f = 0 if linear else functions.address("f")
        slope = f_keep = 0
        if not (linear or self._leaf(segment)):
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
        """The first of as many rows of A as a segment has."""
        first = self._n_keep
        self._n_keep += segment.stop - segment.start
        return first

    def prepare_sweep(self, mode: int) -> None:
        """Have the heads' formulas compiled that the mode calls."""
        columns = ((HEAD_ADD_VALUE,) if mode in (MODE_VALUE, MODE_GRADIENT) else ()) + (
            (HEAD_MAKE_DELTA,) if mode != MODE_VALUE else ()
        )
        prepare_heads(self._alive[0], self.dtype.name, *columns)

    def prepare_bends(self) -> None:
        """Have h'' of every activation compiled, and its address in the tables; `NotSupportedError` where that cannot be."""
        for line, segment in zip(self._segments, (part for level in self.schedule.levels for part in level.segments), strict=True):
            if line[SEGMENT_SLOPE]:
                activation = self.schedule.activations[segment.activation]
                line[SEGMENT_BEND] = activation_functions(activation, self.dtype.name).address("d2f")
        for line, head in zip(self._alive[0], self._heads, strict=True):
            line[HEAD_D2F] = activation_functions(head.activation, self.dtype.name).address("d2f")

    def prepare_pairs(self) -> None:
        """Have the second derivatives of the heads' pairs compiled, which both Hessians' products call."""
        for line, head in zip(self._alive[0], self._heads, strict=True):
            prepare_pair(line, head, self.dtype.name)

    def _leaf(self, segment: Segment) -> bool:
        """Rows that feed nothing: their δ is the heads' alone, also where h' is no number."""
        s = self.schedule
        if s.out_ptr[segment.stop] > s.out_ptr[segment.start]:
            return False
        return not any(block.src[0] < segment.stop and block.src[-1] >= segment.start for block in s.dense_blocks)

    def _layout(self, vectors: int) -> Layout:
        """Tables for tiles of so many vectors a row."""
        lanes = vectors * VECTOR_BYTES // self.dtype.itemsize
        blocks = np.zeros((len(self.places), BLOCK_FIELDS), np.int64)
        panels: list[Part] = []
        strips: list[Part] = []
        n_packed = n_panels = n_below = 0
        for number in sorted(range(len(self.places)), key=lambda n: self.places[n].from_inputs):
            place = self.places[number]
            block, (m, k) = place.block, place.block.shape
            blocks[number] = (
                *(block.start, block.stop, block.src_start, k, block.src.ctypes.data),
                *((place.first, place.stride, 1) if place.stride else (block.slot, k, 0)),
                *(n_packed, n_panels, place.sole_from, place.from_inputs, 0),
            )
            across, down = -(-m // lanes), -(-k // lanes)
            panels += cut_tiles(number, across, max(1, PANEL // (lanes * k)))
            strips += cut_tiles(number, down, STRIP)
            n_packed += across * lanes * k
            n_panels += down
            n_below = n_below if place.from_inputs else len(panels)
        return Layout((self.dtype.type(0),) * vectors, lanes, blocks, panels, n_below, strips, n_packed, n_panels)

    def _vectors(self, n_samples: int) -> int:
        """One vector a row of a tile, where that holds all samples."""
        return 1 if n_samples * self.dtype.itemsize <= VECTOR_BYTES else TILE_VECTORS

    def tables(self, n_samples: int) -> tuple[Layout, Net]:
        """What the sweeps over so many samples are told of the network."""
        vectors = self._vectors(n_samples)
        layout = self._layouts[vectors]
        if 0 in layout.blocks[:1, BLOCK_MULTIPLY]:  # a network forced on this path may have no block
            layout.blocks[:, BLOCK_MULTIPLY] = product_address(self.dtype.name, vectors)
        return layout, self._nets[vectors]

    def _cut_sparse(self) -> list[tuple[int, int]]:
        """Rows (start, stop) with about PANEL sparse edges out of them."""
        s = self.schedule
        if not s.n_sparse:
            return []
        ends = np.searchsorted(s.out_ptr, np.arange(PANEL, s.n_sparse, PANEL))
        bounds = np.unique(np.concatenate([[0], ends, [s.n_rows]])).tolist()
        return list(pairwise(bounds))

    def _rows_to_clear(self) -> Array:
        """Runs of rows of D that no block simply writes: (start, stop)."""
        written = np.zeros(self.schedule.n_rows + 2, bool)
        written[[0, -1]] = True
        for place in self.places:
            if place.sole_from:
                written[1 + place.block.src] = True
        edge = np.flatnonzero(np.diff(written.astype(np.int8)))
        return np.ascontiguousarray(edge.reshape(-1, 2), np.int64)

    # -- weights ----------------------------------------------------------------------------------------------------------

    def weights(self, theta: Array, packed: Array, tangent: bool = False) -> Weights:
        """As `Weights` says, with room for the tiles of Wᵀ.  `tangent`: of a direction in θ, so that what is frozen is 0."""
        s = self.schedule
        needed = not self.regular or bool(s.n_sparse)
        expand = s.parameters.expand_tangent if tangent else s.parameters.expand
        slots = expand(theta) if needed else self.none
        w_out = slots[s.out_slot] if s.n_sparse else self.none
        return Weights(theta, slots, w_out, self._bias(theta, slots if needed else None, tangent), packed, self.zeros)

    def _bias(self, theta: Array, slots: Array | None, tangent: bool) -> Array:
        parameters = self.schedule.parameters
        out = np.zeros(self.schedule.n_rows, self.dtype)
        if slots is not None:
            out[self.biased] = slots[self.bias_slots]
            return out
        owner = parameters.slot_parameter[self.bias_slots]
        frozen = 0 if tangent else parameters.slot_value[self.bias_slots]
        out[self.biased] = np.where(owner >= 0, theta[owner] if len(theta) else 0, frozen)
        return out

    # -- memory -------------------------------------------------------------------------------------------------------------

    def spare(self) -> Array:
        """A task's scratch memory."""
        return np.empty((self._spare_rows * TILE_VECTORS + 1) * VECTOR_BYTES, np.uint8)

    @contextmanager
    def packed(self, layout: Layout, wanted: bool) -> Iterator[Array]:
        """Room for the tiles of Wᵀ, or none."""
        with self._borrowed((1, 1, layout.n_packed * wanted)) as (memory,):
            yield memory.ravel()

    @contextmanager
    def rows(self, layout: Layout, n_samples: int, reverse: bool, curved: bool = False) -> Iterator[Rows]:
        """D and S are of no size where only a forward sweep is wanted, C is where no h'' is."""
        n = self.schedule.n_rows
        sizes = (n, self._n_keep, n * reverse, layout.n_panels * layout.lanes * reverse, self.schedule.n_outputs, n * curved)
        with self._borrowed((layout.tiles(n_samples), layout.lanes, *sizes)) as rows:
            yield Rows(*rows)

    @contextmanager
    def dots(self, layout: Layout, n_samples: int, exact: bool) -> Iterator[Dots]:
        """Of a direction; R and S are of no size but for the exact Hessian."""
        n = self.schedule.n_rows
        sizes = (n, n, n * exact, layout.n_panels * layout.lanes * exact)
        with self._borrowed((layout.tiles(n_samples), layout.lanes, *sizes)) as dots:
            yield Dots(*dots)

    @contextmanager
    def _borrowed(self, sizes: tuple[int, ...]) -> Iterator[Any]:
        """Arrays (tiles, size, lanes), for sizes = (tiles, lanes, size, ...), used before or new; they are nobody else's meanwhile."""
        memory = self.pool.take(sizes)
        if memory is None:
            tiles, lanes, *rows = sizes
            memory = tuple(self._aligned(tiles, count, lanes) for count in rows)
        yield memory
        self.pool.give(sizes, memory, sum(array.nbytes for array in memory))

    def _aligned(self, *shape: int) -> Array:
        """Zeros, the first of them on a whole vector."""
        size = math.prod(shape) * self.dtype.itemsize
        raw = np.zeros(size + VECTOR_BYTES, np.uint8)
        start = -raw.ctypes.data % VECTOR_BYTES
        return raw[start : start + size].view(self.dtype).reshape(shape)
