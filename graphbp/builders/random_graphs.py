"""`random_dag`: units in a line, each of which draws its sources among the units before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.aggregation import NAMES, aggregation_number
from graphbp.builders.arguments import as_size, check_activations, check_room, is_listed, outputs_kind
from graphbp.builders.edge_lists import add_edges
from graphbp.builders.initial import Init, deviation
from graphbp.exceptions import GraphError, one_of
from graphbp.foreign import as_flag, as_number, generator

__all__ = ["random_dag"]

Indices = npt.NDArray[np.int64]


def random_dag(
    n_inputs: int,
    n_hidden: int,
    n_outputs: int,
    *,
    model: Literal["erdos_renyi", "small_world", "scale_free"] = "erdos_renyi",
    fan_in: int | None = None,
    density: float | None = None,
    window: int | None = None,
    rewire: float = 0.1,
    activation: str | Sequence[str] = "tanh",
    aggregation: str | Sequence[str] = "sum",
    output_activation: str | None = None,
    error: str | None = None,
    bias: bool = True,
    seed: int = 0,
    init: Init = "glorot",
) -> nx.DiGraph:
    """A random feed-forward DAG: units in a line, each fed by units before it; inputs x1, ..., hidden h1, ..., outputs y1, ....

    Every hidden and output unit is reached from an input, and every input and hidden unit reaches an output: a unit that would
    have no source gets one, and one that would feed nothing gets a random target.  Outputs feed nothing.

    Parameters
    ----------
    n_inputs, n_hidden, n_outputs : D, hidden units (0 is allowed), K.
    model : how a unit j draws its sources among the candidates before it.

        * "erdos_renyi": uniformly; `fan_in` different ones, or with `density` = p each candidate with probability p.
        * "small_world": the `fan_in` nearest ones, each replaced with probability `rewire` by a uniform one (after Watts and
          Strogatz, 1998).
        * "scale_free": `fan_in` different ones, with probability in proportion to 1 + the number of units they feed already (after
          Price, 1976, and Barabási and Albert, 1999): few hubs, many leaves.
    fan_in : sources of each unit, as far as there are candidates; 8 unless `density` is given.
    density : only for "erdos_renyi", instead of `fan_in`; 0 < density ≤ 1.
    window : a unit's candidates are the last `window` inputs and hidden units before it (all, if None): a deep, narrow network.
        An input that no window reaches feeds one of the first `window` units.
    activation, aggregation : of the hidden units: one for all, or several that are drawn from uniformly.
    output_activation, error, bias, seed, init : as in `layered`.

    Raises
    ------
    GraphError : counts, fan_in, window, density or rewire out of range; a combination that means nothing.
    MemoryLimitError : more edges than memory takes.
    UnknownNameError : an unknown model, activation, aggregation or init.

    Examples
    --------
    >>> g = random_dag(4, 20, 2, fan_in=3, seed=1)
    >>> g.number_of_nodes(), nx.is_directed_acyclic_graph(g)
    (26, True)
    >>> [name for name in g if not g.pred[name]]
    ['x1', 'x2', 'x3', 'x4']
    """
    D, H, K = as_size("n_inputs", n_inputs, 1), as_size("n_hidden", n_hidden, 0), as_size("n_outputs", n_outputs, 1)
    one_of("model", model, _MODELS)
    if density is not None:
        if model != "erdos_renyi" or fan_in is not None:
            raise GraphError("density= goes with model='erdos_renyi' and takes the place of fan_in=; give one of the two")
        density = as_number("density", density, above=0, most=1, error=GraphError)
    rewire = as_number("rewire", rewire, least=0, most=1, error=GraphError)
    bias = as_flag("bias", bias)
    k = as_size("fan_in", 8 if fan_in is None else fan_in, 1)
    w = D + H if window is None else as_size("window", window, 1)
    kinds = check_activations(list(activation) if is_listed(activation) else [activation])
    if not kinds:
        raise GraphError("activation=[]; give at least one activation")
    ways = [
        NAMES[aggregation_number("of gb.random_dag", way)] for way in (aggregation if is_listed(aggregation) else [aggregation])
    ]
    if not ways:
        raise GraphError("aggregation=[]; give at least one aggregation")
    output_kind = outputs_kind(output_activation, error)
    check_activations([output_kind])

    rng = generator(seed)
    each = k if density is None else density * min(w, D + H) / 2
    check_room("gb.random_dag", D + H + K, int((H + K) * min(each, D + H)), True)
    units = np.arange(D, D + H + K)
    stop = np.minimum(units, D + H)  # an output's candidates end where the outputs begin
    start = np.maximum(stop - w, 0)
    wanted = rng.binomial(stop - start, density) if density is not None else np.full(len(units), k)
    wanted = np.clip(wanted, 1, stop - start)
    sources = _MODELS[model](rng, start, stop, wanted, rewire)
    src, dst = np.concatenate(sources), np.repeat(units, [len(s) for s in sources])
    src, dst = _feed_someone(rng, src, dst, D, H, K, w)

    order = np.lexsort((src, dst))
    src, dst = src[order], dst[order]
    in_degree, out_degree = np.bincount(dst, minlength=D + H + K), np.bincount(src, minlength=D + H + K)
    weight = rng.standard_normal(len(src)) * deviation(init, in_degree[dst], out_degree[src])
    names = [f"x{i}" for i in range(1, D + 1)] + [f"h{i}" for i in range(1, H + 1)] + [f"y{i}" for i in range(1, K + 1)]
    hidden = [kinds[i] for i in rng.integers(len(kinds), size=H).tolist()]
    extra = {"bias": 0.0} if bias else {}
    g = nx.DiGraph()
    g.add_nodes_from(names[:D], role="input")
    g.add_nodes_from((name, {"activation": kind, **extra}) for name, kind in zip(names[D : D + H], hidden, strict=True))
    if set(ways) != {"sum"}:
        for name, way in zip(names[D : D + H], rng.integers(len(ways), size=H).tolist(), strict=True):
            g.nodes[name]["aggregation"] = ways[way]
    g.add_nodes_from(names[D + H :], activation=output_kind, role="output", **extra)
    add_edges(g, [names[i] for i in src.tolist()], [names[j] for j in dst.tolist()], weight)
    return g


def _uniform(rng: np.random.Generator, start: Indices, stop: Indices, wanted: Indices, rewire: float) -> list[Indices]:
    return [
        lo + rng.choice(hi - lo, k, replace=False, shuffle=False)
        for lo, hi, k in zip(start.tolist(), stop.tolist(), wanted.tolist(), strict=True)
    ]


def _small_world(rng: np.random.Generator, start: Indices, stop: Indices, wanted: Indices, rewire: float) -> list[Indices]:
    """The nearest k; those that are rewired go to different candidates among the others, so that k stays k."""
    found = []
    for lo, hi, k in zip(start.tolist(), stop.tolist(), wanted.tolist(), strict=True):
        near = np.arange(hi - k, hi)
        moved = np.flatnonzero(rng.random(k) < rewire)[: hi - k - lo]
        if len(moved):
            near[moved] = lo + rng.choice(hi - k - lo, len(moved), replace=False, shuffle=False)
        found.append(near)
    return found


def _scale_free(rng: np.random.Generator, start: Indices, stop: Indices, wanted: Indices, rewire: float) -> list[Indices]:
    """Price's urn: it holds every node once, plus once for each unit it feeds; what a window rules out is drawn again."""
    urn = np.empty(int(stop.max()) + int(wanted.sum()), np.int64)
    share = np.ones(int(stop.max()))  # 1 + the number of units that each node feeds
    filled = known = 0
    found = []
    for lo, hi, k in zip(start.tolist(), stop.tolist(), wanted.tolist(), strict=True):
        urn[filled : filled + hi - known] = np.arange(known, hi)
        filled, known = filled + hi - known, hi
        sources = _from_urn(rng, urn[:filled], lo, k) if (hi - lo) > _SMALL_WINDOW else None
        if sources is None:  # the k smallest of exponential variables with these rates: the same distribution, O(hi − lo)
            sources = lo + np.argsort(rng.standard_exponential(hi - lo) / share[lo:hi], kind="stable")[:k]
        found.append(sources)
        share[sources] += 1
        urn[filled : filled + k] = sources
        filled += k
    return found


