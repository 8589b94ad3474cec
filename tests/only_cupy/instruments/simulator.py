"""CUDA source, built by g++ with `cuda_on_cpu.h`, and launched with device-like checks of the launch itself.

    program = Program(source, defines=("-DREAL=float",))
    program.launch("forward_level", grid=(1, 1, 1), block=(32, 8, 1), shared=0, values=[...])

The text of the kernels is the one that NVRTC compiles; only `__shared__` declarations are rewritten, to memory of the block.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ORDERS", "Program", "SimulatedLaunchError", "build"]

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
ORDERS = {"ascending": 0, "descending": 1, "shuffled": 2}

_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+(?:WIDE_BLOCK\s+)?void\s+(\w+)\s*\(')
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(\w+)\s+(\w+)\s*\[\s*\]\s*;")
_STATIC = re.compile(r"__shared__\s+(\w+)\s+(\w+)\s*\[([^\]]+)\]\s*;")
_UNROLL = re.compile(r"^#pragma unroll.*$", re.MULTILINE)
_LIMITS = {"threads a block": 1024, "block z": 64, "grid y or z": 65535}
DEFAULT_SHARED = 48 << 10


class SimulatedLaunchError(RuntimeError):
    """What the device, or the CUDA driver, would refuse or hang on."""


def to_host(source: str) -> str:
    """The source with block memory for `__shared__`, and an exported C function for every kernel."""
    numbers = iter(range(1, 16))
    code = _DYNAMIC.sub(r"\1* \2 = gpu::dynamic_shared<\1>();", _UNROLL.sub("", source))
    code = _STATIC.sub(lambda m: f"auto& {m[2]} = *gpu::shared_array<{m[1]}[{m[3]}]>({next(numbers)});", code)
    if "__shared__" in re.sub(r"//[^\n]*", "", code):
        raise SimulatedLaunchError("a __shared__ declaration in a form that the simulator does not know")
    exports = "\n".join(
        f'extern "C" const char* run_{name}(const unsigned* g, const unsigned* b, size_t s, void** v, int o, uint64_t seed)\n'
        f"{{ return gpu::launch(&gpu::Call<&{name}>::with, g, b, s, v, o, seed); }}\n"
        f'extern "C" const char* signature_{name}() {{ return gpu::Call<&{name}>::signature(); }}'
        for name in _KERNEL.findall(code)
    )
    return f'#include "{HEADER.name}"\n{code}\n#line 1 "exports"\n{exports}\n'


def build(source: str, defines: Sequence[str] = (), sanitize: Sequence[str] = ()) -> Path:
    """The shared library of this source, from the cache where it has been built before.

    Raises
    ------
    SimulatedLaunchError : no g++, or it refuses the source; the message has its output.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise SimulatedLaunchError("the CUDA kernels are tested on the CPU with g++, which is not installed (apt-get install g++)")
    flags = ["-std=c++17", "-O1", "-g1", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing", "-Wall", "-Wextra"]
    flags += ["-Werror", "-Wno-unused-parameter", f"-I{HEADER.parent}", *defines, *(f"-fsanitize={name}" for name in sanitize)]
    if "undefined" in sanitize:
        flags.append("-fno-sanitize-recover=undefined")
    text = to_host(source)
    key = hashlib.sha256(repr((compiler, flags, text, HEADER.read_bytes())).encode()).hexdigest()[:24]
    folder = Path(os.environ.get("GRAPHBP_SIMULATOR_CACHE", Path(tempfile.gettempdir()) / f"graphbp-simulator-{os.getuid()}"))
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            unit, made = Path(work) / "kernels.cpp", Path(work) / "kernels.so"
            unit.write_text(text)
            done = subprocess.run([compiler, *flags, "-o", str(made), str(unit)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SimulatedLaunchError(f"{compiler} refuses the CUDA source:\n{done.stderr[:6000]}")
            made.replace(library)
    return library


@dataclass
class Order:
    """How threads and blocks take turns: a key of `ORDERS`, and a seed for "shuffled"."""

    name: str = "ascending"
    seed: int = 1


class Program:
    """A built source, ready to launch."""

    def __init__(self, source: str, defines: Sequence[str] = (), sanitize: Sequence[str] = ()) -> None:
        # PyDLL keeps the interpreter's lock: the simulator has one scheduler a library
        self._library = ctypes.PyDLL(str(build(source, defines, sanitize)))
        self.order = Order()

    def signature(self, name: str) -> list[str]:
        """The parameter types of a kernel as the compiler sees them: "f8", "i4", "const f4*", "struct*"."""
        find = getattr(self._library, f"signature_{name}", None)
        if find is None:
            raise SimulatedLaunchError(f"CUDA_ERROR_NOT_FOUND: no kernel {name}")
        find.restype = ctypes.c_char_p
        return [part for part in find().decode().split(",") if part]

    def launch(
        self, name: str, grid: Sequence[int], block: Sequence[int], shared: int, values: Sequence[object], allowed: int
    ) -> None:
        """Run one kernel to its end.  `values` are ctypes objects; `allowed` is the shared memory that the kernel may ask for.

        Raises
        ------
        SimulatedLaunchError : launch dimensions that CUDA refuses, or a barrier or shuffle that goes wrong.
        """
        grid, block = [*grid, 1, 1][:3], [*block, 1, 1][:3]
        if min(grid) < 1 or min(block) < 1:
            raise SimulatedLaunchError(f"{name}: an empty launch, grid {grid} and block {block} (CuPy would run it with 1)")
        threads = block[0] * block[1] * block[2]
        if threads > _LIMITS["threads a block"] or block[2] > _LIMITS["block z"] or max(grid[1:]) > _LIMITS["grid y or z"]:
            raise SimulatedLaunchError(f"{name}: grid {grid} and block {block} are beyond CUDA's limits {_LIMITS}")
        if shared > allowed:
            raise SimulatedLaunchError(f"{name}: {shared} bytes of dynamic shared memory, {allowed} are allowed")
        run = getattr(self._library, f"run_{name}")
        run.restype = ctypes.c_char_p
        run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64]
        addresses = (ctypes.c_void_p * max(1, len(values)))(*[ctypes.addressof(value) for value in values])  # type: ignore[arg-type]
        problem = run(
            (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), shared, addresses, ORDERS[self.order.name], self.order.seed
        )
        if problem:
            raise SimulatedLaunchError(f"{name}: {problem.decode()}")
