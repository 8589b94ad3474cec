"""What machine code is made of, as a digest: the key under which it may be kept on disk.

Numba's own key is the bytecode of the one function and its closure; an edit in a function that it calls goes unnoticed, and so does a
constant of another module.  Here the key reaches as far as the code does: through calls, closures, defaults and constants.
"""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["identity_of", "source_digest"]


@cache
def source_digest(folder: Path = Path(__file__).parents[1]) -> str:
    """A digest of a package's source, folders inside it as well; by default of this one's."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def identity_of(*values: Any) -> str | None:
    """A digest of functions and constants by what they do, the same in every process; None where something among them has no such digest.

    A function's is made of its bytecode, its constants and defaults, and of everything that it reaches by name or closure.  NumPy's and
    Python's own count as their names and versions.
    """
    try:
        text = "\n".join(part for value in values for part in _parts(value, []))
    except _NoIdentityError:
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _NoIdentityError(Exception):
    """An object that may change what code does, in a way that cannot be told from outside."""


_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_KNOWN = {"builtins": "", "math": "", "numpy": np.__version__}


def _parts(value: Any, path: list[Any]) -> Iterator[str]:
    """The pieces of one value's identity; `path` are the functions that led here."""
    if isinstance(value, _PLAIN):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, tuple):
        yield f"tuple of {len(value)}"
        for item in value:
            yield from _parts(item, path)
    elif isinstance(value, frozenset):
        yield "set " + " ".join(sorted("\n".join(_parts(item, path)) for item in value))
    elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        yield f"array {value.dtype.str} {value.shape} {value.tobytes().hex()}"
    elif isinstance(value, types.CodeType):
        yield from _parts_of_code(value, path)
    elif _is_known(value):
        root = _home(value).partition(".")[0]
        yield f"known {_home(value)}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))} {_KNOWN[root]}"
    elif isinstance(getattr(value, "py_func", None), types.FunctionType):  # compiled by its user
        yield f"compiled {sorted(getattr(value, 'targetoptions', {}).items())!r}"
        yield from _parts(value.py_func, path)
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value, path)
    elif isinstance(value, type) and value.__bases__ == (tuple,) and hasattr(value, "_fields"):  # a named tuple, made in a kernel
        yield from _parts((value.__qualname__, value._fields), path)
    else:
        raise _NoIdentityError


def _parts_of_function(function: Callable[..., Any], path: list[Any]) -> Iterator[str]:
    assert isinstance(function, types.FunctionType)
    if function in path:
        yield f"again {len(path) - path.index(function)}"
        return
    path.append(function)
    yield "function"
    yield from _parts_of_code(function.__code__, path)
    yield from _parts((function.__defaults__, *sorted((function.__kwdefaults__ or {}).items())), path)
    for cell in function.__closure__ or ():
        yield from _parts(cell.cell_contents, path)
    for name in sorted(set(_names(function.__code__))):
        if name in function.__globals__:
            yield f"global {name}"
            yield from _parts(function.__globals__[name], path)
    path.pop()


def _parts_of_code(code: types.CodeType, path: list[Any]) -> Iterator[str]:
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    yield f"code {code.co_code.hex()} {names!r} {code.co_argcount} {code.co_kwonlyargcount} {code.co_flags}"
    yield from _parts(code.co_consts, path)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _home(value: Any) -> str:
    """The module that holds a value."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    return "numpy" if isinstance(value, np.ufunc) else str(getattr(value, "__module__", None) or "")


def _is_known(value: Any) -> bool:
    """Whether a value is Python's, math's or NumPy's own, and found there by its name (a ufunc made by `frompyfunc` isn't)."""
    home = _home(value)
    if home.partition(".")[0] not in _KNOWN:
        return False
    found: Any = sys.modules.get(home)
    if not isinstance(value, types.ModuleType):
        for name in str(getattr(value, "__qualname__", None) or getattr(value, "__name__", "")).split("."):
            found = getattr(found, name, None)
    return found is value
