"""Time against size on logarithmic axes, one picture a workload that has sizes, with the fitted slope of each line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.outcome import MissingError, Row

AXES = {
    "gradient-against-differences": ("parameters W", "seconds for one gradient (N = 32)"),
    "gradient-by-size": ("edges", "seconds for one gradient (N = 1024)"),
    "hessian-growth": ("parameters W", "seconds for one exact Hessian (N = 1000)"),
}


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The exponent p of the power law t = c size^p that fits the largest half of the points best."""
    keep = max(2, (len(sizes) + 1) // 2)
    x, y = np.log(sizes[-keep:]), np.log(times[-keep:])
    return float(np.polyfit(x, y, 1)[0])


def lines(rows: Sequence[Row], workload: str) -> dict[str, list[tuple[int, float]]]:
    """Contender -> (size, seconds), for those timed at two sizes or more."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.workload == workload and row.size is not None and row.seconds is not None:
            found.setdefault(row.what, []).append((row.size, row.seconds))
    return {name: sorted(points) for name, points in found.items() if len(points) > 1}


def slopes(rows: Sequence[Row]) -> list[str]:
    """One line of text for each line of each picture."""
    out = []
    for workload in AXES:
        for name, points in lines(rows, workload).items():
            sizes, times = zip(*points, strict=True)
            out.append(f"{workload}: {name} grows as size^{slope(sizes, times):.2f} (largest half of {len(points)} sizes)")
    return out


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write one SVG a workload into `folder`; returns their paths."""
    try:
        import matplotlib as mpl
    except ImportError as problem:
        raise MissingError("matplotlib is not installed", 'pip install "graphbp[bench]"') from problem
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "graphbp"  # the same picture for the same numbers
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for workload, (x_label, y_label) in AXES.items():
        found = lines(rows, workload)
        if not found:
            continue
        figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
        for name, points in found.items():
            sizes, times = zip(*points, strict=True)
            axes.loglog(sizes, times, marker="o", markersize=4, label=f"{name}  (slope {slope(sizes, times):.2f})")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(True, which="major", alpha=0.3)
        figure.legend(loc="outside upper center", ncols=2, fontsize=8)  # clear of the lines
        path = folder / f"{workload}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        written.append(path)
    return written
