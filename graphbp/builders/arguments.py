"""The arguments that all builders take: sizes, activations, nodes; each read, or refused by name."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

from graphbp.activations import get_activation
from graphbp.exceptions import DataError, GraphError, shown
from graphbp.foreign import as_count
from graphbp.links import fitting_activation
from graphbp.memory import check_memory

__all__ = ["as_nodes", "as_size", "check_activations", "check_room", "is_listed", "outputs_kind", "refuse_strangers"]

_BYTES_AN_EDGE = 300  # of networkx, and of a node about as many


def as_size(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`."""
    return as_count(name, value, least, error=GraphError)


def check_room(what: str, nodes: int, weights: int, single: bool) -> None:
    """Refuse a graph that would not fit before a part of it is built."""
    each = _BYTES_AN_EDGE if single else 8
    check_memory(nodes * _BYTES_AN_EDGE + weights * each, f"{what} of {weights:,} weights", "it with smaller sizes")


def outputs_kind(given: str | None, error: str | None) -> str:
    """The outputs' activation: the one given, else the canonical one of the error."""
    fitting = "identity" if error is None else fitting_activation(error)
    return fitting if given is None else given


def check_activations(kinds: list[Any]) -> list[str]:
    """The names, each of which is an activation's."""
    for kind in [k for k in kinds if not isinstance(k, str)] or dict.fromkeys(kinds):
        get_activation(kind)
    return [str(kind) for kind in kinds]


def is_listed(values: Any) -> bool:
    """Whether there is something to go through one by one, and it is no text."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    return isinstance(values, Iterable) and not isinstance(values, (str, bytes))


def as_nodes(what: str, nodes: Any) -> list[Any]:
    """The nodes that an argument lists, each of which could be one."""
    if not is_listed(nodes):
        raise DataError(f"{what}={shown(nodes)}; give a list of nodes")
    listed = nodes.tolist() if isinstance(nodes, np.ndarray) else list(nodes)
    for node in listed:
        if node is None or not isinstance(node, Hashable):
            raise DataError(f"{what} holds {shown(node)}, which cannot be a node")
    return listed


def refuse_strangers(what: str, given: Iterable[Hashable], labels: list[Any]) -> None:
    """Refuse names that are no node's."""
    known = set(labels)
    strangers = [node for node in given if node not in known]
    if strangers:
        raise DataError(f"{what} names {strangers[0]!r}, which is not a node of the graph ({len(strangers)} such names)")
