"""Backends and plugins by entry point and by registration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest

import graphbp as gb
from graphbp import extend, registry
from graphbp import plugins as packages
from graphbp.cli import main
from graphbp.protocols import Availability
from helpers.backends import HostBackend


class Absent(HostBackend):
    name = "absent"

    def availability(self) -> Availability:
        return Availability(False, "its library is missing", install="pip install absent")


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


def test_what_a_program_registered_it_can_take_back() -> None:
    extend.register_backend(Absent())
    assert "absent" in registry.backend_names()
    extend.unregister_backend("absent")
    assert "absent" not in registry.backend_names()
    with pytest.raises(gb.GraphbpError, match="absent"):
        registry.get_backend("absent")
    extend.register_backend(Absent())  # another one of that name
    with pytest.raises(gb.RegistryError, match=r"'numpy' cannot be unregistered: it comes with an installed package"):
        extend.unregister_backend("numpy")
    with pytest.raises(gb.RegistryError, match=r"'never' cannot be unregistered: it was never registered"):
        extend.unregister_backend("never")


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """A function that puts an entry point among the backends, for one test."""
    entries = dict(registry.plugin_entries(registry.BACKENDS))
    monkeypatch.setattr(registry, "plugin_entries", lambda group: entries)
    registry._load_backend.cache_clear()

    def put(name: str, value: str) -> None:
        entries[name] = EntryPoint(name, value, registry.BACKENDS)

    yield put
    registry._load_backend.cache_clear()


def test_auto_goes_on_to_numpy_where_numba_cannot_be_imported(entry: Callable[[str, str], None]) -> None:
    entry("numba", "a_module_that_is_not_here:backend")
    assert registry.usable_backend("auto").name == "numpy"


def test_auto_goes_on_to_numpy_where_numba_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Absent()
    get = registry.get_backend
    monkeypatch.setattr(registry, "get_backend", lambda name: absent if name == "numba" else get(name))
    assert registry.usable_backend("auto").name == "numpy"


def test_auto_is_numba_where_it_can_run(usable: Callable[[str], str]) -> None:
    assert registry.usable_backend("auto").name == usable("numba")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("graphbp_numpy:backend", "'other' calls itself 'numpy'; the two must agree"),
        ("graphbp_numpy:nothing", "'other' names nothing"),
        ("graphbp_numpy:__name__", "'other' is not a backend"),
    ],
)
def test_an_entry_point_that_is_wrong_is_refused_by_name(value: str, words: str, entry: Callable[[str, str], None]) -> None:
    entry("other", value)
    with pytest.raises(gb.RegistryError, match=f"entry point {value} of backend {words}"):
        registry.get_backend("other")


def test_no_cure_is_offered_where_there_is_none() -> None:
    backend = Absent()
    backend.availability = lambda: Availability(False, "no such hardware")  # type: ignore[method-assign]
    registry.register_backend(backend)
    with pytest.raises(gb.BackendNotAvailableError, match=r"no such hardware$"):
        registry.usable_backend("absent")


class Plugin:
    """Stands for an entry point: counts how often it registers, and fails with what it is told to."""

    value = "a_plugin:register"

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure, self.calls = failure, 0

    def load(self) -> Callable[[], None]:
        return self.register

    def register(self) -> None:
        self.calls += 1
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that installs these plugins of activations, and forgets what was loaded before."""

    def install(**each: Any) -> None:
        entries = packages.plugin_entries
        monkeypatch.setattr(packages, "plugin_entries", lambda group: each if group == "graphbp.activations" else entries(group))
        monkeypatch.setattr(packages, "_loaded_groups", set())
        monkeypatch.setattr(packages, "_failures", {})

    return install


@pytest.mark.parametrize("failure", [ValueError("not today"), SystemExit(3), ImportError("no such library")])
def test_a_plugin_that_fails_takes_no_other_with_it(
    failure: BaseException, plugins: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = Plugin(), Plugin(failure)
    plugins(bad=bad, good=good)
    for _ in range(2):
        packages.load_plugins("activations")
        assert gb.Network(gb.layered([1, 1]), backend="numpy").n_parameters == 2
    assert (good.calls, bad.calls) == (1, 1)
    said = f"plugin 'bad' (a_plugin:register) failed to register its activations: {type(failure).__name__}: {failure}"
    assert said in repr(gb.activations())
    assert main(["backends"]) == 0
    assert f"broken: {said}" in capsys.readouterr().out
    with pytest.raises(gb.UnknownNameError, match="unknown activation 'theirs'") as caught:
        gb.layered([1, 1], activation="tanh", output_activation="theirs")
    assert said in str(caught.value)


def test_a_keyboard_interrupt_is_the_users(plugins: Callable[..., None]) -> None:
    plugins(slow=Plugin(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        packages.load_plugins("activations")


def test_two_packages_with_one_name_block_that_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [("twice", "one"), ("twice", "other"), ("numpy", "graphbp_numpy")]
    entries = [EntryPoint(name, f"{module}:backend", registry.BACKENDS) for name, module in names]
    monkeypatch.setattr(packages, "entry_points", lambda group: entries if group == registry.BACKENDS else [])
    packages.plugin_entries.cache_clear()
    try:
        assert registry.usable_backend("auto").name == "numpy"
        said = "2 packages offer 'twice' in graphbp.backends: one:backend and other:backend; uninstall all but one"
        with pytest.raises(gb.RegistryError, match=said):
            registry.usable_backend("twice")
        assert said in repr(gb.backends())
    finally:
        packages.plugin_entries.cache_clear()


def test_a_backend_whose_probe_fails_cannot_run() -> None:
    backend = Absent()
    backend.availability = lambda: 1 / 0  # type: ignore[assignment, method-assign]
    registry.register_backend(backend)
    with pytest.raises(gb.BackendNotAvailableError, match=r"its availability\(\) failed: ZeroDivisionError"):
        registry.usable_backend("absent")
    assert "ZeroDivisionError" in repr(gb.backends())


def test_one_package_found_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install beside a wheel: the same entry point on two paths."""
    pair = [EntryPoint("same", "one:backend", "another.group")] * 2
    monkeypatch.setattr(packages, "entry_points", lambda group: pair)
    assert list(packages.plugin_entries("another.group")) == ["same"]