_SMALL_WINDOW = 1024  # candidates up to which drawing from all of them beats drawing from the urn until enough are new


def _from_urn(rng: np.random.Generator, urn: Indices, lo: int, k: int) -> Indices | None:
    """Draw k different nodes from `lo` on, or None where the urn rarely has one."""
    chosen: dict[int, None] = {}
    for _ in range(8):
        for i in urn[rng.integers(len(urn), size=2 * k)].tolist():
            if i >= lo and len(chosen) < k:
                chosen[i] = None
        if len(chosen) == k:
            return np.fromiter(chosen, np.int64, k)
    return None


_MODELS: dict[str, Callable[[np.random.Generator, Indices, Indices, Indices, float], list[Indices]]] = {
    "erdos_renyi": _uniform,
    "small_world": _small_world,
    "scale_free": _scale_free,
}


def _feed_someone(
    rng: np.random.Generator, src: Indices, dst: Indices, D: int, H: int, K: int, window: int
) -> tuple[Indices, Indices]:
    """Give each input and hidden unit that feeds nothing one target, at random among those whose window it lies in."""
    idle = np.flatnonzero(np.bincount(src, minlength=D + H + K)[: D + H] == 0)
    first = np.maximum(idle + 1, D)
    last = np.where(idle + window >= D + H, D + H + K, idle + window + 1) - 1  # the outputs share one window, the last one
    out_of_reach = last < first  # inputs only
    last = np.where(out_of_reach, min(D + window, D + H + K) - 1, last)
    return np.concatenate([src, idle]), np.concatenate([dst, rng.integers(first, last + 1)])
