"""The device under `fake_cupy`: its memory, its streams, and what a stream records, with CUDA's rules kept strictly.

*Memory* is malloc'ed at its exact size, filled with 0xff, and bounded by `memory`.  A `MemoryPool` keeps what its arrays gave back until
the pool itself is gone; the default allocator frees at once.

*Streams* run their work at once, but what they know of each other is followed: memory of a pool that two streams touch with neither
an event nor a wait of the host between them is a race, and refused.

*Recording* (`Stream.begin_capture` … `end_capture`): work is kept and not run.  Refused while a stream records, as CUDA or CuPy would, or
stricter: the legacy default stream, another stream, copies to and from the host, waiting, events, memory from the device, cuBLAS, a
kernel that has never run (its module would be loaded).  After a refusal the recording is invalid.  A `Graph` keeps no memory alive:
launching one whose memory has been freed is refused.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "DeviceError", "Event", "Graph", "MemoryPool", "OutOfMemoryError", "Stream", "allocate", "current_stream", "host_waits", "log", "memory",
    "recording", "refuse_while_recording", "run", "upload", "using_allocator",
]  # fmt: skip

_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]


class OutOfMemoryError(MemoryError):
    """cupy.cuda.memory.OutOfMemoryError."""


class DeviceError(RuntimeError):
    """What CUDA would refuse, or compute wrongly."""


@dataclass
class Memory:
    """Bytes of device arrays and pools: now, at most so far, and allowed."""

    used: int = 0
    peak: int = 0
    limit: int = 1 << 34
    total: int = 1 << 34
    """What the device says it has; `limit` is what it gives."""

    def take(self, size: int) -> None:
        if self.used + size > self.limit:
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {self.used:,} bytes).")
        self.used += size
        self.peak = max(self.peak, self.used)

    def give(self, size: int) -> None:
        self.used -= size


@dataclass
class Log:
    """What crossed between host and device, and what ran; a launched graph counts as one."""

    uploads: int = 0
    downloads: int = 0
    waits: int = 0
    launches: Counter[str] = field(default_factory=Counter)
    streams: set[int] = field(default_factory=set)

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]  # back to zero

    def ran(self, name: str) -> None:
        self.launches[name] += 1
        self.streams.add(current_stream().ptr)


memory = Memory()
log = Log()


# ---- memory --------------------------------------------------------------------------------------------------------------


class Chunk:
    """malloc'ed bytes."""

    def __init__(self, size: int) -> None:
        refuse_while_recording("memory from the device (cudaMalloc)")
        memory.take(size)
        self.size = size
        self.address = _libc.malloc(max(1, size))
        _live.add(self.address)
        weakref.finalize(self, _release, self.address, size)


def _release(address: int, size: int) -> None:
    _live.discard(address)
    _pool_use.pop(address, None)
    memory.give(size)
    _libc.free(address)


_live: set[int] = set()
_pool_use: dict[int, tuple[int, int]] = {}
"""The last use of a pool's memory: (stream, its tick)."""


class Buffer:
    """The memory of an array, given back with the last view of it."""

    def __init__(self, size: int) -> None:
        allocator = _allocators[-1] if _allocators else Chunk
        chunk = allocator(size)
        self.address = chunk.address
        if recording() is None:
            ctypes.memset(self.address, 0xFF, max(1, size))
        pool = getattr(allocator, "__self__", None)
        weakref.finalize(self, _give_back, chunk, None if pool is None else weakref.ref(pool))


def _give_back(chunk: Chunk, pool: Any) -> None:
    owner = None if pool is None else pool()
    if owner is not None:
        owner._free.setdefault(chunk.size, []).append(chunk)


allocate = Buffer


_arenas: list[dict[int, list[Chunk]]] = []


class MemoryPool:
    """Blocks that its arrays gave back, by size, for the next arrays.  As in CuPy they outlive it, unless `free_all_blocks` is called."""

    def __init__(self) -> None:
        self._free: dict[int, list[Chunk]] = {}
        self._total = 0
        _arenas.append(self._free)

    def free_all_blocks(self) -> None:
        self._total -= sum(size * len(chunks) for size, chunks in self._free.items())
        self._free.clear()

    def malloc(self, size: int) -> Chunk:
        free = self._free.get(size)
        if free:
            return free.pop()
        chunk = Chunk(size)
        _pool_use[chunk.address] = (0, 0)
        self._total += size
        return chunk

    def total_bytes(self) -> int:
        return self._total


_allocators: list[Callable[[int], Chunk]] = []


@contextmanager
def using_allocator(allocator: Callable[[int], Chunk]) -> Iterator[None]:
    _allocators.append(allocator)
    try:
        yield
    finally:
        _allocators.pop()


