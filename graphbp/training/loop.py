"""What every optimizer shares: the record of a run, its best weights, patience, callbacks, progress and checkpoint.

An optimizer calls `run.end_epoch(theta, error, state)` after each epoch and stops when it returns True.  The last finished epoch is
held as one immutable `Snapshot`, replaced in a single assignment: whatever stops a run in the middle of an epoch (Ctrl-C, an exception,
a kill), the network, the history and the checkpoint are those of that snapshot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphbp.diagnosis import cause_at
from graphbp.exceptions import NumericalError
from graphbp.training.checkpoint import Saved, check_fingerprint, read_checkpoint, require_replaceable, write_checkpoint
from graphbp.training.history import History
from graphbp.training.part import Part
from graphbp.training.problem import Problem
from graphbp.training.progress import Progress

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["Callback", "EpochEnd", "Run", "Settings", "Snapshot"]

Array = Any


@dataclass(frozen=True)
class EpochEnd:
    """What a callback is given; `net` already has the weights of this epoch."""

    net: Network
    epoch: int
    error: float
    validation_error: float | None
    metrics: Mapping[str, float]
    history: History
    heads: Mapping[str, float] = field(default_factory=dict)
    """The mean error of each head, where there are several."""


Callback = Callable[[EpochEnd], object]
"""Called after each epoch; a run stops when one returns True."""


@dataclass(frozen=True)
class Settings:
    """What `train` was told besides the data and the optimizer's own options."""

    epochs: int
    seed: int
    patience: int | None
    min_improvement: float
    restore_best: bool
    callbacks: Sequence[Callback]
    checkpoint: str | os.PathLike[str] | None
    checkpoint_every: int
    resume: bool
    fingerprint: Mapping[str, str]
    state: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """The state after `epoch` epochs: θ, the optimizer's own arrays (in any dtype and memory), and the best epoch so far."""

    epoch: int
    theta: Array
    state: Mapping[str, Array] = field(default_factory=dict)
    best_epoch: int = 0
    best_value: float = np.inf
    best_theta: Array | None = None


