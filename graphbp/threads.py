"""A fixed list of tasks on as many threads as are wanted, with BLAS on one: which thread runs a task changes nothing in its result.

NumPy releases the GIL in matrix products and elementwise loops, so plain Python threads serve; they are kept between calls.  The
caller works too, and tasks may start tasks.  While tasks run, every matrix product is computed by the thread that asks for it: the
bits of a product then do not depend on how many threads BLAS has, and two products run side by side.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from graphbp.config import option

__all__ = ["n_threads", "run_tasks", "single_threaded_blas"]

_pool: ThreadPoolExecutor | None = None
_gate = threading.Lock()
_inside = 0
_limit: Any = None


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _pool, _gate, _inside
    _pool, _gate, _inside = None, threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def n_threads() -> int:
    """The option `threads`; all cores that this process may use where it is 0."""
    return int(option("threads")) or _cores()


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """BLAS on one thread while anybody is inside; what it was before comes back when the last one leaves."""
    global _inside, _limit
    with _gate:
        if _inside == 0:
            _limit = _controller().limit(limits=1)
        _inside += 1
    try:
        yield
    finally:
        with _gate:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _gate:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(2 * _cores(), 8), thread_name_prefix="graphbp-core")
        return _pool


def run_tasks(task: Callable[[int], object], count: int, *, blas: bool = True) -> None:
    """task(0), ..., task(count − 1), started in this order, on up to `n_threads()` threads; the first exception is raised.

    Tasks that ask BLAS for nothing say `blas=False`, which spares small ones the look at BLAS's threads.
    """
    if not blas:
        _run(task, count)
        return
    with single_threaded_blas():
        _run(task, count)


def _run(task: Callable[[int], object], count: int) -> None:
    workers = min(n_threads(), count) if count > 1 else 1
    if workers == 1:
        for i in range(count):
            task(i)
        return
    numbers = itertools.count()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set() and (i := next(numbers)) < count:
            try:
                task(i)
            except BaseException:
                stopped.set()
                raise

    others: list[Future[None]] = [_executor().submit(work) for _ in range(workers - 1)]
    try:
        work()
    finally:
        for other in others:
            if not other.cancel():  # one that has not started finds nothing left to do
                other.exception()
    for other in others:
        if not other.cancelled():
            other.result()
