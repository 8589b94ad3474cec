"""Samples come in and go out: a tile of X or T, and the weights of its lanes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy.typing as npt

from graphbp_numba.instructions.calls import item_size, reals
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import carray, kernel
from graphbp_numba.plan.tables import PLAN_N_OUTPUTS, PLAN_TARGET_ROWS

__all__ = ["Samples", "aligned", "load_targets", "load_tile", "tile_weights"]

Array = npt.NDArray[Any]


class Samples(NamedTuple):
    """X (N, D), T (N, K) or what stands in its place, and the samples' weights (N,), of no size where all are 1."""

    X: Array
    T: Array
    weight: Array


@kernel
def load_tile(rows: Any, values: Any, n0: int) -> None:
    """rows[i, l] = values[n0 + l, i]; past the end, the last sample again.  Sixteen columns at a time: a line of the cache is read once."""
    last = values.shape[0] - 1
    for start in range(0, values.shape[1], 16):
        stop = min(start + 16, values.shape[1])
        for lane in range(rows.shape[1]):
            n = min(n0 + lane, last)
            for i in range(start, stop):
                rows[i, lane] = values[n, i]


@kernel
def tile_weights(weights: Any, sample_weight: Any, n0: int, n_samples: int) -> None:
    """The weight of each lane's sample; 0 past the end."""
    for lane in range(len(weights)):
        n = n0 + lane
        weights[lane] = 0 if n >= n_samples else (sample_weight[n] if len(sample_weight) else 1)


@kernel
def load_targets(tag: Any, table: Any, targets: int, weights: int, T: Any, sample_weight: Any, n0: int, n_samples: int) -> None:
    """A tile's targets and the weights of its lanes; of a table with own weights these stand in T, and here, behind the targets."""
    lanes = len(tag) * (VECTOR_BYTES // item_size(tag))
    load_tile(carray(reals(tag, targets), (table[PLAN_TARGET_ROWS], lanes)), T, n0)
    shared = carray(reals(tag, weights), lanes)
    tile_weights(shared, sample_weight, n0, n_samples)
    k = table[PLAN_N_OUTPUTS]
    if table[PLAN_TARGET_ROWS] > k:
        own = carray(reals(tag, targets + k * len(tag) * VECTOR_BYTES), (k, lanes))
        for row in range(k):
            for lane in range(lanes):
                own[row, lane] *= shared[lane]


@kernel
def aligned(buffer: Any) -> Any:
    """The first address in a byte buffer that a vector may stand at."""
    return (buffer.ctypes.data + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES
