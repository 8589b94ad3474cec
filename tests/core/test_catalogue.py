"""What gb.backends(), gb.activations() and gb.error_functions() say."""

from __future__ import annotations

import graphbp as gb
from graphbp.activations import activation_table
from graphbp.error_functions import error_table


def test_every_row_is_listed() -> None:
    assert set(gb.activations()) >= {row.name for row in activation_table}
    assert set(gb.error_functions()) == {row.name for row in error_table}
    assert gb.backends()["numpy"].available


def test_each_prints_as_a_table() -> None:
    for table in (gb.backends(), gb.activations(), gb.error_functions()):
        lines = repr(table).splitlines()
        assert [line.split()[0] for line in lines] == list(table)
        assert all(len(line.split()) > 1 for line in lines)
    assert "canonical with sigmoid" in repr(gb.error_functions())
