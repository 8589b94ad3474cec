"""Backends by name: those of installed packages (entry points in `graphbp.backends`), and those that a program registers itself."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from graphbp.exceptions import BackendNotAvailableError, RegistryError, unknown_name
from graphbp.plugins import BROKEN, describe_failure, plugin_entries
from graphbp.protocols import Availability, Backend

__all__ = ["availability", "backend_names", "get_backend", "register_backend", "unregister_backend", "usable_backend"]

BACKENDS = "graphbp.backends"
_added: dict[str, Backend] = {}
_lock = threading.Lock()
AUTOMATIC = ("numba", "numpy")
"""What "auto" stands for: the first of these that can run here."""


def register_backend(backend: Any) -> None:
    """Make a backend known under its name, in this process.  A wheel does the same by an entry point in `graphbp.backends`."""
    _require_backend(backend, type(backend).__name__)
    known = _added.get(backend.name)
    if backend.name in plugin_entries(BACKENDS) or (known is not None and known is not backend):
        raise RegistryError(f"a backend called {backend.name!r} exists already; choose another name")
    _added[backend.name] = backend


def _require_backend(backend: Any, what: str) -> None:
    """Refuse what lacks a name of `Backend`.  One that a wrapper hands on by `__getattr__` counts, which `isinstance` denies since 3.12."""
    missing = [
        member for member in ("name", "availability", "compile", "owns", "asarray", "to_numpy") if not hasattr(backend, member)
    ]
    if missing:
        raise RegistryError(f"{what} is not a backend: it lacks {', '.join(missing)} (see graphbp.extend.Backend)")


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
        backend: Backend = entry.load()
    except RegistryError:
        raise
    except AttributeError as problem:
        raise RegistryError(f"entry point {entry.value} of backend {name!r} names nothing: {problem}") from problem
    except BROKEN as problem:  # a library that is missing, or that fails in its own way when it is loaded
        raise BackendNotAvailableError(
            f"backend {name!r} ({entry.value}) could not be imported: {describe_failure(problem)}"
        ) from problem
    _require_backend(backend, f"entry point {entry.value} of backend {name!r}")
    if backend.name != name:
        raise RegistryError(f"entry point {entry.value} of backend {name!r} calls itself {backend.name!r}; the two must agree")
    return backend


def get_backend(name: str) -> Backend:
    """The backend called `name`, whether or not it can run here.  Raises `UnknownNameError`, near matches offered."""
    if not isinstance(name, str):
        raise unknown_name("backend", name, [*backend_names(), "auto"])
    if name in _added:
        return _added[name]
    if name not in plugin_entries(BACKENDS):
        raise unknown_name("backend", name, [*backend_names(), "auto"])
    return _load_backend(name)


def availability(backend: Backend) -> Availability:
    """What the backend says of itself; a probe that fails says that it cannot run."""
    try:
        found: Any = backend.availability()
    except BROKEN as problem:
        return Availability(False, reason=f"its availability() failed: {describe_failure(problem)}")
    if not isinstance(found, Availability):
        return Availability(False, reason=f"its availability() returns {type(found).__name__}, not graphbp.extend.Availability")
    return found


def usable_backend(name: str) -> Backend:
    """The backend to compile with; "auto" is the first of `AUTOMATIC` that can run.

    Raises
    ------
    BackendNotAvailableError : it cannot run here; the message has the reason and the command that would help.
    """
    if name == "auto":
        for candidate in AUTOMATIC:
            if candidate in plugin_entries(BACKENDS):
                try:
                    backend = get_backend(candidate)
                    if availability(backend).available:
                        return backend
                except (BackendNotAvailableError, RegistryError):  # `gb.backends()` says why
                    continue
        raise BackendNotAvailableError("no backend is installed; reinstall graphbp: pip install graphbp")
    backend = get_backend(name)
    state = availability(backend)
    if not state.available:
        cure = f"; install it: {state.install}" if state.install else ""
        raise BackendNotAvailableError(f"backend {name!r} cannot run here: {state.reason}{cure}")
    return backend
