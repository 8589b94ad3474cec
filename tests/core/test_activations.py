"""Every row of the activation table against mpmath: f, f' and f'' in both dtypes, at large |a|, without a warning."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import graphbp as gb
from graphbp.activations import Activation, activation_table, get_activation, register_activation
from graphbp.error_functions import get_error_function, pair_of
from helpers.exact import EXACT

mpmath.mp.dps = 60
ROWS = [row for row in activation_table if row.builtin and row.elementwise]
POINTS = np.float32([-30, -9.5, -4, -1.25, -0.75, -0.3, -0.01, -1e-4, 1e-4, 0.02, 0.4, 0.8, 1.5, 3, 7.25, 28])
TOLERANCE = {"float64": 8e-15, "float32": 6e-6}
"""A few ulp, relative to 1 + |value| near zeros; exp(-a²) at a = 30 loses digits of its argument, a² u."""


def points(row, dtype):
    a = POINTS[(row.lower < POINTS) & (row.upper > POINTS)].astype(dtype)
    return a[np.abs(a) < 9] if row.name in ("exp", "expm1") else a


def exact(row, a, order):
    f = EXACT[row.name]
    return (
        [float(mpmath.diff(f, mpmath.mpf(float(v)), order, h=mpmath.mpf("1e-12"))) for v in a]
        if order
        else [float(f(mpmath.mpf(float(v)))) for v in a]
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_against_mpmath(row, order, dtype):
    a = points(row, dtype)
    found = (row.f, row.df, row.d2f)[order](a)
    expected = np.array(exact(row, a, order))
    assert found.dtype == a.dtype
    assert found.shape == a.shape
    limit = TOLERANCE[dtype] * np.maximum(np.abs(expected), np.finfo(np.float32).tiny + 0.05 * min(1, np.abs(expected).max()))
    worst = int(np.argmax(np.abs(found - expected) - limit))
    assert abs(found[worst] - expected[worst]) <= limit[worst], f"a = {a[worst]}: {found[worst]!r}, exactly {expected[worst]!r}"


def test_every_row_has_an_exact_formula():
    assert {row.name for row in ROWS} == set(EXACT)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_large_arguments_give_limits_without_warnings(row, dtype):
    """Warnings are errors here.  What grows without bound (exp, a², 1/a at 0) is asked for where it fits the dtype."""
    huge = {"exp": 80, "expm1": 80, "square": 1e18, "reciprocal": 1e10, "rsqrt": 1e10}.get(
        row.name, 1e30 if dtype == "float64" else 1e18
    )
    low = {"reciprocal": 1e-10, "log": 1e-10, "sqrt": 1e-10, "rsqrt": 1e-10}.get(row.name, -huge)
    for order, function in enumerate((row.f, row.df, row.d2f)):
        value = function(np.array([low, huge, 0.5], dtype))
        assert np.isfinite(value).all(), f"order {order}: {value}"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "name", ["tanh", "sigmoid", "relu", "gelu", "silu", "softplus", "softsign", "arctan", "gaussian", "elu", "selu"]
)
def test_infinity_gives_a_limit_and_nan_stays(name, dtype):
    row = get_activation(name)
    a = np.array([-np.inf, np.inf, np.nan], dtype)
    for function in (row.f, row.df, row.d2f):
        value = function(a)
        assert not np.isnan(value[:2]).any(), f"{value}"
    assert np.isnan(row.f(a)[2])


@pytest.mark.parametrize("row", [row for row in ROWS if row.analytic], ids=lambda row: row.name)
def test_analytic_rows_take_complex_steps(row):
    """Im f(a + iε) / ε is f', and Im f'(a + iε) / ε is f''."""
    a = points(row, np.float64)
    for low, high in ((row.f, row.df), (row.df, row.d2f)):
        step = np.imag(low(a + 1e-100j)) / 1e-100
        assert np.allclose(step, high(a), rtol=1e-11, atol=1e-13)


def test_softmax():
    row = get_activation("softmax")
    a = np.array([[1000.0, -5, 0], [0, 2, -2000], [999, 1, 0]])
    y = row.f(a)
    assert np.allclose(y.sum(axis=0), 1, rtol=1e-15)
    assert np.allclose(y[:, 0], [1 / (1 + np.exp(-1)), 0, np.exp(-1) / (1 + np.exp(-1))])
    with pytest.raises(TypeError, match="couples its units"):
        row.df(a)


def cube(a):
    return a**3


def dcube(a):
    return 3 * a**2


def d2cube(a):
    return 6 * a


def test_registering():
    row = register_activation("test.cube", cube, dcube, d2cube, analytic=True)
    assert gb.activations()["test.cube"] is row
    assert register_activation("test.cube", cube, dcube, d2cube, analytic=True).name == "test.cube"  # again, the same


@pytest.mark.parametrize(
    ("name", "functions", "message"),
    [
        ("tanh", (cube, dcube, d2cube), "'tanh' is built in"),
        ("", (cube, dcube, d2cube), "non-empty string"),
        ("test.a", (cube, None, d2cube), "df must be a function"),
        ("test.b", (cube, lambda a: -dcube(a), d2cube), r"df\(.*differencing gives"),
        ("test.c", (cube, dcube, lambda a: 5 * a), r"d2f\(.*differencing gives"),
        ("test.d", (np.sum, dcube, d2cube), "must return an array of the shape"),
        ("test.e", (lambda a: a.nothing, dcube, d2cube), "f failed on an array of float64"),
    ],
)
def test_what_cannot_be_registered(name, functions, message):
    with pytest.raises(gb.RegistryError, match=message):
        register_activation(name, *functions)
    assert name in ("tanh",) or name not in gb.activations()


def test_unknown():
    with pytest.raises(gb.UnknownNameError, match="unknown activation 'tahn'; did you mean 'tanh'"):
        get_activation("tahn")
    with pytest.raises(gb.UnknownNameError, match="unknown activation 3"):
        get_activation(3)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda a: a + 0j, "f must return real numbers for real numbers; for float64 it gave complex128"),
        (np.emath.sqrt, "f must return real numbers"),
        (lambda a: a.astype(object), "it gave object"),
        (lambda a: a.astype(str), "it gave <U32"),
        (lambda a: a[:5], "f must return an array of the shape it is given"),
        (lambda a: 1.0, "f must return an array of the shape it is given"),
        (lambda a: a.ravel(), r"for \(2, 3\) it gave \(6,\)"),
        (lambda a: [[1.0], [1.0, 2.0]], "which is no array"),
    ],
)
def test_a_function_that_returns_something_else_is_refused(f, message):
    with pytest.raises(gb.RegistryError, match=rf"activation 'test\.else': .*{message}"):
        gb.register_activation("test.else", f, np.cos, lambda a: -np.sin(a))
    with pytest.raises(gb.RegistryError, match=r"activation 'test\.else': df"):
        gb.register_activation("test.else", np.sin, f, lambda a: -np.sin(a))


def test_a_function_that_turns_complex_later_is_named_where_it_does():
    """Registered when all was well: what is sampled then cannot foretell everything."""
    turned = False
    gb.register_activation("test.turns", lambda a: a + 1j if turned else a + 0, lambda a: 1 + 0 * a, lambda a: 0 * a)
    net = gb.Network(gb.layered([1, 2, 1], activation="test.turns"), backend="numpy")
    turned = True
    with pytest.raises(gb.RegistryError, match=r"activation 'test\.turns': f must return real numbers"):
        net.forward([[1.0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lower": 2.0, "upper": 1.0}, "leave no interval"),
        ({"lower": math.nan}, "lower=nan"),
        ({"kinks": "a"}, "kinks='a'"),
        ({"range": (1, 0)}, r"range=\(1\.0, 0\.0\)"),
        ({"range": 3}, "range=3"),
        ({"analytic": "yes"}, "analytic='yes'"),
    ],
)
def test_options_of_a_registration(options, message):
    with pytest.raises(gb.RegistryError, match=rf"activation 'test\.options': .*{message}"):
        gb.register_activation("test.options", np.sin, np.cos, lambda a: -np.sin(a), **options)


@pytest.mark.parametrize("row", [row for row in activation_table if row.analytic and row.elementwise], ids=lambda row: row.name)
def test_a_complex_step_leaves_the_value_its_digits(row: Activation) -> None:
    """f(a + ih) has the real part f(a), also where f is next to 0: NumPy's log1p of a complex number loses it."""
    sizes = np.geomspace(1e-12, 500, 400)
    a = np.concatenate([-sizes[::-1], sizes])
    a = a[(a > row.lower) & (a < row.upper)]
    with np.errstate(all="ignore"):
        for f in (row.f, row.df):
            np.testing.assert_allclose(f(a + 1e-200j).real, f(a), rtol=1e-12, atol=1e-300)


def test_a_complex_step_leaves_errors_their_digits() -> None:
    a, t = np.linspace(-60, 60, 241), np.zeros(241)
    rows = {row.name: row for row in activation_table}
    for error, activation in (("binary_cross_entropy", "sigmoid"), ("poisson", "softplus"), ("sum_of_squares", "softplus")):
        pair = pair_of(get_error_function(error), rows[activation])
        assert pair is not None
        np.testing.assert_allclose(pair.value(a + 1e-200j, t).real, pair.value(a, t), rtol=1e-12)
