r"""The Laplace approximation: a Gaussian over θ from the curvature of E at a minimum, and what it says about y.

    p(θ | data) ≈ N(θ | θ*, A⁻¹),      A = β H + α I

H is a Hessian of E at the trained weights θ*, α the precision of the prior N(θ | 0, α⁻¹ I), β = 1/σ² the precision of the noise of a
regression (1 for every other error function, which is a log likelihood as it stands).

    laplace ──► Outputs    a, ∂a/∂θ and Λ at the outputs, chunk by chunk
            ──► Curvature  H whole, by blocks of one unit's weights, its diagonal, or BᵀB; its eigenvalues
            ──► evidence   ln p(data | α, β), and the α and β that maximise it
            ──► Posterior  predictions, samples, covariance

MacKay 1992; Bishop & Bishop, sections 3.4 and 9.3 treat the Gaussian case and the prior.
"""

from __future__ import annotations

from graphbp.uncertainty.entry import laplace
from graphbp.uncertainty.posterior import Posterior, Prediction

__all__ = ["Posterior", "Prediction", "laplace"]
