"""`GraphClassifier`: two classes, several, or several labels at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from graphbp.extend import ConfigError, DataError, NotSupportedError, get_activation
from graphbp_sklearn.estimator import GraphEstimator, by_mini_batches
from graphbp_sklearn.samples import balanced

__all__ = ["GraphClassifier"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class GraphClassifier(ClassifierMixin, GraphEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """min_θ −Σ_n s_n ln p(t_n | x_n; θ) / Σ_n s_n + ½ l2 |w|² over any feed-forward DAG.

    Two classes take one sigmoid output (a DiGraph with two outputs: a softmax), more of them a softmax, a matrix of 0 and 1 (several
    labels a sample) one sigmoid each.

    Parameters
    ----------
    class_weight : class → its weight, or "balanced": every class counts alike, sample weights as repetitions; a list of them, one a
        column, for several labels.
    graph, hidden, ... : as of `GraphRegressor`.

    Attributes
    ----------
    classes_ : the labels, sorted; network_, history_, loss_curve_, n_iter_, n_features_in_, feature_names_in_.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = GraphClassifier(hidden=4, l2=1e-3, random_state=0, backend="numpy").fit(X, y)
    >>> model.score(X, y) > 0.97, model.predict_proba(X).shape, model.sensitivities(X).shape
    (True, (150, 3), (3, 4))
    """

    _regression = False

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
        class_weight: Any = None,
        optimizer_options: Mapping[str, Any] | None = None,
        standardize: bool = True,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        backend: str | None = None,
        dtype: str = "float64",
    ) -> None:
        super().__init__(
            graph,
            hidden=hidden,
            activation=activation,
            graph_options=graph_options,
            optimizer=optimizer,
            max_iter=max_iter,
            tol=tol,
            l2=l2,
            penalize_biases=penalize_biases,
            optimizer_options=optimizer_options,
            standardize=standardize,
            validation_fraction=validation_fraction,
            patience=patience,
            warm_start=warm_start,
            random_state=random_state,
            backend=backend,
            dtype=dtype,
        )
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @available_if(by_mini_batches)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> GraphClassifier:
        """One pass of the optimizer over these samples, from the weights and moments that the last call left.

        The first call needs `classes`: all labels that any call may bring (for several labels a sample, their number is y's columns).
        """
        if self.class_weight == "balanced":
            raise ConfigError('class_weight="balanced" needs all samples at once; give partial_fit a mapping from class to weight')
        return self._partial_fit(X, y, classes, sample_weight)  # type: ignore[no-any-return]

    # -- targets -------------------------------------------------------------------------------------------------------------------

    def _read_targets(self, y: Any, classes: Any, anew: bool) -> Floats:
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise NotSupportedError(
                "y has several columns of several classes (multiclass-multioutput); fit one GraphClassifier a column, as "
                "sklearn.multioutput.MultiOutputClassifier does"
            )
        several = kind == "multilabel-indicator"
        if not several:
            y = column_or_1d(y, warn=True)
        if anew:
            self._set_classes(y, classes, several)
        if several != self._several or (several and y.shape[1] != len(self.classes_)):
            raise DataError(f"y is {kind} of shape {np.shape(y)}, and the network was built for {self._wanted()}")
        if several:
            return np.asarray(y.toarray() if hasattr(y, "toarray") else y, np.float64)
        place = np.searchsorted(self.classes_, y)
        codes = np.minimum(place, len(self.classes_) - 1)
        if (strangers := self.classes_[codes] != y).any():
            raise DataError(f"y holds {y[strangers].tolist()[0]!r}, which is not among the classes {self.classes_.tolist()}")
        return np.asarray(codes[:, None], np.float64)

    def _wanted(self) -> str:
        return f"{len(self.classes_)} labels a sample" if self._several else f"one of {len(self.classes_)} classes a sample"

    def _set_classes(self, y: Array, classes: Any, several: bool) -> None:
        self.classes_ = np.arange(y.shape[1]) if several else np.unique(y if classes is None else np.asarray(classes))
        self._several = several
        if not several and len(self.classes_) < 2:
            raise DataError(f"y holds one class, {self.classes_.tolist()[0]!r}; a classifier needs samples of two classes at least")

    def _weigh_classes(self, t: Floats, s: Floats) -> Floats:
        weights = self.class_weight if self._several and isinstance(self.class_weight, list) else [self.class_weight] * t.shape[1]
        if len(weights) != t.shape[1]:
            raise ConfigError(
                f"class_weight is a list of {len(weights)}, and y has {t.shape[1]} columns; give one mapping a column"
            )
        labels = np.array([0, 1]) if self._several else self.classes_
        out = s
        for codes, weight in zip(t.T.astype(np.int64), weights, strict=True):
            if weight is None:
                continue
            balance = isinstance(weight, str) and weight == "balanced"
            each = balanced(codes, len(labels), s) if balance else compute_class_weight(weight, classes=labels, y=labels)
            out = out * each[codes]
        return out

    def _require_all(self, t: Floats) -> None:
        if not self._several and len(present := np.unique(t)) == 1:
            only = self.classes_.tolist()[int(present[0])]
            raise DataError(f"only one class, {only!r}, has samples that weigh anything; two classes are needed")

    def _targets(self, t: Floats) -> Floats:
        return np.eye(len(self.classes_))[t[:, 0].astype(np.int64)] if self._kind == "softmax" else t

    def _outputs(self) -> tuple[dict[int, str], list[Any] | None]:
        n = len(self.classes_)
        if self._several:
            return {n: "sigmoid"}, None
        names = self.classes_.tolist()
        named = names if all(isinstance(name, str | bool | int | float) for name in names) else None
        return {**({1: "sigmoid"} if n == 2 else {}), n: "softmax"}, named

    # -- predictions ---------------------------------------------------------------------------------------------------------------

    def _probabilities(self, a: Floats) -> Floats:
        return np.asarray(get_activation(self._kind).f(a.T).T)

    def decision_function(self, X: Any) -> Floats:
        """The outputs' pre-activations, which do not saturate.

        ln(p / (1 − p)) of `classes_[1]` (N,) for two classes, or of each of several labels (N, K); for more classes (N, C) ln p up to a
        constant of the sample.
        """
        net, X = self._engine(X)
        a = np.asarray(net.forward(X), np.float64)
        if self._several or len(self.classes_) > 2:
            return a
        return a[:, 0] if a.shape[1] == 1 else a[:, 1] - a[:, 0]

    def predict_proba(self, X: Any) -> Floats:
        """p (N, C) of each class, or (N, K) of each of several labels."""
        net, X = self._engine(X)
        a = np.asarray(net.forward(X), np.float64)
        return self._probabilities(a if a.shape[1] > 1 or self._several else np.column_stack([-a, a]))

    def predict(self, X: Any) -> Array:
        """The most probable class of each sample (N,); of several labels, 1 where p > ½ (N, K)."""
        scores = self.decision_function(X)
        if self._several:
            return (scores > 0).astype(np.int64)
        return np.asarray(self.classes_[(scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)])

    def _derivative(self, X: Any) -> Floats:
        net, X = self._engine(X)
        p, slope = self._probabilities(np.asarray(net.forward(X), np.float64)), np.asarray(net.jacobian(X), np.float64)
        if self._kind == "sigmoid":
            return np.asarray((p * (1 - p))[:, :, None] * slope)
        return np.asarray(p[:, :, None] * (slope - np.einsum("nc,ncd->nd", p, slope)[:, None]))
