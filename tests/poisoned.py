"""Part of the suite under an allocator that fills memory with NaN: `python -m tests.poisoned [pytest's arguments]`.

What is read before anyone wrote it is then a NaN in a result, every time, and not only where the memory happened to hold one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHOSEN = ["tests/conformance/test_backends.py", "tests/core/test_unwritten.py"]


def main(arguments: list[str]) -> int:
    """Compile the allocator and run pytest with it; its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "poison.so"
        source = ROOT / "tests" / "helpers" / "poison.c"
        subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-o", str(library), str(source)], check=True)
        # NumPy asks the system for large pages, and keeps small blocks for itself; every block is to come from here
        environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc", "GRAPHBP_POISONED": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(arguments or CHOSEN)]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
