"""Second order over random DAGs: exact against the complex step through the first-order sweeps, and against each other.

The oracle is independent of everything in `graphbp.second_order`: column a of the Hessian is Im ∂E/∂θ(θ + iε e_a) / ε, with the
gradient from the NumPy backend's first-order sweeps run on complex numbers.  It has no differencing error, so 1e-12 is asked for.
Activations that do not continue analytically get stand-ins here that choose their branch by the real part.
"""

from __future__ import annotations

import dataclasses

import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse

import graphbp as gb
from graphbp.activations import activation_table
from graphbp.error_functions import error_table
from helpers.thorough import drawn

TOLERANCE = 1e-12
ERRORS = error_table.names()
# The oracle is the complex step, which plugins' rows need not support unless they say so; those of the core do, away from kinks.
ACTIVATIONS = [row.name for row in activation_table if row.elementwise and (row.builtin or row.analytic)]
DOMAIN = {"gaussian": 1.0, "log": 4.0, "sqrt": 4.0, "rsqrt": 4.0, "reciprocal": 4.0}
"""A frozen bias that keeps pre-activations inside the domain; weights are small enough for it."""


def _branch(positive, negative):
    return lambda a: np.where(np.real(a) > 0, positive(a), negative(a))


SCALE, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
STAND_IN = {
    "relu": (_branch(lambda a: a, lambda a: 0 * a), _branch(lambda a: 1 + 0 * a, lambda a: 0 * a)),
    "leaky_relu": (_branch(lambda a: a, lambda a: 0.01 * a), _branch(lambda a: 1 + 0 * a, lambda a: 0.01 + 0 * a)),
    "elu": (_branch(lambda a: a, np.expm1), _branch(lambda a: 1 + 0 * a, np.exp)),
    "selu": (
        _branch(lambda a: SCALE * a, lambda a: SCALE * ALPHA * np.expm1(a)),
        _branch(lambda a: SCALE + 0 * a, lambda a: SCALE * ALPHA * np.exp(a)),
    ),
    "softsign": (_branch(lambda a: a / (1 + a), lambda a: a / (1 - a)), _branch(lambda a: (1 + a) ** -2, lambda a: (1 - a) ** -2)),
    "abs": (_branch(lambda a: a, lambda a: -a), _branch(lambda a: 1 + 0 * a, lambda a: -1 + 0 * a)),
    "step": (_branch(lambda a: 1 + 0 * a, lambda a: 0 * a), lambda a: 0 * a),
}


def with_stand_ins(net: gb.Network) -> object:
    """A NumPy executable of the same schedule that accepts complex numbers throughout."""
    from graphbp_numpy.executable import NumpyExecutable

    def row(h):
        if h.name not in STAND_IN:
            return h
        f, df = STAND_IN[h.name]
        return dataclasses.replace(h, f=f, df=df)

    schedule = dataclasses.replace(net.schedule.live, activations=tuple(row(h) for h in net.schedule.activations))
    return NumpyExecutable(schedule, net.error_function, net.dtype)


def complex_step_hessian(net, X, T, s=None, eps=1e-100):
    run, theta = with_stand_ins(net), net.weights.astype(complex)
    out = np.empty((len(theta), len(theta)))
    for a in range(len(theta)):
        moved = theta.copy()
        moved[a] += 1j * eps
        out[:, a] = run.error_and_gradient(moved, X.astype(complex), T, s)[1].imag / eps
    return out


def complex_step_along(net, X, V, U, v, eps=1e-100):
    """∂/∂x and ∂/∂θ of ⟨V, ∂y (U, v)⟩: how Vᵀ ∂y changes along (U, v)."""
    by_x, by_theta = with_stand_ins(net).vjp(net.weights + 1j * eps * v, X + 1j * eps * U, V.astype(complex))
    return by_x.imag / eps, by_theta.imag / eps


def stacked_rows_hessian(net, X, T, s=None, eps=1e-100):
    """Σ_n s_n J_nᵀ Λ_n J_n with J = ∂a/∂θ at the outputs by the complex step, and Λ = P diag(e'') P or the canonical P."""
    run, theta = with_stand_ins(net), net.weights.astype(complex)
    w = len(theta)
    rows = net.schedule.live.output_rows
    J = np.empty((len(X), len(rows), w))
    for a in range(w):
        moved = theta.copy()
        moved[a] += 1j * eps
        J[:, :, a] = run.program.forward(run.map.expand(moved), X.T.astype(complex))[0][rows].T.imag / eps
    a0, z0 = run.program.forward(run.map.expand(net.weights), X.T)
    out = np.zeros((w, w))
    for head in run.heads:
        at = rows[head.positions]
        value = head.gauss_newton(a0[at], z0[at], T.T[head.positions])
        if value.ndim == 2:
            value = np.einsum("kn,kl->kln", value, np.eye(len(value)))
        value = value if s is None else value * s
        out += np.einsum("nka,kln,nlb->ab", J[:, head.positions], value, J[:, head.positions], optimize=True)
    return out


