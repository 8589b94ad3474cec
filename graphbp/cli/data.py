"""X and T of a command: from CSV, .npy, .npz, or a data set that scikit-learn carries.

    columns of a table ──► by the header's names, or by position ──► inputs X, targets T
    text in a target column ──► class labels 0, 1, ... in sorted order (a trained model keeps the order in its metadata)
    --standardize ──► x ← (x − mean) / deviation (a trained model keeps both, and they are used again)

Everything that is decided here rather than told is said on stderr.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from graphbp.cli.common import F, Loaded, say
from graphbp.exceptions import DataError, unknown_name

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["SKLEARN", "Batch", "data_options", "read_batch"]

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
class Table:
    """The columns of a file: numbers, and text where a column holds any.  `names` are the header's, if it has one."""

    columns: list[Array]
    names: list[str] | None = None


@dataclass
class Batch:
    """X (N, D), T or None, and what a model must keep so that new data are treated alike."""

    X: Array
    T: Array | None
    keep: dict[str, Any] = field(default_factory=dict)

    def targets(self) -> Array:
        """T; raises `DataError` where the data had none."""
        if self.T is None:
            raise DataError("this needs targets: --target NAME (or a column number) says which column, --targets FILE which file")
        return self.T


def data_options(function: F) -> F:
    """The argument DATA, and --target, --targets, --header, --by-position, --standardize, --rows."""
    options: Sequence[Callable[[F], F]] = (
        click.option("--rows", type=click.IntRange(1), metavar="N", help="Use the first N rows only."),
        click.option(
            "--standardize/--no-standardize",
            default=None,
            help="Each input minus its mean, over its standard deviation: those that NETWORK was trained with where its file has "
            "them (then this is the default), else those of DATA.",
        ),
        click.option("--by-position", is_flag=True, help="Take the inputs by position, whatever the header calls them."),
        click.option(
            "--header/--no-header", default=None, help="The CSV file has a header; default: where its first line has text."
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
    return click.argument("data")(function)


def read_batch(
    loaded: Loaded,
    data: str,
    *,
    target: Sequence[str] = (),
    target_file: str | None = None,
    header: bool | None = None,
    by_position: bool = False,
    standardize: bool | None = None,
    rows: int | None = None,
    fit_rows: Callable[[int], Array] | None = None,
) -> Batch:
    """X and T for a network.

    Parameters
    ----------
    fit_rows : of N rows, those from which --standardize takes mean and deviation (those to train on); default: all.
    """
    net = loaded.net
    X: Array
    T: Array | None
    if data.startswith("sklearn:"):
        if target or target_file:
            raise DataError(f"{data} has its own targets; leave --target and --targets out")
        X, T = _from_sklearn(data.removeprefix("sklearn:"))
    elif Path(data).suffix.lower() == ".npz":
        X, T = _from_npz(Path(data), target)
    else:
        X, T = _split(net, _read_table(Path(data), header), target, data, by_position)
    if target_file is not None:
        if T is not None and target:
            raise DataError("--target and --targets both say what the targets are; give one")
        T = _target_table(Path(target_file), header)
        if len(T) != len(X):
            raise DataError(f"{target_file} has {len(T)} rows and {data} has {len(X)}")
    X, T = X[:rows], None if T is None else T[:rows]
    batch = Batch(np.ascontiguousarray(X), T)
    if T is not None:
        batch.T = _labels(loaded, T, batch.keep)
    _standardize(loaded, batch, standardize, fit_rows)
    return batch


# -- files ---------------------------------------------------------------------------------------------------------------


def _read_table(path: Path, header: bool | None) -> Table:
    if not path.is_file():
        raise DataError(f"{path} is not a file that can be read; sklearn:NAME is a data set of scikit-learn ({', '.join(SKLEARN)})")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = _load(path)
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim != 2:
            raise DataError(f"{path} holds an array of shape {array.shape}; a table has two dimensions")
        return Table(list(array.T))
    if suffix in (".csv", ".txt", ".tsv", ".dat"):
        return _read_csv(path, header)
    raise DataError(f"{path}: data come from .csv, .npy or .npz files, or sklearn:NAME ({', '.join(SKLEARN)})")


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise DataError(f"{path} cannot be read as a NumPy file: {problem}") from problem


def _read_csv(path: Path, header: bool | None) -> Table:
    """Comma, semicolon, tab or blanks between the fields; lines that begin with # are comments."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path} cannot be read as text: {problem}") from problem
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise DataError(f"{path} has no rows")
    delimiter = next((mark for mark in ",;\t" if mark in lines[0]), None)
    if delimiter is None:
        records = [line.split() for line in lines]
    else:
        records = [[cell.strip() for cell in record] for record in csv.reader(lines, delimiter=delimiter)]
    width = len(records[0])
    for number, record in enumerate(records):
        if len(record) != width:
            raise DataError(f"{path}: row {number} has {len(record)} fields and row 0 has {width}")
    if header is None:
        header = len(records) > 1 and not any(map(_is_number, records[0]))
    names = records.pop(0) if header else None
    if not records:
        raise DataError(f"{path} has a header and no rows (--no-header where its first line is data)")
    return Table([_column(cells) for cells in zip(*records, strict=True)], names)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _column(cells: Sequence[str]) -> Array:
    """Whole numbers, numbers, or text."""
    for kind in (np.int64, np.float64):
        try:
            return np.array(cells, dtype=np.str_).astype(kind)
        except (ValueError, OverflowError):
            continue
    return np.array(cells, dtype=np.str_)


def _from_npz(path: Path, target: Sequence[str]) -> tuple[Array, Array | None]:
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
            return arrays[x], None if t is None else arrays[t]
        except ValueError as problem:
            raise DataError(f"{path} cannot be read: {problem}") from problem


def _from_sklearn(name: str) -> tuple[Array, Array]:
    if name not in SKLEARN:
        raise unknown_name("data set sklearn:", name, SKLEARN)
    try:
        from sklearn import datasets
    except ImportError as problem:
        raise DataError(f'sklearn:{name} needs scikit-learn, which is not installed: pip install "graphbp[sklearn]"') from problem
    X, T = getattr(datasets, SKLEARN[name])(return_X_y=True)
    return X, T


def _target_table(path: Path, header: bool | None) -> Array:
    if path.suffix.lower() == ".npz":
        raise DataError(f"{path}: --targets takes a .csv or .npy file; in an .npz file X and T stand together")
    return _stacked(_read_table(path, header).columns)


def _stacked(columns: Sequence[Array]) -> Array:
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)


# -- which columns are what ----------------------------------------------------------------------------------------------


def _split(net: Network, table: Table, target: Sequence[str], data: str, by_position: bool) -> tuple[Array, Array | None]:
    left = dict(enumerate(table.columns))
    T = _stacked([left.pop(_position(table, name, data)) for name in dict.fromkeys(target)]) if target else None
    d = net.schedule.n_inputs
    place = {} if by_position or table.names is None else {name: i for i, name in enumerate(table.names)}
    named = [str(name) for name in net.inputs]
    if place and any(name in place for name in named):
        for kind, names in (("input nodes", named), (f"columns of {data}", table.names or [])):
            twice = next((name for name in names if name in named and names.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"several {kind} are called {twice}; --by-position takes the inputs by position")
    if len(named) == d and any(name in place for name in named):
        lacking = [name for name in named if name not in place]
        if lacking:
            raise DataError(
                f"the header of {data} has no column {lacking[0]!r}, an input; --by-position ignores the header's names"
            )
        taken = [name for name in named if place[name] not in left]
        if taken:
            raise DataError(f"column {taken[0]!r} of {data} is an input of the network; it cannot be the target too")
        inputs = [left.pop(place[name]) for name in named]
        say(f"{data}: the columns called {', '.join(named[:6])}{', ...' if d > 6 else ''} are the inputs")
    else:
        inputs = [left.pop(i) for i in list(left)[:d]]
    outputs = [str(name) for name in net.outputs]
    if T is None and place and all(place.get(name) in left for name in outputs):
        T = _stacked([left.pop(place[name]) for name in outputs])
        say(f"{data}: the columns called {', '.join(outputs[:6])} are the targets")
    elif T is None and len(left) in ({1, net.schedule.n_outputs} if net.error_function.classes else {net.schedule.n_outputs}):
        say(
            f"{data}: the column{'s' if len(left) > 1 else ''} after the {d} inputs, number {', '.join(map(str, left))}, taken as targets"
        )
        T, left = _stacked(list(left.values())), {}
    elif len(inputs) == d and left and not place:
        inputs += list(left.values())  # the network's own message says how many columns came and what it wants
    for column in inputs:
        if column.dtype.kind == "U":
            raise DataError(
                f"{data}: an input column holds {_first_text(column)}; inputs are numbers (--header where it is a header)"
            )
    return np.stack(inputs, axis=1) if inputs else np.empty((len(table.columns[0]), 0)), T


def _position(table: Table, name: str, data: str) -> int:
    if table.names is not None and name in table.names:
        if table.names.count(name) > 1:
            raise DataError(f"{table.names.count(name)} columns of {data} are called {name!r}; give the target's number")
        return table.names.index(name)
    n = len(table.columns)
    try:
        number = int(name)
    except ValueError:
        raise unknown_name(f"column of {data}", name, table.names or [str(i) for i in range(n)]) from None
    if not -n <= number < n:
        raise DataError(f"--target {name}: {data} has {n} columns, 0 to {n - 1}")
    return number % n


# -- labels and scale ----------------------------------------------------------------------------------------------------


def _first_text(values: Array) -> str:
    """The first value that is no number, or is missing, and its row: what spoilt a column of numbers."""
    for row, value in enumerate(values.reshape(len(values), -1)):
        for text in value.tolist():
            try:
                float(text)
            except ValueError:
                return f"text ({text!r} in row {row})" if text else f"an empty cell (in row {row})"
    return f"text ({values.flat[0].item()!r})"


def _labels(loaded: Loaded, T: Array, keep: dict[str, Any]) -> Array:
    """Text as class labels 0, 1, ...: in the order that the model was trained with, else sorted."""
    if T.dtype.kind != "U":
        return T
    if T.ndim != 1 or not loaded.net.error_function.classes:
        raise DataError(
            f"the targets hold {_first_text(T)}; error={loaded.net.error_function.name!r} takes numbers "
            "(--error cross_entropy takes class labels)"
        )
    kept = loaded.metadata.get("classes")
    classes = np.array(kept if kept is not None else sorted(set(T.tolist())), dtype=np.str_)
    number = {name: i for i, name in enumerate(classes.tolist())}
    unknown = next((name for name in T.tolist() if name not in number), None)
    if unknown is not None:
        raise DataError(f"class {unknown!r} is not one of those that the network was trained with: {', '.join(number)}")
    keep["classes"] = list(number)
    say("classes: " + ", ".join(f"{name} = {i}" for name, i in number.items()))
    return np.array([number[name] for name in T.tolist()])


def _standardize(loaded: Loaded, batch: Batch, wanted: bool | None, fit_rows: Callable[[int], Array] | None) -> None:
    kept: Mapping[str, Any] | None = loaded.metadata.get("standardize")
    if wanted is False or (wanted is None and kept is None):
        if kept is not None:
            say("inputs as they are, though the network was trained on standardized ones")
        return
    d = loaded.net.schedule.n_inputs
    if kept is not None:
        mean, deviation = np.asarray(kept["mean"], np.float64), np.asarray(kept["deviation"], np.float64)
        say("inputs standardized as the network was trained")
    else:
        seen = batch.X if fit_rows is None else batch.X[fit_rows(len(batch.X))]
        mean, deviation = seen.mean(axis=0), seen.std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        say(f"inputs standardized by mean and standard deviation of {len(seen)} rows")
    if mean.shape == deviation.shape == (batch.X.shape[1],) == (d,):  # else the network says what is wrong with X
        batch.X = (batch.X - mean) / deviation
        batch.keep["standardize"] = {"mean": mean.tolist(), "deviation": deviation.tolist()}
