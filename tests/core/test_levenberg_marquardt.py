"""Levenberg-Marquardt against closed forms: linear regression, weights, ties, dependent columns, refusals, resuming."""

from __future__ import annotations

from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.training import LeastSquaresFit, levenberg_marquardt, tangent

LM = "levenberg_marquardt"


def linear(n_inputs: int = 2) -> gb.Network:
    g = nx.DiGraph()
    g.add_node("y", bias=0.0)
    g.add_weighted_edges_from([(f"x{i}", "y", 0.1) for i in range(n_inputs)])
    g.add_node("y", bias=0.0)
    return gb.Network(g, backend="numpy")


def noisy_plane(n: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) * [1.0, 1000.0]
    A = np.column_stack([X, np.ones(n)])
    return X, A @ [2.0, -0.003, 5.0] + 0.3 * rng.normal(size=n), A


def in_order(net: gb.Network, fit: LeastSquaresFit) -> list[int]:
    return [net.parameter_index("x0", "y").start, net.parameter_index("x1", "y").start, net.parameter_index("y").start]


def curve(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    X = np.linspace(-2, 2, n)[:, None]
    return X, np.sin(2 * X[:, 0]) + 0.1 * np.random.default_rng(0).normal(size=n)


def hidden(units: int = 4, seed: int = 0, dtype: str = "float64") -> gb.Network:
    return gb.Network(gb.layered([1, units, 1], seed=seed), backend="numpy", dtype=dtype)


@pytest.mark.parametrize("method", ["qr", "cholesky"])
@pytest.mark.parametrize("weighted", [False, True])
def test_linear_regression_is_exact(method, weighted):
    """θ = (AᵀSA)⁻¹AᵀSt and cov = s²(AᵀSA)⁻¹, in one Gauss-Newton step or a few."""
    X, t, A = noisy_plane()
    s = np.random.default_rng(1).uniform(0.1, 3, len(X)) if weighted else None
    if weighted:
        s[3] = 0  # leaves the sample out, degrees of freedom too
    net = linear()
    fit = gb.train(net, X, t, optimizer=LM, sample_weight=s, method=method)
    S = np.ones(len(X)) if s is None else s
    inverse = np.linalg.inv(A.T @ (S[:, None] * A))
    theta = inverse @ A.T @ (S * t)
    rss = float(S @ (A @ theta - t) ** 2)
    dof = len(X) - 3 - weighted
    order = in_order(net, fit)
    assert fit.parameters[order] == pytest.approx(theta, rel=1e-9)
    assert fit.residual_sum_of_squares == pytest.approx(rss, rel=1e-12)
    assert fit.degrees_of_freedom == dof
    assert fit.covariance[np.ix_(order, order)] == pytest.approx(inverse * rss / dof, rel=1e-9)
    assert fit.standard_errors[order] == pytest.approx(np.sqrt(np.diag(inverse) * rss / dof), rel=1e-9)
    assert np.diag(fit.correlation) == pytest.approx(np.ones(3))
    assert fit.reason.startswith("converged")
    assert [fit.names[i] for i in order] == ["x0 -> y", "x1 -> y", "bias of y"]


def test_integer_weights_are_repetitions():
    X, t = curve()
    s = np.arange(40) % 3
    a, b = hidden(1), hidden(1)
    weighted = gb.train(a, X, t, optimizer=LM, sample_weight=s)
    repeated = gb.train(b, np.repeat(X, s, axis=0), np.repeat(t, s), optimizer=LM)
    assert weighted.residual_sum_of_squares == pytest.approx(repeated.residual_sum_of_squares, rel=1e-10)
    assert weighted.parameters == pytest.approx(repeated.parameters, rel=1e-6)


def test_several_outputs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(25, 2))
    A = np.column_stack([X, np.ones(25)])
    T = A @ rng.normal(size=(3, 3)) + 0.1 * rng.normal(size=(25, 3))
    net = gb.Network(gb.layered([2, 3]), backend="numpy")
    fit = gb.train(net, X, T, optimizer=LM)
    exact, rss, *_ = np.linalg.lstsq(A, T, rcond=None)
    assert fit.residual_sum_of_squares == pytest.approx(rss.sum(), rel=1e-12)
    assert net.forward(X) == pytest.approx(A @ exact, rel=1e-9)
    assert fit.degrees_of_freedom == 75 - 9


