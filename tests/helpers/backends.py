"""A backend in host memory to derive fakes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphbp.protocols import Availability


class HostBackend:
    """Available, computes nothing."""

    name = "host"

    def availability(self) -> Availability:
        return Availability(True)

    def compile(self, *args: Any) -> Any:
        raise AssertionError("never asked")

    def owns(self, array: Any) -> bool:
        return False

    def asarray(self, array: Any, dtype: Any) -> Any:
        return np.ascontiguousarray(array, dtype)

    def to_numpy(self, array: Any) -> Any:
        return array
