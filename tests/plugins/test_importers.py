"""The importer plugins on real networks, against outputs that others recorded, and on files that must be refused."""

from __future__ import annotations

import json
import math
import os
import types
from pathlib import Path

import numpy as np
import pytest

import graphbp as gb
from graphbp.extend import get_activation
from graphbp.files import load_graph, save_graph

DATA = Path(os.environ.get("GRAPHBP_DATA", Path(__file__).parents[3] / "shared" / "data"))


def data(name):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is not there; GRAPHBP_DATA names the folder of the data")
    return path


def relative(value, reference):
    return np.abs(np.asarray(value) - reference).max() / np.abs(reference).max()


# -- weight-agnostic networks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["swing", "biped"])
def test_wann_champions_give_the_authors_outputs(name):
    """The reference is float64, written with 16 or 17 digits."""
    reference = json.loads(data("wann/reference_io.json").read_text())[name]
    net = gb.load(data(f"wann/{name}.out"), inputs=reference["n_in"], outputs=reference["n_out"], backend="numpy")
    assert relative(net.forward(np.array(reference["X"])), np.array(reference["Y"])) < 1e-13
    assert len(net.inputs) == reference["n_in"]


def table(tmp_path, rows):
    path = tmp_path / "m.out"
    path.write_text("\n".join(",".join(str(v) for v in row) for row in rows))
    return path


WANN = {
    1: lambda a: a,
    2: lambda a: float(a > 0),
    3: lambda a: math.sin(math.pi * a),
    4: lambda a: math.exp(-a * a / 2),
    5: math.tanh,
    6: lambda a: (math.tanh(a / 2) + 1) / 2,
    7: lambda a: -a,
    8: abs,
    9: lambda a: max(a, 0.0),
    10: lambda a: math.cos(math.pi * a),
    11: lambda a: a * a,
}


@pytest.mark.parametrize("number", WANN)
def test_wann_activations_by_number(tmp_path, number):
    """bias 0.25 and weight -1.5 into the hidden node, 2 out of it; NaN and 0 are no connections."""
    nan = float("nan")
    path = table(tmp_path, [[0, 0, 0.25, nan, 1], [0, 0, -1.5, 0, 1], [0, 0, 0, 2, number], [0, nan, 0, 0, 1]])
    net = gb.load(path, inputs=1, outputs=1, backend="numpy")
    assert net.n_parameters == 3
    for x in (-0.7, 0.0, 0.9):
        assert net.forward([[x]])[0, 0] == pytest.approx(2 * WANN[number](0.25 - 1.5 * x), rel=1e-15, abs=1e-15)


GOOD_ROWS = [[0, 0, 0.5, 0, 1], [0, 0, 1, 1, 1], [0, 0, 0, 1, 5], [0, 0, 0, 0, 1]]


