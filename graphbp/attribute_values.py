"""What the value of each attribute of a node or an edge may be: one function an attribute, which reads it or refuses it by name."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import GraphError, WeightError, shown
from graphbp.foreign import foreign_array, refuse_masked, summed_csr
from graphbp.spec import ROLES, describe_edge

__all__ = ["MAX_UNITS", "read_bias", "read_role", "read_tie", "read_trainable", "read_units", "read_weight"]

Node = Hashable

MAX_UNITS = 2**31 - 1  # row numbers are int32 in the schedule


def read_units(name: Node, value: Any) -> int:
    """`units`: a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < 1:
        raise GraphError(f"node {name!r}: units={value!r}; units must be a whole number of at least 1")
    if int(value) > MAX_UNITS:
        raise GraphError(f"node {name!r}: units={value:,} is more than the {MAX_UNITS:,} that are possible")
    return int(value)


def read_role(name: Node, value: Any) -> str | None:
    """`role`: "input", "output", "hidden", or none."""
    if value is None or (isinstance(value, str) and value in ROLES):
        return value
    raise GraphError(f"node {name!r}: role={value!r}; a role is 'input', 'output' or 'hidden' (or leave it out)")


def read_trainable(where: str, data: Mapping[str, Any]) -> bool:
    """`trainable`, true where it is not given."""
    value = data.get("trainable", True)
    if not isinstance(value, (bool, np.bool_)):
        raise GraphError(f"{where}: trainable={value!r}; it must be True or False")
    return bool(value)


def read_tie(where: str, value: Any) -> str:
    """`tie`: the name that the shared weights have in common."""
    if not isinstance(value, str):
        raise GraphError(f"{where}: tie={value!r}; a tie is the name, a string, that the shared weights have in common")
    return str(value)


def read_bias(name: Node, value: Any, units: int) -> tuple[npt.NDArray[np.float64], bool]:
    """`bias` as an array (units,), and whether it came as a scalar."""
    where = f"node {name!r}: bias"
    array = _numeric(where, value)
    if array.ndim == 0:
        return np.full(units, float(array)), True
    if array.shape != (units,):
        raise WeightError(f"{where} has shape {array.shape}; the node has units={units}, so give a scalar or shape ({units},)")
    return array, False


def read_weight(u: Node, v: Node, value: Any, shape: tuple[int, ...]) -> Any:
    """A weight that is not a plain number: as a float, a dense array or a CSR matrix; or a mistake.

    `shape` is (units of v, units of u), or (units,) into a layer that aggregates unit by unit.
    """
    where = f"{describe_edge(u, v)}: weight"
    if value is None:
        raise WeightError(f"{where} is missing; give every edge one: g.add_edge({u!r}, {v!r}, weight=0.1)")
    if hasattr(value, "tocsr") and len(shape) == 2:
        value = summed_csr(value, where, WeightError)
        value.data = _numeric(f"{where} (stored entries)", value.data)
    else:
        value = _numeric(where, value.toarray() if hasattr(value, "tocsr") else value)
        if value.ndim == 0 and shape in ((1, 1), shape[:1]):
            return float(value)
    if value.shape != shape and len(shape) == 1:
        raise WeightError(
            f"{where} has shape {value.shape}; {v!r} aggregates unit by unit, so it must be a number, or have shape {shape}, one a unit "
            f"(a matrix belongs on an edge into a layer with aggregation='sum', which can feed {v!r})"
        )
    if value.shape != shape:
        raise WeightError(f"{where} has shape {value.shape}; it must be {shape}, (units of {v!r}, units of {u!r})")
    return value


def _numeric(where: str, value: Any) -> npt.NDArray[np.float64]:
    if isinstance(value, numbers.Number) and not isinstance(
        value, (bool, complex, np.number)
    ):  # an int of any size, a Fraction, a Decimal
        value = _float(where, value)
    refuse_masked(value, where, WeightError)
    array = foreign_array(value, where, WeightError)
    if array.dtype.kind == "c":
        raise WeightError(f"{where} is complex; weights are real")
    if array.dtype.kind not in "fiu":
        raise WeightError(f"{where} is {shown(value)} ({type(value).__name__}); it must be a number or an array of numbers")
    array = np.array(array, np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        at = "" if array.ndim == 0 else f" at {tuple(int(k) for k in np.argwhere(bad)[0])}"
        raise WeightError(f"{where} is {array[bad].flat[0]}{at}; weights must be finite")
    return array


def _float(where: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as problem:
        raise WeightError(f"{where} ({type(value).__name__}) cannot be held as a float64: {problem}") from problem
