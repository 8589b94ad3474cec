"""What must be measured in a process of its own: `python -m benchmarks.child TASK [ARGUMENTS]` prints one line of JSON.

Import time, the first gradient of a fresh process, and peak memory mean nothing in a process that has done other work before.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any


def run(task: str, *arguments: object) -> dict[str, Any]:
    """Run a task in a child and return what it printed; `wall` is the child's whole life, `cpu` the processor time it took."""
    start, used = time.perf_counter(), _children_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", task, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{task}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f'exit {done.returncode}'}")
    return {**json.loads(done.stdout.splitlines()[-1]), "wall": wall, "cpu": _children_seconds() - used}


def _children_seconds() -> float:
    """Processor time of all ended children."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def _peak_gib() -> float:
    """Peak memory of this process; ru_maxrss is in KiB on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / 2**30 if sys.platform == "darwin" else peak / 2**20


def import_time() -> dict[str, Any]:
    """Seconds that `import graphbp` adds to numpy and networkx, and the optional libraries that it brought."""
    import networkx  # noqa: F401
    import numpy as np  # noqa: F401

    start = time.perf_counter()
    import graphbp  # noqa: F401

    seconds = time.perf_counter() - start
    optional = ("numba", "cupy", "matplotlib", "sklearn", "torch", "jax", "pandas")
    return {"seconds": seconds, "brought": [name for name in optional if name in sys.modules]}


def first_gradient(backend: str) -> dict[str, Any]:
    """A small network to its first gradient, imports included."""
    start = time.perf_counter()
    import networkx as nx

    import graphbp as gb

    g = nx.DiGraph()
    g.add_node("h", activation="tanh", bias=0.1)
    g.add_node("y", bias=0.0)
    g.add_weighted_edges_from([("x1", "h", 0.4), ("x2", "h", -0.6), ("h", "y", 1.2), ("x1", "y", 0.3)])
    net = gb.Network(g, backend=backend)
    gradient = net.gradient([[1.0, 0.5], [0.0, 2.0]], [[0.25], [1.0]])
    return {"seconds": time.perf_counter() - start, "size": len(gradient)}


def million_edges(backend: str, hidden: str, fan_in: str) -> dict[str, Any]:
    """A networkx graph of single units to its first gradient, N = 64, step by step.  Building the graph itself is not counted."""
    from benchmarks.networks import batch, random_dag

    dag = random_dag(64, int(hidden), 10, int(fan_in))
    X, T = batch(64, 64, 10)
    g = dag.graph()
    before = _peak_gib()
    steps: dict[str, float] = {}

    def step(name: str, function: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = function()
        steps[name] = time.perf_counter() - start
        return result

    def traverse() -> int:
        """What networkx itself costs: visiting every edge once and looking at its weight, nothing kept."""
        return sum(1 for predecessors in g.pred.values() for data in predecessors.values() if data["weight"] is not None)

    import graphbp as gb
    from graphbp.graph import read_graph
    from graphbp.lowering import lower

    step("traversal", traverse)
    # the same two steps that Network takes, apart, for the split
    step("lower", partial(lower, step("read", lambda: read_graph(g))))
    net = step("network", lambda: gb.Network(g, backend=backend))
    step("first", lambda: net.gradient(X, T))
    step("second", lambda: net.gradient(X, T))
    return {"steps": steps, "edges": g.number_of_edges(), "peak_GiB": _peak_gib(), "graph_GiB": before}


def ten_million_edges(backend: str, wiring: str, edges: str) -> dict[str, Any]:
    """Layer nodes with sparse weights, N = 64: seconds of a gradient, and the 100,000-edge network's in the same process."""
    import graphbp as gb
    from benchmarks.big import random_layers, windowed_layers
    from benchmarks.networks import batch, random_dag

    def seconds(net: Any, n: int) -> float:
        X, T = batch(n, net.schedule.n_inputs, net.schedule.n_outputs)
        net.gradient(X, T)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            net.gradient(X, T)
            times.append(time.perf_counter() - start)
        return sorted(times)[2]

    small = gb.Network(random_dag(64, 10_000, 10, 10).graph(), backend=backend)
    small_cost = {n: seconds(small, n) / (small.schedule.n_edges * n) for n in (64, 1024)}
    g = {"window": windowed_layers, "random": random_layers}[wiring](int(edges))
    start = time.perf_counter()
    net = gb.Network(g, backend=backend)
    built = time.perf_counter() - start
    took = seconds(net, 64)
    return {
        "built": built,
        "seconds": took,
        "edges": net.schedule.n_edges,
        "depth": net.schedule.depth,
        "cost": took / (net.schedule.n_edges * 64),
        "small_cost": small_cost[1024],
        "small_cost_64": small_cost[64],
        "peak_GiB": _peak_gib(),
    }


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    task.__name__: task for task in (import_time, first_gradient, million_edges, ten_million_edges)
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
