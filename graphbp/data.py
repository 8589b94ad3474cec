"""X, T and vectors: from anything array-like that users have to checked arrays of the compiled dtype.

Each function takes what came, and returns a C-contiguous array in the backend's memory, or raises `DataError` naming the row and
column.  Arrays that already live in the backend's memory (a cupy.ndarray for the CuPy backend) are checked by shape and dtype
alone: looking at their values would synchronise with the device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import DataError, listed
from graphbp.foreign import host_array
from graphbp.protocols import Backend

if TYPE_CHECKING:
    from graphbp.mixture import AnyError
    from graphbp.scaling import Affine
    from graphbp.schedule import Schedule

__all__ = ["as_directions", "as_inputs", "as_sample_weight", "as_targets", "as_vector", "finite", "require_samples"]

Array = npt.NDArray[Any]
_PROBABILITY_SLACK = 1e-5
"""How far a row of target probabilities may sum from 1: float32 rounding over some hundred classes."""

SMALL = 4096
"""Numbers that BLAS multiplies on the caller's thread; above this it would wake its own, which then spin on the cores of the sweep."""


def finite(array: Array) -> bool:
    """All values finite; their sum, or for few their dot product, answers at once unless it overflows."""
    if array.size <= SMALL:
        return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(array.sum()) or bool(np.isfinite(array).all())


def _converted(array: Array, dtype: np.dtype[Any]) -> Array:
    """C-contiguous and of `dtype`; what is too large for it becomes infinite without a warning, since it is refused next."""
    if array.dtype == dtype:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype)


def _not_finite(came: Array, array: Array, what: str, columns: list[str] | None = None) -> str:
    """Which entry is not finite; one that was and is too large for the dtype is shown as it came."""
    bad = ~np.isfinite(array)
    text = _first_bad(np.asarray(came), bad, what, columns)
    return text if not np.isfinite(came[bad].flat[0]) else f"{text}, too large for {array.dtype}"


def _first_bad(array: Array, bad: npt.NDArray[np.bool_], what: str, columns: list[str] | None = None) -> str:
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    where = f"row {at[0]}" if len(at) else ""
    if len(at) > 1:
        where += f", column {at[1]}" + (f" ({columns[at[1]]})" if columns else "")
    return f"{what} {where} is {array[at]}"


def _row_names(schedule: Schedule, rows: npt.NDArray[np.int64], limit: int = 20) -> list[str]:
    return [schedule.describe_row(int(r)) for r in rows[:limit]]


def as_inputs(X: Any, schedule: Schedule, backend: Backend, dtype: np.dtype[Any], scaling: Affine | None = None) -> Any:
    """(N, D) inputs, scaled in float64 where they are to be.

    Raises `DataError` for the wrong number of columns (the input order is printed), NaN or infinity.  Of no rows there are no answers: (0, D)
    is taken.
    """
    if backend.owns(X):
        _refuse_complex(X, "X")
        _check_input_shape(X.shape, schedule)
        return backend.asarray(X if scaling is None else _scaled_there(X, scaling, backend), dtype)
    if type(X) is not np.ndarray or X.dtype != dtype:
        X = host_array(X, "X")
    _check_input_shape(X.shape, schedule)
    array = _converted(X if scaling is None else scaling.inward(np.asarray(X, np.float64)), dtype)
    if not finite(array):
        names = _row_names(schedule, np.arange(schedule.n_inputs), schedule.n_inputs)
        raise DataError(_not_finite(X, array, "X", names) + "; drop or impute such rows first")
    return backend.asarray(array, dtype)


def _scaled_there(array: Any, scaling: Affine, backend: Backend) -> Any:
    """Scaled in the backend's memory, in float64."""
    wide = np.dtype(np.float64)
    shift, scale = (backend.asarray(part, wide) for part in (scaling.shift, scaling.scale))
    return (backend.asarray(array, wide) - shift) / scale


def _check_input_shape(shape: tuple[int, ...], schedule: Schedule) -> None:
    d = schedule.n_inputs
    if len(shape) == 2 and shape[1] == d:
        return
    order = listed(_row_names(schedule, np.arange(d)), 20, d)
    if len(shape) != 2:
        fix = (
            "X.reshape(1, -1) makes one sample of it"
            if len(shape) == 1 and shape[0] == d
            else "one row a sample, one column an input"
        )
        raise DataError(f"X has shape {shape}; it must be (N, {d}): {fix}. The inputs are {order}")
    raise DataError(f"X has {shape[1]} columns; the network has {d} inputs, in this order: {order}")


def require_samples(x: Any, what: str, purpose: str) -> None:
    """Refuse an empty batch where nothing can be learnt from it."""
    if not len(x):
        raise DataError(f"{what} has shape {tuple(x.shape)}: an empty batch; {purpose} takes at least one sample")


