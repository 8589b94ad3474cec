"""Numbers, flags and arrays out of whatever a caller has, or an error that says what came: what knows nothing of networks."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError, GraphbpError, shown

__all__ = [
    "as_count",
    "as_flag",
    "as_number",
    "foreign_array",
    "generator",
    "holds_tensors",
    "host_array",
    "refuse_masked",
    "summed_csr",
    "zeros_as",
]

Array = npt.NDArray[Any]


def generator(seed: Any) -> np.random.Generator:
    """The random numbers that a seed stands for."""
    try:
        return np.random.default_rng(seed)
    except Exception as problem:
        raise DataError(f"seed={shown(seed)}; it must be a whole number, 0 or more") from problem


def as_count(name: str, value: Any, least: int, why: str = "", error: type[GraphbpError] = DataError) -> int:
    """A whole number of at least `least`, or `error`; `why` ends the message."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) < 2**63:
        raise error(f"{name}={shown(value)}; it must be a whole number of at least {least}{why}")
    return int(value)


def as_number(
    name: str,
    value: Any,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    error: type[GraphbpError] = DataError,
) -> float:
    """A finite real number in [least, most] and larger than `above`, as a float, or `error`; a truth value is none."""
    number = math.nan
    if type(value) is not bool and isinstance(value, numbers.Real):
        try:
            number = float(value)
        except (OverflowError, ValueError):  # an int beyond float64
            number = math.nan
    if math.isfinite(number) and least <= number <= most and number > above:
        return number
    bounds = [f"above {above:g}"] if above > -math.inf else [f"{least:g} or more"] if least > -math.inf else []
    bounds += [f"at most {most:g}"] if most < math.inf else []
    raise error(f"{name}={shown(value)}; it must be a finite number{', ' if bounds else ''}{' and '.join(bounds)}")


def host_array(value: Any, what: str, error: type[GraphbpError] = DataError) -> Array:
    """A real NumPy array from a list, a DataFrame, a tensor, a memory map, ...: `__array__` first, then DLPack; or `error`.

    A tensor that records a computation (`requires_grad`) is detached from it: its values are taken, nothing flows back into it.
    """
    refuse_masked(value, what, error)
    if hasattr(value, "tocsr"):
        raise error(f"{what} is a SciPy sparse matrix; give {what}.toarray()")
    array = foreign_array(value, what, error)
    if array.dtype.kind == "c":
        raise error(f"{what} is complex ({array.dtype}); graphbp computes with real numbers")
    if array.dtype.kind not in "fiub":
        remedy = ": .astype(float) makes numbers of bytes, .astype(str) labels" if array.dtype.kind == "S" else ""
        raise error(f"{what} has dtype {array.dtype}{_first_stranger(array)}; it must hold numbers{remedy}")
    return array


def refuse_masked(value: Any, what: str, error: type[GraphbpError] = DataError) -> None:
    """Refuse a masked entry, in an array or in a list of arrays; NumPy itself would take the number under the mask."""
    parts = enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]
    for k, part in parts:
        if isinstance(part, np.ma.MaskedArray) and np.ma.getmaskarray(part).any():
            at = tuple(int(i) for i in np.argwhere(np.ma.getmaskarray(part))[0])
            at = at if k is None else (k, *at)
            where = f"its entry {at} is masked" if at else "it is masked"
            raise error(f"{what} is a masked array, and {where}; drop or impute such entries first, or say .filled(value)")


def as_flag(name: str, value: Any, error: type[GraphbpError] = DataError) -> bool:
    """True or False (or 1 or 0), or `error`: any other value would count as one of them in silence."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, numbers.Integral) and value in (0, 1)):
        return bool(value)
    raise error(f"{name}={shown(value)}; it must be True or False")


def foreign_array(value: Any, what: str, error: type[GraphbpError] = DataError) -> Array:
    """Whatever `value` is as an ndarray of any dtype; `error` where the object will not become one."""
    if isinstance(value, np.ndarray):
        return np.asarray(value)  # a subclass, such as np.matrix, has rules of its own
    try:
        return _host(value)
    except Exception as problem:
        raise error(
            f"{what} ({type(value).__name__}) could not be read as an array: {problem}; give a NumPy array in host memory"
        ) from problem


def _host(value: Any) -> Array:
    """`value` as an ndarray, a tensor (or a list of them) detached from what it records."""
    if isinstance(value, list | tuple):
        return np.asarray([_host(part) for part in value] if holds_tensors(value) else value)
    if getattr(value, "requires_grad", False) is True:  # a torch Parameter refuses to become an array
        value = value.detach()
    only_dlpack = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
    return np.from_dlpack(value) if only_dlpack else np.asarray(value)


def holds_tensors(value: Any) -> bool:
    """Whether a list, or a list of lists, has entries that bring arrays of their own and are none of NumPy's."""
    if isinstance(value, list | tuple):
        return any(map(holds_tensors, value[:1] if value and isinstance(value[0], list | tuple) else value))
    return not isinstance(value, np.ndarray | np.generic) and (hasattr(value, "detach") or hasattr(value, "__dlpack__"))


def summed_csr(matrix: Any, what: str, error: type[GraphbpError] = DataError) -> Any:
    """A SciPy sparse matrix as a new CSR one with sorted indices, entries that are stored twice summed, stored zeros kept."""
    refuse_masked(getattr(matrix, "data", None), f"{what} (stored entries)", error)
    if matrix.ndim != 2:
        raise error(f"{what} has shape {matrix.shape}; a sparse matrix has two dimensions")
    try:
        _check_indices(matrix)  # first: compiled code that converts a damaged one writes where it points
        csr = matrix.tocsr().copy()
        if getattr(matrix, "format", "") != "csr":  # else it is the one that was looked at
            _check_indices(csr)
    except (ValueError, TypeError, IndexError) as problem:
        raise error(f"{what} is a damaged sparse matrix: {problem}") from problem
    csr.sum_duplicates()  # the copy has forgotten what the matrix believed of its order, which may be older than its arrays
    return csr


def _check_indices(matrix: Any) -> None:
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)
    elif hasattr(matrix, "coords"):
        for axis, (part, size) in enumerate(zip(matrix.coords, matrix.shape, strict=True)):
            if len(part) and not 0 <= part.min() <= part.max() < size:
                raise ValueError(f"it has indices outside 0 to {size - 1} along axis {axis}")


def _first_stranger(array: Array) -> str:
    """Which entry of an array of objects is no number."""
    if array.dtype.kind != "O":
        return ""
    for at, entry in np.ndenumerate(array):
        if not isinstance(entry, numbers.Real):
            return f": {f'entry {at} is' if at else 'it is'} {shown(entry)} ({type(entry).__name__})"
    return " (numbers of several kinds as Python objects; .astype(float) makes one of them)"


def zeros_as(like: Any, shape: tuple[int, ...]) -> Any:
    """An array of zeros of the library and dtype of `like` (NumPy or CuPy: both follow NEP 35)."""
    out: Any = np.empty_like(like, shape=shape)
    out[...] = 0
    return out
