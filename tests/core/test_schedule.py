"""The schedule: rows in topological order, every weight in one slot, dense blocks found however they were built."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import graphbp as gb
from graphbp.graph import read_graph
from graphbp.levels import MIN_DENSE_ENTRIES
from graphbp.lowering import lower
from graphbp.schedule import Schedule


@st.composite
def graphs(draw: st.DrawFn) -> nx.DiGraph:
    """Any DAG of units and layers, with scalar, dense and sparse weights, frozen ones, and units that share all sources."""
    seed, n = draw(st.integers(0, 2**32 - 1)), draw(st.integers(3, 14))
    density, layers = draw(st.sampled_from([0.2, 0.5, 1.0])), draw(st.sampled_from([0.0, 0.4]))
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    twins = int(rng.integers(0, 40))  # units with one set of sources, wired one by one
    units = {i: int(rng.integers(2, 7)) if rng.random() < layers else 1 for i in range(n)}
    for i, u in units.items():
        fed = i > 1
        g.add_node(i, units=u, **({"bias": float(rng.normal()), "activation": str(rng.choice(["tanh", "sin"]))} if fed else {}))
        for j in range(i) if fed else ():
            if rng.random() < density:
                g.add_edge(j, i, weight=_weight(rng, u, units[j]), **({"trainable": False} if rng.random() < 0.1 else {}))
        if fed and not g.in_degree(i):
            g.add_edge(0, i, weight=_weight(rng, u, units[0]))
    pool = [j for j in range(n) if units[j] == 1][: int(rng.integers(1, 8))]
    for k in range(twins if pool else 0):
        for j in rng.permutation(pool):
            g.add_edge(int(j), ("twin", k), weight=float(rng.normal()))
    return g


def _weight(rng: np.random.Generator, m: int, n: int) -> Any:
    if m == n == 1:
        return float(rng.normal())
    dense = rng.normal(size=(m, n))
    return sparse.csr_array(dense * (rng.random((m, n)) < 0.4)) if rng.random() < 0.4 else dense


def _entries(s: Schedule) -> dict[tuple[int, int], int]:
    """(destination row, source row) → slot, over sparse edges and dense blocks."""
    found: dict[tuple[int, int], int] = {}
    pairs = [(j, int(s.in_src[e]), e) for j in range(s.n_rows) for e in range(s.in_ptr[j], s.in_ptr[j + 1])]
    for block in s.dense_blocks:
        for r in range(block.stop - block.start):
            pairs += [(block.start + r, int(i), block.slot + r * len(block.src) + c) for c, i in enumerate(block.src)]
    for j, i, slot in pairs:
        assert (j, i) not in found, "a weight stands twice"
        found[j, i] = slot
    return found


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_invariants(g: nx.DiGraph) -> None:
    spec = read_graph(g)
    s, layout = lower(spec)
    entries = _entries(s)
    w = s.parameters.expand(layout.theta)
    # every weight of the graph stands once, with its value, and nothing else does
    expected = {}
    for i, j, w_ji in g.edges(data="weight"):
        rows_i, rows_j = s.rows_of(spec.index[i]), s.rows_of(spec.index[j])
        coo = w_ji.tocoo() if sparse.issparse(w_ji) else None
        array = None if coo is not None else np.asarray(w_ji).reshape(rows_j.stop - rows_j.start, -1)
        for r, c in zip(coo.row, coo.col, strict=True) if coo is not None else np.ndindex(array.shape):
            expected[rows_j.start + int(r), rows_i.start + int(c)] = float(w_ji[r, c] if coo is not None else array[r, c])
    assert {at: float(w[slot]) for at, slot in entries.items()} == expected
    biases = s.bias_slot[s.bias_slot >= 0].tolist()
    assert sorted([*entries.values(), *biases]) == list(range(s.parameters.n_slots))
    # rows are topological, and a level is one more than the highest among the sources
    assert all(i < j for j, i in entries)
    level = {node: int(s.row_level[s.node_row[i]]) for i, node in enumerate(spec.names)}
    for i, node in enumerate(spec.names):
        assert set(s.row_level[s.rows_of(i)].tolist()) == {level[node]}
        fed = [level[source] for source in g.predecessors(node)]
        assert level[node] == (max(fed) + 1 if fed else 0)
    # CSR by destination, CSC by source: the same edges
    by_source = [(int(s.out_dst[e]), i, int(s.out_slot[e])) for i in range(s.n_rows) for e in range(s.out_ptr[i], s.out_ptr[i + 1])]
    by_destination = [(j, int(s.in_src[e]), e) for j in range(s.n_rows) for e in range(s.in_ptr[j], s.in_ptr[j + 1])]
    assert sorted(by_source) == by_destination
    # levels and segments tile the rows
    tiled = [row for level in s.levels for part in level.segments for row in range(part.start, part.stop)]
    assert tiled == list(range(s.n_inputs, s.n_rows))
    for level in s.levels:
        assert level.n_sparse == s.in_ptr[level.stop] - s.in_ptr[level.start]
        for part in level.segments:
            assert set(s.row_activation[part.start : part.stop].tolist()) == {part.activation}
    assert str(s).count("\n") >= 3


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_dense_blocks_are_what_brute_force_finds(g: nx.DiGraph) -> None:
    """Unit nodes with one set of sources (no sparse weight among them), two or more, and enough edges: exactly those are blocks."""
    spec = read_graph(g)
    s, _ = lower(spec)
    sets: dict[frozenset[Any], list[Any]] = defaultdict(list)
    for node, data in g.nodes(data=True):
        weights = [w for _, _, w in g.in_edges(node, data="weight")]
        full = all(not sparse.issparse(w) or w.nnz == w.shape[0] * w.shape[1] for w in weights)
        if data.get("units", 1) == 1 and weights and full:
            sets[frozenset(g.predecessors(node))].append(node)
    expected = set()
    for sources, members in sets.items():
        rows = sorted(r for i in sources for r in range(*s.rows_of(spec.index[i]).indices(s.n_rows)))
        if len(members) >= 2 and len(members) * len(rows) >= MIN_DENSE_ENTRIES:
            expected.add((frozenset(s.rows_of(spec.index[m]).start for m in members), tuple(rows)))
    layer_rows = {r for i in np.flatnonzero(spec.units > 1).tolist() for r in range(s.rows_of(i).start, s.rows_of(i).stop)}
    found = {(frozenset(range(b.start, b.stop)), tuple(b.src.tolist())) for b in s.dense_blocks if b.start not in layer_rows}
    assert found == expected


@settings(max_examples=50, deadline=None)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_relabelling_and_reordering_change_nothing_but_order(g: nx.DiGraph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes, edges = list(g.nodes(data=True)), list(g.edges(data=True))
    h = nx.DiGraph()
    h.add_nodes_from((f"new {nodes[k][0]}", nodes[k][1]) for k in rng.permutation(len(nodes)))
    h.add_edges_from((f"new {edges[k][0]}", f"new {edges[k][1]}", edges[k][2]) for k in rng.permutation(len(edges)))
    one, other = gb.Network(g, backend="numpy"), gb.Network(h, backend="numpy")
    assert sorted(b.shape for b in one.schedule.dense_blocks) == sorted(b.shape for b in other.schedule.dense_blocks)
    assert [lv.stop - lv.start for lv in one.schedule.levels] == [lv.stop - lv.start for lv in other.schedule.levels]
    assert (one.n_parameters, one.schedule.n_sparse) == (other.n_parameters, other.schedule.n_sparse)

    def columns(net: gb.Network, names: tuple[Any, ...]) -> dict[str, list[int]]:
        found, at = {}, 0
        for name in names:
            units = g.nodes[name].get("units", 1) if name in g else h.nodes[name].get("units", 1)
            found[str(name).removeprefix("new ")] = list(range(at, at + units))
            at += units
        return found

    X = rng.normal(size=(3, one.schedule.n_inputs))
    moved = np.empty_like(X)
    a, b = columns(one, one.inputs), columns(other, other.inputs)
    for name in a:
        moved[:, b[name]] = X[:, a[name]]
    Y, Z = one.forward(X), other.forward(moved)
    a, b = columns(one, one.outputs), columns(other, other.outputs)
    for name in a:
        np.testing.assert_allclose(Z[:, b[name]], Y[:, a[name]], rtol=1e-10, atol=1e-10)


def test_chain_of_100_000_units() -> None:
    g = nx.DiGraph()
    g.add_weighted_edges_from((i, i + 1, 1.0) for i in range(100_000))
    s, _ = lower(read_graph(g))
    assert (s.depth, s.n_sparse) == (100_000, 100_000)
    text = str(s)
    assert "more levels" in text
    assert len(text.splitlines()) < 20


@pytest.mark.parametrize("units", [1, 2, 3])
def test_as_few_as_two_units_that_share_many_sources_are_a_block(units: int) -> None:
    g = nx.DiGraph((("x", i), ("y", k), {"weight": 1.0}) for i in range(MIN_DENSE_ENTRIES) for k in range(units))
    assert [b.shape for b in gb.Network(g, backend="numpy").schedule.dense_blocks] == (
        [(units, MIN_DENSE_ENTRIES)] if units > 1 else []
    )


def test_mlp_wired_unit_by_unit_is_three_dense_blocks() -> None:
    widths = [784, 512, 512, 10]
    g = nx.DiGraph()
    g.add_nodes_from((0, i) for i in range(784))
    for layer, (n, m) in enumerate(pairwise(widths)):
        g.add_nodes_from(((layer + 1, j), {"bias": 0.1, "activation": "tanh"}) for j in range(m))
        g.add_weighted_edges_from(((layer, i), (layer + 1, j), 0.01) for j in range(m) for i in range(n))
    s, _ = lower(read_graph(g))
    assert [b.shape for b in s.dense_blocks] == [(512, 784), (512, 512), (10, 512)]
    assert s.n_sparse == 0
    assert all(b.src_start >= 0 for b in s.dense_blocks)
    assert s.flops("forward", 10) == 20 * (784 * 512 + 512 * 512 + 5120)
    assert "512×784" in str(s)


def test_arrays_are_read_only() -> None:
    s = gb.Network(gb.layered([4, 16, 3]), backend="numpy").schedule
    arrays = [*vars(s).values(), *vars(s.parameters).values(), *s.softmax_groups, *(b.src for b in s.dense_blocks)]
    arrays = [a for a in arrays if isinstance(a, np.ndarray)]
    assert len(arrays) >= 12
    assert not any(a.flags.writeable for a in arrays)
    with pytest.raises(ValueError, match="read-only"):
        s.in_src[...] = 0


def test_rows_are_described_by_node_and_unit() -> None:
    g = nx.DiGraph()
    g.add_node("x")
    g.add_node("wide", units=3)
    g.add_node("y")
    g.add_edge("x", "wide", weight=np.ones((3, 1)))
    g.add_edge("wide", "y", weight=np.ones((1, 3)))
    s, _ = lower(read_graph(g))
    assert [s.describe_row(r) for r in range(5)] == ["'x'", "'wide' unit 0", "'wide' unit 1", "'wide' unit 2", "'y'"]
