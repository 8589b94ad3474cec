"""scikit-learn's MLPClassifier: one `partial_fit` with plain SGD, the nearest public thing to a gradient.

With momentum and regularisation off and learning rate η, one step on the whole batch changes w by −η/N ∂E/∂w, from which the
gradient is read back for the comparison.  The step itself and scikit-learn's check of the data are part of what is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.networks import Array, Mlp
from benchmarks.outcome import Run
from benchmarks.peers import need


def mlp_gradient(net: Mlp, X: Array, labels: Array, dtype: str, order: Callable[[list[Array], list[Array]], Array]) -> Run:
    """∂E/∂w of softmax + cross-entropy, read back from one SGD step."""
    module = need("sklearn.neural_network")
    rate = 1e-2
    model = module.MLPClassifier(
        net.sizes[1:-1],
        activation=net.activation,
        solver="sgd",
        alpha=0.0,
        batch_size=len(X),
        learning_rate_init=rate,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
        random_state=0,
    )
    model.partial_fit(X, labels, classes=np.arange(net.sizes[-1]))

    def reset() -> None:
        for to, w in zip(model.coefs_, net.weights, strict=True):
            to[...] = w.T
        for to, b in zip(model.intercepts_, net.biases, strict=True):
            to[...] = b

    def value(_: Any) -> Array:
        reset()
        before = [w.copy() for w in model.coefs_], [b.copy() for b in model.intercepts_]
        model.partial_fit(X, labels)
        scale = len(X) / rate
        weights = [(old - new).T * scale for old, new in zip(before[0], model.coefs_, strict=True)]
        biases = [(old - new) * scale for old, new in zip(before[1], model.intercepts_, strict=True)]
        return order(weights, biases)

    return Run(lambda: model.partial_fit(X, labels), value, "partial_fit: gradient and one SGD step")
