"""PyTorch on the CPU, eager, `torch.set_num_threads` as for everyone.

A network of single units is one sparse matrix a level over the z of all earlier levels; its values need gradients, which PyTorch
gives for COO matrices.  Scatter (`index_add`) is measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.networks import Array, Mlp, UnitDag
from benchmarks.ontology import TermNetwork
from benchmarks.outcome import Run
from benchmarks.peers import need


def _torch() -> Any:
    import os

    torch = need("torch")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return torch


def _activation(name: str) -> Callable[[Any], Any]:
    torch = _torch()
    function: Callable[[Any], Any] = {"softsign": torch.nn.functional.softsign, "tanh": torch.tanh}[name]
    return function


def _dag_run(dag: UnitDag, X: Array, T: Array, dtype: str, level_sum: Callable[..., Any]) -> Run:
    torch = _torch()
    kind = getattr(torch, dtype)
    h = _activation(dag.activation)
    w = torch.tensor(dag.weight, dtype=kind, requires_grad=True)
    b = torch.tensor(dag.bias, dtype=kind, requires_grad=True)
    Xt, Tt = torch.tensor(X.T.copy(), dtype=kind), torch.tensor(T.T.copy(), dtype=kind)
    levels = [
        (
            len(v.unit),
            *(torch.as_tensor(a) for a in (v.target, v.source, v.edge, v.unit)),
            torch.as_tensor(v.is_output)[:, None],
            v.is_output.any(),
        )
        for v in dag.levels
    ]
    outputs = torch.as_tensor(dag.output_position)

    def gradient() -> Any:
        Z = Xt
        for m, target, source, edge, unit, is_output, some in levels:
            a = level_sum(m, target, source, w[edge], Z) + b[unit][:, None]
            Z = torch.cat([Z, torch.where(is_output, a, h(a)) if some else h(a)])
        error = 0.5 * ((Z[outputs] - Tt) ** 2).sum()
        return torch.autograd.grad(error, (w, b))

    return Run(gradient, lambda g: dag.flat(g[0].numpy(), g[1].numpy()))


def dag_gradient(dag: UnitDag, X: Array, T: Array, dtype: str) -> Run:
    """∂E/∂w, one sparse COO matrix a level."""
    torch = _torch()

    def level_sum(m: int, target: Any, source: Any, w: Any, Z: Any) -> Any:
        matrix = torch.sparse_coo_tensor(
            torch.stack([target, source]), w, (m, Z.shape[0]), is_coalesced=True, check_invariants=False
        )
        return torch.sparse.mm(matrix, Z)

    return _dag_run(dag, X, T, dtype, level_sum)


def dag_gradient_scatter(dag: UnitDag, X: Array, T: Array, dtype: str) -> Run:
    """∂E/∂w, gather and `index_add` a level."""

    def level_sum(m: int, target: Any, source: Any, w: Any, Z: Any) -> Any:
        return Z.new_zeros((m, Z.shape[1])).index_add(0, target, w[:, None] * Z[source])

    return _dag_run(dag, X, T, dtype, level_sum)


def dag_outputs(dag: UnitDag, dtype: str = "float64") -> Callable[[Any], Any]:
    """y (N, K) of x (N, D), gather and `index_add` a level, for torch.func."""
    torch = _torch()
    h, kind = _activation(dag.activation), getattr(torch, dtype)
    w, b, position = torch.tensor(dag.weight, dtype=kind), torch.tensor(dag.bias, dtype=kind), torch.as_tensor(dag.output_position)
    levels = [
        (*(torch.as_tensor(a) for a in (v.target, v.source, v.edge, v.unit)), torch.as_tensor(v.is_output)) for v in dag.levels
    ]

    def outputs(x: Any) -> Any:
        Z = x.T
        for target, source, edge, unit, is_output in levels:
            a = Z.new_zeros((len(unit), Z.shape[1])).index_add(0, target, w[edge][:, None] * Z[source]) + b[unit][:, None]
            Z = torch.cat([Z, torch.where(is_output[:, None], a, h(a))])
        return Z[position].T

    return outputs


def _parameters(net: Mlp, dtype: str) -> list[Any]:
    torch = _torch()
    kind = getattr(torch, dtype)
    return [torch.tensor(p, dtype=kind, requires_grad=True) for pair in zip(net.weights, net.biases, strict=True) for p in pair]


def _mlp_outputs(net: Mlp, parameters: Any, z: Any) -> Any:
    torch = _torch()
    h = _activation(net.activation)
    for layer in range(len(net.weights)):
        z = torch.nn.functional.linear(z, parameters[2 * layer], parameters[2 * layer + 1])
        if layer + 1 < len(net.weights):
            z = h(z)
    return z


def mlp_gradient(net: Mlp, X: Array, labels: Array, dtype: str, order: Callable[[list[Array], list[Array]], Array]) -> Run:
    """∂E/∂w of softmax + cross-entropy."""
    torch = _torch()
    parameters = _parameters(net, dtype)
    Xt, t = torch.tensor(X, dtype=getattr(torch, dtype)), torch.tensor(labels)

    def gradient() -> Any:
        error = torch.nn.functional.cross_entropy(_mlp_outputs(net, parameters, Xt), t, reduction="sum")
        return torch.autograd.grad(error, parameters)

    return Run(gradient, lambda g: order([p.numpy() for p in g[::2]], [p.numpy() for p in g[1::2]]))


def sparse_layers_forward(matrices: list[Any], bias: float, clip: float, X: Array, chunk: int) -> Run:
    """Clipped relu of CSR weight times z (MKL), layer by layer, `chunk` samples at a time; `matrices` are SciPy (units, sources)."""
    torch = _torch()
    layers = [
        torch.sparse_csr_tensor(
            torch.as_tensor(m.indptr), torch.as_tensor(m.indices), torch.as_tensor(m.data), m.shape, check_invariants=False
        )
        for m in matrices
    ]
    parts = [torch.as_tensor(np.ascontiguousarray(X[i : i + chunk].T)) for i in range(0, len(X), chunk)]

    def run(z: Any) -> Any:
        for layer in layers:
            z = (layer @ z).add_(bias).clamp_(0, clip)
        return z

    def forward() -> Any:
        with torch.inference_mode():
            return [run(part) for part in parts]

    return Run(forward, lambda zs: torch.cat(zs, dim=1).numpy().T, f"{chunk} samples at a time")


def _term_modules(net: TermNetwork) -> tuple[list[Any], Any]:
    """An nn.Linear a term, over its genes and its children's units, and the root's head, with these weights in float32."""
    torch = _torch()

    def linear(w: Array, b: Array) -> Any:
        module = torch.nn.Linear(w.shape[1], w.shape[0])
        with torch.no_grad():
            module.weight.copy_(torch.tensor(w))
            module.bias.copy_(torch.tensor(b))
        return module

    return [linear(w, b) for w, b in zip(net.weights, net.biases, strict=True)], linear(net.head, np.zeros(1))


def terms_gradient(net: TermNetwork, X: Array, T: Array) -> Run:
    """∂E/∂w by a loop over the terms in topological order, as DCell and DrugCell are trained."""
    torch = _torch()
    modules, head = _term_modules(net)
    Xt, Tt = torch.tensor(X), torch.tensor(T)
    columns = [torch.as_tensor(own) if len(own) else None for own in net.genes]
    parameters = [p for module in (*modules, head) for p in (module.weight, module.bias)]

    def gradient() -> Any:
        z: list[Any] = []
        for module, own, below in zip(modules, columns, net.children, strict=True):
            parts = [] if own is None else [Xt.index_select(1, own)]
            z.append(torch.tanh(module(torch.cat([*parts, *(z[child] for child in below)], dim=1))))
        return torch.autograd.grad(0.5 * ((head(z[-1]) - Tt) ** 2).sum(), parameters)

    def value(found: Any) -> Array:
        parts = [part.numpy() for part in found]
        return net.flat(parts[:-2:2], parts[1:-2:2], *parts[-2:])

    return Run(gradient, value)


def flat_outputs(net: Mlp) -> Callable[[Any, Any], Any]:
    shapes = [p.shape for pair in zip(net.weights, net.biases, strict=True) for p in pair]

    def outputs(theta: Any, x: Any) -> Any:
        pieces = theta.split([int(np.prod(s)) for s in shapes])
        return _mlp_outputs(net, [p.reshape(s) for p, s in zip(pieces, shapes, strict=True)], x)

    return outputs


def hessian(net: Mlp, theta: Array, X: Array, T: Array) -> Run:
    """∂²E/∂θ∂θ by torch.func.hessian."""
    torch = _torch()
    outputs = flat_outputs(net)
    Xt, Tt = torch.tensor(X), torch.tensor(T)
    function = torch.func.hessian(lambda p: 0.5 * ((outputs(p, Xt) - Tt) ** 2).sum())
    parameters = torch.tensor(theta)
    return Run(lambda: function(parameters), lambda H: H.detach().numpy())


def outer_product(net: Mlp, theta: Array, X: Array) -> Run:
    """Σ_n ∇y_n ∇y_nᵀ: torch.func vmap(jacrev), stacked rows A, AᵀA."""
    torch = _torch()
    jacobian = torch.func.vmap(torch.func.jacrev(flat_outputs(net)), in_dims=(None, 0))
    parameters, Xt = torch.tensor(theta), torch.tensor(X)

    def gram() -> Any:
        A = jacobian(parameters, Xt).reshape(-1, len(parameters))
        return A.T @ A

    return Run(gram, lambda H: H.detach().numpy())


def mlp_jacobian(net: Mlp, theta: Array, X: Array) -> Run:
    """∂y/∂x by torch.func vmap(jacrev)."""
    torch = _torch()
    function = torch.func.vmap(torch.func.jacrev(flat_outputs(net), argnums=1), in_dims=(None, 0))
    parameters, Xt = torch.tensor(theta), torch.tensor(X)
    return Run(lambda: function(parameters, Xt), lambda J: J.detach().numpy())


def sequential(net: Mlp) -> Any:
    """The same layers as an nn.Sequential in float64, for libraries that extend modules."""
    torch = _torch()
    layers: list[Any] = []
    for number, (w, b) in enumerate(zip(net.weights, net.biases, strict=True), 1):
        linear = torch.nn.Linear(w.shape[1], w.shape[0], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(w))
            linear.bias.copy_(torch.tensor(b))
        layers.append(linear)
        if number < len(net.weights):
            layers.append({"tanh": torch.nn.Tanh, "softsign": torch.nn.Softsign}[net.activation]())
    return torch.nn.Sequential(*layers)
