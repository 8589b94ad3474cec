"""Gradients and input Jacobians: networks of single units, and the dense network in both its forms."""

from __future__ import annotations

from functools import partial

import networkx as nx
import numpy as np

from benchmarks.networks import UnitDag, batch, mlp, random_dag
from benchmarks.outcome import Contender, Context, Row, Target, Workload
from benchmarks.peers import blas_peer, casadi_peer, graphbp_peer, jax_peer, probe_peer, sklearn_peer, torch_peer
from benchmarks.timing import race

TOLERANCE = {"float64": 1e-10, "float32": 2e-4}
"""Largest difference over largest entry: float64 sums of 10⁵ products; float32 the same, 1,000 samples through 100 levels."""


def graphbp_gradient(dag: UnitDag, dtype: str, n: int) -> list[Contender]:
    X, T = batch(n, dag.n_inputs, dag.n_outputs, dtype)
    g = dag.graph()
    return [Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, dtype, "gradient", X, T)) for b in graphbp_peer.BACKENDS]


def dag_gradient(
    name: str, shape: tuple[int, int, int, int], dtype: str, targets: tuple[Target, ...], activation: str, context: Context
) -> list[Row]:
    """A random DAG of (inputs, hidden, outputs, fan-in), N = 1024."""
    n_in, hidden, n_out, fan_in = shape
    dag = random_dag(n_in, hidden // (10 if context.quick else 1), n_out, fan_in, activation=activation)
    n = 128 if context.quick else 1024
    X, T = batch(n, n_in, n_out, dtype)
    peers = [
        Contender("JAX jit", partial(jax_peer.dag_gradient, dag, X, T, dtype)),
        Contender("JAX jit, reverse sweep by hand", partial(jax_peer.dag_gradient_by_hand, dag, X, T, dtype)),
        Contender("PyTorch sparse", partial(torch_peer.dag_gradient, dag, X, T, dtype)),
    ]
    if activation == "softsign":
        if dtype == "float64":
            peers.append(Contender("PyTorch index_add", partial(torch_peer.dag_gradient_scatter, dag, X, T, dtype)))
        peers.append(Contender("C probe", partial(probe_peer.dag_gradient, dag, X, T, dtype)))
    return race(
        context, name, graphbp_gradient(dag, dtype, n) + peers, tolerance=TOLERANCE[dtype], targets=targets, work=dag.n_edges * n
    )


def products(name: str, context: Context) -> list[Row]:
    """The same DAG with tanh, of which every third hidden unit multiplies its terms, and beside it with sums alone."""
    n_in, hidden, n_out, fan_in = _BIG
    dag = random_dag(n_in, hidden // (10 if context.quick else 1), n_out, fan_in, activation="tanh")
    n = 128 if context.quick else 1024
    X, T = batch(n, n_in, n_out)
    sums, multiplying = dag.graph(), dag.graph()
    for node in [node for node in sums if sums.in_degree(node) and sums.out_degree(node)][::3]:
        multiplying.nodes[node]["aggregation"] = "product"

    def of(g: nx.DiGraph, backend: str, what: str = "") -> Contender:
        return Contender(f"graphbp {backend}{what}", partial(graphbp_peer.call, g, backend, "float64", "gradient", X, T))

    work = dag.n_edges * n
    rows = race(context, name, [of(multiplying, b) for b in graphbp_peer.BACKENDS], tolerance=TOLERANCE["float64"], work=work)
    beside = [of(multiplying, "numba"), of(sums, "numba", ", sums alone")]  # other numbers, which are not compared
    limit = [Target.within("graphbp numba, sums alone", 1.3)]
    return rows + race(context, f"{name}-against-sums", beside, tolerance=float("inf"), targets=limit, work=work)


def casadi(context: Context) -> list[Row]:
    """203 units, 1827 parameters, N = 1000: as much as CasADi's expression graphs take."""
    dag = random_dag(20, 200, 3, 8, activation="tanh")
    n = 100 if context.quick else 1000
    X, T = batch(n, 20, 3)
    peers = [
        Contender("CasADi", partial(casadi_peer.dag_gradient, dag, X, T, compiled=False)),
        Contender("CasADi, compiled C", partial(casadi_peer.dag_gradient, dag, X, T, compiled=True)),
        Contender("JAX jit", partial(jax_peer.dag_gradient, dag, X, T, "float64")),
    ]
    contenders = graphbp_gradient(dag, "float64", n) + peers
    return race(context, "gradient-dag-200", contenders, tolerance=TOLERANCE["float64"], work=dag.n_edges * n)


def dense(context: Context) -> list[Row]:
    """784-512-512-10, tanh, softmax, N = 256, float32: as four layer nodes, and as 670,000 single edges."""
    sizes = (784, 64, 64, 10) if context.quick else (784, 512, 512, 10)
    net, n, dtype = mlp(*sizes, output_activation="softmax"), 256, "float32"
    X = np.random.default_rng(1).random((n, sizes[0])).astype(dtype)
    labels = np.random.default_rng(2).integers(sizes[-1], size=n)
    peers = [
        ("JAX jit", jax_peer.mlp_gradient),
        ("PyTorch", torch_peer.mlp_gradient),
        ("scikit-learn", sklearn_peer.mlp_gradient),
    ]
    target = Target(("JAX jit", "PyTorch"), 1.0, "no slower than the faster of JAX and PyTorch")
    rows: list[Row] = []
    for form, g, order in (("layers", net.layer_graph(), net.flat), ("units", net.unit_graph(), net.flat_by_unit)):
        contenders = [
            Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, dtype, "gradient", X, labels, error="cross_entropy"))
            for b in graphbp_peer.BACKENDS
        ]
        contenders += [Contender(name, partial(build, net, X, labels, dtype, order)) for name, build in peers]
        contenders.append(Contender("BLAS, products alone", partial(blas_peer.mlp_products, net, n, dtype)))
        work = sum(w.size for w in net.weights) * n
        rows += race(context, f"gradient-dense-{form}", contenders, tolerance=1e-3, targets=[target], work=work)
    return rows


