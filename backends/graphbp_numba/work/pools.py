"""Memory that was used before: fresh pages cost a fault every 4 KiB, as much as a sweep itself where samples are few."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["KEPT_BYTES", "Pool"]

KEPT_BYTES = 256 << 20
"""What one executable keeps for the next call: gradient sums, weights in the order of the sweeps, tiles' rows."""

_M = TypeVar("_M")


class Pool(Generic[_M]):
    """What was given back, by key.  Together it takes at most `limit` bytes: what was given back longest ago is let go."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._free: dict[Hashable, list[tuple[int, _M, int]]] = {}  # (when it came, memory, its bytes), the latest last
        self._given = 0
        self._gate = threading.Lock()

    def take(self, key: Hashable) -> _M | None:
        """The last that was given back under this key, now the caller's; None where there is none."""
        with self._gate:
            free = self._free.get(key)
            if not free:
                return None
            _, memory, size = free.pop()
            self.bytes -= size
            return memory

    def give(self, key: Hashable, memory: _M, size: int) -> None:
        """Keep this, of so many bytes, for the next who asks."""
        if not 0 < size <= self.limit:
            return
        with self._gate:
            self._given += 1
            self._free.setdefault(key, []).append((self._given, memory, size))
            self.bytes += size
            while self.bytes > self.limit:
                oldest = min((free for free in self._free.values() if free), key=lambda free: free[0][0])
                self.bytes -= oldest.pop(0)[2]

    def __iter__(self) -> Iterator[tuple[Hashable, _M]]:
        """(key, memory) of what is kept."""
        kept = sorted(
            ((came, key, memory) for key, free in list(self._free.items()) for came, memory, _ in free), key=lambda each: each[0]
        )
        return iter([(key, memory) for _, key, memory in kept])

    def clear(self) -> None:
        """Let everything go."""
        with self._gate:
            self._free.clear()
            self.bytes = 0
