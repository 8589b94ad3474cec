"""The script for a real GPU, rehearsed in the simulator, and the comparison of hashes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import verified

SCRIPT = Path(verified.__file__).with_name("hardware.py")


def test_the_hardware_script_runs_from_end_to_end_in_the_simulator(tmp_path: Path) -> None:
    before = verified.VERIFIED.exists()
    command = [sys.executable, str(SCRIPT), "--rehearse", "--no-peers", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
    assert "| hessian, dense 4-5-2 (W = 37), N = 12, float64 | graphbp cupy |" in done.stdout
    assert verified.VERIFIED.exists() == before, "a rehearsal is no evidence from hardware and writes none"


def test_without_a_file_it_was_never_verified(tmp_path: Path) -> None:
    assert "never verified on hardware" in verified.report(tmp_path / "none.json")


def test_what_changed_since_the_last_run_is_named(tmp_path: Path) -> None:
    files = verified.hashes()
    assert "cuda/fused.cu" in files
    record = {"date": "2000-01-01", "device": "a GPU", "tests": {"compared": 5, "failed": 0}, "files": files}
    path = tmp_path / "verified.json"
    path.write_text(json.dumps(record))
    assert verified.report(path) == "CuPy backend: as verified 2000-01-01 on a GPU: 5 comparisons, 0 failed"
    record["files"] = {**files, "cuda/fused.cu": "0", "gone.py": "0"}
    del record["files"]["sweeps.py"]
    path.write_text(json.dumps(record))
    lines = verified.report(path).splitlines()
    assert lines[1:] == ["  cuda/fused.cu changed", "  sweeps.py is new", "  gone.py is gone"]


def test_a_machine_without_a_gpu_says_so_and_fails() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 2:
        pytest.skip("this machine has a GPU")
    assert "no GPU to verify on" in done.stdout
