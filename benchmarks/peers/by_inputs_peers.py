"""Second derivatives by the inputs with JAX and PyTorch: compiled, warmed, whole batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.networks import Array, Mlp, UnitDag
from benchmarks.outcome import Run
from benchmarks.peers import need
from benchmarks.peers.jax_peer import batched_outputs, flat_outputs
from benchmarks.peers.torch_peer import dag_outputs as torch_dag_outputs
from benchmarks.peers.torch_peer import flat_outputs as torch_outputs

__all__ = ["folx_laplacian", "jax_hessian", "jax_laplacian", "torch_hessian", "torch_laplacian"]


def _jax() -> tuple[Any, Any]:
    jax = need("jax")
    jax.config.update("jax_enable_x64", True)
    return jax, need("jax.numpy")


def jax_hessian(net: Mlp | UnitDag, theta: Array, X: Array, *, mode: str = "hessian") -> Run:
    """∂²y/∂x∂x (N, K, D, D) by vmap(jax.hessian), or of "reverse" by reverse over reverse, "forward" by forward over forward."""
    jax, jnp = _jax()
    twice = {
        "hessian": jax.hessian,
        "reverse": lambda f, argnums: jax.jacrev(jax.jacrev(f, argnums), argnums),
        "forward": lambda f, argnums: jax.jacfwd(jax.jacfwd(f, argnums), argnums),
    }[mode]
    compiled = jax.jit(jax.vmap(twice(flat_outputs(net), argnums=1), in_axes=(None, 0)))
    data = jnp.asarray(theta), jnp.asarray(X)
    return Run(lambda: jax.block_until_ready(compiled(*data)))


def jax_laplacian(net: Mlp | UnitDag, theta: Array, X: Array, *, reverse: bool = False) -> Run:
    """Σ_i ∂²y/∂x_i² (N, K) by a loop over the inputs: jvp of jvp of the whole batch, or with `reverse` jvp of jacrev."""
    jax, jnp = _jax()
    outputs = batched_outputs(net)

    def along(theta: Any, X: Any, u: Any) -> Any:
        step = jnp.broadcast_to(u, X.shape)

        def slope(x: Any) -> Any:
            return jax.jvp(lambda z: outputs(theta, z), (x,), (step,))[1]

        return jax.jvp(slope, (X,), (step,))[1]

    def along_reverse(theta: Any, X: Any, u: Any) -> Any:
        gradients = jax.vmap(jax.jacrev(lambda x: flat_outputs(net)(theta, x)))
        step = jnp.broadcast_to(u, X.shape)
        return jax.jvp(gradients, (X,), (step,))[1] @ u

    each = along_reverse if reverse else along

    def laplacian(theta: Any, X: Any) -> Any:
        def add(total: Any, u: Any) -> Any:
            return total + each(theta, X, u), None

        zero = jnp.zeros((X.shape[0], net.n_outputs if isinstance(net, UnitDag) else net.sizes[-1]), X.dtype)
        return jax.lax.scan(add, zero, jnp.eye(X.shape[1], dtype=X.dtype))[0]

    compiled = jax.jit(laplacian)
    data = jnp.asarray(theta), jnp.asarray(X)
    return Run(lambda: jax.block_until_ready(compiled(*data)))


def folx_laplacian(net: Mlp | UnitDag, theta: Array, X: Array) -> Run:
    """The same by folx's forward Laplacian."""
    jax, jnp = _jax()
    folx = need("folx")
    outputs = flat_outputs(net)

    def laplacian(theta: Any, X: Any) -> Any:
        return jax.vmap(lambda x: folx.forward_laplacian(lambda z: outputs(theta, z))(x).laplacian)(X)

    compiled = jax.jit(laplacian)
    data = jnp.asarray(theta), jnp.asarray(X)
    return Run(lambda: jax.block_until_ready(compiled(*data)))


def torch_hessian(net: Mlp, theta: Array, X: Array, *, mode: str = "hessian") -> Run:
    """∂²y/∂x∂x (N, K, D, D) by vmap of torch.func.hessian (forward over reverse), or of "reverse" or "forward" over itself."""
    torch = need("torch")
    outputs, parameters = torch_outputs(net), torch.tensor(theta)
    one = {"hessian": torch.func.hessian, "reverse": _twice(torch.func.jacrev), "forward": _twice(torch.func.jacfwd)}[mode]
    function = torch.func.vmap(one(lambda x: outputs(parameters, x)))
    data = torch.tensor(X)
    return Run(lambda: function(data), lambda H: np.asarray(H))


def _twice(derivative: Callable[..., Any]) -> Callable[..., Any]:
    return lambda function: derivative(derivative(function))


def torch_laplacian(net: UnitDag, X: Array) -> Run:
    """Σ_i ∂²y/∂x_i² (N, K) by a loop over the inputs, jvp of jvp of the whole batch."""
    torch = need("torch")
    outputs, data = torch_dag_outputs(net), torch.tensor(X)

    def along(u: Any) -> Any:
        step = u.expand_as(data).contiguous()

        def slope(x: Any) -> Any:
            return torch.func.jvp(outputs, (x,), (step,))[1]

        return torch.func.jvp(slope, (data,), (step,))[1]

    return Run(lambda: sum(along(u) for u in torch.eye(X.shape[1], dtype=data.dtype)), lambda L: np.asarray(L))
