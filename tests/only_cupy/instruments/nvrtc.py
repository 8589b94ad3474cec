"""NVRTC through ctypes: the CUDA source compiled to machine code (cubin) for real architectures, without a driver or a GPU.

    pip install nvidia-cuda-nvrtc        (the wheel alone is enough: no CuPy, no CUDA toolkit)

ptxas says how many registers each kernel takes and how much it spills to memory; `compile_cubin` returns both.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["ARCHITECTURES", "CompileError", "Usage", "compile_cubin", "find_nvrtc"]

ARCHITECTURES = ("75", "90", "100")
"""Turing, Hopper, Blackwell."""

_CUPY_ADDS = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy 14 adds to the options of a RawModule, besides the architecture and its include folders."""


class CompileError(RuntimeError):
    """NVRTC refuses the source; the message has its log."""


@dataclass(frozen=True)
class Usage:
    """What ptxas reports of one kernel: registers a thread, bytes spilled, bytes of stack."""

    registers: int
    spilled: int
    stack: int


@cache
def find_nvrtc() -> Any:
    """The NVRTC library of the installed wheel, or None where there is none."""
    spec = find_spec("nvidia")
    for folder in list(spec.submodule_search_locations or []) if spec else []:
        for library in sorted(Path(folder).glob("*/lib/libnvrtc.so.*"), reverse=True):
            for builtins in library.parent.glob("libnvrtc-builtins.so*"):  # some wheels do not find their own part
                ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
            nvrtc = ctypes.CDLL(str(library))
            nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
            return nvrtc
    return None


def compile_cubin(source: str, options: Sequence[str], architecture: str) -> tuple[bytes, dict[str, Usage]]:
    """(the cubin, usage of each kernel) for sm_<architecture>, with the options that CuPy would give."""
    nvrtc, program = find_nvrtc(), ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"graphbp_cupy.cu", 0, None, None), "")
    try:
        flags = [*options, *_CUPY_ADDS, f"-arch=sm_{architecture}", "--ptxas-options=-v"]
        array = (ctypes.c_char_p * len(flags))(*[flag.encode() for flag in flags])
        status = nvrtc.nvrtcCompileProgram(program, len(flags), array)
        log = _text(nvrtc, program, "ProgramLog")
        _check(nvrtc, status, log)
        return _text_bytes(nvrtc, program, "CUBIN"), _usage(log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _check(nvrtc: Any, status: int, log: str) -> None:
    if status:
        raise CompileError(f"{nvrtc.nvrtcGetErrorString(status).decode()}\n{log}")


def _text_bytes(nvrtc: Any, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), "")
    data = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, data), "")
    return data.raw


def _text(nvrtc: Any, program: ctypes.c_void_p, what: str) -> str:
    return _text_bytes(nvrtc, program, what).rstrip(b"\0").decode()


def _usage(log: str) -> dict[str, Usage]:
    """Read ptxas's report: 'Function properties for K', '... bytes stack frame, ... spill stores ...', 'Used ... registers'."""
    found: dict[str, Usage] = {}
    kernel, stack, spilled = "", 0, 0
    for line in log.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            kernel, stack, spilled = match[1], 0, 0
        if match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, spilled = int(match[1]), int(match[2]) + int(match[3])
        if match := re.search(r"Used (\d+) registers", line):
            found[kernel] = Usage(int(match[1]), spilled, stack)
    return found
