"""Which output activation serves which error: the values that an output can take must be values that the error can judge.

    binary_cross_entropy   0 ≤ y ≤ 1     sigmoid (canonical), softmax, gaussian, step, ...
    cross_entropy          y ≥ 0         softmax (canonical), sigmoid, exp, ...
    poisson                y ≥ 0         exp (canonical), softplus, square, ...

An output that may leave these has E = NaN, or a finite gradient of nothing, as soon as it does; so the network is refused when it is
built.  What an activation can give is its row's `range`; a registered one that states none is judged by what it gives at sampled points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation, sampled_range
from graphbp.error_functions import ErrorFunction, get_error_function
from graphbp.exceptions import GraphError
from graphbp.mixture import AnyError, Mixture

if TYPE_CHECKING:
    from graphbp.schedule import Schedule

__all__ = ["fitting_activation", "refuse_unfit_outputs"]


def fitting_activation(error: str) -> str:
    """The activation that makes δ = y − t under `error`, or "identity" where no activation does.

    >>> fitting_activation("binary_cross_entropy")
    'sigmoid'
    """
    return get_error_function(error).canonical or "identity"


def refuse_unfit_outputs(schedule: Schedule, error: AnyError) -> None:
    """Raises `GraphError` for an output whose activation takes values that its error is not defined for."""
    each = error.each if isinstance(error, Mixture) else (error,) * schedule.n_outputs
    for row in dict.fromkeys(each):
        here = [k for k, other in enumerate(each) if other == row]
        _refuse_unfit(schedule, row, schedule.output_rows[here])


def _refuse_unfit(schedule: Schedule, error: ErrorFunction, rows: npt.NDArray[np.int64]) -> None:
    low, high = error.domain
    if low == -np.inf and high == np.inf:
        return
    for kind in np.unique(schedule.row_activation[rows]).tolist():
        activation = schedule.activations[kind]
        least, most = _range(activation)
        if low <= least and most <= high:
            continue
        row = int(rows[np.argmax(schedule.row_activation[rows] == kind)])
        raise GraphError(
            f"output {schedule.describe_row(row)} has activation {activation.name!r}, whose values lie {_interval(least, most)}, and "
            f"error={error.name!r} is defined for y {_interval(low, high)}: {_remedy(error, len(rows))}"
        )


def _remedy(error: ErrorFunction, n_outputs: int) -> str:
    if error.canonical == "softmax" and n_outputs == 1:
        return "softmax needs an output for each class; for one probability give it activation='sigmoid', and the network error='binary_cross_entropy'"
    if error.canonical is None:
        return "give the output an activation that keeps to it, or the network another error="
    return (
        f"give the output activation={error.canonical!r} (gb.layered(..., error={error.name!r}) does), or the network another error= "
        "('sum_of_squares' takes any y)"
    )


def _range(activation: Activation) -> tuple[float, float]:
    return sampled_range(activation) if activation.range is None else activation.range


def _interval(low: float, high: float) -> str:
    if low == -np.inf and high == np.inf:
        return "anywhere"
    if high == np.inf:
        return f"from {low:.4g} on"
    return f"from {low:.4g} to {high:.4g}" if low > -np.inf else f"up to {high:.4g}"
