"""What there is: `gb.backends()`, `gb.activations()`, `gb.error_functions()`, as values that print as tables."""

from __future__ import annotations

from collections import UserDict
from typing import Any

from graphbp.activations import Activation, activation_table
from graphbp.error_functions import ErrorFunction, error_table
from graphbp.exceptions import GraphbpError, printable
from graphbp.plugins import plugin_failures
from graphbp.protocols import Availability
from graphbp.registry import availability, backend_names, get_backend

__all__ = ["Catalogue", "activations", "backends", "error_functions"]


class Catalogue(UserDict[str, Any]):
    """A dict from name to row that prints as a table."""

    def __init__(self, rows: dict[str, Any], lines: dict[str, str], missing: list[str] | None = None) -> None:
        super().__init__(rows)
        self._lines = lines
        self._missing = missing or []

    def __repr__(self) -> str:
        width = max((len(name) for name in self), default=0)
        lines = [f"{name:{width}s}  {self._lines[name]}" for name in self]
        return "\n".join(map(printable, [*lines, *(f"not here: {why}" for why in self._missing)]))


def backends() -> Catalogue:
    """Every known backend and its `Availability`: whether it can run here, and if not, why and what to install."""
    rows: dict[str, Availability] = {}
    for name in backend_names():
        try:
            rows[name] = availability(get_backend(name))
        except GraphbpError as problem:  # someone's package is broken; the table of all backends is not lost for it
            rows[name] = Availability(False, reason=str(problem))
    return Catalogue(rows, {name: _line(row) for name, row in rows.items()})


def _line(row: Availability) -> str:
    if row.available:
        return " ".join(part for part in ("available:", row.device, row.version, row.reason) if part)
    return f"not available: {row.reason}" + (f"; install it: {row.install}" if row.install else "")


def activations() -> Catalogue:
    """Every activation, plugins' included, and its row in the table."""
    failures = plugin_failures("activations")
    rows: dict[str, Activation] = {row.name: row for row in activation_table}
    return Catalogue(rows, {name: row.formula for name, row in rows.items()}, failures)


def error_functions() -> Catalogue:
    """Every error function, plugins' included, and its row in the table."""
    failures = plugin_failures("error_functions")
    rows: dict[str, ErrorFunction] = {row.name: row for row in error_table}
    lines = {name: row.formula + (f"   (canonical with {row.canonical})" if row.canonical else "") for name, row in rows.items()}
    return Catalogue(rows, lines, failures)
