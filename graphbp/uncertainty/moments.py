"""Mean and variance of y = h(a) for a Gaussian a ~ N(a*, C), and what they can be at most.

Arrays are (N, k) for the k outputs of a head; C is (N, k, k).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation
from graphbp.heads import HeadGroup
from graphbp.threads import blas_on_one_thread

__all__ = ["against_the_others", "first_order", "largest_variance", "log_normal", "monte_carlo"]

Array = npt.NDArray[Any]


def log_normal(a: Array, v: Array) -> tuple[Array, Array, Array]:
    """(mean, variance, noise) of a count of rate exp(a): e^(a + v/2), (e^v − 1) mean², mean."""
    with np.errstate(over="ignore", divide="ignore"):
        mean = np.exp(a + v / 2)
        # ln(e^v − 1), which is −inf for v = 0
        variance = np.exp(2 * a + v + np.where(v < 1, np.log(np.expm1(np.minimum(v, 1.0))), v + np.log(-np.expm1(-v))))
    return mean, variance, mean


def largest_variance(head: HeadGroup, a: Array, mean: Array) -> Array:
    """(mean − lower)(upper − mean) of what lies between two bounds (Bhatia & Davis 2000); p(1 − p) of probabilities, whose 1 − p keeps
    its digits; inf without bounds.
    """
    if head.coupled:
        return mean * _others(mean)
    if head.activation.name == "sigmoid":
        return np.asarray(head.activation.df(a.T).T)
    lower, upper = _bounds(head.activation)
    if not np.isfinite(upper - lower):
        return np.full(mean.shape, np.inf)
    return np.maximum((mean - lower) * (upper - mean), 0.0)


def _others(y: Array) -> Array:
    """1 − y_k as Σ_{c≠k} y_c."""
    return np.asarray((y[:, None, :] * (1 - np.eye(y.shape[1]))).sum(axis=2))


@lru_cache(maxsize=256)
def _bounds(activation: Activation) -> tuple[float, float]:
    """The range of h, −inf or inf where it has no bound, from its values near 0 and far out."""
    far = np.logspace(2, 300, 299)
    a = np.concatenate([-far, np.linspace(-50, 50, 20001), far])
    with np.errstate(all="ignore"):
        z = np.asarray(activation.f(a[(a > activation.lower) & (a < activation.upper)]))
    z = z[~np.isnan(z)]
    lower, upper = float(z.min()), float(z.max())
    return (lower if lower > -50 else -np.inf), (upper if upper < 50 else np.inf)


def against_the_others(a: Array, covariance: Array) -> tuple[Array, Array]:
    """(a_k − mean of all, Var(a_k − mean of the others)), (N, K): what of logits and covariance a softmax can see."""
    k = a.shape[1]
    each = covariance.diagonal(axis1=1, axis2=2) - 2 * covariance.mean(axis=2) + covariance.mean(axis=(1, 2))[:, None]
    return a - a.mean(axis=1, keepdims=True), np.maximum(each, 0.0) * (k / (k - 1)) ** 2


def first_order(head: HeadGroup, a: Array, covariance: Array) -> Array:
    """The diagonal of H' C H'ᵀ with H' = ∂y/∂a, (N, k)."""
    y = head.activation.f(a.T)
    if not head.coupled:
        slope = head.activation.df(a.T).T
        return np.asarray(slope**2 * np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0))
    y = y.T
    centred = covariance - np.einsum("nk,nkc->nc", y, covariance)[:, None, :]
    twice = centred - np.einsum("nck,nk->nc", centred, y)[:, :, None]
    return np.asarray(y**2 * np.maximum(np.diagonal(twice, axis1=1, axis2=2), 0.0))


@blas_on_one_thread
def monte_carlo(
    head: HeadGroup, a: Array, covariance: Array, n_samples: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """(mean, variance, mean of y(1 − y)) of probabilities h(a + root ε) over draws of ε: with the last, p(1 − p) in all."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    centre = head.activation.f(a.T).T
    shift, square, noise = np.zeros_like(a), np.zeros_like(a), np.zeros_like(a)
    for _ in range(n_samples):
        drawn = a + (root @ rng.standard_normal((*a.shape, 1)))[:, :, 0]
        y = head.activation.f(drawn.T).T
        shift += y - centre
        square += (y - centre) ** 2
        noise += largest_variance(head, drawn, y)
    shift /= n_samples
    mean = np.clip(centre + shift, 0.0, 1.0)
    return mean, np.maximum(square / n_samples - shift**2, 0.0), noise / n_samples
