"""Which path a call takes, and how its samples are cut: a matter of the network and of N alone, so that the bits are too.

    N up to one vector, few edges     few      one call on the caller's thread
    one tile, large levels            levels   levels cut into parts
    else                              tiles    tiles of samples, all levels in one pass

Networks of blocks come here with few samples only, if at all: they take `graphbp_numba.blocks.path`, large dense ones `graphbp_numba.layers.path`.
"""

from __future__ import annotations

from functools import cached_property

from graphbp_numba.first_order.runs import buffer_rows
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.plan.plan import ROW_COST, Plan
from graphbp_numba.plan.tables import PLAN_TARGET_ROWS

__all__ = ["FEW_EDGES", "MAX_PARTITIONS", "PART_EDGES", "Choice"]

TILE_BYTES = 3 << 20
"""A tile's rows should stay near the second-level cache: narrower tiles for larger networks."""
COMBINED_BYTES = 6 << 20
"""The same where rows are combined: what is read for every leaf of a tree weighs more than the rows (measured)."""
SUMS_BYTES = 256 << 20
"""Memory for the partitions' gradient sums at most (but never fewer than two partitions)."""
MAX_PARTITIONS = 16
FEW_EDGES = 1 << 16
"""Up to so many edges, samples that fit one narrow tile are swept in a single call on the caller's thread."""
TASK_EDGES = 1 << 19
"""Edges × samples of a task, at least: about 50 µs, against some 20 µs to have another thread take it."""
PART_EDGES = 1 << 18
"""Edges × samples of a part of a level, at least."""
SHARE = 0.5
"""Of the work that stands in levels which can be cut, at least, for the path of levels to pay."""
COLUMN_ROWS = 400
"""So many rows of four vectors, of h', h''β, G, Φ and B, are half a second-level cache."""


class Choice:
    """What follows from the sizes of one network for N samples."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._itemsize = plan.dtype.itemsize
        self.width = VECTOR_BYTES // self._itemsize
        self.rows = buffer_rows(plan.first.n_rows, plan.first.n_keep, plan.schedule.n_outputs, int(plan.table[PLAN_TARGET_ROWS]))
        self.few = self.width if plan.n_edges <= FEW_EDGES else -1

    @cached_property
    def _near_rows(self) -> int:
        """Rows of a tile's buffer that are read again and again."""
        first = self._plan.first
        beside = first.trees.rows(first.n_rows) - len(first.trees.lines) if first.trees is not None else 0
        return self.rows - self._plan.n_slopes - beside

    def takes_levels(self, n_samples: int) -> bool:
        """Whether the samples fit one tile, and levels that can be cut hold enough of the work; not where rows are combined."""
        if len(self._plan.combined) or not 0 < n_samples <= self.vectors(n_samples) * self.width:
            return False
        cost = self._plan.level_costs * n_samples
        return bool(cost[cost >= 2 * PART_EDGES].sum() >= SHARE * cost.sum() and len(cost))

    def vectors(self, n_samples: int) -> int:
        """Vectors a row of a tile: few for few samples, and for so many rows that a wide tile would leave the cache."""
        if n_samples <= self.width:
            return 1
        if n_samples <= 2 * self.width or self._near_rows * VECTOR_BYTES * 4 > (
            COMBINED_BYTES if len(self._plan.combined) else TILE_BYTES
        ):
            return 2
        return 4

    def state_vectors(self, n_samples: int) -> int:
        """The same where all rows' state is kept: several times the memory."""
        return 1 if n_samples <= self.width else 2

    def column_vectors(self, n_samples: int) -> int:
        """The same where a tile's state is swept again for every unit."""
        small = self._plan.schedule.n_rows <= COLUMN_ROWS and n_samples > 2 * self.width
        return 4 if small else self.state_vectors(n_samples)

    def tiles(self, n_samples: int, vectors: int) -> int:
        """Tiles that hold so many samples."""
        return -(-n_samples // (vectors * self.width))

    def tasks(self, n_samples: int) -> int:
        """Tasks that so many samples are worth."""
        return 1 + (self._plan.n_edges + ROW_COST * self._plan.schedule.n_rows) * n_samples // TASK_EDGES

    def partitions(self, n_samples: int, n_tiles: int) -> int:
        """Into how many parts the samples are cut, each with its own gradient sums; where rows are combined, tiles are few and sums many."""
        if len(self._plan.combined):
            n_tiles = -(-n_tiles // 4)
        return min(n_tiles, self.room_for_sums(1), MAX_PARTITIONS, self.tasks(n_samples))

    def room_for_sums(self, n_directions: int) -> int:
        """Rows of gradient sums that memory is taken for, at most."""
        return max(2, SUMS_BYTES // (max(self._plan.out.size, self._plan.first.out.size) * self._itemsize * max(1, n_directions)))
