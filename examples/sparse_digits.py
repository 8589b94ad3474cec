"""Handwritten digits with a network that is no stack of layers.

    python examples/sparse_digits.py [--seed 0] [--folder runs/digits]

The graph is a small world: 64 pixels, 256 hidden units and 10 outputs stand in one line, each wired to its neighbours, and most of
those wires are moved to a random unit further along.  So it is sparse, deep (about 100 levels), and full of connections that skip.
It is trained with Adam on scikit-learn's digits, its gradient is verified, and the accuracy is measured on a quarter of the images
that nothing else has seen.  The folder then holds

    model.json      the trained network (gb.load reads it)
    curves.png      error by epoch, and how the test images were classified
    summary.txt     what was done and found
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

import networkx as nx
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphbp as gb

PIXELS, HIDDEN, CLASSES = 64, 256, 10


def small_world(seed: int) -> nx.DiGraph:
    """Units in a line, each with wires to units further along: the network, in a dozen lines of networkx."""
    n = PIXELS + HIDDEN + CLASSES
    g = nx.DiGraph()
    g.add_nodes_from(range(PIXELS), role="input")
    g.add_nodes_from(range(PIXELS, n - CLASSES), activation="tanh", bias=0.0)
    g.add_nodes_from(range(n - CLASSES, n), activation="softmax", bias=0.0, role="output")
    for edge in nx.connected_watts_strogatz_graph(n, k=24, p=0.7, seed=seed).edges:
        i, j = sorted(edge)
        if j >= PIXELS and i < n - CLASSES:  # from lower to higher: no cycle; nothing leads into a pixel or out of an output
            g.add_edge(i, j)
    rng = np.random.default_rng(seed)
    for i, j in g.edges:
        g.edges[i, j]["weight"] = rng.normal(0, 1 / np.sqrt(g.in_degree(j)))
    return g


def draw_curves(history: Any, Y: Any, t: Any, path: Path) -> None:
    """Error and accuracy by epoch, and the confusion matrix of the test images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    error, accuracy, confusion = figure.subplots(1, 3)
    error.semilogy(history.epoch, history.error, label="training")
    error.semilogy(history.epoch, history.validation_error, label="validation")
    error.axvline(history.best_epoch, color="0.6", linewidth=0.8)
    error.set(xlabel="epoch", ylabel="mean error $E_n$")
    error.legend(frameon=False)
    accuracy.plot(history.epoch, history.metrics["accuracy"])
    accuracy.axvline(history.best_epoch, color="0.6", linewidth=0.8)
    accuracy.set(xlabel="epoch", ylabel="validation accuracy")
    counts = np.zeros((CLASSES, CLASSES), int)
    np.add.at(counts, (t, Y.argmax(axis=1)), 1)
    confusion.imshow(np.sqrt(counts), cmap="Blues")
    for (i, j), count in np.ndenumerate(counts):
        if count:
            confusion.text(j, i, count, ha="center", va="center", fontsize=7, color="white" if i == j else "black")
    confusion.set(xlabel="network's answer", ylabel="digit", xticks=range(CLASSES), yticks=range(CLASSES))
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a sparse, irregular network on handwritten digits.")
    parser.add_argument("--seed", type=int, default=0, help="of the graph, its weights, the split and the order of the samples")
    parser.add_argument("--folder", type=Path, default=Path("runs/digits"), help="where the results go")
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    X, t = load_digits(return_X_y=True)
    X = X / 16
    X, X_test, t, t_test = train_test_split(X, t, test_size=0.25, stratify=t, random_state=options.seed)

    net = gb.Network(small_world(options.seed), error="cross_entropy")
    print(net)

    began = perf_counter()
    history = gb.train(
        net,
        X,
        t,
        optimizer="adam",
        learning_rate=0.003,
        weight_decay=0.03,
        batch_size=32,
        epochs=options.epochs,
        validation_split=0.1,
        patience=15,
        seed=options.seed,
        progress=True,
    )
    took = perf_counter() - began

    print("verifying the derivatives of the trained network on 20 images ...")
    report = net.check(X_test[:20], t_test[:20])
    print(report)

    Y = net.forward(X_test)
    accuracy = np.mean(Y.argmax(axis=1) == t_test)
    s = net.schedule
    summary = "\n".join(
        [
            f"network       {s.n_inputs} pixels, {s.n_units} units in {s.depth} levels, {s.n_edges} edges, {s.n_parameters} parameters",
            f"backend       {net.backend}, {net.dtype}",
            f"training      {len(X)} images (a tenth of them for validation), {len(history)} epochs of Adam in {took:.1f} s",
            f"best epoch    {history.best_epoch}",
            f"derivatives   {'verified' if report.ok else 'WRONG, see above'}",
            f"accuracy      {accuracy:.1%} on {len(t_test)} held-out images (seed {options.seed})",
        ]
    )
    print(f"\n{summary}\n")

    net.save(options.folder / "model.json")
    draw_curves(history, Y, t_test, options.folder / "curves.png")
    (options.folder / "summary.txt").write_text(summary + "\n", encoding="utf-8")
    print(f"model.json, curves.png and summary.txt are in {options.folder}")
    if not report.ok:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