def test_chunks_of_samples_change_nothing_but_rounding(monkeypatch):
    X, t = curve()
    whole, parts = hidden(1), hidden(1)
    a = gb.train(whole, X, t, optimizer=LM)
    monkeypatch.setattr(tangent, "CHUNK_BYTES", 8 * 4 * 7)
    b = gb.train(parts, X, t, optimizer=LM)
    assert b.parameters == pytest.approx(a.parameters, rel=1e-7)
    assert b.standard_errors == pytest.approx(a.standard_errors, rel=1e-6)


@pytest.mark.parametrize("method", ["qr", "cholesky"])
def test_a_step_keeps_its_radius_and_solves_the_damped_equations(method):
    """|D p| is Δ to a tenth and (JᵀJ + λD²) p = −Jᵀr."""
    net = hidden()
    X, t = curve()
    part = gb.training.problem.pose(net, X, t, None, None, 0.0, None, 0)
    residuals = tangent.Residuals(part)
    theta = net.weights.copy()
    r = residuals(theta)
    model = tangent.tangent(method, residuals, theta, r)
    J = net.weight_jacobian(X)[:, 0]
    scale = np.linspace(1, 3, len(theta))
    for radius in (1e-4, 0.1, 1.0):
        step = model.step(scale, radius)
        assert np.linalg.norm(scale * step.p) == pytest.approx(radius, rel=0.11)
        assert (J.T @ J + step.damping * np.diag(scale**2)) @ step.p == pytest.approx(-J.T @ r, rel=1e-6)
        assert step.predicted == pytest.approx(r @ r - np.sum((r + J @ step.p) ** 2), rel=1e-6)


def test_frozen_weights_stay_and_tied_ones_move_together():
    g = nx.DiGraph()
    g.add_edge("x", "h", weight=0.5, tie="a")
    g.add_edge("h", "y", weight=0.5, tie="a")
    g.add_edge("x", "y", weight=2.0, trainable=False)
    net = gb.Network(g, backend="numpy")
    X = np.linspace(-1, 1, 9)[:, None]
    fit = gb.train(net, X, 2.81 * X, optimizer=LM)
    assert fit.parameters == pytest.approx([0.9], rel=1e-12)
    assert fit.names == ["x -> h"]
    assert net.weight("x", "y") == 2.0
    assert "vanish" in fit.reason


def test_steps_into_the_infinite_are_shortened_without_a_warning():
    g = nx.DiGraph()
    g.add_node("y", activation="log", bias=1.0)
    g.add_edge("x", "y", weight=0.0)
    net = gb.Network(g, backend="numpy")
    X = np.linspace(0, 10, 20)[:, None]
    fit = gb.train(net, X, np.log(0.01 + 5 * X[:, 0]), optimizer=LM)
    assert net.weight("x", "y") == pytest.approx(5, rel=1e-6)
    assert net.bias("y") == pytest.approx(0.01, rel=1e-6)
    assert fit.reason.startswith("converged")


def test_a_start_that_is_not_finite_is_refused():
    g = nx.DiGraph()
    g.add_node("y", activation="log", bias=-1.0)
    g.add_edge("x", "y", weight=1.0)
    with pytest.raises(gb.NumericalError, match="not finite at the starting weights"):
        gb.train(gb.Network(g, backend="numpy"), [[0.5], [3.0]], [0.0, 1.0], optimizer=LM)


@pytest.mark.parametrize("method", ["qr", "cholesky"])
def test_dependent_columns_have_no_standard_errors_and_are_named(method):
    """Y = (u v) x: only the product is determined."""
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", "h", 0.5), ("h", "y", 2.0)])
    net = gb.Network(g, backend="numpy")
    X = np.linspace(-1, 1, 9)[:, None]
    fit = gb.train(net, X, 3 * X[:, 0] + 0.1 * X[:, 0] ** 2, optimizer=LM, method=method)
    assert net.weight("x", "h") * net.weight("h", "y") == pytest.approx(3, rel=1e-6)
    assert "x -> h and h -> y" in fit.note
    assert np.isnan(fit.standard_errors).all()
    assert fit.note in str(fit)


