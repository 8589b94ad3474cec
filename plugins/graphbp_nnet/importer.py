"""Reads a .nnet file: comment lines, sizes, input limits, normalisation, then each layer's weight rows and biases."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy import sparse

from graphbp.extend import FileFormatError, read_start, read_text

__all__ = ["description", "read", "sniff", "suffixes"]

Array = npt.NDArray[np.float64]

suffixes = (".nnet",)
description = "fully connected ReLU network (.nnet of ACAS Xu, sisl/NNet)"


def sniff(path: Path) -> bool:
    """Whether the first line that is no comment has whole numbers."""
    lines = [line for line in read_start(path, 1 << 16).splitlines() if not line.startswith("//")]
    cells = [cell.strip() for cell in lines[0].split(",") if cell.strip()] if lines else []
    return len(cells) >= 3 and all(cell.isdigit() for cell in cells)


@dataclass(frozen=True)
class _File:
    """What a .nnet file says.  `mean` and `range` have one entry more than there are inputs: the outputs'; none if not asked for."""

    minimum: Array
    maximum: Array
    mean: Array
    range: Array
    weights: list[Array]
    biases: list[Array]


def read(path: str | os.PathLike[str], *, normalise: bool = True) -> nx.DiGraph[str]:
    """The graph of the network.

    Parameters
    ----------
    path : the .nnet file.
    normalise : put the file's normalisation around the trained layers, as frozen layers; else leave it to the caller.

    Raises
    ------
    FileFormatError : a line that is missing or too short, something that is no finite number, a range of 0.  The lines of means and
        ranges are looked at only if `normalise` needs them: files with older headers have other numbers there.
    """
    file = _parse(path, normalise)
    graph: nx.DiGraph[str] = nx.DiGraph()
    D, K = len(file.minimum), len(file.biases[-1])
    graph.add_node("x", role="input", units=D, minimum=file.minimum, maximum=file.maximum)
    below = "x"
    if normalise and ((file.mean[:-1] != 0) | (file.range[:-1] != 1)).any():
        mean, spread = file.mean[:-1], file.range[:-1]
        _add_frozen(graph, "x", "x_normalised", D, 1 / spread, -mean / spread, mean=mean, range=spread)
        below = "x_normalised"
    output_is_raw = not normalise or (file.mean[-1] == 0 and file.range[-1] == 1)
    last = len(file.weights) - 1
    for layer, (w, b) in enumerate(zip(file.weights, file.biases, strict=True)):
        name = f"h{layer + 1}" if layer < last else "y" if output_is_raw else "y_normalised"
        graph.add_node(name, units=len(b), activation="relu" if layer < last else "identity", bias=b)
        graph.add_edge(below, name, weight=w)
        below = name
    if not output_is_raw:
        m, r = file.mean[-1:], file.range[-1:]
        _add_frozen(graph, below, "y", K, np.repeat(r, K), np.repeat(m, K), mean=m, range=r)
    return graph


def _add_frozen(graph: nx.DiGraph[str], below: str, name: str, n: int, scale: Array, shift: Array, **file: Array) -> None:
    """z = scale · below + shift, unit by unit; what the file said stays with the node."""
    graph.add_node(name, units=n, bias=shift, trainable=False, **file)
    graph.add_edge(below, name, weight=sparse.csr_array(sparse.diags_array(scale)), trainable=False)


def _parse(path: str | os.PathLike[str], normalise: bool) -> _File:
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("//")]
    rows = _Rows(path, lines)
    n_layers, D, K, _ = rows.whole("the number of layers, inputs, outputs and the largest layer", 4)
    sizes = rows.whole("the layer sizes", n_layers + 1)
    rows.take("a flag that is not used any more")
    if sizes[0] != D or sizes[-1] != K:
        raise FileFormatError(f"{path}: the layer sizes {sizes} do not start with {D} inputs and end with {K} outputs")
    needed = 4 + 2 * sum(sizes[1:])
    if len(lines) - rows.position != needed:
        raise FileFormatError(
            f"{path}: layers of {sizes} units need {needed} more lines, and {len(lines) - rows.position} are there; is the file truncated?"
        )
    minimum, maximum = (rows.numbers(f"the {what} of the inputs", D) for what in ("minima", "maxima"))
    mean, spread = (_normalisation(rows, what, D, normalise) for what in ("means", "ranges"))
    if not spread.all():
        raise FileFormatError(f"{path}: a range of 0; inputs are divided by their range")
    weights, biases = [], []
    for layer, (m, n) in enumerate(pairwise(sizes), 1):
        weights.append(np.array([rows.numbers(f"row {i} of layer {layer}'s weights", m) for i in range(n)]))
        biases.append(np.array([rows.numbers(f"bias {i} of layer {layer}", 1)[0] for i in range(n)]))
    return _File(minimum, maximum, mean, spread, weights, biases)


def _normalisation(rows: _Rows, what: str, D: int, normalise: bool) -> Array:
    """D + 1 numbers, or none where nothing is made of them."""
    if not normalise:
        rows.take(f"the {what} of inputs and outputs")
        return np.empty(0)
    hint = "; files with older headers have other numbers there: normalise=False reads the network alone"
    return rows.numbers(f"the {what} of inputs and outputs", D + 1, hint)


class _Rows:
    """The lines of the file, each taken once as so many numbers."""

    def __init__(self, path: Any, lines: list[str]) -> None:
        self._path, self._lines, self.position = path, lines, 0

    def take(self, what: str) -> list[str]:
        if self.position == len(self._lines):
            raise FileFormatError(f"{self._path} ends before {what}")
        self.position += 1
        return [cell.strip() for cell in self._lines[self.position - 1].split(",") if cell.strip()]

    def numbers(self, what: str, count: int, hint: str = "") -> Array:
        cells = self.take(what)
        try:
            row = np.array(cells, np.float64)
        except ValueError as problem:
            raise FileFormatError(f"{self._path}: {what}: {problem}") from problem
        if len(row) != count or not np.isfinite(row).all():
            raise FileFormatError(
                f"{self._path}: {what} must be {count} finite numbers, and {len(row)} stand there: {', '.join(cells[:6])}{hint}"
            )
        return row

    def whole(self, what: str, count: int) -> list[int]:
        row = self.numbers(what, count)
        if ((row < 1) | (row != np.floor(row)) | (row > 2**31)).any():
            raise FileFormatError(f"{self._path}: {what} must be whole numbers of at least 1, not {row.tolist()}")
        return [int(value) for value in row]
