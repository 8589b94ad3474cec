"""What has changed in the CuPy backend since it last ran on a GPU.

    python benchmarks/gpu/verified.py

compares the sha256 of every kernel and module of backends/graphbp_cupy with those in gpu_verified.json, which hardware.py writes on
a machine with a GPU, and prints the files that differ, or "never verified on hardware" where there is no such file.  It is news and
no failure: the exit status is 0.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["BACKEND", "VERIFIED", "hashes", "report"]

ROOT = Path(__file__).resolve().parents[2]
BACKEND = ROOT / "backends" / "graphbp_cupy"
VERIFIED = Path(__file__).with_name("gpu_verified.json")


def hashes(folder: Path = BACKEND) -> dict[str, str]:
    """sha256 of each .py and .cu file, by its path inside the backend."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".cu"))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def report(verified: Path = VERIFIED, folder: Path = BACKEND) -> str:
    """The comparison in words."""
    if not verified.exists():
        return "CuPy backend: never verified on hardware (benchmarks/gpu/hardware.py on a machine with a GPU does it)"
    last: dict[str, Any] = json.loads(verified.read_text(encoding="utf-8"))
    when = f"{last['date']} on {last['device']}: {last['tests']['compared']} comparisons, {last['tests']['failed']} failed"
    if not last.get("finished", True):
        when += ", in a run that was cut short"
    now, then = hashes(folder), last["files"]
    lines = [f"  {name} {'is new' if name not in then else 'changed'}" for name in now if now[name] != then.get(name)]
    lines += [f"  {name} is gone" for name in then if name not in now]
    if not lines:
        return f"CuPy backend: as verified {when}"
    return f"CuPy backend: verified {when}; since then\n" + "\n".join(lines)


if __name__ == "__main__":
    print(report())
