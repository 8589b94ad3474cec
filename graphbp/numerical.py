r"""Numerical differentiation: what backpropagation is checked with, O(W²) where backpropagation is O(W).

==============  ======================================================  =================================
forward         ∂E/∂w = (E(w + ε) − E(w)) / ε + O(ε)                     ε = ℓ √u
central         ∂E/∂w = (E(w + ε) − E(w − ε)) / 2ε + O(ε²)               ε = ℓ u^(1/3)
complex_step    ∂E/∂w = Im E(w + iε) / ε + O(ε²), no cancellation        ε = 1e-100
==============  ======================================================  =================================

u is the unit round-off of float64 (Bishop & Bishop, section 8.1.4, for the first two; Squire & Trapp 1998 for the third).  ℓ is each
weight's own *length*: what moves the pre-activation of its unit by 1 + |a|,

    ℓ(w_ji) = min_n (1 + |a_jn|) / max_n |z_in|,      ℓ(x_i) = min_j min_n (1 + |a_jn|) / |w_ji|,

so a step means the same whatever units of measure the data have.  ℓ ∂/∂w is a derivative by the pre-activation: the scale on which
derivatives by different weights can be compared.

No step is right for every function.  `Differenced.resolved` takes a difference with several steps, extrapolates each pair D(ε),
D(ε/2) to step 0 (Richardson), and keeps for every entry the one with the smallest bound on its error: what halving the step changed,
and the round-off of what is differenced, seen by moving weights and data by an ulp and divided by ε.

Differences are always taken in float64: a float32 network is compiled once more in float64, at the same θ, on the same backend, because
in float32 the round-off in E would hide what is looked for.  The complex step runs on the NumPy backend's sweeps, which accept complex
numbers, and needs every activation to be analytic; it is refused by name otherwise.

Each weight costs one or two evaluations of E, so networks too large for that are tested along random directions instead:
`difference_along` takes two evaluations a direction, whatever W is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from graphbp import data, foreign
from graphbp.differenced_runs import RawUnits, executable_of
from graphbp.exceptions import DataError, NotSupportedError, unknown_name
from graphbp.registry import get_backend

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = [
    "METHODS",
    "PROBES",
    "UNIT",
    "Differenced",
    "Method",
    "difference_along",
    "difference_gradient",
    "difference_hessian",
    "difference_input_hessian",
    "difference_jacobian",
    "difference_moving",
    "difference_weight_jacobian",
    "differences",
    "lengths",
    "numerical_gradient",
]

Array = npt.NDArray[Any]
Method = Literal["forward", "central", "complex_step"]
METHODS: tuple[str, ...] = get_args(Method)

UNIT = float(np.finfo(np.float64).eps)
COMPLEX_STEP = 1e-100
POWER = {"forward": 1 / 2, "central": 1 / 3}
"""ε = ℓ u^power balances the method's own error against round-off, for a function that changes over a length ℓ."""
SHRINK = (1.0, 1 / 8, 1 / 64, 1 / 1024, 8.0, 64.0)
"""Steps that `Differenced.resolved` tries, relative to the usual one: smaller for steep functions and near kinks, larger for flat ones."""
PROBES = 4
"""How often a function is evaluated beside the point in question to see its round-off."""


@dataclass(frozen=True)
class Differenced:
    """A derivative by differencing, which can be taken again with other steps and beside the point.

    Attributes
    ----------
    method : "forward", "central" or "complex_step".
    steps : ε; it broadcasts against the derivative, whose last axis is the variables.
    function : function(jitter) is what is differenced; every weight and datum is first moved at random by `jitter` times its size.
    derivative : derivative(shrink, jitter): the same of its derivative, with steps shrink · ε.
    """

    method: str
    steps: Any
    function: Callable[[float], Array]
    derivative: Callable[[float, float], Array]

    @property
    def value(self) -> Array:
        """The derivative with the usual steps."""
        return self.derivative(1.0, 0.0)

    def resolved(self) -> tuple[Array, Array]:
        """(derivative, bound on its error), each entry with the steps that resolve it best."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if self.method == "complex_step":
                value = self.value
                lost = np.finfo(np.float64).tiny / self.steps  # ε times a smaller derivative loses bits
                return value, _spread(lambda jitter: self.derivative(1.0, jitter), value) + lost
            noise = _spread(self.function, self.function(0.0))[..., None]
            tried = [self._extrapolated(shrink, noise) for shrink in SHRINK]
        values, bounds = (np.stack(part) for part in zip(*tried, strict=True))
        best = np.argmin(bounds, axis=0)[None]
        return np.take_along_axis(values, best, 0)[0], np.take_along_axis(bounds, best, 0)[0]

    def _extrapolated(self, shrink: float, noise: Array) -> tuple[Array, Array]:
        """Richardson's value from D(ε) and D(ε/2), and what bounds its error."""
        whole, half = self.derivative(shrink, 0.0), self.derivative(shrink / 2, 0.0)
        gain = 4 if self.method == "central" else 2
        value = (gain * half - whole) / (gain - 1)
        bound = np.abs(whole - half) + 4 * noise / (shrink * self.steps)
        return value, np.where(np.isfinite(value) & np.isfinite(bound), bound, np.inf)


