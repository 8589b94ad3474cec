"""A network to start from that predicts several columns of a table, each by a head with its own error.

columns of targets ──`heads_for`──► a `NewHead` each: classes, units, error ──`put_heads`──► output nodes called like the columns
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from graphbp.cli.common import say
from graphbp.exceptions import DataError, unknown_name

if TYPE_CHECKING:
    from graphbp.error_functions import ErrorFunction
    from graphbp.tables import Column, Table

__all__ = ["NewHead", "heads_for", "put_heads", "refuse_unfit"]


@dataclass(frozen=True)
class NewHead:
    """An output node: its name, its error, and how many units it has; the classes of its target, or None."""

    name: str
    error: str
    units: int
    classes: tuple[Any, ...] | None


def heads_for(targets: Table, errors: str | Mapping[str, str] | None, skip: bool) -> list[NewHead]:
    """The head that fits each column of the targets, or serves the error that was named for it.

    Raises
    ------
    DataError : an error for no column, a missing target that is not to be skipped, an error that the column does not fit.
    """
    names = [targets.name(i) if targets.names is None else str(targets.names[i]) for i in range(targets.n_columns)]
    if isinstance(errors, Mapping):
        for name in errors:
            if name not in names:
                raise unknown_name("target", name, names)
    told = dict.fromkeys(names, errors) if not isinstance(errors, Mapping) else errors
    return [_head(targets, i, name, told.get(name), skip) for i, name in enumerate(names)]


def _head(targets: Table, i: int, name: str, error: str | None, skip: bool) -> NewHead:
    from graphbp.error_functions import get_error_function

    there = _present(targets, i, name, skip)
    takes_classes = error is not None and get_error_function(error).targets in ("distribution", "probability")
    classes = _classes(there, takes_classes)
    if classes is None:
        if takes_classes:
            raise DataError(
                f"--error {name}={error} takes classes, and {name} of {targets.source} holds numbers that are not whole"
            )
        return NewHead(name, error or "sum_of_squares", 1, None)
    error = error or ("binary_cross_entropy" if len(classes) == 2 else "cross_entropy")
    row = get_error_function(error)
    refuse_unfit(row, classes, targets.source, name)
    return NewHead(name, error, 1 if row.targets == "probability" else len(classes), tuple(classes))


def _present(targets: Table, i: int, name: str, skip: bool) -> Column:
    """The column without the rows where it is missing."""
    from graphbp.by_head import without_gaps

    column, missing = without_gaps(targets, i)
    if missing.any() and not skip:
        row = targets.row(int(np.argmax(missing)))
        raise DataError(f"{targets.source}: column {name!r} is missing in {row}; --missing skip leaves such targets out")
    if missing.all():
        raise DataError(f"{targets.source}: column {name!r} is missing in every row, so that there is nothing to fit a head to")
    return column


def _classes(column: Column, wanted: bool) -> list[Any] | None:
    """The classes that a column tells apart, None for a quantity."""
    from graphbp.classes import found_in

    values = column.values
    if column.categories is not None or values.dtype.kind not in "fiu":
        return list(found_in(values, column.categories, len(values)))
    return [int(value) for value in np.unique(values)] if wanted and bool((values == np.round(values)).all()) else None


def refuse_unfit(row: ErrorFunction, classes: Sequence[Any], source: str, name: str) -> None:
    """An error function that does not take so many classes, or none."""
    n = len(classes)
    if n < 2:
        raise DataError(f"{name} of {source} is {classes[0]!r} in every row; a classifier needs two classes or more to tell apart")
    if row.targets == "probability" and n > 2:
        raise DataError(
            f"--error {row.name} tells two classes apart, and {name} of {source} has {n}; --error cross_entropy takes them"
        )
    if row.targets not in ("distribution", "probability"):
        raise DataError(f"--error {row.name} takes numbers, and {name} of {source} holds labels; --error cross_entropy takes them")
    if n > 20:
        say(f"{name} has {n} classes, an output each")


def put_heads(graph: nx.DiGraph[Any], heads: Sequence[NewHead]) -> nx.DiGraph[Any]:
    """The graph with the units of its outputs, in their order, gathered into one node a head, called like it.

    An output layer is split by rows; output units that become one node keep just the edges that they have.
    """
    from graphbp.builders.arguments import outputs_kind

    outputs = [node for node, role in graph.nodes(data="role") if role == "output"]
    layer = "units" in graph.nodes[outputs[0]]  # a random DAG has one unit for one number
    taken = {head.name for head in heads}
    graph = nx.relabel_nodes(graph, {node: _free(node, taken) for node in graph.nodes if node not in outputs})
    out = graph.copy()
    out.remove_nodes_from(outputs)
    at = 0
    for head in heads:
        rows = slice(at, at + head.units)
        bias, weights = _rows(graph, outputs[0], rows) if layer else _gathered(graph, outputs[rows])
        attributes = {"units": head.units} if head.units > 1 else {}
        classes = {"classes": list(head.classes)} if head.classes is not None else {}
        single = head.units == 1
        out.add_node(
            head.name,
            role="output",
            activation=outputs_kind(None, head.error),
            bias=bias[0] if single else bias,
            **attributes,
            **classes,
        )
        for source, weight in weights.items():
            out.add_edge(source, head.name, weight=weight)
        at += head.units
    return out


def _free(node: Hashable, taken: set[str]) -> Hashable:
    """The name of a node, changed where a head has it."""
    name = node
    while name in taken:
        name = f"{name}_"
    return name


def _rows(graph: nx.DiGraph[Any], layer: Hashable, rows: slice) -> tuple[Any, dict[Hashable, Any]]:
    """Some units of a layer: biases, and source → their rows of its matrix."""
    return graph.nodes[layer]["bias"][rows], {u: w[rows] for u, _, w in graph.in_edges(layer, data="weight")}


def _gathered(graph: nx.DiGraph[Any], units: Sequence[Hashable]) -> tuple[Any, dict[Hashable, Any]]:
    """Unit nodes as one: biases, and source → a column of their weights, sparse where some have no edge from it."""
    from scipy.sparse import csr_array

    bias = np.array([graph.nodes[unit].get("bias", 0.0) for unit in units])
    weights: dict[Hashable, Any] = {}
    for source in dict.fromkeys(u for u, _ in graph.in_edges(units)):
        fed = [k for k, unit in enumerate(units) if graph.has_edge(source, unit)]
        values = [float(graph.edges[source, units[k]]["weight"]) for k in fed]
        column = csr_array((values, (fed, [0] * len(fed))), shape=(len(units), 1))
        weights[source] = values[0] if len(units) == 1 else column if len(fed) < len(units) else column.toarray()
    return bias, weights
