"""The border between a caller's data and the engine: which columns X and T are, their scaling, and the names of classes.

    X, T as they came ──read_inputs, read_targets──► arrays ──`Scaling`──► what the engine sees
    what the engine gives ──y, by_output, by_input──► the caller's units

`Meaning` is what a network's input and output nodes say (`graphbp.scaling`, `graphbp.classes`); it never changes, a network gets a new
one.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import classes as labels
from graphbp.by_head import ByHead
from graphbp.exceptions import DataError
from graphbp.foreign import foreign_array
from graphbp.mixture import AnyError, Heads, Mixture, error_at
from graphbp.scaling import Scaling, check_error, scaling_of, told_names
from graphbp.tables import (
    Column,
    Table,
    by_position,
    labels_of,
    loose_table,
    match,
    numbers_of,
    stacked,
    surplus,
    table_of,
    warn_of_surplus,
)

if TYPE_CHECKING:
    from graphbp.protocols import Backend
    from graphbp.spec import GraphSpec

__all__ = ["Meaning", "meaning_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Meaning:
    """What the columns of X and Y are."""

    spec: GraphSpec
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]
    heads: Heads
    scaling: Scaling
    classes: tuple[labels.Label, ...] | None
    missing: str = "refuse"

    @property
    def error(self) -> AnyError:
        """The outputs' error."""
        return self.heads.error

    @property
    def told_apart(self) -> bool:
        """Targets are read head by head: outputs have errors of their own, or may lack targets."""
        return isinstance(self.error, Mixture) or self.missing == "skip"

    # -- in ----------------------------------------------------------------------------------------------------------------------

    @cached_property
    def input_columns(self) -> list[tuple[Hashable, ...]]:
        """For each column of X the names that it may have in a table: those in `columns=`, the node's, "node_3", "node[3]"."""
        return _names(self.spec, self.inputs)

    @cached_property
    def output_columns(self) -> list[tuple[Hashable, ...]]:
        """For each column of Y the target that it was trained on, the same, and the name of its class."""
        names = _names(self.spec, self.outputs)
        if self.classes is not None:
            return names if len(self.classes) != len(names) else [(*n, label) for n, label in zip(names, self.classes, strict=True)]
        own = {str(name) for each in names for name in each}
        if len(self.targets) != len(names) or any(str(name) in own for name in self.targets):
            return names
        return [(told, *each) for told, each in zip(self.targets, names, strict=True)]

    @cached_property
    def by_head(self) -> ByHead:
        """The outputs node by node, for targets and predictions of many heads."""
        return ByHead(self.spec, self.heads, self.outputs, self.output_columns, self.input_columns)

    @cached_property
    def known(self) -> list[Hashable]:
        """What may stand in a table beside X's columns: the outputs by name, and what the network was trained on."""
        whole = self.outputs if self.told_apart else ()  # a column of labels is called like its layer node
        return [*(name for each in self.output_columns for name in each), *self.targets, *whole]

    @cached_property
    def targets(self) -> list[Hashable]:
        """The columns of T that the network was trained on (`target=` on its first output)."""
        told = self.spec.node_extra[self.spec.index[self.outputs[0]]].get("target")
        return [] if told is None else told_names(told)

    def read_inputs(self, X: Any, told: Sequence[Any] | None = ()) -> tuple[Any, tuple[Hashable, ...] | None, tuple[Hashable, ...]]:
        """(X as an array where it was a table, the columns' names where they were taken by position, the columns left out).

        `told` are such names about which that has been said already, None for all.
        """
        table = table_of(X, "X") or loose_table(X, "X")
        if table is None or table.n_columns == table.n_rows == 0:
            return X, None, ()
        if table.names is None and np.ndim(X) == 1:
            return stacked(table)[:, 0], None, ()
        if table.n_columns == 1 < len(self.input_columns) and np.ndim(X) == 1:
            raise DataError(
                f"X is a {type(X).__name__}, one column, and the network has {len(self.input_columns)} inputs; X.to_frame().T makes one "
                "sample of a row of pandas, df[i:i + 1] takes it as a frame"
            )
        place = match(table, self.input_columns, "input", known=self.known)
        if place is None:
            by_position(table, self.input_columns, "input", told is None or table.names in told)
            return stacked(table), table.names, ()
        if (extra := surplus(table, place, self.known)) and told is not None and extra not in told:
            warn_of_surplus(table, extra, "input")
        return stacked(table.select(place)), None, extra

    def read_targets(self, T: Any, gaps: bool = False) -> Any:
        """T as numbers or positions of classes, where it was a table or held labels; with `gaps` NaN where a table lacks a target."""
        if self.told_apart:
            return self.by_head.read_targets(T)
        if gaps and isinstance(T, np.ma.MaskedArray):
            return T
        table = table_of(T, "T") or loose_table(T, "T")
        if table is None:
            return self._from_array(T)
        if table.n_columns == 1:
            column = labels_of(table, 0)
            return self._from_array(self._as_labels(numbers_of(table, 0))) if column is None else self._from_labels(table, column)
        place = self.target_places(table)
        if place is None:
            by_position(table, self.output_columns, "output")
            return stacked(table)
        if extra := surplus(table, place, self._inputs_by_any_name):
            warn_of_surplus(table, extra, "output")
        return stacked(table.select(place))

    def target_places(self, table: Table) -> list[int] | None:
        """Where in a table of targets each column of Y stands, or None where none is called like it."""
        return match(table, self.output_columns, "output", known=self._inputs_by_any_name)

    @property
    def _inputs_by_any_name(self) -> list[Hashable]:
        return [name for each in self.input_columns for name in each]

    @property
    def n_classes(self) -> int:
        """How many classes T tells apart, 0 where it holds none."""
        return labels.n_classes(self.error, len(self.output_columns))

    def _from_array(self, T: Any) -> Any:
        """Whole numbers are labels where the classes are such, booleans where there are classes; else positions, booleans 0 and 1."""
        array = _plain_array(T) if self.classes is not None or self.error.classes else None
        if array is None or array.ndim != 1 or array.dtype.kind not in _LABELS:
            return T
        kind = array.dtype.kind
        if self.classes is not None and (kind == "b" or any(type(label) in _LABELS[kind] for label in self.classes)):
            return labels.number(array, self.classes, "T", lambda n: f"row {n}")
        return array.astype(np.int64) if kind == "b" else T

    def _as_labels(self, column: Array) -> Array:
        """A table's column of whole numbers, which may have become one of floats on its way here, as one of integers."""
        labelled = self.error.classes and len(self.output_columns) > 1 and column.dtype.kind == "f"
        return (
            column.astype(np.int64) if labelled and (column == np.round(column)).all() and (abs(column) < 2**53).all() else column
        )

    def _from_labels(self, table: Table, column: Column) -> Any:
        if column.values.dtype.kind == "b" and self.classes is None:
            return column.values.astype(np.int64)
        if not self.n_classes:
            try:
                return numbers_of(table, 0)
            except DataError as problem:
                takes = "cross_entropy takes labels of classes, binary_cross_entropy with one output too"
                raise DataError(f"{problem} (error={self.error.name!r}; {takes})") from problem
        if self.classes is None:
            if column.values.dtype.kind in "iu":
                return column.values
            raise DataError(
                f"T holds labels ({column.values[0]!r} in {table.row(0)}), and the network has no classes: gb.train(net, X, T) gives it "
                "those of T, or say classes=[...] on the output node"
            )
        return labels.number(column.values, self.classes, table.source, table.row)

    def new_classes(self, T: Any) -> list[labels.Label] | None:
        """The classes that training on T gives a network that has none; None where T holds no labels."""
        table = table_of(T, "T") or loose_table(T, "T")
        if table is None:
            array = _plain_array(T)
            if array is None or array.ndim != 1 or array.dtype.kind != "b" or not len(array):
                return None
            column: Column | None = Column(array)
        else:
            column = labels_of(table, 0) if table.n_columns == 1 else None
        if self.classes is not None or not self.n_classes:
            return None
        if table is not None and column is None:
            return self._dummies(table)
        if column is None:
            return None
        found: list[labels.Label] = (
            [False, True] if column.values.dtype.kind == "b" else labels.found_in(column.values, column.categories, self.n_classes)
        )
        if len(found) != self.n_classes:
            raise DataError(
                f"T holds {len(found)} classes ({labels.shown(found)}) and the network tells {self.n_classes} apart; build it for the "
                "classes there are, or name them all: classes=[...] on the output node"
            )
        return found

    def _dummies(self, table: Table) -> list[labels.Label] | None:
        """The names of one-hot columns, a class each, where they are no names of outputs."""
        if table.names is None or table.n_columns != len(self.output_columns) or table.n_columns == 1:
            return None
        return None if match(table, self.output_columns, "output") is not None else [str(name) for name in table.names]

    # -- out ---------------------------------------------------------------------------------------------------------------------

    def y(self, scaled: Any, backend: Backend) -> Any:
        """shift + scale · z of each output."""
        affine = self.scaling.outputs
        if affine is None:
            return scaled
        if isinstance(scaled, np.ndarray):
            return affine.outward(scaled, scaled.dtype)
        shift, scale = (backend.asarray(part, np.dtype(str(scaled.dtype))) for part in (affine.shift, affine.scale))
        return shift + scale * scaled

    def by_output(self, array: Any, backend: Backend, axis: int = 1) -> Any:
        """What is linear in y, times y's scale along `axis`."""
        affine = self.scaling.outputs
        return array if affine is None else _aligned(operator.mul, array, affine.scale, backend, axis)

    def by_input(self, array: Any, backend: Backend, axis: int = -1) -> Any:
        """What is linear in 1/x, over x's scale along `axis`."""
        affine = self.scaling.inputs
        return array if affine is None else _aligned(operator.truediv, array, affine.scale, backend, axis)

    def jacobian(self, scaled: Any, backend: Backend) -> Any:
        """∂y_k/∂x_i (N, K, D) of the engine's."""
        return self.by_input(self.by_output(scaled, backend), backend)

    def sparse_jacobian(self, scaled: Any) -> Any:
        """The same of a CSR array (N K, D)."""
        if not self.scaling:
            return scaled
        if (affine := self.scaling.outputs) is not None:
            factor = np.tile(affine.scale, scaled.shape[0] // len(affine.scale))
            scaled.data *= np.repeat(factor, np.diff(scaled.indptr)).astype(scaled.dtype)
        if (affine := self.scaling.inputs) is not None:
            scaled.data /= affine.scale[scaled.indices].astype(scaled.dtype)
        return scaled

    def predicted(self, y: Array) -> Any:
        """The class of each row where the outputs tell classes apart, else y; of several heads, output node → either."""
        if isinstance(self.error, Mixture):
            return self.by_head.predicted(y)
        if self.error.targets not in ("distribution", "probability"):
            return y
        k = y.shape[1]
        if self.error.targets == "probability" and k > 1:
            return (y > 0.5).astype(np.int64)
        position = (y[:, 0] > 0.5).astype(np.int64) if k == 1 else y.argmax(axis=1)
        return labels.named(position, self.classes)

    def __str__(self) -> str:
        parts = [f"scaled: {self.scaling}"] if self.scaling else []
        if not self.heads.plain:
            parts.append(f"heads: {self.heads}")
        if self.missing == "skip":
            parts.append("missing targets are skipped")
        return "; ".join(parts + ([f"classes: {labels.shown(self.classes)}"] if self.classes is not None else []))


_LABELS: dict[str, tuple[type, ...]] = {"b": (bool,), "i": (int, float), "u": (int, float)}


def _plain_array(T: Any) -> Array | None:
    """An array, a list or a tensor as an array; None for what `graphbp.foreign` has to refuse or convert."""
    if np.ma.isMaskedArray(T) or not (isinstance(T, np.ndarray | list | tuple) or hasattr(T, "__array__")):
        return None
    try:
        return foreign_array(T, "T")
    except DataError:  # ragged, or not in host memory
        return None


def meaning_of(
    spec: GraphSpec, inputs: Sequence[Hashable], outputs: Sequence[Hashable], heads: Heads, missing: str = "refuse"
) -> Meaning:
    """Read it off the nodes.  Raises `GraphError`, `WeightError` naming the node."""
    scaling = scaling_of(spec, tuple(inputs), tuple(outputs))
    if isinstance(heads.error, Mixture):
        for name in outputs:
            check_error(scaling_of(spec, (), (name,)), error_at(heads.error, heads.nodes.index(name)), (name,))
        return Meaning(spec, tuple(inputs), tuple(outputs), heads, scaling, None, missing)
    check_error(scaling, heads.error, tuple(outputs))
    return Meaning(spec, tuple(inputs), tuple(outputs), heads, scaling, labels.classes_of(spec, outputs), missing)


def _names(spec: GraphSpec, nodes: Sequence[Hashable]) -> list[tuple[Hashable, ...]]:
    found: list[tuple[Hashable, ...]] = []
    for name in nodes:
        i = spec.index[name]
        units = int(spec.units[i])
        told = spec.node_extra[i].get("columns")
        own: list[tuple[Hashable, ...]] = [(name,)] if units == 1 else [(f"{name}_{k}", f"{name}[{k}]") for k in range(units)]
        found += own if told is None else [(column, *each) for column, each in zip(told_names(told), own, strict=True)]
    return found


def _aligned(operation: Any, array: Any, factor: Array, backend: Backend, axis: int) -> Any:
    """`operation` of the array and a factor for each position along `axis`, on whichever side the array lives."""
    shape = [1] * array.ndim
    shape[axis] = -1
    dtype = np.dtype(str(array.dtype))
    with np.errstate(over="ignore"):
        factor = factor.reshape(shape).astype(dtype)
    if not isinstance(array, np.ndarray):
        return operation(array, backend.asarray(factor, dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        return operation(array, factor)
