"""Published regressions: coefficients and standard errors to the printed digits, from zero weights, on the columns as they are printed.

Small tables stand here; large ones come with statsmodels (skipped where it is not installed), which also carries the printed results.
"""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

Numbers = list[float]


def regression(columns: list[str], activation: str, error: str) -> gb.Network:
    """y = h(Σ w x + b) with all parameters 0."""
    g = nx.DiGraph()
    g.add_nodes_from(columns)
    g.add_node("y", activation=activation, bias=0.0)
    g.add_edges_from((name, "y", {"weight": 0.0}) for name in columns)
    return gb.Network(g, error=error, backend="numpy")


def fitted(
    X: Any, t: Any, activation: str, error: str, sample_weight: Any = None, optimizer: str = "lbfgs"
) -> tuple[np.ndarray, np.ndarray, str]:
    """(θ, √diag H⁻¹, why it stopped), the bias last."""
    X = np.asarray(X, float)
    columns = [f"x{i}" for i in range(X.shape[1])]
    net = regression(columns, activation, error)
    history = gb.train(net, X, np.asarray(t, float), optimizer=optimizer, sample_weight=sample_weight)
    order = [*(net.parameter_index(name, "y").start for name in columns), net.parameter_index("y").start]
    H = net.hessian(X, np.asarray(t, float), sample_weight)
    scale = np.sqrt(np.diag(H))
    errors = np.sqrt(np.diag(np.linalg.inv(H / scale / scale[:, None]))) / scale
    return net.weights[order], errors[order], history.reason


def digits(printed: Numbers | tuple[float, ...], count: int) -> Any:
    """Equal to `count` significant digits."""
    return pytest.approx(np.array(printed), rel=0.51 * 10.0 ** (1 - count), abs=1e-12)


SPECTOR = """
2.66 20 0 0  2.89 22 0 0  3.28 24 0 0  2.92 12 0 0  4.00 21 0 1  2.86 17 0 0  2.76 17 0 0  2.87 21 0 0
3.03 25 0 0  3.92 29 0 1  2.63 20 0 0  3.32 23 0 0  3.57 23 0 0  3.26 25 0 1  3.53 26 0 0  2.74 19 0 0
2.75 25 0 0  2.83 19 0 0  3.12 23 1 0  3.16 25 1 1  2.06 22 1 0  3.62 28 1 1  2.89 14 1 0  3.51 26 1 0
3.54 24 1 1  2.83 27 1 1  3.39 17 1 1  2.67 24 1 0  3.65 21 1 1  4.00 23 1 1  3.10 21 1 0  2.39 19 1 1
"""


def test_spector_and_mazzeo():
    """Grades by GPA, TUCE and PSI (1980; Greene, Econometric Analysis, table 21.1)."""
    table = np.array(SPECTOR.split(), float).reshape(32, 4)
    theta, errors, reason = fitted(table[:, :3], table[:, 3], "sigmoid", "binary_cross_entropy")
    assert theta == digits([2.826113, 0.09515766, 2.378688, -13.02135], 6)
    assert errors == digits([1.262941, 0.1415542, 1.064564, 4.931324], 6)
    assert reason.startswith("converged")


DOSE = [1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839]
BEETLES = np.array([59, 60, 62, 56, 63, 59, 62, 60])
KILLED = np.array([6, 13, 18, 28, 52, 53, 61, 60])


def test_beetles():
    """Beetles killed by carbon disulphide (Bliss 1935; Dobson, An Introduction to Generalized Linear Models, table 7.2)."""
    X = np.array(DOSE)[:, None]
    theta, errors, reason = fitted(X, KILLED / BEETLES, "sigmoid", "binary_cross_entropy", BEETLES)
    assert theta == digits([34.27, -60.72], 4)
    assert errors == digits([2.912, 5.181], 4)
    assert reason.startswith("converged")


