"""How many samples, and how many directions beside them, are held on the device at once.

A call streams its samples in chunks, and takes directions (the columns of a Hessian product, the outputs of a Jacobian, the units
of a Hessian) in batches, so that its working arrays stay within a budget whatever N is.  How a call is cut depends on the network, on N and
on the budget alone, and the budget on the device, never on how much memory happens to be free: the same call gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np

from graphbp.extend import MemoryLimitError, Schedule, option

__all__ = ["SHARE", "Cut", "Footprint", "budget", "cut", "footprint", "guarded"]

SHARE = 16
"""A sixteenth of the device's memory is for working arrays, unless the option `memory` says less: few launches, and room for others."""

_WIDE = 32
"""A batch of directions shrinks before a chunk has fewer samples than this: a warp's worth, side by side in memory."""

_MAX_BATCH = 65535  # the z dimension of a grid


@dataclass(frozen=True)
class Cut:
    """chunk : samples at once.  batch : directions at once.  bytes : of the working arrays then."""

    n_samples: int
    columns: int
    chunk: int
    batch: int
    bytes: int

    # Functions of their own for a chunk and a batch: the arrays of one are gone before the next one's are made, as the cut counts them.

    def over_parts(self, work: Callable[[slice], object]) -> None:
        """`work` for the chunks of samples, in order."""
        for start in range(0, self.n_samples, self.chunk):
            work(slice(start, min(start + self.chunk, self.n_samples)))

    def over_batches(self, work: Callable[[int, int], object]) -> None:
        """`work` for the batches of directions, from first to last, in order."""
        for start in range(0, self.columns, max(1, self.batch)):
            work(start, min(start + self.batch, self.columns))

    def __str__(self) -> str:
        directions = f" and {self.batch} of {self.columns} directions" if self.columns else ""
        return f"{self.chunk:,} of {self.n_samples:,} samples{directions} at once, {self.bytes:,} bytes of working arrays"


def budget(device_memory: int) -> int:
    """Bytes for working arrays: a share of the device's memory, or half of the option `memory` where that is less."""
    limit = int(option("memory"))
    return min(device_memory // SHARE, limit // 2) if limit else device_memory // SHARE


class Footprint(NamedTuple):
    """Numbers held at the peak: for every sample, for every sample and direction, and for every direction whatever N is."""

    sample: int
    direction: int = 0
    batch: int = 0


def footprint(quantity: str, schedule: Schedule, n_slots: int) -> Footprint:
    """What the level path holds for a quantity: a and z, then β and δ, are R numbers a sample, and each direction has its own.

    What comes on top passes: the terms at the K outputs, a product of a dense block (m, k) before it is added, or two of them where a
    direction of weights has its own, and the rows gathered for one whose sources are apart.
    """
    rows, outputs = schedule.n_rows, schedule.n_outputs
    blocks = [(*block.shape, block.shape[1] * (block.src_start < 0)) for block in schedule.dense_blocks]
    once = max((max(m + apart, k) for m, k, apart in blocks), default=0)
    twice = max((max(2 * m + apart, 2 * k) for m, k, apart in blocks), default=0)
    fan_in = int(np.bincount(_destinations(schedule), minlength=1).max(initial=0)) + 1
    one, both = 2 * rows + outputs + once, 4 * rows + outputs + twice
    return {
        "forward": Footprint(one),
        "jvp": Footprint(2 * rows, 2 * rows + outputs + twice),
        "jacobian": Footprint(2 * rows, one + min(outputs, schedule.n_inputs)),
        "weight_jacobian": Footprint(2 * rows, one),
        "product": Footprint(4 * rows, both, 3 * n_slots),
        "hessian": Footprint(5 * rows + fan_in, max(both, 2 * rows + n_slots), fan_in * n_slots),  # a unit's rows of H
        "diagonal": Footprint(4 * rows, both),
    }.get(quantity, Footprint(4 * rows + outputs + once + 2))


def _destinations(schedule: Schedule) -> Any:
    """The row that each edge leads into."""
    dense = [np.repeat(np.arange(block.start, block.stop), block.shape[1]) for block in schedule.dense_blocks]
    return np.concatenate([np.repeat(np.arange(schedule.n_rows), np.diff(schedule.in_ptr)), *dense])


def cut(bytes_to_use: int, n_samples: int, itemsize: int, need: Footprint, columns: int = 0) -> Cut:
    """Chunks and batches whose arrays stay within the bytes to use, where one sample and one direction do."""
    numbers = bytes_to_use // itemsize
    samples = min(n_samples, _WIDE)
    batch = (numbers - samples * need.sample) // max(1, samples * need.direction + need.batch)
    batch = max(1, min(columns, _MAX_BATCH, batch)) if columns else 0
    each, own = need.sample + batch * need.direction, batch * need.batch
    chunk = max(1, min(n_samples, (numbers - own) // each))
    if chunk < n_samples and chunk > _WIDE:
        chunk -= chunk % _WIDE
    return Cut(n_samples, columns, chunk, batch, (chunk * each + own) * itemsize)


P = ParamSpec("P")
R = TypeVar("R")


def guarded(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Run on the executable's device; out of memory becomes a `MemoryLimitError` with the bytes of the cut."""

    @wraps(method)
    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.device:
            try:
                return method(self, *args, **kwargs)
            except self.cp.cuda.memory.OutOfMemoryError as problem:
                given = self.cut(len(args[1]))  # type: ignore[arg-type]  # every method's second argument is X
                raise MemoryLimitError(
                    f"{method.__name__.lstrip('_')}: the GPU is out of memory ({problem}). A forward and reverse sweep here takes {given}, "
                    f"and the result and its inputs come on top. Give fewer samples a call, or a smaller budget with "
                    f"gb.config(memory=...): working arrays then take half of it"
                ) from problem

    return run
