"""Graphs to start from: plain `networkx.DiGraph`s with the attributes of a network and seeded initial weights.

    layered([64, 32, 10], skips=True)        layers, each fed by the one before, or by all before
    random_dag(8, 100, 3, fan_in=6)          an irregular network: every unit draws its sources among the units before it
    from_edges(src, dst, weight)             arrays of node numbers (or labels) and weights
    from_adjacency(A)                        A[i, j] ≠ 0 is the weight of the edge i → j

What comes back is the user's: change it, add to it, give it to `gb.Network`.  The same seed gives the same graph on every machine
(NumPy's PCG64).  Initial weights w_ji are normal with mean 0 and a standard deviation that the fan-in and fan-out of the edge set,
over all sources of the unit j and all targets of the unit i, skips included:

    "glorot"  √(2 / (fan_in + fan_out))     "he"  √(2 / fan_in)     "lecun"  √(1 / fan_in)     a number: itself

Biases start at 0.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.activations import get_activation
from graphbp.exceptions import DataError, GraphError, WeightError, unknown_name

__all__ = ["from_adjacency", "from_edges", "layered", "random_dag"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Init = str | float

_INIT: dict[str, Callable[[Any, Any], Any]] = {
    "glorot": lambda fan_in, fan_out: np.sqrt(2.0 / (fan_in + fan_out)),
    "he": lambda fan_in, fan_out: np.sqrt(2.0 / fan_in),
    "lecun": lambda fan_in, fan_out: np.sqrt(1.0 / fan_in),
}


def _deviation(init: Init, fan_in: Any, fan_out: Any) -> Any:
    """The standard deviation of an initial weight."""
    if isinstance(init, str):
        if init not in _INIT:
            raise unknown_name("init", init, _INIT, "A number is the standard deviation itself.")
        return _INIT[init](fan_in, fan_out)
    if isinstance(init, bool) or not isinstance(init, numbers.Real) or not 0 <= float(init) < np.inf:
        raise DataError(f"init={init!r}; it must be one of {', '.join(_INIT)}, or a standard deviation ≥ 0")
    return float(init) + 0.0 * (fan_in + fan_out)


def _count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise GraphError(f"{name}={value!r}; it must be a whole number of at least {least}")
    return int(value)


def layered(
    sizes: Sequence[int],
    *,
    activation: str = "tanh",
    output_activation: str = "identity",
    skips: bool = False,
    units: Literal["layers", "units"] = "layers",
    bias: bool = True,
    seed: int = 0,
    init: Init = "glorot",
) -> nx.DiGraph:
    """z_l = h(W_l z_{l−1} + b_l) for each layer l; with skips, z_l = h(Σ_{m<l} W_lm z_m + b_l).

    Parameters
    ----------
    sizes : units in each layer, inputs first, outputs last; two or more.
    activation, output_activation : of the hidden layers, and of the last one.
    skips : every layer feeds all later ones, the inputs feed the outputs too.
    units : "layers" gives one node a layer ("x", "h1", "h2", ..., "y") with matrices on the edges; "units" one node a unit
        ("x1", ..., "h1.1", ..., "y1", ...) with scalars.  Both carry the same numbers for the same seed.
    bias : give every hidden and output unit a bias, 0 to start with.
    seed, init : see the module.

    Raises
    ------
    GraphError : fewer than two sizes, a size that is not a whole number of at least 1, an unknown `units`.
    UnknownNameError : an unknown activation or init.

    Examples
    --------
    >>> g = layered([3, 4, 2], skips=True)
    >>> [(u, v, w.shape) for u, v, w in g.edges(data="weight")]
    [('x', 'h1', (4, 3)), ('x', 'y', (2, 3)), ('h1', 'y', (2, 4))]
    >>> layered([3, 4, 2], units="units").number_of_edges()
    20
    """
    if isinstance(sizes, (str, bytes, Mapping)) or not isinstance(sizes, Iterable):
        raise GraphError(f"sizes={sizes!r}; give the units of each layer, inputs first: layered([64, 32, 10])")
    counts = [_count(f"sizes[{k}]", n, 1) for k, n in enumerate(sizes)]
    if len(counts) < 2:
        raise GraphError(f"sizes={list(sizes)!r}; at least an input and an output layer are needed: layered([64, 32, 10])")
    if units not in ("layers", "units"):
        raise GraphError(f"units={units!r}; it must be 'layers' (a node a layer) or 'units' (a node a unit)")
    rng = np.random.default_rng(seed)
    last = len(counts) - 1
    sources = [list(range(layer) if skips else range(max(layer - 1, 0), layer)) for layer in range(last + 1)]
    fan_in = [sum(counts[m] for m in below) for below in sources]
    fan_out = [sum(counts[m] for m in range(last + 1) if layer in sources[m]) for layer in range(last + 1)]
    names = ["x", *(f"h{layer}" for layer in range(1, last)), "y"]
    kinds = _check_names([activation] * (last - 1) + [output_activation])
    members = [[f"{name}{'.' if 0 < k < last else ''}{i}" for i in range(1, n + 1)] for k, (name, n) in enumerate(zip(names, counts, strict=True))]

    g = nx.DiGraph()
    for layer, (name, n) in enumerate(zip(names, counts, strict=True)):
        attributes: dict[str, Any] = {} if layer == 0 else {"activation": kinds[layer - 1]}
        if units == "layers":
            g.add_node(name, units=n, **attributes, **({"bias": np.zeros(n)} if bias and layer else {}))
        else:
            g.add_nodes_from(members[layer], **attributes, **({"bias": 0.0} if bias and layer else {}))
    for layer in range(1, last + 1):
        for m in sources[layer]:
            w = rng.standard_normal((counts[layer], counts[m])) * _deviation(init, fan_in[layer], fan_out[m])
            if units == "layers":
                g.add_edge(names[m], names[layer], weight=w)
            else:
                for v, row in zip(members[layer], w.tolist(), strict=True):
                    g.add_weighted_edges_from((u, v, value) for u, value in zip(members[m], row, strict=True))
    return g


def _check_names(kinds: list[str]) -> list[str]:
    for kind in dict.fromkeys(kinds):
        get_activation(kind)
    return kinds


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
    output_activation: str = "identity",
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
    activation : of the hidden units: one for all, or several that are drawn from uniformly.
    output_activation, bias, seed, init : as in `layered`.

    Raises
    ------
    GraphError : counts, fan_in, window, density or rewire out of range; a combination that means nothing.
    UnknownNameError : an unknown model, activation or init.

    Examples
    --------
    >>> g = random_dag(4, 20, 2, fan_in=3, seed=1)
    >>> g.number_of_nodes(), nx.is_directed_acyclic_graph(g)
    (26, True)
    >>> [name for name in g if not g.pred[name]]
    ['x1', 'x2', 'x3', 'x4']
    """
    D, H, K = _count("n_inputs", n_inputs, 1), _count("n_hidden", n_hidden, 0), _count("n_outputs", n_outputs, 1)
    if model not in _MODELS:
        raise unknown_name("model", model, _MODELS)
    if density is not None:
        if model != "erdos_renyi" or fan_in is not None:
            raise GraphError("density= goes with model='erdos_renyi' and takes the place of fan_in=; give one of the two")
        if not 0 < density <= 1:
            raise GraphError(f"density={density!r}; it must be above 0 and at most 1")
    if not 0 <= rewire <= 1:
        raise GraphError(f"rewire={rewire!r}; it is a probability, from 0 to 1")
    k = _count("fan_in", 8 if fan_in is None else fan_in, 1)
    w = D + H if window is None else _count("window", window, 1)
    kinds = _check_names([activation] if isinstance(activation, str) else list(activation))
    if not kinds:
        raise GraphError("activation=[]; give at least one activation")
    _check_names([output_activation])

    rng = np.random.default_rng(seed)
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
    weight = rng.standard_normal(len(src)) * _deviation(init, in_degree[dst], out_degree[src])
    names = [f"x{i}" for i in range(1, D + 1)] + [f"h{i}" for i in range(1, H + 1)] + [f"y{i}" for i in range(1, K + 1)]
    hidden = [kinds[i] for i in rng.integers(len(kinds), size=H).tolist()]
    extra = {"bias": 0.0} if bias else {}
    g = nx.DiGraph()
    g.add_nodes_from(names[:D])
    g.add_nodes_from((name, {"activation": kind, **extra}) for name, kind in zip(names[D:], hidden + [output_activation] * K, strict=True))
    _add_edges(g, [names[i] for i in src.tolist()], [names[j] for j in dst.tolist()], weight)
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
    total = int(stop.max(initial=1))
    urn = np.empty(total + int(wanted.sum()), np.int64)
    filled = int(stop[0])
    urn[:filled] = np.arange(filled)
    found = []
    for lo, hi, k in zip(start.tolist(), stop.tolist(), wanted.tolist(), strict=True):
        if hi > int(stop[0]) and (not found or hi > newest):
            urn[filled] = hi - 1
            filled += 1
        newest = hi
        chosen: dict[int, None] = {}
        for _ in range(64):
            for i in urn[rng.integers(filled, size=2 * k)].tolist():
                if i >= lo and len(chosen) < k:
                    chosen[i] = None
            if len(chosen) == k:
                break
        else:  # hubs outside the window, or k close to all candidates: fill up uniformly
            rest = np.setdiff1d(np.arange(lo, hi), list(chosen))
            chosen.update(dict.fromkeys(rng.choice(rest, k - len(chosen), replace=False).tolist()))
        found.append(np.fromiter(chosen, np.int64, k))
        urn[filled : filled + k] = found[-1]
        filled += k
    return found


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
    first = np.maximum(idle + 1, D)  # the next unit; an input's first possible target is the first unit
    last = np.maximum(np.minimum(idle + window, D + H - 1), np.minimum(first, D + H - 1))
    last = np.where(idle + window >= D + H, D + H + K - 1, np.maximum(last, np.minimum(D + window, D + H + K) - 1 if D else 0) * (idle < D) + last * (idle >= D))
    target = rng.integers(first, np.maximum(last, first) + 1)
    return np.concatenate([src, idle]), np.concatenate([dst, target])
