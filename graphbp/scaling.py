"""What X and Y mean outside of a network: `shift` and `scale` on its input and output nodes, names of classes on its outputs.

    x ──(x − shift) / scale──► the engine: a, z, θ, E, δ ──shift + scale · z──► y

The engine, every backend among it, sees scaled numbers only.  Everything by x or of y is rescaled where it leaves: y itself, ∂y/∂x,
∂y/∂θ, products with them, and what a trace shows.  Targets are scaled like outputs, so the error is that of the scaled residuals,

    E = ½ Σ_nk ((y_nk − t_nk) / scale_k)²

which has no unit; E, its gradient and its Hessians by θ are the engine's own numbers.  A network without these attributes pays nothing.

`graphbp.folding` makes the same function as a graph without them: constants in weights and biases, for formats that have no scaling.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import GraphError, WeightError, shown
from graphbp.foreign import foreign_array
from graphbp.spec import HIDDEN, INPUT, OUTPUT, GraphSpec

if TYPE_CHECKING:
    from graphbp.error_functions import ErrorFunction

__all__ = [
    "Affine",
    "Scaling",
    "check_meaning",
    "constants",
    "fitted",
    "scaling_of",
    "told_names",
    "unscaled",
    "with_attributes",
]

Array = npt.NDArray[Any]
ATTRIBUTES = ("shift", "scale")


@dataclass(frozen=True)
class Affine:
    """raw = shift + scale · scaled, column by column; both (n,) float64, scale > 0."""

    shift: Array
    scale: Array

    def inward(self, raw: Any) -> Any:
        """(raw − shift) / scale, in float64 (or complex); what is too large becomes infinite, for the caller to refuse."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (raw - self.shift) / self.scale

    def outward(self, scaled: Any, dtype: np.dtype[Any]) -> Any:
        """shift + scale · scaled, rounded once to `dtype`."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (self.shift + self.scale * scaled).astype(dtype)

    @property
    def columns(self) -> int:
        """How many columns it changes."""
        return int(np.count_nonzero((self.shift != 0) | (self.scale != 1)))


@dataclass(frozen=True)
class Scaling:
    """Of X's columns and of Y's; None where every shift is 0 and every scale 1."""

    inputs: Affine | None = None
    outputs: Affine | None = None

    def __bool__(self) -> bool:
        return self.inputs is not None or self.outputs is not None

    def __str__(self) -> str:
        parts = []
        for affine, what in ((self.inputs, "input"), (self.outputs, "output")):
            if affine is not None:
                n = affine.columns
                parts.append(f"{n} {what}{'s' * (n > 1)}")
        return ", ".join(parts)


# -- from the nodes' attributes --------------------------------------------------------------------------------------------


def check_meaning(spec: GraphSpec) -> None:
    """Refuse a `shift`, `scale`, `classes` or `columns` that is misplaced, misshapen or has no one meaning, naming its node."""
    feeds = None
    for i, extra in enumerate(spec.node_extra):
        if not extra or _OURS.isdisjoint(extra):
            continue
        name, role = spec.names[i], spec.role[i]
        scaled = [key for key in ATTRIBUTES if extra.get(key) is not None]
        if scaled and role == HIDDEN:
            raise GraphError(
                f"node {name!r} has {scaled[0]}={extra[scaled[0]]!r} and is neither input nor output; only X and Y are scaled: put it "
                "into weights and bias, or call the attribute something else"
            )
        if scaled and role == OUTPUT:
            feeds = np.unique(spec.edge_src) if feeds is None else feeds
            if i in feeds:
                raise GraphError(
                    f"output {name!r} has {scaled[0]}= and feeds other units, which could mean the scaled value or the raw one: make "
                    "a new identity unit, fed by it alone, the output, and scale that"
                )
        constants(spec, i)
        if extra.get("classes") is not None and role != OUTPUT:
            raise GraphError(f"node {name!r} has classes= and is no output; the names of classes stand on the outputs")
        if extra.get("error_weight") is not None and role != OUTPUT:
            raise GraphError(f"node {name!r} has error_weight= and is no output; errors and their weights stand on the outputs")
        if extra.get("columns") is not None and role == INPUT:
            _check_columns(name, int(spec.units[i]), extra["columns"])


_OURS = frozenset((*ATTRIBUTES, "classes", "columns", "error_weight"))


def _check_columns(name: Hashable, units: int, value: Any) -> None:
    names = told_names(value)
    if len(names) != units or len(set(map(str, names))) != units:
        raise GraphError(f"node {name!r}: columns={value!r}; it must be {units} different name{'s' * (units > 1)}, one a unit")


def told_names(columns: Any) -> list[Hashable]:
    """What `columns=` on an input node says: a name, or a list of them."""
    return list(columns) if isinstance(columns, list | tuple | np.ndarray) else [columns]


def constants(spec: GraphSpec, i: int) -> tuple[Array, Array]:
    """(shift, scale) of node i, each (units,)."""
    extra, units = spec.node_extra[i], int(spec.units[i])
    found = []
    for key, default in (("shift", 0.0), ("scale", 1.0)):
        value = extra.get(key)
        where = f"node {spec.names[i]!r}: {key}"
        array = np.asarray(default) if value is None else _numbers(where, value)
        if array.shape not in ((), (units,)):
            raise WeightError(f"{where} has shape {array.shape}; the node has units={units}, so give a scalar or shape ({units},)")
        found.append(np.broadcast_to(array, (units,)))
    shift, scale = found
    if not (scale > 0).all():
        raise WeightError(f"node {spec.names[i]!r}: scale is {scale[~(scale > 0)][0]}; it must be above 0")
    return shift, scale


def _numbers(where: str, value: Any) -> Array:
    if np.ma.is_masked(value):
        raise WeightError(f"{where} is a masked array with masked entries; give every unit a number")
    array = foreign_array(value, where, WeightError)
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise WeightError(f"{where} is {shown(value)}; it must be a finite number, or one for each unit")
    return np.asarray(array, np.float64)


def scaling_of(spec: GraphSpec, inputs: tuple[Hashable, ...], outputs: tuple[Hashable, ...]) -> Scaling:
    """The scaling that a graph's attributes say, in the order of X's and Y's columns."""
    return Scaling(_affine(spec, inputs), _affine(spec, outputs))


