"""How sure is a network?  A Laplace posterior over its weights, drawn as a band around its prediction.

    python examples/laplace_band.py [--picture band.png] [--nist Rat43.dat]

A small network with a skip edge is fitted to one input.  Prior precision and noise are those that maximise the marginal likelihood, and
the network is trained again with that prior until both agree.  The inner band is what is not known about the curve (two standard
deviations), the outer one adds the noise of an observation.  Where there are no data the inner band opens.

The data are scikit-learn's diabetes set (442 patients: progression of the disease a year later against the body mass index) and, where its
file is given, NIST's Rat43 (15 weights of onion bulbs as they grow; https://www.itl.nist.gov/div898/strd/nls/data/ratkowsky3.shtml).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from sklearn.datasets import load_diabetes

import graphbp as gb
from graphbp.uncertainty import Posterior


def network(hidden: int, seed: int = 0) -> gb.Network:
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    g.add_node("x")
    for j in range(hidden):
        g.add_node(f"h{j}", activation="tanh", bias=rng.normal())
    g.add_node("y", bias=0.0)
    for j in range(hidden):
        g.add_edge("x", f"h{j}", weight=rng.normal())
        g.add_edge(f"h{j}", "y", weight=rng.normal())
    g.add_edge("x", "y", weight=0.0)  # the skip
    return gb.Network(g, error="sum_of_squares")


def fit(net: gb.Network, X: np.ndarray, t: np.ndarray, alpha: float, rounds: int = 5) -> Posterior:
    """Train with the prior, choose prior and noise by the evidence, and again."""
    sigma = 0.5
    for _ in range(rounds):
        gb.train(net, X, t, optimizer="lbfgs", l2=alpha * sigma**2 / len(X), tolerance=1e-11, progress=False)
        posterior = gb.laplace(net, X, t, prior_precision="marginal_likelihood")
        alpha, sigma = posterior.prior_precision, posterior.noise
    return posterior


def best_fit(hidden: int, X: np.ndarray, t: np.ndarray) -> Posterior:
    """The evidence has a maximum for a wavy curve and another for a smooth one: start at both, and take the higher."""
    return max((fit(network(hidden), X, t, alpha) for alpha in (0.1, 10.0)), key=lambda found: found.log_marginal_likelihood)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    bunch = load_diabetes(scaled=False)
    return bunch.data[:, 2], bunch.target


def nist(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = path.read_text().splitlines()
    begin = max(i for i, line in enumerate(lines) if line.startswith("Data:"))
    y, x = np.array([line.split() for line in lines[begin + 1 :] if line.strip()], float).T
    return x, y


def draw(axes: Any, x: np.ndarray, y: np.ndarray, hidden: int, labels: tuple[str, str]) -> None:
    """Fit, report, and draw the bands in the data's own units."""
    (x0, xs), (y0, ys) = (x.mean(), x.std()), (y.mean(), y.std())
    X, t = ((x - x0) / xs)[:, None], (y - y0) / ys
    posterior = best_fit(hidden, X, t)
    print(posterior)
    margin = 0.35 * np.ptp(x)
    at = np.linspace(x.min() - margin, x.max() + margin, 300)
    prediction = posterior.predict(((at - x0) / xs)[:, None])
    mean = y0 + ys * prediction.mean[:, 0]
    curve, observation = ys * prediction.standard_deviation[:, 0], ys * prediction.total_variance[:, 0] ** 0.5
    for name, i in (("first", 0), ("middle", 150), ("last", 299)):
        print(
            f"  {name:6s} {labels[0]} {at[i]:6.1f}: {mean[i]:7.1f} ± {curve[i]:.1f} (curve), ± {observation[i]:.1f} (an observation)"
        )
    inside = posterior.predict(X)
    share = np.mean(np.abs(t - inside.mean[:, 0]) < 2 * inside.total_variance[:, 0] ** 0.5)
    print(f"  {share:.1%} of the {len(x)} observations lie inside the outer band\n")
    axes.fill_between(at, mean - 2 * observation, mean + 2 * observation, color="#dbe7f4", linewidth=0, label="± 2 sd, observation")
    axes.fill_between(at, mean - 2 * curve, mean + 2 * curve, color="#8fb7dd", linewidth=0, label="± 2 sd, curve")
    axes.plot(at, mean, color="#12406b", label="prediction")
    axes.plot(x, y, ".", color="0.2", markersize=3 if len(x) > 50 else 7, label=f"{len(x)} observations")
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(at[0], at[-1]))
    axes.legend(frameon=False, loc="upper left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--nist", type=Path, help="NIST's Rat43.dat")
    told = parser.parse_args()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12 if told.nist else 7, 4.2), layout="constrained")
    axes = figure.subplots(1, 2 if told.nist else 1, squeeze=False)[0]
    draw(axes[0], *diabetes(), 6, ("body mass index", "progression of diabetes"))
    if told.nist:
        draw(axes[1], *nist(told.nist), 6, ("growing time", "dry weight of onion bulbs"))
    if told.picture:
        figure.savefig(told.picture, dpi=110)
        print(f"drawn: {told.picture}")


if __name__ == "__main__":
    main()
