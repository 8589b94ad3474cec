"""The outputs' pre-activations a, their Jacobian ∂a/∂θ, and the curvature Λ of the error there: what every Laplace quantity is made of.

a and ∂a/∂θ come from a second network with the same weights whose outputs are identities, so nothing is divided by a derivative that
may vanish.  Formulas at the outputs are those of `graphbp.heads`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NotSupportedError, NumericalError
from graphbp.heads import Head, output_heads

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["Outputs"]

Array = npt.NDArray[Any]
CHUNK_BYTES = 1 << 26
"""Bytes of ∂a/∂θ held at once (one sample's rows at the least)."""


class Outputs:
    """a (N, K), ∂a/∂θ (n, K, W) by chunks of samples, in float64 on the host, at the weights the network has now."""

    def __init__(self, net: Network) -> None:
        self.heads: tuple[Head, ...] = output_heads(net.schedule, net.error_function)
        self._linear = _with_identity_outputs(net)
        self._to_numpy = net._backend.to_numpy

    def values(self, x: Any) -> Array:
        """A (N, K)."""
        return np.asarray(self._to_numpy(self._linear._run.forward(self._linear._theta, x)), np.float64)

    def chunks(self, x: Any) -> Iterator[tuple[slice, Array]]:
        """(samples, ∂a/∂θ (n, K, W) of these samples), in order."""
        net = self._linear
        size = max(1, CHUNK_BYTES // (8 * net.schedule.n_outputs * max(1, net.n_parameters)))
        for start in range(0, len(x), size):
            part = slice(start, min(start + size, len(x)))
            yield part, np.asarray(self._to_numpy(net._run.weight_jacobian(net._theta, x[part])), np.float64)

    def activate(self, a: Array) -> Array:
        """Y (N, K) = h(a)."""
        y = np.empty_like(a)
        for head in self.heads:
            y[:, head.positions] = head.activation.f(a[:, head.positions].T).T
        return y

    def curved(self, a: Array, t: Array, s: Array | None, jacobian: Array) -> Array:
        """s_n Λ_n ∂a_n/∂θ, (n, K, W)."""
        out = np.empty_like(jacobian)
        y = self.activate(a)
        for head in self.heads:
            p = head.positions
            curvature = head.gauss_newton(a[:, p].T, y[:, p].T, t[:, p].T)
            part = jacobian[:, p]
            out[:, p] = np.moveaxis(curvature, -1, 0) @ part if head.coupled else curvature.T[:, :, None] * part
        return out if s is None else s[:, None, None] * out

    def roots(self, a: Array, t: Array, s: Array | None, jacobian: Array) -> Array:
        """√s_n Λ_n^½ ∂a_n/∂θ, (n, K, W): the stack of these rows, B, has BᵀB = H."""
        out = np.empty_like(jacobian)
        y = self.activate(a)
        for head in self.heads:
            p = head.positions
            curvature = head.gauss_newton(a[:, p].T, y[:, p].T, t[:, p].T)
            if head.coupled:
                values, vectors = np.linalg.eigh(np.moveaxis(curvature, -1, 0))
                root = np.sqrt(np.maximum(values, 0.0))[:, :, None] * vectors.transpose(0, 2, 1)
                out[:, p] = root @ jacobian[:, p]
            else:
                out[:, p] = np.sqrt(_not_negative(curvature)).T[:, :, None] * jacobian[:, p]
        return out if s is None else np.sqrt(s)[:, None, None] * out


def _not_negative(curvature: Array) -> Array:
    if (curvature < 0).any():
        raise NumericalError(
            "the error curves downwards at some output, so the outer product has no factor; use hessian='outer_product'"
        )
    return curvature


def _with_identity_outputs(net: Network) -> Network:
    """The network that computes a where `net` computes y = h(a), with the same θ."""
    from graphbp.network import Network

    schedule = net.schedule
    kinds = {schedule.activations[k].name for k in schedule.row_activation[schedule.output_rows].tolist()}
    if kinds == {"identity"}:
        return net.to()
    graph, live = net.to_networkx(), schedule.live
    for node in net.outputs:
        feeds = live.feeds[live.rows_of(net._spec.index[node])].any()
        if graph.nodes[node].get("activation", "identity") != "identity" and feeds:
            raise NotSupportedError(
                f"gb.laplace needs the pre-activations of the outputs, and output {node!r} also feeds other units through its activation; "
                "give the graph an identity unit fed by it as the output instead"
            )
        graph.nodes[node]["activation"] = "identity"
    return Network(graph, error="sum_of_squares", backend=net.backend, dtype=net.dtype)
