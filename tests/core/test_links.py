"""An output whose values the error cannot judge is refused when the network is built."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.activations import Activation, activation_table, sampled_range
from graphbp.activations.table import TABLE
from graphbp.cli import main
from graphbp.error_functions import error_table

BUILT_IN = [row for row in activation_table if row.builtin]


def build(activation: str, error: str, units: int = 2) -> gb.Network:
    return gb.Network(gb.layered([3, 4, units], output_activation=activation), error=error, backend="numpy")


@pytest.fixture
def registered() -> Iterator[None]:
    """Activations of a user's own, forgotten again."""
    known = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(known)


@pytest.mark.parametrize(
    ("error", "activation", "fits"),
    [
        ("binary_cross_entropy", "identity", "sigmoid"),
        ("binary_cross_entropy", "tanh", "sigmoid"),
        ("binary_cross_entropy", "relu", "sigmoid"),
        ("binary_cross_entropy", "exp", "sigmoid"),
        ("cross_entropy", "identity", "softmax"),
        ("cross_entropy", "tanh", "softmax"),
        ("poisson", "identity", "exp"),
        ("poisson", "elu", "exp"),
        ("poisson", "log", "exp"),
    ],
)
def test_a_head_that_cannot_serve_its_error(error: str, activation: str, fits: str) -> None:
    with pytest.raises(gb.GraphError) as caught:
        build(activation, error)
    for word in ("output 'y'", repr(activation), f"error='{error}'", f"activation='{fits}'"):
        assert word in str(caught.value)


@pytest.mark.parametrize("error", [row.name for row in error_table if row.builtin])
def test_layered_picks_the_activation_that_fits(error: str) -> None:
    graph = gb.layered([3, 4, 2], error=error)
    assert graph.nodes["y"]["activation"] == gb.error_functions()[error].canonical
    gb.Network(graph, error=error, backend="numpy")
    drawn = gb.random_dag(3, 4, 2, error=error)
    edges = gb.from_edges([0, 0], [1, 2], 1.0, error=error)
    for graph in (drawn, edges):
        gb.Network(graph, error=error, backend="numpy")
    assert gb.layered([3, 2], output_activation="tanh", error=error).nodes["y"]["activation"] == "tanh"


@pytest.mark.parametrize("row", BUILT_IN, ids=lambda row: row.name)
def test_the_table_says_what_an_activation_can_give(row: Activation) -> None:
    assert row.range is not None
    low, high = row.range
    if not row.elementwise:
        assert (low, high) == (0, 1)
        return
    least, most = sampled_range(row)
    assert low <= least
    assert most <= high
    for end, found in ((low, least), (high, most)):
        assert abs(found) > 10 if np.isinf(end) else abs(found - end) < 0.01 * max(1, abs(end))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(("stated", "scale", "fits"), [(None, 1.0, True), ((0.0, 1.0), 1.0, True), (None, 1.1, False)])
@pytest.mark.usefixtures("registered")
def test_a_registered_activation_is_judged_by_its_range(
    backend: str, stated: tuple[float, float] | None, scale: float, fits: bool, usable: object
) -> None:
    usable(backend)  # type: ignore[operator]
    name = f"test.half_cosine.{scale}.{stated}"
    gb.register_activation(
        name,
        lambda a: scale * (1 + np.cos(a)) / 2,
        lambda a: -scale * np.sin(a) / 2,
        lambda a: -scale * np.cos(a) / 2,
        range=stated,
    )
    graph = gb.layered([3, 2, 1], output_activation=name)
    if fits:
        assert gb.Network(graph, error="binary_cross_entropy", backend=backend).n_parameters == 11
    else:
        with pytest.raises(gb.GraphError, match=r" to 1\.1, and error='binary_cross_entropy' is defined for y from 0 to 1"):
            gb.Network(graph, error="binary_cross_entropy", backend=backend)


@pytest.mark.usefixtures("registered")
def test_a_stated_range_that_the_function_leaves_is_refused() -> None:
    with pytest.raises(gb.RegistryError, match=r"takes values from -1 to 1, outside range=\(0\.0, 1\.0\)"):
        gb.register_activation("test.wide", np.sin, np.cos, lambda a: -np.sin(a), range=(0, 1))


def test_one_output_is_no_distribution() -> None:
    with pytest.raises(gb.GraphError, match=r"activation='sigmoid', and the network error='binary_cross_entropy'"):
        build("identity", "cross_entropy", 1)


def test_every_output_counts() -> None:
    g = nx.DiGraph()
    g.add_nodes_from(["good", "bad"], role="output")
    g.nodes["good"]["activation"] = "sigmoid"
    g.add_weighted_edges_from([("x", "good", 1.0), ("good", "bad", 1.0)])
    with pytest.raises(gb.GraphError, match="output 'bad' has activation 'identity'"):
        gb.Network(g, error="binary_cross_entropy", backend="numpy")


def test_the_command_line_says_the_same(tmp_path, capsys) -> None:
    path = tmp_path / "net.json"
    build("identity", "sum_of_squares").save(path)
    assert main(["info", str(path), "--backend", "numpy", "--error", "poisson"]) == 2
    assert "give the output activation='exp'" in capsys.readouterr().err
