"""The campaign of `tests/campaign`, in small: some hundred drawn networks, every case it once found, and faults that it must find."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from campaign.compare import examine
from campaign.draw import draw
from campaign.found import FOUND
from campaign.reference import Reference
from campaign.shrink import program, shrink

import graphbp as gb
from graphbp.registry import backend_names, register_backend, unregister_backend
from graphbp.testing.faults import Fault, FaultyBackend, _on_gradient, _with_activation

BACKENDS = [name for name in backend_names() if name != "cupy" and gb.backends()[name].available]  # CUDA's simulator is too slow


@pytest.mark.parametrize("part", range(10))
def test_nothing_is_wrong_with_drawn_networks(part):
    wrong = []
    for index in range(25 * part, 25 * part + 25):
        wrong += [(index, finding) for finding in examine(draw([0, index]), BACKENDS)]
    assert not wrong, f"python -m tests.campaign --case 0,{wrong[0][0]} makes it small"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_gone(name, backend):
    assert not examine(FOUND[name], [backend])


def test_the_reference_is_that_of_the_closed_form():
    """y = σ(w x + b) under cross-entropy: E = ln(1 + e^a) − t a, ∇E = (y − t)(x, 1), H = y (1 − y)(x, 1)(x, 1)ᵀ."""
    case = FOUND["sigmoid far on the side of its target: gradient"]
    case.graph.nodes["y"]["bias"] = 0.25
    ref = Reference(case.graph, case.error, "float64", [[-3.0]], [[1.0]])
    a, x = 3.25, np.array([-3.0, 1.0])
    p = 1 / (1 + np.exp(a))
    for part, expected in (
        (ref.error_value(), np.log1p(np.exp(-a))),
        (ref.gradient(), -p * x),
        (ref.hessian(), p * (1 - p) * np.outer(x, x)),
    ):
        np.testing.assert_allclose(part.v, expected, rtol=1e-14)
        assert (part.e < 1e-13).all()


FAULTS = {
    "a sign": Fault("", (), call=_on_gradient(lambda schedule, g: g * np.where(np.arange(len(g)) == len(g) - 1, -1, 1))),
    "a digit": Fault("", (), call=_on_gradient(lambda schedule, g: g * g.dtype.type(1 + 1e-4))),
    "no second derivative of tanh": Fault(
        "", (), schedule=_with_activation(lambda h: dataclasses.replace(h, d2f=lambda a: 0 * a) if h.name == "tanh" else h)
    ),
    "an edge that is not there": Fault("", (), schedule=lambda s: dataclasses.replace(s, out_ptr=_without_last(s.out_ptr))),
}


def _without_last(ptr):
    out = ptr.copy()
    out[-1] = max(out[-1] - 1, out[-2])
    return out


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_made_small(name):
    backend = FaultyBackend(name, FAULTS[name])
    register_backend(backend)
    try:
        index, case, found = next(
            (index, case, found) for index in range(300) if (found := examine(case := draw([0, index]), [backend.name]))
        )
        small, finding = shrink(case, found[0], seconds=5)
        assert len(small.graph) <= 4
        assert finding.quantity in program(small, finding) or "net." in program(small, finding)
    finally:
        unregister_backend(backend.name)
