"""The limit on a result's memory: where it comes from, and on which side of it a result falls."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp import memory
from graphbp.exceptions import unknown_name


def test_exactly_the_limit_is_within_it() -> None:
    with gb.config(memory=1000):
        memory.check_memory(1000, "a result", "another")
        with pytest.raises(gb.MemoryLimitError, match=r"a result would take 1 kB.*call another instead"):
            memory.check_memory(1001, "a result", "another")


def test_by_default_most_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 10 * 2**30)
    assert memory.memory_limit() == 8 * 2**30
    memory.check_memory(8 * 2**30, "a result", "another")
    with pytest.raises(gb.MemoryLimitError, match=r"a result would take 9\.66 GB, and at most 8\.59 GB"):
        memory.check_memory(9 * 2**30, "a result", "another")


def test_what_is_small_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 0)
    memory.check_memory(2**20, "a result", "another")
    with pytest.raises(gb.MemoryLimitError):
        memory.check_memory(2**20 + 1, "a result", "another")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/meminfo is Linux's")
def test_free_memory_is_in_bytes() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert total / 1000 < memory.available_memory() <= total


@pytest.mark.parametrize(("asked", "known"), [("temp", "TEMP"), ("TEMPERATURE", "temperature")])
def test_near_matches_are_found_whatever_the_case(asked: str, known: str) -> None:
    assert f"did you mean '{known}'" in str(unknown_name("input", asked, [known, "pressure"]))


# -- what limits a process ----------------------------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, dict[str, str]], None]]:
    """A function that makes this process a member of a control group, as /proc/self/cgroup has it, in a tree of these files."""
    monkeypatch.setattr(memory, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(memory, "_free_memory", lambda: 8 * 2**30)
    memory._control_groups.cache_clear()

    def join(line: str, files: dict[str, str]) -> None:
        (tmp_path / "membership").write_text(f"1:name=systemd:/\n{line}\n")
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    yield join
    memory._control_groups.cache_clear()


STAT = "anon 5\ninactive_file 100\ntotal_inactive_file 300\n"


@pytest.mark.parametrize(
    ("line", "files", "left"),
    [
        ("0::/job", {"job/memory.max": "5000", "job/memory.current": "2000", "job/memory.stat": STAT}, 3100),
        ("0::/job", {"job/memory.max": "max", "job/memory.current": "2000"}, 8 * 2**30),
        ("0::/all/job", {"all/memory.max": "900", "all/memory.current": "200", "all/job/memory.max": "max"}, 700),
        ("0::/not/seen/here", {"memory.max": "900", "memory.current": "1000"}, 0),
        (
            "4:cpu,memory:/job",
            {
                "memory/job/memory.limit_in_bytes": "7000",
                "memory/job/memory.usage_in_bytes": "1000",
                "memory/job/memory.stat": STAT,
                "memory/memory.limit_in_bytes": str(2**63 - 4096),
                "memory/memory.usage_in_bytes": "2000",
            },
            6300,
        ),
        ("0::/job", {"job/memory.max": "nonsense", "job/memory.current": "1"}, 8 * 2**30),
    ],
    ids=["version 2", "no limit", "limit above", "in a container", "version 1", "unreadable"],
)
def test_control_groups_count(groups: Any, line: str, files: dict[str, str], left: int) -> None:
    groups(line, files)
    assert memory.available_memory() == left


def test_no_control_groups(groups: Any) -> None:
    assert memory.available_memory() == 8 * 2**30


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is kept by Linux")
def test_the_limit_of_the_address_space_counts() -> None:
    """`ulimit -v`: what could not be had is refused, with the call to use instead, and not a bare MemoryError."""
    program = """
import resource
import numpy as np, graphbp as gb
from graphbp import memory
net = gb.Network(gb.layered([60, 100, 60]), backend="numpy")
pages = int(open("/proc/self/statm").read().split()[0])
now = pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, resource.getrlimit(resource.RLIMIT_AS)[1]))
assert 2**27 < memory.available_memory() <= 2**28, memory.available_memory()
try:
    net.hessian(np.ones((1, 60)), np.ones((1, 60)))
except gb.MemoryLimitError as problem:
    print("refused", problem)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "refused hessian" in done.stdout
    assert "hessian_operator" in done.stdout


# -- what is held at one time -------------------------------------------------------------------------------------------------


def peak_of(call: Callable[[], Any]) -> int:
    """Bytes that a call held at most, beyond what was there; what compiles was compiled before."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def network(backend: str) -> gb.Network:
    return gb.Network(gb.layered([20, 200, 20]), backend=backend)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("quantity", ["trace", "jacobian", "sparse jacobian", "per_sample_gradient", "weight_jacobian"])
def test_what_is_checked_is_what_is_held(
    backend: str, quantity: str, monkeypatch: pytest.MonkeyPatch, usable: Callable[[str], str]
) -> None:
    """A limit at the most that a call asked for is kept, but for work space of fixed size."""
    net = network(usable(backend))
    n = {"weight_jacobian": 50, "per_sample_gradient": 1000}.get(quantity, 20_000)
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(n, 20)), rng.normal(size=(n, 20))
    asked: list[int] = []
    real = memory.check_memory
    monkeypatch.setattr("graphbp.model.check_memory", lambda size, *rest: (asked.append(size), real(size, *rest)))
    calls: dict[str, Callable[[], Any]] = {
        "trace": lambda: net.trace(X, T),
        "jacobian": lambda: net.jacobian(X),
        "sparse jacobian": lambda: net.jacobian(X, sparse=True),
        "per_sample_gradient": lambda: net.per_sample_gradient(X, T),
        "weight_jacobian": lambda: net.weight_jacobian(X),
    }
    held = peak_of(calls[quantity])
    assert max(asked) > 6e7
    assert held < 1.05 * max(asked) + WORK_SPACE


WORK_SPACE = 2**25
"""Of two threads' chunks or tiles."""


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_jacobian_by_colours_is_checked_with_its_sweeps(backend: str, usable: Callable[[str], str]) -> None:
    """Two outputs of a hundred inputs each share one sweep, which finds N × D at once."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for k in "ab":
        g.add_node(f"y{k}", activation="tanh", bias=0.1)
        for i in range(100):
            g.add_edge(f"x{k}{i}", f"y{k}", weight=0.01 * i)
    net = gb.Network(g, backend=usable(backend))
    X = np.random.default_rng(0).normal(size=(10_000, 200))
    held = peak_of(lambda: net.jacobian(X))
    with gb.config(memory=int(0.9 * (held - WORK_SPACE))), pytest.raises(gb.MemoryLimitError, match="jacobian"):
        net.jacobian(X)


def test_memory_for_a_gradient_does_not_grow_with_the_samples() -> None:
    net = gb.Network(gb.random_dag(20, 200, 20, fan_in=10, seed=1), backend="numpy")
    rng = np.random.default_rng(0)
    peaks = []
    for n in (20_000, 60_000):
        X, T = rng.normal(size=(n, 20)), rng.normal(size=(n, 20))
        peaks.append(peak_of(lambda X=X, T=T: net.gradient(X, T)))  # type: ignore[misc]  # mypy sees no defaults
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 80e6


def test_blocks_of_units_with_many_weights_are_checked() -> None:
    net = gb.Network(gb.layered([3000, 2]), backend="numpy")
    X, T = np.ones((2, 3000)), np.ones((2, 2))
    with gb.config(memory=2 * 8 * 3001**2), pytest.raises(gb.MemoryLimitError, match=r"unit blocks.*hessian_diagonal"):
        net.hessian_blocks(X, T)
