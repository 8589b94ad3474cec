"""The seam between the core and a backend in second order: what a backend's sweeps hand over, tile by tile.

A Hessian is assembled from tiles.  A backend runs the sweeps for a *sample tile* (some of the samples) and, on it, for a *column
tile* (a run of rows l) and hands over plain arrays; `graphbp.second_order.assembly` multiplies them into the Hessian:

    for part in sample tiles:                     tile = sweeps.sample_tile(X[part], T[part], s[part])
    for start, stop in plan.columns(...):         accumulator.add(start, stop, ((tile, sweeps.column_tile(tile, start, stop)) for each tile))

A backend that has faster sweeps (a JIT, a GPU copying back) implements `SecondOrderSweeps` and reuses everything else; one that
can also multiply faster than BLAS does for irregular parts may replace pieces of the assembly, since `HessianPlan` is public too.

Arrays are C-contiguous, of one dtype, samples innermost; `n` below is the number of samples of the tile.  G, Φ and B are those of
the closed form, per sample:

    G_kj = ∂a_k/∂ε_j      Φ_kj = h'_k G_kj = ∂z_k/∂ε_j      B_jl = ∂²E/∂ε_j∂ε_l
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from graphbp.schedule import Schedule

if TYPE_CHECKING:
    from graphbp.second_order.plan import HessianPlan

__all__ = ["ColumnTile", "OutputCurvature", "OutputRows", "OwnAssembly", "OwnCurvature", "SampleTile", "SecondOrderSweeps"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OutputCurvature:
    """R (or Λ) of one head: rows (k,) of the output units, and ∂²E/∂a∂a times the sample weight, (k, n) if diagonal, else (k, k, n)."""

    rows: npt.NDArray[np.int64]
    value: Array

    @property
    def coupled(self) -> bool:
        """A full matrix: softmax."""
        return self.value.ndim == 3


@dataclass(frozen=True)
class SampleTile:
    """One tile of samples after a forward and a reverse sweep.

    Attributes
    ----------
    z : (n_rows + 1, n) activations; the last row is 1, the unit that biases come from.
    slope : (n_rows, n) h'_j(a_j); anything at inputs and softmax rows, which nothing uses.
    delta : (n_rows, n) δ_j = ∂E/∂a_j, the sample weight in it.  Not read where `exact` is false.
    bend : (n_rows, n) h''_j(a_j) β_j with β_j = Σ_k w_kj δ_k, the sample weight in it.  Zeros (or None) where `exact` is false.
    curvature : R of every head for the exact Hessian, Λ for the outer-product one.
    exact : false for the outer-product Hessian.
    cache : whatever the backend's `sample_tile` leaves for its own `column_tile`.
    """

    z: Array
    slope: Array
    delta: Array | None
    bend: Array | None
    curvature: tuple[OutputCurvature, ...]
    exact: bool
    cache: dict[str, Any] = field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        """The n of every array here."""
        return int(self.z.shape[1])


@dataclass(frozen=True)
class ColumnTile:
    """The columns l = start..stop of Φ and B on one sample tile.

    Attributes
    ----------
    start, stop : the rows l that were perturbed (hidden or output rows).
    B : (n_rows − start, stop − start, n): B[j − start, l − start] = B_jl for j ≥ l at least.  For the outer product, (GᵀΛG)_jl.
    phi : the same shape: phi[k − start, l − start] = Φ_kl, for k ≥ l at least; None for the outer product, which needs none.
    """

    start: int
    stop: int
    B: Array
    phi: Array | None


@dataclass(frozen=True)
class OutputRows:
    """G and ΛG of the outputs on one sample tile: (n_rows, K, n) each."""

    g: Array
    weighted: Array

    def column_tile(self, start: int, stop: int) -> ColumnTile:
        """The columns start..stop of GᵀΛG."""
        n_rows, k, n = self.g.shape
        out = np.empty((n_rows - start, stop - start, n), self.g.dtype)
        term = np.empty_like(out[0])
        for row in range(start, n_rows):
            values = out[row - start]
            np.multiply(self.weighted[row, 0], self.g[start:stop, 0], out=values)
            for c in range(1, k):
                np.multiply(self.weighted[row, c], self.g[start:stop, c], out=term)
                values += term
        return ColumnTile(start, stop, out, None)


class SecondOrderSweeps(Protocol):
    """What a backend implements to have its Hessians assembled by the core: its sweeps, at weights that they were made for."""

    schedule: Schedule
    dtype: np.dtype[Any]

    def sample_tile(self, x: Array, t: Array, s: Array | None, exact: bool) -> SampleTile:
        """Forward and reverse sweep; x (D, n), t (K, n), s (n,) or None."""
        ...

    def column_tile(self, tile: SampleTile, start: int, stop: int) -> ColumnTile:
        """Sweep Φ forward and B backward for the perturbed rows start..stop; the arrays need last only until the thread's next call."""
        ...

    def output_rows(self, tile: SampleTile) -> OutputRows:
        """G and ΛG of the outputs, asked for where these are few (`graphbp.second_order.rows.output_rows` makes them of the weights)."""
        ...


@runtime_checkable
class OwnCurvature(SecondOrderSweeps, Protocol):
    """Sweeps that find B_jj in less time than whole columns of B, for diagonals and unit blocks."""

    def own_curvature(self, tiles: list[SampleTile], wanted: Array) -> list[Array]:
        """For each tile (n_rows, n): B_jj of the rows j with `wanted[j]`, anything elsewhere."""
        ...


@runtime_checkable
class OwnAssembly(OwnCurvature, Protocol):
    """Sweeps that also add up what they find, in place of the core's matrix products: for a backend that has faster ones."""

    def add_columns(
        self, plan: HessianPlan, tile: SampleTile, rows: OutputRows | None, columns: list[tuple[int, int]], half: Array
    ) -> None:
        """half += what the perturbed units l of all column tiles (start, stop) contribute together with units j at or after them.

        Every unordered pair of weights goes to one of its two places in L = `half`, a weight with itself counting half, so that
        H = L + Lᵀ.  Where `rows` are given, B is GᵀΛG, to be had from them.  Column tiles write to different entries of L, unless
        parameters are tied, so they may be taken side by side.
        """
        ...

    def finish(self, half: Array) -> Array:
        """L + Lᵀ; `half` is used up."""
        ...