class Run:
    """A run in progress."""

    def __init__(self, problem: Problem, history: History, settings: Settings, progress: Progress) -> None:
        self.problem, self.history, self.settings = problem, history, settings
        self._progress = progress
        self._began = time.perf_counter()
        self.finished = False
        """Ended for good (converged, or out of patience): resuming returns at once."""
        net = problem.net
        self.now = Snapshot(0, net.theta.copy(), settings.state)
        for name in problem.metrics:
            history.metrics[name] = []
        for name in problem.head_names:
            history.heads[name] = []
        if settings.checkpoint is None:
            return
        if settings.resume and os.path.exists(settings.checkpoint):  # noqa: PTH110  # Path.exists raises for a name that is too long
            self._restore(settings.checkpoint)
        require_replaceable(settings.checkpoint)

    @property
    def net(self) -> Network:
        """The network that is trained."""
        return self.problem.net

    @property
    def done(self) -> bool:
        """No epoch is left to run."""
        return self.finished or self.now.epoch >= self.settings.epochs

    def end_epoch(self, theta: Array, error: float, state: Mapping[str, Array]) -> bool:
        """Record an epoch; True where the run must stop.  `state` is kept as it is: arrays that nobody writes to again."""
        epoch = self.now.epoch + 1
        theta = theta.copy()
        if not bool(np.isfinite(self.net.model.backend.to_numpy(theta)).all()) or not np.isfinite(error):
            what = f"the {'error' if not np.isfinite(error) else 'weights'} became infinite or NaN"
            raise diverged(self, epoch, what, at=(theta, self.problem.training))
        validation = self.problem.validation
        held_out = None if validation is None else self.problem.mean_error(theta, validation)
        measured, heads = self.problem.measure(theta), self.problem.by_head(theta)
        value = error if held_out is None else held_out
        best = self.now.best_epoch, self.now.best_value, self.now.best_theta
        if value < best[1] - self.settings.min_improvement:
            best = epoch, value, theta
        self._append(epoch, error, held_out, measured, heads)
        self.now = Snapshot(epoch, theta, dict(state), *best)
        self.history.best_epoch = best[0]
        self.net.weights = theta
        return self._after_epoch(EpochEnd(self.net, epoch, error, held_out, measured, self.history, heads))

    def _append(
        self, epoch: int, error: float, held_out: float | None, measured: Mapping[str, float], heads: Mapping[str, float]
    ) -> None:
        history = self.history
        history.error.append(error)
        if held_out is not None:
            history.validation_error.append(held_out)
        for name, value in measured.items():
            history.metrics[name].append(value)
        for name, value in heads.items():
            history.heads[name].append(value)
        history.seconds.append(self._earlier + time.perf_counter() - self._began)
        history.epoch.append(epoch)

    def _after_epoch(self, event: EpochEnd) -> bool:
        patience, epoch = self.settings.patience, event.epoch
        if patience is not None and epoch - self.now.best_epoch >= patience:
            self.end(f"no improvement for {patience} epochs")
        if self.finished or epoch % self.settings.checkpoint_every == 0 or epoch == self.settings.epochs:
            self.save()
        held_out = "" if event.validation_error is None else f"  validation {event.validation_error:.4g}"
        shown = "".join(f"  {name} {value:.4g}" for name, value in (*_largest(event.heads), *event.metrics.items()))
        self._progress.update(epoch, f"error {event.error:.4g}{held_out}{shown}")
        answers = [callback(event) for callback in self.settings.callbacks]
        if any(answer is True for answer in answers):
            self.history.reason = "stopped by a callback"
            return True
        return self.done

    def end(self, reason: str) -> None:
        """Declare the run ended for good."""
        self.finished, self.history.reason = True, reason

    def close(self) -> History:
        """Give the network its final weights: those of the best epoch where asked, else of the last one."""
        if not self.history.reason:
            self.history.reason = f"all {self.settings.epochs} epochs done"
        now, history = self.now, self.history
        history.state = {name: np.array(self.net.model.backend.to_numpy(array)) for name, array in now.state.items()}
        history.restored = self.settings.restore_best and now.best_theta is not None and now.best_epoch != now.epoch
        self.net.weights = now.best_theta if history.restored else now.theta
        return history

    def interrupted(self) -> None:
        """Go back to the last finished epoch, after Ctrl-C in the middle of one."""
        history, epoch = self.history, self.now.epoch
        del history.epoch[epoch:]
        for column in (
            history.error,
            history.validation_error,
            history.seconds,
            *history.metrics.values(),
            *history.heads.values(),
        ):
            del column[epoch:]
        history.best_epoch = self.now.best_epoch
        if not self.finished:
            history.reason = "interrupted; the network has the weights of the last finished epoch"

    # -- checkpoint ------------------------------------------------------------------------------------------------------

    _earlier = 0.0

    def save(self) -> None:
        """Write the snapshot, where a checkpoint was asked for."""
        if self.settings.checkpoint is None:
            return
        to_numpy, now, history = self.net.model.backend.to_numpy, self.now, self.history
        arrays = {"theta": to_numpy(now.theta), **{f"state.{name}": to_numpy(a) for name, a in now.state.items()}}
        if now.best_theta is not None:
            arrays["best_theta"] = to_numpy(now.best_theta)
        columns = {"error": history.error, "validation_error": history.validation_error, "seconds": history.seconds}
        columns |= {f"metric.{name}": values for name, values in history.metrics.items()}
        arrays |= {f"history.{name}": np.array(values, np.float64) for name, values in columns.items()}
        if history.heads:
            arrays["history.heads"] = np.array(list(history.heads.values()), np.float64)
        arrays["best_value"] = np.array(now.best_value)
        reason = history.reason if self.finished else ""
        record = {"epoch": now.epoch, "best_epoch": now.best_epoch, "finished": self.finished, "reason": reason}
        write_checkpoint(self.settings.checkpoint, Saved(arrays, self.settings.fingerprint, record))

    def _restore(self, path: str | os.PathLike[str]) -> None:
        saved = read_checkpoint(path)
        check_fingerprint(path, saved.fingerprint, self.settings.fingerprint)
        arrays, record, history = saved.arrays, saved.record, self.history

        def to_backend(array: Any) -> Array:
            return self.net.model.backend.asarray(array, self.net.dtype)

        state = {name.removeprefix("state."): a for name, a in arrays.items() if name.startswith("state.")}
        best = to_backend(arrays["best_theta"]) if "best_theta" in arrays else None
        epoch, best_epoch = int(record["epoch"]), int(record["best_epoch"])
        self.now = Snapshot(epoch, to_backend(arrays["theta"]), state, best_epoch, float(arrays["best_value"]), best)
        history.epoch = list(range(1, epoch + 1))
        history.error = arrays["history.error"].tolist()
        history.validation_error = arrays["history.validation_error"].tolist()
        history.seconds = arrays["history.seconds"].tolist()
        history.metrics = {name: arrays[f"history.metric.{name}"].tolist() for name in self.problem.metrics}
        if history.heads:
            history.heads = dict(zip(history.heads, arrays["history.heads"].tolist(), strict=True))
        history.best_epoch, history.reason = best_epoch, str(record["reason"])
        self._earlier = history.seconds[-1] if history.seconds else 0.0
        self.finished = bool(record["finished"])
        self.net.weights = self.now.theta


_SHOWN = 4  # heads in a line of progress


def _largest(heads: Mapping[str, float]) -> list[tuple[str, float]]:
    """The heads, or of many those with the largest errors."""
    order = sorted(heads.items(), key=lambda item: -item[1])
    return list(heads.items()) if len(heads) <= _SHOWN else order[:_SHOWN]


def diverged(run: Run, epoch: int, what: str, advice: str = "", *, at: tuple[Array, Part] | None = None) -> NumericalError:
    """The error of a run whose numbers left the finite; the network keeps the last finished epoch's weights.

    `at` is (θ, the samples) where that happened: the unit and the sample are then named.
    """
    kept = f"epoch {epoch - 1}" if epoch > 1 else "the start"
    found = ""
    if at is not None:
        theta, part = at
        found = cause_at(run.net.model, theta, part.x, part.t, part.s, part.row)
    return NumericalError(
        f"epoch {epoch} of {run.history.optimizer}: {what}{f' ({found})' if found else ''}; the network keeps the weights of "
        f"{kept}. {advice}".rstrip()
    )
