"""The same number of threads for every contender.

Libraries take their thread count at import, so this module comes first, imports none of them, and closes three doors at once:

* the process is bound to `n` cores (Linux): XLA, which has no switch of its own, sizes its pool by the cores it may use;
* the environment variables of OpenMP, OpenBLAS, MKL, Numba and graphbp say `n`;
* PyTorch is told again once it is imported.

Idle OpenMP threads spin for a moment before they sleep, as they do by default: that is part of what each library is.  The pause
before each sample (`benchmarks.timing`) lets the previous contender's threads fall asleep.
"""

from __future__ import annotations

import os

POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "GRAPHBP_THREADS",
)


def cap(n: int) -> str:
    """Cap every pool of this process and of its children at `n` threads; returns a line that says what was done."""
    done = [f"{len(POOLS)} environment variables = {n}"]
    for name in POOLS:
        os.environ[name] = str(n)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:n]
        os.sched_setaffinity(0, cores)
        done.insert(0, f"bound to cores {','.join(map(str, cores))}")
    return "; ".join(done)
