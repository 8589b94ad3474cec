r"""Classes that a network separates: then the cross-entropy has no minimum, and somebody must say so.

With a canonical head E falls along a direction d of the last layer's parameters for ever, if no sample's margin shrinks along it and
some margin grows:

    sigmoid:  (2 t_nk − 1) (a_nk(θ + d) − a_nk(θ)) ≥ 0;      softmax:  Δa_n,c − Δa_nk ≥ 0 for the right class c and every other k

The logits are linear in those parameters, so this holds at every multiple of d (Albert & Anderson 1984: complete separation where θ itself
is such a direction, quasi-complete where another is).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.aggregation import NAMES
from graphbp.heads import Head, output_heads
from graphbp.training.problem import Problem

__all__ = ["in_words", "separable"]

Vector = npt.NDArray[np.float64]

ROUNDING = 1e-6
"""A margin may shrink by this share of the largest change."""


def in_words(names: Sequence[str], direction: Vector) -> str:
    """The largest components: "1 × (x -> y) - 2.5 × (bias of y)"."""
    top = float(np.abs(direction).max())
    order = [i for i in np.argsort(-np.abs(direction), kind="stable")[:4] if abs(direction[i]) > 1e-6 * top]
    text = "".join(f" {'-' if direction[i] < 0 else '+'} {abs(direction[i]) / top:.4g} × ({names[i]})" for i in order)
    more = int(np.count_nonzero(np.abs(direction) > 1e-6 * top)) - len(order)
    return text.removeprefix(" + ").strip() + (f" and {more} more" if more else "")


def separable(problem: Problem, to_backend: Callable[[Vector], Any], theta: Vector, directions: Sequence[Vector]) -> str:
    """What to tell where E falls for ever along θ or one of `directions`; "" where it is not seen to."""
    net = problem.net
    heads = output_heads(net.schedule, net.error_function)
    t = np.asarray(net.model.backend.to_numpy(problem.training.t))
    classifies = net.error_function.name in ("binary_cross_entropy", "cross_entropy") and all(head.canonical for head in heads)
    if not classifies or not bool(((t == 0) | (t == 1)).all()) or "trace" in net.model.run.composed:
        return ""
    last = _last_layer(problem)
    counted = (
        np.ones(len(t), bool) if problem.training.s is None else np.asarray(net.model.backend.to_numpy(problem.training.s)) > 0
    )
    here = _logits(problem, to_backend(theta))
    for candidate in (theta, *directions):
        for d in (np.where(last, candidate, 0.0), np.where(last, -candidate, 0.0)):
            if d.any() and _grows(heads, (_logits(problem, to_backend(theta + d)) - here)[:, counted], t[counted].T):
                along = in_words(net.model.parameter_labels(), d)
                return (
                    f"the classes are separable, so E has no finite minimum; it falls for ever along {along}; l2 > 0 gives it one"
                )
    return ""


def _grows(heads: tuple[Head, ...], change: Vector, t: Vector) -> bool:
    """No margin shrinks and one grows; (K, N)."""
    margins = []
    for head in heads:
        moved, right = change[head.positions], t[head.positions]
        if head.coupled:
            margins.append(((moved * right).sum(axis=0) - moved)[right == 0])
        else:
            margins.append(((2 * right - 1) * moved).ravel())
    every = np.concatenate(margins)
    top = float(np.abs(every).max(initial=0.0))
    return bool(np.isfinite(every).all()) and top > 0 and bool((every >= -ROUNDING * top).all())


def _last_layer(problem: Problem) -> npt.NDArray[np.bool_]:
    """(W,): the parameters of the outputs' own weights and biases, those that nothing else shares."""
    net = problem.net
    spec, layout = net.model.spec, net.model.layout
    outputs = {spec.index[name] for name in net.outputs}
    inside, outside = np.zeros(net.n_parameters, bool), np.zeros(net.n_parameters, bool)

    def mark(start: int, count: int, node: int) -> None:
        owners = layout.entry_parameter[start : start + count]
        (inside if node in outputs else outside)[owners[owners >= 0]] = True

    for e, node in enumerate(spec.edge_dst.tolist()):
        mark(int(layout.edge_start[e]), int(layout.edge_count[e]), node)
    for node, bias in enumerate(spec.bias):
        if bias is not None:
            mark(int(layout.bias_start[node]), len(bias), node)
    feeding = any(node in outputs for node in spec.edge_src.tolist())
    if feeding or any(NAMES[spec.aggregation[node]] not in ("sum", "mean") for node in outputs):
        return np.zeros(net.n_parameters, bool)  # logits that do not stand alone, or are not linear in these parameters
    return inside & ~outside


def _logits(problem: Problem, theta: Any) -> Vector:
    """a (K, N) of the outputs, by parts of the samples."""
    net, part = problem.net, problem.training
    rows = net.schedule.live.output_rows  # a trace has the rows of what is compiled
    size = max(1, (1 << 22) // max(1, net.schedule.n_rows))
    parts = []
    for start in range(0, len(part), size):
        some = part.take(slice(start, start + size))
        parts.append(np.asarray(net.model.backend.to_numpy(net.model.run.trace(theta, some.x, some.t, some.s).a), np.float64)[rows])
    return np.concatenate(parts, axis=1)
