"""Reads a .out table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.extend import DataError, FileFormatError, NotSupportedError, read_start, read_text
from graphbp_wann.activations import ACTIVATIONS

__all__ = ["check_counts", "description", "read", "sniff", "suffixes"]

Array = npt.NDArray[np.float64]

suffixes = (".out",)
description = "weight-agnostic network (google/brain-tokyo-workshop): a table of weights and activation numbers"


def sniff(path: Path) -> bool:
    """Whether the first line is a row of at least four numbers."""
    cells = read_start(path, 1 << 16).partition("\n")[0].split(",")
    try:
        return len([float(cell) for cell in cells[:4]]) == 4
    except ValueError:
        return False


def read(path: str | os.PathLike[str], *, inputs: int | None = None, outputs: int | None = None) -> nx.DiGraph[int]:
    """The graph of a weight-agnostic network.

    Parameters
    ----------
    path : the .out file.
    inputs, outputs : how many nodes of the table are inputs (after the bias) and outputs (the last ones).

    Raises
    ------
    FileFormatError : not such a table, a connection against the order of the nodes, an activation number that does not exist.
    DataError : `inputs` or `outputs` missing, or contradicted by the table.
    NotSupportedError : an input with an activation.
    """
    table = _table(Path(path))
    weight, kind = np.nan_to_num(table[:, :-1]), _activations(path, table[:, -1])
    backward = np.argwhere(np.tril(weight))
    if len(backward):
        i, j = backward[0]
        raise FileFormatError(
            f"{path}: the connection {i} -> {j} runs against the order of evaluation; is this a feed-forward network?"
        )
    n = len(weight)
    D, K = check_counts(path, weight, inputs, outputs)
    odd = [i for i in range(D + 1) if kind[i] != 1]
    if odd:
        what = f"input {odd[0]}" if odd[0] else "the bias, node 0,"
        raise NotSupportedError(
            f"{path}: {what} has activation {ACTIVATIONS[kind[odd[0]]]!r} ({kind[odd[0]]}); an input's value is X itself"
        )

    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(1, D + 1), role="input")
    for j in range(D + 1, n):
        graph.add_node(j, activation=ACTIVATIONS[kind[j]], role="hidden" if j < n - K else "output")
        if weight[0, j] or np.signbit(weight[0, j]):  # −0 is how a bias of 0 is written; +0 is none
            graph.nodes[j]["bias"] = float(weight[0, j]) + 0.0
    graph.add_weighted_edges_from((int(i), int(j), float(weight[i, j])) for i, j in np.argwhere(weight) if i)
    return graph


def _table(path: Path) -> Array:
    """The n × (n + 1) numbers of the file."""
    rows = [line.split(",") for line in read_text(path).splitlines() if line.strip()]
    n = len(rows)
    for i, row in enumerate(rows):
        if len(row) != n + 1:
            raise FileFormatError(
                f"{path}: row {i} has {len(row)} entries; {n} rows of {n + 1} make a network: is the file truncated?"
            )
    try:
        table = np.array(rows, np.float64)
    except ValueError as problem:
        raise FileFormatError(f"{path}: {problem}") from problem
    if n < 3 or np.isinf(table).any():
        raise FileFormatError(
            f"{path}: {'an infinite weight' if n >= 3 else f'{n} nodes, where bias, input and output make three'}"
        )
    return table


def _activations(path: Any, column: Array) -> list[int]:
    for i, number in enumerate(column.tolist()):
        if number not in ACTIVATIONS:
            raise FileFormatError(f"{path}: node {i} has activation {number:g}; the numbers run from 1 to {max(ACTIVATIONS)}")
    return [int(number) for number in column]


def check_counts(path: Any, weight: Array, inputs: int | None, outputs: int | None) -> tuple[int, int]:
    """What the caller says must fit the table: nothing leads into inputs, outputs feed nothing, and the next nodes are no such."""
    fed, feeds = (np.asarray(weight.any(axis=axis)) for axis in (0, 1))
    leading = int(np.argmax(fed)) - 1 if fed.any() else len(weight) - 1  # nodes after the bias that nothing leads into
    trailing = int(np.argmax(feeds[::-1])) if feeds.any() else len(weight) - 1
    looks = f"it looks like inputs={leading}, outputs={trailing}"
    if inputs is None or outputs is None:
        raise DataError(f"{path}: a .out file does not say how many inputs and outputs it has; give inputs= and outputs= ({looks})")
    for name, value in (("inputs", inputs), ("outputs", outputs)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1 or inputs + outputs >= len(weight):
            raise DataError(f"{path}: {name}={value!r} does not fit a table of {len(weight)} nodes, the bias among them; {looks}")
    if inputs > leading:
        raise DataError(f"{path}: with inputs={inputs}, connections lead into input {leading + 1}; {looks}")
    if inputs < leading and inputs + outputs < len(weight) - 1:
        raise DataError(f"{path}: with inputs={inputs}, nothing leads into node {inputs + 1}, as if it were an input; {looks}")
    if outputs > trailing:
        raise DataError(f"{path}: with outputs={outputs}, output {len(weight) - trailing - 1} feeds other nodes; {looks}")
    if outputs < trailing and inputs + outputs < len(weight) - 1:
        raise DataError(
            f"{path}: with outputs={outputs}, node {len(weight) - outputs - 1} feeds nothing, as if it were an output; {looks}"
        )
    return inputs, outputs
