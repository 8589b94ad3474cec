"""Which way a sweep goes: by a count of what it must move, not by trying.

    fused   a tile of samples stands in shared memory, and one launch does the sweep (cuda/fused.cu)
    wide    one launch too, but a block keeps its tile in a piece of global memory of its own (cuda/wide.cu)
    level   a launch a level (cuda/levels.cu), with cuBLAS for dense blocks

Fused wherever a tile fits: it touches device memory for X, T and sums alone.  Between the other two the time is estimated from bytes
and launches; docs/gpu.md does the arithmetic for one network.  With E edges, R rows and L levels, a gradient of N samples

    wide    gathers 2 E N numbers and streams 10 R N;  reads the E edges, and waits at 2 L barriers, once a tile and direction;  too
            few tiles leave the GPU partly idle
    level   gathers 4 E N numbers and streams 10 R N;  2 L launches

The constants are of order only: the choice has to be right where the two differ much.  They are datasheet figures, not measurements
of these kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphbp_cupy.module import THREADS

__all__ = ["MAX_FLAT_DENSE", "Path", "Shape", "choose"]

MAX_LANES, MIN_LANES = 32, 8
"""Samples of a tile: at most a warp's worth; fewer than 8 would use less than the 32 bytes that memory moves at once."""

MAX_FLAT_DENSE = 1 << 15
"""More edges than this in dense blocks go to cuBLAS on the level path."""

MAX_BLOCKS = 512
"""Blocks of one launch, each with a gradient of its own to be added up in order."""

BLOCKS_EACH = {4: 3, 8: 2}
"""Blocks of the wide path on a multiprocessor, by itemsize: as many as their registers let run at once (the compile gate checks it), so
that no second wave is left over.  While one waits at a barrier the others work.  It takes as many to keep memory busy: 4.8 TB/s × 0.7 µs
over 132 multiprocessors are 25 KB on their way, and a warp with eight gathers of 32 samples has 1 KB of float32, 2 KB of float64."""

BYTES_A_SECOND = 30e9
"""Of device memory for each multiprocessor (H200: 4.0 TB/s over 132)."""

LAUNCH, BARRIER = 3e-6, 1e-6
"""Seconds of a launch, and of a level of one tile at least: a barrier and a gather that waits for memory."""


@dataclass(frozen=True)
class Shape:
    """What the choice depends on: sizes of the network, and of the device."""

    n_rows: int
    n_outputs: int
    n_edges: int
    depth: int
    dense_edges: int
    itemsize: int
    shared_bytes: int
    multiprocessors: int

    def tile_numbers(self, lanes: int) -> int:
        """z and a of every row, and the head, for the samples of a tile."""
        return (2 * self.n_rows + self.n_outputs) * lanes

    def shared_of(self, lanes: int) -> int:
        """Shared memory of a fused block: the tile, and a number for each thread."""
        return (self.tile_numbers(lanes) + THREADS) * self.itemsize

    def wide_bytes(self, lanes: int) -> int:
        """Global memory of a wide block: the tile, and the sums of its gradient."""
        return (self.tile_numbers(lanes) + self.n_edges + self.n_rows) * self.itemsize


@dataclass(frozen=True)
class Path:
    """kind : "fused", "wide" or "level".  lanes : samples of a tile.  blocks, threads : of the launch.  why : for people."""

    kind: str
    lanes: int = 0
    blocks: int = 0
    threads: int = 0
    why: str = ""


def fused_lanes(shape: Shape) -> int:
    """Samples of a tile that fits in shared memory, a power of two; 0 where none does."""
    lanes = MAX_LANES
    while lanes >= MIN_LANES and shape.shared_of(lanes) > shape.shared_bytes:
        lanes //= 2
    return lanes if lanes >= MIN_LANES else 0


def choose(shape: Shape, n: int, budget: int, only: str = "") -> Path:
    """The path of n samples; depends on the network, the device, n and the budget, so the same call goes the same way.

    `only` : "level", "wide", or "wide 8", "wide 16", "wide 32" with tiles of so many samples, for tests and measurements.
    """
    if only == "level":
        return Path("level", why="level by level, as this backend was told to")
    if shape.dense_edges > MAX_FLAT_DENSE:
        return Path("level", why=f"level by level, with cuBLAS for the {shape.dense_edges:,} edges in dense blocks")
    lanes = fused_lanes(shape)
    if lanes and not only:
        affordable = max(1, budget // max(1, (shape.n_edges + shape.n_rows) * shape.itemsize))
        room = f"{shape.shared_of(lanes):,} bytes of shared memory"
        why = f"fused: a block runs all levels on a tile of {lanes} samples in {room}"
        return Path("fused", lanes, min(-(-n // lanes), MAX_BLOCKS, affordable), THREADS, why)
    too_large = f"{MIN_LANES} samples of all {shape.n_rows:,} rows do not fit in {shape.shared_bytes:,} bytes of shared memory"
    no_room = "as this backend was told to" if only else too_large
    paths = [path for path in _wide_paths(shape, n, budget) if only in ("", "wide", f"wide {path.lanes}")]
    wide = min(paths, key=lambda path: _wide_seconds(shape, n, path), default=None)
    if wide is None or (not only and _level_seconds(shape, n) < _wide_seconds(shape, n, wide)):
        return Path("level", why=f"level by level: {no_room}, and {n:,} samples keep too few blocks busy for the wide path")
    room = f"{shape.wide_bytes(wide.lanes):,} bytes of global memory"
    return replace(wide, why=f"wide: {no_room}; each of {wide.blocks} blocks runs all levels on {wide.lanes} samples in {room}")


def _wide_paths(shape: Shape, n: int, budget: int) -> list[Path]:
    found, lanes, each = [], MAX_LANES, BLOCKS_EACH[shape.itemsize]
    while lanes >= MIN_LANES:
        blocks = min(-(-n // lanes), MAX_BLOCKS, each * shape.multiprocessors, budget // shape.wide_bytes(lanes))
        if blocks and shape.n_rows * lanes < 1 << 31:  # a kernel's index into a tile is an int
            larger = max(1, min(each, each * shape.multiprocessors // blocks))  # few blocks: larger ones
            found.append(Path("wide", lanes, blocks, larger * THREADS))
        lanes //= 2
    return found


def _wide_seconds(shape: Shape, n: int, path: Path) -> float:
    numbers = path.lanes * (2 * shape.n_edges + 10 * shape.n_rows) + 4 * shape.n_edges  # the tile; weights and sums of its edges
    moved = numbers * shape.itemsize + 8 * shape.n_edges  # and where the edges lead
    share = BYTES_A_SECOND / BLOCKS_EACH[shape.itemsize] * (path.threads / THREADS)
    return -(-n // (path.lanes * path.blocks)) * (moved / share + 2 * shape.depth * BARRIER)


def _level_seconds(shape: Shape, n: int) -> float:
    numbers = n * (4 * shape.n_edges + 10 * shape.n_rows)
    return numbers * shape.itemsize / (BYTES_A_SECOND * shape.multiprocessors) + 2 * shape.depth * LAUNCH
