"""The comparisons of second derivatives by the inputs, and of the mixed ones by inputs and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import MemoryLimitError, NotSupportedError
from graphbp.numerical import difference_input_hessian, difference_moving
from graphbp.verification.checker import Checker, largest

__all__ = ["check_by_inputs", "compare_input_hessian"]

Array = npt.NDArray[Any]

WHOLE = 1 << 20
"""Entries of ∂²y/∂x∂x up to which it is formed, and differenced input by input."""
INPUTS = 100
"""And so many inputs, each of which takes two Jacobians."""


def check_by_inputs(checker: Checker) -> None:
    """∂²y/∂x∂x against differences of ∂y/∂x, its parts and products against it, and the mixed derivatives along random directions."""
    s = checker.net.schedule
    if len(checker.x) * s.n_outputs * s.n_inputs**2 <= WHOLE and s.n_inputs <= INPUTS:
        compare_input_hessian(checker, "input_hessian", checker.x)
        _parts(checker)
    else:
        checker.notes.append(f"∂²y/∂x∂x has more than {WHOLE:,} entries, or {INPUTS} inputs: it was compared along one direction")
    _along(checker)


def compare_input_hessian(checker: Checker, quantity: str, X: Array) -> None:
    """∂²y/∂x∂x at X, which may be raw, against differences of ∂y/∂x."""
    method = "central" if checker.method == "forward" else checker.method
    checker.compare(
        quantity,
        f"{method} of the jacobian",
        lambda net, x: net.input_hessian(x if X is checker.x else X),
        lambda: difference_input_hessian(checker.net, X, method=method),
        lambda at: f"{checker.output(at[1])} by {checker.input(at[2])} and {checker.input(at[3])}, sample {at[0]}",
        lambda found: _size(checker, found),
        max(checker.tolerance, checker.floor),
    )


def _size(checker: Checker, H: Array) -> Array:
    """Of ∂²y/∂x∂x, each input in units of its length."""
    pairs = checker.by_input[:, None, :, None] * checker.by_input[:, None, None, :]
    return np.asarray(largest(np.abs(H) * pairs, (0, 2, 3)) / pairs)


def _parts(checker: Checker) -> None:
    """The diagonal and the Laplacian of the whole."""
    try:
        H = np.asarray(checker.net.input_hessian(checker.x), np.float64)
    except (NotSupportedError, MemoryLimitError):
        return  # a row says so
    diagonal = H.diagonal(axis1=2, axis2=3)
    checker.compare(
        "input_hessian_diagonal",
        "diagonal of input_hessian",
        lambda net, x: net.input_hessian_diagonal(x),
        lambda: diagonal,
        checker.jacobian_entry,
        lambda _: _size(checker, H).diagonal(axis1=2, axis2=3),
        checker.agree,
    )
    checker.compare(
        "laplacian",
        "trace of input_hessian",
        lambda net, x: net.laplacian(x),
        lambda: diagonal.sum(axis=-1),
        checker.output_entry,
        lambda found: largest(np.abs(diagonal).sum(axis=-1), (0,)) + 0 * found,
        checker.agree,
    )


def _along(checker: Checker) -> None:
    """∂/∂(x, θ) of ⟨V, ∂y (U, v)⟩ and the mixed derivative of E, by differences of `vjp` and of the gradient along (U, v)."""
    net = checker.net
    V = checker.rng.normal(size=(len(checker.x), net.schedule.n_outputs))
    U = (checker.rng.normal(size=checker.x.shape) * checker.by_input).astype(net.dtype)
    v = checker.parameter_directions(1)[:, 0]
    finfo = np.finfo(net.dtype)
    # below the smallest normal number slopes lose bits, and directions may be as long as such a unit hardly feels them
    lost = 4 * float(finfo.smallest_subnormal) * max(float(np.abs(along).max(initial=0)) for along in (U, v)) / checker.central
    for part, quantity in enumerate(("second_order_product x", "second_order_product θ")):
        checker.compare(
            quantity,
            "central of vjp along (U, v)",
            lambda net, x, part=part: net.second_order_product(x, V, U, v)[part][..., None],  # type: ignore[misc]  # a default binds part
            lambda part=part: difference_moving(  # type: ignore[misc]
                net, *checker.batch, U, v, lambda run, w, x, *_: run.vjp(w, x, V)[part]
            ),
            (lambda at: f"{checker.input(at[1])}, sample {at[0]}") if part == 0 else lambda at: checker.parameter(at, 0),
            lambda found, part=part: np.maximum(_in_lengths(checker, found, part), lost),  # type: ignore[misc]
            checker.central,
        )
    checker.compare(
        "mixed_vjp",
        "central of the gradient along U",
        lambda net, x: net.mixed_vjp(x, checker.t, U, checker.s)[:, None],
        lambda: difference_moving(net, *checker.batch, U, 0 * v, lambda run, *batch: run.error_and_gradient(*batch)[1]),
        lambda at: checker.parameter(at, 0),
        lambda found: np.maximum(_in_lengths(checker, found, 1), checker.rounded(checker.central) / checker.by_parameter[:, None]),
        checker.central,
    )
    checker.compare(
        "mixed_jvp",
        "⟨U, M v⟩ = ⟨Mᵀ U, v⟩",
        lambda net, x: np.array([np.sum(U * net.mixed_jvp(x, checker.t, v, checker.s), dtype=np.float64)]),
        lambda: np.array([np.sum(net.mixed_vjp(*checker.batch[:2], U, checker.s) * v, dtype=np.float64)]),
        lambda at: "",
        lambda _: np.maximum(
            np.abs(U * net.mixed_jvp(*checker.batch[:2], v, checker.s)).sum(dtype=np.float64, keepdims=True).ravel(),
            checker.rounded(100 * checker.agree),
        ),
        100 * checker.agree,
    )


def _in_lengths(checker: Checker, found: Array, part: int) -> Array:
    """The largest entry, of ∂/∂x (part 0) or ∂/∂θ, each in units of its length."""
    length = (checker.by_input, checker.by_parameter)[part][..., None]
    return np.asarray(largest(np.abs(found) * length) / length)
