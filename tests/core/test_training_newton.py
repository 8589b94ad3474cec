"""Newton's method on any error: where it ends, what that is called, and the standard errors it reports."""

from __future__ import annotations

import json

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.training.newton import newton_model
from graphbp.training.objective import Objective
from graphbp.training.problem import pose

RNG = np.random.default_rng(7)
Z = RNG.normal(size=(60, 2))
LABELS = (RNG.random(60) < 1 / (1 + np.exp(-Z[:, 0]))).astype(float)
COUNTS = RNG.poisson(np.exp(1 + 0.3 * Z[:, 1])).astype(float)
GROUP = (np.arange(60) % 5 == 0).astype(float)
HEAD = {"binary_cross_entropy": "sigmoid", "poisson": "exp", "cross_entropy": "softmax", "sum_of_squares": "identity"}


def one_layer(n_inputs: int, error: str, n_outputs: int = 1, **options) -> gb.Network:
    graph = gb.layered([n_inputs, n_outputs], output_activation=HEAD[error], seed=0)
    net = gb.Network(graph, error=error, backend="numpy", **options)
    net.weights = np.zeros(net.n_parameters)
    return net


def newton(net: gb.Network, X, T, **options):
    return gb.train(net, X, T, optimizer="newton", progress=False, **options)


def curvature(net: gb.Network, X, T, l2: float = 0.0) -> tuple[float, float]:
    """(the largest |∂F/∂θ_i|/√H_ii, the least eigenvalue of D⁻¹HD⁻¹)."""
    H = net.hessian(X, T) / len(X) + l2 * np.eye(net.n_parameters)
    d = np.sqrt(np.diag(H))
    g = net.gradient(X, T) / len(X) + l2 * net.weights
    return float(np.abs(g / d).max()), float(np.linalg.eigvalsh(H / d / d[:, None])[0])


# -- standard errors -----------------------------------------------------------------------------------------------------------


def test_a_sum_of_squares_has_the_errors_of_least_squares():
    nets, t = [one_layer(2, "sum_of_squares") for _ in "ab"], Z @ [1.0, -2.0] + RNG.normal(size=60)
    fit, other = newton(nets[0], Z, t), gb.train(nets[1], Z, t, optimizer="levenberg_marquardt")
    assert fit.parameters == pytest.approx(other.parameters, rel=1e-12)
    assert fit.standard_errors == pytest.approx(other.standard_errors, rel=1e-12)
    assert fit.dispersion == pytest.approx(other.residual_sum_of_squares / 57, rel=1e-12)
    assert 2 * fit.total_error == pytest.approx(other.residual_sum_of_squares, rel=1e-12)


def curve() -> tuple[gb.Network, np.ndarray, np.ndarray]:
    """Decay with a constant: y = w exp(v x) + b, and noise that makes H and JᵀJ differ."""
    g = nx.DiGraph([("x", "h", {"weight": -1.0}), ("h", "y", {"weight": 2.0})])
    g.nodes["h"]["activation"] = "exp"
    g.nodes["y"]["bias"] = 0.1
    x = np.linspace(0, 3, 12)[:, None]
    return gb.Network(g, backend="numpy"), x, 2 * np.exp(-1.2 * x[:, 0]) + 0.3 * np.cos(11 * np.arange(12))


def test_the_outer_product_has_the_errors_of_least_squares_on_a_curve():
    (net, x, t), (other, _, _) = curve(), curve()
    fit, least = newton(net, x, t, hessian="outer_product"), gb.train(other, x, t, optimizer="levenberg_marquardt")
    assert fit.standard_errors == pytest.approx(least.standard_errors, rel=1e-8)


def test_the_exact_hessian_has_its_own():
    net, x, t = curve()
    fit = newton(net, x, t)
    r = net.forward(x)[:, 0] - t
    expected = np.sqrt(np.diag(np.linalg.inv(net.hessian(x, t))) * float(r @ r) / 9)
    assert fit.standard_errors == pytest.approx(expected, rel=1e-10)


def test_a_sample_weight_counts_samples():
    times = np.arange(60) % 4
    weighted, repeated = one_layer(2, "binary_cross_entropy"), one_layer(2, "binary_cross_entropy")
    a = newton(weighted, Z, LABELS, sample_weight=times)
    b = newton(repeated, np.repeat(Z, times, axis=0), np.repeat(LABELS, times))
    assert a.parameters == pytest.approx(b.parameters, rel=1e-12)
    assert a.standard_errors == pytest.approx(b.standard_errors, rel=1e-12)
    assert a.total_error == pytest.approx(b.total_error, rel=1e-12)


