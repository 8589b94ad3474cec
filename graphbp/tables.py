"""Tables with named columns, and which of their columns a network reads: pandas, polars, PyArrow, structured arrays, dicts, CSV files.

    whatever came ──table_of──► Table: names, columns, how a row is called ──inputs_of──► X (N, D)
                                                                           └─targets_of─► T

Columns are matched to input nodes by name, in any order.  What is missing is refused, and so is what is left over: a table of something
else must not be read.  A table none of whose names is an input's is taken by position, with a warning, where the count agrees.

Numbers are taken in whatever form they come (booleans, nullable and categorical columns, decimals); text, dates and missing values are
refused, naming the column and the row as the user sees them.  No library is imported here: an object of one brings its own methods.
Other data frames (Modin, cuDF, ...) are read through narwhals where it is installed.
"""

from __future__ import annotations

import datetime
import difflib
import numbers
import sys
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.config import option
from graphbp.exceptions import DataError, DataWarning

__all__ = [
    "Column",
    "Table",
    "by_position",
    "callers_level",
    "cells",
    "extra_columns",
    "index_columns",
    "labels_of",
    "like_frame",
    "loose_table",
    "match",
    "numbers_of",
    "refuse_other_order",
    "stacked",
    "surplus",
    "table_of",
    "warn_of_surplus",
]

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


# -- what came ---------------------------------------------------------------------------------------------------------------


def table_of(value: Any, source: str) -> Table | None:
    """The table that `value` is, or None for an array, a list, a tensor."""
    if isinstance(value, Table):
        return value
    if isinstance(value, np.ndarray):
        return _structured(value, source) if value.dtype.names else None
    if isinstance(value, list | tuple | float | int):
        return None
    if isinstance(value, Mapping):
        return _mapping(value, source)
    library = type(value).__module__.partition(".")[0]
    if library == "narwhals" and hasattr(value, "to_native"):
        return table_of(value.to_native(), source)
    reader = _READERS.get(library)
    if reader is None and (hasattr(value, "__dataframe__") or hasattr(value, "__arrow_c_stream__")):
        reader = _other
    return None if reader is None else reader(value, source)


def loose_table(value: Any, source: str) -> Table | None:
    """The table in an array or list of objects or text, whose columns have no names; None where NumPy makes numbers of it."""
    if isinstance(value, list | tuple):
        if any(hasattr(part, "detach") or hasattr(part, "__dlpack__") for part in value if not isinstance(part, np.ndarray)):
            return None
        try:
            array = np.asarray(value)
            value = array if array.dtype.kind != "U" else np.array(value, object)  # else NumPy writes numbers as text
        except Exception:  # ragged, or foreign objects: `graphbp.data` says what is wrong with them
            return None
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "OU" or value.ndim not in (1, 2):
        return None
    array, mask = (part.T if part.ndim == 2 else part[None] for part in (np.asarray(value), np.ma.getmaskarray(value)))
    return Table(array.shape[1], len(array), None, lambda i: _column(array[i], mask[i]), source=source)


def _mapping(columns: Mapping[Any, Any], source: str) -> Table:
    """Name → a list or array of values."""
    arrays: list[Array] = []
    for name, values in columns.items():
        try:
            array = np.asarray(values)
            array = array if array.dtype.kind in "fiub" else np.array(values, object)
        except Exception as problem:  # ragged, or foreign objects
            raise DataError(f"{source}: column {name!r} could not be read as an array: {problem}") from problem
        if array.ndim != 1 or (arrays and len(array) != len(arrays[0])):
            raise DataError(f"{source}: column {name!r} has shape {array.shape}; every column is a list of one value a row")
        arrays.append(array)
    return Table(len(arrays[0]) if arrays else 0, len(arrays), tuple(columns), lambda i: Column(arrays[i]), source=source)


def _structured(array: Array, source: str) -> Table:
    fields = array.dtype.names or ()
    if array.ndim != 1:
        raise DataError(f"{source} is a structured array of shape {array.shape}; a table of records has one axis")
    for name in fields:
        if array.dtype[name].shape or array.dtype[name].names:
            raise DataError(f"{source}: field {name!r} holds {array.dtype[name]}; a column holds one number a row")
    masked = array if isinstance(array, np.ma.MaskedArray) else None

    def load(i: int) -> Column:
        missing = None if masked is None else np.ma.getmaskarray(masked[fields[i]])
        return _column(np.asarray(array[fields[i]]), missing)

    return Table(len(array), len(fields), tuple(fields), load, source=source)


