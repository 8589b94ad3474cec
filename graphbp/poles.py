r"""Derivatives of the samples at a pole: where h' or h'' of some unit is not finite (√, log or 1/a at 0).

A fast sweep multiplies the zeros of what does not move by such a slope, and 0 · ∞ is NaN.  Samples whose derivatives come out as NaN are
swept here once more, in plain loops, with the question that a product of numbers cannot answer: does this number move at all?

    along a direction (u in x, v in w), a_j is *constant* unless some edge i → j has   z_i moving and (w_ji ≠ 0 or v_ji ≠ 0),
                                                                                       or  v_ji ≠ 0 and (z_i ≠ 0 or z_i moving)

A combination g(z_u, z_v) is two edges of
weights g_u and g_v.  What is constant has the derivative 0, whatever h' is.  Likewise ∂E/∂w_ji = 0 where z_i = 0 exactly, since a_j does
not depend on w_ji there, and β_i has no term of an edge of weight 0.  A unit on a flat part of its activation (a relu below 0, a step)
stands *still*: its z does not move, and δ of whatever leads to it alone is 0.  A unit that does move by 0 (ȧ = 0 by cancellation: √(x²)
at 0) keeps its NaN: there is no derivative there, or it hangs on how 0 and ∞ came about.

Nothing is looked for before a result holds NaN, and only its NaN are replaced.  O(edges) a sample, sweep and direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from graphbp.activations import Activation
    from graphbp.combinations import CombinationRun
    from graphbp.heads import HeadGroup
    from graphbp.schedule import Schedule
    from graphbp.second_order.plan import Group

__all__ = ["Poles"]

Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
CHUNK_VALUES = 1 << 20
"""Of an array of rows (or slots) × samples."""


@dataclass(frozen=True)
class _State:
    """What the sweeps of some samples start from: a, z, h', h'' (0 where nothing is fed), what stands still, and the edges by level."""

    a: Array
    z: Array
    slope: Array
    bend: Array
    still: Flags
    edges: _Edges


@dataclass(frozen=True)
class _Edges:
    """Values of the slots as a matrix (rows × rows) without entries of 0, cut at the levels, and as biases (rows, 1)."""

    levels: tuple[tuple[slice, Any], ...]
    bias: Array


@dataclass(frozen=True)
class _Along:
    """What Rδ needs besides: the direction in w, ż and whose z moves, δ as `of` and where it may be other than 0."""

    direction: _Edges
    z_dot: Array
    moves: Flags
    of: Array
    reached: Flags

    def bent(self, run: CombinationRun) -> list[tuple[Array, Flags]]:
        """(g_uu ż_u + g_uv ż_v, whether that moves) and the same of v."""
        uu, uv, vv = run.of.bend
        u, v, moves_u, moves_v = self.z_dot[run.first], self.z_dot[run.second], self.moves[run.first], self.moves[run.second]
        felt = self.reached[run.rows]
        return [(one * u + two * v, felt & ((one != 0) & moves_u | (two != 0) & moves_v)) for one, two in ((uu, uv), (uv, vv))]


def _give(run: CombinationRun, factors: list[tuple[Array, Flags]], delta: Array, beta: Array, active: Array) -> None:
    """β of the sources += factor δ_j, where it is felt."""
    given = [np.where(felt, factor * delta[run.rows], 0) for factor, felt in factors]
    beta[run.fed] += run.gathered(given[0], given[1])
    active[run.fed] += run.gathered(*(felt.astype(delta.dtype) for _, felt in factors))


