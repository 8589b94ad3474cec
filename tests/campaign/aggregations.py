"""`python -m tests.campaign.aggregations --networks 2000`: drawn DAGs whose nodes aggregate in every way, against the truth.

First derivatives against the complex step of the graph, evaluated node by node; second ones, by the weights and by the inputs, against the
complex step of the sweeps of first order, which the first have vouched for; of small networks also against differences in 60 digits.
Differences are relative to the largest value of each quantity, or, where a sum over samples cancels, to the size of its terms.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

import graphbp as gb
from graphbp.numerical import difference_hessian
from graphbp.registry import get_backend
from graphbp.testing.oracles import evaluate, oracle_gradient, oracle_jacobian, oracle_weight_jacobian
from tests.helpers.aggregating import drawn_dag, exact_derivatives, exact_error, gap_of_ties

LIMIT = 1e-12
SMALL = 12
"""Parameters up to which mpmath is asked."""


def problem(seed: int, backend: str = "numpy") -> tuple[Any, ...] | None:
    """(graph, network, X, T), or None where a choice is near a tie or something grows."""
    rng = np.random.default_rng([seed, 7])
    units = int(rng.choice([1, 1, 2, 3]))
    g = drawn_dag(rng, units)
    net = gb.Network(g, backend=backend)
    n = int(rng.integers(1, 5))
    X = rng.uniform(0.3, 1.5, (n, net.schedule.n_inputs)) * rng.choice([-1.0, 1.0], (n, net.schedule.n_inputs))
    T = rng.normal(size=(n, net.schedule.n_outputs))
    if gap_of_ties(net, X, T) < 1e-6 or max(np.abs(a).max() for a in net.trace(X, T).a.values()) > 30:
        return None
    return g, net, X, T


def differences(g: Any, net: Any, X: Any, T: Any) -> Iterator[tuple[str, float]]:
    """(quantity, relative difference)."""
    each, by_weight = net.per_sample_gradient(X, T), oracle_weight_jacobian(net, X)
    terms = float(np.abs(each).sum(axis=0).max(initial=0))
    gradient = oracle_gradient(net, X, T)
    yield "forward", apart(net.forward(X), evaluate(net, net.weights, X))
    yield "gradient", apart(net.gradient(X, T), gradient, terms)
    yield "per_sample_gradient", apart(each.sum(axis=0), gradient, terms)
    yield "jacobian", apart(net.jacobian(X), oracle_jacobian(net, X))
    yield "weight_jacobian", apart(net.weight_jacobian(X), by_weight)
    yield from by_inputs(net, X, T)
    if not net.n_parameters:
        return
    hessian = np.asarray(difference_hessian(net, X, T, method="complex_step").value)
    terms = sum(float(np.abs(net.hessian(X[n : n + 1], T[n : n + 1])).max()) for n in range(len(X)))
    yield "hessian", apart(net.hessian(X, T), hessian, terms)
    yield "hessian_diagonal", apart(net.hessian_diagonal(X, T), np.diag(hessian), terms)
    yield "hessian_operator", apart(net.hessian_operator(X, T) @ np.eye(net.n_parameters), hessian, terms)
    if net.n_parameters <= SMALL and len(net.schedule.names) == net.schedule.n_rows - net.schedule.inner.n_rows:
        gradient, hessian = exact_derivatives(lambda theta: exact_error(net, g, theta, X, T), net.weights)
        yield "gradient, 60 digits", apart(net.gradient(X, T), gradient, float(np.abs(each).sum(axis=0).max()))
        yield "hessian, 60 digits", apart(net.hessian(X, T), hessian, terms)


def by_inputs(net: Any, X: Any, T: Any) -> Iterator[tuple[str, float]]:
    """The same of second derivatives by the inputs, of both forms of products, and of the mixed ones."""
    run = get_backend("numpy").compile(net.schedule.live, net.error_function, np.dtype(np.complex128))
    theta, step = net.weights.astype(complex), 1e-100j
    rng = np.random.default_rng(3)
    V, U, v = (rng.normal(size=shape) for shape in (T.shape, X.shape, len(theta)))
    H = np.stack([run.jacobian(theta, X + step * e).imag for e in np.eye(X.shape[1])], axis=-1) / 1e-100
    of_v = np.einsum("nk,nkij->nij", V, H)
    terms = float(np.abs(V[:, :, None, None] * H).max(initial=0))
    yield "input_hessian", apart(net.input_hessian(X), H)
    yield "input_hessian of V", apart(net.input_hessian(X, V), of_v, terms)
    yield "input_hessian_diagonal", apart(net.input_hessian_diagonal(X), np.einsum("nkii->nki", H))
    yield "laplacian", apart(net.laplacian(X), np.einsum("nkii->nk", H), float(np.abs(H).max(initial=0)))
    yield "input_hvp", apart(net.input_hvp(X, V, U), np.einsum("nij,nj->ni", of_v, U), terms)
    moved = theta + step * v, X + step * U
    by_x, by_theta = (part.imag / 1e-100 for part in run.vjp(*moved, V.astype(complex)))
    for found, expected in zip(net.second_order_product(X, V, U, v), (by_x, by_theta), strict=True):
        yield "second_order_product", apart(found, expected, max(terms, float(np.abs(by_x).max()), _largest(net, X, V, U, v)))
    gradient = run.error_and_gradient(theta, X + step * U, T.astype(complex), None)[1].imag / 1e-100
    yield "mixed_vjp", apart(net.mixed_vjp(X, T, U), gradient, _largest_mixed(net, X, T, U))


def _largest(net: Any, X: Any, V: Any, U: Any, v: Any) -> float:
    """Of the samples' own parts of ∂/∂θ."""
    parts = [net.second_order_product(X[n : n + 1], V[n : n + 1], U[n : n + 1], v)[1] for n in range(len(X))]
    return float(np.abs(parts).max(initial=0))


def _largest_mixed(net: Any, X: Any, T: Any, U: Any) -> float:
    parts = [net.mixed_vjp(X[n : n + 1], T[n : n + 1], U[n : n + 1]) for n in range(len(X))]
    return float(np.abs(parts).max(initial=0))


def apart(found: Any, expected: Any, terms: float = 0.0) -> float:
    """max |found − expected| / max(|expected|, terms)."""
    scale = max(float(np.abs(expected).max(initial=0)), terms, 1e-3)
    return float(np.abs(np.asarray(found) - expected).max(initial=0)) / scale


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.aggregations", description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--backend", default="numpy")
    given = parser.parse_args()
    worst: dict[str, tuple[float, int]] = {}
    counts: Counter[str] = Counter()
    seed, done = given.first, 0
    while done < given.networks:
        drawn, seed = problem(seed, given.backend), seed + 1
        if drawn is None:
            continue
        done += 1
        for name, value in differences(*drawn):
            counts[name] += 1
            worst[name] = max(worst.get(name, (-1.0, 0)), (value, seed - 1))
    wrong = False
    for name, (value, at) in worst.items():
        wrong |= not value <= LIMIT
        print(f"{'ok' if value <= LIMIT else 'WRONG':6s} {name:24s} {counts[name]:6,d} networks, worst {value:.2e} (seed {at})")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
