"""`gb.laplace`."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from graphbp.data import require_samples
from graphbp.diagnosis import cause_at
from graphbp.exceptions import ConfigError, DataError, NotSupportedError, NumericalError, one_of, shown, unknown_name
from graphbp.foreign import as_number
from graphbp.mixture import Mixture, error_at
from graphbp.network import require_network
from graphbp.progress import status
from graphbp.uncertainty.curvature import HESSIANS, Precision, find_curvature
from graphbp.uncertainty.evidence import Evidence
from graphbp.uncertainty.outputs import Outputs, weighed
from graphbp.uncertainty.posterior import Fit, Posterior
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
    noise : σ of a regression (error="sum_of_squares"), or None for the one that maximises ln p(T | X, α, σ).  Beside other errors it is
        that of the squared outputs alone, one posterior being over all heads: −ln p(T | θ) = E_squares/σ² + E_others.

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
    squared = _squared(net)
    regression, mixed = bool(squared.all()), bool(squared.any() and not squared.all())
    beta = _noise_precision(_scaled_noise(net, noise, squared), bool(squared.any()), net.error_function.name)
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
    require_samples(batch[0], "X", "a posterior")
    x, t, s = weighed(*batch)
    if mixed:
        return _of_mixed_heads(net, batch, squared, alpha, beta, hessian, theta, index)
    outputs = _outputs(net)
    error, gradient = _error_and_gradient(net, x, t, s, batch)
    with status("computing the curvature for the Laplace approximation"):
        curvature = find_curvature(hessian, net, outputs, x, t, s)
    to_numpy = net.model.backend.to_numpy
    count, constant, resolution = _likelihood(net, to_numpy(t), None if s is None else to_numpy(s))
    evidence = Evidence(len(index), float(error), float((theta[index] ** 2).sum()), count, constant, regression, resolution)
    chosen = regression and beta is None
    with status("maximising the evidence, factoring the precision"):
        alpha, beta = evidence.maximise(alpha, beta, lambda: curvature.eigenvalues)
        precision = curvature.precision(alpha, beta)
    distance = _distance(precision, beta * np.asarray(to_numpy(gradient), np.float64) + alpha * theta[index])
    idle = (
        chosen
        and 2 * distance > math.sqrt(len(index))
        and float(error) > _error_of_the_mean(to_numpy(t), None if s is None else to_numpy(s))
    )
    if idle or distance > math.sqrt(len(index)):
        advice = f"with this prior, gb.train(net, X, T, l2={alpha / (beta * _part_total(net, x, s) or 1.0):.4g})"
        warnings.warn(_far(distance, len(index), advice, idle), UserWarning, stacklevel=2)
    fit = Fit(theta, index, hessian, alpha, evidence.log(alpha, beta, precision.log_determinant), distance)
    sigma = 1 / math.sqrt(beta) if regression else None
    return Posterior(net.to(), outputs, precision, fit, sigma, None if sigma is None else _raw_noise(net, sigma, squared))


def _distance(precision: Precision, gradient: Any) -> float:
    """√(gᵀA⁻¹g)."""
    return math.sqrt(max(float(precision.spread(gradient[None, None, :])[0, 0, 0]), 0.0))


def _outputs(net: Network) -> Outputs:
    """Their pre-activations; refused where one feeds others through its activation."""
    outputs = Outputs(net)
    if outputs.feeding:
        raise NotSupportedError(
            f"gb.laplace needs the pre-activations of the outputs, and output {outputs.feeding[0]!r} also feeds other units through its "
            "activation; give the graph an identity unit fed by it as the output instead"
        )
    return outputs


def _error_and_gradient(net: Network, x: Any, t: Any, s: Any, whole: tuple[Any, Any, Any]) -> tuple[float, Any]:
    """E and ∂E/∂θ, refused where E is not finite; `whole` has the samples of weight 0 too, so that rows keep their numbers."""
    error, gradient = net.model.run.error_and_gradient(net.theta, x, t, s)
    if not math.isfinite(error):
        raise NumericalError(
            f"E = {error} at these weights: {cause_at(net.model, net.theta, *whole)}; the Laplace approximation needs a trained network"
        )
    return error, gradient


def _squared(net: Network) -> Any:
    """(K,) which outputs have noise: those of a sum of squares."""
    return np.array([error_at(net.error_function, k).name == "sum_of_squares" for k in range(net.schedule.n_outputs)])


def _part_total(net: Network, x: Any, s: Any) -> float:
    """What training divides by."""
    if s is None:
        return float(len(x))
    weights, heads = np.asarray(net.model.backend.to_numpy(s), np.float64), net.model.heads
    if weights.ndim == 2:
        return float((weights @ heads.share).sum())
    return float(weights.sum() * (1.0 if heads.plain else heads.share.sum()))


# -- squares beside other errors -------------------------------------------------------------------------------------------------


def _of_mixed_heads(
    net: Network,
    whole: tuple[Any, Any, Any],
    squared: Any,
    alpha: float | None,
    beta: float | None,
    hessian: str,
    theta: Any,
    index: Any,
) -> Posterior:
    """The posterior of β E_squares + E_others + ½ α |θ|²: β stands in the weights of the squared outputs, (N, K).

    Without a noise it is the β whose evidence is the highest, found by a search in ln β that computes the curvature each time.
    """
    outputs, batch = _outputs(net), weighed(*whole)
    found: dict[float, tuple[Any, ...]] = {}

    def at(ln_beta: float) -> float:
        if ln_beta not in found:
            found[ln_beta] = _mixed_at(net, outputs, whole, squared, alpha, math.exp(ln_beta), hessian, theta[index])
        return -float(found[ln_beta][0])

    with status("computing the curvature for the Laplace approximation"):
        best = math.log(beta) if beta is not None else _best_noise(net, batch, squared, at)
        at(best)
    log, alpha, precision, gradient = found[best]
    distance = _distance(precision, gradient + alpha * theta[index])
    if distance > math.sqrt(len(index)):
        l2 = alpha / _part_total(net, batch[0], batch[2])
        advice = f"the squared outputs with error_weight={math.exp(best):.4g} (1/σ²) and with this prior, l2={l2:.4g}"
        warnings.warn(_far(distance, len(index), advice), UserWarning, stacklevel=3)
    sigma = math.exp(-0.5 * best)
    fit = Fit(theta, index, hessian, alpha, log, distance)
    return Posterior(net.to(), outputs, precision, fit, sigma, _raw_noise(net, sigma, squared))


def _mixed_at(
    net: Network,
    outputs: Outputs,
    whole: tuple[Any, Any, Any],
    squared: Any,
    alpha: float | None,
    beta: float,
    hessian: str,
    theta: Any,
) -> tuple[float, float, Any, Any]:
    """(ln p(T | X, α, β), α, the precision, ∂(β E_squares + E_others)/∂θ) at one β."""
    batch = x, t, _ = weighed(*whole)
    to_numpy, backend = net.model.backend.to_numpy, net.model.backend
    weight = backend.asarray(_by_entry(net, batch) * np.where(squared, beta, 1.0), net.dtype)
    error, gradient = _error_and_gradient(net, x, t, weight, whole)
    curvature = find_curvature(hessian, net, outputs, x, t, weight)
    count, constant, _ = _likelihood(net, to_numpy(t), _by_entry(net, batch))
    constant += 0.5 * count * math.log(beta / (2 * math.pi))
    evidence = Evidence(len(theta), float(error), float((theta**2).sum()), count, constant, regression=False)
    found, _ = evidence.maximise(alpha, 1.0, lambda: curvature.eigenvalues)
    precision = curvature.precision(found, 1.0)
    return evidence.log(found, 1.0, precision.log_determinant), found, precision, np.asarray(to_numpy(gradient), np.float64)


def _by_entry(net: Network, batch: tuple[Any, Any, Any]) -> Any:
    """s (N, K) in host memory."""
    x, _, s = batch
    k = net.schedule.n_outputs
    weight = np.ones(len(x)) if s is None else np.asarray(net.model.backend.to_numpy(s), np.float64)
    return np.repeat(weight[:, None], k, axis=1) if weight.ndim == 1 else weight


def _best_noise(net: Network, batch: tuple[Any, Any, Any], squared: Any, minus_log: Any) -> float:
    """ln β of the highest evidence.  At a maximum 2 β E_squares = n − γ, the γ parameters that they determine being at most W and n."""
    from scipy.optimize import minimize_scalar

    weight = _by_entry(net, batch) * squared
    y = np.asarray(net.model.backend.to_numpy(net.model.run.forward(net.theta, batch[0])), np.float64)
    t = np.asarray(net.model.backend.to_numpy(batch[1]), np.float64)
    twice = float(np.where(weight > 0, weight * (y - t) ** 2, 0.0).sum())
    count = int(np.count_nonzero(weight))
    if twice <= float((weight * (ROUNDINGS * np.finfo(np.float64).eps * t) ** 2).sum()) or not count:
        raise NumericalError(
            "the evidence has no maximum in noise: the residuals of the squared outputs vanish; give noise a number"
        )
    top = math.log(count / twice)
    least = math.log(max(count - net.n_parameters, 1e-3 * count) / twice)
    found = minimize_scalar(minus_log, bounds=(least - 1e-6, top + 1e-6), method="bounded", options={"xatol": 1e-7, "maxiter": 60})
    return float(found.x)


def _far(distance: float, size: int, advice: str, idle: bool = False) -> str:
    drawn = f"farther than its own draws (√W = {math.sqrt(size):.3g})"
    if idle:
        drawn = "and the noise taken from their residuals is above the targets' own deviation, so that every distance looks small"
    return (
        f"the weights are {distance:.3g} standard deviations from the maximum of the posterior, {drawn}, and the approximation belongs to "
        f"that maximum: train further, {advice}"
    )


def _error_of_the_mean(t: Any, s: Any) -> float:
    """½ Σ_n s_n |t_n − mean|²: what a constant output reaches."""
    wide = np.asarray(t, np.float64)
    weight = np.ones(len(wide)) if s is None else np.asarray(s, np.float64)
    weight = weight[:, None] if weight.ndim == 1 else weight
    mean = (weight * wide).sum(axis=0) / np.maximum(weight.sum(axis=0), np.finfo(np.float64).tiny)
    return float(0.5 * (weight * (wide - mean) ** 2).sum()) if weight.any() else math.inf


def _prior(value: float | str) -> float | None:
    """α, or None where it is to be chosen."""
    if isinstance(value, str):
        if value != "marginal_likelihood":
            raise unknown_name("prior_precision", value, ["marginal_likelihood"], "Or give a number.")
        return None
    return _positive("prior_precision", value)


def _raw_noise(net: Network, sigma: float, squared: Any) -> Any:
    """σ in the targets' units: a number, or (K,) where the squared outputs have different scales, NaN at others."""
    affine = net.model.meaning.scaling.outputs
    if affine is None:
        return sigma
    scale = affine.scale[squared]
    return sigma * (np.where(squared, affine.scale, np.nan) if (scale != scale[0]).any() else float(scale[0]))