def test_a_parameter_without_effect_is_named():
    X = np.column_stack([np.linspace(0, 1, 9), np.zeros(9)])
    fit = gb.train(linear(), X, 2 * X[:, 0] + np.cos(9 * X[:, 0]), optimizer=LM)
    assert "do not determine x1 -> y" in fit.note


def test_more_parameters_than_residuals():
    X, t = curve(5)
    fit = gb.train(hidden(4), X, t, optimizer=LM)
    assert fit.residual_sum_of_squares < 1e-20
    assert "degrees of freedom" in fit.note


def test_cholesky_serves_many_parameters(monkeypatch):
    X, t = curve()
    net, other = hidden(8), hidden(8)
    exact = gb.train(other, X, t, optimizer=LM, epochs=6)
    monkeypatch.setattr(tangent, "QR_PARAMETERS", 10)
    monkeypatch.setattr(tangent.QRTangent, "__init__", lambda *args: pytest.fail("QR was taken"))
    fit = gb.train(net, X, t, optimizer=LM, epochs=6)
    assert fit.error[-1] == pytest.approx(exact.error[-1], rel=0.2)
    assert fit.error[-1] < 0.2 * fit.error[0]


def test_float32_warns_and_stays_float32():
    X, t = curve()
    net = hidden(1, dtype="float32")
    with pytest.warns(UserWarning, match="float32"):
        fit = gb.train(net, X, t, optimizer=LM)
    other = hidden(1)
    exact = gb.train(other, X, t, optimizer=LM)
    assert net.weights.dtype == np.float32
    assert fit.residual_sum_of_squares == pytest.approx(exact.residual_sum_of_squares, rel=1e-3)


def test_resumed_to_the_same_bits(tmp_path):
    X, t = curve()
    whole = hidden(5)
    reference = gb.train(whole, X, t, optimizer=LM, epochs=12)
    for stop in (1, 5, 8):
        path = tmp_path / f"{stop}.npz"

        def fail(event, stop=stop):
            if event.epoch == stop:
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            gb.train(hidden(5), X, t, optimizer=LM, epochs=12, checkpoint=path, callbacks=fail)
        net = hidden(5)
        fit = gb.train(net, X, t, optimizer=LM, epochs=12, checkpoint=path)
        assert net.weights.tobytes() == whole.weights.tobytes()
        assert fit.error == reference.error
        assert fit.standard_errors.tobytes() == reference.standard_errors.tobytes()


def test_patience_and_validation_work_here_too():
    X, t = curve()
    fit = gb.train(hidden(12), X, t, optimizer=LM, validation_split=0.3, patience=4, epochs=200)
    assert len(fit.validation_error) == len(fit)
    assert fit.best_epoch >= len(fit) - 4


def test_another_error_function_is_refused():
    net = gb.Network(gb.layered([2, 1], output_activation="sigmoid"), error="binary_cross_entropy", backend="numpy")
    with pytest.raises(gb.NotSupportedError, match="binary_cross_entropy"):
        gb.train(net, np.ones((3, 2)), np.ones(3), optimizer=LM)


def test_unknown_method_is_refused():
    X, t = curve()
    with pytest.raises(gb.UnknownNameError, match="did you mean 'cholesky'"):
        gb.train(hidden(), X, t, optimizer=LM, method="cholesk")


def test_memory_is_refused_before_it_is_taken():
    X, t = curve()
    g = hidden(100)
    with gb.config(memory=10_000), pytest.raises(gb.MemoryLimitError, match="lbfgs"):
        gb.train(g, X, t, optimizer=LM)


def test_the_report_reads_as_a_table():
    X, t, _ = noisy_plane()
    fit = gb.train(linear(), X, t, optimizer=LM)
    text = str(fit)
    for word in ("x1 -> y", "standard error", "degrees of freedom", "strongest correlation", "converged"):
        assert word in text
    assert fit.to_dict()["parameters"]["x0 -> y"] == fit.parameters[fit.names.index("x0 -> y")]


