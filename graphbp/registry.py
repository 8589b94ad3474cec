"""Backends and plugins, found through entry points and imported only on use.

Groups: `graphbp.backends` (an object with the `Backend` protocol), `graphbp.activations` and `graphbp.error_functions` (a callable
that registers rows), `graphbp.importers` and `graphbp.exporters` (see `graphbp.files`).  An installed wheel's entry point joins in
with no change here; `register_backend` does the same from inside a program.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from graphbp.exceptions import BackendNotAvailableError, GraphbpError, RegistryError, unknown_name
from graphbp.protocols import Availability, Backend

__all__ = [
    "BACKENDS",
    "BROKEN",
    "IMPORTERS",
    "advice",
    "availability",
    "backend_names",
    "describe_failure",
    "get_backend",
    "load_plugins",
    "plugin_entries",
    "plugin_failures",
    "register_backend",
    "unregister_backend",
    "unregistered",
    "usable_backend",
]

BACKENDS = "graphbp.backends"
IMPORTERS = "graphbp.importers"
_added: dict[str, Backend] = {}
_loaded_groups: set[str] = set()
_failures: dict[str, dict[str, str]] = {}
_lock = threading.RLock()  # reentrant: a plugin that registers may look names up


BROKEN = (Exception, SystemExit)
"""What a foreign module may raise when it is imported; a Ctrl-C meanwhile is the user's."""


@dataclass(frozen=True)
class Disputed:
    """Stands for an entry point that several packages claim under one name: loading it says so, and nothing else suffers."""

    name: str
    group: str
    values: tuple[str, ...]

    @property
    def value(self) -> str:
        """What they offer."""
        return " and ".join(self.values)

    def load(self) -> Any:
        raise RegistryError(
            f"{len(self.values)} packages offer {self.name!r} in {self.group}: {self.value}; uninstall all but one of them"
        )


@cache
def plugin_entries(group: str) -> dict[str, EntryPoint | Disputed]:
    """Entry points of a group by name; one that several packages claim is refused when it is loaded, by name."""
    values: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=group):
        values.setdefault(entry.name, {}).setdefault(entry.value, entry)
    return {
        name: next(iter(each.values())) if len(each) == 1 else Disputed(name, group, tuple(each)) for name, each in values.items()
    }


def load_plugins(kind: str) -> None:
    """Run every registering callable of the group `graphbp.<kind>` once; one that fails is noted, and keeps no other from its names."""
    group = f"graphbp.{kind}"
    with _lock:  # a second thread waits until the rows are there
        if group in _loaded_groups:
            return
        _loaded_groups.add(group)
        for name, entry in plugin_entries(group).items():
            try:
                entry.load()()
            except BROKEN as problem:
                _failures.setdefault(kind, {})[name] = (
                    f"plugin {name!r} ({entry.value}) failed to register its {kind}: {describe_failure(problem)}"
                )


def plugin_failures(kind: str) -> list[str]:
    """What kept plugins of a kind ("activations", "error_functions") from registering, a line each."""
    load_plugins(kind)
    return list(_failures.get(kind, {}).values())


def unregistered(kind: str, hint: str) -> str:
    """The hint for a name that is not there, with what failed: the name may be a broken plugin's."""
    return " ".join([hint, *(f"({failure})" for failure in plugin_failures(kind))])


def advice(thing: Any) -> str:
    """What to do with an object that is neither a file nor a graph, by whoever knows it; "" where nobody does.

    A plugin's importer may have a function `advice(thing)` that returns a sentence, or None.
    """
    for entry in plugin_entries(IMPORTERS).values():
        try:
            text = entry.load().advice(thing)
        except BROKEN:  # it cannot be imported, or has none to give
            continue
        if text:
            return f"; {text}"
    return ""


def describe_failure(problem: BaseException) -> str:
    """A foreign exception in a line."""
    if isinstance(problem, GraphbpError):
        return str(problem)
    text = str(problem)
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


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
    except RegistryError:
        raise
    except AttributeError as problem:
        raise RegistryError(f"entry point {entry.value} of backend {name!r} names nothing: {problem}") from problem
    except BROKEN as problem:  # a library that is missing, or that fails in its own way when it is loaded
        raise BackendNotAvailableError(
            f"backend {name!r} ({entry.value}) could not be imported: {describe_failure(problem)}"
        ) from problem
    if not isinstance(backend, Backend):
        raise RegistryError(f"entry point {entry.value} of backend {name!r} is not a backend (see graphbp.extend.Backend)")
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