@pytest.mark.parametrize("error", ["binary_cross_entropy", "poisson", "sum_of_squares"])
def test_a_scaled_network_reports_the_raw_columns(error):
    X = Z * [1e4, 1e-3] + [5e4, 0.2]
    t = {"binary_cross_entropy": LABELS, "poisson": COUNTS, "sum_of_squares": 1e6 * (Z[:, 0] + LABELS)}[error]
    raw, scaled = newton(one_layer(2, error), X, t), newton(one_layer(2, error), X, t, standardize=True)
    assert scaled.parameters == pytest.approx(raw.parameters, rel=1e-9)
    assert scaled.standard_errors == pytest.approx(raw.standard_errors, rel=1e-9)
    assert "raw columns" in scaled.unit


def test_tied_and_frozen_weights():
    """w (x₀ + x₁) + 0.5 is one parameter."""
    g = nx.DiGraph([(f"x{i}", "y", {"weight": 0.0, "tie": "w"}) for i in range(2)])
    g.add_node("y", activation="sigmoid", bias=0.5, trainable=False)
    for i in range(2):
        g.edges[f"x{i}", "y"]["trainable"] = True
    fit = newton(gb.Network(g, error="binary_cross_entropy", backend="numpy"), Z, LABELS)
    x, w = Z.sum(axis=1), 0.0
    for _ in range(20):
        y = 1 / (1 + np.exp(-w * x - 0.5))
        w += x @ (LABELS - y) / ((y * (1 - y)) @ x**2)
    assert fit.parameters == pytest.approx([w], rel=1e-12)
    assert fit.standard_errors == pytest.approx([((y * (1 - y)) @ x**2) ** -0.5], rel=1e-12)


def test_a_penalty_stands_in_the_hessian():
    net, l2 = one_layer(2, "binary_cross_entropy"), 0.05
    fit = newton(net, Z, LABELS, l2=l2)
    assert curvature(net, Z, LABELS, l2)[0] < 1e-14
    assert "by the inverse Hessian of E with its penalty" in str(fit)
    expected = np.sqrt(np.diag(np.linalg.inv(net.hessian(Z, LABELS) + 60 * l2 * np.eye(3))))
    assert fit.standard_errors == pytest.approx(expected, rel=1e-12)


def test_the_report_at_given_weights_takes_no_step():
    net = one_layer(2, "poisson")
    fit = newton(net, Z, COUNTS, epochs=0)
    assert not net.weights.any()
    assert fit.standard_errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(net.hessian(Z, COUNTS)))), rel=1e-12)


def test_the_table_and_its_dictionary():
    fit = newton(one_layer(2, "poisson"), Z, COUNTS)
    lines = str(fit).splitlines()
    assert lines[0].startswith("newton: ")
    assert "converged" in lines[0]
    assert [line.split()[-3] for line in lines[2:5]] == [f"{value:.10g}" for value in fit.parameters]
    told = json.loads(json.dumps(fit.to_dict()))
    assert told["standard_errors"] == dict(zip(fit.names, fit.standard_errors, strict=True))
    assert told["rank"] == 3
    assert np.diag(fit.correlation) == pytest.approx(np.ones(3), rel=1e-12)


def test_as_many_parameters_as_numbers():
    fit = newton(one_layer(1, "sum_of_squares"), [[1.0], [2.0]], [3.0, 7.0])
    assert fit.parameters == pytest.approx([4, -1], rel=1e-12)
    assert "degrees of freedom" in fit.note
    assert np.isnan(fit.standard_errors).all()


def test_one_sample():
    fit = newton(one_layer(1, "poisson"), [[2.0]], [5.0])
    assert fit.parameters @ [2, 1] == pytest.approx(np.log(5), rel=1e-12)
    assert np.isinf(fit.standard_errors).all()


# -- what the data do not determine ----------------------------------------------------------------------------------------------


