"""`net.check(X, T)`: every derivative against numerical differentiation and against the others, and where it is worst.

Each row of the report is one comparison: what was compared with what, the largest difference relative to the largest value, the
tolerance, and the edge, bias, input or output where it is worst.

* Small networks are differenced weight by weight.  For larger ones each comparison is made along random directions, and then the
  weights that contribute most are differenced one by one, so that a faulty edge is still named; the report says so.
* A kink makes a difference meaningless: where a step of the size used carries some a across one, the sample is left out of the
  comparison, and the report names the unit, the sample and how close to the kink it is.
* Some activations have no second derivative at a kink, or none but 0 (step); the report says for which units the exact Hessian
  holds almost everywhere only.
* A central difference that misses is taken again by extrapolation to step 0, whose error is O(ε⁴): a steep network is not wrong.
* Where every softmax is saturated its Jacobian is what round-off leaves; a row that misses for that reason alone is void.
* What the backend refuses is a row that says so, and does not count as wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp import data
from graphbp.comparable import near_kinks, no_second_derivative, saturation
from graphbp.compose import ComposedWarning
from graphbp.exceptions import DataError, MemoryLimitError, NotSupportedError, unknown_name
from graphbp.numerical import (
    EXTRAPOLATED,
    UNIT,
    directional_derivative,
    not_analytic,
    numerical_gradient,
    numerical_hessian,
    numerical_jacobian,
    numerical_weight_jacobian,
)
from graphbp.registry import get_backend

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["Report", "Row", "check"]

Array = npt.NDArray[Any]

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
NOISE = {"complex_step": 0.0, "central": 8 * UNIT ** (2 / 3), "forward": 8 * UNIT ** (1 / 2)}
"""Round-off in a difference, relative to the function differenced: u f / ε with ε as in `graphbp.numerical`."""
SATURATED, TRUSTED = 64, 1e-2
"""Round-off in a saturated softmax is taken this many times, and a row that it may spoil by more than this is void."""
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComposedWarning)
        x, t, s = net._batch(X, T, sample_weight, get_backend("numpy"))
        report = _Checker(net._engine(), x, t, s, method, tolerance, seed).run(second_order)
        return _with_scaling(report, net, X, x, t, method, tolerance) if net._meaning.scaling else report


def _with_scaling(report: Report, net: Network, X: Any, x: Array, t: Array, method: str | None, tolerance: float | None) -> Report:
    """The engine's report on the scaled x and t, and ∂y/∂x between raw x and y against differences in raw x."""
    checker = _Checker(net._engine(), x, t, None, method, tolerance, 0)
    kept = np.ones(len(x), bool) if checker.method == "complex_step" else ~near_kinks(net._engine(), x)[0]
    raw = data.host_array(net._read(X), "X")[kept]
    if len(raw):
        checker._row(
            "jacobian, raw x and y",
            checker.method,
            lambda: net.jacobian(raw),
            lambda: numerical_jacobian(net, raw, method=checker.method),
            checker._jacobian_entry,
            differenced=float(np.abs(net.forward(raw)).max()),
            refined=checker._extrapolated(lambda method: numerical_jacobian(net, raw, method=method)),
            softmax="y",
        )
    notes = [*report.notes, f"{net._meaning}: the rows are of the scaled numbers that the engine computes with, but for the last"]
    return Report(repr(net), [*report.rows, *checker.rows], notes)


