"""NIST's certified nonlinear regressions: parameters and standard deviations, from both starting points."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

FOLDER = Path(os.environ.get("GRAPHBP_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")) / "nist"
NAMES = ["Misra1a", "Lanczos3", "Gauss1", "Chwirut2", "DanWood", "Roszman1", "Rat43", "MGH17", "Hahn1", "ENSO"]
ACTIVATIONS = {"id": "identity", "recip": "reciprocal", "atan": "arctan", "gauss": "gaussian"}
DIGITS = 9
"""Digits to agree in; the files give 11, and the network's form of a parameter can cost one."""

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the NIST files are not at {FOLDER} (set GRAPHBP_DATA)")


def read(name: str) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    row = json.loads((FOLDER / "nist_strd.json").read_text())[name]
    lines = (FOLDER / f"{name}.dat").read_text().splitlines()
    start = max(i for i, line in enumerate(lines) if line.startswith("Data:"))
    table = np.array([[float(v) for v in line.split()] for line in lines[start + 1 :] if line.strip()])
    assert len(table) == row["n"]
    return row, table[:, 1:], table[:, 0]


def network(units: list[dict[str, Any]], theta: list[float]) -> tuple[gb.Network, list[int], list[bool]]:
    """The network, where each θ_i stands in `weights`, and which θ_i is an angle (the bias of a cosine)."""

    def attributes(value: dict[str, Any], key: str) -> dict[str, Any]:
        if "frozen" in value:
            return {key: value["frozen"], "trainable": False}
        return {key: theta[value["trainable"]], "tie": str(value["trainable"])}

    g = nx.DiGraph()
    g.add_node("x1")
    for unit in units:
        bias = {} if unit["bias"] is None else attributes(unit["bias"], "bias")
        g.add_node(unit["unit"], activation=ACTIVATIONS.get(unit["act"], unit["act"]), **bias)
    for unit in units:
        for source, value in unit["weights"].items():
            g.add_edge(source, unit["unit"], **attributes(value, "weight"))
    net = gb.Network(g, backend="numpy")
    position, angle = [-1] * len(theta), [False] * len(theta)
    for unit in units:
        if unit["bias"] and "trainable" in unit["bias"]:
            position[unit["bias"]["trainable"]] = net.parameter_index(unit["unit"]).start
            angle[unit["bias"]["trainable"]] = unit["act"] == "cos"
        for source, value in unit["weights"].items():
            if "trainable" in value:
                position[value["trainable"]] = net.parameter_index(source, unit["unit"]).start
    return net, position, angle


def digits(found: np.ndarray, certified: np.ndarray) -> float:
    """The log relative error of the worst one."""
    return float(-np.log10(np.max(np.abs(found - certified) / np.abs(certified)) + 1e-16))


@pytest.mark.sampled
@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_certified(name, start):
    row, X, t = read(name)
    net, position, angle = network(row["net"], row[f"theta_start{start}"])
    fit = gb.train(net, X, t, optimizer="levenberg_marquardt")
    certified = np.array(row["theta_at_certified"])
    found = fit.parameters[position]
    # cos is the same for any multiple of 2π in its phase: from start 1, ENSO arrives one turn away
    found = np.where(angle, found - 2 * np.pi * np.round((found - certified) / (2 * np.pi)), found)
    assert digits(found, certified) > DIGITS
    assert digits(fit.standard_errors[position], np.array(row["theta_sd"])) > DIGITS
    assert digits(np.array(fit.residual_sum_of_squares), np.array(row["rss"])) > DIGITS
    assert fit.degrees_of_freedom == row["n"] - row["p"]
    assert fit.reason.startswith("converged")


def test_every_set_is_tested():
    assert set(json.loads((FOLDER / "nist_strd.json").read_text())) == set(NAMES)


@pytest.mark.parametrize("name", ["Misra1a", "Hahn1", "ENSO"])
def test_the_units_of_x_do_not_matter(name):
    """Column scaling: with x in other units, the same path to the same curve."""
    row, X, t = read(name)
    a, _, _ = network(row["net"], row["theta_start2"])
    fit = gb.train(a, X, t, optimizer="levenberg_marquardt")
    b, _, _ = network(row["net"], row["theta_start2"])
    for source, destination in [("x1", unit["unit"]) for unit in row["net"] if "x1" in unit["weights"]]:
        try:
            where = b.parameter_index(source, destination)
        except gb.WeightError:
            return  # a frozen weight on x1 fixes its units
        b.weights[where] *= 1e-6
    again = gb.train(b, 1e6 * X, t, optimizer="levenberg_marquardt")
    assert len(again) == len(fit)
    assert again.residual_sum_of_squares == pytest.approx(fit.residual_sum_of_squares, rel=1e-12)


def test_no_step_at_all_reports_where_the_network_stands():
    """epochs=0: standard errors of parameters that came from elsewhere."""
    row, X, t = read("Misra1a")
    net, position, _ = network(row["net"], row["theta_at_certified"])
    fit = gb.train(net, X, t, optimizer="levenberg_marquardt", epochs=0)
    assert fit.iterations == 0
    assert digits(fit.standard_errors[position], np.array(row["theta_sd"])) > DIGITS
