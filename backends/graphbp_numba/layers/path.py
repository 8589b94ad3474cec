"""The path for large dense blocks: matrix products on chunks of samples, level by level.

    first     for each block:                              Wᵀ as tiles, where a product will want it
    then      for each chunk of samples:                   levels upwards, heads, levels downwards
    at last   for each strip of a block's sources:         ∂E/∂W = δ zᵀ over all samples of the batch

These are tasks of one list, taken in turn by whatever threads there are; one that needs the results of an earlier group waits for them.
A batch has at most 1,024 samples, so memory does not grow with N.  How samples and blocks are cut depends on the network and N alone, so
that the bits are the same for any number of threads.  Weights are read where they stand in θ, and gradients written where they belong,
wherever a block's parameters are regular there.  Products with a Hessian go the same way (`graphbp_numba.layers.products`).

The products are this backend's own (`graphbp_numba.instructions.matrix_products`), not BLAS: they are 10 % faster on the machine where both were measured,
take z, δ and θ as they stand, and leave BLAS's threads alone.

Sparse edges between the blocks are gathered edge by edge; a network that is mostly sparse takes the tiles' own path instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import DenseBlock, ErrorFunction, Schedule, Segment, n_threads, output_heads
from graphbp_numba.instructions.matrix_products import REGISTER_ROWS, TILE_VECTORS
from graphbp_numba.layers import sweeps
from graphbp_numba.layers.sweeps import SLOPE_ROWS
from graphbp_numba.layers.tangents import tangent_spare_rows
from graphbp_numba.machine.functions import VECTOR_BYTES, activation_functions
from graphbp_numba.plan.plan import head_table, prepare_pair
from graphbp_numba.plan.tables import (
    BLOCK_FIELDS,
    HEAD_ADD_VALUE,
    HEAD_D2F,
    HEAD_MAKE_DELTA,
    HEAD_MAKE_Y,
    LEVEL_FIELDS,
    MODE_GRADIENT,
    MODE_VALUE,
    MODE_VJP,
    PLAN_N_KEEP,
    PLAN_OUT_KEEP,
    PLAN_OUT_ROW,
    SEGMENT_BEND,
    SEGMENT_FIELDS,
    SEGMENT_SLOPE,
)
from graphbp_numba.tiles.heads import prepare_heads
from graphbp_numba.work.pools import KEPT_BYTES, Pool
from graphbp_numba.work.tasks import Group, run_groups

__all__ = [
    "Dots",
    "Gradient",
    "LayerPath",
    "Layout",
    "Net",
    "Rows",
    "Weights",
    "batches",
    "lay_out",
    "prefers_layers",
]

Array = npt.NDArray[Any]
Rows = tuple[Array, Array, Array, Array, Array, Array]
Dots = tuple[Array, Array, Array, Array]
Weights = tuple[Array, Array, Array, Array, Array, Array]
Net = tuple[Array, ...]

BATCH = 1024
CHUNK_BYTES = 512
"""A row of a chunk at most: 128 float32.  Wider chunks read the weights less often, narrower ones share out better."""
SHARES = 4
"""Chunks that a batch is cut into at least, if it has so many tiles."""
PANEL = 1 << 16
"""Weights laid out, or sparse edges summed, by one task."""
STRIP = 2
"""Tiles of sources whose gradient one task sums."""
MIN_BLOCK = 64 * 64
"""A block from this size on is worth a matrix product."""


def prefers_layers(schedule: Schedule) -> bool:
    """Whether at least half of the edges stand in blocks that are large enough for products, and levels are few beside them."""
    large = sum(block.size for block in schedule.dense_blocks if block.size >= MIN_BLOCK)
    return 2 * large >= schedule.n_edges and large >= MIN_BLOCK * schedule.depth / 2


@dataclass(frozen=True)
class _Place:
    """Where a block's parameters stand in θ (stride 0: not row by row), and whether nothing else writes its a, or its sources' β."""

    block: DenseBlock
    first: int
    stride: int
    sole_into: bool
    sole_from: bool
    from_inputs: bool


_Part = tuple[int, int, int]
"""A block and some of its tiles: (number, first, stop)."""
_Cut = tuple[int, int]
"""Tiles of samples: (first, stop)."""


@dataclass(frozen=True)
class Layout:
    """What depends on the width of a tile: its tag and lanes, the table of blocks, and how the work on blocks is cut into tasks.

    panels : tiles of every Wᵀ; from n_below on, of those fed by inputs alone, which only ∂E/∂x needs.
    strips : tiles of every block's sources.
    n_packed, n_panels : numbers in all tiles of Wᵀ; tiles of sources of all blocks.
    """

    tag: tuple[Any, ...]
    lanes: int
    blocks: Array
    panels: list[_Part]
    n_below: int
    strips: list[_Part]
    n_packed: int
    n_panels: int

    def tiles(self, n: int) -> int:
        """Tiles that hold n columns."""
        return -(-n // self.lanes)

    def chunks(self, n_samples: int) -> list[_Cut]:
        """Samples cut into chunks."""
        tiles = self.tiles(n_samples)
        size = max(1, min(CHUNK_BYTES // (len(self.tag) * VECTOR_BYTES), -(-tiles // SHARES)))
        return [(first, min(first + size, tiles)) for first in range(0, tiles, size)]


class LayerPath:
    """Forward, error, gradient and vjp of a schedule with large dense blocks."""

    def __init__(self, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any]) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.places = [_place(schedule, block) for block in schedule.dense_blocks]
        self.regular = all(place.stride for place in self.places)
        self.none, self.zeros = np.zeros(1, dtype), np.zeros(schedule.n_rows, dtype)
        self.no_rows = np.empty((0, 0), dtype)
        self._n_keep = 0
        segments, levels = self._segments_and_levels()
        self._segments, self._heads = segments, output_heads(schedule, error)
        table, self._alive = head_table(schedule, error, self._heads, dtype.name)
        prepare_heads(self._alive[0], table, dtype.name, HEAD_MAKE_Y)
        self._table = table
        self._out_row = np.ascontiguousarray(schedule.output_rows, np.int64)
        table[PLAN_N_KEEP] = self._n_keep
        table[[PLAN_OUT_ROW, PLAN_OUT_KEEP]] = self._out_row.ctypes.data, self._out_keep.ctypes.data
        outputs = np.stack([self._out_row, np.arange(schedule.n_outputs)], axis=1)[np.argsort(self._out_row, kind="stable")]
        self._edges = [np.ascontiguousarray(a) for a in (schedule.in_ptr, schedule.in_src, schedule.out_ptr, schedule.out_dst)]
        edges = np.array([array.ctypes.data for array in self._edges], np.int64)
        self._layouts = {vectors: self._layout(vectors) for vectors in {1, TILE_VECTORS}}
        clear = self._rows_to_clear()
        self._nets = {v: (table, levels, layout.blocks, segments, outputs, clear, edges) for v, layout in self._layouts.items()}
        biased = np.flatnonzero(schedule.bias_slot >= 0)
        self.biased, self.bias_slots = biased, schedule.bias_slot[biased]
        self.sparse_parts = self._cut_sparse()
        irregular = max((len(p.block.src) for p in self.places if p.block.src_start < 0), default=0)
        self._spare_rows = max(irregular * CHUNK_BYTES // VECTOR_BYTES, tangent_spare_rows(schedule.n_outputs), SLOPE_ROWS)
        self.pool: Pool[Any] = Pool(KEPT_BYTES)

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
        prepare_heads(self._alive[0], self._table, self.dtype.name, *columns)

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
        panels: list[_Part] = []
        strips: list[_Part] = []
        n_packed = n_panels = n_below = 0
        for number in sorted(range(len(self.places)), key=lambda n: self.places[n].from_inputs):
            place = self.places[number]
            block, (m, k) = place.block, place.block.shape
            blocks[number] = (
                *(block.start, block.stop, block.src_start, k, block.src.ctypes.data),
                *((place.first, place.stride, 1) if place.stride else (block.slot, k, 0)),
                *(n_packed, n_panels, place.sole_from, place.from_inputs),
            )
            across, down = -(-m // lanes), -(-k // lanes)
            panels += _parts(number, across, max(1, PANEL // (lanes * k)))
            strips += _parts(number, down, STRIP)
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
        return self._layouts[vectors], self._nets[vectors]

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

    def describe(self, n_samples: int) -> str:
        """Products and chunks, for people."""
        large = sum(block.size for block in self.schedule.dense_blocks)
        where = "read in place" if self.regular else "gathered first"
        layout, _ = self.tables(n_samples)
        samples = layout.lanes * max((stop - first for first, stop in layout.chunks(min(n_samples, BATCH))), default=1)
        return (
            f"layers: {100 * large / self.schedule.n_edges:.0f} % of the edges stand in dense blocks, so levels are matrix products "
            f"(this backend's own, {REGISTER_ROWS} units × {layout.lanes} samples in registers), on chunks of {samples} samples, "
            f"weights {where}; {n_threads()} thread{'s' * (n_threads() > 1)}"
        )

    # -- weights ----------------------------------------------------------------------------------------------------------

    def weights(self, theta: Array, packed: Array, tangent: bool = False) -> Weights:
        """θ, the slots' values (where some block, or a sparse edge, cannot be read from θ), sparse weights by source, biases by row,
        room for Wᵀ's tiles, and zeros.  `tangent`: of a direction in θ, so that what is frozen is 0.
        """
        s = self.schedule
        needed = not self.regular or bool(s.n_sparse)
        expand = s.parameters.expand_tangent if tangent else s.parameters.expand
        slots = expand(theta) if needed else self.none
        w_out = slots[s.out_slot] if s.n_sparse else self.none
        return theta, slots, w_out, self._bias(theta, slots if needed else None, tangent), packed, self.zeros

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

    # -- sweeps -------------------------------------------------------------------------------------------------------------

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        layout, net = self.tables(len(X))
        Y = np.empty((len(X), self.schedule.n_outputs), self.dtype)
        weights = self.weights(theta, self.none)
        for batch in batches(len(X)):
            x, y = X[batch], Y[batch]
            cuts = layout.chunks(len(x))
            with self.rows(layout, len(x), False) as rows:
                run_groups([Group(len(cuts), partial(_forward_chunk, layout.tag, net, weights, rows, x, y, self.spare, cuts))])
        return Y

    def sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x)."""
        self.prepare_sweep(mode)
        layout, net = self.tables(len(X))
        by_x = np.empty(X.shape, self.dtype) if mode == MODE_VJP else self.no_rows
        s = self.none[:0] if sample_weight is None else sample_weight
        total = 0.0
        with self.packed(layout, mode != MODE_VALUE) as packed:
            weights = self.weights(theta, packed)
            gradient = None if mode == MODE_VALUE else Gradient(self, layout, net, weights)
            panels = [] if mode == MODE_VALUE else layout.panels[: layout.n_below if mode == MODE_GRADIENT else None]
            laid_out = Group(len(panels), partial(lay_out, layout, weights, panels))
            for batch in batches(len(X)):
                x, t, sw, back = X[batch], T[batch], s[batch], by_x[batch]
                cuts = layout.chunks(len(x))
                values = [0.0] * len(cuts)
                with self.rows(layout, len(x), mode != MODE_VALUE) as rows:
                    work = partial(
                        _sweep_chunk, layout.tag, net, weights, rows, x, t, sw, back, self.spare, mode, laid_out, cuts, values
                    )
                    groups = [Group(len(cuts), work)] if batch.start else [laid_out, Group(len(cuts), work)]
                    if gradient is not None:
                        groups.append(gradient.sums(len(x), rows, groups[-1]))
                    run_groups(groups)
                total += sum(values)
        return total, self.none[:0] if gradient is None else gradient.finish(), by_x

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
        """(Z, A, D, S, H, C); D and S are of no size where only a forward sweep is wanted, C is where no h'' is."""
        n = self.schedule.n_rows
        sizes = (n, self._n_keep, n * reverse, layout.n_panels * layout.lanes * reverse, self.schedule.n_outputs, n * curved)
        with self._borrowed((layout.tiles(n_samples), layout.lanes, *sizes)) as rows:
            yield rows

    @contextmanager
    def dots(self, layout: Layout, n_samples: int, exact: bool) -> Iterator[Dots]:
        """(ZD, AD, RD, SD) of a direction; RD and SD are of no size but for the exact Hessian."""
        n = self.schedule.n_rows
        sizes = (n, n, n * exact, layout.n_panels * layout.lanes * exact)
        with self._borrowed((layout.tiles(n_samples), layout.lanes, *sizes)) as dots:
            yield dots

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


