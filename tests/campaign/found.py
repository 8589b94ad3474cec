"""Cases that a campaign found something with, made small.  Each was wrong in the quantities it names."""

from __future__ import annotations

import networkx as nx
import numpy as np
from scipy import sparse

from .draw import Case

__all__ = ["FOUND"]


def _case(nodes, edges, X, T, error="sum_of_squares", dtype="float64", s=None, dirty=False):
    g = nx.DiGraph()
    g.add_nodes_from(nodes.items())
    g.add_edges_from((u, v, d if isinstance(d, dict) else {"weight": d}) for u, v, d in edges)
    X, T = np.array(X, dtype), np.array(T, dtype)
    return Case(g, error, dtype, X, T, s if s is None else np.array(s, dtype), dirty)


def _out(activation="identity", **more):
    return {"activation": activation, "role": "output", **more}


def _hidden(activation="identity", **more):
    return {"activation": activation, "role": "hidden", **more}


def _two_classes(gap, T, error):
    return _case({"x": {}, "y": _out("softmax", units=2)}, [("x", "y", np.array([[1.0], [0.0]]))], [[gap]], [T], error)


_NOTHING = sparse.csr_array((1, 2))

FOUND = {
    "sigmoid far on the side of its target: gradient": _case(
        {"x": {}, "y": _out("sigmoid")}, [("x", "y", -1.0)], [[-400.0]], [[1.0]], "binary_cross_entropy"
    ),
    "softmax far ahead: error, gradient, Hessians": _two_classes(36.0, [1.0, 0.0], "cross_entropy"),
    "softmax at a gap of 8: Hessians": _two_classes(8.0, [0.4, 0.6], "cross_entropy"),
    "softmax far ahead under another error: Jacobians": _two_classes(-200.0, [0.0, 1.0], "binary_cross_entropy"),
    "softmax under squares: gradient": _two_classes(9.0, [0.0, 0.0], "sum_of_squares"),
    "tanh in its tail: vjp, gradient": _case(
        {"x": {}, "h": _hidden("tanh"), "y": _out()}, [("x", "h", 1.0), ("h", "y", -1.0)], [[-3.95], [20.0]], [[0.0], [0.0]]
    ),
    "ln(1 - y) at a tiny y: error": _case(
        {"x": {}, "y": _out("neat.gauss")}, [("x", "y", 2.0)], [[1.0]], [[0.0]], "binary_cross_entropy", "float32"
    ),
    "a dead unit that overflows: gradient, operators": _case(
        {"x": {}, "h": _hidden("exp"), "y": _out()}, [("x", "h", -1.0), ("x", "y", 1.0)], [[-5000.0]], [[0.0]]
    ),
    "a dead unit at a pole of h': gradient, operators": _case(
        {"x": {}, "h": _hidden("sqrt"), "y": _out()}, [("x", "h", -1.0), ("x", "y", 1.0)], [[0.0]], [[0.0]]
    ),
    "an output that feeds what overflows: weight Jacobian": _case(
        {"x": {}, "y": _out("exp"), "h": _hidden("exp")}, [("x", "y", 10.0), ("y", "h", 1.0)], [[1.0]], [[0.0]], "poisson"
    ),
    "one output at a pole of h': Jacobian of the other": _case(
        {"x": {}, "v": {}, "h": _out("sqrt"), "y": _out()}, [("x", "h", -1.0), ("v", "y", 1.0), ("y", "h", 1.0)], [[2.0, 2.0]], [[0.0, 0.0]]
    ),
    "one output overflows: Jacobian of the other": _case(
        {"x": {}, "y": _out("exp", units=2)}, [("x", "y", np.array([[-6.0], [30.0]]))], [[50.0]], [[0.0, 0.0]], "poisson"
    ),
    "weight 0 where t / y is 1 / 0: per-sample gradient, delta": _case(
        {"x": {}, "y": _out("gaussian")}, [("x", "y", 1.0)], [[300.0], [0.5]], [[1.0], [1.0]], "cross_entropy", s=[0.0, 1.0]
    ),
    "weight 0 where a hidden unit overflows: Hessian diagonal": _case(
        {"x": {}, "h": _hidden("exp"), "y": _out("exp")}, [("x", "h", 1.0), ("h", "y", 1.0)], [[800.0], [0.5]], [[1.0], [1.0]], "poisson",
        s=[0.0, 1.0],
    ),
    "the last layer leads to no output: Hessian": _case(
        {"x": {}, "y": _out(), "h": _hidden(units=4)}, [("x", "y", 1.0), ("y", "h", np.ones((4, 1)))], [[1.0]], [[0.0]]
    ),
    "tied sparse weights without entries": _case(
        {"x": {"units": 2}, "h": _hidden(), "y": _out()},
        [("x", "h", {"weight": _NOTHING, "tie": "t"}), ("x", "y", {"weight": _NOTHING.copy(), "tie": "t"}), ("h", "y", 1.0)],
        [[1.0, 2.0]], [[0.0]],
    ),
    "softmax beside another output, on soiled rows: gradient, vjp": _case(
        {"x": {}, "p": _out("exp"), "q": _out("softmax"), "r": _out("softmax")},
        [("x", "p", 1.0), ("x", "q", 0.5), ("x", "r", -0.5)], [[0.3]], [[0.1, 0.2, 0.3]], dirty=True,
    ),
    "an exponential under cross-entropy, in float32: operators": _case(
        {"x": {}, "y": _out("exp")}, [("x", "y", -8.0)], [[-5.588]], [[1.0]], "cross_entropy", "float32"
    ),
    "a bell under binary cross-entropy, in float32: gradient": _case(
        {"x": {}, "y": _out("wann.gaussian")}, [("x", "y", 0.2)], [[-0.03]], [[0.6]], "binary_cross_entropy", "float32"
    ),
    "an input that stands at a pole further on: jvp": _case(
        {"x": {}, "h": _hidden("sqrt"), "y": _out("softplus")}, [("h", "y", 1.0)], [[0.0]], [[0.0]], "poisson"
    ),
    "squares where y is 0 far away: error": _case({"x": {}, "y": _out("neat.hat")}, [("x", "y", 1.0)], [[-300.0]], [[0.0009]]),
    "softplus under Poisson, by matrix products: outer-product operator": _case(
        {"x": {}, "h": _hidden("sin"), "y": _out("softplus", units=2)},
        [("x", "h", 1.0), ("h", "y", np.array([[1.0], [0.5]]))], [[0.3]], [[1.0, 2.0]], "poisson",
    ),
    "a weight that a softmax shares: check": _case(
        {"x": {}, "p": _out("softmax"), "q": _out("softmax")},
        [("x", "p", {"weight": 1.0, "tie": "t"}), ("x", "q", {"weight": 1.0, "tie": "t"})],
        [[1.0]], [[0.2663740078030134, 0.7336259921969865]], "cross_entropy",
    ),
    "an infinite slope before a relu that is off: Jacobian, vjp, jvp, delta": _case(
        {"x": {}, "h": _hidden("sqrt"), "y": _out("relu", bias=-1.0)}, [("x", "h", 1.0), ("h", "y", 1.0)], [[0.0]], [[0.0]]
    ),
    "softplus next to 0: check": _case(
        {"x": {}, "h": _hidden("softplus"), "y": _out("softmax", units=2)},
        [("x", "h", 1.0), ("h", "y", np.array([[-1.0], [-1.0]]))], [[-27.0]], [[0.0, 1.0]], "cross_entropy",
    ),
}  # fmt: skip
