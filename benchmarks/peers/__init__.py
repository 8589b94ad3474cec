"""One module a peer.  Each function takes a network and data, imports the peer's library, and returns a `Run` that is ready to time."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.outcome import MissingError

__all__ = ["need"]

_INSTALL = 'pip install "graphbp[bench]"'


def need(module: str) -> Any:
    """The module, or `MissingError` with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise MissingError(f"{module.partition('.')[0]} is not installed", _INSTALL) from problem
