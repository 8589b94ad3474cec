r"""Combinations of two rows: the term g(z_u, z_v) that a row's pre-activation may have besides its weighted sum.

    a_j = b_j + Σ_i w_ji z_i + g(z_u, z_v)

    reverse   β_u += g_u δ_j,                                    β_v += g_v δ_j
    tangent   ȧ_j += g_u ż_u + g_v ż_v
    second    Rβ_u += g_u Rδ_j + (g_uu ż_u + g_uv ż_v) δ_j,      Rβ_v += g_v Rδ_j + (g_uv ż_u + g_vv ż_v) δ_j

A combination owns no weight: to the sweeps it is two edges whose weights g_u, g_v differ from sample to sample.  One table has what is
computed for each kind; `Schedule.combinations` says which rows have one (see `graphbp.aggregation` for where they come from).

Where two choices are equal the first source is taken, as NumPy's argmax does; NaN is taken before any number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["COMBINATIONS", "NO_COMBINATIONS", "Combination", "Combinations", "combinations_by_level"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Combination:
    """One kind of g.

    Attributes
    ----------
    name : "product", "max", "min" or "maxabs".
    g : g(u, v) of arrays; complex ones are compared by their real part, so that the complex step goes through.
    slopes : (g_u, g_v).
    bend : the constants (g_uu, g_uv, g_vv).
    gap : how far (u, v) is from a tie, where the derivatives jump; None for a g that has no tie.
    """

    name: str
    g: Callable[[Array, Array], Array]
    slopes: Callable[[Array, Array], tuple[Array, Array]]
    bend: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gap: Callable[[Array, Array], Array] | None = None


def _choice(name: str, first: Callable[[Array, Array], Array], gap: Callable[[Array, Array], Array]) -> Combination:
    """The g that takes u where `first` says so, else v."""

    def slopes(u: Array, v: Array) -> tuple[Array, Array]:
        taken = first(u, v).astype(u.dtype)
        return taken, 1 - taken

    return Combination(name, lambda u, v: np.where(first(u, v), u, v), slopes, gap=gap)


def _distance(u: Array, v: Array) -> Array:
    return np.asarray(np.abs(u - v))


COMBINATIONS: tuple[Combination, ...] = (
    Combination("product", lambda u, v: u * v, lambda u, v: (v, u), (0.0, 1.0, 0.0)),
    _choice("max", lambda u, v: (u.real >= v.real) | np.isnan(u), _distance),
    _choice("min", lambda u, v: (u.real <= v.real) | np.isnan(u), _distance),
    _choice("maxabs", lambda u, v: (np.abs(u.real) >= np.abs(v.real)) | np.isnan(u), lambda u, v: np.abs(np.abs(u) - np.abs(v))),
)
"""Every g that there is; `Combinations.kind` holds positions in this table."""


@dataclass(frozen=True)
class Combinations:
    """Which rows of a schedule have a combination; ascending by row, none for most networks.  All arrays are read-only.

    Attributes
    ----------
    rows : (C,) the row j that has the term, each at most once.
    kind : (C,) position in `COMBINATIONS`.
    first, second : (C,) the rows u and v, both of lower levels; they may be the same row.
    ptr : (levels + 1,) combinations ptr[l]..ptr[l + 1] are those of the rows of levels[l].
    """

    rows: Indices
    kind: Indices
    first: Indices
    second: Indices
    ptr: Indices

    def __post_init__(self) -> None:
        for value in (self.rows, self.kind, self.first, self.second, self.ptr):
            value.flags.writeable = False

    def __len__(self) -> int:
        return len(self.rows)

    def of_rows(self, start: int, stop: int) -> Indices:
        """Positions of the combinations of rows start..stop."""
        return np.arange(*np.searchsorted(self.rows, [start, stop]))

    def among(self, kept: npt.NDArray[np.bool_], place: Indices, starts: list[int]) -> Combinations:
        """Those of the rows that are `kept`, at their new places, cut at the new levels."""
        if not len(self):
            return self
        here = kept[self.rows]
        rows, first, second = (place[part[here]] for part in (self.rows, self.first, self.second))
        return combinations_by_level(rows, self.kind[here], first, second, np.array(starts))

    def slopes_of(self, c: int, z: Array) -> tuple[Array, Array]:
        """(g_u, g_v) of combination c for activations z (rows, N)."""
        g_u, g_v = COMBINATIONS[self.kind[c]].slopes(z[self.first[c]], z[self.second[c]])
        return g_u, g_v

    @cached_property
    def choices(self) -> Indices:
        """Positions of those that have ties."""
        tied = [k for k, row in enumerate(COMBINATIONS) if row.gap is not None]
        return np.flatnonzero(np.isin(self.kind, tied))


def _none() -> Indices:
    return np.empty(0, np.int64)


NO_COMBINATIONS = Combinations(_none(), _none(), _none(), _none(), np.zeros(1, np.int64))
"""Of a network whose nodes are weighted sums; `ptr` is not looked at where there is none."""


def combinations_by_level(rows: Indices, kind: Indices, first: Indices, second: Indices, starts: Indices) -> Combinations:
    """Sorted by row and cut at the levels, whose first rows (and the end) are `starts`."""
    if not len(rows):
        return NO_COMBINATIONS
    order = np.argsort(rows)
    rows, kind, first, second = (np.ascontiguousarray(part[order], np.int64) for part in (rows, kind, first, second))
    return Combinations(rows, kind, first, second, np.searchsorted(rows, starts).astype(np.int64))
