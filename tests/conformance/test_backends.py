"""Every backend × network × quantity × dtype against the definition, and what must hold of each backend alone."""

from __future__ import annotations

import pytest

from graphbp.registry import backend_names
from graphbp.testing import check_backend, data_dir, real_cases, zoo


@pytest.mark.parametrize("case", zoo(), ids=str)
@pytest.mark.parametrize("backend", backend_names())
def test_backend_agrees_on(backend, case, usable):
    table = check_backend(usable(backend), [case])
    assert len(table.cells) > 40
    refused = {cell.quantity for cell in table.cells if cell.status == "refused"}
    assert not refused, f"{backend} refuses {sorted(refused)}"


REAL = real_cases()


@pytest.mark.sampled(6)
@pytest.mark.skipif(not REAL, reason=f"no real networks: {data_dir() or 'set GRAPHBP_DATA to the folder that holds them'}")
@pytest.mark.parametrize("case", REAL, ids=str)
@pytest.mark.parametrize("backend", backend_names())
def test_backend_agrees_on_real(backend, case, usable):
    check_backend(usable(backend), [case])
