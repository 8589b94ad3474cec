"""Class labels: text, booleans or numbers for people, positions among the outputs for the engine.

`classes` on output nodes names them: one name for each unit of a layer node, one for each unit node of a softmax, or two,
[negative, positive], for a single output under binary cross-entropy.  Labels map to positions by these names alone, so that a table
with one class only is not renumbered.  A network without names gets them when it is trained: the sorted labels of its targets.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError, GraphError, listed

if TYPE_CHECKING:
    from graphbp.mixture import AnyError
    from graphbp.spec import GraphSpec

__all__ = ["attributes_for", "classes_of", "found_in", "n_classes", "named", "number"]

Array = npt.NDArray[Any]
Label = str | bool | int | float


def n_classes(error: AnyError, k: int) -> int:
    """How many classes K outputs tell apart under an error; 0 where targets are no classes."""
    if error.targets == "distribution":
        return k if k > 1 else 0
    return 2 if error.targets == "probability" and k == 1 else 0


def classes_of(spec: GraphSpec, outputs: Sequence[Hashable]) -> tuple[Label, ...] | None:
    """The names of the classes in the order of Y's columns, or None.  Raises `GraphError` naming the node."""
    given = {name: spec.node_extra[spec.index[name]].get("classes") for name in outputs}
    if all(value is None for value in given.values()):
        return None
    units = {name: int(spec.units[spec.index[name]]) for name in outputs}
    single = len(outputs) == 1 and units[outputs[0]] == 1
    classes: list[Label] = []
    for name, value in given.items():
        if value is None:
            raise GraphError(f"output {name!r} has no classes=, and other outputs have; name the classes of all outputs or of none")
        names = list(value) if isinstance(value, list | tuple | np.ndarray) else [value]
        wanted = 2 if single else units[name]
        if len(names) != wanted:
            what = "two, [negative, positive]" if single else f"one for each of its {wanted} units"
            raise GraphError(f"output {name!r}: classes={value!r}; it must be {what}")
        for label in names:
            if not isinstance(label, str | bool | int | float | np.generic):
                raise GraphError(f"output {name!r}: classes={value!r}; the name of a class is text, a number or a boolean")
        classes += map(_plain, names)
    twice = [label for i, label in enumerate(classes) if _key(label) in map(_key, classes[:i])]
    if twice:
        raise GraphError(f"two outputs have the class {twice[0]!r}; every class has a name of its own")
    return tuple(classes)


def attributes_for(classes: Sequence[Label], spec: GraphSpec, outputs: Sequence[Hashable]) -> dict[Hashable, dict[str, Any]]:
    """`classes=` for each output node."""
    if len(outputs) == 1:
        return {outputs[0]: {"classes": list(classes)}}
    found: dict[Hashable, dict[str, Any]] = {}
    at = 0
    for name in outputs:
        n = int(spec.units[spec.index[name]])
        found[name] = {"classes": classes[at] if n == 1 else list(classes[at : at + n])}
        at += n
    return found


def found_in(labels: Array, categories: Sequence[Any] | None, n: int) -> list[Label]:
    """The classes of a column of labels: its categories (those in use, where there are more than `n`), else the sorted labels."""
    present = list(dict.fromkeys(_plain(label) for label in labels))
    if categories is not None:
        told = [_plain(label) for label in categories]
        return told if len(told) <= n else [label for label in told if label in present]
    try:
        present.sort()
    except TypeError:
        kinds = sorted({type(value).__name__ for value in present})
        raise DataError(f"T holds labels of several types ({', '.join(kinds)}); make them all text, or all numbers") from None
    return present


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label


def number(labels: Array, classes: Sequence[Label], where: str, row: Any) -> npt.NDArray[np.int64]:
    """Positions of `labels` among `classes`; raises `DataError` naming the first unknown one and `row(n)`, where it stands."""
    position = {_key(label): i for i, label in enumerate(classes)}
    listed = labels.tolist()
    codes = np.fromiter((position.get(_key(label), -1) for label in listed), np.int64, len(listed))
    if (codes < 0).any():
        n = int(np.argmax(codes < 0))
        raise DataError(f"{where} {row(n)} is {listed[n]!r}, which is not one of the network's classes: {shown(classes)}")
    return codes


def named(codes: Array, classes: Sequence[Label] | None) -> Array:
    """The classes at these positions, as an array of one kind where they are of one; the positions where there are no names."""
    if classes is None:
        return codes
    kinds = set(map(type, classes))
    names = np.array(classes) if len(kinds) == 1 or kinds == {int, float} else np.array(classes, object)
    return np.asarray(names[codes])


def shown(classes: Sequence[Label]) -> str:
    """The classes for a message."""
    return listed([repr(label) for label in classes[:20]], 20, len(classes))


def _key(label: Any) -> Any:
    """True is not 1 here; 1.0 is."""
    return (isinstance(label, bool | np.bool_), label)
