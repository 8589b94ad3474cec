"""The parity matrix: every backend × network × quantity × dtype against the definition, as a table.

The definition is the NumPy backend in float64, at the same θ and data (which are float32 numbers, so that float32 is given the
same problem).  In the definition's own column the difference is therefore 0; what vouches for the definition itself are the
oracles (`graphbp.testing.oracles`) and the identities, which `checks` add as further rows for every backend.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from graphbp import registry
from graphbp.compose import ComposedWarning
from graphbp.exceptions import DataWarning, GraphbpError, MemoryLimitError, NotSupportedError, unknown_name
from graphbp.network import Network
from graphbp.progress import status
from graphbp.protocols import Backend
from graphbp.testing.case import Case
from graphbp.testing.checks import CHECKS, Check
from graphbp.testing.data import real_cases
from graphbp.testing.quantities import QUANTITIES, Quantity
from graphbp.testing.tolerances import relative_difference, tolerance
from graphbp.testing.zoo import find_cases, zoo

__all__ = ["Cell", "ConformanceError", "ParityTable", "check_backend", "run_parity"]

Array = npt.NDArray[Any]
Status = Literal["ok", "failed", "refused", "unavailable", "too large"]
DTYPES = ("float64", "float32")


class ConformanceError(GraphbpError, AssertionError):
    """A backend that disagrees with the definition; the message names each quantity, network and the worst parameter."""


@dataclass(frozen=True)
class Cell:
    """One comparison: the largest relative difference, or why there is none.

    composed : the backend has no method of its own for it.
    note : of a failure, where it is worst; of a refusal, the message.
    """

    backend: str
    dtype: str
    network: str
    quantity: str
    status: Status
    difference: float = 0.0
    tolerance: float = 0.0
    composed: bool = False
    note: str = ""

    def __str__(self) -> str:
        what = f"{self.backend} {self.dtype} {self.network} {self.quantity}"
        if self.status == "failed":
            return f"{what}: {self.note or 'differs'} (relative difference {self.difference:.2g}, tolerance {self.tolerance:.0e})"
        return f"{what}: {self.status}" + (f", {self.note}" if self.note else "")


@dataclass
class ParityTable:
    """Cells, which print as a table: quantities down, backends and dtypes across, the largest relative difference in each."""

    cells: list[Cell] = field(default_factory=list)

    @property
    def failures(self) -> list[Cell]:
        """The cells that failed."""
        return [cell for cell in self.cells if cell.status == "failed"]

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return not self.failures

    def __bool__(self) -> bool:
        return self.ok

    def raise_failures(self) -> None:
        """Raise `ConformanceError` naming every failure, if there is one."""
        if self.failures:
            lines = [f"  {cell}" for cell in self.failures[:40]]
            more = len(self.failures) - len(lines)
            if more > 0:
                lines.append(f"  ... {more} more")
            raise ConformanceError(f"{len(self.failures)} of {len(self.cells)} comparisons failed\n" + "\n".join(lines))

    def rows(self, by: Literal["quantity", "network"] = "quantity") -> dict[str, dict[tuple[str, str], list[Cell]]]:
        """quantity (or network) → (backend, dtype) → cells."""
        found: dict[str, dict[tuple[str, str], list[Cell]]] = {}
        for cell in self.cells:
            if cell.status != "unavailable":
                found.setdefault(getattr(cell, by), {}).setdefault((cell.backend, cell.dtype), []).append(cell)
        return found

    def table(self, by: Literal["quantity", "network"] = "quantity") -> str:
        """One line a quantity (or network): the largest difference over the networks (or quantities)."""
        rows = self.rows(by)
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        heads = [f"{backend} {dtype}" for backend, dtype in columns]
        left = max([len(name) for name in rows] + [len(by)])
        widths = [max(len(head), 12) for head in heads]
        lines = [f"{by:{left}s}  " + "  ".join(f"{head:>{w}s}" for head, w in zip(heads, widths, strict=True))]
        for name, row in rows.items():
            cells = (_summary(row.get(key, [])) for key in columns)
            lines.append(f"{name:{left}s}  " + "  ".join(f"{text:>{w}s}" for text, w in zip(cells, widths, strict=True)))
        return "\n".join(lines)

    def __str__(self) -> str:
        networks = dict.fromkeys(cell.network for cell in self.cells if cell.status != "unavailable")
        parts = [f"largest relative difference from the definition over {len(networks)} networks", self.table()]
        if any(cell.composed for cell in self.cells):
            parts.append("+ composed by the core: the backend has no method of its own")
        away = {f"{cell.backend}: unavailable, {cell.note}": None for cell in self.cells if cell.status == "unavailable"}
        parts += list(away)
        refused = {f"refused: {cell.note}": None for cell in self.cells if cell.status == "refused"}
        parts += list(refused)[:20]
        parts += [f"FAILED {cell}" for cell in self.failures[:60]]
        count = sum(cell.status in ("ok", "failed") for cell in self.cells)
        parts.append(f"{count} comparisons, {len(self.failures)} failed")
        return "\n".join(parts)


def _summary(cells: list[Cell]) -> str:
    compared = [cell for cell in cells if cell.status in ("ok", "failed")]
    if not compared:
        return "/".join(sorted({cell.status for cell in cells})) or "-"
    worst = max(compared, key=lambda cell: (cell.status == "failed", cell.difference))
    mark = "+" if any(cell.composed for cell in compared) else ""
    return ("FAILED " if worst.status == "failed" else "") + f"{worst.difference:.1e}{mark}"


def run_parity(
    backends: Iterable[str | Backend] | None = None,
    networks: Iterable[str | Case] | None = None,
    quantities: Iterable[str] | None = None,
    dtypes: Iterable[str] = DTYPES,
    *,
    progress: Callable[[Case], object] | None = None,
) -> ParityTable:
    """Compare backends with the definition.

    Parameters
    ----------
    backends : names, or objects with the `Backend` protocol; default all that are known.
    networks : cases or their names; default the zoo and the real networks whose files are there.
    quantities : names in `QUANTITIES` or `CHECKS`; default all.
    dtypes : of "float64" and "float32".
    progress : called with each case before it is run.
    """
    chosen = find_cases(networks) if networks is not None else (*zoo(), *real_cases())
    rows = _chosen_rows(quantities)
    table = ParityTable()
    with _known(registry.backend_names() if backends is None else backends) as names:
        usable = []
        for name in names:
            state = registry.get_backend(name).availability()
            if state.available:
                usable.append(name)
            else:
                cure = f"; install it: {state.install}" if state.install else ""
                table.cells.append(Cell(name, "", "", "", "unavailable", note=f"{state.reason}{cure}"))
        with status("comparing backends") as line:
            for k, case in enumerate(chosen, 1):
                line.say(f"comparing backends, network {k} of {len(chosen)}: {case.name}")
                if progress is not None:
                    progress(case)
                expected = _Expected(case)
                for name in usable:
                    for dtype in dtypes:
                        table.cells += _compare(case, name, dtype, rows, expected)
    return table


def check_backend(
    backend: str | Backend,
    networks: Iterable[str | Case] | None = None,
    quantities: Iterable[str] | None = None,
    dtypes: Iterable[str] = DTYPES,
) -> ParityTable:
    """Hold a backend to the contract over the zoo; for the tests of a third party's backend.

    Returns the table.

    Raises
    ------
    ConformanceError : it disagrees somewhere; each quantity, network and worst parameter is named.
    NotSupportedError : it is not available here, so nothing could be checked.
    """
    table = run_parity([backend], networks, quantities, dtypes)
    for cell in table.cells:
        if cell.status == "unavailable":
            raise NotSupportedError(f"backend {cell.backend!r} cannot run here, so it was not checked: {cell.note}")
    table.raise_failures()
    return table


def _chosen_rows(wanted: Iterable[str] | None) -> list[Quantity | Check]:
    known: dict[str, Quantity | Check] = {**QUANTITIES, **CHECKS}
    if wanted is None:
        return list(known.values())
    names = list(wanted)
    for name in names:
        if name not in known:
            raise unknown_name("quantity", name, known)
    return [known[name] for name in names]


@contextmanager
def _known(backends: Iterable[str | Backend]) -> Iterator[list[str]]:
    """Names of the backends; objects are registered until the block ends."""
    names, added = [], []
    for backend in backends:
        if isinstance(backend, str):
            registry.get_backend(backend)
        elif backend.name not in registry.backend_names() or registry.get_backend(backend.name) is not backend:
            registry.register_backend(backend)
            added.append(backend.name)
        names.append(backend if isinstance(backend, str) else backend.name)
    try:
        yield names
    finally:
        for name in added:
            registry.unregister_backend(name)


class _Expected:
    """What the definition says, computed once for all backends and dtypes."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._found: dict[str, dict[str, Array]] = {}

    def __getitem__(self, quantity: Quantity) -> dict[str, Array]:
        if quantity.name not in self._found:
            self._found[quantity.name] = quantity.compute(self.case.definition, self.case)
        return self._found[quantity.name]


