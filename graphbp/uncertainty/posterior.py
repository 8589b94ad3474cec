"""The Gaussian posterior and its predictions, linearised in θ: a(x; θ) ≈ a(x; θ*) + J (θ − θ*), so a ~ N(a*, J A⁻¹ Jᵀ)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import one_of
from graphbp.foreign import as_count, generator
from graphbp.heads import HeadGroup
from graphbp.memory import check_memory
from graphbp.mixture import error_at
from graphbp.uncertainty.curvature import Precision
from graphbp.uncertainty.moments import against_the_others, first_order, largest_variance, log_normal, monte_carlo
from graphbp.uncertainty.outputs import Outputs

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["Fit", "Posterior", "Prediction"]

KINDS = {"real": "value", "probability": "probability", "distribution": "class", "nonnegative": "count"}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """What is predicted for each sample; `mean, variance = posterior.predict(X)` works.

    Attributes
    ----------
    mean : (N, K) of y: class probabilities for a classifier.
    variance : (N, K) of y for what is not known about θ, without the noise of an observation.
    noise_variance : (N, K) of an observation t around y: σ² in a regression, y(1 − y) of a class, y of a count.
    kinds : (K,) what each output is: "value", "probability", "class" or "count".
    """

    mean: Array
    variance: Array
    noise_variance: Array
    kinds: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Array]:
        return iter((self.mean, self.variance))

    @property
    def total_variance(self) -> Array:
        """(N, K) of a new observation t: Var(y) + noise; for a class p(1 − p), which has both in it."""
        return self.variance + self.noise_variance

    @property
    def standard_deviation(self) -> Array:
        """√variance."""
        return np.sqrt(self.variance)


@dataclass(frozen=True)
class Fit:
    """What a posterior was made of, and how well it fits: attributes of `Posterior`."""

    weights: Array
    index: npt.NDArray[np.int64]
    hessian: str
    prior_precision: float
    log_marginal_likelihood: float
    distance_from_mode: float


class Posterior:
    """N(θ | θ*, A⁻¹), A = β H + α I; see `gb.laplace`.

    Attributes
    ----------
    weights : (W,) θ*, a copy: training the network further does not change the posterior.
    index : positions in θ of the W' parameters that the posterior is over (all, or the last layer's); the others stay at θ*.
    hessian : which H.
    prior_precision : α.
    noise : σ of a regression, or of the squared outputs among others, in the targets' units: (K,) where they have different scales;
        else None.
    log_marginal_likelihood : ln p(T | X, α, β).
    distance_from_mode : √(gᵀA⁻¹g) with g the gradient of βE + ½α|θ|²: how many standard deviations θ* is from the maximum of the
        posterior, to which the approximation belongs; train further, or with the l2 of this prior, where it is large.
    """

    def __init__(self, net: Network, outputs: Outputs, precision: Precision, fit: Fit, sigma: float | None, noise: Any) -> None:
        """`sigma` is that of the engine's scaled residuals, `noise` the same in the targets' units."""
        self._net, self._outputs, self._precision = net, outputs, precision
        self.weights, self.index, self.hessian, self.prior_precision = fit.weights, fit.index, fit.hessian, fit.prior_precision
        self.log_marginal_likelihood, self.distance_from_mode = fit.log_marginal_likelihood, fit.distance_from_mode
        self._sigma, self.noise = sigma, noise

    @cached_property
    def determined_parameters(self) -> float:
        """γ = W' − α tr A⁻¹, how many of the parameters in `index` the data determine; found when it is first asked for."""
        return max(0.0, len(self.index) - self.prior_precision * float(self.variances.sum()))

    @property
    def covariance(self) -> Array:
        """A⁻¹ (W', W') of the parameters `index`.  Raises `MemoryLimitError` where it would not fit."""
        return self._precision.covariance()

    @property
    def variances(self) -> Array:
        """(W',) of each parameter of `index`: the diagonal of A⁻¹."""
        return self._precision.variances()

    def sample(self, n: int, seed: int = 0) -> Array:
        """(n, W) draws of θ."""
        n = as_count("n", n, 1)
        check_memory(8 * 2 * n * len(self.weights), f"{n:,} draws of {len(self.weights):,} parameters", "it with a smaller n")
        white = generator(seed).standard_normal((n, len(self.index)))
        draws = np.tile(self.weights, (n, 1))
        draws[:, self.index] += self._precision.colour(white)
        return draws

    def output_distribution(self, X: Any) -> tuple[Array, Array]:
        """Mean (N, K) and covariance (N, K, K) of the outputs' pre-activations a."""
        x = self._net.model.inputs(X)
        a = self._outputs.values(x)
        covariance = np.empty((*a.shape, a.shape[1]))
        for part, jacobian in self._outputs.chunks(x):
            covariance[part] = self._precision.spread(jacobian)
        return a, covariance

    def predict(self, X: Any, *, method: str = "probit", n_samples: int = 1000, seed: int = 0) -> Prediction:
        """Mean and variance of y, linearised in θ.

        An identity output, or any that is not the canonical one of its error: mean h(a*), variance h'² Var(a).
        Sigmoid and softmax under their canonical error: mean h(a* / √(1 + π Var(a) / 8)), variance of h to first order
        (method="probit"; MacKay 1992), or both by `n_samples` seeded draws of a (method="monte_carlo").  A softmax does not see what
        its logits have in common, so a* is then taken around their mean, and Var(a_k) is that of a_k against the mean of the others:
        for two classes, exactly what a sigmoid of the difference gives.
        exp under "poisson": mean and variance of the log-normal y; inf where float64 cannot hold them.

        What lies between two bounds, as probabilities and tanh do, varies by at most (mean − lower)(upper − mean), p(1 − p) of a
        probability: where Var(a) is so large that the first order exceeds it, the variance is this bound.
        """
        one_of("method", method, ["probit", "monte_carlo"])
        n_samples, rng = as_count("n_samples", n_samples, 1), generator(seed)
        a, covariance = self.output_distribution(X)
        kinds = tuple(KINDS[error_at(self._net.error_function, k).targets] for k in range(a.shape[1]))
        out = Prediction(np.empty_like(a), np.empty_like(a), np.empty_like(a), kinds)
        draws = n_samples if method == "monte_carlo" else 0
        for head in self._outputs.heads:
            p = head.positions
            mean, variance, noise = self._head(head, a[:, p], covariance[:, p][:, :, p], draws, rng)
            out.mean[:, p], out.variance[:, p], out.noise_variance[:, p] = mean, variance, noise
        return self._in_own_units(out)

    def _in_own_units(self, out: Prediction) -> Prediction:
        """Of scaled outputs: y = shift + scale · h(a)."""
        affine = self._net.model.meaning.scaling.outputs
        if affine is None:
            return out
        squared = affine.scale**2
        return Prediction(affine.shift + affine.scale * out.mean, squared * out.variance, squared * out.noise_variance, out.kinds)

    def _head(
        self, head: HeadGroup, a: Array, covariance: Array, draws: int, rng: np.random.Generator
    ) -> tuple[Array, Array, Array | float]:
        """(mean, variance, noise variance) of one head's outputs."""
        v = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0.0)
        name = head.activation.name if head.canonical else ""
        if name == "exp":
            return log_normal(a, v)
        if draws and name in ("sigmoid", "softmax"):
            return monte_carlo(head, a, covariance, draws, rng)
        variance = first_order(head, a, covariance)
        if name in ("sigmoid", "softmax"):
            if head.coupled:
                a, v = against_the_others(a, covariance)
            a = a / np.sqrt(1 + math.pi / 8 * v)
        mean = head.activation.f(a.T).T
        most = largest_variance(head, a, mean)
        variance = np.minimum(variance, most)
        if head.error.targets in ("probability", "distribution"):
            # the variance of a class label is p (1 − p) in all, whatever share of it comes from θ
            return mean, variance, np.maximum(most - variance, 0.0)
        if head.error.name == "poisson":
            return mean, variance, mean
        return mean, variance, 0.0 if self._sigma is None or head.error.name != "sum_of_squares" else self._sigma**2

    @property
    def _parameters(self) -> str:
        w, free = len(self.weights), len(self.index)
        if free == w:
            return f"{w} parameter{'s' * (w != 1)}"
        return f"the {free} of {w} parameters that lead into outputs"

    def _noise(self, is_said: str) -> str:
        return "" if self.noise is None else f", {is_said}{np.array2string(np.asarray(self.noise), precision=4)}"

    def __str__(self) -> str:
        return (
            f"Laplace posterior over {self._parameters}, {self.hessian} Hessian\n"
            f"  prior precision α = {self.prior_precision:.4g}{self._noise('noise σ = ')}\n"
            f"  log marginal likelihood ln p(T | X) = {self.log_marginal_likelihood:.6g}\n"
            f"  γ = {self.determined_parameters:.1f} of {len(self.index)} parameters determined by the data\n"
            f"  weights {self.distance_from_mode:.3g} standard deviations from the mode"
        )

    def __repr__(self) -> str:
        return (
            f"<Posterior: N(θ*, A⁻¹) over {self._parameters}, {self.hessian} Hessian, α={self.prior_precision:.4g}{self._noise('σ=')}, "
            f"ln p(T | X)={self.log_marginal_likelihood:.6g}, {self.distance_from_mode:.3g} standard deviations from the mode>"
        )
