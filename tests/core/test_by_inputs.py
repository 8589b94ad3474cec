"""Second derivatives by the inputs: raw units, exact zeros, poles, saturated softmax, sizes, and what is composed."""

from __future__ import annotations

import warnings
from typing import Any

import mpmath
import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest

import graphbp as gb
from graphbp import registry
from graphbp.protocols import REQUIRED_METHODS
from graphbp.second_order.moving_inputs import with_moving_inputs
from helpers.backends import HostBackend

Array = npt.NDArray[Any]
BACKENDS = ["numpy", pytest.param("numba", marks=pytest.mark.skipif("numba" not in gb.backends(), reason="Numba is not there"))]
DTYPES = {"float64": 1e-12, "float32": 2e-5}


def two_halves(activation: str = "tanh") -> nx.DiGraph[Any]:
    """x1, x2 → a → y1;  x2, x3 → b → c → y2, y2 from x3 as well; the unit d leads nowhere."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for name in "abcd":
        g.add_node(name, activation=activation, bias=0.3)
    g.add_node("y1", activation="sigmoid", bias=0.1)
    g.add_node("y2", bias=-0.2, role="output")
    g.add_weighted_edges_from([("x1", "a", 0.7), ("x2", "a", -0.5), ("a", "y1", 1.3), ("x2", "b", 0.4), ("x3", "b", 0.9)])
    g.add_weighted_edges_from([("b", "c", -1.1), ("c", "y2", 0.8), ("x3", "y2", 0.6), ("a", "d", 2.0)])
    g.nodes["y1"]["role"] = "output"
    return g


def samples(net: gb.Network, n: int = 5) -> Array:
    return np.random.default_rng(0).normal(size=(n, net.schedule.n_inputs))


def close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    scale = np.abs(expected).max(initial=0) or 1.0
    np.testing.assert_allclose(np.asarray(found, np.float64) / scale, np.asarray(expected) / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_an_output_does_not_depend_on_is_an_exact_zero(backend: str) -> None:
    net = gb.Network(two_halves(), backend=backend)
    i = {name: k for k, name in enumerate(net.inputs)}
    k = {name: n for n, name in enumerate(net.outputs)}
    H = net.input_hessian(samples(net))
    assert not H[:, k["y1"], i["x3"]].any()
    assert not H[:, k["y2"], i["x1"]].any()
    assert H[:, k["y1"], i["x1"], i["x2"]].all()
    assert H[:, k["y2"], i["x2"], i["x3"]].all()
    assert not net.input_hessian_diagonal(samples(net))[:, k["y2"], i["x1"]].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_raw_units(backend: str, dtype: str) -> None:
    """x and y carry shift and scale: derivatives are by what the caller has."""
    g = two_halves()
    plain = gb.Network(g, backend="numpy")
    for name, shift, scale in (("x1", 3.0, 250.0), ("x2", -1.0, 0.02), ("x3", 0.5, 8.0), ("y2", 10.0, 5.0)):
        g.nodes[name].update(shift=shift, scale=scale)
    net = gb.Network(g, backend=backend, dtype=dtype)
    x = net.model.meaning.scaling.inputs
    y = net.model.meaning.scaling.outputs
    assert x is not None
    assert y is not None
    z = samples(plain)
    X, d = x.shift + x.scale * z, 1 / x.scale
    H = plain.input_hessian(z) * y.scale[:, None, None] * np.outer(d, d)
    per_entry = H.max(axis=0) + (H.max(axis=0) == 0)
    close(net.input_hessian(X) / per_entry, H / per_entry, DTYPES[dtype] * 100)
    close(
        net.laplacian(X) / H[0].trace(axis1=1, axis2=2),
        np.einsum("nkii->nk", H) / H[0].trace(axis1=1, axis2=2),
        DTYPES[dtype] * 100,
    )
    rng = np.random.default_rng(1)
    V, U, v = rng.normal(size=(5, 2)), rng.normal(size=X.shape) * x.scale, rng.normal(size=net.n_parameters)
    by_x, by_theta = net.second_order_product(X, V, U, v)
    expected = plain.second_order_product(z, V * y.scale, U / x.scale, v)
    close(by_x * x.scale, expected[0], DTYPES[dtype] * 10)
    close(by_theta, expected[1], DTYPES[dtype] * 10)
    T = y.shift + y.scale * rng.uniform(0.2, 0.8, size=(5, 2))
    t = (T - y.shift) / y.scale
    close(net.mixed_jvp(X, T, v) * x.scale, plain.mixed_jvp(z, t, v), DTYPES[dtype] * 10)
    close(net.mixed_vjp(X, T, U), plain.mixed_vjp(z, t, U / x.scale), DTYPES[dtype] * 10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sizes", "n"), [([1, 1], 1), ([1, 3, 1], 1), ([2, 3, 1], 17), ([5, 4, 3], 9)])
def test_sizes(backend: str, sizes: list[int], n: int) -> None:
    net = gb.Network(gb.layered(sizes, activation="softplus", seed=1), backend=backend)
    reference, X, k, d = net.to("numpy"), samples(net, n), sizes[-1], sizes[0]
    V = np.ones((n, k))
    assert net.input_hessian(X).shape == (n, k, d, d)
    assert net.input_hessian(X, V).shape == (n, d, d)
    assert net.input_hessian_diagonal(X, V).shape == (n, d)
    assert net.laplacian(X).shape == (n, k)
    for name, arguments in (
        ("input_hessian", (X,)),
        ("input_hessian_diagonal", (X,)),
        ("laplacian", (X,)),
        ("input_hvp", (X, V, X)),
    ):
        close(getattr(net, name)(*arguments), getattr(reference, name)(*arguments))
    order = np.argsort(X[:, 0])
    np.testing.assert_allclose(net.input_hessian(X[order]), net.input_hessian(X)[order], rtol=1e-13)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pole_of_one_output_leaves_the_others_alone(backend: str) -> None:
    """y1 = √x1 at 0 has no second derivative; y2 = tanh(x2)², and what hangs on a weight of 0, do."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("r", activation="sqrt")
    g.add_node("y1", role="output")
    g.add_node("h", activation="tanh")
    g.add_node("y2", activation="square", role="output")
    g.add_weighted_edges_from([("x1", "r", 1.0), ("r", "y1", 1.0), ("x2", "h", 1.0), ("h", "y2", 1.0), ("r", "y2", 0.0)])
    net = gb.Network(g, backend=backend)
    X, z = np.array([[0.0, 0.5], [4.0, 0.5]]), np.tanh(0.5)
    slope = 1 - z * z
    bend = 2 * slope * slope - 4 * z * z * slope
    with pytest.warns(gb.NumericalWarning):
        H = net.input_hessian(X)
    np.testing.assert_allclose(H[:, 1], [[[0, 0], [0, bend]]] * 2, rtol=1e-12, atol=0)
    assert H[0, 0, 0, 0] == -np.inf
    assert H[1, 0, 0, 0] == pytest.approx(-1 / 32)
    assert not H[:, 0, 1].any()
    V = np.array([[0.0, 1.0], [0.0, 1.0]])
    with warnings.catch_warnings(action="ignore", category=gb.NumericalWarning):
        np.testing.assert_allclose(net.laplacian(X)[:, 1], bend, rtol=1e-12)
        np.testing.assert_allclose(net.input_hessian_diagonal(X, V), [[0, bend]] * 2, rtol=1e-12)
        np.testing.assert_allclose(net.input_hvp(X, V, np.ones((2, 2))), [[0, bend]] * 2, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gap", [2.0, 30.0, 300.0])
def test_a_saturated_softmax_keeps_its_digits(backend: str, gap: float) -> None:
    """Against mpmath: y of three classes, a far ahead, second derivatives of size e^−gap."""
    weights = [[1.0, -0.4], [0.3, 0.8], [-0.7, 0.2]]
    biases = [gap, 0.0, -0.5]
    g = gb.layered([2, 3], error="cross_entropy")
    net = gb.Network(g, error="cross_entropy", backend=backend)
    net.weights = np.concatenate([np.ravel(weights), biases])
    x = [0.2, -0.3]

    def y(k: int, *at: Any) -> Any:
        a = [sum(w * v for w, v in zip(row, at, strict=True)) + b for row, b in zip(weights, biases, strict=True)]
        return mpmath.exp(a[k]) / sum(map(mpmath.exp, a))

    with mpmath.workdps(400):
        orders = {(0, 0): (2, 0), (0, 1): (1, 1), (1, 1): (0, 2)}
        for k in range(3):
            for (i, j), order in orders.items():
                exact = float(mpmath.diff(lambda *at, k=k: y(k, *at), x, order))
                assert net.input_hessian([x])[0, k, i, j] == pytest.approx(exact, rel=1e-12)
                along = net.input_hvp([x], [np.eye(3)[k]], [np.eye(2)[j]])[0, i]
                assert along == pytest.approx(exact, rel=1e-12)


def test_what_would_not_fit_is_refused_by_name() -> None:
    net = gb.Network(gb.layered([100, 3, 2], activation="tanh"), backend="numpy")
    with gb.config(memory=1_000_000):
        with pytest.raises(gb.MemoryLimitError, match=r"input_hessian of shape \(20, 2, 100, 100\).*input_hvp"):
            net.input_hessian(np.zeros((20, 100)))
        assert net.laplacian(np.zeros((20, 100))).shape == (20, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, X: net.input_hessian(X, np.ones((3, 1))), r"V has shape \(3, 1\)"),
        (lambda net, X: net.input_hvp(X, np.ones((5, 2)), np.ones((5, 2))), r"U has shape \(5, 2\)"),
        (lambda net, X: net.mixed_jvp(X, np.ones((5, 2)) / 2, np.ones(3)), r"v has shape \(3,\)"),
    ],
)
def test_misshapen_directions_are_refused(call: Any, message: str) -> None:
    net = gb.Network(two_halves(), backend="numpy")
    with pytest.raises(gb.DataError, match=message):
        call(net, samples(net))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sample_of_weight_0_counts_for_nothing(backend: str) -> None:
    net = gb.Network(gb.layered([2, 3, 1], activation="exp", seed=2), backend=backend)
    X, T, v = np.array([[0.1, 0.2], [900.0, 900.0]]), np.ones((2, 1)), np.ones(net.n_parameters)
    pull = net.mixed_jvp(X, T, v, [2.0, 0.0])
    assert not pull[1].any()
    np.testing.assert_allclose(pull[:1], 2 * net.mixed_jvp(X[:1], T[:1], v), rtol=1e-13)
    np.testing.assert_allclose(net.mixed_vjp(X, T, X, [2.0, 0.0]), 2 * net.mixed_vjp(X[:1], T[:1], X[:1]), rtol=1e-13)
    assert not net.mixed_vjp(X, T, X, [0.0, 0.0]).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_of_every_output(backend: str) -> None:
    """E is a sum over outputs: each with its own weight adds its own part."""
    net = gb.Network(two_halves(), backend=backend)
    X, T, v = samples(net), np.full((5, 2), 0.4), np.linspace(-1, 1, net.n_parameters)
    s = np.random.default_rng(0).uniform(0.5, 2, size=(5, 2))
    reference, one, two = net.to("numpy"), s * [1, 0], s * [0, 1]
    close(net.mixed_jvp(X, T, v, s), reference.mixed_jvp(X, T, v, one) + reference.mixed_jvp(X, T, v, two))
    close(net.mixed_vjp(X, T, X, s), reference.mixed_vjp(X, T, X, one) + reference.mixed_vjp(X, T, X, two))


