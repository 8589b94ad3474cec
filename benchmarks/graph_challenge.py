"""The sparse deep neural network Graph Challenge: reading the official files, and making networks of any official size.

    z ← min(max(Wᵀ z + bias, 0), 32)        120, 480 or 1920 layers, 32 edges into every neuron, all weights 1/16

The challenge adds the (negative) bias only where the product is not zero.  Adding it everywhere is the same: where the product is 0,
a = bias < 0 and the clipped relu gives the 0 that the rule gives.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

import graphbp as gb
from benchmarks.networks import Array
from benchmarks.outcome import MissingError

CLIP = 32.0
BIAS = {1024: -0.3, 4096: -0.35, 16384: -0.4, 65536: -0.45}
ACTIVATION = "relu32"


def _relu32(a: Array) -> Array:
    return np.minimum(np.maximum(a, 0.0), 32.0)


def _d_relu32(a: Array) -> Array:
    return np.where((a > 0.0) & (a < 32.0), 1.0, 0.0)


def _d2_relu32(a: Array) -> Array:
    return np.where(a > 0.0, 0.0, 0.0)


def register() -> None:
    """Add min(max(a, 0), 32) to the table of activations, the way any user adds one."""
    gb.register_activation(ACTIVATION, _relu32, _d_relu32, _d2_relu32, formula="min(max(a, 0), 32)", kinks=(0.0, CLIP))


def folder() -> Path:
    """Where the official files are: $GRAPHBP_DATA/graph_challenge, else ../shared/data/graph_challenge beside the repository."""
    root = os.environ.get("GRAPHBP_DATA")
    base = Path(root) if root else Path(__file__).resolve().parents[2] / "shared" / "data"
    found = base / "graph_challenge"
    if not found.is_dir():
        raise MissingError(f"no Graph Challenge files in {found}", "set GRAPHBP_DATA to the folder that holds graph_challenge/")
    return found


def _read(name: str) -> Any:
    from scipy.io import mmread

    matrix: Any = mmread(folder() / name, spmatrix=False)
    return matrix.tocsr()


def official_layers() -> list[Any]:
    """The 30 layers, as CSR (units, sources), float32.  The files hold W(i, j) for the edge i → j, so they are transposed."""
    return [_read(f"n1024-l{k}.mtx.gz").T.tocsr().astype(np.float32) for k in range(1, 31)]


def official_images() -> Array:
    """(1200, 1024) float32, zeros and ones."""
    images = _read("sparse-images-1024_subset.mtx.gz").toarray().astype(np.float32)
    return np.ascontiguousarray(images[:, :1024])


def official_categories() -> Array:
    """Rows (0-based) that the reference solution leaves with a non-zero sum."""
    listed = _read("neuron1024-l120-categories_subset.mtx.gz")
    return np.flatnonzero(listed.toarray().ravel())


def generated_layers(neurons: int, layers: int, seed: int = 0) -> list[Any]:
    """Layers of an official size, CSR (units, sources), float32.

    kron(ones(16, 16), C_k): C_k is circulant of size 2^d = neurons / 16, 1/16 at distances 0 and 2^(k−1) for k = 1..d; each block of
    d layers after the first has its sources permuted by one random permutation.
    """
    from scipy import sparse

    d = int(np.log2(neurons // 16))
    if neurons not in BIAS:
        raise ValueError(f"{neurons} neurons is not one of {sorted(BIAS)}")
    rng = np.random.default_rng(seed)
    size = 2**d
    column = np.arange(size)
    base = []
    for k in range(d):
        row = np.concatenate([column, (column + 2**k) % size])
        circulant = sparse.csr_array((np.full(2 * size, 1 / 16, np.float32), (row, np.tile(column, 2))), shape=(size, size))
        base.append(sparse.kron(np.ones((16, 16), np.float32), circulant, format="csr"))  # [source, unit]
    out, permutation = [], np.arange(neurons)
    for layer in range(layers):
        if layer and layer % d == 0:
            permutation = rng.permutation(neurons)
        out.append(sparse.csr_array(base[layer % d][permutation].T.tocsr()))
    return out


def live_inputs(n: int, seed: int = 0) -> Array:
    """(n, 1024) made from the official images: unions of shifted images, half of the pixels on, so that every row stays live."""
    images = official_images()
    rng = np.random.default_rng(seed)
    out = np.zeros((n, 1024), np.float32)
    while len(thin := np.flatnonzero(out.mean(axis=1) < 0.5)):
        shifted = np.roll(images, int(rng.integers(1024)), axis=1)
        out[thin] = np.maximum(out[thin], shifted[rng.integers(len(images), size=len(thin))])
    return out


def dying_inputs(n: int) -> Array:
    """(n, 1024): the official images over and over, each copy shifted by one more pixel; most rows die, as in the challenge."""
    images = official_images()
    copies = -(-n // len(images))
    return np.concatenate([np.roll(images, r, axis=1) for r in range(copies)])[:n]


def graph(matrices: list[Any], bias: float) -> nx.DiGraph:
    """One layer node a layer, with SciPy sparse weights."""
    register()
    g = nx.DiGraph()
    g.add_node(0, units=matrices[0].shape[1])
    for k, matrix in enumerate(matrices, 1):
        units = matrix.shape[0]
        g.add_node(k, units=units, activation=ACTIVATION, bias=np.full(units, bias))
        g.add_edge(k - 1, k, weight=matrix)
    return g


def categories(Y: Array) -> Array:
    """Rows with a non-zero final sum."""
    return np.flatnonzero(Y.sum(axis=1))
