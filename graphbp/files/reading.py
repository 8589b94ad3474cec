"""Reading what others wrote: regular files only, text of any Unicode encoding, JSON without duplicates, and one boundary for damage.

    as_path         what a caller gives as a path
    read_file       the bytes of a regular file
    decode_text     bytes to text, with or without a byte order mark
    parse_json      JSON, in which no key stands twice
    reading         whatever goes wrong inside comes out as one of graphbp's errors, with the file's name
    element_count   how many numbers a shape holds
    Allowance       bytes that a file's values may take beyond those it holds

A file is not believed: it may claim any size, nest to any depth, and be a pipe that never ends.
"""

from __future__ import annotations

import codecs
import json
import math
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphbp.exceptions import DataError, FileFormatError, GraphbpError, MemoryLimitError
from graphbp.memory import check_memory

__all__ = ["Allowance", "as_path", "decode_text", "element_count", "parse_json", "read_file", "read_start", "read_text", "reading"]

FREE_BYTES = 1 << 24
EXPANSION = 8

_BOMS = (  # UTF-32's first: it starts as UTF-16's does
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def as_path(path: Any) -> Path:
    """A path.  Raises `DataError` for what is none: None, an open file, an empty name, a NUL character."""
    try:
        name = os.fsdecode(path)
        os.fsencode(name)
    except TypeError:
        raise DataError(f"a path is text or a pathlib.Path, not {type(path).__name__}") from None
    except UnicodeError:
        raise DataError(f"the path {path!r} cannot be written in {sys.getfilesystemencoding()}; no file is called so") from None
    if not name or "\0" in name:
        raise DataError(f"the path {name!r} {'contains a NUL character' if name else 'is empty'}; no file is called so")
    return Path(name)


def read_file(path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """The bytes of a regular file, at most `limit`.

    Raises
    ------
    DataError : there is none, it cannot be opened, or it is a folder, a pipe or a device, which may never end.
    MemoryLimitError : it is larger than the memory.
    """
    file = as_path(path)
    try:
        _check_regular(file, file.stat())
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as stream:
            status = os.fstat(handle)
            _check_regular(file, status)  # nobody has put a pipe there since
            size = status.st_size if limit is None else min(limit, status.st_size)
            check_memory(size, f"reading {file}", "a file that fits in memory")
            return stream.read(size)
    except OSError as problem:
        raise DataError(f"{file} is not a file that can be read: {problem.strerror or problem}") from problem


def _check_regular(file: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket; only regular files are read"
        raise DataError(f"{file} is not a file that can be read: it is {what}")


def read_start(path: str | os.PathLike[str], size: int) -> str:
    """The text with which a file starts, "" where it cannot be read; for telling formats apart."""
    try:
        content = read_file(path, size)
    except GraphbpError:
        return ""
    return content.decode(_encoding(content), "replace")


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a regular file, a byte order mark taken off; raises what `read_file` and `decode_text` raise."""
    return decode_text(read_file(path), path)


def decode_text(content: bytes, path: str | os.PathLike[str]) -> str:
    """UTF-8, or what the byte order mark says.  Raises `FileFormatError` for what is no text."""
    try:
        return content.decode(_encoding(content))
    except UnicodeDecodeError as problem:
        raise FileFormatError(
            f"{path} is not whole text, so truncated, damaged or of another format: byte {problem.start:,} is not {problem.encoding}"
        ) from problem


def _encoding(content: bytes) -> str:
    return next((encoding for mark, encoding in _BOMS if content.startswith(mark)), "utf-8")


def parse_json(content: bytes, path: str | os.PathLike[str]) -> Any:
    """The JSON value.  Raises `FileFormatError` for what is not whole, nested too deeply, or has a key twice in one object."""
    text = decode_text(content, path)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise FileFormatError(f"{path} is nested too deeply to be a model") from None
    except _TwiceError as problem:
        raise FileFormatError(f"{path} has the key {problem.args[0]!r} twice in one object; remove one of the two") from None
    except ValueError as problem:
        raise FileFormatError(f"{path} is not whole JSON; it is truncated or damaged: {problem}") from problem


class _TwiceError(Exception):
    """A key that stands twice in one JSON object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        raise _TwiceError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever reading a file raises, as one of graphbp's errors that names it."""
    try:
        yield
    except GraphbpError:
        raise
    except OSError as problem:
        raise DataError(f"{path} is not a file that can be read: {problem.strerror or problem}") from problem
    except MemoryError as problem:
        raise MemoryLimitError(f"{path} takes more memory to read than there is") from problem
    except RecursionError:
        raise FileFormatError(f"{path} is nested too deeply to be a model") from None
    except Exception as problem:
        raise FileFormatError(f"{path} is damaged, or not of its format: {type(problem).__name__}: {problem}") from problem


class Allowance:
    """Bytes that a file's values may take beyond its own size: 16 MiB, and eight times the file.

    A text array takes four bytes a character of its longest entry for every entry, a CSC matrix eight a column: a few bytes of a file
    could ask for gigabytes.  What is written is held to the same sum (`excess`), so that it can be read again.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.limit: int | None = None

    def of(self, size: int) -> Allowance:
        """With the limit of a file of `size` bytes."""
        self.limit = FREE_BYTES + EXPANSION * size
        return self

    def take(self, count: int, what: str) -> None:
        """Raises `FileFormatError` where the file's values now exceed its limit."""
        self.taken += count
        if self.limit is not None and self.taken > self.limit:
            raise FileFormatError(
                f"{what} would bring the values to {self.taken:,} bytes, and a file of this size may ask for {self.limit:,}"
            )


def element_count(shape: Any) -> int:
    """The product of a shape, in whole numbers that cannot overflow; raises `ValueError` for what is not a shape."""
    if not isinstance(shape, (list, tuple)) or len(shape) > 16 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"{shape!r} is not a shape")
    return math.prod(shape)
