"""Compile ahead: what a backend compiles on first use, so that nobody waits for it later.

Every quantity is computed once on small networks of each kind (units, layers, every sort of output), for sample counts that take each of
the backend's paths.  A backend that compiles nothing is done in a second; one that keeps its machine code on disk (Numba) has it there
for every later process.  `graphbp warm` does both dtypes side by side.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np

from graphbp.activations import activation_table
from graphbp.builders import layered, random_dag
from graphbp.exceptions import NumericalWarning
from graphbp.network import Network

__all__ = ["warm"]

SAMPLES = (1, 12, 24, 70)
"""One call; tiles of one, two and four vectors in either dtype; several tiles."""
ERRORS = ("sum_of_squares", "cross_entropy", "binary_cross_entropy")


def warm(backend: str, dtype: str) -> Iterator[str]:
    """Compute everything once; yields what is computed next, in words."""
    for what, net in _networks(backend, dtype):
        for n in SAMPLES:
            yield f"{what}, {n} sample{'s' * (n > 1)}"
            with warnings.catch_warnings(), np.errstate(all="ignore"):  # the square root of whatever comes is no number
                warnings.simplefilter("ignore", NumericalWarning)
                _everything(net, n)


def _networks(backend: str, dtype: str) -> Iterator[tuple[str, Network]]:
    for error in ERRORS:
        yield f"units, {error}", Network(random_dag(4, 20, 3, error=error, seed=1), error=error, backend=backend, dtype=dtype)
    graph = random_dag(4, 40, 3, seed=2)
    names = [row.name for row in activation_table if row.builtin and row.elementwise]
    for unit, name in zip(sorted(n for n in graph if graph.in_degree(n) and graph.out_degree(n)), cycle(names), strict=False):
        graph.nodes[unit]["activation"] = name
    yield "units, every activation", Network(graph, backend=backend, dtype=dtype)
    graph = layered([64, 64, 64, 3], error="cross_entropy")
    yield "layers", Network(graph, error="cross_entropy", backend=backend, dtype=dtype)
    graph = layered([360, 370, 3], error="cross_entropy")
    yield "large layers", Network(graph, error="cross_entropy", backend=backend, dtype=dtype)


def _everything(net: Network, n: int) -> None:
    rng = np.random.default_rng(0)
    d, k, w = net.schedule.n_inputs, net.schedule.n_outputs, net.n_parameters
    X, V, v = rng.normal(size=(n, d)), rng.normal(size=(n, k)), rng.normal(size=w)
    T: Any = rng.integers(k, size=n) if net.error_function.classes else rng.integers(2, size=(n, k))
    net.forward(X), net.error_and_gradient(X, T), net.vjp(X, V)
    net.hessian_operator(X, T) @ v, net.outer_product_operator(X, T) @ v
    if w > 100_000:  # large layers have ways of their own for these; the rest they share, and it grows with them
        return
    net.per_sample_gradient(X, T), net.trace(X, T)
    net.jacobian(X), net.jvp(X, X), net.weight_jvp(X, v), net.weight_jacobian(X)
    net.input_hessian(X), net.input_hessian(X, V), net.laplacian(X), net.second_order_product(X, V, X, v), net.mixed_jvp(X, T, v)
    if w < 5_000:
        net.hessian(X, T), net.outer_product_hessian(X, T), net.hessian_diagonal(X, T)
        net.hessian_blocks(X, T), net.hessian_blocks(X, T, kind="outer_product")
