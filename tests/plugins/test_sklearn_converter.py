"""`gb.from_sklearn`: the network of a fitted estimator predicts what it predicts, from raw columns, with its names."""

from __future__ import annotations

import pickle
import warnings
from importlib.metadata import entry_points

import numpy as np
import pytest

import graphbp as gb

pytest.importorskip("sklearn")
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

if not entry_points(group="graphbp.doors", name="sklearn"):
    pytest.skip("graphbp was installed before it had doors; install it again", allow_module_level=True)

RNG = np.random.default_rng(3)
X = RNG.normal([0, 100, -5, 1e-3], [1, 40, 2, 1e-4], (80, 4))
Z = (X - X.mean(0)) / X.std(0)
Y = np.column_stack([np.sin(Z[:, 0]), Z @ [1, 2, 0, -1]])
THREE = np.array(["low", "middle", "high"])[np.digitize(Z[:, 0] + Z[:, 1], [-0.5, 0.7])]
TWO = np.where(Z[:, 2] > 0.2, "yes", "no")
SEVERAL = make_multilabel_classification(80, 4, n_classes=3, random_state=0)[1]


def fitted(estimator, y, x=X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(x, y)


def scaled(estimator):
    return make_pipeline(StandardScaler(), estimator)


def mlp(kind=MLPClassifier, **options):
    return kind(**{"hidden_layer_sizes": (6, 5), "max_iter": 30, "random_state": 0, **options})


CLASSIFIERS = {
    "MLP, three classes": (scaled(mlp()), THREE),
    "MLP, two classes": (scaled(mlp(activation="tanh")), TWO),
    "MLP, whole numbers": (scaled(mlp(activation="logistic", hidden_layer_sizes=4)), np.unique(THREE, return_inverse=True)[1] + 7),
    "MLP, booleans": (scaled(mlp(activation="identity")), TWO == "yes"),
    "logistic, three": (scaled(LogisticRegression()), THREE),
    "logistic, two": (scaled(LogisticRegression(fit_intercept=False)), TWO),
    "logistic, sparse": (scaled(LogisticRegression(solver="liblinear")), TWO),
}
REGRESSORS = {
    "MLP": (scaled(mlp(MLPRegressor)), Y[:, 0]),
    "MLP, two outputs": (scaled(mlp(MLPRegressor, activation="tanh", solver="lbfgs")), Y),
    "linear": (LinearRegression(), Y[:, 0]),
    "linear, two outputs, no intercept": (LinearRegression(fit_intercept=False), Y),
    "ridge": (scaled(Ridge()), Y),
    "lasso": (scaled(Lasso(0.1)), Y[:, 1]),
    "elastic net": (scaled(ElasticNet(0.1)), Y[:, 1]),
    "two scalers": (
        make_pipeline(StandardScaler(with_mean=False), "passthrough", make_pipeline(StandardScaler(), Ridge())),
        Y[:, 1],
    ),
    "scale only": (make_pipeline(StandardScaler(with_mean=False), Ridge()), Y[:, 1]),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name):
    model = fitted(*CLASSIFIERS[name])
    if name == "logistic, sparse":
        model[-1].sparsify()
    net = gb.from_sklearn(model, backend="numpy")
    p = model.predict_proba(X)
    assert net.forward(X) == pytest.approx(p if len(model.classes_) > 2 else p[:, 1:], rel=0, abs=1e-12)
    assert net.predict(X).tolist() == model.predict(X).tolist()
    assert list(net.classes) == model.classes_.tolist()


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name):
    model = fitted(*REGRESSORS[name])
    net = gb.from_sklearn(model, backend="numpy")
    expected = model.predict(X).reshape(len(X), -1)
    assert net.forward(X) == pytest.approx(expected, rel=1e-12, abs=1e-12 * np.abs(expected).max())


def test_several_labels_a_sample():
    model = fitted(mlp(), SEVERAL, Z)
    net = gb.from_sklearn(model, backend="numpy")
    assert net.forward(Z) == pytest.approx(model.predict_proba(Z), abs=1e-12)
    assert net.predict(Z).tolist() == model.predict(Z).tolist()


def test_poisson_has_an_exponential_output():
    try:
        model = mlp(MLPRegressor, loss="poisson")
    except TypeError:
        pytest.skip("this scikit-learn's MLPRegressor has no Poisson loss")
    fitted(model, np.exp(Y[:, 0]), Z)
    net = gb.from_sklearn(model, backend="numpy")
    assert (net.forward(Z)[:, 0], net.error_function.name) == (pytest.approx(model.predict(Z), rel=1e-12), "poisson")


def test_scaling_is_the_networks_own():
    model = fitted(*REGRESSORS["ridge"])
    node = gb.from_sklearn(model, backend="numpy").to_networkx().nodes["x"]
    assert (node["shift"], node["scale"]) == (pytest.approx(model[0].mean_), pytest.approx(model[0].scale_))


def test_features_are_found_by_name():
    frame = load_iris(as_frame=True)
    model = fitted(scaled(LogisticRegression()), frame.target_names[frame.target], frame.data)
    net = gb.from_sklearn(model, backend="numpy")
    mixed = frame.data[frame.data.columns[::-1]]
    assert net.predict(mixed).tolist() == model.predict(frame.data).tolist()
    assert net.columns == frame.data.columns.tolist()


def test_the_network_has_derivatives_and_goes_on_learning():
    X, y = load_diabetes(return_X_y=True)
    net = gb.from_sklearn(fitted(scaled(LinearRegression()), y, X), backend="numpy")
    assert net.check(X[:5], y[:5]).ok
    assert np.abs(net.gradient(X, y)).max() < 1e-6 * y.std() * len(X)  # least squares


def test_backend_and_dtype_are_told():
    net = gb.from_sklearn(fitted(*REGRESSORS["ridge"]), backend="numpy", dtype="float32")
    assert (net.backend, net.dtype) == ("numpy", np.float32)
    assert pickle.loads(pickle.dumps(net)).forward(X).shape == (80, 2)


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: MLPClassifier(), gb.DataError, "MLPClassifier is not fitted"),
        (lambda: fitted(SVC(), TWO), gb.NotSupportedError, "no network for SVC.*MLPClassifier"),
        (lambda: "model.pkl", gb.NotSupportedError, "no network for str"),
        (lambda: MLPClassifier, gb.NotSupportedError, "no network for MLPClassifier"),
        (lambda: fitted(make_pipeline(MinMaxScaler(), Ridge()), Y), gb.NotSupportedError, "MinMaxScaler.*pipeline\\[-1\\]"),
        (lambda: make_pipeline(StandardScaler(), fitted(Ridge(), Y)), gb.DataError, "StandardScaler is not fitted"),
    ],
)
def test_what_is_no_network_is_refused_by_name(make, kind, said):
    with pytest.raises(kind, match=said):
        gb.from_sklearn(make())


def test_without_the_plugin_the_door_says_what_to_install(monkeypatch):
    monkeypatch.setattr("graphbp.doors.plugin_entries", lambda group: {})
    with pytest.raises(gb.NotSupportedError, match=r'pip install "graphbp\[sklearn\]"'):
        gb.from_sklearn(LinearRegression())


def test_without_scikit_learn_too(monkeypatch):
    import graphbp_sklearn

    def missing(name):
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(graphbp_sklearn, "import_module", missing)
    with pytest.raises(gb.NotSupportedError, match=r"No module named 'sklearn'.*graphbp\[sklearn\]"):
        gb.from_sklearn(LinearRegression())
