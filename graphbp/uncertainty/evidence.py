r"""ln p(T | X, α, β) in the Laplace approximation, and the α, β that maximise it.

    ln p ≈ −β E + ½ Σ_n K ln s_n + ½ N K ln(β / 2π)              (regression)      or  −E            (other errors)
           − ½ α |θ|² + ½ W ln α − ½ ln |β H + α I|

With λ_i the eigenvalues of H and γ = Σ_i βλ_i / (βλ_i + α), the number of parameters that the data determine,

    ∂/∂ln α = ½ (γ − α |θ|²),      ∂/∂ln β = ½ (N K − γ) − β E        (Bishop & Bishop 2006, sections 3.5.2 and 5.7.2)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NumericalError

__all__ = ["Evidence"]

Vector = npt.NDArray[np.float64]
RANGE = 40.0
"""ln α and ln β are sought in ±40."""


@dataclass(frozen=True)
class Evidence:
    """What ln p depends on besides α and β.

    size : W.
    error : E at θ.
    square : |θ|².
    count : N K, samples of weight 0 not counted.
    constant : of the likelihood, independent of α, β and θ.
    regression : β is there.
    """

    size: int
    error: float
    square: float
    count: int
    constant: float
    regression: bool

    def log(self, alpha: float, beta: float, log_determinant: float) -> float:
        """ln p(T | X, α, β), given ln |βH + αI|."""
        noise = 0.5 * self.count * math.log(beta / (2 * math.pi)) if self.regression else 0.0
        likelihood = -beta * self.error + noise + self.constant
        return likelihood - 0.5 * alpha * self.square + 0.5 * self.size * math.log(alpha) - 0.5 * log_determinant

    def maximise(self, alpha: float | None, beta: float | None, eigenvalues: Callable[[], Vector]) -> tuple[float, float]:
        """(α, β): those that are None chosen to maximise ln p, the others as given; `eigenvalues`, of H, are found only then.

        Raises
        ------
        NumericalError : no maximum, as with residuals of 0 or weights of 0, or a Hessian with negative eigenvalues.
        """
        if alpha is not None and beta is not None:
            return alpha, beta
        spectrum = eigenvalues()
        lowest, highest = float(spectrum.min()), float(spectrum.max())
        if lowest < -1e-9 * max(highest, 0.0) and alpha is None:
            raise NumericalError(
                f"the Hessian has negative eigenvalues (down to {lowest:.4g}), so no prior precision maximises the evidence; give "
                "prior_precision a number, or use hessian='outer_product'"
            )
        fixed = (alpha, beta)
        free = [i for i in (0, 1) if fixed[i] is None]
        start = [0.0, math.log(max(self.count, 1) / (2 * self.error)) if self.error > 0 else 0.0]
        # rounding below 0 is none
        return self._search(fixed, free, np.array(start)[free], np.maximum(spectrum, 0.0))

    def _search(
        self, fixed: tuple[float | None, float | None], free: list[int], start: Vector, spectrum: Vector
    ) -> tuple[float, float]:
        from scipy import optimize

        def unpack(v: Vector) -> tuple[float, float]:
            values = list(fixed)
            for i, x in zip(free, v.tolist(), strict=True):
                values[i] = math.exp(x)
            return float(values[0] or 0.0), float(values[1] or 0.0)

        def objective(v: Vector) -> tuple[float, Vector]:
            alpha, beta = unpack(v)
            precision = beta * spectrum + alpha
            gamma = float(np.sum(beta * spectrum / precision))
            slope = np.array([0.5 * (gamma - alpha * self.square), 0.5 * (self.count - gamma) - beta * self.error])
            return -self.log(alpha, beta, float(np.log(precision).sum())), -slope[free]

        minimize: Any = optimize.minimize
        limits = [(-RANGE, RANGE)] * len(free)
        result = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=limits, options={"ftol": 1e-15, "gtol": 1e-9})
        names = ("prior_precision", "noise")
        for i, x in zip(free, result.x.tolist(), strict=True):
            if abs(x) > RANGE - 1e-3:
                cause = "the weights are all 0 or undetermined by the data" if i == 0 else "the residuals vanish"
                raise NumericalError(f"the evidence has no maximum in {names[i]}: {cause}; give {names[i]} a number")
        return unpack(result.x)
