"""What is infinite or NaN is said, with the unit and the first sample that made it so."""

from __future__ import annotations

import warnings

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp import diagnosis


def first_cause(net, *data):
    return diagnosis.first_cause(net.model, net.theta, *data)


def chain(activation, weight=1.0, **options):
    """x -> num -> y."""
    g = nx.DiGraph()
    g.add_node("num", activation=activation)
    g.add_edge("x", "num", weight=weight)
    g.add_edge("num", "y", weight=1.0)
    return gb.Network(g, **options)


def biased(net):
    """a = x − 1."""
    graph = net.to_networkx()
    graph.nodes["num"]["bias"] = -1.0
    return gb.Network(graph, backend=net.backend)


X = np.array([[1.0], [2.0], [3.0], [4.0], [-761.0], [-5.0]])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_forward_names_the_unit_and_the_first_sample(backend, usable):
    net = chain("log", backend=usable(backend))
    with pytest.warns(gb.NumericalWarning, match="y is not finite: log of a negative pre-activation -761 at unit 'num', row 4"):
        Y = net.forward(X)
    assert np.array_equal(np.isnan(Y[:, 0]), X[:, 0] < 0)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_error_and_gradient_name_it_too(backend, usable):
    net = chain("log", backend=usable(backend))
    for call in (net.error, net.gradient, net.error_and_gradient):
        with pytest.warns(gb.NumericalWarning, match="E is not finite: .* unit 'num', row 4"):
            call(X, np.zeros(6))


def test_overflow_names_the_dtype():
    assert "exp of the pre-activation 100 is inf in float32 at unit 'num', row 0" in first_cause(
        chain("exp", dtype="float32"), [[100.0]]
    )
    assert first_cause(chain("exp"), [[100.0]]) == ""
    cause = first_cause(chain("square", weight=1e200), [[1.0], [1e200]])
    assert "the pre-activation of unit 'num' overflows float64" in cause or "square" in cause


def test_an_infinite_slope_is_named():
    g = nx.DiGraph([("x", "num", {"weight": 1.0}), ("num", "y", {"weight": 1.0})])
    g.nodes["num"].update(activation="sqrt", bias=-1.0)  # a = 0 at x = 1: at x = 0 no weight would have a say
    net = gb.Network(g, backend="numpy")
    with pytest.warns(
        gb.NumericalWarning, match="∂E/∂θ is not finite: the slope of sqrt at the pre-activation 0 .* unit 'num', row 1"
    ):
        net.gradient([[2.0], [1.0]], [0.0, 1.0])


def test_an_infinite_error_is_named():
    g = nx.DiGraph([("x", "y", {"weight": 1.0})])
    g.nodes["y"]["activation"] = "relu"
    net = gb.Network(g, error="poisson", backend="numpy")
    with pytest.warns(gb.NumericalWarning, match="the error 'poisson' is inf at output 'y' = 0 for t = 2, row 1"):
        net.error([[1.0], [-1.0]], [1.0, 2.0])


def test_a_sample_of_weight_0_is_not_blamed():
    assert "row 5" in first_cause(chain("log"), X, np.zeros(6), [1, 1, 1, 1, 0, 1])
    assert first_cause(chain("log"), X, np.zeros(6), [1, 1, 1, 1, 0, 0]) == ""