def test_collinear_columns_are_named_and_the_others_keep_their_errors():
    X = np.column_stack([Z[:, 0], 1e8 * Z[:, 1], 1e-8 * Z[:, 1]])
    net, alone = one_layer(3, "binary_cross_entropy"), one_layer(2, "binary_cross_entropy")
    fit, whole = newton(net, X, LABELS), newton(alone, Z, LABELS)
    assert net.error(X, LABELS) == pytest.approx(alone.error(Z, LABELS), rel=1e-13)
    assert fit.reason.startswith("converged")
    assert "F is flat in 1 of 4 directions" in fit.reason
    assert np.isinf(fit.standard_errors).tolist() == [False, True, True, False]
    assert fit.standard_errors[[0, 3]] == pytest.approx(whole.standard_errors[[0, 2]], rel=1e-9)
    assert "do not determine x -> y[0,1], x -> y[0,2]" in fit.note
    assert np.isnan(fit.covariance[1]).all()


def test_a_flat_direction_is_told_in_the_units_of_the_table():
    """The third column is seven times the second: w₁ + 7 w₂ is all that the data say of them."""
    X = np.column_stack([Z * [1e5, 1e-3] + [1e6, 0.0], 7e-3 * Z[:, 1]])
    raw = newton(one_layer(3, "binary_cross_entropy"), X, LABELS)
    scaled = newton(one_layer(3, "binary_cross_entropy"), X, LABELS, standardize=True)
    for fit in (raw, scaled):
        assert np.isinf(fit.standard_errors).tolist() == [False, True, True, False]
        words = fit.note.split("along ")[1]
        assert ("7 × (x -> y[0,1])" in words and "1 × (x -> y[0,2])" in words) or "0.1429 × (x -> y[0,2])" in words
    assert scaled.standard_errors[[0, 3]] == pytest.approx(raw.standard_errors[[0, 3]], rel=1e-9)


def test_a_perfect_fit_says_so():
    fit = newton(one_layer(1, "sum_of_squares"), [[1.0], [2.0], [4.0]], [0.0, 0.0, 0.0])
    assert not fit.standard_errors.any()
    assert "nan" not in str(fit).splitlines()[-1]


@pytest.mark.parametrize("hessian", ["exact", "outer_product"])
def test_a_softmax_of_every_class_is_that_with_a_reference(hessian):
    """Moving all classes together changes nothing, so no parameter has a value of its own."""
    classes = np.digitize(Z[:, 0] + RNG.normal(size=60), [-0.5, 0.5])
    net = one_layer(2, "cross_entropy", 3)
    fit = newton(net, Z, classes, hessian=hessian)
    g = nx.DiGraph()
    for k in range(3):
        free = {"trainable": k > 0}
        g.add_node(f"y{k}", activation="softmax", bias=0.0, **free)
        g.add_edges_from((f"x{i}", f"y{k}", {"weight": 0.0, **free}) for i in range(2))
    reference = gb.Network(g, error="cross_entropy", backend="numpy")
    other = newton(reference, Z, classes)
    assert net.error(Z, classes) == pytest.approx(reference.error(Z, classes), rel=1e-13)
    assert net.forward(Z) == pytest.approx(reference.forward(Z), abs=1e-10)
    assert fit.reason.startswith("converged")
    assert fit.rank == other.rank == 6
    assert np.isinf(fit.standard_errors).all()
    assert np.isfinite(other.standard_errors).all()


# -- a minimum at infinity --------------------------------------------------------------------------------------------------------


def test_classes_apart():
    fit = newton(one_layer(2, "binary_cross_entropy"), Z * [1e-8, 1e8], (Z[:, 0] > 0.1).astype(float))
    assert "the classes are separable" in fit.reason
    assert "for ever along 1 × (x -> y[0,0])" in fit.reason
    assert len(fit) <= 16
    assert np.isinf(fit.standard_errors[0])
    assert "falls for ever" in fit.note


def test_a_group_of_one_class():
    """Only the dummy's weight goes to infinity; the others keep their values and errors (quasi-complete separation)."""
    t = np.where(GROUP > 0, 1.0, LABELS)
    fit = newton(one_layer(2, "binary_cross_entropy"), np.column_stack([GROUP, Z[:, 0]]), t, epochs=200)
    rest = GROUP == 0
    alone = newton(one_layer(1, "binary_cross_entropy"), Z[rest, :1], t[rest])
    assert "falls for ever along 1 × (x -> y[0,0]); l2" in fit.reason
    assert np.isinf(fit.standard_errors).tolist() == [True, False, False]
    assert fit.standard_errors[1:] == pytest.approx(alone.standard_errors, rel=1e-2)


