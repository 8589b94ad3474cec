"""`Checker`: how two arrays are compared, what each entry is called, and how large it must be to matter.

Entries are compared in units of each weight's and each input's length (`graphbp.numerical`), and relative to the terms that were summed.
A comparison that misses is made again with what each side can resolve allowed for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import foreign
from graphbp.differenced_runs import not_analytic
from graphbp.exceptions import DataError, MemoryLimitError, NotSupportedError, unknown_name
from graphbp.numerical import PROBES, Differenced, lengths
from graphbp.registry import get_backend
from graphbp.verification.kinks import near_kinks
from graphbp.verification.report import Row

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["WEIGHT_BY_WEIGHT", "Checker", "compared", "largest"]

Array = npt.NDArray[Any]
Found = Callable[["Network", Array], Any]
RESOLVED = 1e-2
"""A comparison in which round-off could hide this much of the largest value, everywhere, is void."""
ROUNDINGS = 4
"""So many roundings of E are none of a derivative's business."""
TINY = 1e-300
"""Below every size that is compared with."""
TOLERANCE = {"complex_step": 1e-9, "central": 2e-5, "forward": 2e-3}
"""The complex step has round-off only.  Central differences have an error of ε² f‴ / 6: about 1e-11 for a gentle network, 5e-6 for an
evolved one whose outputs turn 50 times as fast as its weights.  Forward differences have ε f″ / 2."""
FLOAT32 = 5e-4
"""What float32 allows: the network's own round-off, through cancellation."""
AGREE = {"float64": 1e-10, "float32": 5e-4}
"""What is compared without differencing: only the round-off of the two sides."""
WEIGHT_BY_WEIGHT = 400
"""Parameters up to which every weight is differenced by itself."""


