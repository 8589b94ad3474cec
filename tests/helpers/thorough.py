"""Which tests wait for `pytest --all`, and how many random cases the others draw until then.

`@pytest.mark.thorough` keeps a test, or one `pytest.param`, for `--all`.  `@pytest.mark.sampled` keeps of a test's cases as few as show
each value of each parameter once, `sampled(8)` eight that are spread over the list; the others are thorough.  `@drawn(500)` on a
Hypothesis test draws 500 examples with `--all` and a tenth of them, or 20, without.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import settings

WHOLE = False
"""Whether `--all` was given; conftest says so before any test is imported."""
FEWEST = 20


def drawn(examples: int) -> Callable[[Any], Any]:
    """So many examples of a Hypothesis test with --all ($GRAPHBP_EXAMPLES instead, where it is set), a tenth, or 20, without."""

    def decorate(test: Any) -> Any:
        return pytest.mark.drawn(settings(max_examples=amount(examples), deadline=None)(test))

    return decorate


def amount(whole: int) -> int:
    """`whole` with --all, a tenth of it without."""
    asked = int(os.environ.get("GRAPHBP_EXAMPLES", "0"))
    return asked or (whole if WHOLE else min(whole, max(whole // 10, FEWEST)))


def mark(items: Iterable[pytest.Item]) -> None:
    """Make `thorough` what `sampled` leaves out, and with --all what was drawn smaller without."""
    cases: dict[tuple[Any, str], list[Any]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sampled"):
            cases[item.parent, getattr(item, "originalname", item.name)].append(item)
        if WHOLE and item.get_closest_marker("drawn"):
            item.add_marker("thorough")
    for group in cases.values():
        count = group[0].get_closest_marker("sampled").args
        chosen = _spread(group, *count) if count else _each_value_once(group)
        for item in group:
            if not any(item is other for other in chosen):
                item.add_marker("thorough")


def _spread(group: list[Any], count: int) -> list[Any]:
    if count >= len(group):
        return group
    return [group[k * (len(group) - 1) // max(count - 1, 1)] for k in range(count)]


def _each_value_once(group: list[Any]) -> list[Any]:
    values = {item: {(name, id(value)) for name, value in item.callspec.params.items()} for item in group}
    chosen, missing = [], set().union(*values.values())
    while missing:
        best = max(group, key=lambda item: len(values[item] & missing))
        chosen.append(best)
        missing -= values[best]
    return chosen
