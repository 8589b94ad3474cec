"""A fixed list of tasks on as many threads as are wanted, with BLAS on one: which thread runs a task changes nothing in its result.

NumPy releases the GIL in matrix products and elementwise loops, so plain Python threads serve; they are kept between calls.  The
caller works too, and tasks may start tasks.  While tasks run, every matrix product is computed by the thread that asks for it: the
bits of a product then do not depend on how many threads BLAS has, and two products run side by side.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

from graphbp.config import option

__all__ = ["n_threads", "run_tasks", "single_threaded_blas"]

_pool: ThreadPoolExecutor | None = None
_gate = threading.Lock()
_inside = 0


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _pool, _gate, _inside, _limited
    _pool, _gate, _inside, _limited = None, threading.Lock(), 0, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def n_threads() -> int:
    """The option `threads`; all cores that this process may use where it is 0."""
    return int(option("threads")) or _cores()


class _BlasThreads:
    """The BLAS libraries of this process: those with one pool of threads for everybody, and those where each thread has its own.

    threadpoolctl looks them up; from its version 3.8 on only one Python thread at a time may change OpenBLAS's shared pool, the
    first that did, and others are ignored in silence.  Here whoever comes first limits the pool and whoever leaves last restores
    it, mostly different threads, so each takes that right and gives it up again.
    """

    def __init__(self) -> None:
        import threadpoolctl

        found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
        own = [library for library in found if getattr(library, "threading_layer", None) == "openmp"]
        self.shared = [library for library in found if library not in own]
        self.own = own
        self._openblas: Any = threadpoolctl.OpenBLASController

    def set_shared(self, counts: list[int]) -> list[int]:
        """Give each shared pool its number of threads; returns what they had."""
        before = [int(library.num_threads) for library in self.shared]
        self._let_go()
        for library, count in zip(self.shared, counts, strict=True):
            library.set_num_threads(count)
        self._let_go()
        return before

    def set_own(self, counts: list[int]) -> list[int]:
        """The same for this thread's own pools."""
        before = [int(library.num_threads) for library in self.own]
        for library, count in zip(self.own, counts, strict=True):
            library.set_num_threads(count)
        return before

    def _let_go(self) -> None:
        if hasattr(self._openblas, "clear_controlling_thread"):
            self._openblas.clear_controlling_thread(force=True)


_blas: tuple[int, _BlasThreads] | None = None
_limited: tuple[_BlasThreads, list[int]] | None = None


def _blas_threads() -> _BlasThreads:
    """Looked up again when modules have been imported since: they may have brought a BLAS with them."""
    global _blas
    if _blas is None or _blas[0] != len(sys.modules):
        found = _BlasThreads()
        _blas = len(sys.modules), found
    return _blas[1]


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """BLAS on one thread while anybody is inside; what it was before comes back when the last one leaves."""
    global _inside, _limited
    with _gate:
        if _inside == 0:
            blas = _blas_threads()
            _limited = blas, blas.set_shared([1] * len(blas.shared))
        _inside += 1
        assert _limited is not None  # for mypy
        blas = _limited[0]
    own = blas.set_own([1] * len(blas.own))
    try:
        yield
    finally:
        blas.set_own(own)
        with _gate:
            _inside -= 1
            if _inside == 0 and _limited is not None:
                blas.set_shared(_limited[1])
                _limited = None


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
        _run(task, count, blas=True)


def _run(task: Callable[[int], object], count: int, *, blas: bool = False) -> None:
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

    def help_out() -> None:
        with single_threaded_blas() if blas else nullcontext():
            work()

    others: list[Future[None]] = [_executor().submit(help_out) for _ in range(workers - 1)]
    try:
        work()
    finally:
        for other in others:
            if not other.cancel():  # one that has not started finds nothing left to do
                other.exception()
    for other in others:
        if not other.cancelled():
            other.result()
