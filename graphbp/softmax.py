"""A softmax under an error of logarithms: E_n, δ, R and Λ of E = α Σ y − Σ t ln y − Σ n ln(1 − y), where no logarithm is one of a rounded y.

With p = softmax(a), w its largest unit, s the softmax of all but w, s_w = 0, and S^c that matrix diag − ssᵀ of all but c:

    ∇ ln p_c = e_c − p            ∇² ln p_c = −P
    ∇ ln(1 − p_c) = −o_c (e_c − p)      o_c = p_c / (1 − p_c), c ≠ w: at most 1
    ∇ ln(1 − p_w) = −p_w (e_w − s)          ∇² ln(1 − p_c) = S^c − P

so that p_c / (1 − p_w), which may be 0/0 in the arithmetic at hand, is s_c, and 1 − p_w is the sum of the others.  The rows of every
∇² add up to 0: its diagonal is had from the rest of a row, and 1 − s_c is never formed.

With n = 1 − t it is binary cross-entropy, with n = 0 cross-entropy (α = 0) or Poisson (α = 1).  Arrays are (units, N).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.tails import log1p

__all__ = ["SoftmaxLogs"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SoftmaxLogs:
    """What these quantities share.

    wins : true at w.           n : the weights of −ln(1 − y).
    rest : 1 − p, (units, N).   s : the softmax of all but w, 0 at w.       log_rest : ln(1 − p).
    """

    a: Array
    p: Array
    t: Array
    n: Array
    wins: Array
    rest: Array
    s: Array
    log_p: Array
    log_rest: Array

    @classmethod
    def of(cls, a: Array, p: Array, t: Array, n: Array) -> SoftmaxLogs:
        """From a, y and the weights of the logarithms."""
        wins = np.arange(len(a))[:, None] == np.argmax(np.real(a), axis=0)
        others = np.where(wins, 0, p).sum(axis=0)
        rest = np.where(wins, others, 1 - p)
        top = np.where(wins, a, 0).sum(axis=0)
        second = np.argmax(np.where(wins, -np.inf, np.real(a)), axis=0)[None]
        next_ = np.take_along_axis(a, second, axis=0)[0]
        e = np.where(wins, 0, np.exp(np.where(wins, 0, a - next_)))
        total = e.sum(axis=0)
        log_p = (a - top) - log1p(np.where(wins, 0, np.exp(a - top)).sum(axis=0))
        ahead = np.real(p) > 0.5
        log_other = (next_ - top) + np.log(total) + np.where(wins, log_p, 0).sum(axis=0)
        log_rest = np.where(ahead, log_other, log1p(-np.where(ahead, 0, p)))
        return cls(a, p, t, n, wins, rest, e / total, log_p, log_rest)

    @property
    def _odds(self) -> Array:
        """o_c, and 0 at w."""
        return np.where(self.wins, 0, self.p / np.where(self.wins, 1, self.rest))

    def _of_winner(self, values: Array) -> Any:
        return np.where(self.wins, values, 0).sum(axis=0)

    def value(self, alpha: float) -> Array:
        """E_n, (N,)."""
        no = self.n * np.where(self.n == 0, 0, self.log_rest)
        return np.asarray((self.p * alpha - self.t * self.log_p - no).sum(axis=0))

    def delta(self) -> Array:
        """−Σ_c t_c ∇ ln p_c − Σ_c n_c ∇ ln(1 − p_c)."""
        u = np.where(self.wins, 0, self.n * self._odds - self.t)
        total, t_w, lost = u.sum(axis=0), self._of_winner(self.t), self._of_winner(self.n * self.p)
        at_winner = lost - self.t * self.rest - self.p * total
        return np.asarray(np.where(self.wins, at_winner, u - self.p * (total - t_w) - lost * self.s))

    def hessian(self) -> Array:
        """(Σ t + Σ n) P − Σ_c n_c S^c, (k, k, N)."""
        beta = np.where(self.wins, 0, self.n / np.where(self.wins, 1, self.rest * self.rest))
        common = self.t.sum(axis=0) + self._of_winner(self.n) - (beta * self.p * (1 + self.rest)).sum(axis=0)
        R = -self.p[:, None] * self.p[None] * (common + beta[:, None] + beta[None])
        R = R + self._of_winner(self.n) * self.s[:, None] * self.s[None]
        index = np.arange(len(R))
        R[index, index] = 0
        R[index, index] = -R.sum(axis=1)
        return np.asarray(R)

    def outer(self) -> Array:
        """Σ_c t_c ∇ ln p_c ∇ ln p_cᵀ + Σ_c n_c ∇ ln(1 − p_c) ∇ ln(1 − p_c)ᵀ, (k, k, N)."""
        index = np.arange(len(self.p))
        d = np.repeat(-self.p[None], len(self.p), axis=0)
        d[index, index] = self.rest
        g = self.t + self.n * self._odds**2
        last = np.where(self.wins, 1, -self.s)
        of_last = self._of_winner(self.n * self.p * self.p) * last[:, None] * last[None]
        return np.asarray(np.einsum("cin,cn,cjn->ijn", d, g, d) + of_last)
