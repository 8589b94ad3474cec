r"""F(θ) and all that L-BFGS asks about it: gradient, units of the parameters, Hessian, and what rounding hides.

    F(θ) = Σ_n s_n E_n / Σ_n s_n + ½ l2 |θ|²        (|θ|² of the weights alone where biases are not penalised)

Everything here is float64 on the host, whatever backend and dtype the network has; θ is rounded to the network's dtype first.

*Units.*  `units(θ)` is d_i = √(Σ_nk s_n e''_nk (∂y_nk/∂θ_i)² / Σ_n s_n + l2), the root of the outer-product Hessian's diagonal, or
√(Σ_n s_n (∂E_n/∂θ_i)² / (2 F Σ_n s_n)) where that is more (wrong and saturated outputs have no curvature).  Where θ_i is given in
other units (or a column of X is), d_i θ_i stays what it is, so an algorithm that sees only dθ and g/d does not notice.

*Rounding.*  `resolution(θ)` moves every θ_i by its last bit, in several patterns of signs, and sees what F does beyond its slope: no
smaller fall of F can be told from rounding here, however F was summed and whatever cancels inside the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.mixture import Mixture, by_output
from graphbp.training.plateau import unseen
from graphbp.training.problem import Problem
from graphbp.training.sources import source_sizes, units_led_to

__all__ = ["Objective", "Point", "Vector"]

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

JACOBIAN_ENTRIES, CHUNK_ENTRIES = 1 << 26, 1 << 22
"""N·K·W up to which ∂y/∂θ is formed for the units, and how much of it at once; above, random signs give them to some 20 %."""
SIGNS = 12
"""Reverse sweeps with random signs."""
HESSIAN_PARAMETERS, HESSIAN_WORK = 500, 2e9
"""W and N·W·(M + W) up to which Newton steps are taken."""
_NEVER_NEGATIVE = ("sum_of_squares", "binary_cross_entropy", "cross_entropy")
JITTERS = 3
"""Patterns of signs that θ's last bits are moved by."""


@dataclass(frozen=True)
class Point:
    """θ as the network holds it, with the mean error, F and ∇F there."""

    theta: Vector
    error: float
    value: float
    gradient: Vector

    @property
    def finite(self) -> bool:
        """F and ∇F are."""
        return math.isfinite(self.value) and bool(np.isfinite(self.gradient).all())


