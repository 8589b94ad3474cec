"""Every quantity of the face on tiles of samples; which path a call takes is decided by `graphbp_numba.paths`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import ErrorFunction, Schedule
from graphbp_numba import kernels
from graphbp_numba.functions import VECTOR_BYTES
from graphbp_numba.plan import make_plan
from graphbp_numba.threads import run_tasks

__all__ = ["NumbaExecutable"]

Array = npt.NDArray[Any]

TILE_BYTES = 3 << 20
"""A tile's rows should stay near the second-level cache: narrower tiles for larger networks."""
SUMS_BYTES = 256 << 20
"""Memory for the partitions' gradient sums at most (but never fewer than two partitions)."""
MAX_PARTITIONS = 16
FILL = 1 << 16
"""Weights gathered by one task."""


class NumbaExecutable:
    """A schedule and an error, ready to run; see `graphbp.protocols` for shapes and meanings."""

    def __init__(self, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any]) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.plan = make_plan(schedule, error, dtype)
        self.width = VECTOR_BYTES // dtype.itemsize
        self.tags = {vectors: (dtype.type(0),) * vectors for vectors in (1, 2, 4)}
        self.rows = kernels.buffer_rows(schedule.n_rows, self.plan.n_keep, schedule.n_outputs)
        self._buffers: dict[int, deque[Array]] = {vectors: deque(maxlen=64) for vectors in self.tags}
        self._none = np.empty(0, dtype)
        self._no_rows = np.empty((0, 0), dtype)

    # -- choices ----------------------------------------------------------------------------------------------------------

    def vectors(self, n_samples: int) -> int:
        """Vectors a row of a tile: few for few samples, and for so many rows that a wide tile would leave the cache."""
        if n_samples <= self.width:
            return 1
        if n_samples <= 2 * self.width or self.rows * VECTOR_BYTES * 4 > TILE_BYTES:
            return 2
        return 4

    def partitions(self, n_tiles: int) -> int:
        """Into how many parts the samples are cut, each with its own gradient sums: a matter of N and the network alone."""
        room = max(2, SUMS_BYTES // (self.plan.sums_size * self.dtype.itemsize))
        return min(n_tiles, room, MAX_PARTITIONS)

    # -- first order -------------------------------------------------------------------------------------------------------

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        Y = np.empty((len(X), self.schedule.n_outputs), self.dtype)
        w, bias = self._weights(theta, self.plan.in_param), self._weights(theta, self.plan.bias_param)
        vectors = self.vectors(len(X))
        tiles = self._tiles(len(X), vectors)
        parts = min(tiles, 64)

        def task(part: int) -> None:
            buffer = self._take(vectors)
            kernels.forward(
                self.tags[vectors], self.plan.table, w, bias, X, Y, buffer, tiles * part // parts, tiles * (part + 1) // parts
            )
            self._buffers[vectors].append(buffer)

        run_tasks(task, parts)
        return Y

    def error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> float:
        """E = Σ_n s_n E_n."""
        return self._sweep(theta, X, T, sample_weight, kernels.VALUE)[0]

    def error_and_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[float, Array]:
        """(E, ∂E/∂θ)."""
        value, gradient, _ = self._sweep(theta, X, T, sample_weight, kernels.GRADIENT)
        return value, gradient

    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,))."""
        _, gradient, by_x = self._sweep(theta, X, V, None, kernels.VJP)
        return by_x, gradient

    def _sweep(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int) -> tuple[float, Array, Array]:
        """(E, gradient, ∂E/∂x) of one pass over the tiles, cut into partitions that are summed pairwise."""
        plan = self.plan
        w, bias = self._weights(theta, plan.in_param), self._weights(theta, plan.bias_param)
        w_out = self._none if mode == kernels.VALUE else self._weights(theta, plan.out_param)
        s = self._none if sample_weight is None else sample_weight
        by_x = np.empty(X.shape, self.dtype) if mode == kernels.VJP else self._no_rows
        vectors = self.vectors(len(X))
        tiles = self._tiles(len(X), vectors)
        parts = self.partitions(tiles)
        sums = np.zeros((parts, 0 if mode == kernels.VALUE else plan.sums_size), self.dtype)
        values = [0.0] * parts

        def task(part: int) -> None:
            buffer = self._take(vectors)
            values[part] = kernels.sweep(
                self.tags[vectors],
                plan.table,
                w,
                w_out,
                bias,
                X,
                T,
                s,
                by_x,
                sums[part],
                buffer,
                mode,
                tiles * part // parts,
                tiles * (part + 1) // parts,
            )
            self._buffers[vectors].append(buffer)

        run_tasks(task, parts)
        gradient = self._none if mode == kernels.VALUE else self._collect(sums)
        return _pairwise_sum(values), gradient, by_x

    # -- shared ------------------------------------------------------------------------------------------------------------

    def _tiles(self, n_samples: int, vectors: int) -> int:
        return -(-n_samples // (vectors * self.width))

    def _take(self, vectors: int) -> Array:
        """A tile's buffer, used before or new."""
        try:
            return self._buffers[vectors].pop()
        except IndexError:
            return np.zeros(VECTOR_BYTES * (vectors * self.rows + self.width + 1), np.uint8)

    def _weights(self, theta: Array, param: Array) -> Array:
        """θ at the places of a plan's edges or biases."""
        out = np.empty(len(param), self.dtype)
        _in_parts(len(param), FILL, lambda first, stop: kernels.fill_weights(theta, self.plan.frozen, param, out, first, stop))
        return out

    def _collect(self, sums: Array) -> Array:
        """The gradient from the partitions' sums."""
        n, size = self.schedule.n_parameters, self.plan.sums_size
        if len(sums) > 1:
            _in_parts(size, FILL, lambda first, stop: kernels.collect(sums, first, stop))
        gradient = np.empty(n, self.dtype)
        plan = self.plan
        _in_parts(n, FILL, lambda first, stop: kernels.gather_gradient(sums[0], plan.grad_ptr, plan.grad_pos, gradient, first, stop))
        return gradient


def _in_parts(n: int, size: int, work: Callable[[int, int], None]) -> None:
    """work(first, stop) over 0..n, in parts of about `size`."""
    parts = max(1, n // size)
    run_tasks(lambda part: work(n * part // parts, n * (part + 1) // parts), parts)


def _pairwise_sum(values: list[float]) -> float:
    while len(values) > 1:
        values = [sum(values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]
