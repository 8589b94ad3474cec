"""Networks whose outputs have errors, weights and gaps of their own: every quantity against E written out by hand."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.exceptions import DataWarning, GraphError, NotSupportedError, UnknownNameError
from graphbp.heads import HeadGroup
from helpers.heads import ERRORS, energy, four_heads, gradient, hessian_along, targets

WEIGHTS = {"price": 0.2, "kind": 2.0}


@pytest.fixture(scope="module")
def heads():
    """(network, X, T by output, a function θ → E by hand)."""
    rng = np.random.default_rng(3)
    net = gb.Network(four_heads(rng), error=ERRORS, error_weights=WEIGHTS, missing="skip", backend="numpy")
    X, T = rng.normal(size=(11, 3)), targets(rng, 11)
    ones = {name: np.ones(11) for name in T}
    return net, X, T, lambda theta: energy(net, theta, X, T, ones, ERRORS, WEIGHTS)


def test_error_and_gradient_are_those_written_out(heads):
    net, X, T, f = heads
    value, found = net.error_and_gradient(X, T)
    assert value == pytest.approx(f(net.weights).real, rel=1e-13)
    assert np.allclose(found, gradient(f, net.weights), rtol=1e-11, atol=1e-12)
    assert np.allclose(net.per_sample_gradient(X, T).sum(axis=0), found, rtol=1e-12, atol=1e-13)
    assert np.allclose(net.numerical_gradient(X, T, method="complex_step"), found, rtol=1e-11, atol=1e-12)


def test_hessian_is_that_written_out(heads):
    net, X, T, f = heads
    v = np.random.default_rng(0).normal(size=len(net.weights)) / 7
    expected = hessian_along(f, net.weights, v)
    assert np.allclose(net.hessian(X, T) @ v, expected, rtol=1e-7, atol=1e-7)
    assert np.allclose(net.hessian_operator(X, T) @ v, expected, rtol=1e-7, atol=1e-7)


def test_check_finds_nothing(heads):
    net, X, T, _ = heads
    assert net.check(X, T).ok


@pytest.mark.parametrize("fault", ["mask ignored in the Hessian", "weight applied twice"])
def test_check_finds_planted_faults(heads, monkeypatch, fault):
    net, X, T, _ = heads
    sound = HeadGroup.weigh

    def faulty(self, values, s):
        second_order = values.ndim == 3 or (values.shape == (len(self.positions), len(X)) and (values >= 0).all())
        if s is None or s.ndim == 1 or not second_order:
            return sound(self, values, s)
        return sound(self, values, np.ones_like(s) if fault.startswith("mask") else s * s)

    monkeypatch.setattr(HeadGroup, "weigh", faulty)
    assert not net.check(X, T).ok


def test_gaps_are_a_mask_and_a_mask_is_gaps(heads):
    net, X, T, _ = heads
    whole = np.column_stack([T["price"], *(np.eye(3)[np.nan_to_num(T["kind"]).astype(int)].T), T["count"], T["flag"]])
    mask = ~np.isnan(np.column_stack([T["price"], T["kind"], T["kind"], T["kind"], T["count"], T["flag"]]))
    told = gb.Network(net.to_networkx(), backend="numpy")
    assert told.error(X, whole, mask) == net.error(X, T)
    garbage = np.where(mask, whole, -999.0)
    assert np.array_equal(told.gradient(X, garbage, mask), net.gradient(X, T))
    assert np.array_equal(told.hessian(X, garbage, mask.astype(float)), net.hessian(X, T))
    masked = np.ma.masked_array(np.nan_to_num(whole), ~mask)
    assert net.error(X, masked) == net.error(X, T)


def test_an_entry_without_target_counts_for_nothing_whatever_it_overflows_to():
    g = nx.DiGraph([("x", "y", {"weight": 1.0}), ("x", "z", {"weight": 1.0}), ("x", "r", {"weight": 1.0})])
    g.nodes["y"]["activation"], g.nodes["r"]["activation"] = "exp", "reciprocal"
    net = gb.Network(g, error={"y": "poisson", "z": "sum_of_squares", "r": "sum_of_squares"}, missing="skip", backend="numpy")
    X, T = [[0.0], [1.0], [1e4]], [[1.0, 0.0, np.nan], [1.0, 3.0, 2.0], [np.nan, 1.0, 0.0]]
    alone = gb.Network(g.subgraph(["x", "z"]).copy(), backend="numpy")
    e, h = net.error_and_gradient(X, T), net.hessian(X, T)
    assert np.isfinite(e[0])
    assert np.isfinite(e[1]).all()
    assert np.isfinite(h).all()
    at = net.parameter_index("x", "z")
    assert e[1][at] == alone.gradient(X, [0.0, 3.0, 1.0])
    assert h[at, at] == alone.hessian(X, [0.0, 3.0, 1.0])
    assert np.isfinite(net.hessian_operator(X, T) @ np.ones(3)).all()
    assert np.isfinite(net.hessian_diagonal(X, T)).all()
    assert np.isfinite(net.outer_product_hessian(X, T)).all()


@pytest.mark.filterwarnings("ignore:y is not finite")
@pytest.mark.parametrize("size", [1.0, 40.0, 900.0])
def test_heads_add_up_also_where_they_are_saturated(size):
    """E, gradient and Hessian are the sums of those of each head's own network on the rows that have a target."""
    rng = np.random.default_rng(4)
    net = gb.Network(four_heads(rng), error=ERRORS, error_weights=WEIGHTS, missing="skip", backend="numpy")
    net.weights = size * net.weights
    X, T = rng.normal(size=(9, 3)), targets(rng, 9)
    if size > 1:
        T["count"][net.forward(X)[:, 4] > 1e100] = np.nan  # an overflow is no number
    value, total = 0.0, np.zeros(net.n_parameters)
    square = np.zeros((net.n_parameters,) * 2)
    for name, error in ERRORS.items():
        graph = net.to_networkx()
        graph = graph.subgraph(nx.ancestors(graph, name) | {name}).copy()
        for node in graph:
            graph.nodes[node].update(role="output" if node == name else "hidden" if graph.in_degree(node) else "input")
            graph.nodes[node].pop("error_weight", None)
        own, there, weight = gb.Network(graph, error=error, backend="numpy"), ~np.isnan(T[name]), WEIGHTS.get(name, 1.0)
        x, t = X[there], T[name][there].astype(int if error == "cross_entropy" else float)
        index = np.concatenate(
            [np.r_[net.parameter_index(*edge)] for edge in (*graph.edges, *((n,) for n in graph if n[0] != "x"))]
        )
        mine = np.concatenate([np.r_[own.parameter_index(*edge)] for edge in (*graph.edges, *((n,) for n in graph if n[0] != "x"))])
        value += weight * own.error(x, t)
        total[index] += weight * own.gradient(x, t)[mine]
        square[np.ix_(index, index)] += weight * own.hessian(x, t)[np.ix_(mine, mine)]
    assert net.error(X, T) == pytest.approx(value, rel=1e-13)
    assert np.allclose(net.gradient(X, T), total, rtol=1e-11, atol=1e-13 * np.abs(total).max())
    assert np.allclose(net.hessian(X, T), square, rtol=1e-10, atol=1e-13 * np.abs(square).max())


