r"""The report of a least-squares fit: parameters with their standard errors.

s² = |r|² / (N K − W),      cov(θ) = s² (JᵀJ)⁻¹

Of a network with scaling residuals are in the units of the targets (`graphbp.training.parameter_fit` has the rest).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.training.options import LevenbergMarquardt
from graphbp.training.parameter_fit import ParameterFit, and_more
from graphbp.training.problem import Problem
from graphbp.training.tangent import Residuals, Tangent, tangent

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["LeastSquaresFit"]

Vector = npt.NDArray[np.float64]


@dataclass
class LeastSquaresFit(ParameterFit):
    """The history of a Levenberg-Marquardt run, and what it found; `print(fit)` is a table.

    Attributes
    ----------
    names : (W,) the edge or bias of each parameter; a tied one is named after the first edge that has it.
    parameters : (W,) θ; of a network with scaling, the weights and biases of the same function of raw x and y.
    standard_errors : (W,) √ of the diagonal of `covariance`; NaN where there is no covariance.
    covariance : (W, W) s² (JᵀJ)⁻¹; NaN where there are no degrees of freedom or the columns of J are dependent.
    residual_sum_of_squares : |r|² = Σ_nk s_n (y_nk − t_nk)², of raw y and t.
    degrees_of_freedom : N K − W, samples of weight 0 not counted.
    iterations : accepted steps.
    note : why there are no standard errors, or "".
    unit : "" where `parameters` are `net.weights`; else what they are.

    A sample weight is taken as 1/variance of that sample's noise, up to a common factor, which s² estimates.
    """

    residual_sum_of_squares: float = math.nan
    degrees_of_freedom: int = 0

    @property
    def residual_standard_deviation(self) -> float:
        """S = √(|r|² / degrees of freedom)."""
        return math.sqrt(self.residual_sum_of_squares / self.degrees_of_freedom) if self.degrees_of_freedom > 0 else math.nan

    def _describe(self, problem: Problem, options: LevenbergMarquardt) -> None:
        residuals, theta = Residuals(problem), self.parameters
        r = residuals(theta)
        self.residual_sum_of_squares = self._raw_sum(problem.net, r * residuals.unit)
        self.degrees_of_freedom = residuals.count - len(theta)
        half = self._half(tangent(options.method, residuals, theta, r) if np.isfinite(r).all() else None)
        slope = self._in_raw_units(problem.net)
        if half is not None:
            # r and J are in the same units, so the product of s² and (JᵀJ)⁻¹ is in those of θ alone
            half = half * math.sqrt(float(r @ r) / self.degrees_of_freedom)
            self._take_half(half if slope is None else np.asarray(slope @ half))

    @staticmethod
    def _raw_sum(net: Network, r: Vector) -> float:
        """Σ_nk s_n (y_nk − t_nk)² in the targets' own units."""
        affine = net.model.meaning.scaling.outputs
        raw = r if affine is None else (r.reshape(-1, len(affine.scale)) * affine.scale).ravel()
        return float(raw @ raw)

    def _half(self, model: Tangent | None) -> Vector | None:
        """L with L Lᵀ = (JᵀJ)⁻¹, or None, with a note that says why."""
        if self.degrees_of_freedom <= 0:
            self.note = f"no standard errors: {len(self.parameters)} parameters leave no degrees of freedom"
            return None
        if model is None:
            self.note = "no standard errors: ∂y/∂θ is not finite"
            return None
        half = model.half()
        if half is None:
            self.note = f"no standard errors: the data do not {self._undetermined(model)}"
        return half

    def _undetermined(self, model: Tangent) -> str:
        """What is wrong with the columns of J, by the parameters' names."""
        idle = np.flatnonzero(model.norms == 0)
        if len(idle):
            return f"determine {and_more([self.names[i] for i in idle])} (no output depends on them)"
        weakest = np.abs(model.weakest())
        together = np.flatnonzero(weakest > 0.1 * weakest.max())
        return f"tell {and_more([self.names[i] for i in together], ' and ')} apart (their columns of J are linearly dependent)"

    def _numbers(self) -> dict[str, Any]:
        return {"residual_sum_of_squares": self.residual_sum_of_squares, "degrees_of_freedom": self.degrees_of_freedom}

    def _summary(self) -> str:
        return (
            f"residual sum of squares {self.residual_sum_of_squares:.10g}, {self.degrees_of_freedom} degrees of freedom, "
            f"residual standard deviation {self.residual_standard_deviation:.8g}"
        )
