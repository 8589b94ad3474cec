"""Every built-in activation: at most 2 ulp from the exact value (mpmath), and IEEE 754's special values, in both dtypes."""

from __future__ import annotations

import ctypes
import math

import mpmath
import numpy as np
import pytest

from helpers.exact import EXACT

pytest.importorskip("numba", reason="the Numba backend is not installed")

from graphbp.extend import activation_table
from graphbp_numba.machine.formulas import FORMULAS
from graphbp_numba.machine.functions import activation_functions

BUILTIN = [row for row in activation_table if row.builtin and row.elementwise]


def exact(name, a, dtype):
    if name == "leaky_relu":  # the slope is the dtype's 0.01
        return a if a > 0 else mpmath.mpf(float(np.dtype(dtype).type(0.01))) * a
    return EXACT[name](a)


def call(row, kind, values):
    """h of an array, through the C function that the kernels call."""
    a = np.concatenate([values, np.ones(-len(values) % 16, values.dtype)])
    out = np.empty_like(a)
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 3)(activation_functions(row, values.dtype.name).address(kind))
    function(a.ctypes.data, out.ctypes.data, len(a))
    return out[: len(values)]


def samples(dtype):
    """Points over the whole range: around 0, the middle, near overflow and underflow, multiples of π/2, the largest."""
    rng = np.random.default_rng(7)
    info = np.finfo(dtype)
    top = math.log(float(info.max))
    bottom = math.log(float(info.smallest_subnormal))
    signs = rng.choice([-1, 1], 300)
    decades = rng.uniform(math.log10(float(info.tiny)), math.log10(float(info.max)) - 1, 300)
    parts = [
        rng.uniform(-1, 1, 300),
        rng.uniform(-20, 20, 300),
        rng.uniform(-45, 45, 200),
        rng.uniform(-top, top, 200),
        rng.uniform(bottom - 8, bottom + 40, 100),
        rng.normal(size=100) * 1e-3,
        signs * 10.0**decades,
        np.arange(1, 33) * math.pi / 2,
        [1e22, -1e22, 1048575.5, 1048577.0, 0.5 * math.log(2), -0.5 * math.log(2)],
        [float(info.smallest_subnormal), -float(info.smallest_subnormal), float(info.tiny), float(info.max), -float(info.max)],
    ]
    with np.errstate(all="ignore"):
        return np.unique(np.concatenate([np.asarray(part, float) for part in parts]).astype(dtype))


def ulps(value, truth, dtype):
    """|value − truth| in units of the last place of the truth; 0 where both overflow."""
    info = np.finfo(dtype)
    if not math.isfinite(value):
        return 0.0 if abs(truth) > float(info.max) * (1 - float(info.eps) / 8) and value * truth > 0 else math.inf
    exponent = mpmath.frexp(truth)[1] if truth else -(10**9)
    unit = mpmath.mpf(2) ** max(exponent - info.nmant - 1, info.minexp - info.nmant)
    return float(abs(mpmath.mpf(value) - truth) / unit)


def test_every_builtin_has_a_formula():
    assert {row.name for row in BUILTIN} == set(FORMULAS)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", BUILTIN, ids=lambda row: row.name)
def test_two_ulp(row, dtype):
    a = samples(dtype)
    a = a[(a > row.lower) & (a < row.upper) & (a != 0)]
    found = call(row, "f", a)
    with mpmath.workprec(240):
        worst = max(
            ((ulps(float(z), exact(row.name, mpmath.mpf(float(x)), dtype), dtype), float(x)) for x, z in zip(a, found, strict=True))
        )
    assert worst[0] <= 2, f"{row.name} in {dtype} is {worst[0]:.3g} ulp off at a = {worst[1]!r}"


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["f", "df", "d2f"])
@pytest.mark.parametrize("row", BUILTIN, ids=lambda row: row.name)
def test_special_values(row, kind, dtype):
    """NaN, ±∞, ±0, subnormals and the largest numbers: what the core's table says, where it is finite or a limit."""
    info = np.finfo(dtype)
    tiny = info.smallest_subnormal
    a = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, 1e4, -1e4, info.max, -info.max], dtype)
    a = a[np.isnan(a) | (a > row.lower) & (a < row.upper) | np.isinf(a) & (row.lower == -np.inf) | (a == np.inf)]
    found = call(row, kind, a)
    with np.errstate(all="ignore"):
        expected = np.asarray(getattr(row, kind)(a))
    assert np.isnan(found[0]), f"{row.name} {kind}(nan) is {found[0]}"
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-6 if dtype == "float32" else 1e-12, atol=float(tiny))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_outside_the_domain(dtype):
    rows = {row.name: row for row in BUILTIN}
    a = np.array([-1.0, 0.0, -np.inf], dtype)
    assert str(call(rows["log"], "f", a).tolist()) == "[nan, -inf, nan]"
    assert str(call(rows["sqrt"], "f", a).tolist()) == "[nan, 0.0, nan]"
    assert str(call(rows["rsqrt"], "f", a).tolist()) == "[nan, inf, nan]"
    assert str(call(rows["reciprocal"], "f", a).tolist()) == "[-1.0, inf, -0.0]"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "name", ["tanh", "softsign", "arctan", "sin", "expm1", "elu", "selu", "leaky_relu", "identity", "silu", "gelu"]
)
def test_signed_zero(name, dtype):
    """Odd functions, and those that are like a at 0, keep the sign of a zero."""
    row = next(row for row in BUILTIN if row.name == name)
    found = call(row, "f", np.array([0.0, -0.0], dtype))
    assert found.tolist() == [0, 0]
    assert np.signbit(found).tolist() == [False, True]


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["df", "d2f"])
@pytest.mark.parametrize("row", BUILTIN, ids=lambda row: row.name)
def test_derivatives(row, kind, dtype):
    """h' and h'' are the table's to rounding, relative to their largest value nearby."""
    rng = np.random.default_rng(1)
    a = np.concatenate([rng.uniform(-8, 8, 400), rng.uniform(0.05, 3, 112)]).astype(dtype)
    a = a[(a > row.lower) & (a < row.upper)]
    found, expected = call(row, kind, a), np.asarray(getattr(row, kind)(a.astype(float)))
    near = np.abs(expected) + np.max(np.abs(np.asarray(row.df(a.astype(float))))) * 1e-3 + 1e-300
    assert np.max(np.abs(found - expected) / near) < (1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", [row for row in BUILTIN if FORMULAS[row.name].dz is not None], ids=lambda row: row.name)
def test_slope_from_z(row, dtype):
    """dz(h(a)) is h'(a), to rounding in units of the largest h' (which is what a sum of gradients sees)."""
    a = np.random.default_rng(2).uniform(0.1 if row.lower == 0 else -6, 6, 512).astype(dtype)
    found, expected = call(row, "dz", call(row, "f", a)), np.asarray(row.df(a.astype(float)))
    assert np.max(np.abs(found - expected)) < 8 * np.finfo(dtype).eps * max(1, np.max(np.abs(expected)))
