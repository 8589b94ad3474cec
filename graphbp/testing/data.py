"""Real networks: evolved and trained by others, read by the importer plugins, where their files are present.

The folder is `$GRAPHBP_DATA`, else `shared/data` beside the checkout.  Files are read in place.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from graphbp.testing.case import Case

__all__ = ["data_dir", "real_cases"]

_NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "wann-swing": ("wann/swing.out", {"inputs": 5, "outputs": 1}, 21),
    "wann-biped": ("wann/biped.out", {"inputs": 24, "outputs": 4}, 9),
    "neat-xor-winner": ("neat/xor_winner.json", {}, 9),
    "neat-xor-evolved": ("neat/xor_evolved_seed7.json", {}, 9),
    "neat-grown": ("neat/grown_seed7.json", {}, 9),
    "nnet-acas": ("acasxu/TestNetwork.nnet", {}, 6),
}


def data_dir() -> Path | None:
    """The folder with real networks and data, or None where there is none."""
    given = os.environ.get("GRAPHBP_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    return folder if folder.is_dir() else None


@cache
def real_cases() -> tuple[Case, ...]:
    """A case for every real network whose file is there and whose importer is installed."""
    folder = data_dir()
    if folder is None:
        return ()
    from graphbp.files.dispatch import formats

    readers = {row.name for row in formats() if row.read_options is not None}
    found = []
    for name, (path, options, n) in _NETWORKS.items():
        if (folder / path).is_file() and name.split("-")[0] in readers:
            found.append(Case(name, _Reader(folder / path, options), n_samples=n))
    return tuple(found)


class _Reader:
    """Builds the graph of a file; the generator is not needed."""

    def __init__(self, path: Path, options: dict[str, Any]) -> None:
        self._path, self._options = path, options

    def __call__(self, rng: np.random.Generator) -> nx.DiGraph[Any]:
        from graphbp.files import load_graph

        return load_graph(self._path, **self._options)
