r"""ln p(T | X, α, β) in the Laplace approximation, and the α, β that maximise it.

    ln p ≈ −β E + ½ Σ_n K ln s_n + ½ N K ln(β / 2π)              (regression)      or  −E            (other errors)
           − ½ α |θ|² + ½ W ln α − ½ ln |β H + α I|

With λ_i the eigenvalues of H and γ = Σ_i βλ_i / (βλ_i + α), the number of parameters that the data determine,

    ∂/∂ln α = ½ (γ − α |θ|²),      ∂/∂ln β = ½ (N K − γ) − β E        (Bishop & Bishop 2006, sections 3.5.2 and 5.7.2)

For a given α the second has one zero, in ln β, and the first then has a zero in each maximum over α.  With q = βλ_max/α, γ ≥ q/(1 + q) and
N K − γ ≥ N K/(1 + q), whence bounds for both that move with the units of the data: at a maximum, α|θ|² ≤ W and 2βE ≤ N K, and either
α|θ|² ≥ ½ and βλ_max|θ|² ≥ ½ (for q ≥ 1), or 4βE ≥ N K and 4αE ≥ N K λ_max (for q ≤ 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import NumericalError

__all__ = ["Evidence"]

Vector = npt.NDArray[np.float64]
STEP = 0.5
"""Of ln α, between the points where a maximum is looked for."""


@dataclass(frozen=True)
class Evidence:
    """What ln p depends on besides α and β.

    size : W.
    error : E at θ.
    square : |θ|².
    count : N K, samples of weight 0 not counted.
    constant : of the likelihood, independent of α, β and θ.
    regression : β is there.
    resolution : what rounding in y alone gives for E.
    """

    size: int
    error: float
    square: float
    count: int
    constant: float
    regression: bool
    resolution: float = 0.0

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
        if beta is None:
            self._require_residuals()
        spectrum = eigenvalues()
        lowest, highest = float(spectrum.min()), float(spectrum.max())
        if lowest < -1e-9 * max(highest, 0.0):
            raise NumericalError(
                f"the Hessian has negative eigenvalues (down to {lowest:.4g}), so no prior precision or noise maximises the evidence; give "
                "both numbers, or use hessian='outer_product'"
            )
        if alpha is None and self.square == 0:
            raise NumericalError(
                "the evidence has no maximum in prior_precision: the weights are all 0; train the network, or give prior_precision a number"
            )
        if alpha is None and highest <= 0:
            raise NumericalError(
                "the evidence has no maximum in prior_precision: the Hessian is 0, so the data say nothing about the weights (every output "
                "is saturated, or every sample has weight 0); give prior_precision a number"
            )
        spectrum = np.maximum(spectrum, 0.0)  # rounding below 0 is none
        if alpha is not None:
            return alpha, self._noise(alpha, spectrum)
        return self._both(beta, spectrum)

    def _require_residuals(self) -> None:
        """Refuses what gives β no maximum, with the reason."""
        if self.count == 0:
            raise NumericalError("the evidence has no maximum in noise: every sample has weight 0; give noise a number")
        if self.error <= self.resolution:
            raise NumericalError(
                f"the evidence has no maximum in noise: the residuals vanish (E = {self.error:.4g}, no more than rounding); give noise a "
                "number"
            )

    def _noise(self, alpha: float, spectrum: Vector) -> float:
        """The β of the largest ln p for this α: the zero of N K − γ − 2βE, which falls in β."""
        highest = float(spectrum.max())
        least = self.count / (4 * self.error)
        if highest > 0:
            least = min(least, alpha / highest)

        def slope(u: float) -> float:
            beta = math.exp(u)
            return self.count - _determined(alpha, beta, spectrum) - 2 * beta * self.error

        return math.exp(_zero(slope, math.log(least), math.log(self.count / (2 * self.error))))

    def _both(self, fixed: float | None, spectrum: Vector) -> tuple[float, float]:
        """The best of all maxima over α, β given or the best for each α."""

        def beta_of(alpha: float) -> float:
            return self._noise(alpha, spectrum) if fixed is None else fixed

        def slope(u: float) -> float:
            alpha = math.exp(u)
            return _determined(alpha, beta_of(alpha), spectrum) - alpha * self.square

        def log(alpha: float) -> float:
            beta = beta_of(alpha)
            return self.log(alpha, beta, float(np.log(beta * spectrum + alpha).sum()))

        highest = float(spectrum.max())
        least = highest * fixed if fixed is not None else highest * self.count / (4 * self.error)
        low, high = math.log(min(0.5 / self.square, least)) - STEP, math.log(self.size / self.square) + STEP
        grid = np.linspace(low, high, 2 + int((high - low) / STEP)).tolist()
        slopes = [slope(u) for u in grid]
        maxima = [math.exp(_zero(slope, *grid[i : i + 2])) for i in range(len(grid) - 1) if slopes[i] > 0 and slopes[i + 1] <= 0]
        if not maxima:
            raise NumericalError("the evidence has no maximum in prior_precision within float64; give prior_precision a number")
        alpha = max(maxima, key=log)
        return alpha, beta_of(alpha)


def _determined(alpha: float, beta: float, spectrum: Vector) -> float:
    """γ."""
    scaled = beta * spectrum
    return float(np.sum(scaled / (scaled + alpha)))


def _zero(slope: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls from low to high passes 0; an end where rounding has it on one side."""
    from scipy import optimize

    if slope(low) <= 0:
        return low
    if slope(high) >= 0:
        return high
    return float(optimize.brentq(slope, low, high, xtol=1e-13, rtol=1e-14))
