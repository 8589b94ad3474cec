"""The conformance kit on the CuPy backend, its kernels run on the CPU: what the parity matrix calls `cupy (simulated)`.

Every network of the zoo goes through the path that the backend chooses, in both dtypes; every third in another order of threads.
The level path, which a GPU with little shared memory takes, is held to the structural networks.  This is not evidence from a GPU.
"""

from __future__ import annotations

import pytest
from instruments import fake_cupy, probe, simulator

from graphbp.testing import CHECKS, QUANTITIES, Case, cases, check_backend

DEEP = ("forward", "gradient", "jvp", "hessian_product")
"""Asked of the networks whose levels (120) or size make every sweep slow here."""

STRUCTURES = (
    "mixed", "layers-sparse", "dense-from-units", "dense-scattered", "outputs-that-feed", "frozen", "all-frozen", "tied", "lonely",
    "wired-straight", "wide", "two-heads", "two-heads-squares", "kinked", "one-sample",
)  # fmt: skip


def quantities_of(case: Case) -> list[str]:
    return list(DEEP) if case.name in ("chain", "large", "wide") else [*QUANTITIES, *CHECKS]


def order_of(case: Case) -> str:
    return list(simulator.ORDERS)[sum(case.name.encode()) % len(simulator.ORDERS)]


@pytest.mark.parametrize("case", cases(), ids=str)
def test_network(case: Case) -> None:
    fake_cupy.order.name = order_of(case)
    table = check_backend(probe.SIMULATED, [case], quantities_of(case))
    assert {cell.status for cell in table.cells} <= {"ok", "too large"}


@pytest.mark.parametrize("name", STRUCTURES)
def test_network_on_the_level_path(name: str) -> None:
    (case,) = cases(name)
    fake_cupy.order.name = order_of(case)
    check_backend(probe.LEVEL, [case], dtypes=["float64"])


def test_nothing_but_blocks_is_composed_by_the_core() -> None:
    table = check_backend(probe.SIMULATED, cases("tied"), dtypes=["float64"])
    assert {cell.quantity for cell in table.cells if cell.composed} == {"hessian_blocks"}
