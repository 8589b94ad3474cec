"""Settings: which backend, dtype and number of threads, the memory limit, whether progress is shown and surplus columns are left out.

Each option is looked up in this order: the argument of the call, `gb.config(...)`, the environment variable, the configuration
file, the default.

============ ======================== ============================================ =========
option       environment              meaning                                      default
============ ======================== ============================================ =========
backend      GRAPHBP_BACKEND          a backend's name, or "auto"                  "auto"
dtype        GRAPHBP_DTYPE            "float64" or "float32"                       "float64"
threads      GRAPHBP_THREADS          threads of the CPU backends, 0 = all cores   0
                                      (or what NUMBA_NUM_THREADS, else
                                      OMP_NUM_THREADS, and loky leave of them)
memory       GRAPHBP_MEMORY           bytes a result may take, 0 = 80 % of free    0
progress     GRAPHBP_PROGRESS         "on", "off", "auto": where a person looks    "auto"
ignore_extra GRAPHBP_IGNORE_EXTRA     leave out columns that no input reads        False
============ ======================== ============================================ =========

The file is the table `[tool.graphbp]` of the nearest pyproject.toml above the working directory, else `graphbp.toml` in the
user's configuration directory (the same keys, at the top level).  It is read once for each working directory, so that a network does
not change under way because somebody edits a file; `gb.config.reload()` reads it again.
"""

from __future__ import annotations

import math
import numbers
import os
import re
import threading
import tomllib
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from graphbp.exceptions import ConfigError, DataError, shown, unknown_name

__all__ = ["OPTIONS", "config", "describe_config", "dtype_of", "option", "option_and_source"]

OPTIONS: dict[str, Any] = {
    "backend": "auto",
    "dtype": "float64",
    "threads": 0,
    "memory": 0,
    "progress": "auto",
    "ignore_extra": False,
}
_base: dict[str, Any] = {}
_calls: list[tuple[weakref.ref[config], dict[str, Any]]] = []
_lock = threading.Lock()
_local = threading.local()


def dtype_of(value: Any) -> np.dtype[Any]:
    """float32 or float64 as a NumPy dtype.

    >>> dtype_of("float32")
    dtype('float32')
    """
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except Exception as problem:  # NumPy evaluates parts of a string, so that nearly anything may come out
        raise DataError(f"dtype={shown(value)} is not a dtype; use 'float64' or 'float32'") from problem
    if dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise DataError(f"dtype={dtype}; graphbp computes in float64 or float32 (integer and float16 data are converted)")
    return dtype


_MOST = {"threads": 4096, "memory": 2**63 - 1}


def _whole(value: Any) -> int | None:
    """A whole number, which may be written as a float or, in an environment variable, as text; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,20}", text) else None
    if isinstance(value, bool) or not isinstance(value, (numbers.Integral, float, np.floating)):
        return None
    whole = isinstance(value, numbers.Integral) or (math.isfinite(value) and int(value) == value)
    return int(value) if whole else None


def _checked(name: str, value: Any, source: str) -> Any:
    if name not in OPTIONS:
        raise ConfigError(str(unknown_name(f"option in {source}", name, OPTIONS)))
    if name in ("threads", "memory"):
        number = _whole(value)
        if number is None or not 0 <= number <= _MOST[name]:
            unit = " of bytes" if name == "memory" else ""
            raise ConfigError(f"{source}: {name}={shown(value)} must be a whole number{unit}, 0 or more (at most {_MOST[name]})")
        return number
    if name == "dtype":
        try:
            return dtype_of(value).name
        except DataError as problem:
            if source == "argument":
                raise
            raise ConfigError(f"{source}: {problem}") from problem
    if name == "progress":
        chosen = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
        if chosen not in ("auto", "on", "off"):
            raise ConfigError(f'{source}: progress={value!r} must be "on", "off" or "auto"')
        return chosen
    if name == "ignore_extra":
        if (told := _SWITCH.get(str(value).lower())) is None:
            raise ConfigError(f"{source}: ignore_extra={shown(value)} must be True or False")
        return told
    if not isinstance(value, str):
        raise ConfigError(f"{source}: backend={shown(value)} must be a name, such as 'numba'")
    return value


_SWITCH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


class config:  # noqa: N801  # reads as a function, and as a context manager: `with gb.config(backend="numpy"):`
    """Set options for this process; as a context manager, for the calling thread until the block ends.

    >>> import graphbp as gb
    >>> with gb.config(dtype="float32"):
    ...     gb.config.get("dtype")
    'float32'
    """

    # Whether `config(...)` is a call or opens a block is known only when `__enter__` comes, or the object goes without it.  So a call
    # is put on a list, whose last entry wins; `__enter__` takes its own entry off again, wherever it stands: other threads may have
    # added theirs since.  Entries at the front whose object is gone can open no block any more and are merged into `_base`.

    def __init__(self, **options: Any) -> None:
        self._new = {name: _checked(name, value, "gb.config") for name, value in options.items()}
        self._outer: list[dict[str, Any]] = []
        with _lock:
            while _calls and _calls[0][0]() is None:
                _base.update(_calls.pop(0)[1])
            _calls.append((weakref.ref(self), self._new))

    def __enter__(self) -> config:
        with _lock:
            _calls[:] = [entry for entry in _calls if entry[0]() is not self]
        self._outer.append(getattr(_local, "options", {}))
        _local.options = {**self._outer[-1], **self._new}
        return self

    def __exit__(self, *exc: object) -> None:
        _local.options = self._outer.pop()

    @staticmethod
    def get(name: str) -> Any:
        """The option's value now."""
        return option(name)

    @staticmethod
    def reload() -> None:
        """Read the configuration files again at the next use, after an edit in a running process."""
        _file_options.cache_clear()