def _compare(case: Case, backend: str, dtype: str, rows: list[Quantity | Check], expected: _Expected) -> Iterator[Cell]:
    """The cells of one network; none of one with many heads for a backend that does not say `many_heads`, which refuses it by name."""
    if case.many_heads and not getattr(registry.get_backend(backend), "many_heads", False):
        return

    def cell(quantity: str, status: Status, **more: Any) -> Cell:
        return Cell(backend, dtype, case.name, quantity, status, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComposedWarning)  # the table says so
        warnings.simplefilter("ignore", DataWarning)  # of few samples an output may have no target at all
        try:
            net = case.network(backend, dtype)
        except NotSupportedError as problem:
            yield from (cell(row.name, "refused", note=str(problem)) for row in rows)
            return
        except Exception as problem:
            yield from (cell(row.name, "failed", difference=math.inf, note=f"compile: {_said(problem)}") for row in rows)
            return
        for row in rows:
            if (row.square and not case.second_order) or (row.kind == "second" and case.definition.n_parameters > 20_000):
                yield cell(row.name, "too large", note=f"{case.definition.n_parameters} parameters")
                continue
            limit = tolerance(backend, dtype, row.kind).value
            composed = isinstance(row, Quantity) and row.method in net.model.run.composed
            try:
                if isinstance(row, Quantity):
                    difference, note = _difference(net, row, row.compute(net, case), expected[row])
                else:
                    difference, note = row.run(net, case)
            except (NotSupportedError, MemoryLimitError) as problem:
                yield cell(row.name, "refused", note=str(problem))
            except Exception as problem:
                yield cell(row.name, "failed", difference=math.inf, tolerance=limit, note=_said(problem))
            else:
                status: Status = "ok" if difference <= limit else "failed"
                yield cell(
                    row.name, status, difference=difference, tolerance=limit, composed=composed, note="" if status == "ok" else note
                )


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"


