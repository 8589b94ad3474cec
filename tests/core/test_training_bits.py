"""What L-BFGS, Levenberg-Marquardt and Newton compute does not depend on BLAS's threads, nor on what other Python threads do meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

import graphbp as gb


def fit(optimizer: str, method: dict) -> bytes:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 12))
    T = np.stack([np.sin(X[:, 0]) + X[:, 1] * X[:, 2], X[:, 3]], axis=1)
    net = gb.Network(gb.layered([12, 8, 2], seed=0), backend="numpy")
    history = gb.train(net, X, T, optimizer=optimizer, epochs=3, **method)
    errors = getattr(history, "standard_errors", np.empty(0)).tobytes()
    return net.weights.tobytes() + errors + getattr(history, "covariance", np.empty(0)).tobytes()


CASES = [
    ("lbfgs", {}),
    ("newton", {}),
    ("newton", {"solver": "krylov"}),
    ("levenberg_marquardt", {"method": "qr"}),
    ("levenberg_marquardt", {"method": "cholesky"}),
]


@pytest.mark.parametrize(("optimizer", "method"), CASES)
def test_blas_threads_change_no_bit(optimizer, method):
    results = []
    for threads in (1, 2, 3):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            results.append(fit(optimizer, method))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("optimizer", "method"), CASES)
def test_concurrent_runs_change_no_bit(optimizer, method):
    alone = fit(optimizer, method)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: fit(optimizer, method), range(6)))
    assert all(result == alone for result in together)


def test_adam_with_a_clipped_gradient_of_many_parameters():
    """A norm by BLAS would be cut up for its threads."""
    X = np.random.default_rng(0).normal(size=(8, 300))
    results = []
    for threads in (1, 3):
        net = gb.Network(gb.layered([300, 100, 1], seed=0), backend="numpy")
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            gb.train(net, X, X[:, 0], epochs=3, clip_norm=0.01)
        results.append(net.weights.tobytes())
    assert results[0] == results[1]
