"""Samples of a run as the backend's arrays, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.data import require_samples
from graphbp.exceptions import DataError

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["Part", "positive", "whole"]

Array = Any


@dataclass(frozen=True)
class Part:
    """Checked X (N, D), T (N, K) and s (N,), (N, K) or None, in the backend's memory; `total` is Σ_n s_n.

    `rows` (N,) says which rows of the caller's X these are; None: all of them, in order.
    `share` (K,), of many heads: `total` is Σ_nk c_k s_nk, the entries that have a target as a share of those of a sample
    (`graphbp.mixture.Heads.share`).
    """

    x: Array
    t: Array
    s: Array | None
    total: float
    rows: npt.NDArray[np.int64] | None = None
    share: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Any) -> Part:
        """The samples of `index` (an integer array or a slice)."""
        rows = np.arange(len(self))[index] if self.rows is None else self.rows[index]
        return _part(self.x[index], self.t[index], None if self.s is None else self.s[index], rows, self.share)

    @property
    def weights(self) -> npt.NDArray[np.float64] | None:
        """s in host memory, in float64."""
        return None if self.s is None else np.asarray(self.s.get() if hasattr(self.s, "get") else self.s, np.float64)

    @property
    def by_sample(self) -> npt.NDArray[np.float64]:
        """(N,): what each sample adds to `total`."""
        weights = self.weights
        if weights is None or self.share is None:
            return np.ones(len(self)) if weights is None else weights
        return np.asarray(weights @ self.share if weights.ndim == 2 else weights * self.share.sum())

    @property
    def n_targets(self) -> int:
        """Entries of T that count: N K less those of weight 0."""
        weights, (n, k) = self.weights, self.t.shape
        if weights is None:
            return int(n * k)
        return int(np.count_nonzero(weights)) * (1 if weights.ndim == 2 else int(k))

    def row(self, n: int) -> int:
        """Sample n's row in the caller's X."""
        return n if self.rows is None else int(self.rows[n])


def _part(
    x: Array, t: Array, s: Array | None, rows: npt.NDArray[np.int64] | None = None, share: npt.NDArray[np.float64] | None = None
) -> Part:
    if s is None or share is None:
        return Part(x, t, s, float(len(x)) if s is None else float(s.sum().item()), rows, share)
    part = Part(x, t, s, 0.0, rows, share)
    return replace(part, total=float(part.by_sample.sum()))


def whole(net: Network, X: Any, T: Any, s: Any, what: str) -> Part:
    """All samples of a batch, checked."""
    x, t, s = net.model.batch(X, T, s)
    require_samples(x, what, "training")
    heads = net.model.heads
    share = heads.share if not heads.plain or (s is not None and s.ndim == 2) else None
    return positive(_part(x, t, s, None, share), what)


def positive(part: Part, what: str) -> Part:
    """The part, refused where its weights sum to 0."""
    if not part.total > 0:
        raise DataError(f"the sample weights of {what} sum to {part.total:g}; at least one must be above 0")
    return part
