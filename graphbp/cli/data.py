"""X and T of a command: from CSV (a file or stdin), .npy, .npz, Parquet, Excel, or a data set that scikit-learn carries.

    file ──► Table ──► the target's columns apart ──► `graphbp.tables`: columns by name ──► X; labels by the network's classes ──► T

What columns, labels and missing values mean is decided by `graphbp.tables` and `graphbp.meaning`, which Python's tables go through
too.  Everything that is decided here rather than told is said on stderr.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from graphbp.cli.common import STANDARD, F, Loaded, say, take_stdin
from graphbp.cli.sheets import SHEETS, read_sheet, table_of_records
from graphbp.config import option
from graphbp.exceptions import DataError, listed, unknown_name
from graphbp.fit import adopt
from graphbp.tables import Column, Table, cells, index_columns, match

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["SKLEARN", "Batch", "data_options", "read_batch", "read_table", "table_options"]

Array = npt.NDArray[Any]

SKLEARN = {
    "breast_cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
    "digits": "load_digits",
    "iris": "load_iris",
    "linnerud": "load_linnerud",
    "wine": "load_wine",
}
"""The data sets that scikit-learn carries, so that nothing is downloaded, and the function of sklearn.datasets that reads each."""

_X_NAMES, _T_NAMES = ("X", "x"), ("T", "t", "Y", "y")


@dataclass
class Batch:
    """X (N, D) in the network's order of columns, and T as it came, or None."""

    net: Network
    X: Array
    T: Any
    rows: int | None = None

    def targets(self) -> Array:
        """T (N, ...), labels as 0 and 1 of the network's classes; raises `DataError` where the data had none."""
        if self.T is None:
            raise DataError("this needs targets: --target NAME (or a column number) says which column, --targets FILE which file")
        return np.asarray(self.net.model.meaning.read_targets(self.T))[: self.rows]


def data_options(function: F) -> F:
    """The argument DATA, and what `table_options` says."""
    return click.argument("data")(table_options(function))


def table_options(function: F) -> F:
    """--target, --targets, --header, --by-position, --ignore-extra, --rows."""
    options: Sequence[Callable[[F], F]] = (
        click.option("--rows", type=click.IntRange(1), metavar="N", help="Use the first N rows only."),
        click.option(
            "--ignore-extra", is_flag=True, help="Leave out columns that the network does not read; else they are refused."
        ),
        click.option("--by-position", is_flag=True, help="Take the inputs by position, whatever the header calls them."),
        click.option(
            "--header/--no-header", default=None, help="The CSV file has a header; default: where its first line has text only."
        ),
        click.option("--targets", "target_file", metavar="FILE", help="A second file that holds only the targets."),
        click.option(
            "--target",
            "target",
            metavar="NAME",
            multiple=True,
            help="The target's column: a name in the header, or a number (0 is the first, -1 the last); may be repeated.",
        ),
    )
    for decorate in options:
        function = decorate(function)
    return function


def read_batch(
    loaded: Loaded,
    data: str,
    *,
    target: Sequence[str] = (),
    target_file: str | None = None,
    header: bool | None = None,
    by_position: bool = False,
    ignore_extra: bool = False,
    rows: int | None = None,
    learn: bool = False,
) -> Batch:
    """X and T for a network; with `learn` the network takes names of columns and classes from them."""
    net = loaded.net
    T: Any
    if data.startswith("sklearn:"):
        if target or target_file:
            raise DataError(f"{data} has its own targets; leave --target and --targets out")
        inputs, T = _from_sklearn(data)
        inputs = _unnamed(inputs) if by_position else inputs
    elif Path(data).suffix.lower() == ".npz":
        inputs, T = _from_npz(Path(data), target)
    else:
        table = _read_table(Path(data), header)
        inputs, T = _split(net, table if not by_position else _unnamed(table), table, target)
    if target_file is not None:
        if T is not None and target:
            raise DataError("--target and --targets both say what the targets are; give one")
        T = _target_table(Path(target_file), header)
    if T is not None and (n := T.n_rows if isinstance(T, Table) else len(T)) != inputs.n_rows:
        raise DataError(f"{target_file or data} has {n} rows and {data} has {inputs.n_rows}")
    inputs = _known_columns(net, inputs, ignore_extra)
    if learn:
        adopt(net, inputs, T)
        if net.classes is not None:
            say("classes: " + ", ".join(f"{name} = {i}" for i, name in enumerate(net.classes)))
    return Batch(net, np.ascontiguousarray(net.model.read(inputs)[:rows]), T, rows)


