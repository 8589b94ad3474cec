"""`layered`: layers, each fed by the one before, or by all before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import networkx as nx
import numpy as np

from graphbp.builders.arguments import as_size, check_activations, check_room, is_listed, outputs_kind
from graphbp.builders.initial import Init, deviation
from graphbp.exceptions import GraphError, shown
from graphbp.foreign import as_flag, generator

__all__ = ["layered"]


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
    if isinstance(sizes, (str, bytes, Mapping)) or not is_listed(sizes):
        raise GraphError(f"sizes={shown(sizes)}; give the units of each layer, inputs first: layered([64, 32, 10])")
    counts = [as_size(f"sizes[{k}]", n, 1) for k, n in enumerate(sizes)]
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
    check_room("gb.layered", sum(counts), weights, units == "units")
    names = ["x", *(f"h{layer}" for layer in range(1, last)), "y"]
    kinds = check_activations([activation] * (last - 1) + [outputs_kind(output_activation, error)])
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
            w = rng.standard_normal((counts[layer], counts[m])) * deviation(init, fan_in[layer], fan_out[m])
            if units == "layers":
                g.add_edge(names[m], names[layer], weight=w)
            else:
                for v, row in zip(members[layer], w.tolist(), strict=True):
                    g.add_weighted_edges_from((u, v, value) for u, value in zip(members[m], row, strict=True))
    return g
