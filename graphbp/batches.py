"""(t, s) of a batch for networks of many heads: targets and weights of every entry, gaps told apart from numbers.

    T (N, K), NaN or weight 0 where there is no target ──► t, every entry a number that its error takes
    sample_weight None, (N,), (N, K) (booleans: a mask)──► s = sample weight × error weight × there: None, (N,) where it is alike for all
                                                           outputs, else (N, K)

The outputs of one softmax have one weight, and a target as a whole.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import foreign
from graphbp.exceptions import DataError, DataWarning, callers_level, listed

if TYPE_CHECKING:
    from graphbp.mixture import Entry, Heads
    from graphbp.scaling import Affine

__all__ = ["entries_of", "entry_weights", "one_hot", "present_in", "targets_of", "warn_of_empty", "weights_of"]

Array = npt.NDArray[Any]
_SLACK = 1e-5
"""How far a row of target probabilities may sum from 1."""


def targets_of(T: Any, n: int, heads: Heads) -> Array:
    """T (N, K) in float64, NaN where a target is missing; labels of classes of a single softmax become one-hot rows."""
    k = heads.schedule.n_outputs
    if isinstance(T, np.ma.MaskedArray):
        T = np.ma.filled(T.astype(np.float64), np.nan)
    array = np.asarray(foreign.host_array(T, "T"))
    entry = heads.entries[0]
    labelled = len(heads.entries) == 1 and entry.grouped and entry.error.classes
    if labelled and array.shape in ((n,), (n, 1)):
        array = one_hot(array.reshape(n).astype(np.float64), k)
    elif array.shape == (n,) and k == 1:
        array = array.reshape(n, 1)
    if array.shape != (n, k):
        names = ", ".join(f"{e.name}" + (f" ({len(e.positions)} units)" if e.grouped else "") for e in heads.entries[:8])
        raise DataError(f"T has shape {array.shape}; X has {n} rows and the network {k} outputs ({names}), so it must be {(n, k)}")
    array = np.array(array, np.float64)
    if (bad := np.isinf(array)).any():
        raise DataError(_where(heads, array, bad, "T"))
    return array


def one_hot(labels: Array, k: int) -> Array:
    """Positions of classes, NaN where one is missing, as rows of zeros and a one."""
    there = ~np.isnan(labels)
    bad = there & ((labels != np.round(np.where(there, labels, 0))) | (labels < 0) | (labels >= k))
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"T row {row} has label {labels[row]:g}; there are {k} classes, so labels are 0 to {k - 1}")
    out = np.full((len(labels), k), np.nan)
    out[there] = np.eye(k)[labels[there].astype(np.int64)]
    return out


def entry_weights(sample_weight: Any, n: int, heads: Heads) -> Array | None:
    """The caller's weights, (N, K) in float64, or None; those of a softmax must be alike."""
    if sample_weight is None:
        return None
    k = heads.schedule.n_outputs
    array = np.asarray(foreign.host_array(sample_weight, "sample_weight"), np.float64)
    if array.shape == (n,):
        array = np.broadcast_to(array[:, None], (n, k))
    if array.shape != (n, k):
        raise DataError(
            f"sample_weight has shape {array.shape}; X has {n} rows and the network {k} outputs, so it must be ({n},) or {(n, k)}"
        )
    if (bad := ~np.isfinite(array) | (array < 0)).any():
        raise DataError(_where(heads, array, bad, "sample_weight") + "; weights are finite and 0 or more")
    for entry in heads.entries:
        if entry.grouped and (apart := (array[:, entry.positions] != array[:, entry.positions[:1]]).any(axis=1)).any():
            raise DataError(
                f"sample_weight row {int(np.argmax(apart))} has different weights for the classes of {entry.name}; a softmax has one"
            )
    return array


