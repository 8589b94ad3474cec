"""How far results may lie apart: one table, by backend, dtype and kind of quantity, each with its reason.

A difference is relative: max |found − expected| / max |expected| over one result array (see `relative_difference`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TOLERANCES", "Tolerance", "relative_difference", "tolerance"]


@dataclass(frozen=True)
class Tolerance:
    """The largest relative difference that passes, and why it is that large."""

    value: float
    reason: str


ANY = "any backend"

TOLERANCES: dict[tuple[str, str, str], Tolerance] = {
    (ANY, "float64", "value"): Tolerance(1e-13, "other orders of summation and activations to 1 or 2 ulp, through 120 levels"),
    (ANY, "float64", "first"): Tolerance(1e-12, "two sweeps of the above, and sums over samples with cancellation"),
    (ANY, "float64", "second"): Tolerance(1e-11, "products of up to four swept factors, summed with cancellation"),
    (ANY, "float64", "oracle"): Tolerance(1e-12, "complex step and mpmath have no differencing error"),
    (ANY, "float64", "central"): Tolerance(2e-6, "central differences: ε² truncation against round-off / ε, best near ε = 6e-6"),
    (ANY, "float64", "forward"): Tolerance(2e-4, "forward differences: ε truncation against round-off / ε, best near ε = 1e-8"),
    (ANY, "float32", "value"): Tolerance(1e-5, "the same as float64, with an ulp of 1.2e-7"),
    (ANY, "float32", "first"): Tolerance(5e-5, "the same as float64, with an ulp of 1.2e-7"),
    (ANY, "float32", "second"): Tolerance(2e-4, "the same as float64, with an ulp of 1.2e-7"),
}
"""(backend, dtype, kind) → tolerance.  A row with a backend's name takes precedence over `ANY`."""


def tolerance(backend: str, dtype: str, kind: str) -> Tolerance:
    """The row for a backend, a dtype and a kind: "value", "first" or "second" order, "oracle", "central", "forward"."""
    return TOLERANCES.get((backend, dtype, kind)) or TOLERANCES[ANY, dtype, kind]


def relative_difference(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """max |found − expected| / max |expected| (/ 1 where all expected is 0); infinite where shapes, or what is finite, differ.

    >>> relative_difference([1.0, 2.0], [1.0, 4.0])
    0.5
    """
    a, b = np.asarray(found), np.asarray(expected)
    if a.shape != b.shape:
        return float("inf")
    if not a.size:
        return 0.0
    wide: Any = np.result_type(a, b, np.float64)
    a, b = a.astype(wide), b.astype(wide)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    scale = float(np.abs(b, where=np.isfinite(b), out=np.zeros(b.shape)).max())
    apart = np.abs(a - b, where=np.isfinite(b), out=np.zeros(b.shape))
    return float(apart.max() / (scale or 1.0))
