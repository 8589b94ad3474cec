"""Published logit, multinomial and Poisson tables by Newton from zero weights, on the columns as they are printed and in other units.

Coefficients and standard errors agree with all printed digits, and to ten digits with the optimum that mpmath finds.
"""

from __future__ import annotations

from typing import Any

import mpmath
import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from helpers.tables import ALLIGATORS, BEETLES, D93, INSECTS, SPECTOR, WARPBREAKS, Table, statsmodels_table

TYPED = [SPECTOR, BEETLES, D93, INSECTS, WARPBREAKS, ALLIGATORS]
HEADS = {"logit": ("sigmoid", "binary_cross_entropy"), "multinomial": ("softmax", "cross_entropy"), "poisson": ("exp", "poisson")}


def network(table: Table, backend: str) -> gb.Network:
    """y = h(Σ w x + b) with all parameters 0; of a multinomial the first class is the reference, whose parameters stay 0."""
    activation, error = HEADS[table.kind]
    g, columns = nx.DiGraph(), [f"x{i}" for i in range(table.X.shape[1])]
    g.add_nodes_from(columns)
    for k in range(table.n_equations + (table.kind == "multinomial")):
        fixed = {"trainable": False} if table.kind == "multinomial" and k == 0 else {}
        g.add_node(f"y{k}", activation=activation, bias=0.0, **fixed)
        g.add_edges_from((name, f"y{k}", {"weight": 0.0, **fixed}) for name in columns)
    return gb.Network(g, error=error, backend=backend)


