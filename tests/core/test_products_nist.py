"""NIST's certified rational fits, written with nodes that multiply: powers of x, and numerator × 1 / denominator.

A NIST file is read for all of it: both starts, the certified parameters and standard deviations, the data.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

FOLDER = Path(os.environ.get("GRAPHBP_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")) / "nist"
DIGITS = 9
"""To agree in at least; the files give 11."""

FROZEN = {"weight": 1.0, "trainable": False}


def read(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(b: start 1, start 2, certified, standard deviation, a row each; the sum of squares; X; t)."""
    path = FOLDER / f"{name}.dat"
    if not path.is_file():
        pytest.skip(f"{path} is not there (set GRAPHBP_DATA)")
    text = path.read_text()
    b = np.array([row.split() for row in re.findall(r"^\s*b\d+ =(.*)$", text, re.MULTILINE)], float).T
    rss = np.array(re.search(r"Residual Sum of Squares:\s*(\S+)", text)[1], float)
    table = np.array([row.split() for row in text[text.rindex("Data:") :].splitlines()[1:] if row.strip()], float)
    return b, rss, table[:, 1:], table[:, 0]


def rational(b: np.ndarray, degree: int) -> gb.Network:
    """y = (b1 + b2 x + ... ) / (1 + b_(degree + 2) x + ...)."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_edge("x", "copy", **FROZEN)
    powers = ["x"]
    for k in range(2, degree + 1):
        g.add_node(f"x^{k}", aggregation="product")
        g.add_edge("copy", f"x^{k}", **FROZEN)
        g.add_edge(powers[-1], f"x^{k}", **FROZEN)
        powers.append(f"x^{k}")
    g.add_node("numerator", bias=float(b[0]))
    g.add_node("1/denominator", bias=1.0, trainable=False, activation="reciprocal")
    for k, power in enumerate(powers):
        g.add_edge(power, "numerator", weight=float(b[1 + k]))
        g.add_edge(power, "1/denominator", weight=float(b[1 + degree + k]))
    g.add_node("y", aggregation="product")
    g.add_edge("numerator", "y", **FROZEN)
    g.add_edge("1/denominator", "y", **FROZEN)
    return gb.Network(g, backend="numpy")


def positions(net: gb.Network, degree: int) -> list[int]:
    """Where b1, b2, ... stand in θ."""
    powers = ["x", *(f"x^{k}" for k in range(2, degree + 1))]
    places = [net.parameter_index("numerator"), *(net.parameter_index(p, "numerator") for p in powers)]
    return [place.start for place in [*places, *(net.parameter_index(p, "1/denominator") for p in powers)]]


def digits(found: np.ndarray, certified: np.ndarray) -> float:
    """The log relative error of the worst one."""
    return float(-np.log10(np.max(np.abs(found - certified) / np.abs(certified)) + 1e-16))


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize(("name", "degree"), [("Thurber", 3), ("Kirby2", 2), ("Hahn1", 3)])
def test_certified(name: str, degree: int, start: int) -> None:
    b, rss, X, t = read(name)
    net = rational(b[start], degree)
    at = positions(net, degree)
    assert np.array_equal(np.array(net.weights)[at], b[start])
    fit = gb.train(net, X, t, optimizer="levenberg_marquardt")
    assert digits(fit.parameters[at], b[2]) > DIGITS
    assert digits(fit.standard_errors[at], b[3]) > DIGITS
    assert digits(np.array(fit.residual_sum_of_squares), rss) > DIGITS
    assert fit.reason.startswith("converged")
