"""The script for a real GPU, rehearsed in the simulator, and the comparison of hashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import verified
from benchmarks.gpu.contenders import Case
from benchmarks.gpu.measuring import Clock, measure
from benchmarks.outcome import MissingError, Run

SCRIPT = Path(verified.__file__).with_name("hardware.py")


@pytest.mark.thorough
def test_the_hardware_script_runs_from_end_to_end_in_the_simulator(tmp_path: Path) -> None:
    before = verified.VERIFIED.exists()
    stub = tmp_path / "compute-sanitizer"  # says what it was asked, and runs it
    stub.write_text(f'#!/bin/sh\necho "$2 $4" >> {tmp_path}/asked\nshift 4\nexec "$@"\n')
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, str(SCRIPT), "--rehearse", "--no-peers", "--rounds", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
    assert "| hessian, dense 4-5-2 (W = 37), N = 12, float64 | graphbp cupy |" in done.stdout
    assert verified.VERIFIED.exists() == before, "a rehearsal is no evidence from hardware"
    record = json.loads((tmp_path / verified.VERIFIED.name).read_text())
    assert record["finished"]
    assert record["files"] == verified.hashes()
    assert record["compute_sanitizer"] == dict.fromkeys(("memcheck", "racecheck", "synccheck", "initcheck"), "ok")
    assert (tmp_path / "asked").read_text().split("\n")[0] == "memcheck 9"
    assert "cupy (rehearsal): the same bits on six streams" in record["on_the_device"]
    assert (tmp_path / "results.md").read_text().count("| graphbp cupy |") == len(record["results"])


def test_what_does_not_fit_fails_or_is_missing_is_named_and_the_rest_is_measured() -> None:
    now = [0.0]

    def takes(seconds: float) -> Run:
        def call() -> None:
            now[0] += seconds

        return Run(call)

    def missing() -> Run:
        raise MissingError("no such library")

    def too_large() -> Run:
        now[0] += 100
        raise RuntimeError("out of memory\nand a long story")

    clock, longest = Clock(10, lambda: now[0]), {}
    case = Case("work", {"ours": lambda: takes(1), "absent": missing, "large": too_large, "slow": lambda: takes(60)})
    seconds = measure(case, clock, 3, longest=longest)["seconds"]
    assert len(seconds["ours"]["rounds"]) == 4
    assert seconds["absent"] == "no such library"
    assert seconds["large"] == "RuntimeError: out of memory"
    assert longest["slow"] == 120
    now[0] = 600 - 110
    again = measure(case, clock, 3, longest=longest)["seconds"]
    assert again["large"] == again["slow"] == "left out for time"  # they would not be ready in time
    assert "median" in again["ours"]


def test_without_a_file_it_was_never_verified(tmp_path: Path) -> None:
    assert "never verified on hardware" in verified.report(tmp_path / "none.json")


def test_what_changed_since_the_last_run_is_named(tmp_path: Path) -> None:
    files = verified.hashes()
    assert "cuda/fused.cu" in files
    record = {"date": "2000-01-01", "device": "a GPU", "tests": {"compared": 5, "failed": 0}, "files": files}
    path = tmp_path / "verified.json"
    path.write_text(json.dumps(record))
    assert verified.report(path) == "CuPy backend: as verified 2000-01-01 on a GPU: 5 comparisons, 0 failed"
    path.write_text(json.dumps(record | {"finished": False}))
    assert verified.report(path).endswith("0 failed, in a run that was cut short")
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
