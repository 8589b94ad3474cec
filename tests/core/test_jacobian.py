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
    own = net._run.jacobian(net.weights, X)
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