class Checker:
    """One run: the batch without samples near a kink, what it is compared by, and the rows found so far."""

    def __init__(self, net: Network, X: Any, T: Any, s: Any, method: str | None, tolerance: float | None, seed: int) -> None:
        host = get_backend("numpy")
        self.net = net
        self.rng = foreign.generator(seed)
        x, t, weight = net.model.batch(X, T, s, host)
        if tolerance is not None and not tolerance > 0:
            raise DataError(f"tolerance={tolerance!r}; it must be a number above 0")
        self.notes: list[str] = []
        self.rows: list[Row] = []
        self.method = method or ("central" if not_analytic(net) else "complex_step")
        kept = np.ones(len(x), bool)
        if self.method != "complex_step" or len(net.schedule.live.combinations.choices):
            near, told = near_kinks(net, x)
            kept, self.notes = ~near, told
        self.x, self.t = x[kept], t[kept]
        self.s = None if weight is None else weight[kept]
        self.by_weight = net.n_parameters <= WEIGHT_BY_WEIGHT
        if self.method not in TOLERANCE:
            raise unknown_name("method of differentiation", self.method, TOLERANCE)
        self.floor = FLOAT32 if net.dtype == np.float32 else 0.0
        self.tolerance = tolerance or max(TOLERANCE[self.method], self.floor)
        self.central = tolerance or max(TOLERANCE["central"], self.floor)
        self.agree = AGREE[net.dtype.name]

    @property
    def batch(self) -> tuple[Array, Array, Array | None]:
        """x, t and s."""
        return self.x, self.t, self.s

    @cached_property
    def by_parameter(self) -> Array:
        """ℓ of every parameter (W,)."""
        return lengths(self.net, self.x.astype(np.float64))[0]

    @cached_property
    def by_input(self) -> Array:
        """ℓ of every input (N, D)."""
        return lengths(self.net, self.x.astype(np.float64))[1]

    @cached_property
    def jacobian(self) -> Array:
        """∂y/∂x (N, K, D), which products with it are compared with."""
        return np.asarray(self.net.jacobian(self.x), np.float64)

    def parameter_directions(self, count: int) -> Array:
        """(W, count) in the network's dtype, with room above: a unit that is nearly saturated has parameters of any size."""
        size = np.minimum(self.by_parameter, math.sqrt(float(np.finfo(self.net.dtype).max)))
        return (self.rng.normal(size=(count, len(size))) * size).T.astype(self.net.dtype)

    # -- rows --------------------------------------------------------------------------------------------------------------

    def compare(
        self,
        quantity: str,
        against: str,
        found: Found,
        expected: Callable[[], Any],
        name: Callable[[tuple[int, ...]], str],
        size: Callable[[Array], Array],
        tolerance: float | None = None,
    ) -> None:
        """Compare two arrays; what the backend refuses, or memory forbids, becomes a row that says so.

        `found(net, x)` is recomputed beside θ and X where it has to be.  `expected` gives an array or a `Differenced`.  `size(found)`
        is what each entry is compared with.
        """
        limit = self.tolerance if tolerance is None else tolerance
        try:
            a, other = np.asarray(found(self.net, self.x), np.float64), expected()
            b = np.asarray(other.value if isinstance(other, Differenced) else other, np.float64)
            row = compared(quantity, against, a, b, size(a), limit, name)
            if not row.ok:
                row = self._again(row, found, a, other, size(a), name)
        except (NotSupportedError, MemoryLimitError) as problem:
            row = Row(quantity, against, "refused", note=str(problem))
        self.rows.append(row)

    def _again(self, row: Row, found: Found, a: Array, other: Any, size: Array, name: Callable[[tuple[int, ...]], str]) -> Row:
        """The row once more, with what both sides can resolve allowed for."""
        slack, against = self._spread(found, a), row.against
        if isinstance(other, Differenced):
            other, bound = other.resolved()
            slack = slack + bound
            against += ", extrapolated" if self.method != "complex_step" else ""
        b = np.asarray(other, np.float64)
        row = compared(row.quantity, against, a, b, size, row.tolerance, name, slack)
        if row.ok and a.size and (slack > RESOLVED * np.maximum(size, TINY)).all():
            note = "round-off is as large as the derivatives: saturated, an exact fit, or inputs too large; scale X"
            return Row(row.quantity, against, "void", note=note)
        return row

    def _spread(self, found: Found, here: Array) -> Array:
        """What round-off does to a result of the network: how far it moves when θ and X move by an ulp of its dtype."""
        unit = float(np.finfo(self.net.dtype).eps)
        least = float(np.finfo(self.net.dtype).tiny) * (1 + float(np.abs(self.x).max(initial=0)))  # below it numbers lose bits
        rng, moved, furthest = np.random.default_rng(0), self.net.to(), unit * np.abs(here) + least
        theta = np.array(self.net.weights, np.float64)
        with np.errstate(all="ignore"):
            for _ in range(PROBES):
                moved.weights = theta * (1 + unit * rng.normal(size=theta.shape))
                x = self.x * (1 + unit * rng.normal(size=self.x.shape)).astype(self.x.dtype)
                apart = np.abs(np.asarray(found(moved, x), np.float64) - here)
                furthest = np.maximum(furthest, np.where(np.isfinite(apart), 4 * apart, 0))
        return furthest

    # -- names of entries ----------------------------------------------------------------------------------------------------

    def parameter(self, at: tuple[int, ...], axis: int = -1) -> str:
        """The edge or bias at a position of θ."""
        return self.net.parameter_name(at[axis])

    def pair(self, at: tuple[int, ...]) -> str:
        """Two of them."""
        return f"{self.parameter(at, 0)} × {self.parameter(at, 1)}"

    def input(self, i: int) -> str:
        """Column i of X."""
        return f"input {self.net.schedule.describe_row(i)}"

    def output(self, k: int) -> str:
        """Column k of Y."""
        return f"output {self.net.schedule.describe_row(int(self.net.schedule.output_rows[k]))}"

    def jacobian_entry(self, at: tuple[int, ...]) -> str:
        """An entry of ∂y/∂x."""
        return f"{self.output(at[1])} by {self.input(at[2])}, sample {at[0]}"

    def output_entry(self, at: tuple[int, ...]) -> str:
        """An entry of Y."""
        return f"{self.output(at[1])}, sample {at[0]}"

    # -- what entries are compared with ------------------------------------------------------------------------------------

    @cached_property
    def _rounded(self) -> float:
        """What the tolerance must be a share of for a few roundings of E to stay below it."""
        eps = float(np.finfo(self.net.dtype).eps)
        return ROUNDINGS * eps / self.tolerance * abs(self.net.error(*self.batch))

    def rounded(self, limit: float) -> float:
        """What a derivative of E along directions in units of length must be a share `limit` of for a few roundings of E to stay below it."""
        return self._rounded * self.tolerance / limit

    def gradient_size(self, gradient: Array) -> Array:
        """The largest sum of a gradient's terms over the samples, each parameter in units of its length; no less than what E is rounded by.

        (Terms of one sample may cancel too: ∂E/∂w of a weight that all units of a softmax share is 0.)
        """
        try:
            terms = np.abs(np.asarray(self.net.per_sample_gradient(*self.batch), np.float64)).sum(axis=0)
        except (NotSupportedError, MemoryLimitError):
            terms = np.abs(gradient)
        return np.maximum(largest(terms * self.by_parameter), self._rounded) / self.by_parameter

    def weight_jacobian_size(self, J: Array) -> Array:
        """The same of each output."""
        return largest(np.abs(J) * self.by_parameter, (0, 2)) / self.by_parameter

    def jacobian_size(self, J: Array) -> Array:
        """Of ∂y/∂x, each input in units of its length."""
        by_input = self.by_input[:, None, :]
        return largest(np.abs(J) * by_input, (0, 2)) / by_input

    def hessian_size(self, H: Array) -> Array:
        """Of ∂²E/∂θ∂θ, each parameter in units of its length; no less than what E is rounded by."""
        pairs = np.outer(self.by_parameter, self.by_parameter)
        return np.asarray(np.maximum(largest(np.abs(H) * pairs), self._rounded) / pairs)

    def product_size(self, found: Array) -> Array:
        """Of H v (W, B) for v in units of length."""
        return largest(np.abs(found) * self.by_parameter[:, None], (0,)) / self.by_parameter[:, None]


def compared(
    quantity: str,
    against: str,
    a: Array,
    b: Array,
    size: Array,
    limit: float,
    name: Callable[[tuple[int, ...]], str],
    slack: Array | float = 0.0,
) -> Row:
    """The row of found `a` and expected `b`, relative to `size`; a difference up to `slack` is none."""
    if not b.size:
        return Row(quantity, against, "ok", 0.0, limit)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(np.isfinite(a - b), np.abs(a - b), np.inf)
        relative = np.maximum(apart - slack, 0) / np.maximum(size, TINY)
    at = tuple(int(k) for k in np.unravel_index(int(np.argmax(relative)), relative.shape))
    status = "ok" if relative[at] <= limit else "wrong"
    return Row(quantity, against, status, float(relative[at]), limit, name(at), float(a[at]), float(b[at]))


def largest(values: Array, axis: tuple[int, ...] | None = None) -> Array:
    """The largest finite size along some axes (all), which stay."""
    sizes = np.abs(values)
    return np.asarray(np.max(sizes, axis=axis, keepdims=True, initial=0, where=np.isfinite(sizes)))
