"""The zoo: small networks, each with one awkward feature, that every backend must compute like the definition.

The rows for activations and errors are made from the tables: what is added there is tested here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphbp.activations import Activation, activation_table, register_activation
from graphbp.error_functions import ErrorFunction, error_table, get_error_function
from graphbp.exceptions import unknown_name
from graphbp.testing.aggregating import aggregating_cases
from graphbp.testing.case import Case, float32_values, weights
from graphbp.testing.data import real_cases

__all__ = ["cases", "find_cases", "zoo"]

Array = npt.NDArray[Any]


# -- activations and errors: rows from the tables --------------------------------------------------------------------------


def inside(row: Activation) -> float:
    """A bias that keeps small perturbations of a inside the domain, and away from poles."""
    if math.isfinite(row.lower):
        return row.lower + (4.0 if math.isinf(row.upper) else (row.upper - row.lower) / 2)
    if math.isfinite(row.upper):
        return row.upper - 4.0
    return max(row.kinks) + 4.0 if row.kinks and row.analytic else 0.25


def _one_activation(name: str, rng: np.random.Generator) -> nx.DiGraph[Any]:
    """x1, x2 -> h1 -> h2 -> y with all skips, each unit with the activation."""
    row = next(row for row in activation_table if row.name == name)
    middle, scale = inside(row), 0.8 if inside(row) == 0.25 else 0.3
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    for j, unit in enumerate(["h1", "h2", "y"]):
        before = list(g)
        g.add_node(unit, activation=name, bias=middle + 0.125 * j)
        for source in before:
            g.add_edge(source, unit, weight=weights(rng, scale=scale))
    return g


def _head(activation: str, rng: np.random.Generator, layer: bool = False, k: int = 3) -> nx.DiGraph[Any]:
    """Two inputs, two tanh units, k outputs of one activation: unit nodes, or one layer node."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    for unit in ["h1", "h2"]:
        g.add_node(unit, activation="tanh", bias=weights(rng, scale=0.5))
        for x in ["x1", "x2"]:
            g.add_edge(x, unit, weight=weights(rng))
    bias = 1.0 if activation == "gaussian" else 0.1  # 0 < exp(−a²) < 1 by a margin
    scale = 0.3 if activation == "gaussian" else 1.0
    if layer:
        g.add_node("y", units=k, activation=activation, bias=float32_values(bias + 0.1 * rng.normal(size=k)))
        for source in ["h1", "h2", "x1"]:
            g.add_edge(source, "y", weight=weights(rng, (k, 1), scale))
        return g
    for j in range(k):
        g.add_node(f"y{j}", activation=activation, bias=bias)
        for source in ["h1", "h2", "x1"]:
            g.add_edge(source, f"y{j}", weight=weights(rng, scale=scale))
    return g


def _other_activation(row: ErrorFunction) -> str:
    """An elementwise activation with 0 < y < 1, in range for every error, that is not the canonical one."""
    return "gaussian" if row.canonical == "sigmoid" else "sigmoid"


def _table_cases() -> Iterable[Case]:
    for row in activation_table:
        if row.builtin and row.elementwise:
            yield Case(f"activation-{row.name}", lambda rng, name=row.name: _one_activation(name, rng))  # type: ignore[misc]
    for error in error_table:
        if not error.builtin:
            continue
        kinds = [error.canonical, _other_activation(error), "softmax"]
        for kind in dict.fromkeys(k for k in kinds if k is not None):
            for layer in (False, True) if kind == "softmax" else (False,):
                form = "-layer" if layer else ""
                yield Case(
                    f"{error.name}-{kind}{form}",
                    lambda rng, kind=kind, layer=layer: _head(kind, rng, layer),  # type: ignore[misc]
                    error.name,
                    weighted=error.name in ("cross_entropy", "poisson"),
                )


# -- structures ------------------------------------------------------------------------------------------------------------