def read_table(data: str, header: bool | None, target: Sequence[str]) -> tuple[Table, Table]:
    """(the columns that are not targets, the targets) of a table that no network reads yet; classes of scikit-learn's sets by name."""
    if data.startswith("sklearn:"):
        if target:
            raise DataError(f"{data} has its own targets; leave --target out")
        inputs, T = _from_sklearn(data)
        names = _class_names(data)
        values = np.asarray([names[int(t)] for t in T], object) if names else np.asarray(T)
        return inputs, _array_table(values.reshape(len(T), -1), data, None if names or T.ndim > 1 else ["y"])
    table = _read_table(Path(data), header)
    if not target:
        known = listed([_called(str(name), i) for i, name in enumerate(table.names or range(table.n_columns))])
        raise DataError(f"--target says which column of {data} is to be predicted; there are {known}")
    at = list(dict.fromkeys(_position(table, name) for name in target))
    rest = [i for i in range(table.n_columns) if i not in at]
    if not rest:
        raise DataError(f"{data} has no column left for the inputs")
    return table.select(rest), table.select(at)


def _class_names(source: str) -> list[str]:
    """What scikit-learn calls the classes of a data set, [] where its targets are quantities."""
    from sklearn import datasets

    bunch = getattr(datasets, SKLEARN[source.removeprefix("sklearn:")])()
    return [str(name) for name in bunch.get("target_names", [])] if bunch.target.dtype.kind in "iu" else []


def _unnamed(table: Table) -> Table:
    return Table(table.n_rows, table.n_columns, None, table.load, table.row, table.source)


def _called(name: str, i: int) -> str:
    """Column i by its name, for a list."""
    return name if name.strip() else f"column {i}, which has no name"


def _known_columns(net: Network, table: Table, ignore_extra: bool) -> Table:
    """The columns that the inputs read by name, said; the table as it is where none is called like an input."""
    meaning = net.model.meaning
    place = match(table, meaning.input_columns, "input", known=meaning.known, ignore_extra=ignore_extra or None)
    if place is None or table.names is None:
        nameless = index_columns(table)
        if nameless and option("ignore_extra", ignore_extra or None):
            say(f"{table.source}: not read: {listed([_called('', i) for i in nameless])}")
            return table.select([i for i in range(table.n_columns) if i not in nameless])
        return table
    names = [str(name) for name in table.names]
    left = [_called(name, i) for i, name in enumerate(names) if i not in place]
    say(
        f"{table.source}: the columns called {listed([names[i] for i in place])} are the inputs"
        + (f"; not read: {listed(left)}" if left else "")
    )
    return table.select(place)


# -- files ---------------------------------------------------------------------------------------------------------------


_TEXT = (".csv", ".txt", ".tsv", ".dat")
_KINDS = (
    f"{', '.join(_TEXT)} (also .gz), .npy, .npz, .parquet or .xlsx files, - (CSV on stdin), or sklearn:NAME ({', '.join(SKLEARN)})"
)


def _read_table(path: Path, header: bool | None, what: str = "DATA") -> Table:
    if str(path) == STANDARD:
        return _csv_table(take_stdin(what), "stdin", header)
    if not path.is_file():
        raise DataError(f"{path} is not a file that can be read; sklearn:NAME is a data set of scikit-learn ({', '.join(SKLEARN)})")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = _load(path)
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim != 2:
            raise DataError(f"{path} holds an array of shape {array.shape}; a table has two dimensions")
        return _array_table(array, str(path))
    if suffix in _TEXT or (suffix == ".gz" and Path(path.stem).suffix.lower() in _TEXT):
        return _csv_table(_content(path), str(path), header)
    if suffix in SHEETS:
        return read_sheet(path, header)
    raise DataError(f"{path}: data come from {_KINDS}")


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise DataError(f"{path} cannot be read as a NumPy file: {problem}") from problem


def _array_table(array: Array, source: str, names: Sequence[str] | None = None) -> Table:
    return Table(len(array), array.shape[1], None if names is None else tuple(names), lambda i: Column(array[:, i]), source=source)


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{path} cannot be read: {problem}") from problem


def _csv_table(content: bytes, source: str, header: bool | None) -> Table:
    """Comma, semicolon, tab or blanks between the fields; lines that begin with # are comments."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{source} cannot be read as text: {problem}") from problem
    lines = [
        (number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise DataError(f"{source} has no rows")
    delimiter = next((mark for mark in ",;\t" if mark in lines[0][1]), None)
    records, number = _records([line for _, line in lines], delimiter)
    number = [lines[at][0] for at in number]
    width = len(records[0])
    if header is not False and all(len(record) == width + 1 for record in records[1:]) and records[1:]:
        records[0], width = ["", *records[0]], width + 1  # R's write.table: names of rows, and none above them
    for record, at in zip(records, number, strict=True):
        if len(record) != width:
            raise DataError(f"{source}: line {at} has {len(record)} fields and line {number[0]} has {width}")
    return table_of_records(records, number, header, source, "line", cells)


def _records(lines: list[str], delimiter: str | None) -> tuple[list[list[str]], list[int]]:
    """The fields of each record, and the position of the line that it begins on: a quoted field may hold a line's end."""
    if delimiter is None:
        return [_between_blanks(line) for line in lines], list(range(len(lines)))
    reader = csv.reader(lines, delimiter=delimiter)
    records, starts, start = [], [], 0
    for record in reader:
        records.append([cell.strip() for cell in record])
        starts.append(start)
        start = reader.line_num
    return records, starts


