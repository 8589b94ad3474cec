"""What a backend is: the contract between the core and whoever runs the sweeps.

A backend compiles a `Schedule`, once, to an `Executable`; an executable runs whole sweeps, not array operations.

    backend.compile(schedule, error, dtype) -> executable
    executable.forward(theta, X) -> Y

Three methods are required of an executable: `forward`, `error_and_gradient` and `vjp`.  The core composes everything else from
these (see `graphbp.compose`) where an executable leaves it out; what cannot be composed is refused by name, never computed in a
slow or inexact way in silence.  What an executable offers is found by looking at it: a method that is there is used.

Shapes and conventions, for every method
----------------------------------------
* N samples, D inputs, K outputs, W parameters, M hidden and output units.
* `theta` (W,), `X` (N, D), `T` (N, K), `V` (N, K), `U` (N, D), `v` (W,) or (W, B) are C-contiguous arrays of the compiled dtype,
  in the memory of the backend (`Backend.asarray`); N ≥ 1; values have been checked by the core.
* `sample_weight` is (N,) or None (all 1); E = Σ_n s_n E_n, and every derivative of E carries the same factor.  A backend that says
  `many_heads` also takes (N, K), E = Σ_nk s_nk e_nk, the weights of one softmax being alike, and a `Mixture` as the error; an entry of
  weight 0 counts for nothing, whatever it has overflowed to.
* Results are new arrays of the compiled dtype that the caller may keep and change; E is a Python float.
* Every unit of the schedule leads to an output (`Schedule.live`); a parameter may fill several slots, or none: its derivative is then 0.
* The same arguments give the same bits, on every run and for every number of threads.
* An executable may be called from several Python threads at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import networkx as nx

    from graphbp.mixture import AnyError
    from graphbp.schedule import Schedule

__all__ = [
    "OPTIONAL_METHODS",
    "REQUIRED_METHODS",
    "WEIGHTED_METHODS",
    "Availability",
    "Backend",
    "Executable",
    "Exporter",
    "FullExecutable",
    "Importer",
    "TraceArrays",
]

Array = Any
"""An array of the backend: numpy.ndarray, or cupy.ndarray."""


@dataclass(frozen=True)
class Availability:
    """Whether a backend can run here.

    available : it can.
    reason : one line; where it cannot, what is missing.
    install : the command that would install what is missing, or "".
    device : what it runs on, for people.
    version : of the library that it uses.
    """

    available: bool
    reason: str = ""
    install: str = ""
    device: str = ""
    version: str = ""


@dataclass(frozen=True)
class TraceArrays:
    """a, z and δ of every row: each (n_rows, N).  Input rows have a = z = x; δ is ∂E_n/∂a_j (for an input, ∂E_n/∂x_i)."""

    a: Array
    z: Array
    delta: Array


class Executable(Protocol):
    """A schedule, compiled.  These three methods are required."""

    def forward(self, theta: Array, X: Array) -> Array:
        """Y (N, K)."""
        ...

    def error_and_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> tuple[float, Array]:
        """(E, ∂E/∂θ (W,))."""
        ...

    def vjp(self, theta: Array, X: Array, V: Array) -> tuple[Array, Array]:
        """(Vᵀ ∂y/∂x per sample (N, D), Σ_n V_nᵀ ∂y_n/∂θ (W,)): one reverse sweep started from V in place of ∂E/∂y."""
        ...


class FullExecutable(Executable, Protocol):
    """Every optional method, with its meaning; an executable may have any of them."""

    def error(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> float: ...

    def per_sample_gradient(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(N, W): row n is s_n ∂E_n/∂θ."""
        ...

    def jvp(self, theta: Array, X: Array, U: Array | None, v: Array | None) -> Array:
        """(N, K): ∂y/∂x U_n + ∂y/∂θ v, a forward sweep of tangents; None stands for zeros."""
        ...

    def jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, D): ∂y_k/∂x_i."""
        ...

    def weight_jacobian(self, theta: Array, X: Array) -> Array:
        """(N, K, W): ∂y_k/∂θ."""
        ...

    def hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W): the exact ∂²E/∂θ∂θ, symmetric to the last bit."""
        ...

    def outer_product_hessian(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W, W): Σ_n s_n ∇a_n Λ_n ∇a_nᵀ (`graphbp.heads` defines Λ), symmetric to the last bit."""
        ...

    def hessian_diagonal(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> Array:
        """(W,): the exact diagonal of the Hessian, without W × W storage."""
        ...

    def unit_blocks(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, exact: bool) -> list[Array]:
        """For each group of `HessianPlan.of(schedule)` Σ_n B_jj z zᵀ: (units, sources, sources), in host memory.

        These are the units' own blocks of the exact Hessian (`exact`) or of the outer-product one, for parameters that are not
        tied; the core adds the cross terms of tied ones.  Entries of frozen weights are never read.
        """
        ...

    def hessian_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """H v for v (W, B): (W, B), by the R-operator."""
        ...

    def outer_product_product(self, theta: Array, X: Array, T: Array, sample_weight: Array | None, v: Array) -> Array:
        """The outer-product Hessian times v (W, B): (W, B), as Jᵀ Λ J v."""
        ...

    def input_hessian(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D, D): ∂²y_k/∂x_i∂x_l; given V, (N, D, D): that of Σ_k V_nk y_k.  Symmetric to the last bit."""
        ...

    def input_hessian_diagonal(self, theta: Array, X: Array, V: Array | None) -> Array:
        """(N, K, D): ∂²y_k/∂x_i²; given V, (N, D): that of Σ_k V_nk y_k."""
        ...

    def laplacian(self, theta: Array, X: Array, lengths: Array) -> Array:
        """(N, K): Σ_i ℓ_i² ∂²y_k/∂x_i², ℓ (D,)."""
        ...

    def second_order_product(self, theta: Array, X: Array, V: Array, U: Array | None, v: Array | None) -> tuple[Array, Array]:
        """((N, D), (W,)): ∂/∂x and ∂/∂θ of Σ_n ⟨V_n, ∂y_n/∂x U_n + ∂y_n/∂θ v⟩, v (W,); None stands for zeros."""
        ...

    def error_product(
        self, theta: Array, X: Array, T: Array, sample_weight: Array | None, U: Array | None, v: Array | None
    ) -> tuple[Array, Array]:
        """((N, D), (W,)): the same of Σ_n s_n (⟨∂E_n/∂x, U_n⟩ + ⟨∂E_n/∂θ, v⟩): ∂²E/∂(x, θ)∂(x, θ) times (U, v)."""
        ...

    def trace(self, theta: Array, X: Array, T: Array, sample_weight: Array | None) -> TraceArrays:
        """a, z, δ of every row and sample."""
        ...

    def describe(self, n_samples: int) -> str:
        """One or more lines for people: which path this executable takes for `n_samples` samples, and why."""
        ...