# -- composed ----------------------------------------------------------------------------------------------------------------------


class Least(HostBackend):
    """The NumPy backend with what is required, and products with the Hessian (or the whole of it)."""

    name = "least"

    def __init__(self, *more: str) -> None:
        self.methods = (*REQUIRED_METHODS, *more)

    def compile(self, *args: Any) -> Any:
        whole = registry.get_backend("numpy").compile(*args)
        return type("Executable", (), {name: staticmethod(getattr(whole, name)) for name in self.methods})()


CALLS: dict[str, Any] = {
    "input_hessian": lambda net, X, V, U, v: net.input_hessian(X),
    "input_hessian of V": lambda net, X, V, U, v: net.input_hessian(X, V),
    "input_hessian_diagonal": lambda net, X, V, U, v: net.input_hessian_diagonal(X),
    "laplacian": lambda net, X, V, U, v: net.laplacian(X),
    "second_order_product": lambda net, X, V, U, v: np.concatenate([part.ravel() for part in net.second_order_product(X, V, U, v)]),
    "mixed_jvp": lambda net, X, V, U, v: net.mixed_jvp(X, V / 9, v),
    "mixed_vjp": lambda net, X, V, U, v: net.mixed_vjp(X, V / 9, U, np.arange(1.0, len(X) + 1)),
}


