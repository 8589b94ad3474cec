r"""The report of a least-squares fit: parameters with their standard errors.

s² = |r|² / (N K − W),      cov(θ) = s² (JᵀJ)⁻¹,      standard error √cov_ii,      correlation cov_ij / √(cov_ii cov_jj)

Of a network with scaling all of this is in the units of the table: residuals in those of the targets, parameters as they stand in the same
function of raw x (`graphbp.training.raw_units`), so that the report does not depend on how X and T were scaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.threads import single_threaded_blas
from graphbp.training.history import History
from graphbp.training.problem import Problem
from graphbp.training.raw_units import raw_units
from graphbp.training.tangent import Residuals, Tangent, safe, tangent

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["LeastSquaresFit"]

Vector = npt.NDArray[np.float64]


def _nothing() -> Vector:
    return np.empty(0)


@dataclass
class LeastSquaresFit(History):
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

    names: list[str] = field(default_factory=list)
    parameters: Vector = field(default_factory=_nothing)
    standard_errors: Vector = field(default_factory=_nothing)
    covariance: Vector = field(default_factory=_nothing)
    residual_sum_of_squares: float = math.nan
    degrees_of_freedom: int = 0
    note: str = ""
    unit: str = ""

    @property
    def iterations(self) -> int:
        """Accepted steps."""
        return len(self)

    @property
    def residual_standard_deviation(self) -> float:
        """S = √(|r|² / degrees of freedom)."""
        return math.sqrt(self.residual_sum_of_squares / self.degrees_of_freedom) if self.degrees_of_freedom > 0 else math.nan

    @property
    def correlation(self) -> Vector:
        """(W, W) of the parameters."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.covariance / self.standard_errors / self.standard_errors[:, None])

    def describe(self, problem: Problem, method: str) -> None:
        """Fill in parameters, errors and residuals from the network as it stands."""
        with single_threaded_blas():
            self._describe(problem, method)

    def _describe(self, problem: Problem, method: str) -> None:
        residuals = Residuals(problem)
        theta = np.array(problem.net.weights, np.float64)
        r = residuals(theta)
        self.names = problem.net.model.parameter_labels()
        self.parameters = theta
        self.residual_sum_of_squares = self._raw_sum(problem.net, r * residuals.unit)
        self.degrees_of_freedom = residuals.count - len(theta)
        half = self._half(tangent(method, residuals, theta, r) if np.isfinite(r).all() else None)
        self.covariance, self.standard_errors = np.full((len(theta),) * 2, math.nan), np.full(len(theta), math.nan)
        if half is not None:
            # r and J are in the same units, so the product of s² and (JᵀJ)⁻¹ is in those of θ alone
            half = half * math.sqrt(float(r @ r) / self.degrees_of_freedom)
        half = self._to_raw_units(problem.net, half)
        if half is not None:
            size = safe(np.abs(half).max(axis=1))
            self.standard_errors = size * np.linalg.norm(half / size[:, None], axis=1)
            self.covariance = half @ half.T

    @staticmethod
    def _raw_sum(net: Network, r: Vector) -> float:
        """Σ_nk s_n (y_nk − t_nk)² in the targets' own units."""
        affine = net.model.meaning.scaling.outputs
        raw = r if affine is None else (r.reshape(-1, len(affine.scale)) * affine.scale).ravel()
        return float(raw @ raw)

    def _to_raw_units(self, net: Network, half: Vector | None) -> Vector | None:
        """Parameters of the same function of raw x; L of their covariance."""
        if not net.model.meaning.scaling:
            return half
        affine = raw_units(net)
        if affine is None:
            self.unit = (
                "parameters of the scaled numbers: a tie joins weights that are different numbers of the raw ones, or a node multiplies "
                "or chooses among them"
            )
            return half
        self.unit = "parameters of the raw columns: shift and scale stand in them"
        slope, constant = affine
        self.parameters = slope @ self.parameters + constant
        return None if half is None else np.asarray(slope @ half)

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
            more = f" and {len(idle) - 4} more" if len(idle) > 4 else ""
            return f"determine {', '.join(self.names[i] for i in idle[:4])}{more} (no output depends on them)"
        weakest = np.abs(model.weakest())
        together = np.flatnonzero(weakest > 0.1 * weakest.max())
        more = f" and {len(together) - 4} more" if len(together) > 4 else ""
        what = " and ".join(self.names[i] for i in together[:4])
        return f"tell {what}{more} apart (their columns of J are linearly dependent)"

    def to_dict(self) -> dict[str, Any]:
        """The history, and the table of parameters."""
        return {
            **super().to_dict(),
            "parameters": dict(zip(self.names, self.parameters.tolist(), strict=True)),
            "standard_errors": dict(zip(self.names, self.standard_errors.tolist(), strict=True)),
            "residual_sum_of_squares": self.residual_sum_of_squares,
            "degrees_of_freedom": self.degrees_of_freedom,
            "note": self.note,
        }

    def __str__(self) -> str:
        took = f" in {self.seconds[-1]:.2f} s" if self.seconds else ""
        lines = [f"levenberg_marquardt: {self.iterations} iterations{took}; {self.reason}"]
        width = max([len(name) for name in self.names[:_ROWS]], default=9)
        lines.append(f"  {'parameter':{width}s} {'value':>18s} {'standard error':>16s} {'relative':>10s}")
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = self.standard_errors / np.abs(self.parameters)
        rows = zip(self.names, self.parameters, self.standard_errors, relative, strict=True)
        for n, v, e, q in list(rows)[:_ROWS]:
            known = f"{e:16.8g} {q:10.2%}" if math.isfinite(e) else f"{'-':>16s} {'-':>10s}"
            lines.append(f"  {n:{width}s} {v:18.10g} {known}")
        if len(self.names) > _ROWS:
            lines.append(f"  ... {len(self.names) - _ROWS} more")
        lines.append(
            f"  residual sum of squares {self.residual_sum_of_squares:.10g}, {self.degrees_of_freedom} degrees of freedom, "
            f"residual standard deviation {self.residual_standard_deviation:.8g}"
        )
        lines += [f"  {self.unit}"] if self.unit else []
        return "\n".join(lines + self._closest() + ([f"  {self.note}"] if self.note else []))

    def _closest(self) -> list[str]:
        """The most correlated pair of parameters."""
        if self.note or not 1 < len(self.names) <= _PAIRS:
            return []
        c = np.abs(np.triu(self.correlation, 1))
        i, j = np.unravel_index(int(c.argmax()), c.shape)
        return [f"  strongest correlation {self.correlation[i, j]:+.6f}, {self.names[i]} with {self.names[j]}"]


_ROWS, _PAIRS = 40, 2000
