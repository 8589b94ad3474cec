"""BLAS alone: the matrix products that a computation cannot do without, and nothing else.  A roofline, not a peer."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.networks import Array, Mlp
from benchmarks.outcome import Run


def mlp_products(net: Mlp, n: int, dtype: str) -> Run:
    """The 3 L − 1 products of a gradient of L layers: L forward, L for ∂E/∂W, L − 1 for δ.  On random data: no result to compare."""
    rng = np.random.default_rng(0)
    jobs: list[tuple[Array, Array, Array]] = []

    def job(a: tuple[int, int], b: tuple[int, int]) -> None:
        jobs.append((rng.random(a).astype(dtype), rng.random(b).astype(dtype), np.empty((a[0], b[1]), dtype)))

    for layer, w in enumerate(net.weights):
        units, sources = w.shape
        job((n, sources), (sources, units))
        job((units, n), (n, sources))
        if layer:
            job((n, units), (units, sources))
    flops = sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b, _ in jobs)

    def products() -> Any:
        for a, b, out in jobs:
            np.matmul(a, b, out=out)

    return Run(products, None, note=f"{flops / 1e9:.2f} GFLOP of products alone")


def gram(rows: Array) -> Run:
    """AᵀA of given rows (N·K, W)."""
    return Run(lambda: rows.T @ rows)
