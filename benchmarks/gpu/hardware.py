"""The CuPy backend on a real GPU: parity matrix, conformance, compute-sanitizer, benchmark; writes gpu_verified.json and a table.

    python benchmarks/gpu/hardware.py                     from a plain checkout; nothing of graphbp need be installed
    python benchmarks/gpu/hardware.py --rehearse          the same steps in the simulator, small, peers on the CPU; writes only to --out

Needs CuPy and a driver; JAX, PyTorch and Numba are measured where they are installed, compute-sanitizer runs where it is on PATH.
Steps share `--minutes` (8): what no longer fits is left out and named.  What is known is written after every step, so that a run that
is cut short leaves what it found.  The exit status is 0 where nothing failed, 1 where something did, and 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "backends"), str(ROOT / "plugins")]
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the GPU is shared with the other contenders
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")  # JAX gives nothing back
for _option, _value in {"BACKEND": "auto", "DTYPE": "float64", "THREADS": "2", "MEMORY": "0"}.items():
    os.environ[f"GRAPHBP_{_option}"] = _value  # no configuration file of the machine decides what is verified
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what was said is read even where the run is cut short

if find_spec("threadpoolctl") is None:
    # a GPU machine may have the computing libraries and nothing else; without this one the CPU's BLAS keeps its own threads
    sys.modules["threadpoolctl"] = MagicMock(name="threadpoolctl")

import numpy as np  # noqa: E402  # the paths come first

from benchmarks.gpu import verified  # noqa: E402
from benchmarks.gpu.contenders import Sizes, cases  # noqa: E402
from benchmarks.gpu.measuring import Clock, ceilings, measure, release, short, table  # noqa: E402
from graphbp import registry  # noqa: E402
from graphbp_cupy import CupyBackend  # noqa: E402

PATHS = {"cupy": "", "cupy, wide path": "wide", "cupy, level path": "level"}
"""The CuPy backend as it chooses its paths, and on one path alone."""
TILES = {f"cupy, wide path, tiles of {lanes}": f"wide {lanes}" for lanes in (8, 16, 32)}
"""The wide path with tiles of one size, which is measured only."""
LIBRARIES = ("cupy-cuda13x", "cupy-cuda12x", "numpy", "numba", "networkx", "scipy", "jax", "torch")


def register(library: Any) -> tuple[str, ...]:
    """The names of the CuPy backend as it is, of its paths, and of its tiles; backends without an entry point are added."""
    import graphbp_numpy

    for module in (graphbp_numpy, _module("graphbp_numba")):
        if module is not None and module.backend.name not in registry.backend_names():
            registry.register_backend(module.backend)
    suffix = "" if library is None else " (rehearsal)"
    for name, path in {**PATHS, **TILES}.items():
        if name + suffix not in registry.backend_names():
            registry.register_backend(CupyBackend(name + suffix, library, path=path))
    return tuple(name + suffix for name in (*PATHS, *TILES))


def _module(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        return None


def parity(backends: tuple[str, ...], networks: list[str] | None, clock: Clock) -> dict[str, Any]:
    """Every network × quantity × check × dtype of the conformance kit against the definition."""
    from graphbp.testing import find_cases, run_parity, zoo

    compared = failed = 0
    failures: list[str] = []
    left_out = []
    for case in zoo() if networks is None else find_cases(networks):
        if not clock.fits(0.6 * clock.limit):  # the rest is for the benchmark
            left_out.append(case.name)
            continue
        table = run_parity(backends, [case])
        compared += sum(cell.status in ("ok", "failed") for cell in table.cells)
        failed += len(table.failures)
        failures += [str(cell) for cell in table.failures]
    print(f"{clock} parity: {compared} comparisons, {failed} failed" + (f", left out for time: {left_out}" if left_out else ""))
    for text in failures[:30]:
        print(f"  {text}")
    return {"compared": compared, "failed": failed, "failures": failures[:100], "left_out": left_out}


def conformance(backends: tuple[str, ...], library: Any) -> dict[str, str]:
    """What only a device shows: the bits repeat on several streams, arrays of other libraries come in, results stay there."""
    import graphbp as gb

    found = {}
    graph = gb.random_dag(6, 60, 3, seed=2)
    rng = np.random.default_rng(0)
    for name in backends:
        net = gb.Network(graph, backend=name)
        X, T = rng.normal(size=(500, 6)), rng.normal(size=(500, net.schedule.n_outputs))
        bits = {net.gradient(X, T).tobytes()}
        for _ in range(5):
            with library.cuda.Stream(non_blocking=True) as stream:
                bits.add(net.gradient(X, T).tobytes())
            getattr(stream, "synchronize", lambda: None)()
        found[f"{name}: the same bits on six streams"] = "ok" if len(bits) == 1 else f"FAILED: {len(bits)} different results"
        there = net.forward(library.asarray(X))
        same = isinstance(there, library.ndarray) and np.array_equal(there.get(), net.forward(X))
        found[f"{name}: CuPy in, CuPy out"] = "ok" if same else "FAILED"
        for peer, make in (("torch", _torch_array), ("jax", _jax_array)):
            try:
                array = make(X)
            except Exception as problem:  # a peer that is not there, or sees no GPU, is not this backend's failure
                found[f"{name}: DLPack from {peer}"] = f"not tried: {type(problem).__name__}: {problem}"[:120]
                continue
            same = np.array_equal(net.forward(array).get(), net.forward(X))
            found[f"{name}: DLPack from {peer}"] = "ok" if same else "FAILED"
    return found


def _torch_array(X: Any) -> Any:
    import torch

    return torch.tensor(X, device="cuda")


def _jax_array(X: Any) -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.device_put(X, jax.devices("gpu")[0])


def sanitizer(clock: Clock, *more: str) -> dict[str, str]:
    """compute-sanitizer over small networks, one tool at a time, in processes of their own."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"compute-sanitizer": "not on PATH, so not run"}
    found = {}
    for check in ("memcheck", "racecheck", "synccheck", "initcheck"):
        if not clock.fits(60 + 0.45 * clock.limit):
            found[check] = "left out for time"
            continue
        command = [tool, "--tool", check, "--error-exitcode", "9", sys.executable, str(Path(__file__).resolve()), "--tiny", *more]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            found[check] = "did not finish in 60 s"
            continue
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or [""]
        found[check] = "ok" if done.returncode == 0 else f"FAILED ({done.returncode}): {last[0][:200]}"
    return found


