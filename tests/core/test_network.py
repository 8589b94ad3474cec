"""The face: weights, round trips, copies on other backends, pickling, threads."""

from __future__ import annotations

import copy
import doctest
import importlib
import multiprocessing
import pickle
import threading
from typing import Any

import networkx as nx
import numpy as np
import pytest
from networkx.utils import graphs_equal
from scipy import sparse

import graphbp as gb
from graphbp import registry
from helpers.backends import HostBackend


def drawing() -> nx.DiGraph:
    g = nx.DiGraph(title="drawn", version=3)
    g.add_nodes_from(["x1", ("x", 2)], colour="blue")
    g.add_node("h", activation="tanh", bias=0.1, pos=(1.0, 2.0))
    g.add_node("y", bias=0.0)
    g.add_weighted_edges_from([("x1", "h", 0.4), (("x", 2), "h", -0.6), ("h", "y", 1.2), ("x1", "y", 0.3)])
    g.edges["x1", "h"]["seen"] = [1, 2]
    g.edges["h", "y"].update(trainable=False)
    return g


def everything() -> nx.DiGraph:
    """Layers, sparse and dense weights, ties, and attributes of any name."""
    g = drawing()
    g.add_node("wide", units=2, activation="sin", bias=0.5, **{"weight": "the user's", "name": 7})
    g.add_node("far", units=3, bias=[1.0, 2.0, 3.0])
    g.nodes["far"][5] = "a name that is no string"
    g.add_edge("x1", "wide", weight=np.array([[1.0], [2.0]]), tie="a")
    g.add_edge("h", "wide", weight=np.array([[1.0], [2.0]]), tie="a")
    g.add_edge("wide", "far", weight=sparse.csr_array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))
    return g


X = np.array([[1.0, 0.5], [0.2, -0.1], [3.0, 2.0]])
T = np.array([[0.25], [0.5], [1.0]])


def network(**options: Any) -> gb.Network:
    return gb.Network(drawing(), **{"backend": "numpy", **options})


def same(a: Any, b: Any) -> bool:
    """graphs_equal, where attributes may be arrays."""

    def plain(value: Any) -> Any:
        if sparse.issparse(value):
            return ("sparse", value.toarray().tolist(), value.nnz)
        return value.tolist() if isinstance(value, np.ndarray) else value

    def plainly(g: nx.DiGraph) -> nx.DiGraph:
        h = nx.DiGraph(**g.graph)
        h.add_nodes_from((n, {k: plain(v) for k, v in d.items()}) for n, d in g.nodes(data=True))
        h.add_edges_from((u, v, {k: plain(x) for k, x in d.items()}) for u, v, d in g.edges(data=True))
        return h

    return bool(graphs_equal(plainly(a), plainly(b))) and list(a.nodes) == list(b.nodes)


def test_weights_are_live_and_assigning_replaces() -> None:
    net = network()
    taken = net.weights
    before = net.forward(X)
    taken[0] += 1
    assert not np.array_equal(net.forward(X), before)
    new = np.zeros(net.n_parameters)
    net.weights = new
    assert taken[0] != 0, "a vector taken earlier keeps its values"
    new[0] = 9.0
    assert not net.weights.any(), "assigning copies"
    net.weights[2] = 5.0
    assert net.weights[2] == 5.0
    net.weights += 1
    assert net.weights.tolist() == [1, 1, 6, 1, 1]


def test_round_trip_keeps_every_attribute() -> None:
    for g in (drawing(), everything()):
        assert same(gb.Network(g, backend="numpy").to_networkx(), g)