def targets(rng, net, n):
    kind = net.error_function.targets
    k = net.schedule.n_outputs
    if kind == "distribution":
        t = np.zeros((n, k))
        covered = np.zeros(k, bool)
        for group in net.schedule.softmax_groups:
            t[:, group] = rng.dirichlet(np.ones(len(group)), n)
            covered[group] = True
        t[:, ~covered] = rng.uniform(0.1, 0.9, (n, int((~covered).sum())))
        return t
    return rng.normal(size=(n, k)) if kind == "real" else rng.uniform(0.1, 0.9, (n, k))


def output_activation(rng, error):
    """One whose range the error accepts; canonical or not."""
    return {
        "sum_of_squares": ["identity", "tanh", "sin", "softmax", "sigmoid"],
        "binary_cross_entropy": ["sigmoid", "gaussian", "softmax"],  # gaussian: 0 < y < 1 given the bias in DOMAIN
        "cross_entropy": ["softmax", "sigmoid", "exp"],
        "poisson": ["exp", "softplus", "sigmoid"],
    }[error][int(rng.integers(3))]


def random_network(seed: int, error: str = "sum_of_squares", activations=None, layers: bool = False, ties: bool = True):
    """A seeded DAG of units, and with `layers` of layer nodes too: skips, frozen and tied weights, outputs that feed others."""
    rng = np.random.default_rng(seed)
    names = activations or ACTIVATIONS
    g = nx.DiGraph()
    nodes: list[tuple[str, int]] = []
    for i in range(int(rng.integers(1, 4))):
        units = int(rng.integers(1, 7)) if layers else 1
        g.add_node(f"x{i}", units=units)
        nodes.append((f"x{i}", units))
    hidden = int(rng.integers(2, 9))
    inner = output_activation(rng, error)
    width_out = int(rng.integers(2, 5)) if layers else 1
    for i in range(hidden + 2):
        last = i >= hidden
        name = f"y{i}" if last else f"h{i}"
        units = width_out if last else int(rng.integers(1, 9)) if layers and rng.random() < 0.7 else 1
        kind = inner if last else str(rng.choice(names))
        domain = DOMAIN.get(kind)
        g.add_node(name, units=units, activation=kind)
        if last:
            g.nodes[name]["role"] = "output"
        if domain is not None:
            g.nodes[name].update(bias=domain, trainable=False)
        elif rng.random() < 0.7:
            g.nodes[name]["bias"] = float(rng.normal() * 0.3) if rng.random() < 0.5 else rng.normal(size=units) * 0.3
            if rng.random() < 0.2:
                g.nodes[name]["trainable"] = False
        sources = [node for node in nodes if g.nodes[node[0]].get("activation") != "softmax"]
        for k in rng.permutation(len(sources))[: int(rng.integers(1, min(len(sources), 5) + 1))]:
            source, width = sources[k]
            scale = 0.9 / np.sqrt(3 * width)
            if units == 1 and width == 1:
                weight = float(rng.uniform(-scale, scale))
            elif rng.random() < 0.4:
                weight = sparse.random_array(
                    (units, width), density=0.5, rng=rng, data_sampler=lambda size: rng.uniform(-0.5, 0.5, size)
                )
                weight = sparse.csr_matrix(weight)
            else:
                weight = rng.uniform(-scale, scale, (units, width))
            g.add_edge(source, name, weight=weight)
            if rng.random() < 0.15:
                g.edges[source, name]["trainable"] = False
        nodes.append((name, units))
    if ties:
        tie_some(rng, g)
    return gb.Network(g, error=error, backend="numpy")


def tie_some(rng, g):
    scalar = [(u, v) for u, v, d in g.edges(data=True) if isinstance(d["weight"], float) and d.get("trainable", True)]
    if len(scalar) >= 4 and rng.random() < 0.5:
        chosen = [scalar[k] for k in rng.permutation(len(scalar))[: int(rng.integers(2, 4))]]
        value = float(rng.uniform(-0.5, 0.5))
        for u, v in chosen:
            g.edges[u, v].update(tie="shared", weight=value)


def batch(net, seed, n=5):
    rng = np.random.default_rng([seed, 1])
    X = rng.normal(size=(n, net.schedule.n_inputs))
    return np.clip(X, -2, 2), targets(rng, net, n), rng.uniform(0.2, 2.0, n)


