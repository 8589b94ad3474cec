"""Quantities that an executable leaves out, composed from those it has."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import graphbp as gb
from graphbp import registry
from graphbp.protocols import OPTIONAL_METHODS, REQUIRED_METHODS
from helpers.backends import HostBackend

X, T = np.array([[0.4, -0.3], [1.0, 0.2]]), np.array([[0.1, 0.2], [0.3, 0.4]])


class Least(HostBackend):
    """The NumPy backend with only the methods named."""

    name = "least"

    def __init__(self, *methods: str) -> None:
        self.methods = methods

    def compile(self, *args: Any) -> Any:
        whole = registry.get_backend("numpy").compile(*args)
        return type("Executable", (), {name: staticmethod(getattr(whole, name)) for name in self.methods})()


def pair(monkeypatch: pytest.MonkeyPatch, *more: str, hidden: int = 3) -> tuple[gb.Network, gb.Network]:
    monkeypatch.setattr(registry, "_added", {"least": Least(*REQUIRED_METHODS, *more)})
    g = gb.layered([2, hidden, 2], seed=1)
    return gb.Network(g, backend="least"), gb.Network(g, backend="numpy")


FROM_THE_REQUIRED = {
    "error": (X, T), "per_sample_gradient": (X, T, [2.0, 0.5]), "jacobian": (X,), "weight_jacobian": (X,), "jvp": (X, X),
    "weight_jvp": (X, np.arange(17.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", FROM_THE_REQUIRED)
def test_first_order_is_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    least, whole = pair(monkeypatch)
    with warnings.catch_warnings(action="ignore", category=gb.ComposedWarning):
        found = getattr(least, name)(*FROM_THE_REQUIRED[name])
    np.testing.assert_allclose(found, getattr(whole, name)(*FROM_THE_REQUIRED[name]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["hessian", "outer_product"])
@pytest.mark.parametrize("full", [True, False])
def test_second_order_is_exact(kind: str, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """W = 82: more columns than one block of the identity."""
    matrix = "hessian" if kind == "hessian" else "outer_product_hessian"
    least, whole = pair(monkeypatch, matrix if full else f"{kind}_product", hidden=16)
    expected = getattr(whole, matrix)(X, T)
    other = whole.outer_product_hessian(X, T) if kind == "hessian" else whole.hessian(X, T)
    assert not np.allclose(expected, other), "the two Hessians differ here, so that one cannot stand for the other"
    with warnings.catch_warnings(action="ignore", category=gb.ComposedWarning):
        H = getattr(least, matrix)(X, T)
        v = np.arange(1.0, least.n_parameters + 1)
        product = getattr(least, f"{kind}_operator")(X, T) @ v
        blocks = least.hessian_blocks(X, T, kind="exact" if kind == "hessian" else "outer_product")
    np.testing.assert_allclose(H, expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(H, H.T)
    np.testing.assert_allclose(product, expected @ v, rtol=1e-11, atol=1e-11)
    for found in blocks.values():
        for index, block in zip(found.index, found.block, strict=True):
            np.testing.assert_allclose(block, expected[np.ix_(index, index)], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("has", ["hessian", "hessian_product"])
def test_the_diagonal_is_exact(has: str, monkeypatch: pytest.MonkeyPatch) -> None:
    least, whole = pair(monkeypatch, has)
    with warnings.catch_warnings(action="ignore", category=gb.ComposedWarning):
        np.testing.assert_allclose(least.hessian_diagonal(X, T), whole.hessian_diagonal(X, T), rtol=1e-11, atol=1e-13)


def test_it_says_what_it_composes(monkeypatch: pytest.MonkeyPatch) -> None:
    least, whole = pair(monkeypatch, "jacobian")
    assert set(least.model.run.composed) == set(OPTIONAL_METHODS) - {"jacobian"}
    assert set(whole.model.run.composed) <= {"describe"}


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
