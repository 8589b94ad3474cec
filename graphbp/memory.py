"""How much memory a result may take, and the refusal of one that would take more.

The limit is the option `memory` of `graphbp.config`, in bytes; 0, the default, stands for 80 % of what the machine has free at
that moment.  Whoever is about to allocate something that grows faster than its arguments asks first:

    check_memory(8 * W * W, f"the exact Hessian of {W:,} parameters", "net.hessian_operator(X, T)")
"""

from __future__ import annotations

import os
from pathlib import Path

from graphbp.config import option
from graphbp.exceptions import MemoryLimitError

__all__ = ["available_memory", "check_memory", "memory_limit"]

_SHARE_OF_FREE = 0.8
_SMALL = 1 << 20  # bytes that are always there: asking the machine takes longer than a small network's sweep


def available_memory() -> int:
    """Bytes that a process could still be given: Linux's own estimate, else the free pages, else 2⁶³ − 1 (not known)."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):  # macOS has only the second, all of the memory
        try:
            return int(os.sysconf(pages)) * int(os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, ValueError, OSError):
            continue
    return 2**63 - 1


def memory_limit() -> int:
    """Bytes that one result may take now."""
    limit = int(option("memory"))
    return limit if limit else int(_SHARE_OF_FREE * available_memory())


def check_memory(bytes_needed: int, what: str, instead: str) -> None:
    """Nothing, where `bytes_needed` is within the limit.

    Raises
    ------
    MemoryLimitError : it is not; the message has `what` with its size, the limit, and `instead`, what to call in its place.
    """
    configured = int(option("memory"))
    if not configured and bytes_needed <= _SMALL:
        return
    limit = configured or memory_limit()
    if bytes_needed > limit:
        raise MemoryLimitError(
            f"{what} would take {_human(bytes_needed)}, and at most {_human(limit)} may be used; call {instead} instead, or raise "
            "the limit with gb.config(memory=bytes)"
        )


def _human(size: int) -> str:
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{size:,} bytes" if unit == "bytes" else f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"
