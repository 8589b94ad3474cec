"""Whether what the backend, and the stand-in, call exists in the real CuPy, which imports without a driver.

The backend reaches CuPy through `cp` or `self.cp` alone; every dotted name behind those is looked up.  Of the stand-in every
function, and every method of its ndarray, must exist in CuPy and take the parameters that it takes here.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["differences", "names_used", "unknown_names"]


def names_used(folder: Path) -> Iterator[tuple[str, str]]:
    """(dotted name, where) of every use of CuPy in the Python files of a folder."""
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                parts, inner = [node.attr], node.value
                while isinstance(inner, ast.Attribute) and inner.attr not in ("cp", "library"):
                    parts.append(inner.attr)
                    inner = inner.value
                if (isinstance(inner, ast.Name) and inner.id == "cp") or isinstance(inner, ast.Attribute):
                    yield ".".join(reversed(parts)), f"{path.name}:{node.lineno}"


def unknown_names(folder: Path, cupy: ModuleType) -> list[str]:
    """The uses that the real CuPy has not."""
    return [f"{where}: cupy.{name}" for name, where in names_used(folder) if not _has(cupy, name)]


def _has(root: Any, dotted: str) -> bool:
    try:
        reduce(getattr, dotted.split("."), root)
    except AttributeError:
        return False
    return True


def differences(fake: ModuleType, cupy: ModuleType) -> list[str]:
    """What the stand-in offers and CuPy does not."""
    found = []
    for name, value in vars(fake).items():
        if name.startswith("_") or isinstance(value, ModuleType) or getattr(value, "__module__", None) != fake.__name__:
            continue
        if name in _OUR_OWN:
            continue
        if not hasattr(cupy, name):
            found.append(name)
        elif inspect.isfunction(value):
            found += [f"{name}({parameter}=)" for parameter in _missing_parameters(value, getattr(cupy, name))]
    found += [f"ndarray.{name}" for name in vars(fake.ndarray) if not name.startswith("_") and not hasattr(cupy.ndarray, name)]
    found += [f"cuda.{name}" for name in vars(fake.cuda) if not hasattr(cupy.cuda, name)]
    for kind in ("Event", "Graph", "MemoryPool", "Stream"):
        ours, theirs = getattr(fake.cuda, kind), getattr(cupy.cuda, kind)
        found += [f"cuda.{kind}.{name}" for name in vars(ours) if name[0] != "_" and not hasattr(theirs, name)]
    found += [key for key in fake.cuda.Device().attributes if not hasattr(cupy.cuda.runtime, f"cudaDevAttr{key}")]
    return found


_OUR_OWN = {"memory", "log", "order"}


def _missing_parameters(ours: Any, theirs: Any) -> list[str]:
    try:
        known = inspect.signature(theirs).parameters
    except (TypeError, ValueError):  # compiled functions and ufuncs (matmul) have none
        return []
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return []
    return [n for n, p in inspect.signature(ours).parameters.items() if n not in known and p.kind is not p.POSITIONAL_ONLY]
