"""The attributes that a graph's nodes and edges may carry for graphbp, and which others are a slip of one of them.

Every attribute that is not in these tables is the user's own (pos, label, color, ...), kept and ignored.  But `activaton="tanh"` would
be ignored too, and the network computes something else in silence.  So a name that is not in the table and nearly one that is, with a
value that would serve there, is refused:

    a capital, or a `_`, `-`, blank too many      Weight, BIAS, trainable_
    one letter swapped, left out, put in          bais, activaton, weightt      (names of three letters: swapped, doubled, plural)
    one letter changed                            actifation                    (names of five letters and more)
    what it is, behind it                         activation_function           (function, fn, func, name)
    two of these                                  acitvaton, tranable           (names of eight letters and more)

The first letter must be right (or swapped): `height` is no slip of `weight`.

>>> slip_of("activaton", "tanh", NODE_ATTRIBUTES), slip_of("bais", 0.5, NODE_ATTRIBUTES)
('activation', 'bias')
>>> slip_of("height", 0.5, EDGE_ATTRIBUTES), slip_of("unit", "kg", NODE_ATTRIBUTES)
(None, None)
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from graphbp.activations.table import get_activation
from graphbp.aggregation import aggregation_number
from graphbp.exceptions import UnknownNameError

__all__ = ["EDGE_ATTRIBUTES", "NODES_ALONE", "NODE_ATTRIBUTES", "ROLES", "is_near", "is_of_nodes", "slip_of"]

ROLES = ("hidden", "input", "output")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) or callable(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_numeric(value: Any) -> bool:
    """A number, an array, a matrix, or a list of numbers."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_numeric, value))
    return type(value) is not bool and (isinstance(value, numbers.Number) or hasattr(value, "dtype"))


def _is_listed(value: Any) -> bool:
    return isinstance(value, (list, tuple, str))


def _is_switch(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_)) or value in (0, 1)


NODE_ATTRIBUTES: Mapping[str, Callable[[Any], bool]] = {
    "units": _is_count,
    "activation": _is_name,
    "aggregation": _is_name,
    "bias": _is_numeric,
    "role": lambda value: value in ROLES,
    "trainable": _is_switch,
    "tie": _is_name,
    "shift": _is_numeric,
    "scale": _is_numeric,
    "classes": _is_listed,
    "columns": _is_listed,
    "error": _is_name,
    "error_weight": _is_numeric,
}
"""name → whether a value could be meant for it: nobody's `unit="kg"` is a slip of `units`."""

EDGE_ATTRIBUTES: Mapping[str, Callable[[Any], bool]] = {"weight": _is_numeric, "trainable": _is_switch, "tie": _is_name}
"""The same for edges."""

NODES_ALONE = ("activation", "aggregation")
"""What an edge may carry for others, but not with a value that a node's would have."""


def is_of_nodes(key: Any, value: Any) -> bool:
    """An edge's `activation="tanh"` or `aggregation="max"`: a node's attribute, with a value that would serve there."""
    if key not in NODES_ALONE or not isinstance(value, str):
        return False
    try:
        get_activation(value) if key == "activation" else aggregation_number("", value)
    except UnknownNameError:
        return False
    return True


def slip_of(key: Any, value: Any, known: Mapping[str, Callable[[Any], bool]]) -> str | None:
    """The known attribute that `key` is a slip of, or None."""
    if not isinstance(key, str) or key in known:
        return None
    name = _near(key, tuple(known))
    if name is None:
        return None
    try:
        return name if known[name](value) else None
    except Exception:  # a value that cannot be compared is none of ours
        return None


def is_near(key: Any, known: Mapping[str, Callable[[Any], bool]]) -> bool:
    """Whether `key` is a slip of a known attribute with some values."""
    return isinstance(key, str) and _near(key, tuple(known)) is not None


_WHAT = ("function", "func", "fn", "name")


@lru_cache(maxsize=4096)
def _near(key: str, known: tuple[str, ...]) -> str | None:
    """The known name that `key` nearly is; a graph has few different keys, on many edges."""
    plain = key.lower().rstrip("_- ").replace("-", "").replace("_", "")
    if plain in known:
        return plain if key[0] not in "_-" else None  # a leading underscore marks somebody's own
    if (whole := next((plain.removesuffix(what) for what in _WHAT if plain.endswith(what)), None)) in known:
        return whole
    for name in known:
        if _slipped(plain, name):
            return name
    return None


def _slipped(typed: str, name: str) -> bool:
    if len(name) <= 3:
        doubled = [name[: i + 1] + name[i:] for i in range(len(name))]
        return typed in (f"{name}s", *doubled, *_swapped(name))
    if typed == f"{name}es":
        return True
    if not typed or (typed[0] != name[0] and typed not in _swapped(name)):
        return False
    allowed = 2 if len(name) >= 8 else 1
    if len(name) < 5 and len(typed) == len(name):
        return typed in _swapped(name)
    return _distance(typed, name) <= allowed


def _swapped(name: str) -> list[str]:
    return [name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(len(name) - 1)]


def _distance(a: str, b: str) -> int:
    """Letters to swap, put in, leave out or change (optimal string alignment)."""
    if abs(len(a) - len(b)) > 2:
        return 3
    before, last = list(range(len(b) + 1)), list[int]()
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], last[j - 2] + 1)
        last, before = before, row
    return before[-1]
