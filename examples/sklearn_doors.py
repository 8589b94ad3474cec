"""scikit-learn, both ways: networks of any DAG in its tools, and what it has fitted as networks with derivatives.

    python examples/sklearn_doors.py

First a grid search chooses among wirings (layers with skips, a small world of networkx) for the diabetes data; the best one says how sure
it is of patients it has not seen, and which measurements move its prediction.  Then an `MLPClassifier` behind a `StandardScaler` becomes a
network: the same probabilities, and the derivatives that scikit-learn does not have.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import graphbp as gb
from graphbp.sklearn import GraphRegressor


def wirings() -> None:
    data = load_diabetes(as_frame=True, scaled=False)
    X, X_new, y, y_new = train_test_split(data.data, data.target, random_state=0)
    grid = {"graph": ["layered", "watts_strogatz"], "l2": [0.03, 0.3]}
    search = GridSearchCV(GraphRegressor(hidden=6, optimizer="lbfgs", max_iter=100, tol=1e-3, random_state=0), grid, cv=3).fit(X, y)
    for chosen, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"{chosen['graph']:>15s}, l2 = {chosen['l2']:<5g} R² = {score:.3f}")
    model = search.best_estimator_
    mean, deviation = model.predict(X_new, return_std=True)
    inside = np.mean(np.abs(y_new - mean) < 2 * deviation)
    print(f"best: {model.network_.n_parameters} weights, R² on new patients {model.score(X_new, y_new):.3f}")
    print(f"{100 * inside:.0f} % of them within two standard deviations, which are {deviation.min():.0f} to {deviation.max():.0f}")
    moves = model.sensitivities(X, relative=True)
    order = np.argsort(-moves)[:3]
    print("what moves it, for one standard deviation: " + ", ".join(f"{model.feature_names_in_[i]} {moves[i]:.0f}" for i in order))


def derivatives_of_an_mlp() -> None:
    data = load_breast_cancer(as_frame=True)
    X, y = data.data, data.target_names[data.target]
    mlp = make_pipeline(StandardScaler(), MLPClassifier((8,), activation="tanh", alpha=1.0, max_iter=2000, random_state=0)).fit(
        X, y
    )
    net = gb.from_sklearn(mlp)
    print(f"\n{net}")
    print(f"largest difference of probabilities: {np.abs(net.forward(X)[:, 0] - mlp.predict_proba(X)[:, 1]).max():.1e}")
    doubtful = int(np.argmin(np.abs(net.forward(X)[:, 0] - 0.5)))
    case = X.iloc[[doubtful]]
    gradient = net.jacobian(case)[0, 0] * X.std().to_numpy()  # raw units in, raw units out
    i = int(np.argmax(np.abs(gradient)))
    print(
        f"case {doubtful}: {net.classes[1]} with p = {net.forward(case)[0, 0]:.2f}; a standard deviation of {X.columns[i]!r} moves it by {gradient[i]:+.2f}"
    )


if __name__ == "__main__":
    wirings()
    derivatives_of_an_mlp()
