"""scikit-learn's own checks of estimators: all of them pass, none is skipped or expected to fail."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest

pytest.importorskip("sklearn")
from sklearn.utils.estimator_checks import check_estimator

from graphbp_sklearn import GraphClassifier, GraphRegressor

WHOLE = pytest.mark.thorough


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=WHOLE)])
@pytest.mark.parametrize("optimizer", ["adam", pytest.param("lbfgs", marks=WHOLE)])
@pytest.mark.parametrize("estimator", [GraphClassifier, GraphRegressor])
def test_every_check_passes(monkeypatch, estimator, optimizer, dtype):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # else the checks of array libraries are skipped
    model = estimator(hidden=4, max_iter=50, optimizer=optimizer, dtype=dtype, backend="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(model, on_skip=None, on_fail=None)
    assert len(results) >= 50
    assert [(r["check_name"], r["status"], r["exception"]) for r in results if r["status"] != "passed"] == []
    assert Counter(r["expected_to_fail"] for r in results) == {False: len(results)}