class Objective:
    """F of a run's training set; with `exact=False` the outer product stands for its Hessian (Fisher scoring)."""

    def __init__(self, problem: Problem, l2: float, *, biases: bool = True, exact: bool = True) -> None:
        self.l2, self.exact = l2, exact
        self.penalised = problem.penalised(biases)
        """(W,) 1 for the parameters that the penalty acts on, else 0."""
        self._net, self._problem = problem.net, problem.weighed
        self._part = self._problem.training
        self.eps = float(np.finfo(self._net.dtype).eps)

    def backend_theta(self, theta: Vector) -> Any:
        """θ as the backend's array."""
        return self._net.model.backend.asarray(theta.astype(self._net.dtype), self._net.dtype)

    def _host(self, array: Any) -> npt.NDArray[Any]:
        return np.asarray(self._net.model.backend.to_numpy(array), np.float64)

    def __call__(self, theta: Vector) -> Point:
        """F and ∇F at θ."""
        theta = theta.astype(self._net.dtype).astype(np.float64)
        error, gradient = self._problem.mean_error_and_gradient(self.backend_theta(theta), self._part)
        g = self._host(gradient)
        if not self.l2:  # where |θ|² may overflow
            return Point(theta, error, error, g)
        held = self.penalised * theta
        return Point(theta, error, error + 0.5 * self.l2 * float(held @ held), g + self.l2 * held)

    def units(self, point: Point) -> Vector:
        """d (W,), 0 where no output depends on a parameter."""
        level = math.sqrt(2 * self.magnitude(point)) or 1.0
        by_output, by_error = _norms(self._output_rows(point.theta)), _norms(self._error_rows(point.theta))
        norms = np.maximum(by_output, by_error / level) / math.sqrt(self._part.total)
        return np.where(self.unseen(point), 0.0, np.hypot(norms, math.sqrt(self.l2) * self.penalised))

    def unseen(self, point: Point) -> npt.NDArray[np.bool_]:
        """(W,): the parameters of units that every sample saturates, but for those that a penalty sees."""
        if self.l2 and self.penalised.all():
            return np.zeros(len(point.theta), bool)
        found = unseen(self._problem, self.backend_theta(point.theta))
        return found & (self.penalised == 0) if self.l2 else found

    def sources(self, point: Point) -> tuple[Vector, npt.NDArray[np.int64]]:
        """(W,): how far a step of 1 in each parameter moves the pre-activation that it leads into, and the number of that unit."""
        return source_sizes(self._problem, self.backend_theta(point.theta)), units_led_to(self._problem)

    def _output_rows(self, theta: Vector) -> Iterator[Matrix]:
        """Rows whose columns have the norms of √(s e'') ∂y/∂θ_i: these themselves, or sums of them with random signs."""
        weigh, at, run, x = self._root_curvature(theta), self.backend_theta(theta), self._net.model.run, self._part.x
        if self._is_small(weigh.size) and "weight_jacobian" not in run.composed:
            for some in self._chunks(weigh.shape[1]):
                yield self._host(run.weight_jacobian(at, x[some])).reshape(weigh[some].size, -1) * weigh[some].reshape(-1, 1)
        else:
            yield self._signed(weigh.shape, lambda sign: run.vjp(at, x, self._array(weigh * sign))[1])

    def _error_rows(self, theta: Vector) -> Iterator[Matrix]:
        """The same of √s_n ∂E_n/∂θ_i."""
        part, at, run = self._part, self.backend_theta(theta), self._net.model.run
        by_sample = np.sqrt(part.by_sample)
        root = by_sample
        if part.s is not None and part.share is not None:
            root = self._host(part.s) / (by_sample[:, None] if part.s.ndim == 2 else by_sample)
        if self._is_small(len(part)) and "per_sample_gradient" not in run.composed:
            for some in self._chunks(1):
                yield self._host(run.per_sample_gradient(at, part.x[some], part.t[some], self._array(root[some])))
        else:
            signs = (len(root), *(1,) * (root.ndim - 1))
            yield self._signed(signs, lambda sign: run.error_and_gradient(at, part.x, part.t, self._array(root * sign))[1])

    def _chunks(self, rows: int) -> Iterator[slice]:
        """The samples, so many at a time as have CHUNK_ENTRIES numbers in `rows` rows each."""
        size = max(1, CHUNK_ENTRIES // (rows * self._net.n_parameters))
        return (slice(start, start + size) for start in range(0, len(self._part), size))

    def _is_small(self, rows: int) -> bool:
        return rows * self._net.n_parameters <= JACOBIAN_ENTRIES

    def _array(self, values: Vector) -> Any:
        return self._net.model.backend.asarray(values.astype(self._net.dtype), self._net.dtype)

    def _signed(self, shape: tuple[int, ...], sweep: Callable[[Vector], Any]) -> Matrix:
        draw = np.random.default_rng(0)
        rows = [self._host(sweep(draw.choice([-1.0, 1.0], shape))) for _ in range(SIGNS)]
        return np.asarray(rows) / math.sqrt(SIGNS)

    def _root_curvature(self, theta: Vector) -> Vector:
        """√(s_n |∂²e/∂y²|) (N, K), 0 where y is rounded to where that is infinite."""
        y, t = self._host(self._net.model.run.forward(self.backend_theta(theta), self._part.x)), self._host(self._part.t)
        root = np.sqrt(np.abs(by_output(self._net.error_function, "d2y", y, t)))
        if self._part.s is not None:
            weight = np.sqrt(self._host(self._part.s))
            root = root * (weight if weight.ndim == 2 else weight[:, None])
        return np.where(np.isfinite(root), root, 0.0)

    def resolution(self, point: Point) -> float:
        """What rounding hides of F."""
        hidden = 4 * self.eps * abs(point.value)
        draw = np.random.default_rng(0)
        for _ in range(JITTERS):
            near = self(point.theta * (1 + 2 * self.eps * draw.choice([-1.0, 1.0], len(point.theta))))
            if near.finite:
                hidden = max(hidden, abs(near.value - point.value - float(point.gradient @ (near.theta - point.theta))))
        return hidden

    def magnitude(self, point: Point) -> float:
        """Σ_nk s_n |e_nk| / Σ_n s_n with the penalty: what "small" is relative to; F itself where no term is negative."""
        error = self._net.error_function
        if all(row.name in _NEVER_NEGATIVE for row in (error.each if isinstance(error, Mixture) else (error,))):
            return point.value
        y, t = self._host(self._net.model.run.forward(self.backend_theta(point.theta), self._part.x)), self._host(self._part.t)
        terms, weight = np.abs(by_output(error, "value", y, t)), self._part.weights
        if weight is not None and weight.ndim == 2:
            weighted = np.where(weight == 0, 0.0, terms * weight)
        else:
            weighted = terms.sum(axis=1) if weight is None else terms.sum(axis=1) * weight
        size = float(weighted.sum()) / self._part.total + point.value - point.error
        return max(size, abs(point.value)) if math.isfinite(size) else abs(point.value)

    @property
    def has_hessian(self) -> bool:
        """W × W is cheap enough to take Newton steps."""
        w, units = self._net.n_parameters, self._net.schedule.n_units
        cheap = w <= HESSIAN_PARAMETERS and len(self._part) * w * (units + w) <= HESSIAN_WORK
        return cheap and ("hessian" if self.exact else "outer_product_hessian") not in self._net.model.run.composed

    @property
    def has_product(self) -> bool:
        """H v costs some sweeps."""
        return ("hessian_product" if self.exact else "outer_product_product") not in self._net.model.run.composed

    def hessian_product(self, point: Point, v: Vector) -> Vector:
        """∂²F/∂θ∂θ v, (W,)."""
        part, size = self._part, 2.0 ** math.frexp(float(np.abs(v).max(initial=0.0)) or 1.0)[1]  # float32 holds v / size
        run = self._net.model.run
        multiply = run.hessian_product if self.exact else run.outer_product_product
        product = multiply(self.backend_theta(point.theta), part.x, part.t, part.s, self._array((v / size)[:, None]))
        return np.asarray((self._host(product)[:, 0] / part.total + self.l2 * (self.penalised * v) / size) * size)

    def hessian(self, point: Point) -> Matrix:
        """∂²F/∂θ∂θ."""
        run, part = self._net.model.run, self._part
        h = self._host(
            (run.hessian if self.exact else run.outer_product_hessian)(self.backend_theta(point.theta), part.x, part.t, part.s)
        )
        return np.asarray(h / self._part.total + self.l2 * np.diag(self.penalised))


def _norms(parts: Iterable[Matrix]) -> Vector:
    """|column| of the parts on one another."""
    return np.asarray(reduce(np.hypot, map(_column_norms, parts)))


def _column_norms(rows: Matrix) -> Vector:
    """|column|, also where its square leaves float64's range; what is not finite does not count."""
    rows = np.where(np.isfinite(rows), rows, 0.0)
    top = np.abs(rows).max(axis=0, initial=0.0)
    safe = np.where(top > 0, top, 1.0)
    return np.asarray(top * np.sqrt(np.sum((rows / safe) ** 2, axis=0)))
