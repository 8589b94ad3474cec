"""The instruments on the path, the simulated backends known while a module runs, and a device in a known state for every test."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(_ROOT / "backends"), str(_ROOT)]

from instruments import fake_cupy, probe  # noqa: E402  # the path comes first


@pytest.fixture(scope="module", autouse=True)
def _simulated_backends() -> Iterator[None]:
    probe.register()
    gc.collect()
    gc.freeze()  # what counts bytes collects often, and need look at what the module made alone
    yield
    probe.unregister()  # other tests ask which backends there are


@pytest.fixture(autouse=True)
def _fresh_device() -> Iterator[None]:
    fake_cupy.log.clear()
    fake_cupy.order.name, fake_cupy.order.seed = "ascending", 1
    limit = fake_cupy.memory.limit
    yield
    fake_cupy.memory.limit = limit
