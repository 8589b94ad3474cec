"""Doors: objects of other libraries become networks, by plugins found through entry points of the group `graphbp.doors`.

An entry point names a module by the library, `sklearn = "graphbp_sklearn"`; the module has a function `from_<library>(object, **options)`
that returns a `Network`, and whatever else it offers.  It is imported when its door is first opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphbp.exceptions import NotSupportedError
from graphbp.plugins import BROKEN, describe_failure, plugin_entries

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["DOORS", "door", "from_sklearn"]

DOORS = "graphbp.doors"


def door(library: str) -> Any:
    """The module behind a library's door.  Raises `NotSupportedError` with the command that would install what is missing."""
    entry = plugin_entries(DOORS).get(library)
    if entry is None:
        raise NotSupportedError(f'no installed plugin has a door to {library}: pip install "graphbp[{library}]"')
    try:
        return entry.load()
    except BROKEN as problem:
        raise _closed(library, entry.value, problem) from problem


def from_sklearn(estimator: Any, *, backend: str | None = None, dtype: Any = None) -> Network:
    """The network that predicts what a fitted scikit-learn estimator predicts.

    MLPClassifier, MLPRegressor, LogisticRegression, LinearRegression and those that have its form (Ridge, Lasso, ElasticNet), also at
    the end of a Pipeline of StandardScalers: their scaling becomes `shift` and `scale` of the network's inputs.  The names of features
    and classes come along.  `net.forward(X)` is `predict_proba(X)` (of two classes, the second's column), or `predict(X)`.

    Raises
    ------
    DataError : the estimator is not fitted.
    NotSupportedError : another estimator, or a step of a pipeline that is no scaling; also where scikit-learn is not installed.
    """
    module = door("sklearn")
    try:
        convert = module.from_sklearn
    except ImportError as problem:
        raise _closed("sklearn", module.__name__, problem) from problem
    net: Network = convert(estimator, backend=backend, dtype=dtype)
    return net


def _closed(library: str, where: str, problem: BaseException) -> NotSupportedError:
    return NotSupportedError(
        f'the door to {library} ({where}) cannot be opened: {describe_failure(problem)}; pip install "graphbp[{library}]"'
    )
