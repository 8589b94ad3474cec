"""Sweeps block by block: every network of the zoo forced through them, what they are chosen for, bits that no thread changes."""

from __future__ import annotations

from functools import cache

import networkx as nx
import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("numba", reason="the Numba backend is not installed")

import graphbp as gb
from graphbp.testing import relative_difference, tolerance, zoo
from graphbp_numba import executable
from graphbp_numba.blocks import path, pieces
from graphbp_numba.plan.tables import MODE_GRADIENT, MODE_VJP

DTYPES = ["float64", "float32"]


def run_of(net):
    """The backend's executable."""
    return net.model.run.executable


def compare(net, X, T, s, V, name=""):
    """First order of the blocks' path beside the definition."""
    assert run_of(net).blocks is not None, "another path was taken"
    definition = net.to(backend="numpy")
    dtype = str(net.dtype)
    (e, g), (f, h) = net.error_and_gradient(X, T, s), definition.error_and_gradient(X, T, s)
    pairs = [("forward", net.forward(X), definition.forward(X), "value"), ("error", net.error(X, T, s), f, "value")]
    pairs += [("error", e, f, "value"), ("gradient", g, h, "first"), ("vjp", net.vjp(X, V), definition.vjp(X, V), "first")]
    pairs += [("weight_vjp", net.weight_vjp(X, V), definition.weight_vjp(X, V), "first")]
    for quantity, found, expected, kind in pairs:
        assert relative_difference(found, expected) <= tolerance("numba", dtype, kind).value, f"{name} {quantity} {dtype}"


@pytest.fixture
def forced(monkeypatch):
    """Every network without combinations takes the blocks' path, cut as finely as it can be."""
    monkeypatch.setattr(executable, "worthwhile_pieces", lambda s, layered: None if len(s.combinations) else pieces.find_pieces(s))
    monkeypatch.setattr(executable, "FEW_BLOCK_EDGES", -1)
    monkeypatch.setattr(path, "TASK_COST", 64)
    monkeypatch.setattr(path, "PARTITION_SAMPLES", 1)


@pytest.mark.sampled(24)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in zoo() if not len(case.definition.schedule.combinations)], ids=str)
def test_the_zoo_forced_through_blocks(case, dtype, forced):
    compare(case.network("numba", dtype), case.X, case.T, case.sample_weight, case.V, case.name)


# -- networks that it is for --------------------------------------------------------------------------------------------------------


def ontology(rng, units=6, terms=40, genes=50):
    """Small layers, each fed by earlier ones and by a few columns of a wide input; a head on every fifth."""
    g = nx.DiGraph()
    g.add_node("genes", units=genes, role="input")
    for t in range(terms):
        g.add_node(t, units=units, activation="tanh", bias=rng.normal(size=units))
        own = np.sort(rng.choice(genes, size=int(rng.integers(1, 20)), replace=False))
        dense = np.zeros((units, genes))
        dense[:, own] = rng.normal(size=(units, len(own))) / len(own) ** 0.5
        g.add_edge("genes", t, weight=scipy.sparse.csr_array(dense))
        for child in rng.choice(t, size=min(t, 2), replace=False).tolist():
            g.add_edge(child, t, weight=rng.normal(size=(units, units)) / units**0.5)
        if t % 5 == 0:
            g.add_node(f"y{t}", bias=0.1, role="output")
            g.add_edge(t, f"y{t}", weight=rng.normal(size=(1, units)))
    g.add_node("y", bias=0.0, role="output")
    g.add_edges_from((t, "y", {"weight": rng.normal(size=(1, units))}) for t in range(terms) if not g.out_degree(t))
    return g


def messages(rng, nodes=20, degree=4, rounds=3, units=9):
    """Rounds of messages on a fixed graph: weights tied over its nodes, so that one block stands in many places."""
    ring = nx.random_regular_graph(degree, nodes, seed=1)
    g = nx.DiGraph()
    g.add_nodes_from(((0, i), {"units": 5, "role": "input"}) for i in ring)
    for r in range(1, rounds + 1):
        own, other = (rng.normal(size=(units, 5 if r == 1 else units)) / 4 for _ in range(2))
        bias = rng.normal(size=units)
        for i in ring:
            g.add_node((r, i), units=units, activation="tanh", bias=bias, tie=f"bias {r}")
            g.add_edge((r - 1, i), (r, i), weight=own, tie=f"own {r}")
            g.add_edges_from(((r - 1, j), (r, i), {"weight": other, "tie": f"other {r}"}) for j in ring[i])
    for i in ring:
        g.add_node(("y", i), units=2, role="output", bias=np.zeros(2), tie="bias")
        g.add_edge((rounds, i), ("y", i), weight=np.ones((2, units)) / 3, tie="out")
    return g


