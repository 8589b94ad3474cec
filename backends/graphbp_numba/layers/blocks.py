"""Dense blocks as the layers' path sees them: where their parameters stand, and how the work on them is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphbp.extend import DenseBlock, Schedule
from graphbp_numba.layers.sweeps import lay_out_tiles
from graphbp_numba.machine.functions import VECTOR_BYTES

Array = npt.NDArray[Any]

__all__ = [
    "BATCH",
    "CHUNK_BYTES",
    "PANEL",
    "STRIP",
    "Array",
    "Cut",
    "Dots",
    "Layout",
    "Net",
    "Onto",
    "Part",
    "Rows",
    "Weights",
    "batches",
    "cut_tiles",
    "lay_out",
    "place_of",
]


class Net(NamedTuple):
    """What the kernels are told of a network, for tiles of one width: tables, and where the sparse edges stand (`SPARSE_...`)."""

    table: Array
    levels: Array
    blocks: Array
    segments: Array
    outputs: Array
    clear: Array
    edges: Array


class Weights(NamedTuple):
    """θ; the slots' values, where some block or sparse edge cannot be read from θ; sparse weights by source; biases by row; Wᵀ's tiles; zeros."""

    theta: Array
    slots: Array
    by_source: Array
    bias: Array
    packed: Array
    zeros: Array


class Rows(NamedTuple):
    """Rows of a batch, tile by tile: z, a (or h') where it is kept, δ, z of sources by sample, δ of the heads, h'' β."""

    Z: Array
    A: Array
    D: Array
    S: Array
    H: Array
    C: Array


class Onto(NamedTuple):
    """Where a block's gradient goes: row j of it to out[first + j · stride], and the places after that."""

    out: Array
    first: int
    stride: int


class Dots(NamedTuple):
    """The same along a direction: ż, ȧ, Rδ, and ż of sources by sample."""

    Z: Array
    A: Array
    R: Array
    S: Array


CHUNK_BYTES = 512
"""A row of a chunk at most: 128 float32.  Wider chunks read the weights less often, narrower ones share out better."""


SHARES = 4
"""Chunks that a batch is cut into at least, if it has so many tiles."""


PANEL = 1 << 16
"""Weights laid out, or sparse edges summed, by one task."""


STRIP = 2
"""Tiles of sources whose gradient one task sums."""


@dataclass(frozen=True)
class Place:
    """Where a block's parameters stand in θ (stride 0: not row by row), and whether nothing else writes its a, or its sources' β."""

    block: DenseBlock
    first: int
    stride: int
    sole_into: bool
    sole_from: bool
    from_inputs: bool


Part = tuple[int, int, int]
"""A block and some of its tiles: (number, first, stop)."""


Cut = tuple[int, int]
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
    panels: list[Part]
    n_below: int
    strips: list[Part]
    n_packed: int
    n_panels: int

    def tiles(self, n: int) -> int:
        """Tiles that hold n columns."""
        return -(-n // self.lanes)

    def chunks(self, n_samples: int) -> list[Cut]:
        """Samples cut into chunks."""
        tiles = self.tiles(n_samples)
        size = max(1, min(CHUNK_BYTES // (len(self.tag) * VECTOR_BYTES), -(-tiles // SHARES)))
        return [(first, min(first + size, tiles)) for first in range(0, tiles, size)]


def cut_tiles(number: int, count: int, size: int) -> list[Part]:
    """`count` tiles of a block, `size` at a time."""
    return [(number, first, min(first + size, count)) for first in range(0, count, size)]


def place_of(s: Schedule, block: DenseBlock) -> Place:
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
    return Place(block, int(param[0, 0]), stride if regular else 0, sole_into, bool(sole_from), bool(block.src[-1] < s.n_inputs))


BATCH = 1024
"""Samples swept before the next: memory does not grow with N."""


def batches(n_samples: int) -> list[slice]:
    """Samples that are swept before the next."""
    return [slice(start, min(start + BATCH, n_samples)) for start in range(0, n_samples, BATCH)]


def lay_out(layout: Layout, weights: Weights, panels: list[Part], number: int) -> None:
    """One of the panels of the Wᵀs."""
    block, first, stop = panels[number]
    lay_out_tiles(layout.tag, layout.blocks[block], weights.theta, weights.slots, weights.packed, first, stop)
