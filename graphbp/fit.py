"""Scaling and class names from data: `net.fit_scaling(X, T)`, and what `gb.train` does before its first epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import batches, data
from graphbp import classes as labels
from graphbp.exceptions import DataError, DataWarning, NotSupportedError, callers_level
from graphbp.mixture import error_at
from graphbp.registry import get_backend
from graphbp.scaling import Affine, attributes_of, fitted, with_attributes
from graphbp.tables import refuse_other_order, table_of

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["adopt", "adopt_metadata", "fit_scaling", "scale_to", "undone_on_error", "warn_of_raw_columns"]

Array = npt.NDArray[Any]
WIDE = np.dtype(np.float64)


def fit_scaling(net: Network, X: Any, T: Any = None, sample_weight: Any = None) -> None:
    """See `Network.fit_scaling`."""
    with undone_on_error(net):
        adopt(net, X, T)
        scale_to(net, X, T, sample_weight)


@contextmanager
def undone_on_error(net: Network) -> Iterator[None]:
    """What the nodes say about X and Y, and what becomes of gaps, stays as it was where the data are refused after all."""
    before, missing = net.model.spec, net.missing
    try:
        yield
    except Exception:
        net.model = net.model.skipping(missing).saying(before)
        raise


def adopt(net: Network, X: Any, T: Any) -> None:
    """Names that the data bring: X's columns where they were taken by position, T's columns, the classes where T holds labels."""
    changed: dict[Hashable, dict[str, Any]] = {}
    refuse_other_order(X, {"T": T})
    _, names, _ = net.model.meaning.read_inputs(X, told=None)
    if names is not None:
        at = 0
        for node in net.inputs:
            n = int(net.model.spec.units[net.model.spec.index[node]])
            part = [_plain(name) for name in names[at : at + n]]
            changed[node] = {"columns": part[0] if n == 1 else part}
            at += n
    net.model.read(X)  # says once that they are taken by position
    if net.model.meaning.told_apart:
        _adopt_by_head(net, T, changed)
        return
    table = None if T is None else table_of(T, "T")
    if table is not None and table.names is not None:
        place = None if table.n_columns == 1 else net.model.meaning.target_places(table)
        listed = table.names if place is None else [table.names[i] for i in place]
        changed[net.outputs[0]] = {"target": [_plain(name) for name in listed]}
    if T is not None and (found := net.model.meaning.new_classes(T)) is not None:
        for node, attributes in labels.attributes_for(found, net.model.spec, net.outputs).items():
            changed.setdefault(node, {}).update(attributes)
    if changed:
        net.model = net.model.saying(with_attributes(net.model.spec, changed))


def _adopt_by_head(net: Network, T: Any, changed: dict[Hashable, dict[str, Any]]) -> None:
    """The same of targets that are read head by head: the classes of output nodes."""
    for node, names in net.model.meaning.by_head.new_classes(T).items() if T is not None else ():
        changed.setdefault(node, {})["classes"] = names
    if changed:
        net.model = net.model.saying(with_attributes(net.model.spec, changed))


def _plain(name: Hashable) -> str | int | float:
    """A column's name as a file can carry it."""
    return name if isinstance(name, str | int | float) else str(name)


def scale_to(net: Network, X: Any, T: Any, sample_weight: Any, rows: npt.NDArray[np.int64] | None = None) -> None:
    """Shift and scale from the given rows (default: all) of X and T."""
    host = get_backend("numpy")
    x = data.as_inputs(net.model.read(X), net.schedule, host, WIDE)
    rows = np.arange(len(x)) if rows is None else rows
    if net.model.weighs_outputs(sample_weight):
        changed = _scaled_by_head(net, x, T, sample_weight, rows)
        net.model = net.model.saying(with_attributes(net.model.spec, changed))
        return
    s = data.as_sample_weight(sample_weight, len(x), host, WIDE)
    weight = None if s is None else s[rows]
    changed = attributes_of(fitted(x[rows], weight), net.model.spec, net.inputs)
    if T is not None and net.error_function.targets == "real":
        t = data.as_targets(net.model.meaning.read_targets(T), len(x), net.schedule, net.error_function, host, WIDE)
        affine = _only_identities(net, fitted(t[rows], weight))
        nodes = {n: net.model.spec.node_extra[net.model.spec.index[n]] for n in net.outputs}
        told = attributes_of(affine, net.model.spec, net.outputs)
        changed |= {n: a for n, a in told.items() if np.any(a["shift"] != 0) or np.any(a["scale"] != 1) or "scale" in nodes[n]}
    net.model = net.model.saying(with_attributes(net.model.spec, changed))


def _scaled_by_head(net: Network, x: Array, T: Any, sample_weight: Any, rows: Array) -> dict[Hashable, dict[str, Any]]:
    """The same where outputs differ or lack targets: of each column of T that has real numbers, mean and deviation of those that are there.

    X's columns are weighed by what each sample adds to the entries with a target, where weights of outputs were given.
    """
    heads = net.model.heads
    weight = batches.entry_weights(sample_weight, len(x), heads)
    by_row = None if weight is None else weight[rows] @ replace(heads, weight=None).share
    changed = attributes_of(fitted(x[rows], by_row), net.model.spec, net.inputs)
    if T is None:
        return changed
    t, _, there = net.model.targets(T, sample_weight, len(x))
    shift, scale = np.zeros(t.shape[1]), np.ones(t.shape[1])
    for k in range(t.shape[1]):
        some = rows[there[rows, k]]
        if error_at(heads.error, k).targets == "real" and len(some):
            own = fitted(t[some, k : k + 1], None if weight is None else weight[some, k])
            shift[k], scale[k] = own.shift[0], own.scale[0]
    real = np.array([error_at(heads.error, k).targets == "real" for k in range(t.shape[1])])
    if real.any():
        told = attributes_of(_only_identities(net, Affine(shift, scale), real), net.model.spec, net.outputs)
        nodes = {n: net.model.spec.node_extra[net.model.spec.index[n]] for n in net.outputs}
        changed |= {n: a for n, a in told.items() if np.any(a["shift"] != 0) or np.any(a["scale"] != 1) or "scale" in nodes[n]}
    return changed


