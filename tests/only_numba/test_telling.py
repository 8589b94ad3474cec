"""The line that says that kernels are being compiled."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("numba")

from graphbp_numba.machine import telling
from graphbp_numba.machine.jit import kernel


class _Line:
    told: list[str]

    def __init__(self, text: str, after: float) -> None:
        self.text = text

    def __enter__(self) -> _Line:
        self.told.append(self.text)
        return self

    def __exit__(self, *failure: Any) -> None:
        self.told.append("done")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    _Line.told = []
    monkeypatch.setattr(telling, "status", _Line)
    return _Line.told


def _function(body: Any, module: str) -> Any:
    body.__module__ = module
    return kernel(body)


def test_one_line_for_a_kernel_and_all_that_it_calls(told: list[str]) -> None:
    inner = _function(lambda x: x + 1, "graphbp_numba.somewhere")
    outer = _function(lambda x: inner(x) * 2, "graphbp_numba.somewhere")
    outer.compile("int64(int64)")
    assert told == ["compiling kernels, once", "done"]


def test_no_line_for_other_peoples_functions(told: list[str]) -> None:
    _function(lambda x: x + 1, "somebody").compile("int64(int64)")
    assert told == []


def test_the_line_is_taken_away_where_compilation_fails(told: list[str]) -> None:
    failing = _function(lambda x: x.nowhere, "graphbp_numba.somewhere")
    with pytest.raises(Exception, match="nowhere"):
        failing.compile("int64(int64)")
    assert told == ["compiling kernels, once", "done"]
