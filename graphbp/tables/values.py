"""What a column's values are: numbers, in whatever form they come, or labels; text, dates and missing values are refused by column and row."""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError
from graphbp.tables.table import Column, Table

__all__ = ["cells", "labels_of", "number_in", "numbers_of", "stacked"]

Array = npt.NDArray[Any]


def stacked(table: Table) -> Array:
    """All columns as numbers, (N, columns)."""
    if not table.n_columns:
        return np.empty((table.n_rows, 0))
    return np.column_stack([numbers_of(table, i) for i in range(table.n_columns)])


def numbers_of(table: Table, i: int) -> Array:
    """Column i as numbers (N,); raises `DataError` naming the column, the row and the remedy for text, dates and missing values."""
    column = table.load(i)
    values = column.values
    if column.missing is not None:
        raise DataError(_missing(table, i, int(np.argmax(column.missing))))
    if values.dtype.kind in "biu":
        return values
    if values.dtype.kind == "f":
        if (bad := ~np.isfinite(values)).any():
            n = int(np.argmax(bad))
            infinite = f"{table.source}: {table.name(i)} is {values[n]} in {table.row(n)}; drop such rows or clip them first"
            raise DataError(_missing(table, i, n) if np.isnan(values[n]) else infinite)
        return values
    listed = [_read(value) for value in values.tolist()] if column.written else values.tolist()
    for n, value in enumerate(listed):
        if not isinstance(value, numbers.Real | Decimal | np.bool_) or value != value:
            raise DataError(_no_number(table, i, n, value))
    whole = all(isinstance(value, numbers.Integral | np.bool_) and abs(int(value)) < 1 << 63 for value in listed)
    try:
        return np.array(listed, np.int64 if whole else np.float64)
    except OverflowError as problem:
        raise DataError(f"{table.source}: {table.name(i)} holds a number too large for float64: {problem}") from problem


def labels_of(table: Table, i: int) -> Column | None:
    """Column i where it holds labels (text, booleans, categories), nothing missing; None where it holds numbers."""
    column = table.load(i)
    if column.missing is not None:
        raise DataError(_missing(table, i, int(np.argmax(column.missing))))
    if column.values.dtype.kind in "bU":
        for n, value in enumerate(column.values.tolist() if column.written else ()):
            if value.strip().lower() in _MISSING or not value.strip():
                raise DataError(_no_number(table, i, n, value))
        return column
    if column.values.dtype.kind in "iuf":
        return column if column.categories is not None else None
    if all(isinstance(value, bool | np.bool_) for value in column.values):
        return Column(column.values.astype(bool), None, column.categories)
    if all(isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool | np.bool_) for value in column.values):
        return None
    for n, value in enumerate(column.values):
        if not isinstance(value, str | bool | np.bool_ | numbers.Real) or value != value:
            raise DataError(_no_number(table, i, n, value))
    return column


def cells(values: Sequence[str]) -> Column:
    """A column of a text file: whole numbers, numbers, booleans, or text."""
    text = np.array(values, dtype=np.str_)
    for kind in (np.int64, np.float64) if not any("_" in value for value in values) else ():  # Python reads 1_000 as a number
        try:
            return Column(text.astype(kind))
        except (ValueError, OverflowError):
            continue
    if all(value.lower() in _WORDS for value in values):
        return Column(np.array([_WORDS[value.lower()] for value in values]))
    return Column(text, written=True)


_WORDS = {"true": True, "false": False}


def number_in(cell: Any) -> float | None:
    """The number that is written in a cell, or None; 1_000, which Python would read, is a name."""
    try:
        return None if isinstance(cell, str) and "_" in cell else float(cell)
    except (ValueError, TypeError):
        return None


def _read(cell: str) -> Any:
    """The number in a cell, or the cell."""
    number = number_in(cell)
    return _WORDS.get(cell.strip().lower(), cell) if number is None else number


_MISSING = frozenset(("na", "n/a", "#n/a", "nan", "null", "none"))


def _missing(table: Table, i: int, n: int, shown: str = "") -> str:
    skip = ', or let the network skip them (missing="skip")' if table.source == "T" else ""
    drop = f" ({table.source}.dropna())" if table.source in ("X", "T") and table.names is not None else ""
    return f"{table.source}: {table.name(i)} is missing in {table.row(n)}{shown}; drop such rows{drop} or fill them in first{skip}"


def _no_number(table: Table, i: int, n: int, value: Any) -> str:
    where = f"{table.source}: {table.name(i)}"
    if value is None or value != value or str(value) in ("<NA>", "NaT"):
        return _missing(table, i, n)
    if isinstance(value, str):
        if value.strip() == "" or value.strip().lower() in _MISSING:
            return _missing(table, i, n, f" ({value!r})" if value.strip() else " (an empty cell)")
        if not _is_date(value):
            return f"{where} holds text ({value!r} in {table.row(n)}); inputs and numeric targets are numbers: {_remedy(value)}"
    if isinstance(value, str | datetime.date | datetime.time | datetime.timedelta | np.datetime64 | np.timedelta64):
        return f"{where} holds dates or times ({value} in {table.row(n)}); make numbers of them, such as days since a first date"
    remedy = ": .astype(float) makes numbers of bytes, .astype(str) labels" if isinstance(value, bytes) else ""
    return f"{where} holds a {type(value).__name__} in {table.row(n)}; it must hold numbers{remedy}"


def _remedy(text: str) -> str:
    """What makes numbers of text."""
    if isinstance(_read(text), float):
        return "these are written as text, and .astype(float) makes numbers of them"
    if isinstance(_read(text.replace(",", ".", 1)), float):
        return "write decimal points for commas (pandas.read_csv reads such a file with decimal=',')"
    return "a column for each of its values encodes it (pandas.get_dummies), or leave the column out"


def _is_date(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        return False
    return "-" in text or ":" in text
