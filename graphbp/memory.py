"""Refuse a result that would exhaust memory before it is computed."""

from __future__ import annotations

import os

from graphbp.config import option
from graphbp.exceptions import MemoryLimitError

__all__ = ["available_memory", "check_memory", "memory_limit"]

SHARE = 0.8
"""Of the memory that is free now, how much one result may take."""
ALWAYS = 1 << 24
"""Bytes that are never refused without an explicit limit, nor worth a look at the system."""


def available_memory() -> int:
    """Bytes that a new array could take now, without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123  # a device file, read on a warm path
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 62  # nothing known: let NumPy's own MemoryError speak


def memory_limit() -> int:
    """The option `memory`, or 80 % of what is available."""
    return int(option("memory")) or int(SHARE * available_memory())


def check_memory(n_bytes: int, what: str, instead: str) -> None:
    """Raise `MemoryLimitError` if `what`, of `n_bytes`, would pass the limit; the message names `instead`.

    >>> import graphbp as gb
    >>> with gb.config(memory=1000):  # doctest: +ELLIPSIS
    ...     check_memory(8000, "hessian of shape (100, 10)", "hessian_operator(X, T)")
    Traceback (most recent call last):
    graphbp.exceptions.MemoryLimitError: hessian ... needs 8.0 kB and the limit is 1.0 kB; use hessian_operator(X, T) instead, or ...
    """
    if n_bytes <= ALWAYS and not option("memory"):
        return
    limit = memory_limit()
    if n_bytes > limit:
        raise MemoryLimitError(
            f"{what} needs {_human(n_bytes)} and the limit is {_human(limit)}; use {instead} instead, or raise gb.config(memory=...)"
        )


def _human(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:,.1f} TB"
