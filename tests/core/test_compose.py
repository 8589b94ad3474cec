"""Quantities that an executable leaves out, composed from those it has."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import graphbp as gb
from graphbp import registry
from graphbp.protocols import REQUIRED_METHODS, Availability

X, T = np.array([[0.4, -0.3], [1.0, 0.2]]), np.array([[0.1, 0.2], [0.3, 0.4]])


class Least:
    """The NumPy backend with only the methods named."""

    def __init__(self, *methods: str) -> None:
        self.name, self.methods = "least", methods

    def availability(self) -> Availability:
        return Availability(True)

    def compile(self, *args: Any) -> Any:
        whole = registry.get_backend("numpy").compile(*args)
        return type("Executable", (), {name: staticmethod(getattr(whole, name)) for name in self.methods})()

    def owns(self, array: Any) -> bool:
        return False

    def asarray(self, array: Any, dtype: Any) -> Any:
        return np.ascontiguousarray(array, dtype)

    def to_numpy(self, array: Any) -> Any:
        return array


def pair(monkeypatch: pytest.MonkeyPatch, *more: str) -> tuple[gb.Network, gb.Network]:
    monkeypatch.setattr(registry, "_added", {"least": Least(*REQUIRED_METHODS, *more)})
    g = gb.layered([2, 3, 2], seed=1)
    return gb.Network(g, backend="least"), gb.Network(g, backend="numpy")


FROM_THE_REQUIRED = {
    "error": (X, T), "per_sample_gradient": (X, T), "jacobian": (X,), "weight_jacobian": (X,), "jvp": (X, X),
}  # fmt: skip


@pytest.mark.parametrize("name", FROM_THE_REQUIRED)
def test_first_order_is_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    least, whole = pair(monkeypatch)
    with warnings.catch_warnings(action="ignore", category=gb.ComposedWarning):
        found = getattr(least, name)(*FROM_THE_REQUIRED[name])
    np.testing.assert_allclose(found, getattr(whole, name)(*FROM_THE_REQUIRED[name]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("has", ["hessian", "hessian_product"])
def test_second_order_is_exact(has: str, monkeypatch: pytest.MonkeyPatch) -> None:
    least, whole = pair(monkeypatch, has)
    with warnings.catch_warnings(action="ignore", category=gb.ComposedWarning):
        np.testing.assert_allclose(least.hessian(X, T), whole.hessian(X, T), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(least.hessian_diagonal(X, T), whole.hessian_diagonal(X, T), rtol=1e-11, atol=1e-13)
        v = np.arange(1.0, least.n_parameters + 1)
        np.testing.assert_allclose(least.hessian_operator(X, T) @ v, whole.hessian(X, T) @ v, rtol=1e-11, atol=1e-13)


def test_it_is_announced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    least, _ = pair(monkeypatch)
    with pytest.warns(gb.ComposedWarning, match=r"'least' has no per_sample_gradient.*2 calls"):
        least.per_sample_gradient(X, T)
    with warnings.catch_warnings(action="error"):
        least.per_sample_gradient(X, T)


@pytest.mark.parametrize("name", ["hessian", "trace", "outer_product_hessian"])
def test_what_cannot_be_composed_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    least, _ = pair(monkeypatch)
    with (
        warnings.catch_warnings(action="ignore", category=gb.ComposedWarning),
        pytest.raises(gb.NotSupportedError, match="'least'"),
    ):
        getattr(least, name)(X, T)
