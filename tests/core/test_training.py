"""First-order training: what is minimised, what is recorded, what stops it, and what is refused."""

from __future__ import annotations

import csv
import json
import re

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.training import OPTIMIZERS, EpochEnd, History

FIRST_ORDER = ["sgd", "adam", "lbfgs"]
MINI_BATCH = ["sgd", "adam"]


def linear(w: float = 0.0, b: float = 0.0) -> gb.Network:
    g = nx.DiGraph()
    g.add_node("x")
    g.add_node("y", bias=b)
    g.add_edge("x", "y", weight=w)
    return gb.Network(g, backend="numpy")


def small(dtype: str = "float64", seed: int = 0) -> gb.Network:
    return gb.Network(gb.random_dag(3, 6, 2, density=0.7, seed=seed), backend="numpy", dtype=dtype)


def curve(n: int = 60, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    T = np.stack([np.sin(X[:, 0]) + X[:, 1], X[:, 2] * 0.5], axis=1) + 0.05 * rng.normal(size=(n, 2))
    return X, T


LINE = np.linspace(-1, 1, 20)[:, None]


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("sgd", {"epochs": 200, "learning_rate": 0.1, "batch_size": 5}),
        ("sgd", {"epochs": 200, "learning_rate": 0.1, "nesterov": True}),
        ("sgd", {"epochs": 400, "learning_rate": 0.1, "momentum": 0.0, "batch_size": None}),
        ("adam", {"epochs": 600, "learning_rate": 0.05, "batch_size": 20}),
        ("lbfgs", {}),
    ],
)
def test_a_line_is_found(optimizer, options):
    net = linear()
    before = net.error(LINE, 3 * LINE[:, 0] - 1) / len(LINE)
    history = gb.train(net, LINE, 3 * LINE[:, 0] - 1, optimizer=optimizer, **options)
    assert net.weights == pytest.approx([3, -1], abs=1e-5)
    assert len(history) == len(history.error) == len(history.seconds)
    assert history.error[-1] < 1e-9 < history.error[0] or (optimizer == "lbfgs" and history.error[-1] < 1e-9 < before)


@pytest.mark.parametrize("optimizer", FIRST_ORDER)
def test_the_same_call_gives_the_same_bits(optimizer):
    X, T = curve()
    runs = []
    for _ in range(2):
        net = small()
        history = gb.train(net, X, T, optimizer=optimizer, epochs=7, validation_split=0.2, seed=5)
        runs.append((net.weights.tobytes(), history.error, history.validation_error))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("optimizer", MINI_BATCH)
def test_another_seed_gives_another_order(optimizer):
    X, T = curve()
    results = []
    for seed in (0, 1):
        net = small()
        gb.train(net, X, T, optimizer=optimizer, epochs=2, batch_size=8, seed=seed)
        results.append(net.weights.tobytes())
    assert results[0] != results[1]