def _affine(spec: GraphSpec, nodes: tuple[Hashable, ...]) -> Affine | None:
    if not any(spec.node_extra[spec.index[name]].get(key) is not None for name in nodes for key in ATTRIBUTES):
        return None
    parts = [constants(spec, spec.index[name]) for name in nodes]
    affine = Affine(*(np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True)))
    return affine if affine.columns else None


def check_error(scaling: Scaling, error: ErrorFunction, outputs: tuple[Hashable, ...]) -> None:
    """Outputs are scaled under an error of residuals only: a probability or a count has a scale of its own."""
    if scaling.outputs is not None and error.targets != "real":
        raise GraphError(
            f"an output ({', '.join(map(repr, outputs[:4]))}) has shift= or scale=, and error={error.name!r} takes "
            f"{_TARGETS[error.targets]}, which have a scale of their own: remove the attributes"
        )


_TARGETS = {"probability": "probabilities", "distribution": "classes", "nonnegative": "counts", "real": "numbers"}


# -- from data ---------------------------------------------------------------------------------------------------------------


def fitted(values: Array, weight: Array | None = None) -> Affine:
    """Mean and standard deviation of each column, weighted; a constant column is only centred.

    Columns are divided by their largest magnitude first, so that no square overflows or vanishes.

    >>> a = fitted(np.array([[1.0, 7.0], [3.0, 7.0]]))
    >>> a.shift, a.scale
    (array([2., 7.]), array([1., 1.]))
    """
    values = np.asarray(values, np.float64)
    if weight is not None and (counted := weight > 0).any():
        values, weight = values[counted], weight[counted] / weight[counted].max()
    largest = np.abs(values).max(axis=0)
    size = np.where(largest > 0, largest, 1.0)
    unit = values / size
    mean = np.average(unit, axis=0, weights=weight)
    deviation = np.sqrt(np.average((unit - mean) ** 2, axis=0, weights=weight))
    constant = (values == values[0]).all(axis=0) | ~(size * deviation > 0)
    return Affine(np.where(constant, values[0], size * mean), np.where(constant, 1.0, size * deviation))


def with_attributes(spec: GraphSpec, changed: Mapping[Hashable, Mapping[str, Any]]) -> GraphSpec:
    """The spec with other attributes on some nodes."""
    extra = list(spec.node_extra)
    for name, attributes in changed.items():
        extra[spec.index[name]] = {**extra[spec.index[name]], **attributes}
    return replace(spec, node_extra=tuple(extra))


def unscaled(spec: GraphSpec) -> GraphSpec:
    """The spec without any `shift` and `scale`."""
    kept = ({k: v for k, v in extra.items() if k not in ATTRIBUTES} if extra else extra for extra in spec.node_extra)
    return replace(spec, node_extra=tuple(kept))


def attributes_of(affine: Affine, spec: GraphSpec, nodes: tuple[Hashable, ...]) -> dict[Hashable, dict[str, Any]]:
    """`shift` and `scale` for each node: numbers for a unit, arrays for a layer."""
    found: dict[Hashable, dict[str, Any]] = {}
    at = 0
    for name in nodes:
        n = int(spec.units[spec.index[name]])
        part = [values[at : at + n] for values in (affine.shift, affine.scale)]
        found[name] = {key: float(values[0]) if n == 1 else values.copy() for key, values in zip(ATTRIBUTES, part, strict=True)}
        at += n
    return found
