"""`GraphClassifier` and `GraphRegressor`: what scikit-learn's users expect, and what a network adds to it."""

from __future__ import annotations

import pickle
import subprocess
import sys

import networkx as nx
import numpy as np
import pytest

import graphbp as gb

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from graphbp_sklearn import GraphClassifier, GraphRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # most are cut short, to be fast

RNG = np.random.default_rng(0)
X = RNG.normal([0, 50, -3], [1, 10, 0.01], (60, 3))
Z = (X - X.mean(0)) / X.std(0)
Y = 1e3 * (np.sin(Z[:, 0]) + 0.3 * Z[:, 1]) + 5e4 + 30 * RNG.normal(size=60)
TWO = np.where(Z[:, 0] * Z[:, 1] > 0, "same", "other")
THREE = np.array(["a", "b", "c"])[np.digitize(Z[:, 0], [-0.4, 0.4])]
SEVERAL = (Z[:, :2] > 0).astype(int)
GENERATORS = ("layered", "random_dag", "erdos_renyi", "watts_strogatz", "barabasi_albert")


def regressor(graph="layered", **options) -> GraphRegressor:
    return GraphRegressor(graph, **{"hidden": 4, "random_state": 0, "backend": "numpy", "max_iter": 300, **options})


def classifier(graph="layered", **options) -> GraphClassifier:
    return GraphClassifier(graph, **{"hidden": 4, "random_state": 0, "backend": "numpy", "max_iter": 300, "l2": 1e-2, **options})


# -- graphs ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATORS)
def test_every_generator_is_sized_from_the_data(name):
    model = regressor(name, hidden=9, max_iter=20, tol=0.1).fit(X, np.column_stack([Y, -Y]))
    net = model.network_
    assert (net.schedule.n_inputs, net.schedule.n_outputs) == (3, 2)
    assert nx.is_directed_acyclic_graph(net.to_networkx())
    assert net.schedule.live.n_units == net.schedule.n_units  # every hidden unit leads somewhere
    assert model.predict(X).shape == (60, 2)


def test_layers_have_skips_unless_told():
    edges = {skips: classifier(graph_options={"skips": skips}).fit(X, TWO).network_.to_networkx().edges for skips in (True, False)}
    assert ("x", "y") in edges[True]
    assert ("x", "y") not in edges[False]


@pytest.mark.parametrize("wide", [True, False])
def test_networkx_graphs_are_oriented_and_the_structure_is_theirs(wide):
    ring = {"k": 2, "p": 0.0, "wide": wide}
    net = regressor("watts_strogatz", hidden=10, graph_options=ring, max_iter=1, tol=1).fit(X, Y).network_
    edges = set(net.to_networkx().edges)
    hidden = {(u, v) for u, v in edges if u[0] == v[0] == "h"}
    assert hidden == {(f"h{i}", f"h{i + 1}") for i in range(1, 10)} | {("h1", "h10")}
    assert len(edges - hidden) == (3 * 10 + 10 if wide else 3 + 1)


def test_a_graph_without_weights_is_a_structure():
    g = nx.DiGraph([("a", "h"), ("b", "h"), ("c", "h"), ("h", "y"), ("a", "y")])
    net = regressor(g, hidden=None, activation="softplus").fit(X, Y).network_
    nodes = net.to_networkx().nodes
    assert (nodes["h"]["activation"], "bias" in nodes["y"], "weight" in g.edges["a", "h"]) == ("softplus", True, False)
    assert net.inputs == ("a", "b", "c")


def test_a_graph_with_weights_starts_from_them():
    g = gb.from_edges(["a", "b", "c"], ["y", "y", "y"], [0.25, 0.5, -1.0], bias=0.125)
    model = classifier(g, hidden=None, optimizer="adam", max_iter=1, optimizer_options={"learning_rate": 1e-12}).fit(X, TWO)
    assert model.network_.weights == pytest.approx([0.25, 0.5, -1.0, 0.125])
    assert model.network_.to_networkx().nodes["y"]["activation"] == "sigmoid"
    assert g.nodes["y"]["activation"] == "identity"  # the caller's graph stays as it is


