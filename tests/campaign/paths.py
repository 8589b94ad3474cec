"""The Numba backend's ways through a network, each taken by small networks too: its thresholds are lowered while a case runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

__all__ = ["PATHS", "forced"]

PATHS = {
    "": {},
    "tiles": {"executable.FEW_EDGES": -1, "executable.GRAIN": 8},
    "levels": {"executable.FEW_EDGES": -1, "levels.GRAIN": 4, "levels.SHARE": 0.0},
    "layers": {"executable.prefers_layers": lambda schedule: True, "layers.BATCH": 64, "layers.PANEL": 64},
    "stages": {"executable.FEW_EDGES": -1, "stages.STAGE_BYTES": 256, "stages.WORTH_BYTES": 0, "executable.TASK_SAMPLES": 32},
}
"""Path → the names in `graphbp_numba` that stand for its thresholds; "" is what the backend chooses by itself."""


@contextmanager
def forced(backend: str, path: str) -> Iterator[None]:
    """The thresholds of a path, while networks are built and run."""
    if backend != "numba" or not path:
        yield
        return
    modules = {name: importlib.import_module(f"graphbp_numba.{name.split('.')[0]}") for name in PATHS[path]}
    patches = [mock.patch.object(modules[name], name.split(".")[1], value) for name, value in PATHS[path].items()]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
