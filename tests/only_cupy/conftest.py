"""The instruments on the path, the simulated backends registered once, and the thread order as a fixture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "backends")]

from instruments import fake_cupy, probe  # noqa: E402  # the path comes first


@pytest.fixture(scope="session", autouse=True)
def _simulated_backends() -> None:
    probe.register()


@pytest.fixture(autouse=True)
def _fresh_device() -> Iterator[None]:
    fake_cupy.log.clear()
    fake_cupy.order.name, fake_cupy.order.seed = "ascending", 1
    limit = fake_cupy.memory.limit
    yield
    fake_cupy.memory.limit = limit
