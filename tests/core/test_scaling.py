"""A network with `shift` and `scale` on its inputs and outputs is the network with these constants folded in by hand."""

from __future__ import annotations

import copy
import pickle

import networkx as nx
import numpy as np
import pytest

import graphbp as gb
from graphbp.extend import fold_scaling
from graphbp.graph import read_graph
from graphbp.registry import backend_names
from graphbp.spec import INPUT, OUTPUT
from graphbp.testing import relative_difference, zoo

BACKENDS = [name for name in backend_names() if name in ("numpy", "numba")]


def scaled_graph(case, rng, outputs=True):
    """The case's graph with drawn constants on its inputs, and on outputs that may have them."""
    g = copy.deepcopy(case.graph)  # networkx's own copy has the edges in another order
    spec = read_graph(g)
    feeding = set(spec.edge_src.tolist())
    outputs = outputs and not spec.softmax_nodes  # a softmax in the middle of a network cannot be built by hand
    for i, name in enumerate(spec.names):
        n = int(spec.units[i])
        if spec.role[i] == INPUT or (spec.role[i] == OUTPUT and outputs and i not in feeding and case.error == "sum_of_squares"):
            shift, scale = rng.normal(size=n) * 30, np.exp(rng.normal(size=n) * 2)
            g.nodes[name].update(shift=float(shift[0]) if n == 1 else shift, scale=float(scale[0]) if n == 1 else scale)
    return g


def by_hand(g):
    """Frozen identity units around the network do what `shift` and `scale` say; θ is the same."""
    spec = read_graph(g)
    out = nx.DiGraph()
    for i, name in enumerate(spec.names):
        data = {k: v for k, v in g.nodes[name].items() if k not in ("shift", "scale")}
        if spec.role[i] == INPUT or g.nodes[name].get("scale") is not None:
            data["role"] = "hidden"
        elif spec.role[i] == OUTPUT:
            data["role"] = "output"
        out.add_node(name, **data)
    out.add_edges_from(g.in_edges(data=True))  # θ is in the order of predecessors
    inputs, outputs = ([n for n, r in zip(spec.names, spec.role, strict=True) if r == role] for role in (INPUT, OUTPUT))
    for name in inputs:
        n, shift, scale = int(spec.units[spec.index[name]]), g.nodes[name]["shift"], g.nodes[name]["scale"]
        out.add_node(("raw", name), role="input", **({"units": n} if n > 1 else {}))
        out.nodes[name].update(bias=-shift / scale, trainable=False)
        out.add_edge(("raw", name), name, weight=np.diag(1 / scale) if n > 1 else 1 / scale, trainable=False)
    for name in outputs:
        n, data = int(spec.units[spec.index[name]]), g.nodes[name]
        shift, scale = data.get("shift", 0.0), data.get("scale", 1.0)
        if data.get("scale") is None:
            assert all(g.nodes[o].get("scale") is None for o in outputs), "all outputs or none, so that Y keeps its order"
            continue
        out.add_node(("raw", name), role="output", bias=shift, trainable=False, **({"units": n} if n > 1 else {}))
        out.add_edge(name, ("raw", name), weight=np.diag(scale) if n > 1 else scale, trainable=False)
    return out


def raw_batch(net, case):
    x = case.X
    affine, out = net.model.meaning.scaling.inputs, net.model.meaning.scaling.outputs
    return affine.shift + affine.scale * x, case.T if out is None else out.shift + out.scale * case.T


def usable(case):
    spec = read_graph(case.graph)
    outputs = {i for i in range(spec.n_nodes) if spec.role[i] == OUTPUT}
    return case.definition.n_parameters <= 150 and not (outputs & set(spec.edge_src.tolist()))


CASES = [case for case in zoo() if usable(case)]


