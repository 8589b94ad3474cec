"""The attribute `aggregation`: what it computes, in which order, what of it is refused, and how it goes through the face."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.combinations import Combinations
from graphbp.model import _compiled
from graphbp.registry import get_backend
from graphbp.testing import cases, relative_difference

X = np.array([[0.5, -2.0, 3.0], [1.5, 0.25, -1.0]])
VALUES = {
    "product": lambda s: s.prod(axis=0),
    "mean": lambda s: s.mean(axis=0),
    "max": lambda s: s.max(axis=0),
    "min": lambda s: s.min(axis=0),
    "median": lambda s: np.median(s, axis=0),
    "maxabs": lambda s: s[np.abs(s).argmax(axis=0), np.arange(s.shape[1])],
}


def one_node(kind: Any, weights: Any = (2.0, -0.5, 1.5), **node: Any) -> nx.DiGraph[Any]:
    """x0, x1, ... -> y."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for i in range(len(weights)):
        g.add_node(f"x{i}")
    g.add_node("y", aggregation=kind, **node)
    for i, w in enumerate(weights):
        g.add_edge(f"x{i}", "y", weight=w)
    return g


def compiled(graph: nx.DiGraph[Any]) -> gb.Network:
    return gb.Network(graph, backend="numpy")


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_values_are_those_of_numpy(kind: str, n: int) -> None:
    rng = np.random.default_rng(n)
    w, x = rng.normal(size=n), rng.normal(size=(40, n))
    y = compiled(one_node(kind, w.tolist(), bias=0.3, activation="tanh")).forward(x)[:, 0]
    assert np.abs(y - np.tanh(0.3 + VALUES[kind]((w * x).T))).max() < 1e-15


@pytest.mark.parametrize("kind", VALUES)
def test_layers_aggregate_unit_by_unit(kind: str) -> None:
    g: nx.DiGraph[Any] = nx.DiGraph()
    for name in ("u", "v", "w"):
        g.add_node(name, units=2)
    g.add_node("y", units=2, aggregation=kind)
    g.add_edge("u", "y", weight=np.array([2.0, -1.0]))
    g.add_edge("v", "y", weight=0.5)
    g.add_edge("w", "y", weight=1.0, trainable=False)
    net, x = compiled(g), np.random.default_rng(0).normal(size=(5, 6))
    terms = np.stack([x[:, :2] * [2.0, -1.0], 0.5 * x[:, 2:4], x[:, 4:]])
    expected = VALUES[kind](terms.reshape(3, -1)).reshape(5, 2)
    assert np.abs(net.forward(x) - expected).max() < 1e-15
    assert net.n_parameters == 3  # the vector, and one number for both units


def test_a_mean_of_layers_and_a_median_of_two() -> None:
    assert compiled(one_node("median", (1.0, 3.0))).forward([[1.0, 1.0]])[0, 0] == 2.0
    assert compiled(one_node("mean", (1.0, 3.0))).jacobian([[1.0, 1.0]]).tolist() == [[[0.5, 1.5]]]


@pytest.mark.parametrize(
    ("kind", "x", "jacobian"),
    [
        ("max", [2.0, 2.0, 1.0], [1, 0, 0]),
        ("max", [1.0, 2.0, 2.0], [0, 1, 0]),
        ("min", [1.0, 0.0, 0.0], [0, 1, 0]),
        ("maxabs", [-2.0, 2.0, 0.0], [1, 0, 0]),
        ("maxabs", [0.0, 0.0, 0.0], [1, 0, 0]),
    ],
)
def test_a_tie_goes_to_the_first_source(kind: str, x: list[float], jacobian: list[int]) -> None:
    assert compiled(one_node(kind, (1.0, 1.0, 1.0))).jacobian([x])[0, 0].tolist() == jacobian


