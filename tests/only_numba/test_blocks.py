"""Sweeps block by block: every network of the zoo forced through them, what they are chosen for, bits that no thread changes."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

import scipy.sparse

import graphbp as gb
from graphbp.testing import relative_difference, tolerance, zoo
from graphbp_numba import executable
from graphbp_numba.blocks import path
from graphbp_numba.blocks.pieces import find_pieces

DTYPES = ["float64", "float32"]


def compare(net, X, T, s, V, name=""):
    """First order of the blocks' path beside the definition."""
    assert net.model.run.forward.__self__.blocks is not None, "another path was taken"
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
    """Every network without combinations takes the blocks' path."""
    monkeypatch.setattr(executable, "worthwhile_pieces", lambda s, layered: None if len(s.combinations) else find_pieces(s))


@pytest.mark.sampled(24)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [case for case in zoo() if not len(case.definition.schedule.combinations)], ids=str)
def test_the_zoo_forced_through_blocks(case, dtype, forced):
    compare(case.network("numba", dtype), case.X, case.T, case.sample_weight, case.V, case.name)
