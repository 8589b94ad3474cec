"""The Laplace approximation against closed forms (Bayesian linear and logistic regression), autograd, and its own samples."""

from __future__ import annotations

import math

import autograd
import autograd.numpy as anp
import mpmath
import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.uncertainty.curvature import HESSIANS, unit_of_parameter
from graphbp.uncertainty.outputs import Outputs

pytestmark = pytest.mark.filterwarnings(
    "ignore:the weights are:UserWarning"
)  # identities hold at any weights, and most are drawn here


def linear(d: int, k: int = 1, error: str = "sum_of_squares", activation: str = "identity") -> gb.Network:
    return gb.Network(gb.layered([d, k], output_activation=activation), error=error, backend="numpy")


def design(X: np.ndarray) -> np.ndarray:
    """The order of θ of one layer: weights row by row, then the bias."""
    return np.column_stack([X, np.ones(len(X))])


def regression(n: int = 25, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, X @ [1.0, -2.0, 0.5] + 0.3 + 0.4 * rng.normal(size=n)


def classes(n: int = 40, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return X, (X @ rng.normal(size=(2, k)) + rng.normal(size=(n, k))).argmax(axis=1)


def classifier(seed: int = 0, k: int = 3) -> gb.Network:
    return gb.Network(
        gb.layered([2, 4, k], output_activation="softmax", skips=True, seed=seed), error="cross_entropy", backend="numpy"
    )


# -- Bayesian linear regression: everything is exact -----------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("hessian", ["outer_product", "exact", "low_rank", "blocks"])
def test_bayesian_linear_regression(hessian, weighted):
    """S_N = (αI + βAᵀSA)⁻¹, m_N = βS_NAᵀSt, evidence N(t | 0, σ²S⁻¹ + AAᵀ/α) (Bishop & Bishop 2006, section 3.3)."""
    X, t = regression()
    A, alpha, sigma = design(X), 0.7, 0.4
    s = np.random.default_rng(1).uniform(0.2, 2, len(X)) if weighted else None
    S = np.ones(len(X)) if s is None else s
    posterior_covariance = np.linalg.inv(alpha * np.eye(4) + A.T @ (S[:, None] * A) / sigma**2)
    net = linear(3)
    net.weights = posterior_covariance @ A.T @ (S * t) / sigma**2
    posterior = gb.laplace(net, X, t, sample_weight=s, prior_precision=alpha, noise=sigma, hessian=hessian)
    assert posterior.covariance == pytest.approx(posterior_covariance, rel=1e-10, abs=1e-14)
    assert posterior.variances == pytest.approx(np.diag(posterior_covariance), rel=1e-10)
    marginal = np.diag(sigma**2 / S) + A @ A.T / alpha
    evidence = -0.5 * (len(t) * math.log(2 * math.pi) + np.linalg.slogdet(marginal)[1] + t @ np.linalg.solve(marginal, t))
    assert posterior.log_marginal_likelihood == pytest.approx(evidence, rel=1e-11)
    new = np.random.default_rng(2).normal(size=(6, 3))
    mean, variance = posterior.predict(new)
    assert mean[:, 0] == pytest.approx(design(new) @ net.weights, rel=1e-12)
    assert variance[:, 0] == pytest.approx(np.einsum("ni,ij,nj->n", design(new), posterior_covariance, design(new)), rel=1e-10)
    assert posterior.predict(new).total_variance == pytest.approx(variance + sigma**2)
    assert posterior.distance_from_mode == pytest.approx(0, abs=1e-6)


def test_the_diagonal_of_linear_regression():
    X, t = regression()
    net = linear(3)
    posterior = gb.laplace(net, X, t, prior_precision=0.7, noise=0.4, hessian="diagonal")
    assert posterior.variances == pytest.approx(1 / (0.7 + (design(X) ** 2).sum(axis=0) / 0.16), rel=1e-12)
    assert np.array_equal(posterior.covariance, np.diag(posterior.variances))


def test_a_network_trained_with_the_same_prior_is_at_the_mode():
    X, t = regression()
    net, alpha, sigma = linear(3), 2.0, 0.4
    gb.train(net, X, t, optimizer="lbfgs", l2=alpha * sigma**2 / len(X), gradient_tolerance=1e-11, tolerance=0.0)
    assert gb.laplace(net, X, t, prior_precision=alpha, noise=sigma).distance_from_mode < 1e-5
    assert gb.laplace(net, X, t, prior_precision=10 * alpha, noise=sigma).distance_from_mode > 0.1


def test_the_evidence_is_maximal():
    """γ = α|θ|² and N K − γ = 2βE, and no neighbour is higher."""
    X, t = regression()
    net = linear(3)
    gb.train(net, X, t, optimizer="levenberg_marquardt")
    best = gb.laplace(net, X, t, prior_precision="marginal_likelihood")
    gamma, alpha, beta = best.determined_parameters, best.prior_precision, best.noise**-2
    assert alpha * net.weights @ net.weights == pytest.approx(gamma, rel=1e-5)
    assert 2 * beta * net.error(X, t) == pytest.approx(len(t) - gamma, rel=1e-5)
    for a, s in [(1.1, 1), (0.9, 1), (1, 1.1), (1, 0.9)]:
        other = gb.laplace(net, X, t, prior_precision=a * alpha, noise=s * best.noise)
        assert other.log_marginal_likelihood < best.log_marginal_likelihood
    assert best.noise == pytest.approx(0.4, rel=0.3)


def test_given_prior_and_noise_need_no_eigenvalues(monkeypatch):
    """They cost more than everything else together, and a factor of A gives ln |A| and γ."""
    X, t = regression()
    net = linear(3)
    expected = gb.laplace(net, X, t, prior_precision="marginal_likelihood")
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda *_: pytest.fail("eigenvalues were computed"))
    posterior = gb.laplace(net, X, t, prior_precision=expected.prior_precision, noise=expected.noise)
    assert posterior.log_marginal_likelihood == pytest.approx(expected.log_marginal_likelihood, rel=1e-12)
    assert posterior.determined_parameters == pytest.approx(expected.determined_parameters, rel=1e-12)
    A = design(X)
    values = np.linalg.eigh(A.T @ A)[0] / posterior.noise**2
    assert posterior.determined_parameters == pytest.approx(np.sum(values / (values + posterior.prior_precision)), rel=1e-9)


def test_noise_is_estimated_and_prior_given():
    X, t = regression()
    net = linear(3)
    gb.train(net, X, t, optimizer="levenberg_marquardt")
    posterior = gb.laplace(net, X, t, prior_precision=1e-6)
    rss = 2 * net.error(X, t)
    assert posterior.noise == pytest.approx(math.sqrt(rss / (len(t) - 4)), rel=1e-4)


# -- classification ---------------------------------------------------------------------------------------------------------


def test_logistic_regression():
    """A = αI + Σ y(1 − y) x xᵀ; p = σ(a / √(1 + π v / 8))."""
    X, t = classes(k=2)
    net = linear(2, 1, "binary_cross_entropy", "sigmoid")
    gb.train(net, X, t, optimizer="lbfgs", l2=0.5 / len(X))
    posterior = gb.laplace(net, X, t, prior_precision=0.5)
    A, y = design(X), net.forward(X)[:, 0]
    precision = 0.5 * np.eye(3) + A.T @ ((y * (1 - y))[:, None] * A)
    assert posterior.covariance == pytest.approx(np.linalg.inv(precision), rel=1e-10)
    likelihood = np.log(np.where(t == 1, y, 1 - y)).sum()
    w = net.weights
    evidence = likelihood - 0.25 * w @ w + 1.5 * math.log(0.5) - 0.5 * np.linalg.slogdet(precision)[1]
    assert posterior.log_marginal_likelihood == pytest.approx(evidence, rel=1e-12)
    a, v = A @ w, np.einsum("ni,ij,nj->n", A, np.linalg.inv(precision), A)
    p = posterior.predict(X)
    assert p.mean[:, 0] == pytest.approx(1 / (1 + np.exp(-a / np.sqrt(1 + math.pi * v / 8))), rel=1e-10)
    assert (np.abs(p.mean - 0.5) <= np.abs(y[:, None] - 0.5) + 1e-12).all(), "uncertainty never makes a class surer"
    assert p.total_variance == pytest.approx(p.mean * (1 - p.mean))


def test_a_small_classifier_against_autograd():
    """GGN, predictive covariance of the logits and probit probabilities, from autograd alone."""
    X, t = classes()
    g = gb.layered([2, 4, 3], output_activation="softmax", seed=1)
    net = gb.Network(g, error="cross_entropy", backend="numpy")
    gb.train(net, X, t, optimizer="lbfgs", l2=1 / len(X))
    at = {edge: net.parameter_index(*edge) for edge in g.edges} | {node: net.parameter_index(node) for node in list(g)[1:]}
    x, h, y = list(g)

    def logits(w, x_n):
        hidden = anp.tanh(anp.dot(w[at[x, h]].reshape(4, 2), x_n) + w[at[h]])
        return anp.dot(w[at[h, y]].reshape(3, 4), hidden) + w[at[y]]

    w = net.weights.copy()
    J = np.stack([autograd.jacobian(logits)(w, row) for row in X])
    p = net.forward(X)
    R = np.einsum("nk,kc->nkc", p, np.eye(3)) - p[:, :, None] * p[:, None, :]
    S = np.linalg.inv(np.einsum("nki,nkc,ncj->ij", J, R, J) + np.eye(len(w)))
    posterior = gb.laplace(net, X, t)
    assert posterior.covariance == pytest.approx(S, rel=1e-8, abs=1e-12)
    a, C = posterior.output_distribution(X)
    assert a == pytest.approx(np.stack([logits(w, row) for row in X]), rel=1e-12)
    assert pytest.approx(J @ S @ J.transpose(0, 2, 1), rel=1e-8, abs=1e-12) == C
    others = np.eye(3) - (1 - np.eye(3)) / 2  # a_k minus the mean of the others
    kappa = (a - a.mean(axis=1, keepdims=True)) / np.sqrt(1 + math.pi / 8 * np.einsum("ki,nij,kj->nk", others, C, others))
    q = np.exp(kappa) / np.exp(kappa).sum(axis=1, keepdims=True)
    prediction = posterior.predict(X)
    assert prediction.mean == pytest.approx(q, rel=1e-9)
    slope = np.einsum("nkc,nci->nki", R, J)
    assert prediction.variance == pytest.approx(np.einsum("nki,ij,nkj->nk", slope, S, slope), rel=1e-8)


def test_probit_does_not_see_what_all_logits_have_in_common():
    """A softmax of (a + c, b + c) is a sigmoid of a − b, whatever c is and however uncertain."""
    X, t = classes()
    labels = (t == 0).astype(float)
    two = gb.Network(gb.layered([2, 2], output_activation="softmax", seed=1), error="cross_entropy", backend="numpy")
    gb.train(two, X, np.column_stack([labels, 1 - labels]), optimizer="lbfgs", l2=1 / len(X))
    W, b = two.weight("x", "y"), two.bias("y")
    one = nx.DiGraph()
    one.add_node("x", units=2)
    one.add_node("y", units=1, bias=b[:1] - b[1:], activation="sigmoid")
    one.add_edge("x", "y", weight=W[:1] - W[1:])
    one = gb.Network(one, error="binary_cross_entropy", backend="numpy")
    # the difference of two weights with prior variance 1 has prior variance 2
    expected = gb.laplace(one, X, labels, prior_precision=0.5).predict(X).mean[:, 0]
    assert gb.laplace(two, X, 1 - labels.astype(int)).predict(X).mean[:, 0] == pytest.approx(expected, rel=1e-9)


def test_a_shift_of_all_logits_changes_no_probability():
    X, t = classes()
    net = gb.Network(gb.layered([2, 4, 3], output_activation="softmax"), error="cross_entropy", backend="numpy")
    gb.train(net, X, t, epochs=30)
    shifted = net.to_networkx()
    shifted.nodes["y"]["bias"] = net.bias("y") + 5.0
    shifted = gb.Network(shifted, error="cross_entropy", backend="numpy")
    expected = gb.laplace(net, X, t).predict(X).mean
    assert gb.laplace(shifted, X, t).predict(X).mean == pytest.approx(expected, rel=1e-9)


# -- the last layer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hessian", HESSIANS)
def test_the_last_layer_of_a_regression_is_linear_in_what_feeds_it(hessian):
    """Bayesian linear regression on (h, skipped inputs, 1)."""
    X, t = regression()
    net = gb.Network(gb.layered([3, 4, 1], skips=True, seed=2), backend="numpy")
    gb.train(net, X, t, epochs=20)
    posterior = gb.laplace(net, X, t, parameters="last_layer", hessian=hessian, prior_precision=0.5, noise=0.3)
    A = np.column_stack([X, net.trace(X, t).z["h1"], np.ones(len(X))])
    order = [np.r_[net.parameter_index("x", "y")], np.r_[net.parameter_index("h1", "y")], np.r_[net.parameter_index("y")]]
    assert posterior.index.tolist() == np.concatenate(order).tolist()
    precision = A.T @ A / 0.3**2 + 0.5 * np.eye(A.shape[1])
    if hessian == "diagonal":
        precision = np.diag(precision.diagonal())
    S = np.linalg.inv(precision)
    assert posterior.covariance == pytest.approx(S, rel=1e-8, abs=1e-10)
    mean, variance = posterior.predict(X)
    assert np.array_equal(mean, net.forward(X))
    assert variance[:, 0] == pytest.approx(np.einsum("ni,ij,nj->n", A, S, A), rel=1e-8)
    draws = posterior.sample(3)
    still = np.setdiff1d(np.arange(net.n_parameters), posterior.index)
    assert np.array_equal(draws[:, still], np.tile(net.weights[still], (3, 1)))
    assert not np.isclose(draws[:, posterior.index], net.weights[posterior.index]).any()
    assert f"the {A.shape[1]} of {net.n_parameters} parameters" in str(posterior)
    assert posterior.determined_parameters <= A.shape[1]


def test_the_last_layer_of_a_classifier_is_a_block_of_the_whole():
    X, t = classes()
    net = classifier()
    last = gb.laplace(net, X, t, parameters="last_layer")
    h = net.outer_product_hessian(X, t)[np.ix_(last.index, last.index)]
    assert last.covariance == pytest.approx(np.linalg.inv(h + np.eye(len(h))), rel=1e-8, abs=1e-12)
    into = [net.parameter_index("x", "y"), net.parameter_index("h1", "y"), net.parameter_index("y")]
    assert last.index.tolist() == np.concatenate([np.r_[part] for part in into]).tolist()
    assert (
        last.output_distribution(X)[1].trace(axis1=1, axis2=2)
        < gb.laplace(net, X, t).output_distribution(X)[1].trace(axis1=1, axis2=2)
    ).all()


def test_a_tie_into_the_last_layer_is_refused_by_name():
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", "h", 0.5), ("h", "y", 0.5)])
    for edge in g.edges:
        g.edges[edge]["tie"] = "w"
    net = gb.Network(g, backend="numpy")
    with pytest.raises(gb.NotSupportedError, match=r"last layer is shared.*'w'"):
        gb.laplace(net, [[1.0], [2.0]], [1.0, 2.5], parameters="last_layer")


def test_a_frozen_last_layer_is_refused():
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", "h", 0.5), ("h", "y", 0.5)])
    g.edges["h", "y"]["trainable"] = False
    with pytest.raises(gb.DataError, match="lead into an output"):
        gb.laplace(gb.Network(g, backend="numpy"), [[1.0], [2.0]], [1.0, 2.5], parameters="last_layer")


def test_monte_carlo_agrees_with_samples_of_the_weights():
    X, t = classes()
    net = classifier()
    gb.train(net, X, t, optimizer="lbfgs", l2=1 / len(X))
    posterior = gb.laplace(net, X, t)
    drawn = posterior.predict(X, method="monte_carlo", n_samples=4000, seed=1)
    again = posterior.predict(X, method="monte_carlo", n_samples=4000, seed=1)
    assert np.array_equal(drawn.mean, again.mean)
    assert drawn.mean.sum(axis=1) == pytest.approx(np.ones(len(X)))
    _, J = next(Outputs(net).chunks(net.model.inputs(X)))
    a = Outputs(net).values(net.model.inputs(X))
    draws = a + np.einsum("nkw,mw->mnk", J, posterior.sample(4000, seed=2) - net.weights)
    p = np.exp(draws) / np.exp(draws).sum(axis=2, keepdims=True)
    assert drawn.mean == pytest.approx(p.mean(axis=0), abs=0.03)
    assert drawn.variance == pytest.approx(p.var(axis=0), abs=0.01)
    assert drawn.mean == pytest.approx(posterior.predict(X).mean, abs=0.1)


def test_poisson_is_log_normal():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    t = rng.poisson(np.exp(X @ [0.5, -0.3] + 1))
    net = linear(2, 1, "poisson", "exp")
    gb.train(net, X, t, optimizer="lbfgs")
    posterior = gb.laplace(net, X, t, prior_precision=1e-3)
    a, C = posterior.output_distribution(X)
    draws = np.exp(a[:, 0] + np.sqrt(C[:, 0, 0]) * rng.standard_normal((20000, 60)))
    p = posterior.predict(X)
    assert p.mean[:, 0] == pytest.approx(draws.mean(axis=0), rel=0.02)
    assert p.variance[:, 0] == pytest.approx(draws.var(axis=0), rel=0.1)
    log_likelihood = sum(k * math.log(m) - m - math.lgamma(k + 1) for k, m in zip(t, net.forward(X)[:, 0], strict=True))
    assert posterior.log_marginal_likelihood < log_likelihood


def test_an_output_that_is_not_canonical():
    """Var(y) = h'² Var(a), to first order."""
    X, t = regression()
    net = linear(3, 1, "sum_of_squares", "tanh")
    gb.train(net, X, np.tanh(t), optimizer="lbfgs")
    posterior = gb.laplace(net, X, np.tanh(t), noise=0.1)
    J = net.weight_jacobian(X)
    assert posterior.covariance == pytest.approx(np.linalg.inv(100 * np.einsum("nki,nkj->ij", J, J) + np.eye(4)), rel=1e-8)
    assert posterior.predict(X).variance == pytest.approx(np.einsum("nki,ij,nkj->nk", J, posterior.covariance, J), rel=1e-8)


# -- the forms of H ---------------------------------------------------------------------------------------------------------

NETWORKS = {
    "softmax": (classifier(seed=3), classes()),
    "dag": (
        gb.Network(gb.random_dag(3, 8, 2, density=0.5, seed=1), backend="numpy"),
        (regression()[0], np.random.default_rng(0).normal(size=(25, 2))),
    ),
    "not canonical": (
        gb.Network(gb.layered([3, 4, 1], output_activation="tanh"), backend="numpy"),
        (regression()[0], np.tanh(regression()[1])),
    ),
    "float32": (gb.Network(gb.layered([3, 4, 1]), backend="numpy", dtype="float32"), regression()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_and_diagonal_are_parts_of_the_outer_product(name):
    net, (X, t) = NETWORKS[name]
    s = np.random.default_rng(0).uniform(0.5, 2, len(X))
    tolerance = 1e-10 if net.dtype == np.float64 else 1e-4
    noise = {} if name == "softmax" else {"noise": 1.0}
    H = net.outer_product_hessian(X, t, s).astype(float)
    unit = unit_of_parameter(net)
    A = np.where(unit[:, None] == unit, H, 0) + 3 * np.eye(len(H))
    blocks = gb.laplace(net, X, t, sample_weight=s, prior_precision=3.0, hessian="blocks", **noise)
    assert blocks.covariance == pytest.approx(np.linalg.inv(A), rel=tolerance, abs=tolerance)
    diagonal = gb.laplace(net, X, t, sample_weight=s, prior_precision=3.0, hessian="diagonal", **noise)
    assert diagonal.variances == pytest.approx(1 / (np.diag(H) + 3), rel=tolerance)
    assert blocks.log_marginal_likelihood == pytest.approx(_evidence(net, X, t, s, A, bool(noise)), rel=1e-6)


@pytest.mark.parametrize("rows", [4, 25])
@pytest.mark.parametrize("name", NETWORKS)
def test_low_rank_is_the_outer_product(name, rows):
    """Fewer rows than parameters, and more: the same posterior."""
    net, (X, t) = NETWORKS[name]
    X, t = X[:rows], t[:rows]
    s = np.random.default_rng(0).uniform(0.5, 2, len(X))
    options = {"sample_weight": s, "prior_precision": 0.3} | ({} if name == "softmax" else {"noise": 0.5})
    whole, low = gb.laplace(net, X, t, **options), gb.laplace(net, X, t, hessian="low_rank", **options)
    tolerance = 1e-9 if net.dtype == np.float64 else 1e-3
    assert low.covariance == pytest.approx(whole.covariance, rel=tolerance, abs=tolerance)
    assert low.variances == pytest.approx(whole.variances, rel=tolerance)
    assert low.predict(X).variance == pytest.approx(whole.predict(X).variance, rel=tolerance, abs=tolerance)
    assert low.log_marginal_likelihood == pytest.approx(whole.log_marginal_likelihood, rel=1e-5)
    assert low.distance_from_mode == pytest.approx(whole.distance_from_mode, rel=1e-3)


def _evidence(net, X, t, s, A, regression) -> float:
    k, w = net.schedule.n_outputs, net.weights.astype(float)
    noise = 0.5 * k * np.log(s).sum() - 0.5 * len(X) * k * math.log(2 * math.pi) if regression else 0
    return float(-net.error(X, t, s) + noise - 1.5 * w @ w + 0.5 * len(w) * math.log(3) - 0.5 * np.linalg.slogdet(A)[1])


def test_units_own_their_incoming_weights():
    g = nx.DiGraph()
    g.add_node("x", units=2)
    g.add_node("h", units=3, bias=np.zeros(3), activation="tanh")
    g.add_node("y", bias=0.0)
    g.add_edge("x", "h", weight=np.ones((3, 2)))
    g.add_edge("h", "y", weight=np.ones((1, 3)))
    net = gb.Network(g, backend="numpy")
    unit = unit_of_parameter(net)
    assert unit[net.parameter_index("x", "h")].tolist() == [2, 2, 3, 3, 4, 4]
    assert unit[net.parameter_index("h")].tolist() == [2, 3, 4]
    assert set(unit[net.parameter_index("h", "y")]) == {5} == set(unit[net.parameter_index("y")])


def test_a_tied_weight_counts_with_its_first_unit():
    g = nx.DiGraph()
    g.add_nodes_from(["x", "h", "y"])
    g.add_edge("x", "h", weight=0.5, tie="a")
    g.add_edge("h", "y", weight=0.5, tie="a")
    g.add_edge("x", "y", weight=0.1)
    assert unit_of_parameter(gb.Network(g, backend="numpy")).tolist() == [1, 2]


def test_frozen_and_tied_weights():
    g = nx.DiGraph()
    g.add_node("h", activation="tanh", bias=0.1)
    g.add_edge("x", "h", weight=0.5, tie="a")
    g.add_edge("h", "y", weight=0.5, tie="a")
    g.add_edge("x", "y", weight=2.0, trainable=False)
    net = gb.Network(g, backend="numpy")
    X = np.linspace(-1, 1, 9)[:, None]
    J = net.weight_jacobian(X)[:, 0]
    for hessian in ("outer_product", "blocks"):
        posterior = gb.laplace(net, X, 3 * X, noise=0.5, hessian=hessian)
        if hessian == "outer_product":
            assert posterior.covariance == pytest.approx(np.linalg.inv(np.eye(2) + 4 * J.T @ J), rel=1e-10)
        assert posterior.sample(3).shape == (3, 2)


@pytest.mark.parametrize("hessian", ["outer_product", "low_rank", "blocks", "diagonal"])
def test_samples_have_the_covariance(hessian):
    X, t = regression()
    net = gb.Network(gb.layered([3, 2, 1]), backend="numpy")
    posterior = gb.laplace(net, X, t, noise=0.5, hessian=hessian)
    draws = posterior.sample(40000, seed=3)
    assert np.array_equal(draws[:5], posterior.sample(40000, seed=3)[:5])
    assert draws.mean(axis=0) == pytest.approx(net.weights, abs=0.05)
    assert np.cov(draws.T) == pytest.approx(posterior.covariance, abs=0.04)


@pytest.mark.parametrize("hessian", ["outer_product", "low_rank", "blocks", "diagonal"])
def test_a_float32_network_has_a_posterior_too(hessian):
    """Rounded in float32, an outer product has eigenvalues far below −1e-10."""
    X, t = classes()
    net = gb.Network(gb.layered([2, 12, 3], output_activation="softmax"), error="cross_entropy", backend="numpy", dtype="float32")
    gb.train(net, X, t, epochs=50)
    posterior = gb.laplace(net, X, t, hessian=hessian, prior_precision=1e-10)
    wide = gb.laplace(net.to(dtype="float64"), X, t, hessian=hessian, prior_precision=1e-10)
    assert posterior.log_marginal_likelihood == pytest.approx(wide.log_marginal_likelihood, rel=1e-12)
    prediction = posterior.predict(X)
    assert prediction.mean.dtype == np.float64
    gb.laplace(net, X, t, hessian=hessian, prior_precision="marginal_likelihood")


def test_chunks_change_nothing(monkeypatch):
    net, (X, t) = NETWORKS["softmax"]
    whole = gb.laplace(net, X, t, hessian="diagonal")
    monkeypatch.setattr("graphbp.uncertainty.outputs.CHUNK_BYTES", 8 * 3 * net.n_parameters * 7)
    parts = gb.laplace(net, X, t, hessian="diagonal")
    assert parts.variances == pytest.approx(whole.variances, rel=1e-12)
    assert parts.predict(X).variance == pytest.approx(whole.predict(X).variance, rel=1e-12)


def test_the_posterior_does_not_follow_the_network():
    X, t = regression()
    net = gb.Network(gb.layered([3, 2, 1]), backend="numpy")
    posterior = gb.laplace(net, X, t, noise=0.5)
    before = posterior.predict(X).mean.copy()
    net.weights = 0 * net.weights
    assert np.array_equal(posterior.predict(X).mean, before)


def test_many_parameters_take_little_memory_with_the_diagonal():
    net = gb.Network(gb.layered([20, 150, 3], output_activation="softmax"), error="cross_entropy", backend="numpy")
    X = np.random.default_rng(0).normal(size=(30, 20))
    y = np.arange(30) % 3
    with gb.config(memory=8 * net.n_parameters * 100):
        with pytest.raises(gb.MemoryLimitError, match="hessian='blocks' or hessian='diagonal'"):
            gb.laplace(net, X, y)
        posterior = gb.laplace(net, X, y, hessian="diagonal", prior_precision="marginal_likelihood")
        with pytest.raises(gb.MemoryLimitError, match="posterior covariance"):
            _ = posterior.covariance
    assert posterior.predict(X).mean.sum(axis=1) == pytest.approx(np.ones(30))


def test_it_prints_itself():
    X, t = regression()
    text = str(gb.laplace(linear(3), X, t))
    for word in ("4 parameters", "outer_product", "log marginal likelihood", "noise"):
        assert word in text


# -- refusals ---------------------------------------------------------------------------------------------------------------


def test_an_indefinite_exact_hessian_is_refused():
    """y = u v x at u = v = 0 is a saddle point: eigenvalues ±Σ t x."""
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", "h", 0.0), ("h", "y", 0.0)])
    net = gb.Network(g, backend="numpy")
    X = np.array([[1.0], [2.0]])
    with pytest.raises(gb.NumericalError, match=r"1 eigenvalue\(s\).*outer_product"):
        gb.laplace(net, X, 3 * X, noise=1.0, hessian="exact", prior_precision=1.0)
    with pytest.raises(gb.NumericalError, match="negative eigenvalues"):
        gb.laplace(net, X, 3 * X, noise=1.0, hessian="exact", prior_precision="marginal_likelihood")
    assert gb.laplace(net, X, 3 * X, noise=1.0, hessian="exact", prior_precision=16.0).variances == pytest.approx(
        np.diag(np.linalg.inv([[16, -15], [-15, 16]]))
    )


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"hessian": "outer"}, gb.UnknownNameError, "outer_product"),
        ({"parameters": "last"}, gb.UnknownNameError, "last_layer"),
        ({"prior_precision": 0}, gb.ConfigError, "prior_precision=0"),
        ({"prior_precision": float("nan")}, gb.ConfigError, "nan"),
        ({"prior_precision": "marginal"}, gb.UnknownNameError, "marginal_likelihood"),
        ({"noise": -1}, gb.ConfigError, "noise=-1"),
    ],
)
def test_refused(options, kind, message):
    X, t = regression()
    with pytest.raises(kind, match=message):
        gb.laplace(linear(3), X, t, **options)