def chain(rng, depth=30, units=5):
    """A deep stack of small layers, each fed by the two before it."""
    g = nx.DiGraph()
    g.add_node(0, units=units, role="input")
    for k in range(1, depth + 1):
        g.add_node(k, units=units, activation=("tanh", "softplus", "sin")[k % 3], bias=rng.normal(size=units) / 3)
        for source in range(max(0, k - 2), k):
            g.add_edge(source, k, weight=rng.normal(size=(units, units)) / units)
    g.nodes[depth].update(role="output", activation="identity")
    return g


def stack(rng):
    """Dense layers with softmax."""
    return gb.layered([17, 33, 24, 5], activation="relu", error="cross_entropy", seed=int(rng.integers(9)))


def partly_frozen(rng):
    """The ontology with frozen weights, read by slot."""
    g = ontology(rng)
    for t in range(0, 40, 3):
        g.edges["genes", t]["trainable"] = False
        g.nodes[t]["trainable"] = False
    return g


NETWORKS = {f.__name__: f for f in (ontology, messages, chain, stack, partly_frozen)}


@cache
def network(kind, dtype="float64"):
    """One compiled network a kind and dtype."""
    error = "cross_entropy" if kind == "stack" else "sum_of_squares"
    return gb.Network(NETWORKS[kind](np.random.default_rng(3)), error=error, backend="numba", dtype=dtype)


def batch(net, n):
    rng = np.random.default_rng(n)
    d, k = net.schedule.n_inputs, net.schedule.n_outputs
    X, V = rng.normal(size=(n, d)).astype(net.dtype), rng.normal(size=(n, k)).astype(net.dtype)
    return X, np.eye(k, dtype=net.dtype)[rng.integers(k, size=n)], rng.random(n).astype(net.dtype), V


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_numbers_of_samples(kind, dtype):
    """One sample, part of a vector, a tile and one, many partitions: the definition's results, weighted and not."""
    net = network(kind, dtype)
    for n in (1, 7, 17, 33, 500):
        X, T, s, V = batch(net, n)
        compare(net, X, T, s if n % 2 else None, V, f"{kind} N = {n}")


@pytest.mark.parametrize("kind", NETWORKS)
def test_chosen_and_described(kind):
    said = network(kind).describe(64)
    assert "blocks: the edges stand in" in said
    assert ("gathered first" in said) == (kind == "partly_frozen")
    assert ("sums for the tied ones" in said) == (kind == "messages")


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_same_bits_for_any_threads(kind, monkeypatch):
    monkeypatch.setattr(path, "TASK_COST", 1 << 12)
    net = network(kind)
    X, T, s, V = batch(net, 300)
    assert run_of(net).blocks.partitions(300, 20) > 1
    results = []
    for threads in (1, 2, 5):
        with gb.config(threads=threads):
            results.append([net.forward(X), *net.error_and_gradient(X, T, s), net.vjp(X, V)])
    for found in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found, results[0], strict=True))


