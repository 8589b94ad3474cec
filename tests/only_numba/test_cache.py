"""Two processes that compile into one cache folder at the same moment do not get each other's machine code."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")

COMPILE = textwrap.dedent(
    """
    import ctypes, pathlib, sys, time
    import numpy as np
    from numba.core.caching import IndexDataCacheFile
    from graphbp.extend import activation_table
    from graphbp_numba.machine.functions import activation_functions

    meeting, *names = sys.argv[1:]
    save = IndexDataCacheFile._save_index

    def save_after_meeting(self, overloads):
        # a number has been taken, and is not written down yet: let the other process come to the same point, if it can
        here = pathlib.Path(meeting)
        (here / names[0]).touch()
        until = time.monotonic() + 3
        while len(list(here.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        save(self, overloads)

    IndexDataCacheFile._save_index = save_after_meeting
    for name in names:
        row = next(row for row in activation_table if row.name == name)
        a = np.linspace(0.1, 2, 32)
        z = np.empty_like(a)
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * 3)(activation_functions(row, "float64").address("f"))
        function(a.ctypes.data, z.ctypes.data, len(a))
        assert np.allclose(z, row.f(a)), f"the cache's {name} is another function"
    """
)


def start(folder, *names):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-c", COMPILE, str(folder / "meeting"), *names]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, problem = process.communicate(timeout=120)
    assert process.returncode == 0, problem


def test_processes_that_save_at_once(tmp_path):
    (tmp_path / "meeting").mkdir()
    both = [start(tmp_path, "relu"), start(tmp_path, "square")]
    for process in both:
        finish(process)
    kept = [path for path in tmp_path.rglob("*.nbc") if "_builtin" in path.name]
    assert len(kept) == 2, f"two functions were compiled, {len(kept)} are kept"
    finish(start(tmp_path, "relu", "square"))
