"""Graphs to start from: plain `networkx.DiGraph`s with the attributes of a network and seeded initial weights.

    layered([64, 32, 10], skips=True)        layers, each fed by the one before, or by all before
    random_dag(8, 100, 3, fan_in=6)          an irregular network: every unit draws its sources among the units before it
    from_edges(src, dst, weight)             arrays of node numbers (or labels) and weights
    from_adjacency(A)                        A[i, j] ≠ 0 is the weight of the edge i → j

What comes back is the user's: change it, add to it, give it to `gb.Network`.  The same seed gives the same graph on every machine
(NumPy's PCG64).  Initial weights w_ji are normal with mean 0 and a standard deviation that the fan-in and fan-out of the edge set,
over all sources of the unit j and all targets of the unit i, skips included:

    "glorot"  √(2 / (fan_in + fan_out))     "he"  √(2 / fan_in)     "lecun"  √(1 / fan_in)     a number: itself

Biases start at 0.  `layered` and `random_dag` give inputs and outputs their `role`, so that a hidden unit whose last outgoing edge is
pruned does not become an output; `from_edges` and `from_adjacency` do where they are told which nodes these are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.activations import get_activation
from graphbp.data import as_count, as_flag, as_number, generator, host_array, refuse_masked, summed_csr
from graphbp.exceptions import DataError, GraphError, WeightError, one_of, shown, unknown_name
from graphbp.links import fitting_activation
from graphbp.memory import check_memory

__all__ = ["from_adjacency", "from_edges", "layered", "random_dag"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Init = str | float
_BYTES_AN_EDGE = 300  # of networkx, and of a node about as many

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
    try:
        return as_number("init", init, least=0) + 0.0 * (fan_in + fan_out)
    except DataError as problem:
        raise DataError(f"init={shown(init)}; it must be one of {', '.join(_INIT)}, or a standard deviation ≥ 0") from problem


def _count(name: str, value: Any, least: int) -> int:
    return as_count(name, value, least, error=GraphError)


def _check_room(what: str, nodes: int, weights: int, single: bool) -> None:
    """Refuse a graph that would not fit before a part of it is built."""
    each = _BYTES_AN_EDGE if single else 8
    check_memory(nodes * _BYTES_AN_EDGE + weights * each, f"{what} of {weights:,} weights", "it with smaller sizes")


def layered(
    sizes: Sequence[int],
    *,
    activation: str = "tanh",
    output_activation: str | None = None,
    error: str | None = None,
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
    activation, output_activation : of the hidden layers, and of the last one ("identity", or what `error` takes).
    error : the error function that the network will have; the last layer then gets its canonical activation: the identity for
        "sum_of_squares", sigmoid for "binary_cross_entropy", softmax for "cross_entropy", exp for "poisson".
    skips : every layer feeds all later ones, the inputs feed the outputs too.
    units : "layers" gives one node a layer ("x", "h1", "h2", ..., "y") with matrices on the edges; "units" one node a unit
        ("x1", ..., "h1.1", ..., "y1", ...) with scalars.  Both carry the same numbers for the same seed.
    bias : give every hidden and output unit a bias, 0 to start with.
    seed, init : see the module.

    Raises
    ------
    GraphError : fewer than two sizes, a size that is not a whole number of at least 1, an unknown `units`.
    MemoryLimitError : more weights than memory takes.
    UnknownNameError : an unknown activation or init.

    Examples
    --------
    >>> g = layered([3, 4, 2], skips=True)
    >>> [(u, v, w.shape) for u, v, w in g.edges(data="weight")]
    [('x', 'h1', (4, 3)), ('x', 'y', (2, 3)), ('h1', 'y', (2, 4))]
    >>> layered([3, 4, 2], units="units").number_of_edges()
    20
    """
    if isinstance(sizes, (str, bytes, Mapping)) or not _is_listed(sizes):
        raise GraphError(f"sizes={shown(sizes)}; give the units of each layer, inputs first: layered([64, 32, 10])")
    counts = [_count(f"sizes[{k}]", n, 1) for k, n in enumerate(sizes)]
    if len(counts) < 2:
        raise GraphError(f"sizes={list(sizes)!r}; at least an input and an output layer are needed: layered([64, 32, 10])")
    skips, bias = as_flag("skips", skips), as_flag("bias", bias)
    if not isinstance(units, str) or units not in ("layers", "units"):
        raise GraphError(f"units={shown(units)}; it must be 'layers' (a node a layer) or 'units' (a node a unit)")
    rng = generator(seed)
    last = len(counts) - 1
    sources = [list(range(layer) if skips else range(max(layer - 1, 0), layer)) for layer in range(last + 1)]
    fan_in = [sum(counts[m] for m in below) for below in sources]
    fan_out = [sum(counts[m] for m in range(last + 1) if layer in sources[m]) for layer in range(last + 1)]
    weights = sum(n * below for n, below in zip(counts, fan_in, strict=True))
    _check_room("gb.layered", sum(counts), weights, units == "units")
    names = ["x", *(f"h{layer}" for layer in range(1, last)), "y"]
    kinds = _check_names([activation] * (last - 1) + [_output_kind(output_activation, error)])
    members = [
        [f"{name}{'.' if 0 < k < last else ''}{i}" for i in range(1, n + 1)]
        for k, (name, n) in enumerate(zip(names, counts, strict=True))
    ]

    g = nx.DiGraph()
    for layer, (name, n) in enumerate(zip(names, counts, strict=True)):
        attributes: dict[str, Any] = {} if layer == 0 else {"activation": kinds[layer - 1]}
        if layer in (0, last):
            attributes["role"] = "output" if layer else "input"
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


