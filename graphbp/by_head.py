"""Targets of many heads, from tables and labels, and predictions head by head.

T = {"price": [...], "kind": ["cat", None, "dog"]}   a dict or a frame by output name; the column of a softmax holds labels, or it has a
column for each class ("kind_0", ...; in a dict an array (N, classes)); unit nodes a, b, c of a softmax are called ("a", "b", "c") together
──`ByHead.read_targets`──► T (N, K), NaN where a target is missing
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import classes as labels
from graphbp import foreign
from graphbp.batches import one_hot
from graphbp.config import option
from graphbp.exceptions import DataError, listed
from graphbp.mixture import error_at
from graphbp.tables import (
    Column,
    Table,
    by_position,
    cells,
    extra_columns,
    index_columns,
    loose_table,
    number_in,
    numbers_of,
    surplus,
    table_of,
)

if TYPE_CHECKING:
    from graphbp.error_functions import ErrorFunction
    from graphbp.mixture import Heads
    from graphbp.spec import GraphSpec

__all__ = ["ByHead", "without_gaps"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Part:
    """An output node's columns of Y (or those of the unit nodes of one softmax), and the classes that they tell apart."""

    nodes: tuple[Hashable, ...]
    positions: npt.NDArray[np.int64]
    error: ErrorFunction
    classes: tuple[labels.Label, ...] | None
    names: tuple[tuple[Hashable, ...], ...]

    @property
    def node(self) -> Hashable:
        """The node, or the first of them."""
        return self.nodes[0]

    @property
    def columns(self) -> int:
        """How many columns of Y."""
        return len(self.positions)

    @property
    def takes_labels(self) -> int:
        """How many classes a column of labels may tell apart, 0 where none."""
        return labels.n_classes(self.error, self.columns)


