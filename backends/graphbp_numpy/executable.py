"""Every quantity of the face, from the sweeps of `graphbp_numpy.sweeps`.

Samples are taken in chunks, so memory does not grow with N.  Chunks run side by side on threads, each product on one of them; their
sizes depend on the network and N alone and their sums have a fixed order, so the bits do not depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from graphbp.extend import AnyError, Schedule, TraceArrays, head_groups, run_tasks
from graphbp_numpy.by_inputs import ByInputs
from graphbp_numpy.second_order import SecondOrder
from graphbp_numpy.sweeps import Program

__all__ = ["NumpyExecutable"]

Array = npt.NDArray[Any]
_R = TypeVar("_R")

CHUNK_BYTES = 1 << 22
"""Bytes of one (rows, samples) array of a chunk, at most; a thread holds some eight of them."""
FEW_SAMPLES, FEW_BYTES = 128, 1 << 25
"""A chunk takes more rather than fewer samples than this, up to so many bytes an array: each level is a few calls."""
SHARE = 2
"""Chunks are so many times smaller where the result grows with N too: what a chunk holds should be little beside it."""
MIN_SAMPLES = 64
MIN_WORK = 1 << 20
"""Edges × samples of a chunk, at least, where several would do: less is not worth another thread."""
PARTITIONS = 8
"""Sums are kept for so many runs of chunks."""


class NumpyExecutable(SecondOrder, ByInputs):
    """A schedule and an error, ready to run; see `graphbp.protocols` for shapes and meanings."""

    def __init__(self, schedule: Schedule, error: AnyError, dtype: np.dtype[Any]) -> None:
        self.schedule = schedule
        self.dtype = dtype
        self.program = Program(schedule)
        self.heads = head_groups(schedule, error)
        self.map = schedule.parameters

    # -- first order -----------------------------------------------------------------------------------------------------

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        w = self.map.expand(theta)
        Y = np.empty((len(X), self.schedule.n_outputs), np.result_type(theta, X))

        def work(part: slice) -> None:
            Y[part] = self.program.forward(w, X[part].T)[1][self.schedule.output_rows].T

        self.each(len(X), work)
        return Y

    def error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> float:
        """E = Σ_n s_n E_n."""
        w = self.map.expand(theta)

        def work(part: slice) -> float:
            a, z = self.program.forward(w, X[part].T)
            return self.chunk_error(a, z, T[part].T, _part(sample_weight, part))

        return self.total(len(X), work, 0.0)

    def error_and_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[float, Array]:
        """(E, ∂E/∂θ): a forward sweep, a reverse sweep, and δ_j z_i summed over samples."""
        w = self.map.expand(theta)

        def work(part: slice) -> _ErrorAndSlots:
            s = _part(sample_weight, part)
            a, z = self.program.forward(w, X[part].T)
            delta, _ = self.backpropagate(w, a, z, T[part].T, s)
            return _ErrorAndSlots(self.chunk_error(a, z, T[part].T, s), self.program.slot_gradient(delta, z))

        none = _ErrorAndSlots(0.0, np.zeros(self.map.n_slots, np.result_type(theta, X)))
        total = self.total(len(X), work, none)
        return total.value, self.map.reduce(total.slots)

    def per_sample_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(N, W): δ_j z_i, not summed."""
        w = self.map.expand(theta)
        out = np.empty((len(X), self.map.n_parameters), np.result_type(theta, X))

        def work(part: slice) -> None:
            a, z = self.program.forward(w, X[part].T)
            delta, _ = self.backpropagate(w, a, z, T[part].T, _part(sample_weight, part))
            out[part] = self.map.reduce(self.program.sample_slot_gradient(delta, z))

        self.each(len(X), work, SHARE * max(self.schedule.n_rows, self.map.n_slots))
        return out

    def trace(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> TraceArrays:
        """a, z and δ of every row."""
        w = self.map.expand(theta)
        a, z, delta = (np.empty((self.schedule.n_rows, len(X)), np.result_type(theta, X)) for _ in range(3))

        def work(part: slice) -> None:
            a[:, part], z[:, part] = here = self.program.forward(w, X[part].T)
            delta[:, part] = self.backpropagate(w, *here, T[part].T, _part(sample_weight, part))[0]

        self.each(len(X), work, SHARE * self.schedule.n_rows)
        return TraceArrays(a, z, delta)

    # -- Jacobians and directional derivatives ---------------------------------------------------------------------------

    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,))."""
        w = self.map.expand(theta)
        by_x = np.empty((len(X), self.schedule.n_inputs), np.result_type(theta, X, V))

        def work(part: slice) -> Array:
            a, z = self.program.forward(w, X[part].T)
            delta = self.reverse_from(w, a, z, self.program.derivative(a), V[part].T)
            by_x[part] = delta[: self.schedule.n_inputs].T
            return self.program.slot_gradient(delta, z)

        return by_x, self.map.reduce(self.total(len(X), work, np.zeros(self.map.n_slots, by_x.dtype)))

    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """(N, K): ∂y/∂x U + ∂y/∂θ v, one forward sweep of tangents."""
        w = self.map.expand(theta)
        w_dot = None if v is None else self.map.expand_tangent(v)
        out = np.empty((len(X), self.schedule.n_outputs), np.result_type(theta, X))

        def work(part: slice) -> None:
            a, z = self.program.forward(w, X[part].T)
            slope = self.program.derivative(a)
            a_dot, _ = self.program.tangent(w, z, slope, None if U is None else U[part].T, w_dot)
            out[part] = self.output_tangent(a, z, a_dot).T

        self.each(len(X), work)
        return out

    def jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, D) = ∂y_k/∂x_i: K reverse sweeps or D forward sweeps, whichever is fewer."""
        s = self.schedule
        w = self.map.expand(theta)
        out = np.empty((len(X), s.n_outputs, s.n_inputs), np.result_type(theta, X))

        def work(part: slice) -> None:
            a, z = self.program.forward(w, X[part].T)
            slope = self.program.derivative(a)
            if s.n_outputs <= s.n_inputs:
                for k in range(s.n_outputs):
                    v = np.zeros((s.n_outputs, z.shape[1]), z.dtype)
                    v[k] = 1
                    out[part, k] = self.reverse_from(w, a, z, slope, v)[: s.n_inputs].T
            else:
                for i in range(s.n_inputs):
                    u = np.zeros((s.n_inputs, z.shape[1]), z.dtype)
                    u[i] = 1
                    out[part, :, i] = self.output_tangent(a, z, self.program.tangent(w, z, slope, u, None)[0]).T

        self.each(len(X), work, SHARE * self.schedule.n_rows)
        return out

    def weight_jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, W) = ∂y_k/∂θ: one reverse sweep an output."""
        s = self.schedule
        w = self.map.expand(theta)
        out = np.empty((len(X), s.n_outputs, self.map.n_parameters), np.result_type(theta, X))

        def work(part: slice) -> None:
            a, z = self.program.forward(w, X[part].T)
            slope = self.program.derivative(a)
            for k in range(s.n_outputs):
                v = np.zeros((s.n_outputs, z.shape[1]), z.dtype)
                v[k] = 1
                out[part, k] = self.map.reduce(self.program.sample_slot_gradient(self.reverse_from(w, a, z, slope, v), z))

        self.each(len(X), work, SHARE * max(self.schedule.n_rows, self.map.n_slots))
        return out

    # -- shared by all of them -------------------------------------------------------------------------------------------

    def chunks(self, n_samples: int, rows: int = 0) -> Iterator[slice]:
        """Slices of samples, of sizes that depend on the network and N alone."""
        size = self.dtype.itemsize * max(self.schedule.n_rows, rows)
        most = max(1, CHUNK_BYTES // size, min(FEW_SAMPLES, FEW_BYTES // size))
        least = max(MIN_SAMPLES, MIN_WORK // max(1, self.schedule.n_edges))
        step = min(most, max(least, -(-n_samples // PARTITIONS)))
        for start in range(0, n_samples, step):
            yield slice(start, min(start + step, n_samples))

    def each(self, n_samples: int, work: Callable[[slice], _R], rows: int = 0) -> list[_R]:
        """work(part) for all chunks, on threads; the results of a run of chunks are added up, and the runs' sums returned in order."""
        chunks = list(self.chunks(n_samples, rows))
        parts = min(len(chunks), PARTITIONS)
        found: list[Any] = [None] * parts

        def task(part: int) -> None:
            for chunk in chunks[len(chunks) * part // parts : len(chunks) * (part + 1) // parts]:
                value: Any = work(chunk)
                found[part] = value if found[part] is None else found[part] + value

        run_tasks(task, parts)
        return found

    def total(self, n_samples: int, work: Callable[[slice], _R], none: _R) -> _R:
        """The sum of `work` over all chunks, in order; `none` where there is no sample."""
        first, *others = self.each(n_samples, work) or [none]
        return sum(others, start=first)  # type: ignore[call-overload, no-any-return]  # whatever can be added

    def chunk_error(self, a: Array, z: Array, t: Array, s: Array | None) -> float:
        """Σ_n s_n E_n, summed in float64 (or complex128, under the complex step)."""
        rows = self.schedule.output_rows
        own = None if s is None or s.ndim == 1 else s
        each = sum(head.value(a[rows[p]], z[rows[p]], t[p], own) for head in self.heads for p in [head.positions])
        wide = np.result_type(each, np.float64)
        total: float = np.sum(each if s is None or own is not None else each * s, dtype=wide).item()
        return total

    def output_delta(self, a: Array, z: Array, t: Array, s: Array | None) -> Array:
        """(rows, N), zero but for ∂E/∂a at the outputs."""
        delta = np.zeros_like(a)
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            delta[rows] = head.weigh(head.delta(a[rows], z[rows], t[head.positions]), s)
        return delta

    def backpropagate(self, w: Array, a: Array, z: Array, t: Array, s: Array | None) -> tuple[Array, Array]:
        """(δ, β) of every row, started from the error."""
        delta = self.output_delta(a, z, t, s)
        beta = self.program.reverse(w, z, self.program.derivative(a), delta)
        return delta, beta

    def reverse_from(self, w: Array, a: Array, z: Array, slope: Array, v: Array) -> Array:
        """δ of every row, started from v (K, N) in place of ∂E/∂y."""
        delta = np.zeros_like(a)
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            delta[rows] = head.pullback(a[rows], z[rows], v[head.positions])
        self.program.reverse(w, z, slope, delta)
        return delta

    def output_tangent(self, a: Array, z: Array, a_dot: Array) -> Array:
        """ẏ (K, N) = ∂y/∂a ȧ at the outputs."""
        out = np.empty((self.schedule.n_outputs, a.shape[1]), a.dtype)
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            out[head.positions] = head.pushforward(a[rows], z[rows], a_dot[rows])
        return out


def _part(sample_weight: Array | None, part: slice) -> Array | None:
    """Of the samples (n,), or of all outputs (K, n)."""
    return None if sample_weight is None else sample_weight[part].T


@dataclass(frozen=True)
class _ErrorAndSlots:
    """E and its gradient by slot."""

    value: float
    slots: Array

    def __add__(self, other: _ErrorAndSlots) -> _ErrorAndSlots:
        return _ErrorAndSlots(self.value + other.value, self.slots + other.slots)
