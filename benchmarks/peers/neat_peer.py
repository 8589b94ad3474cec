"""neat-python: `FeedForwardNetwork.activate`, one sample a call, the only way it has."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.networks import Array, UnitDag
from benchmarks.outcome import Run
from benchmarks.peers import need

TANH_GAIN = 2.5
"""neat-python's tanh is tanh(2.5 a): weights and biases are divided by this, so that it computes tanh(a)."""


def forward(dag: UnitDag, X: Array) -> Run:
    """y of every row of X by `activate`."""
    nn = need("neat.nn")
    activations = need("neat.activations")
    last = dag.n_rows - dag.n_outputs
    evaluations: list[Any] = []
    for j in range(dag.n_units):
        row = dag.n_inputs + j
        hidden = row < last
        gain = TANH_GAIN if hidden else 1.0
        links = [(int(dag.src[e]), float(dag.weight[e]) / gain) for e in range(dag.ptr[j], dag.ptr[j + 1])]
        function = activations.tanh_activation if hidden else activations.identity_activation
        evaluations.append((row, function, sum, float(dag.bias[j]) / gain, 1.0, links))
    network = nn.FeedForwardNetwork(list(range(dag.n_inputs)), list(range(last, dag.n_rows)), evaluations)
    samples = X.tolist()
    return Run(lambda: [network.activate(x) for x in samples], np.asarray)