def test_every_epoch_has_every_sample_once_in_an_order_of_its_own(monkeypatch):
    X, T = curve(20)
    net, seen = small(), []
    real = net.model.run.error_and_gradient
    monkeypatch.setattr(
        net.model.run, "error_and_gradient", lambda theta, x, t, s: seen.append(x[:, 0].tolist()) or real(theta, x, t, s)
    )
    gb.train(net, X, T, epochs=3, batch_size=8)
    assert [len(batch) for batch in seen] == [8, 8, 4] * 3
    epochs = [[x for batch in seen[k : k + 3] for x in batch] for k in (0, 3, 6)]
    assert all(sorted(epoch) == sorted(X[:, 0].tolist()) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_one_step_of_sgd_by_hand():
    """Whole batch, no momentum: θ − η (∇E / N + l2 θ), after the decoupled decay θ (1 − η λ)."""
    X, T = curve()
    net = small()
    theta, g = net.weights.copy(), net.gradient(X, T) / len(X)
    gb.train(net, X, T, optimizer="sgd", epochs=1, batch_size=None, momentum=0.5, learning_rate=0.1, l2=0.3, weight_decay=0.2)
    assert net.weights == pytest.approx(theta * (1 - 0.1 * 0.2) - 0.1 * (g + 0.3 * theta), rel=1e-13)


def test_two_steps_of_momentum_by_hand():
    X, T = curve()
    for nesterov in (False, True):
        net = small()
        theta, v = net.weights.copy(), 0.0
        for _ in range(2):
            g = small_at(theta).gradient(X, T) / len(X)
            v = 0.7 * v + g
            theta = theta - 0.05 * (g + 0.7 * v if nesterov else v)
        gb.train(net, X, T, optimizer="sgd", epochs=2, batch_size=None, momentum=0.7, learning_rate=0.05, nesterov=nesterov)
        assert net.weights == pytest.approx(theta, rel=1e-12)


def small_at(theta: np.ndarray) -> gb.Network:
    net = small()
    net.weights = theta
    return net


def test_adam_agrees_with_its_definition():
    X, T = curve()
    net = small()
    theta, m, v = net.weights.copy(), 0.0, 0.0
    for t in range(1, 4):
        g = small_at(theta).gradient(X, T) / len(X)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        theta = theta - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    gb.train(net, X, T, optimizer="adam", epochs=3, batch_size=None, learning_rate=0.01)
    assert net.weights == pytest.approx(theta, rel=1e-12)


@pytest.mark.filterwarnings("ignore:.*hardly train:graphbp.DataWarning")
def test_clip_norm_bounds_a_step():
    X, T = curve()
    net = small()
    before = net.weights.copy()
    gb.train(net, X, 100 * T, optimizer="sgd", epochs=1, batch_size=None, learning_rate=1.0, clip_norm=0.01)
    assert np.linalg.norm(net.weights - before) == pytest.approx(0.01)


@pytest.mark.parametrize("optimizer", FIRST_ORDER)
def test_integer_sample_weights_are_repetitions(optimizer):
    """Whole batch: s_n = 2 is the sample twice; s_n = 0 leaves it out."""
    X, T = curve(20)
    s = np.arange(20) % 3
    batch = {} if optimizer == "lbfgs" else {"batch_size": None}
    weighted, repeated = small(), small()
    a = gb.train(weighted, X, T, optimizer=optimizer, epochs=5, sample_weight=s, **batch)
    b = gb.train(repeated, np.repeat(X, s, axis=0), np.repeat(T, s, axis=0), optimizer=optimizer, epochs=5, **batch)
    rel = 1e-6 if optimizer == "lbfgs" else 1e-9  # Newton steps magnify rounding by one over the smallest curvature
    assert weighted.weights == pytest.approx(repeated.weights, rel=rel)
    assert a.error == pytest.approx(b.error, rel=rel)


@pytest.mark.parametrize("optimizer", FIRST_ORDER)
def test_l2_pulls_towards_zero(optimizer):
    """Linear regression with ½ l2 |θ|²: (XᵀX / N + l2 I) θ = Xᵀt / N."""
    net = linear()
    options = {"lbfgs": {}, "sgd": {"learning_rate": 0.3, "batch_size": None}, "adam": {"learning_rate": 0.03, "batch_size": None}}
    gb.train(net, LINE, 3 * LINE[:, 0] - 1, optimizer=optimizer, epochs=500, l2=0.5, **options[optimizer])
    A = np.hstack([LINE, np.ones_like(LINE)])
    exact = np.linalg.solve(A.T @ A / 20 + 0.5 * np.eye(2), A.T @ (3 * LINE[:, 0] - 1) / 20)
    assert net.weights == pytest.approx(exact, abs=1e-5)


def test_frozen_weights_stay_and_tied_ones_move_together():
    g = nx.DiGraph()
    g.add_edge("x", "h", weight=0.5, tie="a")
    g.add_edge("h", "y", weight=0.5, tie="a")
    g.add_edge("x", "y", weight=2.0, trainable=False)
    net = gb.Network(g, backend="numpy")
    gb.train(net, LINE, 2.81 * LINE[:, 0], optimizer="lbfgs")
    assert net.weights == pytest.approx([0.9], abs=1e-4)
    assert net.weight("x", "y") == 2.0


def test_float32_stays_float32():
    X, T = curve()
    for optimizer in FIRST_ORDER:
        net = small("float32")
        gb.train(net, X, T, optimizer=optimizer, epochs=3)
        assert net.weights.dtype == np.float32


def test_validation_split_is_held_out_and_seeded():
    X, T = curve()
    seen = []

    def count(Y, T):
        seen.append(T.copy())
        return 0.0

    gb.train(small(), X, T, epochs=1, validation_split=0.25, seed=3, metrics={"rows": count})
    gb.train(small(), X, T, epochs=1, validation_split=0.25, seed=3, metrics={"rows": count})
    assert len(seen[0]) == 15
    assert np.array_equal(seen[0], seen[1])


def test_the_split_trains_on_the_rest():
    """With sample weights of 1 on the training part alone the run is the same, so no held-out sample was trained on."""
    X, T = curve()
    held, split, weighted = [], small(), small()
    gb.train(
        split, X, T, optimizer="lbfgs", epochs=4, validation_split=0.3, metrics={"m": lambda Y, T: held.append(T.copy()) or 0.0}
    )
    inside = np.array([any(np.array_equal(row, other) for other in held[0]) for row in T])
    assert inside.sum() == 18
    gb.train(weighted, X, T, optimizer="lbfgs", epochs=4, sample_weight=~inside)
    assert split.weights == pytest.approx(weighted.weights, rel=1e-6)  # Newton steps magnify rounding


def test_patience_stops_and_restores_the_best_epoch():
    X, T = curve(30)
    Xv, Tv = curve(30, seed=2)
    net, weights = small(), []
    history = gb.train(
        net,
        X,
        T + np.random.default_rng(0).normal(size=T.shape),
        optimizer="adam",
        learning_rate=0.05,
        epochs=500,
        validation=(Xv, Tv),
        patience=5,
        callbacks=lambda e: weights.append(e.net.weights.copy()),
    )
    best = int(np.argmin(history.validation_error)) + 1
    assert history.best_epoch == best == len(history) - 5
    assert history.reason == "no improvement for 5 epochs"
    assert history.restored
    assert np.array_equal(net.weights, weights[best - 1])
    assert net.error(Xv, Tv) / len(Xv) == pytest.approx(history.validation_error[best - 1])


def test_accuracy_is_recorded_for_classifiers():
    g = gb.layered([2, 4, 3], output_activation="softmax")
    net = gb.Network(g, error="cross_entropy", backend="numpy")
    X = np.random.default_rng(0).normal(size=(50, 2))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    history = gb.train(net, X, y, epochs=2, validation=(X, y))
    assert history.metrics["accuracy"][-1] == np.mean(net.forward(X).argmax(axis=1) == y)


def test_callbacks_see_the_epoch_and_can_stop():
    X, T = curve()
    events: list[EpochEnd] = []

    def stop_at_three(event: EpochEnd) -> bool:
        events.append(event)
        return event.epoch == 3

    history = gb.train(small(), X, T, epochs=10, callbacks=[stop_at_three])
    assert [e.epoch for e in events] == [1, 2, 3]
    assert [e.error for e in events] == history.error
    assert history.reason == "stopped by a callback"


@pytest.mark.parametrize("optimizer", FIRST_ORDER)
def test_ctrl_c_leaves_the_last_finished_epoch(optimizer):
    X, T = curve()
    kept = []

    def interrupt(event: EpochEnd) -> None:
        kept.append(event.net.weights.copy())
        if event.epoch == 4:
            raise KeyboardInterrupt

    net = small()
    history = gb.train(net, X, T, optimizer=optimizer, epochs=10, callbacks=interrupt)
    assert len(history) == len(history.error) == 4
    assert "interrupted" in history.reason
    assert np.array_equal(net.weights, kept[-1])


def test_ctrl_c_inside_an_epoch_goes_back(monkeypatch):
    X, T = curve()
    net, reference = small(), small()
    gb.train(reference, X, T, epochs=2, batch_size=10)
    real, calls = net.model.run.error_and_gradient, []

    def counting(*args):
        calls.append(1)
        if len(calls) == 6 * 2 + 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(net.model.run, "error_and_gradient", counting)
    history = gb.train(net, X, T, epochs=9, batch_size=10)
    assert len(history) == 2
    assert np.array_equal(net.weights, reference.weights)


@pytest.mark.filterwarnings("ignore:.*hardly train:graphbp.DataWarning")
@pytest.mark.parametrize("optimizer", MINI_BATCH)
def test_divergence_names_the_epoch_and_keeps_good_weights(optimizer):
    g = nx.DiGraph()
    g.add_node("h", activation="exp", bias=0.0)
    g.add_edge("x", "h", weight=0.1)
    g.add_edge("h", "y", weight=0.1)
    net = gb.Network(g, backend="numpy")
    with pytest.raises(
        gb.NumericalError, match=r"epoch \d+ of .*keeps the weights of .*learning_rate"
    ) as caught:  # and without a warning
        gb.train(net, LINE, 100 * LINE[:, 0], optimizer=optimizer, learning_rate=1e3, epochs=50)
    assert np.isfinite(net.weights).all()
    epoch, kept = re.search(r"epoch (\d+) of .*keeps the weights of (.*?)\.", str(caught.value)).groups()
    assert kept == ("the start" if epoch == "1" else f"epoch {int(epoch) - 1}")


def test_lbfgs_turns_back_from_infinite_errors(monkeypatch):
    monkeypatch.setattr("graphbp.training.objective.HESSIAN_PARAMETERS", 0)  # Newton steps meet none
    g = nx.DiGraph()
    g.add_node("y", activation="exp", bias=0.0)
    g.add_edge("x", "y", weight=0.0)
    net = gb.Network(g, backend="numpy")
    met = []
    real = net.model.run.error_and_gradient
    monkeypatch.setattr(net.model.run, "error_and_gradient", lambda *args: met.append(real(*args)) or met[-1])
    gb.train(net, 300 * LINE, np.exp(0.01 * 300 * LINE[:, 0] + 20), optimizer="lbfgs")
    assert not np.isfinite([value for value, _ in met]).all(), "the test must meet an overflow"
    assert net.weights == pytest.approx([0.01, 20.0], abs=1e-6)


def test_a_step_on_parameters_at_rest_does_nothing():
    net = linear(3.0, -1.0)
    gb.train(net, LINE, 3 * LINE[:, 0] - 1, optimizer="lbfgs")
    assert net.weights == pytest.approx([3.0, -1.0], abs=1e-12)


# -- the history -------------------------------------------------------------------------------------------------------------


def trained() -> History:
    X, T = curve()
    return gb.train(small(), X, T, epochs=20, validation_split=0.2)


def test_history_prints_saves_and_plots(tmp_path):
    history = trained()
    text = str(history)
    assert text.startswith("adam: 20 epochs")
    assert "validation_error" in text
    assert "..." in text
    json.dumps(history.to_dict())
    history.save(tmp_path / "h.csv")
    rows = list(csv.DictReader((tmp_path / "h.csv").read_text().splitlines()))
    assert [float(r["validation_error"]) for r in rows] == history.validation_error
    history.plot(tmp_path / "h.png")
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


def test_progress_is_shown_when_asked_and_silent_otherwise(capfd):
    X, T = curve()
    gb.train(small(), X, T, epochs=2)
    assert capfd.readouterr() == ("", "")
    gb.train(small(), X, T, epochs=2, progress=True)
    assert "adam" in capfd.readouterr().err


# -- refusals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"optimizer": "adm"}, gb.UnknownNameError, "did you mean 'adam'"),
        ({"lerning_rate": 1}, gb.UnknownNameError, "did you mean 'learning_rate'"),
        ({"epoch": 1}, gb.UnknownNameError, "did you mean 'epochs'"),
        ({"momentum": 0.5}, gb.UnknownNameError, "option of sgd"),
        ({"learning_rate": 0}, gb.ConfigError, "learning_rate=0"),
        ({"learning_rate": float("nan")}, gb.ConfigError, "learning_rate=nan"),
        ({"batch_size": 2.5}, gb.ConfigError, "batch_size=2.5"),
        ({"optimizer": "sgd", "momentum": 1.0}, gb.ConfigError, "momentum=1.0"),
        ({"epochs": -1}, gb.ConfigError, "epochs=-1"),
        ({"seed": -1}, gb.ConfigError, "seed=-1"),
        ({"patience": 0}, gb.ConfigError, "patience=0"),
        ({"validation_split": 1.5}, gb.ConfigError, "validation_split=1.5"),
        ({"validation_split": 1e-9}, gb.ConfigError, "leaves 60 to train"),
        ({"validation": 3}, gb.DataError, "validation is"),
        ({"sample_weight": np.zeros(60)}, gb.DataError, "sum to 0"),
        ({"metrics": {"error": len}}, gb.ConfigError, "metrics"),
        ({"callbacks": [3]}, gb.ConfigError, "callback"),
    ],
)
def test_refused(options, kind, message):
    X, T = curve()
    net = small()
    before = net.weights.copy()
    with pytest.raises(kind, match=message):
        gb.train(net, X, T, **options)
    assert np.array_equal(net.weights, before)


