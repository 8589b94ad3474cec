"""The explicit-vector C probe: `probe.c`, compiled here and now, with the tile that suits this machine and network best.

It is what hand-written C reaches for one fixed kind of network (softsign, linear outputs, sum of squares): a mark to measure against.
Its data come tiled and its weights sorted both ways beforehand, which graphbp does inside the call.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import Array, UnitDag
from benchmarks.outcome import MissingError, Run

_FLAGS = ["-O3", "-march=native", "-ffast-math", "-fno-math-errno", "-shared", "-fPIC", "-pthread"]


def compiler() -> str | None:
    """The C compiler: $CC, cc, gcc or clang."""
    return next((c for c in (os.environ.get("CC", ""), "gcc", "cc", "clang") if c and shutil.which(c)), None)


@cache
def vector_bytes() -> int:
    """Bytes of the widest vector registers: 64 with AVX-512, 32 with AVX2, else 16."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    return 64 if "avx512f" in flags else 32 if "avx2" in flags else 16


@cache
def _library(dtype: str, lanes: int) -> Any:
    found = compiler()
    if found is None:
        raise MissingError("no C compiler found", "apt install gcc")
    itemsize = np.dtype(dtype).itemsize
    width = vector_bytes() // itemsize
    real = "double" if itemsize == 8 else "float"
    folder = Path(tempfile.mkdtemp(prefix="graphbp-probe-"))
    out = folder / "probe.so"
    command = [found, *_FLAGS, f"-DREAL={real}", f"-DREAL_BYTES={itemsize}", f"-DWIDTH={width}", f"-DLANES={lanes}"]
    if width * itemsize == 64:
        command.append("-mprefer-vector-width=512")
    command += [str(Path(__file__).with_name("probe.c")), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"{found} could not compile probe.c: {done.stderr[:300]}")
    library = ctypes.CDLL(str(out))
    shutil.rmtree(folder)
    return library


class _Network(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("n_inputs", "n_units", "n_outputs")] + [
        (name, ctypes.c_void_p) for name in ("in_ptr", "in_src", "out_ptr", "out_dst", "out_edge", "w", "b", "out_w", "X", "T")
    ]


def _aligned(shape: tuple[int, ...], dtype: str) -> Array:
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(n + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n].view(dtype).reshape(shape)


def _tiled(X: Array, lanes: int, dtype: str) -> Array:
    """(N, D) -> (tiles, D, lanes)."""
    out = _aligned((len(X) // lanes, X.shape[1], lanes), dtype)
    out[...] = X.reshape(len(X) // lanes, lanes, -1).transpose(0, 2, 1)
    return out


def _run(dag: UnitDag, X: Array, T: Array, dtype: str, lanes: int, threads: int) -> Run:
    library = _library(dtype, lanes)
    ptr, edges = dag.by_source
    arrays: list[Array] = [
        dag.ptr.astype(np.int32),
        dag.src.astype(np.int32),
        ptr.astype(np.int32),
        dag.target[edges].astype(np.int32),
        edges.astype(np.int32),
        dag.weight.astype(dtype),
        dag.bias.astype(dtype),
        dag.weight[edges].astype(dtype),
        _tiled(X, lanes, dtype),
        _tiled(T, lanes, dtype),
    ]
    net = _Network(dag.n_inputs, dag.n_units, dag.n_outputs, *(a.ctypes.data for a in arrays))
    buffers = [[_aligned(shape, dtype) for _ in range(threads)] for shape in ((dag.n_rows, lanes), (dag.n_edges,), (dag.n_units,))]
    addresses = [(ctypes.c_void_p * threads)(*(b.ctypes.data for b in kind)) for kind in buffers]
    gw, gb = np.empty(dag.n_edges, dtype), np.empty(dag.n_units, dtype)
    out = ctypes.c_void_p(gw.ctypes.data), ctypes.c_void_p(gb.ctypes.data)
    keep = (arrays, buffers)

    def gradient() -> Any:
        failed = library.gradient(ctypes.byref(net), len(X) // lanes, threads, *addresses, *out)
        if failed:
            raise OSError(failed, os.strerror(failed))
        return keep

    return Run(gradient, lambda _: dag.flat(gw, gb))


def dag_gradient(dag: UnitDag, X: Array, T: Array, dtype: str) -> Run:
    """∂E/∂w, the tile width tried out first."""
    if dag.activation != "softsign":
        raise NotImplementedError("the probe knows softsign only")
    threads = int(os.environ["OMP_NUM_THREADS"])
    width = vector_bytes() // np.dtype(dtype).itemsize
    best: tuple[float, int, Run] | None = None
    for lanes in (width, 2 * width, 4 * width):
        if len(X) % lanes:
            continue
        run = _run(dag, X, T, dtype, lanes, threads)
        run.call()
        seconds = min(_timed(run) for _ in range(25))
        if best is None or seconds < best[0]:
            best = seconds, lanes, run
    if best is None:
        raise ValueError(f"N must be a multiple of {width}")
    best[2].note = f"{vector_bytes() * 8}-bit vectors, tiles of {best[1]} samples"
    return best[2]


def _timed(run: Run) -> float:
    start = time.perf_counter()
    run.call()
    return time.perf_counter() - start