@dataclass(frozen=True)
class ByHead:
    """The columns of Y, node by node, and what tables call them and X's."""

    spec: GraphSpec
    heads: Heads
    outputs: tuple[Hashable, ...]
    output_columns: list[tuple[Hashable, ...]]
    input_columns: list[tuple[Hashable, ...]]

    @cached_property
    def parts(self) -> list[Part]:
        """One for each output node, or for the unit nodes of one softmax."""
        found: dict[Hashable, list[int]] = {}
        for entry in self.heads.entries:
            found.setdefault(entry.node, []).extend(entry.positions.tolist())
        parts = []
        for positions in found.values():
            nodes = tuple(dict.fromkeys(self.heads.nodes[k] for k in positions))
            names = tuple(self.output_columns[k] for k in positions)
            error = error_at(self.heads.error, positions[0])
            parts.append(Part(nodes, np.array(positions), error, labels.classes_of(self.spec, nodes), names))
        return parts

    def read_targets(self, T: Any) -> Any:
        """T (N, K) in float64, NaN where a target is missing; an array of numbers as it came."""
        if isinstance(T, np.ma.MaskedArray) and T.dtype.kind in "fiub":
            return np.ma.filled(T.astype(np.float64), np.nan)
        table = _table(T)
        if table is None:
            return self._labelled(T)
        place = self._places(table)
        out = np.empty((table.n_rows, len(self.output_columns)))
        for part, columns in zip(self.parts, place, strict=True):
            out[:, part.positions] = _values(table, columns, part)
        return out

    def new_classes(self, T: Any) -> dict[Hashable, Any]:
        """The classes that training on T gives to output nodes that have none: node → its labels, sorted."""
        table = _table(T)
        if table is None:
            return {}
        found: dict[Hashable, Any] = {}
        for part, places in zip(self.parts, self._places(table), strict=True):
            n = part.takes_labels
            if part.classes is not None or not n or len(places) != 1:
                continue
            column = table.load(places[0])
            values = column.values[~_missing(column)]
            if values.dtype.kind in "fiu" or all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.tolist()):
                continue
            if column.written and all(isinstance(_cell(v), float) for v in values.tolist()):
                continue
            told = [False, True] if values.dtype.kind == "b" else labels.found_in(values, column.categories, n)
            if len(told) != n:
                raise DataError(
                    f"{table.source}: {table.name(places[0])} holds {len(told)} classes ({labels.shown(told)}) and output {part.node!r} tells {n} "
                    "apart; build it for the classes there are, or name them all: classes=[...] on the output node"
                )
            if len(part.nodes) == 1:
                found[part.node] = told
            else:
                found.update(dict(zip(part.nodes, told, strict=True)))
        return found

    def predicted(self, y: Array) -> dict[Hashable, Array]:
        """Output node → the class of each row (by name where it has classes), or y."""
        out: dict[Hashable, Array] = {}
        softmax = [entry.positions for entry in self.heads.entries if entry.grouped]
        for part in self.parts:
            own = y[:, part.positions]
            if (
                part.columns > 1
                and part.error.targets == "distribution"
                and any(np.array_equal(part.positions, p) for p in softmax)
            ):
                out[part.node] = labels.named(own.argmax(axis=1), part.classes)
            elif part.error.targets == "probability":
                codes = (own > 0.5).astype(np.int64)
                out[part.node] = labels.named(codes[:, 0], part.classes) if part.columns == 1 else codes
            else:
                out[part.node] = own[:, 0] if part.columns == 1 else own
        return out

    def _labelled(self, T: Any) -> Any:
        """An array: as it is, but for one that holds labels of the only head's classes."""
        parts = self.parts
        array = T if isinstance(T, np.ndarray) else None
        if array is None and isinstance(T, list | tuple):
            array = foreign.foreign_array(T, "T")
        if array is None or array.ndim != 1 or len(parts) != 1 or array.dtype.kind not in "biuf" or not parts[0].takes_labels:
            return T
        return _numbered(
            array.astype(np.float64), array.tolist(), np.isnan(array.astype(np.float64)), parts[0], lambda n: f"row {n}", "T"
        )

    def _places(self, table: Table) -> list[list[int]]:
        """For each output node where its columns stand: one, or one for each unit.

        Raises
        ------
        DataError : an output that no column is called like, a column for no head.
        """
        parts = self.parts
        if table.names is None:
            if table.n_columns == sum(part.columns for part in parts):
                return [part.positions.tolist() for part in parts]
            if table.n_columns == len(parts):
                return [[i] for i in range(len(parts))]
            raise DataError(
                f"{table.source} has {table.n_columns} columns; the network has {len(parts)} outputs of {sum(p.columns for p in parts)} columns: "
                + ", ".join(map(str, self.outputs[:20]))
            )
        if unnamed := index_columns(table):
            raise DataError(extra_columns(table, [table.names[i] for i in unnamed], "output"))
        text = {str(name): i for i, name in reversed(list(enumerate(table.names)))}
        if len(text) < len(table.names):
            twice = next(name for i, name in enumerate(map(str, table.names)) if name in map(str, table.names[:i]))
            raise DataError(f"{table.source} has two columns called {twice!r}; give each a name of its own")
        place = [_columns_of(part, text, table) for part in parts]
        if len(parts) == 1 and place[0] is None and table.n_columns in (1, parts[0].columns):
            return [list(range(table.n_columns))]
        if all(found is None for found in place) and table.n_columns == len(self.output_columns):
            by_position(table, self.output_columns, "output")
            return [part.positions.tolist() for part in parts]
        lacking = [str(part.node) for part, found in zip(parts, place, strict=True) if found is None]
        if lacking:
            raise DataError(
                f'{table.source} has no column for output {listed(lacking)}; a column of missing values (NaN) with missing="skip" says that there are no '
                "targets of it"
            )
        chosen = [found for found in place if found is not None]
        known = [name for each in self.input_columns for name in each]
        extra = surplus(table, [i for found in chosen for i in found], known)
        if extra and not option("ignore_extra", None):
            raise DataError(extra_columns(table, extra, "output"))
        return chosen


def _table(T: Any) -> Table | None:
    if isinstance(T, Mapping):
        T = _spread(T)
    return table_of(T, "T") or loose_table(T, "T")


def _spread(T: Mapping[Any, Any]) -> dict[Any, Any]:
    """A dict whose arrays (N, classes) are columns of their own."""
    found: dict[Any, Any] = {}
    for name, values in T.items():
        if isinstance(values, np.ma.MaskedArray):
            values = np.ma.filled(values.astype(np.float64), np.nan)
        if getattr(values, "ndim", 1) == 2 or (
            isinstance(values, list) and values and isinstance(values[0], list | tuple | np.ndarray)
        ):
            array = np.asarray(values)
            found.update({f"{name}_{k}" if array.shape[1] > 1 else name: array[:, k] for k in range(array.shape[1])})
        else:
            found[name] = values
    return found


def _columns_of(part: Part, text: Mapping[str, int], table: Table) -> list[int] | None:
    """The column that is called like the node, or those called like its units (or classes).

    Unit nodes of a softmax have one under their names together, or under one of them where it holds words: a number there might be that
    unit's own target.
    """
    whole = part.node if len(part.nodes) == 1 else part.nodes
    if (at := text.get(str(whole))) is not None:
        return [at]
    named = [text[str(node)] for node in part.nodes if str(node) in text]
    if len(named) == 1 and len(part.nodes) > 1 and part.takes_labels and _holds_words(table.load(named[0])):
        return named
    found = [next((text[str(name)] for name in names if str(name) in text), None) for names in part.names]
    if any(at is None for at in found) and part.classes is not None and len(part.classes) == part.columns:
        found = [text.get(str(label)) for label in part.classes]
    return None if any(at is None for at in found) else [at for at in found if at is not None]


