"""What stops L-BFGS and Levenberg-Marquardt: the same in any units of X, T and θ, at the minimum, and called what it is."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.training import levenberg_marquardt as lm_module
from graphbp.training.line_search import search
from graphbp.training.objective import Point

SECOND_ORDER = ["lbfgs", "levenberg_marquardt", "newton"]
LINE = np.linspace(-1, 1, 20)[:, None]
NOISY = 3 * LINE[:, 0] - 1 + np.sin(9 * LINE[:, 0])


def line(
    w: float = 0.0, b: float | None = 0.0, activation: str = "identity", error: str = "sum_of_squares", **options
) -> gb.Network:
    g = nx.DiGraph()
    g.add_node("x")
    g.add_node("y", activation=activation, **({} if b is None else {"bias": b}))
    g.add_edge("x", "y", weight=w)
    return gb.Network(g, error=error, backend="numpy", **options)


def curve() -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(60, 2))
    return X, np.sin(X[:, 0]) + X[:, 1] + 0.1 * np.random.default_rng(1).normal(size=60)


def hidden(seed: int = 1, units: int = 3, **options) -> gb.Network:
    return gb.Network(gb.layered([2, units, 1], seed=seed), backend="numpy", **options)


# -- units -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
@pytest.mark.parametrize("shift", [-300, -40, 60, 300])
def test_other_units_of_x_give_the_same_bits(optimizer, shift):
    """X · 2^k from weights · 2^−k: nothing that happens is different."""
    X, T = curve()
    a, b = hidden(), hidden()
    unit = 2.0**shift
    into = b.parameter_index("x", "h1")
    b.weights[into] /= unit
    first = gb.train(a, X, T, optimizer=optimizer, epochs=60)
    second = gb.train(b, X * unit, T, optimizer=optimizer, epochs=60)
    b.weights[into] *= unit
    assert second.error == first.error
    assert np.array_equal(a.weights, b.weights)
    assert second.reason == first.reason


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
@pytest.mark.parametrize("shift", [-300, -40, 60, 300])
def test_other_units_of_t_give_the_same_bits(optimizer, shift):
    X, T = curve()
    a, b = hidden(), hidden()
    unit = 2.0**shift
    out = [b.parameter_index("h1", "y"), b.parameter_index("y")]
    for part in out:
        b.weights[part] *= unit
    first = gb.train(a, X, T, optimizer=optimizer, epochs=60)
    second = gb.train(b, X, T * unit, optimizer=optimizer, epochs=60)
    for part in out:
        b.weights[part] /= unit
    assert np.array_equal(a.weights, b.weights)
    assert second.reason == first.reason


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
@pytest.mark.parametrize("scale", [1e-100, 1e-8, 1e-6, 1.0, 1e6, 1e100])
@pytest.mark.parametrize("targets", [3 * LINE[:, 0] - 1, NOISY], ids=["exact", "noisy"])
def test_least_squares_in_any_units_of_t(optimizer, scale, targets):
    net = line()
    history = gb.train(net, LINE, scale * targets, optimizer=optimizer)
    exact = np.linalg.lstsq(np.column_stack([LINE, np.ones(20)]), targets, rcond=None)[0]
    assert net.weights / scale == pytest.approx(exact, rel=1e-9)
    assert history.reason.startswith("converged")


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
@pytest.mark.parametrize("scale", [1e-160, 1e-20, 1e20, 1e150])
def test_least_squares_in_any_units_of_x(optimizer, scale):
    net = line()
    history = gb.train(net, scale * LINE, NOISY, optimizer=optimizer)
    exact = np.linalg.lstsq(np.column_stack([LINE, np.ones(20)]), NOISY, rcond=None)[0]
    assert net.weights * [scale, 1] == pytest.approx(exact, rel=1e-6)
    assert history.reason.startswith("converged")


def test_standard_errors_in_any_units_of_x():
    one, other = line(), line()
    a = gb.train(one, LINE, NOISY, optimizer="levenberg_marquardt")
    b = gb.train(other, 1e-160 * LINE, NOISY, optimizer="levenberg_marquardt")
    assert b.standard_errors * [1e-160, 1] == pytest.approx(a.standard_errors, rel=1e-9)


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
@pytest.mark.parametrize("start", [1e-12, 1e-150])
def test_a_start_close_to_zero_is_left(optimizer, start):
    net = line(start, None)
    history = gb.train(net, [[1.0], [2.0], [3.0]], [100.0, 200.0, 301.0], optimizer=optimizer)
    assert net.weights == pytest.approx([1403 / 14], rel=1e-9)
    assert history.reason.startswith("converged")


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_a_hidden_layer_close_to_zero_is_left(optimizer):
    X, T = curve()
    net = hidden()
    net.weights *= 1e-8
    before = net.error(X, T)
    gb.train(net, X, T, optimizer=optimizer, epochs=200)
    assert net.error(X, T) < 0.05 * before


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_targets_beyond_the_range_of_e_are_refused(optimizer):
    with pytest.raises(gb.NumericalError, match="not finite at the starting weights"):
        gb.train(line(), LINE, 1e160 * NOISY, optimizer=optimizer)


def test_targets_whose_squares_underflow_are_refused():
    net = line()
    with pytest.raises(gb.NumericalError, match="so small that its digits underflow"):
        gb.train(net, LINE, 1e-170 * NOISY, optimizer="lbfgs")
    gb.train(net, LINE, 1e-170 * NOISY, optimizer="levenberg_marquardt")  # which never squares them
    assert net.weights * 1e170 == pytest.approx(np.polyfit(LINE[:, 0], NOISY, 1), rel=1e-9)


# -- at the minimum ----------------------------------------------------------------------------------------------------------


def test_one_degree_of_freedom():
    net = line(0.5)
    fit = gb.train(net, [[1.0], [2.0], [3.0]], [1.0, 5.0, 7.0], optimizer="levenberg_marquardt")
    assert fit.parameters == pytest.approx([3, -5 / 3], rel=1e-12)
    assert fit.standard_errors == pytest.approx([np.sqrt(1 / 3), np.sqrt(14 / 9)], rel=1e-12)
    assert fit.degrees_of_freedom == 1


@pytest.mark.parametrize("method", ["qr", "cholesky"])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_few_degrees_of_freedom(method, count):
    """W = 3 of `count` residuals, those of weight 0 among them."""
    rng = np.random.default_rng(count)
    X, t, s = rng.normal(size=(count + 1, 2)), rng.normal(size=count + 1), np.ones(count + 1)
    s[0] = 0
    g = nx.DiGraph([("a", "y", {"weight": 0.1}), ("b", "y", {"weight": 0.1})])
    g.nodes["y"]["bias"] = 0.3
    net = gb.Network(g, backend="numpy")
    fit = gb.train(net, X, t, optimizer="levenberg_marquardt", sample_weight=s, method=method)
    A = np.column_stack([X, np.ones(count + 1)])[1:]
    exact, *_ = np.linalg.lstsq(A, t[1:], rcond=None)
    at = [net.parameter_index("a", "y").start, net.parameter_index("b", "y").start, net.parameter_index("y").start]
    assert net.forward(X)[1:, 0] == pytest.approx(A @ exact, abs=1e-7)
    if count > 3:
        rss = float(np.sum((A @ exact - t[1:]) ** 2))
        assert fit.parameters[at] == pytest.approx(exact, rel=1e-9)
        assert fit.standard_errors[at] == pytest.approx(np.sqrt(rss / (count - 3) * np.diag(np.linalg.inv(A.T @ A))), rel=1e-8)
    else:
        assert "degrees of freedom" in fit.note


def test_raw_columns_of_very_different_sizes_reach_the_minimum():
    """Columns near 1e6 and 1e-6 and nearly dependent ones: no memory of steps alone gets there."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 200))
    X = np.column_stack([1e6 + 1e3 * a, 1e-6 * b, 1e6 + 1e3 * a + b, 5 * a])
    t = (1 / (1 + np.exp(-(a - b))) > rng.uniform(size=200)).astype(float)
    g = nx.DiGraph((f"x{i}", "y", {"weight": 0.0}) for i in range(4))
    g.add_node("y", activation="sigmoid", bias=0.0)
    net = gb.Network(g, error="binary_cross_entropy", backend="numpy")
    history = gb.train(net, X, t, optimizer="lbfgs")
    A = np.column_stack([np.ones(200), a, b])
    beta = np.zeros(3)
    for _ in range(30):
        p = 1 / (1 + np.exp(-A @ beta))
        beta += np.linalg.solve(A.T @ (A * (p * (1 - p))[:, None]), A.T @ (t - p))
    exact = float(np.sum(np.log1p(np.exp(A @ beta)) - t * (A @ beta)))
    assert net.error(X, t) == pytest.approx(exact, rel=1e-9)
    assert history.reason.startswith("converged")


