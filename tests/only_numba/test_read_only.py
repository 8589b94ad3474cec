"""A read-only install and a home that cannot be written, for real: files without a write bit, in a process that they bind."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="the Numba backend is not installed")
if not hasattr(os, "getuid"):
    pytest.skip("permissions are other things on this system", allow_module_level=True)

import graphbp
import graphbp_numba
import graphbp_numpy

PROGRAM = """
import sys
import numpy as np, graphbp as gb, graphbp_numba
assert graphbp_numba.__file__.startswith(sys.argv[1]), graphbp_numba.__file__
net, truth = (gb.Network(gb.layered([3, 4, 2]), backend=name) for name in ("numba", "numpy"))
X = np.arange(12.0).reshape(4, 3) / 12
np.testing.assert_allclose(net.forward(X), truth.forward(X), rtol=1e-12)
print("computed")
"""
_PR_CAPBSET_DROP, _OVERRIDES = 24, (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def _give_up_roots_override() -> None:
    """From the next exec on, permissions bind root too."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in _OVERRIDES:
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the right to override permissions cannot be given up")


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process that file permissions bind, whoever runs the tests."""
    before: Callable[[], None] | None = _give_up_roots_override if os.getuid() == 0 else None
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "XDG_", "GRAPHBP_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**clean, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        preexec_fn=before,
    )


@pytest.fixture
def installed(tmp_path: Path):
    """graphbp and its CPU backends in a read-only folder, beside a read-only home and a folder for temporary files."""
    folder, home = tmp_path / "site", tmp_path / "home"
    for package in (graphbp, graphbp_numba, graphbp_numpy):
        source = Path(package.__file__).parent
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    home.mkdir()
    (tmp_path / "tmp").mkdir()
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            (Path(root) / name).chmod(0o555 if name in folders else 0o444)
    folder.chmod(0o555)
    home.chmod(0o555)
    try:
        probe = python("-c", "import sys; open(sys.argv[1] + '/probe', 'w')", str(home))
        if "PermissionError" not in probe.stderr:
            pytest.skip(f"permissions do not bind here: {probe.stderr.strip().splitlines()[-1:]}")
    except (OSError, subprocess.SubprocessError) as problem:
        pytest.skip(f"permissions do not bind root here, and it cannot be made to obey them: {problem}")
    yield tmp_path
    for root, folders, _ in os.walk(tmp_path):
        for name in folders:
            (Path(root) / name).chmod(0o755)


def use(folder: Path) -> subprocess.CompletedProcess[str]:
    return python(
        "-c",
        PROGRAM,
        str(folder / "site"),
        HOME=str(folder / "home"),
        TMPDIR=str(folder / "tmp"),
        PYTHONPATH=str(folder / "site"),
    )


def test_the_cache_goes_to_a_private_temporary_folder(installed: Path) -> None:
    """A notice once, the right numbers, nothing written to the install; a second process compiles nothing."""
    first = use(installed)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "computed\n"
    assert first.stderr.count("graphbp: Numba's cache goes to") == 1
    cache = installed / "tmp" / f"graphbp-numba-{os.getuid()}"
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    compiled = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}
    assert compiled
    assert not list((installed / "site").rglob("*.nb?"))
    second = use(installed)
    assert second.stdout == "computed\n"
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")} == compiled


@pytest.mark.thorough
def test_a_temporary_folder_that_others_can_write_is_not_used(installed: Path) -> None:
    """What lies there would be run."""
    cache = installed / "tmp" / f"graphbp-numba-{os.getuid()}"
    cache.mkdir()
    cache.chmod(0o777)
    found = use(installed)
    assert found.stdout == "computed\n", found.stderr
    assert found.stderr.count("each process compiles anew; set NUMBA_CACHE_DIR") == 1
    assert list(cache.iterdir()) == []
