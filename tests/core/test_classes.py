"""How many classes outputs tell apart, by the error and their number."""

from __future__ import annotations

import pytest

from graphbp.classes import n_classes
from graphbp.error_functions import get_error_function


@pytest.mark.parametrize(
    ("error", "k", "count"),
    [
        ("cross_entropy", 1, 0),
        ("cross_entropy", 2, 2),
        ("cross_entropy", 5, 5),
        ("binary_cross_entropy", 1, 2),
        ("binary_cross_entropy", 2, 0),
        ("sum_of_squares", 1, 0),
        ("poisson", 3, 0),
    ],
)
def test_number_of_classes(error, k, count):
    assert n_classes(get_error_function(error), k) == count
