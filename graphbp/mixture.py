"""Many heads: each output its own error and weight, told by the output nodes.

    error={"price": "sum_of_squares", "kind": "cross_entropy"}, error_weights={"price": 0.2}
        ──`with_heads`──► `error=`, `error_weight=` on the output nodes ──`heads_of`──► an error for each of the K outputs, weights (K,)

    E = Σ_nk s_n w_k m_nk e_k(y_nk, t_nk)            m_nk: 0 where t_nk is missing, else 1

A softmax group (a layer node, or all unit nodes of a softmax) has one error and one weight, and its target is there or missing as a whole;
with every other output alone it is an *entry* of a sample.  Where all outputs have the same error it is that `ErrorFunction`; else a
`Mixture` stands in its place.
"""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.error_functions import ErrorFunction, Pairwise, get_error_function
from graphbp.exceptions import ConfigError, GraphError, listed, shown
from graphbp.scaling import with_attributes
from graphbp.spec import OUTPUT

if TYPE_CHECKING:
    from graphbp.schedule import Schedule
    from graphbp.spec import GraphSpec

__all__ = ["BY_OUTPUT", "AnyError", "Entry", "Heads", "Mixture", "by_output", "error_at", "heads_of", "with_heads"]

Array = npt.NDArray[Any]
_SHOWN = 8
BY_OUTPUT = "by output"
"""What a file's metadata call the error of a network whose output nodes say their own."""


@dataclass(frozen=True)
class Mixture:
    """An error for each of the K outputs, where they differ.

    each : (K,) rows of the error table.
    name : "price=sum_of_squares, kind=cross_entropy", for people.
    """

    each: tuple[ErrorFunction, ...]
    name: str

    targets = "mixed"
    canonical = None
    classes = False

    def of(self, positions: npt.NDArray[np.int64]) -> Mixture:
        """That of some of the outputs."""
        return Mixture(tuple(self.each[k] for k in positions.tolist()), self.name)


AnyError = ErrorFunction | Mixture


def error_at(error: AnyError, k: int) -> ErrorFunction:
    """The error of output k."""
    return error.each[k] if isinstance(error, Mixture) else error


def by_output(error: AnyError, which: str, y: Array, t: Array) -> Array:
    """`value`, `dy` or `d2y` of every entry, (N, K)."""
    if not isinstance(error, Mixture):
        function: Pairwise = getattr(error, which)
        return np.asarray(function(y, t))
    out = np.empty_like(y)
    for row in dict.fromkeys(error.each):
        here = [k for k, other in enumerate(error.each) if other == row]
        out[:, here] = getattr(row, which)(y[:, here], t[:, here])
    return out


@dataclass(frozen=True)
class Entry:
    """What is missing, and weighed, as a whole: an output, or the outputs of one softmax; and what people call it."""

    name: str
    node: Hashable
    positions: npt.NDArray[np.int64]
    error: ErrorFunction

    @property
    def grouped(self) -> bool:
        """A softmax group."""
        return len(self.positions) > 1


