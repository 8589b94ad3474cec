"""The compiled assembly of Hessians: its inner loops beside NumPy, and every path beside products and Jacobians, which it has no part in."""

from __future__ import annotations

import threading
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from numba import njit

import graphbp as gb
from graphbp.second_order.plan import HessianPlan
from graphbp.second_order.rows import worth_it
from graphbp.testing import tolerance
from graphbp_numba.hessians import assembly, groups, singles
from graphbp_numba.instructions.matrix_products import TILE_VECTORS
from graphbp_numba.instructions.sample_sums import SLOTS, aligned_array, padded_samples, sum_products, tile_sums
from graphbp_numba.machine.functions import VECTOR_BYTES
from graphbp_numba.machine.jit import compile_events

DTYPES = ("float64", "float32")


@njit
def call_tile_sums(tag, sources, bent, rows, others, vectors, out):
    tile_sums(tag, sources, bent, rows.ctypes.data, others.ctypes.data, vectors, out.ctypes.data)


@njit
def call_sum_products(tag, out, x, y, count, vectors):
    sum_products(tag, out.ctypes.data, x.ctypes.data, y.ctypes.data, x.shape[1] * x.itemsize, count, vectors)


def rows_of(rng, count, n, dtype):
    out = aligned_array((count, n), np.dtype(dtype))
    out[...] = rng.normal(size=(count, n))
    return out


