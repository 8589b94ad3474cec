"""`net.check(X, T)`: every derivative against numerical differentiation and against the others, and where it is worst.

Each row of the report is one comparison: what was compared with what, the largest difference relative to the largest value, the
tolerance, and the edge, bias, input or output where it is worst.  Values are compared in units of each weight's and each input's
length (`graphbp.numerical`), so that columns in other units of measure weigh the same, and relative to the terms that were summed,
so that an optimum is judged by more than the zero it leaves.

* Small networks are differenced weight by weight.  For larger ones each comparison is made along random directions, and then the
  weights that contribute most are differenced one by one, so that a faulty edge is still named; the report says so.
* A kink makes a difference meaningless: where a step of the size used carries some a across one, the sample is left out of the
  comparison, and the report names the unit, the sample and how close to the kink it is.
* Some activations have no second derivative at a kink, or none but 0 (step); the report says for which units the exact Hessian
  holds almost everywhere only.
* A comparison that misses is made again with what each side can resolve allowed for: differences at several steps, extrapolated, with
  the error that they show; and the round-off of backpropagation itself, seen by moving weights and data by an ulp.
* Where the round-off is as large as the derivatives (a saturated softmax, an exact fit) the row is void, and says so.
* What the backend refuses is a row that says so, and does not count as wrong.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import data
from graphbp.comparable import near_kinks, no_second_derivative
from graphbp.compose import ComposedWarning
from graphbp.exceptions import DataError, MemoryLimitError, NotSupportedError, NumericalWarning, unknown_name
from graphbp.network import engine_of
from graphbp.numerical import (
    PROBES,
    Differenced,
    difference_along,
    difference_gradient,
    difference_hessian,
    difference_jacobian,
    difference_weight_jacobian,
    lengths,
    not_analytic,
)
from graphbp.progress import status
from graphbp.registry import get_backend

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["Report", "Row", "check"]

Array = npt.NDArray[Any]
Found = Callable[["Network", Array], Any]

WEIGHT_BY_WEIGHT = 400
"""Parameters up to which every weight is differenced by itself."""
DIRECTIONS = 8
SUSPECTS = 32
"""Weights that are differenced one by one where the directional test is used."""
WHOLE_HESSIAN = 1500
"""Parameters up to which W × W results are formed."""
TOLERANCE = {"complex_step": 1e-9, "central": 2e-5, "forward": 2e-3}
"""The complex step has round-off only.  Central differences have an error of ε² f‴ / 6: about 1e-11 for a gentle network, 5e-6 for an
evolved one whose outputs turn 50 times as fast as its weights.  Forward differences have ε f″ / 2."""
FLOAT32 = 5e-4
"""What float32 allows: the network's own round-off, through cancellation."""
RESOLVED = 1e-2
"""A comparison in which round-off could hide this much of the largest value, everywhere, is void."""
ROUNDINGS = 4
"""So many roundings of E are none of a derivative's business."""
TINY = 1e-300
"""Below every size that is compared with."""
AGREE = {"float64": 1e-10, "float32": 5e-4}
"""What is compared without differencing: only the round-off of the two sides."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    quantity, against : what was compared with what.
    status : "ok", "wrong", "refused" or "void".
    difference, tolerance : relative to the largest value.
    worst : the edge, bias, input or output with the largest difference.
    found, expected : the two values there.
    note : why it was refused or void.
    """

    quantity: str
    against: str
    status: str
    difference: float = 0.0
    tolerance: float = 0.0
    worst: str = ""
    found: float = 0.0
    expected: float = 0.0
    note: str = ""

    @property
    def ok(self) -> bool:
        """Not wrong."""
        return self.status != "wrong"

    def __str__(self) -> str:
        head = f"{self.status:8s}{self.quantity:24s}{self.against:34s}"
        if self.status in ("refused", "void"):
            return f"{head}{self.note}"
        where = f"   worst at {self.worst}: {self.found:.9g} against {self.expected:.9g}" if self.worst else ""
        return f"{head}{self.difference:8.1e} of {self.tolerance:.0e}{where}"


