r"""L-BFGS that does not notice units, with exact Newton steps where they are affordable.

    p = −D⁻¹ Ĥ D⁻¹ g,     Ĥ from the last `memory` pairs ŝ = D s, ŷ = D⁻¹ y  (Nocedal & Wright 2006, algorithm 7.4)

D is the diagonal of `Objective.units`, looked up again after 1, 2, 4, 8, ... iterations (the pairs are then rescaled, nothing is
forgotten), so θ, X and T may be given in any units.  Diagonal scaling does not help where columns are nearly dependent.  There, and to
know where the minimum is, W ≤ 500 parameters have `newton`: tried after 0, 1, 2, 4, 8, ... iterations, kept while it does well, and asked
before a run is called converged.  Where W is larger, Hessian products give its directions as far as the gradient needs them (`krylov`):
asked where L-BFGS would end, and kept while that does well.

What ends a run, and what it is called:

* converged: Newton's decrement is below `tolerance` of F, or below what rounding hides; or the gradient vanishes;
* stopped at a saddle point; stopped, since the classes are separable and F has no minimum (`separable`);
* stopped, since L-BFGS expects little, and stalled, where no step length lowers F: there is no Hessian to say that it is a minimum.

Invariant: everything that the next iteration depends on is in `_state`, so a run resumes at any iteration to the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphbp.training.krylov import krylov_model
from graphbp.training.line_search import search
from graphbp.training.loop import Run
from graphbp.training.newton import NewtonModel, lower, newton_model
from graphbp.training.objective import Objective, Point, Vector
from graphbp.training.options import LBFGS
from graphbp.training.places import Ending
from graphbp.training.points import doubled, first_point, follow
from graphbp.training.tangent import norm

__all__ = ["lbfgs"]

IN_A_ROW = 3
"""Iterations that must promise little before L-BFGS's own estimate is believed."""
GRADIENT_VANISHES = "converged: the gradient vanishes within gradient_tolerance"
LITTLE_EXPECTED = (
    "stopped: L-BFGS expects F to fall by less than tolerance (no Hessian was there to tell whether this is the minimum)"
)
PRODUCTS_AT = tuple(4**k for k in range(3, 16))
"""Iterations after which Hessian products are tried, as many as there were iterations: where they are of no use, a run takes twice as long."""
REACH = 4.0
"""A line search begins within this many times |D θ| (anywhere from θ = 0)."""


def lbfgs(run: Run, options: LBFGS) -> None:
    """Run iterations until the run is done or converged."""
    follow(run, lambda: _Descent(run, options))


