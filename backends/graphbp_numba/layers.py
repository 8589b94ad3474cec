"""The path for large dense blocks: matrix products by BLAS on chunks of samples, level by level.

    phase 1   for each chunk of samples, a task:      levels upwards, heads, levels downwards
    phase 2   for each panel of a block's rows:       ∂E/∂W[panel] = δ[panel] @ z[sources]ᵀ over all samples of the batch

Arrays are (rows, samples), for a batch of at most 1,024 samples, so memory does not grow with N.  Chunks and panels depend on the
network and N alone, and each product runs on one thread, so that the bits are the same for any number of threads.  Weights are used
where they stand in θ, and gradients written where they belong, wherever a block's parameters are regular there.

Sparse edges between the blocks are added by a plain kernel; a network that is mostly sparse takes the tiles instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import DenseBlock, ErrorFunction, Level, Schedule, output_heads, run_tasks, single_threaded_blas
from graphbp_numba.functions import activation_functions
from graphbp_numba.jit import compiled, kernel, source_digest, watch
from graphbp_numba.kernels import VALUE, VJP, head_deltas, head_values, softmax_rows, tile_weights
from graphbp_numba.plan import ELEMENTWISE, LINEAR, N_KEEP, N_OUTPUTS, N_ROWS, OUT_KEEP, OUT_ROW, SOFTMAX, head_table
from graphbp_numba.rows import call_unary

__all__ = ["LayerPath", "prefers_layers"]

Array = npt.NDArray[Any]

BATCH = 1024
CHUNK = 128
PANEL = 128
LANES = 16
"""Chunks are whole vectors of either dtype."""
MIN_BLOCK = 64 * 64
"""A block from this size on is worth a call of BLAS."""


def prefers_layers(schedule: Schedule) -> bool:
    """Whether at least half of the edges stand in blocks that are large enough for BLAS, and levels are few beside them."""
    large = sum(block.size for block in schedule.dense_blocks if block.size >= MIN_BLOCK)
    return 2 * large >= schedule.n_edges and large >= MIN_BLOCK * schedule.depth / 2


# -- kernels --------------------------------------------------------------------------------------------------------------------


@kernel
def _address(rows: Any, j: int, n: int) -> Any:
    return rows.ctypes.data + j * rows.strides[0] + n * rows.itemsize


def _make_activate(digest: str) -> Any:
    def activate(A: Any, Z: Any, bias: Any, f: int, linear: bool, start: int, stop: int, n0: int, n1: int) -> None:
        """a += b and z = h(a), rows start..stop, samples n0..n1."""
        len(digest)
        for j in range(start, stop):
            row, b = A[j, n0:n1], bias[j]
            for n in range(len(row)):
                row[n] += b
            if linear:
                Z[j, n0:n1] = row
            else:
                call_unary(f, _address(A, j, n0), _address(Z, j, n0), n1 - n0)

    return watch(compiled(activate))


def _make_backpropagate(digest: str) -> Any:
    def backpropagate(D: Any, source: Any, scratch: Any, slope: int, start: int, stop: int, n0: int, n1: int) -> None:
        """δ = h' β, with β in D; h' is a function of `source`, a or z."""
        len(digest)
        for j in range(start, stop):
            call_unary(slope, _address(source, j, n0), scratch.ctypes.data, n1 - n0)
            row = D[j, n0:n1]
            for n in range(len(row)):
                row[n] *= scratch[n]

    return watch(compiled(backpropagate))


def _make_add_sparse(digest: str) -> Any:
    def add_sparse(out: Any, values: Any, ptr: Any, index: Any, slot: Any, w: Any, start: int, stop: int, n0: int, n1: int) -> None:
        """out[j] += Σ_e w[slot_e] values[index_e], rows start..stop."""
        len(digest)
        for j in range(start, stop):
            row = out[j, n0:n1]
            for e in range(ptr[j], ptr[j + 1]):
                weight, other = w[slot[e]], values[index[e], n0:n1]
                for n in range(len(row)):
                    row[n] += weight * other[n]

    return watch(compiled(add_sparse))


def _make_sparse_sums(digest: str) -> Any:
    def sparse_sums(D: Any, Z: Any, ptr: Any, src: Any, g: Any, start: int, stop: int, count: int) -> None:
        """g[e] += Σ_n δ_j z_i of the sparse edges into the rows start..stop, in eight partial sums."""
        len(digest)
        for j in range(start, stop):
            for e in range(ptr[j], ptr[j + 1]):
                delta, z = D[j], Z[src[e]]
                parts = np.zeros(8, D.dtype)
                for n in range(0, count, 8):
                    for k in range(8):
                        parts[k] += delta[n + k] * z[n + k]
                g[e] += parts.sum()

    return watch(compiled(sparse_sums))


def _make_heads(digest: str) -> Any:
    def heads(
        tag: Any, table: Any, y: Any, a: Any, T: Any, sample_weight: Any, delta: Any, scratch: Any, mode: int, n0: int
    ) -> float:
        """E of a chunk's outputs (K, n), and their δ; softmax is applied to y first."""
        len(digest)
        n = y.shape[1]
        t = np.empty((T.shape[1], n), T.dtype)
        for k in range(T.shape[1]):
            for i in range(n):
                t[k, i] = T[min(n0 + i, T.shape[0] - 1), k]
        tile_weights(scratch[1], sample_weight, n0, T.shape[0])
        softmax_rows(table, y, a)
        energy = 0.0
        if mode != VJP:
            energy = head_values(tag, table, y, a, t, delta, scratch, scratch[1])
        if mode != VALUE:
            head_deltas(tag, table, y, a, t, delta, scratch, scratch[1], mode == VJP)
        return energy

    return watch(compiled(heads))


