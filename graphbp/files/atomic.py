"""Files written whole or not at all: a temporary file in the same folder, flushed to disk, then renamed over the old one.

A process killed at any moment leaves the old file or the new one, never a part of either (and perhaps a `.tmp` file).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from graphbp.exceptions import DataError

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], write: bytes | Callable[[BinaryIO], None]) -> None:
    """Put `write` (bytes, or a function of an open binary file) at `path`.

    Raises
    ------
    DataError : the folder is missing, or the file system refuses; the old file is then still there.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("xb") as file:
            if callable(write):
                write(file)
            else:
                file.write(write)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        _sync_folder(target.parent)
    except OSError as problem:
        raise DataError(f"{target} cannot be written: {problem.strerror or problem}") from problem
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
