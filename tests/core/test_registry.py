"""Backends and plugins by entry point and by registration."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest

import graphbp as gb
from graphbp import registry
from graphbp.protocols import Availability


class Absent:
    name = "absent"

    def availability(self) -> Availability:
        return Availability(False, "its library is missing", install="pip install absent")

    def compile(self, *args: Any) -> Any:
        raise AssertionError("never asked")

    def owns(self, array: Any) -> bool:
        return False

    def asarray(self, array: Any, dtype: Any) -> Any:
        return np.ascontiguousarray(array, dtype)

    def to_numpy(self, array: Any) -> Any:
        return array


@pytest.fixture(autouse=True)
def _own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_added", {})


def test_a_backend_that_cannot_run_says_what_to_install() -> None:
    registry.register_backend(Absent())
    assert "pip install absent" in repr(gb.backends())
    with pytest.raises(gb.BackendNotAvailableError, match=r"'absent'.*missing.*pip install absent"):
        gb.Network(gb.layered([2, 1]), backend="absent")


def test_registering_is_refused_by_name() -> None:
    with pytest.raises(gb.RegistryError, match=r"object is not a backend: it lacks name, availability"):
        registry.register_backend(object())
    one = Absent()
    registry.register_backend(one)
    registry.register_backend(one)
    with pytest.raises(gb.RegistryError, match="'absent' exists already"):
        registry.register_backend(Absent())
    impostor = Absent()
    impostor.name = "numpy"
    with pytest.raises(gb.RegistryError, match="'numpy' exists already"):
        registry.register_backend(impostor)


def test_auto_goes_on_to_numpy_where_numba_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = dict(registry.plugin_entries(registry.BACKENDS))
    entries["numba"] = EntryPoint("numba", "a_module_that_is_not_here:backend", registry.BACKENDS)
    monkeypatch.setattr(registry, "plugin_entries", lambda group: entries)
    registry._load_backend.cache_clear()
    try:
        assert registry.usable_backend("auto").name == "numpy"
    finally:
        registry._load_backend.cache_clear()


def test_two_packages_with_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = [EntryPoint("twice", f"{module}:backend", "some.group") for module in ("one", "other")]
    monkeypatch.setattr(registry, "entry_points", lambda group: pair)
    with pytest.raises(gb.RegistryError, match=r"'twice'.*one:backend and other:backend; uninstall one"):
        registry.plugin_entries("some.group")
