"""The NumPy backend: the definition that every other backend must agree with.

`sweeps` holds Algorithm 1 (error backpropagation) as plain loops over the schedule, `executable` the quantities built from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import AnyError, Availability, Executable, Schedule

__all__ = ["NumpyBackend", "backend"]


class NumpyBackend:
    """Plain NumPy: always there, and readable."""

    name = "numpy"
    combinations = True
    many_heads = True

    def availability(self) -> Availability:
        """Always available."""
        return Availability(True, device="CPU", version=np.__version__)

    def compile(self, schedule: Schedule, error: AnyError, dtype: np.dtype[Any]) -> Executable:
        """An executable for this schedule; nothing that a schedule can hold is refused."""
        from graphbp_numpy.executable import NumpyExecutable

        return NumpyExecutable(schedule, error, dtype)

    def owns(self, array: Any) -> bool:
        """NumPy arrays are what the core returns anyway."""
        return False

    def asarray(self, array: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """A C-contiguous NumPy array."""
        return np.ascontiguousarray(array, dtype)

    def to_numpy(self, array: Any) -> npt.NDArray[Any]:
        """The array itself."""
        return np.asarray(array)


backend = NumpyBackend()