def changed(i, j, value):
    return [[value if (a, b) == (i, j) else v for b, v in enumerate(row)] for a, row in enumerate(GOOD_ROWS)]


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (GOOD_ROWS, {}, gb.DataError, "give inputs= and outputs= .*inputs=1, outputs=1"),
        (GOOD_ROWS, {"inputs": 1}, gb.DataError, "give inputs= and outputs="),
        (GOOD_ROWS, {"inputs": 2, "outputs": 1}, gb.DataError, "connections lead into input 2"),
        (GOOD_ROWS, {"inputs": 1, "outputs": 2}, gb.DataError, "output 2 feeds other nodes"),
        (GOOD_ROWS, {"inputs": 0, "outputs": 1}, gb.DataError, "inputs=0"),
        (GOOD_ROWS, {"inputs": 9, "outputs": 1}, gb.DataError, "inputs=9 does not fit"),
        (GOOD_ROWS, {"inputs": 1.0, "outputs": 1}, gb.DataError, "inputs=1.0"),
        ([*changed(0, 2, 0)[:2], [0] * 5, [0] * 4 + [1]], {"inputs": 1, "outputs": 1}, gb.FileFormatError, "activation 0"),
        (GOOD_ROWS[:3], {"inputs": 1, "outputs": 1}, gb.FileFormatError, "3 rows of 4"),
        (changed(3, 2, 1), {"inputs": 1, "outputs": 1}, gb.FileFormatError, "3 -> 2 runs against the order"),
        (changed(2, 2, 1), {"inputs": 1, "outputs": 1}, gb.FileFormatError, "2 -> 2 runs against the order"),
        (changed(2, 4, 12), {"inputs": 1, "outputs": 1}, gb.FileFormatError, "node 2 has activation 12"),
        (changed(2, 4, 1.5), {"inputs": 1, "outputs": 1}, gb.FileFormatError, "node 2 has activation 1.5"),
        (changed(1, 4, 5), {"inputs": 1, "outputs": 1}, gb.NotSupportedError, "input 1 has activation 'tanh'"),
        (changed(0, 4, 5), {"inputs": 1, "outputs": 1}, gb.NotSupportedError, "the bias, node 0, has activation 'tanh'"),
        (changed(1, 2, "inf"), {"inputs": 1, "outputs": 1}, gb.FileFormatError, "infinite"),
        (changed(1, 2, "abc"), {"inputs": 1, "outputs": 1}, gb.FileFormatError, "abc"),
        ([], {"inputs": 1, "outputs": 1}, gb.FileFormatError, "0 nodes"),
    ],
)
def test_wann_refusals(tmp_path, rows, options, error, message):
    with pytest.raises(error, match=message):
        load_graph(table(tmp_path, rows), **options)


def test_wann_miscounted_inputs_of_a_champion():
    path = data("wann/biped.out")
    for inputs, outputs in ((23, 4), (25, 4), (24, 3), (24, 5)):
        with pytest.raises(gb.DataError, match="it looks like inputs=24, outputs=4"):
            load_graph(path, inputs=inputs, outputs=outputs)


# -- neat-python --------------------------------------------------------------------------------------------------------


def clamp(z, limit):
    return max(-limit, min(limit, z))


NEAT = {
    "sigmoid": lambda z: 1 / (1 + math.exp(-clamp(5 * z, 60))),
    "tanh": lambda z: math.tanh(clamp(2.5 * z, 60)),
    "sin": lambda z: math.sin(clamp(5 * z, 60)),
    "gauss": lambda z: math.exp(-5 * clamp(z, 3.4) ** 2),
    "relu": lambda z: max(z, 0.0),
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "lelu": lambda z: z if z > 0 else 0.005 * z,
    "selu": lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543772 * math.expm1(z)),
    "softplus": lambda z: 0.2 * math.log1p(math.exp(clamp(5 * z, 60))),
    "identity": lambda z: z,
    "clamped": lambda z: clamp(z, 1),
    "inv": lambda z: 1 / z if z else 0.0,
    "log": lambda z: math.log(max(1e-7, z)),
    "exp": lambda z: math.exp(clamp(z, 60)),
    "abs": abs,
    "hat": lambda z: max(0.0, 1 - abs(z)),
    "square": lambda z: z**2,
    "cube": lambda z: z**3,
}


def neat_outputs(document, x):
    """One sample through the document, unit by unit, in the words of its format."""
    value = dict(zip(document["topology"]["input_keys"], x, strict=True))
    nodes = {n["id"]: n for n in document["nodes"] if n["type"] != "input"}

    def evaluate(key):
        if key not in value:
            n = nodes[key]
            s = sum(c["weight"] * evaluate(c["from"]) for c in document["connections"] if c["to"] == key and c["enabled"])
            value[key] = NEAT[n["activation"]["name"]](n["bias"] + n["response"] * s)
        return value[key]

    return [evaluate(key) for key in document["topology"]["output_keys"]]


XOR = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def test_an_evolved_network_gives_the_outputs_that_neat_python_recorded():
    path = data("neat/grown_seed7.json")
    recorded = json.loads(path.read_text())["metadata"]["outputs_on_xor_inputs"]
    assert np.abs(gb.load(path, backend="numpy").forward(XOR)[:, 0] - recorded).max() < 1e-14


