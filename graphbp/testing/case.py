"""A `Case` of the zoo: a graph with an error function, samples, targets and directions, all seeded by its name, so that a failure repeats
from its name alone.  Samples, targets and weights are float32 numbers, so that both dtypes are given the same problem.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.network import Network

__all__ = ["Build", "Case", "float32_values", "targets", "weights"]

Array = npt.NDArray[Any]
Build = Callable[[np.random.Generator], "nx.DiGraph[Any]"]

SECOND_ORDER_LIMIT = 700
"""Parameters up to which a case is asked for W × W results."""


@dataclass(frozen=True)
class Case:
    """A network with data.

    Attributes
    ----------
    name : also the seed of everything random in it.
    build : makes the graph from a seeded generator.
    error, n_samples, weighted : the error function ("": the output nodes say theirs), N, and whether the samples have weights.
    gaps : weights of every output (N, K) instead, a third of them 0.
    """

    name: str
    build: Build
    error: str = "sum_of_squares"
    n_samples: int = 7
    weighted: bool = False
    gaps: bool = False

    def __str__(self) -> str:
        return self.name

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator that depends on the name and the purpose alone."""
        return np.random.default_rng(zlib.crc32(f"{self.name}/{purpose}".encode()))

    @cached_property
    def graph(self) -> nx.DiGraph[Any]:
        """The graph; not to be changed."""
        return self.build(self.rng("graph"))

    def network(self, backend: str = "numpy", dtype: str = "float64") -> Network:
        """Compiled on a backend, its θ rounded to float32 numbers."""
        net = Network(self.graph, error=self.error or None, backend=backend, dtype=dtype)
        net.weights = float32_values(net.weights)
        return net

    @cached_property
    def definition(self) -> Network:
        """The network on the NumPy backend in float64."""
        return self.network()

    @cached_property
    def X(self) -> Array:  # noqa: N802  # the book's name
        """(N, D), within [-2, 2]."""
        x = self.rng("X").normal(scale=0.8, size=(self.n_samples, self.definition.schedule.n_inputs))
        return _kept(np.clip(x, -2, 2))

    @cached_property
    def T(self) -> Array:  # noqa: N802  # the book's name
        """(N, K), what the error function accepts."""
        return _kept(targets(self.rng("T"), self.definition, self.n_samples))

    @cached_property
    def sample_weight(self) -> Array | None:
        """(N,), (N, K) or None."""
        if self.gaps:
            return _kept(_with_gaps(self.rng("s"), self.definition, self.n_samples))
        return _kept(self.rng("s").uniform(0.2, 3, self.n_samples)) if self.weighted else None

    @property
    def many_heads(self) -> bool:
        """Outputs have errors or weights of their own."""
        return self.gaps or not self.error

    @property
    def batch(self) -> tuple[Array, Array, Array | None]:
        """(X, T, sample_weight)."""
        return self.X, self.T, self.sample_weight

    @cached_property
    def V(self) -> Array:  # noqa: N802  # the book's name
        """(N, K): directions in the outputs."""
        return _kept(self.rng("V").normal(size=self.T.shape))

    @cached_property
    def U(self) -> Array:  # noqa: N802  # the book's name
        """(N, D): directions in the inputs."""
        return _kept(self.rng("U").normal(size=self.X.shape))

    @cached_property
    def v(self) -> Array:
        """(W, 3): directions in the parameters."""
        return _kept(self.rng("v").normal(size=(self.definition.n_parameters, 3)))

    @property
    def second_order(self) -> bool:
        """Whether a W × W result is reasonable."""
        return self.definition.n_parameters <= SECOND_ORDER_LIMIT


def float32_values(values: Any) -> Array:
    """Float64 values that float32 holds too."""
    return np.asarray(values, np.float32).astype(np.float64)


def _kept(values: Any) -> Array:
    """The same, read-only, as a user's array may be: a backend that writes to its input is caught at once."""
    array = float32_values(values)
    array.flags.writeable = False
    return array


def targets(rng: np.random.Generator, net: Network, n: int) -> Array:
    """(N, K) targets in the range that the network's error function accepts."""
    k, kind = net.schedule.n_outputs, net.error_function.targets
    if kind == "mixed":
        return _mixed_targets(rng, net, n)
    t = rng.normal(size=(n, k)) if kind == "real" else rng.uniform(0.1, 0.9, (n, k))
    if kind == "distribution":
        for group in net.schedule.softmax_groups:
            one_hot = np.eye(len(group))[rng.integers(len(group), size=n)]
            t[:, group] = np.where(rng.random(n)[:, None] < 0.5, one_hot, _distribution(rng, n, len(group)))
    if kind == "nonnegative":
        t = np.floor(5 * t)
    return float32_values(t)


def _mixed_targets(rng: np.random.Generator, net: Network, n: int) -> Array:
    """The same where outputs have errors of their own."""
    t = np.empty((n, net.schedule.n_outputs))
    for entry in net.model.heads.entries:
        kind, p = entry.error.targets, entry.positions
        own = rng.normal(size=(n, len(p))) if kind == "real" else rng.uniform(0.1, 0.9, (n, len(p)))
        own = _distribution(rng, n, len(p)) if kind == "distribution" and entry.grouped else own
        t[:, p] = np.floor(5 * own) if kind == "nonnegative" else own
    return float32_values(t)


def _with_gaps(rng: np.random.Generator, net: Network, n: int) -> Array:
    """(N, K) weights, a third of them 0; those of a softmax are alike."""
    s = np.empty((n, net.schedule.n_outputs))
    for entry in net.model.heads.entries:
        s[:, entry.positions] = (rng.uniform(0.2, 3, n) * (rng.random(n) > 1 / 3))[:, None]
    return s


def _distribution(rng: np.random.Generator, n: int, k: int) -> Array:
    """(n, k) rows that sum to exactly 1 in float32 too: multiples of 2⁻¹⁰.  δ = y − t is ∂E/∂a only where they do."""
    t = np.floor(1024 * rng.dirichlet(np.ones(k), n))
    t[:, 0] += 1024 - t.sum(axis=1)
    return np.asarray(t / 1024)


def weights(rng: np.random.Generator, shape: Any = (), scale: float = 1.0) -> Any:
    """± scale · U(0.3, 1): never near 0, where an error would hide."""
    value = float32_values(scale * rng.uniform(0.3, 1, shape) * rng.choice([-1.0, 1.0], shape))
    return value if value.shape else float(value)
