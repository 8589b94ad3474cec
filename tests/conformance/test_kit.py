"""The kit itself: planted faults are caught by name, tables print, absences are told, nothing needs pytest."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import graphbp as gb
from graphbp.activations import activation_table
from graphbp.error_functions import error_table
from graphbp.extend import Availability, NotSupportedError
from graphbp.registry import backend_names, get_backend
from graphbp.testing import ConformanceError, check_backend, relative_difference, run_parity, tolerance, zoo
from graphbp.testing.faults import FAULTS, Fault, FaultyBackend


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught_by_name(name):
    fault = FAULTS[name]
    backend = FaultyBackend(name, fault)
    table = run_parity([backend], [fault.network], dtypes=["float64"])
    failed = {cell.quantity for cell in table.failures}
    assert set(fault.caught_by) <= failed, f"{failed} failed"
    with pytest.raises(ConformanceError, match=re.escape(f"{backend.name} float64 {fault.network} {fault.caught_by[0]}")):
        table.raise_failures()
    assert f"FAILED {backend.name}" in str(table)
    assert backend.name not in backend_names(), "it is registered only while it is checked"


def test_without_a_fault_the_same_wrapper_passes():
    backend = FaultyBackend("nothing", Fault("", (), schedule=lambda s: s, call=lambda c: c.result()))
    networks = {fault.network for fault in FAULTS.values()}
    assert check_backend(backend, networks).ok


def test_the_worst_parameter_is_named():
    """The last parameter of this graph, whose sign is flipped, is the bias of node h's successor y."""
    table = run_parity([FaultyBackend("flipped sign", FAULTS["flipped sign"])], ["xor"], ["gradient"], ["float64"])
    assert "worst at bias of node 'y'" in table.failures[0].note


def test_every_row_of_the_tables_is_in_the_zoo():
    """A row added to a table is tested in every backend, without a second list."""
    names = {case.name for case in zoo()}
    for row in activation_table:
        assert not row.builtin or not row.elementwise or f"activation-{row.name}" in names
    for error in error_table:
        assert not error.builtin or f"{error.name}-{error.canonical}" in names
        assert not error.builtin or any(n.startswith(f"{error.name}-") and not n.endswith(str(error.canonical)) for n in names)


class Lacking:
    """NumPy's backend without some activation, without most methods, or not installed at all."""

    def __init__(self, name, *, without=None, state=None, methods=None):
        self.name, self._without, self._state, self._methods = name, without, state, methods
        inner = get_backend("numpy")
        self.owns, self.asarray, self.to_numpy = inner.owns, inner.asarray, inner.to_numpy

    def availability(self):
        return self._state or Availability(True)

    def compile(self, schedule, error, dtype):
        if self._without in [row.name for row in schedule.activations]:
            raise NotSupportedError(f"backend {self.name!r} has no activation {self._without!r}")
        executable = get_backend("numpy").compile(schedule, error, dtype)
        if self._methods is None:
            return executable
        return type("Few", (), {name: getattr(executable, name) for name in self._methods})()


def test_an_activation_that_a_backend_lacks_is_refused_by_name():
    table = run_parity([Lacking("young", without="gelu")], ["activation-gelu", "activation-tanh"], ["gradient"], ["float64"])
    assert [cell.status for cell in table.cells] == ["refused", "ok"]
    assert "refused: backend 'young' has no activation 'gelu'" in str(table)


def test_composed_quantities_are_marked():
    few = Lacking("few", methods=["forward", "error_and_gradient", "vjp"])
    table = run_parity([few], ["mixed"], dtypes=["float64"])
    assert table.ok
    status = {cell.quantity: (cell.status, cell.composed) for cell in table.cells}
    assert status["gradient"] == ("ok", False)
    assert status["jvp"] == status["weight_jacobian"] == status["per_sample_gradient"] == ("ok", True)
    assert status["hessian"][0] == status["trace"][0] == "refused"
    assert "+ composed by the core" in str(table)


def test_an_absent_backend_is_told_and_not_passed():
    away = Lacking("away", state=Availability(False, reason="no device", install="pip install device"))
    table = run_parity([away, "numpy"], ["xor"], ["forward"])
    assert "away: unavailable, no device; install it: pip install device" in str(table)
    with pytest.raises(NotSupportedError, match="was not checked: no device"):
        check_backend(away, ["xor"])


def test_tables():
    table = run_parity(["numpy"], ["xor", "tied"], ["forward", "gradient", "adjoint"])
    assert table
    assert len(table.cells) == 12
    assert table.table("network").splitlines()[1].startswith("xor")
    assert "12 comparisons, 0 failed" in str(table)


def test_unknown_names():
    with pytest.raises(gb.UnknownNameError, match="did you mean 'gradient'"):
        run_parity(["numpy"], ["xor"], ["gradien"])
    with pytest.raises(gb.UnknownNameError, match="network of the zoo 'xro'"):
        run_parity(["numpy"], ["xro"])
    with pytest.raises(gb.UnknownNameError, match="backend 'numpi'"):
        run_parity(["numpi"], ["xor"])


def test_relative_difference():
    assert relative_difference([1, 2], [1, 2]) == 0
    assert relative_difference(np.zeros((2, 0)), np.zeros((2, 0))) == 0
    assert relative_difference([0.5], [0.0]) == 0.5
    assert relative_difference([1], [[1]]) == np.inf
    assert relative_difference([np.nan, 1], [1, 1]) == np.inf
    assert relative_difference([np.nan, 2], [np.nan, 1]) == 1
    assert relative_difference(np.float32([1e30]), np.float32([3e38])) > 0.9
    assert tolerance("any", "float32", "first").reason


def test_the_kit_needs_no_pytest():
    code = "import sys; sys.modules['pytest'] = None; import graphbp.testing as t; print(t.check_backend('numpy', ['xor']))"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert "0 failed" in found.stdout, found.stderr
