"""A fixed list of tasks on as many threads as are wanted, with BLAS on one: which thread runs a task changes nothing in its result.

NumPy releases the GIL in matrix products and elementwise loops, so plain Python threads serve; they are kept between calls.  The
caller works too, and tasks may start tasks.  While tasks run, every matrix product is computed by the thread that asks for it: the
bits of a product then do not depend on how many threads BLAS has, and two products run side by side.

The gate (`single_threaded_blas`) is no counter under a lock, since Ctrl-C may come between any two lines of Python, those of an
`__exit__` included.  A `_Limit` stands for "BLAS has one thread now"; everybody inside has a reference to it, through a memoryview,
whose `__exit__` is written in C; and when the last reference goes, by whatever way, a `__del__` of C functions alone puts BLAS back.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial, wraps
from operator import call
from typing import Any, ParamSpec, TypeVar

import numpy as np

from graphbp.config import option

__all__ = ["blas_on_one_thread", "n_threads", "run_tasks", "single_threaded_blas"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def n_threads() -> int:
    """The option `threads`; where it is 0, the cores that this process may use, or fewer where the environment says so.

    NUMBA_NUM_THREADS is heard before OMP_NUM_THREADS, which is for everybody; loky, whose workers share the cores (joblib, `n_jobs=2`
    of scikit-learn), sets both in each of them.  LOKY_MAX_CPU_COUNT is the most that anything takes.
    """
    return int(option("threads")) or min(_cores(), _told("LOKY_MAX_CPU_COUNT"), _told("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"))


_UNTOLD = 1 << 30


def _told(*variables: str) -> int:
    """The first of these environment variables that says a number of threads (OpenMP's may list one for each level: "4,2")."""
    for variable in variables:
        first = os.environ.get(variable, "").split(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return _UNTOLD


# -- the gate ----------------------------------------------------------------------------------------------------------------

_CALLS = {
    "openblas": ("openblas_set_num_threads", "openblas_get_num_threads"),
    "mkl": ("MKL_Set_Num_Threads", "MKL_Get_Max_Threads"),
    "blis": ("bli_thread_set_num_threads", "bli_thread_get_num_threads"),
    "flexiblas": ("flexiblas_set_num_threads", "flexiblas_get_num_threads"),
}
_AFFIXES = [(before, after) for before in ("", "scipy_") for after in ("", "64_", "_64")]


@dataclass(frozen=True)
class _Pool:
    """A BLAS's pool of threads.  own: each thread that calls BLAS has one of its own, as under OpenMP."""

    set: Callable[[int], object]
    get: Callable[[], int]
    own: bool


def _pool_of(library: Any) -> _Pool:
    """Its C functions, called with the GIL held: threadpoolctl's own are Python, and heed only the first thread that comes."""
    own = getattr(library, "threading_layer", None) == "openmp"
    names = ("omp_set_num_threads", "omp_get_max_threads") if own else _CALLS.get(library.internal_api)
    if names is not None:
        functions = ctypes.PyDLL(library.filepath, handle=library.dynlib._handle)  # noqa: SLF001  # ctypes has no other name for it
        for before, after in _AFFIXES:
            setter, getter = (getattr(functions, f"{before}{name}{after}", None) for name in names)
            if setter is not None and getter is not None:
                setter.argtypes, setter.restype = [ctypes.c_int], None
                return _Pool(setter, getter, own)
    return _Pool(library.set_num_threads, library.get_num_threads, own)


_known: tuple[int, list[_Pool]] = (-1, [])


def _pools() -> list[_Pool]:
    """Looked up again when modules have been imported since: they may have brought a BLAS with them."""
    global _known
    count, pools = _known
    if count != len(sys.modules):
        import threadpoolctl

        count = len(sys.modules)
        found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
        pools = [_pool_of(library) for library in found]
        _known = count, pools
    return pools


class _Limit(bytearray):
    """One thread for some pools from `impose` on; what they had comes back when the last reference to this goes."""

    __slots__ = ("__del__", "__weakref__", "outer", "pools")  # __del__ as a slot may hold a function in C

    def __init__(self, pools: list[_Pool], outer: _Limit | None = None) -> None:
        self.outer, self.pools = outer, pools
        before = [max(1, pool.get() or 1) for pool in pools]  # BLIS says −1 for one that nobody has set
        # deque(..., 0) runs an iterator to its end
        self.__del__: Callable[[], object] = partial(deque, map(call, [pool.set for pool in pools], before), 0)

    def impose(self) -> None:
        for pool in self.pools:
            pool.set(1)


_limits: dict[int, weakref.ref[_Limit]] = {}
"""The last limit of the shared pools that was imposed, by its number; the numbers grow."""


def single_threaded_blas() -> AbstractContextManager[object]:
    """BLAS on one thread while anybody is inside; what it was before comes back when the last one leaves."""
    try:
        return memoryview(_limit())
    except BaseException as interrupt:
        interrupt.__traceback__ = None  # whoever keeps the exception would keep its frames, and the limit in them
        raise


def _limit() -> _Limit:
    pools = _pools()
    limit = _shared_limit([pool for pool in pools if not pool.own])
    own = [pool for pool in pools if pool.own]
    if own:
        limit = _Limit(own, limit)
        limit.impose()
    return limit


def _shared_limit(pools: list[_Pool]) -> _Limit:
    """The limit that others have, or a new one.

    No lock, which an interrupt might leave locked: whoever sets the next number first has seen the pools while nobody was inside.
    """
    while True:
        number = max(_limits, default=0)
        last = _limits.get(number)
        limit = last() if last is not None else None
        if limit is None or limit.pools != pools:
            limit = _Limit(pools, limit)
            mine = weakref.ref(limit)
            if _limits.setdefault(number + 1, mine) is not mine:
                limit.__del__ = int  # somebody was faster; there is nothing to give back
                continue
            if max(_limits) > number + 1:  # somebody was faster by two, and the number that was free had been taken off again
                limit.__del__ = int
                _limits.pop(number + 1, None)
                continue
            _limits.pop(number, None)
        limit.impose()  # by everybody: the first may have come no further than its number
        return limit


def blas_on_one_thread(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function` inside the gate."""

    @wraps(function)
    def inside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with single_threaded_blas():
            return function(*args, **kwargs)

    return inside


# -- tasks -------------------------------------------------------------------------------------------------------------------

_pool: ThreadPoolExecutor | None = None


def _forget() -> None:
    """A forked child has none of its parent's threads, neither those of the pool nor those inside the gate."""
    global _pool
    _pool = None
    for last in _limits.values():
        limit = last()
        if limit is not None:
            limit.__del__()
    _limits.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _executor() -> ThreadPoolExecutor:
    """No lock here either: where two threads come first together, one of the two pools ends with its tasks."""
    global _pool
    pool = _pool
    if pool is None:
        pool = _pool = ThreadPoolExecutor(max(2 * _cores(), 8), thread_name_prefix="graphbp-core")
    return pool


def run_tasks(task: Callable[[int], object], count: int, *, blas: bool = True) -> None:
    """task(0), ..., task(count − 1), started in this order, on up to `n_threads()` threads; the first exception is raised.

    Tasks that ask BLAS for nothing say `blas=False`, which spares small ones the look at BLAS's threads.  What becomes infinite or NaN
    in a task is not warned of: whoever asked looks at the result, and names the unit (`graphbp.diagnosis`).
    """
    if not blas:
        _run(task, count)
        return
    with single_threaded_blas():
        _run(task, count, blas=True)


def _run(task: Callable[[int], object], count: int, *, blas: bool = False) -> None:
    workers = min(n_threads(), count) if count > 1 else 1
    if workers == 1:
        with np.errstate(all="ignore"):
            for i in range(count):
                task(i)
        return
    numbers = itertools.count()
    stopped = threading.Event()

    def work() -> None:
        with np.errstate(all="ignore"):  # each thread has its own
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
        try:
            for other in others:
                if not other.cancel():  # one that has not started finds nothing left to do
                    other.exception()
        except BaseException:  # Ctrl-C while the others are at their last tasks: they start no more
            stopped.set()
            raise
    for other in others:
        if not other.cancelled():
            other.result()
