"""How much memory a computation may take, and the refusal of one that would take more.

The limit is the option `memory` of `graphbp.config`, in bytes; 0, the default, stands for 80 % of what this process could still be
given at that moment: the least of what the machine, the address space (`ulimit -v`) and the control groups (containers, batch
systems) have left.  Whoever is about to allocate something that grows faster than its arguments asks first, for all that it will hold
at one time, not for the result alone:

    check_memory(8 * W * W, f"the exact Hessian of {W:,} parameters", "net.hessian_operator(X, T)")
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from graphbp.config import option
from graphbp.exceptions import MemoryLimitError

__all__ = ["available_memory", "check_memory", "memory_limit"]

_SHARE_OF_FREE = 0.8
_UNKNOWN = 2**63 - 1
_NO_LIMIT = 2**60  # version 1 has a number beyond all memory where there is none
_ROOT, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_SMALL = 1 << 20  # bytes that are always there: asking the machine takes longer than a small network's sweep


def available_memory() -> int:
    """Bytes that this process could still be given: the least of what the machine, its limits and its control groups leave it."""
    free = min(_free_memory(), _address_space_left())
    for group in _control_groups():
        free = min(free, _left_in_group(group, free))
    return max(0, free)


def _free_memory() -> int:
    """Of the machine: Linux's own estimate, else the free pages, else 2⁶³ − 1 (not known)."""
    found = _field(Path("/proc/meminfo"), "MemAvailable:")
    if found is not None:
        return found * 1024
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):  # macOS has only the second, all of the memory
        try:
            return int(os.sysconf(pages)) * int(os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, ValueError, OSError):
            continue
    return _UNKNOWN


def _address_space_left() -> int:
    """What RLIMIT_AS leaves, where it is set."""
    try:
        import resource  # not on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit in (resource.RLIM_INFINITY, -1):
            return _UNKNOWN
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return limit - pages * int(os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, OSError, ValueError, IndexError):
        return _UNKNOWN


@cache
def _control_groups() -> tuple[_Group, ...]:
    """The control groups with a memory limit that this process is in, and those that these are in, of version 1 and 2."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version = 2 if not controllers else 1 if "memory" in controllers.split(",") else 0
        root = _ROOT / "memory" if version == 1 else _ROOT
        below = PurePosixPath(path.lstrip("/"))
        for part in (below, *below.parents) if version else ():  # in a container the mount is the group, and its path is not there
            group = _Group(root / part, *_FILES[version])
            if (group.folder / group.limit).is_file():
                found.append(group)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class _Group:
    """A control group's folder, and what its files are called: the limit, the use, and the field of cached files among the latter."""

    folder: Path
    limit: str
    use: str
    cached: str


_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def _left_in_group(group: _Group, enough: int) -> int:
    """What a group's limit leaves, cached files that would make room counted as free; no matter what where that is `enough`."""
    try:
        limit = int((group.folder / group.limit).read_text(encoding="ascii"))  # version 2 says "max" where there is none
        if limit >= _NO_LIMIT:
            return enough
        left = limit - int((group.folder / group.use).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return enough
    return left if left >= enough else left + (_field(group.folder / "memory.stat", group.cached) or 0)


def _field(path: Path, name: str) -> int | None:
    """The number behind a name at the beginning of a line."""
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            words = line.split()
            if words and words[0] == name:
                return int(words[1])
    except (OSError, ValueError, IndexError):
        pass
    return None


def memory_limit() -> int:
    """Bytes that one computation may hold now."""
    limit = int(option("memory"))
    return limit if limit else int(_SHARE_OF_FREE * available_memory())


def check_memory(bytes_needed: int, what: str, instead: str) -> None:
    """Nothing, where `bytes_needed`, the most that will be held at one time, is within the limit.

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
