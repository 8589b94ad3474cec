"""Where the error meets the output units: δ, R and Λ in terms of the outputs' pre-activations a.

The heads, outputs with their errors, fall into groups, each a set of output positions that one formula serves:

==============  =============================================================================================
canonical       h is the error's canonical activation:   δ = y − t            R = Λ = h'(a)   (or the softmax one)
elementwise     any other elementwise h:                 δ = e' h'            R = e'' h'² + e' h''     Λ = e'' h'²
softmax         softmax under any error:                 δ = P e'             R = P diag(e'') P + Σ_c e'_c ∂²y_c     Λ = P diag(e'') P
==============  =============================================================================================

with P = ∂y/∂a = diag(y) − y yᵀ, which is also R and Λ of the canonical softmax head.  R = ∂²E/∂a∂a is what the exact Hessian
needs; Λ is the positive part that the outer-product (Gauss–Newton) Hessian keeps: split at a for a canonical pair, at y otherwise.

None of this may cancel where a unit saturates.  Elementwise heads take functions of a where the activation offers what they are made of
(`pair_of`).  Of a softmax at most one y is above ½, the *winner*: its 1 − y is the sum of the others, and P v, which does not change when
all of v are moved by a constant, is formed from the differences to the winner's.  Errors of logarithms at a softmax are those of
`graphbp.softmax`.

Arrays here are (units, N), outputs in the order of `Schedule.output_rows`; matrices are (k, k, N).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation
from graphbp.error_functions import ErrorFunction, Pair, pair_of
from graphbp.mixture import AnyError, Mixture, error_at
from graphbp.softmax import SoftmaxLogs

if TYPE_CHECKING:
    from graphbp.schedule import Schedule

__all__ = ["HeadGroup", "head_groups"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class HeadGroup:
    """One group of output units that share an activation, and how the error acts on it.

    positions : where these units stand among the K outputs.
    canonical : δ = y − t holds.
    """

    positions: npt.NDArray[np.int64]
    activation: Activation
    error: ErrorFunction
    canonical: bool

    @property
    def coupled(self) -> bool:
        """True for softmax, whose R and Λ are full matrices."""
        return not self.activation.elementwise

    @property
    def pair(self) -> Pair | None:
        """The error at units of this activation, as functions of a."""
        return pair_of(self.error, self.activation)

    @property
    def logs(self) -> tuple[int, int] | None:
        """(α, β) where this is a softmax under E = α Σ y − Σ t ln y − β Σ (1 − t) ln(1 − y), and not its canonical error."""
        return self.error.in_logs if self.coupled and not self.canonical else None

    def _logs(self, a: Array, y: Array, t: Array) -> SoftmaxLogs:
        assert self.logs is not None
        return SoftmaxLogs.of(a, y, t, self.logs[1] * (1 - t))

    def _slope(self, y: Array, t: Array) -> Array:
        """∂e/∂y."""
        return _less(y, t) if self.coupled and self.error.canonical == "identity" else self.error.dy(y, t)

    def value(self, a: Array, y: Array, t: Array, s: Array | None = None) -> Array:
        """E_n of this head, (N,), times s, weights of the samples (N,); with weights of all outputs (K, N), Σ_k s_kn e_kn."""
        if self.coupled:
            return self.weigh(self._whole(a, y, t), s)
        each = self.each(a, y, t)
        if s is None or s.ndim == 1:
            return self.weigh(np.asarray(each.sum(axis=0)), s)
        return np.asarray(self.weigh(each, s).sum(axis=0))

    def each(self, a: Array, y: Array, t: Array) -> Array:
        """e of every output of an elementwise head, (k, N)."""
        if self.pair is not None:
            return np.asarray(self.pair.value(a, t))
        if self.canonical and self.error.value_at_a is not None:
            return np.asarray(self.error.value_at_a(a, t))
        return np.asarray(self.error.value(y, t))

    def _whole(self, a: Array, y: Array, t: Array) -> Array:
        """E_n of a softmax, (N,)."""
        if self.canonical and self.error.value_at_a is not None:
            return np.asarray(self.error.value_at_a(a, t))
        if self.logs is not None:
            return self._logs(a, y, t).value(self.logs[0])
        if self.error.canonical == "identity":
            return np.asarray((0.5 * _less(y, t) ** 2).sum(axis=0))
        return np.asarray(self.error.value(y, t).sum(axis=0))

    def weigh(self, values: Array, s: Array | None) -> Array:
        """s times δ, R or Λ of this head (or E of a softmax), s being None, of the samples (N,), or of all outputs (K, N).

        What an output's weight of 0 leaves out is 0, whatever it has overflowed to.
        """
        if s is None:
            return values
        if s.ndim == 1:
            return values * s
        own = s[self.positions[0]] if self.coupled else s[self.positions]
        return np.asarray(np.where(own == 0, 0, values * own))

    def delta(self, a: Array, y: Array, t: Array) -> Array:
        """δ = ∂E_n/∂a, (k, N)."""
        if self.pair is not None:
            return self.pair.delta(a, t)
        if self.canonical:
            return _less(y, t) if self.coupled else y - t
        if self.logs is not None:
            return self._logs(a, y, t).delta()
        return self.pullback(a, y, self._slope(y, t))

    def pullback(self, a: Array, y: Array, v: Array) -> Array:
        """(∂y/∂a)ᵀ v, (k, N)."""
        if self.coupled:
            return _project(y, v)
        return np.asarray(self.activation.df(a) * v)

    pushforward = pullback  # ∂y/∂a is symmetric: diag(h') or diag(y) − y yᵀ

    def output_hessian(self, a: Array, y: Array, t: Array) -> Array:
        """R = ∂²E_n/∂a∂a: (k, N), a diagonal, or (k, k, N) for softmax."""
        if self.pair is not None:
            return self.pair.hessian(a, t)
        if self.canonical:
            return self._softmax_matrix(y) if self.coupled else self.activation.df(a)
        if self.logs is not None:
            return self._logs(a, y, t).hessian()
        e1, e2 = self._slope(y, t), self.error.d2y(y, t)
        if not self.coupled:
            return np.asarray(e2 * self.activation.df(a) ** 2 + e1 * self.activation.d2f(a))
        p = self._softmax_matrix(y)
        gn = np.einsum("ikn,kn,kjn->ijn", p, e2, p)
        # Σ_c e'_c ∂²y_c/∂a_i∂a_j, with ∂y_c/∂a_i = y_c (1[c=i] − y_i)
        u = _project(y, e1)
        return np.asarray(gn + _diagonal(u) - u[:, None] * y[None] - y[:, None] * u[None])

    def gauss_newton(self, a: Array, y: Array, t: Array) -> Array:
        """Λ: (k, N), a diagonal, or (k, k, N) for softmax."""
        if self.pair is not None:
            return self.pair.outer(a, t)
        if self.canonical:
            return self.output_hessian(a, y, t)
        if self.logs is not None:
            return self._logs(a, y, t).outer()
        e2 = self.error.d2y(y, t)
        if not self.coupled:
            return np.asarray(e2 * self.activation.df(a) ** 2)
        p = self._softmax_matrix(y)
        return np.asarray(np.einsum("ikn,kn,kjn->ijn", p, e2, p))

    def second(self, a: Array, y: Array, g: Array, q: Array) -> Array:
        """∂²y/∂a∂a [g, q] of each output, in the shape of g and q, which broadcast: a and y are (k, ..., N), as these are.

        Elementwise h'' g q; of a softmax y_k ((g_k − ḡ)(q_k − q̄) − cov(g, q)), means and covariance by y.
        """
        if not self.coupled:
            return np.asarray(self.activation.d2f(a) * g * q)
        g, q = _from_winner(y, g), _from_winner(y, q)
        g, q = g - (y * g).sum(axis=0), q - (y * q).sum(axis=0)
        return np.asarray(y * (g * q - (y * g * q).sum(axis=0)))

    def pulled_product(self, a: Array, y: Array, v: Array, a_dot: Array) -> Array:
        """Σ_c v_c ∂²y_c/∂a∂a ȧ, (k, N): how `pullback` of v changes along ȧ."""
        if not self.coupled:
            return np.asarray(self.activation.d2f(a) * v * a_dot)
        u, d = _project(y, v), _from_winner(y, a_dot)
        return np.asarray(u * (d - (y * d).sum(axis=0)) - y * (u * d).sum(axis=0))

    @staticmethod
    def _softmax_matrix(y: Array) -> Array:
        p = -y[:, None] * y[None]
        index = np.arange(len(y))
        p[index, index] = y * -_less(y, np.ones_like(y))
        return np.asarray(p)


def _less(y: Array, t: Array) -> Array:
    """y − t over a softmax: for a y above ½ it is (1 − t) − Σ of the others."""
    wins = np.real(y) > 0.5
    others = np.where(wins, 0, y).sum(axis=0)
    return np.where(wins, (1 - t) - others, y - t)


def _project(y: Array, v: Array) -> Array:
    """P v = y (d − Σ_c y_c d_c) over a softmax, d = v − v of the largest y."""
    d = _from_winner(y, v)
    return np.asarray(y * (d - (y * d).sum(axis=0)))


def _from_winner(y: Array, v: Array) -> Array:
    """v − v of the largest y."""
    winner = np.argmax(np.real(y), axis=0)[None]
    return np.asarray(v - np.take_along_axis(v, winner, axis=0))


def _diagonal(v: Array) -> Array:
    out = np.zeros((v.shape[0], *v.shape), v.dtype)
    index = np.arange(v.shape[0])
    out[index, index] = v
    return out


def head_groups(schedule: Schedule, error: AnyError) -> tuple[HeadGroup, ...]:
    """The heads of a network under an error (or one for each output), covering every output once."""
    heads = []
    grouped = np.zeros(len(schedule.output_rows), bool)
    for group in schedule.softmax_groups:
        grouped[group] = True
        activation = schedule.activations[schedule.row_activation[schedule.output_rows[group[0]]]]
        row = error_at(error, int(group[0]))
        heads.append(HeadGroup(group, activation, row, row.canonical == activation.name))
    kinds = schedule.row_activation[schedule.output_rows]
    rows = error.each if isinstance(error, Mixture) else (error,) * len(kinds)
    alike: dict[tuple[int, ErrorFunction], list[int]] = {}
    for k in np.flatnonzero(~grouped).tolist():
        alike.setdefault((int(kinds[k]), rows[k]), []).append(k)
    for (kind, row), positions in alike.items():
        activation = schedule.activations[kind]
        heads.append(HeadGroup(np.array(positions), activation, row, row.canonical == activation.name))
    return tuple(heads)
