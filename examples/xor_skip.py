"""XOR with one hidden unit: a skip connection from the inputs to the output makes it possible.

    python examples/xor_skip.py

A stack of layers needs two hidden units for XOR.  With edges x1 -> y and x2 -> y that skip the hidden layer, one is enough.  The
example trains both graphs of one hidden unit, with and without the skip, then shows δ moving through the graph and the curvature at
the solution.
"""

from __future__ import annotations

import networkx as nx
import numpy as np

import graphbp as gb

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
T = np.array([0, 1, 1, 0])


def xor_graph(skip: bool, seed: int) -> nx.DiGraph:
    rng = np.random.default_rng(seed)
    g = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    g.add_node("h", activation="tanh", bias=0.0)
    g.add_node("y", activation="sigmoid", bias=0.0)
    g.add_edges_from([("x1", "h"), ("x2", "h"), ("h", "y")])
    if skip:
        g.add_edges_from([("x1", "y"), ("x2", "y")])
    for edge in g.edges:
        g.edges[edge]["weight"] = rng.normal()
    return g


def best_of(skip: bool, seeds: int = 10) -> gb.Network:
    """The network with the lowest error among those trained from `seeds` starting points."""
    nets = [gb.Network(xor_graph(skip, seed), error="binary_cross_entropy") for seed in range(seeds)]
    for net in nets:
        gb.train(net, X, T, optimizer="lbfgs", l2=1e-4, progress=False)
    return min(nets, key=lambda net: net.error(X, T))


def main() -> None:
    for skip in (False, True):
        net = best_of(skip)
        y = net.forward(X)[:, 0]
        verdict = "solved" if ((y > 0.5) == T).all() else "not solved"
        print(f"{'with' if skip else 'without'} skip: y = {y.round(3)}, E = {net.error(X, T):.4f}: {verdict}")

    print("\nδ of each node, sample by sample (δ = y - t at the output: sigmoid and cross-entropy are a canonical pair)")
    trace = net.trace(X, T)
    for node in ("x1", "x2", "h", "y"):
        print(f"  {node:>2s} {trace.delta[node].round(5)}")

    print("\ncurvature: eigenvalues of the exact Hessian at the solution")
    print(" ", np.linalg.eigvalsh(net.hessian(X, T)).round(5))
    print(net.check(X, T))


if __name__ == "__main__":
    main()
