"""A posterior over part of θ: the rest is frozen at θ*, so that nothing is computed for it.

The last layer of a DAG is every weight and bias that leads into an output unit, skip connections included.  Given the activations that
feed it, a network with identity outputs is linear in these parameters and the posterior of a regression exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NotSupportedError, WeightError

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["PARAMETERS", "last_layer"]

PARAMETERS = ("all", "last_layer")


def last_layer(net: Network) -> tuple[Network, npt.NDArray[np.int64]]:
    """(`net` with all but the last layer frozen, the positions in θ of what is left free).

    Raises
    ------
    NotSupportedError : a tie joins a weight of the last layer with one of another.
    """
    from graphbp.network import Network

    graph, outputs = net.to_networkx(), set(net.outputs)
    attributes: dict[str, Any]
    for node, attributes in graph.nodes(data=True):
        if node not in outputs and "bias" in attributes:
            attributes["trainable"] = False
    for _, node, attributes in graph.edges(data=True):
        if node not in outputs:
            attributes["trainable"] = False
    try:
        part = Network(graph, error=net.error_function, missing=net.missing, backend=net.backend, dtype=net.dtype)
    except WeightError as problem:
        raise NotSupportedError(
            f"parameters='last_layer': a weight of the last layer is shared with another; {problem}"
        ) from problem
    # the same graph numbers its entries alike in both networks
    mine, whole = part.model.layout.entry_parameter, net.model.layout.entry_parameter
    index = np.empty(part.n_parameters, np.int64)
    index[mine[mine >= 0]] = whole[mine >= 0]
    return part, index
