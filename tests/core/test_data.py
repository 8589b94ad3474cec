"""X, T, sample weights and vectors in every form that NumPy, DLPack or __array__ understands."""

from __future__ import annotations

import importlib.util
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

import graphbp as gb


def network(dtype: str = "float64") -> gb.Network:
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x1", "h", 0.4), ("x2", "h", -0.6), ("h", "y", 1.2), ("x1", "y", 0.3)])
    g.nodes["h"]["activation"] = "tanh"
    return gb.Network(g, backend="numpy", dtype=dtype)


VALUES = np.array([[1.0, 0.0], [2.0, 3.0], [0.0, -1.0]])
T = np.array([[0.0], [1.0], [0.5]])


class OnlyDLPack:
    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class OnlyArray:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return VALUES.astype(dtype or float)


class BothProtocols(OnlyArray):
    """A tensor with a gradient, say: DLPack refuses it, `__array__` does not; NumPy itself asks only the latter."""

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("not by this way")

    def __dlpack_device__(self) -> Any:
        return (1, 0)


def _foreign(library: str, make: str) -> Any:
    return getattr(importlib.import_module(library), make)(VALUES.tolist())


def _matrix(values: Any) -> Any:
    with warnings.catch_warnings(action="ignore", category=PendingDeprecationWarning):
        return np.asmatrix(values)


def _read_only() -> Any:
    array = VALUES.copy()
    array.flags.writeable = False
    return array


FORMS: dict[str, Any] = {
    "list": VALUES.tolist,
    "tuples": lambda: tuple(map(tuple, VALUES.tolist())),
    "int8": lambda: VALUES.astype("i1"),
    "big-endian": lambda: VALUES.astype(">f8"),
    "float16": lambda: VALUES.astype("f2"),
    "longdouble": lambda: VALUES.astype("g"),
    "memoryview": lambda: memoryview(VALUES),
    "Fortran": lambda: np.asfortranarray(VALUES),
    "strided": lambda: np.repeat(np.repeat(VALUES, 2, 0), 3, 1)[::2, ::3],
    "reversed": lambda: VALUES[::-1].copy()[::-1],
    "read-only": _read_only,
    "matrix": lambda: _matrix(VALUES),
    "masked, none": lambda: np.ma.masked_array(VALUES),
    "__array__": OnlyArray,
    "both": BothProtocols,
    "__dlpack__": lambda: OnlyDLPack(VALUES),
    "torch": lambda: _foreign("torch", "tensor"),
    "jax": lambda: _foreign("jax.numpy", "asarray"),
    "pandas": lambda: _foreign("pandas", "DataFrame"),
}
HEAVY = ("torch", "jax")  # of the extra `bench`: their arrays are tried where it is installed


@pytest.mark.filterwarnings("ignore")  # other libraries warn about themselves when they are imported
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("form", [form for form in FORMS if form not in HEAVY or importlib.util.find_spec(form)])
def test_every_form_of_inputs(form: str, dtype: str) -> None:
    net = network(dtype)
    X = FORMS[form]()
    Y = net.forward(X)
    assert type(Y) is np.ndarray
    assert Y.dtype == dtype
    assert np.array_equal(Y, net.forward(VALUES.astype(dtype)))
    assert np.array_equal(net.gradient(X, T), net.gradient(VALUES, T))
    assert np.array_equal(net.jvp(VALUES, X), net.jvp(VALUES, VALUES))


def test_values_whose_squares_overflow_are_finite() -> None:
    net = gb.Network(nx.DiGraph([("x", "y", {"weight": 0.5})]), backend="numpy")
    assert net.forward([[1e200], [-1e300]]).tolist() == [[5e199], [-5e299]]
    net.weights = [1e200]
    assert net.weights.tolist() == [1e200]


def test_bool_is_0_and_1() -> None:
    assert np.array_equal(network().forward([[True, False]]), network().forward([[1.0, 0.0]]))


def test_nothing_given_is_changed() -> None:
    X, t, s = VALUES.copy(), T.copy(), np.array([1.0, 2.0, 0.0])
    net = network()
    for call in (net.error, net.gradient, net.hessian, net.per_sample_gradient):
        call(X, t, s)
    assert np.array_equal(X, VALUES)
    assert np.array_equal(t, T)
    assert s.tolist() == [1.0, 2.0, 0.0]


def test_targets_of_one_output_may_be_flat() -> None:
    assert network().error(VALUES, T[:, 0]) == network().error(VALUES, T)


@pytest.mark.parametrize("kind", [list, np.uint64, np.int8, "column", "matrix"])
def test_labels_are_one_hot_rows(kind: Any) -> None:
    g = nx.DiGraph()
    g.add_weighted_edges_from([("x", f"y{c}", 0.5 * c) for c in range(3)])
    for c in range(3):
        g.nodes[f"y{c}"]["activation"] = "softmax"
    net = gb.Network(g, error="cross_entropy", backend="numpy")
    X, labels = np.array([[1.0], [2.0]]), [2, 0]
    given = {list: labels, "column": np.array(labels)[:, None], "matrix": _matrix(np.array(labels)[:, None])}.get(kind)
    assert net.error(X, np.array(labels, kind) if given is None else given) == net.error(X, np.eye(3)[labels])


def test_sample_weights_count_samples() -> None:
    net = network()
    assert net.error(VALUES, T, [2, 0, 1]) == pytest.approx(net.error(VALUES[[0, 0, 2]], T[[0, 0, 2]]), rel=1e-14)


@pytest.mark.parametrize("value", [2, np.int32(2), np.float32(2), Fraction(4, 2), Decimal("2.0"), np.array(2.0), [[2.0]], 2.0])
def test_every_form_of_a_scalar_weight(value: Any) -> None:
    g = nx.DiGraph([("x", "y", {"weight": value})])
    assert gb.Network(g, backend="numpy").weights.tolist() == [2.0]


def test_a_large_int_that_float64_holds() -> None:
    g = nx.DiGraph([("x", "y", {"weight": 10**300})])
    assert gb.Network(g, backend="numpy").weights.tolist() == [1e300]


@pytest.mark.parametrize(
    "form", ["csr_matrix", "csc_matrix", "coo_matrix", "lil_matrix", "dok_matrix", "csr_array", "csc_array", "coo_array"]
)
def test_every_sparse_format(form: str) -> None:
    dense = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    g = nx.DiGraph()
    g.add_node("x", units=3)
    g.add_node("y", units=2)
    g.add_edge("x", "y", weight=getattr(sparse, form)(dense))
    net = gb.Network(g, backend="numpy")
    assert net.weights.tolist() == [2.0, 1.0, 3.0]
    assert net.forward([[1.0, 2.0, 3.0]]).tolist() == [[4.0, 10.0]]


def test_targets_that_sum_to_one_but_for_rounding_keep_value_and_gradient_consistent():
    """δ = y − t is the derivative of E only where Σ_k t_k = 1: rounding in T must not show in the gradient."""
    net = gb.Network(gb.layered([3, 4], output_activation="softmax"), error="cross_entropy", backend="numpy")
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(5, 3)), rng.dirichlet(np.ones(4), size=5) * (1 + 5e-6)
    came = T.copy()
    np.testing.assert_allclose(net.gradient(X, T), net.numerical_gradient(X, T, method="complex_step"), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(T, came)