class _Checker:
    """One run: the batch without samples near a kink, and the rows found so far."""

    def __init__(self, net: Network, X: Any, T: Any, s: Any, method: str | None, tolerance: float | None, seed: int) -> None:
        host = get_backend("numpy")
        self.net = net
        self.rng = data.generator(seed)
        x = data.as_inputs(X, net.schedule, host, net.dtype)
        t = data.as_targets(T, len(x), net.schedule, net.error_function, host, net.dtype)
        weight = data.as_sample_weight(s, len(x), host, net.dtype)
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

    # -- rows --------------------------------------------------------------------------------------------------------------

    def _row(
        self,
        quantity: str,
        against: str,
        found: Callable[[], Any],
        expected: Callable[[], Any],
        name: Callable[[tuple[int, ...]], str],
        tolerance: float | None = None,
        differenced: float = 0.0,
        rounding: float = 0.0,
        refined: Callable[[], Any] | None = None,
        softmax: str = "",
    ) -> None:
        """Compare two arrays; what the backend refuses, or memory forbids, becomes a row that says so.

        `differenced` is the size of what was differenced to find `expected`: its round-off is allowed for, and so is `rounding`,
        that of `found` itself.  `refined` is `expected` with a smaller error, for where the two disagree.  `softmax` says that the
        row rests on ∂y/∂a ("y") or on it and δ ("E"), of which a saturated softmax leaves round-off.
        """
        try:
            a, b = np.asarray(found(), np.float64), np.asarray(expected(), np.float64)
        except (NotSupportedError, MemoryLimitError) as problem:
            self.rows.append(Row(quantity, against, "refused", note=str(problem)))
            return
        limit = self.tolerance if tolerance is None else tolerance
        row = self._compared(quantity, against, a, b, name, limit, differenced, rounding)
        if not row.ok and refined is not None:
            row = self._compared(quantity, f"{against}, extrapolated", a, refined(), name, limit, differenced, rounding)
        if not row.ok and softmax:
            lost = SATURATED * self.saturation[softmax]
            row = self._compared(quantity, row.against, a, b, name, max(limit, lost), differenced, rounding)
            if lost > TRUSTED:
                row = Row(quantity, against, "void", note="every softmax is saturated, its Jacobian round-off: scale X")
        self.rows.append(row)

    def _compared(
        self,
        quantity: str,
        against: str,
        a: Array,
        b: Array,
        name: Callable[[tuple[int, ...]], str],
        limit: float,
        differenced: float,
        rounding: float,
    ) -> Row:
        """The row of found `a` and expected `b`."""
        if not b.size:
            return Row(quantity, against, "ok", 0.0, limit)
        apart = np.where(np.isfinite(a - b), np.abs(a - b), np.inf)
        at = tuple(int(k) for k in np.unravel_index(int(np.argmax(apart)), apart.shape))
        noise = differenced * NOISE["central" if "central" in against else self.method] + rounding
        scale = max(float(np.abs(b, where=np.isfinite(b), out=np.zeros(b.shape)).max()), noise / limit, 1e-300)
        difference = float(apart[at]) / scale
        status = "ok" if difference <= limit else "wrong"
        return Row(quantity, against, status, difference, limit, name(at), float(a[at]), float(b[at]))

    @cached_property
    def saturation(self) -> dict[str, float]:
        """The relative round-off in what rests on ∂y/∂a, and on E's derivatives."""
        return dict(zip("yE", saturation(self.net, self.x, self.t), strict=True))

    def _extrapolated(self, difference: Callable[[str], Array]) -> Callable[[], Array] | None:
        """`difference` by the method that refines the central one, where that is in use."""
        return (lambda: difference(EXTRAPOLATED)) if self.method == "central" else None

    def _parameter(self, at: tuple[int, ...], axis: int = -1) -> str:
        return self.net.parameter_name(at[axis])

    def _sample_parameter(self, at: tuple[int, ...]) -> str:
        return f"{self._parameter(at)}, sample {at[0]}"

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

    # -- first order -------------------------------------------------------------------------------------------------------

    def _first_order(self) -> None:
        net, x = self.net, self.x
        wide = x.astype(np.float64)
        v, u = self.rng.normal(size=(len(x), net.schedule.n_outputs)), self.rng.normal(size=wide.shape)
        error, gradient = net.error_and_gradient(*self.batch)
        largest = float(np.abs(net.forward(x)).max())
        if self.by_weight:
            self._row(
                "gradient",
                self.method,
                lambda: gradient,
                lambda: numerical_gradient(net, *self.batch, method=self.method),
                self._parameter,
                differenced=abs(error),
                rounding=self._rounding(),
                refined=self._extrapolated(lambda method: numerical_gradient(net, *self.batch, method=method)),
                softmax="E",
            )
            self._row(
                "weight_jacobian",
                self.method,
                lambda: net.weight_jacobian(x),
                lambda: numerical_weight_jacobian(net, x, method=self.method),
                lambda at: f"{self._output(at[1])} by {self._parameter(at)}, sample {at[0]}",
                differenced=largest,
                refined=self._extrapolated(lambda method: numerical_weight_jacobian(net, x, method=method)),
                softmax="y",
            )
        else:
            self._directional_gradient(gradient, abs(error))
        self._row(
            "jacobian",
            self.method,
            lambda: net.jacobian(x),
            lambda: numerical_jacobian(net, x, method=self.method),
            self._jacobian_entry,
            differenced=largest,
            refined=self._extrapolated(lambda method: numerical_jacobian(net, x, method=method)),
            softmax="y",
        )
        self._row(
            "per_sample_gradient",
            "their sum is the gradient",
            lambda: net.per_sample_gradient(*self.batch).sum(axis=0, dtype=np.float64),
            lambda: gradient,
            self._parameter,
            self.agree * max(1.0, self._cancellation(gradient)),
        )
        self._row(
            "jvp",
            "jacobian @ U",
            lambda: net.jvp(x, u),
            lambda: _times(net.jacobian(x), u),
            self._output_entry,
            self.agree,
            softmax="y",
        )
        self._row(
            "vjp",
            "V @ jacobian",
            lambda: net.vjp(x, v),
            lambda: np.einsum("nkd,nk->nd", np.asarray(net.jacobian(x), np.float64), v),
            lambda at: f"{self._input(at[1])}, sample {at[0]}",
            self.agree,
            softmax="y",
        )
        w = self.rng.normal(size=net.n_parameters)
        self._row(
            "weight_jvp",
            "⟨V, J v⟩ = ⟨Jᵀ V, v⟩",
            lambda: _scaled_sum(v * net.weight_jvp(x, w), v * net.weight_jvp(x, w)),
            lambda: _scaled_sum(net.weight_vjp(x, v) * w, v * net.weight_jvp(x, w)),
            lambda at: "",
            100 * self.agree,
            softmax="y",
        )

    def _rounding(self) -> float:
        """What the round-off of y, an ulp a level, is worth in the gradient: at an exact fit, y − t is nothing but that."""
        try:
            by_output = np.abs(self.net.weight_jacobian(self.x)).sum(axis=(0, 1), dtype=np.float64).max(initial=0)
        except (NotSupportedError, MemoryLimitError):
            return 0.0
        largest = float(np.abs(self.net.forward(self.x)).max() + np.abs(self.t).max())
        return float(np.finfo(self.net.dtype).eps * (2 + self.net.schedule.depth) * largest * by_output)

    def _cancellation(self, gradient: Array) -> float:
        """How much larger the terms of the gradient's sum over samples are than the sum."""
        try:
            terms = np.abs(self.net.per_sample_gradient(*self.batch)).sum(axis=0, dtype=np.float64).max(initial=0)
        except (NotSupportedError, MemoryLimitError):
            return 1.0
        largest = float(np.abs(gradient).max(initial=0))
        return float(terms) / largest if largest > 0 and np.isfinite(terms) else 1.0

    def _directional_gradient(self, gradient: Array, error: float) -> None:
        """d E(θ + s v)/ds = vᵀ ∂E/∂θ for random v, then the largest weights one by one."""
        wide = self.net.to(dtype="float64")
        theta = np.array(wide.weights)
        batch = tuple(None if part is None else part.astype(np.float64) for part in self.batch)

        def along(direction: Array, method: str = "central") -> Array:
            def moved(step: float) -> float:
                wide.weights = theta + step * direction
                return wide.error(*batch)

            return directional_derivative(moved, method=method)

        directions = self.rng.normal(size=(DIRECTIONS, len(theta)))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        norm = max(float(np.linalg.norm(gradient)), 1e-300)
        self._row(
            "gradient",
            f"central, {DIRECTIONS} directions",
            lambda: np.append(directions @ gradient.astype(np.float64), norm),
            lambda: np.append([along(d) for d in directions], norm),
            lambda at: f"direction {at[0]}",
            self.central,
            error,
            refined=lambda: np.append([along(d, EXTRAPOLATED) for d in directions], norm),
            softmax="E",
        )
        suspects = np.argsort(-np.abs(gradient), kind="stable")[:SUSPECTS]
        self._row(
            "gradient",
            f"central, {len(suspects)} largest weights",
            lambda: gradient[suspects],
            lambda: np.array([along(np.eye(1, len(theta), a)[0]) for a in suspects]),
            lambda at: self.net.parameter_name(int(suspects[at[0]])),
            self.central,
            error,
            refined=lambda: np.array([along(np.eye(1, len(theta), a)[0], EXTRAPOLATED) for a in suspects]),
            softmax="E",
        )

    # -- second order ------------------------------------------------------------------------------------------------------

    def _second_order(self) -> None:
        net = self.net
        v = self.rng.normal(size=(net.n_parameters, 2))
        if net.n_parameters > WHOLE_HESSIAN:
            self.notes.append(f"W = {net.n_parameters:,} is more than {WHOLE_HESSIAN:,}: no W × W result was formed")
            self._directional_hessian()
            return
        try:
            exact = np.asarray(net.hessian(*self.batch), np.float64)
        except (NotSupportedError, MemoryLimitError) as problem:
            self.rows.append(Row("hessian", self.method, "refused", note=str(problem)))
            self._directional_hessian()
            return
        if self.by_weight:
            method = "central" if self.method == "forward" else self.method
            self._row(
                "hessian",
                f"{method} of the gradient",
                lambda: exact,
                lambda: numerical_hessian(net, *self.batch, method=method),
                self._pair,
                max(self.tolerance, self.floor),
                float(np.abs(net.gradient(*self.batch)).max(initial=0)),
                refined=self._extrapolated(lambda method: numerical_hessian(net, *self.batch, method=method)),
                softmax="E",
            )
        else:
            self._directional_hessian()
        self._row("hessian", "its transpose", lambda: exact, lambda: exact.T, self._pair, 1e-300)
        self._row(
            "hessian_diagonal",
            "diagonal of hessian",
            lambda: np.append(net.hessian_diagonal(*self.batch), np.abs(exact).max(initial=0)),
            lambda: np.append(exact.diagonal(), np.abs(exact).max(initial=0)),
            lambda at: self._parameter(at) if at[0] < net.n_parameters else "",
            self.agree,
        )
        self._row(
            "hessian_operator",
            "hessian @ v",
            lambda: net.hessian_operator(*self.batch) @ v.astype(net.dtype),
            lambda: exact @ v,
            lambda at: self._parameter(at, 0),
            self.agree,
            softmax="E",
        )
        self._blocks(exact)
        self._outer_product(v)

    def _directional_hessian(self) -> None:
        """d ∂E/∂θ(θ + s v)/ds = H v for random v."""
        wide = self.net.to(dtype="float64")
        theta = np.array(wide.weights)
        batch = tuple(None if part is None else part.astype(np.float64) for part in self.batch)
        v = self.rng.normal(size=(len(theta), 2))
        v /= np.linalg.norm(v, axis=0)

        def moved(step: float, column: int) -> Array:
            wide.weights = theta + step * v[:, column]
            return np.asarray(wide.gradient(*batch))

        def differenced(method: str) -> Array:
            columns = [directional_derivative(partial(moved, column=c), method=method) for c in range(2)]
            return np.stack(columns, axis=1)

        self._row(
            "hessian_operator",
            "central of the gradient, 2 directions",
            lambda: self.net.hessian_operator(*self.batch) @ v.astype(self.net.dtype),
            lambda: differenced("central"),
            lambda at: self._parameter(at, 0),
            self.central,
            float(np.abs(self.net.gradient(*self.batch)).max(initial=0)),
            refined=lambda: differenced(EXTRAPOLATED),
            softmax="E",
        )

    def _blocks(self, exact: Array) -> None:
        try:
            found = self.net.hessian_blocks(*self.batch)
        except (NotSupportedError, MemoryLimitError) as problem:
            self.rows.append(Row("hessian_blocks", "parts of hessian", "refused", note=str(problem)))
            return
        worst, scale = (0.0, "", 0.0, 0.0), max(float(np.abs(exact).max(initial=0)), 1e-300)
        for blocks in found.values():
            for index, block in zip(blocks.index, blocks.block, strict=True):
                rows = np.flatnonzero(index >= 0)
                mine, theirs = np.asarray(block, np.float64)[np.ix_(rows, rows)], exact[np.ix_(index[rows], index[rows])]
                if not mine.size:
                    continue
                at = np.unravel_index(int(np.argmax(np.abs(mine - theirs))), mine.shape)
                apart = float(abs(mine[at] - theirs[at])) / scale
                if apart > worst[0] or not worst[1]:
                    name = self._pair((int(index[rows[at[0]]]), int(index[rows[at[1]]])))
                    worst = (apart, name, float(mine[at]), float(theirs[at]))
        status = "ok" if worst[0] <= self.agree else "wrong"
        self.rows.append(Row("hessian_blocks", "parts of hessian", status, worst[0], self.agree, *worst[1:]))

    def _outer_product(self, v: Array) -> None:
        net = self.net
        try:
            outer = np.asarray(net.outer_product_hessian(*self.batch), np.float64)
        except (NotSupportedError, MemoryLimitError) as problem:
            self.rows.append(Row("outer_product_hessian", "", "refused", note=str(problem)))
            return
        if not net.schedule.softmax_groups and self.by_weight:
            self._row("outer_product_hessian", "Jᵀ Λ J", lambda: outer, self._stacked, self._pair, max(self.agree, 1e-9))
        self._row(
            "outer_product_operator",
            "outer_product_hessian @ v",
            lambda: net.outer_product_operator(*self.batch) @ v.astype(net.dtype),
            lambda: outer @ v,
            lambda at: self._parameter(at, 0),
            self.agree,
            softmax="y",
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
            if (slope == 0).any():
                raise NotSupportedError("an output is saturated (h' = 0), so Λ cannot be had from y")
            curvature[p] = head.gauss_newton(a[p], y[p], t[p]) / slope**2
        if self.s is not None:
            curvature = curvature * self.s
        return np.asarray(np.einsum("nka,kn,nkb->ab", J, curvature, J, optimize=True))


def _times(J: Any, u: Array) -> Array:
    return np.asarray(np.einsum("nkd,nd->nk", np.asarray(J, np.float64), u))


def _scaled_sum(terms: Any, scale: Any) -> Array:
    """Σ terms beside Σ |scale|, so that a sum that cancels is not measured by itself."""
    return np.array([np.sum(terms, dtype=np.float64), np.abs(scale).sum(dtype=np.float64)])