def test_noise_of_a_classifier_is_refused():
    X, t = classes()
    with pytest.raises(gb.ConfigError, match="cross_entropy"):
        gb.laplace(classifier(), X, t, noise=1.0)
    with pytest.raises(gb.UnknownNameError, match="monte_carlo"):
        gb.laplace(classifier(), X, t).predict(X, method="montecarlo")


def test_residuals_of_zero_have_no_evidence_maximum():
    net = linear(3)
    X, _ = regression()
    with pytest.raises(gb.NumericalError, match="noise"):
        gb.laplace(net, X, net.forward(X))


def test_an_output_that_feeds_others_is_refused_by_name():
    g = nx.DiGraph()
    g.add_node("p", activation="sigmoid", bias=0.0, role="output")
    g.add_node("q", activation="sigmoid", bias=0.0, role="output")
    g.add_weighted_edges_from([("x", "p", 1.0), ("p", "q", 1.0)])
    net = gb.Network(g, error="binary_cross_entropy", backend="numpy")
    with pytest.raises(gb.NotSupportedError, match="'p'"):
        gb.laplace(net, [[1.0]], [[1.0, 0.0]])


def test_every_hessian_is_tested_here():
    assert set(HESSIANS) == {"outer_product", "exact", "low_rank", "blocks", "diagonal"}


