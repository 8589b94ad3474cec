"""`graphbp parity` with the CuPy backend among the others, its kernels run on the CPU: `cupy (simulated)` in the table.

    python tests/only_cupy/parity.py --case mixed --by network          takes the options of `graphbp parity`

Needs g++ and no GPU.  It says that the kernels compute what the definition does, and nothing about a GPU.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT), str(ROOT / "backends"), str(ROOT / "plugins")]

from instruments import probe  # noqa: E402  # the path comes first

if __name__ == "__main__":
    from graphbp.cli import main

    probe.register()
    sys.exit(main(["parity", *sys.argv[1:]]))
