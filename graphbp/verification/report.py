"""What `net.check` found: a `Row` for each comparison, a `Report` of all, which prints as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Report", "Row"]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    quantity, against : what was compared with what.
    status : "ok", "wrong", "refused" or "void".
    difference, tolerance : relative to the largest value.
    worst : the edge, bias, input or output with the largest difference.
    found, expected : the two values there.
    note : why it was refused or void.
    """

    quantity: str
    against: str
    status: str
    difference: float = 0.0
    tolerance: float = 0.0
    worst: str = ""
    found: float = 0.0
    expected: float = 0.0
    note: str = ""

    @property
    def ok(self) -> bool:
        """Not wrong."""
        return self.status != "wrong"

    def __str__(self) -> str:
        head = f"{self.status:8s}{self.quantity:24s}{self.against:34s}"
        if self.status in ("refused", "void"):
            return f"{head}{self.note}"
        where = f"   worst at {self.worst}: {self.found:.9g} against {self.expected:.9g}" if self.worst else ""
        return f"{head}{self.difference:8.1e} of {self.tolerance:.0e}{where}"


@dataclass(frozen=True)
class Report:
    """What `check` found; `bool(report)` and `report.ok` are false where a derivative is wrong; it prints as a table."""

    network: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No row is wrong."""
        return all(row.ok for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def wrong(self) -> list[Row]:
        """The rows that are wrong."""
        return [row for row in self.rows if not row.ok]

    def __str__(self) -> str:
        compared = sum(row.status in ("ok", "wrong") for row in self.rows)
        verdict = "all derivatives agree" if self.ok else f"{len(self.wrong)} of {compared} comparisons are wrong"
        head = f"{'':8s}{'quantity':24s}{'against':34s}difference"
        return "\n".join([self.network, head, *map(str, self.rows), *(f"note: {n}" for n in self.notes), verdict])
