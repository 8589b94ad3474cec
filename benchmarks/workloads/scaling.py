"""Time against size: backpropagation beside numerical differentiation, and the gradient beside its peers."""

from __future__ import annotations

from functools import partial

from benchmarks.networks import UnitDag, batch, random_dag
from benchmarks.outcome import Contender, Context, Row, Run, Workload
from benchmarks.peers import graphbp_peer, jax_peer, probe_peer, torch_peer
from benchmarks.timing import race
from benchmarks.workloads.first_order import TOLERANCE, graphbp_gradient

DIFFERENCES = "central differences"


def differentiation(context: Context) -> list[Row]:
    """∇E by one reverse sweep, O(W), and by central differences, O(W²): N = 32, random DAGs, W from 300 to 300,000."""
    rows: list[Row] = []
    for hidden in (30, 100) if context.quick else (30, 100, 300, 1_000, 3_000, 10_000, 30_000):
        dag = random_dag(16, hidden, 2, 8, activation="tanh")
        X, T = batch(32, 16, 2)
        g = dag.graph()
        contenders = [
            Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, "float64", "gradient", X, T)) for b in graphbp_peer.BACKENDS
        ]
        if hidden <= 3_000:
            contenders.append(Contender(f"graphbp numba, {DIFFERENCES}", partial(_numerical, dag, "numba")))
        if hidden <= 300:
            contenders.append(Contender(f"graphbp numpy, {DIFFERENCES}", partial(_numerical, dag, "numpy")))
        rows += race(context, "gradient-against-differences", contenders, tolerance=1e-5, size=dag.n_parameters)
    return rows


def _numerical(dag: UnitDag, backend: str) -> Run:
    X, T = batch(32, 16, 2)
    return graphbp_peer.call(dag.graph(), backend, "float64", "numerical_gradient", X, T)


def peers(context: Context) -> list[Row]:
    """Gradient of random DAGs with ten sources a unit, N = 1024, float64, from 1,000 edges to a million."""
    rows: list[Row] = []
    for hidden in (100, 300) if context.quick else (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000):
        dag = random_dag(64, hidden, 10, 10)
        X, T = batch(1024, 64, 10)
        contenders = graphbp_gradient(dag, "float64", 1024)
        contenders.append(Contender("C probe", partial(probe_peer.dag_gradient, dag, X, T, "float64")))
        if hidden <= 3_000:  # 10,000 units are measured in gradient-dag-10000, and compile for a quarter of a minute
            contenders.append(Contender("JAX jit", partial(jax_peer.dag_gradient, dag, X, T, "float64")))
            contenders.append(Contender("PyTorch sparse", partial(torch_peer.dag_gradient, dag, X, T, "float64")))
        rows += race(
            context, "gradient-by-size", contenders, tolerance=TOLERANCE["float64"], size=dag.n_edges, work=dag.n_edges * 1024
        )
    return rows


WORKLOADS = [
    Workload("gradient-against-differences", "gradient against numerical differentiation, N = 32", differentiation),
    Workload("gradient-by-size", "gradient against size, N = 1024, float64", peers),
]