def test_rows_without_any_target_are_as_if_they_were_not_there(heads):
    net, X, T, _ = heads
    more = {name: np.append(column, np.nan) for name, column in T.items()}
    wider = np.vstack([X, [1e300, -1e300, 1e300]])
    assert net.error(wider, more) == net.error(X, T)
    assert np.allclose(net.gradient(wider, more), net.gradient(X, T), rtol=1e-14)
    assert not net.trace(wider, more).delta["price"][-1:].any()
    nothing = {name: np.full(2, np.nan) for name in T}
    assert net.error(X[:2], nothing) == 0.0
    assert not net.hessian(X[:2], nothing).any()


def test_one_sample(heads):
    net, X, T, _ = heads
    one = {name: column[:1] for name, column in T.items()}
    one["count"] = np.array([np.nan])
    quiet = gb.Network(net.to_networkx(), missing="skip", backend="numpy")
    with pytest.warns(DataWarning, match="no target for 'count'"):
        value = quiet.error(X[:1], one)
    ones = {name: np.ones(1) for name in one}
    assert value == pytest.approx(energy(net, net.weights, X[:1], one, ones, ERRORS, WEIGHTS), rel=1e-13)
    assert quiet.error(X[:1], one) == value  # and says it once


def test_sample_weights_multiply(heads):
    net, X, T, _ = heads
    s = np.linspace(0.5, 2, 11)
    by_output = dict.fromkeys(T, s)
    assert net.error(X, T, s) == pytest.approx(energy(net, net.weights, X, T, by_output, ERRORS, WEIGHTS).real, rel=1e-13)
    grid = np.repeat(s[:, None], 6, axis=1)
    assert net.error(X, T, grid) == pytest.approx(net.error(X, T, s), rel=1e-14)
    grid[:, 0] = 0
    by_output["price"] = np.zeros(11)
    assert net.error(X, T, grid) == pytest.approx(energy(net, net.weights, X, T, by_output, ERRORS, WEIGHTS).real, rel=1e-13)


