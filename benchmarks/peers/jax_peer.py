"""JAX: jit-compiled, warmed, data on the device already, every call waited for (`block_until_ready`).

A network of single units is written level by level, as an array library needs it.  Two ways are measured, since which one XLA
likes better depends on the network:

    segment sum    a = segment_sum(w[e] · z[source[e]], target[e]) + b, differentiated by `jax.grad`
    reverse sweep  the same forward, and the reverse sweep written out by hand with scatter-adds into one buffer of ∂E/∂z: what
                   `jax.grad` would give if it did not copy the whole buffer for each level
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.networks import Array, Mlp, UnitDag
from benchmarks.outcome import Run
from benchmarks.peers import need


def _jax() -> tuple[Any, Any]:
    jax = need("jax")
    jax.config.update("jax_enable_x64", True)  # dtypes are named everywhere below, so float32 stays float32
    return jax, need("jax.numpy")


def _activation(name: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """h(a), and h' as a function of z."""
    _, jnp = _jax()
    if name == "softsign":
        return lambda a: a / (1 + abs(a)), lambda z: (1 - abs(z)) ** 2
    if name == "tanh":
        return jnp.tanh, lambda z: 1 - z * z
    raise NotImplementedError(name)


def _forward(dag: UnitDag, dtype: str) -> Callable[[Any, Any, Any], Any]:
    """(w, b, X (D, N)) -> z of all rows in level order (rows, N)."""
    jax, jnp = _jax()
    h, _ = _activation(dag.activation)

    def forward(w: Any, b: Any, X: Any) -> Any:
        Z = jnp.zeros((dag.n_rows, X.shape[1]), dtype).at[: dag.n_inputs].set(X)
        for level in dag.levels:
            a = jax.ops.segment_sum(
                w[level.edge][:, None] * Z[level.source], level.target, num_segments=len(level.unit), indices_are_sorted=True
            )
            a = a + b[level.unit][:, None]
            z = jnp.where(level.is_output[:, None], a, h(a)) if level.is_output.any() else h(a)
            Z = jax.lax.dynamic_update_slice(Z, z, (level.start, 0))
        return Z

    return forward


def dag_gradient(dag: UnitDag, X: Array, T: Array, dtype: str) -> Run:
    """∂E/∂w by `jax.grad`, segment sums."""
    jax, _ = _jax()
    forward = _forward(dag, dtype)

    def error(parameters: Any, X: Any, T: Any) -> Any:
        w, b = parameters
        return 0.5 * ((forward(w, b, X)[dag.output_position] - T) ** 2).sum()

    return _gradient_run(dag, jax.grad(error), X, T, dtype)


def dag_gradient_by_hand(dag: UnitDag, X: Array, T: Array, dtype: str) -> Run:
    """∂E/∂w by a reverse sweep written out, scatter-adds into one buffer."""
    _, jnp = _jax()
    forward = _forward(dag, dtype)
    _, slope = _activation(dag.activation)

    def gradient(parameters: Any, X: Any, T: Any) -> Any:
        w, b = parameters
        Z = forward(w, b, X)
        S = jnp.zeros_like(Z).at[dag.output_position].set(Z[dag.output_position] - T)
        gw, gb = jnp.zeros_like(w), jnp.zeros_like(b)
        for level in reversed(dag.levels):
            rows = slice(level.start, level.stop)
            delta = S[rows] * jnp.where(level.is_output[:, None], 1, slope(Z[rows]))
            per_edge = delta[level.target]
            gb = gb.at[level.unit].set(delta.sum(1), unique_indices=True)
            gw = gw.at[level.edge].set((per_edge * Z[level.source]).sum(1), unique_indices=True)
            S = S.at[level.source].add(w[level.edge][:, None] * per_edge)
        return gw, gb

    return _gradient_run(dag, gradient, X, T, dtype)


def _gradient_run(dag: UnitDag, gradient: Callable[..., Any], X: Array, T: Array, dtype: str) -> Run:
    jax, jnp = _jax()
    compiled = jax.jit(gradient)
    parameters = jnp.asarray(dag.weight, dtype), jnp.asarray(dag.bias, dtype)
    data = jnp.asarray(X.T.copy(), dtype), jnp.asarray(T.T.copy(), dtype)
    return Run(
        lambda: jax.block_until_ready(compiled(parameters, *data)),
        lambda result: dag.flat(np.asarray(result[0]), np.asarray(result[1])),
    )


def dag_jacobian(dag: UnitDag, X: Array, dtype: str) -> Run:
    """∂y/∂x (N, K, D) by vmap(jacrev)."""
    jax, jnp = _jax()
    forward = _forward(dag, dtype)

    def outputs(parameters: Any, x: Any) -> Any:
        w, b = parameters
        return forward(w, b, x[:, None])[dag.output_position, 0]

    compiled = jax.jit(jax.vmap(jax.jacrev(outputs, argnums=1), in_axes=(None, 0)))
    parameters = jnp.asarray(dag.weight, dtype), jnp.asarray(dag.bias, dtype)
    data = jnp.asarray(X, dtype)
    return Run(lambda: jax.block_until_ready(compiled(parameters, data)))


