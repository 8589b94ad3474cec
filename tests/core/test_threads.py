"""`graphbp.threads`: every task is run once, exceptions come through, and BLAS has one thread while tasks run, whoever asks."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

import graphbp as gb
from graphbp.threads import _pools, n_threads, run_tasks, single_threaded_blas


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture
def two_blas_threads():
    """BLAS on two threads, as far as it can be."""
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        if not before or set(before) == {1}:
            pytest.skip("BLAS has one thread only here")
        yield before
        assert blas_threads() == before


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_task_runs_once(threads, count):
    done: list[int] = []
    with gb.config(threads=threads):
        run_tasks(done.append, count)
    assert sorted(done) == list(range(count))


def test_tasks_may_start_tasks():
    done: list[tuple[int, int]] = []
    with gb.config(threads=3):
        run_tasks(lambda i: run_tasks(lambda j: done.append((i, j)), 4), 4)
    assert sorted(done) == [(i, j) for i in range(4) for j in range(4)]


def test_the_first_exception_is_raised_and_no_more_tasks_start():
    started: list[int] = []

    def task(i: int) -> None:
        started.append(i)
        raise ValueError(f"task {i}")

    with gb.config(threads=2), pytest.raises(ValueError, match="task"):
        run_tasks(task, 100)
    assert len(started) <= 2


def test_threads_of_the_option_are_used():
    seen: set[int] = set()
    meet = threading.Barrier(2, timeout=30)

    def task(_: int) -> None:
        meet.wait()
        seen.add(threading.get_ident())

    with gb.config(threads=2):
        assert n_threads() == 2
        run_tasks(task, 2)
    assert len(seen) == 2


def test_blas_has_one_thread_inside_from_any_python_thread(two_blas_threads):
    inside: list[list[int]] = []

    def look() -> None:
        run_tasks(lambda _: inside.append(blas_threads()), 2)

    look()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(look).result()
    look()
    assert [set(threads) for threads in inside] == [{1}] * 6
    assert blas_threads() == two_blas_threads


def test_the_last_one_out_restores_blas(two_blas_threads):
    entered, leave = threading.Event(), threading.Event()
    seen: list[list[int]] = []

    def other() -> None:
        with single_threaded_blas():
            entered.set()
            leave.wait(30)
            seen.append(blas_threads())

    with ThreadPoolExecutor(1) as pool:
        with single_threaded_blas():
            waiting = pool.submit(other)
            assert entered.wait(30)
        seen.append(blas_threads())  # the first has left, the other has not
        leave.set()
        waiting.result()
    assert [set(threads) for threads in seen] == [{1}, {1}]
    assert blas_threads() == two_blas_threads


class Interrupt(BaseException):
    pass


def at_opcode(number: int, function) -> BaseException | None:
    """What `function` raises when it is interrupted before the opcode of this number in it or in `graphbp.threads`, None past its end."""
    left = [number]

    def trace(frame, event, _):
        if frame.f_code is not function.__code__ and frame.f_globals.get("__name__") != "graphbp.threads":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if left[0] < 0:
                sys.settrace(None)
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except Interrupt as interrupt:
        return interrupt
    finally:
        sys.settrace(before)
    return None


def enter_twice():
    with single_threaded_blas(), single_threaded_blas():
        pass


def two_tasks():
    run_tasks(int, 2)


@pytest.mark.parametrize("function", [enter_twice, two_tasks])
def test_an_interrupt_before_any_opcode_leaves_blas_as_it_was(function, two_blas_threads):
    kept = []  # with its traceback, as the interactive interpreter keeps the last exception
    while (interrupt := at_opcode(len(kept), function)) is not None:
        kept.append(interrupt)
        for _ in range(1000):  # the other task may be at its end
            if blas_threads() == two_blas_threads:
                break
        assert blas_threads() == two_blas_threads, len(kept) - 1
    assert len(kept) > 100


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_signals_at_any_time_leave_blas_as_it_was(two_blas_threads):
    def stop(*_):
        raise Interrupt

    old, stopped = signal.signal(signal.SIGALRM, stop), 0
    gc.disable()  # an interrupt inside a collector's callback is dropped, and pytest would keep its frames with the limit in them
    try:
        for i in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + i % 50))
                for _ in range(100):
                    enter_twice()
                threading.Event().wait(10)
            except Interrupt:
                stopped += 1
            assert blas_threads() == two_blas_threads
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        gc.enable()
    assert stopped == 300


def test_threads_that_come_and_go_agree_on_what_was_before(two_blas_threads):
    wrong = []

    def work() -> None:
        for _ in range(2000):
            with single_threaded_blas():
                if {pool.get() for pool in _pools()} != {1}:
                    wrong.append(1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(work) for _ in range(4)]:
                future.result()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert blas_threads() == two_blas_threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_while_another_thread_is_inside_has_its_blas_back(two_blas_threads):
    code = textwrap.dedent("""
        import os, sys, threading, numpy, threadpoolctl
        from graphbp.threads import _pools, single_threaded_blas
        [pool.set(2) for pool in _pools()]
        entered, leave = threading.Event(), threading.Event()
        def other():
            with single_threaded_blas():
                entered.set()
                leave.wait(30)
        threading.Thread(target=other).start()
        entered.wait(30)
        child = os.fork()
        if child == 0:
            os._exit(0 if all(pool.get() == 2 for pool in _pools()) else 1)
        leave.set()
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_products_have_the_same_bits_from_any_python_thread(two_blas_threads):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(302, 7)), rng.normal(size=(306, 7))  # a product whose bits depend on the threads of OpenBLAS

    def product() -> bytes:
        found: list[bytes] = []
        run_tasks(lambda _: found.append((a @ b.T).tobytes()), 1)
        return found[0]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(product).result() == product()


def test_a_blas_that_is_loaded_later_is_limited_too():
    """NumPy and SciPy each bring their own OpenBLAS, in a wheel; graphbp imports SciPy only on use."""
    code = textwrap.dedent("""
        import sys, threadpoolctl
        from graphbp.threads import single_threaded_blas

        def pools():
            return [each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]

        with single_threaded_blas():
            first = pools()
        import scipy.linalg
        if len(pools()) == len(first) or max(pools()) == 1:
            sys.exit("skip")
        with single_threaded_blas():
            inside = pools()
        sys.exit(f"{inside} inside" if set(inside) != {1} else 0)
    """)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    if done.stderr.strip() == "skip":
        pytest.skip("SciPy brings no BLAS of its own with threads here")
    assert done.returncode == 0, done.stderr


SAYS = "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"


@pytest.mark.parametrize(
    ("said", "threads"),
    [
        ({}, 64),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"NUMBA_NUM_THREADS": "5", "OMP_NUM_THREADS": "1"}, 5),  # OMP's is often 1, for BLAS's sake
        ({"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}, 1),  # what loky says in each of as many workers as there are cores
        ({"LOKY_MAX_CPU_COUNT": "7"}, 7),
        ({"OMP_NUM_THREADS": "100"}, 64),
        ({"OMP_NUM_THREADS": "many", "NUMBA_NUM_THREADS": "0"}, 64),
    ],
)
def test_the_environment_says_how_many_threads(monkeypatch, said, threads):
    monkeypatch.setattr("graphbp.threads._cores", lambda: 64)
    for name in (*SAYS, "GRAPHBP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert n_threads() == threads
    with gb.config(threads=6):  # whoever asks graphbp itself is heard
        assert n_threads() == 6
