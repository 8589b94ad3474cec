"""Bundles: rows of one level that have exactly the same sources, four at a time, wherever in the level they stand.

Small dense layers, and sparse ones made of blocks (butterflies, block-diagonal or grouped layers), are full of them.  A bundle's sources
are loaded once for its four rows (`graphbp_numba.instructions.gathers.gather_bundle`), which a sweep over edges alone must load four times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp_numba.instructions.rows import BUNDLE
from graphbp_numba.plan.tables import RUN_BUNDLE_FIRST, RUN_BUNDLE_STOP, RUN_START

__all__ = ["Bundles", "find_bundles", "lead_bundles"]

MIN_SOURCES = 4
"""Shorter rows are not worth it."""


@dataclass(frozen=True)
class Bundles:
    """In the order of their levels.

    rows : (bundles, 4).        ptr, src : the sources of each bundle, as in CSR.
    edges : for each source of each bundle, the places of the four edges among the edges in.
    """

    rows: npt.NDArray[np.int32]
    ptr: npt.NDArray[np.int64]
    src: npt.NDArray[np.int32]
    edges: npt.NDArray[np.int64]


def find_bundles(in_ptr: npt.NDArray[np.int64], in_src: npt.NDArray[np.int32], level: npt.NDArray[Any]) -> Bundles:
    """The bundles among rows with edges in_ptr, in_src (sorted within a row), found by a hash of each row's sources and then compared."""
    count = np.diff(in_ptr)
    rows = np.flatnonzero(count >= MIN_SOURCES)
    if not len(rows):
        return _none()
    codes = np.random.default_rng(0).integers(1 << 62, size=len(count), dtype=np.uint64)
    sums = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum(codes[in_src], dtype=np.uint64)]
    )  # modulo 2^64, which differences undo
    mark = sums[in_ptr[rows + 1]] - sums[in_ptr[rows]]
    order = np.lexsort((rows, mark, count[rows], level[rows]))
    rows, mark = rows[order], mark[order]
    same = (np.diff(mark) == 0) & (np.diff(count[rows]) == 0) & (np.diff(level[rows]) == 0)
    head = np.concatenate([[0], np.flatnonzero(~same) + 1])
    size = np.diff(np.append(head, len(rows)))
    place = np.arange(len(rows)) - np.repeat(head, size)
    full = rows[place < np.repeat(size // BUNDLE * BUNDLE, size)].reshape(-1, BUNDLE)
    if not len(full):
        return _none()
    length = count[full[:, 0]]
    ptr = np.concatenate([[0], np.cumsum(length)])
    inside = np.arange(ptr[-1]) - np.repeat(ptr[:-1], length)
    edges = np.repeat(in_ptr[full], length, axis=0) + inside[:, None]
    src = in_src[edges]
    differ = np.flatnonzero((src != src[:, :1]).any(axis=1))
    if len(differ):  # two sets of sources with one hash, which is next to impossible
        fine = np.ones(len(full), bool)
        fine[np.searchsorted(ptr, differ, side="right") - 1] = False
        kept = np.repeat(fine, length)
        full, edges, src = full[fine], edges[kept], src[kept]
        ptr = np.concatenate([[0], np.cumsum(length[fine])])
    return Bundles(
        full.astype(np.int32), ptr.astype(np.int64), np.ascontiguousarray(src[:, 0]), np.ascontiguousarray(edges.ravel())
    )


def lead_bundles(row_level: npt.NDArray[Any], runs: npt.NDArray[np.int64], bundles: Bundles) -> None:
    """Have the first run of each level compute a of all its bundles; the others find it done."""
    level = row_level[runs[:, RUN_START]]
    leads = np.flatnonzero(np.diff(level, prepend=-1))
    of_bundle = row_level[bundles.rows[:, 0]]
    runs[:, [RUN_BUNDLE_FIRST, RUN_BUNDLE_STOP]] = 0
    runs[leads, RUN_BUNDLE_FIRST] = np.searchsorted(of_bundle, level[leads], side="left")
    runs[leads, RUN_BUNDLE_STOP] = np.searchsorted(of_bundle, level[leads], side="right")


def _none() -> Bundles:
    return Bundles(np.empty((0, BUNDLE), np.int32), np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.int64))
