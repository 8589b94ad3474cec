"""The kernels compile for real GPUs, without spilling, and every name of CuPy that is used exists.  Needs no GPU and no driver.

NVRTC and the names come from the extra `cuda-check`; where a part of it is absent its tests are skipped, unless
GRAPHBP_REQUIRE_CUDA_CHECKS is set: then they fail.
"""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from instruments import fake_cupy, names, nvrtc

import graphbp_cupy
from graphbp_cupy import module, paths, tracing

pytestmark = pytest.mark.thorough  # `.ci/run` installs what it needs
FOLDER = Path(graphbp_cupy.__file__).parent
REQUIRED = bool(os.environ.get("GRAPHBP_REQUIRE_CUDA_CHECKS"))
COMPILED = [(architecture, dtype) for architecture in nvrtc.ARCHITECTURES for dtype in ("float32", "float64")]
"""Half a minute of one core each."""
REGISTERS = 65536
"""Of a multiprocessor, on each of the architectures; a thread has at most 255."""


def _absent(what: str) -> None:
    (pytest.fail if REQUIRED else pytest.skip)(what)


@pytest.mark.parametrize(("architecture", "dtype"), COMPILED)
def test_kernels_compile_to_machine_code_without_spilling(architecture: str, dtype: str) -> None:
    if nvrtc.find_nvrtc() is None:
        _absent("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    options = module.compile_options(np.dtype(dtype))
    cubin, usage = nvrtc.compile_cubin(module.module_source(), options, architecture)
    assert cubin[:4] == b"\x7fELF"
    assert set(usage) == set(module.signatures())
    assert {name: use.spilled for name, use in usage.items() if use.spilled} == {}
    assert {name: use.registers for name, use in usage.items() if use.registers * module.THREADS > REGISTERS // 2} == {}
    if architecture != "75":  # the wide path counts on so many blocks at once; a warp's registers come in units of 8 a thread
        together = paths.BLOCKS_EACH[np.dtype(dtype).itemsize] * module.THREADS
        wide = {name: -(-use.registers // 8) * 8 for name, use in usage.items() if name.startswith("wide_")}
        assert {name: registers for name, registers in wide.items() if registers * together > REGISTERS} == {}


def test_what_traced_functions_use_compiles_too() -> None:
    if nvrtc.find_nvrtc() is None:
        _absent("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    used = []
    for table, of in ((tracing._ARITHMETIC, "a"), (tracing._CONDITIONS, "a"), (tracing._LOGIC, "(a > real(0))")):
        used += [f"real({text.format(of, of)})" for text in table.values()]
    used += [tracing.to_cuda(f, "a") for f in (lambda v: np.clip(v, -1, 1), lambda v: np.where(v > 0, np.inf, np.nan))]
    kernel = 'extern "C" __global__ void k(real* p) { const real a = p[0]; p[0] = ' + "\n + ".join(used) + "; }"
    for dtype in ("float32", "float64"):
        nvrtc.compile_cubin(f"{module.formulas_source()}\n{kernel}", module.compile_options(np.dtype(dtype)), "90")


def test_the_gate_refuses_what_does_not_compile() -> None:
    if nvrtc.find_nvrtc() is None:
        _absent("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    with pytest.raises(nvrtc.CompileError, match="undefined_name"):
        nvrtc.compile_cubin('extern "C" __global__ void k(int* p) { p[0] = undefined_name; }', (), "90")


def test_the_gate_sees_a_spill() -> None:
    if nvrtc.find_nvrtc() is None:
        _absent("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    body = (
        "".join(f"double v{i} = p[{i}];" for i in range(64))
        + "__syncthreads();"
        + "".join(f"p[{i}] += v{63 - i} * v{i};" for i in range(64))
    )
    source = f'extern "C" __global__ void __launch_bounds__(1024, 2) k(double* p) {{ {body} }}'
    assert nvrtc.compile_cubin(source, (), "90")[1]["k"].spilled > 0


def real_cupy() -> ModuleType:
    if find_spec("cupy") is None:
        _absent("CuPy is not installed, so its names cannot be checked: pip install cupy-cuda13x (no GPU is needed)")
    return importlib.import_module("cupy")


def test_every_name_used_exists_in_cupy() -> None:
    assert len({name for name, _ in names.names_used(FOLDER)}) > 10
    assert names.unknown_names(FOLDER, real_cupy()) == []


def test_the_stand_in_offers_nothing_that_cupy_has_not() -> None:
    assert names.differences(fake_cupy, real_cupy()) == []


def test_the_name_gate_sees_a_wrong_name(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def f(self, cp):\n    cp.matmul(cp.cuda.no_such(), self.cp.nor_this)\n")
    assert sorted(names.unknown_names(tmp_path, real_cupy())) == ["bad.py:2: cupy.cuda.no_such", "bad.py:2: cupy.nor_this"]
