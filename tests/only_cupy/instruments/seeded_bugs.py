"""Bugs planted in the CUDA source, and which instrument must see each: the table that tests the instruments themselves.

A bug is one replacement in the text that the kernels are compiled from.

    seen = "values"     some thread order gives wrong numbers (parity on the CPU)
    seen = "refused"    the simulator stops: a barrier that not all threads reach, a shuffle that misses lanes
    seen = "address"    only AddressSanitizer stops
    seen = "thread"     the numbers are right in every order; only ThreadSanitizer sees the race
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from graphbp_cupy import executable, module

from . import fake_cupy, probe, simulator

__all__ = ["BUGS", "Bug", "planted", "what_is_seen"]


@dataclass(frozen=True)
class Bug:
    """One replacement in the source."""

    name: str
    old: str
    new: str
    seen: str

    def apply(self, source: str) -> str:
        """The source with the bug.  Raises `ValueError` where the kernel has changed so that the bug no longer fits."""
        if source.count(self.old) != 1:
            raise ValueError(f"bug {self.name!r} fits the source {source.count(self.old)} times; bring the table up to date")
        return source.replace(self.old, self.new)


BUGS = (
    Bug(
        "no barrier between the levels going up",
        "tile.z[j * B + tile.lane] = activation_f(net.kind[j], sum);\n        }\n        __syncthreads();",
        "tile.z[j * B + tile.lane] = activation_f(net.kind[j], sum);\n        }",
        "values",
    ),
    Bug(
        "no barrier between the levels going down",
        "which nobody else reads\n        }\n        __syncthreads();",
        "which nobody else reads\n        }",
        "values",
    ),
    Bug(
        "no barrier before the next tile",
        "by_x[s * net.n_inputs + i] = tile.a[i * B + tile.lane];\n        __syncthreads();",
        "by_x[s * net.n_inputs + i] = tile.a[i * B + tile.lane];",
        "values",
    ),
    Bug(
        "no barrier in the tree of a sum",
        "part[thread] += part[thread + half];\n        __syncthreads();",
        "part[thread] += part[thread + half];",
        "values",
    ),
    Bug(
        "a barrier that only some threads reach",
        "        __syncthreads();\n        tile_reverse(net, tile, w, head, !from_error);",
        "        if (tile.part == 0) __syncthreads();\n        tile_reverse(net, tile, w, head, !from_error);",
        "refused",
    ),
    Bug(
        "lanes beyond the last sample return before a barrier",
        "        tile_forward(net, tile, w, x, s);\n        const real* target",
        "        if (tile.lane >= live) return;\n        tile_forward(net, tile, w, x, s);\n        const real* target",
        "refused",
    ),
    Bug(
        "a shuffle that not all lanes reach",
        "        sum = warp_sum(sum);\n        if (lane == 0) partial",
        "        if (lane < 20) sum = warp_sum(sum);\n        if (lane == 0) partial",
        "refused",
    ),
    Bug(
        "shared memory that nobody wrote",
        "                item_delta(net, item_of(net, i), tile.a, tile.z, target, weight[s], head, B, tile.lane);",
        "                if (i > 0) item_delta(net, item_of(net, i), tile.a, tile.z, target, weight[s], head, B, tile.lane);",
        "values",
    ),
    Bug(
        "lanes beyond the last sample are summed too",
        "if (lane < live) sum += tile.a",
        "sum += tile.a",
        "values",
    ),
    Bug(
        "a term of the R-operator left out",
        "activation_d2f(net.kind[i], ai) * a_dot[i * n + s] * beta[i * n + s]",
        "activation_d2f(net.kind[i], ai) * beta[i * n + s]",
        "values",
    ),
    Bug(
        "one sample too many",
        "if (s >= n) return;\n    real sum = 0;\n    for (int i = 0; i < net.n_items; ++i) sum += item_error",
        "if (s > n) return;\n    real sum = 0;\n    for (int i = 0; i < net.n_items; ++i) sum += item_error",
        "address",
    ),
    Bug(
        "shared memory one row short",
        "real* head = tile.a + net.n_rows * B;",
        "real* head = tile.a + (net.n_rows + 1) * B;",
        "address",
    ),
    Bug(
        "every row of threads writes the same word",
        "if (tile.part == 0 && tile.lane < live) {",
        "if (tile.lane < live) {",
        "thread",
    ),
    Bug(
        "two blocks write the same gradient",
        "real* gradient = partial + blockIdx.x * net.n_slots;\n    for (long long q = number; q < net.n_slots; q += threads) gradient[q] = 0;",
        "real* gradient = partial + blockIdx.x * net.n_slots;\n"
        "    for (long long q = number; q < net.n_slots; q += threads) gradient[q] = partial[q] = 0;",
        "thread",
    ),
)


@contextmanager
def planted(bug: Bug | None) -> Iterator[None]:
    """Compile the kernels with the bug while the block runs."""
    original = executable.Kernels, module.module_source, executable.MAX_BLOCKS
    if bug is not None:
        text = bug.apply(module.module_source())
        module.module_source = lambda _rows: text
    try:
        yield
    finally:
        _, module.module_source, executable.MAX_BLOCKS = original


def what_is_seen(bug: Bug | None) -> str:
    """ "values", "refused" or "nothing" in three thread orders, without a sanitizer."""
    with planted(bug):
        for executable.MAX_BLOCKS in (512, 1):  # one block goes through several tiles
            for name in simulator.ORDERS:
                fake_cupy.order.name = name
                try:
                    if probe.wrong_quantities(n=37, backends=(probe.SIMULATED,)):
                        return "values"
                    if probe.wrong_quantities(n=5, backends=(probe.LEVEL,)):
                        return "values"
                except simulator.SimulatedLaunchError:
                    return "refused"
    return "nothing"
