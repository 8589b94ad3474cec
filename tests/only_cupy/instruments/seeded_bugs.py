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

from graphbp_cupy import module, paths

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
        "tile.z[j * B + lane] = activation_f(net.kind[j], sum);\n        }\n        __syncthreads();",
        "tile.z[j * B + lane] = activation_f(net.kind[j], sum);\n        }",
        "values",
    ),
    Bug(
        "no barrier between the levels going down",
        "tile_delta(net, tile, i, beta);\n        }\n        __syncthreads();",
        "tile_delta(net, tile, i, beta);\n        }",
        "values",
    ),
    Bug(
        "no barrier between the levels going down the wide path",
        "sums[net.n_edges + i] += delta;\n        }\n        __syncthreads();",
        "sums[net.n_edges + i] += delta;\n        }",
        "values",
    ),
    Bug(
        "no barrier before the next tile",
        "            gradient[q] += sum;\n        }\n        if (!from_error) tile_inputs(net, tile, first, live, by_x);\n        __syncthreads();",
        "            gradient[q] += sum;\n        }\n        if (!from_error) tile_inputs(net, tile, first, live, by_x);",
        "values",
    ),
    Bug(
        "no barrier before a team adds",
        "team.memory[team.part * team.lanes + team.lane] = value;\n    __syncthreads();\n    real sum = 0;",
        "team.memory[team.part * team.lanes + team.lane] = value;\n    real sum = 0;",
        "values",
    ),
    Bug(
        "no barrier after a team has added",
        "sum += team.memory[part * team.lanes + team.lane];\n    __syncthreads();",
        "sum += team.memory[part * team.lanes + team.lane];",
        "values",
    ),
    Bug(
        "a gradient of single samples turned round too early",
        "tile[k * 33 + threadIdx.x] = sum;\n        }\n        __syncthreads();",
        "tile[k * 33 + threadIdx.x] = sum;\n        }",
        "values",
    ),
    Bug(
        "four sums in the wrong quarters",
        "const bool upper = lane & (B >> 1), odd = lane & (B >> 2);",
        "const bool odd = lane & (B >> 1), upper = lane & (B >> 2);",
        "values",
    ),
    Bug(
        "lanes beyond the last sample are summed too, on the wide path",
        "delta[k] = alive ? zi * delta[k] : real(0);",
        "delta[k] = zi * delta[k];",
        "values",
    ),
    Bug(
        "a shuffle of the whole warp in a tile of eight",
        "const unsigned mask = (B == 32 ? 0xffffffffu : ((1u << B) - 1)) << first_of_tile;",
        "const unsigned mask = 0xffffffffu; (void)first_of_tile;",
        "refused",
    ),
    Bug(
        "no barrier in the tree of a sum",
        "part[thread] += part[thread + half];\n        __syncthreads();",
        "part[thread] += part[thread + half];",
        "values",
    ),
    Bug(
        "a barrier that only some threads reach",
        "        tile_reverse(net, tile, weight + net.n_edges, !from_error);",
        "        if (tile.team.part == 0) __syncthreads();\n        tile_reverse(net, tile, weight + net.n_edges, !from_error);",
        "refused",
    ),
    Bug(
        "lanes beyond the last sample return before a barrier",
        "    const real* target = t + s * net.n_outputs;\n    tile_forward(net, tile, w, weight, x, s);",
        "    const real* target = t + s * net.n_outputs;\n    if (lane >= live) return;\n    tile_forward(net, tile, w, weight, x, s);",
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
        "            single_delta(net, i, tile.a, tile.z, t, weight, tile.head, B, lane);",
        "            if (i > 0) single_delta(net, i, tile.a, tile.z, t, weight, tile.head, B, lane);",
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
        "if (team.live && team.part == 0) each[s] = weight[s] * sum;",
        "if (own <= n && team.part == 0) each[own] = weight[s] * sum;",
        "address",
    ),
    Bug(
        "shared memory one row short",
        "return {memory, memory + rows, memory + 2 * rows, team_of",
        "return {memory, memory + rows, memory + 2 * rows + blockDim.x, team_of",
        "address",
    ),
    Bug(
        "every row of threads writes the same word",
        "if (tile.team.part == 0 && lane < live) each[s]",
        "if (lane < live) each[s]",
        "thread",
    ),
    Bug(
        "two blocks write the same gradient",
        "real* gradient = partial + blockIdx.x * net.n_slots;\n    for (long long q = number; q < net.n_slots; q += threads) gradient[q] = 0;",
        "real* gradient = partial + blockIdx.x * net.n_slots;\n"
        "    for (long long q = number; q < net.n_slots; q += threads) gradient[q] = partial[q] = 0;",
        "thread",
    ),
    Bug(
        "two blocks keep their tiles in one place",
        "const Tile tile = tile_at(net, scratch + blockIdx.x * (2 * net.n_rows + net.n_outputs) * B, shared);",
        "const Tile tile = tile_at(net, scratch, shared);",
        "thread",
    ),
)


@contextmanager
def planted(bug: Bug | None) -> Iterator[None]:
    """Compile the kernels with the bug while the block runs."""
    original = module.module_source, paths.MAX_BLOCKS
    if bug is not None:
        text = bug.apply(module.module_source())
        module.module_source = lambda _rows: text
    try:
        yield
    finally:
        module.module_source, paths.MAX_BLOCKS = original


def what_is_seen(bug: Bug | None) -> str:
    """ "values", "refused" or "nothing" in three thread orders, without a sanitizer."""
    with planted(bug):
        for paths.MAX_BLOCKS in (512, 1):  # one block goes through several tiles
            for name in simulator.ORDERS:
                fake_cupy.order.name = name
                try:
                    if probe.wrong_quantities(n=37, backends=(probe.SIMULATED, probe.WIDE)):
                        return "values"
                    if probe.wrong_quantities(n=5, backends=(probe.LEVEL,)):
                        return "values"
                except simulator.SimulatedLaunchError:
                    return "refused"
    return "nothing"
