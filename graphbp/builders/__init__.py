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

from graphbp.builders.edge_lists import from_adjacency, from_edges
from graphbp.builders.layers import layered
from graphbp.builders.random_graphs import random_dag

__all__ = ["from_adjacency", "from_edges", "layered", "random_dag"]