@pytest.mark.parametrize("options", [{}, {"memory": 2}, {"restart_every": 3}])
def test_without_a_hessian_too(monkeypatch, options):
    """L-BFGS alone, as it runs where W is large: the minimum to six digits of the weights."""
    monkeypatch.setattr("graphbp.training.objective.HESSIAN_PARAMETERS", 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 5)) * 10.0 ** np.arange(-4, 6, 2)
    t = rng.normal(size=100)
    net = gb.Network(gb.layered([5, 1], seed=0), backend="numpy")
    history = gb.train(net, X, t, optimizer="lbfgs", tolerance=1e-14)
    A = np.column_stack([X, np.ones(100)])
    exact = np.linalg.lstsq(A / np.abs(A).max(axis=0), t, rcond=None)[0] / np.abs(A).max(axis=0)
    assert net.forward(X)[:, 0] == pytest.approx(A @ exact, abs=1e-6)
    assert history.reason.startswith(("converged", "stopped: L-BFGS expects"))


def test_random_signs_serve_for_the_units_where_there_are_many_samples(monkeypatch):
    monkeypatch.setattr("graphbp.training.objective.JACOBIAN_ENTRIES", 0)
    net = line()
    gb.train(net, 1e-7 * LINE, NOISY, optimizer="lbfgs", sample_weight=np.arange(20) % 4)
    exact = np.polyfit(LINE[:, 0], NOISY, 1, w=np.sqrt(np.arange(20) % 4))
    assert net.weights * [1e-7, 1] == pytest.approx(exact, rel=1e-9)