@pytest.mark.sampled(10)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_quantity_is_that_of_the_network_with_the_constants_folded_in(case, backend):
    rng = np.random.default_rng(5)
    g = scaled_graph(case, rng)
    net = gb.Network(g, error=case.error or None, backend=backend)
    plain = gb.Network(by_hand(g), error=case.error or None, backend="numpy")
    assert np.array_equal(net.weights, plain.weights)
    X, _ = raw_batch(net, case)
    V, U = rng.normal(size=(len(X), net.schedule.n_outputs)), rng.normal(size=X.shape)
    v = rng.normal(size=net.n_parameters)
    for found, expected in [
        (net.forward(X), plain.forward(X)),
        (net.jacobian(X), plain.jacobian(X)),
        (net.jacobian(X, sparse=True).toarray(), plain.jacobian(X).reshape(-1, X.shape[1])),
        (net.weight_jacobian(X), plain.weight_jacobian(X)),
        (net.vjp(X, V), plain.vjp(X, V)),
        (net.jvp(X, U), plain.jvp(X, U)),
        (net.weight_vjp(X, V), plain.weight_vjp(X, V)),
        (net.weight_jvp(X, v), plain.weight_jvp(X, v)),
    ]:
        assert relative_difference(found, expected) < 1e-9


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_error_and_curvature_are_those_of_the_scaled_numbers(case, backend):
    rng = np.random.default_rng(6)
    net = gb.Network(scaled_graph(case, rng), error=case.error or None, backend=backend)
    plain = gb.Network(case.graph, error=case.error or None, backend=backend)
    X, T = raw_batch(net, case)
    for method in ("error", "gradient", "per_sample_gradient", "hessian", "outer_product_hessian", "hessian_diagonal"):
        assert relative_difference(getattr(net, method)(X, T), getattr(plain, method)(case.X, case.T)) < 1e-8, method
    v = rng.normal(size=net.n_parameters)
    assert relative_difference(net.hessian_operator(X, T) @ v, plain.hessian_operator(case.X, case.T) @ v) < 1e-8


def test_the_error_is_that_of_the_scaled_residuals():
    g = nx.DiGraph([("x", "y", {"weight": 2.0})])
    g.nodes["x"].update(shift=10.0, scale=4.0)
    g.nodes["y"].update(shift=100.0, scale=5.0)
    net = gb.Network(g, backend="numpy")
    assert net.forward([[18.0]]).tolist() == [[100 + 5 * 2 * 2]]
    assert net.error([[18.0]], [[110.0]]) == 0.5 * (10 / 5) ** 2
    assert net.jacobian([[18.0]]).tolist() == [[[5 * 2 / 4]]]


@pytest.mark.parametrize("case", [case for case in CASES if case.error == "sum_of_squares"][:6], ids=str)
def test_check_and_numerical_derivatives_are_by_raw_x(case):
    rng = np.random.default_rng(7)
    net = gb.Network(scaled_graph(case, rng), error=case.error or None, backend="numpy")
    X, T = raw_batch(net, case)
    report = net.check(X, T)
    assert report.ok, str(report)
    assert "raw x and y" in str(report)


def test_a_wrong_rescaling_is_seen_by_check(monkeypatch):
    from graphbp.meaning import Meaning

    g = nx.DiGraph([("x", "y", {"weight": 2.0})])
    g.nodes["x"].update(shift=10.0, scale=4.0)
    net = gb.Network(g, backend="numpy")
    monkeypatch.setattr(Meaning, "jacobian", lambda self, scaled, backend: scaled)
    report = net.check([[18.0], [3.0]], [[1.0], [2.0]])
    assert [row.quantity for row in report.wrong] == ["jacobian, raw x and y"]


def small():
    g = nx.DiGraph()
    g.add_node("x", units=2, shift=np.array([100.0, -3.0]), scale=np.array([10.0, 0.5]))
    g.add_node("h", units=3, activation="tanh", bias=0.1)
    g.add_node("y", bias=0.3, shift=50.0, scale=7.0)
    rng = np.random.default_rng(0)
    g.add_edge("x", "h", weight=rng.normal(size=(3, 2)))
    g.add_edge("h", "y", weight=rng.normal(size=(1, 3)))
    return g


X = np.array([[90.0, -2.5], [120.0, -4.0], [105.0, -3.0]])
T = np.array([40.0, 55.0, 61.0])