class Poles:
    """The sweeps of one schedule that know what moves."""

    def __init__(self, schedule: Schedule, heads: tuple[HeadGroup, ...]) -> None:
        self.schedule = schedule
        self.heads = [(schedule.output_rows[head.positions], head) for head in heads]

    @cached_property
    def possible(self) -> bool:
        """Whether the slope of some unit can be infinite: at an end of where its activation is defined, or at a kink."""
        with np.errstate(all="ignore"):
            return any(
                not np.isfinite(h.df(np.array([at]))).all()
                for h in (self.schedule.activations[k] for k in np.unique(self.schedule.row_activation).tolist())
                for at in (h.lower, h.upper, *h.kinks)
                if h.elementwise and np.isfinite(at)
            )

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        """(2, edges): destination and source of every slot that is an edge."""
        s = self.schedule
        dst, src = [np.repeat(np.arange(s.n_rows), np.diff(s.in_ptr))], [s.in_src]
        for block in s.dense_blocks:
            dst.append(np.repeat(np.arange(block.start, block.stop), len(block.src)))
            src.append(np.tile(block.src, block.stop - block.start))
        return np.concatenate(dst), np.concatenate(src)

    @cached_property
    def _curved(self) -> Flags:
        """(n_rows,) rows that feed others through an activation that is no line: h'' of a line is 0, whatever moves."""
        s = self.schedule
        linear = np.array([_linear(h) for h in s.activations])
        found: Flags = s.feeds & ~linear[s.row_activation]
        return found

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups of units whose blocks `unit_blocks` lists."""
        from graphbp.second_order.plan import HessianPlan

        return HessianPlan.of(self.schedule).groups

    def _edges(self, w: Array) -> _Edges:
        from scipy import sparse

        s, (dst, src) = self.schedule, self._ends
        matrix = sparse.csr_matrix((w[: len(dst)], (dst, src)), (s.n_rows, s.n_rows))
        matrix.eliminate_zeros()
        bias = np.zeros((s.n_rows, 1), w.dtype)
        biased = s.bias_slot >= 0
        bias[biased, 0] = w[s.bias_slot[biased]]
        return _Edges(tuple((rows, matrix[rows]) for level in s.levels for rows in [slice(level.start, level.stop)]), bias)

    def _state(self, theta: Array, X: Array) -> _State:
        """a, z, h' and h'' of every row."""
        s, edges = self.schedule, self._edges(self.schedule.parameters.expand(theta))
        a, z = (np.zeros((s.n_rows, len(X)), np.result_type(theta, X)) for _ in range(2))
        slope, bend, still = np.ones_like(a), np.zeros_like(a), np.zeros(a.shape, bool)
        a[: s.n_inputs] = z[: s.n_inputs] = X.T
        for (rows, matrix), level, combined in zip(edges.levels, s.levels, s.combined, strict=True):
            a[rows] = matrix @ z + edges.bias[rows]
            for run in combined:
                a[run.rows] += run.value(z)
            for segment in level.segments:
                units, h = slice(segment.start, segment.stop), s.activations[segment.activation]
                if h.elementwise:
                    z[units], slope[units], bend[units] = (h.evaluate(a[units], order) for order in range(3))
                    if not h.analytic:
                        still[units] = _flat(h, a[units], z[units], slope[units])
        for group in s.softmax_groups:
            coupled = s.output_rows[group]
            z[coupled] = s.activations[s.row_activation[coupled[0]]].f(a[coupled])
        return _State(a, z, slope, bend, still, edges)

    def samples(
        self, theta: Array, X: Array, T: Array | None = None, overflown: bool = False, s: Array | None = None
    ) -> npt.NDArray[np.int64]:
        """The samples at a pole, of the error too where T is given; with those that overflow to an output only if asked for.

        An output of weight 0 in s (N, K) may overflow.
        """
        found = [np.empty(0, np.int64)]
        for part, state, _ in self._chunks(theta, X):
            parts = [state.z, state.slope, state.bend, *([] if T is None else [self._output_delta(state, T[part], None)])]
            odd = ~np.all([np.isfinite(value).all(axis=0) for value in parts], axis=0)
            fine = np.isfinite(state.z[self.schedule.output_rows])
            kept = overflown | (fine if s is None or s.ndim == 1 else fine | (s[part].T == 0)).all(axis=0)
            found.append(part.start + np.flatnonzero(odd & kept))
        return np.concatenate(found)

    def _chunks(self, theta: Array, X: Array, s: Array | None = None) -> Iterator[tuple[slice, _State, Array | None]]:
        """(some samples, their state, their weights with the samples last), in order."""
        step = max(1, CHUNK_VALUES // self.schedule.n_rows)
        for start in range(0, len(X), step):
            part = slice(start, min(start + step, len(X)))
            yield part, self._state(theta, X[part]), None if s is None else s[part].T

    # -- sweeps --------------------------------------------------------------------------------------------------------------

    def _reverse(self, state: _State, delta: Array, reached: Flags, along: _Along | None = None) -> Array:
        """Complete δ, whose entries may be other than 0 where they are `reached`; returns β.  Along a direction: Rδ."""
        s, beta, active = self.schedule, np.zeros_like(delta), np.zeros_like(delta)
        more = () if along is None else along.direction.levels[::-1]

        def complete(rows: slice) -> None:
            here = (active[rows] > 0) & s.feeds[rows, None] & ~state.still[rows]
            delta[rows] += np.where(here, state.slope[rows] * beta[rows], 0)
            reached[rows] |= here

        for number, ((rows, matrix), combined) in enumerate(zip(reversed(state.edges.levels), reversed(s.combined), strict=True)):
            complete(rows)
            beta += matrix.T @ delta[rows]
            active += _pattern(matrix).T @ reached[rows].astype(delta.dtype)
            for run in combined:
                _give(run, [(g, reached[run.rows] & (g != 0)) for g in run.slopes(state.z)], delta, beta, active)
            if along is not None:
                beta += more[number][1].T @ along.of[rows]
                active += _pattern(more[number][1]).T @ along.reached[rows].astype(delta.dtype)
                for run in combined:
                    _give(run, along.bent(run), along.of, beta, active)
        complete(slice(0, s.n_inputs))
        return beta

    def _tangent(self, state: _State, u: Array | None, v: _Edges) -> tuple[Array, Array, Flags]:
        """(ȧ, ż) along (u, v), and whose z moves; ż is h' ȧ there, else 0."""
        n, (a_dot, z_dot) = self.schedule.n_inputs, (np.zeros_like(state.a) for _ in range(2))
        moves, there = np.zeros_like(state.a), (state.z != 0).astype(state.a.dtype)
        if u is not None:
            a_dot[:n] = z_dot[:n] = u.T
            moves[:n] = u.T != 0
        for (rows, matrix), (_, direction), combined in zip(state.edges.levels, v.levels, self.schedule.combined, strict=True):
            along, given = _pattern(direction), np.maximum(there, moves)
            a_dot[rows] = matrix @ z_dot + direction @ state.z + v.bias[rows]
            moving = (_pattern(matrix) @ moves + along @ given > 0) | (v.bias[rows] != 0)
            for run in combined:
                for g, source in zip(run.slopes(state.z), (run.first, run.second), strict=True):
                    felt = (g != 0) & (moves[source] > 0)
                    a_dot[run.rows] += np.where(felt, g * z_dot[source], 0)
                    moving[run.rows - rows.start] |= felt
            moves[rows] = moving & ~state.still[rows]
            z_dot[rows] = np.where(moves[rows] > 0, state.slope[rows] * a_dot[rows], 0)
        return a_dot, z_dot, moves > 0

    def _heads_product(self, values: list[Array], a_dot: Array, moves: Flags) -> tuple[Array, Flags]:
        """R ȧ (or Λ ȧ) at the outputs, 0 at those that nothing moves, and which do."""
        out, reached = np.zeros_like(a_dot), np.zeros(a_dot.shape, bool)
        for (rows, head), value in zip(self.heads, values, strict=True):
            product = np.einsum("jcn,cn->jn", value, a_dot[rows]) if head.coupled else value * a_dot[rows]
            reached[rows] = moves[rows].any(axis=0) if head.coupled else moves[rows]
            out[rows] = np.where(reached[rows], product, 0)
        return out, reached

    def _output_delta(self, state: _State, T: Array, s: Array | None) -> Array:
        delta = np.zeros_like(state.a)
        for rows, head in self.heads:
            delta[rows] = head.weigh(head.delta(state.a[rows], state.z[rows], T.T[head.positions]), s)
        return delta

    def _pulled(self, state: _State, V: Array) -> tuple[Array, Flags]:
        """(∂y/∂a)ᵀ V at the outputs, 0 at those whose V is 0, and which may be other than 0."""
        delta, reached = np.zeros_like(state.a), np.zeros(state.a.shape, bool)
        for rows, head in self.heads:
            v = V.T[head.positions]
            reached[rows] = (v != 0).any(axis=0) if head.coupled else (v != 0) & ~state.still[rows]
            delta[rows] = np.where(reached[rows], head.pullback(state.a[rows], state.z[rows], v), 0)
        return delta, reached

    def _pulled_product(self, state: _State, V: Array, a_dot: Array, moves: Flags) -> tuple[Array, Flags]:
        """How that changes along ȧ."""
        out, reached = np.zeros_like(a_dot), np.zeros(a_dot.shape, bool)
        for rows, head in self.heads:
            v, here = V.T[head.positions], moves[rows] & (not _linear(head.activation))
            reached[rows] = (v != 0).any(axis=0) & here.any(axis=0) if head.coupled else (v != 0) & here
            product = head.pulled_product(state.a[rows], state.z[rows], v, a_dot[rows])
            out[rows] = np.where(reached[rows], product, 0)
        return out, reached

    def _outputs(self, state: _State, s: Array | None) -> Flags:
        """Where δ of the outputs stands."""
        rows = np.zeros(state.a.shape, bool)
        rows[self.schedule.output_rows] = True if s is None or s.ndim == 1 else s != 0
        return rows & ~state.still

    def _slots(self, delta: Array, z: Array, counted: Flags, reached: Flags | None = None) -> Array:
        """Σ_n δ_j z_i and Σ_n δ_j of every slot (S,), with the terms for which `counted` holds at i: of others δ_j has no say.

        `reached` : z may be infinite, and has no say where that does not hold at j; biases have none.
        """
        s, (dst, src) = self.schedule, self._ends
        out = np.zeros(s.parameters.n_slots, delta.dtype)
        step = max(1, CHUNK_VALUES // delta.shape[1])
        for lo in range(0, len(dst), step):
            j, i = dst[lo : lo + step], src[lo : lo + step]
            told = counted[i] if reached is None else counted[i] & reached[j]
            out[lo : lo + len(j)] = np.where(told, delta[j] * z[i], 0).sum(axis=1)
        biased = np.flatnonzero(s.bias_slot >= 0)
        out[s.bias_slot[biased]] = delta[biased].sum(axis=1) if reached is None else 0
        return out

    # -- quantities ----------------------------------------------------------------------------------------------------------

    def deltas(self, theta: Array, X: Array, T: Array, s: Array | None) -> Array:
        """δ of every row (n_rows, N)."""
        out = np.empty((self.schedule.n_rows, len(X)), np.result_type(theta, X))
        for part, state, weight in self._chunks(theta, X, s):
            out[:, part] = self._output_delta(state, T[part], weight)
            self._reverse(state, out[:, part], self._outputs(state, weight))
        return out

    def gradient(self, theta: Array, X: Array, T: Array, s: Array | None) -> Array:
        """∂E/∂θ (W,)."""
        total = np.zeros(self.schedule.parameters.n_slots, theta.dtype)
        for part, state, weight in self._chunks(theta, X, s):
            delta = self._output_delta(state, T[part], weight)
            self._reverse(state, delta, self._outputs(state, weight))
            total += self._slots(delta, state.z, state.z != 0)
        return self.schedule.parameters.reduce(total)

    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,)); an output whose V is 0 has no say."""
        by_x = np.zeros(X.shape, np.result_type(theta, X, V))
        total = np.zeros(self.schedule.parameters.n_slots, by_x.dtype)
        for part, state, _ in self._chunks(theta, X):
            delta, reached = self._pulled(state, V[part])
            self._reverse(state, delta, reached)
            by_x[part] = delta[: self.schedule.n_inputs].T
            total += self._slots(delta, state.z, state.z != 0)
        return by_x, self.schedule.parameters.reduce(total)

    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """∂y/∂x U + ∂y/∂θ v (N, K)."""
        direction = self._edges(self.schedule.parameters.expand_tangent(np.zeros_like(theta) if v is None else v))
        out = np.zeros((len(X), self.schedule.n_outputs), np.result_type(theta, X))
        for part, state, _ in self._chunks(theta, X):
            a_dot, _, moves = self._tangent(state, None if U is None else U[part], direction)
            for rows, head in self.heads:
                here = moves[rows].any(axis=0) if head.coupled else moves[rows]
                out[part, head.positions] = np.where(here, head.pushforward(state.a[rows], state.z[rows], a_dot[rows]), 0).T
        return out

    def product(self, theta: Array, X: Array, T: Array, s: Array | None, v: Array, *, exact: bool) -> Array:
        """H v, or that of the outer-product Hessian, for each column of v: (W, B)."""
        parameters = self.schedule.parameters
        directions = parameters.expand_tangent(v).T
        total = np.zeros((v.shape[1], parameters.n_slots), theta.dtype)
        for part, state, weight in self._chunks(theta, X, s):
            t = T[part].T
            values = []
            for rows, head in self.heads:
                of = head.output_hessian if exact else head.gauss_newton
                values.append(head.weigh(of(state.a[rows], state.z[rows], t[head.positions]), weight))
            delta, found = self._output_delta(state, T[part], weight), self._outputs(state, weight)
            told = found | state.still
            beta = self._reverse(state, delta, found) if exact else delta
            for b, column in enumerate(directions):
                direction = self._edges(column)
                a_dot, z_dot, moves = self._tangent(state, None, direction)
                r_delta, reached = self._heads_product(values, a_dot, moves if weight is None or weight.ndim == 1 else moves & told)
                if not exact:
                    self._reverse(state, r_delta, reached)
                    total[b] += self._slots(r_delta, state.z, state.z != 0)
                    continue
                bent = moves & found & self.schedule.feeds[:, None]
                r_delta += np.where(bent, state.bend * beta * a_dot, 0)
                self._reverse(state, r_delta, reached | bent, _Along(direction, z_dot, moves, delta, found))
                total[b] += self._slots(r_delta, state.z, (state.z != 0) | moves) + self._slots(delta, z_dot, moves, found)
        return np.ascontiguousarray(parameters.reduce(total).T)

    def second(
        self,
        theta: Array,
        X: Array,
        U: Array | None,
        v: Array | None,
        *,
        V: Array | None = None,
        batch: tuple[Array, Array | None] | None = None,
    ) -> tuple[Array, Array]:
        """((N, D), (W,)): ∂/∂(x, θ) of Σ_n ⟨V_n, ∂y_n/∂x U_n + ∂y_n/∂θ v⟩, or with (T, s) as `batch` of E's derivative along (U, v)."""
        parameters = self.schedule.parameters
        by_x, total = np.zeros(X.shape, np.result_type(theta, X)), np.zeros(parameters.n_slots, theta.dtype)
        direction = self._edges(parameters.expand_tangent(np.zeros_like(theta) if v is None else v))
        for part, state, weight in self._chunks(theta, X, None if batch is None else batch[1]):
            a_dot, z_dot, moves = self._tangent(state, None if U is None else U[part], direction)
            if V is not None:
                delta, reached = self._pulled(state, V[part])
                r_delta, r_reached = self._pulled_product(state, V[part], a_dot, moves)
            else:
                assert batch is not None  # for mypy: one of the two
                t = batch[0][part]
                delta, reached = self._output_delta(state, t, weight), self._outputs(state, weight)
                told = moves if weight is None or weight.ndim == 1 else moves & (reached | state.still)
                values = [
                    head.weigh(head.output_hessian(state.a[rows], state.z[rows], t.T[head.positions]), weight)
                    for rows, head in self.heads
                ]
                r_delta, r_reached = self._heads_product(values, a_dot, told)
            beta = self._reverse(state, delta, reached)
            bent = moves & self._curved[:, None] & reached
            r_delta += np.where(bent, state.bend * beta * a_dot, 0)
            self._reverse(state, r_delta, r_reached | bent, _Along(direction, z_dot, moves, delta, reached))
            by_x[part] = r_delta[: self.schedule.n_inputs].T
            total += self._slots(r_delta, state.z, (state.z != 0) | moves) + self._slots(delta, z_dot, moves, reached)
        return by_x, parameters.reduce(total)

    def input_hessian(self, theta: Array, x: Array, v: Array) -> Array:
        """(D, D) of Σ_k v_k y_k at one sample x (D,)."""
        d = len(x)
        found, _ = self.second(theta, np.tile(x, (d, 1)), np.eye(d, dtype=x.dtype), None, V=np.tile(v, (d, 1)))
        return np.asarray((found + found.T) / 2)


def _linear(h: Activation) -> bool:
    return h.builtin and h.name == "identity"


def _flat(h: Activation, a: Array, z: Array, slope: Array) -> Flags:
    """Where h is constant around a."""
    step = 1e-6 * np.maximum(np.abs(a), 1)
    return np.asarray((slope == 0) & (h.evaluate(a - step) == z) & (h.evaluate(a + step) == z))


def _pattern(matrix: Any) -> Any:
    """1 where the matrix has an entry."""
    from scipy import sparse

    return sparse.csr_matrix((np.ones_like(matrix.data), matrix.indices, matrix.indptr), matrix.shape)
