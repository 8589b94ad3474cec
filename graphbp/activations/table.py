"""What an activation is, `Activation`, and the live table of all that are known by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import RegistryError, unknown_name
from graphbp.tails import Tails

__all__ = ["LABELS", "TABLE", "Activation", "Function", "activation_table", "get_activation", "plain_values"]

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


def plain_values(value: Any, a: Array, what: str) -> Array:
    """`value` as an array of real numbers (complex ones for complex `a`) of a's shape."""
    try:
        array = np.asarray(value)
    except Exception as problem:
        raise RegistryError(f"{what} returns {type(value).__name__}, which is no array: {problem}") from problem
    if array.shape != a.shape:
        raise RegistryError(f"{what} must return an array of the shape it is given; for {a.shape} it gave {array.shape}")
    if array.dtype.kind not in ("fiubc" if a.dtype.kind == "c" else "fiub"):
        raise RegistryError(f"{what} must return real numbers for real numbers; for {a.dtype} it gave {array.dtype}")
    return array


TABLE: dict[str, Activation] = {}
"""`builtin` fills it, `registration` adds to it."""


class _Table:
    """The live table, in order; iterating yields rows.  Plugins' rows are loaded the first time a name is not found here."""

    def __iter__(self) -> Iterator[Activation]:
        return iter(list(TABLE.values()))

    def names(self) -> list[str]:
        return list(TABLE)


activation_table = _Table()


def get_activation(name: str) -> Activation:
    """The row called `name`; plugins are asked when the table does not have it.  Raises `UnknownNameError`, near matches offered."""
    if isinstance(name, str):
        if name in TABLE:
            return TABLE[name]
        from graphbp.plugins import load_plugins

        load_plugins("activations")
        if name in TABLE:
            return TABLE[name]
    from graphbp.plugins import unregistered

    hint = "Add your own with gb.register_activation(name, f, df, d2f)."
    raise unknown_name("activation", name, TABLE, unregistered("activations", hint))