def test_two_classes_on_two_outputs_are_a_softmax():
    model = classifier(gb.layered([3, 3, 2]), hidden=None).fit(X, TWO)
    assert model.network_.forward(X) == pytest.approx(model.predict_proba(X), abs=1e-12)
    a = np.log(model.predict_proba(X))
    assert model.decision_function(X) == pytest.approx(a[:, 1] - a[:, 0], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: regressor("circle"), "unknown graph 'circle'.*layered"),
        (lambda: regressor(gb.layered([4, 1]), hidden=None), "4 inputs.*3 features"),
        (lambda: regressor(gb.layered([3, 2]), hidden=None), "2 outputs.*y takes 1"),
        (lambda: regressor(gb.layered([3, 1])), "hidden=4 is for a generator"),
        (lambda: regressor(gb.layered([3, 1]), hidden=None, activation="relu"), "graphs without weights"),
        (lambda: regressor("random_dag", hidden=(3, 4)), "no layers"),
        (lambda: regressor(hidden=0), "hidden=0"),
        (lambda: regressor("erdos_renyi", graph_options={"q": 1}), "graph_options.*erdos_renyi.*'q'"),
        (lambda: regressor("barabasi_albert", graph_options={"m": 0}), "barabasi_albert"),
        (lambda: regressor(7, hidden=None), "graph is a int"),
        (lambda: regressor(optimizer="levenberg_marquardt"), "optimizer.*adam"),
        (lambda: regressor(optimizer_options={"l2": 1}), "'l2'.*parameter of the estimator"),
        (lambda: regressor(optimizer_options={"momentum": 0.5}), "momentum"),
        (lambda: regressor(l2=-1), "l2=-1"),
        (lambda: regressor(tol="tight"), "tol='tight'"),
        (lambda: regressor(max_iter=0), "max_iter=0"),
        (lambda: regressor(activation="tahn"), "tanh"),
        (lambda: regressor(standardize="yes"), "standardize"),
    ],
)
def test_bad_parameters_are_refused_by_name(make, said):
    with pytest.raises((ValueError, gb.GraphbpError), match=said):
        make().fit(X, Y)


# -- regression --------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted_regressor() -> GraphRegressor:
    return regressor(l2=1e-3).fit(X, Y)


@pytest.fixture(scope="module")
def fitted_classifier() -> GraphClassifier:
    return classifier().fit(X, THREE)


def test_numbers_in_any_units_are_learnt(fitted_regressor):
    assert fitted_regressor.score(X, Y) > 0.98


def test_a_network_without_hidden_units_is_ridge_regression():
    """mean ½ r² / σ_y² + ½ l2 |w|² is ½ (|r|² + N l2 |w|²) up to a factor."""
    model = regressor(nx.DiGraph([("a", "y"), ("b", "y"), ("c", "y")]), hidden=None, l2=0.3, tol=1e-12).fit(X, Y)
    peer = make_pipeline(StandardScaler(), Ridge(alpha=0.3 * len(X))).fit(X, Y)
    assert model.predict(X) == pytest.approx(peer.predict(X), rel=1e-10)


def test_the_standard_deviation_of_ridge_regression():
    """σ² (1 + z (ZᵀZ + N l2 I)⁻¹ zᵀ), z with a 1 for the intercept; σ² = RSS / (N − γ)."""
    model = regressor(nx.DiGraph([("a", "y"), ("b", "y"), ("c", "y")]), hidden=None, l2=0.05, tol=1e-12).fit(X, Y)
    mean, deviation = model.predict(X, return_std=True)
    A = np.column_stack([Z, np.ones(60)])
    S = np.linalg.inv(A.T @ A + 60 * 0.05 * np.eye(4))
    variance = np.sum((Y - mean) ** 2) / (60 - np.trace(S @ A.T @ A))
    assert deviation == pytest.approx(np.sqrt(variance * (1 + np.einsum("ni,ij,nj->n", A, S, A))), rel=1e-9)


