"""Bundles of units with the same sources, and forward values in stages: the same values as the definition, whatever is cut or shared."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

import graphbp as gb
from graphbp.testing.tolerances import relative_difference, tolerance
from graphbp_numba import backend, executable
from graphbp_numba.plan.bundles import find_bundles
from graphbp_numba.tiles import path, stages


@pytest.fixture(autouse=True)
def tiles_alone(monkeypatch):
    """No network takes the blocks' path."""
    monkeypatch.setattr(executable, "worthwhile_pieces", lambda schedule, layered: None)


def butterfly(depth, width, block, activation, *, bias=0.0, seed=0):
    """Levels of `width` units in blocks: units that are equal modulo width / block share all their sources."""
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    g.add_nodes_from((0, j) for j in range(width))
    stride = width // block
    for level in range(1, depth + 1):
        for j in range(width):
            g.add_node((level, j), activation=activation, bias=bias)
            for i in range(j % stride, width, stride):
                g.add_edge((level - 1, i), (level, j), weight=float(rng.normal()) / block**0.5)
    return g


def pair(g, dtype):
    net = gb.Network(g, backend="numpy")
    return backend.compile(net.schedule.live, net.error_function, np.dtype(dtype)), net


def agree(found, wanted, dtype, kind):
    assert relative_difference(found, wanted) <= tolerance("numba", dtype, kind).value


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 7, 33, 200])
def test_bundles_give_the_values_and_the_gradient_of_the_definition(dtype, n):
    made, net = pair(butterfly(3, 24, 6, "tanh", bias=0.1), dtype)
    assert made.work.plan.n_bundles == 3 * 4, "six units share their sources: one bundle of four in each block"
    assert "12 bundles" in made.describe(200)
    rng = np.random.default_rng(n)
    X, T = rng.normal(size=(n, 24)).astype("float32"), rng.normal(size=(n, 24)).astype("float32")
    theta = net.weights.astype("float32")
    net.weights = theta.astype(float)
    args = [np.ascontiguousarray(a, dtype) for a in (theta, X, T)]
    agree(made.forward(*args[:2]), net.forward(X), dtype, "value")
    value, gradient = made.error_and_gradient(*args, None)
    wanted, slope = net.error_and_gradient(X, T)
    agree(value, wanted, dtype, "value")
    agree(gradient, slope, dtype, "first")


def test_frozen_and_tied_weights_in_bundles():
    g = butterfly(2, 8, 8, "tanh", bias=0.2)
    edges = list(g.edges)
    for edge in edges[:9]:
        g.edges[edge]["frozen"] = True
    for edge in edges[20:24]:
        g.edges[edge].update(tied="one", weight=0.5)
    made, net = pair(g, "float64")
    assert made.work.plan.n_bundles
    rng = np.random.default_rng(1)
    X, T = rng.normal(size=(50, 8)), rng.normal(size=(50, 8))
    agree(made.forward(net.weights, X), net.forward(X), "float64", "value")
    agree(made.error_and_gradient(net.weights, X, T, None)[1], net.gradient(X, T), "float64", "first")


def test_bundles_are_rows_of_one_level_with_equal_sources():
    rng = np.random.default_rng(0)
    lists = [sorted(rng.choice(50, 5, replace=False).tolist()) for _ in range(6)]
    rows = [lists[k] for k in rng.integers(6, size=60)]
    in_ptr = np.concatenate([np.zeros(51, np.int64), np.cumsum([5] * 60)])
    in_src = np.array(rows, np.int32).ravel()
    level = np.concatenate([np.zeros(50, np.int32), np.repeat([1, 2], 30)])
    found = find_bundles(in_ptr, in_src, level)
    assert len(found.rows)
    flat = found.rows.ravel().tolist()
    assert len(set(flat)) == len(flat)
    for bundle, first, stop in zip(found.rows, found.ptr, found.ptr[1:], strict=False):
        assert len(set(level[bundle].tolist())) == 1
        for k, row in enumerate(bundle):
            assert found.src[first:stop].tolist() == in_src[in_ptr[row] : in_ptr[row + 1]].tolist()
            places = found.edges.reshape(-1, 4)[first:stop, k]
            assert places.tolist() == list(range(in_ptr[row], in_ptr[row + 1]))
    assert not len(find_bundles(np.zeros(4, np.int64), np.empty(0, np.int32), np.zeros(3, np.int32)).rows)


@pytest.fixture
def short_stages(monkeypatch):
    """Two levels of 16 rows fit a stage, and a task has few samples."""
    monkeypatch.setattr(stages, "STAGE_BYTES", 40 * path.STAGE_VECTORS * 64)
    monkeypatch.setattr(stages, "WORTH_BYTES", 0)
    monkeypatch.setattr(path, "TASK_SAMPLES", 100)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "step"])
def test_stages_give_the_values_of_the_definition(activation, dtype, short_stages):
    made, net = pair(butterfly(9, 16, 4, activation, bias=-0.3), dtype)
    assert made.tiles.stages is not None
    assert made.tiles.stages.rows <= 48
    assert (made.tiles.stages.packs > 0) == (activation in ("relu", "step"))
    theta = net.weights.astype("float32")
    net.weights = theta.astype(float)
    for n in (9, 17, 64, 65, 333):
        X = np.random.default_rng(n).normal(size=(n, 16)).astype("float32")
        first = None
        for threads in (1, 3):
            with gb.config(threads=threads):
                Y = made.forward(theta.astype(dtype), X.astype(dtype))
            agree(Y, net.forward(X), dtype, "value")
            first = Y.tobytes() if first is None else first
            assert Y.tobytes() == first


def test_samples_that_are_zero_are_told_from_those_that_are_not(short_stages):
    g = butterfly(8, 16, 4, "relu", bias=-0.02)
    made, net = pair(g, "float64")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 16)) * rng.choice([0.0, 1e-3, 0.2, 3.0], size=(500, 1))
    X[7] = np.nan
    Y, wanted = made.forward(net.weights, X), net.forward(np.nan_to_num(X))
    alive = wanted.any(axis=1)
    assert 0 < alive.sum() < 400, "some samples die on the way, and some live"
    X[7] = 0
    agree(np.delete(Y, 7, axis=0), np.delete(wanted, 7, axis=0), "float64", "value")
    assert np.isnan(Y[7]).all()


def test_no_stages_where_an_edge_skips_every_waist():
    g = butterfly(6, 16, 4, "relu")
    for level in range(2, 7):
        g.add_edge((0, 0), (level, 0), weight=0.1)
    assert pair(g, "float64")[0].tiles.stages is None
    early = butterfly(6, 16, 4, "relu")
    early.nodes[1, 3]["role"] = "output"
    made, net = pair(early, "float64")
    X = np.random.default_rng(0).normal(size=(60, 16))
    agree(made.forward(net.weights, X), net.forward(X), "float64", "value")


@pytest.mark.parametrize(
    ("activation", "dies"), [("sqrt", False), ("log", False), ("rsqrt", False), ("relu", True), ("tanh", False)]
)
def test_a_probe_outside_an_activations_domain_warns_of_nothing(activation, dies):
    """Warnings are errors here; a value that does not exist is not 0."""
    from graphbp_numba.tiles.stages import _dying

    schedule = gb.Network(gb.layered([2, 3, 1, 3, 1], activation=activation), backend="numpy").schedule
    assert _dying(schedule)[schedule.n_inputs : -1].all() == dies