def fit(table: Table, backend: str = "numpy", unit: Any = 1.0, **options: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    """(coefficients, standard errors, the history), each equation's bias last, in the units of the table."""
    net, unit = network(table, backend), np.ones(table.X.shape[1]) * unit
    found = gb.train(net, table.X * unit, table.t, sample_weight=table.s, optimizer="newton", progress=False, **options)
    first = 1 if table.kind == "multinomial" else 0
    equations = [f"y{k + first}" for k in range(table.n_equations)]
    at = [[*(net.parameter_index(f"x{i}", y).start for i in range(len(unit))), net.parameter_index(y).start] for y in equations]
    back = np.append(unit, 1.0)
    return (found.parameters[at] * back).ravel(), (found.standard_errors[at] * back).ravel(), found


def optimum(table: Table, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maximum of the likelihood and √diag of the inverse information, by Newton in 40 digits; it is unique, so any start will do."""
    with mpmath.workdps(40):
        k, rows = table.n_equations, [[*map(mpmath.mpf, row.tolist()), mpmath.mpf(1)] for row in table.X]
        s, d = [mpmath.mpf(1)] * len(rows) if table.s is None else table.s.tolist(), table.X.shape[1] + 1
        theta = [mpmath.mpf(v) for v in near.tolist()]
        for _ in range(12):
            g, H = mpmath.matrix(k * d, 1), mpmath.matrix(k * d)
            for x, t, weight in zip(rows, table.t.tolist(), s, strict=True):
                delta, bend = _curvature(table.kind, [mpmath.fdot(x, theta[i * d : i * d + d]) for i in range(k)], t)
                for i in range(k * d):
                    g[i] += weight * delta[i // d] * x[i % d]
                    for j in range(i + 1):
                        H[i, j] += weight * bend[i // d][j // d] * x[i % d] * x[j % d]
            for i in range(k * d):
                for j in range(i):
                    H[j, i] = H[i, j]
            scale = [mpmath.sqrt(H[i, i]) for i in range(k * d)]
            inverse = mpmath.matrix([[H[i, j] / scale[i] / scale[j] for j in range(k * d)] for i in range(k * d)]) ** -1
            step = inverse * mpmath.matrix([g[i] / scale[i] for i in range(k * d)])
            theta = [v - step[i] / scale[i] for i, v in enumerate(theta)]
            if max(abs(v) for v in step) < mpmath.mpf(10) ** -25:
                break
        errors = [mpmath.sqrt(inverse[i, i]) / scale[i] for i in range(k * d)]
        return np.array([float(v) for v in theta]), np.array([float(v) for v in errors])


def _curvature(kind: str, a: list[Any], t: Any) -> tuple[list[Any], list[list[Any]]]:
    """∂E_n/∂a and ∂²E_n/∂a∂a."""
    if kind == "poisson":
        return [mpmath.exp(a[0]) - t], [[mpmath.exp(a[0])]]
    e = [mpmath.exp(v) for v in a]
    y = [v / (1 + mpmath.fsum(e)) for v in e]
    delta = [v - (t if kind == "logit" else t == k + 1) for k, v in enumerate(y)]
    return delta, [[y[i] * ((i == j) - y[j]) for j in range(len(y))] for i in range(len(y))]


@pytest.mark.parametrize("table", TYPED, ids=lambda table: table.name)
def test_printed_digits_and_ten_of_the_optimum(table):
    theta, errors, found = fit(table)
    assert (np.abs(theta - table.printed) <= table.half_digit).all()
    assert (np.abs(errors - table.printed_errors) <= table.half_digit_of_errors).all()
    exact, exact_errors = optimum(table, theta)
    assert theta == pytest.approx(exact, rel=1e-10, abs=1e-10 * exact_errors.min())
    assert errors == pytest.approx(exact_errors, rel=1e-10)
    assert found.reason.startswith("converged")
    assert len(found) < 12


@pytest.mark.parametrize("options", [{"hessian": "outer_product"}, {"solver": "krylov"}], ids=["fisher", "krylov"])
@pytest.mark.parametrize("table", TYPED, ids=lambda table: table.name)
def test_other_ways_lead_to_the_same_optimum(table, options):
    theta, errors, _ = fit(table)
    other, other_errors, found = fit(table, **options)
    assert other == pytest.approx(theta, rel=1e-10, abs=1e-10 * errors.min())
    assert found.reason.startswith("converged")
    if "solver" not in options:
        assert other_errors == pytest.approx(errors, rel=1e-10)


@pytest.mark.parametrize("exponent", [-8, 8])
@pytest.mark.parametrize("table", TYPED, ids=lambda table: table.name)
def test_in_other_units(table, exponent):
    """Every second column in units of 10⁸ or 10⁻⁸."""
    theta, errors, _ = fit(table)
    unit = np.where(np.arange(table.X.shape[1]) % 2, 1.0, 10.0**exponent)
    other, other_errors, found = fit(table, unit=unit)
    assert other == pytest.approx(theta, rel=1e-10, abs=1e-10 * errors.min())
    assert other_errors == pytest.approx(errors, rel=1e-10)
    assert found.reason.startswith("converged")


@pytest.mark.parametrize("table", [ALLIGATORS, INSECTS], ids=lambda table: table.name)
def test_numba_reaches_the_same_optimum(table):
    pytest.importorskip("numba", reason="Numba is not installed")
    theta, errors, _ = fit(table)
    other, other_errors, _ = fit(table, "numba")
    assert other == pytest.approx(theta, rel=1e-10, abs=1e-10 * errors.min())
    assert other_errors == pytest.approx(errors, rel=1e-10)


@pytest.mark.parametrize("name", ["cpunish", "anes96", "star98"])
def test_tables_of_statsmodels(name):
    table = statsmodels_table(name)
    theta, errors, found = fit(table)
    assert (np.abs(theta - table.printed) <= table.half_digit).all()
    assert (np.abs(errors - table.printed_errors) <= table.half_digit_of_errors).all()
    assert found.reason.startswith("converged")


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["cpunish", "anes96", "star98"])
def test_tables_of_statsmodels_to_ten_digits_of_the_optimum(name):
    table = statsmodels_table(name)
    theta, errors, _ = fit(table)
    exact, exact_errors = optimum(table, theta)
    assert theta == pytest.approx(exact, rel=1e-10)
    assert errors == pytest.approx(exact_errors, rel=1e-10)