def test_float32_converges_as_far_as_it_can():
    net = line(dtype="float32")
    history = gb.train(net, LINE, NOISY, optimizer="lbfgs")
    assert net.weights == pytest.approx(np.polyfit(LINE[:, 0], NOISY, 1), rel=1e-5)
    assert history.reason.startswith("converged")


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_box3d(optimizer):
    """Moré, Garbow & Hillstrom's problem 12 from its start; from 10 and 100 times that it runs to a plateau at 0.0756, and says so."""
    t = 0.1 * np.arange(1, 11)
    X = np.column_stack([t, np.exp(-t) - np.exp(-10 * t)])

    def box(start: np.ndarray) -> gb.Network:
        g = nx.DiGraph()
        g.add_nodes_from(["t", "c"])
        g.add_nodes_from(["h1", "h2"], activation="exp")
        g.add_weighted_edges_from([("t", "h1", -start[0]), ("t", "h2", -start[1]), ("c", "y", -start[2])])
        g.add_edge("h1", "y", weight=1.0, trainable=False)
        g.add_edge("h2", "y", weight=-1.0, trainable=False)
        return gb.Network(g, backend="numpy")

    net = box(np.array([0.0, 10, 20]))
    assert gb.train(net, X, np.zeros(10), optimizer=optimizer).reason.startswith("converged")
    assert net.weights == pytest.approx([-1, -10, -1], rel=1e-6)
    for factor in (10, 100):
        net = box(factor * np.array([0.0, 10, 20]))
        history = gb.train(net, X, np.zeros(10), optimizer=optimizer)
        assert net.error(X, np.zeros(10)) < 1e-20 or "on a plateau: every sample saturates 'h2'" in history.reason


