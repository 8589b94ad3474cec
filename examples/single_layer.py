"""The book's single-layer model, ∂E_n/∂w_ji = (y_j − t_j) x_i (Bishop & Bishop, section 8.1.1), three times.

    python examples/single_layer.py

Linear regression on scikit-learn's diabetes data: the gradient by the formula, by graphbp, and by finite differences; then the
minimum, which for this model is known in closed form.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from sklearn.datasets import load_diabetes

import graphbp as gb


def main() -> None:
    X, t = load_diabetes(return_X_y=True)
    X, t = X / X.std(axis=0), t / t.std()
    names = load_diabetes().feature_names

    rng = np.random.default_rng(0)
    g = nx.DiGraph()
    g.add_nodes_from(names)
    g.add_node("progression", bias=0.1)  # the identity, with a bias
    g.add_weighted_edges_from((name, "progression", rng.normal(0, 0.1)) for name in names)
    net = gb.Network(g, error="sum_of_squares")

    # The formula: the error signal y - t times the input; the bias has the input 1.
    delta = net.forward(X)[:, 0] - t
    by_hand = np.append(delta @ X, delta.sum())
    gradient = net.gradient(X, t)
    print(f"{'weight':>12s} {'(y - t) x':>14s} {'backpropagation':>16s} {'central difference':>19s}")
    differenced = net.numerical_gradient(X, t)
    for name, *values in zip([*names, "bias"], by_hand, gradient, differenced, strict=True):
        print(f"{name:>12s} {values[0]:14.8f} {values[1]:16.8f} {values[2]:19.8f}")
    print(f"largest difference from the formula: {np.abs(gradient - by_hand).max():.1e}")

    # E is quadratic in w: one Newton step with the exact Hessian, Σ_n x xᵀ, reaches the minimum.
    net.weights = net.weights - np.linalg.solve(net.hessian(X, t), gradient)
    least_squares = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), t, rcond=None)[0]
    print(f"after one Newton step: |gradient| = {np.linalg.norm(net.gradient(X, t)):.1e}, ", end="")
    print(f"largest difference from least squares: {np.abs(net.weights - least_squares).max():.1e}")


if __name__ == "__main__":
    main()