def batches(n_samples: int) -> list[slice]:
    """Samples that are swept before the next."""
    return [slice(start, min(start + BATCH, n_samples)) for start in range(0, n_samples, BATCH)]


# -- tasks --------------------------------------------------------------------------------------------------------------------------


def lay_out(layout: Layout, weights: Weights, panels: list[_Part], number: int) -> None:
    """One of the panels of the Wᵀs."""
    block, first, stop = panels[number]
    theta, slots, _, _, packed, _ = weights
    sweeps.lay_out(layout.tag, layout.blocks[block], theta, slots, packed, first, stop)


def _forward_chunk(
    tag: Any, net: Net, weights: Weights, rows: Rows, x: Array, y: Array, spare: Callable[[], Array], cuts: list[_Cut], number: int
) -> None:
    sweeps.forward_chunk(tag, net, weights, rows, x, y, spare(), *cuts[number])


def _sweep_chunk(
    tag: Any,
    net: Net,
    weights: Weights,
    rows: Rows,
    x: Array,
    t: Array,
    s: Array,
    by_x: Array,
    spare: Callable[[], Array],
    mode: int,
    laid_out: Group,
    cuts: list[_Cut],
    values: list[float],
    number: int,
) -> None:
    memory = spare()
    values[number] = sweeps.chunk_up(tag, net, weights, rows, x, t, s, memory, mode, *cuts[number])
    if mode != MODE_VALUE:
        laid_out.wait()
        sweeps.chunk_down(tag, net, weights, rows, by_x, memory, mode, *cuts[number])


