"""The CuPy backend on a real GPU: parity matrix, conformance, compute-sanitizer, benchmark; writes gpu_verified.json and a table.

    python benchmarks/gpu/hardware.py                     from a plain checkout; nothing of graphbp need be installed
    python benchmarks/gpu/hardware.py --rehearse          the same steps in the simulator, small, writing nothing

Needs CuPy and a driver; JAX, PyTorch and Numba are measured where they are installed, compute-sanitizer runs where it is on PATH.
Steps share `--minutes` (8): what no longer fits is left out and named.  The exit status is 0 where nothing failed, 1 where something
did, and 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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
for _option, _value in {"BACKEND": "auto", "DTYPE": "float64", "THREADS": "0", "MEMORY": "0"}.items():
    os.environ[f"GRAPHBP_{_option}"] = _value  # no configuration file of the machine decides what is verified
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

if find_spec("threadpoolctl") is None:
    # a GPU machine may have the computing libraries and nothing else; without this one the CPU's BLAS keeps its own threads
    sys.modules["threadpoolctl"] = MagicMock(name="threadpoolctl")

import numpy as np  # noqa: E402  # the paths come first

from benchmarks.gpu import verified  # noqa: E402
from benchmarks.gpu.contenders import Case, Sizes, cases  # noqa: E402
from benchmarks.outcome import MissingError, Run  # noqa: E402
from graphbp import registry  # noqa: E402
from graphbp_cupy import CupyBackend  # noqa: E402

GPU, LEVEL = "cupy", "cupy, level path"
LIBRARIES = ("cupy-cuda13x", "cupy-cuda12x", "numpy", "numba", "networkx", "scipy", "jax", "torch")
TABLE = Path(__file__).with_name("results.md")


class Clock:
    """Seconds since the start, and whether a step of a given length still fits."""

    def __init__(self, minutes: float) -> None:
        self.start, self.limit = time.monotonic(), 60 * minutes

    def fits(self, seconds: float) -> bool:
        return time.monotonic() - self.start + seconds < self.limit

    def __str__(self) -> str:
        return f"{time.monotonic() - self.start:5.0f} s"


def register(library: Any) -> tuple[str, str]:
    """The names of the CuPy backend as it is, and of its level path; backends without an entry point are added."""
    import graphbp_numpy

    for module in (graphbp_numpy, _module("graphbp_numba")):
        if module is not None and module.backend.name not in registry.backend_names():
            registry.register_backend(module.backend)
    suffix = "" if library is None else " (rehearsal)"
    names = GPU + suffix, LEVEL + suffix
    for name, fused in zip(names, (True, False), strict=True):
        if name not in registry.backend_names():
            registry.register_backend(CupyBackend(name, library, fused=fused))
    return names


def _module(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        return None


def parity(backends: tuple[str, str], networks: list[str] | None, clock: Clock) -> dict[str, Any]:
    """Every network × quantity × check × dtype of the conformance kit against the definition."""
    from graphbp.testing import find_cases, run_parity, zoo

    compared = failed = 0
    failures: list[str] = []
    left_out = []
    for case in zoo() if networks is None else find_cases(networks):
        if not clock.fits(clock.limit / 2):  # the other half is for the benchmark
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


def conformance(backends: tuple[str, str], library: Any) -> dict[str, str]:
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


def sanitizer(clock: Clock) -> dict[str, str]:
    """compute-sanitizer over small networks, one tool at a time, in processes of their own."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"compute-sanitizer": "not on PATH, so not run"}
    found = {}
    for check in ("memcheck", "racecheck", "synccheck", "initcheck"):
        if not clock.fits(60 + clock.limit / 3):
            found[check] = "left out for time"
            continue
        command = [tool, "--tool", check, "--error-exitcode", "9", sys.executable, str(Path(__file__).resolve()), "--tiny"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            found[check] = "did not finish in 60 s"
            continue
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or [""]
        found[check] = "ok" if done.returncode == 0 else f"FAILED ({done.returncode}): {last[0][:200]}"
    return found


def tiny(backends: tuple[str, str]) -> int:
    """What runs under the sanitizer: both paths, first and second order, a few samples."""
    from graphbp.testing import run_parity

    table = run_parity(
        backends, ["mixed", "dense-scattered", "two-heads"], ["gradient", "vjp", "jacobian", "hessian", "hessian_product"]
    )
    print(table)
    return 0 if table.ok else 1


def release(library: Any) -> None:
    """Memory that one contender's pool keeps, for the next."""
    gc.collect()
    if hasattr(library, "get_default_memory_pool"):
        library.get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()


def measure(case: Case, clock: Clock, rounds: int) -> dict[str, Any]:
    """Median seconds of each contender, one call of each in turn; a contender that cannot run says why."""
    runs: dict[str, Run] = {}
    seconds: dict[str, Any] = {}
    for name, build in case.contenders.items():
        if not clock.fits(25):
            seconds[name] = "left out for time"
            continue
        try:
            run = build()
            first = _timed(run.call)
            again = _timed(run.call)
        except MissingError as problem:
            seconds[name] = str(problem)
        except Exception as problem:  # out of memory, an operation that the peer lacks: the table says so
            seconds[name] = f"{type(problem).__name__}: {problem}"[:160]
        else:
            runs[name] = run
            seconds[name] = {"first": first, "rounds": [again]}
    for _ in range(rounds):
        for name, run in runs.items():
            if clock.fits(2 * seconds[name]["rounds"][0] + 5):
                seconds[name]["rounds"].append(_timed(run.call))
    for name in runs:
        seconds[name]["median"] = statistics.median(seconds[name]["rounds"][1:] or seconds[name]["rounds"])
    return {"case": case.name, "flop": case.flop, "bytes": case.bytes, "seconds": seconds}


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ceilings(library: Any, wait: Callable[[], None], size: int) -> dict[str, float]:
    """bytes a second of copying a large array, and flop a second of a large matrix product, in this very run."""
    found = {}
    source = library.zeros(size * size, dtype=library.float32)
    target = library.empty(size * size, dtype=library.float32)

    def copy() -> None:
        target[...] = source
        wait()

    found["bytes"] = 2 * source.nbytes / min(_timed(copy) for _ in range(5))
    for dtype in ("float32", "float64"):
        a = library.ones((size, size), dtype=dtype)

        def product(a: Any = a) -> None:
            library.matmul(a, a)
            wait()

        found[f"flop {dtype}"] = 2.0 * size**3 / min(_timed(product) for _ in range(5))
    return found


def table(results: list[dict[str, Any]], ceiling: dict[str, float]) -> str:
    """Markdown: seconds, how many times slower than graphbp on the GPU, and the fraction of the ceilings."""
    lines = ["| work | contender | ms | ÷ graphbp cupy | of memory ceiling | of arithmetic ceiling |", "|---|---|---|---|---|---|"]
    for result in results:
        ours = result["seconds"]["graphbp cupy"]
        for name, took in result["seconds"].items():
            if isinstance(took, str):
                lines.append(f"| {result['case']} | {name} | {took.replace('|', '/')} | | | |")
                continue
            ratio = f"{took['median'] / ours['median']:.2f}" if isinstance(ours, dict) else ""
            dtype = "float64" if "float64" in result["case"] else "float32"
            of_memory = result["bytes"] / took["median"] / ceiling["bytes"]
            of_flop = result["flop"] / took["median"] / ceiling[f"flop {dtype}"]
            shown = "(CPU)" not in name
            lines.append(
                f"| {result['case']} | {name} | {1e3 * took['median']:.3g} | {ratio} | "
                f"{f'{of_memory:.1%}' if shown and of_memory else ''} | {f'{of_flop:.1%}' if shown and of_flop else ''} |"
            )
    return "\n".join(lines)


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
    options.add_argument("--rehearse", action="store_true", help="in the simulator, small; writes nothing")
    options.add_argument("--tiny", action="store_true", help="what compute-sanitizer watches")
    options.add_argument("--no-peers", action="store_true", help="measure graphbp alone")
    options.add_argument("--minutes", type=float, default=8.0)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args(arguments)
    clock = Clock(chosen.minutes)
    library = _simulator() if chosen.rehearse else None
    backends = register(library)
    backend: Any = registry.get_backend(backends[0])
    state = backend.availability()
    if not state.available:
        print(f"no GPU to verify on: {state.reason} {state.install}")
        return 2
    if chosen.tiny:
        return tiny(backends)
    library = backend.library
    wait: Callable[[], None] = library.cuda.Device().synchronize if hasattr(library.cuda.Device(), "synchronize") else lambda: None
    print(f"{clock} {state.device}, {_versions()}")

    tests = parity(backends, ["mixed", "two-heads"] if chosen.rehearse else None, clock)
    device_checks = conformance(backends, library)
    print(f"{clock} on the device: {device_checks}")
    sanitized = {} if chosen.rehearse else sanitizer(clock)
    print(f"{clock} compute-sanitizer: {sanitized}")
    ceiling = ceilings(library, wait, 64 if chosen.rehearse else 8192)
    print(f"{clock} ceilings: {ceiling}")
    results = []
    for case in cases(*backends, Sizes.rehearsal() if chosen.rehearse else Sizes(), library.asarray, wait):
        if chosen.no_peers:
            case = replace(case, contenders={k: v for k, v in case.contenders.items() if k.startswith("graphbp cupy")})
        release(library)
        results.append(measure(case, clock, chosen.rounds))
        print(f"{clock} {case.name}: " + ", ".join(f"{k} {_short(v)}" for k, v in results[-1]["seconds"].items()))
    text = table(results, ceiling)
    print(text)
    bad = tests["failed"] + sum("FAILED" in value for value in (*device_checks.values(), *sanitized.values()))
    if not chosen.rehearse:
        record = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": state.device,
            "versions": _versions(),
            "files": verified.hashes(),
            "tests": tests,
            "on_the_device": device_checks,
            "compute_sanitizer": sanitized,
            "ceilings": ceiling,
            "results": results,
        }
        verified.VERIFIED.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        TABLE.write_text(f"{state.device}, {record['date']}\n\n{text}\n", encoding="utf-8")
    print(f"{clock} {'nothing failed' if not bad else f'{bad} failed'}")
    return 1 if bad else 0


def _short(took: Any) -> str:
    return took if isinstance(took, str) else f"{1e3 * took['median']:.3g} ms"


def _simulator() -> Any:
    sys.path.insert(0, str(ROOT / "tests" / "only_cupy"))
    from instruments import fake_cupy

    return fake_cupy


if __name__ == "__main__":
    sys.exit(main())
