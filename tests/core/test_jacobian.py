"""The Jacobian's structural zeros: fewer sweeps, the same numbers."""

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.jacobian import plan_jacobian, reachable_inputs


def parallel_chains(n: int, seed: int = 0) -> nx.DiGraph:
    """n separate paths x_i -> h_i -> y_i: a diagonal Jacobian."""
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    for i in range(n):
        g.add_node(f"h{i}", activation="tanh", bias=0.1)
        g.add_edge(f"x{i}", f"h{i}", weight=float(rng.normal()))
        g.add_edge(f"h{i}", f"y{i}", weight=float(rng.normal()))
    return g


def comb(n: int, seed: int = 0) -> nx.DiGraph:
    """x_0 feeds every output and x_i only y_i: K reverse sweeps cannot merge, two forward ones do."""
    g = parallel_chains(n, seed)
    for i in range(1, n):
        g.add_edge("x0", f"h{i}", weight=0.3)
    return g


def banded(n: int) -> nx.DiGraph:
    g = parallel_chains(n)
    for i in range(1, n):
        g.add_edge(f"x{i - 1}", f"h{i}", weight=-0.4)
    return g


@pytest.mark.parametrize(
    ("graph", "direction", "sweeps"),
    [(parallel_chains(9), "reverse", 1), (comb(9), "forward", 2), (banded(9), "reverse", 2), (gb.layered([4, 5, 3]), "own", 3)],
)
def test_structural_zeros_save_sweeps(graph, direction, sweeps):
    net = gb.Network(graph, backend="numpy")
    plan = plan_jacobian(net.schedule)
    assert (plan.direction, plan.n_sweeps) == (direction, sweeps)
    X = np.random.default_rng(1).normal(size=(7, net.schedule.n_inputs))
    own = net.model.run.jacobian(net.weights, X)
    np.testing.assert_allclose(net.jacobian(X), own, rtol=0, atol=1e-15)
    stacked = net.jacobian(X, sparse=True)
    np.testing.assert_array_equal(stacked.toarray().reshape(own.shape), net.jacobian(X))
    assert stacked.nnz == 7 * reachable_inputs(net.schedule).sum()


@pytest.mark.parametrize("seed", range(5))
def test_pattern_is_what_paths_say(seed):
    graph = gb.random_dag(8, 30, 6, fan_in=2, seed=seed)
    net = gb.Network(graph, backend="numpy")
    expected = [[nx.has_path(graph, i, k) for i in net.inputs] for k in net.outputs]
    np.testing.assert_array_equal(reachable_inputs(net.schedule), expected)


def test_softmax_joins_its_group():
    graph = parallel_chains(3)
    for k in range(3):
        graph.nodes[f"y{k}"]["activation"] = "softmax"
    net = gb.Network(graph, backend="numpy")
    assert reachable_inputs(net.schedule).all()


BACKENDS = [name for name in ("numpy", "numba") if gb.backends()[name].available]


def beside_a_pole() -> nx.DiGraph:
    """y = 2 v, and h = √(y − x), an output at its pole where x = 2 v; e = exp(x) feeds exp(e), which may overflow."""
    g = nx.DiGraph()
    g.add_nodes_from(["x", "v"], role="input")
    g.add_nodes_from([("y", {"role": "output"}), ("h", {"role": "output", "activation": "sqrt"})])
    g.add_nodes_from(["e", "f"], role="output", activation="exp")
    g.add_weighted_edges_from([("v", "y", 2.0), ("y", "h", 1.0), ("x", "h", -1.0), ("x", "e", 1.0), ("e", "f", 1.0)])
    return g


@pytest.mark.filterwarnings("ignore:∂y/∂. is not finite:graphbp.NumericalWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_output_at_a_pole_or_overflowing_leaves_the_rows_of_the_others(backend):
    net = gb.Network(beside_a_pole(), backend=backend)
    X = np.array([[8.0, 4.0], [0.5, 4.0]])  # h at its pole, f overflows; all finite
    with np.errstate(all="ignore"):
        J, by_theta, stacked = net.jacobian(X), net.weight_jacobian(X), net.jacobian(X, sparse=True).toarray().reshape(2, 4, 2)
    e = np.exp(X[:, 0])
    for j in (J, stacked):
        np.testing.assert_array_equal(j[:, 0], [[0, 2], [0, 2]])
        np.testing.assert_allclose(j[:, 2], np.stack([e, 0 * e], axis=1), rtol=1e-14)
    assert not np.isfinite(J[0, [1, 3]]).all(axis=1).any()
    place = {net.parameter_name(p): p for p in range(net.n_parameters)}
    expected = np.zeros((2, 2, net.n_parameters))
    expected[:, 0, place["edge 'v' -> 'y'"]] = X[:, 1]
    expected[:, 1, place["edge 'x' -> 'e'"]] = X[:, 0] * e
    np.testing.assert_allclose(by_theta[:, [0, 2]], expected, rtol=1e-14)


@pytest.mark.filterwarnings("ignore:∂y/∂. is not finite:graphbp.NumericalWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pole_in_a_shared_sweep_leaves_the_rows_of_the_others(backend):
    g = parallel_chains(9)
    g.nodes["h0"].update(activation="sqrt", bias=0.0)
    g.add_edge("y1", "y0", weight=1.0)  # so that y0's pole is met in no other's part of the network
    net = gb.Network(g, backend=backend)
    X = np.ones((1, 9))
    X[0, 0] = 0
    with np.errstate(all="ignore"):
        J = net.jacobian(X)[0]
    X[0, 0] = np.sign(g["x0"]["h0"]["weight"])
    np.testing.assert_allclose(J[1:], net.jacobian(X)[0, 1:], rtol=1e-14)  # another kernel sweeps them again