@pytest.mark.parametrize("name", ["xor_winner", "xor_evolved_seed7", "grown_seed7"])
def test_neat_networks_unit_by_unit(name):
    path = data(f"neat/{name}.json")
    document = json.loads(path.read_text())
    X = np.vstack([XOR, np.random.default_rng(0).normal(size=(20, 2))])
    y = gb.load(path, backend="numpy").forward(X)
    assert np.abs(y - [neat_outputs(document, x) for x in X]).max() < 1e-13


def test_the_winner_solves_xor():
    y = gb.load(data("neat/xor_winner.json"), backend="numpy").forward(XOR)[:, 0]
    assert [bool(v > 0.5) for v in y] == [False, True, True, False]


@pytest.mark.parametrize("name", NEAT)
def test_neat_activations_values_and_derivatives(name):
    """Values against the formula; f' and f'' against central differences in extended precision, beyond the clamps too."""
    row = get_activation(
        {"sigmoid": "neat.sigmoid"}.get(name) or __import__("graphbp_neat.activations").activations.ACTIVATIONS[name]
    )
    a = np.concatenate([np.linspace(-30, 30, 601), [-70.0, 70.0, 0.0, 1e-8, 12.0, -12.0, 3.4, -3.4]])
    assert np.allclose(row.f(a), [NEAT[name](v) for v in a], rtol=1e-14, atol=1e-25)
    away = a[(np.abs(a[:, None] - np.array([*row.kinks, 1e300])) > 1e-3).all(axis=1)]
    h = np.longdouble(1e-5)
    for low, high in ((row.f, row.df), (row.df, row.d2f)):
        difference = (low(away + h) - low(away - h)) / (2 * h)
        exact = high(away)
        assert np.abs((exact - difference) / (1 + np.abs(exact))).max() < 1e-5  # h² f''' / 6, where 1/a at 0.1 has the largest
        assert np.isfinite(high(np.array([-np.inf, np.inf] if name not in ("cube", "square", "exp", "log") else [0.5]))).all()
        for dtype in (np.float32, np.float64):
            assert high(a.astype(dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("name", "limit"),
    [("sigmoid", 12.0), ("tanh", 24.0), ("sin", 12.0), ("gauss", 3.4), ("softplus", 12.0), ("clamped", 1.0), ("exp", 60.0)],
)
def test_neat_activations_are_constant_beyond_their_clamps(name, limit):
    row = get_activation("neat." + name)
    assert row.kinks == (-limit, limit)
    out, within = np.array([-limit - 1e-6, limit + 1e-6, -np.inf, np.inf]), np.array([-limit + 1e-6, limit - 1e-6, limit])
    assert row.f(out).tolist() == [row.f(np.array(s * limit)) for s in (-1, 1, -1, 1)]
    assert not row.df(out).any()
    assert not row.d2f(out).any()
    assert row.df(within).all()


def node(key, kind="hidden", activation="tanh", bias=0.5, response=1.0, **more):
    return {
        "id": key,
        "type": kind,
        "activation": {"name": activation, "custom": False},
        "aggregation": {"name": "none" if kind == "input" else "sum", "custom": False},
        "bias": bias,
        "response": response,
        **more,
    }


def link(i, j, weight=1.0, enabled=True):
    return {"from": i, "to": j, "weight": weight, "enabled": enabled}


def genome():
    return {
        "format_version": "1.0",
        "network_type": "feedforward",
        "metadata": {},
        "topology": {"num_inputs": 2, "num_outputs": 3, "input_keys": [-1, -2], "output_keys": [0, 1, 2]},
        "nodes": [
            node(0, "output", "identity", response=2.5),
            node(1, "output", "sigmoid", bias=0.3),
            node(5, response=-0.5),
            node(6),
        ],
        "connections": [
            link(-1, 5, 0.7),
            link(-2, 5, -0.2),
            link(5, 0, 1.5),
            link(-1, 0, 0.1),
            link(6, 0, 3.0),
            link(-2, 0, 9.0, enabled=False),
        ],
    }


def written(tmp_path, document):
    path = tmp_path / "m.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_responses_disabled_connections_and_lonely_outputs(tmp_path):
    """Output 1 is fed by nothing, output 2 is not even listed, unit 6 is a constant, the responses are not 1."""
    net = gb.load(written(tmp_path, genome()), backend="numpy")
    assert (net.inputs, net.outputs) == ((-1, -2), (0, 1, 2))
    x1, x2 = 0.4, -1.1
    z5 = math.tanh(2.5 * (0.5 - 0.5 * (0.7 * x1 - 0.2 * x2)))
    y0 = 0.5 + 2.5 * (1.5 * z5 + 0.1 * x1 + 3.0 * math.tanh(2.5 * 0.5))
    assert net.forward([[x1, x2]])[0].tolist() == pytest.approx([y0, 1 / (1 + math.exp(-1.5)), 0.0], rel=1e-14)


def change(path, value):
    def apply(document):
        at = document
        for part in path[:-1]:
            at = at[part]
        at[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (change(["network_type"], "recurrent"), gb.NotSupportedError, "type 'recurrent'"),
        (change(["network_type"], "ctrnn"), gb.NotSupportedError, "type 'ctrnn'"),
        (change(["format_version"], "2.0"), gb.FileFormatError, "format_version is '2.0'"),
        (change(["nodes", 2, "aggregation", "name"], "norm"), gb.NotSupportedError, "node 5 has the aggregation 'norm'"),
        (change(["nodes", 2, "aggregation", "custom"], True), gb.NotSupportedError, "node 5 has the aggregation"),
        (
            change(["nodes", 2, "activation"], {"name": "mine", "custom": True}),
            gb.NotSupportedError,
            "node 5 has the activation 'mine'",
        ),
        (change(["nodes", 2, "activation", "name"], "sinc"), gb.NotSupportedError, "node 5 has the activation 'sinc'"),
        (change(["nodes", 2, "bias"], float("nan")), gb.FileFormatError, "the bias of node 5 is nan"),
        (change(["nodes", 2, "response"], "1"), gb.FileFormatError, "the response of node 5 is '1'"),
        (change(["nodes", 2, "id"], "5"), gb.FileFormatError, "called '5'"),
        (change(["nodes", 2, "id"], 6), gb.FileFormatError, "node 6 is there twice"),
        (change(["nodes", 2, "type"], "output"), gb.FileFormatError, "node 5 is of type 'output'"),
        (change(["topology", "num_inputs"], 3), gb.FileFormatError, "num_inputs is 3"),
        (change(["topology", "input_keys"], [-1, -1]), gb.FileFormatError, "input_keys"),
        (change(["connections", 0, "weight"], None), gb.FileFormatError, "the weight of connection -1 -> 5 is None"),
        (
            change(["connections", 0, "weight"], 10**400),
            gb.FileFormatError,
            "the weight of connection -1 -> 5 is 1000.*, not a finite",
        ),
        (change(["nodes", 2, "bias"], -(10**400)), gb.FileFormatError, "the bias of node 5 is -1000.*, not a finite"),
        (change(["connections", 2, "weight"], 1e308), gb.FileFormatError, "connection 5 -> 0: the response 2.5 times the weight"),
        (change(["nodes", 2, "activation", "name"], ["tanh"]), gb.FileFormatError, "lacks something"),
        (change(["nodes", 2, "activation", "name"], None), gb.NotSupportedError, "node 5 has the activation None"),
        (change(["connections", 0, "enabled"], "yes"), gb.FileFormatError, "connection -1 -> 5: enabled is 'yes'"),
        (change(["connections", 0], link(5, -1)), gb.FileFormatError, "5 -> -1 leads into an input"),
        (change(["connections", 0], link(77, 5)), gb.FileFormatError, "77 -> 5 joins a node that is not listed"),
        (change(["connections", 0], link(-2, 5)), gb.FileFormatError, "-2 -> 5 is there twice"),
        (lambda d: d.pop("nodes"), gb.FileFormatError, "lacks something"),
        (lambda d: d["nodes"][2].pop("bias"), gb.FileFormatError, "lacks something.*'bias'"),
        (change(["nodes"], {"a": 1}), gb.FileFormatError, "lacks something"),
    ],
)
def test_neat_refusals(tmp_path, damage, error, message):
    document = genome()
    damage(document)
    with pytest.raises(error, match=message) as caught:
        gb.load(written(tmp_path, document), backend="numpy")
    assert "m.json" in str(caught.value)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # neat-python's own, when it writes a file