@pytest.mark.filterwarnings("ignore:the weights are:UserWarning")  # its prior holds biases too
def test_the_deviation_is_that_of_gb_laplace(fitted_regressor):
    model = fitted_regressor
    deviation = model.predict(X, return_std=True)[1]
    sigma = model._posterior[0] * Y.std()
    prior = 1e-3 * 60 / model._posterior[0] ** 2
    found = gb.laplace(model.network_, X, Y, prior_precision=prior, noise=sigma).predict(X)
    assert deviation == pytest.approx(np.sqrt(found.total_variance[:, 0]), rel=1e-9)


def test_deviations_of_several_outputs_scale_with_them():
    y = np.column_stack([Y, 1e-3 * Y])
    mean, deviation = regressor(l2=1e-2).fit(X, y).predict(X[:5], return_std=True)
    assert (mean.shape, deviation.shape) == ((5, 2), (5, 2))
    assert deviation[:, 1] * 1e3 == pytest.approx(deviation[:, 0], rel=0.3)


def test_deviations_follow_the_weights_and_survive_pickling(fitted_regressor):
    again = pickle.loads(pickle.dumps(fitted_regressor))
    assert again.predict(X[:3], return_std=True)[1] == pytest.approx(fitted_regressor.predict(X[:3], return_std=True)[1])


@pytest.mark.parametrize(
    ("model", "said"),
    [(regressor(l2=0.0, max_iter=3), "l2=0.0"), (regressor(optimizer="adam", max_iter=1), "partial_fit does not keep")],
)
def test_where_there_is_no_posterior_it_says_why(model, said):
    model.fit(X, Y) if model.optimizer == "lbfgs" else model.partial_fit(X, Y)
    with pytest.raises(gb.GraphbpError, match=said):
        model.predict(X, return_std=True)


# -- derivatives -------------------------------------------------------------------------------------------------------------------


def differences(function, x: np.ndarray) -> np.ndarray:
    h = 1e-6 * X.std(0)
    return np.stack([(function(x + h * e) - function(x - h * e)) / (2 * h[i]) for i, e in enumerate(np.eye(3))], axis=-1)


def test_input_gradient_of_a_regressor(fitted_regressor):
    found = fitted_regressor.input_gradient(X[:6])
    assert found.shape == (6, 3)
    assert found * X.std(0) == pytest.approx(differences(fitted_regressor.predict, X[:6]) * X.std(0), rel=1e-5, abs=1e-2)


def test_input_gradient_of_probabilities(fitted_classifier):
    found = fitted_classifier.input_gradient(X[:6])
    assert found.shape == (6, 3, 3)
    assert found * X.std(0) == pytest.approx(differences(fitted_classifier.predict_proba, X[:6]) * X.std(0), rel=1e-4, abs=1e-7)
    two = classifier().fit(X, TWO)
    numeric = differences(lambda x: two.predict_proba(x)[:, 1], X[:6])
    assert two.input_gradient(X[:6]) * X.std(0) == pytest.approx(numeric * X.std(0), rel=1e-4, abs=1e-7)


def test_sensitivities_are_root_mean_squares(fitted_regressor):
    expected = np.sqrt(np.mean(fitted_regressor.input_gradient(X) ** 2, axis=0))
    assert fitted_regressor.sensitivities(X) == pytest.approx(expected)
    relative = fitted_regressor.sensitivities(X, relative=True)
    assert relative == pytest.approx(expected * X.std(0))
    assert relative.argmax() == 0


# -- classification ----------------------------------------------------------------------------------------------------------------


