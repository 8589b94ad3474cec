"""What both estimators share: from parameters and data to a trained network, and from the network to derivatives by the features."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import networkx as nx
import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from graphbp.extend import ConfigError, DataError, History, Network, as_count, as_flag, as_number, train, unknown_name
from graphbp_sklearn.samples import merged
from graphbp_sklearn.structures import ACTIVATION, HIDDEN_UNITS, dressed, fitting, from_name, is_structure, said_of_columns

__all__ = ["GraphEstimator", "by_mini_batches"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

OPTIMIZERS: dict[str, dict[str, Any]] = {"adam": {"learning_rate": 0.01}, "lbfgs": {}, "newton": {}, "sgd": {}}
"""The optimizers that take an l2, with what is other than `gb.train`'s default here."""
ERRORS = {"identity": "sum_of_squares", "sigmoid": "binary_cross_entropy", "softmax": "cross_entropy"}
"""The error under which such outputs are trained."""
MINI_BATCH = ("adam", "sgd")
SEEDS = 2**31 - 1


def by_mini_batches(estimator: Any) -> bool:
    """Whether `partial_fit` is there: the optimizer goes from batch to batch."""
    if estimator.optimizer not in MINI_BATCH:
        raise AttributeError(f"partial_fit goes with optimizer='adam' or 'sgd', and this has optimizer={estimator.optimizer!r}")
    return True


class GraphEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """min_θ Σ_n s_n E_n / Σ_n s_n + ½ l2 |w|² over the weights of a feed-forward DAG."""

    _regression: ClassVar[bool]
    n_features_in_: int
    network_: Network
    history_: History
    _calls: int

    def __init__(
        self,
        graph: str | nx.DiGraph[Any] = "layered",
        *,
        hidden: int | tuple[int, ...] | None = None,
        activation: str | None = None,
        graph_options: Mapping[str, Any] | None = None,
        optimizer: str = "lbfgs",
        max_iter: int = 200,
        tol: float = 1e-4,
        l2: float = 1e-3,
        penalize_biases: bool = False,
        optimizer_options: Mapping[str, Any] | None = None,
        standardize: bool = True,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        backend: str | None = None,
        dtype: str = "float64",
    ) -> None:
        self.graph = graph
        self.hidden = hidden
        self.activation = activation
        self.graph_options = graph_options
        self.optimizer = optimizer
        self.max_iter = max_iter
        self.tol = tol
        self.l2 = l2
        self.penalize_biases = penalize_biases
        self.optimizer_options = optimizer_options
        self.standardize = standardize
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.warm_start = warm_start
        self.random_state = random_state
        self.backend = backend
        self.dtype = dtype

    # -- what the two kinds of targets differ in ---------------------------------------------------------------------------------

    def _read_targets(self, y: Any, classes: Any, anew: bool) -> Floats:
        """y as columns of numbers; what they mean is set, or where it is set already, obeyed."""
        raise NotImplementedError

    def _weigh_classes(self, t: Floats, s: Floats) -> Floats:
        """s with the weights of the classes."""
        return s

    def _require_all(self, t: Floats) -> None:
        """Refuse targets from which a fit, unlike a part of one, cannot learn what it should."""

    def _targets(self, t: Floats) -> Floats:
        """T (N, K) of the network from these columns."""
        return t

    def _outputs(self) -> tuple[dict[int, str], list[Any] | None]:
        """(the K that serve, the usual one first, with the activation for each of them; the names of the classes)."""
        raise NotImplementedError

    # -- fit -----------------------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on X (N, D) and y.

        A row of weight s counts as s rows; rows may come in any order: the same bits come out (see the package).

        Raises
        ------
        ValueError : X, y or a parameter; graphbp's errors are such.
        """
        again = as_flag("warm_start", self.warm_start) and hasattr(self, "network_")
        x, t, s = self._samples(X, y, None, sample_weight, anew=not again, first=True)
        self._require_all(t)
        self._train(x, t, s, as_count("max_iter", self.max_iter, 1), again)
        self._data = (x, t, s) if self._regression else None  # what return_std needs
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> Any:
        first = not hasattr(self, "network_")
        x, t, s = self._samples(X, y, classes, sample_weight, anew=first, first=first)
        self._train(x, t, s, 1, not first)
        self._data = None
        return self

    def _samples(
        self, X: Any, y: Any, classes: Any, sample_weight: Any, *, anew: bool, first: bool
    ) -> tuple[Floats, Floats, Floats]:
        X, y = validate_data(self, X, y, reset=first, multi_output=True, dtype=np.float64, y_numeric=self._regression)
        s = np.asarray(_check_sample_weight(sample_weight, X, dtype=np.float64))
        if (s < 0).any():
            raise DataError(f"sample_weight[{int(np.argmax(s < 0))}] is {s[s < 0][0]:g}; weights are 0 or more")
        t = self._read_targets(y, classes, anew)
        s = self._weigh_classes(t, s)
        if not s.any():
            raise DataError("every sample has weight 0 (by sample_weight and class_weight); some must count")
        return merged(X, t, s)

    def _train(self, x: Floats, t: Floats, s: Floats, epochs: int, again: bool) -> None:
        if again and self.n_features_in_ != self.network_.schedule.n_inputs:
            raise DataError(
                f"warm_start: X has {self.n_features_in_} features, and the network {self.network_.schedule.n_inputs} inputs"
            )
        seed = int(check_random_state(self.random_state).randint(SEEDS))
        calls = self._calls + 1 if again else 0
        net = self.network_ if again else self._network(seed)
        state = (
            self.history_.state if again and self.optimizer in MINI_BATCH and self.history_.optimizer == self.optimizer else None
        )
        history = train(net, x, self._targets(t), epochs=epochs, seed=seed + calls, state=state or None, **self._how(s))
        self.network_, self.history_, self._calls = net, history, calls
        self.n_iter_, self.loss_curve_ = max(1, len(history)), list(history.error)
        self._linear = self._with_identity_outputs()
        if epochs > 1 and self.optimizer not in MINI_BATCH and history.reason.startswith("all "):
            warnings.warn(f"{self.optimizer}: {history.reason}; raise max_iter", ConvergenceWarning, stacklevel=3)

    def _how(self, s: Floats) -> dict[str, Any]:
        """What `gb.train` is told besides the data."""
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS, "(gb.train(estimator.network_, X, T, ...) has more.)")
        told = dict(self.optimizer_options or {})
        if taken := sorted({"l2", "penalize_biases", "epochs", "seed", "standardize"} & told.keys()):
            raise ConfigError(f"optimizer_options has {taken[0]!r}, which is a parameter of the estimator, or follows from one")
        tol, watched = as_number("tol", self.tol, least=0), dict[str, Any]()
        if self.optimizer not in MINI_BATCH:
            watched["tolerance"] = tol
        if self.validation_fraction:
            watched["validation_split"] = self.validation_fraction
        return {
            "optimizer": self.optimizer,
            "l2": as_number("l2", self.l2, least=0),
            "penalize_biases": self.penalize_biases,
            "standardize": self.standardize,
            "patience": self.patience,
            "sample_weight": None if (s == 1).all() else s,
            "progress": False,
            "metrics": {},
            **OPTIMIZERS[self.optimizer],
            **watched,
            **told,
        }

    def _network(self, seed: int) -> Network:
        kinds, classes = self._outputs()
        graph, self._kind = fitting(self._graph(next(iter(kinds)), seed), self.n_features_in_, kinds)
        names = getattr(self, "feature_names_in_", None)
        said_of_columns(graph, None if names is None else names.tolist(), classes)
        return Network(graph, error=ERRORS[self._kind], backend=self.backend, dtype=self.dtype)

    def _graph(self, n_outputs: int, seed: int) -> nx.DiGraph[Any]:
        kind = ACTIVATION if self.activation is None else self.activation
        if isinstance(self.graph, str):
            hidden = HIDDEN_UNITS if self.hidden is None else self.hidden
            return from_name(self.graph, self.n_features_in_, n_outputs, hidden, kind, self.graph_options or {}, seed)
        if self.hidden is not None or self.graph_options:
            what = f"hidden={self.hidden!r}" if self.hidden is not None else f"graph_options={self.graph_options!r}"
            raise ConfigError(
                f"{what} is for a generator by name, and graph is a {type(self.graph).__name__}, which is taken as it is"
            )
        if not isinstance(self.graph, nx.DiGraph):
            raise ConfigError(f"graph is a {type(self.graph).__name__}; give a networkx.DiGraph or the name of a generator")
        if is_structure(self.graph):
            return dressed(self.graph, kind, seed)
        if self.activation is not None:
            raise ConfigError(f"activation={self.activation!r} is for graphs without weights; this one's nodes say theirs")
        return self.graph

    # -- predict -------------------------------------------------------------------------------------------------------------------

    def _with_identity_outputs(self) -> Network:
        """The network in float64 whose outputs are their pre-activations where these are probabilities; the same θ."""
        if self._regression:
            return self.network_.to(dtype="float64")
        graph = self.network_.to_networkx()
        for node in self.network_.outputs:
            graph.nodes[node]["activation"] = "identity"
            for key in ("classes", "error", "error_weight"):
                graph.nodes[node].pop(key, None)
        return Network(graph, error="sum_of_squares", backend=self.network_.backend, dtype="float64")

    def _engine(self, X: Any) -> tuple[Network, Floats]:
        """(the float64 network at the weights that `network_` has now, X checked)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        self._linear.weights = np.asarray(self.network_.weights, np.float64)
        return self._linear, X

    def _derivative(self, X: Any) -> Floats:
        """∂/∂x (N, K, D) of what `input_gradient` is of."""
        raise NotImplementedError

    def input_gradient(self, X: Any) -> Floats:
        """∂y/∂x_i at every sample, exact: of a regressor's prediction, or of a classifier's probabilities.

        (N, D) where one number is predicted (for two classes: the probability of `classes_[1]`), else (N, K, D); in the units of X and y.
        """
        found = self._derivative(X)
        return found[:, 0] if found.shape[1] == 1 else found

    def sensitivities(self, X: Any, *, relative: bool = False) -> Floats:
        """√(mean_n (∂y/∂x_i)²), (D,) or (K, D): how much each feature moves the prediction, over the samples of X.

        With `relative`, times the standard deviation of the feature in X, so that features in different units compare.
        """
        found = np.sqrt(np.mean(self._derivative(X) ** 2, axis=0))
        if as_flag("relative", relative):
            found = found * np.std(validate_data(self, X, reset=False, dtype=np.float64), axis=0)
        return np.asarray(found[0] if len(found) == 1 else found)
