"""The CUDA forms of activations and errors against the core's tables, row by row, at ordinary and at extreme arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from instruments import fake_cupy, probe

import graphbp as gb
from graphbp.exceptions import UnknownNameError
from graphbp.extend import (
    Activation,
    ErrorFunction,
    NotSupportedError,
    activation_table,
    error_table,
    get_activation,
    get_error_function,
    register_activation,
)
from graphbp_cupy import formulas, module, register_cuda_activation, register_cuda_error_function
from graphbp_cupy.formulas import BUILT_IN, Selection, select
from graphbp_cupy.tracing import to_cuda

_TABULATE = """
extern "C" __global__ void tabulate_activation(int kind, const real* a, long long n, real* out) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    out[i] = activation_f(kind, a[i]);
    out[n + i] = activation_df(kind, a[i]);
    out[2 * n + i] = activation_d2f(kind, a[i]);
}
extern "C" __global__ void tabulate_error(int error, const real* y, const real* t, long long n, real* out) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    out[i] = error_value(error, y[i], t[i]);
    out[n + i] = error_dy(error, y[i], t[i]);
    out[2 * n + i] = error_d2y(error, y[i], t[i]);
    out[3 * n + i] = error_at_a(error, y[i], t[i]);
}
"""
ACTIVATIONS = [row for row in activation_table if row.builtin and row.elementwise]
ERRORS = [row for row in error_table if row.builtin]
ULPS = 40
"""Allowed, relative to the value: exp and tanh differ by an ulp or two between libraries, and the formulas multiply several."""


def tabulate(kernel: str, number: int, dtype: str, *arguments: Any, rows: Selection = BUILT_IN) -> Any:
    source = f"{module.formulas_source(rows)}\n{_TABULATE}"  # compiled in a third of the time of the whole
    kernels = fake_cupy.RawModule(code=source, options=module.compile_options(np.dtype(dtype)))
    arrays = [fake_cupy.asarray(np.array(values, dtype)) for values in arguments]
    n = arrays[0].size
    out = fake_cupy.empty((3 if len(arrays) == 1 else 4, n), dtype)
    kernels.get_function(kernel)((-(-n // 256),), (256,), (np.int32(number), *arrays, np.int64(n), out))
    return out.get()


def agree(got: Any, exact: Callable[[Any], Any], dtype: str, label: str) -> None:
    with np.errstate(all="ignore"):
        wanted = np.asarray(exact(np.float64)).astype(dtype)
        own = np.nan_to_num(np.abs(np.asarray(exact(np.dtype(dtype).type)) - wanted))  # what the core's formula loses in this dtype
    tiny = np.finfo(dtype).tiny * 1e3  # the GPU flushes what is smaller to 0
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    close = np.abs(got - wanted) <= ULPS * np.finfo(dtype).eps * np.maximum(np.abs(wanted), 1e-2) + 4 * own + tiny
    assert (same | close).all(), f"{label}: {got[~(same | close)][:4]} for {wanted[~(same | close)][:4]}"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", ACTIVATIONS, ids=lambda row: row.name)
def test_activation(row: Activation, dtype: str) -> None:
    ordinary = np.linspace(-6, 6, 241)
    extreme = np.array([-200.0, -80.0, -30.0, -1e-6, 0.0, 1e-6, 30.0, 80.0, np.nan])
    if row.name in ("sin", "cos"):
        extreme = extreme[np.abs(extreme) < 50]
    a = np.concatenate([ordinary, extreme])
    a = a[~((a <= row.lower) | (a >= row.upper))].astype(dtype)
    if row.name == "reciprocal":
        a = a[a != 0]
    got = tabulate("tabulate_activation", BUILT_IN.activations.index(row.name), dtype, a)
    for values, function, label in zip(got, (row.f, row.df, row.d2f), ("f", "f'", "f''"), strict=True):
        agree(values, lambda wide, h=function: h(a.astype(wide)), dtype, f"{row.name} {label}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", ERRORS, ids=lambda row: row.name)
def test_error_function(row: ErrorFunction, dtype: str) -> None:
    y, t = (part.ravel().astype(dtype) for part in np.meshgrid(np.linspace(0.05, 0.95, 19), [0.0, 0.25, 0.5, 1.0]))
    got = tabulate("tabulate_error", BUILT_IN.errors.index(row.name), dtype, y, t)
    for values, function, label in zip(got, (row.value, row.dy, row.d2y), ("e", "e'", "e''"), strict=False):
        agree(values, lambda wide, e=function: e(y.astype(wide), t.astype(wide)), dtype, f"{row.name} {label}")
    if row.value_at_a is not None and row.canonical != "softmax":
        agree(got[3], lambda wide: row.value_at_a(y.astype(wide), t.astype(wide)), dtype, f"{row.name} at a")


def test_every_row_of_the_core_has_a_cuda_form() -> None:
    """A row added to the core without its CUDA form fails here, by name."""
    assert [row.name for row in activation_table if row.builtin and row.name not in formulas.ACTIVATIONS] == []
    assert [row.name for row in error_table if row.builtin and row.name not in formulas.ERRORS] == []


def registered_rows() -> list[Activation]:
    """Those of the plugins, whose functions are NumPy's."""
    for loader in ("wann.negate", "neat.sigmoid"):
        try:
            get_activation(loader)
        except UnknownNameError:
            continue
    return [row for row in activation_table if row.name.startswith(("wann.", "neat."))]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", registered_rows(), ids=lambda row: row.name)