@pytest.mark.parametrize("kind", ["ontology", "messages", "partly_frozen"])
def test_what_memory_held_before_reaches_no_result(kind):
    net = network(kind)
    X, T, s, V = batch(net, 37)

    def everything():
        return [net.forward(X), *net.error_and_gradient(X, T, s), net.vjp(X, V)]

    before = everything()
    kept = [array for _, array in run_of(net).blocks.work.pool]
    assert sum(array.nbytes for array in kept) > 8 * net.n_parameters
    for array in kept:
        array.view(np.float64)[...] = np.nan if array.dtype == np.float64 else 0
        if array.dtype == np.uint8:
            array[...] = 0xFF  # NaN, read as a float of either size
    for found, expected in zip(everything(), before, strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_samples_and_no_free_weight(dtype, forced):
    net = network("ontology", dtype)
    X, T, _, _ = batch(net, 3)
    run = run_of(net)
    assert run.error_and_gradient(net.weights.astype(dtype), X[:0], T[:0], None)[0] == 0
    g = chain(np.random.default_rng(0), depth=2)
    for attributes in (*(a for _, a in g.nodes(data=True)), *(a for *_, a in g.edges(data=True))):
        attributes["trainable"] = False
    net = gb.Network(g, backend="numba", dtype=dtype)
    X, T, s, V = batch(net, 5)
    assert net.n_parameters == 0
    compare(net, X, T, s, V)


def test_columns_that_do_not_stand_together(forced):
    """X and T as slices of wider arrays."""
    net = network("stack")
    X, T, s, _ = batch(net, 40)
    wide, targets = np.zeros((40, 2 * X.shape[1])), np.zeros((40, 3 * T.shape[1]))
    wide[:, ::2], targets[:, ::3] = X, T
    assert np.array_equal(net.gradient(wide[:, ::2], targets[:, ::3], s), net.gradient(X, T, s))


# -- pieces -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_weight_stands_in_one_piece(kind):
    s = network(kind).schedule.live
    p = pieces.find_pieces(s)
    theta = np.arange(1.0, s.n_parameters + 1)
    slots = s.parameters.expand(theta)
    values, found = theta if p.direct else slots, np.zeros((s.n_rows, s.n_rows))
    for start, m, at, k, first, stride in zip(p.start, p.rows, p.at, p.count, p.first, p.stride, strict=True):
        block = values[first + stride * np.arange(m)[:, None] + np.arange(k)]
        np.add.at(found, (np.arange(start, start + m)[:, None], p.sources[at : at + k]), block)
    wanted = np.zeros_like(found)
    wanted[np.repeat(np.arange(s.n_rows), np.diff(s.in_ptr)), s.in_src] = slots[: s.n_sparse]
    for block in s.dense_blocks:
        wanted[block.start : block.stop, block.src] = slots[block.slot : block.slot + block.size].reshape(block.shape)
    assert np.array_equal(found, wanted)
    assert np.array_equal(p.level, s.row_level[p.start])
    assert np.all(np.diff(p.level) >= 0)


def test_tied_pieces_stand_together_and_are_few_at_a_time():
    p = run_of(network("messages")).blocks.work.pieces
    assert len(p) == 20 * (3 * 5 + 1)
    assert (np.diff(p.jobs, axis=1) <= pieces.TIED_PIECES).all()
    assert p.jobs[0, 0] == 0
    assert np.array_equal(p.jobs[1:, 0], p.jobs[:-1, 1])
    assert len(p.jobs) == 3 * (20 // pieces.TIED_PIECES + 1 + 80 // pieces.TIED_PIECES) + 20 // pieces.TIED_PIECES + 1


@pytest.mark.parametrize("g", [gb.random_dag(8, 60, 3, density=0.3), gb.layered([100, 400, 400, 4])], ids=["random", "large"])
def test_not_chosen_for_networks_without_blocks_nor_for_large_dense_ones(g):
    net = gb.Network(g, backend="numba")
    assert run_of(net).blocks is None
    assert "blocks:" not in net.describe(64)


def test_few_samples_of_a_small_network_are_swept_edge_by_edge():
    net = gb.Network(gb.layered([4, 10, 3]), backend="numba")
    assert "one call:" in net.describe(8)
    assert "blocks:" in net.describe(9)


def test_a_failing_task_is_raised(monkeypatch):
    net = network("ontology")
    X, T, _, _ = batch(net, 300)
    monkeypatch.setattr(path, "TASK_COST", 1 << 12)
    before, entry = net.gradient(X, T), path.sweeps.sweep

    def fail(*arguments):
        if arguments[-1][2] == 0:
            raise MemoryError("planted")
        return entry(*arguments)

    for threads in (1, 3):
        with gb.config(threads=threads), monkeypatch.context() as patch:
            patch.setattr(path.sweeps, "sweep", fail)
            with pytest.raises(MemoryError, match="planted"):
                net.gradient(X, T)
    assert np.array_equal(net.gradient(X, T), before)


def test_the_paths_agree(monkeypatch):
    """Tiles, which expand blocks to edges, and blocks: the same network, the same numbers."""
    net = network("ontology")
    X, T, s, V = batch(net, 50)
    run, theta = run_of(net), net.weights
    for mode, targets, weights in ((MODE_GRADIENT, T, s), (MODE_VJP, V, None)):
        for found, wanted in zip(
            run.blocks.sweep(theta, X, targets, weights, mode), run.tiles.sweep(theta, X, targets, weights, mode), strict=True
        ):
            assert relative_difference(np.asarray(found), np.asarray(wanted)) <= tolerance("numba", "float64", "first").value


def test_a_level_that_leads_nowhere_leaves_a_gap(forced):
    """Where all units of a level are dead, the levels that are left are not numbered one by one."""
    g = nx.DiGraph()
    g.add_node("x", units=8, role="input")
    rng = np.random.default_rng(0)
    g.add_edge("x", "a", weight=rng.normal(size=(8, 8)))
    g.add_edge("a", "b", weight=rng.normal(size=(8, 8)), trainable=False)
    g.add_edge("a", "y", weight=rng.normal(size=(8, 8)))
    g.add_edge("b", "y", weight=scipy.sparse.csr_array((8, 8)))
    for node in "aby":
        g.nodes[node].update(units=8, activation="tanh", role="output" if node == "y" else "hidden")
    fast, exact = (gb.Network(g, backend=backend) for backend in ("numba", "numpy"))
    assert np.diff(fast.schedule.live.row_level).max() > 1
    X, T = rng.normal(size=(2, 5, 8))
    assert "blocks" in fast.model.run.executable.describe(5)
    assert np.allclose(fast.forward(X), exact.forward(X), rtol=1e-12)
    assert np.allclose(fast.gradient(X, T), exact.gradient(X, T), rtol=1e-12)
