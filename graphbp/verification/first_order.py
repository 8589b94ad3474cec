"""The comparisons of first order: the gradient, Jacobians, and products with them."""

from __future__ import annotations

import numpy as np

from graphbp.numerical import difference_along, difference_gradient, difference_jacobian, difference_weight_jacobian
from graphbp.verification.checker import Checker, largest

__all__ = ["DIRECTIONS", "SUSPECTS", "check_first_order"]

DIRECTIONS = 8
SUSPECTS = 32
"""Weights that are differenced one by one where the directional test is used."""


def check_first_order(checker: Checker) -> None:
    """Gradient and Jacobians against differences, products with them against themselves."""
    net, x = checker.net, checker.x
    v, u = checker.rng.normal(size=(len(x), net.schedule.n_outputs)), checker.rng.normal(size=x.shape) * checker.by_input
    u = u.astype(net.dtype)
    if checker.by_weight:
        checker.compare(
            "gradient",
            checker.method,
            lambda net, x: net.gradient(x, *checker.batch[1:]),
            lambda: difference_gradient(net, *checker.batch, method=checker.method),
            checker.parameter,
            checker.gradient_size,
        )
        checker.compare(
            "weight_jacobian",
            checker.method,
            lambda net, x: net.weight_jacobian(x),
            lambda: difference_weight_jacobian(net, x, method=checker.method),
            lambda at: f"{checker.output(at[1])} by {checker.parameter(at)}, sample {at[0]}",
            checker.weight_jacobian_size,
        )
    else:
        _directional_gradient(checker)
    checker.compare(
        "jacobian",
        checker.method,
        lambda net, x: net.jacobian(x),
        lambda: difference_jacobian(net, x, method=checker.method),
        checker.jacobian_entry,
        checker.jacobian_size,
    )
    checker.compare(
        "per_sample_gradient",
        "their sum is the gradient",
        lambda net, x: net.per_sample_gradient(x, *checker.batch[1:]).sum(axis=0, dtype=np.float64),
        lambda: net.gradient(*checker.batch),
        checker.parameter,
        checker.gradient_size,
        checker.agree,
    )
    checker.compare(
        "jvp",
        "jacobian @ U",
        lambda net, x: net.jvp(x, u),
        lambda: np.einsum("nkd,nd->nk", checker.jacobian, u),
        checker.output_entry,
        lambda found: largest(np.einsum("nkd,nd->nk", np.abs(checker.jacobian), np.abs(u)), (0,)) + 0 * found,
        checker.agree,
    )
    checker.compare(
        "vjp",
        "V @ jacobian",
        lambda net, x: net.vjp(x, v),
        lambda: np.einsum("nkd,nk->nd", checker.jacobian, v),
        lambda at: f"{checker.input(at[1])}, sample {at[0]}",
        lambda _: largest(np.einsum("nkd,nk->nd", np.abs(checker.jacobian), np.abs(v)) * checker.by_input) / checker.by_input,
        checker.agree,
    )
    w = checker.parameter_directions(1)[:, 0]
    checker.compare(
        "weight_jvp",
        "⟨V, J v⟩ = ⟨Jᵀ V, v⟩",
        lambda net, x: np.array([np.sum(v * net.weight_jvp(x, w), dtype=np.float64)]),
        lambda: np.array([np.sum(net.weight_vjp(x, v) * w, dtype=np.float64)]),
        lambda at: "",
        lambda found: np.array([np.abs(v * net.weight_jvp(x, w)).sum(dtype=np.float64)]),
        100 * checker.agree,
    )


def _directional_gradient(checker: Checker) -> None:
    """d E(θ + s v)/ds = vᵀ ∂E/∂θ for random v, then the largest weights one by one."""
    net, n = checker.net, checker.net.n_parameters
    directions = checker.rng.normal(size=(n, DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    scaled = net.gradient(*checker.batch) * checker.by_parameter
    checker.compare(
        "gradient",
        f"central, {DIRECTIONS} directions",
        lambda net, x: (net.gradient(x, *checker.batch[1:]) * checker.by_parameter) @ directions,
        lambda: difference_along(net, *checker.batch, directions),
        lambda at: f"direction {at[0]}",
        lambda found: np.full(found.shape, np.linalg.norm(scaled)),
        checker.central,
    )
    suspects = np.argsort(-np.abs(scaled), kind="stable")[:SUSPECTS]
    chosen = np.zeros((n, len(suspects)))
    chosen[suspects, np.arange(len(suspects))] = 1
    checker.compare(
        "gradient",
        f"central, {len(suspects)} largest weights",
        lambda net, x: (net.gradient(x, *checker.batch[1:]) * checker.by_parameter)[suspects],
        lambda: difference_along(net, *checker.batch, chosen),
        lambda at: checker.net.parameter_name(int(suspects[at[0]])),
        lambda found: largest(found) + 0 * found,
        checker.central,
    )
