"""Heads: δ, R and Λ for every error × activation, against the complex step in a."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.activations import get_activation
from graphbp.error_functions import error_table, get_error_function
from graphbp.heads import HeadGroup, head_groups

PAIRS = [
    (row.name, h)
    for row in error_table
    if row.builtin
    for h in ("identity", "sigmoid", "gaussian", "exp", "softmax")
    if not (row.name in ("binary_cross_entropy",) and h == "exp")
]


def head_of(error, activation, k=3):
    row, h = get_error_function(error), get_activation(activation)
    return HeadGroup(np.arange(k), h, row, row.canonical == h.name)


@pytest.mark.parametrize(("error", "activation"), PAIRS)
def test_delta_and_both_matrices(error, activation):
    rng = np.random.default_rng(1)
    head, h = head_of(error, activation), get_activation(activation)
    a = rng.uniform(0.3, 0.8, (3, 4))
    t = rng.dirichlet(np.ones(3), 4).T
    y = h.f(a)
    delta, R = head.delta(a, y, t), head.output_hessian(a, y, t)
    R = R if R.ndim == 3 else np.einsum("kn,kl->kln", R, np.eye(3))
    jacobian = np.empty((3, 3, 4))
    for k in range(3):
        moved = a.astype(complex)
        moved[k] += 1e-100j
        z = h.f(moved)
        assert np.allclose(head.value(moved, z, t).imag / 1e-100, delta[k], rtol=1e-12, atol=1e-14)
        assert np.allclose(head.delta(moved, z, t).imag / 1e-100, R[k], rtol=1e-11, atol=1e-13)
        jacobian[:, k] = z.imag / 1e-100
    v = rng.normal(size=(3, 4))
    assert np.allclose(head.pullback(a, y, v), np.einsum("ckn,cn->kn", jacobian, v), rtol=1e-12, atol=1e-14)
    assert np.allclose(head.pushforward(a, y, v), np.einsum("ckn,kn->cn", jacobian, v), rtol=1e-12, atol=1e-14)
    lam = head.gauss_newton(a, y, t)
    lam = lam if lam.ndim == 3 else np.einsum("kn,kl->kln", lam, np.eye(3))
    expected = R if head.canonical else np.einsum("ckn,cn,cln->kln", jacobian, head.error.d2y(y, t), jacobian)
    assert np.allclose(lam, expected, rtol=1e-11, atol=1e-13)
    assert np.allclose(R, R.transpose(1, 0, 2), rtol=1e-13, atol=1e-15)


def test_heads_cover_every_output_once():
    g = nx.DiGraph()
    g.add_node("x")
    for name, kind, units in [
        ("p", "softmax", 3),
        ("s1", "softmax", 1),
        ("r", "sigmoid", 2),
        ("s2", "softmax", 1),
        ("q", "softplus", 1),
    ]:
        g.add_node(name, units=units, activation=kind)
        g.add_edge("x", name, weight=np.ones((units, 1)) if units > 1 else 1.0)
    net = gb.Network(g, error="cross_entropy", backend="numpy")
    heads = head_groups(net.schedule, net.error_function)
    assert sorted(np.concatenate([head.positions for head in heads]).tolist()) == list(range(8))
    assert [(head.activation.name, head.positions.tolist(), head.canonical) for head in heads] == [
        ("softmax", [0, 1, 2], True),
        ("softmax", [3, 6], True),
        ("sigmoid", [4, 5], False),
        ("softplus", [7], False),
    ]
