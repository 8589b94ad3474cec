"""stub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphbp.training.history import History
from graphbp.training.loop import Run


@dataclass
class LeastSquaresFit(History):
    """stub."""

    def describe(self, problem: Any) -> None:
        """stub."""


def levenberg_marquardt(run: Run, options: Any) -> None:
    """stub."""
    raise NotImplementedError
