r"""Numerical differentiation: what backpropagation is checked with, O(W²) where backpropagation is O(W).

==============  ======================================================  =================================
forward         ∂E/∂w = (E(w + ε) − E(w)) / ε + O(ε)                     ε = (1 + |w|) √u
central         ∂E/∂w = (E(w + ε) − E(w − ε)) / 2ε + O(ε²)               ε = (1 + |w|) u^(1/3)
complex_step    ∂E/∂w = Im E(w + iε) / ε + O(ε²), no cancellation        ε = 1e-100
==============  ======================================================  =================================

Where a function is so steep that the central difference's ε² counts, `net.check` extrapolates D(ε) and D(ε/2) to step 0 (Richardson):
(4 D(ε/2) − D(ε)) / 3 is off by O(ε⁴), and by three times the round-off.

u is the unit round-off of float64, and the step follows each weight's size (Bishop & Bishop, section 8.1.4, for the first two;
Squire & Trapp 1998 for the third).  Differences are always taken in float64: a float32 network is compiled once more in float64, at
the same θ, on the same backend, because in float32 the round-off in E would hide what is looked for.  The complex step runs on the
NumPy backend's sweeps, which accept complex numbers, and needs every activation to be analytic; it is refused by name otherwise.

Each weight costs one or two evaluations of E, so networks too large for that are tested along random directions instead:
`directional_derivative` takes two evaluations a direction, whatever W is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from graphbp import data
from graphbp.exceptions import NotSupportedError, unknown_name
from graphbp.registry import get_backend

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = [
    "EXTRAPOLATED",
    "METHODS",
    "Method",
    "differences",
    "directional_derivative",
    "not_analytic",
    "numerical_gradient",
    "numerical_hessian",
    "numerical_jacobian",
    "numerical_weight_jacobian",
]

Array = npt.NDArray[Any]
Method = Literal["forward", "central", "complex_step"]
METHODS: tuple[str, ...] = get_args(Method)
EXTRAPOLATED = "extrapolated"
"""What refines "central"; not a method to ask a network for."""

UNIT = float(np.finfo(np.float64).eps)
COMPLEX_STEP = 1e-100


def numerical_gradient(net: Network, X: Any, T: Any, sample_weight: Any = None, *, method: str = "central") -> Array:
    """∂E/∂θ (W,) by differencing E weight by weight, in float64 (see the module).

    Raises
    ------
    UnknownNameError : `method` is not "forward", "central" or "complex_step".
    NotSupportedError : complex_step, and an activation is not analytic; it is named with a node that has it.

    Examples
    --------
    >>> import networkx as nx, graphbp as gb
    >>> net = gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0})]), backend="numpy")
    >>> net.numerical_gradient([[3.0]], [[1.0]], method="complex_step")  # (y - t) x = 5 * 3
    array([15.])
    """
    run, theta, batch = _problem(net, X, T, sample_weight, method)
    return differences(lambda w: run.error(w, *batch), theta, method)


def numerical_hessian(net: Network, X: Any, T: Any, sample_weight: Any = None, *, method: str = "central") -> Array:
    """∂²E/∂θ∂θ (W, W) by differencing the gradient: column a is ∂(∂E/∂θ)/∂θ_a."""
    run, theta, batch = _problem(net, X, T, sample_weight, method)
    return differences(lambda w: run.error_and_gradient(w, *batch)[1], theta, method)


def numerical_jacobian(net: Network, X: Any, *, method: str = "central") -> Array:
    """∂y_k/∂x_i (N, K, D) by differencing the outputs input by input, all samples at once."""
    run, theta, x = _outputs(net, X, method)
    columns = []
    for i in range(x.shape[1]):

        def along(step: Array, i: int = i) -> Array:
            moved = x.astype(np.result_type(x, step))
            moved[:, i] += step
            return np.asarray(run.forward(theta.astype(moved.dtype), moved))

        columns.append(_difference(along, _step(x[:, i], method), method))
    return np.stack(columns, axis=-1)


def numerical_weight_jacobian(net: Network, X: Any, *, method: str = "central") -> Array:
    """∂y_k/∂θ (N, K, W) by differencing the outputs weight by weight."""
    run, theta, x = _outputs(net, X, method)
    return differences(lambda w: run.forward(w, x.astype(w.dtype)), theta, method)


def directional_derivative(along: Callable[[float], Any], *, scale: float = 1.0, method: str = "central") -> Array:
    """d f(s)/ds at 0 by central differences: for directional tests, two evaluations whatever W is; `scale` is s's natural size."""
    return _difference(lambda step: np.asarray(along(step)), scale * UNIT ** (1 / 3), method)


