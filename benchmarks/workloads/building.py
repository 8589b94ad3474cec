"""From a graph to a first gradient: a million edges, ten million edges, a fresh process, and the import itself."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from benchmarks import child
from benchmarks.outcome import Context, Row, Workload
from benchmarks.peers import graphbp_peer


def _timed(workload: str, what: str, samples: list[float], limit: float, note: str = "") -> Row:
    middle = statistics.median(samples)
    row = Row(workload, what, middle, min(samples), max(samples), len(samples), target=f"under {limit:g} s", note=note)
    row.met = middle < limit
    return row


def importing(context: Context) -> list[Row]:
    """What `import graphbp` adds to numpy and networkx, in fresh processes."""
    results = [child.run("import_time") for _ in range(3 if context.quick else 9)]
    brought = sorted({name for result in results for name in result["brought"]})
    note = f"brings {', '.join(brought)}" if brought else "brings no optional library"
    row = _timed("import", "import graphbp, beyond numpy and networkx", [r["seconds"] for r in results], 0.25, note)
    row.met = bool(row.met) and not brought
    return [row]


def second_process(context: Context) -> list[Row]:
    """A fresh process to the first gradient of a small network, the compilation cache warm (one run before fills it)."""
    rows = []
    for backend in graphbp_peer.BACKENDS:
        name = "second-process"
        try:
            cold = child.run("first_gradient", backend)
            results = [child.run("first_gradient", backend) for _ in range(3 if context.quick else 7)]
        except RuntimeError as problem:
            rows.append(Row(name, f"graphbp {backend}", value="failed", note=str(problem)))
            continue
        inside = statistics.median(r["seconds"] for r in results)
        cpu = statistics.median(r["cpu"] for r in results)
        note = f"whole process ({cpu:.2f} s of processor time); {inside:.2f} s of it after Python started; the run before took {cold['wall']:.2f} s"
        rows.append(_timed(name, f"graphbp {backend}", [r["wall"] for r in results], 1.5, note))
    return rows


def million(context: Context) -> list[Row]:
    """A networkx graph of 100,000 units and 1,000,000 edges to its first gradient."""
    rows = []
    hidden = 10_000 if context.quick else 100_000
    for backend in graphbp_peer.BACKENDS:
        name = "networkx-million-edges"
        try:
            results = [child.run("million_edges", backend, hidden, 10) for _ in range(1 if context.quick else 3)]
        except RuntimeError as problem:
            rows.append(Row(name, f"graphbp {backend}", value="failed", note=str(problem)))
            continue

        def steps(*names: str, results: list[dict[str, Any]] = results) -> list[float]:
            return [sum(result["steps"][n] for n in names) for result in results]

        peak = max(r["peak_GiB"] for r in results)
        graph = max(r["graph_GiB"] for r in results)
        rows.append(_timed(name, f"graphbp {backend}, graph to first gradient", steps("network", "first"), 8))
        rows.append(_timed(name, f"graphbp {backend}, of which the schedule", steps("read", "lower"), 3))
        rows += [
            Row(
                name, f"graphbp {backend}, {what}", statistics.median(steps(step)), min(steps(step)), max(steps(step)), len(results)
            )
            for what, step in (
                ("networkx's own traversal", "traversal"),
                ("reading the graph", "read"),
                ("lowering", "lower"),
                ("second gradient, N = 64", "second"),
            )
        ]
        rows[-1].note = f"peak memory {peak:.2f} GiB, of which the networkx graph and Python {graph:.2f}"
    return rows


def ten_million(wiring: str, context: Context) -> list[Row]:
    """Gradient at N = 64; cost an edge and sample beside the 100,000-edge network's."""
    name = f"ten-million-edges-{wiring}"
    edges = 200_000 if context.quick else 10_000_000
    backend = "numba"
    asked = wiring == "window"
    try:
        result = child.run("ten_million_edges", backend, wiring, edges)
    except RuntimeError as problem:
        return [Row(name, f"graphbp {backend}", value="failed", note=str(problem))]
    rate = 1 / result["cost"]
    first = Row(name, f"graphbp {backend}, gradient", result["seconds"], rounds=5, rate=rate)
    first.note = f"{result['edges']:,} edges, {result['depth']} levels; network built in {result['built']:.1f} s"
    memory = Row(name, "peak memory", value=f"{result['peak_GiB']:.2f} GiB")
    cost = Row(
        name, "cost an edge and sample, over the 100,000-edge network's at N = 1024", ratio=result["cost"] / result["small_cost"]
    )
    cost.note = f"{result['cost'] / result['small_cost_64']:.2f} × that network's at N = 64"
    if asked:
        memory.target, memory.met = "within 6 GB", result["peak_GiB"] * 2**30 < 6e9
        cost.target, cost.met = "within 3 ×", (cost.ratio or 0) <= 3
    return [first, memory, cost]


WORKLOADS = [
    Workload("import", "import graphbp", importing),
    Workload("second-process", "second process to first gradient, warm cache, small network", second_process),
    Workload("networkx-million-edges", "networkx graph of 1,000,000 edges to first gradient, N = 64", million),
    Workload(
        "ten-million-edges-window",
        "10,000,000 edges within a window of 5,000 units, gradient, N = 64",
        partial(ten_million, "window"),
    ),
    Workload("ten-million-edges-random", "10,000,000 edges, randomly wired, gradient, N = 64", partial(ten_million, "random")),
]
