r"""Second derivatives by the inputs, from one sweep of tangents an input and one plain reverse sweep an output.

With G_pi = ∂a_p/∂x_i and β^k_p = Σ_s w_sp δ^k_s, δ^k started from e_k (or, for Σ_k V_k y_k, from V),

    ∂²y_k/∂x_i∂x_l = Σ_p h''_p β^k_p G_pi G_pl  +  ∂²y_k/∂a∂a [G_i, G_l]        p over the rows that feed others

where the second term is the output's own: h'' G_ki G_kl, or that of its softmax.  Rows that combine two others, a_c = ... + g(z_u, z_v),
add what g bends by, with ζ_ui = ∂z_u/∂x_i = h' G_ui:

    Σ_c δ^k_c (g_uu ζ_ui ζ_ul + g_uv (ζ_ui ζ_vl + ζ_vi ζ_ul) + g_vv ζ_vi ζ_vl)            of products: g_uv = 1, the others 0

Backends form these sums, matrix products over p and c; `add_heads` adds the outputs' part, which needs a, y and G of the outputs alone.
Diagonals take the squares of G, and the Laplacian their sum over i: S_p = Σ_i G_pi², once for all outputs.

O(N (D + K) edges) for the sweeps; the products are N K M D² / 2 multiplications, N K M D for the diagonal, N K M for the Laplacian.

`products_by_moving_inputs`, `hessian_by_products` and `diagonal_by_products` compose these for backends that leave them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.foreign import zeros_as

if TYPE_CHECKING:
    from graphbp.heads import HeadGroup

__all__ = ["add_heads", "diagonal_by_products", "hessian_by_products", "products_by_moving_inputs"]

Array = npt.NDArray[Any]


def add_heads(heads: Iterable[HeadGroup], a: Array, y: Array, tangents: Array, V: Array | None, out: Array) -> None:
    """out += the outputs' own part, in place.

    Parameters
    ----------
    a, y : (K, n) of the outputs.
    tangents : (K, D, n), G of the outputs.
    V : (K, n), or None for each output by itself.
    out : (K, ...) or, given V, (...), where ... is (D, D, n), (D, n) for the diagonal, or (n,) for the Laplacian.
    """
    for head in heads:
        if head.activation.builtin and head.activation.name == "identity":
            continue
        p = head.positions
        for shape, part in _seconds(head, a[p], y[p], tangents[p], out.ndim - (V is None)):
            if V is None:
                out[(p, *shape)] += part
            else:
                weight = V[p].reshape(len(p), *(1,) * (part.ndim - 2), -1)
                out[shape] += np.where(weight == 0, 0, weight * part).sum(axis=0)


def _seconds(head: HeadGroup, a: Array, y: Array, g: Array, axes: int) -> Iterator[tuple[tuple[Any, ...], Array]]:
    """(where, ∂²y/∂a∂a [G_i, G_l] (k, ...)): line i of the Hessian (three axes with the samples), the diagonal (two), or their sum."""
    a, y = a[:, None], y[:, None]
    if axes == 3:
        for i in range(g.shape[1]):
            yield (i,), head.second(a, y, g[:, i : i + 1], g)
        return
    found = head.second(a, y, g, g)
    yield (), found if axes == 2 else found.sum(axis=1)


# -- composed ----------------------------------------------------------------------------------------------------------------------


def products_by_moving_inputs(multiply: Callable[..., Any], theta: Any, X: Any, T: Any, s: Any, U: Any, v: Any) -> tuple[Any, Any]:
    """((N, D), (W,)) from products with the Hessian of `graphbp.second_order.moving_inputs`' network, sample by sample."""
    w, (n_samples, d) = len(theta), X.shape
    wide = zeros_as(theta, (w + d,))
    wide[:w] = theta
    by_x, by_theta = zeros_as(theta, (n_samples, d)), zeros_as(theta, (w,))
    direction = zeros_as(theta, (w + d, 1))
    if v is not None:
        direction[:w, 0] = v
    for n in range(n_samples):
        if U is not None:
            direction[w:, 0] = U[n]
        one = slice(n, n + 1)
        found = multiply(wide, X[one], T[one], None if s is None else s[one], direction)[:, 0]
        by_theta += found[:w]
        by_x[n] = found[w:]
    return by_x, by_theta


def hessian_by_products(product: Callable[..., Any], n_outputs: int, theta: Any, X: Any, V: Any) -> Any:
    """(N, K, D, D) or (N, D, D) from `second_order_product` along every input."""
    d = X.shape[1]
    out = zeros_as(theta, (len(X), *(() if V is not None else (n_outputs,)), d, d))
    for place, weights in _weighted_outputs(n_outputs, X, V):
        for i in range(d):
            out[(slice(None), *place, slice(None), i)] = product(theta, X, weights, _along(X, i, 1), None)[0]
    return (out + out.swapaxes(-1, -2)) / 2


def diagonal_by_products(product: Callable[..., Any], n_outputs: int, theta: Any, X: Any, V: Any, lengths: Any = None) -> Any:
    """(N, K, D) or (N, D) likewise; with the lengths ℓ their sum over the inputs, each times ℓ_i²: (N, K)."""
    d = X.shape[1]
    out = zeros_as(theta, (len(X), *(() if V is not None else (n_outputs,)), *(() if lengths is not None else (d,))))
    for place, weights in _weighted_outputs(n_outputs, X, V):
        for i in range(d):
            length = 1 if lengths is None else lengths[i]
            found = product(theta, X, weights, _along(X, i, length), None)[0][:, i] * length
            out[(slice(None), *place, *(() if lengths is not None else (i,)))] += found
    return out


def _weighted_outputs(n_outputs: int, X: Any, V: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    """(where in the result, V): each output by itself, or the given V."""
    if V is not None:
        yield (), V
        return
    for k in range(n_outputs):
        weights = zeros_as(X, (len(X), n_outputs))
        weights[:, k] = 1
        yield (k,), weights


def _along(X: Any, i: int, length: Any) -> Any:
    direction = zeros_as(X, X.shape)
    direction[:, i] = length
    return direction
