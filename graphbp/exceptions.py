"""One tree of exceptions.

Every message says what came, what was expected and what to do, and names the node, edge, row or option.  The classes also
inherit from the built-in exception a Python user would expect (`ValueError`, `TypeError`, ...), so `except ValueError` works.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Sequence

__all__ = [
    "BackendError",
    "BackendNotAvailableError",
    "ConfigError",
    "DataError",
    "DataWarning",
    "FileFormatError",
    "GraphError",
    "GraphbpError",
    "MemoryLimitError",
    "NotSupportedError",
    "NumericalError",
    "NumericalWarning",
    "RegistryError",
    "UnknownNameError",
    "WeightError",
    "callers_level",
    "listed",
    "one_of",
    "printable",
    "shown",
]


class GraphbpError(Exception):
    """The root: `except gb.GraphbpError` catches everything graphbp raises on purpose."""


class GraphError(GraphbpError, ValueError):
    """The graph is not a feed-forward network: a cycle, no input, a bad attribute."""


class WeightError(GraphError):
    """A weight or bias is missing, misshapen, complex or not finite."""


class DataError(GraphbpError, ValueError):
    """X, T, sample weights or a vector have the wrong shape, type or values."""


class DataWarning(UserWarning):
    """Data that are taken, though perhaps not as they were meant: columns by position, columns whose sizes keep a network from learning."""


class UnknownNameError(GraphbpError, KeyError):
    """A name (activation, error function, backend, optimizer, node) that is not there."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class RegistryError(GraphbpError, ValueError):
    """A plugin or a registration that cannot be accepted."""


class ConfigError(GraphbpError, ValueError):
    """An option or a configuration file with an unknown name or value."""


class BackendError(GraphbpError, RuntimeError):
    """A backend failed while it compiled or ran."""


class BackendNotAvailableError(BackendError, ImportError):
    """A known backend whose library or device is missing; the message has the command that installs it."""


class NotSupportedError(GraphbpError, NotImplementedError):
    """Something this backend, activation or file format cannot do, refused by name."""


class MemoryLimitError(GraphbpError, MemoryError):
    """A result that would not fit in memory; the message has its size and what to call instead."""


class FileFormatError(GraphbpError, ValueError):
    """A file that is damaged, hostile, of an unknown version, or not of the claimed format."""


class NumericalError(GraphbpError, ArithmeticError):
    """A computation that lost its meaning: a singular matrix, a diverged fit."""


class NumericalWarning(RuntimeWarning):
    """A result that is infinite or NaN; the message names the unit and the sample that made it so."""


def callers_level() -> int:
    """The `stacklevel` at which a warning names the line of the caller's program, not one of ours."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001  # warnings itself looks there
    ours = ("graphbp", "scipy")  # SciPy's operators call us back
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        level, frame = level + 1, frame.f_back
    return level


def one_of(kind: str, value: object, known: Iterable[str], hint: str = "") -> None:
    """Nothing, where `value` is one of the known names; else an `UnknownNameError` that offers near matches."""
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise unknown_name(kind, value, names, hint)


def printable(text: object) -> str:
    r"""The text as a terminal may show it: whatever would move the cursor, change colours or reorder letters, escaped as in a repr.

    >>> printable("caf\u00e9 \x1b[2J")
    'caf\xe9 \\x1b[2J'
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in shown)


def shown(value: object, limit: int = 60) -> str:
    """The value's repr for a message, cut at `limit`; an object whose repr fails is shown by its type.

    >>> shown("x" * 99)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    try:
        text = printable(repr(value))
    except Exception:  # an int of more than 4,300 digits has none either
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def listed(names: Sequence[str], limit: int = 8, total: int | None = None) -> str:
    """The first of many names for a message, and how many there are (`total`, where not all are given).

    >>> listed(["a", "b", "c"], 2)
    'a, b, ... (3 in all)'
    """
    count = len(names) if total is None else total
    return ", ".join(names[:limit]) + (f", ... ({count} in all)" if count > limit else "")


_MATCHED, _LISTED = 5000, 50  # names compared with the unknown one, and names printed


_CALLED = {
    "sum_of_squares": "mse squarederror meansquarederror leastsquares l2 quadratic",
    "binary_cross_entropy": "bce logloss bcewithlogits binarycrossentropy logistic",
    "cross_entropy": "ce nll categoricalcrossentropy crossentropyloss multinomial",
    "sigmoid": "logistic expit sigm",
    "identity": "linear id none",
    "silu": "swish",
    "arctan": "atan",
    "product": "mul multiply times prod",
    "mean": "avg average",
    "sum": "add plus",
    "levenberg_marquardt": "lm leastsquares",
    "lbfgs": "bfgs",
    "sgd": "gd gradientdescent",
    "numba": "cpu jit",
    "cupy": "gpu cuda",
}
"""What a thing is called here → in other libraries."""


def unknown_name(kind: str, name: object, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """An `UnknownNameError` that offers near matches.

    >>> str(unknown_name("activation", "tahn", ["tanh", "relu"]))
    "unknown activation 'tahn'; did you mean 'tanh'? Known: relu, tanh"
    """
    names, given = sorted(known), shown(name, 200)
    folded, typed = {n.lower(): n for n in names[:_MATCHED]}, given.strip("'").lower()
    plain = re.sub("[^a-z0-9]", "", typed)
    near = [ours for ours, others in _CALLED.items() if plain in others.split() and ours in names]
    near = near or [folded[n] for n in difflib.get_close_matches(typed, folded, n=3, cutoff=0.6)]
    guess = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    known_names = f" Known: {', '.join(map(printable, names[:_LISTED]))}" if names else ""
    more = f", ... ({len(names):,} in all)" if len(names) > _LISTED else ""
    tail = f"{'.' if known_names else ''} {hint}" if hint else ""
    return UnknownNameError(f"unknown {kind} {given}{guess}{known_names}{more}{tail}")
