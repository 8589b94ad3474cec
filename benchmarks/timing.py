"""Race contenders on the same work: check that they agree, then time them in turn, A B C A B C ...

Each sample is the mean of enough calls to last 5 ms; before it, one call that is not timed brings the contender's code and data
back into the caches and wakes its threads (left out for calls longer than 50 ms, which warm themselves).  A row's time is the
median over the rounds, its spread the lowest and the highest.  A sample during which our threads had to wait for a core (another
program ran) for more than 2 % of the time is taken again, up to twenty times within a second, and the least disturbed one is kept;
that holds for every contender alike.  A contender that has used up its patience runs at least three rounds, two
if they last a minute.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.outcome import Array, Contender, Context, MissingError, Row, Run, Target

SAMPLE = 0.005
WARMS_ITSELF = 0.05
PAUSE = 0.01
SLOW = 30.0
DISTURBED, TRIES, TRY_SECONDS = 0.02, 20, 1.0


@dataclass
class _Entrant:
    name: str
    run: Run
    once: float
    value: Array | None
    samples: list[float]

    @property
    def repeat(self) -> int:
        return max(1, int(SAMPLE / self.once))

    def sample(self) -> None:
        """Take one sample: the least disturbed of a few tries."""
        tries = [self._try()]
        while tries[-1][0] > DISTURBED and len(tries) < TRIES and sum(t for _, t in tries) * self.repeat < TRY_SECONDS:
            tries.append(self._try())
        self.samples.append(min(tries)[1])

    def _try(self) -> tuple[float, float]:
        """(share of the time that our threads waited for a core, seconds a call)."""
        call = self.run.call
        time.sleep(PAUSE)
        if self.once < WARMS_ITSELF:
            call()
        repeat = self.repeat
        waited = _waited()
        start = time.perf_counter()
        for _ in range(repeat):
            call()
        seconds = time.perf_counter() - start
        return (_waited() - waited) / seconds, seconds / repeat


def _waited() -> float:
    """Seconds that the threads of this process have stood in line for a core; 0 where the system does not say (not Linux)."""
    total = 0
    for task in Path("/proc/self/task").glob("*"):
        with suppress(OSError, IndexError, ValueError):  # a thread may end meanwhile
            total += int((task / "schedstat").read_text().split()[1])
    return total / 1e9


def race(
    context: Context,
    workload: str,
    contenders: Sequence[Contender],
    *,
    tolerance: float,
    targets: Sequence[Target] = (),
    size: int | None = None,
    work: float | None = None,
) -> list[Row]:
    """One row a contender.  The reference is the first graphbp contender that runs: ratios are to its time; results are compared with
    the first result there is.  Targets are judged only where the reference is the contender named first.

    A contender that is missing, fails, or disagrees by more than `tolerance` (largest difference over largest entry) gets a row that
    says so and is not timed.  `work` is edges × samples, for the rate; `size` the place on the axis of a picture.
    """
    rows, entrants = _get_ready(context, workload, contenders, tolerance, size)
    context.say(f"  {workload}: timing {len(entrants)} contenders")
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for done in range(context.rounds):
            for entrant in entrants:
                least = 3 if sum(entrant.samples) < 2 * SLOW else 2
                if done < least or sum(entrant.samples) * entrant.repeat < context.patience:
                    entrant.sample()
    finally:
        if enabled:
            gc.enable()
    reference = next((entrant for entrant in entrants if entrant.name.startswith("graphbp")), None)
    base = None if reference is None else statistics.median(reference.samples)
    for entrant in entrants:
        row = rows[entrant.name]
        row.seconds, row.low, row.high = statistics.median(entrant.samples), min(entrant.samples), max(entrant.samples)
        row.rate = None if work is None else work / row.seconds
        row.rounds = len(entrant.samples)
        row.ratio = None if base is None else row.seconds / base
        row.ratio_of_lows = None if reference is None else row.low / min(reference.samples)
        row.reference = entrant is reference
    for target in targets:
        _judge(target, rows, reference is not None and reference.name == contenders[0].name)
    return list(rows.values())


def _get_ready(
    context: Context, workload: str, contenders: Sequence[Contender], tolerance: float, size: int | None
) -> tuple[dict[str, Row], list[_Entrant]]:
    rows: dict[str, Row] = {}
    entrants: list[_Entrant] = []
    for contender in contenders:
        row = rows[contender.name] = Row(workload, contender.name, size=size)
        context.say(f"  {workload}: {contender.name}")
        try:
            start = time.perf_counter()
            run = contender.build()
            result = run.call()  # compiles
            value = None if run.value is None else np.asarray(run.value(result))
            ready = time.perf_counter() - start
            once = ready
            if ready < SLOW:  # else it need not be known better: no repeats, no warming
                start = time.perf_counter()
                run.call()
                once = time.perf_counter() - start
        except MissingError as gone:
            row.value = "missing"
            row.note = f"{gone}" + (f": {gone.install}" if gone.install else "")
            continue
        except Exception as problem:  # one peer's failure must not end the run; it is reported in its row
            row.value = "failed"
            row.note = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
            continue
        row.note = "; ".join(part for part in (run.note, f"ready in {ready:.1f} s" if ready > 1 else "") if part)
        known = next((entrant.value for entrant in entrants if entrant.value is not None), None)
        if value is not None and known is not None:
            row.difference = relative_difference(value, known)
            if not row.difference <= tolerance:
                row.value = "disagrees"
                row.note = f"differs by {row.difference:.1e}, allowed {tolerance:.0e}; not timed"
                continue
        entrants.append(_Entrant(contender.name, run, once, value, []))
    return rows, entrants


def relative_difference(a: Array, b: Array) -> float:
    """max |a − b| / max |b|; infinite where the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    scale = float(np.abs(b).max()) or 1.0
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) / scale


def _judge(target: Target, rows: dict[str, Row], meant: bool) -> None:
    """Write the target beside the fastest of the contenders it speaks of; `meant`: the reference is the one the targets mean."""
    there = [rows[name] for name in target.of if name in rows]
    timed = [row for row in there if row.ratio is not None]
    if timed:
        row = min(timed, key=lambda r: r.ratio or 0.0)
        ratio = row.ratio or 0.0
        if meant:
            row.met = ratio <= target.ratio if target.at_most else ratio >= target.ratio
    elif there:
        row = there[0]
    else:
        return
    row.target = target.text
