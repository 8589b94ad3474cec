"""What the levels of a `graphbp.schedule.Schedule` are made of: dense blocks of weights, and segments of rows that share an activation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["MIN_DENSE_ENTRIES", "DenseBlock", "Level", "Segment", "build_levels"]

Indices = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]

MIN_DENSE_ENTRIES = 32
"""Units that share their sources become a dense block from this many edges on (and two units); smaller ones stay sparse."""


@dataclass(frozen=True)
class DenseBlock:
    """Rows start..stop, all fed by the rows `src`: a[start:stop] += w[slot : slot + m·n].reshape(m, n) @ z[src].

    `src` is ascending; where it is a contiguous run, `src_start` is its first row, else −1.
    """

    start: int
    stop: int
    src: Rows
    src_start: int
    slot: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, sources)."""
        return self.stop - self.start, len(self.src)

    @property
    def size(self) -> int:
        """Edges in the block."""
        return (self.stop - self.start) * len(self.src)

    @property
    def source(self) -> slice | Rows:
        """What indexes the source rows: a slice where they are contiguous (a view, no copy), else the array."""
        return slice(self.src_start, self.src_start + len(self.src)) if self.src_start >= 0 else self.src


@dataclass(frozen=True)
class Segment:
    """Rows start..stop of one level share the activation number `activation`."""

    start: int
    stop: int
    activation: int


@dataclass(frozen=True)
class Level:
    """Rows start..stop: their dense blocks, their activation segments, and how many sparse edges lead in."""

    start: int
    stop: int
    dense: tuple[DenseBlock, ...]
    segments: tuple[Segment, ...]
    n_sparse: int


def build_levels(row_level: Rows, row_activation: Rows, in_ptr: Indices, blocks: list[DenseBlock]) -> tuple[Level, ...]:
    """Cut the rows above the inputs into levels, and each level into runs of one activation."""
    n = len(row_level)
    change = np.flatnonzero((np.diff(row_level) != 0) | (np.diff(row_activation) != 0)) + 1
    first = int(np.searchsorted(row_level, 0, side="right"))
    bounds = [first, *change[change > first].tolist(), n] if first < n else []
    per_level: dict[int, list[Segment]] = {}
    for lo, hi in pairwise(bounds):
        per_level.setdefault(int(row_level[lo]), []).append(Segment(lo, hi, int(row_activation[lo])))
    dense: dict[int, list[DenseBlock]] = {}
    for block in blocks:
        dense.setdefault(int(row_level[block.start]), []).append(block)
    levels = []
    for number, segments in per_level.items():
        start, stop = segments[0].start, segments[-1].stop
        levels.append(Level(start, stop, tuple(dense.get(number, ())), tuple(segments), int(in_ptr[stop] - in_ptr[start])))
    return tuple(levels)