def test_layers_name_their_parameters():
    g = gb.layered([2, 2, 1])
    net = gb.Network(g, backend="numpy")
    names = net.model.parameter_labels()
    source, destination = next(iter(g.edges))
    at = net.parameter_index(source, destination)
    assert names[at] == [f"{source} -> {destination}[{j},{i}]" for j in range(2) for i in range(2)]
    assert all(names)


@pytest.mark.parametrize("method", ["qr", "cholesky"])
def test_a_row_of_weight_0_may_overflow(method):
    g = nx.DiGraph([("x", "h", {"weight": 0.5}), ("h", "y", {"weight": 1.0})])
    g.nodes["h"]["activation"] = "exp"
    nets = [gb.Network(g, backend="numpy") for _ in range(2)]
    X, T = np.array([[0.0], [1.0], [2.0], [3.0], [5000.0]]), np.array([1.0, 2.0, 4.5, 8.0, 0.0])
    whole = gb.train(nets[0], X, T, optimizer="levenberg_marquardt", method=method, sample_weight=[1, 1, 1, 1, 0])
    alone = gb.train(nets[1], X[:4], T[:4], optimizer="levenberg_marquardt", method=method)
    assert np.array_equal(nets[0].weights, nets[1].weights)
    assert np.array_equal(whole.standard_errors, alone.standard_errors)