@pytest.mark.parametrize("response", [1.0, 2.5, -0.75, 0.0])
def test_neat_aggregations_are_those_of_neat_python(tmp_path, response):
    """What neat-python's own evaluation gives, for networks that it exported, nodes without a connection among them."""
    neat = pytest.importorskip("neat", reason="neat-python is not installed")
    export = pytest.importorskip("neat.export")
    rng = np.random.default_rng(5)
    functions = neat.aggregations.AggregationFunctionSet()
    kinds, act = list(functions.functions), neat.activations.ActivationFunctionSet().get("tanh")
    evals = []
    for node, kind in enumerate([*kinds, *kinds[:-1]], 2):
        links = [] if node > len(kinds) + 1 else [(i, float(rng.normal())) for i in [-1, -2, -3, *range(2, node)]]
        evals.append((node, act, functions.get(kind), 0.1 * node, response, links))
    last = [(node, float(rng.normal() / 4)) for node, *_ in evals]
    evals += [(k, act, functions.get(kind), 0.2, response, last[:7]) for k, kind in enumerate(["sum", "median"])]
    network = neat.nn.FeedForwardNetwork([-1, -2, -3], [0, 1], evals)
    export.export_network_json(network, str(tmp_path / "n.json"))
    net = gb.load(tmp_path / "n.json", backend="numpy")
    X = rng.normal(size=(20, 3))
    expected = np.array([network.activate(x) for x in X.tolist()])
    assert np.abs(net.forward(X) - expected).max() < 1e-14
    net.save(tmp_path / "back.json", format="neat", drop="all")
    again = gb.load(tmp_path / "back.json", backend="numpy")
    assert np.array_equal(again.forward(X), net.forward(X))