def test_units_of_layers_are_named():
    g = nx.DiGraph()
    g.add_node("x", units=2)
    g.add_node("h", units=3, activation="log")
    g.add_node("y", units=1)
    g.add_edge("x", "h", weight=np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    g.add_edge("h", "y", weight=np.ones((1, 3)))
    assert (
        first_cause(gb.Network(g, backend="numpy"), [[1.0, 2.0], [2.0, -3.0]])
        == "log of a negative pre-activation -3 at unit 'h' unit 1, row 1"
    )


QUANTITIES = {
    "per_sample_gradient": lambda net, T: net.per_sample_gradient(X, T),
    "jacobian": lambda net, T: net.jacobian(X),
    "weight_jacobian": lambda net, T: net.weight_jacobian(X),
    "vjp": lambda net, T: net.vjp(X, T + 1),  # an output that V gives no weight has no say
    "jvp": lambda net, T: net.jvp(X, X),
    "weight_jvp": lambda net, T: net.weight_jvp(X, net.weights),
    "hessian": lambda net, T: net.hessian(X, T),
    "outer_product_hessian": lambda net, T: net.outer_product_hessian(X, T),
    "hessian_diagonal": lambda net, T: net.hessian_diagonal(X, T),
    "hessian_blocks": lambda net, T: net.hessian_blocks(X, T),
    "hessian_operator": lambda net, T: net.hessian_operator(X, T) @ net.weights,
    "trace": lambda net, T: net.trace(X, T),
}


@pytest.mark.parametrize("name", QUANTITIES)
def test_numpy_gives_no_warning_of_its_own(name):
    with warnings.catch_warnings():  # warnings are errors
        warnings.simplefilter("ignore", gb.NumericalWarning)
        QUANTITIES[name](chain("log", backend="numpy"), np.zeros((6, 1)))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", [name for name in QUANTITIES if name != "trace"])
def test_every_derivative_names_the_unit_and_the_first_sample(name, backend, usable):
    with pytest.warns(gb.NumericalWarning, match="not finite: log of a negative pre-activation -761 at unit 'num', row 4") as said:
        QUANTITIES[name](chain("log", backend=usable(backend)), np.zeros((6, 1)))
    assert {warning.filename for warning in said} == {__file__}


def test_a_jacobian_names_an_infinite_slope_and_a_hessian_an_infinite_curvature():
    net = chain("sqrt", backend="numpy")
    for call in (net.jacobian, lambda x: net.jacobian(x, sparse=True)):
        with pytest.warns(gb.NumericalWarning, match="∂y/∂. is not finite: the slope of sqrt .* unit 'num', row 1"):
            call([[1.0], [0.0]])
    assert np.isfinite(net.weight_jacobian([[1.0], [0.0]])).all()  # a = w x does not depend on w where x = 0
    with pytest.warns(gb.NumericalWarning, match="∂y/∂θ is not finite: the slope of sqrt .* unit 'num', row 1"):
        biased(net).weight_jacobian([[2.0], [1.0]])

    def curvature(a):
        with np.errstate(divide="ignore"):
            return 0.75 / np.sqrt(np.abs(a))

    slope = lambda a: 1.5 * np.sign(a) * np.abs(a) ** 0.5  # noqa: E731
    gb.register_activation("power_3_2", lambda a: np.abs(a) ** 1.5, slope, curvature, kinks=(0.0,))
    net = biased(chain("power_3_2", backend="numpy"))
    assert np.isfinite(net.gradient([[2.0], [1.0]], [0.0, 1.0])).all()
    with pytest.warns(gb.NumericalWarning, match="the curvature of power_3_2 at the pre-activation 0 .* unit 'num', row 1"):
        net.hessian([[2.0], [1.0]], [0.0, 1.0])


@pytest.mark.parametrize("activation", ["sqrt", "log", "exp"])
def test_a_network_inside_its_domain_gives_none_at_all(activation):
    net = chain(activation, backend="numpy")
    inside = np.array([[1.0], [2.0]])
    net.forward(inside), net.gradient(inside, [0.0, 1.0]), net.hessian(inside, [0.0, 1.0]), net.describe(2)


def test_a_delta_that_overflows_is_named():
    g = nx.DiGraph([("x", "h", {"weight": 1.0}), ("h", "y", {"weight": 1e300})])
    net = gb.Network(g, backend="numpy")
    assert first_cause(net, [[0.0], [1e-290]], [0.0, 0.0]) == "δ is inf at unit 'h', row 1"


@pytest.mark.parametrize("hessian", ["outer_product", "low_rank", "diagonal", "exact"])
def test_laplace_names_it_with_the_row_of_the_data(hessian):
    with pytest.raises(gb.NumericalError, match="log of a negative pre-activation -5 at unit 'num', row 5"):
        gb.laplace(chain("log", backend="numpy"), X, np.zeros(6), sample_weight=[0, 1, 1, 1, 0, 1], hessian=hessian)


def test_weights_of_outputs_are_read_by_sample():
    """Two outputs of one sample, each with a weight: the sample that overflows is found, and one of weights 0 is not looked at."""
    g = nx.DiGraph()
    g.add_nodes_from([("y1", {"activation": "exp", "error_weight": 2.0}), ("y2", {"activation": "exp", "error_weight": 0.5})])
    g.add_weighted_edges_from([("x", "y1", 1.0), ("x", "y2", 0.1)])
    net = gb.Network(g, backend="numpy")
    with pytest.warns(gb.NumericalWarning, match=r"'y1'.*row 2|row 2.*'y1'|sample 2"):
        net.gradient([[0.5], [1.0], [900.0]], [[1.0, 1.0]] * 3)
