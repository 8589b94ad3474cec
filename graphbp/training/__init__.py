"""Training: min_θ E(θ) by mini-batch descent, L-BFGS, Levenberg-Marquardt or Newton.

    train ──► Options (what was asked, checked by name)
          ──► Problem (X, T, sample weights and validation set as the backend's arrays)
          ──► Run     (history, best weights, patience, callbacks, progress, checkpoint)  ◄── one `end_epoch` an epoch
                ▲
                └── descent (sgd, adam) │ lbfgs │ levenberg_marquardt │ newton: each owns its arithmetic and nothing else

Invariant: what a run computes depends on the network, the data, the options and the seed alone.  The order of the samples in epoch
e is a function of (seed, e), so the state between two epochs is small, is written whole or not at all, and a run that was killed
continues to the same bits.
"""

from __future__ import annotations

from graphbp.training.entry import train
from graphbp.training.history import History
from graphbp.training.least_squares_fit import LeastSquaresFit
from graphbp.training.likelihood_fit import LikelihoodFit
from graphbp.training.loop import EpochEnd
from graphbp.training.options import OPTIMIZERS

__all__ = ["OPTIMIZERS", "EpochEnd", "History", "LeastSquaresFit", "LikelihoodFit", "train"]
