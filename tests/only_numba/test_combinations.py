"""Rows that combine two others: trees in first order and pairs where every row is kept agree with NumPy; who gives what to whom; who pays."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

import graphbp as gb
from graphbp.combinations import COMBINATIONS
from graphbp.testing.tolerances import relative_difference, tolerance
from graphbp_numba import backend
from graphbp_numba.plan import tables
from helpers.aggregating import drawn_dag

LIMIT = {dtype: tolerance("numba", dtype, "second").value for dtype in ("float64", "float32")}


def executable(net: Any) -> Any:
    return backend.compile(net.schedule.live, net.error_function, np.dtype(net.dtype))


def plan(g: Any) -> Any:
    return executable(gb.Network(g, backend="numba")).work.plan


def combining(kind: str, sources: int = 3, weight: float | None = None, **node: Any) -> nx.DiGraph[Any]:
    """y = agg(w_i tanh(v_i x)), with weights 1 for good where none is given."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", role="input")
    g.add_node("y", role="output", aggregation=kind, **node)
    for i in range(sources):
        g.add_node(f"h{i}", activation="tanh", bias=0.1 * i)
        g.add_edge("x", f"h{i}", weight=0.7 - 0.4 * i)
        g.add_edge(f"h{i}", "y", **({"weight": 1.0, "trainable": False} if weight is None else {"weight": weight + 0.1 * i}))
    return g


def quantities(net: Any, X: Any, T: Any) -> dict[str, Any]:
    v = np.linspace(-1, 1, net.n_parameters).astype(net.dtype)
    return {
        "Y": net.forward(X),
        "gradient": net.gradient(X, T),
        "by_x": net.vjp(X, T),
        "along": net.jvp(X, X),
        "J": net.jacobian(X),
        "each": net.per_sample_gradient(X, T),
        "by_weight": net.weight_jacobian(X),
        "Hv": net.hessian_operator(X, T) @ v,
        "Gv": net.outer_product_operator(X, T) @ v,
        "H": net.hessian(X, T),
        "G": net.outer_product_hessian(X, T),
        "diagonal": net.hessian_diagonal(X, T),
        "by_x_twice": net.input_hvp(X, T, X),
    }


def agree(g: Any, n: int, dtype: str = "float64", values: Any = None) -> None:
    """Every quantity, with NumPy's."""
    one, other = (gb.Network(g, backend=name, dtype=dtype) for name in ("numpy", "numba"))
    rng = np.random.default_rng(n)
    X = rng.uniform(0.3, 1.3, (n, one.schedule.n_inputs)) if values is None else np.tile(values, (n, 1))
    T = rng.normal(size=(n, one.schedule.n_outputs))
    X, T = X.astype(dtype), T.astype(dtype)
    expected, found = quantities(one, X, T), quantities(other, X, T)
    for name, value in expected.items():
        assert relative_difference(found[name], value) < LIMIT[dtype], name


@pytest.mark.parametrize(("n", "dtype"), [(3, "float64"), (17, "float64"), (5, "float32")])
def test_drawn_networks_agree_with_numpy(n: int, dtype: str) -> None:
    for seed in range(6):
        g = drawn_dag(np.random.default_rng(seed), 1 + seed % 3)
        if gb.Network(g, backend="numpy").n_parameters:
            agree(g, n, dtype)


@pytest.mark.parametrize("n", [1, 1000])
def test_the_gradient_of_any_number_of_samples_agrees(n: int) -> None:
    g = drawn_dag(np.random.default_rng(4), 2)
    one, other = (gb.Network(g, backend=name) for name in ("numpy", "numba"))
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(n, one.schedule.n_inputs)), rng.normal(size=(n, one.schedule.n_outputs))
    assert relative_difference(other.gradient(X, T), one.gradient(X, T)) < LIMIT["float64"]
    assert len(executable(other).forward(other.weights, X[:0])) == 0


@pytest.mark.parametrize("kind", [row.name for row in COMBINATIONS])
def test_zero_and_equal_terms_agree_with_numpy(kind: str) -> None:
    """Two factors of 0, and ties: tanh(0) three times."""
    g = combining(kind, weight=0.5)
    for i in range(3):
        g.nodes[f"h{i}"]["bias"] = 0.0
    agree(g, 3, values=[0.0])


def test_a_square_is_the_product_of_a_row_with_itself() -> None:
    g = combining("product", 2)
    g.remove_node("h1")
    g.add_node("same", activation="identity")
    g.add_edge("h0", "same", weight=1.0, trainable=False)
    g.add_edge("same", "y", weight=1.0, trainable=False)
    agree(g, 3)


