"""The conformance kit: what a backend must compute, as a zoo of networks, quantities, checks and tolerances.

For the author of a backend, the whole kit is one call, which needs no pytest:

    import graphbp.testing
    print(graphbp.testing.check_backend("mine"))       # ConformanceError names what disagrees

With pytest, a test for each network:

    @pytest.mark.parametrize("case", graphbp.testing.cases(), ids=str)
    def test_network(case):
        graphbp.testing.check_backend("mine", [case])

===============  =====================================================================================
`zoo`            networks with data (`Case`), each with one awkward feature
`data`           real networks, where their files are present
`quantities`     what is compared with the definition, the NumPy backend in float64
`checks`         what must hold of one backend alone: identities, bits, untouched inputs
`tolerances`     the one table of tolerances
`parity`         the matrix, as a table; `check_backend`
`oracles`        what the definition itself is compared with: complex step, mpmath
`faults`         backends with a planted fault, which prove that the kit catches it
===============  =====================================================================================
"""

from __future__ import annotations

from graphbp.testing.case import Case
from graphbp.testing.checks import CHECKS, Check
from graphbp.testing.data import data_dir, real_cases
from graphbp.testing.parity import Cell, ConformanceError, ParityTable, check_backend, run_parity
from graphbp.testing.quantities import QUANTITIES, Quantity
from graphbp.testing.tolerances import TOLERANCES, Tolerance, relative_difference, tolerance
from graphbp.testing.zoo import cases, find_cases, zoo

__all__ = [
    "CHECKS",
    "QUANTITIES",
    "TOLERANCES",
    "Case",
    "Cell",
    "Check",
    "ConformanceError",
    "ParityTable",
    "Quantity",
    "Tolerance",
    "cases",
    "check_backend",
    "data_dir",
    "find_cases",
    "real_cases",
    "relative_difference",
    "run_parity",
    "tolerance",
    "zoo",
]
