"""Graph Challenge: 30 official layers of 1,024 neurons and 1,200 official images must give the official categories, exactly.

    z ← min(max(W z + bias, 0), 32)

The rule adds the bias (−0.3) only where W z ≠ 0; where W z = 0, a = −0.3 and the clipped relu gives the same 0.
"""

from __future__ import annotations

import os
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy import sparse
from scipy.io import mmread

import graphbp as gb

CLIP = 32.0


def relu32(a):
    return np.minimum(np.maximum(a, 0.0), 32.0)


def d_relu32(a):
    return np.where((a > 0.0) & (a < 32.0), 1.0, 0.0)


def d2_relu32(a):
    return np.where(a > 0.0, 0.0, 0.0)


@pytest.fixture(scope="module", autouse=True)
def _relu32_is_registered():
    gb.register_activation("relu32_test", relu32, d_relu32, d2_relu32, kinks=(0.0, CLIP))


@pytest.fixture(params=["numpy", "numba"])
def backend(request):
    row = gb.backends().get(request.param)
    if row is None or not row.available:
        reason = f"backend {request.param}: {'unknown' if row is None else row.reason}"
        if request.param in os.environ.get("GRAPHBP_REQUIRE_BACKENDS", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="module")
def official():
    """(layers as CSR (units, sources), images (1200, 1024), the 0-based rows of the official categories)."""
    root = os.environ.get("GRAPHBP_DATA")
    base = Path(root) if root else Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = base / "graph_challenge"
    if not folder.is_dir():
        pytest.skip(f"no official files in {folder}; set GRAPHBP_DATA to the folder that holds graph_challenge/")
    layers = [sparse.csr_array(mmread(folder / f"n1024-l{k}.mtx.gz", spmatrix=False).T) for k in range(1, 31)]
    images = mmread(folder / "sparse-images-1024_subset.mtx.gz", spmatrix=False).toarray()[:, :1024]
    listed = mmread(folder / "neuron1024-l120-categories_subset.mtx.gz", spmatrix=False).toarray().ravel()
    return layers, images, np.flatnonzero(listed)


def graph_of(layers, bias=-0.3):
    g = nx.DiGraph()
    g.add_node(0, units=layers[0].shape[1])
    for k, matrix in enumerate(layers, 1):
        g.add_node(k, units=matrix.shape[0], activation="relu32_test", bias=np.full(matrix.shape[0], bias))
        g.add_edge(k - 1, k, weight=matrix)
    return g


def by_the_rule(layers, X, bias=-0.3):
    """The challenge's own wording: the bias only where the product is not zero."""
    z = X.T
    for matrix in layers:
        product = matrix @ z
        z = np.clip(np.where(product != 0, product + bias, 0.0), 0.0, CLIP)
    return z.T


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_official_categories_and_in_float64_the_rule_itself(official, backend, dtype):
    layers, images, categories = official
    Y = gb.Network(graph_of(layers), backend=backend, dtype=dtype).forward(images.astype(dtype))
    np.testing.assert_array_equal(np.flatnonzero(Y.sum(axis=1)), categories)
    if dtype == "float64":
        np.testing.assert_allclose(Y, by_the_rule(layers, images), rtol=1e-12, atol=1e-12)


def test_a_wrong_bias_changes_the_categories(official):
    """The comparison can fail: with −0.25 in place of −0.3 other rows survive."""
    layers, images, categories = official
    Y = gb.Network(graph_of(layers, bias=-0.25), backend="numpy").forward(images)
    assert not np.array_equal(np.flatnonzero(Y.sum(axis=1)), categories)


def test_sparse_layers_without_the_official_files(backend):
    """A sparse layer weight is its stored entries, not a full matrix: the same network made of dense weights with zeros agrees."""
    rng = np.random.default_rng(0)
    layers = [sparse.random_array((48, 48), density=0.15, rng=rng, format="csr") for _ in range(4)]
    X = (rng.random((17, 48)) < 0.5).astype(float)
    net = gb.Network(graph_of(layers), backend=backend)
    assert net.schedule.n_edges == sum(matrix.nnz for matrix in layers)
    assert net.n_parameters == net.schedule.n_edges + 4 * 48
    np.testing.assert_allclose(net.forward(X), by_the_rule(layers, X), rtol=1e-12, atol=1e-12)
    dense = gb.Network(graph_of([matrix.toarray() for matrix in layers]), backend=backend)
    np.testing.assert_allclose(net.forward(X), dense.forward(X), rtol=1e-12, atol=1e-12)
