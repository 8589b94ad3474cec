"""A network of the size that evolution makes: 26 units, one sample a call as a controller does, and a thousand at once."""

from __future__ import annotations

from functools import partial

from benchmarks.networks import batch, random_dag
from benchmarks.outcome import Contender, Context, Row, Target, Workload
from benchmarks.peers import graphbp_peer, neat_peer
from benchmarks.timing import race


def forward(n: int, target: Target, context: Context) -> list[Row]:
    """y of n samples through 8 inputs and 26 units, tanh."""
    dag = random_dag(8, 22, 4, 5, activation="tanh")
    X, _ = batch(n, 8, 4)
    g = dag.graph()
    contenders = [
        Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, "float64", "forward", X)) for b in graphbp_peer.BACKENDS
    ]
    contenders.append(Contender("neat-python", partial(neat_peer.forward, dag, X)))
    return race(context, f"forward-26-units-{n}", contenders, tolerance=1e-12, targets=[target], work=dag.n_edges * n)


WORKLOADS = [
    Workload("forward-26-units-1", "forward, 26 units, one sample", partial(forward, 1, Target.faster("neat-python", 4))),
    Workload(
        "forward-26-units-1000", "forward, 26 units, 1,000 samples", partial(forward, 1000, Target.faster("neat-python", 1000))
    ),
]