# -- raw units, edges, and what a probability can be ----------------------------------------------------------------------------


@pytest.mark.parametrize("hessian", ["outer_product", "low_rank", "blocks"])
def test_raw_features_have_the_variance_of_fifty_digits(hessian):
    """x(αI + XᵀX/σ²)⁻¹xᵀ with columns of 1e-3 to 1e6."""
    rng = np.random.default_rng(0)
    scale = np.array([1e6, 1.0, 1e-3, 1e3, 1e5])
    X, new = rng.normal(size=(3, 5)) * scale, rng.normal(size=(4, 5)) * scale
    g = nx.DiGraph()
    g.add_weighted_edges_from([(f"x{i}", "y", 1e-7) for i in range(5)])
    net = gb.Network(g, backend="numpy")
    posterior = gb.laplace(net, X, np.zeros(3), hessian=hessian, prior_precision=1e-3, noise=0.1)
    both = np.vstack([X, new])
    with mpmath.workdps(50):
        a = mpmath.matrix(X.tolist())
        inverse = (a.T * a / mpmath.mpf(0.1) ** 2 + mpmath.mpf(1e-3) * mpmath.eye(5)) ** -1
        v = mpmath.matrix(both.tolist())
        expected = [float((v[i, :] * inverse * v[i, :].T)[0]) for i in range(7)]
        variances = [float(inverse[i, i]) for i in range(5)]
    assert posterior.predict(both).variance[:, 0] == pytest.approx(expected, rel=1e-9)
    assert posterior.variances == pytest.approx(variances, rel=1e-9)


