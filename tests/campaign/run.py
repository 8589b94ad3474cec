"""Many cases, in as many processes as asked for; what is wrong is gathered by its signature, shrunk and counted."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

import graphbp as gb

from .compare import FACTOR, QUANTITIES, asked, examine
from .draw import draw, kinds_of
from .reference import roles
from .shrink import program, shrink

__all__ = ["Campaign", "Tally", "signature"]

CHUNK = 25


@dataclass
class Tally:
    """What some cases came to.  `found`: (index, signature, finding) of every wrong quantity."""

    networks: int = 0
    kinds: Counter = field(default_factory=Counter)
    asked: Counter = field(default_factory=Counter)
    ratios: dict = field(default_factory=dict)
    found: list = field(default_factory=list)

    def add(self, other):
        self.networks += other.networks
        self.kinds += other.kinds
        self.asked += other.asked
        self.found += other.found
        for key, ratio in other.ratios.items():
            self.ratios[key] = max(ratio, self.ratios.get(key, 0.0))


def signature(case, finding):
    """What probably has one cause: backend, quantity, how it is wrong, the error, the outputs' activations."""
    g = case.graph
    heads = sorted({g.nodes[node].get("activation", "identity") for node in roles(g)[1]})
    return finding.backend, finding.quantity, finding.kind, case.error, "+".join(heads), "soiled" if case.dirty else "", case.path


def examine_chunk(task) -> Tally:
    """The cases first to stop of a seed."""
    seed, first, stop, backends, only = task
    tally = Tally()
    with threadpool_limits(1), gb.config(threads=1):
        for index in range(first, stop):
            case, ratios = draw([seed, index]), {}
            wanted = asked([seed, index]) if only is None else only
            findings = examine(case, backends, wanted, ratios)
            tally.networks += 1
            tally.kinds += kinds_of(case)
            tally.asked += Counter(wanted)
            tally.found += [(index, signature(case, finding), finding) for finding in findings]
            wrong = {(f.backend, f.quantity) for f in findings}
            for (backend, quantity, dtype), ratio in ratios.items():
                if (backend, quantity) not in wrong:
                    key = backend, quantity, dtype
                    tally.ratios[key] = max(ratio, tally.ratios.get(key, 0.0))
    return tally


@dataclass
class Campaign:
    """Cases of a seed until `networks` or `seconds` are over; `shrink_each` of every signature are made small."""

    seed: int = 0
    networks: int = 1000
    seconds: float = float("inf")
    processes: int = 1
    backends: tuple = ("numpy", "numba")
    only: tuple | None = None
    first: int = 0
    shrink_each: int = 1
    shrink_seconds: float = 10.0
    shrink_most: int = 40

    def run(self, say=print) -> Tally:
        """Run it, with a line of progress now and then; `say` takes the lines."""
        total, shrunk, began, last = Tally(), Counter(), time.monotonic(), time.monotonic()
        seen: Counter = Counter()
        for tally in self._tallies():
            total.add(tally)
            for index, sign, finding in tally.found:
                seen[sign] += 1
                if seen[sign] <= self.shrink_each and not shrunk[index] and len(shrunk) < self.shrink_most:
                    shrunk[index] = 1
                    self._show(index, finding, say)
            if time.monotonic() - last > 15:
                last = time.monotonic()
                rate = total.networks / (last - began)
                say(
                    f"# {total.networks:,} networks, {rate:.1f} a second, {len({i for i, _, _ in total.found}):,} with something wrong"
                )
            if time.monotonic() - began > self.seconds:
                break
        return total

    def _tallies(self) -> Iterator[Tally]:
        stop = self.first + self.networks
        tasks = ((self.seed, k, min(k + CHUNK, stop), self.backends, self.only) for k in range(self.first, stop, CHUNK))
        if self.processes == 1:
            yield from map(examine_chunk, tasks)
            return
        tasks, left = iter(tasks), {}
        with ProcessPoolExecutor(self.processes, multiprocessing.get_context("spawn")) as pool:
            for task in itertools.islice(tasks, 2 * self.processes):
                left[pool.submit(examine_chunk, task)] = task
            while left:
                for done in wait(left, return_when=FIRST_COMPLETED).done:
                    if isinstance(done.exception(), BrokenProcessPool):  # a crash: machine code that went astray
                        cases = ", ".join(f"{self.seed},{first} to {stop - 1}" for _, first, stop, *_ in left.values())
                        raise RuntimeError(f"a process died, at one of the cases {cases}") from done.exception()
                    del left[done]
                    yield done.result()
                    for task in itertools.islice(tasks, 1):
                        left[pool.submit(examine_chunk, task)] = task

    def _show(self, index, finding, say):
        with threadpool_limits(1), gb.config(threads=1):
            case, small = shrink(draw([self.seed, index]), finding, self.shrink_seconds)
        say(f"\n### case {self.seed},{index}: {finding.backend} {finding.quantity} {finding.kind}: {finding.detail}")
        say(program(case, small) + "\n")


def summary(tally) -> str:
    """Counts by kind, the largest ratios to the bound, what is wrong."""
    lines = [f"{tally.networks:,} networks", "", "what they had:"]
    groups: dict[str, list[str]] = {}
    for kind, count in sorted(tally.kinds.items()):
        head, _, rest = kind.partition(" ")
        key, text = (head, rest) if head in ("activation", "aggregation", "head", "N", "style", "error", "path") else ("", kind)
        if count:
            groups.setdefault(key, []).append(f"{text} {count:,}")
    lines += [f"  {key or 'other'}: {', '.join(parts)}" for key, parts in groups.items()]
    lines += ["", "of how many each backend was asked for: " + ", ".join(f"{name} {tally.asked[name]:,}" for name in QUANTITIES)]
    lines += ["", f"largest difference of what is right, in bounds (a fault from {FACTOR:g} on):"]
    for (backend, quantity, dtype), ratio in sorted(tally.ratios.items()):
        lines.append(f"  {backend:8s} {dtype:8s} {quantity:24s} {ratio:.2f}")
    wrong: dict = {}
    for index, sign, _ in tally.found:
        wrong.setdefault(sign, []).append(index)
    lines += ["", f"{len({i for i, _, _ in tally.found}):,} networks with something wrong" + (":" if wrong else ".")]
    for sign, cases in sorted(wrong.items(), key=lambda pair: -len(pair[1])):
        lines.append(f"  {len(cases):6,} × {' '.join(filter(None, sign))}   (cases {', '.join(map(str, cases[:4]))})")
    return "\n".join(lines)
