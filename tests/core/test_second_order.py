"""Second order: closed forms, structure, operators in SciPy's solvers, inverses, estimates, refusals, planted faults."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse.linalg import cg, eigsh

import graphbp as gb
from graphbp.error_functions import ErrorFunction
from graphbp.second_order import assembly, hessian, stacked
from graphbp.second_order.estimates import hutchinson
from graphbp.second_order.inverse import SequentialInverse
from graphbp.second_order.operators import symmetric_operator
from graphbp.second_order.plan import HessianPlan
from graphbp.uncertainty.inverse import outer_product_inverse, outer_product_rows


def chain(kind="tanh"):
    g = nx.DiGraph()
    g.add_node("h", activation=kind, bias=0.2)
    g.add_weighted_edges_from([("x", "h", 0.7), ("h", "y", -1.3)])
    return gb.Network(g, backend="numpy")


def irregular(seed=0, hidden=12, error="sum_of_squares", output="identity", dtype="float64"):
    """Sparse units with skips above a dense pair of layers: every path of the assembly."""
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    g.add_node("x", units=6)
    g.add_node("wide", units=7, activation="tanh", bias=rng.normal(size=7))
    g.add_edge("x", "wide", weight=rng.normal(size=(7, 6)) / 3)
    g.add_node("deep", units=5, activation="sigmoid", bias=rng.normal(size=5))
    g.add_edge("wide", "deep", weight=rng.normal(size=(5, 7)) / 3)
    g.add_edge("x", "deep", weight=rng.normal(size=(5, 6)) / 3)
    g.add_node("side", activation="tanh", bias=0.2)  # of the level of "wide", but of no dense block
    g.add_edge("x", "side", weight=rng.normal(size=(1, 6)) / 3)
    names = ["side"]
    for i in range(hidden):
        g.add_node(i, activation="tanh", bias=float(rng.normal()))
        for name, units in (("wide", 7), ("deep", 5)):
            if rng.random() < 0.6:
                g.add_edge(name, i, weight=rng.normal(size=(1, units)) / 3)
        for other in names[-4:]:
            if rng.random() < 0.5 or not list(g.predecessors(i)):
                g.add_edge(other, i, weight=float(rng.normal()) / 2)
        if not list(g.predecessors(i)):
            g.add_edge("deep", i, weight=rng.normal(size=(1, 5)) / 3)
        names.append(i)
    g.add_node("y", units=3, activation=output, bias=rng.normal(size=3), role="output")
    g.add_edge("deep", "y", weight=rng.normal(size=(3, 5)) / 3)
    for i in names:
        g.add_edge(i, "y", weight=rng.normal(size=(3, 1)) / 3)
    return gb.Network(g, error=error, backend="numpy", dtype=dtype)


def scattered(error="sum_of_squares", output="identity", hidden=40, dtype="float64"):
    """Units one by one, most of which lead to some of the three outputs only, and some to none."""
    rng = np.random.default_rng(4)
    g = nx.DiGraph()
    for i in range(4):
        g.add_node(("x", i), role="input")
    for i in range(hidden):
        g.add_node(i, activation="tanh", bias=float(rng.normal()))
        before = [("x", k) for k in range(4)] + [k for k in range(max(0, i - 6), i) if k % 3 == i % 3 or k < 3]
        for k in rng.permutation(len(before))[:4]:
            g.add_edge(before[k], i, weight=float(rng.normal()) / 2)
    for k in range(3):
        g.add_node(("y", k), activation=output, bias=0.1 * k, role="output")
        for i in (hidden - 6 + k, hidden - 9 + k, k):
            g.add_edge(i, ("y", k), weight=float(rng.normal()) / 2)
    return gb.Network(g, error=error, backend="numpy", dtype=dtype)


def data(net, n=20, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, net.schedule.n_inputs))
    if net.error_function.targets == "distribution":
        return X, rng.dirichlet(np.ones(net.schedule.n_outputs), n)
    return X, rng.normal(size=(n, net.schedule.n_outputs))


# -- closed forms --------------------------------------------------------------------------------------------------------


def test_chain_by_hand():
    """E = ½ (v tanh(w x + b) − t)²: every second derivative written out."""
    net = chain()
    x, t = 0.9, 0.4
    w, b, v = net.weights[net.parameter_index("x", "h")][0], 0.2, -1.3
    z = np.tanh(w * x + b)
    d1, d2 = 1 - z * z, -2 * z * (1 - z * z)
    e = v * z - t
    wa = np.array([x, 1.0])  # ∂a/∂(w, b)
    expected = np.empty((3, 3))
    order = [net.parameter_index("x", "h").start, net.parameter_index("h").start, net.parameter_index("h", "y").start]
    expected[:2, :2] = ((v * d1) ** 2 + e * v * d2) * np.outer(wa, wa)
    expected[:2, 2] = expected[2, :2] = (v * d1 * z + e * d1) * wa
    expected[2, 2] = z * z
    H = net.hessian([[x]], [[t]])
    np.testing.assert_allclose(H[np.ix_(order, order)], expected, rtol=1e-14, atol=1e-15)
    gn = np.append(v * d1 * wa, z)
    outer = net.outer_product_hessian([[x]], [[t]])
    np.testing.assert_allclose(outer[np.ix_(order, order)], np.outer(gn, gn), rtol=1e-14, atol=1e-15)


def test_linear_model_is_the_normal_matrix():
    g = nx.DiGraph()
    g.add_node("x", units=4)
    g.add_node("y", units=2, bias=np.zeros(2))
    g.add_edge("x", "y", weight=np.ones((2, 4)))
    net = gb.Network(g, backend="numpy")
    rng = np.random.default_rng(0)
    X, s = rng.normal(size=(9, 4)), rng.uniform(0.5, 2, 9)
    normal = (X * s[:, None]).T @ X
    H = net.hessian(X, np.zeros((9, 2)), s)
    index = net.parameter_index("x", "y")
    np.testing.assert_allclose(H[index, index], np.kron(np.eye(2), normal), rtol=1e-13)
    np.testing.assert_allclose(H, net.outer_product_hessian(X, np.zeros((9, 2)), s), rtol=1e-13)


def test_kinks_give_the_almost_everywhere_hessian():
    """relu has no curvature of its own: H is the outer product plus the path terms."""
    net = chain("relu")
    H = net.hessian([[1.0]], [[0.0]])
    w, v, z = 0.7, -1.3, 0.9
    order = [net.parameter_index("x", "h").start, net.parameter_index("h", "y").start]
    np.testing.assert_allclose(H[np.ix_(order, order)], [[v * v, 2 * v * z], [2 * v * z, z * z]], rtol=1e-14)
    assert w > 0


# -- structure -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "output"), [("sum_of_squares", "identity"), ("cross_entropy", "softmax"), ("sum_of_squares", "softmax")]
)
def test_parts_are_those_of_the_matrix(error, output):
    net = irregular(error=error, output=output)
    X, T = data(net)
    for kind, full in (("exact", net.hessian(X, T)), ("outer_product", net.outer_product_hessian(X, T))):
        assert np.array_equal(full, full.T)
        seen = np.zeros(net.n_parameters, int)
        for blocks in net.hessian_blocks(X, T, kind=kind).values():
            for index, block in zip(blocks.index, blocks.block, strict=True):
                index = index[index >= 0]
                seen[index] += 1
                np.testing.assert_allclose(block[: len(index), : len(index)], full[np.ix_(index, index)], rtol=1e-12, atol=1e-13)
                assert np.array_equal(block, block.T)
        assert (seen == 1).all()
    np.testing.assert_allclose(net.hessian_diagonal(X, T), net.hessian(X, T).diagonal(), rtol=1e-12, atol=1e-13)


def test_ties_and_frozen_weights_are_ct_h_c():
    """The tied network's Hessian is CᵀHC of the free one's; its diagonal and blocks have the cross terms."""
    free = irregular()
    g = free.to_networkx()
    g.edges["x", "wide"]["trainable"] = False
    g.nodes["deep"]["trainable"] = False
    singles = [(u, v) for u, v, d in g.edges(data=True) if isinstance(d["weight"], float)][:6]
    for u, v in singles:
        g.edges[u, v].update(weight=0.3, tie="a")
    tied = gb.Network(g, backend="numpy")
    for u, v in singles:
        free.weights[free.parameter_index(u, v)] = 0.3
    C = np.zeros((free.n_parameters, tied.n_parameters))
    for u, v, d in g.edges(data=True):
        if d.get("trainable", True):
            mine, theirs = free.parameter_index(u, v), tied.parameter_index(u, v)
            C[np.arange(mine.start, mine.stop), np.arange(theirs.start, theirs.stop)] = 1
    for v, d in g.nodes(data=True):
        if d.get("bias") is not None and d.get("trainable", True):
            mine, theirs = free.parameter_index(v), tied.parameter_index(v)
            C[np.arange(mine.start, mine.stop), np.arange(theirs.start, theirs.stop)] = 1
    X, T = data(free)
    expected = C.T @ free.hessian(X, T) @ C
    H = tied.hessian(X, T)
    np.testing.assert_allclose(H, expected, rtol=1e-11, atol=1e-12)
    assert np.array_equal(H, H.T)
    np.testing.assert_allclose(tied.outer_product_hessian(X, T), C.T @ free.outer_product_hessian(X, T) @ C, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(tied.hessian_diagonal(X, T), H.diagonal(), rtol=1e-11, atol=1e-12)
    for blocks in tied.hessian_blocks(X, T).values():
        for index, block in zip(blocks.index, blocks.block, strict=True):
            index = index[index >= 0]
            np.testing.assert_allclose(block[: len(index), : len(index)], H[np.ix_(index, index)], rtol=1e-11, atol=1e-12)


def test_relabelling_permutes_the_hessian():
    net = irregular()
    X, T = data(net)
    g = net.to_networkx()
    shuffled = nx.DiGraph()
    names = list(g.nodes)
    order = [names[k] for k in np.random.default_rng(3).permutation(len(names))]
    for name in order:
        shuffled.add_node(("n", name), **g.nodes[name])
    for v in order:
        for u in sorted(g.predecessors(v), key=str):
            shuffled.add_edge(("n", u), ("n", v), **g.edges[u, v])
    other = gb.Network(shuffled, backend="numpy")
    where = np.empty(net.n_parameters, int)
    for u, v in g.edges:
        where[net.parameter_index(u, v)] = np.arange(other.n_parameters)[other.parameter_index(("n", u), ("n", v))]
    for v, d in g.nodes(data=True):
        if d.get("bias") is not None:
            where[net.parameter_index(v)] = np.arange(other.n_parameters)[other.parameter_index(("n", v))]
    np.testing.assert_allclose(other.hessian(X, T)[np.ix_(where, where)], net.hessian(X, T), rtol=1e-11, atol=1e-12)


def test_tiles_of_any_size_give_the_same(monkeypatch):
    """Small limits: many sample tiles, column tiles, chunks of pairs and of the stack, against one tile of everything."""
    net = irregular()
    X, T = data(net, n=90)
    exact, outer, diagonal = net.hessian(X, T), net.outer_product_hessian(X, T), net.hessian_diagonal(X, T)
    monkeypatch.setattr(hessian, "MAX_SAMPLES", 40)
    monkeypatch.setattr(hessian, "TILE_BYTES", 8 * 40 * 31 * 2)
    monkeypatch.setattr(assembly, "WORK", 40 * 11)
    monkeypatch.setattr(assembly, "STACK", 40 * 7)
    for found, expected in ((net.hessian(X, T), exact), (net.outer_product_hessian(X, T), outer)):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
        assert np.array_equal(found, found.T)
    np.testing.assert_allclose(net.hessian_diagonal(X, T), diagonal, rtol=1e-11, atol=1e-12)


CAUCHY = ErrorFunction(
    "test.cauchy",
    lambda y, t: np.log1p((y - t) ** 2 / 2),
    lambda y, t: (y - t) / (1 + (y - t) ** 2 / 2),
    lambda y, t: (1 - (y - t) ** 2 / 2) / (1 + (y - t) ** 2 / 2) ** 2,  # negative at large residuals, and so is Λ
)


ERRORS = pytest.mark.parametrize(
    ("error", "output"),
    [
        ("sum_of_squares", "identity"),
        ("sum_of_squares", "tanh"),
        ("binary_cross_entropy", "sigmoid"),
        ("cross_entropy", "softmax"),
        ("sum_of_squares", "softmax"),
        (CAUCHY, "tanh"),
    ],
    ids=lambda name: getattr(name, "name", name),
)


def weighted_data(net, n=50):
    """Targets that suit the error (for CAUCHY, far enough for a negative curvature), and sample weights, some of them 0."""
    X, T = data(net, n)
    if net.error_function.targets == "probability":
        T = (T > 0).astype(float)
    if net.error_function is CAUCHY:
        T *= 4
        assert (CAUCHY.d2y(net.forward(X), T) < 0).any()
    s = np.random.default_rng(2).uniform(0.5, 2, n)
    s[:7] = 0
    return X, T, s


@pytest.mark.parametrize("build", [irregular, scattered])
@ERRORS
def test_single_units_take_part_where_they_lead(build, error, output, monkeypatch):
    """Against products with unit vectors, which know nothing of the plan; again in many small pieces."""
    net = build(error=error, output=output)
    X, T, s = weighted_data(net)
    exact, outer = (op(X, T, s) @ np.eye(net.n_parameters) for op in (net.hessian_operator, net.outer_product_operator))
    monkeypatch.setattr(hessian, "pays", lambda plan: False)
    for small in (False, True):
        if small:
            monkeypatch.setattr(hessian, "FINE_SAMPLES", 9)
            monkeypatch.setattr(assembly, "WORK", 40 * 11)
            monkeypatch.setattr(assembly, "SMALL", 100)
            monkeypatch.setattr(assembly, "STACK", 33 * 5)
        for found, expected in ((net.hessian(X, T, s), exact), (net.outer_product_hessian(X, T, s), outer)):
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
            np.testing.assert_array_equal(found, found.T)
        np.testing.assert_allclose(net.hessian_diagonal(X, T, s), exact.diagonal(), rtol=1e-11, atol=1e-12)
    monkeypatch.setattr(hessian, "OwnCurvature", hessian.OwnAssembly)  # a backend that gives columns of B only
    np.testing.assert_allclose(net.hessian_diagonal(X, T, s), exact.diagonal(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("build", [irregular, scattered])
@ERRORS
def test_stacked_rows_and_products_of_groups_give_the_same(build, error, output, monkeypatch):
    net = build(error=error, output=output)
    X, T, s = weighted_data(net)
    expected = net.outer_product_operator(X, T, s) @ np.eye(net.n_parameters)
    monkeypatch.setattr(stacked, "SINGLE_COST", -1000)
    assert not stacked.pays(HessianPlan.of(net.schedule))
    np.testing.assert_allclose(net.outer_product_hessian(X, T, s), expected, rtol=1e-11, atol=1e-12)
    monkeypatch.setattr(stacked, "SINGLE_COST", 1000)
    assert stacked.pays(HessianPlan.of(net.schedule))
    for block, least, room in ((7, 3, 8 * 3 * net.n_parameters * 11), (256, 64, 1)):  # samples in several parts; one at a time
        monkeypatch.setattr(stacked, "BLOCK", block)
        monkeypatch.setattr(stacked, "LEAST", least)
        monkeypatch.setattr(stacked, "STACK_BYTES", room)
        H = net.outer_product_hessian(X, T, s)
        np.testing.assert_array_equal(H, H.T)
        np.testing.assert_allclose(H, expected, rtol=1e-11, atol=1e-12)


def test_curvature_of_units_in_small_tiles(monkeypatch):
    """The diagonal's and the blocks' tiles are smaller than a Hessian's, and their arrays are used again."""
    net = irregular()
    X, T = data(net, n=90)
    expected = net.hessian(X, T).diagonal()
    monkeypatch.setattr(hessian, "CACHED_BYTES", 1)
    monkeypatch.setattr(hessian, "LEVEL_BYTES", 1)
    assert len(list(hessian.sample_tiles(HessianPlan.of(net.schedule), 90, 8, dropped=True))) == 3
    for _ in range(2):
        np.testing.assert_allclose(net.hessian_diagonal(X, T), expected, rtol=1e-11, atol=1e-12)