def test_ties_in_a_median_leave_each_source_its_place() -> None:
    """Equal numbers are sorted into different places, so that two equal middle ones share the derivative."""
    jacobian = compiled(one_node("median", (1.0, 1.0, 1.0, 1.0))).jacobian([[5.0, 2.0, 2.0, -1.0]])[0, 0]
    assert jacobian.tolist() == [0, 0.5, 0.5, 0]


@pytest.mark.parametrize("kind", ["max", "min", "maxabs", "median"])
def test_nan_is_passed_on(kind: str) -> None:
    net = compiled(one_node(kind, (1.0, 1.0, 1.0)))
    for at in range(3):
        x = np.ones((1, 3))
        run = net.model.run
        x[0, at] = np.nan
        assert np.isnan(run.forward(net.theta, x)[0, 0])


def test_a_factor_of_zero_keeps_the_derivatives_of_the_others() -> None:
    net = compiled(one_node("product", (1.0, 1.0, 1.0)))
    assert net.jacobian([[0.0, 2.0, 3.0], [0.0, 0.0, 3.0]])[:, 0].tolist() == [[6, 0, 0], [0, 0, 0]]


def test_a_product_of_large_and_small_factors_loses_no_digits() -> None:
    """Where ((x + y)² − (x − y)²) / 4 would lose all of them."""
    net = compiled(one_node("product", (1.0, 1.0)))
    x = np.array([[1e12, 1 / 3]])
    assert net.forward(x)[0, 0] == 1e12 * (1 / 3)
    assert net.jacobian(x)[0, 0].tolist() == [1 / 3, 1e12]


def test_a_quotient_is_a_product_with_a_reciprocal() -> None:
    g: nx.DiGraph[Any] = nx.DiGraph(
        [("p", "y", {"weight": 1.0, "trainable": False}), ("q", "r", {"weight": 1.0, "trainable": False})]
    )
    g.add_node("r", activation="reciprocal")
    g.add_node("y", aggregation="product")
    g.add_edge("r", "y", weight=1.0, trainable=False)
    net = compiled(g)
    p, q = 3.0, 7.0
    assert net.forward([[p, q]])[0, 0] == pytest.approx(p / q, rel=1e-15)
    assert net.jacobian([[p, q]])[0, 0] == pytest.approx([1 / q, -p / q**2], rel=1e-14)


def test_a_frozen_factor_of_one_takes_no_row() -> None:
    g = one_node("product", (1.0, 1.0, 1.0))
    before = compiled(g).schedule.n_rows
    for edge in g.edges:
        g.edges[edge]["trainable"] = False
    assert compiled(g).schedule.n_rows == before - 3


def test_the_same_row_may_be_both_factors() -> None:
    """u == v: both terms are added, as of x · x."""
    net = compiled(one_node("product", (1.0, 1.0), activation="sin"))
    c, model = net.schedule.combinations, net.model
    schedule = replace(net.schedule, combinations=Combinations(c.rows, c.kind, c.first, c.first.copy(), c.ptr))
    net.model = replace(model, schedule=schedule, run=_compiled(schedule, model.heads, model.backend, model.dtype))
    T = np.zeros((2, 1))
    x = X[:, :2]
    assert relative_difference(net.jacobian(x)[:, 0, 0], np.cos(x[:, 0] ** 2) * 2 * x[:, 0]) < 1e-14
    w = np.array(net.weights)

    def gradient(theta: Any) -> Any:
        net.weights = theta
        return net.gradient(x, T)

    step = 1e-6 * np.eye(2)
    differences = [(gradient(w + e) - gradient(w - e)) / 2e-6 for e in step]
    net.weights = w
    assert relative_difference(net.hessian(x, T), np.array(differences)) < 1e-8
    assert relative_difference(net.hessian_operator(x, T) @ np.eye(2), net.hessian(x, T)) < 1e-13


# -- refused by name -----------------------------------------------------------------------------------------------------------------