def test_a_group_of_shares_that_are_all_one():
    shares = np.where(GROUP > 0, 1.0, (LABELS + 1) / 3)
    fit = newton(one_layer(1, "binary_cross_entropy"), GROUP[:, None], shares)
    assert "falls for ever along 1 × (x -> y[0,0]); l2" in fit.reason


def test_a_group_without_counts():
    fit = newton(one_layer(2, "poisson"), np.column_stack([GROUP, Z[:, 1]]), np.where(GROUP > 0, 0.0, COUNTS + 1))
    assert "counts of 0 are reached at infinity only" in fit.reason
    assert "falls for ever along - 1 × (x -> y[0,0]); l2" in fit.reason
    assert np.isinf(fit.standard_errors).tolist() == [True, False, False]


@pytest.mark.parametrize("error", ["binary_cross_entropy", "poisson"])
def test_what_has_a_minimum_is_not_called_endless(error):
    """One sample of the other class, one count that is not 0."""
    lone = np.zeros(60)
    lone[0] = 1.0
    X = np.column_stack([GROUP, Z[:, 0]])
    for t in (np.where(GROUP > 0, lone, LABELS), np.abs(LABELS - lone)):
        fit = newton(one_layer(2, error), X, t)
        assert fit.reason.startswith("converged")
        assert np.isfinite(fit.standard_errors).all()


def test_hidden_units_are_not_given_up_for_a_direction_on_the_way():
    """A last layer that separates some samples for ever is no reason to stop where hidden units may separate all."""
    t = (Z[:, 0] * Z[:, 1] > 0).astype(float)
    net = gb.Network(gb.layered([2, 6, 1], output_activation="sigmoid", seed=3), error="binary_cross_entropy", backend="numpy")
    fit = newton(net, Z, t, epochs=300)
    assert "the classes are separable" in fit.reason
    assert net.error(Z, t) < 1e-10


def test_a_penalty_gives_it_a_minimum():
    fit = newton(one_layer(2, "binary_cross_entropy"), Z, (Z[:, 0] > 0.1).astype(float), l2=1e-6)
    assert fit.reason.startswith("converged")
    assert np.isfinite(fit.standard_errors).all()


# -- saddle points, networks with hidden units -------------------------------------------------------------------------------------


def product() -> gb.Network:
    """y = w v x: from 0 the gradient vanishes, and F curves downwards along w = ±v."""
    return gb.Network(nx.DiGraph([("x", "h", {"weight": 0.0}), ("h", "y", {"weight": 0.0})]), backend="numpy")


@pytest.mark.parametrize("unit", [1.0, 1e8, 1e-8])
@pytest.mark.parametrize("options", [{}, {"hessian": "outer_product"}, {"solver": "krylov"}], ids=["exact", "fisher", "krylov"])
def test_a_saddle_point_is_left(options, unit):
    net, x = product(), np.array([[1.0], [2.0], [3.0]])
    fit = newton(net, x * unit, [3.0, 6.0, 9.5], **options)
    assert net.weights.prod() * unit == pytest.approx((3 + 12 + 28.5) / 14, rel=1e-9)
    assert fit.reason.startswith("converged")
    if "solver" not in options:
        assert "do not determine" in fit.note  # w and v have only their product


@pytest.mark.parametrize("options", [{}, {"hessian": "outer_product"}, {"solver": "krylov"}], ids=["exact", "fisher", "krylov"])
def test_a_saddle_point_that_cannot_be_left_is_named(monkeypatch, options):
    monkeypatch.setattr("graphbp.training.newton.SHARES", ())
    fit = newton(product(), [[1.0], [2.0]], [3.0, 6.0], **options)
    assert fit.reason.startswith("stopped at a saddle point: the gradient vanishes, but E curves downwards along")
    if not options:
        assert "curves downwards" in fit.note


@pytest.mark.parametrize("unit", [1.0, 1e8, 1e-8])
@pytest.mark.parametrize("options", [{}, {"hessian": "outer_product"}, {"solver": "krylov"}], ids=["exact", "fisher", "krylov"])
def test_hidden_units_leave_zero_weights(options, unit):
    """Their biases couple with nothing but rounding there."""
    t = np.sin(2 * Z[:, 0]) * Z[:, 1]
    net = gb.Network(gb.layered([2, 3, 1], seed=1), backend="numpy")
    net.weights = np.zeros(net.n_parameters)
    fit = newton(net, Z * [unit, 1.0], t, epochs=12, **options)
    assert fit.error[-1] < 0.9 * fit.error[0]