def test_other_weights_in_the_same_columns():
    """What a thread keeps of the edges between sample tiles belongs to the weights that it was made of."""
    net = scattered(hidden=5)
    X, T = data(net, n=5)
    assert len(HessianPlan.of(net.schedule).columns(len(X), 8, hessian.TILE_BYTES)) == 1
    for _ in range(2):
        expected = net.hessian_operator(X, T) @ np.eye(net.n_parameters)
        np.testing.assert_allclose(net.hessian(X, T), expected, rtol=1e-11, atol=1e-12)
        net.weights[:] = net.weights * 1.5


@pytest.mark.parametrize("free", [0, 3])
def test_few_free_weights(free):
    """Fewer parameters than units: what would need memory of units × units is not asked for."""
    g = scattered().to_networkx()
    for v in g.nodes:
        g.nodes[v]["trainable"] = False
    for k, edge in enumerate(g.edges):
        g.edges[edge]["trainable"] = k in range(6, 12 * free, 12) or (free > 0 and edge[1] == ("y", 0))
    net = gb.Network(g, backend="numpy")
    assert bool(net.n_parameters) == bool(free)
    assert net.n_parameters < net.schedule.n_rows
    X, T, s = weighted_data(net)
    for found, op in (
        (net.hessian(X, T, s), net.hessian_operator(X, T, s)),
        (net.outer_product_hessian(X, T, s), net.outer_product_operator(X, T, s)),
    ):
        np.testing.assert_allclose(found, op @ np.eye(net.n_parameters), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("error", ["cross_entropy", "sum_of_squares"])
def test_diagonal_of_a_softmax_layer(error):
    """Its columns start among coupled outputs, unlike those of `irregular`."""
    net = gb.Network(gb.layered([4, 5, 3], output_activation="softmax"), error=error, backend="numpy")
    X, T, s = weighted_data(net, n=20)
    assert net.schedule.output_rows[0] in [start for start, _ in HessianPlan.of(net.schedule).columns(len(X), 8, 1 << 26)]
    exact = net.hessian_operator(X, T, s) @ np.eye(net.n_parameters)
    np.testing.assert_allclose(net.hessian_diagonal(X, T, s), exact.diagonal(), rtol=1e-11, atol=1e-12)


def test_same_bits_every_time_and_float32():
    net = irregular()
    X, T = data(net)
    assert np.array_equal(net.hessian(X, T), net.hessian(X, T))
    half = irregular(dtype="float32")
    H = half.hessian(X.astype(np.float32), T.astype(np.float32))
    assert H.dtype == np.float32
    np.testing.assert_allclose(H, net.hessian(X, T), rtol=0, atol=2e-5 * np.abs(H).max())


def test_plan_puts_every_parameter_in_one_group():
    net = irregular()
    plan = HessianPlan.of(net.schedule)
    index = np.concatenate([group.index[group.index >= 0] for group in plan.groups])
    assert np.array_equal(np.sort(index), np.arange(net.n_parameters))
    assert [group.start for group in plan.groups] == sorted(group.start for group in plan.groups)
    assert plan.single.any()
    assert not plan.single.all()


# -- operators -----------------------------------------------------------------------------------------------------------


def test_operators_in_scipys_solvers():
    net = irregular()
    X, T = data(net, n=40)
    A, G = net.hessian_operator(X, T), net.outer_product_operator(X, T)
    H = net.hessian(X, T)
    assert A.T is A
    assert A.H is A
    top = eigsh(A, k=3, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(top), np.linalg.eigvalsh(H)[-3:], rtol=1e-8)
    damped = symmetric_operator(lambda v: G.matmat(v) + v, net.n_parameters, net.dtype)
    b = np.random.default_rng(0).normal(size=net.n_parameters)
    x, flag = cg(damped, b, rtol=1e-12)
    assert flag == 0
    solution = np.linalg.solve(net.outer_product_hessian(X, T) + np.eye(net.n_parameters), b)
    np.testing.assert_allclose(x, solution, rtol=1e-6, atol=1e-8)
    V = np.random.default_rng(1).normal(size=(net.n_parameters, 70))  # more columns than one call takes
    np.testing.assert_allclose(A @ V, H @ V, rtol=1e-9, atol=1e-10)


def test_trust_ncg_minimises_with_exact_products():
    net = chain()
    X = np.linspace(-1, 1, 9)[:, None]
    T = 0.5 * np.tanh(2 * X + 0.3)

    def at(theta):
        net.weights = theta
        return net

    found = minimize(
        lambda theta: at(theta).error_and_gradient(X, T),
        net.weights.copy(),
        jac=True,
        hessp=lambda theta, v: at(theta).hessian_operator(X, T) @ v,
        method="trust-ncg",
        options={"gtol": 1e-9},
    )
    assert found.success
    assert found.fun < 1e-15


# -- estimates and inverses ----------------------------------------------------------------------------------------------


def test_hutchinson_is_seeded_and_its_errors_are_honest():
    net = irregular()
    X, T = data(net)
    H = net.hessian(X, T)
    e = net.hessian_estimate(X, T, n_probes=400, seed=5)
    again = hutchinson(net.hessian_operator(X, T), 400, 5)
    assert np.array_equal(e.diagonal, again.diagonal)
    assert e.trace == again.trace
    assert abs(e.trace - np.trace(H)) < 4 * e.trace_error
    score = (e.diagonal - H.diagonal())[e.diagonal_error > 0] / e.diagonal_error[e.diagonal_error > 0]
    assert 0.7 < np.sqrt(np.mean(score**2)) < 1.3
    exact = np.sqrt(2 * (np.sum(H**2) - np.sum(H.diagonal() ** 2)) / 400)
    assert 0.8 < e.trace_error / exact < 1.25
    with pytest.raises(gb.GraphbpError, match="at least 2"):
        net.hessian_estimate(X, T, n_probes=1)
    with pytest.raises(gb.DataError, match=r"n_probes=4\.5"):
        net.hessian_estimate(X, T, n_probes=4.5)
    for seeded in (net.hessian_estimate, net.check):
        with pytest.raises(gb.DataError, match="seed='x'"):
            seeded(X, T, seed="x")
    assert repr(e) == f"<Estimate: tr H = {e.trace:.6g} ± {e.trace_error:.2g}, diag H of {len(H)} entries; 400 probes>"


@pytest.mark.parametrize("method", ["sequential", "cholesky", "low_rank", "auto"])
@pytest.mark.parametrize(
    ("error", "output"), [("sum_of_squares", "identity"), ("cross_entropy", "softmax"), ("sum_of_squares", "tanh")]
)
def test_inverse_of_the_outer_product(method, error, output):
    net = irregular(error=error, output=output)
    X, T = data(net)
    s = np.random.default_rng(2).uniform(0.5, 2, len(X))
    expected = np.linalg.inv(net.outer_product_hessian(X, T, s) + 0.3 * np.eye(net.n_parameters))
    inverse = outer_product_inverse(net, X, T, 0.3, s, method=method)
    rows = np.random.default_rng(0).normal(size=(4, net.n_parameters))
    np.testing.assert_allclose(inverse.dense(), expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(inverse.diagonal(), expected.diagonal(), rtol=1e-9)
    np.testing.assert_allclose(inverse.solve(rows[0]), expected @ rows[0], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(inverse.quadratic(rows), rows @ expected @ rows.T, rtol=1e-9, atol=1e-10)


def test_rows_are_a_factor_and_streaming_row_by_row_agrees():
    net = irregular(error="cross_entropy", output="softmax")
    X, T = data(net)
    rows = outer_product_rows(net, X, T)
    outer = net.outer_product_hessian(X, T)
    np.testing.assert_allclose(rows.T @ rows, outer, rtol=1e-10, atol=1e-12)
    one, many = SequentialInverse(net.n_parameters, 0.5), SequentialInverse(net.n_parameters, 0.5)
    many.update(rows)
    for row in rows:
        one.update(row[None])
    np.testing.assert_allclose(one.dense(), many.dense(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_inverse_refuses_a_prior_that_is_none(alpha):
    net = chain()
    with pytest.raises(gb.GraphbpError, match="positive"):
        outer_product_inverse(net, [[1.0]], [[0.0]], alpha)


# -- refusals and planted faults -----------------------------------------------------------------------------------------


def test_a_hessian_larger_than_memory_is_refused_with_its_size_and_the_way_out():
    net = irregular()
    X, T = data(net)
    size = 8 * net.n_parameters**2
    with gb.config(memory=size - 1), pytest.raises(gb.GraphbpError, match=r"hessian .*hessian_operator\(X, T\)") as refusal:
        net.hessian(X, T)
    assert isinstance(refusal.value, MemoryError)
    assert "kB" in str(refusal.value)
    with gb.config(memory=size - 1):
        with pytest.raises(gb.GraphbpError, match=r"outer_product_operator\(X, T\)"):
            net.outer_product_hessian(X, T)
        assert np.isfinite(net.hessian_diagonal(X, T)).all()


def test_unknown_kind_of_blocks_is_refused():
    net = chain()
    with pytest.raises(gb.GraphbpError, match="outer_product"):
        net.hessian_blocks([[1.0]], [[0.0]], kind="diagonal")


FAULTS = {
    "a missed bend (σ'' taken as 0)": lambda tile: {"bend": 0 * tile.bend},
    "a flipped δ": lambda tile: {"delta": -tile.delta},
    "a slope of one in place of σ'": lambda tile: {"slope": np.ones_like(tile.slope)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_seen(fault, monkeypatch):
    import dataclasses

    from graphbp_numpy.second_order_sweeps import NumpySecondOrderSweeps

    net = irregular()
    X, T = data(net)
    honest = NumpySecondOrderSweeps.sample_tile

    def broken(self, *args):
        tile = honest(self, *args)
        return dataclasses.replace(tile, **FAULTS[fault](tile))

    expected = net.hessian_operator(X, T) @ np.eye(net.n_parameters)
    np.testing.assert_allclose(net.hessian(X, T), expected, rtol=1e-10, atol=1e-11)
    monkeypatch.setattr(NumpySecondOrderSweeps, "sample_tile", broken)
    assert np.abs(net.hessian(X, T) - expected).max() > 1e-3