def xor(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """XOR by one hidden unit and two skip edges."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    g.add_node("h", activation="tanh", bias=-0.5)
    g.add_node("y", activation="sigmoid", bias=-0.25)
    g.add_weighted_edges_from([("x1", "h", 0.75), ("x2", "h", 1.0), ("h", "y", -1.5), ("x1", "y", 1.25), ("x2", "y", 0.5)])
    return g


def single_unit(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """The book's single-layer model with one input."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_edge("x", "y", weight=0.75)
    return g


def _units(
    rng: np.random.Generator, d: int, hidden: int, k: int, fan_in: int = 3, kinds: tuple[str, ...] = ("tanh", "sigmoid", "sin")
) -> nx.DiGraph[Any]:
    """A random DAG of d inputs, `hidden` units and k outputs, every unit with at most `fan_in` earlier sources."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for i in range(d):
        g.add_node(f"x{i}", role="input")
    for j in range(hidden + k):
        out = j >= hidden
        name = f"y{j - hidden}" if out else f"h{j}"
        before = [node for node in g if not str(node).startswith("y")]
        g.add_node(name, activation="identity" if out else kinds[j % len(kinds)], bias=weights(rng, scale=0.5))
        if out:
            g.nodes[name]["role"] = "output"
        for i in rng.choice(len(before), min(fan_in, len(before)), replace=False):
            g.add_edge(before[i], name, weight=weights(rng))
    return g


def outputs_that_feed(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """y0 feeds h, y1 and y2; y1 feeds y2: such units get the error's term and their successors'."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", role="input")
    for name, sources in {"y0": ["x"], "h": ["y0", "x"], "y1": ["y0", "h"], "y2": ["y0", "y1"]}.items():
        g.add_node(name, activation="tanh", bias=0.25, **({"role": "output"} if name[0] == "y" else {}))
        for source in sources:
            g.add_edge(source, name, weight=weights(rng))
    return g


def layers(rng: np.random.Generator, *, sparse: bool = False, bias: bool = True) -> nx.DiGraph[Any]:
    """Layer nodes 4 -> 9 -> 7 -> 3 and a skip 4 -> 7, dense or with SciPy-sparse weights."""
    from scipy import sparse as sp

    g: nx.DiGraph[Any] = nx.DiGraph()
    units = {"x": 4, "h": 9, "g": 7, "y": 3}
    for name, n in units.items():
        g.add_node(name, units=n)
        if name != "x":
            g.nodes[name]["activation"] = "identity" if name == "y" else "tanh"
            if bias:
                g.nodes[name]["bias"] = weights(rng, n, 0.5)
    for a, b in [("x", "h"), ("h", "g"), ("x", "g"), ("g", "y")]:
        w = weights(rng, (units[b], units[a]), 0.7)
        if sparse:
            w = np.where(rng.random(w.shape) < 0.4, w, 0)
            w[:, 0] = 0.5
            w = sp.csr_matrix(w)
        g.add_edge(a, b, weight=w)
    return g


