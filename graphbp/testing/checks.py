"""What must hold of one backend by itself: identities, repeatable bits, untouched inputs, fresh weights.

Each check takes a network and a case and returns (relative difference, where); what must hold to the last bit returns 0 or ∞.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.config import config
from graphbp.exceptions import NotSupportedError
from graphbp.network import Network
from graphbp.testing.case import Case
from graphbp.testing.tolerances import relative_difference

__all__ = ["CHECKS", "Check"]

Array = npt.NDArray[Any]
Found = tuple[float, str]


@dataclass(frozen=True)
class Check:
    """One row: a name that says what holds, the function, and the kind of its tolerance."""

    name: str
    run: Callable[[Network, Case], Found]
    kind: Literal["value", "first", "second"]
    square: bool = False

    def __str__(self) -> str:
        return self.name


def _worst(pairs: dict[str, tuple[Any, Any]]) -> Found:
    differences = {name: relative_difference(*pair) for name, pair in pairs.items()}
    name = max(differences, key=differences.__getitem__)
    return differences[name], name


def _scalar(left: Array, right: Array) -> float:
    """Relative difference of two sums of products, on the scale of their terms."""
    a, b = float(np.sum(left, dtype=np.float64)), float(np.sum(right, dtype=np.float64))
    scale = float(np.abs(left).sum(dtype=np.float64) + np.abs(right).sum(dtype=np.float64)) / 2
    return abs(a - b) / scale if scale else abs(a - b)


def adjoint(net: Network, case: Case) -> Found:
    """⟨V, J U⟩ = ⟨Jᵀ V, U⟩ in the inputs and in the weights."""
    X, V, U, v = case.X, case.V, case.U, case.v[:, 0]
    by_x = _scalar(V * net.jvp(X, U), net.vjp(X, V) * U)
    by_w = _scalar(V * net.weight_jvp(X, v), net.weight_vjp(X, V) * v)
    return max(by_x, by_w), "⟨V, J U⟩ ≠ ⟨Jᵀ V, U⟩ " + ("in the inputs" if by_x >= by_w else "in the weights")


def products(net: Network, case: Case) -> Found:
    """The Jacobians times the directions are jvp and vjp."""
    X, V, U, v = case.X, case.V, case.U, case.v[:, 0]
    J, W = net.jacobian(X).astype(np.float64), net.weight_jacobian(X).astype(np.float64)
    return _worst(
        {
            "jacobian @ U ≠ jvp": (net.jvp(X, U), np.einsum("nkd,nd->nk", J, U)),
            "V @ jacobian ≠ vjp": (net.vjp(X, V), np.einsum("nkd,nk->nd", J, V)),
            "weight_jacobian @ v ≠ weight_jvp": (net.weight_jvp(X, v), W @ v),
            "V @ weight_jacobian ≠ weight_vjp": (net.weight_vjp(X, V), np.einsum("nkw,nk->w", W, V)),
        }
    )


def sums(net: Network, case: Case) -> Found:
    """E and the gradient are sums over samples: of samples taken one by one, and of two parts."""
    X, T, s = case.batch
    value, gradient = net.error_and_gradient(X, T, s)
    part = max(1, len(X) // 3)
    halves = [(slice(0, part)), (slice(part, None))] if len(X) > 1 else [slice(None)]
    results = [net.error_and_gradient(X[h], T[h], None if s is None else s[h]) for h in halves]
    each = net.per_sample_gradient(X, T, s)
    single = net.per_sample_gradient(X[:1], T[:1], None if s is None else s[:1])
    scale = np.abs(each).sum(axis=0, dtype=np.float64).max(initial=0) or 1.0
    return _worst(
        {
            "error ≠ first part of error_and_gradient": (net.error(X, T, s), value),
            "error ≠ sum over two parts": (value, sum(r[0] for r in results)),
            "gradient ≠ sum over two parts": (_scaled(gradient, scale), _scaled(sum(r[1].astype(float) for r in results), scale)),
            "gradient ≠ Σ per_sample_gradient": (_scaled(gradient, scale), _scaled(each.sum(axis=0, dtype=np.float64), scale)),
            "per_sample_gradient depends on the other samples": (each[:1], single),
            "forward depends on the other samples": (net.forward(X)[-1:], net.forward(X[-1:])),
        }
    )


def _scaled(values: Array, scale: float) -> Array:
    """Divided by `scale`, with a 1 appended, so that a sum that cancels is not measured by itself."""
    return np.append(np.asarray(values, np.float64) / scale, 1.0)


def linear_in_sample_weight(net: Network, case: Case) -> Found:
    """Weights of 2 double E and the gradient; a weight of 0 removes a sample."""
    X, T, _ = case.batch
    ones, s = net.error_and_gradient(X, T), np.full(len(X), 2.0)
    twos = net.error_and_gradient(X, T, s)
    pairs = {"E": (twos[0], 2 * ones[0]), "gradient": (twos[1], 2 * ones[1].astype(float))}
    if len(X) > 1:
        s = np.ones(len(X))
        s[0] = 0
        pairs["gradient without the first sample"] = (net.gradient(X, T, s), net.gradient(X[1:], T[1:]))
    difference, name = _worst(pairs)
    return difference, f"sample_weight is not a factor of the {name}"


def symmetric(net: Network, case: Case) -> Found:
    """H = Hᵀ to the last bit, for the exact and the outer-product Hessian."""
    for name in ("hessian", "outer_product_hessian"):
        h = getattr(net, name)(*case.batch)
        if not np.array_equal(h, h.T):
            return math.inf, f"{name} is not symmetric to the last bit"
    return 0.0, ""


def hessians_agree(net: Network, case: Case) -> Found:
    """The diagonal and the operators are those of the full Hessians."""
    h, g = net.hessian(*case.batch).astype(float), net.outer_product_hessian(*case.batch).astype(float)
    v = case.v.astype(net.dtype)
    scale = max(float(np.abs(h).max(initial=0)), 1e-30)
    return _worst(
        {
            "hessian_diagonal ≠ diagonal of hessian": (
                _scaled(net.hessian_diagonal(*case.batch), scale),
                _scaled(h.diagonal(), scale),
            ),
            "hessian_operator @ v ≠ hessian @ v": (net.hessian_operator(*case.batch) @ v, h @ v),
            "outer_product_operator @ v ≠ outer_product_hessian @ v": (net.outer_product_operator(*case.batch) @ v, g @ v),
        }
    )


def _bits(net: Network, case: Case) -> dict[str, bytes]:
    value, gradient = net.error_and_gradient(*case.batch)
    found = {"forward": net.forward(case.X), "error": np.float64(value), "gradient": gradient, "vjp": net.vjp(case.X, case.V)}
    try:
        if case.second_order and net.n_parameters <= 400:
            found["hessian"] = net.hessian(*case.batch)
    except NotSupportedError:
        pass
    return {name: np.ascontiguousarray(array).tobytes() for name, array in found.items()}


def same_bits(net: Network, case: Case) -> Found:
    """The same bits on a second run, from another Python thread, for 1, 2 and 3 threads, and from two Python threads at once."""
    first = _bits(net, case)
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(_bits, net, case).result()
    attempts: dict[str, Callable[[], dict[str, bytes]]] = {
        "on a second run": lambda: _bits(net, case),
        "from another Python thread": lambda: elsewhere,
    }
    for threads in (1, 2, 3):
        attempts[f"with threads={threads}"] = lambda threads=threads: _with_threads(net, case, threads)  # type: ignore[misc]
    with ThreadPoolExecutor(2) as pool:
        at_once = [pool.submit(_bits, net, case) for _ in range(2)]
        attempts["from two Python threads at once"] = at_once[0].result
        attempts["from two Python threads at once "] = at_once[1].result
        for how, run in attempts.items():
            for name, bits in run().items():
                if bits != first[name]:
                    return math.inf, f"{name} has other bits {how.strip()}"
    return 0.0, ""


def _with_threads(net: Network, case: Case, threads: int) -> dict[str, bytes]:
    with config(threads=threads):
        return _bits(net, case)


def inputs_unchanged(net: Network, case: Case) -> Found:
    """X, T, V, sample weights and θ are not written to, and results are new arrays."""
    dtype = net.dtype
    X, T, V = (np.array(part, dtype) for part in (case.X, case.T, case.V))
    s = np.array(np.ones(len(X)) if case.sample_weight is None else case.sample_weight, dtype)
    given = {"X": X, "T": T, "V": V, "sample_weight": s, "weights": net.weights}
    before = {name: array.copy() for name, array in given.items()}
    results = {"forward": net.forward(X), "gradient": net.gradient(X, T, s), "vjp": net.vjp(X, V)}
    kept = {name: array.copy() for name, array in results.items()}
    net.forward(X[::-1].copy()), net.gradient(X[::-1].copy(), T, s), net.vjp(X[::-1].copy(), V)
    for name, array in given.items():
        if not np.array_equal(array, before[name]):
            return math.inf, f"{name} was written to"
    for name, array in results.items():
        if not np.array_equal(array, kept[name]):
            return math.inf, f"the result of {name} changed under a later call"
    return 0.0, ""


def fresh_weights(net: Network, case: Case) -> Found:
    """After θ is assigned, results are those of the new θ (and the old ones come back with the old θ)."""
    theta = np.array(net.weights)
    net.forward(case.X), net.gradient(*case.batch)
    changed = (theta * 0.75 + 0.0625).astype(net.dtype)
    other = case.definition.to()
    other.weights = changed
    try:
        net.weights = changed
        with np.errstate(all="ignore"):  # moved weights may leave an activation's domain
            pairs = {
                "forward": (net.forward(case.X), other.forward(case.X)),
                "gradient": (net.gradient(*case.batch), other.gradient(*case.batch)),
            }
    finally:
        net.weights = theta
    difference, name = _worst(pairs)
    return difference, f"{name} does not follow an assignment to weights"


def relabelled(net: Network, case: Case) -> Found:
    """The same graph with other names, nodes and edges in another order, has the same outputs and gradients by edge.

    Edges into a node that chooses keep their order: it decides ties.
    """
    g, rng = net.to_networkx(), case.rng("order")
    names = list(g)
    new: dict[Any, tuple[str, int]] = {name: ("node", i) for i, name in enumerate(names)}
    order = [names[i] for i in rng.permutation(len(names))]
    shuffled: nx.DiGraph[Any] = nx.DiGraph()
    inputs, outputs = set(net.inputs), set(net.outputs)
    for name in order:
        role = "input" if name in inputs else "output" if name in outputs else "hidden"
        shuffled.add_node(new[name], **{**g.nodes[name], "role": role})
    edges = list(g.edges(data=True))
    for k in rng.permutation(len(edges)):
        u, v, data = edges[k]
        if g.nodes[v].get("aggregation", "sum") == "sum":
            shuffled.add_edge(new[u], new[v], **data)
    for v in (name for name in order if g.nodes[name].get("aggregation", "sum") != "sum"):
        for u, data in g.pred[v].items():
            shuffled.add_edge(new[u], new[v], **data)
    other = Network(shuffled, error=case.error or None, backend=net.backend, dtype=net.dtype)
    back: dict[Any, Any] = {label: name for name, label in new.items()}
    columns = _columns(net, [back[n] for n in other.inputs], net.inputs)
    rows = _columns(net, [back[n] for n in other.outputs], net.outputs)
    s = case.sample_weight
    value, gradient = other.error_and_gradient(
        case.X[:, columns], case.T[:, rows], s[:, rows] if s is not None and s.ndim == 2 else s
    )
    mine_value, mine = net.error_and_gradient(*case.batch)
    theirs = np.zeros_like(mine)
    for u, v, data in edges:
        if data.get("trainable", True):
            theirs[net.parameter_index(u, v)] = gradient[other.parameter_index(new[u], new[v])]
    for name, data in g.nodes(data=True):
        if data.get("bias") is not None and data.get("trainable", True):
            theirs[net.parameter_index(name)] = gradient[other.parameter_index(new[name])]
    return _worst(
        {"E depends on the order of nodes": (value, mine_value), "gradient depends on the order of nodes": (theirs, mine)}
    )


def _columns(net: Network, nodes: list[Any], original: tuple[Any, ...]) -> list[int]:
    """Columns of `original`'s order, taken in the order of `nodes`."""
    start, at = {}, 0
    for name in original:
        start[name] = at
        at += _width(net, name)
    return [start[name] + k for name in nodes for k in range(_width(net, name))]


def _width(net: Network, name: Any) -> int:
    return int(net.schedule.units[net.schedule.names.index(name)])


CHECKS: dict[str, Check] = {
    row.name: row
    for row in (
        Check("adjoint", adjoint, "first"),
        Check("products", products, "first"),
        Check("sums", sums, "first"),
        Check("sample_weight", linear_in_sample_weight, "first"),
        Check("symmetric", symmetric, "second", square=True),
        Check("hessians_agree", hessians_agree, "second", square=True),
        Check("same_bits", same_bits, "value"),
        Check("inputs_unchanged", inputs_unchanged, "value"),
        Check("fresh_weights", fresh_weights, "first"),
        Check("relabelled", relabelled, "first"),
    )
}
"""Every check, by name."""