class _Descent:
    """The point where a run stands, and what it remembers."""

    def __init__(self, run: Run, options: LBFGS) -> None:
        self._run, self._o = run, options
        self.objective = Objective(run.problem, options.l2, biases=options.penalize_biases)
        self._ending = Ending(run, self.objective)
        self._point = first_point(run, self.objective)
        self._units = np.zeros(len(self._point.theta))
        self._pairs: list[tuple[Vector, Vector]] = []
        self._unseen = np.zeros(len(self._point.theta), bool)
        self._widest = np.zeros(len(self._point.theta))
        """The largest that D has been: what a saturated unit has forgotten of its units."""
        self._hidden = 0.0
        self._small = 0
        """Iterations in a row after which so little was left to fall that the run may end."""
        self._newton_works = False
        self._pace = 0.0
        """How far F fell in the last of L-BFGS's own iterations."""
        self._products = 0
        """Products that the next model may take, if there were fewer iterations."""
        if run.now.state:
            self._restore()

    def state(self) -> dict[str, Any]:
        """Arrays that are never written to again."""
        numbers = np.array([self._hidden, self._small, self._newton_works, self._pace, self._products])
        held = {"units": self._units, "widest": self._widest, "unseen": self._unseen, "numbers": numbers}
        for i, (s, y) in enumerate(self._pairs):
            held |= {f"step.{i}": s, f"change.{i}": y}
        return held

    def _restore(self) -> None:
        held = self._run.now.state
        self._units, self._widest, self._unseen = held["units"], held["widest"], held["unseen"]
        numbers = [*held["numbers"].tolist(), 0.0, 0.0]  # an earlier version's has no pace and no products
        hidden, small, works, self._pace, products = numbers[:5]
        self._hidden, self._small, self._newton_works = hidden, int(small), bool(works)
        self._products = int(products)
        count = sum(name.startswith("step.") for name in held)
        self._pairs = [(held[f"step.{i}"], held[f"change.{i}"]) for i in range(count)]

    # -- one iteration -----------------------------------------------------------------------------------------------------

    def next(self) -> Point | None:
        """The next point; None where the run has ended, and why is said."""
        k, g = self._run.now.epoch, self._point.gradient
        if doubled(k) or bool(((self._units == 0) & ~self._unseen & (g != 0)).any()):
            self._look_up_units()
        if self._o.restart_every and k % self._o.restart_every == 0:
            self._pairs = []
        if not g[~self._unseen].any():
            return self._move(self._at_rest())
        if 0 <= self._point.error <= self.objective.eps and (found := self._ending.beyond(self._point, [])):
            return self._end(found)
        asked = self._newton_due(k)
        point = self._newton() if asked else None
        if point is None and not self._run.finished:
            point = self._quasi_newton(asked)
        return self._move(point)

    def _move(self, point: Point | None) -> Point | None:
        self._point = self._point if point is None else point
        return point

    def _end(self, reason: str) -> Point | None:
        """End the run: there is no next point."""
        self._run.end(reason)
        return None

    def _at_rest(self) -> Point | None:
        model = newton_model(self.objective, self._point, self._hidden) if self.objective.has_hessian else None
        if model is not None:
            found = lower(self.objective, model, self._point, polish=False)
            return found[0] if found else self._verdict(model, "the gradient is zero")
        return self._end(self._ending.place(self._point, None) or "converged: the gradient is zero")

    def _look_up_units(self) -> None:
        """D at this point; the pairs are expressed in it."""
        before, g = self._units, self._point.gradient
        units = self.objective.units(self._point)
        least = np.abs(g) / math.sqrt(2 * self.objective.magnitude(self._point) or 1.0)
        self._unseen = self.objective.unseen(self._point)
        units = np.where((units == 0) & ~self._unseen & (g != 0), least, units)
        kept = (before > 0) & (units > 0)
        ratio = np.where(kept, units, 0.0) / np.where(kept, before, 1.0)
        back = np.where(kept, before, 0.0) / np.where(kept, units, 1.0)
        self._pairs = [pair for s, y in self._pairs if _curved(*(pair := (s * ratio, y * back)))]
        self._units, self._widest = units, np.maximum(self._widest, units)
        self._hidden = self.objective.resolution(self._point)

    def _scaled(self, gradient: Vector) -> Vector:
        return np.asarray(np.divide(gradient, self._units, out=np.zeros_like(gradient), where=self._units > 0))

    def _quasi_newton(self, asked: bool) -> Point | None:
        g = self._scaled(self._point.gradient)
        p = -_product(self._pairs, g)
        level = self.objective.magnitude(self._point)
        flat = float(np.abs(g).max()) <= self._o.gradient_tolerance * math.sqrt(2 * level)
        low = -0.5 * float(p @ g) <= max(self._o.tolerance * level, self._hidden)
        self._small = self._small + 1 if flat or low else 0
        if self._small >= IN_A_ROW or (self._small and self.objective.has_hessian and not asked):
            return self._settle(GRADIENT_VANISHES if flat else LITTLE_EXPECTED, asked)
        point = self._along(p, g) or (self._along(-g, g) if self._pairs else None)
        if point is None:
            return self._settle("stalled: no step, however short, lowers F by more than rounding hides", asked)
        self._pace, self._products = self._point.value - point.value, 0
        s, y = (point.theta - self._point.theta) * self._units, self._scaled(point.gradient - self._point.gradient)
        if _curved(s, y):
            self._pairs = [*self._pairs, (s, y)][-self._o.memory :]
        return point

    def _along(self, p: Vector, g: Vector) -> Point | None:
        """The line search from here along D⁻¹ p."""
        start, direction = self._point, self._scaled(p)
        reach = REACH * norm(self._widest * start.theta) or math.inf
        first = min(1.0, reach / norm(self._widest * direction))

        def slope(point: Point) -> float:
            return float(self._scaled(point.gradient) @ p)

        return search(lambda a: self.objective(start.theta + a * direction), slope, start, first, self._hidden)

    def _settle(self, reason: str, asked: bool) -> Point | None:
        """Ask Newton before the run ends, where it can be and was not just now."""
        if (self.objective.has_hessian or self.objective.has_product) and not asked:
            point = self._newton()
            if point is not None or self._run.finished:
                return point
        return self._end(self._ending.beyond(self._point, []) or self._ending.place(self._point, None) or reason)

    # -- Newton ------------------------------------------------------------------------------------------------------------

    def _newton_due(self, epoch: int) -> bool:
        if self._newton_works or not doubled(epoch):
            return self._newton_works
        return self.objective.has_hessian or (self.objective.has_product and epoch in PRODUCTS_AT)

    def _newton(self) -> Point | None:
        """A Newton step.  None where none lowers F: either the run has then ended, or L-BFGS goes on."""
        near, self._newton_works = self._small > 0 and self._newton_works, False
        self._hidden = self.objective.resolution(self._point)
        share = self._o.tolerance * self.objective.magnitude(self._point)
        model = self._model(max(share, self._hidden))
        if model is None:
            return None
        decrement = model.decrement(self._point.gradient)
        small = decrement <= max(0.0 if model.is_saddle else share, self._hidden)
        found = lower(self.objective, model, self._point, polish=not near) if not small or model.is_saddle or not near else None
        if found is None and not model.whole:
            return None
        if found is None:
            return self._verdict(model, "the Newton step promises less than tolerance or rounding") if small else None
        point, works = found
        self._newton_works = works and self._point.value - point.value >= model.cost * self._pace
        self._small = int(small)
        return point

    def _model(self, enough: float) -> NewtonModel | None:
        """By H, or where that is too much, by as many products as there were iterations; by twice as many after a step that lacked some."""
        if self.objective.has_hessian:
            return newton_model(self.objective, self._point, self._hidden)
        self._products = max(self._run.now.epoch, self._products)
        model = krylov_model(self.objective, self._point, self._hidden, self._products, enough)
        self._products = 0 if model is None or model.whole else 2 * self._products
        return model

    def _verdict(self, model: NewtonModel, why: str) -> Point | None:
        """End the run where no Newton step leads on, and say what this place is."""
        return self._end(self._ending.verdict(self._point, model, f"converged: {why}"))

    def budget_used(self) -> str:
        """What to say where the epochs have run out."""
        return self._ending.budget_used(self._point.theta)


def _curved(s: Vector, y: Vector) -> bool:
    return bool(float(s @ y) > 1e-12 * float(np.linalg.norm(s)) * float(np.linalg.norm(y)) > 0)


def _product(pairs: list[tuple[Vector, Vector]], g: Vector) -> Vector:
    """Ĥ g by the two loops, from γ I with γ of the newest pair."""
    q, steps = g.copy(), []
    for s, y in reversed(pairs):
        rho = 1 / float(s @ y)
        alpha = rho * float(s @ q)
        q -= alpha * y
        steps.append((s, y, rho, alpha))
    if pairs:
        s, y = pairs[-1]
        q *= float(s @ y) / float(y @ y)
    for s, y, rho, alpha in reversed(steps):
        q += (alpha - rho * float(y @ q)) * s
    return q
