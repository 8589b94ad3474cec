"""Every quantity of the face, from the sweeps of `graphbp_numpy.sweeps`.

Samples are taken in chunks of a fixed size, so memory does not grow with N, and sums over chunks have a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import ErrorFunction, Schedule, TraceArrays, output_heads
from graphbp_numpy.second_order import SecondOrder
from graphbp_numpy.sweeps import Program

__all__ = ["NumpyExecutable"]

Array = npt.NDArray[Any]

CHUNK_BYTES = 1 << 26
"""Bytes of one (rows, samples) array of a chunk."""


class NumpyExecutable(SecondOrder):
    """A schedule and an error, ready to run; see `graphbp.protocols` for shapes and meanings."""

    def __init__(self, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any]) -> None:
        self.schedule = schedule
        self.dtype = dtype
        self.program = Program(schedule)
        self.heads = output_heads(schedule, error)
        self.map = schedule.parameters

    # -- first order -----------------------------------------------------------------------------------------------------

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        w = self.map.expand(theta)
        Y = np.empty((len(X), self.schedule.n_outputs), np.result_type(theta, X))
        for part in self.chunks(len(X)):
            Y[part] = self.program.forward(w, X[part].T)[1][self.schedule.output_rows].T
        return Y

    def error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> float:
        """E = Σ_n s_n E_n."""
        w = self.map.expand(theta)
        total = 0.0
        for part in self.chunks(len(X)):
            a, z = self.program.forward(w, X[part].T)
            total += self.chunk_error(a, z, T[part].T, _part(sample_weight, part))
        return total

    def error_and_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[float, Array]:
        """(E, ∂E/∂θ): a forward sweep, a reverse sweep, and δ_j z_i summed over samples."""
        w = self.map.expand(theta)
        total, g = 0.0, np.zeros(self.map.n_slots, np.result_type(theta, X))
        for part in self.chunks(len(X)):
            s = _part(sample_weight, part)
            a, z = self.program.forward(w, X[part].T)
            total += self.chunk_error(a, z, T[part].T, s)
            delta, _ = self.backpropagate(w, a, z, T[part].T, s)
            g += self.program.slot_gradient(delta, z)
        return total, self.map.reduce(g)

    def per_sample_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(N, W): δ_j z_i, not summed."""
        w = self.map.expand(theta)
        out = np.empty((len(X), self.map.n_parameters), np.result_type(theta, X))
        for part in self.chunks(len(X), self.map.n_slots):
            a, z = self.program.forward(w, X[part].T)
            delta, _ = self.backpropagate(w, a, z, T[part].T, _part(sample_weight, part))
            out[part] = self.map.reduce(self.program.sample_slot_gradient(delta, z))
        return out

    def trace(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> TraceArrays:
        """a, z and δ of every row."""
        w = self.map.expand(theta)
        a, z = self.program.forward(w, X.T)
        delta, _ = self.backpropagate(w, a, z, T.T, sample_weight)
        return TraceArrays(a, z, delta)

    # -- Jacobians and directional derivatives ---------------------------------------------------------------------------

    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,))."""
        w = self.map.expand(theta)
        by_x = np.empty((len(X), self.schedule.n_inputs), np.result_type(theta, X, V))
        g = np.zeros(self.map.n_slots, by_x.dtype)
        for part in self.chunks(len(X)):
            a, z = self.program.forward(w, X[part].T)
            slope = self.program.derivative(a)
            delta = self.reverse_from(w, a, z, slope, V[part].T)
            by_x[part] = delta[: self.schedule.n_inputs].T
            g += self.program.slot_gradient(delta, z)
        return by_x, self.map.reduce(g)

    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """(N, K): ∂y/∂x U + ∂y/∂θ v, one forward sweep of tangents."""
        w = self.map.expand(theta)
        w_dot = None if v is None else self.map.expand_tangent(v)
        out = np.empty((len(X), self.schedule.n_outputs), np.result_type(theta, X))
        for part in self.chunks(len(X)):
            a, z = self.program.forward(w, X[part].T)
            slope = self.program.derivative(a)
            a_dot, _ = self.program.tangent(w, z, slope, None if U is None else U[part].T, w_dot)
            out[part] = self.output_tangent(a, z, a_dot).T
        return out

    def jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, D) = ∂y_k/∂x_i: K reverse sweeps or D forward sweeps, whichever is fewer."""
        s = self.schedule
        w = self.map.expand(theta)
        out = np.empty((len(X), s.n_outputs, s.n_inputs), np.result_type(theta, X))
        for part in self.chunks(len(X)):
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
        return out

    def weight_jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, W) = ∂y_k/∂θ: one reverse sweep an output."""
        s = self.schedule
        w = self.map.expand(theta)
        out = np.empty((len(X), s.n_outputs, self.map.n_parameters), np.result_type(theta, X))
        for part in self.chunks(len(X), self.map.n_slots):
            a, z = self.program.forward(w, X[part].T)
            slope = self.program.derivative(a)
            for k in range(s.n_outputs):
                v = np.zeros((s.n_outputs, z.shape[1]), z.dtype)
                v[k] = 1
                out[part, k] = self.map.reduce(self.program.sample_slot_gradient(self.reverse_from(w, a, z, slope, v), z))
        return out

    # -- shared by all of them -------------------------------------------------------------------------------------------

    def chunks(self, n_samples: int, rows: int = 0) -> Iterator[slice]:
        """Slices of samples, each of a size that depends only on the network."""
        step = max(1, CHUNK_BYTES // (self.dtype.itemsize * max(self.schedule.n_rows, rows)))
        for start in range(0, n_samples, step):
            yield slice(start, min(start + step, n_samples))

    def chunk_error(self, a: Array, z: Array, t: Array, s: Array | None) -> float:
        """Σ_n s_n E_n, summed in float64 (or complex128, under the complex step)."""
        rows = self.schedule.output_rows
        each = sum(head.value(a[rows[p]], z[rows[p]], t[p]) for head in self.heads for p in [head.positions])
        wide = np.result_type(each, np.float64)
        total: float = np.sum(each if s is None else each * s, dtype=wide).item()
        return total

    def output_delta(self, a: Array, z: Array, t: Array, s: Array | None) -> Array:
        """(rows, N), zero but for ∂E/∂a at the outputs."""
        delta = np.zeros_like(a)
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            value = head.delta(a[rows], z[rows], t[head.positions])
            delta[rows] = value if s is None else value * s
        return delta

    def backpropagate(self, w: Array, a: Array, z: Array, t: Array, s: Array | None) -> tuple[Array, Array]:
        """(δ, β) of every row, started from the error."""
        delta = self.output_delta(a, z, t, s)
        beta = self.program.reverse(w, self.program.derivative(a), delta)
        return delta, beta

    def reverse_from(self, w: Array, a: Array, z: Array, slope: Array, v: Array) -> Array:
        """δ of every row, started from v (K, N) in place of ∂E/∂y."""
        delta = np.zeros_like(a)
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            delta[rows] = head.pullback(a[rows], z[rows], v[head.positions])
        self.program.reverse(w, slope, delta)
        return delta

    def output_tangent(self, a: Array, z: Array, a_dot: Array) -> Array:
        """ẏ (K, N) = ∂y/∂a ȧ at the outputs."""
        out = np.empty((self.schedule.n_outputs, a.shape[1]), a.dtype)
        for head in self.heads:
            rows = self.schedule.output_rows[head.positions]
            out[head.positions] = head.pushforward(a[rows], z[rows], a_dot[rows])
        return out


def _part(sample_weight: Array | None, part: slice) -> Array | None:
    return None if sample_weight is None else sample_weight[part]
