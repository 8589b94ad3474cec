"""`gb.laplace`."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from graphbp.data import as_number
from graphbp.diagnosis import cause_at
from graphbp.exceptions import ConfigError, DataError, NotSupportedError, NumericalError, one_of, shown, unknown_name
from graphbp.network import require_network
from graphbp.progress import status
from graphbp.uncertainty.curvature import HESSIANS, find_curvature
from graphbp.uncertainty.evidence import Evidence
from graphbp.uncertainty.outputs import Outputs, weighed
from graphbp.uncertainty.posterior import Posterior
from graphbp.uncertainty.subset import PARAMETERS, last_layer

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["laplace"]

ROUNDINGS = 4
"""Residuals of no more than so many roundings of t are none."""


def laplace(
    net: Network,
    X: Any,
    T: Any,
    *,
    sample_weight: Any = None,
    prior_precision: float | str = 1.0,
    hessian: str = "outer_product",
    parameters: str = "all",
    noise: float | None = None,
) -> Posterior:
    """N(θ | θ*, A⁻¹), A = H/σ² + αI: the Gaussian posterior around the trained weights θ* = `net.weights`.

    Parameters
    ----------
    X, T, sample_weight : the training data.
    prior_precision : α of the prior N(θ | 0, α⁻¹I), or "marginal_likelihood" to take the one that maximises ln p(T | X, α).
    hessian : H: "outer_product" (W × W), "low_rank" (the same posterior from N·K × W, for few samples and many parameters), "exact"
        (W × W; must leave A positive definite), "blocks" (of the outer product, those of the weights into one unit), or "diagonal"
        (of the outer product; O(W) memory).
    parameters : "all", or "last_layer": only the weights and biases that lead into outputs are uncertain, and the rest of θ stays at
        θ*.  A hidden unit's weights are then known for sure; for classifiers that is often the better calibrated choice.
    noise : σ of a regression (error="sum_of_squares"), or None for the one that maximises ln p(T | X, α, σ).

    The approximation belongs to a maximum of the posterior: train with the same prior, which is `l2 = α σ² / Σ_n s_n` in `gb.train`.
    Weights farther from it than √W standard deviations, where the posterior's own draws lie, are warned of; half of that where σ was
    taken from residuals larger than those of a constant.
    Everything is computed in float64, whatever the network's dtype.

    Raises
    ------
    UnknownNameError, ConfigError : an unknown hessian or choice of parameters, a prior precision or noise that is not positive.
    NumericalError : A is not positive definite (only "exact" can do that), or the evidence has no maximum.
    MemoryLimitError : W × W would not fit; says what to use instead.

    Examples
    --------
    One weight, y = w x, σ = 1: A = Σ x² + α (Bayesian linear regression).

    >>> import graphbp as gb, networkx as nx
    >>> net = gb.Network(nx.DiGraph([("x", "y", {"weight": 0.5})]), backend="numpy")
    >>> posterior = gb.laplace(net, [[1.0], [3.0]], [0.5, 1.5], prior_precision=2.0, noise=1.0)
    >>> mean, variance = posterior.predict([[6.0]])
    >>> mean.round(12), variance.round(12)  # 36 / (1 + 9 + 2)
    (array([[3.]]), array([[3.]]))
    """
    alpha = _prior(prior_precision)
    require_network(net)
    regression = net.error_function.name == "sum_of_squares"
    beta = _noise_precision(_scaled_noise(net, noise), regression, net.error_function.name)
    one_of("hessian", hessian, HESSIANS)
    one_of("choice of parameters", parameters, PARAMETERS)
    theta = np.array(net.weights, np.float64)
    net, index = (net, np.arange(len(theta))) if parameters == "all" else last_layer(net)
    if net.n_parameters == 0:
        what = "free parameters" if parameters == "all" else "free parameters that lead into an output"
        raise DataError(f"the network has no {what}: {net.model.layout.why_none}")
    if net.dtype != np.float64:  # rounded in float32, an outer product may have eigenvalues below −α
        net = net.to(dtype="float64")
    batch = net.model.batch(X, T, sample_weight)
    x, t, s = weighed(*batch)
    outputs = Outputs(net)
    if outputs.feeding:
        raise NotSupportedError(
            f"gb.laplace needs the pre-activations of the outputs, and output {outputs.feeding[0]!r} also feeds other units through its "
            "activation; give the graph an identity unit fed by it as the output instead"
        )
    error, gradient = net.model.run.error_and_gradient(net.theta, x, t, s)
    if not math.isfinite(error):
        raise NumericalError(
            f"E = {error} at these weights: {cause_at(net.model, net.theta, *batch)}; the Laplace approximation needs a trained network"
        )
    with status("computing the curvature for the Laplace approximation"):
        curvature = find_curvature(hessian, net, outputs, x, t, s)
    to_numpy = net.model.backend.to_numpy
    count, constant, resolution = _likelihood(net, to_numpy(t), None if s is None else to_numpy(s), regression)
    evidence = Evidence(len(index), float(error), float((theta[index] ** 2).sum()), count, constant, regression, resolution)
    chosen = regression and beta is None
    with status("maximising the evidence, factoring the precision"):
        alpha, beta = evidence.maximise(alpha, beta, lambda: curvature.eigenvalues)
        precision = curvature.precision(alpha, beta)
    g = beta * np.asarray(to_numpy(gradient), np.float64) + alpha * theta[index]
    distance = math.sqrt(max(float(precision.spread(g[None, None, :])[0, 0, 0]), 0.0))
    idle = (
        chosen
        and 2 * distance > math.sqrt(len(index))
        and float(error) > _error_of_the_mean(to_numpy(t), None if s is None else to_numpy(s))
    )
    if idle or distance > math.sqrt(len(index)):
        total = float(len(x) if s is None else to_numpy(s).sum())
        warnings.warn(_far(distance, len(index), alpha / (beta * total or 1.0), idle), UserWarning, stacklevel=2)
    return Posterior(
        net.to(),
        outputs,
        precision,
        weights=theta,
        index=index,
        hessian=hessian,
        prior_precision=alpha,
        noise=_raw_noise(net, 1 / math.sqrt(beta)) if regression else None,
        log_marginal_likelihood=evidence.log(alpha, beta, precision.log_determinant),
        distance_from_mode=distance,
    )


def _far(distance: float, size: int, l2: float, idle: bool) -> str:
    drawn = f"farther than its own draws (√W = {math.sqrt(size):.3g})"
    if idle:
        drawn = "and the noise taken from their residuals is above the targets' own deviation, so that every distance looks small"
    return (
        f"the weights are {distance:.3g} standard deviations from the maximum of the posterior, {drawn}, and the approximation belongs to "
        f"that maximum: train further, with this prior, gb.train(net, X, T, l2={l2:.4g})"
    )


def _error_of_the_mean(t: Any, s: Any) -> float:
    """½ Σ_n s_n |t_n − mean|²: what a constant output reaches."""
    weight = np.ones(len(t)) if s is None else np.asarray(s, np.float64)
    wide = np.asarray(t, np.float64)
    return (
        float(0.5 * (weight[:, None] * (wide - np.average(wide, axis=0, weights=weight)) ** 2).sum()) if weight.any() else math.inf
    )


def _prior(value: float | str) -> float | None:
    """α, or None where it is to be chosen."""
    if isinstance(value, str):
        if value != "marginal_likelihood":
            raise unknown_name("prior_precision", value, ["marginal_likelihood"], "Or give a number.")
        return None
    return _positive("prior_precision", value)


def _raw_noise(net: Network, sigma: float) -> Any:
    """σ in the targets' units: a number, or (K,) where the outputs have different scales."""
    affine = net.model.meaning.scaling.outputs
    if affine is None:
        return sigma
    return sigma * (affine.scale if (affine.scale != affine.scale[0]).any() else float(affine.scale[0]))


