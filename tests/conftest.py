"""Shared by all tests: which backends must be there, Hypothesis profiles, the folder with real data."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from graphbp.registry import backend_names, get_backend

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile(
    "explore", derandomize=False, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("GRAPHBP_HYPOTHESIS", "ci"))

REQUIRED = [name for name in os.environ.get("GRAPHBP_REQUIRE_BACKENDS", "").split(",") if name]


def pytest_configure(config: pytest.Config) -> None:
    unknown = set(REQUIRED) - set(backend_names())
    if unknown:
        raise pytest.UsageError(f"GRAPHBP_REQUIRE_BACKENDS names {sorted(unknown)}; known are {backend_names()}")


@pytest.fixture
def usable():
    """A function that skips the test where a backend cannot run here, or fails it where GRAPHBP_REQUIRE_BACKENDS asks for it."""

    def check(name: str) -> str:
        state = get_backend(name).availability()
        if not state.available:
            reason = f"backend {name!r} cannot run here: {state.reason}"
            if name in REQUIRED:
                pytest.fail(f"{reason}, and GRAPHBP_REQUIRE_BACKENDS asks for it")
            pytest.skip(reason)
        return name

    return check
