"""`Table`: named columns in order, however they are stored; a `Column` as it came."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Column", "Table"]

Array = npt.NDArray[Any]
Row = Callable[[int], str]


@dataclass(frozen=True)
class Column:
    """One column as it came.

    Attributes
    ----------
    values : a numeric array, or one of objects or text.
    missing : where values are missing.
    categories : of a categorical column.
    written : the values are cells of a text file, some of which hold numbers.
    """

    values: Array
    missing: npt.NDArray[np.bool_] | None = None
    categories: tuple[Any, ...] | None = None
    written: bool = False


@dataclass(frozen=True)
class Table:
    """Columns in order.

    Attributes
    ----------
    names : a label for each column, or None where the table has none (pandas numbers its columns then).
    load : position → `Column`.
    row : position of a row → what the user calls it ("row 3", "row 3 (index 'b')", "line 5").
    source : what the table is, for messages ("X", "data.csv").
    """

    n_rows: int
    n_columns: int
    names: tuple[Hashable, ...] | None
    load: Callable[[int], Column]
    row: Row = field(default=lambda n: f"row {n}")
    source: str = "X"

    def name(self, i: int) -> str:
        """Column i for messages."""
        return f"column {i}" if self.names is None else f"column {self.names[i]!r}"

    def select(self, positions: Sequence[int]) -> Table:
        """The table of these columns."""
        at = list(positions)
        names = None if self.names is None else tuple(self.names[i] for i in at)
        return Table(self.n_rows, len(at), names, lambda i: self.load(at[i]), self.row, self.source)