@pytest.mark.parametrize("method", ["probit", "monte_carlo"])
def test_a_probability_varies_by_a_quarter_at_most(method):
    g = nx.DiGraph()
    g.add_node("y", activation="sigmoid")
    g.add_edge("x", "y", weight=0.0)
    net = gb.Network(g, error="binary_cross_entropy", backend="numpy")
    prediction = gb.laplace(net, [[0.1], [-0.1]], [1.0, 0.0]).predict([[10.0], [1e4], [0.0]], method=method)
    assert (prediction.variance <= 0.25).all()
    assert (prediction.noise_variance >= 0).all()
    assert prediction.total_variance == pytest.approx(prediction.mean * (1 - prediction.mean), rel=1e-12)
    assert prediction.variance[2, 0] == 0


PROBABILITIES = {
    "softmax": ("softmax", "cross_entropy"),
    "sigmoid": ("sigmoid", "binary_cross_entropy"),
    "softmax, sum of squares": ("softmax", "sum_of_squares"),
    "sigmoid, sum of squares": ("sigmoid", "sum_of_squares"),
}


@pytest.mark.parametrize("method", ["probit", "monte_carlo"])
@pytest.mark.parametrize("hessian", [kind for kind in HESSIANS if kind != "exact"])
@pytest.mark.parametrize("name", PROBABILITIES)
def test_probabilities_far_out(name, hessian, method):
    """Means are probabilities, variances at most p(1 − p), noise not negative, for any width of the posterior."""
    activation, error = PROBABILITIES[name]
    net = gb.Network(gb.layered([2, 3, 3], output_activation=activation, seed=1), error=error, backend="numpy")
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(6, 2)), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    far = np.concatenate([X, 1e3 * X, np.zeros((1, 2))])
    for prior in (1e-12, 1e-3, 1e6):
        found = gb.laplace(net, X, T, hessian=hessian, prior_precision=prior).predict(far, method=method, n_samples=50)
        assert ((found.mean >= 0) & (found.mean <= 1)).all()
        assert (found.variance <= found.mean * (1 - found.mean) + 1e-12).all()
        assert (found.variance >= 0).all()
        assert (found.noise_variance >= 0).all()
        if activation == "softmax":
            assert found.mean.sum(axis=1) == pytest.approx(np.ones(len(far)), rel=1e-12)


