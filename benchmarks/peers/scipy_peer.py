"""SciPy's CSR matrix times a dense array, layer by layer; SciPy runs it on one thread, so the samples are also split over threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.networks import Array
from benchmarks.outcome import Run


def sparse_layers_forward(matrices: list[Any], bias: float, clip: float, X: Array, chunk: int, threads: int = 1) -> Run:
    """Clipped relu of (W z + bias) layer by layer, `chunk` samples at a time; `matrices` are (units, sources), X (N, units)."""
    parts = [np.ascontiguousarray(X[i : i + chunk].T) for i in range(0, len(X), chunk)]

    def run(z: Array) -> Array:
        for matrix in matrices:
            z = matrix @ z
            z += bias
            np.clip(z, 0, clip, out=z)
        return z

    note = f"{chunk} samples at a time"
    if threads == 1:
        return Run(lambda: [run(part) for part in parts], lambda zs: np.concatenate(zs, axis=1).T, note)
    pool = ThreadPoolExecutor(threads)
    return Run(lambda: list(pool.map(run, parts)), lambda zs: np.concatenate(zs, axis=1).T, note)