# -- called what it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_a_saddle_point_is_left(optimizer):
    """All weights 0: no gradient but the output's bias has one, yet E curves downwards."""
    X, T = curve()
    net = hidden()
    net.weights = np.zeros(net.n_parameters)
    before = net.error(X, T)
    gb.train(net, X, T, optimizer=optimizer, epochs=100)
    assert net.error(X, T) < 0.1 * before


def test_where_no_step_leaves_a_saddle_point_it_is_named(monkeypatch):
    X, T = curve()
    net = hidden()
    net.weights = np.zeros(net.n_parameters)
    monkeypatch.setattr("graphbp.training.newton.SHARES", ())
    history = gb.train(net, X, T, optimizer="levenberg_marquardt")
    assert history.reason.startswith("stopped at a saddle point")
    assert "x -> h1" in history.reason


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_saturated_units_are_no_minimum(optimizer):
    X, T = curve()
    history = gb.train(hidden(), 1e4 * X, T, optimizer=optimizer)
    assert history.reason.startswith("stopped on a plateau: every sample saturates 'h1' unit")
    assert "standardize" in history.reason


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_what_is_not_saturated_is_fitted_all_the_same(optimizer):
    """The derivatives that rounding leaves of saturated units must not keep the output's bias from its mean, nor send weights to infinity."""
    X, T = curve()
    net = hidden()
    gb.train(net, 1e9 * X, T + 50, optimizer=optimizer)
    assert net.error(1e9 * X, T + 50) <= 0.5 * float(np.sum((T - T.mean()) ** 2))
    assert np.abs(net.weights).max() < 1e6


def test_units_without_standard_errors_print_without_nan():
    X, T = curve()
    fit = gb.train(hidden(), 1e4 * X, T, optimizer="levenberg_marquardt")
    assert "nan" not in str(fit)
    assert fit.note.startswith("no standard errors: the data do not determine")


def test_complete_separation_is_named():
    net = line(activation="sigmoid", error="binary_cross_entropy")
    history = gb.train(net, LINE, (LINE[:, 0] > 0.2).astype(float), optimizer="lbfgs")
    assert "the classes are separable" in history.reason
    assert "(x -> y)" in history.reason
    assert net.error(LINE, (LINE[:, 0] > 0.2).astype(float)) < 1e-12


def test_quasi_complete_separation_is_named():
    """Only the samples at x = 0 are of both classes: E falls to theirs, 3 ln 3 − 2 ln 2, as w grows."""
    X, t = np.array([0.0, 0, 0, 1, 1, 1])[:, None], np.array([0.0, 0, 1, 1, 1, 1])
    net = line(activation="sigmoid", error="binary_cross_entropy")
    history = gb.train(net, X, t, optimizer="lbfgs")
    assert "falls for ever along 1 × (x -> y)" in history.reason
    assert net.error(X, t) == pytest.approx(3 * np.log(3) - 2 * np.log(2), rel=1e-8)


def test_separable_softmax_is_named_and_l2_gives_a_minimum():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = 5.0 * np.eye(3)[y] + rng.normal(size=(60, 3)) * 0.5
    build = gb.layered([3, 3], output_activation="softmax", seed=0)
    history = gb.train(gb.Network(build, error="cross_entropy", backend="numpy"), X, y, optimizer="lbfgs")
    assert "the classes are separable" in history.reason
    history = gb.train(gb.Network(build, error="cross_entropy", backend="numpy"), X, y, optimizer="lbfgs", l2=1e-3)
    assert history.reason.startswith("converged")


def test_classes_that_overlap_are_not_called_separable():
    t = (LINE[:, 0] + np.sin(40 * LINE[:, 0]) > 0.2).astype(float)
    net = line(activation="sigmoid", error="binary_cross_entropy")
    assert gb.train(net, LINE, t, optimizer="lbfgs").reason.startswith("converged")


def test_a_spent_budget_is_not_called_converged():
    X, T = curve()
    assert gb.train(hidden(), X, T, optimizer="lbfgs", epochs=3).reason == "all 3 epochs done, not converged"