def layers(kind: str, weight: Any, units: int = 3) -> nx.DiGraph[Any]:
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("u", units=units)
    g.add_node("v", units=2)
    g.add_node("y", units=2, aggregation=kind)
    g.add_edge("u", "y", weight=weight)
    g.add_edge("v", "y", weight=1.0)
    return g


def with_input_attribute() -> nx.DiGraph[Any]:
    g = one_node("sum")
    g.nodes["x1"]["aggregation"] = "max"
    return g


def of_nothing() -> nx.DiGraph[Any]:
    g = one_node("sum")
    g.add_node("c", role="hidden", aggregation="product", bias=1.0)
    g.add_edge("c", "y", weight=1.0)
    for i in range(3):
        g.nodes[f"x{i}"]["role"] = "input"
    return g


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (one_node("prodct"), gb.UnknownNameError, r"aggregation \(of node 'y'\) 'prodct'; did you mean 'product'"),
        (one_node("Max"), gb.UnknownNameError, "did you mean 'max'"),
        (one_node(max), gb.UnknownNameError, "aggregation .of node 'y'."),
        (one_node(["max"]), gb.UnknownNameError, "aggregation .of node 'y'."),
        (with_input_attribute(), gb.GraphError, "node 'x1' is an input .* and has aggregation 'max'"),
        (of_nothing(), gb.GraphError, "node 'c' has aggregation 'product', and no edge leads into it"),
        (layers("product", 1.0), gb.GraphError, "edge 'u' -> 'y': 'u' has 3 units and 'y' 2"),
        (layers("max", 1.0, units=1), gb.GraphError, "edge 'u' -> 'y': 'u' has 1 unit and 'y' 2"),
        (
            layers("product", np.eye(2), units=2),
            gb.WeightError,
            "edge 'u' -> 'y': weight has shape .2, 2.; 'y' aggregates unit by unit",
        ),
        (layers("product", np.ones(3), units=2), gb.WeightError, r"edge 'u' -> 'y': weight has shape \(3,\)"),
        (layers("sum", 1.0, units=2), gb.WeightError, "weight is a scalar"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_named(graph: nx.DiGraph[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        compiled(graph)


def test_a_slip_of_the_attribute_is_refused() -> None:
    g = one_node("sum")
    g.nodes["y"]["agregation"] = "max"
    with pytest.raises(gb.GraphError, match="nearly 'aggregation'"):
        compiled(g)


def test_a_cycle_is_printed_by_the_users_nodes() -> None:
    g = one_node("product")
    g.add_edge("y", "h", weight=1.0)
    g.add_edge("h", "y", weight=1.0)
    g.nodes["y"]["role"] = "output"
    with pytest.raises(gb.GraphError, match=r"cycle: ('y' -> 'h' -> 'y'|'h' -> 'y' -> 'h')"):
        compiled(g)


def test_a_backend_that_knows_no_combinations_is_given_none() -> None:
    class Sums:
        """The NumPy backend, not saying that it combines."""

        def __getattr__(self, name: str) -> Any:
            if name == "combinations":
                raise AttributeError
            return getattr(get_backend("numpy"), name)

    net = compiled(one_node("product"))
    with pytest.raises(gb.NotSupportedError, match=r"node 'y'.* multiplies or chooses"):
        net.model.to(Sums(), np.dtype(np.float64))  # type: ignore[arg-type]
    compiled(one_node("mean")).model.to(Sums(), np.dtype(np.float64))  # type: ignore[arg-type]


def test_parallel_edges_into_a_product_are_no_sum() -> None:
    g: nx.MultiDiGraph[Any] = nx.MultiDiGraph([("x", "y", {"weight": 2.0}), ("x", "y", {"weight": 3.0})])
    assert gb.merge_parallel_edges(g).edges["x", "y"]["weight"] == 5.0
    g.nodes["y"]["aggregation"] = "product"
    with pytest.raises(gb.GraphError, match="node 'y' has aggregation 'product', and its 2 parallel edges"):
        gb.merge_parallel_edges(g)


def test_rows_beyond_memory_are_refused_before_they_are_made() -> None:
    """One number a layer is the weight of thousands of units, so that few edges ask for many rows."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for j in range(400):
        g.add_node(j, units=4000, **({"aggregation": "product"} if j else {}))
        g.add_edges_from((i, j, {"weight": 1.0}) for i in range(j))
    with pytest.raises(gb.MemoryLimitError, match=r"the rows of node 399 \(product of 399 terms, 4,000 units\)"):
        compiled(g)


# -- through the face ----------------------------------------------------------------------------------------------------------------


def test_inner_rows_are_named_by_their_node() -> None:
    s = compiled(one_node("product")).schedule
    names = [s.describe_row(row) for row in range(s.n_rows)]
    assert names[3:] == [
        "'y' (its factor from 'x0')",
        "'y' (its factor from 'x1')",
        "'y' (its factor from 'x2')",
        "'y' (its inner product)",
        "'y'",
    ]
    assert "combinations of two rows 2 (product 2); 4 inner rows" in str(s)
    assert "-> 1 units, 3 edges" in repr(compiled(one_node("product")))


def test_a_trace_lists_the_users_nodes() -> None:
    trace = compiled(one_node("product")).trace(X, np.zeros((2, 1)))
    assert [line.split()[0] for line in str(trace).splitlines()[1:]] == ["x0", "x1", "x2", "y"]
    assert trace.z["y"].tolist() == (X.prod(axis=1) * -1.5).tolist()


def test_check_leaves_out_samples_near_a_tie_and_says_so() -> None:
    net = compiled(one_node("max", (1.0, 1.0)))
    report = net.check([[1.0, 1.0 + 1e-9], [1.0, 3.0]], np.zeros((2, 1)))
    assert report
    assert "1 of 2 samples left out: the comparison is void near a tie of 'max'; nearest is node 'y' in sample 0" in str(report)


@pytest.mark.parametrize("kind", VALUES)
def test_files_and_graphs_give_it_back(kind: str, tmp_path: Any) -> None:
    net = compiled(layers(kind, np.array([2.0, 3.0]), units=2))
    net.save(tmp_path / "m.json")
    assert '"version": 2' in (tmp_path / "m.json").read_text()
    back = gb.load(tmp_path / "m.json", backend="numpy")
    again = compiled(back.to_networkx())
    x = np.random.default_rng(1).normal(size=(4, 4))
    assert np.array_equal(again.forward(x), net.forward(x))
    assert back.to_networkx().nodes["y"]["aggregation"] == kind


def test_a_file_of_version_1_is_no_place_for_it(tmp_path: Any) -> None:
    net = compiled(one_node("product"))
    net.save(tmp_path / "m.json")
    text = "\n".join(line for line in (tmp_path / "m.json").read_text().splitlines() if '"sha256"' not in line)
    (tmp_path / "m.json").write_text(text.replace('"version": 2', '"version": 1'))
    with pytest.raises(gb.FileFormatError, match="file of version 1, which knew none"):
        gb.load(tmp_path / "m.json", backend="numpy")
    compiled(one_node("sum")).save(tmp_path / "s.json")
    assert '"version": 1' in (tmp_path / "s.json").read_text()


@pytest.mark.parametrize("drop", ["", "aggregation", "all"])
def test_a_format_of_sums_refuses_it_before_writing(drop: str, tmp_path: Any) -> None:
    net = compiled(one_node("product", activation="relu"))
    with pytest.raises(gb.NotSupportedError, match="node 'y' has aggregation='product'"):
        net.save(tmp_path / "m.wann", format="wann", drop=drop)
    assert not list(tmp_path.iterdir())


def test_scaling_is_not_folded_into_a_product(tmp_path: Any) -> None:
    g = one_node("product")
    g.nodes["x0"].update(shift=1.0, scale=2.0)
    with pytest.raises(gb.NotSupportedError, match="'x0' has shift= and scale=, which no weight or bias of 'y' can take in"):
        compiled(g).save(tmp_path / "m.json", format="neat", drop="all")


def test_pruning_leaves_factors_alone() -> None:
    net = compiled(one_node("product", (0.0, 2.0)))
    assert gb.prune(net).number_of_edges() == 2
    with pytest.raises(gb.DataError, match="node 'y' has aggregation 'product'"):
        gb.prune(net, {("x0", "y"): False})


def test_unit_blocks_have_all_weights_of_a_node() -> None:
    net = compiled(one_node("product", bias=0.3, activation="tanh"))
    T = np.ones((2, 1))
    block = net.hessian_blocks(X, T)["y"]
    assert block.index[0].tolist() == [0, 1, 2, 3]
    assert relative_difference(block.block[0], net.hessian(X, T)) < 1e-14


def test_names_of_parameters() -> None:
    net = compiled(layers("product", np.array([2.0, 3.0]), units=2))
    assert [net.parameter_name(i) for i in range(3)] == ["edge 'u' -> 'y' unit 0", "edge 'u' -> 'y' unit 1", "edge 'v' -> 'y'"]
    assert net.model.parameter_labels() == ["u -> y[0]", "u -> y[1]", "v -> y"]


@pytest.mark.parametrize("kind", VALUES)
def test_a_network_that_has_computed_is_pickled_and_copied(kind: str) -> None:
    net = compiled(one_node(kind))
    expected = net.gradient(X, np.ones((2, 1)))
    for other in (pickle.loads(pickle.dumps(net)), deepcopy(net), net.to()):
        assert np.array_equal(other.gradient(X, np.ones((2, 1))), expected)


class Few:
    """A backend with the fewest methods, which says that it combines."""

    name, combinations = "few", True

    def __getattr__(self, name: str) -> Any:
        return getattr(get_backend("numpy"), name)

    def compile(self, *args: Any) -> Any:
        run = get_backend("numpy").compile(*args)
        kept = ("forward", "error_and_gradient", "vjp", "hessian_product", "outer_product_product")
        return SimpleNamespace(**{name: getattr(run, name) for name in kept})


@pytest.mark.filterwarnings("ignore::graphbp.compose.ComposedWarning")
def test_what_a_backend_leaves_out_is_composed() -> None:
    (case,) = cases("aggregations")
    net, few = case.network(), case.network()
    few.model = net.model.to(Few(), np.dtype(np.float64))  # type: ignore[arg-type]
    for name in ("per_sample_gradient", "hessian", "outer_product_hessian", "hessian_diagonal"):
        assert relative_difference(getattr(few, name)(*case.batch), getattr(net, name)(*case.batch)) < 1e-11
    for name in ("jacobian", "weight_jacobian"):
        assert relative_difference(getattr(few, name)(case.X), getattr(net, name)(case.X)) < 1e-12


def test_a_factor_of_zero_hides_a_pole() -> None:
    """√x2 · x1: nothing depends on x2 where x1 = 0, also where the slope of √ is infinite."""
    g: nx.DiGraph[Any] = nx.DiGraph([("x1", "y", {"weight": 2.0}), ("x2", "r", {"weight": 1.0}), ("r", "y", {"weight": 1.0})])
    g.nodes["y"]["aggregation"] = "product"
    g.nodes["r"]["activation"] = "sqrt"
    net = compiled(g)
    assert net.inputs == ("x1", "x2")
    assert net.jacobian([[0.0, 0.0], [0.0, 4.0], [3.0, 4.0]])[:, 0].tolist() == [[0, 0], [4, 0], [4, 1.5]]
    T = np.ones((1, 1))
    for quantity in (net.gradient, net.hessian, net.hessian_diagonal, net.per_sample_gradient):
        assert np.isfinite(quantity([[0.0, 0.0]], T)).all()
    assert np.isfinite(net.jvp([[0.0, 0.0]], [[1.0, 1.0]])).all()