@pytest.mark.parametrize("weight", [None, [1.0, 4.0, 0.0, 2.0, 1.0, 3.0, 1.0, 5.0]])
@pytest.mark.parametrize("units", ["layers", "units"])
def test_a_fit_of_scaled_columns_reports_the_raw_one(units, weight):
    """Linear least squares does not depend on the units, so neither do parameters, standard errors, covariance and residuals."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(8, 2)) * [1.0, 50.0] + [3.0, 200.0]
    T = X @ [2.0, -0.3] + 1000 + rng.normal(size=8)
    A = np.column_stack([X, np.ones(8)])
    s = np.ones(8) if weight is None else np.array(weight)
    inverse = np.linalg.inv(A.T @ (s[:, None] * A))
    theta = inverse @ A.T @ (s * T)
    rss, dof = float((s * (A @ theta - T) ** 2).sum()), np.count_nonzero(s) - 3
    net = gb.Network(gb.layered([2, 1], units=units), backend="numpy")
    fit = gb.train(net, X, T, sample_weight=weight, standardize=True, optimizer=LM, progress=False)
    assert fit.parameters == pytest.approx(theta, rel=1e-9)
    assert fit.standard_errors == pytest.approx(np.sqrt(np.diag(inverse) * rss / dof), rel=1e-9)
    assert fit.residual_sum_of_squares == pytest.approx(rss, rel=1e-9)
    assert fit.residual_standard_deviation == pytest.approx(np.sqrt(rss / dof), rel=1e-9)
    assert fit.covariance == pytest.approx(inverse * rss / dof, rel=1e-9)
    assert "parameters of the raw columns" in str(fit)


@pytest.mark.parametrize(
    "graph",
    [
        gb.layered([3, 2, 2], seed=1),
        gb.layered([3, 2, 2], seed=1, skips=True, units="units"),
        gb.layered([3, 2], seed=2),
        gb.prune(gb.layered([3, 4, 2], seed=3), threshold=0.3),
    ],
)
def test_the_raw_parameters_are_those_of_the_folded_network(graph):
    from graphbp.extend import fold_scaling

    rng = np.random.default_rng(2)
    X, T = rng.normal(size=(40, 3)) * [1, 9, 100] + [5, 0, 300], rng.normal(size=(40, 2)) * [1, 70] + [0, 900]
    net = gb.Network(graph, backend="numpy")
    fit = gb.train(net, X, T, standardize=True, optimizer=LM, epochs=5, progress=False)
    folded = gb.Network(fold_scaling(net.to_networkx()), backend="numpy")
    raw = dict(zip(fit.names, fit.parameters, strict=True))
    assert [raw[name] for name in folded.model.parameter_labels()] == pytest.approx(folded.weights, rel=1e-12)
    assert fit.residual_sum_of_squares == pytest.approx(((net.forward(X) - T) ** 2).sum(), rel=1e-12)


def test_a_tie_across_scaled_columns_keeps_the_scaled_parameters():
    g = nx.DiGraph([("x1", "y", {"weight": 1.0, "tie": "w"}), ("x2", "y", {"weight": 1.0, "tie": "w"})])
    g.nodes["x1"]["scale"], g.nodes["x2"]["scale"] = 1.0, 10.0
    net = gb.Network(g, backend="numpy")
    X = np.array([[1.0, 3.0], [2.0, 50.0], [3.0, 20.0]])
    fit = gb.train(net, X, [1.0, 6.0, 5.5], optimizer=LM, progress=False)
    assert fit.parameters == pytest.approx(net.weights)
    assert "a tie joins weights" in str(fit)
    g.nodes["x2"]["scale"] = 1.0
    assert "a tie" not in str(gb.train(gb.Network(g, backend="numpy"), X, [1.0, 6.0, 5.5], optimizer=LM, progress=False))


@pytest.mark.parametrize(("gain", "taken"), [(-0.5, False), (-5e-5, False), (5e-5, False), (2e-4, True), (0.5, True), (1.5, True)])
def test_a_step_is_taken_that_falls_by_a_ten_thousandth_of_what_was_promised(monkeypatch, gain, taken):
    """|r|² = 4 before, 4 − gain after a step that promised a fall of 1."""
    step = SimpleNamespace(p=np.ones(1), predicted=1.0, damping=1.0, length=1.0)
    search = object.__new__(levenberg_marquardt._Search)
    search._theta, search._r, search._scale, search._radius, search._unresolved = (
        np.zeros(1),
        np.ones(1) * 2,
        np.ones(1),
        1e-300,
        0.0,
    )
    search._model = SimpleNamespace(step=lambda *_: step, norms=np.ones(1))
    search._residuals = lambda theta: np.sqrt(np.array([4.0 - gain]))
    search._o, search._run = SimpleNamespace(method="qr"), SimpleNamespace(net=SimpleNamespace(dtype=np.float64))
    monkeypatch.setattr(levenberg_marquardt, "tangent", lambda *_: search._model)
    monkeypatch.setattr(search, "_unresolvable", lambda shrunk: None, raising=False)
    search._improve()
    assert bool(search._theta[0]) is taken


def test_a_spent_budget_is_not_called_converged():
    net = gb.Network(gb.layered([1, 2, 1], seed=0), backend="numpy")
    history = gb.train(net, [[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5], optimizer="levenberg_marquardt", epochs=1)
    assert history.reason == "all 1 epochs done, not converged"


def test_a_step_of_no_length_is_refused():
    net = gb.Network(gb.layered([1, 1], seed=0), backend="numpy")
    with pytest.raises(gb.ConfigError, match="initial_radius"):
        gb.train(net, [[0.0], [1.0]], [[0.0], [1.0]], optimizer="levenberg_marquardt", initial_radius=0, progress=False)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("count", [2, 9])
def test_the_offset_has_no_unit(count, unit):
    """(|Qᵀr| / √W) / (|r| / √(N − W)), and the cosine |Qᵀr| / |r| to the scale of one degree of freedom where there is none."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(count, 2)))
    r = rng.normal(size=count)
    plane = SimpleNamespace(norms=np.ones(2), explained=lambda: np.linalg.norm(q.T @ r) * unit)
    expected = np.linalg.norm(q.T @ r) / np.sqrt(2) / np.linalg.norm(r) * np.sqrt(max(count - 2, 1))
    assert levenberg_marquardt.relative_offset(plane, r * unit, count) == pytest.approx(expected, rel=1e-12)
    assert levenberg_marquardt.relative_offset(plane, 0 * r, count) == 0


@pytest.mark.parametrize("unit", [1e-120, 1.0, 1e120])
def test_the_history_tells_the_mean_error_in_any_unit(unit):
    X, t, _ = noisy_plane()
    net = linear()
    history = gb.train(net, X, t * unit, optimizer=LM, progress=False)
    assert history.error[-1] == pytest.approx(net.error(X, t * unit) / len(X), rel=1e-12)