def test_text_classes(fitted_classifier):
    assert fitted_classifier.classes_.tolist() == ["a", "b", "c"] == list(fitted_classifier.network_.classes)
    assert fitted_classifier.score(X, THREE) > 0.95
    assert fitted_classifier.network_.predict(X).tolist() == fitted_classifier.predict(X).tolist()


@pytest.mark.parametrize(
    "y", [np.unique(THREE, return_inverse=True)[1] + 7, TWO == "same", Z[:, 0] > 0, np.where(TWO == "same", 2.0, -1.0)]
)
def test_whole_numbers_booleans_and_reals_are_classes(y):
    model = classifier().fit(X, y)
    assert model.predict(X).dtype == y.dtype
    assert model.score(X, y) > 0.8
    assert model.network_.predict(X).tolist() == model.predict(X).tolist()


def test_decisions_do_not_saturate():
    model = classifier(nx.DiGraph([("x", "y")]), hidden=None, standardize=False).fit([[-1.0], [1.0]], [0, 1])
    model.network_.weights = [1.0, 0.0]
    assert model.decision_function([[1e3], [-1e3]]).tolist() == [1e3, -1e3]
    assert model.predict_proba([[-700.0]])[0, 1] == pytest.approx(np.exp(-700.0))


def test_errors_that_a_graph_says_itself_are_kept():
    g = gb.layered([3, 2, 3], error="cross_entropy")
    g.nodes["y"]["error"] = "cross_entropy"
    model = classifier(g, hidden=None, max_iter=20, tol=0.1).fit(X, THREE)
    assert model.network_.forward(X) == pytest.approx(model.predict_proba(X), abs=1e-12)


def test_ties_and_frozen_weights_stay():
    g = gb.from_edges(["a", "b", "c", "h"], ["h", "h", "y", "y"], [0.5, 0.5, 1.0, 2.0], bias=0.0)
    for source in "ab":
        g.edges[source, "h"]["tie"] = "w"
    g.edges["h", "y"]["trainable"] = False
    model = classifier(g, hidden=None).fit(X, TWO)
    net = model.network_
    assert (net.weight("a", "h"), net.weight("h", "y")) == (net.weight("b", "h"), 2.0)
    assert net.forward(X)[:, 0] == pytest.approx(model.predict_proba(X)[:, 1], abs=1e-12)


def test_several_labels_a_sample():
    model = classifier().fit(X, SEVERAL)
    assert model.score(X, SEVERAL) > 0.9
    assert model.predict_proba(X).shape == model.decision_function(X).shape == (60, 2)
    assert ((model.predict_proba(X) > 0.5) == model.predict(X)).all()


@pytest.mark.parametrize(
    ("y", "options", "said"),
    [
        (np.full(60, "a"), {}, "one class, 'a'"),
        (Z[:, 0], {}, "continuous"),
        (np.column_stack([TWO, THREE]), {}, "multiclass-multioutput.*MultiOutputClassifier"),
        (TWO, {"class_weight": {"same": 1.0, "other": 0.0}}, "only one class, 'same'"),
        (SEVERAL, {"class_weight": [{0: 1, 1: 2}]}, "list of 1.*2 columns"),
        (TWO, {"graph": gb.layered([3, 3]), "hidden": None}, "3 outputs.*y takes 1 or 2"),
        (TWO, {"graph": gb.layered([3, 1], output_activation="tanh"), "hidden": None}, "'tanh'.*'sigmoid'"),
    ],
)
def test_targets_that_do_not_fit_are_refused(y, options, said):
    with pytest.raises((ValueError, gb.GraphbpError), match=said):
        classifier(**{"graph": "layered", **options}).fit(X, y)


