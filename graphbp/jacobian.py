r"""J_ki = ∂y_k/∂x_i with its structural zeros: what no path connects costs nothing.

The pattern P (K × D) says which inputs reach which outputs.  Two outputs whose inputs are disjoint share one reverse sweep: from
V = e_k + e_l the sweep returns J_k + J_l, and each entry belongs to the one whose pattern has it.  Likewise two inputs that reach
disjoint outputs share one forward sweep (Curtis, Powell & Reid 1974).  So J takes as many sweeps as the better of two colourings
has colours, in place of min(K, D).

    x1 ─► h1 ─► y1        P = [1 0]      one reverse sweep from V = (1, 1) gives both rows of J
    x2 ─► h2 ─► y2            [0 1]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from graphbp.schedule import Schedule

__all__ = ["JacobianPlan", "inputs_of_rows", "outputs_of_rows", "plan_jacobian", "reachable_inputs"]

Array = npt.NDArray[Any]
Pattern = npt.NDArray[np.bool_]

WORTH = 2
"""How many times fewer sweeps a colouring must take before it replaces the backend's own, which shares the forward sweep."""
CHUNK_BYTES = 1 << 22
"""Bytes of a dense Jacobian that a sparse result is cut from at a time."""


def reachable_inputs(schedule: Schedule) -> Pattern:
    """P (K, D): true where a path leads from input i to output k (a softmax passes it to its whole group).

    Sets of inputs are bit masks, joined level by level: O(edges · D / 8) bytes read.
    """
    s = schedule
    outputs = inputs_of_rows(s)[s.output_rows]
    for group in s.softmax_groups:
        outputs[group] = np.bitwise_or.reduce(outputs[group], axis=0)
    return np.unpackbits(outputs, axis=1, count=s.n_inputs).astype(bool)