def _between_blanks(line: str) -> list[str]:
    """The fields of a line that blanks separate; a quoted one may hold blanks."""
    if '"' not in line:
        return line.split()
    return [(quoted or plain).replace('""', '"') for quoted, plain in re.findall(r'"((?:[^"]|"")*)"|(\S+)', line)]


def _from_npz(path: Path, target: Sequence[str]) -> tuple[Table, Array | None]:
    """Arrays X and T of an .npz file; --target names another array for T."""
    if not path.is_file():
        raise DataError(f"{path} is not a file that can be read")
    with _load(path) as arrays:
        x = next((name for name in _X_NAMES if name in arrays), None)
        if x is None:
            raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; the inputs must be called X (and the targets T)")
        if len(target) > 1 or (target and target[0] not in arrays):
            raise DataError(f"{path} holds {', '.join(arrays)}; --target names one of these arrays")
        t = target[0] if target else next((name for name in _T_NAMES if name in arrays), None)
        try:
            X, T = arrays[x], None if t is None else arrays[t]
        except ValueError as problem:
            raise DataError(f"{path} cannot be read: {problem}") from problem
    if X.ndim != 2:
        raise DataError(f"{path}: {x} has shape {X.shape}; it must have two dimensions, one row a sample")
    return _array_table(X, str(path)), T


def _from_sklearn(source: str) -> tuple[Table, Array]:
    name = source.removeprefix("sklearn:")
    if name not in SKLEARN:
        raise unknown_name("data set sklearn:", name, SKLEARN)
    try:
        from sklearn import datasets
    except ImportError as problem:
        raise DataError(f'sklearn:{name} needs scikit-learn, which is not installed: pip install "graphbp[sklearn]"') from problem
    bunch = getattr(datasets, SKLEARN[name])()
    return _array_table(bunch.data, source, [str(feature) for feature in bunch.feature_names]), bunch.target


def _target_table(path: Path, header: bool | None) -> Table:
    if path.suffix.lower() == ".npz":
        raise DataError(f"{path}: --targets takes a table of its own (.csv, .npy, ...); in an .npz file X and T stand together")
    return _read_table(path, header, "--targets")


# -- which columns are what ----------------------------------------------------------------------------------------------


def _split(net: Network, named: Table, table: Table, target: Sequence[str]) -> tuple[Table, Table | None]:
    """(what the inputs may read, the targets) of a table; `named` is the table, or without names where they are not to be used."""
    if target:
        at = list(dict.fromkeys(_position(table, name) for name in target))
        inputs = {name for each in net.model.meaning.input_columns for name in map(str, each)}
        taken = [named.name(i) for i in at if named.names is not None and str(named.names[i]) in inputs]
        if taken:
            raise DataError(f"{taken[0]} of {table.source} is an input of the network; it cannot be the target too")
        return named.select([i for i in range(table.n_columns) if i not in at]), table.select(at)
    at = _targets_by_name(net, named)
    if at:
        say(f"{table.source}: the columns called {listed([str(named.names[i]) for i in at if named.names])} are the targets")
        return named, table.select(at)
    d, k = net.schedule.n_inputs, net.schedule.n_outputs
    after = table.n_columns - d
    if after in ({1, k} if net.error_function.classes else {k}) and not _any_input(net, named):
        say(
            f"{table.source}: the first {d} columns are the inputs, number {listed([str(i) for i in range(d, d + after)])} the targets"
        )
        return named.select(range(d)), table.select(range(d, d + after))
    return named, None


def _any_input(net: Network, table: Table) -> bool:
    """Some column is called like an input."""
    names = set(map(str, table.names or ()))
    return any(str(name) in names for each in net.model.meaning.input_columns for name in each)


def _targets_by_name(net: Network, table: Table) -> list[int]:
    """The columns that the network was trained on, or those that are called like its outputs."""
    place = {str(name): i for i, name in enumerate(table.names or ())}
    for wanted in (net.model.meaning.targets, net.outputs, [names[0] for names in net.model.meaning.output_columns]):
        if wanted and all(str(name) in place for name in wanted):
            return [place[str(name)] for name in wanted]
    return []


def _position(table: Table, name: str) -> int:
    if table.names is not None and name in table.names:
        if table.names.count(name) > 1:
            raise DataError(f"{table.names.count(name)} columns of {table.source} are called {name!r}; give the target's number")
        return table.names.index(name)
    n = table.n_columns
    try:
        number = int(name)
    except ValueError:
        raise unknown_name(f"column of {table.source}", name, map(str, table.names or range(n))) from None
    if not -n <= number < n:
        raise DataError(f"--target {name}: {table.source} has {n} columns, 0 to {n - 1}")
    return number % n
