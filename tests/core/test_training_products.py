"""Newton steps from Hessian products, where a network has too many parameters for its Hessian."""

import numpy as np
import pytest

import graphbp as gb
from graphbp.training.krylov import krylov_model
from graphbp.training.newton import newton_model
from graphbp.training.objective import Objective
from graphbp.training.problem import pose


@pytest.fixture(autouse=True)
def _no_hessian(monkeypatch):
    monkeypatch.setattr("graphbp.training.objective.HESSIAN_PARAMETERS", 0)


def raw(d, n, seed=0):
    """Columns over eight orders of magnitude, half of them far from 0, and Z, the same in units of 1."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, d))
    return (z + np.where(np.arange(d) % 2, 300.0, 0.0)) * 10.0 ** np.linspace(-4, 4, d), z, rng


def least(z, t):
    q = np.linalg.qr(np.column_stack([z, np.ones(len(z))]))[0]
    return 0.5 * np.sum((t - q @ (q.T @ t)) ** 2)


@pytest.mark.parametrize("seed", range(4))
def test_raw_columns_reach_the_minimum(seed):
    X, z, rng = raw(9, 150, seed)
    t = rng.normal(size=(150, 1)) + z[:, :1]
    net = gb.Network(gb.layered([9, 1], seed=0), backend="numpy")
    net.weights = np.zeros(net.n_parameters)
    history = gb.train(net, X, t, optimizer="lbfgs")
    assert net.error(X, t) == pytest.approx(least(z, t), rel=1e-12)
    assert history.reason.startswith("converged: the Newton step")


def test_more_than_five_hundred_parameters_in_raw_units():
    """56 columns, ten outputs: L-BFGS alone is 25 of 371 above the minimum after 1000 iterations."""
    X, z, rng = raw(56, 200)
    t = rng.normal(size=(200, 10))
    net = gb.Network(gb.layered([56, 10], seed=0), backend="numpy")
    net.weights = np.zeros(net.n_parameters)
    gb.train(net, X, t, optimizer="lbfgs")
    assert net.error(X, t) == pytest.approx(least(z, t), rel=1e-9)


@pytest.mark.parametrize("powers", [0, 20])
def test_other_units_give_the_same_bits(powers):
    X, z, rng = raw(5, 60)
    t = (rng.random(60) < 1 / (1 + np.exp(-z[:, 0]))).astype(float)
    scale = 2.0 ** (powers * np.arange(-2, 3))
    nets = [
        gb.Network(gb.layered([5, 1], seed=0, output_activation="sigmoid"), error="binary_cross_entropy", backend="numpy")
        for _ in "ab"
    ]
    for net, columns in zip(nets, (X, X * scale), strict=True):
        net.weights = np.zeros(net.n_parameters)
        gb.train(net, columns, t, optimizer="lbfgs")
    a, b = (net.forward(columns) for net, columns in zip(nets, (X, X * scale), strict=True))
    assert np.array_equal(a, b)


def posed(net, X, T, s=None):
    return pose(net, X, T, s, None, 0.0, None, 0)


def test_the_model_has_the_decrement_of_the_whole_hessian(monkeypatch):
    _, z, rng = raw(6, 40)
    net = gb.Network(gb.layered([6, 2], seed=0), backend="numpy")
    objective = Objective(posed(net, z, rng.normal(size=(40, 2))), 0.1)
    point = objective(net.weights)
    whole, found = newton_model(objective, point, 0.0), krylov_model(objective, point, 0.0, net.n_parameters, 0.0)
    assert found.whole
    assert found.decrement(point.gradient) == pytest.approx(whole.decrement(point.gradient), rel=1e-9)
    monkeypatch.setattr("graphbp.training.krylov.ENTRIES", 0)
    assert not krylov_model(objective, point, 0.0, 0, 0.0).whole


def test_a_product_is_that_of_the_hessian():
    _, z, rng = raw(3, 10)
    net = gb.Network(gb.layered([3, 4, 1], seed=0), backend="numpy")
    objective = Objective(posed(net, z, rng.normal(size=10), np.arange(10) % 3), 0.5)
    point, v = objective(net.weights), rng.normal(size=net.n_parameters) * 1e-30
    assert objective.hessian_product(point, v) == pytest.approx(objective.hessian(point) @ v, rel=1e-9)


def test_resumed_to_the_same_bits(tmp_path):
    X, _, rng = raw(30, 60)
    t, nets = rng.normal(size=60), [gb.Network(gb.layered([30, 1], seed=0), backend="numpy") for _ in "ab"]
    whole = gb.train(nets[0], X, t, optimizer="lbfgs", epochs=90)
    for epochs in range(60, 91, 3):
        gb.train(nets[1], X, t, optimizer="lbfgs", epochs=epochs, checkpoint=tmp_path / "run.npz")
    assert np.array_equal(nets[0].weights, nets[1].weights)
    assert len(whole) > 64


def test_rows_of_weight_zero_may_overflow():
    X, t = np.array([[1.0], [2.0], [1e5], [3.0]]), np.array([2.0, 3.0, 1.0, 4.0])
    nets = [gb.Network(gb.layered([1, 1], seed=0, output_activation="exp"), error="poisson", backend="numpy") for _ in "ab"]
    gb.train(nets[0], X, t, optimizer="lbfgs", sample_weight=[1, 1, 0, 1])
    gb.train(nets[1], X[[0, 1, 3]], t[[0, 1, 3]], optimizer="lbfgs")
    assert nets[0].weights == pytest.approx(nets[1].weights, rel=1e-7)