def drawn(seed: int) -> tuple[gb.Network, np.ndarray, np.ndarray]:
    """A network with hidden units, and targets that it cannot meet."""
    rng = np.random.default_rng(seed)
    error = ["binary_cross_entropy", "cross_entropy", "poisson", "sum_of_squares"][seed % 4]
    d, k = int(rng.integers(1, 4)), 3 if error == "cross_entropy" else 1
    X = rng.normal(size=(40, d))
    a = np.sin(X @ rng.normal(size=d) * 1.5) + 0.5 * rng.normal(size=40)
    T = [a > 0, np.digitize(a, [-0.5, 0.5]), rng.poisson(np.exp(a)), a][seed % 4].astype(int if k > 1 else float)
    if seed % 3:
        graph = gb.layered([d, int(rng.integers(1, 4)), k], output_activation=HEAD[error], seed=seed)
    else:
        graph = gb.random_dag(d, int(rng.integers(2, 5)), k, output_activation=HEAD[error], seed=seed)
    return gb.Network(graph, error=error, backend="numpy"), X, T


@pytest.mark.sampled
@pytest.mark.parametrize("solver", ["dense", "krylov"])
@pytest.mark.parametrize("seed", range(16))
def test_drawn_networks_end_at_a_minimum(seed, solver):
    net, X, T = drawn(seed)
    fit = newton(net, X, T, l2=0.01, solver=solver)
    slope, least = curvature(net, X, T, 0.01)
    assert fit.reason.startswith("converged")
    assert slope < 1e-9
    assert least > 0


@pytest.mark.parametrize("start", [1e-8, 10.0])
def test_far_starts(start):
    """From hardly any weights, and from saturated ones on the wrong side."""
    net, X, T = drawn(1)
    net.weights = start * np.where(np.arange(net.n_parameters) % 2, 1.0, -1.0)
    fit = newton(net, X, T, l2=0.01)
    slope, least = curvature(net, X, T, 0.01)
    assert fit.reason.startswith("converged")
    assert slope < 1e-9
    assert least > 0


def test_large_counts_from_zero():
    """The first full step would land at exp(10⁶)."""
    net = one_layer(1, "poisson")
    fit = newton(net, Z[:, :1], 1e6 * np.exp(Z[:, 0]))
    assert net.weights == pytest.approx([1, np.log(1e6)], rel=1e-12)
    assert len(fit) < 30


def test_a_head_that_is_not_canonical():
    """Counts whose mean is softplus(a): Fisher scoring and the exact Hessian lead to one place."""
    nets = [gb.Network(gb.layered([2, 1], output_activation="softplus", seed=0), error="poisson", backend="numpy") for _ in "ab"]
    exact, fisher = newton(nets[0], Z, COUNTS), newton(nets[1], Z, COUNTS, hessian="outer_product")
    assert curvature(nets[0], Z, COUNTS)[0] < 1e-14
    assert fisher.parameters == pytest.approx(exact.parameters, rel=1e-9)
    assert exact.standard_errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(nets[0].hessian(Z, COUNTS)))), rel=1e-10)
    outer = nets[1].outer_product_hessian(Z, COUNTS)
    assert fisher.standard_errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(outer))), rel=1e-10)
    assert fisher.standard_errors != pytest.approx(exact.standard_errors, rel=1e-4)


@pytest.mark.parametrize("unit", [1e8, 1e-8])
def test_the_model_of_an_indefinite_hessian_does_not_notice_units(unit):
    """Hidden units from zero weights: H has no diagonal of theirs to measure them by."""
    values = []
    for scale in (1.0, unit):
        net = gb.Network(gb.layered([2, 2, 1], seed=0), backend="numpy")
        net.weights = np.zeros(net.n_parameters)
        objective = Objective(pose(net, Z * [scale, 1.0], LABELS - LABELS.mean(), None, None, 0.0, None, 0), 0.0)
        values.append(newton_model(objective, objective(net.weights), 0.0).s)
    assert values[1] == pytest.approx(values[0], abs=1e-12)
    assert values[0][0] < -0.1