def test_tolerance_is_a_share_of_f():
    X, T = curve()
    coarse, fine = hidden(), hidden()
    a = gb.train(coarse, X, T, optimizer="lbfgs", l2=1e-3, tolerance=1e-2)
    b = gb.train(fine, X, T, optimizer="lbfgs", l2=1e-3)
    assert len(a) < len(b)
    assert a.reason.startswith("converged")


def test_only_falls_by_more_than_min_improvement_count():
    """Errors 5, 4.5, 4.2, ...: with 1 to beat, none counts after the first."""
    net, falls = line(), []
    history = gb.train(net, LINE, NOISY, optimizer="sgd", learning_rate=1e-3, batch_size=None, patience=4, min_improvement=1e9)
    assert len(history) == 5
    assert history.best_epoch == 1
    net = line()
    history = gb.train(net, LINE, NOISY, optimizer="sgd", learning_rate=1e-3, batch_size=None, epochs=30, patience=4)
    falls = -np.diff(history.error)
    assert (falls > 0).all()
    assert history.best_epoch == len(history) == 30
    net = line()
    least = float(falls.min()) / 2
    again = gb.train(
        net, LINE, NOISY, optimizer="sgd", learning_rate=1e-3, batch_size=None, epochs=30, patience=4, min_improvement=least
    )
    assert again.best_epoch == 30


def test_an_error_that_stays_the_same_is_no_improvement():
    net = line()
    history = gb.train(net, 0 * LINE, 0 * NOISY, optimizer="sgd", learning_rate=1e-300, batch_size=None, epochs=30, patience=4)
    assert len(set(history.error)) == 1
    assert (len(history), history.best_epoch) == (5, 1)


def test_a_step_to_where_j_is_not_finite_is_not_taken(monkeypatch):
    """However much it gains: the radius shrinks, and the run goes on from where it stood."""
    real, calls = lm_module.tangent, []

    def once_without(method, residuals, theta, r):
        calls.append(theta.copy())
        return None if len(calls) == 2 else real(method, residuals, theta, r)

    monkeypatch.setattr(lm_module, "tangent", once_without)
    net = line(0.1, None)
    fit = gb.train(net, LINE, 3 * LINE[:, 0] + 0.1 * LINE[:, 0] ** 2, optimizer="levenberg_marquardt")
    assert abs(calls[2][0] - 0.1) < abs(calls[1][0] - 0.1)
    assert net.weights == pytest.approx([3], rel=1e-9)
    assert fit.reason.startswith("converged")


# -- the line search ---------------------------------------------------------------------------------------------------------


def parabola(bottom: float, wall: float = np.inf):
    def at(length: float) -> Point:
        value = (length - bottom) ** 2 if length < wall else np.nan
        return Point(np.array([length]), value, value, np.array([2 * (length - bottom)]))

    return at


@pytest.mark.parametrize("first", [1e-9, 0.3, 1.0, 1e7])
@pytest.mark.parametrize("wall", [np.inf, 1.5])
def test_a_line_search_ends_near_the_bottom(first, wall):
    at = parabola(1.0, wall)
    found = search(at, lambda point: float(point.gradient[0]), at(0.0), first, 0.0)
    assert found is not None
    assert abs(found.gradient[0]) <= 0.9 * 2
    assert found.value < 1


def test_a_line_search_uphill_finds_nothing():
    def at(length: float) -> Point:
        return Point(np.array([length]), length, length, np.array([-1.0]))

    assert search(at, lambda point: float(point.gradient[0]), at(0.0), 1.0, 0.0) is None


def test_where_rounding_hides_the_fall_the_slope_decides():
    """F is 1 to all its digits; its slope is not."""

    def at(length: float) -> Point:
        return Point(np.array([length]), 1.0, 1.0, np.array([1e-9 * (length - 1)]))

    found = search(at, lambda point: float(point.gradient[0]), at(0.0), 0.5, 1e-16)
    assert found is not None
    assert abs(found.gradient[0]) <= 0.9e-9
