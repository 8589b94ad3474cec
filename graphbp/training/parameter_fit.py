r"""The report of a fit: parameters with their standard errors, in the units of the table.

      cov(θ) = L Lᵀ,      standard error √cov_ii,      correlation cov_ij / √(cov_ii cov_jj)

Where L comes from is each optimizer's own business.  Of a network with scaling, parameters are reported as they stand in the same function of
raw x (`graphbp.training.raw_units`), so that the report does not depend on how X and T were scaled.
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
from graphbp.training.tangent import safe

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["ParameterFit", "and_more"]

Vector = npt.NDArray[np.float64]

_ROWS, _PAIRS, _NAMED = 40, 2000, 4


def _nothing() -> Vector:
    return np.empty(0)


def and_more(names: list[str], joint: str = ", ") -> str:
    """The first four, and how many more."""
    return joint.join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


@dataclass
class ParameterFit(History):
    """A history, and the parameters that were found; `print(fit)` is a table.

    Attributes
    ----------
    names : (W,) the edge or bias of each parameter; a tied one is named after the first edge that has it.
    parameters : (W,) θ; of a network with scaling, the weights and biases of the same function of raw x and y.
    standard_errors : (W,) √ of the diagonal of `covariance`; NaN where there is no covariance.
    covariance : (W, W).
    note : what is missing of the standard errors and why, or "".
    unit : "" where `parameters` are `net.weights`; else what they are.
    """

    names: list[str] = field(default_factory=list)
    parameters: Vector = field(default_factory=_nothing)
    standard_errors: Vector = field(default_factory=_nothing)
    covariance: Vector = field(default_factory=_nothing)
    note: str = ""
    unit: str = ""

    @property
    def iterations(self) -> int:
        """Accepted steps."""
        return len(self)

    @property
    def correlation(self) -> Vector:
        """(W, W) of the parameters."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.covariance / self.standard_errors / self.standard_errors[:, None])

    def describe(self, problem: Problem, options: Any) -> None:
        """Fill in what was found, from the network as it stands."""
        self.names, self.parameters = problem.net.model.parameter_labels(), np.array(problem.net.weights, np.float64)
        w = len(self.parameters)
        self.covariance, self.standard_errors = np.full((w, w), math.nan), np.full(w, math.nan)
        with single_threaded_blas():
            self._describe(problem, options)

    def _describe(self, problem: Problem, options: Any) -> None:
        raise NotImplementedError

    def _take_half(self, half: Vector) -> None:
        """L of the covariance; squares of a column far from 1 stay in range."""
        size = safe(np.abs(half).max(axis=1, initial=0.0))
        self.standard_errors = size * np.linalg.norm(half / size[:, None], axis=1)
        self.covariance = half @ half.T

    def _in_raw_units(self, net: Network) -> Any:
        """Make `parameters` those of the same function of raw x; A of θ' = A θ + c, or None where they are θ."""
        if not net.model.meaning.scaling:
            return None
        affine = raw_units(net)
        if affine is None:
            self.unit = (
                "parameters of the scaled numbers: a tie joins weights that are different numbers of the raw ones, or a node multiplies "
                "or chooses among them"
            )
            return None
        self.unit = "parameters of the raw columns: shift and scale stand in them"
        slope, constant = affine
        self.parameters = slope @ self.parameters + constant
        return slope

    def to_dict(self) -> dict[str, Any]:
        """The history, and the table of parameters."""
        return {
            **super().to_dict(),
            "parameters": dict(zip(self.names, self.parameters.tolist(), strict=True)),
            "standard_errors": dict(zip(self.names, self.standard_errors.tolist(), strict=True)),
            **self._numbers(),
            "note": self.note,
        }

    def _numbers(self) -> dict[str, Any]:
        """What else was found, by name."""
        raise NotImplementedError

    def _summary(self) -> str:
        """The same in words."""
        raise NotImplementedError

    def __str__(self) -> str:
        took = f" in {self.seconds[-1]:.2f} s" if self.seconds else ""
        lines = [f"{self.optimizer}: {self.iterations} iterations{took}; {self.reason}"]
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
        lines.append(f"  {self._summary()}")
        lines += [f"  {self.unit}"] if self.unit else []
        return "\n".join(lines + self._closest() + ([f"  {self.note}"] if self.note else []))

    def _closest(self) -> list[str]:
        """The most correlated pair of parameters."""
        if self.note or not 1 < len(self.names) <= _PAIRS:
            return []
        c = np.abs(np.triu(self.correlation, 1))
        if not np.isfinite(c).all():  # a perfect fit
            return []
        i, j = np.unravel_index(int(c.argmax()), c.shape)
        return [f"  strongest correlation {self.correlation[i, j]:+.6f}, {self.names[i]} with {self.names[j]}"]