def _difference(net: Network, row: Quantity, found: dict[str, Array], expected: dict[str, Array]) -> tuple[float, str]:
    """The largest relative difference over the parts, and where it is."""
    if found.keys() != expected.keys():
        return math.inf, f"has parts {sorted(found)[:3]}, not {sorted(expected)[:3]}"
    worst, note = 0.0, ""
    for name, value in expected.items():
        got = found[name]
        if row.name != "error" and got.dtype != net.dtype:
            return math.inf, f"has dtype {got.dtype}, not {net.dtype}"
        difference = relative_difference(got, value)
        if difference > worst:
            worst, note = difference, " ".join(part for part in (name, _place(net, row, got, value)) if part)
    return worst, note


def _place(net: Network, row: Quantity, found: Array, expected: Array) -> str:
    """Where two arrays differ most, by the parameter's name where an axis runs over parameters."""
    if found.shape != expected.shape:
        return f"has shape {found.shape}, not {expected.shape}"
    if not found.size:
        return ""
    apart = np.abs(found.astype(np.float64) - expected)
    at = tuple(int(k) for k in np.unravel_index(int(np.argmax(np.where(np.isnan(apart), np.inf, apart))), apart.shape))
    if row.square and len(at) == 2:
        return f"worst at {net.parameter_name(at[0])} and {net.parameter_name(at[1])}"
    if row.axis is not None:
        return f"worst at {net.parameter_name(at[row.axis])}"
    return f"worst at {at}" if at else ""