def test_a_truncated_genome_and_a_cycle(tmp_path):
    text = json.dumps(genome())
    with pytest.raises(gb.FileFormatError, match="truncated"):
        load_graph(written(tmp_path, text[:-50]))
    looped = genome()
    looped["connections"] += [link(5, 6), link(6, 5)]
    with pytest.raises(gb.FileFormatError, match=r"m.json: the graph has a cycle: (5 -> 6 -> 5|6 -> 5 -> 6)"):
        gb.load(written(tmp_path, looped), backend="numpy")


# -- .nnet --------------------------------------------------------------------------------------------------------------


def nnet_file(tmp_path, text):
    path = tmp_path / "m.nnet"
    path.write_text(text)
    return path


def test_acas_test_network_gives_the_published_outputs():
    """The outputs that sisl/NNet's own tests expect, given there to 8 decimals; computed in float64."""
    net = gb.load(data("acasxu/TestNetwork.nnet"), backend="numpy")
    x = net.to_networkx().nodes["x"]
    X = np.array([[1.0, 1.0, 1.0, 100.0, 1.0], x["minimum"], x["maximum"]])
    published = [
        [270.94961805, 280.8974763, 274.55254776, 288.10071007, 256.18037737],
        [212.91548563, 211.07829431, 212.55109733, 206.67203848, 211.81989652],
        [-0.73022729, 0.43116092, 0.39846494, 0.39557301, 0.38284647],
    ]
    assert np.abs(net.forward(X) - published).max() < 1e-8


def test_nnet_normalisation_is_frozen_or_left_out():
    path = data("acasxu/TestNetwork.nnet")
    whole, bare = gb.load(path, backend="numpy"), gb.load(path, normalise=False, backend="numpy")
    assert whole.n_parameters == bare.n_parameters == 13305
    assert np.array_equal(whole.weights, bare.weights)
    numbers = [[float(v) for v in line.split(",") if v] for line in path.read_text().splitlines() if not line.startswith("//")]
    mean, spread = np.array(numbers[5]), np.array(numbers[6])
    X = np.random.default_rng(0).uniform(numbers[3], numbers[4], size=(30, 5))
    by_hand = bare.forward((X - mean[:5]) / spread[:5]) * spread[5] + mean[5]
    assert relative(whole.forward(X), by_hand) < 1e-13


