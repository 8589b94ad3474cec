"""The inverse of the outer product with a prior against 50-digit arithmetic: raw units, tiny priors, too few rows, saturated outputs."""

from __future__ import annotations

import tracemalloc

import mpmath
import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.second_order.inverse import DenseInverse, LowRankInverse, SequentialInverse
from graphbp.second_order.roots import RowStack, Span, singular_values
from graphbp.uncertainty.inverse import outer_product_rows

METHODS = ["sequential", "cholesky", "low_rank", "auto"]


def exact(rows: np.ndarray, alpha: float, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(v H⁻¹ vᵀ, H⁻¹ vᵀ, H⁻¹, ln|H|) of H = αI + BᵀB."""
    with mpmath.workdps(60):
        b, w = mpmath.matrix(rows.tolist()), rows.shape[1]
        h = b.T * b + mpmath.mpf(alpha) * mpmath.eye(w)
        inverse, right = h**-1, mpmath.matrix(v.tolist()).T
        solved = inverse * right
        parts = [np.array(m.tolist(), float) for m in (right.T * solved, solved, inverse)]
        return *parts, float(mpmath.log(mpmath.det(h)))


def inverses(rows: np.ndarray, alpha: float) -> dict[str, object]:
    stack, one = RowStack(rows.shape[1]), SequentialInverse(rows.shape[1], alpha)
    stack.add(rows)
    for row in rows:
        one.update(row)
    return {"cholesky": DenseInverse(stack, alpha), "sequential": one, "low_rank": LowRankInverse(Span(rows), alpha)}


def drawn(seed: int) -> tuple[np.ndarray, float]:
    """Rows whose columns span up to ten orders of magnitude, some twice, nearly twice, or 0, and a prior."""
    rng = np.random.default_rng(seed)
    n, w = int(rng.integers(1, 9)), int(rng.integers(1, 7))
    columns, each = rng.choice([0, 2, 5, 10]), rng.choice([0, 0, 4, 10])
    rows = rng.normal(size=(n, w)) * 10.0 ** rng.uniform(-columns / 2, columns / 2, w) * 10.0 ** rng.uniform(-each, 0, (n, 1))
    kind = rng.choice(["plain", "twice", "nearly twice", "zero"])
    if kind == "twice" and n > 1:
        rows[1] = rows[0]
    if kind == "nearly twice" and n > 1:
        rows[1] = rows[0] * (1 + 1e-5 * rng.normal(size=w))
    if kind == "zero":
        rows[0] = 0
    return rows, float(10.0 ** rng.uniform(-12, 6))


@pytest.mark.parametrize("seed", range(40))
def test_drawn_rows_against_fifty_digits(seed):
    rows, alpha = drawn(seed)
    v = np.vstack([rows, np.random.default_rng(seed).normal(size=(2, rows.shape[1])) * np.abs(rows).max(axis=0)])
    quadratic, _, inverse, log_determinant = exact(rows, alpha, v)
    for name, found in inverses(rows, alpha).items():
        assert found.quadratic(v).diagonal() == pytest.approx(quadratic.diagonal(), rel=1e-10, abs=0), name
        assert found.diagonal() == pytest.approx(inverse.diagonal(), rel=1e-10, abs=0), name
        root = found.root if hasattr(found, "root") else found
        assert root.log_determinant == pytest.approx(log_determinant, rel=1e-11, abs=1e-11), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_rows_in_raw_units_keep_their_digits(method, dtype):
    """x_nᵀ(αI + XᵀX)⁻¹x_n, where 1/α (1 − …) has no digit left."""
    X = np.array([[1, 1e5, 1, 0], [1, 2e5, 0, 1], [1, 3.1e5, 1, 1]])
    g = nx.DiGraph()
    g.add_weighted_edges_from([(name, "y", 0.1) for name in "abcd"])
    net = gb.Network(g, backend="numpy", dtype=dtype)
    inverse = net.outer_product_inverse(X, [0, 0, 0], 1e-6, method=method)
    quadratic, solved, dense, _ = exact(X, 1e-6, X)
    assert inverse.quadratic(X) == pytest.approx(quadratic, rel=1e-9, abs=1e-9)
    assert inverse.quadratic(X).diagonal() == pytest.approx([0.999999] * 3, abs=2e-6)
    assert inverse.solve(X.T) == pytest.approx(solved, rel=1e-8, abs=1e-8)
    assert inverse.diagonal() == pytest.approx(dense.diagonal(), rel=1e-10)
    assert inverse.dense() == pytest.approx(dense, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_saturated_sigmoid(method):
    """Λ = y(1 − y) of e⁻⁴⁰, where 1 − y is 0 in float64."""
    g = nx.DiGraph()
    g.add_node("y", activation="sigmoid", bias=0.0)
    g.add_edge("x", "y", weight=1.0)
    net = gb.Network(g, error="binary_cross_entropy", backend="numpy")
    X = np.array([[40.0], [-35.0], [50.0], [0.5]])
    e = np.exp(-np.abs(X))
    design = np.ones((4, 2))
    design[:, net.parameter_index("x", "y")] = X
    rows = np.sqrt(e) / (1 + e) * design
    alpha = 1e-17
    quadratic = exact(rows, alpha, design)[0]
    found = net.outer_product_inverse(X, [1.0, 0.0, 1.0, 1.0], alpha, method=method).quadratic(design)
    assert found.diagonal() == pytest.approx(quadratic.diagonal(), rel=1e-12)
    length = np.sqrt(quadratic.diagonal())  # |v H⁻¹ u| is at most the product of two of these
    assert found / length / length[:, None] == pytest.approx(quadratic / length / length[:, None], abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_softmax_all_of_whose_samples_are_sure(method):
    """Λ = diag(y) − yyᵀ of classes ahead by 40: rows √y_k (J_k − Σ y_c J_c)."""
    net = gb.Network(gb.layered([1, 3], output_activation="softmax"), error="cross_entropy", backend="numpy")
    net.weights = np.array([0.0, -20.0, -25.0, 0.0, -20.0, -20.0])
    X = np.array([[1.0], [0.8], [1.2]])
    J = np.stack([np.kron(np.eye(3), x) for x in X])
    J = np.concatenate([J, np.broadcast_to(np.eye(3), (3, 3, 3))], axis=2)
    with mpmath.workdps(60):
        h = mpmath.mpf(1e-18) * mpmath.eye(6)
        for n in range(3):
            a = [mpmath.mpf(float(v)) for v in J[n] @ net.weights]
            e = [mpmath.exp(each) for each in a]
            y = [each / mpmath.fsum(e) for each in e]
            j = mpmath.matrix(J[n].tolist())
            h += j.T * (mpmath.diag(y) - mpmath.matrix(y) * mpmath.matrix(y).T) * j
        expected = np.array((h**-1).tolist(), float)
    inverse = net.outer_product_inverse(X, [0, 0, 0], 1e-18, method=method)
    assert inverse.diagonal() == pytest.approx(expected.diagonal(), rel=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_samples_of_weight_zero_have_no_part(method):
    net = gb.Network(gb.layered([2, 3, 1], activation="exp", seed=0), backend="numpy")
    X, t = np.array([[0.1, 0.2], [900.0, 900.0], [-0.3, 0.4]]), np.zeros(3)
    with np.errstate(all="ignore"):
        weighted = net.outer_product_inverse(X, t, 0.5, [1.0, 0.0, 2.0], method=method)
    without = net.outer_product_inverse(X[[0, 2]], t[:2], 0.5, [1.0, 2.0], method=method)
    assert np.array_equal(weighted.diagonal(), without.diagonal())
    nothing = net.outer_product_inverse(X[:1], t[:1], 0.5, [0.0], method=method)
    assert nothing.dense() == pytest.approx(2 * np.eye(net.n_parameters), rel=1e-14)


def test_many_rows_are_folded_and_change_nothing():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(90, 5)) * [1, 1e6, 1e-4, 1, 1e3]
    expected = exact(rows, 1e-3, rows[:4])[0]
    stream = SequentialInverse(5, 1e-3)
    stream._rows._limit = 12
    for start in range(0, 90, 7):
        stream.update(rows[start : start + 7])
    assert len(stream._rows.rows) <= 12 + 7
    assert stream.quadratic(rows[:4]) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_singular_values_far_apart_keep_their_digits():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(7, 4)) * [1e10, 1.0, 1e-5, 1e3]
    with mpmath.workdps(60):
        b = mpmath.matrix(rows.tolist())
        expected = sorted((float(mpmath.sqrt(v)) for v in mpmath.eigsy(b.T * b, eigvals_only=True)), reverse=True)
    assert singular_values(rows) == pytest.approx(expected, rel=1e-12)
    assert np.array_equal(singular_values(np.zeros((3, 2))), [0, 0])


def test_an_output_that_feeds_others_has_an_inverse_too():
    g = nx.DiGraph()
    g.add_node("p", activation="sigmoid", bias=0.3, role="output")
    g.add_node("q", activation="sigmoid", bias=-0.2, role="output")
    g.add_weighted_edges_from([("x", "p", 1.0), ("p", "q", 2.0), ("x", "q", 0.5)])
    net = gb.Network(g, error="binary_cross_entropy", backend="numpy")
    X, T = np.array([[0.4], [-1.0], [2.0]]), np.array([[1.0, 0.0]] * 3)
    rows = outer_product_rows(net, X, T)
    assert rows.T @ rows == pytest.approx(net.outer_product_hessian(X, T), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf"), 1e-320, "1", None, 1j])
@pytest.mark.parametrize("method", METHODS)
def test_a_prior_that_is_none_is_refused(method, alpha):
    net = gb.Network(nx.DiGraph([("x", "y", {"weight": 0.5})]), backend="numpy")
    with pytest.raises(gb.DataError, match=r"alpha=.* must be a (positive|finite) number"):
        net.outer_product_inverse([[1.0]], [[0.0]], alpha, method=method)


def test_rows_of_another_length_are_refused():
    inverse = SequentialInverse(3, 1.0)
    for call in (inverse.update, inverse.quadratic, inverse.solve):
        with pytest.raises(gb.DataError, match="3 parameters"):
            call(np.ones(2))
        with pytest.raises(gb.DataError, match="finite"):
            call(np.array([1.0, np.nan, 0.0]))


@pytest.mark.parametrize("method", ["sequential", "cholesky", "low_rank"])
def test_memory_is_refused_before_it_is_taken(method):
    net = gb.Network(gb.layered([30, 20, 1]), backend="numpy")
    X = np.ones((10, 30))
    memory = 8 * net.n_parameters * (10 if method == "low_rank" else net.n_parameters)
    with gb.config(memory=memory), pytest.raises(gb.MemoryLimitError, match=r"method="):
        net.outer_product_inverse(X, np.ones(10), 1.0, method=method)


@pytest.mark.parametrize("n", [50, 400, 2500])
@pytest.mark.parametrize("method", ["sequential", "cholesky", "low_rank"])
def test_what_is_asked_for_is_the_peak(method, n, monkeypatch):
    asked = []
    monkeypatch.setattr("graphbp.second_order.inverse.check_memory", lambda size, *_: asked.append(size))
    monkeypatch.setattr("graphbp.uncertainty.outputs.CHUNK_BYTES", 1 << 20)
    net = gb.Network(gb.layered([20, 18, 1]), backend="numpy")
    X = np.random.default_rng(0).normal(size=(n, 20))
    net.outer_product_inverse(X[:9], np.zeros(9), 1.0, method=method).diagonal()  # imports, schedules
    asked.clear()
    tracemalloc.start()
    try:
        inverse = net.outer_product_inverse(X, np.zeros(n), 1.0, method=method)
        inverse.quadratic(np.ones(net.n_parameters))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(asked) / 6 < peak < max(asked)


@pytest.mark.parametrize("method", ["auto", "sequential", "cholesky", "low_rank"])
def test_the_inverse_of_no_parameters_is_empty(method):
    g = nx.DiGraph([("x", "y", {"weight": 1.0, "trainable": False})])
    inverse = gb.Network(g, backend="numpy").outer_product_inverse([[1.0], [2.0]], [1.0, 2.0], 1.0, method=method)
    assert inverse.solve(np.empty(0)).shape == (0,)
    assert np.array_equal(inverse.quadratic(np.empty((2, 0))), np.zeros((2, 2)))
    assert (inverse.diagonal().shape, inverse.dense().shape) == ((0,), (0, 0))


@pytest.mark.parametrize("v", [1j * np.ones(9), None, "a", 3.0, np.ones(4), np.ones((2, 3, 4)), np.full(9, np.nan)])
@pytest.mark.parametrize("method", ["sequential", "cholesky", "low_rank"])
def test_what_is_no_vector_is_refused_by_name(method, v):
    inverse = gb.Network(gb.layered([2, 2, 1]), backend="numpy").outer_product_inverse(
        np.ones((3, 2)), np.zeros(3), 1.0, method=method
    )
    with pytest.raises(gb.DataError, match=r"^v "):
        inverse.solve(v)
    with pytest.raises(gb.DataError, match=r"^rows "):
        inverse.quadratic(v)


@pytest.mark.parametrize("method", ["cholesky", "sequential", "low_rank"])
def test_solve_in_the_span_of_raw_rows_keeps_its_digits(method):
    """By fifty digits: x is some 1e-9 of what it is the difference of."""
    X = np.array([[1.0, 1e5, 1e-5, 0.0], [1.0, 2e5, 0.0, 3e-5], [1.0, 3.1e5, 1e-5, 1e-5]])
    net = gb.Network(gb.from_edges(list("abcd"), ["y"] * 4, [0.0] * 4), backend="numpy")
    solved = exact(X, 1e-10, X[1:2])[1][:, 0]
    found = net.outer_product_inverse(X, np.zeros(3), 1e-10, method=method).solve(X[1])
    assert found == pytest.approx(solved, rel=1e-10)


@pytest.mark.parametrize("method", ["cholesky", "sequential", "low_rank"])
def test_weights_that_are_all_zero_leave_the_prior(method):
    """Also where the first row overflows."""
    net = gb.Network(gb.layered([1, 1], seed=0, output_activation="exp"), error="poisson", backend="numpy")
    inverse = net.outer_product_inverse([[1e5], [1.0]], [1.0, 1.0], 4.0, [0.0, 0.0], method=method)
    assert inverse.dense() == pytest.approx(np.eye(2) / 4)