def test_d93():
    """Randomised controlled trial (Dobson 1990), the first example of R's glm: outcome and treatment as dummies."""
    counts = [18, 17, 15, 20, 10, 20, 25, 13, 12]
    outcome, treatment = np.tile([1, 2, 3], 3), np.repeat([1, 2, 3], 3)
    X = np.column_stack([outcome == 2, outcome == 3, treatment == 2, treatment == 3])
    theta, errors, reason = fitted(X, counts, "exp", "poisson")
    assert theta == digits([-0.4543, -0.2930, 0.0, 0.0, 3.045], 4)
    assert errors == digits([0.2022, 0.1927, 0.2000, 0.2000, 0.1709], 4)
    assert reason.startswith("converged")


CONCENTRATION = [0.02, 0.02, 0.06, 0.06, 0.11, 0.11, 0.22, 0.22, 0.56, 0.56, 1.10, 1.10]
TREATED = [76, 47, 97, 107, 123, 139, 159, 152, 191, 201, 207, 200]
UNTREATED = [67, 51, 84, 86, 98, 115, 131, 124, 144, 158, 160]


@pytest.mark.parametrize("optimizer", ["levenberg_marquardt", "lbfgs"])
@pytest.mark.parametrize(
    ("rates", "published", "errors"),
    [(TREATED, [212.7, 0.06412], [6.947, 0.008281]), (UNTREATED, [160.3, 0.04771], [6.48, 0.007782])],
    ids=["treated", "untreated"],
)
def test_puromycin(rates, published, errors, optimizer):
    """v = V c / (K + c) = V / (1 + K / c) (Treloar 1974; R's nls): V and K of an enzyme with and without puromycin."""
    g = nx.DiGraph()
    g.add_node("h", activation="reciprocal", bias=1.0, trainable=False)
    g.add_weighted_edges_from([("1/c", "h", 0.0), ("h", "v", 0.0)])
    net = gb.Network(g, backend="numpy")
    X, t = 1 / np.array(CONCENTRATION[: len(rates)])[:, None], np.array(rates, float)
    history = gb.train(net, X, t, optimizer=optimizer)
    assert [net.weight("h", "v"), net.weight("1/c", "h")] == digits(published, 4)
    assert history.reason.startswith("converged")
    fit = gb.train(net, X, t, optimizer="levenberg_marquardt", epochs=0)
    at = [net.parameter_index("h", "v").start, net.parameter_index("1/c", "h").start]
    assert fit.standard_errors[at] == digits(errors, 3)


LONGLEY = """
60323 83.0 234289 2356 1590 107608 1947   61122 88.5 259426 2325 1456 108632 1948   60171 88.2 258054 3682 1616 109773 1949
61187 89.5 284599 3351 1650 110929 1950   63221 96.2 328975 2099 3099 112075 1951   63639 98.1 346999 1932 3594 113270 1952
64989 99.0 365385 1870 3547 115094 1953   63761 100.0 363112 3578 3350 116219 1954   66019 101.2 397469 2904 3048 117388 1955
67857 104.6 419180 2822 2857 118734 1956   68169 108.4 442769 2936 2798 120445 1957   66513 110.8 444546 4681 2637 121950 1958
68655 112.6 482704 3813 2552 123366 1959   69564 114.2 502601 3931 2514 125368 1960   69331 115.7 518173 4806 2572 127852 1961
70551 116.9 554894 4007 2827 130081 1962
"""
LONGLEY_THETA = [15.0618722713733, -0.0358191792925910, -2.02022980381683, -1.03322686717359, -0.0511041056535807, 1829.15146461355]
LONGLEY_ERRORS = [84.9149257747669, 0.0334910077722432, 0.488399681651699, 0.214274163161675, 0.226073200069370, 455.478499142212]


