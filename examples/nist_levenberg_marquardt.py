"""Nonlinear regression with certified answers: a model is a network, Levenberg-Marquardt fits it, the standard errors are checked.

    python examples/nist_levenberg_marquardt.py

NIST publishes regression problems with parameters and standard deviations certified to 11 digits, each with two starting points
(https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml).  Their models are feed-forward networks of weighted sums and elementwise
functions: y = b1 (1 - exp(-b2 x)) has a hidden unit with activation expm1 and two weights.  Four of the problems, which are in the
public domain, are typed in below, so that nothing is downloaded.
"""

from __future__ import annotations

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

# Starts 1 and 2, certified value, certified standard deviation of each parameter; then the observations, x and y.
DATA: dict[str, tuple[str, str, str]] = {
    "Misra1a": (
        "500 250 2.3894212918E+02 2.7070075241E+00; 0.0001 0.0005 5.5015643181E-04 7.2668688436E-06",
        "77.6 114.9 141.1 190.8 239.9 289 332.8 378.4 434.8 477.3 536.8 593.1 689.1 760",
        "10.07 14.73 17.94 23.93 29.61 35.18 40.02 44.82 50.76 55.05 61.01 66.4 75.47 81.78",
    ),
    "Lanczos3": (
        "1.2 0.5 8.6816414977E-02 1.7197908859E-02; 0.3 0.7 9.5498101505E-01 9.7041624475E-02; 5.6 3.6 8.4400777463E-01 "
        "4.1488663282E-02; 5.5 4.2 2.9515951832E+00 1.0766312506E-01; 6.5 4 1.5825685901E+00 5.8371576281E-02; 7.6 6.3 "
        "4.9863565084E+00 3.4436403035E-02",
        "0 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5 0.55 0.6 0.65 0.7 0.75 0.8 0.85 0.9 0.95 1 1.05 1.1 1.15",
        "2.5134 2.0443 1.6684 1.3664 1.1232 0.9269 0.7679 0.6389 0.5338 0.4479 0.3776 0.3197 0.272 0.2325 0.1997 0.1723 "
        "0.1493 0.1301 0.1138 0.1 0.0883 0.0783 0.0698 0.0624",
    ),
    "MGH17": (
        "50 0.5 3.7541005211E-01 2.0723153551E-03; 150 1.5 1.9358469127E+00 2.2031669222E-01; -100 -1 -1.4646871366E+00 "
        "2.2175707739E-01; 1 0.01 1.2867534640E-02 4.4861358114E-04; 2 0.02 2.2122699662E-02 8.9471996575E-04",
        "0 10 20 30 40 50 60 70 80 90 100 110 120 130 140 150 160 170 180 190 200 210 220 230 240 250 260 270 280 290 300 310 320",
        "0.844 0.908 0.932 0.936 0.925 0.908 0.881 0.85 0.818 0.784 0.751 0.718 0.685 0.658 0.628 0.603 0.58 0.558 0.538 "
        "0.522 0.506 0.49 0.478 0.467 0.457 0.448 0.438 0.431 0.424 0.42 0.414 0.411 0.406",
    ),
    "Chwirut2": (
        "0.1 0.15 1.6657666537E-01 3.8303286810E-02; 0.01 0.008 5.1653291286E-03 6.6621605126E-04; 0.02 0.010 "
        "1.2150007096E-02 1.5304234767E-03",
        "0.5 1 1.75 3.75 5.75 0.875 2.25 3.25 5.25 0.75 1.75 2.75 4.75 0.625 1.25 2.25 4.25 0.5 3 0.75 3 1.5 6 3 6 1.5 3 "
        "0.5 2 4 0.75 2 5 0.75 2.25 3.75 5.75 3 0.75 2.5 4 0.75 2.5 4 0.75 2.5 4 0.5 6 3 0.5 2.75 0.5 1.75",
        "92.9 57.1 31.05 11.5875 8.025 63.6 21.4 14.25 8.475 63.8 26.8 16.4625 7.125 67.3 41 21.15 8.175 81.5 13.12 59.9 "
        "14.62 32.9 5.44 12.56 5.44 32 13.95 75.8 20 10.42 59.5 21.67 8.55 62 20.2 7.76 3.75 11.81 54.7 23.7 11.55 61.3 "
        "17.7 8.74 59.2 16.3 8.62 81 4.87 14.62 81.7 17.17 81.3 28.9",
    ),
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


def read(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Starts (2, p), certified parameters and their standard deviations (2, p), x (N, 1), y (N,)."""
    parameters, x, y = DATA[name]
    table = np.array([row.split() for row in parameters.split(";")], float)
    return table[:, :2].T, table[:, 2:].T, np.array(x.split(), float)[:, None], np.array(y.split(), float)


def digits(found: np.ndarray, certified: np.ndarray) -> float:
    return float(-np.log10(np.max(np.abs(found / certified - 1)) + 1e-16))


def main() -> None:
    for name, (_, carried) in MODELS.items():
        starts, (certified, deviation), X, t = read(name)
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
