"""The Numba backend: fused, vectorised sweeps on the CPU.

Importing this package imports no Numba; `compile` does.  Its rooms, each of which knows those below it (docs/architecture.md):

    executable                       what the core calls
    hessians                         the Numba side of the core's Hessians
    layers, levels, tiles · states   ways through a network · quantities that keep every row
    work                             what these share: choice, workspace, tasks
    first_order · heads              the kernels of units and of outputs
    plan                             the schedule as flat arrays
    instructions · machine           operations in LLVM IR · compiler, cache, formulas
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Availability

if TYPE_CHECKING:
    from graphbp.extend import AnyError, Executable, Schedule

__all__ = ["NumbaBackend", "backend"]


class NumbaBackend:
    """Machine code for the CPU, compiled once for all networks."""

    name = "numba"
    combinations = True
    many_heads = True

    def availability(self) -> Availability:
        """Whether Numba is installed; it is not imported to find out."""
        if importlib.util.find_spec("numba") is None:
            return Availability(False, "Numba is not installed", install='pip install "graphbp[numba]"', device="CPU")
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("numba")
        except PackageNotFoundError:
            found = ""
        return Availability(True, device="CPU", version=found)

    def compile(self, schedule: Schedule, error: AnyError, dtype: np.dtype[Any]) -> Executable:
        """An executable.  Raises `NotSupportedError` for a registered function that Numba cannot compile."""
        from graphbp_numba.executable import NumbaExecutable

        return NumbaExecutable(schedule, error, np.dtype(dtype))

    def owns(self, array: Any) -> bool:
        """NumPy arrays are what the core returns anyway."""
        return False

    def asarray(self, array: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """A C-contiguous NumPy array that is writeable: a copy of one that is not."""
        made: npt.NDArray[Any] = np.ascontiguousarray(array, dtype)
        return made if made.flags.writeable else made.copy()  # Numba would compile every kernel anew for read-only arrays

    def to_numpy(self, array: Any) -> npt.NDArray[Any]:
        """The array itself."""
        return np.asarray(array)


backend = NumbaBackend()