# ---- streams -------------------------------------------------------------------------------------------------------------


class Stream:
    """cupy.cuda.Stream.  `tick` counts its work; `known` says how much of the others' work is done before its own."""

    _current: list[Stream] = []  # noqa: RUF012  # one stack for the process
    _numbers = iter(range(1, 1 << 30))

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.ptr = 0 if null else next(self._numbers)
        self._tick = 0
        self._known: dict[int, int] = {}

    def synchronize(self) -> None:
        host_waits(self)

    def wait_event(self, event: Event) -> None:
        refuse_while_recording("waiting for an event")
        _learn(self._known, event._seen)

    def begin_capture(self) -> None:
        if self.ptr == 0:
            raise DeviceError("cudaErrorStreamCaptureUnsupported: the legacy default stream cannot record")
        refuse_while_recording("a second recording")
        _recordings.append(_Recorded(self))

    def end_capture(self) -> Graph:
        if not _recordings or _recordings[-1].stream is not self:
            raise DeviceError("cudaErrorIllegalState: this stream does not record")
        made = _recordings.pop()
        if made.invalid:
            raise DeviceError(f"cudaErrorStreamCaptureInvalidated: {made.invalid}")
        return Graph(made.work)

    def __enter__(self) -> Stream:
        self._current.append(self)
        return self

    def __exit__(self, *problem: object) -> None:
        self._current.pop()


_NULL = Stream(null=True)
_host_knows: dict[int, int] = {}


def current_stream() -> Stream:
    return Stream._current[-1] if Stream._current else _NULL


def host_waits(stream: Stream) -> None:
    """The host waits until all that the stream was given is done."""
    refuse_while_recording("the host waiting for the device")
    log.waits += 1
    _learn(_host_knows, {**stream._known, stream.ptr: stream._tick})


def upload() -> None:
    """A copy from the host."""
    refuse_while_recording("a copy from the host")
    log.uploads += 1


def _learn(known: dict[int, int], more: dict[int, int]) -> None:
    for ptr, tick in more.items():
        known[ptr] = max(tick, known.get(ptr, 0))


class Event:
    """cupy.cuda.Event."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self._seen: dict[int, int] = {}

    def record(self, stream: Stream | None = None) -> None:
        refuse_while_recording("recording an event")
        stream = stream or current_stream()
        self._seen = {**stream._known, stream.ptr: stream._tick}


# ---- work, and recording it ----------------------------------------------------------------------------------------------


@dataclass
class _Recorded:
    stream: Stream
    work: list[tuple[str, Callable[[], object], tuple[int, ...]]] = field(default_factory=list)
    invalid: str = ""


_recordings: list[_Recorded] = []


def recording() -> _Recorded | None:
    """What the stream that records has been given so far."""
    return _recordings[-1] if _recordings else None


def refuse_while_recording(what: str, error: type[Exception] = DeviceError) -> None:
    """Raise, and make the recording invalid, where a stream records."""
    if _recordings:
        _recordings[-1].invalid = what
        raise error(f"{what}, while a stream records")


def run(name: str, action: Callable[[], object], buffers: Iterable[Buffer]) -> None:
    """Do a piece of work on the current stream, or record it.  `action` must not keep memory alive."""
    stream, addresses = current_stream(), tuple(buffer.address for buffer in buffers)
    if _recordings:
        if stream is not _recordings[-1].stream:
            refuse_while_recording(f"{name} on another stream")
        _recordings[-1].work.append((name, action, addresses))
        return
    log.ran(name)
    _use(name, stream, addresses)
    action()


def _use(name: str, stream: Stream, addresses: tuple[int, ...]) -> None:
    stream._tick += 1
    for address in addresses:
        if address not in _live:
            raise DeviceError(f"{name} touches memory that has been freed")
        if address not in _pool_use:
            continue
        ptr, tick = _pool_use[address]
        if ptr != stream.ptr and max(stream._known.get(ptr, 0), _host_knows.get(ptr, 0)) < tick:
            raise DeviceError(f"{name} on stream {stream.ptr} races with work on stream {ptr}: no event between them")
        _pool_use[address] = (stream.ptr, stream._tick)


class Graph:
    """cupy.cuda.Graph: recorded work, and none of its memory."""

    def __init__(self, work: list[tuple[str, Callable[[], object], tuple[int, ...]]]) -> None:
        self._work = work

    def launch(self, stream: Stream | None = None) -> None:
        refuse_while_recording("launching a graph")
        stream = stream or current_stream()
        log.ran("graph")
        for name, action, addresses in self._work:
            _use(name, stream, addresses)
            action()
