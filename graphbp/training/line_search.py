"""A step length: where F has fallen enough and its slope has flattened (the strong Wolfe conditions), by cubic interpolation.

    F(α) ≤ F(0) + 10⁻⁴ α F'(0),      |F'(α)| ≤ 0.9 |F'(0)|

Close to a minimum F(α) − F(0) is rounding, while F' still has digits.  There the first condition is asked of the slope instead, as
Hager & Zhang (2005) do: F'(α) ≤ (2·10⁻⁴ − 1) F'(0), where F(α) ≤ F(0) + what rounding hides.  A place where F is not finite is too far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from graphbp.training.objective import Point

__all__ = ["search"]

FALL, FLAT = 1e-4, 0.9
EVALUATIONS = 60
"""A first step from weights of 1e-12 may have to grow tenfold many times."""


@dataclass(frozen=True)
class _Trial:
    length: float
    value: float
    slope: float


def search(
    at: Callable[[float], Point], slope_of: Callable[[Point], float], start: Point, first: float, hidden: float
) -> Point | None:
    """The point at an acceptable length, or None where there is none; `hidden` is what rounding hides of F.

    `at(α)` is the point at length α, `slope_of(point)` F' along the direction; `first` is the length to try first.
    """
    unit = abs(slope_of(start))
    if not 0 < unit < math.inf:
        return None

    def trial(length: float, point: Point) -> _Trial:
        """F − F(0) and F' as multiples of |F'(0)|: their squares stay in range."""
        if not point.finite:
            return _Trial(length, math.inf, math.inf)
        return _Trial(length, (point.value - start.value) / unit, slope_of(point) / unit)

    zero = low = trial(0.0, start)
    high: _Trial | None = None
    length, hidden = first, hidden / unit
    for _ in range(EVALUATIONS):
        point = at(length)
        now = trial(length, point)
        if point.finite and _falls(zero, now, hidden) and abs(now.slope) <= FLAT * abs(zero.slope):
            return point
        beyond = not _falls(zero, now, hidden) or now.value > low.value + hidden or now.slope >= 0
        if beyond:
            high = now
        else:
            low = now
        if high is None:
            length = _ahead(zero, now)
        else:
            if high.length - low.length <= 1e-12 * high.length:
                break
            length = _between(low, high)
    if low.length > 0 and low.value < zero.value:
        return at(low.length)  # a fall, if not a flat one
    return None


def _falls(zero: _Trial, now: _Trial, hidden: float) -> bool:
    if now.value <= zero.value + FALL * now.length * zero.slope:
        return True
    return now.value <= zero.value + hidden and now.slope <= (2 * FALL - 1) * zero.slope


def _ahead(zero: _Trial, now: _Trial) -> float:
    """Where the slope, going on as it went, would vanish; at most ten times as far."""
    bend = now.slope - zero.slope
    step = now.length * zero.slope / -bend if bend > 0 else math.inf
    return min(max(step, 2 * now.length), 10 * now.length)


def _between(low: _Trial, high: _Trial) -> float:
    """The minimum of the cubic through both ends, kept off them; a tenth of the way where its numbers are not finite."""
    width = high.length - low.length
    chord = 3 * (low.value - high.value) / width + low.slope + high.slope
    square = chord * chord - low.slope * high.slope
    if not math.isfinite(square):
        return low.length + 0.1 * width
    inside = 0.5
    if square >= 0:
        root = math.sqrt(square)
        bottom = high.slope - low.slope + 2 * root
        inside = 1 - (high.slope + root - chord) / bottom if bottom else 0.5
    return low.length + width * min(max(inside, 0.1), 0.9)