def _scaled_noise(net: Network, noise: Any) -> Any:
    """σ in the engine's units; the caller's is in the targets'."""
    affine = net.model.meaning.scaling.outputs
    if noise is None or affine is None:
        return noise
    if (affine.scale != affine.scale[0]).any():
        raise ConfigError(
            f"noise={noise!r}, and the outputs have different scales ({affine.scale.min():g} to {affine.scale.max():g}), so that one σ "
            "is not the same for all; leave noise out to have it found"
        )
    return _positive("noise", noise) / float(affine.scale[0])


def _noise_precision(noise: float | None, regression: bool, error: str) -> float | None:
    """β, or None where it is to be chosen."""
    if regression:
        return None if noise is None else _positive("noise", noise, power=2) ** -2
    if noise is not None:
        raise ConfigError(f"noise={noise!r} is the σ of a regression; error={error!r} is a log likelihood without one")
    return 1.0


def _positive(name: str, value: Any, power: int = 1) -> float:
    """A float whose power, and one over it, float64 can hold."""
    try:
        number = as_number(name, value, above=0)
    except DataError as problem:
        raise ConfigError(f"{name}={shown(value)}; it must be a positive number") from problem
    limit = 1e300 ** (1 / power)
    if not 1 / limit < number < limit:
        raise ConfigError(f"{name}={shown(value)} is beyond what float64 can square or divide by; change the units")
    return number


def _likelihood(net: Network, t: Any, s: Any, regression: bool) -> tuple[int, float, float]:
    """(N K, the part of ln p(T) that depends on the data alone, E from rounding alone), samples of weight 0 left out."""
    k = t.shape[1]
    t = np.asarray(t, np.float64)
    weight = np.ones(len(t)) if s is None else np.asarray(s, np.float64)
    counted = weight > 0
    constant = resolution = 0.0
    if regression:
        constant = 0.5 * k * float(np.log(weight[counted]).sum())
        resolution = 0.5 * float((weight[:, None] * (ROUNDINGS * np.finfo(np.float64).eps * t) ** 2).sum())
        if (affine := net.model.meaning.scaling.outputs) is not None:  # a density of t, not of t / scale
            constant -= int(np.count_nonzero(counted)) * float(np.log(affine.scale).sum())
    elif net.error_function.name == "poisson":
        constant = -float(sum(w * math.lgamma(v + 1) for w, row in zip(weight, t, strict=True) for v in row))
    return int(np.count_nonzero(counted)) * k, constant, resolution