def test_round_trip_has_the_current_weights() -> None:
    net = gb.Network(everything(), backend="numpy")
    net.weights = np.arange(1.0, net.n_parameters + 1)
    g = net.to_networkx()
    assert g.edges["x1", "h"]["weight"] == net.weights[net.parameter_index("x1", "h")][0] == net.weight("x1", "h")
    assert g.edges["h", "y"]["weight"] == 1.2
    assert g.nodes["far"]["bias"].tolist() == net.weights[net.parameter_index("far")].tolist()
    assert g.edges["wide", "far"]["weight"].data.tolist() == net.weights[net.parameter_index("wide", "far")].tolist()
    again = gb.Network(g, backend="numpy")
    assert np.array_equal(again.weights, net.weights)
    assert np.array_equal(again.forward(X), net.forward(X))


def test_the_users_graph_is_never_changed() -> None:
    g = everything()
    kept = copy.deepcopy(g)
    net = gb.Network(g, backend="numpy")
    net.weights = np.full(net.n_parameters, 7.0)
    net.gradient(X, np.zeros((3, 4)))
    out = net.to_networkx()
    out.nodes["h"]["bias"] = 99.0
    out.edges["wide", "far"]["weight"].data[:] = 0
    out.edges["x1", "wide"]["weight"][:] = 0
    assert same(g, kept)
    g.edges["x1", "h"]["weight"] = 100.0
    g.edges["x1", "wide"]["weight"][:] = 100.0
    assert set(net.weights.tolist()) == {7.0}


def test_to_another_dtype_and_backend() -> None:
    net = network()
    net.weights = [0.1, 0.2, 0.3, 0.4, 0.5]
    other = net.to(dtype="float32")
    assert (other.dtype, other.backend, net.dtype) == (np.float32, "numpy", np.float64)
    assert other.weights.dtype == np.float32
    assert other.forward(X).dtype == np.float32
    assert other.schedule is net.schedule
    np.testing.assert_allclose(other.forward(X), net.forward(X), rtol=1e-6)
    other.weights[:] = 0
    assert net.weights.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert net.to("numpy").gradient(X, T).tolist() == net.gradient(X, T).tolist()


def test_to_numba() -> None:
    if not gb.backends()["numba"].available:
        pytest.skip("Numba is not installed")
    net = network()
    np.testing.assert_allclose(net.to("numba").gradient(X, T), net.gradient(X, T), rtol=1e-12)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent(duplicate: Any) -> None:
    g = everything()
    g.nodes["y"]["activation"] = g.nodes["far"]["activation"] = "exp"
    net = gb.Network(g, backend="numpy", error="poisson")
    net.weights[1] = 0.123
    twin = duplicate(net)
    assert np.array_equal(twin.weights, net.weights)
    assert (twin.error_function.name, twin.backend, twin.dtype) == ("poisson", "numpy", net.dtype)
    assert np.array_equal(twin.forward(X), net.forward(X))
    assert same(twin.to_networkx(), net.to_networkx())
    twin.weights[:] = 0
    assert net.weights[1] == 0.123


def test_a_network_travels_to_a_spawned_process() -> None:
    net = network()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        Y = pool.apply(net.forward, (X,))
    assert np.array_equal(Y, net.forward(X))


def test_an_operator_keeps_the_weights_it_was_made_with() -> None:
    net = network()
    v = np.arange(1.0, net.n_parameters + 1)
    H = net.hessian_operator(X, T)
    before = H @ v
    net.weights[:] = 0.3
    assert np.array_equal(H @ v, before)
    assert not np.array_equal(net.hessian_operator(X, T) @ v, before)


