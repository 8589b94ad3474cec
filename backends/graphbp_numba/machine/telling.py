"""One line and a spinner while kernels are compiled, where a person looks (`graphbp.progress`).

Numba tells of every function that it compiles (`numba.core.event`, "numba:compile"), functions that a function calls inside it.  The
outermost of this package's opens the line, its end closes it.  C functions, of which Numba does not tell, say so by `compiling`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event

from graphbp.extend import status

__all__ = ["compiling"]

AFTER = 0.3
"""Seconds until the line is shown: code from the cache is there sooner."""


class _Depth:
    """How many compilations are under way, one inside the other; the first opens the line, the last to end closes it."""

    def __init__(self) -> None:
        self._gate, self._depth = threading.Lock(), 0
        self._line: status | None = None

    def enter(self) -> None:
        """One more."""
        with self._gate:
            self._depth += 1
            if self._depth == 1:
                self._line = status("compiling kernels, once", after=AFTER).__enter__()

    def leave(self) -> None:
        """One less."""
        with self._gate:
            self._depth -= 1
            if self._depth == 0 and self._line is not None:
                self._line.__exit__(None, None, None)
                self._line = None


_depth = _Depth()


@contextmanager
def compiling() -> Iterator[None]:
    """While something is compiled."""
    _depth.enter()
    try:
        yield
    finally:
        _depth.leave()


class _Listener(event.Listener):
    """Numba's events of this package's functions."""

    def on_start(self, event: Any) -> None:
        """A compilation begins."""
        if _is_ours(event):
            _depth.enter()

    def on_end(self, event: Any) -> None:
        """A compilation ends, also by an exception."""
        if _is_ours(event):
            _depth.leave()


def _is_ours(happened: Any) -> bool:
    return str(happened.data["dispatcher"].py_func.__module__).startswith("graphbp_numba")


event.register("numba:compile", _Listener())  # type: ignore[no-untyped-call]