def test_two_softmax_layers_have_errors_and_weights_of_their_own():
    rng, g = np.random.default_rng(0), nx.DiGraph()
    g.add_node("x", units=2, role="input")
    for name, n in (("p", 3), ("q", 2)):
        g.add_node(name, units=n, activation="softmax", role="output", bias=np.zeros(n))
        g.add_edge("x", name, weight=rng.normal(size=(n, 2)))
    net = gb.Network(g, error={"p": "cross_entropy", "q": "sum_of_squares"}, error_weights={"q": 3}, backend="numpy")
    X, T = rng.normal(size=(6, 2)), np.hstack([np.eye(3)[rng.integers(3, size=6)], np.eye(2)[rng.integers(2, size=6)]])
    y = net.forward(X)
    assert net.error(X, T) == pytest.approx(-(T[:, :3] * np.log(y[:, :3])).sum() + 1.5 * ((y - T)[:, 3:] ** 2).sum(), rel=1e-13)
    assert net.check(X, T).ok


# -- what the nodes say ------------------------------------------------------------------------------------------------------


def test_heads_stand_on_the_nodes_and_come_back(heads, tmp_path):
    net, X, T, _ = heads
    graph = net.to_networkx()
    assert graph.nodes["price"]["error"] == "sum_of_squares"
    assert graph.nodes["price"]["error_weight"] == 0.2
    again = gb.Network(graph, missing="skip", backend="numpy")
    net.save(tmp_path / "heads.json")
    loaded = gb.load(tmp_path / "heads.json", backend="numpy")
    for other in (again, loaded, net.to(), net.to(dtype="float64")):
        assert other.error(X, T) == net.error(X, T)
    assert loaded.missing == "skip"
    assert "price: sum_of_squares × 0.2" in repr(net)
    assert "kind: cross_entropy × 2" in net.describe()


def test_one_error_for_all_is_no_mixture():
    g = gb.layered([2, 3], units="units")
    outputs = [n for n, role in g.nodes(data="role") if role == "output"]
    plain, told = gb.Network(g, backend="numpy"), gb.Network(g, error=dict.fromkeys(outputs, "sum_of_squares"), backend="numpy")
    X, T = np.ones((2, 2)), np.zeros((2, 3))
    assert told.error_function is plain.error_function
    assert told.model.batch(X, T)[2] is None
    assert np.array_equal(told.gradient(X, T), plain.gradient(X, T))


def test_a_single_error_takes_the_place_of_the_nodes_own():
    g = nx.DiGraph([("x", "y", {"weight": 2.0})])
    g.nodes["y"].update(activation="exp", error="poisson")
    assert gb.Network(g, backend="numpy").error_function.name == "poisson"
    over = gb.Network(g, error="sum_of_squares", backend="numpy")
    assert over.error_function.name == "sum_of_squares"
    assert "error" not in over.to_networkx().nodes["y"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"error": {**ERRORS, "prize": "poisson"}}, GraphError, "'prize'.*names no output.*'price'"),
        ({"error": {"price": "sum_of_squares"}}, GraphError, "no error for output 'kind', 'count', 'flag'"),
        ({"error": {**ERRORS, "price": "sum_of_squared"}}, UnknownNameError, "sum_of_squares"),
        ({"error": {**ERRORS, "price": "cross_entropy"}}, GraphError, "output 'price' has activation 'identity'"),
        ({"error": ERRORS, "error_weights": {"a": 2.0}}, GraphError, "'a'.*names no output"),
        ({"error": ERRORS, "error_weights": {"price": -1.0}}, GraphError, "'price' has error_weight=-1.0"),
        ({"error": ERRORS, "error_weights": dict.fromkeys(ERRORS, 0)}, GraphError, "nothing to train"),
        ({"error": {}}, GraphError, "error={} names no output"),
        ({"error": ERRORS, "error_weights": 0.5}, gb.GraphbpError, "a mapping from output node"),
        ({"error": ERRORS, "missing": "skp"}, UnknownNameError, "skip"),
    ],
)
def test_what_cannot_be_is_named(options, error, said):
    with pytest.raises(error, match=said):
        gb.Network(four_heads(np.random.default_rng(0)), backend="numpy", **options)


