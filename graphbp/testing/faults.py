"""Backends with a planted fault: what proves that the conformance kit can fail.

Each wraps a sound backend and spoils one thing that a real backend gets wrong.  The kit must fail every one of them by name: the
quantity or check that says what is wrong.  An author who adds a quantity adds a fault that it alone would catch.

    FaultyBackend(FAULTS["missed skip edge"])       a backend called "numpy with missed skip edge"
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation
from graphbp.error_functions import ErrorFunction
from graphbp.protocols import Availability
from graphbp.registry import get_backend
from graphbp.schedule import Schedule

__all__ = ["FAULTS", "Call", "Fault", "FaultyBackend"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Call:
    """A call of a sound executable's method; `memory` is one dict for all calls of an executable."""

    schedule: Schedule
    memory: dict[str, Any]
    method: str
    run: Callable[..., Any]
    args: tuple[Any, ...]

    def result(self) -> Any:
        """What the sound executable returns."""
        return self.run(*self.args)


@dataclass(frozen=True)
class Fault:
    """A fault: on which network of the zoo it shows, what must name it, and how to make it.

    Attributes
    ----------
    network : a case of the zoo where it shows.
    caught_by : quantities or checks that must fail.
    schedule : spoils the schedule before it is compiled, or None.
    call : spoils a call: call(c) returns what `c.result()` should have; or None.
    """

    network: str
    caught_by: tuple[str, ...]
    schedule: Callable[[Schedule], Schedule] | None = None
    call: Callable[[Call], Any] | None = None


class FaultyBackend:
    """The sound backend `inner` with one fault."""

    def __init__(self, name: str, fault: Fault, inner: str = "numpy") -> None:
        self.name = f"{inner} with {name}"
        self._fault, self._inner = fault, get_backend(inner)
        self.combinations = getattr(self._inner, "combinations", False)
        self.many_heads = getattr(self._inner, "many_heads", False)

    def availability(self) -> Availability:
        """That of the sound backend."""
        return self._inner.availability()

    def compile(self, schedule: Schedule, error: ErrorFunction, dtype: np.dtype[Any]) -> Any:
        """A sound executable of a spoilt schedule, its calls spoilt."""
        spoilt = schedule if self._fault.schedule is None else self._fault.schedule(schedule)
        executable = self._inner.compile(spoilt, error, dtype)
        return executable if self._fault.call is None else _Spoilt(executable, schedule, self._fault.call)

    def owns(self, array: Any) -> bool:
        """That of the sound backend."""
        return self._inner.owns(array)

    def asarray(self, array: Any, dtype: np.dtype[Any]) -> Any:
        """That of the sound backend."""
        return self._inner.asarray(array, dtype)

    def to_numpy(self, array: Any) -> Array:
        """That of the sound backend."""
        return self._inner.to_numpy(array)


class _Spoilt:
    """An executable whose every method goes through the fault."""

    def __init__(self, executable: Any, schedule: Schedule, call: Callable[..., Any]) -> None:
        self._executable, self._schedule, self._call = executable, schedule, call
        self._memory: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        run = getattr(self._executable, name)
        if name.startswith("_") or name == "describe" or not callable(run):
            return run
        return lambda *args: self._call(Call(self._schedule, self._memory, name, run, args))


# -- spoilt schedules ------------------------------------------------------------------------------------------------------


def _with_activation(spoil: Callable[[Activation], Activation]) -> Callable[[Schedule], Schedule]:
    """Every elementwise activation spoilt; no longer `builtin`, so that a backend's own kernel does not step in."""

    def change(schedule: Schedule) -> Schedule:
        rows = (replace(spoil(row), builtin=False) if row.elementwise else row for row in schedule.activations)
        return replace(schedule, activations=tuple(rows))

    return change


def _ties_to_the_second(schedule: Schedule) -> Schedule:
    """The sources of every combination the other way round."""
    c = schedule.combinations
    return replace(schedule, combinations=replace(c, first=c.second, second=c.first))


def _no_mixed_derivative(schedule: Schedule) -> Schedule:
    """g_uv of every product is 0."""
    spoilt = replace(schedule)
    flat = (tuple(replace(run, of=replace(run.of, bend=(0.0, 0.0, 0.0))) for run in level) for level in schedule.combined)
    vars(spoilt)["combined"] = tuple(flat)
    return spoilt


# -- spoilt calls ----------------------------------------------------------------------------------------------------------


def _with_theta(change: Callable[[Schedule, dict[str, Any], Array], Array]) -> Any:
    """Runs every method at a θ that is not the one given."""

    def call(c: Call) -> Any:
        return c.run(change(c.schedule, c.memory, c.args[0].copy()), *c.args[1:])

    return call


def _without_skips(schedule: Schedule, memory: dict[str, Any], theta: Array) -> Array:
    """Edges that pass over a level carry nothing."""
    destination = np.repeat(np.arange(schedule.n_rows), np.diff(schedule.in_ptr))
    span = schedule.row_level[destination] - schedule.row_level[schedule.in_src]
    owner = schedule.parameters.slot_parameter[: schedule.n_sparse][span > 1]
    theta[owner[owner >= 0]] = 0
    return theta


