"""Draws docs/pictures/data_flow.svg: what flows through graphbp, and who does it.

python docs/pictures/data_flow.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, VALUE, CORE, BACKEND, TOOL = "#333333", "#fdfdfd", "#d1e5f0", "#fddbc7", "#e6f0da"

# name: (x, y, width, text, colour); y is the middle
BOXES = {
    "graph": (0.0, 3.6, 2.3, "networkx.DiGraph\nyours, never changed", VALUE),
    "files": (0.0, 5.2, 2.3, "files, builders\nimporters, gb.layered, ...", TOOL),
    "spec": (3.4, 3.6, 2.1, "GraphSpec\nchecked, as arrays", CORE),
    "schedule": (6.6, 3.6, 2.3, "Schedule\nlevels, blocks, slots", CORE),
    "layout": (6.6, 5.2, 2.3, "Layout, ParameterMap\nθ ↔ slots", CORE),
    "executable": (10.2, 3.6, 2.4, "Executable\nwhole sweeps in θ, X, T", BACKEND),
    "composed": (10.2, 2.0, 2.4, "Composed\nwhat it leaves out", CORE),
    "model": (6.6, 2.0, 2.3, "Model\ncompiled once, takes θ", CORE),
    "network": (6.6, 0.4, 2.3, "Network\nthe face: a model and θ", CORE),
    "data": (0.0, 0.4, 2.3, "X, T, sample weights\nanything array-like", VALUE),
    "check": (3.4, 0.4, 2.1, "data\nchecked arrays", CORE),
    "results": (10.2, 0.4, 2.4, "Y, E, ∂E/∂θ, J, H\nas NumPy, or CuPy", VALUE),
    "tools": (6.6, -1.2, 2.3, "train, laplace, check\nfiles, command line", TOOL),
}
ARROWS = [
    ("files", "graph", ""),
    ("graph", "spec", "read_graph"),
    ("spec", "schedule", "lower"),
    ("spec", "layout", ""),
    ("schedule", "executable", "Backend.compile"),
    ("executable", "composed", ""),
    ("data", "check", ""),
    ("check", "network", ""),
    ("schedule", "model", "once"),
    ("composed", "model", ""),
    ("model", "network", ""),
    ("network", "results", ""),
    ("tools", "network", ""),
]
HEIGHT = 0.95


def main() -> None:
    rcParams["svg.fonttype"] = "none"  # text stays text
    rcParams["svg.hashsalt"] = "graphbp"  # the same bytes on every run
    figure = Figure(figsize=(11, 6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    patches = {}
    for name, (x, y, width, text, colour) in BOXES.items():
        style = "round,pad=0.02,rounding_size=0.12" if colour != VALUE else "square,pad=0.02"
        patches[name] = axes.add_patch(
            FancyBboxPatch((x, y - HEIGHT / 2), width, HEIGHT, boxstyle=style, facecolor=colour, edgecolor=INK, linewidth=1)
        )
        first, rest = text.split("\n")
        axes.text(x + width / 2, y + 0.16, first, ha="center", va="center", fontsize=10, color=INK, weight="bold")
        axes.text(x + width / 2, y - 0.18, rest, ha="center", va="center", fontsize=8.5, color=INK)
    for start, end, label in ARROWS:
        (x1, y1, w1, *_), (x2, y2, w2, *_) = BOXES[start], BOXES[end]
        a, b = (x1 + w1 / 2, y1), (x2 + w2 / 2, y2)
        arrow = FancyArrowPatch(
            a, b, patchA=patches[start], patchB=patches[end], arrowstyle="-|>", mutation_scale=13, color=INK, linewidth=1.2
        )
        axes.add_patch(arrow)
        if label:
            between = ((x1 + w1 + x2) / 2, y1 + 0.14) if y1 == y2 else ((a[0] + b[0]) / 2 + 0.12, (y1 + y2) / 2)
            axes.text(*between, label, ha="center" if y1 == y2 else "left", va="bottom", fontsize=8, style="italic", color=INK)
    for k, (colour, text) in enumerate(((CORE, "the core"), (BACKEND, "a backend"), (TOOL, "around it"), (VALUE, "values"))):
        axes.add_patch(
            FancyBboxPatch((0.0 + 1.6 * k, -2.4), 0.3, 0.22, boxstyle="square,pad=0.02", facecolor=colour, edgecolor=INK)
        )
        axes.text(0.42 + 1.6 * k, -2.29, text, va="center", fontsize=8.5, color=INK)
    axes.set_xlim(-0.3, 12.9)
    axes.set_ylim(-2.7, 6.0)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
