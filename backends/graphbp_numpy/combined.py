r"""Combinations of two rows in the sweeps: a_j += g(z_u, z_v), by runs of one level and one kind (see `graphbp.combinations`).

Arrays are (rows, ..., N).  What several combinations give to one row is added by a matrix of ones, in a fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from graphbp.extend import COMBINATIONS, Combination, Schedule

__all__ = ["Run", "runs_by_level"]

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """Combinations of one level and kind: rows j, their sources u and v, and what gathers by source.

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


def _run(of: Combination, rows: Indices, first: Indices, second: Indices) -> Run:
    fed, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    ones = np.ones(2 * len(rows), np.float32)
    gather = sparse.csr_matrix((ones, (place.ravel(), np.arange(2 * len(rows)))), (len(fed), 2 * len(rows)))
    return Run(of, rows, first, second, fed, gather)


def runs_by_level(schedule: Schedule) -> tuple[tuple[Run, ...], ...]:
    """The runs of each level, none in most."""
    c = schedule.combinations
    if not len(c):
        return ((),) * len(schedule.levels)
    found = []
    for lo, hi in zip(c.ptr[:-1].tolist(), c.ptr[1:].tolist(), strict=True):
        kinds = np.unique(c.kind[lo:hi]).tolist()
        at = [lo + np.flatnonzero(c.kind[lo:hi] == kind) for kind in kinds]
        found.append(tuple(_run(COMBINATIONS[k], c.rows[i], c.first[i], c.second[i]) for k, i in zip(kinds, at, strict=True)))
    return tuple(found)
