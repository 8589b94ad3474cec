"""Settings: which backend, dtype and number of threads, and the memory limit.

Each option is looked up in this order: the argument of the call, `gb.config(...)`, the environment variable, the configuration
file, the default.

========== ======================== ============================================ =========
option     environment              meaning                                      default
========== ======================== ============================================ =========
backend    GRAPHBP_BACKEND          a backend's name, or "auto"                  "auto"
dtype      GRAPHBP_DTYPE            "float64" or "float32"                       "float64"
threads    GRAPHBP_THREADS          threads of the CPU backends, 0 = all cores   0
memory     GRAPHBP_MEMORY           bytes a result may take, 0 = 80 % of free    0
========== ======================== ============================================ =========

The file is the table `[tool.graphbp]` of the nearest pyproject.toml above the working directory, else `graphbp.toml` in the
user's configuration directory (the same keys, at the top level).
"""

from __future__ import annotations

import os
import threading
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from graphbp.exceptions import ConfigError, DataError, unknown_name

__all__ = ["OPTIONS", "config", "describe_config", "dtype_of", "option"]

OPTIONS: dict[str, Any] = {"backend": "auto", "dtype": "float64", "threads": 0, "memory": 0}
_set: dict[str, Any] = {}
_local = threading.local()


def dtype_of(value: Any) -> np.dtype[Any]:
    """float32 or float64 as a NumPy dtype.

    >>> dtype_of("float32")
    dtype('float32')
    """
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except TypeError as problem:
        raise DataError(f"dtype={value!r} is not a dtype; use 'float64' or 'float32'") from problem
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DataError(f"dtype={dtype.name}; graphbp computes in float64 or float32 (integer and float16 data are converted)")
    return dtype


def _checked(name: str, value: Any, source: str) -> Any:
    if name not in OPTIONS:
        raise ConfigError(str(unknown_name(f"option in {source}", name, OPTIONS)))
    if name in ("threads", "memory"):
        try:
            number = int(value)
        except (TypeError, ValueError) as problem:
            raise ConfigError(f"{source}: {name}={value!r} must be a whole number") from problem
        if number < 0 or (isinstance(value, float) and value != number):
            raise ConfigError(f"{source}: {name}={value!r} must be a whole number, 0 or more")
        return number
    if name == "dtype":
        return dtype_of(value).name
    if not isinstance(value, str):
        raise ConfigError(f"{source}: backend={value!r} must be a name, such as 'numba'")
    return value


class config:  # noqa: N801  # reads as a function, and as a context manager: `with gb.config(backend="numpy"):`
    """Set options for this process; as a context manager, for the calling thread until the block ends.

    >>> import graphbp as gb
    >>> with gb.config(dtype="float32"):
    ...     gb.config.get("dtype")
    'float32'
    """

    def __init__(self, **options: Any) -> None:
        self._new = {name: _checked(name, value, "gb.config") for name, value in options.items()}
        self._old = {name: _set.get(name) for name in self._new}
        _set.update(self._new)

    def __enter__(self) -> config:
        for name, old in self._old.items():  # what __init__ set for the process becomes the thread's own
            _restore(_set, name, old)
        self._outer = dict(getattr(_local, "options", {}))
        _local.options = {**self._outer, **self._new}
        return self

    def __exit__(self, *exc: object) -> None:
        _local.options = self._outer

    @staticmethod
    def get(name: str) -> Any:
        """The option's value now."""
        return option(name)


def _restore(where: dict[str, Any], name: str, old: Any) -> None:
    if old is None:
        where.pop(name, None)
    else:
        where[name] = old


def option(name: str, argument: Any = None) -> Any:
    """The value of an option: the argument if given, else from the settings above."""
    return _find(name, argument)[0]


def _find(name: str, argument: Any = None) -> tuple[Any, str]:
    if argument is not None:
        return _checked(name, argument, "argument"), "argument"
    local = getattr(_local, "options", {})
    if name in local:
        return local[name], "gb.config (this block)"
    if name in _set:
        return _set[name], "gb.config"
    variable = f"GRAPHBP_{name.upper()}"
    if os.environ.get(variable):
        return _checked(name, os.environ[variable], variable), variable
    values, path = _file_options(Path.cwd())
    if name in values:
        return _checked(name, values[name], path), path
    return OPTIONS[name], "default"


def describe_config() -> dict[str, tuple[Any, str]]:
    """Each option's value and where it comes from."""
    return {name: _find(name) for name in OPTIONS}


@cache
def _file_options(folder: Path) -> tuple[Mapping[str, Any], str]:
    for parent in (folder, *folder.parents):
        path = parent / "pyproject.toml"
        if path.is_file():
            table = _read(path).get("tool", {}).get("graphbp")
            if table is not None:
                return _known(table, f"[tool.graphbp] in {path}"), f"[tool.graphbp] in {path}"
            break
    import platformdirs

    path = Path(platformdirs.user_config_dir("graphbp")) / "graphbp.toml"
    if path.is_file():
        return _known(_read(path), str(path)), str(path)
    return {}, ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as problem:
        raise ConfigError(f"{path} cannot be read as TOML: {problem}") from problem


def _known(table: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    for name in table:
        if name not in OPTIONS:
            raise ConfigError(str(unknown_name(f"option in {source}", name, OPTIONS)))
    return table
