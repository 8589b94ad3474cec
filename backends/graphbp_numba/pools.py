"""Memory that was used before: fresh pages cost a fault every 4 KiB, as much as a sweep itself where samples are few."""

from __future__ import annotations

import threading
from collections import deque
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
        self._free: deque[tuple[Hashable, _M, int]] = deque()
        self._gate = threading.Lock()

    def take(self, key: Hashable) -> _M | None:
        """The last that was given back under this key, now the caller's; None where there is none."""
        with self._gate:
            for i in range(len(self._free) - 1, -1, -1):
                if self._free[i][0] == key:
                    _, memory, size = self._free[i]
                    del self._free[i]
                    self.bytes -= size
                    return memory
        return None

    def give(self, key: Hashable, memory: _M, size: int) -> None:
        """Keep this, of so many bytes, for the next who asks."""
        if not 0 < size <= self.limit:
            return
        with self._gate:
            self._free.append((key, memory, size))
            self.bytes += size
            while self.bytes > self.limit:
                self.bytes -= self._free.popleft()[2]

    def __iter__(self) -> Iterator[tuple[Hashable, _M]]:
        """(key, memory) of what is kept."""
        return iter([(key, memory) for key, memory, _ in self._free])

    def clear(self) -> None:
        """Let everything go."""
        with self._gate:
            self._free.clear()
            self.bytes = 0