def test_a_sure_class_keeps_its_small_variance():
    """p(1 − p) of p = 1 − e⁻⁴⁰ is e⁻⁴⁰."""
    g = nx.DiGraph()
    g.add_node("y", activation="sigmoid")
    g.add_edge("x", "y", weight=40.0)
    net = gb.Network(g, error="binary_cross_entropy", backend="numpy")
    found = gb.laplace(net, [[1.0]], [1.0], prior_precision=1e6).predict([[1.0]])
    assert found.total_variance[0, 0] == pytest.approx(math.exp(-40), rel=1e-2)
    assert found.variance[0, 0] == pytest.approx(math.exp(-80) / 1e6, rel=1e-9)


def test_a_bounded_output_varies_within_its_bounds():
    net = gb.Network(gb.layered([3, 1], output_activation="tanh"), backend="numpy")
    X, t = regression()
    found = gb.laplace(net, X[:2], np.tanh(t[:2]), prior_precision=1e-8, noise=1.0).predict(100 * X)
    assert (found.variance <= 1 - found.mean**2 + 1e-12).all()
    assert (found.noise_variance == 1).all()


def test_a_count_far_out_is_log_normal_or_beyond_float64():
    g = nx.DiGraph()
    g.add_node("y", activation="exp")
    g.add_edge("x", "y", weight=0.0)
    net = gb.Network(g, error="poisson", backend="numpy")
    found = gb.laplace(net, [[1.0]], [1.0], prior_precision=1.0).predict([[1.0], [1e-9], [0.0], [100.0]])  # Var(a) = x²/2
    assert found.mean[:, 0] == pytest.approx([math.exp(0.25), 1.0, 1.0, np.inf])
    assert found.variance[:, 0] == pytest.approx([math.expm1(0.5) * math.exp(0.5), 0.5e-18, 0.0, np.inf], rel=1e-12)


