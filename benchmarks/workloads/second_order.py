"""Curvature: exact Hessian, outer-product Hessian, diagonal, operator products, beside what peers offer."""

from __future__ import annotations

from functools import partial
from typing import Any

import networkx as nx
import numpy as np

from benchmarks.networks import Array, Mlp, UnitDag, batch, mlp, random_dag
from benchmarks.outcome import Contender, Context, Row, Run, Target, Workload
from benchmarks.peers import blas_peer, curvature_peers, graphbp_peer, jax_peer, torch_peer
from benchmarks.timing import race

TOLERANCE = 1e-10


def dense_network(context: Context) -> Mlp:
    """20-32-32-3, tanh: W = 1827."""
    return mlp(20, 8, 3) if context.quick else mlp(20, 32, 32, 3)


def dag_network(context: Context) -> UnitDag:
    """203 units, eight sources each: W = 1827 as well."""
    return random_dag(20, 40 if context.quick else 200, 3, 8, activation="tanh")


def _data(context: Context) -> tuple[Array, Array]:
    return batch(100 if context.quick else 1000, 20, 3)


def graph_and_theta(net: Mlp | UnitDag) -> tuple[nx.DiGraph, Array]:
    """The graph, and θ as `net.weights` has it."""
    if isinstance(net, Mlp):
        return net.layer_graph(), net.flat(list(net.weights), list(net.biases))
    return net.graph(), net.flat(net.weight, net.bias)


def _graphbp(g: nx.DiGraph, method: str, *arguments: Array) -> list[Contender]:
    return [
        Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, "float64", method, *arguments)) for b in graphbp_peer.BACKENDS
    ]


def hessian(form: str, context: Context) -> list[Row]:
    """The exact ∂²E/∂θ∂θ."""
    net = dense_network(context) if form == "dense" else dag_network(context)
    X, T = _data(context)
    g, theta = graph_and_theta(net)
    chunk = 0 if form == "dense" else 20  # jax.hessian of the DAG asks for 39 GB at N = 1000
    contenders = [*_graphbp(g, "hessian", X, T), Contender("JAX hessian", partial(jax_peer.hessian, net, theta, X, T, chunk=chunk))]
    if isinstance(net, Mlp):
        contenders.append(Contender("PyTorch hessian", partial(torch_peer.hessian, net, theta, X, T)))
        contenders.append(Contender("curvlinops Hessian × I", partial(curvature_peers.curvlinops_hessian, net, X, T)))
    targets = [Target.faster("JAX hessian", 30 if form == "dense" else 50), _numpy_within(3)]
    return race(context, f"hessian-{form}", contenders, tolerance=TOLERANCE, targets=targets)


def _numpy_within(factor: float) -> Target:
    """The NumPy backend within a factor of the reference: its ratio is to be small."""
    return Target(("graphbp numpy",), factor, f"within {factor:g} × of Numba", at_most=True)


def outer_product(form: str, context: Context) -> list[Row]:
    """Σ_n Σ_k ∇y_k ∇y_kᵀ, K = 3."""
    net = dense_network(context) if form == "dense" else dag_network(context)
    X, T = _data(context)
    g, theta = graph_and_theta(net)
    contenders = [
        *_graphbp(g, "outer_product_hessian", X, T),
        Contender("JAX vmap(jacrev)", partial(jax_peer.outer_product, net, theta, X)),
    ]
    peers = ["JAX vmap(jacrev)"]
    if isinstance(net, Mlp):
        more: list[tuple[str, Any]] = [
            ("PyTorch vmap(jacrev)", partial(torch_peer.outer_product, net, theta, X)),
            ("BackPACK", partial(curvature_peers.backpack_outer_product, net, X, T)),
            ("curvlinops GGN × I", partial(curvature_peers.curvlinops_outer_product, net, X, T)),
        ]
        contenders += [Contender(name, build) for name, build in more]
        peers += [name for name, _ in more]
    contenders.append(Contender("BLAS AᵀA alone", partial(_gram, g, X)))
    targets = [
        Target(tuple(peers), 6, "≥ 6 × the best of the peers"),
        Target(("BLAS AᵀA alone",), 2, "graphbp at most 0.5 × (ratio ≥ 2)"),
        _numpy_within(3),
    ]
    return race(context, f"outer-product-{form}", contenders, tolerance=TOLERANCE, targets=targets)


def _gram(g: nx.DiGraph, X: Array) -> Run:
    """A is what graphbp's NumPy backend gives for ∂y/∂w, stacked; its own cost is not counted."""
    net = graphbp_peer.network(g, "numpy")
    return blas_peer.gram(net.weight_jacobian(X).reshape(-1, net.n_parameters))