@dataclass(frozen=True)
class Heads:
    """What the output nodes say: the error, the weight of each output (None: all 1), and the schedule's outputs by node."""

    error: AnyError
    weight: npt.NDArray[np.float64] | None
    schedule: Schedule

    @property
    def plain(self) -> bool:
        """One error, no weights."""
        return not isinstance(self.error, Mixture) and self.weight is None

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The parts of a sample's target that are there or missing as a whole, in the order of Y's columns."""
        s, found, nodes = self.schedule, [], self.nodes
        group_of = {int(k): group for group in s.softmax_groups for k in group.tolist()}
        for k in range(s.n_outputs):
            group = group_of.get(k)
            if group is None:
                name = s.describe_row(int(s.output_rows[k]))
                found.append(Entry(name, nodes[k], np.array([k]), error_at(self.error, k)))
            elif int(group[0]) == k:
                several = "" if nodes[int(group[-1])] == nodes[k] else ", ..."
                found.append(Entry(f"{nodes[k]!r}{several}", nodes[k], group, error_at(self.error, k)))
        return tuple(found)

    @cached_property
    def nodes(self) -> list[Hashable]:
        """(K,) the node of each output."""
        return _node_of_output(self.schedule)

    @cached_property
    def named(self) -> dict[str, npt.NDArray[np.int64]]:
        """What a history lists: the outputs of each node, or of the softmax of several unit nodes, by name."""
        found = dict[Hashable, list[int]]()
        for entry in self.entries:
            found.setdefault(entry.node, []).extend(entry.positions.tolist())
        text = Counter(map(str, found))
        return {str(node) if text[str(node)] == 1 else repr(node): np.array(sorted(p)) for node, p in found.items()}

    @cached_property
    def share(self) -> npt.NDArray[np.float64]:
        """c (K,): Σ_nk c_k s_nk is the number of samples that the entries with a target make, weights of errors not counted."""
        weight = np.ones(self.schedule.n_outputs) if self.weight is None else self.weight
        counted = [entry for entry in self.entries if weight[entry.positions[0]] > 0]
        share = np.zeros(self.schedule.n_outputs)
        for entry in counted:
            k = int(entry.positions[0])
            share[k] = 1 / (weight[k] * len(counted))
        return share

    @property
    def digest(self) -> str:
        """All of it as a short text, to tell heads apart."""
        each = [error_at(self.error, k).name for k in range(self.schedule.n_outputs)]
        weight = [1.0] * len(each) if self.weight is None else self.weight.tolist()
        return f"{len(self.named)} heads, " + blake2b(repr((each, weight)).encode(), digest_size=8).hexdigest()

    def __str__(self) -> str:
        """The heads for people: one line for each node."""
        weight, named = self.weight, list(self.named.items())
        said = [
            f"{name}: {error_at(self.error, int(p[0])).name}"
            + (f" × {weight[int(p[0])]:g}" if weight is not None and weight[int(p[0])] != 1 else "")
            for name, p in named[:_SHOWN]
        ]
        return "; ".join(said) + (f"; ... ({len(named)} in all)" if len(named) > _SHOWN else "")


def _node_of_output(schedule: Schedule) -> list[Hashable]:
    """(K,) the node of each output."""
    return [schedule.names[schedule.node_of_row(int(row))[0]] for row in schedule.output_rows]


# -- into the graph ----------------------------------------------------------------------------------------------------------


def with_heads(spec: GraphSpec, error: Any, weights: Any) -> GraphSpec:
    """The spec whose output nodes say the errors and weights that were given as mappings; a single error takes theirs away.

    Raises
    ------
    GraphError : a name that is no output, a weight that is no number of 0 or more.
    """
    outputs = [spec.names[i] for i in np.flatnonzero(spec.role == OUTPUT).tolist()]
    changed: dict[Hashable, dict[str, Any]] = {}
    if isinstance(error, Mapping):
        if not error:
            raise GraphError("error={} names no output; leave it out for a sum of squares, or name an error for each output")
        for name, value in error.items():
            function = value if isinstance(value, ErrorFunction) else get_error_function(value)
            for node in _outputs(outputs, name, f"error={{{name!r}: ...}}"):
                changed[node] = {"error": function.name}
    elif error is not None and any("error" in spec.node_extra[spec.index[name]] for name in outputs):
        spec = _without_errors(spec, outputs)
    if weights is not None:
        if not isinstance(weights, Mapping):
            raise ConfigError(
                f"error_weights={shown(weights)}; it is a mapping from output node to a weight: {{{outputs[0]!r}: 0.2}}"
            )
        for name, value in weights.items():
            for node in _outputs(outputs, name, f"error_weights={{{name!r}: ...}}"):
                changed.setdefault(node, {})["error_weight"] = _weight(node, value)
        if not isinstance(error, Mapping):  # so that a file says them, or nothing
            usual = "sum_of_squares" if error is None else error.name
            for name in outputs:
                own = spec.node_extra[spec.index[name]].get("error")
                changed.setdefault(name, {}).setdefault("error", usual if own is None else own)
    return with_attributes(spec, changed) if changed else spec


def _without_errors(spec: GraphSpec, outputs: list[Hashable]) -> GraphSpec:
    from dataclasses import replace

    extra = list(spec.node_extra)
    for name in outputs:
        i = spec.index[name]
        extra[i] = {key: value for key, value in extra[i].items() if key != "error"}
    return replace(spec, node_extra=tuple(extra))


def _outputs(outputs: list[Hashable], name: Any, where: str) -> list[Hashable]:
    """The output called so, or those of a tuple: the unit nodes of one softmax."""
    if name in outputs:
        return [name]
    as_text = [node for node in outputs if str(node) == name]  # a shell, or a file, knows text alone
    if len(as_text) == 1:
        return as_text
    if isinstance(name, tuple) and name and all(node in outputs for node in name):
        return list(name)
    raise GraphError(f"{where} names no output; the outputs are {listed(list(map(repr, outputs)), 20)}")


def _weight(node: Hashable, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
        raise GraphError(f"output {node!r} has error_weight={shown(value)}; it must be a finite number, 0 or more")
    return float(value)


# -- out of the graph --------------------------------------------------------------------------------------------------------


def heads_of(spec: GraphSpec, schedule: Schedule, usual: ErrorFunction | None) -> Heads:
    """The errors and weights that the output nodes say; `usual` is the error of nodes that say none.

    Raises
    ------
    GraphError : an output without an error, two errors or weights for one softmax group, weights that are all 0.
    """
    names, index = _node_of_output(schedule), spec.index
    told = {name: spec.node_extra[index[name]] for name in dict.fromkeys(names)}
    if not any("error" in extra or "error_weight" in extra for extra in told.values()):
        return Heads(usual or get_error_function("sum_of_squares"), None, schedule)
    errors = {name: _error(name, extra["error"]) for name, extra in told.items() if extra.get("error") is not None}
    weights = {name: _weight(name, extra["error_weight"]) for name, extra in told.items() if extra.get("error_weight") is not None}
    for group in schedule.softmax_groups:
        members = list(dict.fromkeys(names[k] for k in group.tolist()))
        _spread(members, errors, "error", lambda row: row.name)
        _spread(members, weights, "error_weight", lambda value: f"{value:g}")
    if usual is None and errors:
        _refuse_silent(told, errors)
    usual = usual or get_error_function("sum_of_squares")
    each = tuple(errors.get(name, usual) for name in names)
    weight = np.array([weights.get(name, 1.0) for name in names])
    if not weight.any():
        raise GraphError("every output has error_weight=0, so that there is nothing to train; give one of them a weight above 0")
    return Heads(_mixture(each, names), None if (weight == 1).all() else weight, schedule)


def _error(name: Hashable, value: Any) -> ErrorFunction:
    if not isinstance(value, str):
        raise GraphError(f"output {name!r} has error={shown(value)}; it must be the name of an error function")
    return get_error_function(value)


def _spread(members: list[Hashable], told: dict[Hashable, Any], what: str, text: Any) -> None:
    """What some nodes of a softmax group say holds for all of them."""
    said = {name: told[name] for name in members if name in told}
    if not said:
        return
    first, value = next(iter(said.items()))
    for name, other in said.items():
        if other != value:
            raise GraphError(
                f"outputs {first!r} and {name!r} are one softmax and have {what} {text(value)} and {text(other)}; give the group one"
            )
    told.update(dict.fromkeys(members, value))


def _refuse_silent(told: Mapping[Hashable, Any], errors: Mapping[Hashable, ErrorFunction]) -> None:
    silent = [name for name in told if name not in errors]
    if silent:
        raise GraphError(
            f"no error for output {listed(list(map(repr, silent)))}, and other outputs have their own; name one for each"
        )


def _mixture(each: tuple[ErrorFunction, ...], names: list[Hashable]) -> AnyError:
    if all(row == each[0] for row in each):
        return each[0]
    by_node = dict(zip(names, each, strict=True))
    return Mixture(each, listed([f"{name}={row.name}" for name, row in by_node.items()]))