def _spread(function: Callable[[float], Array], here: Array) -> Array:
    """What round-off does to a function: twice the largest change seen when its arguments move by u, and an ulp of its own."""
    moved = [np.abs(np.asarray(function(UNIT)) - here) for _ in range(PROBES)]
    return np.asarray(2 * np.max(moved, axis=0) + UNIT * np.abs(here))


def numerical_gradient(
    net: Network, X: Any, T: Any, sample_weight: Any = None, *, method: str = "central", step: Any = None
) -> Array:
    """∂E/∂θ (W,) by differencing E weight by weight, in float64 (see the module).

    `step` is ε, one number or one a parameter (W,), in place of the module's; the complex step takes it too.  One that rounding takes
    away (1e-20 from 1) gives 0, one from which E leaves the finite NaN.

    Raises
    ------
    UnknownNameError : `method` is not "forward", "central" or "complex_step".
    NotSupportedError : complex_step, and an activation is not analytic; it is named with a node that has it.
    DataError : a step that is not finite and above 0.

    Examples
    --------
    >>> import networkx as nx, graphbp as gb
    >>> net = gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0})]), backend="numpy")
    >>> net.numerical_gradient([[3.0]], [[1.0]], method="complex_step")  # (y - t) x = 5 * 3
    array([15.])
    >>> net.numerical_gradient([[3.0]], [[1.0]], method="forward", step=0.5)  # + x² ε / 2
    array([17.25])
    """
    return difference_gradient(net, X, T, sample_weight, method=method, step=step).value


def difference_gradient(
    net: Network, X: Any, T: Any, sample_weight: Any = None, *, method: str = "central", step: Any = None
) -> Differenced:
    """What `numerical_gradient` evaluates."""
    at = _Point(net, X, method, T, sample_weight)
    return at.by_weights(lambda w, x: at.run.error(w, x, *at.rest), step)


def difference_hessian(net: Network, X: Any, T: Any, sample_weight: Any = None, *, method: str = "central") -> Differenced:
    """∂²E/∂θ∂θ (W, W) by differencing the gradient: column a is ∂(∂E/∂θ)/∂θ_a."""
    at = _Point(net, X, method, T, sample_weight)
    return at.by_weights(lambda w, x: at.run.error_and_gradient(w, x, *at.rest)[1])


def difference_weight_jacobian(net: Network, X: Any, *, method: str = "central") -> Differenced:
    """∂y_k/∂θ (N, K, W) by differencing the outputs weight by weight."""
    at = _Point(net, X, method)
    return at.by_weights(at.run.forward)


def difference_jacobian(net: Network, X: Any, *, method: str = "central") -> Differenced:
    """∂y_k/∂x_i (N, K, D) by differencing the outputs input by input, all samples at once."""
    return _by_inputs(net, X, method, lambda run: run.forward)


def difference_input_hessian(net: Network, X: Any, *, method: str = "central") -> Differenced:
    """∂²y_k/∂x_i∂x_l (N, K, D, D) by differencing ∂y_k/∂x_i input by input."""
    return _by_inputs(net, X, method, lambda run: run.jacobian)


def _by_inputs(net: Network, X: Any, method: str, function: Callable[[Any], Any]) -> Differenced:
    """A function of (θ, X), the executable's, differenced by every input."""
    at = _Point(net, X, method)
    call = function(at.run)
    steps = _step(at.x, at.lengths[1], method)

    def derivative(shrink: float, jitter: float) -> Array:
        theta, x = at.moved(jitter)

        def along(step: Array, i: int) -> Array:
            moved = x.astype(np.result_type(x, step))
            moved[:, i] += step
            return np.asarray(call(theta.astype(moved.dtype), moved))

        columns = [
            _difference(lambda step, i=i: along(step, i), x[:, i], shrink * steps[:, i], method)  # type: ignore[misc]  # a default binds i
            for i in range(x.shape[1])
        ]
        return np.stack(columns, axis=-1)

    by_output = steps[:, *(None,) * (np.ndim(call(at.theta, at.x)) - 1), :]
    return Differenced(method, by_output, lambda jitter: np.asarray(call(*at.moved(jitter))), derivative)


