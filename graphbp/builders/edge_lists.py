"""`from_edges` and `from_adjacency`: the graph of arrays of edges."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.builders.arguments import as_nodes, as_size, check_room, outputs_kind
from graphbp.builders.node_values import activations_of, biases_of, roles_of
from graphbp.exceptions import DataError, GraphError, WeightError, shown
from graphbp.foreign import host_array, refuse_masked, summed_csr

__all__ = ["add_edges", "from_adjacency", "from_edges"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


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
    biases = biases_of(bias, labels, fed)
    kinds = activations_of(activation, outputs_kind(output_activation, error), labels, fed, sink)
    roles = roles_of(inputs, outputs, labels)
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
        add_edges(g, source.tolist(), target.tolist(), w)
    else:
        add_edges(g, [labels[i] for i in source.tolist()], [labels[j] for j in target.tolist()], w)
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


def add_edges(g: nx.DiGraph, src: list[Any], dst: list[Any], weight: Floats) -> None:
    """Add the edges src[e] → dst[e] with weight[e]."""
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
    names = None if names is None else as_nodes("names", names)
    n = len(names) if names is not None else 0
    if n_nodes is not None:
        most = as_size("n_nodes", n_nodes, 0)
        if names is not None and most != n:
            raise DataError(f"names has {n:,} entries and n_nodes={most:,}; give one name for each node")
        n = most
    for label, array in (("src", a), ("dst", b)):
        bad = np.flatnonzero((array < 0) | (array >= n))
        if len(bad):
            raise DataError(f"{label}[{bad[0]}] is {array[bad[0]]}; with {n:,} nodes the numbers run from 0 to {n - 1}")
    check_room("gb.from_edges", n, len(a), True)
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
        return as_nodes(name, values)
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
    return as_nodes(name, values)


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
