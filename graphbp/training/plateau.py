"""Hidden units that are flat at every sample (a saturated sigmoid, a dead relu), and the parameters that no derivative sees for that.

Flat is |a h'(a)| ≤ eps |z|: doubling a would change no bit of z.  What rounding leaves of such derivatives looks like a tiny unit of the
parameter, and a method that is free of units would throw it far away; so these parameters stay where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.training.problem import Problem

if TYPE_CHECKING:
    from graphbp.schedule import Schedule

__all__ = ["flat_units", "unseen"]

Mask = npt.NDArray[np.bool_]


def unseen(problem: Problem, theta: Any) -> Mask:
    """(W,): the parameters that lead into flat units only."""
    net = problem.net
    spec, layout, schedule = net.model.spec, net.model.layout, net.schedule
    flat = _flat_rows(problem, theta)
    into_flat, elsewhere = np.zeros(net.n_parameters, bool), np.zeros(net.n_parameters, bool)
    if not flat.any():
        return into_flat

    def mark(start: int, rows: Mask) -> None:
        owners = layout.entry_parameter[start : start + len(rows)]
        into_flat[owners[rows & (owners >= 0)]] = True
        elsewhere[owners[~rows & (owners >= 0)]] = True

    for e, node in enumerate(spec.edge_dst.tolist()):
        rows, array = flat[schedule.rows_of(node)], spec.edge_array.get(e)
        if array is not None and hasattr(array, "nnz"):
            rows = np.repeat(rows, np.diff(array.tocsr().indptr))
        elif array is not None and array.ndim == 2:
            rows = np.repeat(rows, array.shape[1])
        elif array is None:  # one number, of every unit
            rows = np.array([rows.all()])
        mark(int(layout.edge_start[e]), rows)
    for node, bias in enumerate(spec.bias):
        if bias is not None:
            mark(int(layout.bias_start[node]), flat[schedule.rows_of(node)])
    return np.asarray(into_flat & ~elsewhere)


def flat_units(problem: Problem, theta: Any) -> list[str]:
    """The flat units by name."""
    return [problem.net.schedule.describe_row(row) for row in np.flatnonzero(_flat_rows(problem, theta)).tolist()]


def _flat_rows(problem: Problem, theta: Any) -> Mask:
    """Row by row of the whole schedule; a unit that leads to no output is not asked, since nothing moves its weights."""
    live = problem.net.schedule.live
    flat = _flat_live_rows(problem, live, theta)
    if live.part_of is None:
        return flat
    whole, rows = live.part_of
    out = np.zeros(whole.n_rows, bool)
    out[rows] = flat
    return out


def _flat_live_rows(problem: Problem, schedule: Schedule, theta: Any) -> Mask:
    net, part = problem.net, problem.training
    eps = float(np.finfo(net.dtype).eps)
    hidden = np.ones(schedule.n_rows, bool)
    hidden[: schedule.n_inputs] = False
    hidden[schedule.output_rows] = False
    if not hidden.any() or "trace" in net.model.run.composed:
        return np.zeros(len(hidden), bool)
    felt, size, used = np.zeros(len(hidden)), np.zeros(len(hidden)), np.zeros(len(hidden), bool)
    step = max(1, (1 << 22) // schedule.n_rows)
    for start in range(0, len(part), step):
        some = part.take(slice(start, start + step))
        trace = net.model.run.trace(theta, some.x, some.t, some.s)
        a, z = (np.asarray(net.model.backend.to_numpy(x), np.float64) for x in (trace.a, trace.z))
        felt = np.maximum(felt, _slopes(schedule, a, hidden).max(axis=1))
        size, used = np.maximum(size, np.abs(z).max(axis=1)), used | (a != 0).any(axis=1)
    return np.asarray(hidden & used & (felt <= eps * size))


def _slopes(schedule: Schedule, a: npt.NDArray[np.float64], hidden: Mask) -> npt.NDArray[np.float64]:
    """|a h'(a)|, row by row of the hidden units; where that is not a number, infinite."""
    out = np.zeros_like(a)
    for kind, activation in enumerate(schedule.activations):
        rows = hidden & (schedule.row_activation == kind)
        if rows.any() and activation.elementwise:
            out[rows] = np.abs(a[rows] * np.asarray(activation.df(a[rows])))
        elif rows.any():
            out[rows] = np.inf
    return np.where(np.isnan(out), np.inf, out)