def _of_process(name: str) -> Any:
    """The value that `gb.config(...)` set for the process, or None."""
    with _lock:
        for _, options in reversed(_calls):
            if name in options:
                return options[name]
        return _base.get(name)


def option(name: str, argument: Any = None) -> Any:
    """The value of an option: the argument if given, else from the settings above."""
    return option_and_source(name, argument)[0]


def option_and_source(name: str, argument: Any = None) -> tuple[Any, str]:
    """The value of an option, and where it comes from."""
    if not isinstance(name, str) or name not in OPTIONS:
        raise ConfigError(str(unknown_name("option", name, OPTIONS)))
    if argument is not None:
        return _checked(name, argument, "argument"), "argument"
    local = getattr(_local, "options", {})
    if name in local:
        return local[name], "gb.config (this block)"
    value = _of_process(name)
    if value is not None:
        return value, "gb.config"
    variable = f"GRAPHBP_{name.upper()}"
    if os.environ.get(variable):
        return _checked(name, os.environ[variable], variable), variable
    values, path = _file_options(_working_folder())
    if name in values:
        return _checked(name, values[name], path), path
    return OPTIONS[name], "default"


def describe_config() -> dict[str, tuple[Any, str]]:
    """Each option's value and where it comes from."""
    return {name: option_and_source(name) for name in OPTIONS}


def _working_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a string: Path.cwd() and its hash cost several times as much, on every lookup
    except OSError:  # it has been deleted under us
        return os.sep


@cache
def _file_options(working_folder: str) -> tuple[Mapping[str, Any], str]:
    """The configuration file's options and its name, read once for each working folder."""
    folder = Path(working_folder)
    for parent in (folder, *folder.parents):
        path = parent / "pyproject.toml"
        if _is_file(path):
            tool = _table(_read(path).get("tool", {}), "tool", path)
            if "graphbp" in tool:
                table = _table(tool["graphbp"], "tool.graphbp", path)
                return _known(table, f"[tool.graphbp] in {path}"), f"[tool.graphbp] in {path}"
            break
    import platformdirs

    path = Path(platformdirs.user_config_dir("graphbp")) / "graphbp.toml"
    if _is_file(path):
        return _known(_read(path), str(path)), str(path)
    return {}, ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be looked into
        return False


def _table(value: Any, name: str, path: Path) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    kind = "an array of tables" if isinstance(value, list) else f"{value!r}"
    raise ConfigError(f"{path}: {name} is {kind}; it must be one table, [{name}]")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as problem:  # ValueError: no TOML, no UTF-8, an integer of too many digits
        raise ConfigError(f"{path} cannot be read as TOML: {problem}") from problem


def _known(table: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    for name in table:
        if name not in OPTIONS:
            raise ConfigError(str(unknown_name(f"option in {source}", name, OPTIONS)))
    return table
