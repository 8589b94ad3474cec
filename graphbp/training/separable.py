r"""Directions along which E falls for ever: then it has no minimum, and somebody must say so.

With a canonical head that is so along a direction d of the last layer's parameters if no margin of any sample shrinks along it and some
margin grows.  With Δ_k = a_nk(θ + d) − a_nk(θ), these must not be negative for E_n not to grow at infinity:

    softmax:        Δ_c − Δ_k for every k and every c with t_nc > 0
    sigmoid:        Δ_k where t_nk > 0,  −Δ_k where t_nk < 1
    exp (counts):   Δ_k where t_nk > 0,  −Δ_k everywhere

The logits are linear in those parameters, so this holds at every multiple of d.  Classes are then separable (Albert & Anderson 1984:
complete separation where θ itself is such a direction, quasi-complete where another is); of counts, some of the zeros can be had exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.aggregation import NAMES
from graphbp.heads import HeadGroup, head_groups
from graphbp.training.problem import Problem
from graphbp.training.sources import source_sizes

__all__ = ["Endless", "in_words", "separable"]

Vector = npt.NDArray[np.float64]

HARDLY = 1e-2
"""Of the largest effect of a component on the logits: first the direction is tried without those below."""
ROUNDING = 1e-6
"""A margin may shrink by this share of the largest change."""


def in_words(names: Sequence[str], direction: Vector, size: Vector) -> str:
    """The components with the largest effects: "1 × (x -> y) - 2.5 × (bias of y)"; `size` (W,) is the effect of a step of 1 in each."""
    effect = np.abs(direction * size)
    top = int(effect.argmax())
    order = [i for i in np.argsort(-effect, kind="stable")[:4] if effect[i] > ROUNDING * effect[top]]
    parts = [(direction[i] / abs(direction[top]), names[i]) for i in order]
    text = "".join(f" {'-' if share < 0 else '+'} {abs(share):.4g} × ({name})" for share, name in parts)
    more = int(np.count_nonzero(effect > ROUNDING * effect[top])) - len(order)
    return text.removeprefix(" + ").strip() + (f" and {more} more" if more else "")


@dataclass(frozen=True)
class Endless:
    """A direction in θ along which E falls for ever, and how to say so."""

    direction: Vector
    words: str


def separable(problem: Problem, to_backend: Callable[[Vector], Any], theta: Vector, directions: Sequence[Vector]) -> Endless | None:
    """The first of ±θ and ±`directions`, cut to the last layer, along which E falls for ever; None where none is seen to."""
    net = problem.net
    heads = head_groups(net.schedule, net.error_function)
    if not all(head.canonical and head.activation.name in _MARGINS for head in heads) or "trace" in net.model.run.composed:
        return None
    t, there = np.asarray(net.model.backend.to_numpy(problem.training.t)), _there(problem)
    counted = there.any(axis=1)
    here = _logits(problem, to_backend(theta))
    size = np.where(_last_layer(problem), source_sizes(problem, to_backend(theta)), 0.0)

    def change(d: Vector) -> Vector:
        return np.asarray((_logits(problem, to_backend(theta + d)) - here)[:, counted])

    for candidate in (theta, *directions):
        for d in _cleaned(candidate, np.abs(candidate * size)):
            if _grows(heads, once := change(d), t[counted].T, there[counted].T) and _linear(once, change(2 * d)):
                return Endless(d, _words(problem, heads, d, size))
    return None


def _cleaned(direction: Vector, effect: Vector) -> Iterator[Vector]:
    """± the direction without what it has hardly any effect by: a step of Newton's moves the other parameters a little, too."""
    before = np.zeros(0, bool)
    for share in (HARDLY, ROUNDING):
        kept = effect > share * effect.max(initial=0.0)
        if kept.any() and not np.array_equal(kept, before):
            yield np.where(kept, direction, 0.0)
            yield np.where(kept, -direction, 0.0)
        before = kept


def _linear(once: Vector, twice: Vector) -> bool:
    """The logits go on as they went."""
    return bool(np.abs(twice - 2 * once).max() <= ROUNDING * np.abs(once).max())


def _words(problem: Problem, heads: tuple[HeadGroup, ...], direction: Vector, size: Vector) -> str:
    counts = all(head.activation.name == "exp" for head in heads)
    why = "counts of 0 are reached at infinity only" if counts else "the classes are separable"
    along = in_words(problem.net.model.parameter_labels(), direction, size)
    return f"{why}, so E has no finite minimum; it falls for ever along {along}; l2 > 0 gives it one"


_MARGINS: dict[str, Callable[[Vector, Vector], tuple[Vector, ...]]] = {
    "softmax": lambda moved, t: (np.where(t > 0, moved, np.inf).min(axis=0) - moved,),
    "sigmoid": lambda moved, t: (np.where(t > 0, moved, 0.0), np.where(t < 1, -moved, 0.0)),
    "exp": lambda moved, t: (np.where(t > 0, moved, 0.0), -moved),
}
"""By activation of the head, of Δ and t, (K, N)."""


def _there(problem: Problem) -> npt.NDArray[np.bool_]:
    """(N, K): which targets count."""
    weights, shape = problem.training.weights, np.shape(problem.training.t)
    if weights is None:
        return np.ones(shape, bool)
    counts = np.asarray(problem.net.model.backend.to_numpy(weights)) > 0
    return np.broadcast_to(counts if counts.ndim == 2 else counts[:, None], shape)


def _grows(heads: tuple[HeadGroup, ...], change: Vector, t: Vector, there: npt.NDArray[np.bool_]) -> bool:
    """No margin shrinks and one grows; (K, N), of the targets that are there."""
    every = np.concatenate(
        [margin[there[h.positions]] for h in heads for margin in _MARGINS[h.activation.name](change[h.positions], t[h.positions])]
    )
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
