"""Fitted estimators of scikit-learn as networks of layer nodes: x ─► h1 ─► ... ─► y, with its weights to the last digit.

A `StandardScaler` before the estimator, z = (x − mean_) / scale_, is `shift` and `scale` of the node "x": raw X in, the same predictions out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from graphbp.extend import DataError, Network, NotSupportedError
from graphbp_sklearn.estimator import GraphEstimator

__all__ = ["from_sklearn"]

Array = npt.NDArray[np.float64]

KINDS = {"identity": "identity", "logistic": "sigmoid", "relu": "relu", "softmax": "softmax", "tanh": "tanh", "exp": "exp"}
"""scikit-learn's activations and ours."""
ERRORS = {"identity": "sum_of_squares", "sigmoid": "binary_cross_entropy", "softmax": "cross_entropy", "exp": "poisson"}
"""The error that goes with an output."""
LINEAR = (LinearRegression, Ridge, Lasso, ElasticNet)


def from_sklearn(estimator: Any, *, backend: str | None = None, dtype: Any = None) -> Network:
    """See `gb.from_sklearn`."""
    steps, last = _steps(estimator)
    _require_fitted(last)
    shift, scale = _scaling(steps)
    if isinstance(last, GraphEstimator):
        if steps:
            raise NotSupportedError(
                "a graphbp estimator scales by itself: gb.from_sklearn(pipeline[-1]) takes it without the steps before it"
            )
        return last.network_.to(backend, last.network_.dtype if dtype is None else dtype)
    weights, biases, kinds, classes = _layers(last)
    names = getattr(steps[0] if steps else last, "feature_names_in_", None)
    graph = _graph(weights, biases, kinds)
    if names is not None:
        graph.nodes["x"]["columns"] = names.tolist()
    if shift is not None:
        graph.nodes["x"].update(shift=shift, scale=scale)
    if classes is not None:
        graph.nodes["y"]["classes"] = classes
    return Network(graph, error=ERRORS[kinds[-1]], backend=backend, dtype=dtype)


def _steps(estimator: Any) -> tuple[list[Any], Any]:
    """(what comes before it in a pipeline, the last estimator)."""
    if not isinstance(estimator, Pipeline):
        return [], estimator
    steps = [step for _, step in estimator.steps if step is not None and not (isinstance(step, str) and step == "passthrough")]
    if not steps:
        raise NotSupportedError("the pipeline has no estimator at its end")
    before, last = _steps(steps[-1])
    flat = [part for step in steps[:-1] for part in (_flat(step) if isinstance(step, Pipeline) else [step])]
    return [*flat, *before], last


def _flat(pipeline: Pipeline) -> list[Any]:
    before, last = _steps(pipeline)
    return [*before, last]


def _require_fitted(estimator: Any) -> None:
    try:
        check_is_fitted(estimator)
    except NotFittedError as problem:
        raise DataError(f"this {type(estimator).__name__} is not fitted: fit it first") from problem
    except TypeError as problem:  # no estimator at all
        raise _unknown(estimator) from problem


def _unknown(estimator: Any) -> NotSupportedError:
    kind = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
    return NotSupportedError(
        f"gb.from_sklearn has no network for {kind}; it takes a fitted MLPClassifier, MLPRegressor, LogisticRegression, LinearRegression, "
        "Ridge, Lasso or ElasticNet, also at the end of a Pipeline of StandardScalers"
    )


def _scaling(steps: Sequence[Any]) -> tuple[Array | None, Array | None]:
    """x = shift + scale · z of all scalers one after another; None without any."""
    shift, scale = None, None
    for step in steps:
        if not isinstance(step, StandardScaler):
            raise NotSupportedError(
                f"the pipeline has a {type(step).__name__} before its estimator, and a network's inputs are scaled as StandardScaler does; "
                "give gb.from_sklearn(pipeline[-1]), which takes what comes out of it"
            )
        _require_fitted(step)
        n = step.n_features_in_
        mean = np.zeros(n) if step.mean_ is None or not step.with_mean else np.asarray(step.mean_, np.float64)
        width = np.ones(n) if step.scale_ is None else np.asarray(step.scale_, np.float64)
        shift, scale = (mean, width) if shift is None or scale is None else (shift + scale * mean, scale * width)
    return shift, scale


def _layers(last: Any) -> tuple[list[Array], list[Array], list[str], list[Any] | None]:
    """(W (units, sources), b, activations) of each layer; the classes' names."""
    if isinstance(last, MLPClassifier | MLPRegressor):
        weights = [np.asarray(w, np.float64).T for w in last.coefs_]
        biases = [np.asarray(b, np.float64) for b in last.intercepts_]
        kinds = [KINDS[last.activation]] * (len(weights) - 1) + [KINDS[last.out_activation_]]
        one_label = isinstance(last, MLPClassifier) and (last.out_activation_ == "softmax" or last.n_outputs_ == 1)
        return weights, biases, kinds, last.classes_.tolist() if one_label else None
    if isinstance(last, LogisticRegression):
        return _logistic(last)
    if isinstance(last, LINEAR):
        w = np.atleast_2d(_dense(last.coef_))
        return [w], [np.broadcast_to(np.asarray(last.intercept_, np.float64), (len(w),)).copy()], ["identity"], None
    raise _unknown(last)


def _logistic(last: LogisticRegression) -> tuple[list[Array], list[Array], list[str], list[Any]]:
    w, b = _dense(last.coef_), np.asarray(last.intercept_, np.float64)
    how, several = getattr(last, "multi_class", "deprecated"), len(last.classes_) > 2
    if several and (how == "ovr" or last.solver == "liblinear"):
        raise NotSupportedError(
            "this LogisticRegression has a model for each class (one against the rest) and makes their probabilities sum to 1 afterwards, "
            "which is no softmax; fit one with another solver"
        )
    if how == "multinomial" and not several:  # a softmax over −a and a
        w, b = 2 * w, 2 * b
    return [w], [np.broadcast_to(b, (len(w),)).copy()], ["softmax" if several else "sigmoid"], last.classes_.tolist()


def _dense(coefficients: Any) -> Array:
    return np.asarray(coefficients.toarray() if hasattr(coefficients, "toarray") else coefficients, np.float64)


def _graph(weights: Sequence[Array], biases: Sequence[Array], kinds: Sequence[str]) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_node("x", role="input", units=weights[0].shape[1])
    below = "x"
    for layer, (w, b, kind) in enumerate(zip(weights, biases, kinds, strict=True), 1):
        name = "y" if layer == len(weights) else f"h{layer}"
        graph.add_node(name, units=len(b), activation=kind, bias=b, **({"role": "output"} if name == "y" else {}))
        graph.add_edge(below, name, weight=w)
        below = name
    return graph