def test_a_trace_shows_raw_x_and_y_and_derivatives_by_what_it_shows():
    net = gb.Network(small(), backend="numpy")
    trace = net.trace(X, T)
    assert np.array_equal(trace.a["x"], X)
    np.testing.assert_allclose(trace.z["x"], (X - [100, -3]) / [10, 0.5])
    np.testing.assert_allclose(trace.z["y"], net.forward(X)[:, 0])
    np.testing.assert_allclose(trace.a["y"] * 7 + 50, trace.z["y"])
    by_x = net.vjp(X, (net.forward(X) - T[:, None]) / 49)
    np.testing.assert_allclose(trace.delta["x"], by_x)


@pytest.mark.parametrize("way", ["json", "npz", "pickle", "to_networkx", "to"])
def test_scaling_survives(way, tmp_path):
    net = gb.Network(small(), backend="numpy")
    if way in ("json", "npz"):
        net.save(tmp_path / "m.json", weights="inline" if way == "json" else "npz")
        again = gb.load(tmp_path / "m.json", backend="numpy")
    elif way == "pickle":
        again = pickle.loads(pickle.dumps(net))
    elif way == "to_networkx":
        again = gb.Network(net.to_networkx(), backend="numpy")
    else:
        again = net.to("numpy", "float64")
    assert np.array_equal(again.forward(X), net.forward(X))
    assert "scaled: 2 inputs, 1 output" in repr(again)
    assert "scaled: 2 inputs, 1 output" in again.describe()


def test_float32_sees_columns_far_from_zero():
    """(x − shift)/scale is taken in float64: years that differ by 1e-3 would be one number in float32."""
    g = nx.DiGraph([("x", "y", {"weight": 1.0})])
    g.nodes["x"].update(shift=2020.0, scale=1e-3)
    net = gb.Network(g, backend="numpy", dtype="float32")
    np.testing.assert_allclose(net.forward([[2020.00101], [2020.00102]]), [[1.01], [1.02]], rtol=1e-6)
    assert net.forward([[2020.0]]).dtype == np.float32


def test_laplace_predicts_in_the_targets_units():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 2)) * [40, 3] + [1000, -5]
    t = 300 + 20 * rng.normal(size=30) + x[:, 0]
    net = gb.Network(gb.layered([2, 1]), backend="numpy")
    net.fit_scaling(x, t)
    gb.train(net, x, t, optimizer="lbfgs", progress=False, epochs=200)
    z, u = (x - x.mean(axis=0)) / x.std(axis=0), (t - t.mean()) / t.std()
    plain = gb.Network(gb.layered([2, 1]), backend="numpy")
    plain.weights = net.weights
    found, expected = gb.laplace(net, x, t), gb.laplace(plain, z, u)
    ours, theirs = found.predict(x), expected.predict(z)
    np.testing.assert_allclose(ours.mean, t.mean() + t.std() * theirs.mean)
    np.testing.assert_allclose(ours.variance, t.std() ** 2 * theirs.variance)
    np.testing.assert_allclose(ours.noise_variance, t.std() ** 2 * theirs.noise_variance)
    density = expected.log_marginal_likelihood - len(t) * np.log(t.std())
    assert found.log_marginal_likelihood == pytest.approx(density)
    assert found.noise == pytest.approx(t.std() * expected.noise)
    again = gb.laplace(net, x, t, noise=found.noise)
    np.testing.assert_allclose(again.predict(x).variance, ours.variance)
    np.testing.assert_allclose(ours.mean[:, 0], net.forward(x)[:, 0])


def test_the_outer_product_inverse_takes_raw_data():
    net = gb.Network(small(), backend="numpy")
    H = net.outer_product_hessian(X, T) + 0.5 * np.eye(net.n_parameters)
    v = np.random.default_rng(0).normal(size=net.n_parameters)
    for method in ("sequential", "cholesky", "low_rank"):
        np.testing.assert_allclose(net.outer_product_inverse(X, T, 0.5, method=method).solve(v), np.linalg.solve(H, v))