# -- weights of samples and classes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "adam", "optimizer_options": {"batch_size": 7}, "max_iter": 3}], ids=["lbfgs", "adam"]
)
@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_weights_are_repetitions_in_any_order_to_the_last_bit(kind, options):
    make, y = (regressor, Y) if kind == "regression" else (classifier, THREE)
    s = RNG.integers(0, 4, 60)
    rows = RNG.permutation(np.repeat(np.arange(60), s))
    weighted = make(**{"max_iter": 8, "tol": 0.01, **options}).fit(X, y, sample_weight=s)
    repeated = make(**{"max_iter": 8, "tol": 0.01, **options}).fit(X[rows], y[rows])
    assert np.array_equal(weighted.network_.weights, repeated.network_.weights)


def test_class_weights_are_sample_weights_and_balance_counts_repetitions():
    s = np.where(TWO == "same", 3.0, 1.0)
    by_class = classifier(class_weight={"same": 3.0, "other": 1.0}).fit(X, TWO)
    assert np.array_equal(by_class.network_.weights, classifier().fit(X, TWO, s).network_.weights)
    rows = np.repeat(np.arange(60), s.astype(int))
    one, two = classifier(class_weight="balanced").fit(X, TWO, s), classifier(class_weight="balanced").fit(X[rows], TWO[rows])
    assert one.network_.weights == pytest.approx(two.network_.weights, rel=1e-6)


@pytest.mark.parametrize(
    ("s", "said"), [(-np.ones(60), "sample_weight\\[0\\] is -1"), (np.zeros(60), "non-zero"), (np.ones(3), "sample_weight")]
)
def test_bad_weights_are_refused(s, said):
    with pytest.raises(ValueError, match=said):
        regressor().fit(X, Y, sample_weight=s)


# -- going on ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_partial_fits_are_the_epochs_of_a_fit(optimizer):
    """The moments are kept in memory between the calls."""
    how = {"optimizer": optimizer, "optimizer_options": {"batch_size": None}}
    whole, parts = regressor(max_iter=3, **how).fit(X, Y), regressor(**how)
    for _ in range(3):
        parts.partial_fit(X, Y)
    assert np.array_equal(whole.network_.weights, parts.network_.weights)
    assert int(parts.history_.state["count"]) == 3


def test_moments_survive_pickling():
    one = regressor(optimizer="adam").partial_fit(X, Y)
    two = pickle.loads(pickle.dumps(one))
    assert np.array_equal(one.partial_fit(X, Y).network_.weights, two.partial_fit(X, Y).network_.weights)


def test_partial_fit_knows_the_classes_of_later_batches():
    model = classifier(optimizer="adam")
    first = TWO == "same"
    with pytest.raises(gb.DataError, match="one class"):
        clone(model).partial_fit(X[first], TWO[first])
    model.partial_fit(X[first], TWO[first], classes=["other", "same"]).partial_fit(X, TWO)
    assert model.classes_.tolist() == ["other", "same"]
    with pytest.raises(gb.DataError, match=r"'new'.*not among the classes"):
        model.partial_fit(X[:2], ["new", "same"])


def test_partial_fit_goes_with_mini_batches_alone():
    assert not hasattr(regressor(), "partial_fit")
    assert not hasattr(classifier(optimizer="newton"), "partial_fit")
    with pytest.raises(gb.ConfigError, match="balanced"):
        classifier(optimizer="adam", class_weight="balanced").partial_fit(X, TWO)


def test_a_warm_start_goes_on_and_a_cold_one_does_not():
    model = regressor(optimizer="adam", max_iter=5, warm_start=True).fit(X, Y)
    first = model.loss_curve_[-1]
    assert model.fit(X, Y).loss_curve_[0] < first
    assert int(model.history_.state["count"]) == 10
    assert model.set_params(warm_start=False).fit(X, Y).loss_curve_[-1] == first
    with pytest.raises(gb.DataError, match=r"2 features.*3 inputs"):
        model.set_params(warm_start=True).fit(X[:, :2], Y)