@pytest.mark.parametrize("unit", [1e-100, 1e-8, 1.0, 1e9, 1e100])
@pytest.mark.parametrize("options", [{}, {"prior_precision": 0.5}, {"noise": 0.4}], ids=str)
def test_the_evidence_does_not_depend_on_the_unit_of_the_targets(unit, options):
    X, t = regression()
    base, net = linear(3), linear(3)
    base.weights = np.linalg.lstsq(design(X), t, rcond=None)[0]
    net.weights = unit * base.weights
    scaled = {"prior_precision": "marginal_likelihood"} | {
        name: value * (unit if name == "noise" else unit**-2) for name, value in options.items()
    }
    found, expected = (
        gb.laplace(net, X, unit * t, **scaled),
        gb.laplace(base, X, t, **{"prior_precision": "marginal_likelihood"} | options),
    )
    assert found.prior_precision * unit**2 == pytest.approx(expected.prior_precision, rel=1e-8)
    assert found.noise / unit == pytest.approx(expected.noise, rel=1e-8)
    assert found.log_marginal_likelihood + len(t) * math.log(unit) == pytest.approx(expected.log_marginal_likelihood, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_the_evidence_of_few_samples_is_a_maximum(n):
    """One sample, fewer than weights, as many, one degree of freedom."""
    X, t = regression(n)
    net = linear(3)
    net.weights = 0.1 * np.linalg.lstsq(design(X), t, rcond=None)[0]
    best = gb.laplace(net, X, t, prior_precision="marginal_likelihood")
    for a, s in [(1.05, 1), (0.95, 1), (1, 1.05), (1, 0.95)]:
        other = gb.laplace(net, X, t, prior_precision=a * best.prior_precision, noise=s * best.noise)
        assert other.log_marginal_likelihood < best.log_marginal_likelihood


def test_the_evidence_leaves_out_samples_of_weight_zero():
    X, t = regression()
    s = np.random.default_rng(0).uniform(0.5, 2, len(X))
    s[::3] = 0
    net = linear(3)
    net.weights = np.linalg.lstsq(design(X), t, rcond=None)[0]
    for hessian in HESSIANS:
        options = {"prior_precision": "marginal_likelihood", "hessian": hessian}
        weighted = gb.laplace(net, X, t, sample_weight=s, **options)
        without = gb.laplace(net, X[s > 0], t[s > 0], sample_weight=s[s > 0], **options)
        assert weighted.log_marginal_likelihood == pytest.approx(without.log_marginal_likelihood, rel=1e-12)
        assert weighted.prior_precision == pytest.approx(without.prior_precision, rel=1e-10)
        assert weighted.noise == pytest.approx(without.noise, rel=1e-10)


def test_the_cause_of_no_maximum_is_true():
    X, t = regression()
    net = linear(3)
    net.weights = np.zeros(4)
    with pytest.raises(gb.NumericalError, match="weights are all 0"):
        gb.laplace(net, X, t, prior_precision="marginal_likelihood")
    net.weights = np.ones(4)
    with pytest.raises(gb.NumericalError, match="every sample has weight 0"):
        gb.laplace(net, X, t, sample_weight=np.zeros(len(X)))
    with pytest.raises(gb.NumericalError, match="the Hessian is 0"):
        gb.laplace(net, X, t, sample_weight=np.zeros(len(X)), noise=1.0, prior_precision="marginal_likelihood")
    prior = gb.laplace(net, X, t, sample_weight=np.zeros(len(X)), noise=1.0, prior_precision=2.0)
    assert prior.covariance == pytest.approx(np.eye(4) / 2)
    assert prior.determined_parameters == pytest.approx(0, abs=1e-12)
    with pytest.raises(gb.NumericalError, match="residuals vanish"):
        gb.laplace(net, X, net.forward(X) * (1 + 1e-16))
    with pytest.raises(gb.ConfigError, match="float64"):
        gb.laplace(net, X, t, prior_precision=1e-320)
    with pytest.raises(gb.ConfigError, match="float64"):
        gb.laplace(net, X, t, noise=1e-200)


@pytest.mark.filterwarnings("error")
def test_weights_far_from_the_mode_are_warned_of_with_the_remedy():
    X, t = regression(n=200)
    net = linear(3)
    net.weights = np.array([5.0, 5.0, 5.0, 5.0])
    with pytest.warns(UserWarning, match=r"standard deviations from the maximum.*l2=0\.0008"):
        far = gb.laplace(net, X, t, prior_precision=1.0, noise=0.4)
    assert far.distance_from_mode > 2
    gb.train(net, X, t, optimizer="lbfgs", l2=0.16 / len(X), progress=False)
    assert gb.laplace(net, X, t, prior_precision=1.0, noise=0.4).distance_from_mode < 1


def test_a_posterior_has_a_repr():
    X, t = regression()
    text = repr(gb.laplace(linear(3), X, t, noise=0.5))
    for word in ("Posterior", "4 parameters", "outer_product", "α=1", "σ=0.5", "from the mode"):
        assert word in text


def test_a_number_of_draws_is_one():
    X, t = classes()
    posterior = gb.laplace(classifier(), X, t)
    for n in (0, -1, 2.5, True, "3"):
        with pytest.raises(gb.DataError, match="n_samples="):
            posterior.predict(X, method="monte_carlo", n_samples=n)
        with pytest.raises(gb.DataError, match="n="):
            posterior.sample(n)


def test_an_untrained_network_cannot_hide_behind_its_own_residuals():
    """σ taken from residuals larger than those of a constant makes every distance small."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5)) * [1, 30, 100, 1, 5]
    T = 3 + rng.normal(size=60)
    net = gb.Network(gb.layered([5, 6, 1], seed=1), backend="numpy")
    with pytest.warns(
        UserWarning, match=r"standard deviations from the maximum.*train further, with this prior, gb.train\(net, X, T, l2="
    ):
        gb.laplace(net, X, T)
