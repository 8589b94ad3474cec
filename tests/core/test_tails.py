"""Far out: h, h' and h'' of every activation, and E, δ, R and Λ of every saturated head, against 60-digit arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import graphbp as gb
from graphbp.activations import activation_table, get_activation, register_activation
from graphbp.error_functions import error_table, get_error_function, pair_of
from graphbp.heads import HeadGroup
from graphbp.links import _range
from helpers import tails
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


get_activation("neat.sigmoid")  # the plugins' too


def _fits(error, activation):
    low, high = _range(activation)
    return activation.elementwise and error.domain[0] <= low and high <= error.domain[1] and pair_of(error, activation) is not None


PAIRS = [(e.name, h.name) for e in error_table if e.builtin for h in activation_table if h.name in tails.H and _fits(e, h)]
TARGETS = [0.0, float(np.float32(0.3)), 1.0]
QUANTITIES = ["E", "δ", "R", "Λ"]


def found(error, activation, a, t, dtype):
    """E, δ, R and Λ at one output."""
    row, h = get_error_function(error), get_activation(activation)
    head = HeadGroup(np.arange(1), h, row, row.canonical == h.name)
    at, target = np.array([[a]], dtype), np.array([[t]], dtype)
    with np.errstate(all="ignore"):  # overflow, as in an executable
        y = h.f(at)
        each = (
            head.value(at, y, target),
            head.delta(at, y, target),
            head.output_hessian(at, y, target),
            head.gauss_newton(at, y, target),
        )
    assert all(value.dtype == np.dtype(dtype) for value in each)
    return [float(value.ravel()[0]) for value in each]


# y − t beside a y that hits t, or a vanishing sum of terms that a alone does not make vanish: rounding decides, and nothing is saturated
AT_ZEROS = {
    ("sum_of_squares", "elu", "R"),
    ("sum_of_squares", "expm1", "R"),
    ("sum_of_squares", "neat.sin", "E"),
    ("poisson", "neat.hat", "R"),
}
STEEP = {"neat.gauss": 60}  # exp(−57.8), where a is held


@pytest.mark.sampled(12)
@pytest.mark.parametrize("t", TARGETS)
@pytest.mark.parametrize(("error", "activation"), PAIRS)
def test_pairs(error, activation, t):
    h = get_activation(activation)
    for a in tails.POINTS:
        exact = tails.at(error, activation, a, t)
        if exact is None or (activation.startswith("wann.") and activation.endswith("_pi") and abs(a) > 1e-3):
            continue  # a pole; or the rounding of π a, which is graphbp's, is what decides
        for dtype in ("float64", "float32"):
            info = np.finfo(dtype)
            got = found(error, activation, a, t, dtype)
            for name, value, (want, moved) in zip(QUANTITIES, got, zip(*exact, strict=True), strict=True):
                outer = name == "Λ" and get_error_function(error).canonical == h.name
                if outer or (error, activation, name) in AT_ZEROS or abs(want) > float(info.max) / 8:
                    continue
                room = 16 * (1 + moved) * float(info.eps) * STEEP.get(activation, 1)
                assert abs(value - want) <= room * abs(want) + 100 * float(info.tiny), (a, dtype, name, value, float(want))


SOFTMAXES = [
    ("binary_cross_entropy", [3.0, 30.0], [0.0, 0.0]),
    ("binary_cross_entropy", [40.0, 0.0, -1.0], [1.0, 0.0, 0.0]),
    ("binary_cross_entropy", [0.0, 90.0, 80.0], [1.0, 0.0, 0.25]),
    ("binary_cross_entropy", [-700.0, 0.0, 5.0], [1.0, 0.0, 1.0]),
    ("binary_cross_entropy", [0.5, -0.5, 0.25], [0.25, 0.5, 0.0]),
    ("poisson", [36.0, 0.0, -36.0], [1.0, 0.0, 0.0]),
    ("poisson", [5.0, 700.0, 5.0], [0.0, 3.0, 0.5]),
    ("poisson", [-15.0, 90.0], [2.0, 0.0]),
]


def softmax_exactly(error, a, t):
    """E, δ, R and Λ by the chain rule through y, in arithmetic of 800 digits."""
    each = range(len(a))
    e = [mpmath.exp(mpmath.mpf(v)) for v in a]
    p, rest = [v / sum(e) for v in e], [sum(e[j] for j in each if j != c) / sum(e) for c in each]
    n = [1 - v if error == "binary_cross_entropy" else 0 for v in t]
    alpha = int(error == "poisson")
    E = alpha - sum((t[c] * mpmath.log(p[c]) if t[c] else 0) + (n[c] * mpmath.log(rest[c]) if n[c] else 0) for c in each)
    d = [[rest[c] if c == i else -p[i] for i in each] for c in each]  # ∂ ln y_c / ∂a_i
    P = [[p[c] * d[c][i] for i in each] for c in each]
    e1, e2 = [alpha - t[c] / p[c] + n[c] / rest[c] for c in each], [t[c] / p[c] ** 2 + n[c] / rest[c] ** 2 for c in each]
    delta = [sum(P[c][i] * e1[c] for c in each) for i in each]
    outer = [sum(P[c][i] * e2[c] * P[c][j] for c in each) for i in each for j in each]
    bent = [sum(e1[c] * p[c] * (d[c][i] * d[c][j] - P[i][j]) for c in each) for i in each for j in each]
    return [E], delta, [x + y for x, y in zip(outer, bent, strict=True)], outer


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("error", "a", "t"), SOFTMAXES)
def test_a_saturated_softmax_under_errors_of_logarithms(error, a, t, dtype):
    at, target = np.array(a, dtype)[:, None], np.array(t, dtype)[:, None]
    h = get_activation("softmax")
    y, head = h.f(at), HeadGroup(np.arange(len(a)), h, get_error_function(error), False)
    each = (
        head.value(at, y, target),
        head.delta(at, y, target),
        head.output_hessian(at, y, target),
        head.gauss_newton(at, y, target),
    )
    with mpmath.workdps(800):
        exact = softmax_exactly(error, a, t)
    for got, want in zip(each, exact, strict=True):
        assert got.dtype == np.dtype(dtype)
        assert relative(got.ravel(), want, dtype) < TOLERANCE[dtype]


def test_a_user_s_own_activation_offers_its_tails():
    tails_ = get_activation("sigmoid").tails.scaled(3.0)
    row = register_activation(
        "test.steep",
        lambda a: 1 / (1 + np.exp(-3 * a)),
        lambda a: tails_.df(a),
        lambda a: tails_.d2f(a),
        range=(0, 1),
        tails=tails_,
    )
    head = HeadGroup(np.arange(1), row, get_error_function("binary_cross_entropy"), False)
    a, t = np.array([[20.0]]), np.array([[0.0]])
    assert head.value(a, row.f(a), t) == pytest.approx(60.0)
    assert head.delta(a, row.f(a), t)[0, 0] == pytest.approx(3.0, rel=1e-15)


def test_tails_that_contradict_the_activation_are_refused():
    with pytest.raises(gb.GraphbpError, match=r"tails\.less"):
        register_activation(
            "test.wrong", np.tanh, get_activation("tanh").df, get_activation("tanh").d2f, tails=get_activation("sigmoid").tails
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("ahead", [0.0, 5.0, 20.0, 36.0, 60.0])
def test_softmax_with_the_right_class_ahead(ahead, dtype):
    row, h = get_error_function("cross_entropy"), get_activation("softmax")
    head = HeadGroup(np.arange(3), h, row, True)
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
    value = HeadGroup(np.arange(3), h, row, True).value(a, h.f(a), t)
    assert value[0] == pytest.approx(np.log(3), rel=2 * float(np.finfo(dtype).eps))
