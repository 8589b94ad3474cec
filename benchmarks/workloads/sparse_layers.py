"""Graph Challenge: the official layers must give the official categories, and the 120-layer network is timed."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks import graph_challenge as challenge
from benchmarks.outcome import Contender, Context, MissingError, Row, Target, Workload
from benchmarks.peers import graphbp_peer, scipy_peer, torch_peer
from benchmarks.timing import race

CHUNK = 1000
"""Samples at a time for the peers: of 64, 256, 1000, 3000, 6000 the best or within 6 % of it for each of them."""


def official(context: Context) -> list[Row]:
    """30 official layers, 1,200 official images: which rows end with a non-zero sum."""
    name = "graph-challenge-official"
    try:
        layers, images, wanted = challenge.official_layers(), challenge.official_images(), challenge.official_categories()
    except MissingError as gone:
        return [Row(name, "data", value="missing", note=f"{gone}: {gone.install}")]
    g = challenge.graph(layers, challenge.BIAS[1024])
    rows = []
    for backend in graphbp_peer.BACKENDS:
        for dtype in ("float32", "float64"):
            row = Row(name, f"graphbp {backend} {dtype}", target="the official categories exactly")
            try:
                found = challenge.categories(graphbp_peer.network(g, backend, dtype).forward(images.astype(dtype)))
            except MissingError as gone:
                row.value, row.note = "missing", f"{gone}: {gone.install}"
            else:
                row.met = np.array_equal(found, wanted)
                row.value = f"{len(np.intersect1d(found, wanted))} of {len(wanted)}, {len(np.setdiff1d(found, wanted))} others"
            rows.append(row)
    return rows


def forward(name: str, live: bool, context: Context) -> list[Row]:
    """1024 neurons × 120 layers, float32.  Rate: inputs × edges a second, dead rows counted (the nominal rate)."""
    n, depth = (1_200, 12) if context.quick else (context.inputs, 120)
    try:
        X = challenge.live_inputs(n) if live else challenge.dying_inputs(n)
    except MissingError as gone:
        return [Row(name, "data", value="missing", note=f"{gone}: {gone.install}")]
    layers, bias = challenge.generated_layers(1024, depth), challenge.BIAS[1024]
    g = challenge.graph(layers, bias)
    clip = challenge.CLIP
    # the NumPy backend is the definition, not made for this size: it takes minutes
    contenders = [Contender("graphbp numba", partial(graphbp_peer.call, g, "numba", "float32", "forward", X))]
    contenders += [
        Contender("SciPy CSR", partial(scipy_peer.sparse_layers_forward, layers, bias, clip, X, CHUNK)),
        Contender(
            "SciPy CSR in two Python threads",
            partial(scipy_peer.sparse_layers_forward, layers, bias, clip, X, CHUNK, threads=context.threads),
        ),
        Contender("PyTorch CSR", partial(torch_peer.sparse_layers_forward, layers, bias, clip, X, CHUNK)),
    ]
    if not live:  # what skipping dead rows brings is the question here: graphbp, and one peer for the scale
        contenders = [c for c in contenders if c.name in ("graphbp numba", "PyTorch CSR")]
    work = float(n) * sum(matrix.nnz for matrix in layers)
    targets = [Target.faster("SciPy CSR", 3), Target.faster("PyTorch CSR", 1.5)] if live else []
    rows = race(context, name, contenders, tolerance=1e-3, targets=targets, work=work)
    alive = _live_share(layers, bias, X[:: max(1, n // 1_200)])
    for row in rows:
        if row.reference:
            said = (
                f"{n:,} inputs, every row live to the end" if alive == 1 else f"{n:,} inputs, {alive:.1%} of all rows × layers live"
            )
            row.note = "; ".join(part for part in (row.note, said, "rate is nominal") if part)
    return rows


def _live_share(layers: list, bias: float, X: np.ndarray) -> float:  # type: ignore[type-arg]
    """The share of (row, layer) pairs whose row has a non-zero entry when it enters the layer (of some 1,200 rows)."""
    live = 0
    z = np.ascontiguousarray(X.T)
    for matrix in layers:
        live += int(z.any(axis=0).sum())
        z = np.clip(matrix @ z[:, z.any(axis=0)] + np.float32(bias), 0, challenge.CLIP)
    return live / (len(X) * len(layers))


WORKLOADS = [
    Workload("graph-challenge-official", "Graph Challenge, official 30 layers and 1,200 images", official),
    Workload(
        "graph-challenge-live",
        "Graph Challenge, 1024 neurons × 120 layers, forward, float32, every row live",
        partial(forward, "graph-challenge-live", True),
    ),
    Workload(
        "graph-challenge-dying",
        "the same with inputs whose rows die, as in the challenge",
        partial(forward, "graph-challenge-dying", False),
    ),
]