def _pandas(value: Any, source: str) -> Table | None:
    index = getattr(value, "index", None)
    if not hasattr(value, "iloc") or index is None:
        return None
    frame = hasattr(value, "columns")
    labels = tuple(value.columns) if frame else () if value.name is None else (value.name,)
    unnamed = type(value.columns).__name__ == "RangeIndex" if frame else not labels
    numbered = type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1

    def row(n: int) -> str:
        return f"row {n}" if numbered else f"row {n} (index {_plain(index[n])!r})"

    def load(i: int) -> Column:
        return _pandas_column(value.iloc[:, i] if frame else value)

    return Table(len(value), len(labels) if frame else 1, None if unnamed else labels, load, row, source)


def _pandas_column(series: Any) -> Column:
    absent = np.asarray(series.isna(), bool)
    missing = absent if absent.any() else None
    dtype, categories = series.dtype, None
    if type(dtype).__name__ == "CategoricalDtype":
        categories = tuple(_plain(label) for label in dtype.categories)
        series = series.astype(dtype.categories.dtype if missing is None else object)
        dtype = series.dtype
    kind = getattr(dtype, "kind", "O")
    if kind in "biuf" and missing is None:
        given = {"b": bool, "i": np.int64, "u": np.uint64, "f": np.float64}[kind]
        return Column(np.asarray(series.to_numpy(dtype=given)), None, categories)
    return Column(_objects(series), missing, categories)


def _polars(value: Any, source: str) -> Table | None:
    if hasattr(value, "collect"):
        raise DataError(f"{source} is a polars LazyFrame, a query that has not run; give {source}.collect()")
    if hasattr(value, "get_columns"):
        parts = value.get_columns()
        return Table(len(value), len(parts), tuple(part.name for part in parts), lambda i: _polars_column(parts[i]), source=source)
    names = (value.name,) if value.name else None
    return Table(len(value), 1, names, lambda i: _polars_column(value), source=source)


def _polars_column(series: Any) -> Column:
    missing = np.asarray(series.is_null().to_numpy(), bool) if series.null_count() else None
    kind = type(series.dtype).__name__
    if missing is None and (kind == "Boolean" or kind.startswith(("Int", "UInt", "Float"))):
        return Column(np.asarray(series.to_numpy()))
    categories = tuple(series.dtype.categories) if kind == "Enum" else None
    return Column(_objects(series.to_list()), missing, categories)


def _pyarrow(value: Any, source: str) -> Table | None:
    if hasattr(value, "schema") and hasattr(value, "column"):  # Table, RecordBatch
        names = tuple(value.schema.names)
        return Table(value.num_rows, len(names), names, lambda i: _pyarrow_column(value.column(i)), source=source)
    return Table(len(value), 1, None, lambda i: _pyarrow_column(value), source=source) if hasattr(value, "to_pylist") else None


def _pyarrow_column(array: Any) -> Column:
    kind = str(array.type)
    if not array.null_count and kind.startswith(("int", "uint", "float", "double", "halffloat")):
        chunks = hasattr(array, "chunks")
        return Column(np.asarray(array.to_numpy() if chunks else array.to_numpy(zero_copy_only=False)))
    values = _objects(array.to_pylist())
    return Column(values, np.array([v is None for v in values], bool) if array.null_count else None)


def _other(value: Any, source: str) -> Table | None:
    try:
        import narwhals
    except ImportError as problem:
        raise DataError(
            f"{source} is a {type(value).__module__}.{type(value).__name__}; narwhals reads such frames: pip install narwhals"
        ) from problem
    try:
        frame = narwhals.from_native(value, eager_only=True, allow_series=True)
    except TypeError as problem:
        raise DataError(
            f"{source} is a {type(value).__module__}.{type(value).__name__}, which narwhals cannot read: {problem}"
        ) from problem
    parts = [frame[name] for name in frame.columns] if hasattr(frame, "columns") else [frame]
    return Table(
        len(frame), len(parts), tuple(part.name for part in parts), lambda i: _column(_objects(parts[i].to_list())), source=source
    )


_READERS: dict[str, Callable[[Any, str], Table | None]] = {"pandas": _pandas, "polars": _polars, "pyarrow": _pyarrow}


def _objects(values: Any) -> Array:
    out = np.empty(len(values), object)
    out[:] = list(values)
    return out