def _holds_words(column: Column) -> bool:
    there = column.values[~_missing(column)].tolist()
    return column.categories is not None or any(isinstance(_cell(v) if column.written else v, str) for v in there)


def _values(table: Table, places: Sequence[int], part: Part) -> Array:
    """(N, columns) of one output node."""
    if len(places) == part.columns and not (part.columns == 1 and part.takes_labels):
        return np.stack([_with_gaps(table, i) for i in places], axis=1)
    column = table.load(places[0])
    missing = _missing(column)
    values = column.values
    if column.written:
        values = np.array([_cell(v) for v in values.tolist()], object)
    if values.dtype.kind in "fiub":
        return _numbered(
            values.astype(np.float64), values.tolist(), missing, part, table.row, f"{table.source}: {table.name(places[0])}"
        )
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in values[~missing].tolist()):
        numbers = np.array([np.nan if gone else float(v) for v, gone in zip(values.tolist(), missing, strict=True)])
        return _numbered(numbers, values.tolist(), missing, part, table.row, f"{table.source}: {table.name(places[0])}")
    return _numbered(None, values.tolist(), missing, part, table.row, f"{table.source}: {table.name(places[0])}")


def _numbered(numbers: Array | None, listed: list[Any], missing: Array, part: Part, row: Any, where: str) -> Array:
    """A column of labels, or of positions of classes: (N, columns)."""
    if not part.takes_labels:
        raise DataError(f"{where} is one column, and output {part.node!r} has {part.columns} units of error={part.error.name!r}")
    there = np.flatnonzero(~missing)
    codes = np.full(len(listed), np.nan)
    if part.classes is not None and (numbers is None or _are_labels(part.classes, [listed[n] for n in there[:1]])):
        found = np.empty(len(there), object)
        found[:] = [listed[n] for n in there]
        codes[there] = labels.number(found, part.classes, where, lambda n: row(int(there[n])))
    elif numbers is None and all(isinstance(listed[n], bool | np.bool_) for n in there) and part.takes_labels == 2:
        codes[there] = [float(listed[n]) for n in there]
    elif numbers is None:
        first = int(there[0]) if len(there) else 0
        raise DataError(
            f"{where} holds labels ({listed[first]!r} in {row(first)}), and output {part.node!r} has no classes: gb.train(net, X, T) gives it "
            "those of T, or say classes=[...] on the output node"
        )
    else:
        codes[there] = numbers[there]
    return codes[:, None] if part.columns == 1 else one_hot(codes, part.columns)


def _are_labels(classes: Sequence[Any], some: Sequence[Any]) -> bool:
    """Numbers are labels where the classes are called by such, booleans always."""
    kinds = {type(label) for label in classes}
    return bool(some) and (
        type(some[0]) in kinds or isinstance(some[0], bool) or (isinstance(some[0], float) and int in kinds and bool not in kinds)
    )


def _cell(value: str) -> Any:
    number = number_in(value)
    return value if number is None else number


_WORDS = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none"))


def _missing(column: Column) -> Array:
    """(N,) where a value is missing."""
    values = column.values
    missing = np.zeros(len(values), bool) if column.missing is None else np.array(column.missing, bool)
    if values.dtype.kind == "f":
        return np.asarray(missing | np.isnan(values))
    if values.dtype.kind in "OU":
        missing |= np.array([_is_gap(v) for v in values.tolist()], bool)
    return missing


def _is_gap(value: Any) -> bool:
    return value is None or str(value) in ("<NA>", "NaT", "nan") or (isinstance(value, str) and value.strip().lower() in _WORDS)


def without_gaps(table: Table, i: int) -> tuple[Column, npt.NDArray[np.bool_]]:
    """What is there of column i, numbers as numbers, and (N,) where it is missing."""
    column = table.load(i)
    missing = np.asarray(_missing(column), bool)
    values = column.values[~missing]
    if column.written and len(values):
        return cells(values.tolist()), missing
    return Column(values, None, column.categories, column.written), missing


def _with_gaps(table: Table, i: int) -> Array:
    """Column i as numbers, NaN where it is missing."""
    column = table.load(i)
    missing = _missing(column)
    if not missing.any():
        return numbers_of(table, i).astype(np.float64)
    there = np.flatnonzero(~missing)
    names = None if table.names is None else table.names[i : i + 1]
    kept = Column(column.values[there], None, column.categories, column.written)
    rest = Table(len(there), 1, names, lambda _: kept, lambda n: table.row(int(there[n])), table.source)
    out = np.full(len(missing), np.nan)
    if len(there):
        out[there] = numbers_of(rest, 0)
    return out