class Gradient:
    """∂E/∂θ, summed over batches, a strip of a block a task."""

    def __init__(self, path: LayerPath, layout: Layout, net: Net, weights: Weights) -> None:
        self.path, self.layout, self.net, self.weights = path, layout, net, weights
        s = path.schedule
        self.direct = path.regular and s.parameters.one_to_one
        self.theta = np.empty(s.n_parameters if self.direct else 0, path.dtype)
        self.slots = np.zeros(0 if self.direct and not s.n_sparse else s.parameters.n_slots, path.dtype)
        self.biases = np.zeros(s.n_rows, path.dtype)
        self.begun = False

    def sums(self, count: int, rows: Rows, chunks: Group, also: Rows | None = None) -> Group:
        """The tasks that sum δ zᵀ over one batch of `count` samples, once its chunks are done.

        also : rows whose δ zᵀ is added, with z = 0 at the inputs and no gradient of biases.
        """
        path, layout, strips, more = self.path, self.layout, self.layout.strips, self.begun
        _, _, D, S, _, _ = rows
        self.begun = True

        def task(number: int) -> None:
            chunks.wait()
            if number < len(strips):
                block, first, stop = strips[number]
                place = path.places[block]
                if self.direct:
                    out, start, stride = self.theta, place.first, place.stride
                else:
                    out, start, stride = self.slots, place.block.slot, place.block.shape[1]
                operands = [(D, S, more)] if also is None or place.from_inputs else [(D, S, more), (also[2], also[3], True)]
                for delta, z, on_top in operands:
                    sweeps.gradient_strip(
                        layout.tag, layout.blocks[block], path.zeros, delta, z, count, out, start, stride, first, stop, on_top
                    )
            elif number == len(strips):
                sweeps.bias_sums(layout.tag, D, self.biases, path.schedule.n_inputs)
            else:
                start, stop = path.sparse_parts[number - len(strips) - 1]
                for operand in (rows,) if also is None else (rows, also):
                    sweeps.sparse_sums(layout.tag, self.net, self.weights, operand, path.schedule.out_slot, self.slots, start, stop)

        return Group(len(strips) + 1 + len(path.sparse_parts), task)

    def finish(self) -> Array:
        """(W,)."""
        path, s = self.path, self.path.schedule
        if not self.begun:
            return np.zeros(s.n_parameters, path.dtype)
        sums = self.biases[path.biased]
        if not self.direct:
            self.slots[path.bias_slots] = sums
            return np.ascontiguousarray(s.parameters.reduce(self.slots))
        for values, slots in ((sums, path.bias_slots), (self.slots[: s.n_sparse], np.arange(s.n_sparse))):
            owner = s.parameters.slot_parameter[slots]
            self.theta[owner[owner >= 0]] = values[owner >= 0]
        return self.theta


def _parts(number: int, count: int, size: int) -> list[_Part]:
    """`count` tiles of a block, `size` at a time."""
    return [(number, first, min(first + size, count)) for first in range(0, count, size)]


def _place(s: Schedule, block: DenseBlock) -> _Place:
    """Where the block's parameters stand, and who else writes where it writes."""
    m, n = block.shape
    param = s.parameters.slot_parameter[block.slot : block.slot + m * n].reshape(m, n)
    stride = int(param[1, 0] - param[0, 0]) if m > 1 else n
    expected = int(param[0, 0]) + stride * np.arange(m)[:, None] + np.arange(n)
    regular = bool(param[0, 0] >= 0) and stride >= n and np.array_equal(param, expected)
    others = [other for other in s.dense_blocks if other is not block]
    sole_into = not any(other.start < block.stop and block.start < other.stop for other in others)
    sparse_out = s.out_ptr[block.src[-1] + 1] > s.out_ptr[block.src[0]]
    sole_from = block.src_start >= 0 and not sparse_out
    sole_from = sole_from and not any(np.isin(other.src, block.src, kind="sort").any() for other in others)
    return _Place(block, int(param[0, 0]), stride if regular else 0, sole_into, bool(sole_from), bool(block.src[-1] < s.n_inputs))
