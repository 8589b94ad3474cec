"""What an activation is, `Activation`, and the live table of all that are known by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from graphbp.row_table import RowTable, plain_values
from graphbp.tails import Tails

__all__ = ["LABELS", "TABLE", "Activation", "Function", "activation_table", "get_activation"]

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Activation:
    """One row of the table: z = f(a), f'(a) = dz/da and f''(a) = d²z/da².

    Attributes
    ----------
    name : the value of a node's `activation` attribute.
    f, df, d2f : NumPy functions of the pre-activation `a`, elementwise (softmax: over axis 0).
    formula : z as a function of a, for people.
    analytic : complex `a` gives the analytic continuation, so the complex step applies.
    kinks : the values of `a` where f or f' jumps, so that differencing across them means nothing.
    lower, upper : f is defined for lower < a < upper.
    elementwise : false only for softmax.
    builtin : true for the rows of `graphbp.activations.builtin`; a backend may have its own kernel for those, and only for those.
    range : the least interval that holds every z; None where a registered row does not say (`sampled_range` looks).
    tails : what an error needs at outputs that are saturated; without it, they go through y as it was rounded.
    """

    name: str
    f: Function
    df: Function
    d2f: Function
    formula: str = ""
    analytic: bool = True
    kinks: tuple[float, ...] = ()
    lower: float = -math.inf
    upper: float = math.inf
    elementwise: bool = True
    builtin: bool = False
    range: tuple[float, float] | None = None
    tails: Tails | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: functions of a table stay in the table."""
        return get_activation, (self.name,)

    def evaluate(self, a: Array, order: int = 0) -> Array:
        """f(a), f'(a) or f''(a); raises `RegistryError` where a registered function gives something else than real numbers of a's shape."""
        value = (self.f, self.df, self.d2f)[order](a)
        return value if self.builtin else plain_values(value, a, f"activation {self.name!r}: {LABELS[order]}")


LABELS = ("f", "df", "d2f")


activation_table: RowTable[Activation] = RowTable("activation", LABELS, "an array")
TABLE = activation_table.rows
"""`builtin` fills it, `registration` adds to it."""


def get_activation(name: str) -> Activation:
    """The row called `name`; plugins are asked when the table does not have it.  Raises `UnknownNameError`, near matches offered."""
    return activation_table.get(name)
