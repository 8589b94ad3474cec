"""What the kernels of the Hessians are given: arrays under names, as named tuples, which Numba unpacks at no cost.

A call from Python hands over plain tuples, which it tells apart faster, and the entry names them again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Columns", "Factors", "Net", "Reach", "Several", "Slopes", "Stack", "Target", "Units"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Net(NamedTuple):
    """What is swept: the plan's table, the weights, each row's run."""

    table: Indices
    w_in: Array
    w_out: Array
    run_of: Indices


class Reach(NamedTuple):
    """Which rows have to do with which.

    live : (n_rows,) an output follows from the row.
    meets, paths : (n_rows, n_rows) B_lj, Φ_kj may be other than 0 and are wanted; arrays of no rows where that is not known.
    """

    live: Flags
    meets: Flags
    paths: Flags


class Slopes(NamedTuple):
    """Of a tile of samples what the sweeps take: z, h', δ, h''β and R in lines of whole vectors, R's entries' rows (j, c), how many samples.

    For the outer product δ and h''β have no lines.
    """

    z: Array
    slope: Array
    delta: Array
    bend: Array
    R: Array
    heads: Indices
    n: int


class Factors(NamedTuple):
    """Of a tile of samples what is multiplied: z and δ, in lines of whole vectors; for the outer product δ has none."""

    z: Array
    delta: Array


class Columns(NamedTuple):
    """B[j − start, l − start] and Φ of the units l perturbed; or, arrays of no rows in their place, G and ΛG of a few outputs.

    For the outer product Φ has no rows either.
    """

    start: int
    B: Array
    phi: Array
    g: Array
    weighted: Array


class Several(NamedTuple):
    """Units of a group from row `start` on, fed by all of `sources` (rows), with w_ji at θ[place[j, i]] (−1: a hole)."""

    start: int
    sources: Indices
    place: Indices


class Units(NamedTuple):
    """Single units: unit u is row[u], with sources source[start[u] : start[u + 1]] at θ[place[...]] (−1: a hole)."""

    row: Indices
    start: Indices
    source: Indices
    place: Indices


class Stack(NamedTuple):
    """All weights of single units, unit after unit: those of row unit[u] are start[u]..start[u + 1]; of each its row, source and place in θ."""

    unit: Indices
    start: Indices
    row: Indices
    source: Indices
    place: Indices


class Target(NamedTuple):
    """L, where the weights of a tile's units j and of a group's units l stand in it, and how far places follow one another there."""

    half: Array
    to_j: Indices
    j_runs: Indices
    to_l: Indices
    l_runs: Indices
