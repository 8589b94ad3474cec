"""Training, scaling and uncertainty where outputs have errors, weights and gaps of their own."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.exceptions import DataError, NotSupportedError, NumericalError
from graphbp.training import head_errors
from helpers.heads import ERRORS, four_heads, targets


def problem(n=40, feeds=True, **options):
    rng = np.random.default_rng(5)
    net = gb.Network(four_heads(rng, feeds), error=ERRORS, missing="skip", backend="numpy", **options)
    return net, rng.normal(size=(n, 3)), targets(rng, n)


def lines(n=20):
    """y = (2 x + 1, 3 − x) with noise and gaps."""
    rng = np.random.default_rng(0)
    g = nx.DiGraph([("x", "u", {"weight": 0.1}), ("x", "v", {"weight": 0.2})])
    g.nodes["u"]["bias"] = g.nodes["v"]["bias"] = 0.0
    x = np.linspace(0, 1, n)[:, None]
    t = np.hstack([2 * x + 1, 3 - x]) + 0.01 * rng.normal(size=(n, 2))
    t[3:9, 0] = t[0, 1] = np.nan
    return g, x, t


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam", "sgd"])
def test_every_optimizer_takes_gaps_and_tells_the_heads(optimizer):
    net, X, T = problem(error_weights={"price": 0.2})
    history = gb.train(net, X, T, optimizer=optimizer, epochs=5, l2=0.01, progress=False, validation_split=0.25)
    assert list(history.heads) == ["price", "kind", "count", "flag"]
    assert all(len(values) == len(history) for values in history.heads.values())
    assert history.validation_error[-1] < history.validation_error[0]
    assert "error of kind" in history.columns()


def test_gaps_can_be_asked_for_where_one_trains():
    g, x, t = lines()
    net = gb.Network(g, backend="numpy")
    with pytest.raises(DataError, match='missing="skip"'):
        gb.train(net, x, t, optimizer="lbfgs", progress=False)
    with pytest.raises(DataError, match="T has shape"):
        gb.train(net, x, t[:3], optimizer="lbfgs", missing="skip", progress=False)
    assert net.missing == "refuse"
    gb.train(net, x, t, optimizer="lbfgs", missing="skip", progress=False)
    assert net.missing == "skip"
    assert list(net.predict(x).shape) == [20, 2]


def test_the_mean_is_over_what_is_there():
    net, X, T = problem(error_weights={"price": 0.2})
    history = gb.train(net, X, T, optimizer="lbfgs", epochs=0, progress=False)
    assert not history.heads["price"]
    mean, heads = head_errors.mean_errors(net, X, T)
    there = sum(int((~np.isnan(column)).sum()) for column in T.values())
    assert mean == pytest.approx(net.error(X, T) / (there / 4), rel=1e-13)
    counts = {name: int((~np.isnan(column)).sum()) for name, column in T.items()}
    weight = {"price": 0.2, "kind": 1, "count": 1, "flag": 1}
    assert sum(weight[name] * heads[name] * counts[name] for name in heads) == pytest.approx(net.error(X, T), rel=1e-13)


def test_without_gaps_the_mean_is_that_of_the_samples():
    net, X, _T = problem()
    whole = targets(np.random.default_rng(1), len(X), gaps=0)
    mean, _ = head_errors.mean_errors(net, X, whole)
    assert mean == pytest.approx(net.error(X, whole) / len(X), rel=1e-14)


def test_a_resumed_run_has_the_heads_of_one_that_was_not_stopped(tmp_path):
    whole, X, T = problem()
    first, _, _ = problem()
    once = gb.train(whole, X, T, epochs=4, batch_size=10, progress=False)
    gb.train(first, X, T, epochs=2, batch_size=10, progress=False, checkpoint=tmp_path / "c")
    again = gb.train(first, X, T, epochs=4, batch_size=10, progress=False, checkpoint=tmp_path / "c")
    assert again.heads == once.heads
    assert np.array_equal(first.weights, whole.weights)


def test_accuracy_counts_the_targets_that_are_there():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    labels = (X[:, 0] > 0).astype(float)
    labels[::3] = np.nan
    net = gb.Network(gb.layered([2, 2], error="cross_entropy", seed=0), error="cross_entropy", missing="skip", backend="numpy")
    history = gb.train(net, X, labels, optimizer="lbfgs", epochs=60, l2=1e-3, validation_split=0.5, progress=False)
    assert history.metrics["accuracy"][-1] > 0.9


def test_classes_are_taken_from_labels_with_gaps():
    net, X, T = problem()
    T = {**T, "kind": [None if np.isnan(k) else ("ant", "bee", "cow")[int(k)] for k in T["kind"]]}
    gb.train(net, X, T, optimizer="lbfgs", epochs=2, l2=0.1, progress=False)
    assert net.to_networkx().nodes["kind"]["classes"] == ["ant", "bee", "cow"]


def test_levenberg_marquardt_fits_each_output_to_its_own_targets():
    g, x, t = lines()
    net = gb.Network(g, error_weights={"u": 0.5}, missing="skip", backend="numpy")
    fit = gb.train(net, x, t, optimizer="levenberg_marquardt", progress=False)
    for k, name in enumerate("uv"):
        there = ~np.isnan(t[:, k])
        slope, bias = np.polyfit(x[there, 0], t[there, k], 1)
        assert net.weight("x", name) == pytest.approx(slope, rel=1e-9)
        assert net.weights[net.parameter_index(name)][0] == pytest.approx(bias, rel=1e-9)
    assert fit.degrees_of_freedom == int((~np.isnan(t)).sum()) - 4
    r = np.where(np.isnan(t), 0, net.forward(x) - t)
    assert fit.residual_sum_of_squares == pytest.approx((r**2 * [0.5, 1]).sum(), rel=1e-9)


def test_levenberg_marquardt_names_the_head_that_is_no_sum_of_squares():
    net, X, T = problem()
    with pytest.raises(NotSupportedError, match="output 'kind' has error='cross_entropy'"):
        gb.train(net, X, T, optimizer="levenberg_marquardt", progress=False)


def test_scaling_is_of_the_targets_that_are_there():
    g, x, t = lines()
    net = gb.Network(g, missing="skip", backend="numpy")
    net.fit_scaling(x, t)
    for k, name in enumerate("uv"):
        node = net.to_networkx().nodes[name]
        assert (node["shift"], node["scale"]) == pytest.approx((np.nanmean(t[:, k]), np.nanstd(t[:, k])), rel=1e-12)
    assert net.check(x, t).ok
    mixed, X, T = problem(feeds=False)
    mixed.fit_scaling(X, T)
    nodes = mixed.to_networkx().nodes
    assert nodes["price"]["shift"] == pytest.approx(np.nanmean(T["price"]))
    assert "shift" not in nodes["count"]


# -- uncertainty -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    net, X, T = problem(60, feeds=False)
    gb.train(net, X, T, optimizer="lbfgs", l2=0.05, epochs=300, progress=False)
    return net, X, T


@pytest.mark.filterwarnings("ignore:the weights are")
def test_one_posterior_over_mixed_heads(trained):
    net, X, T = trained
    posterior = gb.laplace(net, X, T, prior_precision=3.0, noise=0.8)
    weighted = gb.Network(net.to_networkx(), error_weights={"price": 0.8**-2}, missing="skip", backend="numpy")
    A = weighted.outer_product_hessian(X, T) + 3 * np.eye(net.n_parameters)
    assert np.allclose(posterior.covariance, np.linalg.inv(A), rtol=1e-8, atol=1e-10)
    prediction = posterior.predict(X)
    assert prediction.kinds == ("value", "class", "class", "class", "count", "probability")
    assert np.allclose(prediction.noise_variance[:, 0], 0.64)
    assert np.allclose(prediction.noise_variance[:, 4], prediction.mean[:, 4])


@pytest.mark.filterwarnings("ignore:the weights are")
def test_the_noise_of_squared_heads_maximises_the_evidence(trained):
    net, X, T = trained
    best = gb.laplace(net, X, T, prior_precision=3.0)
    around = [gb.laplace(net, X, T, prior_precision=3.0, noise=best.noise * k).log_marginal_likelihood for k in (0.97, 1.03)]
    assert best.log_marginal_likelihood > max(around)
    assert gb.laplace(net, X, T, prior_precision="marginal_likelihood").log_marginal_likelihood >= best.log_marginal_likelihood


@pytest.mark.filterwarnings("ignore:the weights are")
def test_missing_targets_are_no_evidence():
    g, x, t = lines()
    net = gb.Network(g, missing="skip", backend="numpy")
    gb.train(net, x, t, optimizer="levenberg_marquardt", progress=False)
    both = gb.laplace(net, x, t, prior_precision=0.1, noise=0.01).log_marginal_likelihood
    parts = 0.0
    for k, name in enumerate("uv"):
        one = gb.Network(net.to_networkx().subgraph(["x", name]).copy(), backend="numpy")
        there = ~np.isnan(t[:, k])
        parts += gb.laplace(one, x[there], t[there, k], prior_precision=0.1, noise=0.01).log_marginal_likelihood
    assert both == pytest.approx(parts, rel=1e-12)


def test_a_noise_that_has_no_maximum_is_refused(trained):
    net, X, T = trained
    exact = {**T, "price": net.forward(X)[:, 0]}
    with pytest.raises(NumericalError, match="residuals of the squared outputs vanish"):
        gb.laplace(net, X, exact)


def test_gaps_are_no_degrees_of_freedom():
    """Newton's σ² = 2 E / (targets − W) is Levenberg-Marquardt's: a target that is missing is no observation."""
    g, x, t = lines()
    fits = [
        gb.train(gb.Network(g, missing="skip", backend="numpy"), x, t, optimizer=optimizer, progress=False)
        for optimizer in ("newton", "levenberg_marquardt")
    ]
    np.testing.assert_allclose(fits[0].standard_errors, fits[1].standard_errors, rtol=1e-9)
