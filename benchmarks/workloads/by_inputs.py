"""Curvature in x: input Hessians and Laplacians, beside JAX and PyTorch."""

from __future__ import annotations

from functools import partial

from benchmarks.networks import Mlp, UnitDag, batch, mlp, random_dag
from benchmarks.outcome import Contender, Context, Row, Target, Workload
from benchmarks.peers import by_inputs_peers, graphbp_peer
from benchmarks.timing import race
from benchmarks.workloads.second_order import graph_and_theta

TOLERANCE = 1e-10


def _dag(context: Context) -> UnitDag:
    """1,012 units of sixteen sources each, D = 48, K = 12."""
    return random_dag(12, 40, 3, 8, activation="tanh") if context.quick else random_dag(48, 1000, 12, 16, activation="tanh")


def _dense(context: Context) -> Mlp:
    return mlp(6, 8, 3) if context.quick else mlp(20, 64, 64, 3)


def hessian(form: str, context: Context) -> list[Row]:
    """∂²y/∂x∂x (N, K, D, D)."""
    net: Mlp | UnitDag = _dense(context) if form == "dense" else _dag(context)
    d, k = (net.sizes[0], net.sizes[-1]) if isinstance(net, Mlp) else (net.n_inputs, net.n_outputs)
    X, _ = batch(16 if context.quick else 1000 if form == "dense" else 64, d, k)
    g, theta = graph_and_theta(net)
    contenders = [
        *(
            Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, "float64", "input_hessian", X))
            for b in graphbp_peer.BACKENDS
        ),
        Contender("JAX vmap(hessian)", partial(by_inputs_peers.jax_hessian, net, theta, X)),
    ]
    peers = ["JAX vmap(hessian)"]
    if isinstance(net, Mlp):
        for mode in ("reverse", "forward"):
            name = f"JAX {mode} over {mode}"
            contenders.append(Contender(name, partial(by_inputs_peers.jax_hessian, net, theta, X, mode=mode)))
            peers.append(name)
        torch = {
            "PyTorch vmap(hessian)": "hessian",
            "PyTorch reverse over reverse": "reverse",
            "PyTorch forward over forward": "forward",
        }
        contenders += [
            Contender(name, partial(by_inputs_peers.torch_hessian, net, theta, X, mode=how)) for name, how in torch.items()
        ]
        peers += torch
    ratio = 1.5 if form == "dense" else 30
    target = Target(tuple(peers), ratio, f"≥ {ratio:g} ×" + (" the best of the peers" if form == "dense" else ""))
    return race(context, f"input-hessian-{form}", contenders, tolerance=TOLERANCE, targets=[target])


def laplacian(context: Context) -> list[Row]:
    """Σ_i ∂²y/∂x_i² (N, K)."""
    net = _dag(context)
    X, _ = batch(16 if context.quick else 256, net.n_inputs, net.n_outputs)
    g, theta = graph_and_theta(net)
    peers = {
        "JAX jvp of jvp, a loop": partial(by_inputs_peers.jax_laplacian, net, theta, X),
        "JAX jvp of jacrev, a loop": partial(by_inputs_peers.jax_laplacian, net, theta, X, reverse=True),
        "folx": partial(by_inputs_peers.folx_laplacian, net, theta, X),
        "PyTorch jvp of jvp, a loop": partial(by_inputs_peers.torch_laplacian, net, X),
    }
    contenders = [
        *(Contender(f"graphbp {b}", partial(graphbp_peer.call, g, b, "float64", "laplacian", X)) for b in graphbp_peer.BACKENDS),
        *(Contender(name, build) for name, build in peers.items()),
    ]
    target = Target(tuple(peers), 20, "≥ 20 × the best of the peers")
    return race(context, "laplacian-dag", contenders, tolerance=TOLERANCE, targets=[target])


WORKLOADS = [
    Workload("input-hessian-dag", "∂²y/∂x∂x, random DAG of 1,012 units, D = 48, K = 12, N = 64", partial(hessian, "dag")),
    Workload("input-hessian-dense", "∂²y/∂x∂x, dense 20-64-64-3 tanh, N = 1000", partial(hessian, "dense")),
    Workload("laplacian-dag", "Laplacian, the same DAG, N = 256", laplacian),
]
