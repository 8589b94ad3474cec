"""How many samples, and how many directions beside them, are held on the device at once.

A call streams its samples in chunks, and takes directions (the columns of a Hessian product, the outputs of a Jacobian, the units
of a Hessian) in batches, so that its working arrays stay within a budget whatever N is.  The plan depends on the network, on N and
on the budget alone, and the budget on the device, never on how much memory happens to be free: the same call gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from graphbp.extend import MemoryLimitError, option

__all__ = ["SHARE", "Plan", "budget", "guarded", "plan"]

SHARE = 16
"""A sixteenth of the device's memory is for working arrays, unless the option `memory` says less: few launches, and room for others."""

_WIDE = 32
"""A batch of directions shrinks before a chunk has fewer samples than this: a warp's worth, side by side in memory."""

_MAX_BATCH = 65535  # the z dimension of a grid


@dataclass(frozen=True)
class Plan:
    """chunk : samples at once.  batch : directions at once.  bytes : of the working arrays then."""

    n_samples: int
    columns: int
    chunk: int
    batch: int
    bytes: int

    def parts(self) -> Iterator[slice]:
        """The chunks of samples, in order."""
        for start in range(0, self.n_samples, self.chunk):
            yield slice(start, min(start + self.chunk, self.n_samples))

    def batches(self) -> Iterator[tuple[int, int]]:
        """The batches of directions, in order."""
        for start in range(0, self.columns, self.batch):
            yield start, min(start + self.batch, self.columns)

    def __str__(self) -> str:
        directions = f" and {self.batch} of {self.columns} directions" if self.columns else ""
        return f"{self.chunk:,} of {self.n_samples:,} samples{directions} at once, {self.bytes:,} bytes of working arrays"


def budget(device_memory: int) -> int:
    """Bytes for working arrays: a share of the device's memory, or half of the option `memory` where that is less."""
    limit = int(option("memory"))
    return min(device_memory // SHARE, limit // 2) if limit else device_memory // SHARE


def plan(bytes_to_use: int, n_samples: int, itemsize: int, per_sample: int, columns: int = 0, per_column: int = 0) -> Plan:
    """Chunks for arrays of `per_sample` + batch × `per_column` numbers a sample."""
    numbers = bytes_to_use // itemsize
    samples = min(n_samples, _WIDE)
    batch = max(1, min(columns, _MAX_BATCH, (numbers // samples - per_sample) // max(1, per_column)))
    each = per_sample + (batch * per_column if columns else 0)
    chunk = max(1, min(n_samples, numbers // each))
    if chunk < n_samples and chunk > _WIDE:
        chunk -= chunk % _WIDE
    return Plan(n_samples, columns, chunk, batch, chunk * each * itemsize)


P = ParamSpec("P")
R = TypeVar("R")


def guarded(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Run on the executable's device; out of memory becomes a `MemoryLimitError` with the bytes of the plan."""

    @wraps(method)
    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.device:
            try:
                return method(self, *args, **kwargs)
            except self.cp.cuda.memory.OutOfMemoryError as problem:
                given = self.plan(len(args[1]))  # type: ignore[arg-type]  # every method's second argument is X
                raise MemoryLimitError(
                    f"{method.__name__.lstrip('_')}: the GPU is out of memory ({problem}). A forward and reverse sweep here takes {given}, "
                    f"and the result and its inputs come on top. Give fewer samples a call, or a smaller budget with "
                    f"gb.config(memory=...): working arrays then take half of it"
                ) from problem

    return run