@pytest.mark.parametrize("optimizer", ["levenberg_marquardt", "lbfgs"])
def test_longley(optimizer):
    """Employment (Longley 1967), with NIST's certified values."""
    table = np.array(LONGLEY.split(), float).reshape(16, 7)
    X, t = table[:, 1:], table[:, 0]
    columns = [f"x{i}" for i in range(6)]
    net = regression(columns, "identity", "sum_of_squares")
    history = gb.train(net, X, t, optimizer=optimizer)
    at = [*(net.parameter_index(name, "y").start for name in columns), net.parameter_index("y").start]
    assert net.weights[at] == digits([*LONGLEY_THETA, -3482258.63459582], 7)
    assert history.reason.startswith("converged")
    fit = gb.train(net, X, t, optimizer="levenberg_marquardt", epochs=0)
    assert fit.standard_errors[at] == digits([*LONGLEY_ERRORS, 890420.383607373], 7)
    assert fit.degrees_of_freedom == 9


# -- tables of statsmodels ---------------------------------------------------------------------------------------------------


def dataset(name: str) -> Any:
    datasets = pytest.importorskip("statsmodels.datasets", reason="statsmodels, which carries the table, is not installed")
    return getattr(datasets, name).load_pandas()


@pytest.mark.parametrize("optimizer", ["lbfgs", "newton"])
def test_fair(optimizer):
    """Extramarital affairs (Fair 1978; statsmodels' page on discrete choice)."""
    data = dataset("fair").data
    theta, errors, reason = fitted(data.iloc[:, :8], data["affairs"] > 0, "sigmoid", "binary_cross_entropy", None, optimizer)
    printed = [-0.7161, -0.0605, 0.1100, -0.0042, -0.3752, -0.0392, 0.1602, 0.0124, 3.7257]
    assert theta == pytest.approx(np.array(printed), abs=0.51e-4)
    assert errors == pytest.approx(np.array([0.031, 0.010, 0.011, 0.032, 0.035, 0.015, 0.034, 0.023, 0.299]), abs=0.51e-3)
    assert reason.startswith("converged")


@pytest.mark.parametrize("optimizer", ["lbfgs", "newton"])
def test_rand_hie(optimizer):
    """Visits to doctors in the RAND health insurance experiment, Poisson (Stata)."""
    data = dataset("randhie")
    theta, errors, reason = fitted(data.exog, data.endog, "exp", "poisson", None, optimizer)
    printed = [-0.052535114675, -0.247086797633, 0.035290201794, -0.03457750643, 0.271713973711, 0.033941474461, -0.012635035534]
    assert theta == digits([*printed, 0.054056326828, 0.206115121809, 0.700352877227], 7)  # Stata stops 1e-7 standard errors short
    printed = [0.00288398915279, 0.01061725196728, 0.00182833684966, 0.00161284852954, 0.01223913844387, 0.00056476496963]
    assert errors == digits([*printed, 0.00925061122826, 0.01530987068312, 0.02627928267502, 0.01116266712362], 7)
    assert reason.startswith("converged")


def test_star98():
    """Californian schools above the national median in mathematics, binomial with twenty columns and their products (R's glm)."""
    data = dataset("star98")
    n = data.endog.sum(axis=1)
    share = data.endog.iloc[:, 0] / n
    theta, errors, reason = fitted(data.exog, share, "sigmoid", "binary_cross_entropy", np.asarray(n))
    printed = [-0.0168150366, 0.0099254766, -0.0187242148, -0.0142385609, 0.2544871730, 0.2406936644, 0.0804086739, -1.9521605027]
    printed += [-0.3340864748, -0.1690221685, 0.0049167021, -0.0035799644, -0.0140765648, -0.0040049918, -0.0039063958]
    printed += [0.0917143006, 0.0489898381, 0.0080407389, 0.0002220095, -0.0022492486, 2.9588779262]
    assert theta == digits(printed, 6)
    printed = [4.339467e-04, 6.013714e-04, 7.435499e-04, 4.338655e-04, 2.994576e-02, 5.713824e-02, 1.392359e-02, 3.168109e-01]
    printed += [6.126411e-02, 3.270139e-02, 1.253877e-03, 2.254633e-04, 1.904573e-03, 4.739838e-04, 9.623650e-04, 1.450923e-02]
    printed += [7.451666e-03, 1.499497e-03, 2.988794e-05, 3.489838e-04, 1.546712]
    assert errors == digits(printed, 5)
    assert reason.startswith("converged")