def present_in(t: Array, weight: Array | None, heads: Heads, skip: bool) -> npt.NDArray[np.bool_]:
    """(N, K): the entries that have a target and a weight.

    Raises
    ------
    DataError : a softmax of whose classes some are missing; a missing target where none may be (`skip`).
    """
    missing = np.isnan(t)
    counted = np.ones(t.shape, bool) if weight is None else weight > 0
    if not missing.any():
        return counted
    if not skip and (bad := missing & counted).any():
        raise DataError(
            _where(heads, t, bad, "T")
            + '; drop or impute such rows, or build the network with missing="skip" to leave such targets out'
        )
    for entry in heads.entries:
        here = missing[:, entry.positions] & counted[:, entry.positions]
        if entry.grouped and (partly := here.any(axis=1) & ~here.all(axis=1)).any():
            raise DataError(
                f"T row {int(np.argmax(partly))} lacks some of the classes of {entry.name}; the target of a softmax is there or missing as a "
                "whole"
            )
    return counted & ~missing


def entries_of(t: Array, there: Array, heads: Heads, scaling: Affine | None, dtype: np.dtype[Any]) -> Array:
    """t in the engine's units and dtype, missing ones replaced by a number that their error takes; out of range refused, named."""
    scaled = t if scaling is None else scaling.inward(t)
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(scaled, dtype)
    out = out.copy() if out is t else out
    for entry in heads.entries:
        p, kind = entry.positions, entry.error.targets
        harmless = 1 / len(p) if kind == "distribution" and entry.grouped else 0.5 if kind != "real" else 0.0
        for k in p.tolist():
            out[~there[:, k], k] = harmless
        _refuse_strangers(out, entry, heads)
    if (bad := ~np.isfinite(out)).any():
        raise DataError(_where(heads, t, bad, "T") + f", too large for {dtype}")
    return out


def _refuse_strangers(t: Array, entry: Entry, heads: Heads) -> None:
    """Of one entry; a distribution that nearly sums to 1 is made to."""
    p, error = entry.positions, entry.error
    if error.targets == "real":
        return
    bad = np.zeros(t.shape, bool)
    bad[:, p] = (t[:, p] < 0) | ((t[:, p] > 1) if error.targets != "nonnegative" else False)
    if bad.any():
        wanted = "0 or more" if error.targets == "nonnegative" else "from 0 to 1"
        raise DataError(_where(heads, t, bad, "T") + f"; with error={error.name!r} targets are {wanted}")
    if error.targets == "distribution" and entry.grouped:
        total = t[:, p].sum(axis=1)
        if (bad_rows := np.abs(total - 1) > _SLACK).any():
            row = int(np.argmax(bad_rows))
            raise DataError(
                f"T row {row} sums to {total[row]:.6g} over the classes of {entry.name}; with error={error.name!r} it must sum to 1"
            )
        if (np.abs(total - 1) > len(p) * np.finfo(t.dtype).eps).any():
            t[:, p] /= total[:, None]


def weights_of(there: Array, weight: Array | None, heads: Heads) -> Array | None:
    """s: None, (N,) where it is alike for all outputs, else (N, K), in float64."""
    s = there.astype(np.float64) if weight is None else np.where(there, weight, 0.0)
    if heads.weight is not None:
        s = s * heads.weight
    if (s != s[:, :1]).any():
        return s
    return None if (s == 1).all() else np.ascontiguousarray(s[:, 0])


def warn_of_empty(missing: Array, heads: Heads, told: set[Any]) -> None:
    """Say once of each output that it has no target at all."""
    empty = [entry.name for entry in heads.entries if missing[:, entry.positions[0]].all()]
    new = [name for name in empty if ("no target", name) not in told]
    if new and len(empty) < len(heads.entries):
        told.update(("no target", name) for name in new)
        warnings.warn(
            f"T holds no target for {listed(new)}: nothing is learnt of it from these rows", DataWarning, stacklevel=callers_level()
        )


def _where(heads: Heads, array: Array, bad: Array, what: str) -> str:
    row, k = (int(i) for i in np.argwhere(bad)[0])
    name = heads.schedule.describe_row(int(heads.schedule.output_rows[k]))
    return f"{what} row {row}, column {k} ({name}) is {array[row, k]}"
