"""What tables come as, and go back as: pandas, polars, PyArrow, structured arrays, dicts, lists of objects; others through narwhals.

No library is imported for it: an object of one brings its own methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError
from graphbp.foreign import holds_tensors
from graphbp.tables.table import Column, Table

__all__ = ["like_frame", "loose_table", "refuse_other_order", "table_of"]

Array = npt.NDArray[Any]


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
        if holds_tensors(value):
            return None
        try:
            array = np.asarray(value)
            value = array if array.dtype.kind != "U" else np.array(value, object)  # else NumPy writes numbers as text
        except Exception:  # ragged, or foreign objects: `graphbp.foreign` says what is wrong with them
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


def _one_by_one(name: str, values: Array) -> list[tuple[str, Array]]:
    """The columns of an output, by name."""
    return [(name, values)] if values.ndim == 1 else [(f"{name}_{k}", column) for k, column in enumerate(values.T)]


def like_frame(X: Any, values: Any, names: Sequence[str]) -> Any:
    """`values` as a table of X's kind: pandas with X's index, polars, PyArrow, a structured array, whatever narwhals makes."""
    if isinstance(values, dict):  # of several heads
        columns = dict(pair for name, part in values.items() for pair in _one_by_one(str(name), part))
    else:
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
