"""What is timed on the GPU: the same work by graphbp's CuPy backend, by JAX and PyTorch on the same GPU, and by the Numba backend.

Inputs are on the device before the clock starts, and every call is waited for.  A `Case` is one piece of work with its contenders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import graphbp as gb
from benchmarks.networks import Mlp, UnitDag, batch, mlp, random_dag
from benchmarks.outcome import MissingError, Run

__all__ = ["Case", "Sizes", "cases"]

Build = Callable[..., Run]


@dataclass(frozen=True)
class Sizes:
    """How large the work is; `rehearsal` is small enough for the simulator."""

    samples: tuple[int, ...] = (1024, 65536)
    dag: tuple[int, int, int, int] = (100, 9_890, 10, 10)
    layers: tuple[int, ...] = (784, 512, 512, 10)
    curved: tuple[int, ...] = (20, 32, 32, 3)
    dense_samples: int = 4096
    curved_samples: int = 1000

    @staticmethod
    def rehearsal() -> Sizes:
        return Sizes((40,), (6, 24, 2, 4), (12, 8, 3), (4, 5, 2), 24, 12)


@dataclass(frozen=True)
class Case:
    """name, contenders by name (the first is graphbp on the GPU), and the work of a call: flop, and bytes that must at least move."""

    name: str
    contenders: dict[str, Build]
    flop: float = 0.0
    bytes: float = 0.0


def cases(
    backends: tuple[str, ...], sizes: Sizes, on_device: Callable[[Any], Any], wait: Callable[[], None], torch_device: str
) -> Iterator[Case]:
    """The cases, most wanted first.  `backends` are the CuPy backend as it chooses its path, on one path alone, and with other tiles."""
    cupy = partial(_graphbp, on_device=on_device, wait=wait)
    torch = partial(_torch, device=torch_device)
    dag, net = random_dag(*sizes.dag), mlp(*sizes.layers, output_activation="softmax")
    most, *fewer = sorted(sizes.samples, reverse=True)
    for dtype in ("float32", "float64"):
        yield _dag_gradient(dag, most, dtype, backends, cupy, torch)
        yield _dense_gradient(net, sizes, dtype, backends[0], cupy, torch)
        for n in fewer:
            yield _dag_gradient(dag, n, dtype, backends[:3], cupy, torch)
        if dtype == "float32":
            yield from _curvature(mlp(*sizes.curved), sizes, cupy, torch, backends[0])
    X, _ = batch(min(sizes.samples), dag.n_inputs, dag.n_outputs, "float32")
    yield Case(
        f"Jacobian ∂y/∂x, {dag.n_units:,}-unit DAG, N = {len(X):,}, float32",
        {
            "graphbp cupy": partial(cupy, dag.graph, backends[0], "float32", "jacobian", (X,)),
            "graphbp numba (CPU, 2 threads)": partial(_graphbp, dag.graph, "numba", "float32", "jacobian", (X,)),
        },
    )


def _dag_gradient(dag: UnitDag, n: int, dtype: str, backends: tuple[str, ...], cupy: Callable[..., Run], torch: Build) -> Case:
    X, T = batch(n, dag.n_inputs, dag.n_outputs, dtype)
    ours = {
        f"graphbp {name.removesuffix(' (rehearsal)')}": partial(cupy, dag.graph, name, dtype, "gradient", (X, T))
        for name in backends
    }
    peers = {
        "PyTorch": partial(torch, "dag_gradient", dag, X, T, dtype),
        "PyTorch, scatter": partial(torch, "dag_gradient_scatter", dag, X, T, dtype),
        "JAX, reverse sweep by hand": partial(_jax, "dag_gradient_by_hand", dag, X, T, dtype),
        "JAX": partial(_jax, "dag_gradient", dag, X, T, dtype),
        "graphbp numba (CPU, 2 threads)": partial(_graphbp, dag.graph, "numba", dtype, "gradient", (X, T)),
    }
    return Case(
        f"gradient, {dag.n_units:,}-unit DAG, N = {n:,}, {dtype}",
        {**ours, **peers},
        flop=6.0 * dag.n_edges * n,
        bytes=3.0 * dag.n_rows * n * np.dtype(dtype).itemsize,
    )


def _dense_gradient(net: Mlp, sizes: Sizes, dtype: str, backend: str, cupy: Callable[..., Run], torch: Build) -> Case:
    X, _ = batch(sizes.dense_samples, sizes.layers[0], sizes.layers[-1], dtype)
    labels = np.arange(sizes.dense_samples) % sizes.layers[-1]
    T = np.eye(sizes.layers[-1], dtype=dtype)[labels]
    edges = sum(w.size for w in net.weights)
    return Case(
        f"gradient, dense {'-'.join(map(str, sizes.layers))}, N = {sizes.dense_samples:,}, {dtype}",
        {
            "graphbp cupy": partial(cupy, net.layer_graph, backend, dtype, "gradient", (X, T), "cross_entropy"),
            "PyTorch": partial(torch, "mlp_gradient", net, X, labels, dtype, net.flat),
            "JAX": partial(_jax, "mlp_gradient", net, X, labels, dtype, net.flat),
            "graphbp numba (CPU, 2 threads)": partial(
                _graphbp, net.layer_graph, "numba", dtype, "gradient", (X, T), "cross_entropy"
            ),
        },
        flop=6.0 * edges * sizes.dense_samples,
    )


def _curvature(net: Mlp, sizes: Sizes, cupy: Callable[..., Run], torch: Build, backend: str) -> Iterator[Case]:
    X, T = batch(sizes.curved_samples, sizes.curved[0], sizes.curved[-1])
    where = f"dense {'-'.join(map(str, sizes.curved))} (W = {net.n_parameters:,}), N = {sizes.curved_samples:,}, float64"
    theta = net.flat(list(net.weights), list(net.biases))
    for quantity, peer, arguments in (("hessian", "hessian", (X, T)), ("outer_product_hessian", "outer_product", (X, T))):
        given = (X, T) if peer == "hessian" else (X,)
        yield Case(
            f"{quantity}, {where}",
            {
                "graphbp cupy": partial(cupy, net.layer_graph, backend, "float64", quantity, arguments),
                "PyTorch": partial(torch, peer, net, theta, *given),
                "JAX": partial(_jax, peer, net, theta, *given),
                "graphbp numba (CPU, 2 threads)": partial(_graphbp, net.layer_graph, "numba", "float64", quantity, arguments),
            },
        )
    yield Case(
        f"Jacobian ∂y/∂x, {where}",
        {
            "graphbp cupy": partial(cupy, net.layer_graph, backend, "float64", "jacobian", (X,)),
            "PyTorch": partial(torch, "mlp_jacobian", net, theta, X),
            "graphbp numba (CPU, 2 threads)": partial(_graphbp, net.layer_graph, "numba", "float64", "jacobian", (X,)),
        },
    )


def _graphbp(
    graph: Callable[[], Any],
    backend: str,
    dtype: str,
    method: str,
    arrays: tuple[Any, ...],
    error: str = "sum_of_squares",
    *,
    on_device: Callable[[Any], Any] = np.asarray,
    wait: Callable[[], None] = lambda: None,
) -> Run:
    known = gb.backends()
    if backend not in known or not known[backend].available:
        raise MissingError(f"the {backend} backend is not available")
    function = getattr(gb.Network(graph(), error=error, backend=backend, dtype=dtype), method)
    given = [on_device(np.ascontiguousarray(array, dtype)) for array in arrays]

    def call() -> Any:
        result = function(*given)
        wait()
        return result

    return Run(call)


def _jax(peer: str, net: UnitDag | Mlp, *arguments: Any) -> Run:
    from benchmarks.peers import jax_peer

    run: Run = getattr(jax_peer, peer)(net, *arguments)
    return run


def _torch(peer: str, net: UnitDag | Mlp, *arguments: Any, device: str) -> Run:
    """The CPU peer's own code, with `device` as PyTorch's default device."""
    from benchmarks.peers import need, torch_peer

    torch = need("torch")
    torch.set_float32_matmul_precision("highest")  # no TensorFloat-32, as graphbp computes
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingError("PyTorch sees no GPU")
    with torch.device(device):
        made: Run = getattr(torch_peer, peer)(net, *arguments)

    def call() -> Any:
        with torch.device(device):
            result = made.call()
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    return Run(call)
