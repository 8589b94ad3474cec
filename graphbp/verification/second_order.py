"""The comparisons of second order: the Hessian, its parts, products with it, and its outer-product approximation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import MemoryLimitError, NotSupportedError
from graphbp.heads import head_groups
from graphbp.numerical import difference_along, difference_hessian
from graphbp.verification.checker import Checker, compared
from graphbp.verification.report import Row

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["check_second_order"]

Array = npt.NDArray[Any]

WHOLE_HESSIAN = 1500
"""Parameters up to which W × W results are formed."""


def check_second_order(checker: Checker) -> None:
    """The Hessian against differences of the gradient, everything else of second order against it."""
    net = checker.net
    v = checker.parameter_directions(2)
    if net.n_parameters > WHOLE_HESSIAN:
        checker.notes.append(f"W = {net.n_parameters:,} is more than {WHOLE_HESSIAN:,}: no W × W result was formed")
        _directional_hessian(checker, v)
        return
    try:
        exact = np.asarray(net.hessian(*checker.batch), np.float64)
    except (NotSupportedError, MemoryLimitError) as problem:
        checker.rows.append(Row("hessian", checker.method, "refused", note=str(problem)))
        _directional_hessian(checker, v)
        return
    if checker.by_weight:
        method = "central" if checker.method == "forward" else checker.method
        checker.compare(
            "hessian",
            f"{method} of the gradient",
            lambda net, x: net.hessian(x, *checker.batch[1:]),
            lambda: difference_hessian(net, *checker.batch, method=method),
            checker.pair,
            checker.hessian_size,
            max(checker.tolerance, checker.floor),
        )
    else:
        _directional_hessian(checker, v)
    checker.rows.append(compared("hessian", "its transpose", exact, exact.T, np.ones(exact.shape), 0.0, checker.pair))
    checker.compare(
        "hessian_diagonal",
        "diagonal of hessian",
        lambda net, x: net.hessian_diagonal(x, *checker.batch[1:]),
        lambda: exact.diagonal(),
        checker.parameter,
        lambda found: checker.hessian_size(exact).diagonal(),
        checker.agree,
    )
    checker.compare(
        "hessian_operator",
        "hessian @ v",
        lambda net, x: net.hessian_operator(x, *checker.batch[1:]) @ v,
        lambda: exact @ v,
        lambda at: checker.parameter(at, 0),
        lambda found: checker.product_size(np.abs(exact) @ np.abs(v)),
        checker.agree,
    )
    _blocks(checker, exact)
    _outer_product(checker, v)


def _directional_hessian(checker: Checker, v: Array) -> None:
    """d ∂E/∂θ(θ + s v)/ds = H v for random v."""
    checker.compare(
        "hessian_operator",
        "central of the gradient, 2 directions",
        lambda net, x: net.hessian_operator(x, *checker.batch[1:]) @ v,
        lambda: difference_along(checker.net, *checker.batch, v / checker.by_parameter[:, None], gradient=True),
        lambda at: checker.parameter(at, 0),
        checker.product_size,
        checker.central,
    )


def _blocks(checker: Checker, exact: Array) -> None:
    """The unit blocks against the same entries of the Hessian."""
    pairs: list[tuple[int, int]] = []

    def found(net: Network, x: Array) -> Array:
        entries: list[Array] = []
        pairs.clear()
        for blocks in net.hessian_blocks(x, *checker.batch[1:]).values():
            for index, block in zip(blocks.index, blocks.block, strict=True):
                rows = np.flatnonzero(index >= 0)
                entries.append(np.asarray(block, np.float64)[np.ix_(rows, rows)].ravel())
                pairs.extend((int(a), int(b)) for a in index[rows] for b in index[rows])
        return np.concatenate(entries) if entries else np.zeros(0)

    def theirs(whole: Array) -> Array:
        return np.array([whole[pair] for pair in pairs])

    checker.compare(
        "hessian_blocks",
        "parts of hessian",
        found,
        lambda: theirs(exact),
        lambda at: checker.pair(pairs[at[0]]),
        lambda _: theirs(checker.hessian_size(exact)),
        checker.agree,
    )


def _outer_product(checker: Checker, v: Array) -> None:
    net = checker.net
    try:
        outer = np.asarray(net.outer_product_hessian(*checker.batch), np.float64)
    except (NotSupportedError, MemoryLimitError) as problem:
        checker.rows.append(Row("outer_product_hessian", "", "refused", note=str(problem)))
        return
    if not net.schedule.softmax_groups and checker.by_weight:
        checker.compare(
            "outer_product_hessian",
            "Jᵀ Λ J",
            lambda net, x: net.outer_product_hessian(x, *checker.batch[1:]),
            lambda: _stacked(checker),
            checker.pair,
            checker.hessian_size,
            max(checker.agree, 1e-9),
        )
    checker.compare(
        "outer_product_operator",
        "outer_product_hessian @ v",
        lambda net, x: net.outer_product_operator(x, *checker.batch[1:]) @ v,
        lambda: outer @ v,
        lambda at: checker.parameter(at, 0),
        lambda found: checker.product_size(np.abs(outer) @ np.abs(v)),
        checker.agree,
    )


def _stacked(checker: Checker) -> Array:
    """Σ_n s_n J_nᵀ Λ_n J_n from the weight Jacobian of y: Λ by y is e'' , or for a canonical pair h'(a) / h'(a)² = 1 / h'(a)."""
    net = checker.net
    J = np.asarray(net.weight_jacobian(checker.x), np.float64)
    trace = net.trace(*checker.batch)
    a = np.concatenate([np.reshape(trace.a[node], (len(checker.x), -1)) for node in net.outputs], axis=1).T.astype(np.float64)
    y, t = np.asarray(net.forward(checker.x), np.float64).T, checker.t.T.astype(np.float64)
    curvature = np.zeros_like(y)
    for head in head_groups(net.schedule, net.error_function):
        p = head.positions
        slope = head.activation.df(a[p])
        if (np.abs(slope) < np.finfo(slope.dtype).tiny).any():
            raise NotSupportedError("an output is saturated (h' = 0), so Λ cannot be had from y")
        own = head.weigh(head.gauss_newton(a[p], y[p], t[p]), None if checker.s is None else checker.s.T)
        curvature[p] = own / slope / slope  # h'² may vanish where h' does not
    return np.asarray(np.einsum("nka,nkb->ab", J * curvature.T[:, :, None], J, optimize=True))
