"""The error of each head of a network, for histories: which of many outputs learns, and which does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from graphbp.heads import head_groups
from graphbp.training.part import Part, whole

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["head_errors", "mean_errors"]

CHUNK_VALUES = 1 << 22
"""Of an array of rows × samples."""


def head_errors(net: Network, theta: Any, part: Part) -> dict[str, float]:
    """Output node → Σ_n s_n e_n / Σ_n s_n over the targets that it has, without the weight of its error; NaN where it has none."""
    heads, schedule = net.model.heads, net.schedule.live
    groups = head_groups(schedule, heads.error)
    weight = np.ones(schedule.n_outputs) if heads.weight is None else heads.weight
    total, count = np.zeros(schedule.n_outputs), np.zeros(schedule.n_outputs)
    for start in range(0, len(part), max(1, CHUNK_VALUES // schedule.n_rows)):
        some = part.take(slice(start, start + max(1, CHUNK_VALUES // schedule.n_rows)))
        a, z = _outputs(net, theta, some, schedule.output_rows)
        t = np.asarray(net.model.backend.to_numpy(some.t), np.float64).T
        s = _weights(some, weight)
        for head in groups:
            p = head.positions
            with np.errstate(all="ignore"):
                for k, each in _values(head, a[p], z[p], t[p]):
                    total[k] += float(np.where(s[k] == 0, 0.0, s[k] * each).sum())
                    count[k] += float(s[k].sum())
    return {name: _mean(total[p], count[p]) for name, p in heads.named.items()}


def _outputs(net: Network, theta: Any, part: Part, rows: Any) -> tuple[Any, Any]:
    """a and y (K, n) of the outputs."""
    found = net.model.run.trace(theta, part.x, part.t, part.s)
    return tuple(np.asarray(net.model.backend.to_numpy(values), np.float64)[rows] for values in (found.a, found.z))


def _weights(part: Part, weight: Any) -> Any:
    """(K, n) the weights of the samples, 0 where a target is missing, without those of the errors."""
    given = part.weights
    if given is None:
        return np.ones((len(weight), len(part)))
    given = np.broadcast_to(given, (len(weight), len(part))) if given.ndim == 1 else given.T
    return np.divide(given, weight[:, None], out=np.zeros_like(given), where=weight[:, None] > 0)


def _values(head: Any, a: Any, y: Any, t: Any) -> list[tuple[int, Any]]:
    """(an output, its e (n,)) for each output, or one for a softmax."""
    if head.coupled:
        return [(int(head.positions[0]), head.value(a, y, t))]
    return [(int(k), head.each(a[i : i + 1], y[i : i + 1], t[i : i + 1])[0]) for i, k in enumerate(head.positions)]


def _mean(total: Any, count: Any) -> float:
    """Of a node's outputs that have targets, their errors added."""
    there = count > 0
    return float((total[there] / count[there]).sum()) if there.any() else math.nan


def mean_errors(net: Network, X: Any, T: Any, sample_weight: Any = None) -> tuple[float, dict[str, float]]:
    """(the mean error that training minimises, that of each head) of a batch."""
    part = whole(net, X, T, sample_weight, "X")
    return float(net.model.run.error(net.theta, part.x, part.t, part.s)) / part.total, head_errors(net, net.theta, part)