REFUSED = {
    "hidden": ("h", {"scale": 2.0}, "neither input nor output"),
    "zero": ("x", {"scale": np.array([1.0, 0.0])}, "above 0"),
    "negative": ("y", {"scale": -1.0}, "above 0"),
    "nan": ("x", {"shift": float("nan")}, "finite"),
    "masked": ("x", {"scale": np.ma.array([1.0, 2.0], mask=[False, True])}, "masked"),
    "text": ("x", {"shift": "3"}, "finite number"),
    "shape": ("x", {"shift": [1.0, 2.0, 3.0]}, r"shape \(3,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_by_name(name):
    node, attributes, says = REFUSED[name]
    g = small()
    g.nodes[node].update(attributes)
    with pytest.raises(gb.GraphError, match=says) as caught:
        gb.Network(g, backend="numpy")
    assert repr(node) in str(caught.value)


@pytest.mark.parametrize("columns", [["a"], ["a", "b", "c"], ["a", "a"], [1, "1"], "ab"])
def test_names_of_columns_are_as_many_as_units_and_different(columns):
    g = small()
    g.nodes["x"]["columns"] = columns
    with pytest.raises(gb.GraphError, match=r"node 'x': columns=.*it must be 2 different names, one a unit"):
        gb.Network(g, backend="numpy")


@pytest.mark.parametrize(("attributes", "y"), [({"shift": 3.0}, 5.0), ({"scale": 3.0}, 6.0)])
def test_a_scale_alone_does_not_shift_and_a_shift_alone_does_not_scale(attributes, y):
    """y = shift + scale · 2."""
    g = nx.DiGraph([("x", "y", {"weight": 1.0})])
    g.nodes["y"].update(attributes)
    assert gb.Network(g, backend="numpy").forward([[2.0]]) == y


@pytest.mark.parametrize(("bias", "kind"), [(1.0, float), (np.array([1.0]), np.ndarray), (None, float)])
def test_a_folded_bias_keeps_its_form(bias, kind):
    g = nx.DiGraph([("x", "y", {"weight": 1.0})])
    g.nodes["y"].update(bias=bias, shift=3.0, scale=2.0)
    folded = fold_scaling(g).nodes["y"]["bias"]
    assert type(folded) is kind
    assert folded == (3.0 if bias is None else 5.0)


def test_an_output_that_feeds_others_has_no_one_scaled_meaning():
    g = small()
    g.nodes["y"]["role"] = "output"
    g.add_node("z", role="output")
    g.add_edge("y", "z", weight=1.0)
    with pytest.raises(gb.GraphError, match="output 'y' has shift= and feeds other units"):
        gb.Network(g, backend="numpy")


def test_probabilities_have_a_scale_of_their_own():
    g = small()
    g.nodes["y"]["activation"] = "sigmoid"
    with pytest.raises(gb.GraphError, match="probabilities"):
        gb.Network(g, error="binary_cross_entropy", backend="numpy")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_folding_keeps_the_function_and_the_parameters_of_raw_x(case):
    rng = np.random.default_rng(8)
    g = scaled_graph(case, rng)
    net = gb.Network(g, error=case.error or None, backend="numpy")
    try:
        folded = fold_scaling(g)
    except gb.NotSupportedError as problem:
        assert any(word in str(problem) for word in ("tie", "activation", "aggregation"))  # noqa: PT017
        return
    spec = read_graph(folded)
    assert not any("scale" in extra or "shift" in extra for extra in spec.node_extra)
    x, _ = raw_batch(net, case)
    plain = gb.Network(folded, error=case.error or None, backend="numpy")
    np.testing.assert_allclose(plain.forward(x), net.forward(x), rtol=1e-8, atol=1e-8 * np.abs(net.forward(x)).max())


def test_unscaled_networks_are_not_touched():
    g = small()
    for name in ("x", "y"):
        for key in ("shift", "scale"):
            del g.nodes[name][key]
    assert fold_scaling(g) is g
    assert "scaled" not in repr(gb.Network(g, backend="numpy"))


def test_an_output_that_feeds_others_is_not_scaled_in_silence():
    g = gb.layered([2, 1, 1], units="units", activation="identity")
    inner = next(name for name in g if g.pred[name] and g.succ[name])
    for name in g:
        g.nodes[name]["role"] = "output" if g.pred[name] else "input"
    net = gb.Network(g, backend="numpy")
    with pytest.raises(gb.NotSupportedError, match=f"output '{inner}' feeds other units"):
        net.fit_scaling(X, np.ones((3, 2)))
    assert "scaled" not in repr(net)
    net.fit_scaling(X)
    assert "scaled: 2 inputs" in repr(net)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-8, 1.0, 1e8, 1e160, 1e300])