def _stale_biases(schedule: Schedule, memory: dict[str, Any], theta: Array) -> Array:
    """Biases stay those of the first call."""
    slots = schedule.bias_slot[schedule.bias_slot >= 0]
    owner = schedule.parameters.slot_parameter[slots]
    owner = owner[owner >= 0]
    theta[owner] = memory.setdefault("biases", theta[owner].copy())
    return theta


def _transposed_blocks(schedule: Schedule, memory: dict[str, Any], theta: Array) -> Array:
    """Dense blocks are read column by column."""
    for block in schedule.dense_blocks:
        slots = np.arange(block.slot, block.slot + block.size)
        owner = schedule.parameters.slot_parameter[slots]
        theta[owner] = theta[owner.reshape(block.shape).T.ravel()]
    return theta


def _on_gradient(change: Callable[[Schedule, Array], Array]) -> Any:
    def call(c: Call) -> Any:
        found = c.result()
        return (found[0], change(c.schedule, found[1])) if c.method == "error_and_gradient" else found

    return call


def _flip_last(schedule: Schedule, gradient: Array) -> Array:
    gradient[-1] *= -1
    return gradient


def _counter() -> Callable[[Schedule, Array], Array]:
    count = itertools.count()
    return lambda schedule, gradient: gradient * (1 + next(count) * np.finfo(gradient.dtype).eps)


def _no_sample_weight(c: Call) -> Any:
    return c.run(*c.args[:3], None) if c.method in ("error_and_gradient", "error") else c.result()


def _whole_tiles_only(c: Call) -> Any:
    """Samples beyond the last whole tile of four are left out of sums."""
    if c.method != "error_and_gradient" or len(c.args[1]) < 4:
        return c.result()
    n = len(c.args[1]) // 4 * 4
    s = c.args[3] if len(c.args) > 3 else None
    return c.run(c.args[0], c.args[1][:n], c.args[2][:n], None if s is None else s[:n])


def _writes_to_x(c: Call) -> Any:
    found = c.result()
    if c.method == "error_and_gradient":
        c.args[1][...] = 0
    return found


def _one_buffer(c: Call) -> Any:
    """Forward hands out the same array every time."""
    found = c.result()
    if c.method != "forward":
        return found
    kept = c.memory.setdefault(f"forward {found.shape}", found)
    kept[...] = found
    return kept


def _through_float32(c: Call) -> Any:
    found = c.result()
    return found.astype(np.float32).astype(found.dtype) if c.method == "jacobian" else found


def _wrong_adjoint(c: Call) -> Any:
    """The reverse sweep from V forgets what V's last column starts."""
    if c.method == "vjp":
        v = c.args[2].copy()
        v[:, -1] = 0
        return c.run(c.args[0], c.args[1], v)
    return c.result()


def _asymmetric(c: Call) -> Any:
    found = c.result()
    if c.method == "hessian":
        found[0, -1] = np.nextafter(found[0, -1], np.inf)
    return found


FAULTS: dict[str, Fault] = {
    "flipped sign": Fault("erdos-renyi", ("gradient", "sums"), call=_on_gradient(_flip_last)),
    "missed skip edge": Fault("xor", ("forward", "error", "gradient", "jacobian", "trace"), call=_with_theta(_without_skips)),
    "wrong σ′": Fault(
        "erdos-renyi",
        ("gradient", "jacobian", "jvp", "hessian", "outer_product_hessian"),
        schedule=_with_activation(lambda row: replace(row, df=lambda a: row.df(a) * 1.001)),
    ),
    "wrong σ″": Fault(
        "erdos-renyi",
        ("hessian", "hessian_diagonal", "hessian_product", "hessian_blocks"),
        schedule=_with_activation(lambda row: replace(row, d2f=lambda a: -row.d2f(a))),
    ),
    "stale bias": Fault("erdos-renyi", ("fresh_weights",), call=_with_theta(_stale_biases)),
    "transposed dense block": Fault("dense-from-units", ("forward", "gradient"), call=_with_theta(_transposed_blocks)),
    "dropped sample weight": Fault("layers-sparse", ("gradient", "error", "sample_weight"), call=_no_sample_weight),
    "lost last tile": Fault("erdos-renyi", ("gradient", "sums"), call=_whole_tiles_only),
    "bits that vary": Fault("xor", ("same_bits",), call=_on_gradient(_counter())),
    "input overwritten": Fault("xor", ("inputs_unchanged",), call=_writes_to_x),
    "one buffer for all results": Fault("xor", ("inputs_unchanged",), call=_one_buffer),
    "float32 inside float64": Fault("erdos-renyi", ("jacobian",), call=_through_float32),
    "forgotten output": Fault("several-outputs", ("vjp", "adjoint", "weight_vjp"), call=_wrong_adjoint),
    "ties to the second source": Fault("ties", ("gradient", "jacobian"), schedule=_ties_to_the_second),
    "products without ∂²/∂u∂v": Fault(
        "aggregations",
        ("hessian", "hessian_diagonal", "hessian_product", "hessian_blocks", "input_hessian", "second_order_product"),
        schedule=_no_mixed_derivative,
    ),
    "one bit of asymmetry": Fault("erdos-renyi", ("symmetric",), call=_asymmetric),
}
"""Every fault, by name."""