def mixed(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Units feed layers and layers feed units, dense and sparse weights together."""
    from scipy import sparse as sp

    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", units=3)
    g.add_node("u", activation="sin", bias=0.25)
    g.add_node("h", units=12, activation="tanh", bias=0.125)
    g.add_node("k", units=5, activation="silu", bias=weights(rng, 5, 0.3))
    g.add_node("y", activation="softplus", bias=0.1)
    g.add_edge("x", "u", weight=weights(rng, (1, 3)))
    g.add_edge("x", "h", weight=weights(rng, (12, 3)))
    g.add_edge("u", "h", weight=weights(rng, (12, 1)))
    g.add_edge("h", "k", weight=sp.csr_matrix(np.where(rng.random((5, 12)) < 0.5, weights(rng, (5, 12)), 0)))
    g.add_edge("u", "k", weight=weights(rng, (5, 1)))
    g.add_edge("k", "y", weight=weights(rng, (1, 5)))
    g.add_edge("x", "y", weight=sp.csr_matrix([[0.5, 0, -0.75]]))
    return g


def dense_from_units(rng: np.random.Generator, *, scattered: bool = False) -> nx.DiGraph[Any]:
    """Eight units wired one by one to the same six sources: a dense block; `scattered` sources are not consecutive rows."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    n = 11 if scattered else 6
    for i in range(n):
        g.add_node(f"x{i}", role="input")
    sources = [f"x{i}" for i in range(0, n, 2 if scattered else 1)]
    if scattered:
        g.add_node("u", activation="sin", bias=0.5)
        g.add_edge("x1", "u", weight=0.75)
        sources.append("u")
    for j in range(8):
        g.add_node(f"h{j}", activation="tanh" if j % 2 else "sigmoid", bias=weights(rng, scale=0.3))
        for source in rng.permutation(sources):
            g.add_edge(str(source), f"h{j}", weight=weights(rng, scale=0.6))
    g.add_node("y", role="output")
    for j in range(8):
        g.add_edge(f"h{j}", "y", weight=weights(rng))
    return g


def frozen(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Frozen and free edges and biases mixed, in units and in a layer."""
    g = layers(rng)
    g.edges["x", "g"]["trainable"] = False
    g.nodes["h"]["trainable"] = False
    g.add_node("u", activation="tanh", bias=0.5, trainable=False)
    g.add_edge("x", "u", weight=weights(rng, (1, 4)))
    g.add_edge("u", "y", weight=weights(rng, (3, 1)), trainable=False)
    return g


def all_frozen(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Nothing to train: W = 0."""
    g = xor(rng)
    for _, _, data in g.edges(data=True):
        data["trainable"] = False
    for node in ("h", "y"):
        g.nodes[node]["trainable"] = False
    return g


def tied(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Shared edges, shared biases, an edge that shares with a bias, and two layer edges that share all entries."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    for name, bias in (("h1", 0.25), ("h2", 0.25), ("h3", -0.5)):
        g.add_node(name, activation="tanh", bias=bias)
    g.nodes["h1"]["tie"] = g.nodes["h2"]["tie"] = "b"
    g.add_edge("x1", "h1", weight=0.75, tie="w")
    g.add_edge("x2", "h2", weight=0.75, tie="w")
    g.add_edge("h1", "h3", weight=0.75, tie="w")
    g.add_edge("x2", "h3", weight=-0.5, tie="c")
    g.nodes["h3"]["tie"] = "c"
    shared = weights(rng, (6, 6), 0.6)
    g.add_node("a", units=6, activation="sin", bias=0.1)
    g.add_edge("h2", "a", weight=weights(rng, (6, 1)))
    g.add_node("b", units=6, activation="tanh", bias=0.2)
    g.add_node("c", units=6)
    g.add_edge("a", "b", weight=shared, tie="W")
    g.add_edge("b", "c", weight=shared.copy(), tie="W")
    g.add_node("y")
    g.add_edge("h3", "y", weight=1.25)
    g.add_edge("c", "y", weight=weights(rng, (1, 6)))
    return g


def lonely(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Units that nothing reaches (constants), units that reach nothing, an unused input, an input wired to two outputs."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for name in ("x1", "x2", "unused"):
        g.add_node(name, role="input")
    g.add_node("constant", role="hidden", activation="tanh", bias=0.75)
    g.add_node("bare", role="hidden", activation="cos")
    g.add_node("h", activation="tanh", bias=0.1)
    g.add_node("dead", activation="sin", bias=0.5)
    g.add_node("deader", activation="sin")
    g.add_node("y1", role="output")
    g.add_node("y2", role="output", activation="sigmoid")
    edges = "x1 h, constant h, bare h, h y1, h dead, dead deader, x2 deader, x2 y1, x2 y2, constant y2"
    for edge in edges.split(", "):
        g.add_edge(*edge.split(), weight=weights(rng))
    return g


def bare_output(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """No edge and no bias at all: y = cos(0), W = 0 and not one slot."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", role="input")
    g.add_node("y", role="output", activation="cos")
    return g


def wired_straight(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Inputs wired straight to outputs, K > D: forward sweeps are fewer."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for k in range(5):
        for i in range(2):
            g.add_edge(f"x{i}", f"y{k}", weight=weights(rng))
    return g


def chain(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """120 units in a row: as many levels, one edge each."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    for j in range(120):
        g.add_edge(j, j + 1, weight=float(float32_values(rng.uniform(0.9, 1.1))))
        g.nodes[j + 1].update(activation="arctan" if j % 2 else "softsign", bias=weights(rng, scale=0.1))
    return g


def wide(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """One unit with a fan-in of 301 beside one with a fan-in of 1."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("h", activation="tanh", bias=0.25)
    g.add_node("y")
    for i in range(301):
        g.add_edge(f"x{i}", "h", weight=weights(rng, scale=0.1))
    g.add_edge("x300", "y", weight=0.5)
    g.add_edge("h", "y", weight=1.5)
    return g


def odd_names(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Names that are tuples, numbers, frozen sets, strings with quotes; inserted out of topological order."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    y, h, a, b = ("out", 0), frozenset({"hid"}), 3.5, 'it\'s "x" → δ'
    g.add_node(y, activation="tanh", bias=0.5)
    g.add_node(h, activation="sin")
    g.add_edge(h, y, weight=weights(rng))
    g.add_edge(b, h, weight=weights(rng))
    g.add_edge(a, h, weight=weights(rng))
    g.add_edge(a, y, weight=weights(rng))
    return g


def two_heads(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Two softmax layers, three softmax units at different depths, and a sigmoid unit: four heads under one error."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    g.add_node("h", units=5, activation="tanh", bias=0.1)
    for x in ("x1", "x2"):
        g.add_edge(x, "h", weight=weights(rng, (5, 1)))
    for name, n in (("p", 4), ("q", 2)):
        g.add_node(name, units=n, activation="softmax", bias=weights(rng, n, 0.3))
        g.add_edge("h", name, weight=weights(rng, (n, 5)))
    for j in range(3):
        g.add_node(f"s{j}", activation="softmax", bias=0.1 * j)
        g.add_edge("x1" if j else "h", f"s{j}", weight=weights(rng) if j else weights(rng, (1, 5)))
    g.add_node("r", activation="sigmoid")
    g.add_edge("h", "r", weight=weights(rng, (1, 5)))
    return g


def mixed_heads(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Every built-in error, canonical and not: a price that feeds a flag, counts, two softmax layers and one of units, each with a weight."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2", "x3"], role="input")
    for j in range(4):
        g.add_node(f"h{j}", activation=("tanh", "sigmoid", "softplus", "sin")[j], bias=weights(rng, scale=0.5))
        g.add_weighted_edges_from((x, f"h{j}", weights(rng)) for x in ("x1", "x2", "x3"))
    heads = [
        ("price", "identity", "sum_of_squares", 0.2, 1),
        ("rate", "softplus", "poisson", 1.0, 1),
        ("kind", "softmax", "cross_entropy", 2.0, 3),
        ("count", "exp", "poisson", 0.5, 1),
        ("marks", "softmax", "binary_cross_entropy", 0.7, 4),
        ("flag", "sigmoid", "binary_cross_entropy", 1.0, 1),
        ("bounded", "tanh", "sum_of_squares", 1.5, 2),
        ("s0", "softmax", "sum_of_squares", 0.3, 1),
        ("s1", "softmax", "sum_of_squares", 0.3, 1),
    ]
    for name, activation, error, weight, n in heads:
        g.add_node(name, activation=activation, role="output", error=error, error_weight=weight, units=n)
        g.nodes[name]["bias"] = weights(rng, n, 0.3)
        for j in range(4):
            g.add_edge(f"h{j}", name, weight=weights(rng, (n, 1), 0.6))
    g.add_edge("price", "flag", weight=weights(rng))
    return g


def dead_ends(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Outputs in the middle: dead units after them and beside them, single, tied to live ones, in layers, and some of a dense layer."""
    from scipy import sparse as sp

    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_node("x", units=3)
    g.add_node("unused")
    g.add_node("h", units=6, activation="tanh", bias=0.1)
    g.add_edge("x", "h", weight=weights(rng, (6, 3)), tie="into h")
    g.add_node("y", units=2, activation="sigmoid", bias=weights(rng, 2), role="output")
    part = weights(rng, (2, 6))
    part[:, [1, 4]] = 0  # these two of h lead to dead units only
    g.add_edge("h", "y", weight=sp.csr_array(part))
    g.add_node("e", activation="sin", bias=0.3, role="output")
    g.add_edge("y", "e", weight=weights(rng, (1, 2)))
    g.add_node("d", units=6, activation="softplus", bias=0.1)
    g.add_edge("x", "d", weight=g.edges["x", "h"]["weight"].copy(), tie="into h")
    g.add_node("c", units=7, activation="square")
    g.add_edge("h", "c", weight=weights(rng, (7, 6)))
    for source, units in (("e", 1), ("c", 7), ("d", 6), ("unused", 1)):
        g.add_node(f"after {source}", activation="gaussian", bias=0.2)
        g.add_edge(source, f"after {source}", weight=weights(rng, (1, units)))
    return g


def kinked(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """relu, abs, step, leaky_relu, elu, selu and softsign units together."""
    return _units(rng, 3, 14, 2, kinds=("relu", "abs", "step", "leaky_relu", "elu", "selu", "softsign"))


def saturated(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """Every path leads through a unit with h' ≈ 2e-5: what rounding z takes from h' is then large beside it."""
    g: nx.DiGraph[Any] = nx.DiGraph()
    g.add_nodes_from(["x1", "x2"])
    far = {"tanh": 6.0, "sigmoid": 11.0, "softsign": 220.0, "elu": -11.0, "selu": -11.0, "expm1": -11.0}
    for kind, bias in far.items():
        g.add_node(kind, activation=kind, bias=bias)
        g.add_edge("x1", kind, weight=weights(rng, scale=0.5))
        g.add_edge("x2", kind, weight=weights(rng, scale=0.5))
        g.add_edge(kind, "y", weight=weights(rng))
    g.nodes["y"]["bias"] = 0.25
    return g


def _cubic(a: Array) -> Array:
    return a + a * a * a / 8


def _dcubic(a: Array) -> Array:
    return 1 + 3 * a * a / 8


def _d2cubic(a: Array) -> Array:
    return 3 * a / 4


def registered(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """An activation that a program registered: z = a + a³/8."""
    register_activation("testing.cubic", _cubic, _dcubic, _d2cubic, formula="a + a³ / 8", analytic=True)
    return _one_activation("testing.cubic", rng)


def erdos_renyi(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """A random DAG of 12 hidden units in several activations."""
    return _units(rng, 3, 12, 2, fan_in=4, kinds=("tanh", "gelu", "silu", "gaussian", "softplus", "relu"))


def large(rng: np.random.Generator) -> nx.DiGraph[Any]:
    """About 2,000 edges in 140 units."""
    return _units(rng, 8, 140, 4, fan_in=14, kinds=("tanh", "sigmoid", "gelu", "relu"))


def _structures() -> Iterable[Case]:
    yield Case("xor", xor, "binary_cross_entropy", n_samples=4)
    yield Case("single-unit", single_unit, n_samples=1)
    yield Case("several-outputs", lambda rng: _units(rng, 3, 4, 3))
    yield Case("outputs-that-feed", outputs_that_feed)
    yield Case("layers-dense", layers, n_samples=33)
    yield Case("layers-sparse", lambda rng: layers(rng, sparse=True), weighted=True)
    yield Case("layers-no-bias", lambda rng: layers(rng, bias=False), n_samples=5)
    yield Case("mixed", mixed, n_samples=19, weighted=True)
    yield Case("dense-from-units", dense_from_units)
    yield Case("dense-scattered", lambda rng: dense_from_units(rng, scattered=True))
    yield Case("frozen", frozen)
    yield Case("all-frozen", all_frozen, "binary_cross_entropy")
    yield Case("tied", tied, weighted=True)
    yield Case("lonely", lonely)
    yield Case("dead-ends", dead_ends, n_samples=21, weighted=True)
    yield Case("bare-output", bare_output)
    yield Case("wired-straight", wired_straight)
    yield Case("chain", chain, n_samples=3)
    yield Case("wide", wide)
    yield Case("odd-names", odd_names)
    yield Case("two-heads", two_heads, "cross_entropy")
    yield Case("two-heads-squares", two_heads, "sum_of_squares", weighted=True)
    yield Case("mixed-heads", mixed_heads, "", n_samples=19)
    yield Case("mixed-heads-gaps", mixed_heads, "", n_samples=21, gaps=True)
    yield Case("one-error-gaps", two_heads, "sum_of_squares", n_samples=11, gaps=True)
    yield Case("kinked", kinked, n_samples=17)
    yield Case("saturated", saturated, n_samples=40)
    yield Case("registered", registered)
    yield Case("erdos-renyi", erdos_renyi, n_samples=67, weighted=True)
    yield Case("one-sample", erdos_renyi, n_samples=1)
    yield Case("large", large, n_samples=200, weighted=True)


@cache
def zoo() -> tuple[Case, ...]:
    """Every case: the structures, nodes that multiply and choose, each activation, each error with canonical and other heads."""
    get_error_function("sum_of_squares")
    return (*_structures(), *aggregating_cases(), *_table_cases())


def cases(*names: str) -> tuple[Case, ...]:
    """The cases with these names, or all: `@pytest.mark.parametrize("case", graphbp.testing.cases(), ids=str)`."""
    return find_cases(names) if names else zoo()


def find_cases(wanted: Iterable[Case | str]) -> tuple[Case, ...]:
    """Cases by name, those of real networks included; cases pass through."""
    found = []
    for case in wanted:
        if isinstance(case, Case):
            found.append(case)
            continue
        known = {c.name: c for c in (*zoo(), *real_cases())}
        if case not in known:
            raise unknown_name("network of the zoo", case, known)
        found.append(known[case])
    return tuple(found)
