"""A table of rows by name, such as the activations: built-in ones, and those that users and plugins register."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import RegistryError, shown, unknown_name

__all__ = ["RowTable", "contradiction", "plain_values"]

Array = npt.NDArray[Any]
R = TypeVar("R")


class RowTable(Generic[R]):
    """The live rows, in order; iterating yields them.  Plugins' rows are loaded the first time a name is not found here.

    what : a row, for messages: "activation"; plugins of the group `graphbp.activations` register such.
    functions : what a row's functions are called.
    of : what they are functions of.
    """

    def __init__(self, what: str, functions: tuple[str, ...], of: str) -> None:
        self.rows: dict[str, R] = {}
        self._what, self._functions, self._of = what, functions, of

    def __iter__(self) -> Iterator[R]:
        return iter(list(self.rows.values()))

    def names(self) -> list[str]:
        """Of all rows."""
        return list(self.rows)

    def get(self, name: Any) -> R:
        """The row called `name`; plugins are asked when the table does not have it.  Raises `UnknownNameError`, near matches offered."""
        from graphbp.plugins import load_plugins, unregistered

        kind = self._what.replace(" ", "_")
        if isinstance(name, str):
            if name not in self.rows:
                load_plugins(f"{kind}s")
            if name in self.rows:
                return self.rows[name]
        hint = f"Add your own with gb.register_{kind}(name, {', '.join(self._functions)})."
        raise unknown_name(self._what, name, self.rows, unregistered(f"{kind}s", hint))

    def new_name(self, name: Any, functions: tuple[Callable[..., Any], ...], formula: Any) -> str:
        """The name of a row to be added.  Raises `RegistryError` for one that is taken, what is no function, a formula that is no text."""
        if not isinstance(name, str) or not name:
            raise RegistryError(f"an {self._what}'s name is a non-empty string, not {shown(name)}")
        for label, function in zip(self._functions, functions, strict=True):
            if not callable(function):
                raise RegistryError(
                    f"{self._what} {name!r}: {label} must be a function of {self._of}, not {type(function).__name__}"
                )
        if not isinstance(formula, str):
            raise RegistryError(f"{self._what} {name!r}: formula={shown(formula)}; it must be text for people")
        old: Any = self.rows.get(str(name))
        if old is not None and (old.builtin or tuple(getattr(old, label) for label in self._functions) != functions):
            owner = "built in" if old.builtin else "registered already"
            raise RegistryError(f"{self._what} {name!r} is {owner}; choose another name")
        return str(name)


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


def contradiction(exact: Array, difference: Array) -> int | None:
    """Where a derivative is farthest from a central difference with ε = 10⁻⁶, if it is too far to be one."""
    error = np.abs(exact - difference) - 1e-5 * (1 + np.abs(difference))
    worst = int(np.argmax(error))
    return None if error[worst] <= 0 else worst
