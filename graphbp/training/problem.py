"""The data of a run: training set, validation set, and the errors of both."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphbp.exceptions import ConfigError, DataError, shown
from graphbp.fit import adopt, scale_to
from graphbp.foreign import as_number
from graphbp.model import weighs_by_output
from graphbp.training.head_errors import head_errors
from graphbp.training.part import Part, positive, whole

if TYPE_CHECKING:
    from graphbp.network import Network

__all__ = ["Metric", "Problem", "pose", "prepare"]

Array = Any
Metric = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]
"""A function of Y (N, K) and T (N, K), NumPy arrays, to a number."""


@dataclass(frozen=True)
class Problem:
    """A network with its training set and, perhaps, a validation set."""

    net: Network
    training: Part
    validation: Part | None
    metrics: Mapping[str, Metric]

    @property
    def weighed(self) -> Problem:
        """The same without the training samples of weight 0, which may overflow."""
        if (weights := self.training.weights) is None or weights.all():
            return self
        return replace(self, training=self.training.take(np.flatnonzero(weights if weights.ndim == 1 else weights.any(axis=1))))

    def mean_error(self, theta: Array, part: Part) -> float:
        """Σ_n s_n E_n / Σ_n s_n."""
        return float(self.net.model.run.error(theta, part.x, part.t, part.s)) / part.total

    def mean_error_and_gradient(self, theta: Array, part: Part) -> tuple[float, Array]:
        """The same, with its gradient (W,)."""
        value, gradient = self.net.model.run.error_and_gradient(theta, part.x, part.t, part.s)
        return float(value) / part.total, gradient / part.total

    def measure(self, theta: Array) -> dict[str, float]:
        """The metrics, on the validation set where there is one."""
        if not self.metrics:
            return {}
        part = self.training if self.validation is None else self.validation
        to_numpy, meaning, backend = self.net.model.backend.to_numpy, self.net.model.meaning, self.net.model.backend
        y, t = (to_numpy(meaning.y(scaled, backend)) for scaled in (self.net.model.run.forward(theta, part.x), part.t))
        if (weights := part.weights) is not None and (weights.ndim == 2 or self.net.missing == "skip"):
            t = np.where((weights if weights.ndim == 2 else weights[:, None]) == 0, np.nan, t)
        return {name: float(metric(y, t)) for name, metric in self.metrics.items()}

    def by_head(self, theta: Array) -> dict[str, float]:
        """The mean error of each head over its targets, its weight not counted, on the validation set where there is one."""
        part = self.training if self.validation is None else self.validation
        return head_errors(self.net, theta, part) if self.head_names else {}

    @cached_property
    def head_names(self) -> tuple[str, ...]:
        """The heads whose errors are told apart: those of a network of one head, or of one error and nothing missing, are not."""
        heads = self.net.model.heads
        many = self.training.share is not None and len(heads.named) > 1 and "trace" not in self.net.model.run.composed
        return tuple(heads.named) if many else ()

    def penalised(self, biases: bool) -> npt.NDArray[np.float64]:
        """(W,) 1 where a penalty acts: everywhere, or on what is no bias alone."""
        layout = self.net.model.layout
        return np.ones(len(layout.theta)) if biases else (~layout.biases_alone).astype(np.float64)

    def fingerprint(self) -> dict[str, str]:
        """What a checkpoint must agree on: name → short text or hash."""
        net = self.net
        spec, layout = net.model.spec, net.model.layout
        structure = _digest(
            spec.units,
            spec.role,
            np.array([spec.activations[k].name for k in spec.activation], dtype=str),
            *([spec.aggregation] if spec.aggregation.any() else []),
            spec.edge_src,
            spec.edge_dst,
            layout.entry_parameter,
            np.where(layout.entry_parameter < 0, layout.entry_value, 0.0),
        )
        parts = {"training data": self.training} | ({} if self.validation is None else {"validation data": self.validation})
        to_numpy = net.model.backend.to_numpy
        return {
            "network": f"{net.n_parameters} parameters, structure {structure}",
            "error function": net.error_function.name if net.model.heads.plain else net.model.heads.digest,
            "backend": net.backend,
            "dtype": net.dtype.name,
            **{
                name: f"{len(part)} samples, content "
                + _digest(*(np.ascontiguousarray(to_numpy(a)) for a in (part.x, part.t, part.s) if a is not None))
                for name, part in parts.items()
            },
        }


def _digest(*arrays: npt.NDArray[Any]) -> str:
    h = hashlib.blake2b(digest_size=8)
    for array in arrays:
        h.update(f"{array.dtype.str}{array.shape}".encode())
        h.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return h.hexdigest()


def prepare(net: Network, X: Any, T: Any, sample_weight: Any, standardize: bool, share: float, seed: int) -> tuple[Any, Any]:
    """X and T as arrays, after the network has taken what they say of columns and classes and, where it shall, its scaling."""
    adopt(net, X, T)
    X, T = net.model.read(X), net.model.meaning.read_targets(T, gaps=weighs_by_output(sample_weight))
    if standardize and not net.model.meaning.scaling:
        rows = None
        if share and hasattr(X, "__len__"):
            rows = np.sort(_shuffled(len(X), seed)[_n_held_out(len(X), share) :])
        scale_to(net, X, T, sample_weight, rows)
    return X, T


def _shuffled(n: int, seed: int) -> npt.NDArray[np.int64]:
    """The order whose first samples are held out."""
    return np.random.default_rng([seed, 0]).permutation(n)


def pose(
    net: Network,
    X: Any,
    T: Any,
    sample_weight: Any,
    validation: Any,
    validation_split: float,
    metrics: Mapping[str, Metric] | None,
    seed: int,
) -> Problem:
    """Check and convert the data, and split off the validation set: a seeded draw of `validation_split` of the samples."""
    training = whole(net, X, T, sample_weight, "X")
    held_out = None
    if validation is not None:
        if validation_split:
            raise ConfigError("give validation=(X, T) or validation_split=, not both")
        if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
            came = f"{type(validation).__name__}" + (f" of {len(validation)}" if isinstance(validation, tuple | list) else "")
            raise DataError(f"validation is a {came}; it must be (X, T) or (X, T, sample_weight)")
        x, t, s = validation if len(validation) == 3 else (*validation, None)
        held_out = whole(net, x, t, s, "validation")
    elif not isinstance(validation_split, int | float) or validation_split:
        n_held = _n_held_out(len(training), validation_split)
        order = _shuffled(len(training), seed)
        held_out = positive(training.take(np.sort(order[:n_held])), "the validation split")
        training = positive(training.take(np.sort(order[n_held:])), "the training split")
    if metrics is None:
        metrics = {"accuracy": accuracy} if held_out is not None and net.error_function.targets in _CLASSIFIES else {}
    if not isinstance(metrics, Mapping):
        raise ConfigError(f"metrics={shown(metrics)}; give a mapping from name to a function of Y and T: {{'accuracy': function}}")
    for name, metric in metrics.items():
        if not isinstance(name, str) or name in _TAKEN or not callable(metric):
            raise ConfigError(f"metrics maps a name (other than {', '.join(_TAKEN)}) to a function of Y and T; got {name!r}")
    return Problem(net, training, held_out, dict(metrics))


_CLASSIFIES = ("probability", "distribution")
_TAKEN = ("epoch", "error", "validation_error", "seconds", "optimizer", "reason", "best_epoch", "restored")


def _n_held_out(n: int, share: float) -> int:
    share = as_number("validation_split", share, error=ConfigError)
    if not 0 < share < 1:
        raise ConfigError(f"validation_split={share!r}; it must be a share of the samples, between 0 and 1")
    count = round(n * share)
    if not 0 < count < n:
        raise ConfigError(f"validation_split={share} of {n} samples leaves {n - count} to train on and {count} to validate with")
    return count


def accuracy(Y: npt.NDArray[Any], T: npt.NDArray[Any]) -> float:
    """The share of samples whose largest output is the right class; for one or independent outputs, y > ½ as t > ½.

    Targets that are missing (NaN) do not count.

    >>> accuracy(np.array([[0.1, 0.9], [0.6, 0.4]]), np.array([[0, 1], [0, 1]]))
    0.5
    """
    if np.isnan(T).any():
        there = ~np.isnan(T)
        whole = there.all(axis=1)
        if Y.shape[1] > 1 and (there.any(axis=1) == whole).all() and whole.any() and np.allclose(T[whole].sum(axis=1), 1):
            return accuracy(Y[whole], T[whole])
        return float(np.mean((Y > 0.5)[there] == (T > 0.5)[there])) if there.any() else math.nan
    if Y.shape[1] > 1 and np.allclose(T.sum(axis=1), 1):
        return float(np.mean(Y.argmax(axis=1) == T.argmax(axis=1)))
    return float(np.mean((Y > 0.5) == (T > 0.5)))