def _make_softmax(digest: str) -> Any:
    def softmax(table: Any, y: Any, a: Any) -> None:
        """y = softmax(a) at the softmax heads."""
        len(digest)
        softmax_rows(table, y, a)

    return watch(compiled(softmax))


activate = _make_activate(source_digest())
backpropagate = _make_backpropagate(source_digest())
add_sparse = _make_add_sparse(source_digest())
sparse_sums = _make_sparse_sums(source_digest())
heads = _make_heads(source_digest())
softmax = _make_softmax(source_digest())


# -- the path ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """A dense block, where its parameters stand in θ, and whether it alone writes its destination's a, and its sources' β."""

    block: DenseBlock
    first: int
    stride: int
    sole_into: bool
    sole_from: bool
    from_inputs: bool

    def view(self, theta: Array, slots: Array | None) -> Array:
        """W (m, n): a view of θ, or of the slots' values where θ is irregular."""
        m, n = self.block.shape
        if self.stride:
            return np.lib.stride_tricks.as_strided(theta[self.first :], (m, n), (self.stride * theta.itemsize, theta.itemsize))
        assert slots is not None
        return slots[self.block.slot : self.block.slot + m * n].reshape(m, n)


class LayerPath:
    """Forward, error, gradient and vjp of a schedule with large dense blocks."""

    def __init__(self, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any]) -> None:
        self.schedule, self.dtype = schedule, dtype
        self.tag = (dtype.type(0),)
        groups = output_heads(schedule, error)
        self.table, self._alive = head_table(schedule, error, groups, dtype.name)
        self._places = np.arange(schedule.n_outputs)
        self.table[[N_ROWS, N_OUTPUTS, N_KEEP]] = schedule.n_outputs
        self.table[[OUT_ROW, OUT_KEEP]] = self._places.ctypes.data
        self.functions = [_Functions(activation_functions(activation, dtype.name)) for activation in schedule.activations]
        self.blocks = {block.slot: _place_block(schedule, block) for block in schedule.dense_blocks}
        self.regular = all(block.stride for block in self.blocks.values())
        self.inputs_in_rows = bool(schedule.n_sparse) or any(_mixes(schedule, block) for block in schedule.dense_blocks)
        self._slot_of_in = np.arange(schedule.n_sparse)
        biased = np.flatnonzero(schedule.bias_slot >= 0)
        self._biased, self._bias_slots = biased, schedule.bias_slot[biased]
        self._free: dict[tuple[int, bool], deque[dict[str, Array]]] = {}

    def describe(self, n_samples: int) -> str:
        """Chunks and panels, for people."""
        large = sum(block.size for block in self.schedule.dense_blocks)
        where = "used in place" if self.regular else "gathered first"
        return (
            f"{100 * large / self.schedule.n_edges:.0f} % of the edges stand in dense blocks, so levels are matrix products (BLAS), "
            f"on chunks of {_chunk(min(n_samples, BATCH))} samples, weights {where}"
        )

    # -- weights ----------------------------------------------------------------------------------------------------------

    def _slots(self, theta: Array) -> Array | None:
        """The values of all slots, where some block, or a sparse edge, cannot be read from θ in place."""
        if self.regular and not self.schedule.n_sparse:
            return None
        return self.schedule.parameters.expand(theta)

    def _bias(self, theta: Array, slots: Array | None) -> Array:
        parameters = self.schedule.parameters
        out = np.zeros(self.schedule.n_rows, self.dtype)
        if slots is not None:
            out[self._biased] = slots[self._bias_slots]
            return out
        owner = parameters.slot_parameter[self._bias_slots]
        out[self._biased] = np.where(owner >= 0, theta[owner] if len(theta) else 0, parameters.slot_value[self._bias_slots])
        return out

    # -- phases -------------------------------------------------------------------------------------------------------------

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        s = self.schedule
        Y = np.empty((len(X), s.n_outputs), self.dtype)
        slots = self._slots(theta)
        bias = self._bias(theta, slots)
        chunk = _chunk(len(X))

        def task(number: int) -> None:
            n0 = number * chunk
            x = X[n0 : n0 + chunk]
            with self._memory(_padded(len(x)), False) as rows:
                y, _ = self._chunk_forward(theta, slots, bias, x, rows, 0, _padded(len(x)))
                Y[n0 : n0 + len(x)] = y[:, : len(x)].T

        with single_threaded_blas():
            run_tasks(task, -(-len(X) // chunk), blas=False)
        return Y

    def sweep(
        self, theta: Array, X: Array, T: Array, sample_weight: Array | None, mode: int
    ) -> tuple[float, Array | None, Array | None]:
        """(E, gradient, ∂E/∂x); see `graphbp_numba.kernels` for the modes."""
        s = self.schedule
        slots = self._slots(theta)
        bias = self._bias(theta, slots)
        weights = np.empty(0, self.dtype) if sample_weight is None else sample_weight
        gradient = None if mode == VALUE else _Gradient(self)
        by_x = np.empty(X.shape, self.dtype) if mode == VJP else None
        total = 0.0
        with single_threaded_blas():
            for start in range(0, len(X), BATCH):
                part = slice(start, min(start + BATCH, len(X)))
                x, t = X[part], T[part]
                sw = weights[part] if len(weights) else weights
                chunk = _chunk(len(x))
                count = -(-len(x) // chunk)
                values = [0.0] * count
                with self._memory(_padded(len(x)), mode != VALUE) as rows:

                    def task(
                        number: int,
                        x: Array = x,
                        t: Array = t,
                        sw: Array = sw,
                        chunk: int = chunk,
                        rows: dict[str, Array] = rows,
                        values: list[float] = values,
                        start: int = start,
                    ) -> None:
                        n0 = number * chunk
                        n1 = min(n0 + chunk, _padded(len(x)))
                        here = x[n0:n1]
                        y, a = self._chunk_forward(theta, slots, bias, here, rows, n0, n1, keep=True)
                        scratch = np.empty((4, n1 - n0), self.dtype)
                        delta = np.empty((s.n_outputs, n1 - n0), self.dtype)
                        values[number] = heads(self.tag, self.table, y, a, t, sw, delta, scratch, mode, n0)
                        if mode != VALUE:
                            self._chunk_reverse(theta, slots, rows, delta, n0, n1, mode == VJP)
                        if by_x is not None:
                            by_x[start + n0 : start + n0 + len(here)] = rows["D"][: s.n_inputs, n0 : n0 + len(here)].T

                    run_tasks(task, count, blas=False)
                    total += sum(values)
                    if gradient is not None:
                        gradient.add(x, rows, _padded(len(x)))
        return total, None if gradient is None else gradient.finish(), by_x

    def _chunk_forward(
        self, theta: Array, slots: Array | None, bias: Array, x: Array, rows: dict[str, Array], n0: int, n1: int, keep: bool = False
    ) -> tuple[Array, Array]:
        """a and z of a chunk, in the columns n0..n1; returns (K, n) copies of the outputs' y and a."""
        s, A, Z = self.schedule, rows["A"], rows["Z"]
        if self.inputs_in_rows:
            Z[: s.n_inputs, n0 : n0 + len(x)] = x.T
            Z[: s.n_inputs, n0 + len(x) : n1] = 0
        for level in s.levels:
            self._level_forward(theta, slots, x, A, Z, level, n0, n1)
            for segment in level.segments:
                h = self.functions[segment.activation]
                activate(A, Z, bias, h.f, h.kind != ELEMENTWISE, segment.start, segment.stop, n0, n1)
        y, a = Z[s.output_rows, n0:n1], A[s.output_rows, n0:n1]
        if s.softmax_groups and not keep:
            softmax(self.table, y, a)
        return y, a

    def _level_forward(
        self, theta: Array, slots: Array | None, x: Array, A: Array, Z: Array, level: Level, n0: int, n1: int
    ) -> None:
        """Σ_i w_ji z_i into the level's rows of A."""
        s = self.schedule
        if level.n_sparse or not all(self.blocks[block.slot].sole_into for block in level.dense) or _uncovered(level):
            A[level.start : level.stop, n0:n1] = 0
        for block in level.dense:
            placed = self.blocks[block.slot]
            W = placed.view(theta, slots)
            target = A[block.start : block.stop]
            if placed.from_inputs and not self.inputs_in_rows:
                source = x[:, block.source].T
                n_here = n0 + len(x)
                target[:, n_here:n1] = 0
            else:
                source, n_here = Z[block.source, n0:n1], n1
            if placed.sole_into and not level.n_sparse:
                np.matmul(W, source, out=target[:, n0:n_here])
            else:
                target[:, n0:n_here] += W @ source
        if level.n_sparse:
            add_sparse(A, Z, s.in_ptr, s.in_src, self._slot_of_in, slots, level.start, level.stop, n0, n1)

    def _chunk_reverse(
        self, theta: Array, slots: Array | None, rows: dict[str, Array], delta: Array, n0: int, n1: int, to_inputs: bool
    ) -> None:
        """δ of a chunk, from the heads' (K, n)."""
        s, A, Z, D = self.schedule, rows["A"], rows["Z"], rows["D"]
        scratch = np.empty(n1 - n0, self.dtype)
        D[:, n0:n1] = 0
        outputs = s.output_rows
        for level in reversed(s.levels):
            if s.n_sparse and s.out_ptr[level.stop] > s.out_ptr[level.start]:
                add_sparse(D, D, s.out_ptr, s.out_dst, s.out_slot, slots, level.start, level.stop, n0, n1)
            for segment in level.segments:
                h = self.functions[segment.activation]
                if h.kind == ELEMENTWISE and not self._leaf(segment.start, segment.stop):
                    backpropagate(D, Z if h.from_z else A, scratch, h.slope, segment.start, segment.stop, n0, n1)
            here = np.flatnonzero((outputs >= level.start) & (outputs < level.stop))
            if len(here):
                D[outputs[here], n0:n1] += delta[here]
            for block in level.dense:
                placed = self.blocks[block.slot]
                if placed.from_inputs and not to_inputs:
                    continue
                W = placed.view(theta, slots)
                if placed.sole_from:
                    np.matmul(W.T, D[block.start : block.stop, n0:n1], out=D[block.source, n0:n1])
                else:
                    D[block.source, n0:n1] += W.T @ D[block.start : block.stop, n0:n1]
        if to_inputs and s.n_sparse:
            add_sparse(D, D, s.out_ptr, s.out_dst, s.out_slot, slots, 0, s.n_inputs, n0, n1)

    def _leaf(self, start: int, stop: int) -> bool:
        """Rows that feed nothing: their δ is the heads' alone, also where h' is no number."""
        s = self.schedule
        if s.out_ptr[stop] > s.out_ptr[start]:
            return False
        return not any(block.src[0] < stop and block.src[-1] >= start for block in s.dense_blocks)

    @contextmanager
    def _memory(self, samples: int, reverse: bool) -> Iterator[dict[str, Array]]:
        """A, Z (and D): (rows, samples), used before or new."""
        names = ("A", "Z", "D") if reverse else ("A", "Z")
        free = self._free.setdefault((samples, reverse), deque(maxlen=4))
        try:
            rows = free.pop()
        except IndexError:
            rows = {name: np.zeros((self.schedule.n_rows, samples), self.dtype) for name in names}
        yield rows
        free.append(rows)


class _Functions:
    """Addresses of one activation."""

    def __init__(self, functions: Any) -> None:
        activation = functions.activation
        self.kind = (
            SOFTMAX
            if not activation.elementwise
            else LINEAR
            if activation.builtin and activation.name == "identity"
            else ELEMENTWISE
        )
        self.from_z = functions.from_z
        self.f = functions.address("f") if self.kind == ELEMENTWISE else 0
        self.slope = functions.address("dz" if self.from_z else "df") if self.kind == ELEMENTWISE else 0


class _Gradient:
    """∂E/∂θ, summed over batches, a panel of a block a task."""

    def __init__(self, path: LayerPath) -> None:
        self.path, s = path, path.schedule
        self.direct = path.regular and not s.parameters.tied
        self.theta = np.zeros(s.n_parameters, path.dtype)
        self.by_slot = not self.direct or bool(s.n_sparse)
        self.slots = np.zeros(s.parameters.n_slots if self.by_slot else 0, path.dtype)
        self.begun = False
        self.panels = [
            (placed, first, min(first + PANEL, placed.block.shape[0]))
            for placed in sorted(path.blocks.values(), key=lambda p: -p.block.size)
            for first in range(0, placed.block.shape[0], PANEL)
        ]

    def add(self, x: Array, rows: dict[str, Array], padded: int) -> None:
        """The products of one batch."""
        s, Z, D = self.path.schedule, rows["Z"], rows["D"]
        count = len(x)

        def task(number: int) -> None:
            if number < len(self.panels):
                placed, first, stop = self.panels[number]
                block = placed.block
                delta = D[block.start + first : block.start + stop, :count]
                direct_x = placed.from_inputs and not self.path.inputs_in_rows
                right = x[:, block.source] if direct_x else Z[block.source, :count].T
                out = (
                    placed.view(self.theta, None)
                    if self.direct
                    else self.slots[block.slot : block.slot + block.size].reshape(block.shape)
                )
                if self.begun:
                    out[first:stop] += delta @ right
                else:
                    np.matmul(delta, right, out=out[first:stop])
                return
            sums = D[self.path._biased, :count].sum(axis=1)
            if self.by_slot:
                self.slots[self.path._bias_slots] += sums
            else:
                owner = s.parameters.slot_parameter[self.path._bias_slots]
                free = owner >= 0
                self.theta[owner[free]] += sums[free]
            if s.n_sparse:
                D[:, count:padded] = 0
                sparse_sums(D, Z, s.in_ptr, s.in_src, self.slots, s.n_inputs, s.n_rows, padded)

        run_tasks(task, len(self.panels) + 1, blas=False)
        self.begun = True

    def finish(self) -> Array:
        """(W,)."""
        s = self.path.schedule
        if not self.by_slot:
            return self.theta
        reduced = s.parameters.reduce(self.slots)
        if not self.direct:
            return np.ascontiguousarray(reduced)
        rest = s.parameters.slot_parameter[np.concatenate([np.arange(s.n_sparse), self.path._bias_slots])]
        rest = rest[rest >= 0]
        self.theta[rest] = reduced[rest]
        return self.theta


def _chunk(n_samples: int) -> int:
    """Samples of a chunk: two chunks for few samples, whole vectors, at most CHUNK."""
    return min(CHUNK, _padded(-(-n_samples // 2)))


def _padded(n: int) -> int:
    return -(-n // LANES) * LANES


def _mixes(s: Schedule, block: DenseBlock) -> bool:
    """Some of its sources are inputs, and others are not, or do not stand together."""
    return bool(block.src[0] < s.n_inputs) and not (block.src[-1] < s.n_inputs and block.src_start >= 0)


def _uncovered(level: Level) -> bool:
    return sum(block.stop - block.start for block in level.dense) < level.stop - level.start


def _place_block(s: Schedule, block: DenseBlock) -> _Block:
    """Where the block's parameters stand, and who else writes where it writes."""
    m, n = block.shape
    param = s.parameters.slot_parameter[block.slot : block.slot + m * n].reshape(m, n)
    stride = int(param[1, 0] - param[0, 0]) if m > 1 else n
    expected = int(param[0, 0]) + stride * np.arange(m)[:, None] + np.arange(n)
    regular = bool(param[0, 0] >= 0) and stride >= n and np.array_equal(param, expected)
    others = [other for other in s.dense_blocks if other is not block]
    sole_into = not any(other.start < block.stop and block.start < other.stop for other in others)
    sparse_out = s.out_ptr[block.src[-1] + 1] > s.out_ptr[block.src[0]]
    sole_from = block.src_start >= 0 and not sparse_out
    sole_from = sole_from and not any(np.isin(other.src, block.src, kind="sort").any() for other in others)
    return _Block(block, int(param[0, 0]), stride if regular else 0, sole_into, bool(sole_from), bool(block.src[-1] < s.n_inputs))
