"""The Numba backend's ways through a network, each taken by small networks too: its thresholds are lowered while a case runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

__all__ = ["PATHS", "forced"]


def _every_piece(schedule: Any, layered: bool) -> Any:
    """Blocks for every network whose rows are not combined."""
    find_pieces = importlib.import_module("graphbp_numba.blocks.pieces").find_pieces
    return None if len(schedule.combinations) else find_pieces(schedule)


NO_BLOCKS = {"executable.worthwhile_pieces": lambda schedule, layered: None}
PATHS = {
    "": {},
    "tiles": NO_BLOCKS | {"work.choice.FEW_EDGES": -1, "work.choice.TASK_EDGES": 8},
    "levels": NO_BLOCKS | {
        "work.choice.FEW_EDGES": -1, "work.choice.PART_EDGES": 4, "work.choice.SHARE": 0.0, "levels.path.PART_EDGES": 4
    },
    "layers": NO_BLOCKS | {"executable.prefers_layers": lambda schedule: True, "layers.blocks.BATCH": 64, "layers.work.PANEL": 64},
    "stages": NO_BLOCKS | {
        "work.choice.FEW_EDGES": -1, "tiles.stages.STAGE_BYTES": 256, "tiles.stages.WORTH_BYTES": 0, "tiles.path.TASK_SAMPLES": 32
    },
    "blocks": {
        "executable.worthwhile_pieces": _every_piece, "executable.FEW_BLOCK_EDGES": -1, "blocks.path.TASK_COST": 8, "blocks.path.PARTITION_SAMPLES": 1
    },
}  # fmt: skip
"""Path → the names in `graphbp_numba` that stand for its thresholds; "" is what the backend chooses by itself."""


@contextmanager
def forced(backend: str, path: str) -> Iterator[None]:
    """The thresholds of a path, while networks are built and run."""
    if backend != "numba" or not path:
        yield
        return
    patches = []
    for name, value in PATHS[path].items():
        module, _, constant = name.rpartition(".")
        patches.append(mock.patch.object(importlib.import_module(f"graphbp_numba.{module}"), constant, value))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