def test_bad_data_changes_nothing():
    X, T = curve()
    net = small()
    before = net.weights.copy()
    with pytest.raises(gb.DataError, match="row 3"):
        gb.train(net, np.where(np.arange(60)[:, None] == 3, np.nan, X), T)
    assert np.array_equal(net.weights, before)


def test_a_network_without_free_parameters_is_refused():
    g = nx.DiGraph()
    g.add_edge("x", "y", weight=1.0, trainable=False)
    with pytest.raises(gb.DataError, match="no free parameters"):
        gb.train(gb.Network(g, backend="numpy"), LINE, LINE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_option_has_a_line_of_documentation(optimizer):
    row = OPTIMIZERS[optimizer]
    text = " ".join(cls.__doc__ or "" for cls in row.__mro__)
    for name in row.__dataclass_fields__:
        assert name in text or name in ("beta1", "beta2", "epsilon"), f"{optimizer}: {name}"


@pytest.mark.parametrize("bad", [3, [print, "each"], "print"])
def test_callbacks_that_cannot_be_called_are_refused(bad):
    X, T = curve()
    with pytest.raises(gb.ConfigError, match="callback is a function of an EpochEnd"):
        gb.train(small(), X, T, callbacks=bad)


def test_lbfgs_says_why_it_stopped(monkeypatch):
    X, T = curve()
    fine = {"optimizer": "lbfgs", "epochs": 5000, "l2": 0.1}
    assert gb.train(small(), X, T, **fine).reason == "converged: the Newton step promises less than tolerance or rounding"
    for newton in ("has_hessian", "has_product"):
        monkeypatch.setattr(f"graphbp.training.objective.Objective.{newton}", False)
    flat = gb.train(small(), X, T, **fine, tolerance=0.0, gradient_tolerance=1e-6)
    assert flat.reason == "converged: the gradient vanishes within gradient_tolerance"
    coarse = gb.train(small(), X, T, **fine, tolerance=1e-3, gradient_tolerance=0.0)
    assert coarse.reason.startswith("stopped: L-BFGS expects F to fall by less than tolerance")
    assert len(coarse) < len(flat)


def logarithm(bias: float = 761.0) -> gb.Network:
    g = nx.DiGraph()
    g.add_node("num", activation="log", bias=bias)
    g.add_node("y", bias=0.0)
    g.add_weighted_edges_from([("x", "num", 1.0), ("num", "y", 1.0)])
    return gb.Network(g, backend="numpy")


@pytest.mark.filterwarnings("ignore:.*standardize=True:graphbp.DataWarning")  # the sizes are the point here
@pytest.mark.parametrize("optimizer", [*FIRST_ORDER, "levenberg_marquardt", "newton"])
@pytest.mark.parametrize("weights", [None, [1, 1, 0, 1, 1, 1]])
def test_a_numerical_error_names_unit_and_sample(optimizer, weights):
    X = np.array([1.0, 2, 3, 4, -1522, 5])[:, None]
    with pytest.raises(gb.NumericalError, match=r"log of a negative pre-activation -761 at unit 'num', row 4"):
        gb.train(logarithm(), X, X, optimizer=optimizer, sample_weight=weights)


@pytest.mark.filterwarnings("ignore:.*standardize=True:graphbp.DataWarning")  # the sizes are the point here
def test_the_row_is_that_of_the_callers_x():
    """Whatever batch and split the sample is in."""
    X = np.linspace(1, 2, 50)[:, None]
    X[17] = -1522
    for seed in range(5):
        held_out = np.random.default_rng([seed, 0]).permutation(50)[:5]
        if 17 not in held_out:
            with pytest.raises(gb.NumericalError, match="row 17"):
                gb.train(logarithm(), X, X, batch_size=7, validation_split=0.1, seed=seed, epochs=1)


@pytest.mark.filterwarnings("ignore:.*standardize=True:graphbp.DataWarning")  # the sizes are the point here
def test_an_error_that_overflows_names_the_sample():
    T = np.ones(20)
    T[3] = 1e200
    with pytest.raises(gb.NumericalError, match="row 3"):
        gb.train(linear(), LINE, T, optimizer="adam")


def test_ctrl_c_gives_blas_its_threads_back():
    import threadpoolctl

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]

    X, T = curve()
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        for optimizer in ("lbfgs", "levenberg_marquardt"):
            net, calls = small(), []
            real = net.model.run.forward

            def interrupted(*args, calls=calls, real=real):
                calls.append(1)
                if len(calls) == 3:
                    raise KeyboardInterrupt
                return real(*args)

            net.model.run.forward = interrupted
            gb.train(net, X, T, optimizer=optimizer, epochs=30)
            assert len(calls) >= 3
            assert threads() == before


@pytest.mark.parametrize(
    ("option", "value"),
    [(k, v) for k in ("checkpoint",) for v in (3, "a\0b", b"\0", "", np.ones(3))]
    + [(k, v) for k in ("progress", "resume", "standardize") for v in (np.ones(3), "a", object())]
    + [("callbacks", dict), ("callbacks", [dict]), ("callbacks", 3)],
)
def test_hostile_options_are_refused_by_name(option, value):
    with pytest.raises(gb.GraphbpError, match=option if option != "checkpoint" else "path"):
        gb.train(linear(), [[1.0]], [1.0], optimizer="sgd", epochs=1, **{option: value})


def test_a_network_without_parameters_is_not_called_frozen():
    from scipy import sparse

    g = nx.DiGraph()
    g.add_node("x", units=2)
    g.add_node("y", units=2)
    g.add_edge("x", "y", weight=sparse.csr_array((2, 2)))
    for ask in (gb.train, gb.laplace):
        with pytest.raises(gb.DataError, match="store no entry"):
            ask(gb.Network(g, backend="numpy"), np.ones((1, 2)), np.ones((1, 2)))