def as_targets(
    T: Any,
    n: int,
    schedule: Schedule,
    error: AnyError,
    backend: Backend,
    dtype: np.dtype[Any],
    scaling: Affine | None = None,
) -> Any:
    """(N, K) targets, scaled like the outputs; integer labels become one-hot rows where the error function takes classes.

    Raises
    ------
    DataError : the wrong shape, NaN, a label outside the classes, a probability outside [0, 1], a negative count.
    """
    k = schedule.n_outputs
    if backend.owns(T):
        _refuse_complex(T, "T")
        if T.shape == (n,) and k == 1:
            T = T.reshape(n, 1)
        if T.shape != (n, k):
            raise DataError(f"T has shape {tuple(T.shape)}; it must be {(n, k)} (labels on the device are not expanded)")
        return backend.asarray(T if scaling is None else _scaled_there(T, scaling, backend), dtype)
    T = host_array(T, "T")
    if error.classes and T.dtype.kind in "iu" and T.shape in ((n,), (n, 1)) and (k > 1 or T.ndim == 1):
        T = _one_hot(T.reshape(n), k, schedule, dtype)
    elif T.shape == (n,) and k == 1:
        T = T.reshape(n, 1)
    if T.shape != (n, k):
        labels = f", or {(n,)} integer class labels" if error.classes else ""
        names = listed(_row_names(schedule, schedule.output_rows), 20, k)
        raise DataError(
            f"T has shape {T.shape}; X has {n} rows and the network {k} outputs ({names}), so it must be {(n, k)}{labels}"
        )
    array = _converted(T if scaling is None else scaling.inward(np.asarray(T, np.float64)), dtype)
    if not finite(array):
        skip = '; a network with missing="skip" leaves such targets out' if np.isnan(T).any() else ""
        raise DataError(_not_finite(T, array, "T", _row_names(schedule, schedule.output_rows, k)) + skip)
    return backend.asarray(_in_range(array, schedule, error), dtype)


def _one_hot(labels: Array, k: int, schedule: Schedule, dtype: np.dtype[Any]) -> Array:
    if len(schedule.softmax_groups) > 1:
        raise DataError(
            f"T holds labels, but the outputs form {len(schedule.softmax_groups)} softmax groups; give T as (N, {k}), one-hot per group"
        )
    bad = (labels < 0) | (labels >= k)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"T row {row} has label {labels[row]}; the network has {k} outputs, so labels are 0 to {k - 1}")
    T = np.zeros((len(labels), k), dtype)
    T[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return T


def _in_range(T: Array, schedule: Schedule, error: AnyError) -> Array:
    """T, refused where the error function cannot take it; distributions that nearly sum to 1 are made to, in a copy."""
    if error.targets in ("probability", "distribution", "nonnegative"):
        bad = T < 0
        if error.targets != "nonnegative":
            bad |= T > 1
        if bad.any():
            names = _row_names(schedule, schedule.output_rows, schedule.n_outputs)
            wanted = "0 or more" if error.targets == "nonnegative" else "from 0 to 1"
            raise DataError(_first_bad(T, bad, "T", names) + f"; with error={error.name!r} targets are {wanted}")
    if error.targets == "distribution":
        for group in schedule.softmax_groups:
            total = T[:, group].sum(axis=1)
            bad_rows = np.abs(total - 1) > _PROBABILITY_SLACK
            if bad_rows.any():
                row = int(np.argmax(bad_rows))
                raise DataError(
                    f"T row {row} sums to {total[row]:.6g} over its classes; with error={error.name!r} it must sum to 1"
                )
            if (np.abs(total - 1) > len(group) * np.finfo(T.dtype).eps).any():  # δ = y − t holds for Σ_k t_k = 1 only
                T = T.copy()
                T[:, group] /= total[:, None]
    return T


def as_sample_weight(s: Any, n: int, backend: Backend, dtype: np.dtype[Any]) -> Any:
    """(N,) weights s_n ≥ 0 of the samples, or None."""
    if s is None:
        return None
    if backend.owns(s):
        _refuse_complex(s, "sample_weight")
        if s.shape != (n,):
            raise DataError(f"sample_weight has shape {tuple(s.shape)}; it must be ({n},)")
        return backend.asarray(s, dtype)
    array = _converted(host_array(s, "sample_weight"), dtype)
    if array.shape != (n,):
        raise DataError(f"sample_weight has shape {array.shape}; X has {n} rows, so it must be ({n},)")
    bad = ~np.isfinite(array) | (array < 0)
    if bad.any():
        raise DataError(_first_bad(array, bad, "sample_weight") + "; weights are finite and 0 or more")
    return backend.asarray(array, dtype)


def _refuse_complex(array: Any, what: str) -> None:
    """An array on a device is looked at by its dtype alone."""
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} has dtype {array.dtype}; it must hold real numbers")


def as_directions(V: Any, shape: tuple[int, ...], what: str, meaning: str, backend: Backend, dtype: np.dtype[Any]) -> Any:
    """An array of exactly `shape`, finite."""
    if backend.owns(V):
        _refuse_complex(V, what)
        if V.shape != shape:
            raise DataError(f"{what} has shape {tuple(V.shape)}; it must be {shape}, {meaning}")
        return backend.asarray(V, dtype)
    array = _converted(host_array(V, what), dtype)
    if array.shape != shape:
        raise DataError(f"{what} has shape {array.shape}; it must be {shape}, {meaning}")
    if not finite(array):
        raise DataError(_first_bad(array, ~np.isfinite(array), what))
    return backend.asarray(array, dtype)


def as_vector(v: Any, w: int, dtype: np.dtype[Any], what: str = "weights") -> Array:
    """(W,) parameters on the host, a fresh copy, finite."""
    array = _converted(host_array(v, what), dtype).copy()
    if array.shape != (w,):
        raise DataError(f"{what} has shape {array.shape}; the network has {w} free parameters, so it must be ({w},)")
    if not finite(array):
        raise DataError(f"{what}[{int(np.argmax(~np.isfinite(array)))}] is not finite")
    return array