def mlp_gradient(net: Mlp, X: Array, labels: Array, dtype: str, order: Callable[[list[Array], list[Array]], Array]) -> Run:
    """∂E/∂w of softmax + cross-entropy, `jax.grad`."""
    jax, jnp = _jax()
    outputs = _mlp_outputs(net)
    n = jnp.arange(len(labels))

    def error(parameters: Any, X: Any, t: Any) -> Any:
        return -jax.nn.log_softmax(outputs(parameters, X))[n, t].sum()

    compiled = jax.jit(jax.grad(error))
    parameters = [(jnp.asarray(w, dtype), jnp.asarray(b, dtype)) for w, b in zip(net.weights, net.biases, strict=True)]
    data = jnp.asarray(X, dtype), jnp.asarray(labels)
    return Run(
        lambda: jax.block_until_ready(compiled(parameters, *data)),
        lambda g: order([np.asarray(w) for w, _ in g], [np.asarray(b) for _, b in g]),
    )


def _mlp_outputs(net: Mlp) -> Callable[[Any, Any], Any]:
    h, _ = _activation(net.activation)

    def outputs(parameters: Any, z: Any) -> Any:
        for layer, (w, b) in enumerate(parameters, 1):
            z = z @ w.T + b
            if layer < len(net.weights):
                z = h(z)
        return z

    return outputs


def flat_outputs(net: Mlp | UnitDag) -> Callable[[Any, Any], Any]:
    """(θ, x (D,)) -> y (K,), θ in the order of `net.weights`: the form that second derivatives are taken of."""
    if isinstance(net, Mlp):
        outputs = _mlp_outputs(net)

        def mlp_outputs(theta: Any, x: Any) -> Any:
            parameters, at = [], 0
            for w, b in zip(net.weights, net.biases, strict=True):
                parameters.append((theta[at : at + w.size].reshape(w.shape), theta[at + w.size : at + w.size + b.size]))
                at += w.size + b.size
            return outputs(parameters, x)

        return mlp_outputs
    forward = _forward(net, "float64")

    def dag_outputs(theta: Any, x: Any) -> Any:
        return forward(theta[net.weight_position], theta[net.bias_position], x[:, None])[net.output_position, 0]

    return dag_outputs


def batched_outputs(net: Mlp | UnitDag) -> Callable[[Any, Any], Any]:
    """(θ, X (N, D)) -> Y (N, K), the whole batch at once."""
    if isinstance(net, Mlp):
        return flat_outputs(net)
    forward = _forward(net, "float64")
    return lambda theta, X: forward(theta[net.weight_position], theta[net.bias_position], X.T)[net.output_position].T


def _batched(net: Mlp | UnitDag) -> Callable[[Any, Any, Any], Any]:
    """(θ, X, T) -> E, the whole batch at once."""
    if isinstance(net, Mlp):
        outputs = flat_outputs(net)
        return lambda theta, X, T: 0.5 * ((outputs(theta, X) - T) ** 2).sum()
    forward = _forward(net, "float64")
    return lambda theta, X, T: (
        0.5 * ((forward(theta[net.weight_position], theta[net.bias_position], X.T)[net.output_position] - T.T) ** 2).sum()
    )


def hessian(net: Mlp | UnitDag, theta: Array, X: Array, T: Array, *, diagonal: bool = False, chunk: int = 0) -> Run:
    """∂²E/∂θ∂θ by `jax.hessian`; `diagonal` compares its diagonal only.

    `chunk` samples at a time, summed by `lax.scan`, where all at once does not fit in memory.
    """
    jax, jnp = _jax()
    whole = jax.hessian(_batched(net))

    def in_chunks(theta: Any, X: Any, T: Any) -> Any:
        parts = X.reshape(-1, chunk, X.shape[1]), T.reshape(-1, chunk, T.shape[1])
        zero = jnp.zeros((len(theta), len(theta)), theta.dtype)
        return jax.lax.scan(lambda H, part: (H + whole(theta, *part), None), zero, parts)[0]

    compiled = jax.jit(in_chunks if chunk else whole)
    data = jnp.asarray(theta), jnp.asarray(X), jnp.asarray(T)
    note = f"{chunk} samples at a time: all at once does not fit in memory" if chunk else ""
    return Run(lambda: jax.block_until_ready(compiled(*data)), lambda H: np.diagonal(H) if diagonal else np.asarray(H), note)


def outer_product(net: Mlp | UnitDag, theta: Array, X: Array) -> Run:
    """Σ_n ∇y_n ∇y_nᵀ: vmap(jacrev), stacked rows A (N·K, W), AᵀA."""
    jax, jnp = _jax()
    jacobian = jax.vmap(jax.jacrev(flat_outputs(net)), in_axes=(None, 0))

    def gram(theta: Any, X: Any) -> Any:
        A = jacobian(theta, X).reshape(-1, len(theta))
        return A.T @ A

    compiled = jax.jit(gram)
    data = jnp.asarray(theta), jnp.asarray(X)
    return Run(lambda: jax.block_until_ready(compiled(*data)))


def hessian_product(net: Mlp | UnitDag, theta: Array, X: Array, T: Array, v: Array) -> Run:
    """H v by forward over reverse, `jvp(grad(E))`."""
    jax, jnp = _jax()
    gradient = jax.grad(_batched(net))
    compiled = jax.jit(lambda theta, X, T, v: jax.jvp(lambda p: gradient(p, X, T), (theta,), (v,))[1])
    data = jnp.asarray(theta), jnp.asarray(X), jnp.asarray(T), jnp.asarray(v)
    return Run(lambda: jax.block_until_ready(compiled(*data)))
