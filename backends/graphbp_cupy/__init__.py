"""The CuPy backend: the whole contract on an NVIDIA GPU.

    schedule ──► program.Program       integer tables, once, on the device
    θ, X, T  ──► executable            which path a call takes (paths), in chunks of samples
                 sweeps.Sweeps         level by level: the kernels of cuda/levels.cu, cuBLAS for dense blocks
                 cuda/fused.cu         or the whole sweep in one launch, where a tile of samples fits in shared memory
                 cuda/wide.cu          or in one launch with the tile in global memory, where there are samples enough

`module` compiles cuda/*.cu and is the one place that launches a kernel, with typed arguments; `formulas` writes the activations
and errors in CUDA; `memory` plans the chunks; `graphs` replays a call that comes again with the same shapes as one launch.  The reverse
sweep gathers by source and every sum has a fixed order, so nothing is atomic and the bits repeat.

Importing this module imports neither CuPy nor anything of CUDA.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.extend import Availability, ErrorFunction, Executable, Schedule
from graphbp_cupy.formulas import register_cuda_activation, register_cuda_error_function

__all__ = ["CupyBackend", "backend", "register_cuda_activation", "register_cuda_error_function"]

_INSTALL = 'pip install "graphbp[cuda13]"'
_CUDA_DEVICES = (2, 13)  # DLPack: kDLCUDA, kDLCUDAManaged


def _simulation() -> str:
    """How a checkout, which has the tests beside the backend, compares the kernels without a GPU; "" elsewhere."""
    script = Path("tests", "only_cupy", "parity.py")
    found = Path(__file__).parents[2].joinpath(script).exists()
    return f"; without a GPU, python {script.as_posix()} runs its kernels on the CPU" if found else ""


class CupyBackend:
    """CuPy on the current CUDA device and stream.

    `library` stands in for the module `cupy` (the tests' simulated one); None imports the real one on first use.  `path` is "wide" or
    "level" where a measurement or a test wants that way alone (`graphbp_cupy.paths.choose`); "" leaves the choice to the backend.
    `combinations` : that nodes may multiply and choose.
    `graphs` : whether repeated calls are recorded as CUDA graphs; None asks GRAPHBP_CUDA_GRAPHS (1, or 0 for no).
    """

    combinations = True

    def __init__(self, name: str = "cupy", library: Any = None, *, path: str = "", graphs: bool | None = None) -> None:
        self.name = name
        self.graphs = os.environ.get("GRAPHBP_CUDA_GRAPHS", "1") != "0" if graphs is None else graphs
        self._given = library
        self._path = path

    @property
    def library(self) -> Any:
        """The module `cupy`."""
        if self._given is None:
            import cupy

            self._given = cupy
        return self._given

    def availability(self) -> Availability:
        """Whether CuPy is installed and sees a device; never raises, and imports CuPy only where it is installed."""
        try:
            if self._given is None and find_spec("cupy") is None:
                reason = "CuPy is not installed (the extra cuda13, or cuda12 for a driver older than 580)"
                return Availability(False, reason + _simulation(), _INSTALL)
            version = str(self.library.__version__)
        except Exception as problem:  # a broken installation of an optional library must not break `gb.backends()`
            return Availability(False, f"CuPy is installed but does not import: {problem}", _INSTALL)
        try:
            if not self.library.cuda.is_available():
                reason = f"CuPy {version} is installed, but it finds no NVIDIA driver or no GPU (cupy.cuda.is_available() is False)"
                return Availability(False, reason + _simulation(), version=version)
            properties = self.library.cuda.runtime.getDeviceProperties(self.library.cuda.Device().id)
            return Availability(True, device=properties["name"].decode(), version=version)
        except Exception as problem:  # a driver that fails while it is asked is one that cannot be used
            return Availability(False, f"CuPy {version} is installed, but CUDA failed: {problem}", version=version)

    def compile(self, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any]) -> Executable:
        """An executable for this schedule on the current device.

        Raises
        ------
        NotSupportedError : an activation or error function that has no CUDA form, by name.
        """
        from graphbp_cupy.executable import CupyExecutable

        return CupyExecutable(self.library, schedule, error, np.dtype(dtype), path=self._path, graphs=self.graphs)

    def owns(self, array: Any) -> bool:
        """True for a cupy.ndarray, and for whatever offers DLPack from a CUDA device (a PyTorch or JAX array on the GPU)."""
        if isinstance(array, np.ndarray | list | tuple | float | int):
            return False
        if type(array).__module__.partition(".")[0] == "cupy" or (self._given and isinstance(array, self._given.ndarray)):
            return True
        device = getattr(array, "__dlpack_device__", None)
        return device is not None and int(device()[0]) in _CUDA_DEVICES

    def asarray(self, array: Any, dtype: np.dtype[Any]) -> Any:
        """A C-contiguous cupy.ndarray of `dtype`; arrays on the device come in by DLPack, without a copy where none is needed."""
        cp = self.library
        if not isinstance(array, cp.ndarray | np.ndarray) and hasattr(array, "__dlpack__") and self.owns(array):
            array = cp.from_dlpack(array)
        if not isinstance(array, cp.ndarray):
            return cp.asarray(np.ascontiguousarray(array, dtype))
        return cp.ascontiguousarray(array, dtype=dtype)

    def to_numpy(self, array: Any) -> npt.NDArray[Any]:
        """The array in host memory: one copy, which waits for the device."""
        return np.asarray(array.get()) if hasattr(array, "get") else np.asarray(array)


backend = CupyBackend()