def _output_kind(given: str | None, error: str | None) -> str:
    """The outputs' activation: the one given, else the canonical one of the error."""
    fitting = "identity" if error is None else fitting_activation(error)
    return fitting if given is None else given


def _check_names(kinds: list[Any]) -> list[str]:
    for kind in [k for k in kinds if not isinstance(k, str)] or dict.fromkeys(kinds):
        get_activation(kind)
    return [str(kind) for kind in kinds]


def _is_listed(values: Any) -> bool:
    """Whether there is something to go through one by one, and it is no text."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    return isinstance(values, Iterable) and not isinstance(values, (str, bytes))


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
    activation : of the hidden units: one for all, or several that are drawn from uniformly.
    output_activation, error, bias, seed, init : as in `layered`.

    Raises
    ------
    GraphError : counts, fan_in, window, density or rewire out of range; a combination that means nothing.
    MemoryLimitError : more edges than memory takes.
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
    one_of("model", model, _MODELS)
    if density is not None:
        if model != "erdos_renyi" or fan_in is not None:
            raise GraphError("density= goes with model='erdos_renyi' and takes the place of fan_in=; give one of the two")
        density = as_number("density", density, above=0, most=1, error=GraphError)
    rewire = as_number("rewire", rewire, least=0, most=1, error=GraphError)
    bias = as_flag("bias", bias)
    k = _count("fan_in", 8 if fan_in is None else fan_in, 1)
    w = D + H if window is None else _count("window", window, 1)
    kinds = _check_names(list(activation) if _is_listed(activation) else [activation])
    if not kinds:
        raise GraphError("activation=[]; give at least one activation")
    output_kind = _output_kind(output_activation, error)
    _check_names([output_kind])

    rng = generator(seed)
    each = k if density is None else density * min(w, D + H) / 2
    _check_room("gb.random_dag", D + H + K, int((H + K) * min(each, D + H)), True)
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
    g.add_nodes_from(names[:D], role="input")
    g.add_nodes_from((name, {"activation": kind, **extra}) for name, kind in zip(names[D : D + H], hidden, strict=True))
    g.add_nodes_from(names[D + H :], activation=output_kind, role="output", **extra)
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


def from_edges(
    src: npt.ArrayLike,
    dst: npt.ArrayLike,
    weight: npt.ArrayLike,
    *,
    bias: npt.ArrayLike | Mapping[Hashable, float] | None = None,
    activation: str | Sequence[str] | Mapping[Hashable, str] = "tanh",
    output_activation: str | None = None,
    error: str | None = None,
    n_nodes: int | None = None,
    names: Sequence[Hashable] | None = None,
    inputs: Iterable[Hashable] | None = None,
    outputs: Iterable[Hashable] | None = None,
) -> nx.DiGraph:
    """The graph of the edges src[e] → dst[e] with weight[e]; a million of them take seconds.

    Parameters
    ----------
    src, dst : (E,) node numbers, or labels (any hashable).  Nodes are added in ascending order of their numbers, labels in order
        of first appearance: the order of X's and Y's columns.
    weight : (E,), or one number for all.
    bias : None, one number for every unit with a source, an array over all nodes (its entries at nodes without a source must be
        0), or a mapping from node to bias.
    activation : one name for all hidden units, one for each node (a sequence; entries at inputs and at outputs count too), or a
        mapping from node to name, which may name any unit.
    output_activation, error : of units that feed nothing, where `activation` is one name, or does not mention them; as in `layered`.
    n_nodes : how many nodes there are, with numbers 0 ... n_nodes − 1; by default, those that an edge mentions.
    names : a name for each number 0, 1, ..., which then stands in the graph in place of the number.
    inputs, outputs : the nodes with these roles (after naming), where sources and sinks are not what you mean.

    Raises
    ------
    DataError : arrays of unequal lengths or the wrong kind, a number outside 0 ... n_nodes − 1, a name or bias that is missing.
    GraphError : an edge from a node to itself, the same edge twice.
    WeightError : a weight that is complex or not finite.

    A cycle is reported when the graph becomes a network.

    Examples
    --------
    >>> g = from_edges([0, 1, 0, 2], [2, 2, 3, 3], [0.5, -1.0, 0.25, 2.0], bias=0.1)
    >>> g.nodes[2], g.nodes[3]
    ({'activation': 'tanh', 'bias': 0.1}, {'activation': 'identity', 'bias': 0.1})
    >>> g.edges[0, 3]
    {'weight': 0.25}
    """
    source, target, labels = _numbered(src, dst, n_nodes, names)
    w = _edge_weights(weight, len(source))
    _refuse_bad_edges(source, target, len(labels), labels)
    n = len(labels)
    sink, fed = np.ones(n, bool), np.zeros(n, bool)
    sink[source] = False
    fed[target] = True
    biases = _per_node_bias(bias, labels, fed)
    kinds = _per_node_activation(activation, _output_kind(output_activation, error), labels, fed, sink)
    roles = _roles(inputs, outputs, labels)
    attributes: list[dict[str, Any]] = [{} for _ in range(n)]
    for i in range(n):
        if kinds[i] is not None:
            attributes[i]["activation"] = kinds[i]
        if biases[i] is not None:
            attributes[i]["bias"] = biases[i]
        if labels[i] in roles:
            attributes[i]["role"] = roles[labels[i]]
    g = nx.DiGraph()
    g.add_nodes_from(zip(labels, attributes, strict=True))
    if labels == list(range(n)):
        _add_edges(g, source.tolist(), target.tolist(), w)
    else:
        _add_edges(g, [labels[i] for i in source.tolist()], [labels[j] for j in target.tolist()], w)
    return g


def from_adjacency(
    matrix: Any,
    *,
    bias: npt.ArrayLike | Mapping[Hashable, float] | None = None,
    activation: str | Sequence[str] | Mapping[Hashable, str] = "tanh",
    output_activation: str | None = None,
    error: str | None = None,
    names: Sequence[Hashable] | None = None,
    inputs: Iterable[Hashable] | None = None,
    outputs: Iterable[Hashable] | None = None,
) -> nx.DiGraph:
    """The graph with an edge i → j of weight A[i, j] wherever A[i, j] ≠ 0 (dense), or is stored (SciPy sparse, a stored 0 too).

    The other parameters, and what is raised, are as in `from_edges`; a node with neither row nor column entries stays, as a node
    without edges.

    >>> from_adjacency([[0, 2.0], [0, 0]]).edges[0, 1]
    {'weight': 2.0}
    """
    if hasattr(matrix, "tocsr"):
        coo = summed_csr(matrix, "the matrix").tocoo()
        shape, src, dst, weight = coo.shape, coo.row, coo.col, coo.data
    else:
        dense = host_array(matrix, "the matrix", WeightError)
        shape = dense.shape
        if len(shape) == 2:
            src, dst = np.nonzero(dense)
            weight = dense[src, dst]
    if len(shape) != 2 or shape[0] != shape[1]:
        raise DataError(f"the matrix has shape {shape}; an adjacency matrix is square, with A[i, j] the weight of the edge i -> j")
    more = {"bias": bias, "activation": activation, "output_activation": output_activation, "error": error}
    return from_edges(src, dst, weight, n_nodes=shape[0], names=names, inputs=inputs, outputs=outputs, **more)  # type: ignore[arg-type]  # mypy widens the values of `more`


def _add_edges(g: nx.DiGraph, src: list[Any], dst: list[Any], weight: Floats) -> None:
    g.add_edges_from(zip(src, dst, ({"weight": w} for w in weight.tolist()), strict=True))


def _numbered(
    src: npt.ArrayLike, dst: npt.ArrayLike, n_nodes: int | None, names: Sequence[Hashable] | None
) -> tuple[Indices, Indices, list[Any]]:
    """The ends of the edges as positions in the list of node names, and that list."""
    a, b = _labels("src", src), _labels("dst", dst)
    if len(a) != len(b):
        raise DataError(
            f"src has {len(a):,} entries and dst has {len(b):,}; edge e goes from src[e] to dst[e], so give as many of each"
        )
    if isinstance(a, list) or isinstance(b, list):
        if n_nodes is not None or names is not None:
            raise DataError("n_nodes= and names= go with node numbers, and src and dst hold labels already; leave them out")
        flat = [label for pair in zip(a, b, strict=True) for label in pair]
        try:
            position = {label: i for i, label in enumerate(dict.fromkeys(flat))}
        except TypeError as problem:
            raise DataError(f"a node must be hashable: {problem}") from problem
        numbers_ = np.fromiter((position[label] for label in flat), np.int64, len(flat))
        return numbers_[::2], numbers_[1::2], list(position)
    if n_nodes is None and names is None:
        present, both = np.unique(np.concatenate([a, b]), return_inverse=True)
        return both[: len(a)].astype(np.int64), both[len(a) :].astype(np.int64), present.tolist()
    names = None if names is None else _hashable("names", names)
    n = len(names) if names is not None else 0
    if n_nodes is not None:
        most = _count("n_nodes", n_nodes, 0)
        if names is not None and most != n:
            raise DataError(f"names has {n:,} entries and n_nodes={most:,}; give one name for each node")
        n = most
    for label, array in (("src", a), ("dst", b)):
        bad = np.flatnonzero((array < 0) | (array >= n))
        if len(bad):
            raise DataError(f"{label}[{bad[0]}] is {array[bad[0]]}; with {n:,} nodes the numbers run from 0 to {n - 1}")
    _check_room("gb.from_edges", n, len(a), True)
    labels = list(range(n)) if names is None else list(names)
    if names is not None and len(set(labels)) != n:
        raise DataError(f"names has {n - len(set(labels))} repeated entries; every node needs a name of its own")
    return a, b, labels


def _labels(name: str, values: Any) -> Indices | list[Any]:
    """Integers as an int64 array, anything else as a list of labels."""
    refuse_masked(values, name)
    try:
        array = np.asarray(values)
    except ValueError:  # labels such as tuples of unequal lengths
        return _hashable(name, values)
    if array.ndim == 1 and array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.size == 0:
        return np.empty(0, np.int64)
    if isinstance(values, (str, bytes)) or array.ndim == 0:
        raise DataError(f"{name} is {shown(values)}; give an array or a list with one entry for each edge")
    if isinstance(values, np.ndarray) and array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape}; it must be 1-D, one entry for each edge")
    if array.dtype.kind == "f":
        raise DataError(f"{name} holds floats; nodes are numbers such as 0, 1, 2 (integers), or labels")
    return _hashable(name, values)


def _edge_weights(weight: npt.ArrayLike, n: int) -> Floats:
    w = host_array(weight, "weight", WeightError)
    if w.ndim == 0:
        w = np.full(n, w)
    if w.shape != (n,):
        raise DataError(
            f"weight has shape {w.shape} and there are {n:,} edges; give one number for each edge, shape ({n},), or one for all"
        )
    bad = np.flatnonzero(~np.isfinite(w))
    if len(bad):
        raise WeightError(f"weight[{bad[0]}] is {w[bad[0]]}; weights must be finite")
    return w.astype(np.float64)


def _refuse_bad_edges(source: Indices, target: Indices, n: int, labels: list[Any]) -> None:
    loops = np.flatnonzero(source == target)
    if len(loops):
        raise GraphError(
            f"edge {loops[0]} leads from node {labels[source[loops[0]]]!r} to itself; a feed-forward network has no self-loop"
        )
    key = source * np.int64(n) + target
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(np.diff(key[order]) == 0)
    if len(twice):
        first, second = order[twice[0]], order[twice[0] + 1]
        raise GraphError(
            f"edge {labels[source[first]]!r} -> {labels[target[first]]!r} is given twice, at {first} and {second}; a network has "
            "one weight for each edge: add the two up, or leave one out"
        )


def _per_node_bias(
    bias: npt.ArrayLike | Mapping[Hashable, float] | None, labels: list[Any], fed: npt.NDArray[np.bool_]
) -> list[float | None]:
    if bias is None:
        return [None] * len(labels)
    if isinstance(bias, Mapping):
        _refuse_strangers("bias", bias, labels)
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


def _per_node_activation(
    activation: str | Sequence[str] | Mapping[Hashable, str],
    output_activation: str,
    labels: list[Any],
    fed: npt.NDArray[np.bool_],
    sink: npt.NDArray[np.bool_],
) -> list[str | None]:
    _check_names([output_activation])
    default = activation if isinstance(activation, str) else "identity"
    usual = [(output_activation if s else default) if f else None for f, s in zip(fed.tolist(), sink.tolist(), strict=True)]
    if isinstance(activation, str):
        _check_names([activation])
        return usual
    if isinstance(activation, Mapping):
        _refuse_strangers("activation", activation, labels)
        _check_names(list(activation.values()))
        return [activation.get(label, kind) for label, kind in zip(labels, usual, strict=True)]
    if not _is_listed(activation):
        get_activation(activation)  # type: ignore[arg-type]  # which refuses what is no name
    if len(activation) != len(labels):
        raise DataError(
            f"activation has {len(activation):,} entries and there are {len(labels):,} nodes; give one name, one for each node, or "
            "a mapping"
        )
    _check_names(list(activation))
    return list(activation)


def _roles(inputs: Iterable[Hashable] | None, outputs: Iterable[Hashable] | None, labels: list[Any]) -> dict[Hashable, str]:
    roles: dict[Hashable, str] = {}
    for role, nodes in (("input", inputs), ("output", outputs)):
        if nodes is None:
            continue
        named = dict.fromkeys(_hashable(f"{role}s", nodes), role)
        _refuse_strangers(f"{role}s", named, labels)
        both = [node for node in named if node in roles]
        if both:
            raise GraphError(f"node {both[0]!r} is named in inputs= and in outputs=; it can be one of them")
        roles.update(named)
    return roles


def _hashable(what: str, nodes: Any) -> list[Any]:
    """The nodes that an argument lists, each of which could be one."""
    if not _is_listed(nodes):
        raise DataError(f"{what}={shown(nodes)}; give a list of nodes")
    listed = nodes.tolist() if isinstance(nodes, np.ndarray) else list(nodes)
    for node in listed:
        if node is None or not isinstance(node, Hashable):
            raise DataError(f"{what} holds {shown(node)}, which cannot be a node")
    return listed


def _refuse_strangers(what: str, given: Iterable[Hashable], labels: list[Any]) -> None:
    known = set(labels)
    strangers = [node for node in given if node not in known]
    if strangers:
        raise DataError(f"{what} names {strangers[0]!r}, which is not a node of the graph ({len(strangers)} such names)")