def test_the_first_of_equal_terms_is_taken_by_trees_and_pairs() -> None:
    g = combining("max", 4, weight=1.0)
    net = gb.Network(g, backend="numba")
    theta = np.array(net.weights)
    for i in range(4):
        theta[net.parameter_index("x", f"h{i}")] = 0.5
        theta[net.parameter_index(f"h{i}")] = 0.0
        theta[net.parameter_index(f"h{i}", "y")] = 1.0
    net.weights = theta
    X, T = np.full((3, 1), 0.8), np.zeros((3, 1))
    for gradient in (net.gradient(X, T), net.per_sample_gradient(X, T).sum(axis=0)):
        taken = [float(gradient[net.parameter_index(f"h{i}", "y")][0]) != 0 for i in range(4)]
        assert taken == [True, False, False, False]


def test_a_node_of_many_terms_is_one_tree_of_its_sources() -> None:
    p = plan(combining("product", 5, weight=0.5, bias=0.2, activation="tanh"))
    assert len(p.combined.pairs) == 4
    assert p.combined.trees[:, tables.TREE_STOP].tolist() == [5]
    assert p.combined.fused.sum() == 5 + 3  # scaled rows, inner products
    first = p.first
    assert first.n_rows == p.schedule.n_rows - 8 == 7
    assert len(first.out.dst) == 5  # x to h; what h feeds is a leaf
    assert first.trees.leaves.tolist() == [1, 2, 3, 4, 5]
    assert first.trees.products.tolist() == [6] * 5  # T in place of y's δ, since nothing else gathers that
    assert first.out.size < p.out.size + 64


def test_sources_that_feed_nothing_else_are_given_their_delta() -> None:
    g = combining("product", 2)
    for i in range(2):
        g.nodes[f"h{i}"].update(activation="identity", bias=None)
    p = plan(g)
    assert len(p.combined.helped) == 0
    assert p.combined.given.sum() == 2


def test_sums_alone_have_one_order_of_edges_and_no_code_for_combinations() -> None:
    g = gb.random_dag(3, 12, 2, seed=1)
    work = executable(gb.Network(g, backend="numba"))
    work.forward(np.zeros(work.schedule.n_parameters), np.zeros((1, 3)))
    p = work.work.plan
    assert p.first is p.every
    assert p.first_table is p.table
    assert not p.table[tables.PLAN_COMBINE_TREES : tables.PLAN_SIZE].any()
    assert p.table[tables.PLAN_STATE_ROWS] == p.schedule.n_rows + 1


def test_the_description_says_which_paths_are_not_for_combinations() -> None:
    net = gb.Network(combining("product", 4, weight=0.3), backend="numba")
    assert "3 combinations of rows in 1 trees" in executable(net).describe(500)
    g = gb.layered([64, 256, 256, 2])
    hidden = [node for node in g if g.in_degree(node) and g.out_degree(node)]
    gate = nx.DiGraph(g)
    gate.add_node("gate", units=256, aggregation="product")
    gate.add_node("two", units=2, role="output")
    for node in hidden:
        gate.add_edge(node, "gate", weight=1.0, trainable=False)
    gate.add_edge("gate", "two", weight=np.full((2, 256), 0.1))
    assert executable(gb.Network(g, backend="numba")).describe(64).startswith("blocks")
    assert executable(gb.Network(gate, backend="numba")).describe(64).startswith("tiles")


def test_the_kernels_know_the_core_s_table() -> None:
    assert [row.name for row in COMBINATIONS] == ["product", "max", "min", "maxabs"]
    assert [tables.COMBINE_PRODUCT, tables.COMBINE_MAX, tables.COMBINE_MIN, tables.COMBINE_MAXABS] == [0, 1, 2, 3]
    assert [row.bend for row in COMBINATIONS] == [(0.0, 1.0, 0.0), *[(0.0, 0.0, 0.0)] * 3]


@pytest.mark.parametrize("n", [1, 4, 40])
def test_a_product_beside_units_that_share_their_sources(n: int) -> None:
    """Few samples are swept without the bundles' weights: what stands behind the edges' are the leaves' alone."""
    rng = np.random.default_rng(0)
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x0", "x1"])
    g.add_node("c", units=8, activation="tanh")
    g.add_node("p", aggregation="product", activation="tanh")
    g.add_node("y", bias=0.1, role="output")
    for name in ("x0", "x1"):
        g.add_edge(name, "c", weight=rng.normal(size=(8, 1)))
        g.add_edge(name, "p", weight=0.5)
    g.add_node("d", units=8, activation="tanh")
    g.add_edge("c", "d", weight=rng.normal(size=(8, 8)) / 3)
    g.add_edge("d", "y", weight=rng.normal(size=(1, 8)))
    g.add_edge("p", "y", weight=0.4)
    X, T = rng.normal(size=(n, 2)), np.ones((n, 1))
    net, reference = (gb.Network(g, backend=backend) for backend in ("numba", "numpy"))
    assert net.error(X, T) == pytest.approx(reference.error(X, T), rel=1e-13)
    np.testing.assert_allclose(net.gradient(X, T), reference.gradient(X, T), rtol=1e-11, atol=1e-13)
