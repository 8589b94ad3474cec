"""How work is shared among threads: parts of a range, and groups of tasks that wait for earlier groups (`graphbp.extend.run_tasks` runs both)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from graphbp.extend import run_tasks

__all__ = ["Group", "in_parts", "run_groups"]


def in_parts(n: int, parts: int, work: Callable[[int, int], None], unit: int = 1) -> None:
    """work(first, stop) over 0..n in `parts` tasks, cut at multiples of `unit`, or at once."""
    if parts <= 1:
        work(0, n)
        return
    units = -(-n // unit)
    cuts = [min(n, unit * (units * part // parts)) for part in range(parts + 1)]
    run_tasks(lambda part: work(cuts[part], cuts[part + 1]), parts, blas=False)


class Group:
    """Tasks of one list, which later ones may wait for."""

    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self.count, self._work, self._left = count, work, count
        self._gate, self._done = threading.Lock(), threading.Event()
        if not count:
            self._done.set()

    def run(self, number: int) -> None:
        """Do one; the last to finish, or to fail (`run_tasks` then raises), lets the others pass."""
        try:
            self._work(number)
        finally:
            with self._gate:
                self._left -= 1
                if not self._left:
                    self._done.set()

    def wait(self) -> None:
        """Until all are done.  Each of them was started before the caller, by a thread that is at work on it."""
        self._done.wait()


def run_groups(groups: list[Group]) -> None:
    """All groups' tasks as one list, in order."""
    tasks = [(group, number) for group in groups for number in range(group.count)]
    run_tasks(lambda i: tasks[i][0].run(tasks[i][1]), len(tasks), blas=False)