def inputs_of_rows(schedule: Schedule) -> npt.NDArray[np.uint8]:
    """(n_rows, ⌈D / 8⌉): for each row, as bits, the inputs that a path leads from."""
    s = schedule
    reach = np.zeros((s.n_rows, (s.n_inputs + 7) // 8), np.uint8)
    reach[: s.n_inputs] = np.packbits(np.eye(s.n_inputs, dtype=bool), axis=1)
    for level in s.levels:
        if level.n_sparse:
            pointers = s.in_ptr[level.start : level.stop + 1]
            fed = np.flatnonzero(np.diff(pointers))
            sources = s.in_src[pointers[0] : pointers[-1]]
            reach[level.start + fed] |= np.bitwise_or.reduceat(reach[sources], pointers[fed] - pointers[0], axis=0)
        for block in level.dense:
            reach[block.start : block.stop] |= np.bitwise_or.reduce(reach[block.source], axis=0)
        combined = s.combinations.of_rows(level.start, level.stop)
        reach[s.combinations.rows[combined]] |= reach[s.combinations.first[combined]] | reach[s.combinations.second[combined]]
    return reach


def outputs_of_rows(schedule: Schedule, coupled: bool = True) -> npt.NDArray[np.uint8]:
    """(n_rows, ⌈K / 8⌉): for each row, as bits, the outputs that a path leads to; `coupled`, a softmax passes it to its whole group."""
    s = schedule
    own = np.packbits(np.eye(s.n_outputs, dtype=bool), axis=1)
    for group in s.softmax_groups if coupled else ():
        own[group] = np.bitwise_or.reduce(own[group], axis=0)
    leads = np.zeros((s.n_rows, own.shape[1]), np.uint8)
    leads[s.output_rows] = own
    for start, stop, dense in [*((level.start, level.stop, level.dense) for level in reversed(s.levels)), (0, s.n_inputs, ())]:
        feeding = start + np.flatnonzero(np.diff(s.out_ptr[start : stop + 1]))
        if len(feeding):
            ends = s.out_dst[s.out_ptr[start] : s.out_ptr[stop]]
            leads[feeding] |= np.bitwise_or.reduceat(leads[ends], s.out_ptr[feeding] - s.out_ptr[start], axis=0)
        for block in dense:
            leads[block.source] |= np.bitwise_or.reduce(leads[block.start : block.stop], axis=0)
        combined = s.combinations.of_rows(start, stop)
        for sources in (s.combinations.first, s.combinations.second):
            np.bitwise_or.at(leads, sources[combined], leads[s.combinations.rows[combined]])
    return leads


def _colour(pattern: Pattern) -> npt.NDArray[np.int64]:
    """A colour for each row, such that rows of one colour have disjoint supports (greedy, the fullest rows first)."""
    colours = np.zeros(len(pattern), np.int64)
    taken: list[Pattern] = []
    for row in np.argsort(-pattern.sum(axis=1), kind="stable"):
        support = pattern[row]
        for number, used in enumerate(taken):
            if not (used & support).any():
                used |= support
                colours[row] = number
                break
        else:
            colours[row] = len(taken)
            taken.append(support.copy())
    return colours


@dataclass(frozen=True)
class JacobianPlan:
    """How to sweep: the backend's own Jacobian, or one reverse (forward) sweep for each colour of the outputs (inputs)."""

    direction: Literal["own", "reverse", "forward"]
    n_sweeps: int
    pattern: Pattern
    colours: npt.NDArray[np.int64]

    @cached_property
    def members(self) -> list[list[int]]:
        """The outputs (or inputs) of each colour."""
        return [np.flatnonzero(self.colours == colour).tolist() for colour in range(self.n_sweeps)]

    def dense(self, run: Any, theta: Array, X: Array) -> Array:
        """J (N, K, D) of an executable."""
        if self.direction == "own":
            return np.asarray(run.jacobian(theta, X))
        out = np.zeros((len(X), *self.pattern.shape), X.dtype)
        for member, support, values in self._sweeps(run, theta, X):
            if self.direction == "reverse":
                out[:, member, support] = values
            else:
                out[:, support, member] = values
        return out

    def sparse(self, run: Any, theta: Array, X: Array) -> sparse.csr_array[Any]:
        """The N Jacobians stacked, (N K, D): row n K + k is ∂y_k/∂x of sample n, structural zeros left out."""
        n_samples, (n_outputs, n_inputs) = len(X), self.pattern.shape
        pointers = np.concatenate([[0], np.cumsum(self.pattern.sum(axis=1))]).astype(self.index_type(n_samples))
        data = np.empty((n_samples, int(pointers[-1])), X.dtype)
        place = np.cumsum(self.pattern.ravel()).reshape(self.pattern.shape) - 1  # of each entry among those of one sample
        if self.direction == "own":
            step = max(1, CHUNK_BYTES // (self.pattern.size * X.itemsize))
            for start in range(0, n_samples, step):
                data[start : start + step] = run.jacobian(theta, X[start : start + step])[:, self.pattern]
        else:
            for member, support, values in self._sweeps(run, theta, X):
                data[:, place[member, support] if self.direction == "reverse" else place[support, member]] = values
        indices = np.tile(np.nonzero(self.pattern)[1].astype(pointers.dtype), n_samples)
        starts = (np.arange(n_samples, dtype=pointers.dtype)[:, None] * pointers[-1] + pointers[:-1]).ravel()
        indptr = np.append(starts, n_samples * pointers[-1]).astype(pointers.dtype)
        return sparse.csr_array((data.ravel(), indices, indptr), shape=(n_samples * n_outputs, n_inputs))

    def index_type(self, n_samples: int) -> np.dtype[Any]:
        """Of the sparse result's indices: 32 bits where they suffice, as SciPy would have it."""
        n, (k, d) = n_samples, self.pattern.shape
        return np.dtype(np.int32 if max(n * int(self.pattern.sum()), n * k, d) < 2**31 else np.int64)

    def peak(self, n_samples: int, itemsize: int, sparse: bool) -> int:
        """Bytes held at once: the result, and beside it what a sweep starts from and finds, or a part of a dense Jacobian."""
        k, d = self.pattern.shape
        entry = itemsize + self.index_type(n_samples).itemsize if sparse else itemsize
        entries = int(self.pattern.sum()) if sparse else k * d
        beside = 2 * (k + d) if self.direction != "own" else 2 * k * d if sparse else 0
        most = 2 * CHUNK_BYTES if self.direction == "own" else n_samples * beside * itemsize
        return n_samples * entries * entry + min(most, n_samples * beside * itemsize)

    def _sweeps(self, run: Any, theta: Array, X: Array) -> Any:
        """(output, its inputs, values (N, ·)) for every output, or (input, its outputs, values) for every input."""
        pattern = self.pattern if self.direction == "reverse" else self.pattern.T
        for members in self.members:
            seed = np.zeros((len(X), len(pattern)), X.dtype)
            seed[:, members] = 1
            swept = run.vjp(theta, X, seed)[0] if self.direction == "reverse" else run.jvp(theta, X, seed, None)
            odd = np.flatnonzero(~np.isfinite(swept).all(axis=1))
            again = run.jacobian(theta, X[odd]) if len(odd) else None
            for member in members:
                support = np.flatnonzero(pattern[member])
                values = swept[:, support]
                if again is not None:
                    values[odd] = (again[:, member] if self.direction == "reverse" else again[:, :, member])[:, support]
                yield member, support, values


def plan_jacobian(schedule: Schedule) -> JacobianPlan:
    """The cheaper of: the backend's own sweeps (min(K, D) of them), one a colour of the outputs, one a colour of the inputs."""
    pattern = reachable_inputs(schedule)
    own = min(pattern.shape)
    if own > 1 and not pattern.all():
        by_output, by_input = _colour(pattern), _colour(pattern.T)
        reverse, forward = int(by_output.max()) + 1, int(by_input.max()) + 1
        if min(reverse, forward) * WORTH <= own:
            if reverse <= forward:
                return JacobianPlan("reverse", reverse, pattern, by_output)
            return JacobianPlan("forward", forward, pattern, by_input)
    return JacobianPlan("own", own, pattern, np.zeros(0, np.int64))
