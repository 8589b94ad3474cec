"""scikit-learn, both ways: networks of any feed-forward DAG as estimators, and fitted estimators as networks.

    from graphbp.sklearn import GraphClassifier, GraphRegressor
    GraphClassifier("watts_strogatz", hidden=64).fit(X, y)         pipelines, grid search, partial_fit, class and sample weights
    net = gb.from_sklearn(fitted_mlp)                              the same predictions, and all derivatives

What happens in a fit:

    X, y ──validated──► labels as positions ──`samples`──► rows that are equal, merged; their weights added
                                                                  │
    graph, or a generator's name ──`structures`──► DiGraph ──► Network ──train──► network_

Merging is the invariant that makes a sample weight *equivalent to repetition*: two data sets that differ in the order of their rows, or in
whether a row stands twice or weighs 2, are one and the same problem afterwards, so every optimizer gives the same bits for both.

The network is trained in `dtype`, and predicts in float64 whatever that is.  scikit-learn is imported when one of the names below is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphbp_sklearn.classifier import GraphClassifier
    from graphbp_sklearn.converter import from_sklearn
    from graphbp_sklearn.regressor import GraphRegressor

__all__ = ["GraphClassifier", "GraphRegressor", "from_sklearn"]

_LAZY = {
    "GraphClassifier": "graphbp_sklearn.classifier",
    "GraphRegressor": "graphbp_sklearn.regressor",
    "from_sklearn": "graphbp_sklearn.converter",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'graphbp_sklearn' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
