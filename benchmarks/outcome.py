"""What a benchmark says: rows of a table, each with the target it has to reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class MissingError(Exception):
    """A contender that cannot run here: its library is not installed, or there is no compiler."""

    def __init__(self, what: str, install: str = "") -> None:
        super().__init__(what)
        self.install = install


@dataclass
class Run:
    """A contender made ready: `call` is what is timed and returns when the work is done; `value` makes its result comparable.

    `value` None: a roofline, which does part of the work only and has no result.
    """

    call: Callable[[], Any]
    value: Callable[[Any], Array] | None = np.asarray
    note: str = ""


@dataclass(frozen=True)
class Contender:
    """A name and what makes it ready; `build` imports the library, compiles, and moves the data, untimed."""

    name: str
    build: Callable[[], Run]


@dataclass(frozen=True)
class Target:
    """The fastest of `of` must take at least `ratio` times as long as the reference (graphbp); or, `at_most`, no longer than that."""

    of: tuple[str, ...]
    ratio: float
    text: str
    at_most: bool = False

    @staticmethod
    def faster(of: str, ratio: float) -> Target:
        return Target((of,), ratio, f"≥ {ratio:g} ×")

    @staticmethod
    def within(of: str, factor: float) -> Target:
        return Target((of,), 1 / factor, f"within {factor:g} × (ratio ≥ {1 / factor:.2f})")


@dataclass
class Row:
    """One line of the table.

    seconds, low, high : median and range of a call; None where the row is not a timing.
    ratio : seconds over the reference's seconds: how many times faster graphbp is.
    ratio_of_lows : the same of the fastest rounds: what an undisturbed machine would show.
    target, met : the target in words, and whether it is reached; met is None where nothing was asked.
    value : what is said in place of a time ("19 of 19 categories").
    rate : work a second, where the work is counted in edges × samples.
    difference : largest difference from the reference's result, relative to its largest entry.
    """

    workload: str
    what: str
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    ratio: float | None = None
    ratio_of_lows: float | None = None
    target: str = ""
    met: bool | None = None
    value: str = ""
    note: str = ""
    rate: float | None = None
    difference: float | None = None
    size: int | None = None
    reference: bool = False
    date: str = ""


@dataclass
class Context:
    """How this run is done: `quick` makes everything small (a smoke test, its numbers mean nothing); `inputs` of the Graph Challenge."""

    quick: bool = False
    rounds: int = 7
    patience: float = 20.0
    threads: int = 2
    inputs: int = 60_000
    say: Callable[[str], None] = field(default=partial(print, flush=True))


@dataclass(frozen=True)
class Workload:
    """A name for `--only`, a title for people, and what runs it."""

    name: str
    title: str
    run: Callable[[Context], Sequence[Row]]