@dataclass(frozen=True)
class Report:
    """What `check` found; `bool(report)` and `report.ok` are false where a derivative is wrong; it prints as a table."""

    network: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No row is wrong."""
        return all(row.ok for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def wrong(self) -> list[Row]:
        """The rows that are wrong."""
        return [row for row in self.rows if not row.ok]

    def __str__(self) -> str:
        compared = sum(row.status in ("ok", "wrong") for row in self.rows)
        verdict = "all derivatives agree" if self.ok else f"{len(self.wrong)} of {compared} comparisons are wrong"
        head = f"{'':8s}{'quantity':24s}{'against':34s}difference"
        return "\n".join([self.network, head, *map(str, self.rows), *(f"note: {n}" for n in self.notes), verdict])


def check(
    net: Network,
    X: Any,
    T: Any,
    sample_weight: Any = None,
    *,
    method: str | None = None,
    tolerance: float | None = None,
    second_order: bool = True,
    seed: int = 0,
) -> Report:
    """Compare gradient, Jacobians, Hessians and products with numerical differentiation and with each other.

    Parameters
    ----------
    method : "forward", "central" or "complex_step"; default the complex step where every activation is analytic, else central.
    tolerance : relative difference above which a comparison with differencing is wrong.
    second_order : false leaves Hessians out.
    seed : of the random directions.

    Examples
    --------
    >>> import networkx as nx, graphbp as gb
    >>> net = gb.Network(nx.DiGraph([("x", "y", {"weight": 2.0})]), backend="numpy")
    >>> bool(net.check([[3.0]], [[1.0]]))
    True
    """
    with warnings.catch_warnings(), status("checking derivatives"):
        warnings.simplefilter("ignore", ComposedWarning)
        warnings.simplefilter("ignore", NumericalWarning)  # the report says so
        x, t, s = net.model.batch(X, T, sample_weight, get_backend("numpy"))
        report = _Checker(engine_of(net), x, t, s, method, tolerance, seed).run(second_order)
        return _with_scaling(report, net, X, (x, t, s), method, tolerance) if net.model.meaning.scaling else report


def _with_scaling(
    report: Report, net: Network, X: Any, batch: tuple[Array, Array, Array | None], method: str | None, tolerance: float | None
) -> Report:
    """The engine's report, and ∂y/∂x between raw x and y against differences in raw x."""
    checker = _Checker(engine_of(net), *batch, method, tolerance, 0)
    checker.net = net
    x = batch[0]
    kept = np.ones(len(x), bool) if checker.method == "complex_step" else ~near_kinks(engine_of(net), x)[0]
    raw = data.host_array(net.model.read(X), "X")[kept]
    if len(raw):
        scale = 1.0 if net.model.meaning.scaling.inputs is None else net.model.meaning.scaling.inputs.scale
        checker.by_input = lengths(engine_of(net), x[kept].astype(np.float64))[1] * scale
        checker._row(
            "jacobian, raw x and y",
            checker.method,
            lambda net, _: net.jacobian(raw),
            lambda: difference_jacobian(net, raw, method=checker.method),
            checker._jacobian_entry,
            checker._jacobian_size,
        )
    notes = [
        *report.notes,
        f"{net.model.meaning}: the rows are of the scaled numbers that the engine computes with, but for the last",
    ]
    return Report(repr(net), [*report.rows, *checker.rows], notes)


