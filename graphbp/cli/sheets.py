"""Tables in Parquet and Excel files, read by pandas or polars, whichever is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from graphbp.cli.common import say
from graphbp.exceptions import DataError
from graphbp.tables import Column, Table, number_in, table_of

__all__ = ["SHEETS", "read_sheet", "table_of_records"]


def read_sheet(path: Path, header: bool | None) -> Table:
    """The table in a .parquet or .xlsx file."""
    return SHEETS[path.suffix.lower()](path, header)


def _parquet(path: Path, header: bool | None) -> Table:
    if header is False:
        raise DataError(f"{path}: the columns of a Parquet file have names; leave --no-header out")
    frame = _read(
        path, "Parquet", "pandas pyarrow", dict.fromkeys(("pandas", "polars"), lambda library, path: library.read_parquet(path))
    )
    table = table_of(frame, str(path))
    if table is None or not table.n_rows:
        raise DataError(f"{path} has no rows")
    return replace(table, source=str(path))


def _excel(path: Path, header: bool | None) -> Table:
    """The first sheet; rows without a single cell are left out, as empty lines of a CSV file are."""
    sheets, cells = _read(path, "Excel", "pandas openpyxl", {"pandas": _pandas_excel, "polars": _polars_excel})
    if len(sheets) > 1:
        say(f"{path}: the first of its {len(sheets)} sheets, {sheets[0]!r}, is read")
    rows = [(n, row) for n, row in enumerate(cells, 1) if not all(_empty(cell) for cell in row)]
    if not rows:
        raise DataError(f"{path} has no rows")
    return table_of_records([row for _, row in rows], [n for n, _ in rows], header, str(path), "row", _column)


def _pandas_excel(pandas: Any, path: Path) -> tuple[list[str], list[list[Any]]]:
    with pandas.ExcelFile(path) as book:
        frame = pandas.read_excel(book, header=None, dtype=object)
        return list(map(str, book.sheet_names)), frame.to_numpy(dtype=object).tolist()


def _polars_excel(polars: Any, path: Path) -> tuple[list[str], list[list[Any]]]:
    found = polars.read_excel(path, engine="openpyxl", sheet_id=0, has_header=False, infer_schema_length=0, drop_empty_rows=False)
    return list(found), [list(map(_number, row)) for row in next(iter(found.values())).rows()]


def _number(cell: str | None) -> Any:
    """polars gives text where a column has a name above its numbers."""
    try:
        return cell if cell is None else float(cell)
    except ValueError:
        return cell


def _read(path: Path, what: str, packages: str, readers: dict[str, Callable[[Any, Path], Any]]) -> Any:
    """What the first library that can says is in the file."""
    for library, read in readers.items():
        try:
            return read(importlib.import_module(library), path)
        except ImportError:  # the library, or the engine that it reads such files with
            continue
        except Exception as problem:  # each library has errors of its own
            raise DataError(f"{path} cannot be read as {what}: {problem}") from problem
    raise DataError(f"{path}: {what} is read through pandas or polars, and neither can here: pip install {packages}")


def table_of_records(
    records: list[Any], number: list[int], header: bool | None, source: str, line: str, column: Callable[[Sequence[Any]], Column]
) -> Table:
    """The table of records of equal length; `number[i]` is where record i stands, and a `line` is what stands there."""
    lonely = header is None and len(records) == 1
    header, named = _has_header(records, source, line) if header is None else (header, header)
    width = len(records[0])
    names = tuple("" if _empty(cell) else str(cell) for cell in records[0]) if named else None
    if header:
        records, number = records[1:], number[1:]
    if not records:
        raise DataError(f"{source} has a header and no rows (--no-header where its first {line} is data)")
    columns = list(zip(*records, strict=True))
    only = ", the only one: a header without rows?" if lonely and not any(map(_is_number, records[0])) else ""
    return Table(len(records), width, names, lambda i: column(columns[i]), lambda n: f"{line} {number[n]}{only}", source)


def _has_header(records: list[Any], source: str, line: str) -> tuple[bool, bool]:
    """Whether the first record is a header, by its cells, and whether it gives names: 0, 1, 2, ... number the columns, as pandas does."""
    first = records[0]
    numeric = [_is_number(cell) for cell in first]
    if len(records) == 1 or not any(numeric):
        return len(records) > 1, len(records) > 1
    counted = [str(cell) for cell, is_number in zip(first, numeric, strict=True) if is_number]
    if len(counted) > 2 and counted == [str(i) for i in range(len(counted))]:
        say(f"{source}: its first {line} numbers the columns, so it is taken as a header (--no-header)")
        return True, not all(numeric)
    if not all(numeric):
        say(f"{source}: its first {line} holds numbers, so it is taken as data, not as a header (--header)")
    return False, False


def _is_number(cell: Any) -> bool:
    return number_in(cell) is not None


def _empty(cell: Any) -> bool:
    return cell is None or cell != cell or cell == ""


def _column(values: Sequence[Any]) -> Column:
    array = np.empty(len(values), object)
    array[:] = values
    missing = np.array([_empty(value) for value in values])
    return Column(array, missing if missing.any() else None)


SHEETS = {".parquet": _parquet, ".xlsx": _excel}