def differences(f: Callable[[Array], Any], theta: Array, method: str = "central") -> Array:
    """∂f/∂θ, θ along the last axis: f is called with θ moved in one weight at a time.

    >>> differences(lambda w: w[0] * w[1], np.array([2.0, 3.0]), "complex_step")
    array([3., 2.])
    """
    _check_method(method)
    if not len(theta):
        return np.zeros((*np.shape(f(theta)), 0))
    steps = _step(theta, method)
    columns = []
    for a in range(len(theta)):

        def along(step: Array, a: int = a) -> Any:
            moved = theta.astype(np.result_type(theta, step))
            moved[a] += step
            return f(moved)

        columns.append(_difference(along, steps[a], method))
    return np.stack(columns, axis=-1)


def _step(values: Array, method: str) -> Array:
    """ε for each value: relative to it where it is large, absolute where it is small; a power of two, so that w ± ε is exact."""
    if method == "complex_step":
        return np.full(values.shape, COMPLEX_STEP)
    step: Array = (1 + np.abs(values)) * UNIT ** (1 / 2 if method == "forward" else 1 / 3)
    return np.exp2(np.round(np.log2(step)))


def _difference(along: Callable[[Any], Any], step: Any, method: str) -> Array:
    """df/ds from f(s) = along(s); `step` is a number, or one a sample where f's first axis is samples."""
    if method == "complex_step":
        return np.asarray(np.imag(along(1j * step)) / _aligned(step))
    if method == "forward":
        return np.asarray((along(step) - along(0 * step)) / _aligned(step))
    if method == EXTRAPOLATED:
        half, whole = (_difference(along, size, "central") for size in (step / 2, step))
        return np.asarray((4 * half - whole) / 3)
    return np.asarray((along(step) - along(-step)) / _aligned(2 * step))


def _aligned(step: Any) -> Any:
    """A step for each sample as a column, so that it divides (N, K)."""
    return step[:, None] if np.ndim(step) else step


def _check_method(method: str) -> None:
    if not isinstance(method, str) or method not in (*METHODS, EXTRAPOLATED):
        raise unknown_name("method of differentiation", method, METHODS)


def not_analytic(net: Network) -> list[str]:
    """The activations of the network that the complex step cannot differentiate, each with a node that has it."""
    s = net.schedule
    found = []
    for k, row in enumerate(s.activations):
        rows = np.flatnonzero(s.row_activation == k)
        rows = rows[rows >= s.n_inputs]
        if not row.analytic and len(rows):
            found.append(f"{row.name!r} (node {s.describe_row(int(rows[0]))})")
    return found


def _executable(net: Network, method: str) -> tuple[Any, Array]:
    """(executable, θ) in which E is differenced: float64 on the network's own backend, or complex on NumPy's sweeps."""
    _check_method(method)
    theta = np.array(net.weights, np.float64)
    if method == "complex_step":
        if bad := not_analytic(net):
            raise NotSupportedError(f'complex_step needs analytic activations, and {", ".join(bad)} is not; use method="central"')
        return get_backend("numpy").compile(net.schedule, net.error_function, np.dtype(np.complex128)), theta
    wide = net if net.dtype == np.float64 else net.to(dtype="float64")
    return _OnHost(wide), theta


class _OnHost:
    """The executable of a float64 network, called with and returning NumPy arrays."""

    def __init__(self, net: Network) -> None:
        self._run, self._backend = net._run, net._backend

    def _put(self, *arrays: Any) -> list[Any]:
        return [None if a is None else self._backend.asarray(a, np.dtype(np.float64)) for a in arrays]

    def forward(self, *args: Any) -> Array:
        return self._backend.to_numpy(self._run.forward(*self._put(*args)))

    def error(self, *args: Any) -> float:
        return float(self._run.error(*self._put(*args)))

    def error_and_gradient(self, *args: Any) -> tuple[float, Array]:
        value, gradient = self._run.error_and_gradient(*self._put(*args))
        return value, self._backend.to_numpy(gradient)


def _problem(net: Network, X: Any, T: Any, sample_weight: Any, method: str) -> tuple[Any, Array, tuple[Any, ...]]:
    run, theta = _executable(net, method)
    host, wide = get_backend("numpy"), np.dtype(np.float64)
    # through the network's own dtype first, so that both sides see the same numbers
    x = data.as_inputs(X, net.schedule, host, net.dtype)
    t = data.as_targets(T, len(x), net.schedule, net.error_function, host, net.dtype)
    s = data.as_sample_weight(sample_weight, len(x), host, net.dtype)
    batch = (x.astype(wide), t.astype(wide), None if s is None else s.astype(wide))
    return run, theta, batch


def _outputs(net: Network, X: Any, method: str) -> tuple[Any, Array, Array]:
    run, theta = _executable(net, method)
    return run, theta, data.as_inputs(X, net.schedule, get_backend("numpy"), net.dtype).astype(np.float64)