def addresses(rows):
    return np.array([row.ctypes.data for row in rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bent", [1, 2])
@pytest.mark.parametrize("sources", [1, 3, 9])
def test_sums_of_a_tile(dtype, bent, sources):
    rng = np.random.default_rng(sources)
    lanes = 64 // np.dtype(dtype).itemsize
    rows, others = rows_of(rng, 2 * bent * SLOTS, 5 * lanes, dtype), rows_of(rng, sources, 5 * lanes, dtype)
    out = rows_of(rng, 1, 48, dtype)[0]
    before = out.astype(np.float64)
    tag = (np.dtype(dtype).type(0),)
    call_tile_sums(tag, (0,) * sources, (0,) * bent, addresses(rows), addresses(others), 5, out)
    b, z, *more = rows.astype(np.float64).reshape(-1, SLOTS, 5 * lanes)
    factor = b * z + (more[0] * more[1] if more else 0)
    count = SLOTS * sources
    expected = (factor @ others.astype(np.float64).T).ravel() + before[:count]
    np.testing.assert_allclose(out[:count], expected, rtol=0, atol=100 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(out[count:], before[count:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("vectors", [1, 4, 7])
def test_sum_of_products_of_rows(dtype, count, vectors):
    rng = np.random.default_rng(count)
    n = vectors * 64 // np.dtype(dtype).itemsize
    x, y, out = (rows_of(rng, count, n, dtype) for _ in range(3))
    call_sum_products((np.dtype(dtype).type(0),), out[0], x, y, count, vectors)
    np.testing.assert_allclose(out[0], (x * y).sum(axis=0), rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 16, 33, 64, 130])
def test_half_and_its_transpose(dtype, n):
    half = np.random.default_rng(n).normal(size=(n, n)).astype(dtype)
    expected = half + half.T
    for first in range(0, n, assembly.MIRROR):
        assembly.mirror((np.dtype(dtype).type(0),), half, first, min(first + assembly.MIRROR, n))
    np.testing.assert_array_equal(half, expected)


def test_padded_rows_are_an_odd_number_of_vectors():
    for itemsize in (4, 8):
        for n in (1, 8, 9, 16, 500, 1024):
            padded = padded_samples(n, itemsize)
            assert padded >= n
            assert padded * itemsize % 128 == 64


def network(kind, rng):
    """Networks that take the paths named."""
    g = nx.DiGraph()
    if kind == "blocks":  # more pairs of units and of sources than one block of sums holds
        sizes = [("x", 24), ("p", 26), ("q", 25), ("y", 2)]
        for name, units in sizes:
            inner = {} if name == "x" else {"bias": rng.normal(size=units), "activation": "identity" if name == "y" else "tanh"}
            g.add_node(name, units=units, **inner)
        for (a, m), (b, n) in [*pairwise(sizes), (sizes[0], sizes[2]), (sizes[1], sizes[3])]:
            g.add_edge(a, b, weight=rng.normal(size=(n, m)) / np.sqrt(m))
        return g
    g.add_node("x", units=5)
    names = []
    for i in range(26):  # units with sources of their own, from one to more than a tile of sums takes
        g.add_node(i, activation=("tanh", "sigmoid", "softplus")[i % 3], bias=float(rng.normal()))
        g.add_edge("x", i, weight=rng.normal(size=(1, 5)) / 2)
        for other in rng.permutation(names)[: i % 14]:
            g.add_edge(int(other), i, weight=float(rng.normal()) / 2)
        names.append(i)
    outputs = {"many outputs": 18, "singles": 3, "softmax": 5, "ties": 2, "one": 1, "dead ends": 3, "mostly frozen": 1}[kind]
    g.add_node("deep", units=6, activation="tanh", bias=rng.normal(size=6))  # a group behind single units
    for i in names[-9:-4] if kind == "dead ends" else names[-9:]:
        g.add_edge(i, "deep", weight=rng.normal(size=(6, 1)) / 2)
    g.add_node("y", units=outputs, activation="softmax" if kind == "softmax" else "identity", bias=np.zeros(outputs))
    g.add_edge("deep", "y", weight=rng.normal(size=(outputs, 6)) / 2)
    for i in names[::5]:
        g.add_edge(i, "y", weight=rng.normal(size=(outputs, 1)) / 2)
    if kind == "dead ends":  # with the outputs named, what leads nowhere else is none
        g.nodes["x"]["role"], g.nodes["y"]["role"] = "input", "output"
        g.add_node("aside", units=3, activation="tanh", bias=rng.normal(size=3))  # a group that leads nowhere
        for i in names[:9]:
            g.add_edge(i, "aside", weight=rng.normal(size=(3, 1)) / 2)
    if kind == "mostly frozen":  # fewer parameters than rows
        for number, (a, b) in enumerate(g.edges):
            g.edges[a, b]["trainable"] = (isinstance(a, int) and number % 15 == 0) or b == "y"
        for v in g.nodes:
            if v not in ("x", "deep"):
                g.nodes[v]["trainable"] = False
    if kind == "ties":
        edges = [(a, b) for a, b in g.edges if isinstance(a, int) and isinstance(b, int)]
        for a, b in edges[::3]:
            g.edges[a, b]["trainable"] = False
        value = g.edges[edges[1]]["weight"]
        for a, b in edges[1::7]:
            if g.edges[a, b].get("trainable", True):
                g.edges[a, b].update(tie="one", weight=value)
    return g


KINDS = ["blocks", "singles", "softmax", "many outputs", "ties", "one", "dead ends", "mostly frozen"]


def problem(kind, n, dtype="float64", seed=3):
    rng = np.random.default_rng(seed)
    net = gb.Network(
        network(kind, rng), backend="numba", error="cross_entropy" if kind == "softmax" else "sum_of_squares", dtype=dtype
    )
    k = net.schedule.n_outputs
    X, s = rng.normal(size=(n, net.schedule.n_inputs)), rng.uniform(0.5, 2, n)
    return net, X, rng.dirichlet(np.ones(k), n) if kind == "softmax" else rng.normal(size=(n, k)), s


def by_products(net, X, T, s):
    return net.hessian_operator(X, T, s) @ np.eye(net.n_parameters)


def by_jacobian(net, X, T, s):
    """Σ_n s_n J_nᵀ (∂²E/∂y²) J_n, with ∂²E/∂y² = 1 for the sum of squares and diag(1/y) for softmax with cross-entropy."""
    J = np.asarray(net.weight_jacobian(X), np.float64)
    y = np.asarray(net.forward(X), np.float64)
    curvature = 1 / y if net.error_function.name == "cross_entropy" else np.ones_like(y)
    return np.einsum("nkp,nk,nkq->pq", J, curvature * s[:, None], J, optimize=True)


def differs(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.sampled
@pytest.mark.parametrize("n", [1, 5, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_hessians_are_those_of_products_and_jacobians(kind, n):
    net, X, T, s = problem(kind, n)
    exact, outer = net.hessian(X, T, s), net.outer_product_hessian(X, T, s)
    np.testing.assert_array_equal(exact, exact.T)
    np.testing.assert_array_equal(outer, outer.T)
    expected = by_products(net, X, T, s)
    assert differs(exact, expected) < 1e-12
    assert differs(outer, by_jacobian(net, X, T, s)) < 1e-12
    assert differs(net.hessian_diagonal(X, T, s), expected.diagonal()) < 1e-12


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [10, 19, 33])  # padded to an odd number of vectors, which tiles of several do not cover
@pytest.mark.parametrize("kind", ["blocks", "singles", "softmax", "dead ends", "mostly frozen"])
def test_what_stood_in_the_memory_before_changes_nothing(kind, n, dtype):
    net, X, T, s = problem(kind, n, dtype)
    X, T, s = (np.asarray(v, dtype) for v in (X, T, s))
    methods = (net.hessian, net.outer_product_hessian, net.hessian_diagonal)
    first = [method(X, T, s) for method in methods]
    scratch = [(key, memory) for key, memory in net.model.run.executable.work.pool if isinstance(key, str)]
    for _, memory in scratch:
        memory[:] = 0xFF  # NaN
    assert "columns" in dict(scratch)
    for method, expected in zip(methods, first, strict=True):
        np.testing.assert_array_equal(method(X, T, s), expected)


def test_the_kinds_take_the_paths_they_are_for():
    plans = {kind: HessianPlan.of(problem(kind, 1)[0].schedule) for kind in KINDS}
    pairs = [g.n_units * g.n_sources for g in plans["blocks"].groups]
    assert max(pairs) > groups.SOURCE_TILES * TILE_VECTORS * VECTOR_BYTES // 8
    assert not plans["blocks"].single.any()
    assert max(g.n_sources for g in plans["singles"].groups if g.n_units == 1) > singles.MAX_SOURCES
    assert plans["singles"].groups_of_several
    assert worth_it(plans["singles"].schedule)
    assert not worth_it(plans["many outputs"].schedule)
    assert plans["ties"].tied
    assert plans["mostly frozen"].n_parameters < plans["mostly frozen"].schedule.n_rows
    assert plans["mostly frozen"].groups_of_several
    assert len(plans["mostly frozen"].single_rows)
    hidden = slice(plans["dead ends"].schedule.n_inputs, None)
    assert not plans["dead ends"].meets.diagonal()[hidden].all()
    assert plans["many outputs"].meets.diagonal()[hidden].all()
    assert not plans["many outputs"].meets[hidden, hidden].all()


@pytest.mark.parametrize("kind", ["singles", "blocks"])
def test_more_samples_than_a_tile_or_a_chunk(kind):
    net, X, T, s = problem(kind, 1301)
    parts = [slice(0, 100), slice(100, 1301)]
    for method in (net.hessian, net.outer_product_hessian, net.hessian_diagonal):
        whole = method(X, T, s)
        assert differs(sum(method(X[part], T[part], s[part]) for part in parts), whole) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_float32(kind):
    net, X, T, s = problem(kind, 40, "float32")
    exact = gb.Network(net.to_networkx(), backend="numpy", error=net.error_function.name)
    X, T, s = (np.asarray(v, np.float32) for v in (X, T, s))
    for name in ("hessian", "outer_product_hessian", "hessian_diagonal"):
        found = getattr(net, name)(X, T, s)
        assert found.dtype == np.float32
        assert differs(found, getattr(exact, name)(X, T, s)) < tolerance("numba", "float32", "second").value


@pytest.mark.parametrize("kind", ["blocks", "singles", "ties"])
def test_same_bits_for_any_number_of_threads_and_in_company(kind):
    net, X, T, s = problem(kind, 300)

    def all_bits():
        return [getattr(net, name)(X, T, s).tobytes() for name in ("hessian", "outer_product_hessian", "hessian_diagonal")]

    with gb.config(threads=1):
        expected = all_bits()
    found = []

    def work():
        found.extend(all_bits() for _ in range(5))

    others = [threading.Thread(target=work) for _ in range(3)]
    for other in others:
        other.start()
    work()
    for other in others:
        other.join()
    assert len(found) == 20
    assert all(bits == expected for bits in found)


def test_new_topology_compiles_nothing():
    def all_of(kind, seed):
        net, X, T, s = problem(kind, 9, seed=seed)
        for name in ("hessian", "outer_product_hessian", "hessian_diagonal"):
            getattr(net, name)(X, T, s)

    for kind in KINDS:
        all_of(kind, 3)
    before = compile_events()
    for kind in KINDS:
        all_of(kind, 4)
    assert compile_events() == before
