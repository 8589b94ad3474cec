"""The how-to's backend, taken from the page as it stands, passes the kit."""

from __future__ import annotations

import re
from pathlib import Path

from graphbp.testing import check_backend, zoo

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-backend.md"


def test_the_backend_of_the_how_to_passes():
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S) if "PlainBackend" in block
    )
    scope = {"__name__": "graphbp_plain"}
    exec(compile(code, str(PAGE), "exec"), scope)
    networks = [case for case in zoo() if not case.name.startswith("activation-") and case.name not in ("large", "chain", "wide")]
    table = check_backend(scope["backend"], networks)
    refused = {cell.quantity for cell in table.cells if cell.status == "refused"}
    assert "hessian" in refused
    assert not refused & {"forward", "gradient", "jacobian", "weight_jacobian", "vjp", "jvp", "per_sample_gradient", "same_bits"}
