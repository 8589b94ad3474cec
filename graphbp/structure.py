"""Which structures are networks: who is an input and who an output, what inputs and softmax may not have, and where a cycle is.

roles: as the nodes say; where none says "input", the sources are (where none says "output", the sinks)
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation
from graphbp.columns import Columns
from graphbp.exceptions import GraphError
from graphbp.spec import HIDDEN, INPUT, OUTPUT, ROLES, GraphSpec, describe_edge

__all__ = ["assign_roles", "check_inputs", "check_softmax", "cycle_message"]

Node = Hashable


def assign_roles(
    names: tuple[Node, ...], declared: list[str | None], src: npt.NDArray[np.int64], dst: npt.NDArray[np.int64], n: int
) -> npt.NDArray[np.int8]:
    """(n,) HIDDEN, INPUT or OUTPUT of each node; refuses a network without an input or an output, or the cycle that is why."""
    free = np.array([d is None for d in declared])
    role = np.array([HIDDEN if d is None else ROLES[d] for d in declared], np.int8)
    source, sink = np.ones(n, bool), np.ones(n, bool)
    source[dst] = False
    sink[src] = False
    if not (role == INPUT).any():
        role[free & source] = INPUT
    if not (role == OUTPUT).any():
        role[free & sink & (role != INPUT)] = OUTPUT
    if not ((role == INPUT).any() and (role == OUTPUT).any()):
        waiting = _in_cycles(src, dst, n)
        if any(waiting):  # the reason why there is no source or no sink
            raise GraphError(cycle_message(names, src, dst, waiting))
    if not (role == INPUT).any():
        raise GraphError(
            "the network has no input: no node is a source, and none has role='input'; g.nodes[name]['role'] = 'input' names one"
        )
    if not (role == OUTPUT).any():
        raise GraphError("the network has no output: no node besides the inputs is a sink, and none has role='output'")
    return role


def check_inputs(
    columns: Columns,
    role: npt.NDArray[np.int8],
    bias: list[npt.NDArray[np.float64] | None],
    activation: npt.NDArray[np.int64],
    activations: list[Activation],
) -> None:
    """An input's value is a column of X: refuse one with an incoming edge, a bias or an activation, by name."""
    names = columns.names
    into = np.flatnonzero(role[columns.dst] == INPUT)
    if len(into):
        u, v = names[columns.src[into[0]]], names[columns.dst[into[0]]]
        raise GraphError(
            f"{describe_edge(u, v)} leads into an input; an input's value is a column of X: remove the edge or the role"
        )
    for i in np.flatnonzero(role == INPUT):
        if bias[i] is not None:
            raise GraphError(
                f"node {names[i]!r} is an input (nothing leads into it) and has a bias; an input's value is a column of X: remove the "
                "bias, or give the node role='hidden' to make it a constant unit"
            )
        if activations[activation[i]].name != "identity":
            raise GraphError(
                f"node {names[i]!r} is an input and has activation {activations[activation[i]].name!r}; put the activation on a "
                "unit that the input feeds"
            )


def check_softmax(spec: GraphSpec) -> None:
    """Softmax is for outputs that feed nothing: its units are normalised together, after every level, so it takes at least two."""
    feeds = np.zeros(spec.n_nodes, bool)
    feeds[spec.edge_src] = True
    for i in spec.softmax_nodes:
        if spec.role[i] != OUTPUT:
            raise GraphError(
                f"node {spec.names[i]!r} has activation 'softmax' and is not an output; softmax is an output activation"
            )
        if feeds[i]:
            e = int(np.flatnonzero(spec.edge_src == i)[0])
            raise GraphError(
                f"node {spec.names[i]!r} has activation 'softmax' and feeds {spec.names[spec.edge_dst[e]]!r}; softmax is an output "
                "activation: feed the next unit from the softmax's sources"
            )
    alone = [i for i in spec.softmax_nodes if spec.units[i] == 1]
    if len(alone) == 1:
        raise GraphError(
            f"node {spec.names[alone[0]]!r} is a softmax of one unit: softmax divides by the sum over its units, so its output would "
            "always be 1; use activation='sigmoid' for one probability, or give every class a unit (a layer node's units are one softmax, "
            "all unit nodes together are another)"
        )


def _in_cycles(src: npt.NDArray[np.int64], dst: npt.NDArray[np.int64], n: int) -> list[int]:
    """For each node the number of its sources that are in a cycle, or fed by one; all 0 in a DAG."""
    successors: list[list[int]] = [[] for _ in range(n)]
    for i, j in zip(src.tolist(), dst.tolist(), strict=True):
        successors[i].append(j)
    waiting: list[int] = np.bincount(dst, minlength=n).tolist()
    ready = [i for i in range(n) if not waiting[i]]
    while ready:
        for j in successors[ready.pop()]:
            waiting[j] -= 1
            if not waiting[j]:
                ready.append(j)
    return waiting


def cycle_message(names: tuple[Node, ...], src: npt.NDArray[np.int64], dst: npt.NDArray[np.int64], waiting: list[int]) -> str:
    """A cycle as a path: walk backwards among the nodes that were never ready (`waiting` > 0) until one repeats.

    `dst` is sorted.
    """
    first = np.searchsorted(dst, np.arange(len(names)))
    i = next(k for k, w in enumerate(waiting) if w)
    seen: dict[int, int] = {}
    path: list[int] = []
    while i not in seen:
        seen[i] = len(path)
        path.append(i)
        e = int(first[i])
        while not waiting[int(src[e])]:
            e += 1
        i = int(src[e])
    cycle = [*path[seen[i] :], i][::-1]
    shown = [repr(names[k]) for k in cycle]
    if len(shown) > 12:
        shown = [*shown[:6], f"... {len(shown) - 11} more ...", *shown[-5:]]
    return f"the graph has a cycle: {' -> '.join(shown)}; a feed-forward network has none: remove one of these edges"