def difference_moving(
    net: Network, X: Any, T: Any, sample_weight: Any, U: Array, v: Array, function: Callable[..., Any]
) -> Differenced:
    """Central differences of function(executable, θ, X, T, s) as θ and X move along v (W,) and U (N, D), in their own units: (..., 1)."""
    at = _Point(net, X, "central", T, sample_weight)
    return at.along(lambda w, x: function(at.run, w, x, *at.rest), [(v, U)])


def difference_along(net: Network, X: Any, T: Any, sample_weight: Any, directions: Array, *, gradient: bool = False) -> Differenced:
    """Central differences of E (or of its gradient) along each column of `directions` (W, B), given in units of each weight's length.

    Two evaluations a direction, whatever W is.
    """
    at = _Point(net, X, "central", T, sample_weight)

    def f(w: Array, x: Array) -> Any:
        return at.run.error_and_gradient(w, x, *at.rest)[1] if gradient else at.run.error(w, x, *at.rest)

    return at.along(f, [(direction, 0.0) for direction in (at.lengths[0][:, None] * directions).T])


def differences(f: Callable[[Array], Any], theta: Array, method: str = "central", steps: Array | None = None) -> Array:
    """∂f/∂θ, θ along the last axis: f is called with θ moved in one weight at a time; `steps` is ε of each.

    >>> differences(lambda w: w[0] * w[1], np.array([2.0, 3.0]), "complex_step")
    array([3., 2.])
    """
    _check_method(method)
    if not len(theta):
        return np.zeros((*np.shape(f(theta)), 0))
    steps = _step(theta, 1 + np.abs(theta), method) if steps is None else steps
    columns = []
    for a in range(len(theta)):

        def along(step: Array, a: int = a) -> Any:
            moved = theta.astype(np.result_type(theta, step))
            moved[a] += step
            return f(moved)

        columns.append(_difference(along, theta[a], steps[a], method))
    return np.stack(columns, axis=-1)


def lengths(net: Network, x: Array) -> tuple[Array, Array]:
    """ℓ of every parameter (W,) and of every (scaled) input (N, D): what moves a pre-activation by 1 + |a| (see the module).

    Where nothing depends on a weight or an input, 1 + its size.
    """
    s, theta = net.schedule.live, np.array(net.weights, np.float64)
    sizes = 1 + np.abs(theta), 1 + np.abs(x)
    if not len(x):
        return sizes
    try:
        a, z = _pre_activations(net, x)
    except NotSupportedError:
        return sizes
    room, largest = 1 + np.abs(a).min(axis=1), np.abs(z).max(axis=1)
    by_slot, by_input = np.full(s.parameters.n_slots, np.inf), np.full(s.n_inputs, np.inf)
    w = np.abs(s.parameters.expand(theta))
    with np.errstate(divide="ignore", over="ignore"):
        target = np.repeat(np.arange(s.n_rows), np.diff(s.in_ptr))
        by_slot[: s.n_sparse] = room[target] / largest[s.in_src]
        of_input = s.in_src < s.n_inputs
        np.minimum.at(by_input, s.in_src[of_input], (room[target] / w[: s.n_sparse])[of_input])
        for block in s.dense_blocks:
            rows, here = room[block.start : block.stop, None], slice(block.slot, block.slot + block.size)
            by_slot[here] = (rows / largest[block.source]).ravel()
            sources = np.arange(s.n_rows)[block.source]
            reach = (rows / w[here].reshape(block.shape)).min(axis=0)
            np.minimum.at(by_input, sources[sources < s.n_inputs], reach[sources < s.n_inputs])
        for run in (run for level in s.combined for run in level):
            for slope, source in zip(run.slopes(z), (run.first, run.second), strict=True):
                inputs = source < s.n_inputs
                np.minimum.at(by_input, source[inputs], (room[run.rows] / np.abs(slope).max(axis=1))[inputs])
    biased = np.flatnonzero(s.bias_slot >= 0)
    by_slot[s.bias_slot[biased]] = room[biased]
    by_weight = np.full(len(theta), np.inf)
    owner = s.parameters.slot_parameter
    np.minimum.at(by_weight, owner[owner >= 0], by_slot[owner >= 0])
    return _or(by_weight, sizes[0]), _or(np.broadcast_to(by_input, x.shape), sizes[1])


def _or(length: Array, size: Array) -> Array:
    return np.where(np.isfinite(length) & (length > 0), length, size)


MEASURED = 1024
"""Samples that lengths are measured on."""


