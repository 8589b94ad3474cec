"""The instruments see what they are there to see: every seeded bug, by the instrument that its row names, and nothing without one."""

from __future__ import annotations

import pytest
from instruments import sanitized, seeded_bugs, simulator

WITHOUT = sorted((bug for bug in seeded_bugs.BUGS if bug.seen in ("values", "refused")), key=lambda bug: bug.seen)
SANITIZED = [bug for bug in seeded_bugs.BUGS if bug.seen in ("address", "thread")]


def test_nothing_is_seen_in_the_kernels_as_they_are() -> None:
    assert seeded_bugs.what_is_seen(None) == "nothing"


@pytest.mark.sampled(2)  # the first is refused, the last gives other values
@pytest.mark.parametrize("bug", WITHOUT, ids=lambda bug: bug.name)
def test_a_seeded_bug_is_seen_on_the_cpu(bug: seeded_bugs.Bug) -> None:
    assert seeded_bugs.what_is_seen(bug) == bug.seen


@pytest.mark.thorough
@pytest.mark.parametrize("sanitize", ["address,undefined", "thread"])
def test_the_kernels_are_clean_under_the_sanitizers(sanitize: str) -> None:
    done = sanitized.run(sanitize)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "all quantities agree" in done.stdout


@pytest.mark.thorough  # as the sanitizers' own runs are
@pytest.mark.parametrize("bug", SANITIZED, ids=lambda bug: bug.name)
def test_a_seeded_bug_is_seen_by_its_sanitizer(bug: seeded_bugs.Bug) -> None:
    done = sanitized.run("address,undefined" if bug.seen == "address" else "thread", bug.name)
    assert done.returncode != 0
    assert {"address": "AddressSanitizer", "thread": "ThreadSanitizer: data race"}[bug.seen] in done.stderr


def test_a_missing_compiler_is_an_error_and_no_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(simulator.SimulatedLaunchError, match="not installed"):
        simulator.build("int unused;")


def test_source_that_does_not_compile_is_shown() -> None:
    with pytest.raises(simulator.SimulatedLaunchError, match="no_such_name"):
        simulator.build('extern "C" __global__ void k(int n) { no_such_name(n); }')
