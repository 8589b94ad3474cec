"""The conformance kit on the CuPy backend, its kernels run on the CPU: what the parity matrix calls `cupy (simulated)`.

Every network of the zoo goes through the path that the backend chooses, in both dtypes; every third in another order of threads.
The other paths, which larger networks take, are held to the structural networks.  This is not evidence from a GPU.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from instruments import fake_cupy, probe, simulator

from graphbp.testing import CHECKS, QUANTITIES, Case, cases, check_backend
from graphbp_cupy import paths

DEEP = ("forward", "gradient", "jvp", "hessian_product")
"""Asked of the networks whose levels (120) or size make every sweep slow here."""

WIDE = ("forward", "error", "gradient", "vjp", "weight_vjp", "adjoint", "sample_weight", "same_bits", "fresh_weights")
"""What goes the wide path, where that is taken."""

STRUCTURES = (
    "mixed", "layers-sparse", "dense-from-units", "dense-scattered", "outputs-that-feed", "frozen", "all-frozen", "tied", "lonely",
    "dead-ends", "wired-straight", "wide", "two-heads", "two-heads-squares", "kinked", "one-sample",
    "aggregations", "aggregations-layers", "ties", "tied-factors", "combining-outputs", "combining-softmax", "dead-factors",
)  # fmt: skip


def quantities_of(case: Case) -> list[str]:
    return list(DEEP) if case.name in ("chain", "large", "wide") else [*QUANTITIES, *CHECKS]


def order_of(case: Case) -> str:
    return list(simulator.ORDERS)[sum(case.name.encode()) % len(simulator.ORDERS)]


@pytest.mark.sampled(12)
@pytest.mark.parametrize("case", cases(), ids=str)
def test_network(case: Case) -> None:
    fake_cupy.order.name = order_of(case)
    table = check_backend(probe.SIMULATED, [case], quantities_of(case))
    assert {cell.status for cell in table.cells} <= {"ok", "too large"}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", STRUCTURES)
def test_network_on_the_level_path(name: str) -> None:
    (case,) = cases(name)
    fake_cupy.order.name = order_of(case)
    check_backend(probe.LEVEL, [case], dtypes=["float64"])


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", STRUCTURES)
def test_network_on_the_wide_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = cases(name)
    fake_cupy.order.name = order_of(case)
    lanes = (8, 16, 32)[sum(name.encode()) % 3]
    monkeypatch.setattr(paths, "MIN_LANES", lanes)
    monkeypatch.setattr(paths, "MAX_LANES", lanes)
    check_backend(probe.WIDE, [case], WIDE, dtypes=["float64"])


def test_the_matrix_of_the_command_line_calls_it_simulated() -> None:
    script = Path(__file__).with_name("parity.py")
    command = [sys.executable, str(script), "--case", "two-heads", "--quantity", "gradient", "--backend", probe.SIMULATED]
    done = subprocess.run([*command, "--backend", "cupy"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cupy (simulated) float64  cupy (simulated) float32" in done.stdout
    assert "cupy: unavailable" in done.stdout or "cupy float64" in done.stdout  # the latter where there is a GPU


def test_nothing_but_blocks_is_composed_by_the_core() -> None:
    table = check_backend(probe.SIMULATED, cases("tied"), dtypes=["float64"])
    assert {cell.quantity for cell in table.cells if cell.composed} == {"hessian_blocks"}
