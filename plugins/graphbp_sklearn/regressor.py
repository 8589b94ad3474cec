"""`GraphRegressor`: numbers, one or several a sample, with standard deviations from the Laplace posterior."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if

from graphbp.extend import ConfigError, DataError, Network, NotSupportedError, Posterior, as_flag, laplace
from graphbp_sklearn.estimator import GraphEstimator, by_mini_batches

__all__ = ["GraphRegressor"]

Floats = npt.NDArray[np.float64]


class GraphRegressor(MultiOutputMixin, RegressorMixin, GraphEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """min_θ ½ Σ_n s_n |y(x_n; θ) − t_n|² / Σ_n s_n + ½ l2 |w|² over any feed-forward DAG.

    Parameters
    ----------
    graph : a `networkx.DiGraph` (inputs are X's columns in order), or "layered", "random_dag", "erdos_renyi", "watts_strogatz",
        "barabasi_albert", sized from the data (`graphbp_sklearn.structures`).
    hidden : units of a generator's graph: 32, or for "layered" one number a layer.
    activation : of hidden units, "tanh"; for a generator, or a DiGraph without weights.
    graph_options : what else the generator takes: `skips` of "layered" (True), `fan_in`, `density`, `model` ... of "random_dag", `p` of
        "erdos_renyi" (0.2), `k` and `p` of "watts_strogatz" (4, 0.25), `m` of "barabasi_albert" (2), `wide` of these three (True).
    optimizer : "lbfgs", "newton" on all samples at once; "adam", "sgd" by mini-batches, which `partial_fit` needs.
    max_iter : iterations, or passes over the data.
    tol : "lbfgs" and "newton" stop where what is left to fall is below this share of the error; mini-batches go on to `max_iter`, or by
        `patience`.
    l2, penalize_biases : ½ l2 |w|², of the weights alone unless biases are penalised too.
    optimizer_options : what else `gb.train` takes: `learning_rate` (adam: 0.01), `batch_size` (64; None: all), `tolerance` ...
    standardize : the network has X and y in units of their standard deviations, and the penalty with them; it keeps these constants (of
        the first batch, in `partial_fit`).
    validation_fraction, patience : hold out this share; stop after so many epochs without a lower error, at the best of them.
    warm_start : `fit` goes on from the weights (and moments) that are there.
    random_state : of drawn graphs and weights, held-out samples, the order of mini-batches.
    backend, dtype : as for `gb.Network`.  Predictions are computed in float64 whatever `dtype` is.

    Attributes
    ----------
    network_ : the trained `gb.Network`: Jacobians, Hessians, `check`, `save`, ...
    history_, loss_curve_, n_iter_ : of the training; n_features_in_, feature_names_in_.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GraphRegressor("watts_strogatz", hidden=8, l2=0.01, random_state=0, backend="numpy").fit(X, y)
    >>> mean, deviation = model.predict(X[:2], return_std=True)
    >>> mean.shape, deviation.shape, model.input_gradient(X[:2]).shape
    ((2,), (2,), (2, 10))
    """

    _regression = True

    @available_if(by_mini_batches)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> GraphRegressor:
        """One pass of the optimizer over these samples, from the weights and moments that the last call left."""
        return self._partial_fit(X, y, None, sample_weight)  # type: ignore[no-any-return]

    def _read_targets(self, y: Any, classes: Any, anew: bool) -> Floats:
        t = np.asarray(y, np.float64)
        shape = t.shape[1:]
        if not anew and shape != self._shape:
            raise DataError(f"y has shape {t.shape}, and the network was built for {('N', *self._shape)}")
        self._shape: tuple[int, ...] = shape
        return t.reshape(len(t), -1)

    def _outputs(self) -> tuple[dict[int, str], list[Any] | None]:
        return {self._shape[0] if self._shape else 1: "identity"}, None

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """y (N,), or (N, K) as it was in training; with `return_std` also the standard deviation of a new observation.

        √(J A⁻¹ Jᵀ + σ²): what is not known about the weights and the noise, by the Laplace posterior of the training set (`gb.laplace`)
        under the prior that `l2` stands for, σ² being the residuals' variance with the determined parameters' share taken off.  It is
        made when first asked for, W × W, or N·K × W where that is less.
        """
        net, X = self._engine(X)
        mean = np.asarray(net.forward(X), np.float64).reshape(len(X), *self._shape)
        if not as_flag("return_std", return_std):
            return mean
        return mean, self._deviation(net, X).reshape(mean.shape)

    def _derivative(self, X: Any) -> Floats:
        net, X = self._engine(X)
        return np.asarray(net.jacobian(X), np.float64)

    # -- how sure ------------------------------------------------------------------------------------------------------------------

    def _deviation(self, net: Network, X: Floats) -> Floats:
        held = getattr(self, "_posterior", None)
        if held is None or not np.array_equal(held[1].weights, net.weights):
            held = self._posterior = self._posterior_of(net)
        sigma, posterior = held
        engine = _without_scaling(net)
        shift, scale = _affine(net, "input")
        variance = posterior.predict((X - shift) / scale).variance
        return np.asarray(sigma * np.sqrt(variance + 1.0) * _affine(net, "output")[1], np.float64).reshape(
            len(X), engine.schedule.n_outputs
        )

    def _posterior_of(self, net: Network) -> tuple[float, Posterior]:
        """(σ, the posterior for σ = 1) in the network's own units: A⁻¹ = σ² (H + l2 Σ s I)⁻¹, so one curvature serves every σ."""
        if self._data is None:
            raise NotSupportedError(
                "return_std needs the training set, which partial_fit does not keep; gb.laplace(est.network_, X, T) takes one"
            )
        if not self.l2 > 0:
            raise ConfigError(f"return_std needs a prior, and l2={self.l2!r}: fit with an l2 above 0")
        x, t, s = self._data
        (shift, scale), (y_shift, y_scale) = _affine(net, "input"), _affine(net, "output")
        bare = _without_scaling(net)
        x, t, total = (x - shift) / scale, (t - y_shift) / y_scale, float(s.sum())
        hessian = "low_rank" if t.size < bare.n_parameters else "outer_product"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # its distance is for σ = 1
            posterior = laplace(bare, x, t, sample_weight=s, prior_precision=self.l2 * total, hessian=hessian, noise=1.0)
        freedom = total * t.shape[1] - posterior.determined_parameters
        if not freedom > 0:
            raise DataError(
                f"the samples weigh {total:g} rows in all, and the data determine {posterior.determined_parameters:.1f} parameters: that "
                "leaves no estimate of the noise; sample_weight counts repetitions"
            )
        sigma = math.sqrt(2 * bare.error(x, t, s) / freedom)
        self._warn_if_far(bare, (x, t, s), sigma)
        return sigma, posterior

    def _warn_if_far(self, net: Network, data: tuple[Floats, Floats, Floats], sigma: float) -> None:
        """Warn where the weights are farther from the minimum of what was trained than the posterior's own draws (√W)."""
        x, t, s = data
        alpha, theta = self.l2 * float(s.sum()), np.asarray(net.weights, np.float64)
        held = theta if self.penalize_biases else np.where(net.model.layout.biases_alone, 0.0, theta)
        g = net.gradient(x, t, s) + alpha * held
        distance = math.sqrt(float(net.outer_product_inverse(x, t, alpha, s).quadratic(g).item()))
        if distance > sigma * math.sqrt(len(theta)):
            warnings.warn(
                f"the weights are {distance / (sigma or 1.0):.3g} standard deviations from the minimum that the posterior is around; "
                "raise max_iter, or lower tol",
                ConvergenceWarning,
                stacklevel=5,
            )

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_posterior"}


def _affine(net: Network, what: str) -> tuple[Any, Any]:
    scaling = net.model.meaning.scaling
    affine = scaling.inputs if what == "input" else scaling.outputs
    return (0.0, 1.0) if affine is None else (affine.shift, affine.scale)


def _without_scaling(net: Network) -> Network:
    """The network between scaled numbers."""
    graph = net.to_networkx()
    for node in (*net.inputs, *net.outputs):
        for key in ("shift", "scale", "error", "error_weight"):
            graph.nodes[node].pop(key, None)
    return Network(graph, error="sum_of_squares", backend=net.backend, dtype="float64")
