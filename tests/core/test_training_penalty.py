"""What l2 acts on, and runs that go on from what an earlier one remembered."""

from __future__ import annotations

import numpy as np
import pytest

import graphbp as gb

RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 2))
T = X @ [[1.0], [-2.0]] + 30.0


def line(tie: bool = False) -> gb.Network:
    g = gb.from_edges(["a", "b"], ["y", "y"], [0.1, -0.1], bias=-0.1)
    if tie:  # the bias is a weight too
        g.nodes["y"]["tie"] = g.edges["b", "y"]["tie"] = "w"
    return gb.Network(g, backend="numpy")


def ridge(l2: float, free_bias: bool) -> np.ndarray:
    """[w, b] of min mean ½ (y − t)² + ½ l2 |w|², by the normal equations."""
    A = np.column_stack([X, np.ones(len(X))])
    return np.linalg.solve(A.T @ A / len(X) + l2 * np.diag([1, 1, 0 if free_bias else 1]), A.T @ T / len(X))[:, 0]


@pytest.mark.parametrize("free_bias", [True, False])
@pytest.mark.parametrize("optimizer", ["lbfgs", "newton", "sgd"])
def test_a_penalty_on_weights_alone_is_ridge_regression_with_an_intercept(optimizer, free_bias):
    net = line()
    rest = {"epochs": 1000, "batch_size": None, "learning_rate": 0.2} if optimizer == "sgd" else {}
    gb.train(net, X, T, optimizer=optimizer, l2=0.7, penalize_biases=not free_bias, progress=False, **rest)
    assert net.weights == pytest.approx(ridge(0.7, free_bias), rel=1e-9)


def test_weight_decay_leaves_biases_alone_too():
    net = line()
    start = net.weights.copy()
    rest = {"learning_rate": 1e-30, "weight_decay": 1e28, "penalize_biases": False, "epochs": 1}
    gb.train(net, X, T, optimizer="adam", batch_size=None, progress=False, **rest)
    assert net.weights == pytest.approx([*(start[:2] * 0.99), start[2]])


def test_a_parameter_that_a_bias_shares_with_a_weight_is_penalised():
    assert line().model.layout.biases_alone.tolist() == [False, False, True]
    assert not line(tie=True).model.layout.biases_alone.any()


def test_biases_alone_knows_layers_frozen_and_sparse_weights():
    g = gb.layered([2, 3, 1])
    g.edges["x", "h1"]["trainable"] = False
    net = gb.Network(g, backend="numpy")
    assert net.model.layout.biases_alone.tolist() == [True] * 3 + [False] * 3 + [True]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_one_run_of_two_epochs_is_two_runs_of_one(optimizer):
    once, twice = line(), line()
    options = {"optimizer": optimizer, "batch_size": None, "learning_rate": 0.1, "progress": False}
    gb.train(once, X, T, epochs=2, **options)
    first = gb.train(twice, X, T, epochs=1, **options)
    second = gb.train(twice, X, T, epochs=1, state=first.state, **options)
    assert np.array_equal(once.weights, twice.weights)
    assert int(second.state["count"]) == 2
    assert int(first.state["count"]) == 1  # and is not written into


def test_steps_are_counted_whatever_the_number_of_samples():
    net = line()
    options = {"optimizer": "adam", "batch_size": 10, "epochs": 1, "progress": False}
    first = gb.train(net, X, T, **options)
    second = gb.train(net, X[:15], T[:15], state=first.state, **options)
    assert (int(first.state["count"]), int(second.state["count"])) == (4, 6)


@pytest.mark.parametrize(
    ("optimizer", "state", "said"),
    [
        ("lbfgs", {}, "sgd and adam"),
        ("adam", {"velocity": np.zeros(3), "count": np.array(1)}, "first_moment"),
        ("sgd", {"velocity": np.zeros(2), "count": np.array(1)}, r"velocity \(2,\).*velocity \(3,\)"),
        ("sgd", [1, 2], "history.state"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(optimizer, state, said):
    with pytest.raises(gb.ConfigError, match=said):
        gb.train(line(), X, T, optimizer=optimizer, state=state)


def test_penalize_biases_is_true_or_false():
    with pytest.raises(gb.ConfigError, match="penalize_biases"):
        gb.train(line(), X, T, penalize_biases="weights")
