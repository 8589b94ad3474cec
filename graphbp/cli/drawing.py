"""A picture of a network: levels from left to right, inputs first.

Up to `EDGE_BY_EDGE` units and edges that can be told apart, every unit is a dot and every edge a curve (blue positive, red negative,
wider for a larger weight; an edge that skips levels bends around them).  Beyond that the picture would be a hairball, so the levels are
drawn as bars as high as their numbers of units, and between two levels one line as wide as the number of edges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.aggregation import NAMES
from graphbp.exceptions import DataError, NotSupportedError
from graphbp.files.atomic import write_atomically

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["PICTURES", "draw_network"]

PICTURES = (".png", ".svg", ".pdf")
MOST_UNITS, MOST_EDGES, MOST_NAMES = 250, 1500, 60
MOST_LEVELS = 40
POSITIVE, NEGATIVE, NODE, INK = "#2166ac", "#b2182b", "#f7f7f7", "#333333"

Array = npt.NDArray[Any]


def draw_network(net: Network, path: str, title: str, names: bool | None = None) -> str:
    """Draw `net` into the file `path`; returns what kind of picture it is.  Needs Matplotlib."""
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURES:
        raise DataError(f"{path}: pictures are written as {', '.join(PICTURES)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise NotSupportedError('drawing needs Matplotlib, which is not installed: pip install "graphbp[plot]"') from problem
    import io

    drawn = _of_sums(net)
    s = drawn.schedule
    small = s.n_rows <= MOST_UNITS and s.n_edges <= MOST_EDGES
    width = min(max(1.3 * (s.depth + 1), 5.0), 16.0)
    tallest = int(np.bincount(s.row_level).max())
    names = s.n_rows <= MOST_NAMES if names is None else names
    high = min(max((0.62 if names else 0.36) * tallest, 3.2), 14.0) if small else 4.5
    figure = Figure(figsize=(width, high), layout="constrained")
    axes: Any = figure.subplots()
    axes.set_axis_off()
    counts = f"{s.n_inputs} inputs, {s.n_units} units, {s.n_outputs} outputs, {s.n_edges:,} edges, depth {s.depth}"
    axes.set_title("\n".join(filter(None, (title, counts, str(net.model.meaning)))), fontsize=9)
    if small:
        _edge_by_edge(drawn, axes, names, [NAMES[kind] for kind in net.model.spec.aggregation.tolist()])
    else:
        _by_level(drawn, axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix[1:], dpi=160)
    write_atomically(path, buffer.getvalue())
    return "a picture of every edge" if small else "a picture of the levels"


def _of_sums(net: Network) -> Network:
    """A network with the same units and edges whose nodes are all sums, so that every row is a unit of the graph."""
    if not net.model.spec.aggregation.any():
        return net
    from scipy import sparse

    from graphbp.network import Network

    graph = net.to_networkx()
    for _, node, data in graph.edges(data=True):
        data.pop("tie", None)
        if graph.nodes[node].get("aggregation", "sum") != "sum" and (n := graph.nodes[node].get("units", 1)) > 1:
            data["weight"] = sparse.diags_array(np.broadcast_to(data["weight"], n), dtype=np.float64).tocsr()
    for _, data in graph.nodes(data=True):
        data.pop("aggregation", None)
    return Network(graph, backend="numpy")


def _edges(net: Network) -> tuple[Array, Array, Array]:
    """(source row, destination row, weight) of every single edge."""
    s = net.schedule
    w = s.parameters.expand(np.asarray(net.weights, np.float64))
    dst = np.repeat(np.arange(s.n_rows), np.diff(s.in_ptr))
    parts = [(s.in_src, dst, w[: s.n_sparse])]
    for block in s.dense_blocks:
        m, n = block.shape
        parts.append((np.tile(block.src, m), np.repeat(np.arange(block.start, block.stop), n), w[block.slot : block.slot + m * n]))
    src, to, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    return src, to, weight


def _positions(net: Network, src: Array, dst: Array) -> Array:
    """(n_rows, 2): x is the level (outputs that feed nothing stand last), y from a few barycentre sweeps, then evenly spaced."""
    s = net.schedule
    column = s.row_level.astype(np.int64)
    sinks = np.setdiff1d(s.output_rows, src)
    column[sinks] = max(int(column.max()), 1)
    y = np.empty(s.n_rows)
    rows = [np.flatnonzero(column == c) for c in range(int(column.max()) + 1)]
    for members in rows:
        y[members] = _spread(len(members))
    fixed = s.n_inputs  # X's columns keep their order, from top to bottom
    for _ in range(8):
        for near, far in ((src, dst), (dst, src)):
            total = np.bincount(far, y[near], s.n_rows)
            count = np.bincount(far, minlength=s.n_rows)
            wish = np.where(count > 0, total / np.maximum(count, 1), y)
            for c, members in enumerate(rows):
                if c and len(members):
                    y[members[np.argsort(-wish[members], kind="stable")]] = _spread(len(members))
    y[:fixed] = _spread(fixed)
    return np.column_stack([column.astype(float), y])


def _spread(n: int) -> Array:
    return np.array([0.0]) if n == 1 else np.linspace(1, -1, n) * min(1.0, 0.25 * n)


def _edge_by_edge(net: Network, axes: Any, names: bool, aggregations: list[str]) -> None:
    from matplotlib.patches import FancyArrowPatch

    s = net.schedule
    src, dst, weight = _edges(net)
    at = _positions(net, src, dst)
    scale = float(np.abs(weight).max(initial=0)) or 1.0
    crowd = min(1.0, 60 / max(len(src), 1)) ** 0.5
    for i, j, w in zip(src.tolist(), dst.tolist(), weight.tolist(), strict=True):
        span = at[j, 0] - at[i, 0]
        bend = 0.0 if span <= 1 else (0.5 if at[i, 1] + at[j, 1] >= 0 else -0.5) / span
        axes.add_patch(
            FancyArrowPatch(
                tuple(at[i]),
                tuple(at[j]),
                connectionstyle=f"arc3,rad={-bend}",
                arrowstyle="-",
                color=POSITIVE if w >= 0 else NEGATIVE,
                linewidth=(0.3 + 2.2 * abs(w) / scale) * max(crowd, 0.35),
                alpha=max(0.25, 0.85 * crowd),
                zorder=1,
            )
        )
    size = 620 if names else max(12.0, 240 * min(1.0, 60 / s.n_rows))
    edge = np.where(np.isin(np.arange(s.n_rows), s.output_rows), 1.8, 0.8)
    axes.scatter(at[:, 0], at[:, 1], s=size, c=NODE, edgecolors=INK, linewidths=edge, zorder=2)
    if names:
        for row, (x, y) in enumerate(at):
            label = s.describe_row(row).strip("'").replace("' unit ", ".")
            axes.text(
                x, y, label if len(label) <= 7 else label[:6] + "…", ha="center", va="center", fontsize=7, color=INK, zorder=3
            )
            if row >= s.n_inputs:
                own, how = s.activations[s.row_activation[row]].name, aggregations[s.node_of_row(row)[0]]
                kind = own if how == "sum" else how if own == "identity" else f"{own} of {how}"
                axes.annotate(
                    kind, (x, y), (0, -15), textcoords="offset points", ha="center", va="top", fontsize=5.5, color="0.45", zorder=3
                )
    axes.set_xlim(-0.4, at[:, 0].max() + 0.4)
    axes.set_ylim(-1.45, 1.45)


def _by_level(net: Network, axes: Any) -> None:
    """Bars for the levels (neighbouring ones merged where there are many) and bands for the edges between them."""
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    s = net.schedule
    n_bars = min(s.depth + 1, MOST_LEVELS)
    bar_of = (s.row_level.astype(np.int64) * n_bars) // (s.depth + 1)
    units = np.bincount(bar_of, minlength=n_bars)
    between = _edges_between(net, bar_of)
    most = max(between.values(), default=1)
    height = 0.15 + 1.75 * units / max(units.tolist())
    for (a, b), count in sorted(between.items()):
        share = count / most
        rise = 0.0 if b - a <= 1 else 0.5 + 2.2 * (b - a) / n_bars
        curve = Path([(a + 0.12, 0), ((a + b) / 2, rise), (b - 0.12, 0)], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        axes.add_patch(
            PathPatch(curve, fill=False, edgecolor=POSITIVE, linewidth=0.3 + 6 * share, alpha=0.08 + 0.5 * share, capstyle="butt")
        )
    for k in range(n_bars):
        axes.add_patch(
            Rectangle((k - 0.12, -height[k] / 2), 0.24, height[k], facecolor="#d1e5f0", edgecolor=INK, linewidth=0.8, zorder=2)
        )
        if n_bars <= 20 or k % 5 == 0 or k == n_bars - 1:
            levels = np.flatnonzero((np.arange(s.depth + 1) * n_bars) // (s.depth + 1) == k)
            label = f"{levels[0]}" if len(levels) == 1 else f"{levels[0]}-{levels[-1]}"
            axes.text(k, -1.1, label, ha="center", va="top", fontsize=7, color="0.45")
            axes.text(k, -1.3, f"{units[k]:,}", ha="center", va="top", fontsize=7, color=INK)
    axes.text(-0.5, -1.1, "level", ha="right", va="top", fontsize=7, color="0.45")
    axes.text(-0.5, -1.3, "units", ha="right", va="top", fontsize=7, color=INK)
    axes.set_xlim(-1.2, n_bars - 0.3)
    axes.set_ylim(-1.5, 1.5)


def _edges_between(net: Network, bar_of: Array) -> Mapping[tuple[int, int], int]:
    """How many edges lead from bar to bar; a dense block counts once for each of its source bars, whatever its size."""
    s = net.schedule
    found: Counter[tuple[int, int]] = Counter()
    dst = np.repeat(np.arange(s.n_rows), np.diff(s.in_ptr))
    n = int(bar_of.max()) + 1
    pairs, counts = np.unique(bar_of[s.in_src] * n + bar_of[dst], return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        found[divmod(pair, n)] += count
    for block in s.dense_blocks:
        sources, times = np.unique(bar_of[block.src], return_counts=True)
        for a, count in zip(sources.tolist(), times.tolist(), strict=True):
            found[a, int(bar_of[block.start])] += count * (block.stop - block.start)
    return found
