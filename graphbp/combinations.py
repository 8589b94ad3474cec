r"""Combinations of two rows: the term g(z_u, z_v) that a row's pre-activation may have besides its weighted sum.

    a_j = b_j + Σ_i w_ji z_i + g(z_u, z_v)

    reverse   β_u += g_u δ_j,                                    β_v += g_v δ_j
    tangent   ȧ_j += g_u ż_u + g_v ż_v
    second    Rβ_u += g_u Rδ_j + (g_uu ż_u + g_uv ż_v) δ_j,      Rβ_v += g_v Rδ_j + (g_uv ż_u + g_vv ż_v) δ_j

A combination owns no weight: to the sweeps it is two edges whose weights g_u, g_v differ from sample to sample.  One table has what is
computed for each kind; `Schedule.combinations` says which rows have one (`graphbp.lowering.expansion` for where they come from), and
`Schedule.combined` has them by runs of one level and kind, as loops over levels in NumPy take them.

Where two choices are equal the first source is taken, as NumPy's argmax does; NaN is taken before any number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "COMBINATIONS",
    "NO_COMBINATIONS",
    "Combination",
    "CombinationRun",
    "Combinations",
    "combinations_by_level",
    "runs_by_level",
]

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

    def __reduce__(self) -> Any:
        return _named, (self.name,)  # one of the table, wherever it is unpickled


def _named(name: str) -> Combination:
    return next(row for row in COMBINATIONS if row.name == name)


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


@dataclass(frozen=True)
class CombinationRun:
    """Combinations of one level and kind, for sweeps in NumPy: rows j, their sources u and v, and what gathers by source.

    `fed` are the rows among u and v, each once, and `gather` (fed, 2 C) has a 1 for each combination that one is the first of, or the
    second (those stand behind).
    """

    of: Combination
    rows: Indices
    first: Indices
    second: Indices
    fed: Indices
    gather: Any

    def value(self, z: Array) -> Array:
        """g(z_u, z_v)."""
        return self.of.g(z[self.first], z[self.second])

    def slopes(self, z: Array) -> tuple[Array, Array]:
        """(g_u, g_v)."""
        return self.of.slopes(z[self.first], z[self.second])

    def tangent(self, z: Array, z_dot: Array) -> Array:
        """g_u ż_u + g_v ż_v."""
        g_u, g_v = self.slopes(z)
        return np.asarray(g_u * z_dot[self.first] + g_v * z_dot[self.second])

    def gathered(self, to_first: Array, to_second: Array) -> Array:
        """(fed, ...): what the combinations give to u and to v, by source."""
        given = np.concatenate([to_first, to_second])
        out: Array = (self.gather @ given.reshape(len(given), -1)).reshape(-1, *given.shape[1:])
        return out

    def reverse(self, z: Array, delta: Array, beta: Array) -> None:
        """β_u += g_u δ_j, β_v += g_v δ_j."""
        g_u, g_v = self.slopes(z)
        beta[self.fed] += self.gathered(g_u * delta[self.rows], g_v * delta[self.rows])

    @property
    def bends(self) -> bool:
        """Some second derivative of g is not 0."""
        return any(self.of.bend)

    def bent(self, delta: Array, u: Array, v: Array) -> tuple[Array, Array]:
        """δ_j (g_uu ż_u + g_uv ż_v) and δ_j (g_uv ż_u + g_vv ż_v), for tangents u and v of the sources and δ of the rows."""
        uu, uv, vv = self.of.bend
        return delta * (uu * u + uv * v), delta * (uv * u + vv * v)

    def sources(self, phi: Array, start: int) -> tuple[Array, Array]:
        """Φ_u and Φ_v of Φ (rows from `start` on, columns, N); earlier rows are 0."""
        return _lifted(phi, self.first - start), _lifted(phi, self.second - start)


def _lifted(phi: Array, rows: Indices) -> Array:
    out = phi[np.maximum(rows, 0)]
    out[rows < 0] = 0
    return out


def _run(of: Combination, rows: Indices, first: Indices, second: Indices) -> CombinationRun:
    fed, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    from scipy import sparse

    ones = np.ones(2 * len(rows), np.float32)
    gather = sparse.csr_matrix((ones, (place.ravel(), np.arange(2 * len(rows)))), (len(fed), 2 * len(rows)))
    return CombinationRun(of, rows, first, second, fed, gather)


def runs_by_level(c: Combinations, n_levels: int) -> tuple[tuple[CombinationRun, ...], ...]:
    """The runs of each level."""
    if not len(c):
        return ((),) * n_levels
    found = []
    for lo, hi in zip(c.ptr[:-1].tolist(), c.ptr[1:].tolist(), strict=True):
        kinds = np.unique(c.kind[lo:hi]).tolist()
        at = [lo + np.flatnonzero(c.kind[lo:hi] == kind) for kind in kinds]
        found.append(tuple(_run(COMBINATIONS[k], c.rows[i], c.first[i], c.second[i]) for k, i in zip(kinds, at, strict=True)))
    return tuple(found)
