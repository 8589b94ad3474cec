"""The progress bar of a run (rich, imported on use)."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from graphbp.progress import line_of, shows

__all__ = ["Progress"]


class Progress:
    """A bar over the epochs on stderr; `show=None` shows it where somebody looks (`graphbp.progress`)."""

    def __init__(self, title: str, epochs: int, show: bool | None) -> None:
        self._title, self._epochs = title, epochs
        self._show = shows(show)
        self._held = ExitStack()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            text = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[now]}"),
            )
            self._bar = Bar(*text, console=Console(stderr=True))
            self._task = self._bar.add_task(self._title, total=self._epochs, now="")
            self._bar.start()
            self._held.enter_context(line_of(lambda text: self._bar.update(self._task, now=text)))
        return self

    def update(self, epoch: int, now: str) -> None:
        """Move to `epoch` and show `now` beside the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch, now=now)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._held.close()
            self._bar.stop()