def _column(values: Array, missing: npt.NDArray[np.bool_] | None = None) -> Column:
    return Column(values, missing if missing is not None and missing.any() else None)


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) and not isinstance(label, np.datetime64 | np.timedelta64) else label


# -- which columns -------------------------------------------------------------------------------------------------------------


def match(
    table: Table,
    wanted: Sequence[Sequence[Hashable]],
    what: str,
    *,
    known: Sequence[Hashable] = (),
    ignore_extra: bool | None = None,
) -> list[int] | None:
    """Positions of the wanted columns, or None where none of their names is in the table.

    Parameters
    ----------
    wanted : for each column the names it may have.
    what : "input" or "output", for messages.
    known : columns that may be there besides.
    ignore_extra : leave out columns that are not wanted; else they are refused.  None asks `gb.config`.

    Raises
    ------
    DataError : a name that is there twice, one that is not there, one that nothing reads.
    """
    if table.names is None:
        return None
    exact = {name: i for i, name in enumerate(table.names)}
    text = {str(name): i for name, i in exact.items()}
    if len(text) < table.n_columns:
        twice = next(name for i, name in enumerate(table.names) if str(name) in {str(other) for other in table.names[:i]})
        raise DataError(f"{table.source} has two columns called {str(twice)!r}; give each a name of its own")
    found = [next((at for name in names if (at := exact.get(name, text.get(str(name)))) is not None), None) for names in wanted]
    if all(at is None for at in found):
        return None
    shared = [at for k, at in enumerate(found) if at is not None and at in found[:k]]
    if shared:
        raise DataError(
            f"{table.source}: {table.name(shared[0])} would be two {what}s of the network, whose names are alike as text"
        )
    lacking = [str(names[0]) for names, at in zip(wanted, found, strict=True) if at is None]
    if lacking:
        near = difflib.get_close_matches(lacking[0], text, n=1)
        guess = f" (there is {near[0]!r})" if near else ""
        raise DataError(
            f"{table.source} has no column {lacking[0]!r}, an {what} of the network{guess}"
            + (f"; {len(lacking)} are missing: {_listed(lacking)}" if len(lacking) > 1 else "")
        )
    place = [at for at in found if at is not None]
    if (extra := surplus(table, place, known)) and not option("ignore_extra", ignore_extra):
        raise DataError(extra_columns(table, extra, what))
    return place


def surplus(table: Table, place: Sequence[int], known: Sequence[Hashable]) -> tuple[Hashable, ...]:
    """The columns that are neither at these positions nor known."""
    told = {str(name) for name in known}
    return tuple(name for i, name in enumerate(table.names or ()) if i not in place and str(name) not in told)


def warn_of_surplus(table: Table, extra: Sequence[Hashable], what: str) -> None:
    """Say which columns are left out."""
    warnings.warn(
        f"{table.source}: left out, since no {what} reads them: {_listed([repr(name) for name in extra])}",
        DataWarning,
        stacklevel=callers_level(),
    )


_INDEX = ("", "Unnamed: 0", "__index_level_0__")  # what an index is called after a trip through a file


def index_columns(table: Table) -> list[int]:
    """Positions of the columns that are called like the index of a frame that was written to a file."""
    return [i for i, name in enumerate(table.names or ()) if str(name).strip() in _INDEX]


def extra_columns(table: Table, extra: Sequence[Hashable], what: str) -> str:
    """The message for columns that nothing reads."""
    one = len(extra) == 1
    unnamed = [name for name in extra if str(name).strip() in _INDEX]
    index = "; a column without a name is the index that to_csv wrote: to_csv(index=False)" if unnamed else ""
    them = "it" if one else "them"
    remedy = f"; --ignore-extra leaves {them} out, --target NAME says that it is the target"
    if table.source == "X":
        remedy = f"; select those that are: X[net.columns], or leave {them} out: gb.config(ignore_extra=True)"
    elif table.source == "T":
        remedy = f"; gb.config(ignore_extra=True) leaves {them} out"
    return f"{table.source} has {'a column' if one else f'{len(extra)} columns'} that no {what} reads: {_listed([repr(n) for n in extra])}{index}{remedy}"


