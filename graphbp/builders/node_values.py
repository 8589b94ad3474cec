"""What `from_edges` gives each node: its bias, its activation, its role; from one value, an array, or a mapping."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import get_activation
from graphbp.builders.arguments import as_nodes, check_activations, is_listed, refuse_strangers
from graphbp.exceptions import DataError, GraphError, WeightError
from graphbp.foreign import host_array

__all__ = ["activations_of", "biases_of", "roles_of"]


def biases_of(
    bias: npt.ArrayLike | Mapping[Hashable, float] | None, labels: list[Any], fed: npt.NDArray[np.bool_]
) -> list[float | None]:
    """The bias of each node, or None; one number goes to every node with a source."""
    if bias is None:
        return [None] * len(labels)
    if isinstance(bias, Mapping):
        refuse_strangers("bias", bias, labels)
        return [_one_bias(label, bias[label]) if label in bias else None for label in labels]
    values = host_array(bias, "bias", WeightError)
    unfit = np.argwhere(~np.isfinite(values))
    if len(unfit):
        at = f"[{unfit[0][0]}]" if values.ndim else ""
        raise WeightError(f"bias{at} is {values[tuple(unfit[0])]}; biases must be finite")
    if values.ndim == 0:
        return [float(values) if f else None for f in fed.tolist()]
    if values.shape != (len(labels),):
        raise DataError(
            f"bias has shape {values.shape} and there are {len(labels):,} nodes; give one number, one for each node, or a mapping"
        )
    bad = np.flatnonzero(~fed & (values != 0))
    if len(bad):
        raise DataError(
            f"bias[{bad[0]}] is {values[bad[0]]} and nothing leads into node {labels[bad[0]]!r}: an input has no bias; for a "
            "constant unit give a mapping from node to bias, and name the inputs with inputs="
        )
    return [value if f else None for value, f in zip(values.tolist(), fed.tolist(), strict=True)]


def _one_bias(label: Hashable, value: Any) -> float:
    number = host_array(value, f"the bias of node {label!r}", WeightError)
    if number.ndim or not np.isfinite(number):
        raise WeightError(f"the bias of node {label!r} is {value!r}; it must be a finite number")
    return float(number)


def activations_of(
    activation: str | Sequence[str] | Mapping[Hashable, str],
    output_activation: str,
    labels: list[Any],
    fed: npt.NDArray[np.bool_],
    sink: npt.NDArray[np.bool_],
) -> list[str | None]:
    """The activation of each node, or None at those without a source."""
    check_activations([output_activation])
    default = activation if isinstance(activation, str) else "identity"
    usual = [(output_activation if s else default) if f else None for f, s in zip(fed.tolist(), sink.tolist(), strict=True)]
    if isinstance(activation, str):
        check_activations([activation])
        return usual
    if isinstance(activation, Mapping):
        refuse_strangers("activation", activation, labels)
        check_activations(list(activation.values()))
        return [activation.get(label, kind) for label, kind in zip(labels, usual, strict=True)]
    if not is_listed(activation):
        get_activation(activation)  # type: ignore[arg-type]  # which refuses what is no name
    if len(activation) != len(labels):
        raise DataError(
            f"activation has {len(activation):,} entries and there are {len(labels):,} nodes; give one name, one for each node, or "
            "a mapping"
        )
    check_activations(list(activation))
    return list(activation)


def roles_of(inputs: Iterable[Hashable] | None, outputs: Iterable[Hashable] | None, labels: list[Any]) -> dict[Hashable, str]:
    """The role of each node that is named as an input or an output."""
    roles: dict[Hashable, str] = {}
    for role, nodes in (("input", inputs), ("output", outputs)):
        if nodes is None:
            continue
        named = dict.fromkeys(as_nodes(f"{role}s", nodes), role)
        refuse_strangers(f"{role}s", named, labels)
        both = [node for node in named if node in roles]
        if both:
            raise GraphError(f"node {both[0]!r} is named in inputs= and in outputs=; it can be one of them")
        roles.update(named)
    return roles