def _only_identities(net: Network, affine: Affine, real: npt.NDArray[np.bool_] | None = None) -> Affine:
    """The targets' scaling for outputs that are identities; other activations give values on a scale of their own."""
    s, spec = net.schedule, net.model.spec
    feeding = set(spec.edge_src.tolist())
    skipped = set() if real is None else {net.model.heads.nodes[k] for k in np.flatnonzero(~real)}
    for node in net.outputs:
        i = spec.index[node]
        if node not in skipped and i in feeding and spec.activations[spec.activation[i]].name == "identity":
            raise NotSupportedError(
                f"output {node!r} feeds other units, so its targets cannot be scaled; net.fit_scaling(X) scales the inputs alone"
            )
    identity = np.array([s.activations[k].name == "identity" for k in s.row_activation[s.output_rows]])
    scaling = Affine(np.where(identity, affine.shift, 0.0), np.where(identity, affine.scale, 1.0))
    _refuse_unheld(net, scaling)
    return scaling


def _refuse_unheld(net: Network, scaling: Affine) -> None:
    """Refuse targets whose size the network's dtype cannot hold: it would train on their scaled numbers, and answer inf or 0."""
    limits = np.finfo(net.dtype)
    unheld = (scaling.scale > limits.max) | (scaling.scale < limits.tiny) | (np.abs(scaling.shift) > limits.max)
    if unheld.any():
        k = int(np.argmax(unheld))
        raise DataError(
            f"T: the column of {net.schedule.describe_row(int(net.schedule.output_rows[k]))} has mean {scaling.shift[k]:.3g} and deviation "
            f"{scaling.scale[k]:.3g}, which {net.dtype} cannot hold; give T in other units, or the network dtype='float64'"
        )


def adopt_metadata(net: Network, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Scaling and classes where files of the first versions have them, in `standardize` and `classes` of the metadata; the rest of it."""
    kept = dict(metadata)
    told, names = kept.get("standardize"), kept.get("classes")
    changed: dict[Hashable, dict[str, Any]] = {}
    if not net.model.meaning.scaling and isinstance(told, dict) and told.keys() == {"mean", "deviation"}:
        mean, deviation = (np.asarray(told[key], np.float64) for key in ("mean", "deviation"))
        if mean.shape == deviation.shape == (net.schedule.n_inputs,):
            changed.update(attributes_of(Affine(mean, deviation), net.model.spec, net.inputs))
            del kept["standardize"]
    k = net.schedule.n_outputs
    if net.classes is None and net.error_function.targets == "distribution" and isinstance(names, list) and 0 < len(names) <= k:
        whole = [*names, *(f"class {i}" for i in range(len(names), k))]  # outputs that no label of the training data had
        for node, attributes in labels.attributes_for(whole, net.model.spec, net.outputs).items():
            changed.setdefault(node, {}).update(attributes)
        del kept["classes"]
    if changed:
        net.model = net.model.saying(with_attributes(net.model.spec, changed))
    return kept


ORDERS = 2.0
"""Columns that differ by so many orders of magnitude, or stand so many above 1, keep steps of one size from learning."""


def warn_of_raw_columns(net: Network, x: Any, t: Any, optimizer: str) -> None:
    """One line where the columns of X, or the targets of a regression, have sizes with which gradient descent gets nowhere."""
    said = [_apart(net.model.backend.to_numpy(x), [str(names[0]) for names in net.model.meaning.input_columns], "X")]
    real = [k for k in range(net.schedule.n_outputs) if error_at(net.error_function, k).targets == "real"]
    if real:
        names = [str(names[0]) for names in net.model.meaning.output_columns]
        said.append(_apart(net.model.backend.to_numpy(t)[:, real], [names[k] for k in real], "T"))
    said = [text for text in said if text]
    if said:
        warnings.warn(
            f"{'; '.join(said)}: {optimizer} will hardly train on numbers of such sizes; standardize=True scales them (on the command "
            "line, --standardize), and the network keeps the scale",
            DataWarning,
            stacklevel=callers_level(),
        )


def _apart(values: Array, names: list[str], what: str) -> str:
    largest = np.abs(values).max(axis=0)
    used = np.flatnonzero((largest > 0) & (values != values[0]).any(axis=0))
    if not len(used):
        return ""
    low, high = (int(used[pick(largest[used])]) for pick in (np.argmin, np.argmax))
    orders = math.log10(float(largest[high]) / float(largest[low]))
    if orders >= ORDERS:
        return (
            f"columns of {what} differ by {orders:.0f} orders of magnitude ({names[high]!r} reaches {largest[high]:.3g}, {names[low]!r} "
            f"{largest[low]:.3g})"
        )
    if abs(math.log10(float(largest[high]))) >= ORDERS:
        return f"column {names[high]!r} of {what} reaches {largest[high]:.3g}"
    return ""