SMALL = """// a comment
// another
2,2,1,3,
2,3,1,
0,
-1.0,-2.0,
1.0,2.0,
0.5,-0.5,10.0,
2.0,4.0,3.0,
1.0,2.0,
-1.0,0.5,
0.0,1.0,
0.1,
0.2,
-0.3,
1.0,-1.0,2.0,
0.25,
"""


def small_nnet(x1, x2):
    u, v = (x1 - 0.5) / 2, (x2 + 0.5) / 4
    h = [max(u + 2 * v + 0.1, 0), max(-u + 0.5 * v + 0.2, 0), max(v - 0.3, 0)]
    return (h[0] - h[1] + 2 * h[2] + 0.25) * 3 + 10


def test_a_small_nnet_by_hand(tmp_path):
    net = gb.load(nnet_file(tmp_path, SMALL), backend="numpy")
    X = np.random.default_rng(0).uniform(-1, 1, size=(9, 2)) * 3  # beyond the limits: these are not clipped
    assert net.forward(X)[:, 0].tolist() == pytest.approx([small_nnet(*x) for x in X], rel=1e-14)
    plain = SMALL.replace("0.5,-0.5,10.0", "0,0,0").replace("2.0,4.0,3.0,\n", "1,1,1,\n")
    assert list(load_graph(nnet_file(tmp_path, plain))) == ["x", "h1", "y"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.25,\n", "", "need 12 more lines, and 11"),
        ("2,3,1,\n", "2,300000000,1,\n", "need 600000006 more lines"),
        ("2,3,1,\n", "2,3,\n", "the layer sizes must be 3 finite numbers"),
        ("2,3,1,\n", "3,3,1,\n", "do not start with 2 inputs"),
        ("2,2,1,3,", "2.5,2,1,3,", "whole numbers"),
        ("2,2,1,3,", "2,-2,1,3,", "whole numbers"),
        ("2,2,1,3,", "2,2,1,", "must be 4 finite numbers"),
        ("0.1,\n", "nan,\n", "bias 0 of layer 1 must be 1 finite"),
        ("0.1,\n", "abc,\n", "bias 0 of layer 1: "),
        ("1.0,2.0,\n-1.0", "1.0,\n-1.0", "row 0 of layer 1's weights must be 2"),
        ("2.0,4.0,3.0", "2.0,0.0,3.0", "a range of 0"),
        (SMALL, "// nothing\n", "ends before the number of layers"),
    ],
)
def test_nnet_refusals(tmp_path, old, new, message):
    assert old in SMALL
    with pytest.raises(gb.FileFormatError, match=message):
        load_graph(nnet_file(tmp_path, SMALL.replace(old, new, 1)))


OLDER = SMALL.replace("0.5,-0.5,10.0,\n2.0,4.0,3.0,\n", "{means}\n{ranges}\n")


@pytest.mark.parametrize(
    ("means", "ranges"), [("0.5,-0.5,", "2.0,4.0,"), ("1,2,3,4,5,6,7,", "1,2,3,4,5,6,7,8,"), ("n/a", "0,0,0,")]
)
def test_an_older_header_needs_no_normalisation_where_none_is_asked_for(tmp_path, means, ranges):
    path = nnet_file(tmp_path, OLDER.format(means=means, ranges=ranges))
    net = gb.load(path, normalise=False, backend="numpy")
    assert np.array_equal(net.weights, gb.load(nnet_file(tmp_path, SMALL), normalise=False, backend="numpy").weights)
    nnet_file(tmp_path, OLDER.format(means=means, ranges=ranges))
    with pytest.raises(gb.FileFormatError, match=r"the (means|ranges) of inputs and outputs"):
        gb.load(path, backend="numpy")
    if means != "n/a":
        with pytest.raises(gb.FileFormatError, match=r"3 finite numbers, .* normalise=False reads the network alone"):
            gb.load(path, backend="numpy")
    nnet_file(tmp_path, OLDER.format(means="", ranges=""))  # the lines are missing altogether
    with pytest.raises(gb.FileFormatError, match="more lines"):
        gb.load(path, normalise=False, backend="numpy")


