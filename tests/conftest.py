"""Shared by all tests: which of them run, which backends must be there, Hypothesis profiles, kernels compiled before workers start."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings

from graphbp.registry import backend_names, get_backend
from helpers import thorough

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile(
    "explore", derandomize=False, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("GRAPHBP_HYPOTHESIS", "ci"))

REQUIRED = [name for name in os.environ.get("GRAPHBP_REQUIRE_BACKENDS", "").split(",") if name]
left_out = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the thorough tests too: the whole of what is otherwise sampled")


def pytest_configure(config: pytest.Config) -> None:
    unknown = set(REQUIRED) - set(backend_names())
    if unknown:
        raise pytest.UsageError(f"GRAPHBP_REQUIRE_BACKENDS names {sorted(unknown)}; known are {backend_names()}")
    thorough.WHOLE = config.getoption("--all")
    config.stash[left_out] = 0
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "worksteal"  # neighbours use the same kernels, so a worker is given neighbours


# -- what runs -----------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    thorough.mark(items)
    named = any("::" in argument for argument in config.args)  # whoever names a test wants it
    if thorough.WHOLE or named:
        return
    waiting = [item for item in items if item.get_closest_marker("thorough")]
    config.stash[left_out] = len(waiting)
    config.hook.pytest_deselected(items=waiting)
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]


def pytest_collection_finish() -> None:
    """What has been imported and collected stays to the end, so no collection of garbage need look at it again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash[left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    node.config.stash[left_out] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    if count := config.stash[left_out]:
        terminalreporter.write_line(f"{count} thorough tests were left out; with --all they run too (see CONTRIBUTING.md)")


# -- before xdist's workers start ----------------------------------------------------------------------------------------


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile Numba's kernels in one process for each dtype: workers find them on disk, instead of both compiling the same.

    Only for the whole suite: a part of it needs few of them.
    """
    config = session.config
    parallel = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    whole = config.args_source == pytest.Config.ArgsSource.TESTPATHS and not (config.option.collectonly or config.option.ignore)
    if not (parallel and whole and get_backend("numba").availability().available):
        return
    code = "import sys; from graphbp.warm import warm; [None for _ in warm('numba', sys.argv[1])]"
    runs = [subprocess.Popen([sys.executable, "-c", code, dtype]) for dtype in ("float64", "float32")]
    for run in runs:
        run.wait()  # what does not compile fails again where a test names it


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
