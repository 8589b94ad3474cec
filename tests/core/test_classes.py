"""How many classes outputs tell apart, by the error and their number."""

from __future__ import annotations

import numpy as np
import pytest

from graphbp.classes import found_in, n_classes, number, shown
from graphbp.error_functions import get_error_function
from graphbp.exceptions import DataError


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


@pytest.mark.parametrize(("n", "found"), [(1, ["b"]), (2, ["b"]), (3, ["c", "b", "a"]), (4, ["c", "b", "a"])])
def test_categories_not_in_use_are_left_out_only_where_there_are_too_many(n, found):
    assert found_in(np.array(["b", "b"], object), ["c", "b", "a"], n) == found


def test_a_message_shows_twenty_classes_and_how_many_there_are():
    twenty = ", ".join(map(repr, range(20)))
    assert shown(range(20)) == twenty
    assert shown(range(21)) == f"{twenty}, ... (21 in all)"


def test_the_first_unknown_label_is_named_with_its_row():
    assert number(np.array([2, 1.0, 2]), [1, 2], "T", str).tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="T row 2 is 'z', which is not one of the network's classes: 'a', 'b'"):
        number(np.array(["a", "b", "z", "y"]), ["a", "b"], "T", "row {}".format)
