"""Backends and plugins, found through entry points and imported only on use.

Groups: `graphbp.backends` (an object with the `Backend` protocol), `graphbp.activations` and `graphbp.error_functions` (a callable
that registers rows), `graphbp.importers` and `graphbp.exporters` (see `graphbp.files`).  An installed wheel's entry point joins in
with no change here; `register_backend` does the same from inside a program.
"""

from __future__ import annotations

import threading
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from graphbp.exceptions import BackendNotAvailableError, RegistryError, unknown_name
from graphbp.protocols import Backend

__all__ = [
    "BACKENDS",
    "backend_names",
    "get_backend",
    "load_plugins",
    "plugin_entries",
    "register_backend",
    "unregister_backend",
    "usable_backend",
]

BACKENDS = "graphbp.backends"
_added: dict[str, Backend] = {}
_loaded_groups: set[str] = set()
_lock = threading.RLock()  # reentrant: a plugin that registers may look names up


@cache
def plugin_entries(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name; two packages that claim one name are refused."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        if entry.name in found and found[entry.name].value != entry.value:
            raise RegistryError(
                f"two packages offer {entry.name!r} in {group}: {found[entry.name].value} and {entry.value}; uninstall one of them"
            )
        found[entry.name] = entry
    return found


def load_plugins(kind: str) -> None:
    """Run every registering callable of the group `graphbp.<kind>` once."""
    group = f"graphbp.{kind}"
    with _lock:  # a second thread waits until the rows are there
        if group in _loaded_groups:
            return
        _loaded_groups.add(group)
        for name, entry in plugin_entries(group).items():
            try:
                entry.load()()
            except Exception as problem:
                _loaded_groups.discard(group)  # so that it is said again
                raise RegistryError(f"plugin {name!r} ({entry.value}) failed to register its {kind}: {problem}") from problem


def register_backend(backend: Any) -> None:
    """Make a backend known under its name, in this process.  A wheel does the same by an entry point in `graphbp.backends`."""
    if not isinstance(backend, Backend):
        missing = [m for m in ("name", "availability", "compile", "owns", "asarray", "to_numpy") if not hasattr(backend, m)]
        raise RegistryError(
            f"{type(backend).__name__} is not a backend: it lacks {', '.join(missing)} (see graphbp.extend.Backend)"
        )
    known = _added.get(backend.name)
    if backend.name in plugin_entries(BACKENDS) or (known is not None and known is not backend):
        raise RegistryError(f"a backend called {backend.name!r} exists already; choose another name")
    _added[backend.name] = backend


def unregister_backend(name: str) -> None:
    """Forget a backend that `register_backend` made known.  Raises `RegistryError` for any other name: an installed one stays.

    Networks that were made with it keep working.
    """
    with _lock:
        if name not in _added:
            why = "comes with an installed package; uninstall that" if name in plugin_entries(BACKENDS) else "was never registered"
            raise RegistryError(f"backend {name!r} cannot be unregistered: it {why}")
        del _added[name]


def backend_names() -> list[str]:
    """Every known backend, installed packages first."""
    return [*plugin_entries(BACKENDS), *_added]


@cache
def _load_backend(name: str) -> Backend:
    entry = plugin_entries(BACKENDS)[name]
    try:
        backend = entry.load()
    except AttributeError as problem:
        raise RegistryError(f"entry point {entry.value} of backend {name!r} names nothing: {problem}") from problem
    except Exception as problem:  # a library that is missing, or that fails in its own way when it is loaded
        raise BackendNotAvailableError(f"backend {name!r} ({entry.value}) could not be imported: {problem}") from problem
    if not isinstance(backend, Backend):
        raise RegistryError(f"entry point {entry.value} of backend {name!r} is not a backend (see graphbp.extend.Backend)")
    if backend.name != name:
        raise RegistryError(f"entry point {entry.value} of backend {name!r} calls itself {backend.name!r}; the two must agree")
    return backend


def get_backend(name: str) -> Backend:
    """The backend called `name`, whether or not it can run here.  Raises `UnknownNameError`, near matches offered."""
    if name in _added:
        return _added[name]
    if name not in plugin_entries(BACKENDS):
        raise unknown_name("backend", name, [*backend_names(), "auto"])
    return _load_backend(name)


def usable_backend(name: str) -> Backend:
    """The backend to compile with; "auto" is Numba where it can run, else NumPy.

    Raises
    ------
    BackendNotAvailableError : it cannot run here; the message has the reason and the command that would help.
    """
    if name == "auto":
        for candidate in ("numba", "numpy"):
            if candidate in plugin_entries(BACKENDS):
                try:
                    backend = get_backend(candidate)
                except BackendNotAvailableError:  # `gb.backends()` says why
                    continue
                if backend.availability().available:
                    return backend
        raise BackendNotAvailableError("no backend is installed; reinstall graphbp: pip install graphbp")
    backend = get_backend(name)
    state: Any = backend.availability()
    if not state.available:
        cure = f"; install it: {state.install}" if state.install else ""
        raise BackendNotAvailableError(f"backend {name!r} cannot run here: {state.reason}{cure}")
    return backend
