"""A visible neural network on the Gene Ontology, beside the loop over modules that it is trained with elsewhere."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks import ontology
from benchmarks.outcome import Contender, Context, MissingError, Row, Target, Workload
from benchmarks.peers import graphbp_peer, torch_peer
from benchmarks.timing import race

NAME = "visible-network"
TOLERANCE = 1e-3
"""Of float32: 5,000 samples summed in another order, tanh through some ten levels."""


def gradient(context: Context) -> list[Row]:
    """∂E/∂w of 485,053 parameters at a batch, a data set and ten of them."""
    try:
        net = ontology.published()
    except MissingError as gone:
        return [Row(NAME, "data", value="missing", note=f"{gone}: {gone.install}")]
    g, rows = net.graph(), list[Row]()
    for n in (8,) if context.quick else (32, 500, 5000):
        X = ontology.mutations(n, net.n_genes)
        T = np.random.default_rng(2).normal(size=(n, 1)).astype(np.float32)
        contenders = [
            Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, "float32", "gradient", X, T)) for b in graphbp_peer.BACKENDS
        ]
        contenders.append(Contender("PyTorch, a module a term", partial(torch_peer.terms_gradient, net, X, T)))
        targets = [Target.faster("PyTorch, a module a term", 25)]
        rows += race(context, NAME, contenders, tolerance=TOLERANCE, targets=targets, size=n, work=float(net.n_edges) * n)
    return rows


WORKLOADS = [Workload(NAME, "gradient, 2,086 terms of the Gene Ontology, 485,053 parameters, float32", gradient)]
