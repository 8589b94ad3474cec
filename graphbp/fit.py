"""Scaling and class names from data: `net.fit_scaling(X, T)`, and what `gb.train` does before its first epoch."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import classes as labels
from graphbp import data
from graphbp.exceptions import NotSupportedError
from graphbp.registry import get_backend
from graphbp.scaling import Affine, attributes_of, fitted, with_attributes

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["adopt", "fit_scaling"]

Array = npt.NDArray[Any]
WIDE = np.dtype(np.float64)


def fit_scaling(net: Network, X: Any, T: Any = None, sample_weight: Any = None) -> None:
    """See `Network.fit_scaling`."""
    before = net._spec
    try:
        adopt(net, X, T)
        scale_to(net, X, T, sample_weight)
    except Exception:
        net._set_meaning(before)
        raise


def adopt(net: Network, X: Any, T: Any) -> None:
    """Names that the data bring: of X's columns where they were taken by position, of the classes where T holds labels."""
    changed: dict[Hashable, dict[str, Any]] = {}
    _, names = net._meaning.read_inputs(X, told=True)
    if names is not None:
        at = 0
        for node in net.inputs:
            n = int(net._spec.units[net._spec.index[node]])
            part = [name if isinstance(name, str | int | float) else str(name) for name in names[at : at + n]]
            changed[node] = {"columns": part[0] if n == 1 else part}
            at += n
    net._read(X)  # says once that they are taken by position
    if T is not None and (found := net._meaning.new_classes(T)) is not None:
        for node, attributes in labels.attributes_for(found, net._spec, net.outputs).items():
            changed.setdefault(node, {}).update(attributes)
    if changed:
        net._set_meaning(with_attributes(net._spec, changed))


def scale_to(net: Network, X: Any, T: Any, sample_weight: Any, rows: npt.NDArray[np.int64] | None = None) -> None:
    """Shift and scale from the given rows (default: all) of X and T."""
    host = get_backend("numpy")
    x = data.as_inputs(net._read(X), net.schedule, host, WIDE)
    s = data.as_sample_weight(sample_weight, len(x), host, WIDE)
    rows = np.arange(len(x)) if rows is None else rows
    weight = None if s is None else s[rows]
    changed = attributes_of(fitted(x[rows], weight), net._spec, net.inputs)
    if T is not None and net.error_function.targets == "real":
        t = data.as_targets(net._meaning.read_targets(T), len(x), net.schedule, net.error_function, host, WIDE)
        affine = _only_identities(net, fitted(t[rows], weight))
        for node, attributes in attributes_of(affine, net._spec, net.outputs).items():
            n = slice(None) if np.ndim(attributes["scale"]) else 0
            if np.any(np.atleast_1d(attributes["scale"])[n] != 1) or np.any(np.atleast_1d(attributes["shift"])[n] != 0):
                changed[node] = attributes
    net._set_meaning(with_attributes(net._spec, changed))


def _only_identities(net: Network, affine: Affine) -> Affine:
    """The targets' scaling for outputs that are identities; other activations give values on a scale of their own."""
    s = net.schedule
    identity = np.array([s.activations[k].name == "identity" for k in s.row_activation[s.output_rows]])
    feeding = {net._spec.names[i] for i in np.unique(net._spec.edge_src).tolist()} & set(net.outputs)
    if feeding and identity.any():
        raise NotSupportedError(
            f"output {min(feeding, key=str)!r} feeds other units, so its targets cannot be scaled; net.fit_scaling(X) scales the inputs alone"
        )
    return Affine(np.where(identity, affine.shift, 0.0), np.where(identity, affine.scale, 1.0))
