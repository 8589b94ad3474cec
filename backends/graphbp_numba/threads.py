"""A fixed list of tasks, on as many threads as are wanted: which thread runs a task changes nothing in its result.

The kernels release the GIL, so plain Python threads serve; they are kept between calls.  The caller works too, and one task never
leaves it.  After a fork the child starts its own.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from graphbp.extend import option

__all__ = ["n_threads", "run_tasks"]

_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def _forget() -> None:
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def n_threads() -> int:
    """The option `threads`; all cores this process may use where it is 0."""
    return int(option("threads")) or _cores()


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(2 * _cores(), 8), thread_name_prefix="graphbp")
        return _pool


def run_tasks(task: Callable[[int], object], count: int) -> None:
    """task(0), ..., task(count − 1), in any order, on up to `n_threads()` threads; the first exception is raised."""
    workers = min(n_threads(), count) if count > 1 else 1
    if workers == 1:
        for i in range(count):
            task(i)
        return
    numbers = itertools.count()

    def work() -> None:
        while (i := next(numbers)) < count:
            task(i)

    others: list[Future[None]] = [_executor().submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        for other in others:
            other.cancel()  # one that has not started finds nothing left to do
    for other in others:
        if not other.cancelled():
            other.result()
