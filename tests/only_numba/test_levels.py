"""The path over levels agrees with the tiles, however it is cut, and is taken for few samples on a huge network only."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from graphbp_numba.plan.tables import MODE_GRADIENT, MODE_VALUE, MODE_VJP

pytest.importorskip("numba", reason="the Numba backend is not installed")

import graphbp as gb
from graphbp.testing.tolerances import relative_difference, tolerance
from graphbp.testing.zoo import zoo
from graphbp_numba import backend
from graphbp_numba.levels import path as levels

CASES = [
    case
    for case in zoo()
    if case.definition.schedule.n_units
    and not case.gaps
    and not len(case.definition.schedule.combinations)  # tiles alone combine rows
]


def compiled(net, dtype="float64"):
    """The backend's executable."""
    return backend.compile(net.schedule.live, net.error_function, np.dtype(dtype))


def results(path, theta, X, T, V, s):
    """All that either path computes."""
    sweep = path.sweep
    value, _, _ = sweep(theta, X, T, s, MODE_VALUE)
    again, gradient, _ = sweep(theta, X, T, s, MODE_GRADIENT)
    assert value == again
    _, pulled, by_x = sweep(theta, X, V, None, MODE_VJP)
    return {"Y": path.forward(theta, X), "E": np.asarray(value), "gradient": gradient, "pulled": pulled, "by_x": by_x}


@pytest.mark.sampled(24)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_levels_agree_with_the_tiles_and_have_the_same_bits_however_they_are_cut(case, dtype, monkeypatch):
    made = compiled(case.definition, dtype)
    if made.layers is not None:
        pytest.skip("large dense blocks are matrix products on both paths")
    n = min(case.n_samples, 16)
    X, T, V = (np.ascontiguousarray(part[:n], dtype) for part in (case.X, case.T, case.V))
    s = None if case.sample_weight is None else np.ascontiguousarray(case.sample_weight[:n], dtype)
    theta = np.ascontiguousarray(case.definition.weights, dtype)
    tiles = results(made.tiles, theta, X, T, V, s)
    first = None
    for grain, threads in ((1, 3), (500, 2), (levels.PART_EDGES, 1)):
        monkeypatch.setattr(levels, "PART_EDGES", grain)
        with gb.config(threads=threads):
            found = results(levels.LevelPath(made.work), theta, X, T, V, s)
        for name, array in tiles.items():
            limit = tolerance("numba", dtype, "value" if name in "YE" else "first").value
            assert relative_difference(found[name], array) <= limit, name
        bits = {name: array.tobytes() for name, array in found.items()}
        first = bits if first is None else first
        assert bits == first, f"other bits in tasks of {grain} on {threads} threads"


def random_levels(width: int, depth: int, fan_in: int) -> nx.DiGraph:
    """Levels of `width` units, each fed by `fan_in` units of the level before."""
    rng = np.random.default_rng(5)
    g = nx.DiGraph()
    for level in range(1, depth + 1):
        for j in range(width):
            for i in rng.choice(width, fan_in, replace=False):
                g.add_edge((level - 1, int(i)), (level, j), weight=float(rng.normal()) / fan_in)
    nx.set_node_attributes(g, {node: "tanh" for node in g if node[0]}, "activation")
    return g


def test_the_path_is_taken_for_few_samples_on_a_huge_network_only():
    wide = compiled(gb.Network(random_levels(2000, 3, 20)))
    assert "levels" in wide.describe(32)
    assert "tiles" in wide.describe(33)
    assert "tiles" in wide.describe(0)
    deep = compiled(gb.Network(gb.random_dag(30, 6000, 5, fan_in=20, window=100, seed=1)))
    assert "tiles" in deep.describe(32)


def test_stages_hold_every_run_once_in_order():
    made = compiled(gb.Network(random_levels(2000, 3, 20)))
    stages = made.levels._stages(32)
    cuts = [cut for stage in stages for cut in stage.cuts]
    assert cuts[0] == 0
    assert cuts[-1] == len(made.work.plan.runs)
    assert all(a.cuts[-1] == b.cuts[0] for a, b in pairwise(stages))
    assert all(x < y for stage in stages for x, y in pairwise(stage.cuts))
    assert sum(stage.parts > 1 for stage in stages) == 3