def test_a_weight_on_a_node_that_is_no_output_is_named():
    graph = four_heads(np.random.default_rng(0))
    graph.nodes["a"]["error_weight"] = 2.0
    with pytest.raises(GraphError, match="'a' has error_weight= and is no output"):
        gb.Network(graph, error=ERRORS, backend="numpy")


def softmax_units():
    g = nx.DiGraph()
    for k in "abc":
        g.add_edge("x", k, weight=1.0)
        g.nodes[k]["activation"] = "softmax"
    return g


def test_a_softmax_of_unit_nodes_has_one_error_and_one_weight():
    one = gb.Network(softmax_units(), error={"b": "cross_entropy"}, error_weights={"c": 2.0}, backend="numpy")
    assert one.error([[1.0]], [2]) == pytest.approx(2 * np.log(3))
    with pytest.raises(GraphError, match="'a' and 'b' are one softmax and have error cross_entropy and sum_of_squares"):
        gb.Network(softmax_units(), error={"a": "cross_entropy", "b": "sum_of_squares"}, backend="numpy")
    with pytest.raises(GraphError, match="one softmax and have error_weight 1 and 2"):
        gb.Network(softmax_units(), error={"a": "cross_entropy"}, error_weights={"a": 1.0, "b": 2.0}, backend="numpy")


def test_unit_nodes_of_a_softmax_go_by_their_names_together():
    g, group = softmax_units(), ("a", "b", "c")
    g.add_edge("x", "price", weight=1.0)
    errors = {group: "cross_entropy", "price": "sum_of_squares"}
    net = gb.Network(g, error=errors, error_weights={group: 2.0}, missing="skip", backend="numpy")
    X, words, prices = [[1.0]] * 3, ["u", "w", "v"], [1.0, None, 1.0]
    gb.train(net, X, {group: words, "price": prices}, optimizer="sgd", epochs=1, learning_rate=1e-9, progress=False)
    written = {"price": prices, "a": [1, 0, 0], "b": [0, 0, 1], "c": [0, 1, 0]}
    for labels in (group, "a", "c"):
        assert net.error(X, {labels: words, "price": prices}) == net.error(X, written)
    assert net.error(X, {group: [0, 2, 1], "price": prices}) == net.error(X, written)
    with pytest.raises(gb.DataError, match="no column for output a"):  # may be a's own target, with b's and c's forgotten
        net.error(X, {"a": [0, 1, 1], "price": prices})


def test_other_formats_refuse_by_name(heads, tmp_path):
    pytest.importorskip("graphbp_wann")
    with pytest.raises(NotSupportedError, match="error"):
        heads[0].save(tmp_path / "net.out")
    assert not (tmp_path / "net.out").exists()


def test_a_backend_of_one_error_refuses_by_name():
    from graphbp.registry import get_backend, register_backend, unregister_backend

    class Plain:
        name = "plain"

        def __getattr__(self, attribute):
            if attribute == "many_heads":
                raise AttributeError
            return getattr(get_backend("numpy"), attribute)

    register_backend(Plain())
    try:
        with pytest.raises(NotSupportedError, match=r"'plain' takes one error for all outputs.*price: sum_of_squares"):
            gb.Network(four_heads(np.random.default_rng(0)), error=ERRORS, backend="plain")
        net = gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0}), ("x", "z", {"weight": 2.0})]), backend="plain")
        with pytest.raises(NotSupportedError, match="'plain' weighs samples"):
            net.error([[1.0]], [[1.0, 2.0]], [[1.0, 0.0]])
    finally:
        unregister_backend("plain")


def test_products_by_inputs_know_heads_and_gaps(heads):
    net, X, T, _ = heads
    rng, e = np.random.default_rng(0), 1e-5
    U = rng.normal(size=X.shape)
    differenced = (net.gradient(X + e * U, T) - net.gradient(X - e * U, T)) / (2 * e)
    assert np.allclose(net.mixed_vjp(X, T, U), differenced, rtol=1e-6, atol=1e-7)
