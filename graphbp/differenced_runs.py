"""What runs a network that is differenced: float64 on its own backend, or complex numbers on NumPy's sweeps; in raw units where asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.compose import Composed
from graphbp.exceptions import NotSupportedError
from graphbp.registry import get_backend

if TYPE_CHECKING:
    from graphbp.network import Network
    from graphbp.scaling import Scaling

__all__ = ["RawUnits", "executable_of", "not_analytic"]

Array = npt.NDArray[Any]


def not_analytic(net: Network) -> list[str]:
    """The activations of the network that the complex step cannot differentiate, each with a node that has it."""
    s = net.schedule.live
    found = []
    for k, row in enumerate(s.activations):
        rows = np.flatnonzero(s.row_activation == k)
        rows = rows[rows >= s.n_inputs]
        if not row.analytic and len(rows):
            found.append(f"{row.name!r} (node {s.describe_row(int(rows[0]))})")
    return found


def executable_of(net: Network, method: str) -> tuple[Any, Array]:
    """(executable, θ) in which E is differenced: float64 on the network's own backend, or complex on NumPy's sweeps."""
    theta = np.array(net.weights, np.float64)
    if method == "complex_step":
        if bad := not_analytic(net):
            raise NotSupportedError(f'complex_step needs analytic activations, and {", ".join(bad)} is not; use method="central"')
        live = net.schedule.live
        executable = get_backend("numpy").compile(live, net.error_function, np.dtype(np.complex128))
        return Composed(executable, live, "numpy"), theta
    wide = net if net.dtype == np.float64 else net.to(dtype="float64")
    return _OnHost(wide), theta


class _OnHost:
    """The executable of a float64 network, called with and returning NumPy arrays."""

    def __init__(self, net: Network) -> None:
        self._run, self._backend = net.model.run, net.model.backend

    def _put(self, *arrays: Any) -> list[Any]:
        return [None if a is None else self._backend.asarray(a, np.dtype(np.float64)) for a in arrays]

    def forward(self, *args: Any) -> Array:
        return self._backend.to_numpy(self._run.forward(*self._put(*args)))

    def error(self, *args: Any) -> float:
        return float(self._run.error(*self._put(*args)))

    def jacobian(self, *args: Any) -> Array:
        return self._backend.to_numpy(self._run.jacobian(*self._put(*args)))

    def vjp(self, *args: Any) -> tuple[Array, Array]:
        by_x, by_theta = self._run.vjp(*self._put(*args))
        return self._backend.to_numpy(by_x), self._backend.to_numpy(by_theta)

    def error_and_gradient(self, *args: Any) -> tuple[float, Array]:
        value, gradient = self._run.error_and_gradient(*self._put(*args))
        return value, self._backend.to_numpy(gradient)


class RawUnits:
    """An executable's forward sweep between raw x and raw y, and its Jacobian."""

    def __init__(self, run: Any, scaling: Scaling) -> None:
        self._run, self._scaling = run, scaling

    def forward(self, theta: Array, x: Array) -> Array:
        """y (N, K)."""
        inputs, outputs = self._scaling.inputs, self._scaling.outputs
        y = self._run.forward(theta, x if inputs is None else np.ascontiguousarray(inputs.inward(x)))
        return y if outputs is None else outputs.outward(y, y.dtype)  # type: ignore[no-any-return]

    def jacobian(self, theta: Array, x: Array) -> Array:
        """∂y/∂x (N, K, D)."""
        inputs, outputs = self._scaling.inputs, self._scaling.outputs
        J = self._run.jacobian(theta, x if inputs is None else np.ascontiguousarray(inputs.inward(x)))
        J = J if outputs is None else J * outputs.scale[:, None]
        return J if inputs is None else J / inputs.scale  # type: ignore[no-any-return]