class _Checker:
    """One run: the batch without samples near a kink, and the rows found so far."""

    def __init__(self, net: Network, X: Any, T: Any, s: Any, method: str | None, tolerance: float | None, seed: int) -> None:
        host = get_backend("numpy")
        self.net = net
        self.rng = data.generator(seed)
        x, t, weight = net.model.batch(X, T, s, host)
        if tolerance is not None and not tolerance > 0:
            raise DataError(f"tolerance={tolerance!r}; it must be a number above 0")
        self.notes: list[str] = []
        self.rows: list[Row] = []
        self.method = method or ("central" if not_analytic(net) else "complex_step")
        kept = np.ones(len(x), bool)
        if self.method != "complex_step":
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

    def run(self, second_order: bool) -> Report:
        net = self.net
        if not len(self.x):
            self.rows.append(Row("everything", self.method, "void", note="every sample is at a kink; choose other samples"))
            return Report(repr(net), self.rows, self.notes)
        if not self.by_weight:
            self.notes.append(
                f"W = {net.n_parameters:,} is more than {WEIGHT_BY_WEIGHT}: differenced along {DIRECTIONS} random directions, and for "
                f"the {min(SUSPECTS, net.n_parameters)} weights with the largest gradient one by one"
            )
        self._first_order()
        if second_order:
            self.notes += no_second_derivative(net)
            self._second_order()
        return Report(repr(net), self.rows, self.notes)

    @property
    def batch(self) -> tuple[Array, Array, Array | None]:
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

    # -- rows --------------------------------------------------------------------------------------------------------------

    def _row(
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
            row = _compared(quantity, against, a, b, size(a), limit, name)
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
        row = _compared(row.quantity, against, a, b, size, row.tolerance, name, slack)
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

    def _parameter(self, at: tuple[int, ...], axis: int = -1) -> str:
        return self.net.parameter_name(at[axis])

    def _pair(self, at: tuple[int, ...]) -> str:
        return f"{self._parameter(at, 0)} × {self._parameter(at, 1)}"

    def _input(self, i: int) -> str:
        return f"input {self.net.schedule.describe_row(i)}"

    def _output(self, k: int) -> str:
        return f"output {self.net.schedule.describe_row(int(self.net.schedule.output_rows[k]))}"

    def _jacobian_entry(self, at: tuple[int, ...]) -> str:
        return f"{self._output(at[1])} by {self._input(at[2])}, sample {at[0]}"

    def _output_entry(self, at: tuple[int, ...]) -> str:
        return f"{self._output(at[1])}, sample {at[0]}"

    # -- what entries are compared with ------------------------------------------------------------------------------------

    @cached_property
    def _rounded(self) -> float:
        """What the tolerance must be a share of for a few roundings of E to stay below it."""
        eps = float(np.finfo(self.net.dtype).eps)
        return ROUNDINGS * eps / self.tolerance * abs(self.net.error(*self.batch))

    def _gradient_size(self, gradient: Array) -> Array:
        """The largest sum of a gradient's terms over the samples, each parameter in units of its length; no less than what E is rounded by.

        (Terms of one sample may cancel too: ∂E/∂w of a weight that all units of a softmax share is 0.)
        """
        try:
            terms = np.abs(np.asarray(self.net.per_sample_gradient(*self.batch), np.float64)).sum(axis=0)
        except (NotSupportedError, MemoryLimitError):
            terms = np.abs(gradient)
        return np.maximum(_largest(terms * self.by_parameter), self._rounded) / self.by_parameter

    def _weight_jacobian_size(self, J: Array) -> Array:
        """The same of each output."""
        return _largest(np.abs(J) * self.by_parameter, (0, 2)) / self.by_parameter

    def _jacobian_size(self, J: Array) -> Array:
        by_input = self.by_input[:, None, :]
        return _largest(np.abs(J) * by_input, (0, 2)) / by_input

    def _hessian_size(self, H: Array) -> Array:
        pairs = np.outer(self.by_parameter, self.by_parameter)
        return np.asarray(np.maximum(_largest(np.abs(H) * pairs), self._rounded) / pairs)

    def _product_size(self, found: Array) -> Array:
        """Of H v (W, B) for v in units of length."""
        return _largest(np.abs(found) * self.by_parameter[:, None], (0,)) / self.by_parameter[:, None]

    # -- first order -------------------------------------------------------------------------------------------------------

    def _first_order(self) -> None:
        net, x = self.net, self.x
        v, u = self.rng.normal(size=(len(x), net.schedule.n_outputs)), self.rng.normal(size=x.shape) * self.by_input
        u = u.astype(net.dtype)
        if self.by_weight:
            self._row(
                "gradient",
                self.method,
                lambda net, x: net.gradient(x, *self.batch[1:]),
                lambda: difference_gradient(net, *self.batch, method=self.method),
                self._parameter,
                self._gradient_size,
            )
            self._row(
                "weight_jacobian",
                self.method,
                lambda net, x: net.weight_jacobian(x),
                lambda: difference_weight_jacobian(net, x, method=self.method),
                lambda at: f"{self._output(at[1])} by {self._parameter(at)}, sample {at[0]}",
                self._weight_jacobian_size,
            )
        else:
            self._directional_gradient()
        self._row(
            "jacobian",
            self.method,
            lambda net, x: net.jacobian(x),
            lambda: difference_jacobian(net, x, method=self.method),
            self._jacobian_entry,
            self._jacobian_size,
        )
        self._row(
            "per_sample_gradient",
            "their sum is the gradient",
            lambda net, x: net.per_sample_gradient(x, *self.batch[1:]).sum(axis=0, dtype=np.float64),
            lambda: net.gradient(*self.batch),
            self._parameter,
            self._gradient_size,
            self.agree,
        )
        self._row(
            "jvp",
            "jacobian @ U",
            lambda net, x: net.jvp(x, u),
            lambda: np.einsum("nkd,nd->nk", self.jacobian, u),
            self._output_entry,
            lambda found: _largest(np.einsum("nkd,nd->nk", np.abs(self.jacobian), np.abs(u)), (0,)) + 0 * found,
            self.agree,
        )
        self._row(
            "vjp",
            "V @ jacobian",
            lambda net, x: net.vjp(x, v),
            lambda: np.einsum("nkd,nk->nd", self.jacobian, v),
            lambda at: f"{self._input(at[1])}, sample {at[0]}",
            lambda _: _largest(np.einsum("nkd,nk->nd", np.abs(self.jacobian), np.abs(v)) * self.by_input) / self.by_input,
            self.agree,
        )
        w = self._parameter_directions(1)[:, 0]
        self._row(
            "weight_jvp",
            "⟨V, J v⟩ = ⟨Jᵀ V, v⟩",
            lambda net, x: np.array([np.sum(v * net.weight_jvp(x, w), dtype=np.float64)]),
            lambda: np.array([np.sum(net.weight_vjp(x, v) * w, dtype=np.float64)]),
            lambda at: "",
            lambda found: np.array([np.abs(v * net.weight_jvp(x, w)).sum(dtype=np.float64)]),
            100 * self.agree,
        )

    def _directional_gradient(self) -> None:
        """d E(θ + s v)/ds = vᵀ ∂E/∂θ for random v, then the largest weights one by one."""
        net, n = self.net, self.net.n_parameters
        directions = self.rng.normal(size=(n, DIRECTIONS))
        directions /= np.linalg.norm(directions, axis=0)
        scaled = net.gradient(*self.batch) * self.by_parameter
        self._row(
            "gradient",
            f"central, {DIRECTIONS} directions",
            lambda net, x: (net.gradient(x, *self.batch[1:]) * self.by_parameter) @ directions,
            lambda: difference_along(net, *self.batch, directions),
            lambda at: f"direction {at[0]}",
            lambda found: np.full(found.shape, np.linalg.norm(scaled)),
            self.central,
        )
        suspects = np.argsort(-np.abs(scaled), kind="stable")[:SUSPECTS]
        chosen = np.zeros((n, len(suspects)))
        chosen[suspects, np.arange(len(suspects))] = 1
        self._row(
            "gradient",
            f"central, {len(suspects)} largest weights",
            lambda net, x: (net.gradient(x, *self.batch[1:]) * self.by_parameter)[suspects],
            lambda: difference_along(net, *self.batch, chosen),
            lambda at: self.net.parameter_name(int(suspects[at[0]])),
            lambda found: _largest(found) + 0 * found,
            self.central,
        )

    def _parameter_directions(self, count: int) -> Array:
        """(W, count) in the network's dtype, with room above: a unit that is nearly saturated has parameters of any size."""
        size = np.minimum(self.by_parameter, math.sqrt(float(np.finfo(self.net.dtype).max)))
        return (self.rng.normal(size=(count, len(size))) * size).T.astype(self.net.dtype)

    # -- second order ------------------------------------------------------------------------------------------------------

    def _second_order(self) -> None:
        net = self.net
        v = self._parameter_directions(2)
        if net.n_parameters > WHOLE_HESSIAN:
            self.notes.append(f"W = {net.n_parameters:,} is more than {WHOLE_HESSIAN:,}: no W × W result was formed")
            self._directional_hessian(v)
            return
        try:
            exact = np.asarray(net.hessian(*self.batch), np.float64)
        except (NotSupportedError, MemoryLimitError) as problem:
            self.rows.append(Row("hessian", self.method, "refused", note=str(problem)))
            self._directional_hessian(v)
            return
        if self.by_weight:
            method = "central" if self.method == "forward" else self.method
            self._row(
                "hessian",
                f"{method} of the gradient",
                lambda net, x: net.hessian(x, *self.batch[1:]),
                lambda: difference_hessian(net, *self.batch, method=method),
                self._pair,
                self._hessian_size,
                max(self.tolerance, self.floor),
            )
        else:
            self._directional_hessian(v)
        self.rows.append(_compared("hessian", "its transpose", exact, exact.T, np.ones(exact.shape), 0.0, self._pair))
        self._row(
            "hessian_diagonal",
            "diagonal of hessian",
            lambda net, x: net.hessian_diagonal(x, *self.batch[1:]),
            lambda: exact.diagonal(),
            self._parameter,
            lambda found: self._hessian_size(exact).diagonal(),
            self.agree,
        )
        self._row(
            "hessian_operator",
            "hessian @ v",
            lambda net, x: net.hessian_operator(x, *self.batch[1:]) @ v,
            lambda: exact @ v,
            lambda at: self._parameter(at, 0),
            lambda found: self._product_size(np.abs(exact) @ np.abs(v)),
            self.agree,
        )
        self._blocks(exact)
        self._outer_product(v)

    def _directional_hessian(self, v: Array) -> None:
        """d ∂E/∂θ(θ + s v)/ds = H v for random v."""
        self._row(
            "hessian_operator",
            "central of the gradient, 2 directions",
            lambda net, x: net.hessian_operator(x, *self.batch[1:]) @ v,
            lambda: difference_along(self.net, *self.batch, v / self.by_parameter[:, None], gradient=True),
            lambda at: self._parameter(at, 0),
            self._product_size,
            self.central,
        )

    def _blocks(self, exact: Array) -> None:
        """The unit blocks against the same entries of the Hessian."""
        pairs: list[tuple[int, int]] = []

        def found(net: Network, x: Array) -> Array:
            entries: list[Array] = []
            pairs.clear()
            for blocks in net.hessian_blocks(x, *self.batch[1:]).values():
                for index, block in zip(blocks.index, blocks.block, strict=True):
                    rows = np.flatnonzero(index >= 0)
                    entries.append(np.asarray(block, np.float64)[np.ix_(rows, rows)].ravel())
                    pairs.extend((int(a), int(b)) for a in index[rows] for b in index[rows])
            return np.concatenate(entries) if entries else np.zeros(0)

        def theirs(whole: Array) -> Array:
            return np.array([whole[pair] for pair in pairs])

        self._row(
            "hessian_blocks",
            "parts of hessian",
            found,
            lambda: theirs(exact),
            lambda at: self._pair(pairs[at[0]]),
            lambda _: theirs(self._hessian_size(exact)),
            self.agree,
        )

    def _outer_product(self, v: Array) -> None:
        net = self.net
        try:
            outer = np.asarray(net.outer_product_hessian(*self.batch), np.float64)
        except (NotSupportedError, MemoryLimitError) as problem:
            self.rows.append(Row("outer_product_hessian", "", "refused", note=str(problem)))
            return
        if not net.schedule.softmax_groups and self.by_weight:
            self._row(
                "outer_product_hessian",
                "Jᵀ Λ J",
                lambda net, x: net.outer_product_hessian(x, *self.batch[1:]),
                self._stacked,
                self._pair,
                self._hessian_size,
                max(self.agree, 1e-9),
            )
        self._row(
            "outer_product_operator",
            "outer_product_hessian @ v",
            lambda net, x: net.outer_product_operator(x, *self.batch[1:]) @ v,
            lambda: outer @ v,
            lambda at: self._parameter(at, 0),
            lambda found: self._product_size(np.abs(outer) @ np.abs(v)),
            self.agree,
        )

    def _stacked(self) -> Array:
        """Σ_n s_n J_nᵀ Λ_n J_n from the weight Jacobian of y: Λ by y is e'' , or for a canonical pair h'(a) / h'(a)² = 1 / h'(a)."""
        from graphbp.heads import output_heads

        net = self.net
        J = np.asarray(net.weight_jacobian(self.x), np.float64)
        trace = net.trace(*self.batch)
        a = np.concatenate([np.reshape(trace.a[node], (len(self.x), -1)) for node in net.outputs], axis=1).T.astype(np.float64)
        y, t = np.asarray(net.forward(self.x), np.float64).T, self.t.T.astype(np.float64)
        curvature = np.zeros_like(y)
        for head in output_heads(net.schedule, net.error_function):
            p = head.positions
            slope = head.activation.df(a[p])
            if (np.abs(slope) < np.finfo(slope.dtype).tiny).any():
                raise NotSupportedError("an output is saturated (h' = 0), so Λ cannot be had from y")
            own = head.weigh(head.gauss_newton(a[p], y[p], t[p]), None if self.s is None else self.s.T)
            curvature[p] = own / slope / slope  # h'² may vanish where h' does not
        return np.asarray(np.einsum("nka,nkb->ab", J * curvature.T[:, :, None], J, optimize=True))


def _compared(
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


def _largest(values: Array, axis: tuple[int, ...] | None = None) -> Array:
    """The largest finite size along some axes (all), which stay."""
    sizes = np.abs(values)
    return np.asarray(np.max(sizes, axis=axis, keepdims=True, initial=0, where=np.isfinite(sizes)))
