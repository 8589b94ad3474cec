"""Runs the probe with the simulated kernels built under a sanitizer, in a process of its own.

    python sanitized.py address,undefined              exits 0 where nothing is found
    python sanitized.py thread "name of a seeded bug"

The sanitizer's library must come first in the process, so this file starts itself again with LD_PRELOAD (and without address space
randomisation, which TSan's shadow memory does not stand).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["run"]

_LIBRARY = {"address": "libasan.so", "thread": "libtsan.so"}
_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:report_signal_unsafe=0:history_size=2:exitcode=66",
}


def run(sanitize: str, bug: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """The finished process."""
    compiler = os.environ.get("CXX", "g++")
    library = subprocess.run(
        [compiler, f"-print-file-name={_LIBRARY[sanitize.split(',')[0]]}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = {
        **os.environ,
        **_OPTIONS,
        "LD_PRELOAD": library,
        "GRAPHBP_SIMULATOR_SANITIZE": sanitize,
        "OPENBLAS_NUM_THREADS": "1",
    }
    prefix = [shutil.which("setarch") or "setarch", "-R"] if "thread" in sanitize else []
    command = [*prefix, sys.executable, str(Path(__file__).resolve()), "--inside", bug]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout, check=False)


def _inside(name: str) -> int:
    here = Path(__file__).resolve()
    sys.path[:0] = [str(here.parents[1]), str(here.parents[3] / "backends"), str(here.parents[3])]
    from graphbp_cupy import executable, module, paths, sweeps
    from instruments import probe, seeded_bugs

    probe.register()
    slow = "thread" in os.environ["GRAPHBP_SIMULATOR_SANITIZE"]
    if slow:  # a fiber costs TSan 0.2 ms: smaller blocks, and what is only on one path only there
        module.THREADS = executable.THREADS = paths.THREADS = sweeps.THREADS = 64
    fused = ("forward", "gradient", "vjp") if slow else tuple(probe.QUANTITIES)
    level = ("apart",) if slow else ("units", "layers", "apart")
    every = ("error", "gradient") if name else tuple(probe.QUANTITIES)  # where the seeded bugs are
    with seeded_bugs.planted(next((bug for bug in seeded_bugs.BUGS if bug.name == name), None)):
        wrong = probe.wrong_quantities(
            n=37, backends=(probe.SIMULATED, probe.WIDE), networks=("units", "layers"), quantities=every if name else fused
        )
        wrong += probe.wrong_quantities(n=5, backends=(probe.LEVEL,), networks=level, quantities=every)
        if slow:  # of the network with a softmax only what stays below TSan's 8128 threads a launch
            first_order = ("error", "gradient", "jvp", "vjp", "outer_product_operator")
            wrong += probe.wrong_quantities(n=5, backends=(probe.LEVEL,), networks=("layers",), quantities=first_order)
    print("\n".join(wrong) or "all quantities agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        sys.exit(_inside(sys.argv[2]))
    done = run(sys.argv[1], *sys.argv[2:3])
    print(done.stdout, done.stderr)
    sys.exit(done.returncode)
