"""What installed packages add, found through entry points and imported only on use.

Groups: `graphbp.backends` (an object with the `Backend` protocol), `graphbp.activations` and `graphbp.error_functions` (a callable
that registers rows), `graphbp.importers` and `graphbp.exporters` (see `graphbp.files`).  An installed wheel's entry point joins in
with no change here, and one that fails is in the way of its own names alone.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from graphbp.exceptions import GraphbpError, RegistryError

__all__ = ["BROKEN", "IMPORTERS", "advice", "describe_failure", "load_plugins", "plugin_entries", "plugin_failures", "unregistered"]

IMPORTERS = "graphbp.importers"
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