def _pre_activations(net: Network, x: Array) -> tuple[Array, Array]:
    """(a, z) of every row for some of the samples, in float64."""
    wide = net.to("numpy", "float64")
    some = np.asarray(x[:: -(-len(x) // MEASURED)], np.float64)
    found = wide.model.run.trace(wide.theta, np.ascontiguousarray(some), np.zeros((len(some), net.schedule.n_outputs)), None)
    return np.asarray(found.a), np.asarray(found.z)


def _step(values: Array, length: Array, method: str) -> Array:
    """ε for each value, from its length; a power of two, and no less than what moves the value at all."""
    if method == "complex_step":
        return np.full(values.shape, COMPLEX_STEP)
    step: Array = np.maximum(length * UNIT ** POWER[method], 8 * UNIT * np.abs(values))
    return np.exp2(np.round(np.log2(step)))


def _difference(along: Callable[[Any], Any], value: Any, step: Any, method: str) -> Array:
    """df/ds from f(s) = along(s); `step` is a number, or one a sample where f's first axis is samples.

    What is divided by is the step that `value` took after rounding; where it took none, ε itself, so that the quotient is 0.
    """
    if method == "complex_step":
        return _quotient(np.imag(along(1j * step)), step)
    below = 0 * step if method == "forward" else -step
    taken = np.asarray((value + step) - (value + below))
    with np.errstate(over="ignore", invalid="ignore"):
        return _quotient(along(step) - along(below), np.where(taken == 0, step - below, taken))


def _quotient(change: Any, step: Any) -> Array:
    """The change over the step, or over that of each sample, the change's first axis."""
    return np.asarray(change / (step if not np.ndim(step) else step.reshape(-1, *(1,) * (np.ndim(change) - 1))))


def _check_method(method: str) -> None:
    if not isinstance(method, str) or method not in METHODS:
        raise unknown_name("method of differentiation", method, METHODS)


class _Point:
    """Where a network is differenced: what runs it, θ, X and the rest of the batch, in float64."""

    def __init__(self, net: Network, X: Any, method: str, *targets: Any) -> None:
        _check_method(method)
        self.run, self.theta = executable_of(net, method)
        self.method = method
        self.rng = np.random.default_rng(0)
        host, wide, scaling = get_backend("numpy"), np.dtype(np.float64), net.model.meaning.scaling
        self.rest: tuple[Any, ...] = ()
        if targets:  # scaled, and through the network's own dtype first, so that both sides see the same numbers
            x, t, s = net.model.batch(X, targets[0], targets[1], host)
            self.x = x.astype(wide)
            self.rest = (t.astype(wide), None if s is None else s.astype(wide))
            self.lengths = lengths(net, self.x)
            return
        # raw x and y; float32 rounds what the engine sees, after the scaling
        x = data.as_inputs(net.model.read(X), net.schedule, host, net.dtype if scaling.inputs is None else wide)
        self.x = x.astype(wide)
        self.run = RawUnits(self.run, scaling) if scaling else self.run
        if scaling.inputs is None:
            self.lengths = lengths(net, self.x)
        else:
            by_weight, by_input = lengths(net, scaling.inputs.inward(self.x))
            self.lengths = by_weight, by_input * scaling.inputs.scale

    def moved(self, jitter: float) -> tuple[Array, Array]:
        """(θ, X), every number moved at random by `jitter` times its size."""
        if not jitter:
            return self.theta, self.x
        theta, x = (part * (1 + jitter * self.rng.normal(size=part.shape)) for part in (self.theta, self.x))
        return theta, x

    def by_weights(self, f: Callable[[Array, Array], Any], step: Any = None) -> Differenced:
        """f(θ, X) differenced weight by weight."""
        steps = _as_steps(step, len(self.theta)) if step is not None else _step(self.theta, self.lengths[0], self.method)

        def derivative(shrink: float, jitter: float) -> Array:
            theta, x = self.moved(jitter)
            return differences(lambda w: f(w, x.astype(w.dtype)), theta, self.method, shrink * steps)

        return Differenced(self.method, steps, lambda jitter: np.asarray(f(*self.moved(jitter))), derivative)

    def along(self, f: Callable[[Array, Array], Any], directions: list[tuple[Any, Any]]) -> Differenced:
        """Central differences of f(θ, X) along directions (v, U), in their own units: (..., directions)."""
        step = UNIT ** POWER["central"]

        def derivative(shrink: float, jitter: float) -> Array:
            theta, x = self.moved(jitter)
            columns = []
            for v, u in directions:
                above, below = (np.asarray(f(theta + way * v, x + way * u)) for way in (shrink * step, -shrink * step))
                columns.append((above - below) / (2 * shrink * step))
            return np.stack(columns, axis=-1)

        return Differenced("central", step, lambda jitter: np.asarray(f(*self.moved(jitter))), derivative)


def _as_steps(step: Any, w: int) -> Array:
    steps = foreign.host_array(step, "step").astype(np.float64)
    if steps.shape not in ((), (w,)) or not (np.isfinite(steps) & (steps > 0)).all():
        raise DataError(f"step={step!r}; it must be a number above 0, or one for each of the {w} parameters")
    return np.broadcast_to(steps, (w,))