REQUIRED_METHODS = ("forward", "error_and_gradient", "vjp")
OPTIONAL_METHODS = tuple(
    name for name in vars(FullExecutable) if not name.startswith("_") and callable(getattr(FullExecutable, name))
)
WEIGHTED_METHODS = tuple(
    name
    for name in (*REQUIRED_METHODS, *OPTIONAL_METHODS)
    if "sample_weight" in signature(getattr(FullExecutable, name)).parameters
)
"""The methods that take (theta, X, T, sample_weight, ...)."""


class Backend(Protocol):
    """The object behind an entry point of the group `graphbp.backends`.  Importing its module must import no optional library.

    One that computes `Schedule.combinations` too says so with an attribute `combinations = True`; others are given no schedule that has any.
    """

    name: str
    # optional: many_heads, True where outputs may have errors and weights of their own

    def availability(self) -> Availability:
        """Whether it can run here, found without importing anything heavy."""
        ...

    def compile(self, schedule: Schedule, error: AnyError, dtype: np.dtype[Any]) -> Executable:
        """Compile; the error may be a `Mixture` where the backend has `many_heads`.

        Raises `NotSupportedError` for what it cannot do, by name, here and not later.
        """
        ...

    def owns(self, array: Any) -> bool:
        """True for the backend's own kind of array when that is not NumPy's (a cupy.ndarray): results then come back as such."""
        ...

    def asarray(self, array: npt.NDArray[Any] | Any, dtype: np.dtype[Any]) -> Array:
        """A C-contiguous array of `dtype` in the backend's memory, not copied where it is one already."""
        ...

    def to_numpy(self, array: Array) -> npt.NDArray[Any]:
        """The array in host memory."""
        ...


class _FileFormat(Protocol):
    """What importers and exporters say of their files."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of its files, in lower case with the dot."""
        ...

    @property
    def description(self) -> str:
        """One line for people."""
        ...


@runtime_checkable
class Importer(_FileFormat, Protocol):
    """What an entry point of the group `graphbp.importers` names: an object, or a module, that reads one file format."""

    @property
    def read(self) -> Callable[..., nx.DiGraph]:
        """read(path, *, ...): the graph.  Its keyword-only parameters are the options that users may give.

        Raises `FileFormatError` for a damaged file, `NotSupportedError` for what the format has and graphbp has not, `DataError` for an
        option that does not fit the file.
        """
        ...

    def sniff(self, path: Path) -> bool:
        """Whether the file looks like this format, from its first bytes; asked where several formats share a suffix."""
        ...

    # optional: advice(thing), a sentence on how an object that is no file of this format becomes one, or None


@runtime_checkable
class Exporter(_FileFormat, Protocol):
    """What an entry point of the group `graphbp.exporters` names: an object, or a module, that writes one file format."""

    @property
    def write(self) -> Callable[..., None]:
        """write(graph, path, *, ...).  Raises `NotSupportedError` for what the format cannot hold, by name, before anything is written."""
        ...

    # optional: holds, a `graphbp.extend.Holds`: the attributes that the format holds besides units, activation, bias, role and
    # weight.  The core refuses a graph that has others before `write` is called, or takes out those that the caller drops.
