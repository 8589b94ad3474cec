"""A run's state on disk: one .npz, written whole or not at all, that refuses what does not belong to it.

The file holds plain arrays (no pickle) and one JSON header: the format's version, the run's fingerprint (network, data, options),
what the history has besides its columns, and a SHA-256 over everything else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import ConfigError, DataError, FileFormatError
from graphbp.files.archive import npz_bytes, parse_npz
from graphbp.files.atomic import write_atomically
from graphbp.files.reading import parse_json, read_file, reading

__all__ = ["Saved", "check_fingerprint", "read_checkpoint", "require_replaceable", "write_checkpoint"]

Array = npt.NDArray[Any]
VERSION = 1


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: named arrays, the run's fingerprint, and a small JSON record."""

    arrays: Mapping[str, Array]
    fingerprint: Mapping[str, str]
    record: Mapping[str, Any]


def write_checkpoint(path: str | os.PathLike[str], saved: Saved) -> None:
    """Put the state at `path`; a process killed meanwhile leaves the former state there."""
    header = {"format": "graphbp training checkpoint", "version": VERSION, "fingerprint": dict(saved.fingerprint)}
    header |= {"record": dict(saved.record)}
    header["sha256"] = _sum(header, saved.arrays)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    write_atomically(path, npz_bytes({"header": text, **{f"array.{name}": array for name, array in saved.arrays.items()}}))


def read_checkpoint(path: str | os.PathLike[str]) -> Saved:
    """The state at `path`.  Raises `FileFormatError` for a file that is damaged, of another version or no checkpoint, else `DataError`."""
    content = read_file(path)
    try:
        with reading(path):
            raw = parse_npz(content, path, fortran=True)
            header = parse_json(raw.pop("header").tobytes(), path)
            version, claimed = header["version"], header.pop("sha256")
            arrays = {name.removeprefix("array."): array for name, array in raw.items()}
            saved = Saved(arrays, dict(header["fingerprint"]), dict(header["record"]))
    except FileFormatError as problem:
        if not _looks_like_one(Path(path)):
            raise FileFormatError(
                f"{path} holds something else than a training checkpoint ({problem}); give another checkpoint="
            ) from problem
        raise FileFormatError(f"{path} is not a whole training checkpoint ({problem}); delete it to start afresh") from problem
    if version != VERSION:
        raise FileFormatError(f"{path} is a checkpoint of version {version}; this graphbp reads version {VERSION}")
    if claimed != _sum(header, arrays):
        raise FileFormatError(f"{path} is damaged: its checksum does not match its contents; delete it to start afresh")
    return saved


def require_replaceable(path: str | os.PathLike[str]) -> None:
    """Raise, before the first epoch, where a checkpoint could not be written at `path`, or would replace something else.

    Raises
    ------
    DataError : the folder is missing or refuses (a file of the same length of name is written beside it, and taken away again).
    FileFormatError : a file that is no checkpoint.
    """
    target = Path(path)
    if os.path.isdir(path):  # noqa: PTH112  # Path.is_dir raises for a name that is too long
        raise DataError(f"checkpoint={str(path)!r} is a folder; name the file that the state goes to")
    if os.path.exists(path) and target.stat().st_size and not _looks_like_one(target):  # noqa: PTH110  # the same
        raise FileFormatError(
            f"{path} holds something else than a training checkpoint, and is not overwritten; give another checkpoint="
        )
    try:
        beside = next(p for c in "~0123456789abcdef" if not (p := target.with_name(target.name[:-1] + c)).exists())
        write_atomically(beside, b"")
        beside.unlink(missing_ok=True)
    except OSError as problem:
        raise DataError(f"{path} cannot be written: {problem.strerror or problem}") from problem
    except DataError as problem:
        raise DataError(str(problem).replace(str(beside), str(path))) from problem


def _looks_like_one(path: Path) -> bool:
    """Whether the file is a checkpoint, or may be what is left of one: a ZIP archive whose first member is the header."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return False
    return start.startswith(b"PK") and b"header.npy" in start


def check_fingerprint(path: str | os.PathLike[str], saved: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise `ConfigError`, naming what differs, unless the checkpoint is of this very run."""
    differ = [
        f"{name}: {saved.get(name, 'none')} there, {now.get(name, 'none')} now"
        for name in {**saved, **now}
        if saved.get(name) != now.get(name)
    ]
    if differ:
        raise ConfigError(
            f"checkpoint {path} is of another run, so continuing it would not give the same bits ({'; '.join(differ)}). "
            "Give what the run had, another checkpoint=, or resume=False to overwrite it"
        )


def _sum(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    h = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        h.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        h.update(array.tobytes())
    return h.hexdigest()
