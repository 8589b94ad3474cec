"""Nonlinear regression with certified answers: a model is a network, Levenberg-Marquardt fits it, the standard errors are checked.

    python examples/nist_levenberg_marquardt.py [folder with the .dat files]

NIST publishes regression problems with parameters and standard deviations certified to 11 digits, each with two starting points
(https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml).  Their models are feed-forward networks of weighted sums and elementwise
functions: y = b1 (1 - exp(-b2 x)) has a hidden unit with activation expm1 and two weights.  The .dat files are read from the folder
given, from $GRAPHBP_DATA/nist, or from ../shared/data/nist; without them the example only says where to get them.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import networkx as nx
import numpy as np

import graphbp as gb

Edge = tuple[str, str]

# Each model: units with their activations, then the edges (or biases) that carry -b or +b, in the order of NIST's b1, b2, ...
MODELS: dict[str, tuple[dict[str, str], list[tuple[float, Edge]]]] = {
    # y = b1 (1 - exp(-b2 x))
    "Misra1a": ({"h": "expm1"}, [(-1, ("h", "y")), (-1, ("x", "h"))]),
    # y = b1 exp(-b2 x) + b3 exp(-b4 x) + b5 exp(-b6 x)
    "Lanczos3": (
        {"e1": "exp", "e2": "exp", "e3": "exp"},
        [(1, ("e1", "y")), (-1, ("x", "e1")), (1, ("e2", "y")), (-1, ("x", "e2")), (1, ("e3", "y")), (-1, ("x", "e3"))],
    ),
    # y = b1 + b2 exp(-x b4) + b3 exp(-x b5)
    "MGH17": (
        {"e1": "exp", "e2": "exp"},
        [(1, ("y", "bias")), (1, ("e1", "y")), (1, ("e2", "y")), (-1, ("x", "e1")), (-1, ("x", "e2"))],
    ),
    # y = exp(-b1 x) / (b2 + b3 x) = exp(-b1 x - log(b2 + b3 x)), so y itself is an exp unit, and log -> y is frozen at -1
    "Chwirut2": ({"l": "log", "y": "exp"}, [(-1, ("x", "y")), (1, ("l", "bias")), (1, ("x", "l"))]),
}


def build(name: str, start: np.ndarray) -> gb.Network:
    units, carried = MODELS[name]
    g = nx.DiGraph()
    g.add_nodes_from(["x", "y"])
    for unit, activation in units.items():
        g.add_node(unit, activation=activation)
    for b, (sign, (source, destination)) in zip(start, carried, strict=True):
        if destination == "bias":
            g.nodes[source]["bias"] = sign * b
        else:
            g.add_edge(source, destination, weight=sign * b)
    if name == "Chwirut2":
        g.add_edge("l", "y", weight=-1.0, trainable=False)
    return gb.Network(g, error="sum_of_squares", dtype="float64")


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Starts (2, p), certified parameters and their standard deviations (2, p), x, y."""
    lines = path.read_text().splitlines()
    number = r"[-+]?[\d.]+(?:E[-+]?\d+)?"
    rows = [re.findall(number, line.split("=")[1]) for line in lines if re.match(r"\s*b\d+ =", line)]
    table = np.array(rows, float)
    begin = max(i for i, line in enumerate(lines) if line.startswith("Data:"))
    data = np.array([line.split() for line in lines[begin + 1 :] if line.strip()], float)
    return table[:, :2].T, table[:, 2:].T, data[:, 1:], data[:, 0]


def digits(found: np.ndarray, certified: np.ndarray) -> float:
    return float(-np.log10(np.max(np.abs(found / certified - 1)) + 1e-16))


def main() -> None:
    default = Path(os.environ.get("GRAPHBP_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")) / "nist"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if not (folder / "Misra1a.dat").is_file():
        print(f"no NIST files in {folder}: get {', '.join(f'{name}.dat' for name in MODELS)} from the address above")
        return
    for name, (_, carried) in MODELS.items():
        starts, (certified, deviation), X, t = read(folder / f"{name}.dat")
        for number, start in enumerate(starts, 1):
            net = build(name, start)
            fit = gb.train(net, X, t, optimizer="levenberg_marquardt", progress=False)
            where = [net.parameter_index(a) if b == "bias" else net.parameter_index(a, b) for _, (a, b) in carried]
            index = [at.start for at in where]
            b = fit.parameters[index] * [sign for sign, _ in carried]
            print(
                f"{name:9s} start {number}: {digits(b, certified):4.1f} digits of the parameters, "
                f"{digits(fit.standard_errors[index], deviation):4.1f} of the standard deviations, {fit.iterations} iterations"
            )
    print(f"\nthe report of the last one:\n{fit}")


if __name__ == "__main__":
    main()
