"""The machine and the versions that a result belongs to."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = (
    "graphbp",
    "numpy",
    "scipy",
    "networkx",
    "numba",
    "jax",
    "jaxlib",
    "torch",
    "scikit-learn",
    "casadi",
    "neat-python",
    "backpack-for-pytorch",
    "curvlinops-for-pytorch",
)


def describe(threads: int, capped: str) -> dict[str, object]:
    """Processor, cores, memory, system, compiler, library versions."""
    return {
        "processor": _cpu("model name") or platform.processor() or platform.machine(),
        "vectors": ", ".join(f for f in ("avx512f", "avx2", "neon") if f in _cpu("flags").split()) or "unknown",
        "cores": os.cpu_count(),
        "threads": threads,
        "capped_by": capped,
        "caches": _caches(),
        "memory_GiB": _memory(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "compiler": _compiler(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def line(machine: dict[str, object]) -> str:
    """One line for people."""
    return "{processor} ({vectors}; {caches}), {threads} of {cores} cores, {memory_GiB} GiB, {system}, {compiler}".format(**machine)


def _cpu(field: str) -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for text in info.read_text().splitlines():
            if text.startswith(field):
                return text.partition(":")[2].strip()
    return ""


def _caches() -> str:
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((folder / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return ", ".join(found) or "caches unknown"


def _memory() -> int:
    if not hasattr(os, "sysconf"):
        return 0
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def _compiler() -> str:
    found = next((c for c in (os.environ.get("CC", ""), "cc", "gcc", "clang") if c and shutil.which(c)), None)
    if found is None:
        return "no C compiler"
    return subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.splitlines()[0]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