def _listed(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")


def by_position(table: Table, wanted: Sequence[Sequence[Hashable]], what: str, told: bool = False) -> None:
    """Warn (unless `told`) that names play no part; refuse where the count does not agree."""
    named = [str(names[0]) for names in wanted]
    if unnamed := index_columns(table):
        raise DataError(extra_columns(table, [(table.names or ())[i] for i in unnamed], what))
    if table.n_columns != len(named):
        came = "" if table.names is None else f" ({_listed([repr(n) for n in table.names])})"
        raise DataError(
            f"{table.source} has {table.n_columns} columns{came}; the network has {len(named)} {what}s, in this order: {_listed(named, 20)}"
        )
    if table.names is not None and not told:
        warnings.warn(
            f"no column of {table.source} is called like an {what} of the network, so they are taken by position: "
            + _listed([f"{name!r} is {to}" for name, to in zip(table.names, named, strict=True)]),
            DataWarning,
            stacklevel=callers_level(),
        )


def callers_level() -> int:
    """The `stacklevel` at which a warning names the line of the caller's program, not one of ours."""
    level, frame = 1, sys._getframe(1)
    ours = ("graphbp", "scipy")  # SciPy's operators call us back
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        level, frame = level + 1, frame.f_back
    return level


# -- their values ------------------------------------------------------------------------------------------------------------


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


_WORDS = {"true": True, "false": False}


def _read(cell: str) -> Any:
    """The number in a cell, or the cell."""
    try:
        return float(cell)
    except ValueError:
        return _WORDS.get(cell.strip().lower(), cell)


def cells(values: Sequence[str]) -> Column:
    """A column of a text file: whole numbers, numbers, booleans, or text."""
    text = np.array(values, dtype=np.str_)
    for kind in (np.int64, np.float64):
        try:
            return Column(text.astype(kind))
        except (ValueError, OverflowError):
            continue
    if all(value.lower() in _WORDS for value in values):
        return Column(np.array([_WORDS[value.lower()] for value in values]))
    return Column(text, written=True)


def _missing(table: Table, i: int, n: int, shown: str = "") -> str:
    drop = f" ({table.source}.dropna())" if table.source.isidentifier() and table.names is not None else ""
    return f"{table.source}: {table.name(i)} is missing in {table.row(n)}{shown}; drop such rows{drop} or fill them in first"


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
    return f"{where} holds a {type(value).__name__} in {table.row(n)}; it must hold numbers"


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


_MISSING = frozenset(("na", "n/a", "#n/a", "nan", "null", "none"))


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


def like_frame(X: Any, values: Array, names: Sequence[str]) -> Any:
    """`values` as a table of X's kind: pandas with X's index, polars, PyArrow, a structured array, whatever narwhals makes."""
    columns = {"class": values} if values.ndim == 1 else dict(zip(names, values.T, strict=True))
    library = type(X).__module__.partition(".")[0]
    if isinstance(X, np.ndarray) and X.dtype.names:
        return _records(columns)
    if library == "pandas" and hasattr(X, "columns"):
        return type(X)(columns, index=X.index)
    if library == "polars" and hasattr(X, "get_columns"):
        return type(X)({name: part.tolist() for name, part in columns.items()})
    if library == "pyarrow" and hasattr(X, "schema"):
        return type(X).from_pydict({name: part.tolist() for name, part in columns.items()})
    if isinstance(X, dict):
        return columns
    raise DataError(
        f"as_frame=True gives back a frame of X's kind (pandas, polars, PyArrow, a structured array, a dict); X is a {type(X).__name__}"
    )


def _records(columns: Mapping[str, Array]) -> Array:
    """A structured array with a field a column; text as objects."""
    parts = {name: part.astype(object) if part.dtype.kind == "U" else part for name, part in columns.items()}
    out = np.empty(len(next(iter(parts.values()))), [(name, part.dtype) for name, part in parts.items()])
    for name, part in parts.items():
        out[name] = part
    return out


def refuse_other_order(X: Any, others: Mapping[str, Any]) -> None:
    """Refuse T (or weights) whose pandas index has the labels of X's in another order: row n would be of another sample."""
    index = _index(X)
    if index is None:
        return
    for what, value in others.items():
        other = _index(value)
        if other is None or len(other) != len(index) or index.equals(other) or not index.is_unique:
            continue
        if other.is_unique and other.isin(index).all():
            n = int(np.argmax(np.asarray(index != other)))
            raise DataError(
                f"{what} has the rows of X in another order: row {n} is {_plain(index[n])!r} in X and {_plain(other[n])!r} in {what}; give "
                f"{what}.loc[X.index], or {what}.to_numpy() where the order is meant"
            )


def _index(value: Any) -> Any:
    """The index of a pandas object, or None."""
    named = hasattr(value, "iloc") and type(value).__module__.partition(".")[0] == "pandas"
    return value.index if named else None
