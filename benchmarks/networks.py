"""The networks that are measured, owned by the benchmark, as arrays that each contender turns into its own form.

A `UnitDag` is a network of single units wired one by one; a `Mlp` a stack of fully connected layers.  Both know their networkx graph
and the order of graphbp's parameter vector, so that every contender's gradient can be laid out alike and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LevelOfEdges:
    """Rows start..stop of the level order, fed by edges `edge` that lead from rows `source` into row start + `target`."""

    start: int
    stop: int
    target: Array
    source: Array
    edge: Array
    is_output: Array
    unit: Array
    """The units of this level, as numbers among hidden and output units."""


@dataclass(frozen=True, eq=False)
class UnitDag:
    """Units in topological order: inputs, hidden, outputs.  Edges by destination: ptr[j]..ptr[j+1] lead into unit n_inputs + j.

    Hidden units have `activation`, outputs are linear, every hidden and output unit has a bias.
    """

    n_inputs: int
    n_outputs: int
    ptr: Array
    src: Array
    weight: Array
    bias: Array
    activation: str = "softsign"

    @property
    def n_units(self) -> int:
        """Hidden and output units."""
        return len(self.bias)

    @property
    def n_rows(self) -> int:
        return self.n_inputs + self.n_units

    @property
    def n_edges(self) -> int:
        return len(self.src)

    @property
    def n_parameters(self) -> int:
        return self.n_edges + self.n_units

    @cached_property
    def target(self) -> Array:
        """(edges,) the row that each edge leads into."""
        return np.repeat(np.arange(self.n_inputs, self.n_rows), np.diff(self.ptr))

    @cached_property
    def level(self) -> Array:
        """(n_rows,) the longest path from an input, in edges."""
        level = np.zeros(self.n_rows, np.int64)
        ptr = self.ptr.tolist()
        for j in range(self.n_units):
            level[self.n_inputs + j] = level[self.src[ptr[j] : ptr[j + 1]]].max() + 1
        return level

    @property
    def depth(self) -> int:
        return int(self.level.max())

    @cached_property
    def level_order(self) -> Array:
        """Rows sorted by level."""
        return np.argsort(self.level, kind="stable")

    @cached_property
    def position(self) -> Array:
        """(n_rows,) where each row stands in `level_order`."""
        position = np.empty(self.n_rows, np.int64)
        position[self.level_order] = np.arange(self.n_rows)
        return position

    @cached_property
    def levels(self) -> list[LevelOfEdges]:
        """The network level by level, rows renumbered by `position`: the form that array libraries need."""
        bounds = np.searchsorted(self.level[self.level_order], np.arange(1, self.depth + 2))
        by_level = np.lexsort((self.position[self.src], self.position[self.target]))
        ends = np.searchsorted(self.position[self.target][by_level], bounds)
        out = []
        for start, stop, first, last in zip(bounds, bounds[1:], ends, ends[1:], strict=False):
            edges = by_level[first:last]
            rows = self.level_order[start:stop]
            out.append(
                LevelOfEdges(
                    int(start),
                    int(stop),
                    self.position[self.target[edges]] - start,
                    self.position[self.src[edges]],
                    edges,
                    rows >= self.n_rows - self.n_outputs,
                    rows - self.n_inputs,
                )
            )
        return out

    @property
    def output_position(self) -> Array:
        return self.position[self.n_rows - self.n_outputs :]

    @cached_property
    def by_source(self) -> tuple[Array, Array]:
        """(ptr, edges): edges[ptr[i] : ptr[i+1]] leave row i."""
        edges = np.argsort(self.src, kind="stable")
        return np.searchsorted(self.src[edges], np.arange(self.n_rows + 1)), edges

    def graph(self) -> nx.DiGraph:
        """The same network as graphbp takes it: one node a unit, one edge a weight."""
        g = nx.DiGraph()
        g.add_nodes_from(range(self.n_inputs), role="input")
        last = self.n_units - self.n_outputs
        bias = self.bias.tolist()
        g.add_nodes_from(
            (self.n_inputs + j, {"activation": self.activation, "bias": bias[j], "role": "hidden"}) for j in range(last)
        )
        g.add_nodes_from((self.n_inputs + j, {"bias": bias[j], "role": "output"}) for j in range(last, self.n_units))
        g.add_weighted_edges_from(zip(self.src.tolist(), self.target.tolist(), self.weight.tolist(), strict=True))
        return g

    @cached_property
    def weight_position(self) -> Array:
        """Where each edge's weight stands in graphbp's vector: unit by unit, its weights, then its bias."""
        return np.arange(self.n_edges) + self.target - self.n_inputs

    @cached_property
    def bias_position(self) -> Array:
        return self.ptr[1:] + np.arange(self.n_units)

    def flat(self, weight: Array, bias: Array) -> Array:
        """One vector in the order of `net.weights`."""
        out = np.empty(self.n_parameters, weight.dtype)
        out[self.weight_position] = weight
        out[self.bias_position] = bias
        return out


def random_dag(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    fan_in: int,
    *,
    window: int | None = None,
    activation: str = "softsign",
    seed: int = 0,
) -> UnitDag:
    """Each unit draws `fan_in` different sources among all earlier inputs and hidden units, or among the last `window` of them."""
    rng = np.random.default_rng(seed)
    rows = np.arange(n_inputs, n_inputs + n_hidden + n_outputs)
    high = np.minimum(rows, n_inputs + n_hidden)
    low = np.zeros_like(high) if window is None else np.maximum(0, high - window)
    if (high - low).min() < fan_in:
        raise ValueError(f"fan_in={fan_in} needs at least as many inputs, and a window at least as wide")
    src = _distinct(rng, low, high, fan_in)
    n = len(rows)
    return UnitDag(
        n_inputs,
        n_outputs,
        np.arange(n + 1) * fan_in,
        src.ravel(),
        rng.normal(size=n * fan_in) / np.sqrt(fan_in),
        rng.normal(size=n) * 0.1,
        activation,
    )


def _distinct(rng: np.random.Generator, low: Array, high: Array, k: int) -> Array:
    """(n, k): row i holds k different integers of low[i]..high[i], ascending."""
    drawn = np.sort(rng.integers(low[:, None], high[:, None], size=(len(low), k)), axis=1)
    while True:
        repeated = np.zeros(drawn.shape, bool)
        repeated[:, 1:] = drawn[:, 1:] == drawn[:, :-1]
        row, column = np.nonzero(repeated)
        if not len(row):
            return drawn
        drawn[row, column] = rng.integers(low[row], high[row])
        drawn.sort(axis=1)


@dataclass(frozen=True, eq=False)
class Mlp:
    """Fully connected layers: z = h(W z + b), W (units, sources); the last layer has `output_activation`."""

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    activation: str = "tanh"
    output_activation: str = "identity"

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.weights[0].shape[1], *(len(b) for b in self.biases))

    @property
    def n_parameters(self) -> int:
        return sum(w.size for w in self.weights) + sum(b.size for b in self.biases)

    def flat(self, weights: list[Array], biases: list[Array]) -> Array:
        """The order of `net.weights` of `layer_graph`: layer by layer, W row by row, then b."""
        return np.concatenate([part.ravel() for pair in zip(weights, biases, strict=True) for part in pair])

    def flat_by_unit(self, weights: list[Array], biases: list[Array]) -> Array:
        """The order of `net.weights` of `unit_graph`: unit by unit, its weights, then its bias."""
        return np.concatenate([np.concatenate([w, b[:, None]], axis=1).ravel() for w, b in zip(weights, biases, strict=True)])

    def layer_graph(self) -> nx.DiGraph:
        g = nx.DiGraph()
        g.add_node(0, units=self.sizes[0])
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            g.add_node(layer, units=len(b), bias=b, activation=self._activation(layer))
            g.add_edge(layer - 1, layer, weight=w)
        return g

    def unit_graph(self) -> nx.DiGraph:
        g = nx.DiGraph()
        g.add_nodes_from((0, i) for i in range(self.sizes[0]))
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            kind = self._activation(layer)
            g.add_nodes_from(((layer, j), {"bias": v, "activation": kind}) for j, v in enumerate(b.tolist()))
            for j, row in enumerate(w.tolist()):
                g.add_weighted_edges_from(((layer - 1, i), (layer, j), v) for i, v in enumerate(row))
        return g

    def _activation(self, layer: int) -> str:
        return self.output_activation if layer == len(self.weights) else self.activation


def mlp(*sizes: int, activation: str = "tanh", output_activation: str = "identity", seed: int = 0) -> Mlp:
    """Layers of the given sizes with seeded normal weights of variance 1 / fan-in."""
    rng = np.random.default_rng(seed)
    weights = tuple(rng.normal(size=(b, a)) / np.sqrt(a) for a, b in pairwise(sizes))
    return Mlp(weights, tuple(rng.normal(size=b) * 0.1 for b in sizes[1:]), activation, output_activation)


def batch(n: int, d: int, k: int, dtype: str = "float64", seed: int = 1) -> tuple[Array, Array]:
    """Seeded normal X (n, d) and T (n, k)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(n, k)).astype(dtype)