def diagonal(context: Context) -> list[Row]:
    """The exact diagonal, beside full Hessians: no peer gives the exact diagonal without them."""
    net = dense_network(context)
    X, T = _data(context)
    g, theta = graph_and_theta(net)
    contenders = [
        *_graphbp(g, "hessian_diagonal", X, T),
        Contender("JAX hessian", partial(jax_peer.hessian, net, theta, X, T, diagonal=True)),
    ]
    target = Target(("JAX hessian",), 100, "≥ 100 × the full Hessian of the fastest peer (see hessian-dense)")
    return race(context, "hessian-diagonal", contenders, tolerance=TOLERANCE, targets=[target, _numpy_within(3)])


def product(form: str, context: Context) -> list[Row]:
    """H v and the outer-product Hessian times v, beside one gradient, W = 10⁶."""
    n = 64
    net: Mlp | UnitDag
    if form == "dense":
        net = mlp(64, 32, 32, 8) if context.quick else mlp(512, 800, 680, 64)
        d, k = net.sizes[0], net.sizes[-1]
    else:
        net = random_dag(64, 1_000 if context.quick else 90_900, 10, 10, activation="tanh")
        d, k = 64, 10
    X, T = batch(n, d, k)
    g, theta = graph_and_theta(net)
    v = np.random.default_rng(3).normal(size=len(theta))
    name = f"hessian-product-{form}"

    def operator(backend: str, method: str) -> Run:
        network = graphbp_peer.network(g, backend)
        op = getattr(network, method)(X, T)
        return Run(lambda: op @ v)

    rows: list[Row] = []
    for backend in graphbp_peer.BACKENDS:
        contenders = [
            Contender(f"graphbp {backend}, gradient", partial(_no_value, g, backend, X, T)),
            Contender(f"graphbp {backend}, H v", partial(operator, backend, "hessian_operator")),
            Contender(f"graphbp {backend}, outer product v", partial(_no_check, operator, backend, "outer_product_operator")),
        ]
        if backend == "numba" and form == "dense":
            contenders.append(Contender("JAX jvp(grad)", partial(jax_peer.hessian_product, net, theta, X, T, v)))
        targets = [
            Target((f"graphbp {backend}, {what}",), 4, "within 4 × of one gradient", at_most=True)
            for what in ("H v", "outer product v")
        ]
        rows += race(context, name, contenders, tolerance=TOLERANCE, targets=targets, size=len(theta))
    return rows


def _no_value(g: nx.DiGraph, backend: str, X: Array, T: Array) -> Run:
    """The gradient is the yardstick here, and H v is compared among those that compute it."""
    run = graphbp_peer.call(g, backend, "float64", "gradient", X, T)
    return Run(run.call, None, run.note)


def _no_check(build: Any, *arguments: Any) -> Run:
    run: Run = build(*arguments)
    return Run(run.call, None, run.note)


def growth(context: Context) -> list[Row]:
    """The exact Hessian from W = 500 to 8,000 at N = 1000, dense networks 20-h-h-3: the slope on logarithmic axes is to be 2."""
    name = "hessian-growth"
    rows: list[Row] = []
    X, T = _data(context)
    for hidden in (4, 6, 8) if context.quick else (13, 20, 32, 46, 62, 78):
        net = mlp(20, hidden, hidden, 3)
        g, _ = graph_and_theta(net)
        rows += race(context, name, _graphbp(g, "hessian", X, T), tolerance=TOLERANCE, size=net.n_parameters)
    return rows


WORKLOADS = [
    Workload("hessian-dense", "exact Hessian, dense 20-32-32-3 tanh (W = 1827), N = 1000, float64", partial(hessian, "dense")),
    Workload("hessian-dag", "exact Hessian, random DAG, W = 1827, N = 1000", partial(hessian, "dag")),
    Workload("outer-product-dense", "outer-product Hessian, dense, K = 3, N = 1000", partial(outer_product, "dense")),
    Workload("outer-product-dag", "outer-product Hessian, random DAG, K = 3, N = 1000", partial(outer_product, "dag")),
    Workload("hessian-diagonal", "exact Hessian diagonal, dense, N = 1000", diagonal),
    Workload("hessian-product-dag", "operator products, random DAG, W = 10⁶, N = 64", partial(product, "dag")),
    Workload("hessian-product-dense", "operator products, dense 512-800-680-64, W = 10⁶, N = 64", partial(product, "dense")),
    Workload("hessian-growth", "exact Hessian, W = 500 to 8,000, N = 1000", growth),
]