@pytest.mark.parametrize(
    ("what", "value", "message"),
    [
        ("minimum", [1.0, 2.0, 3.0], "a number, or 2 of them"),
        ("maximum", "high", "a number, or 2 of them"),
        ("minimum", None, "finite numbers"),
        ("minimum", [[1.0], [2.0]], "a number, or 2 of them"),
        ("maximum", float("inf"), "finite numbers"),
        ("maximum", 10**400, "a number, or 2 of them"),
    ],
)
def test_limits_that_are_none(tmp_path, what, value, message):
    g = gb.layered([2, 3, 1], activation="relu")
    g.nodes["x"][what] = value
    with pytest.raises(gb.NotSupportedError, match=rf"node 'x': {what} is .*{message}"):
        save_graph(g, tmp_path / "m.nnet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.nodes["x_normalised"].update(trainable=True), "node 'x_normalised' has mean="),
        (lambda g: g.edges["x", "x_normalised"].update(trainable=True), "node 'x_normalised' has mean="),
        (lambda g: g.nodes["x_normalised"].update(bias=np.array([0.0, 1.0])), "node 'x_normalised' has "),
        (lambda g: g.nodes["y"].update(mean=np.array([11.0])), "node 'y' has "),
        (lambda g: g.nodes["h1"].update(trainable=False), "node 'h1' has trainable=False"),
    ],
)
def test_a_normalisation_is_written_only_where_the_graph_computes_it(tmp_path, change, message):
    """What stands in `mean` and `range` goes into the file: the weights must be just that, and frozen."""
    g = load_graph(nnet_file(tmp_path, SMALL))
    save_graph(g, tmp_path / "same.nnet")
    X = np.random.default_rng(0).normal(size=(5, 2))
    assert np.array_equal(gb.load(tmp_path / "same.nnet", backend="numpy").forward(X), gb.Network(g, backend="numpy").forward(X))
    change(g)
    with pytest.raises(gb.NotSupportedError, match=message):
        save_graph(g, tmp_path / "other.nnet")


# -- all of them --------------------------------------------------------------------------------------------------------

REAL = {
    "wann/swing.out": {"inputs": 5, "outputs": 1},
    "wann/biped.out": {"inputs": 24, "outputs": 4},
    "neat/xor_winner.json": {},
    "neat/grown_seed7.json": {},
    "acasxu/TestNetwork.nnet": {},
}


@pytest.mark.parametrize("name", REAL)
def test_what_is_written_reads_as_the_same_network(tmp_path, name):
    """In its own format, and in graphbp's."""
    path, options = data(name), REAL[name]
    net = gb.load(path, backend="numpy", **options)
    X = np.random.default_rng(0).normal(size=(10, net.schedule.n_inputs))
    copy = tmp_path / path.name
    net.save(copy, format=name.split("/")[0].replace("acasxu", "nnet"))
    # a .out file orders its nodes anew, so that sums may round differently
    assert relative(gb.load(copy, backend="numpy", **options).forward(X), net.forward(X)) < 1e-13
    net.save(tmp_path / "own.json", format="graphbp")
    assert np.array_equal(gb.load(tmp_path / "own.json", backend="numpy").forward(X), net.forward(X))


@pytest.mark.parametrize("name", REAL)
def test_real_networks_on_every_backend(name):
    path, options = data(name), REAL[name]
    reference = gb.load(path, backend="numpy", **options)
    X = np.random.default_rng(0).normal(size=(10, reference.schedule.n_inputs))
    T = np.zeros((10, reference.schedule.n_outputs))
    for backend, state in gb.backends().items():
        if getattr(state, "available", False):
            net = gb.load(path, backend=backend, **options)
            assert relative(net.forward(X), reference.forward(X)) < 1e-12, backend
            assert relative(net.gradient(X, T), reference.gradient(X, T)) < 1e-12, backend