def _scaled_noise(net: Network, noise: Any, squared: Any) -> Any:
    """σ in the engine's units; the caller's is in the targets'."""
    affine = net.model.meaning.scaling.outputs
    if noise is None or affine is None or not squared.any():
        return noise
    scale = affine.scale[squared]
    if (scale != scale[0]).any():
        raise ConfigError(
            f"noise={noise!r}, and the outputs have different scales ({scale.min():g} to {scale.max():g}), so that one σ "
            "is not the same for all; leave noise out to have it found"
        )
    return _positive("noise", noise) / float(scale[0])


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


def _likelihood(net: Network, t: Any, s: Any) -> tuple[int, float, float]:
    """(targets with noise, the part of ln p(T) that depends on the data alone, E of those from rounding alone); of weight 0 none counts."""
    t, affine = np.asarray(t, np.float64), net.model.meaning.scaling.outputs
    weight = np.ones(len(t)) if s is None else np.asarray(s, np.float64)
    if weight.ndim == 1 and not isinstance(net.error_function, Mixture):
        return _likelihood_of_samples(net, t, s)
    weight = np.broadcast_to(weight[:, None], t.shape) if weight.ndim == 1 else weight
    count, constant, resolution = 0, 0.0, 0.0
    for k in range(t.shape[1]):
        error, here = error_at(net.error_function, k), weight[:, k] > 0
        w, v = weight[here, k], t[here, k]
        if error.name == "sum_of_squares":
            count += len(w)
            constant += 0.5 * float(np.log(w).sum()) - (0.0 if affine is None else len(w) * math.log(affine.scale[k]))
            resolution += 0.5 * float((w * (ROUNDINGS * np.finfo(np.float64).eps * v) ** 2).sum())
        elif error.name == "poisson":
            constant -= float(sum(a * math.lgamma(b + 1) for a, b in zip(w, v, strict=True)))
    return count, constant, resolution


def _likelihood_of_samples(net: Network, t: Any, s: Any) -> tuple[int, float, float]:
    """The same where all outputs of a sample have one error and one weight."""
    k, regression = t.shape[1], net.error_function.name == "sum_of_squares"
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
