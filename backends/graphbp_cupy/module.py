"""Compiling cuda/*.cu, and the one place that launches a kernel.

CuPy passes a kernel's arguments as the bytes they happen to have: a Python float where the kernel wants a `float`, or a float64
array for a `float*`, is silently wrong.  So `Kernels.launch` reads each kernel's parameter types from the CUDA source itself,
converts scalars to exactly those, and refuses an array of another dtype, on the host, or not C-contiguous.

Blocks have 256 threads, those of cuda/wide.cu up to 768.  Only the latter say so to the compiler: with `__launch_bounds__(256)` ptxas
took fewer registers and spilled up to 128 bytes a thread; without, the largest takes 94 and nothing spills (tests/only_cupy checks it).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from graphbp.extend import BackendError
from graphbp_cupy.formulas import BUILT_IN, Selection

__all__ = ["FIELDS", "FILES", "Kernels", "compile_options", "formulas_source", "module_source", "signatures"]

CUDA = Path(__file__).parent / "cuda"
FILES = ("formulas.cu", "combinations.cu", "heads.cu", "levels.cu", "tile.cu", "fused.cu", "wide.cu", "sums.cu")
"""In the order in which they are joined; the generated tables come after the first."""

THREADS = 256
_MAX_GRID_Y = 65535

FIELDS: dict[str, str] = {
    **dict.fromkeys(["n_rows", "n_inputs", "n_outputs", "n_slots", "n_parameters", "n_levels"], "long long"),
    **dict.fromkeys(["n_single", "n_items", "n_sparse", "n_biases", "n_edges", "n_combinations", "error"], "long long"),
    "in_ptr": "const long long*",
    "in_src": "const int*",
    "out_ptr": "const long long*",
    "out_dst": "const int*",
    "out_slot": "const long long*",
    "bias_slot": "const long long*",
    "kind": "const int*",
    "row_position": "const int*",
    "output_row": "const int*",
    "dense_in": "const unsigned char*",
    "dense_out": "const unsigned char*",
    "item_ptr": "const int*",
    "item_row": "const int*",
    "item_position": "const int*",
    "item_flags": "const int*",
    "slot_dst": "const int*",
    "slot_src": "const int*",
    "slot_parameter": "const long long*",
    "slot_value": "const real*",
    "owned_ptr": "const long long*",
    "owned_slot": "const long long*",
    "unit_ptr": "const long long*",
    "unit_slot": "const long long*",
    "level_ptr": "const int*",
    "all_ptr": "const int*",
    "all_src": "const int*",
    "all_slot": "const long long*",
    "rev_ptr": "const int*",
    "rev_dst": "const int*",
    "rev_slot": "const long long*",
    "combination": "const int*",
    "combination_first": "const int*",
    "combination_second": "const int*",
    "fed_ptr": "const int*",
    "fed_row": "const int*",
    "fed_second": "const unsigned char*",
}
"""The members of the kernels' `Network`: sizes, and tables on the device (`graphbp_cupy.program` says what each holds)."""


def module_source(rows: Selection = BUILT_IN) -> str:
    """The whole translation unit: helpers, generated tables, the `Network` struct, kernels."""
    members = "\n".join(f"    {kind} {name};" for name, kind in FIELDS.items())
    return "\n".join([formulas_source(rows), f"struct Network {{\n{members}\n}};", *(_file(name) for name in FILES[1:])])


def formulas_source(rows: Selection = BUILT_IN) -> str:
    """What of it depends on the rows: helpers and generated tables, which need nothing of the kernels."""
    return "\n".join([_file(FILES[0]), '#line 1 "generated"', rows.source()])


def _file(name: str) -> str:
    return f'#line 1 "{name}"\n' + (CUDA / name).read_text(encoding="utf-8")


def compile_options(dtype: np.dtype[Any]) -> tuple[str, ...]:
    """What the source is compiled with."""
    return ("--std=c++17", f"-DREAL={_REAL[np.dtype(dtype).itemsize]}")


_REAL = {4: "float", 8: "double"}
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+(?:WIDE_BLOCK\s+)?void\s+(\w+)\s*\(([^)]*)\)')


@cache
def signatures() -> dict[str, tuple[tuple[str, str], ...]]:
    """For each kernel its parameters as (type, name), read from the CUDA source: ("const real*", "w"), ("long long", "n"), ..."""
    found = {}
    for name in FILES:
        for kernel, parameters in _KERNEL.findall((CUDA / name).read_text(encoding="utf-8")):
            found[kernel] = tuple(_parameter(text) for text in parameters.split(","))
    return found


