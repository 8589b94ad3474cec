"""What each parameter multiplies: the largest |z| of its source over the samples, which is how far a step of 1 in it moves an a."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.lookup import parameter_units, positions
from graphbp.training.problem import Problem

__all__ = ["source_sizes", "units_led_to"]

Vector = npt.NDArray[np.float64]


def source_sizes(problem: Problem, theta: Any) -> Vector:
    """(W,): max_n |z_ni| of the source i, 1 for a bias; of a tied parameter the largest.

    0 where the source leads to no output; 1 for all where the backend has no trace of its own.
    """
    net, part = problem.net, problem.training
    if "trace" in net.model.run.composed:
        return np.ones(net.n_parameters)
    largest = np.zeros(net.schedule.live.n_rows + 1)  # a trace has the rows of what is compiled; the last is for those that are not
    step = max(1, (1 << 22) // len(largest))
    for start in range(0, len(part), step):
        some = part.take(slice(start, start + step))
        z = net.model.backend.to_numpy(net.model.run.trace(theta, some.x, some.t, some.s).z)
        largest[:-1] = np.maximum(largest[:-1], np.abs(np.asarray(z, np.float64)).max(axis=1, initial=0.0))
    spec, layout = net.model.spec, net.model.layout
    effect, rows = np.ones(len(layout.entry_parameter)), _compiled_rows(problem)
    for e, source in enumerate(spec.edge_src.tolist()):
        start, array, values = int(layout.edge_start[e]), spec.edge_array.get(e), largest[rows[net.schedule.rows_of(source)]]
        effect[start : start + int(layout.edge_count[e])] = values.max() if array is None else values[positions(array)[1]]
    free, size = layout.entry_parameter >= 0, np.zeros(net.n_parameters)
    np.maximum.at(size, layout.entry_parameter[free], effect[free])
    return size


def units_led_to(problem: Problem) -> npt.NDArray[np.int64]:
    """(W,): the number of the unit that each parameter leads into; of a tied one, the last."""
    layout = problem.net.model.layout
    free, unit = layout.entry_parameter >= 0, np.zeros(problem.net.n_parameters, np.int64)
    unit[layout.entry_parameter[free]] = parameter_units(problem.net.model.spec, layout)[free]
    return unit


def _compiled_rows(problem: Problem) -> npt.NDArray[np.int64]:
    """Where each row of the schedule stands in what is compiled; −1 where it leads to no output."""
    schedule = problem.net.schedule
    if schedule.live.part_of is None:
        return np.arange(schedule.n_rows)
    place = np.full(schedule.n_rows, -1)
    place[schedule.live.part_of[1]] = np.arange(schedule.live.n_rows)
    return place