def well_posed(net, X):
    """Inside every domain and away from poles (log at 0, 1 / (1 − y) at y = 1), where any two computations would differ by rounding."""
    run = net.to(backend="numpy").model.run
    with np.errstate(all="ignore"):
        a = run.trace(net.weights, X, np.full((len(X), net.schedule.n_outputs), 0.5), None).a
        y = run.forward(net.weights, X)
    poles = np.array([h.name in ("log", "sqrt", "rsqrt", "reciprocal") for h in net.schedule.activations])[
        net.schedule.live.row_activation
    ]
    inside = np.isfinite(a).all() and np.abs(a).max() < 20 and (a[poles] > 0.3).all()
    return inside and (net.error_function.targets == "real" or ((y > 0.01).all() and (y < 0.99).all()))


def worst(found, expected):
    return float(np.max(np.abs(found - expected), initial=0.0) / max(1e-30, np.max(np.abs(expected), initial=0.0), 1e-6))


def assert_close(found, expected):
    assert np.isfinite(expected).all(), "the oracle left the domain: this case tests nothing"
    assert worst(found, expected) < TOLERANCE


networks = st.builds(random_network, st.integers(0, 2**31), st.sampled_from(ERRORS), st.none(), st.booleans())


@drawn(60)
@given(networks, st.integers(0, 1000))
def test_exact_hessian_is_the_complex_step_of_the_gradient(net, seed):
    X, T, s = batch(net, seed)
    assume(well_posed(net, X))
    H = net.hessian(X, T, s)
    assert np.array_equal(H, H.T)
    assert_close(H, complex_step_hessian(net, X, T, s))


@drawn(60)
@given(networks, st.integers(0, 1000))
def test_outer_product_is_the_stacked_rows(net, seed):
    X, T, s = batch(net, seed)
    assume(well_posed(net, X))
    H = net.outer_product_hessian(X, T, s)
    assert np.array_equal(H, H.T)
    assert_close(H, stacked_rows_hessian(net, X, T, s))


@drawn(60)
@given(networks, st.integers(0, 1000))
def test_diagonal_and_products_are_those_of_the_matrix(net, seed):
    X, T, s = batch(net, seed)
    assume(well_posed(net, X))
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(net.n_parameters, 3))
    H, outer = net.hessian(X, T, s), net.outer_product_hessian(X, T, s)
    assert_close(net.hessian_diagonal(X, T, s), H.diagonal())
    assert_close(net.hessian_operator(X, T, s).matmat(V), H @ V)
    assert_close(net.outer_product_operator(X, T, s).matmat(V), outer @ V)


@drawn(60)
@given(networks, st.integers(0, 1000))
def test_second_derivatives_by_inputs_are_the_complex_step_of_the_jacobian(net, seed):
    X, _, _ = batch(net, seed)
    assume(well_posed(net, X))
    run, eye = with_stand_ins(net), 1e-100j * np.eye(X.shape[1])
    expected = np.stack([run.jacobian(net.weights.astype(complex), X + step).imag for step in eye], axis=-1) / 1e-100
    H = net.input_hessian(X)
    assert np.array_equal(H, H.swapaxes(2, 3))
    assert_close(H, expected)
    V = np.random.default_rng(seed).normal(size=(len(X), H.shape[1]))
    assert_close(net.input_hessian(X, V), np.einsum("nk,nkil->nil", V, expected))
    assert_close(net.input_hessian_diagonal(X), np.einsum("nkii->nki", expected))
    assert_close(net.input_hessian_diagonal(X, V), np.einsum("nk,nkii->ni", V, expected))
    assert_close(net.laplacian(X), np.einsum("nkii->nk", expected))


@drawn(60)
@given(networks, st.integers(0, 1000))
def test_products_along_inputs_and_weights_are_complex_steps(net, seed):
    X, T, s = batch(net, seed)
    assume(well_posed(net, X))
    rng = np.random.default_rng(seed)
    V, U, v = rng.normal(size=T.shape), rng.normal(size=X.shape), rng.normal(size=net.n_parameters)
    for found, expected in zip(net.second_order_product(X, V, U, v), complex_step_along(net, X, V, U, v), strict=True):
        assert_close(found, expected)
    assert_close(net.input_hvp(X, V, U), complex_step_along(net, X, V, U, 0 * v)[0])
    along = with_stand_ins(net).error_and_gradient(net.weights.astype(complex), X + 1e-100j * U, T, s)[1].imag / 1e-100
    assert_close(net.mixed_vjp(X, T, U, s), along)
    pull = net.mixed_jvp(X, T, v, s)
    assert abs((pull * U).sum() - along @ v) < TOLERANCE * (np.abs(pull * U).sum() + np.abs(along * v).sum() + 1e-6)


@pytest.mark.sampled
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_with_every_error(activation, error):
    tried = 0
    for seed in range(20):
        net = random_network(seed, error, [activation], layers=bool(seed % 2))
        X, T, s = batch(net, seed)
        if well_posed(net, X):
            assert_close(net.hessian(X, T, s), complex_step_hessian(net, X, T, s))
            tried += 1
        if tried == 3:
            return
    pytest.fail(f"only {tried} of 20 networks were well posed")
