"""Samples as the estimators train on them: rows that are equal are one row, whose weight is the sum of theirs.

>>> x, t, s = merged(np.array([[1.0], [2.0], [1.0]]), np.array([[0.0], [1.0], [0.0]]), np.ones(3))
>>> sorted(zip(x[:, 0].tolist(), s.tolist()))
[(1.0, 2.0), (2.0, 1.0)]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["balanced", "merged"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


def merged(x: Floats, t: Floats, s: Floats) -> tuple[Floats, Floats, Floats]:
    """(x, t, s) of the rows that differ in x or t and weigh something, in an order that depends on what they hold alone."""
    counted = s > 0
    rows = np.ascontiguousarray(np.column_stack([x, t])[counted]) + 0.0  # −0 is 0
    key = _digest(rows)
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    if not np.array_equal(rows, rows[first][group]):  # two rows share a digest: once in some 2⁶⁴ / N²
        _, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    kept = rows[first]
    return kept[:, : x.shape[1]], kept[:, x.shape[1] :], np.asarray(np.bincount(group.ravel(), s[counted], len(first)), np.float64)


def _digest(rows: Floats) -> npt.NDArray[np.uint64]:
    """(N,) 64 bits of what each row holds."""
    bits = rows.view(np.uint64)
    key = np.zeros(len(rows), np.uint64)
    for column in bits.T:  # the finaliser of MurmurHash3 (Appleby 2011, public domain), column by column
        key = (key ^ column) * np.uint64(0xFF51AFD7ED558CCD)
        key ^= key >> np.uint64(33)
        key *= np.uint64(0xC4CEB9FE1A85EC53)
        key ^= key >> np.uint64(29)
    return key


def balanced(codes: npt.NDArray[np.int64], n_classes: int, s: Floats) -> Floats:
    """(C,) Σ s / (C Σ_{n in c} s_n): every class counts alike; sample weights count as repetitions."""
    there = np.bincount(codes, s, n_classes)
    present = int(np.count_nonzero(there))
    return np.asarray(np.divide(there.sum(), present * there, out=np.zeros(n_classes), where=there > 0))