def test_patience_stops_on_held_out_samples():
    model = regressor(
        optimizer="adam", max_iter=500, validation_fraction=0.3, patience=2, optimizer_options={"learning_rate": 0.1}
    ).fit(X, Y)
    assert model.n_iter_ < 500
    assert len(model.history_.validation_error) == model.n_iter_


def test_a_run_that_was_cut_short_is_warned_of():
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        regressor(max_iter=2).fit(X, Y)


# -- scikit-learn's habits -----------------------------------------------------------------------------------------------------------


def test_float32_trains_in_float32_and_predicts_in_float64():
    model = regressor(dtype="float32").fit(X, Y)
    assert (model.network_.dtype, model.predict(X).dtype) == (np.float32, np.float64)
    assert model.predict(X[:1])[0] == pytest.approx(model.predict(X)[0], rel=1e-14)


def test_random_state_decides_everything():
    one, two, other = (regressor("random_dag", random_state=seed, max_iter=20, tol=0.1).fit(X, Y) for seed in (1, 1, 2))
    assert np.array_equal(one.predict(X), two.predict(X))
    assert not np.array_equal(one.predict(X), other.predict(X))


def test_clones_and_pickles(fitted_classifier):
    graph = gb.layered([3, 2, 3])
    assert clone(classifier(graph)).get_params()["graph"].edges == graph.edges
    again = pickle.loads(pickle.dumps(fitted_classifier))
    assert np.array_equal(again.predict_proba(X), fitted_classifier.predict_proba(X))


def test_frames_names_and_set_output():
    pandas = pytest.importorskip("pandas")
    frame = load_iris(as_frame=True)
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=30, tol=0.01)).set_output(transform="pandas")
    pipeline.fit(frame.data, frame.target)
    model = pipeline[-1]
    assert model.feature_names_in_.tolist() == frame.data.columns.tolist() == model.network_.columns
    assert isinstance(pipeline[:-1].transform(frame.data), pandas.DataFrame)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pipeline[:-1].transform(frame.data)[frame.data.columns[::-1]])


def test_grid_search_goes_over_graphs():
    grid = {"graphregressor__hidden": [2, 3], "graphregressor__graph": ["layered", "erdos_renyi"]}
    search = GridSearchCV(make_pipeline(StandardScaler(), regressor(max_iter=20, tol=0.1)), grid, cv=2).fit(X, Y)
    assert search.best_score_ > 0.5


@pytest.mark.thorough  # starts two processes
def test_two_jobs_share_the_cores():
    alone = cross_val_score(regressor(max_iter=20, tol=0.1), X, Y, cv=2)
    assert cross_val_score(regressor(max_iter=20, tol=0.1), X, Y, cv=2, n_jobs=2) == pytest.approx(alone, rel=1e-9)
    from joblib import Parallel, delayed
    from joblib import cpu_count as cores

    from graphbp.threads import n_threads

    assert Parallel(n_jobs=2)(delayed(n_threads)() for _ in range(2)) == [max(1, cores() // 2)] * 2


def test_unfitted_is_said():
    with pytest.raises(NotFittedError):
        regressor().predict(X)
    with pytest.raises(NotFittedError):
        classifier().input_gradient(X)


def test_from_sklearn_takes_them_too(fitted_classifier):
    from graphbp_sklearn import from_sklearn

    net = from_sklearn(fitted_classifier)
    net.weights = net.weights * 0
    assert fitted_classifier.network_.weights.any()


def test_the_package_imports_no_scikit_learn_before_it_is_used():
    code = "import graphbp, graphbp_sklearn, sys; print('sklearn' in sys.modules, dir(graphbp_sklearn).count('GraphRegressor'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1"]


def test_the_friendly_name():
    pytest.importorskip("graphbp.sklearn")
    import graphbp.sklearn

    if not gb.plugins.plugin_entries("graphbp.doors"):
        pytest.skip("graphbp was installed before it had doors; install it again")
    assert graphbp.sklearn.GraphRegressor is GraphRegressor
