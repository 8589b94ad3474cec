"""The quantities that are compared: each takes a network and a case, and returns named arrays through the face of `Network`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from graphbp.network import Network
from graphbp.testing.case import Case

__all__ = ["QUANTITIES", "Quantity"]

Array = npt.NDArray[Any]
Parts = dict[str, Array]


@dataclass(frozen=True)
class Quantity:
    """One row: how to compute it, which method of an executable does it, and the kind of its tolerance.

    Attributes
    ----------
    method : of the executable; where it lacks it, the core composes the quantity or refuses it.
    axis : which axis of the result runs over parameters, so that the worst one can be named; None where none does.
    square : W × W.
    """

    name: str
    compute: Callable[[Network, Case], Parts]
    method: str
    kind: Literal["value", "first", "second"]
    axis: int | None = None
    square: bool = False

    def __str__(self) -> str:
        return self.name


def _one(compute: Callable[[Network, Case], Any]) -> Callable[[Network, Case], Parts]:
    return lambda net, case: {"": np.asarray(compute(net, case))}


def _trace(net: Network, case: Case) -> Parts:
    found = net.trace(*case.batch)
    return {
        f"{what} of node {node!r}": np.asarray(values[node])
        for what, values in (("a", found.a), ("z", found.z), ("delta", found.delta))
        for node in values
    }


def _blocks(net: Network, case: Case) -> Parts:
    return {f"block of node {node!r}": blocks.block for node, blocks in net.hessian_blocks(*case.batch).items()}


def _product(name: str) -> Callable[[Network, Case], Any]:
    return lambda net, case: getattr(net, name)(*case.batch) @ case.v.astype(net.dtype)


def _diagonals(net: Network, case: Case) -> Parts:
    return {"each output": net.input_hessian_diagonal(case.X), "V": net.input_hessian_diagonal(case.X, case.V)}


def _second_order_product(net: Network, case: Case) -> Parts:
    both = net.second_order_product(case.X, case.V, case.U, case.v[:, 0])
    alone = net.input_hvp(case.X, case.V, case.U), net.second_order_product(case.X, case.V, None, case.v[:, 0])[0]
    return dict(zip(("by x", "by θ", "U alone", "v alone"), (*both, *alone), strict=True))


_ROWS = [
    Quantity("forward", _one(lambda net, c: net.forward(c.X)), "forward", "value"),
    Quantity("error", _one(lambda net, c: net.error(*c.batch)), "error", "value"),
    Quantity("gradient", _one(lambda net, c: net.gradient(*c.batch)), "error_and_gradient", "first", 0),
    Quantity("per_sample_gradient", _one(lambda net, c: net.per_sample_gradient(*c.batch)), "per_sample_gradient", "first", 1),
    Quantity("jacobian", _one(lambda net, c: net.jacobian(c.X)), "jacobian", "first"),
    Quantity("weight_jacobian", _one(lambda net, c: net.weight_jacobian(c.X)), "weight_jacobian", "first", 2),
    Quantity("vjp", _one(lambda net, c: net.vjp(c.X, c.V)), "vjp", "first"),
    Quantity("jvp", _one(lambda net, c: net.jvp(c.X, c.U)), "jvp", "first"),
    Quantity("weight_vjp", _one(lambda net, c: net.weight_vjp(c.X, c.V)), "vjp", "first", 0),
    Quantity("weight_jvp", _one(lambda net, c: net.weight_jvp(c.X, c.v[:, 0])), "jvp", "first"),
    Quantity("trace", _trace, "trace", "first"),
    Quantity("hessian", _one(lambda net, c: net.hessian(*c.batch)), "hessian", "second", 0, square=True),
    Quantity(
        "outer_product_hessian",
        _one(lambda net, c: net.outer_product_hessian(*c.batch)),
        "outer_product_hessian",
        "second",
        0,
        square=True,
    ),
    Quantity("hessian_diagonal", _one(lambda net, c: net.hessian_diagonal(*c.batch)), "hessian_diagonal", "second", 0),
    Quantity("hessian_product", _one(_product("hessian_operator")), "hessian_product", "second", 0),
    Quantity("outer_product_product", _one(_product("outer_product_operator")), "outer_product_product", "second", 0),
    Quantity("hessian_blocks", _blocks, "unit_blocks", "second", square=True),
    Quantity("input_hessian", _one(lambda net, c: net.input_hessian(c.X)), "input_hessian", "second"),
    Quantity("input_hessian_of_V", _one(lambda net, c: net.input_hessian(c.X, c.V)), "input_hessian", "second"),
    Quantity("input_hessian_diagonal", _diagonals, "input_hessian_diagonal", "second"),
    Quantity("laplacian", _one(lambda net, c: net.laplacian(c.X)), "laplacian", "second"),
    Quantity("second_order_product", _second_order_product, "second_order_product", "second"),
    Quantity("mixed_jvp", _one(lambda net, c: net.mixed_jvp(c.X, c.T, c.v[:, 0], c.sample_weight)), "error_product", "second"),
    Quantity("mixed_vjp", _one(lambda net, c: net.mixed_vjp(c.X, c.T, c.U, c.sample_weight)), "error_product", "second", 0),
]

QUANTITIES: dict[str, Quantity] = {row.name: row for row in _ROWS}
"""Every quantity of the face, by name."""
