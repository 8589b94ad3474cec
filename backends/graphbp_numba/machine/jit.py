"""Numba's decorators, typed, with the settings of this backend, and a cache on disk wherever one can be written.

* `kernel`: a function called from other kernels; compiled into its callers.
* `compiled`: a function called from Python: runs without the GIL, cached on disk.
* `compiled_c`: the same as a C function, called by address.

The last two are found again by a digest of this package's source and of all that the function reaches (`graphbp_numba.machine.identity`),
because Numba itself would not notice an edit in another module.  What a function's closure holds is part of its name too: code from
the cache brings its symbols along, and two functions of one name must not meet in a process.

Where neither the install folder nor the home can be written, the cache goes to a private folder for temporary files; where that
fails too, each process compiles anew.  Both are said once, as a warning.

Numba numbers the files that hold one function's specialisations and notes the numbers in an index, without a lock: two processes
that save at the same moment take the same number, and one of them is later given the other's machine code.  So here every
access to a cache folder waits for a lock file in it.
"""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CellType
from typing import Any, TypeVar, cast

import numba
from filelock import FileLock, Timeout
from numba import njit, types
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from graphbp_numba.machine.identity import identity_of, source_digest
from graphbp_numba.machine.telling import compiling

__all__ = [
    "carray",
    "compile_events",
    "compiled",
    "compiled_c",
    "instruction",
    "integers",
    "kernel",
    "literal_instruction",
    "part_of",
]

_settings: Any = numba.config
carray: Any = numba.carray  # type: ignore[attr-defined]  # public, but not listed as exported

_F = TypeVar("_F", bound=Callable[..., Any])
_SETTINGS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
_INSIDE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_lock = threading.RLock()


def kernel(function: _F) -> _F:
    """A function for other kernels to call, not for Python, which would need a wrapper.

    Constants in a call are numbers like others: Numba would compile the function once for every constant, and LLVM, which compiles
    it into its callers, sees them anyway.
    """
    made: Any = njit(**_SETTINGS, **_INSIDE)(function)
    resolve = made.get_call_template

    def by_type(args: Any, kws: Any) -> Any:
        plain: Any = types.unliteral
        return resolve([plain(arg) for arg in args], {name: plain(arg) for name, arg in kws.items()})

    made.get_call_template = by_type
    return cast("_F", made)


def part_of(function: _F) -> _F:
    """A piece of one kernel under a name of its own: Numba writes it into its caller before it looks at types.

    A `kernel` is compiled by itself too, which costs time where it is long and has one caller.
    """
    return cast("_F", njit(inline="always", **_SETTINGS)(function))


def compiled(function: Callable[..., Any]) -> Any:
    """A function for Python to call, cached on disk."""

    def make(cache: FunctionCache | None) -> Any:
        dispatcher: Any = njit(**_SETTINGS)(function)
        if cache is not None:
            dispatcher._cache = cache
        return dispatcher

    return _watch(_cached(function, function.__closure__ or (), make))


def compiled_c(signature: Any, reaches: Any = ()) -> Callable[[Callable[..., Any]], Any]:
    """A C function with this signature, cached on disk; `.address` is what to call.

    reaches : functions outside this package that it calls, of which its closure holds compiled copies.
    """

    def compile_now(function: Callable[..., Any]) -> Any:
        def make(cache: FunctionCache | None) -> Any:
            made: Any = CFunc(function, (signature.args, signature.return_type), locals={}, options={"error_model": "numpy"})
            if cache is not None:
                made._cache = cache
            with compiling():
                made.compile()
            return made

        return _watch(_cached(function, reaches or function.__closure__ or (), make))

    return compile_now


def integers(count: int) -> Any:
    """The signature of a C function of so many integers, of which some are addresses, without a result."""
    return types.void(*[types.intp] * count)


LOCK_SECONDS = 60.0
"""How long to wait for another process that saves; then this one does without the cache."""
_locks: dict[str, FileLock] = {}


@contextmanager
def _alone_in(folder: str) -> Iterator[bool]:
    """Keep other processes and threads out of a cache folder; false where that cannot be had."""
    with _lock:
        lock = _locks.setdefault(folder, FileLock(Path(folder) / "graphbp.lock", thread_local=False))
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except (Timeout, OSError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


class _LockedCache(FunctionCache):
    """Numba's cache, one process at a time, by the identity of a function and of this package."""

    def __init__(self, function: Any, identity: str) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._identity = source_digest(), identity

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), self._identity

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with _alone_in(self.cache_path) as alone:
            return super().load_overload(sig, target_context) if alone else None  # type: ignore[no-untyped-call]

    def save_overload(self, sig: Any, data: Any) -> None:
        with _alone_in(self.cache_path) as alone:
            if alone:
                super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def instruction(definition: Callable[..., Any]) -> Any:
    """An operation for kernels, given as the LLVM IR that it stands for (`numba.extending.intrinsic`)."""
    return intrinsic(definition)


def literal_instruction(definition: Callable[..., Any]) -> Any:
    """The same where arguments are strings known when compiling."""
    return intrinsic(prefer_literal=True)(definition)


_notices: set[str] = set()


def _notice(message: str) -> None:
    if message not in _notices:
        _notices.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=4)


def _cached(function: Any, reaches: Any, make: Callable[[FunctionCache | None], Any]) -> Any:
    """make(a cache), where Numba finds a folder for it; else with one in a temporary folder; else make(None).

    Without a cache as well where something that the code reaches cannot be told apart from outside.
    """
    identity = identity_of(*(value.cell_contents if isinstance(value, CellType) else value for value in reaches))
    if identity is None:
        return make(None)
    function.__qualname__ += f"_{identity}" if reaches else ""
    with _lock:
        try:
            return make(_LockedCache(function, identity))
        except RuntimeError as problem:
            if "cache" not in str(problem) and "locator" not in str(problem):
                raise
        folder = _temporary_folder()
        if folder is None:
            _notice(
                "graphbp: no folder can be written for Numba's cache, so each process compiles anew; set NUMBA_CACHE_DIR to one"
            )
            return make(None)
        _notice(f"graphbp: Numba's cache goes to {folder}, as neither the install folder nor the home can be written")
        before = _settings.CACHE_DIR
        _settings.CACHE_DIR = folder
        try:
            return make(_LockedCache(function, identity))
        finally:
            _settings.CACHE_DIR = before


@cache
def _temporary_folder() -> str | None:
    """A folder for temporary files that only this user can write: cached code is run, so it must be nobody else's."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"graphbp-numba-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        mine = not hasattr(os, "getuid") or found.st_uid == user
        if stat.S_ISDIR(found.st_mode) and mine and not found.st_mode & 0o022 and os.access(folder, os.W_OK):
            return str(folder)
    except OSError:
        pass
    return None


_watched: list[Any] = []


def _watch(function: Any) -> Any:
    """Count this function's compilations in `compile_events`."""
    _watched.append(function)
    return function


def compile_events() -> int:
    """How many specialisations of the kernels exist in this process; a new topology leaves it unchanged."""
    return sum(len(getattr(function, "signatures", ())) or int(hasattr(function, "address")) for function in _watched)
