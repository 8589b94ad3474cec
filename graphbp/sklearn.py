"""`GraphClassifier`, `GraphRegressor`: networks as scikit-learn's estimators, from the plugin that has the door to it (`graphbp.doors`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphbp.doors import door

if TYPE_CHECKING:
    GraphClassifier: Any
    GraphRegressor: Any

__all__ = ["GraphClassifier", "GraphRegressor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'graphbp.sklearn' has no attribute {name!r}")
    return getattr(door("sklearn"), name)