def _parameter(text: str) -> tuple[str, str]:
    kind, name = re.fullmatch(r"\s*(.*?[\s*])(\w+)\s*", text, re.DOTALL).groups()  # type: ignore[union-attr]  # our own source
    return " ".join(kind.split()), name


class Kernels:
    """The compiled module for one dtype, on the current device."""

    def __init__(self, cp: Any, dtype: np.dtype[Any], rows: Selection = BUILT_IN) -> None:
        self.cp = cp
        self.dtype = np.dtype(dtype)
        self._module = cp.RawModule(code=module_source(rows), options=compile_options(dtype), backend="nvrtc")
        self._functions: dict[str, Any] = {}
        self._allowed: set[str] = set()
        types = {
            "real": self.dtype,
            "double": np.dtype(np.float64),
            "int": np.dtype(np.int32),
            "long long": np.dtype(np.int64),
            "unsigned char": np.dtype(np.uint8),
            "Network": np.dtype(np.uint64),
        }
        self._parameters = {
            kernel: [(label, kind.endswith("*"), types[kind.removeprefix("const ").rstrip("* ")]) for kind, label in parameters]
            for kernel, parameters in signatures().items()
        }

    def launch(self, name: str, grid: Sequence[int], block: Sequence[int], *args: Any, shared: int = 0) -> None:
        """Run the kernel on the current stream with exactly the types that its source declares; an empty grid has nothing to do.

        Raises
        ------
        BackendError : the wrong number of arguments, or an array that the kernel would misread.
        """
        parameters = self._parameters[name]
        if len(args) != len(parameters):
            raise BackendError(f"kernel {name} takes {len(parameters)} arguments, got {len(args)}")
        typed = tuple(self._argument(name, *parameter, value) for parameter, value in zip(parameters, args, strict=True))
        if 0 in grid:  # CuPy would run it once
            return
        function = self._functions.get(name)
        if function is None:  # CuPy looks it up anew each time; the executable, and so this module, stays on one device
            function = self._functions[name] = self._module.get_function(name)
        if (
            shared > 48 << 10 and name not in self._allowed
        ):  # all there is: networks of one source share the function, and what it is allowed
            function.max_dynamic_shared_size_bytes = int(self.cp.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"])
            self._allowed.add(name)
        function(tuple(grid), tuple(block), typed, shared_mem=shared)

    def _argument(self, kernel: str, name: str, pointer: bool, wanted: np.dtype[Any], value: Any) -> Any:
        if not pointer:
            return wanted.type(value)
        if not isinstance(value, self.cp.ndarray) or value.dtype != wanted or not value.flags.c_contiguous:
            got = f"{value.dtype} {type(value).__name__}" if hasattr(value, "dtype") else type(value).__name__
            raise BackendError(f"kernel {kernel}: {name} must be a C-contiguous {wanted} array on the device, got a {got}")
        return value

    # -- launch shapes ---------------------------------------------------------------------------------------------------

    def over_samples(self, name: str, n: int, rows: int, batch: int, *args: Any) -> None:
        """A thread for every sample (x) and row (y; looped over where there are more), for every member of the batch (z)."""
        across = min(128, 1 << max(0, n - 1).bit_length())
        down = THREADS // across
        grid = (-(-n // across), min(_MAX_GRID_Y, -(-rows // down)), batch)
        self.launch(name, grid, (across, down), *args)

    def over_teams(self, name: str, n: int, rows: int, batch: int, *args: Any) -> None:
        """A team of threads for every sample (x), sharing rows (y) or sums over them, for every member of the batch (z)."""
        across = min(32, 1 << max(0, n - 1).bit_length())
        down = THREADS // across
        grid = (-(-n // across), min(_MAX_GRID_Y, rows), batch)
        self.launch(name, grid, (across, down), *args, shared=THREADS * self.dtype.itemsize)

    def over_items(self, name: str, items: int, rows: int, batch: int, *args: Any) -> None:
        """A thread for every item (x), a block row for every row (y, looped over)."""
        self.launch(name, (-(-items // THREADS), min(_MAX_GRID_Y, rows), batch), (THREADS,), *args)

    def over_warps(self, name: str, items: int, sections: int, batch: int, *args: Any) -> None:
        """A warp for every item."""
        self.launch(name, (min(1 << 20, -(-items // (THREADS // 32))), sections, batch), (THREADS,), *args)
