"""CUDA graphs: the second call of one shape is recorded, and later ones are replayed with one launch.

A level-by-level gradient is some hundred small launches, and Python takes longer to make them than a GPU to run them.  So

    first call of a shape      runs as it is written
    second                     runs once more on a stream of our own, with arrays of a memory pool of our own (that makes the pool's
                               blocks), then a third time while the stream records: nothing runs, and nothing is allocated
    every call from then on    copies its inputs into the recording's, launches the graph on the current stream, copies the results out

A recording belongs to one name, shapes of the inputs and budget, and holds its pool: CuPy's `Graph` keeps no array alive.  The tables of
the network, which it reads too, belong to the executable that owns the recordings.  What one recording leaves on the device the next
call may meet on another stream, so each waits for the event of the last use; nothing waits on the host.

What is never recorded, and why, is for `Recorder.reason`: a call that reaches cuBLAS (CuPy refuses it while a stream records), and one
whose working arrays would take too much memory to be kept.  GRAPHBP_CUDA_GRAPHS=0 in the environment, or
`graphbp_cupy.backend.graphs = False`, turns recording off for networks made from then on.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from graphbp_cupy.sweeps import Array

__all__ = ["KEEP", "SHARE", "Recorder"]

SHARE = 8
"""An eighth of the budget for working arrays is for all recordings of an executable together."""

KEEP = 16
"""Recordings of an executable; the one that was not used for longest goes first."""

Body = Callable[..., tuple[Array, ...]]
Key = tuple[Any, ...]


@dataclass
class _Recording:
    """A graph, the arrays it reads and writes, the pool that they live in, and the event of its last use."""

    graph: Any
    inputs: list[Array | None]
    outputs: tuple[Array, ...]
    pool: Any
    event: Any

    def close(self) -> None:
        """Give the memory back: a pool that is merely dropped keeps its blocks, since they and their arena hold each other."""
        self.graph, self.inputs, self.outputs = None, [], ()
        self.pool.free_all_blocks()


def _close_all(kept: OrderedDict[Key, _Recording]) -> None:
    while kept:
        kept.popitem()[1].close()


class Recorder:
    """The recordings of one executable.

    refusal : why nothing is ever recorded, or "".
    """

    def __init__(self, cp: Any, refusal: str = "") -> None:
        self.cp = cp
        self.refusal = refusal
        self._lock = threading.Lock()
        self._seen: set[Key] = set()
        self._kept: OrderedDict[Key, _Recording] = OrderedDict()
        self._dropped = 0
        weakref.finalize(self, _close_all, self._kept).atexit = False  # the driver may be gone by then

    def reason(self, size: int, budget: int, refusal: str = "") -> str:
        """Why a call with `size` bytes of working arrays is not recorded, or ""; `refusal` is what the call itself says."""
        allowed = budget // SHARE
        too_much = f"{size:,} bytes of working arrays would be kept, more than {allowed:,}" if size > allowed else ""
        return self.refusal or refusal or too_much

    def __call__(
        self, name: str, body: Body, inputs: tuple[Array | None, ...], size: int, budget: int, refusal: str = ""
    ) -> tuple[Array, ...]:
        """`body(*inputs)`, new arrays on the current stream.

        `body` runs on the device alone, with memory that it allocates itself; `size` is about how many bytes.
        """
        if self.reason(size, budget, refusal):
            return body(*inputs)
        key = (name, budget, *(None if array is None else array.shape for array in inputs))
        with self._lock:
            recording = self._kept.get(key)
            if recording is not None:
                self._kept.move_to_end(key)
            elif key in self._seen:
                recording = self._record(key, body, inputs, budget // SHARE)
            else:
                self._seen.add(key)
            if recording is not None:
                return self._replay(recording, inputs)
        return body(*inputs)

    def _replay(self, recording: _Recording, inputs: tuple[Array | None, ...]) -> tuple[Array, ...]:
        stream = self.cp.cuda.get_current_stream()
        stream.wait_event(recording.event)
        for own, given in zip(recording.inputs, inputs, strict=True):
            if own is not None:
                own[...] = given
        recording.graph.launch()
        results = tuple(output.copy() for output in recording.outputs)
        recording.event.record(stream)
        return results

    def _record(self, key: Key, body: Body, inputs: tuple[Array | None, ...], allowed: int) -> _Recording | None:
        """A new recording, in the place of old ones; None where the device or CuPy refuses, which is said once."""
        pool = self.cp.cuda.MemoryPool()
        made = self._attempt(key, body, inputs, pool)
        if made is None:
            pool.free_all_blocks()  # now that no traceback holds its arrays
            return None
        self._kept[key] = made
        while len(self._kept) > KEEP or sum(other.pool.total_bytes() for other in self._kept.values()) > allowed:
            gone, recording = self._kept.popitem(last=False)
            recording.close()
            self._seen.discard(gone)  # recorded again only when it has come twice again
            self._dropped += 1
        if self._dropped > 4 * KEEP:
            self.refusal = f"more than {4 * KEEP} recordings were dropped for others: the shapes change too often"
            _close_all(self._kept)
        return self._kept.get(key)

    def _attempt(self, key: Key, body: Body, inputs: tuple[Array | None, ...], pool: Any) -> _Recording | None:
        try:
            return self._capture(body, inputs, pool)
        except self.cp.cuda.memory.OutOfMemoryError:
            _close_all(self._kept)
            self._seen.discard(key)
            return None  # the call itself needs less, and says so if that is too much as well
        except Exception as problem:
            self.refusal = f"recording failed: {type(problem).__name__}: {problem}"
            _close_all(self._kept)
            warnings.warn(f"graphbp_cupy: no CUDA graphs for this network, {self.refusal}", RuntimeWarning, stacklevel=7)
            return None

    def _capture(self, body: Body, inputs: tuple[Array | None, ...], pool: Any) -> _Recording:
        stream = self.cp.cuda.Stream(non_blocking=True)
        event = self.cp.cuda.Event(disable_timing=True)
        event.record(self.cp.cuda.get_current_stream())  # the inputs are there when what made them is done
        with self.cp.cuda.using_allocator(pool.malloc), stream:
            stream.wait_event(event)
            own = [None if array is None else array.copy() for array in inputs]
            body(*own)
            stream.begin_capture()
            try:
                outputs = body(*own)
            except BaseException:
                self._abandon(stream)
                raise
            graph = stream.end_capture()
            event.record(stream)
        return _Recording(graph, own, outputs, pool, event)

    def _abandon(self, stream: Any) -> None:
        with suppress(Exception):  # the recording is invalid already: what broke it is the error to report
            stream.end_capture()
