"""The outputs' pre-activations a, their Jacobian ∂a/∂θ, and the curvature Λ of the error there: what every Laplace quantity is made of.

a and ∂a/∂θ come from a second network with the same weights whose outputs are identities, so nothing is divided by a derivative that
may vanish.  The outer product is Σ c b bᵀ with a factor c and a row b for each sample and output:

    elementwise   c = s Λ               b = ∂a_k/∂θ
    softmax       c = s y_k             b = ∂a_k/∂θ − Σ_c y_c ∂a_c/∂θ          Λ = diag(y) − y yᵀ = (I − 1yᵀ)ᵀ diag(y) (I − 1yᵀ)
                  c = s e''_k y_k²      the same b, for an error that is not the canonical one

The differences are taken from the most probable class, so that b keeps its digits where y has reached 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NumericalError
from graphbp.heads import HeadGroup, head_groups
from graphbp.threads import blas_on_one_thread

if TYPE_CHECKING:
    from graphbp.network import Network

from graphbp.second_order.inverse import CHUNK_BYTES

__all__ = ["CurvesDownError", "Outputs", "weighed"]

Array = npt.NDArray[Any]


class CurvesDownError(NumericalError):
    """Λ < 0 at some output: the outer product has no real factor."""


class Outputs:
    """a (N, K), ∂a/∂θ (n, K, W) by chunks of samples, in float64 on the host, at the weights the network has now.

    feeding : the outputs that also feed other units through their activation; their ∂a/∂θ is ∂y/∂θ / h', and 0 where h' = 0.
    """

    def __init__(self, net: Network) -> None:
        self.heads: tuple[HeadGroup, ...] = head_groups(net.schedule, net.error_function)
        self._linear, self.feeding = _with_identity_outputs(net)
        self._to_numpy = net.model.backend.to_numpy

    def values(self, x: Any) -> Array:
        """A (N, K)."""
        net = self._linear
        y = net.model.run.forward(net.theta, x)
        if not self.feeding:
            return np.asarray(self._to_numpy(y), np.float64)
        return np.asarray(self._to_numpy(net.model.run.trace(net.theta, x, y, None).a), np.float64)[net.schedule.live.output_rows].T

    def chunks(self, x: Any) -> Iterator[tuple[slice, Array]]:
        """(samples, ∂a/∂θ (n, K, W) of these samples), in order."""
        net = self._linear
        size = max(1, CHUNK_BYTES // (8 * net.schedule.n_outputs * max(1, net.n_parameters)))
        heads = head_groups(net.schedule, net.error_function)
        for start in range(0, len(x), size):
            part = slice(start, min(start + size, len(x)))
            jacobian = np.asarray(self._to_numpy(net.model.run.weight_jacobian(net.theta, x[part])), np.float64)
            if self.feeding:
                jacobian = _through(heads, self.values(x[part]), jacobian)
            yield part, jacobian

    def rows(self, x: Any, t: Any, s: Any) -> Iterator[Array]:
        """√c b of samples and outputs, (n K, W) at a time: the stack of these rows, B, has BᵀB = Σ c b bᵀ.

        Raises
        ------
        CurvesDownError : a negative c.
        """
        for factor, b in self.factors(x, t, s):
            if (factor < 0).any():
                n, k = (int(i) for i in np.argwhere(factor < 0)[0])
                raise CurvesDownError(
                    f"the error curves downwards at output {k} of a sample (row {n} of those with a weight), so the outer product has no "
                    "real factor; use the exact Hessian, or hessian='outer_product' of gb.laplace"
                )
            b *= np.sqrt(factor)[:, :, None]
            yield b.reshape(len(b) * b.shape[1], b.shape[2])

    def factors(self, x: Any, t: Any, s: Any) -> Iterator[tuple[Array, Array]]:
        """(c (n, K), b (n, K, W)), some samples at a time; those of weight 0 are left out, whatever they overflow to."""
        x, t, s = weighed(x, t, s)
        if s is not None and not bool(s.any()):
            return
        a, t = self.values(x), np.asarray(self._to_numpy(t), np.float64)
        weight = np.ones(len(a)) if s is None else np.asarray(self._to_numpy(s), np.float64)
        weight = weight[:, None] if weight.ndim == 1 else weight
        for part, jacobian in self.chunks(x):
            with np.errstate(invalid="ignore"):
                factor = np.where(weight[part] == 0, 0.0, self._factor(a[part], t[part]) * weight[part])
            if weight.shape[1] > 1:
                jacobian[weight[part] == 0] = 0.0  # an output that is left out may overflow
            for head in self.heads:
                if head.coupled:
                    jacobian[:, head.positions] = _from_their_mean(jacobian[:, head.positions], self._activated(head, a[part]))
            yield factor, jacobian

    def _factor(self, a: Array, t: Array) -> Array:
        out = np.empty_like(a)
        for head in self.heads:
            p = head.positions
            y = self._activated(head, a)
            if not head.coupled:
                with np.errstate(all="ignore"):  # e'' of a saturated y may be infinite; h' is 0 there
                    curvature = head.gauss_newton(a[:, p].T, y.T, t[:, p].T).T
                    out[:, p] = np.where(head.activation.df(a[:, p].T).T == 0, 0.0, curvature)
            elif head.canonical:
                out[:, p] = y
            else:
                with np.errstate(all="ignore"):
                    out[:, p] = np.where(y == 0, 0.0, head.error.d2y(y, t[:, p]) * y * y)
        return out

    @staticmethod
    def _activated(head: HeadGroup, a: Array) -> Array:
        """Y (n, k) = h(a) of one head."""
        return np.asarray(head.activation.f(a[:, head.positions].T).T)


def weighed(x: Any, t: Any, s: Any) -> tuple[Any, Any, Any]:
    """The samples of a weight that is not 0, or one where all are: the others have no part in anything."""
    if s is None:
        return x, t, s
    keep = s != 0 if s.ndim == 1 else (s != 0).any(axis=1)
    if bool(keep.all()):
        return x, t, s
    if not bool(keep.any()):
        keep[0] = True
    return x[keep], t[keep], s[keep]


@blas_on_one_thread
def _from_their_mean(jacobian: Array, y: Array) -> Array:
    """J_k − Σ_c y_c J_c, (n, k, W)."""
    n = np.arange(len(y))
    top = y.argmax(axis=1)
    difference = jacobian - jacobian[n, top][:, None, :]
    return np.asarray(difference - (y[:, None, :] @ difference))


def _through(heads: tuple[HeadGroup, ...], a: Array, jacobian: Array) -> Array:
    """∂a/∂θ from ∂y/∂θ = h' ∂a/∂θ."""
    for head in heads:
        slope = head.activation.df(a[:, head.positions].T).T[:, :, None]
        part = jacobian[:, head.positions]
        jacobian[:, head.positions] = np.divide(part, slope, out=np.zeros_like(part), where=slope != 0)
    return jacobian


def _with_identity_outputs(net: Network) -> tuple[Network, tuple[Hashable, ...]]:
    """The network that computes a where `net` computes y = h(a), with the same θ, but for the outputs that feed others through h."""
    from graphbp.network import Network

    schedule = net.schedule
    kinds = {schedule.activations[k].name for k in schedule.row_activation[schedule.output_rows].tolist()}
    if kinds == {"identity"}:
        return net.to(), ()
    graph, live, feeding = net.to_networkx(), schedule.live, []
    for node in net.outputs:
        for key in ("classes", "error", "error_weight"):
            graph.nodes[node].pop(key, None)
        if graph.nodes[node].get("activation", "identity") == "identity":
            continue
        if live.feeds[live.rows_of(net.model.spec.index[node])].any():
            feeding.append(node)
        else:
            graph.nodes[node]["activation"] = "identity"
    return Network(graph, error="sum_of_squares", backend=net.backend, dtype=net.dtype), tuple(feeding)