@pytest.mark.parametrize("has", ["hessian_product", "hessian", "second_order_product"])
@pytest.mark.parametrize("graph", [two_halves(), gb.layered([3, 9, 4, 2], activation="tanh", seed=3)], ids=["units", "layers"])
def test_composed_is_exact(has: str, graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_added", {"least": Least(has)})
    least, whole = (gb.Network(graph, backend=backend) for backend in ("least", "numpy"))
    rng, X = np.random.default_rng(0), samples(whole, 3)
    given = X, rng.normal(size=(3, 2)), rng.normal(size=X.shape), rng.normal(size=whole.n_parameters)
    for name, call in CALLS.items():
        if has == "second_order_product" and name.startswith("mixed"):
            continue
        with warnings.catch_warnings(action="ignore", category=gb.ComposedWarning):
            found = call(least, *given)
        close(found, call(whole, *given), 1e-13)


def test_composing_is_announced_and_what_has_no_second_order_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_added", {"least": Least("hessian_product")})
    net = gb.Network(two_halves(), backend="least")
    with pytest.warns(gb.ComposedWarning, match="no error_product.*5 products with the Hessian"):
        net.mixed_jvp(samples(net), np.ones((5, 2)) / 2, np.ones(net.n_parameters))
    monkeypatch.setattr(registry, "_added", {"least": Least()})
    bare = gb.Network(two_halves(), backend="least")
    with (
        warnings.catch_warnings(action="ignore", category=gb.ComposedWarning),
        pytest.raises(gb.NotSupportedError, match="'least' offers no second_order_product"),
    ):
        bare.laplacian(samples(net))


@pytest.mark.parametrize("graph", [two_halves(), gb.layered([3, 9, 4, 2], activation="tanh", seed=3)], ids=["units", "layers"])
def test_moving_inputs_compute_the_same_function(graph: Any) -> None:
    """y(x + b), and the derivative by b is that by x."""
    net = gb.Network(graph, backend="numpy")
    moving = with_moving_inputs(net.schedule.live)
    backend = registry.get_backend("numpy")
    run = backend.compile(moving, net.error_function, net.dtype)
    X, b = samples(net), np.array([0.1, -0.2, 0.3])
    np.testing.assert_array_equal(run.forward(np.concatenate([net.weights, b]), X), net.forward(X + b))
    V = np.ones((5, 2))
    by_b = run.vjp(np.concatenate([net.weights, 0 * b]), X, V)[1][-3:]
    np.testing.assert_allclose(by_b, net.vjp(X, V).sum(axis=0), rtol=1e-13)


def with_a_product() -> nx.DiGraph[Any]:
    """y = tanh(a) · b + 0.5 x1, a product of two rows, and z = max(a, b)²."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("a", activation="tanh", bias=0.2)
    g.add_node("b", activation="sin", bias=-0.1)
    g.add_node("p", aggregation="product", activation="softplus")
    g.add_node("m", aggregation="max", activation="square", role="output")
    g.add_node("y", bias=0.1, role="output")
    g.add_weighted_edges_from([("x1", "a", 0.7), ("x2", "a", -0.5), ("x1", "b", 0.4), ("x3", "b", 0.9)])
    g.add_weighted_edges_from([("a", "p", 1.0), ("b", "p", 0.8), ("x3", "p", 0.6), ("p", "y", 1.2), ("x1", "y", 0.5)])
    g.add_weighted_edges_from([("a", "m", 1.0), ("b", "m", 1.0)])
    return g


@pytest.mark.parametrize("backend", BACKENDS)
def test_nodes_that_multiply_and_choose(backend: str) -> None:
    """Against the complex step of the Jacobian; nothing is composed."""
    net = gb.Network(with_a_product(), backend=backend)
    X = samples(net)
    run = registry.get_backend("numpy").compile(net.schedule.live, net.error_function, np.dtype(np.complex128))
    theta, step = net.weights.astype(complex), 1e-100j * np.eye(3)
    H = np.stack([run.jacobian(theta, X + each).imag for each in step], axis=-1) / 1e-100  # type: ignore[attr-defined]
    V, U, v = np.cos(np.arange(10.0)).reshape(5, 2), np.cos(X), np.linspace(-1, 1, net.n_parameters)
    close(net.input_hessian(X), H)
    close(net.input_hessian(X, V), np.einsum("nk,nkij->nij", V, H))
    close(net.input_hessian_diagonal(X), np.einsum("nkii->nki", H))
    close(net.input_hessian_diagonal(X, V), np.einsum("nk,nkii->ni", V, H))
    close(net.laplacian(X), np.einsum("nkii->nk", H))
    by_x, by_theta = net.second_order_product(X, V, U, v)
    moved = run.vjp(theta + 1e-100j * v, X + 1e-100j * U, V.astype(complex))
    close(by_x, moved[0].imag / 1e-100)
    close(by_theta, moved[1].imag / 1e-100)
    assert net.check(X, np.ones((5, 2))).ok


def product_of(*terms: tuple[str, float], activation: str = "identity") -> nx.DiGraph[Any]:
    """y = h(Π w x), z = x2."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from([("x1", {}), ("x2", {}), ("x3", {})])
    g.add_node("y", aggregation="product", activation=activation, role="output")
    g.add_node("z", role="output")
    g.add_weighted_edges_from([*((name, "y", w) for name, w in terms), ("x2", "z", 1.0)])
    return g


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [1, 33])
def test_a_product_of_inputs(backend: str, n: int) -> None:
    """∂²(w x1 x2)/∂x1∂x2 = w, to the last digit where the factors differ by 16 orders, and 0 for what it is not made of."""
    net = gb.Network(product_of(("x1", 0.5), ("x2", 3.0)), backend=backend)
    X = np.random.default_rng(0).normal(size=(n, 3)) * [1e8, 1e-8, 1.0]
    expected = np.zeros((n, 2, 3, 3))
    expected[:, 0, 0, 1] = expected[:, 0, 1, 0] = 1.5
    np.testing.assert_array_equal(net.input_hessian(X), expected)
    assert not net.laplacian(X).any()
    curved = gb.Network(product_of(("x1", 0.5), ("x2", 3.0), activation="exp"), backend=backend)
    x = X / [1e8, 1e-8, 1.0]
    p = 1.5 * x[:, 0] * x[:, 1]
    close(curved.laplacian(x)[:, 0], 1.5**2 * np.exp(p) * (x[:, 0] ** 2 + x[:, 1] ** 2))