def jacobian(context: Context) -> list[Row]:
    """∂y/∂x (256, 10, 64) of the 1,000-unit DAG."""
    dag = random_dag(64, 100 if context.quick else 1000, 10, 16)
    X, _ = batch(256, 64, 10)
    g = dag.graph()
    contenders = [
        Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, "float64", "jacobian", X)) for b in graphbp_peer.BACKENDS
    ]
    contenders.append(Contender("JAX vmap(jacrev)", partial(jax_peer.dag_jacobian, dag, X, "float64")))
    targets = [Target.faster("JAX vmap(jacrev)", 25)]
    return race(context, "jacobian-dag-1000", contenders, tolerance=TOLERANCE["float64"], targets=targets)


_BIG, _SMALL = (64, 10_000, 10, 10), (64, 1_000, 10, 16)
_F64 = (Target.faster("JAX jit", 45), Target.faster("PyTorch sparse", 150), Target.within("C probe", 1.3))
_NO_TARGET: tuple[Target, ...] = ()

WORKLOADS = [
    Workload(name, title, partial(dag_gradient, name, shape, dtype, targets, activation))
    for name, title, shape, dtype, targets, activation in (
        (
            "gradient-dag-10000",
            "gradient, random DAG, 10,000 units, 100,000 edges, N = 1024, float64",
            _BIG,
            "float64",
            _F64,
            "softsign",
        ),
        ("gradient-dag-10000-float32", "the same in float32", _BIG, "float32", (Target.faster("JAX jit", 50),), "softsign"),
        ("gradient-dag-10000-tanh", "the same in float64 with tanh", _BIG, "float64", _NO_TARGET, "tanh"),
        (
            "gradient-dag-1000",
            "gradient, 1,000 units, 16,000 edges, N = 1024",
            _SMALL,
            "float64",
            (Target.faster("JAX jit", 40),),
            "softsign",
        ),
    )
] + [
    Workload(
        "gradient-dag-10000-products",
        "the same with tanh, every third unit a product",
        partial(products, "gradient-dag-10000-products"),
    ),
    Workload("gradient-dag-200", "gradient, 203 units, 1,827 parameters, N = 1000, beside CasADi", casadi),
    Workload("gradient-dense", "gradient, dense 784-512-512-10, tanh + softmax, N = 256, float32", dense),
    Workload("jacobian-dag-1000", "input Jacobian of the 1,000-unit DAG, N = 256", jacobian),
]
