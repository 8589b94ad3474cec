"""Timing the contenders on a GPU: a budget of time, one round of calls after another, the ceilings, and the table."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.contenders import Case
from benchmarks.outcome import MissingError, Run

__all__ = ["Clock", "ceilings", "measure", "release", "short", "table"]


class Clock:
    """Seconds since the start, and whether a step of a given length still fits."""

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self.start, self.limit = now(), 60 * minutes

    def fits(self, seconds: float) -> bool:
        return self.now() - self.start + seconds < self.limit

    def __str__(self) -> str:
        return f"{self.now() - self.start:5.0f} s"


def release(library: Any) -> None:
    """Memory that one contender's pool keeps, for the next."""
    gc.collect()
    if hasattr(library, "get_default_memory_pool"):
        library.get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()


def measure(case: Case, clock: Clock, rounds: int, library: Any = None, longest: dict[str, float] | None = None) -> dict[str, Any]:
    """Median seconds of each contender, one call of each in turn; a contender that cannot run says why.

    `longest` : the seconds that each contender took to be ready so far; one that would no longer be in time is left out.
    """
    runs: dict[str, Run] = {}
    seconds: dict[str, Any] = {}
    longest = {} if longest is None else longest
    for name, build in case.contenders.items():
        if not clock.fits(max(15.0, 1.2 * longest.get(name, 0.0))):
            seconds[name] = "left out for time"
            continue
        started = clock.now()
        try:
            run = build()
            first = _timed(run.call)
            again = _timed(run.call)
        except MissingError as problem:
            seconds[name] = str(problem)
        except Exception as problem:  # out of memory, an operation that the peer lacks: the table says so
            seconds[name] = f"{type(problem).__name__}: {problem}".splitlines()[0][:160]
        else:
            runs[name] = run
            seconds[name] = {"first": first, "rounds": [again]}
        longest[name] = max(longest.get(name, 0.0), clock.now() - started)
        if name not in runs:
            run = None  # type: ignore[assignment]  # what it still holds is for the next one
            release(library)
    for _ in range(rounds):
        for name, run in runs.items():
            if clock.fits(2 * seconds[name]["rounds"][0] + 5):
                seconds[name]["rounds"].append(_timed(run.call))
    for name in runs:
        seconds[name]["median"] = statistics.median(seconds[name]["rounds"][1:] or seconds[name]["rounds"])
    return {"case": case.name, "flop": case.flop, "bytes": case.bytes, "seconds": seconds}


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ceilings(library: Any, wait: Callable[[], None], size: int) -> dict[str, float]:
    """bytes a second of copying a large array, and flop a second of a large matrix product, in this very run."""
    found = {}
    source = library.zeros(size * size, dtype=library.float32)
    target = library.empty(size * size, dtype=library.float32)

    def copy() -> None:
        target[...] = source
        wait()

    found["bytes"] = 2 * source.nbytes / min(_timed(copy) for _ in range(5))
    for dtype in ("float32", "float64"):
        a = library.ones((size, size), dtype=dtype)

        def product(a: Any = a) -> None:
            library.matmul(a, a)
            wait()

        found[f"flop {dtype}"] = 2.0 * size**3 / min(_timed(product) for _ in range(5))
    return found


def table(results: list[dict[str, Any]], ceiling: dict[str, float]) -> str:
    """Markdown: seconds, how many times slower than graphbp on the GPU, and the fraction of the ceilings."""
    lines = ["| work | contender | ms | ÷ graphbp cupy | of memory ceiling | of arithmetic ceiling |", "|---|---|---|---|---|---|"]
    for result in results:
        ours = result["seconds"]["graphbp cupy"]
        for name, took in result["seconds"].items():
            if isinstance(took, str):
                lines.append(f"| {result['case']} | {name} | {took.replace('|', '/')} | | | |")
                continue
            ratio = f"{took['median'] / ours['median']:.2f}" if isinstance(ours, dict) else ""
            dtype = "float64" if "float64" in result["case"] else "float32"
            of_memory = result["bytes"] / took["median"] / ceiling["bytes"]
            of_flop = result["flop"] / took["median"] / ceiling[f"flop {dtype}"]
            shown = "(CPU" not in name
            lines.append(
                f"| {result['case']} | {name} | {1e3 * took['median']:.3g} | {ratio} | "
                f"{f'{of_memory:.1%}' if shown and of_memory else ''} | {f'{of_flop:.1%}' if shown and of_flop else ''} |"
            )
    return "\n".join(lines)


def short(took: Any) -> str:
    """Milliseconds, or why there are none."""
    return took if isinstance(took, str) else f"{1e3 * took['median']:.3g} ms"
