"""The limit on a result's memory: where it comes from, and on which side of it a result falls."""

from __future__ import annotations

import os
import sys

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
