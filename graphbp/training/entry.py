"""`gb.train`: the one door to all optimizers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from graphbp.exceptions import ConfigError, DataError, shown
from graphbp.files.reading import as_path
from graphbp.fit import undone_on_error, warn_of_raw_columns
from graphbp.foreign import as_flag, as_number
from graphbp.network import require_network
from graphbp.training.descent import descend, starting_state
from graphbp.training.history import History
from graphbp.training.lbfgs import lbfgs
from graphbp.training.least_squares_fit import LeastSquaresFit
from graphbp.training.levenberg_marquardt import levenberg_marquardt, require_least_squares
from graphbp.training.likelihood_fit import LikelihoodFit
from graphbp.training.loop import Callback, Run, Settings
from graphbp.training.newton_descent import newton, require_curvature
from graphbp.training.options import LBFGS, LevenbergMarquardt, MiniBatch, Newton, Options, read_options, whole_number
from graphbp.training.parameter_fit import ParameterFit
from graphbp.training.problem import Metric, Problem, pose, prepare
from graphbp.training.progress import Progress

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["train"]


def train(
    net: Network,
    X: Any,
    T: Any,
    *,
    optimizer: str = "adam",
    epochs: int | None = None,
    standardize: bool = False,
    sample_weight: Any = None,
    missing: str | None = None,
    validation: Any = None,
    validation_split: float = 0.0,
    patience: int | None = None,
    min_improvement: float = 0.0,
    restore_best: bool | None = None,
    metrics: Mapping[str, Metric] | None = None,
    seed: int = 0,
    state: Mapping[str, Any] | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
    resume: bool = True,
    **options: Any,
) -> History:
    """min_θ F(θ) = Σ_n s_n E_n / Σ_n s_n + ½ l2 |θ|², in place: afterwards `net.weights` is the result.

    Parameters
    ----------
    optimizer : "sgd", "adam", "lbfgs", "levenberg_marquardt" or "newton"; the other `options` are the fields of its row of
        `graphbp.training.OPTIMIZERS` (`learning_rate`, `batch_size`, `momentum`, `l2`, `weight_decay`, ...), documented there.
    epochs : passes over the data (sgd, adam), iterations (lbfgs) or accepted steps (levenberg_marquardt, newton), at most.
    standardize : first take `shift` and `scale` of the inputs, and of a regression's outputs, from the samples trained on
        (`Network.fit_scaling`); they stay with the network.  One that has them already keeps them.  F is that of the scaled numbers.
    sample_weight : (N,), s_n ≥ 0; or (N, K), or a mask, of every output.  Where outputs have weights of their own or lack targets
        (`missing="skip"`), F is the mean over the entries that are there: E / Σ_nh s_nh / H, H entries (outputs, or softmax groups) a
        sample, the weights of errors counted in E alone; with nothing missing that is the same.
    missing : "skip" or "refuse" targets that are NaN, from now on (`net.missing`); None leaves it as it is.
    validation, validation_split : (X, T) or (X, T, s) to watch, or the share of the samples to hold out, drawn from `seed`.
    patience : stop after this many epochs without a new lowest validation error (error, where nothing is held out);
        only a fall by more than `min_improvement` counts.
    restore_best : end with the weights of the best epoch; default: where `patience` is given.
    metrics : name → function of (Y, T), evaluated after each epoch; default: accuracy for a classifier with a validation set.
    seed : of the validation split and of the order of the samples.  The same call gives the same bits.
    state : `history.state` of an earlier run, for sgd and adam: go on with its velocity or moments, in memory, on these or other samples.
    callbacks : called with an `EpochEnd` after each epoch; one that returns True stops the run.
    progress : a bar on stderr: always, never, or (None) on a terminal.
    checkpoint, checkpoint_every, resume : the file that holds the state, written every so many epochs.  Where it exists, the run
        goes on from it (`resume=False` starts afresh): killed at any moment and called again, it ends with the same bits as if it
        had never stopped.  `epochs`, `callbacks` and `progress` may differ then, nothing else.

    X and T may be tables (`graphbp.tables`): columns are matched by name.  T may hold labels (text, booleans, categories): a network
    without `classes` gets theirs, sorted, and keeps them.

    Returns
    -------
    A `History`, with the error of each of several `heads`; for "levenberg_marquardt" a `LeastSquaresFit` and for "newton" a
    `LikelihoodFit`, histories with parameters, standard errors and correlations.

    Raises
    ------
    UnknownNameError, ConfigError : an optimizer or option that does not exist (near matches offered), or has a bad value.
    NotSupportedError : "levenberg_marquardt" of another error than a sum of squares, "newton" of one without curvature.
    DataError : X, T, sample_weight or validation, before anything has changed.
    NumericalError : E left the finite; names the epoch.  The network keeps the weights of the last finished one.
    FileFormatError, ConfigError : a checkpoint that is damaged, or of another network, data set or options.

    Ctrl-C ends the run at the last finished epoch and returns, with `history.reason` saying so; the checkpoint holds that epoch.

    Examples
    --------
    >>> import graphbp as gb, networkx as nx
    >>> g = nx.DiGraph([("x", "y", {"weight": 0.0})])
    >>> g.nodes["y"]["bias"] = 0.0
    >>> net = gb.Network(g, backend="numpy")
    >>> history = gb.train(net, [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0], optimizer="lbfgs")
    >>> net.weights.round(4)
    array([2., 1.])
    """
    require_network(net)
    chosen = read_options(optimizer, options, _common())
    settings_epochs = chosen.default_epochs if epochs is None else whole_number("epochs", epochs, 0)
    seed = whole_number("seed", seed, 0)
    patience = None if patience is None else whole_number("patience", patience, 1)
    min_improvement = as_number("min_improvement", min_improvement, least=0, error=ConfigError)
    standardize, resume = as_flag("standardize", standardize, ConfigError), as_flag("resume", resume, ConfigError)
    progress = None if progress is None else as_flag("progress", progress, ConfigError)
    checkpoint = None if checkpoint is None else as_path(checkpoint)
    restore_best = patience is not None if restore_best is None else as_flag("restore_best", restore_best, ConfigError)
    if net.n_parameters == 0:
        raise DataError(f"the network has no free parameters: {net.model.layout.why_none}")
    if require := _REQUIRED.get(type(chosen)):
        require(net)
    with undone_on_error(net):
        net.missing = net.missing if missing is None else missing
        X, T = prepare(net, X, T, sample_weight, standardize, validation_split, seed)
        problem = pose(net, X, T, sample_weight, validation, validation_split, metrics, seed)
    if isinstance(chosen, MiniBatch):
        warn_of_raw_columns(net, problem.training.x, problem.training.t, optimizer)
    settings = Settings(
        epochs=settings_epochs,
        seed=seed,
        patience=patience,
        min_improvement=min_improvement,
        restore_best=restore_best,
        callbacks=_callbacks(callbacks),
        checkpoint=checkpoint,
        checkpoint_every=whole_number("checkpoint_every", checkpoint_every, 1),
        resume=resume,
        fingerprint={},
        state={} if state is None else starting_state(chosen, net.n_parameters, state),
    )
    if checkpoint is not None:
        settings = _with_fingerprint(settings, problem, optimizer, chosen, validation_split)
    history = _HISTORIES.get(type(chosen), History)(optimizer)
    with Progress(optimizer, settings_epochs, progress) as bar, np.errstate(all="ignore"):
        run = Run(problem, history, settings, bar)
        try:
            if not run.finished:
                _METHODS[_kind(chosen)](run, chosen)
        except KeyboardInterrupt:
            run.interrupted()
            run.save()
        result = run.close()
        if isinstance(result, ParameterFit):
            result.describe(problem, chosen)
    return result


_METHODS: Mapping[type[Options], Callable[[Run, Any], None]] = {
    MiniBatch: descend,
    LBFGS: lbfgs,
    LevenbergMarquardt: levenberg_marquardt,
    Newton: newton,
}
_REQUIRED: Mapping[type[Options], Callable[[Network], None]] = {
    LevenbergMarquardt: require_least_squares,
    Newton: require_curvature,
}
_HISTORIES: Mapping[type[Options], type[History]] = {LevenbergMarquardt: LeastSquaresFit, Newton: LikelihoodFit}


def _kind(options: Options) -> type[Options]:
    return next(kind for kind in _METHODS if isinstance(options, kind))


def _common() -> set[str]:
    return {name for name, p in signature(train).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _callbacks(given: Callback | Sequence[Callback]) -> tuple[Callback, ...]:
    try:
        several: tuple[Any, ...] = (given,) if callable(given) else tuple(given)
    except TypeError:  # not to be gone through
        several = (given,)
    for one in several:
        if isinstance(one, type) or not callable(one):
            hint = f"; {one.__name__}(...) makes an object of the class" if isinstance(one, type) else ""
            raise ConfigError(f"callbacks={shown(one)}; a callback is a function of an EpochEnd{hint}")
    return several


def _with_fingerprint(s: Settings, problem: Problem, optimizer: str, options: Options, validation_split: float) -> Settings:
    from dataclasses import replace

    told: dict[str, Any] = {f.name: getattr(options, f.name) for f in fields(options)}
    if told.get("penalize_biases"):  # as it always was before there was a choice: earlier versions' checkpoints go on
        del told["penalize_biases"]
    told |= {"optimizer": optimizer, "seed": s.seed, "patience": s.patience, "min_improvement": s.min_improvement}
    told |= {"validation_split": float(validation_split), "metrics": ", ".join(problem.metrics) or "none"}
    return replace(s, fingerprint={**problem.fingerprint(), **{name: str(value) for name, value in told.items()}})