def test_columns_of_any_size_are_fitted(size):
    x = np.array([[-1.0, 5], [1.0, 5], [3.0, 5]]) * size
    net = gb.Network(gb.layered([2, 1]), backend="numpy")
    net.fit_scaling(x, x[:, 0])
    np.testing.assert_allclose(net.trace(x, x[:, 0]).z["x"], [[-np.sqrt(1.5), 0], [0, 0], [np.sqrt(1.5), 0]], atol=1e-12)
    gb.train(net, x, x[:, 0], optimizer="lbfgs", progress=False)
    np.testing.assert_allclose(net.forward(x)[:, 0] / size, x[:, 0] / size, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e12])
def test_check_is_quiet_far_from_zero(offset):
    rng = np.random.default_rng(1)
    x, t = offset + rng.normal(size=(20, 2)), offset + rng.normal(size=20)
    net = gb.Network(gb.layered([2, 3, 1]), backend="numpy")
    net.fit_scaling(x, t)
    for method in (None, "central", "forward"):
        report = net.check(x, t, method=method)
        assert report.ok, str(report)


def test_float32_agrees_with_float64():
    net = gb.Network(small(), backend="numpy")
    narrow = net.to(dtype="float32")
    for name in ("forward", "jacobian", "weight_jacobian"):
        found = getattr(narrow, name)(X)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, getattr(net, name)(X), rtol=1e-5, atol=1e-6)
    assert narrow.check(X, T).ok


def test_weights_of_samples_count_in_the_fit():
    net = gb.Network(gb.layered([2, 1]), backend="numpy")
    net.fit_scaling(X, T, sample_weight=[1.0, 1.0, 0.0])
    assert net.to_networkx().nodes["x"]["shift"].tolist() == [105.0, -3.25]


def test_resuming_and_training_on_keep_the_scale(tmp_path):
    def run(epochs, **options):
        net = gb.Network(gb.layered([2, 3, 1], seed=1), backend="numpy")
        gb.train(net, X, T, epochs=epochs, standardize=True, progress=False, **options)
        return net

    whole = run(6)
    run(3, checkpoint=tmp_path / "c.npz")
    again = run(6, checkpoint=tmp_path / "c.npz")
    assert np.array_equal(whole.weights, again.weights)
    scale = whole.to_networkx().nodes["x"]["scale"]
    gb.train(whole, X[:2], T[:2], epochs=1, standardize=True, progress=False)
    assert np.array_equal(whole.to_networkx().nodes["x"]["scale"], scale)


def test_metrics_see_raw_numbers():
    seen = []
    net = gb.Network(gb.layered([2, 1]), backend="numpy")
    gb.train(net, X, T, epochs=1, standardize=True, progress=False, metrics={"m": lambda y, t: seen.append((y, t)) or 0.0})
    np.testing.assert_allclose(seen[-1][1][:, 0], T)
    np.testing.assert_allclose(seen[-1][0], net.forward(X))


@pytest.mark.parametrize("unit", [1e200, 1e-200])
def test_targets_that_the_dtype_cannot_hold_are_refused(unit):
    X, t = np.eye(3), np.array([1.0, 2.0, 4.0]) * unit
    net = gb.Network(gb.layered([3, 1], seed=0), backend="numpy", dtype="float32")
    with pytest.raises(gb.DataError, match=r"column of 'y' has mean .*, which float32 cannot hold"):
        gb.train(net, X, t, standardize=True, epochs=1, progress=False)
    wide = net.to(dtype="float64")
    gb.train(wide, X, t, standardize=True, optimizer="lbfgs", progress=False)
    np.testing.assert_allclose(wide.forward(X)[:, 0], t, rtol=1e-6)