def test_a_step_of_an_indefinite_model_goes_down_in_every_direction():
    net, X, T = drawn(3)
    objective = Objective(pose(net, X, T, None, None, 0.0, None, 0), 0.0)
    point = objective(-3 * net.weights)
    model, H = newton_model(objective, point, 0.0), objective.hessian(point)
    s, v = np.linalg.eigh(H / model.scale / model.scale[:, None])
    assert s[0] < -0.1
    p = model.step(point.gradient)[0] * model.scale
    assert v.T @ p == pytest.approx(-(v.T @ (point.gradient / model.scale)) / np.abs(s), rel=1e-8)
    held, length, promised = model.step(point.gradient, 0.1)
    assert np.linalg.norm(model.scale * held) == pytest.approx(length)
    assert length == pytest.approx(0.1, rel=0.1)
    assert 0 < promised < 0.5 * float(-point.gradient @ model.step(point.gradient)[0])


# -- the face ----------------------------------------------------------------------------------------------------------------------


def test_an_error_without_curvature_is_refused_by_name():
    name = "absolute, of this test"
    gb.register_error_function(name, lambda y, t: np.abs(y - t), lambda y, t: np.sign(y - t), lambda y, t: 0 * (y - t))
    net = gb.Network(gb.layered([1, 1], seed=0), error=name, backend="numpy")
    before = net.weights.copy()
    with pytest.raises(gb.NotSupportedError, match=f"error='{name}' is 0 everywhere"):
        newton(net, [[1.0], [2.0]], [1.0, 2.0])
    assert np.array_equal(net.weights, before)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"hesian": "exact"}, "did you mean 'hessian'"),
        ({"learning_rate": 0.1}, "an option of adam, sgd"),
        ({"hessian": "fisher"}, "unknown hessian of newton 'fisher'.*Known: exact, outer_product"),
        ({"solver": "densse"}, "did you mean 'dense'"),
        ({"tolerance": -1}, "tolerance=-1"),
        ({"l2": np.nan}, "l2=nan"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(gb.GraphbpError, match=match):
        newton(one_layer(2, "poisson"), Z, COUNTS, **options)


def test_a_misspelt_optimizer():
    with pytest.raises(gb.UnknownNameError, match="did you mean 'newton'"):
        gb.train(one_layer(2, "poisson"), Z, COUNTS, optimizer="newtn")


def test_float32_says_what_it_can():
    net = one_layer(2, "poisson", dtype="float32")
    with pytest.warns(UserWarning, match="newton in float32"):
        fit = newton(net, Z, COUNTS)
    whole = newton(one_layer(2, "poisson"), Z, COUNTS)
    assert fit.parameters == pytest.approx(whole.parameters, rel=1e-3)
    assert fit.standard_errors == pytest.approx(whole.standard_errors, rel=1e-3)
    assert fit.reason.startswith("converged")


def test_many_parameters_go_by_products():
    """W = 606: no W × W, and the same minimum."""
    X = np.random.default_rng(1).normal(size=(80, 100))
    t = np.arange(80) % 6
    nets = [one_layer(100, "cross_entropy", 6) for _ in "ab"]
    fit, dense = newton(nets[0], X, t, l2=0.1), newton(nets[1], X, t, l2=0.1, solver="dense")
    assert "solver='dense'" in fit.note
    assert fit.parameters == pytest.approx(dense.parameters, rel=1e-9, abs=1e-11)
    assert np.isfinite(dense.standard_errors).all()


def test_a_hessian_that_does_not_fit_is_refused():
    net = one_layer(100, "cross_entropy", 6)
    with gb.config(memory=1_000_000), pytest.raises(gb.MemoryLimitError, match="solver='krylov'"):
        newton(net, np.ones((2, 100)), [0, 1], solver="dense")


def test_patience_and_a_callback_stop_it():
    halves = {"validation": (Z[:30], LABELS[:30])}
    early = newton(one_layer(2, "binary_cross_entropy"), Z[30:], LABELS[30:], patience=1, **halves)
    assert early.best_epoch <= len(early) <= early.best_epoch + 1 or early.reason.startswith("converged")
    seen = []
    stopped = newton(one_layer(2, "poisson"), Z, COUNTS, callbacks=lambda event: seen.append(event.epoch) or event.epoch == 2)
    assert seen == [1, 2]
    assert stopped.reason == "stopped by a callback"


def test_tolerance_stops_early():
    loose = newton(one_layer(2, "poisson"), Z, COUNTS, tolerance=0.1)
    tight = newton(one_layer(2, "poisson"), Z, COUNTS, tolerance=0)
    assert len(loose) < len(tight)
    assert np.abs((loose.parameters - tight.parameters) / tight.standard_errors).max() < 0.01
    assert tight.reason.startswith("converged: rounding hides")