def test_weights_on_a_device_are_a_read_only_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that copies to the host: what is written there would be lost, so it cannot be."""

    class Copying(HostBackend):
        name = "copying"

        def compile(self, *args: Any) -> Any:
            return registry.get_backend("numpy").compile(*args)

        def to_numpy(self, array: Any) -> Any:
            return array.copy()

    monkeypatch.setattr(registry, "_added", {"copying": Copying()})
    net = network(backend="copying")
    with pytest.raises(ValueError, match="read-only"):
        net.weights[0] = 1.0
    net.weights = net.weights * 2
    assert net.weights.tolist() == (2 * network().weights).tolist()


def test_one_sample() -> None:
    net = network()
    every = net.per_sample_gradient(X, T)
    for n in range(3):
        np.testing.assert_allclose(net.gradient(X[n : n + 1], T[n : n + 1]), every[n], rtol=1e-14)
    assert net.jacobian(X[:1]).shape == (1, 1, 2)
    assert net.hessian(X[:1], T[:1]).shape == (5, 5)


def test_products_with_the_weight_jacobian() -> None:
    net = network()
    v, V = np.arange(1.0, net.n_parameters + 1), np.array([[1.0], [-2.0], [0.5]])
    J = net.weight_jacobian(X)
    np.testing.assert_allclose(net.weight_jvp(X, v), J @ v, rtol=1e-13)
    np.testing.assert_allclose(net.weight_vjp(X, V), np.einsum("nk,nkw->w", V, J), rtol=1e-13)


def test_all_frozen() -> None:
    g = drawing()
    nx.set_edge_attributes(g, False, "trainable")
    for node in ("h", "y"):
        g.nodes[node]["trainable"] = False
    net = gb.Network(g, backend="numpy")
    assert (net.n_parameters, net.weights.shape) == (0, (0,))
    assert np.array_equal(net.forward(X), network().forward(X))
    assert net.gradient(X, T).shape == (0,)
    assert net.hessian(X, T).shape == (0, 0)
    assert net.weight_jacobian(X).shape == (3, 1, 0)
    assert net.per_sample_gradient(X, T).shape == (3, 0)
    np.testing.assert_array_equal(net.jacobian(X), network().jacobian(X))
    net.weights = []
    assert same(net.to_networkx(), g)


def test_it_prints_itself() -> None:
    net = network()
    assert repr(net) == (
        "<graphbp.Network: 2 inputs -> 2 units, 4 edges -> 1 outputs; 5 parameters, error='sum_of_squares', "
        "backend='numpy', dtype='float64'>"
    )
    assert "backend numpy, float64" in net.describe(10)
    with pytest.raises(gb.DataError, match="n_samples=-3"):
        net.describe(-3)
    assert (net.inputs, net.outputs) == (("x1", ("x", 2)), ("y",))


def test_an_error_function_may_be_its_row() -> None:
    row = gb.error_functions()["sum_of_squares"]
    assert gb.Network(drawing(), error=row, backend="numpy").error_function is row


def test_threads_share_a_network() -> None:
    net = network()
    expected = net.gradient(X, T).tobytes(), net.forward(X).tobytes()
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(100):
            found = net.gradient(X, T).tobytes(), net.forward(X).tobytes()
            if found != expected:
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


CORE = "activations catalogue columns compose config data error_functions exceptions graph heads memory network parameters registry schedule trace"


@pytest.mark.parametrize("name", ["", *CORE.split()])
def test_docstrings_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"graphbp.{name}" if name else "graphbp"))
    assert result.failed == 0


@pytest.mark.parametrize("method", ["auto", "sequential", "cholesky", "low_rank"])
@pytest.mark.parametrize("n", [3, 30])
def test_the_inverse_of_the_outer_product(method, n):
    net = gb.Network(gb.layered([2, 3, 2], output_activation="softmax", seed=1), error="cross_entropy", backend="numpy")
    rng = np.random.default_rng(0)
    X, labels, s = rng.normal(size=(n, 2)), rng.integers(2, size=n), rng.uniform(0.5, 2, n)
    expected = np.linalg.inv(net.outer_product_hessian(X, labels, s) + 0.2 * np.eye(net.n_parameters))
    inverse = net.outer_product_inverse(X.tolist(), labels.tolist(), 0.2, s.tolist(), method=method)
    np.testing.assert_allclose(inverse.dense(), expected, rtol=1e-9, atol=1e-11)
    with pytest.raises(gb.DataError, match="T"):
        net.outer_product_inverse(X, np.append(labels, 0), 0.2, method=method)
