"""The how-to's backend, taken from the page as it stands, passes the kit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import graphbp as gb
from graphbp.testing import cases, check_backend, zoo

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-backend.md"


@pytest.fixture(scope="module")
def backend():
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S) if "PlainBackend" in block
    )
    scope = {"__name__": "graphbp_plain"}
    exec(compile(code, str(PAGE), "exec"), scope)
    return scope["backend"]


SOME = [case for case in zoo() if not case.name.startswith("activation-") and case.name not in ("large", "chain", "wide")]
NETWORKS = [case for case in SOME if not len(case.definition.schedule.combinations)]


@pytest.mark.sampled(10)
@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_the_backend_of_the_how_to_passes(backend, case):
    table = check_backend(backend, [case])
    refused = {cell.quantity for cell in table.cells if cell.status == "refused"}
    assert ("hessian" in refused) == (case.second_order and case.definition.n_parameters > 0)  # of no parameter it is 0 × 0
    assert not refused & {"forward", "gradient", "jacobian", "weight_jacobian", "vjp", "jvp", "per_sample_gradient", "same_bits"}


def test_it_is_given_no_nodes_that_combine(backend):
    (case,) = cases("ties")
    with pytest.raises(
        gb.NotSupportedError, match=r"backend 'plain' computes weighted sums only, and node 'm[a-z]+' multiplies or chooses"
    ):
        case.definition.model.to(backend, np.dtype(np.float64))
