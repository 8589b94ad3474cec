"""What a person who waits is told: one line with a spinner on stderr, where somebody looks, and nothing elsewhere.

    with status("checking derivatives"):      shown if it takes longer than a second
        ...

Somebody looks at a terminal and at a notebook; `gb.config(progress="off")`, or "on", decides otherwise.  One line is shown at a time:
a status inside another one takes its place until it ends, and one inside a bar (`line_of`) is said there.  rich draws it, and is
imported only then.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from graphbp.config import option

__all__ = ["line_of", "shows", "status"]

AFTER = 1.0
"""Seconds of silence that nobody minds."""
_lock = threading.RLock()
_open: list[status] = []
_bars: list[Callable[[str], object]] = []


@contextmanager
def line_of(say: Callable[[str], object]) -> Iterator[None]:
    """While a bar of somebody's own is on the screen, `say(text)` shows the text of a status on it, and `say("")` takes it away."""
    with _lock:
        _bars.append(say)
    try:
        yield
    finally:
        with _lock:
            _bars.remove(say)


def shows(argument: bool | None = None) -> bool:
    """Whether to show progress: the argument, else the option `progress`, else whether a terminal or a notebook is there."""
    if argument is not None:
        return argument
    chosen = option("progress")
    if chosen != "auto":
        return bool(chosen == "on")
    return "ipykernel" in sys.modules or bool(getattr(sys.stderr, "isatty", bool)())


class status:  # noqa: N801  # reads as a statement: `with status("..."):`
    """Say `text` beside a spinner for as long as the block runs, from `after` seconds on; a line with the time where it ends."""

    def __init__(self, text: str, after: float = AFTER) -> None:
        self._text, self._after = text, after
        self._timer: threading.Timer | None = None
        self._shown: Any = None

    def __enter__(self) -> status:
        if shows():
            with _lock:
                for other in _open:
                    other.hide()
                _open.append(self)
            self._timer = threading.Timer(self._after, self.show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        with _lock:
            self.hide()
            if self in _open:
                _open.remove(self)
            if _open:
                _open[-1].show()

    def say(self, text: str) -> None:
        """Another text from here on."""
        with _lock:
            self._text = text
            if self._shown is not None:
                self._shown.update(_plain(text))

    def show(self) -> None:
        """Put it on the screen, where it is the last that was opened."""
        with _lock:
            if not _open or _open[-1] is not self or self._shown is not None:
                return
            if _bars:
                _bars[-1](self._text)
                return
            from rich.console import Console

            console = Console(stderr=True)
            if not console.is_terminal and not console.is_jupyter:  # told to show it on a pipe: once, without a spinner
                console.print(f"graphbp: {self._text} ...", highlight=False, markup=False)
                self._after = float("inf")
                return
            self._shown = console.status(_plain(self._text))
            self._shown.start()

    def hide(self) -> None:
        """Take it off the screen, for now."""
        if _bars:
            _bars[-1]("")
        if self._shown is not None:
            self._shown.stop()
            self._shown = None


def _plain(text: str) -> Any:
    """What a spinner stands beside; a name with brackets is no markup."""
    from rich.text import Text

    return Text(f"graphbp: {text}")