def test_a_registered_activation_writes_itself_in_cuda(row: Activation, dtype: str) -> None:
    rows = select([row], get_error_function("sum_of_squares"))
    a = np.concatenate([np.linspace(-4, 4, 97), [-70.0, 70.0, 0.0, np.nan]]).astype(dtype)
    got = tabulate("tabulate_activation", rows.activations.index(row.name), dtype, a, rows=rows)
    for values, function, label in zip(got, (row.f, row.df, row.d2f), ("f", "f'", "f''"), strict=True):
        agree(values, lambda wide, h=function: h(a.astype(wide)), dtype, f"{row.name} {label}")


def _stubborn(a: Any) -> Any:
    return np.array([float(v) ** 3 for v in np.ravel(a)]).reshape(np.shape(a))


def test_what_cannot_be_traced_is_refused_by_name_until_it_has_a_cuda_form() -> None:
    register_activation("cubic_for_cuda", _stubborn, lambda a: 3 * a**2, lambda a: 6 * a)
    g = gb.layered([2, 3, 1], activation="cubic_for_cuda")
    with pytest.raises(NotSupportedError, match=r"cubic_for_cuda.*register_cuda_activation"):
        gb.Network(g, backend=probe.SIMULATED)
    register_cuda_activation("cubic_for_cuda", "a * a * a", "real(3) * a * a", "real(6) * a")
    try:
        net, truth = gb.Network(g, backend=probe.SIMULATED), gb.Network(g, backend="numpy")
        X = np.array([[0.3, -0.4], [1.1, 0.2]])
        np.testing.assert_allclose(net.hessian(X, X[:, :1]), truth.hessian(X, X[:, :1]), rtol=1e-12, atol=1e-14)
    finally:
        del formulas.ACTIVATIONS["cubic_for_cuda"]


def test_a_registered_error_function_writes_itself_in_cuda() -> None:
    gb.register_error_function(
        "pseudo_huber_for_cuda",
        lambda y, t: np.sqrt(1 + (y - t) ** 2) - 1,
        lambda y, t: (y - t) / np.sqrt(1 + (y - t) ** 2),
        lambda y, t: 1 / np.sqrt(1 + (y - t) ** 2) ** 3,
    )
    g = gb.layered([3, 4, 2], activation="tanh")
    nets = [gb.Network(g, error="pseudo_huber_for_cuda", backend=name) for name in ("numpy", probe.SIMULATED)]
    X = np.random.default_rng(0).normal(size=(9, 3))
    truth, found = (net.hessian(X, X[:, :2]) for net in nets)
    np.testing.assert_allclose(found, truth, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(nets[1].gradient(X, X[:, :2]), nets[0].gradient(X, X[:, :2]), rtol=1e-12)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda a: a**3 - 0.5, "((a * a * a) - real(0x1.0000000000000p-1))"),
        (lambda a: np.where((a > 0) & ~np.isnan(a), a, -np.inf), "(((a > real(0)) && (!isnan(a))) ? a : (real(-1) / real(0)))"),
        (lambda a: (a > 1) * a, "(real((a > real(1))) * a)"),
        (lambda a: np.clip(a, -1, 1), "smaller(larger(a, real(-1)), real(1))"),
        (lambda a: 0 * a + 7, "((real(0) * a) + real(7))"),
    ],
)
def test_tracing_writes_what_numpy_computes(function: Any, text: str) -> None:
    assert to_cuda(function, "a") == text


@pytest.mark.parametrize(
    "function",
    [
        lambda a: a if a > 0 else 0,
        lambda a: a[0],
        lambda a: np.sort(a),
        lambda a: np.add.reduce(a),
        lambda a: np.sinc(a),
        lambda a: a + "1",
    ],
)
def test_tracing_guesses_nothing(function: Any) -> None:
    with pytest.raises(NotSupportedError):
        to_cuda(function, "a")


@pytest.mark.parametrize("text", ["", "a; b", "f(a) // x", "{a}", 3])
def test_what_is_not_an_expression_is_refused(text: Any) -> None:
    with pytest.raises(NotSupportedError):
        register_cuda_activation("tanh", text, "a", "a")
    with pytest.raises(NotSupportedError):
        register_cuda_error_function("sum_of_squares", text, "y", "y")
