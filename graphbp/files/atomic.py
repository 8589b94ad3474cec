"""Files written whole or not at all: a draft in the same folder, flushed to disk, then put in the place of the old one by a rename.

A process killed at any moment leaves the old file or the new one, never a part of either.  On Linux a draft has no name until the
moment before the rename, so that a killed writer leaves nothing behind; elsewhere it is a `.tmp` file, locked as long as its writer
lives, and the next writer of the same file removes those whose writer is gone.

    Draft           content on disk, not yet in place
    locked          a folder for one writer at a time, where two files must change together
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from graphbp.exceptions import DataError
from graphbp.files.reading import as_path

fcntl: Any = None  # on Windows: no locks, so no draft is known to be abandoned
with contextlib.suppress(ImportError):
    import fcntl

__all__ = ["Draft", "locked", "write_atomically"]


def write_atomically(path: str | os.PathLike[str], write: bytes | Callable[[BinaryIO], None]) -> None:
    """Put `write` (bytes, or a function of an open binary file) at `path`; a link is followed, the file's mode and owner stay.

    Raises
    ------
    DataError : the folder is missing, what is there is no regular file, or the file system refuses; the old file is then still there.
    """
    with Draft(path, write) as draft:
        draft.commit()


class Draft:
    """Content for `path`, on disk and flushed; `commit` puts it there, leaving the `with` block without that forgets it.

    Parameters
    ----------
    path, write : as for `write_atomically`.
    like : a file whose mode and owner the new one takes where `path` is not there yet (else the umask decides).
    """

    def __init__(
        self, path: str | os.PathLike[str], write: bytes | Callable[[BinaryIO], None], *, like: Path | None = None
    ) -> None:
        self._given = path
        self._target = Path(os.path.realpath(as_path(path)))
        outer = sys.exc_info()[1]
        try:
            model = _status(self._target) or (None if like is None else _status(like))
            handle, self._name = _open(self._target, 0o666 if model is None else 0o600)
            self._file: BinaryIO = os.fdopen(handle, "w+b")
            try:
                if callable(write):
                    write(self._file)
                else:
                    self._file.write(write)
                self._file.flush()
                _resemble(handle, model)
                os.fsync(handle)
            except BaseException:
                self._forget()
                raise
        except Exception as problem:
            self._blame(problem, outer)

    def commit(self) -> None:
        """Put the content in place."""
        outer = sys.exc_info()[1]
        try:
            if self._name is None:
                self._name = _draft_name(self._target)  # before it is there, so that an interruption leaves none
                self._name = _give_name(self._file, self._target, self._name)
            if os.name != "posix":
                self._file.close()  # Windows renames no open file
            self._name.replace(self._target)
            self._name = None
            _sync_folder(self._target.parent)
        except Exception as problem:
            self._blame(problem, outer)

    def _blame(self, problem: Exception, outer: BaseException | None) -> None:
        """Raise what it was: an interruption, a refusal of the file system, or `problem`."""
        _raise_interruption(problem, outer)
        if isinstance(problem, OSError):
            raise DataError(f"{self._given} cannot be written: {problem.strerror or problem}") from problem
        raise problem

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        if self._name is not None:
            with contextlib.suppress(OSError):
                self._name.unlink()

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()


def _raise_interruption(problem: Exception, outer: BaseException | None) -> None:
    """Raise the KeyboardInterrupt that `problem` hides: interrupted at a bad moment, zipfile fails to close and raises a ValueError.

    `outer` is what was being handled (`sys.exc_info()[1]`) before the work began, which is not this work's interruption.
    """
    cause: BaseException | None = problem
    while cause is not None and cause is not outer:
        if not isinstance(cause, Exception):
            raise cause
        cause = cause.__context__


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """The folder for this writer alone, or (`shared`) for readers; every other one waits.  No lock where the system has none."""
    handle = None
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a network folder without locks
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _status(path: Path) -> os.stat_result | None:
    """Of the file to be replaced, if there is one; a folder, a device or a pipe is not replaced."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file but a device, a pipe or a socket"
        raise DataError(f"{path} cannot be written: it is {what}")
    return status


def _resemble(handle: int, model: os.stat_result | None) -> None:
    """Owner, as far as this user may, and mode of the file that is replaced."""
    if model is None or os.name != "posix":
        return
    with contextlib.suppress(OSError):
        os.fchown(handle, model.st_uid, model.st_gid)
    os.fchmod(handle, stat.S_IMODE(model.st_mode))


def _open(target: Path, mode: int) -> tuple[int, Path | None]:
    """A draft without a name where the system has such files, else a `.tmp` file beside the target; locked."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").exists():
        with contextlib.suppress(OSError):  # not on this file system
            handle = os.open(target.parent, os.O_TMPFILE | os.O_RDWR, mode)
            _lock(handle)
            return handle, None
    return _open_named(target, mode)


def _open_named(target: Path, mode: int) -> tuple[int, Path]:
    _sweep(target)
    while True:
        name = _draft_name(target)
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        _lock(handle)
        if os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)  # another writer took it for abandoned, between these two lines


def _give_name(file: BinaryIO, target: Path, name: Path) -> Path:
    """Give a draft without a name one, for the moment before the rename; returns the name that it got."""
    _sweep(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:  # a folder for the source, which is absolute, makes Python call linkat, which follows the link in /proc
        os.link(f"/proc/self/fd/{file.fileno()}", name, src_dir_fd=folder, follow_symlinks=True)
    except OSError:  # this file system has drafts without names and cannot name them
        handle, name = _open_named(target, 0o600)
        with os.fdopen(handle, "wb") as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            _resemble(copy.fileno(), os.fstat(file.fileno()))
            os.fsync(copy.fileno())
    finally:
        os.close(folder)
    return name


def _draft_name(target: Path) -> Path:
    return target.with_name(f".{_stem(target)}.{secrets.token_hex(4)}.tmp")


def _stem(target: Path) -> str:
    return target.name[:60]  # so that a draft's name is not too long where the target's is not


def _sweep(target: Path) -> None:
    """Remove the drafts of this file whose writer is gone: nobody holds their lock."""
    if fcntl is None:
        return
    ours = re.compile(re.escape(f".{_stem(target)}.") + r"[0-9a-f]{8}\.tmp")
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        abandoned = [Path(entry.path) for entry in entries if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)]
        for path in abandoned:
            with contextlib.suppress(OSError):
                handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(handle)


def _lock(handle: int) -> None:
    """Held until the file is closed, or its writer dies."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened (not on Windows)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
