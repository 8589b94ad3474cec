"""The campaign of `tests/campaign`, in small: some hundred drawn networks, every case it once found, and faults that it must find."""

from __future__ import annotations

import numpy as np
import pytest

import graphbp as gb
from campaign.compare import asked, examine
from campaign.draw import draw
from campaign.found import FOUND
from campaign.reference import Reference
from campaign.shrink import program, shrink
from graphbp.registry import backend_names, register_backend, unregister_backend
from graphbp.testing.faults import FAULTS, FaultyBackend

BACKENDS = [name for name in backend_names() if name != "cupy" and gb.backends()[name].available]  # CUDA's simulator is too slow


@pytest.mark.sampled(2)
@pytest.mark.parametrize("part", range(20))
def test_nothing_is_wrong_with_drawn_networks(part):
    wrong = []
    for index in range(10 * part, 10 * part + 10):
        wrong += [(index, finding) for finding in examine(draw([0, index]), BACKENDS, asked([0, index]))]
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


@pytest.fixture
def planted():
    """A function that registers the NumPy backend with one of the kit's faults, for the test."""
    names = []

    def plant(name):
        backend = FaultyBackend(name, FAULTS[name])
        register_backend(backend)
        names.append(backend.name)
        return backend.name

    yield plant
    for name in names:
        unregister_backend(name)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name, planted):
    backend = planted(name)
    assert any(examine(draw([0, index]), [backend], asked([0, index])) for index in range(200))


def test_what_is_wrong_is_made_small_and_printed(planted):
    backend = planted("wrong σ″")
    case, found = next((case, found) for index in range(9) if (found := examine(case := draw([0, index]), [backend], ["hessian"])))
    small, finding = shrink(case, found[0])
    assert len(small.graph) <= 4  # two outputs of one softmax, a hidden unit and an input
    assert len(small.X) == 1
    text = program(small, finding)
    assert f"backend={backend!r}" in text
    assert "print(net.hessian(*batch))  # wrong: " in text