@pytest.mark.parametrize(
    ("format", "change", "message"),
    [
        ("wann", lambda g: g.nodes["h1"].update(activation="gelu"), "node 'h1' has activation 'gelu'"),
        ("neat", lambda g: g.nodes["h1"].update(activation="gelu"), "node 'h1' has activation 'gelu'"),
        ("wann", lambda g: g.edges["x1", "h1"].update(weight=0.0), "weight 0"),
        ("wann", lambda g: g.nodes["h1"].update(role="output") or g.nodes["y1"].update(role="output"), "output that feeds"),
        ("nnet", lambda g: None, "3 input nodes"),
    ],
)
def test_exporters_refuse_what_their_format_lacks(tmp_path, format, change, message):
    g = gb.random_dag(3, 4, 1, fan_in=2, activation="relu", seed=1)
    g.add_edge("x1", "h1", weight=1.0)
    g.add_edge("h1", "y1", weight=1.0)
    change(g)
    with pytest.raises(gb.NotSupportedError, match=message):
        save_graph(g, tmp_path / "m", format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["wann", "neat"])
def test_exporters_refuse_layer_nodes(tmp_path, format):
    with pytest.raises(gb.NotSupportedError, match=r"units"):
        save_graph(gb.layered([3, 2, 1], activation="relu"), tmp_path / "m", format=format)


@pytest.mark.parametrize(
    ("g", "message"),
    [
        (gb.layered([3, 2, 1], skips=True, activation="relu"), "several edges in or out"),
        (gb.layered([3, 2, 1]), "activation 'tanh'; in a .nnet file it is 'relu'"),
    ],
)
def test_nnet_holds_chains_of_relu_layers(tmp_path, g, message):
    with pytest.raises(gb.NotSupportedError, match=message):
        save_graph(g, tmp_path / "m.nnet")


@pytest.mark.parametrize(("format", "options"), [("wann", {"inputs": 3, "outputs": 2}), ("neat", {}), ("nnet", {})])
def test_graphbps_own_networks_in_other_formats(tmp_path, format, options):
    if format == "nnet":
        g = gb.layered([3, 5, 2], activation="relu", bias=False)
    else:
        g = gb.random_dag(3, 20, 2, activation=["relu", "square"], output_activation="abs", fan_in=3, seed=2)
    for k, name in enumerate(n for n in g if g.pred[n] and format != "nnet"):
        g.nodes[name]["bias"] = 0.1 * (k - 3)
    X = np.random.default_rng(0).normal(size=(10, 3))
    save_graph(g, tmp_path / "m.file", format=format)
    back = gb.load(tmp_path / "m.file", format=format, backend="numpy", **options)
    assert relative(back.forward(X), gb.Network(g, backend="numpy").forward(X)) < 1e-13


def test_the_importer_of_the_how_to(tmp_path, monkeypatch):
    """The module printed in docs/how-to/add-an-importer.md, as a plugin."""
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "add-an-importer.md").read_text(encoding="utf-8")
    module = types.ModuleType("edges")
    exec(text.split("```python\n")[1].split("```")[0], vars(module))
    entry = types.SimpleNamespace(value="mypackage.edges", load=lambda: module)
    monkeypatch.setattr(
        "graphbp.files.dispatch.plugin_entries", lambda group: {"edges": entry} if group == "graphbp.importers" else {}
    )
    path = tmp_path / "m.edges"
    path.write_text("x h 0.5\nh y 2\n")
    assert gb.load(path, backend="numpy").forward([[1.0]])[0, 0] == pytest.approx(2 * math.tanh(0.5))
    assert gb.load(path, activation="relu", backend="numpy").forward([[1.0]])[0, 0] == 1.0
    for line, error in (
        ("x h\n", gb.FileFormatError),
        ("x h 1j\n", gb.NotSupportedError),
        ("x h a\n", gb.FileFormatError),
        ("x h nan\n", gb.FileFormatError),
    ):
        path.write_text(line)
        with pytest.raises(error, match=r"m.edges"):
            gb.load(path, backend="numpy")
