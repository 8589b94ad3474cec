"""θ in the order of the sweeps, and the sums of a gradient in the order of θ."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphbp_numba.instructions.calls import pointer, reals
from graphbp_numba.machine.jit import carray, compiled, kernel
from graphbp_numba.plan.tables import PLAN_FROZEN

__all__ = ["EdgeWeights", "add_positions", "collect", "fill_weights", "gather_gradient", "gather_weights"]

Array = npt.NDArray[Any]


class EdgeWeights(NamedTuple):
    """The weights of edges in the order of the sweeps forward (w_in, those of bundles behind them) and in reverse, and biases by row.

    So too for a direction v in the weights.
    """

    w_in: Array
    w_out: Array
    bias: Array


@kernel
def gather_weights(tag: Any, table: Any, theta: Any, param: int, count: int, out: Any) -> None:
    """out[:count] = θ[param], or the frozen value where param < 0."""
    params = carray(pointer(param), count, np.int32)
    frozen = carray(reals(tag, table[PLAN_FROZEN]), 1)
    for e in range(count):
        p = params[e]
        out[e] = theta[p] if p >= 0 else frozen[-1 - p]


@kernel
def add_positions(sums: Any, ptr: Any, pos: Any, gradient: Any, first: int, stop: int) -> None:
    """gradient_p = the sum over the positions of parameter p, in order; 0 where it has none."""
    for p in range(first, stop):
        if ptr[p] == ptr[p + 1]:
            gradient[p] = 0
            continue
        total = sums[pos[ptr[p]]]
        for q in range(ptr[p] + 1, ptr[p + 1]):
            total += sums[pos[q]]
        gradient[p] = total


@compiled
def fill_weights(theta: Any, frozen: Any, param: Any, out: Any, first: int, stop: int) -> None:
    """out = θ[param], or the frozen value where param < 0, from first to stop."""
    for e in range(first, stop):
        p = param[e]
        out[e] = theta[p] if p >= 0 else frozen[-1 - p]


@compiled
def collect(sums: Any, first: int, stop: int) -> None:
    """sums[0] = the sum over the partitions, pairwise, at the positions first..stop."""
    width = sums.shape[0]
    while width > 1:
        half = (width + 1) // 2
        for k in range(width // 2):
            into, other = sums[k], sums[half + k]
            for i in range(first, stop):
                into[i] += other[i]
        width = half


@compiled
def gather_gradient(sums: Any, ptr: Any, pos: Any, gradient: Any, first: int, stop: int) -> None:
    """gradient_p = the sum over the positions of parameter p, in order, for p from first to stop."""
    add_positions(sums, ptr, pos, gradient, first, stop)
