"""Far out: h, h' and h'' of every activation, and E, δ, R and Λ of every saturated head, against 60-digit arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from graphbp.activations import get_activation
from graphbp.error_functions import error_table, get_error_function
from graphbp.heads import Head
from helpers.exact import EXACT

mpmath.mp.dps = 60
SATURATED = ("tanh", "sigmoid", "elu", "selu", "expm1", "softsign", "arctan", "gaussian", "gelu", "silu", "softplus")
FAR = [-300.0, -80.0, -37.0, -20.0, -9.0, -5.0, -2.0, -0.5, 0.25, 3.0, 6.5, 15.0, 36.0, 90.0, 350.0]
TOLERANCE = {"float64": 4e-14, "float32": 4e-6}


def relative(found, exact, dtype):
    """The largest relative difference of what dtype can hold."""
    found, exact = np.asarray(found, float), [mpmath.mpf(v) for v in exact]
    floor = float(np.finfo(dtype).tiny) * 64
    return max(
        (abs(float((f - e) / e)) for f, e in zip(found, exact, strict=True) if abs(e) > floor and np.isfinite(f)), default=0.0
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", SATURATED)
def test_activations(name, order, dtype):
    row = get_activation(name)
    a = np.array([v for v in FAR if name != "expm1" or v < 80], dtype)
    exact = [mpmath.diff(EXACT[name], mpmath.mpf(float(v)), order, h=mpmath.mpf("1e-25")) for v in a] if order else []
    exact = exact or [EXACT[name](mpmath.mpf(float(v))) for v in a]
    if order:  # differencing itself ends near 1e-35 of f
        exact = [e if abs(e) > 1e-30 else mpmath.mpf(0) for e in exact]
    assert relative((row.f, row.df)[order](a), exact, dtype) < TOLERANCE[dtype]


@pytest.mark.parametrize("a", [1e12, -1e12, 1e15])
def test_the_bend_of_arctan_does_not_underflow_on_the_way(a):
    a = np.array([a], np.float32)
    assert get_activation("arctan").d2f(a)[0] == pytest.approx(-2 / float(a[0]) ** 3, rel=1e-6)
    wide = np.array([1e100])
    assert get_activation("arctan").d2f(wide)[0] == pytest.approx(-2e-300, rel=1e-14)


PAIRS = [(row.name, name) for row in error_table for name in row.pairs]
H = {
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "tanh": mpmath.tanh,
    "exp": mpmath.exp,
    "softplus": lambda a: mpmath.log1p(mpmath.exp(a)),
}
E = {
    "sum_of_squares": lambda y, t: (y - t) ** 2 / 2,
    "binary_cross_entropy": lambda y, t: (-t * mpmath.log(y) if t else 0) - ((1 - t) * mpmath.log(1 - y) if t != 1 else 0),
    "poisson": lambda y, t: y - (t * mpmath.log(y) if t else 0),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
@pytest.mark.parametrize(("error", "activation"), PAIRS)
def test_pairs(error, activation, t, dtype):
    row, h = get_error_function(error), get_activation(activation)
    head = Head(np.arange(1), h, row, row.canonical == h.name)
    points = np.array([-39.0, -30.0, -12.0, -3.0, -1e-3, 1e-3, 0.7, 4.0, 14.0, 30.0], dtype)
    a, target = points[None], np.full((1, len(points)), t, dtype)
    y = h.f(a)
    with mpmath.workdps(200):
        exact = [
            [
                mpmath.diff(lambda v: E[error](H[activation](v), mpmath.mpf(t)), mpmath.mpf(float(v)), n, h=mpmath.mpf("1e-50"))
                for v in points
            ]
            for n in (1, 2)
        ]
        value = [E[error](H[activation](mpmath.mpf(float(v))), mpmath.mpf(t)) for v in points]
    found = head.value(a, y, target), head.delta(a, y, target)[0], head.output_hessian(a, y, target)[0]
    for got, want in zip(found, [value, *exact], strict=True):
        assert got.dtype == np.dtype(dtype)
        assert relative(got, want, dtype) < 10 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("ahead", [0.0, 5.0, 20.0, 36.0, 60.0])
def test_softmax_with_the_right_class_ahead(ahead, dtype):
    row, h = get_error_function("cross_entropy"), get_activation("softmax")
    head = Head(np.arange(3), h, row, True)
    a, t = np.array([[ahead], [0.0], [-1.0]], dtype), np.array([[1.0], [0.0], [0.0]], dtype)
    y = h.f(a)
    e = [mpmath.exp(mpmath.mpf(float(v)) - ahead) for v in a[:, 0]]
    p = [v / sum(e) for v in e]
    assert relative(head.value(a, y, t), [-mpmath.log(p[0])], dtype) < TOLERANCE[dtype]
    assert relative(head.delta(a, y, t)[:, 0], [-(p[1] + p[2]), p[1], p[2]], dtype) < TOLERANCE[dtype]
    R = head.output_hessian(a, y, t)[:, :, 0]
    exact = [p[0] * (p[1] + p[2]), p[1] * (p[0] + p[2]), p[2] * (p[0] + p[1])]
    assert relative(np.diag(R), exact, dtype) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_equal_logits_of_any_size_are_a_third_each(dtype):
    row, h = get_error_function("cross_entropy"), get_activation("softmax")
    a, t = np.full((3, 1), 1e8, dtype), np.array([[1.0], [0.0], [0.0]], dtype)
    value = Head(np.arange(3), h, row, True).value(a, h.f(a), t)
    assert value[0] == pytest.approx(np.log(3), rel=2 * float(np.finfo(dtype).eps))