def tiny(backends: tuple[str, ...]) -> int:
    """What runs under the sanitizer: both paths, first and second order, a few samples."""
    from graphbp.testing import run_parity

    table = run_parity(
        backends, ["mixed", "dense-scattered", "two-heads"], ["gradient", "vjp", "jacobian", "hessian", "hessian_product"]
    )
    print(table)
    return 0 if table.ok else 1


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the steps."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--rehearse", action="store_true", help="in the simulator, small, peers on the CPU")
    options.add_argument("--tiny", action="store_true", help="what compute-sanitizer watches")
    options.add_argument("--no-peers", action="store_true", help="measure graphbp alone")
    options.add_argument("--minutes", type=float, default=8.0)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--out", type=Path, help="folder for gpu_verified.json and results.md (default: beside this file)")
    chosen = options.parse_args(arguments)
    clock = Clock(chosen.minutes)
    backends = register(_simulator() if chosen.rehearse else None)
    backend: Any = registry.get_backend(backends[0])
    state = backend.availability()
    if not state.available:
        print(f"no GPU to verify on: {state.reason} {state.install}")
        return 2
    if chosen.tiny:
        return tiny(backends[:3])
    if not chosen.rehearse:
        chosen.out = chosen.out or verified.VERIFIED.parent
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": state.device,
        "versions": _versions(),
        "files": verified.hashes(),
        "finished": False,
        "tests": {"compared": 0, "failed": 0},
    }
    print(f"{clock} {state.device}, {record['versions']}")
    for step in _steps(backends, backend.library, clock, chosen):
        record |= step
        _save(record, chosen.out)
    record["finished"] = True
    _save(record, chosen.out)
    bad = record["tests"]["failed"] + sum("FAILED" in value for key in CHECKS for value in record[key].values())
    print(table(record["results"], record["ceilings"]))
    print(f"{clock} {'nothing failed' if not bad else f'{bad} failed'}")
    return 1 if bad else 0


CHECKS = ("on_the_device", "compute_sanitizer")


def _steps(backends: tuple[str, ...], library: Any, clock: Clock, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the record gains, step by step."""
    wait: Callable[[], None] = library.cuda.Device().synchronize if hasattr(library.cuda.Device(), "synchronize") else lambda: None
    yield {"tests": parity(backends[:3], ["mixed", "two-heads"] if chosen.rehearse else None, clock)}
    found = conformance(backends[:3], library)
    print(f"{clock} on the device: {found}")
    yield {"on_the_device": found}
    found = sanitizer(clock, *(["--rehearse"] if chosen.rehearse else []))
    print(f"{clock} compute-sanitizer: {found}")
    yield {"compute_sanitizer": found}
    ceiling = ceilings(library, wait, 64 if chosen.rehearse else 8192)
    print(f"{clock} ceilings: {ceiling}")
    yield {"ceilings": ceiling, "results": []}
    results: list[dict[str, Any]] = []
    longest: dict[str, float] = {}
    sizes, torch_device = (Sizes.rehearsal(), "cpu") if chosen.rehearse else (Sizes(), "cuda")
    for case in cases(backends, sizes, library.asarray, wait, torch_device):
        if chosen.no_peers:
            case = replace(case, contenders={k: v for k, v in case.contenders.items() if k.startswith("graphbp cupy")})
        release(library)
        results.append(measure(case, clock, chosen.rounds, library, longest))
        print(f"{clock} {case.name}: " + ", ".join(f"{k} {short(v)}" for k, v in results[-1]["seconds"].items()))
        yield {"results": results}


def _save(record: dict[str, Any], folder: Path | None) -> None:
    """gpu_verified.json, and the table once there is one."""
    if folder is None:
        return
    (folder / verified.VERIFIED.name).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if record.get("results"):
        text = table(record["results"], record["ceilings"])
        (folder / "results.md").write_text(f"{record['device']}, {record['date']}\n\n{text}\n", encoding="utf-8")


def _simulator() -> Any:
    sys.path.insert(0, str(ROOT / "tests" / "only_cupy"))
    from instruments import fake_cupy

    return fake_cupy


if __name__ == "__main__":
    sys.exit(main())
