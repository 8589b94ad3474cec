"""Every row of the error table: values and derivatives against mpmath, the canonical pair's δ = y − t, extremes."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import graphbp as gb
from graphbp.activations import get_activation
from graphbp.error_functions import error_table, get_error_function, register_error_function

mpmath.mp.dps = 50
EXACT = {
    "sum_of_squares": lambda y, t: (y - t) ** 2 / 2,
    "binary_cross_entropy": lambda y, t: -t * mpmath.log(y) - (1 - t) * mpmath.log(1 - y),
    "cross_entropy": lambda y, t: -t * mpmath.log(y),
    "poisson": lambda y, t: y - t * mpmath.log(y),
}
ROWS = [row for row in error_table if row.builtin]
Y, T = (part.ravel() for part in np.meshgrid([0.01, 0.2, 0.5, 0.97], [0.03, 0.4, 0.99]))


def test_every_row_has_an_exact_formula_here():
    assert {row.name for row in ROWS} == set(EXACT)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_against_mpmath(row, dtype, order):
    y, t = Y.astype(dtype), T.astype(dtype)
    found = (row.value, row.dy, row.d2y)[order](y, t)
    expected = [
        float(
            mpmath.diff(lambda v, w=float(b): EXACT[row.name](v, mpmath.mpf(w)), mpmath.mpf(float(a)), order, h=mpmath.mpf("1e-14"))
        )
        if order
        else float(EXACT[row.name](mpmath.mpf(float(a)), mpmath.mpf(float(b))))
        for a, b in zip(y, t, strict=True)
    ]
    assert found.dtype == y.dtype
    u = np.finfo(dtype).eps
    assert np.allclose(found, expected, rtol=400 * u, atol=20 * u)


@pytest.mark.parametrize("row", [row for row in ROWS if row.canonical], ids=lambda row: row.name)
def test_canonical_value_at_a_and_delta(row):
    """E as a function of a agrees with E of y, and its derivative by a, by the complex step, is y − t."""
    rng = np.random.default_rng(3)
    a = rng.normal(size=(3, 5))
    t = rng.dirichlet(np.ones(3), 5).T
    h = get_activation(row.canonical)
    value = row.value_at_a(a, t)
    value = value if value.ndim == 1 else value.sum(axis=0)
    assert np.allclose(value, row.value(h.f(a), t).sum(axis=0), rtol=1e-13)
    for k in range(3):
        moved = a.astype(complex)
        moved[k] += 1e-100j
        e = row.value_at_a(moved, t)
        e = e if e.ndim == 1 else e.sum(axis=0)
        assert np.allclose(e.imag / 1e-100, (h.f(a) - t)[k], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_saturated_canonical_pairs_stay_finite(row, dtype):
    """At a = ±80 the sigmoid rounds to 0 or 1; E is still right and nothing warns."""
    a = np.array([[80.0, -80.0], [-80.0, 80.0]], dtype)
    if row.name == "poisson":
        a = a / 2
    t = np.array([[1.0, 0.0], [0.0, 1.0]], dtype)
    value = np.asarray(row.value_at_a(a, t))
    assert np.isfinite(value).all()
    if row.name in ("binary_cross_entropy", "cross_entropy"):
        assert np.abs(value).max() < 1e-6
        assert np.asarray(row.value_at_a(a, 1 - t)).min() > 79


def test_zero_targets_at_zero_outputs():
    """t ln y is 0 where t = 0, also at y = 0."""
    zero, one = np.zeros(1), np.ones(1)
    assert get_error_function("cross_entropy").value(zero, zero) == 0
    assert get_error_function("binary_cross_entropy").value(zero, zero) == 0
    assert get_error_function("binary_cross_entropy").value(one, one) == 0
    assert get_error_function("poisson").value(zero, zero) == 0
    assert get_error_function("poisson").dy(zero, zero) == 1
    assert get_error_function("cross_entropy").d2y(zero, zero) == 0


def quartic(y, t):
    return (y - t) ** 4


def test_registering():
    row = register_error_function("test.quartic", quartic, lambda y, t: 4 * (y - t) ** 3, lambda y, t: 12 * (y - t) ** 2)
    assert gb.error_functions()["test.quartic"] is row
    for name, dy, d2y, message in [
        ("poisson", quartic, quartic, "built in"),
        ("test.q", quartic, quartic, r"dy\(y="),
        ("test.q", lambda y, t: 4 * (y - t) ** 3, quartic, r"d2y\(y="),
        ("test.q", None, quartic, "dy must be a function"),
        ("", quartic, quartic, "non-empty string"),
    ]:
        with pytest.raises(gb.RegistryError, match=message):
            register_error_function(name, quartic, dy, d2y)


def test_unknown():
    with pytest.raises(gb.UnknownNameError, match="did you mean 'poisson'"):
        get_error_function("poison")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda y, t: y - t + 0j, "value must return real numbers for real numbers; for float64 it gave complex128"),
        (lambda y, t: (y - t).sum(), "value must return an array of the shape it is given"),
        (lambda y, t: y.nothing, "value failed on arrays of float64"),
        (lambda y, t: np.asarray(y - t, object), "it gave object"),
    ],
)
def test_a_value_that_is_something_else_is_refused(value, message):
    with pytest.raises(gb.RegistryError, match=rf"error function 'test\.else': .*{message}"):
        gb.register_error_function("test.else", value, lambda y, t: y - t, lambda y, t: 1 + 0 * y)
    with pytest.raises(gb.RegistryError, match=r"error function 'test\.else': d2y"):
        gb.register_error_function("test.else", lambda y, t: 0.5 * (y - t) ** 2, lambda y, t: y - t, value)


def test_a_registered_error_refuses_outputs_that_leave_its_domain():
    gb.register_error_function(
        "test.itakura_saito",
        lambda y, t: t / y - np.log(t / y) - 1,
        lambda y, t: 1 / y - t / y**2,
        lambda y, t: 2 * t / y**3 - 1 / y**2,
        domain=(0, np.inf),
    )
    gb.Network(gb.layered([2, 1], output_activation="softplus"), error="test.itakura_saito", backend="numpy")
    with pytest.raises(gb.GraphError, match=r"output 'y' has activation 'identity'.*keeps to it"):
        gb.Network(gb.layered([2, 1]), error="test.itakura_saito", backend="numpy")
    with pytest.raises(gb.RegistryError, match=r"domain=\(1, 0\)"):
        gb.register_error_function("test.none", np.add, np.add, np.add, domain=(1, 0))
